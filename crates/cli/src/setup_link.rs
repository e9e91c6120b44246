//! The way to the first account: a link for whoever starts the hub (identity.md 1).
//!
//! On a terminal it is printed. Anywhere else stderr is likely kept as a log, which others read: the link goes to a
//! private file, and the log says only that it waits there.

use std::fs::{self, OpenOptions};
use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use epicenter_native::admin::{Administrator, SETUP_LINK_LIFE_MS};
use epicenter_native::config::{HostConfig, PublicOrigin};

use crate::admin;
use crate::failure::Failure;

const FILE: &str = "setup-link";
/// The file outlives the first account by no more than this.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Keeps the file true until the first account exists. Dropping it ends that; the link stays good.
#[derive(Debug)]
pub(crate) struct SetupLink {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl SetupLink {
    /// Offers a link if no account exists, on a thread of its own: looking at the store blocks. A hub that cannot offer
    /// one serves all the same.
    pub(crate) fn offer(config: HostConfig, origin: PublicOrigin) -> Self {
        let (stop, stopped) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("setup-link".to_owned())
            .spawn(move || {
                let path = config.data_dir.join(FILE);
                if let Err(failure) = keep(config, &origin, &path, &stopped) {
                    tracing::error!(
                        error = failure.message(),
                        "no setup link could be offered; `epicenter admin setup-link` prints one"
                    );
                }
            });
        if let Err(error) = &thread {
            tracing::error!(
                %error,
                "no setup link could be offered; `epicenter admin setup-link` prints one"
            );
        }
        Self {
            stop: Some(stop),
            thread: thread.ok(),
        }
    }
}

impl Drop for SetupLink {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there was reported by the panic hook.
            let _ = thread.join();
        }
    }
}

fn keep(
    config: HostConfig,
    origin: &PublicOrigin,
    path: &Path,
    stopped: &mpsc::Receiver<()>,
) -> Result<(), Failure> {
    let administrator = admin::open(config)?;
    // One of an earlier start, which may be long dead.
    remove(path)?;
    if administrator.has_users()? {
        return Ok(());
    }
    let token = administrator.new_setup_link()?;
    let url = admin::setup_url(origin, token.expose());
    if io::stderr().is_terminal() {
        // Nobody is left to tell when stderr is gone.
        let _ = writeln!(
            io::stderr(),
            "\nNo account exists yet. Make the first one within 30 minutes:\n\n  {}\n",
            *url
        );
        return Ok(());
    }
    write(path, &url)?;
    tracing::info!(
        file.path = %path.display(),
        "no account exists yet; a link to make the first one waits in a file for 30 minutes"
    );
    let waited = wait_for_account(&administrator, stopped);
    if !matches!(waited, Ok(Waited::Stopped)) {
        remove(path)?;
    }
    if matches!(waited, Ok(Waited::Expired)) {
        tracing::warn!("nobody used the setup link; `epicenter admin setup-link` prints a new one");
    }
    waited.map(|_| ())
}

enum Waited {
    Done,
    Expired,
    Stopped,
}

fn wait_for_account(
    administrator: &Administrator,
    stopped: &mpsc::Receiver<()>,
) -> Result<Waited, Failure> {
    let end = Instant::now() + Duration::from_millis(SETUP_LINK_LIFE_MS);
    loop {
        match stopped.recv_timeout(LOOK_EVERY) {
            Err(RecvTimeoutError::Timeout) => {}
            _ => return Ok(Waited::Stopped),
        }
        if administrator.has_users()? {
            return Ok(Waited::Done);
        }
        if Instant::now() >= end {
            return Ok(Waited::Expired);
        }
    }
}

fn write(path: &Path, url: &str) -> Result<(), Failure> {
    // A new file: the mode of an old one would stay.
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(format!("{url}\n").as_bytes()))
        .map_err(|error| failed("written", path, &error))
}

fn remove(path: &Path) -> Result<(), Failure> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed("removed", path, &error))
        }
        _ => Ok(()),
    }
}

fn failed(done: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::new(
        format!("{} cannot be {done}", path.display()),
        "check the disk and the owner of the folder",
    )
    .caused_by(error)
}
