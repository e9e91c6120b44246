//! Updates whose dependencies are missing (`update.md`, Gaps).

use epicenter_room::{Answer, Entry, Note, RoomConfig};
use epicenter_sync::Frame;
use epicenter_update::{StateVector, Update};

use crate::host::{ADA, Host, LIMITLESS};
use crate::yjs;

fn kinds(entries: &[Entry]) -> String {
    let letter = |entry: &Entry| match entry {
        Entry::Ready(_) => 'r',
        Entry::Pending(_) => 'p',
        Entry::Created => 'c',
        Entry::Deleted => 'd',
        Entry::Recreated => 'n',
        Entry::Restored => 'u',
    };
    entries.iter().map(letter).collect()
}

fn step1s(frames: &[Frame]) -> usize {
    frames
        .iter()
        .filter(|frame| matches!(frame, Frame::Step1(_)))
        .count()
}

#[test]
fn what_must_wait_is_stored_and_shown_to_nobody_live() {
    let mut host = Host::new();
    let laptop = host.join(1, ADA, "laptop");
    let phone = host.join(2, ADA, "phone");
    host.push(laptop, &yjs::set(9, 1, 1));
    assert_eq!(kinds(&host.log), "cp");
    assert!(host.take(phone).is_empty());
    assert_eq!(host.clocks(), []);
    // A reader of the whole document gets it, as from Yjs itself.
    let Answer::Update { update, .. } = host.snapshot(1) else {
        panic!()
    };
    let structs = Update::parse(&update, &LIMITLESS)
        .unwrap()
        .summary()
        .structs;
    assert_eq!(structs[&9], std::slice::from_ref(&(1..2)));
}

#[test]
fn what_becomes_ready_goes_to_everybody_in_the_same_append() {
    let mut host = Host::new();
    let laptop = host.join(1, ADA, "laptop");
    let phone = host.join(2, ADA, "phone");
    host.push(laptop, &yjs::set(9, 1, 1));
    host.take(laptop);
    host.fast_disk = false;
    host.push(laptop, &yjs::set(9, 0, 1));
    assert_eq!(kinds(&host.log), "cprr");
    assert_eq!(host.unacknowledged.len(), 1);
    assert!(host.take(laptop).is_empty() && host.take(phone).is_empty());
    host.disk();
    assert_eq!(
        host.take_updates(phone),
        [yjs::set(9, 0, 1), yjs::set(9, 1, 1)]
    );
    assert_eq!(host.take_updates(laptop), [yjs::set(9, 1, 1)]);
    assert_eq!(host.clocks(), [(9, 2)]);
}

#[test]
fn one_update_is_split_into_ready_and_waiting() {
    let mut host = Host::new();
    let laptop = host.join(1, ADA, "laptop");
    let phone = host.join(2, ADA, "phone");
    let both = crate::host::merge_all([&yjs::set(7, 0, 1), &yjs::after(8, 0, (9, 0))]);
    host.push(laptop, &both);
    assert_eq!(kinds(&host.log), "crp");
    let updates = host.take_updates(phone);
    assert_eq!(updates.len(), 1);
    let structs = Update::parse(&updates[0], &LIMITLESS)
        .unwrap()
        .summary()
        .structs;
    assert_eq!(structs.keys().copied().collect::<Vec<_>>(), [7]);
}

#[test]
fn a_chain_is_freed_as_a_whole() {
    let mut host = Host::new();
    let laptop = host.join(1, ADA, "laptop");
    let phone = host.join(2, ADA, "phone");
    host.push(laptop, &yjs::after(8, 0, (7, 0)));
    host.push(laptop, &yjs::set(8, 1, 1));
    host.push(laptop, &yjs::after(6, 0, (8, 1)));
    assert_eq!(kinds(&host.log), "cppp");
    host.push(phone, &yjs::set(7, 0, 1));
    assert_eq!(kinds(&host.log), "cppprr");
    assert_eq!(host.clocks(), [(6, 1), (7, 1), (8, 2)]);
    assert_eq!(host.take_updates(phone).len(), 1);
    assert_eq!(host.take_updates(laptop).len(), 2);
}

#[test]
fn a_deletion_of_what_is_not_there_waits() {
    let mut host = Host::new();
    let laptop = host.join(1, ADA, "laptop");
    let phone = host.join(2, ADA, "phone");
    host.push(laptop, &yjs::delete(9, 0, 1));
    assert_eq!(kinds(&host.log), "cp");
    host.push(laptop, &yjs::set(9, 0, 1));
    assert_eq!(kinds(&host.log), "cprr");
    assert_eq!(
        host.take_updates(phone),
        [yjs::set(9, 0, 1), yjs::delete(9, 0, 1)]
    );
}

#[test]
fn a_repetition_of_what_waits_is_not_stored_again() {
    let mut host = Host::new();
    let laptop = host.join(1, ADA, "laptop");
    let first = yjs::set(9, 1, 1);
    let second = yjs::after(8, 0, (7, 0));
    for update in [&first, &second] {
        host.push(laptop, update);
    }
    let stored = host.log.len();
    let both = crate::host::merge_all([&first, &second]);
    for update in [&second, &first, &both] {
        host.push(laptop, update);
    }
    assert_eq!(host.log.len(), stored);
}

#[test]
fn what_no_longer_fits_is_dropped_and_the_ready_part_stored() {
    let config = RoomConfig {
        max_pending_bytes: 40,
        ..RoomConfig::default()
    };
    let mut host = Host::with(config);
    let laptop = host.join(1, ADA, "laptop");
    let phone = host.join(2, ADA, "phone");
    host.push(laptop, &yjs::set(9, 1, 1));
    let mixed = crate::host::merge_all([&yjs::set(7, 0, 1), &yjs::set(6, 5, 1)]);
    host.push(laptop, &mixed);
    host.push(laptop, &yjs::set(5, 5, 1));
    assert_eq!(kinds(&host.log), "cpr");
    assert_eq!(host.clocks(), [(7, 1)]);
    assert_eq!(host.take_updates(phone).len(), 1);
    assert!(
        matches!(
            &host.notes[..],
            [
                Note::PendingDropped { is_first: true, .. },
                Note::PendingDropped {
                    is_first: false,
                    ..
                }
            ]
        ),
        "{:?}",
        host.notes
    );
    assert!(host.closed.is_empty());
    // What was held before is still held.
    host.push(phone, &yjs::set(9, 0, 1));
    assert_eq!(host.clocks(), [(7, 1), (9, 2)]);
}

#[test]
fn over_http_a_full_room_says_so() {
    let config = RoomConfig {
        max_pending_bytes: 40,
        ..RoomConfig::default()
    };
    let mut host = Host::with(config);
    let none = StateVector::default();
    let answer = host.sync(1, &none, &yjs::set(9, 1, 1), &[]);
    assert!(matches!(answer, Answer::Update { .. }), "{answer:?}");
    let mixed = crate::host::merge_all([&yjs::set(7, 0, 1), &yjs::set(6, 5, 1)]);
    assert_eq!(
        host.sync(2, &none, &mixed, &[]),
        Answer::PendingFull { limit: 40 }
    );
    assert_eq!(host.clocks(), [(7, 1)]);
}

#[test]
fn nothing_is_created_for_what_was_dropped() {
    let config = RoomConfig {
        max_pending_bytes: 4,
        ..RoomConfig::default()
    };
    let mut host = Host::with(config);
    let answer = host.sync(1, &StateVector::default(), &yjs::set(9, 1, 1), &[]);
    assert_eq!(answer, Answer::PendingFull { limit: 4 });
    assert_eq!(host.log, []);
}

#[test]
fn the_sender_is_asked_when_something_new_is_missing() {
    let mut host = Host::new();
    let laptop = host.join(1, ADA, "laptop");
    let phone = host.join(2, ADA, "phone");
    host.push(laptop, &yjs::set(7, 0, 1));
    host.take(phone);
    host.push(laptop, &yjs::set(9, 3, 1));
    let frames = host.take_frames(laptop);
    let [Frame::Step1(state_vector)] = &frames[..] else {
        panic!("{frames:?}")
    };
    let state_vector = StateVector::decode(state_vector, &LIMITLESS).unwrap();
    assert_eq!(state_vector.iter().collect::<Vec<_>>(), [(7, 1)]);
    assert!(host.take(phone).is_empty());
    // An answer that has the same gap is not answered with a question.
    host.push(laptop, &yjs::set(9, 3, 1));
    host.push(phone, &yjs::set(9, 4, 1));
    assert!(host.take(laptop).is_empty() && host.take(phone).is_empty());
    assert_eq!(
        host.timer.map(|at| at.0),
        Some(crate::host::START + 35 * 60_000)
    );
}

#[test]
fn a_connection_is_asked_again_when_its_time_has_passed() {
    let mut host = Host::new();
    let laptop = host.join(1, ADA, "laptop");
    host.push(laptop, &yjs::set(9, 3, 1));
    assert_eq!(step1s(&host.take_frames(laptop)), 1);
    host.advance(10_000);
    host.push(laptop, &yjs::set(8, 3, 1));
    host.push(laptop, &yjs::set(7, 3, 1));
    host.advance(19_999);
    assert_eq!(step1s(&host.take_frames(laptop)), 0);
    host.advance(1);
    assert_eq!(step1s(&host.take_frames(laptop)), 1);
    // The wait begins anew.
    host.push(laptop, &yjs::set(6, 3, 1));
    host.advance(29_999);
    assert_eq!(step1s(&host.take_frames(laptop)), 0);
    host.advance(1);
    assert_eq!(step1s(&host.take_frames(laptop)), 1);
    // Later than that it is asked at once.
    host.advance(30_000);
    host.push(laptop, &yjs::set(5, 3, 1));
    assert_eq!(step1s(&host.take_frames(laptop)), 1);
}

#[test]
fn nobody_is_asked_for_what_has_come() {
    let mut host = Host::new();
    let laptop = host.join(1, ADA, "laptop");
    host.push(laptop, &yjs::set(9, 1, 1));
    host.push(laptop, &yjs::set(8, 1, 1));
    host.push(laptop, &yjs::set(9, 0, 1));
    host.push(laptop, &yjs::set(8, 0, 1));
    assert_eq!(step1s(&host.take_frames(laptop)), 1);
    host.advance(30_000);
    assert_eq!(step1s(&host.take_frames(laptop)), 0);
}

#[test]
fn each_connection_has_its_own_wait() {
    let mut host = Host::new();
    let laptop = host.join(1, ADA, "laptop");
    let phone = host.join(2, ADA, "phone");
    host.push(laptop, &yjs::set(9, 3, 1));
    host.push(phone, &yjs::set(8, 3, 1));
    assert_eq!(step1s(&host.take_frames(laptop)), 1);
    assert_eq!(step1s(&host.take_frames(phone)), 1);
}

#[test]
fn what_waits_survives_a_restart() {
    let mut host = Host::new();
    let laptop = host.join(1, ADA, "laptop");
    host.push(laptop, &yjs::after(8, 0, (7, 0)));
    host.restart();
    let phone = host.join(2, ADA, "phone");
    host.push(phone, &yjs::after(8, 0, (7, 0)));
    assert_eq!(kinds(&host.log), "cp");
    host.push(phone, &yjs::set(7, 0, 1));
    assert_eq!(kinds(&host.log), "cprr");
    assert_eq!(host.clocks(), [(7, 1), (8, 1)]);
    assert_eq!(host.take_updates(phone).len(), 1);
}

#[test]
fn what_turns_out_ready_when_loading_is_made_visible() {
    let mut host = Host::new();
    // A log whose last append was written by hand: the pending row waits for nothing.
    host.log = vec![Entry::Created, Entry::Ready(yjs::set(9, 0, 1))];
    let pending = Some(yjs::set(9, 1, 1));
    let mut loaded = host.read_log();
    loaded.pending = pending;
    let open = |id| epicenter_room::Command::Open {
        connection: epicenter_room::ConnectionId(id),
        access: crate::host::access(ADA),
        device: crate::host::device("laptop"),
        reports: false,
    };
    let now = epicenter_room::Millis(host.now);
    host.room.handle(open(1), now);
    let actions = host
        .room
        .handle(epicenter_room::Command::Loaded(loaded), now);
    let epicenter_room::Action::Append(append) = &actions[0] else {
        panic!("{actions:?}")
    };
    assert_eq!(append.entries, [Entry::Ready(yjs::set(9, 1, 1))]);
    assert_eq!(actions.len(), 2, "the step1 waits: {actions:?}");
}
