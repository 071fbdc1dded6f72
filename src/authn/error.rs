//! Every way in which a caller is not authenticated, and every way in which we cannot tell.

use std::path::PathBuf;

use super::dpop::DpopError;
use crate::domain::Thumbprint;
use crate::jose::{ClaimError, JwksError, StrictJsonError, TokenError, VerifyError};
use crate::outbound::OutboundError;

/// Why a request has no caller. The comment at each group names the problem kind and the RFC 6750 §3.1 code it becomes.
#[derive(Debug, thiserror::Error)]
pub enum AuthnError {
    // --- no credential: kind TokenMissing, a challenge without an error code (RFC 6750 §3).
    #[error("the request carries no access token")]
    Missing,

    // --- kind TokenInRequest, `invalid_request`.
    #[error("the request has more than one Authorization field")]
    SeveralCredentials,

    // --- kind TokenInvalid, `invalid_token`.
    #[error("the Authorization field is not a scheme, one space and a token68")]
    CredentialSyntax,
    #[error("the token is malformed")]
    Malformed(#[source] TokenError),
    #[error("the token's `typ` is not that of an access token")]
    Type,
    #[error("the token's issuer is not trusted")]
    Issuer,
    #[error("the token is for another audience")]
    Audience,
    #[error("the token's algorithm is not allowed for its issuer")]
    Algorithm,
    #[error("no key of the issuer verifies the token")]
    Signature(#[source] VerifyError),
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid yet")]
    NotYetValid,
    #[error("a claim of the token is missing or malformed")]
    Claim(#[source] ClaimError),
    #[error("the token's {0:?} is not usable as an identifier or a scope here")]
    ClaimValue(&'static str),
    /// `cnf` with a method that cannot be checked: it must not pass as a token without a binding.
    #[error("the token is bound in a way that is not supported here")]
    BindingUnknown,
    #[error("the token has been revoked")]
    Revoked,
    #[error("the token's client is not registered, or belongs to another tenant")]
    ClientUnknown,

    // --- kind TokenBinding, `invalid_token`.
    #[error("the token is bound to a certificate, and the connection has none")]
    CertificateMissing,
    #[error("the token is bound to certificate {bound}, the connection has {presented}")]
    CertificateMismatch { bound: Thumbprint, presented: Thumbprint },

    /// RFC 9449 §7.2.
    #[error("the token is bound to a DPoP key, but was sent as a bearer token")]
    DpopTokenAsBearer,
    /// RFC 9449 §7.1: the scheme is for tokens that are bound to a key, and no way around another binding.
    #[error("the token is not bound to a DPoP key, but was sent by the DPoP scheme")]
    NotBoundToKey,
    #[error("the token is bound to key {bound}, the proof is by {presented}")]
    DpopKeyMismatch { bound: Thumbprint, presented: Thumbprint },

    // --- kinds DpopProof and DpopNonce, `invalid_dpop_proof` and `use_dpop_nonce` (RFC 9449 §7.1, §9); 503 where we have
    // no room for a proof.
    #[error("the sender does not prove possession of a key")]
    Dpop(#[from] DpopError),

    // --- ours: kind Unavailable, 503, no challenge.
    #[error("the issuer's keys are not at hand")]
    KeysUnavailable(#[source] Option<std::sync::Arc<JwksFetchError>>),
}

/// Why keys behind a URL did not verify a signature.
#[derive(Debug, thiserror::Error)]
pub enum RemoteKeysError {
    /// Ours, or the endpoint's: nothing is said about the sender.
    #[error("the keys are not at hand")]
    Unavailable(#[source] Option<std::sync::Arc<JwksFetchError>>),
    #[error("no key of the set verifies the signature")]
    Signature(#[source] VerifyError),
}

impl From<RemoteKeysError> for AuthnError {
    fn from(error: RemoteKeysError) -> Self {
        match error {
            RemoteKeysError::Unavailable(cause) => Self::KeysUnavailable(cause),
            RemoteKeysError::Signature(cause) => Self::Signature(cause),
        }
    }
}

/// Why a JWK set could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum JwksFetchError {
    #[error("the JWKS endpoint did not answer within its deadline, or the connection failed")]
    Transport(#[source] reqwest::Error),
    #[error("the client's JWKS endpoint could not be asked")]
    Outbound(#[source] OutboundError),
    #[error("the request that was fetching the JWK set went away")]
    Interrupted,
    #[error("the JWKS endpoint answered {0}")]
    Status(u16),
    #[error("the JWK set is longer than {0} bytes")]
    TooLong(usize),
    #[error("the JWKS endpoint did not send strict JSON")]
    Json(#[source] StrictJsonError),
    #[error("the JWK set is of no use")]
    Jwks(#[source] JwksError),
}

/// Why an issuer cannot be set up; for the operator.
#[derive(Debug, thiserror::Error)]
pub enum IssuerError {
    #[error("issuer {0:?}: the JWK set {1} cannot be read")]
    File(String, PathBuf, #[source] std::io::Error),
    #[error("issuer {0:?}: the JWK set {1} is longer than {2} bytes")]
    FileTooLong(String, PathBuf, usize),
    #[error("issuer {0:?}: the JWK set {1} is not strict JSON")]
    FileJson(String, PathBuf, #[source] StrictJsonError),
    #[error("issuer {0:?}: the JWK set is of no use")]
    Jwks(String, #[source] JwksError),
    #[error("issuer {0:?}: {1:?} is not an https URL (http is allowed to a loopback address only)")]
    Url(String, String),
    #[error("issuer {0:?}: no audience is listed, so that a token for anybody would be accepted")]
    NoAudience(String),
    #[error("issuer {0:?}: no algorithm is listed")]
    NoAlgorithm(String),
    #[error("issuer {0:?} is listed twice")]
    Twice(String),
    #[error("the HTTP client cannot be made")]
    Client(#[source] reqwest::Error),
}
