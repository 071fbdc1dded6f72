//! Grows one value from the schemas that hold at its place, downwards from the root.
//!
//! Whatever could be otherwise (which branch, which example, which optional member) is noted in the [`Plan`] under the
//! place where it was decided, so that a later try can decide it differently there and nowhere else.

use serde_json::{Map, Value};

use super::Direction;
use super::facts::{Facts, Group, Kind, Types, resolve};
use super::number::number;
use super::plan::{Choice, Plan, Trace};
use super::string::Strings;
use crate::domain::Timestamp;
use crate::sandbox::dice::Dice;

/// Values made for one document part; past it nothing optional is added, and past ten times it nothing at all.
const VALUES_MAX: usize = 800;
/// Deepest level at which optional members are added.
const OPTIONAL_DEPTH: usize = 6;
const DEPTH_MAX: usize = 64;
/// How often one reference may lie within itself before only what is required is added, and before it is given up.
const WITHIN_SPARSE: usize = 1;
const WITHIN_MAX: usize = 5;
/// Most branches or values of one enumeration that are tried one after the other.
const OPTIONS_MAX: usize = 40;
/// Longest array that is made for a lower bound.
const ITEMS_MAX: u64 = 1_000;

/// Nothing valid can grow here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stuck;

/// The references that lead to a place, outermost first.
#[derive(Debug, Clone, Default)]
struct Within<'d>(Vec<&'d str>);

impl<'d> Within<'d> {
    fn deepest(&self, references: &[&'d str]) -> usize {
        references.iter().map(|reference| self.0.iter().filter(|outer| *outer == reference).count()).max().unwrap_or(0)
    }

    fn and(&self, references: &[&'d str]) -> Self {
        let mut all = self.0.clone();
        all.extend_from_slice(references);
        Self(all)
    }
}

/// Where and how one value grows.
struct Spot<'s, 'd> {
    place: &'s str,
    depth: usize,
    within: &'s Within<'d>,
    /// A value that the parent knows: the name of the kind of thing.
    hint: Option<&'s str>,
}

pub(super) struct Grower<'d, 'g> {
    pub document: &'d Value,
    pub direction: Direction,
    pub now: Timestamp,
    pub seed: u64,
    /// Asks for other values than the likeliest, where values must differ.
    pub variant: u64,
    pub plan: &'g Plan,
    pub strings: &'g mut Strings,
    pub trace: Trace<'d>,
    pub made: usize,
}

impl<'d> Grower<'d, '_> {
    /// Grows the whole.
    pub fn grow(&mut self, schema: &'d Value) -> Result<Value, Stuck> {
        let spot = Spot { place: "", depth: 0, within: &Within::default(), hint: None };
        self.at(&[schema], &spot)
    }

    fn at(&mut self, schemas: &[&'d Value], spot: &Spot<'_, 'd>) -> Result<Value, Stuck> {
        self.made += 1;
        if self.made > VALUES_MAX * 10 || spot.depth > DEPTH_MAX {
            return Err(Stuck);
        }
        let mut chosen: Vec<usize> = Vec::new();
        loop {
            let outcome = self.with_choices(schemas, spot, &mut chosen);
            if outcome.is_ok() || self.made > VALUES_MAX * 10 {
                return outcome;
            }
            // The last choice that has another option takes it. Choices made in the plan's name stand.
            let planned = self.plan.chosen.get(spot.place).map_or(0, Vec::len);
            let choices = self.trace.choices.get(spot.place).cloned().unwrap_or_default();
            let next = (planned..chosen.len())
                .rev()
                .find(|at| choices.get(*at).is_some_and(|choice| choice.option + 1 < choice.options));
            let Some(next) = next else { return outcome };
            chosen.truncate(next + 1);
            if let Some(option) = chosen.get_mut(next) {
                *option += 1;
            }
        }
    }

    /// Opens every group with the option that the plan, or else `chosen`, says, until none is left; then makes the value.
    fn with_choices(
        &mut self,
        schemas: &[&'d Value],
        spot: &Spot<'_, 'd>,
        chosen: &mut Vec<usize>,
    ) -> Result<Value, Stuck> {
        let mut all: Vec<&'d Value> = schemas.to_vec();
        let mut named: Vec<(&'d str, String)> = Vec::new();
        let mut opened = 0;
        let mut choices: Vec<Choice> = Vec::new();
        loop {
            let facts = Facts::gather(self.document, &all).map_err(|_| Stuck);
            self.trace.choices.insert(spot.place.to_owned(), choices.clone());
            let facts = facts?;
            let groups: Vec<&Group<'d>> = facts.groups.iter().skip(opened).collect();
            if groups.is_empty() {
                named.extend(facts.named.iter().cloned());
                return self.value(&facts, &named, spot, chosen, choices);
            }
            opened = facts.groups.len();
            for group in groups {
                let option = self.option(spot.place, choices.len(), chosen);
                let branch = group.branches.get(option).ok_or(Stuck)?;
                let options = group.branches.len().min(OPTIONS_MAX);
                choices.push(Choice { option, options, original: branch.original });
                self.remember_branches(spot.place, group, choices.len());
                all.extend_from_slice(&branch.schemas);
                named.extend(branch.named.clone());
            }
        }
    }

    fn remember_branches(&mut self, place: &str, group: &Group<'d>, choices: usize) {
        let mut branches: Vec<_> = group.branches.iter().collect();
        branches.sort_by_key(|branch| branch.original);
        let schemas = branches.iter().filter_map(|branch| branch.schemas.first().copied()).collect();
        let all = self.trace.branches.entry(place.to_owned()).or_default();
        all.truncate(choices - 1);
        all.push(schemas);
    }

    /// The option of the nth choice at a place: the plan's, else the one being tried, else the first.
    fn option(&self, place: &str, at: usize, chosen: &mut Vec<usize>) -> usize {
        while chosen.len() <= at {
            let planned = self.plan.chosen.get(place).and_then(|planned| planned.get(chosen.len()));
            chosen.push(planned.copied().unwrap_or(0));
        }
        chosen.get(at).copied().unwrap_or(0)
    }

    fn value(
        &mut self,
        facts: &Facts<'d>,
        named: &[(&'d str, String)],
        spot: &Spot<'_, 'd>,
        chosen: &mut Vec<usize>,
        mut choices: Vec<Choice>,
    ) -> Result<Value, Stuck> {
        let within = spot.within.deepest(&facts.references);
        if within > WITHIN_MAX {
            return Err(Stuck);
        }
        if let Some(value) = facts.consts.first() {
            return Ok((*value).clone());
        }
        let allowed = facts.listed();
        if let Some(hint) =
            spot.hint.filter(|hint| allowed.as_ref().is_none_or(|allowed| allowed.iter().any(|a| a == hint)))
        {
            return Ok(hint.into());
        }
        if let Some(example) = self.example(facts, spot, within) {
            return Ok(example.clone());
        }
        if let Some(allowed) = allowed {
            let option = self.option(spot.place, choices.len(), chosen);
            choices.push(Choice { option, options: allowed.len().min(OPTIONS_MAX), original: option });
            self.trace.choices.insert(spot.place.to_owned(), choices);
            return allowed.get(option).map(|value| (*value).clone()).ok_or(Stuck);
        }
        let deeper = spot.within.and(&facts.references);
        let spot = Spot { within: &deeper, ..*spot };
        let sparse = within >= WITHIN_SPARSE || self.made > VALUES_MAX || self.plan.sparse.contains(spot.place);
        match facts.kind() {
            Kind::Object => self.object(facts, named, &spot, sparse),
            Kind::Array => self.array(facts, &spot, sparse),
            Kind::Text => Ok(self.text(facts, spot.place)),
            Kind::Integer => number(facts, true, self.variant).ok_or(Stuck),
            Kind::Number => number(facts, false, self.variant).ok_or(Stuck),
            Kind::Boolean => Ok(Value::Bool(true)),
            Kind::Null => Ok(Value::Null),
        }
    }

    /// The document's own example, unless the plan knows it to be no good.
    fn example(&mut self, facts: &Facts<'d>, spot: &Spot<'_, 'd>, within: usize) -> Option<&'d Value> {
        let types = facts.types.unwrap_or(Types::ANY);
        let plausible =
            |example: &&&Value| types.has(Types::of(example)) || (example.is_f64() && types.has(Types::NUMBER));
        let offered: Vec<&'d Value> = facts.examples.iter().filter(plausible).copied().collect();
        let spent = self.plan.spent_examples.get(spot.place).copied().unwrap_or(0);
        // An example of a whole tree, deep inside itself, would grow the value for ever.
        let example = offered.get(spent).copied().filter(|example| within < WITHIN_SPARSE || !is_container(example))?;
        // Null is the poorest example of what can be something.
        let poor = example.is_null() && facts.kind() != Kind::Null && offered.len() > spent + 1;
        self.trace.examples.insert(spot.place.to_owned(), offered.len());
        if poor { offered.get(spent + 1).copied() } else { Some(example) }
    }

    fn text(&mut self, facts: &Facts<'d>, place: &str) -> Value {
        let name = place.rsplit('/').find(|segment| segment.parse::<usize>().is_err()).unwrap_or_default();
        let mut dice = Dice::named(self.seed, place);
        self.strings.make(facts, name, self.now, self.variant, &mut dice).into()
    }

    fn array(&mut self, facts: &Facts<'d>, spot: &Spot<'_, 'd>, sparse: bool) -> Result<Value, Stuck> {
        let prefix = facts.prefix_items.iter().map(|items| items.len() as u64).max().unwrap_or(0);
        let most = facts.items_max.unwrap_or(u64::MAX);
        let wanted = if sparse { 0 } else { 1.max(prefix) };
        let least = facts.items_min.max(u64::from(!facts.contains.is_empty()));
        if least > ITEMS_MAX {
            return Err(Stuck);
        }
        let count = wanted.max(least).min(most);
        let mut items: Vec<Value> = Vec::new();
        for at in 0..count {
            match self.item(facts, spot, at, &items) {
                Ok(item) => items.push(item),
                Err(Stuck) if at >= least => break,
                Err(Stuck) => return Err(Stuck),
            }
        }
        Ok(items.into())
    }

    fn item(&mut self, facts: &Facts<'d>, spot: &Spot<'_, 'd>, at: u64, so_far: &[Value]) -> Result<Value, Stuck> {
        let position = usize::try_from(at).unwrap_or(usize::MAX);
        let mut schemas: Vec<&'d Value> = facts.prefix_items.iter().filter_map(|items| items.get(position)).collect();
        if schemas.is_empty() {
            schemas.extend_from_slice(&facts.items);
        }
        if at == 0 {
            schemas.extend_from_slice(&facts.contains);
        }
        let place = format!("{}/{at}", spot.place);
        let child = Spot { place: &place, depth: spot.depth + 1, within: spot.within, hint: None };
        let first = self.at(&schemas, &child)?;
        if !facts.unique || !so_far.contains(&first) {
            return Ok(first);
        }
        self.another(&schemas, &child, so_far)
    }

    /// A value that is not among those there are.
    fn another(&mut self, schemas: &[&'d Value], child: &Spot<'_, 'd>, so_far: &[Value]) -> Result<Value, Stuck> {
        let facts = Facts::gather(self.document, schemas).map_err(|_| Stuck)?;
        let offered = facts.listed().into_iter().flatten().chain(facts.examples.iter().copied());
        if let Some(other) = offered.into_iter().find(|value| !so_far.contains(value)) {
            return Ok(other.clone());
        }
        let (seed, plan) = (self.seed, self.plan);
        let mut without_examples = plan.clone();
        without_examples.spent_examples.insert(child.place.to_owned(), usize::MAX);
        for variant in 1..20 {
            let mut other = Grower {
                document: self.document,
                direction: self.direction,
                now: self.now,
                seed: seed.wrapping_add(variant),
                variant,
                plan: &without_examples,
                strings: self.strings,
                trace: Trace::default(),
                made: self.made,
            };
            let value = other.at(schemas, child);
            self.made = other.made;
            if let Some(value) = value.ok().filter(|value| !so_far.contains(value)) {
                return Ok(value);
            }
        }
        Err(Stuck)
    }

    fn object(
        &mut self,
        facts: &Facts<'d>,
        named: &[(&'d str, String)],
        spot: &Spot<'_, 'd>,
        sparse: bool,
    ) -> Result<Value, Stuck> {
        self.trace.objects.insert(spot.place.to_owned());
        let mut members = Map::new();
        let mut names: Vec<&'d str> = Vec::new();
        for name in facts.properties.iter().map(|(name, _)| *name).chain(facts.required.iter().copied()) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        for name in names {
            self.member(facts, named, spot, sparse, name, &mut members)?;
        }
        self.fill(facts, spot, sparse, &mut members)?;
        for (name, value) in self.plan.marks.get(spot.place).into_iter().flatten() {
            members.entry(name.clone()).or_insert_with(|| value.clone());
        }
        let place_of = |name: &str| child_place(spot.place, name);
        let most = facts.properties_max.map_or(usize::MAX, |max| usize::try_from(max).unwrap_or(usize::MAX));
        while members.len() > most {
            let last = members.keys().rev().find(|name| !facts.required.contains(&name.as_str())).cloned();
            let Some(last) = last else { return Err(Stuck) };
            self.trace.optional.remove(&place_of(&last));
            members.shift_remove(&last);
        }
        Ok(members.into())
    }

    fn member(
        &mut self,
        facts: &Facts<'d>,
        named: &[(&'d str, String)],
        spot: &Spot<'_, 'd>,
        sparse: bool,
        name: &'d str,
        members: &mut Map<String, Value>,
    ) -> Result<(), Stuck> {
        let place = child_place(spot.place, name);
        let depended = facts.dependent.iter().any(|(given, needed)| *needed == name && members.contains_key(*given));
        let kind_name = named.iter().find(|(property, _)| *property == name).map(|(_, value)| value.as_str());
        let required =
            facts.required.contains(&name) || depended || kind_name.is_some() || self.plan.put_in.contains(&place);
        let schemas = self.schemas_of(facts, name);
        if !required {
            let unwanted = sparse
                || spot.depth >= OPTIONAL_DEPTH
                || self.plan.left_out.contains(&place)
                || schemas.iter().any(|schema| self.is_other_way(schema));
            if unwanted {
                return Ok(());
            }
        }
        let child = Spot { place: &place, depth: spot.depth + 1, within: spot.within, hint: kind_name };
        match self.at(&schemas, &child) {
            Ok(value) => {
                if !required {
                    self.trace.optional.insert(place);
                }
                members.insert(name.to_owned(), value);
                Ok(())
            }
            Err(Stuck) if required => Err(Stuck),
            Err(Stuck) => Ok(()),
        }
    }

    /// Members beyond the named ones: as many as are asked for, or one to show what a map looks like.
    fn fill(
        &mut self,
        facts: &Facts<'d>,
        spot: &Spot<'_, 'd>,
        sparse: bool,
        members: &mut Map<String, Value>,
    ) -> Result<(), Stuck> {
        let least = usize::try_from(facts.properties_min).unwrap_or(usize::MAX).min(1_000);
        if members.len() < least {
            // What was left out for want of room may be needed after all.
            for (name, _) in &facts.properties {
                if members.len() < least && !members.contains_key(*name) {
                    let place = child_place(spot.place, name);
                    let schemas = self.schemas_of(facts, name);
                    let child = Spot { place: &place, depth: spot.depth + 1, within: spot.within, hint: None };
                    if let Ok(value) = self.at(&schemas, &child) {
                        members.insert((*name).to_owned(), value);
                    }
                }
            }
        }
        let is_map = facts.properties.is_empty() && facts.additional.iter().any(|schema| schema.is_object());
        let wanted = least.max(usize::from(is_map && !sparse && members.is_empty()));
        for at in 0..wanted.saturating_sub(members.len()) {
            let name = self.member_name(facts, spot, at)?;
            let place = child_place(spot.place, &name);
            let schemas = self.schemas_of(facts, &name);
            let child = Spot { place: &place, depth: spot.depth + 1, within: spot.within, hint: None };
            match self.at(&schemas, &child) {
                Ok(value) => drop(members.insert(name, value)),
                Err(Stuck) if members.len() >= least => break,
                Err(Stuck) => return Err(Stuck),
            }
        }
        Ok(())
    }

    fn member_name(&mut self, facts: &Facts<'d>, spot: &Spot<'_, 'd>, at: usize) -> Result<String, Stuck> {
        if facts.names.is_empty() {
            let patterned = facts.pattern_properties.first().filter(|_| facts.additional.iter().any(|a| *a == false));
            if let Some((pattern, _)) = patterned {
                let mut only = Facts::default();
                only.patterns.push(pattern);
                let mut dice = Dice::named(self.seed.wrapping_add(at as u64), pattern);
                return Ok(self.strings.make(&only, "", self.now, 1, &mut dice));
            }
            return Ok(if at == 0 { "key".to_owned() } else { format!("key{at}") });
        }
        let place = format!("{}/{at}", spot.place);
        let child = Spot { place: &place, depth: spot.depth + 1, within: spot.within, hint: None };
        let facts = Facts::gather(self.document, &facts.names).map_err(|_| Stuck)?;
        if let Some(allowed) = facts.listed() {
            return allowed.get(at).and_then(|name| name.as_str()).map(str::to_owned).ok_or(Stuck);
        }
        let mut dice = Dice::named(self.seed.wrapping_add(at as u64), child.place);
        Ok(self.strings.make(&facts, "", self.now, at as u64, &mut dice))
    }

    /// What a member called so must keep to.
    fn schemas_of(&self, facts: &Facts<'d>, name: &str) -> Vec<&'d Value> {
        let named = facts.properties.iter().filter(|(property, _)| *property == name).map(|(_, schema)| *schema);
        let mut schemas: Vec<&'d Value> = named.collect();
        for (pattern, schema) in &facts.pattern_properties {
            if jsonschema::is_valid(&serde_json::json!({ "pattern": pattern }), &name.into()) {
                schemas.push(schema);
            }
        }
        if schemas.is_empty() {
            schemas.extend(facts.additional.iter().filter(|schema| schema.is_object()));
        }
        schemas
    }

    /// Whether a member belongs only into the other direction (OpenAPI 3.1.1: readOnly, writeOnly).
    fn is_other_way(&self, schema: &'d Value) -> bool {
        let marked = |schema: &Value| {
            let keyword = match self.direction {
                Direction::Request => "readOnly",
                Direction::Response => "writeOnly",
            };
            schema.get(keyword).is_some_and(|marked| marked == true)
        };
        let target = schema.get("$ref").and_then(Value::as_str).and_then(|reference| resolve(self.document, reference));
        marked(schema) || target.is_some_and(marked)
    }
}

const fn is_container(value: &Value) -> bool {
    matches!(value, Value::Object(_) | Value::Array(_))
}

/// The place of a member, written as JSON Pointers are (RFC 6901 §3).
fn child_place(place: &str, name: &str) -> String {
    format!("{place}/{}", name.replace('~', "~0").replace('/', "~1"))
}
