//! The end of a turn: a room that had nothing to do for a while forgets its document, one whose log has grown is compacted,
//! one that nobody holds leaves the registry, and the one time at which it next wants a turn is noted.

use std::collections::HashMap;
use std::sync::Arc;

use epicenter_room::{Millis, RoomStatus};

use super::{Core, LoadState};
use crate::rooms::compaction::{self, Growth};
use crate::rooms::counters::between;
use crate::rooms::inbox::Control;
use crate::rooms::ports::JobKind;
use crate::rooms::slot::Slot;

impl Core {
    /// Ends a turn.
    pub(in crate::rooms) fn rest(&mut self, slot: &Arc<Slot>) {
        let shared = slot.shared();
        let now = shared.host.now();
        let connections = self.life.room.connections();
        slot.set_connections(connections);
        shared.stats.frames_out(std::mem::take(&mut self.sent));
        if connections > 0 || !self.life.calls.is_empty() || slot.inbox().has_users() {
            self.deserted_at = now;
        }
        self.compact_if(slot, |growth, config| growth.is_due_while_busy(config));
        let times = [
            self.life.timer,
            self.sleep_when_due(slot, now),
            self.leave_when_due(slot, now),
        ];
        self.set_alarm(slot, times.into_iter().flatten().min());
        slot.set_awake(self.life.room.is_awake());
    }

    /// Forgets the document when nothing has happened for a while; otherwise says when that may be so.
    fn sleep_when_due(&mut self, slot: &Arc<Slot>, now: Millis) -> Option<Millis> {
        let room = &mut self.life.room;
        if !room.is_awake() || !room.can_sleep() || !self.is_at_rest() {
            // Whatever keeps it awake ends in another turn.
            return None;
        }
        let shared = slot.shared();
        let due = self.last_used.plus(shared.engine.idle_ms);
        if now < due {
            return Some(due);
        }
        if let Some(loaded) = self.life.room.sleep() {
            shared.cache.put_asleep(slot.name(), loaded);
        }
        self.life.connections.shrink_to_fit();
        self.leaving.shrink_to_fit();
        self.life.calls = HashMap::new();
        None
    }

    /// Leaves the registry when nobody holds the room, after a compaction if that is worth it; otherwise says when to look
    /// again.
    fn leave_when_due(&mut self, slot: &Arc<Slot>, now: Millis) -> Option<Millis> {
        if !self.life.room.is_idle() || !self.is_at_rest() || slot.inbox().has_users() {
            return None;
        }
        let shared = slot.shared();
        let config = &shared.engine.compaction;
        let is_worth_compacting = self.growth.is_due_after_close(config) && !self.is_shutting_down;
        if is_worth_compacting {
            let due = self
                .deserted_at
                .plus(config.after_close_ms)
                .max(self.compaction.not_before);
            if now < due {
                return Some(due);
            }
            self.compact_if(slot, |growth, config| growth.is_due_after_close(config));
            return None;
        }
        let due = self.deserted_at.plus(shared.engine.idle_ms);
        if now < due && !self.is_shutting_down {
            return Some(due);
        }
        shared.retire(slot);
        None
    }

    /// Nothing that this room asked for is outstanding.
    fn is_at_rest(&self) -> bool {
        self.undecided_appends == 0
            && !self.life.states.is_running
            && self.life.calls.is_empty()
            && self.life.load == LoadState::NotAsked
            && !self.compaction.is_running
    }

    fn set_alarm(&mut self, slot: &Arc<Slot>, at: Option<Millis>) {
        // A turn for nothing costs less than to move the time with every frame. A room that nobody holds may be about to
        // leave, and leaves nothing behind.
        let is_soon_enough = |noted| at.is_none_or(|at| noted <= at);
        let may_stay = slot.inbox().has_users() && self.alarm.is_some_and(is_soon_enough);
        if at == self.alarm || may_stay {
            return;
        }
        slot.shared().timers.change(slot, self.alarm, at);
        self.alarm = at;
    }

    /// Asks the log how much a compaction has to gain.
    pub(super) fn measure(&mut self, slot: &Arc<Slot>) {
        // Only what lives is compacted: a tombstone that asks for it would never leave memory.
        let extent = slot.shared().log.extent(slot.name());
        let extent = extent.filter(|extent| extent.status == RoomStatus::Live);
        let growth = extent.map(|extent| self.compaction.growth(&extent));
        self.growth = growth.unwrap_or_default();
    }

    pub(super) fn compact_if(
        &mut self,
        slot: &Arc<Slot>,
        is_due: impl FnOnce(&Growth, &compaction::CompactionConfig) -> bool,
    ) {
        let shared = slot.shared();
        let config = &shared.engine.compaction;
        if self.compaction.is_running
            || self.is_shutting_down
            || !is_due(&self.growth, config)
            || shared.host.now() < self.compaction.not_before
        {
            return;
        }
        self.compaction.is_running = true;
        let collect = config.collect;
        let job_slot = Arc::clone(slot);
        shared.host.run(
            JobKind::Compaction,
            Box::new(move || {
                let slot = job_slot;
                let told = Arc::clone(&slot);
                let began = slot.shared().host.now();
                compaction::run(&slot.shared().log, slot.name(), collect, move |outcome| {
                    let shared = told.shared();
                    let took = between(began, shared.host.now());
                    shared.stats.compacted(&outcome, took);
                    told.tell(Control::Compacted(outcome));
                });
            }),
        );
    }

    pub(super) fn on_compacted(&mut self, slot: &Arc<Slot>, outcome: compaction::Outcome) {
        self.compaction.is_running = false;
        let shared = slot.shared();
        if let compaction::Outcome::Done(state) = &outcome
            && let Some(extent) = shared.log.extent(slot.name())
        {
            self.compaction.done(extent.log, state);
        }
        self.measure(slot);
        match outcome {
            compaction::Outcome::Done(state) => {
                // Unless somebody works with it, what is cached is the log before the swap.
                if !self.life.states.is_running {
                    shared.cache.put_merged(slot.name(), state);
                }
            }
            compaction::Outcome::Useless | compaction::Outcome::Failed => {
                let retry_ms = shared.engine.compaction.retry_ms;
                self.compaction.not_before = shared.host.now().plus(retry_ms);
            }
        }
    }
}
