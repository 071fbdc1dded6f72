//! The one place that builds an `HttpPeer`.
//!
//! Invariants: never from a caller's input; the name that is verified is never empty; every timeout is set; two peers
//! share connections only if trust, identity, owner and protocol are the same. Pingora's own pool key compares client
//! certificates by serial number and does not look at the CAs at all, so `group_key` carries both.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use aws_lc_rs::digest;
use pingora_core::upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy};

use super::identity::Identity;
use super::paced::PacedConnect;
use super::settings::PoolSettings;
use super::target::Target;

/// Idle connections are given up before the back end's own keep-alive usually ends.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Streams that we open at once on one connection.
const H2_STREAMS_MAX: usize = 100;
/// Receive windows: what a back end may send ahead of a slow caller. That of a connection has room for all its streams, or
/// callers who do not read would stop the answers of those who do.
const H2_STREAM_WINDOW: u32 = 128 << 10;
const H2_CONNECTION_WINDOW: u32 = H2_STREAM_WINDOW * 100;
const _: () = assert!(H2_CONNECTION_WINDOW as usize == H2_STREAM_WINDOW as usize * H2_STREAMS_MAX);
/// How soon a dead HTTP/2 connection is noticed.
const H2_PING_INTERVAL: Duration = Duration::from_secs(15);

/// Pingora remembers for ever what it was told of a peer; of one back end, so many times (16 bytes each).
const MOVES_MAX: u64 = 1 << 16;
/// An odd number: as many different keys as there are moves.
const MOVE: u64 = 0x9e37_79b9_7f4a_7c15;

/// What one exchange asks of its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerTerms {
    /// What is left of the exchange's total deadline; no wait lasts longer.
    pub budget: Duration,
    /// The request has a body that is still arriving.
    pub uploading: bool,
    /// The route allows a WebSocket upgrade and this request asks for one.
    pub websocket: bool,
}

/// Peers of one back end, but for the address.
#[derive(Debug)]
pub(super) struct PeerFactory {
    template: HttpPeer,
    http2: bool,
    read: Duration,
    write: Duration,
    /// The last one that [`Self::shared`] built.
    shared: ArcSwapOption<HttpPeer>,
    /// How often [`Self::move_on`] was asked for.
    moves: AtomicU64,
    /// Tunnels so far, and one: no two have the same number, and none has that of ordinary connections.
    tunnels: AtomicU64,
}

impl PeerFactory {
    pub fn new(target: &Target, identity: Option<&Identity>, settings: &PoolSettings) -> Self {
        let timeouts = &settings.timeouts;
        // A `SocketAddr` is its own resolution: `HttpPeer::new` asks no DNS here. `build` sets the true address.
        let mut peer = HttpPeer::new(SocketAddr::from(([0, 0, 0, 0], 0)), target.tls, target.host.clone());
        peer.group_key = group_key(target, identity, settings);
        if target.tls {
            peer.client_cert_key = identity.and_then(|i| i.client.clone());
            peer.options.ca = identity.map(|i| i.ca.clone());
        }
        peer.options.connection_timeout = Some(timeouts.connect);
        peer.options.total_connection_timeout = Some(timeouts.connect);
        peer.options.idle_timeout = Some(IDLE_TIMEOUT);
        match (settings.http2, target.tls) {
            (false, _) => peer.options.set_http_version(1, 1),
            (true, true) => peer.options.set_http_version(2, 1),
            (true, false) => peer.options.set_http_version(2, 2), // No ALPN on plain TCP: prior knowledge.
        }
        peer.options.max_h2_streams = H2_STREAMS_MAX;
        peer.options.h2_stream_window_size = Some(H2_STREAM_WINDOW);
        peer.options.h2_connection_window_size = Some(H2_CONNECTION_WINDOW);
        peer.options.h2_ping_interval = Some(H2_PING_INTERVAL);
        Self {
            template: peer,
            http2: settings.http2,
            read: timeouts.read,
            write: timeouts.write,
            shared: ArcSwapOption::empty(),
            moves: AtomicU64::new(0),
            tunnels: AtomicU64::new(1),
        }
    }

    /// What connections must have in common to be shared, and back ends to be the same one over a reload.
    pub const fn group_key(&self) -> u64 {
        self.template.group_key
    }

    /// For exchanges that time their waits themselves, as those of the whole lane do: built once per address.
    pub fn shared(&self, address: SocketAddr) -> Arc<HttpPeer> {
        if let Some(peer) = &*self.shared.load()
            && peer._address.as_inet() == Some(&address)
        {
            return Arc::clone(peer);
        }
        let terms = PeerTerms { budget: Duration::MAX, uploading: false, websocket: false };
        let peer = Arc::new(self.build(address, terms));
        self.shared.store(Some(Arc::clone(&peer)));
        peer
    }

    pub fn build(&self, address: SocketAddr, terms: PeerTerms) -> HttpPeer {
        let mut peer = self.template.clone();
        peer._address = address.into();
        let moves = self.moves.load(Ordering::Relaxed) % MOVES_MAX;
        peer.group_key = peer.group_key.wrapping_add(moves.wrapping_mul(MOVE));
        // Pingora starts the read timeout of HTTP/2 with the request's header, while the caller still uploads; and it
        // would close a silent WebSocket. In both cases the total deadline is the bound.
        let patient = (self.http2 && terms.uploading) || terms.websocket;
        peer.options.read_timeout = Some(if patient { terms.budget } else { self.read.min(terms.budget) });
        peer.options.write_timeout = Some(self.write.min(terms.budget));
        if terms.websocket {
            peer.options.http_upstream_request_policy = HttpUpstreamRequestPolicy::standard();
            peer.options.custom_l4 = Some(Arc::new(PacedConnect));
            peer.group_key ^= self.tunnels.fetch_add(1, Ordering::Relaxed); // A tunnel's connection is nobody else's.
        } else {
            peer.options.http_upstream_request_policy = HttpUpstreamRequestPolicy::deny_upgrades();
        }
        peer
    }

    /// Peers from here on share neither connections with those before, nor what Pingora remembers of them.
    pub fn move_on(&self) {
        self.moves.fetch_add(1, Ordering::Relaxed);
        self.shared.store(None);
    }

    /// A peer that shares no connection with traffic, for a check of whether connecting works.
    pub fn build_apart(&self, address: SocketAddr, budget: Duration) -> HttpPeer {
        let mut peer = self.build(address, PeerTerms { budget, uploading: false, websocket: false });
        peer.group_key = !peer.group_key;
        peer
    }
}

fn group_key(target: &Target, identity: Option<&Identity>, settings: &PoolSettings) -> u64 {
    let mut hash = digest::Context::new(&digest::SHA256);
    let mut part = |bytes: &[u8]| {
        hash.update(&(bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    part(settings.institution.as_str().as_bytes());
    part(settings.environment.as_str().as_bytes());
    part(target.authority.as_bytes());
    part(identity.map_or(&[][..], |i| &i.fingerprint));
    part(&[u8::from(target.tls), u8::from(settings.http2)]);
    let digest = hash.finish();
    digest.as_ref().iter().take(8).fold(0, |key, byte| (key << 8) | u64::from(*byte))
}
