//! Under which key is a decision remembered? The values of the facts that a slice mentions, byte for byte: two
//! questions share an answer only if they agree in everything that the slice's policies can see.

use super::catalogue::ActionKind;
use super::mention::{Fact, Facts, Mentions};
use super::question::Question;
use crate::domain::Money;

/// How a slice's keys are written. Equal plans of different slices write different keys, as the slice comes first.
#[derive(Debug, Clone, Default)]
pub(super) struct KeyPlan {
    pub facts: Facts,
    slice: u32,
    exact_amount: bool,
    thresholds: Box<[i64]>,
    clients: Box<[String]>,
    tenants: Box<[String]>,
    products: Box<[String]>,
    institutions: Box<[String]>,
}

impl KeyPlan {
    pub fn new(slice: u32, mentions: Mentions) -> Self {
        Self {
            facts: mentions.facts,
            slice,
            exact_amount: mentions.exact_amount,
            thresholds: mentions.thresholds.into_iter().collect(),
            clients: mentions.clients.into_iter().collect(),
            tenants: mentions.tenants.into_iter().collect(),
            products: mentions.products.into_iter().collect(),
            institutions: mentions.institutions.into_iter().collect(),
        }
    }

    /// Writes the key of a question.
    pub fn key(&self, question: &Question<'_>, action: &ActionKind) -> Vec<u8> {
        let mut key = Vec::with_capacity(96);
        key.extend(self.slice.to_le_bytes());
        self.identities(question, &mut key);
        self.principal(question, &mut key);
        self.context(question, action, &mut key);
        if self.facts.has(Fact::Amount) {
            self.amount(question.amount, &mut key);
        }
        key
    }

    /// An id can only be compared with the literals of the slice, so which of them it is, or none, is all that counts:
    /// a million clients that no policy names have one key.
    fn identities(&self, question: &Question<'_>, key: &mut Vec<u8>) {
        if self.facts.has(Fact::Action) {
            key.extend(question.operation.0.to_le_bytes());
        }
        for (names, id) in [
            (&self.clients, question.client.id.as_str()),
            (&self.tenants, question.client.tenant.id.as_str()),
            (&self.products, question.product.as_str()),
            (&self.institutions, question.institution.as_str()),
        ] {
            if !names.is_empty() {
                let place = names.binary_search_by(|name| name.as_str().cmp(id));
                key.extend(place.map_or(0, |place| place as u64 + 1).to_le_bytes());
            }
        }
    }

    fn principal(&self, question: &Question<'_>, key: &mut Vec<u8>) {
        let tenant = &question.client.tenant;
        if self.facts.has(Fact::ClientStatus) {
            key.push(question.client.status as u8);
        }
        if self.facts.has(Fact::ClientEnvironment) {
            key.push(question.client.environment as u8);
        }
        if self.facts.has(Fact::TenantStatus) {
            key.push(tenant.status as u8);
        }
        if self.facts.has(Fact::TenantJurisdiction) {
            key.extend(tenant.jurisdiction.as_str().as_bytes()); // Always two bytes.
        }
        if self.facts.has(Fact::TenantLicences) {
            let roles = tenant.licences.iter().fold(0_u32, |roles, role| roles | 1 << *role as u32);
            key.extend(roles.to_le_bytes());
        }
    }

    fn context(&self, question: &Question<'_>, action: &ActionKind, key: &mut Vec<u8>) {
        if self.facts.has(Fact::DataJurisdictions) {
            key.extend((question.data_jurisdictions.len() as u64).to_le_bytes());
            question.data_jurisdictions.iter().for_each(|code| key.extend(code.as_str().as_bytes()));
        }
        if self.facts.has(Fact::Environment) {
            key.push(question.environment as u8);
        }
        if self.facts.has(Fact::Risk) {
            key.push(question.risk as u8);
        }
        if self.facts.has(Fact::SenderConstrained) {
            key.push(u8::from(question.sender_constrained));
        }
        if self.facts.has(Fact::Scopes) {
            for scope in question.scopes.iter() {
                key.extend(scope.as_str().as_bytes());
                key.push(b' '); // No scope contains a blank (RFC 6749 §A.4), so the list reads back in one way only.
            }
            key.push(0);
        }
        if self.facts.has(Fact::DetailTypes) {
            // A type may be any text: its length makes the list read back in one way only.
            key.extend((question.detail_types.len() as u64).to_le_bytes());
            for name in question.detail_types {
                key.extend((name.len() as u64).to_le_bytes());
                key.extend(name.as_bytes());
            }
        }
        if self.facts.has(Fact::LicenceRole) {
            key.push(action.licence_role.map_or(0, |role| role as u8 + 1));
        }
        if self.facts.has(Fact::AmountExpected) {
            key.push(u8::from(question.amount_expected));
        }
    }

    fn amount(&self, amount: Option<Money>, key: &mut Vec<u8>) {
        key.push(u8::from(amount.is_some()));
        let Some(amount) = amount else { return };
        if self.facts.has(Fact::AmountCurrency) {
            key.extend(amount.currency().code().as_bytes()); // Always three bytes.
        }
        if self.facts.has(Fact::AmountMinorUnits) {
            let class = if self.exact_amount { amount.minor_units() } else { self.class(amount.minor_units()) };
            key.extend(class.to_le_bytes());
        }
    }

    /// Which threshold an amount is, or between which two it lies.
    fn class(&self, minor_units: i64) -> i64 {
        match self.thresholds.binary_search(&minor_units) {
            Ok(place) => 2 * place as i64 + 1,
            Err(place) => 2 * place as i64,
        }
    }
}
