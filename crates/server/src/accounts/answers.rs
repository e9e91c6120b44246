//! What the account endpoints answer, in the shapes of Better Auth that clients of today read.
//!
//! `token` is the public id of the session. It is there because clients expect it and hand it to `revoke-session`; it is
//! no credential: the secret is in the cookie only, where scripts cannot read it.

use serde::Serialize;

use super::store::{Account, Session};

/// An account, as its owner sees it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct UserAnswer {
    name: String,
    email: String,
    email_verified: bool,
    image: Option<String>,
    created_at: String,
    updated_at: String,
    id: String,
}

impl From<Account> for UserAnswer {
    fn from(account: Account) -> Self {
        Self {
            name: account.user.name,
            email: account.user.email,
            email_verified: account.user.email_verified,
            image: None,
            created_at: timestamp(account.created_at_ms),
            updated_at: timestamp(account.updated_at_ms),
            id: account.user.id.to_string(),
        }
    }
}

/// A browser session, as its owner sees it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SessionAnswer {
    expires_at: String,
    token: String,
    created_at: String,
    updated_at: String,
    ip_address: Option<String>,
    user_agent: Option<String>,
    user_id: String,
    id: String,
}

impl From<Session> for SessionAnswer {
    fn from(session: Session) -> Self {
        Self {
            expires_at: timestamp(session.expires_at_ms),
            token: session.id.as_str().to_owned(),
            created_at: timestamp(session.created_at_ms),
            updated_at: timestamp(session.updated_at_ms),
            ip_address: session.ip.map(|ip| ip.to_string()),
            user_agent: session.user_agent,
            user_id: session.user.to_string(),
            id: session.id.as_str().to_owned(),
        }
    }
}

/// The answer to a sign-up or a change of password.
#[derive(Debug, Serialize)]
pub(super) struct TokenAnswer {
    pub(super) token: String,
    pub(super) user: UserAnswer,
}

/// The answer to a sign-in.
#[derive(Debug, Serialize)]
pub(super) struct SignInAnswer {
    pub(super) redirect: bool,
    pub(super) token: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) url: Option<String>,
    pub(super) user: UserAnswer,
}

/// Session and account.
#[derive(Debug, Serialize)]
pub(super) struct CurrentAnswer {
    pub(super) session: SessionAnswer,
    pub(super) user: UserAnswer,
}

/// Milliseconds since the Unix epoch as browsers write a `Date` in JSON.
fn timestamp(at_ms: u64) -> String {
    let (days, of_day_ms) = (at_ms / 86_400_000, at_ms % 86_400_000);
    let (year, month, day) = civil(days);
    let (seconds, ms) = (of_day_ms / 1_000, of_day_ms % 1_000);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

/// Year, month and day of a day since the Unix epoch, in the Gregorian calendar. Years begin in March here, so that the day
/// that some years lack is the last one.
fn civil(days: u64) -> (u64, u64, u64) {
    // 1970-01-01 is day 719,468 since 0000-03-01; 400 years are 146,097 days.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::timestamp;

    #[test]
    fn times_are_written_as_browsers_write_them() {
        #[track_caller]
        fn check(at_ms: u64, expect: &str) {
            assert_eq!(timestamp(at_ms), expect);
        }
        check(0, "1970-01-01T00:00:00.000Z");
        check(951_782_399_999, "2000-02-28T23:59:59.999Z");
        check(951_782_400_000, "2000-02-29T00:00:00.000Z");
        check(951_868_800_000, "2000-03-01T00:00:00.000Z");
        check(1_800_000_000_123, "2027-01-15T08:00:00.123Z");
        check(4_107_542_399_000, "2100-02-28T23:59:59.000Z");
        check(4_107_542_400_000, "2100-03-01T00:00:00.000Z");
        check(253_402_300_799_999, "9999-12-31T23:59:59.999Z");
    }
}
