//! The connections to one pool's back ends that the whole lane and the health checks share.

use std::sync::Arc;
use std::time::Duration;

use pingora_core::connectors::http::Connector;
use pingora_core::connectors::{ConnectorOptions, TransportConnector};
use pingora_core::protocols::http::client::HttpSession;
use pingora_core::upstreams::peer::HttpPeer;

use super::http1::Http1;
use super::idle::IdleConnections;
use super::session::Session;

/// Connections of one pool of back ends.
pub struct Transport {
    /// To back ends that speak HTTP/1.1 only, and those of them that wait for an exchange.
    http1: TransportConnector,
    idle: Arc<IdleConnections>,
    /// To those that may speak HTTP/2, pooled by Pingora.
    either: Connector,
}

/// A CA file without certificates: a peer that brings no CAs of its own fails closed instead of trusting the
/// platform's, and a missing platform store does not end the process. Set it in Pingora's `ServerConf` too.
pub const NO_ROOTS_FILE: &str = "/dev/null";

impl Transport {
    /// `idle_connections_max` bounds what is kept idle.
    pub fn new(idle_connections_max: usize) -> Self {
        let mut options = ConnectorOptions::new(idle_connections_max);
        options.ca_file = Some(NO_ROOTS_FILE.to_owned());
        Self {
            http1: TransportConnector::new(Some(options.clone())),
            idle: IdleConnections::new(idle_connections_max),
            either: Connector::new(Some(options)),
        }
    }

    /// A connection, and whether it carried an earlier exchange.
    pub async fn connect(&self, peer: &HttpPeer) -> pingora_core::Result<(Session, bool)> {
        if !speaks_http1_only(peer) {
            let (session, reused) = Box::pin(self.either.get_http_session(peer)).await?;
            return Ok((Session::Either(Box::new(session)), reused));
        }
        let (stream, reused) = match self.idle.take(peer) {
            Some(stream) => (stream, true),
            // In a box, for the state of a handshake is some ten kilobytes, and most exchanges find a connection.
            None => (Box::pin(self.http1.new_stream(peer)).await?, false),
        };
        Ok((Session::Http1(Http1::new(stream)), reused))
    }

    /// Ends an exchange. A connection is shared again only if the exchange ended cleanly: a broken HTTP/1.1 one is
    /// closed, a broken HTTP/2 stream is reset while its connection goes on.
    ///
    /// A connection that was waited for in vain (`silent`) takes no further exchange: with HTTP/2 it may never speak again,
    /// and whoever shared it would wait as long.
    pub async fn release(&self, session: Session, peer: &HttpPeer, clean: bool, silent: bool) {
        match session {
            Session::Http1(session) => {
                let reusable = if clean { session.into_reusable() } else { None };
                if let (Some(stream), Some(idle_timeout)) = (reusable, peer.options.idle_timeout) {
                    self.idle.put(peer, stream, idle_timeout);
                }
            }
            // In a box: the usual way need not have room for this one.
            Session::Either(session) => Box::pin(self.retire(*session, peer, clean, silent)).await,
        }
    }

    async fn retire(&self, mut session: HttpSession, peer: &HttpPeer, clean: bool, silent: bool) {
        if let (true, HttpSession::H2(stream)) = (silent, &session) {
            stream.conn.mark_shutdown();
        }
        if !clean {
            session.shutdown().await;
            if matches!(session, HttpSession::H1(_)) {
                return;
            }
        }
        self.either.release_http_session(session, peer, peer.options.idle_timeout).await;
    }

    /// Remembers that this back end asked for HTTP/1.1.
    pub fn prefer_h1(&self, peer: &HttpPeer) {
        self.either.prefer_h1(peer);
    }

    /// Opens a connection and makes sure that it is ready, within `limit`.
    pub(super) async fn reach(&self, peer: &HttpPeer, limit: Duration) -> Option<Session> {
        tokio::time::timeout(limit, self.connect(peer)).await.ok()?.ok().map(|(session, _)| session)
    }
}

fn speaks_http1_only(peer: &HttpPeer) -> bool {
    peer.options.alpn.get_max_http_version() == 1
}
