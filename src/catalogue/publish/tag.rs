//! Tags of all sources: equal ones are one, different ones of the same name are told apart (OAM-28).

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value};

use super::face::{Face, for_each_operation};

/// Renames tags in the faces where needed, and answers the list to declare.
pub fn merge(faces: &mut [Face]) -> Vec<Value> {
    let mut declared: Vec<Map<String, Value>> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for face in faces {
        let mut renamed = BTreeMap::new();
        for mut tag in std::mem::take(&mut face.tags) {
            let name = name(&tag);
            match places.get(&name).and_then(|place| declared.get_mut(*place)) {
                None => {
                    places.insert(name, declared.len());
                    declared.push(tag);
                }
                Some(other) if *other == tag || tag.len() == 1 => {}
                // The earlier one was used without being declared.
                Some(other) if other.len() == 1 => *other = tag,
                Some(_) => {
                    let new = format!("{} / {name}", face.api);
                    tag.insert("name".into(), new.clone().into());
                    places.insert(new.clone(), declared.len());
                    declared.push(tag);
                    renamed.insert(name, new);
                }
            }
        }
        if !renamed.is_empty() {
            rename(face, &renamed);
        }
    }
    declared.into_iter().map(Value::Object).collect()
}

fn name(tag: &Map<String, Value>) -> String {
    tag.get("name").and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn rename(face: &mut Face, renamed: &BTreeMap<String, String>) {
    for_each_operation(&mut face.paths, &mut face.webhooks, &mut face.components, &mut |operation| {
        for tag in operation.get_mut("tags").and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(new) = tag.as_str().and_then(|t| renamed.get(t)) {
                *tag = new.as_str().into();
            }
        }
    });
}
