//! The room log under examination: the file, and every room's log, row by row and update by update.

use bytes::Bytes;
use epicenter_update::{Limits, Update, merge};

use super::{Report, chain};
use crate::config::HostConfig;
use crate::data_dir::DataDir;
use crate::log::export::{Snapshot, StoredLine, Updates};
use crate::log::schema_version;

const RESTORE_ROOM: &str = "other rooms are not affected; restore a backup into another data directory and bring this room back from there";

pub(super) fn examine(config: &HostConfig, data_dir: &DataDir, report: &mut Report) {
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
    for room in snapshot.rooms() {
        examine_room(&config.rooms.limits, &snapshot, room, report);
    }
}

fn examine_room(limits: &Limits, snapshot: &Snapshot, room: &StoredLine, report: &mut Report) {
    let name = &room.line.name;
    report.examined.rooms += 1;
    match snapshot.read_updates(room) {
        Ok(updates) => {
            report.examined.updates += (updates.ready.len() + updates.pending.len()) as u64;
            if let Err(what) = replay(limits, &updates) {
                report.problem(format_args!("room {name}"), what, RESTORE_ROOM);
            }
        }
        Err(what) => report.problem(format_args!("room {name}"), what, RESTORE_ROOM),
    }
    report.examined.generations += snapshot.generations(name).len() as u64;
    for rejection in snapshot.rejections(name) {
        report.problem(
            format_args!("room {name}"),
            format_args!(
                "its log {} is not compacted, because the state made of it was not equal: {}",
                rejection.of, rejection.reason
            ),
            "nothing is lost; please report it with the output of `epicenter doctor rooms quarantine`, then lift it with `epicenter doctor rooms lift-quarantine`",
        );
    }
}

/// Every update parses, and together they are one that parses too.
pub(super) fn replay(limits: &Limits, updates: &Updates) -> Result<(), String> {
    let parse = |(index, bytes)| parse(limits, index, bytes);
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
    Update::parse(&merge(&ready), limits)
        .map(drop)
        .map_err(|error| format!("its updates do not merge: {error}"))
}

fn parse<'a>(limits: &Limits, index: usize, bytes: &'a Bytes) -> Result<Update<'a>, String> {
    Update::parse(bytes, limits)
        .map_err(|error| format!("update {} of its log is none: {error}", index + 1))
}
