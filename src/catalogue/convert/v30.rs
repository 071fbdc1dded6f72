//! OpenAPI 3.0 schemas to JSON Schema 2020-12 (OAM-50 to OAM-58).

use serde_json::{Map, Value, json};

use super::super::report::{Finding, Findings};
use super::super::shape::{self, Dialect, Kind};

/// The version that every imported document has.
pub const OPENAPI: &str = "3.1.1";

/// Rewrites a bundled 3.0 document (references have no siblings any more).
pub fn convert(document: &mut Value, findings: &mut Findings) {
    if let Some(root) = document.as_object_mut() {
        root.insert("openapi".into(), OPENAPI.into());
    }
    media_types(document);
    let mut without_type = None;
    shape::walk_mut(Dialect::V30, document, Kind::Document, &mut String::new(), &mut |object, kind, at| {
        if kind == Kind::Schema && !object.contains_key("$ref") && schema(object) == Nullable::Dropped {
            without_type.get_or_insert_with(|| at.to_owned());
        }
    });
    if let Some(at) = without_type {
        findings.push(Finding::note(
            &at,
            "nullable without a type has no effect in OpenAPI 3.0; it was dropped (first such place)",
        ));
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nullable {
    Done,
    Dropped,
}

fn schema(object: &mut Map<String, Value>) -> Nullable {
    exclusive(object, "minimum", "exclusiveMinimum");
    exclusive(object, "maximum", "exclusiveMaximum");
    if let Some(example) = object.shift_remove("example") {
        // OAM-52. A list that stands there already is the author's own.
        match object.get_mut("examples") {
            Some(Value::Array(list)) => list.insert(0, example),
            _ => drop(object.insert("examples".into(), json!([example]))),
        }
    }
    if object.get("format").and_then(Value::as_str) == Some("byte") {
        object.shift_remove("format");
        object.insert("contentEncoding".into(), "base64".into());
    }
    match object.shift_remove("nullable") {
        Some(Value::Bool(true)) => nullable(object),
        _ => Nullable::Done,
    }
}

/// OAM-51. Numbers that stand there already are 2020-12.
fn exclusive(object: &mut Map<String, Value>, limit: &str, exclusive: &str) {
    match object.get(exclusive) {
        Some(Value::Bool(true)) => {
            object.shift_remove(exclusive);
            if let Some(value) = object.shift_remove(limit) {
                object.insert(exclusive.into(), value);
            }
        }
        Some(Value::Bool(false)) => drop(object.shift_remove(exclusive)),
        _ => {}
    }
}

/// OAM-50.
fn nullable(object: &mut Map<String, Value>) -> Nullable {
    let null = || json!({ "type": "null" });
    if let Some(single) = object.get("type").cloned() {
        if single.is_string() && single != "null" {
            object.insert("type".into(), json!([single, "null"]));
        }
        if let Some(Value::Array(values)) = object.get_mut("enum")
            && !values.contains(&Value::Null)
        {
            values.push(Value::Null);
        }
        return Nullable::Done;
    }
    for key in ["anyOf", "oneOf"] {
        if object.contains_key("discriminator") {
            break;
        }
        if let Some(Value::Array(members)) = object.get_mut(key) {
            members.push(null());
            return Nullable::Done;
        }
    }
    if object.contains_key("allOf") || object.contains_key("anyOf") || object.contains_key("oneOf") {
        // What describes stays outside, what constrains moves inside.
        let describes = |key: &str| {
            matches!(key, "title" | "description" | "deprecated" | "readOnly" | "writeOnly" | "default" | "examples")
                || key.starts_with("x-")
        };
        let all = std::mem::take(object);
        let (outside, inside): (Map<_, _>, Map<_, _>) = all.into_iter().partition(|(key, _)| describes(key));
        *object = outside;
        object.insert("anyOf".into(), vec![Value::Object(inside), null()].into());
        return Nullable::Done;
    }
    Nullable::Dropped
}

/// OAM-53: a binary body has no schema, a binary part says so by its media type.
fn media_types(document: &mut Value) {
    shape::walk_mut(Dialect::V30, document, Kind::Document, &mut String::new(), &mut |object, kind, _| {
        let holds_content = matches!(kind, Kind::RequestBody | Kind::Response);
        let Some(Value::Object(content)) = object.get_mut("content").filter(|_| holds_content) else { return };
        for (media_type, media) in content.iter_mut() {
            let Some(schema) = media.get_mut("schema").and_then(Value::as_object_mut) else { continue };
            if media_type.starts_with("multipart/") {
                if let Some(Value::Object(parts)) = schema.get_mut("properties") {
                    parts.values_mut().filter_map(Value::as_object_mut).for_each(part);
                }
            } else if is_binary(schema) && !media_type.contains("json") {
                schema.retain(|key, _| matches!(key.as_str(), "description" | "title") || key.starts_with("x-"));
            }
        }
    });
}

fn is_binary(schema: &Map<String, Value>) -> bool {
    let text = |key: &str| schema.get(key).and_then(Value::as_str);
    text("type") == Some("string") && text("format") == Some("binary")
}

fn part(schema: &mut Map<String, Value>) {
    if is_binary(schema) {
        schema.shift_remove("format");
        schema.insert("contentMediaType".into(), "application/octet-stream".into());
    } else if let Some(Value::Object(items)) = schema.get_mut("items") {
        part(items);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_change_as_the_checklist_says() {
        for (name, old, new) in [
            ("nullable", json!({"type": "string", "nullable": true}), json!({"type": ["string", "null"]})),
            ("not nullable", json!({"type": "string", "nullable": false}), json!({"type": "string"})),
            (
                "nullable enum",
                json!({"type": "string", "nullable": true, "enum": ["a"]}),
                json!({"type": ["string", "null"], "enum": ["a", null]}),
            ),
            (
                "nullable allOf",
                json!({"nullable": true, "description": "d", "allOf": [{"$ref": "#/components/schemas/A"}]}),
                json!({"description": "d", "anyOf": [{"allOf": [{"$ref": "#/components/schemas/A"}]}, {"type": "null"}]}),
            ),
            (
                "nullable anyOf",
                json!({"nullable": true, "anyOf": [{"type": "string"}]}),
                json!({"anyOf": [{"type": "string"}, {"type": "null"}]}),
            ),
            ("nullable without type", json!({"nullable": true, "title": "t"}), json!({"title": "t"})),
            ("exclusive", json!({"minimum": 5, "exclusiveMinimum": true}), json!({"exclusiveMinimum": 5})),
            ("inclusive", json!({"maximum": 5, "exclusiveMaximum": false}), json!({"maximum": 5})),
            (
                "example",
                json!({"type": "object", "example": {"nullable": true}}),
                json!({"type": "object", "examples": [{"nullable": true}]}),
            ),
            (
                "byte",
                json!({"type": "string", "format": "byte"}),
                json!({"type": "string", "contentEncoding": "base64"}),
            ),
            (
                "property called nullable",
                json!({"properties": {"nullable": {"type": "boolean"}}}),
                json!({"properties": {"nullable": {"type": "boolean"}}}),
            ),
            (
                "nested",
                json!({"items": {"type": "integer", "nullable": true}}),
                json!({"items": {"type": ["integer", "null"]}}),
            ),
        ] {
            let mut document = json!({"openapi": "3.0.0", "components": {"schemas": {"S": old}}});
            convert(&mut document, &mut Findings::default());
            assert_eq!(document["components"]["schemas"]["S"], new, "{name}");
            assert_eq!(document["openapi"], OPENAPI);
        }
    }

    #[test]
    fn binary_bodies_lose_their_schema_and_parts_their_format() {
        let binary = json!({"type": "string", "format": "binary"});
        let mut document = json!({"paths": {"/a": {"post": {"requestBody": {"content": {
            "application/octet-stream": {"schema": binary},
            "multipart/form-data": {"schema": {"properties": {"f": binary, "l": {"items": binary}}}},
        }}}}}});
        convert(&mut document, &mut Findings::default());
        let content = &document["paths"]["/a"]["post"]["requestBody"]["content"];
        assert_eq!(content["application/octet-stream"]["schema"], json!({}));
        let part = json!({"type": "string", "contentMediaType": "application/octet-stream"});
        assert_eq!(content["multipart/form-data"]["schema"]["properties"], json!({"f": part, "l": {"items": part}}));
    }
}
