//! A damaged backup is found to be so, wherever the damage is, and what is sound of it still restores.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;

use bytes::Bytes;
use epicenter_identity::{OwnerId, RoomId, RoomName};
use epicenter_native::backup::{self, IdentityOutcome, RestoreError, RestoreOptions};
use epicenter_native::config::HostConfig;
use epicenter_native::data_dir::{DataDir, GivenSecrets};
use epicenter_native::log::{AppendDone, AppendRequest, Generation, Log, LogConfig, SqliteLog};
use epicenter_native::store::{ensure_signing_key, open_sqlite};
use epicenter_room::{Append, Entry, Seq};
use epicenter_server::ports::Clock;
use tempfile::TempDir;

use crate::backup::{back_up, empty_place, passphrase, restore};
use crate::wait;

struct Noon;

impl Clock for Noon {
    fn now_ms(&self) -> u64 {
        1_000_000
    }
}

fn name(room: &str) -> RoomName {
    RoomName::stored(OwnerId::parse("ada").unwrap(), RoomId::parse(room).unwrap())
}

fn open_log(data: &Path) -> SqliteLog {
    SqliteLog::open(&data.join("rooms.db"), LogConfig::default(), Arc::new(Noon)).unwrap()
}

fn append(log: &SqliteLog, room: &str, first: u64, entries: Vec<Entry>) {
    let (sender, results) = channel();
    log.append(AppendRequest {
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

const ROOMS: [&str; 3] = ["alpha", "beta", "gamma"];

/// A data directory with three rooms, as a stopped hub leaves it.
fn make_data(place: &Path) -> PathBuf {
    let data = place.join("data");
    let data_dir = DataDir::lock(&data).unwrap();
    let store = open_sqlite(&data_dir.identity_database()).unwrap().store;
    let secrets = wait(data_dir.load_secrets(GivenSecrets::default(), &store)).unwrap();
    wait(ensure_signing_key(&store, &secrets.auth, 0)).unwrap();
    let log = open_log(&data);
    for room in ROOMS {
        let entry = |text: &str| Entry::Ready(Bytes::from(format!("{room} {text}")));
        append(
            &log,
            room,
            1,
            vec![Entry::Created, entry("one"), entry("two")],
        );
        append(
            &log,
            room,
            4,
            vec![Entry::Pending(Bytes::from_static(b"waits"))],
        );
    }
    data
}

/// A sound backup, and where to put changed ones.
struct Sound {
    place: TempDir,
    bytes: Vec<u8>,
}

impl Sound {
    fn new() -> Self {
        let place = empty_place();
        let data = make_data(place.path());
        let file = place.path().join("sound");
        let secret = passphrase("correct horse battery staple");
        back_up(HostConfig::for_tests(data), &file, Some(&secret)).unwrap();
        Self {
            bytes: fs::read(file).unwrap(),
            place,
        }
    }

    fn write(&self, bytes: &[u8]) -> PathBuf {
        let file = self.place.path().join("changed");
        fs::write(&file, bytes).unwrap();
        file
    }

    /// The file with one bit changed.
    fn flipped(&self, byte: usize) -> PathBuf {
        let mut bytes = self.bytes.clone();
        bytes[byte] ^= 1 << (byte % 8);
        self.write(&bytes)
    }

    /// Restores what is sound; the rooms that came back and whether the accounts did.
    fn salvage(&self, file: &Path) -> Option<(BTreeSet<String>, IdentityOutcome)> {
        let place = empty_place();
        let data = place.path().join("restored");
        let options = RestoreOptions {
            skip_damaged: true,
            ..RestoreOptions::default()
        };
        let restored = match restore(file, &data, options) {
            Ok(restored) => restored,
            Err(RestoreError::NoBackup { .. }) => return None,
            Err(error) => panic!("{error}"),
        };
        let log = open_log(&data);
        let found = log.list(&OwnerId::parse("ada").unwrap(), None, 100);
        let rooms = found.into_iter().map(|line| line.room.as_str().to_owned());
        let rooms: BTreeSet<_> = rooms.collect();
        for room in &rooms {
            let stored = log.read(&name(room), Seq(0), None).unwrap();
            let texts: Vec<_> = stored.ready.iter().map(|body| body.to_vec()).collect();
            let expect = ["one", "two"].map(|text| format!("{room} {text}").into_bytes());
            assert_eq!((stored.last, texts), (Seq(4), expect.to_vec()));
            assert_eq!(stored.pending, [Bytes::from_static(b"waits")]);
        }
        Some((rooms, restored.identity))
    }
}

fn damaged_rooms(damages: &[backup::Damage]) -> Vec<&str> {
    let prefix = "room owners/ada/rooms/";
    let named = damages
        .iter()
        .filter_map(|damage| damage.what.strip_prefix(prefix));
    named.collect()
}

#[test]
fn a_changed_bit_anywhere_is_detected_and_costs_one_part_at_most() {
    let sound = Sound::new();
    let checked = backup::check(&sound.write(&sound.bytes)).unwrap();
    assert!(checked.damages.is_empty(), "{:?}", checked.damages);
    let mut hit = BTreeSet::new();
    for byte in 0..sound.bytes.len() {
        let file = sound.flipped(byte);
        let checked = backup::check(&file).unwrap();
        assert!(!checked.damages.is_empty(), "byte {byte} is not noticed");
        let rooms = damaged_rooms(&checked.damages);
        assert!(rooms.len() <= 1, "byte {byte}: {rooms:?}");
        // What is said to be damaged is one thing, but for an end that cannot be walked to.
        assert!(
            checked.damages.len() <= 2,
            "byte {byte}: {:?}",
            checked.damages
        );
        hit.extend(checked.damages.iter().map(|damage| damage.what.clone()));
    }
    for part in [
        "the header",
        "the manifest",
        "the end of the file",
        "the sealed secrets",
    ] {
        assert!(hit.contains(part), "{part} was never hit: {hit:?}");
    }
    for room in ROOMS {
        assert!(
            hit.contains(&format!("room owners/ada/rooms/{room}")),
            "{room}"
        );
    }
}

#[test]
fn a_damaged_backup_is_refused_and_the_rest_restores_when_asked() {
    let sound = Sound::new();
    let all: BTreeSet<_> = ROOMS.map(str::to_owned).into();
    let mut lost = BTreeSet::new();
    // A prime, so that the samples meet every structure sooner or later.
    for byte in (0..sound.bytes.len()).step_by(397) {
        let file = sound.flipped(byte);
        let target = sound.place.path().join("refused");
        let error = restore(&file, &target, RestoreOptions::default()).unwrap_err();
        let RestoreError::Damaged { damages } = error else {
            panic!("byte {byte}: {error}");
        };
        assert!(!target.exists(), "byte {byte}");
        let (rooms, identity) = sound
            .salvage(&file)
            .expect("one bit does not cost everything");
        let missing: Vec<_> = all.difference(&rooms).cloned().collect();
        assert_eq!(missing, damaged_rooms(&damages), "byte {byte}");
        lost.extend(missing);
        let is_essential = damages.iter().any(|damage| {
            ["users", "meta", "counters"]
                .map(|table| format!("the accounts' table {table}"))
                .contains(&damage.what)
        });
        assert_eq!(
            identity == IdentityOutcome::Lost,
            is_essential,
            "byte {byte}"
        );
    }
    assert!(!lost.is_empty(), "no sample hit a room");
}

#[test]
fn a_file_that_was_cut_off_is_never_taken_for_a_whole_one() {
    let sound = Sound::new();
    for length in (0..sound.bytes.len()).step_by(5) {
        let file = sound.write(&sound.bytes[..length]);
        match backup::check(&file) {
            Ok(checked) => assert!(!checked.damages.is_empty(), "{length} bytes"),
            Err(RestoreError::NoBackup { .. }) => {}
            Err(error) => panic!("{length} bytes: {error}"),
        }
    }
    // Without its last bytes everything is still there; of the first half, some rooms.
    let end = sound.bytes.len();
    let (rooms, _) = sound
        .salvage(&sound.write(&sound.bytes[..end - 1]))
        .unwrap();
    assert_eq!(rooms.len(), ROOMS.len());
    assert_eq!(sound.salvage(&sound.write(&sound.bytes[..20])), None);
    let more = [sound.bytes.as_slice(), b"x"].concat();
    assert!(
        !backup::check(&sound.write(&more))
            .unwrap()
            .damages
            .is_empty()
    );
}

#[test]
fn sections_that_changed_places_are_noticed() {
    let sound = Sound::new();
    let at = |room: &str| {
        let text = format!("\"room\":\"{room}\",\"status\"");
        let mut windows = sound.bytes.windows(text.len());
        windows
            .position(|window| window == text.as_bytes())
            .unwrap()
    };
    let marks: Vec<_> = (0..sound.bytes.len() - 4)
        .filter(|index| &sound.bytes[*index..*index + 4] == b"EPS1")
        .collect();
    let begin = |room: &str| *marks.iter().rfind(|mark| **mark < at(room)).unwrap();
    let (alpha, beta) = (begin("alpha"), begin("beta"));
    let gamma = *marks.iter().find(|mark| **mark > beta).unwrap();
    let bytes = &sound.bytes;
    let exchanged = [
        &bytes[..alpha],
        &bytes[beta..gamma],
        &bytes[alpha..beta],
        &bytes[gamma..],
    ];
    let checked = backup::check(&sound.write(&exchanged.concat())).unwrap();
    assert_eq!(damaged_rooms(&checked.damages), ["alpha", "beta"]);
}

#[test]
fn a_room_that_cannot_be_read_costs_the_backup_that_room_only() {
    let place = empty_place();
    let data = make_data(place.path());
    let database = rusqlite::Connection::open(data.join("rooms.db")).unwrap();
    let damaged = "UPDATE entries SET body = x'00' WHERE body = CAST('beta two' AS BLOB)";
    assert_eq!(database.execute(damaged, []).unwrap(), 1);
    let missing = "DELETE FROM entries WHERE body = CAST('gamma two' AS BLOB)";
    assert_eq!(database.execute(missing, []).unwrap(), 1);
    drop(database);
    let file = place.path().join("backup");
    let made = back_up(HostConfig::for_tests(data), &file, None).unwrap();
    let named: Vec<_> = made.unreadable.iter().map(|room| &*room.name).collect();
    assert_eq!(named, ["owners/ada/rooms/beta", "owners/ada/rooms/gamma"]);
    assert_eq!((made.totals.rooms, made.totals.unreadable_rooms), (1, 2));
    assert!(made.unreadable[0].reason.contains("checksum"), "{made:?}");
    let restored = restore(&file, &place.path().join("new"), RestoreOptions::default()).unwrap();
    assert_eq!((restored.rooms, restored.unreadable.len()), (1, 2));
    let log = open_log(&place.path().join("new"));
    let found = log.list(&OwnerId::parse("ada").unwrap(), None, 10);
    assert_eq!(found.len(), 1);
}
