//! Bodies and answers as whole messages: media types, presence, statuses.

use http::StatusCode;

use super::*;

fn document() -> Value {
    json!({ "openapi": "3.1.0", "paths": {
        "/json": { "post": {
            "requestBody": { "required": true, "content": {
                "application/json": { "schema": { "type": "object", "required": ["a"] } },
                "application/*+json": { "schema": { "type": "object", "required": ["b"] } },
                "text/*": {},
            } },
            "responses": {
                "200": { "content": { "application/json": { "schema": { "type": "object", "required": ["ok"] } } } },
                "204": {},
                "2XX": { "content": { "application/json": { "schema": { "type": "object", "required": ["class"] } } } },
                "default": { "content": { "application/problem+json": { "schema": { "required": ["title"] } } } },
            },
        } },
        "/none": { "get": { "responses": { "200": {} } } },
        "/form": { "post": { "requestBody": { "content": { "application/x-www-form-urlencoded": { "schema": {
            "type": "object",
            "required": ["amount"],
            "properties": {
                "amount": { "type": "integer", "minimum": 1 },
                "expand": { "type": "array", "items": { "type": "string", "minLength": 2 } },
                "meta": { "type": "object", "additionalProperties": { "type": "string", "maxLength": 3 } },
                "lines": { "type": "array", "items": { "type": "object", "properties": { "n": { "type": "integer" } } } },
                "flag": { "type": ["boolean", "null"] },
                "odd[name]": { "type": "integer" },
            },
        } } } }, "responses": {} } },
    } })
}

#[test]
fn a_body_is_matched_with_the_closest_content() {
    let contracts = compile(document());
    let (json_body, none, form) = (&contracts[0], &contracts[1], &contracts[2]);
    assert_eq!([json_body.takes_body(), none.takes_body(), form.takes_body()], [true, false, true]);
    let invalid = |line: &str| Err(vec![line.to_owned()]);
    let media = || Err(vec!["415 application/json, application/*+json, text/*".to_owned()]);
    let check = |contract: &Contract, content_type: Option<&str>, bytes: &[u8]| {
        let body = parse_body(content_type, bytes).map_err(|fault| lines(&[fault]))?;
        contract.check_body(content_type, &body).map_err(|refusal| match refusal {
            BodyRefusal::MediaType { accepted } => vec![format!("415 {}", accepted.join(", "))],
            BodyRefusal::Invalid(errors) => lines(&errors),
        })
    };
    for (name, contract, content_type, bytes, expected) in [
        ("right", json_body, Some("application/json"), "{\"a\":1}", Ok(())),
        ("with charset", json_body, Some("application/json; charset=UTF-8"), "{\"a\":1}", Ok(())),
        ("wrong", json_body, Some("application/json"), "{}", invalid("/a: is missing")),
        ("suffix range", json_body, Some("application/vnd.x+json"), "{}", invalid("/b: is missing")),
        ("opaque", json_body, Some("text/plain"), "anything", Ok(())),
        ("undescribed", json_body, Some("application/xml"), "<a/>", media()),
        ("no content type", json_body, None, "{\"a\":1}", media()),
        ("nonsense content type", json_body, Some("json"), "{\"a\":1}", media()),
        ("absent", json_body, Some("application/json"), "", invalid(": is missing: this operation requires a body")),
        (
            "other charset",
            json_body,
            Some("application/json; charset=utf-16"),
            "{}",
            invalid(": must be UTF-8, so the content type must not name another charset"),
        ),
        (
            "name twice",
            json_body,
            Some("application/json"),
            "{\"a\":1,\"a\":1}",
            invalid("/a: occurs twice in one object"),
        ),
        (
            "none declared",
            none,
            Some("application/json"),
            "{}",
            invalid(": must be empty: this operation takes no body"),
        ),
        ("none declared, none sent", none, Some("application/json"), "", Ok(())),
        ("optional", form, None, "", Ok(())),
    ] {
        assert_eq!(check(contract, content_type, bytes.as_bytes()), expected, "{name}");
    }
    let form_type = Some("application/x-www-form-urlencoded");
    for (fields, expected) in [
        ("amount=100", Ok(())),
        ("amount=100&expand[]=ab&expand[]=cd&meta[k]=v&flag=true", Ok(())),
        ("amount=1&expand[0]=ab&expand[1]=c", invalid("/expand/1: must have at least 2 characters")),
        ("amount=1&expand=ab&expand=cd", Ok(())),
        ("amount=1&expand=ab", Ok(())),
        ("amount=1&lines[0][n]=1&lines[1][n]=x", invalid("/lines/1/n: must be an integer")),
        ("amount=1&expand=x&expand[]=ab", invalid(": has a name that is written both plainly and in brackets")),
        ("amount=1&meta=x&meta[k]=v", invalid(": has a name that is written both plainly and in brackets")),
        ("amount=1&meta[k]=v&meta[k][]=w", invalid(": has a name that is written both plainly and in brackets")),
        ("amount=1&meta[k]=long", invalid("/meta/k: must have at most 3 characters")),
        ("amount=1&flag=", Ok(())),
        ("amount=1&flag=maybe", invalid("/flag: must be true or false or null")),
        ("amount=1&odd%5Bname%5D=7", Ok(())),
        ("amount=x", invalid("/amount: must be an integer")),
        ("amount=0", invalid("/amount: must be at least 1")),
        ("amount=1&amount=2", invalid("/amount: must be an integer")),
        ("flag=true", invalid("/amount: is missing")),
        ("amount=%zz", invalid(": has a value that is not percent-encoded UTF-8")),
    ] {
        assert_eq!(check(form, form_type, fields.as_bytes()), expected, "{fields}");
    }
}

#[test]
fn an_answer_is_matched_by_code_class_and_default() {
    let contracts = compile(document());
    let json_type = Some("application/json");
    for (name, status, content_type, body, expected) in [
        ("code", 200, json_type, "{\"ok\":1}", &[][..]),
        ("code, wrong", 200, json_type, "{}", &["/ok: is missing"]),
        ("class", 201, json_type, "{}", &["/class: is missing"]),
        ("default", 500, Some("application/problem+json"), "{}", &["/title: is missing"]),
        (
            "default, other type",
            500,
            Some("text/html"),
            "<p>",
            &["#header/content-type: must be application/problem+json"],
        ),
        ("no content", 204, None, "", &[]),
        ("content where none may be", 204, json_type, "{}", &[": must be empty"]),
        ("missing content", 200, None, "", &["#header/content-type: the documented body is missing"]),
        ("empty content", 200, json_type, "", &[": is missing"]),
        ("not JSON", 200, json_type, "<", &[": is not well-formed JSON at line 1, column 1"]),
    ] {
        let errors = contracts[0].check_response(StatusCode::from_u16(status).unwrap(), content_type, body.as_bytes());
        assert_eq!(lines(&errors), expected, "{name}");
    }
    let undocumented = contracts[1].check_response(StatusCode::NOT_FOUND, None, b"");
    assert_eq!(lines(&undocumented), ["#status: 404 is not a documented status"]);
    assert_eq!(contracts[1].check_response(StatusCode::OK, json_type, b"{}"), [], "no content described");
}

#[test]
fn numbers_are_judged_by_every_digit_that_was_written() {
    let amount = json!({ "type": "number", "minimum": 0, "maximum": 10_000, "multipleOf": 0.01 });
    let document = body_document(
        json!({ "type": "object", "properties": {
            "amount": amount, "count": { "type": "integer", "format": "int64" }, "large": { "multipleOf": 0.01 },
            "kind": { "enum": [1, { "of": [9_007_199_254_740_993_i64] }] }, "list": { "uniqueItems": true },
            "above": { "exclusiveMinimum": 1_000_000 },
        } }),
        json!({}),
    );
    let contract = compile(document).remove(0);
    let check = |body: &str| {
        let body = parse_body(Some("application/json"), body.as_bytes()).unwrap();
        match contract.check_body(Some("application/json"), &body) {
            Ok(()) => Vec::new(),
            Err(BodyRefusal::Invalid(errors)) => lines(&errors),
            Err(refusal) => panic!("{refusal:?}"),
        }
    };
    for (body, wrong) in [
        (r#"{"amount":9999.99}"#, None),
        (r#"{"amount":10000.000000000000000001}"#, Some("/amount: must be at most 10000")),
        (r#"{"amount":-0.00000000000000000000000000000000000000001}"#, Some("/amount: must be at least 0")),
        (r#"{"above":1000000.0000000000000001}"#, None),
        (r#"{"above":1000000.0000000000000000}"#, Some("/above: must be greater than 1000000")),
        (r#"{"large":12345678901234567.89}"#, None),
        (r#"{"large":12345678901234567.891}"#, Some("/large: must be a multiple of 0.01")),
        (r#"{"count":12345678901234567.89}"#, Some("/count: must be an integer")),
        (r#"{"count":9007199254740993.0}"#, None),
        (r#"{"count":9223372036854775807.0}"#, None),
        (r#"{"count":9223372036854775808.0}"#, Some("/count: must be between")),
        (r#"{"kind":1.0000000000000000000001}"#, Some("/kind: must be one of")),
        (r#"{"kind":1.0000000000000000000000}"#, None),
        (r#"{"kind":{"of":[9007199254740993.0]}}"#, None),
        (r#"{"kind":{"of":[9007199254740992.9]}}"#, Some("/kind: must be one of")),
        (r#"{"list":[0.1234567890123456789,0.1234567890123456788]}"#, None),
        (r#"{"list":[9007199254740993,9007199254740993.0]}"#, Some("/list: must not repeat")),
        (r#"{"list":[{"a":0.1234567890123456789},{"a":12345678901234567.88e-17},1]}"#, None),
        (r#"{"list":[[0.1234567890123456789],[1234567890123456789e-19]]}"#, Some("/list: must not repeat")),
    ] {
        let found = check(body);
        match wrong {
            None => assert_eq!(found, [""; 0], "{body}"),
            Some(wrong) => assert!(found.iter().any(|line| line.starts_with(wrong)), "{body}: {found:?}"),
        }
    }
}
