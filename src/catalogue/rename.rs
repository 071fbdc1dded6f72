//! Components get other names, and everything that named them follows: references, mappings, and the values that
//! discriminators imply.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value, json};

use super::pointer;
use super::shape::{self, Dialect, Kind};

/// New names by section and old name.
pub type Renames = HashMap<(&'static str, String), String>;

/// Renames components of a 3.1 document.
pub fn apply(document: &mut Value, renames: &Renames) {
    if renames.is_empty() {
        return;
    }
    name_implied_values(document, renames);
    for (section, _) in shape::SECTIONS {
        let entries = document.pointer_mut(&format!("/components/{section}")).and_then(Value::as_object_mut);
        let Some(entries) = entries else { continue };
        let renamed = std::mem::take(entries).into_iter().map(|(name, value)| {
            let new = renames.get(&(section, name.clone())).cloned();
            (new.unwrap_or(name), value)
        });
        *entries = renamed.collect();
    }
    rewrite_references(document, &|section, name| renames.get(&(section, name.to_owned())).cloned());
}

/// Gives every reference to a component the name that `new_name` answers, if it answers one.
pub fn rewrite_references(document: &mut Value, new_name: &dyn Fn(&'static str, &str) -> Option<String>) {
    shape::walk_mut(Dialect::V31, document, Kind::Document, &mut String::new(), &mut |object, kind, _| {
        if kind == Kind::Discriminator {
            for target in object.get_mut("mapping").and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut)
            {
                if let Some(new) = target.as_str().and_then(|t| rewritten(t, Kind::Schema, new_name)) {
                    *target = new.into();
                }
            }
        } else if kind == Kind::SecurityRequirement {
            let renamed = std::mem::take(object).into_iter();
            *object =
                renamed.map(|(name, scopes)| (new_name("securitySchemes", &name).unwrap_or(name), scopes)).collect();
        } else if let Some(new) = shape::reference(object).and_then(|r| rewritten(r, kind, new_name)) {
            object.insert("$ref".into(), new.into());
        }
    });
}

fn rewritten(reference: &str, kind: Kind, new_name: &dyn Fn(&'static str, &str) -> Option<String>) -> Option<String> {
    let section = kind.section()?;
    let name = pointer::component(reference, section)?;
    Some(pointer::to_reference(&format!("/components/{section}/{}", pointer::escape(&new_name(section, &name)?))))
}

/// OAM-22: without a mapping the value on the wire is the schema's name, so the old name is written down before it
/// goes.
fn name_implied_values(document: &mut Value, renames: &Renames) {
    let children = children(document);
    shape::walk_mut(Dialect::V31, document, Kind::Document, &mut String::new(), &mut |object, kind, at| {
        if kind != Kind::Schema || !object.get("discriminator").is_some_and(Value::is_object) {
            return;
        }
        let mut implied: Vec<String> = ["oneOf", "anyOf"]
            .iter()
            .flat_map(|key| object.get(*key).and_then(Value::as_array).into_iter().flatten())
            .filter_map(|member| pointer::component(member.get("$ref")?.as_str()?, "schemas"))
            .collect();
        let own_name = at.strip_prefix("/components/schemas/").filter(|n| !n.contains('/')).map(pointer::unescape);
        implied.extend(own_name.and_then(|name| children.get(name.as_ref())).into_iter().flatten().cloned());
        let is_renamed = |name: &String| renames.contains_key(&("schemas", name.clone()));
        if !implied.iter().any(is_renamed) {
            return;
        }
        let Some(Value::Object(discriminator)) = object.get_mut("discriminator") else { return };
        let Some(mapping) = discriminator.entry("mapping").or_insert_with(|| json!({})).as_object_mut() else { return };
        for name in implied {
            let target = Value::from(pointer::to_reference(&pointer::child("/components/schemas", &name)));
            if !mapping.contains_key(&name) && !mapping.values().any(|v| *v == target) {
                mapping.insert(name, target);
            }
        }
    });
}

/// Schemas by the parent that they extend through `allOf`.
fn children(document: &Value) -> BTreeMap<String, Vec<String>> {
    let mut children: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let schemas = document.pointer("/components/schemas").and_then(Value::as_object);
    for (name, schema) in schemas.into_iter().flatten() {
        for part in schema.get("allOf").and_then(Value::as_array).into_iter().flatten() {
            let parent = part.get("$ref").and_then(Value::as_str).and_then(|r| pointer::component(r, "schemas"));
            if let Some(parent) = parent {
                children.entry(parent).or_default().push(name.clone());
            }
        }
    }
    children
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_values_survive_a_new_name() {
        let reference = |name: &str| json!({"$ref": format!("#/components/schemas/{name}")});
        let mut document = json!({"components": {"schemas": {
            "Pet": {"discriminator": {"propertyName": "kind"}, "oneOf": [reference("Cat"), reference("Dog")]},
            "Base": {"discriminator": {"propertyName": "kind", "mapping": {"d": "#/components/schemas/Dog"}}},
            "Cat": {"allOf": [reference("Base")]}, "Dog": {"allOf": [reference("Base")]},
            "a b": {"items": reference("a%20b")}
        }}});
        let renames = Renames::from([
            (("schemas", "Cat".to_owned()), "Bank_Cat".to_owned()),
            (("schemas", "a b".to_owned()), "aB".to_owned()),
        ]);
        apply(&mut document, &renames);
        let schemas = &document["components"]["schemas"];
        assert_eq!(schemas["Pet"]["oneOf"][0], reference("Bank_Cat"));
        assert_eq!(
            schemas["Pet"]["discriminator"]["mapping"],
            json!({"Cat": "#/components/schemas/Bank_Cat", "Dog": "#/components/schemas/Dog"})
        );
        assert_eq!(
            schemas["Base"]["discriminator"]["mapping"],
            json!({"d": "#/components/schemas/Dog", "Cat": "#/components/schemas/Bank_Cat"})
        );
        assert_eq!(schemas["aB"]["items"], reference("aB"));
        assert!(schemas.get("Cat").is_none());
    }
}
