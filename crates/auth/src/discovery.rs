//! What a hub says about itself before anybody signs in (RFC 8414, RFC 9728).
//!
//! Endpoints are part of the contract with a hub and are not learned from here: the documents show that the address
//! given is the hub's own, so that a code never goes to one hub and a token to another.

use serde::Deserialize;

use crate::hub_url::HubUrl;

/// Why these documents are not those of the hub at an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DiscoveryError {
    /// No such document.
    #[error("no hub answers at this address")]
    NoHub,
    /// The hub calls itself something else.
    #[error("the hub calls itself {name}")]
    OtherOrigin {
        /// Its own address.
        name: HubUrl,
    },
    /// Another server would sign people in.
    #[error("sign-ins of this hub are another server's")]
    OtherIssuer,
    /// It lacks what a sign-in needs.
    #[error("the hub does not offer {what}")]
    Lacks {
        /// Which feature.
        what: &'static str,
    },
}

/// `/.well-known/oauth-protected-resource`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ProtectedResource {
    /// The origin of the hub.
    pub resource: String,
    /// The issuers of tokens for it.
    pub authorization_servers: Vec<String>,
}

/// `/.well-known/oauth-authorization-server/auth`, as far as a client needs it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ServerMetadata {
    /// Stands in answers as `iss`.
    pub issuer: String,
    /// Where browsers go.
    pub authorization_endpoint: String,
    /// Where codes are redeemed.
    pub token_endpoint: String,
    /// Where tokens end.
    pub revocation_endpoint: Option<String>,
    /// Must hold `S256`.
    #[serde(default)]
    pub code_challenge_methods_supported: Vec<String>,
    /// Whether answers carry `iss` (RFC 9207).
    #[serde(default)]
    pub authorization_response_iss_parameter_supported: bool,
}

impl ProtectedResource {
    /// The path of the document.
    pub const PATH: &'static str = "/.well-known/oauth-protected-resource";

    /// Reads the document and checks that the hub at `hub` gave it.
    ///
    /// # Errors
    /// What it is instead; [`DiscoveryError::OtherOrigin`] names the address to use.
    pub fn read(status: u16, body: &[u8], hub: &HubUrl) -> Result<Self, DiscoveryError> {
        let document: Self = read(status, body)?;
        // A text that is no address cannot be shown as one.
        let name = HubUrl::parse(&document.resource).map_err(|_| DiscoveryError::NoHub)?;
        if name != *hub {
            return Err(DiscoveryError::OtherOrigin { name });
        }
        if !document.authorization_servers.contains(&hub.issuer()) {
            return Err(DiscoveryError::OtherIssuer);
        }
        Ok(document)
    }
}

impl ServerMetadata {
    /// The path of the document.
    pub const PATH: &'static str = "/.well-known/oauth-authorization-server/auth";

    /// Reads the document and checks that the hub at `hub` gave it and can sign a client in.
    ///
    /// # Errors
    /// What it is instead, or what it lacks.
    pub fn read(status: u16, body: &[u8], hub: &HubUrl) -> Result<Self, DiscoveryError> {
        let document: Self = read(status, body)?;
        let is_ours = document.issuer == hub.issuer()
            && document.authorization_endpoint == hub.authorization_endpoint()
            && document.token_endpoint == hub.token_endpoint();
        if !is_ours {
            return Err(DiscoveryError::OtherIssuer);
        }
        let methods = &document.code_challenge_methods_supported;
        if !methods.iter().any(|method| method == "S256") {
            return Err(DiscoveryError::Lacks {
                what: "PKCE with S256",
            });
        }
        if !document.authorization_response_iss_parameter_supported {
            return Err(DiscoveryError::Lacks {
                what: "`iss` in its answers",
            });
        }
        Ok(document)
    }
}

fn read<T: for<'de> Deserialize<'de>>(status: u16, body: &[u8]) -> Result<T, DiscoveryError> {
    if status != 200 {
        return Err(DiscoveryError::NoHub);
    }
    // Whatever else answers here, the person needs to know only that it is no hub.
    serde_json::from_slice(body).map_err(|_| DiscoveryError::NoHub)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESOURCE: &str = r#"{"resource":"https://hub.example","authorization_servers":["https://hub.example/auth"]}"#;
    const SERVER: &str = r#"{"issuer":"https://hub.example/auth","authorization_endpoint":"https://hub.example/auth/oauth2/authorize","token_endpoint":"https://hub.example/auth/oauth2/token","code_challenge_methods_supported":["S256"],"authorization_response_iss_parameter_supported":true,"scopes_supported":["openid"]}"#;

    fn hub() -> HubUrl {
        HubUrl::parse("https://hub.example").expect("an address")
    }

    #[test]
    fn a_hub_is_recognised() {
        assert!(ProtectedResource::read(200, RESOURCE.as_bytes(), &hub()).is_ok());
        assert!(ServerMetadata::read(200, SERVER.as_bytes(), &hub()).is_ok());
    }

    #[test]
    fn an_alias_learns_the_name_to_use() {
        let alias = HubUrl::parse("https://localhost").expect("an address");
        assert_eq!(
            ProtectedResource::read(200, RESOURCE.as_bytes(), &alias),
            Err(DiscoveryError::OtherOrigin { name: hub() })
        );
    }

    #[test]
    fn tokens_never_go_to_another_server() {
        let document = RESOURCE.replace("example/auth", "evil/auth");
        assert_eq!(
            ProtectedResource::read(200, document.as_bytes(), &hub()),
            Err(DiscoveryError::OtherIssuer)
        );
        for part in [
            "\"https://hub.example/auth\"",
            "\"https://hub.example/auth/oauth2/authorize\"",
            "\"https://hub.example/auth/oauth2/token\"",
        ] {
            let document = SERVER.replace(part, "\"https://evil.example/auth\"");
            assert_eq!(
                ServerMetadata::read(200, document.as_bytes(), &hub()),
                Err(DiscoveryError::OtherIssuer),
                "{part}"
            );
        }
    }

    #[test]
    fn what_a_sign_in_needs_must_be_there() {
        for (part, rest) in [("\"S256\"", "\"plain\""), ("true", "false")] {
            let document = SERVER.replace(part, rest);
            assert!(matches!(
                ServerMetadata::read(200, document.as_bytes(), &hub()),
                Err(DiscoveryError::Lacks { .. })
            ));
        }
        for (status, body) in [(200, "<html>"), (404, RESOURCE), (200, "{}")] {
            assert_eq!(
                ProtectedResource::read(status, body.as_bytes(), &hub()),
                Err(DiscoveryError::NoHub)
            );
        }
    }
}
