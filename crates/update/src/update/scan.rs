//! The one complete check of an update, and the reading of delete sets.

use std::ops::Range;

use super::blocks::{Block, Blocks, Checkpoint, REPEATED_CLIENT};
use crate::cursor::{Context, Cursor, Depth, Keys, Opened};
use crate::delete_set::DeleteRanges;
use crate::error::{Limits, UpdateError};
use crate::lib0::Reader;
use crate::text::Text;
use crate::{ClientId, Clock, MAX_CLOCK};

/// After so many bytes and structs the next block gets a checkpoint.
///
/// A block is reached by walking from the checkpoint before it, so this bounds that walk; it also
/// keeps the checkpoints (some 450 bytes each) to a few times the size of the input.
const CHECKPOINT_DISTANCE: usize = 64;

/// What a scan tells about what it passes.
pub(super) trait Sink<'a> {
    fn checkpoint(&mut self, ordinal: u32, cursor: &Cursor<'a>);
    fn block(&mut self, block: Block);
    /// The clocks of a struct that holds only deleted or collected content.
    fn deleted(&mut self, client: ClientId, clocks: Range<Clock>);
}

pub(super) struct Discard;

impl<'a> Sink<'a> for Discard {
    fn checkpoint(&mut self, _: u32, _: &Cursor<'a>) {}
    fn block(&mut self, _: Block) {}
    fn deleted(&mut self, _: ClientId, _: Range<Clock>) {}
}

impl<'a> Sink<'a> for Blocks<'a> {
    fn checkpoint(&mut self, ordinal: u32, cursor: &Cursor<'a>) {
        self.push_checkpoint(Checkpoint {
            ordinal,
            cursor: *cursor,
        });
    }

    fn block(&mut self, block: Block) {
        self.push(block);
    }

    fn deleted(&mut self, _: ClientId, _: Range<Clock>) {}
}

/// The blocks, and what is deleted.
#[derive(Default)]
pub(super) struct BlocksAndDeletes<'a> {
    pub(super) blocks: Blocks<'a>,
    pub(super) deletes: DeleteRanges,
}

impl<'a> Sink<'a> for BlocksAndDeletes<'a> {
    fn checkpoint(&mut self, ordinal: u32, cursor: &Cursor<'a>) {
        self.blocks.checkpoint(ordinal, cursor);
    }

    fn block(&mut self, block: Block) {
        self.blocks.block(block);
    }

    fn deleted(&mut self, client: ClientId, clocks: Range<Clock>) {
        self.deletes.add(client, clocks);
    }
}

pub(super) struct Scan<'a> {
    /// The text of the string column.
    pub(super) text: &'a str,
    /// Blocks come highest client first, which also shows that no client comes twice.
    pub(super) is_descending: bool,
    pub(super) deletes_at: usize,
}

/// The one complete check of an update.
pub(super) fn scan<'a>(
    bytes: &'a [u8],
    limits: &Limits,
    keys: Keys<'_, 'a>,
    sink: &mut impl Sink<'a>,
) -> Result<Scan<'a>, UpdateError> {
    let Opened {
        mut cursor,
        text,
        has_flags,
    } = Cursor::open(bytes, None)?;
    let mut context = Context {
        depth: Depth::Full {
            max_nesting: limits.max_nesting,
        },
        keys,
        refusal: None,
    };
    if has_flags {
        context.refuse(0, "unknown feature flags");
    }
    let clients = cursor.rest().read_var_uint()?;
    let mut structs_left = u64::from(limits.max_structs);
    let mut is_descending = true;
    let mut last_client = ClientId::MAX;
    let mut distance: usize = 0;
    let mut ordinal: u32 = 0;
    for _ in 0..clients {
        let start = cursor.position();
        if distance >= CHECKPOINT_DISTANCE {
            sink.checkpoint(ordinal, &cursor);
            distance = 0;
        }
        let head = cursor.read_block_head(&mut context)?;
        structs_left = structs_left
            .checked_sub(head.structs)
            .ok_or(UpdateError::refused(start, "max_structs"))?;
        is_descending = is_descending && head.client < last_client;
        last_client = head.client;
        let mut block = Block {
            client: head.client,
            first: MAX_CLOCK,
            contiguous: MAX_CLOCK,
            end: 0,
            ordinal,
        };
        let mut clock = head.clock;
        for _ in 0..head.structs {
            let next = cursor.read_struct(head.client, clock, &mut context)?;
            block.add(&next);
            if next.is_deleted() {
                sink.deleted(head.client, clock..next.end());
            }
            clock = next.end();
        }
        block.contiguous = block.contiguous.min(block.end);
        sink.block(block);
        let bytes = cursor.position().saturating_sub(start);
        let structs = usize::try_from(head.structs).unwrap_or(usize::MAX);
        distance = distance.saturating_add(bytes).saturating_add(structs);
        ordinal = ordinal
            .checked_add(1)
            .ok_or(UpdateError::refused(start, "too many clients"))?;
    }
    let deletes_at = cursor.position();
    check_deletes(cursor.rest(), &mut context)?;
    if let Some(refusal) = context.refusal {
        return Err(refusal);
    }
    let end = cursor.position();
    if !cursor.rest().is_at_end() {
        return Err(UpdateError::refused(end, "bytes after the update"));
    }
    cursor.check_consumed()?;
    Ok(Scan {
        text,
        is_descending,
        deletes_at,
    })
}

fn check_deletes<'a>(
    rest: &mut Reader<'a>,
    context: &mut Context<'_, 'a>,
) -> Result<(), UpdateError> {
    let mut again = *rest;
    if read_deletes(rest, context, &mut |_, _, _| {})? {
        return Ok(());
    }
    // Clients in another order than Yjs writes them: a list shows whether one comes twice. Each of
    // them took at least two bytes.
    let mut clients = Vec::new();
    for _ in 0..again.read_var_uint()? {
        clients.push(again.read_var_uint()?);
        for _ in 0..again.read_var_uint()? {
            again.read_var_uint()?;
            again.read_var_uint()?;
        }
    }
    clients.sort_unstable();
    let is_unique = clients
        .iter()
        .zip(clients.iter().skip(1))
        .all(|(left, right)| left != right);
    if !is_unique {
        context.refuse(rest.position(), REPEATED_CLIENT);
    }
    Ok(())
}

/// Reads a delete set; tells whether its clients come highest first.
pub(super) fn read_deletes<'a>(
    rest: &mut Reader<'a>,
    context: &mut Context<'_, 'a>,
    visit: &mut impl FnMut(ClientId, Clock, Clock),
) -> Result<bool, UpdateError> {
    let mut is_descending = true;
    let mut last_client = ClientId::MAX;
    for _ in 0..rest.read_var_uint()? {
        let at = rest.position();
        let client = context.client(rest.read_var_uint()?, at);
        is_descending = is_descending && client < last_client;
        last_client = client;
        let mut clock: u64 = 0;
        for _ in 0..rest.read_var_uint()? {
            let at = rest.position();
            let start = clock.saturating_add(rest.read_var_uint()?);
            let len = rest.read_var_uint()?.saturating_add(1);
            clock = start.saturating_add(len);
            let end = context.clock(clock, at);
            visit(client, context.clock(start, at), end);
        }
    }
    Ok(is_descending)
}

/// A context for bytes that were checked before: nothing is refused any more.
pub(super) fn checked_context<'k, 'a>(keys: &'k [Text<'a>]) -> Context<'k, 'a> {
    Context {
        depth: Depth::Checked,
        keys: Keys::Table(keys),
        refusal: None,
    }
}
