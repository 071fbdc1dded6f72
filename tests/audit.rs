//! Evidence: one record per request whatever became of it, and nothing in it that it must not hold.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::harness::certificates::{client_identity, http, pki};
use crate::harness::secure::{form, token_of};
use crate::harness::token::{outside_claims, outside_key, outside_token, with};
use crate::harness::wire::Wire;
use crate::harness::{Backend, Reply, Site, run};

/// Appears in bodies, paths, queries and fields of requests and answers, and must appear nowhere else.
const SECRET: &str = "GB33BUKB20201555555555";

/// The records of kind `request`, by interaction id; two of one id fail.
fn by_interaction(lines: &[Value]) -> HashMap<String, Value> {
    let mut found = HashMap::new();
    for line in lines.iter().filter(|line| line["kind"] == "request") {
        let id = line["interaction_id"].as_str().unwrap().to_owned();
        let former = found.insert(id, line.clone());
        assert!(former.is_none(), "two records of one request: {former:?} {line}");
    }
    found
}

/// A name for each of some requests.
fn interaction(nth: usize) -> String {
    format!("00000000-0000-4000-8000-{nth:012}")
}

#[tokio::test]
async fn one_record_per_request_whatever_becomes_of_it() {
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let backend = Backend::start(move |seen| match seen.field("x-mode") {
        Some("close") => Reply::Close,
        Some("500") => Reply::status(500),
        Some("hang") => Reply::Hang,
        Some("wait") => Reply::Wait(Arc::clone(&held), Box::new(Reply::json("{}"))),
        Some("break") => Reply::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf".to_vec()),
        _ => Reply::json(&format!("{{\"iban\":\"{SECRET}\"}}")),
    })
    .await;
    let site = Site::plain(&[&backend]);
    site.backends(&[backend.url()], "timeouts: { connect: 1s, read: 1s, write: 1s, total: 2s }");
    site.append("config/plans.yaml", "      - { name: hourly, per: client, window: { requests: 8, period: hour } }\n");
    site.write(
        "policies/no.cedar",
        "@id(\"own.no\")\n@reason(\"No.\")\n@remedy(\"None.\")\nforbid (principal, action == Action::\"shop.deleteItem\", resource);\n",
    );
    let gateway = site.start().await;
    let token = outside_token("acme", "app");
    let expired = outside_key().jwt("at+jwt", &with(outside_claims("acme", "app"), json!({ "exp": 1 })));
    let narrow = outside_key().jwt("at+jwt", &with(outside_claims("acme", "app"), json!({ "scope": "x" })));
    let body = format!("{{\"name\":\"{SECRET}\",\"quantity\":1}}");
    let id = format!("/shop/items/{SECRET}");
    let cases: Vec<(&str, &str, &str, &str, &str, &str, Value)> = vec![
        ("read", "GET", &id, &token, "", "", json!({ "outcome": "answered", "status": 200 })),
        ("write", "POST", "/shop/items", &token, &body, "", json!({ "outcome": "answered", "status": 200 })),
        ("error of the back end", "GET", &id, &token, "", "500", json!({ "outcome": "answered", "status": 500 })),
        ("no token", "GET", &id, "", "", "", json!({ "outcome": "refused", "status": 401, "code": "token-missing" })),
        (
            "expired",
            "GET",
            &id,
            &expired,
            "",
            "",
            json!({ "outcome": "refused", "status": 401, "code": "token-invalid" }),
        ),
        ("scope", "GET", &id, &narrow, "", "", json!({ "outcome": "refused", "status": 403, "code": "scope-missing" })),
        (
            "policy",
            "DELETE",
            &id,
            &token,
            "",
            "",
            json!({ "outcome": "refused", "status": 403, "code": "policy-refused" }),
        ),
        (
            "route",
            "GET",
            "/shop/none",
            &token,
            "",
            "",
            json!({ "outcome": "refused", "status": 404, "code": "no-such-resource" }),
        ),
        (
            "method",
            "PATCH",
            &id,
            &token,
            "",
            "",
            json!({ "outcome": "refused", "status": 405, "code": "method-not-allowed" }),
        ),
        (
            "contract",
            "POST",
            "/shop/items",
            &token,
            "{}",
            "",
            json!({ "outcome": "refused", "status": 400, "code": "contract-violated" }),
        ),
        (
            "path",
            "GET",
            "/shop/items/%2e%2e",
            &token,
            "",
            "",
            json!({ "outcome": "refused", "status": 400, "code": "malformed-request" }),
        ),
        (
            "back end closes",
            "GET",
            &id,
            &token,
            "",
            "close",
            json!({ "outcome": "refused", "status": 502, "code": "backend-failed" }),
        ),
        (
            "back end is silent",
            "POST",
            "/shop/items",
            &token,
            &body,
            "hang",
            json!({ "outcome": "refused", "status": 504, "code": "backend-timeout" }),
        ),
        (
            "answer breaks off",
            "GET",
            &id,
            &token,
            "",
            "break",
            json!({ "outcome": "aborted", "status": 200, "phase": "answer" }),
        ),
        ("page of our own", "GET", "/openapi.json", "", "", "", json!({ "outcome": "answered", "status": 200 })),
        ("no page of our own", "GET", "/openapi/none.json", "", "", "", json!({ "status": 404 })),
    ];
    for (nth, (name, method, path, token, body, mode, _)) in cases.iter().enumerate() {
        let mut wire = Wire::connect(gateway.address("public")).await;
        let authorization = if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
        let kind = if body.is_empty() {
            String::new()
        } else {
            format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len())
        };
        let query = if *method == "GET" && path.contains("items") { format!("?q={SECRET}") } else { String::new() };
        let id = interaction(nth);
        wire.send(format!(
            "{method} {path}{query} HTTP/1.1\r\nHost: localhost\r\n{authorization}x-fapi-interaction-id: {id}\r\n\
             Cookie: s={SECRET}\r\nX-Mode: {mode}\r\nUser-Agent: {SECRET}\r\n{kind}\r\n{body}"
        ))
        .await;
        let answer = wire.try_answer().await;
        assert_eq!(answer.is_none(), *mode == "break", "{name}");
    }
    // One leaves in the middle of its body, one while it waits for the answer, one asks in vain for its quota.
    let leaving = interaction(100);
    let mut wire = Wire::connect(gateway.address("public")).await;
    let head = |id: &str, length: usize| {
        format!(
            "POST /shop/notes HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nx-fapi-interaction-id: {id}\r\n\r\n"
        )
    };
    let arrived = backend.total();
    wire.send(head(&leaving, 100_000) + SECRET).await;
    backend.arrived(arrived + 1).await;
    drop(wire);
    let impatient = interaction(101);
    let mut wire = Wire::connect(gateway.address("public")).await;
    wire.send(head(&impatient, 0).replace("\r\n\r\n", "\r\nX-Mode: wait\r\n\r\n")).await;
    backend.arrived(arrived + 2).await;
    drop(wire);
    gate.add_permits(1);
    let other = outside_token("acme", "app");
    let mut statuses = Vec::new();
    for nth in 102..112 {
        let request = reqwest::Client::new().get(gateway.url("/shop/items")).bearer_auth(&other);
        statuses
            .push(request.header("x-fapi-interaction-id", interaction(nth)).send().await.unwrap().status().as_u16());
    }
    assert_eq!(statuses.last(), Some(&429), "{statuses:?}");
    assert_eq!(gateway.stop().await.code(), Some(0));

    let records = by_interaction(&site.json_lines("state/audit.jsonl"));
    let lines = by_interaction(&as_requests(&site.json_lines("state/access.jsonl")));
    for (nth, (name, method, _, _, _, _, expected)) in cases.iter().enumerate() {
        let record = records.get(&interaction(nth)).unwrap_or_else(|| panic!("no record of: {name}"));
        for (member, value) in expected.as_object().unwrap() {
            assert_eq!(&record[member], value, "{name}: {member} of {record}");
        }
        assert_eq!(record["method"], *method, "{name}");
        assert!(lines.contains_key(&interaction(nth)), "no access line of: {name}");
    }
    let aborted = &records[&leaving];
    assert_eq!(aborted["outcome"], "aborted", "{aborted}");
    assert!(records.contains_key(&impatient), "whoever leaves has a record");
    let over = &records[&interaction(111)];
    assert_eq!((&over["code"], &over["quotas_refused"]), (&json!("quota-exceeded"), &json!(["hourly"])), "{over}");
    assert_eq!(records.len(), cases.len() + 12, "no more records than requests");
    assert_eq!(lines.len(), records.len());

    // What a record of an answered call says.
    let read = &records[&interaction(0)];
    for (member, value) in [
        ("operation", json!("shop.getItem")),
        ("api", json!("shop")),
        ("institution", json!("store")),
        ("product", json!("goods")),
        ("plan", json!("open")),
        ("environment", json!("sandbox")),
        ("protocol", json!("HTTP/1.1")),
        ("listener", json!("public")),
        ("peer", json!("127.0.0.1")),
    ] {
        assert_eq!(read[member], value, "{member} of {read}");
    }
    assert!(read["tenant"].as_str().unwrap().ends_with(":acme"), "{read}");
    for member in ["client", "token", "policies", "policy_set", "revision", "trace_id", "upstream"] {
        assert!(!read[member].is_null(), "{member} of {read}");
    }
    assert_eq!(read["upstream"]["status"], 200);
    assert!(
        !read["upstream"]["backend"].as_str().unwrap().contains(&backend.address.port().to_string()),
        "no address: {read}"
    );
    let line = &lines[&interaction(0)];
    for member in [
        "at",
        "interaction_id",
        "trace_id",
        "span_id",
        "listener",
        "peer",
        "protocol",
        "method",
        "operation",
        "status",
        "total_us",
        "upstream_us",
        "bytes_in",
        "bytes_out",
    ] {
        assert!(!line[member].is_null(), "{member} of {line}");
    }
    let policy = &records[&interaction(6)];
    assert_eq!(policy["policies"], json!(["own.no"]), "{policy}");

    // Neither file, nor what the process said, holds a body, a path, a query, a token or a cookie.
    for file in ["state/audit.jsonl", "state/access.jsonl"] {
        let text = site.read(file);
        for (what, needle) in
            [("a number of an account", SECRET), ("a token", "eyJ"), ("a raw path", "/shop/"), ("a query", "?q=")]
        {
            assert!(!text.contains(needle), "{file} holds {what}");
        }
        let mode = std::fs::metadata(site.path(file)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{file}");
    }
}

/// Access lines in the form of records.
fn as_requests(lines: &[Value]) -> Vec<Value> {
    let line = |line: &Value| with(line.clone(), json!({ "kind": "request" }));
    lines.iter().map(line).collect()
}

#[tokio::test]
async fn connections_that_never_became_a_request_are_recorded_too() {
    let backend = Backend::agreeable().await;
    let site = Site::secure(&backend);
    let gateway = site.start().await;
    // Not TLS at all.
    let mut plain = TcpStream::connect(gateway.address("public")).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut rest = Vec::new();
    let _ = tokio::io::AsyncReadExt::read_to_end(&mut plain, &mut rest).await;
    // No certificate where one is demanded, and one past its time.
    assert!(http(None).get(gateway.https("mtls", "/")).send().await.is_err());
    assert!(http(Some(&pki().expired_client)).get(gateway.https("mtls", "/")).send().await.is_err());
    // Bytes that are not HTTP, within TLS.
    let mut wire = Wire::tls(gateway.address("public"), None).await.unwrap();
    wire.send("\0\0\0 nonsense\r\n\r\n").await;
    let _ = wire.try_answer().await;
    assert!(wire.closed().await);
    gateway.stop().await;
    let lines = site.json_lines("state/audit.jsonl");
    let connections: Vec<&Value> = lines.iter().filter(|line| line["kind"] == "connection").collect();
    let reasons: Vec<&str> = connections.iter().map(|line| line["reason"].as_str().unwrap()).collect();
    for (reason, listener) in
        [("handshake_protocol", "public"), ("certificate_validity", "mtls"), ("malformed_request", "public")]
    {
        let found = connections.iter().any(|line| line["reason"] == reason && line["listener"] == listener);
        assert!(found, "{reason} at {listener}: {reasons:?}");
    }
    assert!(connections.iter().filter(|line| line["listener"] == "mtls").count() >= 2, "{connections:?}");
    assert!(connections.iter().all(|line| line["peer"].as_str().unwrap().starts_with("127.0.0.1:")));
}

#[tokio::test]
async fn the_authorization_servers_requests_are_recorded_without_their_secrets() {
    let backend = Backend::agreeable().await;
    let site = Site::secure(&backend);
    let gateway = site.start().await;
    let token = token_of(&gateway, "acme-tls").await;
    let identity = client_identity("acme-tls");
    let fields = [("client_id", "acme-tls"), ("token", token.as_str())];
    assert_eq!(form(&gateway, "mtls", &http(Some(identity)), "/oauth/revoke", &fields).await.status(), 200);
    let fields = [("grant_type", "client_credentials"), ("client_id", "acme-tls"), ("client_secret", "hunter2hunter2")];
    let wrong = form(&gateway, "public", &http(None), "/oauth/token", &fields).await;
    assert!(wrong.status().is_client_error());
    let call = http(Some(identity)).get(gateway.https("mtls", "/shop/items")).bearer_auth(&token).send().await.unwrap();
    assert_eq!(call.status(), 401);
    gateway.stop().await;
    let lines = site.json_lines("state/audit.jsonl");
    let requests: Vec<&Value> = lines.iter().filter(|line| line["kind"] == "request").collect();
    assert_eq!(requests.len(), 4, "{requests:?}");
    let statuses: Vec<&Value> = requests.iter().map(|line| &line["status"]).collect();
    assert_eq!((statuses[0], statuses[1], statuses[3]), (&json!(200), &json!(200), &json!(401)));
    assert_eq!(requests[0]["client"], "acme-tls", "who got a token: {}", requests[0]);
    assert_eq!(requests[0]["certificate"].as_str().map(str::len), Some(43), "{}", requests[0]);
    let text = site.read("state/audit.jsonl") + &site.read("state/access.jsonl");
    assert!(!text.contains("eyJ") && !text.contains("hunter2"), "{text}");
}

#[tokio::test]
async fn records_go_on_after_a_kill_in_the_same_file() {
    let backend = Backend::agreeable().await;
    let site = Site::plain(&[&backend]);
    let call = async |gateway: &crate::harness::Gateway, nth: usize| {
        let request = reqwest::Client::new().get(gateway.url("/shop/items")).bearer_auth(outside_token("acme", "app"));
        request.header("x-fapi-interaction-id", interaction(nth)).send().await.unwrap().status().as_u16()
    };
    let gateway = site.start().await;
    assert_eq!(call(&gateway, 0).await, 200);
    let written = async {
        while by_interaction(&whole_lines(&site)).is_empty() {
            tokio::task::yield_now().await
        }
    };
    crate::harness::within("the record on disk", written).await;
    gateway.kill();
    // A line that the kill tore in half.
    let mut torn = std::fs::OpenOptions::new().append(true).open(site.path("state/audit.jsonl")).unwrap();
    std::io::Write::write_all(&mut torn, b"{\"kind\":\"request\",\"at\":\"20").unwrap();
    drop(torn);
    let gateway = site.start().await;
    assert_eq!(call(&gateway, 1).await, 200);
    gateway.stop().await;
    let lines = whole_lines(&site);
    let records = by_interaction(&lines);
    assert!(records.contains_key(&interaction(0)) && records.contains_key(&interaction(1)), "{lines:?}");
    assert!(lines.iter().any(|line| line["kind"] == "torn-line"), "the gap says itself: {lines:?}");
}

/// The lines that are whole.
fn whole_lines(site: &Site) -> Vec<Value> {
    let text = std::fs::read_to_string(site.path("state/audit.jsonl")).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[tokio::test]
async fn without_a_place_for_evidence_nothing_starts() {
    let backend = Backend::agreeable().await;
    let site = Site::plain(&[&backend]);
    std::fs::create_dir(site.path("state/audit.jsonl")).unwrap();
    let output = run(&["serve", "--config", site.config().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("audit"), "{output:?}");
}
