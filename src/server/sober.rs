//! What time is it at least? A wall clock may be wrong for a while, and come back.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::domain::Timestamp;

/// So long a clock must have told the same story before it is believed.
const BELIEVED_AFTER: Duration = Duration::from_secs(3_600);
/// Readings that are kept, whatever the distance between them.
const READINGS_MAX: usize = 128;

/// Readings of the wall clock, each with the time that has passed since, by a clock that nobody sets. Whoever forgets
/// what cannot be had again (a revocation, a replay mark) asks here, so that a clock that jumps ahead forgets nothing
/// before it has been there for an hour.
#[derive(Debug, Default)]
pub(super) struct Sober {
    readings: VecDeque<(Instant, Timestamp)>,
}

/// What the readings agree on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sure {
    /// No reading makes it earlier than this now.
    pub at_least: Timestamp,
    /// They agree for long enough to forget something for good.
    pub for_good: bool,
}

impl Sober {
    /// Notes a reading and judges it with the others.
    pub fn read(&mut self, steady: Instant, wall: Timestamp) -> Sure {
        while self.readings.get(1).is_some_and(|(at, _)| steady.duration_since(*at) >= BELIEVED_AFTER)
            || self.readings.len() >= READINGS_MAX
        {
            self.readings.pop_front();
        }
        self.readings.push_back((steady, wall));
        let projected = self.readings.iter().map(|(at, said)| said.plus(steady.duration_since(*at)));
        let oldest = self.readings.front().map_or(Duration::ZERO, |(at, _)| steady.duration_since(*at));
        Sure { at_least: projected.min().unwrap_or(wall), for_good: oldest >= BELIEVED_AFTER }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_ahead_is_believed_after_an_hour_and_a_jump_back_at_once() {
        let (mut sober, start) = (Sober::default(), Instant::now());
        let mut read = |minute: u64, jump_secs: i64| {
            let passed = Duration::from_secs(60 * minute);
            let wall = Timestamp::from_secs(1_000_000 + jump_secs).plus(passed);
            let sure = sober.read(start + passed, wall);
            (sure.at_least.secs() - 1_000_000 - 60 * i64::try_from(minute).unwrap(), sure.for_good)
        };
        assert_eq!(read(0, 0), (0, false), "a start is no proof");
        for minute in 1..60 {
            assert_eq!(read(minute, 0), (0, false));
        }
        for minute in 60..130 {
            assert_eq!(read(minute, 0), (0, true));
        }
        for minute in 130..189 {
            assert_eq!(read(minute, 86_400), (0, true), "a day ahead, {minute}");
        }
        assert_eq!(read(189, 0), (0, true), "and back: nothing was believed");
        for minute in 190..250 {
            read(minute, 86_400);
        }
        assert_eq!(read(250, 86_400), (86_400, true), "ahead for good");
        assert_eq!(read(251, -86_400), (-86_400, true), "back: at once");
    }
}
