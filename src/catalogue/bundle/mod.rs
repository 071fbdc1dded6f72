//! One document out of many places: every reference leads to a component of the document itself.
//!
//! What a reference names elsewhere (another file, a place inside `paths`, the inside of a component) is moved to
//! `components` under a readable name, once, and the reference rewritten. Nothing is expanded in place but path items
//! (OAM-12), so recursion stays what it is (OAM-14).

mod name;
mod resolve;

use std::collections::{BTreeSet, HashMap, VecDeque};

use serde_json::{Map, Value};

use super::files::Files;
use super::limits::{HOISTED_MAX, REF_CHAIN_MAX};
use super::mend::SET_ASIDE;
use super::origin::{Location, Origins};
use super::pointer;
use super::report::{Finding, Findings};
use super::shape::{self, Dialect, Kind, Shape};

pub use name::{clean as clean_name, unique as unique_name};

/// Marks what stands in place of a reference that leads nowhere.
pub const UNRESOLVED: &str = "x-unresolved-ref";

/// A document with references inside itself only, each to exactly one component.
pub struct Bundle {
    pub document: Value,
    pub origins: Origins,
}

/// Where references in the part at hand are resolved against.
#[derive(Debug, Clone)]
struct Base {
    file: String,
    /// Pointer of the schema resource (OAM-13: `$id`) that `#/…` is relative to; empty is the file itself.
    root: String,
}

struct Bundler<'f> {
    dialect: Dialect,
    files: &'f mut Files,
    findings: &'f mut Findings,
    origins: Origins,
    hoisted: HashMap<(Location, Kind), String>,
    taken: BTreeSet<(Kind, String)>,
    queue: VecDeque<(Kind, String, Location)>,
    /// Path items being inlined, innermost last.
    inlining: Vec<Location>,
    siblings_ignored: bool,
}

/// Gathers the entry document and what it refers to.
pub fn bundle(files: &mut Files, dialect: Dialect, findings: &mut Findings) -> Bundle {
    let entry = files.entry().to_owned();
    let mut document = files.get(&entry).map(|t| t.value.clone()).unwrap_or_default();
    make_sections(dialect, &mut document, findings);
    let mut bundler = Bundler {
        dialect,
        origins: Origins::new(&entry),
        taken: taken(dialect, &document),
        files,
        findings,
        hoisted: HashMap::new(),
        queue: VecDeque::new(),
        inlining: Vec::new(),
        siblings_ignored: false,
    };
    let base = Base { file: entry.clone(), root: String::new() };
    bundler.node(&mut document, Kind::Document, &base, &mut String::new());
    let mut moved = Vec::new();
    while let Some((kind, name, location)) = bundler.queue.pop_front() {
        let Some(home) = home(dialect, kind) else { continue };
        let mut at = pointer::child(&home, &name);
        let mut value = bundler.value(&location).cloned().unwrap_or_default();
        let base = Base { file: location.file.clone(), root: String::new() };
        bundler.node(&mut value, kind, &base, &mut at);
        moved.push((kind, name, value));
    }
    let Bundler { hoisted, origins, .. } = bundler;
    leave_references(dialect, &mut document, &entry, &hoisted);
    for (kind, name, value) in moved {
        if let Some(section) = section_mut(dialect, &mut document, kind) {
            section.insert(name, value);
        }
    }
    Bundle { document, origins }
}

/// Pointer of the object that holds the components of a kind.
fn home(dialect: Dialect, kind: Kind) -> Option<String> {
    if dialect != Dialect::Swagger2 {
        return kind.section().map(|section| format!("/components/{section}"));
    }
    let section = match kind {
        Kind::Schema => "/definitions",
        Kind::Parameter => "/parameters",
        Kind::Response => "/responses",
        Kind::SecurityScheme => "/securityDefinitions",
        _ => return None,
    };
    Some(section.to_owned())
}

fn section_mut(dialect: Dialect, document: &mut Value, kind: Kind) -> Option<&mut Map<String, Value>> {
    let mut object = document.as_object_mut()?;
    for token in pointer::tokens(&home(dialect, kind)?) {
        object = object.entry(token).or_insert_with(|| Value::Object(Map::new())).as_object_mut()?;
    }
    Some(object)
}

fn taken(dialect: Dialect, document: &Value) -> BTreeSet<(Kind, String)> {
    let names = |kind: Kind| {
        let section = home(dialect, kind).and_then(|home| document.pointer(&home)).and_then(Value::as_object);
        section.into_iter().flat_map(|s| s.keys().cloned()).map(move |name| (kind, name))
    };
    shape::SECTIONS.iter().flat_map(|(_, kind)| names(*kind)).collect()
}

/// What should hold components and is no object cannot take any: it is kept as an extension.
fn make_sections(dialect: Dialect, document: &mut Value, findings: &mut Findings) {
    let mut set_aside = |object: &mut Map<String, Value>, key: &str, at: &str| {
        if object.get(key).is_none_or(Value::is_object) {
            return;
        }
        if let Some(value) = object.shift_remove(key) {
            object.insert(format!("{SET_ASIDE}{key}"), value);
        }
        findings.push(Finding::warning(
            at,
            format!("`{key}` is no object; it is kept as x-invalid-{key} and has no effect"),
            "Write an object of named parts.",
        ));
    };
    let Some(root) = document.as_object_mut() else { return };
    if dialect == Dialect::Swagger2 {
        for key in ["definitions", "parameters", "responses", "securityDefinitions"] {
            set_aside(root, key, &format!("/{key}"));
        }
        return;
    }
    set_aside(root, "components", "/components");
    let Some(components) = root.get_mut("components").and_then(Value::as_object_mut) else { return };
    for (section, _) in shape::SECTIONS {
        set_aside(components, section, &format!("/components/{section}"));
    }
}

/// Puts a reference where something was moved to the components from, so that it stands in the document once.
fn leave_references(dialect: Dialect, document: &mut Value, entry: &str, hoisted: &HashMap<(Location, Kind), String>) {
    let mut places: Vec<(&str, Kind, &String)> = hoisted
        .iter()
        .filter(|((location, _), _)| location.file == entry)
        .map(|((location, kind), name)| (location.pointer.as_str(), *kind, name))
        .collect();
    // The innermost first: the outer copy was taken before, so it keeps its own.
    places.sort_by_key(|(pointer, kind, _)| (std::cmp::Reverse(pointer.len()), *pointer, *kind));
    for (place, kind, name) in places {
        let (Some(home), true) = (home(dialect, kind), shape::kind_at(dialect, place) == Some(kind)) else { continue };
        if let Some(value) = document.pointer_mut(place) {
            let mut object = Map::new();
            object.insert("$ref".into(), pointer::to_reference(&pointer::child(&home, name)).into());
            *value = object.into();
        }
    }
}

impl Bundler<'_> {
    fn value(&self, location: &Location) -> Option<&Value> {
        self.files.get(&location.file)?.value.pointer(&location.pointer)
    }

    fn node(&mut self, value: &mut Value, kind: Kind, base: &Base, at: &mut String) {
        if let (Value::Array(items), Kind::Schema) = (&mut *value, kind) {
            for (index, item) in items.iter_mut().enumerate() {
                pointer::with(at, &index.to_string(), |at| self.node(item, kind, base, at));
            }
            return;
        }
        let Value::Object(object) = value else { return };
        if kind == Kind::Opaque {
            return;
        }
        if kind.is_referable() && object.get("$ref").is_some_and(|r| !r.is_string()) {
            let written = object.get("$ref").map(ToString::to_string).unwrap_or_default();
            self.unresolved(value, &written, "is no text", at);
            return;
        }
        if let Some(reference) = shape::reference(object).map(ToOwned::to_owned)
            && !self.reference(value, &reference, kind, base, at)
        {
            return;
        }
        let Value::Object(object) = value else { return };
        if kind == Kind::Discriminator {
            self.mapping(object, base, at);
        }
        if matches!(kind, Kind::MediaType | Kind::Parameter | Kind::Header) {
            self.example(object, base, at);
        }
        let inner_base = self.schema_resource(object, kind, base, at);
        let base = inner_base.as_ref().unwrap_or(base);
        for (key, inner) in object.iter_mut() {
            if kind == Kind::Callback && key.starts_with("x-") {
                continue;
            }
            let shape = shape::member(self.dialect, kind, key);
            pointer::with(at, key, |at| self.member(inner, kind, key, shape, base, at));
        }
    }

    fn member(&mut self, value: &mut Value, parent: Kind, key: &str, shape: Shape, base: &Base, at: &mut String) {
        match shape {
            Shape::One(kind) => self.node(value, kind, base, at),
            Shape::Map(kind) => {
                let moved = self.container(value, base, at);
                let base = moved.as_ref().unwrap_or(base);
                let Value::Object(entries) = value else { return };
                for (name, entry) in entries.iter_mut().filter(|(name, _)| !shape::is_extension(parent, key, name)) {
                    pointer::with(at, name, |at| self.node(entry, kind, base, at));
                }
            }
            Shape::List(kind) => {
                if kind == Kind::Schema && value.is_object() {
                    self.findings.push(Finding::warning(
                        at,
                        format!("`{key}` is not a list; its one schema was put into one"),
                        "Write a list of schemas.",
                    ));
                    *value = vec![value.take()].into();
                }
                let Value::Array(items) = value else { return };
                for (index, item) in items.iter_mut().enumerate() {
                    pointer::with(at, &index.to_string(), |at| self.node(item, kind, base, at));
                }
            }
        }
    }

    /// `properties: { $ref: … }` is not in the grammar, but written all the same, and its meaning is plain.
    fn container(&mut self, value: &mut Value, base: &Base, at: &str) -> Option<Base> {
        let reference = value.as_object().filter(|o| o.len() == 1).and_then(shape::reference)?.to_owned();
        self.replace(value, &reference, Kind::Opaque, base, at)
    }

    fn replace(&mut self, value: &mut Value, reference: &str, kind: Kind, base: &Base, at: &str) -> Option<Base> {
        match self.resolve(reference, base).map(|location| (self.value(&location).cloned(), location)) {
            Ok((Some(target), location)) if self.inlining.len() < REF_CHAIN_MAX => {
                self.findings.push(Finding::warning(
                    at,
                    "a reference stands where OpenAPI allows none; what it names was put in its place",
                    "Write the content here, or refer to single entries.",
                ));
                *value = target;
                let base = Base { file: location.file.clone(), root: String::new() };
                self.origins.note(at, location);
                Some(base)
            }
            Ok(_) => None,
            Err(reason) => {
                self.unresolved(value, reference, &reason, at);
                // Only an operation must know that it is not known; elsewhere nothing is said, and the finding tells.
                if kind != Kind::Operation {
                    *value = Map::new().into();
                }
                None
            }
        }
    }

    /// Rewrites a reference. Says whether what now stands there is to be looked into.
    fn reference(&mut self, value: &mut Value, reference: &str, kind: Kind, base: &Base, at: &mut String) -> bool {
        if !kind.is_referable() {
            if let Some(moved) = self.replace(value, reference, kind, base, at) {
                self.node(value, kind, &moved, at);
            }
            return false;
        }
        self.drop_siblings(value, kind, at);
        let leads_to_part = |bundler: &Self, location: &Location| {
            let value = bundler.value(location);
            value.is_some_and(|v| v.is_object() || kind == Kind::Schema && v.is_boolean())
        };
        let found = self.resolve(reference, base).and_then(|location| match leads_to_part(self, &location) {
            true => Ok(location),
            false => Err("leads to something else than what is expected here".to_owned()),
        });
        let location = match found {
            Ok(location) => location,
            Err(reason) => {
                self.unresolved(value, reference, &reason, at);
                return false;
            }
        };
        if kind == Kind::PathItem {
            self.inline(value, location, reference, at);
            return false;
        }
        match self.hoist(location, kind) {
            Ok(target) => {
                if let Some(object) = value.as_object_mut() {
                    object.insert("$ref".into(), target.into());
                }
                // 3.1: the keywords beside a schema's `$ref` apply as well (OAM-11).
                kind == Kind::Schema && self.dialect == Dialect::V31
            }
            Err(reason) => {
                self.unresolved(value, reference, &reason, at);
                false
            }
        }
    }

    /// OAM-11: what stands beside `$ref` counts only in schemas of 3.1, and as `summary` and `description` there.
    fn drop_siblings(&mut self, value: &mut Value, kind: Kind, at: &str) {
        let Some(object) = value.as_object_mut() else { return };
        let counts = |key: &str| match (self.dialect, kind) {
            (_, Kind::PathItem) | (Dialect::V31, Kind::Schema) => true,
            (Dialect::V31, _) => matches!(key, "$ref" | "summary" | "description"),
            _ => key == "$ref",
        };
        let ignored: Vec<String> = object.keys().filter(|k| !counts(k)).cloned().collect();
        if ignored.is_empty() {
            return;
        }
        object.retain(|key, _| counts(key));
        let matters = ignored.iter().any(|k| !k.starts_with("x-") && k != "description" && k != "summary");
        if matters && !self.siblings_ignored {
            self.siblings_ignored = true;
            self.findings.push(Finding::warning(
                at,
                format!(
                    "{} beside $ref has no effect in this version of OpenAPI (first such place)",
                    ignored.join(", ")
                ),
                "Move it into what is referred to, wrap the reference in allOf, or use OpenAPI 3.1.",
            ));
        }
    }

    fn inline(&mut self, value: &mut Value, location: Location, reference: &str, at: &mut String) {
        if self.inlining.contains(&location) || self.inlining.len() >= REF_CHAIN_MAX {
            self.unresolved(value, reference, "leads back to itself", at);
            return;
        }
        let Some(Value::Object(mut item)) = self.value(&location).cloned() else {
            self.unresolved(value, reference, "does not lead to a path item", at);
            return;
        };
        for (key, own) in value.as_object().into_iter().flatten().filter(|(key, _)| *key != "$ref") {
            if item.get(key).is_some_and(|other| other != own) {
                self.findings.push(Finding::warning(
                    at,
                    format!(
                        "{key} stands both beside $ref and in the path item it names; the one beside $ref was taken"
                    ),
                    "Keep one of them: OpenAPI leaves it undefined which of the two counts.",
                ));
            }
            item.insert(key.clone(), own.clone());
        }
        *value = Value::Object(item);
        self.origins.note(at, location.clone());
        let base = Base { file: location.file.clone(), root: String::new() };
        self.inlining.push(location);
        self.node(value, Kind::PathItem, &base, at);
        self.inlining.pop();
    }

    /// The reference to the component that holds what stands at `location`.
    fn hoist(&mut self, location: Location, kind: Kind) -> Result<String, String> {
        let home = home(self.dialect, kind).ok_or("names a part that this version cannot share")?;
        let is_component = location.file == self.files.entry()
            && location.pointer.strip_prefix(&home).and_then(|p| p.strip_prefix('/')).is_some_and(|n| !n.contains('/'));
        if is_component {
            return Ok(pointer::to_reference(&location.pointer));
        }
        let key = (location, kind);
        if let Some(name) = self.hoisted.get(&key) {
            return Ok(pointer::to_reference(&pointer::child(&home, name)));
        }
        if self.hoisted.len() >= HOISTED_MAX {
            return Err(format!("is one of more than {HOISTED_MAX} to other places"));
        }
        let (location, _) = &key;
        let wanted = name::of(location, kind, self.value(location).unwrap_or(&Value::Null));
        let name = name::unique(&wanted, |name| self.taken.contains(&(kind, name.to_owned())));
        self.taken.insert((kind, name.clone()));
        let place = pointer::child(&home, &name);
        self.origins.note(&place, location.clone());
        self.queue.push_back((kind, name.clone(), location.clone()));
        self.hoisted.insert(key, name);
        Ok(pointer::to_reference(&place))
    }

    /// `example: { $ref: … }` is not in the grammar, but written often; what is meant is the example's value.
    fn example(&mut self, object: &mut Map<String, Value>, base: &Base, at: &str) {
        let reference = object.get("example").and_then(Value::as_object).filter(|e| e.len() == 1);
        let Some(reference) = reference.and_then(shape::reference).map(ToOwned::to_owned) else { return };
        let Ok(location) = self.resolve(&reference, base) else { return };
        let Some(target) = self.value(&location).cloned() else { return };
        let value = target.get("value").cloned().unwrap_or(target);
        object.insert("example".into(), value);
        self.findings.push(Finding::warning(
            at,
            "`example` holds a reference, which has no meaning there; what it names was put in its place",
            "Use examples: {name: {$ref: …}}.",
        ));
    }

    /// The values of a discriminator's mapping are references, too, or names of schemas (OAM-18).
    fn mapping(&mut self, discriminator: &mut Map<String, Value>, base: &Base, at: &mut String) {
        let Some(Value::Object(mapping)) = discriminator.get_mut("mapping") else { return };
        let mut lost = Vec::new();
        for (wire, target) in mapping.iter_mut() {
            let Some(text) = target.as_str().map(ToOwned::to_owned) else { continue };
            let is_name = !text.contains(['/', '#', '.']) || self.taken.contains(&(Kind::Schema, text.clone()));
            let reference =
                if is_name { pointer::to_reference(&pointer::child("/components/schemas", &text)) } else { text };
            match self.resolve(&reference, base).and_then(|location| self.hoist(location, Kind::Schema)) {
                Ok(found) => *target = found.into(),
                Err(reason) => {
                    lost.push(wire.clone());
                    self.findings.push(Finding::error(
                        &format!("{at}/mapping/{}", pointer::escape(wire)),
                        format!("the discriminator's mapping to {reference} {reason}; the entry was left out"),
                        "Add the schema or correct the mapping.",
                    ));
                }
            }
        }
        mapping.retain(|wire, _| !lost.contains(wire));
    }

    /// A schema with `$id` is a resource of its own. Once its references are resolved, the name is taken off:
    /// nothing outside the document may lead to it, and the flat document has one base.
    fn schema_resource(&mut self, object: &mut Map<String, Value>, kind: Kind, base: &Base, at: &str) -> Option<Base> {
        if kind != Kind::Schema || self.dialect != Dialect::V31 || !object.get("$id").is_some_and(Value::is_string) {
            return None;
        }
        let id = object.shift_remove("$id");
        self.findings
            .push(Finding::note(at, format!("the schema's $id {} was resolved and taken off", id.unwrap_or_default())));
        let root = self.origins.of(at).pointer;
        Some(Base { file: base.file.clone(), root })
    }

    fn unresolved(&mut self, value: &mut Value, reference: &str, reason: &str, at: &str) {
        self.findings.push(Finding::error(
            at,
            format!("the reference {reference} {reason}"),
            "Add what it names to the document (or to a file below the document's folder), or correct the reference.",
        ));
        let mut mark = Map::new();
        mark.insert(UNRESOLVED.into(), reference.into());
        *value = mark.into();
    }
}

#[cfg(test)]
mod tests;
