//! Who may ask for what: plans, products, subscriptions, and the partners of outside issuers.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::admission::OutsideIssuer;
use crate::authn::{IssuerSettings, UnknownPartners};
use crate::config::{Configuration, Diagnostic, Hints, RegistrationSettings, Selector};
use crate::domain::{ApiId, OperationIndex, PlanId, ProductId, Thumbprint};
use crate::hub::{ImplicitPartners, Partner, Product, Registry, Subscription, Template};
use crate::oauth::Profile;
use crate::quota::CompiledPlan;

use super::Services;
use super::compile::Mistakes;
use super::drafts::Draft;

pub(super) type Plans = HashMap<PlanId, Arc<CompiledPlan>>;
pub(super) type Products = HashMap<ProductId, Arc<Product>>;

pub(super) fn plans(configuration: &Configuration, services: &Services, mistakes: &mut Mistakes) -> Plans {
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

/// The operations by the words that a selector may use.
struct Selection<'d> {
    by_id: HashMap<&'d str, OperationIndex>,
    by_api: HashMap<&'d ApiId, Vec<OperationIndex>>,
    all: Vec<OperationIndex>,
}

impl<'d> Selection<'d> {
    fn new(drafts: &'d [Draft<'_>]) -> Self {
        let mut selection = Self { by_id: HashMap::new(), by_api: HashMap::new(), all: Vec::new() };
        for (draft, index) in drafts.iter().zip((0..).map(OperationIndex)) {
            selection.by_id.insert(draft.imported.spec.id.as_str(), index);
            selection.by_api.entry(&draft.api.imported.id).or_default().push(index);
            selection.all.push(index);
        }
        selection
    }

    fn select(&self, selector: &Selector) -> &[OperationIndex] {
        match selector {
            Selector::Everything => &self.all,
            Selector::Api(api) => self.by_api.get(api).map_or(&[], Vec::as_slice),
            Selector::Operation(id) => self.by_id.get(id.as_str()).map_or(&[], std::slice::from_ref),
        }
    }
}

fn describe(selector: &Selector) -> String {
    match selector {
        Selector::Everything => "*".to_owned(),
        Selector::Api(api) => format!("{api}.*"),
        Selector::Operation(id) => id.clone(),
    }
}

pub(super) fn products(
    configuration: &Configuration,
    drafts: &[Draft<'_>],
    hints: &Hints,
    mistakes: &mut Mistakes,
) -> Products {
    let selection = Selection::new(drafts);
    let mut products = HashMap::new();
    for located in &configuration.products {
        let settings = &located.value;
        let mut selected: Vec<OperationIndex> = Vec::new();
        for selector in &settings.operations {
            let matching = selection.select(&selector.value);
            if matching.is_empty() {
                let written = describe(&selector.value);
                let diagnostic = Diagnostic::new(selector.place.clone(), format!("selects no operation: {written}"));
                let ids = drafts.iter().map(|draft| draft.imported.spec.id.as_str());
                mistakes.push(match hints.near(&written, ids) {
                    Some(near) => diagnostic.remedy(format!("did you mean `{near}`?")),
                    None => diagnostic,
                });
            }
            selected.extend_from_slice(matching);
        }
        let product = Product {
            id: settings.id.clone(),
            name: settings.name.clone(),
            risk: settings.risk,
            interaction_naming: settings.profile.interaction_naming(),
            operations: selected.into_iter().collect(),
        };
        products.insert(settings.id.clone(), Arc::new(product));
    }
    products
}

pub(super) fn registry(configuration: &Configuration, products: &Products, plans: &Plans) -> Registry {
    let mut subscriptions: HashMap<&str, Vec<Subscription>> = HashMap::new();
    for located in &configuration.subscriptions {
        let settings = &located.value;
        // A product or plan that is missing here was reported where it is written.
        let (Some(product), Some(plan)) = (products.get(&settings.product), plans.get(&settings.plan)) else {
            continue;
        };
        let subscription =
            Subscription { product: Arc::clone(product), plan: Arc::clone(plan), environment: settings.environment };
        subscriptions.entry(settings.client.as_str()).or_default().push(subscription);
    }
    let partners = configuration.clients.iter().map(|located| {
        let client = Arc::clone(&located.value.client);
        let subscriptions = subscriptions.remove(client.id.as_str()).unwrap_or_default().into();
        let profile = located.value.registration.as_ref().map(|registration| registration.profile);
        Partner {
            client,
            issuer: located.value.issuer.as_deref().map(Arc::from),
            interaction_naming: profile.map(Profile::interaction_naming).unwrap_or_default(),
            subscriptions,
        }
    });
    let partners: Vec<Partner> = partners.collect();
    Registry::new(configuration.tenants.iter().cloned(), partners)
}

/// What each registration template gives its clients.
pub(super) fn dynamic_subscriptions(
    configuration: &Configuration,
    products: &Products,
    plans: &Plans,
) -> HashMap<Arc<str>, Box<[Subscription]>> {
    let of_template = |settings: &RegistrationSettings| {
        let subscription = |(product, plan): &(ProductId, PlanId)| {
            let (product, plan) = (Arc::clone(products.get(product)?), Arc::clone(plans.get(plan)?));
            Some(Subscription { product, plan, environment: settings.template.environment })
        };
        let subscriptions = settings.subscriptions.iter().filter_map(subscription).collect();
        (Arc::clone(&settings.template.id), subscriptions)
    };
    configuration.registrations.iter().map(|located| of_template(&located.value)).collect()
}

pub(super) fn outside_issuers(
    configuration: &Configuration,
    products: &Products,
    plans: &Plans,
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

/// Certificates that clients registered one by one (RFC 8705 §2.2, §3).
pub(super) fn registered_certificates(configuration: &Configuration) -> HashSet<Thumbprint> {
    let registrations = configuration.clients.iter().filter_map(|located| located.value.registration.as_ref());
    registrations.flat_map(|registration| registration.certificates().copied()).collect()
}
