//! Partners that registered themselves: found without a rebuild of the snapshot, made by their template.

use std::collections::HashMap;
use std::sync::Arc;

use moka::sync::Cache;

use crate::domain::{ClientId, Thumbprint};
use crate::hub::{Partner, Subscription};
use crate::oauth::DynamicClients;

/// Most partners remembered; the least used is made again from the index.
const PARTNERS_MAX: u64 = 50_000;

/// The subscriptions that each template gives in one snapshot, over the index of clients that all snapshots share.
pub struct DynamicPartners {
    clients: Arc<DynamicClients>,
    subscriptions: HashMap<Arc<str>, Box<[Subscription]>>,
    partners: Cache<ClientId, Arc<Partner>>,
}

impl DynamicPartners {
    pub fn new(clients: Arc<DynamicClients>, subscriptions: HashMap<Arc<str>, Box<[Subscription]>>) -> Self {
        Self { clients, subscriptions, partners: Cache::new(PARTNERS_MAX) }
    }

    /// Whether one of them registered this very certificate (RFC 8705 §2.2).
    pub fn has_registered(&self, certificate: &Thumbprint) -> bool {
        self.clients.has_registered(certificate)
    }

    /// The partner as it is registered now: one that was removed is none, one that changed is made anew.
    pub fn partner(&self, id: &ClientId) -> Option<Arc<Partner>> {
        let entry = self.clients.used(id)?;
        if let Some(known) = self.partners.get(id).filter(|known| Arc::ptr_eq(&known.client, &entry.client)) {
            return Some(known);
        }
        let subscriptions = self.subscriptions.get(&entry.stored.template)?.clone();
        let interaction_naming = entry.registration.profile.interaction_naming();
        let client = Arc::clone(&entry.client);
        let partner = Arc::new(Partner { client, issuer: None, interaction_naming, subscriptions });
        self.partners.insert(id.clone(), Arc::clone(&partner));
        Some(partner)
    }
}
