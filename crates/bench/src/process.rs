//! A server under test: a child process, its first words, its processor time and its memory.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

const START_DEADLINE: Duration = Duration::from_secs(30);
const RUN_DEADLINE: Duration = Duration::from_secs(60);

/// A running server; killed when dropped.
#[derive(Debug)]
pub(crate) struct ServerProcess {
    child: Child,
    id: u32,
}

impl ServerProcess {
    /// Starts a program and waits for a line on stdout in which `find` finds what it is asked for.
    pub(crate) async fn start<T>(
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
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let stdout = child.stdout.take().context("stdout is piped")?;
        let mut lines = BufReader::new(stdout).lines();
        let found = timeout(START_DEADLINE, async {
            while let Some(line) = lines.next_line().await? {
                if let Some(found) = find(&line) {
                    return Ok(found);
                }
            }
            bail!(
                "it ended: {}",
                std::fs::read_to_string(&log_path).unwrap_or_default()
            );
        })
        .await
        .with_context(|| format!("{} did not start in time", program.display()))?
        .with_context(|| format!("{} did not start", program.display()))?;
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let id = child.id().context("the server has just ended")?;
        Ok((Self { child, id }, found))
    }

    /// User and system time of all its threads so far.
    pub(crate) fn cpu_time(&self) -> anyhow::Result<Duration> {
        cpu_time_of(&self.id.to_string())
    }

    /// Resident bytes.
    pub(crate) fn resident_bytes(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id))
            .context("the server has ended")?;
        resident_bytes_in(&status).context("/proc has no VmRSS")
    }

    /// Ends it and waits until it is gone.
    pub(crate) async fn end(mut self) -> anyhow::Result<()> {
        self.child.kill().await?;
        Ok(())
    }
}

/// User and system time of this process.
pub(crate) fn own_cpu_time() -> anyhow::Result<Duration> {
    cpu_time_of("self")
}

fn cpu_time_of(process: &str) -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))
        .with_context(|| format!("process {process} has ended"))?;
    let ticks = cpu_ticks_in(&stat).context("/proc has no processor times")?;
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Ok(Duration::from_millis(
        ticks.saturating_mul(1000) / per_second,
    ))
}

/// utime + stime, fields 14 and 15; the second field is a name that may hold spaces and parentheses.
fn cpu_ticks_in(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn resident_bytes_in(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// Runs a program to its end and returns its stdout; anything but success is an error with its stderr.
pub(crate) async fn run(program: &Path, arguments: &[&str], input: &str) -> anyhow::Result<String> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let mut stdin = child.stdin.take().context("stdin is piped")?;
    // A program that fails before it reads its input closes the pipe; its exit status tells.
    drop(stdin.write_all(input.as_bytes()).await);
    drop(stdin);
    let output = timeout(RUN_DEADLINE, child.wait_with_output())
        .await
        .with_context(|| format!("{} {arguments:?} did not end", program.display()))??;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_times_are_read_behind_any_name() {
        let stat = "812 (a) b (c) S 1 812 812 0 -1 4194304 1 2 3 4 250 31 9 9 20 0 5 0 100 1 1";
        assert_eq!(cpu_ticks_in(stat), Some(281));
        assert_eq!(cpu_ticks_in("812 (name) S 1"), None);
    }

    #[test]
    fn resident_size_is_read_in_kibibytes() {
        assert_eq!(
            resident_bytes_in("Name:\tx\nVmRSS:\t    2048 kB\nThreads:\t3\n"),
            Some(2 << 20)
        );
        assert_eq!(resident_bytes_in("Name:\tx\n"), None);
    }
}
