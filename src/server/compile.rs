//! From a configuration to what is in force: every mistake at once, each with its place.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::admission::{AmountAt, Operation, OutsideIssuer, Snapshot};
use crate::authn::{Challenges, IssuerSettings, UnknownPartners};
use crate::catalogue::{
    Collision, Documents, Edge, ImportedApi, ImportedOperation, MergeIssue, import, publish, settle,
};
use crate::config::{ApiSettings, Configuration, Diagnostic, Located, OperationSettings, Place, did_you_mean};
use crate::contract::{Contract, Contracts};
use crate::domain::{ApiId, Environment, LicenceRole, OperationIndex, PlanId, ProductId, ScopeSet, Thumbprint};
use crate::endpoint::{InForce, is_own_path, own_document};
use crate::hub::{ImplicitPartners, Partner, Product, Registry, Subscription, Template};
use crate::oauth::ClientAuthentication;
use crate::quota::CompiledPlan;
use crate::route::{RouteSpec, RouteTable};
use crate::upstream::Pool;

use super::{Services, policies, revision, world};

/// Mistakes found so far.
pub(super) type Mistakes = Vec<Diagnostic>;

/// An imported API beside what the operator says of it.
#[derive(Clone, Copy)]
pub(super) struct Api<'c> {
    pub settings: &'c Located<ApiSettings>,
    pub imported: &'c ImportedApi,
}

/// One operation before it is compiled.
pub(super) struct Draft<'c> {
    pub api: Api<'c>,
    pub imported: &'c ImportedOperation,
    pub settings: OperationSettings,
}

/// Compiles a snapshot and its published documents. `previous` lends its pools' health.
pub fn compile(
    configuration: &Configuration,
    services: &Services,
    previous: Option<&Snapshot>,
) -> Result<InForce, Vec<Diagnostic>> {
    let mut mistakes = Mistakes::new();
    let in_force = assemble(configuration, services, previous, &mut mistakes);
    match in_force {
        Some(in_force) if mistakes.is_empty() => Ok(in_force),
        _ => {
            mistakes.sort();
            mistakes.dedup();
            Err(mistakes)
        }
    }
}

fn assemble(
    configuration: &Configuration,
    services: &Services,
    previous: Option<&Snapshot>,
    mistakes: &mut Mistakes,
) -> Option<InForce> {
    let own = own_document()?;
    let imported = imports(configuration, &own, mistakes);
    let apis: Vec<Api<'_>> = paired(configuration, &imported);
    let drafts = drafts(&apis, mistakes);
    let routes = routes(&drafts, mistakes);
    let plans = plans(configuration, services, mistakes);
    let products = products(configuration, &drafts, mistakes);
    let policies = policies::compile(configuration, &world::world(configuration, &drafts), mistakes);
    let pools = pools(configuration, previous, mistakes);
    let documents = documents(configuration, &imported, &own, &drafts, mistakes);
    let authenticator = services.authenticator(configuration, mistakes);
    let operations = operations(&apis, &drafts, configuration, &pools, services, mistakes);
    let registry = registry(configuration, &products, &plans);
    let snapshot = Snapshot {
        revision: revision::of(configuration).into(),
        routes: routes?,
        operations,
        authenticator: authenticator?,
        challenges: Challenges::new(Some(&services.resource_metadata_url(configuration))),
        registry,
        issuer: configuration.gateway.issuer.as_str().into(),
        outside_issuers: outside_issuers(configuration, &products, &plans),
        registered_certificates: registered_certificates(configuration),
        policy_hash: policies.as_ref().map(|set| set.hash().into())?,
        policies: policies?,
        quotas: Arc::clone(&services.quotas),
        pools: pools.into_values().collect(),
    };
    Some(InForce { snapshot: Arc::new(snapshot), documents: Arc::new(documents?) })
}

fn imports(configuration: &Configuration, own: &serde_json::Value, mistakes: &mut Mistakes) -> Vec<ImportedApi> {
    let mut imported = Vec::new();
    for settings in &configuration.apis {
        match import(&settings.value.source) {
            Ok(api) => imported.push(api),
            Err(error) => mistakes.push(
                Diagnostic::new(settings.place.clone(), format!("API `{}`: {}", settings.value.source.id, chain(&error)))
                    .remedy("`clearway catalogue lint FILE` shows the whole import report"),
            ),
        }
    }
    for api in &mut imported {
        let settings = configuration.apis.iter().find(|settings| settings.value.source.id == api.id);
        for operation in &mut api.operations {
            if let Some(settings) = settings {
                operation.scopes = effective_scopes(&settings.value, operation);
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
    for issue in issues {
        let concerned = |api: &&Located<ApiSettings>| issue.apis.contains(&api.value.source.id);
        let place = configuration.apis.iter().find(concerned).or(configuration.apis.first());
        let place = place.map_or_else(|| Place::file("apis.yaml"), |api| api.place.clone());
        mistakes.push(Diagnostic::new(place, issue.what.clone()).remedy(issue.remedy.clone()));
    }
}

fn paired<'c>(configuration: &'c Configuration, imported: &'c [ImportedApi]) -> Vec<Api<'c>> {
    let settings = |id: &ApiId| configuration.apis.iter().find(|settings| settings.value.source.id == *id);
    imported.iter().filter_map(|api| Some(Api { settings: settings(&api.id)?, imported: api })).collect()
}

fn drafts<'c>(apis: &[Api<'c>], mistakes: &mut Mistakes) -> Vec<Draft<'c>> {
    let mut drafts = Vec::new();
    for api in apis.iter().copied() {
        check_operation_names(api, mistakes);
        for imported in &api.imported.operations {
            if is_own_path(&imported.spec.path) {
                let message = format!("`{}` would lie on a path of the gateway's own, {}", imported.spec.id, imported.spec.path);
                let remedy = "set `base_path` of the API to a path that is free";
                mistakes.push(Diagnostic::new(api.settings.place.clone(), message).remedy(remedy));
            }
            let settings = api.settings.value.operations.iter();
            let settings = settings.filter(|(name, _)| *name == local_name(imported)).map(|(_, s)| s.value.clone()).next();
            drafts.push(Draft { api, imported, settings: settings.unwrap_or_default() });
        }
    }
    drafts
}

/// An operation's name without its API's.
fn local_name(operation: &ImportedOperation) -> &str {
    let id = operation.spec.id.as_str();
    id.split_once('.').map_or(id, |(_, name)| name)
}

fn check_operation_names(api: Api<'_>, mistakes: &mut Mistakes) {
    let names = || api.imported.operations.iter().map(local_name);
    for (name, settings) in &api.settings.value.operations {
        if !names().any(|known| known == name) {
            let message = format!("the API has no operation `{name}`");
            let diagnostic = Diagnostic::new(settings.place.clone(), message);
            mistakes.push(match did_you_mean(name, names()) {
                Some(near) => diagnostic.remedy(format!("did you mean `{near}`?")),
                None => diagnostic,
            });
        }
    }
}

fn routes(drafts: &[Draft<'_>], mistakes: &mut Mistakes) -> Option<RouteTable> {
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

fn plans(configuration: &Configuration, services: &Services, mistakes: &mut Mistakes) -> HashMap<PlanId, Arc<CompiledPlan>> {
    let mut plans = HashMap::new();
    for plan in &configuration.plans {
        match services.quotas.compile(&plan.value) {
            Ok(compiled) => {
                plans.insert(plan.value.id.clone(), compiled);
            }
            Err(error) => {
                mistakes.push(Diagnostic::new(plan.place.clone(), format!("plan `{}`: {error}", plan.value.id)));
            }
        }
    }
    plans
}

fn products(
    configuration: &Configuration,
    drafts: &[Draft<'_>],
    mistakes: &mut Mistakes,
) -> HashMap<ProductId, Arc<Product>> {
    let ids: Vec<&str> = drafts.iter().map(|draft| draft.imported.spec.id.as_str()).collect();
    let mut products = HashMap::new();
    for located in &configuration.products {
        let settings = &located.value;
        let mut selected = Vec::new();
        for selector in &settings.operations {
            let matching: Vec<OperationIndex> = world::select(&selector.value, drafts).collect();
            if matching.is_empty() {
                let message = format!("selects no operation: {}", world::describe(&selector.value));
                let near = did_you_mean(&world::describe(&selector.value), ids.iter().copied());
                let diagnostic = Diagnostic::new(selector.place.clone(), message);
                mistakes.push(match near {
                    Some(near) => diagnostic.remedy(format!("did you mean `{near}`?")),
                    None => diagnostic,
                });
            }
            selected.extend(matching);
        }
        let product = Product {
            id: settings.id.clone(),
            name: settings.name.clone(),
            risk: settings.risk,
            operations: selected.into_iter().collect(),
        };
        products.insert(settings.id.clone(), Arc::new(product));
    }
    products
}

type PoolKey = (crate::domain::InstitutionId, Environment);

fn pools(
    configuration: &Configuration,
    previous: Option<&Snapshot>,
    mistakes: &mut Mistakes,
) -> HashMap<PoolKey, Arc<Pool>> {
    let mut pools = HashMap::new();
    for institution in &configuration.institutions {
        for settings in &institution.value.pools {
            let key = (settings.institution.clone(), settings.environment);
            let before = previous.and_then(|snapshot| {
                let same = |pool: &&Arc<Pool>| {
                    pool.settings().institution == key.0 && pool.settings().environment == key.1
                };
                snapshot.pools.iter().find(same)
            });
            match Pool::new(settings.clone(), before.map(Arc::as_ref)) {
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
    own: &serde_json::Value,
    drafts: &[Draft<'_>],
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
    };
    match publish(imported, own, &edge) {
        Ok(published) => match Documents::render(&published, world::listings(configuration, drafts)) {
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

/// Every scope that some operation demands.
fn scope_names(drafts: &[Draft<'_>]) -> BTreeSet<String> {
    drafts.iter().flat_map(|draft| draft.imported.scopes.iter()).map(|scope| scope.as_str().to_owned()).collect()
}

fn operations(
    apis: &[Api<'_>],
    drafts: &[Draft<'_>],
    configuration: &Configuration,
    pools: &HashMap<PoolKey, Arc<Pool>>,
    services: &Services,
    mistakes: &mut Mistakes,
) -> Vec<Operation> {
    let mut contracts = contracts(apis).into_iter();
    let institutions: HashMap<_, _> = configuration
        .institutions
        .iter()
        .map(|located| (located.value.institution.id.clone(), Arc::new(located.value.institution.clone())))
        .collect();
    let mut operations = Vec::with_capacity(drafts.len());
    for draft in drafts {
        let settings = &draft.api.settings.value;
        let (Some(contract), Some(institution)) = (contracts.next(), institutions.get(&settings.institution)) else {
            continue; // The institution's own mistake has been reported.
        };
        let pool = |environment| pools.get(&(settings.institution.clone(), environment)).cloned();
        operations.push(Operation {
            id: draft.imported.spec.id.clone(),
            api: settings.source.id.clone(),
            institution: Arc::clone(institution),
            base_path_segments: draft.api.imported.base_path.matches('/').count(),
            upstream_base_path: upstream_base_path(draft).into(),
            scopes: draft.imported.scopes.clone(),
            contract,
            request_contract: draft.settings.request_contract.unwrap_or(settings.request_contract),
            response_contract: draft.settings.response_contract.unwrap_or(settings.response_contract),
            amount: amount(draft, mistakes),
            sandbox: pool(Environment::Sandbox),
            live: pool(Environment::Live),
            timeout: draft.settings.timeout,
            body_bytes_max: draft.settings.body_bytes_max,
            websocket: draft.settings.websocket,
            metrics: services.metrics.operation(&draft.imported.spec.id, &draft.imported.spec.method),
        });
    }
    operations
}

/// One contract per operation, in the order of the drafts.
fn contracts(apis: &[Api<'_>]) -> Vec<Arc<Contract>> {
    let mut all = Vec::new();
    for api in apis {
        let specs: Vec<_> = api.imported.operations.iter().map(|operation| operation.spec.clone()).collect();
        let (contracts, issues) = Contracts::compile(&api.imported.document, &specs);
        for issue in issues {
            tracing::warn!(api = %api.imported.id, "contract: {issue}");
        }
        all.extend(contracts);
    }
    all
}

/// What the back end calls the base path: the operator's word, else the document's own.
fn upstream_base_path(draft: &Draft<'_>) -> String {
    if let Some(path) = &draft.api.settings.value.upstream_base_path {
        return path.clone();
    }
    let published = draft.imported.spec.path.get(draft.api.imported.base_path.len()..).unwrap_or_default();
    let upstream = &draft.imported.upstream_path;
    upstream.strip_suffix(published).unwrap_or_default().to_owned()
}

/// The operator's word, else the document's, else the API's default, else the API's id. Set once, so that what is
/// published is what is demanded.
fn effective_scopes(settings: &ApiSettings, operation: &ImportedOperation) -> ScopeSet {
    let own = settings.operations.iter().find(|(name, _)| name == local_name(operation));
    let own = own.and_then(|(_, settings)| settings.value.scopes.as_ref());
    if let Some(scopes) = own.or(settings.scopes.as_ref()) {
        return scopes.clone();
    }
    if !operation.scopes.is_empty() {
        return operation.scopes.clone();
    }
    let default = settings.default_scope.clone();
    default.or_else(|| ScopeSet::parse(settings.source.id.as_str()).ok()).unwrap_or_default()
}

/// The operator's word, else the document's `x-clearway-amount`.
fn amount(draft: &Draft<'_>, mistakes: &mut Mistakes) -> Option<AmountAt> {
    if let Some(at) = &draft.settings.amount {
        return Some(AmountAt { amount: at.amount.clone(), currency: at.currency.clone() });
    }
    let stated = draft.imported.extensions.get("x-clearway-amount")?;
    let pointer = |name: &str| stated.get(name)?.as_str().filter(|text| text.starts_with('/')).map(str::to_owned);
    let (Some(amount), Some(currency)) = (pointer("amount"), pointer("currency")) else {
        let message = format!("`x-clearway-amount` of `{}` needs `amount` and `currency`", draft.imported.spec.id);
        let remedy = "both are JSON Pointers, such as /Data/Amount";
        mistakes.push(Diagnostic::new(draft.api.settings.place.clone(), message).remedy(remedy));
        return None;
    };
    Some(AmountAt { amount, currency })
}

/// The operator's word, else the document's `x-clearway-licence-role`, else the API's default.
pub(super) fn licence_role(draft: &Draft<'_>) -> Option<LicenceRole> {
    let stated = draft.imported.extensions.get("x-clearway-licence-role").and_then(|value| value.as_str());
    let stated = stated.and_then(|text| LicenceRole::ALL.into_iter().find(|role| role.as_str() == text));
    draft.settings.licence_role.or(stated).or(draft.api.settings.value.licence_role)
}

fn registry(
    configuration: &Configuration,
    products: &HashMap<ProductId, Arc<Product>>,
    plans: &HashMap<PlanId, Arc<CompiledPlan>>,
) -> Registry {
    let mut subscriptions: HashMap<&str, Vec<Subscription>> = HashMap::new();
    for located in &configuration.subscriptions {
        let settings = &located.value;
        // A product or plan that is missing here was reported where it is written.
        let (Some(product), Some(plan)) = (products.get(&settings.product), plans.get(&settings.plan)) else { continue };
        let subscription =
            Subscription { product: Arc::clone(product), plan: Arc::clone(plan), environment: settings.environment };
        subscriptions.entry(settings.client.as_str()).or_default().push(subscription);
    }
    let partners = configuration.clients.iter().map(|located| {
        let client = Arc::clone(&located.value.client);
        let subscriptions = subscriptions.remove(client.id.as_str()).unwrap_or_default().into();
        Partner { client, issuer: located.value.issuer.as_deref().map(Arc::from), subscriptions }
    });
    let partners: Vec<Partner> = partners.collect();
    Registry::new(configuration.tenants.iter().cloned(), partners)
}

fn outside_issuers(
    configuration: &Configuration,
    products: &HashMap<ProductId, Arc<Product>>,
    plans: &HashMap<PlanId, Arc<CompiledPlan>>,
) -> HashMap<String, OutsideIssuer> {
    let template = |issuer: &IssuerSettings| match &issuer.unknown_partners {
        UnknownPartners::Refuse => None,
        UnknownPartners::Admit { product, plan, environment, jurisdiction } => Some(Template {
            subscription: Subscription {
                product: Arc::clone(products.get(product)?),
                plan: Arc::clone(plans.get(plan)?),
                environment: *environment,
            },
            environment: *environment,
            jurisdiction: *jurisdiction,
        }),
    };
    let issuers = configuration.issuers.iter().map(|located| &located.value);
    issuers
        .filter_map(|issuer| {
            let partners = ImplicitPartners::new(&issuer.issuer, template(issuer)?);
            Some((issuer.issuer.clone(), OutsideIssuer { partners }))
        })
        .collect()
}

fn registered_certificates(configuration: &Configuration) -> HashSet<Thumbprint> {
    let registrations = configuration.clients.iter().filter_map(|located| located.value.registration.as_ref());
    registrations
        .filter_map(|registration| match &registration.authentication {
            ClientAuthentication::SelfSignedTlsClientAuth { certificates } => Some(certificates.clone()),
            ClientAuthentication::PrivateKeyJwt { .. } | ClientAuthentication::TlsClientAuth(_) => None,
        })
        .flatten()
        .collect()
}
