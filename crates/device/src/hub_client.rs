//! Requests to one hub.
//!
//! No cookie is kept and no redirect followed: a token goes to the address that the person named and nowhere else.

use std::time::Duration;

use epicenter_auth::{AccessToken, HubUrl, SessionError, TokenError};
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Client, RequestBuilder, redirect};
use rustls::{ClientConfig, RootCertStore};
use zeroize::Zeroizing;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(30);
/// No answer to what is asked here comes near it.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// Why there is no client for a hub.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubClientError {
    /// The operating system trusts nobody, so that no https hub could be checked.
    #[error("this system has no certificate authorities that could be read")]
    NoAuthorities,
    /// The TLS library refused its settings.
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
    /// The HTTP library refused its settings.
    #[error("the HTTP client cannot be set up")]
    Http(#[source] reqwest::Error),
}

/// The hub could not be asked or could not answer now. It says nothing about a token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubFailure {
    /// No connection, or it broke.
    #[error("the hub cannot be reached")]
    Unreachable(#[source] reqwest::Error),
    /// The answer is larger than any of a hub.
    #[error("the answer is larger than any that a hub gives")]
    TooLarge,
    /// 429 or 5xx.
    #[error("the hub cannot answer now (status {status})")]
    Unavailable {
        /// The HTTP status.
        status: u16,
    },
    /// Another server, or something in between.
    #[error("what answers there is no hub (status {status})")]
    NoHub {
        /// The HTTP status.
        status: u16,
    },
}

/// An answer that arrived whole.
#[derive(Debug)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// At most 1 MiB; wiped when dropped, because it may hold tokens and keys.
    pub body: Zeroizing<Vec<u8>>,
}

/// A client of one hub; cheap to clone.
#[derive(Clone, Debug)]
pub struct HubClient {
    hub: HubUrl,
    client: Client,
}

impl HubClient {
    /// Makes a client. Nothing is sent.
    ///
    /// # Errors
    /// When this system cannot check the hub's certificate.
    pub fn new(hub: HubUrl) -> Result<Self, HubClientError> {
        let mut builder = Client::builder()
            .user_agent(concat!("epicenter/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            // Set for every scheme: the library would otherwise look for a provider that nobody installed.
            .tls_backend_preconfigured(tls(&hub)?);
        if hub.is_loopback() {
            // A proxy of the environment is not this machine.
            builder = builder.no_proxy();
        }
        let client = builder.build().map_err(HubClientError::Http)?;
        Ok(Self { hub, client })
    }

    /// The hub that it asks.
    pub fn hub(&self) -> &HubUrl {
        &self.hub
    }

    /// `GET` of a path that begins with a slash.
    ///
    /// # Errors
    /// When no answer came; whatever its status is, an answer is none.
    pub async fn get(&self, path: &str, bearer: Option<&AccessToken>) -> Result<Reply, HubFailure> {
        let mut request = self.client.get(self.hub.at(path));
        if let Some(token) = bearer {
            request = request.bearer_auth(token.expose());
        }
        send(request).await
    }

    /// `POST` of a form to one of the hub's endpoints.
    ///
    /// # Errors
    /// As for [`get`](Self::get).
    pub async fn post_form(
        &self,
        endpoint: &str,
        form: &Zeroizing<String>,
    ) -> Result<Reply, HubFailure> {
        let request = self
            .client
            .post(endpoint)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form.as_bytes().to_vec());
        send(request).await
    }
}

async fn send(request: RequestBuilder) -> Result<Reply, HubFailure> {
    let unreachable = |error: reqwest::Error| HubFailure::Unreachable(error.without_url());
    let mut response = request
        .header(ACCEPT, "application/json")
        .send()
        .await
        .map_err(unreachable)?;
    let status = response.status().as_u16();
    let mut body = Zeroizing::new(Vec::new());
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if body.len() + chunk.len() > MAX_ANSWER_BYTES {
            return Err(HubFailure::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Reply { status, body })
}

/// The authorities of the operating system, so that a hub of an organisation with its own is reached as well.
fn tls(hub: &HubUrl) -> Result<ClientConfig, HubClientError> {
    let mut roots = RootCertStore::empty();
    if hub.is_https() {
        // One that cannot be read is skipped: the others may be enough, and the handshake decides.
        let found = rustls_native_certs::load_native_certs();
        let (usable, _) = roots.add_parsable_certificates(found.certs);
        if usable == 0 {
            return Err(HubClientError::NoAuthorities);
        }
    }
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(HubClientError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

impl HubFailure {
    /// What a token error says about the hub rather than about the token, if it does.
    pub(crate) fn of_token_error(error: &TokenError) -> Option<Self> {
        match *error {
            TokenError::Unavailable { status } => Some(Self::Unavailable { status }),
            TokenError::NoHub { status } => Some(Self::NoHub { status }),
            _ => None,
        }
    }

    /// What a session error says about the hub rather than about the token, if it does.
    pub(crate) fn of_session_error(error: SessionError) -> Option<Self> {
        match error {
            SessionError::Unavailable { status } => Some(Self::Unavailable { status }),
            SessionError::NoHub { status } => Some(Self::NoHub { status }),
            _ => None,
        }
    }
}
