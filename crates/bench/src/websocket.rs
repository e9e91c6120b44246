//! RFC 6455 from the client's side, as little of it as a load generator needs.
//!
//! A client must mask what it sends and this one masks with zeros: the server has the same work as with any other mask,
//! and the generator has none.

use anyhow::bail;

pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;
const MASK: [u8; 4] = [0; 4];
/// Lengths from here on are written behind the first two bytes.
const SHORT_LENGTHS: usize = 126;
/// No server under test sends more at once.
const MAX_PAYLOAD_BYTES: usize = 1 << 30;

/// One message from a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) opcode: u8,
    pub(crate) payload: &'a [u8],
}

/// Appends one message whose payload is the concatenation of `parts`.
pub(crate) fn write_frame(out: &mut Vec<u8>, opcode: u8, parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    out.push(FINAL | opcode);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short), _) if length < SHORT_LENGTHS => out.push(MASKED | short),
        (_, Ok(medium)) => {
            out.push(MASKED | 126);
            out.extend(medium.to_be_bytes());
        }
        _ => {
            out.push(MASKED | 127);
            out.extend((length as u64).to_be_bytes());
        }
    }
    out.extend(MASK);
    for part in parts {
        out.extend_from_slice(part);
    }
}

/// The first message in `bytes` and how many of them it takes; `None` while it is not all there.
pub(crate) fn read_frame(bytes: &[u8]) -> anyhow::Result<Option<(Frame<'_>, usize)>> {
    let [first, second, rest @ ..] = bytes else {
        return Ok(None);
    };
    if first & FINAL == 0 || second & MASKED != 0 {
        bail!("the server sent a fragment or a masked frame: {first:02x} {second:02x}");
    }
    let (length, header) = match second {
        126 => match rest.first_chunk::<2>() {
            Some(length) => (usize::from(u16::from_be_bytes(*length)), 4),
            None => return Ok(None),
        },
        127 => match rest.first_chunk::<8>() {
            Some(length) => (usize::try_from(u64::from_be_bytes(*length))?, 10),
            None => return Ok(None),
        },
        short => (usize::from(*short), 2),
    };
    if length > MAX_PAYLOAD_BYTES {
        bail!("the server sent a message of {length} bytes");
    }
    let end = header + length;
    Ok(bytes.get(header..end).map(|payload| {
        let opcode = first & 0x0F;
        (Frame { opcode, payload }, end)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_one_three_or_nine_bytes() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536] {
            let payload = vec![7; length];
            let mut sent = Vec::new();
            write_frame(&mut sent, BINARY, &[&payload]);
            // What a server would have sent: the same without a mask.
            let mut received = sent.clone();
            received[1] &= 0x7F;
            let header = sent.len() - MASK.len() - length;
            received.drain(header..header + MASK.len());
            let (frame, taken) = read_frame(&received)
                .expect("a frame")
                .expect("a whole frame");
            assert_eq!((frame.opcode, frame.payload), (BINARY, &payload[..]));
            assert_eq!(taken, received.len());
            for end in 0..received.len().min(12) {
                assert_eq!(read_frame(&received[..end]).expect("no error"), None);
            }
        }
    }

    #[test]
    fn a_fragment_is_an_error() {
        assert!(read_frame(&[BINARY, 1, 0]).is_err());
    }

    #[test]
    fn parts_are_one_payload() {
        let mut sent = Vec::new();
        write_frame(&mut sent, TEXT, &[b"pi", b"ng"]);
        assert_eq!(sent, [0x81, 0x84, 0, 0, 0, 0, b'p', b'i', b'n', b'g']);
    }
}
