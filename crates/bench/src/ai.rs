//! The AI benchmark: what a hub adds to the first word of a model, and what a thousand answers at once cost, beside
//! LiteLLM's proxy and beside no proxy at all.

mod asking;
mod litellm;
mod upstream;

use std::env;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use futures_util::future::{join_all, try_join_all};

use self::asking::{Answered, Asker, Asks, Target};
use self::upstream::{Pace, Upstream};
use crate::hub::{self, Users};
use crate::percentile::percentile;
use crate::process::ServerProcess;
use crate::rooms::allow_open_files;
use crate::table::{Compare, Table, print, tell};

/// Between two looks at a server's memory.
const LOOK: Duration = Duration::from_millis(100);
/// Asked before anything is measured: connections, caches, lazily loaded code.
const WARM_UP: usize = 200;
/// One person asks for everybody.
const SETTINGS: &str = "[ai]\nmax_streams = 100000\n";

/// What to measure, and with what.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The hub's program [default: `epicenter` beside this program]
    #[arg(long, env = "EPICENTER_BIN")]
    hub: Option<PathBuf>,
    /// Folder of the peers, as `cargo xtask bench` leaves it; without LiteLLM in it the hub stands alone
    #[arg(long, default_value = "target/peers")]
    peers: PathBuf,
    /// Folder for the servers' data; its disk is what credits are reserved on
    #[arg(long, default_value = "target")]
    directory: PathBuf,
    /// Answers of one word, for the time to the first
    #[arg(long, default_value_t = 4_000)]
    count: usize,
    /// Clients that ask for them
    #[arg(long, default_value_t = 4)]
    clients: usize,
    /// Answers that stream at once
    #[arg(long, default_value_t = 1_000)]
    streams: usize,
    /// Words of each of them
    #[arg(long, default_value_t = 100)]
    words: usize,
    /// Milliseconds between two words
    #[arg(long, default_value_t = 100)]
    pause: u64,
    /// Seconds after which an answer that has not ended counts as none
    #[arg(long, default_value_t = 600)]
    patience: u64,
}

/// Whom is asked.
#[derive(Debug)]
enum Kind {
    Hub,
    /// With a group commit before and after each answer.
    HubWithCredits,
    Direct,
    LiteLlm(PathBuf),
}

/// The measurements of one.
#[derive(Default)]
struct Figures {
    /// In nanoseconds.
    first_words: Vec<u64>,
    delays: Vec<u64>,
    /// Of the answers at once, those that came whole, and how long all of them took.
    whole: usize,
    streams_took: Duration,
    idle_bytes: Option<u64>,
    peak_bytes: Option<u64>,
    cpu: Option<Duration>,
}

/// A server, or nothing between client and upstream.
struct Site {
    process: Option<ServerProcess>,
    target: Target,
}

/// Runs everything and prints one table.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    ensure!(
        options.clients > 0 && options.count >= options.clients && options.words > 0,
        "--count must be at least --clients, and --clients and --words at least 1"
    );
    allow_open_files()?;
    std::fs::create_dir_all(&options.directory)?;
    let directory = tempfile::tempdir_in(&options.directory)?;
    let hub = match &options.hub {
        Some(path) => path.clone(),
        None => env::current_exe()?.with_file_name("epicenter"),
    };
    ensure!(
        hub.is_file(),
        "no hub at {}\nhint: run `cargo build --release -p epicenter-cli`, or give --hub",
        hub.display()
    );
    let upstream = Upstream::start()?;
    let mut kinds = vec![Kind::Hub, Kind::HubWithCredits, Kind::Direct];
    let peer = options.peers.join("litellm/bin/litellm");
    if peer.is_file() {
        kinds.push(Kind::LiteLlm(peer.canonicalize()?));
    } else {
        tell("LiteLLM: not installed\nhint: `cargo xtask bench ai` installs it and runs this");
    }
    let mut all = Vec::new();
    for (number, kind) in kinds.iter().enumerate() {
        tell(&format!("{} …", kind.name()));
        let place = directory.path().join(number.to_string());
        std::fs::create_dir(&place)?;
        let site = kind.start(&hub, &place, upstream)?;
        let figures = crate::block_on(options.measure(&site, upstream));
        all.push(figures.with_context(|| kind.name())?);
        if let Some(process) = site.process {
            // A peer may ignore the signal while connections are open.
            process.kill()?;
        }
    }
    let names = kinds.iter().map(Kind::name).collect();
    print(&options.table(names, all).render()).context("the table could not be printed")
}

impl Kind {
    fn name(&self) -> &'static str {
        match self {
            Self::Hub => "hub",
            Self::HubWithCredits => "with credits",
            Self::Direct => "no proxy",
            Self::LiteLlm(_) => "LiteLLM",
        }
    }

    fn start(&self, hub: &Path, place: &Path, upstream: Upstream) -> anyhow::Result<Site> {
        let openai = |address| Target {
            address,
            path: "/v1/chat/completions",
            headers: "Authorization: Bearer sk-bench\r\n".to_owned(),
            asks: Asks::OpenAi,
        };
        match self {
            Self::Direct => Ok(Site {
                process: None,
                target: openai(upstream.address),
            }),
            Self::LiteLlm(program) => {
                let (process, address) = litellm::start(program, place, upstream.address)?;
                Ok(Site {
                    process: Some(process),
                    target: openai(address),
                })
            }
            Self::Hub => start_hub(hub, place, upstream.address, ""),
            Self::HubWithCredits => {
                start_hub(hub, place, upstream.address, "credits = 1000000000\n")
            }
        }
    }
}

fn start_hub(
    program: &Path,
    place: &Path,
    upstream: SocketAddr,
    more: &str,
) -> anyhow::Result<Site> {
    let provider = format!(
        "[[ai.providers]]\nname = \"bench\"\nbase_url = \"http://{upstream}/v1\"\n[[ai.models]]\nprovider = \"bench\"\nmodel = \"bench\"\ncredits = 1\n"
    );
    let users = Users::new(program, place, 1, &format!("{SETTINGS}{more}{provider}"))?;
    users.furnish(place)?;
    let (process, address) = hub::start(program, place)?;
    let target = Target {
        address,
        path: "/api/ai/chat",
        headers: format!("{}\r\n", users.of_room(0)?.authorization()),
        asks: Asks::Hub,
    };
    Ok(Site {
        process: Some(process),
        target,
    })
}

impl Options {
    async fn measure(&self, site: &Site, upstream: Upstream) -> anyhow::Result<Figures> {
        let one_word = Pace {
            words: 1,
            pause: Duration::ZERO,
        };
        self.ask_in_turn(site, upstream, one_word, WARM_UP).await?;
        let mut figures = Figures {
            first_words: self
                .ask_in_turn(site, upstream, one_word, self.count)
                .await?,
            ..Figures::default()
        };
        tell("  streams …");
        self.stream(site, upstream, &mut figures).await?;
        Ok(figures)
    }

    /// `count` answers by a few clients, each of which asks again when it was answered.
    async fn ask_in_turn(
        &self,
        site: &Site,
        upstream: Upstream,
        pace: Pace,
        count: usize,
    ) -> anyhow::Result<Vec<u64>> {
        let client = async || {
            let mut asker = Asker::open(&site.target, upstream).await?;
            let mut took = Vec::new();
            for _ in 0..count / self.clients {
                let answered = asker.ask(pace, self.patience()).await?;
                took.push(u64::try_from(answered.first_word.as_nanos())?);
            }
            anyhow::Ok(took)
        };
        let all = try_join_all((0..self.clients).map(|_| client())).await?;
        Ok(all.into_iter().flatten().collect())
    }

    /// All streams at once, while the server's memory is watched.
    async fn stream(
        &self,
        site: &Site,
        upstream: Upstream,
        figures: &mut Figures,
    ) -> anyhow::Result<()> {
        let pace = Pace {
            words: self.words,
            pause: Duration::from_millis(self.pause),
        };
        let resident = || -> anyhow::Result<Option<u64>> {
            let memory = site.process.as_ref().map(ServerProcess::memory);
            Ok(memory.transpose()?.map(|memory| memory.resident))
        };
        let cpu = || {
            site.process
                .as_ref()
                .map(ServerProcess::cpu_time)
                .transpose()
        };
        figures.idle_bytes = resident()?;
        let (cpu_before, began) = (cpu()?, Instant::now());
        let client = async || {
            let mut asker = Asker::open(&site.target, upstream).await?;
            asker.ask(pace, self.patience()).await
        };
        let mut streams = std::pin::pin!(join_all((0..self.streams).map(|_| client())));
        let outcomes: Vec<anyhow::Result<Answered>> = loop {
            tokio::select! {
                outcomes = &mut streams => break outcomes,
                () = tokio::time::sleep(LOOK) => {
                    figures.peak_bytes = figures.peak_bytes.max(resident()?);
                }
            }
        };
        figures.streams_took = began.elapsed();
        figures.cpu = cpu()?.zip(cpu_before).map(|(after, before)| after - before);
        let mut failure = None;
        for outcome in outcomes {
            match outcome {
                Ok(answered) => {
                    figures.whole += 1;
                    figures.delays.extend(answered.delays);
                }
                Err(error) => failure = Some(error),
            }
        }
        if let Some(error) = failure {
            // How many there were stands in the table.
            tell(&format!("  an answer failed: {error:#}"));
        }
        Ok(())
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(self.patience)
    }

    fn table(&self, names: Vec<&'static str>, mut all: Vec<Figures>) -> Table {
        let direct = names.iter().position(|name| *name == "no proxy");
        let mut table = Table::new(names, Compare::WithEach);
        let mut times = |percent| -> Vec<Option<f64>> {
            let of = |figures: &mut Figures| percentile(&mut figures.first_words, percent) as f64;
            all.iter_mut()
                .map(|figures| Some(of(figures) / 1e6))
                .collect()
        };
        let (median, p99) = (times(50), times(99));
        let beyond = |times: &[Option<f64>]| -> Vec<Option<f64>> {
            let base = direct.and_then(|index| times.get(index).copied().flatten());
            let over = |time: &Option<f64>| Some((*time)? - base?);
            let each = times.iter().enumerate();
            each.map(|(index, time)| over(time).filter(|_| Some(index) != direct))
                .collect()
        };
        table.heading(format!(
            "the first word, {} answers for {} clients",
            self.count, self.clients
        ));
        let (over_median, over_p99) = (beyond(&median), beyond(&p99));
        table.row("p50, ms", 2, median);
        table.row("p99, ms", 2, p99);
        table.row("p50 beyond no proxy, ms", 2, over_median);
        table.row("p99 beyond no proxy, ms", 2, over_p99);
        table.heading(format!(
            "{} answers at once, {} words each, one in {} ms",
            self.streams, self.words, self.pause
        ));
        let mut delays = |percent| -> Vec<Option<f64>> {
            let of = |figures: &mut Figures| percentile(&mut figures.delays, percent) as f64;
            all.iter_mut()
                .map(|figures| (figures.whole > 0).then(|| of(figures) / 1e6))
                .collect()
        };
        let (delay_median, delay_p99) = (delays(50), delays(99));
        let row = |value: fn(&Figures) -> Option<f64>| all.iter().map(value).collect();
        table.row("came whole", 0, row(|figures| Some(figures.whole as f64)));
        table.row("a word travels, p50, ms", 2, delay_median);
        table.row("a word travels, p99, ms", 2, delay_p99);
        let mebibytes = |bytes: Option<u64>| bytes.map(|bytes| bytes as f64 / f64::from(1 << 20));
        table.row(
            "all of them took, s",
            1,
            row(|figures| Some(figures.streams_took.as_secs_f64())),
        );
        table.row(
            "processor time, s",
            2,
            row(|figures| figures.cpu.map(|time| time.as_secs_f64())),
        );
        let resident = |value: fn(&Figures) -> Option<u64>| {
            all.iter()
                .map(|figures| mebibytes(value(figures)))
                .collect()
        };
        table.row(
            "memory before, MiB",
            1,
            resident(|figures| figures.idle_bytes),
        );
        table.row(
            "memory at most, MiB",
            1,
            resident(|figures| figures.peak_bytes),
        );
        table
    }
}
