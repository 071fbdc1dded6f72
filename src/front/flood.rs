//! Who has failed to authenticate too often? A table of fixed size, whatever the number of addresses.
//!
//! Invariants: memory is fixed when the table is made; whoever never failed is never refused (a full bucket forgets
//! its most harmless entry, it does not blame a neighbour); a look-up takes no lock.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::FloodSettings;
use crate::domain::{Thumbprint, Timestamp};

/// What failures are counted against. An IPv6 address stands for its /64: a caller commands all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FloodKey {
    Address(IpAddr),
    Certificate(Thumbprint),
}

impl FloodKey {
    pub fn address(address: IpAddr) -> Self {
        match address.to_canonical() {
            v4 @ IpAddr::V4(_) => Self::Address(v4),
            IpAddr::V6(v6) => Self::Address(IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64))),
        }
    }
}

const BUCKETS: usize = 4096; // 4096 × 8 × 16 bytes = 512 KiB.
const WAYS: usize = 8;
/// Refused attempts, as a multiple of the bound, after which new connections are not even accepted.
const SHUT_OUT_FACTOR: u32 = 4;
const COUNT_BITS: u32 = 24;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;

/// One key: the hash that stands for it, and its window's first second above its count.
#[derive(Default)]
struct Slot {
    tag: AtomicU64,
    state: AtomicU64,
}

#[derive(Default)]
struct Bucket {
    writer: Mutex<()>,
    slots: [Slot; WAYS],
}

/// Counts failed authentications by address and by certificate.
pub struct FloodGuard {
    settings: FloodSettings,
    hasher: RandomState,
    buckets: Box<[Bucket]>,
}

impl std::fmt::Debug for FloodGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FloodGuard").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl FloodGuard {
    pub fn new(settings: FloodSettings) -> Self {
        let buckets = std::iter::repeat_with(Bucket::default).take(BUCKETS).collect();
        Self { settings, hasher: RandomState::new(), buckets }
    }

    /// Whether `key` is refused, and for how long still. Ask before any cryptography.
    pub fn is_blocked(&self, key: FloodKey, now: Timestamp) -> Option<Duration> {
        let (count, left) = self.standing(key, now)?;
        (count >= self.settings.failures_max).then_some(left)
    }

    /// Whether `key` goes on in spite of being refused, so that its connections are not worth accepting.
    pub fn is_shut_out(&self, key: FloodKey, now: Timestamp) -> bool {
        self.standing(key, now)
            .is_some_and(|(count, _)| count >= self.settings.failures_max.saturating_mul(SHUT_OUT_FACTOR))
    }

    /// Counts a failed authentication, or an attempt while refused.
    pub fn failed(&self, key: FloodKey, now: Timestamp) {
        let tag = self.tag(key);
        let Some(bucket) = self.bucket(tag) else { return };
        let _writer = bucket.writer.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let own = bucket.slots.iter().find(|slot| slot.tag.load(Ordering::Relaxed) == tag);
        if let Some(slot) = own {
            let (start, count) = unpack(slot.state.load(Ordering::Relaxed));
            let (start, count) = if self.is_current(start, now) { (start, count) } else { (now.secs(), 0) };
            slot.state.store(pack(start, count.saturating_add(1)), Ordering::Relaxed);
        } else if let Some(slot) = bucket.slots.iter().min_by_key(|slot| self.weight(slot, now)) {
            // The state first: nobody may read a stranger's count under the new tag.
            slot.state.store(0, Ordering::Release);
            slot.tag.store(tag, Ordering::Release);
            slot.state.store(pack(now.secs(), 1), Ordering::Release);
        }
    }

    /// The key's failures in its window, and how long the window still lasts.
    fn standing(&self, key: FloodKey, now: Timestamp) -> Option<(u32, Duration)> {
        let tag = self.tag(key);
        let slot = self.bucket(tag)?.slots.iter().find(|slot| slot.tag.load(Ordering::Acquire) == tag)?;
        let (start, count) = unpack(slot.state.load(Ordering::Acquire));
        let end = Timestamp::from_secs(start).plus(self.settings.window);
        self.is_current(start, now).then(|| (count, end.since(now).min(self.settings.window)))
    }

    fn is_current(&self, start_secs: i64, now: Timestamp) -> bool {
        let start = Timestamp::from_secs(start_secs);
        start.since(now) <= self.settings.window && start.plus(self.settings.window) > now
    }

    /// What is lost if the slot is given to another key.
    fn weight(&self, slot: &Slot, now: Timestamp) -> u32 {
        let (start, count) = unpack(slot.state.load(Ordering::Relaxed));
        if self.is_current(start, now) { count } else { 0 }
    }

    fn tag(&self, key: FloodKey) -> u64 {
        self.hasher.hash_one(key).max(1) // Zero marks an empty slot.
    }

    fn bucket(&self, tag: u64) -> Option<&Bucket> {
        self.buckets.get(usize::try_from(tag % BUCKETS as u64).ok()?)
    }
}

fn pack(start_secs: i64, count: u32) -> u64 {
    u64::try_from(start_secs).unwrap_or(0) << COUNT_BITS | u64::from(count).min(COUNT_MASK)
}

fn unpack(state: u64) -> (i64, u32) {
    (i64::try_from(state >> COUNT_BITS).unwrap_or(0), u32::try_from(state & COUNT_MASK).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard() -> FloodGuard {
        FloodGuard::new(FloodSettings { failures_max: 3, window: Duration::from_secs(60) })
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(1_000_000 + secs)
    }

    fn key(text: &str) -> FloodKey {
        FloodKey::address(text.parse().unwrap())
    }

    #[test]
    fn a_key_is_refused_from_its_bound_to_the_end_of_its_window() {
        let guard = guard();
        for second in 0..3 {
            assert_eq!(guard.is_blocked(key("192.0.2.1"), at(second)), None);
            guard.failed(key("192.0.2.1"), at(second));
        }
        assert_eq!(guard.is_blocked(key("192.0.2.1"), at(3)), Some(Duration::from_secs(57)));
        assert_eq!(guard.is_blocked(key("192.0.2.2"), at(3)), None, "another address");
        assert!(!guard.is_shut_out(key("192.0.2.1"), at(3)));
        (3..12).for_each(|second| guard.failed(key("192.0.2.1"), at(second)));
        assert!(guard.is_shut_out(key("192.0.2.1"), at(12)));
        assert_eq!(guard.is_blocked(key("192.0.2.1"), at(60)), None, "the window is over");
        guard.failed(key("192.0.2.1"), at(61));
        assert_eq!(guard.is_blocked(key("192.0.2.1"), at(61)), None, "it counts from one again");
    }

    #[test]
    fn an_ipv6_caller_is_its_whole_network_and_a_mapped_address_is_ipv4() {
        let guard = guard();
        for host in ["2001:db8::1", "2001:db8::2", "2001:db8::ffff"] {
            guard.failed(key(host), at(0));
        }
        assert!(guard.is_blocked(key("2001:db8::9"), at(0)).is_some());
        assert!(guard.is_blocked(key("2001:db8:0:1::9"), at(0)).is_none());
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
    }

    #[test]
    fn a_clock_that_jumps_back_neither_frees_nor_locks_for_ever() {
        let guard = guard();
        (0..3).for_each(|_| guard.failed(key("192.0.2.1"), at(1000)));
        assert!(guard.is_blocked(key("192.0.2.1"), at(990)).is_some_and(|left| left <= Duration::from_secs(60)));
        assert_eq!(guard.is_blocked(key("192.0.2.1"), at(0)), None, "beyond a window it is forgotten");
    }

    #[test]
    fn a_million_addresses_cost_nothing_and_blame_nobody() {
        let guard = guard();
        (0..3).for_each(|_| guard.failed(key("192.0.2.1"), at(0)));
        for address in 0..1_000_000u32 {
            guard.failed(FloodKey::address(IpAddr::from((0x0a00_0000 + address).to_be_bytes())), at(1));
        }
        assert!(guard.is_blocked(key("192.0.2.1"), at(1)).is_some(), "the offender is still known");
        let innocent = (0..10_000u32).map(|n| FloodKey::address(IpAddr::from((0xc000_0000 + n).to_be_bytes())));
        assert_eq!(innocent.filter(|key| guard.is_blocked(*key, at(1)).is_some()).count(), 1, "192.0.2.1 alone");
    }
}
