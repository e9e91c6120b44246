//! Who calls an endpoint for programs: reading the form and authenticating the client (RFC 6749 section 2.3).

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::Request;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use epicenter_api::ErrorName;
use http::HeaderMap;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use zeroize::Zeroizing;

use super::clients::{self, OAuthClient};
use super::failure::Failure;
use super::parameters::{self, Parameters, ParametersError};
use super::tokens::Asked;
use crate::body;
use crate::peer::PeerAddress;
use crate::secret::Secret;
use crate::state::HubState;

/// A form of an authenticated client.
#[derive(Debug)]
pub(super) struct ClientRequest {
    pub(super) client: Arc<OAuthClient>,
    pub(super) parameters: Parameters,
    pub(super) asked: Asked,
}

/// What a client shows of itself.
struct Credentials {
    id: String,
    secret: Option<Secret>,
    /// In the `Authorization` header.
    is_basic: bool,
}

impl ClientRequest {
    /// Reads the form and authenticates who sent it.
    pub(super) async fn read(hub: &HubState, request: Request) -> Result<Self, Failure> {
        let ip: Option<IpAddr> = PeerAddress::of(request.extensions());
        let (head, body) = request.into_parts();
        if !is_form(&head.headers) {
            return Err(Failure::NOT_A_FORM);
        }
        let body = body::read(body)
            .await
            .map_err(|refusal| match refusal.name() {
                ErrorName::PayloadTooLarge => Failure::TOO_LARGE,
                _ => Failure::request("the request body broke off; send it again"),
            })?;
        let parameters = parse(&body)?;
        let client = authenticate(hub, &head.headers, &parameters)?;
        Ok(Self {
            client,
            parameters,
            asked: Asked {
                at_ms: hub.now_ms(),
                ip,
            },
        })
    }

    /// A parameter that must be there.
    pub(super) fn require(&self, name: &str, description: &'static str) -> Result<&str, Failure> {
        self.parameters
            .find(name)
            .ok_or(Failure::request(description))
    }
}

/// Reads a form's bytes.
pub(super) fn parse(body: &[u8]) -> Result<Parameters, Failure> {
    let text =
        std::str::from_utf8(body).map_err(|_| Failure::request("a parameter cannot be decoded"))?;
    Parameters::parse(text).map_err(|error| match error {
        ParametersError::Malformed => Failure::request("a parameter cannot be decoded"),
        ParametersError::Duplicate => Failure::request("a parameter stands there twice"),
    })
}

pub(super) fn is_form(headers: &HeaderMap) -> bool {
    let value = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = value.unwrap_or_default().split(';').next();
    essence.is_some_and(|essence| {
        essence
            .trim()
            .eq_ignore_ascii_case("application/x-www-form-urlencoded")
    })
}

fn authenticate(
    hub: &HubState,
    headers: &HeaderMap,
    parameters: &Parameters,
) -> Result<Arc<OAuthClient>, Failure> {
    let credentials = read_credentials(headers, parameters)?;
    let client = clients::find(&hub.config.oauth.clients, &credentials.id);
    let proven = client.filter(|client| match (&client.secret, &credentials.secret) {
        (None, None) => true,
        (Some(_), Some(presented)) => client.is_secret(presented),
        // A secret that nobody asked for is a mistake on the client's side that must not go unnoticed.
        (None, Some(_)) | (Some(_), None) => false,
    });
    proven.ok_or(if credentials.is_basic {
        Failure::CLIENT.with_basic_challenge()
    } else {
        Failure::CLIENT
    })
}

fn read_credentials(headers: &HeaderMap, parameters: &Parameters) -> Result<Credentials, Failure> {
    let id = parameters.find("client_id");
    let secret = parameters.find("client_secret");
    let mut lines = headers.get_all(AUTHORIZATION).iter();
    let Some(line) = lines.next() else {
        return Ok(Credentials {
            id: id
                .ok_or(Failure::request("client_id is missing"))?
                .to_owned(),
            secret: secret.map(Secret::presented),
            is_basic: false,
        });
    };
    if lines.next().is_some() || secret.is_some() {
        return Err(Failure::request(
            "the client authenticates in more than one way",
        ));
    }
    let basic = line.to_str().ok().and_then(read_basic);
    let basic = basic.ok_or(Failure::CLIENT.with_basic_challenge())?;
    if id.is_some_and(|id| id != basic.id) {
        return Err(Failure::request(
            "client_id differs from that of the Authorization header",
        ));
    }
    Ok(basic)
}

/// Id and secret are encoded as in forms before they are joined (RFC 6749 section 2.3.1).
fn read_basic(line: &str) -> Option<Credentials> {
    let (scheme, encoded) = line.trim().split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = Zeroizing::new(STANDARD.decode(encoded.trim()).ok()?);
    let (id, secret) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    let secret = Zeroizing::new(parameters::decode(secret)?);
    Some(Credentials {
        id: parameters::decode(id)?,
        // Without a secret it is the way in which some libraries name a public client.
        secret: (!secret.is_empty()).then(|| Secret::presented(&secret)),
        is_basic: true,
    })
}
