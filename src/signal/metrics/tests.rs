use http::Method;

use super::super::histogram::LINES;
use super::*;

fn operation(name: &str) -> OperationId {
    OperationId::parse(name).unwrap()
}

fn lines<'p>(page: &'p str, start: &str) -> Vec<&'p str> {
    page.lines().filter(|line| line.starts_with(start)).collect()
}

const COUNT: &str = "http_server_request_duration_seconds_count";

#[test]
fn the_exposition_reads_as_its_readers_expect() {
    let metrics = Metrics::new("0.1.0");
    let get = metrics.operation(&operation("accounts.Get"), &Method::GET);
    get.record(Some(200), Duration::from_micros(700));
    get.record(Some(299), Duration::from_secs(20));
    get.record(None, Duration::from_millis(3));
    metrics.unrouted(Some(404), Duration::from_millis(1));
    metrics.admission(Duration::from_micros(90));
    metrics.refused("token-missing");
    metrics.quota_refused("burst");
    metrics.flood_refused();
    metrics.institution(&InstitutionId::parse("northbank").unwrap()).record(UpstreamOutcome::Timeout, Duration::ZERO);
    let listener = metrics.listener("public");
    listener.opened();
    listener.opened();
    listener.closed();
    metrics.handshake_failed("timeout");
    metrics.token_issued("tls_client_auth");
    metrics.policy_decisions().hits.add();
    metrics.reloaded("applied");
    metrics.audit(3, false);
    metrics.request_began();
    let page = metrics.render();
    for expected in [
        "# TYPE http_server_request_duration_seconds histogram",
        r#"http_server_request_duration_seconds_bucket{le="0.0005",http_request_method="GET",http_response_status_code="200",operation="accounts.Get"} 0"#,
        r#"http_server_request_duration_seconds_bucket{le="0.001",http_request_method="GET",http_response_status_code="200",operation="accounts.Get"} 1"#,
        r#"http_server_request_duration_seconds_bucket{le="+Inf",http_request_method="GET",http_response_status_code="2xx",operation="accounts.Get"} 1"#,
        r#"http_server_request_duration_seconds_sum{http_request_method="GET",http_response_status_code="2xx",operation="accounts.Get"} 20.0"#,
        r#"http_server_request_duration_seconds_count{http_request_method="GET",http_response_status_code="none",operation="accounts.Get"} 1"#,
        r#"http_server_request_duration_seconds_count{http_request_method="_OTHER",http_response_status_code="404",operation="none"} 1"#,
        "http_server_active_requests 1",
        "clearway_admission_duration_seconds_count 1",
        r#"clearway_refusals_total{code="token-missing"} 1"#,
        r#"clearway_quota_refusals_total{limit="burst"} 1"#,
        "clearway_flood_refusals_total 1",
        r#"http_client_request_duration_seconds_count{institution="northbank"} 1"#,
        r#"clearway_upstream_attempts_total{institution="northbank",outcome="timeout"} 1"#,
        r#"clearway_upstream_attempts_total{institution="northbank",outcome="answered"} 0"#,
        r#"clearway_connections_open{listener="public"} 1"#,
        r#"clearway_connections_accepted_total{listener="public"} 2"#,
        r#"clearway_connections_refused_total{listener="public"} 0"#,
        r#"clearway_handshake_failures_total{reason="timeout"} 1"#,
        r#"clearway_tokens_issued_total{method="tls_client_auth"} 1"#,
        r#"clearway_policy_decisions_total{cache="hit"} 1"#,
        r#"clearway_policy_decisions_total{cache="miss"} 0"#,
        r#"clearway_reloads_total{outcome="applied"} 1"#,
        "clearway_audit_waiting 3",
        "clearway_audit_healthy 0",
        "clearway_access_log_dropped_total 0",
        r#"clearway_build_info{version="0.1.0"} 1"#,
    ] {
        assert!(page.lines().any(|line| line == expected), "{expected}\nis not in\n{page}");
    }
    assert!(page.ends_with("# EOF\n"));
    metrics.request_ended();
    assert!(metrics.render().contains("http_server_active_requests 0\n"));
}

#[test]
fn the_number_of_series_is_bounded_whatever_is_called_and_answered() {
    let metrics = Metrics::with_budget("0", 10 * LINES);
    let held: Vec<_> = (0..100)
        .map(|n| {
            let one = metrics.operation(&operation(&format!("api.Op{n}")), &Method::GET);
            for status in 0..1_000 {
                one.record(Some(status), Duration::ZERO);
            }
            one
        })
        .collect();
    let page = metrics.render();
    let own: Vec<_> = lines(&page, COUNT).into_iter().filter(|line| !line.contains("\"other\"")).collect();
    assert_eq!(own.len(), 10);
    let all: u64 = lines(&page, COUNT).iter().map(|l| l.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum();
    assert_eq!(all, 100_000, "what is beyond the budget is counted as other, once");
    assert!(lines(&page, "http_server_request_duration").len() <= (10 + 43) * LINES);
    drop(held);
    let again = metrics.operation(&operation("new.Op"), &Method::GET);
    again.record(Some(200), Duration::ZERO);
    assert!(metrics.render().contains(r#"operation="new.Op""#), "what no snapshot holds gives its series up");
}

#[test]
fn a_reload_goes_on_counting() {
    let metrics = Metrics::new("0");
    let before = metrics.operation(&operation("a.Get"), &Method::GET);
    before.record(Some(200), Duration::ZERO);
    let after = metrics.operation(&operation("a.Get"), &Method::GET);
    drop(before);
    after.record(Some(200), Duration::ZERO);
    assert_eq!(after.count(Some(200)), 2);
}

#[test]
fn labels_that_are_too_many_or_too_long_become_other() {
    let metrics = Metrics::new("0");
    for n in 0..300 {
        metrics.quota_refused(&format!("limit-{n}"));
    }
    metrics.quota_refused(&"x".repeat(1_000));
    let page = metrics.render();
    assert_eq!(lines(&page, "clearway_quota_refusals_total").len(), WORDS_MAX + 1);
    assert!(page.contains(r#"clearway_quota_refusals_total{limit="other"} 201"#));
}

#[test]
fn one_method_of_its_own_making_is_not_a_label() {
    assert_eq!(known_method(&Method::from_bytes(b"BREW").unwrap()), "_OTHER");
    assert_eq!(known_method(&Method::PATCH), "PATCH");
}
