//! The baseline: a Pingora proxy of the same version and build that does nothing but proxy.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;
use pingora_core::listeners::tls::TlsSettings;
use pingora_core::modules::http::HttpModules;
use pingora_core::server::Server;
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

struct Bare {
    backend: SocketAddr,
}

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();

    fn new_ctx(&self) {}

    fn init_downstream_modules(&self, _: &mut HttpModules) {} // The gateway has none either.

    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> pingora_core::Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.backend, false, String::new())))
    }
}

/// What the parent tells this process, by environment.
pub const BACKEND: &str = "CLEARWAY_BENCH_BACKEND";
pub const TLS: &str = "CLEARWAY_BENCH_TLS";
pub const MTLS: &str = "CLEARWAY_BENCH_MTLS";
pub const PKI: &str = "CLEARWAY_BENCH_PKI";
pub const COUNTS: &str = "CLEARWAY_BENCH_COUNTS";

/// Serves until it is ended.
pub fn run() -> anyhow::Result<()> {
    let variable = |name: &str| std::env::var(name).with_context(|| format!("{name} is not set"));
    let backend = variable(BACKEND)?.parse()?;
    let pki = variable(PKI)?;
    if std::env::var_os(COUNTS).is_some() {
        super::counted::begin();
    }
    let conf = ServerConf { threads: 1, ..ServerConf::default() };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let mut service = http_proxy_service(&server.configuration, Bare { backend });
    let settings = || -> anyhow::Result<TlsSettings> {
        let mut settings = TlsSettings::intermediate(&format!("{pki}/server.pem"), &format!("{pki}/server.key"))
            .map_err(|error| anyhow::anyhow!("{error}"))?;
        settings.enable_h2();
        Ok(settings)
    };
    service.add_tls_with_settings(&variable(TLS)?, None, settings()?);
    let mut mutual = settings()?;
    mutual.set_client_cert_verifier(verifier(&format!("{pki}/partner-ca.pem"))?);
    service.add_tls_with_settings(&variable(MTLS)?, None, mutual);
    server.add_service(service);
    server.run_forever();
}

fn verifier(ca: &str) -> anyhow::Result<Arc<dyn rustls::server::danger::ClientCertVerifier>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca)?)?;
    Ok(WebPkiClientVerifier::builder(Arc::new(roots)).build()?)
}
