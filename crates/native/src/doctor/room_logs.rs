//! The room log under examination: the file, and every log of every room, row by row and update by update.

use bytes::Bytes;
use epicenter_update::{Update, merge};

use super::{Report, chain};
use crate::data_dir::DataDir;
use crate::log::export::{Snapshot, StoredLine, Updates};
use crate::log::schema_version;
use crate::rooms::STORED;

const RESTORE_ROOM: &str = "other rooms are not affected; restore a backup into another data directory and bring this room back from there";

pub(super) fn examine(data_dir: &DataDir, report: &mut Report) {
    let path = data_dir.rooms_database();
    let name = path.display().to_string();
    if !path.is_file() {
        report.problem(
            &name,
            "it is missing",
            "without it there are no rooms: restore a backup into a new data directory",
        );
        return;
    }
    let snapshot = match Snapshot::open(&path) {
        Ok(snapshot) => snapshot,
        Err(error) => {
            report.problem(
                &name,
                chain(&error),
                "if a newer program wrote it, use that one; if the disk is sound, restore a backup into a new data directory",
            );
            return;
        }
    };
    if let Ok(version) = snapshot.version(&path)
        && version < schema_version()
    {
        report.notice(
            &name,
            format_args!("its schema has version {version} of {}", schema_version()),
            "the next start of the hub brings it up to date; make a backup first",
        );
    }
    match snapshot.check_integrity() {
        Ok(lines) => lines.iter().for_each(|line| {
            report.problem(
                &name,
                line,
                "the file is damaged: make a backup of what is readable, and restore it into a new data directory",
            );
        }),
        Err(error) => report.problem(&name, chain(&error), "check the disk"),
    }
    let (lost_lines, is_incomplete) = snapshot.lost_lines();
    if lost_lines > 0 || is_incomplete {
        report.problem(
            &name,
            format_args!("the directory of rooms is damaged: {lost_lines} of its lines are unreadable, or rows name no room"),
            "rooms that are not named are refused: restore an older backup into another data directory and compare",
        );
    }
    let lost_kept = snapshot.lost_kept();
    if lost_kept > 0 {
        report.problem(
            &name,
            format_args!("{lost_kept} lines about generations and rejected states are unreadable"),
            "the rooms themselves are not affected, but what these lines name cannot be restored and is never deleted; check the disk",
        );
    }
    for room in snapshot.rooms() {
        examine_room(&snapshot, room, report);
        examine_kept(&snapshot, room, report);
    }
}

fn examine_room(snapshot: &Snapshot, room: &StoredLine, report: &mut Report) {
    report.examined.rooms += 1;
    let examined = snapshot.read_updates(room).and_then(|updates| {
        report.examined.updates += (updates.ready.len() + updates.pending.len()) as u64;
        replay(&updates)
    });
    if let Err(what) = examined {
        report.problem(format_args!("room {}", room.line.name), what, RESTORE_ROOM);
    }
}

/// The room's past: the logs that compaction has replaced, and the states that it rejected.
fn examine_kept(snapshot: &Snapshot, room: &StoredLine, report: &mut Report) {
    let name = &room.line.name;
    for generation in snapshot.generations(name) {
        report.examined.generations += 1;
        let read = snapshot.read_kept(generation.log);
        if let Err(what) = read.and_then(|updates| replay(&updates)) {
            report.problem(
                format_args!("room {name}"),
                format_args!("its generation {} is damaged: {what}", generation.log),
                "the room itself is not affected, but this generation cannot be restored; check the disk",
            );
        }
    }
    for rejection in snapshot.rejections(name) {
        report.problem(
            format_args!("room {name}"),
            format_args!(
                "its log {} is not compacted, because the state made of it was not equal: {}",
                rejection.of, rejection.reason
            ),
            "nothing is lost; please report it with the output of `epicenter doctor rooms quarantine`, then lift it with `epicenter doctor rooms lift-quarantine`",
        );
        // What it holds was not trusted in the first place: it need not be a document.
        if let Err(what) = snapshot.read_kept(rejection.log) {
            report.problem(
                format_args!("room {name}"),
                format_args!(
                    "the state that was made of its log {} and rejected is damaged: {what}",
                    rejection.of
                ),
                "the room itself is not affected; say so when you report the rejection, and check the disk",
            );
        }
    }
}

/// Every update parses, and together they are one that parses too. No limit of today counts: each was accepted under those
/// of its day.
fn replay(updates: &Updates) -> Result<(), String> {
    let ready: Vec<_> = updates
        .ready
        .iter()
        .enumerate()
        .map(parse)
        .collect::<Result<_, _>>()?;
    updates
        .pending
        .iter()
        .enumerate()
        .try_for_each(|waiting| parse(waiting).map(drop))?;
    if ready.is_empty() {
        return Ok(());
    }
    Update::parse(&merge(&ready), &STORED)
        .map(drop)
        .map_err(|error| format!("its updates do not merge: {error}"))
}

fn parse((index, bytes): (usize, &Bytes)) -> Result<Update<'_>, String> {
    Update::parse(bytes, &STORED)
        .map_err(|error| format!("update {} of its log is none: {error}", index + 1))
}
