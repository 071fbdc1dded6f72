use serde_json::{Value, json};

use super::*;
use crate::sandbox::testing::NOW;

fn make(schema: &Value, direction: Direction, seed: u64) -> Result<Value, GenerateError> {
    let document = json!({ "components": { "schemas": { "It": schema } } });
    value(&document, &SchemaPointer("/components/schemas/It".into()), direction, seed, NOW)
}

/// Makes values with several seeds and holds each against the schema with a validator of its own.
#[track_caller]
fn assert_makes(schema: &Value) {
    let judge = jsonschema::options().should_validate_formats(true).build(schema);
    for seed in 0..4 {
        let made = make(schema, Direction::Response, seed).unwrap_or_else(|error| panic!("{schema}: {error}"));
        if let Ok(judge) = &judge {
            assert!(judge.is_valid(&made), "{schema}: {made}");
        }
    }
}

#[test]
fn every_keyword_is_kept_to() {
    for schema in [
        json!(true),
        json!({}),
        json!({ "type": "null" }),
        json!({ "type": ["string", "null"], "maxLength": 2 }),
        json!({ "enum": [null, 3, "x"], "type": "integer" }),
        json!({ "const": { "a": [1] } }),
        json!({ "type": "array", "items": { "enum": ["a", "b", "c"] }, "minItems": 3, "uniqueItems": true }),
        json!({ "type": "array", "items": { "type": "boolean" }, "minItems": 4, "maxItems": 4 }),
        json!({ "type": "array", "items": { "type": "string", "examples": ["same"] }, "minItems": 3, "uniqueItems": true }),
        json!({ "type": "array", "prefixItems": [{ "type": "string" }, { "type": "integer" }], "items": false }),
        json!({ "type": "array", "contains": { "const": 7 }, "items": { "type": "integer" } }),
        json!({ "type": "array", "maxItems": 0, "items": { "type": "string" } }),
        json!({ "type": "object", "required": ["a"], "properties": { "a": { "type": "string", "format": "date" } }, "additionalProperties": false }),
        json!({ "type": "object", "minProperties": 3, "additionalProperties": { "type": "integer" } }),
        json!({ "type": "object", "maxProperties": 1, "properties": { "a": {}, "b": {}, "c": {} } }),
        json!({ "type": "object", "propertyNames": { "pattern": "^x-[a-z]+$" }, "minProperties": 2 }),
        json!({ "type": "object", "patternProperties": { "^x-": { "type": "integer" } }, "required": ["x-a"] }),
        json!({ "type": "object", "properties": { "a": {}, "b": {} }, "dependentRequired": { "a": ["c"] } }),
        json!({ "allOf": [{ "type": "object", "required": ["a"] }, { "properties": { "a": { "type": "integer", "minimum": 3 } } }, { "properties": { "a": { "maximum": 4 } } }] }),
        json!({ "oneOf": [{ "type": "object", "required": ["a"], "properties": { "a": { "type": "string" } } }, { "type": "object", "required": ["b"], "properties": { "b": { "type": "string" } } }] }),
        json!({ "oneOf": [{ "type": "integer" }, { "type": "number", "minimum": 1 }] }),
        json!({ "anyOf": [{ "type": "null" }, { "type": "string", "minLength": 30 }] }),
        json!({ "type": "object", "properties": { "a": { "type": "integer" } }, "not": { "required": ["a"] } }),
        json!({ "type": "string", "enum": ["a", "b"], "not": { "const": "a" } }),
        json!({ "if": { "properties": { "k": { "const": 1 } } }, "then": { "required": ["a"] }, "else": { "required": ["b"] }, "type": "object", "properties": { "k": { "enum": [1, 2] } }, "required": ["k"] }),
        json!({ "type": "object", "unevaluatedProperties": false, "allOf": [{ "properties": { "a": { "type": "string" } }, "required": ["a"] }] }),
        json!({ "type": "string", "examples": ["not an e-mail"], "format": "email" }),
        json!({ "type": "object", "examples": [{ "a": "wrong" }], "required": ["a"], "properties": { "a": { "type": "integer" } } }),
        json!({ "type": "object", "required": ["a"], "properties": { "a": { "type": "string", "default": "far too long", "maxLength": 3 } } }),
    ] {
        assert_makes(&schema);
    }
}

#[test]
fn what_cannot_be_is_reported() {
    for schema in [
        json!(false),
        json!({ "type": "string", "minLength": 5, "maxLength": 2 }),
        json!({ "allOf": [{ "type": "string" }, { "type": "integer" }] }),
        json!({ "type": "object", "required": ["a"], "properties": { "a": false } }),
        json!({ "enum": [1], "not": { "const": 1 } }),
    ] {
        assert!(make(&schema, Direction::Response, 0).is_err(), "{schema}");
    }
    let document = json!({});
    let missing = value(&document, &SchemaPointer("/nowhere".into()), Direction::Response, 0, NOW);
    assert!(matches!(missing, Err(GenerateError::NoSchema { .. })));
}

#[test]
fn circles_end() {
    let document = json!({ "components": { "schemas": {
        "Tree": { "type": "object", "required": ["name", "children"], "properties": {
            "name": { "type": "string" },
            "parent": { "$ref": "#/components/schemas/Tree" },
            "children": { "type": "array", "items": { "$ref": "#/components/schemas/Tree" } },
        }},
        "Chain": { "type": "object", "required": ["next"], "properties": {
            "next": { "oneOf": [{ "$ref": "#/components/schemas/Chain" }, { "type": "null" }] },
        }},
        "Endless": { "type": "object", "required": ["again"], "properties": {
            "again": { "$ref": "#/components/schemas/Endless" },
        }},
        "Itself": { "$ref": "#/components/schemas/Itself" },
    }}});
    let make = |name: &str| {
        value(&document, &SchemaPointer(format!("/components/schemas/{name}")), Direction::Response, 0, NOW)
    };
    let tree = make("Tree").unwrap();
    assert!(tree["children"].is_array() && tree.to_string().len() < 2_000, "{tree}");
    assert!(make("Chain").unwrap()["next"].is_object());
    assert!(matches!(make("Endless"), Err(GenerateError::Endless { .. })));
    drop(make("Itself"));
}

#[test]
fn examples_come_first_where_they_are_valid() {
    let schema = json!({ "type": "object", "properties": {
        "good": { "type": "string", "examples": ["from the document"] },
        "bad": { "type": "integer", "examples": ["no integer"] },
        "second": { "type": "string", "maxLength": 4, "examples": ["too long", "fits"] },
    }});
    let made = make(&schema, Direction::Response, 0).unwrap();
    assert_eq!(made["good"], "from the document");
    assert!(made["bad"].is_i64());
    assert_eq!(made["second"], "fits");
}

#[test]
fn each_direction_has_its_own_members() {
    let schema = json!({ "type": "object", "required": ["both"], "properties": {
        "both": { "type": "string" },
        "id": { "type": "string", "readOnly": true },
        "secret": { "type": "string", "writeOnly": true },
    }});
    let names = |direction| {
        let made = make(&schema, direction, 0).unwrap();
        made.as_object().unwrap().keys().cloned().collect::<Vec<_>>()
    };
    assert_eq!(names(Direction::Request), ["both", "secret"]);
    assert_eq!(names(Direction::Response), ["both", "id"]);
}

#[test]
fn a_discriminator_names_the_kind() {
    let document = json!({ "components": { "schemas": {
        "Pet": { "oneOf": [{ "$ref": "#/components/schemas/Cat" }, { "$ref": "#/components/schemas/Dog" }],
            "discriminator": { "propertyName": "kind", "mapping": { "feline": "#/components/schemas/Cat" } } },
        "Cat": { "type": "object", "required": ["kind", "lives"], "properties": { "kind": { "type": "string" }, "lives": { "type": "integer" } } },
        "Dog": { "type": "object", "required": ["kind", "tricks"], "properties": { "kind": { "type": "string" }, "tricks": { "type": "integer" } } },
        "Base": { "type": "object", "required": ["kind"], "properties": { "kind": { "type": "string" } },
            "discriminator": { "propertyName": "kind", "mapping": { "hen": "#/components/schemas/Hen" } } },
        "Hen": { "allOf": [{ "$ref": "#/components/schemas/Base" }, { "type": "object" }] },
        "Duck": { "allOf": [{ "$ref": "#/components/schemas/Base" }] },
        "Coop": { "type": "object", "properties": { "a": { "$ref": "#/components/schemas/Hen" } } },
    }}});
    let make = |name: &str| {
        value(&document, &SchemaPointer(format!("/components/schemas/{name}")), Direction::Response, 0, NOW).unwrap()
    };
    assert_eq!(make("Pet")["kind"], "feline");
    assert_eq!(make("Coop")["a"]["kind"], "hen");
}

#[test]
fn the_same_seed_makes_the_same_value() {
    let schema = json!({ "type": "object", "properties": {
        "id": { "type": "string", "format": "uuid" }, "code": { "type": "string", "pattern": "^[A-Z]{8}$" },
    }});
    let made = |seed| make(&schema, Direction::Response, seed).unwrap();
    assert_eq!(made(1), made(1));
    assert_ne!(made(1), made(2));
}

proptest::proptest! {
    /// Schemas put together at random: what is made is valid, or it is said that there is nothing.
    #[test]
    fn what_is_made_is_valid(schema in any_schema(), seed in 0_u64..50) {
        let judge = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
        if let Ok(made) = make(&schema, Direction::Response, seed) {
            proptest::prop_assert!(judge.is_valid(&made), "{schema}: {made}");
        }
    }
}

fn any_schema() -> impl proptest::strategy::Strategy<Value = Value> {
    use proptest::prelude::*;
    let leaf = prop_oneof![
        (0_u64..6, 0_u64..9).prop_map(|(a, b)| json!({ "type": "string", "minLength": a, "maxLength": a + b })),
        (-9_i64..9, 0_i64..9).prop_map(|(a, b)| json!({ "type": "integer", "minimum": a, "maximum": a + b })),
        Just(json!({ "type": "string", "pattern": "^[a-f]{2,6}(-\\d)?$" })),
        Just(json!({ "type": "boolean" })),
        Just(json!({ "enum": ["a", "b", 1, null] })),
        Just(json!({ "type": "string", "format": "date-time" })),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            (inner.clone(), 0_u64..3, any::<bool>()).prop_map(
                |(item, min, unique)| json!({ "type": "array", "items": item, "minItems": min, "uniqueItems": unique })
            ),
            (inner.clone(), inner.clone(), any::<bool>()).prop_map(|(a, b, closed)| json!({
                "type": "object", "required": ["a"], "properties": { "a": a, "b": b }, "additionalProperties": !closed,
            })),
            prop::collection::vec(inner.clone(), 1..3).prop_map(|all| json!({ "oneOf": all })),
            prop::collection::vec(inner.clone(), 1..3).prop_map(|all| json!({ "anyOf": all })),
            prop::collection::vec(inner, 1..3).prop_map(|all| json!({ "allOf": all })),
        ]
    })
}

#[test]
fn alternatives_that_differ_in_optional_members_only_are_told_apart() {
    let schema = json!({ "oneOf": [
        { "type": "object", "properties": { "hunts": { "type": "boolean" }, "age": { "type": "integer" } } },
        { "type": "object", "properties": { "bark": { "type": "boolean" }, "breed": { "type": "string" } } },
    ]});
    assert_makes(&schema);
}

#[test]
fn a_pattern_that_is_none_is_passed_over() {
    let schema = json!({ "type": "object", "required": ["a", "b"], "properties": {
        "a": { "type": "string", "pattern": "^(1\\00|\\d)$" }, "b": { "type": "string", "pattern": "^[a-z]{3}$" },
    }});
    let made = make(&schema, Direction::Response, 0).unwrap();
    assert_eq!(made["b"].as_str().map(str::len), Some(3));
}
