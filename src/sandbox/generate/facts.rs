//! What do several schemas demand together? All that holds at one place, gathered from references, `allOf` and the
//! branches that were chosen.

use serde_json::{Map, Value};

use crate::catalogue::pointer::from_fragment;

/// Most schemas that can hold at one place.
const SCHEMAS_MAX: usize = 512;

/// Types of JSON, as a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Types(u8);

impl Types {
    pub const NULL: Self = Self(1);
    pub const BOOLEAN: Self = Self(2);
    pub const INTEGER: Self = Self(4);
    pub const NUMBER: Self = Self(8);
    pub const STRING: Self = Self(16);
    pub const ARRAY: Self = Self(32);
    pub const OBJECT: Self = Self(64);
    pub const ANY: Self = Self(127);

    fn named(name: &str) -> Self {
        match name {
            "null" => Self::NULL,
            "boolean" => Self::BOOLEAN,
            "integer" => Self::INTEGER,
            // Every integer is a number.
            "number" => Self(Self::NUMBER.0 | Self::INTEGER.0),
            "string" => Self::STRING,
            "array" => Self::ARRAY,
            "object" => Self::OBJECT,
            _ => Self::ANY,
        }
    }

    pub fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::NULL,
            Value::Bool(_) => Self::BOOLEAN,
            Value::Number(number) if number.is_f64() => Self::NUMBER,
            Value::Number(_) => Self::INTEGER,
            Value::String(_) => Self::STRING,
            Value::Array(_) => Self::ARRAY,
            Value::Object(_) => Self::OBJECT,
        }
    }

    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// A place where one of several branches must be taken.
#[derive(Debug, Clone)]
pub(super) struct Group<'d> {
    pub branches: Vec<Branch<'d>>,
}

#[derive(Debug, Clone)]
pub(super) struct Branch<'d> {
    pub schemas: Vec<&'d Value>,
    /// The discriminating property and the value that names this branch.
    pub named: Option<(&'d str, String)>,
    /// Its position in the document.
    pub original: usize,
}

/// All that holds at one place. Bounds are the tightest, lists hold every demand.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts<'d> {
    pub types: Option<Types>,
    pub consts: Vec<&'d Value>,
    pub enums: Vec<&'d Vec<Value>>,
    pub excluded: Vec<&'d Value>,
    /// Values that the document itself offers, the outermost first.
    pub examples: Vec<&'d Value>,
    pub formats: Vec<&'d str>,
    pub patterns: Vec<&'d str>,
    pub length_min: Option<u64>,
    pub length_max: Option<u64>,
    pub minimum: Option<Bound>,
    pub maximum: Option<Bound>,
    pub multiples: Vec<f64>,
    pub items: Vec<&'d Value>,
    pub prefix_items: Vec<&'d Vec<Value>>,
    pub contains: Vec<&'d Value>,
    pub items_min: u64,
    pub items_max: Option<u64>,
    pub unique: bool,
    /// In the document's order; one name may stand here more than once.
    pub properties: Vec<(&'d str, &'d Value)>,
    pub pattern_properties: Vec<(&'d str, &'d Value)>,
    pub additional: Vec<&'d Value>,
    pub names: Vec<&'d Value>,
    pub required: Vec<&'d str>,
    /// If the first is there, so must be the second.
    pub dependent: Vec<(&'d str, &'d str)>,
    pub properties_min: u64,
    pub properties_max: Option<u64>,
    pub groups: Vec<Group<'d>>,
    /// References that were followed to get here.
    pub references: Vec<&'d str>,
    /// The property that names the kind of thing this is, and its value.
    pub named: Vec<(&'d str, String)>,
    discriminators: Vec<(&'d str, &'d Value)>,
}

/// A numeric bound.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bound {
    pub value: f64,
    pub exclusive: bool,
}

/// Nothing can hold here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Impossible;

impl<'d> Facts<'d> {
    /// Gathers what the schemas say, following references and `allOf`; groups stay open.
    pub fn gather(document: &'d Value, schemas: &[&'d Value]) -> Result<Self, Impossible> {
        let mut facts = Self::default();
        let mut open: Vec<&'d Value> = schemas.iter().rev().copied().collect();
        let mut seen: Vec<*const Value> = Vec::new();
        while let Some(schema) = open.pop() {
            if seen.len() >= SCHEMAS_MAX {
                return Err(Impossible);
            }
            if seen.contains(&std::ptr::from_ref(schema)) {
                continue;
            }
            seen.push(std::ptr::from_ref(schema));
            match schema {
                Value::Bool(false) => return Err(Impossible),
                Value::Object(keywords) => facts.add(document, keywords, &mut open)?,
                _ => (),
            }
        }
        facts.name_itself();
        if facts.types.is_some_and(Types::is_empty) { Err(Impossible) } else { Ok(facts) }
    }

    fn add(
        &mut self,
        document: &'d Value,
        keywords: &'d Map<String, Value>,
        open: &mut Vec<&'d Value>,
    ) -> Result<(), Impossible> {
        if let Some(reference) = keywords.get("$ref").and_then(Value::as_str) {
            let target = resolve(document, reference).ok_or(Impossible)?;
            self.references.push(reference);
            open.push(target);
        }
        if let Some(Value::Array(all)) = keywords.get("allOf") {
            open.extend(all.iter().rev());
        }
        self.add_general(keywords);
        self.add_scalars(keywords);
        self.add_array(keywords);
        self.add_object(keywords);
        self.add_groups(document, keywords);
        Ok(())
    }

    fn add_general(&mut self, keywords: &'d Map<String, Value>) {
        let types = match keywords.get("type") {
            Some(Value::String(name)) => Some(Types::named(name)),
            Some(Value::Array(names)) => {
                Some(names.iter().filter_map(Value::as_str).map(Types::named).fold(Types(0), Types::or))
            }
            _ => None,
        };
        // OpenAPI 3.0 says it so; a document that was converted does not any more.
        let nullable = keywords.get("nullable").is_some_and(|nullable| nullable == true);
        if let Some(types) = types {
            let types = if nullable { types.or(Types::NULL) } else { types };
            self.types = Some(self.types.unwrap_or(Types::ANY).and(types));
        }
        self.consts.extend(keywords.get("const"));
        self.enums.extend(keywords.get("enum").and_then(Value::as_array));
        self.examples.extend(keywords.get("example"));
        self.examples.extend(keywords.get("examples").and_then(Value::as_array).into_iter().flatten());
        self.examples.extend(keywords.get("default"));
        if let Some(Value::Object(not)) = keywords.get("not") {
            self.excluded.extend(not.get("const"));
            self.excluded.extend(not.get("enum").and_then(Value::as_array).into_iter().flatten());
        }
    }

    fn add_scalars(&mut self, keywords: &'d Map<String, Value>) {
        let text = |name: &str| keywords.get(name).and_then(Value::as_str);
        let count = |name: &str| keywords.get(name).and_then(whole);
        self.formats.extend(text("format"));
        self.patterns.extend(text("pattern"));
        self.length_min = self.length_min.max(count("minLength"));
        self.length_max = least(self.length_max, count("maxLength"));
        let number = |name: &str| keywords.get(name).and_then(Value::as_f64);
        for (name, exclusive) in [("minimum", false), ("exclusiveMinimum", true)] {
            if let Some(value) = number(name) {
                let tighter =
                    self.minimum.is_none_or(|bound| value > bound.value || (exclusive && value >= bound.value));
                self.minimum = if tighter { Some(Bound { value, exclusive }) } else { self.minimum };
            }
        }
        for (name, exclusive) in [("maximum", false), ("exclusiveMaximum", true)] {
            if let Some(value) = number(name) {
                let tighter =
                    self.maximum.is_none_or(|bound| value < bound.value || (exclusive && value <= bound.value));
                self.maximum = if tighter { Some(Bound { value, exclusive }) } else { self.maximum };
            }
        }
        self.multiples.extend(number("multipleOf").filter(|step| *step > 0.0));
    }

    fn add_array(&mut self, keywords: &'d Map<String, Value>) {
        let count = |name: &str| keywords.get(name).and_then(whole);
        self.items.extend(keywords.get("items"));
        self.prefix_items.extend(keywords.get("prefixItems").and_then(Value::as_array));
        if count("minContains") != Some(0) {
            self.contains.extend(keywords.get("contains"));
        }
        self.items_min = self.items_min.max(count("minItems").unwrap_or(0));
        self.items_max = least(self.items_max, count("maxItems"));
        self.unique |= keywords.get("uniqueItems").is_some_and(|unique| unique == true);
    }

    fn add_object(&mut self, keywords: &'d Map<String, Value>) {
        let count = |name: &str| keywords.get(name).and_then(whole);
        let object = |name: &str| keywords.get(name).and_then(Value::as_object).into_iter().flatten();
        self.properties.extend(object("properties").map(|(name, schema)| (name.as_str(), schema)));
        self.pattern_properties.extend(object("patternProperties").map(|(name, schema)| (name.as_str(), schema)));
        self.additional.extend(keywords.get("additionalProperties"));
        self.additional.extend(keywords.get("unevaluatedProperties").filter(|schema| schema.is_object()));
        self.names.extend(keywords.get("propertyNames"));
        let required = keywords.get("required").and_then(Value::as_array);
        self.required.extend(required.into_iter().flatten().filter_map(Value::as_str));
        for (name, needed) in object("dependentRequired") {
            let needed = needed.as_array().into_iter().flatten().filter_map(Value::as_str);
            self.dependent.extend(needed.map(|needed| (name.as_str(), needed)));
        }
        self.properties_min = self.properties_min.max(count("minProperties").unwrap_or(0));
        self.properties_max = least(self.properties_max, count("maxProperties"));
    }

    fn add_groups(&mut self, document: &'d Value, keywords: &'d Map<String, Value>) {
        let discriminator = keywords.get("discriminator");
        let property = discriminator.and_then(|d| d.get("propertyName")).and_then(Value::as_str);
        let mut grouped = false;
        for name in ["oneOf", "anyOf"] {
            let Some(Value::Array(schemas)) = keywords.get(name) else { continue };
            let branches = schemas.iter().enumerate().map(|(original, schema)| {
                let named = property.and_then(|property| Some((property, branch_name(discriminator?, schema)?)));
                Branch { schemas: vec![schema], named, original }
            });
            let mut branches: Vec<_> = branches.collect();
            // Null last: it says least.
            branches.sort_by_key(|branch| branch.schemas.iter().any(|schema| is_null(document, schema)));
            self.groups.push(Group { branches });
            grouped = true;
        }
        if let (Some(property), Some(discriminator), false) = (property, discriminator, grouped) {
            self.discriminators.push((property, discriminator));
        }
        if let Some(condition) = keywords.get("if") {
            let holds = [Some(condition), keywords.get("then")].into_iter().flatten().collect();
            let fails = keywords.get("else").into_iter().collect();
            let branches = [holds, fails].map(|schemas| Branch { schemas, named: None, original: 0 });
            self.groups.push(Group { branches: branches.into() });
        }
        for (name, schema) in keywords.get("dependentSchemas").and_then(Value::as_object).into_iter().flatten() {
            if self.required.contains(&name.as_str()) {
                let only = Branch { schemas: vec![schema], named: None, original: 0 };
                self.groups.push(Group { branches: vec![only] });
            }
        }
    }

    /// A base schema with a discriminator, reached through the schema of one kind: the kind's name is the value.
    fn name_itself(&mut self) {
        for (property, discriminator) in &self.discriminators {
            let mapping = discriminator.get("mapping").and_then(Value::as_object);
            let mapped = mapping
                .into_iter()
                .flatten()
                .find(|(_, target)| self.references.iter().any(|reference| names_target(target, reference)));
            let first = mapping.and_then(|mapping| mapping.keys().next());
            let own = self.references.first().map(|reference| last_segment(reference));
            let name = mapped.map(|(name, _)| name).or(first).cloned().or_else(|| own.map(str::to_owned));
            self.named.extend(name.map(|name| (*property, name)));
        }
    }
}

/// The value of the discriminating property that stands for a branch: its key in the mapping, else its schema's name.
fn branch_name(discriminator: &Value, schema: &Value) -> Option<String> {
    let reference = schema.get("$ref")?.as_str()?;
    let mapping = discriminator.get("mapping").and_then(Value::as_object);
    let mapped = mapping.into_iter().flatten().find(|(_, target)| names_target(target, reference));
    Some(mapped.map_or_else(|| last_segment(reference).to_owned(), |(name, _)| name.clone()))
}

/// A mapping's target is a reference or the bare name of a schema.
fn names_target(target: &Value, reference: &str) -> bool {
    target.as_str().is_some_and(|target| target == reference || target == last_segment(reference))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Object,
    Array,
    Text,
    Integer,
    Number,
    Boolean,
    Null,
}

impl<'d> Facts<'d> {
    /// The type to make: the one that is stated, or that the keywords speak of.
    pub fn kind(&self) -> Kind {
        let speaks_of_objects = !self.properties.is_empty()
            || !self.required.is_empty()
            || !self.additional.is_empty()
            || self.properties_min > 0;
        let speaks_of_arrays = !self.items.is_empty() || !self.prefix_items.is_empty() || self.items_min > 0;
        let speaks_of_numbers = self.minimum.is_some() || self.maximum.is_some() || !self.multiples.is_empty();
        let speaks_of_texts = !self.patterns.is_empty() || self.length_min.is_some() || self.length_max.is_some();
        let types = self.types.unwrap_or(Types::ANY);
        let stated = self.types.is_some();
        let whole_only = types.has(Types::INTEGER) && !types.has(Types::NUMBER);
        let integer = whole_only || self.formats.iter().any(|format| matches!(*format, "int32" | "int64"));
        let number = if integer { Kind::Integer } else { Kind::Number };
        for (speaks, own, kind) in [
            (speaks_of_objects, Types::OBJECT, Kind::Object),
            (speaks_of_arrays, Types::ARRAY, Kind::Array),
            (speaks_of_numbers, Types::INTEGER, number),
            (speaks_of_texts || (!stated && !self.formats.is_empty()), Types::STRING, Kind::Text),
            (stated, Types::OBJECT, Kind::Object),
            (stated, Types::ARRAY, Kind::Array),
            (stated, Types::STRING, Kind::Text),
            (stated, Types::INTEGER, number),
            (stated, Types::BOOLEAN, Kind::Boolean),
        ] {
            if speaks && types.has(own) {
                return kind;
            }
        }
        if stated { Kind::Null } else { Kind::Object }
    }

    /// The values that every enumeration allows; `None` if there is none.
    pub fn listed(&self) -> Option<Vec<&'d Value>> {
        let (first, others) = self.enums.split_first()?;
        let types = self.types.unwrap_or(Types::ANY);
        let mut allowed: Vec<&'d Value> = first
            .iter()
            .filter(|value| others.iter().all(|other| other.contains(value)))
            .filter(|value| types.has(Types::of(value)) && !self.excluded.contains(value))
            .collect();
        // Null last: it says least.
        allowed.sort_by_key(|value| value.is_null());
        Some(allowed)
    }
}

fn last_segment(reference: &str) -> &str {
    reference.rsplit('/').next().unwrap_or(reference)
}

fn is_null(document: &Value, schema: &Value) -> bool {
    let schema = match schema.get("$ref").and_then(Value::as_str) {
        Some(reference) => resolve(document, reference).unwrap_or(schema),
        None => schema,
    };
    schema.get("type").is_some_and(|name| name == "null") || schema.get("const").is_some_and(Value::is_null)
}

/// What a reference inside the document points to.
pub(super) fn resolve<'d>(document: &'d Value, reference: &str) -> Option<&'d Value> {
    document.pointer(&from_fragment(reference.strip_prefix('#')?)?)
}

fn whole(value: &Value) -> Option<u64> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturating is what a bound wants")]
    value.as_u64().or_else(|| value.as_f64().filter(|number| *number >= 0.0).map(|number| number as u64))
}

fn least(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, other) => one.or(other),
    }
}
