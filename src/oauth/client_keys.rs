//! The keys by which a client signs: written in its registration, or published under its `jwks_uri` (RFC 7591 §2).

use std::sync::Arc;

use moka::sync::Cache;

use super::{ClientKeys, OAuthError};
use crate::authn::{RemoteKeys, RemoteKeysError};
use crate::domain::Timestamp;
use crate::jose::{KeySet, UnverifiedToken, Verified, VerifyError};
use crate::outbound::Outbound;

/// Memory for key sets behind URLs, in bytes of JSON. The least used is forgotten, and fetched again when it is needed.
const SETS_BYTES_MAX: u64 = 32 << 20;
/// What a set weighs beside its JSON, and before it was fetched.
const SET_BYTES: u32 = 1024;

/// Why a client's keys did not verify a signature.
#[derive(Debug, thiserror::Error)]
pub enum ClientKeysError {
    #[error("no key of the client verifies the signature")]
    Signature(#[source] VerifyError),
    /// Not the sender's fault, so far as can be told: 503, not 401.
    #[error("the client's keys are not at hand")]
    Unavailable(#[source] RemoteKeysError),
}

impl ClientKeysError {
    /// What the sender hears: `refusal` if the signature is no key's of the client, but that we cannot tell if its keys
    /// are out of reach.
    pub fn or(self, refusal: OAuthError) -> OAuthError {
        match self {
            Self::Signature(_) => refusal,
            Self::Unavailable(_) => OAuthError::KeysUnavailable(self),
        }
    }
}

/// The key sets behind `jwks_uri`s, fetched on use by the guarded client. Clients that name the same URL share a set.
pub struct ClientKeySets {
    outbound: Arc<Outbound>,
    sets: Cache<Arc<str>, Arc<RemoteKeys>>,
}

impl ClientKeySets {
    pub fn new(outbound: Arc<Outbound>) -> Self {
        let weigh = |_: &Arc<str>, set: &Arc<RemoteKeys>| {
            u32::try_from(set.bytes()).unwrap_or(u32::MAX).saturating_add(SET_BYTES)
        };
        Self { outbound, sets: Cache::builder().max_capacity(SETS_BYTES_MAX).weigher(weigh).build() }
    }

    /// The guarded client, for whatever else a client names.
    pub fn outbound(&self) -> &Arc<Outbound> {
        &self.outbound
    }

    /// Verifies a client's signature. `None`, for a client that does not exist, costs what a known client costs whose
    /// keys are at hand; a set that must be fetched first takes longer, at most once in half a minute for each URL.
    pub async fn verify(
        &self,
        keys: Option<&ClientKeys>,
        token: UnverifiedToken<'_>,
        now: Timestamp,
    ) -> Result<Verified, ClientKeysError> {
        match keys {
            None | Some(ClientKeys::None) => KeySet::verify_evenly(None, token).map_err(ClientKeysError::Signature),
            Some(ClientKeys::Inline(keys)) => {
                KeySet::verify_evenly(Some(keys), token).map_err(ClientKeysError::Signature)
            }
            Some(ClientKeys::Remote(url)) => {
                let set = self.set(url);
                let outcome = set.verify(token, now).await;
                self.weigh(url, set);
                outcome.map_err(ClientKeysError::from)
            }
        }
    }

    /// Sets that are remembered. Does the cache's housekeeping on the way: not for a request path.
    pub fn remembered(&self) -> u64 {
        self.sets.run_pending_tasks();
        self.sets.entry_count()
    }

    fn set(&self, url: &Arc<str>) -> Arc<RemoteKeys> {
        let make = || Arc::new(RemoteKeys::of_client(url, &ClientKeys::ALGORITHMS, Arc::clone(&self.outbound)));
        self.sets.get_with_by_ref(url, make)
    }

    /// A set has its weight only after it was fetched: it is put back when that differs from what it had.
    fn weigh(&self, url: &Arc<str>, set: Arc<RemoteKeys>) {
        if set.take_change() {
            self.sets.insert(Arc::clone(url), set);
        }
    }
}

impl From<RemoteKeysError> for ClientKeysError {
    fn from(error: RemoteKeysError) -> Self {
        match error {
            RemoteKeysError::Signature(cause) => Self::Signature(cause),
            RemoteKeysError::Unavailable(_) => Self::Unavailable(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::jose::{Algorithm, SigningKey};
    use crate::outbound::OutboundSettings;
    use crate::outbound::tests::{Peer, Script};

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn key() -> SigningKey {
        SigningKey::generate(Algorithm::Es256).unwrap().0
    }

    fn jwks(keys: &[&SigningKey]) -> String {
        json!({ "keys": keys.iter().map(|key| key.public_jwk()).collect::<Vec<Value>>() }).to_string()
    }

    struct World {
        peer: Peer,
        sets: ClientKeySets,
        keys: ClientKeys,
    }

    async fn world(script: Script) -> World {
        let peer = Peer::start(script).await;
        let settings = OutboundSettings {
            allow_private: vec!["localhost".parse().unwrap()],
            ca_files: vec![peer.ca_file.clone()],
        };
        let url = peer.url("/jwks").replace("peer.example", "localhost");
        let sets = ClientKeySets::new(Arc::new(Outbound::new(settings).unwrap()));
        World { peer, sets, keys: ClientKeys::Remote(url.into()) }
    }

    impl World {
        async fn check(&self, signer: &SigningKey, now: i64) -> &'static str {
            let jws = signer.sign("JWT", &json!({ "iss": "c" })).unwrap();
            let token = UnverifiedToken::parse(&jws).unwrap();
            match self.sets.verify(Some(&self.keys), token, at(now)).await {
                Ok(_) => "verified",
                Err(ClientKeysError::Signature(_)) => "refused",
                Err(ClientKeysError::Unavailable(_)) => "unavailable",
            }
        }
    }

    #[tokio::test]
    async fn keys_rotate_by_url_without_a_storm() {
        let (first, second, never) = (key(), key(), key());
        let world = world(Script::Kept(jwks(&[&first]), 600)).await;
        // Many at once, nothing cached: one fetch.
        let all = (0..10).map(|_| world.check(&first, 1000));
        assert!(futures_util::future::join_all(all).await.iter().all(|outcome| *outcome == "verified"));
        assert_eq!(world.peer.hits(), 1);

        // The client publishes a second key beside the first: followed at the first use.
        world.peer.script.send_replace(Script::Kept(jwks(&[&first, &second]), 600));
        for (name, signer, now, expected, hits) in [
            ("the new key", &second, 1001, "verified", 2),
            ("the old one beside it", &first, 1002, "verified", 2),
            ("a made-up one", &never, 1003, "refused", 2),
            ("again", &never, 1030, "refused", 2),
            ("after the rate cap", &never, 1031, "refused", 3),
            ("and not again", &never, 1032, "refused", 3),
        ] {
            assert_eq!(world.check(signer, now).await, expected, "{name}");
            assert_eq!(world.peer.hits(), hits, "{name}");
        }

        // The first is withdrawn: it is refused when what the answer allowed has passed.
        world.peer.script.send_replace(Script::Kept(jwks(&[&second]), 600));
        for (name, now, expected, hits) in [
            ("still fresh", 1600, "verified", 3),
            ("no longer", 1632, "refused", 4),
            // A key that nobody has is asked for as a new one is: within the rate cap.
            ("asked for again", 1633, "refused", 5),
            ("and not again", 1634, "refused", 5),
        ] {
            assert_eq!(world.check(&first, now).await, expected, "{name}");
            assert_eq!(world.peer.hits(), hits, "{name}");
        }
    }

    #[tokio::test]
    async fn stale_keys_serve_for_a_day_and_then_no_more() {
        let (own, other) = (key(), key());
        let world = world(Script::Body(jwks(&[&own]))).await;
        assert_eq!(world.check(&own, 1000).await, "verified");
        world.peer.script.send_replace(Script::Status(503));
        for (name, signer, now, expected, hits) in [
            ("fresh", &own, 1299, "verified", 1),
            ("stale", &own, 1300, "verified", 2),
            ("not asked again so soon", &own, 1329, "verified", 2),
            ("asked again", &own, 1331, "verified", 3),
            ("an unknown kid may be one that we could not fetch", &other, 1340, "unavailable", 4),
            ("at the end of the day", &own, 1000 + 300 + 86_400 - 1, "verified", 5),
            ("past it", &own, 1000 + 300 + 86_400, "unavailable", 5),
            ("asked again after that", &own, 1000 + 300 + 86_400 + 2, "unavailable", 6),
        ] {
            assert_eq!(world.check(signer, now).await, expected, "{name}");
            assert_eq!(world.peer.hits(), hits, "{name}");
        }
    }

    #[tokio::test]
    async fn a_client_that_withdraws_all_its_keys_has_none() {
        let own = key();
        let world = world(Script::Kept(jwks(&[&own]), 300)).await;
        assert_eq!(world.check(&own, 1000).await, "verified");
        world.peer.script.send_replace(Script::Kept(jwks(&[]), 300));
        assert_eq!(world.check(&own, 1301).await, "refused", "the set is there, and empty");
    }

    #[tokio::test]
    async fn what_is_no_key_set_is_nobodys_key() {
        let own = key();
        for (name, script) in [
            ("not JSON", Script::Body("<html>".into())),
            ("a private key", Script::Body(json!({ "keys": [{ "kty": "oct", "k": "AA" }] }).to_string())),
            ("too long", Script::Body(format!("{}{}", " ".repeat(64 * 1024), jwks(&[&own])))),
            ("a redirect", Script::Redirect("https://localhost/".into())),
            ("an error", Script::Status(404)),
            ("endless", Script::Endless),
        ] {
            let world = world(script).await;
            assert_eq!(world.check(&own, 1000).await, "unavailable", "{name}");
            assert_eq!(world.check(&own, 1001).await, "unavailable", "{name}");
            assert_eq!(world.peer.hits(), 1, "{name}: not asked again so soon");
        }
    }

    #[tokio::test]
    async fn a_url_to_a_private_place_is_not_asked() {
        let own = key();
        let mut world = world(Script::Body(jwks(&[&own]))).await;
        let port = world.peer.url("/").rsplit(':').next().unwrap().to_owned();
        for host in ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "127.0.0.1.", "user@localhost"] {
            world.keys = ClientKeys::Remote(format!("https://{host}:{port}").into());
            assert_eq!(world.check(&own, 1000).await, "unavailable", "{host}");
        }
        assert_eq!((world.peer.hits(), world.peer.connections()), (0, 0));
    }

    #[tokio::test]
    async fn remembered_sets_are_bounded() {
        let sets = ClientKeySets::new(Arc::new(Outbound::new(OutboundSettings::default()).unwrap()));
        let jws = key().sign("JWT", &json!({})).unwrap();
        for i in 0..40_000 {
            let keys = ClientKeys::Remote(format!("https://127.0.0.1/{i}").into());
            let outcome = sets.verify(Some(&keys), UnverifiedToken::parse(&jws).unwrap(), at(0)).await;
            assert!(matches!(outcome, Err(ClientKeysError::Unavailable(_))));
        }
        assert!(sets.remembered() <= SETS_BYTES_MAX / u64::from(SET_BYTES), "{}", sets.remembered());
    }

    #[tokio::test]
    async fn a_client_without_keys_costs_a_check_and_is_refused() {
        let sets = ClientKeySets::new(Arc::new(Outbound::new(OutboundSettings::default()).unwrap()));
        let jws = key().sign("JWT", &json!({})).unwrap();
        let outcome = sets.verify(None, UnverifiedToken::parse(&jws).unwrap(), at(0)).await;
        assert!(matches!(outcome, Err(ClientKeysError::Signature(VerifyError::UnknownKid))));
    }
}
