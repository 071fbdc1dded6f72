//! The authorization server: what its endpoints share.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Uri};

use super::authorization_code::Code;
use super::backchannel::{Pending, Waiting};
use super::metadata::{self, Audiences, Documents};
use super::outstanding::Outstanding;
use super::pushed::Pushed;
use super::{
    ACCESS_TOKEN_LIFETIME_MAX, BACKCHANNEL_LIFETIME_MAX, ClientKeySets, ClientRegistration, DynamicClients, GrantStore,
    KeyRing, Notifier, OutstandingLimits, ReplayStore, RevocationStore, Settings, SettingsError, Subjects, Visitors,
};
use crate::authn::dpop::{DpopProofs, ExternalUrls};
use crate::authn::{Issuer, Revocations};
use crate::domain::{ByListener, Client, ClientId, Clock, Connection, Random};

/// Where registered clients are found. An index in memory: asked before anything is proven.
pub trait Clients: Send + Sync {
    fn find(&self, id: &ClientId) -> Option<(Arc<Client>, Arc<ClientRegistration>)>;
}

/// What the authorization server works with. All of it outlives a reload of the settings.
#[derive(Clone)]
pub struct Parts {
    pub clients: Arc<dyn Clients>,
    pub keys: Arc<KeyRing>,
    /// The same [`Issuer::own`] that the authenticator trusts; its keys are the ring's.
    pub issuer: Arc<Issuer>,
    pub replay: Arc<dyn ReplayStore>,
    pub revocation_store: Arc<dyn RevocationStore>,
    /// The index that the authenticator asks on every request.
    pub revocations: Arc<Revocations>,
    /// Keys of clients that publish theirs under a URL.
    pub key_sets: Arc<ClientKeySets>,
    /// Clients that registered themselves.
    pub dynamic: Arc<DynamicClients>,
    pub grants: Arc<dyn GrantStore>,
    pub outstanding: Arc<OutstandingRequests>,
    /// Users and their browsers' sessions.
    pub visitors: Arc<Visitors>,
    pub subjects: Arc<dyn Subjects>,
    pub notifier: Arc<dyn Notifier>,
    /// Makes pairwise subjects; the same for ever.
    pub pairwise_salt: Arc<[u8; 32]>,
    /// The gateway's too: a proof is used once, wherever it was sent first.
    pub dpop: Arc<DpopProofs>,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
}

/// What clients have under way, in memory: a restart forgets it, and they begin anew.
pub struct OutstandingRequests {
    pub(super) pushed: Outstanding<Pushed>,
    pub(super) codes: Outstanding<Code>,
    pub(super) backchannel: Outstanding<Pending>,
    pub(super) waiting: Waiting,
}

impl OutstandingRequests {
    pub fn new(limits: OutstandingLimits) -> Self {
        Self {
            pushed: Outstanding::new(limits),
            codes: Outstanding::new(limits),
            backchannel: Outstanding::new(limits),
            waiting: Waiting::default(),
        }
    }

    /// How many there are and at most can be, by kind, for the metrics.
    pub fn held(&self) -> [(&'static str, usize, usize); 3] {
        [
            ("pushed_requests", self.pushed.len(), self.pushed.max()),
            ("codes", self.codes.len(), self.codes.max()),
            ("backchannel_requests", self.backchannel.len(), self.backchannel.max()),
        ]
    }
}

/// One request to an OAuth endpoint, its body whole.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    pub headers: &'a HeaderMap,
    pub body: &'a [u8],
    pub connection: &'a Connection,
}

/// What an endpoint answers, and the client that proved itself to it.
#[derive(Debug)]
pub struct Answer<T> {
    pub client: Arc<Client>,
    pub body: T,
    /// For the `DPoP-Nonce` field (RFC 9449 §8.2).
    pub fresh_nonce: Option<HeaderValue>,
}

/// The authorization server under one set of settings. A reload makes a new one from the same [`Parts`].
pub struct AuthorizationServer {
    pub(super) settings: Settings,
    pub(super) parts: Parts,
    documents: Documents,
    /// What a client of FAPI 1.0 may call us in its assertions (RFC 7523 §3, RFC 9126 §2).
    pub(super) audiences: Audiences,
    /// What a DPoP proof may call us.
    pub(super) external_urls: ByListener<ExternalUrls>,
}

impl AuthorizationServer {
    /// Checks the settings and writes the metadata documents.
    pub fn new(settings: Settings, parts: Parts) -> Result<Self, SettingsError> {
        Self::check(&settings)?;
        let documents = Documents::new(&settings, &parts.keys.algorithms());
        let audiences = Audiences::new(&settings);
        let external_urls = metadata::external_urls(&settings);
        Ok(Self { settings, parts, documents, audiences, external_urls })
    }

    /// Whether [`Self::new`] would take these settings.
    pub fn check(settings: &Settings) -> Result<(), SettingsError> {
        check_url("issuer", &settings.issuer)?;
        check_url("resource", &settings.resource)?;
        if let Some(url) = &settings.mtls_url {
            check_url("mtls_url", url)?;
        }
        let lifetimes = Duration::from_secs(1)..=ACCESS_TOKEN_LIFETIME_MAX;
        if !lifetimes.contains(&settings.access_token_lifetime) {
            return Err(SettingsError::Lifetime);
        }
        // FAPI 2.0 §5.3.2.2-12, Open Finance Brasil BR-AS-22.
        if !(Duration::from_secs(1)..Duration::from_secs(600)).contains(&settings.request_uri_lifetime) {
            return Err(SettingsError::RequestUriLifetime);
        }
        if !(Duration::from_secs(1)..=BACKCHANNEL_LIFETIME_MAX).contains(&settings.backchannel_lifetime) {
            return Err(SettingsError::BackchannelLifetime);
        }
        for profile in &settings.profiles {
            if profile.access_token_secs().is_some_and(|(least, _)| settings.access_token_lifetime.as_secs() < least) {
                return Err(SettingsError::ProfileLifetime { profile: *profile, key: "access_token_lifetime" });
            }
            if settings.request_uri_lifetime.as_secs() < profile.request_uri_secs_min() {
                return Err(SettingsError::ProfileLifetime { profile: *profile, key: "request_uri_lifetime" });
            }
        }
        let skews = Duration::from_secs(10)..=Duration::from_secs(60);
        if !skews.contains(&settings.clock_skew_max) {
            return Err(SettingsError::ClockSkew);
        }
        Ok(())
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// RFC 8414 §2 and OpenID Connect Discovery §3, JSON.
    pub fn metadata(&self) -> bytes::Bytes {
        self.documents.authorization_server.clone()
    }

    /// RFC 9728 §2, JSON; `resource` is the name of the listener that was called (§3.3).
    pub fn resource_metadata(&self, connection: &Connection) -> bytes::Bytes {
        self.documents.resources.of(connection).whole.clone()
    }

    /// The same of one API, by what follows the whole resource's URL in its own.
    pub fn api_metadata(&self, path: &str, connection: &Connection) -> Option<bytes::Bytes> {
        self.documents.resources.of(connection).apis.get(path).cloned()
    }

    /// The published keys, `application/jwk-set+json`.
    pub fn jwks(&self) -> bytes::Bytes {
        self.parts.keys.jwks()
    }
}

/// RFC 8414 §2: https, no query, no fragment. A trailing slash would make the endpoints' URLs ambiguous.
fn check_url(name: &'static str, url: &str) -> Result<(), SettingsError> {
    let refuse = || SettingsError::Url { name, url: url.to_owned() };
    let uri: Uri = url.parse().map_err(|_| refuse())?;
    let host = uri.host().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let loopback = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
    let scheme = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => loopback,
        Some(_) | None => false,
    };
    let plain = !url.contains(['?', '#', '@', '"', '\\']) && !url.ends_with('/');
    if scheme && plain && !host.is_empty() { Ok(()) } else { Err(refuse()) }
}

/// The path of an issuer's URL, `` for most (RFC 8414 §3.1).
pub(super) fn path_of(url: &str) -> String {
    let path = url.parse::<Uri>().map(|uri| uri.path().trim_end_matches('/').to_owned());
    path.unwrap_or_default()
}
