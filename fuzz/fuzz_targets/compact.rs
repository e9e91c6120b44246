//! Compaction keeps what an update means, and once is enough.
#![no_main]

use epicenter_fuzz::{Input, parse};
use epicenter_update::{Collect, Update, compact, content_digest, merge};
use libfuzzer_sys::fuzz_target;

fn check(update: &Update<'_>) {
    let digest = content_digest(update);
    let small = compact(update, Collect::Deleted);
    for (collect, output) in [
        (Collect::Deleted, small.clone()),
        (Collect::Nothing, compact(update, Collect::Nothing)),
    ] {
        let read = parse(&output);
        assert_eq!(compact(&read, collect), output, "compacted again");
        assert_eq!(content_digest(&read), digest);
        assert_eq!(read.state_vector(), update.state_vector());
        assert_eq!(read.summary().structs, update.summary().structs);
        assert!(read.deletes().contains_all(&update.deletes()));
        assert_eq!(compact(&read, Collect::Deleted), small);
        let joined = merge(&[read, update.clone()]);
        assert_eq!(content_digest(&parse(&joined)), digest);
    }
}

fuzz_target!(|bytes: &[u8]| {
    let input = Input::read(bytes);
    let updates = input.parsed();
    updates.iter().for_each(check);
    check(&parse(&merge(&updates)));
});
