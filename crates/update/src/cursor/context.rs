//! What a walk over an update carries beside its position: how much to check, the keys so far, and
//! the first rule that was broken.

use crate::error::UpdateError;
use crate::structs::Id;
use crate::text::Text;
use crate::{ClientId, Clock, MAX_CLIENT, MAX_CLOCK};

pub(crate) const CLOCK_RANGE: &str = "a clock or length outside 31 bits";
const CLIENT_RANGE: &str = "a client id outside 1 to 2^53-1";
const REPEATED_KEYS: &str = "keys repeated by number too often";

/// How much a walk looks at.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Depth {
    /// Everything, values nested at most this deep.
    Full { max_nesting: u32 },
    /// Bytes that were checked before.
    Checked,
}

/// What a walk carries beside its position.
#[derive(Debug)]
pub(crate) struct Context<'k, 'a> {
    pub(crate) depth: Depth,
    pub(crate) keys: Keys<'k, 'a>,
    /// The first rule that the update breaks although Yjs reads it.
    ///
    /// Reading goes on behind it as Yjs would: a later fault that Yjs stumbles over makes the update
    /// malformed, which a room treats differently.
    pub(crate) refusal: Option<UpdateError>,
}

impl Context<'_, '_> {
    pub(crate) fn refuse(&mut self, offset: usize, limit: &'static str) {
        self.refusal
            .get_or_insert(UpdateError::refused(offset, limit));
    }

    /// A client id, or zero in place of one that is refused.
    pub(crate) fn client(&mut self, client: u64, at: usize) -> ClientId {
        if (1..=MAX_CLIENT).contains(&client) {
            return client;
        }
        self.refuse(at, CLIENT_RANGE);
        0
    }

    /// A clock, or the largest number in place of one that is refused.
    pub(crate) fn clock(&mut self, clock: u64, at: usize) -> Clock {
        match checked_clock(clock, at) {
            Ok(clock) => clock,
            Err(refusal) => {
                self.refusal.get_or_insert(refusal);
                Clock::MAX
            }
        }
    }

    /// A length; refused are zero and what [`Context::clock`] refuses.
    pub(crate) fn len(&mut self, len: u64, at: usize) -> Clock {
        if len == 0 {
            self.refuse(at, "a length of zero");
        }
        self.clock(len, at)
    }

    /// An id that `own` refers to: never `own` itself or a later element of the same client, which
    /// Yjs could not find when it integrates the struct.
    pub(crate) fn id(&mut self, client: ClientId, clock: i64, own: Id, at: usize) -> Id {
        let clock = self.clock(u64::try_from(clock).unwrap_or(u64::MAX), at);
        if client == own.client && clock >= own.clock {
            self.refuse(at, "a struct that refers to itself or its successors");
        } else if clock >= MAX_CLOCK {
            // A struct ends at most at the largest clock, so its last element is below.
            self.refuse(at, CLOCK_RANGE);
        }
        Id { client, clock }
    }
}

/// The keys read so far, for keys that are named by number.
#[derive(Debug)]
pub(crate) enum Keys<'k, 'a> {
    /// Nothing is kept; stops at the first key that is named by number and says so.
    Untracked { stopped: &'k mut bool },
    /// The first walk over an update that names keys by number.
    Record {
        table: &'k mut Vec<Text<'a>>,
        /// How many more bytes of keys may be repeated, and how many more keys kept.
        repeatable: &'k mut usize,
    },
    /// The complete table, filled by an earlier walk.
    Table(&'k [Text<'a>]),
}

impl<'a> Keys<'_, 'a> {
    /// A key that is named by the number of an earlier one.
    pub(crate) fn repeated(&mut self, number: u32, at: usize) -> Result<Text<'a>, UpdateError> {
        let refused = UpdateError::refused(at, REPEATED_KEYS);
        match self {
            Keys::Untracked { stopped } => {
                **stopped = true;
                Err(refused)
            }
            Keys::Record { table, repeatable } => {
                let key = *table.get(number as usize).ok_or(refused.clone())?;
                **repeatable = repeatable
                    .checked_sub(key.byte_len().saturating_add(1))
                    .ok_or(refused)?;
                Ok(key)
            }
            Keys::Table(table) => table.get(number as usize).copied().ok_or(refused),
        }
    }

    /// Takes note of a key that is written in full.
    pub(crate) fn record(&mut self, key: Text<'a>, at: usize) -> Result<(), UpdateError> {
        if let Keys::Record { table, repeatable } = self {
            **repeatable = repeatable
                .checked_sub(1)
                .ok_or(UpdateError::refused(at, REPEATED_KEYS))?;
            table.push(key);
        }
        Ok(())
    }
}

pub(crate) fn checked_client(client: u64, at: usize) -> Result<ClientId, UpdateError> {
    if (1..=MAX_CLIENT).contains(&client) {
        Ok(client)
    } else {
        Err(UpdateError::refused(at, CLIENT_RANGE))
    }
}

pub(crate) fn checked_clock(clock: u64, at: usize) -> Result<Clock, UpdateError> {
    match Clock::try_from(clock) {
        Ok(clock) if clock <= MAX_CLOCK => Ok(clock),
        _ => Err(UpdateError::refused(at, CLOCK_RANGE)),
    }
}
