//! What must hold of every import, whatever the document was: the yardstick of the tests.

use std::collections::BTreeSet;

use super::*;
use crate::contract::ParameterPlace;

/// What is wrong with an account.
pub fn imbalance(api: &ImportedApi) -> Vec<String> {
    let mut wrong = Vec::new();
    for (part, count) in &api.report.counts {
        if count.found != count.used + count.unused.len() {
            wrong.push(format!("{part:?}: {} found, {} used, {} not", count.found, count.used, count.unused.len()));
        }
        for unused in count.unused.iter().filter(|u| u.reason == UNEXPLAINED) {
            wrong.push(format!("{part:?} {} is lost", unused.name));
        }
    }
    if api.operations.len() != api.report.count(Part::Operations).used {
        wrong.push("operations and their account differ".to_owned());
    }
    wrong
}

/// What is wrong with a document and its operations.
pub fn unsound(api: &ImportedApi) -> Vec<String> {
    let mut wrong = dangling(&api.document);
    let mut ids = BTreeSet::new();
    for operation in &api.operations {
        let spec = &operation.spec;
        let name = format!("{} {}", spec.method, spec.path);
        if !ids.insert(spec.id.as_str()) {
            wrong.push(format!("{name}: the id {} stands twice", spec.id));
        }
        if !api.document.pointer(&spec.pointer).is_some_and(Value::is_object) {
            wrong.push(format!("{name}: {} is no operation", spec.pointer));
        }
        let parameters = spec.parameters.iter().filter_map(|p| p.schema.as_ref());
        let bodies = spec.body.iter().flat_map(|b| &b.content).filter_map(|m| m.schema.as_ref());
        let answers = spec.responses.iter().flat_map(|r| &r.content).filter_map(|m| m.schema.as_ref());
        for schema in parameters.chain(bodies).chain(answers) {
            if !api.document.pointer(&schema.0).is_some_and(|s| s.is_object() || s.is_boolean()) {
                wrong.push(format!("{name}: {} is no schema", schema.0));
            }
        }
        let declared = spec.parameters.iter().filter(|p| p.place == ParameterPlace::Path);
        let declared: BTreeSet<&str> = declared.map(|p| p.name.as_str()).collect();
        let variables = operations::path::variables(&spec.path).unwrap_or_default();
        let variables: BTreeSet<&str> = variables.into_iter().collect();
        if declared != variables {
            wrong.push(format!("{name}: declares {declared:?}"));
        }
    }
    wrong
}

/// References that are not to a component, or to none that exists.
pub fn dangling(document: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    shape::walk(shape::Dialect::V31, document, shape::Kind::Document, &mut String::new(), &mut |object, kind, at| {
        let Some(reference) = shape::reference(object) else { return };
        let name = kind.section().and_then(|section| Some((section, pointer::component(reference, section)?)));
        let target = name.and_then(|(section, name)| document.get("components")?.get(section)?.get(name));
        if target.is_none() {
            wrong.push(format!("{at}: {reference} leads nowhere"));
        }
    });
    wrong
}
