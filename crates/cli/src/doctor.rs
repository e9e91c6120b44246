//! `epicenter doctor …`: what is wrong, what to do, and what can be done about single rooms.

use std::fmt::Write as _;

use epicenter_identity::{OwnerId, RoomId, RoomName};
use epicenter_native::config::{Flags, HostConfig};
use epicenter_native::doctor::rooms::{self, RoomSummary, RoomsError};
use epicenter_native::doctor::{self, DoctorError, Finding, Level, Report};
use epicenter_native::log::LogId;
use serde_json::{Value, json};

use crate::arguments::{
    DoctorArguments, DoctorCommand, GenerationsArguments, LiftArguments, PlaceArguments,
    RestoreGenerationArguments, RoomArguments, RoomsArguments, RoomsCommand,
};
use crate::configuration;
use crate::failure::Failure;
use crate::print;

pub(crate) fn run(arguments: &DoctorArguments) -> Result<(), Failure> {
    match &arguments.command {
        None => examine(arguments),
        Some(DoctorCommand::Rooms(command)) => match command {
            RoomsCommand::List(list) => list_rooms(list),
            RoomsCommand::Generations(generations) => list_generations(generations),
            RoomsCommand::RestoreGeneration(restore) => restore_generation(restore),
            RoomsCommand::Quarantine(quarantine) => list_quarantine(quarantine),
            RoomsCommand::LiftQuarantine(lift) => lift_quarantine(lift),
        },
    }
}

/// `epicenter doctor`: prints every finding, and fails when there is a problem.
fn examine(arguments: &DoctorArguments) -> Result<(), Failure> {
    let report = doctor::examine(&load(&arguments.place)?)?;
    if arguments.json {
        print(&format!("{}\n", describe(&report)))?;
    } else {
        print(&summarize(&report))?;
    }
    if report.is_sound() {
        return Ok(());
    }
    let problems = report.findings.iter();
    let problems = problems.filter(|finding| finding.level == Level::Problem);
    // The exit code is 1, so that a script tells what is wrong with the data from a command that failed.
    Err(Failure::configuration(
        format!("{} problems were found", problems.count()),
        "each is listed with what to do about it",
    ))
}

fn summarize(report: &Report) -> String {
    let examined = report.examined;
    let mut text = String::new();
    for finding in &report.findings {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{finding}");
    }
    let _ = writeln!(
        text,
        "examined {}: {} rooms, {} updates, {} kept generations, {} signing keys",
        if report.is_served {
            "beside a running hub"
        } else {
            "while no hub runs"
        },
        examined.rooms,
        examined.updates,
        examined.generations,
        examined.signing_keys
    );
    text
}

fn describe(report: &Report) -> Value {
    let finding = |finding: &Finding| {
        json!({
            "level": match finding.level {
                Level::Problem => "problem",
                Level::Notice => "notice",
            },
            "subject": finding.subject,
            "what": finding.what,
            "advice": finding.advice,
        })
    };
    let examined = report.examined;
    json!({
        "isSound": report.is_sound(),
        "isServed": report.is_served,
        "examined": {
            "rooms": examined.rooms,
            "updates": examined.updates,
            "generations": examined.generations,
            "signingKeys": examined.signing_keys,
        },
        "findings": report.findings.iter().map(finding).collect::<Value>(),
    })
}

/// `epicenter doctor rooms list`.
fn list_rooms(arguments: &RoomsArguments) -> Result<(), Failure> {
    let found = rooms::list(&load(&arguments.place)?.data_dir)?;
    let state = |room: &RoomSummary| match (&room.fault, room.is_deleted) {
        (Some(_), _) => "damaged",
        (None, true) => "deleted",
        (None, false) => "live",
    };
    let describe = |room: &RoomSummary| {
        json!({
            "owner": room.name.owner().as_str(),
            "room": room.name.room().as_str(),
            "state": state(room),
            "last": room.last,
            "bytes": room.bytes,
            "lastAccessedAt": room.last_accessed_at_ms,
            "generations": room.generations,
            "fault": room.fault,
        })
    };
    let line = |room: &RoomSummary| {
        format!(
            "{}\t{}\t{}\t{}\t{}\t{}",
            room.name.owner(),
            room.name.room(),
            state(room),
            room.last,
            room.bytes,
            room.generations
        )
    };
    print_all(arguments.json, &found, describe, line)
}

/// `epicenter doctor rooms generations`.
fn list_generations(arguments: &GenerationsArguments) -> Result<(), Failure> {
    let room = name(&arguments.room.owner, &arguments.room.room)?;
    let config = load(&arguments.rooms.place)?;
    let found = rooms::generations(&config.data_dir, &room)?;
    print_all(
        arguments.rooms.json,
        &found,
        |kept| {
            json!({
                "log": kept.log.0,
                "upto": kept.upto.0,
                "entries": kept.entries,
                "bytes": kept.bytes,
                "replacedAt": kept.replaced_at,
            })
        },
        |kept| {
            format!(
                "{}\t{}\t{}\t{}\t{}",
                kept.log, kept.upto.0, kept.entries, kept.bytes, kept.replaced_at
            )
        },
    )
}

/// `epicenter doctor rooms restore-generation`.
fn restore_generation(arguments: &RestoreGenerationArguments) -> Result<(), Failure> {
    let RoomArguments { owner, room } = &arguments.room;
    let into = arguments.into.as_ref();
    let into = into.map(|room| name(owner, room)).transpose()?;
    let room = name(owner, room)?;
    let config = load(&arguments.place)?;
    let bytes = rooms::restore_generation(&config, &room, LogId(arguments.log), into.as_ref())?;
    let target = into.as_ref().unwrap_or(&room);
    let log = arguments.log;
    let said = if bytes == 0 {
        format!("{target} lacks nothing of generation {log}\n")
    } else {
        format!("{bytes} bytes of generation {log} are in {target}\n")
    };
    print(&said)
}

/// `epicenter doctor rooms quarantine`.
fn list_quarantine(arguments: &RoomsArguments) -> Result<(), Failure> {
    let found = rooms::quarantine(&load(&arguments.place)?.data_dir)?;
    print_all(
        arguments.json,
        &found,
        |(room, rejected)| {
            json!({
                "owner": room.owner().as_str(),
                "room": room.room().as_str(),
                "log": rejected.log.0,
                "of": rejected.of.0,
                "upto": rejected.upto.0,
                "bytes": rejected.bytes,
                "rejectedAt": rejected.rejected_at,
                "reason": rejected.reason,
            })
        },
        |(room, rejected)| {
            format!(
                "{}\t{}\t{}\t{}\t{}",
                room.owner(),
                room.room(),
                rejected.of,
                rejected.bytes,
                rejected.reason
            )
        },
    )
}

/// `epicenter doctor rooms lift-quarantine`.
fn lift_quarantine(arguments: &LiftArguments) -> Result<(), Failure> {
    let room = name(&arguments.room.owner, &arguments.room.room)?;
    let config = load(&arguments.place)?;
    Ok(rooms::lift_quarantine(
        &config,
        &room,
        LogId(arguments.log),
    )?)
}

fn print_all<T>(
    json: bool,
    items: &[T],
    describe: impl Fn(&T) -> Value,
    line: impl Fn(&T) -> String,
) -> Result<(), Failure> {
    if json {
        return print(&format!(
            "{}\n",
            items.iter().map(describe).collect::<Value>()
        ));
    }
    let lines: String = items.iter().map(|item| line(item) + "\n").collect();
    print(&lines)
}

fn name(owner: &str, room: &str) -> Result<RoomName, Failure> {
    let hint = "`epicenter doctor rooms list` prints owners and rooms";
    let owner = OwnerId::parse(owner)
        .map_err(|error| Failure::configuration(format!("{owner} is no owner: {error}"), hint))?;
    let room = RoomId::parse(room)
        .map_err(|error| Failure::configuration(format!("{room} is no room: {error}"), hint))?;
    Ok(RoomName::stored(owner, room))
}

fn load(place: &PlaceArguments) -> Result<HostConfig, Failure> {
    Ok(configuration::load(place, Flags::default())?.config)
}

impl From<DoctorError> for Failure {
    fn from(error: DoctorError) -> Self {
        Self::of(&error, "name the folder of a hub with --data-dir")
    }
}

impl From<RoomsError> for Failure {
    fn from(error: RoomsError) -> Self {
        Self::of(&error, error.hint())
    }
}
