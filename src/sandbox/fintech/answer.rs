//! How the fintech writes: its error shape and its resources as JSON.

use axum::Json;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use super::desk::{NoOffer, Offer, Transfer, Wallet};
use super::token::TokenError;
use crate::domain::{InteractionId, Timestamp};
use crate::sandbox::form::Violation;
use crate::sandbox::text::{date_time, two_decimals};

/// A refusal; its request id is added by the layer that makes it.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    status: StatusCode,
    kind: &'static str,
    message: String,
    param: Option<String>,
    challenge: Option<String>,
}

impl Refusal {
    pub fn new(status: StatusCode, kind: &'static str, message: &str) -> Self {
        Self { status, kind, message: message.to_owned(), param: None, challenge: None }
    }

    /// One wrong field or parameter.
    pub fn param(param: &str, message: &str) -> Self {
        let refusal = Self::new(StatusCode::BAD_REQUEST, "invalid_request", message);
        Self { param: Some(param.to_owned()), ..refusal }
    }

    pub fn challenge(self, challenge: &str) -> Self {
        Self { challenge: Some(challenge.to_owned()), ..self }
    }
}

impl From<Vec<Violation>> for Refusal {
    /// This family of APIs tells one mistake at a time.
    fn from(found: Vec<Violation>) -> Self {
        found.into_iter().next().map_or_else(
            || Self::new(StatusCode::BAD_REQUEST, "invalid_request", "The body is not as it should be."),
            |violation| Self::param(&violation.pointer, &violation.message),
        )
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

/// Gives the answer its request id; a refusal gets its body here, because the id is part of it.
pub(super) fn identify(response: Response, id: InteractionId) -> Response {
    let id = id.to_string();
    let mut identified = match response.extensions().get::<Refusal>() {
        None => response,
        Some(refusal) => {
            let body = json!({ "error": {
                "type": refusal.kind,
                "message": refusal.message,
                "param": refusal.param,
                "request_id": id,
            }});
            // axum has put the allowed methods into the answer to a wrong one.
            let allow = response.headers().get(header::ALLOW).cloned();
            let mut refused = (refusal.status, Json(body)).into_response();
            allow.map(|allow| refused.headers_mut().insert(header::ALLOW, allow));
            let challenge = refusal.challenge.as_deref().and_then(|text| HeaderValue::from_str(text).ok());
            challenge.map(|challenge| refused.headers_mut().insert(header::WWW_AUTHENTICATE, challenge));
            refused
        }
    };
    if let Ok(value) = HeaderValue::from_str(&id) {
        identified.headers_mut().insert("x-request-id", value);
    }
    identified
}

/// RFC 6749 §5.2.
pub(super) fn token_error(error: TokenError) -> Response {
    let status = if error == TokenError::InvalidClient { StatusCode::UNAUTHORIZED } else { StatusCode::BAD_REQUEST };
    let mut response = (status, Json(json!({ "error": error.code() }))).into_response();
    if status == StatusCode::UNAUTHORIZED {
        let challenge = HeaderValue::from_static("Basic realm=\"sandbox fintech\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

fn amount(minor_units: i64, currency: &str) -> Value {
    json!({ "value": two_decimals(minor_units), "currency": currency })
}

pub(super) fn wallet(wallet: &Wallet) -> Value {
    json!({
        "wallet_id": wallet.id,
        "customer_id": wallet.customer_id,
        "currency": wallet.currency,
        "status": if wallet.frozen { "frozen" } else { "active" },
        "label": wallet.label,
        "created_at": date_time(wallet.created),
    })
}

pub(super) fn balance(wallet: &Wallet, now: Timestamp) -> Value {
    json!({
        "wallet_id": wallet.id,
        "available": amount(wallet.balance_minor, wallet.currency),
        "as_of": date_time(now),
    })
}

pub(super) fn transfer(transfer: &Transfer) -> Value {
    json!({
        "transfer_id": transfer.id,
        "from_wallet_id": transfer.from,
        "to_wallet_id": transfer.to,
        "amount": amount(transfer.minor_units, transfer.currency),
        "note": transfer.note,
        "status": "completed",
        "created_at": date_time(transfer.created),
    })
}

pub(super) fn score(customer_id: &str, score: i64, reference: &str, now: Timestamp) -> Value {
    let (band, factors) = match score {
        ..400 => ("very_poor", json!([{ "name": "A loan not repaid", "effect": "lowers" }])),
        400..550 => ("poor", json!([{ "name": "Bills paid late", "effect": "lowers" }])),
        550..700 => ("fair", json!([{ "name": "A short history", "effect": "lowers" }])),
        700..850 => ("good", json!([{ "name": "Bills paid on time", "effect": "raises" }])),
        850.. => ("excellent", json!([{ "name": "A long history", "effect": "raises" }])),
    };
    json!({
        "customer_id": customer_id,
        "score": score,
        "band": band,
        "factors": factors,
        "consent_reference": reference,
        "calculated_at": date_time(now),
    })
}

pub(super) fn offer(offer: &Offer, now: Timestamp) -> Value {
    let monthly = offer.monthly_minor();
    json!({
        "decision": "offered",
        "offer_id": offer.id,
        "customer_id": offer.customer_id,
        "status": offer.status(now).as_str(),
        "amount": amount(offer.minor_units, offer.currency),
        "term_months": offer.term_months,
        "apr_percent": format!("{}.{}", offer.apr_tenths / 10, offer.apr_tenths % 10),
        "monthly_payment": amount(monthly, offer.currency),
        "total_repayable": amount(monthly.saturating_mul(offer.term_months), offer.currency),
        "expires_at": date_time(offer.expires()),
        "wallet_id": offer.wallet_id,
    })
}

pub(super) fn no_offer(customer_id: &str, against: &[NoOffer]) -> Value {
    let reasons: Vec<_> = against
        .iter()
        .map(|reason| match reason {
            NoOffer::ScoreTooLow => "score_too_low",
            NoOffer::AmountTooHigh => "amount_too_high",
        })
        .collect();
    json!({ "decision": "refused", "customer_id": customer_id, "reasons": reasons })
}
