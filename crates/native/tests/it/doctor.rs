//! `epicenter doctor` finds what is wrong with a data directory, says where, and changes nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::channel;

use bytes::Bytes;
use epicenter_identity::{OwnerId, RoomId, RoomName};
use epicenter_native::config::{HostConfig, SecretText};
use epicenter_native::data_dir::{DataDir, DataDirError, GivenSecrets};
use epicenter_native::doctor::rooms::{self, RoomsError};
use epicenter_native::doctor::{self, Level, Report};
use epicenter_native::log::{
    AppendDone, AppendRequest, Generation, Log, LogConfig, LogId, Rejected, ReplaceDone,
    Replacement, SqliteLog,
};
use epicenter_native::store::{ensure_signing_key, open_sqlite};
use epicenter_room::{Append, Entry, Seq};
use epicenter_server::ports::Clock;
use epicenter_testkit::{TestHub, Typist};
use epicenter_update::{
    Collect, EMPTY_UPDATE, Limits, Update, compact, content_digest, merge_bytes,
};
use rusqlite::{Connection, params};
use tempfile::TempDir;

use crate::wait;

struct Now;

impl Clock for Now {
    fn now_ms(&self) -> u64 {
        let now = std::time::SystemTime::now();
        let since = now.duration_since(std::time::UNIX_EPOCH).unwrap();
        u64::try_from(since.as_millis()).unwrap()
    }
}

fn name(room: &str) -> RoomName {
    RoomName::stored(OwnerId::parse("ada").unwrap(), RoomId::parse(room).unwrap())
}

/// A data directory as a stopped hub leaves it, with the rooms `notes` and `other`.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        let data_dir = DataDir::lock(&place.data()).unwrap();
        let store = open_sqlite(&data_dir.identity_database()).unwrap().store;
        let secrets = wait(data_dir.load_secrets(GivenSecrets::default(), &store)).unwrap();
        wait(ensure_signing_key(&store, &secrets.auth, 0)).unwrap();
        for (room, client) in [("notes", 1), ("other", 2)] {
            let mut typist = Typist::new(client);
            let entry = |text: &str| Entry::Ready(Bytes::from(typist.types(text)));
            let typed: Vec<_> = ["one ", "two "].map(entry).into();
            place.append(room, 1, [vec![Entry::Created], typed].concat());
        }
        place
    }

    fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    fn config(&self) -> HostConfig {
        HostConfig::for_tests(self.data())
    }

    fn log(&self) -> SqliteLog {
        let path = self.data().join("rooms.db");
        SqliteLog::open(&path, LogConfig::default(), Arc::new(Now)).unwrap()
    }

    fn append(&self, room: &str, first: u64, entries: Vec<Entry>) {
        let (sender, results) = channel();
        self.log().append(AppendRequest {
            room: name(room),
            generation: Generation(1),
            append: Append {
                first: Seq(first),
                entries,
            },
            done: AppendDone(Box::new(move |result| sender.send(result).unwrap())),
        });
        results.recv().unwrap().unwrap();
    }

    fn sql(&self, database: &str, sql: &str) {
        let connection = Connection::open(self.data().join(database)).unwrap();
        assert!(connection.execute(sql, []).unwrap() > 0, "{sql}");
    }

    fn examine(&self) -> Report {
        examine(self.config())
    }

    /// What is wrong, and what it is about.
    fn problems(&self) -> Vec<String> {
        problems(&self.examine())
    }
}

fn examine(config: HostConfig) -> Report {
    // A thread of its own: it brings a runtime, and some tests have one already.
    let examine = || doctor::examine(&config).unwrap();
    std::thread::scope(|scope| scope.spawn(examine).join().unwrap())
}

fn problems(report: &Report) -> Vec<String> {
    let problems = report.findings.iter();
    problems
        .filter(|finding| finding.level == Level::Problem)
        .map(|finding| {
            assert!(!finding.advice.is_empty());
            format!("{}: {}", finding.subject, finding.what)
        })
        .collect()
}

/// One problem that says this, and nothing else.
fn check(place: &Place, expect: &[&str]) {
    let found = place.problems();
    assert_eq!(found.len(), 1, "{found:?}");
    for part in expect {
        assert!(found[0].contains(part), "{part} is not in {found:?}");
    }
}

#[test]
fn a_sound_directory_has_no_findings() {
    let place = Place::new();
    let report = place.examine();
    assert_eq!(report.findings, []);
    assert!(report.is_sound() && !report.is_served);
    let examined = report.examined;
    assert_eq!(
        (examined.rooms, examined.updates, examined.signing_keys),
        (2, 4, 1)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_works_beside_a_running_hub() {
    let hub = TestHub::start().await;
    hub.user("ada@example.test").await;
    let report = examine(HostConfig::for_tests(hub.data_dir()));
    assert_eq!(report.findings, []);
    assert!(report.is_served);
    hub.stop().await;
}

#[test]
fn it_changes_nothing() {
    let place = Place::new();
    let read = |name: &str| fs::read(place.data().join(name)).unwrap();
    let before = ["rooms.db", "identity.db", "lock"].map(read);
    fs::set_permissions(place.data(), fs::Permissions::from_mode(0o755)).unwrap();
    place.examine();
    assert_eq!(["rooms.db", "identity.db", "lock"].map(read), before);
    let mode = fs::metadata(place.data()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
}

#[test]
fn damaged_rooms_are_named_and_the_others_are_not() {
    let place = Place::new();
    place.sql("rooms.db", "DELETE FROM entries WHERE row = 2");
    check(&place, &["room owners/ada/rooms/notes", "row"]);
    let place = Place::new();
    place.sql(
        "rooms.db",
        "UPDATE entries SET body = x'0102' WHERE row = 5",
    );
    check(&place, &["room owners/ada/rooms/other", "checksum"]);
    // A row that is what was written, and no update.
    let place = Place::new();
    place.append(
        "notes",
        4,
        vec![Entry::Ready(Bytes::from_static(b"garbage"))],
    );
    check(
        &place,
        &["room owners/ada/rooms/notes", "update 3 of its log is none"],
    );
    let place = Place::new();
    place.append(
        "notes",
        4,
        vec![Entry::Pending(Bytes::from_static(b"garbage"))],
    );
    check(
        &place,
        &["room owners/ada/rooms/notes", "update 1 of its log is none"],
    );
    let place = Place::new();
    place.sql(
        "rooms.db",
        "UPDATE rooms SET owner = 'eve' WHERE room = 'notes'",
    );
    check(&place, &["rooms.db", "the directory of rooms is damaged"]);
}

#[test]
fn damaged_files_are_found() {
    for database in ["rooms.db", "identity.db"] {
        let place = Place::new();
        fs::remove_file(place.data().join(database)).unwrap();
        check(&place, &[database, "it is missing"]);
        let place = Place::new();
        place.sql(
            database,
            "UPDATE meta SET value = '99' WHERE key = 'schema_version'",
        );
        check(&place, &[database, "schema version 99"]);
        // The first page after the header and the schema is overwritten.
        let place = Place::new();
        let path = place.data().join(database);
        // What is still in the write-ahead log would stand before the page.
        let connection = Connection::open(&path).unwrap();
        let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
        let busy = connection.query_row(checkpoint, [], |row| row.get::<_, i64>(0));
        assert_eq!(busy.unwrap(), 0);
        drop(connection);
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2 / 4096 * 4096;
        bytes[middle..middle + 4096].fill(0xa5);
        fs::write(&path, bytes).unwrap();
        let found = place.problems();
        assert!(
            found.iter().any(|problem| problem.contains(database)),
            "{found:?}"
        );
    }
}

#[test]
fn an_older_schema_is_a_notice() {
    let place = Place::new();
    let connection = Connection::open(place.data().join("rooms.db")).unwrap();
    connection
        .execute_batch(
            "DROP TABLE generations; DROP TABLE rejections;
             UPDATE meta SET value = '1' WHERE key = 'schema_version'",
        )
        .unwrap();
    drop(connection);
    let report = place.examine();
    assert!(report.is_sound());
    assert_eq!(report.findings.len(), 1);
    assert!(
        report.findings[0].what.contains("version 1 of 2"),
        "{report:?}"
    );
    assert_eq!(report.examined.rooms, 2);
}

#[test]
fn keys_and_secrets_are_compared() {
    let place = Place::new();
    place.sql(
        "identity.db",
        "UPDATE signing_keys SET point = zeroblob(65)",
    );
    check(&place, &["signing key ", "public half is damaged"]);
    let place = Place::new();
    place.sql(
        "identity.db",
        "UPDATE signing_keys SET sealed_private = x'00'",
    );
    check(
        &place,
        &["secrets", "AUTH_SECRET opens none of the signing keys"],
    );

    let place = Place::new();
    let with = |encryption: Option<&str>, auth: Option<&str>| {
        let secret = |text: &str| SecretText(text.to_owned().into());
        let mut config = place.config();
        config.encryption_secrets = encryption.map(secret);
        config.auth_secret = auth.map(secret);
        problems(&examine(config))
    };
    let found = with(Some("1:another-secret-of-thirty-two-bytes"), None);
    assert!(
        found[0].contains("is not the secret that was used"),
        "{found:?}"
    );
    assert!(!found[0].contains("another-secret"), "{found:?}");
    let found = with(None, Some("another-auth-secret-of-more-than-32-bytes"));
    assert!(
        found[0].contains("opens none of the signing keys"),
        "{found:?}"
    );
    fs::remove_file(place.data().join("secrets/encryption-secrets")).unwrap();
    check(&place, &["secrets", "ENCRYPTION_SECRETS is not set"]);
}

#[test]
fn what_others_may_read_is_named() {
    let place = Place::new();
    let secret = place.data().join("secrets/auth-secret");
    fs::set_permissions(secret, fs::Permissions::from_mode(0o640)).unwrap();
    check(&place, &["secrets/auth-secret", "mode 640"]);
}

/// Replaces the entries of `notes` up to this one by a state; returns the log that they are kept in.
fn replace(place: &Place, upto: u64, state: Vec<u8>) -> LogId {
    let log = place.log();
    let before = log.extent(&name("notes")).unwrap().log;
    let (sender, results) = channel();
    log.replace(Replacement {
        room: name("notes"),
        log: before,
        upto: Seq(upto),
        ready: state.into(),
        pending: None,
        done: ReplaceDone(Box::new(move |result| sender.send(result).unwrap())),
    });
    results.recv().unwrap().unwrap();
    before
}

/// Replaces the first three entries of `notes` by a state that lacks the second insertion.
fn compact_badly(place: &Place) -> LogId {
    replace(place, 3, Typist::new(1).types("one "))
}

/// What was typed into `notes`.
fn typed() -> [Bytes; 2] {
    let mut typist = Typist::new(1);
    ["one ", "two "].map(|text| Bytes::from(typist.types(text)))
}

/// The deletion of a client's first characters.
fn deletion(client: u8, characters: u8) -> Bytes {
    let mut update = EMPTY_UPDATE[..12].to_vec();
    update.extend([1, client, 1, 0, characters - 1]);
    update.into()
}

fn merged(updates: &[Bytes]) -> Bytes {
    merge_bytes(updates, &Limits::default()).unwrap().into()
}

fn parsed(update: &Bytes) -> Update<'_> {
    Update::parse(update, &Limits::default()).unwrap()
}

/// The visible document.
fn document(place: &Place, room: &str) -> Bytes {
    merged(&place.log().read(&name(room), Seq(0), None).unwrap().ready)
}

fn text_of(place: &Place, room: &str) -> String {
    String::from_utf8_lossy(&document(place, room)).into_owned()
}

#[test]
fn a_generation_comes_back_as_a_forward_merge() {
    let place = Place::new();
    let kept = compact_badly(&place);
    assert!(!text_of(&place, "notes").contains("two"));
    let listed = rooms::generations(&place.data(), &name("notes")).unwrap();
    assert_eq!(
        listed.iter().map(|kept| kept.log).collect::<Vec<_>>(),
        [kept]
    );
    assert_eq!(rooms::list(&place.data()).unwrap()[0].generations, 1);

    let config = place.config();
    let restore = |room: &str, log, into: Option<&str>| {
        let into = into.map(name);
        rooms::restore_generation(&config, &name(room), log, into.as_ref())
    };
    restore("notes", kept, None).unwrap();
    assert!(text_of(&place, "notes").contains("one two "));
    let last = place.log().extent(&name("notes")).unwrap().last;
    assert_eq!(last, Seq(4), "one more entry, and the state stays");
    restore("notes", kept, Some("copy")).unwrap();
    assert!(text_of(&place, "copy").contains("one two "));
    assert_eq!(place.examine().findings, []);

    let error = restore("notes", kept, Some("other")).unwrap_err();
    assert!(matches!(error, RoomsError::Exists(_)), "{error}");
    let error = restore("other", kept, None).unwrap_err();
    assert!(matches!(error, RoomsError::NoGeneration { .. }), "{error}");
    let _served = DataDir::lock(&place.data()).unwrap();
    let error = restore("notes", kept, None).unwrap_err();
    assert!(
        matches!(error, RoomsError::DataDir(DataDirError::InUse { .. })),
        "{error}"
    );
    assert_eq!(
        rooms::list(&place.data()).unwrap().len(),
        3,
        "looking works beside it"
    );
}

#[test]
fn what_was_deleted_since_stays_deleted() {
    let place = Place::new();
    let kept = compact_badly(&place);
    let [one, two] = typed();
    let deleted = deletion(1, 4);
    place.append("notes", 4, vec![Entry::Ready(deleted.clone())]);
    let state = merged(&[one.clone(), deleted.clone()]);
    replace(&place, 4, compact(&parsed(&state), Collect::Deleted));
    assert!(!text_of(&place, "notes").contains("one"), "it is collected");

    let (config, notes, copy) = (place.config(), name("notes"), name("copy"));
    let restore = || rooms::restore_generation(&config, &notes, kept, None).unwrap();
    assert!(restore() > 0);
    let text = text_of(&place, "notes");
    assert!(text.contains("two ") && !text.contains("one"), "{text}");
    let expect = merged(&[one.clone(), two.clone(), deleted]);
    assert_eq!(
        content_digest(&parsed(&document(&place, "notes"))),
        content_digest(&parsed(&expect))
    );
    let stored = place.log().read(&notes, Seq(0), None).unwrap();
    assert_eq!((stored.last, stored.ready.len()), (Seq(5), 2));
    let known = parsed(&stored.ready[0]).state_vector().clock(1);
    let structs = parsed(&stored.ready[1]).summary().structs;
    assert_eq!(known, 4);
    assert_eq!(
        structs[&1],
        std::slice::from_ref(&(4..8)),
        "no clock comes twice"
    );

    // A second time there is nothing to bring back.
    assert_eq!(restore(), 0);
    assert_eq!(place.log().extent(&notes).unwrap().last, Seq(5));
    rooms::restore_generation(&config, &notes, kept, Some(&copy)).unwrap();
    assert!(text_of(&place, "copy").contains("one two "));
    assert_eq!(
        content_digest(&parsed(&document(&place, "copy"))),
        content_digest(&parsed(&merged(&[one, two])))
    );
    assert_eq!(place.examine().findings, []);
}

#[test]
fn what_was_accepted_is_sound_whatever_the_limits_are_today() {
    let place = Place::new();
    let kept = compact_badly(&place);
    let mut config = place.config();
    config.rooms.limits = Limits {
        max_structs: 0,
        max_state_vector_entries: 0,
        max_nesting: 0,
    };
    let restored = rooms::restore_generation(&config, &name("notes"), kept, None);
    assert!(restored.unwrap() > 0);
    assert!(text_of(&place, "notes").contains("one two "));
    assert_eq!(examine(config).findings, []);
}

/// Changes one bit in the last row of a log.
fn flip(place: &Place, log: LogId) {
    let connection = Connection::open(place.data().join("rooms.db")).unwrap();
    let last = "SELECT row, body FROM entries WHERE log = ?1 ORDER BY row DESC LIMIT 1";
    let found = connection.query_row(last, [i64::try_from(log.0).unwrap()], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?))
    });
    let (row, mut body) = found.unwrap();
    body[0] ^= 1;
    let change = "UPDATE entries SET body = ?1 WHERE row = ?2";
    assert_eq!(connection.execute(change, params![body, row]).unwrap(), 1);
}

#[test]
fn damage_to_what_is_kept_is_found() {
    let place = Place::new();
    let kept = compact_badly(&place);
    let report = place.examine();
    assert_eq!((report.findings.len(), report.examined.generations), (0, 1));
    flip(&place, kept);
    let generation = format!("its generation {kept} is damaged");
    check(
        &place,
        &["room owners/ada/rooms/notes", &generation, "checksum"],
    );

    let place = Place::new();
    let kept = compact_badly(&place);
    let last = format!("SELECT max(row) FROM entries WHERE log = {kept}");
    place.sql(
        "rooms.db",
        &format!("DELETE FROM entries WHERE row = ({last})"),
    );
    check(&place, &["its generation", "it holds 2 entries of 3"]);

    let place = Place::new();
    compact_badly(&place);
    place.sql("rooms.db", "UPDATE generations SET upto = 2");
    check(&place, &["rooms.db", "1 lines about generations"]);

    let place = Place::new();
    reject(&place);
    let rejected = rooms::quarantine(&place.data()).unwrap()[0].1.log;
    flip(&place, rejected);
    let found = place.problems();
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[1].contains("rejected is damaged") && found[1].contains("checksum"),
        "{found:?}"
    );
}

/// Keeps a state that was made of the log of `notes`; returns that log.
fn reject(place: &Place) -> LogId {
    let log = place.log();
    let of = log.extent(&name("notes")).unwrap().log;
    log.quarantine(Rejected {
        room: name("notes"),
        log: of,
        upto: Seq(3),
        ready: Bytes::from_static(b"state"),
        reason: "its digest differs".to_owned(),
    });
    log.shutdown();
    of
}

#[test]
fn a_rejected_state_is_shown_until_it_is_lifted() {
    let place = Place::new();
    let of = reject(&place);
    check(
        &place,
        &["room owners/ada/rooms/notes", "its digest differs"],
    );
    let listed = rooms::quarantine(&place.data()).unwrap();
    assert_eq!((listed.len(), listed[0].1.of), (1, of));
    rooms::lift_quarantine(&place.config(), &name("notes"), of).unwrap();
    assert!(place.problems().is_empty());
    let error = rooms::lift_quarantine(&place.config(), &name("notes"), of).unwrap_err();
    assert!(matches!(error, RoomsError::NotQuarantined), "{error}");
}

#[test]
fn a_command_about_rooms_makes_no_directory() {
    let place = tempfile::tempdir().unwrap();
    let missing = place.path().join("data");
    let config = HostConfig::for_tests(missing.clone());
    rooms::list(&missing).unwrap_err();
    rooms::restore_generation(&config, &name("notes"), LogId(1), None).unwrap_err();
    assert!(doctor::examine(&config).is_err());
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
}
