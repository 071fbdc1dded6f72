//! What runs beside the requests: name resolution, paced health checks, token renewal. Every task ends with its pool.

use std::future::Future;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use http::Method;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_http::RequestHeader;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::backend::Backend;
use super::credential::Credential;
use super::pool::Pool;
use super::session::Session;
use super::settings::HealthSettings;
use super::transport::Transport;

/// How often names are resolved anew.
const RESOLVE_INTERVAL: Duration = Duration::from_secs(30);
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Addresses of one name that are kept.
const ADDRESSES_MAX: usize = 16;

/// True once the process is to stop. Ends the tasks as the pool's own end does.
pub type Shutdown = watch::Receiver<bool>;

impl Pool {
    /// Starts resolution, health checks and token renewal. They end when the pool is dropped or `shutdown` turns true.
    pub fn spawn_background(self: &Arc<Self>, shutdown: &Shutdown) {
        if self.backends().iter().any(|backend| backend.target.literal().is_none()) {
            tokio::spawn(until(shutdown.clone(), keep_resolved(Arc::downgrade(self))));
        }
        for position in 0..self.backends().len() {
            tokio::spawn(until(shutdown.clone(), keep_checked(Arc::downgrade(self), position)));
        }
        if let Credential::OAuth2(_) = self.credential() {
            tokio::spawn(until(shutdown.clone(), keep_token(Arc::downgrade(self))));
        }
    }

    /// Resolves all names once, so that the first request finds addresses. Ends in bounded time whatever DNS does.
    pub async fn warm(&self) {
        for backend in self.backends() {
            resolve(backend).await;
        }
    }
}

async fn until(mut shutdown: Shutdown, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        _ = shutdown.wait_for(|stop| *stop) => {}
    }
}

async fn keep_resolved(pool: Weak<Pool>) {
    while let Some(pool) = pool.upgrade() {
        pool.warm().await;
        drop(pool); // Not held while waiting: a replaced pool must be able to end.
        sleep(RESOLVE_INTERVAL).await;
    }
}

async fn resolve(backend: &Backend) {
    let target = &backend.target;
    if let Some(literal) = target.literal() {
        return backend.state.resolved(vec![literal]);
    }
    match timeout(RESOLVE_TIMEOUT, tokio::net::lookup_host((target.host.as_str(), target.port))).await {
        Ok(Ok(found)) => {
            let mut addresses: Vec<_> = found.filter(|a| target.accepts(*a)).take(ADDRESSES_MAX).collect();
            addresses.sort_unstable(); // Resolvers rotate their answers; that alone is no change.
            backend.state.resolved(addresses);
        }
        Ok(Err(error)) => tracing::warn!(backend = %backend.url, %error, "the name does not resolve"),
        Err(_) => tracing::warn!(backend = %backend.url, "resolution took too long"),
    }
}

async fn keep_token(pool: Weak<Pool>) {
    while let Some(pool) = pool.upgrade() {
        let Credential::OAuth2(source) = pool.credential() else { return };
        let pause = source.renew(Instant::now()).await;
        drop(pool);
        sleep(pause).await;
    }
}

async fn keep_checked(pool: Weak<Pool>, position: usize) {
    // Spread over the interval, so that many back ends are not all checked in one instant.
    let Some(first) = pool.upgrade().map(|pool| pool.health().interval.mul_f64(pool.fraction())) else { return };
    sleep(first).await;
    while let Some(strong) = pool.upgrade() {
        let Some(backend) = strong.backends().get(position).cloned() else { return };
        let healthy = check(&backend, strong.health(), strong.transport()).await;
        if let Some(healthy) = backend.state.checked(healthy, strong.health()) {
            tracing::warn!(backend = %backend.url, healthy, "health changed");
        }
        let pause = strong.health().interval.mul_f64(0.9 + 0.2 * strong.fraction());
        drop(strong);
        sleep(pause).await;
    }
}

/// One active check over a fresh connection of its own.
pub(super) async fn check(backend: &Backend, settings: &HealthSettings, transport: &Transport) -> bool {
    let Some(address) = backend.state.address() else { return false };
    let started = Instant::now();
    let peer = backend.peers.build_apart(address, settings.timeout);
    let Some(mut session) = transport.reach(&peer, settings.timeout).await else { return false };
    let Some(path) = &settings.path else { return true };
    let left = settings.timeout.saturating_sub(started.elapsed());
    let answered = timeout(left, get(&mut session, &peer, backend, path)).await;
    session.shutdown().await;
    matches!(answered, Ok(Some(200..=299)))
}

async fn get(session: &mut Session, peer: &HttpPeer, backend: &Backend, path: &str) -> Option<u16> {
    let mut request = RequestHeader::build(Method::GET, path.as_bytes(), Some(3)).ok()?;
    request.insert_header("host", &backend.target.authority).ok()?;
    request.insert_header("user-agent", "clearway-health").ok()?;
    session.send(&request, peer, None).await.ok()?;
    loop {
        let status = session.read_header().await.ok()?.status;
        if !status.is_informational() {
            return Some(status.as_u16());
        }
    }
}
