//! Transactions: all or nothing, repeated where others are in the way, over connections that break.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use epicenter_native::store::postgres::{MAX_CONNECTIONS, PostgresEngine, Upgrade};
use epicenter_store::sql::{Engine, Job, Row, SqlError, Transaction, Value};
use epicenter_testkit::{PostgresCluster, soon};
use tokio::sync::{Barrier, Notify};

const INSERT: &str = "INSERT INTO meta (key, value) VALUES ($1, $2)";
const UPSERT: &str = "INSERT INTO meta (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value";
const READ: &str = "SELECT value FROM meta WHERE key = $1";

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

/// Two upserts; between them, at its first run, it waits for the other job.
struct Crossing {
    keys: [&'static str; 2],
    /// Told when the first of them is written.
    holds: Arc<Notify>,
    meeting: Arc<Barrier>,
    runs: Arc<AtomicU32>,
    has_met: bool,
}

#[async_trait]
impl Job for Crossing {
    async fn run(&mut self, transaction: &mut dyn Transaction) -> Result<(), SqlError> {
        self.runs.fetch_add(1, Ordering::Relaxed);
        transaction
            .execute(UPSERT, &[text(self.keys[0]), text("x")])
            .await?;
        if !self.has_met {
            self.has_met = true;
            self.holds.notify_one();
            self.meeting.wait().await;
        }
        transaction
            .execute(UPSERT, &[text(self.keys[1]), text("x")])
            .await?;
        Ok(())
    }
}

/// Statements, and what the last of them answered.
struct Statements {
    statements: Vec<(&'static str, Vec<Value>)>,
    swallow: bool,
    answer: Arc<std::sync::Mutex<Vec<Row>>>,
}

#[async_trait]
impl Job for Statements {
    async fn run(&mut self, transaction: &mut dyn Transaction) -> Result<(), SqlError> {
        for (sql, parameters) in &self.statements {
            match transaction.query(sql, parameters).await {
                Ok(rows) => *self.answer.lock().expect("whole") = rows,
                Err(_) if self.swallow => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn job(statements: Vec<(&'static str, Vec<Value>)>) -> Statements {
    Statements {
        statements,
        swallow: false,
        answer: Arc::default(),
    }
}

async fn read(engine: &PostgresEngine, key: &str) -> Result<Vec<Row>, SqlError> {
    let job = job(vec![(READ, vec![text(key)])]);
    let answer = Arc::clone(&job.answer);
    engine.read(Box::new(job)).await?;
    let rows = answer.lock().expect("whole").clone();
    Ok(rows)
}

async fn open(cluster: &PostgresCluster) -> PostgresEngine {
    let opened = PostgresEngine::open(&cluster.database(), Upgrade::Run).await;
    opened.expect("it opens")
}

#[tokio::test]
async fn a_deadlock_is_broken_and_its_loser_runs_again() {
    let cluster = PostgresCluster::shared();
    let engine = open(&cluster).await;
    let meeting = Arc::new(Barrier::new(2));
    let runs = Arc::new(AtomicU32::new(0));
    let crossing = |keys| {
        engine.write(Box::new(Crossing {
            keys,
            holds: Arc::default(),
            meeting: Arc::clone(&meeting),
            runs: Arc::clone(&runs),
            has_met: false,
        }))
    };
    let (one, two) = tokio::join!(crossing(["a", "b"]), crossing(["b", "a"]));
    assert_eq!((one, two), (Ok(()), Ok(())));
    assert!(
        runs.load(Ordering::Relaxed) > 2,
        "one of them had to give way"
    );
}

#[tokio::test]
async fn an_error_rolls_everything_back_even_when_the_job_hides_it() {
    let cluster = PostgresCluster::shared();
    let engine = open(&cluster).await;
    for swallow in [false, true] {
        let failing = Statements {
            swallow,
            ..job(vec![
                (INSERT, vec![text("k"), text("v")]),
                ("SELECT nothing FROM nowhere", vec![]),
            ])
        };
        assert_eq!(
            engine.write(Box::new(failing)).await,
            Err(SqlError::Statement)
        );
        assert_eq!(read(&engine, "k").await, Ok(vec![]));
    }
    let stored = job(vec![(INSERT, vec![text("k"), text("v")])]);
    assert_eq!(engine.write(Box::new(stored)).await, Ok(()));
    assert_eq!(read(&engine, "k").await, Ok(vec![Row(vec![text("v")])]));
    let twice = job(vec![(INSERT, vec![text("k"), text("other")])]);
    assert_eq!(
        engine.write(Box::new(twice)).await,
        Err(SqlError::Statement)
    );
    assert_eq!(read(&engine, "k").await, Ok(vec![Row(vec![text("v")])]));
}

#[tokio::test]
async fn values_come_back_as_they_went() {
    let cluster = PostgresCluster::shared();
    let engine = open(&cluster).await;
    let values = vec![
        Value::Integer(i64::MIN),
        Value::Text("ä\u{1f980} '\\".to_owned()),
        Value::Blob(vec![0, 255, 39]),
        Value::Null,
    ];
    let echo = job(vec![(
        "SELECT $1, $2, $3, $4, 7, 1 = 1, count(*) FROM meta WHERE key = $4",
        values.clone(),
    )]);
    let answer = Arc::clone(&echo.answer);
    engine.read(Box::new(echo)).await.expect("it runs");
    let mut wanted = values;
    wanted.extend([Value::Integer(7), Value::Integer(1), Value::Integer(0)]);
    assert_eq!(*answer.lock().expect("whole"), vec![Row(wanted)]);
}

#[tokio::test]
async fn a_job_that_is_dropped_in_the_middle_leaves_nothing_and_blocks_nobody() {
    let cluster = PostgresCluster::shared();
    let engine = open(&cluster).await;
    for _ in 0..=MAX_CONNECTIONS {
        let holds = Arc::new(Notify::new());
        let crossing = Crossing {
            keys: ["a", "b"],
            holds: Arc::clone(&holds),
            meeting: Arc::new(Barrier::new(2)),
            runs: Arc::default(),
            has_met: false,
        };
        let writing = tokio::spawn({
            let engine = engine.clone();
            async move { engine.write(Box::new(crossing)).await }
        });
        // Nobody comes to this meeting; the job is ended while it holds a row.
        soon("a row that is held", holds.notified()).await;
        writing.abort();
        assert!(writing.await.is_err_and(|error| error.is_cancelled()));
    }
    let other = job(vec![(UPSERT, vec![text("a"), text("other")])]);
    assert_eq!(engine.write(Box::new(other)).await, Ok(()));
    assert_eq!(read(&engine, "b").await, Ok(vec![]));
}

#[tokio::test]
async fn a_restarted_server_is_found_again_and_has_everything() {
    let cluster = PostgresCluster::start();
    let engine = open(&cluster).await;
    let stored = job(vec![(INSERT, vec![text("k"), text("v")])]);
    assert_eq!(engine.write(Box::new(stored)).await, Ok(()));
    cluster.stop();
    assert_eq!(read(&engine, "k").await, Err(SqlError::Unavailable));
    cluster.resume();
    assert_eq!(read(&engine, "k").await, Ok(vec![Row(vec![text("v")])]));
    // All connections break while nobody uses them; nobody notices, not even who writes.
    cluster.stop();
    cluster.resume();
    let stored = job(vec![(UPSERT, vec![text("k"), text("w")])]);
    assert_eq!(engine.write(Box::new(stored)).await, Ok(()));
    assert_eq!(read(&engine, "k").await, Ok(vec![Row(vec![text("w")])]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_jobs_than_connections_wait_for_each_other() {
    let cluster = PostgresCluster::shared();
    let engine = open(&cluster).await;
    let jobs: Vec<_> = (0..MAX_CONNECTIONS + 8)
        .map(|_| {
            let engine = engine.clone();
            tokio::spawn(async move { read(&engine, "schema_version").await })
        })
        .collect();
    for job in jobs {
        assert_eq!(job.await.expect("no panic").map(|rows| rows.len()), Ok(1));
    }
}
