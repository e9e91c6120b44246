//! What a connection that opened with `?saved=1` hears of its updates (`sync.md` 3.5).

use bytes::Bytes;
use epicenter_room::{Entry, Note, Outgoing, RoomConfig, StorageFull, StorageScope};
use epicenter_sync::{CloseCode, encode_step1, encode_step2, encode_update};
use epicenter_update::Limits;

use crate::host::{ADA, Host};
use crate::yjs;

/// The reports among what was sent to a connection, as text.
fn reports(host: &mut Host, connection: epicenter_room::ConnectionId) -> Vec<String> {
    let sent = host.take(connection).into_iter();
    sent.filter_map(|message| match message {
        Outgoing::Text(text) => Some(String::from_utf8(text.to_vec()).unwrap()),
        Outgoing::Binary(_) => None,
    })
    .filter(|text| text.contains("saved") || text.contains("refused"))
    .collect()
}

fn saved(count: u64) -> String {
    format!(r#"{{"type":"saved","count":{count}}}"#)
}

fn refused(frame: u64, reason: &str) -> String {
    format!(r#"{{"type":"refused","frame":{frame},"reason":"{reason}"}}"#)
}

#[test]
fn an_update_is_saved_when_the_disk_has_it_and_not_before() {
    let mut host = Host::new();
    let laptop = host.join_reported(1, ADA, "laptop");
    host.fast_disk = false;
    host.push(laptop, &yjs::set(9, 0, 1));
    assert_eq!(reports(&mut host, laptop), [] as [String; 0]);
    host.disk();
    assert_eq!(reports(&mut host, laptop), [saved(1)]);
}

#[test]
fn whoever_did_not_ask_hears_nothing() {
    let mut host = Host::new();
    let laptop = host.join(1, ADA, "laptop");
    let phone = host.join_reported(2, ADA, "phone");
    host.push(laptop, &yjs::set(9, 0, 1));
    host.binary(laptop, Bytes::from_static(&[2, 5, 1]));
    host.push(laptop, &yjs::nothing());
    assert_eq!(reports(&mut host, laptop), [] as [String; 0]);
    assert_eq!(reports(&mut host, phone), [] as [String; 0], "not its own");
}

#[test]
fn a_repeated_update_counts_and_waits_for_the_first() {
    let mut host = Host::new();
    let laptop = host.join_reported(1, ADA, "laptop");
    let phone = host.join_reported(2, ADA, "phone");
    host.fast_disk = false;
    host.push(phone, &yjs::set(9, 0, 1));
    // Nothing is stored for it, and what it repeats is not on disk yet.
    host.push(laptop, &yjs::set(9, 0, 1));
    host.push(laptop, &yjs::nothing());
    assert_eq!(reports(&mut host, laptop), [] as [String; 0]);
    host.disk();
    assert_eq!(reports(&mut host, laptop), [saved(2)]);
    assert_eq!(reports(&mut host, phone), [saved(1)]);
}

#[test]
fn both_subtypes_count_and_no_other_frame() {
    let mut host = Host::new();
    let laptop = host.join_reported(1, ADA, "laptop");
    host.binary(laptop, encode_step2(&yjs::set(9, 0, 1)));
    assert_eq!(reports(&mut host, laptop), [saved(1)]);
    host.binary(laptop, encode_step1(&[0]));
    host.binary(laptop, Bytes::from_static(&[3, 0]));
    host.binary(laptop, Bytes::from_static(&[0, 0]));
    host.text(laptop, r#"{"type":"presence_publish","actions":{}}"#);
    assert_eq!(reports(&mut host, laptop), [] as [String; 0]);
    host.binary(laptop, encode_update(&yjs::set(9, 1, 1)));
    assert_eq!(reports(&mut host, laptop), [saved(2)]);
}

#[test]
fn what_becomes_durable_together_is_told_once_for_each_connection() {
    let mut host = Host::new();
    let laptop = host.join_reported(1, ADA, "laptop");
    let phone = host.join_reported(2, ADA, "phone");
    host.fast_disk = false;
    for clock in 0..3 {
        host.push(laptop, &yjs::set(9, clock, 1));
        host.push(phone, &yjs::set(8, clock, 1));
    }
    // One commit took them all.
    let last = *host.unacknowledged.back().unwrap();
    host.durable = last;
    host.feed(epicenter_room::Command::Durable(last));
    assert_eq!(host.sent[&laptop].len(), 4, "three updates and one count");
    assert_eq!(reports(&mut host, laptop), [saved(3)]);
    assert_eq!(reports(&mut host, phone), [saved(3)]);
}

#[test]
fn a_dropped_frame_is_counted_and_told_before_the_next_count() {
    // A length without its bytes, no payload, no update, an overlong number before it.
    for broken in [
        &[2, 5, 1][..],
        &[1, 0],
        &[2, 3, 1, 2, 3],
        &[0x82, 0, 3, 1, 2, 3],
    ] {
        let mut host = Host::new();
        let laptop = host.join_reported(1, ADA, "laptop");
        host.fast_disk = false;
        host.push(laptop, &yjs::set(9, 0, 1));
        host.binary(laptop, Bytes::copy_from_slice(broken));
        host.push(laptop, &yjs::set(9, 1, 1));
        assert_eq!(reports(&mut host, laptop), [] as [String; 0]);
        host.disk();
        // The count of the first goes out with that of the second.
        assert_eq!(
            reports(&mut host, laptop),
            [refused(2, "malformed"), saved(2)]
        );
        host.disk();
        assert_eq!(reports(&mut host, laptop), [saved(3)]);
        assert!(host.closed.is_empty());
    }
}

#[test]
fn what_found_no_room_to_wait_is_told() {
    let mut host = Host::with(RoomConfig {
        max_pending_bytes: 8,
        ..RoomConfig::default()
    });
    let laptop = host.join_reported(1, ADA, "laptop");
    host.push(laptop, &yjs::set(9, 1, 1));
    assert_eq!(
        reports(&mut host, laptop),
        [refused(1, "pending-limit"), saved(1)]
    );
}

#[test]
fn a_refused_update_is_told_before_the_close_even_on_a_stalled_disk() {
    let mut host = Host::with(RoomConfig {
        limits: Limits {
            max_structs: 1,
            ..Limits::default()
        },
        ..RoomConfig::default()
    });
    let laptop = host.join_reported(1, ADA, "laptop");
    host.fast_disk = false;
    host.push(laptop, &yjs::set(9, 0, 1));
    host.push(laptop, &yjs::two(8));
    assert_eq!(reports(&mut host, laptop), [refused(2, "max_structs")]);
    assert_eq!(host.closed[&laptop].0, CloseCode::UpdateRefused);
    host.disk_all();
    assert!(host.sent.is_empty(), "a closed socket gets nothing");
}

#[test]
fn counts_wait_behind_a_state_like_everything_else() {
    let mut host = Host::new();
    let laptop = host.join_reported(1, ADA, "laptop");
    host.fast_builder = false;
    host.binary(laptop, encode_step1(&[0]));
    for clock in 0..3 {
        host.push(laptop, &yjs::set(9, clock, 1));
    }
    host.binary(laptop, Bytes::from_static(&[2, 0]));
    host.binary(laptop, encode_step1(&[0]));
    host.push(laptop, &yjs::set(9, 3, 1));
    assert!(host.sent.is_empty());
    host.build();
    assert_eq!(
        reports(&mut host, laptop),
        [refused(4, "malformed"), saved(4)]
    );
    host.build();
    assert_eq!(reports(&mut host, laptop), [saved(5)]);
}

#[test]
fn counts_go_on_when_the_room_has_slept() {
    let mut host = Host::new();
    let laptop = host.join_reported(1, ADA, "laptop");
    host.push(laptop, &yjs::set(9, 0, 1));
    host.room.sleep();
    host.sent.clear();
    host.push(laptop, &yjs::set(9, 1, 1));
    assert_eq!(reports(&mut host, laptop), [saved(2)]);
    assert_eq!(host.loads, 2);
}

#[test]
fn nothing_is_saved_when_the_append_fails() {
    let mut host = Host::new();
    let laptop = host.join_reported(1, ADA, "laptop");
    host.fast_disk = false;
    host.push(laptop, &yjs::set(9, 0, 1));
    let seq = *host.unacknowledged.back().unwrap();
    host.feed(epicenter_room::Command::AppendFailed(seq));
    assert!(host.sent.is_empty());
    assert_eq!(host.closed[&laptop].0, CloseCode::TryAgainLater);
}

#[test]
fn a_full_room_tells_and_closes_after_what_it_stored() {
    let mut host = Host::new();
    let laptop = host.join_reported(1, ADA, "laptop");
    host.fast_disk = false;
    host.push(laptop, &yjs::set(9, 0, 1));
    host.feed(epicenter_room::Command::Storage(Some(StorageFull {
        scope: StorageScope::Room,
        limit: 10,
        used: 30,
    })));
    host.push(laptop, &yjs::set(9, 1, 1));
    assert!(
        host.closed.is_empty(),
        "what is new depends on what was sent before"
    );
    host.disk();
    assert_eq!(reports(&mut host, laptop), [saved(1), refused(2, "quota")]);
    assert_eq!(host.closed[&laptop].0, CloseCode::TryAgainLater);
    assert_eq!(host.log.len(), 2);
    assert!(matches!(host.log[1], Entry::Ready(_)));
}

#[test]
fn a_step_2_that_is_taken_in_whole_settles_what_was_refused() {
    let mut host = Host::with(RoomConfig {
        max_pending_bytes: 8,
        ..RoomConfig::default()
    });
    let laptop = host.join(1, ADA, "laptop");
    host.binary(laptop, encode_step2(&yjs::set(9, 1, 1)));
    host.push(laptop, &yjs::set(8, 0, 1));
    let by = Some(epicenter_room::Author::Device(crate::host::device(
        "laptop",
    )));
    let dropped = |notes: &[Note]| matches!(notes, [Note::PendingDropped { by: author, .. }] if *author == by);
    assert!(dropped(&host.notes), "{:?}", host.notes);
    host.notes.clear();
    for _ in 0..2 {
        host.binary(laptop, encode_step2(&yjs::set(9, 0, 1)));
        assert_eq!(host.notes, [Note::UpdatesAccepted { by: by.clone() }]);
    }
    host.notes.clear();
    host.binary(laptop, encode_step2(&yjs::set(7, 1, 1)));
    assert!(dropped(&host.notes), "{:?}", host.notes);
}
