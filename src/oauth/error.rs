//! Every refusal and failure of the OAuth endpoints, and what the client learns of it (RFC 6749 §5.2).

use http::{HeaderValue, StatusCode};

use super::{BackchannelError, ClientKeysError, Profile, StatementError, StoreError};
use crate::authn::dpop::{DpopError, DpopErrorCode};
use crate::jose::{ClaimError, SigningError, TokenError, VerifyError};

/// Why an OAuth request was not answered as asked.
#[derive(Debug, thiserror::Error)]
pub enum OAuthError {
    /// The text is for the client: ASCII without quotes and backslashes (RFC 6749 §5.2).
    #[error("{0}")]
    InvalidRequest(&'static str),
    #[error("the body is too large")]
    BodyTooLarge,
    #[error("the client did not prove itself")]
    InvalidClient(#[source] ClientAuthenticationError),
    #[error("the grant type is not supported")]
    UnsupportedGrantType,
    #[error("the client may not use this grant or endpoint")]
    UnauthorizedClient,
    #[error("the response type is not code")]
    UnsupportedResponseType,
    /// The text says which of its properties the grant lacks, for the operator; the client hears one text for all.
    #[error("the grant is not valid: {0}")]
    InvalidGrant(&'static str),
    #[error("the request object is not valid: {0}")]
    InvalidRequestObject(&'static str),
    #[error("the authorization details are not valid: {0}")]
    InvalidAuthorizationDetails(&'static str),
    #[error("the DPoP proof is refused")]
    Dpop(#[source] DpopError),
    /// With the nonce that the proof will need, where nonces are asked for.
    #[error("the client needs a DPoP proof")]
    DpopProofMissing(Option<HeaderValue>),
    /// RFC 9126 §2.3 and the bounds of ours: 429.
    #[error("too much of the client's is outstanding")]
    TooManyOutstanding,
    #[error("a requested scope is malformed or beyond what the client is entitled to")]
    InvalidScope,
    #[error("a requested resource is not served here")]
    InvalidTarget,
    #[error("the token was issued to another client")]
    TokenOfAnotherClient,
    #[error(transparent)]
    Backchannel(BackchannelError),
    /// RFC 9701 §5: who asks for a signed answer without proving itself hears 400, not 401.
    #[error("a signed answer was asked for by nobody known")]
    UnauthenticatedForJwt(#[source] ClientAuthenticationError),
    #[error("something that the decision needs is unavailable")]
    Unavailable(#[source] StoreError),
    /// The client's own fault, or its network's, but no proof that the sender is not the client.
    #[error("the client's keys are not at hand")]
    KeysUnavailable(#[source] ClientKeysError),
    /// RFC 7591 §3.2.2. The text is for the client, as the next one's.
    #[error("a redirect URI is refused: {0}")]
    InvalidRedirectUri(&'static str),
    #[error("the client metadata are refused: {0}")]
    InvalidClientMetadata(&'static str),
    #[error("the software statement does not count")]
    SoftwareStatement(#[source] StatementError),
    /// Neither an initial access token nor a registration access token of this client (RFC 7592 §2).
    #[error("the access token for registration is missing or wrong")]
    RegistrationToken,
    #[error("no more clients may be registered")]
    TooManyClients,
    #[error("the token could not be signed")]
    Signing(#[source] SigningError),
}

/// Why a client is not who it says. All of them look the same from outside.
#[derive(Debug, thiserror::Error)]
pub enum ClientAuthenticationError {
    #[error("the request carries no client authentication")]
    Absent,
    #[error("a client secret was sent in the form; secrets are not a method here (FAPI 2.0 §5.3.2.1-6)")]
    Secret,
    #[error("an Authorization field was sent that authenticates no client")]
    AuthorizationField { basic: bool },
    #[error("the client is not registered")]
    UnknownClient,
    #[error("the client or its tenant is suspended")]
    Suspended,
    #[error("the client registered another authentication method")]
    OtherMethod,
    #[error("client_assertion_type is not that of a JWT (RFC 7523 §2.2)")]
    AssertionType,
    #[error("the assertion is malformed")]
    Malformed(#[source] TokenError),
    #[error("the assertion's algorithm is not allowed")]
    Algorithm,
    #[error("the assertion's typ is that of another kind of JWT")]
    Typ,
    #[error("iss, sub and client_id are not one and the same client")]
    Subject,
    #[error("aud is not who the client's profile says we are")]
    Audience,
    #[error("no key of the client verifies the assertion")]
    Signature(#[source] VerifyError),
    #[error("a claim of the assertion is missing or malformed")]
    Claim(#[source] ClaimError),
    #[error("the assertion has expired")]
    Expired,
    #[error("exp lies too far ahead")]
    Lifetime,
    #[error("iat or nbf lies too far ahead")]
    NotYetValid,
    #[error("jti is empty or too long")]
    Jti,
    #[error("the assertion was used before")]
    Replayed,
    #[error("the connection has no client certificate")]
    CertificateMissing,
    #[error("the certificate does not lead to a trusted CA")]
    ChainUntrusted,
    #[error("the certificate's subject is not the registered one")]
    SubjectMismatch,
    #[error("the certificate is not a registered one")]
    CertificateUnregistered,
}

/// Why the authorization server cannot be set up; for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    #[error(
        "{name} {url:?} is not an https URL without query, fragment and trailing slash (http: loopback addresses only)"
    )]
    Url { name: &'static str, url: String },
    /// FAPI 2.0 §6.1: minutes. The bound is what lets a retired key go.
    #[error("access_token_lifetime lies outside of 1 s to 1 h")]
    Lifetime,
    #[error("request_uri_lifetime lies outside of 1 s to 599 s (FAPI 2.0 §5.3.2.2-12)")]
    RequestUriLifetime,
    #[error("backchannel_lifetime lies outside of 1 s to 30 min")]
    BackchannelLifetime,
    #[error("{key} is shorter than clients of the profile {profile} must be given")]
    ProfileLifetime { profile: Profile, key: &'static str },
    #[error("the clock skew lies outside of 10 s to 60 s (FAPI 2.0 §5.3.2.1-13)")]
    ClockSkew,
}

impl OAuthError {
    /// The status of the answer.
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::InvalidRequest(_)
            | Self::UnsupportedGrantType
            | Self::UnauthorizedClient
            | Self::UnsupportedResponseType
            | Self::InvalidGrant(_)
            | Self::InvalidRequestObject(_)
            | Self::InvalidAuthorizationDetails(_)
            | Self::InvalidScope
            | Self::InvalidTarget
            | Self::InvalidRedirectUri(_)
            | Self::InvalidClientMetadata(_)
            | Self::TokenOfAnotherClient
            | Self::DpopProofMissing(_)
            | Self::Backchannel(_)
            | Self::UnauthenticatedForJwt(_) => StatusCode::BAD_REQUEST,
            Self::Dpop(error) => match error.code() {
                DpopErrorCode::InvalidProof | DpopErrorCode::UseNonce => StatusCode::BAD_REQUEST,
                DpopErrorCode::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            },
            Self::SoftwareStatement(StatementError::Unavailable(_)) => StatusCode::SERVICE_UNAVAILABLE,
            Self::SoftwareStatement(_) => StatusCode::BAD_REQUEST,
            Self::RegistrationToken => StatusCode::UNAUTHORIZED,
            Self::TooManyClients => StatusCode::FORBIDDEN,
            Self::TooManyOutstanding => StatusCode::TOO_MANY_REQUESTS,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::InvalidClient(_) => StatusCode::UNAUTHORIZED,
            Self::Unavailable(_) | Self::KeysUnavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Signing(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The member `error`.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::InvalidRequest(_) | Self::BodyTooLarge => "invalid_request",
            Self::InvalidClient(_) | Self::UnauthenticatedForJwt(_) => "invalid_client",
            Self::Backchannel(error) => error.code(),
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedResponseType => "unsupported_response_type",
            Self::InvalidRequestObject(_) => "invalid_request_object", // RFC 9101 §7
            Self::InvalidAuthorizationDetails(_) => "invalid_authorization_details", // RFC 9396 §5
            Self::Dpop(error) => match error.code() {
                DpopErrorCode::InvalidProof => "invalid_dpop_proof", // RFC 9449 §5
                DpopErrorCode::UseNonce => "use_dpop_nonce",         // RFC 9449 §8
                DpopErrorCode::Unavailable => "temporarily_unavailable",
            },
            Self::DpopProofMissing(None) => "invalid_dpop_proof",
            Self::DpopProofMissing(Some(_)) => "use_dpop_nonce",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target", // RFC 8707 §2
            // RFC 6749 §5.2: "was issued to another client"
            Self::InvalidGrant(_) | Self::TokenOfAnotherClient => "invalid_grant",
            Self::Unavailable(_) | Self::KeysUnavailable(_) | Self::TooManyOutstanding => "temporarily_unavailable",
            Self::InvalidRedirectUri(_) => "invalid_redirect_uri",
            Self::InvalidClientMetadata(_) => "invalid_client_metadata",
            Self::SoftwareStatement(StatementError::Unavailable(_)) => "temporarily_unavailable",
            Self::SoftwareStatement(StatementError::Issuer | StatementError::Denied) => "unapproved_software_statement",
            Self::SoftwareStatement(_) => "invalid_software_statement",
            Self::RegistrationToken => "invalid_token", // RFC 6750 §3.1
            Self::TooManyClients => "access_denied",
            Self::Signing(_) => "server_error",
        }
    }

    /// The member `error_description`. One text for every failed client authentication: a stranger must not learn
    /// which clients exist.
    pub const fn description(&self) -> &'static str {
        match self {
            Self::InvalidRequest(text) => text,
            Self::BodyTooLarge => "The body is too large.",
            Self::Backchannel(error) => error.description(),
            Self::InvalidClient(_) | Self::UnauthenticatedForJwt(_) => {
                "Client authentication failed. Use the method that the client registered: private_key_jwt, \
                 tls_client_auth or self_signed_tls_client_auth."
            }
            Self::UnsupportedGrantType => "The grant type is not supported. The metadata lists those that are.",
            Self::UnauthorizedClient => "The client is not registered for this grant or endpoint.",
            Self::UnsupportedResponseType => "The supported response type is code.",
            Self::InvalidGrant(_) => {
                "The code or token is unknown, expired, used, revoked, or not this client's, or what must match it does not."
            }
            Self::InvalidRequestObject(text) | Self::InvalidAuthorizationDetails(text) => text,
            Self::Dpop(error) => error.description(),
            Self::DpopProofMissing(_) => "Send a DPoP proof in the DPoP field.",
            Self::TooManyOutstanding => {
                "Too many requests of this client are outstanding. Finish some, or retry later."
            }
            Self::InvalidScope => "A requested scope is malformed or not one that the client may have.",
            Self::InvalidTarget => "The requested resource is not served here.",
            Self::TokenOfAnotherClient => "The token was issued to another client.",
            Self::KeysUnavailable(_) => "The keys of the client cannot be fetched at present. Retry later.",
            Self::Unavailable(_) => "The authorization server cannot decide at present. Retry later.",
            Self::InvalidRedirectUri(text) | Self::InvalidClientMetadata(text) => text,
            Self::SoftwareStatement(StatementError::Unavailable(_)) => "The directory cannot be asked. Retry later.",
            Self::SoftwareStatement(StatementError::Issuer | StatementError::Denied) => {
                "The software statement is not approved here."
            }
            Self::SoftwareStatement(_) => "The software statement is not valid.",
            Self::RegistrationToken => "The access token for registration is missing or wrong.",
            Self::TooManyClients => "No more clients may be registered.",
            Self::Signing(_) => "The authorization server failed.",
        }
    }

    /// For the `DPoP-Nonce` field (RFC 9449 §8).
    pub const fn nonce(&self) -> Option<&HeaderValue> {
        match self {
            Self::Dpop(DpopError::Nonce { fresh }) => Some(fresh),
            Self::DpopProofMissing(nonce) => nonce.as_ref(),
            _ => None,
        }
    }

    /// RFC 6749 §5.2: who tried the `Authorization` field is answered with its scheme.
    pub const fn challenge(&self) -> Option<&'static str> {
        match self {
            Self::InvalidClient(ClientAuthenticationError::AuthorizationField { basic: true }) => {
                Some(r#"Basic realm="oauth""#)
            }
            Self::InvalidClient(_)
            | Self::InvalidRequest(_)
            | Self::BodyTooLarge
            | Self::UnsupportedGrantType
            | Self::UnauthorizedClient
            | Self::UnsupportedResponseType
            | Self::InvalidGrant(_)
            | Self::InvalidRequestObject(_)
            | Self::InvalidAuthorizationDetails(_)
            | Self::Dpop(_)
            | Self::DpopProofMissing(_)
            | Self::TooManyOutstanding
            | Self::InvalidScope
            | Self::InvalidTarget
            | Self::TokenOfAnotherClient
            | Self::Backchannel(_)
            | Self::UnauthenticatedForJwt(_)
            | Self::Unavailable(_)
            | Self::KeysUnavailable(_)
            | Self::InvalidRedirectUri(_)
            | Self::InvalidClientMetadata(_)
            | Self::SoftwareStatement(_)
            | Self::TooManyClients
            | Self::Signing(_) => None,
            Self::RegistrationToken => Some("Bearer error=\"invalid_token\""),
        }
    }
}

impl From<ClientAuthenticationError> for OAuthError {
    fn from(error: ClientAuthenticationError) -> Self {
        Self::InvalidClient(error)
    }
}

impl From<BackchannelError> for OAuthError {
    fn from(error: BackchannelError) -> Self {
        Self::Backchannel(error)
    }
}

impl From<super::Full> for OAuthError {
    fn from(_: super::Full) -> Self {
        Self::TooManyOutstanding
    }
}

impl From<ClientKeysError> for OAuthError {
    fn from(error: ClientKeysError) -> Self {
        match error {
            ClientKeysError::Signature(cause) => ClientAuthenticationError::Signature(cause).into(),
            ClientKeysError::Unavailable(_) => Self::KeysUnavailable(error),
        }
    }
}

impl From<StoreError> for OAuthError {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(error)
    }
}
