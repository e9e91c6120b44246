//! `[[oauth.clients]]`: the apps of the configuration file.

use std::collections::BTreeSet;

use epicenter_identity::{ClientId, Scope, Scopes};
use epicenter_server::oauth::clients::{ClientKind, OAuthClient};
use epicenter_server::secret::SecretHash;

use super::tables::{Fields, TableList, TableReader};
use super::value::Problem;

/// Apps beside those that come with the hub.
pub(super) static LIST: TableList = TableList {
    key: "oauth.clients",
    noun: "client",
    fields: &FIELDS,
    about: "One table for each app that may sign people in, besides those that come with the hub.",
    example: "[[oauth.clients]]\nid = \"notes\"\nname = \"Notes\"\ntype = \"user-agent-based\"\nredirect_uris = [\"https://notes.example/auth/callback\"]\ntrusted = true\n",
};

const FIELDS: [(&str, &str); 7] = [
    ("id", "its `client_id`: 1 to 512 visible ASCII characters"),
    ("name", "what people read; the id without it"),
    ("type", "`native`, `user-agent-based` or `web`"),
    (
        "redirect_uris",
        "where answers may go, compared exactly; https, http on this machine, or an app's own scheme",
    ),
    (
        "trusted",
        "`true` for your own apps: nobody is asked for consent, and pages of a trusted `user-agent-based` app may call the hub; `false` without it",
    ),
    (
        "secret_sha256",
        "SHA-256 of the secret of a `web` client, as 64 hex digits; a random secret of at least 32 characters, which the file never holds",
    ),
    (
        "default_scopes",
        "scopes when a request names none; none without it",
    ),
];

/// Reads one client; what is wrong names the client and the field.
pub(super) fn parse(fields: Fields) -> Result<OAuthClient, Problem> {
    let mut reader = TableReader::new(&LIST, "id", fields);
    let id = reader.text("id")?;
    let id = id.ok_or_else(|| reader.wrong("id", "is missing", "give every client an id"))?;
    let id = ClientId::parse(&id).map_err(|rule| {
        reader.wrong(
            "id",
            &format!("is malformed: {rule}"),
            "choose a short name",
        )
    })?;
    let kind = reader.kind()?;
    let redirect_uris = reader.redirect_uris()?;
    let secret = reader.secret(kind)?;
    let default_scopes = reader.scopes()?;
    Ok(OAuthClient {
        name: reader.text("name")?.unwrap_or_else(|| id.to_string()),
        trusted: reader.switch("trusted")?,
        id,
        kind,
        redirect_uris,
        default_scopes,
        secret,
    })
}

/// The first id that is there twice.
pub(super) fn find_duplicate<'a>(ids: impl Iterator<Item = &'a ClientId>) -> Option<&'a ClientId> {
    let mut seen = BTreeSet::new();
    ids.into_iter().find(|id| !seen.insert(id.as_str()))
}

/// The name of a kind in the file.
pub(super) fn kind_name(kind: ClientKind) -> &'static str {
    match kind {
        ClientKind::Native => "native",
        ClientKind::UserAgentBased => "user-agent-based",
        ClientKind::Web => "web",
    }
}

impl TableReader {
    fn kind(&mut self) -> Result<ClientKind, Problem> {
        const KINDS: [ClientKind; 3] = [
            ClientKind::Native,
            ClientKind::UserAgentBased,
            ClientKind::Web,
        ];
        let text = self.text("type")?;
        let kind = KINDS
            .into_iter()
            .find(|kind| text.as_deref() == Some(kind_name(*kind)));
        kind.ok_or_else(|| {
            self.wrong(
                "type",
                "is missing or unknown",
                "write one of: native, user-agent-based, web",
            )
        })
    }

    fn redirect_uris(&mut self) -> Result<Vec<String>, Problem> {
        let uris = self.texts("redirect_uris")?;
        if uris.is_empty() {
            return Err(self.wrong(
                "redirect_uris",
                "is missing or empty",
                "write at least one, such as [\"https://app.example/auth/callback\"]",
            ));
        }
        match uris.iter().find_map(|uri| Some((uri, problem_of(uri)?))) {
            None => Ok(uris),
            Some((uri, problem)) => Err(self.wrong(
                "redirect_uris",
                &format!("holds {uri:?}, which {problem}"),
                "write whole addresses, such as \"https://app.example/auth/callback\"",
            )),
        }
    }

    fn secret(&mut self, kind: ClientKind) -> Result<Option<SecretHash>, Problem> {
        const FIX: &str = "write the 64 hex digits that `printf %s SECRET | sha256sum` prints";
        let Some(text) = self.text("secret_sha256")? else {
            return Ok(None);
        };
        if kind != ClientKind::Web {
            return Err(self.wrong(
                "secret_sha256",
                "is for web clients",
                "leave it out: a program that people hold keeps no secret",
            ));
        }
        // The text is not repeated: it may be a secret by mistake.
        let bytes = parse_hex(&text)
            .ok_or_else(|| self.wrong("secret_sha256", "is no SHA-256 in hex", FIX))?;
        Ok(Some(SecretHash::from_bytes(bytes)))
    }

    fn scopes(&mut self) -> Result<Scopes, Problem> {
        let names = self.texts("default_scopes")?;
        let mut scopes = Scopes::NONE;
        for name in names {
            let known = Scope::ALL.into_iter().find(|scope| scope.as_str() == name);
            let Some(scope) = known else {
                let all: Vec<_> = Scope::ALL.iter().map(|scope| scope.as_str()).collect();
                return Err(self.wrong(
                    "default_scopes",
                    &format!("holds {name:?}"),
                    &format!("use only: {}", all.join(", ")),
                ));
            };
            scopes = scopes.with(scope);
        }
        Ok(scopes)
    }
}

/// Why an address cannot be a redirect URI. A code in clear on a network, or one that a page executes, would be lost.
fn problem_of(uri: &str) -> Option<&'static str> {
    const ACTIVE: [&str; 6] = ["javascript", "data", "vbscript", "file", "blob", "about"];
    let (scheme, rest) = match uri.split_once(':') {
        Some((scheme, rest)) if is_scheme(scheme) && !rest.is_empty() => (scheme, rest),
        _ => return Some("is no whole address"),
    };
    if !uri.bytes().all(|byte| byte.is_ascii_graphic()) || uri.contains('*') {
        return Some("holds characters that an address has not");
    }
    if uri.contains('#') {
        return Some("has a fragment");
    }
    let host = rest
        .strip_prefix("//")
        .and_then(|rest| rest.split(['/', '?']).next())
        .unwrap_or_default();
    if host.contains('@') {
        return Some("holds credentials");
    }
    let is_loopback = ["localhost", "127.0.0.1", "[::1]"].iter().any(|name| {
        host.strip_prefix(name)
            .is_some_and(|port| port.is_empty() || port.starts_with(':'))
    });
    match scheme {
        "https" if host.is_empty() => Some("has no host"),
        "http" if !is_loopback => Some("is plain http on another machine"),
        scheme if ACTIVE.contains(&scheme) => Some("has a scheme that browsers act on"),
        _ => None,
    }
}

fn is_scheme(text: &str) -> bool {
    let is_plain = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.')
    };
    text.starts_with(|first: char| first.is_ascii_lowercase()) && text.bytes().all(is_plain)
}

fn parse_hex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; 32];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(at * 2..at * 2 + 2)?, 16).ok()?;
    }
    Some(bytes)
}
