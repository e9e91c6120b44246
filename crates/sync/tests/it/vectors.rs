//! The shared test vectors.

use std::path::PathBuf;

use bytes::Bytes;
use serde_json::Value;

/// Reads a vector file: beside the checkout if it stands there, else the copy in the repository.
pub(crate) fn load(name: &str) -> Value {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let beside = root.join("../shared/vectors").join(name);
    let path = if beside.exists() {
        beside
    } else {
        root.join("vectors").join(name)
    };
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    serde_json::from_str(&text).unwrap()
}

/// The cases of these kinds; there must be some of each.
pub(crate) fn cases<'a>(file: &'a Value, kinds: &[&str]) -> Vec<&'a Value> {
    let all = file["cases"].as_array().unwrap();
    for kind in kinds {
        assert!(
            all.iter().any(|case| case["kind"] == *kind),
            "no case of {kind}"
        );
    }
    let is_wanted = |case: &&Value| kinds.iter().any(|kind| case["kind"] == *kind);
    all.iter().filter(is_wanted).collect()
}

/// The input with this id that the formats leave open.
pub(crate) fn ambiguous<'a>(file: &'a Value, id: &str) -> &'a Value {
    file["ambiguous"]
        .as_array()
        .unwrap()
        .iter()
        .find(|case| case["id"] == id)
        .unwrap()
}

/// The bytes of a member.
pub(crate) fn bytes(case: &Value, member: &str) -> Bytes {
    let hex = case[member]
        .as_str()
        .unwrap_or_else(|| panic!("{member} of {case}"));
    let byte = |start: usize| u8::from_str_radix(&hex[start..start + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(byte).collect()
}
