//! What is known of the connection that a request came in on.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::{PeerCertificate, Timestamp};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFacts {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    pub cipher: &'static str,
    pub sni: Option<String>,
}

/// Facts of one downstream connection, as they stand when a request is admitted.
#[derive(Debug, Clone)]
pub struct Connection {
    /// The listener's name in the configuration.
    pub listener: Arc<str>,
    pub peer: SocketAddr,
    pub tls: Option<Arc<TlsFacts>>,
    /// Present if the peer proved possession of one. Its `chain` is judged by the trust store in force now.
    pub certificate: Option<Arc<PeerCertificate>>,
}

/// What differs by the listener that is called: those for client certificates are known by another URL (RFC 8705 §5).
#[derive(Debug, Clone)]
pub struct ByListener<T> {
    public: T,
    mtls: Option<T>,
    /// The names of the listeners that are known by the other URL.
    mtls_listeners: Box<[Arc<str>]>,
}

impl<T> ByListener<T> {
    /// `mtls` is for the named listeners; if there is none, all are alike.
    pub fn new(public: T, mtls: Option<T>, mtls_listeners: &[Arc<str>]) -> Self {
        Self { public, mtls, mtls_listeners: mtls_listeners.into() }
    }

    pub fn of(&self, connection: &Connection) -> &T {
        match &self.mtls {
            Some(mtls) if self.mtls_listeners.contains(&connection.listener) => mtls,
            Some(_) | None => &self.public,
        }
    }
}

/// The connection beneath a request, as its keeper shows it to whoever serves the request. Pingora hands it on as
/// `ProxyDigest::user_data`, a boxed `Arc<dyn Downstream>`.
pub trait Downstream: Send + Sync + fmt::Debug {
    /// The facts at `now`: the chain as the trust store in force judges it; no certificate outside its validity.
    fn facts(&self, now: Timestamp) -> Arc<Connection>;
    /// Claims a place for one request; `false` when the connection has its fill. Call through [`InWork::begin`].
    fn begin(&self) -> bool;
    /// Gives the place back. Called by [`InWork`] alone.
    fn finish(&self);
    /// From here on the connection's bytes are a tunnel (101 was agreed by both sides).
    fn upgraded(&self);
    /// How long whoever answers for this connection is still refused for failed authentications: its certificate if that
    /// has standing, else `source`.
    fn blocked(&self, source: IpAddr, now: Timestamp) -> Option<Duration>;
    /// Counts one failed authentication against whoever answers for this connection.
    fn failed(&self, source: IpAddr, now: Timestamp);
}

/// A request's place on its connection. Invariant: begun once, finished once, however the request ends.
#[derive(Debug)]
pub struct InWork(Arc<dyn Downstream>);

impl InWork {
    /// Must be the first thing that happens to a request; `None` when the connection has its fill.
    pub fn begin(downstream: Arc<dyn Downstream>) -> Option<Self> {
        downstream.begin().then(|| Self(downstream))
    }

    pub fn downstream(&self) -> &Arc<dyn Downstream> {
        &self.0
    }
}

impl Drop for InWork {
    fn drop(&mut self) {
        self.0.finish();
    }
}
