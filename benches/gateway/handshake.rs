//! What a full handshake with a client certificate costs: the gateway's, and that of rustls alone.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use clearway::domain::Clock;
use clearway::sandbox::pki::{Authority, Leaf, Validity};
use clearway::server::{SystemClock, SystemRandom};
use futures_util::future::try_join_all;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use secrecy::ExposeSecret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::bare::PKI;
use super::load::{client, client_of, connect};
use super::process::{Process, pinned_command};
use super::scene::{Scene, bound};

/// A server that does the handshake, and nothing else.
pub fn start_alone(scene: &Scene) -> anyhow::Result<(Process, SocketAddr)> {
    let mut command = pinned_command(&std::env::current_exe()?);
    command.env("CLEARWAY_BENCH_ROLE", "handshake").env(PKI, &scene.pki.folder);
    command.stdout(std::process::Stdio::piped());
    let mut process = Process::spawn(&mut command)?;
    let address = process.line()?.trim().parse()?;
    Ok((process, address))
}

/// The child's part of [`start_alone`].
pub fn run_alone() -> anyhow::Result<()> {
    let pki = std::env::var(PKI).context("no PKI")?;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(format!("{pki}/partner-ca.pem"))?)?;
    let chain = CertificateDer::pem_file_iter(format!("{pki}/server.pem"))?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(format!("{pki}/server.key"))?;
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build()?;
    let mut config = ServerConfig::builder().with_client_cert_verifier(verifier).with_single_cert(chain, key)?;
    config.send_tls13_tickets = 0; // The gateway sends none on listeners that ask for certificates.
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        println!("{}", listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    let _closed = stream.read_u8().await;
                }
            });
        }
    })
}

/// Clients whose certificates nobody has seen yet.
pub fn newcomers(scene: &Scene, count: usize) -> anyhow::Result<Vec<Arc<ClientConfig>>> {
    let ca = &scene.pki.partner_ca;
    let key = std::fs::read_to_string(&ca.key)?.into();
    let authority = Authority::from_pem(&std::fs::read_to_string(&ca.certificate)?, &key)?;
    let (leaf, validity) = (Leaf::client(&bound(0), "Bench Ltd"), Validity::ninety_days(SystemClock.now()));
    let client = |_| {
        let issued = authority.issue(&leaf, validity, &SystemRandom)?;
        let key = PrivateKeyDer::from_pem_slice(issued.key_pem.expose_secret().as_bytes())?;
        client_of(scene, false, Some((vec![issued.certificate_der.into()], key)))
    };
    (0..count).map(client).collect()
}

/// CPU-seconds of the process per handshake, each client connecting once.
pub async fn cost_of_each(
    process: &Process,
    address: SocketAddr,
    clients: &[Arc<ClientConfig>],
) -> anyhow::Result<f64> {
    let cpu = process.cpu_seconds()?;
    let left = RefCell::new(clients.iter());
    let next = || left.borrow_mut().next();
    let workers = (0..8).map(|_| async {
        while let Some(tls) = next() {
            connect(address, tls).await?.shutdown().await?;
        }
        anyhow::Ok(())
    });
    try_join_all(workers).await?;
    Ok((process.cpu_seconds()? - cpu) / clients.len() as f64)
}

/// CPU-seconds of the process per handshake of one client that comes again and again; each connection is closed by the
/// client as soon as it stands.
pub async fn cost(scene: &Scene, process: &Process, address: SocketAddr, length: Duration) -> anyhow::Result<f64> {
    let tls = client(scene, false, Some(0))?;
    let (cpu, began) = (process.cpu_seconds()?, Instant::now());
    let workers = (0..8).map(|_| async {
        let mut made = 0_u32;
        while began.elapsed() < length {
            let mut stream = connect(address, &tls).await?;
            stream.shutdown().await?;
            made += 1;
        }
        anyhow::Ok(made)
    });
    let made: u32 = try_join_all(workers).await?.into_iter().sum();
    Ok((process.cpu_seconds()? - cpu) / f64::from(made))
}
