//! Checking agrees with parsing, and what is taken can be walked in every way.
#![no_main]

use epicenter_fuzz::{Input, limits};
use epicenter_update::{Limits, StateVector, Update, snapshot_tag, validate};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = StateVector::decode(bytes, &Limits::default());
    for update in Input::read(bytes).updates {
        let checked = validate(&update, &limits());
        match Update::parse(&update, &limits()) {
            Ok(parsed) => {
                assert_eq!(checked, Ok(()));
                let summary = parsed.summary();
                assert_eq!(summary.deletes, parsed.deletes());
                let (again, deletes) = Update::parse_with_deletes(&update, &limits()).expect("it was parsed");
                assert_eq!(again.summary(), summary);
                assert_eq!(deletes, summary.deletes);
                let vector = parsed.state_vector();
                assert_eq!(StateVector::decode(&vector.encode(), &Limits::default()), Ok(vector.clone()));
                snapshot_tag(&vector, &summary.deletes, Some(&parsed));
            }
            Err(error) => assert_eq!(checked, Err(error)),
        }
    }
});
