//! Limits: what is counted, for whom, and how a caller hears of it before and when it is refused.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::harness::certificates::{client_identity, http};
use crate::harness::secure::token_of;
use crate::harness::token::{outside_claims, outside_key, outside_token, with};
use crate::harness::{Backend, Gateway, Reply, Site, field, json as read_json, problem, refused, within};

fn plan(site: &Site, limits: &str) {
    let limits: String = limits.lines().map(|line| format!("      - {{ {} }}\n", line.trim())).collect();
    site.write("config/plans.yaml", &format!("version: 1\nplans:\n  - id: open\n    limits:\n{limits}"));
}

async fn get(gateway: &Gateway, token: &str, path: &str) -> reqwest::Response {
    reqwest::Client::new().get(gateway.url(path)).bearer_auth(token).send().await.unwrap()
}

#[tokio::test]
async fn a_burst_is_refused_with_all_that_a_caller_needs_to_know() {
    let backend = Backend::agreeable().await;
    let site = Site::plain(&[&backend]);
    plan(&site, "name: burst, per: client, rate: { requests: 3, per: 60s, burst: 3 }");
    let gateway = site.start().await;
    let token = outside_token("acme", "app");
    for left in [2, 1, 0] {
        let response = get(&gateway, &token, "/shop/items").await;
        assert_eq!(response.status(), 200);
        assert_eq!(field(&response, "ratelimit-policy"), r#""burst";q=3;w=60"#);
        let said = field(&response, "ratelimit");
        assert!(said.starts_with(&format!("\"burst\";r={left};t=")), "{said}");
    }
    let response = get(&gateway, &token, "/shop/items").await;
    let wait: u64 = field(&response, "retry-after").parse().unwrap();
    assert!((1..=20).contains(&wait), "{wait}");
    assert!(field(&response, "ratelimit").starts_with(r#""burst";r=0;t="#), "{}", field(&response, "ratelimit"));
    assert_eq!(field(&response, "ratelimit-policy"), r#""burst";q=3;w=60"#);
    let (status, said) = read_json(response).await;
    assert_eq!((status, &said["code"], &said["violated-policies"]), (429, &json!("quota-exceeded"), &json!(["burst"])));
    assert_eq!(get(&gateway, &outside_token("acme", "other"), "/shop/items").await.status(), 200, "another client");
    assert_eq!(backend.total(), 4);
}

#[tokio::test]
async fn a_tenants_day_is_shared_by_its_clients_and_a_clients_is_its_own() {
    let backend = Backend::agreeable().await;
    let site = Site::secure(&backend);
    plan(
        &site,
        "name: daily, per: tenant, window: { requests: 5, period: day, zone: Europe/London }
         name: own, per: client, window: { requests: 3, period: hour }",
    );
    let gateway = site.start().await;
    let tokens = [token_of(&gateway, "acme-tls").await, token_of(&gateway, "acme-second").await];
    let call = async |nth: usize| {
        let identity = client_identity(["acme-tls", "acme-second"][nth]);
        let url = gateway.https("mtls", "/shop/items");
        let response = http(Some(identity)).get(url).bearer_auth(&tokens[nth]).send().await.unwrap();
        let (status, said) = read_json(response).await;
        (status, said["violated-policies"].clone())
    };
    for (nth, expected) in [
        (0, (200, Value::Null)),
        (0, (200, Value::Null)),
        (0, (200, Value::Null)),
        (0, (429, json!(["own"]))),
        (1, (200, Value::Null)),
        (1, (200, Value::Null)),
        (1, (429, json!(["daily"]))),
        (0, (429, json!(["daily", "own"]))),
    ] {
        let (status, mut violated) = call(nth).await;
        if let Value::Array(names) = &mut violated {
            names.sort_by_key(Value::to_string);
        }
        assert_eq!((status, violated), expected, "client {nth}");
    }
    assert_eq!(backend.total(), 5);
}

#[tokio::test]
async fn requests_at_once_are_limited_and_every_ending_frees_a_place() {
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let backend = Backend::start(move |seen| match seen.field("x-mode") {
        Some("wait") => Reply::Wait(Arc::clone(&held), Box::new(Reply::json("{}"))),
        Some("close") => Reply::Close,
        _ => Reply::json("{}"),
    })
    .await;
    let site = Site::plain(&[&backend]);
    plan(&site, "name: at-once, per: client, concurrency: 2");
    let gateway = site.start().await;
    let token = outside_token("acme", "app");
    let client = reqwest::Client::new();
    let request =
        |mode: &str| client.get(gateway.url("/shop/items")).bearer_auth(&token).header("x-mode", mode.to_owned());
    let (first, second) = (tokio::spawn(request("wait").send()), tokio::spawn(request("wait").send()));
    backend.arrived(2).await;
    let third = request("").send().await.unwrap();
    assert!(field(&third, "ratelimit-policy").contains("qu=\"concurrent-requests\""));
    let (status, said) = read_json(third).await;
    assert_eq!((status, &said["violated-policies"]), (429, &json!(["at-once"])));
    gate.add_permits(1);
    let done = tokio::select! { done = first => done, done = second => done };
    assert_eq!(done.unwrap().unwrap().status(), 200);
    let free = async { while request("").send().await.unwrap().status() != 200 {} };
    within("a place to be free", free).await;
    // A failing back end and a caller that leaves free their places, too.
    for _ in 0..4 {
        assert_eq!(request("close").send().await.unwrap().status(), 502);
    }
    let arrived = backend.total();
    let leaving = tokio::spawn(request("wait").send());
    backend.arrived(arrived + 1).await;
    leaving.abort();
    gate.add_permits(10);
    let free = async { while request("").send().await.unwrap().status() != 200 {} };
    within("the place of who left to be free", free).await;
}

#[tokio::test]
async fn a_refusal_costs_nothing() {
    let backend = Backend::agreeable().await;
    let site = Site::plain(&[&backend]);
    plan(&site, "name: daily, per: tenant, window: { requests: 3, period: day }");
    site.write(
        "policies/no.cedar",
        "@id(\"own.no\")\n@reason(\"No.\")\n@remedy(\"None.\")\nforbid (principal, action == Action::\"shop.deleteItem\", resource);\n",
    );
    let gateway = site.start().await;
    let token = outside_token("acme", "app");
    let narrow = outside_key().jwt("at+jwt", &with(outside_claims("acme", "app"), json!({ "scope": "x" })));
    let expired = outside_key().jwt("at+jwt", &with(outside_claims("acme", "app"), json!({ "exp": 1 })));
    let client = reqwest::Client::new();
    for _ in 0..3 {
        for (name, request, token, status) in [
            ("expired", client.get(gateway.url("/shop/items")), &expired, 401),
            ("scope", client.get(gateway.url("/shop/items")), &narrow, 403),
            ("policy", client.delete(gateway.url("/shop/items/1")), &token, 403),
            ("route", client.get(gateway.url("/shop/none")), &token, 404),
            ("method", client.patch(gateway.url("/shop/items")), &token, 405),
            ("contract", client.post(gateway.url("/shop/items")).json(&json!({})), &token, 400),
            ("parameter", client.get(gateway.url("/shop/items?page-size=0")), &token, 400),
        ] {
            assert_eq!(request.bearer_auth(token).send().await.unwrap().status(), status, "{name}");
        }
    }
    for expected in [200, 200, 200, 429] {
        assert_eq!(get(&gateway, &token, "/shop/items").await.status(), expected, "all three were left");
    }
}

#[tokio::test]
async fn usage_tells_a_caller_where_it_stands_and_costs_nothing() {
    let backend = Backend::agreeable().await;
    let site = Site::plain(&[&backend]);
    plan(
        &site,
        "name: daily, per: tenant, window: { requests: 10, period: day }
         name: at-once, per: client, concurrency: 5",
    );
    let gateway = site.start().await;
    let token = outside_token("acme", "app");
    for _ in 0..3 {
        assert_eq!(get(&gateway, &token, "/shop/items").await.status(), 200);
    }
    for _ in 0..3 {
        let response = get(&gateway, &token, "/usage").await;
        assert_eq!(field(&response, "cache-control"), "no-store");
        let (status, said) = read_json(response).await;
        assert_eq!(status, 200, "{said}");
        // Partners of an outside issuer are called by its name and theirs, so that none is mistaken for another.
        assert!(said["tenant"].as_str().unwrap().ends_with(":acme"), "{said}");
        assert!(said["client"].as_str().unwrap().ends_with(":app"), "{said}");
        let subscription = &said["subscriptions"][0];
        assert_eq!((&subscription["product"], &subscription["plan"]), (&json!("goods"), &json!("open")));
        let limits = subscription["limits"].as_array().unwrap();
        let daily = limits.iter().find(|limit| limit["name"] == "daily").unwrap();
        assert_eq!(
            (&daily["limit"], &daily["used"], &daily["remaining"]),
            (&json!(10), &json!(3), &json!(7)),
            "{daily}"
        );
        assert_eq!(daily["window_seconds"], 86_400);
        assert!(daily["resets_at"].as_str().unwrap().ends_with('Z'), "{daily}");
        let at_once = limits.iter().find(|limit| limit["name"] == "at-once").unwrap();
        assert_eq!((&at_once["used"], &at_once["unit"]), (&json!(0), &json!("concurrent-requests")));
    }
    // Another tenant sees its own.
    let (_, other) = read_json(get(&gateway, &outside_token("farview", "app"), "/usage").await).await;
    let limits = other["subscriptions"][0]["limits"].as_array().unwrap();
    assert_eq!(limits.iter().find(|limit| limit["name"] == "daily").unwrap()["used"], 0, "{other}");
    let nobody = reqwest::get(gateway.url("/usage")).await.unwrap();
    assert_eq!(problem(nobody).await, refused(401, "token-missing"));
}

#[tokio::test]
async fn counters_of_an_unchanged_limit_survive_a_reload() {
    let backend = Backend::agreeable().await;
    let site = Site::plain(&[&backend]);
    plan(&site, "name: daily, per: tenant, window: { requests: 4, period: day }");
    let gateway = site.start().await;
    let token = outside_token("acme", "app");
    for _ in 0..3 {
        assert_eq!(get(&gateway, &token, "/shop/items").await.status(), 200);
    }
    plan(
        &site,
        "name: daily, per: tenant, window: { requests: 4, period: day }
         name: burst, per: client, rate: { requests: 100, per: 1s }",
    );
    gateway.reload().await;
    assert_eq!(get(&gateway, &token, "/shop/items").await.status(), 200);
    assert_eq!(get(&gateway, &token, "/shop/items").await.status(), 429, "three were spent before the reload");
    plan(&site, "name: daily, per: tenant, window: { requests: 6, period: day }");
    gateway.reload().await;
    let mut left = 0;
    while get(&gateway, &token, "/shop/items").await.status() == 200 {
        left += 1;
        assert!(left < 10);
    }
    assert!(left == 2 || left == 6, "a raised limit goes on from four, or begins anew: {left}");
}
