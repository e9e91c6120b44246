//! What goes wrong: the disk, the process, the clock, credentials.

use std::sync::Arc;

use epicenter_native::rooms::ports::RoomHost;
use epicenter_server::revocations::Subject;

use super::{Happening, Process, World, calm_weather};
use crate::simulation::disk::Weather;

/// What a process may do on its way out.
const MAX_LAST_STEPS: usize = 100_000;

impl World {
    pub(super) fn change_weather(&mut self) {
        if self.is_calm {
            return;
        }
        let next = 100 + self.dice.below(4_000);
        self.happens_in(next, Happening::Weather);
        let calm = calm_weather(&self.plan);
        let weather = match self.dice.below(9) {
            0 | 8 => Weather {
                stalled_until: self.scene.now() + self.dice.below(6_000),
                ..calm
            },
            1 => Weather {
                slowest_ms: 700,
                ..calm
            },
            2 => Weather {
                write_fails: self.dice.between(1, 8),
                ..calm
            },
            3 => Weather {
                sync_fails: self.dice.between(1, 8),
                ..calm
            },
            4 => Weather {
                read_fails: self.dice.between(1, 4),
                ..calm
            },
            5 => Weather {
                is_full: true,
                ..calm
            },
            _ => calm,
        };
        self.disk.set_weather(weather);
    }

    /// The power goes, or the process is killed.
    pub(super) fn crash(&mut self) {
        if self.is_calm {
            return;
        }
        let next = 300 + self.dice.below(9_000);
        self.happens_in(next, Happening::Crash);
        if self.process.is_none() {
            return;
        }
        let back = self.dice.below(2_500);
        self.end_process(true);
        if self.dice.one_in(4) {
            self.scene.set_back(self.dice.below(1_500));
        }
        self.happens_in(back, Happening::Boot);
    }

    /// Ends the run of the hub. What it still does then reaches neither disk nor network.
    pub(super) fn end_process(&mut self, is_crash: bool) {
        let Some(process) = self.process.take() else {
            return;
        };
        process.log.die();
        if is_crash {
            self.disk.crash();
        }
        self.calls.clear();
        let ids: Vec<u64> = self.links.keys().copied().collect();
        for id in ids {
            if let Some(link) = self.links.get_mut(&id) {
                link.is_cut = true;
                link.pipe.cut();
                link.pipe.break_off();
                link.socket = None;
            }
            let noticed = self.dice.below(if self.dice.clone().one_in(3) {
                8_000
            } else {
                100
            });
            self.happens_in(noticed, Happening::ClientLearns(id));
        }
        self.bury(process);
        drop(self.scene.take_woken());
    }

    /// Lets a process that reaches nothing any more come to its end, and sees that nothing of it stays in memory.
    fn bury(&self, process: Process) {
        let Process {
            engine,
            log,
            registry,
            ..
        } = process;
        engine.hurry();
        registry.shut_down();
        for _ in 0..MAX_LAST_STEPS {
            if engine.step() {
                continue;
            }
            // Whoever waits for a time finds that it has come.
            let Some(at) = engine.alarm() else {
                break;
            };
            if at > engine.now().0 {
                break;
            }
            engine.take_alarm();
            registry.ring();
        }
        drop((registry, log));
        let left = Arc::strong_count(&engine);
        if left != 1 {
            self.scene
                .violate(|| format!("a process that has shut down keeps rooms in memory ({left})"));
        }
    }

    /// Another process takes the lease, and this one gets it back.
    pub(super) fn suspend(&mut self) {
        if self.is_calm {
            return;
        }
        let next = 500 + self.dice.below(8_000);
        self.happens_in(next, Happening::Suspend);
        if let Some(process) = &self.process {
            process.registry.suspend();
        }
    }

    /// The machine was asleep.
    pub(super) fn jump(&mut self) {
        if self.is_calm {
            return;
        }
        let next = 1_000 + self.dice.below(9_000);
        self.happens_in(next, Happening::Jump);
        let ahead = match self.dice.below(3) {
            0 => self.dice.below(120_000),
            _ => self.dice.below(5_000),
        };
        self.scene.advance_to(self.scene.now() + ahead);
        for link in self.links.values() {
            link.pipe.excuse();
        }
    }

    /// A grant ends, or all tokens of a person.
    pub(super) fn revoke(&mut self) {
        if self.is_calm {
            return;
        }
        let next = 300 + self.dice.below(6_000);
        self.happens_in(next, Happening::Revoke);
        let number = self.dice.below(self.clients.len() as u64) as usize;
        let (grant, user) = (self.clients[number].grant(), self.clients[number].user());
        let subject = if self.dice.one_in(4) {
            Subject::User(user)
        } else {
            Subject::Grant(grant)
        };
        for client in &self.clients {
            let is_meant = match &subject {
                Subject::Grant(grant) => client.grant() == *grant,
                Subject::User(user) => client.user() == *user,
            };
            if is_meant {
                self.revoked.insert(client.grant());
            }
        }
        let mut ended = Vec::new();
        for (id, link) in &self.links {
            if self.revoked.contains(link.access.grant()) {
                link.pipe.revoke();
                ended.push(*id);
            }
        }
        for id in ended {
            self.happens_in(1_001, Happening::CheckRevoked(id));
        }
        if let Some(process) = &self.process {
            process.registry.revoke(&subject);
        }
    }

    /// A revoked connection is gone within a second, whatever the disk does and whether or not its peer reads.
    pub(super) fn check_revoked(&mut self, id: u64) {
        let Some(link) = self.links.get(&id) else {
            return;
        };
        let Some(socket) = &link.socket else {
            return;
        };
        if socket.is_leaving() {
            return;
        }
        if link.pipe.is_overdue() {
            let queued = socket.outbox().1;
            self.scene.violate(|| {
                format!("link {id} is open a second after it was revoked, {queued} bytes before it")
            });
        } else {
            self.happens_in(1_001, Happening::CheckRevoked(id));
        }
    }
}
