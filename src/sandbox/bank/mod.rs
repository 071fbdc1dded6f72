//! The sandbox bank: accounts, balances, transactions, consents and domestic payments in the style of the UK
//! Read/Write API v4.0. `openapi/bank.yaml` is its published document; request bodies are checked against it.

mod answer;
mod desk;
mod ledger;
mod seed;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{Path, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use serde_json::{Value, json};

use super::form::{Document, Form};
use super::query::Query;
use super::text::{date_time, parse_zoneless};
use super::{BANK_DOCUMENT, World};
use crate::domain::{InteractionId, Timestamp};
use answer::{Address, BankError, Page, Refusal};
use desk::{Desk, Key};
use ledger::Ledger;

const BASE: &str = "/open-banking/v4.0";
const INTERACTION_ID: HeaderName = HeaderName::from_static("x-fapi-interaction-id");
/// UK Read/Write API, headers: an idempotency key has at most 40 characters.
const KEY_CHARS_MAX: usize = 40;
const PAGE_SIZE: usize = 25;
const PAGE_SIZE_MAX: usize = 1000;

struct Bank {
    world: World,
    ledger: Mutex<Ledger>,
    desk: Mutex<Desk>,
    account_consent: Form,
    payment_consent: Form,
    payment: Form,
}

type Branch = State<Arc<Bank>>;
type Answer = Result<Response, Refusal>;

pub(super) fn router(world: World) -> Router {
    let document = Document::embedded(BANK_DOCUMENT);
    let bank = Arc::new(Bank {
        ledger: Mutex::new(Ledger::seeded(world.seed, world.clock.now())),
        desk: Mutex::new(Desk::default()),
        account_consent: document.form("AccountAccessConsentRequest"),
        payment_consent: document.form("DomesticPaymentConsentRequest"),
        payment: document.form("DomesticPaymentRequest"),
        world,
    });
    // Not nested: a nested router would not see the whole path, and links need it.
    let at = |path: &str| format!("{BASE}{path}");
    Router::new()
        .route(&at("/aisp/account-access-consents"), post(create_account_consent))
        .route(&at("/aisp/account-access-consents/{id}"), get(read_account_consent).delete(delete_account_consent))
        .route(&at("/aisp/accounts"), get(list_accounts))
        .route(&at("/aisp/accounts/{id}"), get(read_account))
        .route(&at("/aisp/accounts/{id}/balances"), get(read_account_balances))
        .route(&at("/aisp/accounts/{id}/transactions"), get(list_transactions))
        .route(&at("/aisp/balances"), get(list_balances))
        .route(&at("/pisp/domestic-payment-consents"), post(create_payment_consent))
        .route(&at("/pisp/domestic-payment-consents/{id}"), get(read_payment_consent))
        .route(&at("/pisp/domestic-payment-consents/{id}/funds-confirmation"), get(confirm_funds))
        .route(&at("/pisp/domestic-payments"), post(create_payment))
        .route(&at("/pisp/domestic-payments/{id}"), get(read_payment))
        .route(&at("/pisp/domestic-payments/{id}/payment-details"), get(read_payment_details))
        .fallback(no_such_address)
        .layer(middleware::from_fn_with_state(bank.clone(), keep_house_rules))
        .with_state(bank)
}

/// What holds for every operation: the interaction id comes back, JSON is asked for, bodies are JSON.
async fn keep_house_rules(State(bank): Branch, request: Request, next: Next) -> Response {
    let given = request.headers().get(&INTERACTION_ID);
    let parsed = given.and_then(|id| id.to_str().ok()).and_then(InteractionId::parse);
    let interaction = parsed.unwrap_or_else(|| InteractionId::from_random(bank.world.random.bytes()));
    let response = if given.is_some() && parsed.is_none() {
        Refusal::one(StatusCode::BAD_REQUEST, "U006", "The header must be a UUID.", "x-fapi-interaction-id")
            .into_response()
    } else if !accepts_json(request.headers()) {
        Refusal::one(StatusCode::NOT_ACCEPTABLE, "U006", "Only application/json can be had.", "Accept").into_response()
    } else if request.method() == http::Method::POST && !answer::is_json(request.headers()) {
        let message = "The body must be application/json.";
        Refusal::one(StatusCode::UNSUPPORTED_MEDIA_TYPE, "U006", message, "Content-Type").into_response()
    } else {
        next.run(request).await
    };
    sign(response, interaction)
}

fn sign(mut response: Response, interaction: InteractionId) -> Response {
    if let Ok(value) = HeaderValue::from_str(&interaction.to_string()) {
        response.headers_mut().insert(INTERACTION_ID, value);
    }
    response
}

fn accepts_json(headers: &HeaderMap) -> bool {
    let Some(accept) = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()) else { return true };
    accept.split(',').any(|range| {
        let essence = range.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        matches!(essence.as_str(), "*/*" | "application/*" | "application/json")
    })
}

async fn no_such_address() -> Refusal {
    Refusal::one(StatusCode::NOT_FOUND, "U011", "There is no such address.", "")
}

impl Bank {
    fn now(&self) -> Timestamp {
        self.world.clock.now()
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn address(&self, uri: &Uri, headers: &HeaderMap) -> Address {
        let filters =
            uri.query().unwrap_or_default().split('&').filter(|pair| !pair.starts_with("page=") && !pair.is_empty());
        Address {
            origin: self.world.origin(uri, headers),
            path: uri.path().to_owned(),
            filters: filters.collect::<Vec<_>>().join("&"),
        }
    }

    /// The address of a resource below the collection that a POST went to.
    fn link(&self, uri: &Uri, headers: &HeaderMap, id: &str) -> String {
        format!("{}/{id}", self.address(uri, headers).itself())
    }
}

fn read(form: &Form, body: &[u8]) -> Result<Value, Refusal> {
    form.read(body).map_err(|found| Refusal::bad_request(found.into_iter().map(BankError::from).collect()))
}

fn paging(query: &Query) -> Result<(usize, usize), Refusal> {
    let number = |name: &str, otherwise: usize, low: usize, high: usize| {
        let Some(text) = query.first(name) else { return Ok(otherwise) };
        let given = text.parse().ok().filter(|given| (low..=high).contains(given));
        given.ok_or_else(|| BankError::new("U002", &format!("The value must lie between {low} and {high}."), name))
    };
    Ok((number("page", 1, 1, 100_000)?, number("page-size", PAGE_SIZE, PAGE_SIZE, PAGE_SIZE_MAX)?))
}

fn page_of(whole: Vec<Value>, query: &Query) -> Result<Page<Value>, Refusal> {
    let (number, size) = paging(query)?;
    Page::cut(whole, number, size).ok_or_else(|| BankError::new("U002", "There is no such page.", "page").into())
}

fn no_account() -> Refusal {
    BankError::new("U011", "There is no account with this id.", "AccountId").into()
}

fn idempotency_key(headers: &HeaderMap, body: &[u8]) -> Result<Key, Refusal> {
    let name = "x-idempotency-key";
    let Some(value) = headers.get(name) else {
        return Err(BankError::new("U007", "The header is missing.", name).into());
    };
    let text = value.to_str().ok().filter(|text| !text.is_empty() && text.chars().count() <= KEY_CHARS_MAX);
    let text = text.ok_or_else(|| BankError::new("U006", "The key must have 1 to 40 characters.", name))?;
    Ok(Key { text: super::scoped_key(headers, text), digest: super::sha256(body) })
}

async fn list_accounts(State(bank): Branch, uri: Uri, headers: HeaderMap) -> Answer {
    let whole = bank.ledger().accounts().iter().map(answer::account).collect();
    let page = page_of(whole, &Query::parse(uri.query()))?;
    Ok(Json(answer::list("Account", page, &bank.address(&uri, &headers))).into_response())
}

async fn read_account(State(bank): Branch, Path(id): Path<String>, uri: Uri, headers: HeaderMap) -> Answer {
    let account = bank.ledger().account(&id).map(answer::account).ok_or_else(no_account)?;
    let own_link = bank.address(&uri, &headers).itself();
    Ok(Json(answer::one(json!({ "Account": [account] }), None, own_link)).into_response())
}

async fn read_account_balances(State(bank): Branch, Path(id): Path<String>, uri: Uri, headers: HeaderMap) -> Answer {
    let now = bank.now();
    let balances = bank.ledger().account(&id).map(|account| answer::balances(account, now)).ok_or_else(no_account)?;
    let own_link = bank.address(&uri, &headers).itself();
    Ok(Json(answer::one(json!({ "Balance": balances }), None, own_link)).into_response())
}

async fn list_balances(State(bank): Branch, uri: Uri, headers: HeaderMap) -> Answer {
    let now = bank.now();
    let whole = bank.ledger().accounts().iter().flat_map(|account| answer::balances(account, now)).collect();
    let page = page_of(whole, &Query::parse(uri.query()))?;
    Ok(Json(answer::list("Balance", page, &bank.address(&uri, &headers))).into_response())
}

async fn list_transactions(State(bank): Branch, Path(id): Path<String>, uri: Uri, headers: HeaderMap) -> Answer {
    let query = Query::parse(uri.query());
    let (from, to) = (filter(&query, "fromBookingDateTime")?, filter(&query, "toBookingDateTime")?);
    let whole = {
        let ledger = bank.ledger();
        let account = ledger.account(&id).ok_or_else(no_account)?;
        account.transactions_between(from, to).into_iter().map(|t| answer::transaction(account, t)).collect()
    };
    let page = page_of(whole, &query)?;
    Ok(Json(answer::list("Transaction", page, &bank.address(&uri, &headers))).into_response())
}

fn filter(query: &Query, name: &str) -> Result<Option<Timestamp>, Refusal> {
    let Some(text) = query.first(name) else { return Ok(None) };
    let at = parse_zoneless(text);
    at.map(Some).ok_or_else(|| BankError::new("U003", "The value is not a date and time of ISO 8601.", name).into())
}

async fn create_account_consent(State(bank): Branch, uri: Uri, headers: HeaderMap, body: Bytes) -> Answer {
    let asked = read(&bank.account_consent, &body)?;
    check_permissions(&asked)?;
    let consent = bank.desk().ask_account_access(asked, bank.now());
    let own_link = bank.link(&uri, &headers, &consent.id);
    let body = answer::one(answer::consent(&consent), Some(json!({})), own_link);
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

/// What the schema cannot say: transactions need a level and a direction (UK Read/Write API, permissions).
fn check_permissions(asked: &Value) -> Result<(), Refusal> {
    let permissions = asked.pointer("/Data/Permissions").and_then(Value::as_array).cloned().unwrap_or_default();
    let has = |names: [&str; 2]| permissions.iter().any(|permission| names.iter().any(|name| permission == name));
    let level = has(["ReadTransactionsBasic", "ReadTransactionsDetail"]);
    let direction = has(["ReadTransactionsCredits", "ReadTransactionsDebits"]);
    if level == direction {
        return Ok(());
    }
    let missing = if level { "Credits or Debits" } else { "Basic or Detail" };
    let message = format!("The permissions for transactions lack {missing}.");
    Err(BankError::new("U002", &message, "Data.Permissions").into())
}

async fn read_account_consent(State(bank): Branch, Path(id): Path<String>, uri: Uri, headers: HeaderMap) -> Answer {
    let data = answer::consent(bank.desk().account_consent(&id)?);
    let own_link = bank.address(&uri, &headers).itself();
    Ok(Json(answer::one(data, Some(json!({})), own_link)).into_response())
}

async fn delete_account_consent(State(bank): Branch, Path(id): Path<String>) -> Answer {
    bank.desk().delete_account_consent(&id)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn create_payment_consent(State(bank): Branch, uri: Uri, headers: HeaderMap, body: Bytes) -> Answer {
    let key = idempotency_key(&headers, &body)?;
    let asked = read(&bank.payment_consent, &body)?;
    let consent = bank.desk().ask_payment(asked, &key, bank.now())?;
    let own_link = bank.link(&uri, &headers, &consent.id);
    let body = answer::one(answer::consent(&consent), consent.asked.get("Risk").cloned(), own_link);
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

async fn read_payment_consent(State(bank): Branch, Path(id): Path<String>, uri: Uri, headers: HeaderMap) -> Answer {
    let consent = bank.desk().payment_consent(&id)?.clone();
    let own_link = bank.address(&uri, &headers).itself();
    let risk = consent.asked.get("Risk").cloned();
    Ok(Json(answer::one(answer::consent(&consent), risk, own_link)).into_response())
}

async fn confirm_funds(State(bank): Branch, Path(id): Path<String>, uri: Uri, headers: HeaderMap) -> Answer {
    let available = bank.desk().funds_available(&id, &bank.ledger())?;
    let result = json!({ "FundsAvailableDateTime": date_time(bank.now()), "FundsAvailable": available });
    let own_link = bank.address(&uri, &headers).itself();
    Ok(Json(answer::one(json!({ "FundsAvailableResult": result }), None, own_link)).into_response())
}

async fn create_payment(State(bank): Branch, uri: Uri, headers: HeaderMap, body: Bytes) -> Answer {
    let key = idempotency_key(&headers, &body)?;
    let asked = read(&bank.payment, &body)?;
    let now = bank.now();
    let payment = bank.desk().pay(&asked, &key, &mut bank.ledger(), now)?;
    let own_link = bank.link(&uri, &headers, &payment.id);
    let body = answer::one(answer::payment(&payment, now), None, own_link);
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

async fn read_payment(State(bank): Branch, Path(id): Path<String>, uri: Uri, headers: HeaderMap) -> Answer {
    let data = answer::payment(bank.desk().payment(&id)?, bank.now());
    Ok(Json(answer::one(data, None, bank.address(&uri, &headers).itself())).into_response())
}

async fn read_payment_details(State(bank): Branch, Path(id): Path<String>, uri: Uri, headers: HeaderMap) -> Answer {
    let data = answer::payment_details(bank.desk().payment(&id)?, bank.now());
    Ok(Json(answer::one(data, None, bank.address(&uri, &headers).itself())).into_response())
}

#[cfg(test)]
mod tests;
