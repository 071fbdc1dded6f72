//! Small sources that collide in every way, and the whole corpus at once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::json;

use super::super::{Part, corpus};
use super::*;

pub fn edge() -> Edge {
    Edge {
        title: "Clearway catalogue".into(),
        version: "1".into(),
        description: "All APIs behind this gateway.".into(),
        public_url: "https://localhost:8443".into(),
        mtls_url: Some("https://localhost:8444".into()),
        token_url: "https://localhost:8443/oauth2/token".into(),
        scopes: BTreeMap::from([("accounts".into(), "Read accounts".into())]),
        dpop: BTreeSet::new(),
    }
}

/// Something like what utoipa makes of our own operations.
pub fn own() -> Value {
    json!({
        "openapi": "3.1.0", "info": {"title": "Clearway", "version": "1"},
        "tags": [{"name": "OAuth", "description": "Tokens"}],
        "paths": {
            "/oauth2/token": {"post": {"operationId": "token", "tags": ["OAuth"], "responses": {"200": {
                "description": "A token", "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Token"}}}}},
                "security": [{"client_assertion": []}, {"mutualTLS": []}]}},
            "/livez": {"get": {"operationId": "livez", "responses": {"200": {"description": "Alive"}}}}
        },
        "components": {
            "schemas": {"Token": {"type": "object", "properties": {"access_token": {"type": "string"}}}},
            "securitySchemes": {
                "client_assertion": {"type": "http", "scheme": "bearer", "description": "private_key_jwt"},
                "mutualTLS": {"type": "mutualTLS", "description": "another text"}
            }
        }
    })
}

fn api(id: &str, document: Value) -> ImportedApi {
    import::import_value(&ApiId::parse(id).unwrap(), &format!("{id}.json"), document).unwrap()
}

fn bank(id: &str, base: &str, schemas: Value) -> ImportedApi {
    let reference = |name: &str| json!({"$ref": format!("#/components/schemas/{name}")});
    api(
        id,
        json!({
            "openapi": "3.0.3", "info": {"title": id, "version": "1.0", "x-internal-note": "secret"},
            "servers": [{"url": format!("https://internal.example{base}")}],
            "tags": [{"name": "Accounts", "description": id}],
            "x-amazon-apigateway-policy": {},
            "security": [{"psu": ["accounts"]}],
            "paths": {"/accounts/{id}": {
                "parameters": [{"name": "id", "in": "path", "required": true, "schema": {"type": "string"}}],
                "servers": [{"url": format!("https://internal.example{base}")}],
                "get": {"operationId": "get", "tags": ["Accounts"], "x-kong-plugin": 1, "responses": {"200": {
                    "description": "ok",
                    "links": {"self": {"operationId": "get"}, "gone": {"operationId": "nothing"}},
                    "content": {"application/json": {"schema": reference("Account")}}}}}
            }},
            "components": {
                "schemas": schemas,
                "securitySchemes": {"psu": {"type": "oauth2", "flows": {"clientCredentials": {
                    "tokenUrl": "https://internal.example/token", "scopes": {"accounts": "Konten"}}}}}
            }
        }),
    )
}

fn account(money: &str) -> Value {
    json!({
        "Account": {"type": "object", "properties": {"balance": {"$ref": "#/components/schemas/Money"}}},
        "Money": {"type": money, "description": money}
    })
}

#[test]
fn equal_components_are_shared_and_different_ones_named_after_their_api() {
    let apis = [
        bank("a", "/a", account("string")),
        bank("b", "/b", account("string")),
        // Account itself is equal here; what it refers to is not, so it is another Account.
        bank("c", "/c", account("number")),
    ];
    let unified = publish(&apis, &own(), &edge()).unwrap().unified;
    let schemas = unified["components"]["schemas"].as_object().unwrap();
    assert_eq!(
        schemas.keys().collect::<Vec<_>>(),
        ["Account", "GatewayProblem", "Money", "Token", "c_Account", "c_Money"]
    );
    assert_eq!(schemas["c_Account"]["properties"]["balance"]["$ref"], "#/components/schemas/c_Money");
    assert_eq!(schemas["Account"]["x-source"]["also"], json!(["b"]));
    let answer = &unified["paths"]["/c/accounts/{id}"]["get"]["responses"]["200"];
    assert_eq!(answer["content"]["application/json"]["schema"]["$ref"], "#/components/schemas/c_Account");
    assert_eq!(answer["links"], json!({"self": {"operationId": "c.get"}}));
}

#[test]
fn what_is_internal_is_not_published() {
    let published = publish(&[bank("a", "/a", account("string"))], &own(), &edge()).unwrap();
    let of_api: Value = serde_json::from_str(&published.apis[&ApiId::parse("a").unwrap()]).unwrap();
    for document in [&published.unified, &of_api] {
        let text = document.to_string();
        for internal in ["internal.example", "x-amazon", "x-kong", "psu", "x-internal"] {
            assert!(!text.contains(internal), "{internal}");
        }
        let operation = &document["paths"]["/a/accounts/{id}"]["get"];
        assert_eq!(operation["security"], json!([{"oauth2": ["accounts"], "mutualTLS": []}, {"oauth2": ["accounts"]}]));
        assert_eq!(operation["operationId"], "a.get");
        assert_eq!(operation["x-original-operation-id"], "get");
        assert_eq!(operation["x-source"]["pointer"], "/paths/~1accounts~1{id}/get");
        assert_eq!(operation["parameters"][0]["name"], "id");
        let scopes = &document["components"]["securitySchemes"]["oauth2"]["flows"]["clientCredentials"]["scopes"];
        assert_eq!(scopes, &json!({"accounts": "Read accounts"}));
        assert_eq!(document["servers"][1]["url"], "https://localhost:8443");
    }
}

#[test]
fn a_key_is_asked_for_where_a_product_admits_one() {
    let edge = Edge { dpop: [OperationId::parse("a.get").unwrap()].into(), ..edge() };
    let apis = [bank("a", "/a", account("string")), bank("b", "/b", account("string"))];
    let published = publish(&apis, &own(), &edge).unwrap();
    for (api, expected) in [("a", true), ("b", false)] {
        let single: Value = serde_json::from_str(&published.apis[&ApiId::parse(api).unwrap()]).unwrap();
        let scheme = &single["components"]["securitySchemes"]["DPoP"];
        assert_eq!(scheme["scheme"], if expected { json!("DPoP") } else { Value::Null }, "{api}");
        for document in [&single, &published.unified] {
            let security = &document["paths"][format!("/{api}/accounts/{{id}}")]["get"]["security"];
            let by_key = json!({"oauth2": ["accounts"], "DPoP": []});
            assert_eq!(security.as_array().unwrap().contains(&by_key), expected, "{api}: {security}");
        }
    }
    assert_eq!(published.unified["components"]["securitySchemes"]["DPoP"]["type"], "http");
}

#[test]
fn our_own_operations_keep_their_security() {
    let unified = publish(&[], &own(), &edge()).unwrap().unified;
    assert_eq!(
        unified["paths"]["/oauth2/token"]["post"]["security"],
        json!([{"client_assertion": []}, {"clearway_mutualTLS": []}])
    );
    assert_eq!(unified["paths"]["/livez"]["get"]["security"], json!([]));
    assert_eq!(unified["components"]["securitySchemes"]["clearway_mutualTLS"]["description"], "another text");
}

#[test]
fn tags_that_differ_are_told_apart() {
    let apis = [bank("a", "/a", account("string")), bank("b", "/b", account("string"))];
    let unified = publish(&apis, &own(), &edge()).unwrap().unified;
    let names: Vec<&str> = unified["tags"].as_array().unwrap().iter().map(|t| t["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["Accounts", "b / Accounts", "OAuth", "Clearway"], "what has no tag stands below its title");
    assert_eq!(unified["paths"]["/b/accounts/{id}"]["get"]["tags"], json!(["b / Accounts"]));
}

#[test]
fn paths_that_two_apis_claim_are_refused_or_moved() {
    let mut apis = vec![bank("b", "", account("string")), bank("a", "", account("string"))];
    let issues = publish(&apis, &own(), &edge()).unwrap_err();
    assert_eq!(issues.len(), 1);
    assert_eq!(
        issues[0].to_string(),
        "a and b both claim GET /accounts/{id}. Give b a base path of its own (base_path: /b), or leave one of the two out."
    );
    assert!(settle(&mut apis, &own(), Collision::Refuse).is_err());
    let moved = settle(&mut apis, &own(), Collision::Prefix).unwrap();
    assert_eq!(moved.len(), 1);
    assert_eq!(apis[0].operations[0].spec.path, "/b/accounts/{id}");
    assert_eq!(apis[0].operations[0].upstream_path, "/accounts/{id}");
    assert_eq!(apis[1].operations[0].spec.path, "/accounts/{id}");
    assert!(publish(&apis, &own(), &edge()).unwrap().unified["paths"].get("/b/accounts/{id}").is_some());
    let twice = [bank("a", "", account("string")), bank("a", "/x", account("string"))];
    assert!(publish(&twice, &own(), &edge()).unwrap_err()[0].what.contains("two APIs"));
}

#[test]
fn a_renamed_member_of_a_discriminator_keeps_its_value_on_the_wire() {
    let pets = |id: &str, cat: &str| {
        bank(
            id,
            &format!("/{id}"),
            json!({
                "Account": {"oneOf": [{"$ref": "#/components/schemas/Cat"}], "discriminator": {"propertyName": "kind"}},
                "Cat": {"type": "object", "properties": {"kind": {"type": "string"}, "lives": {"type": cat}}}
            }),
        )
    };
    let unified = publish(&[pets("a", "integer"), pets("b", "string")], &own(), &edge()).unwrap().unified;
    let schemas = &unified["components"]["schemas"];
    assert_eq!(schemas["b_Account"]["discriminator"]["mapping"], json!({"Cat": "#/components/schemas/b_Cat"}));
    assert!(schemas["Account"]["discriminator"].get("mapping").is_none());
}

/// Where other tools find what the tests make.
fn target_tmp() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    let folder = exe.ancestors().nth(3).unwrap().join("tmp/catalogue");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn the_whole_corpus_merges_into_one_document_with_the_same_bytes_each_time() {
    let Some(folder) = corpus::folder() else { return };
    let mut apis = corpus::load_all(&folder);
    let started = std::time::Instant::now();
    let moved = settle(&mut apis, &own(), Collision::Prefix).unwrap();
    let published = publish(&apis, &own(), &edge()).unwrap();
    println!("{} of {} APIs moved, merged in {:?}", moved.len(), apis.len(), started.elapsed());
    let text = serde_json::to_string(&published.unified).unwrap();
    let target = target_tmp();
    std::fs::write(target.join("unified.json"), &text).unwrap();
    for (id, document) in &published.apis {
        std::fs::write(target.join(format!("api-{id}.json")), serde_json::to_string(document).unwrap()).unwrap();
    }
    let operations: usize = apis.iter().map(|api| api.report.count(Part::Operations).used).sum();
    let published_operations: usize = published.unified["paths"]
        .as_object()
        .unwrap()
        .values()
        .flat_map(|item| item.as_object().unwrap().keys())
        .filter(|key| crate::catalogue::shape::METHODS.contains(&key.as_str()))
        .count();
    assert_eq!(published_operations, operations + 2, "every operation that can be called is published, and no other");
    apis.reverse();
    assert_eq!(serde_json::to_string(&publish(&apis, &own(), &edge()).unwrap().unified).unwrap(), text);
    for (n, step) in [7, 5, 3, 2].into_iter().enumerate() {
        let mut some: Vec<ImportedApi> = corpus::load_all(&folder).into_iter().skip(n).step_by(step).collect();
        settle(&mut some, &own(), Collision::Prefix).unwrap();
        let unified = publish(&some, &own(), &edge()).unwrap().unified;
        std::fs::write(target.join(format!("subset-{n}.json")), serde_json::to_string(&unified).unwrap()).unwrap();
    }
}
