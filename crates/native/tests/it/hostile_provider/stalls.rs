//! A client that stops reading: it holds back its own answer, and nothing else.

use std::time::Duration;

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
            let mut last = (0, Instant::now());
            until("the provider is held back", || {
                let now = written(number);
                if now != last.0 {
                    last = (now, Instant::now());
                }
                now > 0 && last.1.elapsed() > Duration::from_millis(500)
            })
            .await;
            assert!(written(number) < MAX_UNREAD_BYTES, "{}", written(number));
        }
        // The others notice nothing of it.
        for number in 2..12 {
            let began = Instant::now();
            let script = vec![send(UNTIL_CLOSE), send([WORD, END].concat())];
            let reply = scene.ask("local", number, vec![script]).await;
            assert_eq!((reply.text().as_str(), reply.is_done), ("word", true));
            assert!(
                began.elapsed() < Duration::from_secs(2),
                "{:?}",
                began.elapsed()
            );
        }
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
