//! The servers that people use today, as `cargo xtask bench` installs them below `target/peers`, each run as its
//! documentation says to run it with documents on disk.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use epicenter_update::lib0::write_var_bytes;

use crate::dialect::{Dialect, Ping};
use crate::edits::Encoding;
use crate::process::ServerProcess;
use crate::server::{Kind, Program, Seat, room_name, upgrade_request};

/// Outer message types of y-protocols and of Hocuspocus.
const SYNC: u8 = 0;
const AUTH: u8 = 2;
const QUERY_AWARENESS: u8 = 3;
/// The one kind of authentication message: a token.
const TOKEN: u8 = 0;

/// Those that are there, in the order of the table.
pub(crate) fn installed(folder: &Path) -> Vec<Program> {
    let all = [
        (Kind::Hocuspocus, "hocuspocus", "node_modules"),
        (Kind::YWebsocket, "y-websocket", "node_modules"),
        (Kind::YSweet, "y-sweet/bin/y-sweet", ""),
    ];
    let there = |(kind, path, part): (Kind, &str, &str)| {
        let path = folder.join(path);
        let part: PathBuf = if part.is_empty() {
            path.clone()
        } else {
            path.join(part)
        };
        part.exists().then_some(Program { kind, path })
    };
    all.into_iter().filter_map(there).collect()
}

pub(crate) fn start(
    kind: Kind,
    path: &Path,
    directory: &Path,
) -> anyhow::Result<(ServerProcess, SocketAddr)> {
    let data = directory.join("data");
    std::fs::create_dir_all(&data)?;
    let data = data
        .to_str()
        .context("the data directory's name is not UTF-8")?;
    let find = |line: &str| {
        let (_, address) = line.split_once("ws://")?;
        let end = address.find(|character: char| !matches!(character, '0'..='9' | '.' | ':'));
        address.get(..end.unwrap_or(address.len()))?.parse().ok()
    };
    match kind {
        Kind::YSweet => {
            let arguments = ["serve", data, "--host", "127.0.0.1", "--port", "0"];
            ServerProcess::start(path, &arguments, directory, find)
        }
        Kind::Hocuspocus | Kind::YWebsocket => {
            let script = path.join("server.mjs");
            let script = script.to_str().context("the script's name is not UTF-8")?;
            ServerProcess::start(Path::new("node"), &[script, data], directory, find)
        }
        Kind::Hub => bail!("the hub is no peer"),
    }
}

/// None of them asks for a credential, and each makes the room that is named.
pub(crate) fn entrance(
    kind: Kind,
    address: SocketAddr,
    seat: Seat,
) -> anyhow::Result<(String, Dialect)> {
    let room = room_name(seat.room);
    let (path, dialect) = match kind {
        Kind::Hocuspocus => ("/".to_owned(), hocuspocus_dialect(&room)),
        Kind::YWebsocket => (format!("/{room}"), y_protocols_dialect()),
        Kind::YSweet => (format!("/d/{room}/ws/{room}"), y_protocols_dialect()),
        Kind::Hub => bail!("the hub is no peer"),
    };
    Ok((upgrade_request(address, &path, ""), dialect))
}

/// The sync messages inside their outer message type, updates in V1.
fn y_protocols_dialect() -> Dialect {
    Dialect {
        prefix: vec![SYNC],
        encoding: Encoding::V1,
        hello: None,
        ping: Ping::Frame,
    }
}

/// The same behind the name of the document, and an authentication message first. A socket that says nothing in the
/// server's own protocol for a minute is closed; the query is the least that a client can say.
fn hocuspocus_dialect(room: &str) -> Dialect {
    let mut name = Vec::new();
    write_var_bytes(&mut name, room.as_bytes());
    let message = |end: &[u8]| [&name[..], end].concat();
    let mut token = vec![AUTH, TOKEN];
    write_var_bytes(&mut token, b"anybody");
    Dialect {
        prefix: message(&[SYNC]),
        encoding: Encoding::V1,
        hello: Some(message(&token)),
        ping: Ping::Message(message(&[QUERY_AWARENESS])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hocuspocus_names_the_document_first() {
        let dialect = hocuspocus_dialect("r");
        assert_eq!(dialect.prefix, [1, b'r', 0]);
        assert_eq!(
            dialect.hello.as_deref(),
            Some(&b"\x01r\x02\x00\x07anybody"[..])
        );
    }

    #[test]
    fn peers_that_are_not_installed_are_left_out() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(installed(folder.path()).is_empty());
        let modules = folder.path().join("hocuspocus/node_modules");
        std::fs::create_dir_all(modules).expect("folders");
        let found = installed(folder.path());
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].kind, Kind::Hocuspocus);
    }
}
