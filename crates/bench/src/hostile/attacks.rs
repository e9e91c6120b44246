//! What hostile clients do. Every attack is bounded in time, sockets and rate, and ends by itself.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::edits::{Editor, Encoding, Target};
use crate::fleet::{Crowd, Entrance, Event, Fleet};
use crate::server::{Seat, Server};
use crate::websocket::{BINARY, TEXT};

/// What was done, by name.
pub(crate) type Deeds = Vec<(String, u64)>;

/// One kind of hostility.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) carry_out: fn(&Ground<'_>) -> anyhow::Result<Deeds>,
}

/// Where and how long.
#[derive(Debug)]
pub(crate) struct Ground<'a> {
    pub(crate) server: &'a Server,
    /// User 0 is innocent.
    pub(crate) users: usize,
    pub(crate) duration: Duration,
    pub(crate) is_over: &'a AtomicBool,
}

/// Frames a second in a flood.
const FLOOD_RATE: f64 = 40_000.0;
/// Longest wait for what the hub has to say.
const TICK: Duration = Duration::from_millis(1);
/// Bytes that a flooding client has waiting; it waits like everybody once the hub stops reading.
const MAX_QUEUED_BYTES: usize = 64 * 1024;

pub(crate) fn all() -> Vec<Attack> {
    vec![
        Attack {
            name: "slow-readers",
            title: "30 sockets that never read, in a room with 200 updates of 16 KiB a second",
            carry_out: slow_readers,
        },
        Attack {
            name: "half-open",
            title: "1,500 connections: a third silent, a third with half a request, a third with half a message",
            carry_out: half_open,
        },
        Attack {
            name: "tiny-frames",
            title: "40,000 frames a second from 8 sockets: pings, calls without their fields, empty updates, step 1",
            carry_out: tiny_frames,
        },
        Attack {
            name: "connects",
            title: "10,000 connects and disconnects, a quarter with a bad token",
            carry_out: connects,
        },
        Attack {
            name: "dispatch",
            title: "calls as fast as they are answered, 256 in flight, and a device that never answers",
            carry_out: dispatch,
        },
        Attack {
            name: "forged",
            title: "40,000 answers a second to calls that nobody made",
            carry_out: forged,
        },
        Attack {
            name: "manifests",
            title: "16 devices whose actions are at the limit, two published a second",
            carry_out: manifests,
        },
    ]
}

impl Ground<'_> {
    fn goes_on(&self) -> bool {
        !self.is_over.load(Ordering::Relaxed)
    }

    /// A room of a user who is not innocent.
    fn room(&self, user: usize, number: usize) -> usize {
        1 + user % (self.users - 1) + self.users * (1 + number)
    }

    fn entrance(&self, room: usize, number: usize) -> anyhow::Result<Entrance> {
        self.server.entrance(Seat { room, number })
    }

    /// Sockets `0..count` of one room.
    fn join(
        &self,
        fleet: &mut Fleet,
        room: usize,
        count: usize,
        mob: &mut Mob,
    ) -> anyhow::Result<()> {
        fleet.join_all((0..count).map(|number| self.entrance(room, number)), mob)
    }
}

/// Hears everything and minds nothing.
#[derive(Debug, Default)]
struct Mob {
    heard: u64,
    /// Sockets that the hub closed, by the code it gave.
    closed: BTreeMap<Option<u16>, u64>,
    /// Calls that wait for an answer: the asked client and the id.
    calls: Vec<(usize, String)>,
    results: u64,
}

impl Crowd for Mob {
    fn hear(&mut self, client: usize, _at: Duration, event: Event<'_>) -> anyhow::Result<()> {
        match event {
            Event::Closed(code) => *self.closed.entry(code).or_default() += 1,
            Event::Text(text) if text.starts_with(b"{\"type\":\"dispatch") => {
                let message: serde_json::Value = serde_json::from_slice(text)?;
                let kind = message.get("type").and_then(|kind| kind.as_str());
                match (kind, message.get("id").and_then(|id| id.as_str())) {
                    (Some("dispatch_inbound"), Some(id)) => {
                        self.calls.push((client, id.to_owned()))
                    }
                    (Some("dispatch_result"), _) => self.results += 1,
                    _ => {}
                }
            }
            _ => self.heard += 1,
        }
        Ok(())
    }
}

impl Mob {
    /// These deeds, and how the hub answered them.
    fn account(&self, deeds: &[(&str, u64)]) -> Deeds {
        let done = deeds
            .iter()
            .map(|(what, count)| ((*what).to_owned(), *count));
        let closed = self.closed.iter().map(|(code, count)| match code {
            Some(code) => (format!("closed with {code}"), *count),
            None => ("hung up on".to_owned(), *count),
        });
        done.chain(closed).collect()
    }
}

/// How much of a flood is due.
struct Flood {
    begin: Duration,
    rate: f64,
    sent: u64,
}

impl Flood {
    fn new(fleet: &Fleet, rate: f64) -> Self {
        Self {
            begin: fleet.now(),
            rate,
            sent: 0,
        }
    }

    fn due(&self, fleet: &Fleet) -> u64 {
        let due = ((fleet.now() - self.begin).as_secs_f64() * self.rate) as u64;
        due.saturating_sub(self.sent)
    }
}

fn slow_readers(ground: &Ground<'_>) -> anyhow::Result<Deeds> {
    const READERS: usize = 30;
    let (mut fleet, mut mob) = (Fleet::new()?, Mob::default());
    ground.join(&mut fleet, ground.room(0, 0), 1 + READERS, &mut mob)?;
    for reader in 1..=READERS {
        fleet.pause(reader)?;
    }
    let mut editor = Editor::new(1_000_000, 0, Target::Array).with_padding(16 * 1024);
    let mut flood = Flood::new(&fleet, 200.0);
    while ground.goes_on() {
        for _ in 0..flood.due(&fleet) {
            let edit = editor.edit(fleet.now(), Encoding::V2);
            fleet.queue_update(0, &edit);
            flood.sent += 1;
        }
        fleet.flush(0)?;
        fleet.poll(TICK, &mut mob)?;
    }
    // Only now they look, and find out whether the hub has given them up.
    for reader in 1..=READERS {
        fleet.resume(reader)?;
    }
    fleet.poll_until(fleet.now() + Duration::from_secs(2), &mut mob)?;
    Ok(mob.account(&[("updates", flood.sent)]))
}

fn half_open(ground: &Ground<'_>) -> anyhow::Result<Deeds> {
    const EACH: usize = 500;
    let address = ground.server.address()?;
    let mut silent = Vec::new();
    for number in 0..2 * EACH {
        let mut stream = TcpStream::connect(address)?;
        if number % 2 == 1 {
            let request = ground.entrance(ground.room(number, 0), number)?.request;
            let half = request.as_bytes().get(..request.len() / 2);
            stream.write_all(half.unwrap_or_default())?;
        }
        silent.push(stream);
    }
    let (mut fleet, mut mob) = (Fleet::new()?, Mob::default());
    let entrances = (0..EACH).map(|number| {
        let (user, seat) = (number % 8, number / 8);
        ground.entrance(ground.room(user, seat / 10), seat)
    });
    fleet.join_all(entrances, &mut mob)?;
    for client in 0..fleet.len() {
        fleet.queue(client, BINARY, &[2; 1000]);
        fleet.send_half(client)?;
        fleet.pause(client)?;
    }
    while ground.goes_on() {
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(mob.account(&[("connections", (silent.len() + fleet.len()) as u64)]))
}

fn tiny_frames(ground: &Ground<'_>) -> anyhow::Result<Deeds> {
    /// Step 1 with nothing: each asks for the whole room.
    const STEP1: [u8; 3] = [0, 1, 0];
    /// An update that brings nothing.
    const EMPTY: [u8; 15] = [2, 13, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    const SOCKETS: u64 = 8;
    let (mut fleet, mut mob) = (Fleet::new()?, Mob::default());
    ground.join(&mut fleet, ground.room(0, 0), SOCKETS as usize, &mut mob)?;
    let flood = flood(
        ground,
        &mut fleet,
        &mut mob,
        |fleet, client, number| match number / SOCKETS % 4 {
            0 => fleet.queue(client, BINARY, &STEP1),
            1 => fleet.queue(client, BINARY, &EMPTY),
            2 => fleet.queue(client, TEXT, b"{\"type\":\"dispatch_request\"}"),
            _ => fleet.queue(client, TEXT, b"ping"),
        },
    )?;
    Ok(mob.account(&[("frames", flood), ("answers", mob.heard)]))
}

fn forged(ground: &Ground<'_>) -> anyhow::Result<Deeds> {
    let (mut fleet, mut mob) = (Fleet::new()?, Mob::default());
    ground.join(&mut fleet, ground.room(0, 0), 8, &mut mob)?;
    let flood = flood(ground, &mut fleet, &mut mob, |fleet, client, number| {
        let answer = format!(
            "{{\"type\":\"dispatch_response\",\"id\":\"hub-{number}\",\"result\":{{\"data\":1,\"error\":null}}}}"
        );
        fleet.queue(client, TEXT, answer.as_bytes());
    })?;
    Ok(mob.account(&[("answers", flood), ("calls answered by them", mob.results)]))
}

/// Floods from all open sockets in turn; tells how many frames were sent.
fn flood(
    ground: &Ground<'_>,
    fleet: &mut Fleet,
    mob: &mut Mob,
    queue: impl Fn(&mut Fleet, usize, u64),
) -> anyhow::Result<u64> {
    let mut flood = Flood::new(fleet, FLOOD_RATE);
    let mut sent = 0;
    while ground.goes_on() {
        for _ in 0..flood.due(fleet) {
            let client = flood.sent as usize % fleet.len();
            // What a client cannot send in time it does not send.
            flood.sent += 1;
            if fleet.is_open(client) && fleet.queued_bytes(client) < MAX_QUEUED_BYTES {
                queue(fleet, client, flood.sent);
                sent += 1;
            }
        }
        for client in 0..fleet.len() {
            fleet.flush(client)?;
        }
        fleet.poll(TICK, mob)?;
    }
    Ok(sent)
}

fn connects(ground: &Ground<'_>) -> anyhow::Result<Deeds> {
    const COUNT: usize = 10_000;
    /// Open at one time.
    const AT_ONCE: usize = 40;
    let (mut fleet, mut mob) = (Fleet::new()?, Mob::default());
    let rate = COUNT as f64 / ground.duration.as_secs_f64();
    let mut flood = Flood::new(&fleet, rate);
    let mut bad = 0;
    while ground.goes_on() && fleet.len() < COUNT {
        for _ in 0..flood.due(&fleet).min((COUNT - fleet.len()) as u64) {
            let number = fleet.len();
            flood.sent += 1;
            let (user, seat) = (number % 8, number % 500);
            let mut entrance = ground.entrance(ground.room(user, seat / 10), seat)?;
            if number % 4 == 0 {
                entrance.request = entrance.request.replace("Bearer ey", "Bearer eY");
                bad += 1;
            }
            fleet.connect(entrance)?;
            if number % 4 == 1 {
                fleet.hang_up(number);
            }
            if let Some(old) = number.checked_sub(AT_ONCE) {
                fleet.hang_up(old);
            }
        }
        fleet.poll(TICK, &mut mob)?;
    }
    while ground.goes_on() {
        fleet.poll(Duration::from_millis(20), &mut mob)?;
    }
    Ok(mob.account(&[("connects", fleet.len() as u64), ("with a bad token", bad)]))
}

fn dispatch(ground: &Ground<'_>) -> anyhow::Result<Deeds> {
    const IN_FLIGHT: u64 = 200;
    const CALLER: usize = 0;
    /// Its device answers; the one after it never does.
    const ANSWERS: usize = 1;
    let (mut fleet, mut mob) = (Fleet::new()?, Mob::default());
    ground.join(&mut fleet, ground.room(0, 0), 3, &mut mob)?;
    let call = |fleet: &mut Fleet, device: usize, number: u64| {
        let request = format!(
            "{{\"type\":\"dispatch_request\",\"id\":\"{number}\",\"to\":\"device-{device}\",\"action\":\"work\",\"input\":{{}}}}"
        );
        fleet.queue(CALLER, TEXT, request.as_bytes());
    };
    for number in 0..50 {
        call(&mut fleet, ANSWERS + 1, u64::MAX - number);
    }
    let mut flood = Flood::new(&fleet, FLOOD_RATE / 4.0);
    let mut number = 0;
    while ground.goes_on() && fleet.is_open(CALLER) {
        for _ in 0..flood.due(&fleet) {
            flood.sent += 1;
            if number < mob.results + IN_FLIGHT {
                call(&mut fleet, ANSWERS, number);
                number += 1;
            }
        }
        for (client, id) in std::mem::take(&mut mob.calls) {
            if client == ANSWERS {
                let answer = format!(
                    "{{\"type\":\"dispatch_response\",\"id\":\"{id}\",\"result\":{{\"data\":1,\"error\":null}}}}"
                );
                fleet.queue(client, TEXT, answer.as_bytes());
            }
        }
        for client in 0..fleet.len() {
            fleet.flush(client)?;
        }
        fleet.poll(TICK, &mut mob)?;
    }
    Ok(mob.account(&[("calls", number), ("results", mob.results)]))
}

fn manifests(ground: &Ground<'_>) -> anyhow::Result<Deeds> {
    const DEVICES: usize = 16;
    /// With its frame below the 64 KiB of one device.
    const TITLE_BYTES: usize = 63 * 1024;
    let (mut fleet, mut mob) = (Fleet::new()?, Mob::default());
    ground.join(&mut fleet, ground.room(0, 0), DEVICES, &mut mob)?;
    let publish = |fleet: &mut Fleet, client: usize, number: u64| {
        let title = format!("{number:0>TITLE_BYTES$}");
        let message = format!(
            "{{\"type\":\"presence_publish\",\"actions\":{{\"work\":{{\"type\":\"query\",\"title\":\"{title}\"}}}}}}"
        );
        fleet.queue(client, TEXT, message.as_bytes());
        fleet.flush(client)
    };
    for client in 0..DEVICES {
        publish(&mut fleet, client, 0)?;
    }
    let mut flood = Flood::new(&fleet, 2.0);
    while ground.goes_on() {
        for _ in 0..flood.due(&fleet) {
            flood.sent += 1;
            publish(&mut fleet, flood.sent as usize % DEVICES, flood.sent)?;
        }
        fleet.poll(TICK, &mut mob)?;
    }
    Ok(mob.account(&[
        ("published", flood.sent + DEVICES as u64),
        ("lists", mob.heard),
    ]))
}
