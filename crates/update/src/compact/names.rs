//! The numbers of places by what names them.
//!
//! These are needed until every item has its place. A table has one entry for each of its keys, so
//! entries are small: 28 bytes.

use std::collections::BTreeMap;

use super::slots::{Element, Slot};
use crate::text::Text;

/// The parent that an item names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Above {
    /// A type of the document itself, by its number here.
    Root(u32),
    Item(Element),
}

/// A name of a map entry. Nearly all are whole texts; the others have more to say about their ends.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key<'a> {
    Whole(&'a str),
    Cut(Box<(u16, &'a str, u16)>),
}

#[derive(Debug, Default)]
pub(super) struct Names<'a> {
    roots: BTreeMap<Key<'a>, u32>,
    sequences: BTreeMap<Above, Slot>,
    keys_of_roots: BTreeMap<(u32, Key<'a>), Slot>,
    keys_of_items: BTreeMap<(Element, Key<'a>), Slot>,
    /// What stands between two places.
    pub(super) by_sides: BTreeMap<(Slot, Slot), Slot>,
}

impl<'a> Names<'a> {
    pub(super) fn root(&mut self, name: Text<'a>) -> Above {
        let next = u32::try_from(self.roots.len()).unwrap_or(u32::MAX);
        Above::Root(*self.roots.entry(Key::of(name)).or_insert(next))
    }

    /// The root of a name that came before.
    pub(super) fn known_root(&self, name: Text<'a>) -> Option<Above> {
        self.roots.get(&Key::of(name)).copied().map(Above::Root)
    }

    pub(super) fn find(&self, above: Above, key: Option<Text<'a>>) -> Option<Slot> {
        let slot = match (above, key) {
            (_, None) => self.sequences.get(&above),
            (Above::Root(root), Some(key)) => self.keys_of_roots.get(&(root, Key::of(key))),
            (Above::Item(item), Some(key)) => self.keys_of_items.get(&(item, Key::of(key))),
        };
        slot.copied()
    }

    pub(super) fn insert(&mut self, above: Above, key: Option<Text<'a>>, slot: Slot) {
        match (above, key) {
            (_, None) => self.sequences.insert(above, slot),
            (Above::Root(root), Some(key)) => self.keys_of_roots.insert((root, Key::of(key)), slot),
            (Above::Item(item), Some(key)) => self.keys_of_items.insert((item, Key::of(key)), slot),
        };
    }
}

impl<'a> Key<'a> {
    fn of(text: Text<'a>) -> Self {
        match text.as_whole_str() {
            Some(whole) => Key::Whole(whole),
            None => Key::Cut(Box::new(text.parts())),
        }
    }
}
