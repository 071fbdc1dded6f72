//! What is known of one connection, shared by its stream and by the requests on it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::task::AtomicWaker;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::certificate::Validity;
use super::reading::Reading;
use super::trust::Judgement;
use super::{Cut, FloodGuard, FloodKey, Front, Malformed};
use crate::domain::{ChainTrust, Connection, Downstream, PeerCertificate, Timestamp, TlsFacts};

/// The facts with their shelf life.
struct Judged {
    connection: Arc<Connection>,
    generation: u64,
    /// The certificate is valid and has standing: it answers for what happens here, not the address.
    has_standing: bool,
    /// The certificate in `connection` may be shown within these instants.
    shown: Option<Validity>,
}

/// One connection. Requests know it as [`Downstream`].
pub struct ConnectionState {
    front: Arc<Front>,
    listener: Arc<str>,
    peer: SocketAddr,
    tls: Option<Arc<TlsFacts>>,
    certificate: Option<Arc<Reading>>,
    /// HTTP/2: requests run on tasks of their own.
    multiplexed: bool,
    judged: ArcSwap<Judged>,
    opened: Instant,
    begun: AtomicU64,
    in_work: AtomicUsize,
    /// Requests in work of its address, and how many there may be.
    address_in_work: (Arc<AtomicUsize>, usize),
    /// With HTTP/2, when the last request was finished: milliseconds after `opened`.
    quiet_since_ms: AtomicU64,
    upgraded: AtomicBool,
    draining: AtomicBool,
    drained_at_ms: AtomicU64,
    cut: AtomicBool,
    reader: AtomicWaker,
    retire: Notify,
    retired: AtomicBool,
}

impl fmt::Debug for ConnectionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionState")
            .field("listener", &self.listener)
            .field("peer", &self.peer)
            .field("in_work", &self.in_work())
            .finish_non_exhaustive()
    }
}

impl ConnectionState {
    pub(super) fn new(
        front: Arc<Front>,
        listener: Arc<str>,
        peer: SocketAddr,
        tls: Option<Arc<TlsFacts>>,
        certificate: Option<Arc<Reading>>,
        multiplexed: bool,
        address_in_work: Arc<AtomicUsize>,
    ) -> Arc<Self> {
        // A trusted proxy speaks for many.
        let speaks_for_many = front.limits.trusted_proxies.includes(peer.ip());
        let most = if speaks_for_many { usize::MAX } else { front.limits.in_flight_per_address_max };
        let bare = Connection { listener: Arc::clone(&listener), peer, tls: tls.clone(), certificate: None };
        let unjudged = Judged { connection: Arc::new(bare), generation: 0, has_standing: false, shown: None };
        Arc::new(Self {
            front,
            listener,
            peer,
            tls,
            certificate,
            multiplexed,
            judged: ArcSwap::from_pointee(unjudged),
            opened: Instant::now(),
            begun: AtomicU64::new(0),
            in_work: AtomicUsize::new(0),
            address_in_work: (address_in_work, most),
            quiet_since_ms: AtomicU64::new(0),
            upgraded: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            drained_at_ms: AtomicU64::new(0),
            cut: AtomicBool::new(false),
            reader: AtomicWaker::new(),
            retire: Notify::new(),
            retired: AtomicBool::new(false),
        })
    }

    /// Builds the facts anew: the rare path, after a change of trust or of the certificate's validity.
    fn judge(&self, peer: &Reading, now: Timestamp) -> Arc<Connection> {
        let Judgement { chain, has_standing, generation } = self.front.trust.judge(peer, now);
        let valid = peer.facts.is_valid_at(now);
        let shown = valid.then_some(peer.holds(&chain));
        let certificate = valid.then(|| Arc::new(peer_certificate(peer, chain)));
        let connection = Arc::new(Connection {
            listener: Arc::clone(&self.listener),
            peer: self.peer,
            tls: self.tls.clone(),
            certificate,
        });
        let judged =
            Judged { connection: Arc::clone(&connection), generation, has_standing: valid && has_standing, shown };
        self.judged.store(Arc::new(judged));
        connection
    }

    pub(super) fn in_work(&self) -> usize {
        self.in_work.load(Ordering::Acquire)
    }

    /// Requests that reached a filter.
    pub(super) fn begun(&self) -> u64 {
        self.begun.load(Ordering::Acquire)
    }

    pub(super) fn is_upgraded(&self) -> bool {
        self.upgraded.load(Ordering::Acquire)
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Ends the connection at once, with everything on it.
    pub(super) fn cut(&self) {
        self.cut.store(true, Ordering::Release);
        self.reader.wake();
    }

    pub(super) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    /// When the connection last had nothing in work.
    pub(super) fn quiet_since(&self) -> Instant {
        self.opened + Duration::from_millis(self.quiet_since_ms.load(Ordering::Acquire))
    }

    /// When draining began.
    pub(super) fn drained_at(&self) -> Instant {
        self.opened + Duration::from_millis(self.drained_at_ms.load(Ordering::Acquire))
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn reader(&self) -> &AtomicWaker {
        &self.reader
    }

    /// Resolves when the connection has had its number of requests.
    pub(super) async fn retired(&self) {
        self.retire.notified().await;
    }

    /// Whether [`Self::retired`] resolves.
    pub(super) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// From here on an idle stream ends.
    pub(super) fn drain(&self) {
        self.drained_at_ms.store(self.elapsed_ms(), Ordering::Release);
        self.draining.store(true, Ordering::Release);
        self.reader.wake();
    }

    pub(super) fn report_cut(&self, cut: Cut) {
        self.front.events.connection_cut(&self.listener, self.peer, cut);
    }

    pub(super) fn report_malformed(&self, malformed: Malformed) {
        self.front.events.request_malformed(&self.listener, self.peer, malformed);
    }

    pub(super) fn front(&self) -> &Arc<Front> {
        &self.front
    }

    fn flood(&self) -> &FloodGuard {
        &self.front.flood
    }

    /// Who answers for failures here: a certificate with standing for itself alone, so that partners behind one address
    /// cannot lock each other out, nor a stranger them; everybody else as the address that they come from.
    fn flood_key(&self, source: IpAddr, now: Timestamp) -> FloodKey {
        let Some(peer) = &self.certificate else { return FloodKey::address(source) };
        drop(self.facts(now)); // Judged again if trust or time has changed.
        if self.judged.load().has_standing {
            FloodKey::Certificate(peer.facts.thumbprint)
        } else {
            FloodKey::address(source)
        }
    }
}

impl Downstream for ConnectionState {
    fn facts(&self, now: Timestamp) -> Arc<Connection> {
        let judged = self.judged.load();
        let Some(peer) = &self.certificate else { return Arc::clone(&judged.connection) };
        let fresh =
            judged.generation == self.front.trust.generation() && judged.shown.is_some_and(|span| span.includes(now));
        if fresh { Arc::clone(&judged.connection) } else { self.judge(peer, now) }
    }

    fn begin(&self) -> bool {
        let limits = &self.front.limits;
        let take = |in_work: &AtomicUsize, most: usize| {
            let more = |count: usize| (count < most).then_some(count + 1);
            in_work.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok()
        };
        let (of_address, most) = &self.address_in_work;
        let mut taken = take(&self.in_work, limits.in_flight_per_connection_max);
        if taken && !take(of_address, *most) {
            self.in_work.fetch_sub(1, Ordering::AcqRel);
            taken = false;
        }
        let begun = self.begun.fetch_add(1, Ordering::AcqRel) + 1;
        if begun >= u64::from(limits.requests_per_connection_max) {
            self.retired.store(true, Ordering::Release);
            self.retire.notify_one();
        }
        taken
    }

    fn finish(&self) {
        if self.multiplexed {
            self.quiet_since_ms.store(self.elapsed_ms(), Ordering::Release);
        }
        self.address_in_work.0.fetch_sub(1, Ordering::AcqRel);
        let before = self.in_work.fetch_sub(1, Ordering::AcqRel);
        if before == 1 && self.is_draining() {
            self.reader.wake();
        }
        // A panic on HTTP/1 ends the connection's own task, which reports it.
        if self.multiplexed && std::thread::panicking() {
            self.front.events.panicked(&self.listener);
        }
    }

    fn upgraded(&self) {
        self.upgraded.store(true, Ordering::Release);
        self.reader.wake();
    }

    fn blocked(&self, source: IpAddr, now: Timestamp) -> Option<Duration> {
        let key = self.flood_key(source, now);
        let wait = self.flood().is_blocked(key, now)?;
        // It counts on, so that an address that does not stop loses its connections as well.
        self.flood().failed(key, now);
        Some(wait)
    }

    fn failed(&self, source: IpAddr, now: Timestamp) {
        self.flood().failed(self.flood_key(source, now), now);
    }
}

fn peer_certificate(peer: &Reading, chain: ChainTrust) -> PeerCertificate {
    PeerCertificate {
        der: peer.chain.first().map(|leaf| Arc::from(leaf.as_ref())).unwrap_or_default(),
        thumbprint: peer.facts.thumbprint,
        subject_der: Arc::from(peer.facts.subject_der.as_slice()),
        subject: peer.facts.subject.clone(),
        alt_names: peer.facts.alt_names.clone(),
        chain,
    }
}
