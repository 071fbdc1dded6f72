//! How long must somebody wait who keeps guessing? Failures by username and by source address, in a fixed table.
//!
//! Invariants: memory is fixed; an attempt is counted before its outcome is known, so that many at once are not one;
//! who never failed never waits (a full row forgets its most harmless entry, it does not blame a neighbour).

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::domain::Timestamp;

/// 4096 rows of 4 entries of 24 bytes: 384 KiB.
const ROWS: usize = 4096;
const WAYS: usize = 4;
/// After so long without an attempt nothing is held against a key. Longer than any delay.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(30 * 60);

/// How many failures are free, and how far the delay, doubled by each further one from a second on, grows.
struct Rule {
    free: u32,
    delay_max: Duration,
}

/// A name's delay stays short: else anybody could keep its owner out for long by guessing badly.
const BY_USERNAME: Rule = Rule { free: 5, delay_max: Duration::from_secs(60) };
/// An address may be that of a whole office.
const BY_ADDRESS: Rule = Rule { free: 20, delay_max: Duration::from_secs(15 * 60) };

#[derive(Clone, Copy)]
struct Entry {
    tag: u64,
    failures: u32,
    last: Timestamp,
}

const EMPTY: Entry = Entry { tag: 0, failures: 0, last: Timestamp::from_micros(0) };

/// Counts attempts to sign in.
pub(super) struct Throttle {
    hasher: RandomState,
    rows: Mutex<Box<[[Entry; WAYS]]>>,
}

/// The keys of one attempt, which [`Throttle::forgive`] wants back.
#[derive(Clone, Copy)]
pub(super) struct Attempt {
    username: u64,
    address: u64,
}

impl Throttle {
    pub fn new() -> Self {
        let rows = std::iter::repeat_n([EMPTY; WAYS], ROWS).collect();
        Self { hasher: RandomState::new(), rows: Mutex::new(rows) }
    }

    /// Counts an attempt; if it comes too early it is not counted, and the error says how much: waiting always helps.
    pub fn attempt(&self, username: &str, address: IpAddr, now: Timestamp) -> Result<Attempt, Duration> {
        let attempt = Attempt {
            username: self.hasher.hash_one(("username", username)),
            address: self.hasher.hash_one(("address", network(address))),
        };
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = [(attempt.username, BY_USERNAME), (attempt.address, BY_ADDRESS)];
        if let Some(wait) = keys.iter().filter_map(|(tag, rule)| early_by(&rows, *tag, rule, now)).max() {
            return Err(wait);
        }
        for (tag, _) in keys {
            count(&mut rows, tag, now);
        }
        Ok(attempt)
    }

    /// The attempt was right: nothing is held against the name, and the address is not charged for this one. What it
    /// failed at before stays, or anybody with a password of their own could guess others' for ever.
    pub fn forgive(&self, attempt: Attempt) {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = find(&mut rows, attempt.username) {
            *entry = EMPTY;
        }
        if let Some(entry) = find(&mut rows, attempt.address) {
            entry.failures = entry.failures.saturating_sub(1);
        }
    }
}

/// An IPv6 address stands for its /64: a caller commands all of it.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        v4 @ IpAddr::V4(_) => v4,
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
    }
}

fn row(tag: u64) -> usize {
    usize::try_from(tag % (ROWS as u64)).unwrap_or_default()
}

fn find(rows: &mut [[Entry; WAYS]], tag: u64) -> Option<&mut Entry> {
    rows.get_mut(row(tag))?.iter_mut().find(|entry| entry.tag == tag)
}

/// How long a key must still wait, if it must.
fn early_by(rows: &[[Entry; WAYS]], tag: u64, rule: &Rule, now: Timestamp) -> Option<Duration> {
    let entry = rows.get(row(tag)).and_then(|row| row.iter().find(|entry| entry.tag == tag))?;
    let beyond = entry.failures.checked_sub(rule.free)?;
    let delay = Duration::from_secs(1_u64.checked_shl(beyond).unwrap_or(u64::MAX)).min(rule.delay_max);
    let until = entry.last.plus(delay);
    // A clock that was set back must not lock anybody out until it has caught up.
    (entry.last <= now && now < until).then(|| until.since(now))
}

fn count(rows: &mut [[Entry; WAYS]], tag: u64, now: Timestamp) {
    if let Some(entry) = find(rows, tag) {
        let failures = if now.since(entry.last) > FORGOTTEN_AFTER { 0 } else { entry.failures };
        *entry = Entry { tag, failures: failures.saturating_add(1), last: now };
        return;
    }
    let weight = |entry: &Entry| {
        let current = now.since(entry.last) <= FORGOTTEN_AFTER;
        (if current { entry.failures } else { 0 }, entry.last)
    };
    let harmless = rows.get_mut(row(tag)).and_then(|row| row.iter_mut().min_by_key(|entry| weight(entry)));
    if let Some(entry) = harmless {
        *entry = Entry { tag, failures: 1, last: now };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(1_000_000 + secs)
    }

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn the_delay_of_a_name_grows_and_ends() {
        let throttle = Throttle::new();
        for n in 0..5 {
            assert!(throttle.attempt("alice", ip(n), at(0)).is_ok(), "the first five are free");
        }
        let mut now = 0;
        for delay in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert!(throttle.attempt("alice", ip(9), at(now + delay - 1)).is_err(), "{delay}: too early");
            assert!(throttle.attempt("bob", ip(200), at(now + delay - 1)).is_ok(), "nobody else waits");
            now += delay;
            assert!(throttle.attempt("alice", ip(9), at(now)).is_ok(), "{delay}: not too early");
        }
        assert!(throttle.attempt("alice", ip(10), at(now + 30 * 60 + 1)).is_ok());
        assert!(throttle.attempt("alice", ip(10), at(now + 30 * 60 + 1)).is_ok(), "all is forgotten");
    }

    #[test]
    fn an_address_waits_whatever_names_it_tries_and_a_network_is_one() {
        let throttle = Throttle::new();
        for n in 0..20 {
            assert!(throttle.attempt(&format!("user {n}"), ip(1), at(0)).is_ok(), "{n}");
        }
        assert!(throttle.attempt("somebody", ip(1), at(0)).is_err());
        assert!(throttle.attempt("somebody", ip(2), at(0)).is_ok(), "another address");
        let throttle = Throttle::new();
        for n in 0..20 {
            let address: IpAddr = format!("2001:db8::{n:x}").parse().unwrap();
            assert!(throttle.attempt(&format!("user {n}"), address, at(0)).is_ok(), "{n}");
        }
        assert!(throttle.attempt("somebody", "2001:db8::ffff".parse().unwrap(), at(0)).is_err(), "the same /64");
        assert!(throttle.attempt("somebody", "2001:db8:0:1::1".parse().unwrap(), at(0)).is_ok(), "another one");
    }

    #[test]
    fn a_right_password_clears_the_name_and_not_the_address() {
        let throttle = Throttle::new();
        for n in 0..19 {
            throttle.attempt(&format!("guess {n}"), ip(1), at(0)).unwrap();
        }
        for _ in 0..30 {
            let attempt = throttle.attempt("alice", ip(1), at(0)).expect("right ones cost nothing");
            throttle.forgive(attempt);
        }
        throttle.attempt("guess", ip(1), at(0)).unwrap();
        assert!(throttle.attempt("guess again", ip(1), at(0)).is_err(), "the wrong ones still count");
    }

    #[test]
    fn what_is_too_early_is_not_counted_and_a_clock_set_back_locks_nobody_out() {
        let throttle = Throttle::new();
        for _ in 0..5 {
            throttle.attempt("alice", ip(1), at(0)).unwrap();
        }
        for _ in 0..100 {
            assert!(throttle.attempt("alice", ip(1), at(0)).is_err());
        }
        assert!(throttle.attempt("alice", ip(1), at(1)).is_ok());
        assert!(throttle.attempt("alice", ip(1), at(-3600)).is_ok());
    }

    #[test]
    fn many_names_take_no_more_room_and_blame_nobody() {
        let throttle = Throttle::new();
        for _ in 0..8 {
            let address = ip(7);
            let _counted = throttle.attempt("target", address, at(0));
        }
        for n in 0..200_000_u32 {
            let address = IpAddr::from(n.to_be_bytes());
            assert!(throttle.attempt(&n.to_string(), address, at(0)).is_ok(), "{n} never failed before");
        }
        assert_eq!(throttle.rows.lock().unwrap().len(), ROWS);
        assert!(throttle.attempt("target", ip(9), at(0)).is_err(), "who guesses at one name is not forgotten by that");
    }
}
