//! The durability harness: a server under load is killed with SIGKILL at a random moment and started again, round after
//! round. After each start every room must open and hold what anybody but its writer had received before, in this round
//! or any earlier one.
//!
//! In some rounds all sockets are closed shortly before, so that the kill meets what a server does after the last close;
//! in some it comes again while rooms have just been opened.
//! `kill -9` keeps the page cache: this proves the order of writing and sending, not the sync.

mod witness;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use self::witness::{State, Witness};
use crate::edits::{Editor, Target};
use crate::fleet::Fleet;
use crate::hub::Users;
use crate::random::Random;
use crate::rooms::{Site, allow_open_files};
use crate::server::{Program, Seat, Server};
use crate::table::{print, tell};

/// Compactions as often as a busy room allows, so that kills meet them.
const SETTINGS: &str = "[rooms]\nidle = \"1s\"\ncompaction_after_close = \"0ms\"\n\
                        compaction_close_entries = 2\ncompaction_load_entries = 20\n\
                        compaction_busy_entries = 20\ncompaction_busy_bytes = \"1KiB\"\n";
const WRITERS: usize = 2;
const READERS: usize = 1;
/// Every so many rounds the sockets are closed before the kill.
const CLOSING_ROUNDS: usize = 4;
const MILLISECONDS: std::ops::Range<u64> = 200..900;
/// Between the last close and the kill.
const AFTER_CLOSE: std::ops::Range<u64> = 0..400;
/// Every so many rounds it is killed once more, soon after every room was opened.
const REOPENING_ROUNDS: usize = 3;
const AFTER_OPENING: std::ops::Range<u64> = 0..60;
/// Edits that are sent at once before the kill, so that it finds some on their way to the disk.
const LAST_BURST: std::ops::Range<u64> = 50..400;
/// Between this burst and the kill: a fast disk has all of it after some milliseconds.
const MICROSECONDS_AFTER: std::ops::Range<u64> = 0..2_000;
/// One in so many rounds must have found some on their way, or the kills prove nothing.
const ROUNDS_FOR_A_FLIGHT: usize = 5;
/// Where the machine lets the kill come late there are more rounds, up to so many times those that were asked for.
const AT_MOST_TIMES: usize = 4;
/// For what the server had sent to arrive after it is gone.
const SETTLE: Duration = Duration::from_secs(5);

/// How often, and against whom.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    site: Site,
    /// Rounds of each server
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    #[arg(long, default_value_t = 20)]
    rooms: usize,
    /// Updates a second in all
    #[arg(long, default_value_t = 1_000.0)]
    rate: f64,
    /// Repeats the moments of a run
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Lines of TOML for the hub's configuration instead of those that make it compact all the time
    #[arg(long)]
    hub_settings: Option<String>,
}

/// What one round showed.
#[derive(Clone, Copy, Debug, Default)]
struct Round {
    sent: u64,
    /// Sent, and seen by nobody but the writer.
    in_flight: u64,
    /// Seen by somebody else and not there afterwards.
    lost: u64,
    rooms_with_losses: usize,
    unreadable: usize,
}

/// Kills every server that is installed; a loss of the hub is an error.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    ensure!(
        options.rounds > 0 && options.rooms > 0 && options.rate > 0.0,
        "every number must be at least 1"
    );
    allow_open_files()?;
    let directory = options.site.work_directory()?;
    let settings = options.hub_settings.as_deref().unwrap_or(SETTINGS);
    let sockets = options.rooms * (WRITERS + READERS);
    let count = Users::needed(options.rooms, sockets)?;
    let users = Users::new(&options.site.hub()?, directory.path(), count, settings)?;
    let users = Arc::new(users);
    let mut problems = Vec::new();
    for program in options.site.programs()? {
        let name = program.kind.name();
        print(&format!("{name}: {}", program.kind.durability()))?;
        let rounds = kill_rounds(options, &program, &users, directory.path())
            .with_context(|| format!("{name} could not be judged"))?;
        let all = print_sum(name, &rounds)?;
        if program.kind.waits_for_the_disk() && (all.lost > 0 || all.unreadable > 0) {
            problems.push(format!("{name} lost what somebody had received"));
        }
        if program.kind.waits_for_the_disk() && !is_proof(&rounds, options.rounds) {
            problems.push(format!(
                "{name}: only {} rounds had updates in flight",
                with_flight(&rounds)
            ));
        }
    }
    ensure!(problems.is_empty(), "{}", problems.join("\n"));
    Ok(())
}

fn with_flight(rounds: &[Round]) -> usize {
    rounds.iter().filter(|round| round.in_flight > 0).count()
}

/// Whether enough of the rounds met updates on their way, measured by how many rounds were asked for.
fn is_proof(rounds: &[Round], asked_for: usize) -> bool {
    with_flight(rounds) * ROUNDS_FOR_A_FLIGHT >= asked_for
}

fn print_sum(name: &str, rounds: &[Round]) -> anyhow::Result<Round> {
    let mut all = Round::default();
    for round in rounds {
        all.sent += round.sent;
        all.in_flight += round.in_flight;
        all.lost += round.lost;
        all.rooms_with_losses += round.rooms_with_losses;
        all.unreadable += round.unreadable;
    }
    let with_losses = rounds.iter().filter(|round| round.lost > 0).count();
    print(&format!(
        "{name}: {} rounds, {} updates, {} in flight when killed; {} seen and lost, in {with_losses} rounds and {} rooms; {} rooms unreadable",
        rounds.len(),
        all.sent,
        all.in_flight,
        all.lost,
        all.rooms_with_losses,
        all.unreadable
    ))?;
    Ok(all)
}

fn kill_rounds(
    options: &Options,
    program: &Program,
    users: &Arc<Users>,
    directory: &std::path::Path,
) -> anyhow::Result<Vec<Round>> {
    let mut random = Random::new(options.seed);
    let mut server = program.start(directory, users)?;
    let mut witness = Witness::new(options.rooms, WRITERS);
    let mut rounds = Vec::new();
    for number in 0..options.rounds.saturating_mul(AT_MOST_TIMES) {
        let needs_more = program.kind.waits_for_the_disk() && !is_proof(&rounds, options.rounds);
        if number >= options.rounds && !needs_more {
            break;
        }
        let mut fleet = Fleet::new()?;
        witness.begin_round(number);
        let patience = Patience::begin(&server)?;
        let joined = join(&server, &mut fleet, options.rooms, &mut witness);
        joined.with_context(|| patience.over(&server))?;
        let time = Duration::from_millis(random.between(MILLISECONDS));
        let mut writing = Writing::new(options, number)?;
        writing.write(&mut fleet, &mut witness, time)?;
        if number % CLOSING_ROUNDS == CLOSING_ROUNDS - 1 {
            (0..fleet.len()).for_each(|client| fleet.hang_up(client));
            std::thread::sleep(Duration::from_millis(random.between(AFTER_CLOSE)));
        } else {
            for _ in 0..random.between(LAST_BURST) {
                writing.send_one(&mut fleet)?;
            }
            std::thread::sleep(Duration::from_micros(random.between(MICROSECONDS_AFTER)));
        }
        let sent = writing.sent;
        server.kill()?;
        let begin = Instant::now();
        while fleet.has_open() && begin.elapsed() < SETTLE {
            fleet.poll(Duration::from_millis(100), &mut witness)?;
        }
        let mut round = Round {
            sent,
            in_flight: sent.saturating_sub(witness.seen_in_round()),
            ..Round::default()
        };
        server.start_again()?;
        check(&server, &mut witness, &mut round)?;
        if number % REOPENING_ROUNDS == REOPENING_ROUNDS - 1 {
            std::thread::sleep(Duration::from_millis(random.between(AFTER_OPENING)));
            server.kill()?;
            server.start_again()?;
            check(&server, &mut witness, &mut round)?;
        }
        tell(&format!(
            "{} {:4}: {:4} ms, {sent} updates, {} in flight, {} lost, {} rooms unreadable",
            program.kind.name(),
            number + 1,
            time.as_millis(),
            round.in_flight,
            round.lost,
            round.unreadable
        ));
        rounds.push(round);
    }
    Ok(rounds)
}

/// Tells a server that hangs from one that was not let run.
struct Patience {
    begin: Instant,
    waited: Duration,
}

impl Patience {
    fn begin(server: &Server) -> anyhow::Result<Self> {
        Ok(Self {
            begin: Instant::now(),
            waited: server.process()?.waited_for_processors()?,
        })
    }

    /// What the server did meanwhile.
    fn over(&self, server: &Server) -> String {
        let waited = server
            .process()
            .and_then(|process| process.waited_for_processors());
        match waited {
            Ok(waited) => format!(
                "in {:.1} s its threads waited {:.1} s for a processor",
                self.begin.elapsed().as_secs_f64(),
                waited.saturating_sub(self.waited).as_secs_f64()
            ),
            Err(error) => format!("{error:#}"),
        }
    }
}

/// Client `n` sits in room `n % rooms`; the writers come first.
fn join(
    server: &Server,
    fleet: &mut Fleet,
    rooms: usize,
    witness: &mut Witness,
) -> anyhow::Result<()> {
    let entrance = |client: usize| {
        server.entrance(Seat {
            room: client % rooms,
            number: client / rooms,
        })
    };
    fleet.join_all((0..rooms).map(entrance), witness)?;
    let rest = rooms..rooms * (WRITERS + READERS);
    fleet.join_all(rest.map(entrance), witness)
}

/// The writers of one round; each is a client of its own to Yjs.
struct Writing {
    editors: Vec<Editor>,
    rate: f64,
    sent: u64,
}

impl Writing {
    fn new(options: &Options, round: usize) -> anyhow::Result<Self> {
        let writers = options.rooms * WRITERS;
        let mut editors = Vec::with_capacity(writers);
        for writer in 0..writers {
            let in_room = witness::writer_id(round, writer / options.rooms, WRITERS)?;
            let client = 1_000_000 + (round * writers + writer) as u64;
            editors.push(Editor::new(client, in_room, Target::Array));
        }
        Ok(Self {
            editors,
            rate: options.rate,
            sent: 0,
        })
    }

    /// Writes at the rate until `time` has passed.
    fn write(
        &mut self,
        fleet: &mut Fleet,
        witness: &mut Witness,
        time: Duration,
    ) -> anyhow::Result<()> {
        let begin = fleet.now();
        while fleet.now() < begin + time {
            let due = ((fleet.now() - begin).as_secs_f64() * self.rate) as u64;
            while self.sent < due {
                self.send_one(fleet)?;
            }
            fleet.poll(Duration::from_millis(1), witness)?;
        }
        Ok(())
    }

    /// The next edit, of the writer whose turn it is.
    fn send_one(&mut self, fleet: &mut Fleet) -> anyhow::Result<()> {
        let writer = self.sent as usize % self.editors.len();
        let encoding = fleet.encoding(writer).context("no such writer")?;
        let editor = self.editors.get_mut(writer).context("no such editor")?;
        let edit = editor.edit(fleet.now(), encoding);
        fleet.queue_update(writer, &edit);
        fleet.flush(writer)?;
        self.sent += 1;
        Ok(())
    }
}

/// Opens every room and compares it with what has been seen of it.
fn check(server: &Server, witness: &mut Witness, round: &mut Round) -> anyhow::Result<()> {
    for room in 0..witness.rooms() {
        match open(server, room) {
            Ok(state) => {
                let lost = witness.missing_in(room, &state);
                round.lost += lost;
                round.rooms_with_losses += usize::from(lost > 0);
                // What is gone is gone: it counts once.
                witness.settle(room, &state);
            }
            Err(error) => {
                tell(&format!("room {room}: {error:#}"));
                round.unreadable += 1;
            }
        }
    }
    Ok(())
}

fn open(server: &Server, room: usize) -> anyhow::Result<State> {
    let mut fleet = Fleet::new()?;
    let mut state = State::default();
    let number = WRITERS + READERS;
    let patience = Patience::begin(server)?;
    let joined = fleet.join_all([server.entrance(Seat { room, number })], &mut state);
    joined.with_context(|| patience.over(server))?;
    ensure!(state.is_whole, "it opened without a state");
    Ok(state)
}
