//! A disk with one file that only grows: what was written is there at once, what was synced survives a crash, and what
//! was written only may be lost, torn or kept.

use std::sync::{Arc, Mutex};

use super::scene::{Scene, lock};
use crate::dice::Dice;

/// What a power cut tears apart.
const SECTOR: usize = 64;

/// How the disk behaves at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Weather {
    /// A commit takes at least so long.
    pub(super) fastest_ms: u64,
    /// And at most so long.
    pub(super) slowest_ms: u64,
    /// Nothing ends before this time.
    pub(super) stalled_until: u64,
    /// One write in so many fails; 0: none.
    pub(super) write_fails: u64,
    /// One sync in so many fails, and nobody knows what it left; 0: none.
    pub(super) sync_fails: u64,
    /// One read in so many fails; 0: none.
    pub(super) read_fails: u64,
    /// There is no room.
    pub(super) is_full: bool,
    /// Syncs are reported and not done.
    pub(super) lies: bool,
}

/// What a sync came to.
pub(super) enum Synced {
    Done,
    Failed,
}

/// The file, which outlives every process.
pub(super) struct Disk {
    scene: Arc<Scene>,
    state: Mutex<State>,
}

struct State {
    platter: Vec<u8>,
    /// Behind the platter's content, in memory of the system only.
    cache: Vec<u8>,
    weather: Weather,
    dice: Dice,
}

impl Disk {
    pub(super) fn new(scene: Arc<Scene>, weather: Weather) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                platter: Vec::new(),
                cache: Vec::new(),
                weather,
                dice: scene.dice("disk faults", 0),
            }),
            scene,
        })
    }

    pub(super) fn set_weather(&self, weather: Weather) {
        lock(&self.state).weather = weather;
    }

    /// When a commit that begins now ends.
    pub(super) fn ends_at(&self) -> u64 {
        let state = &mut *lock(&self.state);
        let weather = state.weather;
        let takes = state.dice.between(
            weather.fastest_ms,
            weather.slowest_ms.max(weather.fastest_ms),
        );
        (self.scene.now() + takes).max(weather.stalled_until)
    }

    pub(super) fn write(&self, bytes: &[u8]) -> Result<(), &'static str> {
        let state = &mut *lock(&self.state);
        if state.weather.is_full {
            return Err("the disk is full");
        }
        if fails(state.weather.write_fails, &mut state.dice) {
            // A part of it is there all the same.
            let part = state.dice.below(bytes.len() as u64) as usize;
            state
                .cache
                .extend_from_slice(bytes.get(..part).unwrap_or_default());
            return Err("the disk does not write");
        }
        state.cache.extend_from_slice(bytes);
        Ok(())
    }

    /// Makes what was written survive.
    pub(super) fn sync(&self) -> Synced {
        let state = &mut *lock(&self.state);
        if fails(state.weather.sync_fails, &mut state.dice) {
            if state.dice.one_in(2) {
                state.cache.clear();
            } else {
                state.platter.append(&mut state.cache);
            }
            return Synced::Failed;
        }
        if !(state.weather.lies && state.dice.one_in(2)) {
            state.platter.append(&mut state.cache);
        }
        Synced::Done
    }

    /// Whether a read fails.
    pub(super) fn fails_to_read(&self) -> bool {
        let state = &mut *lock(&self.state);
        fails(state.weather.read_fails, &mut state.dice)
    }

    pub(super) fn content(&self) -> Vec<u8> {
        let state = lock(&self.state);
        [state.platter.as_slice(), &state.cache].concat()
    }

    /// Cuts off what does not make sense.
    pub(super) fn truncate(&self, len: usize) {
        let state = &mut *lock(&self.state);
        let synced = state.platter.len();
        state.platter.truncate(len);
        state.cache.truncate(len.saturating_sub(synced));
    }

    /// The power is gone: of what was not synced any part may be there, sector by sector.
    pub(super) fn crash(&self) {
        let state = &mut *lock(&self.state);
        let mut left = std::mem::take(&mut state.cache);
        match state.dice.below(4) {
            0 => left.clear(),
            1 => left.truncate(state.dice.below(left.len() as u64 + 1) as usize),
            2 => {
                for sector in left.chunks_mut(SECTOR) {
                    if state.dice.one_in(3) {
                        sector.fill(0);
                    }
                }
            }
            // All of it reached the platter, and nobody was told.
            _ => {}
        }
        state.platter.append(&mut left);
    }
}

fn fails(one_in: u64, dice: &mut Dice) -> bool {
    one_in > 0 && dice.one_in(one_in)
}
