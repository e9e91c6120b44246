//! How much memory the operations take: none for the common case, a fixed multiple for the worst.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use epicenter_update::{
    Collect, Limits, Ready, Update, compact, content_digest, diff, ingest, merge, merge_bytes,
    to_v1, to_v2, validate,
};

use crate::model::{Body, Content, Item, Parent, after, block, root_item, text, update};
use crate::support::{bytes_of, clocks, vectors};

thread_local! {
    static CALLS: Cell<usize> = const { Cell::new(0) };
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

struct Counting;

fn count(change: isize) {
    // A thread that ends has no counters any more.
    let _: Result<(), _> = HELD.try_with(|held| {
        held.set(held.get() + change);
        PEAK.with(|peak| peak.set(peak.get().max(held.get())));
    });
    if change > 0 {
        let _: Result<(), _> = CALLS.try_with(|calls| calls.set(calls.get() + 1));
    }
}

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // The old and the new block may both be held while the bytes are copied.
        count(new_size as isize);
        count(-(layout.size() as isize));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Calls of the allocator and the most bytes held at once beyond those held before.
fn measure<T>(work: impl FnOnce() -> T) -> (usize, usize, T) {
    CALLS.set(0);
    let before = HELD.get();
    PEAK.set(before);
    let result = work();
    let peak = usize::try_from(PEAK.get() - before).unwrap();
    (CALLS.get(), peak, result)
}

#[test]
fn checking_what_yjs_writes_allocates_nothing() {
    let limits = Limits::default();
    for case in vectors("sync-frames.json") {
        if case["kind"] != "doc" {
            continue;
        }
        let mut inputs = vec![bytes_of(&case["stateV2"])];
        let updates = case["updates"].as_array().unwrap();
        inputs.extend(updates.iter().map(|update| bytes_of(&update["updateV2"])));
        for bytes in inputs {
            let (calls, _, result) = measure(|| validate(&bytes, &limits));
            assert_eq!((calls, result), (0, Ok(())));
        }
    }
}

#[test]
fn a_typed_letter_costs_one_allocation_to_take_in() {
    let typed = Body::Item(after((7, 99), text("x")));
    let bytes = update(vec![block(7, 100, vec![typed])], &[]);
    let known = clocks(&[(7, 100)]);
    let (calls, _, result) =
        measure(|| ingest(&Update::parse(&bytes, &Limits::default()).unwrap(), &known));
    assert_eq!(result.ready, Ready::Whole);
    // The entry of the advanced clock.
    assert_eq!(calls, 1);
}

/// The most bytes held at once, as a part of the input or of the output, whichever is longer. A list
/// counts twice while it grows, which the system's allocator avoids where lists are long.
fn check_multiple(name: &str, bytes: usize, most: f64, work: impl FnOnce() -> usize) {
    let (_, peak, out) = measure(work);
    let multiple = peak as f64 / bytes.max(out) as f64;
    assert!(multiple <= most, "{name}: {multiple:.2} times");
}

/// One letter typed behind the last one by client 7.
fn typed(clock: u32) -> Body {
    let letter = text("x");
    Body::Item(match clock.checked_sub(1) {
        Some(last) => after((7, last), letter),
        None => root_item(letter),
    })
}

#[test]
fn merging_a_log_of_letters_takes_less_than_the_log() {
    let log: Vec<Vec<u8>> = (0..10_000)
        .map(|clock| update(vec![block(7, clock, vec![typed(clock)])], &[]))
        .collect();
    let bytes = log.iter().map(Vec::len).sum();
    let merge_all = |inputs: &[Vec<u8>]| merge_bytes(inputs, &Limits::default()).unwrap();
    check_multiple("a log", bytes, 1.25, || merge_all(&log).len());

    // A state that holds most of it already: every entry overlaps.
    let state = merge_all(&log[..9_000]);
    let mut overlapping = vec![state];
    overlapping.extend(log);
    let bytes = overlapping.iter().map(Vec::len).sum();
    check_multiple("overlaps", bytes, 1.6, || merge_all(&overlapping).len());
}

#[test]
fn merging_a_log_of_lines_takes_less_than_twice_the_log() {
    let line = |clock: u32| {
        Content::Any(vec![
            [vec![119, 60], vec![clock as u8 & 63 | 64; 60]].concat(),
        ])
    };
    let log: Vec<Vec<u8>> = (0..10_000_u32)
        .map(|clock| {
            update(
                vec![block(7, clock, vec![Body::Item(root_item(line(clock)))])],
                &[],
            )
        })
        .collect();
    let bytes = log.iter().map(Vec::len).sum();
    check_multiple("lines", bytes, 1.8, || {
        merge_bytes(&log, &Limits::default()).unwrap().len()
    });
}

/// 2,000 keys and 10,000 times another value for one of them.
fn table() -> Vec<u8> {
    let value = |n: u32| {
        let mut value = b"\x76\x02\x01n\x7d".to_vec();
        value.push((n & 63) as u8);
        value.extend(b"\x04text\x77\x07another");
        Content::Any(vec![value])
    };
    let mut last = Vec::new();
    let mut bodies = Vec::new();
    for clock in 0..2_000 {
        last.push(clock);
        bodies.push(Body::Item(Item {
            sub: Some(format!("the key {clock}")),
            ..root_item(value(clock))
        }));
    }
    for clock in 2_000..12_000 {
        let key = (clock as usize * 7_919) % last.len();
        bodies.push(Body::Item(after((7, last[key]), value(clock))));
        last[key] = clock;
    }
    update(vec![block(7, 0, bodies)], &[])
}

/// 30,000 letters in runs of ten with another origin each, every third run deleted.
fn page() -> Vec<u8> {
    let bodies = (0..3_000_u32).map(|run| {
        let letters = text("abcdefghij");
        let place = (run.wrapping_mul(7_919)).checked_rem(run * 10).unwrap_or(0);
        Body::Item(match run {
            0 => root_item(letters),
            _ => after((7, place), letters),
        })
    });
    let deletes: Vec<(u32, u32)> = (0..1_000).map(|run| (run * 30, run * 30 + 10)).collect();
    update(vec![block(7, 0, bodies.collect())], &[(7, &deletes)])
}

#[test]
fn states_take_a_few_times_their_size() {
    for (name, bytes) in [("table", table()), ("page", page())] {
        let update = Update::parse(&bytes, &Limits::default()).unwrap();
        let half: Vec<(u64, u32)> = update.state_vector().iter().collect();
        let half: Vec<(u64, u32)> = half
            .iter()
            .map(|(client, clock)| (*client, clock / 2))
            .collect();
        let half = clocks(&half);
        let v1 = to_v1(&update).unwrap();
        let check = |operation: &str, most: f64, work: &dyn Fn() -> usize| {
            check_multiple(&format!("{name}, {operation}"), bytes.len(), most, work);
        };
        check("validate", 0.0, &|| {
            validate(&bytes, &Limits::default()).unwrap();
            0
        });
        check("ingest", 1.0, &|| {
            drop(ingest(&update, &clocks(&[])));
            0
        });
        check("summary", 1.0, &|| {
            drop(update.summary());
            0
        });
        check("diff", 2.5, &|| diff(&update, &half).len());
        check("merge", 3.0, &|| {
            merge(&[update.clone(), update.clone()]).len()
        });
        check("compact", 4.0, &|| compact(&update, Collect::Deleted).len());
        check("digest", 4.0, &|| {
            content_digest(&update);
            0
        });
        check("to V1", 2.5, &|| to_v1(&update).unwrap().len());
        check_multiple(&format!("{name}, to V2"), v1.len(), 2.5, || {
            to_v2(&v1, &Limits::default()).unwrap().len()
        });
    }
}

/// The worst that was found for any operation is some 110 times the input, for clients that hold
/// a few structs without bytes each and keep their place while they wait.
fn check_bounded(name: &str, bytes: &[u8]) {
    let bound = bytes.len() * 150 + 100_000;
    let (_, peak, checked) = measure(|| {
        drop(Update::parse_with_deletes(bytes, &Limits::default()));
        validate(bytes, &Limits::default())
    });
    assert!(peak <= bound, "{name}: check {peak} > {bound}");
    if checked.is_err() {
        return;
    }
    let (_, peak, ()) = measure(|| {
        let update = Update::parse(bytes, &Limits::default()).unwrap();
        for known in [clocks(&[]), update.state_vector()] {
            drop(ingest(&update, &known));
            drop(diff(&update, &known));
        }
        drop(update.summary());
        drop(merge(&[update.clone(), update]));
    });
    assert!(peak <= bound, "{name}: {peak} > {bound}");
    // Compaction has lists of places besides, which may have so many entries whatever the input.
    let bound = bound + 65_536 * 150;
    let (_, peak, ()) = measure(|| {
        let update = Update::parse(bytes, &Limits::default()).unwrap();
        drop(compact(&update, Collect::Deleted));
        content_digest(&update);
        let _: Result<Vec<u8>, _> = to_v2(bytes, &Limits::default());
    });
    assert!(peak <= bound, "{name}: compaction {peak} > {bound}");
    // Structs that cost nothing in V2 cost some bytes each in V1.
    let (_, peak, v1) = measure(|| {
        let update = Update::parse(bytes, &Limits::default()).unwrap();
        to_v1(&update).unwrap_or_default()
    });
    let bound = bound + v1.len() * 3;
    assert!(peak <= bound, "{name}: to V1 {peak} > {bound}");
}

#[test]
fn memory_is_a_multiple_of_the_input() {
    for case in vectors("hostile-updates.json") {
        if case["hex"].is_string() {
            check_bounded(case["id"].as_str().unwrap(), &bytes_of(&case["hex"]));
        }
    }
    // Structs that cost no bytes.
    let free = update(vec![block(3, 0, vec![Body::Gc(1); 1_000_000])], &[]);
    assert!(free.len() < 40);
    check_bounded("collected structs", &free);
    // A client for every few bytes, all waiting for the next one.
    let waiting = (1..50_000_u64).rev().map(|client| {
        let item = after((client + 1, 1), Content::Deleted(1));
        block(client, 0, vec![Body::Item(item)])
    });
    let waiting = update(waiting.collect(), &[]);
    check_bounded("stuck clients", &waiting);
    check_multiple(
        "stuck clients that keep no place",
        waiting.len(),
        30.0,
        || {
            let update = Update::parse(&waiting, &Limits::default()).unwrap();
            drop(ingest(&update, &clocks(&[])));
            0
        },
    );
    // The same with enough structs before the one that waits to keep a place.
    let waiting = (1..20_000_u64).rev().map(|client| {
        let mut bodies = vec![Body::Gc(1); 17];
        bodies.push(Body::Item(after((client + 1, 40), Content::Deleted(1))));
        block(client, 0, bodies)
    });
    check_bounded(
        "stuck clients with a place",
        &update(waiting.collect(), &[]),
    );
    // Keys and texts of no length.
    let empty = Body::Item(root_item(Content::Format(String::new(), vec![126])));
    check_bounded(
        "empty keys",
        &update(vec![block(3, 0, vec![empty; 50_000])], &[]),
    );
    // A key that one client sets a million times, every value a type of its own.
    let first = Body::Item(Item {
        sub: Some("k".into()),
        ..root_item(Content::Type(1, None))
    });
    let over =
        (1..1_000_000_u32).map(|clock| Body::Item(after((3, clock - 1), Content::Type(1, None))));
    let set = update(
        vec![block(3, 0, [first].into_iter().chain(over).collect())],
        &[],
    );
    assert!(set.len() < 60);
    check_bounded("types under a key", &set);
    // A type in the one before it, and so on.
    let nested = (0..1_000_000_u32).map(|clock| {
        let parent = clock.checked_sub(1).map(|clock| Parent::Item((3, clock)));
        Body::Item(Item {
            parent: parent.or_else(|| Some(Parent::Root("r".into()))),
            ..root_item(Content::Type(1, None))
        })
    });
    let nested = update(vec![block(3, 0, nested.collect())], &[(3, &[(0, 1)])]);
    assert!(nested.len() < 60);
    check_bounded("types in types", &nested);
    // An embed of many small values.
    let small = [vec![117, 0xa0, 0x8d, 6], vec![126; 100_000]].concat();
    let embed = Body::Item(root_item(Content::Embed(small)));
    check_bounded("an embed", &update(vec![block(3, 0, vec![embed])], &[]));
}
