//! Writers and readers in rooms, and what came of it.
//!
//! Every socket of a room hears every writer. An edit counts as delivered once for each of the others; the writer's own
//! socket does not count, whether the server echoes or not. A writer has at most a window of edits on their way: the
//! next one is sent when everybody else in the room has an old one. Every socket checks that it gets each edit once and
//! in its writer's order, so a number printed here is also a number of correct deliveries.

use std::time::Duration;

use anyhow::{Context, bail, ensure};

use crate::dialect::{STEP2, UPDATE};
use crate::edits::{Editor, Target, stamps};
use crate::fleet::{Crowd, Event, Fleet};
use crate::server::{Seat, Server};

/// In which something must arrive while edits are on their way.
const STALL_DEADLINE: Duration = Duration::from_secs(20);
/// How much longer than planned a run may take before it is given up.
const OVERTIME: Duration = Duration::from_secs(40);
/// A fixed rate needs a window only as a bound.
const RATE_WINDOW: usize = 4096;
/// Bytes of a writer that the server has not taken; more of its edits wait until it does.
const MAX_QUEUED_BYTES: usize = 1 << 20;

/// Who is where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) rooms: usize,
    /// In each room.
    pub(crate) writers: usize,
    /// In each room, besides the writers.
    pub(crate) readers: usize,
}

/// How the edits are spaced.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pace {
    /// Edits a second of all writers together, evenly spread over them.
    Rate(f64),
    /// As fast as the window of each writer allows.
    Saturated,
}

/// What was measured.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) updates: u64,
    pub(crate) deliveries: u64,
    /// From the first edit to the last delivery.
    pub(crate) elapsed: Duration,
    /// Nanoseconds of each delivery, from just before the write of the sender to just after the read of the receiver.
    pub(crate) latencies: Vec<u64>,
}

impl Shape {
    pub(crate) fn sockets(&self) -> usize {
        self.rooms * self.in_a_room()
    }

    pub(crate) fn in_a_room(&self) -> usize {
        self.writers + self.readers
    }

    pub(crate) fn all_writers(&self) -> usize {
        self.rooms * self.writers
    }

    fn window(&self, pace: Pace, total: usize) -> usize {
        match pace {
            Pace::Rate(_) => RATE_WINDOW,
            Pace::Saturated => (total / self.writers.max(1)).max(4),
        }
    }

    /// The rooms' first sockets come first, then their second ones and so on: a writer has its own number among clients.
    fn seat_of(&self, client: usize) -> Seat {
        Seat {
            room: client % self.rooms,
            number: client / self.rooms,
        }
    }
}

/// Open sockets with their writers.
pub(crate) struct Load {
    pub(crate) fleet: Fleet,
    shape: Shape,
    editors: Vec<Editor>,
    tally: Tally,
}

/// What has been sent and who has it.
#[derive(Debug)]
struct Tally {
    shape: Shape,
    /// The number that is due next, of each writer of the room, for each client.
    expected: Vec<u32>,
    /// Of each edit on its way, by its writer and its number modulo the window: how many lack it.
    lacking: Vec<u16>,
    window: usize,
    /// Edits of each writer that somebody lacks.
    under_way: Vec<usize>,
    all_under_way: usize,
    /// Deliveries of edits that were sent from here on count.
    from: Option<Duration>,
    latencies: Vec<u64>,
    heard_at: Duration,
}

impl Load {
    /// Opens the sockets of rooms `first_room` and following, which nobody has written into yet.
    pub(crate) fn open(
        server: &Server,
        shape: Shape,
        first_room: usize,
        target: Target,
    ) -> anyhow::Result<Self> {
        let mut fleet = Fleet::new()?;
        let mut tally = Tally::new(shape);
        let mut join = |clients: std::ops::Range<usize>| {
            let entrances = clients.map(|client| {
                let Seat { room, number } = shape.seat_of(client);
                let room = first_room + room;
                server.entrance(Seat { room, number })
            });
            fleet.join_all(entrances, &mut tally)
        };
        // y-sweet makes two documents of a room that two clients open for the first time at once.
        join(0..shape.rooms)?;
        join(shape.rooms..shape.sockets())?;
        let editor = |writer: usize| {
            let client = 1_000_000 + writer as u64;
            let in_room = u16::try_from(shape.seat_of(writer).number).unwrap_or(u16::MAX);
            Editor::new(client, in_room, target)
        };
        Ok(Self {
            fleet,
            shape,
            editors: (0..shape.all_writers()).map(editor).collect(),
            tally,
        })
    }

    /// Sends `count` edits in all and waits until they have arrived, so that caches are warm and rooms exist.
    pub(crate) fn warm_up(&mut self, count: usize) -> anyhow::Result<()> {
        self.tally
            .set_window(self.shape.window(Pace::Saturated, 64));
        for number in 0..count.max(self.shape.all_writers()) {
            let writer = number % self.shape.all_writers();
            while !self.may_send(writer) {
                self.listen(Duration::from_millis(100))?;
            }
            self.queue_edit(writer);
            self.fleet.flush(writer)?;
        }
        self.drain()
    }

    /// Sends for `duration` and waits for the last delivery. At saturation `window` edits of each room are on their way.
    pub(crate) fn run(
        &mut self,
        pace: Pace,
        window: usize,
        duration: Duration,
    ) -> anyhow::Result<Outcome> {
        self.run_at_most(pace, window, duration, usize::MAX)
    }

    /// The same, for at most `count` edits.
    pub(crate) fn run_at_most(
        &mut self,
        pace: Pace,
        window: usize,
        duration: Duration,
        count: usize,
    ) -> anyhow::Result<Outcome> {
        self.tally.set_window(self.shape.window(pace, window));
        let sent_before = self.sent();
        let begin = self.fleet.now();
        self.tally.begin(begin);
        match pace {
            Pace::Rate(rate) => self.send_at(rate, begin, duration)?,
            Pace::Saturated => self.send_all(begin, duration, count)?,
        }
        self.drain()?;
        let elapsed = self.tally.heard_at.saturating_sub(begin);
        let latencies = std::mem::take(&mut self.tally.latencies);
        self.tally.from = None;
        let updates = self.sent() - sent_before;
        let deliveries = latencies.len() as u64;
        let others = self.shape.in_a_room() as u64 - 1;
        ensure!(
            deliveries == updates * others,
            "{updates} updates were delivered {deliveries} times instead of {others} times each"
        );
        Ok(Outcome {
            updates,
            deliveries,
            elapsed,
            latencies,
        })
    }

    fn sent(&self) -> u64 {
        self.editors
            .iter()
            .map(|editor| u64::from(editor.count()))
            .sum()
    }

    fn send_at(&mut self, rate: f64, begin: Duration, duration: Duration) -> anyhow::Result<()> {
        let writers = self.shape.all_writers();
        let step = Duration::from_secs_f64(1.0 / rate);
        let planned = (duration.as_secs_f64() * rate) as u32;
        for number in 0..planned {
            let due = begin + step * number;
            let writer = number as usize % writers;
            loop {
                let now = self.fleet.now();
                ensure!(
                    now < begin + duration + OVERTIME,
                    "the rate is not reached: {number} of {planned} edits were sent in time"
                );
                if now < due {
                    self.listen(due - now)?;
                } else if self.may_send(writer) {
                    break;
                } else {
                    self.listen(Duration::from_millis(100))?;
                }
            }
            self.queue_edit(writer);
            self.fleet.flush(writer)?;
        }
        Ok(())
    }

    fn send_all(
        &mut self,
        begin: Duration,
        duration: Duration,
        count: usize,
    ) -> anyhow::Result<()> {
        let mut left = count;
        while left > 0 && self.fleet.now() < begin + duration {
            for writer in 0..self.shape.all_writers() {
                let mut queued = false;
                while left > 0 && self.may_send(writer) {
                    self.queue_edit(writer);
                    left -= 1;
                    queued = true;
                }
                if queued {
                    self.fleet.flush(writer)?;
                }
            }
            self.listen(Duration::from_millis(100))?;
        }
        Ok(())
    }

    fn may_send(&self, writer: usize) -> bool {
        self.tally.under_way.get(writer).copied().unwrap_or(0) < self.tally.window
            && self.fleet.queued_bytes(writer) < MAX_QUEUED_BYTES
    }

    fn queue_edit(&mut self, writer: usize) {
        let (Some(editor), Some(encoding)) =
            (self.editors.get_mut(writer), self.fleet.encoding(writer))
        else {
            return;
        };
        let edit = editor.edit(self.fleet.now(), encoding);
        self.tally.sent(writer);
        self.fleet.queue_update(writer, &edit);
    }

    /// Hears what comes in, for at most so long.
    pub(crate) fn listen(&mut self, timeout: Duration) -> anyhow::Result<()> {
        self.fleet.poll(timeout, &mut self.tally)?;
        let silence = self.fleet.now().saturating_sub(self.tally.heard_at);
        ensure!(
            self.tally.all_under_way == 0 || silence < STALL_DEADLINE,
            "{} edits have not arrived everywhere, and nothing came for {} s",
            self.tally.all_under_way,
            STALL_DEADLINE.as_secs()
        );
        Ok(())
    }

    /// Waits until everybody has everything.
    fn drain(&mut self) -> anyhow::Result<()> {
        let begin = self.fleet.now();
        while self.tally.all_under_way > 0 {
            self.listen(Duration::from_millis(100))?;
            ensure!(
                self.fleet.now() < begin + OVERTIME,
                "{} edits have not arrived everywhere {} s after the last was sent",
                self.tally.all_under_way,
                OVERTIME.as_secs()
            );
        }
        Ok(())
    }
}

impl Tally {
    fn new(shape: Shape) -> Self {
        Self {
            shape,
            expected: vec![0; shape.sockets() * shape.writers],
            lacking: Vec::new(),
            window: 0,
            under_way: vec![0; shape.all_writers()],
            all_under_way: 0,
            from: None,
            latencies: Vec::new(),
            heard_at: Duration::ZERO,
        }
    }

    /// Only while nothing is under way.
    fn set_window(&mut self, window: usize) {
        self.window = window;
        self.lacking.clear();
        self.lacking.resize(self.shape.all_writers() * window, 0);
    }

    fn begin(&mut self, at: Duration) {
        // Stamps are whole microseconds.
        self.from = Some(Duration::from_micros(at.as_micros() as u64));
        self.latencies.clear();
        self.heard_at = at;
    }

    fn sent(&mut self, writer: usize) {
        if let Some(under_way) = self.under_way.get_mut(writer) {
            if self.all_under_way == 0 {
                // Silence before the first edit is none.
                self.heard_at = self.heard_at.max(self.from.unwrap_or_default());
            }
            *under_way += 1;
            self.all_under_way += 1;
        }
    }

    fn count(&mut self, writer: usize, number: u32) {
        let index = writer * self.window + number as usize % self.window.max(1);
        let Some(lacking) = self.lacking.get_mut(index) else {
            return;
        };
        // Zero stands for everybody, so that nothing is written when an edit is sent.
        if *lacking == 0 {
            *lacking = u16::try_from(self.shape.in_a_room() - 1).unwrap_or(u16::MAX);
        }
        *lacking -= 1;
        if *lacking == 0 {
            if let Some(under_way) = self.under_way.get_mut(writer) {
                *under_way = under_way.saturating_sub(1);
            }
            self.all_under_way = self.all_under_way.saturating_sub(1);
        }
    }
}

impl Crowd for Tally {
    fn hear(&mut self, client: usize, at: Duration, event: Event<'_>) -> anyhow::Result<()> {
        let body = match event {
            Event::Sync(UPDATE | STEP2, body) => body,
            Event::Closed(code) => bail!("the server closed the socket with {code:?}"),
            _ => return Ok(()),
        };
        self.heard_at = at;
        let Seat { room, number: seat } = self.shape.seat_of(client);
        for stamp in stamps(body) {
            let in_room = usize::from(stamp.writer);
            if in_room == seat {
                // An echo.
                continue;
            }
            let expected = self
                .expected
                .get_mut(client * self.shape.writers + in_room)
                .filter(|_| in_room < self.shape.writers)
                .with_context(|| format!("there is no writer {in_room}"))?;
            ensure!(
                stamp.number == *expected,
                "edit {} of writer {in_room} came where {expected} was due",
                stamp.number
            );
            *expected += 1;
            if self.from.is_some_and(|from| stamp.sent_at >= from) {
                let latency = at.saturating_sub(stamp.sent_at).as_nanos();
                self.latencies
                    .push(u64::try_from(latency).unwrap_or(u64::MAX));
            }
            self.count(in_room * self.shape.rooms + room, stamp.number);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edits::Encoding;

    const SHAPE: Shape = Shape {
        rooms: 2,
        writers: 2,
        readers: 1,
    };

    fn update(editor: &mut Editor) -> Vec<u8> {
        editor.edit(Duration::from_millis(1), Encoding::V2)
    }

    fn hear(tally: &mut Tally, client: usize, update: &[u8]) -> anyhow::Result<()> {
        let at = Duration::from_millis(3);
        tally.hear(client, at, Event::Sync(UPDATE, update))
    }

    #[test]
    fn writers_come_first_and_each_room_has_its_own() {
        assert_eq!(SHAPE.sockets(), 6);
        let seats = [0, 1, 2, 5].map(|client| SHAPE.seat_of(client));
        assert_eq!(
            seats.map(|seat| (seat.room, seat.number)),
            [(0, 0), (1, 0), (0, 1), (1, 2)]
        );
    }

    #[test]
    fn an_edit_is_under_way_until_everybody_else_has_it() {
        let mut tally = Tally::new(SHAPE);
        tally.set_window(4);
        tally.begin(Duration::ZERO);
        // The second writer of the second room, whose clients are 1, 3 and 5.
        let mut editor = Editor::new(1, 1, Target::Array);
        let edit = update(&mut editor);
        tally.sent(3);
        hear(&mut tally, 3, &edit).expect("an echo");
        hear(&mut tally, 1, &edit).expect("a delivery");
        assert_eq!((tally.all_under_way, tally.latencies.len()), (1, 1));
        hear(&mut tally, 5, &edit).expect("a delivery");
        assert_eq!(tally.all_under_way, 0);
        assert_eq!(tally.latencies, [2_000_000; 2]);
    }

    #[test]
    fn an_edit_that_is_missing_or_comes_twice_is_an_error() {
        let mut tally = Tally::new(SHAPE);
        tally.set_window(4);
        let mut editor = Editor::new(1, 0, Target::Array);
        let first = update(&mut editor);
        let second = update(&mut editor);
        assert!(hear(&mut tally, 2, &second).is_err());
        assert!(hear(&mut tally, 2, &first).is_ok());
        assert!(hear(&mut tally, 2, &first).is_err());
    }

    #[test]
    fn a_closed_socket_is_an_error() {
        let mut tally = Tally::new(SHAPE);
        let closed = Event::Closed(Some(1013));
        assert!(tally.hear(0, Duration::ZERO, closed).is_err());
    }
}
