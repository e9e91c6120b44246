//! Names, statuses, envelopes and close reasons.

use std::collections::HashSet;

use epicenter_api::{ApiError, ErrorName, MAX_CLOSE_REASON_BYTES};
use epicenter_identity::Scope;
use epicenter_sync::CloseCode;
use serde_json::Value;

/// Every released row. Rows may be added; a change to one breaks clients.
const RELEASED: &str = "\
InvalidToken 401 4401
ServerError 503 4503
MultipleCredentials 400 4400
OwnerMismatch 403 4403
NotAdmitted 403 4403
insufficient_scope 403 4403
MissingDeviceId 400 4400
InvalidDeviceId 400 4400
InvalidRoomId 400 4400
DeviceTaken 403 4400
RoomExists 409 4400
RoomDeleted 410 4410
MalformedSyncBody 400 4400
PayloadTooLarge 413 1009
UpdateRefused 422 1007
QuotaExceeded 507 1013
StorageUnavailable 503 1013
MalformedDispatch 400 4400
InvalidRequest 400 4400
NotFound 404 4400
MethodNotAllowed 405 4400
MisdirectedRequest 421 4400
MalformedUpgrade 400 4400
UpgradeRequired 426 4400
RateLimited 429 1008
Timeout 503 1013
RequestTimeout 408 1008
InternalError 500 1013
ForbiddenOrigin 403 4403
WrongHub 421 1013
ShuttingDown 503 1001
TooManyConnections 429 1008
ProviderNotConfigured 503 1013
UnknownModel 400 4400
OwnKeyNotAllowed 400 4400
ProviderUnavailable 502 1013
ProviderRateLimited 429 1013
InsufficientCredits 402 4403
ModelRequiresPaidPlan 403 4403
";

#[test]
fn released_names_keep_their_status_and_close_code() {
    let rows: String = ErrorName::ALL
        .iter()
        .map(|name| {
            format!(
                "{} {} {}\n",
                name.as_str(),
                name.status(),
                name.close_code()
            )
        })
        .collect();
    assert_eq!(rows, RELEASED);
}

#[test]
fn codes_are_the_names_in_snake_case() {
    let mut seen = HashSet::new();
    for name in ErrorName::ALL {
        let mut snake = String::new();
        for (position, letter) in name.as_str().char_indices() {
            if letter.is_ascii_uppercase() && position > 0 {
                snake.push('_');
            }
            snake.push(letter.to_ascii_lowercase());
        }
        assert_eq!(name.code(), snake);
        assert!(seen.insert(name.code()), "{snake} stands twice");
    }
}

#[test]
fn close_codes_are_those_of_the_protocol() {
    for name in ErrorName::ALL {
        assert!(CloseCode::from_u16(name.close_code()).is_some(), "{name:?}");
    }
    assert_eq!(
        MAX_CLOSE_REASON_BYTES,
        epicenter_sync::MAX_CLOSE_REASON_BYTES
    );
}

#[test]
fn messages_are_two_sentences_that_say_what_to_do() {
    for name in ErrorName::ALL {
        let message = name.message();
        assert!(
            message.ends_with('.') || message.ends_with("}$."),
            "{message}"
        );
        assert!(
            message.contains(". ") || message.contains("; "),
            "{message}"
        );
    }
}

#[test]
fn the_envelope_holds_name_message_status_and_fields() {
    let error = ApiError::quota_exceeded(10, 11).with_message("Full.");
    assert_eq!(
        error.to_json(),
        r#"{"data":null,"error":{"name":"QuotaExceeded","message":"Full.","status":507,"limit":10,"used":11}}"#
    );
    assert_eq!(error.to_string(), "QuotaExceeded (507)");
}

#[test]
fn refused_tokens_are_answered_in_both_forms() {
    let error = ApiError::new(ErrorName::InvalidToken).with_message("No.");
    assert_eq!(
        error.to_json(),
        r#"{"data":null,"error":{"name":"InvalidToken","message":"No.","status":401},"name":"InvalidToken","message":"No.","status":401}"#
    );
    for name in ErrorName::ALL {
        let json: Value = serde_json::from_str(&ApiError::from(*name).to_json()).unwrap();
        assert_eq!(json["data"], Value::Null);
        assert_eq!(json["error"]["name"], name.as_str());
        let is_flat = json.get("name").is_some();
        assert_eq!(
            is_flat,
            matches!(name.as_str(), "InvalidToken" | "ServerError"),
            "{name:?}"
        );
    }
}

#[test]
fn fields_never_replace_what_clients_match_on() {
    let error = ApiError::new(ErrorName::NotFound)
        .with_field("name", "Other")
        .with_field("status", 200)
        .with_field("message", "")
        .with_field("hint", "old")
        .with_field("hint", "new");
    let json: Value = serde_json::from_str(&error.to_json()).unwrap();
    assert_eq!(json["error"]["name"], "NotFound");
    assert_eq!(json["error"]["status"], 404);
    assert_eq!(json["error"]["message"], ErrorName::NotFound.message());
    assert_eq!(json["error"]["hint"], "new");
}

#[test]
fn close_reasons_carry_the_code_that_clients_look_for() {
    let check = |error: ApiError, expect: &str| assert_eq!(error.close_reason(), expect);
    check(
        ErrorName::InvalidToken.into(),
        r#"{"name":"InvalidToken","code":"invalid_token","status":401}"#,
    );
    check(
        ApiError::insufficient_scope(Scope::RoomsWrite),
        r#"{"name":"insufficient_scope","code":"insufficient_scope","status":403,"scope":"rooms.write"}"#,
    );
    check(
        ApiError::update_refused("too-deep", "max_nesting"),
        r#"{"name":"UpdateRefused","code":"update_refused","status":422,"reason":"too-deep","limit":"max_nesting"}"#,
    );
    // A field that does not fit is left out, a later one that fits stays.
    check(
        ApiError::update_refused(&"é".repeat(60), "max_nesting"),
        r#"{"name":"UpdateRefused","code":"update_refused","status":422,"limit":"max_nesting"}"#,
    );
}

#[test]
fn every_close_reason_fits_into_a_close_frame() {
    for name in ErrorName::ALL {
        for length in [0, 10, 40, 123, 1000] {
            let error = ApiError::from(*name).with_field("detail", "\"".repeat(length));
            let reason = error.close_reason();
            assert!(reason.len() <= MAX_CLOSE_REASON_BYTES, "{reason}");
            let json: Value = serde_json::from_str(&reason).unwrap();
            assert_eq!(json["name"], name.as_str());
        }
    }
}

#[test]
fn bearer_challenges_name_the_error_and_the_missing_scope() {
    let check = |error: ApiError, expect: Option<&str>| {
        assert_eq!(error.www_authenticate().as_deref(), expect);
    };
    check(
        ErrorName::InvalidToken.into(),
        Some(r#"Bearer error="invalid_token""#),
    );
    check(
        ApiError::insufficient_scope(Scope::RoomsRead),
        Some(r#"Bearer error="insufficient_scope", scope="rooms.read""#),
    );
    check(ErrorName::ServerError.into(), None);
}
