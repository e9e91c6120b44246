use crate::program::Place;

const STRONG: &str = "kX9#mQ2$vL7@nR4!pT8%wY1&zB5*cD3^";

#[test]
fn check_prints_everything_but_the_secrets_and_starts_nothing() {
    let place = Place::new()
        .with_file(
            "epicenter-hub.toml",
            "data_dir = \"data\"\n[limits]\nmax_frame_bytes = \"2MiB\"\n",
        )
        .with_variable("AUTH_SECRET", STRONG)
        .with_variable("EPICENTER_LISTEN", "127.0.0.1:9999");
    let printed = place
        .run(&["serve", "--check", "--public-origin", "https://hub.example"])
        .data();
    for line in [
        "listen = \"127.0.0.1:9999\" # from EPICENTER_LISTEN",
        "public_origin = \"https://hub.example\" # from --public-origin",
        "max_frame_bytes = \"2MiB\" # epicenter-hub.toml:3",
        "# AUTH_SECRET: ******** (from AUTH_SECRET)",
    ] {
        assert!(
            printed.lines().any(|printed| printed == line),
            "{line} is not in\n{printed}"
        );
    }
    assert!(!printed.contains(STRONG));
    assert!(!place.path().join("data").exists());
}

#[test]
fn an_unknown_key_is_refused_with_a_suggestion() {
    let place = Place::new().with_file("epicenter-hub.toml", "[limits]\nmax_frames_bytes = 1\n");
    assert_eq!(
        place.run(&["serve"]).complaint(1),
        "error: epicenter-hub.toml:2: unknown key `limits.max_frames_bytes`\nhint: did you mean `limits.max_frame_bytes`?\n"
    );
}

#[test]
fn a_missing_file_a_weak_secret_and_a_bad_filter_are_refused() {
    let complaint = Place::new()
        .run(&["serve", "--config", "absent.toml"])
        .complaint(1);
    assert!(
        complaint.starts_with("error: configuration file absent.toml cannot be read: "),
        "{complaint}"
    );

    let complaint = Place::new()
        .with_variable("AUTH_SECRET", "hunter2")
        .run(&["serve"])
        .complaint(1);
    assert!(
        complaint.contains("`AUTH_SECRET`") && !complaint.contains("hunter2"),
        "{complaint}"
    );

    let complaint = Place::new()
        .run(&["serve", "--check", "--log", "a=b=c"])
        .complaint(1);
    assert!(
        complaint.starts_with("error: `log.level` cannot be \"a=b=c\""),
        "{complaint}"
    );
}
