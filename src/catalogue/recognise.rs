//! Is this an OpenAPI document, and of which version? If not, what is it?

use serde_json::{Map, Value};

use super::report::{Finding, Findings};
use super::shape::{Dialect, METHODS};

/// A version that is imported.
#[derive(Debug)]
pub struct Recognised {
    pub dialect: Dialect,
    /// `OpenAPI 3.0.1`, `Swagger 2.0`.
    pub format: String,
}

/// Why a document is refused as a whole, in a sentence, and what its author can do.
#[derive(Debug)]
pub struct NotOpenApi {
    pub what: String,
    pub remedy: String,
}

fn refuse<T>(what: impl Into<String>, remedy: &str) -> Result<T, NotOpenApi> {
    Err(NotOpenApi { what: what.into(), remedy: remedy.to_owned() })
}

/// Tells the version.
pub fn recognise(document: &Value, findings: &mut Findings) -> Result<Recognised, NotOpenApi> {
    let Value::Object(root) = document else {
        let found = match document {
            Value::Null => "is empty".to_owned(),
            Value::Array(_) => "holds a list".to_owned(),
            _ => "holds plain text".to_owned(),
        };
        return refuse(
            format!("the file {found}; an OpenAPI document is an object with the member `openapi` or `swagger`"),
            "Export the API description as OpenAPI 3.1, 3.0 or Swagger 2.0, in JSON or YAML.",
        );
    };
    match (root.get("openapi"), root.get("swagger")) {
        (Some(_), Some(_)) => refuse(
            "the document has both `openapi` and `swagger`, so its version is not known",
            "Keep the member that is true and remove the other.",
        ),
        (Some(version), None) => openapi(version, root),
        (None, Some(version)) => swagger(version, findings),
        (None, None) => Err(something_else(root)),
    }
}

fn openapi(version: &Value, root: &Map<String, Value>) -> Result<Recognised, NotOpenApi> {
    let text = version.as_str().map_or_else(|| version.to_string(), ToOwned::to_owned);
    // OAM-1: major.minor.patch; the patch level never changes the meaning.
    let mut parts = text.splitn(3, '.');
    let (major, minor, patch) = (parts.next(), parts.next(), parts.next());
    let dialect = match (major, minor, patch) {
        (Some("3"), Some("0"), Some(p)) if is_patch(p) => Dialect::V30,
        (Some("3"), Some("1"), Some(p)) if is_patch(p) => Dialect::V31,
        (Some("3"), Some("2"), Some(_)) => {
            return refuse(
                format!("`openapi: {text}` is OpenAPI 3.2, which is not imported yet"),
                "Publish the document as OpenAPI 3.1.1; unless it uses `query` operations or `additionalOperations`, \
                 changing the version is enough.",
            );
        }
        (Some("3"), Some(_), None) => {
            return refuse(
                format!("`openapi: {text}` lacks the patch number, so it is not a version of OpenAPI"),
                "Write it as text with three numbers: openapi: \"3.0.3\" or openapi: \"3.1.1\".",
            );
        }
        _ => {
            return refuse(
                format!("`openapi: {text}` is no version of OpenAPI that exists"),
                "Use 3.1.x or 3.0.x (as text with three numbers), or Swagger 2.0.",
            );
        }
    };
    let known: &[&str] = if dialect == Dialect::V30 { &["paths"] } else { &["paths", "components", "webhooks"] };
    if !known.iter().any(|k| root.contains_key(*k)) {
        // OAM-2
        return refuse(
            format!("the document has none of {}, so it describes nothing", known.join(", ")),
            "Add the paths; a fragment is imported through the entry document that refers to it.",
        );
    }
    Ok(Recognised { dialect, format: format!("OpenAPI {text}") })
}

fn is_patch(text: &str) -> bool {
    let digits = text.split(['-', '+']).next().unwrap_or_default();
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

fn swagger(version: &Value, findings: &mut Findings) -> Result<Recognised, NotOpenApi> {
    match version {
        Value::String(text) if text == "2.0" => {}
        Value::Number(number) if number.as_f64() == Some(2.0) => findings.push(Finding::warning(
            "/swagger",
            "the version is a number; it was read as the text \"2.0\"",
            "Write swagger: \"2.0\".",
        )),
        other => {
            return refuse(
                format!("`swagger: {other}` is not supported; the only version with that member is \"2.0\""),
                "Convert the document to Swagger 2.0 or OpenAPI 3.",
            );
        }
    }
    Ok(Recognised { dialect: Dialect::Swagger2, format: "Swagger 2.0".to_owned() })
}

fn text<'v>(root: &'v Map<String, Value>, path: &[&str]) -> Option<&'v str> {
    let mut members = Some(root);
    let (last, parents) = path.split_last()?;
    for key in parents {
        members = members?.get(*key)?.as_object();
    }
    members?.get(*last)?.as_str()
}

fn something_else(root: &Map<String, Value>) -> NotOpenApi {
    let has = |key: &str| root.contains_key(key);
    let postman = text(root, &["info", "schema"]).filter(|s| s.contains("getpostman.com"));
    let (what, remedy) = if let Some(schema) = postman {
        let version = if schema.contains("v2.1") {
            "v2.1"
        } else if schema.contains("v2.0") {
            "v2.0"
        } else {
            ""
        };
        (
            format!("this is a Postman collection {version}, not OpenAPI: it holds example requests, no contract"),
            "Export an OpenAPI document from the API's definition in Postman, or generate one from the collection \
             and complete its schemas.",
        )
    } else if has("item") && has("info") {
        ("this is a Postman collection, not OpenAPI".to_owned(), "Export an OpenAPI document instead.")
    } else if has("asyncapi") {
        ("this is an AsyncAPI document: it describes messages, not HTTP operations".to_owned(), OPENAPI_INSTEAD)
    } else if has("swaggerVersion") {
        ("this is Swagger 1.x, which is not supported".to_owned(), "Convert it to Swagger 2.0 or OpenAPI 3 first.")
    } else if has("overlay") {
        ("this is an OpenAPI Overlay, not a document of its own".to_owned(), "Apply it to its document first.")
    } else if has("arazzo") {
        ("this is an Arazzo workflow description, not an API".to_owned(), OPENAPI_INSTEAD)
    } else if text(root, &["_type"]) == Some("export") {
        ("this is an Insomnia export, not OpenAPI".to_owned(), OPENAPI_INSTEAD)
    } else if has("log") && root.get("log").is_some_and(|l| l.get("entries").is_some()) {
        ("this is an HTTP archive (HAR) of recorded traffic, not OpenAPI".to_owned(), OPENAPI_INSTEAD)
    } else {
        fragment(root)
    };
    NotOpenApi { what, remedy: remedy.to_owned() }
}

const OPENAPI_INSTEAD: &str = "Import the API's OpenAPI 3.1, 3.0 or Swagger 2.0 document instead.";

/// Parts of multi-file documents get uploaded on their own, so they are told apart.
fn fragment(root: &Map<String, Value>) -> (String, &'static str) {
    let has = |key: &str| root.contains_key(key);
    let what = if has("$schema") || has("type") || has("allOf") || has("properties") || has("oneOf") {
        "a JSON Schema"
    } else if METHODS.iter().any(|m| root.get(*m).is_some_and(Value::is_object)) {
        "a path item"
    } else if has("in") && has("name") {
        "a parameter"
    } else if has("responses") {
        "an operation"
    } else if has("content") || has("description") {
        "a response or a request body"
    } else if has("paths") || has("components") || has("info") {
        return (
            "the document has neither `openapi` nor `swagger`, so its version is not known".to_owned(),
            "Add the version as the first member: openapi: \"3.1.1\".",
        );
    } else {
        return (
            "the document has neither `openapi` nor `swagger`, and nothing that an OpenAPI document has".to_owned(),
            OPENAPI_INSTEAD,
        );
    };
    (
        format!("this looks like {what}, a part of an OpenAPI document, not a whole one"),
        "Import the entry document (the one with `openapi` or `swagger`) that refers to this file.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_not_openapi_is_named() {
        let postman = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json";
        for (document, expected) in [
            (json!({"info": {"schema": postman}, "item": []}), "Postman collection v2.1"),
            (json!({"asyncapi": "2.0.0"}), "AsyncAPI"),
            (json!({"type": "object", "properties": {}}), "JSON Schema"),
            (json!({"get": {"responses": {}}}), "a path item"),
            (json!({"name": "x", "in": "query"}), "a parameter"),
            (json!({"paths": {}}), "neither `openapi` nor `swagger`"),
            (json!({"openapi": 3.1, "paths": {}}), "patch number"),
            (json!({"openapi": "3.1", "paths": {}}), "patch number"),
            (json!({"openapi": "3.2.0", "paths": {}}), "not imported yet"),
            (json!({"openapi": "4.0.0", "paths": {}}), "no version"),
            (json!({"openapi": "3.0.1", "info": {}}), "describes nothing"),
            (json!({"openapi": "3.0.1", "swagger": "2.0", "paths": {}}), "both"),
            (json!({"swagger": "1.2", "paths": {}}), "not supported"),
            (json!([]), "a list"),
            (json!(null), "empty"),
        ] {
            let refusal = recognise(&document, &mut Findings::default()).expect_err(expected);
            assert!(refusal.what.contains(expected), "{document}: {}", refusal.what);
            assert!(!refusal.remedy.is_empty());
        }
    }

    #[test]
    fn versions_are_told() {
        for (document, dialect, format) in [
            (json!({"openapi": "3.0.4", "paths": {}}), Dialect::V30, "OpenAPI 3.0.4"),
            (json!({"openapi": "3.1.0", "webhooks": {}}), Dialect::V31, "OpenAPI 3.1.0"),
            (json!({"swagger": "2.0", "paths": {}}), Dialect::Swagger2, "Swagger 2.0"),
            (json!({"swagger": 2.0, "paths": {}}), Dialect::Swagger2, "Swagger 2.0"),
        ] {
            let recognised = recognise(&document, &mut Findings::default()).unwrap();
            assert_eq!((recognised.dialect, recognised.format.as_str()), (dialect, format));
        }
    }
}
