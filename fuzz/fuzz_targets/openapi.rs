//! OpenAPI documents, JSON and YAML: every part is accounted for, references lead somewhere, and what was imported
//! imports again as it is.
#![no_main]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use clearway::catalogue::fuzzing::{Mistake, dangling, imbalance, import_value, parse, unsound};
use clearway::catalogue::{Edge, ImportedApi, publish};
use clearway::contract::{Contracts, OperationSpec};
use clearway::domain::ApiId;
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

fuzz_target!(|text: &str| {
    let json = read("a.json", text);
    let Some(document) = read("a.yaml", text) else {
        return;
    };
    if let Some(json) = json {
        let _ = import(&json);
    }
    let Some(api) = import(&document) else { return };
    let specs: Vec<OperationSpec> = api.operations.iter().map(|operation| operation.spec.clone()).collect();
    let (contracts, _) = Contracts::compile(&api.document, &specs);
    assert_eq!(contracts.len(), specs.len());
    again(&api);
    publishes(api);
});

fn read(name: &str, text: &str) -> Option<Value> {
    match parse(Path::new(name), text) {
        Ok((_, value)) => Some(value),
        Err(Mistake { line, what, .. }) => {
            let lines = text.split(['\r', '\n']).count(); // YAML ends a line with either.
            assert!(line <= lines + 1, "line {line} of {lines}");
            assert!(!what.is_empty());
            None
        }
    }
}

fn import(document: &Value) -> Option<ImportedApi> {
    let id = ApiId::parse("fuzzed").unwrap();
    let api = import_value(&id, "a.json", document.clone()).ok()?;
    let wrong: Vec<String> = imbalance(&api).into_iter().chain(unsound(&api)).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    Some(api)
}

/// The document that an import makes is one that it takes as it is.
fn again(api: &ImportedApi) {
    let second = import_value(&api.id, "a.json", Value::clone(&api.document));
    let Ok(second) = second else {
        assert!(api.operations.is_empty(), "what was imported is refused: {:?}", second.err());
        return;
    };
    let names = |api: &ImportedApi| -> Vec<String> {
        let mut names: Vec<_> =
            api.operations.iter().map(|o| format!("{} {}", o.spec.method, o.upstream_path)).collect();
        names.sort();
        names
    };
    assert_eq!(names(&second), names(api), "the operations change");
}

fn publishes(api: ImportedApi) {
    let own = json!({ "openapi": "3.1.0", "info": { "title": "o", "version": "1" }, "paths": {} });
    let edge = Edge {
        title: "t".into(),
        version: "1".into(),
        description: String::new(),
        public_url: "https://p.example".into(),
        mtls_url: None,
        token_url: "https://p.example/t".into(),
        scopes: BTreeMap::new(),
        dpop: BTreeSet::new(),
    };
    let published = publish(&[api], &own, &edge).unwrap_or_else(|issues| panic!("{issues:?}"));
    let wrong = dangling(&published.unified);
    assert!(wrong.is_empty(), "{wrong:?}");
    let _ = Arc::new(published);
}
