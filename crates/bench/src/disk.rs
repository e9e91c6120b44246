//! The yardstick of every latency here: how long the disk takes to make a small append durable.
//!
//! Disks are moody, so it is taken before and after each measurement that it is the yardstick of.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::anyhow;

use crate::percentile::percentile;

const APPENDS: usize = 200;
/// A page of the hub's write-ahead log.
const APPEND_BYTES: usize = 4096;
/// Seldom enough to leave the disk to the server.
const WATCH_PAUSE: Duration = Duration::from_millis(50);

/// Times of one `write` and `fdatasync` at the end of a growing file.
#[derive(Debug, Default)]
pub(crate) struct DiskTimes(Vec<u64>);

impl DiskTimes {
    /// Takes some more of them in this directory, the one that the servers use.
    pub(crate) fn sample(&mut self, directory: &Path) -> io::Result<()> {
        let mut probe = Probe::new(directory, "fdatasync")?;
        for _ in 0..APPENDS {
            self.0.push(probe.append()?);
        }
        probe.remove()
    }

    pub(crate) fn percentile(&mut self, percent: usize) -> Duration {
        Duration::from_nanos(percentile(&mut self.0, percent))
    }
}

/// Takes the times now and then while something else happens, until it is ended.
#[derive(Debug)]
pub(crate) struct DiskWatch {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<DiskTimes>>,
}

impl DiskWatch {
    pub(crate) fn begin(directory: &Path) -> io::Result<Self> {
        let mut probe = Probe::new(directory, "fdatasync-beside")?;
        let is_over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&is_over);
        let thread = thread::spawn(move || {
            let mut times = DiskTimes::default();
            while !told.load(Ordering::Relaxed) {
                times.0.push(probe.append()?);
                thread::sleep(WATCH_PAUSE);
            }
            probe.remove()?;
            Ok(times)
        });
        Ok(Self { is_over, thread })
    }

    pub(crate) fn end(self) -> anyhow::Result<DiskTimes> {
        self.is_over.store(true, Ordering::Relaxed);
        let times = self
            .thread
            .join()
            .map_err(|_panic| anyhow!("the disk could not be watched"))?;
        Ok(times?)
    }
}

struct Probe {
    file: File,
    path: std::path::PathBuf,
}

impl Probe {
    fn new(directory: &Path, name: &str) -> io::Result<Self> {
        let path = directory.join(name);
        let file = File::create_new(&path)?;
        Ok(Self { file, path })
    }

    /// Nanoseconds of one append.
    fn append(&mut self) -> io::Result<u64> {
        let page = [0xA5; APPEND_BYTES];
        let begin = Instant::now();
        self.file.write_all(&page)?;
        self.file.sync_data()?;
        Ok(u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    fn remove(self) -> io::Result<()> {
        std::fs::remove_file(self.path)
    }
}
