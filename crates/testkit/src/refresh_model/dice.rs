//! What chance decides in the model of refreshes.

use std::sync::atomic::{AtomicU64, Ordering};

use epicenter_server::ports::Random;

pub(super) use crate::dice::Dice;
use crate::dice::mix;

/// Until the next round: mostly less than a minute, so that minutes and their ends are met; sometimes hours.
pub(super) fn pause_ms(dice: &mut Dice) -> u64 {
    match dice.below(10) {
        0..=4 => dice.below(40_000),
        5..=7 => 20_000 + dice.below(60_000),
        8 => dice.below(3_600_000),
        _ => dice.below(20 * 3_600_000),
    }
}

/// Tokens, ids and nonces that never repeat within a run.
#[derive(Debug)]
pub(super) struct DrawnRandom(AtomicU64);

impl DrawnRandom {
    pub(super) fn new(seed: u64) -> Self {
        Self(AtomicU64::new(mix(seed)))
    }
}

impl Random for DrawnRandom {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let drawn = Dice::new(self.0.fetch_add(1, Ordering::Relaxed)).next();
            for (byte, drawn) in chunk.iter_mut().zip(drawn.to_le_bytes()) {
                *byte = drawn;
            }
        }
    }
}
