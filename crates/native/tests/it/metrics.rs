//! What a hub shows its operator on the admin listener (docs/operations.md, Metrics).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use epicenter_native::Hub;
use epicenter_native::config::{AdminListen, HostConfig};
use epicenter_testkit::{HttpAnswer, HttpRequest, TestHub, Typist};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PATIENCE: Duration = Duration::from_secs(20);

fn on_a_free_port(config: &mut HostConfig) {
    config.admin.listen = AdminListen::At(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
}

async fn observed() -> TestHub {
    TestHub::start_with(on_a_free_port).await
}

async fn ask(hub: &TestHub, path: &str) -> HttpAnswer {
    HttpRequest::new("GET", path)
        .send(hub.admin_address())
        .await
}

/// The samples of one page by name and labels.
#[derive(Debug)]
struct Page {
    text: String,
    samples: BTreeMap<String, f64>,
}

impl Page {
    async fn of(hub: &TestHub) -> Self {
        let answer = ask(hub, "/metrics").await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), Some(OPENMETRICS));
        Self::parse(String::from_utf8(answer.body).unwrap())
    }

    fn parse(text: String) -> Self {
        assert!(text.ends_with("\n# EOF\n"), "a whole page");
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let samples = samples.map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        });
        Self {
            samples: samples.collect(),
            text,
        }
    }

    #[track_caller]
    fn value(&self, sample: &str) -> f64 {
        let value = self.samples.get(sample);
        *value.unwrap_or_else(|| panic!("no {sample} in\n{}", self.text))
    }

    /// The rows of the table in the documentation that describe this page.
    fn table(&self) -> Vec<String> {
        let families = self
            .text
            .lines()
            .filter_map(|line| line.strip_prefix("# HELP "));
        let row = |family: &str| {
            let (name, help) = family.split_once(' ').unwrap();
            let kind = format!("# TYPE {name} ");
            let kind = self
                .text
                .lines()
                .find_map(|line| line.strip_prefix(&kind))
                .unwrap();
            let suffix = if kind == "counter" { "_total" } else { "" };
            let labels: BTreeSet<&str> = self
                .samples
                .keys()
                .flat_map(|sample| labels_of(sample, name))
                .collect();
            let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
            format!(
                "| `{name}{suffix}` | {kind} | {} | {help} |",
                labels.join(", ")
            )
        };
        families.map(row).collect()
    }
}

/// The names of the labels of a sample, if it belongs to the family.
fn labels_of<'a>(sample: &'a str, family: &str) -> Vec<&'a str> {
    let Some((name, labels)) = sample.split_once('{') else {
        return Vec::new();
    };
    let suffix = name.strip_prefix(family).unwrap_or("?");
    if !matches!(suffix, "" | "_total" | "_bucket" | "_sum" | "_count") {
        return Vec::new();
    }
    let labels = labels.trim_end_matches('}').split("\",");
    let names = labels.filter_map(|label| label.split_once("=\"").map(|(name, _)| name));
    names.filter(|name| *name != "le").collect()
}

/// Looks until a page is as wanted.
async fn until(hub: &TestHub, wanted: impl Fn(&Page) -> bool) -> Page {
    let began = Instant::now();
    loop {
        let page = Page::of(hub).await;
        if wanted(&page) {
            return page;
        }
        assert!(began.elapsed() < PATIENCE, "in vain:\n{}", page.text);
    }
}

#[tokio::test]
async fn traffic_is_counted() {
    let hub = observed().await;
    let before = Page::of(&hub).await;
    for sample in [
        "epicenter_sockets_open",
        "epicenter_rooms_loaded",
        "epicenter_updates_accepted_total",
        "epicenter_log_rows_total",
        "epicenter_sign_ins_total",
    ] {
        assert_eq!(before.value(sample), 0.0, "{sample}");
    }
    let ada = hub.user("ada@example.test").await;
    let mut laptop = hub.open(&ada, "notes", "laptop").await;
    let mut phone = hub.open(&ada, "notes", "phone").await;
    laptop.drain().await;
    phone.drain().await;
    let mut typist = Typist::new(7);
    for text in ["hello", " ", "world"] {
        let update = typist.types(text);
        laptop.send_update(&update).await;
        assert_eq!(phone.next_update().await, update);
    }
    phone.send_step1(&[0]).await;
    phone.next_update().await;
    let open = Page::of(&hub).await;
    assert_eq!(open.value("epicenter_sockets_open"), 2.0);
    assert_eq!(open.value("epicenter_rooms_loaded"), 1.0);
    assert_eq!(open.value("epicenter_rooms_awake"), 1.0);
    assert_eq!(open.value("epicenter_room_connections"), 2.0);
    assert_eq!(open.value("epicenter_inbox_commands"), 0.0);
    assert_eq!(open.value("epicenter_updates_accepted_total"), 3.0);
    assert_eq!(
        open.value("epicenter_frames_received_total{kind=\"binary\"}"),
        4.0
    );
    assert!(open.value("epicenter_frames_received_bytes_total") > 11.0);
    // The updates to the phone and its answer, at least; presence beside them.
    assert!(open.value("epicenter_frames_sent_total") >= 4.0);
    assert!(open.value("epicenter_frames_sent_bytes_total") > 22.0);
    // Three updates and the entry that the room exists.
    assert_eq!(open.value("epicenter_log_rows_total"), 4.0);
    assert!(open.value("epicenter_log_commit_duration_seconds_count") >= 3.0);
    assert!(open.value("epicenter_log_commit_duration_seconds_sum") > 0.0);
    assert!(open.value("epicenter_state_build_duration_seconds_count{purpose=\"load\"}") >= 1.0);
    assert!(open.value("epicenter_state_build_duration_seconds_count{purpose=\"answer\"}") >= 1.0);
    assert!(open.value("epicenter_cache_bytes") > 0.0);
    let room = "route=\"/api/owners/{owner}/rooms/{room}\"";
    assert_eq!(
        open.value(&format!(
            "epicenter_http_requests_total{{{room},status=\"1xx\"}}"
        )),
        2.0
    );
    phone.close().await;
    drop(laptop);
    until(&hub, |page| page.value("epicenter_sockets_open") == 0.0).await;
    // That page may have been written while it happened.
    let left = Page::of(&hub).await;
    assert_eq!(
        left.value("epicenter_socket_closes_total{by=\"peer\",code=\"none\"}"),
        1.0
    );
    assert_eq!(
        left.value("epicenter_socket_closes_total{by=\"lost\",code=\"none\"}"),
        1.0
    );
    hub.stop().await;
}

#[tokio::test]
async fn bad_input_is_counted_each_time() {
    let hub = observed().await;
    let ada = hub.user("ada@example.test").await;
    let mut socket = hub.open(&ada, "notes", "laptop").await;
    socket.drain().await;
    for _ in 0..3 {
        socket.send(Message::binary(vec![0x00, 0x09])).await;
        socket
            .send_text(r#"{"type":"dispatch_response","id":""}"#)
            .await;
    }
    socket.drain().await;
    socket.send_text("Ping").await;
    assert_eq!(socket.closed().await.0, 4400);
    let mut refused = hub.open(&ada, "notes", "laptop").await;
    refused.drain().await;
    refused.send(Message::binary(vec![0x02; 6 << 20])).await;
    assert_eq!(refused.closed().await.0, 1009);
    let page = Page::of(&hub).await;
    let dropped = |what| {
        page.value(&format!(
            "epicenter_frames_dropped_total{{what=\"{what}\"}}"
        ))
    };
    assert_eq!(
        dropped("frame_of_an_unknown_subtype") + dropped("frame"),
        3.0
    );
    assert_eq!(dropped("text_with_malformed_fields"), 3.0);
    assert_eq!(page.value("epicenter_socket_protocol_errors_total"), 1.0);
    for code in ["4400", "1009"] {
        let closes = format!("epicenter_socket_closes_total{{by=\"hub\",code=\"{code}\"}}");
        assert_eq!(page.value(&closes), 1.0, "{code}");
    }
    assert_eq!(page.value("epicenter_updates_accepted_total"), 0.0);
    hub.stop().await;
}

#[tokio::test]
async fn a_refused_update_is_counted_by_its_limit() {
    let hub = TestHub::start_with(|config| {
        on_a_free_port(config);
        config.rooms.limits.max_structs = 0;
    })
    .await;
    let ada = hub.user("ada@example.test").await;
    let mut socket = hub.open(&ada, "notes", "laptop").await;
    socket.drain().await;
    socket.send_update(&Typist::new(7).types("hello")).await;
    assert_eq!(socket.closed().await.0, 1007);
    let page = Page::of(&hub).await;
    assert_eq!(
        page.value("epicenter_updates_refused_total{limit=\"max_structs\"}"),
        1.0
    );
    assert_eq!(
        page.value("epicenter_updates_refused_total{limit=\"quota\"}"),
        0.0
    );
    assert_eq!(
        page.value("epicenter_socket_closes_total{by=\"hub\",code=\"1007\"}"),
        1.0
    );
    hub.stop().await;
}

#[tokio::test]
async fn a_slow_consumer_is_counted() {
    let hub = TestHub::start_with(|config| {
        on_a_free_port(config);
        config.limits.max_outbound_bytes = 256 * 1024;
    })
    .await;
    let ada = hub.user("ada@example.test").await;
    let mut slow = hub.open(&ada, "notes", "slow").await;
    slow.drain().await;
    let mut writer = hub.open(&ada, "notes", "writer").await;
    writer.drain().await;
    let mut typist = Typist::new(9);
    // More than the kernel's socket buffers and the outbox together take.
    let text = "y".repeat(256 * 1024);
    for _ in 0..60 {
        writer.send_update(&typist.types(&text)).await;
    }
    until(&hub, |page| {
        page.value("epicenter_slow_consumers_total") > 0.0
    })
    .await;
    // That page may have been written while it happened.
    let page = Page::of(&hub).await;
    assert_eq!(page.value("epicenter_slow_consumers_total"), 1.0);
    assert_eq!(
        page.value("epicenter_socket_closes_total{by=\"hub\",code=\"1013\"}"),
        1.0
    );
    drop(slow);
    hub.stop().await;
}

#[tokio::test]
async fn requests_sign_ins_and_refusals_are_counted() {
    let hub = observed().await;
    hub.user("ada@example.test").await;
    for token in ["not-a-token", "another"] {
        let request = HttpRequest::new("GET", "/api/session").bearer(token);
        assert_eq!(request.send(hub.address()).await.status, 401);
    }
    let nowhere = HttpRequest::new("GET", "/of-nobody").send(hub.address());
    assert_eq!(nowhere.await.status, 404);
    let sign_in = async |password: &str| {
        let body = format!(r#"{{"email":"ada@example.test","password":"{password}"}}"#);
        let request = HttpRequest::new("POST", "/auth/sign-in/email")
            .header("Content-Type", "application/json")
            .header("Origin", &format!("http://{}", hub.address()));
        request.body(body).send(hub.address()).await.status
    };
    assert_eq!(sign_in("wrong horse battery").await, 401);
    assert_eq!(sign_in(epicenter_testkit::PASSWORD).await, 200);
    let form = "grant_type=refresh_token&client_id=nobody&refresh_token=x";
    let request = HttpRequest::new("POST", "/auth/oauth2/token")
        .header("Content-Type", "application/x-www-form-urlencoded");
    assert_eq!(request.body(form).send(hub.address()).await.status, 401);

    let page = Page::of(&hub).await;
    let answered = |route, class| {
        page.value(&format!(
            "epicenter_http_requests_total{{route=\"{route}\",status=\"{class}\"}}"
        ))
    };
    // `TestHub::user` has asked once.
    assert_eq!(answered("/api/session", "2xx"), 1.0);
    assert_eq!(answered("/api/session", "4xx"), 2.0);
    assert_eq!(answered("none", "4xx"), 1.0);
    assert_eq!(
        page.value("epicenter_http_request_duration_seconds_count{route=\"/api/session\"}"),
        3.0
    );
    assert_eq!(
        page.value("epicenter_http_refusals_total{error=\"InvalidToken\"}"),
        2.0
    );
    assert_eq!(page.value("epicenter_sign_ins_total"), 1.0);
    assert_eq!(
        page.value("epicenter_sign_ins_refused_total{reason=\"invalid_credentials\"}"),
        1.0
    );
    assert_eq!(
        page.value("epicenter_tokens_refused_total{error=\"invalid_client\"}"),
        1.0
    );
    assert_eq!(page.value("epicenter_rooms_duty{who=\"here\"}"), 1.0);
    assert!(page.value("process_start_time_seconds") > 1.7e9);
    hub.stop().await;
}

#[tokio::test]
async fn the_table_in_the_documentation_is_the_page() {
    let hub = observed().await;
    hub.user("ada@example.test").await;
    let rows = Page::of(&hub).await.table();
    let operations = include_str!("../../../../docs/operations.md");
    let documented = operations.lines();
    let documented: Vec<&str> = documented
        .filter(|line| line.starts_with("| `epicenter_") || line.starts_with("| `process_"))
        .collect();
    assert_eq!(
        rows,
        documented,
        "the table should be:\n{}",
        rows.join("\n")
    );
    hub.stop().await;
}

#[tokio::test]
async fn no_user_data_is_shown() {
    let hub = observed().await;
    let ada = hub.user("canary@example.test").await;
    let mut socket = hub.open(&ada, "canary-room", "canary-device").await;
    socket.drain().await;
    socket.send_update(&Typist::new(7).types("canary")).await;
    for path in [
        "/canary",
        "/api/owners/canary/rooms/canary?canary=1",
        "/canary\"}%0a1",
    ] {
        let request = HttpRequest::new("GET", path).bearer(&ada.token);
        request
            .header("User-Agent", "canary")
            .send(hub.address())
            .await;
    }
    socket.send_text("canary").await;
    socket.closed().await;
    let text = Page::of(&hub).await.text;
    assert!(!text.contains("canary"), "{text}");
    assert!(!text.contains(&ada.owner), "{text}");
    assert!(!text.contains(ada.token.as_str()), "{text}");
    assert!(!text.contains("127.0.0.1"), "{text}");
    hub.stop().await;
}

#[tokio::test]
async fn only_three_paths_and_two_methods_are_served() {
    let hub = observed().await;
    let live = ask(&hub, "/healthz").await;
    assert_eq!(
        (live.status, live.json()["status"].as_str()),
        (200, Some("ok"))
    );
    let ready = ask(&hub, "/readyz").await;
    assert_eq!(ready.status, 200);
    assert_eq!(
        ready.json(),
        serde_json::json!({ "status": "ok", "rooms": "here" })
    );
    for path in ["/", "/api/session", "/metrics/", "/sign-in", "//metrics"] {
        assert_eq!(ask(&hub, path).await.status, 404, "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let request = HttpRequest::new(method, "/metrics");
        let answer = request
            .header("Origin", "https://evil.example")
            .send(hub.admin_address())
            .await;
        assert_eq!(answer.status, 405, "{method}");
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    let head = HttpRequest::new("HEAD", "/metrics")
        .send(hub.admin_address())
        .await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    // The public listener shows no metrics.
    let public = HttpRequest::new("GET", "/metrics")
        .send(hub.address())
        .await;
    assert_eq!(public.status, 404);
    hub.stop().await;
}

#[tokio::test]
async fn a_page_that_had_its_name_point_here_reads_nothing() {
    let hub = TestHub::start_with(|config| {
        on_a_free_port(config);
        config.admin.hosts = vec!["Hub.internal".to_owned()];
    })
    .await;
    let address = hub.admin_address();
    let status = async |host: &str| {
        let request = HttpRequest::new("GET", "/metrics").header("Host", host);
        request.send(address).await.status
    };
    let port = address.port();
    for host in [
        "localhost",
        "127.0.0.1",
        "[::1]",
        "LOCALHOST",
        "hub.internal",
        "HUB.internal:1",
    ] {
        assert_eq!(status(host).await, 200, "{host}");
    }
    assert_eq!(status(&format!("localhost:{port}")).await, 200);
    for host in [
        "evil.example",
        "localhost.evil.example",
        "10.0.0.1",
        "127.0.0.1.evil.example",
    ] {
        assert_eq!(status(host).await, 421, "{host}");
    }
    assert_eq!(status(&format!("evil.example:{port}")).await, 421);
    let raw = async |head: &str| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer.split(' ').nth(1).unwrap().to_owned()
    };
    let none = "GET /metrics HTTP/1.1\r\n\r\n";
    assert_eq!(raw(none).await, "400");
    let two = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n";
    assert_eq!(raw(two).await, "400");
    let absolute = "GET http://evil.example/metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_eq!(raw(absolute).await, "421");
    hub.stop().await;
}

#[tokio::test]
async fn connections_that_say_nothing_do_not_keep_scrapers_out_for_long() {
    let hub = observed().await;
    let address = hub.admin_address();
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    let began = Instant::now();
    assert_eq!(ask(&hub, "/healthz").await.status, 200);
    assert!(began.elapsed() < PATIENCE);
    drop(silent);
    hub.stop().await;
}

#[tokio::test]
async fn a_taken_port_matters_only_to_those_who_asked_for_it() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = taken.local_addr().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let mut config = HostConfig::for_tests(directory.path().join("data"));
    config.admin.listen = AdminListen::At(address);
    let error = Hub::start(config.clone()).await.map(drop).unwrap_err();
    let error = format!("{error:#}");
    assert!(
        error.contains("admin.listen") && error.contains(&address.to_string()),
        "{error}"
    );
    config.admin.listen = AdminListen::IfFree(address);
    let hub = Hub::start(config.clone()).await.unwrap();
    assert_eq!(hub.admin_address(), None);
    hub.shutdown().await;
    drop(taken);
    // Somebody else may be given the port before this hub has it, and the next one, but not all of them.
    let mut address = address;
    for attempt in 1.. {
        config.admin.listen = AdminListen::IfFree(address);
        let hub = Hub::start(config.clone()).await.unwrap();
        let served = hub.admin_address();
        hub.shutdown().await;
        if served == Some(address) {
            break;
        }
        assert_eq!(served, None);
        assert!(attempt < 10, "{address} is not free either");
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        address = free.local_addr().unwrap();
    }
    config.admin.listen = AdminListen::Off;
    let hub = Hub::start(config).await.unwrap();
    assert_eq!(hub.admin_address(), None);
    hub.shutdown().await;
}

#[tokio::test]
async fn metrics_are_served_until_the_end() {
    let hub = TestHub::start_with(|config| {
        on_a_free_port(config);
        config.shutdown_deadline_ms = 120_000;
    })
    .await;
    let ada = hub.user("ada@example.test").await;
    let address = hub.admin_address();
    let mut socket = hub.open(&ada, "notes", "laptop").await;
    socket.drain().await;
    // The hub waits for the rest of a request that it has begun to answer, so that it does not end under the test.
    let mut upload = TcpStream::connect(hub.address()).await.unwrap();
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n",
        ada.room_path("notes"),
        hub.address(),
        ada.token
    );
    upload.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    upload.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 100");
    let stopping = tokio::spawn(hub.stop());
    let began = Instant::now();
    let status = loop {
        let ready = HttpRequest::new("GET", "/readyz").send(address).await;
        if ready.status != 200 {
            break ready;
        }
        assert!(began.elapsed() < PATIENCE);
    };
    assert_eq!(status.status, 503);
    assert_eq!(status.json()["status"], "stopping");
    assert_eq!(socket.closed().await.0, 1001);
    let page = HttpRequest::new("GET", "/metrics").send(address).await;
    let page = Page::parse(String::from_utf8(page.body).unwrap());
    assert_eq!(
        page.value("epicenter_socket_closes_total{by=\"hub\",code=\"1001\"}"),
        1.0
    );
    drop(upload);
    stopping.await.unwrap();
    assert!(TcpStream::connect(address).await.is_err(), "it has ended");
}
