//! The host's clock: wall time at start plus monotonic time, so that it never runs backwards.
//!
//! A wall clock that is set back would otherwise re-open expired tokens and delay every timer of every room.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use epicenter_room::Millis;
use epicenter_server::ports::Clock;

/// Milliseconds since the Unix epoch, never decreasing while the process lives.
#[derive(Clone, Debug)]
pub(crate) struct HostClock(Arc<Start>);

#[derive(Debug)]
struct Start {
    wall_ms: u64,
    monotonic: Instant,
}

impl HostClock {
    /// Reads the wall clock once.
    pub(crate) fn start() -> Self {
        // A machine whose clock stands before 1970 has no meaningful time to offer; zero keeps the hub running.
        let wall_ms = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| {
                u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
            });
        Self(Arc::new(Start {
            wall_ms,
            monotonic: Instant::now(),
        }))
    }

    /// Now, as rooms count it.
    pub(crate) fn now(&self) -> Millis {
        let elapsed = u64::try_from(self.0.monotonic.elapsed().as_millis()).unwrap_or(u64::MAX);
        Millis(self.0.wall_ms.saturating_add(elapsed))
    }

    /// The moment of the monotonic clock at which `now` reaches `at`.
    pub(crate) fn instant_of(&self, at: Millis) -> tokio::time::Instant {
        let after_start = at.0.saturating_sub(self.0.wall_ms);
        // `now` cuts fractions off; one more millisecond makes sure that it has reached `at` by then.
        let wait = std::time::Duration::from_millis(after_start.saturating_add(1));
        self.0
            .monotonic
            .checked_add(wait)
            .unwrap_or(self.0.monotonic)
            .into()
    }
}

impl Clock for HostClock {
    fn now_ms(&self) -> u64 {
        self.now().0
    }
}
