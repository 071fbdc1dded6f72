//! Strict JSON: what one program could read otherwise than another is refused (RFC 8259 §4, RFC 7493).

use std::collections::HashMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::check::error;
use super::compile::join;
use super::exact::{Exacts, Json, Numeral};
use crate::problem::FieldError;

/// Deepest nesting of arrays and objects.
pub(super) const DEPTH_MAX: usize = 64;

/// Parses one JSON text: UTF-8, no name twice in an object, at most [`DEPTH_MAX`] deep, nothing after it.
pub(super) fn parse(bytes: &[u8]) -> Result<Json, FieldError> {
    let text = std::str::from_utf8(bytes).map_err(|_| error(String::new(), "is not UTF-8"))?;
    let mut reading = Reading { fault: None, numbers: Numbers { text, passed: 0 } };
    let mut source = serde_json::Deserializer::from_str(text);
    let json = Seed { depth: 0, reading: &mut reading }.deserialize(&mut source);
    match json.and_then(|json| source.end().map(|()| json)) {
        Ok(json) => Ok(json),
        Err(cause) => Err(reading.fault.map_or_else(
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

struct Reading<'t> {
    fault: Fault,
    numbers: Numbers<'t>,
}

/// The numbers of the text, in the order in which the parser meets them.
struct Numbers<'t> {
    /// From behind the number that was given out last.
    text: &'t str,
    /// Numbers that the parser has met since, and nobody asked for.
    passed: usize,
}

impl<'t> Numbers<'t> {
    /// The number that the parser has just met. What lies before it is well-formed, for the parser has been there.
    fn written(&mut self) -> Option<&'t str> {
        let mut number = None;
        for _ in 0..=std::mem::take(&mut self.passed) {
            number = self.next();
        }
        number
    }

    fn next(&mut self) -> Option<&'t str> {
        loop {
            let at = self.text.find(|c: char| c == '"' || c == '-' || c.is_ascii_digit())?;
            let (_, rest) = self.text.split_at_checked(at)?;
            if let Some(inside) = rest.strip_prefix('"') {
                self.text = behind_string(inside)?;
                continue;
            }
            let end = rest.find(|c: char| !c.is_ascii_digit() && !"+-.eE".contains(c)).unwrap_or(rest.len());
            let (number, behind) = rest.split_at_checked(end)?;
            self.text = behind;
            return Some(number);
        }
    }
}

fn behind_string(inside: &str) -> Option<&str> {
    let mut escaped = false;
    let end = inside.bytes().position(|byte| match byte {
        _ if escaped => {
            escaped = false;
            false
        }
        b'\\' => {
            escaped = true;
            false
        }
        byte => byte == b'"',
    })?;
    inside.get(end + 1..)
}

/// So many characters without an exponent have at most 15 digits, which a float holds (DBL_DIG of C).
const PLAIN_LENGTH_MAX: usize = 16;

/// What was written, if the float is not exactly that.
fn exact(written: &str, number: &Number) -> Result<Option<Numeral>, &'static str> {
    let plain = |text: &str| text.len() <= PLAIN_LENGTH_MAX && text.contains('.') && !text.contains(['e', 'E']);
    if plain(written) {
        return Ok(None);
    }
    let numeral = Numeral::parse(written).ok_or("has an exponent that is too large")?;
    Ok(if Numeral::of(number).as_ref() == Some(&numeral) { None } else { Some(numeral) })
}

struct Seed<'f, 't> {
    depth: usize,
    reading: &'f mut Reading<'t>,
}

impl<'de> DeserializeSeed<'de> for Seed<'_, '_> {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<Json, D::Error> {
        source.deserialize_any(self)
    }
}

impl Seed<'_, '_> {
    fn deeper<E: serde::de::Error>(&mut self) -> Result<usize, E> {
        if self.depth >= DEPTH_MAX {
            return Err(self.refuse("is nested too deeply: at most 64 levels are allowed"));
        }
        Ok(self.depth + 1)
    }

    fn refuse<E: serde::de::Error>(&mut self, detail: &'static str) -> E {
        self.reading.fault = Some((String::new(), detail));
        E::custom(detail)
    }

    fn outwards<E>(&mut self, step: &str, cause: E) -> E {
        if let Some((pointer, _)) = &mut self.reading.fault {
            let cut: String = step.chars().take(64).collect();
            *pointer = format!("{}{pointer}", join("", &cut));
        }
        cause
    }
}

impl<'de> Visitor<'de> for Seed<'_, '_> {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Value::Null.into())
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Json, E> {
        Ok(Value::Bool(flag).into())
    }

    fn visit_i64<E>(self, number: i64) -> Result<Json, E> {
        self.reading.numbers.passed += 1;
        Ok(Value::Number(number.into()).into())
    }

    fn visit_u64<E>(self, number: u64) -> Result<Json, E> {
        self.reading.numbers.passed += 1;
        Ok(Value::Number(number.into()).into())
    }

    fn visit_f64<E: serde::de::Error>(mut self, number: f64) -> Result<Json, E> {
        let number = Number::from_f64(number).ok_or_else(|| E::custom("not a finite number"))?;
        let written = self.reading.numbers.written().ok_or_else(|| E::custom("a number that is not in the text"))?;
        let exact = exact(written, &number).map_err(|detail| self.refuse(detail))?;
        Ok(Json { value: Value::Number(number), exact: exact.map(|numeral| Box::new(Exacts::number(numeral))) })
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Value::String(text.to_owned()).into())
    }

    fn visit_string<E>(self, text: String) -> Result<Json, E> {
        Ok(Value::String(text).into())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut source: A) -> Result<Json, A::Error> {
        let depth = self.deeper()?;
        let (mut items, mut exacts) = (Vec::new(), HashMap::new());
        loop {
            match source.next_element_seed(Seed { depth, reading: self.reading }) {
                Ok(Some(Json { value, exact })) => {
                    exacts.extend(exact.map(|exact| (items.len().to_string(), *exact)));
                    items.push(value);
                }
                Ok(None) => return Ok(Json { value: Value::Array(items), exact: Exacts::container(exacts) }),
                Err(cause) => return Err(self.outwards(&items.len().to_string(), cause)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut source: A) -> Result<Json, A::Error> {
        let depth = self.deeper()?;
        let (mut members, mut exacts) = (Map::new(), HashMap::new());
        while let Some(name) = source.next_key::<String>()? {
            if members.contains_key(&name) {
                let cause = self.refuse("occurs twice in one object");
                return Err(self.outwards(&name, cause));
            }
            match source.next_value_seed(Seed { depth, reading: self.reading }) {
                Ok(Json { value, exact }) => {
                    exacts.extend(exact.map(|exact| (name.clone(), *exact)));
                    members.insert(name, value);
                }
                Err(cause) => return Err(self.outwards(&name, cause)),
            }
        }
        Ok(Json { value: Value::Object(members), exact: Exacts::container(exacts) })
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
    fn every_digit_that_was_written_is_kept() {
        let text = r#"{ "1.5": [12345678901234567.89, "\\\"9.9", 7, -1e2, 0.1],
            "b": { "c": 123456789012345678901234567890, "d": 9007199254740993.0 }, "e": 18446744073709551615 }"#;
        let json = parse(text.as_bytes()).unwrap();
        for (pointer, expected) in [
            ("/1.5/0", Some("12345678901234567.89")),
            ("/1.5/1", None),
            ("/1.5/2", Some("7")),
            ("/1.5/3", Some("-100")),
            ("/1.5/4", Some("0.1")),
            ("/b/c", Some("123456789012345678901234567890")),
            ("/b/d", Some("9007199254740993")),
            ("/e", Some("18446744073709551615")),
            ("/b", None),
            ("/b/x", None),
        ] {
            assert_eq!(json.number(pointer).as_deref(), expected, "{pointer}");
        }
        assert!(parse(br#"{"a":[0.1,1e3,12.50,100000000000000000000]}"#).unwrap().exact.is_none(), "floats hold these");
        let fault = parse(b"[1e-99999999999999999999]").unwrap_err();
        assert_eq!((fault.pointer.as_str(), fault.detail.contains("exponent")), ("/0", true));
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
            if let Ok(json) = parse(text.as_bytes()) {
                proptest::prop_assert_eq!(json.value, serde_json::from_str::<Value>(&text).unwrap());
            }
        }
    }
}
