//! Nothing of an update is visible to anyone before it is on disk (sync.md 3, first promise).
//!
//! The log that ships stands behind a valve. While the valve is shut an append is on its way and not durable; every way
//! in which its content, or anything that came after it, could show is tried and must stay silent. Silence on a socket
//! is shown by `ping`, which the hub answers in order with what it has sent; an HTTP call is silent when it has not
//! been answered although the room has provably handled it.

use std::time::Duration;

use epicenter_identity::OwnerId;
use epicenter_native::log::Log as _;
use epicenter_sync::Frame;
use epicenter_testkit::{
    DelayingLog, HttpAnswer, HttpRequest, Received, TestHub, TestSocket, TestUser, Typist, soon,
};
use epicenter_update::{EMPTY_UPDATE, Limits, StateVector};
use serde_json::json;
use tokio::task::JoinHandle;

/// A hub whose log is held, with one update of `ada` in flight.
struct InFlight {
    hub: TestHub,
    log: std::sync::Arc<DelayingLog>,
    ada: TestUser,
    writer: TestSocket,
    typist: Typist,
    update: Vec<u8>,
    arrivals: usize,
}

const ROOM: &str = "notes";

/// Prepares with the valve open, then shuts it and lets `ada` type.
async fn in_flight<T>(prepare: impl AsyncFnOnce(&TestHub, &TestUser) -> T) -> (InFlight, T) {
    let (hub, log) = TestHub::start_delayed().await;
    let ada = hub.user("ada@example.test").await;
    let mut writer = hub.open(&ada, ROOM, "writer").await;
    greeting(&mut writer).await;
    let prepared = prepare(&hub, &ada).await;
    writer.drain().await;
    log.hold();
    let mut typist = Typist::new(11);
    let update = typist.types("in flight");
    let arrivals = log.arrived() + 1;
    writer.send_update(&update).await;
    log.wait_for_arrivals(arrivals).await;
    let in_flight = InFlight {
        hub,
        log,
        ada,
        writer,
        typist,
        update,
        arrivals,
    };
    (in_flight, prepared)
}

impl InFlight {
    /// Returns when the room has handled everything that reached it before this call: it handles one thing after the
    /// other, and the update sent here reaches the log only after all of them.
    async fn room_has_caught_up(&mut self) {
        for _ in 0..2 {
            let update = self.typist.types("x");
            self.arrivals += 1;
            self.writer.send_update(&update).await;
            self.log.wait_for_arrivals(self.arrivals).await;
        }
    }

    async fn is_silent(&mut self, socket: &mut TestSocket) {
        // By the first answer all that this socket did has reached the room.
        let mut seen = socket.drain().await;
        self.room_has_caught_up().await;
        seen.extend(socket.drain().await);
        assert_eq!(seen, [], "something was visible before it was durable");
    }

    /// When the room was last joined or called.
    fn last_used(&self) -> u64 {
        let owner = OwnerId::parse(&self.ada.owner).expect("an owner");
        self.log.list(&owner, None, 1)[0].last_accessed_at
    }

    /// Makes an HTTP call and returns when the room has taken it, which the log is told.
    async fn call(&self, request: HttpRequest) -> JoinHandle<HttpAnswer> {
        let before = self.last_used();
        // It is told in whole milliseconds, and this one may be that of the last use.
        tokio::time::sleep(Duration::from_millis(2)).await;
        let call = tokio::spawn(request.send(self.hub.address()));
        let taken = async {
            while self.last_used() == before {
                tokio::task::yield_now().await;
            }
        };
        soon("a call", taken).await;
        call
    }

    /// An HTTP call that the room has handled and that must not be answered before the valve opens.
    async fn is_held(&mut self, request: HttpRequest) -> HttpAnswer {
        let mut call = self.call(request).await;
        self.room_has_caught_up().await;
        // An answer would take its time to come here; the silence is also watched for a while.
        let early = tokio::time::timeout(Duration::from_millis(200), &mut call).await;
        assert!(
            early.is_err(),
            "answered before the update was durable: {early:?}"
        );
        self.log.release();
        soon("an answer", call)
            .await
            .expect("the call did not panic")
    }
}

impl InFlight {
    /// Stops the hub; the writer must hear of it before the disk moves again.
    async fn sees_the_hub_go_away(mut self) {
        let stopping = tokio::spawn(self.hub.stop());
        assert_eq!(self.writer.closed().await.0, 1001);
        self.log.release();
        soon("the end of the hub", stopping)
            .await
            .expect("no panic");
    }
}

/// Step 1 and the presence list that greet every socket.
async fn greeting(socket: &mut TestSocket) -> StateVector {
    let state_vector = socket
        .next_where(|received| match received {
            Received::Frame(Frame::Step1(payload)) => Some(payload.clone()),
            _ => None,
        })
        .await;
    socket
        .next_where(|received| match received {
            Received::Json(json) if json["type"] == "presence" => Some(()),
            _ => None,
        })
        .await;
    StateVector::decode(&state_vector, &Limits::default()).expect("a valid state vector")
}

#[tokio::test]
async fn the_fan_out_waits() {
    let (mut flight, mut reader) = in_flight(async |hub: &TestHub, ada: &TestUser| {
        let mut reader = hub.open(ada, ROOM, "reader").await;
        greeting(&mut reader).await;
        reader.drain().await;
        reader
    })
    .await;
    flight.is_silent(&mut reader).await;
    flight.log.release();
    assert_eq!(reader.next_update().await, flight.update);
}

#[tokio::test]
async fn the_greeting_of_a_newcomer_waits() {
    let (mut flight, ()) = in_flight(async |_: &TestHub, _: &TestUser| ()).await;
    let mut newcomer = flight.hub.open(&flight.ada, ROOM, "newcomer").await;
    flight.is_silent(&mut newcomer).await;
    flight.log.release();
    let clock = greeting(&mut newcomer).await.clock(11);
    assert!(
        clock >= 9,
        "the greeting is of a state with the update, not {clock}"
    );
}

#[tokio::test]
async fn the_presence_of_a_newcomer_waits() {
    let (mut flight, mut reader) = in_flight(async |hub: &TestHub, ada: &TestUser| {
        let mut reader = hub.open(ada, ROOM, "reader").await;
        greeting(&mut reader).await;
        reader.drain().await;
        reader
    })
    .await;
    let mut newcomer = flight.hub.open(&flight.ada, ROOM, "newcomer").await;
    assert_eq!(newcomer.drain().await, [], "it is joining");
    flight.is_silent(&mut reader).await;
    flight.log.release();
    reader
        .next_where(|received| match received {
            Received::Json(json)
                if json["devices"].as_array().is_some_and(|all| all.len() == 2) =>
            {
                Some(())
            }
            _ => None,
        })
        .await;
}

#[tokio::test]
async fn a_handshake_waits() {
    let (mut flight, mut reader) = in_flight(async |hub: &TestHub, ada: &TestUser| {
        let mut reader = hub.open(ada, ROOM, "reader").await;
        greeting(&mut reader).await;
        reader.drain().await;
        reader
    })
    .await;
    reader.send_step1(&[0]).await;
    flight.is_silent(&mut reader).await;
    flight.log.release();
    let answered = reader
        .next_where(|received| match received {
            Received::Frame(Frame::Step2(payload)) => Some(payload.clone()),
            _ => None,
        })
        .await;
    assert_ne!(answered[..], EMPTY_UPDATE, "the answer holds the update");
}

#[tokio::test]
async fn a_dispatch_waits() {
    let (mut flight, mut reader) = in_flight(async |hub: &TestHub, ada: &TestUser| {
        let mut reader = hub.open(ada, ROOM, "reader").await;
        greeting(&mut reader).await;
        reader.drain().await;
        reader
    })
    .await;
    let request = json!({"type":"dispatch_request","id":"1","to":"reader","action":"a"});
    flight.writer.send_text(&request.to_string()).await;
    let offline = json!({"type":"dispatch_request","id":"2","to":"nobody","action":"a"});
    flight.writer.send_text(&offline.to_string()).await;
    flight.is_silent(&mut reader).await;
    assert_eq!(
        flight.writer.drain().await,
        [],
        "RecipientOffline is an answer too"
    );
    flight.log.release();
    reader
        .next_where(|received| match received {
            Received::Json(json) if json["type"] == "dispatch_inbound" => Some(()),
            _ => None,
        })
        .await;
}

#[tokio::test]
async fn a_request_for_what_is_missing_waits() {
    let (mut flight, mut gapped) = in_flight(async |hub: &TestHub, ada: &TestUser| {
        let mut gapped = hub.open(ada, ROOM, "gapped").await;
        greeting(&mut gapped).await;
        gapped.drain().await;
        gapped
    })
    .await;
    let mut stranger = Typist::new(22);
    stranger.skips(5);
    gapped.send_update(&stranger.types("gap")).await;
    flight.arrivals += 1;
    flight.log.wait_for_arrivals(flight.arrivals).await;
    flight.is_silent(&mut gapped).await;
    flight.log.release();
    gapped
        .next_where(|received| match received {
            Received::Frame(Frame::Step1(_)) => Some(()),
            _ => None,
        })
        .await;
}

#[tokio::test]
async fn a_snapshot_and_its_tag_wait() {
    let (mut flight, ()) = in_flight(async |_: &TestHub, _: &TestUser| ()).await;
    let request = HttpRequest::new("GET", flight.ada.room_path(ROOM)).bearer(&flight.ada.token);
    let answer = flight.is_held(request).await;
    assert_eq!(answer.status, 200);
    assert_ne!(answer.body, EMPTY_UPDATE);
    assert!(answer.header("etag").is_some());
}

#[tokio::test]
async fn a_not_modified_waits() {
    let (mut flight, tag) = in_flight(async |hub: &TestHub, ada: &TestUser| {
        let request = HttpRequest::new("GET", ada.room_path(ROOM)).bearer(&ada.token);
        let answer = request.send(hub.address()).await;
        answer.header("etag").expect("a tag").to_owned()
    })
    .await;
    let request = HttpRequest::new("GET", flight.ada.room_path(ROOM))
        .bearer(&flight.ada.token)
        .header("If-None-Match", &tag);
    assert_eq!(
        flight.is_held(request).await.status,
        200,
        "the tag is of the state before"
    );
}

#[tokio::test]
async fn a_post_waits_for_its_own_update_and_for_those_before_it() {
    let (mut flight, ()) = in_flight(async |_: &TestHub, _: &TestUser| ()).await;
    for pushed in [Vec::new(), Typist::new(33).types("pushed")] {
        flight.log.hold();
        flight.room_has_caught_up().await;
        let mut body = vec![1, 0];
        epicenter_update::lib0::write_var_bytes(&mut body, &pushed);
        let request = HttpRequest::new("POST", flight.ada.room_path(ROOM))
            .bearer(&flight.ada.token)
            .body(body);
        let answer = {
            let mut call = flight.call(request).await;
            if !pushed.is_empty() {
                flight.arrivals += 1;
                flight.log.wait_for_arrivals(flight.arrivals).await;
            }
            flight.room_has_caught_up().await;
            let early = tokio::time::timeout(Duration::from_millis(200), &mut call).await;
            assert!(early.is_err(), "answered early: {early:?}");
            flight.log.release();
            soon("an answer", call)
                .await
                .expect("the call did not panic")
        };
        assert_eq!(answer.status, 200);
        assert!(answer.header("etag").is_some());
    }
}

#[tokio::test]
async fn a_deletion_is_answered_and_sockets_close_once_the_tombstone_is_durable() {
    let (flight, mut reader) = in_flight(async |hub: &TestHub, ada: &TestUser| {
        let mut reader = hub.open(ada, ROOM, "reader").await;
        greeting(&mut reader).await;
        reader.drain().await;
        reader
    })
    .await;
    let request = HttpRequest::new("DELETE", flight.ada.room_path(ROOM)).bearer(&flight.ada.token);
    let mut call = tokio::spawn(request.send(flight.hub.address()));
    flight.log.wait_for_arrivals(flight.arrivals + 1).await;
    let early = tokio::time::timeout(Duration::from_millis(200), &mut call).await;
    assert!(
        early.is_err(),
        "answered before the tombstone was durable: {early:?}"
    );
    assert_eq!(
        reader.drain().await,
        [],
        "closed before the tombstone was durable"
    );
    flight.log.release();
    assert_eq!(soon("an answer", call).await.expect("no panic").status, 204);
    assert_eq!(reader.closed().await.0, 4410);
}

#[tokio::test]
async fn a_failed_append_shows_to_nobody_and_the_room_reads_its_log_again() {
    let (mut flight, mut reader) = in_flight(async |hub: &TestHub, ada: &TestUser| {
        let mut reader = hub.open(ada, ROOM, "reader").await;
        greeting(&mut reader).await;
        reader.drain().await;
        reader
    })
    .await;
    let request = HttpRequest::new("GET", flight.ada.room_path(ROOM)).bearer(&flight.ada.token);
    let call = flight.call(request.clone()).await;
    flight.room_has_caught_up().await;
    // Three appends are held: the first fails, and the later ones, which may depend on it, must fail with it although
    // the disk would take them.
    flight.log.fail_oldest();
    flight.log.release();
    for socket in [&mut reader, &mut flight.writer] {
        let mut updates = 0;
        let (code, _) = socket
            .next_where(|received| match received {
                Received::Closed(code, reason) => Some((*code, reason.clone())),
                Received::Frame(_) => {
                    updates += 1;
                    None
                }
                _ => None,
            })
            .await;
        assert_eq!((code, updates), (1013, 0));
    }
    let answer = soon("an answer", call).await.expect("no panic");
    assert!(matches!(answer.status, 503), "{answer:?}");
    assert_eq!(answer.error_name(), "StorageUnavailable");
    let reread = request.send(flight.hub.address()).await;
    assert_eq!((reread.status, reread.body), (200, EMPTY_UPDATE.to_vec()));
    let mut again = flight.hub.open(&flight.ada, ROOM, "writer").await;
    assert!(greeting(&mut again).await.is_empty());
    again.send_update(&flight.update).await;
    let third = flight.hub.open(&flight.ada, ROOM, "third");
    let mut third = third.await;
    greeting(&mut third).await;
    third.send_step1(&[0]).await;
    assert_ne!(
        third.next_update().await[..],
        EMPTY_UPDATE,
        "the room works again"
    );
}

#[tokio::test]
async fn a_stalled_disk_holds_neither_ping_nor_shutdown() {
    let (mut flight, ()) = in_flight(async |_: &TestHub, _: &TestUser| ()).await;
    assert_eq!(flight.writer.drain().await, [], "pong came");
    flight.sees_the_hub_go_away().await;
}

#[tokio::test]
async fn a_stalled_disk_and_a_full_inbox_do_not_hold_up_a_close() {
    let (mut flight, ()) = in_flight(async |_: &TestHub, _: &TestUser| ()).await;
    let text = "z".repeat(1024 * 1024);
    let mut taken = 0;
    while flight
        .writer
        .offers_update(&flight.typist.types(&text))
        .await
    {
        taken += 1;
        assert!(taken < 100, "the hub reads although its disk stands still");
    }
    flight.sees_the_hub_go_away().await;
}

#[tokio::test]
async fn a_panic_while_the_log_is_read_costs_an_answer_and_not_the_room() {
    let (hub, log) = TestHub::start_delayed().await;
    let ada = hub.user("ada@example.test").await;
    let request = HttpRequest::new("GET", ada.room_path(ROOM)).bearer(&ada.token);
    log.set_reads_panic(true);
    let answer = request.clone().send(hub.address()).await;
    assert_eq!(
        (answer.status, answer.error_name().as_str()),
        (503, "StorageUnavailable")
    );
    log.set_reads_panic(false);
    assert_eq!(request.clone().send(hub.address()).await.status, 200);

    let mut writer = hub.open(&ada, ROOM, "writer").await;
    greeting(&mut writer).await;
    writer.send_update(&Typist::new(44).types("kept")).await;
    writer.drain().await;
    log.set_reads_panic(true);
    assert_eq!(request.clone().send(hub.address()).await.status, 503);
    log.set_reads_panic(false);
    let answer = request.send(hub.address()).await;
    assert_eq!(answer.status, 200);
    assert!(String::from_utf8_lossy(&answer.body).contains("kept"));
}
