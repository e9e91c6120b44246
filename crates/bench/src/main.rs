#![doc = include_str!("../README.md")]
//!
//! ## Inside
//!
//! This process drives the servers from one thread; a benchmark ends by itself, and the servers it started end with it.

mod algebra;
mod disk;
mod edits;
mod first;
mod http_client;
mod hub;
mod identity;
mod idle;
mod load;
mod percentile;
mod process;
mod server;
mod socket;
mod table;
mod y_sweet;

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
    /// Delivery rate, latency and memory of one hub, beside y-sweet where it is installed
    First(first::Options),
    /// Codes, refreshes and token checks of one hub, beside npm's oidc-provider where it is installed
    Identity(identity::Options),
    /// The update algebra beside Yjs, and beside yrs when built with `--features yrs`
    Update(algebra::Options),
}

fn main() -> ExitCode {
    let Arguments { benchmark } = Arguments::parse();
    // One thread: the generator takes one core at most, whatever the server needs of the others.
    let outcome = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| match benchmark {
            Benchmark::First(options) => runtime.block_on(first::run(&options)),
            Benchmark::Identity(options) => runtime.block_on(identity::run(&options)),
            Benchmark::Update(options) => algebra::run(&options),
        });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            table::complain(&error);
            ExitCode::FAILURE
        }
    }
}
