//! The accept loop: from a socket to a stream that Pingora may have, and the orderly end of it all.

use std::fmt;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use bytes::BytesMut;
use pingora_core::apps::ServerApp;
use pingora_core::protocols::SocketDigest;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::tls::SslDigest;
use pingora_http::ResponseHeader;
use rustls::ServerConfig;
use std::os::fd::AsRawFd;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;

use super::caps::{Place, Places};
use super::certificate::CertificateFault;
use super::http2::PREFACE;
use super::reading::{Reading, Readings};
use super::state::ConnectionState;
use super::stream::{Digests, GuardedStream, Tcp, Transport};
use super::{
    BoundListener, ClientCertificate, ConnectionRefusal, Cut, EdgeLimits, FloodGuard, FloodKey, FrontEvents,
    HandshakeFailure, Trust,
};
use crate::domain::{Clock, Downstream, Random, Timestamp, TlsFacts};

/// After the system refused us a connection, for instance for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// How often that is said while it lasts.
const ACCEPT_COMPLAINT_EVERY: Duration = Duration::from_secs(10);
/// What rustls may hold of an answer that a client does not read.
const TLS_BUFFER_BYTES: usize = 32 * 1024;

/// How long draining waits for a handshake, and for the first request after it: who was let in is not turned away.
pub(super) const NEWCOMER_LINGER: Duration = Duration::from_secs(1);

/// What a front door is made of.
pub struct FrontParts {
    pub limits: EdgeLimits,
    pub trust: Arc<Trust>,
    pub flood: Arc<FloodGuard>,
    pub events: Arc<dyn FrontEvents>,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
    /// Base of the pages that problem documents point to.
    pub public_url: Arc<str>,
}

/// The front door, shared by all listeners.
pub struct Front {
    pub(super) limits: EdgeLimits,
    pub(super) trust: Arc<Trust>,
    pub(super) readings: Arc<Readings>,
    pub(super) flood: Arc<FloodGuard>,
    pub(super) events: Arc<dyn FrontEvents>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) random: Arc<dyn Random>,
    pub(super) public_url: Arc<str>,
    places: Arc<Places>,
}

impl fmt::Debug for Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Front").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// How serving a listener ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were still at work when `drain_timeout` ended, and were cut.
    pub cut: usize,
}

/// A connection ready for HTTP.
struct Arrival {
    transport: Transport,
    tls: Option<Arc<TlsFacts>>,
    certificate: Option<Arc<Reading>>,
    http2: bool,
}

impl Front {
    pub fn new(parts: FrontParts) -> Arc<Self> {
        let FrontParts { limits, trust, flood, events, clock, random, public_url } = parts;
        let places = Places::new(limits.connections_max, limits.connections_per_address_max);
        let readings = Arc::new(Readings::new());
        Arc::new(Self { limits, trust, readings, flood, events, clock, random, public_url, places })
    }

    /// Connections that are open now, on all listeners.
    pub fn connections_open(&self) -> usize {
        self.places.open()
    }

    /// Accepts connections and hands them to `app` until `drain` holds `true` (or its sender is gone). Then it
    /// accepts no more, ends idle connections, gives those at work `drain_timeout`, and returns when none is left.
    pub async fn serve<A>(
        self: Arc<Self>,
        listener: BoundListener,
        app: Arc<A>,
        mut drain: watch::Receiver<bool>,
    ) -> Drained
    where
        A: ServerApp + Send + Sync + 'static,
    {
        let BoundListener { name, socket, tls, client_certificate, .. } = listener;
        let mut connections = JoinSet::new();
        let mut complained: Option<Instant> = None;
        loop {
            tokio::select! {
                () = begun(&mut drain) => break,
                Some(ended) = connections.join_next(), if !connections.is_empty() => self.reap(&name, ended),
                accepted = socket.accept() => match accepted {
                    Ok((tcp, peer)) => {
                        if let Some(place) = self.admit(&name, peer, client_certificate) {
                            let (front, name, tls) = (Arc::clone(&self), Arc::clone(&name), tls.clone());
                            connections.spawn(front.connection(name, tls, tcp, peer, place, Arc::clone(&app), drain.clone()));
                        }
                    }
                    Err(error) => {
                        if complained.is_none_or(|at| at.elapsed() >= ACCEPT_COMPLAINT_EVERY) {
                            complained = Some(Instant::now());
                            self.events.accept_failed(&name, &error);
                        }
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        drop(socket);
        self.drain(&name, connections).await
    }

    async fn drain(&self, name: &str, mut connections: JoinSet<()>) -> Drained {
        let end = Instant::now() + self.limits.drain_timeout;
        while let Ok(Some(ended)) = timeout_at(end, connections.join_next()).await {
            self.reap(name, ended);
        }
        let cut = connections.len();
        connections.shutdown().await;
        (0..cut).for_each(|_| self.events.connection_closed(name));
        Drained { cut }
    }

    fn reap(&self, name: &str, ended: Result<(), JoinError>) {
        self.events.connection_closed(name);
        if ended.is_err_and(|error| error.is_panic()) {
            self.events.panicked(name);
        }
    }

    /// Checks what needs no byte of the peer's. Where a certificate is asked for, it may answer for the peer in its
    /// address's stead, so that question waits for the handshake.
    fn admit(&self, name: &str, peer: SocketAddr, asked: ClientCertificate) -> Option<Place> {
        let place = match asked {
            ClientCertificate::None if self.is_shut_out(peer) => Err(ConnectionRefusal::Flood),
            ClientCertificate::None | ClientCertificate::Optional | ClientCertificate::Required => {
                self.places.take(peer.ip())
            }
        };
        match place {
            Ok(place) => {
                self.events.connection_opened(name);
                Some(place)
            }
            Err(refusal) => {
                self.events.connection_refused(name, peer, refusal);
                None
            }
        }
    }

    fn is_shut_out(&self, peer: SocketAddr) -> bool {
        self.flood.is_shut_out(FloodKey::address(peer.ip()), self.clock.now())
    }

    /// One connection from its first byte to its last.
    #[expect(clippy::too_many_arguments, reason = "the parts of one connection, named once, at its birth")]
    async fn connection<A>(
        self: Arc<Self>,
        name: Arc<str>,
        tls: Option<Arc<ServerConfig>>,
        tcp: TcpStream,
        peer: SocketAddr,
        place: Place,
        app: Arc<A>,
        mut drain: watch::Receiver<bool>,
    ) where
        A: ServerApp + Send + Sync + 'static,
    {
        let _ = tcp.set_nodelay(true);
        let opened = tokio::select! {
            opened = self.open(name, tls, tcp, peer, place) => opened,
            () = hurried(drain.clone()) => None,
        };
        let Some((stream, state)) = opened else { return };
        let (retire, shutdown) = watch::channel(false);
        let work = app.process_new(Box::new(stream), &shutdown);
        tokio::pin!(work);
        let told = drain.clone();
        let draining = || told.has_changed().unwrap_or(true); // Its sender is gone: that is draining too.
        let signal = async {
            tokio::select! {
                () = state.retired() => { let _ = retire.send(true); }
                () = begun(&mut drain) => {}
            }
        };
        if unless_told(work.as_mut(), signal, || state.is_retired() || draining()).await.is_some() {
            return;
        }
        if unless_told(work.as_mut(), begun(&mut drain), draining).await.is_some() {
            return;
        }
        state.drain();
        let _ = retire.send(true);
        work.await;
    }

    /// Everything before the first byte of HTTP.
    async fn open(
        self: &Arc<Self>,
        name: Arc<str>,
        tls: Option<Arc<ServerConfig>>,
        tcp: TcpStream,
        peer: SocketAddr,
        place: Place,
    ) -> Option<(GuardedStream, Arc<ConnectionState>)> {
        let arrival = match tls {
            None => Arrival { transport: Transport::Plain(tcp), tls: None, certificate: None, http2: false },
            Some(config) => match self.handshake(config, tcp).await {
                Ok(arrival) => arrival,
                Err(failure) => {
                    self.events.handshake_failed(&name, peer, &failure);
                    return None;
                }
            },
        };
        let now = self.clock.now();
        let has_standing = arrival.certificate.as_ref().is_some_and(|peer| has_standing(peer, &self.trust, now));
        if !has_standing && self.is_shut_out(peer) {
            self.events.connection_refused(&name, peer, ConnectionRefusal::Flood);
            return None;
        }
        self.guard(name, peer, arrival, place).await
    }

    async fn handshake(&self, config: Arc<ServerConfig>, tcp: TcpStream) -> Result<Arrival, HandshakeFailure> {
        let accept = TlsAcceptor::from(config).accept(Tcp(tcp));
        let mut stream = match timeout(self.limits.handshake_timeout, accept).await {
            Ok(accepted) => accepted.map_err(|error| failure(&error))?,
            Err(_) => return Err(HandshakeFailure::Timeout),
        };
        stream.get_mut().1.set_buffer_limit(Some(TLS_BUFFER_BYTES));
        let session = stream.get_ref().1;
        let certificate = session.peer_certificates().map(|chain| self.readings.read(chain)).transpose();
        let certificate = certificate.map_err(HandshakeFailure::Certificate)?;
        let http2 = session.alpn_protocol() == Some(b"h2");
        let version = match session.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "TLSv1.3",
        };
        let cipher = session.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()).unwrap_or("unknown");
        let tls = TlsFacts { version, cipher, sni: session.server_name().map(str::to_owned) };
        Ok(Arrival { transport: Transport::Tls(Box::new(stream)), tls: Some(Arc::new(tls)), certificate, http2 })
    }

    /// Wraps a connection for Pingora. An HTTP/2 client must show its preface first.
    async fn guard(
        self: &Arc<Self>,
        name: Arc<str>,
        peer: SocketAddr,
        mut arrival: Arrival,
        place: Place,
    ) -> Option<(GuardedStream, Arc<ConnectionState>)> {
        let mut ahead = BytesMut::new();
        if arrival.http2 {
            let mut preface = [0; PREFACE.len()];
            match timeout(self.limits.header_timeout, arrival.transport.read_exact(&mut preface)).await {
                Ok(Ok(_)) if preface == *PREFACE => ahead.extend_from_slice(&preface),
                Ok(_) => return None,
                Err(_) => {
                    self.events.connection_cut(&name, peer, Cut::HeaderTimeout);
                    return None;
                }
            }
        }
        let Arrival { transport, tls, certificate, http2 } = arrival;
        let thumbprint = certificate.as_ref().map(|peer| peer.facts.thumbprint.0.to_vec()).unwrap_or_default();
        let ssl = tls.as_ref().map(|tls| Arc::new(SslDigest::new(tls.cipher, tls.version, None, None, thumbprint)));
        let state = ConnectionState::new(Arc::clone(self), name, peer, tls, certificate, http2, place.in_work());
        let digests = Digests {
            tls: ssl,
            proxy: Arc::new(ProxyDigest::new(
                Box::new(ResponseHeader::build(200, Some(0)).ok()?),
                Some(Box::new(Arc::clone(&state) as Arc<dyn Downstream>)),
            )),
            socket: Arc::new(socket_digest(transport.tcp(), peer)),
            http2,
        };
        Some((GuardedStream::new(transport, Arc::clone(&state), digests, place, ahead), state))
    }
}

/// What `work` comes to, unless `signal` comes first. The work is what nearly every wake-up is about, so the signal is
/// asked once, and then only when `is_given` says that it has come: it wakes whoever asked it first.
async fn unless_told<T>(
    mut work: Pin<&mut (impl Future<Output = T> + ?Sized)>,
    signal: impl Future<Output = ()>,
    is_given: impl Fn() -> bool,
) -> Option<T> {
    // Unconstrained: what returned early to be fair to other tasks would not have registered the waker.
    let mut signal = pin!(tokio::task::unconstrained(signal));
    let mut asked: Option<Waker> = None;
    poll_fn(|cx| {
        if let Poll::Ready(done) = work.as_mut().poll(cx) {
            return Poll::Ready(Some(done));
        }
        if asked.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) && !is_given() {
            return Poll::Pending;
        }
        asked = Some(cx.waker().clone());
        signal.as_mut().poll(cx).map(|()| None)
    })
    .await
}

/// Resolves when draining is wanted.
async fn begun(drain: &mut watch::Receiver<bool>) {
    let _ = drain.wait_for(|wanted| *wanted).await;
}

/// Resolves when draining is wanted and has lasted long enough for whoever was let in just before.
async fn hurried(mut drain: watch::Receiver<bool>) {
    begun(&mut drain).await;
    sleep(NEWCOMER_LINGER).await;
}

fn socket_digest(tcp: &TcpStream, peer: SocketAddr) -> SocketDigest {
    let digest = SocketDigest::from_raw_fd(tcp.as_raw_fd());
    let _ = digest.peer_addr.set(Some(peer.into()));
    digest
}

/// Whether the certificate is valid at `now`, and a CA or a client vouches for it.
fn has_standing(peer: &Reading, trust: &Trust, now: Timestamp) -> bool {
    peer.facts.is_valid_at(now) && trust.judge(peer, now).has_standing
}

/// Tells the reasons apart that an operator would act upon.
fn failure(error: &std::io::Error) -> HandshakeFailure {
    let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        return HandshakeFailure::Closed;
    };
    if let rustls::Error::InvalidCertificate(rustls::CertificateError::Other(other)) = error
        && let Some(fault) = other.0.downcast_ref::<CertificateFault>()
    {
        return HandshakeFailure::Certificate(*fault);
    }
    HandshakeFailure::Protocol(error.to_string())
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test]
    async fn a_signal_is_heard_however_late_and_work_that_is_done_wins() {
        let (give, mut heard) = watch::channel(false);
        let told = heard.clone();
        let given = || told.has_changed().unwrap_or(true);
        let work = async {
            for _ in 0..1000 {
                tokio::task::yield_now().await;
            }
            give.send(true).unwrap();
            pending::<()>().await;
        };
        assert_eq!(unless_told(pin!(work), begun(&mut heard), given).await, None, "told while it works");
        assert_eq!(unless_told(pin!(pending::<()>()), begun(&mut heard), given).await, None, "told before");
        assert_eq!(unless_told(pin!(async { 7 }), begun(&mut heard), given).await, Some(7), "done at once");
        drop(give);
        assert_eq!(unless_told(pin!(pending::<()>()), begun(&mut heard.clone()), || true).await, None);
    }

    #[tokio::test]
    async fn a_signal_wakes_work_that_waits() {
        let (give, mut heard) = watch::channel(false);
        let told = heard.clone();
        let waits = tokio::spawn(async move {
            let given = || told.has_changed().unwrap_or(true);
            unless_told(pin!(pending::<()>()), begun(&mut heard), given).await
        });
        tokio::task::yield_now().await;
        give.send(true).unwrap();
        assert_eq!(timeout(Duration::from_secs(10), waits).await.unwrap().unwrap(), None);
    }
}
