//! What the writer does while nobody waits: it deletes what no longer counts and need not be kept any longer.
//!
//! Each step is one short transaction. A step that fails costs disk space only; the next attempt comes a
//! second later, and the ones after it each after twice the time, up to a minute.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{Writer, read, write};
use crate::log::queue::Wait;
use crate::log::scan::RetiredLog;
use crate::log::statements::{self, CommitError, KeptTable};
use crate::log::stats::Counters;

/// A writer that is never idle still does a step after so many commits.
const COMMITS_PER_STEP: u32 = 64;
/// Generations, or deleted rooms, of one step.
const LOGS_PER_STEP: usize = 64;
/// After the first step that failed, and after many.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// The shortest and the longest wait for something to expire: the clock may be set, and the machine may sleep.
const WAITS: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(3600));

/// When steps are taken.
#[derive(Debug, Default)]
pub(super) struct Upkeep {
    commits_since_step: u32,
    pub(super) paused_until: Option<Instant>,
    /// After the last step, if it failed.
    pause: Option<Duration>,
}

impl Upkeep {
    fn pause(&mut self) {
        let (shortest, longest) = PAUSES;
        let pause = self
            .pause
            .map_or(shortest, |last| longest.min(last.saturating_mul(2)));
        self.pause = Some(pause);
        self.paused_until = Some(Instant::now() + pause);
    }
}

impl Writer {
    /// How long the writer may wait for work from others.
    pub(super) fn wait_for_work(&self) -> Wait {
        let pause = self.pause_left();
        if !self.retired.is_empty() {
            return pause.map_or(Wait::Not, Wait::AtMost);
        }
        let Some(due) = self.next_due() else {
            return Wait::Forever;
        };
        match (due.checked_sub(self.clock.now_ms()), pause) {
            (None | Some(0), None) => Wait::Not,
            (None | Some(0), Some(pause)) => Wait::AtMost(pause),
            (Some(left), _) => Wait::AtMost(Duration::from_millis(left).clamp(WAITS.0, WAITS.1)),
        }
    }

    /// Takes a step if nobody waits, or if nobody has had a chance to for long.
    pub(super) fn keep_up(&mut self) {
        let upkeep = &mut self.upkeep;
        upkeep.commits_since_step += 1;
        let is_idle = self.shared.queue.bytes() == 0;
        if !is_idle && upkeep.commits_since_step < COMMITS_PER_STEP {
            return;
        }
        upkeep.commits_since_step = 0;
        if self.pause_left().is_some() {
            return;
        }
        match catch_unwind(AssertUnwindSafe(|| self.step())) {
            Ok(Ok(())) => self.upkeep.pause = None,
            Ok(Err(error)) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "what the room log need not keep any longer could not be deleted; it is tried again within a minute"
                );
                self.upkeep.pause();
                self.is_sound = false;
            }
            Err(_panic) => {
                self.upkeep.pause();
                self.note_panic();
            }
        }
        self.note_backlog();
    }

    pub(super) fn note_backlog(&self) {
        let backlog: usize = self.retired.iter().map(|retired| retired.rows.len()).sum();
        let counter = &self.shared.counters.purge_backlog;
        counter.store(backlog as u64, Ordering::Relaxed);
    }

    fn pause_left(&self) -> Option<Duration> {
        let left = self
            .upkeep
            .paused_until?
            .saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// When something will have been kept long enough.
    fn next_due(&self) -> Option<u64> {
        let directory = read(&self.shared.directory);
        let limits = &self.limits;
        let generation = directory.generations.oldest().map(|replaced_at| {
            if directory.generations.bytes() > limits.max_generation_bytes {
                0
            } else {
                replaced_at.saturating_add(limits.keep_generations_ms)
            }
        });
        let tombstone = directory
            .oldest_tombstone()
            .map(|deleted_at| deleted_at.saturating_add(limits.keep_deleted_ms));
        generation.into_iter().chain(tombstone).min()
    }

    fn step(&mut self) -> Result<(), CommitError> {
        if self.retired.is_empty() && self.next_due().is_none_or(|due| due > self.clock.now_ms()) {
            return Ok(());
        }
        if !self.is_sound {
            self.recover()?;
        }
        if let Some(retired) = self.retired.front_mut() {
            statements::delete_rows(&mut self.connection, self.epoch, retired)?;
            if retired.rows.is_empty() {
                self.retired.pop_front();
            }
            return Ok(());
        }
        if !self.retire_generations()? {
            self.purge_tombstones()?;
        }
        Ok(())
    }

    /// Lets go of the oldest generations; false when all of them are to be kept.
    fn retire_generations(&mut self) -> Result<bool, CommitError> {
        let now_ms = self.clock.now_ms();
        let expired = {
            let directory = read(&self.shared.directory);
            // What was replaced exactly so long ago is due.
            let before = (now_ms + 1).saturating_sub(self.limits.keep_generations_ms);
            let max_bytes = self.limits.max_generation_bytes;
            directory
                .generations
                .expired(before, max_bytes, LOGS_PER_STEP)
        };
        if expired.is_empty() {
            return Ok(false);
        }
        let logs: Vec<u64> = expired.iter().map(|(_, log)| *log).collect();
        let table = KeptTable::Generations;
        statements::retire_kept(&mut self.connection, self.epoch, table, &logs, now_ms)?;
        let mut directory = write(&self.shared.directory);
        for key in expired {
            if let Some(generation) = directory.generations.remove(key) {
                self.retired
                    .push_back(RetiredLog::of(key.1, &generation.rows));
            }
        }
        Ok(true)
    }

    /// Leaves of rooms that were deleted long ago nothing but their tombstones.
    fn purge_tombstones(&mut self) -> Result<(), CommitError> {
        let now_ms = self.clock.now_ms();
        let before = (now_ms + 1).saturating_sub(self.limits.keep_deleted_ms);
        let shared = Arc::clone(&self.shared);
        let rooms = read(&shared.directory).old_tombstones(before, LOGS_PER_STEP);
        let mut stage = self.new_stage();
        {
            let directory = read(&shared.directory);
            for room in &rooms {
                if let Some(record) = directory.find(room) {
                    stage.purge(room, record);
                }
            }
        }
        if stage.rows.is_empty() {
            return Ok(());
        }
        self.write_stage(stage, Vec::new())?;
        Counters::add(&shared.counters.purged_rooms, rooms.len() as u64);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_minute() {
        let mut upkeep = Upkeep::default();
        let mut pauses = Vec::new();
        for _ in 0..8 {
            upkeep.pause();
            pauses.extend(upkeep.pause.map(|pause| pause.as_secs()));
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
    }
}
