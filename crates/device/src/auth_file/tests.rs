use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::thread;

use epicenter_auth::{HubUrl, PersistedAuth};
use tempfile::TempDir;

use super::*;

fn auth(refresh_token: &str) -> PersistedAuth {
    PersistedAuth::parse(&format!(
        r#"{{"grant":{{"accessToken":"a","refreshToken":"{refresh_token}","accessTokenExpiresAt":1}},"userId":"u1","ownerId":"u1","keyring":[]}}"#
    ))
    .expect("a record")
}

fn file_in(place: &TempDir) -> AuthFile {
    let hub = HubUrl::parse("http://127.0.0.1:8787").expect("an address");
    AuthFile::new(&place.path().join("data"), &hub)
}

fn place() -> TempDir {
    TempDir::new().expect("a temporary folder")
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path)
        .expect("it exists")
        .permissions()
        .mode()
        & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("the mode is set");
}

fn stored(file: &AuthFile) -> Option<PersistedAuth> {
    file.load().expect("a usable file").into_auth()
}

#[test]
fn what_is_put_is_found_under_the_name_of_the_hub() {
    let place = place();
    let file = file_in(&place);
    assert!(matches!(file.load(), Ok(Stored::Absent)));
    assert!(matches!(file.put(&auth("r1")), Ok(Stored::Absent)));
    assert_eq!(stored(&file), Some(auth("r1")));
    assert!(place.path().join("data/auth/127.0.0.1_8787.json").is_file());
    let replaced = file.put(&auth("r2")).expect("it is stored");
    assert_eq!(replaced.into_auth(), Some(auth("r1")));
}

#[test]
fn nobody_else_can_read_anything() {
    let place = place();
    let file = file_in(&place);
    file.put(&auth("r1")).expect("it is stored");
    drop(file.try_lock().expect("a lock"));
    let folder = place.path().join("data/auth");
    assert_eq!(mode(&folder), 0o700);
    assert_eq!(mode(&place.path().join("data")), 0o700);
    for entry in fs::read_dir(&folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[test]
fn a_file_that_others_can_read_is_refused_with_the_remedy() {
    let place = place();
    let file = file_in(&place);
    file.put(&auth("r1")).expect("it is stored");
    for wide in [0o604, 0o640, 0o660, 0o602] {
        set_mode(file.path(), wide);
        let error = file.load().expect_err("too open");
        assert_eq!(
            error.hint(),
            format!(
                "if nobody else read it, run: chmod 600 '{}'",
                file.path().display()
            )
        );
        assert!(file.swap(&auth("r1").grant, Some(&auth("r2"))).is_err());
        assert!(file.put(&auth("r2")).is_err());
    }
    set_mode(file.path(), 0o600);
    assert_eq!(stored(&file), Some(auth("r1")), "nothing was changed");

    let folder = file.path().parent().expect("a folder");
    set_mode(folder, 0o755);
    let hint = file.load().expect_err("too open").hint();
    assert!(hint.contains("chmod 700"), "{hint}");
}

#[test]
fn a_sign_out_removes_even_what_others_can_read() {
    let place = place();
    let file = file_in(&place);
    file.put(&auth("r1")).expect("it is stored");
    set_mode(file.path(), 0o644);
    let removed = file.remove().expect("it is removed");
    assert_eq!(
        removed.into_auth(),
        Some(auth("r1")),
        "so that it can be revoked"
    );
    assert!(matches!(file.load(), Ok(Stored::Absent)));
}

#[test]
fn a_link_is_not_followed() {
    let place = place();
    let file = file_in(&place);
    file.put(&auth("r1")).expect("it is stored");
    let elsewhere = place.path().join("elsewhere.json");
    fs::rename(file.path(), &elsewhere).expect("it is moved");
    symlink(&elsewhere, file.path()).expect("a link");
    assert!(file.load().is_err());
    assert!(file.put(&auth("r2")).is_err());
    file.remove().expect("the link is removed");
    assert!(elsewhere.is_file(), "what it led to stays");

    fs::remove_dir_all(place.path().join("data/auth")).expect("it is removed");
    symlink(place.path(), place.path().join("data/auth")).expect("a link");
    assert!(file.load().is_err());
}

#[test]
fn corrupt_content_counts_as_signed_out_and_can_be_replaced() {
    let place = place();
    let file = file_in(&place);
    file.put(&auth("r1")).expect("it is stored");
    for bytes in [&b""[..], b"{", b"\xff\xfe", &[b' '; 2 << 20]] {
        fs::write(file.path(), bytes).expect("it is written");
        assert!(matches!(file.load(), Ok(Stored::Corrupt(_))));
        let swapped = file.swap(&auth("r1").grant, Some(&auth("r2")));
        assert_eq!(swapped.expect("a usable file"), Swapped::Gone);
    }
    file.put(&auth("r3")).expect("it is stored");
    assert_eq!(stored(&file), Some(auth("r3")));
}

#[test]
fn what_a_killed_process_left_is_never_read_and_soon_gone() {
    let place = place();
    let file = file_in(&place);
    file.put(&auth("r1")).expect("it is stored");
    let temporary = file.beside("tmp");
    fs::write(&temporary, "{\"gra").expect("half a record");
    set_mode(&temporary, 0o644);
    assert_eq!(stored(&file), Some(auth("r1")));

    file.put(&auth("r2")).expect("it is stored");
    assert_eq!(stored(&file), Some(auth("r2")));
    assert_eq!(mode(file.path()), 0o600, "not the mode of what was left");
    assert!(!temporary.exists());

    fs::write(&temporary, &*auth("r3").serialize()).expect("a whole record");
    file.remove().expect("it is removed");
    assert!(!temporary.exists(), "tokens do not outlive a sign-out");
}

#[test]
fn a_file_that_was_removed_is_not_made_again() {
    let place = place();
    let file = file_in(&place);
    file.put(&auth("r1")).expect("it is stored");
    let lock = file.try_lock().expect("a usable file").expect("it is free");
    // A sign-out does not wait for the refresh that holds the lock.
    file.remove().expect("it is removed");
    let swapped = file.swap(&auth("r1").grant, Some(&auth("r2")));
    assert_eq!(swapped.expect("a usable file"), Swapped::Gone);
    assert!(!file.path().exists());
    drop(lock);
}

#[test]
fn a_refresh_does_not_overwrite_a_newer_sign_in() {
    let place = place();
    let file = file_in(&place);
    file.put(&auth("new")).expect("it is stored");
    let swapped = file.swap(&auth("old").grant, Some(&auth("rotated")));
    assert_eq!(
        swapped.expect("a usable file"),
        Swapped::Changed(auth("new"))
    );
    let swapped = file.swap(&auth("old").grant, None);
    assert_eq!(
        swapped.expect("a usable file"),
        Swapped::Changed(auth("new"))
    );
    assert_eq!(stored(&file), Some(auth("new")));
}

#[test]
fn one_holder_at_a_time() {
    let place = place();
    let file = file_in(&place);
    let held = file.try_lock().expect("a usable file");
    assert!(held.is_some());
    assert!(file.try_lock().expect("a usable file").is_none());
    drop(held);
    assert!(file.try_lock().expect("a usable file").is_some());
}

#[test]
fn many_at_once_rotate_one_after_another() {
    const WORKERS: usize = 8;
    const ROTATIONS: usize = 20;
    let place = place();
    let file = file_in(&place);
    file.put(&auth("0")).expect("it is stored");
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            // Each has its own open lock file, as processes do.
            let file = file.clone();
            scope.spawn(move || {
                for _ in 0..ROTATIONS {
                    let lock = loop {
                        if let Some(lock) = file.try_lock().expect("a usable file") {
                            break lock;
                        }
                        thread::yield_now();
                    };
                    let before = stored(&file).expect("nobody signs out");
                    let count: usize = before
                        .grant
                        .refresh_token
                        .expose()
                        .parse()
                        .expect("a number");
                    let after = auth(&(count + 1).to_string());
                    let swapped = file.swap(&before.grant, Some(&after));
                    assert_eq!(swapped.expect("a usable file"), Swapped::Done);
                    drop(lock);
                }
            });
        }
    });
    assert_eq!(
        stored(&file),
        Some(auth(&(WORKERS * ROTATIONS).to_string()))
    );
}

#[test]
fn readers_never_see_half_a_record() {
    let place = place();
    let file = file_in(&place);
    file.put(&auth("a")).expect("it is stored");
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for _ in 0..100 {
                file.put(&auth(&"b".repeat(5_000))).expect("it is stored");
                file.put(&auth("a")).expect("it is stored");
            }
        });
        while !writer.is_finished() {
            assert!(stored(&file).is_some());
        }
    });
}
