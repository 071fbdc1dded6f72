//! What the operator says of the listeners.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Whether a listener asks for a client certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientCertificate {
    None,
    Optional,
    Required,
}

/// A certificate chain and its key, PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    pub certificate_file: PathBuf,
    pub private_key_file: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerTls {
    pub certificate_file: PathBuf,
    pub private_key_file: PathBuf,
    /// For callers that cannot use the first: RSA beside ECDSA, say (FAPI 1.0 Advanced §8.5).
    pub alternative: Option<CertificateFiles>,
    pub client_certificate: ClientCertificate,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerSettings {
    pub name: String,
    pub address: SocketAddr,
    /// Absent: plain HTTP. `config` has checked that the address is then a loopback address.
    pub tls: Option<ListenerTls>,
}

/// Every bound of the edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgeLimits {
    pub connections_max: usize,
    pub connections_per_address_max: usize,
    pub handshake_timeout: Duration,
    /// From the first byte of a request (or the handshake) to the end of its header section.
    pub header_timeout: Duration,
    /// Keep-alive: longest silence between requests.
    pub idle_timeout: Duration,
    /// Longest silence within a body, either way.
    pub body_idle_timeout: Duration,
    /// Longest time for a whole request body to arrive.
    pub body_timeout: Duration,
    pub header_bytes_max: usize,
    pub header_count_max: usize,
    pub uri_bytes_max: usize,
    /// Largest streamed request body; an operation may override it.
    pub body_bytes_max: u64,
    /// Largest body that is held whole (contracts, policies, redaction).
    pub buffered_bytes_max: usize,
    /// All bodies held whole at once.
    pub buffered_total_bytes_max: usize,
    /// Streams of one HTTP/2 connection that may be in work at once.
    pub in_flight_per_connection_max: usize,
    /// Requests in work of one address, over all its connections; not of a trusted proxy, which speaks for many.
    pub in_flight_per_address_max: usize,
    pub requests_per_connection_max: u32,
    /// How long a draining process waits for requests under way.
    pub drain_timeout: Duration,
    pub trusted_proxies: TrustedProxies,
}

/// Proxies that are believed when they say whom they speak for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TrustedProxies {
    pub addresses: Vec<IpAddr>,
    /// The one field that they write; what stands in the other is the caller's own invention.
    pub field: ProxyField,
}

impl TrustedProxies {
    /// Whether this is the address of one of them, in IPv4 or as IPv6 maps it.
    pub fn includes(&self, address: IpAddr) -> bool {
        self.addresses.contains(&address.to_canonical())
    }
}

/// A field that names the hops of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProxyField {
    #[default]
    XForwardedFor,
    /// RFC 7239.
    Forwarded,
}

/// Failed authentications that an address or a certificate may cause before it is refused unseen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FloodSettings {
    pub failures_max: u32,
    pub window: Duration,
}
