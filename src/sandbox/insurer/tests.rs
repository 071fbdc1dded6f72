//! The insurer over HTTP, each answer held against the published document.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::API_KEY_HEADER;
use crate::sandbox::testing::{HandClock, assert_conforms, client, world};
use crate::sandbox::{INSURER_DOCUMENT, Institution, Running, SandboxSettings, start};

const KEY: &str = "the-gateways-key";

struct Scene {
    insurer: Running,
    http: reqwest::Client,
    clock: Arc<HandClock>,
}

impl Scene {
    async fn new() -> Self {
        let (world, clock) = world();
        let institution = Institution::insurer(world, &KEY.into());
        let insurer = start(SandboxSettings::plain(institution)).await.unwrap();
        Self { insurer, http: client(None).build().unwrap(), clock }
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}/insurance/v1{path}", self.insurer.url())).header(API_KEY_HEADER, KEY)
    }

    async fn read(&self, path: &str) -> (StatusCode, Value) {
        answer(self.request(Method::GET, path)).await
    }

    async fn post(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        answer(self.request(Method::POST, path).json(body)).await
    }

    async fn sold(&self) -> Value {
        let (_, quote) = self.post("/quotes/motor", &car()).await;
        let (status, policy) = self.post("/policies", &acceptance(&quote["quoteId"])).await;
        assert_eq!(status, StatusCode::CREATED);
        policy
    }
}

async fn answer(request: reqwest::RequestBuilder) -> (StatusCode, Value) {
    let response = request.send().await.unwrap();
    assert_eq!(response.headers()["x-trace-id"].len(), 36);
    (response.status(), response.json().await.unwrap())
}

fn example(path: &str, name: &str) -> Value {
    let document: Value = serde_saphyr::from_str(INSURER_DOCUMENT).unwrap();
    let media_type = format!("/paths/{}/post/requestBody/content/application~1json", path.replace('/', "~1"));
    let media_type = document.pointer(&media_type).unwrap();
    let named = media_type.pointer(&format!("/examples/{name}/value")).or_else(|| media_type.get("example"));
    named.unwrap().clone()
}

fn car() -> Value {
    example("/quotes/motor", "hatchback")
}

fn acceptance(quote_id: &Value) -> Value {
    let mut body = example("/policies", "");
    body["quoteId"] = quote_id.clone();
    body
}

fn loss(policy: &Value) -> Value {
    let mut body = example("/claims", "");
    body["policyId"] = policy["policyId"].clone();
    body
}

#[track_caller]
fn assert_error(found: &(StatusCode, Value), status: StatusCode, code: &str) {
    assert_conforms(INSURER_DOCUMENT, "Error", &found.1);
    assert!(found.0 == status && found.1["code"] == code, "{} {:#}", found.0, found.1);
}

#[tokio::test]
async fn from_quote_to_policy_to_settled_claim() {
    let scene = Scene::new().await;
    let (status, quote) = scene.post("/quotes/motor", &car()).await;
    assert_eq!(status, StatusCode::CREATED);
    assert_conforms(INSURER_DOCUMENT, "Quote", &quote);
    let (status, policy) = scene.post("/policies", &acceptance(&quote["quoteId"])).await;
    assert_eq!((status, &policy["status"]), (StatusCode::CREATED, &json!("active")));
    assert_conforms(INSURER_DOCUMENT, "Policy", &policy);
    let (_, accepted) = scene.read(&format!("/quotes/{}", quote["quoteId"].as_str().unwrap())).await;
    assert_eq!(accepted["status"], "accepted");

    let (status, claim) = scene.post("/claims", &loss(&policy)).await;
    assert_eq!((status, &claim["status"]), (StatusCode::CREATED, &json!("notified")));
    assert_conforms(INSURER_DOCUMENT, "Claim", &claim);
    scene.clock.advance(Duration::from_secs(10));
    let (_, settled) = scene.read(&format!("/claims/{}", claim["claimId"].as_str().unwrap())).await;
    assert_conforms(INSURER_DOCUMENT, "Claim", &settled);
    assert_eq!(settled["status"], "settled");
    assert_eq!(settled["settlement"]["amount"], "390.00", "the excess is taken off");
    assert_eq!(settled["history"].as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn a_home_is_priced_and_a_policy_cancelled() {
    let scene = Scene::new().await;
    let (status, quote) = scene.post("/quotes/home", &example("/quotes/home", "terrace")).await;
    assert_eq!(status, StatusCode::CREATED);
    assert_conforms(INSURER_DOCUMENT, "Quote", &quote);
    let policy = scene.sold().await;
    let own = format!("/policies/{}", policy["policyId"].as_str().unwrap());
    let (status, cancelled) = scene.post(&format!("{own}/cancellation"), &json!({ "reason": "sold" })).await;
    assert_eq!((status, &cancelled["status"]), (StatusCode::OK, &json!("cancelled")));
    assert_conforms(INSURER_DOCUMENT, "Policy", &cancelled);
    assert_error(&scene.post("/claims", &loss(&policy)).await, StatusCode::CONFLICT, "POLICY_NOT_ACTIVE");
    assert_eq!(scene.read(&own).await.1, cancelled);
}

#[tokio::test]
async fn lists_come_in_pages_and_can_be_filtered() {
    let scene = Scene::new().await;
    let mut path = "/policies?limit=10".to_owned();
    let mut seen = Vec::new();
    loop {
        let (status, page) = scene.read(&path).await;
        assert_eq!(status, StatusCode::OK);
        assert_conforms(INSURER_DOCUMENT, "PolicyPage", &page);
        seen.extend(page["items"].as_array().unwrap().iter().map(|policy| policy["policyId"].to_string()));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/policies?limit=10&cursor={next}");
    }
    assert_eq!(seen.len(), 24);
    assert!(seen.is_sorted_by(|a, b| a > b), "newest first, none twice");
    let (_, expired) = scene.read("/policies?status=expired&limit=100").await;
    assert!(expired["items"].as_array().unwrap().iter().all(|policy| policy["status"] == "expired"));
    let (_, claims) = scene.read("/claims?status=settled,withdrawn").await;
    assert_conforms(INSURER_DOCUMENT, "ClaimPage", &claims);
    assert!(!claims["items"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn refusals_have_the_insurers_own_shape() {
    let scene = Scene::new().await;
    let with = |pointer: &str, value: Value| {
        let mut body = car();
        *body.pointer_mut(pointer).unwrap() = value;
        body
    };
    for (name, path, body, status, code) in [
        ("a child", "/quotes/motor", with("/driver/dateOfBirth", json!("2015-01-01")), 422, "RISK_DECLINED"),
        ("no date", "/quotes/motor", with("/driver/dateOfBirth", json!("soon")), 400, "INVALID_REQUEST"),
        ("odd mileage", "/quotes/motor", with("/vehicle/annualMiles", json!(7501)), 400, "INVALID_REQUEST"),
        (
            "an unknown field",
            "/quotes/motor",
            {
                let mut b = car();
                b["colour"] = json!("red");
                b
            },
            400,
            "INVALID_REQUEST",
        ),
        (
            "a start in the past",
            "/quotes/motor",
            {
                let mut b = car();
                b["startDate"] = json!("2026-03-01");
                b
            },
            400,
            "INVALID_REQUEST",
        ),
        ("no such quote", "/policies", acceptance(&json!("quo-99999999")), 404, "NOT_FOUND"),
        ("no such policy", "/claims", loss(&json!({ "policyId": "pol-99999999" })), 404, "NOT_FOUND"),
        ("no such address", "/pets", json!({}), 404, "NOT_FOUND"),
    ] {
        let found = scene.post(path, &body).await;
        assert!(found.1["code"].is_string(), "{name}");
        assert_error(&found, StatusCode::from_u16(status).unwrap(), code);
    }
    assert_error(&scene.read("/claims?status=lost").await, StatusCode::BAD_REQUEST, "INVALID_REQUEST");
    assert_error(&scene.read("/policies?limit=0").await, StatusCode::BAD_REQUEST, "INVALID_REQUEST");
    assert_error(&scene.read("/quotes/motor").await, StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED");
    let text = scene.request(Method::POST, "/claims").header("content-type", "text/plain").body("{}");
    assert_error(&answer(text).await, StatusCode::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE");
}

#[tokio::test]
async fn without_the_key_nothing_opens() {
    let scene = Scene::new().await;
    for key in [None, Some(""), Some("the-gateways-kez"), Some("the-gateways-key ")] {
        let mut request = scene.http.get(format!("{}/insurance/v1/policies", scene.insurer.url()));
        if let Some(key) = key {
            request = request.header(
                API_KEY_HEADER,
                key.trim_end_matches(' ').to_owned() + if key.ends_with(' ') { "x" } else { "" },
            );
        }
        assert_error(&answer(request).await, StatusCode::UNAUTHORIZED, "UNAUTHORISED");
    }
    let health = scene.http.get(format!("{}/healthz", scene.insurer.url())).send().await.unwrap();
    assert_eq!(health.status(), StatusCode::OK);
}
