//! Laws of the algebra over random histories, and no harm from random bytes.

use std::collections::BTreeMap;

use epicenter_update::{
    Collect, Limits, Ready, StateVector, UpdateError, compact, content_digest, diff, ingest, to_v1,
    to_v2,
};
use proptest::prelude::*;

use crate::model::{Body, Content, Item, Model, Parent, Struct, elements, encode};
use crate::support::{Room, clocks, exercise, hex, merged, parse};

const CLIENTS: [u64; 3] = [3, 900, (1 << 53) - 1];

/// What one client wrote, and what everybody deleted.
#[derive(Clone, Debug, Default)]
struct World {
    structs: BTreeMap<u64, Vec<Struct>>,
}

#[derive(Clone, Debug)]
struct Write {
    client: usize,
    kind: u8,
    len: u32,
    near: u16,
    far: u16,
}

fn write() -> impl Strategy<Value = Write> {
    (
        0..CLIENTS.len(),
        0..12_u8,
        1..5_u32,
        any::<u16>(),
        any::<u16>(),
    )
        .prop_map(|(client, kind, len, near, far)| Write {
            client,
            kind,
            len,
            near,
            far,
        })
}

impl World {
    fn clock(&self, client: u64) -> u32 {
        let last = self.structs.get(&client).and_then(|structs| structs.last());
        last.map_or(0, |last| last.clock + last.len())
    }

    /// Any element written so far.
    fn element(&self, choice: u16) -> Option<(u64, u32)> {
        let total: u32 = CLIENTS.iter().map(|client| self.clock(*client)).sum();
        let mut place = u32::from(choice).checked_rem(total)?;
        for client in CLIENTS {
            if place < self.clock(client) {
                return Some((client, place));
            }
            place -= self.clock(client);
        }
        None
    }

    fn apply(&mut self, write: &Write) {
        let client = CLIENTS[write.client];
        let words = ["a😀b𝄞c", "déjà-vu", "plain", "日本語です"];
        let word: Vec<u16> = words[usize::from(write.near) % 4].encode_utf16().collect();
        let any = |n: u32| {
            [
                vec![125, n as u8],
                vec![119, 1, b'v'],
                vec![117, 1, 126],
                vec![127],
            ][n as usize % 4]
                .clone()
        };
        let content = match write.kind {
            0..4 => Content::Text(word.into_iter().take(5).collect()),
            4 | 5 => Content::Any((0..write.len).map(any).collect()),
            6 => Content::Deleted(write.len),
            7 => Content::Json((0..write.len).map(|n| format!("[{n}]")).collect()),
            8 => Content::Format("bold".into(), vec![120]),
            9 => Content::Type(3, Some("p".into())),
            10 => Content::Binary(vec![0; write.len as usize]),
            _ => Content::Document("doc".into(), vec![118, 0]),
        };
        let origin = self
            .element(write.near)
            .filter(|_| !write.far.is_multiple_of(5));
        let right = self
            .element(write.far)
            .filter(|_| write.far.is_multiple_of(3));
        let (parent, sub) = match (origin, right) {
            (None, None) => {
                let parent = match self.element(write.far) {
                    Some(id) if write.near.is_multiple_of(2) => Parent::Item(id),
                    _ => Parent::Root("root".into()),
                };
                (
                    Some(parent),
                    write.near.is_multiple_of(3).then(|| "key".to_owned()),
                )
            }
            _ => (None, None),
        };
        let body = match write.kind {
            6 if write.near.is_multiple_of(2) => Body::Gc(write.len),
            _ => Body::Item(Item {
                origin,
                right,
                parent,
                sub,
                content,
            }),
        };
        let clock = self.clock(client);
        self.structs
            .entry(client)
            .or_default()
            .push(Struct { clock, body });
    }

    /// The elements `from..to` of each client as one update.
    fn cut(&self, windows: &[(u16, u16)], deletes: &[(u16, u8)]) -> Vec<u8> {
        let mut model = Model::default();
        for (client, (start, end)) in CLIENTS.iter().zip(windows).rev() {
            let total = self.clock(*client) + 1;
            let (start, end) = (u32::from(*start) % total, u32::from(*end) % total);
            let structs: Vec<Struct> = self
                .structs
                .get(client)
                .into_iter()
                .flatten()
                .filter_map(|next| {
                    let from = outside_pairs(next, start.max(next.clock)) - next.clock;
                    let to = outside_pairs(next, end.min(next.clock + next.len()))
                        .checked_sub(next.clock)?;
                    (from < to).then(|| next.part(*client, from, to))
                })
                .collect();
            if !structs.is_empty() {
                model.blocks.push((*client, structs));
            }
        }
        let mut ranges: BTreeMap<u64, Vec<(u32, u32)>> = BTreeMap::new();
        for (choice, len) in deletes {
            if let Some((client, start)) = self.element(*choice) {
                let end = (start + u32::from(*len) + 1).min(self.clock(client));
                let of_client = ranges.entry(client).or_default();
                if of_client.last().is_none_or(|last| last.1 < start) {
                    of_client.push((start, end));
                }
            }
        }
        model.deletes = ranges.into_iter().rev().collect();
        encode(&model)
    }

    fn without_keys(mut self) -> Self {
        for next in self.structs.values_mut().flatten() {
            if let Body::Item(item) = &mut next.body {
                item.sub = None;
            }
        }
        self
    }

    fn whole(&self) -> Vec<u8> {
        let model = Model {
            blocks: self.structs.clone().into_iter().rev().collect(),
            deletes: Vec::new(),
        };
        encode(&model)
    }
}

/// The next place at or before a clock that does not cut a character: a cut one has two versions.
fn outside_pairs(next: &Struct, clock: u32) -> u32 {
    if let Body::Item(Item {
        content: Content::Text(units),
        ..
    }) = &next.body
        && let Some(at) = clock.checked_sub(next.clock)
        && let Some(unit) = units.get(at as usize)
        && (0xdc00..0xe000).contains(unit)
    {
        return clock - 1;
    }
    clock
}

type Cuts = Vec<(Vec<(u16, u16)>, Vec<(u16, u8)>)>;

fn cuts() -> impl Strategy<Value = Cuts> {
    let windows = prop::collection::vec((any::<u16>(), any::<u16>()), CLIENTS.len());
    let deletes = prop::collection::vec((any::<u16>(), 0..4_u8), 0..4);
    prop::collection::vec((windows, deletes), 1..8)
}

prop_compose! {
    fn world()(writes in prop::collection::vec(write(), 1..30)) -> World {
        let mut world = World::default();
        writes.iter().for_each(|write| world.apply(write));
        world
    }
}

fn updates(world: &World, cuts: &Cuts) -> Vec<Vec<u8>> {
    cuts.iter()
        .map(|(windows, deletes)| world.cut(windows, deletes))
        .collect()
}

/// Clocks that cut no character.
fn some_clocks(world: &World, choices: &[u16]) -> StateVector {
    let entries: Vec<(u64, u32)> = CLIENTS
        .iter()
        .zip(choices)
        .map(|(client, choice)| {
            let clock = u32::from(*choice) % (world.clock(*client) + 1);
            let mut structs = world.structs.get(client).into_iter().flatten();
            let holding = structs.rfind(|next| next.clock <= clock);
            (
                *client,
                holding.map_or(clock, |next| outside_pairs(next, clock)),
            )
        })
        .collect();
    clocks(&entries)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn merge_does_not_care_about_order_and_repetition(world in world(), cuts in cuts(), turn in any::<usize>()) {
        let inputs = updates(&world, &cuts);
        let output = merged(&inputs);
        let mut turned = inputs.clone();
        turned.rotate_left(turn % inputs.len());
        turned.extend_from_within(..turn % inputs.len());
        prop_assert_eq!(hex(&merged(&turned)), hex(&output));
        prop_assert_eq!(hex(&merged(&[&output])), hex(&output));
        let mut union = BTreeMap::new();
        for input in &inputs {
            union.extend(elements(input));
        }
        prop_assert_eq!(elements(&output), union);
    }

    #[test]
    fn merge_in_steps_means_the_same(world in world(), cuts in cuts(), split in any::<usize>()) {
        let inputs = updates(&world, &cuts);
        let (left, right) = inputs.split_at(split % inputs.len());
        let stepwise = merged(&[merged(left), merged(right)]);
        let at_once = merged(&inputs);
        prop_assert_eq!(elements(&stepwise), elements(&at_once));
        prop_assert_eq!(parse(&stepwise).summary(), parse(&at_once).summary());
    }

    #[test]
    fn a_diff_brings_exactly_what_was_missing(world in world(), cuts in cuts(), choices in prop::collection::vec(any::<u16>(), 3)) {
        let mut inputs = updates(&world, &cuts);
        inputs.push(world.whole());
        let all = merged(&inputs);
        let vector = some_clocks(&world, &choices);
        let missing = diff(&parse(&all), &vector);
        let expect: BTreeMap<_, _> = elements(&all)
            .into_iter()
            .filter(|((client, clock), _)| *clock >= vector.clock(*client))
            .collect();
        prop_assert_eq!(elements(&missing), expect);
        let had: Vec<(u16, u16)> = CLIENTS.iter().map(|client| (0, u16::try_from(vector.clock(*client)).unwrap())).collect();
        let restored = merged(&[world.cut(&had, &[]), missing]);
        prop_assert_eq!(elements(&restored), elements(&all));
        prop_assert_eq!(parse(&restored).deletes(), parse(&all).deletes());
    }

    #[test]
    fn ingest_loses_nothing_and_adds_nothing(world in world(), cuts in cuts(), choices in prop::collection::vec(any::<u16>(), 3)) {
        let known = some_clocks(&world, &choices);
        for input in updates(&world, &cuts) {
            let split = ingest(&parse(&input), &known);
            let ready = match &split.ready {
                Ready::Nothing => Vec::new(),
                Ready::Whole => vec![input.clone()],
                Ready::Part(part) => vec![part.clone()],
            };
            let mut new = BTreeMap::new();
            for part in ready.iter().chain(&split.pending) {
                for (id, element) in elements(part) {
                    prop_assert!(new.insert(id, element).is_none());
                }
            }
            let expect: BTreeMap<_, _> = elements(&input)
                .into_iter()
                .filter(|((client, clock), _)| *clock >= known.clock(*client))
                .collect();
            prop_assert_eq!(new, expect);
            let parts: Vec<&Vec<u8>> = ready.iter().chain(&split.pending).collect();
            let joined = merged(&parts);
            prop_assert!(parse(&joined).deletes() == parse(&input).deletes() || parse(&input).deletes().contains_all(&parse(&joined).deletes()));
        }
    }

    #[test]
    fn a_room_gets_everything_in_whatever_order(world in world(), cuts in cuts(), cut in any::<usize>()) {
        let mut inputs = updates(&world, &cuts);
        inputs.push(world.whole());
        let mut room = Room::default();
        for (index, input) in inputs.iter().enumerate() {
            room.receive(input);
            if index == cut % inputs.len() {
                room = room.reloaded();
            }
        }
        prop_assert!(room.pending.is_empty());
        let all = merged(&inputs);
        prop_assert_eq!(elements(&room.everything()), elements(&all));
        prop_assert_eq!(&room.deletes, &parse(&all).deletes());
        prop_assert_eq!(&room.known, &parse(&all).state_vector());
    }

    #[test]
    fn compaction_keeps_what_an_update_means(world in world(), cuts in cuts()) {
        let mut inputs = updates(&world, &cuts);
        // `exercise` compacts everything it is given, and compares.
        for input in &inputs {
            exercise(input, None).unwrap();
        }
        exercise(&merged(&inputs), Some(&inputs[0])).unwrap();
        inputs.push(world.whole());
        exercise(&merged(&inputs), None).unwrap();
    }

    /// Without keys: an entry that comes later can make uncertain what had been certain, and what was
    /// hidden by then stays deleted, as in Yjs.
    #[test]
    fn what_was_compacted_on_the_way_makes_no_difference(world in world(), cuts in cuts()) {
        let world = world.without_keys();
        let mut inputs = updates(&world, &cuts);
        let some = merged(&inputs);
        inputs.push(world.whole());
        let all = merged(&inputs);
        let early = compact(&parse(&some), Collect::Deleted);
        inputs.push(early);
        let late = merged(&inputs);
        prop_assert_eq!(content_digest(&parse(&late)), content_digest(&parse(&all)));
        prop_assert_eq!(compact(&parse(&late), Collect::Deleted), compact(&parse(&all), Collect::Deleted));
    }

    #[test]
    fn the_other_encoding_says_the_same(world in world(), cuts in cuts()) {
        for input in updates(&world, &cuts).iter().chain([&world.whole()]) {
            let canonical = merged(&[input]);
            let v1 = to_v1(&parse(input)).unwrap();
            prop_assert_eq!(to_v2(&v1, &Limits::default()).unwrap(), canonical);
        }
    }

    #[test]
    fn broken_bytes_do_no_harm_as_v1(world in world(), faults in prop::collection::vec((any::<u16>(), any::<u8>()), 1..4)) {
        let mut bytes = to_v1(&parse(&world.whole())).unwrap();
        for (at, byte) in faults {
            let at = usize::from(at) % bytes.len();
            bytes[at] = byte;
        }
        if let Ok(v2) = to_v2(&bytes, &Limits::default()) {
            exercise(&v2, None).unwrap();
        }
    }

    #[test]
    fn random_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _: Result<(), UpdateError> = exercise(&bytes, None);
    }

    #[test]
    fn broken_updates_do_no_harm(
        world in world(),
        cuts in cuts(),
        faults in prop::collection::vec((any::<u16>(), 0..4_u8, any::<u8>()), 1..4),
    ) {
        let inputs = updates(&world, &cuts);
        let mut bytes = merged(&inputs);
        for (at, kind, byte) in faults {
            let at = usize::from(at) % bytes.len();
            match kind {
                0 => bytes[at] = byte,
                1 => bytes[at] ^= 1 << (byte % 8),
                2 => bytes.insert(at, byte),
                _ => { bytes.remove(at); }
            }
            if bytes.is_empty() {
                bytes.push(0);
            }
        }
        let _: Result<(), UpdateError> = exercise(&bytes, Some(&inputs[0]));
    }
}
