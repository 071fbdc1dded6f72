//! Which of our own tokens were revoked before they expired? An index in memory, asked on every request.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};

use crate::domain::Timestamp;

const SHARDS: usize = 64;
/// Most revocations that are in force at once, at about 120 bytes each.
pub const REVOCATIONS_MAX: usize = 1_000_000;

/// `jti` → expiry of revoked tokens. Only the owners of live tokens can add to it, each entry leaves when its token
/// would have expired, and nothing is ever evicted before: forgetting a revocation would let a thief back in. When it
/// is full, a further revocation is refused, so that its client knows.
#[derive(Debug)]
pub struct Revocations {
    shards: Vec<RwLock<HashMap<Box<str>, Timestamp>>>, // Invariant: SHARDS of them.
    hasher: RandomState,
    /// Entries in all shards. While it is zero, which is nearly always, asking costs one load.
    count: AtomicUsize,
}

impl Default for Revocations {
    fn default() -> Self {
        let shards = std::iter::repeat_with(RwLock::default).take(SHARDS).collect();
        Self { shards, hasher: RandomState::new(), count: AtomicUsize::new(0) }
    }
}

impl Revocations {
    pub fn new() -> Self {
        Self::default()
    }

    /// In force when this returns `true`, for every request that asks afterwards. `false`: there is no room.
    #[must_use = "a token that found no room is not revoked"]
    pub fn insert(&self, jti: &str, expires_at: Timestamp) -> bool {
        self.insert_within(jti, expires_at, REVOCATIONS_MAX)
    }

    fn insert_within(&self, jti: &str, expires_at: Timestamp, max: usize) -> bool {
        let Some(shard) = self.shard(jti) else { return false };
        let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
        if self.len() >= max && !shard.contains_key(jti) {
            return false;
        }
        if shard.insert(jti.into(), expires_at).is_none() {
            // While the shard is still locked, so that no reader sees the entry without the count.
            self.count.fetch_add(1, Ordering::Release);
        }
        true
    }

    pub fn contains(&self, jti: &str) -> bool {
        if self.count.load(Ordering::Acquire) == 0 {
            return false;
        }
        let Some(shard) = self.shard(jti) else { return false };
        shard.read().unwrap_or_else(PoisonError::into_inner).contains_key(jti)
    }

    /// Whether the token itself was revoked, or the grant that it belongs to: the part of a `jti` before a full stop.
    pub fn covers(&self, jti: &str) -> bool {
        if self.is_empty() {
            return false;
        }
        self.contains(jti) || jti.split_once('.').is_some_and(|(grant, _)| self.contains(grant))
    }

    /// Forgets the tokens that have expired by now.
    pub fn purge(&self, now: Timestamp) {
        for shard in &self.shards {
            let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
            let before = shard.len();
            shard.retain(|_, expires_at| *expires_at > now);
            self.count.fetch_sub(before - shard.len(), Ordering::Release);
        }
    }

    pub fn len(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn shard(&self, jti: &str) -> Option<&RwLock<HashMap<Box<str>, Timestamp>>> {
        let position = self.hasher.hash_one(jti) % SHARDS as u64;
        self.shards.get(usize::try_from(position).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_takes_its_tokens_with_it_and_no_others() {
        let revocations = Revocations::new();
        assert!(!revocations.covers("g.1"));
        assert!(
            revocations.insert("g", Timestamp::from_secs(100)) && revocations.insert("h.2", Timestamp::from_secs(100))
        );
        for (jti, revoked) in
            [("g", true), ("g.1", true), ("g.2", true), ("h.2", true), ("h.1", false), ("gg.1", false)]
        {
            assert_eq!(revocations.covers(jti), revoked, "{jti}");
        }
    }

    #[test]
    fn what_finds_no_room_is_refused_and_nothing_is_forgotten_for_it() {
        let revocations = Revocations::new();
        let at = Timestamp::from_secs;
        for nth in 0..3 {
            assert!(revocations.insert_within(&format!("j{nth}"), at(100 + nth), 3));
        }
        assert!(!revocations.insert_within("j3", at(200), 3), "full");
        assert!(revocations.insert_within("j1", at(101), 3), "again");
        assert!((0..3).all(|nth| revocations.contains(&format!("j{nth}"))) && !revocations.contains("j3"));
        revocations.purge(at(100));
        assert!(revocations.insert_within("j3", at(200), 3), "one has expired");
        assert_eq!(revocations.len(), 3);
    }
}
