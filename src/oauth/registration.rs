//! What a client registered about itself (RFC 7591 §2), as the authorization server uses it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::{DistinguishedName, Profile};
use crate::domain::{ClientId, Thumbprint};
use crate::jose::{Algorithm, JwksError, KeyError, KeySet};

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
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientAuthentication {
    /// RFC 7523 §2.2, with [`ClientRegistration::keys`].
    PrivateKeyJwt,
    /// RFC 8705 §2.1.
    TlsClientAuth(TlsSubject),
    /// RFC 8705 §2.2: the registered certificates.
    SelfSignedTlsClientAuth { certificates: Vec<Thumbprint> },
    /// RFC 6749 §2.3.1, for [`Profile::PlainOauth`] alone. The secret has 128 bits at least, so its SHA-256 is enough.
    ClientSecretBasic { secret_hash: SecretHash },
}

/// SHA-256 of a secret that a machine made.
#[derive(Clone, Copy)]
pub struct SecretHash(pub [u8; 32]);

impl SecretHash {
    pub fn of(secret: &[u8]) -> Self {
        Self(crate::jose::sha256(secret))
    }
}

impl PartialEq for SecretHash {
    /// In constant time.
    fn eq(&self, other: &Self) -> bool {
        subtle::ConstantTimeEq::ct_eq(&self.0[..], &other.0[..]).into()
    }
}

impl Eq for SecretHash {}

impl std::fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretHash")
    }
}

impl ClientAuthentication {
    /// Its name as `token_endpoint_auth_method` (RFC 7591 §2, RFC 8705 §2).
    pub const fn method(&self) -> &'static str {
        match self {
            Self::PrivateKeyJwt => "private_key_jwt",
            Self::TlsClientAuth(_) => "tls_client_auth",
            Self::SelfSignedTlsClientAuth { .. } => "self_signed_tls_client_auth",
            Self::ClientSecretBasic { .. } => "client_secret_basic",
        }
    }
}

/// Where a client's public keys come from: those that verify its assertions and its request objects.
#[derive(Debug, Clone, Default)]
pub enum ClientKeys {
    #[default]
    None,
    /// `jwks` (RFC 7591 §2).
    Inline(Arc<KeySet>),
    /// `jwks_uri`. A change of what is published there is no change of the client: its grants stay.
    Remote(Arc<str>),
}

impl ClientKeys {
    /// What clients may sign with under any profile; the client's own profile narrows it (FAPI 2.0 §5.4.1-1b).
    pub const ALGORITHMS: [Algorithm; 3] = [Algorithm::Ps256, Algorithm::Es256, Algorithm::EdDsa];

    /// Reads a client's JWK set. Keys that are for something else, encryption say, are ignored (RFC 7517 §5); a private or
    /// shared one is an error that its owner must hear of, and so is a set without a usable key.
    pub fn inline(jwks: &Value) -> Result<Self, JwksError> {
        let parsed = KeySet::parse(jwks, &Self::ALGORITHMS)?;
        if let Some(key) = parsed.skipped.iter().find(|key| matches!(key.error, KeyError::Private(_))) {
            return Err(JwksError::PrivateKey(key.clone()));
        }
        Ok(Self::Inline(Arc::new(parsed.keys)))
    }
}

/// What binds a client's access tokens to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SenderConstraint {
    /// `tls_client_certificate_bound_access_tokens` (RFC 8705 §3.4).
    Certificate,
    /// `dpop_bound_access_tokens` (RFC 9449 §5.2).
    Dpop,
    /// Neither was registered: what the request brings binds, and a request that brings neither is refused
    /// (FAPI 2.0 §5.3.2.1-4 and -5).
    Either,
    /// Nothing. Good for low-risk products only.
    Bearer,
}

/// The grants that a client may use (`grant_types`, RFC 7591 §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrantType {
    AuthorizationCode,
    RefreshToken,
    ClientCredentials,
    /// CIBA Core §4.
    Ciba,
}

impl GrantType {
    pub const ALL: [Self; 4] = [Self::AuthorizationCode, Self::RefreshToken, Self::ClientCredentials, Self::Ciba];

    /// Those that this server offers.
    pub const OFFERED: [Self; 4] = Self::ALL;

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AuthorizationCode => "authorization_code",
            Self::RefreshToken => "refresh_token",
            Self::ClientCredentials => "client_credentials",
            Self::Ciba => "urn:openid:params:grant-type:ciba",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|grant| grant.as_str() == text)
    }

    const fn bit(self) -> u8 {
        match self {
            Self::AuthorizationCode => 1,
            Self::RefreshToken => 2,
            Self::ClientCredentials => 4,
            Self::Ciba => 8,
        }
    }
}

/// A set of [`GrantType`]s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GrantTypes(u8);

impl GrantTypes {
    pub const CLIENT_CREDENTIALS: Self = Self(GrantType::ClientCredentials.bit());

    pub const fn contains(self, grant: GrantType) -> bool {
        self.0 & grant.bit() != 0
    }

    pub fn iter(self) -> impl Iterator<Item = GrantType> {
        GrantType::ALL.into_iter().filter(move |grant| self.contains(*grant))
    }
}

impl FromIterator<GrantType> for GrantTypes {
    fn from_iter<I: IntoIterator<Item = GrantType>>(grants: I) -> Self {
        Self(grants.into_iter().fold(0, |bits, grant| bits | grant.bit()))
    }
}

/// How an authorization response travels (OAuth Multiple Response Types §2.1, JARM §2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ResponseMode {
    Query,
    /// `jwt` is the same for `response_type=code` (JARM §2.3.4).
    QueryJwt,
    FragmentJwt,
    FormPostJwt,
}

impl ResponseMode {
    pub const ALL: [Self; 4] = [Self::Query, Self::QueryJwt, Self::FragmentJwt, Self::FormPostJwt];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::QueryJwt => "query.jwt",
            Self::FragmentJwt => "fragment.jwt",
            Self::FormPostJwt => "form_post.jwt",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        if text == "jwt" {
            return Some(Self::QueryJwt);
        }
        Self::ALL.into_iter().find(|mode| mode.as_str() == text)
    }

    pub const fn is_signed(self) -> bool {
        !matches!(self, Self::Query)
    }
}

/// What `sub` a client sees (OpenID Connect Core §8).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SubjectType {
    #[default]
    Public,
    /// Another `sub` for each sector: the host of the redirect URIs and, for CIBA, of `jwks_uri`, or of `sector_identifier_uri`.
    Pairwise { sector: Arc<str> },
}

/// How a CIBA client hears that its request was decided (CIBA Core §5). Push is not offered (FAPI-CIBA §5.2.2-3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CibaDelivery {
    Poll,
    Ping { notification_endpoint: Arc<str> },
}

/// What a client registered to sign with; where it said nothing, what its profile allows (OpenID Connect Registration §2,
/// CIBA Core §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SigningAlgorithms {
    /// `token_endpoint_auth_signing_alg`, at every endpoint that takes assertions.
    pub assertions: Option<Algorithm>,
    /// `request_object_signing_alg`.
    pub request_objects: Option<Algorithm>,
    /// `backchannel_authentication_request_signing_alg`.
    pub backchannel_requests: Option<Algorithm>,
}

/// One of them.
type SigningMember = fn(&mut SigningAlgorithms) -> &mut Option<Algorithm>;

impl SigningAlgorithms {
    /// The members of a client's metadata (RFC 7591 §2), and where each belongs.
    pub const MEMBERS: [(&'static str, SigningMember); 3] = [
        ("token_endpoint_auth_signing_alg", |all| &mut all.assertions),
        ("request_object_signing_alg", |all| &mut all.request_objects),
        ("backchannel_authentication_request_signing_alg", |all| &mut all.backchannel_requests),
    ];
}

/// What only grants with a resource owner need; the default is a client of `client_credentials` alone.
#[derive(Debug, Clone)]
pub struct ClientMetadata {
    pub grant_types: GrantTypes,
    /// Compared as text (RFC 9700 §2.1); the port of a loopback address may vary (RFC 8252 §7.3).
    pub redirect_uris: Vec<Arc<str>>,
    /// The modes that the client may ask for; all that its profile allows if empty (FAPI 2.0 Message Signing §5.3.3).
    pub response_modes: Vec<ResponseMode>,
    /// `require_signed_request_object` (RFC 9101 §10.5), beyond what the profile demands.
    pub require_signed_request_object: bool,
    /// `authorization_details_types` (RFC 9396 §10); none may be asked for if empty.
    pub authorization_details_types: Vec<Arc<str>>,
    pub subject_type: SubjectType,
    pub ciba: Option<CibaDelivery>,
    pub signing: SigningAlgorithms,
    /// Introspection answers are signed even if plain JSON is asked for (RFC 9701 §6).
    pub introspection_signed: bool,
    /// Certificates that the operator registered for it: its tokens may be bound to them, whatever their chain (RFC 8705 §3).
    pub certificates: Vec<Thumbprint>,
    /// Shorter than everybody's: a client whose tokens must end sooner. One second to the server's own lifetime.
    pub access_token_lifetime: Option<Duration>,
}

impl Default for ClientMetadata {
    fn default() -> Self {
        Self {
            grant_types: GrantTypes::CLIENT_CREDENTIALS,
            redirect_uris: Vec::new(),
            response_modes: Vec::new(),
            require_signed_request_object: false,
            authorization_details_types: Vec::new(),
            subject_type: SubjectType::Public,
            ciba: None,
            signing: SigningAlgorithms::default(),
            introspection_signed: false,
            certificates: Vec::new(),
            access_token_lifetime: None,
        }
    }
}

/// Longest redirect URI, in bytes.
const REDIRECT_URI_BYTES_MAX: usize = 2048;

impl ClientMetadata {
    /// Whether details of a type are for this client (RFC 9396 §10).
    pub(super) fn may_ask_for(&self, detail_type: &str) -> bool {
        self.authorization_details_types.iter().any(|allowed| &**allowed == detail_type)
    }

    /// Those of `details` whose types still are.
    pub(super) fn left_of(&self, details: &[Value]) -> Vec<Value> {
        let may =
            |detail: &&Value| detail.get("type").and_then(Value::as_str).is_some_and(|name| self.may_ask_for(name));
        details.iter().filter(may).cloned().collect()
    }

    /// RFC 6749 §3.1.2 and FAPI 2.0 §5.3.2.2-8: absolute, https, without fragment and user information; http for
    /// loopback addresses of native applications (RFC 8252 §7.3).
    pub fn is_redirect_uri(text: &str) -> bool {
        let Ok(uri) = text.parse::<http::Uri>() else { return false };
        let Some(authority) = uri.authority() else { return false };
        // A port that does not exist is none; the parser of URIs lets any digits pass.
        let port = authority.as_str().rsplit_once(':').filter(|(_, port)| !port.ends_with(']'));
        let port = port.is_none_or(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0));
        let plain = port && text.is_ascii() && !text.contains(['#', '\\', '*', ' ', '"', '<', '>']);
        let scheme = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => matches!(authority.host(), "127.0.0.1" | "[::1]"),
            Some(_) | None => false,
        };
        scheme
            && plain
            && text.len() <= REDIRECT_URI_BYTES_MAX
            && !authority.as_str().contains('@')
            && !authority.host().is_empty()
    }
}

/// What the authorization server knows of a client beyond [`crate::domain::Client`].
#[derive(Debug, Clone)]
pub struct ClientRegistration {
    pub client_id: ClientId,
    pub authentication: ClientAuthentication,
    pub keys: ClientKeys,
    pub profile: Profile,
    pub sender_constraint: SenderConstraint,
    /// May introspect tokens (RFC 7662): a registered resource server.
    pub resource_server: bool,
    /// Shared by all clients with the same.
    pub metadata: Arc<ClientMetadata>,
}

impl ClientRegistration {
    pub fn may_use(&self, grant: GrantType) -> bool {
        self.metadata.grant_types.contains(grant)
    }

    /// The certificates that were registered one by one: those of RFC 8705 §2.2, and those that tokens may be bound to.
    pub fn certificates(&self) -> impl Iterator<Item = &Thumbprint> {
        let own = match &self.authentication {
            ClientAuthentication::SelfSignedTlsClientAuth { certificates } => certificates.as_slice(),
            ClientAuthentication::PrivateKeyJwt
            | ClientAuthentication::TlsClientAuth(_)
            | ClientAuthentication::ClientSecretBasic { .. } => &[],
        };
        own.iter().chain(&self.metadata.certificates)
    }

    /// Whether it may sign with `algorithm`: one of its profile's, and no other than that which it registered for what it
    /// signs (RFC 8725 §3.1).
    pub fn may_sign_with(&self, algorithm: Algorithm, registered: Option<Algorithm>) -> bool {
        self.profile.algorithms().contains(&algorithm) && registered.is_none_or(|only| only == algorithm)
    }

    /// Whether authorization requests of this client must come as signed request objects.
    pub fn must_sign_requests(&self) -> bool {
        self.profile.requires_signed_requests() || self.metadata.require_signed_request_object
    }
}
