//! The lib0 primitives that the frame codec, state vectors and updates share.
//!
//! Integers are little-endian groups of seven bits. The signed form keeps its sign in the second
//! highest bit of the first byte, which makes minus zero a value of its own.

/// The largest integer that a JavaScript number holds exactly, 2^53-1.
pub const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// The most bytes of one integer. The shortest form of 2^53-1 takes eight; lib0 reads any number of
/// leading zero groups, and no encoder writes them.
const MAX_INTEGER_BYTES: u32 = 16;

/// Position and reason of a value that could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The input ends inside the value.
    #[error("unexpected end of input at byte {offset}")]
    UnexpectedEnd {
        /// Where the value was expected to go on.
        offset: usize,
    },
    /// The integer passes 2^53-1 and lib0 refuses it too.
    #[error("integer out of range at byte {offset}")]
    IntegerOutOfRange {
        /// Where the integer begins.
        offset: usize,
    },
    /// lib0 reads the integer, but as a number that is not exact.
    #[error("integer is not exact at byte {offset}")]
    IntegerNotExact {
        /// Where the integer begins.
        offset: usize,
    },
}

/// Reads values from the front of a byte slice.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Reader<'a> {
    /// A reader at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { bytes, position: 0 }
    }

    /// A reader that stands at `position`.
    pub(crate) fn at(bytes: &'a [u8], position: usize) -> Self {
        Reader { bytes, position }
    }

    /// Reads a length and goes behind as many bytes; they are left to the reader that is returned,
    /// whose positions count from the start of the whole input.
    pub(crate) fn read_column(&mut self) -> Result<Reader<'a>, ReadError> {
        let length = self.read_var_uint()?;
        let start = self.position;
        self.read_bytes(length)?;
        Ok(Reader {
            bytes: self.bytes.get(..self.position).unwrap_or_default(),
            position: start,
        })
    }

    /// How many bytes were read.
    pub fn position(&self) -> usize {
        self.position
    }

    /// The bytes not yet read.
    pub fn remaining(&self) -> &'a [u8] {
        self.bytes.get(self.position..).unwrap_or_default()
    }

    /// Reads one byte.
    pub fn read_u8(&mut self) -> Result<u8, ReadError> {
        match self.bytes.get(self.position) {
            Some(byte) => {
                self.position = self.position.saturating_add(1);
                Ok(*byte)
            }
            None => Err(self.unexpected_end()),
        }
    }

    /// Reads an unsigned integer of at most 53 bits.
    pub fn read_var_uint(&mut self) -> Result<u64, ReadError> {
        let start = self.position;
        let first = self.read_u8()?;
        if first < 0x80 {
            return Ok(u64::from(first));
        }
        self.read_groups(start, u64::from(first & 0x7f), 7)
    }

    /// Reads a signed integer as magnitude and sign; minus zero is `(0, true)`.
    pub(crate) fn read_var_int(&mut self) -> Result<(u64, bool), ReadError> {
        let start = self.position;
        let first = self.read_u8()?;
        let negative = first & 0x40 != 0;
        let low = u64::from(first & 0x3f);
        if first < 0x80 {
            return Ok((low, negative));
        }
        Ok((self.read_groups(start, low, 6)?, negative))
    }

    /// Reads the groups after the first one, as lib0 does: the range is only checked between bytes.
    fn read_groups(&mut self, start: usize, low: u64, first_shift: u32) -> Result<u64, ReadError> {
        let mut value = low;
        let mut shift = first_shift;
        for _ in 1..MAX_INTEGER_BYTES {
            let byte = self.read_u8()?;
            let group = u64::from(byte & 0x7f);
            if shift < 57 {
                value |= group.checked_shl(shift).unwrap_or_default();
            } else if group != 0 {
                value = u64::MAX;
            }
            shift = shift.saturating_add(7);
            if byte < 0x80 {
                return if value <= MAX_SAFE_INTEGER {
                    Ok(value)
                } else {
                    Err(ReadError::IntegerNotExact { offset: start })
                };
            }
            if value > MAX_SAFE_INTEGER {
                return Err(ReadError::IntegerOutOfRange { offset: start });
            }
        }
        Err(ReadError::IntegerNotExact { offset: start })
    }

    /// Reads `length` bytes.
    pub fn read_bytes(&mut self, length: u64) -> Result<&'a [u8], ReadError> {
        let found = usize::try_from(length)
            .ok()
            .and_then(|length| self.position.checked_add(length))
            .and_then(|end| Some((end, self.bytes.get(self.position..end)?)));
        match found {
            Some((end, bytes)) => {
                self.position = end;
                Ok(bytes)
            }
            None => Err(self.unexpected_end()),
        }
    }

    /// Reads a length and as many bytes.
    pub fn read_var_bytes(&mut self) -> Result<&'a [u8], ReadError> {
        let length = self.read_var_uint()?;
        self.read_bytes(length)
    }

    /// The bytes between an earlier position and this one.
    pub(crate) fn since(&self, start: usize) -> &'a [u8] {
        self.bytes.get(start..self.position).unwrap_or_default()
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.position >= self.bytes.len()
    }

    fn unexpected_end(&self) -> ReadError {
        ReadError::UnexpectedEnd {
            offset: self.position,
        }
    }
}

/// Appends an unsigned integer in its shortest form.
pub fn write_var_uint(out: &mut Vec<u8>, value: u64) {
    let mut rest = value;
    while rest > 0x7f {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Appends a signed integer, given as magnitude and sign, in its shortest form.
pub(crate) fn write_var_int(out: &mut Vec<u8>, magnitude: u64, negative: bool) {
    let sign = if negative { 0x40 } else { 0 };
    let low = (magnitude & 0x3f) as u8 | sign;
    let rest = magnitude >> 6;
    if rest == 0 {
        out.push(low);
    } else {
        out.push(low | 0x80);
        write_var_uint(out, rest);
    }
}

/// Appends a length and the bytes.
pub fn write_var_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    write_var_uint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}
