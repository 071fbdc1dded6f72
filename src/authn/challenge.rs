//! `WWW-Authenticate`: what a refused caller is told about authentication.

use std::fmt::Write;

use http::HeaderValue;

use super::dpop::{ALGORITHMS, DpopErrorCode};
use super::{AuthnError, Scheme};
use crate::domain::ScopeSet;

/// Makes the challenges of one protected resource. Each is a field of its own: several in one field are read by few.
#[derive(Debug, Clone)]
pub struct Challenges {
    resource_metadata: Option<String>,
}

/// What else a challenge says, by name.
type Parameters<'p> = &'p [(&'static str, &'p str)];

impl Challenges {
    /// `resource_metadata` is the URL of the RFC 9728 document. A text that cannot stand in a quoted string is left out.
    pub fn new(resource_metadata: Option<&str>) -> Self {
        Self { resource_metadata: resource_metadata.filter(|url| is_quotable(url)).map(str::to_owned) }
    }

    /// The challenges for a refusal of a request with this scheme; none where the fault is ours (503).
    pub fn for_error(&self, error: &AuthnError, scheme: Scheme) -> Vec<HeaderValue> {
        let invalid = |description| self.error(scheme, "invalid_token", description);
        match error {
            // RFC 6750 §3, RFC 9449 §7.2: no error code when no credential was sent.
            AuthnError::Missing => vec![self.render(Scheme::Bearer, &[]), self.render(Scheme::Dpop, &[])],
            AuthnError::KeysUnavailable(_) => Vec::new(),
            AuthnError::Dpop(error) => match error.code() {
                DpopErrorCode::Unavailable => Vec::new(),
                code @ (DpopErrorCode::InvalidProof | DpopErrorCode::UseNonce) => {
                    self.error(Scheme::Dpop, code.as_str().unwrap_or_default(), error.description())
                }
            },
            AuthnError::SeveralCredentials => {
                self.error(scheme, "invalid_request", "Send exactly one Authorization field.")
            }
            AuthnError::CredentialSyntax | AuthnError::Malformed(_) => invalid("The token is malformed."),
            AuthnError::Expired => invalid("The token has expired."),
            AuthnError::NotYetValid => invalid("The token is not valid yet."),
            AuthnError::Audience => invalid("The token is for another audience."),
            AuthnError::Revoked => invalid("The token has been revoked."),
            AuthnError::CertificateMissing => {
                invalid("The token is bound to a client certificate; use the mutual-TLS endpoint.")
            }
            AuthnError::CertificateMismatch { .. } => invalid("The token is bound to another client certificate."),
            AuthnError::DpopKeyMismatch { .. } => invalid("The token is bound to another DPoP key."),
            AuthnError::NotBoundToKey => invalid("The token is not bound to a DPoP key; send it as it was issued."),
            // RFC 9449 §7.2: and here is how it would be taken.
            AuthnError::DpopTokenAsBearer => {
                let mut challenges = invalid("The token is bound to a DPoP key; send it by the DPoP scheme.");
                challenges.push(self.render(Scheme::Dpop, &[]));
                challenges
            }
            AuthnError::BindingUnknown => invalid("The token is bound in a way that this scheme does not prove."),
            // What exactly is wrong with a token that somebody made up is not for him to learn.
            AuthnError::Type
            | AuthnError::Issuer
            | AuthnError::Algorithm
            | AuthnError::Signature(_)
            | AuthnError::Claim(_)
            | AuthnError::ClaimValue(_)
            | AuthnError::ClientUnknown => invalid("The token is not valid here."),
        }
    }

    /// RFC 6750 §3.1: 403, with the scope that the operation needs.
    pub fn insufficient_scope(&self, needed: &ScopeSet, scheme: Scheme) -> HeaderValue {
        let description = "The token lacks a scope.";
        let scope = needed.to_string();
        self.render(scheme, &[("error", "insufficient_scope"), ("error_description", description), ("scope", &scope)])
    }

    /// RFC 6750 §3.1: 403. RFC 9396 has no code of its own for a resource; to ask for a scope would not help.
    pub fn insufficient_details(&self, scheme: Scheme) -> HeaderValue {
        let description = "The token lacks authorization details of the type that the operation needs.";
        self.render(scheme, &[("error", "insufficient_scope"), ("error_description", description)])
    }

    /// RFC 9470 §3: 401, with the authentication that the operation needs. `acr_values` must be quotable.
    pub fn insufficient_authentication(
        &self,
        scheme: Scheme,
        acr_values: Option<&str>,
        max_age_secs: Option<u64>,
    ) -> HeaderValue {
        let description = "The operation needs a stronger or a more recent authentication.";
        let max_age = max_age_secs.map(|secs| secs.to_string());
        let mut parameters = vec![("error", "insufficient_user_authentication"), ("error_description", description)];
        parameters.extend(acr_values.filter(|values| is_quotable(values)).map(|values| ("acr_values", values)));
        parameters.extend(max_age.as_deref().map(|secs| ("max_age", secs)));
        self.render(scheme, &parameters)
    }

    fn error(&self, scheme: Scheme, code: &str, description: &str) -> Vec<HeaderValue> {
        vec![self.render(scheme, &[("error", code), ("error_description", description)])]
    }

    fn render(&self, scheme: Scheme, parameters: Parameters<'_>) -> HeaderValue {
        let [first, second, third] = ALGORITHMS.map(|algorithm| algorithm.as_str());
        let algs = format!("{first} {second} {third}");
        let algs = (scheme == Scheme::Dpop).then_some(("algs", algs.as_str())); // RFC 9449 §7.1
        let metadata = self.resource_metadata.as_deref().map(|url| ("resource_metadata", url)); // RFC 9728 §5.1
        let mut text = String::from(scheme.as_str());
        for (position, (name, value)) in parameters.iter().copied().chain(algs).chain(metadata).enumerate() {
            let gap = if position == 0 { " " } else { ", " };
            // Values are constants, scope-tokens or checked texts: none needs escaping. Writing to a String cannot fail.
            let _ = write!(text, "{gap}{name}=\"{value}\"");
        }
        HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("Bearer"))
    }
}

/// Whether a text can stand in a quoted string as it is.
fn is_quotable(text: &str) -> bool {
    text.bytes().all(|b| (0x20..=0x7e).contains(&b) && b != b'"' && b != b'\\')
}
