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
use crate::harness::{Backend, Gateway, Reply, Site, run};

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

/// A request, and what its record must say.
struct Case {
    name: &'static str,
    method: &'static str,
    path: &'static str,
    token: Token,
    body: &'static str,
    /// What the back end does.
    mode: &'static str,
    outcome: &'static str,
    status: u16,
    /// Of the problem; the phase where the answer broke off.
    code: &'static str,
}

#[derive(Clone, Copy)]
enum Token {
    None,
    Good,
    Expired,
    Narrow,
}

const ITEM: &str = "/shop/items/SECRET";
const BODY: &str = r#"{"name":"SECRET","quantity":1}"#;

const fn case(name: &'static str, method: &'static str, path: &'static str, due: (u16, &'static str)) -> Case {
    let outcome = if due.1.is_empty() { "answered" } else { "refused" };
    Case { name, method, path, token: Token::Good, body: "", mode: "", outcome, status: due.0, code: due.1 }
}

const CASES: &[Case] = &[
    case("read", "GET", ITEM, (200, "")),
    Case { body: BODY, ..case("write", "POST", "/shop/items", (200, "")) },
    Case { mode: "500", ..case("error of the back end", "GET", ITEM, (500, "")) },
    Case { token: Token::None, ..case("no token", "GET", ITEM, (401, "token-missing")) },
    Case { token: Token::Expired, ..case("expired", "GET", ITEM, (401, "token-invalid")) },
    Case { token: Token::Narrow, ..case("scope", "GET", ITEM, (403, "scope-missing")) },
    case("policy", "DELETE", ITEM, (403, "policy-refused")),
    case("route", "GET", "/shop/none", (404, "no-such-resource")),
    case("method", "PATCH", ITEM, (405, "method-not-allowed")),
    Case { body: "{}", ..case("contract", "POST", "/shop/items", (400, "contract-violated")) },
    case("path", "GET", "/shop/items/%2e%2e", (400, "malformed-request")),
    Case { mode: "close", ..case("back end closes", "GET", ITEM, (502, "backend-failed")) },
    Case { mode: "hang", body: BODY, ..case("back end is silent", "POST", "/shop/items", (504, "backend-timeout")) },
    Case { mode: "break", outcome: "aborted", ..case("answer breaks off", "GET", ITEM, (200, "answer")) },
    Case { token: Token::None, ..case("page of our own", "GET", "/openapi.json", (200, "")) },
    Case { token: Token::None, outcome: "", ..case("no page of our own", "GET", "/openapi/none.json", (404, "")) },
];
const POLICY_CASE: usize = 6;

impl Case {
    fn request(&self, id: &str) -> String {
        let token = match self.token {
            Token::None => None,
            Token::Good => Some(outside_token("acme", "app")),
            Token::Expired => Some(claiming(json!({ "exp": 1 }))),
            Token::Narrow => Some(claiming(json!({ "scope": "x" }))),
        };
        let token = token.map_or_else(String::new, |token| format!("Authorization: Bearer {token}\r\n"));
        let body = self.body.replace("SECRET", SECRET);
        let kind = match body.len() {
            0 => String::new(),
            length => format!("Content-Type: application/json\r\nContent-Length: {length}\r\n"),
        };
        let (method, path, mode) = (self.method, self.path.replace("SECRET", SECRET), self.mode);
        let query = if method == "GET" && path.contains("items") { format!("?q={SECRET}") } else { String::new() };
        format!(
            "{method} {path}{query} HTTP/1.1\r\nHost: localhost\r\n{token}x-fapi-interaction-id: {id}\r\n\
             Cookie: s={SECRET}\r\nX-Mode: {mode}\r\nUser-Agent: {SECRET}\r\n{kind}\r\n{body}"
        )
    }

    fn judge(&self, record: &Value) {
        let name = self.name;
        assert_eq!(
            (&record["method"], &record["status"]),
            (&json!(self.method), &json!(self.status)),
            "{name}: {record}"
        );
        if !self.outcome.is_empty() {
            assert_eq!(record["outcome"], self.outcome, "{name}: {record}");
        }
        let told = if self.outcome == "aborted" { &record["phase"] } else { &record["code"] };
        assert!(self.code.is_empty() || *told == self.code, "{name}: {record}");
    }
}

fn claiming(changes: Value) -> String {
    outside_key().jwt("at+jwt", &with(outside_claims("acme", "app"), changes))
}

/// A back end that does as `X-Mode` says; who waits waits for the gate.
async fn moody(gate: &Arc<Semaphore>) -> Backend {
    let held = Arc::clone(gate);
    Backend::start(move |seen| match seen.field("x-mode") {
        Some("close") => Reply::Close,
        Some("500") => Reply::status(500),
        Some("hang") => Reply::Hang,
        Some("wait") => Reply::Wait(Arc::clone(&held), Box::new(Reply::json("{}"))),
        // So much that it has begun to leave before the rest is missed: else it would be answered for.
        Some("break") => {
            Reply::Raw([b"HTTP/1.1 200 OK\r\ncontent-length: 400000\r\n\r\n".to_vec(), vec![b' '; 200_000]].concat())
        }
        _ => Reply::json(&format!("{{\"iban\":\"{SECRET}\"}}")),
    })
    .await
}

fn metered(backend: &Backend) -> Site {
    let site = Site::plain(&[backend]);
    site.backends(&[backend.url()], "timeouts: { connect: 1s, read: 1s, write: 1s, total: 2s }");
    site.append("config/plans.yaml", "      - { name: hourly, per: client, window: { requests: 8, period: hour } }\n");
    site.write(
        "policies/no.cedar",
        "@id(\"own.no\")\n@reason(\"No.\")\n@remedy(\"None.\")\nforbid (principal, action == Action::\"shop.deleteItem\", resource);\n",
    );
    site
}

#[tokio::test]
async fn one_record_per_request_whatever_becomes_of_it() {
    let gate = Arc::new(Semaphore::new(0));
    let backend = moody(&gate).await;
    let site = metered(&backend);
    let gateway = site.start().await;
    for (nth, case) in CASES.iter().enumerate() {
        let mut wire = Wire::connect(gateway.address("public")).await;
        wire.send(case.request(&interaction(nth))).await;
        assert_eq!(wire.try_answer().await.is_none(), case.mode == "break", "{}", case.name);
    }
    let (leaving, impatient) = (interaction(100), interaction(101));
    leave(&gateway, &backend, [&leaving, &impatient]).await;
    gate.add_permits(1);
    let mut last = 0;
    for nth in 102..112 {
        let request = reqwest::Client::new().get(gateway.url("/shop/items")).bearer_auth(outside_token("acme", "app"));
        last = request.header("x-fapi-interaction-id", interaction(nth)).send().await.unwrap().status().as_u16();
    }
    assert_eq!(last, 429, "its quota is used up");
    assert_eq!(gateway.stop().await.code(), Some(0));

    let records = by_interaction(&site.json_lines("state/audit.jsonl"));
    let lines = by_interaction(&as_requests(&site.json_lines("state/access.jsonl")));
    for (nth, case) in CASES.iter().enumerate() {
        let id = interaction(nth);
        case.judge(records.get(&id).unwrap_or_else(|| panic!("no record of: {}", case.name)));
        assert!(lines.contains_key(&id), "no access line of: {}", case.name);
    }
    assert_eq!(records[&leaving]["outcome"], "aborted", "{}", records[&leaving]);
    assert!(records.contains_key(&impatient), "whoever leaves has a record");
    let over = &records[&interaction(111)];
    assert_eq!((&over["code"], &over["quotas_refused"]), (&json!("quota-exceeded"), &json!(["hourly"])), "{over}");
    assert_eq!(records.len(), CASES.len() + 12, "no more records than requests");
    assert_eq!(lines.len(), records.len());
    assert_eq!(records[&interaction(POLICY_CASE)]["policies"], json!(["own.no"]));
    a_record_says_what_happened(&records[&interaction(0)], backend.address.port());
    an_access_line_says_how_long(&lines[&interaction(0)]);
    nothing_personal_is_written(&site);
}

/// One leaves in the middle of its body, one while it waits for the answer.
async fn leave(gateway: &Gateway, backend: &Backend, [leaving, impatient]: [&str; 2]) {
    let token = outside_token("acme", "app");
    let head = |id: &str, length: usize, mode: &str| {
        format!(
            "POST /shop/notes HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: text/plain\r\nContent-Length: {length}\r\nx-fapi-interaction-id: {id}\r\n{mode}\r\n"
        )
    };
    let arrived = backend.total();
    for (nth, text) in [head(leaving, 100_000, "") + SECRET, head(impatient, 0, "X-Mode: wait\r\n")].iter().enumerate()
    {
        let mut wire = Wire::connect(gateway.address("public")).await;
        wire.send(text.clone()).await;
        backend.arrived(arrived + nth + 1).await;
    }
}

fn a_record_says_what_happened(read: &Value, port: u16) {
    for (member, value) in [
        ("operation", "shop.getItem"),
        ("api", "shop"),
        ("institution", "store"),
        ("product", "goods"),
        ("plan", "open"),
        ("environment", "sandbox"),
        ("protocol", "HTTP/1.1"),
        ("listener", "public"),
        ("peer", "127.0.0.1"),
    ] {
        assert_eq!(read[member], value, "{member} of {read}");
    }
    assert!(read["tenant"].as_str().unwrap().ends_with(":acme"), "{read}");
    for member in ["client", "token", "policies", "policy_set", "revision", "trace_id", "upstream"] {
        assert!(!read[member].is_null(), "{member} of {read}");
    }
    assert_eq!(read["upstream"]["status"], 200);
    assert!(!read["upstream"]["backend"].as_str().unwrap().contains(&port.to_string()), "no address: {read}");
}

fn an_access_line_says_how_long(line: &Value) {
    let when = ["at", "total_us", "upstream_us", "bytes_in", "bytes_out"];
    let what =
        ["interaction_id", "trace_id", "span_id", "listener", "peer", "protocol", "method", "operation", "status"];
    for member in when.iter().chain(&what) {
        assert!(!line[member].is_null(), "{member} of {line}");
    }
}

/// Neither file holds a body, a path, a query, a token or a cookie.
fn nothing_personal_is_written(site: &Site) {
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

#[tokio::test]
async fn files_are_rotated_by_renaming_them() {
    let backend = Backend::agreeable().await;
    let site = Site::plain(&[&backend]);
    let gateway = site.start().await;
    let call = async |nth: usize| {
        let request = reqwest::Client::new().get(gateway.url("/shop/items")).bearer_auth(outside_token("acme", "app"));
        request.header("x-fapi-interaction-id", interaction(nth)).send().await.unwrap().status().as_u16()
    };
    assert_eq!(call(0).await, 200);
    let (path, older) = (site.path("state/audit.jsonl"), site.path("state/audit.jsonl.1"));
    let (access, older_access) = (site.path("state/access.jsonl"), site.path("state/access.jsonl.1"));
    std::fs::rename(&path, &older).unwrap();
    std::fs::rename(&access, &older_access).unwrap();
    let begun = async {
        while whole_lines(&site).is_empty() || !access.exists() {
            tokio::task::yield_now().await
        }
    };
    crate::harness::within("new files", begun).await;
    assert_eq!(call(1).await, 200);
    gateway.stop().await;
    let lines = whole_lines(&site);
    assert_eq!(lines[0]["kind"], "file-changed", "{lines:?}");
    assert!(by_interaction(&lines).contains_key(&interaction(1)), "{lines:?}");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let older = std::fs::read_to_string(older).unwrap();
    assert!((older + &site.read("state/audit.jsonl")).contains(&interaction(0)), "{lines:?}");
    assert!(site.read("state/access.jsonl").contains(&interaction(1)));
    let older = std::fs::read_to_string(older_access).unwrap();
    assert!((older + &site.read("state/access.jsonl")).contains(&interaction(0)));
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
