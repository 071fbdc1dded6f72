//! The questions, in their order.

use std::sync::Arc;

use crate::contract::{Body, Mode};
use crate::domain::{
    Connection, Environment, InteractionId, InteractionNaming, Money, OperationIndex, Risk, Timestamp,
};
use crate::hub::Subscription;
use crate::policy::{Decision, Permit, Question};
use crate::problem::FieldError;
use crate::quota::Spent;
use crate::route::{CanonicalPath, CaptureSpans};
use crate::upstream::{InFlight, Pool};
use http::{HeaderMap, Method};

use super::{Identified, Operation, Rejection, Snapshot, identify};

/// What a request says before its body.
#[derive(Clone, Copy)]
pub struct Head<'a> {
    pub method: &'a Method,
    /// As received, undecoded.
    pub path: &'a str,
    pub query: Option<&'a str>,
    pub headers: &'a HeaderMap,
    pub connection: &'a Connection,
}

/// How the body takes part in the decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyNeed {
    /// It may be streamed past.
    None,
    /// There must be none, which shows only where it ends: with HTTP/2 perhaps in a frame of its own.
    Empty,
    /// It must be read whole first.
    Whole,
}

/// A request whose caller may ask for this operation; policy, contract and quota are still to come.
pub struct Pending {
    pub snapshot: Arc<Snapshot>,
    pub operation: OperationIndex,
    pub caller: Identified,
    subscription: Subscription,
    captures: CaptureSpans,
}

/// A request that may be forwarded. Dropping it ends its place in concurrency limits.
pub struct Admitted {
    pub snapshot: Arc<Snapshot>,
    pub operation: OperationIndex,
    pub caller: Identified,
    pub subscription: Subscription,
    pub permit: Arc<Permit>,
    pub spent: Spent,
    pub pool: Arc<Pool>,
    /// Violations that were observed, not enforced.
    pub observed: Vec<FieldError>,
    _in_flight: InFlight, // Invariant: an admitted request counts against its pool for as long as it lives.
}

impl Admitted {
    /// The compiled operation; the index comes from this very snapshot.
    pub fn operation(&self) -> Option<&Operation> {
        self.snapshot.operation(self.operation)
    }

    /// Whether the answer's body must be read: an obligation changes it, or its contract is looked at.
    pub fn answer_is_read(&self) -> bool {
        let checked = || self.operation().is_none_or(|operation| operation.terms.response_contract != Mode::Off);
        self.permit.obligations.rewrites_body() || checked()
    }
}

/// Route, caller, subscription, scope: everything that needs no body.
pub async fn admit_head(snapshot: &Arc<Snapshot>, head: &Head<'_>, now: Timestamp) -> Result<Pending, Rejection> {
    let path = CanonicalPath::parse(head.path)?;
    let route = snapshot.routes.resolve(head.method, path)?;
    let operation = snapshot.operation(route.index).ok_or(Rejection::Inconsistent)?;
    snapshot.foresee(route.index, operation);
    let caller = identify(snapshot, head, now).await?; // RFC 9068 §4, RFC 8705 §3, RFC 9449 §7
    operation.foresee();
    caller.token.check_part(&operation.terms.base_path)?; // RFC 8707 §2
    let subscription = caller.partner.subscription(route.index).ok_or(Rejection::NotSubscribed)?.clone();
    check_naming(&caller, &subscription, head.headers)?; // Open Finance Brasil BR-AS-23
    if !operation.terms.scopes.is_subset(&caller.token.scopes) {
        return Err(Rejection::ScopeMissing { required: operation.terms.scopes.clone() }); // RFC 6750 §3.1
    }
    if let Some(required) =
        operation.terms.authorization_details_type.as_ref().filter(|name| !caller.token.is_granted(name))
    {
        return Err(Rejection::DetailsMissing { required: Arc::clone(required) }); // RFC 9396 §9
    }
    if let Some(step_up) = operation.terms.step_up.as_ref().filter(|step_up| !step_up.is_met_by(&caller.token, now)) {
        return Err(Rejection::StepUp { required: step_up.clone() }); // RFC 9470 §3
    }
    let captures = route.captures.spans(path);
    Ok(Pending { snapshot: Arc::clone(snapshot), operation: route.index, caller, subscription, captures })
}

/// The caller's own name for the exchange comes back in the answer, whatever it is (FAPI 1.0 Baseline §6.2.1-11); here it is
/// only asked whether there is one where there must be.
fn check_naming(caller: &Identified, subscription: &Subscription, headers: &HeaderMap) -> Result<(), Rejection> {
    let demands = [caller.partner.interaction_naming, subscription.product.interaction_naming];
    if !demands.contains(&InteractionNaming::Required) {
        return Ok(());
    }
    let mut fields = headers.get_all("x-fapi-interaction-id").iter();
    let (Some(field), None) = (fields.next(), fields.next()) else { return Err(Rejection::InteractionUnnamed) };
    match field.to_str().ok().and_then(InteractionId::parse) {
        Some(_) => Ok(()),
        None => Err(Rejection::InteractionUnnamed),
    }
}

impl Pending {
    pub fn operation(&self) -> Option<&Operation> {
        self.snapshot.operation(self.operation)
    }

    /// Whether [`Self::admit`] needs the whole body.
    pub fn body_need(&self) -> BodyNeed {
        let Some(operation) = self.operation() else { return BodyNeed::None };
        let contract = operation.terms.request_contract != Mode::Off && operation.contract.takes_body();
        match operation.terms.request_contract {
            _ if contract || operation.terms.amount.is_some() => BodyNeed::Whole,
            Mode::Enforce => BodyNeed::Empty,
            Mode::Observe | Mode::Off => BodyNeed::None,
        }
    }

    /// Policy, contract, quota. `head` is the one that was identified, `body` is what [`Self::body_need`] asked for, else
    /// [`Body::Opaque`].
    pub fn admit(self, head: &Head<'_>, body: &Body, now: Timestamp) -> Result<Admitted, Rejection> {
        let operation = self.snapshot.operation(self.operation).ok_or(Rejection::Inconsistent)?;
        let amount = operation.terms.amount.as_ref().and_then(|at| at.read(body));
        let permit = self.permit(operation, amount)?;
        self.check_invariants(operation, amount)?;
        let observed = self.check_contract(operation, head, body)?;
        let pool = operation.pool(self.subscription.environment).ok_or(Rejection::NoBackend)?;
        let pool = Arc::clone(pool);
        let in_flight = pool.admit()?;
        let client = &self.caller.partner.client;
        // Last: a refusal costs no quota.
        let spent = self.snapshot.quotas.spend(&self.subscription.plan, &client.tenant.id, &client.id, now)?;
        Ok(Admitted {
            snapshot: self.snapshot,
            operation: self.operation,
            caller: self.caller,
            subscription: self.subscription,
            permit,
            spent,
            pool,
            observed,
            _in_flight: in_flight,
        })
    }

    fn permit(&self, operation: &Operation, amount: Option<Money>) -> Result<Arc<Permit>, Rejection> {
        let question = Question {
            operation: self.operation,
            client: &self.caller.partner.client,
            product: &self.subscription.product.id,
            risk: self.subscription.product.risk,
            environment: self.subscription.environment,
            institution: &operation.institution.id,
            data_jurisdictions: &operation.institution.data_jurisdictions,
            sender_constrained: self.caller.token.is_sender_constrained(),
            scopes: &self.caller.token.scopes,
            detail_types: self.caller.token.detail_types(),
            amount,
            amount_expected: operation.terms.amount.is_some(),
        };
        match self.snapshot.policies.decide(&question) {
            Decision::Permit(permit) => Ok(permit),
            Decision::Refuse(refusal) => Err(Rejection::Policy(refusal)),
        }
    }

    /// What holds whatever the policies say: they may refuse it with better words, but cannot be edited to allow it.
    fn check_invariants(&self, operation: &Operation, amount: Option<Money>) -> Result<(), Rejection> {
        let client = &self.caller.partner.client;
        self.caller.check_active()?;
        // FAPI 2.0 Security Profile §5.3.4-5: regulated products take sender-constrained tokens only.
        if self.subscription.product.risk == Risk::Regulated && !self.caller.token.is_sender_constrained() {
            return Err(Rejection::BindingRequired);
        }
        if client.environment == Environment::Sandbox && self.subscription.environment == Environment::Live {
            return Err(Rejection::NoBackend);
        }
        // What moves an unknown sum passes below every ceiling.
        if operation.terms.amount.is_some() && !amount.is_some_and(Money::is_positive) {
            return Err(Rejection::AmountUnknown);
        }
        Ok(())
    }

    /// Violations that are only observed, or the refusal if they are enforced.
    fn check_contract(
        &self,
        operation: &Operation,
        head: &Head<'_>,
        body: &Body,
    ) -> Result<Vec<FieldError>, Rejection> {
        let enforce = match operation.terms.request_contract {
            Mode::Off => return Ok(Vec::new()),
            Mode::Observe => false,
            Mode::Enforce => true,
        };
        let contract = &operation.contract;
        let captures = self.captures.of(head.path);
        let mut errors = contract.check_parameters(&captures, head.query, head.headers);
        if self.body_need() == BodyNeed::Whole || !contract.takes_body() {
            let content_type = head.headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
            match contract.check_body(content_type, body) {
                Ok(()) => {}
                Err(crate::contract::BodyRefusal::MediaType { accepted }) if enforce => {
                    return Err(Rejection::MediaType { accepted });
                }
                Err(crate::contract::BodyRefusal::MediaType { .. }) => errors.push(FieldError {
                    pointer: "#header/content-type".into(),
                    detail: "is not a media type that the operation takes".into(),
                }),
                Err(crate::contract::BodyRefusal::Invalid(found)) => errors.extend(found),
            }
        }
        if enforce && !errors.is_empty() { Err(Rejection::Contract(errors)) } else { Ok(errors) }
    }
}
