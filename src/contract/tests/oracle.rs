//! Our walk against the `jsonschema` crate: for random schemas and values both must come to the same verdict.

use jsonschema::Draft;
use proptest::prelude::*;

use super::*;

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3_i64..6).prop_map(Value::from),
        (-4_i32..8).prop_map(|n| json!(f64::from(n) / 2.0)),
        "[ab]{0,3}".prop_map(Value::from),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[abc]", inner, 0..4).prop_map(|members| json!(members)),
        ]
    })
}

fn type_name() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec!["null", "boolean", "integer", "number", "string", "array", "object"])
}

/// One keyword that needs no subschema.
fn assertion() -> impl Strategy<Value = (&'static str, Value)> {
    let names = || proptest::collection::btree_set("[abc]", 0..3).prop_map(|names| json!(names));
    prop_oneof![
        type_name().prop_map(|name| ("type", name.into())),
        proptest::collection::btree_set(type_name(), 1..3).prop_map(|names| ("type", json!(names))),
        proptest::collection::vec(value(), 1..4).prop_map(|values| ("enum", values.into())),
        value().prop_map(|value| ("const", value)),
        (proptest::sample::select(vec!["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"]), -3_i32..6)
            .prop_map(|(keyword, n)| (keyword, json!(f64::from(n) / 2.0))),
        proptest::sample::select(vec![json!(2), json!(0.5), json!(3)]).prop_map(|n| ("multipleOf", n)),
        (
            proptest::sample::select(vec![
                "minLength",
                "maxLength",
                "minItems",
                "maxItems",
                "minProperties",
                "maxProperties"
            ]),
            0_u64..4
        )
            .prop_map(|(keyword, n)| (keyword, json!(n))),
        proptest::sample::select(vec!["^a", "b$", "ab", "^(?!a)"]).prop_map(|pattern| ("pattern", pattern.into())),
        Just(("uniqueItems", json!(true))),
        names().prop_map(|names| ("required", names)),
        names().prop_map(|names| ("dependentRequired", json!({ "a": names }))),
    ]
}

fn schema() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        4 => proptest::collection::vec(assertion(), 1..3).prop_map(object),
        1 => any::<bool>().prop_map(Value::from),
        1 => proptest::sample::select(vec!["#/$defs/x", "#/$defs/y", "#"]).prop_map(|to| json!({ "properties": { "a": { "$ref": to } } })),
        1 => proptest::sample::select(vec!["#/$defs/x", "#/$defs/y"]).prop_map(|to| json!({ "$ref": to })),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        let several = proptest::collection::vec(inner.clone(), 1..4);
        let named = proptest::collection::btree_map("[abc]", inner.clone(), 0..3);
        let keyword = prop_oneof![
            3 => (proptest::sample::select(vec!["allOf", "anyOf", "oneOf", "prefixItems"]), several)
                .prop_map(|(keyword, schemas)| (keyword, json!(schemas))),
            3 => (proptest::sample::select(vec![
                "not", "if", "then", "else", "items", "contains", "additionalProperties", "propertyNames",
                "unevaluatedProperties", "unevaluatedItems",
            ]), inner.clone()),
            2 => (proptest::sample::select(vec!["properties", "patternProperties", "dependentSchemas"]), named)
                .prop_map(|(keyword, schemas)| (keyword, json!(schemas))),
            1 => (proptest::sample::select(vec!["minContains", "maxContains"]), 0_u64..3).prop_map(|(keyword, n)| (keyword, json!(n))),
            3 => assertion(),
        ];
        proptest::collection::vec(keyword, 1..5).prop_map(object)
    })
}

/// Schemas that end in `unevaluated…`, where what other keywords have looked at decides.
fn unevaluated() -> impl Strategy<Value = Value> {
    let leaf = || {
        prop_oneof![
            Just(json!(true)),
            Just(json!({ "type": "integer" })),
            Just(json!({ "required": ["a"] })),
            Just(json!({ "properties": { "a": true } })),
            Just(json!({ "properties": { "b": { "type": "integer" } } })),
            Just(json!({ "patternProperties": { "^[ab]$": true } })),
            Just(json!({ "additionalProperties": true })),
            Just(json!({ "additionalProperties": { "type": "integer" } })),
            Just(json!({ "unevaluatedProperties": true })),
            Just(json!({ "prefixItems": [true] })),
            Just(json!({ "items": { "type": "integer" } })),
            Just(json!({ "contains": { "type": "string" } })),
            Just(json!({ "unevaluatedItems": true })),
            Just(json!({ "$ref": "#/$defs/x" })),
            Just(json!({ "allOf": [{ "properties": { "c": true } }, { "prefixItems": [true, true] }] })),
        ]
    };
    let several = || proptest::collection::vec(leaf(), 1..4);
    let part = prop_oneof![
        (proptest::sample::select(vec!["allOf", "anyOf", "oneOf"]), several())
            .prop_map(|(keyword, all)| json!({ keyword: all })),
        (leaf(), leaf(), leaf()).prop_map(|(when, then, other)| json!({ "if": when, "then": then, "else": other })),
        leaf().prop_map(|schema| json!({ "dependentSchemas": { "a": schema } })),
        leaf().prop_map(|schema| json!({ "not": { "not": schema } })),
        leaf(),
    ];
    let end = proptest::sample::select(vec![
        ("unevaluatedProperties", json!(false)),
        ("unevaluatedProperties", json!({ "type": "string" })),
        ("unevaluatedItems", json!(false)),
        ("unevaluatedItems", json!({ "type": "string" })),
    ]);
    (proptest::collection::vec(part, 0..3), end, leaf()).prop_map(|(parts, (keyword, schema), x)| {
        let mut root = serde_json::Map::new();
        for part in parts {
            root.extend(part.as_object().cloned().unwrap_or_default());
        }
        root.insert(keyword.to_owned(), schema);
        let x = if x.get("$ref").is_some() { json!({ "properties": { "b": true } }) } else { x };
        root.insert("$defs".into(), json!({ "x": x }));
        Value::Object(root)
    })
}

/// Values with few members and items, so that each of them counts.
fn container() -> impl Strategy<Value = Value> {
    prop_oneof![
        proptest::collection::btree_map("[abc]", scalar(), 0..4).prop_map(|members| json!(members)),
        proptest::collection::vec(scalar(), 0..4).prop_map(Value::from),
    ]
}

fn object(members: Vec<(&'static str, Value)>) -> Value {
    Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn ours(schema: &Value, values: &[Value]) -> Option<Vec<Vec<FieldError>>> {
    let operation = operations(&body_document(json!({}), json!({}))).remove(0);
    let mut operation = operation;
    operation.body.as_mut().unwrap().content[0].schema = Some(SchemaPointer(String::new()));
    operation.responses.clear();
    let (contracts, issues) = Contracts::compile(&Arc::new(schema.clone()), &[operation]);
    issues.is_empty().then(|| values.iter().map(|value| request_errors(&contracts[0], value)).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn both_come_to_the_same_verdict(
        root in schema(), x in schema(), y in schema(), values in proptest::collection::vec(value(), 4..10)
    ) {
        let mut root = root;
        if let Value::Object(members) = &mut root {
            members.insert("$defs".into(), json!({ "x": x, "y": y }));
        }
        let oracle = jsonschema::options().with_draft(Draft::Draft202012).offline().build(&root);
        // A schema that is checked against itself without end has no verdict; we report it.
        if let (Some(verdicts), Ok(oracle)) = (ours(&root, &values), oracle) {
            for (value, errors) in values.iter().zip(verdicts) {
                prop_assert_eq!(errors.is_empty(), oracle.is_valid(value), "{} against {}: {:?}", value, &root, errors);
            }
        }
    }

    #[test]
    fn both_know_what_is_left_unevaluated(
        root in unevaluated(), values in proptest::collection::vec(container(), 6..12)
    ) {
        let oracle = jsonschema::options().with_draft(Draft::Draft202012).offline().build(&root).unwrap();
        let verdicts = ours(&root, &values).unwrap();
        for (value, errors) in values.iter().zip(verdicts) {
            prop_assert_eq!(errors.is_empty(), oracle.is_valid(value), "{} against {}: {:?}", value, &root, errors);
        }
    }

    #[test]
    fn random_json_as_a_document_never_panics(document in any_json(), instance in value()) {
        let operation = || operations(&body_document(json!({}), json!({}))).remove(0);
        let pointers = ["", "/a", "/properties", "/properties/a", "/allOf/0", "/items"];
        let specs: Vec<OperationSpec> = pointers.iter().map(|pointer| {
            let mut operation = operation();
            operation.body.as_mut().unwrap().content[0].schema = Some(SchemaPointer((*pointer).to_owned()));
            operation.parameters = vec![ParameterSpec {
                name: "p".into(), place: ParameterPlace::Query, required: false, style: Style::Form, explode: true,
                schema: Some(SchemaPointer((*pointer).to_owned())), media_type: None,
            }];
            operation
        }).collect();
        let (contracts, _) = Contracts::compile(&Arc::new(document), &specs);
        for contract in contracts {
            let _ = request_errors(&contract, &instance);
            let _ = contract.check_parameters(&[], Some("p=1&p=a&a=2"), &http::HeaderMap::new());
        }
    }
}

/// JSON whose member names are mostly keywords, with values of any form.
fn any_json() -> impl Strategy<Value = Value> {
    let name = proptest::sample::select(vec![
        "type",
        "enum",
        "const",
        "minimum",
        "multipleOf",
        "minLength",
        "pattern",
        "format",
        "required",
        "properties",
        "patternProperties",
        "additionalProperties",
        "propertyNames",
        "items",
        "prefixItems",
        "contains",
        "allOf",
        "anyOf",
        "oneOf",
        "not",
        "if",
        "then",
        "else",
        "dependentSchemas",
        "dependentRequired",
        "unevaluatedProperties",
        "unevaluatedItems",
        "$ref",
        "$dynamicRef",
        "$id",
        "$anchor",
        "$schema",
        "readOnly",
        "writeOnly",
        "a",
    ]);
    let leaf = prop_oneof![
        4 => scalar(),
        2 => proptest::sample::select(vec!["#", "#/properties", "#/allOf/0", "#a", "string", "array", "object", "a", "date", "(", "%"])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 5, move |inner| {
        prop_oneof![
            1 => proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            4 => proptest::collection::vec((name.clone(), inner), 0..6).prop_map(object),
        ]
    })
}
