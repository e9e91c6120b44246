//! The engine by itself: what shares a commit, what a failure costs, and that it goes on afterwards.

use std::pin::Pin;
use std::sync::mpsc;
use std::task::{Context, Waker};

use epicenter_store::sql::{Row, Transaction, Value};
use futures_util::future::join_all;

use super::*;

const TABLE: &[&str] = &["CREATE TABLE things (name TEXT PRIMARY KEY NOT NULL, bytes BLOB) STRICT"];
const INSERT: &str = "INSERT INTO things (name, bytes) VALUES ($1, $2)";

/// Inserts the names one after the other, then does what the end says.
struct Insert {
    names: Vec<String>,
    bytes: usize,
    end: End,
}

enum End {
    Well,
    Failing,
    Panicking,
    Waiting(mpsc::Receiver<()>),
}

#[async_trait]
impl Job for Insert {
    async fn run(&mut self, transaction: &mut dyn Transaction) -> Result<(), SqlError> {
        for name in &self.names {
            let parameters = [Value::Text(name.clone()), Value::Blob(vec![0; self.bytes])];
            transaction.execute(INSERT, &parameters).await?;
        }
        match &self.end {
            End::Well => Ok(()),
            End::Failing => Err(SqlError::Damaged("on purpose")),
            End::Panicking => panic!("on purpose"),
            End::Waiting(signal) => signal.recv().map_err(|_| SqlError::Unavailable),
        }
    }
}

fn insert(names: &[&str], end: End) -> Box<dyn Job> {
    Box::new(Insert {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        bytes: 0,
        end,
    })
}

/// Lets a call reach the queue; nobody has answered it yet.
fn begin(call: Pin<&mut impl Future>) {
    let polled = call.poll(&mut Context::from_waker(Waker::noop()));
    assert!(polled.is_pending());
}

/// A writer thread over a database of one table.
struct Writer {
    directory: tempfile::TempDir,
    queue: Arc<Queue>,
    commits: watch::Receiver<u64>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    fn start(prepare: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let connection = open_writable(&directory.path().join("a.db"), TABLE).unwrap();
        connection.execute_batch(prepare).unwrap();
        let queue = Arc::new(Queue::new(MAX_QUEUED));
        let (committed, commits) = watch::channel(0);
        let thread = std::thread::spawn({
            let queue = Arc::clone(&queue);
            move || write_batches(connection, &queue, &committed)
        });
        Self {
            directory,
            queue,
            commits,
            thread: Some(thread),
        }
    }

    fn names(&self) -> Vec<String> {
        let connection = open_readonly(&self.directory.path().join("a.db")).unwrap();
        let mut statement = connection
            .prepare("SELECT name FROM things ORDER BY name")
            .unwrap();
        let names = statement.query_map([], |row| row.get(0)).unwrap();
        names.collect::<Result<_, _>>().unwrap()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue.close();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

#[tokio::test]
async fn what_arrives_during_a_commit_shares_the_next_one_and_a_failure_costs_itself() {
    let writer = Writer::start("");
    let (go_on, signal) = mpsc::channel();
    let mut first = Box::pin(
        writer
            .queue
            .perform(insert(&["first"], End::Waiting(signal))),
    );
    begin(first.as_mut());
    let names: Vec<String> = (10..60).map(|number| format!("job {number}")).collect();
    let mut jobs: Vec<_> = names
        .iter()
        .map(|name| insert(&[name], End::Well))
        .collect();
    jobs.insert(20, insert(&["never", "seen"], End::Failing));
    jobs.insert(30, insert(&["neither"], End::Panicking));
    // The second insert of this one violates the key.
    jobs.insert(40, insert(&["nor this", "job 10"], End::Well));
    let mut others = Box::pin(join_all(
        jobs.into_iter().map(|job| writer.queue.perform(job)),
    ));
    begin(others.as_mut());
    go_on.send(()).unwrap();
    assert_eq!(first.await, Ok(()));
    let answers = others.await;
    for (index, answer) in answers.into_iter().enumerate() {
        let expect = match index {
            20 => Err(SqlError::Damaged("on purpose")),
            30 | 40 => Err(SqlError::Statement),
            _ => Ok(()),
        };
        assert_eq!(answer, expect, "{index}");
    }
    let mut expect = names;
    expect.insert(0, "first".to_owned());
    assert_eq!(writer.names(), expect);
    assert!(
        *writer.commits.borrow() <= 2,
        "one for the first, one for all others"
    );
}

#[tokio::test]
async fn a_full_disk_is_unavailable_and_passes() {
    let writer = Writer::start("PRAGMA max_page_count = 40");
    let large = |name: &str, bytes| {
        writer.queue.perform(Box::new(Insert {
            names: vec![name.to_owned()],
            bytes,
            end: End::Well,
        }))
    };
    assert_eq!(large("fits", 10_000).await, Ok(()));
    assert_eq!(
        large("does not", 1_000_000).await,
        Err(SqlError::Unavailable)
    );
    assert_eq!(large("fits too", 10_000).await, Ok(()));
    assert_eq!(writer.names(), ["fits", "fits too"]);
}

#[tokio::test]
async fn a_database_that_cannot_be_written_is_unavailable() {
    let writer = Writer::start("PRAGMA query_only = ON");
    for _ in 0..2 {
        let answer = writer.queue.perform(insert(&["name"], End::Well)).await;
        assert_eq!(answer, Err(SqlError::Unavailable));
    }
    assert!(writer.names().is_empty());
}

/// Reads once, writes when it is told to, and compares.
struct ReadTwice {
    begun: mpsc::Sender<()>,
    go_on: mpsc::Receiver<()>,
    found: mpsc::Sender<(Vec<Row>, Vec<Row>)>,
}

#[async_trait]
impl Job for ReadTwice {
    async fn run(&mut self, transaction: &mut dyn Transaction) -> Result<(), SqlError> {
        const QUERY: &str = "SELECT value FROM meta WHERE key = 'a'";
        let before = transaction.query(QUERY, &[]).await?;
        self.begun.send(()).unwrap();
        self.go_on.recv().unwrap();
        let after = transaction.query(QUERY, &[]).await?;
        self.found.send((before, after)).unwrap();
        Ok(())
    }
}

struct SetMeta;

#[async_trait]
impl Job for SetMeta {
    async fn run(&mut self, transaction: &mut dyn Transaction) -> Result<(), SqlError> {
        transaction
            .execute("INSERT INTO meta (key, value) VALUES ('a', 'b')", &[])
            .await
            .map(drop)
    }
}

#[tokio::test]
async fn a_read_sees_one_state_waits_for_no_write_and_cannot_write() {
    let directory = tempfile::tempdir().unwrap();
    let engine = SqliteEngine::open(&directory.path().join("a.db")).unwrap();
    let (begun, has_begun) = mpsc::channel();
    let (goes_on, go_on) = mpsc::channel();
    let (found, finds) = mpsc::channel();
    let read = engine.read(Box::new(ReadTwice {
        begun,
        go_on,
        found,
    }));
    let write = async {
        has_begun.recv().unwrap();
        engine.write(Box::new(SetMeta)).await.unwrap();
        goes_on.send(()).unwrap();
    };
    let (read, ()) = tokio::join!(read, write);
    read.unwrap();
    let (before, after) = finds.recv().unwrap();
    assert!(before.is_empty() && after.is_empty());
    assert_eq!(
        engine.read(Box::new(SetMeta)).await,
        Err(SqlError::Unavailable)
    );
}

#[tokio::test]
async fn dropping_the_engine_finishes_what_was_begun() {
    let writer = Writer::start("");
    let (go_on, signal) = mpsc::channel();
    let mut first = Box::pin(
        writer
            .queue
            .perform(insert(&["first"], End::Waiting(signal))),
    );
    let mut second = Box::pin(writer.queue.perform(insert(&["second"], End::Well)));
    begin(first.as_mut());
    begin(second.as_mut());
    writer.queue.close();
    let late = writer.queue.perform(insert(&["late"], End::Well)).await;
    assert_eq!(late, Err(SqlError::Unavailable));
    go_on.send(()).unwrap();
    assert_eq!((first.await, second.await), (Ok(()), Ok(())));
    assert_eq!(writer.names(), ["first", "second"]);
}
