//! What a peer gets to see of a queue, for peers that read much, little or nothing.

use bytes::Bytes;

use super::*;
use crate::websocket::Opcode;

/// Takes so many bytes and then blocks, or is gone.
#[derive(Default)]
struct Pipe {
    room: Mutex<usize>,
    taken: Mutex<Vec<u8>>,
    writes: Mutex<usize>,
    is_gone: bool,
}

impl Pipe {
    fn with_room(room: usize) -> Arc<Self> {
        Arc::new(Self {
            room: Mutex::new(room),
            ..Self::default()
        })
    }

    fn widen(&self, bytes: usize) {
        *lock(&self.room) += bytes;
    }

    fn taken(&self) -> Vec<u8> {
        std::mem::take(&mut lock(&self.taken))
    }
}

impl Sink for Pipe {
    fn try_write(&self, bytes: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.is_gone {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        *lock(&self.writes) += 1;
        let mut room = lock(&self.room);
        let mut taken = lock(&self.taken);
        let before = taken.len();
        for slice in bytes {
            let part = slice.len().min(*room);
            taken.extend_from_slice(&slice[..part]);
            *room -= part;
        }
        match taken.len() - before {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            written => Ok(written),
        }
    }
}

fn message(size: usize) -> Frame {
    Frame::new(Opcode::Binary, Bytes::from(vec![0; size]))
}

fn order(code: CloseCode) -> CloseOrder {
    CloseOrder {
        code,
        reason: String::new(),
    }
}

#[test]
fn frames_of_one_flush_leave_in_one_write() {
    let pipe = Pipe::with_room(1_000);
    let outbox = Outbox::new(1_000, Arc::clone(&pipe) as Arc<dyn Sink>);
    for text in ["a", "bc", ""] {
        outbox.push(Frame::new(Opcode::Text, text.into()));
    }
    outbox.flush();
    assert_eq!(pipe.taken(), b"\x81\x01a\x81\x02bc\x81\x00");
    assert_eq!(*lock(&pipe.writes), 1);
}

#[test]
fn what_the_kernel_does_not_take_goes_on_where_it_was_cut() {
    let frames = [message(3), message(130), message(70_000), message(1)];
    let mut expected = Vec::new();
    for frame in &frames {
        for part in frame.rest(0) {
            expected.extend_from_slice(&part);
        }
    }
    for step in [1, 2, 3, 7, 131, 9_999] {
        let pipe = Pipe::with_room(0);
        let outbox = Outbox::new(usize::MAX, Arc::clone(&pipe) as Arc<dyn Sink>);
        for frame in &frames {
            outbox.push(frame.clone());
        }
        let mut seen = Vec::new();
        while outbox.poll_flush(Waker::noop()) == Flushed::Blocked {
            pipe.widen(step);
            seen.extend(pipe.taken());
        }
        seen.extend(pipe.taken());
        assert_eq!(seen, expected, "in steps of {step}");
        assert_eq!(outbox.lock().bytes, 0);
    }
}

#[test]
fn a_queue_past_its_bound_is_dropped_and_closed_as_a_slow_consumer() {
    let outbox = Outbox::new(100, Pipe::with_room(0));
    outbox.push(message(50));
    outbox.push(message(40));
    outbox.push(message(10));
    outbox.push(message(10));
    let Flushed::Close(order) = outbox.poll_flush(Waker::noop()) else {
        panic!("not closed");
    };
    assert_eq!(order.reason, "slow-consumer");
    assert_eq!(outbox.lock().queue.len(), 0);
}

#[test]
fn one_larger_frame_passes_when_the_queue_is_empty() {
    let pipe = Pipe::with_room(10_100);
    let outbox = Outbox::new(100, Arc::clone(&pipe) as Arc<dyn Sink>);
    for _ in 0..2 {
        outbox.push(message(5_000));
        outbox.flush();
        assert_eq!(pipe.taken().len(), 5_004);
    }
}

#[test]
fn an_ordinary_close_waits_for_the_queue_and_a_revocation_does_not() {
    for (code, drains) in [
        (CloseCode::GoingAway, true),
        (CloseCode::Unauthorized, false),
    ] {
        let pipe = Pipe::with_room(0);
        let outbox = Outbox::new(100, Arc::clone(&pipe) as Arc<dyn Sink>);
        outbox.push(message(10));
        outbox.close(order(code));
        outbox.push(message(1));
        outbox.close(order(CloseCode::Policy));
        assert_eq!(outbox.is_draining(), drains);
        let expected = Flushed::Close(order(code));
        if drains {
            assert_eq!(outbox.poll_flush(Waker::noop()), Flushed::Blocked);
            pipe.widen(1_000);
        }
        assert_eq!(outbox.poll_flush(Waker::noop()), expected);
        assert_eq!(pipe.taken().len(), if drains { 12 } else { 0 });
        assert_eq!(outbox.poll_flush(Waker::noop()), Flushed::All, "given once");
    }
}

#[test]
fn a_revocation_overtakes_a_close_that_waits_for_the_peer() {
    let outbox = Outbox::new(100, Pipe::with_room(5));
    outbox.push(message(10));
    outbox.push(message(10));
    assert_eq!(outbox.poll_flush(Waker::noop()), Flushed::Blocked);
    assert!(outbox.close(order(CloseCode::Protocol)), "it waits");
    assert!(!outbox.close(order(CloseCode::Unauthorized)));
    assert_eq!(
        outbox.poll_flush(Waker::noop()),
        Flushed::Close(order(CloseCode::Unauthorized))
    );
    // Only the rest of the frame that had been begun is left.
    assert_eq!(outbox.queued(), (1, 7));
    assert!(!outbox.close(order(CloseCode::Unauthorized)));
    assert_eq!(outbox.poll_flush(Waker::noop()), Flushed::Blocked);
}

#[test]
fn the_last_frame_does_not_cut_one_that_is_being_written() {
    let pipe = Pipe::with_room(5);
    let outbox = Outbox::new(100, Arc::clone(&pipe) as Arc<dyn Sink>);
    outbox.push(message(10));
    outbox.push(message(10));
    outbox.flush();
    outbox.close(order(CloseCode::Unauthorized));
    outbox.push_last(Frame::close(4401, ""));
    pipe.widen(1_000);
    assert_eq!(
        outbox.poll_flush(Waker::noop()),
        Flushed::Close(order(CloseCode::Unauthorized))
    );
    assert_eq!(
        pipe.taken(),
        b"\x82\x0a\0\0\0\0\0\0\0\0\0\0\x88\x02\x11\x31"
    );
}

#[test]
fn a_peer_that_is_gone_is_noticed_and_an_abandoned_outbox_takes_nothing_in() {
    let gone = Arc::new(Pipe {
        is_gone: true,
        ..Pipe::default()
    });
    let outbox = Outbox::new(100, gone);
    outbox.push(message(1));
    assert_eq!(outbox.poll_flush(Waker::noop()), Flushed::Gone);
    outbox.abandon();
    outbox.push(message(1));
    assert_eq!(outbox.poll_flush(Waker::noop()), Flushed::All);
}
