//! The order of a merge, and repetition, make no difference.
#![no_main]

use epicenter_fuzz::{Input, limits, parse};
use epicenter_update::{content_digest, merge, merge_bytes};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let input = Input::read(bytes);
    let mut updates = input.parsed();
    let merged = merge(&updates);
    let bytes: Vec<&[u8]> = updates.iter().map(|update| update.as_bytes()).collect();
    assert_eq!(merge_bytes(&bytes, &limits()).as_ref(), Ok(&merged), "from bytes");
    let read = parse(&merged);
    assert_eq!(merge(&[read.clone()]), merged, "a merge of a merge");
    updates.reverse();
    assert_eq!(merge(&updates), merged, "in reverse");
    let twice: Vec<_> = updates.iter().chain(&updates).cloned().collect();
    assert_eq!(merge(&twice), merged, "twice");
    for update in &updates {
        assert!(read.deletes().contains_all(&update.delete_set_of()));
        for (client, ranges) in update.summary().structs {
            let all = &read.summary().structs[&client];
            for range in ranges {
                assert!(all.iter().any(|whole| whole.start <= range.start && range.end <= whole.end));
            }
        }
    }
    content_digest(&read);
});

trait DeleteSetOf {
    /// What must be deleted in a merge: content can win over a struct that held none, a named deletion
    /// stays one.
    fn delete_set_of(&self) -> epicenter_update::DeleteSet;
}

impl DeleteSetOf for epicenter_update::Update<'_> {
    fn delete_set_of(&self) -> epicenter_update::DeleteSet {
        let mut known = epicenter_update::StateVector::default();
        for (client, ranges) in self.summary().structs {
            known.advance(client, ranges.last().map_or(0, |last| last.end));
        }
        // A diff against everything leaves the delete set alone.
        let rest = epicenter_update::diff(self, &known);
        parse(&rest).deletes()
    }
}
