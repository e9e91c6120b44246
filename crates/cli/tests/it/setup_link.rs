use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::program::{Place, Serving};

fn file(place: &Place) -> PathBuf {
    place.path().join("data/setup-link")
}

/// Polls with a bound: the hub looks once a second.
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn link(place: &Place) -> String {
    let mut text = String::new();
    eventually("no link is offered", || {
        text = fs::read_to_string(file(place)).unwrap_or_default();
        text.ends_with('\n')
    });
    text.trim().to_owned()
}

fn add_admin(place: &Place) {
    let arguments =
        "admin user add --data-dir data --email ada@example.org --password-stdin --admin";
    let arguments: Vec<_> = arguments.split(' ').collect();
    place
        .run_with_input(&arguments, "correct horse battery staple")
        .data();
}

fn token_of<'a>(hub: &Serving, link: &'a str) -> &'a str {
    link.strip_prefix(&format!("http://{}/setup#t=", hub.address))
        .unwrap_or_else(|| panic!("{link} is no link of this hub"))
}

#[test]
fn a_hub_without_accounts_leaves_a_link_that_no_log_shows() {
    let place = Place::new();
    let hub = place.serve();
    let link = link(&place);
    let token = token_of(&hub, &link).to_owned();
    assert!(token.len() >= 43, "256 bits");
    let mode = fs::metadata(file(&place))
        .expect("a file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    add_admin(&place);
    eventually("the file outlives the first account", || {
        !file(&place).exists()
    });
    let logged = hub.stop();
    assert!(
        logged.contains("setup-link"),
        "where it waits is said: {logged}"
    );
    assert!(!logged.contains(&token), "the link is logged");

    let hub = place.serve();
    hub.get("/readyz", "");
    assert!(!hub.stop().contains("setup-link"));
    assert!(!file(&place).exists());
}

#[test]
fn every_start_offers_a_link_of_its_own() {
    let place = Place::new();
    let hub = place.serve();
    let first = link(&place);
    let first = token_of(&hub, &first).to_owned();
    hub.stop();
    let hub = place.serve();
    let mut second = String::new();
    eventually("the old link stays", || {
        second = link(&place);
        !second.contains(&first)
    });
    token_of(&hub, &second);
    hub.stop();
}

#[test]
fn the_operator_makes_a_link_beside_a_running_hub_until_there_is_an_account() {
    let place = Place::new();
    let hub = place.serve();
    let made = place
        .run(&["admin", "setup-link", "--data-dir", "data"])
        .data();
    assert_eq!(made.lines().count(), 1);
    token_of(&hub, made.trim());
    let made = place
        .run(&["admin", "setup-link", "--data-dir", "data", "--json"])
        .data();
    assert!(made.contains("\"expiresIn\":1800"), "{made}");
    add_admin(&place);
    let complaint = place
        .run(&["admin", "setup-link", "--data-dir", "data"])
        .complaint(2);
    assert!(complaint.contains("invite"), "{complaint}");
    hub.stop();
}
