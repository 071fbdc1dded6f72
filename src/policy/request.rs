//! A question in Cedar's terms, made of those facts only that a slice mentions.

use std::collections::{HashMap, HashSet};
use std::str::FromStr;

use cedar_policy::{Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, Request, RestrictedExpression};

use super::catalogue::Action;
use super::mention::{Fact, Facts};
use super::question::Question;
use crate::domain::Money;

/// The names of the schema's entity types, parsed once.
pub(super) struct Vocabulary {
    action: EntityTypeName,
    client: EntityTypeName,
    tenant: EntityTypeName,
    institution: EntityTypeName,
    product: EntityTypeName,
    jurisdiction: EntityTypeName,
    currency: EntityTypeName,
    status: EntityTypeName,
    environment: EntityTypeName,
    risk: EntityTypeName,
    licence_role: EntityTypeName,
}

/// Cedar refused to take a value. It cannot happen with names and values of ours; if it does, the answer is no.
/// Without the cause, which would quote the value into the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum RequestError {
    #[error("an entity could not be made")]
    Entity,
    #[error("the entities contradict one another")]
    Entities,
    #[error("the context could not be made")]
    Context,
    #[error("the request could not be made")]
    Request,
}

type Attributes = HashMap<String, RestrictedExpression>;

impl Vocabulary {
    #[expect(clippy::expect_used, reason = "fixed names, parsed when compiling; each is a Cedar identifier")]
    pub fn new() -> Self {
        let name = |text: &str| EntityTypeName::from_str(text).expect("a Cedar identifier");
        Self {
            action: name("Action"),
            client: name("Client"),
            tenant: name("Tenant"),
            institution: name("Institution"),
            product: name("Product"),
            jurisdiction: name("Jurisdiction"),
            currency: name("Currency"),
            status: name("Status"),
            environment: name("Environment"),
            risk: name("Risk"),
            licence_role: name("LicenceRole"),
        }
    }

    /// The request, and the entities that it refers to.
    pub fn request(
        &self,
        question: &Question<'_>,
        action: &Action,
        facts: Facts,
    ) -> Result<(Request, Entities), RequestError> {
        let client = uid(&self.client, question.client.id.as_str());
        let tenant = uid(&self.tenant, question.client.tenant.id.as_str());
        let institution = uid(&self.institution, question.institution.as_str());
        let operation = uid(&self.action, action.id.as_str());
        let groups = action.kind.groups.iter().map(|group| uid(&self.action, group));
        let parents = HashSet::from([tenant.clone()]);
        let entities = [
            entity(client.clone(), self.client(question, facts, &tenant), parents)?,
            entity(tenant, self.tenant(question, facts), HashSet::new())?,
            entity(institution.clone(), self.institution(question, facts), HashSet::new())?,
            Entity::new_no_attrs(operation.clone(), groups.collect()),
        ];
        let entities = Entities::from_entities(entities, None).map_err(|_| RequestError::Entities)?;
        let context = Context::from_pairs(self.context(question, action, facts)).map_err(|_| RequestError::Context)?;
        let request = Request::new(client, operation, institution, context, None).map_err(|_| RequestError::Request)?;
        Ok((request, entities))
    }

    fn client(&self, question: &Question<'_>, facts: Facts, tenant: &EntityUid) -> Attributes {
        let client = question.client;
        let mut attributes = Attributes::new();
        if facts.has(Fact::Tenant) {
            attributes.insert("tenant".to_owned(), RestrictedExpression::new_entity_uid(tenant.clone()));
        }
        if facts.has(Fact::ClientStatus) {
            attributes.insert("status".to_owned(), reference(&self.status, client.status.as_str()));
        }
        if facts.has(Fact::ClientEnvironment) {
            attributes.insert("environment".to_owned(), reference(&self.environment, client.environment.as_str()));
        }
        attributes
    }

    fn tenant(&self, question: &Question<'_>, facts: Facts) -> Attributes {
        let tenant = &question.client.tenant;
        let mut attributes = Attributes::new();
        if facts.has(Fact::TenantStatus) {
            attributes.insert("status".to_owned(), reference(&self.status, tenant.status.as_str()));
        }
        if facts.has(Fact::TenantJurisdiction) {
            attributes.insert("jurisdiction".to_owned(), reference(&self.jurisdiction, tenant.jurisdiction.as_str()));
        }
        if facts.has(Fact::TenantLicences) {
            let roles = tenant.licences.iter().map(|role| reference(&self.licence_role, role.as_str()));
            attributes.insert("licences".to_owned(), RestrictedExpression::new_set(roles));
        }
        attributes
    }

    fn institution(&self, question: &Question<'_>, facts: Facts) -> Attributes {
        let mut attributes = Attributes::new();
        if facts.has(Fact::DataJurisdictions) {
            let codes = question.data_jurisdictions.iter().map(|code| reference(&self.jurisdiction, code.as_str()));
            attributes.insert("data_jurisdictions".to_owned(), RestrictedExpression::new_set(codes));
        }
        attributes
    }

    fn context(&self, question: &Question<'_>, action: &Action, facts: Facts) -> Vec<(String, RestrictedExpression)> {
        let truth = RestrictedExpression::new_bool;
        let mut pairs = Vec::new();
        let mut pair = |fact, name: &str, value: &dyn Fn() -> Option<RestrictedExpression>| {
            if facts.has(fact) {
                pairs.extend(value().map(|value| (name.to_owned(), value)));
            }
        };
        pair(Fact::Environment, "environment", &|| Some(reference(&self.environment, question.environment.as_str())));
        pair(Fact::Risk, "risk", &|| Some(reference(&self.risk, question.risk.as_str())));
        pair(Fact::Product, "product", &|| Some(reference(&self.product, question.product.as_str())));
        pair(Fact::SenderConstrained, "sender_constrained", &|| Some(truth(question.sender_constrained)));
        pair(Fact::Scopes, "scopes", &|| {
            let scopes =
                question.scopes.iter().map(|scope| RestrictedExpression::new_string(scope.as_str().to_owned()));
            Some(RestrictedExpression::new_set(scopes))
        });
        pair(Fact::DetailTypes, "authorization_details_types", &|| {
            let types = question.detail_types.iter().map(|name| RestrictedExpression::new_string(name.to_string()));
            Some(RestrictedExpression::new_set(types))
        });
        pair(Fact::LicenceRole, "licence_role", &|| {
            action.kind.licence_role.map(|role| reference(&self.licence_role, role.as_str()))
        });
        pair(Fact::Amount, "amount", &|| self.amount(question.amount?, facts));
        pair(Fact::AmountExpected, "amount_expected", &|| Some(truth(question.amount_expected)));
        pairs
    }

    fn amount(&self, amount: Money, facts: Facts) -> Option<RestrictedExpression> {
        let mut parts = Vec::new();
        if facts.has(Fact::AmountMinorUnits) {
            parts.push(("minor_units".to_owned(), RestrictedExpression::new_long(amount.minor_units())));
        }
        if facts.has(Fact::AmountCurrency) {
            parts.push(("currency".to_owned(), reference(&self.currency, amount.currency().code())));
        }
        RestrictedExpression::new_record(parts).ok() // The two names differ.
    }
}

fn entity(uid: EntityUid, attributes: Attributes, parents: HashSet<EntityUid>) -> Result<Entity, RequestError> {
    Entity::new(uid, attributes, parents).map_err(|_| RequestError::Entity)
}

fn uid(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}

fn reference(kind: &EntityTypeName, id: &str) -> RestrictedExpression {
    RestrictedExpression::new_entity_uid(uid(kind, id))
}
