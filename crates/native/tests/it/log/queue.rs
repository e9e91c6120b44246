//! The queue before the writer, and many threads at once.

use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier};

use epicenter_native::log::{Log, LogConfig};
use epicenter_room::Seq;

use super::{Disk, Valve, append, ready, room, send, texts};

#[test]
fn a_full_queue_says_so_and_wakes_who_waits() {
    let disk = Disk::new();
    let log = disk.open_with(LogConfig {
        max_queue_bytes: 10_000,
        ..LogConfig::default()
    });
    let name = room("ada", "notes");
    let (woken, wakes) = channel();
    let wake_me = |word: &'static str| {
        let woken = woken.clone();
        log.when_not_full(Box::new(move || woken.send(word).unwrap()));
    };
    wake_me("at once");
    assert_eq!(wakes.try_recv(), Ok("at once"));
    let valve = Valve::shut(&log);
    let (sender, results) = channel();
    send(&log, &name, 1, 1, vec![ready(vec![0; 9_000])], &sender);
    assert!(!log.is_full());
    send(&log, &name, 1, 2, vec![ready(vec![0; 9_000])], &sender);
    assert!(log.is_full());
    assert!(log.stats().queued_bytes >= 18_000);
    wake_me("later");
    assert!(wakes.try_recv().is_err());
    valve.open();
    assert_eq!(wakes.recv(), Ok("later"));
    assert!(!log.is_full());
    assert_eq!(results.recv().unwrap(), Ok(Seq(1)));
    log.shutdown();
    assert_eq!(log.stats().queued_bytes, 0);
}

#[test]
fn shutdown_writes_what_is_queued_and_takes_no_more() {
    let disk = Disk::new();
    let log = Arc::new(disk.open_with(LogConfig {
        max_commit_rows: 7,
        ..LogConfig::default()
    }));
    let name = room("ada", "notes");
    let valve = Valve::shut(&log);
    let (sender, results) = channel();
    for first in 1..=100 {
        send(&log, &name, 1, first, vec![ready("x")], &sender);
    }
    let stopping = std::thread::spawn({
        let log = Arc::clone(&log);
        move || log.shutdown()
    });
    valve.open();
    stopping.join().unwrap();
    for first in 1..=100 {
        assert_eq!(results.try_recv().unwrap(), Ok(Seq(first)));
    }
    let error = append(&log, &name, 1, 101, vec![ready("x")]).unwrap_err();
    assert_eq!(error.to_string(), "append failed: the log has stopped");
    log.shutdown();
    assert_eq!(
        disk.open().read(&name, Seq(0), None).unwrap().last,
        Seq(100)
    );
}

#[test]
fn many_threads_append_and_read_at_once() {
    const THREADS: usize = 8;
    const APPENDS: u64 = 200;
    let disk = Disk::new();
    let log = Arc::new(disk.open_with(LogConfig {
        max_reads: 2,
        ..LogConfig::default()
    }));
    let barrier = Arc::new(Barrier::new(THREADS));
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let (log, barrier) = (Arc::clone(&log), Arc::clone(&barrier));
            std::thread::spawn(move || {
                let name = room("ada", &format!("room-{thread}"));
                let (sender, results) = channel();
                barrier.wait();
                for first in 1..=APPENDS {
                    send(
                        &log,
                        &name,
                        1,
                        first,
                        vec![ready(format!("{thread}-{first}"))],
                        &sender,
                    );
                    if first % 50 == 0 {
                        // Whatever is durable by now is a prefix.
                        let stored = log.read(&name, Seq(0), None).unwrap();
                        let expect: Vec<_> = (1..=stored.last.0)
                            .map(|first| format!("{thread}-{first}"))
                            .collect();
                        assert_eq!(texts(&stored.ready), expect);
                    }
                }
                for first in 1..=APPENDS {
                    assert_eq!(results.recv().unwrap(), Ok(Seq(first)));
                }
                let stored = log.read(&name, Seq(0), None).unwrap();
                let expect: Vec<_> = (1..=APPENDS)
                    .map(|first| format!("{thread}-{first}"))
                    .collect();
                assert_eq!(texts(&stored.ready), expect);
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let stats = log.stats();
    assert_eq!(stats.rows, THREADS as u64 * APPENDS);
    assert!(
        stats.commits < stats.rows,
        "nothing was committed together: {stats:?}"
    );
}
