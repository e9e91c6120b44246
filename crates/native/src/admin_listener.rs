//! The listener for operators: `/metrics`, `/healthz`, `/readyz`, and nothing else.
//!
//! It asks for no credential, so it listens on loopback unless somebody decides otherwise, and what it shows names
//! nobody. A page in a browser on the same machine must not read it by having its own name point here: only addresses,
//! `localhost` and configured names are accepted in `Host`, and no answer lets other origins in. Each connection carries
//! one request.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::body::Body;
use epicenter_server::config::Authority;
use epicenter_server::ports::{Health, RoomsDuty};
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use crate::config::{AdminConfig, AdminListen};
use crate::metrics::{self, Report};

/// Connections at once; a scraper needs one, and whoever comes later waits in the kernel.
const MAX_CONNECTIONS: usize = 16;
/// How long a client may take to send its request head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection may last in all.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(15);
/// How long the stores may take to answer.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// After a failed accept (out of file descriptors, most likely) before the next try.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// For answers that are on their way when the hub ends.
const LAST_ANSWERS: Duration = Duration::from_millis(500);

/// What the answers are made of.
pub(crate) struct Insight {
    pub(crate) report: Report,
    pub(crate) health: Arc<dyn Health>,
    /// None on an embedded store: rooms are served here.
    pub(crate) duty: Option<watch::Receiver<RoomsDuty>>,
    /// True once the hub is shutting down.
    pub(crate) stopping: watch::Receiver<bool>,
}

/// A place that was bound and not yet served.
pub(crate) struct Bound {
    listener: TcpListener,
    address: SocketAddr,
    names: Vec<String>,
}

/// Serves until it is stopped or dropped.
#[derive(Debug)]
pub(crate) struct AdminListener {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Drop for AdminListener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Binds the configured address; none when it is off, or when the default is taken.
///
/// # Errors
/// When an address that somebody asked for cannot be had.
pub(crate) async fn bind(config: &AdminConfig) -> anyhow::Result<Option<Bound>> {
    let listener = match config.listen {
        AdminListen::Off => return Ok(None),
        AdminListen::IfFree(address) => match TcpListener::bind(address).await {
            Ok(listener) => listener,
            Err(error) => {
                warn_not_served(address, &error);
                return Ok(None);
            }
        },
        AdminListen::At(address) => TcpListener::bind(address)
            .await
            .with_context(|| format!("cannot listen on {address} for metrics (admin.listen)"))?,
    };
    let address = listener
        .local_addr()
        .context("the bound address is unknown")?;
    if !address.ip().is_loopback() {
        tracing::warn!(
            %address,
            "metrics are served beyond this machine, to everybody who reaches the address (admin.listen)"
        );
    }
    let names = config.hosts.iter().map(|name| name.to_ascii_lowercase());
    Ok(Some(Bound {
        names: names.collect(),
        listener,
        address,
    }))
}

fn warn_not_served(address: SocketAddr, error: &io::Error) {
    tracing::warn!(
        %address,
        %error,
        "metrics are not served, because their default address cannot be had; set admin.listen to another one, or to off"
    );
}

impl Bound {
    /// Begins to serve.
    pub(crate) fn serve(self, insight: Insight) -> AdminListener {
        let (stop, stopped) = watch::channel(false);
        let address = self.address;
        tracing::info!(%address, "metrics are served");
        let desk = Arc::new(Desk {
            insight,
            ip: address.ip(),
            names: self.names,
        });
        AdminListener {
            address,
            stop,
            task: tokio::spawn(accept(self.listener, desk, stopped)),
        }
    }
}

impl AdminListener {
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts no more, lets answers that are on their way arrive, and lets go of everything that it has shown.
    pub(crate) async fn stop(mut self) {
        self.stop.send_replace(true);
        // A panic in it has been written down by the hook.
        drop((&mut self.task).await);
    }
}

async fn accept(listener: TcpListener, desk: Arc<Desk>, mut stop: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            // Never closed.
            let place = Arc::clone(&places).acquire_owned().await;
            (listener.accept().await, place)
        };
        tokio::select! {
            (accepted, place) = next => match accepted {
                Ok((stream, _peer)) => {
                    let desk = Arc::clone(&desk);
                    connections.spawn(async move {
                        desk.serve(stream).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection for metrics could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_ended) = connections.join_next(), if !connections.is_empty() => {}
            () = stopped(&mut stop) => break,
        }
    }
    drop(listener);
    let last = async { while connections.join_next().await.is_some() {} };
    if timeout(LAST_ANSWERS, last).await.is_err() {
        connections.shutdown().await;
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the listener was dropped.
    drop(stop.wait_for(|stop| *stop).await);
}

/// What connections share.
struct Desk {
    insight: Insight,
    ip: IpAddr,
    names: Vec<String>,
}

impl Desk {
    async fn serve(self: &Arc<Self>, stream: TcpStream) {
        let service = service_fn(|request: Request<Incoming>| {
            let desk = Arc::clone(self);
            async move { Ok::<_, Infallible>(desk.answer(&request).await) }
        });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(MAX_HEAD_BYTES)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service);
        match timeout(CONNECTION_TIMEOUT, served).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "a connection for metrics ended early"),
            Err(_elapsed) => tracing::debug!("a connection for metrics took too long"),
        }
    }

    async fn answer(self: &Arc<Self>, request: &Request<Incoming>) -> Response<Body> {
        if let Err(status) = self.check_host(request) {
            return plain(
                status,
                "the Host header must name this listener; see admin.hosts\n",
            );
        }
        let path = request.uri().path();
        if !matches!(path, "/metrics" | "/healthz" | "/readyz") {
            return plain(
                StatusCode::NOT_FOUND,
                "see /metrics, /healthz and /readyz\n",
            );
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "GET and HEAD only\n");
            let allowed = HeaderValue::from_static("GET, HEAD");
            response.headers_mut().insert(ALLOW, allowed);
            return response;
        }
        match path {
            "/metrics" => self.metrics().await,
            "/readyz" => self.readiness().await,
            _ => status(StatusCode::OK, "ok", None),
        }
    }

    /// Both forms of naming a host count: the header, and an authority in the request line.
    fn check_host(&self, request: &Request<Incoming>) -> Result<(), StatusCode> {
        let hosts: Vec<_> = request.headers().get_all(HOST).iter().collect();
        let [host] = hosts[..] else {
            return Err(StatusCode::BAD_REQUEST);
        };
        let target = request
            .uri()
            .authority()
            .map(|authority| authority.as_str());
        for name in [Some(host.to_str().unwrap_or_default()), target]
            .into_iter()
            .flatten()
        {
            let name = Authority::parse(name).ok_or(StatusCode::BAD_REQUEST)?;
            if !self.is_named(name.host()) {
                return Err(StatusCode::MISDIRECTED_REQUEST);
            }
        }
        Ok(())
    }

    fn is_named(&self, host: &str) -> bool {
        let address = host.trim_start_matches('[').trim_end_matches(']');
        match address.parse::<IpAddr>() {
            // A page that comes from an address comes from whoever listens there.
            Ok(ip) => ip.is_loopback() || ip == self.ip || self.ip.is_unspecified(),
            Err(_) => host == "localhost" || self.names.iter().any(|name| name == host),
        }
    }

    async fn metrics(self: &Arc<Self>) -> Response<Body> {
        let desk = Arc::clone(self);
        let page = tokio::task::spawn_blocking(move || desk.insight.report.text()).await;
        let Ok(Ok(page)) = page else {
            tracing::error!("the metrics could not be written");
            return plain(
                StatusCode::INTERNAL_SERVER_ERROR,
                "see the log of the hub\n",
            );
        };
        respond(StatusCode::OK, metrics::CONTENT_TYPE, page)
    }

    /// Stores answer, somebody serves rooms, and the hub is not ending.
    async fn readiness(&self) -> Response<Body> {
        let duty = self.insight.duty.as_ref().map(|duty| duty.borrow().clone());
        let duty = duty.unwrap_or(RoomsDuty::Here);
        let rooms = Some(metrics::name_of(&duty));
        if *self.insight.stopping.borrow() {
            return status(StatusCode::SERVICE_UNAVAILABLE, "stopping", rooms);
        }
        match timeout(CHECK_TIMEOUT, self.insight.health.check()).await {
            Ok(Ok(())) if duty == RoomsDuty::Nobody => {
                status(StatusCode::SERVICE_UNAVAILABLE, "waiting", rooms)
            }
            Ok(Ok(())) => status(StatusCode::OK, "ok", rooms),
            Ok(Err(_)) | Err(_) => status(StatusCode::SERVICE_UNAVAILABLE, "unavailable", rooms),
        }
    }
}

fn status(code: StatusCode, status: &str, rooms: Option<&str>) -> Response<Body> {
    let body = match rooms {
        Some(rooms) => serde_json::json!({ "status": status, "rooms": rooms }),
        None => serde_json::json!({ "status": status }),
    };
    respond(code, "application/json", body.to_string())
}

fn plain(code: StatusCode, text: &str) -> Response<Body> {
    respond(code, "text/plain; charset=utf-8", text.to_owned())
}

fn respond(code: StatusCode, content_type: &'static str, body: String) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
