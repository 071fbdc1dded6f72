//! Which object of the OpenAPI grammar stands where. Every pass over a document goes by this map, so that an example
//! that happens to contain `$ref`, or a property named `nullable`, is never taken for what it is not.

use serde_json::{Map, Value};

use super::pointer;

/// The form a document has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Swagger2,
    V30,
    V31,
}

/// An object of the grammar (OpenAPI 3.1.1 §4.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Document,
    Info,
    Contact,
    Licence,
    Server,
    ServerVariable,
    Components,
    PathItem,
    Operation,
    ExternalDocs,
    Parameter,
    RequestBody,
    MediaType,
    Encoding,
    Response,
    Callback,
    Example,
    Link,
    Header,
    Tag,
    Schema,
    Discriminator,
    Xml,
    SecurityScheme,
    OauthFlows,
    OauthFlow,
    SecurityRequirement,
    /// Data: not looked into.
    Opaque,
}

impl Kind {
    /// Whether a Reference Object (or for schemas the keyword `$ref`) may stand in its place (OAM-16).
    pub const fn is_referable(self) -> bool {
        self.section().is_some()
    }

    /// Its place below `components`.
    pub const fn section(self) -> Option<&'static str> {
        Some(match self {
            Self::Schema => "schemas",
            Self::Response => "responses",
            Self::Parameter => "parameters",
            Self::Example => "examples",
            Self::RequestBody => "requestBodies",
            Self::Header => "headers",
            Self::SecurityScheme => "securitySchemes",
            Self::Link => "links",
            Self::Callback => "callbacks",
            Self::PathItem => "pathItems",
            _ => return None,
        })
    }

    /// The kind whose components stand in a section.
    pub fn of_section(section: &str) -> Option<Self> {
        SECTIONS.iter().find(|(name, _)| *name == section).map(|(_, kind)| *kind)
    }
}

/// The sections of `components`.
pub const SECTIONS: [(&str, Kind); 10] = [
    ("schemas", Kind::Schema),
    ("responses", Kind::Response),
    ("parameters", Kind::Parameter),
    ("examples", Kind::Example),
    ("requestBodies", Kind::RequestBody),
    ("headers", Kind::Header),
    ("securitySchemes", Kind::SecurityScheme),
    ("links", Kind::Link),
    ("callbacks", Kind::Callback),
    ("pathItems", Kind::PathItem),
];

/// The methods a Path Item can have, in the order in which they are published.
pub const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/// What a member of an object holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    One(Kind),
    /// An object whose members all are of this kind.
    Map(Kind),
    List(Kind),
}

const OPAQUE: Shape = Shape::One(Kind::Opaque);

/// What the member `key` of an object of this kind holds.
pub fn member(dialect: Dialect, kind: Kind, key: &str) -> Shape {
    use Kind as K;
    use Shape::{List, Map, One};
    match (kind, key) {
        (K::Document, "paths" | "webhooks") => Map(K::PathItem),
        (K::Document | K::Operation, "security") => List(K::SecurityRequirement),
        (K::Document, "info") => One(K::Info),
        (K::Document, "tags") => List(K::Tag),
        (K::Document, "components") => One(K::Components),
        (K::Document | K::PathItem | K::Operation, "servers") => List(K::Server),
        (K::Document, _) if dialect == Dialect::Swagger2 => swagger2_section(key),
        (K::Components, _) => K::of_section(key).map_or(OPAQUE, Map),
        (K::Info, "contact") => One(K::Contact),
        (K::Info, "license") => One(K::Licence),
        (K::Server, "variables") => Map(K::ServerVariable),
        (K::PathItem | K::Operation, "parameters") => List(K::Parameter),
        (K::PathItem, _) if METHODS.contains(&key) => One(K::Operation),
        (K::Operation, "requestBody") => One(K::RequestBody),
        (K::Operation, "responses") => Map(K::Response),
        (K::Operation, "callbacks") => Map(K::Callback),
        (K::Callback, _) => One(K::PathItem),
        (K::Parameter | K::Header | K::MediaType, "schema") => One(K::Schema),
        (K::Parameter | K::Header, "items") if dialect == Dialect::Swagger2 => One(K::Schema),
        (K::Response, "schema") if dialect == Dialect::Swagger2 => One(K::Schema),
        (K::Response, "examples") if dialect == Dialect::Swagger2 => OPAQUE,
        (K::Parameter | K::Header | K::MediaType, "examples") => Map(K::Example),
        (K::Parameter | K::Header | K::RequestBody | K::Response, "content") => Map(K::MediaType),
        (K::MediaType, "encoding") => Map(K::Encoding),
        (K::Encoding | K::Response, "headers") => Map(K::Header),
        (K::Response, "links") => Map(K::Link),
        (K::Link, "server") => One(K::Server),
        (K::Document | K::Operation | K::Tag | K::Schema, "externalDocs") => One(K::ExternalDocs),
        (K::Schema, _) => schema_member(key),
        (K::SecurityScheme, "flows") => One(K::OauthFlows),
        (K::OauthFlows, _) => One(K::OauthFlow),
        _ => OPAQUE,
    }
}

fn swagger2_section(key: &str) -> Shape {
    match key {
        "definitions" => Shape::Map(Kind::Schema),
        "parameters" => Shape::Map(Kind::Parameter),
        "responses" => Shape::Map(Kind::Response),
        "securityDefinitions" => Shape::Map(Kind::SecurityScheme),
        "externalDocs" => Shape::One(Kind::ExternalDocs),
        _ => OPAQUE,
    }
}

/// The keywords of JSON Schema 2020-12 (and the older ones that documents still use) that hold schemas.
fn schema_member(key: &str) -> Shape {
    match key {
        "properties" | "patternProperties" | "$defs" | "definitions" | "dependentSchemas" => Shape::Map(Kind::Schema),
        "items"
        | "additionalProperties"
        | "unevaluatedProperties"
        | "unevaluatedItems"
        | "contains"
        | "propertyNames"
        | "not"
        | "if"
        | "then"
        | "else"
        | "contentSchema"
        | "additionalItems" => Shape::One(Kind::Schema),
        "allOf" | "anyOf" | "oneOf" | "prefixItems" => Shape::List(Kind::Schema),
        "discriminator" => Shape::One(Kind::Discriminator),
        "xml" => Shape::One(Kind::Xml),
        _ => OPAQUE,
    }
}

/// Whether a member of a map of this kind is an extension rather than an entry. Only the objects that the
/// specification calls extensible are meant: a header or a property may well be named `x-request-id`.
pub fn is_extension(parent: Kind, container: &str, key: &str) -> bool {
    key.starts_with("x-")
        && match parent {
            Kind::Document => container == "paths",
            Kind::Operation => container == "responses",
            Kind::Callback | Kind::OauthFlows => true,
            _ => false,
        }
}

/// Visits an object and then what it holds. `at` is the JSON Pointer of the object.
pub type VisitMut<'v> = &'v mut dyn FnMut(&mut Map<String, Value>, Kind, &str);

/// Visits every object of the grammar below `value`, parents before children.
pub fn walk_mut(dialect: Dialect, value: &mut Value, kind: Kind, at: &mut String, visit: VisitMut<'_>) {
    if kind == Kind::Opaque {
        return;
    }
    if let Value::Array(items) = value {
        // `items: [ … ]` of older drafts is the one place where a list may stand for a single schema.
        for (index, item) in items.iter_mut().enumerate().filter(|_| kind == Kind::Schema) {
            pointer::with(at, &index.to_string(), |at| walk_mut(dialect, item, kind, at, visit));
        }
        return;
    }
    let Value::Object(object) = value else { return };
    visit(object, kind, at);
    for (key, inner) in object.iter_mut() {
        if kind == Kind::Callback && key.starts_with("x-") {
            continue;
        }
        pointer::with(at, key, |at| walk_member_mut(dialect, kind, key, inner, at, visit));
    }
}

fn walk_member_mut(dialect: Dialect, kind: Kind, key: &str, inner: &mut Value, at: &mut String, visit: VisitMut<'_>) {
    match (member(dialect, kind, key), inner) {
        (Shape::One(of), inner) => walk_mut(dialect, inner, of, at, visit),
        (Shape::Map(of), Value::Object(entries)) => {
            for (name, entry) in entries.iter_mut().filter(|(name, _)| !is_extension(kind, key, name)) {
                pointer::with(at, name, |at| walk_mut(dialect, entry, of, at, visit));
            }
        }
        (Shape::List(of), Value::Array(items)) => {
            for (index, item) in items.iter_mut().enumerate() {
                pointer::with(at, &index.to_string(), |at| walk_mut(dialect, item, of, at, visit));
            }
        }
        _ => {}
    }
}

/// Looks at an object before what it holds.
pub type Visit<'v> = &'v mut dyn FnMut(&Map<String, Value>, Kind, &str);

/// The same without changing anything.
pub fn walk(dialect: Dialect, value: &Value, kind: Kind, at: &mut String, visit: Visit<'_>) {
    if kind == Kind::Opaque {
        return;
    }
    if let Value::Array(items) = value {
        for (index, item) in items.iter().enumerate().filter(|_| kind == Kind::Schema) {
            pointer::with(at, &index.to_string(), |at| walk(dialect, item, kind, at, visit));
        }
        return;
    }
    let Value::Object(object) = value else { return };
    visit(object, kind, at);
    for (key, inner) in object {
        if kind == Kind::Callback && key.starts_with("x-") {
            continue;
        }
        pointer::with(at, key, |at| match (member(dialect, kind, key), inner) {
            (Shape::One(of), inner) => walk(dialect, inner, of, at, visit),
            (Shape::Map(of), Value::Object(entries)) => {
                for (name, entry) in entries.iter().filter(|(name, _)| !is_extension(kind, key, name)) {
                    pointer::with(at, name, |at| walk(dialect, entry, of, at, visit));
                }
            }
            (Shape::List(of), Value::Array(items)) => {
                for (index, item) in items.iter().enumerate() {
                    pointer::with(at, &index.to_string(), |at| walk(dialect, item, of, at, visit));
                }
            }
            _ => {}
        });
    }
}

/// The kind of object that the grammar puts at a pointer.
pub fn kind_at(dialect: Dialect, place: &str) -> Option<Kind> {
    let mut shape = Shape::One(Kind::Document);
    for token in pointer::tokens(place) {
        shape = match shape {
            Shape::One(Kind::Opaque) => return None,
            Shape::One(kind) => member(dialect, kind, &token),
            Shape::Map(kind) | Shape::List(kind) => Shape::One(kind),
        };
    }
    match shape {
        Shape::One(Kind::Opaque) | Shape::Map(_) | Shape::List(_) => None,
        Shape::One(kind) => Some(kind),
    }
}

/// The text of `$ref`, if the object is a reference.
pub fn reference(object: &Map<String, Value>) -> Option<&str> {
    object.get("$ref").and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn data_is_not_looked_into_and_names_are_not_keywords() {
        let document = json!({
            "paths": {"x-ext": {"get": {}}, "/a": {"get": {
                "parameters": [{"schema": {"properties": {"nullable": {"type": "string"}, "example": {"$ref": "#/x"}}}}],
                "responses": {"x-ext": {}, "200": {"headers": {"x-h": {"schema": {}}}, "content": {"a/b": {
                    "example": {"$ref": "no"}, "examples": {"e": {"value": {"$ref": "no"}}},
                    "schema": {"default": {"$ref": "no"}, "enum": [{"$ref": "no"}], "items": [{"$ref": "#/y"}]}}}}}
            }}}
        });
        let mut refs = Vec::new();
        let mut headers = 0;
        walk(Dialect::V31, &document, Kind::Document, &mut String::new(), &mut |object, kind, _| {
            refs.extend(reference(object).map(|r| (kind, r.to_owned())));
            headers += usize::from(kind == Kind::Header);
        });
        assert_eq!(refs, [(Kind::Schema, "#/x".to_owned()), (Kind::Schema, "#/y".to_owned())]);
        assert_eq!(headers, 1);
    }
}
