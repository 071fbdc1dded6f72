//! Parameters in path, query, header and cookie: how each is written (OpenAPI 3.1.1 §4.8.12) and whether it keeps to
//! its schema.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, header};
use serde_json::Value;

use super::check::{accepts, error, errors};
use super::coerce::{Tree, items, scalar, split_name};
use super::compile::Compiler;
use super::exact::{Instance, Json};
use super::issue::IssueCause;
use super::json;
use super::media::{MediaType, Syntax};
use super::query::{Pair, Plus, decode};
use super::schema::{Direction, NodeId, Schemas, Types};
use super::spec::{ParameterPlace, ParameterSpec, Style};
use crate::problem::FieldError;

/// A compiled parameter.
#[derive(Debug)]
pub(super) struct Parameter {
    pub name: Box<str>,
    pub place: ParameterPlace,
    header: Option<HeaderName>,
    required: bool,
    style: Style,
    explode: bool,
    /// `#query/page-size`
    root: Box<str>,
    reading: Reading,
    /// Member names of an object whose members are parameters of their own.
    members: Box<[Box<str>]>,
    /// Such an object that takes members of any name.
    open: bool,
}

/// What the text is read as before it is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// Only its presence is checked.
    Unchecked,
    Json(NodeId),
    Scalar(NodeId),
    Array(NodeId),
    Object(NodeId),
    ScalarOrArray(NodeId),
}

const NOT_DECODABLE: &str = "is not percent-encoded UTF-8";
const REPEATED: &str = "must occur only once";

/// Everything of a request that parameters are taken from.
pub(super) struct Sources<'a> {
    pub captures: &'a [(&'a str, &'a str)],
    pub query: &'a [Pair<'a>],
    pub headers: &'a HeaderMap,
    pub cookies: &'a [Pair<'a>],
}

/// Fields that OpenAPI describes elsewhere: a parameter of such a name is ignored (OAM-29).
pub(super) fn is_ignored(spec: &ParameterSpec) -> bool {
    let ignored = ["accept", "content-type", "authorization"];
    spec.place == ParameterPlace::Header && ignored.iter().any(|name| spec.name.eq_ignore_ascii_case(name))
}

impl Parameter {
    /// Reports what cannot be checked.
    pub fn report(spec: &ParameterSpec, at: &str, compiler: &mut Compiler<'_>) {
        if spec.place == ParameterPlace::Header && spec.name.parse::<HeaderName>().is_err() {
            compiler.report(at, IssueCause::HeaderName(spec.name.clone()));
        }
        match &spec.media_type {
            Some(text) if !is_json(text) => {
                compiler.report(at, IssueCause::ParameterMediaType(text.clone()));
            }
            None if !style_fits(spec) => {
                let (place, style) = (spec.place.as_str(), style_name(spec.style));
                compiler.report(at, IssueCause::Style { place, style });
            }
            _ => {}
        }
    }

    pub fn new(spec: &ParameterSpec, node: Option<NodeId>, schemas: &Schemas) -> Self {
        let reading = match (node, &spec.media_type) {
            (None, _) => Reading::Unchecked,
            (Some(node), Some(text)) if is_json(text) => Reading::Json(node),
            (Some(_), Some(_)) => Reading::Unchecked,
            (Some(_), None) if !style_fits(spec) => Reading::Unchecked,
            (Some(node), None) => read_as(schemas.types(node), node),
        };
        let (members, open) = match reading {
            Reading::Object(node) if spec.place == ParameterPlace::Query && is_spread(spec) => {
                schemas.member_names(node)
            }
            _ => (Vec::new(), false),
        };
        Self {
            name: spec.name.as_str().into(),
            place: spec.place,
            header: if spec.place == ParameterPlace::Header { spec.name.parse().ok() } else { None },
            required: spec.required || spec.place == ParameterPlace::Path,
            style: spec.style,
            explode: spec.explode,
            root: format!("#{}/{}", spec.place.as_str(), spec.name).into(),
            reading,
            members: members.into(),
            open,
        }
    }

    pub fn check(&self, sources: &Sources<'_>, schemas: &Schemas, found: &mut Vec<FieldError>) {
        if let (Style::DeepObject, Reading::Object(node)) = (self.style, self.reading) {
            return self.check_tree(self.deep_tree(sources), node, schemas, found);
        }
        if let (true, Reading::Object(node)) = (self.is_spread(), self.reading) {
            return self.check_tree(self.spread_tree(sources), node, schemas, found);
        }
        let Ok(raw) = self.raw(sources) else {
            found.push(self.error("is not text"));
            return;
        };
        if raw.is_empty() {
            return self.check_missing(found);
        }
        let mut wrong = self.check_raw(&raw, Plus::Space, schemas);
        if !wrong.is_empty() && self.place == ParameterPlace::Query && raw.iter().any(|text| text.contains('+')) {
            // `+` is a space in forms and itself in RFC 3986. `12:00+01:00` is often sent unescaped and understood, so
            // a value is refused only if neither reading is right.
            if self.check_raw(&raw, Plus::Itself, schemas).is_empty() {
                wrong.clear();
            }
        }
        found.extend(wrong);
    }

    /// Whether the members of the object are query parameters of their own.
    const fn is_spread(&self) -> bool {
        !self.members.is_empty() || self.open
    }

    /// Whether a query name belongs to this parameter.
    pub fn declares(&self, name: &str) -> bool {
        if self.place != ParameterPlace::Query {
            return false;
        }
        let deep =
            self.style == Style::DeepObject && name.strip_prefix(&*self.name).is_some_and(|rest| rest.starts_with('['));
        *self.name == *name || deep || self.open || self.members.iter().any(|member| **member == *name)
    }

    fn error(&self, detail: &str) -> FieldError {
        error(self.root.to_string(), detail)
    }

    fn check_missing(&self, found: &mut Vec<FieldError>) {
        if self.required {
            found.push(self.error("is missing"));
        }
    }

    /// The raw values under the parameter's name; `Err` for a header value that is not text.
    fn raw<'a>(&self, sources: &Sources<'a>) -> Result<Vec<&'a str>, ()> {
        let named =
            |pairs: &'a [Pair<'a>]| pairs.iter().filter(|pair| *pair.name == *self.name).map(Pair::raw).collect();
        match self.place {
            ParameterPlace::Path => {
                let own = sources.captures.iter().filter(|(name, _)| *name == &*self.name);
                Ok(own.map(|(_, value)| *value).collect())
            }
            ParameterPlace::Query => Ok(named(sources.query)),
            ParameterPlace::Cookie => Ok(named(sources.cookies)),
            ParameterPlace::Header => {
                let Some(name) = &self.header else { return Ok(Vec::new()) };
                let values = sources.headers.get_all(name).iter();
                values.map(|value| std::str::from_utf8(value.as_bytes()).map(str::trim).map_err(drop)).collect()
            }
        }
    }

    fn check_raw(&self, raw: &[&str], plus: Plus, schemas: &Schemas) -> Vec<FieldError> {
        let (node, value) = match self.reading {
            Reading::Unchecked => return Vec::new(),
            Reading::Json(node) => {
                return match self.json(raw, plus) {
                    Ok(json) => errors(schemas, Direction::Request, node, json.instance(), &self.root),
                    Err(wrong) => vec![wrong],
                };
            }
            Reading::Scalar(node) => (node, self.scalar(raw, plus, node, schemas).map_err(|detail| self.error(detail))),
            Reading::Array(node) => (node, self.array(raw, plus, node, schemas).map_err(|detail| self.error(detail))),
            Reading::Object(node) => (node, self.object(raw, plus, node, schemas).map_err(|detail| self.error(detail))),
            Reading::ScalarOrArray(node) => {
                let one = self.scalar(raw, plus, node, schemas);
                let one = one.ok().filter(|value| accepts(schemas, Direction::Request, node, value));
                let value = one.map_or_else(|| self.array(raw, plus, node, schemas), Ok);
                (node, value.map_err(|detail| self.error(detail)))
            }
        };
        match value {
            Ok(value) => errors(schemas, Direction::Request, node, Instance::of(&value), &self.root),
            Err(wrong) => vec![wrong],
        }
    }

    fn decode<'a>(&self, raw: &'a str, plus: Plus) -> Result<Cow<'a, str>, &'static str> {
        match self.place {
            ParameterPlace::Header => Ok(Cow::Borrowed(raw.trim())), // Header values are not percent-encoded.
            ParameterPlace::Query => decode(raw, plus).ok_or(NOT_DECODABLE),
            ParameterPlace::Path | ParameterPlace::Cookie => decode(raw, Plus::Itself).ok_or(NOT_DECODABLE),
        }
    }

    fn json(&self, raw: &[&str], plus: Plus) -> Result<Json, FieldError> {
        let [only] = raw else { return Err(self.error(REPEATED)) };
        let text = self.decode(only, plus).map_err(|detail| self.error(detail))?;
        json::parse(text.as_bytes()).map_err(|fault| error(format!("{}{}", self.root, fault.pointer), fault.detail))
    }

    fn scalar(&self, raw: &[&str], plus: Plus, node: NodeId, schemas: &Schemas) -> Result<Value, &'static str> {
        let [only] = raw else { return Err(REPEATED) };
        let text = match self.style {
            Style::Label => only.strip_prefix('.').ok_or("must start with a dot")?,
            Style::Matrix => self.matrix_value(only)?,
            _ => only,
        };
        let text = self.decode(text, plus)?;
        Ok(scalar(schemas, node, &text))
    }

    fn matrix_value<'a>(&self, raw: &'a str) -> Result<&'a str, &'static str> {
        let value = raw.strip_prefix(';').and_then(|rest| rest.strip_prefix(&*self.name));
        let value = value.map(|rest| rest.strip_prefix('=').unwrap_or(rest));
        value.ok_or("must be written as `;name=value`")
    }

    fn array(&self, raw: &[&str], plus: Plus, node: NodeId, schemas: &Schemas) -> Result<Value, &'static str> {
        let parts = self.parts(raw)?;
        let texts: Result<Vec<Cow<'_, str>>, _> = parts.iter().map(|part| self.decode(part, plus)).collect();
        Ok(items(schemas, node, texts?.iter().map(|text| &**text)))
    }

    fn object(&self, raw: &[&str], plus: Plus, node: NodeId, schemas: &Schemas) -> Result<Value, &'static str> {
        let parts = self.parts(raw)?;
        let mut tree = Tree::default();
        let mut add = |name: &str, value: &str| -> Result<(), &'static str> {
            let (name, value) = (self.decode(name, plus)?, self.decode(value, plus)?);
            tree.add(&[&name], value.into_owned());
            Ok(())
        };
        if self.explode {
            for part in parts {
                let (name, value) = part.split_once('=').ok_or("must consist of name=value pairs")?;
                add(name, value)?;
            }
        } else {
            for pair in parts.chunks(2) {
                let [name, value] = pair else { return Err("must list names and values in turn") };
                add(name, value)?;
            }
        }
        Ok(tree.object(schemas, node))
    }

    /// The items of an array, or the names and values of an object, still encoded.
    fn parts<'a>(&self, raw: &[&'a str]) -> Result<Vec<&'a str>, &'static str> {
        if self.style == Style::Form
            && self.explode
            && matches!(self.reading, Reading::Array(_) | Reading::ScalarOrArray(_))
        {
            return Ok(raw.to_vec());
        }
        if self.explode && matches!(self.style, Style::SpaceDelimited | Style::PipeDelimited) {
            return Ok(raw.to_vec()); // OpenAPI gives it no meaning; the usual one is that of `form`.
        }
        if self.place == ParameterPlace::Header {
            // RFC 9110 §5.3: several fields of one name are one list.
            return Ok(raw
                .iter()
                .flat_map(|line| line.split(','))
                .map(str::trim)
                .filter(|part| !part.is_empty())
                .collect());
        }
        let [only] = raw else { return Err(REPEATED) };
        let (text, separators): (&str, &[&str]) = match (self.style, self.explode) {
            (Style::Label, true) => (only.strip_prefix('.').ok_or("must start with a dot")?, &["."]),
            (Style::Label, false) => (only.strip_prefix('.').ok_or("must start with a dot")?, &[","]),
            (Style::Matrix, true) => (only.strip_prefix(';').ok_or("must start with a semicolon")?, &[";"]),
            (Style::Matrix, false) => (self.matrix_value(only)?, &[","]),
            (Style::SpaceDelimited, _) => (only, &["%20", "+", " "]),
            (Style::PipeDelimited, _) => (only, &["|", "%7C", "%7c"]),
            (Style::Simple | Style::Form | Style::DeepObject, _) => (only, &[",", "%2C", "%2c"]),
        };
        if text.is_empty() {
            return Ok(Vec::new());
        }
        // Separators may travel encoded; one spelling separates, and in its presence the others are data.
        let separator = separators.iter().find(|separator| text.contains(**separator));
        let parts: Vec<&str> = separator.map_or_else(|| vec![text], |separator| text.split(separator).collect());
        if self.style == Style::Matrix && self.explode && matches!(self.reading, Reading::Array(_)) {
            let strip = |part: &'a str| part.strip_prefix(&*self.name)?.strip_prefix('=');
            return parts
                .into_iter()
                .map(strip)
                .collect::<Option<_>>()
                .ok_or("must be written as `;name=value;name=value`");
        }
        Ok(parts)
    }

    /// `filter[from]=…&filter[to]=…`
    fn deep_tree(&self, sources: &Sources<'_>) -> Result<Tree, FieldError> {
        let mut tree = Tree::default();
        for pair in sources.query.iter().filter(|pair| self.declares(&pair.name)) {
            let path = split_name(&pair.name);
            let Some((_, path)) = path.split_first().filter(|(_, rest)| !rest.is_empty()) else {
                return Err(self.error("must be written as name[member]=value"));
            };
            let text = self.decode(pair.raw(), Plus::Space).map_err(|detail| self.error(detail))?;
            tree.add(path, text.into_owned());
        }
        Ok(tree)
    }

    /// An exploded object: each member is a parameter of its own name.
    fn spread_tree(&self, sources: &Sources<'_>) -> Result<Tree, FieldError> {
        let mut tree = Tree::default();
        let own = |name: &str| self.members.iter().any(|member| **member == *name);
        for pair in sources.query.iter().filter(|pair| own(&pair.name)) {
            let text = self.decode(pair.raw(), Plus::Space).map_err(|detail| self.error(detail))?;
            tree.add(&[&pair.name], text.into_owned());
        }
        Ok(tree)
    }

    fn check_tree(&self, tree: Result<Tree, FieldError>, node: NodeId, schemas: &Schemas, found: &mut Vec<FieldError>) {
        match tree {
            Err(wrong) => found.push(wrong),
            Ok(tree) if tree.is_empty() => self.check_missing(found),
            Ok(tree) if tree.is_torn() => {
                found.push(self.error("has a name that is written both plainly and in brackets"))
            }
            Ok(tree) => {
                let value = tree.object(schemas, node);
                found.extend(errors(schemas, Direction::Request, node, Instance::of(&value), &self.root));
            }
        }
    }
}

fn is_json(media_type: &str) -> bool {
    MediaType::parse(media_type).is_some_and(|media_type| media_type.syntax() == Syntax::Json)
}

fn read_as(types: Types, node: NodeId) -> Reading {
    if types == Types::ALL {
        return Reading::Scalar(node);
    }
    let scalar = types.meets(Types::STRING.union(Types::NUMBER).union(Types::BOOLEAN));
    match (types.meets(Types::ARRAY), types.meets(Types::OBJECT), scalar) {
        (true, _, true) => Reading::ScalarOrArray(node),
        (true, _, false) => Reading::Array(node),
        (false, true, false) => Reading::Object(node),
        (false, _, _) => Reading::Scalar(node),
    }
}

const fn is_spread(spec: &ParameterSpec) -> bool {
    spec.explode && matches!(spec.style, Style::Form | Style::SpaceDelimited | Style::PipeDelimited)
}

/// OpenAPI 3.1.1 §4.8.12.3: which styles go with which place.
const fn style_fits(spec: &ParameterSpec) -> bool {
    match spec.place {
        ParameterPlace::Path => matches!(spec.style, Style::Simple | Style::Label | Style::Matrix),
        ParameterPlace::Query => {
            matches!(spec.style, Style::Form | Style::SpaceDelimited | Style::PipeDelimited | Style::DeepObject)
        }
        ParameterPlace::Header => matches!(spec.style, Style::Simple),
        ParameterPlace::Cookie => matches!(spec.style, Style::Form),
    }
}

const fn style_name(style: Style) -> &'static str {
    match style {
        Style::Simple => "simple",
        Style::Label => "label",
        Style::Matrix => "matrix",
        Style::Form => "form",
        Style::SpaceDelimited => "spaceDelimited",
        Style::PipeDelimited => "pipeDelimited",
        Style::DeepObject => "deepObject",
    }
}

/// Text values of the `Cookie` fields.
pub(super) fn cookie_fields(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok())
}
