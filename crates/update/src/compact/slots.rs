//! Which place of the document every element belongs to: a sequence of a type, or a key of one.
//!
//! Only some items name their parent. The others stand where their origin stands, so that places are
//! resolved in causal order, each struct after what it refers to. Neighbouring clocks mostly share a
//! place: per client there is one entry for each change of place, not for each struct.

use std::num::NonZeroU32;

use super::names::{Above, Names};
use crate::delete_set::DeleteSet;
use crate::growth::push;
use crate::ingest::visit_in_causal_order;
use crate::structs::{Body, Content, Id, Item, Parent, Struct};
use crate::text::Text;
use crate::update::Update;
use crate::{ClientId, Clock};

/// A place by its number.
pub(super) type Slot = u32;

/// Of what was collected, or stands beside or below something collected: Yjs keeps nothing but the
/// clocks of it.
pub(super) const GONE: Slot = 0;

/// An element in half the bytes of an [`Id`]: the number of its block, from one on, and its clock.
pub(super) type Element = (NonZeroU32, Clock);

/// A struct under a key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    pub(super) slot: Slot,
    pub(super) first: Element,
    pub(super) len: Clock,
    /// The element it was set over; none for the first of its key that its author saw.
    pub(super) origin: Option<Element>,
}

/// Structs can cost no bytes, so the lists of this module end at one entry for each byte of the
/// update. Small updates may have so many entries all the same.
const MIN_ENTRIES: usize = 65_536;

#[derive(Debug)]
struct Place {
    below: Below,
    has_key: bool,
    /// The order of its entries cannot be told from the update alone.
    is_uncertain: bool,
}

/// What has to live so that what stands in a place lives.
#[derive(Clone, Copy, Debug)]
enum Below {
    /// Nothing: it is collected anyway.
    Gone,
    /// Always there: a type of the document itself.
    Root,
    /// The item that is the parent.
    Item(Element),
    /// Both places. No client writes items whose neighbours stand in two; once what is in one of them
    /// is collected, Yjs collects those items too.
    Both(Slot, Slot),
}

/// Where one stretch of a client's clocks stands; it ends where the next one begins.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    start: Clock,
    slot: Slot,
}

/// What one client's visited structs are.
#[derive(Debug, Default)]
struct ClientSlots {
    stretches: Vec<Stretch>,
    /// Clocks of items that hold a type.
    types: Vec<Clock>,
}

/// The places of an update's ready elements.
#[derive(Debug)]
pub(super) struct Slots<'a> {
    places: Vec<Place>,
    names: Names<'a>,
    clients: Vec<ClientSlots>,
    /// Per block where the ready structs end.
    ready: Vec<Clock>,
    members: Vec<Member>,
    /// How many more entries the lists may take, all together.
    entries_left: Option<usize>,
}

impl<'a> Slots<'a> {
    /// Resolves every ready struct of an update; nothing when that would take more memory than a
    /// fixed multiple of the update.
    pub(super) fn resolve(update: &Update<'a>) -> Option<Self> {
        let mut slots = Slots {
            places: vec![Place {
                below: Below::Gone,
                has_key: false,
                is_uncertain: true,
            }],
            names: Names::default(),
            entries_left: Some(update.as_bytes().len().max(MIN_ENTRIES)),
            clients: update
                .blocks()
                .iter()
                .map(|_| ClientSlots::default())
                .collect(),
            ready: Vec::new(),
            members: Vec::new(),
        };
        slots.ready = visit_in_causal_order(update, &mut |block, next| {
            slots.visit(update, block, next);
        });
        slots.entries_left?;
        slots.look_at_pending(update);
        slots.names = Names::default();
        Some(slots)
    }

    /// Whether the lists may take one more entry; if not, nothing is resolved any more.
    fn may_grow(&mut self) -> bool {
        self.entries_left = self.entries_left.and_then(|left| left.checked_sub(1));
        self.entries_left.is_some()
    }

    /// Where the ready structs of a block end.
    pub(super) fn ready_end(&self, block: usize) -> Clock {
        self.ready.get(block).copied().unwrap_or_default()
    }

    /// The place of a ready element, [`GONE`] for one that is not there.
    pub(super) fn of(&self, block: usize, clock: Clock) -> Slot {
        let Some(client) = self.clients.get(block) else {
            return GONE;
        };
        let behind = client
            .stretches
            .partition_point(|stretch| stretch.start <= clock);
        let stretch = behind
            .checked_sub(1)
            .and_then(|index| client.stretches.get(index));
        stretch.map_or(GONE, |stretch| stretch.slot)
    }

    /// The structs under keys whose order is certain, one key after the other.
    pub(super) fn take_members(&mut self) -> Vec<Member> {
        let mut members = std::mem::take(&mut self.members);
        members.retain(|member| !self.is_uncertain(member.slot));
        members.sort_unstable_by_key(|member| (member.slot, member.origin, member.first));
        members
    }

    /// Per place whether it is below something deleted.
    pub(super) fn dead(&self, update: &Update<'_>, deletes: &DeleteSet) -> Vec<bool> {
        let mut dead: Vec<bool> = Vec::with_capacity(self.places.len());
        for place in &self.places {
            // What a place is below has a lower number: it was visited first.
            let of = |slot: Slot| {
                let known = usize::try_from(slot).ok().and_then(|slot| dead.get(slot));
                known.copied().unwrap_or(true)
            };
            let is_dead = match place.below {
                Below::Gone => true,
                Below::Root => false,
                Below::Item((block, clock)) => {
                    let is_deleted = client_of(update, block)
                        .is_none_or(|client| deletes.contains(client, clock));
                    is_deleted || of(self.of(place_of(block), clock))
                }
                Below::Both(left, right) => of(left) || of(right),
            };
            dead.push(is_dead);
        }
        dead
    }

    fn is_uncertain(&self, slot: Slot) -> bool {
        self.place(slot).is_none_or(|place| place.is_uncertain)
    }

    fn place(&self, slot: Slot) -> Option<&Place> {
        self.places.get(usize::try_from(slot).ok()?)
    }

    fn mark_uncertain(&mut self, slot: Slot) {
        let place = usize::try_from(slot)
            .ok()
            .and_then(|slot| self.places.get_mut(slot));
        if let Some(place) = place {
            place.is_uncertain = true;
        }
    }

    fn visit(&mut self, update: &Update<'a>, block: usize, next: &Struct<'a>) {
        if self.entries_left.is_none() {
            return;
        }
        let slot = match &next.body {
            Body::Item(item) => self.slot_of(update, item),
            Body::Gc | Body::Skip => GONE,
        };
        let last = self.clients.get(block).and_then(|of| of.stretches.last());
        if last.is_none_or(|last| last.slot != slot)
            && self.may_grow()
            && let Some(client) = self.clients.get_mut(block)
        {
            push(
                &mut client.stretches,
                Stretch {
                    start: next.clock,
                    slot,
                },
            );
        }
        let Body::Item(item) = &next.body else {
            return;
        };
        if matches!(item.content, Content::Type { .. })
            && self.may_grow()
            && let Some(client) = self.clients.get_mut(block)
        {
            push(&mut client.types, next.clock);
        }
        if self.place(slot).is_some_and(|place| place.has_key) {
            self.add_member(update, block, slot, next, item);
        }
    }

    fn add_member(
        &mut self,
        update: &Update<'a>,
        block: usize,
        slot: Slot,
        next: &Struct<'a>,
        item: &Item<'a>,
    ) {
        if item.right_origin.is_some() {
            self.mark_uncertain(slot);
        }
        let block = number_of(block);
        let origin = item.origin.and_then(|id| element(update, id));
        // Set over and over by one client: as if it were one struct.
        if let Some(last) = self.members.last_mut()
            && last.slot == slot
            && last.first.0 == block
            && last.first.1.checked_add(last.len) == Some(next.clock)
            && origin == next.clock.checked_sub(1).map(|clock| (block, clock))
        {
            last.len = last.len.saturating_add(next.len);
        } else if self.may_grow() {
            push(
                &mut self.members,
                Member {
                    slot,
                    first: (block, next.clock),
                    len: next.len,
                    origin,
                },
            );
        }
    }

    /// Where Yjs would put an item: with its neighbours, and nowhere if one of them is collected.
    fn slot_of(&mut self, update: &Update<'a>, item: &Item<'a>) -> Slot {
        let stands = |id: Id| {
            let block = update.block_index(id.client);
            block.map_or(GONE, |block| self.of(block, id.clock))
        };
        let left = item.origin.map(stands);
        let right = item.right_origin.map(stands);
        if left == Some(GONE) || right == Some(GONE) {
            return GONE;
        }
        match (left, right) {
            (Some(left), Some(right)) if left != right => return self.between(left, right),
            (Some(slot), _) | (None, Some(slot)) => return slot,
            (None, None) => {}
        }
        let above = match item.parent {
            Some(Parent::Root(name)) => Some(self.names.root(name)),
            Some(Parent::Item(id)) if self.is_type(update, id) => {
                element(update, id).map(Above::Item)
            }
            Some(Parent::Item(_)) | None => None,
        };
        above.map_or(GONE, |above| self.named(above, item.parent_sub))
    }

    fn is_type(&self, update: &Update<'a>, id: Id) -> bool {
        let client = update
            .block_index(id.client)
            .and_then(|block| self.clients.get(block));
        client.is_some_and(|client| client.types.binary_search(&id.clock).is_ok())
    }

    fn named(&mut self, above: Above, key: Option<Text<'a>>) -> Slot {
        if let Some(slot) = self.names.find(above, key) {
            return slot;
        }
        if !self.may_grow() {
            return GONE;
        }
        let slot = self.add_place(Place {
            below: match above {
                Above::Item(element) => Below::Item(element),
                Above::Root(_) => Below::Root,
            },
            has_key: key.is_some(),
            is_uncertain: false,
        });
        self.names.insert(above, key, slot);
        slot
    }

    /// The place of items whose neighbours stand in two places.
    fn between(&mut self, left: Slot, right: Slot) -> Slot {
        if let Some(slot) = self.names.by_sides.get(&(left, right)) {
            return *slot;
        }
        if !self.may_grow() {
            return GONE;
        }
        // Nothing is said about the keys of the two sides: what stands here may be collected, and then
        // they must count as they did before.
        let slot = self.add_place(Place {
            below: Below::Both(left, right),
            has_key: self.place(left).is_some_and(|place| place.has_key),
            is_uncertain: true,
        });
        self.names.by_sides.insert((left, right), slot);
        slot
    }

    fn add_place(&mut self, place: Place) -> Slot {
        let slot = slot_number(self.places.len());
        push(&mut self.places, place);
        slot
    }

    /// Marks the keys to which structs that are not ready will belong.
    fn look_at_pending(&mut self, update: &Update<'a>) {
        let mut walk = update.walk();
        for (index, block) in update.blocks().iter().enumerate() {
            let ready = self.ready_end(index);
            if block.end <= ready {
                continue;
            }
            walk.enter(block);
            for next in walk.by_ref().filter(|next| next.end() > ready) {
                let Body::Item(item) = &next.body else {
                    continue;
                };
                let beside = [item.origin, item.right_origin].into_iter().flatten();
                let beside = beside.filter_map(|id| {
                    let block = update.block_index(id.client)?;
                    (id.clock < self.ready_end(block)).then(|| self.of(block, id.clock))
                });
                let named = item.parent.and_then(|parent| {
                    let above = match parent {
                        Parent::Root(name) => self.names.known_root(name)?,
                        Parent::Item(id) => Above::Item(element(update, id)?),
                    };
                    self.names.find(above, item.parent_sub)
                });
                let touched: Vec<Slot> = beside.chain(named).collect();
                for slot in touched {
                    self.mark_uncertain(slot);
                }
            }
        }
    }
}

/// Updates have fewer places than a `u32` counts: each takes a struct.
fn slot_number(index: usize) -> Slot {
    Slot::try_from(index).unwrap_or(Slot::MAX)
}

/// Updates have fewer blocks than a `u32` counts: each takes some bytes.
fn number_of(block: usize) -> NonZeroU32 {
    let number = u32::try_from(block.saturating_add(1)).ok();
    number.and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MAX)
}

fn place_of(block: NonZeroU32) -> usize {
    usize::try_from(block.get()).map_or(usize::MAX, |number| number.saturating_sub(1))
}

fn element(update: &Update<'_>, id: Id) -> Option<Element> {
    let block = update.block_index(id.client)?;
    Some((number_of(block), id.clock))
}

/// The client of a block.
pub(super) fn client_of(update: &Update<'_>, block: NonZeroU32) -> Option<ClientId> {
    let block = update.blocks().get(place_of(block));
    block.map(|block| block.client)
}
