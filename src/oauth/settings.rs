//! What the operator decides about the authorization server.

use std::sync::Arc;
use std::time::Duration;

use super::{DetailTypes, Profile, SessionLimits};
use crate::jose::Algorithm;

#[derive(Debug, Clone)]
pub struct Settings {
    /// The issuer identifier (RFC 8414 §2): https, no query, no fragment, no trailing slash.
    pub issuer: String,
    /// Base URL of the mutual-TLS endpoints (RFC 8705 §5).
    pub mtls_url: Option<String>,
    /// The listeners that are called by it, by name.
    pub mtls_listeners: Vec<Arc<str>>,
    /// The resource identifier that access tokens name as `aud` (RFC 9068 §2.2): the public base URL of the APIs.
    pub resource: String,
    /// Those of single APIs, below it, for tokens that are for less (RFC 8707 §2).
    pub api_resources: Vec<String>,
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
    /// How long a pushed request may wait for its page: less than 600 s (FAPI 2.0 §5.3.2.2-12).
    pub request_uri_lifetime: Duration,
    /// How long a user may take to decide, from opening the page.
    pub visit_lifetime: Duration,
    /// How long a user stays signed in.
    pub sessions: SessionLimits,
    /// What sign-ins here are worth (RFC 9470 §7).
    pub acr_values_supported: Vec<String>,
    /// How long a backchannel request waits for its user, if the client says nothing (CIBA Core §7.3 `expires_in`).
    pub backchannel_lifetime: Duration,
    /// Most backchannel requests of one client that wait for one user: nobody is to be worn down by prompts, and no client
    /// keeps another one's users from approving.
    pub backchannel_per_user_max: usize,
    /// How long a grant lasts, and its refresh token with it.
    pub grant_lifetime: Duration,
    /// What the catalogue's APIs declare (RFC 9396).
    pub detail_types: DetailTypes,
    /// The profiles that some client or registration may have.
    pub profiles: Vec<Profile>,
    /// Whether anybody may register clients (RFC 7591).
    pub registration: bool,
    /// Every scope that exists, for metadata: the union over the catalogue.
    pub scopes_supported: Vec<String>,
    /// The outside issuers whose tokens the gateway takes too (RFC 9728 §2 `authorization_servers`).
    pub trusted_issuers: Vec<String>,
}
