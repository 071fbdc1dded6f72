//! One back end: its addresses, its health, and the claim that an exchange has on it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use http::HeaderValue;
use pingora_core::upstreams::peer::HttpPeer;

use super::load::{Breaker, Circuit, Latency};
use super::peer::{PeerFactory, PeerTerms};
use super::settings::{BreakerSettings, HealthSettings};
use super::target::Target;

/// How long others wait for the outcome of a probe under way.
const PROBE_WAIT: Duration = Duration::from_secs(1);

/// What outlives a reload: an identical back end keeps its addresses, latency, circuit and health.
#[derive(Debug, Default)]
pub(super) struct BackendState {
    addresses: ArcSwap<Vec<SocketAddr>>,
    /// Which address is used; moves on when one cannot be connected to.
    cursor: AtomicUsize,
    pub in_flight: AtomicU32,
    pub latency: Latency,
    pub breaker: Breaker,
    /// Taken out by active checks.
    down: AtomicBool,
    /// Consecutive active checks that contradict `down`.
    streak: AtomicU32,
}

impl BackendState {
    pub fn addresses(&self) -> usize {
        self.addresses.load().len()
    }

    /// Takes a new resolution into use; an empty one changes nothing: stale addresses keep serving.
    pub fn resolved(&self, addresses: Vec<SocketAddr>) {
        if !addresses.is_empty() && **self.addresses.load() != addresses {
            self.addresses.store(Arc::new(addresses));
        }
    }

    pub fn address(&self) -> Option<SocketAddr> {
        let addresses = self.addresses.load();
        let position = self.cursor.load(Ordering::Relaxed).checked_rem(addresses.len())?;
        addresses.get(position).copied()
    }

    fn leave(&self, address: SocketAddr) {
        if self.address() == Some(address) {
            self.cursor.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub fn is_down(&self) -> bool {
        self.down.load(Ordering::Relaxed)
    }

    /// Counts an active check. Answers the new state if it changed.
    pub fn checked(&self, healthy: bool, settings: &HealthSettings) -> Option<bool> {
        let down = self.is_down();
        if healthy != down {
            self.streak.store(0, Ordering::Relaxed); // It confirms what we hold.
            return None;
        }
        let needed = if healthy { settings.healthy_after } else { settings.unhealthy_after };
        if self.streak.fetch_add(1, Ordering::Relaxed).saturating_add(1) < needed {
            return None;
        }
        self.streak.store(0, Ordering::Relaxed);
        self.down.store(!healthy, Ordering::Relaxed);
        Some(healthy)
    }
}

/// Whether a back end can be picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Availability {
    Ready,
    /// Its circuit is half open and nobody probes yet.
    ProbeDue,
    Out {
        retry_after: Option<Duration>,
    },
}

#[derive(Debug)]
pub(super) struct Backend {
    /// Names it in records without telling its address.
    pub id: Arc<str>,
    pub url: Arc<str>,
    pub target: Target,
    pub peers: PeerFactory,
    pub breaker: BreakerSettings,
    pub state: Arc<BackendState>,
}

impl Backend {
    pub fn availability(&self, now: Instant) -> Availability {
        if self.state.is_down() || self.state.addresses() == 0 {
            return Availability::Out { retry_after: None };
        }
        match self.state.breaker.state(now) {
            Circuit::Closed => Availability::Ready,
            Circuit::HalfOpen if self.state.breaker.is_probing() => Availability::Out { retry_after: Some(PROBE_WAIT) },
            Circuit::HalfOpen => Availability::ProbeDue,
            Circuit::Open { remaining } => Availability::Out { retry_after: Some(remaining) },
        }
    }

    /// Expected cost of one more request here: latency weighted by what is already under way.
    pub fn score(&self, now: Instant) -> u64 {
        let waiting = u64::from(self.state.in_flight.load(Ordering::Relaxed)).saturating_add(1);
        waiting.saturating_mul(u64::from(self.state.latency.micros(now)))
    }

    /// Claims it for one exchange. `None` if another took the probe, or no address is known.
    pub fn claim(self: &Arc<Self>, position: usize, probe: bool, now: Instant) -> Option<Picked> {
        let address = self.state.address()?;
        if probe && !self.state.breaker.try_probe() {
            return None;
        }
        self.state.in_flight.fetch_add(1, Ordering::Relaxed);
        Some(Picked { backend: self.clone(), position, address, probe, since: now })
    }
}

/// How an exchange with a back end went, as far as the back end is to praise or blame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// No connection, or no TLS session, came about: nothing was sent.
    ConnectFailed,
    /// It was silent for too long.
    TimedOut,
    /// It closed the connection early or spoke something else than HTTP.
    Broken,
    /// The answer's header arrived with this status. 502, 503 and 504 count as failures.
    Answered { status: u16 },
}

impl Outcome {
    const fn is_failure(self) -> bool {
        match self {
            Self::ConnectFailed | Self::TimedOut | Self::Broken => true,
            Self::Answered { status } => matches!(status, 502..=504),
        }
    }
}

/// A back end claimed for one exchange; counts as in flight until dropped.
#[derive(Debug)]
pub struct Picked {
    backend: Arc<Backend>,
    position: usize,
    address: SocketAddr,
    probe: bool,
    since: Instant,
}

impl Picked {
    /// The peer to connect to. Pingora's only peer factory stands behind this.
    pub fn peer(&self, terms: PeerTerms) -> HttpPeer {
        self.backend.peers.build(self.address, terms)
    }

    /// The peer of an exchange that times its waits itself.
    pub fn shared_peer(&self) -> Arc<HttpPeer> {
        self.backend.peers.shared(self.address)
    }

    /// After a malformed answer over HTTP/2, Pingora would use HTTP/1.1 with this back end for as long as the process
    /// lives, which one that speaks nothing else would not survive: the next exchanges know nothing of it.
    pub fn keep_http2(&self) {
        self.backend.peers.move_on();
    }

    /// `Host` (or `:authority`) of the request to it.
    pub fn authority(&self) -> &HeaderValue {
        &self.backend.target.authority
    }

    /// Institution, environment and position in the configuration: `bank/live/0`.
    pub fn id(&self) -> &Arc<str> {
        &self.backend.id
    }

    /// Its URL as configured, for the operator; never for the caller or the audit record.
    pub fn url(&self) -> &Arc<str> {
        &self.backend.url
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) const fn position(&self) -> usize {
        self.position
    }

    /// Tells the balancer how it went. An exchange may report twice: its header, then a body that broke off.
    pub fn report(&mut self, outcome: Outcome, now: Instant) {
        let (state, elapsed) = (&self.backend.state, now.saturating_duration_since(self.since));
        let probe = std::mem::take(&mut self.probe);
        if outcome == Outcome::ConnectFailed {
            state.leave(self.address);
        }
        if outcome.is_failure() {
            state.latency.failed(elapsed, now);
            if state.breaker.failed(probe, &self.backend.breaker, now) {
                tracing::warn!(backend = %self.backend.url, ?outcome, "circuit opened");
            }
        } else {
            state.latency.observe(elapsed, now);
            state.breaker.succeeded(probe);
            if probe {
                tracing::info!(backend = %self.backend.url, "circuit closed");
            }
        }
        if probe {
            state.breaker.end_probe();
        }
    }
}

impl Drop for Picked {
    fn drop(&mut self) {
        self.backend.state.in_flight.fetch_sub(1, Ordering::Relaxed);
        if self.probe {
            self.backend.state.breaker.end_probe(); // The caller went away: the next request probes.
        }
    }
}
