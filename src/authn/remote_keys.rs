//! The keys of an issuer that publishes them under a URL.
//!
//! One fetch at a time, and not more often than the rate cap, however many tokens name an unknown `kid`; what was
//! fetched last keeps serving while the endpoint is gone (design §11: rotation must not cause 401s, nor a storm).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::{AuthnError, IssuerError, IssuerSettings, JwksFetchError};
use crate::domain::Timestamp;
use crate::jose::{Algorithm, KeySet, KeyThumbprint, UnverifiedToken, Verified, parse_strict};

/// Longest JWK set, in bytes.
pub(super) const JWKS_BYTES_MAX: usize = 256 * 1024;
/// From connecting to the last byte.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// While keys are at hand, unknown `kid`s cause at most one fetch in this time. Other fetches do not count: an issuer
/// that rotates right after one is followed at once.
const REFETCH_INTERVAL_MIN: Duration = Duration::from_secs(30);
/// While there are none, we try more often: every request of this issuer is refused meanwhile.
const FIRST_FETCH_INTERVAL_MIN: Duration = Duration::from_secs(2);
/// Age at which the background refresh fetches again.
const REFRESH_PERIOD: Duration = Duration::from_secs(300);

pub(super) struct RemoteKeys {
    url: Url,
    algorithms: Vec<Algorithm>,
    client: Client,
    keys: ArcSwapOption<KeySet>,
    /// Held while fetching: whoever comes meanwhile waits for that fetch instead of starting another.
    last: Mutex<Fetches>,
}

#[derive(Default)]
struct Fetches {
    latest: Option<Attempt>,
    /// When an unknown `kid` last caused a fetch although there were keys.
    demanded: Option<Timestamp>,
}

struct Attempt {
    /// When it ended; until then, when it began.
    at: Timestamp,
    failure: Option<Arc<JwksFetchError>>,
}

impl RemoteKeys {
    pub(super) fn new(settings: &IssuerSettings, url: &str) -> Result<Self, IssuerError> {
        Self::with_timeout(settings, url, FETCH_TIMEOUT)
    }

    pub(super) fn with_timeout(settings: &IssuerSettings, url: &str, timeout: Duration) -> Result<Self, IssuerError> {
        let refuse = || IssuerError::Url(settings.issuer.clone(), url.to_owned());
        let url = Url::parse(url).map_err(|_| refuse())?;
        if !is_allowed(&url) {
            return Err(refuse());
        }
        let client = Client::builder()
            .redirect(Policy::none())
            .timeout(timeout)
            .no_proxy() // The environment is read in `config` only.
            .build()
            .map_err(IssuerError::Client)?;
        let algorithms = settings.algorithms.clone();
        Ok(Self { url, algorithms, client, keys: ArcSwapOption::empty(), last: Mutex::default() })
    }

    pub(super) fn contains(&self, key: KeyThumbprint) -> bool {
        self.keys.load().as_ref().is_some_and(|keys| keys.contains(key))
    }

    /// Verifies with the keys at hand; fetches if there are none or none has the token's `kid`.
    pub(super) async fn verify(&self, token: UnverifiedToken<'_>, now: Timestamp) -> Result<Verified, AuthnError> {
        let at_hand = self.keys.load_full().filter(|keys| knows(keys, &token));
        if let Some(keys) = at_hand {
            return keys.verify(token).map_err(AuthnError::Signature);
        }
        let failure = self.fetch_for(&token, now).await;
        match (self.keys.load_full(), failure) {
            (None, failure) => Err(AuthnError::KeysUnavailable(failure)),
            // The key may be one that we could not fetch: our fault, not the caller's.
            (Some(keys), Some(failure)) if !knows(&keys, &token) => Err(AuthnError::KeysUnavailable(Some(failure))),
            (Some(keys), _) => keys.verify(token).map_err(AuthnError::Signature),
        }
    }

    pub(super) async fn refresh_if_due(&self, now: Timestamp) {
        let mut last = self.last.lock().await;
        let fresh = last.latest.as_ref().is_some_and(|attempt| {
            let period = if attempt.failure.is_some() { REFETCH_INTERVAL_MIN } else { REFRESH_PERIOD };
            is_recent(attempt.at, now, period)
        });
        if !fresh {
            self.fetch_into(&mut last, now).await;
        }
    }

    /// Fetches unless somebody just did; returns why the latest attempt failed, if it did.
    async fn fetch_for(&self, token: &UnverifiedToken<'_>, now: Timestamp) -> Option<Arc<JwksFetchError>> {
        let mut last = self.last.lock().await;
        let keys = self.keys.load_full();
        if keys.as_ref().is_some_and(|keys| knows(keys, token)) {
            return None; // Fetched while we waited.
        }
        let recent = if keys.is_some() {
            last.demanded.is_some_and(|at| is_recent(at, now, REFETCH_INTERVAL_MIN))
        } else {
            last.latest.as_ref().is_some_and(|attempt| is_recent(attempt.at, now, FIRST_FETCH_INTERVAL_MIN))
        };
        if !recent {
            if keys.is_some() {
                last.demanded = Some(now); // Before the fetch, for the same reason as below.
            }
            self.fetch_into(&mut last, now).await;
        }
        last.latest.as_ref().and_then(|attempt| attempt.failure.clone())
    }

    async fn fetch_into(&self, last: &mut Fetches, now: Timestamp) {
        // Noted before the fetch: if this future is dropped midway, the rate cap still counts the attempt.
        last.latest = Some(Attempt { at: now, failure: Some(Arc::new(JwksFetchError::Interrupted)) });
        let began = Instant::now();
        let failure = match self.fetch().await {
            Ok(keys) => {
                self.keys.store(Some(Arc::new(keys)));
                None
            }
            Err(error) => {
                tracing::warn!(url = %self.url, %error, "JWK set not fetched; the keys at hand keep serving");
                Some(Arc::new(error))
            }
        };
        // Its end counts: those who waited for it share its outcome, however long it took. Counted from its begin, a
        // fetch that takes longer than the rate cap would be repeated for each of them, one after the other.
        last.latest = Some(Attempt { at: now.plus(began.elapsed()), failure });
    }

    async fn fetch(&self) -> Result<KeySet, JwksFetchError> {
        let response = self.client.get(self.url.clone()).header("accept", "application/jwk-set+json, application/json");
        let mut response = response.send().await.map_err(JwksFetchError::Transport)?;
        if response.status() != reqwest::StatusCode::OK {
            return Err(JwksFetchError::Status(response.status().as_u16()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(JwksFetchError::Transport)? {
            if body.len() + chunk.len() > JWKS_BYTES_MAX {
                return Err(JwksFetchError::TooLong(JWKS_BYTES_MAX));
            }
            body.extend_from_slice(&chunk);
        }
        let jwks = parse_strict(&body).map_err(JwksFetchError::Json)?;
        let parsed = KeySet::parse(&jwks, &self.algorithms).map_err(JwksFetchError::Jwks)?;
        for skipped in &parsed.skipped {
            tracing::debug!(url = %self.url, position = skipped.position, reason = %skipped.error, "JWK skipped");
        }
        Ok(parsed.keys)
    }
}

/// Whether `at` is less than `span` ago. It may lie ahead by what somebody waited for the fetch that it ended; further
/// ahead it is only after the clock was set back, and then it says nothing.
fn is_recent(at: Timestamp, now: Timestamp, span: Duration) -> bool {
    now.since(at) < span && at.since(now) <= 2 * FETCH_TIMEOUT
}

fn knows(keys: &KeySet, token: &UnverifiedToken<'_>) -> bool {
    match token.header().kid.as_deref() {
        None => !keys.is_empty(),
        Some(kid) => keys.iter().any(|key| key.kid() == Some(kid)),
    }
}

/// FAPI 2.0 §5.4.2-1: keys come over TLS. Plain HTTP is for a loopback address, written as an address.
fn is_allowed(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let loopback = address.is_ok_and(|address| address.is_loopback());
    let plain_userinfo = url.username().is_empty() && url.password().is_none();
    plain_userinfo && !host.is_empty() && (url.scheme() == "https" || (url.scheme() == "http" && loopback))
}
