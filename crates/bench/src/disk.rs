//! The yardstick of every latency here: how long the disk takes to make a small append durable.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::percentile::percentile;

const APPENDS: usize = 200;
/// A page of the hub's write-ahead log.
const APPEND_BYTES: usize = 4096;

/// The median time of one `write` and `fdatasync` at the end of a growing file in this directory, the one that the
/// servers will use.
pub(crate) fn measure(directory: &Path) -> io::Result<Duration> {
    let path = directory.join("fdatasync");
    let mut file = File::create_new(&path)?;
    let page = [0xA5; APPEND_BYTES];
    let mut nanos = Vec::with_capacity(APPENDS);
    for _ in 0..APPENDS {
        let begin = Instant::now();
        file.write_all(&page)?;
        file.sync_data()?;
        nanos.push(u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }
    std::fs::remove_file(&path)?;
    Ok(Duration::from_nanos(percentile(&mut nanos, 50)))
}
