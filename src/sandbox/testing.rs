//! Doubles for this room's tests.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::domain::{Clock, Random, Timestamp};
use crate::sandbox::dice::Dice;

/// 2026-03-02T09:30:00Z, a Monday.
pub const NOW: Timestamp = Timestamp::from_secs(1_772_443_800);

/// Bytes that look random and are the same in each run.
pub struct FixedRandom(AtomicU64);

impl FixedRandom {
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }
}

impl Default for FixedRandom {
    fn default() -> Self {
        Self::new(1)
    }
}

impl Random for FixedRandom {
    fn fill(&self, bytes: &mut [u8]) {
        let mut dice = Dice::new(self.0.fetch_add(1, Ordering::Relaxed));
        for byte in bytes {
            *byte = u8::try_from(dice.below(256)).unwrap();
        }
    }
}

/// A clock that moves when it is told to.
pub struct HandClock(AtomicI64);

impl HandClock {
    pub fn new(now: Timestamp) -> Self {
        Self(AtomicI64::new(now.micros()))
    }

    pub fn advance(&self, span: std::time::Duration) {
        self.0.fetch_add(i64::try_from(span.as_micros()).unwrap(), Ordering::Relaxed);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::Relaxed))
    }
}
