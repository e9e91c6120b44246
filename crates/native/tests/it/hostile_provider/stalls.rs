//! A client that stops reading: it holds back its own answer, and nothing else.

use std::time::Duration;

use epicenter_server::ai::store::Outcome;
use tokio::io::AsyncReadExt as _;
use tokio::time::{Instant, sleep};

use super::play::{STREAM, Step, UNTIL_CLOSE, chunk, send};
use super::scene::{Scene, case, until};
use crate::wait;

/// Buffers of two connections in the kernel, which it may grow to some megabytes each, and what the hub holds between.
const MAX_UNREAD_BYTES: usize = 24 * 1024 * 1024;

const WORD: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"word\"}}]}\n\n";
const END: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";

#[test]
fn a_client_that_does_not_read_holds_back_its_own_answer_only() {
    wait(async {
        let scene = Scene::start(60, |config| config.ai.max_answer_bytes = 1 << 30).await;
        let endless = || {
            vec![
                send(STREAM),
                Step::Repeat(chunk(WORD.repeat(500)), Duration::ZERO),
            ]
        };
        let stalled: Vec<_> = [
            scene.open("local", 0, endless()).await,
            scene.open("local", 1, endless()).await,
        ]
        .into();
        // Nobody reads, so the provider cannot write on: its connections stand still.
        let written = |number| {
            scene
                .provider
                .records(&case(number))
                .first()
                .map_or(0, |record| record.written)
        };
        for number in 0..2 {
            // So many looks, and not so much time, which passes on a machine that stands still as well.
            let (mut last, mut looks) = (0, 0);
            until("the provider is held back", || {
                let now = written(number);
                looks = if now == last { looks + 1 } else { 0 };
                last = now;
                now > 0 && looks > 250
            })
            .await;
            assert!(written(number) < MAX_UNREAD_BYTES, "{}", written(number));
        }
        // The others notice nothing of it.
        let mut times = Vec::new();
        for number in 2..12 {
            let began = Instant::now();
            let script = vec![send(UNTIL_CLOSE), send([WORD, END].concat())];
            let reply = scene.ask("local", number, vec![script]).await;
            assert_eq!((reply.text().as_str(), reply.is_done), ("word", true));
            times.push(began.elapsed());
        }
        // A machine that stands still for a while holds up one of them; what is held back here would hold up all.
        times.sort();
        assert!(times[times.len() / 2] < Duration::from_secs(2), "{times:?}");
        let before = [written(0), written(1)];
        assert!(before.iter().all(|written| *written < MAX_UNREAD_BYTES));
        // Who reads on is served on; who leaves is left.
        let mut stalled = stalled.into_iter();
        let (mut reader, leaver) = (stalled.next().unwrap(), stalled.next().unwrap());
        let mut buffer = vec![0; 1 << 20];
        until_moving(&mut reader, &mut buffer, || written(0) > before[0]).await;
        let left_at = Instant::now();
        drop((reader, leaver));
        until("the hub leaves the provider", || {
            scene.provider.open_requests() == 0
        })
        .await;
        assert!(
            left_at.elapsed() < Duration::from_secs(1),
            "{:?}",
            left_at.elapsed()
        );
        let rows = scene.rows(12).await;
        assert_eq!(rows[&case(1)].outcome.as_str(), "cancelled");
        scene.check_all_is_free(12).await;
        scene.hub.stop().await;
    });
}

async fn until_moving(
    reader: &mut tokio::net::TcpStream,
    buffer: &mut [u8],
    moved: impl Fn() -> bool,
) {
    let began = Instant::now();
    while !moved() {
        assert_ne!(reader.read(buffer).await.unwrap(), 0);
        assert!(began.elapsed() < super::scene::LIMIT);
        sleep(Duration::ZERO).await;
    }
}

#[test]
fn an_answer_that_nobody_reads_ends_in_time() {
    // Long enough for the second question, which is to come while the first holds the place.
    let time = Duration::from_secs(5);
    wait(async {
        let scene = Scene::start(4, |config| {
            config.ai.max_answer_bytes = 1 << 30;
            config.ai.max_streams = 1;
            config.ai.times.answer_ms = 5_000;
        })
        .await;
        let endless = vec![
            send(STREAM),
            Step::Repeat(chunk(WORD.repeat(500)), Duration::ZERO),
        ];
        let began = Instant::now();
        let mut unread = scene.open("local", 0, endless).await;
        scene.asked(0).await;
        let refused = scene.ask("local", 1, Vec::new()).await;
        assert_eq!(refused.answer.status, 429, "its place is taken");
        scene.check_no_call_is_open().await;
        until("the hub leaves the provider", || {
            scene.provider.open_requests() == 0
        })
        .await;
        let left_at = scene.provider.records(&case(0))[0].left_at;
        let took = left_at.expect("the provider was left") - began;
        assert!(took >= time && took < 2 * time, "{took:?}");
        // The place is free while the connection stays.
        let script = vec![send(UNTIL_CLOSE), send([WORD, END].concat())];
        let reply = scene.ask("local", 1, vec![script]).await;
        assert_eq!((reply.text().as_str(), reply.is_done), ("word", true));
        // Whoever reads on after all finds the reason, and has paid for every word before it.
        let mut answer = Vec::new();
        unread.read_to_end(&mut answer).await.unwrap();
        let heard = unchunked(&answer);
        let (_, last) = heard.trim_end().rsplit_once("\n\n").unwrap();
        assert!(
            last.contains("\"RUN_ERROR\"") && last.contains("\"upstream_timeout\""),
            "{last}"
        );
        let words = heard.matches("\"TEXT_MESSAGE_CONTENT\"").count() as u64;
        assert!(words > 0);
        let rows = scene.rows(2).await;
        assert_eq!(rows[&case(0)].outcome, Outcome::Failed);
        Scene::check_charge("unread", 4 * words, &rows[&case(0)]);
        scene.hub.stop().await;
    });
}

/// The body of a whole answer in chunks.
fn unchunked(answer: &[u8]) -> String {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let mut rest = &answer[end.expect("a head") + 4..];
    let mut body = Vec::new();
    loop {
        let line = rest.windows(2).position(|two| two == b"\r\n").unwrap();
        let length = std::str::from_utf8(&rest[..line]).unwrap();
        let length = usize::from_str_radix(length, 16).unwrap();
        if length == 0 {
            return String::from_utf8(body).unwrap();
        }
        let chunk = &rest[line + 2..];
        body.extend_from_slice(&chunk[..length]);
        rest = &chunk[length + 2..];
    }
}
