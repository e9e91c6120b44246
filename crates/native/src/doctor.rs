//! `epicenter doctor`: is everything that a hub keeps what it must be, and if not, what can be done.
//!
//! It reads and changes nothing, beside a running hub or while none runs: each database is read inside one transaction. What
//! it finds is either a problem, which somebody has to act on, or a notice. [`rooms`] is what an operator does about single
//! rooms; what changes something there needs the hub to be stopped.

mod accounts;
mod room_logs;
pub mod rooms;

use std::fmt;
use std::io;

use tokio::runtime;

use crate::config::HostConfig;
use crate::data_dir::secrets::FoundSecrets;
use crate::data_dir::{DataDir, DataDirError, GivenSecrets};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Somebody has to act.
    Problem,
    /// Worth knowing.
    Notice,
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What it is about, such as a file or a room.
    pub subject: String,
    /// What was found.
    pub what: String,
    /// What to do.
    pub advice: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Problem => "problem",
            Level::Notice => "notice",
        };
        write!(
            formatter,
            "{level}: {}: {}\n  {}",
            self.subject, self.what, self.advice
        )
    }
}

/// What was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Examined {
    /// Rooms and tombstones whose logs were read.
    pub rooms: u64,
    /// Updates of these logs, which were parsed and merged.
    pub updates: u64,
    /// Logs that compaction has replaced, which were read like the others.
    pub generations: u64,
    /// Signing keys.
    pub signing_keys: u64,
}

/// The result of an examination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What was found, in the order of the checks.
    pub findings: Vec<Finding>,
    /// What was looked at.
    pub examined: Examined,
    /// Whether a hub serves the data directory now.
    pub is_served: bool,
}

impl Report {
    /// Whether nobody has to act.
    pub fn is_sound(&self) -> bool {
        let mut findings = self.findings.iter();
        findings.all(|finding| finding.level == Level::Notice)
    }

    fn problem(
        &mut self,
        subject: impl fmt::Display,
        what: impl fmt::Display,
        advice: impl fmt::Display,
    ) {
        self.find(Level::Problem, &subject, &what, &advice);
    }

    fn notice(
        &mut self,
        subject: impl fmt::Display,
        what: impl fmt::Display,
        advice: impl fmt::Display,
    ) {
        self.find(Level::Notice, &subject, &what, &advice);
    }

    fn find(
        &mut self,
        level: Level,
        subject: &dyn fmt::Display,
        what: &dyn fmt::Display,
        advice: &dyn fmt::Display,
    ) {
        self.findings.push(Finding {
            level,
            subject: subject.to_string(),
            what: what.to_string(),
            advice: advice.to_string(),
        });
    }
}

/// Nothing could be examined.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DoctorError {
    /// There is no data directory, or it cannot be listed.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The system gives no runtime.
    #[error("the runtime cannot be started")]
    Start(#[source] io::Error),
}

/// Examines everything that the hub of this configuration keeps.
///
/// # Errors
/// When there is nothing to examine. Whatever is wrong with what is there is a finding.
pub fn examine(config: &HostConfig) -> Result<Report, DoctorError> {
    if !config.data_dir.is_dir() {
        let path = config.data_dir.clone();
        return Err(DataDirError::Missing { path }.into());
    }
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(DoctorError::Start)?;
    let data_dir = DataDir::look_at(&config.data_dir);
    let mut report = Report {
        findings: Vec::new(),
        examined: Examined::default(),
        is_served: data_dir.is_served(),
    };
    examine_permissions(&data_dir, &mut report)?;
    let secrets = examine_secrets(config, &data_dir, &mut report);
    runtime.block_on(accounts::examine(
        config,
        &data_dir,
        secrets.as_ref(),
        &mut report,
    ));
    room_logs::examine(&data_dir, &mut report);
    Ok(report)
}

fn examine_permissions(data_dir: &DataDir, report: &mut Report) -> Result<(), DataDirError> {
    for (path, mode) in data_dir.exposed()? {
        report.problem(
            path.display(),
            format_args!("others may use it (mode {mode:o})"),
            "take their rights away, as in chmod go= FILE; the next start does it too",
        );
    }
    Ok(())
}

fn examine_secrets(
    config: &HostConfig,
    data_dir: &DataDir,
    report: &mut Report,
) -> Option<FoundSecrets> {
    let given = GivenSecrets {
        encryption: config.encryption_secrets.as_ref().map(|text| text.expose()),
        auth: config.auth_secret.as_ref().map(|text| text.expose()),
    };
    let awaited = data_dir.awaited_secrets();
    let found = data_dir.find_secrets(given);
    if let (Ok(Some(awaited)), Ok(found)) = (&awaited, &found) {
        for checked in [
            awaited.check_encryption(&found.keyring),
            awaited.check_auth(&found.auth_secret),
        ] {
            if let Err(error) = checked {
                report.problem(
                    "secrets",
                    error,
                    "give the ones that the backup was made with",
                );
            }
        }
    }
    if let Err(error) = awaited {
        report.problem("secrets", chain(&error), "restore the backup again");
    }
    match found {
        Ok(found) => Some(found),
        Err(error @ DataDirError::SecretAwaited { .. }) => {
            report.notice(
                "secrets",
                error,
                "give it before the hub starts, in the environment or in the folder `secrets`",
            );
            None
        }
        Err(error) => {
            report.problem(
                "secrets",
                chain(&error),
                "run this with the configuration and the environment that the hub has; if a secret is lost, bring it back from where it is kept",
            );
            None
        }
    }
}

/// An error and its causes on one line.
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
