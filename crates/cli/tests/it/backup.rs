//! `epicenter backup` and `restore` from the outside: what they print, and what is left when the disk is full or the
//! program is killed.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use epicenter_testkit::Typist;
use epicenter_update::lib0::write_var_bytes;

use crate::program::{Place, Serving, modes_below};

const PASSWORD: &str = "correct horse battery staple";

/// A running hub with an account, and rooms of this size.
pub(crate) struct Example {
    pub(crate) hub: Serving,
    pub(crate) owner: String,
    pub(crate) token: String,
}

impl Example {
    pub(crate) fn start(place: &Place, rooms: &[(&str, usize)]) -> Self {
        let hub = place.serve();
        let add = [
            "admin",
            "user",
            "add",
            "--data-dir",
            "data",
            "--password-stdin",
            "--admin",
            "--email",
            "ada@example.test",
        ];
        let owner = place.run_with_input(&add, PASSWORD).data();
        let example = Self {
            hub,
            owner: owner.trim().to_owned(),
            token: token(place),
        };
        for (room, bytes) in rooms {
            example.write(room, *bytes);
        }
        example
    }

    pub(crate) fn path(&self, room: &str) -> String {
        format!("/api/owners/{}/rooms/{room}", self.owner)
    }

    fn write(&self, room: &str, bytes: usize) {
        let mut body = vec![1, 0];
        write_var_bytes(&mut body, &Typist::new(1).types(&"x".repeat(bytes)));
        let headers = bearer(&self.token);
        let answer = self
            .hub
            .send_bytes("POST", &self.path(room), &headers, &body);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

fn token(place: &Place) -> String {
    let arguments = [
        "admin",
        "token",
        "--data-dir",
        "data",
        "--email",
        "ada@example.test",
    ];
    place.run(&arguments).data().trim().to_owned()
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut names: Vec<_> = entries
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("text")
        })
        .collect();
    names.sort();
    names
}

#[test]
fn a_hub_moves_with_its_secrets() {
    let place = Place::new().with_file("passphrase", "five random words are enough\n");
    let example = Example::start(&place, &[("notes", 100), ("large", 3_000_000)]);
    let backup = [
        "backup",
        "hub.backup",
        "--data-dir",
        "data",
        "--passphrase-file",
        "passphrase",
    ];
    let said = place.run(&backup).data();
    assert!(
        said.starts_with("hub.backup: 2 rooms, 0 tombstones, 4 entries of 3000"),
        "{said}"
    );
    let file = modes_below(place.path());
    let file = file.iter().find(|(path, _)| path.ends_with("hub.backup"));
    assert_eq!(file.expect("the backup").1, 0o600);
    example.hub.stop();

    let said = place.run(&["restore", "hub.backup", "--check"]).data();
    assert!(said.starts_with("hub.backup: sound; 2 rooms"), "{said}");
    let elsewhere = Place::new();
    let from = place.path().join("hub.backup").display().to_string();
    let passphrase = place.path().join("passphrase").display().to_string();
    let restore = [
        "restore",
        &from,
        "--data-dir",
        "data",
        "--passphrase-file",
        &passphrase,
    ];
    let answer = elsewhere.run(&restore);
    assert!(
        answer.stderr.contains("everybody is signed out"),
        "{}",
        answer.stderr
    );
    assert_eq!(
        answer.data(),
        data_line(&elsewhere, "2 rooms, 0 tombstones")
    );
    let hub = elsewhere.serve();
    let path = format!("/api/owners/{}/rooms/large", example.owner);
    let answer = hub.get(&path, &bearer(&token(&elsewhere)));
    assert!(answer.starts_with("HTTP/1.1 200") && answer.len() > 3_000_000);
    // A token of the old hub is signed by a key that is gone.
    let answer = hub.get(&path, &bearer(&example.token));
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    hub.stop();
}

fn data_line(place: &Place, what: &str) -> String {
    let data = place.path().join("data");
    // The working directory may be reached through a link.
    let data = fs::canonicalize(&data).unwrap_or(data);
    format!("{}: {what}\n", data.display())
}

#[test]
fn without_a_passphrase_it_says_what_must_be_kept_and_the_hub_asks_for_it() {
    let place = Place::new();
    Example::start(&place, &[("notes", 10)]).hub.stop();
    let answer = place.run(&["backup", "hub.backup", "--data-dir", "data", "--json"]);
    for variable in ["ENCRYPTION_SECRETS", "AUTH_SECRET"] {
        let line = format!("not in the backup: {variable}. Keep a copy of it elsewhere");
        assert!(answer.stderr.contains(&line), "{}", answer.stderr);
    }
    let said = answer.data();
    assert!(said.contains("\"hasSecrets\":false"), "{said}");
    let answer = place.run(&["restore", "hub.backup", "--data-dir", "new"]);
    assert!(
        answer.stderr.contains("before the hub starts"),
        "{}",
        answer.stderr
    );
    answer.data();
    let serve = ["serve", "--listen", "127.0.0.1:0", "--data-dir", "new"];
    let error = place.run(&serve).complaint(2);
    assert!(error.contains("ENCRYPTION_SECRETS is not given"), "{error}");
    fs::create_dir(place.path().join("new/secrets")).expect("a folder");
    for name in ["encryption-secrets", "auth-secret"] {
        let from = place.path().join("data/secrets").join(name);
        let to = place.path().join("new/secrets").join(name);
        fs::copy(from, to).expect("a copy");
    }
    place.serve_with(&["--data-dir", "new"]).stop();
}

#[test]
fn mistakes_are_named_and_change_nothing() {
    let place = Place::new()
        .with_file("short", "too short")
        .with_file("other", "another passphrase, a long one")
        .with_file("passphrase", "five random words are enough")
        .with_file("text", "not a backup");
    let backup = |flags: &[&str]| place.run(&[&["backup", "hub.backup"], flags].concat());
    let error = backup(&["--data-dir", "nowhere"]).complaint(2);
    assert!(error.contains("there is no data directory"), "{error}");
    Example::start(&place, &[]).hub.stop();
    let error = backup(&["--data-dir", "data", "--passphrase-file", "short"]).complaint(2);
    assert!(error.contains("fewer than 12 characters"), "{error}");
    let error = place
        .run(&["backup", "no/such/folder", "--data-dir", "data"])
        .complaint(2);
    assert!(error.contains("cannot be written"), "{error}");
    backup(&["--data-dir", "data", "--passphrase-file", "passphrase"]).data();
    let error = backup(&["--data-dir", "data"]).complaint(2);
    assert!(error.contains("hub.backup exists"), "{error}");
    let restore = |flags: &[&str]| place.run(&[&["restore"], flags].concat());
    let error = restore(&["hub.backup", "--data-dir", "data"]).complaint(2);
    assert!(error.contains("data is not empty"), "{error}");
    let wrong = [
        "hub.backup",
        "--data-dir",
        "new",
        "--passphrase-file",
        "other",
    ];
    let error = restore(&wrong).complaint(2);
    assert!(error.contains("the passphrase is wrong"), "{error}");
    let error = restore(&["text", "--data-dir", "new"]).complaint(2);
    assert!(error.contains("text is no backup"), "{error}");
    let mut bytes = fs::read(place.path().join("hub.backup")).expect("the backup");
    bytes[3000] ^= 1;
    fs::write(place.path().join("damaged"), bytes).expect("a copy");
    for command in [
        &["damaged", "--check"][..],
        &["damaged", "--data-dir", "new"],
    ] {
        let error = restore(command).complaint(2);
        assert!(error.contains("the backup is damaged: the"), "{error}");
    }
    let expect = [
        "damaged",
        "data",
        "hub.backup",
        "other",
        "passphrase",
        "short",
        "text",
    ];
    assert_eq!(names(place.path()), expect);
}

/// Changes one byte of what was typed into a room, where this file has it.
fn spoil(file: &Path) {
    let mut bytes = fs::read(file).expect("a file");
    let typed = bytes
        .windows(50)
        .position(|window| window.iter().all(|byte| *byte == b'x'));
    bytes[typed.expect("a room") + 25] = b'y';
    fs::write(file, bytes).expect("ours");
}

#[test]
fn rooms_that_are_missing_are_named_and_make_the_exit_code_2() {
    let place = Place::new();
    let example = Example::start(&place, &[("notes", 100), ("other", 100)]);
    example.hub.stop();
    let backup = |to: &str| place.run(&["backup", to, "--data-dir", "data"]);
    backup("whole").data();
    spoil(&place.path().join("data/rooms.db"));
    let answer = backup("partial");
    assert_eq!(answer.code, Some(2), "{}", answer.stderr);

    let room = format!("room owners/{}/rooms/", example.owner);
    let check = |arguments: &[&str], said: &str, told: &str| {
        let answer = place.run(&[&["restore"][..], arguments].concat());
        assert_eq!(answer.code, Some(2), "{}", answer.stderr);
        assert!(answer.stdout.contains(said), "{}", answer.stdout);
        let told = format!("{told}: {room}");
        assert!(answer.stderr.contains(&told), "{}", answer.stderr);
        let last = answer.stderr.lines().last().unwrap_or_default();
        assert!(last.starts_with("hint: "), "{}", answer.stderr);
    };
    let verdict = "partial: not damaged, but without some rooms; 1 rooms";
    check(&["partial", "--check"], verdict, "not in the backup");
    let listed = format!("\"unreadableRooms\":[\"{room}");
    check(
        &["partial", "--check", "--json"],
        &listed,
        "not in the backup",
    );
    let one = "1 rooms, 0 tombstones";
    check(&["partial", "--data-dir", "new"], one, "not restored");
    spoil(&place.path().join("whole"));
    let skip = ["whole", "--data-dir", "rest", "--skip-damaged"];
    check(&skip, one, "not restored");
    for folder in ["new", "rest"] {
        assert!(place.path().join(folder).join("rooms.db").is_file());
    }
}

#[test]
fn a_full_disk_leaves_nothing_behind() {
    let place = Place::new();
    let rooms = [("one", 400_000), ("two", 400_000)];
    Example::start(&place, &rooms).hub.stop();
    // Files may have so many blocks; the system says so instead of ending the program.
    let limit = "trap '' XFSZ; ulimit -f 400";
    let backup = ["backup", "hub.backup", "--data-dir", "data"];
    let error = place.run_after(limit, &backup).complaint(2);
    assert!(
        error.contains("the backup cannot be written to hub.backup"),
        "{error}"
    );
    assert_eq!(names(place.path()), ["data"]);
    place.run(&backup).data();
    let restore = ["restore", "hub.backup", "--data-dir", "new"];
    place.run_after(limit, &restore).complaint(2);
    assert_eq!(names(place.path()), ["data", "hub.backup"]);
    place.run(&restore).data();
}

#[test]
fn a_backup_of_a_busy_hub_holds_what_was_acknowledged_before_it_and_nothing_that_never_was() {
    const ROOMS: usize = 4;
    let place = Place::new();
    let example = Example::start(&place, &[]);
    let acknowledged: Vec<_> = (0..ROOMS).map(|_| AtomicUsize::new(0)).collect();
    let has_stopped = AtomicBool::new(false);
    let write = |room: usize| {
        let mut typist = Typist::new(1 + room as u64);
        let (path, headers) = (
            example.path(&format!("room-{room}")),
            bearer(&example.token),
        );
        while !has_stopped.load(Ordering::SeqCst) {
            let number = acknowledged[room].load(Ordering::SeqCst) + 1;
            let mut body = vec![1, 0];
            write_var_bytes(&mut body, &typist.types(&format!("<{number}>")));
            let answer = example.hub.send_bytes("POST", &path, &headers, &body);
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            acknowledged[room].store(number, Ordering::SeqCst);
        }
    };
    let counts = || -> Vec<usize> {
        let counts = acknowledged.iter();
        counts.map(|count| count.load(Ordering::SeqCst)).collect()
    };
    let (before, after) = std::thread::scope(|scope| {
        for room in 0..ROOMS {
            let write = &write;
            scope.spawn(move || write(room));
        }
        while counts().iter().any(|count| *count < 20) {
            std::thread::yield_now();
        }
        let before = counts();
        let answer = place.run(&["backup", "hub.backup", "--data-dir", "data"]);
        let after = counts();
        has_stopped.store(true, Ordering::SeqCst);
        assert_eq!(answer.code, Some(0), "{}", answer.stderr);
        (before, after)
    });
    let paths: Vec<_> = (0..ROOMS)
        .map(|room| example.path(&format!("room-{room}")))
        .collect();
    example.hub.stop();
    place
        .run(&["restore", "hub.backup", "--data-dir", "new"])
        .data();
    let from = place.path().join("data/secrets");
    let to = place.path().join("new/secrets");
    fs::create_dir(&to).expect("a folder");
    for name in ["encryption-secrets", "auth-secret"] {
        fs::copy(from.join(name), to.join(name)).expect("a copy");
    }
    let hub = place.serve_with(&["--data-dir", "new"]);
    let arguments = [
        "admin",
        "token",
        "--data-dir",
        "new",
        "--email",
        "ada@example.test",
    ];
    let token = place.run(&arguments).data();
    for (room, path) in paths.iter().enumerate() {
        let state = hub.get(path, &bearer(token.trim()));
        let count = (1..)
            .take_while(|number| state.contains(&format!("<{number}>")))
            .count();
        // The texts of one writer follow one another, so that a state is a prefix of them.
        assert_eq!(state.matches('<').count(), count, "{state}");
        let possible = before[room]..=after[room] + 1;
        assert!(possible.contains(&count), "{possible:?} {count}");
    }
    hub.stop();
}

/// Bytes of the files that hold data.
fn databases(folder: &Path) -> Vec<Vec<u8>> {
    let read = |name| fs::read(folder.join(name)).expect("a database");
    ["rooms.db", "identity.db"].map(read).to_vec()
}

#[test]
fn killed_at_any_moment_it_leaves_no_half_file_under_the_name() {
    const ROUNDS: u32 = 24;
    let place = Place::new();
    let rooms = ["a", "b", "c", "d", "e", "f"].map(|room| (room, 3_000_000));
    Example::start(&place, &rooms).hub.stop();
    let data = place.path().join("data");
    let begin = Instant::now();
    place.run(&["backup", "first", "--data-dir", "data"]).data();
    let mut whole = begin.elapsed();
    let before = (names(&data), databases(&data));
    let mut killed = 0;
    for round in 0..ROUNDS {
        let to = format!("copies/round-{round}");
        fs::create_dir_all(place.path().join("copies")).expect("a folder");
        let begin = Instant::now();
        let mut child = place.start(&["backup", &to, "--data-dir", "data"]);
        // Not a wait for anything: the moments are spread over somewhat less than a whole run, so that most of them are in it.
        std::thread::sleep(whole * round / ROUNDS);
        child.kill().expect("it is ours");
        let lasted = begin.elapsed();
        let status = child.wait().expect("it ends");
        let copy = place.path().join(&to);
        if copy.exists() {
            // The run that was measured may have been held up: a whole one takes no longer than this one.
            whole = whole.min(lasted);
            place.run(&["restore", &to, "--check"]).data();
        } else {
            assert!(!status.success(), "round {round}");
            killed += 1;
            let known = names(&data);
            let known = known
                .iter()
                .filter(|name| !name.ends_with("-wal") && !name.ends_with("-shm"));
            let old = before
                .0
                .iter()
                .filter(|name| !name.ends_with("-wal") && !name.ends_with("-shm"));
            assert!(known.eq(old), "round {round}");
            assert_eq!(databases(&data)[0], before.1[0], "round {round}");
        }
        fs::remove_dir_all(place.path().join("copies")).expect("ours");
    }
    assert!(
        killed > ROUNDS / 4,
        "only {killed} rounds ended before the file was there"
    );
    // A restore that is killed leaves no half directory under the name.
    let begin = Instant::now();
    place
        .run(&["restore", "first", "--data-dir", "restored"])
        .data();
    let whole = begin.elapsed();
    for round in 0..8 {
        let mut child = place.start(&["restore", "first", "--data-dir", "killed/data"]);
        std::thread::sleep(whole * round / 8);
        child.kill().expect("it is ours");
        child.wait().expect("it ends");
        let target = place.path().join("killed/data");
        if target.exists() {
            let expect = fs::read(place.path().join("restored/rooms.db")).expect("a database");
            assert_eq!(fs::read(target.join("rooms.db")).expect("whole"), expect);
            assert!(target.join("secrets-awaited").is_file());
        }
        let _ = fs::remove_dir_all(place.path().join("killed"));
    }
    place.serve().stop();
}
