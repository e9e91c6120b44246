//! Binary frames and their numbers: the frame cases of `sync-frames.json`, and what they leave open.

use bytes::Bytes;
use epicenter_sync::{
    Frame, FrameError, carries_update, encode_step1, encode_step2, encode_update,
};
use epicenter_update::lib0::{Reader, write_var_uint};
use epicenter_update::{Limits, StateVector, validate};
use proptest::prelude::*;
use serde_json::Value;

use crate::vectors::{ambiguous, bytes, cases, load};

#[test]
fn numbers_are_written_and_read_as_lib0_does() {
    let file = load("sync-frames.json");
    for case in cases(&file, &["varuint", "varuint-error"]) {
        let encoded = bytes(case, "bytes");
        let mut reader = Reader::new(&encoded);
        if case["kind"] == "varuint-error" {
            assert!(reader.read_var_uint().is_err(), "{case}");
            continue;
        }
        let value = case["value"].as_u64().unwrap();
        assert_eq!(reader.read_var_uint(), Ok(value), "{case}");
        assert!(reader.remaining().is_empty(), "{case}");
        let mut written = Vec::new();
        write_var_uint(&mut written, value);
        assert_eq!(written, encoded, "{case}");
    }
}

#[test]
fn frames_are_written_and_read_as_y_protocols_does() {
    let file = load("sync-frames.json");
    for case in cases(&file, &["frame"]) {
        let payload = bytes(&case["expect"], "payload");
        let expect = match case["expect"]["subtype"].as_str().unwrap() {
            "step1" => Frame::Step1(payload.clone()),
            "step2" => Frame::Step2(payload.clone()),
            "update" => Frame::Update(payload.clone()),
            other => panic!("unknown subtype {other}"),
        };
        assert_eq!(
            Frame::parse(&bytes(case, "frame")).as_ref(),
            Ok(&expect),
            "{case}"
        );
        assert_eq!(expect.encode(), bytes(case, "frame"), "{case}");
        assert_eq!(expect.payload(), &payload, "{case}");
    }
}

/// What becomes of a message: the payload counts too.
fn check_message(message: &Bytes) -> Result<(), &'static str> {
    let limits = Limits::default();
    let is_good = match Frame::parse(message) {
        Err(FrameError::UnknownSubtype(_)) => return Err("unknown-subtype"),
        Err(_) => false,
        Ok(Frame::Step1(state_vector)) => StateVector::decode(&state_vector, &limits).is_ok(),
        Ok(Frame::Step2(update) | Frame::Update(update)) => validate(&update, &limits).is_ok(),
    };
    if is_good { Ok(()) } else { Err("malformed") }
}

#[test]
fn bad_frames_are_refused() {
    let file = load("sync-frames.json");
    for case in cases(&file, &["frame-error"]) {
        let error = check_message(&bytes(case, "frame")).expect_err(&case.to_string());
        assert_eq!(error, case["error"], "{case}");
    }
}

fn open_frame(file: &Value, id: &str) -> Result<Frame, FrameError> {
    Frame::parse(&bytes(ambiguous(file, id), "frame"))
}

#[test]
fn bytes_after_the_payload_and_overlong_numbers_are_read_as_lib0_reads_them() {
    let file = load("sync-frames.json");
    let case = cases(&file, &["frame"])
        .into_iter()
        .find(|case| case["id"] == "frame-step2");
    let payload = bytes(&case.unwrap()["expect"], "payload");
    assert_eq!(
        open_frame(&file, "trailing-bytes"),
        Ok(Frame::Update(payload.clone()))
    );
    assert_eq!(
        open_frame(&file, "overlong-subtype"),
        Ok(Frame::Update(payload))
    );
}

#[test]
fn a_number_that_javascript_cannot_hold_is_refused() {
    let file = load("sync-frames.json");
    let number = bytes(ambiguous(&file, "varuint-2^53"), "bytes");
    assert!(Reader::new(&number).read_var_uint().is_err());
    assert_eq!(Frame::parse(&number), Err(FrameError::Malformed));
}

#[test]
fn updates_in_the_older_format_are_refused() {
    let file = load("sync-frames.json");
    for id in ["v1-update", "v1-empty-update"] {
        let message = bytes(ambiguous(&file, id), "frame");
        assert_eq!(check_message(&message), Err("malformed"), "{id}");
    }
}

#[test]
fn a_length_that_is_not_there_reserves_nothing() {
    // 2^53-1 bytes are named, three are there.
    let message = Bytes::from_static(b"\x02\xff\xff\xff\xff\xff\xff\xff\x0f\x01\x02\x03");
    assert_eq!(Frame::parse(&message), Err(FrameError::Malformed));
}

#[test]
fn what_carries_an_update_is_told_by_its_subtype_however_broken_the_rest_is() {
    for message in [
        &[1][..],
        &[2],
        &[2, 0],
        &[1, 9, 1],
        &[0x82, 0, 1],
        &[2, 1, 0],
    ] {
        assert!(carries_update(message), "{message:?}");
    }
    for message in [
        &[][..],
        &[0],
        &[0, 1, 0],
        &[3, 1, 0],
        &[0x82],
        &[0x82, 1, 0],
    ] {
        assert!(!carries_update(message), "{message:?}");
    }
}

#[test]
fn payloads_share_the_buffer_of_the_message() {
    let message = encode_update(&[7; 200]);
    let frame = Frame::parse(&message).unwrap();
    assert_eq!(frame.payload().as_ptr(), message[3..].as_ptr());
}

proptest! {
    #[test]
    fn what_is_written_is_read(payload in prop::collection::vec(any::<u8>(), 1..600), rest: Vec<u8>) {
        let shared = Bytes::from(payload.clone());
        for (message, expect) in [
            (encode_step1(&payload), Frame::Step1(shared.clone())),
            (encode_step2(&payload), Frame::Step2(shared.clone())),
            (encode_update(&payload), Frame::Update(shared.clone())),
        ] {
            prop_assert_eq!(expect.encode(), message.clone());
            prop_assert_eq!(Frame::parse(&message), Ok(expect.clone()));
            let longer: Bytes = [&message[..], &rest].concat().into();
            prop_assert_eq!(Frame::parse(&longer), Ok(expect));
            for end in 0..message.len().min(20) {
                prop_assert_eq!(Frame::parse(&message.slice(..end)), Err(FrameError::Malformed));
            }
        }
    }

    #[test]
    fn no_bytes_break_the_parser(message in prop::collection::vec(any::<u8>(), 0..40)) {
        if let Ok(frame) = Frame::parse(&Bytes::from(message)) {
            prop_assert_eq!(Frame::parse(&frame.encode()), Ok(frame));
        }
    }
}
