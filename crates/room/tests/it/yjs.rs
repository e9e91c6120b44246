//! Small Yjs V2 updates written by hand, laid out as the vectors of `sync-frames.json` are. Ids stay below 64 so that
//! each takes one byte.

use bytes::Bytes;

/// `meta.a = value`, by a client at a clock; depends on nothing but that client's earlier clocks.
pub(crate) fn set(client: u8, clock: u8, value: u8) -> Bytes {
    let mut update = vec![0, 0, 1, client, 0, 0, 1, 0x28];
    update.extend([8, 5, b'm', b'e', b't', b'a', b'a', 4, 1]);
    update.extend([1, 1, 0, 1, 1, 1, 1, clock, 0x7d, value, 0]);
    Bytes::from(update)
}

/// A list item right after the one at `origin` of another client.
pub(crate) fn after(client: u8, clock: u8, origin: (u8, u8)) -> Bytes {
    assert_ne!(client, origin.0);
    let mut update = vec![0, 0, 2, client, origin.0, 1, origin.1 << 1, 0, 1, 0x88];
    update.extend([1, 0, 0, 0, 1, 1, 1, 1, clock, 0x7d, 1, 0]);
    Bytes::from(update)
}

/// Deletes `length` clocks of a client.
pub(crate) fn delete(client: u8, clock: u8, length: u8) -> Bytes {
    let mut update = vec![0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0];
    update.extend([1, client, 1, clock, length - 1]);
    Bytes::from(update)
}

/// Does nothing.
pub(crate) fn nothing() -> Bytes {
    Bytes::from_static(&epicenter_update::EMPTY_UPDATE)
}

/// An embedded content kind that Yjs reads and the hub refuses is not to be had by hand; more structs than a tiny limit
/// allows are.
pub(crate) fn two(client: u8) -> Bytes {
    let first = set(client, 0, 1);
    let second = set(client, 1, 2);
    let limits = epicenter_update::Limits::default();
    let parse = |bytes| epicenter_update::Update::parse(bytes, &limits).unwrap();
    Bytes::from(epicenter_update::merge(&[parse(&first), parse(&second)]))
}
