//! The JSON of answers.

use epicenter_api::{
    HubInfo, HubMode, Jwk, Jwks, KeyText, RefusalSummary, RoomSummary, RoomsPage, SessionKey,
    SessionResponse, SessionUser,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Checks the JSON of a value and that reading it back gives the same JSON.
fn check<T: Serialize + DeserializeOwned>(value: &T, expect: &str) {
    let json = serde_json::to_string(value).unwrap();
    assert_eq!(json, expect);
    let again: T = serde_json::from_str(&json).unwrap();
    assert_eq!(serde_json::to_string(&again).unwrap(), expect);
}

#[test]
fn the_hub_introduces_itself() {
    let mut info = HubInfo {
        mode: HubMode::Hub,
        version: "0.1.0".to_owned(),
        runtime: "native".to_owned(),
        source_url: "https://example.com/source".to_owned(),
    };
    check(
        &info,
        r#"{"mode":"hub","version":"0.1.0","runtime":"native","sourceUrl":"https://example.com/source"}"#,
    );
    info.mode = HubMode::Shared;
    assert!(
        serde_json::to_string(&info)
            .unwrap()
            .starts_with(r#"{"mode":"shared""#)
    );
}

fn session() -> SessionResponse {
    let key = |version, text: &str| SessionKey {
        version,
        key_bytes_base64: KeyText::new(text.to_owned().into()),
    };
    SessionResponse {
        user: SessionUser {
            id: "ada".to_owned(),
            email: "ada@example.com".to_owned(),
        },
        owner_id: "shared".to_owned(),
        keyring: vec![key(2, "a2V5Mg=="), key(1, "a2V5MQ==")],
    }
}

#[test]
fn a_session_names_user_owner_and_keys() {
    check(
        &session(),
        r#"{"user":{"id":"ada","email":"ada@example.com"},"ownerId":"shared","keyring":[{"version":2,"keyBytesBase64":"a2V5Mg=="},{"version":1,"keyBytesBase64":"a2V5MQ=="}]}"#,
    );
}

#[test]
fn a_session_is_debugged_without_keys_and_address() {
    let shown = format!("{:?}", session());
    assert!(
        !shown.contains("a2V5") && !shown.contains("example"),
        "{shown}"
    );
    assert_eq!(session().keyring[0].key_bytes_base64.expose(), "a2V5Mg==");
}

#[test]
fn a_page_of_rooms_names_the_next_one_only_if_there_is_one() {
    let room = RoomSummary {
        id: "a/b".to_owned(),
        storage_bytes: 12,
        last_accessed_at: 1_700_000_000_000,
        connections: 2,
        refusals: vec![RefusalSummary {
            at: 5,
            reason: "too-deep".to_owned(),
            bytes: 9,
        }],
    };
    let mut page = RoomsPage {
        rooms: vec![room],
        next: Some("a/b".to_owned()),
    };
    check(
        &page,
        r#"{"rooms":[{"id":"a/b","storageBytes":12,"lastAccessedAt":1700000000000,"connections":2,"refusals":[{"at":5,"reason":"too-deep","bytes":9}]}],"next":"a/b"}"#,
    );
    page = RoomsPage::default();
    check(&page, r#"{"rooms":[]}"#);
}

#[test]
fn keys_are_published_as_base64url() {
    let jwks = Jwks {
        keys: vec![Jwk::es256("k1", &[0xfb; 32], &[0xff; 32])],
    };
    check(
        &jwks,
        r#"{"keys":[{"alg":"ES256","crv":"P-256","kty":"EC","use":"sig","x":"-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_s","y":"__________________________________________8","kid":"k1"}]}"#,
    );
}

#[test]
fn the_thumbprint_input_is_the_one_of_rfc_7638() {
    let key = Jwk::es256("k1", &[0; 32], &[1; 32]);
    assert_eq!(
        key.thumbprint_input(),
        r#"{"crv":"P-256","kty":"EC","x":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","y":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE"}"#
    );
}
