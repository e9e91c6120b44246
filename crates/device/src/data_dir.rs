//! Where a person's programs keep what they know of hubs.

use std::ffi::OsString;
use std::path::PathBuf;

/// Overrides the folder.
pub const DATA_DIR_VARIABLE: &str = "EPICENTER_DATA_DIR";

/// Neither the variable nor a home directory says where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no folder for data, because neither EPICENTER_DATA_DIR nor HOME is set")]
pub struct NoDataDir;

/// The folder: `EPICENTER_DATA_DIR`, else `epicenter` in the platform's folder for data. `variable` reads the
/// environment.
///
/// # Errors
/// When no variable names a folder.
pub fn data_dir(variable: &dyn Fn(&str) -> Option<OsString>) -> Result<PathBuf, NoDataDir> {
    let path = |name: &str| {
        variable(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    if let Some(folder) = path(DATA_DIR_VARIABLE) {
        return Ok(folder);
    }
    // The XDG specification says to ignore relative paths.
    let shared = path("XDG_DATA_HOME").filter(|folder| folder.is_absolute());
    let platform = if cfg!(target_os = "macos") {
        "Library/Application Support"
    } else {
        ".local/share"
    };
    shared
        .or_else(|| path("HOME").map(|home| home.join(platform)))
        .map(|folder| folder.join("epicenter"))
        .ok_or(NoDataDir)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(variables: &[(&str, &str)], expected: Result<&str, NoDataDir>) {
        let found = data_dir(&|name| {
            let (_, value) = variables.iter().find(|(variable, _)| *variable == name)?;
            Some(OsString::from(value))
        });
        assert_eq!(found, expected.map(PathBuf::from), "{variables:?}");
    }

    #[test]
    fn the_variable_wins_and_the_platform_decides_otherwise() {
        let home = ("HOME", "/home/ada");
        let below_home = if cfg!(target_os = "macos") {
            "/home/ada/Library/Application Support/epicenter"
        } else {
            "/home/ada/.local/share/epicenter"
        };
        check(
            &[home, ("XDG_DATA_HOME", "/x"), ("EPICENTER_DATA_DIR", "/e")],
            Ok("/e"),
        );
        check(&[home, ("XDG_DATA_HOME", "/x")], Ok("/x/epicenter"));
        check(&[home, ("XDG_DATA_HOME", "relative")], Ok(below_home));
        check(
            &[home, ("EPICENTER_DATA_DIR", ""), ("XDG_DATA_HOME", "")],
            Ok(below_home),
        );
        check(&[], Err(NoDataDir));
    }
}
