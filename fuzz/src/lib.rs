//! What several fuzz targets need: cuts of an input, and a small world to ask.

pub mod compact;
pub mod partner;
pub mod server;

use clearway::domain::{Clock, Random, Timestamp};

/// The present of every target.
pub const NOW: i64 = 1_000_000;

/// A clock that stands still.
pub struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(NOW)
    }
}

/// Bytes that are not random, so that a finding repeats.
pub struct Sevens;

impl Random for Sevens {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(7);
    }
}

/// Lengths that `seed` cuts an input of `length` bytes at: growing, the last one being `length`.
pub fn cuts(seed: u8, length: usize) -> Vec<usize> {
    let mut state = u64::from(seed) | 0x5851_f42d_4c95_7f00;
    let mut ends = Vec::new();
    let mut end = 0;
    while end < length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let step = match seed % 4 {
            0 => 1,
            1 => 1 + (state >> 60) as usize,
            2 => 1 + (state >> 56) as usize,
            _ => length.div_ceil(2),
        };
        end = (end + step).min(length);
        ends.push(end);
    }
    ends
}

/// Texts of an input in which zero bytes stand between them.
pub fn texts(input: &str) -> impl Iterator<Item = &str> {
    input.split('\0')
}
