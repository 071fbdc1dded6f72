//! What operators see: every metric on /metrics, moved by what it counts.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::harness::certificates::{client_identity, http};
use crate::harness::secure::token_of;
use crate::harness::wire::Wire;
use crate::harness::{Backend, Gateway, Reply, Site, within};

/// The sum of a metric's lines that begin so; nothing if there is none.
async fn value(gateway: &Gateway, line: &str) -> Option<f64> {
    let page = reqwest::get(gateway.operations("/metrics")).await.unwrap().text().await.unwrap();
    let values =
        page.lines().filter(|l| l.starts_with(line)).map(|l| l.rsplit(' ').next().unwrap().parse::<f64>().unwrap());
    values.reduce(|a, b| a + b)
}

/// Records are told after the answer, so a metric follows soon.
async fn reaches(gateway: &Gateway, line: &'static str, expected: f64) {
    within(line, async { while value(gateway, line).await != Some(expected) {} }).await;
}

async fn get(gateway: &Gateway, client: &reqwest::Client, listener: &str, path: &str, token: &str) -> u16 {
    let request = client.get(gateway.https(listener, path)).bearer_auth(token);
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn every_metric_moves_with_what_it_counts() {
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let backend = Backend::start(move |seen| match seen.path() {
        "/v1/items/slow" => Reply::Wait(Arc::clone(&held), Box::new(Reply::json("{}"))),
        "/v1/items/broken" => Reply::Close,
        "/v1/items/failing" => Reply::status(500),
        _ => Reply::json("{}"),
    })
    .await;
    let site = Site::secure(&backend);
    site.edit("config/gateway.yaml", "failures_max: 1000000", "failures_max: 5");
    site.append("config/plans.yaml", "      - { name: hourly, per: client, window: { requests: 5, period: hour } }\n");
    let gateway = site.start().await;
    for (line, first) in [
        ("clearway_build_info{", 1.0),
        ("clearway_audit_healthy ", 1.0),
        ("clearway_audit_waiting ", 0.0),
        ("clearway_access_log_dropped_total ", 0.0),
        ("http_server_active_requests ", 0.0),
    ] {
        assert_eq!(value(&gateway, line).await, Some(first), "{line}");
    }

    let partner = http(Some(client_identity("acme-tls")));
    let token = token_of(&gateway, "acme-tls").await;
    reaches(&gateway, "clearway_tokens_issued_total{method=\"tls_client_auth\"}", 1.0).await;
    assert_eq!(get(&gateway, &partner, "mtls", "/shop/items", &token).await, 200);
    assert_eq!(get(&gateway, &partner, "mtls", "/shop/items", &token).await, 200);
    reaches(&gateway, "clearway_policy_decisions_total{cache=\"miss\"}", 1.0).await;
    reaches(&gateway, "clearway_policy_decisions_total{cache=\"hit\"}", 1.0).await;
    reaches(&gateway, "clearway_admission_duration_seconds_count", 2.0).await;
    reaches(&gateway, "http_client_request_duration_seconds_count{institution=\"store\"}", 2.0).await;
    let of_operation = "http_server_request_duration_seconds_count{http_request_method=\"GET\",http_response_status_code=\"200\",operation=\"shop.listItems\"}";
    reaches(&gateway, of_operation, 2.0).await;

    let slow = tokio::spawn({
        let request = partner.get(gateway.https("mtls", "/shop/items/slow")).bearer_auth(&token);
        async move { request.send().await.unwrap().status() }
    });
    backend.arrived(3).await;
    assert_eq!(value(&gateway, "http_server_active_requests ").await, Some(1.0));
    assert!(value(&gateway, "clearway_audit_waiting ").await >= Some(1.0));
    assert!(value(&gateway, "clearway_connections_open{listener=\"mtls\"}").await >= Some(1.0));
    gate.add_permits(1);
    assert_eq!(slow.await.unwrap(), 200);
    reaches(&gateway, "http_server_active_requests ", 0.0).await;

    assert_eq!(get(&gateway, &partner, "mtls", "/shop/items/failing", &token).await, 500);
    assert_eq!(get(&gateway, &partner, "mtls", "/shop/items/broken", &token).await, 502);
    assert_eq!(get(&gateway, &partner, "mtls", "/shop/items", &token).await, 429);
    reaches(&gateway, "clearway_quota_refusals_total{limit=\"hourly\"}", 1.0).await;
    for (outcome, expected) in [("answered", 3.0), ("server-error", 1.0), ("broken", 1.0), ("timeout", 0.0)] {
        let line = format!("clearway_upstream_attempts_total{{institution=\"store\",outcome=\"{outcome}\"}}");
        within("the attempts", async { while value(&gateway, &line).await != Some(expected) {} }).await;
    }
    backend.stop().await;
    let other = http(Some(client_identity("acme-second")));
    let others = token_of(&gateway, "acme-second").await;
    assert_eq!(get(&gateway, &other, "mtls", "/shop/items", &others).await, 503);
    reaches(&gateway, "clearway_upstream_attempts_total{institution=\"store\",outcome=\"connect-failed\"}", 1.0).await;
    strangers_are_counted(&gateway).await;

    gateway.reload().await;
    reaches(&gateway, "clearway_reloads_total{outcome=\"unchanged\"}", 1.0).await;
    drop((partner, other));
    reaches(&gateway, "clearway_connections_open{listener=\"mtls\"}", 0.0).await;
}

/// Noise instead of a handshake, and bad tokens until the guard is spent.
async fn strangers_are_counted(gateway: &Gateway) {
    let mut noise = Wire::connect(gateway.address("mtls")).await;
    noise.send("this is no TLS at all\r\n\r\n").await;
    let _ = noise.closed().await;
    reaches(gateway, "clearway_handshake_failures_total{reason=\"handshake_protocol\"}", 1.0).await;

    let stranger = http(None);
    for _ in 0..30 {
        get(gateway, &stranger, "public", "/shop/items", "a.b.c").await;
    }
    reaches(gateway, "clearway_refusals_total{code=\"token-invalid\"}", 5.0).await;
    reaches(gateway, "clearway_flood_refusals_total ", 25.0).await;
    assert!(value(gateway, "clearway_connections_accepted_total{listener=\"public\"}").await >= Some(1.0));
    assert!(http(None).get(gateway.https("public", "/")).send().await.is_err());
    assert!(value(gateway, "clearway_connections_refused_total{listener=\"public\"}").await >= Some(1.0));
}
