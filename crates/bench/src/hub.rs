//! The Epicenter hub as a server under test: started on a data directory that has users, joined with their tokens.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use crate::block_on;
use crate::dialect::{Dialect, Ping};
use crate::edits::Encoding;
use crate::http_client;
use crate::process::{self, ServerProcess};
use crate::server::{Seat, room_name, upgrade_request};

/// Below the 256 sockets that the hub's default configuration allows a user.
pub(crate) const SOCKETS_PER_USER: usize = 250;
const PASSWORD: &str = "a password of the benchmark\n";
/// One load generator is one address. The origin is fixed, so that tokens outlive a restart on another port.
const CONFIG: &str = "public_origin = \"https://hub.example\"\n[rate_limits]\nenabled = false\n";

/// Accounts with tokens, in a data directory that every hub starts with a copy of.
#[derive(Debug, Default)]
pub(crate) struct Users {
    list: Vec<User>,
    template: Option<tempfile::TempDir>,
    /// More lines for the configuration file.
    settings: String,
}

/// Somebody with an account, a token and rooms.
#[derive(Debug)]
pub(crate) struct User {
    pub(crate) token: String,
    pub(crate) owner: String,
}

impl Users {
    /// `count` users of the hub `program`; the directory is made below `parent`. `settings` are lines of TOML that
    /// every hub is started with.
    pub(crate) fn new(
        program: &Path,
        parent: &Path,
        count: usize,
        settings: &str,
    ) -> anyhow::Result<Self> {
        let template = tempfile::tempdir_in(parent)?;
        let directory = template.path();
        write_config(directory, "")?;
        let (process, address) = start(program, directory)?;
        let mut list = Vec::with_capacity(count);
        for number in 0..count {
            list.push(add_user(program, directory, address, number)?);
        }
        process.stop()?;
        Ok(Self {
            list,
            template: Some(template),
            settings: settings.to_owned(),
        })
    }

    /// As many as the sockets of these rooms need, when room `n` belongs to user `n` modulo their number.
    pub(crate) fn needed(rooms: usize, sockets: usize) -> anyhow::Result<usize> {
        let in_a_room = sockets.div_ceil(rooms.max(1));
        let rooms_per_user = SOCKETS_PER_USER / in_a_room.max(1);
        ensure!(
            rooms_per_user > 0,
            "{in_a_room} sockets in a room are more than the {SOCKETS_PER_USER} of one user"
        );
        Ok(rooms.div_ceil(rooms_per_user).max(1))
    }

    /// Copies what the users need into the directory of a hub that has not been started yet.
    pub(crate) fn furnish(&self, directory: &Path) -> anyhow::Result<()> {
        let template = self.template.as_ref().context("no users were made")?;
        copy_folder(&data(template.path()), &data(directory))?;
        write_config(directory, &self.settings)
    }

    /// The owner of this room.
    pub(crate) fn of_room(&self, room: usize) -> anyhow::Result<&User> {
        self.list
            .get(room % self.list.len().max(1))
            .context("no users were made")
    }
}

impl User {
    /// The path of one of this user's rooms.
    pub(crate) fn room_path(&self, room: usize) -> String {
        format!("/api/owners/{}/rooms/{}", self.owner, room_name(room))
    }

    /// The line that every request has.
    pub(crate) fn authorization(&self) -> String {
        format!("Authorization: Bearer {}", self.token)
    }
}

pub(crate) fn start(
    program: &Path,
    directory: &Path,
) -> anyhow::Result<(ServerProcess, SocketAddr)> {
    let (config, data) = (config(directory), data(directory));
    let arguments = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--config",
        text(&config)?,
        "--data-dir",
        text(&data)?,
        "--log",
        "warn",
    ];
    ServerProcess::start(program, &arguments, directory, |line| {
        line.strip_prefix("listening on http://")?.parse().ok()
    })
}

fn add_user(
    program: &Path,
    directory: &Path,
    address: SocketAddr,
    number: usize,
) -> anyhow::Result<User> {
    let (config, data) = (config(directory), data(directory));
    let (config, data) = (text(&config)?, text(&data)?);
    let email = format!("user-{number}@bench.example");
    let place = ["--config", config, "--data-dir", data, "--email", &email];
    let mut add = vec!["admin", "user", "add", "--password-stdin"];
    add.extend(place);
    if number == 0 {
        add.push("--admin");
    }
    process::run(program, &add, PASSWORD)?;
    let mut token = vec!["admin", "token", "--ttl", "86400"];
    token.extend(place);
    let token = process::run(program, &token, "")?.trim().to_owned();
    let session = block_on(http_client::json(address, "/api/session", &token))?;
    let owner = session
        .get("ownerId")
        .and_then(|owner| owner.as_str())
        .context("the session names no owner")?
        .to_owned();
    Ok(User { token, owner })
}

/// The upgrade request for a seat, and what is spoken on its socket: one Yjs sync message in a frame, updates in V2.
pub(crate) fn entrance(
    address: SocketAddr,
    users: &Users,
    seat: Seat,
) -> anyhow::Result<(String, Dialect)> {
    let Seat { room, number } = seat;
    let user = users.of_room(room)?;
    let path = format!("{}?deviceId=device-{number}", user.room_path(room));
    let headers = format!(
        "Sec-WebSocket-Protocol: epicenter\r\n{}\r\n",
        user.authorization()
    );
    let dialect = Dialect {
        prefix: Vec::new(),
        encoding: Encoding::V2,
        hello: None,
        ping: Ping::Text("ping"),
    };
    Ok((upgrade_request(address, &path, &headers), dialect))
}

fn write_config(directory: &Path, settings: &str) -> anyhow::Result<()> {
    Ok(std::fs::write(
        config(directory),
        format!("{CONFIG}{settings}"),
    )?)
}

fn config(directory: &Path) -> PathBuf {
    directory.join("hub.toml")
}

fn data(directory: &Path) -> PathBuf {
    directory.join("data")
}

fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("the folder's name is not UTF-8")
}

/// With the permissions that everything in it has.
fn copy_folder(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir(to)?;
    std::fs::set_permissions(to, std::fs::metadata(from)?.permissions())?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_suffice_for_every_room() {
        let check = |rooms, sockets, expect: Option<usize>| {
            assert_eq!(Users::needed(rooms, sockets).ok(), expect);
        };
        check(1, 51, Some(1));
        check(20, 40, Some(1));
        check(400, 2_000, Some(8));
        check(400, 2_001, Some(10));
        check(1, 250, Some(1));
        check(1, 251, None);
    }
}
