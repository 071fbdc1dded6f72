//! One repair after the other, each reported, none losing what the author wrote.

use serde_json::json;

use super::*;

fn mended(mut document: Value) -> (Value, Vec<String>) {
    let mut findings = Findings::default();
    mend(&mut document, "a.yaml", &mut Origins::new("a.yaml"), &mut findings);
    (document, findings.into_sorted().0.into_iter().map(|f| f.what).collect())
}

#[test]
fn schemas() {
    for (name, old, new) in [
        (
            "right",
            json!({"type": ["string", "null"], "maxLength": 3}),
            json!({"type": ["string", "null"], "maxLength": 3}),
        ),
        ("made-up type", json!({"type": "datetime"}), json!({"type": "string", "format": "date-time"})),
        ("capital letter", json!({"type": "String"}), json!({"type": "string"})),
        ("unknown type", json!({"type": "apiKey"}), json!({"x-invalid-type": "apiKey"})),
        ("no list of names", json!({"required": true}), json!({"x-invalid-required": true})),
        ("name twice", json!({"required": ["a", "a", 1]}), json!({"required": ["a"]})),
        ("text as number", json!({"maxLength": "35"}), json!({"maxLength": 35})),
        ("negative length", json!({"maxLength": -1}), json!({"x-invalid-maxLength": -1})),
        ("whole as fraction", json!({"maxItems": 3.0}), json!({"maxItems": 3})),
        ("zero multiple", json!({"multipleOf": 0}), json!({"x-invalid-multipleOf": 0})),
        ("empty list", json!({"oneOf": []}), json!({"x-invalid-oneOf": []})),
        ("empty enum", json!({"enum": []}), json!({"x-invalid-enum": []})),
        ("empty property", json!({"properties": {"a": null}}), json!({"properties": {"a": {}}})),
        ("typo", json!({"maxlength": 3}), json!({"x-invalid-maxlength": 3})),
        ("items list", json!({"items": [{"type": "string"}]}), json!({"prefixItems": [{"type": "string"}]})),
        ("text as discriminator", json!({"discriminator": "k"}), json!({"discriminator": {"propertyName": "k"}})),
        ("named examples", json!({"examples": {"a": {"value": 1}}}), json!({"examples": [1]})),
        ("reference in data", json!({"default": {"a": {"$ref": "#/x"}}}), json!({"default": {"a": {"x-ref": "#/x"}}})),
    ] {
        let (document, findings) =
            mended(json!({"info": {"title": "t", "version": "1"}, "components": {"schemas": {"S": old}}}));
        let schema = document["components"]["schemas"]["S"].clone();
        let changed = schema != old;
        let schema_text = serde_json::to_string(&schema).unwrap();
        assert_eq!(schema, new, "{name}: {schema_text}");
        assert_eq!(findings.is_empty(), !changed, "{name}: {findings:?}");
    }
}

#[test]
fn messages() {
    for (name, old, new) in [
        ("no description", json!({"responses": {"200": {}}}), json!({"responses": {"200": {"description": ""}}})),
        (
            "codes",
            json!({"responses": {"2xx": {"description": "a"}, "ok": {"description": "b"}, " 404": {"description": "c"}}}),
            json!({"responses": {"2XX": {"description": "a"}, "404": {"description": "c"}, "x-invalid-ok": {"description": "b"}}}),
        ),
        (
            "path parameter",
            json!({"parameters": [{"name": "a", "in": "path", "style": "form"}]}),
            json!({"parameters": [{"name": "a", "in": "path", "x-invalid-style": "form", "schema": {}, "required": true}]}),
        ),
        (
            "schema and content",
            json!({"parameters": [{"name": "a", "in": "query", "schema": {}, "content": {"a/b": {}}}]}),
            json!({"parameters": [{"name": "a", "in": "query", "schema": {}, "x-invalid-content": {"a/b": {}}}]}),
        ),
        (
            "example and examples",
            json!({"requestBody": {"content": {"a/b": {"example": 1, "examples": {"e": 2}}}}}),
            json!({"requestBody": {"content": {"a/b": {"x-invalid-example": 1, "examples": {"e": {"value": 2}}}}}}),
        ),
        ("no content", json!({"requestBody": {}}), json!({"requestBody": {"content": {"*/*": {}}}})),
        ("unknown member", json!({"summery": "a"}), json!({"x-invalid-summery": "a"})),
        ("number as text", json!({"summary": 5}), json!({"summary": "5"})),
        ("empty member", json!({"summary": null}), json!({})),
        ("one tag", json!({"tags": "a"}), json!({"tags": ["a"]})),
    ] {
        let (document, findings) =
            mended(json!({"info": {"title": "t", "version": "1"}, "paths": {"/a": {"post": old}}}));
        assert_eq!(document["paths"]["/a"]["post"], new, "{name}");
        assert!(!findings.is_empty(), "{name} is reported");
    }
}

#[test]
fn the_root() {
    let (document, _) = mended(json!({
        "openapi": "3.1.1", "jsonSchemaDialect": "https://example.com/mine", "swaggerish": 1,
        "tags": ["a", {"name": "a"}, {"description": "nameless"}],
        "components": {"schemas": {"A b": {"items": {"$ref": "#/components/schemas/A%20b"}}, "AB": {}}}
    }));
    assert_eq!(document["info"], json!({"title": "a.yaml", "version": "0"}));
    assert_eq!(document["tags"], json!([{"name": "a"}]));
    assert_eq!(document["components"]["schemas"]["AB_2"]["items"]["$ref"], "#/components/schemas/AB_2");
    assert!(document.get("jsonSchemaDialect").is_none());
}
