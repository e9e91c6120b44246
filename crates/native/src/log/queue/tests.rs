//! What the writer waits for, and what ends its wait.

use std::thread;

use bytes::Bytes;
use epicenter_identity::{OwnerId, RoomId};
use epicenter_room::{Append, Entry, Seq};

use super::*;
use crate::log::{AppendDone, Generation};

const LIMITS: (usize, usize) = (4096, 1 << 24);
const HOUR: Duration = Duration::from_secs(3600);

fn append(body: &Bytes) -> AppendRequest {
    AppendRequest {
        room: RoomName::stored(
            OwnerId::parse("ada").unwrap(),
            RoomId::parse("notes").unwrap(),
        ),
        generation: Generation(1),
        append: Append {
            first: Seq(1),
            entries: vec![Entry::Ready(body.clone())],
        },
        done: AppendDone(Box::new(|_| {})),
    }
}

fn appends(taken: Taken) -> usize {
    match taken {
        Taken::Work { appends, .. } => appends.len(),
        Taken::Ended => panic!("the queue is open"),
    }
}

/// What a writer that is held for an hour takes when `wake` has happened meanwhile.
fn taken_in_spite_of_an_hour(max_bytes: usize, wake: impl FnOnce(&Queue)) -> Taken {
    let (queue, later) = (Queue::new(max_bytes), Instant::now() + HOUR);
    thread::scope(|scope| {
        let writer = scope.spawn(|| queue.take(LIMITS, Wait::Forever, Some(later)));
        while !queue.lock().is_held {
            thread::yield_now();
        }
        wake(&queue);
        writer.join().unwrap()
    })
}

/// What a writer takes that is held for so long while three appends arrive, and until when it was held. None when the
/// machine stood still, so that the time had passed before all had arrived.
fn taken_after(time: Duration) -> Option<(Taken, Instant)> {
    let queue = Queue::new(1 << 20);
    let until = Instant::now() + time;
    thread::scope(|scope| {
        let writer = scope.spawn(|| queue.take(LIMITS, Wait::Forever, Some(until)));
        while !queue.lock().is_held && Instant::now() < until {
            thread::yield_now();
        }
        for _ in 0..3 {
            queue.push(append(&Bytes::from_static(b"x"))).unwrap();
        }
        let is_in_time = Instant::now() < until;
        let taken = writer.join().unwrap();
        is_in_time.then_some((taken, until))
    })
}

#[test]
fn what_arrives_meanwhile_is_taken_together() {
    let mut times = [50, 500, 5_000, 50_000]
        .map(Duration::from_millis)
        .into_iter();
    let (taken, until) = times.find_map(taken_after).unwrap();
    assert_eq!(appends(taken), 3);
    assert!(Instant::now() >= until);
}

#[test]
fn a_time_that_has_passed_holds_nothing() {
    let queue = Queue::new(1 << 20);
    queue.push(append(&Bytes::from_static(b"x"))).unwrap();
    let taken = queue.take(LIMITS, Wait::Forever, Some(Instant::now()));
    assert_eq!(appends(taken), 1);
}

#[test]
fn enough_is_taken_at_once() {
    let taken = taken_in_spite_of_an_hour(1 << 30, |queue| {
        for _ in 0..ENOUGH.0 {
            queue.push(append(&Bytes::from_static(b"x"))).unwrap();
        }
    });
    assert_eq!(appends(taken), ENOUGH.0);
    let taken = taken_in_spite_of_an_hour(1 << 30, |queue| {
        let body = Bytes::from(vec![0; ENOUGH.1]);
        queue.push(append(&body)).unwrap();
    });
    assert_eq!(appends(taken), 1);
}

#[test]
fn a_full_queue_is_taken_at_once() {
    let taken = taken_in_spite_of_an_hour(1000, |queue| {
        queue.push(append(&Bytes::from(vec![0; 1000]))).unwrap();
    });
    assert_eq!(appends(taken), 1);
}

#[test]
fn the_end_does_not_wait() {
    let taken = taken_in_spite_of_an_hour(1 << 20, |queue| {
        queue.push(append(&Bytes::from_static(b"x"))).unwrap();
        queue.close();
    });
    assert_eq!(appends(taken), 1, "what was taken in is still written");
    let taken = taken_in_spite_of_an_hour(1 << 20, Queue::close);
    assert!(matches!(taken, Taken::Ended));
}
