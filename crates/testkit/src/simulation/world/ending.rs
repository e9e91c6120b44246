//! The end of a play: everything heals, everybody comes back, and what must hold then is checked.

use std::collections::BTreeMap;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use epicenter_identity::RoomName;
use epicenter_room::{Request, RoomStatus};
use epicenter_server::ports::Rooms;

use super::{Happening, World, calm_weather};
use crate::simulation::client::{Client, Standing, device_of};
use crate::simulation::disk::Weather;
use crate::simulation::document::{Document, digest, merged};

/// Rounds of reconnection after which all copies must be equal: each brings at least one missing piece to the room.
const MAX_ROUNDS: usize = 8;
/// Longer than any call between devices may take, and than any pause between two requests for what is missing.
const ROUND_MS: u64 = 8_000;
/// Long enough for presence, reports and answers to arrive.
const SETTLED_MS: u64 = 3_500;
/// Long enough for a room to be compacted and to leave memory.
const DESERTED_MS: u64 = 60_000;

impl World {
    /// From now on nothing goes wrong.
    pub(super) fn heal(&mut self) {
        self.scene.note(format_args!("all is well"));
        self.is_calm = true;
        if std::mem::take(&mut self.plan.quotas) {
            // Whoever runs the hub allows more, and starts it again.
            self.end_process(false);
        }
        self.disk.set_weather(Weather {
            lies: false,
            ..calm_weather(&self.plan)
        });
        if self.process.is_none() {
            self.happens_in(1, Happening::Boot);
        }
        let links: Vec<(u64, bool)> = self
            .links
            .iter()
            .map(|(id, link)| (*id, link.is_cut))
            .collect();
        for (id, is_cut) in links {
            if is_cut {
                self.happens_in(1, Happening::HubLearns(id));
                self.happens_in(2, Happening::ClientLearns(id));
            }
            self.happens_in(3, Happening::Arrive(id));
        }
        for number in 0..self.clients.len() {
            self.clients[number].paused_until = 0;
            self.come_back(number);
        }
    }

    fn come_back(&mut self, number: usize) {
        let client = &mut self.clients[number];
        if client.standing == Standing::Stopped {
            client.standing = Standing::Offline;
        }
        let delay = 5 + self.dice.below(900);
        self.happens_in(delay, Happening::Connect(number));
    }

    fn run_for(&mut self, milliseconds: u64) -> Result<(), String> {
        self.run_until(self.scene.now() + milliseconds)
    }

    pub(super) fn end_well(&mut self) -> Result<(), String> {
        self.run_for(ROUND_MS)?;
        self.revive_rooms()?;
        let mut rounds = 0;
        loop {
            self.run_for(ROUND_MS)?;
            self.check_answers()?;
            self.check_fan_out()?;
            self.reconnect();
            self.run_for(SETTLED_MS)?;
            rounds += 1;
            if rounds >= 2 && self.differences().is_none() {
                break;
            }
            if rounds == MAX_ROUNDS {
                return Err(self.differences().unwrap_or_default());
            }
        }
        self.check_presence()?;
        self.check_reports()?;
        self.check_listing()?;
        let expected = self.check_logs()?;
        self.check_that_rooms_leave()?;
        self.check_newcomers(&expected)?;
        self.check_after_a_crash(&expected)
    }

    /// Rooms that are deleted are restored or created anew, so that everybody can come back.
    fn revive_rooms(&mut self) -> Result<(), String> {
        for _ in 0..2 {
            for room in 0..self.rooms.len() {
                if self.status(room) != RoomStatus::Deleted {
                    continue;
                }
                let request = if self.dice.one_in(2) {
                    Request::Create
                } else {
                    Request::Restore
                };
                if let Some(first) = self.clients.iter().position(|client| client.room == room) {
                    self.call(first, request, Bytes::new(), None);
                }
            }
            self.run_for(SETTLED_MS)?;
        }
        for number in 0..self.clients.len() {
            if self.clients[number].standing == Standing::Stopped {
                self.come_back(number);
            }
        }
        Ok(())
    }

    fn status(&self, room: usize) -> RoomStatus {
        let process = self.process.as_ref();
        process.map_or(RoomStatus::Absent, |process| {
            process.log.whole(&self.rooms[room]).status
        })
    }

    /// Everybody takes a new connection.
    fn reconnect(&mut self) {
        for number in 0..self.clients.len() {
            self.hang_up_politely(number);
            self.come_back(number);
        }
    }

    /// Why not all copies of each room are the same, if they are not.
    fn differences(&mut self) -> Option<String> {
        for room in 0..self.rooms.len() {
            let mut digests = BTreeMap::new();
            for client in self.clients.iter_mut().filter(|client| client.room == room) {
                if client.standing != Standing::Online {
                    return Some(format!("client {} does not get in", client.number));
                }
                if client.document.has_gaps() {
                    return Some(format!("client {} still misses something", client.number));
                }
                digests.insert(client.document.digest(), client.number);
            }
            if digests.len() > 1 {
                let clients: Vec<usize> = digests.into_values().collect();
                return Some(format!(
                    "copies of room {room} differ: {}",
                    self.compare(&clients)
                ));
            }
        }
        None
    }

    /// Where the hub has everything and misses nothing, everybody who is connected has it too, without asking again.
    fn check_fan_out(&self) -> Result<(), String> {
        for (number, room) in self.rooms.iter().enumerate() {
            let mut hub = Document::default();
            for entry in self.stored(room) {
                hub.apply(&entry);
            }
            let online = self
                .clients
                .iter()
                .filter(|client| client.room == number && client.standing == Standing::Online);
            let is_complete = !hub.has_gaps()
                && online
                    .clone()
                    .all(|client| hub.content().covers(client.document.content()));
            for client in online.filter(|_| is_complete) {
                if !client.document.state_vector().covers(hub.state_vector()) {
                    let lacks = client.document.content().lacks(hub.content());
                    return Err(format!("client {} was not sent {lacks}", client.number));
                }
            }
        }
        Ok(())
    }

    fn compare(&self, clients: &[usize]) -> String {
        let all = clients
            .iter()
            .flat_map(|one| clients.iter().map(move |other| (one, other)));
        let lacks = all.filter(|(one, other)| one != other).map(|(one, other)| {
            let lacks = self.clients[*one].document.content();
            let lacks = lacks.lacks(self.clients[*other].document.content());
            format!("client {one} lacks of client {other} {lacks}; ")
        });
        lacks.collect()
    }

    fn check_answers(&self) -> Result<(), String> {
        let before = self.scene.now() - ROUND_MS;
        for client in &self.clients {
            if let Some((id, _)) = client.asked.iter().find(|(_, at)| **at < before) {
                return Err(format!(
                    "call {id} of client {} is never answered",
                    client.number
                ));
            }
        }
        match self.oldest_call() {
            Some(at) if at < before => Err("an HTTP call is never answered".to_owned()),
            _ => Ok(()),
        }
    }

    fn check_presence(&self) -> Result<(), String> {
        for client in &self.clients {
            let others = self.clients.iter().filter(|other| {
                other.room == client.room && other.number != client.number && other.link.is_some()
            });
            let expected: Vec<String> = others.map(|other| device_of(other.number)).collect();
            if client.shown != expected {
                return Err(format!(
                    "client {} is shown {:?} where {expected:?} are connected",
                    client.number, client.shown
                ));
            }
        }
        Ok(())
    }

    fn check_reports(&self) -> Result<(), String> {
        for client in self.clients.iter().filter(|client| client.reports) {
            let link = client.link.and_then(|link| self.links.get(&link));
            let (accepted, saved) = link.map_or((0, 0), |link| link.pipe.reported());
            if accepted != saved {
                return Err(format!(
                    "client {} hears of {saved} saved frames of {accepted}",
                    client.number
                ));
            }
        }
        Ok(())
    }

    fn check_listing(&self) -> Result<(), String> {
        let Some(process) = &self.process else {
            return Err("the hub is not running".to_owned());
        };
        for (number, room) in self.rooms.iter().enumerate() {
            let listing = pin!(process.registry.list(room.owner(), None, 500));
            let listed = listing.poll(&mut Context::from_waker(Waker::noop()));
            let Poll::Ready(Ok(page)) = listed else {
                return Err("a listing waits for something".to_owned());
            };
            let entry = page.rooms.iter().find(|entry| entry.id == *room.room());
            let connections = entry.map_or(0, |entry| entry.connections);
            let open = self.clients.iter().filter(|client| client.room == number);
            let open = open.filter(|client| client.link.is_some()).count() as u64;
            if connections != open {
                return Err(format!(
                    "{room} is listed with {connections} connections of {open}"
                ));
            }
        }
        Ok(())
    }

    /// What each room's log holds equals its clients' copies; returns the digests.
    fn check_logs(&mut self) -> Result<Vec<[u8; 32]>, String> {
        let mut expected = Vec::new();
        for room in 0..self.rooms.len() {
            let name = self.rooms[room].clone();
            let stored = self.stored_digest(&name);
            let copy = self.clients.iter_mut().find(|client| client.room == room);
            let shown = copy.map_or(stored, |client| client.document.digest());
            if stored != shown {
                return Err(format!(
                    "the log of {name} differs from its clients' copies"
                ));
            }
            expected.push(shown);
        }
        Ok(expected)
    }

    fn stored_digest(&self, room: &RoomName) -> [u8; 32] {
        digest(&merged(&self.stored(room)))
    }

    fn stored(&self, room: &RoomName) -> Vec<Bytes> {
        let stored = self.process.as_ref().map(|process| process.log.whole(room));
        let stored = stored.unwrap_or_default();
        stored.ready.into_iter().chain(stored.pending).collect()
    }

    /// When everybody has gone, the hub comes to rest and keeps nothing in memory.
    fn check_that_rooms_leave(&mut self) -> Result<(), String> {
        for number in 0..self.clients.len() {
            self.hang_up_politely(number);
        }
        self.run_for(SETTLED_MS)?;
        // A room that nobody has opened for long is asked for once more, one is deleted.
        let last = self.clients.iter().rposition(|client| client.room > 0);
        if let Some(last) = last.filter(|_| self.plan.deletions) {
            self.call(last, Request::Delete, Bytes::new(), None);
        }
        self.run_for(DESERTED_MS)?;
        let Some(process) = &self.process else {
            return Err("the hub is not running".to_owned());
        };
        let rooms = process.registry.rooms();
        if rooms > 0 || process.engine.next().is_some() || process.engine.alarm().is_some() {
            return Err(format!("{rooms} deserted rooms are still in memory"));
        }
        Ok(())
    }

    /// Devices that know nothing get all of it.
    fn check_newcomers(&mut self, expected: &[[u8; 32]]) -> Result<(), String> {
        let first = self.clients.len();
        for room in 0..self.rooms.len() {
            let old = self.clients.iter().position(|client| client.room == room);
            if let (Some(old), RoomStatus::Deleted) = (old, self.status(room)) {
                self.call(old, Request::Restore, Bytes::new(), None);
            }
        }
        self.run_for(SETTLED_MS)?;
        for room in 0..self.rooms.len() {
            let name = self.rooms[room].clone();
            let client = Client::new(&self.scene, first + room, room, name);
            self.clients.push(client);
            self.come_back(first + room);
        }
        self.run_for(SETTLED_MS)?;
        for (room, expected) in expected.iter().enumerate() {
            let newcomer = &mut self.clients[first + room];
            if newcomer.document.digest() != *expected {
                return Err(format!("whoever is new to room {room} gets something else"));
            }
            self.hang_up_politely(first + room);
        }
        self.run_for(SETTLED_MS)
    }

    /// And so does the next run of the hub.
    fn check_after_a_crash(&mut self, expected: &[[u8; 32]]) -> Result<(), String> {
        self.end_process(!self.plan.disk_lies);
        self.boot();
        for (room, expected) in expected.iter().enumerate() {
            let name = self.rooms[room].clone();
            if self.stored_digest(&name) != *expected {
                return Err(format!("{name} is another one after a crash"));
            }
        }
        Ok(())
    }

    /// Frees what the last run of the hub holds.
    pub(super) fn leave(&mut self) {
        self.end_process(false);
    }
}
