//! The updates of a merge: checked before, or bytes of which next to nothing is kept.

use super::{Leaf, number_of};
use crate::growth::push;
use crate::update::{Update, Walk};

/// Updates by their number.
pub(super) trait Inputs<'a> {
    fn len(&self) -> usize;

    fn bytes(&self, update: u32) -> &'a [u8];

    /// The structs of a block.
    fn walk(&self, leaf: &Leaf) -> Walk<'_, 'a>;
}

impl<'a> Inputs<'a> for [Update<'a>] {
    fn len(&self) -> usize {
        <[Update<'a>]>::len(self)
    }

    fn bytes(&self, update: u32) -> &'a [u8] {
        at(self, update).map_or(&[], Update::as_bytes)
    }

    fn walk(&self, leaf: &Leaf) -> Walk<'_, 'a> {
        walk_block(at(self, leaf.update), leaf)
    }
}

/// Updates that were checked and are read again when their turn comes.
pub(super) struct Encoded<'a, B> {
    bytes: &'a [B],
    /// Those that the bytes alone are not enough for, by their number.
    kept: Vec<(u32, Update<'a>)>,
}

impl<'a, B> Encoded<'a, B> {
    pub(super) fn new(bytes: &'a [B]) -> Self {
        Encoded {
            bytes,
            kept: Vec::new(),
        }
    }

    /// Takes note of an update that was checked; their numbers ascend.
    pub(super) fn keep(&mut self, index: usize, update: Update<'a>) {
        if !update.is_simple() {
            push(&mut self.kept, (number_of(index), update));
        }
    }
}

impl<'a, B: AsRef<[u8]>> Inputs<'a> for Encoded<'a, B> {
    fn len(&self) -> usize {
        self.bytes.len()
    }

    fn bytes(&self, update: u32) -> &'a [u8] {
        at(self.bytes, update).map_or(&[], AsRef::as_ref)
    }

    fn walk(&self, leaf: &Leaf) -> Walk<'_, 'a> {
        let kept = self
            .kept
            .binary_search_by_key(&leaf.update, |(index, _)| *index);
        match kept.ok().and_then(|place| self.kept.get(place)) {
            Some((_, update)) => walk_block(Some(update), leaf),
            None => Walk::again(self.bytes(leaf.update)),
        }
    }
}

fn walk_block<'u, 'a>(update: Option<&'u Update<'a>>, leaf: &Leaf) -> Walk<'u, 'a> {
    let found = update.and_then(|update| Some((update, at(update.blocks(), leaf.block)?)));
    match found {
        Some((update, block)) => update.walk_block(block),
        // Leaves name blocks that are there, so this does not happen; nothing is walked then.
        None => Walk::again(&[]),
    }
}

fn at<T>(list: &[T], index: u32) -> Option<&T> {
    list.get(usize::try_from(index).ok()?)
}
