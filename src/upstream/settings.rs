//! What the operator says of an institution's back ends in one environment.

use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;
use secrecy::SecretString;

use crate::domain::{Environment, InstitutionId};

/// TLS towards back ends: always verified, never without a name.
#[derive(Debug, Clone)]
pub struct UpstreamTls {
    /// PEM file of the CAs that may sign the back end's certificate.
    pub ca_file: PathBuf,
    /// PEM files of our own client certificate and key, where the back end asks for one.
    pub client_certificate: Option<(PathBuf, PathBuf)>,
}

#[derive(Debug, Clone)]
pub struct BackendSettings {
    /// `https://host:port` or, on loopback only, `http://host:port`. No path. The host is the name that is verified.
    pub url: String,
}

/// Our own credential towards the back end, sent in a header.
#[derive(Debug, Clone)]
pub enum CredentialSettings {
    None,
    ApiKey {
        header: HeaderName,
        secret: SecretString,
    },
    /// OAuth client credentials (RFC 6749 §4.4); the token is cached and renewed ahead of its expiry.
    OAuth2 {
        token_url: String,
        client_id: String,
        client_secret: SecretString,
        scopes: Vec<String>,
    },
}

/// Active checks.
#[derive(Debug, Clone)]
pub struct HealthSettings {
    /// Path of a GET that answers 2xx when healthy; absent: a TCP (and TLS) connect is enough.
    pub path: Option<String>,
    pub interval: Duration,
    pub timeout: Duration,
    /// Consecutive failures until a back end is taken out, and successes until it returns.
    pub unhealthy_after: u32,
    pub healthy_after: u32,
}

/// Passive checks: consecutive failures (connect, timeout, broken answer, 502/503/504) open the circuit for `open_for`;
/// then one probe request at a time until one succeeds.
#[derive(Debug, Clone)]
pub struct BreakerSettings {
    pub failures: u32,
    pub open_for: Duration,
}

#[derive(Debug, Clone)]
pub struct Timeouts {
    pub connect: Duration,
    /// Longest silence of the back end while we wait for bytes of its answer.
    pub read: Duration,
    pub write: Duration,
    /// From the forward to the last byte of the answer; an operation may override it.
    pub total: Duration,
}

/// One pool: an institution's back ends of one environment.
#[derive(Debug, Clone)]
pub struct PoolSettings {
    pub institution: InstitutionId,
    pub environment: Environment,
    pub backends: Vec<BackendSettings>,
    pub tls: Option<UpstreamTls>,
    pub http2: bool,
    pub credential: CredentialSettings,
    pub health: HealthSettings,
    pub breaker: BreakerSettings,
    pub timeouts: Timeouts,
    /// Most requests under way at once to this pool; past it, 503.
    pub in_flight_max: u32,
}
