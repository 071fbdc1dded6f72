//! A stranger's HTTPS host on loopback, under the name `peer.example`, that answers by a script.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

#[derive(Clone)]
pub(crate) enum Script {
    Body(String),
    /// With a `Cache-Control` of so many seconds.
    Kept(String, u32),
    Status(u16),
    Redirect(String),
    Raw(String),
    /// A body that says no length and never ends.
    Endless,
    /// One byte of a promised body now and then.
    Drip,
    EndlessHead,
    Never,
}

pub(crate) struct Peer {
    pub(crate) ca_file: PathBuf,
    pub(crate) script: watch::Sender<Script>,
    port: u16,
    hits: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
    _folder: tempfile::TempDir,
}

impl Peer {
    pub(crate) async fn start(script: Script) -> Self {
        let key = KeyPair::generate().unwrap();
        let names = vec!["peer.example".to_owned(), "localhost".to_owned()];
        let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let ca_file = folder.path().join("peer.pem");
        std::fs::write(&ca_file, certificate.pem()).unwrap();
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (script, current) = watch::channel(script);
        let (hits, connections) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (h, c) = (Arc::clone(&hits), Arc::clone(&connections));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                c.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(acceptor.clone(), stream, current.clone(), Arc::clone(&h)));
            }
        });
        Self { ca_file, script, port, hits, connections, _folder: folder }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://peer.example:{}{path}", self.port)
    }

    /// Requests that arrived.
    pub(crate) fn hits(&self) -> usize {
        self.hits.load(Ordering::SeqCst)
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn serve(acceptor: TlsAcceptor, stream: TcpStream, script: watch::Receiver<Script>, hits: Arc<AtomicUsize>) {
    let Ok(mut stream) = acceptor.accept(stream).await else { return };
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    hits.fetch_add(1, Ordering::SeqCst);
    let script = script.borrow().clone();
    let whole = |status: u16, extra: &str, body: &str| {
        format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n{extra}connection: close\r\n\r\n{body}", body.len())
    };
    let answer = match script {
        Script::Body(body) => whole(200, "", &body),
        Script::Kept(body, age) => whole(200, &format!("cache-control: max-age={age}\r\n"), &body),
        Script::Status(status) => whole(status, "", ""),
        Script::Redirect(to) => whole(302, &format!("location: {to}\r\n"), ""),
        Script::Raw(text) => text,
        Script::Endless => return pour(&mut stream, "HTTP/1.1 200 X\r\n\r\n", &"x".repeat(50), Duration::ZERO).await,
        Script::Drip => {
            let head = "HTTP/1.1 200 X\r\ncontent-length: 99\r\n\r\n";
            return pour(&mut stream, head, "x", Duration::from_millis(100)).await;
        }
        Script::EndlessHead => return pour(&mut stream, "HTTP/1.1 200 X\r\n", "a: b\r\n", Duration::ZERO).await,
        Script::Never => return std::future::pending().await,
    };
    if stream.write_all(answer.as_bytes()).await.is_ok() {
        drop(stream.shutdown().await);
    }
}

/// Until the other side has had enough.
async fn pour<S: AsyncWriteExt + Unpin>(stream: &mut S, head: &str, part: &str, pause: Duration) {
    let mut next = stream.write_all(head.as_bytes()).await;
    while next.is_ok() {
        tokio::time::sleep(pause).await;
        next = stream.write_all(part.as_bytes()).await;
    }
}
