//! Swagger 2.0 to OpenAPI 3.0 (OAM-64). Schemas keep their 3.0 dialect: the next step rewrites those.

use serde_json::{Map, Value, json};

use super::super::origin::Origins;
use super::super::pointer;
use super::super::report::{Finding, Findings};
use super::super::shape::{self, Dialect, Kind, METHODS};
use super::swagger2_messages as messages;

/// What an operation inherits from the document.
pub(super) struct Defaults {
    pub consumes: Vec<String>,
    pub produces: Vec<String>,
    /// The document's shared parameters, for references to bodies and form fields.
    pub parameters: Map<String, Value>,
}

/// Rewrites a bundled Swagger 2.0 document. `origins` follows what moves.
pub fn convert(document: Value, origins: &mut Origins, findings: &mut Findings) -> Value {
    let Value::Object(mut old) = document else { return document };
    let mut new = Map::new();
    new.insert("openapi".into(), "3.0.4".into());
    let servers = servers(&mut old, findings);
    let defaults = Defaults {
        consumes: media_types(old.shift_remove("consumes")),
        produces: media_types(old.shift_remove("produces")),
        parameters: object(old.get("parameters").cloned()),
    };
    let components = components(&mut old, &defaults, origins, findings);
    let paths = object(old.shift_remove("paths"));
    old.shift_remove("swagger");
    for (key, value) in old {
        new.insert(key, value);
    }
    new.insert("servers".into(), servers);
    let paths: Map<String, Value> = paths
        .into_iter()
        .map(|(path, item)| {
            let at = pointer::child("/paths", &path);
            let item = if path.starts_with("x-") { item } else { path_item(item, &defaults, &at, findings) };
            (path, item)
        })
        .collect();
    new.insert("paths".into(), paths.into());
    new.insert("components".into(), components.into());
    let mut document = Value::Object(new);
    rewrite_schemas(&mut document);
    document
}

pub(super) fn object(value: Option<Value>) -> Map<String, Value> {
    match value {
        Some(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

pub(super) fn media_types(value: Option<Value>) -> Vec<String> {
    let items = match value {
        Some(Value::Array(items)) => items,
        Some(single) => vec![single],
        None => Vec::new(),
    };
    items.into_iter().filter_map(|v| v.as_str().map(ToOwned::to_owned)).collect()
}

fn servers(old: &mut Map<String, Value>, findings: &mut Findings) -> Value {
    let text = |value: Option<Value>| value.and_then(|v| v.as_str().map(ToOwned::to_owned));
    let host = text(old.shift_remove("host"));
    let base = text(old.shift_remove("basePath")).unwrap_or_default();
    let schemes = media_types(old.shift_remove("schemes"));
    if !base.is_empty() && !base.starts_with('/') {
        findings.push(Finding::warning(
            "/basePath",
            "basePath does not begin with `/`; it was read as if it did",
            "Begin it with `/`.",
        ));
    }
    let base = base.trim_start_matches('/');
    match host {
        None => json!([{ "url": format!("/{base}") }]),
        Some(host) => {
            let scheme = schemes.iter().find(|s| *s == "https").or(schemes.first()).map_or("https", String::as_str);
            json!([{ "url": format!("{scheme}://{host}/{base}") }])
        }
    }
}

fn components(
    old: &mut Map<String, Value>,
    defaults: &Defaults,
    origins: &mut Origins,
    findings: &mut Findings,
) -> Map<String, Value> {
    let mut components = Map::new();
    let mut add = |section: &str, from: &str, entries: Map<String, Value>| {
        if !entries.is_empty() {
            origins.rename(from, &format!("/components/{section}"));
            components.insert(section.to_owned(), entries.into());
        }
    };
    add("schemas", "/definitions", object(old.shift_remove("definitions")));
    let responses = object(old.shift_remove("responses")).into_iter().map(|(name, response)| {
        let at = pointer::child("/responses", &name);
        let response = messages::response(response, &defaults.produces, &at, findings);
        (name, response)
    });
    add("responses", "/responses", responses.collect());
    let parameters = object(old.shift_remove("parameters")).into_iter();
    // Bodies and form fields are no parameters any more: each operation that refers to one gets it as its body.
    let parameters = parameters.filter(|(_, p)| !messages::is_body(p)).map(|(name, parameter)| {
        let at = pointer::child("/parameters", &name);
        let parameter = messages::parameter(parameter, &at, findings);
        (name, parameter)
    });
    add("parameters", "/parameters", parameters.collect());
    let schemes = object(old.shift_remove("securityDefinitions")).into_iter();
    let schemes = schemes.map(|(name, scheme)| (name, security_scheme(object(Some(scheme)))));
    add("securitySchemes", "/securityDefinitions", schemes.collect());
    components
}

fn path_item(item: Value, defaults: &Defaults, at: &str, findings: &mut Findings) -> Value {
    let Value::Object(mut item) = item else { return item };
    let shared = match item.shift_remove("parameters") {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    };
    let (bodies, plain): (Vec<Value>, Vec<Value>) =
        shared.into_iter().partition(|p| messages::is_body(messages::resolved(p, &defaults.parameters)));
    let plain: Vec<Value> = plain
        .into_iter()
        .enumerate()
        .map(|(n, p)| messages::parameter(p, &format!("{at}/parameters/{n}"), findings))
        .collect();
    for method in METHODS {
        if let Some(Value::Object(operation)) = item.get_mut(method) {
            let at = pointer::child(at, method);
            messages::operation(operation, &bodies, defaults, &at, findings);
        }
    }
    if !plain.is_empty() {
        item.insert("parameters".into(), plain.into());
    }
    item.into()
}

fn security_scheme(mut scheme: Map<String, Value>) -> Value {
    let kind = scheme.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    match kind.as_str() {
        "basic" => {
            scheme.insert("type".into(), "http".into());
            scheme.insert("scheme".into(), "basic".into());
        }
        "oauth2" => {
            let flow = match scheme.shift_remove("flow").as_ref().and_then(Value::as_str) {
                Some("accessCode") => "authorizationCode",
                Some("application") => "clientCredentials",
                Some("password") => "password",
                _ => "implicit",
            };
            let mut content = Map::new();
            for key in ["authorizationUrl", "tokenUrl"] {
                content.extend(scheme.shift_remove_entry(key));
            }
            content.insert("scopes".into(), scheme.shift_remove("scopes").unwrap_or_else(|| json!({})));
            scheme.insert("flows".into(), json!({ flow: content }));
        }
        _ => {}
    }
    scheme.into()
}

/// References to the new places, and what 2.0 wrote differently inside schemas.
fn rewrite_schemas(document: &mut Value) {
    shape::walk_mut(Dialect::V30, document, Kind::Document, &mut String::new(), &mut |object, kind, _| {
        if let Some(reference) = shape::reference(object) {
            let moved = [
                ("#/definitions/", "#/components/schemas/"),
                ("#/parameters/", "#/components/parameters/"),
                ("#/responses/", "#/components/responses/"),
            ];
            let found = moved.iter().find_map(|(from, to)| Some(format!("{to}{}", reference.strip_prefix(from)?)));
            if let Some(reference) = found {
                object.insert("$ref".into(), reference.into());
            }
        }
        if kind == Kind::Schema {
            if let Some(name) = object.get("discriminator").and_then(Value::as_str).map(ToOwned::to_owned) {
                object.insert("discriminator".into(), json!({ "propertyName": name }));
            }
            if let Some(nullable) = object.shift_remove("x-nullable") {
                object.insert("nullable".into(), nullable);
            }
            if object.get("type").and_then(Value::as_str) == Some("file") {
                object.insert("type".into(), "string".into());
                object.insert("format".into(), "binary".into());
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted(document: Value) -> Value {
        convert(document, &mut Origins::new("a.yaml"), &mut Findings::default())
    }

    #[test]
    fn the_shared_parts_move() {
        let new = converted(json!({
            "swagger": "2.0", "info": {"title": "t", "version": "1"}, "host": "h.example", "basePath": "/v1/",
            "schemes": ["http", "https"], "consumes": ["a/b"], "produces": ["c/d"],
            "definitions": {"A": {"discriminator": "kind", "properties": {"b": {"$ref": "#/definitions/B"}}}},
            "parameters": {"P": {"name": "p", "in": "query", "type": "string"}, "F": {"name": "f", "in": "formData"}},
            "responses": {"R": {"description": "", "schema": {"$ref": "#/definitions/A"}}},
            "securityDefinitions": {"o": {"type": "oauth2", "flow": "accessCode", "tokenUrl": "t", "authorizationUrl": "a"}},
            "paths": {}
        }));
        assert_eq!(new["servers"], json!([{"url": "https://h.example/v1/"}]));
        assert_eq!(new["components"]["schemas"]["A"]["properties"]["b"]["$ref"], "#/components/schemas/B");
        assert_eq!(new["components"]["schemas"]["A"]["discriminator"], json!({"propertyName": "kind"}));
        assert_eq!(
            new["components"]["parameters"],
            json!({"P": {"name": "p", "in": "query", "schema": {"type": "string"}}})
        );
        assert_eq!(
            new["components"]["responses"]["R"],
            json!({"description": "", "content": {"c/d": {"schema": {"$ref": "#/components/schemas/A"}}}})
        );
        assert_eq!(
            new["components"]["securitySchemes"]["o"],
            json!({"type": "oauth2", "flows": {"authorizationCode": {"authorizationUrl": "a", "tokenUrl": "t", "scopes": {}}}})
        );
        assert!(new.get("consumes").is_none() && new.get("definitions").is_none());
    }
}
