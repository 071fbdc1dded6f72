//! Reads the policy folders and compiles them against the catalogue.

use std::path::PathBuf;

use crate::config::folder::{self, Item, Known};
use crate::config::{Configuration, Diagnostic, GatewaySettings, Place};
use crate::policy::{PolicySet, PolicySource, World};

use super::compile::Mistakes;
use super::world::Facts;

pub(super) fn compile(configuration: &Configuration, facts: &Facts, mistakes: &mut Mistakes) -> Option<PolicySet> {
    let sources = read(configuration, mistakes)?;
    let world = World {
        actions: &facts.actions,
        tenants: &facts.tenants,
        clients: &facts.clients,
        products: &facts.products,
        institutions: &facts.institutions,
    };
    match PolicySet::compile(&sources, &world) {
        Ok(policies) => Some(policies),
        Err(issues) => {
            mistakes.extend(issues.into_iter().map(|issue| {
                let place = Place { file: issue.file.into(), line: issue.line.into(), column: issue.column.into() };
                let diagnostic = Diagnostic::new(place, issue.message);
                match issue.suggestion {
                    Some(suggestion) => diagnostic.remedy(suggestion),
                    None => diagnostic,
                }
            }));
            None
        }
    }
}

fn read(configuration: &Configuration, mistakes: &mut Mistakes) -> Option<Vec<PolicySource>> {
    let found = mistakes.len();
    let known = Known::new(&configuration.files);
    let mut sources = Vec::new();
    for policy_folder in &configuration.gateway.policy_folders {
        let items = folder::list(policy_folder).map_err(|mistake| mistakes.push(mistake)).unwrap_or_default();
        for item in items {
            if !is_policy(&item) {
                mistakes.extend(strange(&item, &known));
                continue;
            }
            match std::fs::read_to_string(&item.path) {
                Ok(text) => sources.push(PolicySource { file: item.path, text }),
                Err(error) => mistakes.push(item.mistake(&format!("cannot be read: {error}"))),
            }
        }
    }
    (mistakes.len() == found).then_some(sources)
}

fn is_policy(item: &Item) -> bool {
    item.name.ends_with(".cedar")
}

/// What is no policy and might be taken for one: a `forbid` that is believed and not in force lets everybody in. The
/// configuration's own files may lie here, and folders without policies or with an entry of their own.
fn strange(item: &Item, known: &Known<'_>) -> Option<Diagnostic> {
    if item.is_documentation() || known.has(&item.path) {
        return None;
    }
    if !item.path.is_dir() {
        let mistake = item.mistake("is no policy in force: those are the files whose names end in .cedar");
        return Some(mistake.remedy("let it end in .cedar, or move it out of the policy folder"));
    }
    match folder::holds(&item.path, &[".cedar"]) {
        Ok(false) => None,
        Ok(true) => {
            let mistake = item.mistake("holds policies that are not in force: a folder in a policy folder is not read");
            Some(mistake.remedy("list it in `policy_folders`, or move it out of the policy folder"))
        }
        Err(mistake) => Some(mistake),
    }
}

/// Every `*.cedar` directly in a policy folder, in order of folder and name. What cannot be read is told by `read`.
pub(super) fn files(gateway: &GatewaySettings) -> Vec<PathBuf> {
    let items = gateway.policy_folders.iter().flat_map(|folder| folder::list(folder).unwrap_or_default());
    items.filter(is_policy).map(|item| item.path).collect()
}
