//! `epicenter admin …`: what an operator does from beside a hub.

use std::io::{BufRead as _, Read as _};

use epicenter_native::admin::{AdminError, Administrator, NewUser};
use epicenter_native::config::{Flags, HostConfig};
use zeroize::Zeroizing;

use crate::arguments::{TokenArguments, UserAddArguments};
use crate::configuration;
use crate::failure::Failure;
use crate::print;

/// Longer than any password that is accepted; bounds what is read from stdin.
const MAX_LINE_BYTES: u64 = 64 * 1024;

/// `epicenter admin user add`: prints the id of the new account.
pub(crate) fn add_user(arguments: &UserAddArguments) -> Result<(), Failure> {
    let config = configuration::load(&arguments.place, Flags::default())?.config;
    let administrator = open(config)?;
    let user = administrator.add_user(NewUser {
        email: arguments.email.clone(),
        name: arguments.name.clone().unwrap_or_default(),
        password: read_password()?,
        admin: arguments.admin,
    })?;
    if !arguments.json {
        return print(&format!("{}\n", user.id));
    }
    let id = serde_json::Value::from(user.id.as_str());
    let email = serde_json::Value::from(user.email);
    print(&format!(
        "{{\"id\":{id},\"email\":{email},\"admin\":{}}}\n",
        user.admin
    ))
}

/// `epicenter admin token`: prints an access token.
pub(crate) fn issue_token(arguments: &TokenArguments) -> Result<(), Failure> {
    let flags = Flags {
        public_origin: arguments.public_origin.clone(),
        ..Flags::default()
    };
    let config = configuration::load(&arguments.place, flags)?.config;
    let configured = config.public_origin.clone();
    let administrator = open(config)?;
    let origin = match configured {
        Some(origin) => origin,
        None => administrator.recorded_origin()?,
    };
    let token = administrator.mint_token(&arguments.email, arguments.ttl, &origin)?;
    if !arguments.json {
        return print(&format!("{token}\n"));
    }
    let token = serde_json::Value::from(token);
    print(&format!(
        "{{\"accessToken\":{token},\"expiresIn\":{}}}\n",
        arguments.ttl
    ))
}

fn open(config: HostConfig) -> Result<Administrator, Failure> {
    Ok(Administrator::open_with(
        &config.data_dir,
        config.auth_secret,
    )?)
}

/// The first line of stdin, without its line break.
fn read_password() -> Result<Zeroizing<String>, Failure> {
    let mut line = Zeroizing::new(String::new());
    std::io::stdin()
        .lock()
        .take(MAX_LINE_BYTES)
        .read_line(&mut line)
        .map_err(|error| {
            Failure::new(
                "the password cannot be read from stdin",
                "send it as one line of UTF-8 text",
            )
            .caused_by(&error)
        })?;
    let length = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(length);
    if line.is_empty() {
        return Err(Failure::new(
            "stdin holds no password",
            "send it as one line: printf '%s' \"$PASSWORD\" | epicenter admin user add …",
        ));
    }
    Ok(line)
}

impl From<AdminError> for Failure {
    fn from(error: AdminError) -> Self {
        Self::of(&error, error.hint())
    }
}
