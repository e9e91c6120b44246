//! How fast the frames of one connection are read (`sync.md` 2): a bucket that holds what a second allows, kept as the one
//! moment at which it is full again.

use crate::command::Millis;

/// A second in the unit that the bucket is kept in.
const SECOND_US: u64 = 1_000_000;

/// The bucket of one connection. The rule is not the native host's own, so that a second one would read a socket as
/// slowly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    full_at_us: u64,
}

impl Pace {
    /// Counts a frame that was read; returns for how many milliseconds the socket is not to be read now. A limit of 0 is
    /// none. After a pause a connection may send what a second allows at once.
    pub fn frame_read(&mut self, max_per_second: u32, now: Millis) -> u64 {
        let Some(one_us) = SECOND_US.checked_div(u64::from(max_per_second)) else {
            return 0;
        };
        let now_us = now.0.saturating_mul(1_000);
        self.full_at_us = self.full_at_us.max(now_us).saturating_add(one_us.max(1));
        let allowed_us = now_us.saturating_add(SECOND_US);
        self.full_at_us.saturating_sub(allowed_us).div_ceil(1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_of_frames_is_free_and_the_rest_is_spread() {
        let mut pace = Pace::default();
        for _ in 0..10 {
            assert_eq!(pace.frame_read(10, Millis(1_000)), 0);
        }
        assert_eq!(pace.frame_read(10, Millis(1_000)), 100);
        assert_eq!(pace.frame_read(10, Millis(1_100)), 100);
        assert_eq!(pace.frame_read(10, Millis(1_150)), 150);
        // As long as it waits for as long as it is told, the rate holds.
        let mut now = Millis(1_300);
        for _ in 0..50 {
            now = now.plus(pace.frame_read(10, now));
        }
        assert_eq!(now, Millis(6_300));
        now = now.plus(60_000);
        for _ in 0..10 {
            assert_eq!(
                pace.frame_read(10, now),
                0,
                "no more is saved up than a second"
            );
        }
        assert!(pace.frame_read(10, now) > 0);
    }

    #[test]
    fn without_a_limit_nothing_waits() {
        let mut pace = Pace::default();
        for _ in 0..1_000 {
            assert_eq!(pace.frame_read(0, Millis(1)), 0);
        }
        assert_eq!(pace.frame_read(u32::MAX, Millis(u64::MAX)), 0);
    }
}
