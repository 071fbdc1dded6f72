//! How loaded and how well is a back end? In-flight count, decaying latency, circuit breaker: atomics, no lock.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::settings::BreakerSettings;

/// The latency that a back end is taken to have while nothing is known of it, and the least that is believed.
const LATENCY_FLOOR_MICROS: u32 = 500;
/// A failure counts as an answer that took at least this long, so that failing fast attracts no traffic.
const FAILURE_LATENCY: Duration = Duration::from_secs(1);
/// A latency counts half after this many milliseconds, so that a back end that was slow once is tried again.
const HALF_LIFE_MILLIS: u32 = 5_000;

/// Monotonic milliseconds since the first use in this process.
fn millis(now: Instant) -> u64 {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    let epoch = *EPOCH.get_or_init(|| now.checked_sub(Duration::from_secs(1)).unwrap_or(now));
    u64::try_from(now.saturating_duration_since(epoch).as_millis()).unwrap_or(u64::MAX)
}

/// Whether the circuit lets a request pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Circuit {
    Closed,
    /// The pause is over: one request at a time may probe.
    HalfOpen,
    Open {
        remaining: Duration,
    },
}

/// Consecutive failures open it; after the pause one probe at a time decides.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: AtomicU32,
    /// Millisecond at which the pause ends; 0 while the circuit is closed.
    open_until: AtomicU64,
    probing: AtomicBool,
}

impl Breaker {
    pub fn state(&self, now: Instant) -> Circuit {
        let until = self.open_until.load(Ordering::Acquire);
        match until.saturating_sub(millis(now)) {
            _ if until == 0 => Circuit::Closed,
            0 => Circuit::HalfOpen,
            remaining => Circuit::Open { remaining: Duration::from_millis(remaining) },
        }
    }

    /// Takes the right to probe; at most one holder at a time.
    pub fn try_probe(&self) -> bool {
        self.probing.compare_exchange(false, true, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    pub fn is_probing(&self) -> bool {
        self.probing.load(Ordering::Relaxed)
    }

    /// Gives the right back, whatever came of it.
    pub fn end_probe(&self) {
        self.probing.store(false, Ordering::Release);
    }

    /// A success. Only a probe's closes an open circuit: a straggler from before the failures proves nothing.
    pub fn succeeded(&self, probe: bool) {
        if probe {
            self.open_until.store(0, Ordering::Release);
        }
        if probe || self.open_until.load(Ordering::Acquire) == 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// A failure. Answers whether this one opened (or re-opened) the circuit.
    pub fn failed(&self, probe: bool, settings: &BreakerSettings, now: Instant) -> bool {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let closed = self.open_until.load(Ordering::Acquire) == 0;
        let opens = probe || (closed && failures >= settings.failures);
        if opens {
            let pause = u64::try_from(settings.open_for.as_millis()).unwrap_or(u64::MAX);
            self.open_until.store(millis(now).saturating_add(pause).max(1), Ordering::Release);
        }
        opens
    }
}

/// Peak-sensitive moving average of the time to the answer's header, decaying while nothing is observed.
#[derive(Debug, Default)]
pub(super) struct Latency(AtomicU64); // Upper half: stamp in ms (wrapping). Lower half: microseconds.

impl Latency {
    pub fn observe(&self, sample: Duration, now: Instant) {
        let sample = u32::try_from(sample.as_micros()).unwrap_or(u32::MAX);
        let average = self.micros(now);
        // Up at once, down by an eighth: a back end that turns slow is felt on the next pick.
        let next = if sample >= average { sample } else { average - (average - sample) / 8 };
        self.0.store(pack(stamp(now), next), Ordering::Relaxed);
    }

    pub fn failed(&self, elapsed: Duration, now: Instant) {
        self.observe(elapsed.max(FAILURE_LATENCY), now);
    }

    /// The average as it stands now.
    pub fn micros(&self, now: Instant) -> u32 {
        let (stamped, micros) = unpack(self.0.load(Ordering::Relaxed));
        let halvings = stamp(now).wrapping_sub(stamped) / HALF_LIFE_MILLIS;
        micros.checked_shr(halvings).unwrap_or(0).max(LATENCY_FLOOR_MICROS)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the stamp wraps on purpose; differences stay right for 49 days")]
fn stamp(now: Instant) -> u32 {
    millis(now) as u32
}

const fn pack(stamp: u32, micros: u32) -> u64 {
    ((stamp as u64) << 32) | micros as u64
}

#[expect(clippy::cast_possible_truncation, reason = "halves of a u64")]
const fn unpack(word: u64) -> (u32, u32) {
    ((word >> 32) as u32, word as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: BreakerSettings = BreakerSettings { failures: 3, open_for: Duration::from_secs(10) };

    #[test]
    fn consecutive_failures_open_the_circuit_and_a_success_between_them_does_not() {
        let (breaker, t0) = (Breaker::default(), Instant::now());
        assert!(!breaker.failed(false, &RULE, t0));
        assert!(!breaker.failed(false, &RULE, t0));
        breaker.succeeded(false);
        assert!(!breaker.failed(false, &RULE, t0));
        assert!(!breaker.failed(false, &RULE, t0));
        assert_eq!(breaker.state(t0), Circuit::Closed);
        assert!(breaker.failed(false, &RULE, t0), "the third in a row");
        assert_eq!(breaker.state(t0), Circuit::Open { remaining: Duration::from_secs(10) });
        assert!(!breaker.failed(false, &RULE, t0 + Duration::from_secs(5)), "a straggler does not prolong the pause");
        assert_eq!(breaker.state(t0 + Duration::from_secs(10)), Circuit::HalfOpen);
    }

    #[test]
    fn only_a_probe_closes_an_open_circuit_and_there_is_one_at_a_time() {
        let (breaker, t0) = (Breaker::default(), Instant::now());
        for _ in 0..3 {
            breaker.failed(false, &RULE, t0);
        }
        breaker.succeeded(false);
        assert!(matches!(breaker.state(t0), Circuit::Open { .. }), "a straggler's success proves nothing");
        let later = t0 + Duration::from_secs(11);
        assert!(breaker.try_probe());
        assert!(!breaker.try_probe(), "the second probe waits");
        assert!(breaker.failed(true, &RULE, later), "a failed probe opens it again at once");
        breaker.end_probe();
        assert!(matches!(breaker.state(later), Circuit::Open { .. }));
        let again = later + Duration::from_secs(11);
        assert_eq!(breaker.state(again), Circuit::HalfOpen);
        assert!(breaker.try_probe());
        breaker.succeeded(true);
        breaker.end_probe();
        assert_eq!(breaker.state(again), Circuit::Closed);
    }

    #[test]
    fn latency_rises_at_once_falls_slowly_and_is_forgotten() {
        let (latency, t0) = (Latency::default(), Instant::now());
        assert_eq!(latency.micros(t0), LATENCY_FLOOR_MICROS);
        latency.observe(Duration::from_millis(80), t0);
        assert_eq!(latency.micros(t0), 80_000);
        latency.observe(Duration::from_millis(0), t0);
        assert_eq!(latency.micros(t0), 70_000);
        assert_eq!(latency.micros(t0 + Duration::from_secs(5)), 35_000);
        assert_eq!(latency.micros(t0 + Duration::from_secs(3600)), LATENCY_FLOOR_MICROS);
        latency.failed(Duration::from_millis(1), t0);
        assert_eq!(latency.micros(t0), 1_000_000, "failing fast is no virtue");
    }
}
