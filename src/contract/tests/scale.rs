//! What contracts cost: printed, never asserted but for gross failure.

use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, HeaderValue};

use super::*;

fn timed(name: &str, rounds: u32, mut work: impl FnMut()) -> Duration {
    work();
    let started = Instant::now();
    (0..rounds).for_each(|_| work());
    let each = started.elapsed() / rounds;
    eprintln!("{name}: {each:?}");
    each
}

#[test]
fn ten_thousand_operations() {
    let parameter = |name: &str, place: &str, schema: Value| json!({ "name": name, "in": place, "schema": schema });
    let mut paths = serde_json::Map::new();
    for n in 0..10_000 {
        let content =
            json!({ "application/json": { "schema": { "$ref": format!("#/components/schemas/S{}", n % 200) } } });
        let error = json!({ "content": { "application/json": { "schema": { "$ref": "#/components/schemas/S0" } } } });
        paths.insert(
            format!("/r{n}/{{id}}"),
            json!({ "post": {
            "parameters": [
                { "$ref": "#/components/parameters/auth" },
                { "$ref": "#/components/parameters/interaction" },
                parameter("id", "path", json!({ "type": "string", "maxLength": 40 })),
                parameter("page", "query", json!({ "type": "integer", "minimum": 1 })),
            ],
            "requestBody": { "content": content },
            "responses": { "200": { "content": content }, "400": error, "401": error, "500": error },
        } }),
        );
    }
    let schemas: serde_json::Map<String, Value> = (0..200)
        .map(|n| {
            let next = json!({ "$ref": format!("#/components/schemas/S{}", (n + 1) % 200) });
            let mut properties = serde_json::Map::from_iter([("next".to_owned(), next)]);
            properties.extend((0..20).map(|m| (format!("field{m}"), json!({ "type": "string", "maxLength": 70 }))));
            (format!("S{n}"), json!({ "type": "object", "required": ["field0"], "properties": properties }))
        })
        .collect();
    let document = json!({ "paths": paths, "components": { "schemas": schemas, "parameters": {
        "auth": parameter("x-fapi-auth-date", "header", json!({ "type": "string", "pattern": "^(Mon|Tue)" })),
        "interaction": parameter("x-fapi-interaction-id", "header", json!({ "type": "string" })),
    } } });
    let (document, operations) = (Arc::new(document.clone()), operations(&document));
    let before = resident_kib();
    let started = Instant::now();
    let (contracts, issues) = Contracts::compile(&document, &operations);
    eprintln!("10,000 operations: compiled in {:?}, {} KiB resident more", started.elapsed(), resident_kib() - before);
    assert_eq!((contracts.len(), issues.len()), (10_000, 0));
}

fn resident_kib() -> i64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<i64>().ok()).unwrap_or(0) * 4
}

#[test]
fn checks_are_cheap() {
    let document = body_document(
        json!({ "type": "object", "required": ["Data", "Risk"], "properties": { "Data": { "$ref": "#/components/schemas/Data" }, "Risk": { "type": "object" } } }),
        json!({ "Data": { "type": "object", "required": ["Amount", "Currency"], "additionalProperties": false, "properties": {
            "Amount": { "type": "string", "pattern": "^\\d{1,13}$|^\\d{1,13}\\.\\d{1,5}$" },
            "Currency": { "type": "string", "pattern": "^[A-Z]{3}$" },
            "Reference": { "type": "string", "maxLength": 35 },
            "When": { "type": "string", "format": "date-time" },
        } } }),
    );
    let body = compile(document).remove(0);
    let payment = Body::Json(
        json!({ "Data": { "Amount": "12.50", "Currency": "GBP", "Reference": "FRESCO-101", "When": "2026-05-31T12:00:00Z" }, "Risk": {} }).into(),
    );
    let each =
        timed("body of 7 members", 2_000, || assert_eq!(body.check_body(Some("application/json"), &payment), Ok(())));
    assert!(each < Duration::from_millis(5));

    let parameters = json!({ "paths": { "/a/{id}": { "get": { "responses": {}, "parameters": [
        { "name": "id", "in": "path", "required": true, "schema": { "type": "string", "maxLength": 40 } },
        { "name": "x-fapi-interaction-id", "in": "header", "schema": { "type": "string", "format": "uuid" } },
        { "name": "page", "in": "query", "schema": { "type": "integer", "minimum": 1 } },
        { "name": "from", "in": "query", "schema": { "type": "string", "format": "date-time" } },
    ] } } } });
    let contract = compile(parameters).remove(0);
    let name = HeaderName::from_static("x-fapi-interaction-id");
    let headers = HeaderMap::from_iter([(name, HeaderValue::from_static("8e03978e-40d5-43e8-bc93-6894a57f9324"))]);
    let each = timed("4 parameters", 2_000, || {
        let query = Some("page=2&from=2026-05-31T12:00:00Z");
        assert_eq!(contract.check_parameters(&[("id", "22289")], query, &headers), []);
    });
    assert!(each < Duration::from_millis(5));
}

#[test]
fn a_real_document_compiles() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/specs/adyen/CheckoutService-v71.json");
    let Ok(text) = std::fs::read_to_string(file) else {
        println!("skipped: {file} does not exist");
        return;
    };
    let document: Value = serde_json::from_str(&text).unwrap();
    let operations = operations(&document);
    let started = Instant::now();
    let (contracts, issues) = Contracts::compile(&Arc::new(document), &operations);
    eprintln!("{} operations compiled in {:?}", contracts.len(), started.elapsed());
    assert_eq!((contracts.len(), issues), (28, Vec::new()));
}
