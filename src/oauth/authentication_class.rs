//! How well was a user authenticated? Classes of authentication (`acr`): those that a sign-in satisfies, and those that a
//! client asks for.
//!
//! Invariant: the `acr` of a token is one that the user's sign-in satisfies, never one that was merely asked for.

use std::sync::Arc;

use super::authorization_request::words;
use super::form::Form;
use super::requested_claims::AcrClaim;
use super::{OAuthError, RequestedClaims};

/// What a sign-in with a password is worth where the operator says nothing else (OpenID Connect Core §2 `acr`).
pub const ACR_PASSWORD: &str = "urn:clearway:acr:password";

/// Longest name of a class, in bytes, and most classes that one sign-in satisfies.
const ACR_BYTES_MAX: usize = 256;
const VALUES_MAX: usize = 16;

/// Why texts are not the classes of a sign-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AcrError {
    #[error("a sign-in satisfies 1 to {VALUES_MAX} classes, each named once")]
    Number,
    #[error("an `acr` value has 1 to {ACR_BYTES_MAX} visible ASCII characters without quotation marks and backslashes")]
    Malformed,
}

/// The classes that a user's sign-in satisfies (OpenID Connect Core §2 `acr`): schemes call one and the same sign-in by
/// names of their own. The first is what is told where a client asks for none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcrValues(Arc<[Arc<str>]>); // Invariant: one at least, each once; `parse` is its only constructor but `default`.

impl AcrValues {
    pub fn parse(values: &[String]) -> Result<Self, AcrError> {
        let distinct = |(at, value): (usize, &String)| values.iter().position(|other| other == value) == Some(at);
        if !(1..=VALUES_MAX).contains(&values.len()) || !values.iter().enumerate().all(distinct) {
            return Err(AcrError::Number);
        }
        // They stand between blanks (`acr_values`) and in quoted strings (RFC 9470 §3).
        let writable = |b: u8| b.is_ascii_graphic() && b != b'"' && b != b'\\';
        let sound = |value: &String| (1..=ACR_BYTES_MAX).contains(&value.len()) && value.bytes().all(writable);
        if !values.iter().all(sound) {
            return Err(AcrError::Malformed);
        }
        Ok(Self(values.iter().map(|value| Arc::from(value.as_str())).collect()))
    }

    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|value| &**value)
    }

    fn named(&self, name: &str) -> Option<Arc<str>> {
        self.0.iter().find(|value| ***value == *name).cloned()
    }
}

impl Default for AcrValues {
    fn default() -> Self {
        Self(Arc::new([ACR_PASSWORD.into()]))
    }
}

/// Which classes a client asks for, the preferred first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestedAcr {
    /// One of them must be reached (RFC 9470 §5, OpenID Connect Core §5.5.1.1). None: any class will do.
    required: Option<Vec<String>>,
    /// A voluntary claim's (§5.5.1).
    preferred: Vec<String>,
}

impl RequestedAcr {
    /// `acr_values` and the claim `acr` of the ID token. What is asked for by both must be in both.
    pub(super) fn parse(parameters: &Form, claims: Option<&RequestedClaims>) -> Result<Self, OAuthError> {
        let values = words(parameters, "acr_values")?;
        let values = (!values.is_empty()).then_some(values);
        match claims.map_or(Ok(AcrClaim::Any), RequestedClaims::acr)? {
            AcrClaim::Any => Ok(Self { required: values, preferred: Vec::new() }),
            AcrClaim::Voluntary(preferred) => Ok(Self { required: values, preferred }),
            AcrClaim::Essential(essential) => {
                let both = values.map(|values| values.into_iter().filter(|value| essential.contains(value)).collect());
                Ok(Self { required: Some(both.unwrap_or(essential)), preferred: Vec::new() })
            }
        }
    }

    /// What the sign-in is told as: the first class that was asked for and is satisfied, or the usual one if that will do.
    /// None: what the client needs is not reached.
    pub fn reached_by(&self, satisfied: &AcrValues) -> Option<Arc<str>> {
        let first = |asked: &[String]| asked.iter().find_map(|name| satisfied.named(name));
        match &self.required {
            Some(required) => first(required),
            None => first(&self.preferred).or_else(|| satisfied.0.first().cloned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::tests::form;
    use serde_json::{Value, json};

    fn parse(values: &[&str]) -> Result<AcrValues, AcrError> {
        AcrValues::parse(&values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn a_sign_in_satisfies_some_classes_each_once() {
        for (name, values, expected) in [
            ("one", vec!["urn:a"], Ok(())),
            ("two", vec!["urn:a", "urn:b"], Ok(())),
            ("none", vec![], Err(AcrError::Number)),
            ("one twice", vec!["urn:a", "urn:b", "urn:a"], Err(AcrError::Number)),
            ("an empty one", vec![""], Err(AcrError::Malformed)),
            ("a blank", vec!["urn:a urn:b"], Err(AcrError::Malformed)),
            ("a quotation mark", vec!["urn:\"a"], Err(AcrError::Malformed)),
            ("no ASCII", vec!["urn:ä"], Err(AcrError::Malformed)),
        ] {
            assert_eq!(parse(&values).map(drop), expected, "{name}");
        }
        assert!(
            parse(&vec!["x"; 17]).is_err() && parse(&[&"x".repeat(257)]).is_err() && parse(&[&"x".repeat(256)]).is_ok()
        );
    }

    /// OpenID Connect Core §3.1.2.1, §5.5.1.1.
    #[test]
    fn the_first_class_that_was_asked_for_and_is_satisfied_is_told() {
        let satisfied = parse(&["usual", "sca", "loa2"]).unwrap();
        let claim = |claim: Value| json!({ "id_token": { "acr": claim } });
        for (name, acr_values, claims, expected) in [
            ("nothing", "", json!({}), Some("usual")),
            ("a value", "sca", json!({}), Some("sca")),
            ("the first of two", "loa2 sca", json!({}), Some("loa2")),
            ("the second, as the first is not satisfied", "x sca", json!({}), Some("sca")),
            ("none that is satisfied", "x y", json!({}), None),
            ("essential", "", claim(json!({ "essential": true, "value": "sca" })), Some("sca")),
            ("essential values", "", claim(json!({ "essential": true, "values": ["x", "loa2", "sca"] })), Some("loa2")),
            ("essential, not satisfied", "", claim(json!({ "essential": true, "values": ["x"] })), None),
            ("essential, any", "", claim(json!({ "essential": true })), Some("usual")),
            ("voluntary", "", claim(json!({ "values": ["x", "sca"] })), Some("sca")),
            ("voluntary, not satisfied", "", claim(json!({ "value": "x" })), Some("usual")),
            ("no more than named", "", claim(Value::Null), Some("usual")),
            ("both ways", "loa2 sca", claim(json!({ "essential": true, "values": ["sca", "loa2"] })), Some("loa2")),
            ("both ways apart", "loa2", claim(json!({ "essential": true, "value": "sca" })), None),
        ] {
            let parameters = form(&[("acr_values", acr_values), ("claims", &claims.to_string())]);
            let claims = RequestedClaims::parse(&parameters).unwrap();
            let requested = RequestedAcr::parse(&parameters, claims.as_ref()).unwrap();
            assert_eq!(requested.reached_by(&satisfied).as_deref(), expected, "{name}");
        }
    }
}
