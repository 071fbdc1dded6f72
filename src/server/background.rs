//! What runs beside the requests: counters to disk, keys on schedule, revocations that have expired.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::oauth::{DynamicClients, GrantStore, KeyRing, ReplayStore, purge_revocations};
use crate::quota::WindowStore;
use crate::store::Store;
use crate::upstream::{BURN_EVERY, Fuses};

use super::Services;
use super::compile::chain;
use super::sober::Sober;

/// What a kill may lose of the window counters.
const FLUSH_EVERY: Duration = Duration::from_secs(1);
/// How soon a key that was rotated by command is noticed, and outside issuers' keys are renewed.
const KEYS_EVERY: Duration = Duration::from_secs(5);
const HOUSEKEEPING_EVERY: Duration = Duration::from_secs(60);
/// A little more than the second for which the allocator keeps what was freed.
const GIVE_BACK_AFTER: Duration = Duration::from_millis(1500);

/// Starts all of it; each task ends when `stop` turns true.
pub(super) fn spawn(services: &Arc<Services>, store: &Arc<Store>, ring: &Arc<KeyRing>, stop: &watch::Receiver<bool>) {
    let (s, t) = (Arc::clone(services), Arc::clone(store));
    every(FLUSH_EVERY, stop, move || flush(Arc::clone(&s), Arc::clone(&t)));
    tokio::spawn(burn(Arc::downgrade(&services.fuses)));
    let (s, r) = (Arc::clone(services), Arc::clone(ring));
    every(KEYS_EVERY, stop, move || keys(Arc::clone(&s), Arc::clone(&r)));
    let (s, t, sober) = (Arc::clone(services), Arc::clone(store), Arc::new(Mutex::new(Sober::default())));
    every(HOUSEKEEPING_EVERY, stop, move || housekeeping(Arc::clone(&s), Arc::clone(&t), Arc::clone(&sober)));
}

/// After compiling, lets the system have the memory that is no longer needed. The allocator gives it back when some
/// thread ends or needs new pages, once it has lain idle for a second; in a gateway at rest neither would happen.
pub(super) fn give_back() {
    let thread = std::thread::Builder::new().name("give-back".to_owned());
    if let Err(error) = thread.spawn(|| std::thread::sleep(GIVE_BACK_AFTER)) {
        tracing::debug!("memory is given back later: {error}");
    }
}

/// Asks directories about the standing of software whose clients are in use.
pub(super) fn watch_standing(clients: Arc<DynamicClients>, stop: &watch::Receiver<bool>) {
    let mut stop = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            () = clients.watch_standing() => {}
            () = stopped(&mut stop) => {}
        }
    });
}

/// Goes on while requests finish after `stop`, until nobody can light a fuse any more.
async fn burn(fuses: Weak<Fuses>) {
    let mut ticks = interval(BURN_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(fuses) = fuses.upgrade() else { return };
        fuses.burn(Instant::now());
    }
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

async fn housekeeping(services: Arc<Services>, store: Arc<Store>, sober: Arc<Mutex<Sober>>) {
    let now = services.clock.now();
    let sure = sober.lock().unwrap_or_else(PoisonError::into_inner).read(Instant::now(), now);
    services.quotas.retire_idle(sure.at_least);
    if !sure.for_good {
        return;
    }
    let purged = async {
        purge_revocations(&*store, &services.revocations, sure.at_least).await?;
        ReplayStore::purge(&*store, sure.at_least).await?;
        GrantStore::purge(&*store, sure.at_least).await
    };
    if let Err(error) = purged.await {
        tracing::warn!("revocations, replay marks and grants were not tidied: {}", chain(&error));
    }
    if let Err(error) = WindowStore::purge(&*store, sure.at_least).await {
        tracing::warn!("window counters were not tidied: {}", chain(&error));
    }
}
