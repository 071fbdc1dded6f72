//! From a configuration to what is in force: every mistake at once, each with its place.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::Value;

use crate::admission::Snapshot;
use crate::authn::Challenges;
use crate::authn::dpop::ExternalUrls;
use crate::catalogue::{Collision, Documents, Edge, ImportedApi, MergeIssue, import, publish, settle};
use crate::config::{ApiSettings, Configuration, Diagnostic, Hints, Located, Place};
use crate::domain::{ApiId, ByListener, OperationId, OperationIndex};
use crate::endpoint::{InForce, Pages, own_document};
use crate::front::ServerCertificate;
use crate::oauth::{AuthorizationServer, DetailTypes, Profile, resource_metadata_url};
use crate::outbound::Outbound;

use super::drafts::{Api, Draft, check_detail_types, detail_types, drafts, settle_scopes};
use super::entitlements::{
    Products, dynamic_subscriptions, outside_issuers, plans, products, registered_certificates, registry,
};
use super::operations::{operations, pools, routes};
use super::{Services, policies, revision, settings, world};

/// Mistakes found so far.
pub(super) type Mistakes = Vec<Diagnostic>;

/// What a configuration compiles to.
pub struct Compiled {
    pub in_force: InForce,
    /// The types of authorization details that the APIs declare (RFC 9396).
    pub detail_types: DetailTypes,
    /// What is not as its author may believe, and yet no mistake: parts of documents that no contract can hold.
    pub warnings: Vec<Diagnostic>,
}

/// Compiles a snapshot and its published documents. `previous` lends its pools' health.
///
/// On a thread of its own: the documents' trees are many times what is kept of them, and the allocator gives back to
/// the system what a thread has left behind when it ends.
pub fn compile(
    configuration: &Configuration,
    services: &Services,
    previous: Option<&Snapshot>,
) -> Result<Compiled, Vec<Diagnostic>> {
    let here = tokio::runtime::Handle::try_current().ok();
    std::thread::scope(|scope| {
        let compiling = scope.spawn(|| {
            let _runtime = here.as_ref().map(tokio::runtime::Handle::enter);
            compile_here(configuration, services, previous)
        });
        match compiling.join() {
            Ok(compiled) => compiled,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn compile_here(
    configuration: &Configuration,
    services: &Services,
    previous: Option<&Snapshot>,
) -> Result<Compiled, Vec<Diagnostic>> {
    let (mut mistakes, mut warnings) = (Mistakes::new(), Vec::new());
    check_edges(configuration, &mut mistakes);
    let in_force = assemble(configuration, services, previous, &mut mistakes, &mut warnings);
    match in_force {
        Some((in_force, detail_types)) if mistakes.is_empty() => {
            warnings.sort();
            warnings.dedup();
            Ok(Compiled { in_force, detail_types, warnings })
        }
        _ => {
            if mistakes.is_empty() {
                mistakes.push(Diagnostic::new(
                    Place::file("apis.yaml"),
                    "cannot be compiled, and no reason is known: a defect",
                ));
            }
            mistakes.sort();
            mistakes.dedup();
            Err(mistakes)
        }
    }
}

/// What is opened beside the snapshot: certificates, partner CAs, the authorization server's settings.
fn check_edges(configuration: &Configuration, mistakes: &mut Mistakes) {
    for tls in configuration.gateway.listeners.iter().filter_map(|listener| listener.tls.as_ref()) {
        if let Err(error) = ServerCertificate::load(tls) {
            mistakes.push(Diagnostic::new(Place::file(&tls.certificate_file), chain(&error)));
        }
    }
    if let Err(mistake) = settings::partner_trust(configuration) {
        mistakes.push(mistake);
    }
    match Outbound::new(configuration.gateway.outbound.clone()) {
        Ok(outbound) => {
            let rules = settings::registration_rules(configuration, &Arc::new(outbound));
            mistakes.extend(rules.map(drop).err().into_iter().flatten());
        }
        Err(error) => mistakes.push(Diagnostic::new(Place::file("gateway.yaml"), chain(&error))),
    }
    if let Err(error) = AuthorizationServer::check(&settings::oauth_settings(configuration)) {
        mistakes.push(Diagnostic::new(Place::file("gateway.yaml"), chain(&error)));
    }
}

fn assemble(
    configuration: &Configuration,
    services: &Services,
    previous: Option<&Snapshot>,
    mistakes: &mut Mistakes,
    warnings: &mut Vec<Diagnostic>,
) -> Option<(InForce, DetailTypes)> {
    let hints = Hints::default();
    let own = own_document()?;
    let imported = imports(configuration, &own, mistakes);
    let apis: Vec<Api<'_>> = paired(configuration, &imported);
    let drafts = drafts(&apis, &hints, mistakes);
    let routes = routes(&drafts, mistakes);
    let detail_types = detail_types(&apis, mistakes);
    if let Some(types) = &detail_types {
        check_detail_types(&drafts, types, &hints, mistakes);
    }
    let plans = plans(configuration, services, mistakes);
    let products = products(configuration, &drafts, &hints, mistakes);
    let policies = policies::compile(configuration, &world::world(configuration, &drafts), mistakes);
    let pools = pools(configuration, previous, mistakes);
    let documents = documents(configuration, &imported, &own, &drafts, &products, mistakes);
    let authenticator = services.authenticator(configuration, mistakes);
    let operations = operations(&apis, &drafts, configuration, &pools, services, warnings);
    let policies = policies?.counting(services.metrics.policy_decisions());
    let snapshot = Snapshot {
        revision: revision::of(configuration, &imported).into(),
        routes: routes?,
        operations: operations?,
        authenticator: authenticator?,
        challenges: challenges(configuration),
        dpop: Arc::clone(&services.dpop),
        external_urls: external_urls(configuration),
        registry: registry(configuration, &products, &plans),
        dynamic: services.dynamic_partners(dynamic_subscriptions(configuration, &products, &plans)),
        issuer: configuration.gateway.issuer.as_str().into(),
        outside_issuers: outside_issuers(configuration, &products, &plans),
        registered_certificates: registered_certificates(configuration),
        policy_hash: policies.hash().into(),
        policies,
        quotas: Arc::clone(&services.quotas),
        pools: pools.into_values().collect(),
        buffered_client_bytes_max: configuration.gateway.buffered_client_bytes_max,
        buffered_tenant_bytes_max: configuration.gateway.buffered_tenant_bytes_max,
    };
    let documents = documents?;
    let gateway = &configuration.gateway;
    let listings = world::listings(configuration, &drafts);
    let pages = Pages::render(&gateway.public_url, gateway.security_contact.as_deref(), &listings);
    let in_force = InForce { snapshot: Arc::new(snapshot), documents: Arc::new(documents), pages: Arc::new(pages) };
    Some((in_force, detail_types?))
}

/// A proof names the gateway as the listener is called to which it is sent (RFC 9449 §4.3, 9).
fn external_urls(configuration: &Configuration) -> ByListener<ExternalUrls> {
    let gateway = &configuration.gateway;
    let listeners = settings::mtls_listeners(configuration);
    ExternalUrls::by_listener(&gateway.public_url, gateway.mtls_url.as_deref(), &listeners)
}

/// They name the metadata of the resource as the caller knows it (RFC 9728 §3.3).
fn challenges(configuration: &Configuration) -> ByListener<Challenges> {
    let gateway = &configuration.gateway;
    let of = |url: &str| Challenges::new(Some(&resource_metadata_url(url)));
    let mtls = gateway.mtls_url.as_deref().map(of);
    ByListener::new(of(&gateway.public_url), mtls, &settings::mtls_listeners(configuration))
}

type SettingsById<'c> = HashMap<&'c ApiId, &'c Located<ApiSettings>>;

fn settings_by_id(configuration: &Configuration) -> SettingsById<'_> {
    configuration.apis.iter().map(|settings| (&settings.value.source.id, settings)).collect()
}

fn imports(configuration: &Configuration, own: &Value, mistakes: &mut Mistakes) -> Vec<ImportedApi> {
    let mut imported = Vec::new();
    for settings in &configuration.apis {
        match import(&settings.value.source) {
            Ok(mut api) => {
                settle_scopes(&settings.value, &mut api.operations);
                imported.push(api);
            }
            Err(error) => {
                let message = format!("API `{}`: {}", settings.value.source.id, chain(&error));
                let remedy = "`clearway catalogue lint FILE` shows the whole import report";
                mistakes.push(Diagnostic::new(settings.place.clone(), message).remedy(remedy));
            }
        }
    }
    if let Err(issues) = settle(&mut imported, own, Collision::Refuse) {
        merge_issues(configuration, &issues, mistakes);
    }
    imported
}

/// Says where the APIs are written that cannot stand side by side.
fn merge_issues(configuration: &Configuration, issues: &[MergeIssue], mistakes: &mut Mistakes) {
    let by_id = settings_by_id(configuration);
    for issue in issues {
        let place = issue.apis.iter().find_map(|id| by_id.get(id).copied()).or(configuration.apis.first());
        let place = place.map_or_else(|| Place::file("apis.yaml"), |api| api.place.clone());
        mistakes.push(Diagnostic::new(place, issue.what.clone()).remedy(issue.remedy.clone()));
    }
}

fn paired<'c>(configuration: &'c Configuration, imported: &'c [ImportedApi]) -> Vec<Api<'c>> {
    let by_id = settings_by_id(configuration);
    imported.iter().filter_map(|api| Some(Api { settings: by_id.get(&api.id).copied()?, imported: api })).collect()
}

/// An error with its sources, for the operator's eyes.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

fn documents(
    configuration: &Configuration,
    imported: &[ImportedApi],
    own: &Value,
    drafts: &[Draft<'_>],
    products: &Products,
    mistakes: &mut Mistakes,
) -> Option<Documents> {
    let gateway = &configuration.gateway;
    let edge = Edge {
        title: gateway.catalogue.title.clone(),
        version: gateway.catalogue.version.clone(),
        description: gateway.catalogue.description.clone(),
        public_url: gateway.public_url.clone(),
        mtls_url: gateway.mtls_url.clone(),
        token_url: format!("{}/oauth/token", gateway.issuer),
        scopes: scope_names(drafts).into_iter().map(|name| (name, String::new())).collect(),
        dpop: taking_keys(configuration, drafts, products),
    };
    match publish(imported, own, &edge) {
        Ok(published) => match Documents::render(published) {
            Ok(documents) => Some(documents),
            Err(error) => {
                mistakes.push(Diagnostic::new(Place::file("apis.yaml"), error.to_string()));
                None
            }
        },
        Err(issues) => {
            merge_issues(configuration, &issues, mistakes);
            None
        }
    }
}

/// Operations of a product for which a client may do that binds its tokens by DPoP.
fn taking_keys(configuration: &Configuration, drafts: &[Draft<'_>], products: &Products) -> BTreeSet<OperationId> {
    let takes = |required: Profile| {
        Profile::ALL.into_iter().any(|profile| profile.allows_dpop() && profile.satisfies(required))
    };
    let taking = configuration.products.iter().filter(|located| takes(located.value.profile));
    let taking: Vec<_> = taking.filter_map(|located| products.get(&located.value.id)).collect();
    let indexed = (0..).map(OperationIndex).zip(drafts);
    let taken = indexed.filter(|(index, _)| taking.iter().any(|product| product.operations.contains(*index)));
    taken.map(|(_, draft)| draft.imported.spec.id.clone()).collect()
}

/// Every scope that some operation demands.
fn scope_names(drafts: &[Draft<'_>]) -> BTreeSet<String> {
    drafts.iter().flat_map(|draft| draft.imported.scopes.iter()).map(|scope| scope.as_str().to_owned()).collect()
}

#[cfg(test)]
mod tests;
