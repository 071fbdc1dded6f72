//! GCRA: so many requests per period on average, so many at once.
//!
//! `governor` decides. Its key here *is* the state (one shared atomic per partner), so no map stands between the two,
//! and a limiter is nothing but its parameters, made on the stack for the moment of the decision.

use std::cell::Cell;
use std::hash::{Hash, Hasher};
use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::{Quota, RateLimiter};

/// Longest time in which a burst may refill: 366 days.
const REFILL_MAX: Duration = Duration::from_secs(366 * 86_400);

/// When the bucket of one partner is full again: the theoretical arrival time, in nanoseconds of [`super::steady`].
/// Zero is a bucket that was never used.
#[derive(Clone, Default)]
pub(super) struct Bucket(Arc<AtomicU64>);

impl Bucket {
    /// Nobody but the meter holds it, and it is full: forgetting it changes nothing.
    pub fn is_idle(&self, now: u64) -> bool {
        Arc::strong_count(&self.0) == 1 && self.0.load(Ordering::Acquire) <= now
    }
}

// A key is the same key if it is the same bucket.
impl PartialEq for Bucket {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Bucket {}

impl Hash for Bucket {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

/// Finds the state in the key itself.
struct InTheKey;

impl StateStore for InTheKey {
    type Key = Bucket;

    fn measure_and_replace<T, F, E>(&self, bucket: &Bucket, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut seen = bucket.0.load(Ordering::Acquire);
        loop {
            let (outcome, next) = decide(NonZeroU64::new(seen).map(|tat| tat.get().into()))?;
            match bucket.0.compare_exchange_weak(seen, next.as_u64(), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok(outcome),
                Err(newer) => seen = newer,
            }
        }
    }
}

/// A clock that stands still. A limiter measures arrival times from the reading it takes when it is made; the first
/// reading is zero, so that ours count from the epoch and outlive the limiter.
struct Moment {
    now: u64,
    asked: Cell<bool>,
}

impl Clock for Moment {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::new(if self.asked.replace(true) { self.now } else { 0 })
    }
}

/// The parameters of one rate.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    quota: Quota,
    /// One request's worth of time, in nanoseconds.
    interval: u64,
    /// The whole bucket, in nanoseconds. Invariant: `interval * burst`, at most `REFILL_MAX`.
    capacity: u64,
}

/// A request that was taken from a bucket at this moment.
pub(super) struct TakenAt(u64);

/// Where a bucket stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Level {
    pub remaining: u64,
    /// Until one more request is there; `None` if the bucket is full.
    pub next_in: Option<Duration>,
    /// Until the bucket is full; zero if it is.
    pub full_in: Duration,
}

impl Rate {
    /// `None` if the figures are out of range.
    pub fn new(requests: NonZeroU32, per: Duration, burst: NonZeroU32) -> Option<Self> {
        // Rounded up: never more than was promised.
        let interval = u64::try_from(per.as_nanos().div_ceil(u128::from(requests.get()))).ok()?;
        let capacity = interval.checked_mul(u64::from(burst.get()))?;
        if u128::from(capacity) > REFILL_MAX.as_nanos() || per > REFILL_MAX {
            return None;
        }
        let quota = Quota::with_period(Duration::from_nanos(interval))?.allow_burst(burst);
        Some(Self { quota, interval, capacity })
    }

    /// In how much time an empty bucket is full.
    pub const fn refill(&self) -> Duration {
        Duration::from_nanos(self.capacity)
    }

    pub fn burst(&self) -> u64 {
        u64::from(self.quota.burst_size().get())
    }

    /// Takes one request, or `None` if there is none.
    pub fn take(&self, bucket: &Bucket, now: u64) -> Option<TakenAt> {
        let moment = Moment { now, asked: Cell::new(false) };
        let limiter = RateLimiter::<_, _, _, NoOpMiddleware<Nanos>>::new(self.quota, InTheKey, moment);
        limiter.check_key(bucket).ok().map(|()| TakenAt(now))
    }

    /// Gives a request back. Whoever took one in between found the bucket no emptier than it would have been at that
    /// later moment, so what passed since is kept: too little is given back, never too much.
    pub fn give_back(&self, bucket: &Bucket, taken: &TakenAt, now: u64) {
        let refund = self.interval.saturating_sub(now.saturating_sub(taken.0));
        // Invariant: the arrival time is at least `taken.0 + interval`, so this cannot wrap.
        bucket.0.fetch_sub(refund, Ordering::AcqRel);
    }

    pub fn level(&self, bucket: &Bucket, now: u64) -> Level {
        let full_at = bucket.0.load(Ordering::Acquire);
        let missing = full_at.saturating_sub(now).min(self.capacity);
        let present = self.capacity - missing;
        let remaining = present / self.interval;
        let next_in = (missing > 0).then(|| {
            // A clock that was set back may put the arrival time beyond the bucket; the wait is then the longer one.
            let beyond = full_at.saturating_sub(now).saturating_sub(self.capacity);
            Duration::from_nanos(self.interval - present % self.interval + beyond)
        });
        Level { remaining, next_in, full_in: Duration::from_nanos(missing) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;
    const NOW: u64 = 1_800_000_000 * SECOND;

    fn rate(requests: u32, per: Duration, burst: u32) -> Rate {
        Rate::new(NonZeroU32::new(requests).unwrap(), per, NonZeroU32::new(burst).unwrap()).unwrap()
    }

    #[test]
    fn a_burst_then_one_per_interval() {
        let rate = rate(60, Duration::from_secs(60), 3);
        let bucket = Bucket::default();
        assert_eq!(rate.level(&bucket, NOW).next_in, None);
        for left in [2, 1, 0] {
            assert!(rate.take(&bucket, NOW).is_some());
            assert_eq!(rate.level(&bucket, NOW).remaining, left);
        }
        assert!(rate.take(&bucket, NOW).is_none());
        assert_eq!(rate.level(&bucket, NOW).next_in, Some(Duration::from_secs(1)));
        assert!(rate.take(&bucket, NOW + SECOND - 1).is_none(), "one nanosecond early");
        assert!(rate.take(&bucket, NOW + SECOND).is_some());
        assert_eq!(
            rate.level(&bucket, NOW + 4 * SECOND),
            Level { remaining: 3, next_in: None, full_in: Duration::ZERO }
        );
    }

    #[test]
    fn rates_out_of_range_are_refused() {
        let one = NonZeroU32::MIN;
        let day = Duration::from_secs(86_400);
        for (name, requests, per, burst) in [
            ("no period", one, Duration::ZERO, one),
            ("a period of ages", one, 400 * day, one),
            ("a burst that takes ages to refill", one, day, NonZeroU32::new(367).unwrap()),
            ("overflow", one, 300 * day, NonZeroU32::MAX),
        ] {
            assert!(Rate::new(requests, per, burst).is_none(), "{name}");
        }
    }

    #[test]
    fn what_is_given_back_can_be_taken_again_but_not_twice() {
        let rate = rate(10, Duration::from_secs(10), 2);
        let bucket = Bucket::default();
        let first = rate.take(&bucket, NOW).unwrap();
        assert!(rate.take(&bucket, NOW).is_some());
        rate.give_back(&bucket, &first, NOW);
        assert!(rate.take(&bucket, NOW).is_some());
        assert!(rate.take(&bucket, NOW).is_none());
    }

    #[test]
    fn giving_back_late_gives_back_less() {
        let rate = rate(10, Duration::from_secs(10), 1);
        let bucket = Bucket::default();
        let taken = rate.take(&bucket, NOW).unwrap();
        let later = NOW + 2 * SECOND;
        assert!(rate.take(&bucket, later).is_some(), "refilled meanwhile");
        rate.give_back(&bucket, &taken, later);
        assert!(rate.take(&bucket, later).is_none(), "the refund has lapsed: the second may not be had twice");
    }

    proptest! {
        /// Over any span the number let through is at most the burst and what refilled meanwhile.
        #[test]
        fn never_more_than_the_rate(
            requests in 1_u32..50, burst in 1_u32..20,
            steps in proptest::collection::vec((0_u64..SECOND, any::<bool>()), 1..200),
        ) {
            let rate = rate(requests, Duration::from_secs(1), burst);
            let bucket = Bucket::default();
            let (mut now, mut kept) = (NOW, 0_u64);
            for (wait, give_back) in steps {
                now += wait / 4;
                let before = rate.level(&bucket, now).remaining;
                if let Some(taken) = rate.take(&bucket, now) {
                    prop_assert_eq!(rate.level(&bucket, now).remaining, before - 1);
                    if give_back {
                        rate.give_back(&bucket, &taken, now);
                        prop_assert_eq!(rate.level(&bucket, now).remaining, before);
                    } else {
                        kept += 1;
                    }
                } else {
                    prop_assert_eq!(before, 0);
                }
                let refilled = (now - NOW) / rate.interval;
                prop_assert!(kept <= u64::from(burst) + refilled);
            }
        }
    }
}
