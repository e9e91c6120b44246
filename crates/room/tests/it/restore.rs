//! Undoing a deletion (`sync.md` 1).

use epicenter_room::{Answer, Entry, Request};
use epicenter_sync::CloseCode;
use epicenter_update::StateVector;

use crate::host::{ADA, Host};
use crate::yjs;

fn restore(host: &mut Host, id: u64) -> Answer {
    let call = host.call(id, Request::Restore);
    host.answers[&call].clone()
}

#[test]
fn the_content_comes_back_and_the_room_can_be_opened() {
    for forgotten in [false, true] {
        let mut host = Host::new();
        let laptop = host.join(1, ADA, "laptop");
        host.push(laptop, &yjs::set(9, 0, 1));
        host.push(laptop, &yjs::set(8, 1, 1));
        let before = host.snapshot(1);
        host.call(2, Request::Delete);
        assert_eq!(host.closed[&laptop].0, CloseCode::RoomDeleted);
        assert_eq!(host.snapshot(3), Answer::Gone);
        if forgotten {
            host.restart();
        }

        assert_eq!(restore(&mut host, 4), Answer::Restored);
        assert_eq!(host.log.last(), Some(&Entry::Restored));
        assert_eq!(host.snapshot(5), before, "with what waited and its tag");
        let phone = host.open(2, ADA, "phone");
        assert!(!host.closed.contains_key(&phone));
        host.push(phone, &yjs::set(8, 0, 1));
        assert_eq!(host.clocks(), [(8, 2), (9, 1)]);
        host.restart();
        assert_eq!(host.read_log().state_vector.iter().count(), 2);
    }
}

#[test]
fn restoring_is_seen_only_when_it_is_on_disk() {
    let mut host = Host::new();
    host.log = vec![Entry::Created, Entry::Deleted];
    host.durable = epicenter_room::Seq(2);
    host.fast_disk = false;
    let call = host.call(1, Request::Restore);
    let socket = host.open(2, ADA, "laptop");
    assert!(!host.answers.contains_key(&call) && host.sent.is_empty());
    host.disk();
    assert_eq!(host.answers[&call], Answer::Restored);
    assert!(host.sent.contains_key(&socket));
}

#[test]
fn only_a_deleted_room_can_be_restored() {
    let mut host = Host::new();
    assert_eq!(restore(&mut host, 1), Answer::Unknown);
    assert_eq!(host.log, [], "asking makes no room");
    host.join(1, ADA, "laptop");
    assert_eq!(restore(&mut host, 2), Answer::Exists);
    host.call(3, Request::Delete);
    assert_eq!(restore(&mut host, 4), Answer::Restored);
    assert_eq!(restore(&mut host, 5), Answer::Exists);
}

#[test]
fn content_that_the_log_has_dropped_is_gone() {
    let mut host = Host::new();
    host.log = vec![Entry::Created, Entry::Deleted];
    host.is_purged = true;
    assert_eq!(restore(&mut host, 1), Answer::Purged);
    assert_eq!(host.log.len(), 2);
    let call = host.call(2, Request::Create);
    assert_eq!(host.answers[&call], Answer::Created);
    assert_eq!(restore(&mut host, 3), Answer::Exists);
}

#[test]
fn a_room_made_anew_holds_nothing_of_the_deleted_one() {
    let mut host = Host::new();
    let laptop = host.join(1, ADA, "laptop");
    host.push(laptop, &yjs::set(9, 0, 1));
    host.call(1, Request::Delete);
    host.call(2, Request::Create);
    let answer = host.sync(3, &StateVector::default(), &yjs::nothing(), &[]);
    assert!(matches!(answer, Answer::UpToDate { .. }), "{answer:?}");
    host.call(4, Request::Delete);
    restore(&mut host, 5);
    let answer = host.sync(6, &StateVector::default(), &yjs::nothing(), &[]);
    assert!(matches!(answer, Answer::UpToDate { .. }), "{answer:?}");
}

#[test]
fn a_deleted_room_takes_nothing_until_it_is_restored() {
    let mut host = Host::new();
    let laptop = host.join(1, ADA, "laptop");
    host.push(laptop, &yjs::set(9, 0, 1));
    host.call(1, Request::Delete);
    let push = host.sync(2, &StateVector::default(), &yjs::set(9, 1, 1), &[]);
    assert_eq!(push, Answer::Gone);
    let phone = host.open(2, ADA, "phone");
    assert_eq!(host.closed[&phone].0, CloseCode::RoomDeleted);
    restore(&mut host, 3);
    assert_eq!(host.clocks(), [(9, 1)]);
}
