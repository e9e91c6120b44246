//! Sealed values: every case of `encryption.json`, and properties.

use epicenter_encryption::{BLOB_OVERHEAD, KeyringError, SealError, WorkspaceKeyring, is_blob};
use proptest::prelude::*;
use serde_json::Value;

use crate::vectors::{bytes, cases, from_hex, load, text};

#[test]
fn every_case_of_the_encryption_vectors_passes() {
    let file = load("encryption.json");
    assert_eq!(cases(&file).len(), 48);
    for case in cases(&file) {
        match text(case, "kind") {
            "seal" => check_seal(case),
            "seal-error" => check_seal_error(case),
            "open" => assert_eq!(open(case).unwrap(), bytes(case, "plaintext"), "{case}"),
            "open-error" => check_open_error(case),
            "aead" => check_aead(case),
            other => panic!("unknown kind {other}"),
        }
    }
}

fn ring(version: u32, key: &[u8]) -> Result<WorkspaceKeyring, KeyringError> {
    WorkspaceKeyring::from_keys([(version, key)])
}

fn version(case: &Value, member: &str) -> u32 {
    u32::try_from(case[member].as_u64().unwrap()).unwrap()
}

fn nonce(case: &Value) -> [u8; 24] {
    bytes(case, "nonce").try_into().unwrap()
}

fn check_seal(case: &Value) {
    let ring = ring(version(case, "keyVersion"), &bytes(case, "key")).unwrap();
    let (aad, plaintext, blob) = (
        bytes(case, "aad"),
        bytes(case, "plaintext"),
        bytes(case, "blob"),
    );
    assert_eq!(ring.seal(&aad, nonce(case), &plaintext), blob, "{case}");
    assert_eq!(ring.open(&aad, &blob).unwrap(), plaintext, "{case}");
    assert_eq!(blob.len(), plaintext.len() + BLOB_OVERHEAD, "{case}");
    assert!(is_blob(&blob), "{case}");
}

fn check_seal_error(case: &Value) {
    let name = match ring(version(case, "keyVersion"), &bytes(case, "key")).unwrap_err() {
        KeyringError::BadVersion => "bad-key-version",
        KeyringError::BadKeyLength { .. } => "bad-key-length",
        other => panic!("unexpected {other:?}"),
    };
    assert_eq!(name, text(case, "error"), "{case}");
}

fn open(case: &Value) -> Result<Vec<u8>, SealError> {
    let keys: Vec<_> = case["keyring"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| (version(entry, "version"), from_hex(text(entry, "key"))))
        .collect();
    let keys = keys.iter().map(|(version, key)| (*version, key.as_slice()));
    WorkspaceKeyring::from_keys(keys)
        .unwrap()
        .open(&bytes(case, "aad"), &bytes(case, "blob"))
}

fn check_open_error(case: &Value) {
    let name = match open(case).unwrap_err() {
        SealError::TooShort => "too-short",
        SealError::UnknownFormat => "unknown-format",
        SealError::UnknownKeyVersion { .. } => "unknown-key-version",
        SealError::NotAuthentic => "auth",
        other => panic!("unexpected {other:?}"),
    };
    assert_eq!(name, text(case, "error"), "{case}");
}

fn check_aead(case: &Value) {
    let ring = ring(1, &bytes(case, "key")).unwrap();
    let blob = ring.seal(&bytes(case, "aad"), nonce(case), &bytes(case, "plaintext"));
    let expect = bytes(case, "ciphertextAndTag");
    assert_eq!(&blob[26..], expect, "{case}");
}

#[test]
fn the_highest_version_seals_and_the_others_open() {
    let (old, new) = ([1; 32], [2; 32]);
    let before = WorkspaceKeyring::from_keys([(7, &old[..])]).unwrap();
    let after = WorkspaceKeyring::from_keys([(7, &old[..]), (9, &new[..])]).unwrap();
    let blob = before.seal(b"k", [0; 24], b"value");
    assert_eq!(after.open(b"k", &blob).unwrap(), b"value");
    let newer = after.seal(b"k", [0; 24], b"value");
    assert_eq!(newer[1], 9);
    assert_eq!(
        before.open(b"k", &newer),
        Err(SealError::UnknownKeyVersion { version: 9 })
    );
}

#[test]
fn short_arrays_and_other_formats_are_plaintext() {
    let check = |bytes: &[u8], expect: bool| assert_eq!(is_blob(bytes), expect);
    check(&[], false);
    check(&[1; 41], false);
    check(&[1; 42], true);
    check(&[2; 42], false);
}

proptest! {
    #[test]
    fn what_is_sealed_opens_and_no_changed_bit_does(
        key: [u8; 32], nonce: [u8; 24], aad: Vec<u8>, plaintext: Vec<u8>, at: prop::sample::Index, bit in 0..8u8,
    ) {
        let ring = ring(5, &key).unwrap();
        let mut blob = ring.seal(&aad, nonce, &plaintext);
        prop_assert_eq!(ring.open(&aad, &blob).unwrap(), plaintext);
        let at = at.index(blob.len());
        blob[at] ^= 1 << bit;
        prop_assert!(ring.open(&aad, &blob).is_err());
    }

    #[test]
    fn no_bytes_break_open(blob in prop::collection::vec(any::<u8>(), 0..80)) {
        let ring = ring(1, &[0; 32]).unwrap();
        prop_assert!(ring.open(b"", &blob).is_err());
    }
}
