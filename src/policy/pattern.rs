//! JSON Pointer patterns: RFC 6901, with `*` for every element of an array and every member of an object.

use serde_json::Value;

/// Longest pattern, in bytes and in steps.
const LEN_MAX: usize = 512;
const STEPS_MAX: usize = 32;

/// Why a text is not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    #[error("a pointer pattern begins with `/`")]
    NoSlash,
    #[error("a pointer pattern has at most {LEN_MAX} bytes and {STEPS_MAX} steps")]
    TooLong,
    #[error("a step of a pointer pattern must not be empty")]
    EmptyStep,
    #[error("`*` stands for a whole step, so {0:?} is not a step")]
    PartialWildcard(String),
    #[error("`~` stands only in `~0` and `~1` (RFC 6901 §3), not as in {0:?}")]
    Escape(String),
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Step {
    /// `*`: one level, all of it.
    Every,
    /// A member's name, or the index of an element.
    Named(String),
}

/// A pattern such as `/Data/Account/*/Identification`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern {
    parents: Vec<Step>,
    last: Step,
}

impl Pattern {
    /// Reads one pattern; members whose name contains a blank or is `*` cannot be named.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let steps = text.strip_prefix('/').ok_or(PatternError::NoSlash)?;
        if text.len() > LEN_MAX || steps.split('/').count() > STEPS_MAX {
            return Err(PatternError::TooLong);
        }
        let mut parents = steps.split('/').map(Step::parse).collect::<Result<Vec<_>, _>>()?;
        let last = parents.pop().ok_or(PatternError::EmptyStep)?;
        Ok(Self { parents, last })
    }

    /// Calls `change` on every value that the pattern matches.
    pub fn replace(&self, root: &mut Value, change: fn(&mut Value)) {
        for parent in self.parents(root) {
            match parent {
                Value::Object(_) | Value::Array(_) => self.last.children(parent).into_iter().for_each(change),
                _ => {}
            }
        }
    }

    /// Takes away every member that the pattern matches; an element of an array becomes null, so that the others keep
    /// their places.
    pub fn remove(&self, root: &mut Value) {
        for parent in self.parents(root) {
            match (parent, &self.last) {
                (Value::Object(members), Step::Every) => members.clear(),
                (Value::Object(members), Step::Named(name)) => drop(members.shift_remove(name)),
                (parent @ Value::Array(_), last) => {
                    last.children(parent).into_iter().for_each(|element| *element = Value::Null);
                }
                _ => {}
            }
        }
    }

    /// The values that hold what the pattern matches. Level by level rather than recursive: its depth is the pattern's.
    fn parents<'v>(&self, root: &'v mut Value) -> Vec<&'v mut Value> {
        let mut level = vec![root];
        for step in &self.parents {
            level = level.into_iter().flat_map(|value| step.children(value)).collect();
        }
        level
    }
}

impl Step {
    fn parse(text: &str) -> Result<Self, PatternError> {
        match text {
            "" => Err(PatternError::EmptyStep),
            "*" => Ok(Self::Every),
            _ if text.contains('*') => Err(PatternError::PartialWildcard(text.to_owned())),
            _ => Ok(Self::Named(unescape(text)?)),
        }
    }

    fn children<'v>(&self, value: &'v mut Value) -> Vec<&'v mut Value> {
        match (self, value) {
            (Self::Every, Value::Object(members)) => members.values_mut().collect(),
            (Self::Every, Value::Array(elements)) => elements.iter_mut().collect(),
            (Self::Named(name), Value::Object(members)) => members.get_mut(name).into_iter().collect(),
            (Self::Named(name), Value::Array(elements)) => {
                index(name).and_then(|index| elements.get_mut(index)).into_iter().collect()
            }
            _ => Vec::new(),
        }
    }
}

/// RFC 6901 §4: `~1` is `/`, `~0` is `~`.
fn unescape(text: &str) -> Result<String, PatternError> {
    let mut name = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match (c, if c == '~' { characters.next() } else { None }) {
            ('~', Some('0')) => name.push('~'),
            ('~', Some('1')) => name.push('/'),
            ('~', _) => return Err(PatternError::Escape(text.to_owned())),
            (c, _) => name.push(c),
        }
    }
    Ok(name)
}

/// RFC 6901 §4: digits without a leading zero.
fn index(name: &str) -> Option<usize> {
    let canonical = name == "0" || (!name.starts_with('0') && name.bytes().all(|b| b.is_ascii_digit()));
    if canonical { name.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn malformed_patterns_are_refused() {
        for (name, text, expected) in [
            ("no slash", "Data", PatternError::NoSlash),
            ("empty", "", PatternError::NoSlash),
            ("root only", "/", PatternError::EmptyStep),
            ("trailing slash", "/Data/", PatternError::EmptyStep),
            ("doubled slash", "/Data//Account", PatternError::EmptyStep),
            ("part of a step", "/Data/Acc*", PatternError::PartialWildcard("Acc*".into())),
            ("two stars", "/Data/**", PatternError::PartialWildcard("**".into())),
            ("unknown escape", "/a~2b", PatternError::Escape("a~2b".into())),
            ("escape cut off", "/a~", PatternError::Escape("a~".into())),
            ("too deep", &"/a".repeat(33), PatternError::TooLong),
            ("too long", &format!("/{}", "a".repeat(512)), PatternError::TooLong),
        ] {
            assert_eq!(Pattern::parse(text), Err(expected), "{name}");
        }
    }

    #[test]
    fn removal_takes_members_and_blanks_elements() {
        let body = json!({"Data": {"Account": [{"Id": "1", "Name": "a"}, {"Id": "2"}, 3], "a/b": 1, "m~n": 2}});
        for (name, pattern, expected) in [
            (
                "every element's member",
                "/Data/Account/*/Id",
                json!({"Data": {"Account": [{"Name": "a"}, {}, 3], "a/b": 1, "m~n": 2}}),
            ),
            (
                "one element",
                "/Data/Account/1",
                json!({"Data": {"Account": [{"Id": "1", "Name": "a"}, null, 3], "a/b": 1, "m~n": 2}}),
            ),
            ("every element", "/Data/Account/*", json!({"Data": {"Account": [null, null, null], "a/b": 1, "m~n": 2}})),
            ("every member", "/Data/*", json!({"Data": {}})),
            ("escaped slash", "/Data/a~1b", json!({"Data": {"Account": body["Data"]["Account"], "m~n": 2}})),
            ("escaped tilde", "/Data/m~0n", json!({"Data": {"Account": body["Data"]["Account"], "a/b": 1}})),
            ("index with a leading zero", "/Data/Account/01", body.clone()),
            ("index out of range", "/Data/Account/9", body.clone()),
            ("absent", "/Meta/*/Id", body.clone()),
            ("through a scalar", "/Data/Account/2/Id", body.clone()),
        ] {
            let mut changed = body.clone();
            Pattern::parse(pattern).unwrap().remove(&mut changed);
            assert_eq!(changed, expected, "{name}");
        }
    }

    #[test]
    fn the_other_members_keep_their_order() {
        let mut body = json!({"z": 1, "b": 2, "y": 3, "a": 4});
        Pattern::parse("/b").unwrap().remove(&mut body);
        assert_eq!(body.to_string(), r#"{"z":1,"y":3,"a":4}"#);
    }

    proptest! {
        #[test]
        fn a_plain_pattern_finds_what_the_pointer_finds(keys in proptest::collection::vec("[a-z~/0-9]{1,3}", 1..6)) {
            let mut body = json!("found");
            for key in keys.iter().rev() {
                body = json!({ key.as_str(): body });
            }
            let pointer: String =
                keys.iter().map(|key| format!("/{}", key.replace('~', "~0").replace('/', "~1"))).collect();
            prop_assert_eq!(body.pointer(&pointer), Some(&json!("found")));
            Pattern::parse(&pointer).unwrap().replace(&mut body, |value| *value = json!("seen"));
            prop_assert_eq!(body.pointer(&pointer), Some(&json!("seen")));
            Pattern::parse(&pointer).unwrap().remove(&mut body);
            prop_assert_eq!(body.pointer(&pointer), None);
        }
    }
}
