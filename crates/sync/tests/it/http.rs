//! Sync bodies: the HTTP cases of `sync-frames.json`, and properties.

use bytes::Bytes;
use epicenter_sync::{SyncBody, SyncBodyError};
use epicenter_update::{Limits, StateVector, validate};
use proptest::prelude::*;

use crate::vectors::{ambiguous, bytes, cases, load};

#[test]
fn bodies_are_written_and_read_as_clients_do() {
    let file = load("sync-frames.json");
    for case in cases(&file, &["http-sync"]) {
        let body = bytes(case, "body");
        let expect = SyncBody {
            state_vector: bytes(&case["expect"], "stateVector"),
            update: bytes(&case["expect"], "update"),
        };
        assert_eq!(SyncBody::parse(&body).as_ref(), Ok(&expect), "{case}");
        assert_eq!(expect.encode(), body, "{case}");

        let state_vector = StateVector::decode(&expect.state_vector, &Limits::default()).unwrap();
        for (client, clock) in case["expect"]["clocks"].as_object().unwrap() {
            let known = state_vector.clock(client.parse().unwrap());
            assert_eq!(u64::from(known), clock.as_u64().unwrap(), "{case}");
        }
    }
}

#[test]
fn bad_bodies_are_refused() {
    let file = load("sync-frames.json");
    for case in cases(&file, &["http-error"]) {
        let parsed = SyncBody::parse(&bytes(case, "body"));
        // The one body that is well formed holds an update that is not.
        match parsed {
            Err(error) => assert_eq!(error, SyncBodyError),
            Ok(body) => assert!(
                validate(&body.update, &Limits::default()).is_err(),
                "{case}"
            ),
        }
    }
}

#[test]
fn bytes_after_the_update_are_ignored() {
    let file = load("sync-frames.json");
    let body = bytes(ambiguous(&file, "http-trailing-bytes"), "body");
    let parsed = SyncBody::parse(&body).unwrap();
    assert_eq!(parsed.encode(), body[..body.len() - 1]);
}

#[test]
fn a_state_vector_without_bytes_is_malformed() {
    assert_eq!(
        SyncBody::parse(&Bytes::from_static(&[0, 0])),
        Err(SyncBodyError)
    );
    assert_eq!(
        SyncBody::parse(&Bytes::from_static(&[0, 1, 0])),
        Err(SyncBodyError)
    );
    assert!(SyncBody::parse(&Bytes::from_static(&[1, 0, 0])).is_ok());
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        state_vector in prop::collection::vec(any::<u8>(), 1..300),
        update in prop::collection::vec(any::<u8>(), 0..300),
        rest: Vec<u8>,
    ) {
        let body = SyncBody { state_vector: state_vector.into(), update: update.into() };
        let mut encoded = body.encode();
        for end in 0..encoded.len().min(20) {
            prop_assert!(SyncBody::parse(&Bytes::copy_from_slice(&encoded[..end])).is_err());
        }
        encoded.extend(rest);
        prop_assert_eq!(SyncBody::parse(&encoded.into()), Ok(body));
    }

    #[test]
    fn no_bytes_break_the_parser(body in prop::collection::vec(any::<u8>(), 0..40)) {
        let _ = SyncBody::parse(&Bytes::from(body));
    }
}
