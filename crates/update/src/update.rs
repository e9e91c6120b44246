//! A checked update: its bytes, where each client's structs begin, and how to walk them again.

mod blocks;
mod scan;
mod walk;

pub(crate) use blocks::Block;
pub(crate) use walk::Walk;

use blocks::Blocks;
use scan::{BlocksAndDeletes, Discard, Scan, Sink, checked_context, read_deletes, scan};

use crate::cursor::Keys;
use crate::delete_set::{DeleteRanges, DeleteSet};
use crate::error::{Limits, UpdateError};
use crate::lib0::Reader;
use crate::text::Text;
use crate::{ClientId, Clock};

/// Keys that are named by number are written out in full again, so the bytes they stand for are
/// limited to this multiple of the input. Stock encoders never name a key by number.
const KEY_EXPANSION: usize = 4;

/// Checks that `bytes` are one V2 update, without keeping anything.
///
/// Updates as Yjs writes them are checked without allocating.
pub fn validate(bytes: &[u8], limits: &Limits) -> Result<(), UpdateError> {
    let mut needs_table = false;
    let keys = Keys::Untracked {
        stopped: &mut needs_table,
    };
    match scan(bytes, limits, keys, &mut Discard) {
        Ok(scan) if scan.is_descending => Ok(()),
        Err(error) if !needs_table => Err(error),
        // Unusual: clients in another order, or keys named by number. Both need a list.
        Ok(_) | Err(_) => Update::parse(bytes, limits).map(drop),
    }
}

/// Scans into a new sink, and once more with a table of keys where any is named by number.
fn scan_with_keys<'a, S: Sink<'a> + Default>(
    bytes: &'a [u8],
    limits: &Limits,
) -> Result<(Scan<'a>, S, Vec<Text<'a>>), UpdateError> {
    let mut sink = S::default();
    let mut needs_table = false;
    let untracked = Keys::Untracked {
        stopped: &mut needs_table,
    };
    let mut result = scan(bytes, limits, untracked, &mut sink);
    let mut keys = Vec::new();
    if needs_table {
        sink = S::default();
        let mut repeatable = bytes.len().saturating_mul(KEY_EXPANSION);
        let recorder = Keys::Record {
            table: &mut keys,
            repeatable: &mut repeatable,
        };
        result = scan(bytes, limits, recorder, &mut sink);
    }
    Ok((result?, sink, keys))
}

/// A V2 update whose structure has been checked; it borrows its bytes.
#[derive(Debug, Clone)]
pub struct Update<'a> {
    bytes: &'a [u8],
    text: &'a str,
    blocks: Blocks<'a>,
    deletes_at: usize,
}

impl<'a> Update<'a> {
    /// Checks `bytes` and remembers where each client's structs are.
    pub fn parse(bytes: &'a [u8], limits: &Limits) -> Result<Self, UpdateError> {
        let (scan, blocks, keys) = scan_with_keys::<Blocks<'a>>(bytes, limits)?;
        Self::of(bytes, scan, blocks, keys)
    }

    /// The same together with [`Update::deletes`], which cost one look at the structs and not a second one.
    pub fn parse_with_deletes(
        bytes: &'a [u8],
        limits: &Limits,
    ) -> Result<(Self, DeleteSet), UpdateError> {
        let (scan, sink, keys) = scan_with_keys::<BlocksAndDeletes<'a>>(bytes, limits)?;
        let update = Self::of(bytes, scan, sink.blocks, keys)?;
        let mut deletes = sink.deletes;
        update.for_each_delete(|client, start, end| deletes.add(client, start..end));
        Ok((update, deletes.finish()))
    }

    fn of(
        bytes: &'a [u8],
        scan: Scan<'a>,
        mut blocks: Blocks<'a>,
        keys: Vec<Text<'a>>,
    ) -> Result<Self, UpdateError> {
        if !scan.is_descending {
            blocks.sort_by_client(bytes.len())?;
        }
        blocks.set_keys(keys);
        Ok(Update {
            bytes,
            text: scan.text,
            blocks,
            deletes_at: scan.deletes_at,
        })
    }

    /// The bytes that were checked.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// No structs and no deletes.
    pub fn is_empty(&self) -> bool {
        let mut has_deletes = false;
        self.for_each_delete(|_, _, _| has_deletes = true);
        !has_deletes && self.blocks().iter().all(Block::is_empty)
    }

    /// The delete set as the update names it; [`Update::deletes`] is the normalised one.
    pub fn delete_set(&self) -> DeleteSet {
        self.delete_ranges().finish()
    }

    /// The ranges that the delete set names, to which others may be added.
    pub(crate) fn delete_ranges(&self) -> DeleteRanges {
        let mut ranges = DeleteRanges::default();
        self.for_each_delete(|client, start, end| ranges.add(client, start..end));
        ranges
    }

    /// Visits the ranges of the delete set in wire order: client, first clock, end.
    pub(crate) fn for_each_delete(&self, mut visit: impl FnMut(ClientId, Clock, Clock)) {
        let mut rest = Reader::at(self.bytes, self.deletes_at);
        // The bytes were checked before, so this succeeds.
        let mut context = checked_context(&[]);
        let _: Result<bool, UpdateError> = read_deletes(&mut rest, &mut context, &mut visit);
    }

    /// The clients with structs, highest first.
    pub(crate) fn blocks(&self) -> &[Block] {
        self.blocks.as_slice()
    }

    /// The block of one client.
    pub(crate) fn block_index(&self, client: ClientId) -> Option<usize> {
        self.blocks()
            .binary_search_by(|block| client.cmp(&block.client))
            .ok()
    }

    /// A walk that stands before the first block.
    pub(crate) fn walk(&self) -> Walk<'_, 'a> {
        Walk::new(self)
    }

    /// A walk over the structs of one block.
    pub(crate) fn walk_block(&self, block: &Block) -> Walk<'_, 'a> {
        let mut walk = Walk::new(self);
        walk.enter(block);
        walk
    }

    /// Whether the bytes alone are enough to walk the structs again, see [`Walk::again`].
    pub(crate) fn is_simple(&self) -> bool {
        matches!(self.blocks, Blocks::One(_))
    }
}
