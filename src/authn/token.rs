//! What a verified access token says.

use std::sync::Arc;

use serde_json::Value;

use super::{AuthnError, Issuer};
use crate::domain::{ClientId, Connection, ScopeSet, TenantId, Thumbprint, Timestamp};
use crate::jose::{Claims, KeyThumbprint};

/// What the sender of a token must prove (RFC 7800 `cnf`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    /// `x5t#S256`: possession of this certificate's key, by the TLS handshake (RFC 8705 §3.1).
    Certificate(Thumbprint),
    /// `jkt`: possession of this key, by a DPoP proof (RFC 9449 §6). No scheme proves it yet.
    DpopKey(Thumbprint),
}

/// The claims of an access token whose issuer, audience, signature and form have been checked.
#[derive(Debug)]
pub struct VerifiedToken {
    pub issuer: Arc<str>,
    pub client_id: ClientId,
    /// From the claim that the issuer's settings name; absent where the registered client decides.
    pub tenant: Option<TenantId>,
    pub subject: Option<String>,
    /// Always present in our own tokens; only those can be revoked here.
    pub jti: Option<String>,
    pub scopes: ScopeSet,
    pub binding: Option<Binding>,
    pub issued_at: Option<Timestamp>,
    pub expires_at: Timestamp,
    /// Who verified it, and with which key: looked at again on every request.
    pub(super) verifier: Arc<Issuer>,
    pub(super) key: KeyThumbprint,
}

impl VerifiedToken {
    /// RFC 9068 §4: `exp`. No leeway: a token of ours is never valid for longer than it says.
    pub fn check_unexpired(&self, now: Timestamp) -> Result<(), AuthnError> {
        if self.expires_at <= now { Err(AuthnError::Expired) } else { Ok(()) }
    }

    /// Whether the sender of a bearer token proved what `cnf` demands. The chain's trust does not matter here
    /// (RFC 8705 §3); thumbprints are public, so comparing them need not be constant in time.
    pub fn check_binding(&self, connection: &Connection) -> Result<(), AuthnError> {
        match (self.binding, connection.certificate.as_deref()) {
            (None, _) => Ok(()),
            (Some(Binding::Certificate(bound)), Some(certificate)) if certificate.thumbprint == bound => Ok(()),
            (Some(Binding::Certificate(bound)), Some(certificate)) => {
                Err(AuthnError::CertificateMismatch { bound, presented: certificate.thumbprint })
            }
            (Some(Binding::Certificate(_)), None) => Err(AuthnError::CertificateMissing),
            // RFC 9449 §7.2: must not pass as a bearer token.
            (Some(Binding::DpopKey(_)), _) => Err(AuthnError::DpopTokenAsBearer),
        }
    }

    /// Whether whoever presents the token has to prove possession of a key (FAPI 2.0 §5.3.4-5).
    pub const fn is_sender_constrained(&self) -> bool {
        self.binding.is_some()
    }
}

/// Reads `cnf`. A confirmation that cannot be checked is refused: taken as absent it would turn a bound token into a
/// bearer token.
pub(super) fn read_binding(claims: &Claims) -> Result<Option<Binding>, AuthnError> {
    let members = match claims.get("cnf") {
        None => return Ok(None),
        Some(Value::Object(members)) => members,
        Some(_) => return Err(AuthnError::BindingUnknown),
    };
    let thumbprint = |value: &Value| value.as_str().and_then(Thumbprint::parse).ok_or(AuthnError::BindingUnknown);
    match (members.get("x5t#S256"), members.get("jkt"), members.len()) {
        (Some(x5t), None, 1) => Ok(Some(Binding::Certificate(thumbprint(x5t)?))),
        (None, Some(jkt), 1) => Ok(Some(Binding::DpopKey(thumbprint(jkt)?))),
        (Some(_) | None, Some(_) | None, _) => Err(AuthnError::BindingUnknown),
    }
}
