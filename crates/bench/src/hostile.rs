//! Hostile clients: whether a room whose people do nothing wrong keeps its latency while others try to spoil it.
//!
//! The innocent room is measured first alone and then during each attack. The attackers are other users of the same hub
//! and run on a thread of their own with the lowest priority but one, at rates that are bounded: two cores must do for
//! the hub, its victims and its enemies.

mod attacks;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{anyhow, bail, ensure};

use self::attacks::{Attack, Ground};
use crate::disk::DiskWatch;
use crate::edits::Target;
use crate::hub::Users;
use crate::load::{Load, Outcome, Pace, Shape};
use crate::percentile::percentile;
use crate::rooms::{Cpu, Figures, Site, allow_open_files, milliseconds};
use crate::server::{Kind, Program, Server};
use crate::table::{Compare, Table, print, tell};

/// The innocent room.
const SHAPE: Shape = Shape {
    rooms: 1,
    writers: 1,
    readers: 10,
};
const RATE: f64 = 50.0;
const WARM_UP: usize = 200;
const WINDOW: usize = 64;
/// The first owns the innocent room.
const USERS: usize = 9;

/// Which attacks, and for how long.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    site: Site,
    /// Attacks by name; all without one
    attacks: Vec<String>,
    /// Length of each measurement
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// More lines of TOML for the hub's configuration
    #[arg(long, default_value = "")]
    hub_settings: String,
}

/// Carries out the attacks one after the other, each on a new hub.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    ensure!(options.seconds > 0, "--seconds must be at least 1");
    let all = attacks::all();
    for name in &options.attacks {
        if !all.iter().any(|attack| attack.name == name) {
            let names: Vec<_> = all.iter().map(|attack| attack.name).collect();
            bail!(
                "no attack is called {name}\nhint: there are {}",
                names.join(", ")
            );
        }
    }
    allow_open_files()?;
    let hub = Program {
        kind: Kind::Hub,
        path: options.site.hub()?,
    };
    let directory = options.site.work_directory()?;
    let users = Users::new(&hub.path, directory.path(), USERS, &options.hub_settings)?;
    let users = Arc::new(users);
    let duration = Duration::from_secs(options.seconds);
    let mut failures = Vec::new();
    for attack in all {
        if !options.attacks.is_empty() && !options.attacks.iter().any(|name| name == attack.name) {
            continue;
        }
        tell(&format!("{} …", attack.name));
        let mut server = hub.start(directory.path(), &users)?;
        if let Err(error) = suffer(&server, &attack, duration) {
            let failure = format!("{}: {error:#}", attack.name);
            tell(&failure);
            failures.push(failure);
        }
        server.kill()?;
    }
    ensure!(failures.is_empty(), "failed:\n{}", failures.join("\n"));
    Ok(())
}

/// Measures the innocent room before and during one attack and prints what came of it.
fn suffer(server: &Server, attack: &Attack, duration: Duration) -> anyhow::Result<()> {
    let mut load = Load::open(server, SHAPE, 0, Target::Array)?;
    load.warm_up(WARM_UP)?;
    let before = measure(server, &mut load, duration)?;
    let is_over = AtomicBool::new(false);
    let ground = Ground {
        server,
        users: USERS,
        duration,
        is_over: &is_over,
    };
    let (during, deeds) = thread::scope(|scope| {
        let attackers = scope.spawn(|| {
            give_way()?;
            (attack.carry_out)(&ground)
        });
        // What is already open when the measurement begins is part of the attack.
        thread::sleep(Duration::from_millis(200));
        let during = measure(server, &mut load, duration);
        is_over.store(true, Ordering::Relaxed);
        let deeds = attackers
            .join()
            .map_err(|_panic| anyhow!("the attackers failed"))??;
        anyhow::Ok((during?, deeds))
    })?;
    let mut table = Table::new(vec!["during", "before"], Compare::WithEach);
    table.heading(format!("{}: {}", attack.name, attack.title));
    for ((label, during), (_, before)) in during.into_iter().zip(before) {
        table.row(label, 3, vec![Some(during), Some(before)]);
    }
    print(&table.render())?;
    let deeds: Vec<_> = deeds
        .iter()
        .map(|(what, count)| format!("{what}: {count}"))
        .collect();
    print(&format!("  attackers: {}\n", deeds.join(", ")))?;
    Ok(())
}

fn measure(server: &Server, load: &mut Load, duration: Duration) -> anyhow::Result<Figures> {
    let disk = DiskWatch::begin(server.directory.path())?;
    let cpu = Cpu::begin(server)?;
    let outcome = load.run(Pace::Rate(RATE), WINDOW, duration);
    let cpu = cpu.end(server)?;
    let mut disk = disk.end()?;
    let Outcome { mut latencies, .. } = outcome?;
    let mut latency = |percent| percentile(&mut latencies, percent) as f64 / 1e6;
    Ok(vec![
        ("delivery p50 of the innocent room, ms", latency(50)),
        ("delivery p99 of the innocent room, ms", latency(99)),
        ("slowest delivery, ms", latency(100)),
        (
            "fdatasync beside it, p50, ms",
            milliseconds(disk.percentile(50)),
        ),
        (
            "fdatasync beside it, p99, ms",
            milliseconds(disk.percentile(99)),
        ),
        ("hub, cores used", cpu.server / cpu.elapsed),
        (
            "hub, resident, MiB",
            server.process()?.memory()?.resident as f64 / 1_048_576.0,
        ),
    ])
}

/// Lets everybody else on this machine go first.
fn give_way() -> anyhow::Result<()> {
    let thread = rustix::thread::gettid();
    rustix::process::setpriority_process(Some(thread), 18)?;
    Ok(())
}
