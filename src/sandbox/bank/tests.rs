//! The bank over HTTP, each answer held against the published document.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::sandbox::testing::{HandClock, assert_conforms, client, world};
use crate::sandbox::{BANK_DOCUMENT, Institution, Running, SandboxSettings, start};

struct Scene {
    bank: Running,
    http: reqwest::Client,
    clock: std::sync::Arc<HandClock>,
}

impl Scene {
    async fn new() -> Self {
        let (world, clock) = world();
        let bank = start(SandboxSettings::plain(Institution::bank(world))).await.unwrap();
        Self { bank, http: client(None).build().unwrap(), clock }
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}/open-banking/v4.0{path}", self.bank.url()))
    }

    async fn read(&self, path: &str) -> (StatusCode, Value) {
        answer(self.request(Method::GET, path)).await
    }

    async fn post(&self, path: &str, key: &str, body: &Value) -> (StatusCode, Value) {
        answer(self.request(Method::POST, path).header("x-idempotency-key", key).json(body)).await
    }
}

async fn answer(request: reqwest::RequestBuilder) -> (StatusCode, Value) {
    let response = request.send().await.unwrap();
    let status = response.status();
    assert_eq!(response.headers()["x-fapi-interaction-id"].len(), 36, "on errors too");
    let bytes = response.bytes().await.unwrap();
    (status, if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() })
}

fn payment_consent(amount: &str) -> Value {
    json!({
        "Data": { "Initiation": {
            "InstructionIdentification": "RENT-2026-03",
            "InstructedAmount": { "Amount": amount, "Currency": "GBP" },
            "CreditorAccount": {
                "SchemeName": "UK.OBIE.SortCodeAccountNumber", "Identification": "00001012345678", "Name": "Marlow Lettings"
            },
        }},
        "Risk": { "PaymentContextCode": "TransferToThirdParty" },
    })
}

#[track_caller]
fn assert_error(found: &(StatusCode, Value), status: StatusCode, code: &str, path: &str) {
    assert_conforms(BANK_DOCUMENT, "OBErrorResponse", &found.1);
    let errors = found.1["Errors"].as_array().unwrap();
    let told =
        errors.iter().any(|error| error["ErrorCode"] == code && error["Path"].as_str().unwrap_or_default() == path);
    assert!(found.0 == status && told, "{} {:#}", found.0, found.1);
}

#[tokio::test]
async fn accounts_come_in_pages_that_lead_to_each_other() {
    let scene = Scene::new().await;
    let mut path = "/aisp/accounts".to_owned();
    let mut seen = Vec::new();
    for page in 1.. {
        let (status, body) = scene.read(&path).await;
        assert_eq!(status, StatusCode::OK);
        assert_conforms(BANK_DOCUMENT, "AccountsResponse", &body);
        assert_eq!(body["Links"].get("Prev").is_none(), page == 1);
        seen.extend(body["Data"]["Account"].as_array().unwrap().iter().map(|account| account["AccountId"].clone()));
        let Some(next) = body["Links"].get("Next") else { break };
        let (_, rest) = next.as_str().unwrap().split_once("/open-banking/v4.0").unwrap();
        path = rest.to_owned();
    }
    assert_eq!(seen.len(), 36);
    assert_eq!(seen[0], "20001");
    let (_, one) = scene.read("/aisp/accounts/20001").await;
    assert_conforms(BANK_DOCUMENT, "AccountsResponse", &one);
    assert_eq!(one["Data"]["Account"][0]["AccountId"], "20001");
}

#[tokio::test]
async fn transactions_are_filtered_by_day_and_the_filters_stay_in_the_links() {
    let scene = Scene::new().await;
    let path = "/aisp/accounts/20001/transactions";
    let (_, all) = scene.read(path).await;
    assert_conforms(BANK_DOCUMENT, "TransactionsResponse", &all);
    assert_eq!(all["Data"]["Transaction"].as_array().unwrap().len(), 25);
    let next = all["Links"]["Next"].as_str().unwrap();
    assert!(next.ends_with("?page=2"), "{next}");
    let filters = "fromBookingDateTime=2026-01-01T00:00:00&toBookingDateTime=2026-01-31T23:59:59%2B01:00";
    let (_, some) = scene.read(&format!("{path}?{filters}")).await;
    let records = some["Data"]["Transaction"].as_array().unwrap();
    assert!(!records.is_empty());
    assert!(records.iter().all(|record| record["BookingDateTime"].as_str().unwrap().starts_with("2026-01")));
    assert!(some["Links"]["Self"].as_str().unwrap().contains(filters), "{}", some["Links"]["Self"]);
    let (status, none) = scene.read(&format!("{path}?fromBookingDateTime=2030-01-01T00:00:00")).await;
    assert_eq!((status, none["Data"]["Transaction"].as_array().unwrap().len()), (StatusCode::OK, 0), "empty, not 404");
}

#[tokio::test]
async fn balances_of_one_and_of_all() {
    let scene = Scene::new().await;
    for path in ["/aisp/accounts/20001/balances", "/aisp/balances"] {
        let (status, body) = scene.read(path).await;
        assert_eq!(status, StatusCode::OK);
        assert_conforms(BANK_DOCUMENT, "BalancesResponse", &body);
    }
}

#[tokio::test]
async fn what_is_not_there_is_a_400_and_only_an_unknown_address_a_404() {
    let scene = Scene::new().await;
    for (path, status, code, field) in [
        ("/aisp/accounts/99999", 400, "U011", "AccountId"),
        ("/aisp/accounts/99999/balances", 400, "U011", "AccountId"),
        ("/aisp/accounts/99999/transactions", 400, "U011", "AccountId"),
        ("/aisp/account-access-consents/acon-9", 400, "U011", "ConsentId"),
        ("/pisp/domestic-payment-consents/x", 400, "U011", "ConsentId"),
        ("/pisp/domestic-payments/x", 400, "U011", "DomesticPaymentId"),
        ("/aisp/accounts?page=99", 400, "U002", "page"),
        ("/aisp/accounts?page=0", 400, "U002", "page"),
        ("/aisp/accounts?page-size=5", 400, "U002", "page-size"),
        ("/aisp/accounts/20001/transactions?fromBookingDateTime=yesterday", 400, "U003", "fromBookingDateTime"),
        ("/aisp/standing-orders", 404, "U011", ""),
    ] {
        let found = scene.read(path).await;
        assert_error(&found, StatusCode::from_u16(status).unwrap(), code, field);
    }
}

#[tokio::test]
async fn headers_are_checked_and_the_interaction_id_comes_back() {
    let scene = Scene::new().await;
    let id = "93bac548-d2de-4546-b106-880a5018460d";
    let response =
        scene.request(Method::GET, "/aisp/accounts").header("x-fapi-interaction-id", id).send().await.unwrap();
    assert_eq!(response.headers()["x-fapi-interaction-id"], id);
    for (header, value, status, path) in [
        ("x-fapi-interaction-id", "not-a-uuid", StatusCode::BAD_REQUEST, "x-fapi-interaction-id"),
        ("accept", "text/xml", StatusCode::NOT_ACCEPTABLE, "Accept"),
    ] {
        let found = answer(scene.request(Method::GET, "/aisp/accounts").header(header, value)).await;
        assert_error(&found, status, "U006", path);
    }
    let path = "/aisp/account-access-consents";
    let found = answer(scene.request(Method::POST, path).header("content-type", "text/plain").body("{}")).await;
    assert_error(&found, StatusCode::UNSUPPORTED_MEDIA_TYPE, "U006", "Content-Type");
    let response = scene.request(Method::DELETE, "/aisp/accounts").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn an_access_consent_is_made_read_and_given_back() {
    let scene = Scene::new().await;
    let path = "/aisp/account-access-consents";
    let asked = json!({ "Data": { "Permissions": ["ReadAccountsDetail", "ReadBalances"] }, "Risk": {} });
    let (status, made) = scene.post(path, "unused", &asked).await;
    assert_eq!(status, StatusCode::CREATED);
    assert_conforms(BANK_DOCUMENT, "AccountAccessConsentResponse", &made);
    assert_eq!(made["Data"]["Status"], "AWAU");
    let own = format!("{path}/{}", made["Data"]["ConsentId"].as_str().unwrap());
    assert_eq!(scene.read(&own).await, (StatusCode::OK, made));
    let (status, _) = answer(scene.request(Method::DELETE, &own)).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert_error(&scene.read(&own).await, StatusCode::BAD_REQUEST, "U011", "ConsentId");
}

#[tokio::test]
async fn permissions_must_make_sense() {
    let scene = Scene::new().await;
    for (name, permissions, code, path) in [
        ("none", json!([]), "U002", "Data.Permissions"),
        ("no accounts", json!(["ReadBalances"]), "U002", "Data.Permissions"),
        ("unknown", json!(["ReadAccountsBasic", "ReadMinds"]), "U002", "Data.Permissions.1"),
        ("no direction", json!(["ReadAccountsBasic", "ReadTransactionsBasic"]), "U002", "Data.Permissions"),
        ("no level", json!(["ReadAccountsBasic", "ReadTransactionsDebits"]), "U002", "Data.Permissions"),
        ("not a list", json!("ReadAccountsBasic"), "U002", "Data.Permissions"),
    ] {
        let body = json!({ "Data": { "Permissions": permissions }, "Risk": {} });
        let found = scene.post("/aisp/account-access-consents", "k", &body).await;
        assert!(found.1["Errors"].is_array(), "{name}: {}", found.1);
        assert_error(&found, StatusCode::BAD_REQUEST, code, path);
    }
}

#[tokio::test]
async fn a_payment_from_consent_to_settlement() {
    let scene = Scene::new().await;
    let (status, created) = scene.post("/pisp/domestic-payment-consents", "c", &payment_consent("865.00")).await;
    assert_eq!((status, &created["Data"]["Status"]), (StatusCode::CREATED, &json!("AWAU")));
    assert_conforms(BANK_DOCUMENT, "DomesticPaymentConsentResponse", &created);
    let id = created["Data"]["ConsentId"].as_str().unwrap();
    let own = format!("/pisp/domestic-payment-consents/{id}");
    assert_eq!(scene.read(&own).await.1["Data"]["Status"], "AUTH");
    let (_, funds) = scene.read(&format!("{own}/funds-confirmation")).await;
    assert_conforms(BANK_DOCUMENT, "FundsConfirmationResponse", &funds);
    assert_eq!(funds["Data"]["FundsAvailableResult"]["FundsAvailable"], true);

    let mut body = payment_consent("865.00");
    body["Data"]["ConsentId"] = id.into();
    let (status, paid) = scene.post("/pisp/domestic-payments", "p", &body).await;
    assert_eq!((status, &paid["Data"]["Status"]), (StatusCode::CREATED, &json!("RCVD")));
    assert_conforms(BANK_DOCUMENT, "DomesticPaymentResponse", &paid);
    assert_eq!(scene.read(&own).await.1["Data"]["Status"], "COND");

    let payment = format!("/pisp/domestic-payments/{}", paid["Data"]["DomesticPaymentId"].as_str().unwrap());
    assert!(paid["Links"]["Self"].as_str().unwrap().ends_with(&payment));
    scene.clock.advance(std::time::Duration::from_secs(5));
    let (status, again) = scene.post("/pisp/domestic-payments", "p", &body).await;
    assert_eq!(status, StatusCode::CREATED);
    assert_eq!(again["Data"]["DomesticPaymentId"], paid["Data"]["DomesticPaymentId"], "sent twice, made once");
    assert_eq!(again["Data"]["Status"], "ACSC", "in its present state");
    let (_, details) = scene.read(&format!("{payment}/payment-details")).await;
    assert_conforms(BANK_DOCUMENT, "PaymentDetailsResponse", &details);
    assert_eq!(details["Data"]["PaymentStatus"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn payments_are_refused_with_the_code_of_the_rule() {
    let scene = Scene::new().await;
    let (_, created) = scene.post("/pisp/domestic-payment-consents", "c", &payment_consent("10.00")).await;
    let mut body = payment_consent("10.00");
    body["Data"]["ConsentId"] = created["Data"]["ConsentId"].clone();
    let with = |pointer: &str, value: Value| {
        let mut body = body.clone();
        *body.pointer_mut(pointer).unwrap() = value;
        body
    };
    let amount = "/Data/Initiation/InstructedAmount/Amount";
    let long_key = "k".repeat(41);
    for (name, key, body, code, path) in [
        ("other amount", "1", with(amount, json!("10.01")), "U008", "Data.Initiation"),
        ("no such consent", "2", with("/Data/ConsentId", json!("pcon-9")), "U011", "ConsentId"),
        ("amount of words", "3", with(amount, json!("ten")), "U002", "Data.Initiation.InstructedAmount.Amount"),
        ("no risk", "4", json!({ "Data": body["Data"] }), "U004", "Risk"),
        ("a key too long", long_key.as_str(), body.clone(), "U006", "x-idempotency-key"),
    ] {
        let found = scene.post("/pisp/domestic-payments", key, &body).await;
        assert!(found.1["Errors"].is_array(), "{name}");
        assert_error(&found, StatusCode::BAD_REQUEST, code, path);
    }
    let no_key = answer(scene.request(Method::POST, "/pisp/domestic-payments").json(&body)).await;
    assert_error(&no_key, StatusCode::BAD_REQUEST, "U007", "x-idempotency-key");
    let euro = {
        let mut body = payment_consent("10.00");
        body["Data"]["Initiation"]["InstructedAmount"]["Currency"] = "EUR".into();
        scene.post("/pisp/domestic-payment-consents", "e", &body).await
    };
    assert_error(&euro, StatusCode::BAD_REQUEST, "U023", "Data.Initiation.InstructedAmount.Currency");
    let (status, _) = scene.post("/pisp/domestic-payments", "p", &body).await;
    assert_eq!(status, StatusCode::CREATED, "none of the refusals has spent the consent");
    let spent = scene.post("/pisp/domestic-payments", "q", &body).await;
    assert_error(&spent, StatusCode::BAD_REQUEST, "U009", "Data.ConsentId");
    let reused = scene.post("/pisp/domestic-payments", "p", &with(amount, json!("11.00"))).await;
    assert_error(&reused, StatusCode::BAD_REQUEST, "U006", "x-idempotency-key");
}

#[tokio::test]
async fn an_idempotency_key_is_its_callers_own() {
    let scene = Scene::new().await;
    let ask = async |caller: &str, amount: &str| {
        let request = scene.request(Method::POST, "/pisp/domestic-payment-consents");
        let request = request.header("x-idempotency-key", "one").header("x-clearway-caller", caller);
        let (status, body) = answer(request.json(&payment_consent(amount))).await;
        (status.as_u16(), body["Data"]["ConsentId"].as_str().map(str::to_owned))
    };
    let first = ask("abc", "10.00").await;
    assert_eq!(first.0, 201);
    assert_eq!(ask("abc", "10.00").await, first, "the same caller repeats itself");
    assert_eq!(ask("abc", "11.00").await.0, 400, "with another body it does not");
    let other = ask("xyz", "11.00").await;
    assert_eq!(other.0, 201, "another caller's key is another");
    assert_ne!(other.1, first.1);
}

#[test]
fn the_examples_of_the_document_are_valid() {
    let document: Value = serde_saphyr::from_str(BANK_DOCUMENT).unwrap();
    for (path, example, schema) in [
        ("/paths/~1aisp~1account-access-consents", "everything", "AccountAccessConsentRequest"),
        ("/paths/~1pisp~1domestic-payment-consents", "rent", "DomesticPaymentConsentRequest"),
        ("/paths/~1pisp~1domestic-payments", "rent", "DomesticPaymentRequest"),
    ] {
        let pointer = format!("{path}/post/requestBody/content/application~1json/examples/{example}/value");
        assert_conforms(BANK_DOCUMENT, schema, document.pointer(&pointer).unwrap());
    }
}
