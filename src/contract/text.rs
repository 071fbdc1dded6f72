//! Patterns (ECMA-262) and formats of strings, checked by the `jsonschema` crate's engines.

use std::collections::HashMap;
use std::sync::Arc;

use jsonschema::{Draft, PatternOptions, Validator};
use serde_json::{Map, Number, Value};

use super::exact::Instance;
use super::number::{integral, is_integral};

/// Longest pattern, in bytes.
const PATTERN_BYTES_MAX: usize = 4096;
/// Most steps back that a pattern with look-around or back-references may take on one string.
const BACKTRACK_MAX: usize = 100_000;
/// Formats of strings that are asserted (OAM-58). All others, `password` say, are annotations.
const TEXT_FORMATS: &[(&str, &str)] = &[
    ("date", "a date (RFC 3339, such as 2026-05-31)"),
    ("date-time", "a date and time with offset (RFC 3339, such as 2026-05-31T12:00:00Z)"),
    ("time", "a time with offset (RFC 3339)"),
    ("duration", "a duration (ISO 8601)"),
    ("uuid", "a UUID"),
    ("email", "an e-mail address"),
    ("idn-email", "an e-mail address"),
    ("hostname", "a host name"),
    ("idn-hostname", "a host name"),
    ("ipv4", "an IPv4 address"),
    ("ipv6", "an IPv6 address"),
    ("uri", "an absolute URI"),
    ("uri-reference", "a URI reference"),
    ("iri", "an absolute IRI"),
    ("iri-reference", "an IRI reference"),
    ("uri-template", "a URI template"),
    ("json-pointer", "a JSON Pointer"),
    ("relative-json-pointer", "a relative JSON Pointer"),
    ("regex", "a regular expression"),
];

#[derive(Debug)]
pub(super) struct Pattern {
    pub source: Box<str>,
    engine: Validator,
}

impl Pattern {
    fn compile(source: &str) -> Option<Self> {
        if source.len() > PATTERN_BYTES_MAX {
            return None;
        }
        // Only look-around and back-references need an engine that backtracks; everything else runs in linear time.
        let backtracks = ["(?=", "(?!", "(?<", "\\k"].iter().any(|mark| source.contains(mark))
            || source.as_bytes().windows(2).any(|pair| matches!(pair, [b'\\', b'1'..=b'9']));
        let engine = engine("pattern", source, backtracks)?;
        Some(Self { source: source.into(), engine })
    }

    /// `text` is a string; anything else has no pattern to keep to.
    pub fn matches(&self, text: &Value) -> bool {
        self.engine.is_valid(text)
    }

    pub fn matches_name(&self, name: &str) -> bool {
        self.engine.is_valid(&Value::String(name.to_owned()))
    }
}

#[derive(Debug)]
pub(super) enum Format {
    /// `int32` and `int64` of the OpenAPI format registry: the largest magnitude.
    Integer {
        min: i64,
        max: i64,
    },
    Text {
        expected: &'static str,
        engine: Validator,
    },
}

/// Those of one document are compiled once each, by [`Texts`]: the same is what is the same in memory.
macro_rules! same_in_memory {
    ($($name:ident)+) => {$(
        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                std::ptr::eq(self, other)
            }
        }

        impl Eq for $name {}

        impl std::hash::Hash for $name {
            fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
                std::ptr::hash(self, state);
            }
        }
    )+};
}

same_in_memory!(Pattern Format);

impl Format {
    fn compile(name: &str) -> Option<Self> {
        match name {
            "int32" => return Some(Self::Integer { min: i32::MIN.into(), max: i32::MAX.into() }),
            "int64" => return Some(Self::Integer { min: i64::MIN, max: i64::MAX }),
            _ => {}
        }
        let (_, expected) = TEXT_FORMATS.iter().find(|(own, _)| *own == name)?;
        Some(Self::Text { expected, engine: engine("format", name, false)? })
    }

    pub fn matches(&self, instance: Instance<'_>) -> bool {
        match (self, instance.value) {
            (Self::Text { engine, .. }, Value::String(_)) => engine.is_valid(instance.value),
            (Self::Integer { min, max }, Value::Number(number)) => in_range(instance, number, *min, *max),
            _ => true,
        }
    }

    pub fn expected(&self) -> String {
        match self {
            Self::Integer { min, max } => format!("between {min} and {max}"),
            Self::Text { expected, .. } => (*expected).to_owned(),
        }
    }
}

fn in_range(instance: Instance<'_>, number: &Number, min: i64, max: i64) -> bool {
    if !is_integral(instance, number) {
        return true; // The type says whether a fraction is allowed.
    }
    integral(instance, number).is_some_and(|integer| (i128::from(min)..=i128::from(max)).contains(&integer))
}

fn engine(keyword: &str, value: &str, backtracks: bool) -> Option<Validator> {
    let mut schema = Map::new();
    schema.insert(keyword.to_owned(), Value::String(value.to_owned()));
    let options = jsonschema::options().with_draft(Draft::Draft202012).should_validate_formats(true).offline();
    let options = if backtracks {
        options.with_pattern_options(PatternOptions::fancy_regex().backtrack_limit(BACKTRACK_MAX))
    } else {
        options
    };
    options.build(&Value::Object(schema)).ok()
}

/// Compiles each pattern and format of a document once.
#[derive(Default)]
pub(super) struct Texts {
    patterns: HashMap<String, Option<Arc<Pattern>>>,
    formats: HashMap<String, Option<Arc<Format>>>,
}

impl Texts {
    /// `None` if the pattern cannot be used.
    pub fn pattern(&mut self, source: &str) -> Option<Arc<Pattern>> {
        if let Some(known) = self.patterns.get(source) {
            return known.clone();
        }
        let pattern = Pattern::compile(source).map(Arc::new);
        self.patterns.insert(source.to_owned(), pattern.clone());
        pattern
    }

    /// `None` for a format that is an annotation only.
    pub fn format(&mut self, name: &str) -> Option<Arc<Format>> {
        if let Some(known) = self.formats.get(name) {
            return known.clone();
        }
        let format = Format::compile(name).map(Arc::new);
        self.formats.insert(name.to_owned(), format.clone());
        format
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_ecmascript() {
        for (pattern, text, expected) in [
            ("^[A-Z]{3}$", "EUR", true),
            ("^[A-Z]{3}$", "EURO", false),
            ("b", "abc", true),
            (r"^\d+$", "१२", false),
            (r"^(?!0)\d+$", "10", true),
            (r"^(?!0)\d+$", "01", false),
            (r"^(a)\1$", "aa", true),
            (r"^\p{L}+$", "é", true),
            ("^.$", "\n", false),
        ] {
            assert_eq!(Pattern::compile(pattern).unwrap().matches(&text.into()), expected, "{pattern} {text:?}");
        }
        for pattern in ["(", "[z-a]", "*", "a{2,1}"] {
            assert!(Pattern::compile(pattern).is_none(), "{pattern}");
        }
    }

    #[test]
    fn a_pattern_that_explodes_ends_as_a_refusal() {
        let pattern = Pattern::compile(r"^(?=(a+)+$)\1b").unwrap();
        let started = std::time::Instant::now();
        assert!(!pattern.matches(&Value::String(format!("{}!", "a".repeat(5000)))));
        assert!(started.elapsed() < std::time::Duration::from_secs(5));
    }

    #[test]
    fn formats_are_asserted() {
        for (format, value, expected) in [
            ("date", "2024-02-29".into(), true),
            ("date", "2023-02-29".into(), false),
            ("date-time", "2017-04-05T10:43:07+00:00".into(), true),
            ("date-time", "2017-04-05 10:43".into(), false),
            ("uuid", "8e03978e-40d5-43e8-bc93-6894a57f9324".into(), true),
            ("uuid", "8e03978e".into(), false),
            ("email", "a@b.example".into(), true),
            ("uri", "https://a.example/b".into(), true),
            ("uri", "a b".into(), false),
            ("ipv4", "256.1.1.1".into(), false),
            ("int32", 2_147_483_648_i64.into(), false),
            ("int32", 2_147_483_647.into(), true),
            ("int64", u64::MAX.into(), false),
            ("int64", Value::from(1e30), false),
            ("date", 5.into(), true),
        ] {
            assert_eq!(Format::compile(format).unwrap().matches(Instance::of(&value)), expected, "{format} {value}");
        }
        assert!(Format::compile("password").is_none());
    }
}
