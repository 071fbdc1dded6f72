//! The institutions' own documents: they import without a word of complaint, and their examples are what they promise.

use std::path::Path;

use serde_json::Value;

use super::generate::{Generator, Origin};
use super::testing::NOW;
use crate::catalogue::{ApiSource, ImportedApi, Severity, import};
use crate::domain::ApiId;

fn imported(name: &str) -> ImportedApi {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("openapi/{name}.yaml"));
    import(&ApiSource { id: ApiId::parse(name).unwrap(), file, base_path: None }).unwrap()
}

#[test]
fn they_import_without_complaint() {
    for (name, base_path, operations) in
        [("bank", "/open-banking/v4.0", 14), ("insurer", "/insurance/v1", 11), ("fintech", "/fintech/v1", 11)]
    {
        let api = imported(name);
        let complaints = api.report.severity_count(Severity::Error) + api.report.severity_count(Severity::Warning);
        assert_eq!(complaints, 0, "{}", api.report.to_text());
        assert_eq!((api.base_path.as_str(), api.operations.len()), (base_path, operations), "{name}");
        for operation in &api.operations {
            let id = &operation.spec.id;
            assert!(!operation.scopes.is_empty(), "{id} has a scope");
            assert!(!operation.tags.is_empty() && operation.summary.is_some(), "{id} is described");
            let moves_money = operation.spec.method == http::Method::POST
                && operation.upstream_path.contains("domestic-payment")
                || operation.spec.id.as_str().ends_with("createTransfer");
            assert_eq!(operation.extensions.contains_key("x-clearway-amount"), moves_money, "{id}");
        }
    }
}

#[test]
fn every_message_can_be_made_and_every_example_is_valid() {
    for name in ["bank", "insurer", "fintech"] {
        let api = imported(name);
        let generator = Generator::new(&api.document, NOW).unwrap();
        for operation in &api.operations {
            generator.request(&operation.spec, 1).unwrap();
            for response in &operation.spec.responses {
                let crate::contract::StatusRange::Code(status) = response.status else { continue };
                let made = generator.response(&operation.spec, Some(status), None, 1).unwrap();
                assert_ne!(made.origin, Origin::InPlaceOfExample, "{} {status}", operation.spec.id);
            }
        }
        assert_examples_hold(&api, &generator);
    }
}

/// Every example of a parameter or request body, wherever it stands.
fn assert_examples_hold(api: &ImportedApi, generator: &Generator<'_>) {
    let bodies = api.operations.iter().filter_map(|operation| operation.spec.body.as_ref());
    let bodies = bodies.flat_map(|body| &body.content).filter_map(|content| content.schema.as_ref());
    let parameters = api.operations.iter().flat_map(|operation| &operation.spec.parameters);
    let mut seen = 0;
    for schema in bodies.chain(parameters.filter_map(|parameter| parameter.schema.as_ref())) {
        let holder = schema.0.strip_suffix("/schema").and_then(|pointer| api.document.pointer(pointer)).unwrap();
        let named = holder.get("examples").and_then(Value::as_object).into_iter().flatten();
        let named = named.filter_map(|(_, example)| example.get("value"));
        for example in holder.get("example").into_iter().chain(named) {
            assert!(generator.allows(schema, example).unwrap(), "{}: {example}", schema.0);
            seen += 1;
        }
    }
    assert!(seen > 5, "{}: {seen} examples", api.id);
}
