//! Rich authorization requests (RFC 9396): what each type must look like, as the catalogue's APIs declare it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jsonschema::Validator;
use serde_json::Value;

use super::form::Form;
use super::{ClientMetadata, OAuthError};
use crate::authn::DETAILS_BYTES_MAX;

/// Most objects of one request.
const DETAILS_MAX: usize = 16;

/// Why a declared type cannot be used; for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DetailTypeError {
    #[error("the authorization details type {0:?} is declared twice")]
    Twice(String),
    #[error("the schema of the authorization details type {0:?} is not a JSON Schema: {1}")]
    Schema(String, String),
}

/// The types that exist (RFC 9396 §2.1), each with its schema.
#[derive(Clone, Default)]
pub struct DetailTypes(Arc<BTreeMap<Arc<str>, Validator>>);

impl fmt::Debug for DetailTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl DetailTypes {
    /// From pairs of type and schema (JSON Schema 2020-12; references within it only).
    pub fn compile<'a>(declared: impl IntoIterator<Item = (&'a str, &'a Value)>) -> Result<Self, DetailTypeError> {
        let mut types = BTreeMap::new();
        for (name, schema) in declared {
            let validator = jsonschema::draft202012::new(schema)
                .map_err(|error| DetailTypeError::Schema(name.to_owned(), error.to_string()))?;
            if types.insert(Arc::from(name), validator).is_some() {
                return Err(DetailTypeError::Twice(name.to_owned()));
            }
        }
        Ok(Self(Arc::new(types)))
    }

    /// `authorization_details_types_supported` (RFC 9396 §10).
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(|name| &**name)
    }

    /// Reads the parameter. RFC 9396 §5: an unknown type, an unknown field, a wrong value, a missing field.
    pub(super) fn check(&self, parameters: &Form, client: &ClientMetadata) -> Result<Vec<Value>, OAuthError> {
        let Some(details) = read(parameters)? else { return Ok(Vec::new()) };
        for detail in &details {
            self.check_one(detail, client)?;
        }
        Ok(details)
    }

    fn check_one(&self, detail: &Value, client: &ClientMetadata) -> Result<(), OAuthError> {
        let refuse = OAuthError::InvalidAuthorizationDetails;
        let name = detail.get("type").and_then(Value::as_str).ok_or(refuse("An object has no type."))?;
        let validator = self.0.get(name).ok_or(refuse("A type is not supported."))?;
        if !client.may_ask_for(name) {
            return Err(refuse("The client is not registered for a type."));
        }
        if validator.is_valid(detail) { Ok(()) } else { Err(refuse("An object is not as its type demands.")) }
    }
}

/// RFC 9396 §6: a token request may only narrow. Each of its objects is one of those that were granted, and as often as
/// it was: one payment that the user approved is not two.
pub(super) fn narrow(parameters: &Form, granted: &[Value]) -> Result<Vec<Value>, OAuthError> {
    let Some(asked) = read(parameters)? else { return Ok(granted.to_vec()) };
    let mut left: Vec<&Value> = granted.iter().collect();
    for detail in &asked {
        let more = OAuthError::InvalidAuthorizationDetails("authorization_details asks for more than was granted.");
        let at = left.iter().position(|granted| *granted == detail).ok_or(more)?;
        left.swap_remove(at);
    }
    Ok(asked)
}

/// The parameter within its bounds: a token that says as much is one that resources take.
fn read(parameters: &Form) -> Result<Option<Vec<Value>>, OAuthError> {
    let Some(text) = parameters.get("authorization_details") else { return Ok(None) };
    let refuse = OAuthError::InvalidAuthorizationDetails;
    if text.len() > DETAILS_BYTES_MAX {
        return Err(refuse("authorization_details is too long."));
    }
    let Ok(Value::Array(details)) = crate::jose::parse_strict(text.as_bytes()) else {
        return Err(refuse("authorization_details is not a JSON array of objects."));
    };
    if details.is_empty() || details.len() > DETAILS_MAX {
        return Err(refuse("authorization_details has no objects, or too many."));
    }
    // As it will be written, which can be longer: numbers lose their exponents.
    if serde_json::to_vec(&details).map_or(true, |written| written.len() > DETAILS_BYTES_MAX) {
        return Err(refuse("authorization_details is too long."));
    }
    Ok(Some(details))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::tests::form;
    use serde_json::json;

    #[test]
    fn details_are_held_to_their_types() {
        let schema = json!({
            "type": "object", "required": ["type", "amount"], "additionalProperties": false,
            "properties": { "type": { "const": "payment" }, "amount": { "type": "string", "pattern": "^[0-9]+$" } }
        });
        let other = json!({ "type": "object" });
        let types = DetailTypes::compile([("payment", &schema), ("other", &other)]).unwrap();
        assert_eq!(types.names().collect::<Vec<_>>(), ["other", "payment"]);
        let client =
            ClientMetadata { authorization_details_types: vec!["payment".into()], ..ClientMetadata::default() };
        for (name, text, good) in [
            ("as declared", json!([{ "type": "payment", "amount": "12" }]).to_string(), true),
            (
                "two",
                json!([{ "type": "payment", "amount": "1" }, { "type": "payment", "amount": "2" }]).to_string(),
                true,
            ),
            ("an unknown field", json!([{ "type": "payment", "amount": "1", "x": 1 }]).to_string(), false),
            ("a missing field", json!([{ "type": "payment" }]).to_string(), false),
            ("a wrong value", json!([{ "type": "payment", "amount": "1e3" }]).to_string(), false),
            ("a wrong JSON type", json!([{ "type": "payment", "amount": 1 }]).to_string(), false),
            ("an unknown type", json!([{ "type": "loan" }]).to_string(), false),
            ("a type of others", json!([{ "type": "other" }]).to_string(), false),
            ("no type", json!([{ "amount": "1" }]).to_string(), false),
            ("one good, one bad", json!([{ "type": "payment", "amount": "1" }, {}]).to_string(), false),
            ("no array", json!({ "type": "payment", "amount": "1" }).to_string(), false),
            ("none", "[]".to_owned(), false),
            ("not JSON", "[{".to_owned(), false),
            ("a member twice", r#"[{"type":"payment","amount":"1","amount":"2"}]"#.to_owned(), false),
            ("too many", Value::Array(vec![json!({ "type": "payment", "amount": "1" }); 17]).to_string(), false),
            (
                "as long as a token may say",
                json!([{ "type": "payment", "amount": "1".repeat(DETAILS_BYTES_MAX - 32) }]).to_string(),
                true,
            ),
            (
                "longer than a token may say",
                json!([{ "type": "payment", "amount": "1".repeat(DETAILS_BYTES_MAX - 31) }]).to_string(),
                false,
            ),
        ] {
            let outcome = types.check(&form(&[("authorization_details", &text)]), &client);
            assert_eq!(outcome.is_ok(), good, "{name}");
            assert!(good || outcome.unwrap_err().code() == "invalid_authorization_details", "{name}");
        }
        assert_eq!(types.check(&form(&[]), &client).unwrap(), Vec::<Value>::new());
        assert!(DetailTypes::compile([("bad", &json!({ "type": 1 }))]).is_err());
    }

    #[test]
    fn a_token_request_narrows_and_never_widens() {
        let (one, two) = (json!({ "type": "a", "x": 1 }), json!({ "type": "a", "x": 2 }));
        let granted = [one.clone(), two.clone()];
        let ask = |value: Value| narrow(&form(&[("authorization_details", &value.to_string())]), &granted).ok();
        assert_eq!(ask(json!([two])), Some(vec![two.clone()]));
        assert_eq!(ask(json!([two, one])), Some(vec![two.clone(), one.clone()]), "in another order");
        assert_eq!(narrow(&form(&[]), &granted).unwrap(), granted);
        let twice = [one.clone(), one.clone()];
        let asked = json!([one, one]).to_string();
        assert_eq!(narrow(&form(&[("authorization_details", &asked)]), &twice).unwrap(), twice, "granted twice");
        for (name, asked) in [
            ("another", json!([{ "type": "a", "x": 3 }])),
            ("the same twice", json!([one, one])),
            ("both, and one of them again", json!([one, two, one])),
            ("none", json!([])),
            ("no list", json!({})),
        ] {
            assert_eq!(ask(asked), None, "{name}");
        }
    }
}
