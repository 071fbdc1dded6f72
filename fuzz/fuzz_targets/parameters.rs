//! Query, header, cookie and path parameters: at most 20 errors, each of a known place, and no value that a naive
//! reader would find wrong.
#![no_main]

use std::sync::{Arc, LazyLock};

use clearway::contract::{
    Contract, Contracts, OperationSpec, ParameterPlace, ParameterSpec, SchemaPointer, Style, UndeclaredQuery,
};
use clearway::domain::OperationId;
use http::header::COOKIE;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use libfuzzer_sys::fuzz_target;
use percent_encoding::percent_decode_str;
use serde_json::json;

fn parameter(name: &str, place: ParameterPlace, style: Style, explode: bool, media: Option<&str>) -> ParameterSpec {
    ParameterSpec {
        name: name.into(),
        place,
        required: name == "page",
        style,
        explode,
        schema: Some(SchemaPointer(format!("/{name}"))),
        media_type: media.map(Into::into),
    }
}

static CONTRACT: LazyLock<Arc<Contract>> = LazyLock::new(|| {
    let document = json!({
        "page": { "type": "integer", "minimum": 1, "maximum": 1000 },
        "flag": { "type": "boolean" },
        "list": { "type": "array", "items": { "type": "integer" }, "maxItems": 3, "uniqueItems": true },
        "pipes": { "type": "array", "items": { "enum": ["a", "b c"] } },
        "filter": { "type": "object", "properties": { "from": { "type": "string", "format": "date" } }, "additionalProperties": false },
        "spread": { "type": "object", "properties": { "one": { "type": "number" }, "two": { "type": "null" } } },
        "body": { "type": "object", "required": ["a"] },
        "id": { "type": "string", "pattern": "^[a-z]+$", "maxLength": 6 },
        "x-count": { "type": ["integer", "array"], "items": { "type": "integer" } },
        "sid": { "type": "string", "minLength": 4 },
        "matrix": { "type": "array", "items": { "type": "string" } }
    });
    let parameters = vec![
        parameter("page", ParameterPlace::Query, Style::Form, true, None),
        parameter("flag", ParameterPlace::Query, Style::Form, true, None),
        parameter("list", ParameterPlace::Query, Style::Form, false, None),
        parameter("pipes", ParameterPlace::Query, Style::PipeDelimited, false, None),
        parameter("filter", ParameterPlace::Query, Style::DeepObject, true, None),
        parameter("spread", ParameterPlace::Query, Style::Form, true, None),
        parameter("body", ParameterPlace::Query, Style::Form, true, Some("application/json")),
        parameter("id", ParameterPlace::Path, Style::Simple, false, None),
        parameter("matrix", ParameterPlace::Path, Style::Matrix, true, None),
        parameter("x-count", ParameterPlace::Header, Style::Simple, false, None),
        parameter("sid", ParameterPlace::Cookie, Style::Form, true, None),
    ];
    let operation = OperationSpec {
        id: OperationId::parse("api.op").unwrap(),
        method: Method::GET,
        path: "/a/{id}/{matrix}".into(),
        pointer: String::new(),
        parameters,
        body: None,
        responses: Vec::new(),
    };
    let (contracts, issues) = Contracts::compile_with(&document, &[operation], UndeclaredQuery::Refuse);
    assert!(issues.is_empty(), "{issues:?}");
    contracts[0].clone()
});

// Query, two captures, a header value and a cookie, with zero bytes between them.
fuzz_target!(|input: &str| {
    let mut parts = clearway_fuzz::texts(input);
    let query = parts.next().filter(|query| !query.is_empty());
    let captures = [("id", parts.next().unwrap_or("abc")), ("matrix", parts.next().unwrap_or(";matrix=a"))];
    let mut headers = HeaderMap::new();
    for (name, text) in [(HeaderName::from_static("x-count"), parts.next()), (COOKIE, parts.next())] {
        if let Some(value) = text.and_then(|text| HeaderValue::from_str(text).ok()) {
            headers.append(name, value);
        }
    }
    let errors = CONTRACT.check_parameters(&captures, query, &headers);
    assert!(errors.len() <= 20);
    for error in &errors {
        let (place, name) = error.pointer.split_once('/').unwrap_or((&error.pointer, ""));
        assert!(matches!(place, "#query" | "#path" | "#header" | "#cookie"), "{}", error.pointer);
        assert!(!error.detail.is_empty() && name.len() <= 512, "{error:?}");
    }
    if errors.is_empty() {
        naive(query.expect("`page` is required"), captures[0].1);
    }
});

fn naive(query: &str, id: &str) {
    let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let id = decode(id);
    assert!(id.len() <= 6 && id.bytes().all(|b| b.is_ascii_lowercase()) && !id.is_empty(), "{id:?}");
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let pages: Vec<String> = pairs.filter(|(name, _)| decode(name) == "page").map(|(_, value)| decode(value)).collect();
    assert_eq!(pages.len(), 1, "{query:?}");
    let page: f64 = pages[0].parse().expect("a number");
    assert!((1.0..=1000.0).contains(&page) && page.fract() == 0.0, "{page}");
}
