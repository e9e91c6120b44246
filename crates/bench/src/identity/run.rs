//! Requests over many connections, as fast as they go or at a fixed rate, and what came of it.
//!
//! At a fixed rate a latency begins when the request was due, not when a connection was free for it: a server that
//! stalls is charged for everybody who would have waited.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use anyhow::Context;
use futures_util::future::try_join_all;
use tokio::time::sleep_until;

use super::site::Site;
use crate::http_client::Connection;
use crate::percentile::percentile;
use crate::proc::own_cpu_time;

/// When requests are sent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// Each connection has one under way.
    Saturated,
    /// So many a second over all connections.
    Rate(u32),
}

/// What was measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    pub(crate) per_second: f64,
    pub(crate) median_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) server_cpu_us: f64,
    pub(crate) server_cores: f64,
    pub(crate) generator_cores: f64,
}

/// Does `work` once for each of `count` tickets over as many connections as there are seats. Each seat is handed to its
/// work exclusively and keeps what it is left with.
pub(crate) async fn drive<S>(
    site: &Site,
    seats: &mut [S],
    count: usize,
    pace: Pace,
    work: impl AsyncFn(&mut Connection, &mut S, usize) -> anyhow::Result<()>,
) -> anyhow::Result<Outcome> {
    let mut connections = Vec::new();
    for _ in 0..seats.len() {
        connections.push(site.connect().await?);
    }
    let next = Cell::new(0);
    let latencies = RefCell::new(Vec::with_capacity(count));
    let (cpu_before, own_before) = (site.process.cpu_time()?, own_cpu_time()?);
    let started = Instant::now();
    let workers = connections.iter_mut().zip(seats.iter_mut());
    try_join_all(workers.map(async |(connection, seat)| {
        loop {
            let ticket = next.get();
            if ticket >= count {
                return anyhow::Ok(());
            }
            next.set(ticket + 1);
            let due = match pace {
                Pace::Saturated => Instant::now(),
                Pace::Rate(rate) => {
                    let due = started + Duration::from_secs_f64(ticket as f64 / f64::from(rate));
                    sleep_until(due.into()).await;
                    due
                }
            };
            work(connection, seat, ticket)
                .await
                .with_context(|| format!("request {ticket}"))?;
            let nanos = u64::try_from(due.elapsed().as_nanos()).unwrap_or(u64::MAX);
            latencies.borrow_mut().push(nanos);
        }
    }))
    .await?;
    let elapsed = started.elapsed().as_secs_f64();
    let server_cpu = (site.process.cpu_time()?.saturating_sub(cpu_before)).as_secs_f64();
    let own_cpu = own_cpu_time()?.saturating_sub(own_before).as_secs_f64();
    let mut latencies = latencies.into_inner();
    let done = latencies.len().max(1) as f64;
    let mut milliseconds = |percent| percentile(&mut latencies, percent) as f64 / 1e6;
    Ok(Outcome {
        per_second: done / elapsed,
        median_ms: milliseconds(50),
        p99_ms: milliseconds(99),
        server_cpu_us: server_cpu * 1e6 / done,
        server_cores: server_cpu / elapsed,
        generator_cores: own_cpu / elapsed,
    })
}
