//! How much money does a body say that it moves?
//!
//! Invariant: what another program could read as another sum is no amount here. The answer is then `None`, and an
//! operation that moves money does not pass without one.

use serde_json::Value;

use crate::contract::Body;
use crate::domain::{Currency, Money};

/// Where a request body states the money that it moves: JSON Pointers (RFC 6901).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AmountAt {
    pub amount: String,
    pub currency: String,
}

impl AmountAt {
    /// The amount as it is written, zero and negative ones too; nothing if it is absent or cannot be read exactly.
    pub fn read(&self, body: &Body) -> Option<Money> {
        let find = |pointer: &str| match body {
            Body::Json(json) => in_json(json.value(), pointer),
            Body::Form(fields) => in_form(fields, pointer),
            Body::Absent | Body::Opaque => None,
        };
        let currency = Currency::parse(find(&self.currency)?.as_str()?).ok()?;
        match (find(&self.amount)?, body) {
            (Value::String(text), _) => Money::parse(text, currency).ok(),
            // By the digits that were written: a float would round what has more than 15.
            (Value::Number(_), Body::Json(json)) => Money::parse(&json.number(&self.amount)?, currency).ok(),
            _ => None,
        }
    }
}

/// RFC 6901, but a list counts only if it has one item: the sum of several is not what a pointer to one of them says.
fn in_json<'v>(value: &'v Value, pointer: &str) -> Option<&'v Value> {
    let mut at = value;
    for token in pointer.strip_prefix('/')?.split('/') {
        at = match at {
            Value::Object(members) => {
                let name = token.replace("~1", "/").replace("~0", "~");
                let found = members.get(&name)?;
                if members.keys().any(|other| *other != name && is_twin(other, &name)) {
                    return None;
                }
                found
            }
            Value::Array(items) => items.first().filter(|_| items.len() == 1 && token == "0")?,
            _ => return None,
        };
    }
    Some(at)
}

/// Whether a lenient reader could take one name for the other: many know no case, Unicode's included (the long s is an s
/// to them), some no separators either, and some stop at a zero byte.
fn is_twin(one: &str, other: &str) -> bool {
    fn letters(name: &str) -> impl Iterator<Item = char> {
        let name = name.chars().take_while(|letter| *letter != '\0');
        name.flat_map(char::to_uppercase).flat_map(char::to_lowercase).filter(|letter| letter.is_alphanumeric())
    }
    letters(one).eq(letters(other))
}

/// A field's one value. `amount[]` or `amount[x]` beside it would be the amount to a back end that reads brackets.
fn in_form<'v>(fields: &'v Value, pointer: &str) -> Option<&'v Value> {
    let found = in_json(fields, pointer)?;
    let name = pointer.strip_prefix('/')?;
    let bracketed = |other: &String| other.strip_prefix(name).is_some_and(|rest| rest.starts_with('['));
    if fields.as_object()?.keys().any(bracketed) { None } else { Some(found) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::parse_body;

    const JSON: Option<&str> = Some("application/json");
    const FORM: Option<&str> = Some("application/x-www-form-urlencoded");

    fn read(at: (&str, &str), content_type: Option<&str>, body: &str) -> Option<String> {
        let at = AmountAt { amount: at.0.into(), currency: at.1.into() };
        let body = parse_body(content_type, body.as_bytes()).unwrap_or(Body::Opaque);
        at.read(&body).map(|money| money.to_string())
    }

    #[test]
    fn an_amount_is_read_exactly_or_not_at_all() {
        let flat = ("/a", "/c");
        let deep = ("/Data/Amount/Value", "/Data/Amount/Currency");
        for (name, at, content_type, body, expected) in [
            ("a text", flat, JSON, r#"{"a":"10.50","c":"GBP"}"#, Some("10.50 GBP")),
            ("a number", flat, JSON, r#"{"a":10.5,"c":"GBP"}"#, Some("10.50 GBP")),
            ("an integer", flat, JSON, r#"{"a":10,"c":"JPY"}"#, Some("10 JPY")),
            ("deep", deep, JSON, r#"{"Data":{"Amount":{"Value":"1","Currency":"EUR"}}}"#, Some("1.00 EUR")),
            (
                "more digits than a float",
                flat,
                JSON,
                r#"{"a":12345678901234567.89,"c":"GBP"}"#,
                Some("12345678901234567.89 GBP"),
            ),
            ("one that a float rounds down", flat, JSON, r#"{"a":1000000.000000000001,"c":"GBP"}"#, None),
            ("an exponent in a number", flat, JSON, r#"{"a":1.05e1,"c":"GBP"}"#, Some("10.50 GBP")),
            (
                "an integer that a float rounds",
                flat,
                JSON,
                r#"{"a":9007199254740993.0,"c":"JPY"}"#,
                Some("9007199254740993 JPY"),
            ),
            (
                "digits in a list of one",
                ("/p/0/a", "/p/0/c"),
                JSON,
                r#"{"p":[{"a":12345678901234567.89,"c":"GBP"}]}"#,
                Some("12345678901234567.89 GBP"),
            ),
            ("zero is stated", flat, JSON, r#"{"a":"0","c":"GBP"}"#, Some("0.00 GBP")),
            ("so is a negative one", flat, JSON, r#"{"a":"-1.00","c":"GBP"}"#, Some("-1.00 GBP")),
            ("a form", flat, FORM, "a=2&c=GBP", Some("2.00 GBP")),
            ("an escaped pointer", ("/x~1a", "/x~0c"), JSON, r#"{"x/a":"1","x~c":"GBP"}"#, Some("1.00 GBP")),
            ("a list of one", ("/p/0/a", "/p/0/c"), JSON, r#"{"p":[{"a":"1","c":"GBP"}]}"#, Some("1.00 GBP")),
            ("a list of two", ("/p/0/a", "/p/0/c"), JSON, r#"{"p":[{"a":"1","c":"GBP"},{"a":"9"}]}"#, None),
            ("the second of a list", ("/p/1/a", "/c"), JSON, r#"{"p":[{"a":"1"},{"a":"9"}],"c":"GBP"}"#, None),
            ("an exponent in a text", flat, JSON, r#"{"a":"1e3","c":"GBP"}"#, None),
            ("a huge number", flat, JSON, r#"{"a":1e30,"c":"GBP"}"#, None),
            ("a third decimal", flat, JSON, r#"{"a":"0.001","c":"GBP"}"#, None),
            ("spaces", flat, JSON, r#"{"a":" 1","c":"GBP"}"#, None),
            ("a list in place of a value", flat, JSON, r#"{"a":["1"],"c":"GBP"}"#, None),
            ("null", flat, JSON, r#"{"a":null,"c":"GBP"}"#, None),
            ("no currency", flat, JSON, r#"{"a":"1"}"#, None),
            ("a currency in small letters", flat, JSON, r#"{"a":"1","c":"gbp"}"#, None),
            ("a name twice", flat, JSON, r#"{"a":"1","a":"9","c":"GBP"}"#, None),
            ("a name twice, once escaped", flat, JSON, r#"{"a":"1","\u0061":"9","c":"GBP"}"#, None),
            ("text that is JSON", flat, Some("text/plain"), r#"{"a":"1","c":"GBP"}"#, None),
            ("JSON called a form", flat, FORM, r#"{"a":"1","c":"GBP"}"#, None),
            ("a form called JSON", flat, JSON, "a=1&c=GBP", None),
            ("JSON in another charset", flat, Some("application/json; charset=utf-16"), r#"{"a":"1","c":"GBP"}"#, None),
            ("two media types", flat, Some("application/json, text/plain"), r#"{"a":"1","c":"GBP"}"#, None),
            ("no media type", flat, None, r#"{"a":"1","c":"GBP"}"#, None),
            ("a name in another case", flat, JSON, r#"{"a":"1","A":"9","c":"GBP"}"#, None),
            ("a name in Unicode's case", ("/ks", "/c"), JSON, r#"{"ks":"1","\u212a\u017f":"9","c":"GBP"}"#, None),
            ("a name with a space", flat, JSON, r#"{"a":"1"," a":"9","c":"GBP"}"#, None),
            ("a name with a zero byte", flat, JSON, r#"{"a":"1","a\u0000":"9","c":"GBP"}"#, None),
            ("a name that a zero byte cuts", flat, JSON, r#"{"a":"1","a\u0000x":"9","c":"GBP"}"#, None),
            ("a form's name that a zero byte cuts", flat, FORM, "a=1&a%00x=9&c=GBP", None),
            ("a currency in another case", flat, JSON, r#"{"a":"1","c":"GBP","C":"KWD"}"#, None),
            (
                "a parent without its separator",
                ("/p_q/a", "/p_q/c"),
                JSON,
                r#"{"p_q":{"a":"1","c":"GBP"},"pQ":{"a":"9","c":"GBP"}}"#,
                None,
            ),
            ("a form's field in another case", flat, FORM, "a=1&A=9&c=GBP", None),
            ("another name", flat, JSON, r#"{"a":"1","ab":"9","c":"GBP"}"#, Some("1.00 GBP")),
            ("a form's field twice", flat, FORM, "a=1&a=9&c=GBP", None),
            ("a form's field in brackets", flat, FORM, "a=1&a[]=9&c=GBP", None),
            ("brackets, encoded", flat, FORM, "a=1&a%5Bx%5D=9&c=GBP", None),
            ("nothing", flat, JSON, "", None),
        ] {
            assert_eq!(read(at, content_type, body).as_deref(), expected, "{name}");
        }
    }
}
