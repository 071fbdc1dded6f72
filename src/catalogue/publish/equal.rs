//! Which components of different sources are the same? Equal in what they demand, and so is everything they refer to.
//!
//! Partition refinement: a component's first colour is the digest of its canonical form, in which a reference is the
//! name it has; then each round mixes in the colours of what it refers to, until no class splits any more. Recursion
//! needs no special case.

use std::collections::{BTreeMap, HashMap, HashSet};

use aws_lc_rs::digest::{Context, SHA256};
use serde_json::{Map, Value};

use super::super::pointer;
use super::super::shape::{self, Dialect, Kind, Shape};
use super::face::Face;

/// A component's identity: the same colour under the same name means the same component.
pub type Colour = [u8; 32];

/// One component: its source, section and name.
pub type Key<'f> = (usize, &'static str, &'f str);

/// The colour of every component of every source.
pub fn colours(faces: &[Face]) -> BTreeMap<Key<'_>, Colour> {
    let mut keys: Vec<Key<'_>> = Vec::new();
    let mut bodies: Vec<Colour> = Vec::new();
    let mut targets: Vec<Vec<(&'static str, String)>> = Vec::new();
    for (index, face) in faces.iter().enumerate() {
        let children = children(face);
        for (section, kind) in shape::SECTIONS {
            for (name, value) in face.components.get(section).and_then(Value::as_object).into_iter().flatten() {
                let mut canonical = Canonical { context: Context::new(&SHA256), targets: Vec::new() };
                canonical.value(value, Shape::One(kind), "");
                if kind == Kind::Schema && value.get("discriminator").is_some() {
                    // Those that extend it are a part of what it means (OAM-22).
                    canonical.targets.extend(children.get(name).into_iter().flatten().map(|c| ("schemas", c.clone())));
                }
                keys.push((index, section, name));
                bodies.push(digest(canonical.context));
                targets.push(canonical.targets);
            }
        }
    }
    let places: HashMap<Key<'_>, usize> = keys.iter().enumerate().map(|(place, key)| (*key, place)).collect();
    let edges: Vec<Vec<usize>> = keys
        .iter()
        .zip(&targets)
        .map(|((index, ..), targets)| {
            targets
                .iter()
                .filter_map(|(section, name)| places.get(&(*index, *section, name.as_str())).copied())
                .collect()
        })
        .collect();
    let colours = refine(&bodies, &edges);
    keys.into_iter().zip(colours).collect()
}

fn refine(bodies: &[Colour], edges: &[Vec<usize>]) -> Vec<Colour> {
    let mut colours = bodies.to_vec();
    let mut classes = colours.iter().collect::<HashSet<_>>().len();
    for _ in 0..bodies.len() {
        let next: Vec<Colour> = bodies
            .iter()
            .zip(edges)
            .map(|(body, edges)| {
                let mut context = Context::new(&SHA256);
                context.update(body);
                edges.iter().filter_map(|e| colours.get(*e)).for_each(|colour| context.update(colour));
                digest(context)
            })
            .collect();
        let split = next.iter().collect::<HashSet<_>>().len();
        colours = next;
        if split == classes {
            break;
        }
        classes = split;
    }
    colours
}

fn digest(context: Context) -> Colour {
    context.finish().as_ref().try_into().unwrap_or_default()
}

/// Schemas by the parent that they extend through `allOf`.
fn children(face: &Face) -> BTreeMap<String, Vec<String>> {
    let mut children: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, schema) in face.components.get("schemas").and_then(Value::as_object).into_iter().flatten() {
        for part in schema.get("allOf").and_then(Value::as_array).into_iter().flatten() {
            if let Some(parent) =
                part.get("$ref").and_then(Value::as_str).and_then(|r| pointer::component(r, "schemas"))
            {
                children.entry(parent).or_default().push(name.clone());
            }
        }
    }
    children.values_mut().for_each(|names| names.sort());
    children
}

/// Feeds the canonical form of a part into a digest, and notes what it refers to.
struct Canonical {
    context: Context,
    targets: Vec<(&'static str, String)>,
}

impl Canonical {
    fn bytes(&mut self, tag: u8, bytes: &[u8]) {
        self.context.update(&[tag]);
        self.context.update(&(bytes.len() as u64).to_be_bytes());
        self.context.update(bytes);
    }

    fn value(&mut self, value: &Value, shape: Shape, key: &str) {
        match value {
            Value::Object(object) => self.object(object, shape),
            Value::Array(items) => self.array(items, shape, key),
            // A number is what it is worth: 1.0 and 1 are the same bound.
            Value::Number(number) => {
                let text =
                    number.as_f64().filter(|f| f.abs() < 9e15).map_or_else(|| number.to_string(), |f| f.to_string());
                self.bytes(b'n', text.as_bytes());
            }
            other => self.bytes(b's', other.to_string().as_bytes()),
        }
    }

    fn object(&mut self, object: &Map<String, Value>, shape: Shape) {
        let kind = match shape {
            Shape::One(kind) => Some(kind),
            Shape::Map(_) | Shape::List(_) => None,
        };
        let mut members: Vec<(&String, &Value)> =
            object.iter().filter(|(key, _)| !kind.is_some_and(|kind| is_annotation(kind, key))).collect();
        members.sort_by_key(|(key, _)| *key);
        self.bytes(b'{', &(members.len() as u64).to_be_bytes());
        for (key, value) in members {
            self.bytes(b'k', key.as_bytes());
            let inner = match shape {
                Shape::Map(kind) | Shape::List(kind) => Shape::One(kind),
                Shape::One(kind) => shape::member(Dialect::V31, kind, key),
            };
            self.reference(kind, key, value);
            self.value(value, inner, key);
        }
    }

    fn array(&mut self, items: &[Value], shape: Shape, key: &str) {
        let inner = match shape {
            Shape::List(kind) | Shape::Map(kind) | Shape::One(kind) => Shape::One(kind),
        };
        self.bytes(b'[', &(items.len() as u64).to_be_bytes());
        // `required` is a set.
        if key == "required" && inner == Shape::One(Kind::Opaque) {
            let mut names: Vec<String> = items.iter().map(Value::to_string).collect();
            names.sort();
            names.iter().for_each(|name| self.bytes(b's', name.as_bytes()));
            return;
        }
        items.iter().for_each(|item| self.value(item, inner, ""));
    }

    fn reference(&mut self, kind: Option<Kind>, key: &str, value: &Value) {
        let target = |kind: Kind, value: &Value| {
            let section = kind.section()?;
            Some((section, pointer::component(value.as_str()?, section)?))
        };
        match kind {
            Some(kind) if key == "$ref" => self.targets.extend(target(kind, value)),
            Some(Kind::Discriminator) if key == "mapping" => {
                let values = value.as_object().into_iter().flatten();
                self.targets.extend(values.filter_map(|(_, v)| target(Kind::Schema, v)));
            }
            _ => {}
        }
    }
}

/// OAM-21: what only describes does not tell components apart.
fn is_annotation(kind: Kind, key: &str) -> bool {
    match key {
        "x-source" => true,
        "description" => !matches!(kind, Kind::Opaque),
        "example" | "examples" => matches!(kind, Kind::Schema | Kind::Parameter | Kind::Header | Kind::MediaType),
        _ => false,
    }
}
