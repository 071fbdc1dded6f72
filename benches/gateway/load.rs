//! The callers: keep-alive connections that send prepared requests and count whole answers.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::scene::{Scene, bound, target};
use super::wire;

/// Requests that one connection prepares, each for another operation where there are so many.
const PREPARED: usize = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    TlsHttp1,
    TlsHttp2,
    MutualTls,
}

impl Transport {
    pub const ALL: [Self; 3] = [Self::TlsHttp1, Self::TlsHttp2, Self::MutualTls];

    pub const fn name(self) -> &'static str {
        match self {
            Self::TlsHttp1 => "TLS HTTP/1.1",
            Self::TlsHttp2 => "TLS HTTP/2",
            Self::MutualTls => "mutual TLS",
        }
    }

    pub const fn short(self) -> &'static str {
        match self {
            Self::TlsHttp1 => "h1",
            Self::TlsHttp2 => "h2",
            Self::MutualTls => "mtls",
        }
    }
}

/// Someone who calls.
#[derive(Clone)]
pub struct Caller {
    pub tls: Arc<ClientConfig>,
    /// Empty: no token is shown.
    pub token: String,
}

/// What the callers ask, and what they must be answered.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    pub transport: Transport,
    pub operations: usize,
    /// How long each caller waits from one request to the next; `None`: not at all.
    pub interval: Option<Duration>,
    pub status: u16,
}

impl Asked {
    /// As fast as answers come, and all of them are 200.
    pub const fn ordinary(transport: Transport, operations: usize) -> Self {
        Self { transport, operations, interval: None, status: 200 }
    }
}

/// A TLS client of the scene: HTTP/2 if asked, with the certificate of the bound client of this number if given.
pub fn client(scene: &Scene, http2: bool, certificate: Option<usize>) -> anyhow::Result<Arc<ClientConfig>> {
    let identity = certificate.map(|number| scene.pki.clients.get(&bound(number)).context("no such client"));
    client_with(scene, http2, identity.transpose()?)
}

pub fn client_with(
    scene: &Scene,
    http2: bool,
    identity: Option<&clearway::sandbox::pki::Identity>,
) -> anyhow::Result<Arc<ClientConfig>> {
    let read = |identity: &clearway::sandbox::pki::Identity| -> anyhow::Result<_> {
        let chain = CertificateDer::pem_file_iter(&identity.certificate)?.collect::<Result<Vec<_>, _>>()?;
        Ok((chain, PrivateKeyDer::from_pem_file(&identity.key)?))
    };
    client_of(scene, http2, identity.map(read).transpose()?)
}

/// A client with a chain and its key, or without.
pub fn client_of(
    scene: &Scene,
    http2: bool,
    identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
) -> anyhow::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&scene.pki.server_ca)?)?;
    let builder = ClientConfig::builder().with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => builder.with_client_auth_cert(chain, key)?,
    };
    config.alpn_protocols = vec![if http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

pub async fn connect(address: SocketAddr, tls: &Arc<ClientConfig>) -> anyhow::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(TlsConnector::from(Arc::clone(tls)).connect(ServerName::try_from("localhost")?, stream).await?)
}

/// Callers at work, until told to stop.
pub struct Load {
    shared: Arc<Shared>,
    tasks: JoinSet<anyhow::Result<()>>,
}

struct Shared {
    stop: AtomicBool,
    answers: AtomicU64,
    asked: Asked,
    latencies: Mutex<Vec<Duration>>,
    /// Closed: everybody may call.
    gate: Semaphore,
}

impl Load {
    /// Connects everybody, then lets them call.
    pub async fn start(address: SocketAddr, callers: &[Caller], asked: Asked) -> anyhow::Result<Self> {
        let load = Self::paused(address, callers, asked).await?;
        load.resume();
        Ok(load)
    }

    /// Connects everybody, and lets nobody call before [`Self::resume`].
    pub async fn paused(address: SocketAddr, callers: &[Caller], asked: Asked) -> anyhow::Result<Self> {
        let (stop, answers, latencies) = (AtomicBool::new(false), AtomicU64::new(0), Mutex::default());
        let shared = Arc::new(Shared { stop, answers, asked, latencies, gate: Semaphore::new(0) });
        let Asked { transport, operations, .. } = asked;
        let mut tasks = JoinSet::new();
        let per_connection = if transport == Transport::TlsHttp2 { 2 } else { 1 };
        for (number, callers) in callers.chunks(per_connection).enumerate() {
            let first = callers.first().context("a chunk is never empty")?;
            let stream = connect(address, &first.tls).await.context("a caller cannot connect")?;
            if transport == Transport::TlsHttp2 {
                let (sender, connection) = h2::client::handshake(stream).await?;
                tokio::spawn(connection);
                for (position, caller) in callers.iter().enumerate() {
                    let requests = http2_requests(caller, number * per_connection + position, operations)?;
                    tasks.spawn(http2(sender.clone(), requests, Arc::clone(&shared)));
                }
            } else {
                tasks.spawn(http1(stream, http1_requests(first, number, operations), Arc::clone(&shared)));
            }
        }
        Ok(Self { shared, tasks })
    }

    pub fn resume(&self) {
        self.shared.gate.close();
    }

    /// Waits until a caller ends by itself, which only a failure makes it do.
    pub async fn ended(mut self) -> anyhow::Result<()> {
        self.tasks.join_next().await.context("nobody calls")???;
        Ok(())
    }

    pub fn answers(&self) -> u64 {
        self.shared.answers.load(Ordering::Relaxed)
    }

    /// Forgets the latencies so far.
    pub fn reset(&self) {
        self.shared.latencies.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Ends all callers; the latencies are sorted, and empty unless the callers had an interval.
    pub async fn stop(mut self) -> anyhow::Result<Vec<Duration>> {
        self.shared.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended??;
        }
        let mut latencies = std::mem::take(&mut *self.shared.latencies.lock().unwrap_or_else(PoisonError::into_inner));
        latencies.sort_unstable();
        Ok(latencies)
    }
}

/// Keeps one caller's pace. A request that could not be sent in time counts from when it should have been.
struct Pace {
    due: Option<Instant>,
}

impl Pace {
    async fn wait(&mut self, shared: &Shared) -> Option<Instant> {
        let interval = shared.asked.interval?;
        // The callers start spread over one interval, by where their tasks lie in memory: any spread will do.
        let due = self.due.map_or_else(|| Instant::now() + interval.mul_f64(spread(self)), |due| due + interval);
        self.due = Some(due);
        if Instant::now() >= due {
            return Some(due);
        }
        tokio::time::sleep_until(due.into()).await;
        Some(Instant::now())
    }
}

fn spread<T>(place: &T) -> f64 {
    let address = std::ptr::from_ref(place) as usize;
    (address.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as f64 / f64::from(1 << 24)
}

impl Shared {
    fn done(&self, began: Option<Instant>) {
        self.answers.fetch_add(1, Ordering::Relaxed);
        if let Some(began) = began {
            self.latencies.lock().unwrap_or_else(PoisonError::into_inner).push(began.elapsed());
        }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

fn targets(number: usize, operations: usize) -> impl Iterator<Item = String> {
    (0..PREPARED).map(move |each| target((number * PREPARED + each) * 37 % operations))
}

fn http1_requests(caller: &Caller, number: usize, operations: usize) -> Vec<Vec<u8>> {
    let authorization = match caller.token.as_str() {
        "" => String::new(),
        token => format!("authorization: Bearer {token}\r\n"),
    };
    let request = |target: String| {
        format!(
            "GET {target} HTTP/1.1\r\nhost: localhost\r\n{authorization}\
             accept: application/json\r\nuser-agent: bench/1\r\nx-page-size: 25\r\n\r\n"
        )
        .into_bytes()
    };
    targets(number, operations).map(request).collect()
}

async fn http1(mut stream: TlsStream<TcpStream>, requests: Vec<Vec<u8>>, shared: Arc<Shared>) -> anyhow::Result<()> {
    let mut buffer: Vec<u8> = Vec::with_capacity(4096);
    let mut pace = Pace { due: None };
    let _opened = shared.gate.acquire().await;
    for request in requests.iter().cycle() {
        if shared.stopped() {
            break;
        }
        let began = pace.wait(&shared).await;
        stream.write_all(request).await?;
        stream.flush().await?;
        read_answer(&mut stream, &mut buffer, shared.asked.status).await?;
        shared.done(began);
    }
    Ok(())
}

/// Reads one answer, which must have this status.
pub async fn read_answer(stream: &mut TlsStream<TcpStream>, buffer: &mut Vec<u8>, status: u16) -> anyhow::Result<()> {
    loop {
        if let Some(whole) = wire::response(buffer) {
            anyhow::ensure!(whole.status == status, "not a {status}: {}", String::from_utf8_lossy(buffer));
            buffer.drain(..whole.body.end);
            return Ok(());
        }
        let read = stream.read_buf(buffer).await?;
        anyhow::ensure!(read > 0, "the connection was closed");
    }
}

fn http2_requests(caller: &Caller, number: usize, operations: usize) -> anyhow::Result<Vec<http::Request<()>>> {
    let request = |target: String| {
        let builder = http::Request::get(format!("https://localhost{target}"))
            .header("authorization", format!("Bearer {}", caller.token))
            .header("accept", "application/json")
            .header("user-agent", "bench/1")
            .header("x-page-size", "25");
        Ok(builder.body(())?)
    };
    targets(number, operations).map(request).collect()
}

async fn http2(
    sender: h2::client::SendRequest<bytes::Bytes>,
    requests: Vec<http::Request<()>>,
    shared: Arc<Shared>,
) -> anyhow::Result<()> {
    let mut sender = sender;
    let mut pace = Pace { due: None };
    let _opened = shared.gate.acquire().await;
    for request in requests.iter().cycle() {
        if shared.stopped() {
            break;
        }
        let began = pace.wait(&shared).await;
        sender = sender.ready().await?;
        let (answer, _) = sender.send_request(request.clone(), true)?;
        let answer = answer.await?;
        let status = answer.status();
        let mut body = answer.into_body();
        while let Some(chunk) = body.data().await {
            let chunk = chunk?;
            body.flow_control().release_capacity(chunk.len())?;
            let expected = shared.asked.status;
            anyhow::ensure!(status == expected, "not a {expected}: {status} {}", String::from_utf8_lossy(&chunk));
        }
        shared.done(began);
    }
    Ok(())
}
