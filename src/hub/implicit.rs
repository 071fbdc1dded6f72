//! Partners that only an outside issuer knows: made from a token's claims, by the issuer's template.

use std::collections::BTreeSet;
use std::sync::Arc;

use moka::sync::Cache;

use crate::domain::{Client, ClientId, Environment, Jurisdiction, PartnerStatus, ScopeSet, Tenant, TenantId};

use super::{Partner, Subscription};

/// Most implicit partners held at once; the least used is forgotten, not refused: it is made again from its token.
const PARTNERS_MAX: u64 = 200_000;

/// What an issuer's unknown partners are given.
#[derive(Clone)]
pub struct Template {
    pub subscription: Subscription,
    pub environment: Environment,
    pub jurisdiction: Jurisdiction,
}

/// The implicit partners of one outside issuer in one snapshot.
pub struct ImplicitPartners {
    template: Template,
    partners: Cache<(TenantId, ClientId), Arc<Partner>>,
}

impl ImplicitPartners {
    pub fn new(template: Template) -> Self {
        Self { template, partners: Cache::new(PARTNERS_MAX) }
    }

    /// The partner that a verified token names. `tenant` is the registered tenant of that name, if there is one.
    pub fn partner(
        &self,
        tenant_id: &TenantId,
        tenant: Option<&Arc<Tenant>>,
        client: &ClientId,
        scopes: &ScopeSet,
    ) -> Arc<Partner> {
        let key = (tenant_id.clone(), client.clone());
        self.partners.get_with(key, || Arc::new(self.make(tenant_id, tenant, client, scopes)))
    }

    fn make(&self, id: &TenantId, tenant: Option<&Arc<Tenant>>, client: &ClientId, scopes: &ScopeSet) -> Partner {
        let tenant = tenant.cloned().unwrap_or_else(|| {
            Arc::new(Tenant {
                id: id.clone(),
                name: id.to_string(),
                status: PartnerStatus::Active,
                jurisdiction: self.template.jurisdiction,
                licences: BTreeSet::new(),
            })
        });
        let client = Client {
            id: client.clone(),
            tenant,
            name: client.to_string(),
            status: PartnerStatus::Active,
            environment: self.template.environment,
            scopes: scopes.clone(),
        };
        Partner { client: Arc::new(client), subscriptions: Box::new([self.template.subscription.clone()]) }
    }
}
