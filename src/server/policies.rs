//! Reads the policy folders and compiles them against the catalogue.

use std::path::{Path, PathBuf};

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
    let mut sources = Vec::new();
    let mut complete = true;
    for file in files(&configuration.gateway) {
        match std::fs::read_to_string(&file) {
            Ok(text) => sources.push(PolicySource { file, text }),
            Err(error) => {
                mistakes.push(Diagnostic::new(Place::file(file), format!("cannot be read: {error}")));
                complete = false;
            }
        }
    }
    complete.then_some(sources)
}

/// Every `*.cedar` directly in a policy folder, in order of folder and name.
pub(super) fn files(gateway: &GatewaySettings) -> Vec<PathBuf> {
    gateway.policy_folders.iter().flat_map(|folder| cedar_files(folder)).collect()
}

fn cedar_files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "cedar"))
        .collect();
    files.sort();
    files
}
