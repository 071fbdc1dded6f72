//! Black-box tests over real sockets: a small Pingora proxy behind the front door, a small back end behind that.

mod bounds;
mod deadlines;
mod framing;
mod http2;
mod pki;
mod plain;
mod readings;
mod tls;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_http::ResponseHeader;
use pingora_proxy::{ProxyHttp, Session, http_proxy};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::domain::{ChainTrust, Clock, InWork, Random, Timestamp};

/// Longest that any step of a test may take.
const PATIENCE: Duration = Duration::from_secs(10);

pub async fn soon<T>(what: &str, step: impl Future<Output = T>) -> T {
    timeout(PATIENCE, step).await.unwrap_or_else(|_| panic!("{what} did not happen"))
}

#[derive(Default)]
pub struct Events {
    seen: Mutex<Vec<String>>,
    more: Notify,
}

impl Events {
    fn push(&self, event: String) {
        self.seen.lock().unwrap().push(event);
        self.more.notify_waiters();
    }

    pub fn count(&self, part: &str) -> usize {
        self.seen.lock().unwrap().iter().filter(|event| event.contains(part)).count()
    }

    pub async fn wait(&self, part: &str) {
        self.wait_for(part, 1).await;
    }

    pub async fn wait_for(&self, part: &str, count: usize) {
        let seen = async {
            loop {
                let more = self.more.notified();
                tokio::pin!(more);
                more.as_mut().enable();
                if self.count(part) >= count {
                    return;
                }
                more.await;
            }
        };
        if timeout(PATIENCE, seen).await.is_err() {
            let seen = self.seen.lock().unwrap().clone();
            panic!("no {count} of {part:?} in {seen:?}");
        }
    }
}

impl FrontEvents for Events {
    fn connection_opened(&self, _: &str) {}
    fn connection_closed(&self, _: &str) {
        self.push("closed".into());
    }
    fn connection_refused(&self, _: &str, _: SocketAddr, refusal: ConnectionRefusal) {
        self.push(format!("refused {}", refusal.label()));
    }
    fn connection_cut(&self, _: &str, _: SocketAddr, cut: Cut) {
        self.push(format!("cut {}", cut.label()));
    }
    fn handshake_failed(&self, _: &str, _: SocketAddr, failure: &HandshakeFailure) {
        self.push(format!("handshake {failure:?}"));
    }
    fn request_malformed(&self, _: &str, _: SocketAddr, malformed: Malformed) {
        self.push(format!("malformed {:?}", malformed.fault));
    }
    fn panicked(&self, _: &str) {
        self.push("panicked".into());
    }
    fn accept_failed(&self, _: &str, error: &std::io::Error) {
        self.push(format!("accept {error}"));
    }
}

/// A clock that the test turns.
pub struct Hands(AtomicI64);

impl Hands {
    pub fn forward(&self, secs: i64) {
        self.0.fetch_add(secs * 1_000_000, Ordering::SeqCst);
    }
}

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}

struct Counting;

impl Random for Counting {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(7);
    }
}

/// What the proxy under test does is chosen by the path.
struct Probe {
    clock: Arc<Hands>,
    upstream: SocketAddr,
    at_work: Arc<AtomicUsize>,
    at_work_max: Arc<AtomicUsize>,
    arrived: Arc<Notify>,
    go_on: Arc<Notify>,
}

#[derive(Default)]
pub struct Context {
    in_work: Option<InWork>,
}

impl Probe {
    async fn answer(session: &mut Session, text: String) -> pingora_core::Result<bool> {
        let mut header = ResponseHeader::build(200, None)?;
        header.insert_header("content-length", text.len())?;
        session.write_response_header(Box::new(header), false).await?;
        session.write_response_body(Some(Bytes::from(text)), true).await?;
        Ok(true)
    }
}

#[async_trait]
impl ProxyHttp for Probe {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context::default()
    }

    async fn early_request_filter(&self, session: &mut Session, ctx: &mut Context) -> pingora_core::Result<()> {
        let connection = Arc::clone(downstream(session.digest()).expect("every session has a downstream"));
        ctx.in_work = InWork::begin(connection);
        if ctx.in_work.is_none() {
            return pingora_core::Error::e_explain(pingora_core::ErrorType::HTTPStatus(503), "full");
        }
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Context) -> pingora_core::Result<bool> {
        let path = session.req_header().uri.path().to_owned();
        match path.as_str() {
            "/facts" => {
                let facts = ctx.in_work.as_ref().unwrap().downstream().facts(self.clock.now());
                let tls = facts.tls.as_ref().map_or("none".into(), |tls| format!("{} {:?}", tls.version, tls.sni));
                let peer = facts.certificate.as_ref().map_or("none", |certificate| match certificate.chain {
                    ChainTrust::Trusted => "trusted",
                    ChainTrust::Unverified => "unverified",
                });
                Self::answer(session, format!("{} {tls} {peer}", facts.listener)).await
            }
            "/fail" => {
                let connection = ctx.in_work.as_ref().unwrap().downstream();
                let source = connection.facts(self.clock.now()).peer.ip();
                let blocked = connection.blocked(source, self.clock.now()).is_some();
                connection.failed(source, self.clock.now());
                Self::answer(session, if blocked { "blocked".into() } else { "failed".into() }).await
            }
            "/hang" => {
                let now = self.at_work.fetch_add(1, Ordering::SeqCst) + 1;
                self.at_work_max.fetch_max(now, Ordering::SeqCst);
                self.arrived.notify_one();
                self.go_on.notified().await;
                self.at_work.fetch_sub(1, Ordering::SeqCst);
                Self::answer(session, "went on".into()).await
            }
            "/panic" => panic!("on purpose"),
            "/body" => {
                let mut bytes = 0;
                while let Some(chunk) = session.read_request_body().await? {
                    bytes += chunk.len();
                }
                Self::answer(session, format!("body of {bytes}")).await
            }
            "/large" => {
                let mut header = ResponseHeader::build(200, None)?;
                header.insert_header("content-length", 64 << 20)?;
                session.write_response_header(Box::new(header), false).await?;
                for _ in 0..64 << 4 {
                    session.write_response_body(Some(Bytes::from(vec![b'x'; 1 << 16])), false).await?;
                }
                Ok(true)
            }
            "/early" => {
                session.set_keepalive(None);
                Self::answer(session, "early".into()).await
            }
            "/tunnel" => {
                let mut header = ResponseHeader::build(101, None)?;
                header.insert_header("upgrade", "websocket")?;
                header.insert_header("connection", "upgrade")?;
                session.write_response_header(Box::new(header), false).await?;
                ctx.in_work.as_ref().unwrap().downstream().upgraded();
                while let Some(chunk) = session.read_request_body().await? {
                    session.write_response_body(Some(chunk), false).await?;
                }
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    async fn upstream_peer(&self, _: &mut Session, _: &mut Context) -> pingora_core::Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.upstream, false, String::new())))
    }
}

/// The front door with its proxy and its back end.
pub struct House {
    pub address: SocketAddr,
    pub events: Arc<Events>,
    pub clock: Arc<Hands>,
    pub trust: Arc<Trust>,
    pub flood: Arc<FloodGuard>,
    pub certificate: Option<Arc<ServerCertificate>>,
    pub at_work_max: Arc<AtomicUsize>,
    pub at_work: Arc<AtomicUsize>,
    pub arrived: Arc<Notify>,
    pub go_on: Arc<Notify>,
    /// Requests as the back end received them.
    pub received: Arc<Mutex<Vec<String>>>,
    pub drain: watch::Sender<bool>,
    pub served: JoinHandle<Drained>,
}

pub fn limits() -> EdgeLimits {
    EdgeLimits {
        connections_max: 100,
        connections_per_address_max: 100,
        handshake_timeout: Duration::from_millis(400),
        header_timeout: Duration::from_millis(500),
        idle_timeout: Duration::from_millis(700),
        body_idle_timeout: Duration::from_millis(400),
        body_timeout: Duration::from_millis(1200),
        header_bytes_max: 16 * 1024,
        header_count_max: 40,
        uri_bytes_max: 4096,
        body_bytes_max: 1 << 20,
        buffered_bytes_max: 1 << 20,
        buffered_total_bytes_max: 1 << 24,
        in_flight_per_connection_max: 10,
        in_flight_per_address_max: 100,
        requests_per_connection_max: 1000,
        drain_timeout: Duration::from_secs(2),
        trusted_proxies: TrustedProxies::default(),
    }
}

/// Deadlines that no machine is too slow for, for tests about something else.
pub fn patient() -> EdgeLimits {
    let long = Duration::from_secs(30);
    EdgeLimits {
        handshake_timeout: long,
        header_timeout: long,
        idle_timeout: long,
        body_idle_timeout: long,
        body_timeout: long,
        drain_timeout: long,
        ..limits()
    }
}

pub fn guard() -> FloodGuard {
    FloodGuard::new(FloodSettings { failures_max: 3, window: Duration::from_secs(60) })
}

pub fn door(
    limits: &EdgeLimits,
    trust: Arc<Trust>,
    flood: Arc<FloodGuard>,
    events: &Arc<Events>,
    clock: &Arc<Hands>,
) -> Arc<Front> {
    Front::new(FrontParts {
        limits: limits.clone(),
        trust,
        flood,
        events: Arc::clone(events) as Arc<dyn FrontEvents>,
        clock: Arc::clone(clock) as Arc<dyn Clock>,
        random: Arc::new(Counting),
        public_url: Arc::from("https://gw.example"),
    })
}

impl House {
    pub async fn plain(limits: EdgeLimits) -> Self {
        Self::open(limits, None, &[]).await
    }

    pub async fn open(
        limits: EdgeLimits,
        tls: Option<ListenerTls>,
        roots: &[rustls_pki_types::CertificateDer<'_>],
    ) -> Self {
        let _ = rustls::crypto::CryptoProvider::install_default(crypto_provider());
        let clock = Arc::new(Hands(AtomicI64::new(1_800_000_000_000_000)));
        let events = Arc::new(Events::default());
        let trust = Trust::new(roots, HashSet::new()).unwrap();
        let flood = Arc::new(guard());
        let front = door(&limits, Arc::clone(&trust), Arc::clone(&flood), &events, &clock);
        let settings = ListenerSettings { name: "public".into(), address: "127.0.0.1:0".parse().unwrap(), tls };
        let listener = front.bind(&settings).unwrap();
        let (received, upstream) = back_end().await;
        let [at_work, at_work_max] = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
        let [arrived, go_on] = [(); 2].map(|()| Arc::new(Notify::new()));
        let probe = Probe {
            clock: Arc::clone(&clock),
            upstream,
            at_work: Arc::clone(&at_work),
            at_work_max: Arc::clone(&at_work_max),
            arrived: Arc::clone(&arrived),
            go_on: Arc::clone(&go_on),
        };
        let mut proxy = http_proxy(&Arc::new(ServerConf::default()), probe);
        proxy.h2_options = Some(http2_options(&limits));
        let (address, certificate) = (listener.local_addr(), listener.certificate());
        let (drain, draining) = watch::channel(false);
        let served = tokio::spawn(front.serve(listener, Arc::new(proxy), draining));
        Self {
            address,
            events,
            clock,
            trust,
            flood,
            certificate,
            at_work_max,
            at_work,
            arrived,
            go_on,
            received,
            drain,
            served,
        }
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends bytes on a connection of their own and returns all that comes back until it is closed.
    pub async fn exchange(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut tcp = self.connect().await;
        tcp.write_all(bytes.as_ref()).await.unwrap();
        read_to_end(&mut tcp).await
    }

    pub fn received(&self) -> Vec<String> {
        self.received.lock().unwrap().clone()
    }
}

pub async fn read_to_end(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    let _ = soon("the end of the answer", stream.read_to_end(&mut bytes)).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads one answer with a Content-Length and leaves the connection open.
pub async fn read_answer(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut text = Vec::new();
    let whole = async {
        loop {
            let head = text.windows(4).position(|bytes| bytes == b"\r\n\r\n");
            if let Some(end) = head {
                let header = String::from_utf8_lossy(&text[..end]).to_lowercase();
                let length = header.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
                let length: usize = length.map_or(0, |digits| digits.trim().parse().unwrap());
                if text.len() >= end + 4 + length {
                    return;
                }
            }
            let mut byte = [0];
            assert_eq!(stream.read(&mut byte).await.unwrap(), 1, "closed after {:?}", String::from_utf8_lossy(&text));
            text.push(byte[0]);
        }
    };
    soon("an answer", whole).await;
    String::from_utf8(text).unwrap()
}

pub async fn get(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    read_answer(stream).await
}

/// Answers `ok` to everything and remembers what it was sent.
async fn back_end() -> (Arc<Mutex<Vec<String>>>, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let received = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&received);
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let log = Arc::clone(&log);
            tokio::spawn(async move {
                let mut bytes = Vec::new();
                loop {
                    let mut scratch = [0; 4096];
                    let Ok(n @ 1..) = tcp.read(&mut scratch).await else { return };
                    bytes.extend_from_slice(&scratch[..n]);
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                    let lower = head.to_lowercase();
                    let whole = match lower.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()) {
                        Some(length) => body.len() >= length.trim().parse().unwrap(),
                        None => !lower.contains("transfer-encoding") || body.ends_with("0\r\n\r\n"),
                    };
                    if whole {
                        log.lock().unwrap().push(text);
                        bytes.clear();
                        tcp.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
                    }
                }
            });
        }
    });
    (received, address)
}
