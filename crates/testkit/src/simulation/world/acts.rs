//! What users do to their documents and connections.

use super::{Happening, World};
use crate::simulation::client::Standing;
use crate::simulation::socket::ToHub;

impl World {
    /// Does one thing, and decides when the next one is done.
    pub(super) fn act(&mut self, number: usize) {
        if self.is_calm {
            return;
        }
        let pause = 10 + self.dice.below(900);
        self.happens_in(pause, Happening::Act(number));
        let is_online = self.clients[number].link.is_some();
        match self.dice.below(40) {
            0..=20 => self.edit(number),
            21 => {
                for _ in 0..self.dice.between(5, 25) {
                    self.edit(number);
                }
            }
            22..=24 if self.plan.gaps => self.share(number),
            25..=27 if is_online => {
                let message = self.clients[number].publish();
                self.say(number, message);
            }
            28..=31 if is_online => self.dispatch(number),
            32 | 33 if is_online => {
                let message = self.clients[number].step1();
                self.say(number, message);
            }
            34 if is_online => self.say(number, ping()),
            35 if is_online && self.plan.nonsense => {
                let message = self.clients[number].nonsense();
                self.say(number, message);
            }
            36 if is_online => {
                self.hang_up_politely(number);
                let away = self.dice.below(4_000);
                self.happens_in(away, Happening::Connect(number));
            }
            37 if self.plan.network_faults => {
                let pause = self.dice.below(6_000);
                self.clients[number].paused_until = self.scene.now() + pause;
            }
            38 | 39 if self.plan.network_faults => {
                if let Some(link) = self.clients[number].link {
                    self.cut(link);
                }
            }
            _ => self.try_again(number),
        }
    }

    fn edit(&mut self, number: usize) {
        self.tally.edits += 1;
        let client = &mut self.clients[number];
        let forest = &mut self.forests[client.room];
        let message = client.edit(forest);
        self.say(number, message);
    }

    /// Another device of the room gets something past the hub, with or without what it depends on.
    fn share(&mut self, number: usize) {
        let room = self.clients[number].room;
        let others: Vec<usize> = (0..self.clients.len())
            .filter(|other| *other != number && self.clients[*other].room == room)
            .collect();
        let (Some(other), Some(update)) = (
            self.dice.pick(&others).copied(),
            self.clients[number].hand_over(),
        ) else {
            return;
        };
        if let Some(message) = self.clients[other].take_over(&update) {
            self.say(other, message);
        }
    }

    fn dispatch(&mut self, number: usize) {
        let to = self.dice.below(self.clients.len() as u64 + 1) as usize;
        let message = self.clients[number].call(to);
        self.say(number, message);
    }

    /// The user of a deleted room insists.
    fn try_again(&mut self, number: usize) {
        let client = &mut self.clients[number];
        if client.standing == Standing::Stopped {
            client.standing = Standing::Offline;
            self.happens_in(1, Happening::Connect(number));
        }
    }
}

fn ping() -> ToHub {
    ToHub::Message(epicenter_room::Message::Text("ping".to_owned()))
}
