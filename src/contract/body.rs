//! Bodies: parsed once, strictly, then checked against the content that the document describes.

use serde_json::{Map, Value};

use super::check::{error, errors};
use super::coerce::{Tree, split_name};
use super::compile::Compiler;
use super::exact::{Instance, Json};
use super::issue::IssueCause;
use super::json;
use super::media::{MediaType, Syntax};
use super::query::{Plus, decode, pairs};
use super::schema::{Direction, NodeId, Schemas};
use super::spec::MediaTypeSpec;
use crate::problem::FieldError;

/// A body as far as we understand it.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// No content at all: zero bytes.
    Absent,
    Json(Json),
    /// Fields of `application/x-www-form-urlencoded`: an object of strings, or arrays of strings where a name repeats.
    Form(Value),
    /// Multipart, XML, text, bytes: passed on without a check of its content.
    Opaque,
}

/// Why a body is not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyRefusal {
    /// The content type is missing or not described (415); `accepted` lists what is.
    MediaType { accepted: Vec<String> },
    /// The content breaks its schema (400).
    Invalid(Vec<FieldError>),
}

/// Parses a body by its content type: JSON strictly (UTF-8, no name twice, at most 64 levels), forms, or not at all.
pub fn parse_body(content_type: Option<&str>, bytes: &[u8]) -> Result<Body, FieldError> {
    if bytes.is_empty() {
        return Ok(Body::Absent);
    }
    let Some(media_type) = content_type.and_then(MediaType::parse) else { return Ok(Body::Opaque) };
    match media_type.syntax() {
        Syntax::Opaque => Ok(Body::Opaque),
        Syntax::Json | Syntax::Form if !media_type.is_utf8() => {
            Err(error(String::new(), "must be UTF-8, so the content type must not name another charset"))
        }
        Syntax::Json => json::parse(bytes).map(Body::Json),
        Syntax::Form => form(bytes).map(Body::Form).map_err(|detail| error(String::new(), detail)),
    }
}

fn form(bytes: &[u8]) -> Result<Value, &'static str> {
    let text = std::str::from_utf8(bytes).map_err(|_| "is not UTF-8")?;
    let mut fields = Map::new();
    for pair in pairs(text)? {
        let value = decode(pair.raw(), Plus::Space).ok_or("has a value that is not percent-encoded UTF-8")?;
        let value = Value::String(value.into_owned());
        match fields.get_mut(&*pair.name) {
            None => {
                fields.insert(pair.name.into_owned(), value);
            }
            Some(Value::Array(values)) => values.push(value),
            Some(first) => *first = Value::Array(vec![first.take(), value]),
        }
    }
    Ok(Value::Object(fields))
}

/// One described content.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Media {
    range: MediaType,
    text: Box<str>,
    pub node: Option<NodeId>,
}

impl Media {
    pub fn compile(specs: &[MediaTypeSpec], at: &str, compiler: &mut Compiler<'_>) -> Box<[Self]> {
        let mut content = Vec::new();
        for spec in specs {
            match MediaType::parse(&spec.media_type) {
                Some(range) => {
                    let node = spec.schema.as_ref().map(|pointer| compiler.root(&pointer.0));
                    content.push(Self { range, text: spec.media_type.as_str().into(), node });
                }
                None => compiler.report(at, IssueCause::MediaType(spec.media_type.clone())),
            }
        }
        content.into()
    }
}

/// The described content that a content type is closest to.
pub(super) fn closest<'m>(content: &'m [Media], content_type: Option<&str>) -> Option<&'m Media> {
    let actual = content_type.and_then(MediaType::parse)?;
    let ranked = content.iter().filter_map(|media| media.range.describes(&actual).map(|rank| (rank, media)));
    ranked.max_by_key(|(rank, _)| *rank).map(|(_, media)| media)
}

/// The described media types, for the caller to choose from.
pub(super) fn listed(content: &[Media]) -> Vec<String> {
    content.iter().map(|media| media.text.to_string()).collect()
}

/// What is wrong with a body of this content.
pub(super) fn check(media: &Media, body: &Body, schemas: &Schemas, direction: Direction) -> Vec<FieldError> {
    let Some(node) = media.node else { return Vec::new() };
    match body {
        Body::Json(json) => errors(schemas, direction, node, json.instance(), ""),
        Body::Form(fields) => match typed_form(fields, schemas, node) {
            Some(form) => errors(schemas, direction, node, Instance::of(&form), ""),
            None => vec![error(String::new(), "has a name that is written both plainly and in brackets")],
        },
        Body::Absent | Body::Opaque => Vec::new(),
    }
}

/// Form fields under the types that the schema wants; `a[b]=c` is a member of `a` unless the schema knows the name as
/// it is written. Nothing where readers would differ.
fn typed_form(fields: &Value, schemas: &Schemas, node: NodeId) -> Option<Value> {
    let mut tree = Tree::default();
    for (name, value) in fields.as_object().into_iter().flatten() {
        let (known, _) = schemas.member_names(node);
        let literal = known.iter().any(|own| **own == **name);
        let path = if literal { vec![name.as_str()] } else { split_name(name) };
        let texts = value.as_array().map_or_else(|| std::slice::from_ref(value), Vec::as_slice);
        for text in texts.iter().filter_map(Value::as_str) {
            tree.add(&path, text.to_owned());
        }
    }
    (!tree.is_torn()).then(|| tree.object(schemas, node))
}
