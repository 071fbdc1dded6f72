//! What the policies and the portal may know of the catalogue and the partners.

use crate::catalogue::{ListedOperation, Listing};
use crate::config::Configuration;
use crate::domain::{ClientId, InstitutionId, ProductId, TenantId};
use crate::policy::ActionFacts;

use super::drafts::{Api, Draft};

/// The names that a policy may use.
pub(super) struct Facts {
    pub actions: Vec<ActionFacts>,
    pub tenants: Vec<TenantId>,
    pub clients: Vec<ClientId>,
    pub products: Vec<ProductId>,
    pub institutions: Vec<InstitutionId>,
}

pub(super) fn world(configuration: &Configuration, drafts: &[Draft<'_>]) -> Facts {
    Facts {
        actions: drafts.iter().map(action).collect(),
        tenants: configuration.tenants.iter().map(|tenant| tenant.id.clone()).collect(),
        clients: configuration.clients.iter().map(|client| client.value.client.id.clone()).collect(),
        products: configuration.products.iter().map(|product| product.value.id.clone()).collect(),
        institutions: configuration.institutions.iter().map(|i| i.value.institution.id.clone()).collect(),
    }
}

fn action(draft: &Draft<'_>) -> ActionFacts {
    ActionFacts {
        operation: draft.imported.spec.id.clone(),
        api: draft.api.imported.id.clone(),
        institution: draft.api.settings.value.institution.clone(),
        method: draft.imported.spec.method.to_string(),
        tags: draft.imported.tags.clone(),
        licence_role: draft.licence_role,
    }
}

/// What the portal lists.
pub(super) fn listings(configuration: &Configuration, drafts: &[Draft<'_>]) -> Vec<Listing> {
    let mut listings: Vec<Listing> = Vec::new();
    for draft in drafts {
        if listings.last().is_none_or(|listing| listing.id != draft.api.imported.id) {
            listings.push(listing(configuration, draft.api));
        }
        if let Some(listing) = listings.last_mut() {
            listing.operations.push(listed(draft));
        }
    }
    listings
}

fn listed(draft: &Draft<'_>) -> ListedOperation {
    ListedOperation {
        id: draft.imported.spec.id.to_string(),
        method: draft.imported.spec.method.to_string(),
        path: draft.imported.spec.path.clone(),
        summary: draft.imported.summary.clone().unwrap_or_default(),
        scopes: draft.imported.scopes.to_string(),
    }
}

fn listing(configuration: &Configuration, api: Api<'_>) -> Listing {
    let institution = configuration.institutions.iter().map(|i| &i.value.institution);
    let institution = institution.filter(|i| i.id == api.settings.value.institution).map(|i| i.name.clone()).next();
    let description = api.imported.document.pointer("/info/description").and_then(|value| value.as_str());
    Listing {
        id: api.imported.id.clone(),
        title: api.imported.title.clone(),
        version: api.imported.version.clone(),
        description: description.unwrap_or_default().to_owned(),
        institution: institution.unwrap_or_default(),
        base_path: api.imported.base_path.clone(),
        operations: Vec::new(),
    }
}
