//! Partners that only an outside issuer knows: made from a token's claims, by the issuer's template.

use std::collections::BTreeSet;
use std::sync::Arc;

use moka::sync::Cache;

use crate::domain::{
    Client, ClientId, Environment, InteractionNaming, Jurisdiction, PartnerStatus, ScopeSet, Tenant, TenantId,
};
use crate::jose::sha256;

use super::{Partner, Subscription};

/// Most implicit partners held at once; the least used is forgotten, not refused: it is made again from its token.
pub const PARTNERS_MAX: u64 = 200_000;

/// What an issuer's unknown partners are given.
#[derive(Clone)]
pub struct Template {
    pub subscription: Subscription,
    pub environment: Environment,
    pub jurisdiction: Jurisdiction,
}

/// The implicit partners of one outside issuer in one snapshot.
///
/// Invariant: their tenants and clients carry the issuer's host and a digest of its whole name in theirs, so that no
/// outside issuer can speak for a registered partner, or for one of another issuer, or spend its quota.
pub struct ImplicitPartners {
    template: Template,
    issuer: Arc<str>,
    prefix: String,
    partners: Cache<(TenantId, ClientId), Arc<Partner>>,
}

impl ImplicitPartners {
    /// `issuer` is the issuer identifier, a URL.
    pub fn new(issuer: &str, template: Template) -> Self {
        Self { template, prefix: prefix(issuer), issuer: issuer.into(), partners: Cache::new(PARTNERS_MAX) }
    }

    /// The partner that a verified token names; none if its names are too long to be told apart.
    pub fn partner(&self, tenant: &TenantId, client: &ClientId, scopes: &ScopeSet) -> Option<Arc<Partner>> {
        let key = (tenant.clone(), client.clone());
        if let Some(known) = self.partners.get(&key) {
            return Some(known);
        }
        let made = Arc::new(self.make(tenant, client, scopes)?);
        self.partners.insert(key, Arc::clone(&made));
        Some(made)
    }

    /// How many are held now. Does the cache's housekeeping on the way: not for a request path.
    pub fn remembered(&self) -> u64 {
        self.partners.run_pending_tasks();
        self.partners.entry_count()
    }

    fn make(&self, tenant: &TenantId, client: &ClientId, scopes: &ScopeSet) -> Option<Partner> {
        let tenant = Tenant {
            id: TenantId::parse(&format!("{}:{tenant}", self.prefix)).ok()?,
            name: tenant.to_string(),
            status: PartnerStatus::Active,
            jurisdiction: self.template.jurisdiction,
            licences: BTreeSet::new(),
        };
        let client = Client {
            id: ClientId::parse(&format!("{}:{client}", self.prefix)).ok()?,
            tenant: Arc::new(tenant),
            name: client.to_string(),
            status: PartnerStatus::Active,
            environment: self.template.environment,
            scopes: scopes.clone(),
        };
        Some(Partner {
            client: Arc::new(client),
            issuer: Some(Arc::clone(&self.issuer)),
            interaction_naming: InteractionNaming::Optional,
            subscriptions: Box::new([self.template.subscription.clone()]),
        })
    }
}

/// The host, for people; the digest, because realms of one host (`/realms/a`, `/realms/b`) are issuers of their own.
fn prefix(issuer: &str) -> String {
    let host = issuer.split("://").last().unwrap_or_default();
    let host = host.split('/').next().unwrap_or_default();
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
    let digest = sha256(issuer.as_bytes());
    let digest: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("{}:{digest}", host.chars().take(40).map(plain).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issuers_of_one_host_are_told_apart() {
        let issuers = [
            "https://idp.example/realms/a",
            "https://idp.example/realms/b",
            "https://idp.example:8443/realms/a",
            "https://idp.example-8443/realms/a",
            "https://idp.example",
        ];
        for (position, one) in issuers.iter().enumerate() {
            assert!(prefix(one).starts_with("idp.example"), "{one}");
            assert!(prefix(one).len() < 64, "{one} leaves no room for names");
            for other in issuers.iter().skip(position + 1) {
                assert_ne!(prefix(one), prefix(other), "{one} and {other}");
            }
        }
    }
}
