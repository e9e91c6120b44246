use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::program::{Place, Serving, modes_below};

const STRONG: &str = "kX9#mQ2$vL7@nR4!pT8%wY1&zB5*cD3^";

#[test]
fn a_hub_without_configuration_serves() {
    let place = Place::new();
    let hub = place.serve_with(&[]);
    assert_ne!(hub.address.port(), 0);
    let health = hub.get("/healthz", "");
    assert!(health.starts_with("HTTP/1.1 200"), "{health}");
    hub.stop();

    let data_dir = if cfg!(target_os = "macos") {
        "Library/Application Support/epicenter/hub"
    } else {
        ".local/share/epicenter/hub"
    };
    assert!(place.path().join(data_dir).is_dir());
}

#[test]
fn nobody_else_can_read_the_data_directory() {
    let place = Place::new();
    let hub = place.serve();
    hub.get("/readyz", "");
    let modes = modes_below(&place.path().join("data"));
    assert!(modes.len() > 1, "the hub keeps something: {modes:?}");
    for (path, mode) in modes {
        assert_eq!(mode & 0o077, 0, "{} has mode {mode:o}", path.display());
    }
    hub.stop();
    for (path, mode) in modes_below(&place.path().join("data")) {
        assert_eq!(
            mode & 0o077,
            0,
            "{} has mode {mode:o} after the end",
            path.display()
        );
    }
}

/// A client that has begun a request and says no more.
fn stalled_client(hub: &Serving) -> TcpStream {
    let mut client = TcpStream::connect(hub.address).expect("the hub accepts");
    client
        .write_all(b"GET /healthz HTT")
        .expect("half a request is sent");
    // Connections are accepted in order: when this one is answered, the stalled one is open.
    hub.get("/healthz", "");
    client
}

/// A client whose request the hub has begun to answer and cannot finish: its body does not come.
fn waiting_client(hub: &Serving) -> TcpStream {
    let mut client = TcpStream::connect(hub.address).expect("the hub accepts");
    client
        .set_read_timeout(Some(Duration::from_secs(60)))
        .expect("a socket option");
    let head = format!(
        "POST /auth/sign-in/email HTTP/1.1\r\nHost: {address}\r\nOrigin: http://{address}\r\n\
         Content-Type: application/json\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n",
        address = hub.address
    );
    client.write_all(head.as_bytes()).expect("the head is sent");
    // Said when the body is wanted. Half a head would hold up the shutdown for half a second only.
    let mut said = [0; 12];
    client.read_exact(&mut said).expect("the hub asks for it");
    assert_eq!(&said, b"HTTP/1.1 100");
    client
}

#[test]
fn both_signals_end_the_hub_within_its_deadline() {
    for signal in [Signal::TERM, Signal::INT] {
        let place = Place::new().with_file("epicenter-hub.toml", "shutdown_deadline = \"2s\"\n");
        let hub = place.serve();
        let _client = stalled_client(&hub);
        let begin = Instant::now();
        hub.signal(signal);
        let (status, rest, stderr) = hub.end();
        assert_eq!(status.code(), Some(0), "{stderr}");
        assert_eq!(rest, "", "stdout carries one line only");
        assert!(
            begin.elapsed() < Duration::from_secs(10),
            "the deadline is 2 s"
        );
    }
}

#[test]
fn a_second_signal_ends_the_hub_at_once() {
    let place = Place::new().with_file("epicenter-hub.toml", "shutdown_deadline = \"10m\"\n");
    let hub = place.serve();
    let _client = waiting_client(&hub);
    // Two kinds, because a signal that is sent twice may arrive once.
    hub.signal(Signal::TERM);
    hub.signal(Signal::INT);
    let (status, _, stderr) = hub.end();
    assert_eq!(status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("a second signal ended the hub"), "{stderr}");

    place.serve().stop();
}

#[test]
fn a_second_hub_on_the_same_data_is_refused() {
    let place = Place::new();
    let first = place.serve();
    let complaint = place
        .run(&[
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--data-dir",
            "data",
            "--log",
            "error",
        ])
        .complaint(2);
    assert!(complaint.contains("data"), "{complaint}");
    assert!(
        first.get("/healthz", "").starts_with("HTTP/1.1 200"),
        "the first is unharmed"
    );
    first.stop();
    place.serve().stop();
}

#[test]
fn a_taken_port_is_refused() {
    let place = Place::new();
    let first = place.serve();
    let address = first.address.to_string();
    let complaint = place
        .run(&["serve", "--listen", &address, "--data-dir", "other"])
        .complaint(2);
    assert!(complaint.contains(&address), "{complaint}");
    first.stop();
}

#[test]
fn given_secrets_are_not_copied_and_nothing_secret_is_logged() {
    let place = Place::new()
        .with_variable("AUTH_SECRET", STRONG)
        .with_variable("ENCRYPTION_SECRETS", &format!("1:{STRONG}"))
        .with_variable("RUST_LOG", "trace");
    let hub = place.serve();
    hub.get(
        "/healthz?token=query-text",
        "Authorization: Bearer header-text\r\n",
    );
    let logged = hub.stop();
    for secret in [STRONG, "query-text", "header-text"] {
        assert!(!logged.contains(secret), "{secret} is logged");
    }
    assert!(
        logged.lines().all(|line| line.starts_with('{')),
        "JSON when stderr is no terminal: {logged}"
    );
    for (path, _) in modes_below(&place.path().join("data")) {
        if path.is_file() {
            let bytes = fs::read(&path).expect("a readable file");
            assert!(
                !bytes
                    .windows(STRONG.len())
                    .any(|window| window == STRONG.as_bytes()),
                "{}",
                path.display()
            );
        }
    }
}

#[test]
fn the_mode_of_the_first_start_stays() {
    let shared = "mode = \"shared\"\n[shared]\nadmit = { domains = [\"example.org\"] }\n";
    let place = Place::new().with_file("shared.toml", shared);
    place.serve().stop();
    let complaint = place
        .run(&[
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--data-dir",
            "data",
            "--config",
            "shared.toml",
            "--log",
            "error",
        ])
        .complaint(2);
    assert!(
        complaint.contains("personal") && complaint.contains("shared"),
        "{complaint}"
    );
}
