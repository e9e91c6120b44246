//! `epicenter serve`: from arguments to a running hub, and from a signal to its end.

use std::time::Duration;

use epicenter_native::Hub;
use epicenter_native::config::{Flags, HostConfig, render};
use epicenter_native::data_dir::DataDirError;
use epicenter_native::identity_store::{
    ModeError, OTHER_AUTH_SECRET_HINT, OriginError, StoreError,
};
use tokio::runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::arguments::ServeArguments;
use crate::configuration;
use crate::failure::Failure;
use crate::setup_link::SetupLink;
use crate::{logging, print};

/// What the hub's own deadline may be late by before the process ends without it.
const DEADLINE_GRACE: Duration = Duration::from_millis(500);

/// Runs the hub until a signal ends it.
pub(crate) fn run(arguments: ServeArguments) -> Result<(), Failure> {
    let flags = Flags {
        listen: arguments.listen,
        public_origin: arguments.public_origin,
        admin_listen: arguments.admin_listen,
        log: arguments.log,
        ..Flags::default()
    };
    let loaded = configuration::load(&arguments.place, flags)?;
    if arguments.check {
        logging::parse_filter(&loaded.config.log.level)?;
        return print(&render(&loaded));
    }
    logging::install(&loaded.config.log)?;
    let runtime = runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            Failure::new(
                "the runtime cannot be started",
                "check the limits on threads and open files",
            )
            .caused_by(&error)
        })?;
    let result = runtime.block_on(serve(loaded.config));
    // Work on blocking threads that nobody waits for any more must not hold up the exit.
    runtime.shutdown_background();
    result
}

async fn serve(config: HostConfig) -> Result<(), Failure> {
    let deadline = Duration::from_millis(config.shutdown_deadline_ms) + DEADLINE_GRACE;
    let beside = config.clone();
    // Listened for before anything is started: a signal during the start is not lost.
    let mut signals = Signals::listen()?;
    let hub = tokio::select! {
        started = Hub::start(config) => started.map_err(|error| start_failure(&error))?,
        () = signals.next() => return Ok(()),
    };
    let line = format!("listening on http://{}\n", hub.address());
    if print(&line).is_err() {
        tracing::warn!("stdout is closed; the hub serves all the same");
    }
    let setup_link = SetupLink::offer(beside, hub.origin().clone());
    signals.next().await;
    drop(setup_link);
    tracing::info!("shutting down");
    tokio::select! {
        () = hub.shutdown() => Ok(()),
        () = signals.next() => Err(Failure::new(
            "a second signal ended the hub before its shutdown was complete",
            "nothing that was acknowledged is lost; the next start reads the log",
        )),
        () = tokio::time::sleep(deadline) => Err(Failure::new(
            "the shutdown was not complete within its deadline",
            "nothing that was acknowledged is lost; raise shutdown_deadline if this happens often",
        )),
    }
}

/// What a person can do about a hub that does not start.
fn start_failure(error: &anyhow::Error) -> Failure {
    let hint = if let Some(error) = error.downcast_ref::<DataDirError>() {
        match error {
            DataDirError::InUse { .. } => {
                "stop the other hub, or give this one a folder of its own with --data-dir"
            }
            DataDirError::Unfinished { .. } => "empty the folder and restore again",
            DataDirError::SecretAwaited { .. } | DataDirError::SecretUnexpected { .. } => {
                "give it in the environment or in the data directory's folder `secrets`; if AUTH_SECRET is lost, restore again with --new-auth-secret"
            }
            DataDirError::SecretLost { .. }
            | DataDirError::SecretChanged { .. }
            | DataDirError::SecretNotShared { .. }
            | DataDirError::MalformedSecret { .. } => {
                "docs/configuration.md says where secrets come from; nothing stored was changed"
            }
            _ => "the folder must belong to the user that runs the hub; --data-dir names another",
        }
    } else if error.is::<ModeError>() {
        "set the mode that the hub was first served in, or use other data with --data-dir or DATABASE_URL"
    } else if let Some(error) = error.downcast_ref::<StoreError>() {
        match error {
            StoreError::Postgres(error) => error.hint(),
            StoreError::OtherAuthSecret => OTHER_AUTH_SECRET_HINT,
            _ => {
                "the log above says more with --log debug; check the disk and the owner of the folder"
            }
        }
    } else if error.is::<OriginError>() {
        "give all hubs that share DATABASE_URL the same public_origin; to move them to another one, stop all of them first"
    } else if error.chain().any(|cause| cause.is::<std::io::Error>()) {
        "another program may use the address: choose one with --listen, or with --admin-listen if it is that of metrics, where port 0 takes a free one"
    } else {
        "the log above says more with --log debug; `epicenter serve --check` shows what was configured"
    };
    Failure::new(format!("the hub cannot start: {error:#}"), hint)
}

/// SIGTERM and SIGINT as one stream.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| {
                Failure::new(
                    "signals cannot be listened for",
                    "check the limit on open files",
                )
                .caused_by(&error)
            })
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
