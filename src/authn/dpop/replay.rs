//! Which proofs were used? Marks of bounded number, each kept until its proof would be refused for its age.
//!
//! A mark is forgotten when two clocks agree that it may be: the wall clock, by which its proof is too old, and the
//! steady one, by which a proof of its time must be. A wall clock that is wrong for a moment forgives nothing.

use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::mem;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::DpopError;
use crate::domain::Timestamp;
use crate::jose::KeyThumbprint;

const SHARDS: usize = 64;
const SHARD_MARKS_MAX: usize = 32 * 1024;
/// Most proofs that are remembered at once, at about 40 bytes each.
pub const DPOP_MARKS_MAX: usize = SHARDS * SHARD_MARKS_MAX;
/// Marks are forgotten by the generation, all at once: a shard is locked for no longer than it takes to drop a table.
const GENERATIONS: u32 = 3;
const GENERATIONS_MAX: usize = 6;

/// Half a SHA-256 over key and `jti`. Nobody can make one that is another's: the key is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Mark([u8; 16]);

impl Mark {
    pub fn new(key: KeyThumbprint, jti: &str) -> Self {
        let mut digest = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        digest.update(&key.0); // Of one length, so the two cannot be shifted.
        digest.update(jti.as_bytes());
        let mut mark = [0; 16];
        mark.iter_mut().zip(digest.finish().as_ref()).for_each(|(to, from)| *to = *from);
        Self(mark)
    }
}

/// Marks that came within one stretch of time.
struct Generation {
    marks: HashSet<Mark>,
    /// When the last of its proofs is too old, by the wall clock.
    expires_at: Timestamp,
    /// When it was closed to further marks, by the steady clock.
    closed: Duration,
}

#[derive(Default)]
struct Shard {
    young: Generation,
    /// Since when, by the steady clock, marks go into it.
    young_since: Duration,
    /// Oldest first. Invariant: no more than GENERATIONS_MAX.
    old: Vec<Generation>,
}

impl Default for Generation {
    fn default() -> Self {
        Self { marks: HashSet::new(), expires_at: Timestamp::from_micros(i64::MIN), closed: Duration::ZERO }
    }
}

pub(super) struct Replays {
    shards: Vec<Mutex<Shard>>, // Invariant: SHARDS of them.
    hasher: RandomState,
    /// How long a proof is taken, at most.
    kept: Duration,
    started: Instant,
}

impl Replays {
    pub fn new(kept: Duration) -> Self {
        // Each with a hasher of its own: marks of one shard have bits of the hash that chose it in common.
        let shards = std::iter::repeat_with(Mutex::<Shard>::default).take(SHARDS).collect();
        Self { shards, hasher: RandomState::new(), kept, started: Instant::now() }
    }

    /// Notes that a proof was used; refuses the second one, and the first for which there is no room.
    pub fn insert(&self, mark: Mark, expires_at: Timestamp, now: Timestamp) -> Result<(), DpopError> {
        self.insert_within(mark, expires_at, now, self.started.elapsed(), SHARD_MARKS_MAX)
    }

    fn insert_within(
        &self,
        mark: Mark,
        expires_at: Timestamp,
        now: Timestamp,
        steady: Duration,
        max: usize,
    ) -> Result<(), DpopError> {
        let position = self.hasher.hash_one(mark) % SHARDS as u64;
        let shard = usize::try_from(position).ok().and_then(|position| self.shards.get(position));
        let mut shard = shard.ok_or(DpopError::Full)?.lock().unwrap_or_else(PoisonError::into_inner);
        shard.turn(self.kept, now, steady);
        if shard.contains(mark) {
            return Err(DpopError::Replayed);
        }
        if shard.len() >= max {
            return Err(DpopError::Full);
        }
        let young = &mut shard.young;
        young.marks.insert(mark);
        young.expires_at = young.expires_at.max(expires_at);
        Ok(())
    }

    pub fn len(&self) -> usize {
        let lock = |shard: &Mutex<Shard>| shard.lock().unwrap_or_else(PoisonError::into_inner).len();
        self.shards.iter().map(lock).sum()
    }
}

impl Shard {
    fn generations(&self) -> impl Iterator<Item = &Generation> {
        std::iter::once(&self.young).chain(&self.old)
    }

    fn contains(&self, mark: Mark) -> bool {
        self.generations().any(|generation| generation.marks.contains(&mark))
    }

    fn len(&self) -> usize {
        self.generations().map(|generation| generation.marks.len()).sum()
    }

    /// Closes the young generation when it is old enough, and forgets those whose time is over by both clocks.
    fn turn(&mut self, kept: Duration, now: Timestamp, steady: Duration) {
        self.old.retain(|old| old.expires_at >= now || steady.saturating_sub(old.closed) <= kept);
        if steady.saturating_sub(self.young_since) <= kept / GENERATIONS {
            return;
        }
        self.young_since = steady;
        if self.young.marks.is_empty() {
            return;
        }
        let closed = Generation { closed: steady, ..mem::take(&mut self.young) };
        if self.old.len() < GENERATIONS_MAX {
            self.old.push(closed);
        } else if let Some(last) = self.old.last_mut() {
            // The wall clock was set back far, and many wait for it to come back: they wait together.
            last.marks.extend(closed.marks);
            last.expires_at = last.expires_at.max(closed.expires_at);
            last.closed = steady;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: Duration = Duration::from_secs(90);

    fn mark(nth: u32) -> Mark {
        Mark::new(KeyThumbprint([7; 32]), &format!("jti-{nth}"))
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn a_mark_is_kept_until_both_clocks_say_that_it_may_go() {
        for (name, wall, steady, expected) in [
            ("at once", 1000, 0, Err(DpopError::Replayed)),
            ("at the last moment", 1060, 60, Err(DpopError::Replayed)),
            ("the wall clock leapt ahead", 9999, 60, Err(DpopError::Replayed)),
            ("the wall clock was set back", 900, 9999, Err(DpopError::Replayed)),
            ("both are past it", 1200, 200, Ok(())),
        ] {
            let replays = Replays::new(KEPT);
            let insert =
                |wall, steady| replays.insert_within(mark(1), at(1060), at(wall), Duration::from_secs(steady), 10);
            insert(1000, 0).unwrap();
            // Somebody else comes by now and then, so that generations turn.
            for passed in (31..steady).step_by(31).take(10) {
                let elsewhere = Duration::from_secs(passed);
                replays.shards.iter().for_each(|shard| shard.lock().unwrap().turn(KEPT, at(wall.min(1000)), elsewhere));
            }
            assert_eq!(insert(wall, steady), expected, "{name}");
        }
    }

    #[test]
    fn what_finds_no_room_is_refused_and_nothing_is_forgotten_for_it() {
        let replays = Replays::new(KEPT);
        let now = Duration::from_secs(1);
        let insert = |nth, steady, wall| replays.insert_within(mark(nth), at(wall + 60), at(wall), steady, 1);
        let taken: Vec<u32> = (0..3000).filter(|nth| insert(*nth, now, 1000).is_ok()).collect();
        assert_eq!(taken.len(), SHARDS, "one in each shard");
        assert_eq!(replays.len(), SHARDS);
        for nth in 0..3000 {
            let expected = if taken.contains(&nth) { DpopError::Replayed } else { DpopError::Full };
            assert_eq!(insert(nth, now, 1000), Err(expected), "{nth}");
        }
        // The first pass closes the generation, the second forgets it.
        replays.shards.iter().for_each(|shard| shard.lock().unwrap().turn(KEPT, at(1200), Duration::from_secs(200)));
        replays.shards.iter().for_each(|shard| shard.lock().unwrap().turn(KEPT, at(1300), Duration::from_secs(300)));
        assert_eq!(replays.len(), 0);
        assert_eq!(insert(taken[0], Duration::from_secs(300), 1300), Ok(()));
    }

    #[test]
    fn of_two_at_once_one_is_taken() {
        let replays = Replays::new(KEPT);
        let taken = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for nth in 0..200 {
                        if replays.insert(mark(nth), at(60), at(0)).is_ok() {
                            taken.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(taken.into_inner(), 200);
    }

    #[test]
    fn marks_of_different_keys_are_different() {
        assert_ne!(Mark::new(KeyThumbprint([1; 32]), "a"), Mark::new(KeyThumbprint([2; 32]), "a"));
        assert_ne!(Mark::new(KeyThumbprint([1; 32]), "a"), Mark::new(KeyThumbprint([1; 32]), "b"));
    }
}
