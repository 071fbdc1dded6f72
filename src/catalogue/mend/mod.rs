//! What authors get wrong and what is plain to mend: the document becomes valid OpenAPI 3.1, nothing is thrown away
//! (a member in a wrong place is kept as an extension), and each repair is reported.

mod members;
mod messages;
mod schema;

use serde_json::{Map, Value, json};

use super::bundle::UNRESOLVED;
use super::origin::Origins;
use super::pointer;
use super::rename::{self, Renames};
use super::report::{Finding, Findings};
use super::shape::{self, Dialect, Kind, Shape};

/// What cannot stay where it stands is kept under its name with this in front.
pub const SET_ASIDE: &str = "x-invalid-";
/// Marks a parameter that names nothing a request could have.
pub const UNUSABLE: &str = "x-unusable";

/// Mends a 3.1 document in place. Answers the new names of components whose keys were not allowed.
pub fn mend(document: &mut Value, file: &str, origins: &mut Origins, findings: &mut Findings) -> Renames {
    let renames = component_keys(document, origins, findings);
    rename::apply(document, &renames);
    root(document, file, findings);
    drop_unresolved(document);
    shape::walk_mut(Dialect::V31, document, Kind::Document, &mut String::new(), &mut |object, kind, at| {
        if object.contains_key(UNRESOLVED) {
            stand_in(object, kind);
            return;
        }
        if kind.is_referable() && kind != Kind::Schema && object.contains_key("$ref") {
            return;
        }
        let mut mender = Mender { at, findings };
        mender.members(object, kind);
        match kind {
            Kind::Schema => mender.schema(object),
            _ => {
                mender.entries(object, kind);
                mender.message(object, kind);
            }
        }
        mender.data(object, kind);
    });
    renames
}

/// What must be there for the document to be valid, in place of something that is not known.
fn stand_in(object: &mut Map<String, Value>, kind: Kind) {
    let members = match kind {
        Kind::Response => json!({ "description": "" }),
        Kind::RequestBody => json!({ "content": { "*/*": {} } }),
        Kind::Parameter => json!({ "name": "unresolved", "in": "query", "schema": {} }),
        _ => return,
    };
    for (key, value) in members.as_object().into_iter().flatten() {
        object.entry(key).or_insert_with(|| value.clone());
    }
}

/// One object under repair.
struct Mender<'m> {
    at: &'m str,
    findings: &'m mut Findings,
}

impl Mender<'_> {
    fn warn(&mut self, what: impl Into<String>, remedy: &str) {
        self.findings.push(Finding::warning(self.at, what, remedy));
    }

    /// Data is no place for references: tools follow `$ref` wherever they see it.
    fn data(&mut self, object: &mut Map<String, Value>, kind: Kind) {
        let members = object.iter_mut().filter(|(_, value)| value.is_object() || value.is_array());
        let data = members.filter(|(key, _)| shape::member(Dialect::V31, kind, key) == Shape::One(Kind::Opaque));
        let mut found = false;
        data.for_each(|(_, value)| found |= defuse(value));
        if found {
            self.warn(
                "an example or extension holds $ref, which has no meaning there; it was renamed x-ref",
                "Write the value itself.",
            );
        }
    }

    /// Keeps a member that cannot stay as an extension.
    fn set_aside(&mut self, object: &mut Map<String, Value>, key: &str) {
        if let Some(value) = object.shift_remove(key) {
            let name = format!("{SET_ASIDE}{}", key.trim_start_matches(['$', '@']));
            object.entry(name).or_insert(value);
        }
    }
}

fn defuse(value: &mut Value) -> bool {
    match value {
        Value::Array(items) => items.iter_mut().fold(false, |found, item| defuse(item) | found),
        Value::Object(members) => {
            let own = members.get("$ref").is_some_and(Value::is_string);
            if own && let Some(reference) = members.shift_remove("$ref") {
                members.insert("x-ref".into(), reference);
            }
            members.values_mut().fold(own, |found, member| defuse(member) | found)
        }
        _ => false,
    }
}

/// OAM-6: a component's key is `[A-Za-z0-9._-]+`.
fn component_keys(document: &Value, origins: &mut Origins, findings: &mut Findings) -> Renames {
    let mut renames = Renames::new();
    for (section, _) in shape::SECTIONS {
        let home = format!("/components/{section}");
        let Some(entries) = document.pointer(&home).and_then(Value::as_object) else { continue };
        for name in entries.keys() {
            let cleaned = super::bundle::clean_name(name);
            if cleaned == *name {
                continue;
            }
            let base = if cleaned.is_empty() { "part" } else { &cleaned };
            let is_taken =
                |n: &str| entries.contains_key(n) || renames.iter().any(|((s, _), new)| *s == section && new == n);
            let new = super::bundle::unique_name(base, is_taken);
            let place = pointer::child(&home, name);
            findings.push(Finding::warning(
                &place,
                format!("the name {name:?} is not allowed for a component; it was renamed {new:?}, and all that refers to it"),
                "Use letters, digits, `.`, `_` and `-` only.",
            ));
            origins.rename(&place, &pointer::child(&home, &new));
            renames.insert((section, name.clone()), new);
        }
    }
    renames
}

fn root(document: &mut Value, file: &str, findings: &mut Findings) {
    let Some(root) = document.as_object_mut() else { return };
    if !root.get("info").is_some_and(Value::is_object) {
        root.insert("info".into(), Map::new().into());
    }
    let Some(info) = root.get_mut("info").and_then(Value::as_object_mut) else { return };
    for (key, default) in [("title", file), ("version", "0")] {
        if info.get(key).is_none_or(Value::is_null) {
            info.insert(key.into(), default.into());
            findings.push(Finding::warning(
                "/info",
                format!("info.{key} is missing; {default:?} was taken"),
                "Add it.",
            ));
        }
    }
    if let Some(dialect) = root.get("jsonSchemaDialect").and_then(Value::as_str) {
        let known = ["https://spec.openapis.org/oas/3.1/dialect/", "https://json-schema.org/draft/2020-12/schema"];
        if !known.iter().any(|k| dialect.starts_with(k)) {
            // OAM-61: report, do not guess.
            findings.push(Finding::warning(
                "/jsonSchemaDialect",
                format!("the schema dialect {dialect} is not known; schemas are read as JSON Schema 2020-12"),
                "Leave it out, or use https://spec.openapis.org/oas/3.1/dialect/base.",
            ));
        }
    }
    // Every schema is served in this dialect, whatever was stated.
    root.shift_remove("jsonSchemaDialect");
}

/// Parts that only describe (headers, examples, links, callbacks) are left out when their reference leads nowhere;
/// the finding is there already. Operations and their requests decide for themselves.
fn drop_unresolved(document: &mut Value) {
    let is_lost = |value: &Value| value.get(UNRESOLVED).is_some();
    shape::walk_mut(Dialect::V31, document, Kind::Document, &mut String::new(), &mut |object, kind, _| {
        let members: &[&str] = match kind {
            Kind::Response => &["headers", "links"],
            Kind::Encoding => &["headers"],
            Kind::MediaType | Kind::Parameter | Kind::Header => &["examples"],
            Kind::Operation => &["callbacks"],
            Kind::Components => &["headers", "links", "examples", "callbacks", "securitySchemes", "pathItems"],
            _ => &[],
        };
        for member in members {
            if let Some(entries) = object.get_mut(*member).and_then(Value::as_object_mut) {
                entries.retain(|_, value| !is_lost(value));
            }
        }
    });
}

#[cfg(test)]
mod tests;
