//! Sync over HTTP: every request pushes one edit and is answered when that is on disk. None of the peers has it.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use anyhow::ensure;
use epicenter_update::lib0::{write_var_bytes, write_var_uint};
use futures_util::future::try_join_all;

use super::measure::{Cpu, Figures};
use crate::edits::{Editor, Encoding, Target, stamps};
use crate::http_client::Connection;
use crate::percentile::percentile;
use crate::server::{Kind, Server};

/// Client id of every writer; each has a room of its own.
const CLIENT: u64 = 1_000_000;
/// Requests before the measurement, of each connection.
const WARM_UP: u32 = 20;

pub(crate) async fn measure(
    server: &Server,
    connections: usize,
    duration: Duration,
) -> anyhow::Result<Figures> {
    ensure!(server.kind() == Kind::Hub, "it has no sync over HTTP");
    let mut writers = Vec::new();
    for room in 0..connections {
        let mut writer = Writer::open(server, room).await?;
        for _ in 0..WARM_UP {
            writer.push().await?;
        }
        writers.push(writer);
    }
    let cpu = Cpu::begin(server)?;
    let mut latencies = in_parallel(&mut writers, duration, Writer::push).await?;
    let push = cpu.end(server)?;
    for writer in &mut writers {
        writer.check().await?;
    }
    let cpu = Cpu::begin(server)?;
    let mut asks = in_parallel(&mut writers, duration, Writer::ask_whether_new).await?;
    let ask = cpu.end(server)?;
    let milliseconds = |values: &mut [u64], percent| percentile(values, percent) as f64 / 1e6;
    let (pushes, questions) = (latencies.len() as f64, asks.len() as f64);
    Ok(vec![
        ("pushes/s", pushes / push.elapsed),
        ("CPU s per 100,000 pushes", push.server / pushes * 1e5),
        ("server, cores used", push.server / push.elapsed),
        ("load generator, cores used", push.own / push.elapsed),
        ("push p50, ms", milliseconds(&mut latencies, 50)),
        ("push p99, ms", milliseconds(&mut latencies, 99)),
        ("unchanged snapshots/s (304)", questions / ask.elapsed),
        ("CPU s per 100,000 of them", ask.server / questions * 1e5),
        ("unchanged snapshot p50, ms", milliseconds(&mut asks, 50)),
        ("unchanged snapshot p99, ms", milliseconds(&mut asks, 99)),
    ])
}

/// Calls `step` of each writer again and again; nanoseconds of each call.
async fn in_parallel(
    writers: &mut [Writer],
    duration: Duration,
    step: impl AsyncFn(&mut Writer) -> anyhow::Result<()>,
) -> anyhow::Result<Vec<u64>> {
    let begin = Instant::now();
    let times = RefCell::new(Vec::new());
    try_join_all(writers.iter_mut().map(async |writer| {
        while begin.elapsed() < duration {
            let sent_at = Instant::now();
            step(writer).await?;
            let nanos = u64::try_from(sent_at.elapsed().as_nanos())?;
            times.borrow_mut().push(nanos);
        }
        anyhow::Ok(())
    }))
    .await?;
    Ok(times.into_inner())
}

/// Somebody who pushes into a room of their own.
struct Writer {
    connection: Connection,
    path: String,
    authorization: String,
    editor: Editor,
    tag: String,
}

impl Writer {
    async fn open(server: &Server, room: usize) -> anyhow::Result<Self> {
        let user = server.users().of_room(room)?;
        Ok(Self {
            connection: Connection::open(server.address()?).await?,
            path: user.room_path(room),
            authorization: user.authorization(),
            editor: Editor::new(CLIENT, 0, Target::Array),
            tag: String::new(),
        })
    }

    /// One edit; the answer must be that nothing is new.
    async fn push(&mut self) -> anyhow::Result<()> {
        let update = self.editor.edit(Duration::ZERO, Encoding::V2);
        let mut state_vector = vec![1];
        write_var_uint(&mut state_vector, CLIENT);
        write_var_uint(&mut state_vector, u64::from(self.editor.count()));
        let mut body = Vec::new();
        write_var_bytes(&mut body, &state_vector);
        write_var_bytes(&mut body, &update);
        let answer = self
            .connection
            .ask("POST", &self.path, &self.authorization, &body)
            .await?;
        ensure!(
            matches!(answer.status, 200 | 204),
            "a push was answered {}",
            answer.status
        );
        Ok(())
    }

    /// The snapshot must hold every edit; its tag is kept.
    async fn check(&mut self) -> anyhow::Result<()> {
        let answer = self
            .connection
            .ask("GET", &self.path, &self.authorization, &[])
            .await?;
        let found = stamps(&answer.body).count();
        ensure!(
            found == self.editor.count() as usize,
            "{} of {} edits are in the snapshot",
            found,
            self.editor.count()
        );
        self.tag = answer.header("etag").unwrap_or_default().to_owned();
        Ok(())
    }

    async fn ask_whether_new(&mut self) -> anyhow::Result<()> {
        let headers = format!("{}\r\nIf-None-Match: {}", self.authorization, self.tag);
        let answer = self
            .connection
            .ask("GET", &self.path, &headers, &[])
            .await?;
        ensure!(
            answer.status == 304,
            "an unchanged snapshot was answered {}",
            answer.status
        );
        Ok(())
    }
}
