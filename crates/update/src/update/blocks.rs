//! Where each client's structs are in an update.

use crate::cursor::Cursor;
use crate::error::UpdateError;
use crate::growth::push;
use crate::structs::Struct;
use crate::text::Text;
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
pub(super) enum Blocks<'a> {
    One(Option<Block>),
    Many(Box<Index<'a>>),
}

/// What an update of several clients, or one that names keys by number, has beside its bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct Index<'a> {
    /// Highest client first.
    pub(super) blocks: Vec<Block>,
    /// In wire order.
    pub(super) checkpoints: Vec<Checkpoint<'a>>,
    /// All keys, if any is named by number.
    pub(super) keys: Vec<Text<'a>>,
}

impl Default for Blocks<'_> {
    fn default() -> Self {
        Blocks::One(None)
    }
}

impl<'a> Blocks<'a> {
    pub(super) fn as_slice(&self) -> &[Block] {
        match self {
            Blocks::One(block) => block.as_slice(),
            Blocks::Many(index) => &index.blocks,
        }
    }

    pub(super) fn checkpoints(&self) -> &[Checkpoint<'a>] {
        match self {
            Blocks::One(_) => &[],
            Blocks::Many(index) => &index.checkpoints,
        }
    }

    pub(super) fn keys(&self) -> &[Text<'a>] {
        match self {
            Blocks::One(_) => &[],
            Blocks::Many(index) => &index.keys,
        }
    }

    pub(super) fn set_keys(&mut self, keys: Vec<Text<'a>>) {
        if !keys.is_empty() {
            self.index().keys = keys;
        }
    }

    fn index(&mut self) -> &mut Index<'a> {
        loop {
            match self {
                Blocks::Many(index) => return index,
                Blocks::One(first) => {
                    let blocks = first.take().into_iter().collect();
                    let index = Index {
                        blocks,
                        ..Index::default()
                    };
                    *self = Blocks::Many(Box::new(index));
                }
            }
        }
    }

    pub(super) fn push(&mut self, block: Block) {
        match self {
            Blocks::One(empty @ None) => *empty = Some(block),
            _ => push(&mut self.index().blocks, block),
        }
    }

    pub(super) fn push_checkpoint(&mut self, checkpoint: Checkpoint<'a>) {
        push(&mut self.index().checkpoints, checkpoint);
    }

    pub(super) fn sort_by_client(&mut self, offset: usize) -> Result<(), UpdateError> {
        let Blocks::Many(index) = self else {
            return Ok(());
        };
        let blocks = &mut index.blocks;
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
