//! The hub's stream of events: lines of `data: ` with JSON, comments that keep the connection alive, and `[DONE]`
//! (ai.md, Answers).

use serde_json::Value;

/// No event of a hub comes near it.
const MAX_LINE_BYTES: usize = 16 * 1024 * 1024;

/// What a line says.
#[derive(Debug, PartialEq)]
pub(super) enum Event {
    /// One event.
    Data(Value),
    /// The answer is complete.
    Done,
}

/// The bytes are no stream of a hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum StreamError {
    #[error("a line of the answer is no event")]
    NoEvent,
    #[error("a line of the answer is longer than any of a hub")]
    TooLong,
}

/// Cuts pieces, however they come, into events.
#[derive(Debug, Default)]
pub(super) struct EventStream {
    /// The beginning of a line whose end has not come.
    pending: Vec<u8>,
}

impl EventStream {
    /// The events that end in this piece.
    pub(super) fn read(&mut self, piece: &[u8]) -> Result<Vec<Event>, StreamError> {
        let mut events = Vec::new();
        let mut rest = piece;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, after) = (&rest[..end], &rest[end + 1..]);
            rest = after;
            self.hold(line)?;
            let line = std::mem::take(&mut self.pending);
            events.extend(parse(&line)?);
        }
        self.hold(rest)?;
        Ok(events)
    }

    fn hold(&mut self, bytes: &[u8]) -> Result<(), StreamError> {
        if self.pending.len() + bytes.len() > MAX_LINE_BYTES {
            return Err(StreamError::TooLong);
        }
        self.pending.extend_from_slice(bytes);
        Ok(())
    }
}

/// Lines that are no data (comments, empty ones, fields of later versions) say nothing.
fn parse(line: &[u8]) -> Result<Option<Event>, StreamError> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let Some(data) = line.strip_prefix(b"data:") else {
        return Ok(None);
    };
    let data = data.trim_ascii();
    if data == b"[DONE]" {
        return Ok(Some(Event::Done));
    }
    match serde_json::from_slice(data) {
        Ok(event @ Value::Object(_)) => Ok(Some(Event::Data(event))),
        _ => Err(StreamError::NoEvent),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Event, EventStream, MAX_LINE_BYTES, StreamError};

    const STREAM: &str =
        ": keep-alive\n\ndata: {\"delta\":\"é\"}\n\ndata:{\"a\":1}\r\n\r\ndata: [DONE]\n\n";

    #[test]
    fn pieces_of_any_size_give_the_same_events() {
        let expect = [
            Event::Data(json!({"delta": "é"})),
            Event::Data(json!({"a": 1})),
            Event::Done,
        ];
        for size in 1..STREAM.len() {
            let mut stream = EventStream::default();
            let mut events = Vec::new();
            for piece in STREAM.as_bytes().chunks(size) {
                events.extend(stream.read(piece).expect("it is a stream"));
            }
            assert_eq!(events, expect, "in pieces of {size}");
        }
    }

    #[test]
    fn what_is_no_stream_is_an_error() {
        for line in ["data: nonsense\n", "data: 1\n", "data: {\n", "data: \n"] {
            let read = EventStream::default().read(line.as_bytes());
            assert_eq!(read, Err(StreamError::NoEvent), "{line}");
        }
        let mut stream = EventStream::default();
        let piece = vec![b'x'; MAX_LINE_BYTES];
        assert_eq!(stream.read(&piece), Ok(Vec::new()));
        assert_eq!(stream.read(b"x"), Err(StreamError::TooLong));
    }
}
