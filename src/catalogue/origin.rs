//! Where a part of the finished document was written: file and JSON Pointer of its author's text.

use std::collections::BTreeMap;

/// A place in one of the document's files.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Location {
    /// Relative to the folder of the entry document.
    pub file: String,
    /// JSON Pointer into that file.
    pub pointer: String,
}

/// What was moved, by its pointer in the finished document; everything else stands where it always stood.
#[derive(Debug, Clone, Default)]
pub struct Origins {
    entry: String,
    moved: BTreeMap<String, Location>,
}

impl Origins {
    pub fn new(entry: &str) -> Self {
        Self { entry: entry.to_owned(), moved: BTreeMap::new() }
    }

    /// The entry document's name.
    pub fn entry(&self) -> &str {
        &self.entry
    }

    /// The part at `pointer` (and all below it) was written at `location`.
    pub fn note(&mut self, pointer: &str, location: Location) {
        self.moved.insert(pointer.to_owned(), location);
    }

    /// Renames every place below `from`.
    pub fn rename(&mut self, from: &str, to: &str) {
        let below: Vec<String> = self.moved.keys().filter(|k| is_below(k, from)).cloned().collect();
        for key in below {
            if let (Some(location), Some(rest)) = (self.moved.remove(&key), key.strip_prefix(from)) {
                self.moved.insert(format!("{to}{rest}"), location);
            }
        }
        if !self.moved.contains_key(to) {
            self.note(to, Location { file: self.entry.clone(), pointer: from.to_owned() });
        }
    }

    /// Where the part at `pointer` was written.
    pub fn of(&self, pointer: &str) -> Location {
        let mut prefix = pointer;
        loop {
            if let Some(location) = self.moved.get(prefix) {
                let rest = pointer.strip_prefix(prefix).unwrap_or_default();
                return Location { file: location.file.clone(), pointer: format!("{}{rest}", location.pointer) };
            }
            match prefix.rsplit_once('/') {
                Some((parent, _)) => prefix = parent,
                None => return Location { file: self.entry.clone(), pointer: pointer.to_owned() },
            }
        }
    }
}

fn is_below(pointer: &str, parent: &str) -> bool {
    pointer.strip_prefix(parent).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_moved_ancestor_tells_the_place() {
        let mut origins = Origins::new("openapi.yaml");
        let place = |file: &str, pointer: &str| Location { file: file.into(), pointer: pointer.into() };
        origins.note("/components/schemas/A", place("a.yaml", ""));
        assert_eq!(origins.of("/components/schemas/A/properties/x"), place("a.yaml", "/properties/x"));
        assert_eq!(origins.of("/components/schemas/AB"), place("openapi.yaml", "/components/schemas/AB"));
        origins.rename("/definitions", "/components/schemas");
        assert_eq!(origins.of("/components/schemas/B/type"), place("openapi.yaml", "/definitions/B/type"));
        assert_eq!(origins.of("/components/schemas/A"), place("a.yaml", ""));
    }
}
