//! Strict validation by Cedar, at a price that does not grow with the catalogue.
//!
//! Cedar checks a policy once per action, which is out of the question for ten thousand operations. But all operations
//! take the same principal, resource and context, so a policy can tell two of them apart only by the operations and
//! groups that it names. One operation of each kind that it can tell apart stands for all of that kind; policies that
//! name the same are checked together.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::ffi::DetailedError;
use cedar_policy::{PolicyId, PolicySet, Schema, ValidationError, ValidationMode, ValidationWarning, Validator};

use super::catalogue::Catalogue;
use super::issue::{PolicyIssue, PolicySource};
use super::parse::Parsed;
use super::schema;

/// Stands where a group has no member, or the catalogue no operation, lest every policy be "impossible".
const NOBODY: &str = "(no operation)";

/// Adds what Cedar finds wrong with the types of the policies.
pub(super) fn validate(
    sources: &[PolicySource],
    parsed: &[Parsed],
    catalogue: &Catalogue,
    issues: &mut Vec<PolicyIssue>,
) {
    let mut alike: BTreeMap<&[String], Vec<&Parsed>> = BTreeMap::new();
    for policy in parsed {
        alike.entry(policy.actions.as_slice()).or_default().push(policy);
    }
    for (named, policies) in alike {
        let text = representatives(named, catalogue);
        let schema = match Schema::from_cedarschema_str(&text) {
            Ok((schema, _)) => schema,
            Err(error) => {
                let message =
                    format!("the schema of the catalogue is not well-formed: {}", DetailedError::from(&error).message);
                issues.push(PolicyIssue::of_file(std::path::Path::new("(catalogue)"), message));
                return;
            }
        };
        let set = PolicySet::from_policies(policies.iter().map(|parsed| parsed.policy.clone()));
        match set {
            Ok(set) => check(&Validator::new(schema), &set, sources, parsed, issues),
            Err(error) => issues.push(PolicyIssue::of_file(std::path::Path::new("(policies)"), error.to_string())),
        }
    }
}

fn check(
    validator: &Validator,
    set: &PolicySet,
    sources: &[PolicySource],
    parsed: &[Parsed],
    issues: &mut Vec<PolicyIssue>,
) {
    let result = validator.validate(set, ValidationMode::Strict);
    let errors = result
        .validation_errors()
        // Names of enumerations are compared when reading, with a suggestion.
        .filter(|error| !matches!(error, ValidationError::InvalidEnumEntity(_)))
        .map(|error| (error.policy_id(), DetailedError::from(error)));
    // Warnings are mistakes as well: a policy that can never apply, or letters that only look alike. Names of entities
    // may mix scripts, as a tag of a document may: each was found in the catalogue, letter by letter.
    let warnings = result
        .validation_warnings()
        .filter(|warning| {
            !matches!(warning, ValidationWarning::ConfusableIdentifier(_) | ValidationWarning::MixedScriptIdentifier(_))
        })
        .map(|warning| (warning.policy_id(), DetailedError::from(warning)));
    let mut seen = BTreeSet::new();
    let mut failed = BTreeSet::new();
    for (id, error) in errors.chain(warnings) {
        let Some(policy) = find(parsed, id) else { continue };
        let start = error.source_locations.first().map_or(0, |label| label.loc.start);
        // The same mistake is found once per kind of operation; and a policy that fails is "impossible" only thereby.
        let warning = error.severity.is_some_and(|severity| severity != cedar_policy::ffi::Severity::Error);
        if !seen.insert((policy.offset, policy.source, start)) || (warning && failed.contains(id)) {
            continue;
        }
        failed.insert(id.clone());
        if let Some(source) = sources.get(policy.source) {
            let help = error.help.map(|help| spoken(&help, id));
            issues.push(PolicyIssue::at(source, policy.offset + start, spoken(&error.message, id)).suggest(help));
        }
    }
}

/// The id that Cedar knows a policy by is its position.
fn find<'p>(parsed: &'p [Parsed], id: &PolicyId) -> Option<&'p Parsed> {
    parsed.get(AsRef::<str>::as_ref(id).parse::<usize>().ok()?)
}

/// Cedar's message without its own name for the policy.
fn spoken(message: &str, id: &PolicyId) -> String {
    let prefix = format!("for policy `{id}`, ");
    message.strip_prefix(&prefix).unwrap_or(message).to_owned()
}

/// A schema with one operation of each kind that a policy which names `named` can tell apart.
fn representatives(named: &[String], catalogue: &Catalogue) -> String {
    let is_group = |name: &str| catalogue.groups.contains_key(name);
    let groups: Vec<&str> = named.iter().map(String::as_str).filter(|name| is_group(name)).collect();
    let kinds = kinds(&groups, catalogue);
    let empty = groups.iter().filter(|group| catalogue.groups.get(**group).is_some_and(Vec::is_empty));
    let phantoms: Vec<(String, &str)> = empty.map(|group| (format!("({group})"), *group)).collect();
    let mut entries: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for name in named.iter().filter(|name| !is_group(name)) {
        let kind = catalogue.positions.get(name).and_then(|position| kinds.get(position));
        // A name that does not exist was reported; as an operation of no group it lets Cedar find the other mistakes.
        entries.insert(name, kind.cloned().unwrap_or_default());
    }
    let mut shown: BTreeSet<&[&str]> = BTreeSet::new();
    for (position, kind) in &kinds {
        if let Some(action) = catalogue.actions.get(*position as usize)
            && shown.insert(kind)
        {
            entries.insert(action.id.as_str(), kind.clone());
        }
    }
    entries.extend(phantoms.iter().map(|(name, group)| (name.as_str(), vec![*group])));
    // One that is in none of the named groups and is not named, if there is one.
    let mut rest = catalogue.actions.iter().zip(0..).filter(|(_, position)| !kinds.contains_key(position));
    match rest.find(|(action, _)| named.binary_search_by(|name| name.as_str().cmp(action.id.as_str())).is_err()) {
        Some((action, _)) => drop(entries.insert(action.id.as_str(), Vec::new())),
        None if entries.is_empty() => drop(entries.insert(NOBODY, Vec::new())),
        None => {}
    }
    schema::write(groups.iter().copied(), entries.into_iter())
}

/// Of every operation that is in one of the groups: in which of them.
fn kinds<'c>(groups: &[&'c str], catalogue: &Catalogue) -> BTreeMap<u32, Vec<&'c str>> {
    let mut kinds: BTreeMap<u32, Vec<&str>> = BTreeMap::new();
    for group in groups {
        for member in catalogue.groups.get(*group).into_iter().flatten() {
            kinds.entry(*member).or_default().push(group);
        }
    }
    kinds
}
