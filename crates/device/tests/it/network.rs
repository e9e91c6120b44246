use std::net::SocketAddr;

use epicenter_auth::{HubUrl, PersistedAuth};
use epicenter_device::{HubFailure, LoginError, MachineAuth, SignedOut, Status, now_ms};
use tempfile::TempDir;

use crate::stand_in::{StandIn, nobody};

pub(crate) const FRESH: u64 = 3_600_000;

pub(crate) struct Machine {
    pub(crate) auth: MachineAuth,
    _place: TempDir,
}

fn machine(hub: SocketAddr) -> Machine {
    let place = TempDir::new().expect("a temporary folder");
    let hub = HubUrl::parse(&format!("http://{hub}")).expect("an address");
    Machine {
        auth: MachineAuth::new(hub, &place.path().join("data")).expect("a client"),
        _place: place,
    }
}

/// A record whose access token lives for that long.
fn record(lifetime_ms: u64) -> PersistedAuth {
    PersistedAuth::parse(&format!(
        r#"{{"grant":{{"accessToken":"acc3ss","refreshToken":"r3fresh","accessTokenExpiresAt":{}}},"userId":"u1","ownerId":"u1","keyring":[]}}"#,
        now_ms() + lifetime_ms
    ))
    .expect("a record")
}

pub(crate) fn signed_in(hub: SocketAddr, lifetime_ms: u64) -> Machine {
    let machine = machine(hub);
    machine
        .auth
        .file()
        .put(&record(lifetime_ms))
        .expect("it is stored");
    machine
}

pub(crate) fn is_signed_in(machine: &Machine) -> bool {
    let stored = machine.auth.file().load().expect("a usable file");
    stored.into_auth().is_some()
}

pub(crate) fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(work)
}

#[test]
fn without_a_record_nothing_is_sent() {
    let hub = StandIn::answering("500 Oops", "");
    let machine = machine(hub.address);
    assert!(matches!(run(machine.auth.status()), Ok(Status::SignedOut)));
    assert!(matches!(
        run(machine.auth.sign_out()),
        Ok(SignedOut::WasSignedOut)
    ));
    assert_eq!(hub.requests(), 0);
}

#[test]
fn a_hub_that_is_away_leaves_the_sign_in_as_it_is() {
    for lifetime_ms in [0, FRESH] {
        let machine = signed_in(nobody(), lifetime_ms);
        let status = run(machine.auth.status()).expect("a usable file");
        let Status::Unverified { user_id, why, .. } = status else {
            panic!("{status:?}");
        };
        assert_eq!(user_id.as_str(), "u1");
        assert!(matches!(why, HubFailure::Unreachable(_)));
        assert!(is_signed_in(&machine));
    }
}

#[test]
fn whatever_is_no_judgement_leaves_the_sign_in_as_it_is() {
    for (head, body) in [
        ("503 Unavailable", ""),
        ("429 Too Many Requests", ""),
        ("500 Oops", r#"{"error":"invalid_grant"}"#),
        ("200 OK", "<html>welcome to the hotel</html>"),
        ("200 OK", "{}"),
        ("404 Not Found", ""),
        ("302 Found\r\nLocation: /elsewhere", ""),
    ] {
        for lifetime_ms in [0, FRESH] {
            let hub = StandIn::answering(head, body);
            let machine = signed_in(hub.address, lifetime_ms);
            let status = run(machine.auth.status());
            assert!(
                matches!(status, Ok(Status::Unverified { .. })),
                "{head}: {status:?}"
            );
            assert!(is_signed_in(&machine), "{head}");
            assert_eq!(
                hub.requests(),
                1,
                "{head}: nothing is retried, no redirect followed"
            );
        }
    }
}

#[test]
fn a_judgement_refuses_the_sign_in_and_keeps_the_local_data_usable() {
    let hub = StandIn::answering("400 Bad Request", r#"{"error":"invalid_grant"}"#);
    let machine = signed_in(hub.address, 0);
    assert!(matches!(
        run(machine.auth.status()),
        Ok(Status::Refused { .. })
    ));
    assert!(
        is_signed_in(&machine),
        "without the grant it still selects local data"
    );

    let hub = StandIn::answering("401 Unauthorized", "");
    let machine = signed_in(hub.address, FRESH);
    assert!(matches!(
        run(machine.auth.status()),
        Ok(Status::Refused { .. })
    ));
    assert_eq!(hub.requests(), 2, "one session, one forced refresh");

    let hub = StandIn::answering("403 Forbidden", "");
    let machine = signed_in(hub.address, FRESH);
    assert!(matches!(
        run(machine.auth.status()),
        Ok(Status::Refused { .. })
    ));
    assert_eq!(
        hub.requests(),
        1,
        "another token would not be admitted either"
    );
}

#[test]
fn an_endless_answer_is_cut_off() {
    let hub = StandIn::answering("200 OK", &"x".repeat(3 << 20));
    let machine = signed_in(hub.address, FRESH);
    let status = run(machine.auth.status()).expect("a usable file");
    assert!(matches!(
        status,
        Status::Unverified {
            why: HubFailure::TooLarge | HubFailure::Unreachable(_),
            ..
        }
    ));
}

#[test]
fn a_sign_out_clears_the_file_whatever_the_hub_does() {
    let machine = signed_in(nobody(), FRESH);
    assert!(matches!(
        run(machine.auth.sign_out()),
        Ok(SignedOut::HereOnly(_))
    ));
    assert!(!is_signed_in(&machine));

    let hub = StandIn::answering("503 Unavailable", "");
    let machine = signed_in(hub.address, FRESH);
    assert!(matches!(
        run(machine.auth.sign_out()),
        Ok(SignedOut::HereOnly(_))
    ));
    assert!(!is_signed_in(&machine));
    assert_eq!(hub.requests(), 1);
}

#[test]
fn a_login_stops_before_anybody_types_a_password() {
    let machine_ = machine(nobody());
    let error = run(machine_.auth.begin_login()).expect_err("nobody answers");
    assert!(matches!(error, LoginError::Hub(HubFailure::Unreachable(_))));

    for (head, body) in [
        ("200 OK", "<html>welcome to the hotel</html>"),
        ("404 Not Found", ""),
        ("302 Found\r\nLocation: /login", ""),
        (
            "200 OK",
            r#"{"resource":"https://other.example","authorization_servers":[]}"#,
        ),
    ] {
        let hub = StandIn::answering(head, body);
        let machine = machine(hub.address);
        let error = run(machine.auth.begin_login()).expect_err("no hub");
        assert!(
            matches!(error, LoginError::Discovery(_)),
            "{head}: {error:?}"
        );
    }
    let hub = StandIn::answering("503 Unavailable", "");
    let machine = machine(hub.address);
    let error = run(machine.auth.begin_login()).expect_err("no hub");
    assert!(matches!(
        error,
        LoginError::Hub(HubFailure::Unavailable { status: 503 })
    ));
}

#[test]
fn an_https_hub_can_be_asked() {
    // The handshake fails, which shows that TLS was set up and spoken.
    let hub = StandIn::answering("200 OK", "");
    let url = HubUrl::parse(&format!("https://{}", hub.address)).expect("an address");
    let place = TempDir::new().expect("a temporary folder");
    let auth = match MachineAuth::new(url, place.path()) {
        Ok(auth) => auth,
        Err(error) => {
            // A machine without any authorities says so, and does not fall back to trusting everybody.
            assert!(
                error.to_string().contains("certificate authorities"),
                "{error}"
            );
            return;
        }
    };
    let error = run(auth.begin_login()).expect_err("no TLS there");
    assert!(matches!(error, LoginError::Hub(HubFailure::Unreachable(_))));
}

#[test]
fn no_secret_is_printed() {
    let machine = signed_in(nobody(), 0);
    let status = run(machine.auth.status());
    let printed = format!("{status:?} {:?}", machine.auth.file().load());
    for secret in ["acc3ss", "r3fresh"] {
        assert!(!printed.contains(secret), "{printed}");
    }
}
