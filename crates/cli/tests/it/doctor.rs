//! `epicenter doctor` from the outside: what it prints, and its exit codes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::backup::Example;
use crate::program::Place;

#[test]
fn a_sound_hub_is_said_to_be_sound_running_or_not() {
    let place = Place::new();
    let example = Example::start(&place, &[("notes", 50)]);
    let doctor = ["doctor", "--data-dir", "data"];
    let said = place.run(&doctor).data();
    let expect =
        "examined beside a running hub: 1 rooms, 1 updates, 0 kept generations, 1 signing keys\n";
    assert_eq!(said, expect);
    example.hub.stop();
    let said = place.run(&[&doctor[..], &["--json"]].concat()).data();
    assert!(
        said.contains("\"isSound\":true") && said.contains("\"isServed\":false"),
        "{said}"
    );
    let line = format!("{}\tnotes\tlive\t2\t", example.owner);
    let said = place
        .run(&["doctor", "rooms", "list", "--data-dir", "data"])
        .data();
    assert!(said.starts_with(&line), "{said}");
    let generations = [
        "doctor",
        "rooms",
        "generations",
        &example.owner,
        "notes",
        "--data-dir",
        "data",
    ];
    assert_eq!(place.run(&generations).data(), "");
    assert_eq!(
        place
            .run(&["doctor", "rooms", "quarantine", "--data-dir", "data"])
            .data(),
        ""
    );
}

#[test]
fn what_is_wrong_is_explained_with_exit_code_1() {
    let place = Place::new();
    Example::start(&place, &[("notes", 50)]).hub.stop();
    let identity = place.path().join("data/identity.db");
    fs::set_permissions(&identity, fs::Permissions::from_mode(0o644)).expect("ours");
    fs::remove_file(place.path().join("data/secrets/auth-secret")).expect("it was there");
    let answer = place.run(&["doctor", "--data-dir", "data"]);
    assert_eq!(answer.code, Some(1), "{}", answer.stderr);
    assert!(
        answer
            .stdout
            .contains("identity.db: others may use it (mode 644)"),
        "{}",
        answer.stdout
    );
    assert!(
        answer.stdout.contains("AUTH_SECRET is not set and"),
        "{}",
        answer.stdout
    );
    assert!(
        answer.stderr.contains("2 problems were found"),
        "{}",
        answer.stderr
    );
    let mode = fs::metadata(&identity)
        .expect("a file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o644, "it changes nothing");
    place.run(&["doctor", "--data-dir", "nowhere"]).complaint(2);
}

#[test]
fn what_changes_a_room_needs_the_hub_to_be_stopped() {
    let place = Place::new();
    let example = Example::start(&place, &[("notes", 50)]);
    let restore = [
        "doctor",
        "rooms",
        "restore-generation",
        &example.owner,
        "notes",
        "1",
        "--data-dir",
        "data",
    ];
    let error = place.run(&restore).complaint(2);
    assert!(
        error.contains("in use by another hub") && error.contains("stop the hub first"),
        "{error}"
    );
    example.hub.stop();
    let error = place.run(&restore).complaint(2);
    assert!(error.contains("has no generation 1"), "{error}");
    let lift = [
        "doctor",
        "rooms",
        "lift-quarantine",
        &example.owner,
        "notes",
        "1",
        "--data-dir",
        "data",
    ];
    let error = place.run(&lift).complaint(2);
    assert!(error.contains("nothing was rejected"), "{error}");
}
