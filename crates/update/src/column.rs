//! The run-length columns of encoding V2, one reader and one writer each.
//!
//! Readers are small `Copy` values: copying all of them is a checkpoint from which an update can be
//! walked again. A reader yields one value at a time and never expands a run. The two integer columns
//! yield `None` past their end, where lib0 reads a zero.

use crate::error::UpdateError;
use crate::growth::spare;
use crate::lib0::{ReadError, Reader, write_var_int, write_var_uint};

/// The most that a run takes: a value below 2^32 and its sign, or a client id, and how often it comes.
const RUN_BYTES: usize = 18;

const LEFT_OVER: &str = "a column with more values than the structs need";

/// Unsigned integers, equal neighbours as one run (lib0 `UintOptRle`).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct UintReader<'a> {
    bytes: Reader<'a>,
    value: u64,
    count: u64,
}

impl<'a> UintReader<'a> {
    pub(crate) fn new(bytes: Reader<'a>) -> Self {
        UintReader {
            bytes,
            value: 0,
            count: 0,
        }
    }

    #[inline]
    pub(crate) fn read(&mut self) -> Result<Option<u64>, ReadError> {
        if self.count == 0 {
            if self.bytes.is_at_end() {
                return Ok(None);
            }
            let (value, is_run) = self.bytes.read_var_int()?;
            self.value = value;
            self.count = if is_run {
                self.bytes.read_var_uint()?.saturating_add(2)
            } else {
                1
            };
        }
        self.count = self.count.saturating_sub(1);
        Ok(Some(self.value))
    }

    pub(crate) fn position(&self) -> usize {
        self.bytes.position()
    }

    pub(crate) fn check_consumed(&self) -> Result<(), UpdateError> {
        check_consumed(&self.bytes, self.count)
    }
}

/// Integers with equal differences as one run (lib0 `IntDiffOptRle`).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DiffReader<'a> {
    bytes: Reader<'a>,
    value: i64,
    difference: i64,
    count: u64,
}

impl<'a> DiffReader<'a> {
    pub(crate) fn new(bytes: Reader<'a>) -> Self {
        DiffReader {
            bytes,
            value: 0,
            difference: 0,
            count: 0,
        }
    }

    #[inline]
    pub(crate) fn read(&mut self) -> Result<Option<i64>, ReadError> {
        if self.count == 0 {
            if self.bytes.is_at_end() {
                return Ok(None);
            }
            let (magnitude, negative) = self.bytes.read_var_int()?;
            // At most 2^53-1, so that negation and halving are exact.
            let encoded = if negative {
                (magnitude as i64).wrapping_neg()
            } else {
                magnitude as i64
            };
            self.difference = encoded >> 1;
            self.count = if encoded & 1 == 1 {
                self.bytes.read_var_uint()?.saturating_add(2)
            } else {
                1
            };
        }
        self.count = self.count.saturating_sub(1);
        // Values outside the legal range are refused by whoever reads them, long before this limit.
        self.value = self.value.saturating_add(self.difference);
        Ok(Some(self.value))
    }

    /// The last value, which lib0 yields again past the end.
    pub(crate) fn last(&self) -> i64 {
        self.value
    }

    pub(crate) fn position(&self) -> usize {
        self.bytes.position()
    }

    pub(crate) fn check_consumed(&self) -> Result<(), UpdateError> {
        check_consumed(&self.bytes, self.count)
    }
}

/// Bytes, equal neighbours as one run; the last run names no length (lib0 `Rle`).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ByteReader<'a> {
    bytes: Reader<'a>,
    value: u8,
    count: u64,
    is_last: bool,
}

impl<'a> ByteReader<'a> {
    pub(crate) fn new(bytes: Reader<'a>) -> Self {
        ByteReader {
            bytes,
            value: 0,
            count: 0,
            is_last: false,
        }
    }

    #[inline]
    pub(crate) fn read(&mut self) -> Result<u8, ReadError> {
        if self.is_last {
            return Ok(self.value);
        }
        if self.count == 0 {
            self.value = self.bytes.read_u8()?;
            if self.bytes.is_at_end() {
                self.is_last = true;
                return Ok(self.value);
            }
            self.count = self.bytes.read_var_uint()?.saturating_add(1);
        }
        self.count = self.count.saturating_sub(1);
        Ok(self.value)
    }

    pub(crate) fn position(&self) -> usize {
        self.bytes.position()
    }

    pub(crate) fn check_consumed(&self) -> Result<(), UpdateError> {
        check_consumed(&self.bytes, self.count)
    }
}

fn check_consumed(bytes: &Reader<'_>, count: u64) -> Result<(), UpdateError> {
    if count == 0 && bytes.is_at_end() {
        Ok(())
    } else {
        Err(UpdateError::refused(bytes.position(), LEFT_OVER))
    }
}

/// Writes a [`UintReader`]'s column.
#[derive(Debug, Default)]
pub(crate) struct UintWriter {
    bytes: Vec<u8>,
    value: u64,
    count: u64,
}

impl UintWriter {
    #[inline]
    pub(crate) fn write(&mut self, value: u64) {
        if self.value != value {
            self.flush();
            self.value = value;
            self.count = 0;
        }
        self.count = self.count.saturating_add(1);
    }

    fn flush(&mut self) {
        if self.count > 0 {
            write_var_int(
                spare(&mut self.bytes, RUN_BYTES),
                self.value,
                self.count > 1,
            );
            if self.count > 1 {
                write_var_uint(&mut self.bytes, self.count.saturating_sub(2));
            }
        }
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.flush();
        self.bytes
    }
}

/// Writes a [`DiffReader`]'s column.
#[derive(Debug, Default)]
pub(crate) struct DiffWriter {
    bytes: Vec<u8>,
    value: i64,
    difference: i64,
    count: u64,
}

impl DiffWriter {
    #[inline]
    pub(crate) fn write(&mut self, value: u32) {
        let value = i64::from(value);
        let difference = value.saturating_sub(self.value);
        if self.difference != difference {
            self.flush();
            self.difference = difference;
            self.count = 0;
        }
        self.value = value;
        self.count = self.count.saturating_add(1);
    }

    fn flush(&mut self) {
        if self.count > 0 {
            let flag = i64::from(self.count > 1);
            let encoded = self.difference.saturating_mul(2).saturating_add(flag);
            write_var_int(
                spare(&mut self.bytes, RUN_BYTES),
                encoded.unsigned_abs(),
                encoded < 0,
            );
            if self.count > 1 {
                write_var_uint(&mut self.bytes, self.count.saturating_sub(2));
            }
        }
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.flush();
        self.bytes
    }
}

/// Writes a [`ByteReader`]'s column.
#[derive(Debug, Default)]
pub(crate) struct ByteWriter {
    bytes: Vec<u8>,
    value: u8,
    count: u64,
}

impl ByteWriter {
    #[inline]
    pub(crate) fn write(&mut self, value: u8) {
        if self.count > 0 && self.value == value {
            self.count = self.count.saturating_add(1);
            return;
        }
        let bytes = spare(&mut self.bytes, RUN_BYTES);
        if self.count > 0 {
            write_var_uint(bytes, self.count.saturating_sub(1));
        }
        bytes.push(value);
        self.value = value;
        self.count = 1;
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.bytes
    }
}
