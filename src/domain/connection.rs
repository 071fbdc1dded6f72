//! What is known of the connection that a request came in on.

use std::net::SocketAddr;
use std::sync::Arc;

use super::PeerCertificate;

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
