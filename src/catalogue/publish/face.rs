//! One API as it is published: its own document, made ours.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::{Map, Value, json};

use super::super::bundle::unique_name;
use super::super::operations::slug;
use super::super::pointer;
use super::super::shape::{self, Dialect, Kind, METHODS};
use super::super::{ImportedApi, ImportedOperation};
use super::frame::Frame;
use super::{OWN_ID, refusal, strip};

/// The parts of one API, ready to stand beside others.
pub struct Face {
    pub api: String,
    /// Our own operations keep their security.
    pub is_own: bool,
    pub info: Map<String, Value>,
    pub paths: Map<String, Value>,
    pub webhooks: Map<String, Value>,
    pub components: Map<String, Value>,
    /// Declared tags in their order, those that operations use undeclared after them.
    pub tags: Vec<Map<String, Value>>,
}

/// Makes the face of an API.
pub fn of(api: &ImportedApi, frame: &Frame<'_>) -> Face {
    let mut document = (*api.document).clone();
    strip::strip(&mut document);
    link_operations(api, &mut document);
    calls_to_partners(api, &mut document);
    let is_own = api.id.as_str() == OWN_ID;
    let mut paths = paths(api, &mut document, frame, is_own);
    let mut object = |key: &str| match document.as_object_mut().and_then(|d| d.shift_remove(key)) {
        Some(Value::Object(map)) => map,
        _ => Map::new(),
    };
    let mut components = object("components");
    if !is_own {
        components.shift_remove("securitySchemes");
    }
    components.retain(|_, entries| entries.as_object().is_some_and(|e| !e.is_empty()));
    for (section, entries) in &mut components {
        name_sources(api, section, entries);
    }
    let (mut webhooks, info) = (object("webhooks"), object("info"));
    let tags = tags(api, &document, &mut paths, &mut webhooks, &mut components);
    refusal::tell(&mut paths, &mut components);
    Face { api: api.id.to_string(), is_own, info, paths, webhooks, components, tags }
}

/// OAM-34.
fn source(api: &ImportedApi, place: &str) -> Value {
    let location = api.origins.of(place);
    let pointer = if location.file == api.report.file {
        location.pointer
    } else {
        format!("{}#{}", location.file, location.pointer)
    };
    json!({ "id": api.id.as_str(), "version": api.version, "sha256": api.report.sha256, "pointer": pointer })
}

fn name_sources(api: &ImportedApi, section: &str, entries: &mut Value) {
    for (name, entry) in entries.as_object_mut().into_iter().flatten() {
        // A Reference Object has no other members (OpenAPI 3.1.1 §4.8.23); a schema with `$ref` may.
        if let Some(object) = entry.as_object_mut().filter(|o| section == "schemas" || !o.contains_key("$ref")) {
            let place = pointer::child(&format!("/components/{section}"), name);
            object.insert("x-source".into(), source(api, &place));
        }
    }
}

/// Paths by name, with the base path, methods in a fixed order. The operations are taken out of the document.
fn paths(api: &ImportedApi, document: &mut Value, frame: &Frame<'_>, is_own: bool) -> Map<String, Value> {
    let mut items: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    let mut operations: Vec<&ImportedOperation> = api.operations.iter().collect();
    let rank = |o: &ImportedOperation| METHODS.iter().position(|m| o.spec.method.as_str().eq_ignore_ascii_case(m));
    operations.sort_by_key(|o| rank(o));
    for operation in operations {
        let spec = &operation.spec;
        let object = document.pointer_mut(&spec.pointer).and_then(Value::as_object_mut);
        let Some(mut object) = object.map(std::mem::take) else { continue };
        let original = object.shift_remove("operationId");
        object.insert("operationId".into(), spec.id.as_str().into());
        if let Some(original) = original {
            object.entry("x-original-operation-id").or_insert(original);
        }
        if !is_own {
            object.insert("security".into(), frame.security(operation));
        }
        object.entry("security").or_insert_with(|| json!([]));
        object.insert("x-source".into(), source(api, &spec.pointer));
        let parent = spec.pointer.rsplit_once('/').map_or("", |(parent, _)| parent);
        let item = items.entry(spec.path.as_str()).or_insert_with(|| path_item(api, document, parent));
        item.insert(spec.method.as_str().to_ascii_lowercase(), object.into());
    }
    items.into_iter().map(|(path, item)| (path.to_owned(), item.into())).collect()
}

/// What a path item says besides its operations.
fn path_item(api: &ImportedApi, document: &Value, place: &str) -> Map<String, Value> {
    let item = document.pointer(place).and_then(Value::as_object).into_iter().flatten();
    let kept = item.filter(|(key, _)| matches!(key.as_str(), "summary" | "description") || key.starts_with("x-"));
    let mut kept: Map<String, Value> = kept.map(|(k, v)| (k.clone(), v.clone())).collect();
    kept.insert("x-source".into(), source(api, place));
    kept
}

/// Links name operations by the ids that are published (OAM-27); what they cannot name is taken off.
fn link_operations(api: &ImportedApi, document: &mut Value) {
    let by_id: HashMap<String, &str> = api
        .operations
        .iter()
        .filter_map(|o| {
            let operation = document.pointer(&o.spec.pointer)?;
            Some((operation.get("operationId")?.as_str()?.to_owned(), o.spec.id.as_str()))
        })
        .collect();
    let by_place: HashMap<&str, &str> =
        api.operations.iter().map(|o| (o.spec.pointer.as_str(), o.spec.id.as_str())).collect();
    let target = |link: &Map<String, Value>| {
        if let Some(id) = link.get("operationId").and_then(Value::as_str) {
            return by_id.get(id).copied();
        }
        let place = link.get("operationRef").and_then(Value::as_str)?.strip_prefix('#')?;
        by_place.get(pointer::from_fragment(place)?.as_str()).copied()
    };
    shape::walk_mut(Dialect::V31, document, Kind::Document, &mut String::new(), &mut |object, kind, _| {
        let holds_links = matches!(kind, Kind::Response | Kind::Components);
        let Some(links) = object.get_mut("links").and_then(Value::as_object_mut).filter(|_| holds_links) else {
            return;
        };
        links.retain(|_, link| {
            let Some(link) = link.as_object_mut() else { return false };
            if link.contains_key("$ref") {
                return true;
            }
            let Some(id) = target(link) else { return false };
            link.shift_remove("operationRef");
            link.insert("operationId".into(), id.into());
            true
        });
    });
    drop_dangling_links(document);
}

/// References to links that were taken off go with them.
fn drop_dangling_links(document: &mut Value) {
    let known: Vec<String> = document
        .pointer("/components/links")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(name, _)| name.clone())
        .collect();
    shape::walk_mut(Dialect::V31, document, Kind::Document, &mut String::new(), &mut |object, kind, _| {
        if kind == Kind::Response
            && let Some(links) = object.get_mut("links").and_then(Value::as_object_mut)
        {
            links.retain(|_, link| {
                let name = link.get("$ref").and_then(Value::as_str).and_then(|r| pointer::component(r, "links"));
                name.is_none_or(|name| known.contains(&name))
            });
        }
    });
}

/// Operations of webhooks and callbacks get ids that are unique over the catalogue (OAM-27).
fn calls_to_partners(api: &ImportedApi, document: &mut Value) {
    let routes: HashSet<&str> = api.operations.iter().map(|o| o.spec.pointer.as_str()).collect();
    let mut ids: HashSet<String> = api.operations.iter().map(|o| o.spec.id.as_str().to_owned()).collect();
    shape::walk_mut(Dialect::V31, document, Kind::Document, &mut String::new(), &mut |object, kind, at| {
        if kind != Kind::Operation || routes.contains(at) {
            return;
        }
        strip::called_back(object);
        let original = object.get("operationId").and_then(Value::as_str).map(ToOwned::to_owned);
        let wanted = match (&original, pointer::tokens(at).nth(1)) {
            (Some(id), _) => format!("{}.{}", api.id, slug(id)),
            (None, Some(name)) if at.starts_with("/webhooks/") => format!("{}.webhook.{}", api.id, slug(&name)),
            (None, _) => return,
        };
        let id = unique_name(&wanted, |name| ids.contains(name));
        ids.insert(id.clone());
        object.insert("operationId".into(), id.into());
        if let Some(original) = original {
            object.insert("x-original-operation-id".into(), original.into());
        }
    });
}

/// OAM-28: every operation has a tag, so that a reader finds it below something, and what is used is declared.
fn tags(
    api: &ImportedApi,
    document: &Value,
    paths: &mut Map<String, Value>,
    webhooks: &mut Map<String, Value>,
    components: &mut Map<String, Value>,
) -> Vec<Map<String, Value>> {
    let declared = document.get("tags").and_then(Value::as_array).into_iter().flatten();
    let mut tags: Vec<Map<String, Value>> = declared.filter_map(Value::as_object).cloned().collect();
    let title = if api.title.is_empty() { api.id.as_str() } else { &api.title };
    let mut visit = |operation: &mut Map<String, Value>| {
        let own = operation.entry("tags").or_insert_with(|| json!([]));
        let Some(own) = own.as_array_mut() else { return };
        if own.is_empty() {
            own.push(title.into());
        }
        for name in own.iter().filter_map(Value::as_str) {
            if !tags.iter().any(|t| t.get("name").and_then(Value::as_str) == Some(name)) {
                tags.push(Map::from_iter([("name".to_owned(), name.into())]));
            }
        }
    };
    for_each_operation(paths, webhooks, components, &mut visit);
    tags
}

/// Every operation of a face, those of webhooks and callbacks included.
pub fn for_each_operation(
    paths: &mut Map<String, Value>,
    webhooks: &mut Map<String, Value>,
    components: &mut Map<String, Value>,
    visit: &mut dyn FnMut(&mut Map<String, Value>),
) {
    let mut only_operations = |object: &mut Map<String, Value>, kind: Kind, _: &str| {
        if kind == Kind::Operation {
            visit(object);
        }
    };
    let mut walk = |value: &mut Value, kind| {
        shape::walk_mut(Dialect::V31, value, kind, &mut String::new(), &mut only_operations);
    };
    paths.values_mut().chain(webhooks.values_mut()).for_each(|item| walk(item, Kind::PathItem));
    for (section, kind) in [("callbacks", Kind::Callback), ("pathItems", Kind::PathItem)] {
        let entries = components.get_mut(section).and_then(Value::as_object_mut);
        entries.into_iter().flat_map(Map::values_mut).for_each(|entry| walk(entry, kind));
    }
}
