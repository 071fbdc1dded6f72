//! From the text of a reference to the place it names.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::limits::REF_CHAIN_MAX;
use super::super::origin::Location;
use super::super::pointer;
use super::super::shape::{self, Dialect};
use super::{Base, Bundler, home};

impl Bundler<'_> {
    /// Follows a reference to its definition: the component it names, or else the last place of the chain.
    pub(super) fn resolve(&mut self, reference: &str, base: &Base) -> Result<Location, String> {
        let mut location = self.locate(reference, base)?;
        let mut visited = BTreeSet::new();
        let mut first_component = None;
        for _ in 0..REF_CHAIN_MAX {
            if !visited.insert(location.clone()) {
                return Err("goes round in a circle and never reaches a definition".to_owned());
            }
            let next = match self.look(&location)? {
                Look::Redirect { reference, rest } => {
                    let base = Base { file: location.file.clone(), root: String::new() };
                    let mut next = self.locate(&reference, &base)?;
                    next.pointer.push_str(&rest);
                    next
                }
                Look::Definition => return Ok(first_component.unwrap_or(location)),
                Look::Reference(reference) => {
                    if self.is_component(&location) {
                        first_component.get_or_insert_with(|| location.clone());
                    }
                    let base = Base { file: location.file.clone(), root: String::new() };
                    self.locate(&reference, &base)?
                }
            };
            location = next;
        }
        Err(format!("leads through more than {REF_CHAIN_MAX} other references"))
    }

    fn is_component(&self, location: &Location) -> bool {
        let is_in = |kind| {
            let rest = home(self.dialect, kind).and_then(|h| location.pointer.strip_prefix(&h).map(ToOwned::to_owned));
            rest.and_then(|r| r.strip_prefix('/').map(|name| !name.contains('/'))).unwrap_or(false)
        };
        location.file == self.files.entry() && shape::SECTIONS.iter().any(|(_, kind)| is_in(*kind))
    }

    /// The place that a reference names, whatever stands there.
    fn locate(&mut self, reference: &str, base: &Base) -> Result<Location, String> {
        let (path, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        if path.is_empty() {
            return self.in_file(&base.file, &base.root, fragment);
        }
        if let Some(location) = self.by_id(path, &base.file) {
            return self.in_file(&location.file, &location.pointer, fragment);
        }
        let file = self.files.load(&base.file, path).map_err(|e| format!("cannot be followed: the file {e}"))?;
        self.in_file(&file, "", fragment)
    }

    fn in_file(&self, file: &str, root: &str, fragment: &str) -> Result<Location, String> {
        let at = |pointer: String| Location { file: file.to_owned(), pointer };
        match pointer::from_fragment(fragment) {
            Some(path) => {
                let inner = at(format!("{root}{path}"));
                // A schema may have an `$id` and refer to the document's components from inside all the same.
                Ok(if root.is_empty() || self.value(&inner).is_some() { inner } else { at(path) })
            }
            None => {
                let document = self.files.get(file).map(|t| &t.value);
                let found = document.and_then(|d| {
                    find(d, &mut String::new(), &|object| {
                        ["$anchor", "$dynamicAnchor"]
                            .iter()
                            .any(|k| object.get(*k).and_then(Value::as_str) == Some(fragment))
                    })
                });
                found.map(at).ok_or_else(|| format!("names the anchor {fragment:?}, which no schema has"))
            }
        }
    }

    /// A schema of the same file that calls itself by this URI (OAM-13).
    fn by_id(&self, uri: &str, file: &str) -> Option<Location> {
        let document = &self.files.get(file)?.value;
        let found =
            find(document, &mut String::new(), &|object| object.get("$id").and_then(Value::as_str) == Some(uri))?;
        Some(Location { file: file.to_owned(), pointer: found })
    }

    fn look(&self, location: &Location) -> Result<Look, String> {
        let missing = || "leads nowhere: nothing stands there".to_owned();
        let mut value = self.files.get(&location.file).map(|t| &t.value).ok_or_else(missing)?;
        let mut walked = String::new();
        for token in pointer::tokens(&location.pointer) {
            let next = match value {
                Value::Object(object) => object.get(token.as_ref()),
                Value::Array(items) => token.parse::<usize>().ok().and_then(|index| items.get(index)),
                _ => None,
            };
            let Some(next) = next else {
                // Strictly, a pointer does not pass through a reference; documents assume that it does.
                let reference = value.as_object().and_then(shape::reference).ok_or_else(missing)?;
                let rest = location.pointer.get(walked.len()..).unwrap_or_default().to_owned();
                return Ok(Look::Redirect { reference: reference.to_owned(), rest });
            };
            value = next;
            walked = pointer::child(&walked, &token);
        }
        Ok(
            match value.as_object().filter(|o| o.len() == 1 || self.dialect != Dialect::V31).and_then(shape::reference)
            {
                Some(reference) => Look::Reference(reference.to_owned()),
                None => Look::Definition,
            },
        )
    }
}

enum Look {
    Definition,
    Reference(String),
    Redirect { reference: String, rest: String },
}

fn find(value: &Value, at: &mut String, test: &dyn Fn(&serde_json::Map<String, Value>) -> bool) -> Option<String> {
    match value {
        Value::Object(object) if test(object) => Some(at.clone()),
        Value::Object(object) => {
            object.iter().find_map(|(key, inner)| pointer::with(at, key, |at| find(inner, at, test)))
        }
        Value::Array(items) => {
            items.iter().enumerate().find_map(|(n, item)| pointer::with(at, &n.to_string(), |at| find(item, at, test)))
        }
        _ => None,
    }
}
