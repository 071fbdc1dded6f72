//! Wall-clock time that never runs backwards far, for rates.

use std::sync::atomic::{AtomicI64, Ordering};

use crate::domain::Timestamp;

/// A step back of at most this much is borne: buckets refill that much later.
const STEP_BACK_MICROS: i64 = 1_000_000;

/// The newest reading is noted this often, so that callers rarely write to the line that all of them read.
const NOTED_EVERY_MICROS: i64 = 100_000;

/// When an operator or NTP sets the clock back, GCRA would refuse everybody until it has caught up. This reading goes
/// on from where it was instead.
#[derive(Default)]
pub(super) struct Steady {
    newest: AtomicI64,
    offset: AtomicI64,
}

impl Steady {
    /// Nanoseconds since the epoch, plus whatever the clock was set back since the start.
    pub fn read(&self, now: Timestamp) -> u64 {
        let now = now.micros();
        let newest = self.newest.load(Ordering::Relaxed);
        if now > newest.saturating_add(NOTED_EVERY_MICROS) {
            self.newest.fetch_max(now, Ordering::Relaxed);
        } else if now < newest.saturating_sub(STEP_BACK_MICROS) {
            let step = self.newest.compare_exchange(newest, now, Ordering::Relaxed, Ordering::Relaxed);
            if step.is_ok() {
                self.offset.fetch_add(newest - now, Ordering::Relaxed);
            }
        }
        let micros = now.saturating_add(self.offset.load(Ordering::Relaxed));
        u64::try_from(micros).unwrap_or(0).saturating_mul(1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_set_back_does_not_turn_time_back() {
        let steady = Steady::default();
        let read = |secs| steady.read(Timestamp::from_secs(secs)) / 1_000_000_000;
        assert_eq!(read(10_000), 10_000);
        assert_eq!(read(10_005), 10_005);
        assert_eq!(read(6_405), 10_005, "an hour back: goes on");
        assert_eq!(read(6_406), 10_006);
        assert_eq!(read(20_000), 23_600, "forward again: nobody is hurt");
    }
}
