//! What does a client ask to be told of a user by name? The `claims` parameter (OpenID Connect Core §5.5).
//!
//! Invariants: a claim is told only to a client that may have the scope which covers it (§5.4), and only at the place for
//! which it was asked; the user who approves has read its name; a user who lacks it, or has another value than was asked
//! for, is told of with that claim left out.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::form::Form;
use super::userinfo::{CLAIMS_SUPPORTED, scope_of};
use super::{Grant, OAuthError, Subject};
use crate::domain::ScopeSet;

const BYTES_MAX: usize = 8 * 1024;
const ACR_VALUES_MAX: usize = 16;

/// Where a claim is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimsPlace {
    IdToken,
    Userinfo,
}

impl ClaimsPlace {
    pub const ALL: [Self; 2] = [Self::IdToken, Self::Userinfo];

    /// The name of its member.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::IdToken => "id_token",
            Self::Userinfo => "userinfo",
        }
    }
}

/// What is asked for of the claim `acr` (§5.5.1.1), the preferred class first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AcrClaim {
    /// Nothing, or no class by its name.
    Any,
    Voluntary(Vec<String>),
    /// One of these, or the user counts as not authenticated.
    Essential(Vec<String>),
}

/// The parameter, as it was sent. Invariant: [`RequestedClaims::parse`] took it, in this process or an earlier one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestedClaims(Map<String, Value>);

impl RequestedClaims {
    pub(super) fn parse(parameters: &Form) -> Result<Option<Self>, OAuthError> {
        let Some(text) = parameters.get("claims") else { return Ok(None) };
        if text.len() > BYTES_MAX {
            return Err(OAuthError::InvalidRequest("claims is too long."));
        }
        match crate::jose::parse_strict(text.as_bytes()) {
            Ok(Value::Object(members))
                if ClaimsPlace::ALL.iter().all(|place| is_sound(members.get(place.as_str()))) =>
            {
                Ok(Some(Self(members)))
            }
            Ok(_) | Err(_) => Err(OAuthError::InvalidRequest("claims is not a JSON object of requests for claims.")),
        }
    }

    fn at(&self, place: ClaimsPlace) -> Option<&Map<String, Value>> {
        self.0.get(place.as_str())?.as_object()
    }

    /// What of a user may be told at this place to a client that is entitled to these scopes.
    pub(super) fn names(&self, place: ClaimsPlace, entitled: &ScopeSet) -> Vec<&'static str> {
        let Some(asked) = self.at(place) else { return Vec::new() };
        let covered = |name: &&str| scope_of(name).is_none_or(|scope| entitled.contains(scope));
        CLAIMS_SUPPORTED.into_iter().filter(|name| asked.contains_key(*name)).filter(covered).collect()
    }

    /// The same at any place: what the user who is asked for it reads.
    pub fn all_names(&self, entitled: &ScopeSet) -> Vec<&'static str> {
        let places = ClaimsPlace::ALL.map(|place| self.names(place, entitled));
        CLAIMS_SUPPORTED.into_iter().filter(|name| places.iter().any(|names| names.contains(name))).collect()
    }

    /// What is told at this place of a user beyond what goes without asking. `essential` asks for it more urgently and gets
    /// no more (§5.5.1).
    pub(super) fn told(
        &self,
        place: ClaimsPlace,
        entitled: &ScopeSet,
        grant: &Grant,
        subject: &Subject,
    ) -> impl Iterator<Item = (&'static str, Value)> {
        let told = |name: &'static str| Some((name, super::userinfo::claim(name, grant, subject)?));
        let fits = move |(name, value): &(&'static str, Value)| self.fits(place, name, value);
        self.names(place, entitled).into_iter().filter_map(told).filter(fits)
    }

    /// §5.5.1 `value`, `values`. What says how the user was authenticated is told whatever it is (§5.5.1.1).
    fn fits(&self, place: ClaimsPlace, name: &str, value: &Value) -> bool {
        let wanted = self.at(place).and_then(|asked| asked.get(name));
        let one = wanted.and_then(|wanted| wanted.get("value"));
        let many = wanted.and_then(|wanted| wanted.get("values")?.as_array());
        matches!(name, "acr" | "auth_time")
            || (one.is_none_or(|one| one == value) && many.is_none_or(|many| many.contains(value)))
    }

    /// The one user whom the ID token must be about (§5.5.1), by the name that the client knows.
    pub(super) fn subject(&self) -> Option<&str> {
        self.at(ClaimsPlace::IdToken)?.get("sub")?.get("value")?.as_str()
    }

    /// What `openbanking_intent_id` was asked for to be at this place (UK Open Banking).
    pub(super) fn intent(&self, place: ClaimsPlace) -> Option<&Value> {
        self.at(place)?.get("openbanking_intent_id")?.get("value")
    }

    /// Which classes of authentication are asked for by name (§5.5.1.1).
    pub(super) fn acr(&self) -> Result<AcrClaim, OAuthError> {
        let Some(Value::Object(acr)) = self.at(ClaimsPlace::IdToken).and_then(|asked| asked.get("acr")) else {
            return Ok(AcrClaim::Any);
        };
        let malformed = OAuthError::InvalidRequest("The claim acr is not asked for as OpenID Connect says.");
        let texts = match (acr.get("value"), acr.get("values")) {
            (Some(Value::String(one)), None) => vec![one.clone()],
            (None, Some(Value::Array(many))) => {
                let texts: Option<Vec<_>> = many.iter().map(|value| value.as_str().map(str::to_owned)).collect();
                texts.filter(|texts| texts.len() <= ACR_VALUES_MAX).ok_or(malformed)?
            }
            (None, None) => Vec::new(),
            (Some(_), _) | (None, Some(_)) => return Err(malformed),
        };
        match acr.get("essential") {
            _ if texts.is_empty() => Ok(AcrClaim::Any),
            Some(Value::Bool(true)) => Ok(AcrClaim::Essential(texts)),
            _ => Ok(AcrClaim::Voluntary(texts)),
        }
    }
}

/// §5.5: an object of claims, each null or an object, whose members have the types of §5.5.1; others are ignored. A `sub`
/// that is asked for is a text.
fn is_sound(place: Option<&Value>) -> bool {
    let claim_is_sound = |claim: &Value| match claim {
        Value::Null => true,
        Value::Object(wanted) => {
            wanted.get("essential").is_none_or(Value::is_boolean) && wanted.get("values").is_none_or(Value::is_array)
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => false,
    };
    match place {
        None | Some(Value::Null) => true,
        Some(Value::Object(claims)) => {
            let sub = claims.get("sub").and_then(|sub| sub.get("value"));
            claims.values().all(claim_is_sound) && sub.is_none_or(Value::is_string)
        }
        Some(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::tests::form;
    use serde_json::json;

    fn parse(claims: &Value) -> Result<Option<RequestedClaims>, OAuthError> {
        RequestedClaims::parse(&form(&[("claims", &claims.to_string())]))
    }

    #[test]
    fn claims_are_asked_for_as_openid_connect_says() {
        for (name, claims, good) in [
            ("null", json!({ "id_token": { "email": null }, "userinfo": null }), true),
            ("essential", json!({ "id_token": { "email": { "essential": true } } }), true),
            ("values", json!({ "userinfo": { "name": { "values": ["a", 1] } } }), true),
            ("an unknown claim, and an unknown member", json!({ "id_token": { "x": { "y": 1 } }, "z": 1 }), true),
            ("no object", json!([]), false),
            ("a place that is none", json!({ "id_token": ["email"] }), false),
            ("a claim that is a text", json!({ "userinfo": { "email": "a@b" } }), false),
            ("essential as a text", json!({ "id_token": { "email": { "essential": "true" } } }), false),
            ("values as a text", json!({ "id_token": { "email": { "values": "a@b" } } }), false),
            ("a sub that is a number", json!({ "id_token": { "sub": { "value": 1 } } }), false),
        ] {
            assert_eq!(parse(&claims).is_ok(), good, "{name}");
        }
        assert_eq!(RequestedClaims::parse(&form(&[])).unwrap(), None);
        assert!(RequestedClaims::parse(&form(&[("claims", r#"{"id_token":{},"id_token":{}}"#)])).is_err(), "twice");
    }

    #[test]
    fn a_claim_that_a_scope_covers_is_for_those_who_may_have_the_scope() {
        let asked = json!({ "id_token": { "email": null, "acr": null, "x": null }, "userinfo": { "name": null } });
        let claims = parse(&asked).unwrap().unwrap();
        for (scopes, id_token, userinfo, all) in [
            ("openid profile email", &["email", "acr"][..], &["name"][..], &["name", "email", "acr"][..]),
            ("openid email", &["email", "acr"], &[], &["email", "acr"]),
            ("openid", &["acr"], &[], &["acr"]),
        ] {
            let entitled = ScopeSet::parse(scopes).unwrap();
            assert_eq!(claims.names(ClaimsPlace::IdToken, &entitled), id_token, "{scopes}");
            assert_eq!(claims.names(ClaimsPlace::Userinfo, &entitled), userinfo, "{scopes}");
            assert_eq!(claims.all_names(&entitled), all, "{scopes}");
        }
    }
}
