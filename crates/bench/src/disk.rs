//! The yardstick of every latency here: how long the disk takes to make a small append durable.
//!
//! Disks are moody, so it is taken before and after each measurement that it is the yardstick of.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::percentile::percentile;

const APPENDS: usize = 200;
/// A page of the hub's write-ahead log.
const APPEND_BYTES: usize = 4096;

/// Times of one `write` and `fdatasync` at the end of a growing file.
#[derive(Debug, Default)]
pub(crate) struct DiskTimes(Vec<u64>);

impl DiskTimes {
    /// Takes some more of them in this directory, the one that the servers use.
    pub(crate) fn sample(&mut self, directory: &Path) -> io::Result<()> {
        let path = directory.join("fdatasync");
        let mut file = File::create_new(&path)?;
        let page = [0xA5; APPEND_BYTES];
        for _ in 0..APPENDS {
            let begin = Instant::now();
            file.write_all(&page)?;
            file.sync_data()?;
            let nanos = u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
            self.0.push(nanos);
        }
        std::fs::remove_file(&path)
    }

    pub(crate) fn percentile(&mut self, percent: usize) -> Duration {
        Duration::from_nanos(percentile(&mut self.0, percent))
    }
}
