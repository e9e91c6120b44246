use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::thread;

use serde_json::Value;

use crate::program::{Answer, Conversation, Place, Serving, modes_below};

pub(crate) const EMAIL: &str = "ada@example.org";
const PASSWORD: &str = "correct horse battery staple";
const PROMPT: &str = "Code: ";

/// A hub with one account, and a machine.
pub(crate) struct Scene {
    pub(crate) place: Place,
    pub(crate) hub: Serving,
    pub(crate) url: String,
}

impl Scene {
    fn new() -> Self {
        Self::at(Place::new())
    }

    pub(crate) fn at(place: Place) -> Self {
        let hub = place.serve();
        let url = format!("http://{}", hub.address);
        let scene = Self { place, hub, url };
        scene.admin(&[
            "user",
            "add",
            "--email",
            EMAIL,
            "--password-stdin",
            "--admin",
        ]);
        scene
    }

    pub(crate) fn admin(&self, arguments: &[&str]) -> String {
        let arguments = [&["admin"], arguments, &["--data-dir", "data"]].concat();
        self.place.run_with_input(&arguments, PASSWORD).data()
    }

    pub(crate) fn auth(&self, arguments: &[&str]) -> Answer {
        let arguments = [&["auth"], arguments, &["--url", &self.url]].concat();
        self.place.run(&arguments)
    }

    fn begin_login(&self, flags: &[&str]) -> Conversation {
        let arguments = [&["auth", "login", "--url", &self.url], flags].concat();
        self.place.converse(&arguments, PROMPT)
    }

    pub(crate) fn login(&self, flags: &[&str]) -> Answer {
        let conversation = self.begin_login(flags);
        let page = self.sign_in_at(&conversation);
        conversation.answer(&format!("{}\n", code_of(&page)))
    }

    /// What a browser does at the address that the program printed; the address of the page it ends on.
    fn sign_in_at(&self, conversation: &Conversation) -> String {
        let said = &conversation.said;
        let url = said
            .lines()
            .find_map(|line| line.trim().strip_prefix(&self.url))
            .unwrap_or_else(|| panic!("no address in {said}"));
        let body = format!(r#"{{"email":"{EMAIL}","password":"{PASSWORD}"}}"#);
        let headers = format!("Content-Type: application/json\r\nOrigin: {}\r\n", self.url);
        let answer = self
            .hub
            .send("POST", "/auth/sign-in/email", &headers, &body);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let cookie = header(&answer, "set-cookie");
        let cookie = cookie.split(';').next().expect("a cookie");
        let answer = self.hub.get(url, &format!("Cookie: {cookie}\r\n"));
        assert!(answer.starts_with("HTTP/1.1 302"), "{answer}");
        header(&answer, "location")
    }

    pub(crate) fn file(&self) -> PathBuf {
        let folder = if cfg!(target_os = "macos") {
            "Library/Application Support/epicenter/auth"
        } else {
            ".local/share/epicenter/auth"
        };
        let name = format!("{}.json", self.hub.address.to_string().replace(':', "_"));
        self.place.path().join(folder).join(name)
    }

    pub(crate) fn record(&self) -> Value {
        let text = fs::read_to_string(self.file()).expect("a stored sign-in");
        serde_json::from_str(&text).expect("JSON")
    }

    fn make_stale(&self) {
        let mut record = self.record();
        record["grant"]["accessTokenExpiresAt"] = 1.into();
        fs::write(self.file(), record.to_string()).expect("it is written");
    }

    fn session(&self, token: &str) -> String {
        let bearer = format!("Authorization: Bearer {token}\r\n");
        self.hub.get("/api/session", &bearer)
    }
}

fn header(answer: &str, name: &str) -> String {
    let found = answer
        .lines()
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_once(": "))
        .find(|(found, _)| found.eq_ignore_ascii_case(name));
    found
        .unwrap_or_else(|| panic!("no {name} in {answer}"))
        .1
        .to_owned()
}

/// As the page shows it to the person.
fn code_of(page: &str) -> String {
    let (_, rest) = page
        .split_once("code=")
        .unwrap_or_else(|| panic!("no code in {page}"));
    rest.split('&').next().expect("a value").to_owned()
}

fn text<'a>(record: &'a Value, path: &str) -> &'a str {
    let value = record.pointer(path).and_then(Value::as_str);
    value.unwrap_or_else(|| panic!("no {path}"))
}

#[test]
fn a_pasted_code_signs_this_machine_in_and_out_again() {
    let scene = Scene::new();
    assert_eq!(scene.login(&[]).data(), format!("Signed in as {EMAIL}\n"));
    let record = scene.record();
    for (path, mode) in modes_below(scene.file().parent().expect("a folder")) {
        assert_eq!(mode & 0o077, 0, "{} has mode {mode:o}", path.display());
    }
    assert!(!record.to_string().contains(EMAIL), "no profile is stored");

    let status = scene.auth(&["status"]).data();
    assert_eq!(status, format!("Signed in as {EMAIL} at {}\n", scene.url));

    let token = text(&record, "/grant/accessToken");
    let room = format!(
        "/api/owners/{}/rooms/epicenter.notes",
        text(&record, "/ownerId")
    );
    let bearer = format!("Authorization: Bearer {token}\r\n");
    let answer = scene.hub.get(&room, &bearer);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(scene.session(token).starts_with("HTTP/1.1 200"));

    let said = scene.auth(&["logout"]).data();
    assert_eq!(
        said,
        format!("Signed out of {}; the hub knows\n", scene.url)
    );
    assert!(!scene.file().exists());
    let answer = scene.session(token);
    assert!(
        answer.starts_with("HTTP/1.1 401"),
        "the grant is revoked: {answer}"
    );
    let complaint = scene.auth(&["status"]).complaint(2);
    assert!(complaint.contains("epicenter auth login"), "{complaint}");

    let logged = scene.hub.stop();
    for secret in [token, text(&record, "/grant/refreshToken"), EMAIL, PASSWORD] {
        assert!(!logged.contains(secret), "{secret} is logged");
    }
}

#[test]
fn json_says_the_same() {
    let scene = Scene::new();
    let login: Value = serde_json::from_str(&scene.login(&["--json"]).data()).expect("JSON");
    assert_eq!(text(&login, "/email"), EMAIL);
    let status: Value =
        serde_json::from_str(&scene.auth(&["status", "--json"]).data()).expect("JSON");
    assert_eq!(text(&status, "/status"), "valid");
    assert_eq!(text(&status, "/userId"), text(&login, "/userId"));
    let logout: Value =
        serde_json::from_str(&scene.auth(&["logout", "--json"]).data()).expect("JSON");
    assert_eq!(logout["hubHeard"], true);
    let signed_out = scene.auth(&["status", "--json"]);
    assert_eq!(signed_out.code, Some(2));
    assert!(
        signed_out.stdout.contains("\"signedOut\""),
        "{}",
        signed_out.stdout
    );
    let again: Value =
        serde_json::from_str(&scene.auth(&["logout", "--json"]).data()).expect("JSON");
    assert_eq!(again["wasSignedIn"], false);
}

#[test]
fn the_address_of_the_page_is_as_good_as_its_code() {
    let scene = Scene::new();
    let conversation = scene.begin_login(&[]);
    let page = scene.sign_in_at(&conversation);
    conversation.answer(&page).data();

    let conversation = scene.begin_login(&[]);
    let other = scene.begin_login(&[]);
    let page = scene.sign_in_at(&other);
    let complaint = conversation.answer(&page).complaint(2);
    assert!(complaint.contains("another sign-in"), "{complaint}");
    other.answer("\n").complaint(2);
}

#[test]
fn a_code_that_somebody_else_asked_for_is_refused() {
    let scene = Scene::new();
    let attacker = scene.begin_login(&[]);
    let code = code_of(&scene.sign_in_at(&attacker));
    let victim = scene.begin_login(&[]);
    let complaint = victim.answer(&code).complaint(2);
    assert!(complaint.contains("not accepted"), "{complaint}");
    assert!(!complaint.contains(&code), "{complaint}");
    assert!(!scene.file().exists(), "nothing is stored");
    attacker.answer("\n").complaint(2);
}

#[test]
fn a_code_is_good_once() {
    let scene = Scene::new();
    let conversation = scene.begin_login(&[]);
    let code = code_of(&scene.sign_in_at(&conversation));
    conversation.answer(&code).data();
    let before = scene.record();
    scene.begin_login(&[]).answer(&code).complaint(2);
    assert_eq!(
        scene.record(),
        before,
        "the sign-in that stands is left alone"
    );
    for nonsense in ["", "\n", "no code at all\n", "made-up\n"] {
        scene.begin_login(&[]).answer(nonsense).complaint(2);
    }
}

#[test]
fn a_stale_sign_in_is_refreshed() {
    let scene = Scene::new();
    scene.login(&[]).data();
    let before = scene.record();
    scene.make_stale();
    scene.auth(&["status"]).data();
    let after = scene.record();
    for path in ["/grant/accessToken", "/grant/refreshToken"] {
        assert_ne!(text(&before, path), text(&after, path), "{path}");
    }
    assert_eq!(before["keyring"], after["keyring"]);
    assert!(after["grant"]["accessTokenExpiresAt"].as_u64() > Some(1));
}

#[test]
fn processes_that_share_a_stale_sign_in_refresh_it_once() {
    let scene = Scene::new();
    scene.login(&[]).data();
    scene.make_stale();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..6)
            .map(|_| scope.spawn(|| scene.auth(&["status"])))
            .collect();
        for worker in workers {
            worker.join().expect("no panic").data();
        }
    });
    scene.auth(&["status"]).data();
    scene.make_stale();
    scene.auth(&["status"]).data();
}

#[test]
fn an_access_token_that_the_hub_refuses_is_refreshed_once() {
    let scene = Scene::new();
    scene.login(&[]).data();
    let mut record = scene.record();
    record["grant"]["accessToken"] = "not.a.token".into();
    fs::write(scene.file(), record.to_string()).expect("it is written");
    scene.auth(&["status"]).data();
    assert_ne!(text(&scene.record(), "/grant/accessToken"), "not.a.token");
}

#[test]
fn a_sign_in_that_the_operator_ended_is_refused() {
    let scene = Scene::new();
    scene.login(&[]).data();
    scene.admin(&["user", "disable", "--email", EMAIL]);
    scene.make_stale();
    let complaint = scene.auth(&["status"]).complaint(2);
    assert!(complaint.contains("does not accept"), "{complaint}");
    assert!(scene.file().exists(), "local data can still be opened");
}

#[test]
fn a_new_sign_in_ends_the_one_it_replaces() {
    let scene = Scene::new();
    scene.login(&[]).data();
    let first = scene.record();
    scene.login(&[]).data();
    let answer = scene.session(text(&first, "/grant/accessToken"));
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    scene.auth(&["status"]).data();
}

#[test]
fn without_the_hub_the_sign_in_is_unverified_and_can_be_ended_here() {
    let Scene { place, hub, url } = {
        let scene = Scene::new();
        scene.login(&[]).data();
        scene
    };
    hub.stop();
    let answer = place.run(&["auth", "status", "--url", &url]);
    assert!(answer.stderr.contains("hint: "), "{}", answer.stderr);
    assert!(answer.data().contains("not verified"));
    let answer = place.run(&["auth", "logout", "--url", &url]);
    assert!(answer.data().contains("the hub was not told"));
    place.run(&["auth", "status", "--url", &url]).complaint(2);
    let complaint = place.run(&["auth", "login", "--url", &url]).complaint(2);
    assert!(complaint.contains("cannot be reached"), "{complaint}");
}

#[test]
fn another_name_of_the_hub_learns_the_right_one() {
    let scene = Scene::new();
    let alias = format!("http://localhost:{}", scene.hub.address.port());
    let complaint = scene
        .place
        .run(&["auth", "login", "--url", &alias])
        .complaint(2);
    let remedy = format!("epicenter auth login --url {}", scene.url);
    assert!(complaint.contains(&remedy), "{complaint}");
}

#[test]
fn a_file_that_others_can_read_is_refused_with_the_remedy() {
    let scene = Scene::new();
    scene.login(&[]).data();
    fs::set_permissions(scene.file(), fs::Permissions::from_mode(0o644)).expect("a mode");
    for command in ["status", "login"] {
        let complaint = scene.auth(&[command]).complaint(2);
        assert!(complaint.contains("chmod 600 "), "{complaint}");
    }
    scene.auth(&["logout"]).data();
    assert!(!scene.file().exists());
}

#[test]
fn an_address_that_is_none_is_wrong_usage() {
    let place = Place::new();
    for url in [
        "hub.example",
        "http://",
        "http://a b",
        "https://hub.example/x",
    ] {
        place.run(&["auth", "status", "--url", url]).complaint(1);
    }
    let place = Place::new().with_variable("EPICENTER_API_URL", "nonsense");
    let complaint = place.run(&["auth", "status"]).complaint(1);
    assert!(complaint.contains("EPICENTER_API_URL"), "{complaint}");
}
