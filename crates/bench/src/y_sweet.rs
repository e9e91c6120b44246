//! y-sweet as a server under test, as its documentation says to run it with documents on disk.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context;
use http::Request;

use crate::edits::Encoding;
use crate::process::ServerProcess;
use crate::server::{Dialect, Seat, upgrade_request};

/// The sync messages of y-protocols inside their outer message type 0, updates in V1.
pub(crate) const DIALECT: Dialect = Dialect {
    prefix: &[0],
    encoding: Encoding::V1,
};

pub(crate) async fn start(
    program: &Path,
    directory: &Path,
) -> anyhow::Result<(ServerProcess, SocketAddr)> {
    let data = directory.join("data");
    std::fs::create_dir(&data)?;
    let data = data
        .to_str()
        .context("the data directory's name is not UTF-8")?;
    let arguments = ["serve", data, "--host", "127.0.0.1", "--port", "0"];
    ServerProcess::start(program, &arguments, directory, |line| {
        let (_, address) = line.split_once("ws://")?;
        let end = address.find(|character: char| !matches!(character, '0'..='9' | '.' | ':'));
        address.get(..end.unwrap_or(address.len()))?.parse().ok()
    })
    .await
}

/// Without keys a y-sweet server opens a document for whoever names it.
pub(crate) fn upgrade(address: SocketAddr, seat: Seat) -> anyhow::Result<Request<()>> {
    let room = seat.room;
    upgrade_request(address, &format!("/d/bench-{room}/ws/bench-{room}"))
}
