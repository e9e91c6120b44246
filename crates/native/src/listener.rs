//! Accepting connections and serving HTTP/1.1 on them; completing the upgrades that the router decided.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use epicenter_api::{ApiError, ErrorName};

use epicenter_server::ai::CHAT_PATHS;
use epicenter_server::upgrade::UpgradeDecision;
use epicenter_sync::CloseCode;
use http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    UPGRADE,
};
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tower::ServiceExt;

use crate::admission::{Admission, Refused};
use crate::config::LimitsConfig;
use crate::lingering_body::LingeringBody;
use crate::metrics::HttpStats;
use crate::peer::TrustedProxies;
use crate::rooms::RoomRegistry;
use crate::rooms::outbox::CloseOrder;
use crate::socket::{Joining, Socket, note_close};

/// How long a client may take to send its request head; also how long an idle kept-alive connection stays.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Request heads; a bearer token of ours is about 1 KiB.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// For a finished answer to leave during a shutdown.
const LAST_ANSWER: Duration = Duration::from_millis(500);
/// After a failed accept (out of file descriptors, most likely) before the next try.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Upgraded connections that wait for a task of their own. The loop that accepts takes them as they come, and what finds
/// the queue full waits: some more than arrive in one turn of the loop are enough.
const MAX_UPGRADES_WAITING: usize = 64;

/// What every connection shares.
pub(crate) struct Front {
    pub(crate) router: Router,
    pub(crate) rooms: RoomRegistry,
    pub(crate) admission: Arc<Admission>,
    pub(crate) http: Arc<HttpStats>,
    pub(crate) limits: LimitsConfig,
    pub(crate) trusted_proxies: TrustedProxies,
    /// How long a request may take in all.
    pub(crate) request_time: Duration,
}

/// Serves until `stopping` turns true, then stops accepting, lets open requests and sockets end, and returns when all
/// have, or once `ending` turns true: what is still open is dropped then, and gone when this returns.
pub(crate) async fn serve(
    listener: TcpListener,
    front: Arc<Front>,
    mut stopping: watch::Receiver<bool>,
    mut ending: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    // A socket lives long and needs little: it gets a task of its own instead of what served its HTTP request.
    let mut sockets = JoinSet::new();
    let (upgraded, mut upgrading) = mpsc::channel::<Upgrading>(MAX_UPGRADES_WAITING);
    loop {
        tokio::select! {
            Some(next) = upgrading.recv() => {
                let front = Arc::clone(&front);
                sockets.spawn(async move { front.run_socket(next).await });
            }
            Some(_ended) = sockets.join_next(), if !sockets.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let connection = Connection {
                        front: Arc::clone(&front),
                        peer: peer.ip(),
                        stopping: stopping.clone(),
                        upgraded: upgraded.clone(),
                    };
                    connections.spawn(connection.serve(stream));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_ended) = connections.join_next(), if !connections.is_empty() => {}
            () = stopped(&mut stopping) => break,
        }
    }
    drop((listener, upgraded));
    loop {
        tokio::select! {
            Some(_ended) = connections.join_next() => {}
            Some(next) = upgrading.recv() => {
                let front = Arc::clone(&front);
                sockets.spawn(async move { front.run_socket(next).await });
            }
            Some(_ended) = sockets.join_next() => {}
            () = stopped(&mut ending), if !connections.is_empty() || !sockets.is_empty() => {
                connections.shutdown().await;
                sockets.shutdown().await;
                break;
            }
            else => break,
        }
    }
}

async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // An error means that the hub itself is gone.
    drop(stopping.wait_for(|stop| *stop).await);
}

struct Connection {
    front: Arc<Front>,
    peer: IpAddr,
    stopping: watch::Receiver<bool>,
    upgraded: mpsc::Sender<Upgrading>,
}

/// A socket to run once HTTP has let go of the connection.
struct Upgrading {
    on_upgrade: OnUpgrade,
    decision: UpgradeDecision,
    revocations_seen: u64,
}

impl Connection {
    async fn serve(mut self, stream: TcpStream) {
        // Frames are small and answered at once; waiting to fill packets would only delay them.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY could not be set");
        }
        if let Some(upgrading) = self.serve_http(stream).await {
            // The loop takes it: it waits for no connection that it has not aborted. Nobody does when the hub is gone.
            drop(self.upgraded.send(upgrading).await);
        }
    }

    /// Serves requests until the connection ends or becomes a socket.
    async fn serve_http(&mut self, stream: TcpStream) -> Option<Upgrading> {
        let (upgraded, mut upgrading) = mpsc::channel(1);
        let front = Arc::clone(&self.front);
        let peer = self.peer;
        let open_requests = Arc::new(AtomicUsize::new(0));
        let requests = Arc::clone(&open_requests);
        let service = service_fn(move |request: Request<Incoming>| {
            let front = Arc::clone(&front);
            let upgraded = upgraded.clone();
            let requests = Arc::clone(&requests);
            async move {
                requests.fetch_add(1, Ordering::Relaxed);
                let began = Instant::now();
                let (response, socket) = front.answer(request, peer).await;
                front.http.note(&response, began.elapsed());
                requests.fetch_sub(1, Ordering::Relaxed);
                if let Some(socket) = socket {
                    // One connection is upgraded at most once, so the slot is free.
                    drop(upgraded.try_send(socket));
                }
                Ok::<_, Infallible>(response)
            }
        });
        let mut http = pin!(
            http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .max_buf_size(MAX_HEAD_BYTES)
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades()
        );
        let served = tokio::select! {
            served = http.as_mut() => served,
            () = stopped(&mut self.stopping) => {
                http.as_mut().graceful_shutdown();
                // Whoever has not sent a whole request head by now is owed nothing, and could hold up the shutdown.
                let answered = timeout(LAST_ANSWER, http.as_mut());
                match answered.await {
                    Err(_late) if open_requests.load(Ordering::Relaxed) == 0 => return None,
                    Err(_late) => http.await,
                    Ok(served) => served,
                }
            }
        };
        if let Err(error) = served {
            tracing::debug!(%error, "a connection ended early");
        }
        upgrading.try_recv().ok()
    }
}

impl Front {
    async fn answer(
        &self,
        mut request: Request<Incoming>,
        peer: IpAddr,
    ) -> (Response<Body>, Option<Upgrading>) {
        let client = self.trusted_proxies.client(peer, request.headers());
        request.extensions_mut().insert(client);
        // Read before the token is checked: what is revoked from here on is looked at again when the socket joins.
        let revocations_seen = self.rooms.revocations_seen();
        let on_upgrade = request
            .headers()
            .contains_key(UPGRADE)
            .then(|| hyper::upgrade::on(&mut request));
        let accept = request
            .headers()
            .get(SEC_WEBSOCKET_KEY)
            .and_then(|key| HeaderValue::try_from(derive_accept_key(key.as_bytes())).ok());
        let waits_for_model = CHAT_PATHS.contains(&request.uri().path());
        let (parts, body) = request.into_parts();
        let (body, body_taken) = LingeringBody::new(body);
        let request = Request::from_parts(parts, Body::new(body));
        let mut routed = pin!(self.router.clone().oneshot(request));
        let answered = match timeout(self.request_time, routed.as_mut()).await {
            // Models think, and AI has clocks of its own for that; only what the client owes is timed here.
            Err(_elapsed) if waits_for_model && body_taken.is_so() => Ok(routed.await),
            answered => answered,
        };
        let mut response = match answered {
            Ok(Ok(response)) => response,
            Err(_elapsed) => return (failed(ErrorName::Timeout), None),
        };
        let Some(decision) = response.extensions_mut().remove::<UpgradeDecision>() else {
            return (response, None);
        };
        // The router lets only well-formed upgrades through, which have both.
        let (Some(on_upgrade), Some(accept)) = (on_upgrade, accept) else {
            tracing::error!("the router upgraded a request that cannot be upgraded");
            return (failed(ErrorName::InternalError), None);
        };
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
        let upgrading = Upgrading {
            on_upgrade,
            decision,
            revocations_seen,
        };
        (response, Some(upgrading))
    }

    async fn run_socket(&self, upgrading: Upgrading) {
        let io = match upgrading.on_upgrade.await {
            Ok(io) => io,
            Err(error) => {
                tracing::debug!(%error, "an upgrade did not complete");
                return;
            }
        };
        let Some(mut socket) = Socket::upgraded(io, &self.limits) else {
            tracing::error!("what was upgraded is not a connection of this listener");
            return;
        };
        match upgrading.decision {
            UpgradeDecision::Refuse { code, reason } => {
                // The line of its request says code and reason.
                self.rooms.stats().closed_by_hub(code, &reason);
                socket.close(CloseOrder { code, reason }).await;
            }
            UpgradeDecision::Join {
                access,
                room,
                device,
                reports,
            } => match self.admission.admit(access.user()) {
                Ok(_admitted) => {
                    let joining = Joining {
                        access,
                        room,
                        device,
                        revocations_seen: upgrading.revocations_seen,
                        reports,
                    };
                    socket.run(&self.rooms, joining).await;
                }
                Err(Refused { limit }) => {
                    let error = ApiError::new(ErrorName::TooManyConnections)
                        .with_field("limit", limit as u64);
                    let order = CloseOrder {
                        code: CloseCode::Policy,
                        reason: error.close_reason(),
                    };
                    note_close(&self.rooms, &room, None, &order);
                    socket.close(order).await;
                }
            },
        }
    }
}

/// What the router did not get to answer itself.
fn failed(name: ErrorName) -> Response<Body> {
    let error = ApiError::new(name);
    let mut response = Response::new(Body::from(error.to_json()));
    *response.status_mut() =
        StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if name == ErrorName::Timeout {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
    }
    response
}
