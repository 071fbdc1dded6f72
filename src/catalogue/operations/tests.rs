//! What becomes an operation, and with what.

use serde_json::json;

use super::super::import::import_value;
use super::super::{ImportError, ImportedApi, Part};
use super::*;
use crate::contract::{ParameterPlace, StatusRange, Style};

fn imported(document: Value) -> ImportedApi {
    import_value(&ApiId::parse("bank").unwrap(), "bank.yaml", document).unwrap()
}

fn document(paths: Value) -> Value {
    json!({
        "openapi": "3.1.0", "info": {"title": "Bank", "version": "1"}, "servers": [{"url": "https://b.example/v1/"}],
        "security": [{}, {"psu": ["accounts", "openid"]}, {"psu": ["payments"]}],
        "paths": paths,
        "components": {
            "parameters": {"Id": {"name": "id", "in": "path", "required": true, "schema": {"type": "string"}}},
            "securitySchemes": {"psu": {"type": "openIdConnect", "openIdConnectUrl": "https://b.example"}, "key": {"type": "apiKey", "in": "query", "name": "k"}}
        }
    })
}

#[test]
fn an_operation_has_all_that_path_and_root_say() {
    let api = imported(document(json!({"/accounts/{id}": {
        "parameters": [{"$ref": "#/components/parameters/Id"}, {"name": "q", "in": "query", "schema": {}}],
        "get": {
            "operationId": "Get account!", "tags": ["A"], "summary": "s", "deprecated": true, "x-pii": 1,
            "parameters": [
                {"name": "q", "in": "query", "required": true, "schema": {"type": "array"}},
                {"name": "f", "in": "query", "style": "deepObject", "content": {"application/json": {"schema": {}}}},
                {"name": "Authorization", "in": "header", "schema": {}},
                {"name": "X-A", "in": "header", "schema": {}}, {"name": "x-a", "in": "header", "schema": {}}
            ],
            "requestBody": {"required": true, "content": {"application/json": {"schema": {}}, "text/plain": {}}},
            "responses": {"200": {"description": "", "content": {"application/json": {"schema": {}}}}, "4XX": {"description": ""}, "default": {"description": ""}}
        }
    }})));
    let [operation] = api.operations.as_slice() else { panic!() };
    let spec = &operation.spec;
    assert_eq!((spec.id.as_str(), spec.path.as_str()), ("bank.Get-account", "/v1/accounts/{id}"));
    assert_eq!(operation.upstream_path, spec.path);
    assert_eq!((api.base_path.as_str(), spec.pointer.as_str()), ("/v1", "/paths/~1accounts~1{id}/get"));
    let parameters: Vec<_> =
        spec.parameters.iter().map(|p| (p.name.as_str(), p.place, p.required, p.style, p.explode)).collect();
    assert_eq!(
        parameters,
        [
            ("q", ParameterPlace::Query, true, Style::Form, true),
            ("f", ParameterPlace::Query, false, Style::DeepObject, false),
            ("X-A", ParameterPlace::Header, false, Style::Simple, false),
            ("id", ParameterPlace::Path, true, Style::Simple, false),
        ]
    );
    assert_eq!(spec.parameters[0].schema.as_ref().unwrap().0, "/paths/~1accounts~1{id}/get/parameters/0/schema");
    assert_eq!(spec.parameters[1].media_type.as_deref(), Some("application/json"));
    assert_eq!(
        spec.parameters[1].schema.as_ref().unwrap().0,
        "/paths/~1accounts~1{id}/get/parameters/1/content/application~1json/schema"
    );
    assert_eq!(spec.parameters[3].schema.as_ref().unwrap().0, "/components/parameters/Id/schema");
    let body = spec.body.as_ref().unwrap();
    assert!(body.required && body.content[1].schema.is_none());
    let answers: Vec<_> = spec.responses.iter().map(|r| r.status).collect();
    assert_eq!(answers, [StatusRange::Code(200), StatusRange::Class(4), StatusRange::Default]);
    assert_eq!(operation.scopes.to_string(), "accounts openid");
    assert_eq!((operation.tags.as_slice(), operation.deprecated), (["A".to_owned()].as_slice(), true));
    assert_eq!(operation.extensions["x-pii"], 1);
    assert_eq!(operation.extensions["x-original-operation-id"], "Get account!");
    let counts = api.report.count(Part::Parameters);
    assert_eq!((counts.found, counts.used, counts.unused.len()), (6, 4, 2));
}

/// The front door refuses its method, so what is published would never be answered.
#[test]
fn an_operation_of_trace_is_left_out() {
    let ok = json!({"responses": {"200": {"description": ""}}});
    let api = imported(document(json!({"/both": {"get": ok, "trace": ok}, "/alone": {"trace": ok}})));
    let left: Vec<_> = api.operations.iter().map(|operation| operation.spec.pointer.as_str()).collect();
    assert_eq!(left, ["/paths/~1both/get"]);
    let unused = &api.report.count(Part::Operations).unused;
    assert!(
        unused.len() == 2 && unused.iter().all(|unused| unused.reason.contains("TRACE is not served")),
        "{unused:?}"
    );
    assert!(api.report.count(Part::Paths).unused.iter().any(|unused| unused.name == "/alone"));
}

#[test]
fn ids_are_made_and_kept_apart() {
    let ok = json!({"responses": {"200": {"description": ""}}});
    let mut named = ok.clone();
    named["operationId"] = "get-a-b".into();
    let mut long = ok.clone();
    long["operationId"] = "x".repeat(200).into();
    let api = imported(document(
        json!({"/a/{b}": {"get": ok}, "/c": {"get": named, "post": long.clone()}, "/d": {"get": long}}),
    ));
    let ids: Vec<&str> = api.operations.iter().map(|o| o.spec.id.as_str()).collect();
    assert_eq!(&ids[..2], ["bank.get-a-b", "bank.get-a-b_2"]);
    assert!(ids[2].len() <= 70 && ids[3].ends_with("_2"), "{ids:?}");
}

#[test]
fn an_operation_whose_request_is_not_known_is_left_out_with_all_its_parts() {
    let response = json!({"200": {"description": ""}});
    let nowhere = json!({"$ref": "#/components/schemas/Nowhere"});
    let api = imported(document(json!({
        "/a": {"get": {"responses": response}, "post": {"responses": response, "requestBody": {"content": {"a/b": {"schema": nowhere}}}}},
        "/b": {"get": {"responses": response, "parameters": [{"$ref": "#/components/parameters/Nowhere"}]}},
        "/c": {"get": {"responses": {"200": {"$ref": "#/components/responses/Nowhere"}}}},
        "/d": {"post": {"responses": response, "requestBody": {"content": {"a/b": {"schema": {"properties": {"x": nowhere}}}}}}},
        "/e": {"$ref": "gone.yaml"},
        "f": {"get": {"responses": response}},
        "/g/{x}": {"get": {"responses": response}}, "/g/{y}": {"post": {"responses": response}}
    })));
    let used: Vec<String> = api.operations.iter().map(|o| format!("{} {}", o.spec.method, o.spec.path)).collect();
    assert_eq!(used, ["GET /v1/a", "GET /v1/c", "POST /v1/d", "GET /v1/g/{x}"]);
    let unused: Vec<&str> = api.report.count(Part::Operations).unused.iter().map(|u| u.name.as_str()).collect();
    assert_eq!(unused, ["POST /a", "GET /b", "GET f", "POST /g/{y}"]);
    assert_eq!(api.report.count(Part::Responses).unused.len(), 5);
    assert!(api.document.pointer("/paths/~1a/post").is_none(), "document and routes agree");
    let text = api.report.to_text();
    for part in
        ["a/b body", "a path begins with", "leads nowhere", "other names for its variables", "{x} is not declared"]
    {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

#[test]
fn base_paths_can_have_variables_and_be_replaced() {
    let mut with_variable = document(json!({"/a": {"get": {"responses": {"200": {"description": ""}}}}}));
    with_variable["servers"] = json!([{"url": "/ob/{version}/aisp"}]);
    let api = imported(with_variable.clone());
    let spec = &api.operations[0].spec;
    assert_eq!((api.base_path.as_str(), spec.path.as_str()), ("/ob", "/ob/{version}/aisp/a"));
    assert_eq!(spec.parameters[0].name, "version");
    assert_eq!(api.origins.of(&spec.pointer).pointer, "/paths/~1a/get");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bank.json");
    let with_base = |document: &Value, base: &str| {
        std::fs::write(&file, document.to_string()).unwrap();
        let id = ApiId::parse("bank").unwrap();
        super::super::import(&super::super::ApiSource { id, file: file.clone(), base_path: Some(base.into()) }).unwrap()
    };
    let api = with_base(&with_variable, "ob/v3/");
    assert_eq!(
        (api.operations[0].spec.path.as_str(), api.operations[0].upstream_path.as_str()),
        ("/ob/v3/a", "/ob/v3/a")
    );
    let api = with_base(&document(json!({"/a": {"get": {"responses": {}}}})), "/bank");
    assert_eq!((api.operations[0].spec.path.as_str(), api.operations[0].upstream_path.as_str()), ("/bank/a", "/v1/a"));
}

#[test]
fn a_document_of_which_nothing_can_be_used_is_refused() {
    let refusal =
        import_value(&ApiId::parse("bank").unwrap(), "bank.json", document(json!({"a": {"get": {}}}))).unwrap_err();
    assert!(matches!(&refusal, ImportError::NothingUsable { .. }));
    assert!(refusal.to_string().contains("bank.json:1:"), "{refusal}");
}

/// Found by fuzzing: a part that the report called lost.
#[test]
fn a_response_is_accounted_for_whatever_its_letters_and_spaces() {
    for (code, meant) in
        [("defaUlt", "default"), (" Default", "default"), ("2xX", "2XX"), (" 404 ", "404"), ("5XX", "5XX")]
    {
        let document = json!({
            "openapi": "3.0.3", "info": {"title": "a", "version": "1"},
            "paths": {"/a": {"get": {"responses": {code: {"description": ""}, "maybe": {"description": ""}, "201": 5}}}},
        });
        let id = ApiId::parse("letters").unwrap();
        let api = super::super::import::import_value(&id, "letters.json", document).unwrap();
        assert_eq!(super::super::sound::imbalance(&api), Vec::<String>::new(), "{code:?}");
        let count = api.report.count(Part::Responses);
        assert_eq!((count.found, count.used, count.unused.len()), (3, 1, 2), "{code:?}");
        assert!(api.document["paths"]["/a"]["get"]["responses"].get(meant).is_some(), "{code:?}");
    }
}
