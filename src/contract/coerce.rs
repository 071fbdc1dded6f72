//! Text that stands for JSON values: parameters and form fields have no types of their own, the schema says what to
//! read them as.

use serde_json::{Map, Number, Value};

use super::check::accepts;
use super::schema::{ANY, Direction, NodeId, Schemas, Types};

/// Longest text that is read as a number.
const NUMBER_BYTES_MAX: usize = 64;
/// Deepest `a[b][c]` of a name.
const NAME_DEPTH_MAX: usize = 8;
/// Largest number of items that bracketed positions (`a[7]`) can make.
const ITEMS_MAX: usize = 1000;

/// One text as the value that the schema wants; a text that is nothing it wants stays a string, and the check says so.
pub(super) fn scalar(schemas: &Schemas, id: NodeId, text: &str) -> Value {
    let types = schemas.types(id);
    let as_text = || Value::String(text.to_owned());
    if types == Types::ALL {
        return as_text(); // Nothing is known, and every text is a string.
    }
    let other = other_than_text(types, text);
    match other {
        Some(value) if !types.meets(Types::STRING) || accepts(schemas, Direction::Request, id, &value) => value,
        _ => as_text(),
    }
}

fn other_than_text(types: Types, text: &str) -> Option<Value> {
    match text {
        "true" | "false" if types.meets(Types::BOOLEAN) => Some(Value::Bool(text == "true")),
        "" | "null" if types.meets(Types::NULL) => Some(Value::Null),
        _ if types.meets(Types::NUMBER) && text.len() <= NUMBER_BYTES_MAX => {
            // JSON's grammar, without the white space that a parser would skip.
            let plain = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'));
            plain.then(|| serde_json::from_str::<Number>(text).ok()).flatten().map(Value::Number)
        }
        _ => None,
    }
}

/// Texts under names: what a form or a `deepObject` says before the schema gives it types.
#[derive(Debug, Default)]
pub(super) struct Tree {
    texts: Vec<String>,
    members: Vec<(String, Tree)>,
}

impl Tree {
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty() && self.members.is_empty()
    }

    /// Adds a text under a path of names.
    pub fn add(&mut self, path: &[&str], text: String) {
        let Some((name, rest)) = path.split_first() else {
            self.texts.push(text);
            return;
        };
        let position = self.members.iter().position(|(own, _)| own == name).unwrap_or_else(|| {
            self.members.push(((*name).to_owned(), Self::default()));
            self.members.len() - 1
        });
        if let Some((_, member)) = self.members.get_mut(position) {
            member.add(rest, text);
        }
    }

    /// Whether a name has a text and members too, as in `a=1&a[b]=2`: one reader takes the first for `a`, another the second.
    pub fn is_torn(&self) -> bool {
        (!self.texts.is_empty() && !self.members.is_empty()) || self.members.iter().any(|(_, member)| member.is_torn())
    }

    /// The value that the schema wants.
    pub fn value(&self, schemas: &Schemas, id: NodeId) -> Value {
        let types = schemas.types(id);
        if self.members.is_empty() {
            return self.texts_value(schemas, id, types);
        }
        if types.meets(Types::ARRAY) && !types.meets(Types::OBJECT) {
            let items = self.members.iter().flat_map(|(_, member)| member.parts());
            let each = items.take(ITEMS_MAX).enumerate();
            return each.map(|(n, item)| item.value(schemas, schemas.item(id, n).unwrap_or(ANY))).collect();
        }
        self.object(schemas, id)
    }

    pub fn object(&self, schemas: &Schemas, id: NodeId) -> Value {
        let member = |(name, member): &(String, Self)| {
            (name.clone(), member.value(schemas, schemas.member(id, name).unwrap_or(ANY)))
        };
        Value::Object(self.members.iter().map(member).collect::<Map<String, Value>>())
    }

    fn texts_value(&self, schemas: &Schemas, id: NodeId, types: Types) -> Value {
        match self.texts.as_slice() {
            [only] if types == Types::ALL || !types.meets(Types::ARRAY) => scalar(schemas, id, only),
            texts => items(schemas, id, texts.iter().map(String::as_str)),
        }
    }

    /// `a[]=1&a[]=2` is one member with two texts: two items.
    fn parts(&self) -> Vec<Part<'_>> {
        if self.members.is_empty() {
            self.texts.iter().map(|text| Part::Text(text)).collect()
        } else {
            vec![Part::Tree(self)]
        }
    }
}

enum Part<'t> {
    Text(&'t str),
    Tree(&'t Tree),
}

impl Part<'_> {
    fn value(&self, schemas: &Schemas, id: NodeId) -> Value {
        match self {
            Self::Text(text) => scalar(schemas, id, text),
            Self::Tree(tree) => tree.value(schemas, id),
        }
    }
}

/// Texts as the items of an array.
pub(super) fn items<'t>(schemas: &Schemas, id: NodeId, texts: impl Iterator<Item = &'t str>) -> Value {
    texts.enumerate().map(|(n, text)| scalar(schemas, schemas.item(id, n).unwrap_or(ANY), text)).collect()
}

/// Splits `a[b][c]` into its names; a name that is not so written is itself.
pub(super) fn split_name(name: &str) -> Vec<&str> {
    let Some((first, rest)) = name.split_once('[') else { return vec![name] };
    let Some(inner) = rest.strip_suffix(']').filter(|_| !first.is_empty()) else { return vec![name] };
    let mut path = vec![first];
    path.extend(inner.split("]["));
    let clean = path.iter().skip(1).all(|part| !part.contains(['[', ']']));
    if clean && path.len() <= NAME_DEPTH_MAX { path } else { vec![name] }
}
