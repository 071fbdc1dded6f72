//! Key rotation: nothing that lives breaks, whoever rotates and whatever fails.

use super::*;

const LEAD: i64 = NEXT_KEY_PUBLISHED_MIN.as_secs() as i64;
const DAY: i64 = 86_400;

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

async fn open(memory: &Arc<Memory>, now: i64) -> Result<Arc<KeyRing>, KeyRingError> {
    KeyRing::open(memory.clone(), &settings(), at(now)).await
}

fn states(ring: &KeyRing) -> Vec<KeyState> {
    ring.status().iter().map(|key| key.state).collect()
}

fn published_kids(ring: &KeyRing) -> Vec<String> {
    let jwks: Value = serde_json::from_slice(&ring.jwks()).unwrap();
    let kids: Vec<_> = jwks["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().into()).collect();
    let verifying: Vec<_> = ring.published().load().iter().map(|key| key.kid().unwrap().to_owned()).collect();
    assert_eq!(kids, verifying, "what we publish is what we verify with");
    kids
}

#[tokio::test]
async fn a_new_ring_has_a_key_that_signs_and_one_that_will() {
    let memory = Arc::new(Memory::default());
    let ring = open(&memory, NOW).await.unwrap();
    assert_eq!(states(&ring), [KeyState::Current, KeyState::Next]);
    assert_eq!(memory.kids(KeyState::Current), [ring.current().kid()], "durable before it signs");
    let again = open(&memory, NOW + 1).await.unwrap();
    assert_eq!(again.status(), ring.status(), "a restart changes nothing");
    assert_eq!(memory.replaced.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_rotation_keeps_every_live_token_and_ends_the_key_afterwards() {
    let world = world().await;
    let ring = &world.server.parts.keys;
    let live = world.token_of(&world.assertion("jwt", "a"), &[]).await.unwrap().body.access_token;
    let announced = published_kids(ring)[1].clone();
    let check = |token: String, now: i64| {
        let world = &world;
        async move { world.authenticator.authenticate(&token, &connection(None), at(now)).await.is_ok() }
    };
    assert!(check(live.clone(), NOW).await);

    ring.rotate(Urgency::AtOnce, at(NOW + 1)).await.unwrap();
    assert_eq!(ring.current().kid(), announced, "the announced key signs now");
    assert_eq!(states(ring), [KeyState::Current, KeyState::Next, KeyState::Retired]);
    assert!(check(live.clone(), NOW + 2).await, "signed by the retired key");
    let fresh = world.token_of(&world.assertion("jwt", "b"), &[]).await.unwrap().body.access_token;
    assert!(check(fresh, NOW + 2).await, "signed by the new one");
    let cold = Authenticator::new(Some(world.server.parts.issuer.clone()), vec![], Arc::default()).unwrap();
    assert!(cold.authenticate(&live, &connection(None), at(NOW + 299)).await.is_ok(), "also without a cache");

    // Held for an hour and a margin, then dropped.
    assert_eq!(ring.tick(at(NOW + 3660)).await.unwrap(), RingChange::Unchanged);
    assert_eq!(published_kids(ring).len(), 3);
    assert_eq!(ring.tick(at(NOW + 3661)).await.unwrap(), RingChange::Tidied);
    assert_eq!(states(ring), [KeyState::Current, KeyState::Next]);
    assert_eq!(memory_states(&world.memory), (1, 1, 0));
}

fn memory_states(memory: &Memory) -> (usize, usize, usize) {
    let count = |state| memory.kids(state).len();
    (count(KeyState::Current), count(KeyState::Next), count(KeyState::Retired))
}

#[tokio::test]
async fn a_schedule_rotates_when_the_key_is_old_enough() {
    let memory = Arc::new(Memory::default());
    let ring = open(&memory, NOW).await.unwrap();
    let first = ring.current().kid().to_owned();
    for (name, now, expected) in [
        ("young", NOW + DAY - 1, RingChange::Unchanged),
        ("old enough", NOW + DAY, RingChange::Rotated),
        ("just rotated", NOW + DAY + 60, RingChange::Unchanged),
        ("the retired one is over", NOW + DAY + 3660, RingChange::Tidied),
        ("old again", NOW + 2 * DAY, RingChange::Rotated),
    ] {
        assert_eq!(ring.tick(at(now)).await.unwrap(), expected, "{name}");
    }
    assert!(!published_kids(&ring).contains(&first));
}

#[tokio::test]
async fn a_planned_rotation_waits_until_the_next_key_is_known() {
    let memory = Arc::new(Memory::default());
    let ring = open(&memory, NOW).await.unwrap();
    let first = ring.current().kid().to_owned();
    let early = ring.rotate(Urgency::Planned, at(NOW + LEAD - 1)).await;
    assert!(matches!(early, Err(KeyRingError::NextTooYoung { usable_at }) if usable_at == at(NOW + LEAD)), "{early:?}");
    assert_eq!(ring.current().kid(), first);
    ring.rotate(Urgency::Planned, at(NOW + LEAD)).await.unwrap();
    assert_ne!(ring.current().kid(), first);
}

#[tokio::test]
async fn two_rotations_at_once_are_one_after_the_other() {
    let memory = Arc::new(Memory::default());
    let ring = open(&memory, NOW).await.unwrap();
    let now = at(NOW + LEAD);
    let (first, second) = tokio::join!(ring.rotate(Urgency::Planned, now), ring.rotate(Urgency::Planned, now));
    assert_ne!(first.is_ok(), second.is_ok(), "the second meets a next key that is too young");
    assert_eq!(memory_states(&memory), (1, 1, 1));
    let (first, second) = tokio::join!(ring.rotate(Urgency::AtOnce, now), ring.rotate(Urgency::AtOnce, now));
    assert!(first.is_ok() && second.is_ok());
    assert_eq!(memory_states(&memory), (1, 1, 3), "no key is lost");
    assert_eq!(published_kids(&ring).len(), 5);
}

#[tokio::test]
async fn hasty_rotation_has_an_end() {
    let memory = Arc::new(Memory::default());
    let ring = open(&memory, NOW).await.unwrap();
    for _ in 0..16 {
        ring.rotate(Urgency::AtOnce, at(NOW + 1)).await.unwrap();
    }
    let refused = ring.rotate(Urgency::AtOnce, at(NOW + 2)).await;
    assert!(matches!(refused, Err(KeyRingError::TooManyRetired)));
    assert_eq!(published_kids(&ring).len(), 18);
    ring.rotate(Urgency::AtOnce, at(NOW + 3661)).await.unwrap();
}

#[tokio::test]
async fn a_lost_store_changes_nothing() {
    let memory = Arc::new(Memory::default());
    let ring = open(&memory, NOW).await.unwrap();
    let before = ring.status();
    memory.broken.store(true, Ordering::SeqCst);
    assert!(matches!(ring.rotate(Urgency::AtOnce, at(NOW + LEAD)).await, Err(KeyRingError::Store(_))));
    assert!(matches!(ring.tick(at(NOW + DAY)).await, Err(KeyRingError::Store(_))));
    assert_eq!(ring.status(), before);
    assert!(matches!(open(&memory, NOW).await.map(drop), Err(KeyRingError::Store(_))), "and nobody starts without");
    memory.broken.store(false, Ordering::SeqCst);

    // A store that came back empty is filled again: the keys of live tokens do not go with it.
    memory.keys.lock().unwrap().clear();
    assert_eq!(ring.tick(at(NOW + 1)).await.unwrap(), RingChange::Tidied);
    assert_eq!(ring.status(), before);
    assert_eq!(memory_states(&memory), (1, 1, 0));
}

#[tokio::test]
async fn what_another_node_did_is_adopted() {
    let memory = Arc::new(Memory::default());
    let (one, two) = (open(&memory, NOW).await.unwrap(), open(&memory, NOW).await.unwrap());
    one.rotate(Urgency::AtOnce, at(NOW + 1)).await.unwrap();
    assert_ne!(two.current().kid(), one.current().kid());
    assert_eq!(two.tick(at(NOW + 2)).await.unwrap(), RingChange::Tidied);
    assert_eq!(two.status(), one.status());
    assert_eq!(two.tick(at(NOW + 3)).await.unwrap(), RingChange::Unchanged);
}

#[tokio::test]
async fn a_rotation_that_was_cut_off_is_taken_up_by_the_next_tick() {
    let memory = Arc::new(Memory::default());
    let ring = open(&memory, NOW).await.unwrap();
    // The store has rotated, but this process did not get to hear of it.
    for key in memory.keys.lock().unwrap().iter_mut() {
        key.state = if key.state == KeyState::Next { KeyState::Current } else { KeyState::Retired };
        key.since = at(NOW + 1);
    }
    assert_eq!(ring.tick(at(NOW + 2)).await.unwrap(), RingChange::Tidied);
    assert_eq!(states(&ring), [KeyState::Current, KeyState::Next, KeyState::Retired]);
    assert_eq!(memory.kids(KeyState::Current), [ring.current().kid()]);
}

#[tokio::test]
async fn a_damaged_store_is_repaired_or_refused() {
    let healthy = Arc::new(Memory::default());
    open(&healthy, NOW).await.unwrap();
    let stored = healthy.keys.lock().unwrap().clone();
    let with = |change: fn(&mut Vec<StoredKey>)| {
        let mut keys = stored.clone();
        change(&mut keys);
        Arc::new(Memory { keys: Mutex::new(keys), ..Memory::default() })
    };
    for (name, change, expected) in [
        ("two current", (|keys| keys[1].state = KeyState::Current) as fn(&mut Vec<StoredKey>), (1, 1, 1)),
        ("two next", |keys| keys[0].state = KeyState::Next, (1, 1, 1)),
        ("none current", |keys| drop(keys.remove(0)), (1, 1, 0)),
        ("none next", |keys| drop(keys.remove(1)), (1, 1, 0)),
        ("only retired", |keys| keys.iter_mut().for_each(|key| key.state = KeyState::Retired), (1, 1, 2)),
    ] {
        let memory = with(change);
        open(&memory, NOW + 1).await.unwrap();
        assert_eq!(memory_states(&memory), expected, "{name}");
    }
    for (name, change) in [
        ("a key exchanged", (|keys| keys[0].private_key = keys[1].private_key.clone()) as fn(&mut Vec<StoredKey>)),
        ("no PEM", |keys| keys[0].private_key = "x".into()),
        ("another algorithm", |keys| keys[0].algorithm = "PS256".into()),
        ("an unknown algorithm", |keys| keys[0].algorithm = "ES999".into()),
    ] {
        assert!(open(&with(change), NOW + 1).await.is_err(), "{name}");
    }
    let shown = format!("{stored:?}");
    assert!(!shown.contains("PRIVATE KEY"), "no key in a log");
}

#[tokio::test]
async fn a_new_algorithm_comes_with_the_next_key() {
    let memory = Arc::new(Memory::default());
    let ring = open(&memory, NOW).await.unwrap();
    assert_eq!(ring.current().algorithm(), Algorithm::Es256);
    let changed = Settings { signing_algorithm: Algorithm::EdDsa, ..settings() };
    let ring = KeyRing::open(memory.clone(), &changed, at(NOW + 1)).await.unwrap();
    ring.rotate(Urgency::AtOnce, at(NOW + 2)).await.unwrap();
    assert_eq!(ring.current().algorithm(), Algorithm::Es256, "the next key was made before");
    ring.rotate(Urgency::AtOnce, at(NOW + 3)).await.unwrap();
    assert_eq!(ring.current().algorithm(), Algorithm::EdDsa);
    assert!(ring.current().sign("at+jwt", &json!({})).is_ok());
}
