//! Chance from a seed (splitmix64).

use std::sync::atomic::{AtomicU64, Ordering};

use epicenter_server::ports::Random;

const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// A sequence of numbers.
#[derive(Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mix(self.0) % limit
    }

    pub(super) fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    /// Until the next round: mostly less than a minute, so that minutes and their ends are met; sometimes hours.
    pub(super) fn pause_ms(&mut self) -> u64 {
        match self.below(10) {
            0..=4 => self.below(40_000),
            5..=7 => 20_000 + self.below(60_000),
            8 => self.below(3_600_000),
            _ => self.below(20 * 3_600_000),
        }
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
            let drawn = mix(self.0.fetch_add(STEP, Ordering::Relaxed)).to_le_bytes();
            for (byte, drawn) in chunk.iter_mut().zip(drawn) {
                *byte = drawn;
            }
        }
    }
}

fn mix(state: u64) -> u64 {
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}
