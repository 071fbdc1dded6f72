//! Documents with something wrong anywhere: an import never panics, accounts for everything, and what it lets through
//! can be published.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::json;

use super::publish::{Edge, publish};
use super::sound::{dangling, imbalance, unsound};
use super::*;

/// One of everything that the grammar has.
fn everything() -> Value {
    json!({
        "openapi": "3.0.3",
        "info": {"title": "All", "version": "1", "contact": {"name": "n", "email": "a@b.example"}, "license": {"name": "l", "url": "https://l.example"}},
        "servers": [{"url": "https://{h}.example/v1", "variables": {"h": {"default": "x", "enum": ["x", "y"]}}}],
        "tags": [{"name": "T", "description": "d", "externalDocs": {"url": "https://e.example"}}],
        "security": [{"oauth": ["read"]}, {"key": []}],
        "paths": {
            "/pets/{id}": {
                "summary": "s",
                "parameters": [{"$ref": "#/components/parameters/Id"}, {"name": "q", "in": "query", "style": "form", "explode": false,
                    "schema": {"type": "array", "items": {"type": "string", "nullable": true}}}],
                "get": {"operationId": "pet", "tags": ["T"], "deprecated": true, "responses": {
                    "200": {"$ref": "#/components/responses/Pet"},
                    "default": {"description": "d", "headers": {"X-A": {"schema": {"type": "integer"}}},
                        "links": {"self": {"operationId": "pet", "parameters": {"id": "$response.body#/id"}}},
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Pet"}, "examples": {"e": {"value": {"kind": "Cat"}}}}}}}},
                "post": {"requestBody": {"required": true, "content": {
                        "application/json": {"schema": {"$ref": "#/components/schemas/Pet"}},
                        "multipart/form-data": {"schema": {"type": "object", "properties": {"f": {"type": "string", "format": "binary"}}},
                            "encoding": {"f": {"contentType": "image/png", "headers": {"X-B": {"$ref": "#/components/headers/B"}}}}}}},
                    "callbacks": {"on": {"{$request.body#/url}": {"post": {"responses": {"200": {"description": "ok"}}}}}},
                    "security": [{}], "responses": {"2XX": {"description": "ok"}}}
            },
            "/other": {"get": {"parameters": [{"name": "f", "in": "query", "content": {"application/json": {"schema": {"type": "object"}}}}],
                "responses": {"200": {"description": "ok", "content": {"text/plain": {"schema": {"$ref": "#/paths/~1pets~1{id}/parameters/1/schema/items"}}}}}}}
        },
        "components": {
            "parameters": {"Id": {"name": "id", "in": "path", "required": true, "schema": {"type": "string", "pattern": "^a"}}},
            "headers": {"B": {"description": "b", "schema": {"type": "string"}}},
            "responses": {"Pet": {"description": "p", "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Pet"}, "example": {}}}}},
            "schemas": {
                "Pet": {"type": "object", "required": ["kind"], "discriminator": {"propertyName": "kind", "mapping": {"c": "Cat"}},
                    "properties": {"kind": {"type": "string", "enum": ["Cat"], "example": "Cat"}, "next": {"$ref": "#/components/schemas/Pet"},
                        "n": {"type": "number", "minimum": 1, "exclusiveMinimum": true, "xml": {"name": "n"}}},
                    "additionalProperties": {"type": "string", "maxLength": 5}},
                "Cat": {"allOf": [{"$ref": "#/components/schemas/Pet"}, {"type": "object", "nullable": true}], "externalDocs": {"url": "https://e.example"}}
            },
            "securitySchemes": {
                "oauth": {"type": "oauth2", "flows": {"clientCredentials": {"tokenUrl": "https://t.example", "scopes": {"read": "r"}}}},
                "key": {"type": "apiKey", "in": "header", "name": "X-Key"}}
        }
    })
}

fn older() -> Value {
    json!({
        "swagger": "2.0", "info": {"title": "Old", "version": "1"}, "basePath": "/{v}/old", "host": "h.example", "schemes": ["https"],
        "consumes": ["application/json"], "produces": ["application/json"],
        "paths": {"/a/{id}": {
            "parameters": [{"name": "id", "in": "path", "required": true, "type": "string"}],
            "post": {"operationId": "a", "parameters": [{"$ref": "#/parameters/B"}, {"name": "l", "in": "query", "type": "array", "items": {"type": "string"}, "collectionFormat": "pipes"}],
                "responses": {"200": {"$ref": "#/responses/R"}, "400": {"description": "bad", "headers": {"X": {"type": "string"}}, "schema": {"type": "file"}}}},
            "put": {"consumes": ["multipart/form-data"], "parameters": [{"name": "f", "in": "formData", "type": "file"}],
                "responses": {"200": {"description": "ok", "schema": {"$ref": "#/definitions/A"}, "examples": {"application/json": {"a": 1}}}}}
        }},
        "definitions": {"A": {"type": "object", "discriminator": "k", "properties": {"k": {"type": "string"}, "x": {"type": "integer", "x-nullable": true}}},
            "B": {"allOf": [{"$ref": "#/definitions/A"}]}},
        "parameters": {"B": {"name": "b", "in": "body", "required": true, "schema": {"$ref": "#/definitions/B"}}},
        "responses": {"R": {"description": "r", "schema": {"$ref": "#/definitions/A"}}},
        "securityDefinitions": {"o": {"type": "oauth2", "flow": "application", "tokenUrl": "https://t.example", "scopes": {"s": "d"}}},
        "security": [{"o": ["s"]}]
    })
}

/// All pointers of a document.
fn places(value: &Value, at: &mut String, out: &mut Vec<String>) {
    out.push(at.clone());
    match value {
        Value::Object(members) => members.iter().for_each(|(k, v)| pointer::with(at, k, |at| places(v, at, out))),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(n, v)| pointer::with(at, &n.to_string(), |at| places(v, at, out)));
        }
        _ => {}
    }
}

/// Spoils one place.
fn spoil(document: &mut Value, place: usize, how: usize) {
    let mut all = Vec::new();
    places(document, &mut String::new(), &mut all);
    let place = &all[1 + place % (all.len() - 1)];
    let (parent, key) = place.rsplit_once('/').unwrap();
    let key = pointer::unescape(key).into_owned();
    let palette = [
        json!(null),
        json!(5),
        json!(-1.5),
        json!("x"),
        json!(""),
        json!(true),
        json!([]),
        json!({}),
        json!([null]),
        json!([{}]),
        json!({"$ref": "#/nowhere"}),
        json!({"$ref": format!("#{place}")}),
        json!({"$ref": "#/components/schemas/Pet"}),
        json!({"$ref": "../outside.yaml"}),
        json!({"x": {"y": 1}}),
        json!("#/components/schemas/Cat"),
        json!({"type": "float", "nullable": true}),
    ];
    let how = how % (palette.len() + 2);
    match document.pointer_mut(parent).unwrap() {
        Value::Object(members) if how == palette.len() => drop(members.shift_remove(&key)),
        Value::Object(members) if how == palette.len() + 1 => {
            let value = members.shift_remove(&key).unwrap();
            members.insert(format!("{key} ö/{{"), value);
        }
        Value::Object(members) => drop(members.insert(key, palette[how].clone())),
        Value::Array(items) => items[key.parse::<usize>().unwrap()] = palette[how % palette.len()].clone(),
        _ => unreachable!(),
    }
}

/// The published form, nothing if the document is refused as a whole, or what is wrong with the import.
fn check(document: &Value) -> Result<Option<Value>, Vec<String>> {
    let id = ApiId::parse("spoilt").unwrap();
    let Ok(api) = import::import_value(&id, "spoilt.json", document.clone()) else { return Ok(None) };
    let mut faults: Vec<String> = imbalance(&api).into_iter().chain(unsound(&api)).collect();
    let own = json!({"openapi": "3.1.0", "info": {"title": "o", "version": "1"}, "paths": {}});
    let edge = Edge {
        title: "t".into(),
        version: "1".into(),
        description: String::new(),
        public_url: "https://p.example".into(),
        mtls_url: None,
        token_url: "https://p.example/t".into(),
        scopes: BTreeMap::new(),
        dpop: BTreeSet::new(),
    };
    match publish(&[api], &own, &edge) {
        Ok(published) => {
            faults.extend(dangling(&published.unified));
            if faults.is_empty() { Ok(Some(published.unified)) } else { Err(faults) }
        }
        Err(issues) => Err(issues.iter().map(ToString::to_string).collect()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, ..ProptestConfig::default() })]
    #[test]
    fn spoilt_documents_are_imported_or_refused(
        old in any::<bool>(),
        faults in proptest::collection::vec((any::<usize>(), any::<usize>()), 1..4),
    ) {
        let mut document = if old { older() } else { everything() };
        for (place, how) in faults {
            spoil(&mut document, place, how);
        }
        let outcome = check(&document);
        prop_assert!(outcome.is_ok(), "{:?}\n{document}", outcome.err());
    }
}

/// Every single fault, published for an independent validator to look at (`SPOILT_OUT` names a folder).
#[test]
fn every_single_fault_is_survived() {
    let out = std::env::var_os("SPOILT_OUT").map(std::path::PathBuf::from);
    let (mut refused, mut wrong) = (0, Vec::new());
    for (name, base) in [("new", everything()), ("old", older())] {
        let mut all = Vec::new();
        places(&base, &mut String::new(), &mut all);
        // Without a folder to fill, a part of them: each place with a few faults, different ones from place to place.
        let step = if out.is_some() { 1 } else { 9 };
        for place in 0..all.len() - 1 {
            for how in (place % step..19).step_by(step) {
                let mut document = base.clone();
                spoil(&mut document, place, how);
                match (check(&document), &out) {
                    (Ok(Some(unified)), Some(out)) => {
                        std::fs::write(out.join(format!("{name}-{place}-{how}.json")), unified.to_string()).unwrap();
                    }
                    (Ok(Some(_)), None) => {}
                    (Ok(None), _) => refused += 1,
                    (Err(faults), _) => wrong.push(format!("{name} {} {how}: {faults:?}", all[place + 1])),
                }
            }
        }
    }
    println!("{refused} documents refused as a whole");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
