//! An institution's back ends of one environment, and the choice among them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::{HeaderName, HeaderValue, header};
use serde::Serialize;

use crate::domain::{Environment, InstitutionId};

use super::backend::{Availability, Backend, BackendState, Picked};
use super::credential::Credential;
use super::error::{CredentialError, NoBackend, PoolError, PoolFull};
use super::identity::Identity;
use super::load::Circuit;
use super::peer::PeerFactory;
use super::settings::{BackendSettings, HealthSettings, PoolSettings, Timeouts};
use super::target::Target;
use super::transport::Transport;

/// Idle connections that the whole lane keeps to one pool, as many as Pingora keeps by itself.
const IDLE_CONNECTIONS_MAX: usize = 128;

/// A compiled pool. Invariant: at least one back end; everything that its files could do wrong was found by `new`.
pub struct Pool {
    settings: PoolSettings,
    backends: Vec<Arc<Backend>>,
    credential: Credential,
    in_flight: Arc<AtomicU32>,
    /// Connections of this pool only: no other institution's exchange can ever meet them.
    transport: Arc<Transport>,
    /// State of the cheap generator behind the two choices; unpredictability is not needed.
    seed: AtomicU64,
}

impl Pool {
    /// Reads and checks everything. Back ends that `previous` knows with the same address and identity keep their
    /// health, and an unchanged grant its token.
    pub fn new(settings: PoolSettings, previous: Option<&Self>) -> Result<Arc<Self>, Vec<PoolError>> {
        let mut errors = check_numbers(&settings);
        let identity = match settings.tls.as_ref().map(Identity::load).transpose() {
            Ok(identity) => identity,
            Err(error) => {
                errors.push(error);
                return Err(errors);
            }
        };
        let previous = previous
            .filter(|old| old.settings.institution == settings.institution)
            .filter(|old| old.settings.environment == settings.environment);
        let backends = backends(&settings, identity.as_ref(), previous, &mut errors);
        let credential = Credential::new(&settings, identity.as_ref(), previous.map(|old| &old.credential));
        match credential {
            Ok(credential) if errors.is_empty() => Ok(Arc::new(Self {
                settings,
                backends,
                credential,
                in_flight: previous.map_or_else(Arc::default, |old| old.in_flight.clone()),
                transport: previous
                    .map_or_else(|| Arc::new(Transport::new(IDLE_CONNECTIONS_MAX)), |old| old.transport.clone()),
                seed: AtomicU64::new(0),
            })),
            Ok(_) => Err(errors),
            Err(error) => {
                errors.push(error);
                Err(errors)
            }
        }
    }

    /// A place among the requests under way, until dropped.
    pub fn admit(&self) -> Result<InFlight, PoolFull> {
        let max = self.settings.in_flight_max;
        let guard = InFlight(self.in_flight.clone()); // Counts itself out again if it must not stay.
        if self.in_flight.fetch_add(1, Ordering::Relaxed) < max { Ok(guard) } else { Err(PoolFull { max }) }
    }

    /// Chooses a back end that this request has not tried: one whose circuit wants a probe, else the better of two.
    pub fn pick(&self, tried: &mut Tried, now: Instant) -> Result<Picked, NoBackend> {
        let fresh = self.choose(now, |position, _| tried.times(position) == 0);
        // A back end of several addresses may be asked once more per address, for another of them is used then.
        let picked = fresh.or_else(|| self.choose(now, |p, b| tried.times(p) < b.state.addresses()));
        match picked {
            Some(picked) => {
                tried.note(&picked);
                Ok(picked)
            }
            None if tried.attempts == 0 => Err(NoBackend::AllOut { retry_after: self.retry_after(now) }),
            None => Err(NoBackend::Exhausted),
        }
    }

    fn choose(&self, now: Instant, allowed: impl Fn(usize, &Backend) -> bool) -> Option<Picked> {
        let mut ready = 0_usize;
        for (position, backend) in self.backends.iter().enumerate().filter(|(p, b)| allowed(*p, b)) {
            match backend.availability(now) {
                Availability::Ready => ready += 1,
                Availability::ProbeDue => {
                    if let Some(picked) = backend.claim(position, true, now) {
                        return Some(picked);
                    }
                }
                Availability::Out { .. } => {}
            }
        }
        let (one, other) = self.two_of(ready)?;
        let mut candidates = self
            .backends
            .iter()
            .enumerate()
            .filter(|(p, b)| allowed(*p, b) && b.availability(now) == Availability::Ready)
            .enumerate()
            .filter(|(rank, _)| *rank == one || *rank == other);
        let (rank, mut best) = candidates.next()?;
        if let Some((_, next)) = candidates.next() {
            let (held, offered) = (best.1.score(now), next.1.score(now));
            // Equals are decided by the draw, or the first in the list would take everything.
            if offered < held || (offered == held && rank != one) {
                best = next;
            }
        }
        best.1.claim(best.0, false, now)
    }

    /// Two different ranks below `count`; the same one twice if there is but one.
    fn two_of(&self, count: usize) -> Option<(usize, usize)> {
        let draw = usize::try_from(self.draw() >> 1).unwrap_or(0);
        let one = draw.checked_rem(count)?;
        let step = (draw / count).checked_rem(count - 1).map_or(0, |rest| rest + 1);
        Some((one, (one + step) % count))
    }

    /// SplitMix64.
    fn draw(&self) -> u64 {
        let mut x = self.seed.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed).wrapping_add(0x9e37_79b9_7f4a_7c15);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// A number in 0..1 for jitter.
    pub(super) fn fraction(&self) -> f64 {
        f64::from(u32::try_from(self.draw() >> 32).unwrap_or(0)) / f64::from(u32::MAX)
    }

    fn retry_after(&self, now: Instant) -> Option<Duration> {
        let waits = self.backends.iter().filter_map(|backend| match backend.availability(now) {
            Availability::Out { retry_after } => retry_after,
            Availability::Ready | Availability::ProbeDue => Some(Duration::ZERO),
        });
        waits.min()
    }

    /// The field that carries our own credential, if the back end asks for one.
    pub async fn authorization(&self, now: Instant) -> Result<Option<(HeaderName, HeaderValue)>, CredentialError> {
        match &self.credential {
            Credential::None => Ok(None),
            Credential::ApiKey(name, value) => Ok(Some((name.clone(), value.clone()))),
            Credential::OAuth2(source) => Ok(Some((header::AUTHORIZATION, source.authorization(now).await?))),
        }
    }

    /// The back end answered 401 to this value. Answers whether a fresh credential is worth one more try.
    pub async fn refused(&self, presented: &HeaderValue, now: Instant) -> bool {
        match &self.credential {
            Credential::None | Credential::ApiKey(..) => false,
            Credential::OAuth2(source) => source.refused(presented, now).await,
        }
    }

    pub const fn institution(&self) -> &InstitutionId {
        &self.settings.institution
    }

    pub const fn environment(&self) -> Environment {
        self.settings.environment
    }

    pub const fn settings(&self) -> &PoolSettings {
        &self.settings
    }

    pub const fn timeouts(&self) -> &Timeouts {
        &self.settings.timeouts
    }

    pub fn transport(&self) -> &Arc<Transport> {
        &self.transport
    }

    pub(super) fn backends(&self) -> &[Arc<Backend>] {
        &self.backends
    }

    pub(super) const fn credential(&self) -> &Credential {
        &self.credential
    }

    pub(super) const fn health(&self) -> &HealthSettings {
        &self.settings.health
    }

    /// How each back end stands, for `/status`.
    pub fn status(&self, now: Instant) -> Vec<BackendStatus> {
        self.backends.iter().map(|backend| BackendStatus::of(backend, now)).collect()
    }
}

fn check_numbers(settings: &PoolSettings) -> Vec<PoolError> {
    let (health, breaker, timeouts) = (&settings.health, &settings.breaker, &settings.timeouts);
    let zeros = [
        ("in_flight_max", settings.in_flight_max == 0),
        ("health.interval", health.interval.is_zero()),
        ("health.timeout", health.timeout.is_zero()),
        ("health.unhealthy_after", health.unhealthy_after == 0),
        ("health.healthy_after", health.healthy_after == 0),
        ("breaker.failures", breaker.failures == 0),
        ("breaker.open_for", breaker.open_for.is_zero()),
        ("timeouts.connect", timeouts.connect.is_zero()),
        ("timeouts.read", timeouts.read.is_zero()),
        ("timeouts.write", timeouts.write.is_zero()),
        ("timeouts.total", timeouts.total.is_zero()),
    ];
    let mut errors: Vec<_> = zeros.iter().filter(|(_, zero)| *zero).map(|(key, _)| PoolError::Zero(key)).collect();
    if let Some(path) = &health.path
        && !(path.starts_with('/') && path.parse::<http::uri::PathAndQuery>().is_ok())
    {
        errors.push(PoolError::HealthPath(path.clone()));
    }
    if settings.backends.is_empty() {
        errors.push(PoolError::Empty);
    }
    errors
}

fn backends(
    settings: &PoolSettings,
    identity: Option<&Identity>,
    previous: Option<&Pool>,
    errors: &mut Vec<PoolError>,
) -> Vec<Arc<Backend>> {
    let mut seen = BTreeSet::new();
    let mut built = Vec::with_capacity(settings.backends.len());
    for BackendSettings { url } in &settings.backends {
        let target = match Target::parse(url) {
            Ok(target) => target,
            Err(fault) => {
                errors.push(PoolError::Url { url: url.clone(), fault });
                continue;
            }
        };
        if target.tls && identity.is_none() {
            errors.push(PoolError::TlsMissing(url.clone()));
        }
        if !seen.insert((target.host.clone(), target.port)) {
            errors.push(PoolError::Duplicate(url.clone()));
        }
        built.push(Arc::new(backend((built.len(), url), target, identity, settings, previous)));
    }
    built
}

fn backend(
    (position, url): (usize, &str),
    target: Target,
    identity: Option<&Identity>,
    settings: &PoolSettings,
    previous: Option<&Pool>,
) -> Backend {
    let peers = PeerFactory::new(&target, identity, settings);
    let known = previous.and_then(|old| old.backends.iter().find(|b| b.peers.group_key() == peers.group_key()));
    let state: Arc<BackendState> = known.map_or_else(Arc::default, |backend| backend.state.clone());
    if let Some(literal) = target.literal() {
        state.resolved(vec![literal]);
    }
    let id = format!("{}/{}/{}", settings.institution, settings.environment.as_str(), position).into();
    Backend { id, url: url.into(), target, peers, breaker: settings.breaker.clone(), state }
}

/// A place among the requests under way to a pool.
#[derive(Debug)]
pub struct InFlight(Arc<AtomicU32>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Which back ends one request has tried, so that none is asked twice over the same address.
#[derive(Debug, Default)]
pub struct Tried {
    positions: Vec<usize>,
    attempts: usize,
    last: Option<Arc<str>>,
}

impl Tried {
    fn times(&self, position: usize) -> usize {
        self.positions.iter().filter(|tried| **tried == position).count()
    }

    fn note(&mut self, picked: &Picked) {
        self.positions.push(picked.position());
        self.attempts += 1;
        self.last = Some(Arc::clone(picked.id()));
    }

    /// Lets this back end be asked again: it was not to blame. The attempt counts all the same.
    pub fn forgive(&mut self, picked: &Picked) {
        self.positions.retain(|position| *position != picked.position());
    }

    /// Id of the back end that was asked last.
    pub const fn last(&self) -> Option<&Arc<str>> {
        self.last.as_ref()
    }

    /// How many attempts there were.
    pub const fn attempts(&self) -> usize {
        self.attempts
    }
}

/// What `/status` says of one back end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct BackendStatus {
    /// Its id in records and logs.
    pub id: String,
    pub url: String,
    pub state: BackendHealth,
    pub in_flight: u32,
    /// Decaying average of the time to an answer's header.
    pub latency_micros: u32,
    /// Addresses that its name resolves to at present.
    pub addresses: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BackendHealth {
    Healthy,
    /// Active checks took it out.
    Down,
    /// Its name has not resolved yet.
    Unresolved,
    CircuitOpen,
    CircuitHalfOpen,
}

impl BackendStatus {
    fn of(backend: &Backend, now: Instant) -> Self {
        let state = match backend.state.breaker.state(now) {
            _ if backend.state.addresses() == 0 => BackendHealth::Unresolved,
            _ if backend.state.is_down() => BackendHealth::Down,
            Circuit::Closed => BackendHealth::Healthy,
            Circuit::HalfOpen => BackendHealth::CircuitHalfOpen,
            Circuit::Open { .. } => BackendHealth::CircuitOpen,
        };
        Self {
            id: backend.id.to_string(),
            url: backend.url.to_string(),
            state,
            in_flight: backend.state.in_flight.load(Ordering::Relaxed),
            latency_micros: backend.state.latency.micros(now),
            addresses: backend.state.addresses(),
        }
    }
}
