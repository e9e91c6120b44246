//! One measurement of one server.

use std::path::Path;
use std::time::Duration;

use super::plan::{Plan, Work};
use super::{cold, http, idle};
use crate::block_on;
use crate::disk::{DiskTimes, DiskWatch};
use crate::edits::Target;
use crate::fleet::{Deaf, Fleet};
use crate::load::{Load, Outcome, Pace, Shape};
use crate::percentile::percentile;
use crate::proc::{kernel_bytes, own_cpu_time};
use crate::server::{Seat, Server};

/// A figure by its label, in the order of the table.
pub(crate) type Figures = Vec<(&'static str, f64)>;

/// Every peer has stored what changed in this time; the slowest does it every ten seconds.
const STORE_CYCLE: Duration = Duration::from_secs(12);
/// Edits before a measurement.
const WARM_UP: usize = 500;

/// Runs `plan` on a server that was just started.
pub(crate) fn measure(
    plan: &Plan,
    server: &mut Server,
    duration: Duration,
) -> anyhow::Result<Figures> {
    match plan.work {
        Work::FanOut { shape, pace } => fan_out(server, shape, pace, duration),
        Work::Latency { shape } => latency(server, shape, duration),
        Work::Idle {
            sockets,
            rooms,
            pings,
        } => idle::measure(server, sockets, rooms, pings, duration),
        Work::Cold { past } => cold::measure(server, past),
        Work::Http { connections } => block_on(http::measure(server, connections, duration)),
    }
}

/// Opens one socket, so that what a server sets up once is not counted as a connection's.
pub(crate) fn touch(server: &Server) -> anyhow::Result<()> {
    let mut fleet = Fleet::new()?;
    let seat = Seat {
        room: usize::MAX / 2,
        number: 0,
    };
    fleet.join_all([server.entrance(seat)], &mut Deaf)
}

fn fan_out(
    server: &Server,
    shape: Shape,
    pace: Pace,
    duration: Duration,
) -> anyhow::Result<Figures> {
    touch(server)?;
    let (before, kernel_before) = (server.process()?.memory()?, kernel_bytes()?);
    let mut load = Load::open(server, shape, 0, Target::Array)?;
    load.warm_up(WARM_UP)?;
    // What a peer stores only now and then is part of its cost where the rate is fixed.
    let duration = match pace {
        Pace::Rate(_) => duration.max(STORE_CYCLE),
        Pace::Saturated => duration,
    };
    let cpu = Cpu::begin(server)?;
    let mut outcome = load.run(pace, WINDOW, duration)?;
    let cpu = cpu.end(server)?;
    let (after, kernel_after) = (server.process()?.memory()?, kernel_bytes()?);
    let mut figures = flow(&mut outcome, &cpu);
    let sockets = shape.sockets() as f64;
    let per_socket = |after: u64, before: u64| after.saturating_sub(before) as f64 / sockets;
    figures.extend([
        ("server resident, MiB", after.resident as f64 / MIB),
        (
            "resident over the empty server, B per socket",
            per_socket(after.resident, before.resident),
        ),
        (
            "kernel, both ends, B per socket",
            per_socket(kernel_after, kernel_before),
        ),
    ]);
    Ok(figures)
}

/// Of saturation, where latency is measured.
const SHARE: f64 = 0.3;
pub(crate) const MIB: f64 = 1_048_576.0;
/// Edits of one room under way at saturation.
const WINDOW: usize = 256;

fn latency(server: &Server, shape: Shape, duration: Duration) -> anyhow::Result<Figures> {
    let directory = data_directory(server);
    let mut load = Load::open(server, shape, 0, Target::Array)?;
    load.warm_up(WARM_UP)?;
    let full = load.run(Pace::Saturated, WINDOW, duration / 2)?;
    let rate = SHARE * full.updates as f64 / full.elapsed.as_secs_f64();
    let mut alone = DiskTimes::default();
    alone.sample(directory)?;
    let beside = DiskWatch::begin(directory)?;
    let cpu = Cpu::begin(server)?;
    let mut outcome = load.run(Pace::Rate(rate), WINDOW, duration)?;
    let cpu = cpu.end(server)?;
    let mut beside = beside.end()?;
    alone.sample(directory)?;
    let mut figures = flow(&mut outcome, &cpu);
    let sync = milliseconds(alone.percentile(50));
    let busy_sync = milliseconds(beside.percentile(50));
    let p50 = percentile(&mut outcome.latencies, 50) as f64 / 1e6;
    let p99 = percentile(&mut outcome.latencies, 99) as f64 / 1e6;
    figures.extend([
        ("fdatasync alone, p50, ms", sync),
        ("fdatasync beside the load, p50, ms", busy_sync),
        ("p50 over fdatasync alone (target 2)", p50 / sync),
        ("p99 over fdatasync alone (target 4)", p99 / sync),
        ("p50 over fdatasync beside the load", p50 / busy_sync),
        ("p99 over fdatasync beside the load", p99 / busy_sync),
    ]);
    Ok(figures)
}

fn flow(outcome: &mut Outcome, cpu: &Cpu) -> Figures {
    let seconds = outcome.elapsed.as_secs_f64();
    let deliveries = outcome.deliveries as f64;
    vec![
        ("updates/s", outcome.updates as f64 / seconds),
        ("deliveries/s", deliveries / seconds),
        (CPU_PER_DELIVERY, cpu.server / deliveries * 1e5),
        ("server, cores used", cpu.server / cpu.elapsed),
        ("load generator, cores used", cpu.own / cpu.elapsed),
        (
            "delivery p50, ms",
            percentile(&mut outcome.latencies, 50) as f64 / 1e6,
        ),
        (
            "delivery p99, ms",
            percentile(&mut outcome.latencies, 99) as f64 / 1e6,
        ),
    ]
}

/// The figure that the targets are about.
pub(crate) const CPU_PER_DELIVERY: &str = "CPU s per 100,000 deliveries";

pub(crate) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Processor time of the server and of this process over a stretch of time, in seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cpu {
    pub(crate) server: f64,
    pub(crate) own: f64,
    pub(crate) elapsed: f64,
}

/// Where such a stretch began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CpuBegin {
    server: Duration,
    own: Duration,
    at: std::time::Instant,
}

impl Cpu {
    pub(crate) fn begin(server: &Server) -> anyhow::Result<CpuBegin> {
        Ok(CpuBegin {
            server: server.process()?.cpu_time()?,
            own: own_cpu_time()?,
            at: std::time::Instant::now(),
        })
    }
}

impl CpuBegin {
    pub(crate) fn end(self, server: &Server) -> anyhow::Result<Cpu> {
        let since = |now: Duration, before: Duration| now.saturating_sub(before).as_secs_f64();
        Ok(Cpu {
            server: since(server.process()?.cpu_time()?, self.server),
            own: since(own_cpu_time()?, self.own),
            elapsed: self.at.elapsed().as_secs_f64(),
        })
    }
}

/// The folder that the server writes into.
pub(crate) fn data_directory(server: &Server) -> &Path {
    server.directory.path()
}
