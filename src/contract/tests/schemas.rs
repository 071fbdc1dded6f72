//! What is said of bodies that break their schemas, and what compiling says of schemas that cannot be used.

use super::*;

#[test]
fn errors_have_exact_pointers_and_never_repeat_a_value() {
    let schema = json!({
        "type": "object",
        "required": ["Data"],
        "properties": { "Data": { "$ref": "#/components/schemas/Payment" } },
        "additionalProperties": false,
    });
    let components = json!({
        "Payment": {
            "type": "object",
            "required": ["Amount", "Currency"],
            "properties": {
                "Amount": { "type": "string", "pattern": "^\\d{1,13}\\.\\d{1,5}$" },
                "Currency": { "enum": ["EUR", "GBP"] },
                "Count": { "type": "integer", "minimum": 1, "exclusiveMaximum": 10 },
                "Ratio": { "type": "number", "multipleOf": 0.01 },
                "Date": { "type": "string", "format": "date" },
                "Name": { "type": ["string", "null"], "minLength": 2, "maxLength": 4 },
                "Tags": { "type": "array", "items": { "type": "string" }, "uniqueItems": true, "maxItems": 3, "minItems": 1 },
                "a/b~c": { "type": "boolean" },
            },
        },
    });
    let contract = &compile(body_document(schema, components))[0];
    let base = json!({ "Data": { "Amount": "1.00", "Currency": "EUR" } });
    let with = |name: &str, value: Value| {
        let mut body = base.clone();
        body["Data"][name] = value;
        body
    };
    for (name, body, expected) in [
        ("right", base.clone(), &[][..]),
        ("not an object", json!([]), &[": must be an object"]),
        ("missing", json!({}), &["/Data: is missing"]),
        ("missing inside", json!({ "Data": {} }), &["/Data/Amount: is missing", "/Data/Currency: is missing"]),
        ("surplus", json!({ "Data": base["Data"], "x": 1 }), &["/x: is not allowed here"]),
        ("pattern", with("Amount", json!("secret")), &["/Data/Amount: must match the pattern ^\\d{1,13}\\.\\d{1,5}$"]),
        ("type", with("Amount", json!(1)), &["/Data/Amount: must be a string"]),
        ("enumeration", with("Currency", json!("secret")), &["/Data/Currency: must be one of \"EUR\", \"GBP\""]),
        ("minimum", with("Count", json!(0)), &["/Data/Count: must be at least 1"]),
        ("exclusive", with("Count", json!(10)), &["/Data/Count: must be less than 10"]),
        ("integral", with("Count", json!(2.0)), &[]),
        ("fraction", with("Count", json!(2.5)), &["/Data/Count: must be an integer"]),
        ("multiple", with("Ratio", json!(0.005)), &["/Data/Ratio: must be a multiple of 0.01"]),
        ("format", with("Date", json!("2023-02-29")), &["/Data/Date: must be a date (RFC 3339, such as 2026-05-31)"]),
        ("null", with("Name", Value::Null), &[]),
        ("too short", with("Name", json!("é")), &["/Data/Name: must have at least 2 characters"]),
        ("long enough", with("Name", json!("éééé")), &[]),
        ("too long", with("Name", json!("ééééé")), &["/Data/Name: must have at most 4 characters"]),
        ("either type", with("Name", json!(1)), &["/Data/Name: must be a string or null"]),
        ("item", with("Tags", json!(["a", 1])), &["/Data/Tags/1: must be a string"]),
        ("repeated", with("Tags", json!(["a", "a"])), &["/Data/Tags: must not repeat an item"]),
        ("escaped name", with("a/b~c", json!(1)), &["/Data/a~1b~0c: must be true or false"]),
    ] {
        assert_eq!(lines(&request_errors(contract, &body)), expected, "{name}");
    }
}

#[test]
fn alternatives_are_explained_by_the_one_that_is_meant() {
    let schema = json!({ "oneOf": [{ "$ref": "#/components/schemas/Card" }, { "$ref": "#/components/schemas/Iban" }, { "type": "null" }] });
    let components = json!({
        "Card": { "type": "object", "required": ["kind", "pan"], "properties": { "kind": { "const": "card" }, "pan": { "type": "string" } } },
        "Iban": { "type": "object", "required": ["kind", "iban"], "properties": { "kind": { "const": "iban" }, "iban": { "type": "string" } } },
    });
    let contract = &compile(body_document(schema, components))[0];
    for (body, expected) in [
        (json!({ "kind": "card", "pan": "1" }), &[][..]),
        (Value::Null, &[]),
        (json!({ "kind": "card", "pan": 1 }), &["/pan: must be a string"]),
        (json!({ "kind": "iban" }), &["/iban: is missing"]),
        (json!({ "kind": "other" }), &[": matches none of the alternatives"]),
        (json!({}), &[": matches none of the 3 alternatives"]),
        (json!(5), &[": must be an object or null"]),
    ] {
        assert_eq!(lines(&request_errors(contract, &body)), expected, "{body}");
    }
}

#[test]
fn required_members_mind_the_direction() {
    let components = json!({
        "Id": { "type": "string", "readOnly": true },
        "Base": {
            "type": "object",
            "required": ["id", "name", "secret"],
            "properties": {
                "id": { "$ref": "#/components/schemas/Id" },
                "name": { "type": "string" },
                "secret": { "type": "string", "writeOnly": true },
            },
        },
        "Outer": { "allOf": [{ "$ref": "#/components/schemas/Base" }, { "required": ["id", "made"] }],
                   "properties": { "made": { "type": "string", "readOnly": true } } },
    });
    for (schema, request, response) in [
        ("Base", &["/name: is missing", "/secret: is missing"][..], &["/id: is missing", "/name: is missing"][..]),
        (
            "Outer",
            &["/name: is missing", "/secret: is missing"],
            &["/id: is missing", "/name: is missing", "/id: is missing", "/made: is missing"],
        ),
    ] {
        let reference = json!({ "$ref": format!("#/components/schemas/{schema}") });
        let contract = &compile(body_document(reference, components.clone()))[0];
        assert_eq!(lines(&request_errors(contract, &json!({}))), request, "{schema} in a request");
        assert_eq!(lines(&response_errors(contract, &json!({}))), response, "{schema} in a response");
        let whole = json!({ "id": "1", "name": "n", "secret": "s", "made": "m" });
        assert_eq!(request_errors(contract, &whole), [], "readOnly members may be sent");
        assert_eq!(response_errors(contract, &whole), []);
    }
}

#[test]
fn references_lead_by_pointer_anchor_and_id_and_their_siblings_apply() {
    let components = json!({
        "Text": { "$anchor": "text", "type": "string", "maxLength": 3 },
        "Tree": { "type": "object", "properties": { "next": { "$ref": "#/components/schemas/Tree" }, "n": { "type": "integer" } } },
        "Own": { "$id": "https://a.example/own", "$defs": { "x": { "type": "boolean" } }, "$ref": "#/$defs/x" },
        "a/b": { "type": "null" },
    });
    let schema = json!({ "properties": {
        "anchor": { "$ref": "#text" },
        "sibling": { "$ref": "#/components/schemas/Text", "minLength": 2 },
        "tree": { "$ref": "#/components/schemas/Tree" },
        "id": { "$ref": "https://a.example/own" },
        "inside": { "$ref": "https://a.example/own#/$defs/x" },
        "escaped": { "$ref": "#/components/schemas/a~1b" },
        "encoded": { "$ref": "#/components/schemas/a%7E1b" },
        "dynamic": { "$dynamicRef": "#text" },
    } });
    let contract = &compile(body_document(schema, components))[0];
    for (body, expected) in [
        (json!({ "anchor": "abcd" }), "/anchor: must have at most 3 characters"),
        (json!({ "sibling": "a" }), "/sibling: must have at least 2 characters"),
        (json!({ "sibling": "abcd" }), "/sibling: must have at most 3 characters"),
        (json!({ "tree": { "next": { "next": { "n": "x" } } } }), "/tree/next/next/n: must be an integer"),
        (json!({ "id": 1 }), "/id: must be true or false"),
        (json!({ "inside": 1 }), "/inside: must be true or false"),
        (json!({ "escaped": 1 }), "/escaped: must be null"),
        (json!({ "encoded": 1 }), "/encoded: must be null"),
        (json!({ "dynamic": 1 }), "/dynamic: must be a string"),
    ] {
        assert_eq!(lines(&request_errors(contract, &body)), [expected], "{body}");
    }
}

#[test]
fn what_cannot_be_used_is_reported_and_only_that_is_unchecked() {
    let components = json!({
        "Loop": { "$ref": "#/components/schemas/Loop" },
        "Ring": { "allOf": [{ "anyOf": [{ "$ref": "#/components/schemas/Ring" }, { "type": "null" }] }, { "type": "string" }] },
    });
    for (name, schema, pointer, body, expected) in [
        ("pattern", json!({ "pattern": "(", "type": "string" }), "/pattern", json!(1), Some("must be a string")),
        (
            "pattern of names",
            json!({ "patternProperties": { "(": { "type": "null" } }, "additionalProperties": false }),
            "/patternProperties/(",
            json!({ "x": 1 }),
            None,
        ),
        (
            "type",
            json!({ "type": "file", "maxLength": 1 }),
            "/type",
            json!("ab"),
            Some("must have at most 1 characters"),
        ),
        (
            "boolean minimum",
            json!({ "exclusiveMinimum": true, "minimum": 5 }),
            "/exclusiveMinimum",
            json!(4),
            Some("must be at least 5"),
        ),
        ("required", json!({ "required": true }), "/required", json!({}), None),
        ("items as array", json!({ "items": [{ "type": "string" }] }), "/items", json!([1]), None),
        ("reference", json!({ "$ref": "#/nowhere", "type": "string" }), "/$ref", json!(1), Some("must be a string")),
        ("outside reference", json!({ "$ref": "https://b.example/x.json" }), "/$ref", json!(1), None),
        ("dynamic reference", json!({ "$dynamicRef": "#nobody" }), "/$dynamicRef", json!(1), None),
        ("dialect", json!({ "$schema": "https://x.example/dialect", "type": "string" }), "/$schema", json!(1), None),
        ("not a schema", json!({ "properties": { "a": 5 } }), "/properties/a", json!({ "a": 1 }), None),
        ("negative count", json!({ "minLength": -1 }), "/minLength", json!(""), None),
        ("zero divisor", json!({ "multipleOf": 0 }), "/multipleOf", json!(1), None),
        ("empty allOf", json!({ "allOf": [] }), "/allOf", json!(1), None),
    ] {
        let document = body_document(schema, json!({}));
        let operations = operations(&document);
        let (contracts, issues) = Contracts::compile(&Arc::new(document), &operations);
        let base = "/paths/~1a/post/requestBody/content/application~1json/schema";
        assert!(issues.iter().any(|issue| issue.pointer == format!("{base}{pointer}")), "{name}: {issues:?}");
        let details: Vec<String> = request_errors(&contracts[0], &body).into_iter().map(|error| error.detail).collect();
        assert_eq!(details, expected.into_iter().map(str::to_owned).collect::<Vec<_>>(), "{name}");
    }
    for (name, reference, body, expected) in [
        ("self", "Loop", json!(1), &[][..]),
        ("ring", "Ring", json!("text"), &[]),
        ("ring beside", "Ring", json!(1), &[": must be a string"]),
    ] {
        let document =
            body_document(json!({ "$ref": format!("#/components/schemas/{reference}") }), components.clone());
        let operations = operations(&document);
        let (contracts, issues) = Contracts::compile(&Arc::new(document), &operations);
        assert!(issues.iter().any(|issue| issue.cause == IssueCause::Endless), "{name}: {issues:?}");
        assert_eq!(lines(&request_errors(&contracts[0], &body)), expected, "{name}");
    }
}

#[test]
fn a_missing_schema_is_reported() {
    let mut operation = operations(&body_document(json!({}), json!({}))).remove(0);
    operation.body.as_mut().unwrap().content[0].schema = Some(SchemaPointer("/not/there".into()));
    let (contracts, issues) = Contracts::compile(&Arc::new(json!({})), &[operation]);
    assert!(issues.iter().any(|issue| issue.pointer == "/not/there" && issue.cause == IssueCause::Missing));
    assert_eq!(request_errors(&contracts[0], &json!(1)), []);
}

#[test]
fn work_and_stack_are_bounded() {
    // Each level asks both alternatives of the level below: 2^60 without a bound.
    let mut components = serde_json::Map::new();
    for level in 0..60 {
        let next = json!({ "$ref": format!("#/components/schemas/L{}", level + 1) });
        components.insert(format!("L{level}"), json!({ "anyOf": [next, next] }));
    }
    components.insert("L60".into(), json!({ "type": "null" }));
    // Giving up is a refusal even where the schema turns refusals around.
    let top = json!({ "$ref": "#/components/schemas/L0" });
    for schema in [top.clone(), json!({ "not": top }), json!({ "if": top, "then": true, "else": true })] {
        let contract = &compile(body_document(schema.clone(), Value::Object(components.clone())))[0];
        let errors = lines(&request_errors(contract, &json!(1)));
        assert_eq!(errors, [": is too deep or too large to be checked"], "{schema}");
    }

    // A chain of references longer than the stack would be.
    let mut components = serde_json::Map::new();
    for level in 0..5_000 {
        components.insert(format!("C{level}"), json!({ "$ref": format!("#/components/schemas/C{}", level + 1) }));
    }
    components.insert("C5000".into(), json!({ "type": "null" }));
    let contract = &compile(body_document(json!({ "$ref": "#/components/schemas/C0" }), Value::Object(components)))[0];
    assert_eq!(lines(&request_errors(contract, &json!(1))), [": is too deep or too large to be checked"]);

    // The deepest body that is parsed, against a schema that recurs.
    let tree = json!({ "type": "object", "properties": { "a": { "$ref": "#/components/schemas/T" } }, "additionalProperties": false });
    let contract = &compile(body_document(json!({ "$ref": "#/components/schemas/T" }), json!({ "T": tree })))[0];
    let nested = (0..63).fold(json!({ "b": 1 }), |inner, _| json!({ "a": inner }));
    let errors = request_errors(contract, &nested);
    assert_eq!(errors[0].pointer, format!("{}/b", "/a".repeat(63)));
}

#[test]
fn at_most_twenty_errors_are_listed_and_pointers_are_short() {
    let contract = &compile(body_document(json!({ "additionalProperties": { "type": "string" } }), json!({})))[0];
    let body: serde_json::Map<String, Value> =
        (0..100).map(|n| (format!("{n}{}", "x".repeat(10_000)), json!(1))).collect();
    let errors = request_errors(contract, &Value::Object(body));
    assert_eq!(errors.len(), 20);
    assert!(errors.iter().all(|error| error.pointer.len() < 300));
}
