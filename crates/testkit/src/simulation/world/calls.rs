//! HTTP callers: each call is answered once, with no less than was on disk when it was made.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use epicenter_identity::DeviceId;
use epicenter_native::rooms::RoomRegistry;
use epicenter_room::{Answer, Request, Tag};
use epicenter_server::ports::Rooms;
use epicenter_update::{Collect, Ready, StateVector, Update, compact, ingest};

use super::{Happening, World};
use crate::simulation::client::device_of;
use crate::simulation::document::merged;
use crate::simulation::ledger::{ANY, Content};
use crate::simulation::scene::TaskId;

/// A call on its way.
pub(super) struct PendingCall {
    client: usize,
    future: Pin<Box<dyn Future<Output = Answer> + Send>>,
    began_at: u64,
    /// The room's life and content when the call was made.
    lives: u64,
    durable: Content,
    /// What the caller has.
    held: Bytes,
    pushed: Option<Content>,
    /// The tags that it said it has.
    tags: Vec<Tag>,
    /// It stores something new, or makes a room: what a quota may keep out.
    stores: bool,
}

/// Tags that a client remembers.
const REMEMBERED_TAGS: usize = 2;

impl World {
    pub(super) fn begin_call(&mut self) {
        if self.is_calm {
            return;
        }
        let next = 20 + self.dice.below(1_200);
        self.happens_in(next, Happening::Call);
        let number = self.dice.below(self.clients.len() as u64) as usize;
        let (request, held, pushed) = self.request(number);
        self.call(number, request, held, pushed);
    }

    fn request(&mut self, number: usize) -> (Request, Bytes, Option<Content>) {
        let nothing = Bytes::new();
        let deletes = self.plan.deletions && self.dice.one_in(8);
        let to = self.dice.below(self.clients.len() as u64 + 1) as usize;
        let kind = self.dice.below(10);
        let names_tags = self.dice.one_in(2);
        let client = &mut self.clients[number];
        let if_none_match: Vec<Tag> = if names_tags {
            client.tags.iter().copied().collect()
        } else {
            Vec::new()
        };
        if deletes {
            let request = match kind {
                0..=3 => Request::Delete,
                4..=6 => Request::Create,
                _ => Request::Restore,
            };
            return (request, nothing, None);
        }
        match kind {
            0..=2 => {
                let held = if names_tags {
                    client.document.whole()
                } else {
                    nothing
                };
                (Request::Snapshot { if_none_match }, held, None)
            }
            3 | 4 => (
                Request::Dispatch {
                    to: DeviceId::parse(&device_of(to)).expect("a plain name"),
                    action: "act".to_owned(),
                    input: None,
                },
                nothing,
                None,
            ),
            _ => {
                let update = if kind < 7 {
                    Bytes::new()
                } else {
                    client.document.whole()
                };
                let pushed = Content::of(&update);
                let request = Request::Sync {
                    state_vector: client.document.state_vector().clone(),
                    update,
                    if_none_match,
                };
                (request, client.document.whole(), pushed)
            }
        }
    }

    pub(super) fn call(
        &mut self,
        number: usize,
        request: Request,
        held: Bytes,
        pushed: Option<Content>,
    ) {
        let Some(process) = &self.process else {
            return;
        };
        let client = &self.clients[number];
        let (lives, durable) = self.ledger.durable(&client.name);
        let registry: RoomRegistry = process.registry.clone();
        let (name, access) = (client.name.clone(), client.access());
        let task = TaskId(self.fresh_id());
        let tags = match &request {
            Request::Snapshot { if_none_match } | Request::Sync { if_none_match, .. } => {
                if_none_match.clone()
            }
            _ => Vec::new(),
        };
        let makes_a_room = matches!(request, Request::Create | Request::Restore);
        let stores = makes_a_room || pushed.is_some();
        let future = Box::pin(async move { registry.call(name, access, request).await });
        self.calls.insert(
            task,
            PendingCall {
                client: number,
                future,
                began_at: self.scene.now(),
                lives,
                durable,
                held,
                pushed,
                tags,
                stores,
            },
        );
        self.scene.wake(task);
        if self.dice.one_in(8) && !self.is_calm {
            let patience = self.dice.below(400);
            self.happens_in(patience, Happening::HangUp(task));
        }
    }

    /// The caller is gone.
    pub(super) fn hang_up(&mut self, task: TaskId) {
        self.calls.remove(&task);
    }

    pub(super) fn poll_call(&mut self, task: TaskId) {
        let waker = self.scene.waker(task);
        let Some(call) = self.calls.get_mut(&task) else {
            return;
        };
        let Poll::Ready(answer) = call.future.as_mut().poll(&mut Context::from_waker(&waker))
        else {
            return;
        };
        if let Some(call) = self.calls.remove(&task) {
            self.tally.answers += 1;
            self.answered(&call, answer);
        }
    }

    fn answered(&mut self, call: &PendingCall, answer: Answer) {
        let client = &mut self.clients[call.client];
        let name = client.name.clone();
        self.scene.note(format_args!(
            "client {} is answered {}",
            call.client,
            brief(&answer)
        ));
        match answer {
            Answer::Update { update, tag } => {
                let Some(content) = Content::of(&update) else {
                    self.scene
                        .violate(|| format!("{name}: an answer does not parse"));
                    return;
                };
                self.ledger.show(&name, "an HTTP caller", &content);
                let (lives, _) = self.ledger.durable(&name);
                if lives == call.lives
                    && let Some(lacks) = self.ledger.lacks_in_life(&name, &content)
                {
                    self.scene.violate(|| {
                        format!(
                            "{name}: a caller is shown {lacks} of a life of the room that has ended"
                        )
                    });
                }
                client.document.apply(&update);
                client.tags.push_back(tag);
                if client.tags.len() > REMEMBERED_TAGS {
                    client.tags.pop_front();
                }
                let has = merged(&[call.held.clone(), update]);
                self.expect_fresh(call, &has, &format!("{name}: an answer"));
            }
            Answer::UpToDate { .. } => {
                self.expect_fresh(call, &call.held, &format!("{name}: `204`"));
            }
            Answer::NotModified { tag } => {
                if !call.tags.contains(&tag) {
                    self.scene.violate(|| {
                        format!("{name}: `304` for a tag that the caller did not name")
                    });
                }
                self.expect_fresh(call, &call.held, &format!("{name}: `304`"));
            }
            Answer::QuotaExceeded(_) if !(call.stores && self.plan.quotas) => {
                self.scene
                    .violate(|| format!("{name}: a quota keeps out what it does not concern"));
            }
            Answer::Malformed { .. } | Answer::Refused { .. } => {
                self.scene
                    .violate(|| format!("{name}: a sound push was refused"));
            }
            _ => {}
        }
    }

    /// A caller has everything that was there when it asked, and what it pushed is on disk.
    fn expect_fresh(&self, call: &PendingCall, has: &Bytes, what: &str) {
        let (client, plan) = (&self.clients[call.client], &self.plan);
        if let Some(pushed) = &call.pushed
            && !self.ledger.holds(&client.name, pushed)
        {
            self.scene
                .violate(|| format!("{what} came before the push was on disk"));
        }
        let (lives, _) = self.ledger.durable(&client.name);
        // With the deletions that follow from what it has: the hub knows some of them since a compaction.
        let has = with_consequences(has);
        if lives == call.lives && !plan.disk_lies && !has.covers(&call.durable) {
            let lacks = has.lacks(&call.durable);
            self.scene.violate(|| format!("{what} lacks {lacks}"));
        }
    }

    /// Calls that nobody has answered for longer than any call may take.
    pub(super) fn oldest_call(&self) -> Option<u64> {
        self.calls.values().map(|call| call.began_at).min()
    }
}

/// What an update says, and which deletions follow from it. What waits can keep open which value of a key wins, so they
/// follow from the ready part by itself as well, which is all that a compaction looks at.
fn with_consequences(update: &Bytes) -> Content {
    let mut content = collected(update);
    let parsed = Update::parse(update, &ANY);
    if let Ok(Ready::Part(ready)) =
        parsed.map(|update| ingest(&update, &StateVector::default()).ready)
    {
        content.add(&collected(&ready.into()));
    }
    content
}

fn collected(update: &Bytes) -> Content {
    let compacted = Update::parse(update, &ANY).map(|update| compact(&update, Collect::Deleted));
    compacted
        .ok()
        .and_then(|update| Content::of(&update))
        .unwrap_or_default()
}

fn brief(answer: &Answer) -> String {
    match answer {
        Answer::Update { update, .. } => format!("an update of {} bytes", update.len()),
        other => format!("{other:?}"),
    }
}
