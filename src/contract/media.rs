//! Media types (RFC 9110 §8.3.1) and the ranges under which documents describe content.

/// A media type or range, in lower case, with its parameters other than `charset`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct MediaType {
    kind: Box<str>,
    subtype: Box<str>,
    parameters: Box<[(Box<str>, Box<str>)]>,
    charset: Option<Box<str>>,
}

/// What the bytes of a media type are to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Syntax {
    Json,
    Form,
    Opaque,
}

impl MediaType {
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(';');
        let (kind, subtype) = parts.next()?.trim().split_once('/')?;
        if !is_token(kind) || !is_token(subtype) {
            return None;
        }
        let (mut parameters, mut charset) = (Vec::new(), None);
        for part in parts.map(str::trim).filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=')?;
            let name = name.trim().to_ascii_lowercase();
            let value = value.trim().trim_matches('"').to_ascii_lowercase();
            if name == "charset" {
                charset = Some(value.into());
            } else {
                parameters.push((name.into(), value.into()));
            }
        }
        let lower = |text: &str| text.to_ascii_lowercase().into_boxed_str();
        Some(Self { kind: lower(kind), subtype: lower(subtype), parameters: parameters.into(), charset })
    }

    /// JSON is `application/json` and every `+json` (RFC 6839 §3.1).
    pub fn syntax(&self) -> Syntax {
        match (&*self.kind, &*self.subtype) {
            ("application" | "text", "json") => Syntax::Json,
            (_, subtype) if subtype.ends_with("+json") => Syntax::Json,
            ("application", "x-www-form-urlencoded") => Syntax::Form,
            _ => Syntax::Opaque,
        }
    }

    /// RFC 8259 §8.1: JSON between systems is UTF-8, of which US-ASCII is a part.
    pub fn is_utf8(&self) -> bool {
        self.charset.as_deref().is_none_or(|charset| matches!(charset, "utf-8" | "utf8" | "us-ascii"))
    }

    /// How closely this range describes a type: higher is closer, `None` not at all (OAM-31: exact, `type/*`, `*/*`).
    pub fn describes(&self, actual: &Self) -> Option<usize> {
        let closeness = match (&*self.kind, &*self.subtype) {
            ("*", "*") => 1,
            (kind, "*") if *kind == *actual.kind => 2,
            (kind, subtype) if *kind == *actual.kind && suffix_range(subtype, &actual.subtype) => 3,
            (kind, subtype) if *kind == *actual.kind && *subtype == *actual.subtype => 4,
            _ => return None,
        };
        let matched = self.parameters.iter().all(|parameter| actual.parameters.contains(parameter));
        matched.then_some(closeness * 100 + self.parameters.len())
    }
}

/// `*+json` describes `problem+json`, and `json` itself.
fn suffix_range(range: &str, actual: &str) -> bool {
    range
        .strip_prefix("*+")
        .is_some_and(|suffix| actual == suffix || actual.rsplit_once('+').is_some_and(|(_, own)| own == suffix))
}

/// RFC 9110 §5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_range_is_found() {
        for (range, actual, expected) in [
            ("application/json", "application/json", Some(400)),
            ("application/json", "Application/JSON; charset=UTF-8", Some(400)),
            ("application/json; charset=utf-8", "application/json", Some(400)),
            ("application/vnd.x+json;version=2", "application/vnd.x+json; version=2", Some(401)),
            ("application/vnd.x+json;version=2", "application/vnd.x+json; version=3", None),
            ("application/vnd.x+json", "application/vnd.x+json; version=3", Some(400)),
            ("application/*", "application/json", Some(200)),
            ("application/*+json", "application/problem+json", Some(300)),
            ("application/*+json", "application/xml", None),
            ("*/*", "text/plain", Some(100)),
            ("text/*", "application/json", None),
            ("application/json", "application/problem+json", None),
        ] {
            let (range, actual) = (MediaType::parse(range).unwrap(), MediaType::parse(actual).unwrap());
            assert_eq!(range.describes(&actual), expected, "{range:?} {actual:?}");
        }
        for text in ["", "json", "/json", "a/", "a b/c", "application/json; charset"] {
            assert_eq!(MediaType::parse(text), None, "{text:?}");
        }
    }
}
