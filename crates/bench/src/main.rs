#![doc = include_str!("../README.md")]
//!
//! ## Inside
//!
//! This process drives the servers from one thread; a benchmark ends by itself, and the servers it started end with it.

mod ai;
mod algebra;
mod dialect;
mod disk;
mod edits;
mod fleet;
mod hostile;
mod http_client;
mod hub;
mod identity;
mod kill;
mod load;
mod peers;
mod percentile;
mod proc;
mod process;
mod random;
mod rooms;
mod server;
mod table;
mod websocket;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(about = "Benchmarks of the Epicenter hub")]
struct Arguments {
    #[command(subcommand)]
    benchmark: Benchmark,
}

#[derive(Debug, Subcommand)]
enum Benchmark {
    /// Updates, sockets and histories of one hub, beside the peers that are installed
    Rooms(rooms::Options),
    /// Whether an innocent room keeps its latency while hostile clients attack the hub
    Hostile(hostile::Options),
    /// Rounds of SIGKILL under load: whether anything that somebody had received is lost
    Kill(kill::Options),
    /// Codes, refreshes and token checks of one hub, beside npm's oidc-provider where it is installed
    Identity(identity::Options),
    /// The first word and a thousand answers at once of AI models, beside LiteLLM where it is installed
    Ai(ai::Options),
    /// The update algebra beside Yjs, and beside yrs when built with `--features yrs`
    Update(algebra::Options),
}

fn main() -> ExitCode {
    let Arguments { benchmark } = Arguments::parse();
    let outcome = match benchmark {
        Benchmark::Rooms(options) => rooms::run(&options),
        Benchmark::Hostile(options) => hostile::run(&options),
        Benchmark::Kill(options) => kill::run(&options),
        Benchmark::Identity(options) => block_on(identity::run(&options)),
        Benchmark::Ai(options) => ai::run(&options),
        Benchmark::Update(options) => algebra::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            table::complain(&error);
            ExitCode::FAILURE
        }
    }
}

/// On one thread: the generator takes one core at most, whatever the server needs of the others.
fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(work)
}
