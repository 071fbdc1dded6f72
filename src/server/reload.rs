//! Changing what is in force while requests go on: compile aside, then swap, or keep and say why.
//!
//! Invariants: everything that can fail comes before the first change; what needs a restart keeps its old value until
//! then, so that no half of the process follows a key that the other half cannot.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crate::config::{self, Configuration, Diagnostic, Foundation, GatewaySettings, Place};
use crate::endpoint::InForce;
use crate::oauth::{AuthorizationServer, DetailTypes};

use super::change::ChangeWatch;
use super::compile::{Compiled, chain};
use super::running::{Running, Shared, warm};
use super::{background, compile, revision, settings};

/// Readings of files that change while they are read, one of them to learn of new files; then the last one is taken, and
/// the next change reloads again.
const READINGS_MAX: usize = 4;
/// Pause before a watch that could not be set up is tried again.
const WATCH_AGAIN: Duration = Duration::from_secs(5);

impl Running {
    pub async fn reload(&self) {
        reload(&self.shared).await;
    }

    /// Revision of the configuration in force.
    pub fn revision(&self) -> Arc<str> {
        Arc::clone(&self.shared.in_force.load().snapshot.revision)
    }
}

/// Reloads at each change of a file, until the process stops. The watch is in place when this returns, so that who
/// hears that the gateway is ready can rely on it.
pub(super) fn watch(shared: &Arc<Shared>) {
    let shared = Arc::clone(shared);
    let first = ChangeWatch::new(&shared.folder, &shared.foundation()).ok();
    tokio::spawn(async move {
        let mut stopping = shared.stopping.clone();
        tokio::select! {
            () = follow(&shared, first) => {}
            () = background::stopped(&mut stopping) => {}
        }
    });
}

/// The next watch begins before the last one ends, and the reload lies between: no change falls into a gap.
async fn follow(shared: &Arc<Shared>, first: Option<ChangeWatch>) {
    let mut watch = match first {
        Some(watch) => watch,
        None => begin(shared).await,
    };
    loop {
        watch.changed().await;
        loop {
            reload(shared).await;
            let next = begin(shared).await;
            let news = next.has_news_for(&mut watch);
            watch = next;
            if !news {
                break;
            }
        }
    }
}

async fn begin(shared: &Shared) -> ChangeWatch {
    loop {
        match ChangeWatch::new(&shared.folder, &shared.foundation()) {
            Ok(watch) => return watch,
            Err(error) => tracing::warn!("changes of files are not noticed, send SIGHUP instead: {error}"),
        }
        tokio::time::sleep(WATCH_AGAIN).await;
    }
}

/// Reads, compiles aside, swaps; or keeps what is in force and says why.
pub(super) async fn reload(shared: &Arc<Shared>) {
    let _one_at_a_time = shared.reloading.lock().await;
    let reading = Arc::clone(shared);
    // Seconds of work for a large configuration: not on a thread that serves requests.
    let read = tokio::task::spawn_blocking(move || read(&reading)).await;
    let outcome = match read {
        Ok(Ok(next)) => take(shared, next).await,
        Ok(Err(mistakes)) => Err(mistakes),
        Err(_) => {
            Err(vec![Diagnostic::new(Place::file(&shared.folder), "cannot be compiled: a defect of the compiler")])
        }
    };
    match outcome {
        Ok(true) => shared.services.metrics.reloaded("taken"),
        Ok(false) => shared.services.metrics.reloaded("unchanged"),
        Err(mistakes) => {
            shared.services.metrics.reloaded("refused");
            report(&mistakes);
        }
    }
}

/// What a reload would put in force.
struct Next {
    configuration: Configuration,
    in_force: InForce,
    detail_types: DetailTypes,
    restart_only: Vec<&'static str>,
    warnings: Vec<Diagnostic>,
}

fn read(shared: &Shared) -> Result<Next, Vec<Diagnostic>> {
    let running = shared.foundation();
    let previous = shared.in_force.load_full();
    at_rest(&running, || {
        let mut configuration = config::load(&shared.folder, &shared.variables)?;
        let restart_only = keep_restart_only(&mut configuration.gateway, &running.gateway);
        let compiled = compile::compile(&configuration, &shared.services, Some(&previous.snapshot))?;
        let Compiled { in_force, detail_types, warnings } = compiled;
        let foundation = configuration.foundation();
        Ok((foundation, Next { configuration, in_force, detail_types, restart_only, warnings }))
    })
}

/// Reads until the files rest: half of one version and half of another is neither. Files that were not known before a
/// reading count as changed by it, since nobody looked at them before it: they are read again.
pub(super) fn at_rest<T, E>(
    running: &Foundation,
    mut read: impl FnMut() -> Result<(Foundation, T), E>,
) -> Result<T, E> {
    let content = |of: &Foundation| revision::of_files(&of.gateway, &of.files);
    let mut before = content(running);
    let mut known = None;
    let mut readings = 0;
    loop {
        readings += 1;
        let next = read().map(|(foundation, next)| {
            known = Some(foundation);
            next
        });
        let after = content(known.as_ref().unwrap_or(running));
        if after == before || readings == READINGS_MAX {
            return next;
        }
        before = after;
    }
}

/// Puts it in force. `false`: it is what was in force already.
async fn take(shared: &Arc<Shared>, next: Next) -> Result<bool, Vec<Diagnostic>> {
    let Next { configuration, in_force, detail_types, restart_only, warnings } = next;
    let roots = settings::partner_trust(&configuration).map_err(|mistake| vec![mistake])?;
    let server = settings::published(&configuration, &in_force, detail_types);
    let in_gateway = |text: String| vec![Diagnostic::new(Place::file("gateway.yaml"), text)];
    let server = AuthorizationServer::new(server, shared.parts.clone()).map_err(|error| in_gateway(chain(&error)))?;
    let rules = settings::registration_rules(&configuration, shared.parts.key_sets.outbound())?;
    warm(&in_force.snapshot.pools).await;
    // The trust store changes microseconds before the snapshot. A request between the two is judged by the certificates
    // of the new configuration and the partners of the old one: nobody gets in whom both would keep out, and whoever is
    // new is refused until the snapshot follows.
    let registered = &in_force.snapshot.registered_certificates;
    shared.trust.replace(&roots, registered).map_err(|error| in_gateway(chain(&error)))?;
    // Nothing fails from here on. The snapshot comes first: a client that is new must not get a token from the
    // authorization server before the gateway knows it.
    let revision = Arc::clone(&in_force.snapshot.revision);
    let changed = revision != shared.in_force.load().snapshot.revision;
    shared.services.took(&in_force.snapshot.authenticator);
    shared.in_force.store(Arc::new(in_force));
    shared.services.clients.replace(&configuration);
    shared.services.visitors.users.replace(configuration.users.iter().map(|user| Arc::clone(&user.value)).collect());
    shared.oauth.store(Arc::new(server));
    shared.parts.dynamic.apply(rules).await;
    *shared.current.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(configuration.foundation());
    shared.watch_pools();
    background::give_back();
    reload_certificates(shared);
    for key in restart_only {
        tracing::warn!(key, "changed, but a restart is needed before it is in force");
    }
    if changed {
        warn(&warnings);
        tracing::info!(%revision, "the new configuration is in force");
    }
    Ok(changed)
}

/// They were read while compiling; one that has been broken since leaves its predecessor in force.
fn reload_certificates(shared: &Shared) {
    for (settings, certificate) in &shared.certificates {
        if let Err(error) = certificate.reload(settings) {
            tracing::error!("{} stays as it was: {}", settings.certificate_file.display(), chain(&error));
        }
    }
}

/// Says what is wrong with a configuration that is not taken.
fn report(mistakes: &[Diagnostic]) {
    tracing::error!(mistakes = mistakes.len(), "the new configuration is not taken; the one in force stays");
    for mistake in mistakes {
        tracing::error!("{mistake}");
    }
}

/// Says what is in force and yet not all that it seems.
pub(super) fn warn(warnings: &[Diagnostic]) {
    for warning in warnings {
        tracing::warn!("{warning}");
    }
}

/// Keys that only a restart applies keep the value that is in force. Returns those that were written anew, by name, so
/// that nobody believes them in force.
fn keep_restart_only(new: &mut GatewaySettings, running: &GatewaySettings) -> Vec<&'static str> {
    let mut changed = Vec::new();
    keep("public_url", &mut new.public_url, &running.public_url, &mut changed);
    keep("issuer", &mut new.issuer, &running.issuer, &mut changed);
    keep("mtls_url", &mut new.mtls_url, &running.mtls_url, &mut changed);
    keep("listeners", &mut new.listeners, &running.listeners, &mut changed);
    keep("operations_address", &mut new.operations_address, &running.operations_address, &mut changed);
    keep("workers", &mut new.workers, &running.workers, &mut changed);
    keep("limits", &mut new.limits, &running.limits, &mut changed);
    keep("flood_guard", &mut new.flood, &running.flood, &mut changed);
    keep("store_file", &mut new.store, &running.store, &mut changed);
    keep("audit_file", &mut new.audit_file, &running.audit_file, &mut changed);
    keep("access_log", &mut new.access_log, &running.access_log, &mut changed);
    keep("tokens", &mut new.tokens, &running.tokens, &mut changed);
    keep("outbound", &mut new.outbound, &running.outbound, &mut changed);
    changed
}

fn keep<T: Clone + PartialEq>(name: &'static str, new: &mut T, running: &T, changed: &mut Vec<&'static str>) {
    if new != running {
        new.clone_from(running);
        changed.push(name);
    }
}
