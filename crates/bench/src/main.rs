//! The load generator and the benchmarks of the hub.
//!
//! `first` measures the hub as it is shipped: a release binary of its own process on its own data directory, driven
//! over loopback sockets by this process, beside y-sweet where that is installed. A benchmark ends by itself, and the
//! servers it started end with it.

mod disk;
mod edits;
mod first;
mod http_client;
mod hub;
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
        });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            table::complain(&error);
            ExitCode::FAILURE
        }
    }
}
