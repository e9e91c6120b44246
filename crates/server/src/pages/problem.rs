//! Why a form was not taken, in words for the person who sent it.

use http::StatusCode;

use crate::accounts::service::AccountError;

/// How long to wait when the hub itself is the reason, in seconds.
pub(super) const RETRY_SOON_S: u64 = 5;

/// A field of a form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Token,
    Name,
    Email,
    Password,
}

impl Field {
    /// What people call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Field::Token => "Link",
            Field::Name => "Name",
            Field::Email => "Email",
            Field::Password => "Password",
        }
    }

    /// Its id and name in the form.
    pub(super) fn id(self) -> &'static str {
        match self {
            Field::Token => "token",
            Field::Name => "name",
            Field::Email => "email",
            Field::Password => "password",
        }
    }
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    text: String,
    /// The fields it is about, the first one first.
    fields: &'static [Field],
    pub(super) retry_after_s: Option<u64>,
}

impl Problem {
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn is_about(&self, field: Field) -> bool {
        self.fields.contains(&field)
    }

    /// Whether one field alone is wrong; it then says so itself.
    pub(super) fn has_one_field(&self) -> bool {
        self.fields.len() == 1
    }

    /// Where to go on typing.
    pub(super) fn first_field(&self) -> Option<Field> {
        self.fields.first().copied()
    }

    /// The form came without the token of a link.
    pub(super) fn no_link() -> Self {
        Self::about(
            &[Field::Token],
            StatusCode::BAD_REQUEST,
            "The link is missing. Open the link that you were given, or paste it here.",
        )
    }

    fn about(fields: &'static [Field], status: StatusCode, text: impl Into<String>) -> Self {
        Self {
            status,
            text: text.into(),
            fields,
            retry_after_s: None,
        }
    }

    fn later(status: StatusCode, seconds: u64, text: impl Into<String>) -> Self {
        Self {
            retry_after_s: Some(seconds),
            ..Self::about(&[], status, text)
        }
    }
}

impl From<AccountError> for Problem {
    fn from(error: AccountError) -> Self {
        use Field::{Email, Name, Password, Token};
        match error {
            AccountError::InvalidCredentials => Self::about(
                &[Email, Password],
                StatusCode::UNAUTHORIZED,
                "Email or password is not right. Check both and try again.",
            ),
            AccountError::SetupRequired => Self::about(
                &[],
                StatusCode::FORBIDDEN,
                "This hub is not set up yet. Open its setup link first.",
            ),
            AccountError::PasswordsOff => Self::about(
                &[],
                StatusCode::FORBIDDEN,
                "Passwords are switched off on this hub. Ask the person who runs it how to sign in.",
            ),
            AccountError::SignUpClosed => Self::about(
                &[],
                StatusCode::FORBIDDEN,
                "This hub takes no new accounts this way. Ask the person who runs it for an invitation.",
            ),
            AccountError::LinkSpent => Self::about(
                &[Token],
                StatusCode::FORBIDDEN,
                "This link is not valid: it was used, it is too old, or it was made for another address. Ask for a new one.",
            ),
            AccountError::EmailTaken => Self::about(
                &[Email],
                StatusCode::UNPROCESSABLE_ENTITY,
                "No account can be made with this address. Sign in instead, or use another address.",
            ),
            AccountError::InvalidEmail => Self::about(
                &[Email],
                StatusCode::BAD_REQUEST,
                "This is not an email address. Write it like name@example.com.",
            ),
            AccountError::InvalidName => Self::about(
                &[Name],
                StatusCode::BAD_REQUEST,
                "This name cannot be used. Use at most 200 characters, all on one line.",
            ),
            AccountError::Password(problem) => {
                Self::about(&[Password], StatusCode::BAD_REQUEST, problem.to_string())
            }
            AccountError::TooMany { retry_after_s } => Self::later(
                StatusCode::TOO_MANY_REQUESTS,
                retry_after_s,
                format!(
                    "Too many attempts. Try again in {}.",
                    duration(retry_after_s)
                ),
            ),
            AccountError::Busy => Self::later(
                StatusCode::SERVICE_UNAVAILABLE,
                RETRY_SOON_S,
                "The hub is busy right now. Try again in a few seconds.",
            ),
            AccountError::Store => Self::later(
                StatusCode::SERVICE_UNAVAILABLE,
                RETRY_SOON_S,
                "The hub cannot reach its database right now. Nothing was changed. Try again in a few seconds.",
            ),
        }
    }
}

/// A waiting time, rounded up.
fn duration(seconds: u64) -> String {
    let (count, unit) = match seconds {
        0..=90 => (seconds.max(1), "second"),
        91..=5_400 => (seconds.div_ceil(60), "minute"),
        _ => (seconds.div_ceil(3_600), "hour"),
    };
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{plural}")
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn waiting_times_are_rounded_up() {
        assert_eq!(duration(0), "1 second");
        assert_eq!(duration(90), "90 seconds");
        assert_eq!(duration(91), "2 minutes");
        assert_eq!(duration(5_401), "2 hours");
    }
}
