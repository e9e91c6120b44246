//! The identity benchmark: what codes, refreshes and token checks cost, beside npm's oidc-provider.
//!
//! Everything is on disk when it is answered: the hub syncs what it stores, and so does the peer with its database. The
//! peer without a disk stands in the last column, because that is how it is mostly measured.

mod run;
mod site;

use std::env;
use std::path::PathBuf;

use anyhow::{Context, ensure};

use self::run::{Outcome, Pace, drive};
use self::site::{Program, Site};
use crate::disk::DiskTimes;
use crate::table::{Compare, Table, print, tell};

/// What to measure, and with what.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The hub's program [default: `epicenter` beside this program]
    #[arg(long, env = "EPICENTER_BIN")]
    hub: Option<PathBuf>,
    /// Folder of the peer, as `cargo xtask bench` leaves it; without it the hub stands alone
    #[arg(long, default_value = "target/peers/oidc-provider")]
    peer: PathBuf,
    /// Folder for the servers' data; its disk is what is measured
    #[arg(long, default_value = "target")]
    directory: PathBuf,
    /// Connections of the load generator
    #[arg(long, default_value_t = 128)]
    connections: usize,
    /// Codes, refreshes and token checks of each measurement
    #[arg(long, default_value_t = 20_000)]
    count: usize,
    /// Requests a second where the rate is fixed; skipped for a server that cannot keep up
    #[arg(long, default_value_t = 3_000)]
    rate: u32,
}

/// The measurements of one server; none where it does not apply.
struct Figures {
    authorize: Outcome,
    redeem: Outcome,
    redeem_at_rate: Option<Outcome>,
    refresh: Outcome,
    refresh_at_rate: Option<Outcome>,
    checks: Option<Checks>,
    resident_bytes: u64,
    disk_median_ms: f64,
    disk_p99_ms: f64,
}

/// `GET /api/session` with tokens that were never seen, with seen ones, and a path that asks for nobody.
struct Checks {
    first: Outcome,
    again: Outcome,
    baseline: Outcome,
}

/// Runs everything and prints one table.
pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    ensure!(
        options.connections > 0 && options.count >= options.connections && options.rate > 0,
        "--count must be at least --connections, and both at least 1"
    );
    std::fs::create_dir_all(&options.directory)?;
    let directory = tempfile::tempdir_in(&options.directory)?;
    let programs = options.programs()?;
    let mut all = Vec::new();
    for program in &programs {
        tell(&format!("{} …", program.name()));
        let mut disk = DiskTimes::default();
        disk.sample(directory.path())?;
        let site = program.start(directory.path()).await?;
        let mut figures = options
            .measure(&site, matches!(program, Program::Hub(_)))
            .await
            .with_context(|| program.name())?;
        site.end().await?;
        disk.sample(directory.path())?;
        figures.disk_median_ms = disk.percentile(50).as_secs_f64() * 1e3;
        figures.disk_p99_ms = disk.percentile(99).as_secs_f64() * 1e3;
        all.push(figures);
    }
    let table = options.table(&programs, &all);
    print(&table.render()).context("the table could not be printed")
}

impl Options {
    fn programs(&self) -> anyhow::Result<Vec<Program>> {
        let hub = match &self.hub {
            Some(path) => path.clone(),
            None => env::current_exe()?.with_file_name("epicenter"),
        };
        ensure!(
            hub.is_file(),
            "no hub at {}\nhint: run `cargo build --release -p epicenter-cli`, or give --hub",
            hub.display()
        );
        let mut programs = vec![Program::Hub(hub)];
        if self.peer.join("node_modules").is_dir() {
            let folder = self.peer.canonicalize()?;
            programs.push(Program::OidcProvider(folder.clone(), "sqlite"));
            programs.push(Program::OidcProvider(folder, "memory"));
        } else {
            tell(
                "oidc-provider: not installed\nhint: `cargo xtask bench` installs it and runs this",
            );
        }
        Ok(programs)
    }

    async fn measure(&self, site: &Site, has_api: bool) -> anyhow::Result<Figures> {
        tell("  codes …");
        let (authorize, codes) = self.make_codes(site).await?;
        tell("  exchanges …");
        let (redeem, grants) = self.redeem(site, &codes, Pace::Saturated).await?;
        let redeem_at_rate = match self.keeps_up(&redeem) {
            true => {
                let (_, codes) = self.make_codes(site).await?;
                let pace = Pace::Rate(self.rate);
                Some(self.redeem(site, &codes, pace).await?.0)
            }
            false => None,
        };
        tell("  refreshes …");
        let mut seats = grants
            .into_iter()
            .take(self.connections)
            .collect::<Vec<_>>();
        let mut tokens = vec![String::new(); self.count];
        let refresh = self
            .refresh(site, &mut seats, &mut tokens, Pace::Saturated)
            .await?;
        let refresh_at_rate = match self.keeps_up(&refresh) {
            true => {
                let pace = Pace::Rate(self.rate);
                Some(self.refresh(site, &mut seats, &mut tokens, pace).await?)
            }
            false => None,
        };
        let checks = match has_api {
            true => {
                tell("  token checks …");
                Some(self.check(site, &tokens).await?)
            }
            false => None,
        };
        Ok(Figures {
            authorize,
            redeem,
            redeem_at_rate,
            refresh,
            refresh_at_rate,
            checks,
            resident_bytes: site.process.memory()?.resident,
            disk_median_ms: 0.0,
            disk_p99_ms: 0.0,
        })
    }

    /// A rate is measured where it leaves a tenth of the server idle.
    fn keeps_up(&self, saturated: &Outcome) -> bool {
        saturated.per_second > f64::from(self.rate) * 1.1
    }

    /// The codes come with the figures.
    async fn make_codes(&self, site: &Site) -> anyhow::Result<(Outcome, Vec<String>)> {
        let mut seats = vec![Vec::new(); self.connections];
        let outcome = drive(
            site,
            &mut seats,
            self.count,
            Pace::Saturated,
            async |connection, made, _| {
                made.push(site.code(connection).await?);
                Ok(())
            },
        )
        .await?;
        Ok((outcome, seats.into_iter().flatten().collect()))
    }

    /// The refresh tokens of the grants come with the figures.
    async fn redeem(
        &self,
        site: &Site,
        codes: &[String],
        pace: Pace,
    ) -> anyhow::Result<(Outcome, Vec<String>)> {
        let mut seats = vec![Vec::new(); self.connections];
        let outcome = drive(
            site,
            &mut seats,
            codes.len(),
            pace,
            async |connection, grants, ticket| {
                let code = codes.get(ticket).context("a code for each ticket")?;
                grants.push(site.redeem(connection, code).await?.refresh);
                Ok(())
            },
        )
        .await?;
        Ok((outcome, seats.into_iter().flatten().collect()))
    }

    /// Every seat holds a grant's refresh token, and always the newest one.
    async fn refresh(
        &self,
        site: &Site,
        seats: &mut [String],
        access_tokens: &mut Vec<String>,
        pace: Pace,
    ) -> anyhow::Result<Outcome> {
        access_tokens.clear();
        let collected = std::cell::RefCell::new(access_tokens);
        drive(
            site,
            seats,
            self.count,
            pace,
            async |connection, token, _| {
                let tokens = site.refresh(connection, token).await?;
                *token = tokens.refresh;
                collected.borrow_mut().push(tokens.access);
                Ok(())
            },
        )
        .await
    }

    async fn check(&self, site: &Site, tokens: &[String]) -> anyhow::Result<Checks> {
        // Fewer than half of what the hub remembers: it forgets by halves, and the second pass must meet them all.
        let tokens = tokens.get(..tokens.len().min(4_000)).unwrap_or(tokens);
        // One connection a core: more would only wait.
        let mut seats = [(), ()];
        let mut pass = async |path: &'static str, rounds: usize| {
            let count = tokens.len() * rounds;
            drive(
                site,
                &mut seats,
                count,
                Pace::Saturated,
                async |connection, (), ticket| {
                    let token = tokens.get(ticket % tokens.len()).context("a token")?;
                    let header = format!("Authorization: Bearer {token}");
                    let answer = connection.get(path, &header).await?;
                    ensure!(answer.status == 200, "GET {path}: {}", answer.text());
                    Ok(())
                },
            )
            .await
        };
        Ok(Checks {
            first: pass("/api/session", 1).await?,
            again: pass("/api/session", 8).await?,
            baseline: pass("/auth/ok", 8).await?,
        })
    }

    fn table(&self, programs: &[Program], all: &[Figures]) -> Table {
        let mut table = Table::new(
            programs.iter().map(Program::name).collect(),
            Compare::WithEach,
        );
        let Options {
            connections,
            count,
            rate,
            ..
        } = self;
        type Of = fn(&Figures) -> Option<Outcome>;
        let at_once = "as fast as it goes";
        let sections: [(String, Of); 5] = [
            (
                format!("codes at the authorization endpoint, {at_once}"),
                |figures| Some(figures.authorize),
            ),
            (format!("code exchanges, {at_once}"), |figures| {
                Some(figures.redeem)
            }),
            (format!("code exchanges, {rate} a second"), |figures| {
                figures.redeem_at_rate
            }),
            (format!("refreshes, {at_once}"), |figures| {
                Some(figures.refresh)
            }),
            (format!("refreshes, {rate} a second"), |figures| {
                figures.refresh_at_rate
            }),
        ];
        for (heading, of) in sections {
            table.heading(format!("{heading}; {count} over {connections} connections"));
            let mut row = |label, decimals, figure: fn(&Outcome) -> f64| {
                let values = all.iter().map(|figures| of(figures).as_ref().map(figure));
                table.row(label, decimals, values.collect());
            };
            row("per second", 0, |outcome| outcome.per_second);
            row("p50, ms", 2, |outcome| outcome.median_ms);
            row("p99, ms", 2, |outcome| outcome.p99_ms);
            row("CPU of the server each, µs", 0, |outcome| {
                outcome.server_cpu_us
            });
            row("server, cores used", 2, |outcome| outcome.server_cores);
            row("load generator, cores used", 2, |outcome| {
                outcome.generator_cores
            });
        }
        add_checks(&mut table, all);
        table.heading("the machine".to_owned());
        let mut row = |label, decimals, figure: fn(&Figures) -> f64| {
            let values = all.iter().map(|figures| Some(figure(figures)));
            table.row(label, decimals, values.collect());
        };
        row("resident MiB at the end", 0, |figures| {
            figures.resident_bytes as f64 / 1_048_576.0
        });
        row("4 KiB and fdatasync on this disk, p50, ms", 2, |figures| {
            figures.disk_median_ms
        });
        row("4 KiB and fdatasync on this disk, p99, ms", 2, |figures| {
            figures.disk_p99_ms
        });
        table
    }
}

fn add_checks(table: &mut Table, all: &[Figures]) {
    table.heading("GET /api/session: CPU of the server each, µs".to_owned());
    let mut row = |label, figure: fn(&Checks) -> f64| {
        let values = all
            .iter()
            .map(|figures| figures.checks.as_ref().map(figure));
        table.row(label, 1, values.collect());
    };
    row("with a token at first sight", |checks| {
        checks.first.server_cpu_us
    });
    row("with a token seen before", |checks| {
        checks.again.server_cpu_us
    });
    row("GET /auth/ok with the same header", |checks| {
        checks.baseline.server_cpu_us
    });
    row("verification at first sight, above seen", |checks| {
        checks.first.server_cpu_us - checks.again.server_cpu_us
    });
    row("seen before and the session, above nothing", |checks| {
        checks.again.server_cpu_us - checks.baseline.server_cpu_us
    });
}
