//! Parameters in every place and style.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::*;

fn contract(parameters: Value) -> Arc<Contract> {
    let document =
        json!({ "openapi": "3.1.0", "paths": { "/a": { "get": { "parameters": parameters, "responses": {} } } } });
    compile(document).remove(0)
}

fn one(place: &str, style: Option<&str>, explode: Option<bool>, schema: Value) -> Arc<Contract> {
    let mut parameter = json!({ "name": "p", "in": place, "schema": schema });
    if let Some(style) = style {
        parameter["style"] = style.into();
    }
    if let Some(explode) = explode {
        parameter["explode"] = explode.into();
    }
    contract(json!([parameter]))
}

fn query(contract: &Contract, query: &str) -> Vec<String> {
    lines(&contract.check_parameters(&[], Some(query), &HeaderMap::new()))
}

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    let each =
        fields.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()));
    each.collect()
}

#[test]
fn scalars_in_the_query() {
    let missing: &[&str] = &["#query/p: is missing"];
    for (schema, text, expected) in [
        (json!({ "type": "integer", "minimum": 1, "maximum": 500 }), "p=25", &[][..]),
        (json!({ "type": "integer", "minimum": 1, "maximum": 500 }), "p=501", &["#query/p: must be at most 500"]),
        (json!({ "type": "integer" }), "p=abc", &["#query/p: must be an integer"]),
        (json!({ "type": "integer" }), "p=1.5", &["#query/p: must be an integer"]),
        (json!({ "type": "integer" }), "p=01", &["#query/p: must be an integer"]),
        (json!({ "type": "integer" }), "p=%2B1", &["#query/p: must be an integer"]),
        (json!({ "type": "integer" }), "p=", &["#query/p: must be an integer"]),
        (json!({ "type": "integer" }), "p", &["#query/p: must be an integer"]),
        (json!({ "type": "integer" }), "p=1&p=2", &["#query/p: must occur only once"]),
        (json!({ "type": "integer" }), "p=+1", &["#query/p: must be an integer"]),
        (json!({ "type": "number" }), "p=-1.5e3", &[]),
        (json!({ "type": "boolean" }), "p=true", &[]),
        (json!({ "type": "boolean" }), "p=1", &["#query/p: must be true or false"]),
        (json!({ "type": "string" }), "p=true", &[]),
        (json!({ "type": "string" }), "p=", &[]),
        (json!({ "type": "string", "minLength": 1 }), "p=", &["#query/p: must have at least 1 characters"]),
        (json!({ "type": "string", "maxLength": 1 }), "p=%C3%A9", &[]),
        (json!({ "type": "string" }), "p=%zz", &["#query/p: is not percent-encoded UTF-8"]),
        (json!({ "type": "string" }), "p=%ff", &["#query/p: is not percent-encoded UTF-8"]),
        (json!({ "type": "string", "format": "date-time" }), "p=2024-01-01T00:00:00Z", &[]),
        (json!({ "type": "string", "format": "date-time" }), "p=2024-01-01T00:00:00%2B01:00", &[]),
        (json!({ "type": "string", "format": "date-time" }), "p=2024-01-01T00:00:00+01:00", &[]),
        (json!({ "type": "string", "enum": ["a b", "c"] }), "p=a+b", &[]),
        (json!({ "type": "string", "enum": ["a b", "c"] }), "p=d", &["#query/p: must be one of \"a b\", \"c\""]),
        (json!({ "enum": [1, 2] }), "p=2", &[]),
        (json!({ "const": "x" }), "p=y", &["#query/p: must be \"x\""]),
        (json!({ "type": ["integer", "null"] }), "p=", &[]),
        (json!({ "anyOf": [{ "type": "integer" }, { "type": "string", "enum": ["all"] }] }), "p=all", &[]),
        (json!({ "anyOf": [{ "type": "integer" }, { "type": "string", "enum": ["all"] }] }), "p=7", &[]),
        (
            json!({ "anyOf": [{ "type": "integer" }, { "type": "string", "enum": ["all"] }] }),
            "p=x",
            &["#query/p: must be \"all\""],
        ),
        (json!({}), "p=anything", &[]),
        (json!({ "type": "string" }), "q=1", &[]),
    ] {
        assert_eq!(query(&one("query", None, None, schema.clone()), text), expected, "{schema} {text}");
    }
    let required = contract(json!([{ "name": "p", "in": "query", "required": true, "schema": {} }]));
    assert_eq!(query(&required, ""), missing);
    assert_eq!(lines(&required.check_parameters(&[], None, &HeaderMap::new())), missing);
    assert_eq!(query(&required, "P=1"), missing, "names are case-sensitive");
    assert_eq!(query(&required, "%70=1"), [""; 0], "names are decoded");
}

#[test]
fn arrays_and_objects_in_the_query() {
    let numbers = json!({ "type": "array", "items": { "type": "integer" }, "maxItems": 2 });
    let object = json!({ "type": "object", "required": ["a"], "properties": { "a": { "type": "integer" }, "b": { "type": "string" } } });
    let too_many = "#query/p: must have at most 2 items";
    for (style, explode, schema, text, expected) in [
        (None, None, &numbers, "p=1&p=2", &[][..]),
        (None, None, &numbers, "p=1", &[]),
        (None, None, &numbers, "p=1&p=x", &["#query/p/1: must be an integer"]),
        (None, None, &numbers, "p=1&p=2&p=3", &[too_many]),
        (None, Some(false), &numbers, "p=1,2", &[]),
        (None, Some(false), &numbers, "p=1%2C2", &[]),
        (None, Some(false), &numbers, "p=", &[]),
        (None, Some(false), &numbers, "p=1,2,3", &[too_many]),
        (None, Some(false), &numbers, "p=1&p=2", &["#query/p: must occur only once"]),
        (Some("spaceDelimited"), Some(false), &numbers, "p=1%202", &[]),
        (Some("spaceDelimited"), Some(false), &numbers, "p=1+x", &["#query/p/1: must be an integer"]),
        (Some("pipeDelimited"), Some(false), &numbers, "p=1|2", &[]),
        (Some("pipeDelimited"), Some(false), &numbers, "p=1%7C2%7C3", &[too_many]),
        (Some("pipeDelimited"), Some(true), &numbers, "p=1&p=2", &[]),
        (None, None, &object, "a=1&b=x", &[]),
        (None, None, &object, "a=x", &["#query/p/a: must be an integer"]),
        (None, None, &object, "b=x", &["#query/p/a: is missing"]),
        (None, None, &object, "", &[]),
        (None, Some(false), &object, "p=a,1,b,x", &[]),
        (None, Some(false), &object, "p=a,x", &["#query/p/a: must be an integer"]),
        (None, Some(false), &object, "p=a", &["#query/p: must list names and values in turn"]),
        (Some("deepObject"), Some(true), &object, "p[a]=1&p[b]=x", &[]),
        (Some("deepObject"), Some(true), &object, "p%5Ba%5D=1", &[]),
        (
            Some("deepObject"),
            Some(true),
            &object,
            "p[a]=x&p[a][]=1",
            &["#query/p: has a name that is written both plainly and in brackets"],
        ),
        (Some("deepObject"), Some(true), &object, "p[b]=1", &["#query/p/a: is missing"]),
        (Some("deepObject"), Some(true), &object, "p=1", &["#query/p: must be written as name[member]=value"]),
        (Some("deepObject"), Some(true), &object, "px[a]=q", &[]),
    ] {
        let contract = one("query", style, explode, schema.clone());
        assert_eq!(query(&contract, text), expected, "{style:?} {explode:?} {text}");
    }
    let either = json!({ "anyOf": [{ "type": "string", "enum": ["all"] }, { "type": "array", "items": { "type": "integer" } }] });
    let either = one("query", None, None, either);
    assert_eq!(
        [query(&either, "p=all"), query(&either, "p=1&p=2"), query(&either, "p=1")],
        [const { Vec::<String>::new() }; 3]
    );
    assert_eq!(query(&either, "p=1&p=x"), ["#query/p/1: must be an integer"]);
}

#[test]
fn path_styles() {
    let numbers = json!({ "type": "array", "items": { "type": "integer" } });
    let object =
        json!({ "type": "object", "properties": { "a": { "type": "integer" } }, "additionalProperties": false });
    let scalar = json!({ "type": "string", "maxLength": 3 });
    for (style, explode, schema, raw, expected) in [
        ("simple", false, &scalar, "abc", &[][..]),
        ("simple", false, &scalar, "a%20c", &[]),
        ("simple", false, &scalar, "a+c+", &["#path/p: must have at most 3 characters"]),
        ("simple", false, &numbers, "1,2", &[]),
        ("simple", false, &numbers, "1,x", &["#path/p/1: must be an integer"]),
        ("simple", false, &object, "a,1", &[]),
        ("simple", true, &object, "a=1", &[]),
        ("simple", true, &object, "a=x", &["#path/p/a: must be an integer"]),
        ("simple", true, &object, "b=1", &["#path/p/b: is not allowed here"]),
        ("label", false, &scalar, ".abc", &[]),
        ("label", false, &scalar, "abc", &["#path/p: must start with a dot"]),
        ("label", false, &numbers, ".1,2", &[]),
        ("label", true, &numbers, ".1.2", &[]),
        ("label", true, &object, ".a=1", &[]),
        ("matrix", false, &scalar, ";p=abc", &[]),
        ("matrix", false, &scalar, ";q=abc", &["#path/p: must be written as `;name=value`"]),
        ("matrix", false, &numbers, ";p=1,2", &[]),
        ("matrix", true, &numbers, ";p=1;p=2", &[]),
        ("matrix", true, &numbers, ";p=1;q=2", &["#path/p: must be written as `;name=value;name=value`"]),
        ("matrix", true, &object, ";a=1", &[]),
    ] {
        let contract = one("path", Some(style), Some(explode), schema.clone());
        let errors = contract.check_parameters(&[("p", raw)], None, &HeaderMap::new());
        assert_eq!(lines(&errors), expected, "{style} {explode} {raw}");
    }
    let contract = one("path", None, None, json!({}));
    assert_eq!(lines(&contract.check_parameters(&[], None, &HeaderMap::new())), ["#path/p: is missing"]);
}

#[test]
fn headers_and_cookies() {
    let contract = contract(json!([
        { "name": "X-Id", "in": "header", "required": true, "schema": { "type": "string", "format": "uuid" } },
        { "name": "x-list", "in": "header", "schema": { "type": "array", "items": { "type": "integer" }, "maxItems": 3 } },
        { "name": "Authorization", "in": "header", "required": true, "schema": { "type": "integer" } },
        { "name": "c", "in": "cookie", "schema": { "type": "integer" } },
    ]));
    let id = ("x-id", "8e03978e-40d5-43e8-bc93-6894a57f9324");
    for (fields, expected) in [
        (&[id][..], &[][..]),
        (&[], &["#header/X-Id: is missing"]),
        (&[("x-id", "7")], &["#header/X-Id: must be a UUID"]),
        (&[id, id], &["#header/X-Id: must occur only once"]),
        (&[id, ("x-list", "1, 2"), ("x-list", "3")], &[]),
        (&[id, ("x-list", "1, x")], &["#header/x-list/1: must be an integer"]),
        (&[id, ("x-list", "1,2"), ("x-list", "3,4")], &["#header/x-list: must have at most 3 items"]),
        (&[id, ("cookie", "a=b; c=1")], &[]),
        (&[id, ("cookie", "c=x")], &["#cookie/c: must be an integer"]),
    ] {
        let errors = contract.check_parameters(&[], None, &headers(fields));
        assert_eq!(lines(&errors), expected, "{fields:?}");
    }
}

#[test]
fn json_parameters_are_parsed() {
    let contract = contract(
        json!([{ "name": "p", "in": "query", "content": { "application/json": { "schema": { "required": ["a"] } } } }]),
    );
    for (text, expected) in [
        ("p=%7B%22a%22:1%7D", &[][..]),
        ("p={}", &["#query/p/a: is missing"]),
        ("p={", &["#query/p: is not well-formed JSON at line 1, column 1"]),
        ("p={%22x%22:1,%22x%22:2}", &["#query/p/x: occurs twice in one object"]),
    ] {
        assert_eq!(query(&contract, text), expected, "{text}");
    }
}

#[test]
fn undeclared_query_parameters_are_allowed_or_refused() {
    let document = json!({ "openapi": "3.1.0", "paths": { "/a": { "get": { "responses": {}, "parameters": [
        { "name": "p", "in": "query", "schema": { "type": "string" } },
        { "name": "deep", "in": "query", "style": "deepObject", "schema": { "type": "object" } },
        { "name": "flat", "in": "query", "schema": { "type": "object", "properties": { "x": {} }, "additionalProperties": false } },
    ] } } } });
    let operations = operations(&document);
    let lenient = Contracts::compile(&Arc::new(document.clone()), &operations).0.remove(0);
    let strict = Contracts::compile_with(&document, &operations, UndeclaredQuery::Refuse).0.remove(0);
    assert_eq!(query(&lenient, "p=1&other=2"), [""; 0]);
    assert_eq!(query(&strict, "p=1&deep[a]=1&x=1"), [""; 0]);
    assert_eq!(query(&strict, "p=1&other=2"), ["#query/other: is not a parameter of this operation"]);
}

#[test]
fn what_cannot_be_checked_is_reported() {
    for (parameter, expected) in [
        (
            json!({ "name": "p", "in": "header", "style": "form", "schema": {} }),
            "a header parameter cannot have the style form",
        ),
        (json!({ "name": "a b", "in": "header", "schema": {} }), "is not a header name"),
        (json!({ "name": "p", "in": "query", "content": { "application/xml": { "schema": {} } } }), "are not checked"),
    ] {
        let document = json!({ "paths": { "/a": { "get": { "parameters": [parameter], "responses": {} } } } });
        let operations = operations(&document);
        let (contracts, issues) = Contracts::compile(&Arc::new(document), &operations);
        assert!(issues[0].to_string().contains(expected), "{issues:?}");
        assert_eq!(query(&contracts[0], "p=1&p=2"), [""; 0]);
    }
}

#[test]
fn a_query_has_a_bound() {
    let contract = one("query", None, None, json!({ "type": "array" }));
    assert_eq!(query(&contract, &"p=1&".repeat(1000)), [""; 0]);
    assert_eq!(query(&contract, &"p=1&".repeat(1001)), ["#query: has too many parameters: at most 1000 are allowed"]);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_text_is_checked_without_panic(text in "[a-p=&%,.;|+\\[\\]0-9\u{e9}]{0,40}", style in 0_usize..8) {
        let object = json!({ "type": "object", "properties": { "a": { "type": "integer" }, "b": { "type": "array" } } });
        let array = json!({ "type": "array", "items": { "type": ["integer", "null"] } });
        for schema in [object, array, json!({ "type": ["number", "boolean"] })] {
            let styles = ["form", "spaceDelimited", "pipeDelimited", "deepObject"];
            let contract = one("query", Some(styles[style % 4]), Some(style < 4), schema.clone());
            let _ = contract.check_parameters(&[], Some(&text), &HeaderMap::new());
            let styles = ["simple", "label", "matrix", "simple"];
            let contract = one("path", Some(styles[style % 4]), Some(style < 4), schema);
            let _ = contract.check_parameters(&[("p", &text)], None, &HeaderMap::new());
        }
        let _ = parse_body(Some("application/x-www-form-urlencoded"), text.as_bytes());
    }
}
