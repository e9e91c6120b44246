//! Walking the structs of a checked update again.

use super::Update;
use super::blocks::Block;
use super::scan::checked_context;
use crate::cursor::Cursor;
use crate::structs::Struct;
use crate::{ClientId, Clock};

/// Reads the structs of a checked update, block by block.
#[derive(Clone, Debug)]
pub(crate) struct Walk<'u, 'a> {
    /// `None` where the bytes alone are walked.
    update: Option<&'u Update<'a>>,
    cursor: Cursor<'a>,
    /// The block whose head comes next once `left` is used up.
    ordinal: u32,
    client: ClientId,
    clock: Clock,
    /// Structs of the current block that are still to come.
    left: u64,
}

impl<'u, 'a> Walk<'u, 'a> {
    pub(super) fn new(update: &'u Update<'a>) -> Self {
        Walk {
            update: Some(update),
            cursor: first_block(update.bytes, Some(update.text)),
            ordinal: 0,
            client: 0,
            clock: 0,
            left: 0,
        }
    }

    /// A walk over the structs of a [simple](Update::is_simple) update, of which only the bytes were
    /// kept.
    pub(crate) fn again(bytes: &'a [u8]) -> Self {
        let mut walk = Walk {
            update: None,
            cursor: first_block(bytes, None),
            ordinal: 0,
            client: 0,
            clock: 0,
            left: 0,
        };
        walk.read_head();
        walk
    }

    /// Goes to the first struct of a block of the same update.
    pub(crate) fn enter(&mut self, block: &Block) {
        let Some(update) = self.update else {
            return;
        };
        let checkpoints = update.blocks.checkpoints();
        let nearest = checkpoints
            .partition_point(|checkpoint| checkpoint.ordinal <= block.ordinal)
            .checked_sub(1)
            .and_then(|index| checkpoints.get(index));
        let from = nearest.map_or(0, |checkpoint| checkpoint.ordinal);
        let is_on_the_way = self.left == 0 && self.ordinal >= from && self.ordinal <= block.ordinal;
        if !is_on_the_way {
            self.cursor = match nearest {
                Some(checkpoint) => checkpoint.cursor,
                None => first_block(update.bytes, Some(update.text)),
            };
            self.ordinal = from;
        }
        while self.ordinal < block.ordinal {
            if !self.read_head() {
                return;
            }
            while self.next().is_some() {}
        }
        self.read_head();
    }

    /// Where the part without columns goes on: the value of the next struct, if it has one there.
    pub(crate) fn position(&self) -> usize {
        self.cursor.position()
    }

    fn read_head(&mut self) -> bool {
        match self.cursor.read_block_head(&mut checked_context(&[])) {
            Ok(head) => {
                self.client = head.client;
                self.clock = head.clock;
                self.left = head.structs;
                self.ordinal = self.ordinal.saturating_add(1);
                true
            }
            // The bytes were read before, so this does not happen; the walk ends.
            Err(_) => {
                self.left = 0;
                false
            }
        }
    }
}

impl<'a> Iterator for Walk<'_, 'a> {
    type Item = Struct<'a>;

    /// The next struct of the block, gaps included.
    fn next(&mut self) -> Option<Struct<'a>> {
        self.left = self.left.checked_sub(1)?;
        let mut context = checked_context(self.update.map_or(&[], |update| update.blocks.keys()));
        match self
            .cursor
            .read_struct(self.client, self.clock, &mut context)
        {
            Ok(next) => {
                self.clock = next.end();
                Some(next)
            }
            // The bytes were read before, so this does not happen; the walk ends.
            Err(_) => {
                self.left = 0;
                None
            }
        }
    }
}

/// The position before the first block.
fn first_block<'a>(bytes: &'a [u8], text: Option<&'a str>) -> Cursor<'a> {
    let mut cursor = match Cursor::open(bytes, text) {
        Ok(opened) => opened.cursor,
        // The bytes were read before, so this does not happen; nothing is walked then.
        Err(_) => Cursor::default(),
    };
    // The number of clients, which is known here.
    let _: Result<u64, _> = cursor.rest().read_var_uint();
    cursor
}
