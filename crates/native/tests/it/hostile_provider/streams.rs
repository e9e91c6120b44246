//! Streams that begin well: what they may do then, how each ends, and what it costs.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::io::AsyncReadExt as _;
use tokio::time::{Instant, sleep};

use super::play::{STREAM, Script, Step, UNTIL_CLOSE, chunk, send};
use super::scene::{Reply, Scene, case, until};
use crate::wait;

fn text(text: &str) -> String {
    format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n")
}

const END: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
const USAGE: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":11,\"completion_tokens\":5,\"total_tokens\":16}}\n\n";
const DONE: &str = "data: [DONE]\n\n";

/// A gzip member of two empty blocks: bytes that are no text.
const GZIP: &[u8] =
    b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00";

fn until_close(body: impl AsRef<[u8]>) -> Script {
    vec![send(UNTIL_CLOSE), send(body)]
}

fn with_head(headers: &str, body: impl AsRef<[u8]>) -> Script {
    let head = format!("HTTP/1.1 200 OK\r\n{headers}\r\nconnection: close\r\n\r\n");
    vec![send(head), send(body)]
}

/// Asks for all of them at once, and compares how each ended and what was said.
fn check(scene: impl Future<Output = Scene>, cases: &[(&str, Script, Option<&str>, Option<&str>)]) {
    wait(async {
        let scene = scene.await;
        let asking = cases.iter().enumerate();
        let asking = asking
            .map(|(number, (_, script, _, _))| scene.ask("local", number, vec![script.clone()]));
        let replies: Vec<Reply> = join_all(asking).await;
        for (reply, (name, _, said, code)) in replies.iter().zip(cases) {
            assert_eq!(reply.code(), *code, "{name}: {:?}", reply.last());
            if let Some(said) = said {
                assert_eq!(reply.text(), *said, "{name}");
            }
        }
        until("the hub leaves the provider", || {
            scene.provider.open_requests() == 0
        })
        .await;
        let rows = scene.rows(cases.len()).await;
        for (number, reply) in replies.iter().enumerate() {
            Scene::check_row(cases[number].0, reply, &rows[&case(number)]);
        }
        scene.check_all_is_free(cases.len()).await;
        scene.hub.stop().await;
    });
}

#[test]
fn bad_streams_end_with_their_code_and_cost_what_was_heard() {
    let whole = [text("four"), END.into(), USAGE.into(), DONE.into()].concat();
    let twice: String = whole
        .split_inclusive("\n\n")
        .take(3)
        .flat_map(|event| [event, event])
        .collect();
    let giant = text(&"x".repeat(5 * 1024 * 1024));
    let byte_by_byte = whole.bytes().flat_map(|byte| {
        [
            Step::Send(chunk([byte])),
            Step::Pause(Duration::from_millis(1)),
        ]
    });
    let drips = [send(STREAM)]
        .into_iter()
        .chain(byte_by_byte)
        .chain([send("0\r\n\r\n")]);
    let cases = [
        ("whole", until_close(&whole), Some("four"), None),
        ("drips", drips.collect(), Some("four"), None),
        (
            "no usage",
            until_close([text("four"), END.into(), DONE.into()].concat()),
            Some("four"),
            None,
        ),
        (
            "no usage, no end",
            until_close([text("four"), END.into()].concat()),
            Some("four"),
            None,
        ),
        (
            "only usage",
            until_close([USAGE, END, DONE].concat()),
            Some(""),
            None,
        ),
        (
            "each event twice",
            until_close(twice + DONE),
            Some("fourfour"),
            None,
        ),
        (
            "a second answer after the end",
            until_close(whole.repeat(2)),
            Some("four"),
            None,
        ),
        (
            "cut short",
            until_close(text("four")),
            Some("four"),
            Some("upstream_truncated"),
        ),
        (
            "cut short by its length",
            with_head("content-length: 30", &whole),
            Some(""),
            Some("upstream_truncated"),
        ),
        (
            "longer than it is",
            with_head("content-length: 100000", &whole),
            Some("four"),
            None,
        ),
        (
            "lost",
            vec![send(STREAM), send(chunk(text("four")))],
            Some("four"),
            Some("upstream_disconnected"),
        ),
        (
            "chunks that are none",
            vec![send(STREAM), send(chunk(text("four"))), send("zz\r\n")],
            Some("four"),
            Some("upstream_disconnected"),
        ),
        (
            "no JSON",
            until_close(text("four") + "data: {\"choices\":[{\n\n"),
            Some("four"),
            Some("upstream_protocol"),
        ),
        (
            "no UTF-8",
            until_close([text("four").as_bytes(), b"data: \"\xff\xfe\"\n\n"].concat()),
            Some("four"),
            Some("upstream_protocol"),
        ),
        (
            "a giant event",
            until_close(giant),
            Some(""),
            Some("upstream_protocol"),
        ),
        (
            "an endless event",
            vec![
                send(UNTIL_CLOSE),
                Step::Repeat(vec![b'x'; 65_536], Duration::ZERO),
            ],
            Some(""),
            Some("upstream_protocol"),
        ),
        (
            "gzip that nobody asked for",
            with_head(
                "content-type: text/event-stream\r\ncontent-encoding: gzip",
                [GZIP, b"\n\n"].concat(),
            ),
            Some(""),
            Some("upstream_truncated"),
        ),
        (
            "text that is called gzip",
            with_head("content-encoding: gzip", &whole),
            Some("four"),
            None,
        ),
        (
            "a page",
            with_head(
                "content-type: text/html",
                "<html><body>Welcome</body></html>\n",
            ),
            Some(""),
            Some("upstream_truncated"),
        ),
        (
            "a stream that is called a page",
            with_head("content-type: text/html", &whole),
            Some("four"),
            None,
        ),
        (
            "an error that is called well",
            with_head(
                "content-type: application/json",
                r#"{"error":{"message":"over","code":"quota"}}"#,
            ),
            Some(""),
            Some("quota"),
        ),
        (
            "an error with the key",
            until_close(
                text("four")
                    + "data: {\"error\":{\"message\":\"sk-canary-e07b55 is bad\",\"code\":\"sk-canary-e07b55\"}}\n\n",
            ),
            Some("four"),
            Some("[redacted]"),
        ),
    ];
    check(Scene::start(cases.len() + 48, |_| {}), &cases);
}

#[test]
fn streams_that_do_not_end_are_ended() {
    let forever = |text: String, ms| {
        vec![
            send(UNTIL_CLOSE),
            Step::Repeat(text.into_bytes(), Duration::from_millis(ms)),
        ]
    };
    let cases = [
        (
            "silence after the first word",
            vec![send(STREAM), send(chunk(text("four"))), Step::Hold],
            Some("four"),
            Some("upstream_timeout"),
        ),
        (
            "silence after half an event",
            vec![send(STREAM), send(chunk("data: {")), Step::Hold],
            Some(""),
            Some("upstream_timeout"),
        ),
        (
            "a word now and then",
            forever(text("four"), 300),
            None,
            Some("upstream_timeout"),
        ),
        (
            "comments now and then",
            forever(": wait\n\n".into(), 300),
            Some(""),
            Some("upstream_timeout"),
        ),
        (
            "bytes of nothing",
            forever("\n".into(), 100),
            Some(""),
            Some("upstream_timeout"),
        ),
        (
            "words without a pause",
            forever(text(&"x".repeat(64_000)), 0),
            None,
            Some("upstream_limit"),
        ),
        (
            "comments without a pause",
            forever(": wait\n".repeat(10_000), 0),
            Some(""),
            Some("upstream_limit"),
        ),
    ];
    check(Scene::start_impatient(cases.len() + 48), &cases);
}

#[test]
fn what_follows_an_answer_on_its_connection_answers_nobody() {
    let good = |said: &str| [text(said), END.into(), DONE.into()].concat();
    let forged = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{}",
        good("forged").len(),
        good("forged")
    );
    let first = good("first");
    let first = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{first}{forged}",
        first.len()
    );
    wait(async {
        let scene = Scene::start(2, |_| {}).await;
        let reply = scene
            .ask("local", 0, vec![vec![send(first), Step::Keep]])
            .await;
        assert_eq!(reply.text(), "first");
        let reply = scene
            .ask("local", 1, vec![until_close(good("second"))])
            .await;
        assert_eq!(reply.text(), "second");
        scene.hub.stop().await;
    });
}

#[test]
fn a_reset_after_the_first_word_is_a_lost_connection() {
    wait(async {
        let scene = Scene::start(1, |_| {}).await;
        // The word has left before the reset, which discards what has not.
        let script = vec![
            send(STREAM),
            send(chunk(text("four"))),
            Step::Pause(Duration::from_millis(300)),
            Step::Reset,
        ];
        let reply = scene.ask("local", 0, vec![script]).await;
        assert_eq!(
            (reply.text().as_str(), reply.code()),
            ("four", Some("upstream_disconnected"))
        );
        Scene::check_row("reset", &reply, &scene.rows(1).await[&case(0)]);
        scene.hub.stop().await;
    });
}

/// Wherever the answer stands: the provider's own record says when its connection was closed.
#[test]
fn clients_that_go_away_stop_the_provider_within_a_second() {
    let words = || chunk(text("four"));
    let pause = Duration::from_millis(20);
    let scripts: Vec<(Script, &str)> = vec![
        (vec![Step::Hold], ""),
        (vec![send("HTTP/1.1 200 OK\r\n"), Step::Hold], ""),
        (vec![send(STREAM), Step::Hold], ""),
        (vec![send(STREAM), send(words()), Step::Hold], "four"),
        (
            vec![
                send(STREAM),
                send(words()),
                send(chunk("data: {\"cho")),
                Step::Hold,
            ],
            "four",
        ),
        (
            vec![send(STREAM), send(words()), send(chunk(END)), Step::Hold],
            "four",
        ),
        (vec![send(STREAM), Step::Repeat(words(), pause)], "four"),
        (
            vec![
                send(STREAM),
                send(words()),
                Step::Repeat(chunk(": wait\n\n"), pause),
            ],
            "four",
        ),
    ];
    let times = 4;
    wait(async {
        let scene = Scene::start(scripts.len() * times + 48, |_| {}).await;
        let calls = scripts
            .iter()
            .cycle()
            .take(scripts.len() * times)
            .enumerate();
        let leaving = calls.map(|(number, (script, heard))| {
            let scene = &scene;
            async move {
                let mut client = scene.open("local", number, script.clone()).await;
                scene.asked(number).await;
                let mut seen = Vec::new();
                while !contains(&seen, heard) {
                    assert_ne!(client.read_buf(&mut seen).await.unwrap(), 0);
                }
                let left_at = tokio::time::Instant::now();
                drop(client);
                let record = || scene.provider.records(&case(number)).remove(0);
                until("the hub leaves the provider", || !record().is_open).await;
                let took = record().left_at.expect("the hub left first") - left_at;
                assert!(
                    took < Duration::from_secs(1),
                    "case {number}: it took {took:?}"
                );
            }
        });
        join_all(leaving).await;
        let rows = scene.rows(scripts.len() * times).await;
        for (number, (script, heard)) in scripts
            .iter()
            .cycle()
            .take(scripts.len() * times)
            .enumerate()
        {
            let row = &rows[&case(number)];
            assert_eq!(row.outcome.as_str(), "cancelled");
            // How far an endless answer came is not known here.
            if !script
                .iter()
                .any(|step| matches!(step, Step::Repeat(bytes, _) if bytes == &words()))
            {
                Scene::check_charge("left", heard.len() as u64, row);
            }
        }
        scene.check_all_is_free(scripts.len() * times).await;
        scene.hub.stop().await;
    });
}

fn contains(bytes: &[u8], part: &str) -> bool {
    part.is_empty()
        || bytes
            .windows(part.len())
            .any(|window| window == part.as_bytes())
}

/// What a provider says behind the last event of an answer is read, so that the next question needs no new connection.
#[test]
fn a_connection_is_used_for_the_next_question() {
    const QUESTIONS: usize = 8;
    wait(async {
        let scene = Scene::start(QUESTIONS, |_| {}).await;
        for number in 0..QUESTIONS {
            let script = vec![
                send(STREAM),
                send(chunk(text("hi"))),
                send(chunk(END)),
                send(chunk(USAGE)),
                Step::Pause(Duration::from_millis(20)),
                send(chunk(DONE)),
                send("0\r\n\r\n"),
                Step::Keep,
            ];
            let reply = scene.ask("local", number, vec![script]).await;
            assert!(reply.is_done, "{reply:?}");
            until("the provider has said all", || {
                scene.provider.open_requests() == 0
            })
            .await;
            // It is on its way to the hub still.
            sleep(Duration::from_millis(100)).await;
        }
        // A machine that is very busy may miss some.
        assert!(scene.provider.connections() < QUESTIONS);
        scene.hub.stop().await;
    });
}

/// One that keeps its connection open behind the last event is left like one whose client has left.
#[test]
fn a_provider_that_does_not_end_its_answer_is_left() {
    wait(async {
        let scene = Scene::start(1, |_| {}).await;
        let script = vec![
            send(STREAM),
            send(chunk(text("hi"))),
            send(chunk(END)),
            send(chunk(USAGE)),
            send(chunk(DONE)),
            Step::Hold,
        ];
        let reply = scene.ask("local", 0, vec![script]).await;
        let answered_at = Instant::now();
        assert!(reply.is_done, "{reply:?}");
        until("the hub leaves the provider", || {
            scene.provider.open_requests() == 0
        })
        .await;
        let took = answered_at.elapsed();
        assert!(took < Duration::from_secs(1), "{took:?}");
        scene.hub.stop().await;
    });
}
