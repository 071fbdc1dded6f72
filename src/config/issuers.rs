//! `issuers.yaml`: outside issuers that are trusted.

use crate::authn::{IssuerSettings, JwksSource, UnknownPartners};
use crate::domain::{Environment, Jurisdiction, PlanId, ProductId};
use crate::jose::Algorithm;
use crate::quota::Plan;

use super::apis::ProductSettings;
use super::partners::known;
use super::tree::Entry;
use super::{Diagnostic, Located, each, scalar};

pub(super) fn issuers(
    entries: &[Entry<'_>],
    products: &[Located<ProductSettings>],
    plans: &[Located<Plan>],
) -> Vec<Located<IssuerSettings>> {
    each(entries, "issuer", |issuer: &IssuerSettings| issuer.issuer.clone(), |entry| issuer(entry, products, plans))
}

fn issuer(entry: &Entry<'_>, products: &[Located<ProductSettings>], plans: &[Located<Plan>]) -> Option<IssuerSettings> {
    let issuer = entry.required("issuer", scalar::text);
    let jwks = jwks(entry);
    let audiences = entry.each("audiences", scalar::text);
    if audiences.is_empty() {
        entry.report().add(Diagnostic::new(entry.place(), "`audiences` must name at least one audience"));
    }
    let words = &[
        ("PS256", Algorithm::Ps256),
        ("ES256", Algorithm::Es256),
        ("EdDSA", Algorithm::EdDsa),
        ("RS256", Algorithm::Rs256),
    ];
    let algorithms = entry.each("algorithms", scalar::one_of(words));
    let unknown_partners = entry.section("unknown_partners").map(|section| unknown_partners(&section, products, plans));
    let settings = IssuerSettings {
        issuer: issuer?,
        jwks: jwks?,
        audiences,
        client_claim: entry.or("client_claim", "client_id".to_owned(), scalar::text),
        tenant_claim: entry.optional("tenant_claim", scalar::text),
        scope_claim: entry.or("scope_claim", "scope".to_owned(), scalar::text),
        algorithms: if algorithms.is_empty() {
            vec![Algorithm::Ps256, Algorithm::Es256, Algorithm::EdDsa]
        } else {
            algorithms
        },
        require_at_jwt: entry.or("require_at_jwt", true, scalar::boolean),
        unknown_partners: unknown_partners.unwrap_or(Some(UnknownPartners::Refuse))?,
    };
    entry.finish();
    Some(settings)
}

fn jwks(entry: &Entry<'_>) -> Option<JwksSource> {
    let file = entry.optional("jwks_file", scalar::file);
    let url = entry.optional("jwks_url", scalar::base_url);
    match (file, url) {
        (Some(file), None) => Some(JwksSource::File(file)),
        (None, Some(url)) => Some(JwksSource::Url(url)),
        _ => {
            let message = "an issuer needs exactly one of `jwks_file` and `jwks_url`";
            entry.report().add(Diagnostic::new(entry.place(), message));
            None
        }
    }
}

fn unknown_partners(
    entry: &Entry<'_>,
    products: &[Located<ProductSettings>],
    plans: &[Located<Plan>],
) -> Option<UnknownPartners> {
    let product: Option<ProductId> =
        entry.required("product", known("product", &products.iter().map(|p| p.value.id.as_str()).collect()));
    let plan: Option<PlanId> =
        entry.required("plan", known("plan", &plans.iter().map(|p| p.value.id.as_str()).collect()));
    let words = &[("sandbox", Environment::Sandbox), ("live", Environment::Live)];
    let environment = entry.or("environment", Environment::Sandbox, scalar::one_of(words));
    let jurisdiction: Option<Jurisdiction> = entry.required("jurisdiction", scalar::jurisdiction);
    entry.finish();
    Some(UnknownPartners::Admit { product: product?, plan: plan?, environment, jurisdiction: jurisdiction? })
}
