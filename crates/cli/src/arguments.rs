//! The command line: every command with its flags, help and an example.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

mod ai;

pub(crate) use ai::{AiCommand, ChatArguments, ModelsArguments};

/// Version, licence and where the source is, as section 13 of the licence asks.
const LONG_VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\nlicence: ",
    env!("CARGO_PKG_LICENSE"),
    "\nsource: ",
    env!("CARGO_PKG_REPOSITORY")
);

/// Epicenter's hub: documents sync through it, and nothing is lost.
#[derive(Debug, Parser)]
#[command(
    name = "epicenter",
    version,
    long_version = LONG_VERSION,
    arg_required_else_help = true,
    after_help = "Example:\n  epicenter serve\n\nExit codes: 0 success, 1 wrong usage or configuration, 2 the command failed. `doctor`: 1 when something is wrong."
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the hub
    ///
    /// Needs no configuration: listens on 127.0.0.1:8787, keeps everything in one data directory and generates the
    /// secrets it lacks. Prints one line on stdout when it is ready; logs go to stderr. The first SIGTERM or SIGINT
    /// shuts down gracefully, the second exits at once.
    #[command(
        after_help = "Examples:\n  epicenter serve\n  epicenter serve --listen 0.0.0.0:8787 --data-dir /var/lib/epicenter --public-origin https://hub.example\n  epicenter serve --check"
    )]
    Serve(ServeArguments),
    /// Sign in to a hub from this machine
    ///
    /// The sign-in is kept in a private file, one for each hub, below EPICENTER_DATA_DIR or the platform's folder for
    /// data.
    #[command(
        subcommand,
        after_help = "Examples:\n  epicenter auth login --url https://hub.example\n  epicenter auth status"
    )]
    Auth(AuthCommand),
    /// Ask AI models through a hub, as the person who is signed in on this machine
    ///
    /// Sign in first with `epicenter auth login`.
    #[command(
        subcommand,
        after_help = "Examples:\n  epicenter ai chat 'What is a CRDT?'\n  epicenter ai models"
    )]
    Ai(AiCommand),
    /// Manage accounts and tokens of the hub on this machine
    #[command(
        subcommand,
        after_help = "Example:\n  epicenter admin user add --email ada@example.org --password-stdin --admin < password.txt"
    )]
    Admin(AdminCommand),
    /// Write everything that the hub on this machine keeps into one private file
    ///
    /// Works while the hub runs and while it does not. Rooms, accounts, tombstones and the configuration are in it; the
    /// secrets are only with --passphrase-file, sealed. With DATABASE_URL the accounts are a matter for pg_dump.
    #[command(
        after_help = "Examples:\n  epicenter backup hub-2026-11-22.backup\n  epicenter backup hub.backup --data-dir /var/lib/epicenter --passphrase-file passphrase.txt"
    )]
    Backup(BackupArguments),
    /// Make a new data directory from a backup
    ///
    /// The data directory must be empty or not there. Every hash is checked first. Everybody is signed out, unless
    /// --keep-sessions is given, and signing keys are made anew: a token that was revoked after the backup stays dead.
    #[command(
        after_help = "Examples:\n  epicenter restore hub.backup --data-dir /var/lib/epicenter\n  epicenter restore hub.backup --check"
    )]
    Restore(RestoreArguments),
    /// Check everything that the hub on this machine keeps
    ///
    /// Both databases, every room's log, every signing key, secrets and permissions. Changes nothing, and works while the
    /// hub runs and while it does not. Exit code 1 when something is wrong.
    #[command(
        args_conflicts_with_subcommands = true,
        after_help = "Examples:\n  epicenter doctor --data-dir /var/lib/epicenter\n  epicenter doctor rooms list"
    )]
    Doctor(DoctorArguments),
    /// Manage the keys of the hub on this machine
    #[command(subcommand, after_help = "Example:\n  epicenter keys rotate-signing")]
    Keys(KeysCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuthCommand {
    /// Sign in; prints who is signed in
    ///
    /// Prints an address to open in a browser, on this machine or another, and reads the code that the hub shows there
    /// from stdin. On a terminal it opens the browser itself. A sign-in that was there before is replaced.
    #[command(
        after_help = "Examples:\n  epicenter auth login\n  epicenter auth login --url https://hub.example --no-browser"
    )]
    Login(LoginArguments),
    /// Print who is signed in, and whether the hub agrees
    ///
    /// Refreshes the sign-in when it is stale. While the hub cannot be reached, the last known account is printed as not
    /// verified. Exit code 2 when nobody is signed in or the hub refuses.
    #[command(
        after_help = "Examples:\n  epicenter auth status\n  epicenter auth status --url https://hub.example --json"
    )]
    Status(AuthArguments),
    /// Sign out; says whether the hub heard of it
    ///
    /// Removes the file first, so that this machine is signed out whatever happens next, and then ends the grant at the
    /// hub.
    #[command(after_help = "Example:\n  epicenter auth logout --url https://hub.example")]
    Logout(AuthArguments),
}

#[derive(Args, Debug)]
pub(crate) struct AuthArguments {
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) hub: HubArguments,
}

/// Which hub a client's command talks to.
#[derive(Args, Debug)]
pub(crate) struct HubArguments {
    /// Address of the hub
    #[arg(
        long,
        value_name = "URL",
        env = "EPICENTER_API_URL",
        hide_env_values = true,
        default_value = "http://127.0.0.1:8787"
    )]
    pub(crate) url: String,
}

#[derive(Args, Debug)]
pub(crate) struct LoginArguments {
    /// Do not open a browser, only print the address
    #[arg(long)]
    pub(crate) no_browser: bool,
    #[command(flatten)]
    pub(crate) auth: AuthArguments,
}

#[derive(Args, Debug)]
pub(crate) struct ServeArguments {
    /// Address and port to listen on; port 0 takes a free one [default: 127.0.0.1:8787]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<String>,
    /// Origin under which people reach the hub, such as https://hub.example
    #[arg(long, value_name = "URL")]
    pub(crate) public_origin: Option<String>,
    /// Address and port for metrics, or off [default: 127.0.0.1:8788, if it is free]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) admin_listen: Option<String>,
    /// What to log: a level, or a filter such as info,epicenter_native=debug [default: info]
    #[arg(long, value_name = "FILTER")]
    pub(crate) log: Option<String>,
    /// Print the effective configuration with secrets masked, and exit
    #[arg(long)]
    pub(crate) check: bool,
    #[command(flatten)]
    pub(crate) place: PlaceArguments,
}

/// Which hub a command is about.
#[derive(Args, Debug)]
pub(crate) struct PlaceArguments {
    /// Folder that holds everything the hub keeps
    #[arg(long, value_name = "FOLDER")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Configuration file instead of ./epicenter-hub.toml
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct DoctorArguments {
    #[command(subcommand)]
    pub(crate) command: Option<DoctorCommand>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) place: PlaceArguments,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DoctorCommand {
    /// Look at single rooms, and undo what compaction did to one
    #[command(subcommand, after_help = "Example:\n  epicenter doctor rooms list")]
    Rooms(RoomsCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum RoomsCommand {
    /// Print every room: owner, room, state, last entry, bytes, kept generations
    #[command(
        after_help = "Examples:\n  epicenter doctor rooms list\n  epicenter doctor rooms list --json"
    )]
    List(RoomsArguments),
    /// Print the generations of a room that are kept: number, last entry, entries, bytes, since when
    #[command(after_help = "Example:\n  epicenter doctor rooms generations OWNER ROOM")]
    Generations(GenerationsArguments),
    /// Merge a generation into its room, or make another room of it; the hub must be stopped
    ///
    /// Nothing that came later is lost, and what was deleted since stays deleted. With --as the generation is put into a
    /// room that has never been, as it was.
    #[command(
        after_help = "Examples:\n  epicenter doctor rooms restore-generation OWNER ROOM 17\n  epicenter doctor rooms restore-generation OWNER ROOM 17 --as ROOM-as-it-was"
    )]
    RestoreGeneration(RestoreGenerationArguments),
    /// Print the states that compaction made and did not trust
    #[command(after_help = "Example:\n  epicenter doctor rooms quarantine")]
    Quarantine(RoomsArguments),
    /// Let a log be compacted again of which a state was not trusted; the hub must be stopped
    #[command(after_help = "Example:\n  epicenter doctor rooms lift-quarantine OWNER ROOM 17")]
    LiftQuarantine(LiftArguments),
}

#[derive(Args, Debug)]
pub(crate) struct RoomsArguments {
    /// Print one JSON array
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) place: PlaceArguments,
}

/// Which room a command is about.
#[derive(Args, Debug)]
pub(crate) struct RoomArguments {
    /// Owner of the room: the id of an account, or `shared`
    #[arg(value_name = "OWNER")]
    pub(crate) owner: String,
    /// Id of the room
    #[arg(value_name = "ROOM")]
    pub(crate) room: String,
}

#[derive(Args, Debug)]
pub(crate) struct GenerationsArguments {
    #[command(flatten)]
    pub(crate) room: RoomArguments,
    #[command(flatten)]
    pub(crate) rooms: RoomsArguments,
}

#[derive(Args, Debug)]
pub(crate) struct RestoreGenerationArguments {
    #[command(flatten)]
    pub(crate) room: RoomArguments,
    /// Number of the generation
    #[arg(value_name = "LOG")]
    pub(crate) log: u64,
    /// Put it into this new room of the same owner instead
    #[arg(long = "as", value_name = "ROOM")]
    pub(crate) into: Option<String>,
    #[command(flatten)]
    pub(crate) place: PlaceArguments,
}

#[derive(Args, Debug)]
pub(crate) struct LiftArguments {
    #[command(flatten)]
    pub(crate) room: RoomArguments,
    /// Number of the log that the state was made of
    #[arg(value_name = "LOG")]
    pub(crate) log: u64,
    #[command(flatten)]
    pub(crate) place: PlaceArguments,
}

#[derive(Args, Debug)]
pub(crate) struct BackupArguments {
    /// The file to write; it must not exist
    #[arg(value_name = "TO")]
    pub(crate) to: PathBuf,
    /// File with a passphrase under which the secrets are put into the backup
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) place: PlaceArguments,
}

#[derive(Args, Debug)]
pub(crate) struct RestoreArguments {
    /// The file that `epicenter backup` wrote
    #[arg(value_name = "FROM")]
    pub(crate) from: PathBuf,
    /// Only check every hash of the file
    #[arg(long, conflicts_with_all = ["passphrase_file", "skip_damaged", "keep_sessions", "new_auth_secret"])]
    pub(crate) check: bool,
    /// File with the passphrase that opens the secrets in the backup; they are put into the data directory
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// Restore what is sound of a damaged backup
    #[arg(long)]
    pub(crate) skip_damaged: bool,
    /// Keep sessions, grants and links of the backup, those that were revoked since included
    #[arg(long)]
    pub(crate) keep_sessions: bool,
    /// Start with any AUTH_SECRET, because the one of the backup is lost
    #[arg(long)]
    pub(crate) new_auth_secret: bool,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) place: PlaceArguments,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AdminCommand {
    /// Manage accounts
    #[command(
        subcommand,
        after_help = "Example:\n  epicenter admin user add --email ada@example.org --password-stdin < password.txt"
    )]
    User(UserCommand),
    /// Print an access token for an account
    ///
    /// Signed by the hub's own keys for the client epicenter-cli with every scope. Works while the hub runs and while it
    /// does not.
    #[command(
        after_help = "Example:\n  TOKEN=$(epicenter admin token --email ada@example.org --ttl 600)\n  curl -H \"Authorization: Bearer $TOKEN\" http://127.0.0.1:8787/api/session"
    )]
    Token(TokenArguments),
    /// Give people credits for AI calls, and look at what they have
    ///
    /// For hubs with ai.credits, where calls cost something. Works while the hub runs and while it does not.
    #[command(
        subcommand,
        after_help = "Example:\n  epicenter admin credits give --email ada@example.org --credits 500"
    )]
    Credits(CreditsCommand),
    /// Print a new link under which the first account can be made
    ///
    /// Good once, for 30 minutes, while no account exists; links that were made before it end. Works while the hub runs
    /// and while it does not.
    #[command(after_help = "Example:\n  epicenter admin setup-link")]
    SetupLink(LinkArguments),
    /// End every session and every grant of every account
    ///
    /// Tokens and sockets end at once, and a new key signs from then on. For accounts that came back from a dump of
    /// PostgreSQL; `epicenter restore` does it by itself for accounts that are in a backup.
    #[command(after_help = "Example:\n  epicenter admin sign-everybody-out")]
    SignEverybodyOut(PlaceArguments),
}

#[derive(Debug, Subcommand)]
pub(crate) enum CreditsCommand {
    /// Give an account more credits; prints what it has then
    ///
    /// The account counts as paid from then on: ai.max_unpaid_call does not bound it any more. The audit log gets a line
    /// with the note.
    #[command(
        after_help = "Examples:\n  epicenter admin credits give --email ada@example.org --credits 500\n  epicenter admin credits give --email ada@example.org --credits 12.5 --note 'invoice 7'"
    )]
    Give(GiveArguments),
    /// Print what an account has: free, held for running calls, owed, and whether it is paid
    #[command(
        after_help = "Examples:\n  epicenter admin credits show --email ada@example.org\n  epicenter admin credits show --email ada@example.org --json"
    )]
    Show(CreditsArguments),
}

#[derive(Args, Debug)]
pub(crate) struct CreditsArguments {
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) user: UserArguments,
}

#[derive(Args, Debug)]
pub(crate) struct GiveArguments {
    /// How many: above zero, with at most three digits after the point
    #[arg(long, value_name = "NUMBER")]
    pub(crate) credits: String,
    /// Why, for the audit log
    #[arg(long, value_name = "TEXT")]
    pub(crate) note: Option<String>,
    #[command(flatten)]
    pub(crate) to: CreditsArguments,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Make a new key that signs tokens; prints its id
    ///
    /// It takes over after a minute. Tokens that the old key signed stay good until they end.
    #[command(
        after_help = "Example:\n  epicenter keys rotate-signing --data-dir /var/lib/epicenter"
    )]
    RotateSigning(RotateArguments),
}

#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Add an account; prints its id
    ///
    /// Works while the hub runs and while it does not; the account can be used at once. The address counts as
    /// verified by the operator. The first account of a hub must be an admin.
    #[command(
        after_help = "Example:\n  printf '%s' \"$PASSWORD\" | epicenter admin user add --email ada@example.org --password-stdin --admin"
    )]
    Add(UserAddArguments),
    /// Print every account: id, address, role and state
    #[command(
        after_help = "Examples:\n  epicenter admin user list\n  epicenter admin user list --json"
    )]
    List(UserListArguments),
    /// Print a link under which somebody can make an account
    ///
    /// With an address the link makes an account for that one only; without, for whoever has it first.
    #[command(
        after_help = "Examples:\n  epicenter admin user invite --email bob@example.org\n  epicenter admin user invite --ttl 3600"
    )]
    Invite(InviteArguments),
    /// Disable an account
    ///
    /// Its sessions, tokens and sockets end at once; its data stays.
    #[command(after_help = "Example:\n  epicenter admin user disable --email bob@example.org")]
    Disable(UserArguments),
    /// Enable an account again
    #[command(after_help = "Example:\n  epicenter admin user enable --email bob@example.org")]
    Enable(UserArguments),
    /// Set a new password
    ///
    /// The account is signed out everywhere, apps included. Its keys and data stay.
    #[command(
        after_help = "Example:\n  printf '%s' \"$PASSWORD\" | epicenter admin user reset-password --email bob@example.org --password-stdin"
    )]
    ResetPassword(PasswordArguments),
    /// Give a locked or disabled account back to its person
    ///
    /// Sets a new password, signs the account out everywhere and enables it.
    #[command(
        after_help = "Example:\n  printf '%s' \"$PASSWORD\" | epicenter admin user recover --email bob@example.org --password-stdin"
    )]
    Recover(PasswordArguments),
}

#[derive(Args, Debug)]
pub(crate) struct UserListArguments {
    /// Print one JSON array
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) place: PlaceArguments,
}

/// Which account a command is about.
#[derive(Args, Debug)]
pub(crate) struct UserArguments {
    /// Address of the account
    #[arg(long)]
    pub(crate) email: String,
    #[command(flatten)]
    pub(crate) place: PlaceArguments,
}

#[derive(Args, Debug)]
pub(crate) struct PasswordArguments {
    /// Read the new password from stdin, up to the first line break
    #[arg(long, required = true)]
    pub(crate) password_stdin: bool,
    #[command(flatten)]
    pub(crate) user: UserArguments,
}

#[derive(Args, Debug)]
pub(crate) struct InviteArguments {
    /// Address that the account must have
    #[arg(long)]
    pub(crate) email: Option<String>,
    /// Lifetime in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 604_800, value_parser = clap::value_parser!(u64).range(60..=2_592_000))]
    pub(crate) ttl: u64,
    #[command(flatten)]
    pub(crate) link: LinkArguments,
}

#[derive(Args, Debug)]
pub(crate) struct LinkArguments {
    /// Origin of the hub [default: the one that serve recorded in the data directory]
    #[arg(long, value_name = "URL")]
    pub(crate) public_origin: Option<String>,
    /// Print one JSON object instead of the link
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) place: PlaceArguments,
}

#[derive(Args, Debug)]
pub(crate) struct RotateArguments {
    /// Print one JSON object instead of the id
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) place: PlaceArguments,
}

#[derive(Args, Debug)]
pub(crate) struct UserAddArguments {
    /// Address of the account
    #[arg(long)]
    pub(crate) email: String,
    /// Read the password from stdin, up to the first line break
    #[arg(long, required = true)]
    pub(crate) password_stdin: bool,
    /// Make the account an admin
    #[arg(long)]
    pub(crate) admin: bool,
    /// Display name [default: the part of the address before the @]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Print one JSON object instead of the id
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) place: PlaceArguments,
}

#[derive(Args, Debug)]
pub(crate) struct TokenArguments {
    /// Address of the account
    #[arg(long)]
    pub(crate) email: String,
    /// Lifetime in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) ttl: u64,
    /// Origin of the hub [default: the one that serve recorded in the data directory]
    #[arg(long, value_name = "URL")]
    pub(crate) public_origin: Option<String>,
    /// Print one JSON object instead of the token
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) place: PlaceArguments,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn check_has_example(command: &clap::Command) {
        let help = command
            .get_after_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        assert!(
            help.contains("Example"),
            "`{}` has no example",
            command.get_name()
        );
        command
            .get_subcommands()
            .filter(|sub| sub.get_name() != "help")
            .for_each(check_has_example);
    }

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_help_text_has_an_example() {
        check_has_example(&Arguments::command());
    }
}
