//! What open sockets cost while nothing happens, or nothing but a sign of life a minute.

use std::time::Duration;

use anyhow::{bail, ensure};

use super::measure::{Cpu, Figures, MIB, touch};
use crate::fleet::{Crowd, Deaf, Event, Fleet};
use crate::proc::kernel_bytes;
use crate::server::{Kind, Seat, Server};

/// Memory and threads settle in this time after the last socket has opened.
const SETTLE: Duration = Duration::from_secs(3);
/// After this time every server has stored and put away what the opening of its rooms left behind: that is not idleness.
const FALL_SILENT: Duration = Duration::from_secs(15);
/// Over which the processor time of idleness is taken, at least.
const LEAST_WATCH: Duration = Duration::from_secs(10);
/// Of each socket.
const PINGS_A_SECOND: f64 = 1.0 / 60.0;

pub(crate) fn measure(
    server: &Server,
    sockets: usize,
    rooms: usize,
    pings: bool,
    duration: Duration,
) -> anyhow::Result<Figures> {
    touch(server)?;
    let mut fleet = Fleet::new()?;
    wait(&mut fleet, SETTLE, &mut Deaf)?;
    let (before, kernel_before) = (server.process()?.memory()?, kernel_bytes()?);
    let entrance = |index: usize| {
        server.entrance(Seat {
            room: index % rooms,
            number: index / rooms,
        })
    };
    // As in a load: every room has its first socket before any has its second.
    fleet.join_all((0..rooms).map(entrance), &mut Deaf)?;
    fleet.join_all((rooms..sockets).map(entrance), &mut Deaf)?;
    wait(&mut fleet, SETTLE, &mut Deaf)?;
    let (after, kernel_after) = (server.process()?.memory()?, kernel_bytes()?);

    wait(&mut fleet, FALL_SILENT, &mut Deaf)?;
    let watch = duration.max(LEAST_WATCH);
    let cpu = Cpu::begin(server)?;
    if pings {
        ping(server, &mut fleet, watch)?;
    } else {
        wait(&mut fleet, watch, &mut Deaf)?;
    }
    let cpu = cpu.end(server)?;
    let end = server.process()?.memory()?;
    let per_socket = |after: u64, before: u64| after.saturating_sub(before) as f64 / sockets as f64;
    Ok(vec![
        ("empty server, resident, MiB", before.resident as f64 / MIB),
        (
            "resident over the empty server, B per socket",
            per_socket(after.resident, before.resident),
        ),
        (
            "proportional (PSS), B per socket",
            per_socket(after.proportional, before.proportional),
        ),
        (
            "resident at the end, B per socket",
            per_socket(end.resident, before.resident),
        ),
        (
            "kernel, both ends, B per socket",
            per_socket(kernel_after, kernel_before),
        ),
        ("CPU, percent of a core", 100.0 * cpu.server / cpu.elapsed),
    ])
}

fn wait(fleet: &mut Fleet, time: Duration, crowd: &mut impl Crowd) -> anyhow::Result<()> {
    let until = fleet.now() + time;
    fleet.poll_until(until, crowd)
}

/// Lets every socket ping once a minute, evenly spread.
fn ping(server: &Server, fleet: &mut Fleet, watch: Duration) -> anyhow::Result<()> {
    let sockets = fleet.len();
    let step = Duration::from_secs_f64(1.0 / (PINGS_A_SECOND * sockets as f64));
    let begin = fleet.now();
    let mut answers = Answers::default();
    let mut sent: u32 = 0;
    while fleet.now() < begin + watch {
        let client = sent as usize % sockets;
        fleet.queue_ping(client);
        fleet.flush(client)?;
        sent += 1;
        let until = begin + step * sent;
        fleet.poll_until(until, &mut answers)?;
    }
    wait(fleet, Duration::from_millis(500), &mut answers)?;
    ensure!(
        server.kind() != Kind::Hub || answers.texts == sent,
        "{sent} pings had {} answers",
        answers.texts
    );
    Ok(())
}

/// Counts pongs.
#[derive(Debug, Default)]
struct Answers {
    texts: u32,
}

impl Crowd for Answers {
    fn hear(&mut self, client: usize, _at: Duration, event: Event<'_>) -> anyhow::Result<()> {
        match event {
            Event::Text(b"pong") => self.texts += 1,
            Event::Closed(code) => bail!("the socket of client {client} was closed with {code:?}"),
            _ => {}
        }
        Ok(())
    }
}
