//! Values in lib0's `any` encoding: walked over and checked, never decoded.

use crate::error::UpdateError;
use crate::lib0::Reader;

/// The depth of the walk's stack: deeper values are refused.
pub(crate) const MAX_NESTING: u32 = 64;

/// What a walk over a value has to look at.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Check {
    /// Everything; nesting at most this deep.
    All(u32),
    /// Only lengths: the bytes were checked before.
    Lengths,
}

/// Moves the reader behind one value.
pub(crate) fn skip(reader: &mut Reader<'_>, check: Check) -> Result<(), UpdateError> {
    match skip_one(reader, check)? {
        Step::Done => Ok(()),
        Step::Container(frame) => skip_container(reader, check, frame),
    }
}

/// An open array or object: entries left, and whether each one starts with a key.
#[derive(Clone, Copy)]
struct Frame {
    left: u64,
    has_keys: bool,
}

enum Step {
    Done,
    Container(Frame),
}

fn skip_container(reader: &mut Reader<'_>, check: Check, outer: Frame) -> Result<(), UpdateError> {
    let max_nesting = match check {
        Check::All(limit) => limit.min(MAX_NESTING),
        Check::Lengths => MAX_NESTING,
    };
    let mut stack = [Frame {
        left: 0,
        has_keys: false,
    }; MAX_NESTING as usize];
    let mut depth: u32 = 0;
    let mut entered = Some(outer);
    loop {
        if let Some(frame) = entered.take() {
            if depth >= max_nesting {
                return Err(UpdateError::refused(
                    reader.position(),
                    "values nested too deeply",
                ));
            }
            if let Some(slot) = stack.get_mut(depth as usize) {
                *slot = frame;
            }
            depth = depth.saturating_add(1);
        }
        let Some(frame) = depth
            .checked_sub(1)
            .and_then(|top| stack.get_mut(top as usize))
        else {
            return Ok(());
        };
        if frame.left == 0 {
            depth = depth.saturating_sub(1);
            continue;
        }
        frame.left = frame.left.saturating_sub(1);
        if frame.has_keys {
            skip_string(reader, check)?;
        }
        if let Step::Container(inner) = skip_one(reader, check)? {
            entered = Some(inner);
        }
    }
}

fn skip_one(reader: &mut Reader<'_>, check: Check) -> Result<Step, UpdateError> {
    let start = reader.position();
    match reader.read_u8()? {
        // undefined, null, false, true
        127 | 126 | 121 | 120 => {}
        // integer
        125 => {
            reader.read_var_int()?;
        }
        // float32
        124 => {
            reader.read_bytes(4)?;
        }
        // float64, BigInt
        123 | 122 => {
            reader.read_bytes(8)?;
        }
        119 => skip_string(reader, check)?,
        tag @ (118 | 117) => {
            let left = reader.read_var_uint()?;
            return Ok(Step::Container(Frame {
                left,
                has_keys: tag == 118,
            }));
        }
        // byte array
        116 => {
            reader.read_var_bytes()?;
        }
        _ => return Err(UpdateError::malformed(start, "unknown kind of value")),
    }
    Ok(Step::Done)
}

fn skip_string(reader: &mut Reader<'_>, check: Check) -> Result<(), UpdateError> {
    let start = reader.position();
    let bytes = reader.read_var_bytes()?;
    if matches!(check, Check::All(_)) && std::str::from_utf8(bytes).is_err() {
        return Err(UpdateError::malformed(start, "a string that is not UTF-8"));
    }
    Ok(())
}
