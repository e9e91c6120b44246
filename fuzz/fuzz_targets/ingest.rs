//! A split loses nothing, adds nothing, and never makes a known clock missing.
#![no_main]

use epicenter_fuzz::{Input, parse};
use epicenter_update::{Ready, ingest, merge};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let input = Input::read(bytes);
    let mut known = input.known.clone();
    for update in input.parsed() {
        let split = ingest(&update, &known);
        let ready = match &split.ready {
            Ready::Nothing => None,
            Ready::Whole => Some(update.as_bytes().to_vec()),
            Ready::Part(part) => Some(part.clone()),
        };
        assert_eq!(split.pending.is_none(), split.missing.is_empty());
        for (client, clock) in split.missing.iter() {
            assert!(known.clock(client).max(split.advanced.clock(client)) < clock);
        }
        let parts: Vec<&Vec<u8>> = ready.iter().chain(&split.pending).collect();
        let parsed: Vec<_> = parts.iter().map(|part| parse(part)).collect();
        let joined = merge(&parsed);
        // What is new of the update is what the parts hold.
        for (client, ranges) in parse(&joined).summary().structs {
            let of_update = &update.summary().structs[&client];
            for range in ranges {
                assert!(range.start >= known.clock(client));
                assert!(of_update.iter().any(|whole| whole.start <= range.start && range.end <= whole.end));
            }
        }
        assert!(update.deletes().contains_all(&parse(&joined).deletes()));
        // The ready part is ready: a second look finds nothing that waits.
        if let Some(ready) = &ready {
            assert_eq!(ingest(&parse(ready), &known).pending, None);
        }
        for (client, clock) in split.advanced.iter() {
            assert!(known.clock(client) < clock);
            known.advance(client, clock);
        }
        // Once taken, the ready part brings no clocks any more.
        if let Some(ready) = &ready {
            assert!(ingest(&parse(ready), &known).advanced.is_empty());
        }
    }
});
