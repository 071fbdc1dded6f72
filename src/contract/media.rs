//! Media types (RFC 9110 §8.3.1) and the ranges under which documents describe content.

use std::borrow::Cow;

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
    /// `None` for whatever two readers could read differently: a parameter twice, or an extended one, which this field does
    /// not have (RFC 8187 §4.1), among the malformed.
    pub fn parse(text: &str) -> Option<Self> {
        let (essence, mut rest) = text.split_at(text.find(';').unwrap_or(text.len()));
        let (kind, subtype) = essence.trim().split_once('/')?;
        if !is_token(kind) || !is_token(subtype) {
            return None;
        }
        let lower = |text: &str| text.to_ascii_lowercase().into_boxed_str();
        let mut parameters: Vec<(Box<str>, Box<str>)> = Vec::new();
        while let Some(begin) = rest.trim_start_matches(OWS).strip_prefix(';') {
            rest = begin.trim_start_matches(OWS);
            if rest.is_empty() || rest.starts_with(';') {
                continue; // RFC 9110 §5.6.6: a parameter may be left out.
            }
            let (name, value) = rest.split_once('=')?;
            if !is_token(name)
                || name.contains('*')
                || parameters.iter().any(|(known, _)| known.eq_ignore_ascii_case(name))
            {
                return None;
            }
            let (value, after) = parameter_value(value)?;
            parameters.push((lower(name), lower(&value)));
            rest = after;
        }
        if !rest.trim_matches(OWS).is_empty() {
            return None;
        }
        let charset = parameters.iter().position(|(name, _)| **name == *"charset").map(|at| parameters.remove(at).1);
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

/// Whether a content type says JSON that every reader reads alike: in UTF-8 (RFC 8259 §8.1).
pub fn is_plain_json(content_type: &str) -> bool {
    MediaType::parse(content_type).is_some_and(|media| media.syntax() == Syntax::Json && media.is_utf8())
}

/// Optional whitespace (RFC 9110 §5.6.3).
const OWS: [char; 2] = [' ', '\t'];

/// A token or a quoted string (RFC 9110 §5.6.4), without its quotes, and what follows.
fn parameter_value(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, rest) = text.split_at(text.find([';', ' ', '\t']).unwrap_or(text.len()));
        return is_token(value).then_some((value.into(), rest));
    };
    let (mut value, mut characters) = (String::new(), quoted.chars());
    loop {
        match characters.next()? {
            '"' => return Some((value.into(), characters.as_str())),
            '\\' => value.push(characters.next()?),
            character => value.push(character),
        }
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
    }

    #[test]
    fn what_two_readers_could_read_differently_is_no_media_type() {
        for text in [
            "",
            "json",
            "/json",
            "a/",
            "a b/c",
            "application/json; charset",
            "application/json; charset =utf-8",
            "application/json; charset=utf-8 x",
            "application/json; charset=utf-8\u{b};x=1",
            "application/json; charset=utf-7; charset=utf-8",
            "application/json; CHARSET=utf-8; charset=utf-7",
            "application/json; charset*=us-ascii''utf-7",
            "application/json; charset*0=utf; charset*1=-7",
            "application/json; charset=\"utf-8",
            "application/json; charset=\"utf-8\"x",
            "application/json, text/plain",
        ] {
            assert_eq!(MediaType::parse(text), None, "{text:?}");
        }
        for (text, utf8) in [
            ("application/json;charset=utf-8", true),
            ("application/json ; ; charset=\"UTF-\\8\" ;", true),
            ("application/json; charset=utf-7; x=\"; charset=utf-8; y=\"", false),
            ("application/json; x=\"\\\"; charset=utf-7\"", true),
        ] {
            assert_eq!(MediaType::parse(text).map(|media| media.is_utf8()), Some(utf8), "{text:?}");
        }
    }
}
