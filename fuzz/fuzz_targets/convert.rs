//! What has a form in the other encoding comes back from it.
#![no_main]

use epicenter_fuzz::{Input, limits, parse};
use epicenter_update::{merge, to_v1, to_v2};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // The bytes themselves as V1.
    let rest = bytes.get(1..).unwrap_or_default();
    if let Ok(v2) = to_v2(rest, &limits()) {
        let read = parse(&v2);
        assert_eq!(merge(&[read.clone()]), v2);
        let v1 = to_v1(&read).expect("it came from V1");
        assert_eq!(to_v2(&v1, &limits()).as_ref(), Ok(&v2));
    }
    for update in Input::read(bytes).parsed() {
        let Ok(v1) = to_v1(&update) else {
            continue;
        };
        let back = to_v2(&v1, &limits()).expect("it came from an update");
        let read = parse(&back);
        assert_eq!(read.summary(), update.summary());
        assert_eq!(to_v1(&read).as_ref(), Ok(&v1));
        // A broken byte must do no harm.
        let mut broken = v1;
        if let Some((at, byte)) = bytes.first().zip(bytes.get(1)) {
            let at = usize::from(*at) % broken.len();
            broken[at] = *byte;
            if let Ok(v2) = to_v2(&broken, &limits()) {
                parse(&v2);
            }
        }
    }
});
