//! Reading the log, and what happens when storage fails (`sync.md` 8).

use epicenter_room::{
    Action, Answer, CallId, Command, ConnectionId, Entry, Loaded, Millis, Request, RoomStatus, Seq,
};
use epicenter_sync::{CloseCode, encode_step1, encode_update};

use crate::host::{ADA, Host, START, access, device};
use crate::yjs;

const STORAGE: &str = r#"{"name":"StorageUnavailable","code":"storage_unavailable","status":503}"#;
const NOW: Millis = Millis(START);

fn open(id: u64) -> Command {
    Command::Open {
        connection: ConnectionId(id),
        access: access(ADA),
        device: device("laptop"),
        reports: false,
    }
}

fn snapshot(id: u64) -> Command {
    let request = Request::Snapshot {
        if_none_match: vec![],
    };
    Command::Call {
        call: CallId(id),
        access: access(ADA),
        request,
    }
}

fn live() -> Command {
    Command::Loaded(Loaded {
        status: RoomStatus::Live,
        last: Seq(7),
        ..Loaded::default()
    })
}

#[test]
fn the_first_input_loads_and_is_not_lost() {
    for input in [open(1), snapshot(1)] {
        let mut host = Host::new();
        assert!(host.room.accepts_input() && host.room.is_idle());
        assert_eq!(host.room.handle(input, NOW), [Action::Load]);
        assert!(!host.room.accepts_input() && !host.room.is_idle());
        host.room.handle(live(), NOW);
        assert!(host.room.accepts_input());
    }
}

#[test]
fn nothing_else_loads() {
    let mut host = Host::new();
    let grant = access(ADA).grant().clone();
    for command in [
        Command::Timer,
        Command::Revoke { grant },
        Command::Disconnected {
            connection: ConnectionId(1),
            code: None,
        },
        Command::HangUp { call: CallId(1) },
        Command::Durable(Seq(3)),
        Command::AppendFailed(Seq(3)),
        Command::Loaded(Loaded::default()),
        Command::LoadFailed,
        Command::StateBuilt {
            ticket: epicenter_room::Ticket(1),
            update: None,
        },
    ] {
        assert_eq!(host.room.handle(command, NOW), []);
    }
    assert!(host.room.is_idle() && host.room.accepts_input());
}

#[test]
fn the_input_is_handled_when_the_log_is_read() {
    let mut host = Host::new();
    host.room.handle(open(1), NOW);
    let actions = host.room.handle(live(), Millis(START + 20));
    assert!(
        matches!(
            &actions[..],
            [
                Action::Send { .. },
                Action::Send { .. },
                Action::SetTimer(_)
            ]
        ),
        "{actions:?}"
    );
    // Its lifetime began when it came.
    let expiry = Millis(START + 35 * 60_000);
    assert_eq!(actions.last(), Some(&Action::SetTimer(Some(expiry))));
    // Numbers go on where the log ended.
    let message = epicenter_room::Message::Binary(encode_update(&yjs::set(9, 0, 1)));
    let actions = host.room.handle(
        Command::Frame {
            connection: ConnectionId(1),
            message,
        },
        NOW,
    );
    let Action::Append(append) = &actions[0] else {
        panic!("{actions:?}")
    };
    assert_eq!((append.first, append.last()), (Seq(8), Seq(8)));
}

#[test]
fn inputs_that_a_host_should_have_kept_are_not_lost_either() {
    let mut host = Host::new();
    host.room.handle(open(1), NOW);
    host.room.handle(snapshot(1), NOW);
    let actions = host.room.handle(live(), NOW);
    assert!(
        actions
            .iter()
            .any(|action| matches!(action, Action::BuildState { .. }))
    );
}

#[test]
fn who_leaves_while_it_loads_is_not_there_afterwards() {
    let mut host = Host::new();
    host.room.handle(open(1), NOW);
    host.room.handle(
        Command::Disconnected {
            connection: ConnectionId(1),
            code: None,
        },
        NOW,
    );
    assert_eq!(
        host.room.handle(Command::Loaded(Loaded::default()), NOW),
        []
    );
    assert!(host.room.is_idle());

    let mut host = Host::new();
    host.room.handle(snapshot(1), NOW);
    host.room.handle(Command::HangUp { call: CallId(1) }, NOW);
    assert_eq!(host.room.handle(live(), NOW), []);
    assert!(host.room.is_idle());
}

#[test]
fn who_is_revoked_while_it_loads_is_revoked() {
    let grant = access(ADA).grant().clone();
    let user = access(ADA).user().clone();
    for revocation in [Command::Revoke { grant }, Command::RevokeUser { user }] {
        let mut host = Host::new();
        host.room.handle(open(1), NOW);
        let actions = host.room.handle(revocation, NOW);
        let [
            Action::Close {
                code: CloseCode::Unauthorized,
                ..
            },
        ] = &actions[..]
        else {
            panic!("{actions:?}");
        };
        assert_eq!(host.room.handle(live(), NOW), []);
        assert!(host.room.is_idle());
    }
}

#[test]
fn a_shutdown_while_it_loads_is_a_shutdown() {
    let mut host = Host::new();
    host.room.handle(open(1), NOW);
    let actions = host.room.handle(Command::Shutdown, NOW);
    assert!(
        matches!(
            &actions[..],
            [Action::Close {
                code: CloseCode::GoingAway,
                ..
            }]
        ),
        "{actions:?}"
    );
    assert_eq!(host.room.handle(live(), NOW), []);
    assert!(host.room.is_idle());
}

#[test]
fn a_log_that_cannot_be_read_is_unavailable() {
    let mut host = Host::new();
    host.room.handle(open(1), NOW);
    let actions = host.room.handle(Command::LoadFailed, NOW);
    assert_eq!(
        actions,
        [
            Action::Close {
                connection: ConnectionId(1),
                code: CloseCode::TryAgainLater,
                reason: STORAGE.to_owned(),
            },
            Action::Discard,
        ]
    );
    let mut host = Host::new();
    host.room.handle(snapshot(1), NOW);
    let actions = host.room.handle(Command::LoadFailed, NOW);
    let answer = Action::Answer {
        call: CallId(1),
        answer: Answer::Unavailable,
    };
    assert_eq!(actions, [answer, Action::Discard]);
}

#[test]
fn a_failed_append_ends_everything_that_was_held() {
    let mut host = Host::new();
    let laptop = host.join(1, ADA, "laptop");
    let phone = host.join(2, ADA, "phone");
    host.fast_disk = false;
    host.push(laptop, &yjs::set(9, 0, 1));
    host.push(laptop, &yjs::set(9, 1, 1));
    host.binary(phone, encode_step1(&[0]));
    let push = Request::Sync {
        state_vector: Default::default(),
        update: yjs::set(8, 0, 1),
        if_none_match: vec![],
    };
    let call = host.call(1, push);
    let deleted = host.call(2, Request::Delete);
    host.sent.clear();
    host.feed(Command::AppendFailed(Seq(2)));
    for connection in [laptop, phone] {
        assert_eq!(
            host.closed[&connection],
            (CloseCode::TryAgainLater, STORAGE.to_owned())
        );
    }
    for call in [call, deleted] {
        assert_eq!(host.answers[&call], Answer::Unavailable);
    }
    assert!(host.sent.is_empty() && host.builds.is_empty());
    assert!(host.is_discarded && host.room.is_idle() && !host.room.accepts_input());
    assert_eq!(host.timer, None);

    // The rest of its life is silence.
    for command in [
        Command::Durable(Seq(9)),
        Command::AppendFailed(Seq(3)),
        open(9),
        snapshot(9),
        Command::Timer,
        Command::Shutdown,
    ] {
        assert_eq!(host.room.handle(command, NOW), []);
    }
}

#[test]
fn after_a_failure_the_log_is_read_again() {
    let mut host = Host::new();
    let laptop = host.join(1, ADA, "laptop");
    host.push(laptop, &yjs::set(9, 0, 1));
    host.fast_disk = false;
    host.push(laptop, &yjs::set(9, 1, 1));
    host.feed(Command::AppendFailed(Seq(3)));
    host.log.truncate(2);
    host.fast_disk = true;
    host.restart();
    let phone = host.open(2, ADA, "phone");
    assert_eq!(host.loads, 2);
    assert_eq!(host.take(phone)[0].bytes()[..], [0, 3, 1, 9, 1]);
    // The laptop still holds what was lost, and sends it again.
    host.push(phone, &yjs::set(9, 1, 1));
    assert_eq!(host.log.len(), 3);
    assert!(matches!(host.log[2], Entry::Ready(_)));
}
