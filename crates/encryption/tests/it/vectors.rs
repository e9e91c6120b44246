//! The shared test vectors.

use std::path::PathBuf;

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

pub(crate) fn cases(file: &Value) -> &[Value] {
    file["cases"].as_array().unwrap()
}

pub(crate) fn text<'a>(case: &'a Value, member: &str) -> &'a str {
    case[member]
        .as_str()
        .unwrap_or_else(|| panic!("{member} of {case}"))
}

pub(crate) fn from_hex(hex: &str) -> Vec<u8> {
    let byte = |start: usize| u8::from_str_radix(&hex[start..start + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(byte).collect()
}

/// The bytes of a member; absent and null are no bytes.
pub(crate) fn bytes(case: &Value, member: &str) -> Vec<u8> {
    case[member].as_str().map(from_hex).unwrap_or_default()
}
