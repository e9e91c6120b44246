//! Answers at a client's redirect URI; every one names the issuer (RFC 9207), so that a client that talks to several
//! servers cannot be made to mix them up.

use form_urlencoded::Serializer;

use super::request::RequestError;
use crate::secret::Secret;

/// Whom an answer goes to; the URI is one of the client's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Recipient {
    pub(super) redirect_uri: String,
    pub(super) state: Option<String>,
    pub(super) issuer: String,
}

impl Recipient {
    /// The URL that carries a code.
    pub(super) fn code(&self, code: &Secret) -> String {
        self.url(&[("code", code.expose())])
    }

    /// The URL that carries an error.
    pub(super) fn error(&self, error: &RequestError) -> String {
        self.url(&[
            ("error", error.code),
            ("error_description", error.description),
        ])
    }

    fn url(&self, answer: &[(&str, &str)]) -> String {
        let mut query = Serializer::new(String::new());
        query.extend_pairs(answer);
        if let Some(state) = &self.state {
            query.append_pair("state", state);
        }
        query.append_pair("iss", &self.issuer);
        append(&self.redirect_uri, &query.finish())
    }
}

/// A registered URI may have a query of its own, which stays (RFC 6749 section 3.1.2).
pub(super) fn append(uri: &str, query: &str) -> String {
    let separator = if uri.contains('?') { '&' } else { '?' };
    format!("{uri}{separator}{query}")
}
