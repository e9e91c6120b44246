//! A server under test: a child process, its first words, its end.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::proc;

const START_DEADLINE: Duration = Duration::from_secs(120);
const RUN_DEADLINE: Duration = Duration::from_secs(60);
/// A server may write back what it keeps.
const STOP_DEADLINE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(5);

/// A running server; killed when dropped.
#[derive(Debug)]
pub(crate) struct ServerProcess {
    child: Child,
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // Neither fails in a way that could be mended: it has ended, or it is not ours.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl ServerProcess {
    /// Starts a program and waits for a line on stdout in which `find` finds what it is asked for.
    pub(crate) fn start<T>(
        program: &Path,
        arguments: &[&str],
        directory: &Path,
        find: impl Fn(&str) -> Option<T>,
    ) -> anyhow::Result<(Self, T)> {
        // stderr goes to a file: a pipe that nobody reads would stop a talkative server.
        let log_path = directory.join("stderr.log");
        let log = std::fs::File::create(&log_path)?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let stdout = child.stdout.take().context("stdout is piped")?;
        let process = Self { child };
        let (to, from) = channel();
        // Ends with the server, whose stdout it reads so that the pipe never fills.
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                let Ok(line) = line else { return };
                // After the first words nobody listens.
                drop(to.send(line));
            }
        });
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match from.recv_timeout(left) {
                Ok(line) => {
                    if let Some(found) = find(&line) {
                        return Ok((process, found));
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    bail!("{} did not start in time", program.display())
                }
                Err(RecvTimeoutError::Disconnected) => bail!(
                    "{} did not start: {}",
                    program.display(),
                    std::fs::read_to_string(&log_path).unwrap_or_default()
                ),
            }
        }
    }

    /// User and system time of all its threads so far.
    pub(crate) fn cpu_time(&self) -> anyhow::Result<Duration> {
        proc::cpu_time_of(&self.child.id().to_string())
    }

    /// How long its threads were ready to run and had no processor.
    pub(crate) fn waited_for_processors(&self) -> anyhow::Result<Duration> {
        proc::waited_for_processors(self.child.id())
    }

    /// Its memory now.
    pub(crate) fn memory(&self) -> anyhow::Result<proc::Memory> {
        proc::Memory::of(self.child.id())
    }

    /// Kills it and waits until it is gone.
    pub(crate) fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to stop with SIGTERM and waits until it has.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        wait(&mut self.child, STOP_DEADLINE)
            .context("the server did not stop")
            .map(drop)
    }
}

fn wait(child: &mut Child, limit: Duration) -> anyhow::Result<std::process::ExitStatus> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            bail!("it was still running after {} s", limit.as_secs());
        }
        thread::sleep(POLL);
    }
}

/// Runs a program to its end and returns its stdout, a few lines; anything but success is an error with its stderr.
pub(crate) fn run(program: &Path, arguments: &[&str], input: &str) -> anyhow::Result<String> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let mut stdin = child.stdin.take().context("stdin is piped")?;
    // A program that fails before it reads its input closes the pipe; its exit status tells.
    drop(stdin.write_all(input.as_bytes()));
    drop(stdin);
    wait(&mut child, RUN_DEADLINE)
        .with_context(|| format!("{} {arguments:?}", program.display()))?;
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!(
            "{} {arguments:?} ended with {}: {}",
            program.display(),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8(output.stdout)?)
}
