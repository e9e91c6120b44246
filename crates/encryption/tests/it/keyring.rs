//! `ENCRYPTION_SECRETS` and the derivation: every case of `keyring.json`, and what it leaves open.

use epicenter_encryption::{
    KeyringError, OwnerKeyring, RootKeyring, SecretsError, SecretsProblem, WorkspaceKeyring,
};
use epicenter_identity::OwnerId;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::vectors::{bytes, cases, from_hex, load, text};

#[test]
fn every_case_of_the_keyring_vectors_passes() {
    let file = load("keyring.json");
    assert_eq!(cases(&file).len(), 87);
    for case in cases(&file) {
        match text(case, "kind") {
            "parse" => check_parse(case),
            "owner-keyring" => assert_eq!(wire(&owner(case)), case["expect"], "{case}"),
            "workspace-keyring" => check_workspace(case),
            "chain" => check_chain(case),
            other => panic!("unknown kind {other}"),
        }
    }
}

fn check_parse(case: &Value) {
    let parsed = RootKeyring::parse(text(case, "input"));
    if case["expect"] == "error" {
        assert_eq!(
            problem_name(parsed.unwrap_err()),
            text(case, "error"),
            "{case}"
        );
        return;
    }
    // The same keys must come out of each secret alone, under the version that is expected for it.
    let owner = OwnerId::parse("shared").unwrap();
    let expected: Vec<Value> = case["expect"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            let single = format!("{}:{}", entry["version"], text(entry, "secret"));
            wire(&RootKeyring::parse(&single).unwrap().owner_keyring(&owner))[0].clone()
        })
        .collect();
    assert_eq!(
        wire(&parsed.unwrap().owner_keyring(&owner)),
        Value::Array(expected),
        "{case}"
    );
}

fn problem_name(error: SecretsError) -> &'static str {
    match error.problem() {
        SecretsProblem::Empty => "empty",
        SecretsProblem::NoColon { .. } => "no-colon",
        SecretsProblem::NoVersion { .. } => "no-version",
        SecretsProblem::BadVersion { .. } => "bad-version",
        SecretsProblem::NoSecret { .. } => "no-secret",
        SecretsProblem::DuplicateVersion { .. } => "duplicate-version",
        other => panic!("unexpected {other:?}"),
    }
}

fn owner(case: &Value) -> OwnerKeyring {
    let root = RootKeyring::parse(text(case, "secrets")).unwrap();
    root.owner_keyring(&OwnerId::parse(text(case, "ownerId")).unwrap())
}

/// The ring in the JSON form of `/api/session`.
fn wire(ring: &OwnerKeyring) -> Value {
    ring.to_wire()
        .iter()
        .map(|(version, key)| json!({"version": version, "keyBytesBase64": key.as_str()}))
        .collect()
}

fn check_workspace(case: &Value) {
    let expect = case["expect"].as_array().unwrap();
    let version = |entry: &Value| u32::try_from(entry["version"].as_u64().unwrap()).unwrap();
    let keys: Vec<_> = expect
        .iter()
        .map(|entry| (version(entry), from_hex(text(entry, "key"))))
        .collect();
    let keys = keys.iter().map(|(version, key)| (*version, key.as_slice()));
    let expected = WorkspaceKeyring::from_keys(keys).unwrap();
    let workspace = text(case, "workspaceId");
    assert_eq!(owner(case).workspace_keyring(workspace), expected, "{case}");

    // A client derives the same from what the session handed out.
    let sent = expect.iter().map(|entry| {
        (
            u8::try_from(version(entry)).unwrap(),
            text(entry, "ownerKeyBytesBase64"),
        )
    });
    let received = OwnerKeyring::from_wire(sent).unwrap();
    assert_eq!(received.workspace_keyring(workspace), expected, "{case}");
}

fn check_chain(case: &Value) {
    let ring = owner(case).workspace_keyring(text(case, "workspaceId"));
    let aad = text(case, "entryKey").as_bytes();
    let (blob, plaintext) = (bytes(case, "blob"), text(case, "plaintextText"));
    assert_eq!(
        ring.open(aad, &blob).unwrap(),
        plaintext.as_bytes(),
        "{case}"
    );
    if case["current"] == true {
        assert_eq!(
            u64::from(ring.current_version()),
            case["keyVersion"],
            "{case}"
        );
        let nonce = blob[2..26].try_into().unwrap();
        assert_eq!(ring.seal(aad, nonce, plaintext.as_bytes()), blob, "{case}");
    }
}

#[test]
fn versions_are_read_strictly() {
    let file = load("keyring.json");
    let open = file["ambiguous"].as_array().unwrap();
    assert_eq!(open.len(), 10);
    for case in open {
        assert_eq!(case["strict"], "error");
        assert!(RootKeyring::parse(text(case, "input")).is_err(), "{case}");
    }
}

#[test]
fn the_reference_hub_derives_the_same_keys() {
    // Pinned on the wire of the reference server (`GET /api/session`).
    let root = RootKeyring::parse("1:dGVzdGtleXRlc3RrZXl0ZXN0a2V5dGVzdGtleXk=").unwrap();
    let check = |owner: &str, expect: &str| {
        let ring = root.owner_keyring(&OwnerId::parse(owner).unwrap());
        assert_eq!(
            wire(&ring),
            json!([{"version": 1, "keyBytesBase64": expect}])
        );
    };
    check("shared", "lHkET8K1oKr9farZPC5yfazSIjrK/WP8/XmhKo3iMgk=");
    check(
        "oMDXDPUL8AjAXkvss1iCL1X1tbRAeJRt",
        "/Em6rJGuuVuJBqVFKSzOKvEQ6izIMmEhTZukpb/1Qv4=",
    );
}

#[test]
fn errors_name_the_variable_and_the_form_and_no_secret() {
    let check = |input: &str, expect: &str| {
        let message = RootKeyring::parse(input).unwrap_err().to_string();
        let form = "; write version:secret entries separated by ',', with versions from 1 to 255, for example \"2:newSecret,1:oldSecret\"";
        assert_eq!(message, format!("ENCRYPTION_SECRETS {expect}{form}"));
    };
    check("", "is empty");
    check("hunter2", "has no ':' in entry 1");
    check("2:hunter2,hunter3", "has no ':' in entry 2");
    check(":hunter2", "has no version in entry 1");
    check(
        "hunter2:x",
        "has a version that is not a number from 1 to 255 in entry 1",
    );
    check("1:hunter2,7:", "has no secret in entry 2");
    check("1:hunter2,1:hunter3", "lists version 1 more than once");
    assert_eq!(
        RootKeyring::parse("").unwrap_err().variable(),
        "ENCRYPTION_SECRETS"
    );
}

#[test]
fn rings_are_debugged_without_keys() {
    let root = RootKeyring::parse("2:hunter2,1:hunter3").unwrap();
    let owner = root.owner_keyring(&OwnerId::parse("shared").unwrap());
    let workspace = owner.workspace_keyring("notes");
    assert_eq!(
        format!("{root:?}"),
        "RootKeyring(versions [2, 1], keys redacted)"
    );
    assert_eq!(
        format!("{owner:?}"),
        "OwnerKeyring(versions [2, 1], keys redacted)"
    );
    assert_eq!(
        format!("{workspace:?}"),
        "WorkspaceKeyring(versions [2, 1], keys redacted)"
    );
}

#[test]
fn rings_differ_by_any_version_and_any_key() {
    let parse = |text: &str| RootKeyring::parse(text).unwrap();
    assert_eq!(parse("2:b,1:a"), parse("1:a,2:b"));
    for other in ["2:b", "1:a", "2:b,1:c", "2:c,1:a", "3:b,1:a", "3:c,2:b,1:a"] {
        assert_ne!(parse("2:b,1:a"), parse(other), "{other}");
    }
}

#[test]
fn a_keyring_from_the_wire_is_checked() {
    let key = "1+PTmwXtwBQt9NkIIbO4t1onU293xAoiLhb8h9FqLSc=";
    let check = |keys: &[(u8, &str)], expect: KeyringError| {
        assert_eq!(OwnerKeyring::from_wire(keys.iter().copied()), Err(expect));
    };
    check(&[], KeyringError::Empty);
    check(&[(0, key)], KeyringError::BadVersion);
    check(
        &[(1, key), (2, key), (1, key)],
        KeyringError::DuplicateVersion { version: 1 },
    );
    check(&[(3, "AAAA")], KeyringError::BadKeyLength { version: 3 });
    check(&[(3, "")], KeyringError::BadKeyLength { version: 3 });
    check(
        &[(3, key.trim_end_matches('='))],
        KeyringError::BadKeyEncoding { version: 3 },
    );
    check(
        &[(3, "not base64!")],
        KeyringError::BadKeyEncoding { version: 3 },
    );

    let ring = OwnerKeyring::from_wire([(1, key), (9, key)]).unwrap();
    assert_eq!(
        ring.to_wire()
            .iter()
            .map(|(version, _)| *version)
            .collect::<Vec<_>>(),
        [9, 1]
    );
}

proptest! {
    #[test]
    fn no_text_breaks_the_parser(text in "[0-9:,a-c +.é]{0,24}") {
        let _ = RootKeyring::parse(&text);
    }

    #[test]
    fn errors_never_repeat_a_secret(secret in "[g-mq-z]{12,20}") {
        for input in [format!("{secret}:1"), secret.clone(), format!("1:{secret},1:{secret}")] {
            let error = RootKeyring::parse(&input).unwrap_err();
            let shown = format!("{error} {error:?}");
            prop_assert!(!shown.contains(&secret));
        }
    }
}
