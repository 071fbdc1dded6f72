//! The process as a whole: what it holds, how it fares, how it ends.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::authn::dpop::DPOP_MARKS_MAX;
use crate::authn::{CACHED_TOKENS_MAX, REVOCATIONS_MAX};
use crate::config::{Foundation, Variables};
use crate::endpoint::{InForce, oauth};
use crate::front::{Drained, Front, ListenerTls, ServerCertificate, Trust};
use crate::hub::PARTNERS_MAX;
use crate::oauth::{AuthorizationServer, KeyRing, Parts};
use crate::policy::MEMORY_BYTES_MAX;
use crate::proxy::ByteBudget;
use crate::quota::{ACCOUNTS_MAX, COUNTERS_MAX};
use crate::store::Store;
use crate::upstream::Pool;

use super::recorder::Recorder;
use super::{Services, background};

/// How long start-up and a reload wait for names to resolve before they go on without.
const WARM_UP: Duration = Duration::from_secs(2);
/// How long the end of the process waits for whoever still reads from the operations listener.
const OPERATIONS_PATIENCE: Duration = Duration::from_secs(2);

/// A process that serves. Drop it only after [`Running::stop`].
pub struct Running {
    pub(super) shared: Arc<Shared>,
    pub(super) addresses: Vec<(String, SocketAddr)>,
    pub(super) stop: watch::Sender<bool>,
    pub(super) listeners: Vec<JoinHandle<Drained>>,
    pub(super) operations: JoinHandle<()>,
}

/// What outlives every snapshot, and what is in force now.
pub(super) struct Shared {
    pub(super) folder: PathBuf,
    pub(super) variables: Variables,
    pub(super) services: Arc<Services>,
    pub(super) store: Arc<Store>,
    pub(super) ring: Arc<KeyRing>,
    pub(super) in_force: Arc<ArcSwap<InForce>>,
    pub(super) oauth: oauth::Shared,
    pub(super) parts: Parts,
    pub(super) trust: Arc<Trust>,
    pub(super) front: Arc<Front>,
    pub(super) budget: ByteBudget,
    pub(super) certificates: Vec<(ListenerTls, Arc<ServerCertificate>)>,
    pub(super) recorder: Arc<Recorder>,
    pub(super) ready: Arc<AtomicBool>,
    pub(super) started: Instant,
    pub(super) stopping: watch::Receiver<bool>,
    /// Of the configuration that is in force. Never touched by a request.
    pub(super) current: Mutex<Arc<Foundation>>,
    /// One reload at a time.
    pub(super) reloading: tokio::sync::Mutex<()>,
}

/// Resolves names, so that the first request finds addresses.
pub(super) async fn warm(pools: &[Arc<Pool>]) {
    let warm = futures_util::future::join_all(pools.iter().map(|pool| pool.warm()));
    if tokio::time::timeout(WARM_UP, warm).await.is_err() {
        tracing::warn!("some back ends' names do not resolve yet");
    }
}

impl Shared {
    /// Starts the checks of the pools in force. They end with their pool.
    pub(super) fn watch_pools(&self) {
        for pool in &self.in_force.load().snapshot.pools {
            pool.spawn_background(&self.stopping);
        }
    }

    pub(super) fn foundation(&self) -> Arc<Foundation> {
        Arc::clone(&self.current.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// For `/status`.
    pub(super) fn status(&self) -> Value {
        let in_force = self.in_force.load();
        let snapshot = &in_force.snapshot;
        let audit = self.recorder.audit.status();
        let pools: Vec<_> = snapshot
            .pools
            .iter()
            .map(|pool| {
                json!({
                    "institution": pool.settings().institution.as_str(),
                    "environment": pool.settings().environment.as_str(),
                    "backends": pool.status(Instant::now()),
                })
            })
            .collect();
        let keys: Vec<_> = self
            .ring
            .status()
            .iter()
            .map(|key| {
                json!({
                    "kid": key.kid, "algorithm": key.algorithm, "state": format!("{:?}", key.state).to_lowercase(),
                })
            })
            .collect();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "revision": &*snapshot.revision,
            "policy_set": &*snapshot.policy_hash,
            "uptime_seconds": self.started.elapsed().as_secs(),
            "operations": snapshot.operations.len(),
            "institutions": pools,
            "signing_keys": keys,
            "audit": { "healthy": audit.healthy, "waiting": audit.waiting, "written": audit.written,
                       "requests_refused": audit.requests_refused },
        })
    }

    /// For `/metrics`.
    pub(super) fn metrics(&self) -> String {
        let audit = self.recorder.audit.status();
        self.services.metrics.audit(audit.waiting, audit.healthy);
        self.measure_bounds();
        self.services.metrics.render()
    }

    /// How full everything is that outside input can fill (`ARCHITECTURE.md`, Bounds).
    fn measure_bounds(&self) {
        let in_force = self.in_force.load();
        let snapshot = &in_force.snapshot;
        let holds = |what, (held, max): (usize, usize)| self.services.metrics.holds(what, held as u64, max as u64);
        let foundation = self.foundation();
        holds("connections", (self.front.connections_open(), foundation.gateway.limits.connections_max));
        holds("registered_clients", (self.parts.dynamic.len(), foundation.gateway.registered_clients_max));
        for (what, held, max) in self.parts.outstanding.held() {
            holds(what, (held, max));
        }
        holds("body_bytes", self.budget.held_bytes());
        holds("dpop_proofs", (self.services.dpop.remembered(), DPOP_MARKS_MAX));
        holds("sessions", self.services.visitors.held());
        holds("revocations", (self.services.revocations.len(), REVOCATIONS_MAX));
        let (clients, counters) = self.services.quotas.counted();
        holds("quota_clients", (clients, ACCOUNTS_MAX));
        holds("quota_counters", (counters, COUNTERS_MAX));
        let metrics = &self.services.metrics;
        metrics.holds_for_a_time("client_assertions", self.store.marks_held());
        metrics.holds("verified_tokens", snapshot.authenticator.remembered_tokens(), CACHED_TOKENS_MAX);
        metrics.holds("policy_bytes", snapshot.policies.memory_bytes(), MEMORY_BYTES_MAX);
        let partners = snapshot.outside_issuers.values().map(|issuer| issuer.partners.remembered()).max().unwrap_or(0);
        metrics.holds("unregistered_partners", partners, PARTNERS_MAX);
    }
}

impl Running {
    /// Bound addresses by the listeners' names; `operations` is the operations listener.
    pub fn addresses(&self) -> &[(String, SocketAddr)] {
        &self.addresses
    }

    /// The authorization server's keys, for rehearsals that need tokens that no client would get.
    pub fn keys(&self) -> &Arc<KeyRing> {
        &self.shared.ring
    }

    /// The authorization server in force.
    pub fn authorization_server(&self) -> Arc<AuthorizationServer> {
        self.shared.oauth.load_full()
    }

    /// Stops accepting, lets requests under way finish, writes what is left. Returns how many connections were cut.
    pub async fn stop(self) -> usize {
        self.shared.ready.store(false, Ordering::Relaxed);
        let _nobody_left = self.stop.send(true);
        let mut cut = 0;
        for listener in self.listeners {
            cut += listener.await.map_or(0, |drained| drained.cut);
        }
        // A client that connected and says nothing would hold the end up.
        let mut operations = self.operations;
        if tokio::time::timeout(OPERATIONS_PATIENCE, &mut operations).await.is_err() {
            operations.abort();
        }
        background::flush(self.shared.services.clone(), self.shared.store.clone()).await;
        let recorder = self.shared.recorder.clone();
        let _closed = tokio::task::spawn_blocking(move || recorder.close()).await;
        self.shared.store.close().await;
        cut
    }
}
