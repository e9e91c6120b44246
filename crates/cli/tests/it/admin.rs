use crate::program::{Place, Serving};

const PASSWORD: &str = "correct horse battery staple";

fn add(place: &Place, flags: &[&str]) -> crate::program::Answer {
    let arguments = [
        &[
            "admin",
            "user",
            "add",
            "--data-dir",
            "data",
            "--password-stdin",
        ],
        flags,
    ]
    .concat();
    place.run_with_input(&arguments, &format!("{PASSWORD}\n"))
}

fn token(place: &Place, flags: &[&str]) -> crate::program::Answer {
    place.run(&[&["admin", "token", "--data-dir", "data"], flags].concat())
}

fn session(hub: &Serving, token: &str) -> String {
    hub.get(
        "/api/session",
        &format!("Authorization: Bearer {}\r\n", token.trim()),
    )
}

#[test]
fn an_account_added_to_a_running_hub_works_at_once() {
    let place = Place::new();
    let hub = place.serve();
    let id = add(&place, &["--email", "Ada@example.org", "--admin"]).data();
    let token = token(&place, &["--email", "ada@example.org"]).data();
    assert_eq!((id.lines().count(), token.lines().count()), (1, 1));
    assert_eq!(token.trim().split('.').count(), 3, "a JSON Web Token");

    let answer = session(&hub, &token);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(
        answer.contains(&format!("\"id\":\"{}\"", id.trim())),
        "{answer}"
    );
    assert!(answer.contains("\"email\":\"ada@example.org\""), "{answer}");

    let logged = hub.stop();
    for secret in [token.trim(), "ada@example.org", PASSWORD] {
        assert!(!logged.contains(secret), "{secret} is logged");
    }
}

#[test]
fn a_stopped_hub_takes_accounts_and_gives_tokens() {
    let place = Place::new();
    place.serve().stop();
    add(&place, &["--email", "ada@example.org", "--admin"]).data();
    let hub = place.serve();
    let origin = format!("http://{}", hub.address);
    let token = token(
        &place,
        &[
            "--email",
            "ada@example.org",
            "--public-origin",
            &origin,
            "--ttl",
            "60",
        ],
    )
    .data();
    assert!(session(&hub, &token).starts_with("HTTP/1.1 200"));
    hub.stop();
}

#[test]
fn a_token_for_another_origin_is_refused() {
    let place = Place::new();
    let hub = place.serve();
    add(&place, &["--email", "ada@example.org", "--admin"]).data();
    let token = token(
        &place,
        &[
            "--email",
            "ada@example.org",
            "--public-origin",
            "https://other.example",
        ],
    )
    .data();
    assert!(session(&hub, &token).starts_with("HTTP/1.1 401"));
    hub.stop();
}

#[test]
fn json_names_what_it_prints() {
    let place = Place::new();
    let hub = place.serve();
    let account = add(&place, &["--email", "ada@example.org", "--admin", "--json"]).data();
    assert!(
        account.starts_with("{\"id\":\"") && account.ends_with("\"admin\":true}\n"),
        "{account}"
    );
    let token = token(
        &place,
        &["--email", "ada@example.org", "--ttl", "60", "--json"],
    )
    .data();
    assert!(
        token.starts_with("{\"accessToken\":\"") && token.ends_with("\"expiresIn\":60}\n"),
        "{token}"
    );
    hub.stop();
}

#[test]
fn what_cannot_be_done_says_what_to_do() {
    let place = Place::new();
    let hub = place.serve();
    let complaint = add(&place, &["--email", "ada@example.org"]).complaint(2);
    assert!(
        complaint.contains("--admin"),
        "the first account is an admin: {complaint}"
    );
    let complaint = token(&place, &["--email", "ada@example.org"]).complaint(2);
    assert!(
        complaint.contains("epicenter admin user add"),
        "{complaint}"
    );

    add(&place, &["--email", "ada@example.org", "--admin"]).data();
    let complaint = add(&place, &["--email", "ADA@example.org"]).complaint(2);
    assert!(complaint.contains("already"), "{complaint}");
    let complaint = add(&place, &["--email", "no address"]).complaint(2);
    assert!(complaint.contains("address"), "{complaint}");

    let weak = [
        "admin",
        "user",
        "add",
        "--data-dir",
        "data",
        "--password-stdin",
        "--email",
        "bob@example.org",
    ];
    let complaint = place.run_with_input(&weak, "password\n").complaint(2);
    assert!(complaint.contains("password"), "{complaint}");
    place.run_with_input(&weak, "").complaint(2);
    hub.stop();
}

#[test]
fn a_place_without_a_hub_says_so() {
    let complaint = token(&Place::new(), &["--email", "ada@example.org"]).complaint(2);
    assert!(complaint.contains("epicenter serve"), "{complaint}");
}
