//! The fintech over HTTP, with tokens of its own.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::FintechClient;
use crate::sandbox::testing::{HandClock, assert_conforms, client, world};
use crate::sandbox::{FINTECH_DOCUMENT, Institution, Running, SandboxSettings, start};

struct Scene {
    fintech: Running,
    http: reqwest::Client,
    clock: Arc<HandClock>,
    token: String,
}

impl Scene {
    async fn new() -> Self {
        let (world, clock) = world();
        let oauth = FintechClient {
            client_id: "gateway".into(),
            client_secret: "a secret".into(),
            token_life: Duration::from_mins(5),
        };
        let fintech = start(SandboxSettings::plain(Institution::fintech(world, &oauth))).await.unwrap();
        let mut scene = Self { fintech, http: client(None).build().unwrap(), clock, token: String::new() };
        scene.token = scene.fetch_token("").await;
        scene
    }

    async fn fetch_token(&self, scope: &str) -> String {
        let body = format!("grant_type=client_credentials&scope={scope}");
        let request =
            self.http.post(format!("{}/oauth/token", self.fintech.url())).basic_auth("gateway", Some("a%20secret"));
        let response = request.body(body).send().await.unwrap();
        assert_eq!(response.headers()["cache-control"], "no-store");
        let body: Value = response.json().await.unwrap();
        assert_eq!((&body["token_type"], &body["expires_in"]), (&json!("Bearer"), &json!(300)));
        body["access_token"].as_str().unwrap().to_owned()
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}/fintech/v1{path}", self.fintech.url())).bearer_auth(&self.token)
    }

    async fn read(&self, path: &str) -> (StatusCode, Value) {
        answer(self.request(Method::GET, path)).await
    }

    async fn post(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        answer(self.request(Method::POST, path).header("idempotency-key", "key-00000001").json(body)).await
    }
}

async fn answer(request: reqwest::RequestBuilder) -> (StatusCode, Value) {
    let response = request.send().await.unwrap();
    assert_eq!(response.headers()["x-request-id"].len(), 36);
    (response.status(), response.json().await.unwrap())
}

fn transfer() -> Value {
    json!({ "to_wallet_id": "wal_2002", "amount": { "value": "12.50", "currency": "GBP" }, "note": "Pizza" })
}

#[track_caller]
fn assert_error(found: &(StatusCode, Value), status: StatusCode, kind: &str) {
    assert!(found.0 == status && found.1["error"]["type"] == kind, "{} {:#}", found.0, found.1);
}

#[tokio::test]
async fn money_moves_between_wallets_once() {
    let scene = Scene::new().await;
    let (_, before) = scene.read("/wallets/wal_2001/balance").await;
    assert_conforms(FINTECH_DOCUMENT, "Balance", &before);
    let (status, made) = scene.post("/wallets/wal_2001/transfers", &transfer()).await;
    assert_eq!(status, StatusCode::CREATED);
    assert_conforms(FINTECH_DOCUMENT, "Transfer", &made);
    let (status, again) = scene.post("/wallets/wal_2001/transfers", &transfer()).await;
    assert_eq!((status, &again), (StatusCode::CREATED, &made));
    let (_, after) = scene.read("/wallets/wal_2001/balance").await;
    let pence =
        |balance: &Value| balance["available"]["value"].as_str().unwrap().replace('.', "").parse::<i64>().unwrap();
    assert_eq!(pence(&before) - pence(&after), 1250);
    let (_, list) = scene.read("/wallets/wal_2002/transfers").await;
    assert_eq!(list, json!({ "items": [made], "total": 1 }));
    let reused = scene.post("/wallets/wal_2003/transfers", &transfer()).await;
    assert_error(&reused, StatusCode::CONFLICT, "conflict");
}

#[tokio::test]
async fn an_idempotency_key_is_its_callers_own() {
    let scene = Scene::new().await;
    let send = async |caller: &str, wallet: &str| {
        let request = scene.request(Method::POST, &format!("/wallets/{wallet}/transfers"));
        let request = request.header("idempotency-key", "key-00000001").header("x-clearway-caller", caller);
        let (status, body) = answer(request.json(&transfer())).await;
        (status.as_u16(), body)
    };
    let first = send("abc", "wal_2001").await;
    assert_eq!(first.0, 201);
    assert_eq!(send("abc", "wal_2001").await, first);
    assert_eq!(send("abc", "wal_2003").await.0, 409);
    let other = send("xyz", "wal_2003").await;
    assert_eq!(other.0, 201, "another caller's key is another");
    assert_ne!(other.1, first.1);
}

#[tokio::test]
async fn a_loan_from_score_to_wallet() {
    let scene = Scene::new().await;
    let (_, score) = scene.read("/customers/cus_1001/credit-score?consent_reference=consent-1").await;
    assert_eq!((&score["score"], &score["band"]), (&json!(742), &json!("good")));
    let asked = |customer: &str| json!({ "customer_id": customer, "amount": { "value": "2500.00", "currency": "GBP" }, "term_months": 24 });
    let (status, offer) = scene.post("/lending/offers", &asked("cus_1001")).await;
    assert_eq!((status, &offer["status"]), (StatusCode::CREATED, &json!("open")));
    let (_, refused) = scene.post("/lending/offers", &asked("cus_1004")).await;
    assert_eq!(refused["reasons"], json!(["score_too_low"]));
    assert_conforms(FINTECH_DOCUMENT, "Refusal", &refused);
    let acceptance = json!({ "wallet_id": "wal_2001", "terms_accepted": true });
    let path = format!("/lending/offers/{}/acceptance", offer["offer_id"].as_str().unwrap());
    let (status, accepted) = scene.post(&path, &acceptance).await;
    assert_eq!((status, &accepted["status"]), (StatusCode::OK, &json!("accepted")));
    assert_conforms(FINTECH_DOCUMENT, "Offer", &accepted);
    assert_error(&scene.post(&path, &acceptance).await, StatusCode::CONFLICT, "conflict");
    let (_, list) = scene.read("/lending/offers?customer_id=cus_1001").await;
    assert_eq!(list["items"], json!([accepted]));
}

#[tokio::test]
async fn lists_come_in_pages() {
    let scene = Scene::new().await;
    let (_, first) = scene.read("/wallets").await;
    let (_, second) = scene.read("/wallets?offset=10").await;
    let count = |page: &Value| page["items"].as_array().unwrap().len();
    assert_eq!((count(&first), count(&second), &first["total"]), (10, 6, &json!(16)));
    let (_, own) = scene.read("/wallets?customer_id=cus_1003").await;
    assert_eq!(count(&own), 2);
}

#[tokio::test]
async fn refusals_have_the_fintechs_own_shape() {
    let scene = Scene::new().await;
    let mut much = transfer();
    much["amount"]["value"] = json!("999999.00");
    for (name, path, body, status, kind) in [
        ("no such wallet", "/wallets/wal_9999/transfers", transfer(), 404, "not_found"),
        ("too much", "/wallets/wal_2001/transfers", much, 422, "insufficient_funds"),
        ("no amount", "/wallets/wal_2001/transfers", json!({ "to_wallet_id": "wal_2002" }), 400, "invalid_request"),
        (
            "terms not accepted",
            "/lending/offers/off_00000001/acceptance",
            json!({ "wallet_id": "wal_2001", "terms_accepted": false }),
            400,
            "invalid_request",
        ),
        (
            "no such offer",
            "/lending/offers/off_99999999/acceptance",
            json!({ "wallet_id": "wal_2001", "terms_accepted": true }),
            404,
            "not_found",
        ),
    ] {
        let found = scene.post(path, &body).await;
        assert!(found.1["error"]["message"].is_string(), "{name}");
        assert_error(&found, StatusCode::from_u16(status).unwrap(), kind);
    }
    let no_key = answer(scene.request(Method::POST, "/wallets/wal_2001/transfers").json(&transfer())).await;
    assert_error(&no_key, StatusCode::BAD_REQUEST, "invalid_request");
    assert_error(&scene.read("/customers/cus_1001/credit-score").await, StatusCode::BAD_REQUEST, "invalid_request");
    assert_error(&scene.read("/pets").await, StatusCode::NOT_FOUND, "not_found");
    let deleted = answer(scene.request(Method::DELETE, "/wallets")).await;
    assert_error(&deleted, StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed");
}

#[tokio::test]
async fn tokens_open_their_scopes_and_end() {
    let mut scene = Scene::new().await;
    let challenge = |response: &reqwest::Response| response.headers()["www-authenticate"].to_str().unwrap().to_owned();
    let bare = scene.http.get(format!("{}/fintech/v1/wallets", scene.fintech.url())).send().await.unwrap();
    assert_eq!((bare.status(), challenge(&bare).as_str()), (StatusCode::UNAUTHORIZED, "Bearer"));

    scene.token = scene.fetch_token("credit:read").await;
    let narrow = scene.request(Method::GET, "/wallets").send().await.unwrap();
    assert_eq!(narrow.status(), StatusCode::FORBIDDEN);
    assert!(challenge(&narrow).contains("scope=\"wallet:read\""));
    let path = "/customers/cus_1001/credit-score?consent_reference=consent-1";
    assert_eq!(scene.read(path).await.0, StatusCode::OK);

    scene.clock.advance(Duration::from_mins(5));
    assert_error(&scene.read(path).await, StatusCode::UNAUTHORIZED, "unauthenticated");
    scene.token = scene.fetch_token("").await;
    assert_eq!(scene.read(path).await.0, StatusCode::OK);
    scene.http.delete(format!("{}/oauth/token", scene.fintech.url())).send().await.unwrap();
    assert_error(&scene.read(path).await, StatusCode::UNAUTHORIZED, "unauthenticated");
}
