//! What can be wrong with a pool: while it is compiled, and while it is used.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why a text is not the address of a back end or of a token endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlFault {
    #[error("it is not an absolute URL")]
    Malformed,
    #[error("its scheme is neither https nor http")]
    Scheme,
    #[error("plain http is for loopback addresses only; use https")]
    PlainHttp,
    #[error("it carries user information, which would end up in logs")]
    UserInfo,
    #[error("its host is not a DNS name or an IP address that a certificate can be verified for")]
    Host,
    #[error("its port is not in 1..=65535")]
    Port,
    #[error("it has a path or a query; only scheme, host and port belong here")]
    Path,
    #[error("it has a fragment or lacks a path")]
    Fragment,
}

/// A mistake in a pool's settings or in the files that they name.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    #[error("the pool has no back ends")]
    Empty,
    #[error("back end {0} is listed twice")]
    Duplicate(String),
    #[error("{url:?} is no usable URL: {fault}")]
    Url { url: String, fault: UrlFault },
    #[error("{0} is https, but the pool names no CA file to verify it with")]
    TlsMissing(String),
    #[error("{} cannot be read", file.display())]
    Read { file: PathBuf, source: io::Error },
    #[error("{} is not well-formed PEM", file.display())]
    Pem { file: PathBuf, source: rustls_pki_types::pem::Error },
    #[error("{} contains no certificate", .0.display())]
    NoCertificate(PathBuf),
    #[error("{} contains no private key", .0.display())]
    NoKey(PathBuf),
    #[error("certificate {position} in {} is malformed", file.display())]
    Certificate { file: PathBuf, position: usize },
    #[error("certificate {position} in {} cannot serve as a CA", file.display())]
    Ca { file: PathBuf, position: usize, source: rustls::Error },
    #[error("the key in {} does not belong to the certificate in {}, or is of a kind that TLS cannot use", key.display(), certificate.display())]
    KeyMismatch { certificate: PathBuf, key: PathBuf, source: rustls::Error },
    #[error("TLS cannot be configured with this provider")]
    Tls(#[source] rustls::Error),
    #[error("health path {0:?} is not an absolute path")]
    HealthPath(String),
    #[error("{0} must be greater than zero")]
    Zero(&'static str),
    #[error("the API key is not a valid field value")]
    ApiKey,
    #[error("the API key cannot be sent in {0:?}, which governs the connection or the message")]
    ApiKeyHeader(String),
    #[error("{0:?} is not a scope")]
    Scope(String),
    #[error("the client for the token endpoint cannot be made")]
    TokenClient(#[source] reqwest::Error),
}

/// No back end can take the request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoBackend {
    /// Every back end is out: failed its health checks, has an open circuit, or has no address yet.
    #[error("no back end is healthy")]
    AllOut {
        /// When the next probe is due, if a circuit breaker knows.
        retry_after: Option<Duration>,
    },
    /// The healthy ones were all tried for this request.
    #[error("every healthy back end was tried")]
    Exhausted,
}

/// The pool has as many requests under way as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the institution's limit of {max} simultaneous requests is reached")]
pub struct PoolFull {
    pub max: u32,
}

/// Our own credential towards the back end cannot be had: a 503 to the caller, never a 401.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    #[error("the institution's token endpoint cannot be reached")]
    Unreachable,
    #[error("the institution's token endpoint refuses our credentials")]
    Refused,
    #[error("the institution's token endpoint gave an answer that is not a bearer token")]
    Malformed,
    #[error("the institution's token endpoint did not answer in time")]
    TimedOut,
}
