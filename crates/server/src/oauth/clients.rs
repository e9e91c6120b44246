//! The apps that may ask for tokens. They come from configuration; none registers itself.

use std::fmt;

use epicenter_identity::{ClientId, Scopes};

use crate::secret::SecretHash;

/// What kind of program a client is (OpenID Connect Dynamic Client Registration 2, OAuth 2.1 section 2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientKind {
    /// On a person's machine; public.
    Native,
    /// In a browser page or extension; public.
    UserAgentBased,
    /// On a server; confidential when it has a secret.
    Web,
}

/// An app.
#[derive(Clone, PartialEq, Eq)]
pub struct OAuthClient {
    /// Its id.
    pub id: ClientId,
    /// What people read.
    pub name: String,
    /// What kind of program.
    pub kind: ClientKind,
    /// Where answers may go: matched exactly, but for the port of a loopback address (RFC 8252 section 7.3).
    pub redirect_uris: Vec<String>,
    /// The operator's own: not asked for consent, holds every API scope but `account`.
    pub trusted: bool,
    /// Scopes when a request names none.
    pub default_scopes: Scopes,
    /// SHA-256 of the secret of a confidential client; the secret must be random, at least 32 characters.
    pub secret: Option<SecretHash>,
}

impl fmt::Debug for OAuthClient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("OAuthClient")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .field("trusted", &self.trusted)
            .finish_non_exhaustive()
    }
}
