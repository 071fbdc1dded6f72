//! `WWW-Authenticate`: what a refused caller is told about authentication.

use std::fmt::Write;

use http::HeaderValue;

use super::AuthnError;
use crate::domain::ScopeSet;

/// Makes the challenges of one protected resource.
#[derive(Debug, Clone)]
pub struct Challenges {
    resource_metadata: Option<String>,
}

impl Challenges {
    /// `resource_metadata` is the URL of the RFC 9728 document. A text that cannot stand in a quoted string is left out.
    pub fn new(resource_metadata: Option<&str>) -> Self {
        let quotable = |url: &&str| url.bytes().all(|b| (0x21..=0x7e).contains(&b) && b != b'"' && b != b'\\');
        Self { resource_metadata: resource_metadata.filter(quotable).map(str::to_owned) }
    }

    /// The challenge for a refusal; none where the fault is ours (503).
    pub fn for_error(&self, error: &AuthnError) -> Option<HeaderValue> {
        let (code, description) = match error {
            // RFC 6750 §3: no error code when no credential was sent.
            AuthnError::Missing => return Some(self.render(&[])),
            AuthnError::KeysUnavailable(_) => return None,
            AuthnError::SeveralCredentials => ("invalid_request", "Send exactly one Authorization field."),
            AuthnError::CredentialSyntax | AuthnError::Malformed(_) => ("invalid_token", "The token is malformed."),
            AuthnError::Expired => ("invalid_token", "The token has expired."),
            AuthnError::NotYetValid => ("invalid_token", "The token is not valid yet."),
            AuthnError::Audience => ("invalid_token", "The token is for another audience."),
            AuthnError::Revoked => ("invalid_token", "The token has been revoked."),
            AuthnError::CertificateMissing => {
                ("invalid_token", "The token is bound to a client certificate; use the mutual-TLS endpoint.")
            }
            AuthnError::CertificateMismatch { .. } => {
                ("invalid_token", "The token is bound to another client certificate.")
            }
            AuthnError::DpopTokenAsBearer | AuthnError::BindingUnknown => {
                ("invalid_token", "The token is bound in a way that this scheme does not prove.")
            }
            // What exactly is wrong with a token that somebody made up is not for him to learn.
            AuthnError::Type
            | AuthnError::Issuer
            | AuthnError::Algorithm
            | AuthnError::Signature(_)
            | AuthnError::Claim(_)
            | AuthnError::ClaimValue(_)
            | AuthnError::ClientUnknown => ("invalid_token", "The token is not valid here."),
        };
        Some(self.render(&[("error", code), ("error_description", description)]))
    }

    /// RFC 6750 §3.1: 403, with the scope that the operation needs.
    pub fn insufficient_scope(&self, needed: &ScopeSet) -> HeaderValue {
        let description = "The token lacks a scope.";
        let scope = needed.to_string();
        self.render(&[("error", "insufficient_scope"), ("error_description", description), ("scope", &scope)])
    }

    fn render(&self, parameters: &[(&str, &str)]) -> HeaderValue {
        let metadata = self.resource_metadata.as_deref().map(|url| ("resource_metadata", url)); // RFC 9728 §5.1
        let mut text = String::from("Bearer");
        for (position, (name, value)) in parameters.iter().copied().chain(metadata).enumerate() {
            let gap = if position == 0 { " " } else { ", " };
            // Values are constants, scope-tokens or a checked URL: none needs escaping. Writing to a String cannot fail.
            let _ = write!(text, "{gap}{name}=\"{value}\"");
        }
        HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("Bearer"))
    }
}
