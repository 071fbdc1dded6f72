//! Path templates of OpenAPI documents, parsed into segments.

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use super::path::{CanonicalPath, PathError, split_segment};
use super::pattern::Pattern;

/// Most segments of one template.
pub const SEGMENTS_MAX: usize = 64;

/// What a document may write plainly in a literal although it travels encoded.
const ENCODED_IN_TRANSIT: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'[').add(b']').add(b'^').add(b'`').add(b'|');

/// Why a path template cannot be routed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    #[error("a template starts with `/`")]
    NotAbsolute,
    #[error("a template has no query and no fragment")]
    Query,
    #[error("a template has at most {SEGMENTS_MAX} segments")]
    TooManySegments,
    #[error("`{{` and `}}` do not pair up within one segment")]
    Braces,
    #[error(
        "the parameter name {0:?} is not usable: it is empty, or has a `*`, `+` or `?`, which OpenAPI gives no meaning"
    )]
    Name(Box<str>),
    #[error("the parameter {0:?} occurs twice")]
    NameTwice(Box<str>),
    #[error("two parameters meet without text between them: where one ends is undecidable")]
    Adjacent,
    #[error("no request can ever match it: {0}")]
    Unreachable(PathError),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Segment {
    /// Percent-decoded.
    Literal(Box<str>),
    Affixed(Pattern),
    Parameter,
}

#[derive(Debug, Clone)]
pub(super) struct Template {
    pub segments: Vec<Segment>,
    /// Parameter names from left to right.
    pub names: Box<[Box<str>]>,
}

impl Template {
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut rest = text.strip_prefix('/').ok_or(TemplateError::NotAbsolute)?;
        let (mut segments, mut names) = (Vec::new(), Vec::new());
        let mut sample = String::with_capacity(text.len());
        loop {
            let (segment, tail) = split_segment(rest);
            sample.push('/');
            segments.push(parse_segment(segment, &mut names, &mut sample)?);
            if segments.len() > SEGMENTS_MAX {
                return Err(TemplateError::TooManySegments);
            }
            let Some(tail) = tail else { break };
            rest = tail;
        }
        // A template that only a refused path could match would be documented and never served.
        CanonicalPath::parse(&sample).map_err(TemplateError::Unreachable)?;
        Ok(Self { segments, names: names.into() })
    }
}

/// Appends to `sample` a text that the segment matches.
fn parse_segment(text: &str, names: &mut Vec<Box<str>>, sample: &mut String) -> Result<Segment, TemplateError> {
    let mut literals: Vec<Box<str>> = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, tail) = after.split_once('}').ok_or(TemplateError::Braces)?;
        if before.is_empty() && !literals.is_empty() {
            return Err(TemplateError::Adjacent);
        }
        literals.push(literal(before, sample)?);
        sample.push('x');
        names.push(parameter_name(name, names)?);
        rest = tail;
    }
    literals.push(literal(rest, sample)?);
    Ok(match literals.as_slice() {
        [only] => Segment::Literal(only.clone()),
        [before, after] if before.is_empty() && after.is_empty() => Segment::Parameter,
        _ => Segment::Affixed(Pattern { literals: literals.into() }),
    })
}

fn literal(text: &str, sample: &mut String) -> Result<Box<str>, TemplateError> {
    if text.contains(['{', '}']) {
        return Err(TemplateError::Braces);
    }
    if text.contains(['?', '#']) {
        return Err(TemplateError::Query);
    }
    sample.extend(utf8_percent_encode(text, ENCODED_IN_TRANSIT));
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(|text| text.into()).map_err(|_| TemplateError::Unreachable(PathError::NotUtf8))
}

fn parameter_name(name: &str, taken: &[Box<str>]) -> Result<Box<str>, TemplateError> {
    if name.is_empty() || name.contains(['*', '+', '?', '{']) {
        return Err(TemplateError::Name(name.into()));
    }
    if taken.iter().any(|other| **other == *name) {
        return Err(TemplateError::NameTwice(name.into()));
    }
    Ok(name.into())
}
