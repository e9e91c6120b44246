//! Opening and closing sockets, their bounded lifetime (`sync.md` 5), and the room's one timer.

use epicenter_identity::{Access, DeviceId, GrantId, UserId};
use epicenter_sync::{CloseCode, encode_step1};

use super::{Connection, Machine, Noted};
use crate::action::{Entry, Outgoing};
use crate::command::{ConnectionId, Millis, RoomStatus, Seq};
use crate::effect::Close;
use crate::reason;
use crate::schedule::Deadline;

/// When the others hear that a device has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Departure {
    /// After the time a tab hand-over takes.
    Delayed,
    /// Its token was refused or its grant revoked.
    AtOnce,
    /// Everybody is leaving.
    Unannounced,
}

/// A socket that the room has let go of, and whose close waits for the disk.
#[derive(Debug)]
pub(super) struct Leaving {
    pub(super) connection: ConnectionId,
    user: UserId,
    grant: GrantId,
    /// It is closed when this entry is durable.
    after: Seq,
}

impl Machine {
    pub(super) fn open(
        &mut self,
        id: ConnectionId,
        access: &Access,
        device: DeviceId,
        reports: bool,
        opened_at: Millis,
    ) {
        if self.going_away {
            self.out
                .close_now(id, CloseCode::GoingAway, reason::GOING_AWAY.to_owned());
            return;
        }
        if self.document.status == RoomStatus::Deleted {
            self.let_go(deleted(id), access.user().clone(), access.grant().clone());
            return;
        }
        if self.connections.len() >= self.config.max_connections
            || self.presence.tabs(&device) >= self.config.max_device_connections
        {
            self.out.close_now(
                id,
                CloseCode::Policy,
                reason::TOO_MANY_CONNECTIONS.to_owned(),
            );
            return;
        }
        if self.document.status == RoomStatus::Absent {
            if let Some(full) = self.full_for_rooms() {
                let reason = reason::quota_exceeded(&full);
                self.out.close_now(id, CloseCode::TryAgainLater, reason);
                return;
            }
            self.document.status = RoomStatus::Live;
            self.out.append(vec![Entry::Created]);
        }
        let connection = Connection {
            device,
            user: access.user().clone(),
            grant: access.grant().clone(),
            opened_at,
            actions: None,
            last_list: self.now,
            last_gap_request: None,
            noted: Noted::default(),
            updates: reports.then_some(0),
        };
        self.connections.insert(id, Box::new(connection));
        self.expiries
            .insert((self.silent_expiry(opened_at), id), ());
        let step1 = encode_step1(&self.document.state_vector.encode());
        self.out.send(id, Outgoing::Binary(step1));
        self.announce_arrival(id);
    }

    /// Closes a socket for a reason that needs no disk.
    pub(super) fn close(&mut self, id: ConnectionId, code: CloseCode, reason: &str) {
        self.out.close_now(id, code, reason.to_owned());
        self.forget_closed(id, code);
    }

    /// Closes a socket once the entry that is the reason for it is durable; a revocation does not wait for that.
    pub(super) fn close_when_durable(&mut self, close: Close) {
        if let Some(connection) = self.connections.get(&close.connection) {
            let (user, grant) = (connection.user.clone(), connection.grant.clone());
            self.let_go(close, user, grant);
        }
    }

    fn let_go(&mut self, close: Close, user: UserId, grant: GrantId) {
        if self.out.in_flight_bytes() > 0 {
            self.leaving.push(Leaving {
                connection: close.connection,
                user,
                grant,
                after: self.out.last(),
            });
        }
        self.out.close_held(close);
    }

    /// The log is durable up to this entry, and the sockets are closed that waited for it.
    pub(crate) fn durable(&mut self, seq: Seq) {
        self.out.durable(seq);
        self.leaving.retain(|socket| socket.after > seq);
    }

    /// Forgets a socket that is being closed with this code.
    pub(super) fn forget_closed(&mut self, id: ConnectionId, code: CloseCode) {
        let refused = code == CloseCode::Unauthorized;
        self.remove(
            id,
            if refused {
                Departure::AtOnce
            } else {
                Departure::Delayed
            },
        );
    }

    /// Forgets a socket; harmless if it is not known.
    pub(super) fn remove(&mut self, id: ConnectionId, departure: Departure) {
        let Some(connection) = self.connections.remove(&id) else {
            return;
        };
        self.expiries
            .remove(&(self.silent_expiry(connection.opened_at), id));
        self.schedule.clear(&Deadline::List(id));
        self.schedule.clear(&Deadline::GapRequest(id));
        self.end_flights(id);
        self.announce_departure(id, &connection, departure);
    }

    /// A state that this socket waits for cannot be built.
    pub(crate) fn storage_failed_for(&mut self, id: ConnectionId) {
        self.close(id, CloseCode::TryAgainLater, reason::STORAGE);
        self.arm_timer();
    }

    /// Too much waits for this socket.
    pub(crate) fn too_slow(&mut self, id: ConnectionId) {
        self.close(id, CloseCode::TryAgainLater, reason::SLOW_CONSUMER);
        self.arm_timer();
    }

    pub(super) fn revoke(&mut self, ended: impl Fn(&UserId, &GrantId) -> bool) {
        let present = self.connections.iter();
        let present = present
            .filter(|(_, connection)| ended(&connection.user, &connection.grant))
            .map(|(id, _)| *id);
        let leaving = self.leaving.iter();
        let leaving = leaving
            .filter(|socket| ended(&socket.user, &socket.grant))
            .map(|socket| socket.connection);
        let revoked: Vec<ConnectionId> = present.chain(leaving).collect();
        self.leaving
            .retain(|socket| !ended(&socket.user, &socket.grant));
        for id in revoked {
            self.close(id, CloseCode::Unauthorized, reason::INVALID_TOKEN);
        }
    }

    pub(super) fn shut_down(&mut self) {
        self.going_away = true;
        self.out.go_away();
        self.remove_all();
    }

    /// Forgets every socket; somebody else tells them.
    pub(super) fn remove_all(&mut self) {
        let ids: Vec<ConnectionId> = self.connections.keys().copied().collect();
        for id in ids {
            self.remove(id, Departure::Unannounced);
        }
    }

    /// The first frame past the lifetime was the last one.
    pub(super) fn close_if_expired(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get(&id)
            && self.now > connection.opened_at.plus(self.config.lifetime_ms)
        {
            self.close(id, CloseCode::LifetimeOver, reason::LIFETIME);
        }
    }

    /// Closes every socket past its lifetime, so that the timer need not come for each of them.
    fn close_expired(&mut self) {
        let (now, lifetime) = (self.now, self.config.lifetime_ms);
        let expired: Vec<ConnectionId> = self
            .connections
            .iter()
            .filter(|(_, connection)| {
                let opened_at = connection.opened_at;
                now > opened_at.plus(lifetime) || now >= self.silent_expiry(opened_at)
            })
            .map(|(id, _)| *id)
            .collect();
        for id in expired {
            // What waits for the log came before, and counts.
            self.orphan_waiting(id);
            self.close(id, CloseCode::LifetimeOver, reason::LIFETIME);
        }
    }

    fn silent_expiry(&self, opened_at: Millis) -> Millis {
        opened_at
            .plus(self.config.lifetime_ms)
            .plus(self.config.silent_grace_ms)
    }

    /// Whatever has come due happens before the command that comes at the same time, so that a late timer changes
    /// nothing.
    pub(super) fn run_deadlines(&mut self) {
        while let Some(deadline) = self.schedule.pop_due(self.now) {
            match deadline {
                Deadline::Flight(flight) => self.flight_timed_out(flight),
                Deadline::Departure(device) => self.departure_due(&device),
                Deadline::List(id) => self.list_due(id),
                Deadline::GapRequest(id) => self.gap_request_due(id),
            }
        }
    }

    /// Ends a command: expired sockets go, after what they said last, and the timer is set to the earliest deadline.
    pub(super) fn finish(&mut self) {
        if self
            .expiries
            .first_key()
            .is_some_and(|(at, _)| *at <= self.now)
        {
            self.close_expired();
        }
        self.arm_timer();
    }

    pub(super) fn arm_timer(&mut self) {
        let expiry = self.expiries.first_key().map(|(at, _)| *at);
        let earliest = self.schedule.earliest().into_iter().chain(expiry).min();
        if earliest != self.armed {
            self.armed = earliest;
            self.out.set_timer(earliest);
        }
    }

    /// The room ends; so does its timer.
    pub(crate) fn stop_timer(&mut self) {
        if self.armed.take().is_some() {
            self.out.set_timer(None);
        }
    }
}

/// The end of a socket of a room that is deleted.
pub(super) fn deleted(connection: ConnectionId) -> Close {
    Close {
        connection,
        code: CloseCode::RoomDeleted,
        reason: reason::ROOM_DELETED.to_owned(),
        last_words: None,
    }
}
