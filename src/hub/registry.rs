//! The partners in force.

use std::collections::HashMap;
use std::sync::Arc;

use crate::domain::{
    Client, ClientId, Environment, InstitutionId, InteractionNaming, Jurisdiction, OperationIndex, ProductId, Risk,
    Tenant, TenantId,
};
use crate::quota::CompiledPlan;

use super::OperationSet;

/// A tenant that registers back ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Institution {
    pub id: InstitutionId,
    pub name: String,
    /// Where the tenants may be established to which it lets its data go.
    pub data_jurisdictions: Vec<Jurisdiction>,
}

/// A bundle of operations.
#[derive(Debug, Clone)]
pub struct Product {
    pub id: ProductId,
    pub name: String,
    pub risk: Risk,
    /// What its profile demands of calls.
    pub interaction_naming: InteractionNaming,
    pub operations: OperationSet,
}

/// One client's right to one product under one plan.
#[derive(Clone)]
pub struct Subscription {
    pub product: Arc<Product>,
    pub plan: Arc<CompiledPlan>,
    pub environment: Environment,
}

/// A client with its subscriptions, in the order in which they were written.
#[derive(Clone)]
pub struct Partner {
    pub client: Arc<Client>,
    /// The outside issuer whose tokens speak for it; absent: only our own authorization server's do.
    pub issuer: Option<Arc<str>>,
    /// What its profile demands of calls.
    pub interaction_naming: InteractionNaming,
    pub subscriptions: Box<[Subscription]>,
}

impl Partner {
    /// The first subscription whose product contains the operation.
    pub fn subscription(&self, operation: OperationIndex) -> Option<&Subscription> {
        self.subscriptions.iter().find(|subscription| subscription.product.operations.contains(operation))
    }
}

/// All registered partners of a snapshot.
#[derive(Default)]
pub struct Registry {
    partners: HashMap<ClientId, Arc<Partner>>,
    tenants: HashMap<TenantId, Arc<Tenant>>,
}

impl Registry {
    pub fn new(tenants: impl IntoIterator<Item = Arc<Tenant>>, partners: impl IntoIterator<Item = Partner>) -> Self {
        Self {
            tenants: tenants.into_iter().map(|tenant| (tenant.id.clone(), tenant)).collect(),
            partners: partners.into_iter().map(|partner| (partner.client.id.clone(), Arc::new(partner))).collect(),
        }
    }

    pub fn partner(&self, client: &ClientId) -> Option<&Arc<Partner>> {
        self.partners.get(client)
    }

    pub fn tenant(&self, id: &TenantId) -> Option<&Arc<Tenant>> {
        self.tenants.get(id)
    }

    pub fn partners(&self) -> impl Iterator<Item = &Arc<Partner>> {
        self.partners.values()
    }
}
