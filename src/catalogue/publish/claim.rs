//! Who has which path? Two APIs cannot answer the same request (OAM-23, OAM-25).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use http::Method;
use serde_json::Value;

use super::super::operations::path;
use super::super::report::Finding;
use super::super::{ImportedApi, ImportedOperation};
use super::{Collision, MergeIssue, OWN_ID, import_own};
use crate::domain::ApiId;

/// Claims of the sources looked at so far, by the shape of their templates.
#[derive(Default)]
struct Claims<'a>(HashMap<String, Vec<(&'a ApiId, String, Method)>>);

impl<'a> Claims<'a> {
    /// The claim that stands against this one. Different methods of one and the same template share it (OAM-24).
    fn against(&self, api: &ApiId, operation: &ImportedOperation) -> Option<(&'a ApiId, String)> {
        let spec = &operation.spec;
        let others = self.0.get(&path::shape(&spec.path))?.iter();
        let mut others =
            others.filter(|(id, template, method)| *id != api && (*template != spec.path || *method == spec.method));
        others.next().map(|(id, template, method)| (*id, format!("{method} {template}")))
    }

    fn enter(&mut self, api: &'a ApiId, operations: &[ImportedOperation]) {
        for operation in operations {
            let spec = &operation.spec;
            let claims = self.0.entry(path::shape(&spec.path)).or_default();
            claims.push((api, spec.path.clone(), spec.method.clone()));
        }
    }
}

/// Every collision between sources, one issue for each pair.
pub fn collisions(sources: &[&ImportedApi]) -> Vec<MergeIssue> {
    let mut claims = Claims::default();
    let mut pairs: BTreeMap<(&ApiId, &ApiId), Vec<String>> = BTreeMap::new();
    let mut ids = BTreeSet::new();
    let mut issues = Vec::new();
    for api in sources {
        if !ids.insert(&api.id) {
            issues.push(MergeIssue {
                apis: vec![api.id.clone()],
                what: format!("two APIs are called {}", api.id),
                remedy: format!("Give each API an id of its own; {OWN_ID} is taken by our own operations."),
            });
        }
        for operation in &api.operations {
            if let Some((other, claim)) = claims.against(&api.id, operation) {
                let own = format!("{} {}", operation.spec.method, operation.spec.path);
                let text = if own == claim { own } else { format!("{own} (there {claim})") };
                pairs.entry((other, &api.id)).or_default().push(text);
            }
        }
        claims.enter(&api.id, &api.operations);
    }
    issues.extend(pairs.into_iter().map(|((first, second), paths)| issue(first, second, &paths)));
    issues
}

fn issue(first: &ApiId, second: &ApiId, paths: &[String]) -> MergeIssue {
    const SHOWN: usize = 3;
    let more = paths.len().saturating_sub(SHOWN);
    let shown: Vec<&str> = paths.iter().take(SHOWN).map(String::as_str).collect();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    MergeIssue {
        apis: vec![first.clone(), second.clone()],
        what: format!("{first} and {second} both claim {}{more}", shown.join(", ")),
        remedy: format!("Give {second} a base path of its own (base_path: /{second}), or leave one of the two out."),
    }
}

/// Settles which API has which path, before routes are made of them. What was moved is reported.
pub fn settle(apis: &mut [ImportedApi], own: &Value, collision: Collision) -> Result<Vec<Finding>, Vec<MergeIssue>> {
    let own = import_own(own)?;
    let mut findings = Vec::new();
    if collision == Collision::Prefix {
        let mut order: Vec<usize> = (0..apis.len()).collect();
        order.sort_by_key(|index| apis.get(*index).map(|api| api.id.clone()));
        for place in 0..order.len() {
            let (Some(before), Some(index)) = (order.get(..place), order.get(place)) else { continue };
            let mut claims = Claims::default();
            claims.enter(&own.id, &own.operations);
            for api in before.iter().filter_map(|i| apis.get(*i)) {
                claims.enter(&api.id, &api.operations);
            }
            let claim = apis.get(*index).and_then(|api| api.operations.iter().find_map(|o| claims.against(&api.id, o)));
            let claim = claim.map(|(id, claim)| format!("{id} has {claim} already"));
            if let (Some(claim), Some(api)) = (claim, apis.get_mut(*index)) {
                findings.push(prefix(api, &claim));
            }
        }
    }
    let mut sources: Vec<&ImportedApi> = apis.iter().chain([&own]).collect();
    sources.sort_by(|a, b| a.id.cmp(&b.id));
    let issues = collisions(&sources);
    if issues.is_empty() { Ok(findings) } else { Err(issues) }
}

fn prefix(api: &mut ImportedApi, claim: &str) -> Finding {
    api.base_path = format!("/{}{}", api.id, api.base_path);
    for operation in &mut api.operations {
        operation.spec.path = format!("/{}{}", api.id, operation.spec.path);
    }
    let mut finding = Finding::warning(
        "",
        format!("{} is mounted below /{}, because {claim}", api.id, api.id),
        "Give the API a base path of its own.",
    );
    finding.file.clone_from(&api.report.file);
    finding
}
