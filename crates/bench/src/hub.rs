//! The Epicenter hub as a server under test: started, given users, joined with their tokens.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, ensure};
use http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderValue, Request};

use crate::edits::Encoding;
use crate::http_client;
use crate::process::{self, ServerProcess};
use crate::server::{Dialect, Seat, upgrade_request};

/// Below the 256 sockets that the hub's default configuration allows a user.
pub(crate) const SOCKETS_PER_USER: usize = 250;
const PASSWORD: &str = "a password of the benchmark\n";
/// One Yjs sync message in a frame, updates in V2.
pub(crate) const DIALECT: Dialect = Dialect {
    prefix: &[],
    encoding: Encoding::V2,
};

/// Somebody with an account, a token and rooms.
#[derive(Debug)]
pub(crate) struct User {
    token: String,
    owner: String,
}

pub(crate) async fn start(
    program: &Path,
    directory: &Path,
) -> anyhow::Result<(ServerProcess, SocketAddr)> {
    let data = data_directory(directory)?;
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--data-dir", &data];
    ServerProcess::start(program, &arguments, directory, |line| {
        line.strip_prefix("listening on http://")?.parse().ok()
    })
    .await
}

/// As many users as the sockets of these rooms need, when room `n` belongs to user `n` modulo their number.
pub(crate) async fn add_users(
    program: &Path,
    directory: &Path,
    address: SocketAddr,
    rooms: usize,
    sockets: usize,
) -> anyhow::Result<Vec<User>> {
    let count = users_for(rooms, sockets)?;
    let data = data_directory(directory)?;
    let mut users = Vec::with_capacity(count);
    for number in 0..count {
        let email = format!("user-{number}@bench.example");
        let mut add = vec![
            "admin",
            "user",
            "add",
            "--email",
            &email,
            "--password-stdin",
            "--data-dir",
            &data,
        ];
        if number == 0 {
            add.push("--admin");
        }
        process::run(program, &add, PASSWORD).await?;
        let token = [
            "admin",
            "token",
            "--email",
            &email,
            "--ttl",
            "3600",
            "--data-dir",
            &data,
        ];
        let token = process::run(program, &token, "").await?.trim().to_owned();
        let session = http_client::json(address, "/api/session", &token).await?;
        let owner = session
            .get("ownerId")
            .and_then(|owner| owner.as_str())
            .context("the session names no owner")?
            .to_owned();
        users.push(User { token, owner });
    }
    Ok(users)
}

fn users_for(rooms: usize, sockets: usize) -> anyhow::Result<usize> {
    let in_a_room = sockets.div_ceil(rooms.max(1));
    let rooms_per_user = SOCKETS_PER_USER / in_a_room.max(1);
    ensure!(
        rooms_per_user > 0,
        "{in_a_room} sockets in a room are more than the {SOCKETS_PER_USER} of one user"
    );
    Ok(rooms.div_ceil(rooms_per_user).max(1))
}

pub(crate) fn upgrade(
    address: SocketAddr,
    users: &[User],
    seat: Seat,
) -> anyhow::Result<Request<()>> {
    let Seat { room, number } = seat;
    let user = users.get(room % users.len()).context("no users")?;
    let path = format!(
        "/api/owners/{}/rooms/bench-{room}?deviceId=device-{number}",
        user.owner
    );
    let mut request = upgrade_request(address, &path)?;
    let headers = request.headers_mut();
    headers.insert(
        SEC_WEBSOCKET_PROTOCOL,
        HeaderValue::from_static("epicenter"),
    );
    headers.insert(AUTHORIZATION, format!("Bearer {}", user.token).parse()?);
    Ok(request)
}

fn data_directory(directory: &Path) -> anyhow::Result<String> {
    let data = directory.join("data");
    Ok(data
        .to_str()
        .context("the data directory's name is not UTF-8")?
        .to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_suffice_for_every_room() {
        let check = |rooms, sockets, expect: Option<usize>| {
            assert_eq!(users_for(rooms, sockets).ok(), expect);
        };
        check(1, 51, Some(1));
        check(20, 40, Some(1));
        check(400, 2_000, Some(8));
        check(400, 2_001, Some(10));
        check(1, 250, Some(1));
        check(1, 251, None);
    }
}
