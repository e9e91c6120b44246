//! What open sockets cost while nothing happens: resident memory and processor time.

use std::time::Duration;

use anyhow::ensure;
use futures_util::future::try_join_all;
use tokio::time::sleep;

use crate::server::{Seat, Server};

/// Memory and threads settle in this time after the last socket has opened.
const SETTLE: Duration = Duration::from_secs(3);
/// Over which the processor time of idleness is taken.
const WATCH: Duration = Duration::from_secs(10);
/// Sockets opened at once.
const BATCH: usize = 50;
/// A client that waits needs no more.
const READ_BUFFER_BYTES: usize = 1024;

/// So many sockets, spread evenly over so many rooms.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Idle {
    pub(crate) sockets: usize,
    pub(crate) rooms: usize,
}

/// What was measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    pub(crate) bytes_per_socket: u64,
    /// Of one core, in percent.
    pub(crate) cpu_percent: f64,
}

impl Idle {
    pub(crate) async fn measure(&self, server: &Server) -> anyhow::Result<Outcome> {
        ensure!(self.rooms > 0 && self.sockets > 0, "nothing to measure");
        // One socket has been there, so that what a server sets up once is not counted. Its room is none of the others.
        drop(
            server
                .join(
                    Seat {
                        room: self.rooms,
                        number: 0,
                    },
                    READ_BUFFER_BYTES,
                )
                .await?,
        );
        sleep(SETTLE).await;
        let before = server.process.resident_bytes()?;

        let mut open = Vec::with_capacity(self.sockets);
        let seats: Vec<_> = (0..self.sockets)
            .map(|index| Seat {
                room: index % self.rooms,
                number: index / self.rooms,
            })
            .collect();
        for batch in seats.chunks(BATCH) {
            let joining = batch
                .iter()
                .map(|seat| server.join(*seat, READ_BUFFER_BYTES));
            open.extend(try_join_all(joining).await?);
        }
        sleep(SETTLE).await;
        let grown = server.process.resident_bytes()?.saturating_sub(before);

        let cpu_before = server.process.cpu_time()?;
        sleep(WATCH).await;
        let cpu = server.process.cpu_time()?.saturating_sub(cpu_before);
        Ok(Outcome {
            bytes_per_socket: grown / self.sockets as u64,
            cpu_percent: 100.0 * cpu.as_secs_f64() / WATCH.as_secs_f64(),
        })
    }
}
