//! Values as the bytes of a message: bodies by media type, parameters by style.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value};

use crate::contract::{ParameterSpec, Style};

/// RFC 3986 §2.3: what need not be encoded anywhere.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const BOUNDARY: &str = "clearway-sandbox-boundary";
const XML_DEPTH_MAX: usize = 64;

pub(super) fn encode(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// The type without parameters, in lower case.
pub(super) fn essence(media_type: &str) -> String {
    media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

pub(super) fn is_json(media_type: &str) -> bool {
    let essence = essence(media_type);
    essence == "application/json" || essence == "text/json" || essence.ends_with("+json")
}

/// A type that a message can carry, for a range such as `application/*`.
pub(super) fn concrete(media_type: &str) -> String {
    match essence(media_type).as_str() {
        "*/*" | "application/*" | "*" | "" => "application/json".to_owned(),
        "text/*" => "text/plain; charset=utf-8".to_owned(),
        "multipart/form-data" => format!("multipart/form-data; boundary={BOUNDARY}"),
        "image/*" => "image/png".to_owned(),
        _ => media_type.to_owned(),
    }
}

/// The body's bytes.
pub(super) fn body(media_type: &str, value: &Value) -> Vec<u8> {
    let essence = essence(media_type);
    if is_json(media_type) || matches!(essence.as_str(), "*/*" | "application/*" | "*" | "") {
        return value.to_string().into_bytes();
    }
    match essence.as_str() {
        "application/x-www-form-urlencoded" => form(value).into_bytes(),
        "multipart/form-data" => multipart(value),
        _ if essence.ends_with("/xml") || essence.ends_with("+xml") => xml(value).into_bytes(),
        _ => scalar(value).into_bytes(),
    }
}

/// A value without any wrapping; what is no scalar as JSON.
pub(super) fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// OpenAPI leaves open how deep values stand in a form; callers of real APIs write `a[b][c]` and `a[0][b]`. A list of
/// plain values is a name that repeats.
fn form(value: &Value) -> String {
    let mut pairs = Vec::new();
    for (name, value) in value.as_object().into_iter().flatten() {
        match value {
            Value::Array(items) if !items.iter().any(|item| item.is_object() || item.is_array()) => {
                items.iter().for_each(|item| fields(name, item, &mut pairs));
            }
            other => fields(name, other, &mut pairs),
        }
    }
    pairs.join("&")
}

fn fields(name: &str, value: &Value, pairs: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(inner, value)| fields(&format!("{name}[{inner}]"), value, pairs));
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(at, value)| fields(&format!("{name}[{at}]"), value, pairs));
        }
        single => pairs.push(format!("{}={}", encode(name), encode(&scalar(single)))),
    }
}

fn multipart(value: &Value) -> Vec<u8> {
    let mut text = String::new();
    for (name, value) in value.as_object().into_iter().flatten() {
        let content_type = if value.is_object() || value.is_array() { "application/json" } else { "text/plain" };
        let name = name.replace(['"', '\r', '\n'], "_");
        text.push_str(&format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\nContent-Type: {content_type}\r\n\r\n{}\r\n",
            scalar(value)
        ));
    }
    text.push_str(&format!("--{BOUNDARY}--\r\n"));
    text.into_bytes()
}

fn xml(value: &Value) -> String {
    let mut out = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned();
    match value {
        Value::String(text) if text.trim_start().starts_with('<') => return text.clone(),
        other => element("document", other, 0, &mut out),
    }
    out
}

fn element(name: &str, value: &Value, depth: usize, out: &mut String) {
    let allowed = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_' | '.' | ':');
    let mut name: String = name.chars().map(|char| if allowed(char) { char } else { '_' }).collect();
    if !name.starts_with(|char: char| char.is_ascii_alphabetic() || char == '_') {
        name.insert(0, '_');
    }
    match value {
        Value::Array(items) if depth < XML_DEPTH_MAX => {
            items.iter().for_each(|item| element(&name, item, depth + 1, out))
        }
        Value::Object(members) if depth < XML_DEPTH_MAX => {
            out.push_str(&format!("<{name}>"));
            members.iter().for_each(|(member, value)| element(member, value, depth + 1, out));
            out.push_str(&format!("</{name}>"));
        }
        other => {
            let text = scalar(other).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            out.push_str(&format!("<{name}>{text}</{name}>"));
        }
    }
}

/// What stands in a path in the place of `{name}`.
pub(super) fn path_segment(parameter: &ParameterSpec, value: &Value) -> String {
    let parts = |separator: &str, pair: &str| list(value, separator, pair, &encode);
    match (parameter.style, parameter.explode) {
        (Style::Label, true) => format!(".{}", parts(".", "=")),
        (Style::Label, false) => format!(".{}", parts(",", ",")),
        (Style::Matrix, explode) => matrix(parameter, value, explode),
        (_, true) => parts(",", "="),
        (_, false) => parts(",", ","),
    }
}

fn matrix(parameter: &ParameterSpec, value: &Value, explode: bool) -> String {
    let name = encode(&parameter.name);
    match value {
        Value::Array(items) if explode => {
            items.iter().map(|item| format!(";{name}={}", encode(&scalar(item)))).collect::<Vec<_>>().join("")
        }
        Value::Object(_) if explode => format!(";{}", list(value, ";", "=", &encode)),
        _ => format!(";{name}={}", list(value, ",", ",", &encode)),
    }
}

/// What stands in a header's value.
pub(super) fn header_value(parameter: &ParameterSpec, value: &Value) -> String {
    if parameter.media_type.is_some() {
        return value.to_string();
    }
    let plain = |text: &str| text.chars().filter(|char| (' '..='~').contains(char)).collect::<String>();
    list(value, ",", if parameter.explode { "=" } else { "," }, &plain)
}

/// The pairs that stand in a query, joined; empty for an empty list.
pub(super) fn query_pairs(parameter: &ParameterSpec, value: &Value) -> String {
    let name = encode(&parameter.name);
    if parameter.media_type.is_some() {
        return format!("{name}={}", encode(&value.to_string()));
    }
    match (parameter.style, value) {
        (Style::DeepObject, Value::Object(members)) => deep(&parameter.name, members),
        (Style::SpaceDelimited, Value::Array(_)) => format!("{name}={}", list(value, "%20", "%20", &encode)),
        (Style::PipeDelimited, Value::Array(_)) => format!("{name}={}", list(value, "%7C", "%7C", &encode)),
        (_, Value::Array(items)) if parameter.explode => {
            items.iter().map(|item| format!("{name}={}", encode(&scalar(item)))).collect::<Vec<_>>().join("&")
        }
        (_, Value::Object(_)) if parameter.explode => list(value, "&", "=", &encode),
        _ => format!("{name}={}", list(value, ",", ",", &encode)),
    }
}

fn deep(name: &str, members: &Map<String, Value>) -> String {
    let pair = |(inner, value): (&String, &Value)| match value {
        Value::Array(items) => {
            let one = |item: &Value| format!("{}={}", encode(&format!("{name}[{inner}]")), encode(&scalar(item)));
            items.iter().map(one).collect::<Vec<_>>().join("&")
        }
        single => format!("{}={}", encode(&format!("{name}[{inner}]")), encode(&scalar(single))),
    };
    members.iter().map(pair).collect::<Vec<_>>().join("&")
}

/// A scalar as it is, a list joined, an object as names and values.
fn list(value: &Value, separator: &str, pair: &str, encode: &dyn Fn(&str) -> String) -> String {
    match value {
        Value::Array(items) => items.iter().map(|item| encode(&scalar(item))).collect::<Vec<_>>().join(separator),
        Value::Object(members) => {
            let one = |(name, value): (&String, &Value)| format!("{}{pair}{}", encode(name), encode(&scalar(value)));
            members.iter().map(one).collect::<Vec<_>>().join(separator)
        }
        single => encode(&scalar(single)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::ParameterPlace;
    use serde_json::json;

    fn parameter(style: Style, explode: bool) -> ParameterSpec {
        ParameterSpec {
            name: "color".into(),
            place: ParameterPlace::Query,
            required: true,
            style,
            explode,
            schema: None,
            media_type: None,
        }
    }

    /// The table of OpenAPI 3.1.1 §4.8.12.4.
    #[test]
    fn styles_are_written_as_the_specification_shows() {
        let array = json!(["blue", "black", "brown"]);
        let object = json!({ "R": 100, "G": 200, "B": 150 });
        let text = json!("blue");
        for (style, explode, on_text, on_array, on_object) in [
            (Style::Matrix, false, ";color=blue", ";color=blue,black,brown", ";color=R,100,G,200,B,150"),
            (Style::Matrix, true, ";color=blue", ";color=blue;color=black;color=brown", ";R=100;G=200;B=150"),
            (Style::Label, false, ".blue", ".blue,black,brown", ".R,100,G,200,B,150"),
            (Style::Label, true, ".blue", ".blue.black.brown", ".R=100.G=200.B=150"),
            (Style::Simple, false, "blue", "blue,black,brown", "R,100,G,200,B,150"),
            (Style::Simple, true, "blue", "blue,black,brown", "R=100,G=200,B=150"),
        ] {
            for (value, expected) in [(&text, on_text), (&array, on_array), (&object, on_object)] {
                assert_eq!(path_segment(&parameter(style, explode), value), expected, "{style:?} {explode} {value}");
            }
        }
        for (style, explode, value, expected) in [
            (Style::Form, false, &text, "color=blue"),
            (Style::Form, false, &array, "color=blue,black,brown"),
            (Style::Form, true, &array, "color=blue&color=black&color=brown"),
            (Style::Form, false, &object, "color=R,100,G,200,B,150"),
            (Style::Form, true, &object, "R=100&G=200&B=150"),
            (Style::SpaceDelimited, false, &array, "color=blue%20black%20brown"),
            (Style::PipeDelimited, false, &array, "color=blue%7Cblack%7Cbrown"),
            (Style::DeepObject, true, &object, "color%5BR%5D=100&color%5BG%5D=200&color%5BB%5D=150"),
        ] {
            assert_eq!(query_pairs(&parameter(style, explode), value), expected, "{style:?} {explode} {value}");
        }
    }

    #[test]
    fn bodies_follow_their_media_type() {
        let value = json!({ "a": "x & y", "b": [1, 2] });
        for (media_type, expected) in [
            ("application/json", "{\"a\":\"x & y\",\"b\":[1,2]}"),
            ("application/problem+json; charset=utf-8", "{\"a\":\"x & y\",\"b\":[1,2]}"),
            ("application/x-www-form-urlencoded", "a=x%20%26%20y&b=1&b=2"),
            (
                "application/xml",
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<document><a>x &amp; y</a><b>1</b><b>2</b></document>",
            ),
        ] {
            assert_eq!(String::from_utf8(body(media_type, &value)).unwrap(), expected, "{media_type}");
        }
        let deep = json!({ "a": { "b": { "c": 1 }, "d": [true] }, "l": [{ "x": 1 }, { "x": 2 }] });
        let expected = "a[b][c]=1&a[d][0]=true&l[0][x]=1&l[1][x]=2".replace('[', "%5B").replace(']', "%5D");
        assert_eq!(body("application/x-www-form-urlencoded", &deep), expected.as_bytes());
        assert_eq!(body("text/plain", &json!("as it is")), b"as it is");
        let parts = String::from_utf8(body("multipart/form-data", &value)).unwrap();
        assert!(parts.contains("name=\"a\"") && parts.ends_with("--clearway-sandbox-boundary--\r\n"), "{parts}");
    }
}
