//! Request bodies against a rich schema: parsed as strictly as promised, and judged as the jsonschema crate judges.
#![no_main]

use std::sync::{Arc, LazyLock};

use clearway::contract::{
    Body, BodyRefusal, BodySpec, Contract, Contracts, MediaTypeSpec, OperationSpec, SchemaPointer, parse_body,
};
use clearway::domain::OperationId;
use http::Method;
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

fn schema() -> Value {
    json!({
        "type": "object",
        "required": ["Data"],
        "properties": {
            "Data": {
                "type": "object",
                "required": ["Amount", "Currency"],
                "properties": {
                    "Amount": { "type": "string", "pattern": "^\\d{1,13}\\.\\d{1,5}$" },
                    "Currency": { "type": "string", "enum": ["GBP", "EUR"] },
                    "Count": { "type": "integer", "minimum": 0, "exclusiveMaximum": 100, "multipleOf": 5 },
                    "Rate": { "type": ["number", "null"], "multipleOf": 0.01 },
                    "Tags": { "type": "array", "uniqueItems": true, "minItems": 1, "maxItems": 4,
                        "items": { "type": "string", "minLength": 1, "maxLength": 8 } },
                    "Pair": { "prefixItems": [{ "type": "integer" }, { "type": "string" }], "items": false },
                    "Next": { "$ref": "#/properties/Data" },
                    "Some": { "contains": { "const": 1 }, "minContains": 1, "maxContains": 2 }
                },
                "dependentRequired": { "Rate": ["Count"] },
                "additionalProperties": false
            },
            "Risk": {
                "oneOf": [
                    { "properties": { "Kind": { "const": "a" }, "A": { "type": "integer" } }, "required": ["Kind"] },
                    { "properties": { "Kind": { "const": "b" }, "B": { "type": "boolean" } }, "required": ["Kind"] }
                ],
                "unevaluatedProperties": false
            },
            "Meta": {
                "if": { "properties": { "x": { "type": "integer" } }, "required": ["x"] },
                "then": { "required": ["y"] },
                "else": { "maxProperties": 2 },
                "propertyNames": { "maxLength": 3 },
                "patternProperties": { "^n": { "not": { "type": "null" } } }
            }
        }
    })
}

static CONTRACT: LazyLock<Arc<Contract>> = LazyLock::new(|| {
    let operation = OperationSpec {
        id: OperationId::parse("api.op").unwrap(),
        method: Method::POST,
        path: "/a".into(),
        pointer: String::new(),
        parameters: Vec::new(),
        body: Some(BodySpec {
            required: true,
            content: vec![MediaTypeSpec {
                media_type: "application/json".into(),
                schema: Some(SchemaPointer(String::new())),
            }],
        }),
        responses: Vec::new(),
    };
    let (contracts, issues) = Contracts::compile(&Arc::new(schema()), &[operation]);
    assert!(issues.is_empty(), "{issues:?}");
    contracts[0].clone()
});

static ORACLE: LazyLock<jsonschema::Validator> = LazyLock::new(|| {
    jsonschema::options().with_draft(jsonschema::Draft::Draft202012).offline().build(&schema()).unwrap()
});

fuzz_target!(|bytes: &[u8]| {
    let kind = Some("application/json");
    let _ = parse_body(Some("application/x-www-form-urlencoded"), bytes);
    let lenient = serde_json::from_slice::<Value>(bytes);
    match parse_body(kind, bytes) {
        Ok(Body::Absent) => assert!(bytes.is_empty()),
        Ok(Body::Json(json)) => {
            let value = json.value();
            assert_eq!(lenient.expect("strict JSON is JSON"), *value);
            assert!(depth(value) <= 64);
            judge(value);
        }
        Ok(other) => panic!("{other:?}"),
        Err(_) => {
            // Refused, although serde_json takes it: a name twice, too deep, or an exponent beyond an i64.
            if let Ok(value) = lenient {
                let shorter = serde_json::to_vec(&value).unwrap_or_default();
                let twice = members(bytes) > members(&shorter);
                assert!(
                    twice || depth(&value) > 64 || longest_exponent(bytes) > 17,
                    "refused without a reason: {value}"
                );
            }
        }
    }
});

fn judge(value: &Value) {
    let verdict = CONTRACT.check_body(Some("application/json"), &Body::Json(value.clone().into())); // The oracle knows the tree alone.
    let errors = match verdict {
        Ok(()) => Vec::new(),
        Err(BodyRefusal::Invalid(errors)) => errors,
        Err(refusal) => panic!("{refusal:?}"),
    };
    assert!(errors.len() <= 20);
    assert_eq!(errors.is_empty(), ORACLE.is_valid(value), "{value}: {errors:?}");
    for error in errors {
        let parent = error.pointer.rsplit_once('/').map_or("", |(parent, _)| parent);
        assert!(value.pointer(&error.pointer).is_some() || value.pointer(parent).is_some(), "{}", error.pointer);
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// How many colons stand outside of texts: one for each member as it was written.
fn members(text: &[u8]) -> usize {
    let (mut count, mut inside, mut escaped) = (0, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if inside => escaped = true,
            b'"' => inside = !inside,
            b':' if !inside => count += 1,
            _ => {}
        }
    }
    count
}

/// Digits of the longest exponent outside of texts.
fn longest_exponent(text: &[u8]) -> usize {
    let (mut longest, mut digits, mut inside, mut escaped) = (0, None, false, false);
    for byte in text {
        digits = match (byte, digits) {
            (b'e' | b'E', _) if !inside => Some(0),
            (b'+' | b'-', Some(0)) => Some(0),
            (b'0'..=b'9', Some(count)) => Some(count + 1),
            _ => None,
        };
        longest = longest.max(digits.unwrap_or(0));
        match byte {
            _ if escaped => escaped = false,
            b'\\' if inside => escaped = true,
            b'"' => inside = !inside,
            _ => {}
        }
    }
    longest
}
