//! Where each client's structs are in an update.

use crate::cursor::Cursor;
use crate::error::UpdateError;
use crate::structs::Struct;
use crate::{ClientId, Clock};

/// The structs of one client in an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) client: ClientId,
    /// The first clock that is not in a gap.
    pub(crate) first: Clock,
    /// Where the structs before the first gap end.
    pub(crate) contiguous: Clock,
    /// The end of the last struct that is not a gap.
    pub(crate) end: Clock,
    /// Position among the blocks on the wire.
    pub(super) ordinal: u32,
}

impl Block {
    /// Nothing but gaps.
    pub(crate) fn is_empty(&self) -> bool {
        self.first >= self.end
    }

    pub(super) fn add(&mut self, next: &Struct<'_>) {
        if !next.is_skip() {
            self.first = self.first.min(next.clock);
            self.end = next.end();
        } else if self.end != 0 {
            self.contiguous = self.contiguous.min(next.clock);
        }
    }
}

/// Most updates are of one client: that one needs no list.
#[derive(Clone, Debug)]
pub(super) enum Blocks {
    One(Option<Block>),
    Many(Vec<Block>),
}

impl Default for Blocks {
    fn default() -> Self {
        Blocks::One(None)
    }
}

impl Blocks {
    pub(super) fn as_slice(&self) -> &[Block] {
        match self {
            Blocks::One(block) => block.as_slice(),
            Blocks::Many(blocks) => blocks,
        }
    }

    pub(super) fn push(&mut self, block: Block) {
        match self {
            Blocks::One(None) => *self = Blocks::One(Some(block)),
            Blocks::One(Some(first)) => *self = Blocks::Many(vec![*first, block]),
            Blocks::Many(blocks) => blocks.push(block),
        }
    }

    pub(super) fn sort_by_client(&mut self, offset: usize) -> Result<(), UpdateError> {
        let Blocks::Many(blocks) = self else {
            return Ok(());
        };
        blocks.sort_unstable_by_key(|block| std::cmp::Reverse(block.client));
        let is_unique = blocks
            .iter()
            .zip(blocks.iter().skip(1))
            .all(|(left, right)| left.client != right.client);
        if is_unique {
            Ok(())
        } else {
            Err(UpdateError::refused(offset, REPEATED_CLIENT))
        }
    }
}

/// A place from which blocks can be walked again.
#[derive(Clone, Debug)]
pub(super) struct Checkpoint<'a> {
    /// The block that comes next.
    pub(super) ordinal: u32,
    pub(super) cursor: Cursor<'a>,
}

pub(super) const REPEATED_CLIENT: &str = "a client that comes twice";
