//! The ports of AI on this host: an HTTP client for providers, a timer, and work that outlives a response.
//!
//! A request to a provider carries the house key, so that nothing follows redirects and nothing goes through a proxy that
//! the operator did not name for it; to a provider on this machine nothing goes through a proxy at all. Every request has
//! a connection of its own kind: HTTP/1.1, closed when its body is dropped before the end.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use bytes::Bytes;
use epicenter_server::ai::upstream::{
    AfterResponse, Alarm, Timer, Upstream, UpstreamError, UpstreamRequest, UpstreamResponse,
};
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use reqwest::{Client, ClientBuilder, Response, Url, redirect};
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::Notify;

/// Providers answer a handshake within milliseconds; what takes this long is not there.
const CONNECT_TIME: Duration = Duration::from_secs(10);

/// Kept for the next request to the same provider, and shorter than providers keep them.
const IDLE_TIME: Duration = Duration::from_secs(60);

/// The HTTP client.
#[derive(Clone, Debug)]
pub struct HttpUpstream {
    /// Through the proxy that the environment names, if it names one.
    client: Client,
    /// For providers on this machine.
    direct: Client,
}

impl HttpUpstream {
    /// Makes the client. Nothing is sent.
    ///
    /// # Errors
    /// When the TLS library cannot be set up.
    pub fn new() -> anyhow::Result<Self> {
        let tls = tls()?;
        // A proxy of the environment is not this machine.
        let direct = builder(tls.clone()).no_proxy();
        let build = |builder: ClientBuilder| {
            builder
                .build()
                .context("the HTTP client for AI providers cannot be made")
        };
        Ok(Self {
            client: build(builder(tls))?,
            direct: build(direct)?,
        })
    }

    fn client_for(&self, url: &str) -> &Client {
        if is_on_this_machine(url) {
            &self.direct
        } else {
            &self.client
        }
    }
}

/// What both clients have in common.
fn builder(tls: ClientConfig) -> ClientBuilder {
    Client::builder()
        .user_agent(concat!("epicenter-hub/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .connect_timeout(CONNECT_TIME)
        .pool_idle_timeout(IDLE_TIME)
        .tcp_nodelay(true)
        // Set for every scheme: the library would otherwise look for a provider that nobody installed.
        .tls_backend_preconfigured(tls)
}

/// Whether the host of a URL is this machine. What is no URL is not, and whoever sends the request says so.
fn is_on_this_machine(url: &str) -> bool {
    let Ok(url) = Url::parse(url) else {
        return false;
    };
    let Some(host) = url.host_str() else {
        return false;
    };
    let address = host.trim_start_matches('[').trim_end_matches(']');
    match address.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        // Every other name may be that of another machine tomorrow.
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

/// The authorities of this machine. With none, providers on this machine can be reached and no others.
fn tls() -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (usable, _) = roots.add_parsable_certificates(found.certs);
    if usable == 0 {
        tracing::warn!(
            "this machine has no certificate authorities; AI providers with https cannot be reached"
        );
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("TLS for AI providers cannot be set up")?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

#[async_trait]
impl Upstream for HttpUpstream {
    async fn send(&self, request: UpstreamRequest) -> Result<UpstreamResponse, UpstreamError> {
        let UpstreamRequest { url, headers, body } = request;
        let mut builder = self.client_for(&url).post(&url).body(body.0);
        for (name, value) in &headers {
            let Some(value) = value.to_value() else {
                tracing::error!(header = name, "a provider's key cannot stand in a header");
                return Err(UpstreamError::Unreachable);
            };
            builder = builder.header(*name, value);
        }
        let response = builder.send().await.map_err(|error| describe(&error))?;
        Ok(UpstreamResponse {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: body_of(response),
        })
    }
}

/// Pieces as they come. Dropping the stream drops the response, and with it a connection whose body has not ended.
fn body_of(response: Response) -> BoxStream<'static, Result<Bytes, UpstreamError>> {
    let next = |response: Option<Response>| async {
        let mut response = response?;
        match response.chunk().await {
            Ok(Some(piece)) => Some((Ok(piece), Some(response))),
            Ok(None) => None,
            Err(error) => Some((Err(describe(&error)), None)),
        }
    };
    Box::pin(stream::unfold(Some(response), next))
}

/// The cause stays here; its URL is left out, since it may be the operator's own network.
fn describe(error: &reqwest::Error) -> UpstreamError {
    let is_connect = error.is_connect() || error.is_builder();
    let kind = if is_connect {
        UpstreamError::Unreachable
    } else {
        UpstreamError::Lost
    };
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    // Without a source the text is the library's own, which names the URL.
    let is_own = std::ptr::eq(
        std::ptr::from_ref(cause).cast::<()>(),
        std::ptr::from_ref(error).cast::<()>(),
    );
    if is_own {
        tracing::debug!(error = %kind, "a request to an AI provider failed");
    } else {
        tracing::debug!(error = %kind, cause = %cause, "a request to an AI provider failed");
    }
    kind
}

/// Tokio's timer.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostTimer;

impl Timer for HostTimer {
    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(time))
    }

    /// A task that its alarm owns; it goes with the runtime at the latest.
    fn alarm(&self, time: Duration, ring: Box<dyn FnOnce() + Send>) -> Alarm {
        let waiting = tokio::spawn(async move {
            tokio::time::sleep(time).await;
            ring();
        });
        Alarm::new(move || waiting.abort())
    }
}

/// Work after responses: tasks of the runtime, counted so that a shutdown can wait for them.
#[derive(Clone, Default)]
pub struct AfterResponses(Arc<Pending>);

#[derive(Default)]
struct Pending {
    count: AtomicUsize,
    all_done: Notify,
}

impl fmt::Debug for AfterResponses {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("AfterResponses")
            .field(&self.0.count)
            .finish()
    }
}

impl AfterResponses {
    /// Waits until no work is left; the caller bounds the time.
    pub async fn drained(&self) {
        loop {
            let done = self.0.all_done.notified();
            if self.0.count.load(Ordering::Acquire) == 0 {
                return;
            }
            done.await;
        }
    }
}

/// Counts one piece of work, also when it panics.
struct Counted(Arc<Pending>);

impl Drop for Counted {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.all_done.notify_waiters();
        }
    }
}

impl AfterResponse for AfterResponses {
    fn run(&self, work: BoxFuture<'static, ()>) {
        self.0.count.fetch_add(1, Ordering::AcqRel);
        let counted = Counted(Arc::clone(&self.0));
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => {
                runtime.spawn(async move {
                    work.await;
                    drop(counted);
                });
            }
            // A response that is dropped when the runtime has ended: reservations expire by themselves.
            Err(_) => tracing::error!("an AI call ended after the runtime and was not settled"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{HttpUpstream, is_on_this_machine};

    #[test]
    fn only_providers_on_this_machine_are_asked_past_a_proxy() {
        for here in [
            "http://127.0.0.1:11434/v1/chat/completions",
            "https://127.8.9.10/v1",
            "http://[::1]:8080/v1",
            "http://[::ffff:127.0.0.1]:8080/v1",
            "http://localhost:11434/v1",
            "http://LOCALHOST/v1",
            "http://ollama.localhost/v1",
        ] {
            assert!(is_on_this_machine(here), "{here}");
        }
        for elsewhere in [
            "https://api.openai.com/v1/responses",
            "http://192.168.1.7:11434/v1",
            "http://0.0.0.0:11434/v1",
            "http://[fe80::1]/v1",
            "http://127.0.0.1.example.com/v1",
            "http://notlocalhost/v1",
            "http://proxy.example/?to=http://localhost",
            "no url",
            "",
        ] {
            assert!(!is_on_this_machine(elsewhere), "{elsewhere}");
        }
    }

    #[test]
    fn the_client_for_this_machine_is_another_one() {
        let upstream = HttpUpstream::new().unwrap();
        let is_direct = |url| std::ptr::eq(upstream.client_for(url), &upstream.direct);
        assert!(is_direct("http://127.0.0.1:1/v1"));
        assert!(!is_direct("https://api.openai.com/v1"));
    }
}
