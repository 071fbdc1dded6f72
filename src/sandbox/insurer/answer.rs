//! How the insurer writes: its error shape and its resources as JSON.

use axum::Json;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode};
use serde_json::{Map, Value, json};

use super::book::{BookError, Claim, ClaimStatus, Policy, Quote};
use super::price::Decline;
use crate::domain::{InteractionId, Timestamp};
use crate::sandbox::form::Violation;
use crate::sandbox::text::{date, date_time, two_decimals};

/// A refusal; its trace id is added by the layer that makes it.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
    details: Vec<(String, String)>,
}

impl Refusal {
    pub fn new(status: StatusCode, code: &'static str, message: &str) -> Self {
        Self { status, code, message: message.to_owned(), details: Vec::new() }
    }

    /// One wrong field or parameter.
    pub fn field(field: &str, issue: &str) -> Self {
        Self::invalid(vec![(field.to_owned(), issue.to_owned())])
    }

    fn invalid(details: Vec<(String, String)>) -> Self {
        let count = details.len();
        let message = format!("The request has {count} mistake{}.", if count == 1 { "" } else { "s" });
        Self { details, ..Self::new(StatusCode::BAD_REQUEST, "INVALID_REQUEST", &message) }
    }
}

impl From<Vec<Violation>> for Refusal {
    fn from(found: Vec<Violation>) -> Self {
        Self::invalid(found.into_iter().map(|violation| (violation.pointer, violation.message)).collect())
    }
}

impl From<Decline> for Refusal {
    fn from(decline: Decline) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "RISK_DECLINED", &decline.to_string())
    }
}

impl From<BookError> for Refusal {
    fn from(error: BookError) -> Self {
        let (status, code) = match error {
            BookError::NoQuote | BookError::NoPolicy | BookError::NoClaim => (StatusCode::NOT_FOUND, "NOT_FOUND"),
            BookError::QuoteUsed => (StatusCode::CONFLICT, "QUOTE_USED"),
            BookError::QuoteExpired => (StatusCode::CONFLICT, "QUOTE_EXPIRED"),
            BookError::PolicyNotActive => (StatusCode::CONFLICT, "POLICY_NOT_ACTIVE"),
            BookError::ClaimDecided => (StatusCode::CONFLICT, "CLAIM_DECIDED"),
        };
        Self::new(status, code, &error.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status;
        response.extensions_mut().insert(self);
        response
    }
}

/// Gives the answer its trace id; a refusal gets its body here, because the id is part of it.
pub(super) fn trace(response: Response, trace: InteractionId) -> Response {
    let trace = trace.to_string();
    let mut traced = match response.extensions().get::<Refusal>() {
        None => response,
        Some(refusal) => {
            let mut body = Map::new();
            body.insert("code".into(), refusal.code.into());
            body.insert("message".into(), refusal.message.as_str().into());
            body.insert("traceId".into(), trace.as_str().into());
            if !refusal.details.is_empty() {
                let details = refusal.details.iter().map(|(field, issue)| json!({ "field": field, "issue": issue }));
                body.insert("details".into(), details.collect());
            }
            // axum has put the allowed methods into the answer to a wrong one.
            let allow = response.headers().get(http::header::ALLOW).cloned();
            let mut refused = (refusal.status, Json(Value::Object(body))).into_response();
            allow.map(|allow| refused.headers_mut().insert(http::header::ALLOW, allow));
            refused
        }
    };
    if let Ok(value) = HeaderValue::from_str(&trace) {
        traced.headers_mut().insert("x-trace-id", value);
    }
    traced
}

fn money(minor_units: i64) -> Value {
    json!({ "amount": two_decimals(minor_units), "currency": "GBP" })
}

pub(super) fn quote(quote: &Quote, now: Timestamp) -> Value {
    let factors: Vec<_> =
        quote.price.factors.iter().map(|factor| json!({ "name": factor.name, "percent": factor.percent })).collect();
    json!({
        "quoteId": quote.id,
        "line": quote.line.as_str(),
        "status": quote.status(now),
        "annualPremium": money(quote.price.annual_minor),
        "monthlyPremium": money(monthly(quote.price.annual_minor)),
        "sumInsured": money(quote.price.sum_insured_minor),
        "excess": money(quote.price.excess_minor),
        "startDate": date(quote.start),
        "validUntil": date_time(quote.valid_until()),
        "createdAt": date_time(quote.created),
        "factors": factors,
    })
}

/// A twelfth, rounded up to the penny, so that twelve of them are never short.
const fn monthly(annual_minor: i64) -> i64 {
    (annual_minor + 11).div_euclid(12)
}

pub(super) fn policy(policy: &Policy, now: Timestamp) -> Value {
    let premium = if policy.monthly { monthly(policy.price.annual_minor) } else { policy.price.annual_minor };
    json!({
        "policyId": policy.id,
        "quoteId": policy.quote_id,
        "line": policy.line.as_str(),
        "status": policy.status(now).as_str(),
        "holder": policy.holder,
        "premium": money(premium),
        "paymentFrequency": if policy.monthly { "monthly" } else { "annual" },
        "sumInsured": money(policy.price.sum_insured_minor),
        "excess": money(policy.price.excess_minor),
        "startDate": date(policy.start),
        "endDate": date(policy.end().minus(std::time::Duration::from_hours(24))),
        "cancelledOn": policy.cancelled.map(date),
    })
}

pub(super) fn claim(claim: &Claim, now: Timestamp) -> Value {
    let history: Vec<_> = claim
        .history(now)
        .into_iter()
        .map(|(status, at)| json!({ "status": status.as_str(), "at": date_time(at) }))
        .collect();
    let status = claim.status(now);
    let paid = matches!(status, ClaimStatus::Approved | ClaimStatus::Settled);
    json!({
        "claimId": claim.id,
        "policyId": claim.policy_id,
        "status": status.as_str(),
        "incident": claim.incident,
        "claimed": money(claim.claimed_minor),
        "settlement": claim.settlement_minor.filter(|_| paid).map(money),
        "notifiedAt": date_time(claim.notified),
        "history": history,
    })
}
