//! The sandbox fintech: wallets, credit scores, lending offers. `openapi/fintech.yaml` is its published document; request
//! bodies are checked against it. It wants an OAuth token of its own besides the client certificate.

mod answer;
mod desk;
mod token;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::{MatchedPath, Path, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use secrecy::SecretString;
use serde_json::{Value, json};

use super::form::{Document, Form};
use super::query::Query;
use super::{FINTECH_DOCUMENT, World, sha256};
use crate::domain::{Currency, InteractionId, Money, Timestamp};
use answer::Refusal;
use desk::{Desk, DeskError, Order};
use token::{BearerError, TokenDesk};

const BASE: &str = "/fintech/v1";
const TOKEN_PATH: &str = "/oauth/token";
const PAGE_SIZE: usize = 10;
const PAGE_SIZE_MAX: usize = 50;

/// The gateway as the fintech's OAuth client.
#[derive(Debug, Clone)]
pub struct FintechClient {
    pub client_id: String,
    pub client_secret: SecretString,
    /// How long an access token lives.
    pub token_life: Duration,
}

struct Fintech {
    world: World,
    desk: Mutex<Desk>,
    tokens: Mutex<TokenDesk>,
    transfer: Form,
    offer: Form,
    acceptance: Form,
}

type Branch = State<Arc<Fintech>>;
type Answer = Result<Response, Refusal>;

pub(super) fn router(world: World, client: &FintechClient) -> Router {
    let document = Document::embedded(FINTECH_DOCUMENT);
    let tokens = TokenDesk::new(&client.client_id, &client.client_secret, client.token_life);
    let fintech = Arc::new(Fintech {
        desk: Mutex::new(Desk::seeded(world.seed, world.clock.now())),
        tokens: Mutex::new(tokens),
        transfer: document.form("TransferRequest"),
        offer: document.form("OfferRequest"),
        acceptance: document.form("AcceptanceRequest"),
        world,
    });
    let at = |path: &str| format!("{BASE}{path}");
    Router::new()
        .route(&at("/wallets"), get(list_wallets))
        .route(&at("/wallets/{id}"), get(read_wallet))
        .route(&at("/wallets/{id}/balance"), get(read_balance))
        .route(&at("/wallets/{id}/transfers"), get(list_transfers).post(create_transfer))
        .route(&at("/transfers/{id}"), get(read_transfer))
        .route(&at("/customers/{id}/credit-score"), get(read_score))
        .route(&at("/lending/offers"), get(list_offers).post(create_offer))
        .route(&at("/lending/offers/{id}"), get(read_offer))
        .route(&at("/lending/offers/{id}/acceptance"), post(accept_offer))
        .route_layer(middleware::from_fn_with_state(fintech.clone(), check_token))
        .route(TOKEN_PATH, post(grant_token).delete(forget_tokens))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(no_such_address)
        .layer(middleware::from_fn_with_state(fintech.clone(), name_the_exchange))
        .with_state(fintech)
}

impl Fintech {
    fn now(&self) -> Timestamp {
        self.world.clock.now()
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tokens(&self) -> MutexGuard<'_, TokenDesk> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn name_the_exchange(State(fintech): Branch, request: Request, next: Next) -> Response {
    let id = InteractionId::from_random(fintech.world.random.bytes());
    answer::identify(next.run(request).await, id)
}

/// RFC 6750 §3: 401 without or with a bad token, 403 with one that does not reach.
async fn check_token(State(fintech): Branch, path: MatchedPath, request: Request, next: Next) -> Response {
    let scope = scope_of(request.method(), path.as_str());
    let checked = fintech.tokens().check(request.headers(), scope, fintech.now());
    match checked {
        Ok(()) => next.run(request).await,
        Err(error) => Refusal::from(error).into_response(),
    }
}

fn scope_of(method: &Method, path: &str) -> &'static str {
    let path = path.strip_prefix(BASE).unwrap_or(path);
    match path {
        "/wallets/{id}/transfers" if *method == Method::POST => "wallet:transfer",
        "/customers/{id}/credit-score" => "credit:read",
        "/lending/offers/{id}/acceptance" => "lending:accept",
        _ if path.starts_with("/lending") => "lending:read",
        _ => "wallet:read",
    }
}

async fn no_such_address() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "not_found", "There is no such address.")
}

async fn method_not_allowed() -> Refusal {
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "The address does not know this method.")
}

async fn grant_token(State(fintech): Branch, headers: HeaderMap, body: Bytes) -> Response {
    let mut tokens = fintech.tokens();
    let granted = tokens.grant(&headers, &body, fintech.world.random.as_ref(), fintech.now());
    let life = tokens.token_life.as_secs();
    drop(tokens);
    let mut response = match granted {
        Ok(granted) => Json(json!({
            "access_token": granted.access_token,
            "token_type": "Bearer",
            "expires_in": life,
            "scope": granted.scope,
        }))
        .into_response(),
        Err(error) => answer::token_error(error),
    };
    // RFC 6749 §5.1: what carries a token is not to be stored.
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Not of the standard: ends every token at once, to rehearse a token that dies before its time.
async fn forget_tokens(State(fintech): Branch) -> StatusCode {
    fintech.tokens().forget();
    StatusCode::NO_CONTENT
}

async fn list_wallets(State(fintech): Branch, uri: Uri) -> Answer {
    let query = Query::parse(uri.query());
    let customer_id = query.first("customer_id");
    let desk = fintech.desk();
    let found = desk.wallets().filter(|wallet| customer_id.is_none_or(|id| wallet.customer_id == id));
    page(&query, found.map(answer::wallet).collect())
}

async fn read_wallet(State(fintech): Branch, Path(id): Path<String>) -> Answer {
    Ok(Json(answer::wallet(fintech.desk().wallet(&id)?)).into_response())
}

async fn read_balance(State(fintech): Branch, Path(id): Path<String>) -> Answer {
    Ok(Json(answer::balance(fintech.desk().wallet(&id)?, fintech.now())).into_response())
}

async fn list_transfers(State(fintech): Branch, Path(id): Path<String>, uri: Uri) -> Answer {
    let desk = fintech.desk();
    desk.wallet(&id)?;
    page(&Query::parse(uri.query()), desk.transfers_of(&id).map(answer::transfer).collect())
}

async fn create_transfer(State(fintech): Branch, Path(id): Path<String>, headers: HeaderMap, body: Bytes) -> Answer {
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok()).unwrap_or_default();
    if !(8..=64).contains(&key.len()) {
        return Err(Refusal::param("Idempotency-Key", "The header must have 8 to 64 characters."));
    }
    let asked = fintech.transfer.read(&body)?;
    let text = |pointer: &str| asked.pointer(pointer).and_then(Value::as_str);
    let key = super::scoped_key(&headers, key);
    let digested = [id.as_bytes(), &[0], &body].concat();
    let order = Order {
        from: &id,
        to: text("/to_wallet_id").unwrap_or_default(),
        minor_units: minor_units(&asked),
        currency: text("/amount/currency").unwrap_or_default(),
        note: text("/note"),
        key: &key,
        digest: sha256(&digested),
    };
    let transfer = fintech.desk().transfer(&order, fintech.now())?;
    Ok((StatusCode::CREATED, Json(answer::transfer(&transfer))).into_response())
}

async fn read_transfer(State(fintech): Branch, Path(id): Path<String>) -> Answer {
    Ok(Json(answer::transfer(fintech.desk().read_transfer(&id)?)).into_response())
}

async fn read_score(State(fintech): Branch, Path(id): Path<String>, uri: Uri) -> Answer {
    let query = Query::parse(uri.query());
    let reference = query.first("consent_reference").filter(|reference| (4..=64).contains(&reference.len()));
    let reference = reference
        .ok_or_else(|| Refusal::param("consent_reference", "The parameter is missing or not of 4 to 64 characters."))?;
    let score = fintech.desk().score(&id)?;
    Ok(Json(answer::score(&id, score, reference, fintech.now())).into_response())
}

async fn create_offer(State(fintech): Branch, body: Bytes) -> Answer {
    let asked = fintech.offer.read(&body)?;
    let customer_id = asked.get("customer_id").and_then(Value::as_str).unwrap_or_default();
    let euro = asked.pointer("/amount/currency").is_some_and(|currency| currency == "EUR");
    let currency = if euro { "EUR" } else { "GBP" };
    let term_months = asked.get("term_months").and_then(Value::as_i64).unwrap_or(12);
    let now = fintech.now();
    let decided = fintech.desk().offer(customer_id, minor_units(&asked), currency, term_months, now)?;
    let body = match decided {
        Ok(offer) => answer::offer(&offer, now),
        Err(against) => answer::no_offer(customer_id, &against),
    };
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

async fn list_offers(State(fintech): Branch, uri: Uri) -> Answer {
    let query = Query::parse(uri.query());
    let customer_id =
        query.first("customer_id").ok_or_else(|| Refusal::param("customer_id", "The parameter is missing."))?;
    let (desk, now) = (fintech.desk(), fintech.now());
    desk.score(customer_id)?;
    page(&query, desk.offers_to(customer_id).map(|offer| answer::offer(offer, now)).collect())
}

async fn read_offer(State(fintech): Branch, Path(id): Path<String>) -> Answer {
    Ok(Json(answer::offer(fintech.desk().read_offer(&id)?, fintech.now())).into_response())
}

async fn accept_offer(State(fintech): Branch, Path(id): Path<String>, body: Bytes) -> Answer {
    let asked = fintech.acceptance.read(&body)?;
    let wallet_id = asked.get("wallet_id").and_then(Value::as_str).unwrap_or_default();
    let now = fintech.now();
    let offer = fintech.desk().accept(&id, wallet_id, now)?;
    Ok(Json(answer::offer(&offer, now)).into_response())
}

fn page(query: &Query, whole: Vec<Value>) -> Answer {
    let number = |name: &str, otherwise: usize, high: usize, low: usize| {
        let Some(text) = query.first(name) else { return Ok(otherwise) };
        let given = text.parse().ok().filter(|given| (low..=high).contains(given));
        given.ok_or_else(|| Refusal::param(name, &format!("The value must lie between {low} and {high}.")))
    };
    let (offset, limit) = (number("offset", 0, 100_000, 0)?, number("limit", PAGE_SIZE, PAGE_SIZE_MAX, 1)?);
    let total = whole.len();
    let items: Vec<_> = whole.into_iter().skip(offset).take(limit).collect();
    Ok(Json(json!({ "items": items, "total": total })).into_response())
}

/// The schema has seen to two decimals; both currencies have two.
fn minor_units(asked: &Value) -> i64 {
    let text = asked.pointer("/amount/value").and_then(Value::as_str).unwrap_or_default();
    let pounds = Currency::parse("GBP").and_then(|currency| Money::parse(text, currency));
    pounds.map_or(0, Money::minor_units)
}

impl From<BearerError> for Refusal {
    fn from(error: BearerError) -> Self {
        match error {
            BearerError::Missing => {
                Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", "An access token is needed.").challenge("Bearer")
            }
            BearerError::Unknown => {
                Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", "The access token is not known or has ended.")
                    .challenge("Bearer error=\"invalid_token\"")
            }
            BearerError::Scope(scope) => Self::new(
                StatusCode::FORBIDDEN,
                "insufficient_scope",
                "The access token does not reach this operation.",
            )
            .challenge(&format!("Bearer error=\"insufficient_scope\", scope=\"{scope}\"")),
        }
    }
}

impl From<DeskError> for Refusal {
    fn from(error: DeskError) -> Self {
        let (status, kind) = match error {
            DeskError::NoWallet | DeskError::NoCustomer | DeskError::NoTransfer | DeskError::NoOffer => {
                (StatusCode::NOT_FOUND, "not_found")
            }
            DeskError::NoTarget | DeskError::Nothing | DeskError::Currency | DeskError::OtherCustomer => {
                (StatusCode::BAD_REQUEST, "invalid_request")
            }
            DeskError::Funds => (StatusCode::UNPROCESSABLE_ENTITY, "insufficient_funds"),
            DeskError::Frozen | DeskError::KeyReused | DeskError::Accepted | DeskError::Expired => {
                (StatusCode::CONFLICT, "conflict")
            }
        };
        Self::new(status, kind, &error.to_string())
    }
}

#[cfg(test)]
mod tests;
