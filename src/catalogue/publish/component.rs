//! Components of all sources under one roof: equal ones are shared, different ones of the same name get the name of
//! their API in front (OAM-21).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Map, Value, json};

use super::super::bundle::unique_name;
use super::super::rename::{self, Renames};
use super::super::shape;
use super::equal::{self, Colour};
use super::face::Face;

/// Renames where needed, in the faces too, and answers the sections of `components`. `schemes` are our security
/// schemes.
pub fn merge(faces: &mut [Face], schemes: Map<String, Value>) -> BTreeMap<String, Value> {
    let renames = plan(faces, &schemes);
    for (face, renames) in faces.iter_mut().zip(&renames) {
        rename_in(face, renames);
    }
    let mut sections: BTreeMap<String, BTreeMap<String, Value>> = BTreeMap::new();
    sections.insert("securitySchemes".into(), schemes.into_iter().collect());
    for face in faces.iter_mut() {
        for (section, entries) in std::mem::take(&mut face.components) {
            let Value::Object(entries) = entries else { continue };
            let all = sections.entry(section).or_default();
            for (name, value) in entries {
                match all.get_mut(&name) {
                    Some(shared) => share(shared, &face.api),
                    None => drop(all.insert(name, value)),
                }
            }
        }
    }
    let to_value = |entries: BTreeMap<String, Value>| entries.into_iter().collect::<Map<_, _>>().into();
    sections.into_iter().map(|(section, entries)| (section, to_value(entries))).collect()
}

/// A shared component says who else has it.
fn share(component: &mut Value, api: &str) {
    if let Some(source) = component.get_mut("x-source").and_then(Value::as_object_mut)
        && let Some(also) = source.entry("also").or_insert_with(|| json!([])).as_array_mut()
    {
        also.push(api.into());
    }
}

/// New names for each face. The first source (by id) that has a name keeps it.
fn plan(faces: &[Face], schemes: &Map<String, Value>) -> Vec<Renames> {
    let colours = equal::colours(faces);
    let mut by_name: BTreeMap<(&'static str, &str), Vec<(usize, Colour)>> = BTreeMap::new();
    for ((face, section, name), colour) in &colours {
        by_name.entry((*section, *name)).or_default().push((*face, *colour));
    }
    let mut taken: BTreeSet<(&'static str, String)> =
        by_name.keys().map(|(section, name)| (*section, (*name).to_owned())).collect();
    taken.extend(schemes.keys().map(|name| ("securitySchemes", name.clone())));
    let mut renames = vec![Renames::new(); faces.len()];
    for ((section, name), holders) in by_name {
        // Our own schemes are there already.
        let reserved = section == "securitySchemes" && schemes.contains_key(name);
        let keeper = holders.first().map(|(_, colour)| *colour).filter(|_| !reserved);
        let mut new_names: HashMap<Colour, String> = HashMap::new();
        for (index, colour) in holders {
            let Some(face) = faces.get(index).filter(|_| Some(colour) != keeper) else { continue };
            if reserved && face.components.get(section).and_then(|s| s.get(name)) == schemes.get(name) {
                continue;
            }
            let new = new_names.entry(colour).or_insert_with(|| {
                let wanted = format!("{}_{name}", face.api.replace(':', "_"));
                let new = unique_name(&wanted, |n| taken.contains(&(section, n.to_owned())));
                taken.insert((section, new.clone()));
                new
            });
            if let Some(renames) = renames.get_mut(index) {
                renames.insert((section, name.to_owned()), new.clone());
            }
        }
    }
    renames
}

/// Renames a face's components and every reference to them.
fn rename_in(face: &mut Face, renames: &Renames) {
    if renames.is_empty() {
        return;
    }
    let mut document = Map::new();
    document.insert("paths".into(), std::mem::take(&mut face.paths).into());
    document.insert("webhooks".into(), std::mem::take(&mut face.webhooks).into());
    document.insert("components".into(), std::mem::take(&mut face.components).into());
    let mut document = Value::Object(document);
    rename::apply(&mut document, renames);
    let mut take = |key: &str| match document.get_mut(key).map(Value::take) {
        Some(Value::Object(map)) => map,
        _ => Map::new(),
    };
    (face.paths, face.webhooks, face.components) = (take("paths"), take("webhooks"), take("components"));
    debug_assert!(shape::SECTIONS.iter().all(|(s, _)| face.components.get(*s).is_none_or(Value::is_object)));
}
