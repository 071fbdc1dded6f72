//! What a verified access token says.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use super::{AuthnError, Issuer};
use crate::domain::{ClientId, Connection, ScopeSet, TenantId, Thumbprint, Timestamp};
use crate::jose::{Claims, KeyThumbprint};

/// Longest `authorization_details` of a token, in bytes.
pub const DETAILS_BYTES_MAX: usize = 8 * 1024;

/// What the sender of a token must prove (RFC 7800 `cnf`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    /// `x5t#S256`: possession of this certificate's key, by the TLS handshake (RFC 8705 §3.1).
    Certificate(Thumbprint),
    /// `jkt`: possession of this key, by a DPoP proof (RFC 9449 §6).
    DpopKey(Thumbprint),
}

/// What was granted beyond scopes (RFC 9396 §9.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Details {
    /// An array, of [`DETAILS_BYTES_MAX`] at most.
    pub json: Arc<str>,
    /// What it is about (§2.1), each type once, sorted. What names no type is about nothing that is known here.
    pub types: Arc<[Box<str>]>,
}

/// The claims of an access token whose issuer, audience, signature and form have been checked.
#[derive(Debug)]
pub struct VerifiedToken {
    pub issuer: Arc<str>,
    pub client_id: ClientId,
    /// From the claim that the issuer's settings name; absent where the registered client decides.
    pub tenant: Option<TenantId>,
    pub subject: Option<String>,
    /// For which parts of our own resource it is, by the paths that they begin with; for all of it if there is none.
    pub(super) parts: Option<Arc<[Box<str>]>>,
    /// Always present in our own tokens; only those can be revoked here.
    pub jti: Option<String>,
    pub scopes: ScopeSet,
    /// How the user was authenticated, and when (RFC 9470 §6.1): none where no user was.
    pub acr: Option<Arc<str>>,
    pub auth_time: Option<Timestamp>,
    pub authorization_details: Option<Details>,
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

    /// Whether the token is for what lies below `base_path` (RFC 9068 §4 `aud`, RFC 8707 §2).
    pub fn check_part(&self, base_path: &str) -> Result<(), AuthnError> {
        let covers = |parts: &Arc<[Box<str>]>| parts.iter().any(|part| part.is_empty() || **part == *base_path);
        if self.parts.as_ref().is_none_or(covers) { Ok(()) } else { Err(AuthnError::Audience) }
    }

    /// What `aud` names, of a token for our own `resource`.
    pub fn audience(&self, resource: &str) -> Vec<String> {
        match &self.parts {
            None => vec![resource.to_owned()],
            Some(parts) => parts.iter().map(|part| format!("{resource}{part}")).collect(),
        }
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

    /// Whether `presented`, the key of a DPoP proof, is the one that `cnf` demands. A token that is bound to no key, or
    /// to something else, does not pass by this scheme (RFC 9449 §7.1).
    pub fn check_key(&self, presented: Thumbprint) -> Result<(), AuthnError> {
        match self.binding {
            Some(Binding::DpopKey(bound)) if bound == presented => Ok(()),
            Some(Binding::DpopKey(bound)) => Err(AuthnError::DpopKeyMismatch { bound, presented }),
            Some(Binding::Certificate(_)) | None => Err(AuthnError::NotBoundToKey),
        }
    }

    /// The types of what was granted beyond scopes, each once, sorted.
    pub fn detail_types(&self) -> &[Box<str>] {
        self.authorization_details.as_ref().map_or(&[], |details| &*details.types)
    }

    /// Whether it was granted details of this type.
    pub fn is_granted(&self, detail_type: &str) -> bool {
        self.detail_types().iter().any(|name| **name == *detail_type)
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

/// Reads `authorization_details`. One that cannot be kept is refused: without it the token would seem to be for more.
pub(super) fn read_details(claims: &Claims) -> Result<Option<Details>, AuthnError> {
    match claims.get("authorization_details") {
        None => Ok(None),
        Some(details @ Value::Array(all)) => match details.to_string() {
            text if text.len() <= DETAILS_BYTES_MAX => {
                let types = all.iter().filter_map(|one| one.get("type").and_then(Value::as_str));
                let types: BTreeSet<&str> = types.collect();
                Ok(Some(Details { json: text.into(), types: types.into_iter().map(Box::from).collect() }))
            }
            _ => Err(AuthnError::ClaimValue("authorization_details")),
        },
        Some(_) => Err(AuthnError::ClaimValue("authorization_details")),
    }
}
