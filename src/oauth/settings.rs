//! What the operator decides about the authorization server, and what a client registered about itself.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::DistinguishedName;
use crate::domain::{ClientId, Thumbprint};
use crate::jose::{Algorithm, JwksError, KeySet, SkippedKey};

#[derive(Debug, Clone)]
pub struct Settings {
    /// The issuer identifier (RFC 8414 §2): https, no query, no fragment, no trailing slash.
    pub issuer: String,
    /// Base URL of the mutual-TLS endpoints (RFC 8705 §5).
    pub mtls_url: Option<String>,
    /// The resource identifier that access tokens name as `aud` (RFC 9068 §2.2): the public base URL of the APIs.
    pub resource: String,
    /// One second to [`super::ACCESS_TOKEN_LIFETIME_MAX`].
    pub access_token_lifetime: Duration,
    /// `ES256`, `PS256` or `EdDSA`: the algorithm of newly made signing keys.
    pub signing_algorithm: Algorithm,
    /// Age at which the next signing key becomes the current one.
    pub key_rotation_period: Duration,
    /// Longest accepted distance between a client assertion's `exp` and now.
    pub assertion_lifetime_max: Duration,
    /// How far ahead of our clock `iat` and `nbf` may lie (FAPI 2.0 §5.3.2.1-13: 10 s to 60 s).
    pub clock_skew_max: Duration,
    /// Every scope that exists, for metadata: the union over the catalogue.
    pub scopes_supported: Vec<String>,
    /// The outside issuers whose tokens the gateway takes too (RFC 9728 §2 `authorization_servers`).
    pub trusted_issuers: Vec<String>,
}

/// Exactly one subject by which a client certificate of a trusted chain is recognised (RFC 8705 §2.1.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsSubject {
    /// From RFC 4514 text; compared as a name, not as text.
    Dn(DistinguishedName),
    SanDns(String),
    SanUri(String),
    SanIp(IpAddr),
    SanEmail(String),
}

/// How a client proves itself (`token_endpoint_auth_method`). One method per client.
#[derive(Debug, Clone)]
pub enum ClientAuthentication {
    /// RFC 7523 §2.2. [`ClientAuthentication::private_key_jwt`] reads the JWK set.
    PrivateKeyJwt { keys: Arc<KeySet> },
    /// RFC 8705 §2.1.
    TlsClientAuth(TlsSubject),
    /// RFC 8705 §2.2: the registered certificates.
    SelfSignedTlsClientAuth { certificates: Vec<Thumbprint> },
}

impl ClientAuthentication {
    /// What client assertions may be signed with (FAPI 2.0 §5.4.1-1b).
    pub const ASSERTION_ALGORITHMS: [Algorithm; 3] = [Algorithm::Ps256, Algorithm::Es256, Algorithm::EdDsa];

    /// Its name as `token_endpoint_auth_method` (RFC 7591 §2, RFC 8705 §2).
    pub const fn method(&self) -> &'static str {
        match self {
            Self::PrivateKeyJwt { .. } => "private_key_jwt",
            Self::TlsClientAuth(_) => "tls_client_auth",
            Self::SelfSignedTlsClientAuth { .. } => "self_signed_tls_client_auth",
        }
    }

    /// Reads a client's JWK set (RFC 7517 §5). Also returns the keys that were skipped and why, for the operator.
    pub fn private_key_jwt(jwks: &Value) -> Result<(Self, Vec<SkippedKey>), JwksError> {
        let parsed = KeySet::parse(jwks, &Self::ASSERTION_ALGORITHMS)?;
        Ok((Self::PrivateKeyJwt { keys: Arc::new(parsed.keys) }, parsed.skipped))
    }
}

/// What the authorization server knows of a client beyond [`crate::domain::Client`].
#[derive(Debug, Clone)]
pub struct ClientRegistration {
    pub client_id: ClientId,
    pub authentication: ClientAuthentication,
    /// `tls_client_certificate_bound_access_tokens` (RFC 8705 §3.4).
    pub certificate_bound_access_tokens: bool,
    /// May introspect tokens (RFC 7662): a registered resource server.
    pub resource_server: bool,
}
