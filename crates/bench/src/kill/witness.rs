//! Who has received what: the other side of the promise that nothing visible is lost.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use crate::dialect::{STEP2, UPDATE};
use crate::edits::stamps;
use crate::fleet::{Crowd, Event};

/// The number of a writer that no other writer of its room has, in any round.
pub(crate) fn writer_id(round: usize, writer: usize, writers: usize) -> anyhow::Result<u16> {
    u16::try_from(round * writers + writer).context("too many rounds")
}

/// Counts of edits by writer.
type Counts = BTreeMap<u16, u32>;

/// Listens to all clients of all rounds.
#[derive(Debug)]
pub(crate) struct Witness {
    rooms: usize,
    writers: usize,
    round: usize,
    /// What somebody else has of each writer, by room: the first so many of its edits.
    seen: Vec<Counts>,
    /// What each client of this round has received of each writer.
    clients: BTreeMap<usize, Counts>,
}

impl Witness {
    pub(crate) fn new(rooms: usize, writers: usize) -> Self {
        Self {
            rooms,
            writers,
            round: 0,
            seen: vec![Counts::new(); rooms],
            clients: BTreeMap::new(),
        }
    }

    pub(crate) fn rooms(&self) -> usize {
        self.rooms
    }

    pub(crate) fn begin_round(&mut self, round: usize) {
        self.round = round;
        self.clients.clear();
    }

    /// Edits of this round that somebody else has.
    pub(crate) fn seen_in_round(&self) -> u64 {
        let first = u16::try_from(self.round * self.writers).unwrap_or(u16::MAX);
        let counts = self.seen.iter().flat_map(|counts| counts.range(first..));
        counts.map(|(_, count)| u64::from(*count)).sum()
    }

    /// Edits that somebody has seen and that are not in the state.
    pub(crate) fn missing_in(&self, room: usize, state: &State) -> u64 {
        let Some(seen) = self.seen.get(room) else {
            return 0;
        };
        let missing = seen.iter().map(|(writer, count)| {
            let stored = state.counts.get(writer).copied().unwrap_or(0);
            u64::from(count.saturating_sub(stored))
        });
        missing.sum()
    }

    /// From now on exactly the state is expected: whoever opened the room has seen it.
    pub(crate) fn settle(&mut self, room: usize, state: &State) {
        if let Some(seen) = self.seen.get_mut(room) {
            seen.clone_from(&state.counts);
        }
    }
}

impl Crowd for Witness {
    fn hear(&mut self, client: usize, _at: Duration, event: Event<'_>) -> anyhow::Result<()> {
        let body = match event {
            Event::Sync(UPDATE | STEP2, body) => body,
            // A server that is killed gives no code.
            Event::Closed(Some(code)) => bail!("the server closed a socket with {code}"),
            _ => return Ok(()),
        };
        let (room, seat) = (client % self.rooms, client / self.rooms);
        let own = (seat < self.writers).then_some(self.round * self.writers + seat);
        let seen = self.seen.get_mut(room).context("no such room")?;
        let received = self.clients.entry(client).or_default();
        for stamp in stamps(body) {
            if own == Some(usize::from(stamp.writer)) {
                continue;
            }
            let count = received.entry(stamp.writer).or_default();
            // A socket may be told again what its handshake told it, but never with a gap.
            ensure!(
                stamp.number <= *count,
                "edit {} of writer {} came to client {client} before edit {count}",
                stamp.number,
                stamp.writer
            );
            if stamp.number == *count {
                *count += 1;
            }
            let most = seen.entry(stamp.writer).or_default();
            *most = (*most).max(*count);
        }
        Ok(())
    }
}

/// What a room holds after a start.
#[derive(Debug, Default)]
pub(crate) struct State {
    counts: Counts,
    pub(crate) is_whole: bool,
}

impl Crowd for State {
    fn hear(&mut self, _client: usize, _at: Duration, event: Event<'_>) -> anyhow::Result<()> {
        match event {
            Event::Sync(STEP2, body) => {
                for stamp in stamps(body) {
                    let count = self.counts.entry(stamp.writer).or_default();
                    // A gap ends what is there: what comes behind it cannot be shown to anybody.
                    if stamp.number == *count {
                        *count += 1;
                    }
                }
                self.is_whole = true;
            }
            Event::Closed(code) => bail!("the server closed the socket with {code:?}"),
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edits::{Editor, Encoding, Target};

    fn edits(editor: &mut Editor, count: usize) -> Vec<u8> {
        let edit = |_| editor.edit(Duration::ZERO, Encoding::V1);
        (0..count).flat_map(edit).collect()
    }

    #[test]
    fn what_others_have_seen_must_be_stored() {
        let mut witness = Witness::new(1, 1);
        witness.begin_round(0);
        let mut editor = Editor::new(1, 0, Target::Array);
        let first = edits(&mut editor, 3);
        let rest = edits(&mut editor, 2);
        let at = Duration::ZERO;
        // The writer itself is client 0.
        let echo = witness.hear(0, at, Event::Sync(UPDATE, &first));
        echo.expect("an echo");
        assert_eq!(witness.seen_in_round(), 0);
        witness
            .hear(1, at, Event::Sync(UPDATE, &first))
            .expect("a delivery");
        assert_eq!(witness.seen_in_round(), 3);

        let state = |parts: &[&[u8]]| {
            let mut state = State::default();
            let body = parts.concat();
            state
                .hear(0, at, Event::Sync(STEP2, &body))
                .expect("a state");
            state
        };
        assert_eq!(witness.missing_in(0, &state(&[])), 3);
        assert_eq!(witness.missing_in(0, &state(&[&first])), 0);
        assert_eq!(witness.missing_in(0, &state(&[&first, &rest])), 0);
        assert_eq!(witness.missing_in(0, &state(&[&rest])), 3, "a gap");

        // Whoever looks sees all five: they must stay.
        witness.settle(0, &state(&[&first, &rest]));
        witness.begin_round(1);
        assert_eq!(witness.missing_in(0, &state(&[&first])), 2);
        assert_eq!(witness.seen_in_round(), 0);
    }

    #[test]
    fn a_gap_in_the_fan_out_is_an_error() {
        let mut witness = Witness::new(1, 1);
        let mut editor = Editor::new(1, 0, Target::Array);
        drop(edits(&mut editor, 1));
        let second = edits(&mut editor, 1);
        let outcome = witness.hear(1, Duration::ZERO, Event::Sync(UPDATE, &second));
        assert!(outcome.is_err());
    }
}
