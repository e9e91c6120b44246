use crate::program::Place;

#[test]
fn version_names_the_licence_and_the_source() {
    let version = Place::new().run(&["--version"]).data();
    let lines: Vec<&str> = version.lines().collect();
    assert_eq!(lines[0], concat!("epicenter ", env!("CARGO_PKG_VERSION")));
    assert_eq!(lines[1], "licence: AGPL-3.0-or-later");
    assert!(lines[2].starts_with("source: https://"), "{version}");
}

#[test]
fn help_is_an_answer_and_has_an_example() {
    for arguments in [
        &["--help"][..],
        &["serve", "--help"],
        &["admin", "--help"],
        &["admin", "user", "add", "--help"],
        &["admin", "token", "--help"],
        &["admin", "credits", "give", "--help"],
        &["ai", "chat", "--help"],
        &["ai", "models", "--help"],
    ] {
        let help = Place::new().run(arguments).data();
        assert!(help.contains("Example"), "{arguments:?}: {help}");
        assert!(
            help.contains("  epicenter ")
                || help.contains("| epicenter ")
                || help.contains("(epicenter "),
            "{help}"
        );
    }
}

#[test]
fn wrong_usage_is_code_1_with_a_hint() {
    for arguments in [
        &[][..],
        &["serv"],
        &["serve", "--lissten", "127.0.0.1:0"],
        &["serve", "--listen", "nowhere"],
        &["admin", "user", "add", "--email", "ada@example.org"],
        &["admin", "token", "--email", "ada@example.org", "--ttl", "0"],
        &["admin", "credits", "give", "--email", "ada@example.org"],
        &["ai", "chat", "--temperature", "3", "hello"],
        &["ai", "chat", "--temperature", "NaN", "hello"],
        &["ai", "chat", "--max-tokens", "0", "hello"],
        &["ai", "chat", "--own-key-env", "NOT_SET", "hello"],
        &["ai", "chat"],
    ] {
        let answer = Place::new().run(arguments);
        answer.complaint(1);
    }
    let complaint = Place::new().run(&["serv"]).complaint(1);
    assert!(complaint.contains("'serve'"), "clap suggests: {complaint}");
}
