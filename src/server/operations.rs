//! Routes, contracts, pools, and the operations that hold them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::admission::{Operation, OperationTerms, Snapshot};
use crate::catalogue::{Written, written};
use crate::config::{Configuration, Diagnostic, Place};
use crate::contract::{Contract, ContractIssue, Contracts};
use crate::domain::{Environment, InstitutionId, OperationIndex, once};
use crate::route::{RouteSpec, RouteTable};
use crate::upstream::Pool;

use super::Services;
use super::compile::{Mistakes, chain};
use super::drafts::{Api, Draft};

pub(super) type Pools = HashMap<(InstitutionId, Environment), Arc<Pool>>;

pub(super) fn routes(drafts: &[Draft<'_>], mistakes: &mut Mistakes) -> Option<RouteTable> {
    let specs: Vec<RouteSpec> = drafts
        .iter()
        .zip(0_u32..)
        .map(|(draft, index)| RouteSpec {
            method: draft.imported.spec.method.clone(),
            path: draft.imported.spec.path.clone(),
            index: OperationIndex(index),
            source: draft.imported.spec.id.to_string(),
        })
        .collect();
    match RouteTable::compile(&specs) {
        Ok(table) => Some(table),
        Err(issues) => {
            let place = drafts.first().map_or_else(|| Place::file("apis.yaml"), |d| d.api.settings.place.clone());
            mistakes.extend(issues.iter().map(|issue| {
                Diagnostic::new(place.clone(), issue.to_string()).remedy("give one of the APIs another `base_path`")
            }));
            None
        }
    }
}

/// `previous` lends its pools' connections, health and tokens.
pub(super) fn pools(configuration: &Configuration, previous: Option<&Snapshot>, mistakes: &mut Mistakes) -> Pools {
    let key = |pool: &Arc<Pool>| (pool.institution().clone(), pool.environment());
    let before: Pools = previous
        .map(|snapshot| snapshot.pools.iter().map(|pool| (key(pool), Arc::clone(pool))).collect())
        .unwrap_or_default();
    let mut pools = Pools::new();
    for institution in &configuration.institutions {
        for settings in &institution.value.pools {
            let key = (settings.institution.clone(), settings.environment);
            match Pool::new(settings.clone(), before.get(&key).map(Arc::as_ref)) {
                Ok(pool) => {
                    pools.insert(key, pool);
                }
                Err(errors) => mistakes.extend(errors.iter().map(|error| {
                    let message = format!("back ends of `{}`: {}", settings.institution, chain(error));
                    Diagnostic::new(institution.place.clone(), message)
                })),
            }
        }
    }
    pools
}

/// Position = index. `None`: some operation lacks its contract or institution, which is a defect or was reported.
pub(super) fn operations(
    apis: &[Api<'_>],
    drafts: &[Draft<'_>],
    configuration: &Configuration,
    pools: &Pools,
    services: &Services,
    warnings: &mut Vec<Diagnostic>,
) -> Option<Vec<Operation>> {
    let mut contracts = contracts(apis, warnings).into_iter();
    let institutions: HashMap<_, _> = configuration
        .institutions
        .iter()
        .map(|located| (located.value.institution.id.clone(), Arc::new(located.value.institution.clone())))
        .collect();
    let mut operations = Vec::with_capacity(drafts.len());
    let mut all_terms: HashSet<Arc<OperationTerms>> = HashSet::new();
    for draft in drafts {
        let settings = &draft.api.settings.value;
        let institution = institutions.get(&settings.institution)?;
        let pool = |environment| pools.get(&(settings.institution.clone(), environment)).cloned();
        let terms = OperationTerms {
            api: settings.source.id.clone(),
            base_path: draft.api.imported.base_path.trim_end_matches('/').into(),
            base_path_segments: draft.upstream.segments,
            upstream_base_path: draft.upstream.base.as_str().into(),
            scopes: draft.imported.scopes.clone(),
            request_contract: draft.settings.request_contract.unwrap_or(settings.request_contract),
            response_contract: draft.settings.response_contract.unwrap_or(settings.response_contract),
            amount: draft.amount.clone(),
            step_up: draft.step_up.clone(),
            authorization_details_type: draft
                .settings
                .authorization_details_type
                .as_ref()
                .map(|at| at.value.as_str().into()),
            timeout: draft.settings.timeout,
            body_bytes_max: draft.settings.body_bytes_max,
            websocket: draft.settings.websocket,
        };
        operations.push(Operation {
            id: draft.imported.spec.id.clone(),
            contract: contracts.next()?,
            terms: once(&mut all_terms, &terms, |terms| Arc::new(terms.clone())),
            institution: Arc::clone(institution),
            sandbox: pool(Environment::Sandbox),
            live: pool(Environment::Live),
            metrics: services.metrics.operation(&draft.imported.spec.id, &draft.imported.spec.method),
        });
    }
    Some(operations)
}

/// One contract per operation, in the order of the drafts. What a contract cannot hold of its document is a warning.
fn contracts(apis: &[Api<'_>], warnings: &mut Vec<Diagnostic>) -> Vec<Arc<Contract>> {
    let mut all = Vec::new();
    for api in apis {
        let specs: Vec<_> = api.imported.operations.iter().map(|operation| operation.spec.clone()).collect();
        let (contracts, issues) = Contracts::compile(&api.imported.document, &specs);
        if !issues.is_empty() {
            warnings.extend(contract_warnings(api, &issues));
        }
        all.extend(contracts);
    }
    all
}

fn contract_warnings(api: &Api<'_>, issues: &[ContractIssue]) -> Vec<Diagnostic> {
    let places = written(&api.settings.value.source, api.imported, issues.iter().map(|issue| issue.pointer.as_str()));
    let warning = |(issue, place): (&ContractIssue, Written)| {
        let place = Place { file: place.file.into(), line: place.line as u64, column: place.column as u64 };
        let message = format!("contract of API `{}`, {issue}", api.imported.id);
        Diagnostic::new(place, message).remedy("mend the document, or rely on the institution to check it")
    };
    issues.iter().zip(places).map(warning).collect()
}
