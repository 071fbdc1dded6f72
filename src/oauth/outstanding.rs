//! What clients have under way for a short time: pushed requests, codes, backchannel requests. In memory, found by an
//! unguessable handle of ours, bounded in all, per tenant and per client; what is full refuses.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::domain::{Client, ClientId, TenantId, Timestamp};
use crate::jose::sha256;

/// How much may be outstanding at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutstandingLimits {
    pub all: usize,
    pub per_tenant: usize,
    pub per_client: usize,
}

/// There is no room for more of this client's, of its tenant's, or of anybody's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too much is outstanding")]
pub struct Full;

type Digest = [u8; 32];

/// Invariant: every entry is in `entries` and once in `by_end`, and is counted for its client and its tenant.
pub(super) struct Outstanding<T> {
    limits: OutstandingLimits,
    inner: Mutex<Inner<T>>,
}

struct Inner<T> {
    /// By the digest of the handle: how long a look-up takes tells nothing of a handle, and none lies in memory.
    entries: HashMap<Digest, Entry<T>>,
    by_end: BTreeSet<(Timestamp, Digest)>,
    clients: HashMap<ClientId, usize>,
    tenants: HashMap<TenantId, usize>,
}

struct Entry<T> {
    value: T,
    client: ClientId,
    tenant: TenantId,
    forget_at: Timestamp,
}

impl<T> Outstanding<T> {
    pub(super) fn new(limits: OutstandingLimits) -> Self {
        let inner = Inner {
            entries: HashMap::new(),
            by_end: BTreeSet::new(),
            clients: HashMap::new(),
            tenants: HashMap::new(),
        };
        Self { limits, inner: Mutex::new(inner) }
    }

    /// Remembers `value` under `handle` until `forget_at`.
    pub(super) fn insert(
        &self,
        handle: &str,
        owner: &Client,
        value: T,
        forget_at: Timestamp,
        now: Timestamp,
    ) -> Result<(), Full> {
        let digest = sha256(handle.as_bytes());
        let mut inner = self.lock(now);
        let of_client = inner.clients.get(&owner.id).copied().unwrap_or(0);
        let of_tenant = inner.tenants.get(&owner.tenant.id).copied().unwrap_or(0);
        let limits = self.limits;
        let full =
            inner.entries.len() >= limits.all || of_client >= limits.per_client || of_tenant >= limits.per_tenant;
        if full || inner.entries.contains_key(&digest) {
            return Err(Full);
        }
        *inner.clients.entry(owner.id.clone()).or_default() += 1;
        *inner.tenants.entry(owner.tenant.id.clone()).or_default() += 1;
        inner.by_end.insert((forget_at, digest));
        let entry = Entry { value, client: owner.id.clone(), tenant: owner.tenant.id.clone(), forget_at };
        inner.entries.insert(digest, entry);
        Ok(())
    }

    /// Looks at what is remembered under `handle` and may change it; nobody else looks meanwhile. `None`: there is
    /// nothing, or not any more.
    pub(super) fn with<R>(&self, handle: &str, now: Timestamp, look: impl FnOnce(&ClientId, &mut T) -> R) -> Option<R> {
        let mut inner = self.lock(now);
        inner.entries.get_mut(&sha256(handle.as_bytes())).map(|entry| look(&entry.client, &mut entry.value))
    }

    /// Looks at everything in turn. Its price grows with what there is: for people, not for requests.
    pub(super) fn each(&self, now: Timestamp, mut look: impl FnMut(&ClientId, &T)) {
        let inner = self.lock(now);
        inner.entries.values().for_each(|entry| look(&entry.client, &entry.value));
    }

    /// Remembers it for longer, or less long.
    pub(super) fn keep_until(&self, handle: &str, forget_at: Timestamp, now: Timestamp) {
        let digest = sha256(handle.as_bytes());
        let mut inner = self.lock(now);
        let Some(entry) = inner.entries.get_mut(&digest) else { return };
        let before = std::mem::replace(&mut entry.forget_at, forget_at);
        inner.by_end.remove(&(before, digest));
        inner.by_end.insert((forget_at, digest));
    }

    /// Forgets all of a client's, for instance when it was removed.
    pub(super) fn forget_client(&self, client: &ClientId, now: Timestamp) {
        let mut inner = self.lock(now);
        let theirs = inner.entries.iter().filter(|(_, entry)| entry.client == *client);
        let theirs: Vec<_> = theirs.map(|(digest, entry)| (entry.forget_at, *digest)).collect();
        for key in theirs {
            inner.forget(key);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).entries.len()
    }

    pub(super) const fn max(&self) -> usize {
        self.limits.all
    }

    /// Whoever comes first after the end of something forgets it.
    fn lock(&self, now: Timestamp) -> MutexGuard<'_, Inner<T>> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(key) = inner.by_end.first().copied().filter(|(end, _)| *end <= now) {
            inner.forget(key);
        }
        inner
    }
}

impl<T> Inner<T> {
    fn forget(&mut self, key: (Timestamp, Digest)) {
        self.by_end.remove(&key);
        let Some(entry) = self.entries.remove(&key.1) else { return };
        give_back(&mut self.clients, &entry.client);
        give_back(&mut self.tenants, &entry.tenant);
    }
}

fn give_back<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authn::tests::client;

    const LIMITS: OutstandingLimits = OutstandingLimits { all: 5, per_tenant: 3, per_client: 2 };

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn each_bound_holds_and_what_ends_makes_room() {
        let all = Outstanding::new(LIMITS);
        let (a, b, c, d) = (client("a", "one"), client("b", "one"), client("c", "two"), client("d", "three"));
        for (handle, owner, expected) in [
            ("1", &a, Ok(())),
            ("1", &c, Err(Full)), // A handle is nobody else's.
            ("2", &a, Ok(())),
            ("3", &a, Err(Full)), // Its own share.
            ("3", &b, Ok(())),
            ("4", &b, Err(Full)), // Its tenant's.
            ("4", &c, Ok(())),
            ("5", &d, Ok(())),
            ("6", &d, Err(Full)), // Everybody's.
        ] {
            assert_eq!(all.insert(handle, owner, handle.to_owned(), at(100), at(0)), expected, "{handle} {}", owner.id);
        }
        assert_eq!(all.with("3", at(99), |client, value| format!("{client} {value}")).as_deref(), Some("b 3"));
        all.keep_until("3", at(200), at(99));
        assert_eq!(all.with("1", at(100), |_, _| ()), None, "at its end it is gone");
        assert_eq!(all.len(), 1);
        assert_eq!(all.with("3", at(100), |_, _| ()), Some(()), "kept for longer");
        all.forget_client(&b.id, at(100));
        assert_eq!(all.len(), 0);
        let inner = all.inner.lock().unwrap();
        assert!(inner.clients.is_empty() && inner.tenants.is_empty() && inner.by_end.is_empty(), "no counts are left");
    }
}
