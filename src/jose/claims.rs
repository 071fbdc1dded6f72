//! Claims whose signature has been verified, read by type.

use serde_json::{Map, Number, Value};

use crate::domain::Timestamp;

/// 9999-12-31T23:59:59Z. A NumericDate beyond it is a mistake, not a date.
const NUMERIC_DATE_MAX: i64 = 253_402_300_799;

/// A claim that is absent where it is required, or has another JSON type than its definition says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    #[error("the claim {0:?} is missing")]
    Missing(String),
    #[error("the claim {0:?} is not what RFC 7519 §4.1 says it is")]
    Type(String),
}

/// The members of a JWT claims set (RFC 7519 §4).
#[derive(Debug, Clone, PartialEq)]
pub struct Claims(Map<String, Value>);

impl Claims {
    pub(super) fn new(members: Map<String, Value>) -> Self {
        Self(members)
    }

    /// The raw claim, whatever its type.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// All of them, in the order in which they were written.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// All of them.
    pub fn members(&self) -> &Map<String, Value> {
        &self.0
    }

    /// A claim that must be a string if it is there.
    pub fn text(&self, name: &str) -> Result<Option<&str>, ClaimError> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(ClaimError::Type(name.to_owned())),
        }
    }

    /// A claim that must be there and must be a string that is not empty.
    pub fn required_text(&self, name: &str) -> Result<&str, ClaimError> {
        match self.text(name)? {
            Some("") => Err(ClaimError::Type(name.to_owned())),
            Some(text) => Ok(text),
            None => Err(ClaimError::Missing(name.to_owned())),
        }
    }

    /// A NumericDate (RFC 7519 §2), which may have a fraction: rounded down to the second.
    pub fn date(&self, name: &str) -> Result<Option<Timestamp>, ClaimError> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        match value.as_number().and_then(numeric_date) {
            Some(date) => Ok(Some(date)),
            None => Err(ClaimError::Type(name.to_owned())),
        }
    }

    /// A NumericDate that must be there.
    pub fn required_date(&self, name: &str) -> Result<Timestamp, ClaimError> {
        self.date(name)?.ok_or_else(|| ClaimError::Missing(name.to_owned()))
    }

    /// Whether `aud`, a string or an array of strings (RFC 7519 §4.1.3), names one of `expected`.
    pub fn audience_names(&self, expected: &[impl AsRef<str>]) -> bool {
        self.audiences().iter().any(|aud| expected.iter().any(|e| e.as_ref() == *aud))
    }

    /// Whom `aud` names. Nobody, if it is not what RFC 7519 §4.1.3 says.
    pub fn audiences(&self) -> Vec<&str> {
        match self.0.get("aud") {
            Some(Value::Array(all)) => all.iter().map(Value::as_str).collect::<Option<Vec<_>>>().unwrap_or_default(),
            Some(Value::String(single)) => vec![single],
            Some(_) | None => Vec::new(),
        }
    }
}

/// Reads a NumericDate.
pub(super) fn numeric_date(number: &Number) -> Option<Timestamp> {
    match number.as_i64().or_else(|| number.as_f64().and_then(whole_secs)) {
        Some(secs @ 0..=NUMERIC_DATE_MAX) => Some(Timestamp::from_secs(secs)),
        Some(_) | None => None,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the range is checked in the same expression")]
fn whole_secs(number: f64) -> Option<i64> {
    (0.0..=253_402_300_799.0).contains(&number).then(|| number.floor() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn claims(value: Value) -> Claims {
        let Value::Object(members) = value else { panic!("an object") };
        Claims::new(members)
    }

    #[test]
    fn dates_are_numbers_within_reason() {
        for (name, value, expected) in [
            ("whole", json!(1_700_000_000), Some(1_700_000_000)),
            ("zero", json!(0), Some(0)),
            ("fraction", json!(1.9), Some(1)),
            ("text", json!("1700000000"), None),
            ("negative", json!(-1), None),
            ("negative fraction", json!(-0.5), None),
            ("milliseconds", json!(1_700_000_000_000_000_i64), None),
            ("huge", json!(1e300), None),
            ("null", json!(null), None),
            ("beyond i64", json!(u64::MAX), None),
        ] {
            let read = claims(json!({ "exp": value })).date("exp");
            match expected {
                Some(secs) => assert_eq!(read, Ok(Some(Timestamp::from_secs(secs))), "{name}"),
                None => assert_eq!(read, Err(ClaimError::Type("exp".into())), "{name}"),
            }
        }
        assert_eq!(claims(json!({})).date("exp"), Ok(None));
        assert_eq!(claims(json!({})).required_date("exp"), Err(ClaimError::Missing("exp".into())));
    }

    #[test]
    fn texts_are_strings() {
        let all = claims(json!({ "a": "x", "empty": "", "n": 1 }));
        assert_eq!(all.required_text("a"), Ok("x"));
        assert_eq!(all.text("none"), Ok(None));
        assert_eq!(all.text("n"), Err(ClaimError::Type("n".into())));
        assert_eq!(all.required_text("empty"), Err(ClaimError::Type("empty".into())));
        assert_eq!(all.required_text("none"), Err(ClaimError::Missing("none".into())));
    }

    #[test]
    fn an_audience_is_named_alone_or_among_others() {
        for (name, aud, expected) in [
            ("alone", json!("https://a"), true),
            ("among others", json!(["https://x", "https://a"]), true),
            ("another", json!("https://b"), false),
            ("a prefix", json!("https://a/"), false),
            ("empty list", json!([]), false),
            ("not a string", json!(["https://a", 1]), false),
            ("an object", json!({ "aud": "https://a" }), false),
        ] {
            assert_eq!(claims(json!({ "aud": aud })).audience_names(&["https://a"]), expected, "{name}");
        }
        assert!(!claims(json!({})).audience_names(&["https://a"]), "absent");
        assert!(!claims(json!({ "aud": "https://a" })).audience_names(&[] as &[&str]), "nobody expected");
    }
}
