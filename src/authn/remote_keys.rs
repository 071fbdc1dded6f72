//! The keys of somebody who publishes them under a URL: an outside issuer, or a client by its `jwks_uri`.
//!
//! One fetch at a time, and not more often than the rate cap, however many tokens name an unknown `kid`; what was
//! fetched last keeps serving while the endpoint is gone (design §11: rotation must not cause 401s, nor a storm).

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::Instant;

use super::{IssuerError, IssuerSettings, JwksFetchError, RemoteKeysError};
use crate::domain::Timestamp;
use crate::jose::{Algorithm, JwksError, KeySet, KeyThumbprint, ParsedKeySet, UnverifiedToken, Verified, parse_strict};
use crate::outbound::Outbound;

/// Longest JWK set, in bytes.
pub(super) const JWKS_BYTES_MAX: usize = 256 * 1024;
/// Of one that a client publishes: there are many clients.
const CLIENT_JWKS_BYTES_MAX: usize = 64 * 1024;
/// From connecting to the last byte.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// While keys are at hand, unknown `kid`s cause at most one fetch in this time. Other fetches do not count: an issuer
/// that rotates right after one is followed at once.
const REFETCH_INTERVAL_MIN: Duration = Duration::from_secs(30);
/// While there are none, we try more often: every request of this issuer is refused meanwhile.
const FIRST_FETCH_INTERVAL_MIN: Duration = Duration::from_secs(2);
/// Age at which the background refresh fetches again.
const REFRESH_PERIOD: Duration = Duration::from_secs(300);
/// How long a client's keys pass as fresh: what its `Cache-Control` says, within these bounds.
const FRESH_MIN: Duration = Duration::from_secs(60);
const FRESH_DEFAULT: Duration = Duration::from_secs(300);
const FRESH_MAX: Duration = Duration::from_secs(3600);
/// How long after that they serve while its endpoint is gone. An issuer's serve on: the operator chose it.
const STALE_MAX: Duration = Duration::from_secs(86_400);
const ACCEPT: &str = "application/jwk-set+json, application/json";

/// Who named the URL decides what is believed of it.
enum Source {
    /// The operator: fetched in the background, kept for ever.
    Operator { url: Url, client: Client },
    /// A client: fetched on use, by the guarded client, and not for ever.
    Stranger { url: String, outbound: Arc<Outbound> },
}

/// A JWK set as it was fetched.
struct Held {
    keys: KeySet,
    fetched_at: Timestamp,
    /// How long it passes as fresh.
    fresh_for: Duration,
    bytes: usize,
}

/// One JWK set behind a URL.
pub struct RemoteKeys {
    set: Arc<RemoteSet>,
    /// Held while fetching: whoever comes meanwhile waits for that fetch instead of starting another.
    last: Arc<Mutex<Fetches>>,
}

/// Where it is, and what was found there.
struct RemoteSet {
    source: Source,
    algorithms: Vec<Algorithm>,
    held: ArcSwapOption<Held>,
    /// Whether another set came since somebody asked last.
    changed: AtomicBool,
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
        Ok(Self::of(Source::Operator { url, client }, &settings.algorithms))
    }

    /// Keys that a client publishes (RFC 7591 §2 `jwks_uri`). Nothing is fetched before they are needed.
    pub fn of_client(url: &str, algorithms: &[Algorithm], outbound: Arc<Outbound>) -> Self {
        Self::of(Source::Stranger { url: url.to_owned(), outbound }, algorithms)
    }

    fn of(source: Source, algorithms: &[Algorithm]) -> Self {
        let (algorithms, changed) = (algorithms.to_vec(), AtomicBool::new(false));
        let set = RemoteSet { source, algorithms, held: ArcSwapOption::empty(), changed };
        Self { set: Arc::new(set), last: Arc::default() }
    }

    pub(super) fn contains(&self, key: KeyThumbprint) -> bool {
        self.set.held.load().as_ref().is_some_and(|held| held.keys.contains(key))
    }

    /// About how much memory the set at hand takes.
    pub fn bytes(&self) -> usize {
        self.set.held.load().as_ref().map_or(0, |held| held.bytes)
    }

    /// Whether the set at hand is another than when this was asked last: [`Self::bytes`] may be too.
    pub fn take_change(&self) -> bool {
        self.set.changed.swap(false, Ordering::Relaxed)
    }

    /// Verifies with the keys at hand; fetches if there are none, they are no longer fresh, or they do not know the
    /// token ([`KeySet::knows`]). For a client the time does not tell whether its set has that `kid`.
    pub async fn verify(&self, token: UnverifiedToken<'_>, now: Timestamp) -> Result<Verified, RemoteKeysError> {
        let held = self.held_for(|held| held.keys.knows(&token), now).await?;
        let verified = match self.set.source {
            Source::Operator { .. } => held.keys.verify(token),
            Source::Stranger { .. } => KeySet::verify_evenly(Some(&held.keys), token),
        };
        verified.map_err(RemoteKeysError::Signature)
    }

    async fn held_for(&self, knows: impl Fn(&Held) -> bool, now: Timestamp) -> Result<Arc<Held>, RemoteKeysError> {
        if let Some(held) = self.serving(now).filter(|held| knows(held) && !self.is_due(held, now)) {
            return Ok(held);
        }
        let failure = self.fetch_for(&knows, now).await;
        match (self.serving(now), failure) {
            (None, failure) => Err(RemoteKeysError::Unavailable(failure)),
            // The key may be one that we could not fetch: our fault, not the caller's.
            (Some(held), Some(failure)) if !knows(&held) => Err(RemoteKeysError::Unavailable(Some(failure))),
            (Some(held), _) => Ok(held),
        }
    }

    /// What is at hand and not too old to serve.
    fn serving(&self, now: Timestamp) -> Option<Arc<Held>> {
        let held = self.set.held.load_full()?;
        match self.set.source {
            Source::Operator { .. } => Some(held),
            Source::Stranger { .. } => (now.since(held.fetched_at) < held.fresh_for + STALE_MAX).then_some(held),
        }
    }

    /// Whether a use should fetch. An issuer's keys are renewed in the background instead.
    fn is_due(&self, held: &Held, now: Timestamp) -> bool {
        match self.set.source {
            Source::Operator { .. } => false,
            Source::Stranger { .. } => !is_recent(held.fetched_at, now, held.fresh_for),
        }
    }

    pub(super) async fn refresh_if_due(&self, now: Timestamp) {
        let last = Arc::clone(&self.last).lock_owned().await;
        let fresh = last.latest.as_ref().is_some_and(|attempt| {
            let period = if attempt.failure.is_some() { REFETCH_INTERVAL_MIN } else { REFRESH_PERIOD };
            is_recent(attempt.at, now, period)
        });
        if !fresh {
            self.fetch(last, now).await;
        }
    }

    /// Fetches unless somebody just did; returns why the latest attempt failed, if it did.
    async fn fetch_for(&self, knows: &impl Fn(&Held) -> bool, now: Timestamp) -> Option<Arc<JwksFetchError>> {
        let mut last = Arc::clone(&self.last).lock_owned().await;
        let held = self.serving(now);
        let attempted =
            |last: &Fetches, span| last.latest.as_ref().is_some_and(|attempt| is_recent(attempt.at, now, span));
        let recent = match &held {
            None => attempted(&last, FIRST_FETCH_INTERVAL_MIN),
            Some(held) if !knows(held) => last.demanded.is_some_and(|at| is_recent(at, now, REFETCH_INTERVAL_MIN)),
            Some(held) if self.is_due(held, now) => attempted(&last, REFETCH_INTERVAL_MIN),
            Some(_) => return None, // Fetched while we waited.
        };
        if recent {
            return last.latest.as_ref().and_then(|attempt| attempt.failure.clone());
        }
        if held.is_some_and(|held| !knows(&held)) {
            last.demanded = Some(now);
        }
        self.fetch(last, now).await
    }

    /// On a task of its own: whoever asked may go away, and those who wait behind must not inherit an attempt that came
    /// to nothing, for the rate cap counts it.
    async fn fetch(&self, mut last: OwnedMutexGuard<Fetches>, now: Timestamp) -> Option<Arc<JwksFetchError>> {
        let set = Arc::clone(&self.set);
        let fetched = tokio::spawn(async move {
            set.fetch_into(&mut last, now).await;
            last.latest.as_ref().and_then(|attempt| attempt.failure.clone())
        });
        fetched.await.unwrap_or_else(|_ended| Some(Arc::new(JwksFetchError::Interrupted)))
    }
}

impl RemoteSet {
    async fn fetch_into(&self, last: &mut Fetches, now: Timestamp) {
        // Noted before the fetch: should it end midway, the rate cap still counts the attempt.
        last.latest = Some(Attempt { at: now, failure: Some(Arc::new(JwksFetchError::Interrupted)) });
        let began = Instant::now();
        let fetched = match &self.source {
            Source::Operator { url, client } => fetch(url, client).await,
            Source::Stranger { url, outbound } => fetch_guarded(url, outbound).await,
        };
        let failure = match fetched.and_then(|fetched| self.read(&fetched, now)) {
            Ok(held) => {
                self.held.store(Some(Arc::new(held)));
                self.changed.store(true, Ordering::Relaxed);
                None
            }
            Err(error) => {
                self.tell(&error);
                Some(Arc::new(error))
            }
        };
        // Its end counts: those who waited for it share its outcome, however long it took. Counted from its begin, a
        // fetch that takes longer than the rate cap would be repeated for each of them, one after the other.
        last.latest = Some(Attempt { at: now.plus(began.elapsed()), failure });
    }

    fn tell(&self, error: &JwksFetchError) {
        match &self.source {
            Source::Operator { url, .. } => {
                tracing::warn!(%url, %error, "JWK set not fetched; the keys at hand keep serving");
            }
            // There are many, and their state is their own affair.
            Source::Stranger { url, .. } => tracing::debug!(url, %error, "a client's JWK set was not fetched"),
        }
    }

    fn read(&self, fetched: &Fetched, now: Timestamp) -> Result<Held, JwksFetchError> {
        let jwks = parse_strict(&fetched.body).map_err(JwksFetchError::Json)?;
        let ParsedKeySet { keys, skipped } = match KeySet::parse(&jwks, &self.algorithms) {
            // Its owner withdrew them all: nothing of theirs is to be taken.
            Err(JwksError::NoUsableKey { first: None }) => {
                ParsedKeySet { keys: KeySet::of(Vec::new()), skipped: Vec::new() }
            }
            parsed => parsed.map_err(JwksFetchError::Jwks)?,
        };
        for skipped in &skipped {
            tracing::debug!(position = skipped.position, reason = %skipped.error, "JWK skipped");
        }
        let fresh_for = fetched.max_age.unwrap_or(FRESH_DEFAULT).clamp(FRESH_MIN, FRESH_MAX);
        Ok(Held { keys, fetched_at: now, fresh_for, bytes: fetched.body.len() })
    }
}

struct Fetched {
    body: Vec<u8>,
    max_age: Option<Duration>,
}

async fn fetch(url: &Url, client: &Client) -> Result<Fetched, JwksFetchError> {
    let response = client.get(url.clone()).header("accept", ACCEPT);
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
    Ok(Fetched { body, max_age: None })
}

async fn fetch_guarded(url: &str, outbound: &Outbound) -> Result<Fetched, JwksFetchError> {
    let received = outbound.get(url, ACCEPT, CLIENT_JWKS_BYTES_MAX).await.map_err(JwksFetchError::Outbound)?;
    match received.status {
        200 => Ok(Fetched { body: received.body, max_age: received.max_age }),
        status => Err(JwksFetchError::Status(status)),
    }
}

/// Whether `at` is less than `span` ago. It may lie ahead by what somebody waited for the fetch that it ended; further
/// ahead it is only after the clock was set back, and then it says nothing.
fn is_recent(at: Timestamp, now: Timestamp, span: Duration) -> bool {
    now.since(at) < span && at.since(now) <= 2 * FETCH_TIMEOUT
}

/// FAPI 2.0 §5.4.2-1: keys come over TLS. Plain HTTP is for a loopback address, written as an address.
fn is_allowed(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let loopback = address.is_ok_and(|address| address.is_loopback());
    let plain_userinfo = url.username().is_empty() && url.password().is_none();
    plain_userinfo && !host.is_empty() && (url.scheme() == "https" || (url.scheme() == "http" && loopback))
}
