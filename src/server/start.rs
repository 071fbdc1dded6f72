//! Starting the process: what is opened, in which order, and how the rooms are wired.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use arc_swap::ArcSwap;
use pingora_core::server::configuration::ServerConf;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::audit::{AuditFile, AuditOpenError};
use crate::config::{Configuration, Diagnostic, Variables};
use crate::domain::Clock as _;
use crate::endpoint::device::Device;
use crate::endpoint::operations::{self, Operations};
use crate::endpoint::{Edge, oauth, router, userinfo};
use crate::front::{BoundListener, Drained, FloodGuard, Front, FrontError, FrontParts, Inherited, Trust, TrustError};
use crate::oauth::{
    AuthorizationServer, ClientKeySets, DynamicClients, KeyRing, KeyRingError, OutstandingRequests, Parts, SecretStore,
    SettingsError, StoreError, load_revocations,
};
use crate::outbound::{Outbound, SetupError};
use crate::proxy::{self, ByteBudget, Connections};
use crate::quota::WindowStoreError;
use crate::signal::{AccessLog, AccessLogError};
use crate::store::{Store, StoreOpenError};

use super::notify::Pings;
use super::recorder::Recorder;
use super::running::{Running, Shared, warm};
use super::{Services, SystemClock, background, compile, reload, settings};

/// Why the process does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the configuration has {} mistakes", .0.len())]
    Configuration(Vec<Diagnostic>),
    #[error("the store cannot be used")]
    Store(#[from] StoreOpenError),
    #[error("the revocations cannot be read")]
    Revocations(#[source] StoreError),
    #[error("the secrets of the authorization server cannot be kept")]
    Secret(#[source] StoreError),
    #[error("the registered clients cannot be read")]
    Clients(#[source] StoreError),
    #[error("the window counters cannot be read")]
    Counters(#[from] WindowStoreError),
    #[error("the signing keys cannot be used")]
    Keys(#[from] KeyRingError),
    #[error("the authorization server cannot be set up")]
    AuthorizationServer(#[from] SettingsError),
    #[error("URLs of clients cannot be fetched")]
    Outbound(#[from] SetupError),
    #[error("the audit file cannot be used")]
    Audit(#[from] AuditOpenError),
    #[error("the access log cannot be used")]
    AccessLog(#[from] AccessLogError),
    #[error("the partner CAs cannot be used")]
    Trust(#[from] TrustError),
    #[error("a listener cannot be opened")]
    Listener(#[from] FrontError),
    #[error("the operations listener cannot be opened")]
    Operations(#[source] std::io::Error),
    #[error("the socket at {0} was handed over, but no listener has this address")]
    Unclaimed(SocketAddr),
}

/// What is on disk, opened and read.
struct Opened {
    store: Arc<Store>,
    ring: Arc<KeyRing>,
    services: Arc<Services>,
    outstanding: Arc<OutstandingRequests>,
    notifier: Arc<Pings>,
    key_sets: Arc<ClientKeySets>,
    dynamic: Arc<DynamicClients>,
    pairwise_salt: Arc<[u8; 32]>,
}

async fn open(configuration: &Configuration) -> Result<Opened, StartError> {
    let store = Arc::new(Store::open(&configuration.gateway.store).await?);
    let oauth = settings::oauth_settings(configuration);
    let now = SystemClock.now();
    let ring = KeyRing::open(store.clone(), &oauth, now).await?;
    let services = Arc::new(Services::new(configuration, ring.published()));
    load_revocations(&*store, &services.revocations).await.map_err(StartError::Revocations)?;
    services.quotas.load(&*store).await?;
    let salt = store.secret("pairwise-salt", services.random.bytes()).await.map_err(StartError::Secret)?;
    let outstanding = Arc::new(OutstandingRequests::new(configuration.gateway.tokens.outstanding));
    let outbound = Arc::new(Outbound::new(configuration.gateway.outbound.clone())?);
    let notifier = Arc::new(Pings::new(Arc::clone(&outbound)));
    let key_sets = Arc::new(ClientKeySets::new(Arc::clone(&outbound)));
    let rules = settings::registration_rules(configuration, &outbound).map_err(StartError::Configuration)?;
    let dynamic = DynamicClients::open(store.clone(), outbound, services.clock.clone(), rules).await;
    let dynamic = Arc::new(dynamic.map_err(StartError::Clients)?);
    services.clients.add_dynamic(Arc::clone(&dynamic));
    let pairwise_salt = Arc::new(salt);
    Ok(Opened { store, ring, services, outstanding, notifier, key_sets, dynamic, pairwise_salt })
}

fn recorder(configuration: &Configuration, services: &Services) -> Result<Arc<Recorder>, StartError> {
    let gateway = &configuration.gateway;
    Ok(Arc::new(Recorder {
        audit: AuditFile::open(&gateway.audit_file, services.clock.clone())?,
        access: AccessLog::open(&settings::access_output(&gateway.access_log), services.metrics.access_dropped())?,
        metrics: services.metrics.clone(),
        clock: services.clock.clone(),
    }))
}

fn oauth_parts(opened: &Opened) -> Parts {
    let Opened { store, ring, services, outstanding, notifier, key_sets, dynamic, pairwise_salt } = opened;
    Parts {
        clients: services.clients.clone(),
        keys: ring.clone(),
        issuer: services.issuer.clone(),
        replay: store.clone(),
        revocation_store: store.clone(),
        revocations: services.revocations.clone(),
        key_sets: key_sets.clone(),
        dynamic: dynamic.clone(),
        grants: store.clone(),
        outstanding: outstanding.clone(),
        visitors: services.visitors.clone(),
        subjects: services.visitors.users.clone(),
        notifier: notifier.clone(),
        pairwise_salt: pairwise_salt.clone(),
        dpop: services.dpop.clone(),
        clock: services.clock.clone(),
        random: services.random.clone(),
    }
}

fn front(configuration: &Configuration, services: &Services, trust: &Arc<Trust>, events: &Arc<Recorder>) -> Arc<Front> {
    let gateway = &configuration.gateway;
    Front::new(FrontParts {
        limits: gateway.limits.clone(),
        trust: trust.clone(),
        flood: Arc::new(FloodGuard::new(gateway.flood.clone())),
        events: events.clone(),
        clock: services.clock.clone(),
        random: services.random.clone(),
        public_url: gateway.public_url.as_str().into(),
    })
}

/// Every listener's socket: handed over, or opened now. What was handed over and fits nowhere is a mistake.
async fn bind(
    configuration: &Configuration,
    front: &Front,
    mut inherited: Inherited,
) -> Result<(Vec<BoundListener>, TcpListener), StartError> {
    let gateway = &configuration.gateway;
    let bound = gateway.listeners.iter().map(|listener| front.bind_or_take(listener, &mut inherited));
    let bound = bound.collect::<Result<Vec<_>, _>>()?;
    let operations = match inherited.take(gateway.operations_address) {
        Some(socket) => socket.set_nonblocking(true).and_then(|()| TcpListener::from_std(socket)),
        None => TcpListener::bind(gateway.operations_address).await,
    };
    match inherited.left().next() {
        Some(address) => Err(StartError::Unclaimed(address)),
        None => Ok((bound, operations.map_err(StartError::Operations)?)),
    }
}

/// Compiles, opens, binds and serves. `folder` is read again at each reload.
pub async fn start(
    configuration: Arc<Configuration>,
    folder: PathBuf,
    variables: Variables,
    inherited: Inherited,
) -> Result<Running, StartError> {
    let gateway = &configuration.gateway;
    let opened = open(&configuration).await?;
    let services = opened.services.clone();
    services.clients.replace(&configuration);
    services.visitors.users.replace(configuration.users.iter().map(|user| Arc::clone(&user.value)).collect());
    let compiled = compile::compile(&configuration, &services, None).map_err(StartError::Configuration)?;
    reload::warn(&compiled.warnings);
    let in_force = compiled.in_force;
    services.took(&in_force.snapshot.authenticator);
    let recorder = recorder(&configuration, &services)?;
    let parts = oauth_parts(&opened);
    let published = settings::published(&configuration, &in_force, compiled.detail_types);
    let server = AuthorizationServer::new(published, parts.clone())?;
    let roots = settings::partner_trust(&configuration).map_err(|mistake| StartError::Configuration(vec![mistake]))?;
    let trust = Trust::new(&roots, in_force.snapshot.registered_certificates.clone())?;
    let front = front(&configuration, &services, &trust, &recorder);
    let (bound, operations_listener) = bind(&configuration, &front, inherited).await?;
    let mut addresses: Vec<(String, SocketAddr)> =
        bound.iter().map(|b| (b.name().to_owned(), b.local_addr())).collect();
    addresses.push(("operations".to_owned(), operations_listener.local_addr().map_err(StartError::Operations)?));
    let certificates = bound.iter().zip(&gateway.listeners);
    let certificates = certificates.filter_map(|(b, settings)| Some((settings.tls.clone()?, b.certificate()?)));
    let (stop, stopping) = watch::channel(false);
    let shared = Arc::new(Shared {
        folder,
        variables,
        services,
        store: opened.store,
        ring: opened.ring,
        in_force: Arc::new(ArcSwap::from_pointee(in_force)),
        oauth: Arc::new(ArcSwap::from_pointee(server)),
        parts,
        trust,
        front: front.clone(),
        budget: ByteBudget::new(gateway.limits.buffered_total_bytes_max),
        certificates: certificates.collect(),
        recorder,
        ready: Arc::new(AtomicBool::new(false)),
        started: Instant::now(),
        stopping: stopping.clone(),
        current: Mutex::new(Arc::new(configuration.foundation())),
        reloading: tokio::sync::Mutex::new(()),
    });
    background::give_back();
    Ok(Running {
        listeners: run(&configuration, &shared, &front, bound).await,
        operations: tokio::spawn(serve_operations(operations_listener, shared.clone(), stopping)),
        shared,
        addresses,
        stop,
    })
}

/// Sets everything going; ready when it returns.
async fn run(
    configuration: &Configuration,
    shared: &Arc<Shared>,
    front: &Arc<Front>,
    bound: Vec<BoundListener>,
) -> Vec<JoinHandle<Drained>> {
    let app = application(configuration, shared);
    warm(&shared.in_force.load_full().snapshot.pools).await;
    shared.watch_pools();
    background::spawn(&shared.services, &shared.store, &shared.ring, &shared.stopping);
    background::watch_standing(shared.parts.dynamic.clone(), &shared.stopping);
    reload::watch(shared);
    let listeners = bound.into_iter().map(|b| serve(front, b, &app, &shared.stopping)).collect();
    shared.ready.store(true, Ordering::Relaxed);
    listeners
}

fn serve(
    front: &Arc<Front>,
    listener: BoundListener,
    app: &Arc<Connections>,
    stopping: &watch::Receiver<bool>,
) -> JoinHandle<Drained> {
    tokio::spawn(Arc::clone(front).serve(listener, Arc::clone(app), stopping.clone()))
}

/// The proxy with everything that it asks.
fn application(configuration: &Configuration, shared: &Arc<Shared>) -> Arc<Connections> {
    let gateway = &configuration.gateway;
    let services = &shared.services;
    let public_url: Arc<str> = gateway.public_url.as_str().into();
    let edge =
        Edge { in_force: shared.in_force.clone(), public_url: public_url.clone(), clock: services.clock.clone() };
    let in_force = shared.in_force.clone();
    let parts = proxy::Parts {
        in_force: Box::new(move || Arc::clone(&in_force.load().snapshot)),
        public_url,
        clock: services.clock.clone(),
        random: services.random.clone(),
        events: shared.recorder.clone(),
        guard: settings::guard(configuration),
        own: router(
            edge.clone(),
            oauth::router(shared.oauth.clone(), &edge.public_url).merge(userinfo::router(edge, shared.oauth.clone())),
        ),
        limits: gateway.limits.clone(),
        budget: shared.budget.clone(),
        fuses: shared.services.fuses.clone(),
    };
    let conf = ServerConf {
        max_retries: 3,
        ca_file: Some(crate::upstream::NO_ROOTS_FILE.into()),
        upstream_keepalive_pool_size: 1024,
        ..ServerConf::default()
    };
    Arc::new(Connections::new(parts, conf))
}

async fn serve_operations(listener: TcpListener, shared: Arc<Shared>, mut stopping: watch::Receiver<bool>) {
    let (status, metrics) = (shared.clone(), shared.clone());
    let simulated = shared.foundation().gateway.simulated_authentication_device;
    if simulated {
        tracing::warn!("a simulated authentication device decides in users' place at the operations listener");
    }
    let operations = Operations {
        ready: shared.ready.clone(),
        status: Arc::new(move || status.status()),
        metrics: Arc::new(move || metrics.metrics()),
        device: simulated.then(|| Device { server: shared.oauth.clone(), clock: shared.services.clock.clone() }),
    };
    let server = axum::serve(listener, operations::router(operations));
    let ended = server.with_graceful_shutdown(async move { background::stopped(&mut stopping).await }).await;
    if let Err(error) = ended {
        tracing::error!("the operations listener ended: {error}");
    }
}
