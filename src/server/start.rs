//! Starting, reloading and stopping the process.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use pingora_core::server::configuration::ServerConf;
use pingora_proxy::HttpProxy;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::audit::{AuditFile, AuditOpenError};
use crate::config::{self, AccessLogSettings, Configuration, Diagnostic, Place, Variables};
use crate::endpoint::operations::{self, Operations};
use crate::endpoint::{Edge, InForce, oauth, router};
use crate::front::{
    BoundListener, Drained, FloodGuard, Front, FrontError, FrontParts, ListenerTls, ServerCertificate, Trust,
    TrustError, h2_options, server_options,
};
use crate::oauth::{AuthorizationServer, KeyRing, KeyRingError, Parts, Settings, SettingsError, load_revocations};
use crate::proxy::guard::{GuardSettings, Hosts};
use crate::proxy::{self, Gateway};
use crate::signal::{AccessLog, AccessLogError, AccessOutput};
use crate::store::{Store, StoreOpenError};

use super::recorder::Recorder;
use super::reload::{self, ChangeWatch};
use super::{Services, background, compile, compile::chain, revision};

/// How long start-up waits for names to resolve before it serves without.
const WARM_UP: Duration = Duration::from_secs(2);

/// How often a reload reads files that change under its eyes.
const READS_MAX: usize = 5;

/// Why the process does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the configuration has {} mistakes", .0.len())]
    Configuration(Vec<Diagnostic>),
    #[error("the store cannot be used")]
    Store(#[from] StoreOpenError),
    #[error("the store cannot be read")]
    State(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the signing keys cannot be used")]
    Keys(#[from] KeyRingError),
    #[error("the authorization server cannot be set up")]
    AuthorizationServer(#[from] SettingsError),
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
}

/// A process that serves. Drop it only after [`Running::stop`].
pub struct Running {
    shared: Arc<Shared>,
    addresses: Vec<(String, SocketAddr)>,
    stop: watch::Sender<bool>,
    listeners: Vec<JoinHandle<Drained>>,
    operations: JoinHandle<()>,
}

/// What a reload works on.
struct Shared {
    folder: PathBuf,
    variables: Variables,
    services: Arc<Services>,
    store: Arc<Store>,
    ring: Arc<KeyRing>,
    in_force: Arc<ArcSwap<InForce>>,
    oauth: oauth::Shared,
    parts: Parts,
    trust: Arc<Trust>,
    certificates: Vec<(ListenerTls, Arc<ServerCertificate>)>,
    recorder: Arc<Recorder>,
    ready: Arc<AtomicBool>,
    started: Instant,
    stopping: watch::Receiver<bool>,
    /// The configuration that is in force. Never touched by a request.
    current: Mutex<Arc<Configuration>>,
    /// One reload at a time.
    reloading: tokio::sync::Mutex<()>,
}

/// Compiles, opens, binds and serves. `folder` is read again at each reload.
pub async fn start(
    configuration: Arc<Configuration>,
    folder: PathBuf,
    variables: Variables,
) -> Result<Running, StartError> {
    let gateway = &configuration.gateway;
    let store = Arc::new(Store::open(&gateway.store).await?);
    let settings = oauth_settings(&configuration, &[]);
    let ring = KeyRing::open(store.clone(), &settings, crate::domain::Clock::now(&super::SystemClock)).await?;
    let services = Arc::new(Services::new(&configuration, ring.published()));
    let now = services.clock.now();
    load_revocations(&*store, &services.revocations, now).await.map_err(|error| StartError::State(Box::new(error)))?;
    services.quotas.load(&*store).await.map_err(|error| StartError::State(Box::new(error)))?;
    services.clients.replace(&configuration);
    let in_force = compile::compile(&configuration, &services, None).map_err(StartError::Configuration)?;
    services.took(&in_force.snapshot.authenticator);

    let recorder = Arc::new(Recorder {
        audit: AuditFile::open(&gateway.audit_file, services.clock.clone())?,
        access: AccessLog::open(&access_output(&gateway.access_log), services.metrics.access_dropped())?,
        metrics: services.metrics.clone(),
        clock: services.clock.clone(),
    });
    let parts = Parts {
        clients: services.clients.clone(),
        keys: ring.clone(),
        issuer: services.issuer.clone(),
        replay: store.clone(),
        revocation_store: store.clone(),
        revocations: services.revocations.clone(),
        clock: services.clock.clone(),
        random: services.random.clone(),
    };
    let server = AuthorizationServer::new(oauth_settings(&configuration, &scopes(&in_force)), parts.clone())?;
    let oauth: oauth::Shared = Arc::new(ArcSwap::from_pointee(server));
    let in_force = Arc::new(ArcSwap::from_pointee(in_force));
    let trust = Trust::new(&partner_cas(&configuration).map_err(|mistake| StartError::Configuration(vec![mistake]))?)?;
    let (stop, stopping) = watch::channel(false);

    let front = Front::new(FrontParts {
        limits: gateway.limits.clone(),
        trust: trust.clone(),
        flood: Arc::new(FloodGuard::new(gateway.flood.clone())),
        events: recorder.clone(),
        clock: services.clock.clone(),
        random: services.random.clone(),
        public_url: gateway.public_url.as_str().into(),
    });
    let bound = gateway.listeners.iter().map(|listener| front.bind(listener)).collect::<Result<Vec<_>, _>>()?;
    let operations_listener = TcpListener::bind(gateway.operations_address).await.map_err(StartError::Operations)?;
    let mut addresses: Vec<_> = bound.iter().map(|b| (b.name().to_owned(), b.local_addr())).collect();
    addresses.push(("operations".to_owned(), operations_listener.local_addr().map_err(StartError::Operations)?));
    let certificates = bound.iter().zip(&gateway.listeners);
    let certificates = certificates.filter_map(|(b, settings)| Some((settings.tls.clone()?, b.certificate()?))).collect();

    let shared = Arc::new(Shared {
        folder,
        variables,
        services: services.clone(),
        store: store.clone(),
        ring: ring.clone(),
        in_force,
        oauth,
        parts,
        trust,
        certificates,
        recorder: recorder.clone(),
        ready: Arc::new(AtomicBool::new(false)),
        started: Instant::now(),
        stopping: stopping.clone(),
        current: Mutex::new(configuration.clone()),
        reloading: tokio::sync::Mutex::new(()),
    });
    let app = application(&configuration, &shared);
    shared.start_pools().await;
    background::spawn(&services, &store, &ring, &stopping);
    shared.watch();
    let listeners = bound.into_iter().map(|b| serve(&front, b, &app, &stopping)).collect();
    let operations = tokio::spawn(serve_operations(operations_listener, shared.clone(), stopping));
    shared.ready.store(true, Ordering::Relaxed);
    Ok(Running { shared, addresses, stop, listeners, operations })
}

fn serve(
    front: &Arc<Front>,
    listener: BoundListener,
    app: &Arc<HttpProxy<Gateway>>,
    stopping: &watch::Receiver<bool>,
) -> JoinHandle<Drained> {
    tokio::spawn(Arc::clone(front).serve(listener, Arc::clone(app), stopping.clone()))
}

/// The proxy with everything that it asks.
fn application(configuration: &Configuration, shared: &Arc<Shared>) -> Arc<HttpProxy<Gateway>> {
    let gateway = &configuration.gateway;
    let services = &shared.services;
    let public_url: Arc<str> = gateway.public_url.as_str().into();
    let edge = Edge {
        in_force: shared.in_force.clone(),
        public_url: public_url.clone(),
        security_contact: gateway.security_contact.as_deref().map(Arc::from),
        clock: services.clock.clone(),
    };
    let in_force = shared.in_force.clone();
    let limits = gateway.limits.clone();
    let parts = proxy::Parts {
        in_force: Box::new(move || Arc::clone(&in_force.load().snapshot)),
        public_url,
        clock: services.clock.clone(),
        random: services.random.clone(),
        events: shared.recorder.clone(),
        guard: guard(configuration),
        own: router(edge, oauth::router(shared.oauth.clone())),
        limits: limits.clone(),
    };
    let conf = ServerConf { max_retries: 3, ..ServerConf::default() };
    let mut proxy = HttpProxy::new(Gateway::new(parts), Arc::new(conf));
    proxy.server_options = Some(server_options());
    proxy.h2_options = Some(h2_options(&limits));
    proxy.handle_init_modules();
    Arc::new(proxy)
}

/// Names that are served: those of the public URLs, and loopback's own names where a listener is on loopback.
fn guard(configuration: &Configuration) -> GuardSettings {
    let gateway = &configuration.gateway;
    let urls = [Some(&gateway.public_url), gateway.mtls_url.as_ref(), Some(&gateway.issuer)];
    let host = |url: &String| Some(url.parse::<http::Uri>().ok()?.host()?.to_owned());
    let mut names: Vec<String> = urls.into_iter().flatten().filter_map(host).collect();
    if gateway.listeners.iter().any(|listener| listener.address.ip().is_loopback()) {
        names.extend(["localhost", "127.0.0.1", "[::1]"].map(str::to_owned));
    }
    let limits = &gateway.limits;
    GuardSettings {
        hosts: Hosts::only(names),
        authority_follows_sni: true,
        header_bytes_max: limits.header_bytes_max,
        header_count_max: limits.header_count_max,
        uri_bytes_max: limits.uri_bytes_max,
        idle_timeout: limits.idle_timeout,
        body_idle_timeout: limits.body_idle_timeout,
        trusted_proxies: limits.trusted_proxies.clone(),
    }
}

fn access_output(settings: &AccessLogSettings) -> AccessOutput {
    match settings {
        AccessLogSettings::Off => AccessOutput::Off,
        AccessLogSettings::Stdout => AccessOutput::Stdout,
        AccessLogSettings::File(path) => AccessOutput::File(path.clone()),
    }
}

/// The authorization server's settings under a configuration; `scopes` are those of the catalogue.
pub fn oauth_settings(configuration: &Configuration, scopes: &[String]) -> Settings {
    let (gateway, tokens) = (&configuration.gateway, &configuration.gateway.tokens);
    Settings {
        issuer: gateway.issuer.clone(),
        mtls_url: gateway.mtls_url.clone(),
        resource: gateway.public_url.clone(),
        access_token_lifetime: tokens.access_token_lifetime,
        signing_algorithm: tokens.signing_algorithm,
        key_rotation_period: tokens.key_rotation_period,
        assertion_lifetime_max: tokens.assertion_lifetime_max,
        clock_skew_max: tokens.clock_skew_max,
        scopes_supported: scopes.to_vec(),
        trusted_issuers: configuration.issuers.iter().map(|located| located.value.issuer.clone()).collect(),
    }
}

/// Every scope that some operation demands, sorted.
fn scopes(in_force: &InForce) -> Vec<String> {
    let scopes = in_force.snapshot.operations.iter().flat_map(|operation| operation.scopes.iter());
    let names: std::collections::BTreeSet<String> = scopes.map(|scope| scope.as_str().to_owned()).collect();
    names.into_iter().collect()
}

fn partner_cas(configuration: &Configuration) -> Result<Vec<CertificateDer<'static>>, Diagnostic> {
    let mut roots = Vec::new();
    for file in &configuration.gateway.partner_ca_files {
        let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        match read {
            Ok(certificates) if !certificates.is_empty() => roots.extend(certificates),
            Ok(_) => return Err(Diagnostic::new(Place::file(file), "holds no PEM certificate")),
            Err(error) => return Err(Diagnostic::new(Place::file(file), format!("is not PEM: {error}"))),
        }
    }
    Ok(roots)
}

async fn serve_operations(listener: TcpListener, shared: Arc<Shared>, mut stopping: watch::Receiver<bool>) {
    let (status, metrics) = (shared.clone(), shared.clone());
    let operations = Operations {
        ready: shared.ready.clone(),
        status: Arc::new(move || status.status()),
        metrics: Arc::new(move || metrics.metrics()),
    };
    let server = axum::serve(listener, operations::router(operations));
    let ended = server.with_graceful_shutdown(async move { background::stopped(&mut stopping).await }).await;
    if let Err(error) = ended {
        tracing::error!("the operations listener ended: {error}");
    }
}

impl Shared {
    /// Resolves names and starts the checks of the pools in force.
    async fn start_pools(&self) {
        let pools = self.in_force.load().snapshot.pools.clone();
        let warm = futures_util::future::join_all(pools.iter().map(|pool| pool.warm()));
        if tokio::time::timeout(WARM_UP, warm).await.is_err() {
            tracing::warn!("some back ends' names do not resolve yet");
        }
        for pool in &pools {
            pool.spawn_background(&self.stopping);
        }
    }

    /// Reloads at each change of a file, until the process stops. The watch is in place when this returns.
    fn watch(self: &Arc<Self>) {
        let Some(mut watch) = self.change_watch() else { return };
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            let mut stopping = shared.stopping.clone();
            loop {
                tokio::select! {
                    () = watch.changed() => {}
                    () = background::stopped(&mut stopping) => return,
                }
                shared.reload().await;
                // Other folders may matter now. What changed meanwhile, only the former watch has seen; where no
                // other can be had, it goes on.
                if let Some(next) = shared.change_watch() {
                    let former = std::mem::replace(&mut watch, next);
                    watch.take_over(former);
                }
            }
        });
    }

    fn change_watch(&self) -> Option<ChangeWatch> {
        let watch = ChangeWatch::new(&self.configuration());
        watch.inspect_err(|error| tracing::warn!("changes of files are not noticed, send SIGHUP instead: {error}")).ok()
    }

    fn configuration(&self) -> Arc<Configuration> {
        Arc::clone(&self.current.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads, compiles aside, swaps; or keeps what is in force and says why.
    async fn reload(&self) {
        let _one_at_a_time = self.reloading.lock().await;
        match self.try_reload().await {
            Ok(Some(revision)) => {
                self.services.metrics.reloaded("taken");
                tracing::info!(%revision, "the new configuration is in force");
            }
            Ok(None) => self.services.metrics.reloaded("unchanged"),
            Err(mistakes) => {
                self.services.metrics.reloaded("refused");
                reload::report(&mistakes);
            }
        }
    }

    /// `None`: nothing has changed.
    async fn try_reload(&self) -> Result<Option<Arc<str>>, Vec<Diagnostic>> {
        let previous = self.in_force.load_full();
        let (configuration, in_force) = self.read(&previous)?;
        self.reload_certificates()?;
        if in_force.snapshot.revision == previous.snapshot.revision {
            return Ok(None);
        }
        let roots = partner_cas(&configuration).map_err(|mistake| vec![mistake])?;
        let server = AuthorizationServer::new(oauth_settings(&configuration, &scopes(&in_force)), self.parts.clone())
            .map_err(|error| vec![Diagnostic::new(Place::file("gateway.yaml"), chain(&error))])?;
        self.trust
            .replace(&roots)
            .map_err(|error| vec![Diagnostic::new(Place::file("gateway.yaml"), chain(&error))])?;
        let old = self.configuration();
        for key in reload::restart_only_changes(&old, &configuration) {
            tracing::warn!(key, "changed, but a restart is needed before it is in force");
        }
        let revision = Arc::clone(&in_force.snapshot.revision);
        self.services.took(&in_force.snapshot.authenticator);
        self.services.clients.replace(&configuration);
        self.oauth.store(Arc::new(server));
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = configuration;
        let next = Arc::new(in_force);
        // The new pools find addresses before the first request does.
        let warm = futures_util::future::join_all(next.snapshot.pools.iter().map(|pool| pool.warm()));
        let _resolved = tokio::time::timeout(WARM_UP, warm).await;
        self.in_force.store(Arc::clone(&next));
        for pool in &next.snapshot.pools {
            pool.spawn_background(&self.stopping);
        }
        Ok(Some(revision))
    }

    /// Reads and compiles what is on disk. A change that comes midway is read again: what is put in force must be what
    /// its revision says, all of one moment.
    fn read(&self, previous: &InForce) -> Result<(Arc<Configuration>, InForce), Vec<Diagnostic>> {
        for _ in 0..READS_MAX {
            let watched = revision::of(&self.configuration());
            let configuration = Arc::new(config::load(&self.folder, &self.variables)?);
            let read = revision::of(&configuration);
            let in_force = compile::compile(&configuration, &self.services, Some(&previous.snapshot))?;
            let settled = read == *in_force.snapshot.revision
                && read == revision::of(&configuration)
                && watched == revision::of(&self.configuration());
            if settled {
                return Ok((configuration, in_force));
            }
        }
        Err(vec![Diagnostic::new(Place::file(&self.folder), "its files kept changing while they were read")])
    }

    fn reload_certificates(&self) -> Result<(), Vec<Diagnostic>> {
        for (settings, certificate) in &self.certificates {
            let at = || Place::file(&settings.certificate_file);
            certificate.reload(settings).map_err(|error| vec![Diagnostic::new(at(), chain(&error))])?;
        }
        Ok(())
    }

    fn status(&self) -> serde_json::Value {
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
        let keys: Vec<_> = self.ring.status().iter().map(|key| json!({
            "kid": key.kid, "algorithm": key.algorithm, "state": format!("{:?}", key.state).to_lowercase(),
        })).collect();
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

    fn metrics(&self) -> String {
        let audit = self.recorder.audit.status();
        self.services.metrics.audit(audit.waiting, audit.healthy);
        self.services.metrics.render()
    }
}

impl Running {
    /// Bound addresses by the listeners' names; `operations` is the operations listener.
    pub fn addresses(&self) -> &[(String, SocketAddr)] {
        &self.addresses
    }

    pub async fn reload(&self) {
        self.shared.reload().await;
    }

    /// The authorization server's keys, for rehearsals that need tokens that no client would get.
    pub fn keys(&self) -> &Arc<KeyRing> {
        &self.shared.ring
    }

    /// Stops accepting, lets requests under way finish, writes what is left. Returns how many connections were cut.
    pub async fn stop(self) -> usize {
        self.shared.ready.store(false, Ordering::Relaxed);
        let _nobody_left = self.stop.send(true);
        let mut cut = 0;
        for listener in self.listeners {
            cut += listener.await.map_or(0, |drained| drained.cut);
        }
        let _ended = self.operations.await;
        background::flush(self.shared.services.clone(), self.shared.store.clone()).await;
        let recorder = self.shared.recorder.clone();
        let _closed = tokio::task::spawn_blocking(move || recorder.close()).await;
        self.shared.store.close().await;
        cut
    }
}
