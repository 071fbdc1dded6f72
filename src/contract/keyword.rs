//! One schema object, keyword by keyword (JSON Schema 2020-12 core §10–11 and validation §6–7).
//!
//! A keyword whose value has the wrong form is reported and left unchecked. Unknown keywords are annotations (OAM-60).

use std::rc::Rc;
use std::sync::Arc;

use serde_json::{Map, Number, Value};

use super::compile::{Compiler, Pending, join};
use super::issue::IssueCause;
use super::schema::{ANY, Condition, Contains, Items, Members, Node, NodeId, RequiredName, Rule, Types};
use super::text::Pattern;
use super::waiver::{Waivers, waivers};

pub(super) struct Keywords<'c, 'p, 'd> {
    compiler: &'c mut Compiler<'d>,
    at: &'p Pending<'d>,
    members: &'d Map<String, Value>,
    /// What in-place subschemas inherit.
    waivers: Rc<Waivers>,
    types: Types,
    rules: Vec<Rule>,
}

/// Whether a subschema is checked against the same value or against a part of it.
#[derive(Clone, Copy, PartialEq)]
enum Applies {
    InPlace,
    ToPart,
}

impl<'c, 'p, 'd> Keywords<'c, 'p, 'd> {
    pub fn new(compiler: &'c mut Compiler<'d>, at: &'p Pending<'d>, members: &'d Map<String, Value>) -> Self {
        let waivers = waivers(compiler, at.value, &at.resource, &at.waivers);
        Self { compiler, at, members, waivers, types: Types::ALL, rules: Vec::new() }
    }

    pub fn read(mut self) -> Node {
        self.types();
        self.values();
        self.numbers();
        self.strings();
        self.object_shape();
        self.object_members();
        self.arrays();
        self.references();
        self.combinations();
        self.unevaluated();
        Node { types: self.types, rules: self.rules.into() }
    }

    fn types(&mut self) {
        let names: Vec<&Value> = match self.members.get("type") {
            None => return,
            Some(Value::Array(names)) => names.iter().collect(),
            Some(name) => vec![name],
        };
        let parsed: Option<Vec<Types>> = names.iter().map(|name| Types::parse(name.as_str()?)).collect();
        match parsed {
            Some(types) if !types.is_empty() => {
                self.types = types.into_iter().fold(Types::EMPTY, Types::union);
            }
            _ => self.malformed("type", "one or more of null, boolean, integer, number, string, array, object"),
        }
    }

    fn values(&mut self) {
        match self.members.get("enum") {
            None => {}
            Some(Value::Array(values)) => self.rules.push(Rule::Enum(values.clone().into())),
            Some(_) => self.malformed("enum", "an array"),
        }
        if let Some(value) = self.members.get("const") {
            self.rules.push(Rule::Enum([value.clone()].into()));
        }
    }

    fn numbers(&mut self) {
        for (keyword, rule) in [
            ("minimum", Rule::Minimum as fn(Number) -> Rule),
            ("maximum", Rule::Maximum),
            ("exclusiveMinimum", Rule::Above),
            ("exclusiveMaximum", Rule::Below),
        ] {
            match self.members.get(keyword) {
                None => {}
                Some(Value::Number(number)) => self.rules.push(rule(number.clone())),
                Some(_) => self.malformed(keyword, "a number"),
            }
        }
        match self.members.get("multipleOf") {
            None => {}
            Some(Value::Number(number)) if number.as_f64().is_some_and(|number| number > 0.0) => {
                self.rules.push(Rule::MultipleOf(number.clone()));
            }
            Some(_) => self.malformed("multipleOf", "a number above 0"),
        }
    }

    fn strings(&mut self) {
        self.count("minLength", Rule::MinLength);
        self.count("maxLength", Rule::MaxLength);
        match self.members.get("pattern") {
            None => {}
            Some(Value::String(source)) => {
                let pattern = self.pattern(source, &format!("{}/pattern", self.at.pointer));
                self.rules.extend(pattern.map(Rule::Pattern));
            }
            Some(_) => self.malformed("pattern", "a string"),
        }
        match self.members.get("format") {
            None => {}
            Some(Value::String(name)) => self.rules.extend(self.compiler.texts.format(name).map(Rule::Format)),
            Some(_) => self.malformed("format", "a string"),
        }
    }

    fn object_shape(&mut self) {
        self.count("minProperties", Rule::MinMembers);
        self.count("maxProperties", Rule::MaxMembers);
        if let Some(names) = self.names("required") {
            let named =
                |name: Box<str>| RequiredName { waiver: self.waivers.get(&*name).copied().unwrap_or_default(), name };
            let required: Box<[RequiredName]> = names.into_iter().map(named).collect();
            self.rules.push(Rule::Required(required));
        }
        match self.members.get("dependentRequired") {
            None => {}
            Some(Value::Object(named)) => {
                let each = |(name, names): (&String, &Value)| Some((name.as_str().into(), string_list(names)?.into()));
                match named.iter().map(each).collect::<Option<Vec<_>>>() {
                    Some(dependent) => self.rules.push(Rule::DependentRequired(dependent.into())),
                    None => self.malformed("dependentRequired", "an object of arrays of strings"),
                }
            }
            Some(_) => self.malformed("dependentRequired", "an object of arrays of strings"),
        }
    }

    fn object_members(&mut self) {
        let mut named = self.schema_map("properties", Applies::ToPart);
        named.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut patterns: Vec<(Arc<Pattern>, NodeId)> = Vec::new();
        for (source, node) in self.schema_map("patternProperties", Applies::ToPart) {
            let pointer = join(&format!("{}/patternProperties", self.at.pointer), &source);
            patterns.extend(self.pattern(&source, &pointer).map(|pattern| (pattern, node)));
        }
        let additional = self.schema("additionalProperties", Applies::ToPart);
        // A pattern that cannot be used might have named any member: then none is additional for certain.
        let unknown =
            patterns.len() < self.members.get("patternProperties").map_or(0, |all| all.as_object().map_or(0, Map::len));
        let additional = if unknown { None } else { additional };
        if !named.is_empty() || !patterns.is_empty() || additional.is_some() {
            let members = Members { named: named.into(), patterns: patterns.into(), additional };
            self.rules.push(Rule::Members(Box::new(members)));
        }
        let names = self.schema("propertyNames", Applies::ToPart);
        self.rules.extend(names.map(Rule::MemberNames));
    }

    fn arrays(&mut self) {
        self.count("minItems", Rule::MinItems);
        self.count("maxItems", Rule::MaxItems);
        match self.members.get("uniqueItems") {
            None | Some(Value::Bool(false)) => {}
            Some(Value::Bool(true)) => self.rules.push(Rule::UniqueItems),
            Some(_) => self.malformed("uniqueItems", "true or false"),
        }
        let prefix = self.schemas("prefixItems", Applies::ToPart);
        let rest = self.schema("items", Applies::ToPart);
        if prefix.is_some() || rest.is_some() {
            let items = Items { prefix: prefix.unwrap_or_default(), rest };
            self.rules.push(Rule::Items(Box::new(items)));
        }
        if let Some(item) = self.schema("contains", Applies::ToPart) {
            let min = self.counted("minContains").unwrap_or(1);
            let max = self.counted("maxContains");
            self.rules.push(Rule::Contains(Box::new(Contains { item, min, max })));
        }
    }

    fn references(&mut self) {
        match self.members.get("$ref") {
            None => {}
            Some(Value::String(reference)) => self.reference("$ref", reference),
            Some(_) => self.malformed("$ref", "a string"),
        }
        for keyword in ["$dynamicRef", "$recursiveRef"] {
            if let Some(Value::String(reference)) = self.members.get(keyword) {
                self.reference(keyword, reference);
            }
        }
    }

    fn reference(&mut self, keyword: &str, reference: &str) {
        match self.compiler.resolve(reference, &self.at.resource) {
            Some(target) => {
                let node = self.compiler.target(target);
                self.rules.push(Rule::Ref(node));
            }
            None => {
                let reference = reference.to_owned();
                let cause = if keyword == "$ref" {
                    IssueCause::Reference(reference)
                } else {
                    IssueCause::DynamicReference(reference)
                };
                self.compiler.report(&format!("{}/{keyword}", self.at.pointer), cause);
            }
        }
    }

    fn combinations(&mut self) {
        for (keyword, rule) in
            [("allOf", Rule::AllOf as fn(Box<[NodeId]>) -> Rule), ("anyOf", Rule::AnyOf), ("oneOf", Rule::OneOf)]
        {
            let nodes = self.schemas(keyword, Applies::InPlace);
            self.rules.extend(nodes.map(rule));
        }
        let not = self.schema("not", Applies::InPlace);
        self.rules.extend(not.map(Rule::Not));
        if let Some(when) = self.schema("if", Applies::InPlace) {
            let then = self.schema("then", Applies::InPlace).unwrap_or(ANY);
            let otherwise = self.schema("else", Applies::InPlace).unwrap_or(ANY);
            self.rules.push(Rule::If(Box::new(Condition { when, then, otherwise })));
        }
        let dependent = self.schema_map("dependentSchemas", Applies::InPlace);
        if !dependent.is_empty() {
            self.rules.push(Rule::DependentSchemas(dependent.into()));
        }
    }

    fn unevaluated(&mut self) {
        let members = self.schema("unevaluatedProperties", Applies::ToPart);
        self.rules.extend(members.map(Rule::UnevaluatedMembers));
        let items = self.schema("unevaluatedItems", Applies::ToPart);
        self.rules.extend(items.map(Rule::UnevaluatedItems));
    }

    // --- readers of keyword values

    fn malformed(&mut self, keyword: &'static str, expected: &'static str) {
        let pointer = format!("{}/{keyword}", self.at.pointer);
        self.compiler.report(&pointer, IssueCause::Keyword { keyword, expected });
    }

    fn counted(&mut self, keyword: &'static str) -> Option<u64> {
        let value = self.members.get(keyword)?;
        let count = value.as_number().and_then(super::number::as_integer).and_then(|count| u64::try_from(count).ok());
        if count.is_none() {
            self.malformed(keyword, "an integer of 0 or more");
        }
        count
    }

    fn count(&mut self, keyword: &'static str, rule: fn(u64) -> Rule) {
        let count = self.counted(keyword);
        self.rules.extend(count.map(rule));
    }

    fn names(&mut self, keyword: &'static str) -> Option<Vec<Box<str>>> {
        let names = string_list(self.members.get(keyword)?);
        if names.is_none() {
            self.malformed(keyword, "an array of strings");
        }
        names
    }

    fn pattern(&mut self, source: &str, pointer: &str) -> Option<Arc<Pattern>> {
        let pattern = self.compiler.texts.pattern(source);
        if pattern.is_none() {
            self.compiler.report(pointer, IssueCause::Pattern);
        }
        pattern
    }

    fn child(&mut self, value: &'d Value, pointer: String, applies: Applies) -> NodeId {
        let waivers = if applies == Applies::InPlace { Rc::clone(&self.waivers) } else { Rc::default() };
        self.compiler.enqueue(value, pointer, Rc::clone(&self.at.resource), waivers)
    }

    fn schema(&mut self, keyword: &'static str, applies: Applies) -> Option<NodeId> {
        match self.members.get(keyword)? {
            value @ (Value::Object(_) | Value::Bool(_)) => {
                Some(self.child(value, format!("{}/{keyword}", self.at.pointer), applies))
            }
            _ => {
                self.malformed(keyword, "a schema");
                None
            }
        }
    }

    fn schemas(&mut self, keyword: &'static str, applies: Applies) -> Option<Box<[NodeId]>> {
        match self.members.get(keyword)? {
            Value::Array(values) if !values.is_empty() => {
                let pointer = |n: usize| format!("{}/{keyword}/{n}", self.at.pointer);
                let pointers: Vec<String> = (0..values.len()).map(pointer).collect();
                let each = values.iter().zip(pointers);
                Some(each.map(|(value, pointer)| self.child(value, pointer, applies)).collect())
            }
            _ => {
                self.malformed(keyword, "an array of at least one schema");
                None
            }
        }
    }

    fn schema_map(&mut self, keyword: &'static str, applies: Applies) -> Vec<(Box<str>, NodeId)> {
        match self.members.get(keyword) {
            None => Vec::new(),
            Some(Value::Object(named)) => {
                let base = format!("{}/{keyword}", self.at.pointer);
                let each = named.iter();
                each.map(|(name, value)| (name.as_str().into(), self.child(value, join(&base, name), applies)))
                    .collect()
            }
            Some(_) => {
                self.malformed(keyword, "an object of schemas");
                Vec::new()
            }
        }
    }
}

fn string_list(value: &Value) -> Option<Vec<Box<str>>> {
    value.as_array()?.iter().map(|name| name.as_str().map(Box::from)).collect()
}
