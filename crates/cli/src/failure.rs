//! What a person reads when a command does not succeed.

use std::error::Error;
use std::io::Write as _;
use std::process::ExitCode;

use epicenter_native::config::ConfigError;

/// Wrong usage or configuration.
const USAGE: u8 = 1;
/// The command was understood and failed.
const FAILED: u8 = 2;

/// An error on its way to stderr: what went wrong, why, and what to do next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    message: String,
    hint: String,
    code: u8,
}

impl Failure {
    /// A command that was understood and failed.
    pub(crate) fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: hint.into(),
            code: FAILED,
        }
    }

    /// A command line that was not understood.
    pub(crate) fn usage(error: &clap::Error) -> Self {
        let text = error.render().to_string();
        // The hint below takes the place of the parser's own closing line.
        let text = text.replace("For more information, try '--help'.", "");
        let message = text.trim().trim_start_matches("error: ").to_owned();
        Self {
            message,
            hint: "`epicenter help` and `epicenter COMMAND --help` show every flag with an example"
                .to_owned(),
            code: USAGE,
        }
    }

    /// A value that cannot be used.
    pub(crate) fn configuration(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            code: USAGE,
            ..Self::new(message, hint)
        }
    }

    /// An error of the hub, with its causes.
    pub(crate) fn of(error: &dyn Error, hint: impl Into<String>) -> Self {
        let failure = Self::new(error.to_string(), hint);
        match error.source() {
            Some(cause) => failure.caused_by(cause),
            None => failure,
        }
    }

    /// Adds the cause and its causes to the message.
    pub(crate) fn caused_by(mut self, error: &dyn Error) -> Self {
        let mut cause = Some(error);
        while let Some(error) = cause {
            self.message.push_str(": ");
            self.message.push_str(&error.to_string());
            cause = error.source();
        }
        self
    }

    /// What went wrong and why, on one line.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Writes the failure to stderr and gives the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        // Nobody is left to tell when stderr is gone; the exit code still says it.
        let _ = writeln!(
            std::io::stderr(),
            "error: {}\nhint: {}",
            self.message,
            self.hint
        );
        ExitCode::from(self.code)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let hint = error.hint();
        let mut failure = Self::configuration(error.to_string(), hint);
        if let Some(cause) = error.source() {
            failure = failure.caused_by(cause);
        }
        failure
    }
}
