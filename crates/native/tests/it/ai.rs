//! The HTTP client for AI providers, against one that speaks TCP.

use std::time::Duration;

use epicenter_native::ai::{AfterResponses, HostTimer, HttpUpstream};
use epicenter_server::ai::upstream::{
    AfterResponse as _, Body, HeaderText, Timer as _, Upstream as _, UpstreamError,
    UpstreamRequest, UpstreamResponse,
};
use epicenter_server::secret::Secret;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};

use crate::wait;

/// Longer than anything here takes; a test that waits this long fails.
const LIMIT: Duration = Duration::from_secs(20);

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, format!("http://{address}/v1/chat/completions"))
}

fn request(url: &str) -> UpstreamRequest {
    UpstreamRequest {
        url: url.to_owned(),
        headers: vec![
            (
                "authorization",
                HeaderText::Key {
                    scheme: "Bearer ",
                    key: Secret::presented("sk-canary"),
                },
            ),
            ("content-type", HeaderText::Plain("application/json")),
        ],
        body: Body("{\"stream\":true}".into()),
    }
}

/// The whole request, whose body is known to end like this.
async fn read_request(socket: &mut TcpStream) -> String {
    let mut text = Vec::new();
    while !text.ends_with(b"true}") {
        let mut piece = [0; 4_096];
        let length = timeout(LIMIT, socket.read(&mut piece))
            .await
            .unwrap()
            .unwrap();
        assert_ne!(length, 0, "the request broke off");
        text.extend_from_slice(&piece[..length]);
    }
    String::from_utf8(text).unwrap()
}

type Call = tokio::task::JoinHandle<Result<UpstreamResponse, UpstreamError>>;

/// A call by a client of its own, the provider's side of it, and what it was asked.
async fn call_and_read(listener: &TcpListener, url: &str) -> (Call, TcpStream, String) {
    let upstream = HttpUpstream::new().unwrap();
    let asked = request(url);
    let call = tokio::spawn(async move { upstream.send(asked).await });
    let (mut socket, _) = timeout(LIMIT, listener.accept()).await.unwrap().unwrap();
    let seen = read_request(&mut socket).await;
    (call, socket, seen)
}

async fn call(listener: &TcpListener, url: &str) -> (Call, TcpStream) {
    let (call, socket, _) = call_and_read(listener, url).await;
    (call, socket)
}

#[test]
fn pieces_come_as_they_are_sent_and_dropping_closes_the_connection() {
    wait(async {
        let (listener, url) = listen().await;
        let (call, mut socket, seen) = call_and_read(&listener, &url).await;
        let seen = seen.to_ascii_lowercase();
        assert!(
            seen.starts_with("post /v1/chat/completions http/1.1"),
            "{seen}"
        );
        assert!(seen.contains("authorization: bearer sk-canary\r\n"));
        assert!(!seen.contains("accept-encoding"), "{seen}");
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut response = timeout(LIMIT, call).await.unwrap().unwrap().unwrap();
        assert_eq!(response.status, 200);
        for piece in ["one", "two"] {
            let chunk = format!("3\r\n{piece}\r\n");
            socket.write_all(chunk.as_bytes()).await.unwrap();
            // The provider sends nothing more before this one was heard.
            let heard = timeout(LIMIT, response.body.next()).await.unwrap();
            assert_eq!(heard.unwrap().unwrap(), piece);
        }
        let dropped_at = Instant::now();
        drop(response);
        let mut rest = [0; 16];
        let closed = timeout(LIMIT, socket.read(&mut rest)).await.unwrap();
        assert!(matches!(closed, Ok(0) | Err(_)), "{closed:?}");
        assert!(dropped_at.elapsed() < Duration::from_secs(1));
    });
}

#[test]
fn a_call_that_is_dropped_before_its_answer_closes_the_connection() {
    wait(async {
        let (listener, url) = listen().await;
        let (call, mut socket) = call(&listener, &url).await;
        call.abort();
        let mut rest = [0; 16];
        let closed = timeout(Duration::from_secs(1), socket.read(&mut rest)).await;
        assert!(matches!(closed, Ok(Ok(0) | Err(_))), "{closed:?}");
    });
}

#[test]
fn redirects_are_answers_and_broken_connections_are_told_apart() {
    wait(async {
        let (listener, url) = listen().await;
        let (call, mut socket) = call(&listener, &url).await;
        let head = "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
        socket.write_all(head.as_bytes()).await.unwrap();
        let response = timeout(LIMIT, call).await.unwrap().unwrap().unwrap();
        assert_eq!(response.status, 307, "a key does not travel on");
        drop((socket, response));

        let (call, mut socket) = self::call(&listener, &url).await;
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf";
        socket.write_all(head.as_bytes()).await.unwrap();
        drop(socket);
        let mut response = timeout(LIMIT, call).await.unwrap().unwrap().unwrap();
        let mut last = None;
        while let Some(piece) = timeout(LIMIT, response.body.next()).await.unwrap() {
            last = Some(piece);
        }
        assert_eq!(last, Some(Err(UpstreamError::Lost)));

        // Bound, so that nobody else is given the port, and not listened on.
        let closed = TcpSocket::new_v4().unwrap();
        closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let url = format!("http://{}/v1", closed.local_addr().unwrap());
        let upstream = HttpUpstream::new().unwrap();
        let refused = timeout(LIMIT, upstream.send(request(&url))).await.unwrap();
        assert_eq!(refused.unwrap_err(), UpstreamError::Unreachable);
        let nonsense = upstream.send(request("no url")).await;
        assert_eq!(nonsense.unwrap_err(), UpstreamError::Unreachable);
    });
}

#[test]
fn work_after_responses_is_waited_for() {
    wait(async {
        let after = AfterResponses::default();
        timeout(LIMIT, after.drained()).await.unwrap();
        let (done, is_done) = tokio::sync::oneshot::channel::<()>();
        after.run(Box::pin(async move {
            is_done.await.unwrap();
        }));
        after.run(Box::pin(async { HostTimer.sleep(Duration::ZERO).await }));
        assert!(after.drained().now_or_never().is_none());
        done.send(()).unwrap();
        timeout(LIMIT, after.drained()).await.unwrap();
    });
}
