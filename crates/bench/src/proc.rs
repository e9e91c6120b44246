//! What `/proc` says about processes and the machine.

use std::time::Duration;

use anyhow::Context;

/// Memory of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    /// Resident, shared pages and all.
    pub(crate) resident: u64,
    /// Resident, each shared page divided by its users.
    pub(crate) proportional: u64,
}

impl Memory {
    pub(crate) fn of(process: u32) -> anyhow::Result<Self> {
        let rollup = std::fs::read_to_string(format!("/proc/{process}/smaps_rollup"))
            .context("the server has ended")?;
        let field = |name| bytes_in(&rollup, name).with_context(|| format!("no {name} in /proc"));
        Ok(Self {
            resident: field("Rss:")?,
            proportional: field("Pss:")?,
        })
    }
}

/// Memory that the kernel holds for everybody on this machine, both ends of loopback sockets included.
pub(crate) fn kernel_bytes() -> anyhow::Result<u64> {
    let memory = std::fs::read_to_string("/proc/meminfo")?;
    let slab = bytes_in(&memory, "SUnreclaim:").context("/proc/meminfo has no SUnreclaim")?;
    let sockets = std::fs::read_to_string("/proc/net/sockstat")?;
    let pages = socket_pages_in(&sockets).context("/proc/net/sockstat has no mem")?;
    Ok(slab + pages * rustix::param::page_size() as u64)
}

/// User and system time of this process.
pub(crate) fn own_cpu_time() -> anyhow::Result<Duration> {
    cpu_time_of("self")
}

/// How long the threads of a process, all together, were ready to run and had no processor. A server that hangs waits for
/// something else.
pub(crate) fn waited_for_processors(process: u32) -> anyhow::Result<Duration> {
    let mut waited = Duration::ZERO;
    for thread in std::fs::read_dir(format!("/proc/{process}/task")).context("it has ended")? {
        // A thread may end at any time.
        let Ok(statistics) = std::fs::read_to_string(thread?.path().join("schedstat")) else {
            continue;
        };
        waited += waited_in(&statistics).context("/proc has no waiting times")?;
    }
    Ok(waited)
}

/// Time on a processor, time waiting for one, and turns; in nanoseconds.
fn waited_in(schedstat: &str) -> Option<Duration> {
    let nanoseconds = schedstat.split_whitespace().nth(1)?.parse().ok()?;
    Some(Duration::from_nanos(nanoseconds))
}

pub(crate) fn cpu_time_of(process: &str) -> anyhow::Result<Duration> {
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

fn bytes_in(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

fn socket_pages_in(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("TCP:"))?;
    let mut words = line.split_whitespace().skip_while(|word| *word != "mem");
    words.nth(1)?.parse().ok()
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
    fn the_time_without_a_processor_is_the_second_number() {
        let waited = waited_in("84811913 2000000 23\n");
        assert_eq!(waited, Some(Duration::from_millis(2)));
        assert_eq!(waited_in("84811913"), None);
    }

    #[test]
    fn sizes_are_read_in_kibibytes() {
        let text = "Name:\tx\nRss:\t    2048 kB\nThreads:\t3\n";
        assert_eq!(bytes_in(text, "Rss:"), Some(2 << 20));
        assert_eq!(bytes_in(text, "Pss:"), None);
    }

    #[test]
    fn socket_memory_is_read_in_pages() {
        let text =
            "sockets: used 5\nTCP: inuse 4 orphan 0 tw 0 alloc 5 mem 17\nUDP: inuse 0 mem 3\n";
        assert_eq!(socket_pages_in(text), Some(17));
    }
}
