//! Connections: upgrades, what travels in both directions, and who learns when that one is gone.

use std::collections::VecDeque;
use std::sync::Arc;

use epicenter_identity::Access;
use epicenter_native::rooms::Opening;
use epicenter_native::rooms::outbox::{Outbox, Sink};

use super::{Happening, World};
use crate::simulation::client::Standing;
use crate::simulation::pipe::{FromHub, Pipe};
use crate::simulation::scene::TaskId;
use crate::simulation::socket::{Progress, Socket, ToHub};

/// Close codes after which a client waits for other credentials, or stops.
const UNAUTHORIZED: u16 = 4401;
const ROOM_DELETED: u16 = 4410;

/// An upgrade on its way: it belongs to one run of the hub.
#[derive(Clone, Copy, Debug)]
pub(super) struct Upgrade {
    process: u64,
    grant: u64,
    /// How many revocations were known when its token was checked.
    seen: u64,
}

/// One connection.
pub(super) struct Link {
    pub(super) client: usize,
    pub(super) access: Access,
    pub(super) pipe: Arc<Pipe>,
    /// What the client has sent, with the time at which it reaches the hub.
    uplink: VecDeque<(u64, ToHub)>,
    last_reach: u64,
    /// The hub's end, until its room knows that it is gone.
    pub(super) socket: Option<Socket>,
    pub(super) is_cut: bool,
}

impl World {
    /// A device asks for an upgrade.
    pub(super) fn connect(&mut self, number: usize) {
        let later = 50 + self.dice.below(if self.is_calm { 100 } else { 2_500 });
        let client = &mut self.clients[number];
        if client.link.is_some() || client.standing == Standing::Stopped {
            return;
        }
        let Some(process) = &self.process else {
            self.happens_in(later, Happening::Connect(number));
            return;
        };
        if self.revoked.contains(&client.grant()) {
            // The token is refused: the user signs in again.
            client.grants += 1;
            self.happens_in(later, Happening::Connect(number));
            return;
        }
        let upgrade = Upgrade {
            process: process.number,
            grant: client.grants,
            seen: process.registry.revocations_seen(),
        };
        let takes = self.dice.below(30);
        self.happens_in(takes, Happening::Join(number, upgrade));
    }

    /// The checks of an upgrade have passed; its socket enters the room.
    pub(super) fn join(&mut self, number: usize, upgrade: Upgrade) {
        let link = self.fresh_id();
        let client = &self.clients[number];
        let process = self.process.as_ref();
        let Some(process) = process.filter(|process| process.number == upgrade.process) else {
            self.happens_in(100, Happening::Connect(number));
            return;
        };
        let is_wanted = client.link.is_none() && client.standing != Standing::Stopped;
        if !is_wanted || client.grants != upgrade.grant {
            return;
        }
        let Ok(room) = process.registry.enter(&client.name) else {
            self.happens_in(100, Happening::Connect(number));
            return;
        };
        self.tally.connections += 1;
        let pipe = Pipe::new(
            Arc::clone(&self.scene),
            Arc::clone(&self.ledger),
            client.name.clone(),
            link,
            self.plan.window(),
        );
        let outbox = Outbox::new(
            self.plan.limits().max_outbound_bytes,
            Arc::clone(&pipe) as Arc<dyn Sink>,
        );
        let (access, device, reports) = (client.access(), client.device(), client.reports);
        let connection = process.registry.next_connection();
        if self.revoked.contains(access.grant()) {
            pipe.revoke();
            self.happens_in(1_001, Happening::CheckRevoked(link));
        }
        let opening = Opening {
            connection,
            access: access.clone(),
            device,
            reports,
            revocations_seen: upgrade.seen,
            outbox: Arc::new(outbox),
        };
        let socket = Socket::open(room, Arc::clone(&pipe), opening);
        self.links.insert(
            link,
            Link {
                client: number,
                access,
                pipe,
                uplink: VecDeque::new(),
                last_reach: 0,
                socket: Some(socket),
                is_cut: false,
            },
        );
        let hello = self.clients[number].connected(link);
        self.say(number, hello);
        self.scene.wake(TaskId(link));
    }

    /// A client says something on the connection that it takes for open.
    pub(super) fn say(&mut self, number: usize, message: ToHub) {
        let latency = match self.dice.below(20) {
            0 => self.dice.below(700),
            1..=6 => self.dice.below(50),
            _ => self.dice.below(5),
        };
        let at = self.scene.now() + 1 + latency;
        let Some(id) = self.clients[number].link else {
            return;
        };
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        if link.is_cut {
            return;
        }
        let at = at.max(link.last_reach);
        link.last_reach = at;
        link.uplink.push_back((at, message));
        self.happens_at(at, Happening::Reach(id));
    }

    pub(super) fn reach(&mut self, id: u64) {
        let now = self.scene.now();
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        while let Some((at, _)) = link.uplink.front()
            && *at <= now
        {
            if let (Some((_, message)), Some(socket)) = (link.uplink.pop_front(), &mut link.socket)
            {
                socket.receive(message);
            }
        }
        self.poll_socket(id);
    }

    pub(super) fn poll_socket(&mut self, id: u64) {
        let now = self.scene.now();
        let waker = self.scene.waker(TaskId(id));
        let Some(socket) = self
            .links
            .get_mut(&id)
            .and_then(|link| link.socket.as_mut())
        else {
            return;
        };
        match socket.poll(&waker, now) {
            Progress::Waits => {}
            Progress::Drains(until) => self.happens_at(until, Happening::Poll(TaskId(id))),
            Progress::Ended => {
                self.scene.note(format_args!("link {id} has ended"));
                if let Some(link) = self.links.get_mut(&id) {
                    link.socket = None;
                }
                self.forget_if_over(id);
            }
        }
    }

    /// Frames of the hub have come to the client's machine.
    pub(super) fn arrive(&mut self, id: u64) {
        let Some(link) = self.links.get(&id) else {
            return;
        };
        let (number, pipe) = (link.client, Arc::clone(&link.pipe));
        let paused = self.clients[number].paused_until;
        if paused > self.scene.now() {
            self.happens_at(paused, Happening::Arrive(id));
            return;
        }
        let is_known = self.clients[number].link == Some(id);
        for said in pipe.read() {
            if !is_known || self.clients[number].link != Some(id) {
                continue;
            }
            self.scene
                .note(format_args!("client {number} hears {}", Brief(&said)));
            if let FromHub::Close(code) = said {
                self.closed(id, code);
                continue;
            }
            for answer in self.clients[number].hear(said) {
                self.say(number, answer);
            }
        }
        // There is room for more.
        self.poll_socket(id);
    }

    /// A close frame has come.
    fn closed(&mut self, id: u64, code: u16) {
        let Some(number) = self.links.get(&id).map(|link| link.client) else {
            return;
        };
        self.client_gone(id);
        match code {
            UNAUTHORIZED => self.clients[number].grants += 1,
            ROOM_DELETED => {
                self.clients[number].standing = Standing::Stopped;
                return;
            }
            _ => {}
        }
        let delay = 20 + self.dice.below(if self.is_calm { 700 } else { 3_000 });
        self.happens_in(delay, Happening::Connect(number));
    }

    /// A client closes its connection as browsers do.
    pub(super) fn hang_up_politely(&mut self, number: usize) {
        let Some(id) = self.clients[number].link else {
            return;
        };
        let code = Some(1_001).filter(|_| !self.dice.one_in(3));
        self.say(number, ToHub::Close(code));
        self.client_gone(id);
    }

    /// The network takes a connection away; each side learns of it in its own time.
    pub(super) fn cut(&mut self, id: u64) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        link.is_cut = true;
        link.uplink.clear();
        link.pipe.cut();
        let (hub, client) = match self.dice.below(4) {
            // Half open: one side, or both, take it for alive for long.
            0 => (self.dice.below(90_000), self.dice.below(400)),
            1 => (self.dice.below(400), self.dice.below(20_000)),
            _ => (self.dice.below(3_000), self.dice.below(3_000)),
        };
        self.happens_in(hub, Happening::HubLearns(id));
        self.happens_in(client, Happening::ClientLearns(id));
    }

    pub(super) fn hub_learns(&mut self, id: u64) {
        if let Some(link) = self.links.get_mut(&id) {
            link.pipe.break_off();
            if let Some(socket) = &mut link.socket {
                socket.lose();
            }
        }
        self.poll_socket(id);
    }

    pub(super) fn client_learns(&mut self, id: u64) {
        let Some(number) = self.links.get(&id).map(|link| link.client) else {
            return;
        };
        if self.clients[number].link == Some(id) {
            self.client_gone(id);
            let delay = self.dice.below(if self.is_calm { 50 } else { 1_000 });
            self.happens_in(delay, Happening::Connect(number));
        }
    }

    /// The client has given the connection up.
    pub(super) fn client_gone(&mut self, id: u64) {
        if let Some(number) = self.links.get(&id).map(|link| link.client)
            && self.clients[number].link == Some(id)
        {
            self.clients[number].disconnected();
        }
        self.forget_if_over(id);
    }

    fn forget_if_over(&mut self, id: u64) {
        let Some(link) = self.links.get(&id) else {
            return;
        };
        if link.socket.is_none() && self.clients[link.client].link != Some(id) {
            self.links.remove(&id);
        }
    }
}

/// What was said, without its content.
struct Brief<'a>(&'a FromHub);

impl std::fmt::Display for Brief<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            FromHub::Step1(vector) => write!(formatter, "step 1 of {} clients", vector.len()),
            FromHub::Update(update) => write!(formatter, "an update of {} bytes", update.len()),
            FromHub::Text(text) => write!(formatter, "{text}"),
            FromHub::Close(code) => write!(formatter, "close {code}"),
        }
    }
}
