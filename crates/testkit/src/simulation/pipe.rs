//! What goes from the hub to one client: bytes of WebSocket frames through a window, looked at as they leave.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use epicenter_identity::RoomName;
use epicenter_native::rooms::outbox::Sink;
use epicenter_sync::Frame;
use epicenter_update::{Limits, StateVector};
use serde_json::Value;

use super::ledger::{Content, Ledger};
use super::scene::{Scene, lock};
use crate::dice::Dice;

/// A revoked connection is told nothing after so long (`identity.md` 3).
const REVOKED_WITHIN_MS: u64 = 1_000;

/// Something that the hub says.
#[derive(Clone, Debug)]
pub(super) enum FromHub {
    Step1(StateVector),
    Update(Bytes),
    Text(Value),
    Close(u16),
}

/// One direction of one connection.
pub(super) struct Pipe {
    scene: Arc<Scene>,
    ledger: Arc<Ledger>,
    room: RoomName,
    link: u64,
    state: Mutex<State>,
}

struct State {
    dice: Dice,
    undecoded: Vec<u8>,
    /// What arrives when: bytes that free the window again, or a frame that is whole with them.
    frames: VecDeque<(u64, Option<FromHub>, usize)>,
    last_arrival: u64,
    unread: usize,
    window: usize,
    /// Nothing that is written arrives any more, and nobody has noticed.
    is_cut: bool,
    /// Writing fails.
    is_broken: bool,
    revoked_at: Option<u64>,
    /// The update frames that the hub has taken from the client, with what they hold; none for unreadable ones.
    accepted: VecDeque<Option<Content>>,
    accepted_count: u64,
    saved: u64,
    refused: Vec<u64>,
}

impl Pipe {
    pub(super) fn new(
        scene: Arc<Scene>,
        ledger: Arc<Ledger>,
        room: RoomName,
        link: u64,
        window: usize,
    ) -> Arc<Self> {
        let dice = scene.dice("pipe", link);
        Arc::new(Self {
            scene,
            ledger,
            room,
            link,
            state: Mutex::new(State {
                dice,
                undecoded: Vec::new(),
                frames: VecDeque::new(),
                last_arrival: 0,
                unread: 0,
                window,
                is_cut: false,
                is_broken: false,
                revoked_at: None,
                accepted: VecDeque::new(),
                accepted_count: 0,
                saved: 0,
                refused: Vec::new(),
            }),
        })
    }

    /// What is on its way is lost, and so is what comes.
    pub(super) fn cut(&self) {
        let mut state = lock(&self.state);
        state.is_cut = true;
        state.frames.clear();
    }

    pub(super) fn break_off(&self) {
        let mut state = lock(&self.state);
        state.is_broken = true;
    }

    /// From now on the client may be told nothing but the end.
    pub(super) fn revoke(&self) {
        let mut state = lock(&self.state);
        state.revoked_at.get_or_insert(self.scene.now());
    }

    /// The machine slept: what was due meanwhile has as long again.
    pub(super) fn excuse(&self) {
        let mut state = lock(&self.state);
        if let Some(at) = &mut state.revoked_at {
            *at = self.scene.now();
        }
    }

    /// Whether it is over for longer than a connection may stay open.
    pub(super) fn is_overdue(&self) -> bool {
        let revoked_at = lock(&self.state).revoked_at;
        revoked_at.is_some_and(|at| self.scene.now() > at + REVOKED_WITHIN_MS)
    }

    /// The client reads what has arrived; the window opens again.
    pub(super) fn read(&self) -> Vec<FromHub> {
        let now = self.scene.now();
        let mut state = lock(&self.state);
        let mut read = Vec::new();
        while let Some((arrival, _, _)) = state.frames.front()
            && *arrival <= now
        {
            if let Some((_, frame, bytes)) = state.frames.pop_front() {
                state.unread -= bytes;
                read.extend(frame);
            }
        }
        read
    }

    /// The hub's end of the connection closes it.
    pub(super) fn close(&self, code: u16) {
        let mut state = lock(&self.state);
        state.undecoded.clear();
        self.send(&mut state, Some(FromHub::Close(code)), 0);
    }

    /// The hub takes an update frame of the client.
    pub(super) fn accept(&self, content: Option<Content>) {
        let mut state = lock(&self.state);
        state.accepted.push_back(content);
        state.accepted_count += 1;
    }

    /// How many update frames the hub has taken, and how many of them it has reported.
    pub(super) fn reported(&self) -> (u64, u64) {
        let state = lock(&self.state);
        (state.accepted_count, state.saved)
    }

    fn send(&self, state: &mut State, frame: Option<FromHub>, bytes: usize) {
        if state.is_cut {
            return;
        }
        let latency = match state.dice.below(20) {
            0 => state.dice.below(800),
            1..=6 => state.dice.below(60),
            _ => state.dice.below(6),
        };
        let at = (self.scene.now() + 1 + latency).max(state.last_arrival);
        state.last_arrival = at;
        state.frames.push_back((at, frame, bytes));
        self.scene.arrives(self.link, at);
    }

    /// A whole frame has left the hub.
    fn inspect(&self, state: &mut State, opcode: u8, payload: Bytes) {
        let now = self.scene.now();
        if let Some(at) = state.revoked_at
            && now > at + REVOKED_WITHIN_MS
        {
            self.scene.violate(|| {
                format!(
                    "link {} is told something although it was revoked",
                    self.link
                )
            });
        }
        let name = format!("link {}", self.link);
        match opcode {
            1 => {
                let text: Value = serde_json::from_slice(&payload).unwrap_or_default();
                self.inspect_text(state, &text);
                self.send(state, Some(FromHub::Text(text)), 0);
            }
            2 => match Frame::parse(&payload) {
                Ok(Frame::Step1(vector)) => {
                    match StateVector::decode(&vector, &Limits::default()) {
                        Ok(vector) => {
                            self.ledger
                                .show(&self.room, &name, &Content::counted(&vector));
                            self.send(state, Some(FromHub::Step1(vector)), 0);
                        }
                        Err(error) => self.scene.violate(|| format!("{name}: step 1: {error}")),
                    }
                }
                Ok(Frame::Step2(update) | Frame::Update(update)) => match Content::of(&update) {
                    Some(content) => {
                        self.ledger.show(&self.room, &name, &content);
                        self.send(state, Some(FromHub::Update(update)), 0);
                    }
                    None => self
                        .scene
                        .violate(|| format!("{name} is sent an update that does not parse")),
                },
                Err(error) => self.scene.violate(|| format!("{name}: {error}")),
            },
            _ => {}
        }
    }

    /// Reports about updates are true when they leave.
    fn inspect_text(&self, state: &mut State, text: &Value) {
        let kind = text.get("type").and_then(Value::as_str);
        if kind == Some("refused") {
            state
                .refused
                .extend(text.get("frame").and_then(Value::as_u64));
        }
        if kind != Some("saved") {
            return;
        }
        let count = text
            .get("count")
            .and_then(Value::as_u64)
            .unwrap_or_default();
        let (link, known) = (self.link, state.saved);
        if count <= known || count > state.accepted_count {
            let accepted = state.accepted_count;
            self.scene.violate(|| {
                format!("link {link}: {count} frames are saved after {known}, of {accepted}")
            });
        }
        for number in known + 1..=count {
            let Some(content) = state.accepted.pop_front().flatten() else {
                continue;
            };
            if !state.refused.contains(&number) && !self.ledger.holds(&self.room, &content) {
                self.scene.violate(|| {
                    format!("link {link}: frame {number} is said to be saved and is not on disk")
                });
            }
        }
        state.saved = count;
    }
}

impl Sink for Pipe {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let state = &mut *lock(&self.state);
        if state.is_broken {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let room = state.window.saturating_sub(state.unread);
        if room == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let offered: usize = slices.iter().map(|slice| slice.len()).sum();
        let mut takes = offered.min(room);
        if state.dice.one_in(12) {
            takes = takes.min(1 + state.dice.below(40) as usize);
        }
        let mut left = takes;
        for slice in slices {
            let part = slice.get(..left.min(slice.len())).unwrap_or_default();
            state.undecoded.extend_from_slice(part);
            left -= part.len();
        }
        state.unread += takes;
        while let Some((opcode, payload, len)) = first_frame(&state.undecoded) {
            state.undecoded.drain(..len);
            self.inspect(state, opcode, payload);
        }
        self.send(state, None, takes);
        Ok(takes)
    }
}

/// The first frame of these bytes, if it is whole: opcode, payload, length.
fn first_frame(bytes: &[u8]) -> Option<(u8, Bytes, usize)> {
    let (first, rest) = bytes.split_first()?;
    let (second, rest) = rest.split_first()?;
    let (len, rest) = match second {
        126 => {
            let (len, rest) = rest.split_at_checked(2)?;
            (u16::from_be_bytes(len.try_into().ok()?) as usize, rest)
        }
        127 => {
            let (len, rest) = rest.split_at_checked(8)?;
            (u64::from_be_bytes(len.try_into().ok()?) as usize, rest)
        }
        short => (*short as usize, rest),
    };
    let payload = rest.get(..len)?;
    let whole = bytes.len() - rest.len() + len;
    Some((first & 0x0f, Bytes::copy_from_slice(payload), whole))
}
