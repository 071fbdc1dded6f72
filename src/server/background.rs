//! What runs beside the requests: counters to disk, keys on schedule, revocations that have expired.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::oauth::{KeyRing, purge_revocations};
use crate::store::Store;

use super::Services;
use super::compile::chain;

/// What a kill may lose of the window counters.
const FLUSH_EVERY: Duration = Duration::from_secs(1);
/// How soon a key that was rotated by command is noticed, and outside issuers' keys are renewed.
const KEYS_EVERY: Duration = Duration::from_secs(5);
const HOUSEKEEPING_EVERY: Duration = Duration::from_secs(60);

/// Starts all of it; each task ends when `stop` turns true.
pub(super) fn spawn(services: &Arc<Services>, store: &Arc<Store>, ring: &Arc<KeyRing>, stop: &watch::Receiver<bool>) {
    let (s, t) = (Arc::clone(services), Arc::clone(store));
    every(FLUSH_EVERY, stop, move || flush(Arc::clone(&s), Arc::clone(&t)));
    let (s, r) = (Arc::clone(services), Arc::clone(ring));
    every(KEYS_EVERY, stop, move || keys(Arc::clone(&s), Arc::clone(&r)));
    let (s, t) = (Arc::clone(services), Arc::clone(store));
    every(HOUSEKEEPING_EVERY, stop, move || housekeeping(Arc::clone(&s), Arc::clone(&t)));
}

fn every<F>(period: Duration, stop: &watch::Receiver<bool>, work: impl Fn() -> F + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut stop = stop.clone();
    tokio::spawn(async move {
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => work().await,
                () = stopped(&mut stop) => break,
            }
        }
    });
}

/// Returns when `stop` is true, or nobody is left to say so.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Also called once at the end, so that an orderly stop loses nothing.
pub(super) async fn flush(services: Arc<Services>, store: Arc<Store>) {
    if let Err(error) = services.quotas.flush(&*store).await {
        tracing::error!("window counters are not on disk: {}", chain(&error));
    }
}

async fn keys(services: Arc<Services>, ring: Arc<KeyRing>) {
    let now = services.clock.now();
    if let Err(error) = ring.tick(now).await {
        tracing::error!("signing keys: {}", chain(&error));
    }
    if let Some(authenticator) = services.current_authenticator() {
        authenticator.refresh_keys(now).await;
    }
}

async fn housekeeping(services: Arc<Services>, store: Arc<Store>) {
    services.quotas.retire_idle();
    let now = services.clock.now();
    if let Err(error) = purge_revocations(&*store, &services.revocations, now).await {
        tracing::warn!("revocations were not tidied: {}", chain(&error));
    }
}
