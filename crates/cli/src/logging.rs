//! Log lines on stderr: for people on a terminal, JSON otherwise.

use std::io::IsTerminal as _;

use epicenter_native::config::{LogConfig, LogFormat};
use tracing_subscriber::EnvFilter;

use crate::failure::Failure;

/// Checks the filter without installing anything.
pub(crate) fn parse_filter(level: &str) -> Result<EnvFilter, Failure> {
    EnvFilter::try_new(level).map_err(|error| {
        Failure::configuration(
            format!("`log.level` cannot be {level:?}"),
            "write a level (error, warn, info, debug, trace) or a filter such as info,epicenter_native=debug",
        )
        .caused_by(&error)
    })
}

/// Sends every log line of this process to stderr.
pub(crate) fn install(config: &LogConfig) -> Result<(), Failure> {
    let filter = parse_filter(&config.level)?;
    let terminal = std::io::stderr().is_terminal();
    let human = match config.format {
        LogFormat::Auto => terminal,
        LogFormat::Human => true,
        LogFormat::Json => false,
    };
    let coloured = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let installed = if human {
        builder.with_ansi(coloured).try_init()
    } else {
        builder
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .try_init()
    };
    installed.map_err(|error| {
        Failure::new(
            "logging cannot be set up",
            "this is a bug, please report it",
        )
        .caused_by(&*error)
    })
}
