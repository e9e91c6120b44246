//! Answers that fail before the first byte of a stream: HTTP errors, with the documented name, and nothing charged.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::play::{Script, Step, UNTIL_CLOSE, answer, send};
use super::scene::{CANARY, Reply, Scene, case, until};
use crate::wait;

const ERROR: &str = r#"{"error":{"message":"Busy with sk-canary-e07b55.","code":"busy"}}"#;

const GOOD: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"good\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";

fn good() -> Script {
    vec![send(UNTIL_CLOSE), send(GOOD)]
}

fn error(status: &str, headers: &str) -> Script {
    vec![answer(status, headers, ERROR)]
}

/// What is expected: status, name, requests that the provider saw, `Retry-After` of the hub.
struct Expect(u16, &'static str, usize, Option<&'static str>);

#[test]
fn errors_before_the_first_byte_have_names_and_are_free() {
    let limited = |requests, after| Expect(429, "ProviderRateLimited", requests, after);
    let unavailable = |requests| Expect(502, "ProviderUnavailable", requests, None);
    let well = |requests| Expect(200, "", requests, None);
    let cases = [
        (
            vec![error("429 Too Many Requests", ""); 3],
            limited(3, None),
        ),
        (
            vec![error("429 Too Many Requests", "retry-after: 0\r\n"); 3],
            limited(3, Some("1")),
        ),
        (
            vec![error("429 Too Many Requests", "retry-after: 61\r\n")],
            limited(1, Some("61")),
        ),
        (
            vec![
                error("429 Too Many Requests", "retry-after-ms: 20\r\n"),
                good(),
            ],
            well(2),
        ),
        (
            vec![
                error(
                    "429 Too Many Requests",
                    "retry-after: Fri, 31 Dec 2027 23:59:59 GMT\r\n"
                );
                3
            ],
            limited(3, None),
        ),
        (
            vec![error("500 Internal Server Error", ""); 3],
            unavailable(3),
        ),
        (
            vec![
                error("500 Internal Server Error", "retry-after: 0\r\n"),
                good(),
            ],
            well(2),
        ),
        (
            vec![error("503 Service Unavailable", "retry-after: 3600\r\n")],
            Expect(502, "ProviderUnavailable", 1, Some("3600")),
        ),
        (
            vec![error("500 Internal Server Error", "retry-after: -1\r\n"); 3],
            unavailable(3),
        ),
        (
            vec![
                error("500 Internal Server Error", "retry-after: 0\r\n"),
                error("429 Too Many Requests", "retry-after: 99\r\n"),
            ],
            limited(2, Some("99")),
        ),
        (vec![error("401 Unauthorized", "")], unavailable(1)),
        (vec![error("418 I'm a teapot", "")], unavailable(1)),
        (vec![error("999 Whatever", ""); 3], unavailable(3)),
        (
            vec![
                vec![answer(
                    "502 Bad Gateway",
                    "content-type: text/html\r\n",
                    "<h1>sorry</h1>"
                )];
                3
            ],
            unavailable(3),
        ),
        // No error can be read, but its status is known.
        (
            vec![vec![send(
                "HTTP/1.1 400 Bad Request\r\ncontent-length: 1000\r\n\r\nhalf",
            )]],
            Expect(400, "InvalidRequest", 1, None),
        ),
        // No HTTP, or none that ends.
        (
            vec![vec![send("SSH-2.0-OpenSSH_9.9\r\n")]; 3],
            unavailable(3),
        ),
        (
            vec![vec![send(b"\x15\x03\x01\x00\x02\x02\x46")]; 3],
            unavailable(3),
        ),
        (
            vec![
                vec![
                    send("HTTP/1.1 200 OK\r\n"),
                    Step::Repeat(
                        b"x-more: and-more-and-more\r\n".repeat(1_000),
                        Duration::ZERO
                    )
                ];
                3
            ],
            unavailable(3),
        ),
        (
            vec![
                vec![send(
                    "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello"
                )];
                3
            ],
            unavailable(3),
        ),
        (vec![vec![Step::Reset]; 3], unavailable(3)),
    ];
    wait(async {
        let scene = Scene::start(cases.len() + 48, |_| {}).await;
        let asking = cases.iter().enumerate();
        let asking =
            asking.map(|(number, (scripts, _))| scene.ask("local", number, scripts.clone()));
        let replies: Vec<Reply> = futures_util::future::join_all(asking).await;
        for (number, (reply, (scripts, expect))) in replies.iter().zip(&cases).enumerate() {
            let Expect(status, name, requests, retry_after) = expect;
            let context = format!("{scripts:?}: {reply:?}");
            assert_eq!(reply.answer.status, *status, "{context}");
            assert_eq!(
                scene.provider.records(&case(number)).len(),
                *requests,
                "{context}"
            );
            assert_eq!(
                reply.answer.header("retry-after"),
                *retry_after,
                "{context}"
            );
            if *status != 200 {
                assert_eq!(reply.answer.error_name(), *name, "{context}");
            }
        }
        let rows = scene.rows(cases.len()).await;
        for (number, reply) in replies.iter().enumerate() {
            let name = case(number);
            Scene::check_row(&name, reply, &rows[&name]);
        }
        scene.check_all_is_free(cases.len()).await;
        scene.hub.stop().await;
    });
}

#[test]
fn gemini_is_asked_once() {
    wait(async {
        let scene = Scene::start(2, |_| {}).await;
        for (number, status) in ["429 Too Many Requests", "500 Internal Server Error"]
            .into_iter()
            .enumerate()
        {
            let reply = scene
                .ask("gemini", number, vec![error(status, "retry-after: 0\r\n")])
                .await;
            assert_eq!(reply.answer.status, [429, 502][number]);
            assert_eq!(scene.provider.records(&case(number)).len(), 1);
        }
        assert!(
            scene
                .rows(2)
                .await
                .values()
                .all(|row| row.credits.as_thousandths() == 0)
        );
        scene.hub.stop().await;
    });
}

#[test]
fn a_provider_that_does_not_begin_is_left_in_time() {
    let silent: Vec<Script> = vec![
        vec![Step::Hold],
        vec![send("HTTP/1.1 200 OK\r\n"), Step::Hold],
        vec![send(super::play::STREAM), Step::Hold],
        // Each of these says that the answer will come.
        vec![Step::Repeat(
            b"HTTP/1.1 100 Continue\r\n\r\n".to_vec(),
            Duration::from_millis(50),
        )],
        vec![
            send("HTTP/1.1 200 OK\r\n"),
            Step::Repeat(b"x-more: 1\r\n".to_vec(), Duration::from_millis(200)),
        ],
    ];
    wait(async {
        let scene = Scene::start_impatient(silent.len()).await;
        let asking = silent.iter().enumerate();
        let asking =
            asking.map(|(number, script)| scene.ask("local", number, vec![script.clone()]));
        for (number, reply) in futures_util::future::join_all(asking)
            .await
            .iter()
            .enumerate()
        {
            assert_eq!(reply.answer.status, 502, "{number}: {reply:?}");
            assert_eq!(reply.answer.error_name(), "ProviderUnavailable");
            // It may come to read what it was asked only after the hub has left.
            scene.asked(number).await;
            assert_eq!(
                scene.provider.records(&case(number)).len(),
                1,
                "nobody waits twice: {number}"
            );
        }
        until("the hub leaves the provider", || {
            scene.provider.open_requests() == 0
        })
        .await;
        let rows = scene.rows(silent.len()).await;
        assert!(rows.values().all(|row| row.credits.as_thousandths() == 0));
        scene.hub.stop().await;
    });
}

#[test]
fn a_redirect_is_not_followed_and_no_key_travels() {
    wait(async {
        let scene = Scene::start(8, |_| {}).await;
        let elsewhere = super::play::Provider::start().await;
        elsewhere.expect(&case(0), vec![good(); 8]);
        let statuses = [
            "301 Moved",
            "302 Found",
            "303 See Other",
            "307 Temporary Redirect",
            "308 Permanent Redirect",
        ];
        for (number, status) in statuses.into_iter().enumerate() {
            let location = format!("location: http://{}/v1/{}\r\n", elsewhere.address, case(0));
            let reply = scene
                .ask("local", number, vec![error(status, &location)])
                .await;
            assert_eq!(reply.answer.status, 502, "{reply:?}");
            assert_eq!(
                reply.answer.json()["error"]["providerStatus"],
                status[..3].parse::<u16>().unwrap()
            );
            let [record] = &scene.provider.records(&case(number))[..] else {
                panic!("{status}: asked more than once");
            };
            assert!(
                record.request.contains(CANARY),
                "the key is where it belongs"
            );
        }
        assert!(elsewhere.records(&case(0)).is_empty());
        scene.hub.stop().await;
    });
}

#[test]
fn headers_of_a_provider_reach_nobody() {
    wait(async {
        let scene = Scene::start(3, |_| {}).await;
        let evil = "set-cookie: session=stolen\r\nx-evil: 1\r\naccess-control-allow-origin: *\r\nretry-after: 1\r\n";
        let stream = format!("HTTP/1.1 200 OK\r\n{evil}connection: close\r\n\r\n{GOOD}");
        let split = r#"{"error":{"message":"a\r\nset-cookie: x=y\r\n\r\nHTTP/1.1 200 OK\r\n\r\n<script>","code":"a\r\nb: c"}}"#;
        let replies = [
            scene.ask("local", 0, vec![vec![send(stream)]]).await,
            scene
                .ask(
                    "local",
                    1,
                    vec![vec![answer("400 Bad\tRequest", evil, split)]],
                )
                .await,
        ];
        for reply in &replies {
            for header in [
                "set-cookie",
                "x-evil",
                "access-control-allow-origin",
                "retry-after",
                "b",
            ] {
                assert_eq!(reply.answer.header(header), None, "{header}");
            }
        }
        assert_eq!(
            (replies[0].answer.status, replies[0].text().as_str()),
            (200, "good")
        );
        assert_eq!(replies[1].answer.error_name(), "InvalidRequest");
        let message = replies[1].answer.json()["error"]["message"].to_string();
        assert!(
            !message.contains("\\r") && !message.contains("\\n"),
            "{message}"
        );
        scene.hub.stop().await;
    });
}

/// What the client owes has a time of its own; what the provider owes has another.
#[test]
fn a_model_may_think_longer_than_a_request_may_take() {
    wait(async {
        let scene = Scene::start(2, |config| config.request_time_ms = 1_500).await;
        let thinks = vec![
            Step::Pause(Duration::from_millis(2_500)),
            send(UNTIL_CLOSE),
            send(GOOD),
        ];
        let reply = scene.ask("local", 0, vec![thinks]).await;
        assert_eq!(reply.answer.status, 200, "{reply:?}");
        assert_eq!(reply.text(), "good");
        // A question that does not come is not waited for.
        let mut socket = tokio::net::TcpStream::connect(scene.hub.address())
            .await
            .unwrap();
        let head = format!(
            "POST /api/ai/chat HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\ncontent-length: 100\r\nconnection: close\r\n\r\n{{",
            scene.hub.address(),
            scene.user.token
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        scene.check_no_call_is_open().await;
        scene.hub.stop().await;
    });
}
