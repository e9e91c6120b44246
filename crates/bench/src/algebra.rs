//! The update algebra beside Yjs and, where it is built in, yrs: the same inputs, the same machine, one run.
//!
//! `interop/update/bench.mjs` makes the inputs and measures Yjs on them. Every operation runs in a process of its own, so that
//! its high-water mark of memory is its own. The time is that of the processors, of the fastest run after the first tenth: the
//! clock of a machine that is shared steps now and then. What needs more than the limit is ended there and said to be so.

#[cfg(feature = "yrs")]
mod peer;

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use epicenter_update::{
    Collect, Limits, StateVector, Update, compact, diff, ingest, merge_bytes, to_v1, validate,
};
use rustix::process::{Resource, Rlimit, Signal, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use serde_json::Value;

use crate::table::{Compare, Table, print, tell};

/// An operation is repeated for so much time of the processors.
const REPEAT_FOR: Duration = Duration::from_secs(1);

/// Which part of the benchmark to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The largest log of edits: 10,000, 100,000 or 1,000,000
    #[arg(long, default_value_t = 100_000)]
    largest: usize,
    /// Seconds of the processors after which an operation is given up
    #[arg(long, default_value_t = 60)]
    limit: u64,
    /// Folder for the inputs
    #[arg(long, default_value = "target/bench-update")]
    directory: PathBuf,
    /// The script that makes the inputs and measures Yjs
    #[arg(long, default_value = "interop/update/bench.mjs")]
    peer: PathBuf,
    /// Measure one operation on one file in this process: OPERATION FILE
    #[arg(long, num_args = 2, hide = true)]
    measure: Option<Vec<String>>,
}

/// Prints one table: this crate, Yjs, and yrs where it is built in.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    if let Some([operation, file]) = options.measure.as_deref() {
        return measure(operation, Path::new(file), options.limit);
    }
    fs::create_dir_all(&options.directory)?;
    let load = load()?;
    tell("Yjs …");
    let yjs = Command::new("node")
        .arg(&options.peer)
        .arg(&options.directory)
        .arg(options.largest.to_string())
        .arg(options.limit.to_string())
        .stderr(Stdio::inherit())
        .output()
        .context("node cannot be started")?;
    ensure!(yjs.status.success(), "the script of Yjs failed");
    let yjs: Value = serde_json::from_slice(&yjs.stdout)?;
    compare(&yjs, options)?;
    let after = self::load()?;
    print(&format!(
        "load of the machine: {load} at the beginning, {after} at the end"
    ))?;
    Ok(())
}

/// `workloads` holds what Yjs took.
fn compare(workloads: &Value, options: &Options) -> anyhow::Result<()> {
    let mut columns = vec!["hub", "yjs"];
    if cfg!(feature = "yrs") {
        columns.push("yrs");
    }
    let mut table = Table::new(columns.clone(), Compare::WithEach);
    for (workload, operations) in workloads.as_object().into_iter().flatten() {
        let file = options.directory.join(workload);
        let inputs = read(&file)?;
        let bytes: usize = inputs.iter().map(Vec::len).sum();
        let count = inputs.len();
        table.heading(format!("{workload}: {count} updates, {bytes} bytes"));
        for (operation, of_yjs) in operations.as_object().into_iter().flatten() {
            tell(&format!("{workload} {operation} …"));
            let mut results = vec![measured(operation, &file, options)?, of_yjs.clone()];
            if cfg!(feature = "yrs") {
                // What another engine cannot do is no reason to show nothing of the others.
                let of_yrs = measured(&format!("yrs-{operation}"), &file, options);
                results.push(of_yrs.unwrap_or_else(|_| serde_json::json!({ "failed": true })));
            }
            let row = |field: &str, unit: f64| -> Vec<Option<f64>> {
                let figures = results.iter().map(|result| result[field].as_f64());
                figures
                    .map(|figure| figure.map(|value| value * unit))
                    .collect()
            };
            table.row(label_of(operation)?, 3, row("seconds", 1e6 / count as f64));
            table.row("  ns a byte", 2, row("seconds", 1e9 / bytes as f64));
            table.row("  memory / input", 2, row("memory", 1.0 / bytes as f64));
            for (column, result) in columns.iter().zip(&results) {
                if let Some(seconds) = result["limit"].as_u64() {
                    table.note(format!("  {column} not run: more than {seconds} s"));
                }
                if result["failed"] == true {
                    table.note(format!("  {column} failed"));
                }
            }
        }
    }
    print(&table.render())?;
    Ok(())
}

/// Processes that wanted to run in the last 1, 5 and 15 minutes, as Linux counts them.
fn load() -> anyhow::Result<String> {
    let load = fs::read_to_string("/proc/loadavg").context("the load is read on Linux only")?;
    let averages: Vec<_> = load.split_whitespace().take(3).collect();
    Ok(averages.join(" "))
}

fn label_of(operation: &str) -> anyhow::Result<&'static str> {
    Ok(match operation {
        "validate" => "validate, µs an update",
        "ingest" => "ingest, µs an update",
        "merge" => "merge, µs an update",
        "diff" => "diff, µs",
        "compact" => "compact, µs",
        "to_v1" => "to V1, µs",
        other => bail!("the script measured something unknown: {other}"),
    })
}

/// Runs one operation in a process of its own.
fn measured(operation: &str, file: &Path, options: &Options) -> anyhow::Result<Value> {
    let limit = options.limit.to_string();
    let output = Command::new(std::env::current_exe()?)
        .args(["update", "--limit", &limit, "--measure", operation])
        .arg(file)
        .stderr(Stdio::inherit())
        .output()?;
    if output.status.signal() == Some(Signal::XCPU.as_raw()) {
        return Ok(serde_json::json!({ "limit": options.limit }));
    }
    ensure!(
        output.status.success(),
        "{operation} on {} failed",
        file.display()
    );
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn measure(operation: &str, file: &Path, limit: u64) -> anyhow::Result<()> {
    setrlimit(
        Resource::Cpu,
        Rlimit {
            current: Some(limit),
            maximum: None,
        },
    )?;
    let inputs = read(file)?;
    let work: fn(&[Vec<u8>]) -> anyhow::Result<usize> = match operation {
        "validate" => run_validate,
        "ingest" => run_ingest,
        "merge" => run_merge,
        "diff" => run_diff,
        "compact" => run_compact,
        "to_v1" => run_to_v1,
        #[cfg(feature = "yrs")]
        other => peer::operation(other)?,
        #[cfg(not(feature = "yrs"))]
        other => bail!("unknown operation: {other}"),
    };
    let before = high_water()?;
    let begin = processor_time();
    let mut times = Vec::new();
    let mut memory = None;
    while times.is_empty() || processor_time() < begin + REPEAT_FOR {
        let start = processor_time();
        std::hint::black_box(work(&inputs)?);
        times.push(processor_time().saturating_sub(start));
        // Of one run: what the next ones leave behind is not the operation's.
        if memory.is_none() {
            memory = Some(high_water()?.saturating_sub(before));
        }
    }
    times.sort_unstable();
    let time = times.get(times.len() / 10).copied().unwrap_or_default();
    let result = serde_json::json!({ "seconds": time.as_secs_f64(), "memory": memory });
    print(&result.to_string())?;
    Ok(())
}

/// What this thread, which does all the work, has used of the processors. Unlike time on the wall, it says
/// little about what else the machine was doing. The clock of the process would step by whole ticks
/// where its time is limited.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    // Neither part is ever negative, and nanoseconds stay below a second.
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// The most bytes that were resident so far, as Linux counts them.
fn high_water() -> anyhow::Result<u64> {
    let status =
        fs::read_to_string("/proc/self/status").context("memory is measured on Linux only")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next());
    let kilobytes: u64 = kilobytes.context("no high-water mark")?.parse()?;
    Ok(kilobytes * 1024)
}

/// Each update stands behind its length, 32 bits little endian.
fn read(file: &Path) -> anyhow::Result<Vec<Vec<u8>>> {
    let bytes = fs::read(file).with_context(|| format!("{}", file.display()))?;
    let mut rest = bytes.as_slice();
    let mut updates = Vec::new();
    while let Some((length, behind)) = rest.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        let (update, behind) = behind.split_at_checked(length).context("a cut file")?;
        updates.push(update.to_vec());
        rest = behind;
    }
    Ok(updates)
}

fn run_validate(inputs: &[Vec<u8>]) -> anyhow::Result<usize> {
    for bytes in inputs {
        validate(bytes, &Limits::default())?;
    }
    Ok(inputs.len())
}

fn run_ingest(inputs: &[Vec<u8>]) -> anyhow::Result<usize> {
    let mut known = StateVector::default();
    for bytes in inputs {
        let split = ingest(&Update::parse(bytes, &Limits::default())?, &known);
        for (client, clock) in split.advanced.iter() {
            known.advance(client, clock);
        }
    }
    Ok(known.len())
}

fn run_merge(inputs: &[Vec<u8>]) -> anyhow::Result<usize> {
    Ok(merge_bytes(inputs, &Limits::default())?.len())
}

/// The only update of a file that holds a state.
fn state(inputs: &[Vec<u8>]) -> anyhow::Result<Update<'_>> {
    let bytes = inputs.first().context("no state")?;
    Ok(Update::parse(bytes, &Limits::default())?)
}

fn run_diff(inputs: &[Vec<u8>]) -> anyhow::Result<usize> {
    let update = state(inputs)?;
    let mut half = StateVector::default();
    for (client, clock) in update.state_vector().iter() {
        half.advance(client, clock / 2);
    }
    Ok(diff(&update, &half).len())
}

fn run_compact(inputs: &[Vec<u8>]) -> anyhow::Result<usize> {
    Ok(compact(&state(inputs)?, Collect::Deleted).len())
}

fn run_to_v1(inputs: &[Vec<u8>]) -> anyhow::Result<usize> {
    Ok(to_v1(&state(inputs)?)?.len())
}
