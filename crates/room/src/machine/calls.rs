//! HTTP calls: snapshot, one-round-trip sync, deletion, creation, dispatch (`sync.md` 1 and 4).

use bytes::Bytes;
use epicenter_identity::{Access, UserId};
use epicenter_update::{EMPTY_UPDATE, StateVector, Update, UpdateError};

use super::Machine;
use super::document::{Document, Rejection};
use super::lifetime::deleted;
use super::updates::{QUOTA, limit_of};
use crate::action::{Answer, Author, Entry, Note, Tag};
use crate::command::{CallId, ConnectionId, Request, RoomStatus};

impl Machine {
    pub(super) fn call(&mut self, call: CallId, access: &Access, request: Request) {
        if self.going_away {
            self.out.go_away();
            return;
        }
        let is_deleted = self.document.status == RoomStatus::Deleted;
        match request {
            Request::Delete => self.delete(call),
            Request::Create => self.create(call),
            Request::Restore => self.restore(call),
            _ if is_deleted => self.out.answer(call, Answer::Gone),
            Request::Snapshot { if_none_match } => self.snapshot(call, &if_none_match),
            Request::Sync {
                state_vector,
                update,
                if_none_match,
            } => {
                self.sync(call, access.user(), state_vector, &update, &if_none_match);
            }
            Request::Dispatch { to, action, input } => {
                self.dispatch_call(call, access, &to, &action, input.as_deref());
            }
        }
    }

    fn snapshot(&mut self, call: CallId, if_none_match: &[Tag]) {
        let tag = self.document.tag();
        if if_none_match.contains(&tag) {
            self.out.answer(call, Answer::NotModified { tag });
        } else {
            self.answer_difference(call, tag, StateVector::default());
        }
    }

    fn sync(
        &mut self,
        call: CallId,
        user: &UserId,
        state_vector: StateVector,
        update: &Bytes,
        if_none_match: &[Tag],
    ) {
        if !update.is_empty() {
            let by = Some(Author::User(user.clone()));
            match self.take_update(None, update) {
                Ok(0) => self.out.note(Note::UpdatesAccepted { by }),
                Ok(bytes) => {
                    self.out.note(Note::PendingDropped {
                        by,
                        bytes,
                        is_first: true,
                    });
                    let limit = self.config.max_pending_bytes as u64;
                    self.out.answer(call, Answer::PendingFull { limit });
                    return;
                }
                Err(error) => {
                    self.refuse_push(call, by, error, update.len());
                    return;
                }
            }
        }
        let tag = self.document.tag();
        if self.lacks_nothing(&state_vector, update, if_none_match.contains(&tag)) {
            self.out.answer(call, Answer::UpToDate { tag });
        } else {
            self.answer_difference(call, tag, state_vector);
        }
    }

    fn refuse_push(&mut self, call: CallId, by: Option<Author>, error: Rejection, bytes: usize) {
        let (reason, limit, answer) = match error {
            Rejection::Update(UpdateError::Malformed { what, .. }) => {
                let what = what.to_owned();
                self.out.answer(call, Answer::Malformed { what });
                return;
            }
            Rejection::Update(error) => {
                let (reason, limit) = (error.to_string(), limit_of(&error));
                let answer = Answer::Refused {
                    reason: reason.clone(),
                    limit: limit.to_owned(),
                };
                (reason, limit, answer)
            }
            Rejection::Full(full) => (QUOTA.to_owned(), QUOTA, Answer::QuotaExceeded(full)),
        };
        self.out.note(Note::UpdateRefused {
            by,
            reason,
            limit,
            bytes,
        });
        self.out.answer(call, answer);
    }

    /// Whether a caller with this state vector, who pushed this update, can lack nothing. A state vector does not show
    /// deletions, so equal ones are not enough.
    fn lacks_nothing(&self, state_vector: &StateVector, pushed: &Bytes, holds_tag: bool) -> bool {
        let document = &self.document;
        !document.has_pending()
            && *state_vector == document.state_vector
            && (holds_tag
                || document.deletes.is_empty()
                || Update::parse(pushed, &self.config.limits)
                    .is_ok_and(|pushed| pushed.deletes().contains_all(&document.deletes)))
    }

    fn answer_difference(&mut self, call: CallId, tag: Tag, state_vector: StateVector) {
        if self.document.status == RoomStatus::Absent {
            // There is no log to read.
            let update = Bytes::from_static(&EMPTY_UPDATE);
            self.out.answer(call, Answer::Update { update, tag });
        } else {
            self.out.answer_state(call, tag, state_vector);
        }
    }

    fn delete(&mut self, call: CallId) {
        if self.document.status == RoomStatus::Live {
            // What it held stays known, as it stays in the log: it may be restored.
            self.document.status = RoomStatus::Deleted;
            self.out.append(vec![Entry::Deleted]);
            let ids: Vec<ConnectionId> = self.connections.keys().copied().collect();
            for id in ids {
                self.close_when_durable(deleted(id));
            }
            self.remove_all();
        }
        self.out.answer(call, Answer::Deleted);
    }

    fn create(&mut self, call: CallId) {
        let entry = match self.document.status {
            RoomStatus::Live => {
                self.out.answer(call, Answer::Exists);
                return;
            }
            RoomStatus::Absent => Entry::Created,
            RoomStatus::Deleted => Entry::Recreated,
        };
        if let Some(full) = self.full_for_rooms() {
            self.out.answer(call, Answer::QuotaExceeded(full));
            return;
        }
        self.document = Document::empty(RoomStatus::Live);
        self.out.append(vec![entry]);
        self.out.answer(call, Answer::Created);
    }

    fn restore(&mut self, call: CallId) {
        let answer = match (self.document.status, self.full_for_rooms()) {
            (RoomStatus::Live, _) => Answer::Exists,
            (RoomStatus::Absent, _) => Answer::Unknown,
            (RoomStatus::Deleted, _) if self.document.is_purged => Answer::Purged,
            (RoomStatus::Deleted, Some(full)) => Answer::QuotaExceeded(full),
            (RoomStatus::Deleted, None) => {
                self.document.status = RoomStatus::Live;
                self.out.append(vec![Entry::Restored]);
                Answer::Restored
            }
        };
        self.out.answer(call, answer);
    }
}
