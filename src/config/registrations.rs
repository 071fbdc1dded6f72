//! `registrations.yaml`: who may register clients, and what these are given.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::authn::JwksSource;
use crate::domain::{Environment, PlanId, ProductId, Tenant};
use crate::jose::Algorithm;
use crate::oauth::{
    DirectorySettings, Profile, RegistrationAdmission, RegistrationTemplate, StatusSettings, TenantRule,
};
use crate::quota::Plan;

use super::apis::ProductSettings;
use super::partners::{environment, known, secret, undeclared};
use super::registered::profile;
use super::tree::Entry;
use super::{Diagnostic, Located, each, scalar};

/// A template, and what its clients are subscribed to.
#[derive(Debug, Clone)]
pub struct RegistrationSettings {
    pub template: Arc<RegistrationTemplate>,
    pub subscriptions: Vec<(ProductId, PlanId)>,
}

const MINUTE: Duration = Duration::from_secs(60);

pub(super) fn registrations(
    entries: &[Entry<'_>],
    tenants: &[Located<Arc<Tenant>>],
    products: &[Located<ProductSettings>],
    plans: &[Located<Plan>],
) -> Vec<Located<RegistrationSettings>> {
    let by_name: HashMap<&str, &Arc<Tenant>> = tenants.iter().map(|t| (t.value.id.as_str(), &t.value)).collect();
    let name = |settings: &RegistrationSettings| settings.template.id.to_string();
    each(entries, "registration", name, |entry| registration(entry, &by_name, products, plans))
}

fn registration(
    entry: &Entry<'_>,
    tenants: &HashMap<&str, &Arc<Tenant>>,
    products: &[Located<ProductSettings>],
    plans: &[Located<Plan>],
) -> Option<RegistrationSettings> {
    let id: Option<crate::domain::TenantId> = entry.required("id", scalar::parsed);
    let token = entry.optional("initial_access_token_file", secret);
    let directory = entry.section("directory").map(|section| directory(&section));
    let profile = entry.or("profile", Profile::Fapi2Security, profile);
    let tenant = tenant(entry, tenants);
    let live = entry.or("environment", Environment::Sandbox, environment);
    let scopes = entry.or("scopes", crate::domain::ScopeSet::default(), scalar::scopes);
    let clients_max = entry.or("clients_max", 1_000, scalar::parsed);
    let clients_per_tenant_max = entry.or("clients_per_tenant_max", 100, scalar::parsed);
    let subscriptions = subscriptions(entry, profile, products, plans);
    entry.finish();
    let admission = match (token, directory) {
        (Some(hash), None) => RegistrationAdmission::InitialAccessToken(hash),
        (None, Some(directory)) => RegistrationAdmission::Directory(Box::new(directory?)),
        (Some(_), Some(_)) | (None, None) => {
            let message = "a registration needs exactly one of `initial_access_token_file` and `directory`";
            entry.report().add(Diagnostic::new(entry.place(), message));
            return None;
        }
    };
    let by_token = matches!(admission, RegistrationAdmission::InitialAccessToken(_));
    let tenant = tenant?;
    if by_token && (live == Environment::Live || matches!(tenant, TenantRule::Claim { .. })) {
        let message = "`environment: live` and `tenant_claim` need a `directory` that vouches for the client";
        entry.report().add(Diagnostic::new(entry.place(), message));
        return None;
    }
    let id: Arc<str> = id?.as_str().into();
    let template = RegistrationTemplate {
        id,
        admission,
        profile,
        tenant,
        environment: live,
        scopes,
        clients_max,
        clients_per_tenant_max,
    };
    Some(RegistrationSettings { template: Arc::new(template), subscriptions })
}

fn tenant(entry: &Entry<'_>, tenants: &HashMap<&str, &Arc<Tenant>>) -> Option<TenantRule> {
    let fixed = entry.optional("tenant", |entry, node| {
        let written = scalar::text(entry, node)?;
        match tenants.get(written.as_str()) {
            Some(tenant) => Ok(Arc::clone(tenant)),
            None => Err(undeclared(entry, "tenant", &written, tenants.keys().copied())),
        }
    });
    let claim = entry.optional("tenant_claim", scalar::text);
    let jurisdiction = entry.optional("jurisdiction", scalar::jurisdiction);
    match (fixed, claim, jurisdiction) {
        (Some(tenant), None, None) => Some(TenantRule::Fixed { tenant }),
        (None, Some(claim), Some(jurisdiction)) => Some(TenantRule::Claim { claim, jurisdiction }),
        _ => {
            let message = "a registration needs `tenant`, or `tenant_claim` with `jurisdiction`";
            entry.report().add(Diagnostic::new(entry.place(), message));
            None
        }
    }
}

fn subscriptions(
    entry: &Entry<'_>,
    profile: Profile,
    products: &[Located<ProductSettings>],
    plans: &[Located<Plan>],
) -> Vec<(ProductId, PlanId)> {
    let product_names = products.iter().map(|p| p.value.id.as_str()).collect();
    let plan_names = plans.iter().map(|p| p.value.id.as_str()).collect();
    let read = |section: &Entry<'_>| {
        let product: Option<ProductId> = section.required("product", known("product", &product_names));
        let plan: Option<PlanId> = section.required("plan", known("plan", &plan_names));
        section.finish();
        let (product, plan) = (product?, plan?);
        let demanded = products.iter().find(|p| p.value.id == product).map(|p| p.value.profile);
        if let Some(demanded) = demanded.filter(|demanded| !profile.satisfies(*demanded)) {
            let message = format!("the product demands the profile {demanded}, and these clients have {profile}");
            section.report().add(Diagnostic::new(section.place(), message));
        }
        Some((product, plan))
    };
    entry.sections("subscriptions").iter().filter_map(read).collect()
}

fn directory(entry: &Entry<'_>) -> Option<DirectorySettings> {
    let issuer = entry.required("issuer", scalar::text);
    let file = entry.optional("jwks_file", scalar::file);
    let url = entry.optional("jwks_url", scalar::base_url);
    let words = &[
        ("PS256", Algorithm::Ps256),
        ("ES256", Algorithm::Es256),
        ("EdDSA", Algorithm::EdDsa),
        ("RS256", Algorithm::Rs256),
    ];
    let algorithms = entry.each("algorithms", scalar::one_of(words));
    let required_claims = entry.each("required_claims", scalar::text);
    let age_max = entry.or("statement_age_max", 30 * 24 * 60 * MINUTE, scalar::duration);
    let clients_per_software_max = entry.or("clients_per_software_max", 10, scalar::parsed);
    let denied_software = entry.each("denied_software", scalar::text);
    let status = entry.section("status").map(|section| status(&section));
    entry.finish();
    let jwks = match (file, url) {
        (Some(file), None) => JwksSource::File(file),
        (None, Some(url)) => JwksSource::Url(url),
        _ => {
            let message = "a directory needs exactly one of `jwks_file` and `jwks_url`";
            entry.report().add(Diagnostic::new(entry.place(), message));
            return None;
        }
    };
    Some(DirectorySettings {
        issuer: issuer?,
        jwks,
        algorithms: if algorithms.is_empty() { vec![Algorithm::Ps256, Algorithm::Es256] } else { algorithms },
        required_claims,
        age_max,
        clients_per_software_max,
        denied_software,
        status: match status {
            None => None,
            Some(status) => Some(status?),
        },
    })
}

fn status(entry: &Entry<'_>) -> Option<StatusSettings> {
    let url = entry.required("url", scalar::text);
    let member = entry.or("member", "status".to_owned(), scalar::text);
    let active = entry.each("active", scalar::text);
    let period = entry.or("period", 15 * MINUTE, scalar::duration);
    let keep_max = entry.or("keep_max", 24 * 60 * MINUTE, scalar::duration);
    entry.finish();
    let active = if active.is_empty() { vec!["active".to_owned()] } else { active };
    Some(StatusSettings { url: url?, member, active, period, keep_max })
}
