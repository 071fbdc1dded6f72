//! JSON in which every object names each member once.
//!
//! RFC 7515 §4 and RFC 7519 §4 leave it to the parser whether a repeated name is refused or the last one wins; two
//! readers that differ can be played against each other, so it is refused here.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Why a text is not strict JSON. The position is in the library's message; the text itself is not repeated.
#[derive(Debug, thiserror::Error)]
#[error("not well-formed JSON, or an object names a member twice")]
pub struct StrictJsonError(#[source] serde_json::Error);

/// Parses UTF-8 JSON; a repeated member name at any depth is an error. Depth is bounded by `serde_json` (128).
pub fn parse_strict(bytes: &[u8]) -> Result<Value, StrictJsonError> {
    serde_json::from_slice::<Strict>(bytes).map(|strict| strict.0).map_err(StrictJsonError)
}

struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Strict)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some((name, Strict(value))) = members.next_entry::<String, Strict>()? {
            if object.insert(name, value).is_some() {
                return Err(A::Error::custom("a member is named twice"));
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_repeated_member_is_refused_at_any_depth() {
        for (name, text, good) in [
            ("an object", r#"{"a":1,"b":[true,null,-2,1.5,"x"]}"#, true),
            ("twice at the top", r#"{"a":1,"a":1}"#, false),
            ("twice below", r#"{"a":{"b":1,"b":2}}"#, false),
            ("twice in an array", r#"[{"b":1,"b":2}]"#, false),
            ("twice by escape", r#"{"a":1,"\u0061":2}"#, false),
            ("same name at two depths", r#"{"a":{"a":1}}"#, true),
            ("rest after the value", r#"{} {}"#, false),
            ("no value", "", false),
            ("a comment", r#"{"a":1/**/}"#, false),
        ] {
            assert_eq!(parse_strict(text.as_bytes()).is_ok(), good, "{name}");
        }
        assert!(parse_strict(&[b'"', 0xff, b'"']).is_err(), "not UTF-8");
        assert!(parse_strict("[".repeat(5000).as_bytes()).is_err(), "too deep");
    }

    proptest! {
        #[test]
        fn what_it_accepts_it_reads_as_serde_json_does(text in r#"[\[\]{}:,"a0-9.e\-truefalsn ]{0,24}"#) {
            if let Ok(value) = parse_strict(text.as_bytes()) {
                prop_assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
            }
        }
    }
}
