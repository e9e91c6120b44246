//! From arguments and this process's environment to a checked configuration.

use std::path::PathBuf;

use epicenter_native::config::{self, Flags, Loaded};

use crate::arguments::PlaceArguments;
use crate::failure::Failure;

/// Loads the configuration that the place arguments and `flags` name.
pub(crate) fn load(place: &PlaceArguments, flags: Flags) -> Result<Loaded, Failure> {
    let flags = Flags {
        data_dir: place.data_dir.clone(),
        config: place.config.clone(),
        ..flags
    };
    // Paths that are made absolute here keep their meaning whatever the process does later.
    let working_dir = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
    Ok(config::load(
        &flags,
        &|variable| std::env::var_os(variable),
        &working_dir,
    )?)
}
