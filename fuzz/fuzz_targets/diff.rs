//! A diff has what lies behind the known clocks, and the whole delete set.
#![no_main]

use epicenter_fuzz::{Input, parse};
use epicenter_update::{StateVector, diff, merge};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let input = Input::read(bytes);
    for update in input.parsed() {
        let everything = diff(&update, &StateVector::default());
        assert_eq!(everything, merge(&[update.clone()]), "to somebody who knows nothing");
        let lacks = diff(&update, &input.known);
        let read = parse(&lacks);
        for (client, ranges) in read.summary().structs {
            for range in ranges {
                assert!(range.start >= input.known.clock(client));
            }
        }
        assert_eq!(diff(&read, &input.known), lacks, "a diff of a diff");
        let own = update.state_vector();
        assert!(parse(&diff(&update, &own)).state_vector().is_empty());
        // What was known and what was lacking is everything again.
        let whole = parse(&everything);
        let both = merge(&[whole.clone(), read]);
        assert_eq!(parse(&both).summary().structs, whole.summary().structs);
        assert!(parse(&both).deletes().contains_all(&whole.deletes()));
    }
});
