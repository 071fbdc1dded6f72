//! The sandbox insurer: quotes, policies and claims. `openapi/insurer.yaml` is its published document; request bodies are
//! checked against it. It wants an API key of the gateway besides the client certificate.

mod answer;
mod book;
mod price;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{Path, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, Uri, header};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use subtle::ConstantTimeEq;

use super::form::{Document, Form};
use super::query::Query;
use super::{INSURER_DOCUMENT, World, sha256};
use crate::domain::{InteractionId, Timestamp};
use answer::Refusal;
use book::{Book, Line};

const BASE: &str = "/insurance/v1";
/// The field that carries the gateway's API key.
pub(super) const API_KEY_HEADER: &str = "x-api-key";
const PAGE_SIZE: usize = 20;
const PAGE_SIZE_MAX: usize = 100;

struct Insurer {
    world: World,
    key_digest: [u8; 32],
    book: Mutex<Book>,
    motor: Form,
    home: Form,
    policy: Form,
    cancellation: Form,
    claim: Form,
}

type Branch = State<Arc<Insurer>>;
type Answer = Result<Response, Refusal>;

pub(super) fn router(world: World, api_key: &SecretString) -> Router {
    let document = Document::embedded(INSURER_DOCUMENT);
    let insurer = Arc::new(Insurer {
        book: Mutex::new(Book::seeded(world.seed, world.clock.now())),
        key_digest: sha256(api_key.expose_secret().as_bytes()),
        motor: document.form("MotorQuoteRequest"),
        home: document.form("HomeQuoteRequest"),
        policy: document.form("PolicyRequest"),
        cancellation: document.form("CancellationRequest"),
        claim: document.form("ClaimRequest"),
        world,
    });
    let at = |path: &str| format!("{BASE}{path}");
    Router::new()
        .route(&at("/quotes/motor"), post(create_motor_quote))
        .route(&at("/quotes/home"), post(create_home_quote))
        .route(&at("/quotes/{id}"), get(read_quote))
        .route(&at("/policies"), get(list_policies).post(create_policy))
        .route(&at("/policies/{id}"), get(read_policy))
        .route(&at("/policies/{id}/cancellation"), post(cancel_policy))
        .route(&at("/claims"), get(list_claims).post(create_claim))
        .route(&at("/claims/{id}"), get(read_claim))
        .route(&at("/claims/{id}/withdrawal"), post(withdraw_claim))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(no_such_address)
        .layer(middleware::from_fn_with_state(insurer.clone(), keep_house_rules))
        .with_state(insurer)
}

/// What holds for every operation: the key is ours, bodies are JSON, errors carry a trace id.
async fn keep_house_rules(State(insurer): Branch, request: Request, next: Next) -> Response {
    let given = request.headers().get(API_KEY_HEADER).map(HeaderValue::as_bytes).unwrap_or_default();
    let known = bool::from(sha256(given).ct_eq(&insurer.key_digest));
    let response = if !known {
        Refusal::new(StatusCode::UNAUTHORIZED, "UNAUTHORISED", "The API key is missing or not known.").into_response()
    } else if has_other_body(&request) {
        let code = "UNSUPPORTED_MEDIA_TYPE";
        Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, code, "The body must be application/json.").into_response()
    } else {
        next.run(request).await
    };
    answer::trace(response, InteractionId::from_random(insurer.world.random.bytes()))
}

fn has_other_body(request: &Request) -> bool {
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = content_type.map(|text| text.split(';').next().unwrap_or_default().trim());
    request.method() == Method::POST && essence.is_some_and(|essence| !essence.eq_ignore_ascii_case("application/json"))
}

async fn no_such_address() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "NOT_FOUND", "There is no such address.")
}

async fn method_not_allowed() -> Refusal {
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", "The address does not know this method.")
}

impl Insurer {
    fn now(&self) -> Timestamp {
        self.world.clock.now()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn created(location: &str, body: Value) -> Response {
    let mut response = (StatusCode::CREATED, Json(body)).into_response();
    if let Ok(location) = HeaderValue::from_str(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

async fn create_motor_quote(State(insurer): Branch, body: Bytes) -> Answer {
    let asked = insurer.motor.read(&body)?;
    let price = price::motor(&asked, insurer.now())?;
    create_quote(&insurer, Line::Motor, &asked, price)
}

async fn create_home_quote(State(insurer): Branch, body: Bytes) -> Answer {
    let asked = insurer.home.read(&body)?;
    let price = price::home(&asked)?;
    create_quote(&insurer, Line::Home, &asked, price)
}

fn create_quote(insurer: &Insurer, line: Line, asked: &Value, price: price::Price) -> Answer {
    let now = insurer.now();
    let start = book::start_date(asked, now);
    let start = start.ok_or_else(|| Refusal::field("/startDate", "The date lies in the past."))?;
    let quote = insurer.book().add_quote(line, price, start, now);
    Ok(created(&format!("{BASE}/quotes/{}", quote.id), answer::quote(&quote, now)))
}

async fn read_quote(State(insurer): Branch, Path(id): Path<String>) -> Answer {
    let body = answer::quote(insurer.book().quote(&id)?, insurer.now());
    Ok(Json(body).into_response())
}

async fn create_policy(State(insurer): Branch, body: Bytes) -> Answer {
    let asked = insurer.policy.read(&body)?;
    let quote_id = asked.get("quoteId").and_then(Value::as_str).unwrap_or_default();
    let holder = asked.get("holder").cloned().unwrap_or_default();
    let monthly = asked.get("paymentFrequency").is_some_and(|frequency| frequency == "monthly");
    let now = insurer.now();
    let policy = insurer.book().accept(quote_id, holder, monthly, now)?;
    Ok(created(&format!("{BASE}/policies/{}", policy.id), answer::policy(&policy, now)))
}

async fn read_policy(State(insurer): Branch, Path(id): Path<String>) -> Answer {
    let body = answer::policy(insurer.book().policy(&id)?, insurer.now());
    Ok(Json(body).into_response())
}

async fn cancel_policy(State(insurer): Branch, Path(id): Path<String>, body: Bytes) -> Answer {
    insurer.cancellation.read(&body)?;
    let now = insurer.now();
    let policy = insurer.book().cancel(&id, now)?;
    Ok(Json(answer::policy(&policy, now)).into_response())
}

async fn list_policies(State(insurer): Branch, uri: Uri) -> Answer {
    let query = Query::parse(uri.query());
    let limit = limit(&query)?;
    let status = one_of(&query, "status", &["active", "cancelled", "expired"])?;
    let line = one_of(&query, "line", &["motor", "home"])?;
    let now = insurer.now();
    let book = insurer.book();
    let found = book.policies(query.first("cursor")).filter(|policy| {
        status.is_none_or(|status| policy.status(now).as_str() == status)
            && line.is_none_or(|line| policy.line.as_str() == line)
    });
    let found: Vec<_> = found.take(limit + 1).collect();
    let next = (found.len() > limit).then(|| found.get(limit - 1).map(|policy| policy.id.clone())).flatten();
    let items: Vec<_> = found.into_iter().take(limit).map(|policy| answer::policy(policy, now)).collect();
    Ok(Json(json!({ "items": items, "next": next })).into_response())
}

async fn create_claim(State(insurer): Branch, body: Bytes) -> Answer {
    let asked = insurer.claim.read(&body)?;
    let now = insurer.now();
    let occurred = asked.pointer("/incident/occurredOn").and_then(Value::as_str).and_then(super::text::parse_date);
    if occurred.is_none_or(|occurred| occurred > now) {
        return Err(Refusal::field("/incident/occurredOn", "The date lies in the future."));
    }
    let claim = insurer.book().notify(&asked, now)?;
    Ok(created(&format!("{BASE}/claims/{}", claim.id), answer::claim(&claim, now)))
}

async fn read_claim(State(insurer): Branch, Path(id): Path<String>) -> Answer {
    let body = answer::claim(insurer.book().claim(&id)?, insurer.now());
    Ok(Json(body).into_response())
}

async fn withdraw_claim(State(insurer): Branch, Path(id): Path<String>) -> Answer {
    let now = insurer.now();
    let claim = insurer.book().withdraw(&id, now)?;
    Ok(Json(answer::claim(&claim, now)).into_response())
}

async fn list_claims(State(insurer): Branch, uri: Uri) -> Answer {
    const STATUSES: [&str; 6] = ["notified", "assessing", "approved", "declined", "settled", "withdrawn"];
    let query = Query::parse(uri.query());
    let limit = limit(&query)?;
    let statuses: Option<Vec<&str>> = query.first("status").map(|text| text.split(',').collect());
    if statuses.iter().flatten().any(|status| !STATUSES.contains(status)) {
        return Err(Refusal::field("status", "The value is not a status."));
    }
    let policy_id = query.first("policyId");
    let now = insurer.now();
    let book = insurer.book();
    let found = book.claims(query.first("cursor")).filter(|claim| {
        statuses.as_ref().is_none_or(|statuses| statuses.contains(&claim.status(now).as_str()))
            && policy_id.is_none_or(|id| claim.policy_id == id)
    });
    let found: Vec<_> = found.take(limit + 1).collect();
    let next = (found.len() > limit).then(|| found.get(limit - 1).map(|claim| claim.id.clone())).flatten();
    let items: Vec<_> = found.into_iter().take(limit).map(|claim| answer::claim(claim, now)).collect();
    Ok(Json(json!({ "items": items, "next": next })).into_response())
}

fn limit(query: &Query) -> Result<usize, Refusal> {
    let Some(text) = query.first("limit") else { return Ok(PAGE_SIZE) };
    let given = text.parse().ok().filter(|given| (1..=PAGE_SIZE_MAX).contains(given));
    given.ok_or_else(|| Refusal::field("limit", "The value must lie between 1 and 100."))
}

fn one_of<'q>(query: &'q Query, name: &str, known: &[&str]) -> Result<Option<&'q str>, Refusal> {
    match query.first(name) {
        Some(given) if !known.contains(&given) => Err(Refusal::field(name, "The value is not known.")),
        given => Ok(given),
    }
}

#[cfg(test)]
mod tests;
