//! Which schemas do the operations (and webhooks) of a document reach?

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::super::pointer;
use super::super::shape::{self, Dialect, Kind};

/// Names of the component schemas that are reached.
pub fn schemas(document: &Value) -> BTreeSet<String> {
    let mut edges: BTreeMap<(Kind, String), Vec<(Kind, String)>> = BTreeMap::new();
    for (section, kind) in shape::SECTIONS {
        let entries = document.get("components").and_then(|c| c.get(section)).and_then(Value::as_object);
        for (name, value) in entries.into_iter().flatten() {
            edges.insert((kind, name.clone()), targets(value, kind));
        }
    }
    // A schema with a discriminator stands for those that extend it.
    let mut children = Vec::new();
    for ((kind, name), targets) in &edges {
        for (target_kind, parent) in targets {
            if *kind == Kind::Schema && *target_kind == Kind::Schema && has_discriminator(document, parent) {
                children.push((parent.clone(), name.clone()));
            }
        }
    }
    for (parent, child) in children {
        edges.entry((Kind::Schema, parent)).or_default().push((Kind::Schema, child));
    }
    let mut open: Vec<(Kind, String)> = Vec::new();
    for root in ["paths", "webhooks"] {
        for (_, item) in document.get(root).and_then(Value::as_object).into_iter().flatten() {
            open.extend(targets(item, Kind::PathItem));
        }
    }
    let mut reached = BTreeSet::new();
    while let Some(next) = open.pop() {
        if reached.insert(next.clone()) {
            open.extend(edges.get(&next).into_iter().flatten().cloned());
        }
    }
    reached.into_iter().filter(|(kind, _)| *kind == Kind::Schema).map(|(_, name)| name).collect()
}

fn has_discriminator(document: &Value, schema: &str) -> bool {
    let schema = document.pointer("/components/schemas").and_then(|s| s.get(schema));
    schema.is_some_and(|s| s.get("discriminator").is_some())
}

/// The components that a part refers to.
fn targets(value: &Value, kind: Kind) -> Vec<(Kind, String)> {
    let mut found = Vec::new();
    let mut add = |kind: Kind, reference: &str| {
        if let Some(name) = kind.section().and_then(|section| pointer::component(reference, section)) {
            found.push((kind, name));
        }
    };
    shape::walk(Dialect::V31, value, kind, &mut String::new(), &mut |object: &Map<String, Value>, kind, _| {
        if let Some(reference) = shape::reference(object) {
            add(kind, reference);
        }
        if kind == Kind::Discriminator {
            let mapping = object.get("mapping").and_then(Value::as_object);
            mapping.into_iter().flatten().filter_map(|(_, v)| v.as_str()).for_each(|r| add(Kind::Schema, r));
        }
    });
    found
}
