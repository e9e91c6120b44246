//! Tokens, codes and states: texts that open something, each a type of its own.
//!
//! Every one prints as redacted, is wiped when dropped and compares in constant time.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer, de};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// Far above every token of a hub, and below what a header may carry.
const MAX_BYTES: usize = 16 * 1024;

/// The text cannot be a token or code: empty, longer than 16 KiB, or with a byte that is no visible ASCII character.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a token or code is 1 to 16384 visible ASCII characters")]
pub struct SecretTextError;

macro_rules! secret_text {
    ($(#[doc = $doc:literal])+ $name:ident) => {
        $(#[doc = $doc])+
        ///
        /// 1 to 16,384 visible ASCII characters, so that it fits a header and a form as it is.
        #[derive(Clone)]
        pub struct $name(Zeroizing<String>);

        impl $name {
            /// Takes the text as it is.
            ///
            /// # Errors
            /// When it cannot be one; the error repeats nothing of it.
            pub fn parse(text: &str) -> Result<Self, SecretTextError> {
                if is_visible(text) {
                    Ok(Self(Zeroizing::new(text.to_owned())))
                } else {
                    Err(SecretTextError)
                }
            }

            /// The text, to be sent to the hub or written to a private file.
            pub fn expose(&self) -> &str {
                &self.0
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
            }
        }

        impl Eq for $name {}

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(concat!(stringify!($name), "(redacted)"))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = Zeroizing::new(String::deserialize(deserializer)?);
                Self::parse(&text).map_err(de::Error::custom)
            }
        }
    };
}

secret_text! {
    /// What a request to the API carries.
    AccessToken
}

secret_text! {
    /// What gets the next access token; it changes with every use.
    RefreshToken
}

secret_text! {
    /// What the hub gives a browser to bring back, or a person to paste.
    AuthorizationCode
}

secret_text! {
    /// Ties an answer to the request that this process made (RFC 6749 section 10.12).
    State
}

impl State {
    /// From 32 bytes that nobody can predict.
    pub fn from_random(bytes: &[u8; 32]) -> Self {
        Self(Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes)))
    }
}

fn is_visible(text: &str) -> bool {
    (1..=MAX_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_break_a_header_is_no_token() {
        for text in ["", "a b", "a\r\nX: y", "a\tb", "ä", "a\0"] {
            assert_eq!(AccessToken::parse(text), Err(SecretTextError), "{text:?}");
        }
        assert!(RefreshToken::parse(&"x".repeat(MAX_BYTES)).is_ok());
        assert!(RefreshToken::parse(&"x".repeat(MAX_BYTES + 1)).is_err());
    }

    #[test]
    fn nothing_of_a_token_is_printed() {
        let token = AccessToken::parse("s3cret").expect("a token");
        assert_eq!(format!("{token:?}"), "AccessToken(redacted)");
    }

    #[test]
    fn equality_is_that_of_the_text() {
        let token = |text| AccessToken::parse(text).expect("a token");
        assert_eq!(token("abc"), token("abc"));
        assert_ne!(token("abc"), token("abd"));
        assert_ne!(token("abc"), token("abcd"));
    }
}
