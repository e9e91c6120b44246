//! How long a room takes to open that nobody has in memory, after a long history and without one.
//!
//! The history is made once on each server. Another room gets what the first one holds as a single update: the same
//! bytes without a past. The server is stopped and started again before every opening. The first opening comes right
//! after the history; then the server has some time to itself, as it has in life, and may tidy up.

use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use epicenter_update::lib0::Reader;

use super::measure::{Cpu, Figures, data_directory, milliseconds, touch};
use crate::dialect::STEP2;
use crate::edits::{Target, stamps};
use crate::fleet::{Crowd, Event, Fleet};
use crate::load::{Load, Pace, Shape};
use crate::server::{Kind, Seat, Server};

/// Openings of each room, each after a start.
const OPENINGS: usize = 5;
/// For the whole history.
const HISTORY_DEADLINE: Duration = Duration::from_secs(60);
/// For one answer.
const OPEN_DEADLINE: Duration = Duration::from_secs(60);
/// A server that stores or tidies up a document ten seconds after it was used has done so by then.
const REST: Duration = Duration::from_secs(15);
const HISTORY: usize = 0;
const COPY: usize = 1;

/// Who made the history.
const SHAPE: Shape = Shape {
    rooms: 1,
    writers: 1,
    readers: 1,
};

/// What the history was, and what is left of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Past {
    pub(crate) edits: u32,
    pub(crate) target: Target,
}

impl Past {
    /// Edits whose content somebody sees in the end.
    fn live(&self) -> std::ops::Range<u32> {
        match self.target {
            Target::Array => 0..self.edits,
            Target::Map(keys) => self.edits.saturating_sub(keys)..self.edits,
        }
    }
}

pub(crate) fn measure(server: &mut Server, past: Past) -> anyhow::Result<Figures> {
    ensure!(
        server.kind() != Kind::YWebsocket,
        "it has no store to open a room from"
    );
    touch(server)?;
    let mut load = Load::open(server, SHAPE, HISTORY, past.target)?;
    let made = load.run_at_most(Pace::Saturated, 256, HISTORY_DEADLINE, past.edits as usize)?;
    ensure!(
        made.updates == u64::from(past.edits),
        "only {} of {} edits were made in {} s",
        made.updates,
        past.edits,
        HISTORY_DEADLINE.as_secs()
    );
    drop(load);
    let state = open(server, HISTORY)?;
    state.check(past)?;
    copy(server, &state, past)?;
    if server.kind() == Kind::YSweet {
        // It stores nothing when it is stopped.
        std::thread::sleep(REST);
    }
    server.stop()?;
    server.start_again()?;
    touch(server)?;
    let first = open(server, HISTORY)?;
    first.check(past)?;
    std::thread::sleep(REST);
    let mut openings = [const { Vec::new() }; 2];
    for round in 0..OPENINGS {
        server.stop()?;
        server.start_again()?;
        touch(server)?;
        for room in [HISTORY, COPY] {
            // Each is the first one to be opened as often as the other.
            let room = (room + round) % openings.len();
            let opening = open(server, room)?;
            opening.check(past)?;
            if let Some(list) = openings.get_mut(room) {
                list.push(opening);
            }
        }
    }
    let [history, copied] = &openings;
    let median = |list: &[Opening], figure: fn(&Opening) -> f64| {
        let mut values: Vec<_> = list.iter().map(figure).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or_default()
    };
    let time = |opening: &Opening| milliseconds(opening.time);
    let bytes = |opening: &Opening| opening.update.len() as f64;
    let read = read_time(server, &first.update)?;
    let (with_past, without) = (median(history, time), median(copied, time));
    Ok(vec![
        (
            "history made, edits/s",
            made.updates as f64 / made.elapsed.as_secs_f64(),
        ),
        ("opening right after it, ms", time(&first)),
        ("opening, median, ms", with_past),
        ("opening without a past, median, ms", without),
        (
            "opening over opening without a past (target 2)",
            with_past / without,
        ),
        ("reading as many bytes from a file, ms", milliseconds(read)),
        (
            "server's CPU in an opening, ms",
            median(history, |opening| opening.cpu * 1e3),
        ),
        ("answer right after it, bytes", bytes(&first)),
        ("answer, bytes", median(history, bytes)),
        ("answer without a past, bytes", median(copied, bytes)),
    ])
}

/// One opening of a room.
struct Opening {
    /// From the begin of the connection to the last byte of step 2.
    time: Duration,
    /// Of the server, in seconds.
    cpu: f64,
    /// The update in step 2.
    update: Vec<u8>,
}

impl Opening {
    /// Whether it is all there.
    fn check(&self, past: Past) -> anyhow::Result<()> {
        let live = past.live();
        let mut found = vec![false; live.len()];
        for stamp in stamps(&self.update) {
            let index = stamp
                .number
                .checked_sub(live.start)
                .map(|index| index as usize);
            if let Some(found) = index.and_then(|index| found.get_mut(index)) {
                *found = true;
            }
        }
        let missing = found.iter().filter(|found| !**found).count();
        ensure!(missing == 0, "{missing} edits are missing");
        Ok(())
    }
}

fn open(server: &Server, room: usize) -> anyhow::Result<Opening> {
    let mut fleet = Fleet::new()?;
    let mut answer = Answer(None);
    let entrance = server.entrance(Seat { room, number: 9 })?;
    let cpu = Cpu::begin(server)?;
    let begin = Instant::now();
    fleet.connect(entrance)?;
    let update = loop {
        fleet.poll(Duration::from_millis(100), &mut answer)?;
        if let Some(update) = answer.0.take() {
            break update;
        }
        ensure!(begin.elapsed() < OPEN_DEADLINE, "the room did not open");
    };
    let time = begin.elapsed();
    let cpu = cpu.end(server)?.server;
    Ok(Opening { time, cpu, update })
}

/// Puts the whole of it into another room, as one update.
fn copy(server: &Server, state: &Opening, past: Past) -> anyhow::Result<()> {
    let mut fleet = Fleet::new()?;
    let seat = Seat {
        room: COPY,
        number: 0,
    };
    fleet.join_all([server.entrance(seat)], &mut Answer(None))?;
    fleet.queue_update(0, &state.update);
    fleet.flush(0)?;
    let begin = Instant::now();
    loop {
        fleet.poll_until(fleet.now() + Duration::from_millis(200), &mut Answer(None))?;
        match open(server, COPY)?.check(past) {
            Ok(()) => return Ok(()),
            Err(error) if begin.elapsed() > OPEN_DEADLINE => return Err(error),
            Err(_not_yet) => {}
        }
    }
}

/// The least that an opening could take: as many bytes from a file that the system has in memory.
fn read_time(server: &Server, bytes: &[u8]) -> anyhow::Result<Duration> {
    let path = data_directory(server).join("as-many-bytes");
    std::fs::write(&path, bytes)?;
    let begin = Instant::now();
    let read = std::fs::read(&path)?;
    let time = begin.elapsed();
    ensure!(read.len() == bytes.len(), "a file has changed");
    std::fs::remove_file(&path)?;
    Ok(time)
}

/// Keeps the update of step 2.
struct Answer(Option<Vec<u8>>);

impl Crowd for Answer {
    fn hear(&mut self, _client: usize, _at: Duration, event: Event<'_>) -> anyhow::Result<()> {
        match event {
            Event::Sync(STEP2, body) => self.0 = Some(Reader::new(body).read_var_bytes()?.to_vec()),
            Event::Closed(code) => bail!("the socket was closed with {code:?}"),
            _ => {}
        }
        Ok(())
    }
}
