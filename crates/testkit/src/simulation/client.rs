//! One device of a user: its document, what it says to the hub and what it makes of the answers (`sync.md` 2 and 6).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use epicenter_identity::{Access, ClientId, DeviceId, GrantId, OwnerId, RoomName, Scopes, UserId};
use epicenter_room::{Message, Tag};
use epicenter_sync::{encode_step1, encode_step2, encode_update};
use serde_json::{Value, json};

use super::document::{Document, Forest};
use super::pipe::FromHub;
use super::scene::Scene;
use super::socket::ToHub;
use crate::dice::Dice;

/// Updates that a client may still hand to another one past the hub.
const REMEMBERED: usize = 24;

/// How its user's connection stands, as far as the client knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Offline,
    Online,
    /// The room was deleted.
    Stopped,
}

/// A device.
pub(super) struct Client {
    scene: Arc<Scene>,
    pub(super) number: usize,
    pub(super) room: usize,
    pub(super) name: RoomName,
    pub(super) document: Document,
    pub(super) standing: Standing,
    /// The connection that it takes for open.
    pub(super) link: Option<u64>,
    /// Grants that it has used up, the present one included.
    pub(super) grants: u64,
    pub(super) reports: bool,
    /// Does not read before this time.
    pub(super) paused_until: u64,
    /// Calls on this connection that are not answered, by id.
    pub(super) asked: BTreeMap<String, u64>,
    /// Devices that the last list shows.
    pub(super) shown: Vec<String>,
    /// The tags of the last answers that it has taken over.
    pub(super) tags: VecDeque<Tag>,
    user: String,
    calls: u64,
    is_mute: bool,
    remembered: Vec<Bytes>,
    dice: Dice,
}

impl Client {
    pub(super) fn new(scene: &Arc<Scene>, number: usize, room: usize, name: RoomName) -> Self {
        let mut dice = scene.dice("client", number as u64);
        Self {
            scene: Arc::clone(scene),
            number,
            room,
            user: format!("user-{}", dice.below(3)),
            name,
            document: Document::default(),
            standing: Standing::Offline,
            link: None,
            grants: 1,
            reports: dice.one_in(2),
            paused_until: 0,
            asked: BTreeMap::new(),
            shown: Vec::new(),
            tags: VecDeque::new(),
            calls: 0,
            is_mute: dice.one_in(3),
            remembered: Vec::new(),
            dice,
        }
    }

    /// The Yjs client id.
    fn author(&self) -> u64 {
        self.number as u64 * 7 + 3
    }

    pub(super) fn device(&self) -> DeviceId {
        let name = device_of(self.number);
        DeviceId::parse(&name).expect("a plain name")
    }

    pub(super) fn grant(&self) -> GrantId {
        let name = format!("grant-{}-{}", self.number, self.grants);
        GrantId::parse(&name).expect("a plain name")
    }

    pub(super) fn user(&self) -> UserId {
        UserId::parse(&self.user).expect("a plain name")
    }

    pub(super) fn access(&self) -> Access {
        let owner: &OwnerId = self.name.owner();
        let client = ClientId::parse("simulated").expect("a plain name");
        Access::authenticated_as(
            self.user(),
            owner.clone(),
            client,
            self.grant(),
            Scopes::all(),
        )
    }

    /// A connection has opened: what is said first.
    pub(super) fn connected(&mut self, link: u64) -> ToHub {
        self.link = Some(link);
        self.standing = Standing::Online;
        self.asked.clear();
        self.shown.clear();
        self.step1()
    }

    pub(super) fn disconnected(&mut self) {
        self.link = None;
        self.standing = Standing::Offline;
        self.asked.clear();
    }

    pub(super) fn step1(&self) -> ToHub {
        binary(encode_step1(&self.document.state_vector().encode()))
    }

    /// The user does something to the document.
    pub(super) fn edit(&mut self, forest: &mut Forest) -> ToHub {
        let author = self.author();
        let update = forest.edit(&mut self.dice, author, &mut self.document);
        self.remember(&update);
        binary(encode_update(&update))
    }

    /// Something of this client's for another one, past the hub.
    pub(super) fn hand_over(&mut self) -> Option<Bytes> {
        self.dice.pick(&self.remembered).cloned()
    }

    /// Takes that, and may pass it on to the hub.
    pub(super) fn take_over(&mut self, update: &Bytes) -> Option<ToHub> {
        self.document.apply(update);
        self.remember(update);
        self.dice.one_in(2).then(|| binary(encode_update(update)))
    }

    fn remember(&mut self, update: &Bytes) {
        if self.remembered.len() == REMEMBERED {
            self.remembered.remove(0);
        }
        self.remembered.push(update.clone());
    }

    pub(super) fn publish(&mut self) -> ToHub {
        let action = format!("action{}", self.dice.below(4));
        let actions = json!({ action: {"type": "query"} });
        text(&json!({"type": "presence_publish", "actions": actions}))
    }

    /// Calls a device, which may not exist.
    pub(super) fn call(&mut self, to: usize) -> ToHub {
        self.calls += 1;
        let id = format!("{}-{}", self.number, self.calls);
        self.asked.insert(id.clone(), self.scene.now());
        text(&json!({
            "type": "dispatch_request", "id": id, "to": device_of(to), "action": "act", "input": {"n": self.calls},
        }))
    }

    /// Something that no client should say.
    pub(super) fn nonsense(&mut self) -> ToHub {
        match self.dice.below(6) {
            0 => binary(Bytes::from_static(&[9, 1, 0])),
            1 => binary(Bytes::from_static(&[2, 3, 0xff, 0xff, 0xff])),
            2 => binary(Bytes::from_static(&[0, 1])),
            // Client 0, which nobody is.
            3 => binary(encode_update(&[
                0, 0, 1, 0, 0, 0, 1, 40, 8, 5, b'm', b'e', b't', b'a', b'k', 4, 1, 1, 1, 0, 1, 1,
                1, 1, 0, 119, 1, b'v', 0,
            ])),
            4 => text(
                &json!({"type": "dispatch_response", "id": "never-asked", "result": {"data": 1, "error": null}}),
            ),
            _ => text(&json!({"type": "no such thing"})),
        }
    }

    /// What the hub says, and what is said back.
    pub(super) fn hear(&mut self, said: FromHub) -> Vec<ToHub> {
        match said {
            FromHub::Step1(vector) => vec![binary(encode_step2(&self.document.diff(&vector)))],
            FromHub::Update(update) => {
                if !self.document.apply(&update) {
                    self.scene
                        .violate(|| format!("client {} cannot read an update", self.number));
                }
                Vec::new()
            }
            FromHub::Text(said) => self.hear_text(&said),
            FromHub::Close(_) => Vec::new(),
        }
    }

    fn hear_text(&mut self, said: &Value) -> Vec<ToHub> {
        let field = |name: &str| said.get(name).and_then(Value::as_str).unwrap_or_default();
        match field("type") {
            "presence" => {
                let devices = said.get("devices").and_then(Value::as_array);
                let names = devices.into_iter().flatten().filter_map(|device| {
                    let name = device.get("deviceId")?.as_str()?;
                    Some(name.to_owned())
                });
                self.shown = names.collect();
            }
            "dispatch_inbound" => return self.respond(field("id")),
            "dispatch_result" => {
                let id = field("id").to_owned();
                if self.asked.remove(&id).is_none() {
                    self.scene
                        .violate(|| format!("call {id} is answered a second time"));
                }
            }
            _ => {}
        }
        Vec::new()
    }

    fn respond(&mut self, id: &str) -> Vec<ToHub> {
        if self.is_mute {
            return Vec::new();
        }
        let result = json!({"data": self.number, "error": null});
        let response = text(&json!({"type": "dispatch_response", "id": id, "result": result}));
        let times = 1 + usize::from(self.dice.one_in(5));
        vec![response; times]
    }
}

pub(super) fn device_of(client: usize) -> String {
    format!("device-{client:02}")
}

fn binary(bytes: Bytes) -> ToHub {
    ToHub::Message(Message::Binary(bytes))
}

fn text(value: &Value) -> ToHub {
    ToHub::Message(Message::Text(value.to_string()))
}
