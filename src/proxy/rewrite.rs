//! Answers that must be changed or checked before they pass.
//!
//! Invariants: what cannot be read is not passed on where a rule demands a change; what is rewritten keeps the order
//! of its members and the value of its numbers.

use http::{HeaderMap, HeaderValue, header};
use serde_json::Value;

use super::failure::Fault;
use crate::contract::is_plain_json;
use crate::policy::Obligations;

/// The one value of a field as text.
pub(super) fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Whether a body travels compressed.
pub(super) fn is_coded(headers: &HeaderMap) -> bool {
    let identity = |value: &HeaderValue| value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity");
    headers.get_all(header::CONTENT_ENCODING).iter().any(|value| !value.is_empty() && !identity(value))
}

/// Applies the obligations to a whole answer. An empty body has nothing to hide.
pub(super) fn rewrite(headers: &HeaderMap, body: &[u8], obligations: &Obligations) -> Result<Vec<u8>, Fault> {
    if body.is_empty() {
        return Ok(Vec::new());
    }
    if is_coded(headers) {
        return Err(Fault::Unusable("it is compressed although we asked for plain text"));
    }
    if headers.contains_key(header::CONTENT_RANGE) {
        return Err(Fault::Unusable("it is a part of a document that must be redacted"));
    }
    let one = headers.get_all(header::CONTENT_TYPE).iter().count() == 1;
    if !one || !text(headers, header::CONTENT_TYPE).is_some_and(is_plain_json) {
        return Err(Fault::Unusable("it is not JSON and must be redacted"));
    }
    let mut value: Value = serde_json::from_slice(body).map_err(|_| Fault::Unusable("it is malformed JSON"))?;
    if !numbers_survive(body) {
        return Err(Fault::Unusable("it carries a number that cannot be kept exactly"));
    }
    obligations.apply(&mut value);
    serde_json::to_vec(&value).map_err(|_| Fault::Internal("JSON cannot be written"))
}

/// Digits of a decimal that an `f64` keeps.
const DECIMAL_DIGITS_MAX: usize = 15;

/// Whether every number of a well-formed JSON text keeps its value through a parse. Integers do within 64 bits; others
/// do up to fifteen significant digits.
fn numbers_survive(json: &[u8]) -> bool {
    let mut rest = json;
    while let Some((&byte, tail)) = rest.split_first() {
        match byte {
            b'"' => rest = after_string(tail),
            b'-' | b'0'..=b'9' => {
                let end = rest.iter().position(|b| !is_number_byte(*b)).unwrap_or(rest.len());
                let (number, tail) = rest.split_at(end);
                if !number_survives(number) {
                    return false;
                }
                rest = tail;
            }
            _ => rest = tail,
        }
    }
    true
}

const fn is_number_byte(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')
}

fn after_string(mut rest: &[u8]) -> &[u8] {
    loop {
        match rest {
            [b'\\', _, tail @ ..] => rest = tail,
            [b'"', tail @ ..] => return tail,
            [_, tail @ ..] => rest = tail,
            [] => return rest,
        }
    }
}

fn number_survives(number: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(number) else { return false };
    if text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok() {
        return true;
    }
    let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
    let digits: Vec<u8> = mantissa.bytes().filter(u8::is_ascii_digit).skip_while(|b| *b == b'0').collect();
    let significant = digits.iter().rposition(|b| *b != b'0').map_or(0, |last| last + 1);
    significant <= DECIMAL_DIGITS_MAX
        && text.parse::<f64>().is_ok_and(|value| {
            // A zero that was none, and what is below the normal range, has lost its digits.
            if significant == 0 { value == 0.0 } else { value.is_normal() }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(header::HeaderName, &'static str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn what_cannot_be_read_is_not_passed_unredacted() {
        let json = (header::CONTENT_TYPE, "application/json; charset=utf-8");
        let none = Obligations::default();
        for (name, fields, body, passes) in [
            ("JSON", vec![json.clone()], "{\"b\":1.5,\"a\":[true]}", true),
            ("a JSON dialect", vec![(header::CONTENT_TYPE, "application/hal+json")], "{}", true),
            ("an empty body", vec![], "", true),
            ("coded as itself", vec![json.clone(), (header::CONTENT_ENCODING, "identity")], "{}", true),
            ("compressed", vec![json.clone(), (header::CONTENT_ENCODING, "gzip")], "{}", false),
            ("text", vec![(header::CONTENT_TYPE, "text/csv")], "{}", false),
            ("no media type", vec![], "{}", false),
            ("another charset", vec![(header::CONTENT_TYPE, "application/json; charset=utf-7")], "{}", false),
            ("two media types", vec![json.clone(), (header::CONTENT_TYPE, "text/plain")], "{}", false),
            ("a part", vec![json.clone(), (header::CONTENT_RANGE, "bytes 0-1/9")], "{}", false),
            ("malformed", vec![json.clone()], "{\"a\":", false),
            ("two documents", vec![json.clone()], "{}{}", false),
            ("a number too exact", vec![json], "{\"amount\":0.1234567890123456789}", false),
        ] {
            let rewritten = rewrite(&headers(&fields), body.as_bytes(), &none);
            assert_eq!(rewritten.is_ok(), passes, "{name}");
            if let Ok(bytes) = rewritten {
                assert_eq!(String::from_utf8(bytes).unwrap(), body, "{name}: order and values are kept");
            }
        }
    }

    #[test]
    fn numbers_are_kept_or_refused() {
        for (number, kept) in [
            ("0", true),
            ("-1", true),
            ("18446744073709551615", true),
            ("18446744073709551616", false),
            ("100.10", true),
            ("123456789012.345", true),
            ("1234567890123.4567", false),
            ("1e3", true),
            ("1E-400", false),
            ("1e999", false),
            ("0.00000000000000000000000001", true),
            ("\"12345678901234567890123\"", true),
            ("\"a\\\"\",18446744073709551616", false),
        ] {
            assert_eq!(numbers_survive(format!("[{number}]").as_bytes()), kept, "{number}");
        }
    }
}
