//! The origins of pages that this hub trusts (`http.md` 3 and 10).

use std::collections::HashSet;

use crate::config::HubConfig;
use crate::oauth::clients::{ClientKind, OAuthClient};

/// Computed once; compared byte for byte, as browsers write origins in one way only.
#[derive(Debug)]
pub(crate) struct TrustedOrigins(HashSet<Vec<u8>>);

impl TrustedOrigins {
    /// The hub's own, those of the configuration, and those of the operator's own apps in browsers.
    pub(crate) fn of(config: &HubConfig) -> Self {
        let is_local = config.origin.is_loopback();
        let apps = config
            .oauth
            .clients
            .iter()
            .filter(|client| client.trusted && client.kind == ClientKind::UserAgentBased)
            .flat_map(|app| origins_of(app, is_local));
        let origins = std::iter::once(config.origin.as_str().to_owned())
            .chain(config.trusted_origins.iter().cloned())
            .chain(apps)
            .filter(|origin| origin != "null");
        Self(origins.map(String::into_bytes).collect())
    }

    pub(crate) fn contains(&self, origin: &[u8]) -> bool {
        self.0.contains(origin)
    }
}

/// Where the pages of an app live, as far as its redirect URIs tell. A page on this machine may be anybody's, so those
/// count only while the hub itself is one for development; plain http elsewhere counts never.
fn origins_of(app: &OAuthClient, is_local: bool) -> impl Iterator<Item = String> {
    app.redirect_uris.iter().filter_map(move |uri| {
        let (scheme, rest) = uri.split_once("://")?;
        let authority = rest.split(['/', '?', '#']).next()?;
        let host = authority.split(':').next()?;
        let is_taken = match scheme {
            "https" | "chrome-extension" | "moz-extension" => true,
            "http" => is_local && matches!(host, "localhost" | "127.0.0.1"),
            _ => false,
        };
        (is_taken && !authority.is_empty() && !authority.contains('@'))
            .then(|| format!("{scheme}://{}", authority.to_ascii_lowercase()))
    })
}
