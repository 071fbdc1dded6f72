//! Our own operations as an OpenAPI document, to be merged into the catalogue like any other source.

use serde_json::{Value, json};
use utoipa::OpenApi;

/// OAuth, catalogue, usage: everything a third-party developer may call of ours.
#[derive(OpenApi)]
#[openapi(
    info(title = "Clearway", description = "The gateway's own operations."),
    paths(super::catalogue::unified_json, super::usage::usage),
    tags((name = "Catalogue", description = "What can be called."), (name = "Usage", description = "What is left of a plan."))
)]
struct Own;

/// The document, or nothing if it could not be written, which `server` treats as a defect at start.
pub fn own_document() -> Option<Value> {
    let mut own = Own::openapi();
    own.merge(super::oauth::openapi());
    own.merge(super::userinfo::openapi());
    let mut document = serde_json::to_value(own).ok()?;
    say_what_forms_take(&mut document);
    Some(document)
}

/// RFC 6749 §3.2: a parameter stands once, known or not; and the two parts of an assertion stand together (RFC 7521
/// §4.2). Derived schemas cannot say so.
fn say_what_forms_take(document: &mut Value) {
    let operations = document["paths"].as_object().into_iter().flat_map(|paths| paths.values());
    let operations = operations.filter_map(Value::as_object).flat_map(|item| item.values());
    let reference = |operation: &Value| {
        let schema = operation.pointer("/requestBody/content/application~1x-www-form-urlencoded/schema/$ref")?;
        Some(schema.as_str()?.strip_prefix('#')?.to_owned())
    };
    let places: Vec<String> = operations.filter_map(reference).collect();
    for place in places {
        let Some(form) = document.pointer_mut(&place).and_then(Value::as_object_mut) else { continue };
        form.insert("additionalProperties".into(), json!({ "type": "string" }));
        if form.get("properties").is_some_and(|properties| properties.get("client_assertion").is_some()) {
            form.insert(
                "dependentRequired".into(),
                json!({ "client_assertion": ["client_assertion_type"], "client_assertion_type": ["client_assertion"] }),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_operations_are_described() {
        let document = own_document().unwrap();
        for path in [
            "/openapi.json",
            "/usage",
            "/oauth/token",
            "/oauth/revoke",
            "/oauth/introspect",
            "/oauth/userinfo",
            "/oauth/authorize",
            "/oauth/decision",
        ] {
            assert!(document["paths"].get(path).is_some(), "{path} is not described");
        }
        let form = &document["components"]["schemas"]["TokenForm"];
        assert_eq!(form["additionalProperties"], json!({ "type": "string" }));
        assert_eq!(form["dependentRequired"]["client_assertion"], json!(["client_assertion_type"]));
    }
}
