//! What clients have under way for a short time: pushed requests, codes, backchannel requests. In memory, found by an
//! unguessable handle of ours, bounded in all, per tenant and per client; what is full refuses. What was decided, redeemed or
//! has ended is not under way: it takes nobody's place.

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

/// How long something is on somebody's way, and then still known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Term {
    /// Until then it is outstanding, and takes a place.
    pub(super) ends_at: Timestamp,
    /// Until then it is known what became of it, if there is room.
    pub(super) forget_at: Timestamp,
}

impl Term {
    /// Nobody needs to know of it afterwards.
    pub(super) const fn until(ends_at: Timestamp) -> Self {
        Self { ends_at, forget_at: ends_at }
    }
}

type Digest = [u8; 32];

/// What is outstanding takes a place of its client and its tenant; what is over takes none, and is remembered beside it: as
/// many as can be outstanding, and what would be forgotten first makes room for more.
///
/// Invariant: every entry is in `entries`, and either once in `by_end` and counted for its client and its tenant, or once
/// in `remembered`.
pub(super) struct Outstanding<T> {
    limits: OutstandingLimits,
    inner: Mutex<Inner<T>>,
}

struct Inner<T> {
    /// By the digest of the handle: how long a look-up takes tells nothing of a handle, and none lies in memory.
    entries: HashMap<Digest, Entry<T>>,
    by_end: BTreeSet<(Timestamp, Digest)>,
    /// By when it is to be forgotten.
    remembered: BTreeSet<(Timestamp, Digest)>,
    remembered_max: usize,
    clients: HashMap<ClientId, usize>,
    tenants: HashMap<TenantId, usize>,
}

struct Entry<T> {
    value: T,
    client: ClientId,
    tenant: TenantId,
    term: Term,
    over: bool,
}

impl<T> Outstanding<T> {
    pub(super) fn new(limits: OutstandingLimits) -> Self {
        let inner = Inner {
            entries: HashMap::new(),
            by_end: BTreeSet::new(),
            remembered: BTreeSet::new(),
            remembered_max: limits.all,
            clients: HashMap::new(),
            tenants: HashMap::new(),
        };
        Self { limits, inner: Mutex::new(inner) }
    }

    /// Keeps `value` under `handle` for its term.
    pub(super) fn insert(
        &self,
        handle: &str,
        owner: &Client,
        value: T,
        term: Term,
        now: Timestamp,
    ) -> Result<(), Full> {
        let digest = sha256(handle.as_bytes());
        let mut inner = self.lock(now);
        let of_client = inner.clients.get(&owner.id).copied().unwrap_or(0);
        let of_tenant = inner.tenants.get(&owner.tenant.id).copied().unwrap_or(0);
        let limits = self.limits;
        let full = inner.by_end.len() >= limits.all || of_client >= limits.per_client || of_tenant >= limits.per_tenant;
        if full || inner.entries.contains_key(&digest) {
            return Err(Full);
        }
        *inner.clients.entry(owner.id.clone()).or_default() += 1;
        *inner.tenants.entry(owner.tenant.id.clone()).or_default() += 1;
        inner.by_end.insert((term.ends_at, digest));
        let entry = Entry { value, client: owner.id.clone(), tenant: owner.tenant.id.clone(), term, over: false };
        inner.entries.insert(digest, entry);
        Ok(())
    }

    /// Looks at what is known under `handle` and may change it; nobody else looks meanwhile. `None`: there is nothing, or
    /// not any more.
    pub(super) fn with<R>(&self, handle: &str, now: Timestamp, look: impl FnOnce(&ClientId, &mut T) -> R) -> Option<R> {
        let mut inner = self.lock(now);
        inner.entries.get_mut(&sha256(handle.as_bytes())).map(|entry| look(&entry.client, &mut entry.value))
    }

    /// Takes away what is known under `handle`, if `may` allows it: of two who take it at once, one gets it.
    pub(super) fn take<R, E>(
        &self,
        handle: &str,
        now: Timestamp,
        may: impl FnOnce(&ClientId, &T) -> Result<R, E>,
    ) -> Option<Result<(T, R), E>> {
        let digest = sha256(handle.as_bytes());
        let mut inner = self.lock(now);
        let entry = inner.entries.get(&digest)?;
        match may(&entry.client, &entry.value) {
            Ok(found) => inner.forget(digest).map(|value| Ok((value, found))),
            Err(why) => Some(Err(why)),
        }
    }

    /// Looks at everything in turn. Its price grows with what there is: for people, not for requests.
    pub(super) fn each(&self, now: Timestamp, mut look: impl FnMut(&ClientId, &T)) {
        let inner = self.lock(now);
        inner.entries.values().for_each(|entry| look(&entry.client, &entry.value));
    }

    /// What is outstanding has another term from now on.
    pub(super) fn extend(&self, handle: &str, term: Term, now: Timestamp) {
        let digest = sha256(handle.as_bytes());
        let mut inner = self.lock(now);
        let Some(entry) = inner.entries.get_mut(&digest).filter(|entry| !entry.over) else { return };
        let before = std::mem::replace(&mut entry.term, term);
        inner.by_end.remove(&(before.ends_at, digest));
        inner.by_end.insert((term.ends_at, digest));
    }

    /// It is over: its place is free at once, and until `forget_at` it is known what became of it.
    pub(super) fn finish(&self, handle: &str, forget_at: Timestamp, now: Timestamp) {
        let digest = sha256(handle.as_bytes());
        let mut inner = self.lock(now);
        if let Some(entry) = inner.entries.get_mut(&digest).filter(|entry| !entry.over) {
            entry.term.forget_at = forget_at;
            inner.end(digest, now);
        }
    }

    /// Forgets all of a client's, for instance when it was removed.
    pub(super) fn forget_client(&self, client: &ClientId, now: Timestamp) {
        let mut inner = self.lock(now);
        let theirs = inner.entries.iter().filter(|(_, entry)| entry.client == *client);
        let theirs: Vec<_> = theirs.map(|(digest, _)| *digest).collect();
        for digest in theirs {
            inner.forget(digest);
        }
    }

    /// How many take a place.
    pub(super) fn len(&self) -> usize {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).by_end.len()
    }

    pub(super) const fn max(&self) -> usize {
        self.limits.all
    }

    /// Whoever comes first after the end of something ends it.
    fn lock(&self, now: Timestamp) -> MutexGuard<'_, Inner<T>> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((_, digest)) = inner.by_end.first().copied().filter(|(end, _)| *end <= now) {
            inner.end(digest, now);
        }
        while let Some((_, digest)) = inner.remembered.first().copied().filter(|(end, _)| *end <= now) {
            inner.forget(digest);
        }
        inner
    }
}

impl<T> Inner<T> {
    /// From what is outstanding to what is remembered.
    fn end(&mut self, digest: Digest, now: Timestamp) {
        let Some(entry) = self.entries.get_mut(&digest) else { return };
        entry.over = true;
        let forget_at = entry.term.forget_at;
        self.by_end.remove(&(entry.term.ends_at, digest));
        give_back(&mut self.clients, &entry.client);
        give_back(&mut self.tenants, &entry.tenant);
        self.remembered.insert((forget_at, digest));
        let full = self.remembered.len() > self.remembered_max;
        if let Some((_, first)) = self.remembered.first().copied().filter(|(end, _)| full || *end <= now) {
            self.forget(first);
        }
    }

    fn forget(&mut self, digest: Digest) -> Option<T> {
        let entry = self.entries.remove(&digest)?;
        if !self.remembered.remove(&(entry.term.forget_at, digest)) {
            self.by_end.remove(&(entry.term.ends_at, digest));
            give_back(&mut self.clients, &entry.client);
            give_back(&mut self.tenants, &entry.tenant);
        }
        Some(entry.value)
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
            let term = Term::until(at(100));
            assert_eq!(all.insert(handle, owner, handle.to_owned(), term, at(0)), expected, "{handle} {}", owner.id);
        }
        assert_eq!(all.with("3", at(99), |client, value| format!("{client} {value}")).as_deref(), Some("b 3"));
        all.extend("3", Term::until(at(200)), at(99));
        assert_eq!(all.with("1", at(100), |_, _| ()), None, "at its end it is gone");
        assert_eq!(all.len(), 1);
        assert_eq!(all.with("3", at(100), |_, _| ()), Some(()), "kept for longer");
        all.forget_client(&b.id, at(100));
        assert_nothing_left(&all);
    }

    fn assert_nothing_left(all: &Outstanding<String>) {
        let inner = all.inner.lock().unwrap();
        assert!(inner.entries.is_empty() && inner.by_end.is_empty() && inner.remembered.is_empty());
        assert!(inner.clients.is_empty() && inner.tenants.is_empty(), "no counts are left");
    }

    #[test]
    fn what_is_over_takes_no_place_and_is_remembered_for_a_while() {
        let all = Outstanding::new(LIMITS);
        let a = client("a", "one");
        let term = Term { ends_at: at(100), forget_at: at(200) };
        let insert = |handle: &str, now| all.insert(handle, &a, handle.to_owned(), term, at(now));
        let known = |handle: &str, now| all.with(handle, at(now), |_, _| ()).is_some();
        // By its end, by a word, and taken away.
        for handle in ["ended", "finished"] {
            assert_eq!(insert(handle, 0), Ok(()));
        }
        assert_eq!(insert("more", 0), Err(Full));
        all.finish("finished", at(150), at(1));
        assert_eq!((all.len(), insert("taken", 1), insert("more", 1)), (1, Ok(()), Err(Full)));
        assert_eq!(all.take("taken", at(1), |_, _| Err::<(), _>("not you")), Some(Err("not you")));
        assert_eq!(all.take("taken", at(1), |_, _| Ok::<_, ()>(7)), Some(Ok(("taken".to_owned(), 7))));
        assert_eq!(all.take("taken", at(1), |_, _| Ok::<_, ()>(())), None, "once");
        assert!(known("finished", 149) && !known("finished", 150));
        assert!(known("ended", 199) && all.len() == 0, "at 100 it took no place any more");
        // What is over does not come back by a longer term, and is not counted twice.
        all.extend("ended", Term::until(at(900)), at(199));
        all.finish("ended", at(900), at(199));
        assert!(!known("ended", 200));
        assert_nothing_left(&all);
    }

    /// However many come and go, as many are remembered as may be outstanding: those that are to be known for longest.
    #[test]
    fn what_is_remembered_has_a_bound() {
        let all = Outstanding::new(LIMITS);
        let a = client("a", "one");
        for nth in 0..1_000 {
            let handle = nth.to_string();
            assert_eq!(all.insert(&handle, &a, handle.clone(), Term::until(at(5_000)), at(nth)), Ok(()), "{nth}");
            all.finish(&handle, at(nth + 2_000), at(nth));
        }
        let known = |nth: i64| all.with(&nth.to_string(), at(1_000), |_, _| ()).is_some();
        assert_eq!((0..1_000).filter(|nth| known(*nth)).collect::<Vec<_>>(), [995, 996, 997, 998, 999]);
        all.forget_client(&a.id, at(1_000));
        assert_nothing_left(&all);
    }
}
