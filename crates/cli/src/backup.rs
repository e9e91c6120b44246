//! `epicenter backup` and `epicenter restore`.

use std::io::Write as _;
use std::path::Path;

use epicenter_native::backup::{
    self, BackupError, Checked, Damage, IdentityOutcome, IdentityPart, Made, Passphrase,
    PassphraseError, RestoreError, RestoreOptions, Restored, SecretsOutcome,
};
use epicenter_native::config::Flags;
use serde_json::{Value, json};

use crate::arguments::{BackupArguments, RestoreArguments};
use crate::configuration;
use crate::failure::Failure;
use crate::print;

/// `epicenter backup`: prints what the file holds; on stderr, what it does not hold.
pub(crate) fn backup(arguments: &BackupArguments) -> Result<(), Failure> {
    let loaded = configuration::load(&arguments.place, Flags::default())?;
    let passphrase = read_passphrase(arguments.passphrase_file.as_deref())?;
    let made = backup::create(&loaded, &arguments.to, passphrase.as_ref())?;
    if arguments.json {
        print(&format!("{}\n", describe_made(&made)))?;
    } else {
        print(&summarize_made(&made))?;
    }
    tell_what_is_missing(&made);
    if made.unreadable.is_empty() && made.lost_lines == 0 && !made.is_directory_damaged {
        return Ok(());
    }
    Err(Failure::new(
        format!(
            "the backup is there, but rooms are missing from it: {} cannot be read, and {} lines of the room directory are damaged",
            made.unreadable.len(),
            made.lost_lines
        ),
        "`epicenter doctor` says what is damaged; restore these rooms from an older backup",
    ))
}

/// `epicenter restore`: prints what was restored; on stderr, what has to be done before the hub starts.
pub(crate) fn restore(arguments: &RestoreArguments) -> Result<(), Failure> {
    if arguments.check {
        return check(arguments);
    }
    let loaded = configuration::load(&arguments.place, Flags::default())?;
    let passphrase = read_passphrase(arguments.passphrase_file.as_deref())?;
    let options = RestoreOptions {
        passphrase: passphrase.as_ref(),
        skip_damaged: arguments.skip_damaged,
        keep_sessions: arguments.keep_sessions,
        any_auth_secret: arguments.new_auth_secret,
    };
    let restored = backup::restore(&arguments.from, &loaded.config.data_dir, options)?;
    if arguments.json {
        print(&format!("{}\n", describe_restored(&restored)))?;
    } else {
        print(&summarize_restored(&restored))?;
    }
    tell_what_to_do(&restored);
    let (damaged, unreadable) = (restored.damages.len(), restored.unreadable.len());
    if damaged + unreadable == 0 && !restored.has_lost_rooms {
        return Ok(());
    }
    Err(Failure::new(
        format!(
            "the data directory is there, but parts of the backup are missing from it: {damaged} are damaged, and {unreadable} rooms could not be read when it was made"
        ),
        "each is named above; fetch another copy, or an older backup, restore it into another folder and compare",
    ))
}

const LOST_ROOMS: &str =
    "not in the backup: rooms of which not even the names could be read when it was made";

/// `epicenter restore --check`: reads the file and restores nothing; on stderr, which rooms are missing from it.
fn check(arguments: &RestoreArguments) -> Result<(), Failure> {
    let checked = backup::check(&arguments.from)?;
    if arguments.json {
        print(&format!("{}\n", describe_checked(&checked)))?;
    } else if checked.damages.is_empty() {
        let verdict = if checked.unreadable.is_empty() && !checked.has_lost_rooms {
            "sound"
        } else {
            "not damaged, but without some rooms"
        };
        print(&format!(
            "{}: {verdict}; {}\n",
            arguments.from.display(),
            contents(checked.totals.unwrap_or_default(), &checked.identity)
        ))?;
    }
    for room in &checked.unreadable {
        tell(&format!(
            "not in the backup: {room} could not be read when it was made"
        ));
    }
    if checked.has_lost_rooms {
        tell(LOST_ROOMS);
    }
    if !checked.damages.is_empty() {
        return Err(RestoreError::Damaged {
            damages: checked.damages,
        }
        .into());
    }
    if checked.unreadable.is_empty() && !checked.has_lost_rooms {
        return Ok(());
    }
    Err(Failure::new(
        format!(
            "rooms are missing from the backup: {} could not be read when it was made",
            checked.unreadable.len()
        ),
        "restore these rooms from an older backup; everything else is in this one",
    ))
}

fn read_passphrase(file: Option<&Path>) -> Result<Option<Passphrase>, Failure> {
    file.map(Passphrase::read).transpose().map_err(|error| {
        let hint = match error {
            PassphraseError::Unreadable(_) => "check the name and whether this user may read it",
            PassphraseError::TooShort => {
                "whoever has the file can guess at it for ever: take five random words or more"
            }
            _ => "the file must hold the passphrase and nothing else",
        };
        Failure::of(&error, hint)
    })
}

fn contents(totals: backup::Totals, identity: &IdentityPart) -> String {
    let accounts = match identity {
        IdentityPart::Postgres { .. } => "accounts in PostgreSQL",
        _ => "accounts",
    };
    format!(
        "{} rooms, {} tombstones, {} entries of {} bytes, {accounts}",
        totals.rooms, totals.deleted_rooms, totals.entries, totals.bytes
    )
}

fn summarize_made(made: &Made) -> String {
    format!(
        "{}: {}; {} bytes\n",
        made.path.display(),
        contents(made.totals, &made.identity),
        made.bytes
    )
}

fn describe_made(made: &Made) -> Value {
    let secrets: Vec<_> = made
        .secrets
        .iter()
        .map(|secret| json!({"variable": secret.variable, "file": secret.file}))
        .collect();
    let unreadable: Vec<_> = made
        .unreadable
        .iter()
        .map(|room| json!({"name": room.name, "reason": room.reason}))
        .collect();
    json!({
        "path": made.path,
        "bytes": made.bytes,
        "contents": describe_contents(made.totals),
        "identity": describe_identity(&made.identity),
        "hasSecrets": made.has_secrets,
        "keepElsewhere": secrets,
        "unreadableRooms": unreadable,
        "lostLines": made.lost_lines,
        "isDirectoryDamaged": made.is_directory_damaged,
        "isAudited": made.is_audited,
    })
}

fn describe_contents(totals: backup::Totals) -> Value {
    json!({
        "rooms": totals.rooms,
        "deletedRooms": totals.deleted_rooms,
        "unreadableRooms": totals.unreadable_rooms,
        "entries": totals.entries,
        "bytes": totals.bytes,
        "identityRows": totals.identity_rows,
    })
}

fn describe_identity(identity: &IdentityPart) -> Value {
    match identity {
        IdentityPart::Included { schema } => json!({"engine": "sqlite", "schema": schema}),
        IdentityPart::Postgres { schema } => json!({"engine": "postgres", "schema": schema}),
        _ => Value::Null,
    }
}

fn describe_checked(checked: &Checked) -> Value {
    json!({
        "createdAt": checked.created_at_ms,
        "program": checked.program,
        "contents": checked.totals.map(describe_contents),
        "identity": describe_identity(&checked.identity),
        "hasSecrets": checked.has_secrets,
        "unreadableRooms": checked.unreadable,
        "hasLostRooms": checked.has_lost_rooms,
        "damages": describe_damages(&checked.damages),
    })
}

fn describe_damages(damages: &[Damage]) -> Value {
    let describe = |damage: &Damage| json!({"what": damage.what, "why": damage.fault.to_string()});
    damages.iter().map(describe).collect()
}

fn tell_what_is_missing(made: &Made) {
    for room in &made.unreadable {
        tell(&format!(
            "not in the backup: {}: {}",
            room.name, room.reason
        ));
    }
    for secret in &made.secrets {
        let place = match &secret.file {
            Some(file) => format!("the file {}", file.display()),
            None => "where the hub's configuration has it".to_owned(),
        };
        tell(&format!(
            "not in the backup: {}. Keep a copy of it elsewhere: {place}. A restored hub does not start without it.",
            secret.variable
        ));
    }
    if let IdentityPart::Postgres { schema } = made.identity {
        tell(&format!(
            "not in the backup: accounts. They are in PostgreSQL (schema version {schema}): run pg_dump now, after this."
        ));
    }
    if !made.is_audited {
        tell(
            "the audit log has no line about this backup, because the accounts wait for a migration",
        );
    }
}

fn summarize_restored(restored: &Restored) -> String {
    format!(
        "{}: {} rooms, {} tombstones\n",
        restored.path.display(),
        restored.rooms,
        restored.deleted_rooms
    )
}

fn describe_restored(restored: &Restored) -> Value {
    let identity = match &restored.identity {
        IdentityOutcome::Restored { keeps_sessions } => {
            json!({"outcome": "restored", "keepsSessions": keeps_sessions})
        }
        IdentityOutcome::Lost => json!({"outcome": "lost"}),
        IdentityOutcome::Postgres { schema } => json!({"outcome": "postgres", "schema": schema}),
        _ => Value::Null,
    };
    let secrets = match restored.secrets {
        SecretsOutcome::Restored => json!({"outcome": "restored"}),
        SecretsOutcome::Awaited { are_sealed } => {
            json!({"outcome": "awaited", "areSealed": are_sealed})
        }
        _ => Value::Null,
    };
    json!({
        "path": restored.path,
        "createdAt": restored.created_at_ms,
        "rooms": restored.rooms,
        "deletedRooms": restored.deleted_rooms,
        "identity": identity,
        "secrets": secrets,
        "damages": describe_damages(&restored.damages),
        "unreadableRooms": restored.unreadable,
        "hasLostRooms": restored.has_lost_rooms,
        "configuration": restored.configuration,
    })
}

fn tell_what_to_do(restored: &Restored) {
    for damage in &restored.damages {
        tell(&format!("not restored: {} ({})", damage.what, damage.fault));
    }
    for room in &restored.unreadable {
        tell(&format!(
            "not restored: {room} could not be read when the backup was made"
        ));
    }
    if restored.has_lost_rooms {
        tell(LOST_ROOMS);
    }
    match &restored.identity {
        IdentityOutcome::Restored {
            keeps_sessions: false,
        } => tell("everybody is signed out; sign in again"),
        IdentityOutcome::Restored {
            keeps_sessions: true,
        } => tell(
            "sessions and grants are those of the backup: what was revoked after it is not revoked any more",
        ),
        IdentityOutcome::Lost => tell(
            "the accounts are too damaged to be restored: the rooms are there, and nobody owns them yet",
        ),
        IdentityOutcome::Postgres { schema } => tell(&format!(
            "the accounts are in PostgreSQL: restore the dump of schema version {schema} that was made after this backup, then run `epicenter admin sign-everybody-out`"
        )),
        _ => {}
    }
    if let SecretsOutcome::Awaited { are_sealed } = restored.secrets {
        tell(
            "before the hub starts: give it the ENCRYPTION_SECRETS and the AUTH_SECRET that the backup was made with, in its environment or in the folder `secrets`",
        );
        if are_sealed {
            tell("they are in the backup: --passphrase-file opens them");
        }
    }
    if let Some(path) = &restored.configuration {
        tell(&format!(
            "the configuration that the hub ran with is in {}; nothing reads it there",
            path.display()
        ));
    }
}

/// Talk goes to stderr.
fn tell(line: &str) {
    // Nobody is left to tell when stderr is gone.
    let _ = writeln!(std::io::stderr(), "{line}");
}

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Self {
        Self::of(&error, error.hint())
    }
}

impl From<RestoreError> for Failure {
    fn from(error: RestoreError) -> Self {
        Self::of(&error, error.hint())
    }
}
