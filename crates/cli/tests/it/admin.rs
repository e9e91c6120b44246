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

fn user(place: &Place, command: &str, flags: &[&str]) -> crate::program::Answer {
    let arguments = [&["admin", "user", command, "--data-dir", "data"], flags].concat();
    place.run_with_input(&arguments, "another horse battery staple\n")
}

fn sign_in(hub: &Serving, password: &str) -> bool {
    let body = format!(r#"{{"email":"ada@example.org","password":"{password}"}}"#);
    let headers = format!(
        "Content-Type: application/json\r\nOrigin: http://{}\r\n",
        hub.address
    );
    hub.send("POST", "/auth/sign-in/email", &headers, &body)
        .starts_with("HTTP/1.1 200")
}

#[test]
fn accounts_are_listed_with_role_and_state() {
    let place = Place::new();
    let hub = place.serve();
    let id = add(&place, &["--email", "ada@example.org", "--admin"]).data();
    add(&place, &["--email", "bob@example.org"]).data();
    user(&place, "disable", &["--email", "bob@example.org"]).data();
    let list = user(&place, "list", &[]).data();
    let lines: Vec<_> = list.lines().collect();
    assert_eq!(lines.len(), 2, "{list}");
    assert_eq!(
        lines[0],
        format!("{}\tada@example.org\tadmin\tenabled", id.trim())
    );
    assert!(
        lines[1].ends_with("\tbob@example.org\tuser\tdisabled"),
        "{list}"
    );
    let list = user(&place, "list", &["--json"]).data();
    let list: serde_json::Value = serde_json::from_str(&list).expect("JSON");
    assert_eq!(list[1]["email"], "bob@example.org");
    assert_eq!(list[1]["enabled"], false);
    hub.stop();
}

#[test]
fn a_disabled_account_is_out_at_once_until_it_is_enabled() {
    let place = Place::new();
    let hub = place.serve();
    add(&place, &["--email", "ada@example.org", "--admin"]).data();
    let old = token(&place, &["--email", "ada@example.org"]).data();
    assert!(session(&hub, &old).starts_with("HTTP/1.1 200"));
    assert!(sign_in(&hub, PASSWORD));

    user(&place, "disable", &["--email", "ada@example.org"]).data();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !session(&hub, &old).starts_with("HTTP/1.1 401") {
        assert!(std::time::Instant::now() < deadline, "the token lives on");
    }
    assert!(!sign_in(&hub, PASSWORD));
    user(&place, "enable", &["--email", "ada@example.org"]).data();
    assert!(sign_in(&hub, PASSWORD));
    assert!(
        session(&hub, &old).starts_with("HTTP/1.1 401"),
        "it ended for good"
    );
    user(&place, "disable", &["--email", "nobody@example.org"]).complaint(2);
    hub.stop();
}

#[test]
fn a_new_password_replaces_the_old_one() {
    for command in ["reset-password", "recover"] {
        let place = Place::new();
        let hub = place.serve();
        add(&place, &["--email", "ada@example.org", "--admin"]).data();
        let flags = ["--email", "ada@example.org", "--password-stdin"];
        user(&place, command, &flags).data();
        assert!(!sign_in(&hub, PASSWORD), "{command}");
        assert!(sign_in(&hub, "another horse battery staple"), "{command}");
        hub.stop();
    }
}

#[test]
fn an_invitation_is_a_link_of_this_hub() {
    let place = Place::new();
    let hub = place.serve();
    add(&place, &["--email", "ada@example.org", "--admin"]).data();
    let link = user(&place, "invite", &["--email", "bob@example.org"]).data();
    let prefix = format!("http://{}/sign-up#t=", hub.address);
    assert!(
        link.starts_with(&prefix) && link.lines().count() == 1,
        "{link}"
    );
    let link = user(&place, "invite", &["--ttl", "3600", "--json"]).data();
    assert!(link.contains("\"expiresIn\":3600"), "{link}");
    user(&place, "invite", &["--email", "no address"]).complaint(2);
    let logged = hub.stop();
    assert!(!logged.contains("/sign-up#"), "{logged}");
}

#[test]
fn a_rotated_signing_key_leaves_tokens_good() {
    let place = Place::new();
    let hub = place.serve();
    add(&place, &["--email", "ada@example.org", "--admin"]).data();
    let old = token(&place, &["--email", "ada@example.org"]).data();
    let key = place
        .run(&["keys", "rotate-signing", "--data-dir", "data"])
        .data();
    assert_eq!(key.lines().count(), 1);
    assert!(session(&hub, &old).starts_with("HTTP/1.1 200"));
    let new = token(&place, &["--email", "ada@example.org"]).data();
    assert!(session(&hub, &new).starts_with("HTTP/1.1 200"));
    hub.stop();
}
