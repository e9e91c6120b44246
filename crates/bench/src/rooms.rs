//! The benchmark of rooms: what updates, sockets and histories cost, beside the servers that people use today.
//!
//! Every measurement runs on a freshly started server with an empty directory. The servers take turns, the whole is
//! repeated, and the table shows medians.

mod cold;
mod http;
mod idle;
mod measure;
mod plan;

use std::env;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use self::measure::measure;
pub(crate) use self::measure::{Cpu, Figures, milliseconds};
use self::plan::{Plan, Size};
use crate::hub::Users;
use crate::peers;
use crate::server::{Kind, Program};
use crate::table::{Compare, Table, print, tell};

/// Which programs, and where they work.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Site {
    /// The hub's program [default: `epicenter` beside this program]
    #[arg(long, env = "EPICENTER_BIN")]
    hub: Option<PathBuf>,
    /// Folder of the peers, as `cargo xtask bench` leaves it; those that are not there are left out
    #[arg(long, default_value = "target/peers")]
    peers: PathBuf,
    /// Only these servers, by name
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Folder for the servers' data; its disk is what is measured
    #[arg(long, default_value = "target")]
    directory: PathBuf,
}

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    site: Site,
    /// Plans by name; all without one
    plans: Vec<String>,
    /// Runs of each plan; medians are shown
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Length of each measurement
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// One short run of everything at a tenth of its size, to try the programs out
    #[arg(long)]
    quick: bool,
    /// More lines of TOML for the hub's configuration
    #[arg(long, default_value = "")]
    hub_settings: String,
    /// Prints the names of the plans and ends
    #[arg(long)]
    list: bool,
}

impl Site {
    /// The hub first, then the peers that are installed.
    pub(crate) fn programs(&self) -> anyhow::Result<Vec<Program>> {
        let hub = Program {
            kind: Kind::Hub,
            path: self.hub()?,
        };
        let mut programs = vec![hub];
        programs.extend(peers::installed(&self.peers));
        if !self.only.is_empty() {
            programs.retain(|program| self.only.iter().any(|name| name == program.kind.name()));
        }
        ensure!(!programs.is_empty(), "none of these servers is installed");
        Ok(programs)
    }

    pub(crate) fn hub(&self) -> anyhow::Result<PathBuf> {
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

    /// A folder for everything, which goes with the value.
    pub(crate) fn work_directory(&self) -> anyhow::Result<tempfile::TempDir> {
        std::fs::create_dir_all(&self.directory)?;
        Ok(tempfile::tempdir_in(&self.directory)?)
    }
}

/// Runs the plans and prints a table after each.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let size = if options.quick {
        Size::Tenth
    } else {
        Size::Whole
    };
    let plans = chosen(plan::all(size), &options.plans)?;
    if options.list {
        for plan in plans {
            print(&format!("{:16} {}", plan.name, plan.title))?;
        }
        return Ok(());
    }
    let (runs, seconds) = if options.quick {
        (1, options.seconds.min(3))
    } else {
        (options.runs, options.seconds)
    };
    ensure!(runs > 0 && seconds > 0, "every number must be at least 1");
    allow_open_files()?;
    let programs = options.site.programs()?;
    let directory = options.site.work_directory()?;
    for program in &programs {
        let Program { kind, .. } = program;
        print(&format!("{}: {}", kind.name(), kind.durability()))?;
    }
    let count = plans
        .iter()
        .map(Plan::users)
        .try_fold(1, |most, users| users.map(|users| most.max(users)))?;
    tell(&format!("making {count} users …"));
    let hub = options.site.hub()?;
    let users = Users::new(&hub, directory.path(), count, &options.hub_settings)?;
    let bench = Bench {
        users: Arc::new(users),
        directory: directory.path(),
        duration: Duration::from_secs(seconds),
    };
    let mut failures = Vec::new();
    for plan in &plans {
        let runs = if plan.is_repeated() { runs } else { 1 };
        failures.extend(bench.carry_out(plan, &programs, runs)?);
    }
    ensure!(failures.is_empty(), "failed:\n{}", failures.join("\n"));
    Ok(())
}

fn chosen(all: Vec<Plan>, names: &[String]) -> anyhow::Result<Vec<Plan>> {
    for name in names {
        if !all.iter().any(|plan| plan.name == name) {
            bail!("no plan is called {name}\nhint: --list shows those that there are");
        }
    }
    let is_chosen = |plan: &Plan| names.is_empty() || names.iter().any(|name| name == plan.name);
    Ok(all.into_iter().filter(is_chosen).collect())
}

/// What all plans share.
struct Bench<'a> {
    users: Arc<Users>,
    directory: &'a Path,
    duration: Duration,
}

impl Bench<'_> {
    /// Prints the table of one plan and returns what went wrong.
    fn carry_out(
        &self,
        plan: &Plan,
        programs: &[Program],
        runs: usize,
    ) -> anyhow::Result<Vec<String>> {
        let mut failures = Vec::new();
        let programs: Vec<_> = programs
            .iter()
            .filter(|program| plan.suits(program.kind))
            .collect();
        let mut all: Vec<Vec<Figures>> = vec![Vec::new(); programs.len()];
        for run in 1..=runs {
            for (program, outcomes) in programs.iter().zip(&mut all) {
                let name = program.kind.name();
                tell(&format!("{} {run}/{runs}: {name} …", plan.name));
                match self.measure(plan, program) {
                    Ok(figures) => outcomes.push(figures),
                    Err(error) => {
                        let failure = format!("{}, {name}: {error:#}", plan.name);
                        tell(&failure);
                        failures.push(failure);
                    }
                }
            }
        }
        let names = programs.iter().map(|program| program.kind.name()).collect();
        let mut table = Table::new(names, Compare::WithBest);
        table.heading(format!("{}: {}", plan.name, plan.title));
        for (label, decimals, values) in rows(&all) {
            table.row(label, decimals, values);
        }
        print(&table.render()).context("the table could not be printed")?;
        Ok(failures)
    }

    fn measure(&self, plan: &Plan, program: &Program) -> anyhow::Result<Figures> {
        let mut server = program.start(self.directory, &self.users)?;
        let figures = measure(plan, &mut server, self.duration)?;
        server.kill()?;
        Ok(figures)
    }
}

type Row = (&'static str, usize, Vec<Option<f64>>);

/// The medians of each figure, a column for each server.
fn rows(all: &[Vec<Figures>]) -> Vec<Row> {
    let Some(labels) = all.iter().flatten().next() else {
        return Vec::new();
    };
    let value = |figures: &Figures, label: &str| {
        let found = figures.iter().find(|(name, _)| *name == label);
        found.map(|(_, value)| *value)
    };
    let row = |label: &'static str| {
        let values: Vec<_> = all
            .iter()
            .map(|runs| median(runs.iter().filter_map(|run| value(run, label)).collect()))
            .collect();
        let largest = values.iter().flatten().copied().fold(0.0, f64::max);
        let decimals = if largest >= 1_000.0 { 0 } else { 3 };
        (label, decimals, values)
    };
    labels.iter().map(|(label, _)| row(label)).collect()
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// The servers inherit the limit, so that it holds at both ends.
pub(crate) fn allow_open_files() -> anyhow::Result<()> {
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
    fn medians_stand_beside_what_is_missing() {
        let all = [
            vec![vec![("a", 3.0)], vec![("a", 1.0)], vec![("a", 2.0)]],
            Vec::new(),
        ];
        assert_eq!(rows(&all), [("a", 3, vec![Some(2.0), None])]);
    }

    #[test]
    fn plans_are_chosen_by_name() {
        let names = |names: &[&str]| -> anyhow::Result<Vec<&str>> {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            let plans = chosen(plan::all(Size::Whole), &names)?;
            Ok(plans.iter().map(|plan| plan.name).collect())
        };
        assert_eq!(names(&["idle"]).expect("a plan"), ["idle"]);
        assert!(names(&["nothing"]).is_err());
        assert!(names(&[]).expect("plans").len() > 10);
    }
}
