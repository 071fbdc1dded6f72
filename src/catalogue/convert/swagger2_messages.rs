//! Swagger 2.0 operations: body and form parameters become a request body, media types move to where they count.

use serde_json::{Map, Value, json};

use super::super::census::spelled;
use super::super::pointer;
use super::super::report::{Finding, Findings};
use super::swagger2::{Defaults, media_types, object};

/// The members of a 2.0 parameter or header that belong to its schema.
const SCHEMA_MEMBERS: [&str; 18] = [
    "type",
    "format",
    "items",
    "default",
    "maximum",
    "exclusiveMaximum",
    "minimum",
    "exclusiveMinimum",
    "maxLength",
    "minLength",
    "pattern",
    "maxItems",
    "minItems",
    "uniqueItems",
    "enum",
    "multipleOf",
    "x-nullable",
    "title",
];

fn place(parameter: &Value) -> &str {
    parameter.get("in").and_then(Value::as_str).unwrap_or_default()
}

/// Whether it is a parameter by name only.
pub fn is_body(parameter: &Value) -> bool {
    matches!(place(parameter), "body" | "formData")
}

/// What a reference to a shared parameter names.
pub fn resolved<'v>(parameter: &'v Value, shared: &'v Map<String, Value>) -> &'v Value {
    let name = parameter.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix("#/parameters/"));
    let name = name.and_then(pointer::from_fragment_token);
    name.and_then(|n| shared.get(&n)).unwrap_or(parameter)
}

/// Rewrites an operation in place; `inherited` are the path item's bodies and form fields.
pub fn operation(
    operation: &mut Map<String, Value>,
    inherited: &[Value],
    defaults: &Defaults,
    at: &str,
    findings: &mut Findings,
) {
    let consumes = own_or(operation.shift_remove("consumes"), &defaults.consumes);
    let produces = own_or(operation.shift_remove("produces"), &defaults.produces);
    operation.shift_remove("schemes");
    let mut plain = Vec::new();
    let mut bodies: Vec<Value> = Vec::new();
    if let Some(Value::Array(list)) = operation.shift_remove("parameters") {
        for (index, item) in list.into_iter().enumerate() {
            let full = resolved(&item, &defaults.parameters);
            if is_body(full) {
                bodies.push(full.clone());
            } else {
                plain.push(parameter(item, &format!("{at}/parameters/{index}"), findings));
            }
        }
    }
    for item in inherited {
        let full = resolved(item, &defaults.parameters);
        let same = |other: &Value| place(other) == place(full) && other.get("name") == full.get("name");
        if !bodies.iter().any(same) {
            bodies.push(full.clone());
        }
    }
    if !plain.is_empty() {
        operation.insert("parameters".into(), plain.into());
    }
    if let Some(body) = request_body(&bodies, consumes, at, findings) {
        operation.insert("requestBody".into(), body);
    }
    let responses = object(operation.shift_remove("responses")).into_iter().map(|(code, value)| {
        let at = format!("{at}/responses/{code}");
        let value = if code.starts_with("x-") { value } else { response(value, &produces, &at, findings) };
        (code, value)
    });
    let responses: Map<String, Value> = responses.collect();
    operation.insert("responses".into(), responses.into());
}

fn own_or(own: Option<Value>, inherited: &[String]) -> Vec<String> {
    if own.is_some() { media_types(own) } else { inherited.to_vec() }
}

fn request_body(bodies: &[Value], consumes: Vec<String>, at: &str, findings: &mut Findings) -> Option<Value> {
    if let Some(body) = bodies.iter().find(|b| place(b) == "body") {
        if bodies.len() > 1 {
            findings.push(Finding::warning(
                at,
                "a body stands beside other bodies or form fields; only the first body is used",
                "Swagger 2.0 allows one body, or form fields, and never both.",
            ));
        }
        let schema = body.get("schema").cloned().unwrap_or_else(|| json!({}));
        let types = if consumes.is_empty() { vec!["application/json".to_owned()] } else { consumes };
        let content: Map<String, Value> = types.into_iter().map(|t| (t, json!({ "schema": schema }))).collect();
        let mut new = extensions(body);
        new.extend(body.get("description").map(|d| ("description".to_owned(), d.clone())));
        new.insert("content".into(), content.into());
        new.insert("required".into(), body.get("required").cloned().unwrap_or(Value::Bool(false)));
        return Some(new.into());
    }
    form(bodies, consumes)
}

fn form(fields: &[Value], consumes: Vec<String>) -> Option<Value> {
    let (mut properties, mut required, mut encoding, mut has_file) = (Map::new(), Vec::new(), Map::new(), false);
    for field in fields {
        let name = field.as_object().map(|f| spelled(f, "name")).unwrap_or_default();
        if name.is_empty() {
            continue;
        }
        let mut schema = schema_of(field);
        has_file |= schema.get("type").and_then(Value::as_str) == Some("file");
        schema.extend(field.get("description").map(|d| ("description".to_owned(), d.clone())));
        if schema.get("type").and_then(Value::as_str) == Some("array") {
            let explode = field.get("collectionFormat").and_then(Value::as_str) == Some("multi");
            encoding.insert(name.clone(), json!({ "style": "form", "explode": explode }));
        }
        if field.get("required") == Some(&Value::Bool(true)) {
            required.push(Value::from(name.as_str()));
        }
        properties.insert(name, schema.into());
    }
    if properties.is_empty() {
        return None;
    }
    let is_required = !required.is_empty();
    let mut schema = json!({ "type": "object", "properties": properties });
    if let (Some(object), true) = (schema.as_object_mut(), is_required) {
        object.insert("required".into(), required.into());
    }
    let forms = ["application/x-www-form-urlencoded", "multipart/form-data"];
    let mut types: Vec<String> = consumes.into_iter().filter(|t| forms.contains(&t.as_str())).collect();
    if types.is_empty() {
        types.push(if has_file { "multipart/form-data" } else { "application/x-www-form-urlencoded" }.to_owned());
    }
    let mut media = json!({ "schema": schema });
    if let (Some(object), false) = (media.as_object_mut(), encoding.is_empty()) {
        object.insert("encoding".into(), encoding.into());
    }
    let content: Map<String, Value> = types.into_iter().map(|t| (t, media.clone())).collect();
    Some(json!({ "content": content, "required": is_required }))
}

fn extensions(value: &Value) -> Map<String, Value> {
    let members = value.as_object().into_iter().flatten();
    members
        .filter(|(key, _)| key.starts_with("x-") && *key != "x-nullable")
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect()
}

fn schema_of(parameter: &Value) -> Map<String, Value> {
    let members = parameter.as_object().into_iter().flatten();
    members.filter(|(key, _)| SCHEMA_MEMBERS.contains(&key.as_str())).map(|(k, v)| (k.clone(), v.clone())).collect()
}

/// A path, query, header or cookie parameter.
pub fn parameter(parameter: Value, at: &str, findings: &mut Findings) -> Value {
    let is_converted = parameter.get("$ref").is_some() || parameter.get(super::super::bundle::UNRESOLVED).is_some();
    let Value::Object(old) = parameter else { return parameter };
    if is_converted {
        return old.into();
    }
    let schema = schema_of(&Value::Object(old.clone()));
    let is_array = schema.get("type").and_then(Value::as_str) == Some("array");
    let in_query = matches!(old.get("in").and_then(Value::as_str), Some("query"));
    let format = old.get("collectionFormat").and_then(Value::as_str).unwrap_or("csv").to_owned();
    let mut new: Map<String, Value> = old
        .into_iter()
        .filter(|(key, _)| !SCHEMA_MEMBERS.contains(&key.as_str()) && key != "collectionFormat")
        .collect();
    if is_array {
        let (style, explode) = match format.as_str() {
            "multi" => ("form", true),
            "ssv" if in_query => ("spaceDelimited", false),
            "pipes" if in_query => ("pipeDelimited", false),
            "csv" => (if in_query { "form" } else { "simple" }, false),
            other => {
                findings.push(Finding::warning(
                    at,
                    format!("collectionFormat {other} has no equivalent in OpenAPI 3 here; commas were assumed"),
                    "Use csv, or in the query multi, ssv or pipes.",
                ));
                (if in_query { "form" } else { "simple" }, false)
            }
        };
        new.insert("style".into(), style.into());
        new.insert("explode".into(), explode.into());
    }
    new.entry("schema").or_insert_with(|| schema.into());
    new.into()
}

/// A response: its schema moves below each media type.
pub fn response(response: Value, produces: &[String], at: &str, findings: &mut Findings) -> Value {
    let Value::Object(mut response) = response else { return response };
    if response.contains_key("$ref") {
        return response.into();
    }
    let examples = object(response.shift_remove("examples"));
    let mut content = Map::new();
    if let Some(schema) = response.shift_remove("schema") {
        let mut types = produces.to_vec();
        if types.is_empty() {
            types.push("application/json".to_owned());
            findings.push(Finding::note(at, "no media type is stated (produces); application/json was assumed"));
        }
        content.extend(types.into_iter().map(|t| (t, json!({ "schema": schema }))));
    }
    for (media_type, example) in examples {
        let media = content.entry(media_type).or_insert_with(|| json!({}));
        if let Some(media) = media.as_object_mut() {
            media.insert("example".into(), example);
        }
    }
    if !content.is_empty() {
        response.insert("content".into(), content.into());
    }
    if let Some(Value::Object(headers)) = response.get_mut("headers") {
        for header in headers.values_mut().filter(|h| h.is_object()) {
            let old = std::mem::take(header);
            *header = self::parameter(old, at, findings);
        }
    }
    response.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_rewritten() {
        let defaults = Defaults {
            consumes: vec!["application/json".into()],
            produces: vec!["application/json".into()],
            parameters: object(Some(
                json!({"B": {"name": "b", "in": "body", "required": true, "schema": {"type": "object"}}}),
            )),
        };
        let run = |value: Value| {
            let mut value = object(Some(value));
            operation(&mut value, &[], &defaults, "", &mut Findings::default());
            Value::Object(value)
        };
        let shared = run(json!({"parameters": [{"$ref": "#/parameters/B"}]}));
        assert_eq!(shared["requestBody"]["content"]["application/json"]["schema"]["type"], "object");
        assert_eq!(shared["requestBody"]["required"], true);
        let form = run(json!({"consumes": ["multipart/form-data"], "parameters": [
            {"name": "f", "in": "formData", "type": "file", "required": true},
            {"name": "l", "in": "formData", "type": "array", "items": {"type": "string"}, "collectionFormat": "multi"}
        ]}));
        let media = &form["requestBody"]["content"]["multipart/form-data"];
        assert_eq!(media["schema"]["required"], json!(["f"]));
        assert_eq!(media["encoding"]["l"]["explode"], true);
        let query = run(json!({"parameters": [
            {"name": "a", "in": "query", "type": "array", "items": {"type": "string"}},
            {"name": "b", "in": "header", "type": "integer", "maximum": 3}
        ]}));
        assert_eq!(query["parameters"][0]["style"], "form");
        assert_eq!(query["parameters"][0]["explode"], false);
        assert_eq!(
            query["parameters"][1],
            json!({"name": "b", "in": "header", "schema": {"type": "integer", "maximum": 3}})
        );
    }
}
