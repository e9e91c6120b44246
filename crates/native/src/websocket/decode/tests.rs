//! The decoder beside an independent implementation, cut at every place, and against what a peer must not send.

use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::*;

const LIMIT: usize = 1_000;

/// A masked frame as another library writes it.
fn frame(opcode: OpCode, is_final: bool, payload: &[u8]) -> Vec<u8> {
    let mask = [0x12, 0x00, 0xff, 0x81];
    let header = FrameHeader {
        is_final,
        opcode,
        mask: Some(mask),
        ..FrameHeader::default()
    };
    let mut bytes = Vec::new();
    header.format(payload.len() as u64, &mut bytes).unwrap();
    bytes.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    bytes
}

fn data(payload: &[u8]) -> Vec<u8> {
    frame(OpCode::Data(Data::Binary), true, payload)
}

/// What the decoder says when the bytes come in these pieces.
fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Incoming>, Violation> {
    let mut decoder = Decoder::new(LIMIT);
    let mut messages = Vec::new();
    for mut piece in pieces {
        while let Some(message) = decoder.decode(&mut piece)? {
            messages.push(message);
        }
        assert!(piece.is_empty());
    }
    assert!(decoder.open.is_none() && decoder.header.capacity() == 0);
    Ok(messages)
}

#[test]
fn messages_come_out_whole_however_they_are_cut() {
    let long = vec![7; 300];
    let mut bytes = data(b"one");
    bytes.extend(frame(
        OpCode::Data(Data::Text),
        false,
        "gr\u{fc}".as_bytes(),
    ));
    bytes.extend(frame(OpCode::Control(Control::Ping), true, b"between"));
    bytes.extend(frame(OpCode::Data(Data::Continue), false, b""));
    bytes.extend(frame(OpCode::Control(Control::Pong), true, b"unasked"));
    bytes.extend(frame(
        OpCode::Data(Data::Continue),
        true,
        "\u{df}e".as_bytes(),
    ));
    bytes.extend(data(&long));
    bytes.extend(data(b""));
    bytes.extend(frame(OpCode::Control(Control::Close), true, b"\x03\xe8bye"));
    let expected = vec![
        Incoming::Binary(Bytes::from_static(b"one")),
        Incoming::Ping(Bytes::from_static(b"between")),
        Incoming::Text("gr\u{fc}\u{df}e".to_owned()),
        Incoming::Binary(long.into()),
        Incoming::Binary(Bytes::new()),
        Incoming::Close {
            code: Some(1000),
            payload: Bytes::from_static(b"\x03\xe8bye"),
        },
    ];
    assert_eq!(decode([&bytes[..]]), Ok(expected.clone()));
    assert_eq!(decode(bytes.chunks(1)), Ok(expected.clone()));
    for place in 0..bytes.len() {
        let (left, right) = bytes.split_at(place);
        assert_eq!(
            decode([left, right]),
            Ok(expected.clone()),
            "cut at {place}"
        );
    }
}

#[test]
fn lengths_around_every_form_of_the_header_are_read() {
    for len in [0, 1, 125, 126, 127, 128, 999, LIMIT] {
        let payload: Vec<u8> = (0..len).map(|byte| byte as u8).collect();
        let expected = vec![Incoming::Binary(payload.clone().into())];
        assert_eq!(decode([&data(&payload)[..]]), Ok(expected));
    }
    let payload: Vec<u8> = (0..70_000).map(|byte| byte as u8).collect();
    let bytes = data(&payload);
    let mut decoder = Decoder::new(usize::MAX);
    let mut input = &bytes[..];
    let message = decoder.decode(&mut input);
    assert_eq!(message, Ok(Some(Incoming::Binary(payload.into()))));
}

#[test]
fn a_message_over_the_limit_is_refused_by_its_header() {
    let bytes = data(&vec![0; LIMIT + 1]);
    assert_eq!(decode([&bytes[..8]]), Err(Violation::TooLarge));
    let claimed = [
        0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0,
    ];
    assert_eq!(decode([&claimed[..]]), Err(Violation::TooLarge));

    let mut fragments = frame(OpCode::Data(Data::Binary), false, &[0; LIMIT]);
    fragments.extend(frame(OpCode::Data(Data::Continue), true, &[0]));
    assert_eq!(decode([&fragments[..]]), Err(Violation::TooLarge));
}

#[test]
fn a_claimed_length_reserves_little() {
    let mut decoder = Decoder::new(usize::MAX);
    let mut input = &[
        0x82, 0xff, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0, 1,
    ][..];
    assert_eq!(decoder.decode(&mut input), Ok(None));
    let open = decoder.open.unwrap();
    assert!(open.payload.capacity() <= FIRST_CAPACITY);
}

#[test]
fn what_a_client_must_not_send_ends_the_connection() {
    let mut unmasked = data(b"x");
    unmasked[1] &= 0x7f;
    let with_first = |first: u8| {
        let mut bytes = data(b"x");
        bytes[0] = first;
        bytes
    };
    let control =
        |payload: &[u8], is_final| frame(OpCode::Control(Control::Ping), is_final, payload);
    let closing = |payload: &[u8]| frame(OpCode::Control(Control::Close), true, payload);
    let mut interrupted = frame(OpCode::Data(Data::Text), false, b"x");
    interrupted.extend(data(b"y"));
    for (name, bytes) in [
        ("not masked", unmasked),
        ("reserved bit", with_first(0xc2)),
        ("unknown opcode", with_first(0x83)),
        ("unknown control opcode", with_first(0x8b)),
        (
            "continues nothing",
            frame(OpCode::Data(Data::Continue), true, b"x"),
        ),
        ("begins within a message", interrupted),
        ("long control frame", control(&[0; 126], true)),
        ("control frame in fragments", control(b"x", false)),
        ("half a close code", closing(b"\x03")),
        (
            "close code that is never sent",
            closing(&1005_u16.to_be_bytes()),
        ),
        ("close code below 1000", closing(&999_u16.to_be_bytes())),
        ("close reason that is not UTF-8", closing(b"\x03\xe8\xff")),
    ] {
        assert_eq!(decode([&bytes[..]]), Err(Violation::Protocol), "{name}");
        let pieces: Result<_, _> = decode(bytes.chunks(1));
        assert_eq!(pieces, Err(Violation::Protocol), "{name}, byte by byte");
    }
    let text = frame(OpCode::Data(Data::Text), true, b"\xff");
    assert_eq!(decode([&text[..]]), Err(Violation::NotUtf8));
}
