//! From sources and world to a set that decides: everything that can be wrong is found here.

use std::collections::BTreeMap;
use std::path::Path;

use super::catalogue::Catalogue;
use super::issue::{PolicyIssue, PolicySource};
use super::parse::{self, Parsed};
use super::question::World;
use super::schema;
use super::set::PolicySet;
use super::slice::Slices;
use super::validate;

/// Cedar recurses over what the bounds of `parse` let through; this much is ample even without optimisation.
const STACK_BYTES: usize = 64 * 1024 * 1024;
/// Most issues of one report: a person reads no more.
const ISSUES_MAX: usize = 500;

/// Compiles on a thread of its own, with a stack of its own, and turns even a panic of Cedar into an issue.
pub(super) fn compile(sources: &[PolicySource], world: &World<'_>) -> Result<PolicySet, Vec<PolicyIssue>> {
    let compiled = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("policies".to_owned()).stack_size(STACK_BYTES);
        let running = thread.spawn_scoped(scope, || compile_here(sources, world));
        running.map(std::thread::ScopedJoinHandle::join)
    });
    match compiled {
        Ok(Ok(compiled)) => compiled,
        Ok(Err(_)) => Err(vec![of_set("Cedar failed on these policies; the set in force stays".to_owned())]),
        Err(error) => Err(vec![of_set(format!("there is no thread to compile policies on: {error}"))]),
    }
}

fn compile_here(sources: &[PolicySource], world: &World<'_>) -> Result<PolicySet, Vec<PolicyIssue>> {
    let (catalogue, mut issues) = Catalogue::new(world);
    let parsed = parse::read(sources, &catalogue, &mut issues);
    unique(sources, &parsed, &mut issues);
    validate::validate(sources, &parsed, &catalogue, &mut issues);
    if !issues.is_empty() {
        return Err(report(issues));
    }
    let schema = schema::whole(&catalogue);
    let slices = Slices::cut(&parsed, &catalogue).map_err(|error| vec![of_set(error.to_string())])?;
    let rules = parsed.into_iter().map(|policy| policy.rule).collect();
    Ok(PolicySet::new(sources, schema, catalogue.actions, rules, slices))
}

/// Decisions are recorded by `@id`, so an id names one policy.
fn unique(sources: &[PolicySource], parsed: &[Parsed], issues: &mut Vec<PolicyIssue>) {
    let mut first: BTreeMap<&str, &Parsed> = BTreeMap::new();
    for policy in parsed.iter().filter(|policy| !policy.rule.id.is_empty()) {
        let Some(earlier) = first.get(policy.rule.id.as_str()) else {
            first.insert(&policy.rule.id, policy);
            continue;
        };
        if let (Some(source), Some(other)) = (sources.get(policy.source), sources.get(earlier.source)) {
            let place = PolicyIssue::at(other, earlier.offset, "");
            let message = format!(
                "`@id(\"{}\")` also names the policy at {}:{}:{}",
                policy.rule.id,
                place.file.display(),
                place.line,
                place.column
            );
            issues.push(PolicyIssue::at(source, policy.offset, message));
        }
    }
}

/// In the order in which a person mends them.
fn report(mut issues: Vec<PolicyIssue>) -> Vec<PolicyIssue> {
    issues.sort_unstable();
    issues.dedup();
    let more = issues.len().saturating_sub(ISSUES_MAX);
    if more > 0 {
        issues.truncate(ISSUES_MAX);
        issues.push(of_set(format!("and {more} more")));
    }
    issues
}

fn of_set(message: String) -> PolicyIssue {
    PolicyIssue::of_file(Path::new("(policies)"), message)
}
