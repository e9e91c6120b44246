//! `epicenter auth …`: the sign-in of this machine at a hub.

use std::io::{BufRead as _, IsTerminal as _, Read as _};
use std::process::{Command, Stdio};

use epicenter_auth::HubUrl;
use epicenter_device::{LoginError, MachineAuth, MachineAuthError, SignedOut, Status};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::arguments::{AuthArguments, HubArguments, LoginArguments};
use crate::failure::Failure;
use crate::{print, say};

/// Longer than any code, and than any address that holds one.
const MAX_LINE_BYTES: u64 = 64 * 1024;
const LOG_IN: &str = "run `epicenter auth login --url";

/// `epicenter auth login`: prints who is signed in.
pub(crate) fn login(arguments: &LoginArguments) -> Result<(), Failure> {
    let auth = machine_auth(&arguments.auth.hub)?;
    run(async {
        let login = auth.begin_login().await?;
        if !auth.hub().is_https() && !auth.hub().is_loopback() {
            say(&format!(
                "warning: {} is not encrypted; everybody on the way can read the sign-in and your data\n",
                auth.hub()
            ));
        }
        say(&format!(
            "Open this address in a browser, sign in, and paste the code that you are shown:\n\n  {}\n\nCode: ",
            login.url()
        ));
        if !arguments.no_browser
            && std::io::stdin().is_terminal()
            && std::io::stderr().is_terminal()
        {
            open_browser(login.url());
        }
        let code = read_code()?;
        let session = auth.finish_login(login, &code).await?.session;
        if !arguments.auth.json {
            return print(&format!("Signed in as {}\n", session.email));
        }
        print_json(&json!({
            "url": auth.hub().as_str(),
            "email": session.email,
            "userId": session.user_id.as_str(),
            "ownerId": session.owner_id.as_str(),
        }))
    })
}

/// `epicenter auth status`: prints who is signed in, and whether the hub agrees.
pub(crate) fn status(arguments: &AuthArguments) -> Result<(), Failure> {
    let auth = machine_auth(&arguments.hub)?;
    let status = run(async { Ok(auth.status().await?) })?;
    let hub = auth.hub();
    let describe = |status: &str, more: Value| {
        let mut answer = json!({"status": status, "url": hub.as_str()});
        if let (Some(answer), Value::Object(more)) = (answer.as_object_mut(), more) {
            answer.extend(more);
        }
        answer
    };
    match status {
        Status::Valid(session) => {
            if !arguments.json {
                return print(&format!("Signed in as {} at {hub}\n", session.email));
            }
            print_json(&describe(
                "valid",
                json!({
                    "email": session.email,
                    "userId": session.user_id.as_str(),
                    "ownerId": session.owner_id.as_str(),
                }),
            ))
        }
        Status::Unverified {
            user_id,
            owner_id,
            why,
        } => {
            say(&format!(
                "warning: {}\nhint: the sign-in is kept; check the address and whether the hub runs\n",
                chain(&why)
            ));
            if !arguments.json {
                return print(&format!(
                    "Signed in as user {user_id} at {hub}, not verified\n"
                ));
            }
            print_json(&describe(
                "unverified",
                json!({
                    "userId": user_id.as_str(),
                    "ownerId": owner_id.as_str(),
                    "reason": why.to_string(),
                }),
            ))
        }
        Status::Refused { user_id, owner_id } => {
            if arguments.json {
                print_json(&describe(
                    "refused",
                    json!({"userId": user_id.as_str(), "ownerId": owner_id.as_str()}),
                ))?;
            }
            Err(refused(hub))
        }
        _ => {
            if arguments.json {
                print_json(&describe("signedOut", json!({})))?;
            }
            Err(signed_out(hub))
        }
    }
}

/// `epicenter auth logout`: says whether the hub heard of it.
pub(crate) fn logout(arguments: &AuthArguments) -> Result<(), Failure> {
    let auth = machine_auth(&arguments.hub)?;
    let signed_out = run(async { Ok(auth.sign_out().await?) })?;
    let hub = auth.hub();
    let (was_signed_in, hub_heard, text) = match &signed_out {
        SignedOut::Everywhere => (true, true, format!("Signed out of {hub}; the hub knows\n")),
        SignedOut::HereOnly(why) => {
            say(&format!(
                "warning: {}\nhint: if somebody else may have a copy of this sign-in, have the hub's operator run `epicenter admin user reset-password`: it ends every sign-in of the account\n",
                chain(why)
            ));
            (
                true,
                false,
                format!("Signed out of {hub} on this machine; the hub was not told\n"),
            )
        }
        _ => (false, false, format!("Nobody was signed in to {hub}\n")),
    };
    if !arguments.json {
        return print(&text);
    }
    print_json(&json!({
        "url": hub.as_str(),
        "wasSignedIn": was_signed_in,
        "hubHeard": hub_heard,
    }))
}

pub(crate) fn machine_auth(arguments: &HubArguments) -> Result<MachineAuth, Failure> {
    let hub = HubUrl::parse(&arguments.url).map_err(|error| {
        Failure::configuration(
            format!(
                "`{}` cannot be asked: {error}",
                arguments.url.escape_debug()
            ),
            "write --url or EPICENTER_API_URL like https://hub.example or http://127.0.0.1:8787",
        )
    })?;
    let folder = epicenter_device::data_dir(&|variable| std::env::var_os(variable))
        .map_err(|error| Failure::configuration(error.to_string(), "set EPICENTER_DATA_DIR"))?;
    MachineAuth::new(hub, &folder).map_err(|error| {
        Failure::of(
            &error,
            "install the certificates of this system, usually the package ca-certificates",
        )
    })
}

/// The hub has judged the sign-in of this machine.
pub(crate) fn refused(hub: &HubUrl) -> Failure {
    Failure::new(
        format!("{hub} does not accept the sign-in of this machine any more"),
        format!("{LOG_IN} {hub}` to sign in again"),
    )
}

/// There is no sign-in on this machine.
pub(crate) fn signed_out(hub: &HubUrl) -> Failure {
    Failure::new(
        format!("nobody is signed in to {hub} on this machine"),
        format!("{LOG_IN} {hub}`"),
    )
}

pub(crate) fn run<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            Failure::new(
                "the runtime cannot be started",
                "check the limit on open files",
            )
            .caused_by(&error)
        })?
        .block_on(work)
}

/// The first line of stdin. On a terminal the code is seen: it is good once, and only for this command.
fn read_code() -> Result<Zeroizing<String>, Failure> {
    let mut line = Zeroizing::new(String::new());
    std::io::stdin()
        .lock()
        .take(MAX_LINE_BYTES)
        .read_line(&mut line)
        .map_err(|error| {
            Failure::new(
                "the code cannot be read from stdin",
                "send it as one line of text",
            )
            .caused_by(&error)
        })?;
    if line.trim().is_empty() {
        return Err(Failure::new(
            "no code was given",
            "run the command again and paste the code that the page shows",
        ));
    }
    Ok(line)
}

/// Best effort: the address was printed. Whatever the browser says would disturb the prompt.
fn open_browser(url: &str) {
    let opener = if cfg!(target_os = "macos") {
        "open"
    } else {
        let has_screen = ["DISPLAY", "WAYLAND_DISPLAY"]
            .iter()
            .any(|variable| std::env::var_os(variable).is_some_and(|value| !value.is_empty()));
        if !has_screen {
            // Without a screen the opener would start a browser for terminals in this one.
            return;
        }
        "xdg-open"
    };
    let _ = Command::new(opener)
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
}

fn print_json(answer: &Value) -> Result<(), Failure> {
    print(&format!("{answer}\n"))
}

/// An error with its causes, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

impl From<LoginError> for Failure {
    fn from(error: LoginError) -> Self {
        Self::of(&error, error.hint())
    }
}

impl From<MachineAuthError> for Failure {
    fn from(error: MachineAuthError) -> Self {
        let hint = match &error {
            MachineAuthError::File(error) => error.hint(),
            _ => "install the certificates of this system".to_owned(),
        };
        Self::of(&error, hint)
    }
}
