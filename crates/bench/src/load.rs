//! Writers and readers in rooms, and what came of it.
//!
//! Every room has one writer and some readers. An edit counts as delivered once per reader; the writer's own socket
//! does not count. A writer has at most a window of edits on their way: the next one is sent when every reader of
//! the room has an old one. Every reader checks that it gets each edit once and in order, so a number printed here is
//! also a number of correct deliveries.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use futures_util::future::try_join_all;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::edits::{Editor, stamps};
use crate::percentile::percentile;
use crate::process::own_cpu_time;
use crate::server::{Seat, Server};
use crate::socket::{Inbound, Outbound};

/// Edits of each writer before the measurement, so that caches are warm and the log has its size.
const WARM_UP: u32 = 200;
/// How long the last edits may take to arrive.
const DRAIN_DEADLINE: Duration = Duration::from_secs(60);
/// Read buffer of a busy client.
const READ_BUFFER_BYTES: usize = 64 * 1024;

/// What to drive.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) rooms: usize,
    pub(crate) readers: usize,
    pub(crate) pace: Pace,
    pub(crate) duration: Duration,
}

/// How a writer spaces its edits.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// Edits a second of each writer.
    Rate(u32),
    /// As fast as the window allows.
    Saturated {
        /// Edits of a writer that not every reader has.
        window: usize,
    },
}

/// What was measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    pub(crate) updates: u64,
    pub(crate) deliveries: u64,
    pub(crate) elapsed: Duration,
    pub(crate) server_cpu: Duration,
    pub(crate) generator_cpu: Duration,
    /// From just before the write of the sender to just after the read of a receiver.
    pub(crate) median: Duration,
    pub(crate) p99: Duration,
}

/// A fixed rate needs a window only as a bound.
const RATE_WINDOW: usize = 4096;

impl Load {
    pub(crate) fn sockets(&self) -> usize {
        self.rooms * (self.readers + 1)
    }

    fn window(&self) -> usize {
        match self.pace {
            Pace::Rate(_) => RATE_WINDOW,
            Pace::Saturated { window } => window,
        }
    }

    /// Opens the sockets, warms up, measures.
    pub(crate) async fn drive(&self, server: &Server) -> anyhow::Result<Outcome> {
        let begin = Instant::now();
        let mut rooms = Vec::with_capacity(self.rooms);
        for number in 0..self.rooms {
            rooms.push(Room::open(server, number, self, begin).await?);
        }
        try_join_all(rooms.iter_mut().map(Room::warm_up)).await?;

        let (cpu_before, own_before) = (server.process.cpu_time()?, own_cpu_time()?);
        let started = Instant::now();
        try_join_all(
            rooms
                .iter_mut()
                .map(|room| room.measure(self.pace, self.duration)),
        )
        .await?;
        let elapsed = started.elapsed();
        let server_cpu = server.process.cpu_time()?.saturating_sub(cpu_before);
        let generator_cpu = own_cpu_time()?.saturating_sub(own_before);

        let mut latencies = Vec::new();
        for room in &rooms {
            latencies.append(&mut room.flow.lock().latencies);
        }
        let deliveries = latencies.len() as u64;
        Ok(Outcome {
            updates: deliveries / self.readers.max(1) as u64,
            deliveries,
            elapsed,
            server_cpu,
            generator_cpu,
            median: Duration::from_nanos(percentile(&mut latencies, 50)),
            p99: Duration::from_nanos(percentile(&mut latencies, 99)),
        })
    }
}

/// One writer and its readers. The readers end when it is dropped.
struct Room {
    writer: Outbound,
    editor: Editor,
    flow: Arc<Flow>,
    begin: Instant,
    _readers: JoinSet<()>,
}

/// What a writer and its readers share.
struct Flow {
    /// One permit per edit that may still be sent; closed when a reader fails.
    window: Semaphore,
    size: usize,
    readers: usize,
    state: Mutex<State>,
}

struct State {
    /// Of each edit on its way, by its number modulo the window: how many readers lack it.
    lacking: Vec<usize>,
    /// Nanoseconds of each delivery that counts.
    latencies: Vec<u64>,
    failure: Option<anyhow::Error>,
}

impl Room {
    async fn open(
        server: &Server,
        number: usize,
        load: &Load,
        begin: Instant,
    ) -> anyhow::Result<Self> {
        let flow = Arc::new(Flow::new(load.window(), load.readers));
        let mut tasks = JoinSet::new();
        for reader in 1..=load.readers {
            let seat = Seat {
                room: number,
                number: reader,
            };
            let (outbound, mut inbound) = server.join(seat, READ_BUFFER_BYTES).await?.split();
            let flow = Arc::clone(&flow);
            tasks.spawn(async move {
                // Held, because a socket is closed when one half of it is dropped.
                let _outbound = outbound;
                if let Err(error) = flow.receive(&mut inbound, begin).await {
                    flow.fail(error.context(format!("reader {reader} of room {number}")));
                }
            });
        }
        let seat = Seat {
            room: number,
            number: 0,
        };
        let (writer, mut inbound) = server.join(seat, READ_BUFFER_BYTES).await?.split();
        let listening = Arc::clone(&flow);
        tasks.spawn(async move {
            // What the writer is told does not count, but somebody has to read it.
            loop {
                if let Err(error) = inbound.next().await {
                    listening.fail(error.context(format!("the writer of room {number}")));
                    return;
                }
            }
        });
        Ok(Self {
            writer,
            editor: Editor::new(1_000_000 + number as u64),
            flow,
            begin,
            _readers: tasks,
        })
    }

    async fn warm_up(&mut self) -> anyhow::Result<()> {
        for _ in 0..WARM_UP {
            self.send_one().await?;
        }
        self.drain().await
    }

    async fn measure(&mut self, pace: Pace, duration: Duration) -> anyhow::Result<()> {
        let started = Instant::now();
        match pace {
            Pace::Saturated { .. } => {
                while started.elapsed() < duration {
                    self.send_one().await?;
                }
            }
            Pace::Rate(rate) => {
                let mut ticks = interval(Duration::from_secs(1) / rate.max(1));
                ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
                while started.elapsed() < duration {
                    ticks.tick().await;
                    self.send_one().await?;
                }
            }
        }
        self.drain().await
    }

    async fn send_one(&mut self) -> anyhow::Result<()> {
        match self.flow.window.acquire().await {
            Ok(permit) => permit.forget(),
            Err(_closed) => bail!(self.flow.take_failure()),
        }
        let edit = self
            .editor
            .edit(self.begin.elapsed(), self.writer.encoding());
        self.writer
            .send(&edit)
            .await
            .context("an edit could not be sent")
    }

    /// Waits until every reader has everything.
    async fn drain(&self) -> anyhow::Result<()> {
        let all = u32::try_from(self.flow.size).unwrap_or(u32::MAX);
        let drained = timeout(DRAIN_DEADLINE, self.flow.window.acquire_many(all))
            .await
            .context("edits are missing at the readers")?;
        match drained {
            // Dropping them gives the permits back.
            Ok(_permits) => Ok(()),
            Err(_closed) => bail!(self.flow.take_failure()),
        }
    }
}

impl Flow {
    fn new(window: usize, readers: usize) -> Self {
        Self {
            window: Semaphore::new(window),
            size: window,
            readers,
            state: Mutex::new(State {
                lacking: vec![readers; window],
                latencies: Vec::new(),
                failure: None,
            }),
        }
    }

    async fn receive(&self, inbound: &mut Inbound, begin: Instant) -> anyhow::Result<()> {
        let mut expected = 0;
        loop {
            let Some(frame) = inbound.next().await? else {
                continue;
            };
            let now = begin.elapsed();
            let mut state = self.lock();
            for stamp in stamps(&frame) {
                ensure!(
                    stamp.number == expected,
                    "edit {} came where {expected} was due",
                    stamp.number
                );
                expected += 1;
                if stamp.number >= WARM_UP {
                    let latency = now.saturating_sub(stamp.sent_at).as_nanos();
                    state
                        .latencies
                        .push(u64::try_from(latency).unwrap_or(u64::MAX));
                }
                self.count(&mut state, stamp.number);
            }
        }
    }

    fn count(&self, state: &mut State, number: u32) {
        let index = number as usize % self.size;
        let Some(lacking) = state.lacking.get_mut(index) else {
            return;
        };
        *lacking = lacking.saturating_sub(1);
        if *lacking == 0 {
            // Nobody can have the edit that comes here next before this one's permit is used again.
            *lacking = self.readers;
            self.window.add_permits(1);
        }
    }

    fn fail(&self, error: anyhow::Error) {
        self.lock().failure.get_or_insert(error);
        self.window.close();
    }

    fn take_failure(&self) -> anyhow::Error {
        self.lock()
            .failure
            .take()
            .unwrap_or_else(|| anyhow::anyhow!("a reader has failed"))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No step between locking and unlocking leaves the counts half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
