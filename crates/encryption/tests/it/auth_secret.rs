//! What the hub seals for itself.

use epicenter_encryption::{AuthSecret, SealError, SecretsProblem};

const PLAIN: &str = "a plain secret of thirty-two by.";
const NEWER: &str = "another one, no less than 32: it";

fn parse(text: &str) -> AuthSecret {
    AuthSecret::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn seal(secret: &AuthSecret) -> Vec<u8> {
    secret.seal("signing-key", b"kid", [3; 24], b"private")
}

fn open(secret: &AuthSecret, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
    secret
        .open("signing-key", b"kid", sealed)
        .map(|plaintext| plaintext.to_vec())
}

#[test]
fn sealed_bytes_describe_themselves_and_open_again() {
    let secret = parse(PLAIN);
    let sealed = seal(&secret);
    assert_eq!(sealed[..2], [1, 1]);
    assert_eq!(sealed[2..26], [3; 24]);
    assert_eq!(sealed.len(), 7 + 42);
    assert_eq!(open(&secret, &sealed).unwrap(), b"private");
}

#[test]
fn the_stored_form_is_pinned() {
    // SHA-256, HKDF with info "auth:signing-key", XChaCha20-Poly1305, computed apart from this crate.
    let sealed: String = seal(&parse(PLAIN))
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(
        sealed,
        "01010303030303030303030303030303030303030303030303033b10769a0751702600e8b0c5813e7fbeb231d1b0de7e5d"
    );
}

#[test]
fn label_and_context_are_bound() {
    let secret = parse(PLAIN);
    let sealed = seal(&secret);
    let check = |label: &str, aad: &[u8]| {
        assert_eq!(
            secret.open(label, aad, &sealed),
            Err(SealError::NotAuthentic)
        );
    };
    check("cookie", b"kid");
    check("signing-key", b"other");
    check("signing-key", b"");
}

#[test]
fn a_plain_secret_continues_as_version_one() {
    let sealed = seal(&parse(PLAIN));
    let newer = NEWER.replace(',', ";");
    let rotated = parse(&format!("2:{newer},1:{PLAIN}"));
    assert_eq!(open(&rotated, &sealed).unwrap(), b"private");

    let resealed = seal(&rotated);
    assert_eq!(resealed[1], 2);
    assert_eq!(
        open(&parse(PLAIN), &resealed),
        Err(SealError::UnknownKeyVersion { version: 2 })
    );
    assert_eq!(
        open(&parse(&format!("2:{newer}")), &resealed).unwrap(),
        b"private"
    );
}

#[test]
fn only_a_text_of_versions_throughout_is_read_as_versions() {
    // Each of these is one plain secret, with the version that plain secrets have.
    for plain in [
        NEWER.to_owned(),
        format!("secret:{PLAIN}"),
        format!("0:{PLAIN}"),
        format!("256:{PLAIN}"),
        format!("01:{PLAIN}"),
        format!("2:{PLAIN},and more"),
        format!("2:{PLAIN},1:"),
        format!(",2:{PLAIN}"),
        format!("{PLAIN}:2,{PLAIN}:1"),
    ] {
        assert_eq!(seal(&parse(&plain))[1], 1, "{plain}");
        assert_ne!(parse(&plain), parse(PLAIN), "{plain}");
    }
    assert_eq!(parse(&format!("1:{PLAIN}")), parse(PLAIN));
    assert_eq!(seal(&parse(&format!("255:{PLAIN}")))[1], 255);
}

#[test]
fn weak_secrets_are_refused_without_repeating_them() {
    let check = |text: &str, expect: SecretsProblem| {
        let error = AuthSecret::parse(text).unwrap_err();
        assert_eq!(error.problem(), expect);
        assert!(error.to_string().starts_with("AUTH_SECRET "), "{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    };
    check("", SecretsProblem::Empty);
    check(
        "hunter2",
        SecretsProblem::TooShort {
            version: 1,
            minimum: 32,
        },
    );
    check(
        &PLAIN[1..],
        SecretsProblem::TooShort {
            version: 1,
            minimum: 32,
        },
    );
    check(
        &format!("3:{PLAIN},2:hunter2"),
        SecretsProblem::TooShort {
            version: 2,
            minimum: 32,
        },
    );
    check(
        &format!("1:{PLAIN},1:{PLAIN}"),
        SecretsProblem::DuplicateVersion { version: 1 },
    );
}

#[test]
fn the_secret_is_debugged_without_keys() {
    let shown = format!("{:?}", parse(&format!("2:{PLAIN},1:{PLAIN}")));
    assert_eq!(shown, "AuthSecret(versions [2, 1], keys redacted)");
}

#[test]
fn a_code_of_a_message_holds_for_that_message_label_and_secret() {
    let secret = parse(PLAIN);
    let mac = secret.mac("query", b"message");
    assert!(secret.is_mac("query", b"message", &mac));
    assert!(!secret.is_mac("query", b"messagf", &mac));
    assert!(!secret.is_mac("cookie", b"message", &mac));
    assert!(!parse(NEWER).is_mac("query", b"message", &mac));
    assert!(!secret.is_mac("query", b"message", &mac[..31]));
    assert!(!secret.is_mac("query", b"message", b""));
    for position in 0..mac.len() {
        let mut mac = mac;
        mac[position] ^= 1;
        assert!(!secret.is_mac("query", b"message", &mac));
    }
}

#[test]
fn codes_hold_while_their_secret_is_listed() {
    let mac = parse(PLAIN).mac("query", b"message");
    let newer = NEWER.replace(',', ";");
    let rotated = parse(&format!("2:{newer},1:{PLAIN}"));
    assert!(rotated.is_mac("query", b"message", &mac));
    assert_ne!(rotated.mac("query", b"message"), mac);
    assert!(!parse(&format!("2:{newer}")).is_mac("query", b"message", &mac));
}
