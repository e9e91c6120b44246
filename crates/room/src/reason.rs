//! Reasons of close frames: JSON with a `name` where a client can act on it, at most 123 bytes (RFC 6455 5.5).

use epicenter_sync::MAX_CLOSE_REASON_BYTES;

use crate::command::StorageFull;

pub(crate) const ROOM_DELETED: &str =
    r#"{"name":"RoomDeleted","code":"room_deleted","status":410}"#;
pub(crate) const STORAGE: &str =
    r#"{"name":"StorageUnavailable","code":"storage_unavailable","status":503}"#;
pub(crate) const INVALID_TOKEN: &str =
    r#"{"name":"InvalidToken","code":"invalid_token","status":401}"#;
pub(crate) const TOO_MANY_CONNECTIONS: &str =
    r#"{"name":"TooManyConnections","code":"too_many_connections","status":429}"#;
pub(crate) const PROTOCOL: &str = "protocol-error";
pub(crate) const LIFETIME: &str = "connection lifetime exceeded";
pub(crate) const GOING_AWAY: &str = "going away";
pub(crate) const SLOW_CONSUMER: &str = "slow-consumer";

/// The reason of a 1013 for a quota that is used up. What is counted is named where it fits.
pub(crate) fn quota_exceeded(full: &StorageFull) -> String {
    let StorageFull { scope, limit, used } = full;
    let text = format!(
        r#"{{"name":"QuotaExceeded","code":"quota_exceeded","status":507,"limit":{limit},"used":{used}"#
    );
    let scope = format!(r#","scope":"{}""#, scope.as_str());
    if text.len() + scope.len() < MAX_CLOSE_REASON_BYTES {
        text + &scope + "}"
    } else {
        text + "}"
    }
}

/// The reason of a 1007, its texts cut at their ends until it fits.
pub(crate) fn update_refused(reason: &str, limit: &str) -> String {
    let mut reason: String = reason.chars().take(MAX_CLOSE_REASON_BYTES).collect();
    let mut limit: String = limit.chars().take(MAX_CLOSE_REASON_BYTES).collect();
    loop {
        let text = format!(
            r#"{{"name":"UpdateRefused","reason":{},"limit":{}}}"#,
            quoted(&reason),
            quoted(&limit)
        );
        let fits = text.len() <= MAX_CLOSE_REASON_BYTES;
        // The limit is what a program looks at, so the words give way first.
        if fits || (reason.pop().is_none() && limit.pop().is_none()) {
            return text;
        }
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::StorageScope;

    #[test]
    fn constants_fit_a_close_frame() {
        for reason in [ROOM_DELETED, STORAGE, INVALID_TOKEN, TOO_MANY_CONNECTIONS] {
            assert!(reason.len() <= MAX_CLOSE_REASON_BYTES);
            let parsed: serde_json::Value = serde_json::from_str(reason).unwrap();
            assert!(parsed["name"].is_string() && parsed["status"].is_u64());
        }
    }

    #[test]
    fn a_quota_fits_whatever_its_numbers() {
        for scope in [StorageScope::Room, StorageScope::Owner, StorageScope::Rooms] {
            for (limit, used) in [(0, 1), (10_000, 10_001), (u64::MAX, u64::MAX)] {
                let text = quota_exceeded(&StorageFull { scope, limit, used });
                assert!(text.len() <= MAX_CLOSE_REASON_BYTES, "{text}");
                let parsed: serde_json::Value = serde_json::from_str(&text).unwrap();
                assert_eq!(parsed["name"], "QuotaExceeded");
                assert_eq!(
                    (&parsed["limit"], &parsed["used"]),
                    (&limit.into(), &used.into())
                );
                assert_eq!(parsed["scope"].is_string(), limit < u64::MAX);
            }
        }
    }

    #[test]
    fn a_short_refusal_is_whole() {
        assert_eq!(
            update_refused("too many structs", "max_structs"),
            r#"{"name":"UpdateRefused","reason":"too many structs","limit":"max_structs"}"#
        );
    }

    #[test]
    fn a_long_refusal_is_cut_and_stays_json() {
        for filler in ["x", "é", "\"", "\u{1}", "🎈"] {
            for length in 0..200 {
                let text = update_refused(&filler.repeat(length), "max_structs");
                assert!(text.len() <= MAX_CLOSE_REASON_BYTES);
                let parsed: serde_json::Value = serde_json::from_str(&text).unwrap();
                assert_eq!(parsed["limit"], "max_structs");
                let text = update_refused("", &filler.repeat(length));
                assert!(text.len() <= MAX_CLOSE_REASON_BYTES);
                serde_json::from_str::<serde_json::Value>(&text).unwrap();
            }
        }
    }
}
