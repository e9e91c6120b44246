//! `cargo xtask rings`: the rules of the architecture that a manifest or a source file can break.
//!
//! * dependencies between crates of the workspace point inward, and support crates are nobody's normal dependency;
//! * rings 0 and 1 use only the external crates listed here, and reach no driver, executor or random source through them;
//! * an MIT crate does not depend on an AGPL one, and every crate carries the licence it should;
//! * `Access` is made in the server's auth module only;
//! * ring 0 and 1 crates forbid unsafe code.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, ensure};

use crate::sources::{code_lines, files_below};
use crate::workspace::{Licence, Package, Ring, Workspace, cargo, place_of};
use crate::{fail_with, wasm};

/// External crates that ring 0 may name in its manifests.
const ALLOWED_IN_PURE: &[&str] = &[
    "base64",
    "bytes",
    "chacha20poly1305",
    "hkdf",
    "serde",
    "serde_json",
    "sha2",
    "subtle",
    "thiserror",
    "zeroize",
];

/// What ring 1 may name beyond that.
const ALLOWED_IN_LOGIC: &[&str] = &[
    "async-trait",
    "axum",
    "form_urlencoded",
    "futures-util",
    "http",
    "http-body-util",
    "maud",
    "tower",
    "tower-http",
    "tracing",
];

/// What rings 0 and 1 must not even reach through others: executors, drivers, random sources, document engines.
const ABSENT_FROM_PURE_AND_LOGIC: &[&str] = &[
    "getrandom",
    "hyper",
    "mio",
    "native-tls",
    "openssl",
    "rand",
    "reqwest",
    "ring",
    "rusqlite",
    "rustix",
    "rustls",
    "socket2",
    "tokio",
    "yrs",
];

/// Runs every check.
pub(crate) fn run() -> anyhow::Result<()> {
    let workspace = Workspace::load()?;
    let mut problems = check_manifests(&workspace.packages);
    problems.extend(check_sources(&workspace)?);
    if problems.is_empty() {
        // Asked last: a manifest with a cycle has no tree to look at.
        problems = check_absent(&workspace)?;
    }
    fail_with("rings", &problems)
}

/// What the manifests alone can break.
fn check_manifests(packages: &[Package]) -> Vec<String> {
    packages
        .iter()
        .flat_map(|package| check_manifest(package, packages))
        .collect()
}

fn check_manifest(package: &Package, packages: &[Package]) -> Vec<String> {
    let name = &package.name;
    let Some((ring, licence)) = place_of(name) else {
        return vec![format!(
            "{name} has no ring: add it to the table in xtask/src/workspace.rs"
        )];
    };
    let mut problems = Vec::new();
    if package.license.as_deref() != Some(licence.spdx()) {
        problems.push(format!("{name} must have the licence {}", licence.spdx()));
    }
    for dependency in package
        .dependencies
        .iter()
        .filter(|dependency| dependency.is_normal_or_build())
    {
        let target = &dependency.name;
        if dependency.path.is_none() {
            let allowed = match ring {
                Ring::Pure => ALLOWED_IN_PURE.contains(&target.as_str()),
                Ring::Logic => {
                    ALLOWED_IN_PURE.contains(&target.as_str())
                        || ALLOWED_IN_LOGIC.contains(&target.as_str())
                }
                Ring::Host | Ring::Support => true,
            };
            if !allowed {
                problems.push(format!(
                    "{name} must not depend on {target}: it is not on the list of its ring"
                ));
            }
            continue;
        }
        let Some((target_ring, _)) = place_of(target) else {
            // Reported where the crate itself is looked at.
            continue;
        };
        if target_ring > ring {
            problems.push(format!(
                "{name} must not depend on {target}: dependencies point inward"
            ));
        }
        let target_licence = packages
            .iter()
            .find(|package| package.name == *target)
            .and_then(|package| package.license.as_deref());
        if licence == Licence::Mit && target_licence != Some(Licence::Mit.spdx()) {
            problems.push(format!(
                "{name} is MIT and must not depend on {target}, which is not"
            ));
        }
    }
    problems
}

/// Looks for crates that rings 0 and 1 must not reach, as they are built for wasm.
fn check_absent(workspace: &Workspace) -> anyhow::Result<Vec<String>> {
    let mut problems = Vec::new();
    for package in workspace.in_rings(&[Ring::Pure, Ring::Logic]) {
        let output = cargo()
            .args([
                "tree", "--quiet", "--edges", "normal", "--prefix", "none", "--format", "{p}",
            ])
            .args(["--target", wasm::TARGET, "--package", &package.name])
            .current_dir(&workspace.workspace_root)
            .output()
            .context("cargo tree cannot be started")?;
        ensure!(
            output.status.success(),
            "cargo tree failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        problems.extend(forbidden_in_tree(
            &package.name,
            &String::from_utf8_lossy(&output.stdout),
        ));
    }
    Ok(problems)
}

fn forbidden_in_tree(package: &str, tree: &str) -> Vec<String> {
    ABSENT_FROM_PURE_AND_LOGIC
        .iter()
        .filter(|absent| {
            tree.lines()
                .any(|line| line.split(' ').next() == Some(**absent))
        })
        .map(|absent| {
            format!(
                "{package} reaches {absent}: run cargo tree --package {package} --invert {absent}"
            )
        })
        .collect()
}

/// What source files can break.
fn check_sources(workspace: &Workspace) -> anyhow::Result<Vec<String>> {
    let mut problems = Vec::new();
    for package in &workspace.packages {
        let Some((ring, _)) = place_of(&package.name) else {
            continue;
        };
        if ring == Ring::Support {
            continue;
        }
        if matches!(ring, Ring::Pure | Ring::Logic) {
            let path = package.folder().join("src/lib.rs");
            let text = fs::read_to_string(&path)
                .with_context(|| format!("{} cannot be read", path.display()))?;
            if !text.lines().any(|line| line == "#![forbid(unsafe_code)]") {
                problems.push(format!(
                    "{} must say #![forbid(unsafe_code)] in src/lib.rs",
                    package.name
                ));
            }
        }
        for path in files_below(&package.folder().join("src"), &["rs"])? {
            let text = fs::read_to_string(&path)
                .with_context(|| format!("{} cannot be read", path.display()))?;
            let shown = path
                .strip_prefix(&workspace.workspace_root)
                .unwrap_or(&path);
            problems.extend(check_access(shown, &text));
        }
    }
    Ok(problems)
}

/// Finds uses of the constructor of `Access` outside the places that may use it.
fn check_access(path: &Path, text: &str) -> Vec<String> {
    let allowed = path.starts_with("crates/identity")
        || path.starts_with("crates/testkit")
        || path.starts_with("crates/server/src/auth")
        || path == Path::new("crates/server/src/auth.rs")
        || path.file_name().is_some_and(|name| name == "tests.rs")
        || path
            .components()
            .any(|component| component.as_os_str() == "tests");
    if allowed {
        return Vec::new();
    }
    code_lines(text)
        .filter(|(_, line)| line.contains("authenticated_as"))
        .map(|(number, _)| {
            format!(
                "{}:{number} makes an Access: only the server's auth module may",
                path.display()
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Dependency;

    fn package(name: &str, licence: &str, dependencies: Vec<Dependency>) -> Package {
        Package {
            name: name.to_owned(),
            license: Some(licence.to_owned()),
            manifest_path: "crates/x/Cargo.toml".into(),
            dependencies,
        }
    }

    fn ours(name: &str) -> Dependency {
        Dependency {
            name: name.to_owned(),
            kind: None,
            path: Some("crates/x".into()),
        }
    }

    fn external(name: &str) -> Dependency {
        Dependency {
            name: name.to_owned(),
            kind: None,
            path: None,
        }
    }

    fn dev(dependency: Dependency) -> Dependency {
        Dependency {
            kind: Some("dev".to_owned()),
            ..dependency
        }
    }

    fn check(package: Package, expected: &[&str]) {
        let others = [
            ("epicenter-identity", "MIT"),
            ("epicenter-room", "AGPL-3.0-or-later"),
            ("epicenter-native", "AGPL-3.0-or-later"),
            ("epicenter-testkit", "AGPL-3.0-or-later"),
        ]
        .map(|(name, licence)| self::package(name, licence, Vec::new()));
        assert_eq!(check_manifest(&package, &others), expected);
    }

    #[test]
    fn dependencies_point_inward() {
        let agpl = "AGPL-3.0-or-later";
        check(
            package(
                "epicenter-room",
                agpl,
                vec![ours("epicenter-identity"), external("bytes")],
            ),
            &[],
        );
        check(
            package("epicenter-room", agpl, vec![ours("epicenter-native")]),
            &["epicenter-room must not depend on epicenter-native: dependencies point inward"],
        );
        check(
            package("epicenter-native", agpl, vec![ours("epicenter-testkit")]),
            &["epicenter-native must not depend on epicenter-testkit: dependencies point inward"],
        );
        check(
            package(
                "epicenter-native",
                agpl,
                vec![dev(ours("epicenter-testkit"))],
            ),
            &[],
        );
    }

    #[test]
    fn external_crates_are_listed_by_ring() {
        let agpl = "AGPL-3.0-or-later";
        check(
            package("epicenter-room", agpl, vec![external("tracing")]),
            &["epicenter-room must not depend on tracing: it is not on the list of its ring"],
        );
        check(
            package(
                "epicenter-server",
                agpl,
                vec![external("tracing"), external("bytes")],
            ),
            &[],
        );
        check(
            package("epicenter-server", agpl, vec![external("tokio")]),
            &["epicenter-server must not depend on tokio: it is not on the list of its ring"],
        );
        check(
            package("epicenter-server", agpl, vec![dev(external("tokio"))]),
            &[],
        );
        check(
            package("epicenter-native", agpl, vec![external("tokio")]),
            &[],
        );
    }

    #[test]
    fn licences_hold() {
        check(
            package("epicenter-sync", "MIT", vec![ours("epicenter-room")]),
            &["epicenter-sync is MIT and must not depend on epicenter-room, which is not"],
        );
        check(
            package("epicenter-room", "MIT", Vec::new()),
            &["epicenter-room must have the licence AGPL-3.0-or-later"],
        );
        check(
            package("epicenter-new", "MIT", Vec::new()),
            &["epicenter-new has no ring: add it to the table in xtask/src/workspace.rs"],
        );
    }

    #[test]
    fn what_is_reached_through_others_counts() {
        let tree = "epicenter-server v0.1.0 (/x)\naxum v0.8.9\ntokio-util v0.7\n";
        assert_eq!(
            forbidden_in_tree("epicenter-server", tree),
            Vec::<String>::new()
        );
        let tree = format!("{tree}tokio v1.54.0\n");
        assert_eq!(
            forbidden_in_tree("epicenter-server", &tree),
            [
                "epicenter-server reaches tokio: run cargo tree --package epicenter-server --invert tokio"
            ]
        );
    }

    #[test]
    fn access_is_made_in_the_auth_module_only() {
        let text = "// Access::authenticated_as is forbidden here\nlet a = Access::authenticated_as(user);\n";
        for path in [
            "crates/identity/src/access.rs",
            "crates/server/src/auth.rs",
            "crates/server/src/auth/bearer.rs",
            "crates/room/src/machine/tests.rs",
        ] {
            assert_eq!(
                check_access(Path::new(path), text),
                Vec::<String>::new(),
                "{path}"
            );
        }
        for path in [
            "crates/native/src/socket.rs",
            "crates/server/src/authority.rs",
        ] {
            assert_eq!(
                check_access(Path::new(path), text),
                [format!(
                    "{path}:2 makes an Access: only the server's auth module may"
                )],
            );
        }
        let tested = "fn f() {}\n\n#[cfg(test)]\nmod tests {\n    fn access() { Access::authenticated_as(user); }\n}\n";
        assert_eq!(
            check_access(Path::new("crates/room/src/gate.rs"), tested),
            Vec::<String>::new()
        );
    }
}
