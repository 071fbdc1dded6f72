//! Judges a value, and decides otherwise where it is wrong, until it is right or nothing is left to decide.

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind;

use serde_json::Value;

use super::facts::{Facts, Types};
use super::plan::{Plan, Trace};

/// One thing that is wrong, as deep as it can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// JSON Pointer into the value.
    pub place: String,
    pub kind: FaultKind,
    pub message: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FaultKind {
    Missing(String),
    Unexpected(Vec<String>),
    /// More than one branch of a `oneOf` allows the value: these, by their position in the document.
    Ambiguous {
        branches: usize,
        valid: Vec<usize>,
    },
    Other,
}

/// Most faults looked at in one round.
const FAULTS_MAX: usize = 24;
const NESTING_MAX: usize = 8;

/// The faults of a value. Of a failed alternative it tells the faults of the branch that was chosen for it.
pub(super) fn faults<'e>(errors: impl Iterator<Item = ValidationError<'e>>, trace: &Trace<'_>) -> Vec<Fault> {
    let mut found = Vec::new();
    for error in errors.take(FAULTS_MAX) {
        explain(&error, trace, 0, &mut found);
    }
    found.truncate(FAULTS_MAX);
    found
}

fn explain(error: &ValidationError<'_>, trace: &Trace<'_>, nesting: usize, found: &mut Vec<Fault>) {
    let place = error.instance_path().to_string();
    let kind = match error.kind() {
        ValidationErrorKind::OneOfNotValid { context } | ValidationErrorKind::AnyOf { context }
            if nesting < NESTING_MAX =>
        {
            let branch = chosen_branch(&place, context.len(), trace);
            let inner = branch.and_then(|branch| context.get(branch)).into_iter().flatten();
            inner.for_each(|error| explain(error, trace, nesting + 1, found));
            FaultKind::Other
        }
        ValidationErrorKind::OneOfMultipleValid { context } => {
            let valid = context.iter().enumerate().filter(|(_, errors)| errors.is_empty()).map(|(at, _)| at).collect();
            FaultKind::Ambiguous { branches: context.len(), valid }
        }
        ValidationErrorKind::Required { property } => FaultKind::Missing(property.as_str().unwrap_or_default().into()),
        ValidationErrorKind::AdditionalProperties { unexpected }
        | ValidationErrorKind::UnevaluatedProperties { unexpected } => FaultKind::Unexpected(unexpected.clone()),
        _ => FaultKind::Other,
    };
    found.push(Fault { place, kind, message: error.masked_with("the value").to_string() });
}

/// The branch taken in the first choice at the place that has as many options as the failed alternative has branches.
fn chosen_branch(place: &str, branches: usize, trace: &Trace<'_>) -> Option<usize> {
    let choices = trace.choices.get(place)?;
    choices.iter().find(|choice| choice.options == branches).map(|choice| choice.original)
}

impl Plan {
    /// Decides something otherwise because of these faults; `false` if there is nothing left.
    pub fn revise(&mut self, document: &Value, faults: &[Fault], trace: &Trace<'_>) -> bool {
        let mut touched: Vec<String> = Vec::new();
        for fault in faults {
            let related = |other: &String| other.starts_with(&fault.place) || fault.place.starts_with(other.as_str());
            if !touched.is_empty() && touched.iter().any(related) {
                continue;
            }
            if let Some(place) = self.revise_for(document, fault, trace) {
                touched.push(place);
            }
        }
        !touched.is_empty()
    }

    /// From the fault's own place outwards: another example, another member, another branch, less.
    fn revise_for(&mut self, document: &Value, fault: &Fault, trace: &Trace<'_>) -> Option<String> {
        let mut place = fault.place.as_str();
        loop {
            let own = place == fault.place;
            let revised = self.next_example(place, trace)
                || (own && self.obey(fault))
                || self.next_option(place, trace)
                || self.leave_out(place, trace)
                || self.go_sparse(place, trace)
                || (own && self.mark(document, fault, trace));
            if revised {
                return Some(place.to_owned());
            }
            place = place.rsplit_once('/')?.0;
        }
    }

    fn next_example(&mut self, place: &str, trace: &Trace<'_>) -> bool {
        let Some(offered) = trace.examples.get(place) else { return false };
        let spent = self.spent_examples.entry(place.to_owned()).or_insert(0);
        if *spent >= *offered {
            return false;
        }
        *spent += 1;
        self.forget_below(place);
        true
    }

    fn obey(&mut self, fault: &Fault) -> bool {
        let child = |name: &str| format!("{}/{}", fault.place, name.replace('~', "~0").replace('/', "~1"));
        match &fault.kind {
            FaultKind::Missing(name) => self.put_in.insert(child(name)),
            FaultKind::Unexpected(names) => {
                let added = names.iter().filter(|name| self.left_out.insert(child(name))).count();
                added > 0
            }
            FaultKind::Ambiguous { .. } | FaultKind::Other => false,
        }
    }

    /// The last choice at the place that has another option takes it, and those after it begin anew.
    fn next_option(&mut self, place: &str, trace: &Trace<'_>) -> bool {
        let Some(choices) = trace.choices.get(place) else { return false };
        let next = choices.iter().rposition(|choice| choice.option + 1 < choice.options);
        let Some((next, choice)) = next.and_then(|next| Some((next, choices.get(next)?))) else { return false };
        let mut renewed: Vec<usize> = choices.iter().take(next).map(|choice| choice.option).collect();
        renewed.push(choice.option + 1);
        self.chosen.insert(place.to_owned(), renewed);
        self.forget_below(place);
        true
    }

    fn leave_out(&mut self, place: &str, trace: &Trace<'_>) -> bool {
        trace.optional.contains(place) && self.left_out.insert(place.to_owned())
    }

    fn go_sparse(&mut self, place: &str, trace: &Trace<'_>) -> bool {
        let fresh = trace.objects.contains(place) && self.sparse.insert(place.to_owned());
        if fresh {
            // With less in it, an earlier branch may do.
            self.chosen.remove(place);
            self.forget_below(place);
        }
        fresh
    }

    /// Tells the chosen branch from those that allow the value as well, by a member that only they speak of and do not
    /// allow so. It is the last resort for alternatives that differ in optional members only.
    fn mark(&mut self, document: &Value, fault: &Fault, trace: &Trace<'_>) -> bool {
        let FaultKind::Ambiguous { branches, valid } = &fault.kind else { return false };
        let groups = trace.branches.get(&fault.place);
        let group = groups.into_iter().flatten().find(|group| group.len() == *branches);
        let (Some(group), Some(chosen)) = (group, chosen_branch(&fault.place, *branches, trace)) else { return false };
        let own = group.get(chosen).map(|schema| members(document, schema)).unwrap_or_default();
        let marks = self.marks.entry(fault.place.clone()).or_default();
        let before = marks.len();
        for schema in valid.iter().filter(|branch| **branch != chosen).filter_map(|branch| group.get(*branch)) {
            let others =
                members(document, schema).into_iter().filter(|(name, _)| !own.iter().any(|(own, _)| own == name));
            let mark = others.into_iter().find_map(|(name, schemas)| Some((name, forbidden(document, &schemas)?)));
            marks.extend(mark.filter(|(name, _)| !marks.iter().any(|(marked, _)| marked == name)));
        }
        marks.len() > before
    }
}

/// The members that a schema speaks of.
fn members<'d>(document: &'d Value, schema: &'d Value) -> Vec<(String, Vec<&'d Value>)> {
    let Ok(facts) = Facts::gather(document, &[schema]) else { return Vec::new() };
    let mut found: Vec<(String, Vec<&'d Value>)> = Vec::new();
    for (name, schema) in &facts.properties {
        match found.iter_mut().find(|(known, _)| known == name) {
            Some((_, schemas)) => schemas.push(schema),
            None => found.push(((*name).to_owned(), vec![schema])),
        }
    }
    found
}

/// A value that the schemas do not allow, told by its type alone.
fn forbidden(document: &Value, schemas: &[&Value]) -> Option<Value> {
    let types = Facts::gather(document, schemas).ok()?.types?;
    let candidates = [Value::from("none"), Value::from(false), Value::from(0), Value::Array(Vec::new())];
    candidates.into_iter().find(|candidate| !types.has(Types::of(candidate)))
}
