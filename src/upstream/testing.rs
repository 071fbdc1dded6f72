//! Back ends for tests: scripted, on loopback, plain or mutual TLS. They report what they saw; nobody sleeps.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType, SerialNumber};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use super::settings::*;
use crate::domain::{Environment, InstitutionId};

/// One request as a back end saw it.
#[derive(Debug)]
pub(crate) struct Seen {
    /// Counts requests on one connection from 0.
    pub ordinal: usize,
    pub head: String,
    pub body: Vec<u8>,
    /// Common name of the client certificate.
    pub client: Option<String>,
}

/// What a back end does once it has read a request.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// Writes these bytes and keeps the connection.
    Answer(Vec<u8>),
    /// Writes these bytes and closes.
    AnswerThenClose(Vec<u8>),
    /// Closes without a byte.
    Close,
    /// Says nothing for ever.
    Hang,
}

impl Act {
    pub fn ok(body: &str) -> Self {
        Self::status(200, body)
    }

    pub fn status(status: u16, body: &str) -> Self {
        Self::json(status, "", body)
    }

    /// `fields` are complete lines, each with its CRLF.
    pub fn json(status: u16, fields: &str, body: &str) -> Self {
        let length = body.len();
        Self::Answer(
            format!(
                "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n{fields}\r\n{body}"
            )
            .into_bytes(),
        )
    }
}

type Script = Arc<dyn Fn(&Seen) -> Act + Send + Sync>;

/// A running back end; ends with the test's runtime.
pub(crate) struct Server {
    pub port: u16,
    pub tls: bool,
    pub seen: mpsc::UnboundedReceiver<Seen>,
    pub connections: Arc<AtomicUsize>,
}

impl Server {
    pub async fn plain(script: impl Fn(&Seen) -> Act + Send + Sync + 'static) -> Self {
        Self::start(None, Arc::new(script)).await
    }

    pub async fn tls(config: ServerConfig, script: impl Fn(&Seen) -> Act + Send + Sync + 'static) -> Self {
        Self::start(Some(TlsAcceptor::from(Arc::new(config))), Arc::new(script)).await
    }

    async fn start(acceptor: Option<TlsAcceptor>, script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (report, seen) = mpsc::unbounded_channel();
        let connections = Arc::new(AtomicUsize::new(0));
        let (counter, tls) = (connections.clone(), acceptor.is_some());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::SeqCst);
                let (acceptor, script, report) = (acceptor.clone(), script.clone(), report.clone());
                tokio::spawn(async move {
                    let Some(acceptor) = acceptor else { return serve(stream, None, &script, &report).await };
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let client = stream.get_ref().1.peer_certificates().and_then(|c| common_name(&c[0]));
                    serve(stream, client, &script, &report).await;
                });
            }
        });
        Self { port, tls, seen, connections }
    }

    pub fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", if self.tls { "https" } else { "http" }, self.port)
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// The next request; they are reported once read whole.
    pub async fn next(&mut self) -> Seen {
        tokio::time::timeout(Duration::from_secs(10), self.seen.recv()).await.expect("a request in time").unwrap()
    }

    /// The requests seen so far.
    pub fn count(&mut self) -> usize {
        std::iter::from_fn(|| self.seen.try_recv().ok()).count()
    }
}

fn common_name(der: &[u8]) -> Option<String> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    let name = certificate.subject().iter_common_name().next()?.as_str().ok()?.to_owned();
    Some(name)
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    client: Option<String>,
    script: &Script,
    report: &mpsc::UnboundedSender<Seen>,
) {
    let (mut buffer, mut ordinal) = (Vec::new(), 0);
    while let Some((head, body)) = read_request(&mut stream, &mut buffer).await {
        let seen = Seen { ordinal, head, body, client: client.clone() };
        ordinal += 1;
        let act = script(&seen);
        let _ = report.send(seen);
        match act {
            Act::Answer(bytes) => {
                if stream.write_all(&bytes).await.is_err() || stream.flush().await.is_err() {
                    return;
                }
            }
            Act::AnswerThenClose(bytes) => {
                let _ = stream.write_all(&bytes).await;
                let _ = stream.shutdown().await;
                return;
            }
            Act::Close => {
                let _ = stream.shutdown().await;
                return;
            }
            Act::Hang => std::future::pending().await,
        }
    }
}

async fn read_request<S: AsyncRead + Unpin>(stream: &mut S, buffer: &mut Vec<u8>) -> Option<(String, Vec<u8>)> {
    let end = loop {
        if let Some(end) = find(buffer, b"\r\n\r\n") {
            break end + 4;
        }
        more(stream, buffer).await?;
    };
    let head = String::from_utf8(buffer.drain(..end).collect()).ok()?;
    let lower = head.to_ascii_lowercase();
    let mut body = Vec::new();
    if lower.contains("transfer-encoding: chunked") {
        loop {
            let line = loop {
                if let Some(line) = find(buffer, b"\r\n") {
                    break line;
                }
                more(stream, buffer).await?;
            };
            let size = usize::from_str_radix(std::str::from_utf8(&buffer[..line]).ok()?.trim(), 16).ok()?;
            while buffer.len() < line + 2 + size + 2 {
                more(stream, buffer).await?;
            }
            body.extend_from_slice(&buffer[line + 2..line + 2 + size]);
            buffer.drain(..line + 2 + size + 2);
            if size == 0 {
                return Some((head, body));
            }
        }
    }
    let length = lower
        .lines()
        .find_map(|line| line.strip_prefix("content-length:").map(|v| v.trim().parse::<usize>().unwrap()))
        .unwrap_or(0);
    while buffer.len() < length {
        more(stream, buffer).await?;
    }
    body.extend(buffer.drain(..length));
    Some((head, body))
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

async fn more<S: AsyncRead + Unpin>(stream: &mut S, buffer: &mut Vec<u8>) -> Option<()> {
    let mut chunk = vec![0; 16 * 1024];
    match stream.read(&mut chunk).await {
        Ok(0) | Err(_) => None,
        Ok(n) => {
            buffer.extend_from_slice(&chunk[..n]);
            Some(())
        }
    }
}

/// A loopback port on which nobody listens, and that nobody else gets as long as the tests run.
pub(crate) fn dead_port() -> u16 {
    static HELD: std::sync::Mutex<Vec<tokio::net::TcpSocket>> = std::sync::Mutex::new(Vec::new());
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = socket.local_addr().unwrap().port();
    HELD.lock().unwrap().push(socket);
    port
}

/// A certificate authority with its files in a directory of the test.
pub(crate) struct Pki {
    pub directory: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
    ca: rcgen::Certificate,
    pub ca_file: PathBuf,
}

impl Pki {
    pub fn new(name: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let ca = params.self_signed(&key).unwrap();
        let ca_file = directory.path().join("ca.pem");
        std::fs::write(&ca_file, ca.pem()).unwrap();
        Self { issuer: Issuer::new(params, key), ca, ca_file, directory }
    }

    fn leaf(&self, name: &str, serial: u64) -> (rcgen::Certificate, KeyPair) {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.subject_alt_names.push(SanType::IpAddress("127.0.0.1".parse().unwrap()));
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.serial_number = Some(SerialNumber::from(serial));
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// Certificate and key files of a client named so.
    pub fn client(&self, name: &str, serial: u64) -> (PathBuf, PathBuf) {
        let (certificate, key) = self.leaf(name, serial);
        let files =
            (self.directory.path().join(format!("{name}.pem")), self.directory.path().join(format!("{name}.key")));
        std::fs::write(&files.0, certificate.pem()).unwrap();
        std::fs::write(&files.1, key.serialize_pem()).unwrap();
        files
    }

    /// A server for `127.0.0.1` and `localhost`; asks for certificates of `clients` if given.
    pub fn server(&self, clients: Option<&Self>) -> ServerConfig {
        let (certificate, key) = self.leaf("server", 1);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder =
            ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(pki) => {
                let mut roots = RootCertStore::empty();
                roots.add(pki.ca.der().clone()).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
                builder.with_client_cert_verifier(verifier)
            }
        };
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        builder.with_single_cert(vec![certificate.der().clone()], key).unwrap()
    }

    pub fn tls(&self, client: Option<(PathBuf, PathBuf)>) -> UpstreamTls {
        UpstreamTls { ca_file: self.ca_file.clone(), client_certificate: client }
    }
}

/// Settings with generous limits for back ends at these URLs.
pub(crate) fn settings(urls: &[String]) -> PoolSettings {
    PoolSettings {
        institution: InstitutionId::parse("bank").unwrap(),
        environment: Environment::Sandbox,
        backends: urls.iter().map(|url| BackendSettings { url: url.clone() }).collect(),
        tls: None,
        http2: false,
        credential: CredentialSettings::None,
        health: HealthSettings {
            path: None,
            interval: Duration::from_secs(3600),
            timeout: Duration::from_secs(5),
            unhealthy_after: 2,
            healthy_after: 2,
        },
        breaker: BreakerSettings { failures: 3, open_for: Duration::from_secs(10) },
        timeouts: Timeouts {
            connect: Duration::from_secs(5),
            read: Duration::from_secs(5),
            write: Duration::from_secs(5),
            total: Duration::from_secs(10),
        },
        in_flight_max: 1000,
    }
}

/// Without an installed provider Pingora would bring its own; with it, tests speak the same TLS as the product.
pub(crate) fn provider() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
