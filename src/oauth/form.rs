//! The body of a request to an OAuth endpoint: `application/x-www-form-urlencoded`, read strictly.

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use percent_encoding::percent_decode;
use serde_json::Value;

use super::OAuthError;
use crate::jose::Claims;

/// Longest body, in bytes.
pub const FORM_BYTES_MAX: usize = 64 * 1024;
const PARAMETERS_MAX: usize = 64;
const NAME_BYTES_MAX: usize = 128;
/// Tokens and assertions are bounded again, lower, where they are parsed.
const VALUE_BYTES_MAX: usize = 32 * 1024;

/// Decoded parameters. No `Debug`: tokens and assertions are in here.
pub struct Form(Vec<(String, String)>); // Invariant: names are unique, `resource` (RFC 8707 §2) excepted.

impl Form {
    /// Reads a body. RFC 6749 §3.2: no parameter twice; unknown ones are ignored.
    pub fn parse(headers: &HeaderMap, body: &[u8]) -> Result<Self, OAuthError> {
        if body.len() > FORM_BYTES_MAX {
            return Err(OAuthError::BodyTooLarge);
        }
        if !is_form(headers) {
            return Err(OAuthError::InvalidRequest("The content type must be application/x-www-form-urlencoded."));
        }
        Self::decode(body)
    }

    /// Reads the query of a URL, under the same rules (RFC 6749 §3.1).
    pub fn parse_query(query: &str) -> Result<Self, OAuthError> {
        Self::decode(query.as_bytes())
    }

    fn decode(text: &[u8]) -> Result<Self, OAuthError> {
        let mut parameters: Vec<(String, String)> = Vec::new();
        for pair in text.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            let mut halves = pair.splitn(2, |byte| *byte == b'=');
            let name = decode(halves.next().unwrap_or_default(), NAME_BYTES_MAX)?;
            let value = decode(halves.next().unwrap_or_default(), VALUE_BYTES_MAX)?;
            if name != "resource" && parameters.iter().any(|(other, _)| *other == name) {
                return Err(OAuthError::InvalidRequest("A parameter is sent more than once."));
            }
            if parameters.len() == PARAMETERS_MAX {
                return Err(OAuthError::InvalidRequest("There are too many parameters."));
            }
            parameters.push((name, value));
        }
        Ok(Self(parameters))
    }

    /// The parameters that a client signed (RFC 9101 §4). Each has the JSON type that it is defined with, or the request is
    /// refused: nothing is made into something else, and nothing that is meant is left out. Other claims are not parameters.
    pub(super) fn from_claims(claims: &Claims, refuse: fn(&'static str) -> OAuthError) -> Result<Self, OAuthError> {
        let mut parameters = Vec::new();
        for (name, value) in claims.iter() {
            let Some(shape) = Shape::of(name) else { continue };
            let values = shape.read(value).ok_or(refuse("A parameter of the request object has another JSON type."))?;
            parameters.extend(values.into_iter().map(|value| (name.to_owned(), value)));
        }
        if parameters.len() > PARAMETERS_MAX {
            return Err(refuse("The request object has too many parameters."));
        }
        Ok(Self(parameters))
    }

    /// The names of all parameters that have a value.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter(|(_, value)| !value.is_empty()).map(|(name, _)| name.as_str())
    }

    /// The parameter's value. RFC 6749 §3.2: an empty value counts as omitted.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// All values of a parameter that may be repeated.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let wanted = move |(other, value): &&(String, String)| *other == name && !value.is_empty();
        self.0.iter().filter(wanted).map(|(_, value)| value.as_str())
    }
}

/// What a parameter is in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Text,
    /// RFC 9101 §4: a number; as a text too, since CIBA Core §7.1 wants both taken.
    Number,
    /// OpenID Connect Core §5.5, §6.1.
    Object,
    /// RFC 9396 §2: of objects.
    Array,
    /// RFC 8707 §2: one, or several.
    Texts,
}

impl Shape {
    /// Of the parameters of authorization requests (RFC 6749 §4.1.1, RFC 7636 §4.3, RFC 9449 §10, OpenID Connect Core §3.1.2.1,
    /// OAuth 2.0 Multiple Response Types §2.1) and backchannel requests (CIBA Core §7.1).
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "response_type"
            | "client_id"
            | "redirect_uri"
            | "scope"
            | "state"
            | "nonce"
            | "response_mode"
            | "code_challenge"
            | "code_challenge_method"
            | "dpop_jkt"
            | "prompt"
            | "display"
            | "ui_locales"
            | "claims_locales"
            | "id_token_hint"
            | "login_hint"
            | "login_hint_token"
            | "acr_values"
            | "binding_message"
            | "user_code"
            | "client_notification_token" => Self::Text,
            "max_age" | "requested_expiry" => Self::Number,
            "claims" => Self::Object,
            "authorization_details" => Self::Array,
            "resource" => Self::Texts,
            _ => return None,
        })
    }

    /// As a form would say it; nothing, if it is of another type.
    fn read(self, value: &Value) -> Option<Vec<String>> {
        match (self, value) {
            (Self::Text | Self::Number | Self::Texts, Value::String(text)) => Some(vec![text.clone()]),
            (Self::Number, Value::Number(number)) if number.is_u64() => Some(vec![number.to_string()]),
            (Self::Object, Value::Object(_)) | (Self::Array, Value::Array(_)) => Some(vec![value.to_string()]),
            (Self::Texts, Value::Array(values)) => values.iter().map(|one| one.as_str().map(str::to_owned)).collect(),
            (Self::Text | Self::Number | Self::Object | Self::Array | Self::Texts, _) => None,
        }
    }
}

fn is_form(headers: &HeaderMap) -> bool {
    let mut fields = headers.get_all(CONTENT_TYPE).iter();
    let (Some(field), None) = (fields.next(), fields.next()) else { return false };
    let Ok(text) = field.to_str() else { return false };
    let essence = text.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

fn decode(text: &[u8], bytes_max: usize) -> Result<String, OAuthError> {
    let malformed = OAuthError::InvalidRequest("The form is not well-formed.");
    if !escapes_are_whole(text) {
        return Err(malformed);
    }
    let spaced: Vec<u8> = text.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    let decoded: Vec<u8> = percent_decode(&spaced).collect();
    if decoded.len() > bytes_max {
        return Err(OAuthError::InvalidRequest("A parameter is too long."));
    }
    String::from_utf8(decoded).map_err(|_| malformed)
}

fn escapes_are_whole(text: &[u8]) -> bool {
    let mut rest = text;
    while let Some(position) = rest.iter().position(|byte| *byte == b'%') {
        match rest.get(position + 1..position + 3) {
            Some([a, b]) if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => {}
            Some(_) | None => return false,
        }
        rest = rest.get(position + 3..).unwrap_or_default();
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn headers(content_type: &str) -> HeaderMap {
        HeaderMap::from_iter([(CONTENT_TYPE, content_type.parse().unwrap())])
    }

    fn parse(body: &[u8]) -> Result<Form, OAuthError> {
        Form::parse(&headers("application/x-www-form-urlencoded"), body)
    }

    #[test]
    fn values_are_decoded_and_empty_ones_omitted() {
        let form = parse(b"grant_type=client_credentials&scope=a+b%20c&empty=&flag&&resource=x&resource=y").unwrap();
        assert_eq!(form.get("grant_type"), Some("client_credentials"));
        assert_eq!(form.get("scope"), Some("a b c"));
        assert_eq!(form.get("empty"), None);
        assert_eq!(form.get("flag"), None);
        assert_eq!(form.get("none"), None);
        assert_eq!(form.all("resource").collect::<Vec<_>>(), ["x", "y"]);
        assert_eq!(parse(b"a=b=c").unwrap().get("a"), Some("b=c"));
    }

    #[test]
    fn what_could_be_read_two_ways_is_refused() {
        for (name, body) in [
            ("twice", b"scope=a&scope=b".to_vec()),
            ("twice, once empty", b"scope=a&scope=".to_vec()),
            ("twice by escape", b"scope=a&sc%6fpe=b".to_vec()),
            ("an unknown one twice", b"x=1&x=2".to_vec()),
            ("half an escape", b"scope=%4".to_vec()),
            ("no escape", b"scope=%zz".to_vec()),
            ("lone percent", b"scope=%".to_vec()),
            ("not UTF-8", b"scope=%ff".to_vec()),
            ("raw bytes that are not UTF-8", b"scope=\xff".to_vec()),
            ("too many", (0..65).map(|i| format!("p{i}=1")).collect::<Vec<_>>().join("&").into_bytes()),
            ("a long name", format!("{}=1", "n".repeat(129)).into_bytes()),
            ("a long value", format!("a={}", "v".repeat(32 * 1024 + 1)).into_bytes()),
        ] {
            assert!(matches!(parse(&body), Err(OAuthError::InvalidRequest(_))), "{name}");
        }
        assert!(matches!(parse(&vec![b'a'; FORM_BYTES_MAX + 1]), Err(OAuthError::BodyTooLarge)));
        assert!(Form::parse_query("scope=a&scope=b").is_err() && Form::parse_query("scope=a+b").is_ok(), "a query too");
    }

    #[test]
    fn only_a_form_is_a_form() {
        for (name, content_type, good) in [
            ("plain", "application/x-www-form-urlencoded", true),
            ("with charset, in capitals", "Application/X-WWW-Form-Urlencoded; charset=UTF-8", true),
            ("JSON", "application/json", false),
            ("multipart", "multipart/form-data; boundary=x", false),
            ("a longer name", "application/x-www-form-urlencoded2", false),
        ] {
            assert_eq!(Form::parse(&headers(content_type), b"a=b").is_ok(), good, "{name}");
        }
        assert!(Form::parse(&HeaderMap::new(), b"a=b").is_err(), "no content type");
        let mut twice = headers("application/x-www-form-urlencoded");
        twice.append(CONTENT_TYPE, "application/json".parse().unwrap());
        assert!(Form::parse(&twice, b"a=b").is_err(), "two content types");
    }

    proptest! {
        #[test]
        fn an_encoded_value_comes_back(value in "\\PC{1,40}") {
            let encoded = percent_encoding::utf8_percent_encode(&value, percent_encoding::NON_ALPHANUMERIC);
            let form = parse(format!("a={encoded}").as_bytes()).unwrap();
            prop_assert_eq!(form.get("a"), Some(value.as_str()));
        }

        #[test]
        fn no_body_makes_it_panic(body in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = parse(&body);
        }
    }
}
