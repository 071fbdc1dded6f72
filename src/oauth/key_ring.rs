//! Our signing keys: next, current, retired (FAPI 2.0 §6.8). Rotating them breaks no live token.
//!
//! Invariants: exactly one key is current, and only it signs; a key is published as next before it signs, unless the
//! operator says otherwise; a retired key is published until every token that it signed has expired. Each change starts
//! from the store's state and is durable before it takes effect here, so that a change that was interrupted, or made by
//! another node, is adopted with the next [`KeyRing::tick`].

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::{KeyState, KeyStore, Settings, StoreError, StoredKey};
use crate::domain::Timestamp;
use crate::jose::{Algorithm, KeySet, SigningError, SigningKey};

/// How long a key is published before it may sign: as long as the answer of the JWKS endpoint may be cached.
pub const NEXT_KEY_PUBLISHED_MIN: Duration = Duration::from_secs(300);
/// Longest life of an access token under any configuration.
pub const ACCESS_TOKEN_LIFETIME_MAX: Duration = Duration::from_secs(3600);
/// How long a retired key is published: the longest life of a token that it signed, whatever configuration was in force
/// then, and a margin for verifiers whose clock is behind.
const RETIRED_FOR: Duration = Duration::from_secs(ACCESS_TOKEN_LIFETIME_MAX.as_secs() + 60);
/// Most retired keys at once: bounds the published set, and what hasty rotation can cost.
const RETIRED_KEYS_MAX: usize = 16;

/// Why the ring cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum KeyRingError {
    #[error("the key store failed")]
    Store(#[source] StoreError),
    #[error("the stored key {kid} cannot be used")]
    Damaged { kid: String, source: SigningError },
    #[error("the stored key {kid} names the unknown algorithm {algorithm:?}")]
    UnknownAlgorithm { kid: String, algorithm: String },
    #[error("no key could be made")]
    Generate(#[source] SigningError),
    #[error("the next key has not been published long enough; it may sign from {usable_at:?} on")]
    NextTooYoung { usable_at: Timestamp },
    #[error("{RETIRED_KEYS_MAX} retired keys are published already; wait until tokens have expired")]
    TooManyRetired,
}

/// Whether verifiers get the time to learn of the new key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// Refused while the next key is too young.
    Planned,
    /// At once: verifiers that cached our key set meet a `kid` that they do not know, and have to fetch again.
    AtOnce,
}

/// What a tick did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RingChange {
    Unchanged,
    Rotated,
    /// Keys were added or dropped, but the same one signs.
    Tidied,
}

/// One key, for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyStatus {
    pub kid: String,
    pub algorithm: String,
    pub state: KeyState,
    pub created_at: Timestamp,
    pub since: Timestamp,
}

#[derive(Clone)]
struct Slot {
    stored: StoredKey,
    key: Arc<SigningKey>,
}

struct Ring {
    slots: Vec<Slot>,
    current: Arc<SigningKey>,
    jwks: Bytes,
}

/// The keys in memory and their store.
pub struct KeyRing {
    store: Arc<dyn KeyStore>,
    algorithm: Algorithm,
    rotation_period: Duration,
    ring: ArcSwap<Ring>,
    published: Arc<ArcSwap<KeySet>>,
    /// Held over a change: two rotations at once become one after the other. Never held by a request.
    changing: Mutex<()>,
}

impl KeyRing {
    /// Loads the keys, or makes the first ones.
    pub async fn open(
        store: Arc<dyn KeyStore>,
        settings: &Settings,
        now: Timestamp,
    ) -> Result<Arc<Self>, KeyRingError> {
        let algorithm = settings.signing_algorithm;
        let stored = store.load().await.map_err(KeyRingError::Store)?;
        let mut slots = stored.into_iter().map(read_slot).collect::<Result<Vec<_>, _>>()?;
        if complete(&mut slots, algorithm, now).await? {
            save(&*store, &slots).await?;
        }
        let ring = Ring::new(slots).ok_or(KeyRingError::Generate(SigningError::Library))?;
        let published = Arc::new(ArcSwap::from_pointee(ring.key_set()));
        Ok(Arc::new(Self {
            store,
            algorithm,
            rotation_period: settings.key_rotation_period,
            ring: ArcSwap::from_pointee(ring),
            published,
            changing: Mutex::new(()),
        }))
    }

    /// The keys that verify our tokens, for [`crate::authn::Issuer::own`]: follows every change.
    pub fn published(&self) -> Arc<ArcSwap<KeySet>> {
        Arc::clone(&self.published)
    }

    /// The key that signs now.
    pub fn current(&self) -> Arc<SigningKey> {
        Arc::clone(&self.ring.load().current)
    }

    /// Those of the published keys, the current one's first, and that of the keys to come: after a change of the setting the
    /// key in force, and the one that waits, are of the old kind still.
    pub(super) fn algorithms(&self) -> Vec<Algorithm> {
        let ring = self.ring.load();
        let mut algorithms = vec![ring.current.algorithm()];
        for algorithm in ring.slots.iter().map(|slot| slot.key.algorithm()).chain([self.algorithm]) {
            if !algorithms.contains(&algorithm) {
                algorithms.push(algorithm);
            }
        }
        algorithms
    }

    /// The JWK set (RFC 7517 §5): current, next, retired.
    pub fn jwks(&self) -> Bytes {
        self.ring.load().jwks.clone()
    }

    /// The keys and where they stand.
    pub fn status(&self) -> Vec<KeyStatus> {
        let status = |slot: &Slot| KeyStatus {
            kid: slot.stored.kid.clone(),
            algorithm: slot.stored.algorithm.clone(),
            state: slot.stored.state,
            created_at: slot.stored.created_at,
            since: slot.stored.since,
        };
        self.ring.load().slots.iter().map(status).collect()
    }

    /// Rotates by command: next becomes current, current retired, and a new next is published.
    pub async fn rotate(&self, urgency: Urgency, now: Timestamp) -> Result<(), KeyRingError> {
        let _changing = self.changing.lock().await;
        let (mut slots, _) = self.load(now).await?;
        if urgency == Urgency::Planned
            && let Some(usable_at) = next_usable_at(&slots).filter(|at| *at > now)
        {
            return Err(KeyRingError::NextTooYoung { usable_at });
        }
        self.advance(&mut slots, now).await
    }

    /// Does what is due: adopts the store's state, drops retired keys whose tokens have expired, rotates when the
    /// current key is old enough. The server calls it every minute.
    pub async fn tick(&self, now: Timestamp) -> Result<RingChange, KeyRingError> {
        let _changing = self.changing.lock().await;
        let (mut slots, changed) = self.load(now).await?;
        let age =
            slots.iter().find(|slot| slot.stored.state == KeyState::Current).map(|slot| now.since(slot.stored.since));
        let due = age.is_some_and(|age| age >= self.rotation_period);
        let ready = next_usable_at(&slots).is_some_and(|at| at <= now);
        if due && ready {
            self.advance(&mut slots, now).await?;
            return Ok(RingChange::Rotated);
        }
        if !changed {
            return Ok(RingChange::Unchanged);
        }
        save(&*self.store, &slots).await?;
        self.publish(slots)?;
        Ok(RingChange::Tidied)
    }

    /// The store's state, completed, and whether it differs from what is published here.
    async fn load(&self, now: Timestamp) -> Result<(Vec<Slot>, bool), KeyRingError> {
        let stored = self.store.load().await.map_err(KeyRingError::Store)?;
        let known = self.ring.load_full();
        let mut slots = Vec::with_capacity(stored.len());
        for key in stored {
            let same = known.slots.iter().find(|slot| slot.stored.kid == key.kid);
            slots.push(match same {
                Some(slot) => Slot { stored: key, key: Arc::clone(&slot.key) },
                None => read_slot(key)?,
            });
        }
        // A store that lost its content must not take the keys of live tokens with it.
        let lost = slots.is_empty();
        if lost {
            slots.clone_from(&known.slots);
        }
        let completed = complete(&mut slots, self.algorithm, now).await?;
        let places = |slots: &[Slot]| slots.iter().map(|slot| (slot.stored.kid.clone(), slot.stored.state)).collect();
        let (there, here): (Vec<_>, Vec<_>) = (places(&slots), places(&known.slots));
        Ok((slots, lost || completed || there != here))
    }

    async fn advance(&self, slots: &mut Vec<Slot>, now: Timestamp) -> Result<(), KeyRingError> {
        let retired = slots.iter().filter(|slot| slot.stored.state == KeyState::Retired).count();
        if retired >= RETIRED_KEYS_MAX {
            return Err(KeyRingError::TooManyRetired);
        }
        for slot in slots.iter_mut() {
            let state = match slot.stored.state {
                KeyState::Next => KeyState::Current,
                KeyState::Current => KeyState::Retired,
                KeyState::Retired => continue,
            };
            slot.stored.state = state;
            slot.stored.since = now;
        }
        complete(slots, self.algorithm, now).await?;
        save(&*self.store, slots).await?;
        self.publish(std::mem::take(slots))
    }

    /// Publishes before it signs: the verifier's set first, then the ring.
    fn publish(&self, slots: Vec<Slot>) -> Result<(), KeyRingError> {
        let ring = Ring::new(slots).ok_or(KeyRingError::Generate(SigningError::Library))?;
        self.published.store(Arc::new(ring.key_set()));
        self.ring.store(Arc::new(ring));
        Ok(())
    }
}

impl Ring {
    /// None if no key is current, which [`complete`] rules out.
    fn new(slots: Vec<Slot>) -> Option<Self> {
        let current = slots.iter().find(|slot| slot.stored.state == KeyState::Current)?;
        let current = Arc::clone(&current.key);
        let jwks: Vec<Value> = slots.iter().map(|slot| slot.key.public_jwk()).collect();
        let jwks = json!({ "keys": jwks }).to_string().into();
        Some(Self { slots, current, jwks })
    }

    fn key_set(&self) -> KeySet {
        KeySet::of(self.slots.iter().map(|slot| slot.key.public_key()).collect())
    }
}

/// When the next key may sign; none if there is no next key.
fn next_usable_at(slots: &[Slot]) -> Option<Timestamp> {
    let next = slots.iter().find(|slot| slot.stored.state == KeyState::Next)?;
    Some(next.stored.since.plus(NEXT_KEY_PUBLISHED_MIN))
}

/// Makes the invariants hold: drops what is over, lets one key be current and one next, makes what is missing.
/// Returns whether anything changed. Order afterwards: current, next, retired from young to old.
async fn complete(slots: &mut Vec<Slot>, algorithm: Algorithm, now: Timestamp) -> Result<bool, KeyRingError> {
    let before = slots.len();
    slots.retain(|slot| slot.stored.state != KeyState::Retired || now.since(slot.stored.since) < RETIRED_FOR);
    let mut changed = slots.len() != before;
    slots.sort_by_key(|slot| std::cmp::Reverse(slot.stored.since));
    changed |= demote_surplus(slots, KeyState::Current, now);
    changed |= demote_surplus(slots, KeyState::Next, now);
    for wanted in [KeyState::Current, KeyState::Next] {
        if slots.iter().any(|slot| slot.stored.state == wanted) {
            continue;
        }
        changed = true;
        let next = slots.iter_mut().find(|slot| slot.stored.state == KeyState::Next);
        match next {
            // A ring without a current key: better a published key than an unknown one.
            Some(slot) => {
                slot.stored.state = KeyState::Current;
                slot.stored.since = now;
            }
            None => slots.push(generate(algorithm, wanted, now).await?),
        }
    }
    slots.sort_by_key(|slot| match slot.stored.state {
        KeyState::Current => 0,
        KeyState::Next => 1,
        KeyState::Retired => 2,
    });
    Ok(changed)
}

/// If a damaged store has several keys in a state of which there is one, the youngest keeps it.
fn demote_surplus(slots: &mut [Slot], state: KeyState, now: Timestamp) -> bool {
    let surplus = slots.iter_mut().filter(|slot| slot.stored.state == state).skip(1);
    surplus.fold(false, |_, slot| {
        slot.stored.state = KeyState::Retired;
        slot.stored.since = now;
        true
    })
}

fn read_slot(stored: StoredKey) -> Result<Slot, KeyRingError> {
    let algorithm = stored
        .algorithm
        .parse()
        .map_err(|_| KeyRingError::UnknownAlgorithm { kid: stored.kid.clone(), algorithm: stored.algorithm.clone() })?;
    let damaged = |source| KeyRingError::Damaged { kid: stored.kid.clone(), source };
    let key = SigningKey::from_pem(algorithm, &stored.private_key).map_err(damaged)?;
    // The kid is the thumbprint: another text means that row and key do not belong together.
    if key.kid() != stored.kid {
        return Err(damaged(SigningError::Rejected(algorithm)));
    }
    Ok(Slot { stored, key: Arc::new(key) })
}

async fn generate(algorithm: Algorithm, state: KeyState, now: Timestamp) -> Result<Slot, KeyRingError> {
    // An RSA key takes up to a second: not on a thread that serves requests.
    let made = tokio::task::spawn_blocking(move || SigningKey::generate(algorithm)).await;
    let (key, private_key) = made.unwrap_or(Err(SigningError::Library)).map_err(KeyRingError::Generate)?;
    let stored = StoredKey {
        kid: key.kid().to_owned(),
        algorithm: algorithm.as_str().to_owned(),
        private_key,
        state,
        created_at: now,
        since: now,
    };
    Ok(Slot { stored, key: Arc::new(key) })
}

async fn save(store: &dyn KeyStore, slots: &[Slot]) -> Result<(), KeyRingError> {
    let keys: Vec<StoredKey> = slots.iter().map(|slot| slot.stored.clone()).collect();
    store.replace(&keys).await.map_err(KeyRingError::Store)
}
