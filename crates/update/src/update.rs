//! A checked update: its bytes, where each client's structs begin, and how to walk them again.

use crate::cursor::{Columns, Context, Cursor, Depth, Keys};
use crate::delete_set::DeleteSet;
use crate::error::{Limits, UpdateError};
use crate::lib0::Reader;
use crate::structs::Struct;
use crate::text::Text;
use crate::{ClientId, Clock, MAX_CLOCK};

/// After so many bytes and structs the next block gets a checkpoint.
///
/// A block is reached by walking from the checkpoint before it, so this bounds that walk; it also
/// keeps the checkpoints (some 450 bytes each) to a few times the size of the input.
const CHECKPOINT_DISTANCE: usize = 64;

/// Keys that are named by number are written out in full again, so the bytes they stand for are
/// limited to this multiple of the input. Stock encoders never name a key by number.
const KEY_EXPANSION: usize = 4;

/// Checks that `bytes` are one V2 update, without keeping anything.
///
/// Updates as Yjs writes them are checked without allocating.
pub fn validate(bytes: &[u8], limits: &Limits) -> Result<(), UpdateError> {
    let columns = split_columns(bytes)?;
    let mut needs_table = false;
    let keys = Keys::Untracked {
        stopped: &mut needs_table,
    };
    match scan(&columns, limits, keys, &mut Discard) {
        Ok(scan) if scan.is_descending => Ok(()),
        Err(error) if !needs_table => Err(error),
        // Unusual: clients in another order, or keys named by number. Both need a list.
        Ok(_) | Err(_) => Update::parse(bytes, limits).map(drop),
    }
}

/// A V2 update whose structure has been checked; it borrows its bytes.
#[derive(Debug, Clone)]
pub struct Update<'a> {
    bytes: &'a [u8],
    text: &'a str,
    /// Highest client first.
    blocks: Blocks,
    /// In wire order.
    checkpoints: Vec<Checkpoint<'a>>,
    /// All keys, if any is named by number.
    keys: Vec<Text<'a>>,
    deletes_at: usize,
}

impl<'a> Update<'a> {
    /// Checks `bytes` and remembers where each client's structs are.
    pub fn parse(bytes: &'a [u8], limits: &Limits) -> Result<Self, UpdateError> {
        let columns = split_columns(bytes)?;
        let mut index = Index::default();
        let mut keys = Vec::new();
        let mut needs_table = false;
        let untracked = Keys::Untracked {
            stopped: &mut needs_table,
        };
        let mut result = scan(&columns, limits, untracked, &mut index);
        if needs_table {
            index = Index::default();
            let mut repeatable = bytes.len().saturating_mul(KEY_EXPANSION);
            let recorder = Keys::Record {
                table: &mut keys,
                repeatable: &mut repeatable,
            };
            result = scan(&columns, limits, recorder, &mut index);
        }
        let scan = result?;
        if !scan.is_descending {
            index.blocks.sort_by_client(bytes.len())?;
        }
        Ok(Update {
            bytes,
            text: columns.text,
            blocks: index.blocks,
            checkpoints: index.checkpoints,
            keys,
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

    /// The delete set as the update names it.
    pub(crate) fn delete_set(&self) -> DeleteSet {
        let mut ranges = Vec::new();
        self.for_each_delete(|client, start, end| ranges.push((client, start..end)));
        DeleteSet::from_ranges(ranges)
    }

    /// Visits the ranges of the delete set in wire order: client, first clock, end.
    pub(crate) fn for_each_delete(&self, mut visit: impl FnMut(ClientId, Clock, Clock)) {
        let mut rest = Reader::within(self.bytes, self.deletes_at, self.bytes.len());
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
        Walk {
            update: self,
            cursor: self.first_cursor(),
            ordinal: 0,
            client: 0,
            clock: 0,
            left: 0,
        }
    }

    /// A walk over the structs of one block.
    pub(crate) fn walk_block(&self, block: &Block) -> Walk<'_, 'a> {
        let mut walk = self.walk();
        walk.enter(block);
        walk
    }

    fn first_cursor(&self) -> Cursor<'a> {
        let columns = header(self.bytes).map(|header| header.columns(self.bytes, self.text));
        match columns {
            Ok(mut columns) => {
                // The number of clients, which is known here.
                let _: Result<u64, _> = columns.rest.read_var_uint();
                Cursor::new(&columns)
            }
            // The header was read before, so this does not happen; nothing is walked then.
            Err(_) => Cursor::new(&Header::default().columns(&[], "")),
        }
    }
}

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
    ordinal: u32,
}

impl Block {
    /// Nothing but gaps.
    pub(crate) fn is_empty(&self) -> bool {
        self.first >= self.end
    }

    fn add(&mut self, next: &Struct<'_>) {
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
enum Blocks {
    One(Option<Block>),
    Many(Vec<Block>),
}

impl Default for Blocks {
    fn default() -> Self {
        Blocks::One(None)
    }
}

impl Blocks {
    fn as_slice(&self) -> &[Block] {
        match self {
            Blocks::One(block) => block.as_slice(),
            Blocks::Many(blocks) => blocks,
        }
    }

    fn push(&mut self, block: Block) {
        match self {
            Blocks::One(None) => *self = Blocks::One(Some(block)),
            Blocks::One(Some(first)) => *self = Blocks::Many(vec![*first, block]),
            Blocks::Many(blocks) => blocks.push(block),
        }
    }

    fn sort_by_client(&mut self, offset: usize) -> Result<(), UpdateError> {
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

#[derive(Clone, Debug)]
struct Checkpoint<'a> {
    /// The block that comes next.
    ordinal: u32,
    cursor: Cursor<'a>,
}

/// Reads the structs of a checked update, block by block.
#[derive(Clone, Debug)]
pub(crate) struct Walk<'u, 'a> {
    update: &'u Update<'a>,
    cursor: Cursor<'a>,
    /// The block whose head comes next once `left` is used up.
    ordinal: u32,
    client: ClientId,
    clock: Clock,
    /// Structs of the current block that are still to come.
    left: u64,
}

impl<'a> Walk<'_, 'a> {
    /// Goes to the first struct of a block of the same update.
    pub(crate) fn enter(&mut self, block: &Block) {
        let checkpoints = &self.update.checkpoints;
        let nearest = checkpoints
            .partition_point(|checkpoint| checkpoint.ordinal <= block.ordinal)
            .checked_sub(1)
            .and_then(|index| checkpoints.get(index));
        let from = nearest.map_or(0, |checkpoint| checkpoint.ordinal);
        let is_on_the_way = self.left == 0 && self.ordinal >= from && self.ordinal <= block.ordinal;
        if !is_on_the_way {
            self.cursor = match nearest {
                Some(checkpoint) => checkpoint.cursor,
                None => self.update.first_cursor(),
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
        let mut context = checked_context(&self.update.keys);
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

/// A context for bytes that were checked before: nothing is refused any more.
fn checked_context<'k, 'a>(keys: &'k [Text<'a>]) -> Context<'k, 'a> {
    Context {
        depth: Depth::Checked,
        keys: Keys::Table(keys),
        refusal: None,
    }
}

/// Where the columns are: each one's first byte and end, the string column's text apart.
#[derive(Default)]
struct Header {
    columns: [(usize, usize); 9],
    text: (usize, usize),
    rest: usize,
    has_flags: bool,
}

impl Header {
    fn columns<'a>(&self, bytes: &'a [u8], text: &'a str) -> Columns<'a> {
        let [
            key_clock,
            client,
            left_clock,
            right_clock,
            info,
            text_lengths,
            parent_info,
            type_ref,
            len,
        ] = self
            .columns
            .map(|(start, end)| Reader::within(bytes, start, end));
        Columns {
            key_clock,
            client,
            left_clock,
            right_clock,
            info,
            text,
            text_lengths,
            parent_info,
            type_ref,
            len,
            rest: Reader::within(bytes, self.rest, bytes.len()),
            has_flags: self.has_flags,
        }
    }
}

/// Place of the string column among the columns.
const TEXT_COLUMN: usize = 5;

fn header(bytes: &[u8]) -> Result<Header, UpdateError> {
    let mut reader = Reader::new(bytes);
    let mut header = Header {
        has_flags: reader.read_var_uint()? != 0,
        ..Header::default()
    };
    for (place, column) in header.columns.iter_mut().enumerate() {
        let bytes_of_column = reader.read_var_bytes()?;
        let end = reader.position();
        let start = end.saturating_sub(bytes_of_column.len());
        *column = (start, end);
        if place == TEXT_COLUMN {
            let mut text = Reader::within(bytes, start, end);
            let found = text.read_var_bytes()?;
            let text_end = text.position();
            header.text = (text_end.saturating_sub(found.len()), text_end);
            *column = (text_end, end);
        }
    }
    header.rest = reader.position();
    Ok(header)
}

fn split_columns(bytes: &[u8]) -> Result<Columns<'_>, UpdateError> {
    let header = header(bytes)?;
    let (start, end) = header.text;
    let text = bytes.get(start..end).unwrap_or_default();
    let text = std::str::from_utf8(text).map_err(|error| {
        UpdateError::malformed(
            start.saturating_add(error.valid_up_to()),
            "a string column that is not UTF-8",
        )
    })?;
    Ok(header.columns(bytes, text))
}

/// What a scan tells about the blocks it passes.
trait Sink<'a> {
    fn checkpoint(&mut self, ordinal: u32, cursor: &Cursor<'a>);
    fn block(&mut self, block: Block);
}

struct Discard;

impl<'a> Sink<'a> for Discard {
    fn checkpoint(&mut self, _: u32, _: &Cursor<'a>) {}
    fn block(&mut self, _: Block) {}
}

#[derive(Default)]
struct Index<'a> {
    blocks: Blocks,
    checkpoints: Vec<Checkpoint<'a>>,
}

impl<'a> Sink<'a> for Index<'a> {
    fn checkpoint(&mut self, ordinal: u32, cursor: &Cursor<'a>) {
        self.checkpoints.push(Checkpoint {
            ordinal,
            cursor: *cursor,
        });
    }

    fn block(&mut self, block: Block) {
        self.blocks.push(block);
    }
}

struct Scan {
    /// Blocks come highest client first, which also shows that no client comes twice.
    is_descending: bool,
    deletes_at: usize,
}

const REPEATED_CLIENT: &str = "a client that comes twice";

/// The one complete check of an update.
fn scan<'a>(
    columns: &Columns<'a>,
    limits: &Limits,
    keys: Keys<'_, 'a>,
    sink: &mut impl Sink<'a>,
) -> Result<Scan, UpdateError> {
    let mut context = Context {
        depth: Depth::Full {
            max_nesting: limits.max_nesting,
        },
        keys,
        refusal: None,
    };
    if columns.has_flags {
        context.refuse(0, "unknown feature flags");
    }
    let mut cursor = Cursor::new(columns);
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
fn read_deletes<'a>(
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
