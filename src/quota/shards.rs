//! A map in many parts, so that callers of different keys rarely meet at one lock.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

const SHARDS: usize = 64;

type Part<V> = HashMap<Box<str>, V>;

/// A map from identifiers to shared handles (`V` is cheap to clone). A lookup takes one shard's lock shared.
pub(super) struct Shards<V>(Box<[RwLock<Part<V>>]>);

impl<V: Clone> Shards<V> {
    pub fn new() -> Self {
        Self((0..SHARDS).map(|_| RwLock::new(HashMap::new())).collect())
    }

    pub fn find(&self, key: &str) -> Option<V> {
        self.part(key).and_then(|part| read(part).get(key).cloned())
    }

    /// The value of `key`, made if it is missing. Of two simultaneous callers both get the one that was kept.
    pub fn find_or_make(&self, key: &str, make: impl FnOnce() -> V) -> V {
        if let Some(found) = self.find(key) {
            return found;
        }
        match self.part(key) {
            Some(part) => write(part).entry(key.into()).or_insert_with(make).clone(),
            None => make(), // Invariant: never reached, there is always a part.
        }
    }

    /// Replaces the value of `key`.
    pub fn put(&self, key: &str, value: V) {
        if let Some(part) = self.part(key) {
            write(part).insert(key.into(), value);
        }
    }

    /// Keeps what `keep` says, one part at a time; nobody else sees a part while it is judged. Returns how many went.
    pub fn retain(&self, mut keep: impl FnMut(&V) -> bool) -> usize {
        let mut gone = 0;
        for part in &self.0 {
            let mut part = write(part);
            let before = part.len();
            part.retain(|_, value| keep(value));
            gone += before - part.len();
            if part.capacity() > 64 && part.len() < part.capacity() / 4 {
                part.shrink_to_fit();
            }
        }
        gone
    }

    pub fn for_each(&self, mut visit: impl FnMut(&str, &V)) {
        for part in &self.0 {
            for (key, value) in read(part).iter() {
                visit(key, value);
            }
        }
    }

    pub fn len(&self) -> usize {
        self.0.iter().map(|part| read(part).len()).sum()
    }

    /// FNV-1a over the last bytes, where identifiers differ most. It only spreads; equality is the map's affair.
    fn part(&self, key: &str) -> Option<&RwLock<Part<V>>> {
        let bytes = key.as_bytes().iter().rev().take(8);
        let hash = bytes
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
        self.0.get((hash >> 32) as usize % SHARDS)
    }
}

/// A panic while a part was locked leaves the map whole: no operation here is done in two steps.
fn read<V>(part: &RwLock<Part<V>>) -> RwLockReadGuard<'_, Part<V>> {
    part.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<V>(part: &RwLock<Part<V>>) -> RwLockWriteGuard<'_, Part<V>> {
    part.write().unwrap_or_else(PoisonError::into_inner)
}
