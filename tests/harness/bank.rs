//! A back end of the kind that institutions run: TLS with client certificates, HTTP/2, early answers. `X-Answer-Bytes` asks
//! it for so many.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::backend::{hex, sha256};
use super::forge::{Ca, Forged};

/// A request and the connection that it came over.
#[derive(Debug, Clone)]
pub struct Visit {
    /// Which connection, from 0.
    pub connection: usize,
    /// SHA-256 of the client certificate of that connection.
    pub certificate: Option<String>,
    pub version: Version,
    pub path: String,
    pub fields: http::HeaderMap,
    pub body_bytes: u64,
    pub body_sha256: String,
    /// The body came to its proper end.
    pub complete: bool,
}

/// What to say to a path before the body is read; `None` reads it and says 200.
type Early = dyn Fn(&str) -> Option<u16> + Send + Sync;

struct Shared {
    visits: Mutex<Vec<Visit>>,
    early: Box<Early>,
}

/// Dropping it stops it.
pub struct Bank {
    pub address: SocketAddr,
    scheme: &'static str,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Bank {
    /// Plain HTTP/1.1 or HTTP/2 by prior knowledge, whichever the caller speaks.
    pub async fn plain(early: impl Fn(&str) -> Option<u16> + Send + Sync + 'static) -> Self {
        Self::start(None, Box::new(early)).await
    }

    /// TLS with a certificate of `ca`; clients must present one of `clients`.
    pub async fn tls(ca: &Ca, clients: &[&Ca], protocols: &[&str]) -> Self {
        let identity = ca.server();
        let mut roots = rustls::RootCertStore::empty();
        clients.iter().for_each(|ca| roots.add(ca.der.clone()).unwrap());
        super::certificates::install_provider();
        let verifier = rustls::server::WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
        let mut config = rustls::ServerConfig::builder()
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![identity.der.clone()], identity.key.clone().try_into().unwrap())
            .unwrap();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Self::start(Some(TlsAcceptor::from(Arc::new(config))), Box::new(|_| None)).await
    }

    async fn start(tls: Option<TlsAcceptor>, early: Box<Early>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { visits: Mutex::default(), early });
        let scheme = if tls.is_some() { "https" } else { "http" };
        let task = tokio::spawn(accept(listener, tls, Arc::clone(&shared)));
        Self { address, scheme, shared, task }
    }

    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// Every request so far, in the order in which they ended.
    pub fn visits(&self) -> Vec<Visit> {
        self.shared.visits.lock().unwrap().clone()
    }

    pub fn last(&self) -> Visit {
        self.visits().pop().expect("no request reached the back end")
    }
}

impl Drop for Bank {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    let mut guests = JoinSet::new();
    let mut connection = 0;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = guests.join_next(), if !guests.is_empty() => continue,
        };
        let Ok((stream, _)) = accepted else { return };
        let (tls, shared, number) = (tls.clone(), Arc::clone(&shared), connection);
        connection += 1;
        guests.spawn(async move {
            match tls {
                None => converse(TokioIo::new(stream), number, None, shared).await,
                Some(tls) => {
                    let Ok(stream) = tls.accept(stream).await else { return };
                    let chain = stream.get_ref().1.peer_certificates();
                    let certificate = chain.and_then(|chain| chain.first()).map(|leaf| sha256(leaf));
                    converse(TokioIo::new(stream), number, certificate, shared).await;
                }
            }
        });
    }
}

async fn converse(
    io: impl hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    connection: usize,
    certificate: Option<String>,
    shared: Arc<Shared>,
) {
    let service = hyper::service::service_fn(|request: Request<Incoming>| {
        let (certificate, shared) = (certificate.clone(), Arc::clone(&shared));
        async move { Ok::<_, std::convert::Infallible>(answer(request, connection, certificate, &shared).await) }
    });
    let _ = Builder::new(TokioExecutor::new()).serve_connection(io, service).await;
}

async fn answer(
    request: Request<Incoming>,
    connection: usize,
    certificate: Option<String>,
    shared: &Shared,
) -> Response<Full<Bytes>> {
    let (head, mut body) = request.into_parts();
    let mut visit = Visit {
        connection,
        certificate,
        version: head.version,
        path: head.uri.path().to_owned(),
        fields: head.headers,
        body_bytes: 0,
        body_sha256: String::new(),
        complete: false,
    };
    let asked = visit.fields.get("x-answer-bytes").and_then(|bytes| bytes.to_str().ok()?.parse().ok());
    let early = (shared.early)(&visit.path);
    if early.is_none() {
        let mut digest = Context::new(&SHA256);
        visit.complete = loop {
            match body.frame().await {
                None => break true,
                Some(Err(_)) => break false,
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        visit.body_bytes += bytes.len() as u64;
                        digest.update(&bytes);
                    }
                }
            }
        };
        visit.body_sha256 = hex(digest.finish().as_ref());
    }
    shared.visits.lock().unwrap().push(visit);
    Response::builder()
        .status(early.unwrap_or(200))
        .header("content-type", "application/json")
        .body(asked.map_or_else(|| Full::from(r#"{"ok":true}"#), |bytes: usize| Full::from(vec![b'x'; bytes])))
        .unwrap()
}

/// The digest that [`Visit::certificate`] has for this identity.
pub fn fingerprint(identity: &Forged) -> Option<String> {
    Some(sha256(&identity.der))
}
