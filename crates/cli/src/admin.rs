//! `epicenter admin …`: what an operator does from beside a hub.

use std::io::{BufRead as _, Read as _};

use epicenter_native::admin::{
    AdminError, Administrator, CreditsOfUser, NewUser, SETUP_LINK_LIFE_MS,
};
use epicenter_native::config::PublicOrigin;
use epicenter_native::config::{Flags, HostConfig};
use serde_json::json;
use zeroize::Zeroizing;

use crate::arguments::{
    CreditsArguments, GiveArguments, InviteArguments, LinkArguments, PasswordArguments,
    PlaceArguments, RotateArguments, TokenArguments, UserAddArguments, UserArguments,
    UserListArguments,
};
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
    let (administrator, origin) =
        open_with_origin(&arguments.place, arguments.public_origin.as_deref())?;
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

/// `epicenter admin user list`: one line for each account, by address.
pub(crate) fn list_users(arguments: &UserListArguments) -> Result<(), Failure> {
    let users = open_place(&arguments.place)?.list_users()?;
    if arguments.json {
        let users: Vec<_> = users
            .iter()
            .map(|user| {
                json!({
                    "id": user.id.as_str(),
                    "email": user.email,
                    "name": user.name,
                    "admin": user.admin,
                    "enabled": user.enabled,
                })
            })
            .collect();
        return print(&format!("{}\n", json!(users)));
    }
    let mut lines = String::new();
    for user in &users {
        let role = if user.admin { "admin" } else { "user" };
        let state = if user.enabled { "enabled" } else { "disabled" };
        lines.push_str(&format!("{}\t{}\t{role}\t{state}\n", user.id, user.email));
    }
    print(&lines)
}

/// `epicenter admin user invite`: prints the link.
pub(crate) fn invite(arguments: &InviteArguments) -> Result<(), Failure> {
    let link = &arguments.link;
    let (administrator, origin) = open_with_origin(&link.place, link.public_origin.as_deref())?;
    let token = administrator.invite(arguments.email.clone(), arguments.ttl)?;
    let url = invitation_url(&origin, token.expose());
    print_link(&url, arguments.ttl, link.json)
}

/// `epicenter admin setup-link`: prints the link.
pub(crate) fn make_setup_link(arguments: &LinkArguments) -> Result<(), Failure> {
    let (administrator, origin) =
        open_with_origin(&arguments.place, arguments.public_origin.as_deref())?;
    let token = administrator.new_setup_link()?;
    let url = setup_url(&origin, token.expose());
    print_link(&url, SETUP_LINK_LIFE_MS / 1_000, arguments.json)
}

/// `epicenter admin user disable` and `enable`.
pub(crate) fn set_enabled(arguments: &UserArguments, enabled: bool) -> Result<(), Failure> {
    open_place(&arguments.place)?.set_enabled(&arguments.email, enabled)?;
    Ok(())
}

/// `epicenter admin user reset-password`.
pub(crate) fn reset_password(arguments: &PasswordArguments) -> Result<(), Failure> {
    let administrator = open_place(&arguments.user.place)?;
    administrator.reset_password(&arguments.user.email, read_password()?)?;
    Ok(())
}

/// `epicenter admin user recover`.
pub(crate) fn recover(arguments: &PasswordArguments) -> Result<(), Failure> {
    let administrator = open_place(&arguments.user.place)?;
    administrator.recover(&arguments.user.email, read_password()?)?;
    Ok(())
}

/// `epicenter admin credits give`: prints what the account has then.
pub(crate) fn give_credits(arguments: &GiveArguments) -> Result<(), Failure> {
    let (administrator, opening) = open_with_credits(&arguments.to.user.place)?;
    let has = administrator.give_credits(
        &arguments.to.user.email,
        &arguments.credits,
        arguments.note.as_deref(),
        opening,
    )?;
    print_credits(&has, arguments.to.json)
}

/// `epicenter admin credits show`: prints what the account has.
pub(crate) fn show_credits(arguments: &CreditsArguments) -> Result<(), Failure> {
    let (administrator, opening) = open_with_credits(&arguments.user.place)?;
    let has = administrator.show_credits(&arguments.user.email, opening)?;
    print_credits(&has, arguments.json)
}

/// With what everybody begins with.
fn open_with_credits(place: &PlaceArguments) -> Result<(Administrator, Option<u32>), Failure> {
    let config = configuration::load(place, Flags::default())?.config;
    let opening = config.ai_credits.opening;
    Ok((open(config)?, opening))
}

fn print_credits(has: &CreditsOfUser, json: bool) -> Result<(), Failure> {
    if json {
        return print(&format!(
            "{}\n",
            json!({
                "email": has.email,
                "free": has.free.to_json(),
                "held": has.held.to_json(),
                "owed": has.owed.to_json(),
                "isPaid": has.is_paid,
            })
        ));
    }
    let state = if has.is_paid { "paid" } else { "unpaid" };
    print(&format!(
        "{}\t{} free\t{} held\t{} owed\t{state}\n",
        has.email, has.free, has.held, has.owed
    ))
}

/// `epicenter admin sign-everybody-out`.
pub(crate) fn sign_everybody_out(place: &PlaceArguments) -> Result<(), Failure> {
    let accounts = open_place(place)?.sign_everybody_out()?;
    print(&format!("{accounts} accounts are signed out\n"))
}

/// `epicenter keys rotate-signing`: prints the id of the new key.
pub(crate) fn rotate_signing(arguments: &RotateArguments) -> Result<(), Failure> {
    let key = open_place(&arguments.place)?.rotate_signing_key()?;
    if !arguments.json {
        return print(&format!("{key}\n"));
    }
    print(&format!("{}\n", json!({"kid": key})))
}

/// The address of the page that makes the first account. The token stands behind the `#`, which no browser sends.
pub(crate) fn setup_url(origin: &PublicOrigin, token: &str) -> Zeroizing<String> {
    Zeroizing::new(format!("{}/setup#t={token}", origin.as_str()))
}

fn invitation_url(origin: &PublicOrigin, token: &str) -> Zeroizing<String> {
    Zeroizing::new(format!("{}/sign-up#t={token}", origin.as_str()))
}

fn print_link(url: &str, lifetime_s: u64, json: bool) -> Result<(), Failure> {
    if !json {
        return print(&format!("{url}\n"));
    }
    print(&format!(
        "{}\n",
        json!({"url": url, "expiresIn": lifetime_s})
    ))
}

/// Opens the hub's data beside it, whether it runs or not.
pub(crate) fn open(config: HostConfig) -> Result<Administrator, Failure> {
    Ok(Administrator::open_with(
        &config.data_dir,
        config.auth_secret,
        config.database_url.as_ref(),
    )?)
}

fn open_place(place: &PlaceArguments) -> Result<Administrator, Failure> {
    open(configuration::load(place, Flags::default())?.config)
}

/// With the origin that was given or configured, or else the one that the hub recorded.
fn open_with_origin(
    place: &PlaceArguments,
    public_origin: Option<&str>,
) -> Result<(Administrator, PublicOrigin), Failure> {
    let flags = Flags {
        public_origin: public_origin.map(str::to_owned),
        ..Flags::default()
    };
    let config = configuration::load(place, flags)?.config;
    let configured = config.public_origin.clone();
    let administrator = open(config)?;
    let origin = match configured {
        Some(origin) => origin,
        None => administrator.recorded_origin()?,
    };
    Ok((administrator, origin))
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
            "send it as one line: printf '%s' \"$PASSWORD\" | epicenter admin user …",
        ));
    }
    Ok(line)
}

impl From<AdminError> for Failure {
    fn from(error: AdminError) -> Self {
        Self::of(&error, error.hint())
    }
}
