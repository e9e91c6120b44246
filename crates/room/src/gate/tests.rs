//! The gate by itself, every kind of effect.

use epicenter_sync::encode_step2;

use super::*;
use crate::action::{Append, Entry, Note};
use crate::command::Millis;

const ADA: ConnectionId = ConnectionId(1);
const BOB: ConnectionId = ConnectionId(2);
const CALL: CallId = CallId(1);
const TAG: Tag = Tag([7; 16]);

fn text(name: &'static str) -> Outgoing {
    Outgoing::Text(Bytes::from_static(name.as_bytes()))
}

fn send(to: ConnectionId, name: &'static str) -> Held {
    Held::Send {
        to,
        message: text(name),
    }
}

fn sent(to: ConnectionId, name: &'static str) -> Action {
    Action::Send {
        to,
        message: text(name),
    }
}

fn saved(to: ConnectionId, count: u64) -> Held {
    Held::Saved {
        to,
        count,
        is_joined: false,
    }
}

fn told(to: ConnectionId, count: u64) -> Action {
    Action::Send {
        to,
        message: Outgoing::Text(Bytes::from(encode_saved(count))),
    }
}

fn send_state(to: ConnectionId, upto: u64) -> Held {
    Held::SendState {
        to,
        state_vector: StateVector::default(),
        upto: Seq(upto),
    }
}

fn close(connection: ConnectionId) -> Close {
    Close {
        connection,
        code: CloseCode::RoomDeleted,
        reason: String::new(),
        last_words: None,
    }
}

fn closed(connection: ConnectionId) -> Action {
    Action::Close {
        connection,
        code: CloseCode::RoomDeleted,
        reason: String::new(),
    }
}

/// A gate with two sockets and a call, and what leaves it.
struct Scene {
    gate: Gate,
    actions: Vec<Action>,
}

impl Scene {
    fn new() -> Self {
        let mut gate = Gate::new(1_000);
        assert!(
            gate.connection_opened(ADA) && gate.connection_opened(BOB) && gate.call_opened(CALL)
        );
        Scene {
            gate,
            actions: Vec::new(),
        }
    }

    fn after(&mut self, seq: u64, held: Held) -> Vec<Action> {
        self.gate
            .admit(Effect::After(Seq(seq), held), &mut self.actions);
        std::mem::take(&mut self.actions)
    }

    fn now(&mut self, effect: Immediate) -> Vec<Action> {
        self.gate.admit(Effect::Now(effect), &mut self.actions);
        std::mem::take(&mut self.actions)
    }

    fn durable(&mut self, seq: u64) -> Vec<Action> {
        self.gate.durable(Seq(seq), &mut self.actions);
        std::mem::take(&mut self.actions)
    }

    fn built(&mut self, ticket: u64) -> Vec<Action> {
        let update = Some(Bytes::from_static(b"state"));
        assert_eq!(
            self.gate
                .state_built(Ticket(ticket), update, &mut self.actions),
            None
        );
        std::mem::take(&mut self.actions)
    }
}

#[test]
fn every_kind_of_held_effect_waits_for_its_entry() {
    let build = |ticket| Action::BuildState {
        ticket: Ticket(ticket),
        state_vector: StateVector::default(),
        upto: Seq(5),
    };
    let close = Held::Close(close(ADA));
    let answer_state = Held::AnswerState {
        call: CALL,
        tag: TAG,
        state_vector: StateVector::default(),
        upto: Seq(5),
    };
    let answer = Held::Answer {
        call: CALL,
        answer: Answer::Deleted,
    };
    let answered = Action::Answer {
        call: CALL,
        answer: Answer::Deleted,
    };
    for (held, expected) in [
        (send(ADA, "a"), sent(ADA, "a")),
        (send_state(ADA, 5), build(1)),
        (close, closed(ADA)),
        (saved(ADA, 7), told(ADA, 7)),
        (answer, answered),
        (answer_state, build(1)),
    ] {
        let mut scene = Scene::new();
        assert_eq!(scene.durable(3), []);
        assert_eq!(scene.after(5, held), []);
        assert!(scene.gate.held_bytes() > 0 && !scene.gate.is_empty());
        assert_eq!(scene.durable(4), []);
        assert_eq!(scene.durable(5), [expected]);
        assert_eq!(scene.gate.held_bytes(), 0);
    }
}

#[test]
fn what_is_durable_already_goes_at_once() {
    let mut scene = Scene::new();
    scene.durable(5);
    assert_eq!(scene.after(5, send(ADA, "a")), [sent(ADA, "a")]);
    // A lower number means nothing new.
    assert_eq!(scene.durable(1), []);
    assert_eq!(scene.after(5, send(ADA, "b")), [sent(ADA, "b")]);
}

#[test]
fn effects_leave_in_order() {
    let mut scene = Scene::new();
    scene.after(1, send(ADA, "a"));
    scene.after(1, send(BOB, "b"));
    scene.after(2, send(ADA, "c"));
    scene.after(3, send(ADA, "d"));
    assert_eq!(
        scene.durable(2),
        [sent(ADA, "a"), sent(BOB, "b"), sent(ADA, "c")]
    );
    assert_eq!(scene.durable(3), [sent(ADA, "d")]);
}

#[test]
fn what_carries_no_document_data_never_waits() {
    let append = Append {
        first: Seq(1),
        entries: vec![Entry::Created],
    };
    let note = Note::PendingDropped {
        by: None,
        bytes: 1,
        is_first: true,
    };
    let mut scene = Scene::new();
    scene.after(1, send(ADA, "held"));
    assert_eq!(scene.now(Immediate::Load), [Action::Load]);
    assert_eq!(
        scene.now(Immediate::Append(append.clone())),
        [Action::Append(append)]
    );
    let timer = Some(Millis(3));
    assert_eq!(
        scene.now(Immediate::SetTimer(timer)),
        [Action::SetTimer(timer)]
    );
    assert_eq!(
        scene.now(Immediate::Note(note.clone())),
        [Action::Note(note)]
    );
    let close = Immediate::Close(close(ADA));
    assert_eq!(scene.now(close), [closed(ADA)]);
    assert_eq!(
        scene.durable(1),
        [],
        "what was held for it has gone with it"
    );
}

#[test]
fn going_away_takes_everybody_along() {
    let mut scene = Scene::new();
    scene.after(1, send(ADA, "held"));
    let actions = scene.now(Immediate::GoAway);
    assert_eq!(actions.len(), 3);
    assert_eq!(
        actions[2],
        Action::Answer {
            call: CALL,
            answer: Answer::GoingAway
        }
    );
    assert_eq!(scene.durable(1), []);
    assert!(scene.gate.is_empty());
}

#[test]
fn a_receiver_waits_for_its_state_and_others_do_not() {
    let mut scene = Scene::new();
    scene.durable(9);
    assert!(matches!(
        &scene.after(9, send_state(ADA, 9))[..],
        [Action::BuildState { .. }]
    ));
    assert_eq!(scene.after(9, send(ADA, "a")), []);
    assert_eq!(scene.after(9, send(BOB, "b")), [sent(BOB, "b")]);
    assert_eq!(scene.after(9, send_state(ADA, 9)), []);
    assert_eq!(scene.after(9, send(ADA, "c")), []);
    let step2 = Action::Send {
        to: ADA,
        message: Outgoing::Binary(encode_step2(b"state")),
    };
    let actions = scene.built(1);
    assert_eq!(actions[..2], [step2.clone(), sent(ADA, "a")]);
    assert!(matches!(
        &actions[2..],
        [Action::BuildState {
            ticket: Ticket(2),
            ..
        }]
    ));
    assert_eq!(scene.built(2), [step2, sent(ADA, "c")]);
    assert_eq!(scene.built(2), []);
}

#[test]
fn what_waits_behind_a_state_still_waited_for_the_disk() {
    let mut scene = Scene::new();
    scene.durable(1);
    scene.after(1, send_state(ADA, 1));
    scene.after(2, send(ADA, "a"));
    assert_eq!(scene.built(1).len(), 1);
    assert_eq!(scene.durable(2), [sent(ADA, "a")]);
}

#[test]
fn a_state_comes_to_nothing_when_its_receiver_has_gone() {
    let mut scene = Scene::new();
    scene.after(0, send_state(ADA, 0));
    scene.after(0, send(ADA, "a"));
    assert!(scene.gate.connection_gone(ADA));
    assert!(!scene.gate.connection_gone(ADA));
    assert_eq!(scene.built(1), []);
    let answer_state = Held::AnswerState {
        call: CALL,
        tag: TAG,
        state_vector: StateVector::default(),
        upto: Seq(0),
    };
    scene.after(0, answer_state);
    assert!(scene.gate.call_gone(CALL));
    assert_eq!(scene.built(2), []);
}

#[test]
fn a_call_is_answered_once() {
    let mut scene = Scene::new();
    scene.after(
        0,
        Held::Answer {
            call: CALL,
            answer: Answer::Created,
        },
    );
    assert_eq!(
        scene.after(
            0,
            Held::Answer {
                call: CALL,
                answer: Answer::Deleted
            }
        ),
        []
    );
}

#[test]
fn a_state_that_cannot_be_built_names_its_receiver() {
    let mut scene = Scene::new();
    scene.after(0, send_state(ADA, 0));
    assert_eq!(
        scene.gate.state_built(Ticket(1), None, &mut scene.actions),
        Some(ADA)
    );
    let answer_state = Held::AnswerState {
        call: CALL,
        tag: TAG,
        state_vector: StateVector::default(),
        upto: Seq(0),
    };
    scene.after(0, answer_state);
    assert_eq!(
        scene.gate.state_built(Ticket(2), None, &mut scene.actions),
        None
    );
    let unavailable = Action::Answer {
        call: CALL,
        answer: Answer::Unavailable,
    };
    assert_eq!(scene.actions, [unavailable]);
}

#[test]
fn too_much_behind_a_state_is_reported() {
    let mut scene = Scene::new();
    scene.after(0, send_state(ADA, 0));
    let large = || Held::Send {
        to: ADA,
        message: Outgoing::Binary(vec![0; 5_000].into()),
    };
    scene.after(0, large());
    assert_eq!(
        scene.gate.take_overflowed(),
        None,
        "one larger message passes"
    );
    scene.after(0, large());
    assert_eq!(scene.gate.take_overflowed(), Some(ADA));
}

#[test]
fn failure_drops_what_is_held_and_tells_everybody() {
    let mut scene = Scene::new();
    scene.after(0, send_state(BOB, 0));
    scene.after(1, send(ADA, "a"));
    scene.gate.fail(&mut scene.actions);
    let close = |connection| Action::Close {
        connection,
        code: CloseCode::TryAgainLater,
        reason: reason::STORAGE.to_owned(),
    };
    let unavailable = Action::Answer {
        call: CALL,
        answer: Answer::Unavailable,
    };
    assert_eq!(
        scene.actions,
        [close(ADA), close(BOB), unavailable, Action::Discard]
    );
    scene.actions.clear();
    assert_eq!(scene.durable(1), []);
    assert_eq!(scene.built(1), []);
    assert!(scene.gate.is_empty());
}

#[test]
fn of_counts_that_become_free_together_each_connection_gets_the_last() {
    let mut scene = Scene::new();
    for (after, held) in [
        (1, saved(ADA, 1)),
        (1, send(ADA, "a")),
        (2, saved(BOB, 1)),
        (2, saved(ADA, 2)),
        (2, send(ADA, "b")),
        (3, saved(ADA, 3)),
    ] {
        assert_eq!(scene.after(after, held), []);
    }
    let expected = [sent(ADA, "a"), told(BOB, 1), told(ADA, 2), sent(ADA, "b")];
    assert_eq!(scene.durable(2), expected);
    assert_eq!(scene.durable(3), [told(ADA, 3)]);
    assert_eq!(scene.gate.held_bytes(), 0);
}

#[test]
fn last_words_go_ahead_of_what_is_held_and_to_nobody_who_is_gone() {
    let mut scene = Scene::new();
    scene.after(5, send(ADA, "held"));
    let close = |connection| Close {
        last_words: Some(Bytes::from_static(b"bye")),
        ..close(connection)
    };
    assert_eq!(
        scene.now(Immediate::Close(close(ADA))),
        [sent(ADA, "bye"), closed(ADA)]
    );
    assert_eq!(scene.now(Immediate::Close(close(ADA))), []);
    assert_eq!(scene.after(6, Held::Close(close(BOB))), []);
    assert_eq!(scene.durable(6), [sent(BOB, "bye"), closed(BOB)]);
}
