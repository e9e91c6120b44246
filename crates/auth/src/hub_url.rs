//! The address of a hub, and everything that hangs on it: issuer, audience, endpoints, redirect URI, name on disk.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The origin of a hub, such as `https://hub.example` or `http://127.0.0.1:8787`.
///
/// The host is in lower case and the port of the scheme is left out, so that equal hubs are equal texts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HubUrl {
    text: String,
    is_https: bool,
    host: String,
    port: Option<u16>,
}

/// Why a text is no address of a hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HubUrlError {
    /// Neither `http://` nor `https://`.
    #[error("the address of a hub begins with https:// or http://")]
    Scheme,
    /// A path, a query, a fragment or a name before an `@`.
    #[error("the address of a hub holds scheme, host and port and nothing else")]
    Excess,
    /// No host, or a port that is no number from 1 to 65535.
    #[error("the address of a hub needs a valid host, and a port from 1 to 65535 if any")]
    Authority,
}

impl HubUrl {
    /// Reads an origin; one trailing slash is forgiven.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, HubUrlError> {
        let lower = text.trim().to_ascii_lowercase();
        let (is_https, rest) = if let Some(rest) = lower.strip_prefix("https://") {
            (true, rest)
        } else if let Some(rest) = lower.strip_prefix("http://") {
            (false, rest)
        } else {
            return Err(HubUrlError::Scheme);
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        // A backslash counts: browsers read it as a slash.
        if rest.contains(['/', '?', '#', '@', '\\']) {
            return Err(HubUrlError::Excess);
        }
        let (host, port) = split_authority(rest).ok_or(HubUrlError::Authority)?;
        let port = port.filter(|port| *port != if is_https { 443 } else { 80 });
        let scheme = if is_https { "https" } else { "http" };
        let text = match port {
            Some(port) => format!("{scheme}://{host}:{port}"),
            None => format!("{scheme}://{host}"),
        };
        Ok(Self {
            text,
            is_https,
            host: host.to_owned(),
            port,
        })
    }

    /// The origin as text, without a trailing slash; also the `resource` of tokens (RFC 8707).
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether what is sent there is encrypted.
    pub fn is_https(&self) -> bool {
        self.is_https
    }

    /// Whether it is this machine.
    pub fn is_loopback(&self) -> bool {
        let address = self.host.trim_start_matches('[').trim_end_matches(']');
        self.host == "localhost"
            || self.host.ends_with(".localhost")
            || address
                .parse::<Ipv4Addr>()
                .is_ok_and(|address| address.is_loopback())
            || address
                .parse::<Ipv6Addr>()
                .is_ok_and(|address| address.is_loopback())
    }

    /// The issuer of the hub's tokens and answers (identity.md 2).
    pub fn issuer(&self) -> String {
        self.at("/auth")
    }

    /// The URL of a path that begins with a slash.
    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.text)
    }

    /// Where a person's browser goes to sign in.
    pub fn authorization_endpoint(&self) -> String {
        self.at("/auth/oauth2/authorize")
    }

    /// Where codes and refresh tokens become access tokens.
    pub fn token_endpoint(&self) -> String {
        self.at("/auth/oauth2/token")
    }

    /// Where tokens end.
    pub fn revocation_endpoint(&self) -> String {
        self.at("/auth/oauth2/revoke")
    }

    /// The page that shows a code to be pasted into a terminal.
    pub fn paste_redirect_uri(&self) -> String {
        self.at("/auth/cli-callback")
    }

    /// The name of this hub on disk: host and port with `_` for every `:`.
    ///
    /// Only the port of https is left out. With it http and https on one host never share a file, and a token that was
    /// given over https is never sent in the clear.
    pub fn file_stem(&self) -> String {
        let name = match (self.port, self.is_https) {
            (Some(port), _) => format!("{}_{port}", self.host),
            (None, true) => self.host.clone(),
            (None, false) => format!("{}_80", self.host),
        };
        name.replace(':', "_")
    }
}

impl fmt::Display for HubUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

fn split_authority(text: &str) -> Option<(&str, Option<u16>)> {
    let end_of_host = match text.strip_prefix('[') {
        Some(rest) => rest.find(']')? + 2,
        None => text.find(':').unwrap_or(text.len()),
    };
    let (host, port) = text.split_at_checked(end_of_host)?;
    let is_host = match host.strip_prefix('[') {
        Some(address) => address.strip_suffix(']')?.parse::<Ipv6Addr>().is_ok(),
        None => is_name(host),
    };
    if !is_host {
        return None;
    }
    let port = match port.strip_prefix(':') {
        // The parser of numbers would take a sign.
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(digits.parse().ok().filter(|port| *port != 0)?)
        }
        None if port.is_empty() => None,
        _ => return None,
    };
    Some((host, port))
}

/// Names and IPv4 addresses. The first character is none of `.` and `-`: the host becomes a file name.
fn is_name(host: &str) -> bool {
    let is_allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._".contains(&byte);
    (1..=253).contains(&host.len())
        && host.bytes().all(is_allowed)
        && !host.starts_with(['.', '-'])
        && !host.contains("..")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(text: &str) -> HubUrl {
        HubUrl::parse(text).expect("the address of a hub")
    }

    #[test]
    fn equal_hubs_are_equal_texts() {
        for (text, origin, stem) in [
            ("https://Hub.Example/", "https://hub.example", "hub.example"),
            (
                "https://hub.example:443",
                "https://hub.example",
                "hub.example",
            ),
            (
                "https://hub.example:8443",
                "https://hub.example:8443",
                "hub.example_8443",
            ),
            (
                " http://127.0.0.1:8787 ",
                "http://127.0.0.1:8787",
                "127.0.0.1_8787",
            ),
            ("http://[::1]:8787", "http://[::1]:8787", "[__1]_8787"),
            ("http://hub.example", "http://hub.example", "hub.example_80"),
        ] {
            let hub = hub(text);
            assert_eq!((hub.as_str(), hub.file_stem().as_str()), (origin, stem));
        }
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for (text, error) in [
            ("hub.example", HubUrlError::Scheme),
            ("ftp://hub.example", HubUrlError::Scheme),
            ("https://hub.example/path", HubUrlError::Excess),
            ("https://hub.example//", HubUrlError::Excess),
            ("https://ada@hub.example", HubUrlError::Excess),
            ("https://hub.example\\@evil.example", HubUrlError::Excess),
            ("https://hub.example?x", HubUrlError::Excess),
            ("https://", HubUrlError::Authority),
            ("https://..", HubUrlError::Authority),
            ("https://.hidden", HubUrlError::Authority),
            ("https://hub example", HubUrlError::Authority),
            ("https://hub.example:", HubUrlError::Authority),
            ("https://hub.example:0", HubUrlError::Authority),
            ("https://hub.example:+1", HubUrlError::Authority),
            ("https://hub.example:65536", HubUrlError::Authority),
            ("https://[::1", HubUrlError::Authority),
            ("https://[x]", HubUrlError::Authority),
        ] {
            assert_eq!(HubUrl::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn a_token_of_https_is_never_found_by_http() {
        for (http, https) in [
            ("http://hub.example", "https://hub.example"),
            ("http://hub.example:443", "https://hub.example"),
            ("http://hub.example", "https://hub.example:443"),
        ] {
            assert_ne!(hub(http).file_stem(), hub(https).file_stem());
        }
    }

    #[test]
    fn this_machine_has_several_names() {
        for text in [
            "http://localhost:1",
            "http://127.0.0.9",
            "http://[::1]:8787",
            "http://a.localhost",
        ] {
            assert!(hub(text).is_loopback(), "{text}");
        }
        for text in [
            "http://localhost.example",
            "http://128.0.0.1",
            "http://127.0.0.1.example",
        ] {
            assert!(!hub(text).is_loopback(), "{text}");
        }
    }
}
