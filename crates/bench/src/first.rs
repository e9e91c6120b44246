//! The first benchmark: is the hub fast enough to build on, and where does it stand beside y-sweet?
//!
//! Each scenario runs against a freshly started server on an empty directory, one server after the other. The time of
//! an fdatasync in the same folder is measured before and after, because the hub answers to it and y-sweet, which shows an
//! update to others before it is on disk, does not.

use std::env;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::disk::DiskTimes;
use crate::hub;
use crate::idle::{self, Idle};
use crate::load::{self, Load, Pace};
use crate::server::Program;
use crate::table::{Table, print, tell};

/// What to measure, and with what.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The hub's program [default: `epicenter` beside this program]
    #[arg(long, env = "EPICENTER_BIN")]
    hub: Option<PathBuf>,
    /// The y-sweet program [default: `y-sweet` on the PATH, if there is one]
    #[arg(long)]
    y_sweet: Option<PathBuf>,
    /// Folder for the servers' data; its disk is what is measured
    #[arg(long, default_value = "target")]
    directory: PathBuf,
    /// Length of each measurement
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Readers in the room of one writer
    #[arg(long, default_value_t = 50)]
    readers: usize,
    /// Updates a second of each writer at a fixed rate
    #[arg(long, default_value_t = 100)]
    rate: u32,
    /// Updates of each writer under way at saturation
    #[arg(long, default_value_t = 256)]
    window: usize,
    /// Rooms of one writer and one reader each
    #[arg(long, default_value_t = 20)]
    rooms: usize,
    /// Idle sockets
    #[arg(long, default_value_t = 2_000)]
    idle: usize,
    /// Rooms that the idle sockets are spread over
    #[arg(long, default_value_t = 400)]
    idle_rooms: usize,
}

/// Runs everything and prints one table.
pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    options.check()?;
    allow_open_files()?;
    let hub = options.hub_program()?;
    let y_sweet = options.y_sweet_program();
    let mut programs = vec![Program::Hub(&hub)];
    match &y_sweet {
        Some(path) => programs.push(Program::YSweet(path)),
        None => print("y-sweet: not installed")?,
    }

    std::fs::create_dir_all(&options.directory)?;
    let directory = tempfile::tempdir_in(&options.directory)?;
    let mut table = Table::new(programs.iter().map(|program| program.name()).collect());
    for load in options.loads() {
        let mut outcomes = Vec::new();
        for program in &programs {
            tell(&format!("{}: {} …", program.name(), describe(&load)));
            let mut disk = DiskTimes::default();
            disk.sample(directory.path())?;
            let server = program
                .start(directory.path(), load.rooms, load.sockets())
                .await?;
            let outcome = load
                .drive(&server)
                .await
                .with_context(|| format!("{} with {}", describe(&load), program.name()))?;
            server.end().await?;
            disk.sample(directory.path())?;
            outcomes.push(LoadOutcome {
                load: outcome,
                fdatasync_median: disk.percentile(50),
                fdatasync_p99: disk.percentile(99),
            });
        }
        add_load(&mut table, &load, &outcomes);
    }
    let idle = Idle {
        sockets: options.idle,
        rooms: options.idle_rooms,
    };
    let mut outcomes = Vec::new();
    for program in &programs {
        tell(&format!(
            "{}: {} idle sockets …",
            program.name(),
            idle.sockets
        ));
        let server = program
            .start(directory.path(), idle.rooms, idle.sockets)
            .await?;
        outcomes.push(idle.measure(&server).await?);
        server.end().await?;
    }
    add_idle(&mut table, &idle, &outcomes);
    print(&table.render()).context("the table could not be printed")
}

impl Options {
    fn check(&self) -> anyhow::Result<()> {
        let sizes = [
            self.readers,
            self.window,
            self.rooms,
            self.idle,
            self.idle_rooms,
        ];
        ensure!(
            sizes.iter().all(|size| *size > 0) && self.seconds > 0 && self.rate > 0,
            "every number must be at least 1"
        );
        ensure!(
            self.readers < hub::SOCKETS_PER_USER,
            "--readers must be below {}",
            hub::SOCKETS_PER_USER
        );
        Ok(())
    }

    fn hub_program(&self) -> anyhow::Result<PathBuf> {
        let path = match &self.hub {
            Some(path) => path.clone(),
            None => env::current_exe()?.with_file_name("epicenter"),
        };
        ensure!(
            path.is_file(),
            "no hub at {}\nhint: run `cargo build --release -p epicenter-cli`, or give --hub",
            path.display()
        );
        Ok(path)
    }

    fn y_sweet_program(&self) -> Option<PathBuf> {
        self.y_sweet.clone().or_else(|| {
            env::split_paths(&env::var_os("PATH")?)
                .map(|directory| directory.join("y-sweet"))
                .find(|path| path.is_file())
        })
    }

    fn loads(&self) -> [Load; 4] {
        let duration = Duration::from_secs(self.seconds);
        let rate = Pace::Rate(self.rate);
        let saturated = Pace::Saturated {
            window: self.window,
        };
        [
            (1, self.readers, rate),
            (1, self.readers, saturated),
            (self.rooms, 1, rate),
            (self.rooms, 1, saturated),
        ]
        .map(|(rooms, readers, pace)| Load {
            rooms,
            readers,
            pace,
            duration,
        })
    }
}

fn describe(load: &Load) -> String {
    let pace = match load.pace {
        Pace::Rate(rate) => format!("{rate} updates/s a writer"),
        Pace::Saturated { window } => {
            format!("as fast as it goes, {window} updates under way a writer")
        }
    };
    let Load { rooms, readers, .. } = load;
    format!("rooms: {rooms}, each with writers: 1, readers: {readers}; {pace}")
}

/// A load and the disk it met.
struct LoadOutcome {
    load: load::Outcome,
    fdatasync_median: Duration,
    fdatasync_p99: Duration,
}

fn add_load(table: &mut Table, load: &Load, outcomes: &[LoadOutcome]) {
    table.heading(describe(load));
    let mut row = |label, decimals, figure: &dyn Fn(&LoadOutcome) -> f64| {
        let values = outcomes
            .iter()
            .map(|outcome| Some(figure(outcome)))
            .collect();
        table.row(label, decimals, values);
    };
    let per_second = |count: u64, time: Duration| count as f64 / time.as_secs_f64();
    row("updates/s", 0, &|outcome| {
        per_second(outcome.load.updates, outcome.load.elapsed)
    });
    row("deliveries/s", 0, &|outcome| {
        per_second(outcome.load.deliveries, outcome.load.elapsed)
    });
    row("deliveries per CPU second of the server", 0, &|outcome| {
        per_second(outcome.load.deliveries, outcome.load.server_cpu)
    });
    row("server, cores used", 2, &|outcome| {
        cores(outcome.load.server_cpu, outcome.load.elapsed)
    });
    row("load generator, cores used (one at most)", 2, &|outcome| {
        cores(outcome.load.generator_cpu, outcome.load.elapsed)
    });
    row("delivery p50, ms", 2, &|outcome| {
        milliseconds(outcome.load.median)
    });
    row("delivery p99, ms", 2, &|outcome| {
        milliseconds(outcome.load.p99)
    });
    row("4 KiB and fdatasync on this disk, p50, ms", 2, &|outcome| {
        milliseconds(outcome.fdatasync_median)
    });
    row("4 KiB and fdatasync on this disk, p99, ms", 2, &|outcome| {
        milliseconds(outcome.fdatasync_p99)
    });
}

fn add_idle(table: &mut Table, idle: &Idle, outcomes: &[idle::Outcome]) {
    table.heading(format!(
        "{} idle sockets over {} rooms",
        idle.sockets, idle.rooms
    ));
    let values = |figure: &dyn Fn(&idle::Outcome) -> f64| {
        outcomes
            .iter()
            .map(|outcome| Some(figure(outcome)))
            .collect()
    };
    table.row(
        "resident bytes per socket",
        0,
        values(&|outcome| outcome.bytes_per_socket as f64),
    );
    table.row(
        "CPU, percent of a core",
        2,
        values(&|outcome| outcome.cpu_percent),
    );
}

fn cores(cpu: Duration, elapsed: Duration) -> f64 {
    cpu.as_secs_f64() / elapsed.as_secs_f64()
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// The servers inherit the limit, so that it holds for the idle sockets at both ends.
fn allow_open_files() -> anyhow::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, raised).context("the limit of open files could not be raised")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenarios_are_the_four_that_the_table_has() {
        let options = <crate::Arguments as clap::Parser>::parse_from([
            "bench",
            "first",
            "--rooms",
            "3",
            "--readers",
            "7",
        ]);
        let crate::Benchmark::First(options) = options.benchmark else {
            panic!("another benchmark was parsed");
        };
        let shapes = options
            .loads()
            .map(|load| (load.rooms, load.readers, load.sockets()));
        assert_eq!(shapes, [(1, 7, 8), (1, 7, 8), (3, 1, 6), (3, 1, 6)]);
        assert!(options.check().is_ok());
        assert!(
            Options {
                readers: hub::SOCKETS_PER_USER,
                ..options
            }
            .check()
            .is_err()
        );
    }
}
