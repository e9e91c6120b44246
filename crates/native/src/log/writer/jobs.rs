//! Replacements and rejected states: a few of them in a commit of their own, between those of appends.
//!
//! A replacement is planned first: what it names is compared with what counts now, and the entries that it does not cover
//! are read. Nobody but this thread changes logs, so the plan holds until the commit.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use epicenter_room::{RoomStatus, Seq};

use super::{Writer, read, write};
use crate::log::queue::{self, Job, Lift};
use crate::log::reader;
use crate::log::row::Kind;
use crate::log::row_list::RowRef;
use crate::log::stage::Plan;
use crate::log::statements::{self, CommitError, KeptTable};
use crate::log::stats::Counters;
use crate::log::{Rejected, ReplaceError, Replacement};

/// Rows read at once: their bytes are counted in between.
const ROWS_PER_READ: usize = 16;

type JobResult = Result<(), ReplaceError>;

/// What a job comes down to.
enum Planned {
    Replace(Plan),
    Reject,
    /// Nothing to write.
    Answer(JobResult),
}

/// What one commit may copy.
struct Budget {
    rows: usize,
    bytes: usize,
}

/// Too much to copy for what is left of a commit.
struct TooMuch;

impl Writer {
    /// Carries out all of them and answers each.
    pub(super) fn run_jobs(&mut self, mut jobs: Vec<Job>) {
        while !jobs.is_empty() {
            let attempt = catch_unwind(AssertUnwindSafe(|| self.commit_jobs(&jobs)));
            let results = match attempt {
                Ok(Ok(results)) => results,
                Ok(Err(error)) => {
                    self.note_failure(&error);
                    vec![Err(ReplaceError::Failed(error.to_string().into())); jobs.len()]
                }
                Err(_panic) => {
                    self.note_panic();
                    let error = "the writer of the room log panicked";
                    vec![Err(ReplaceError::Failed(error.into())); jobs.len()]
                }
            };
            let rest = jobs.split_off(results.len().clamp(1, jobs.len()));
            self.answer_jobs(std::mem::replace(&mut jobs, rest), results);
        }
    }

    fn answer_jobs(&self, jobs: Vec<Job>, results: Vec<JobResult>) {
        let counters = &self.shared.counters;
        let weight = queue::job_weight(&jobs);
        for (job, result) in jobs.into_iter().zip(results) {
            match (&job, &result) {
                (Job::Replace(_), Ok(())) => Counters::add(&counters.replaced, 1),
                (Job::Replace(_), Err(ReplaceError::Stale)) => {
                    Counters::add(&counters.stale_replacements, 1);
                }
                (Job::Replace(replacement), Err(error)) => {
                    Counters::add(&counters.failed_replacements, 1);
                    tracing::warn!(room.name = %replacement.room, error = %error, "a room was not compacted");
                }
                (Job::Reject(_), _) => Counters::add(&counters.rejected, 1),
                (Job::Lift(_), _) => {}
            }
            if let Err(_panic) = catch_unwind(AssertUnwindSafe(|| job.answer(result))) {
                tracing::error!("a receiver of a replacement's result panicked");
            }
        }
        self.shared.queue.release(weight);
    }

    /// Carries out as many from the first on as fit one commit, and returns their results.
    fn commit_jobs(&mut self, jobs: &[Job]) -> Result<Vec<JobResult>, CommitError> {
        if !self.is_sound {
            self.recover()?;
        }
        if let Some(Job::Lift(lift)) = jobs.first() {
            return Ok(vec![self.lift(lift)?]);
        }
        let planned = self.plan_jobs(jobs);
        let mut stage = self.new_stage();
        let shared = Arc::clone(&self.shared);
        let results = {
            let directory = read(&shared.directory);
            let keeps_old = self.limits.keeps_generations();
            let mut results = Vec::with_capacity(planned.len());
            for (job, planned) in jobs.iter().zip(&planned) {
                // One change of a room a commit: the next one was made of what this one replaces.
                let is_taken = stage.has(job.room());
                results.push(match (job, planned, directory.find(job.room())) {
                    (_, Planned::Answer(result), _) => result.clone(),
                    (_, _, None) => Err(ReplaceError::Stale),
                    _ if is_taken => Err(ReplaceError::Stale),
                    (Job::Replace(replacement), Planned::Replace(plan), Some(record)) => {
                        stage.replace(&replacement.room, plan, record, keeps_old);
                        Ok(())
                    }
                    (Job::Reject(rejected), _, Some(_)) => {
                        stage.reject(rejected);
                        Ok(())
                    }
                    _ => Err(ReplaceError::Stale),
                });
            }
            results
        };
        if !stage.rows.is_empty() {
            self.write_stage(stage, Vec::new())?;
        }
        Ok(results)
    }

    fn plan_jobs(&self, jobs: &[Job]) -> Vec<Planned> {
        let mut budget = Budget {
            rows: self.limits.max_commit_rows,
            bytes: self.limits.max_commit_bytes,
        };
        let mut planned = Vec::new();
        for job in jobs {
            planned.push(match job {
                Job::Replace(replacement) => match self.plan(replacement, &mut budget) {
                    Ok(Ok(plan)) => Planned::Replace(plan),
                    Ok(Err(error)) => Planned::Answer(Err(error)),
                    Err(TooMuch) if planned.is_empty() => Planned::Answer(Err(ReplaceError::Stale)),
                    Err(TooMuch) => break,
                },
                Job::Reject(rejected) => self.plan_rejection(rejected),
                Job::Lift(_) => break,
            });
        }
        planned
    }

    fn plan(
        &self,
        replacement: &Replacement,
        budget: &mut Budget,
    ) -> Result<Result<Plan, ReplaceError>, TooMuch> {
        let uncovered = match self.check(replacement) {
            Ok(uncovered) => uncovered,
            Err(error) => return Ok(Err(error)),
        };
        let Some(rows) = budget.rows.checked_sub(uncovered.len()) else {
            return Err(TooMuch);
        };
        budget.rows = rows;
        let copies = match self.read_copies(replacement.log.0, &uncovered, budget)? {
            Ok(copies) => copies,
            Err(error) => return Ok(Err(error)),
        };
        Ok(Ok(Plan {
            upto: replacement.upto,
            ready: replacement.ready.clone(),
            pending: replacement.pending.clone(),
            copies,
        }))
    }

    /// Compares what a replacement was made of with what counts now; returns the rows that it does not cover.
    fn check(&self, replacement: &Replacement) -> Result<Vec<RowRef>, ReplaceError> {
        let directory = read(&self.shared.directory);
        let found = directory.look_up(&replacement.room);
        let record = found
            .map_err(ReplaceError::Failed)?
            .ok_or(ReplaceError::Stale)?;
        if record.log != replacement.log.0 || record.status != RoomStatus::Live {
            return Err(ReplaceError::Stale);
        }
        if record.is_quarantined {
            let what = "a state made of this log was rejected before";
            return Err(ReplaceError::Failed(what.into()));
        }
        // The state and its pending part have a number each.
        let needed = Seq(1 + u64::from(replacement.pending.is_some()));
        let upto = replacement.upto;
        if upto < needed || upto.0 < record.head.entry() || upto.0 > record.rows.last_entry() {
            let what = format!(
                "bug: a state up to entry {upto:?} cannot replace entries {} to {}",
                record.head.entry().max(1),
                record.rows.last_entry()
            );
            tracing::error!(room.name = %replacement.room, error = %what, "a compaction has lost count of its entries");
            return Err(ReplaceError::Failed(what.into()));
        }
        Ok(record.rows.rows(upto.0, u64::MAX))
    }

    /// Reads whole entries, their checksums compared, within what may be copied.
    fn read_copies(
        &self,
        log: u64,
        rows: &[RowRef],
        budget: &mut Budget,
    ) -> Result<Result<Vec<(Kind, Bytes)>, ReplaceError>, TooMuch> {
        let mut copies = Vec::new();
        let mut rest = rows;
        while !rest.is_empty() {
            let starts = |row: &RowRef| row.part == 0;
            let most = rest.len().min(ROWS_PER_READ);
            let end = rest.iter().skip(most).position(starts);
            let (chunk, others) = rest.split_at(end.map_or(rest.len(), |end| most + end));
            rest = others;
            let read = match reader::read_entries(&self.connection, log, chunk) {
                Ok(read) => read,
                Err(error) => return Ok(Err(ReplaceError::Failed(error.to_string().into()))),
            };
            let bytes = read.iter().map(|(_, body)| body.len()).sum();
            budget.bytes = budget.bytes.checked_sub(bytes).ok_or(TooMuch)?;
            copies.extend(read);
        }
        Ok(Ok(copies))
    }

    fn plan_rejection(&self, rejected: &Rejected) -> Planned {
        let directory = read(&self.shared.directory);
        match directory.find(&rejected.room) {
            Some(record) if record.log == rejected.log.0 && rejected.upto > Seq(0) => {
                if record.is_quarantined {
                    Planned::Answer(Ok(()))
                } else {
                    Planned::Reject
                }
            }
            _ => Planned::Answer(Err(ReplaceError::Stale)),
        }
    }

    fn lift(&mut self, lift: &Lift) -> Result<JobResult, CommitError> {
        let found = {
            let directory = read(&self.shared.directory);
            directory.rejections.log_of(lift.log.0)
        };
        let Some(log) = found else {
            return Ok(Err(ReplaceError::Stale));
        };
        let now_ms = self.clock.now_ms();
        statements::retire_kept(
            &mut self.connection,
            self.epoch,
            KeptTable::Rejections,
            &[log],
            now_ms,
        )?;
        let retired = write(&self.shared.directory).lift(&lift.room, lift.log.0);
        self.retired.extend(retired);
        Ok(Ok(()))
    }
}
