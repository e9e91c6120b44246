//! Garbage collection as Yjs does it, on an update.
//!
//! What is deleted loses its content, what is below something deleted loses everything but its
//! clocks, and neighbours that mean the same as one become one. No id changes, so edits made against
//! the update as it was, undo among them, still find their places.

mod names;
mod slots;
mod winners;

use slots::Slots;

use crate::Clock;
use crate::delete_set::{DeleteRanges, DeleteSet, Ranges};
use crate::encoder::Encoder;
use crate::structs::{Body, Content, Struct};
use crate::update::Update;

/// What becomes of deleted content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Collect {
    /// It is dropped, as by a Yjs document with `gc: true`.
    #[default]
    Deleted,
    /// It is kept; only neighbours are joined.
    Nothing,
}

/// The same document in fewer bytes.
///
/// Structs whose dependencies are not all in the update, and deletes of clocks that are not in it,
/// stay as they are; so does the whole of an update whose structs stand in more places than it has
/// bytes, which no document does that is worth collecting. The result depends on the meaning of the update only, and compacting it again
/// changes nothing.
pub fn compact(update: &Update<'_>, collect: Collect) -> Vec<u8> {
    let mut encoder = Encoder::default();
    let deletes = walk_pieces(update, collect, &mut |piece| match piece {
        Piece::Ready(next, state) => encoder.push_joined(&next, state == State::Deleted),
        Piece::Pending(next) => encoder.push(&next),
    });
    encoder.finish(&deletes)
}

/// Whether a piece still shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Living,
    Deleted,
}

/// A struct, or the part of one that is in one state.
pub(crate) enum Piece<'a> {
    Ready(Struct<'a>, State),
    /// Waits for something that is not in the update.
    Pending(Struct<'a>),
}

/// Cuts every struct by what is deleted, in the order of the update; gives all deletes that are
/// known afterwards, those that follow from the structure included.
pub(crate) fn walk_pieces<'a>(
    update: &Update<'a>,
    collect: Collect,
    visit: &mut impl FnMut(Piece<'a>),
) -> DeleteSet {
    let Some(mut slots) = Slots::resolve(update) else {
        return walk_unresolved(update, visit);
    };
    let mut deletes = update.delete_ranges();
    winners::add_hidden(update, &slots.take_members(), &mut deletes);
    let mut deletes = deletes.finish();
    let dead = slots.dead(update, &deletes);

    let mut derived = DeleteRanges::default();
    let mut walk = update.walk();
    for (index, block) in update.blocks().iter().enumerate() {
        walk.enter(block);
        let ready = slots.ready_end(index);
        let mut ranges = deletes.ranges(block.client);
        // Structs can cost no bytes, so neighbours share an entry.
        let mut open = 0..0;
        for next in walk.by_ref().filter(|next| !next.is_skip()) {
            if next.end() > ready {
                visit(Piece::Pending(next));
                continue;
            }
            let slot = usize::try_from(slots.of(index, next.clock)).ok();
            let is_dead = slot
                .and_then(|slot| dead.get(slot))
                .is_none_or(|dead| *dead);
            if !is_dead && !next.is_deleted() {
                cut(next, &mut ranges, collect, visit);
                continue;
            }
            if open.end != next.clock {
                derived.add(block.client, open);
                open = next.clock..next.clock;
            }
            open.end = next.end();
            visit(Piece::Ready(
                collected(next, is_dead, collect),
                State::Deleted,
            ));
        }
        derived.add(block.client, open);
    }
    deletes.extend(&derived.finish());
    deletes
}

/// An update whose places are too many for its bytes: everything stays as it is.
fn walk_unresolved<'a>(update: &Update<'a>, visit: &mut impl FnMut(Piece<'a>)) -> DeleteSet {
    let mut walk = update.walk();
    for block in update.blocks() {
        walk.enter(block);
        for next in walk.by_ref().filter(|next| !next.is_skip()) {
            visit(Piece::Pending(next));
        }
    }
    update.delete_set()
}

/// Cuts a living struct where its elements begin or cease to be deleted.
fn cut<'a>(
    mut next: Struct<'a>,
    ranges: &mut Ranges<'_>,
    collect: Collect,
    visit: &mut impl FnMut(Piece<'a>),
) {
    let end = next.end();
    while next.clock < end {
        let deleted = ranges.first_from(next.clock);
        let (state, piece_end) = match deleted {
            Some(range) if range.start <= next.clock => (State::Deleted, range.end.min(end)),
            Some(range) => (State::Living, range.start.min(end)),
            None => (State::Living, end),
        };
        let len: Clock = piece_end.saturating_sub(next.clock);
        let mut piece = next;
        piece.truncate(len);
        let piece = match state {
            State::Living => piece,
            State::Deleted => collected(piece, false, collect),
        };
        visit(Piece::Ready(piece, state));
        if piece_end < end {
            next.skip_elements(len);
            next.mend_front();
        } else {
            break;
        }
    }
}

/// What is left of a deleted struct: its clocks where nothing can refer to a place in it any more,
/// else its place too.
fn collected<'a>(mut deleted: Struct<'a>, is_dead: bool, collect: Collect) -> Struct<'a> {
    if collect == Collect::Deleted {
        match &mut deleted.body {
            body @ Body::Item(_) if is_dead => *body = Body::Gc,
            Body::Item(item) => item.content = Content::Deleted,
            Body::Gc | Body::Skip => {}
        }
    }
    deleted
}
