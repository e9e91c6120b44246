//! Requests to one hub.
//!
//! No cookie is kept and no redirect followed: a token goes to the address that the person named and nowhere else.

use std::time::Duration;

use bytes::Bytes;
use epicenter_auth::{AccessToken, HubUrl, SessionError, TokenError};
use reqwest::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, Response, redirect};
use rustls::{ClientConfig, RootCertStore};
use zeroize::Zeroizing;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(30);
/// The longest that a hub can be told to let an answer take, with the wait for its beginning.
const STREAM_TIMEOUT: Duration = Duration::from_secs(2 * 60 * 60);
/// A hub says something every 15 seconds, or every 10 minutes where its operator wants that (`ai.keep_alive`).
const STREAM_SILENCE: Duration = Duration::from_secs(11 * 60);
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
    /// The connection is there, and nothing comes.
    #[error("the hub fell silent")]
    Silent,
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

/// An answer that is read piece by piece. Dropping it closes its connection, unless it has ended.
#[derive(Debug)]
pub struct Streamed {
    response: Response,
    silence: Duration,
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
        send(request).await?.whole().await
    }

    /// The same, before its body is read.
    pub(crate) async fn get_stream(
        &self,
        path: &str,
        bearer: &AccessToken,
    ) -> Result<Streamed, HubFailure> {
        let request = self.client.get(self.hub.at(path));
        send(request.bearer_auth(bearer.expose())).await
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
        send(request).await?.whole().await
    }

    /// `POST` of JSON to a path that begins with a slash; the answer is read as it comes, for as long as it lasts.
    ///
    /// # Errors
    /// As for [`get`](Self::get).
    pub async fn post_stream(
        &self,
        path: &str,
        bearer: &AccessToken,
        json: &Zeroizing<Vec<u8>>,
    ) -> Result<Streamed, HubFailure> {
        let request = self
            .client
            .post(self.hub.at(path))
            .bearer_auth(bearer.expose())
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "text/event-stream, application/json")
            .timeout(STREAM_TIMEOUT)
            .body(json.to_vec());
        Ok(Streamed {
            response: request.send().await.map_err(unreachable)?,
            silence: STREAM_SILENCE,
        })
    }
}

async fn send(request: RequestBuilder) -> Result<Streamed, HubFailure> {
    let request = request.header(ACCEPT, "application/json");
    Ok(Streamed {
        response: request.send().await.map_err(unreachable)?,
        silence: TIMEOUT,
    })
}

fn unreachable(error: reqwest::Error) -> HubFailure {
    HubFailure::Unreachable(error.without_url())
}

impl Streamed {
    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// After how many seconds the hub says that it may be asked again.
    pub fn retry_after_s(&self) -> Option<u64> {
        let value = self.response.headers().get(RETRY_AFTER)?;
        value.to_str().ok()?.trim().parse().ok()
    }

    /// What came next, as it came; `None` at the end.
    ///
    /// # Errors
    /// When the connection broke, or nothing came for longer than a hub is silent.
    pub async fn next(&mut self) -> Result<Option<Bytes>, HubFailure> {
        match tokio::time::timeout(self.silence, self.response.chunk()).await {
            Ok(chunk) => chunk.map_err(unreachable),
            Err(_) => Err(HubFailure::Silent),
        }
    }

    /// The rest, for an answer that is no stream.
    ///
    /// # Errors
    /// As for [`next`](Self::next), and when it is larger than 1 MiB.
    pub async fn whole(mut self) -> Result<Reply, HubFailure> {
        let mut body = Zeroizing::new(Vec::new());
        while let Some(chunk) = self.next().await? {
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(HubFailure::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        let status = self.status();
        Ok(Reply { status, body })
    }
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
