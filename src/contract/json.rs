//! Strict JSON: what one program could read otherwise than another is refused (RFC 8259 §4, RFC 7493).

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::check::error;
use super::compile::join;
use crate::problem::FieldError;

/// Deepest nesting of arrays and objects.
pub(super) const DEPTH_MAX: usize = 64;

/// Parses one JSON text: UTF-8, no name twice in an object, at most [`DEPTH_MAX`] deep, nothing after it.
pub(super) fn parse(bytes: &[u8]) -> Result<Value, FieldError> {
    let text = std::str::from_utf8(bytes).map_err(|_| error(String::new(), "is not UTF-8"))?;
    let mut fault = None;
    let mut source = serde_json::Deserializer::from_str(text);
    let value = Seed { depth: 0, fault: &mut fault }.deserialize(&mut source);
    match value.and_then(|value| source.end().map(|()| value)) {
        Ok(value) => Ok(value),
        Err(cause) => Err(fault.map_or_else(
            || {
                error(
                    String::new(),
                    format!("is not well-formed JSON at line {}, column {}", cause.line(), cause.column()),
                )
            },
            |(pointer, detail)| error(pointer, detail),
        )),
    }
}

/// What was found wrong, and where: the pointer grows from the inside out as the error travels up.
type Fault = Option<(String, &'static str)>;

struct Seed<'f> {
    depth: usize,
    fault: &'f mut Fault,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<Value, D::Error> {
        source.deserialize_any(self)
    }
}

impl<'f> Seed<'f> {
    fn deeper<E: serde::de::Error>(&mut self) -> Result<usize, E> {
        if self.depth >= DEPTH_MAX {
            return Err(self.refuse("is nested too deeply: at most 64 levels are allowed"));
        }
        Ok(self.depth + 1)
    }

    fn refuse<E: serde::de::Error>(&mut self, detail: &'static str) -> E {
        *self.fault = Some((String::new(), detail));
        E::custom(detail)
    }

    fn outwards<E>(&mut self, step: &str, cause: E) -> E {
        if let Some((pointer, _)) = self.fault {
            let cut: String = step.chars().take(64).collect();
            *pointer = format!("{}{pointer}", join("", &cut));
        }
        cause
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Bool(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Value, E> {
        Number::from_f64(number).map(Value::Number).ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::String(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut source: A) -> Result<Value, A::Error> {
        let depth = self.deeper()?;
        let mut items = Vec::new();
        loop {
            match source.next_element_seed(Seed { depth, fault: self.fault }) {
                Ok(Some(item)) => items.push(item),
                Ok(None) => return Ok(Value::Array(items)),
                Err(cause) => return Err(self.outwards(&items.len().to_string(), cause)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut source: A) -> Result<Value, A::Error> {
        let depth = self.deeper()?;
        let mut members = Map::new();
        while let Some(name) = source.next_key::<String>()? {
            if members.contains_key(&name) {
                let cause = self.refuse("occurs twice in one object");
                return Err(self.outwards(&name, cause));
            }
            match source.next_value_seed(Seed { depth, fault: self.fault }) {
                Ok(value) => members.insert(name, value),
                Err(cause) => return Err(self.outwards(&name, cause)),
            };
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        for (text, pointer, detail) in [
            (r#"{"a":1,"a":2}"#, "/a", "twice"),
            (r#"{"a":{"b~/":1,"b~/":2}}"#, "/a/b~0~1", "twice"),
            (r#"[{"x":1},{"y":1,"y":1}]"#, "/1/y", "twice"),
            (r#"{"a":1,"\u0061":2}"#, "/a", "twice"),
            ("", "", "line 1"),
            ("{", "", "well-formed"),
            ("1 2", "", "well-formed"),
            ("{} x", "", "well-formed"),
            ("[1,]", "", "well-formed"),
            ("NaN", "", "well-formed"),
            ("1e999", "", "well-formed"),
            (r#""\ud800""#, "", "well-formed"),
            ("'a'", "", "well-formed"),
            ("// c\n1", "", "well-formed"),
        ] {
            let fault = parse(text.as_bytes()).unwrap_err();
            assert_eq!(fault.pointer, pointer, "{text}");
            assert!(fault.detail.contains(detail), "{text}: {}", fault.detail);
        }
        assert_eq!(parse(b"\xff").unwrap_err().detail, "is not UTF-8");
        assert!(parse(b"\xef\xbb\xbf{}").is_err(), "a byte order mark (RFC 8259 §8.1)");
    }

    #[test]
    fn depth_has_a_bound() {
        let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(nested(64).as_bytes()).is_ok());
        for depth in [65, 127, 100_000] {
            let fault = parse(nested(depth).as_bytes()).unwrap_err();
            assert!(fault.detail.contains("64"), "{depth}: {fault:?}");
        }
    }

    #[test]
    fn errors_never_repeat_the_text() {
        for text in [r#"{"a": secret}"#, r#"{"a":"secret" "b"}"#, "secret", r#"["secret", tru]"#] {
            assert!(!parse(text.as_bytes()).unwrap_err().detail.contains("secret"), "{text}");
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn what_is_accepted_is_what_serde_reads(text in "[\\[\\]{}:,\"a0-9.eE\\\\ -]{0,24}") {
            if let Ok(value) = parse(text.as_bytes()) {
                proptest::prop_assert_eq!(value, serde_json::from_str::<Value>(&text).unwrap());
            }
        }
    }
}
