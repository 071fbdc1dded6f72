mod messages;
mod oracle;
mod parameters;
mod scale;
mod schemas;

use std::sync::Arc;

use http::Method;
use serde_json::{Value, json};

use super::*;
use crate::domain::OperationId;
use crate::problem::FieldError;

/// Reads operations from a plain 3.1 document, as far as these tests need it; the catalogue does it for real.
fn operations(document: &Value) -> Vec<OperationSpec> {
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in item.as_object().unwrap() {
            let Ok(method) = method.to_uppercase().parse::<Method>() else { continue };
            let pointer =
                format!("/paths/{}/{}", path.replace('~', "~0").replace('/', "~1"), method.as_str().to_lowercase());
            found.push(operation_spec(method, path, operation, &pointer, document));
        }
    }
    found
}

/// The object at a pointer, after references.
fn follow(document: &Value, pointer: &str) -> (String, Value) {
    let value = document.pointer(pointer).unwrap();
    match value.get("$ref").and_then(Value::as_str) {
        Some(reference) => follow(document, reference.trim_start_matches('#')),
        None => (pointer.to_owned(), value.clone()),
    }
}

fn content(value: &Value, pointer: &str) -> Vec<MediaTypeSpec> {
    let each = value["content"].as_object().into_iter().flatten();
    each.map(|(media_type, described)| MediaTypeSpec {
        media_type: media_type.clone(),
        schema: described
            .get("schema")
            .map(|_| SchemaPointer(format!("{pointer}/content/{}/schema", media_type.replace('/', "~1")))),
    })
    .collect()
}

fn operation_spec(method: Method, path: &str, operation: &Value, pointer: &str, document: &Value) -> OperationSpec {
    let count = operation["parameters"].as_array().map_or(0, Vec::len);
    let parameters = (0..count).map(|n| parameter(document, &format!("{pointer}/parameters/{n}"))).collect();
    let body = operation.get("requestBody").map(|_| {
        let (pointer, body) = follow(document, &format!("{pointer}/requestBody"));
        BodySpec { required: body["required"].as_bool().unwrap_or(false), content: content(&body, &pointer) }
    });
    let responses = operation["responses"].as_object().into_iter().flatten().map(|(status, _)| {
        let (pointer, response) = follow(document, &format!("{pointer}/responses/{status}"));
        let status = match status.as_str() {
            "default" => StatusRange::Default,
            class if class.ends_with("XX") => StatusRange::Class(class[..1].parse().unwrap()),
            code => StatusRange::Code(code.parse().unwrap()),
        };
        ResponseSpec { status, content: content(&response, &pointer) }
    });
    OperationSpec {
        id: OperationId::parse("api.op").unwrap(),
        method,
        path: path.to_owned(),
        pointer: pointer.to_owned(),
        parameters,
        body,
        responses: responses.collect(),
    }
}

fn parameter(document: &Value, pointer: &str) -> ParameterSpec {
    let (pointer, value) = follow(document, pointer);
    let place: ParameterPlace = serde_json::from_value(value["in"].clone()).unwrap();
    let default = match place {
        ParameterPlace::Path | ParameterPlace::Header => Style::Simple,
        ParameterPlace::Query | ParameterPlace::Cookie => Style::Form,
    };
    let style = value.get("style").map_or(default, |style| serde_json::from_value(style.clone()).unwrap());
    let media_type = value.get("content").and_then(Value::as_object).and_then(|all| all.keys().next().cloned());
    let schema = match &media_type {
        Some(media_type) => Some(format!("{pointer}/content/{}/schema", media_type.replace('/', "~1"))),
        None => value.get("schema").map(|_| format!("{pointer}/schema")),
    };
    ParameterSpec {
        name: value["name"].as_str().unwrap().to_owned(),
        place,
        required: value["required"].as_bool().unwrap_or(false),
        style,
        explode: value["explode"].as_bool().unwrap_or(style == Style::Form),
        schema: schema.map(SchemaPointer),
        media_type,
    }
}

/// Compiles a document that must have no issue.
fn compile(document: Value) -> Vec<Arc<Contract>> {
    let operations = operations(&document);
    let (contracts, issues) = Contracts::compile(&Arc::new(document), &operations);
    assert_eq!(issues, [], "issues");
    contracts
}

/// A document with one operation whose JSON body has this schema; `components` are its schemas.
fn body_document(schema: Value, components: Value) -> Value {
    let content = json!({ "application/json": { "schema": schema } });
    json!({
        "openapi": "3.1.0",
        "paths": { "/a": { "post": {
            "requestBody": { "required": true, "content": content },
            "responses": { "200": { "content": content } },
        } } },
        "components": { "schemas": components },
    })
}

fn request_errors(contract: &Contract, body: &Value) -> Vec<FieldError> {
    match contract.check_body(Some("application/json"), &Body::Json(body.clone().into())) {
        Ok(()) => Vec::new(),
        Err(BodyRefusal::Invalid(errors)) => errors,
        Err(refusal) => panic!("{refusal:?}"),
    }
}

fn response_errors(contract: &Contract, body: &Value) -> Vec<FieldError> {
    contract.check_response(http::StatusCode::OK, Some("application/json"), body.to_string().as_bytes())
}

/// `pointer: detail` of each error.
fn lines(errors: &[FieldError]) -> Vec<String> {
    errors.iter().map(|error| format!("{}: {}", error.pointer, error.detail)).collect()
}
