//! Back ends that fail, in every way there is: what the caller hears, and what is never sent twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::sync::Semaphore;

use crate::harness::backend::{Reply, Seen};
use crate::harness::token::outside_token;
use crate::harness::wire::Wire;
use crate::harness::{Backend, Gateway, Site, field, json as read_json, problem, refused, within};

const ITEM: &str = r#"{"name":"tea","quantity":1}"#;

fn request(gateway: &Gateway, method: &str, path: &str) -> reqwest::RequestBuilder {
    let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
    reqwest::Client::new().request(method, gateway.url(path)).bearer_auth(outside_token("acme", "app"))
}

/// One request in each way that a body can travel: none, held whole, streamed.
fn sent(gateway: &Gateway, method: &str, path: &str, mode: &str) -> reqwest::RequestBuilder {
    let request = request(gateway, method, path).header("x-mode", mode);
    match path {
        "/shop/notes" => request.header("content-type", "text/plain").body("a note"),
        "/shop/upload" => request.header("content-type", "application/octet-stream").body("some bytes"),
        _ if method == "GET" || method == "DELETE" => request,
        _ => request.header("content-type", "application/json").body(ITEM),
    }
}

fn mode(seen: &Seen) -> &str {
    seen.field("x-mode").unwrap_or_default()
}

fn raw(text: &str) -> Reply {
    Reply::Raw(text.as_bytes().to_vec())
}

/// Fails as the request's `x-mode` says.
async fn failing() -> Backend {
    Backend::with_early(
        |seen| (mode(seen) == "close before reading").then_some(Reply::Close),
        |seen| match mode(seen) {
            "close after reading" => Reply::Close,
            "half a status line" => raw("HTTP/1.1 2"),
            "half a header" => raw("HTTP/1.1 200 OK\r\ncontent-le"),
            "garbage" => raw("\0\x01 this is not HTTP\r\n\r\n"),
            "endless header" => {
                Reply::Raw(format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(300_000)).into_bytes())
            }
            "hang" => Reply::Hang,
            _ => Reply::json("{}"),
        },
    )
    .await
}

#[tokio::test]
async fn what_is_not_idempotent_is_never_sent_twice() {
    let backend = failing().await;
    let site = Site::plain(&[&backend]);
    site.backends(&[backend.url()], "timeouts: { connect: 1s, read: 1500ms, write: 1500ms, total: 3s }");
    let gateway = site.start().await;
    for (mode, expected) in [
        ("close before reading", refused(502, "backend-failed")),
        ("close after reading", refused(502, "backend-failed")),
        ("half a status line", refused(502, "backend-failed")),
        ("half a header", refused(502, "backend-failed")),
        ("garbage", refused(502, "backend-failed")),
        ("endless header", refused(502, "backend-failed")),
        ("hang", refused(504, "backend-timeout")),
    ] {
        let calls =
            [("POST", "/shop/items"), ("POST", "/shop/notes"), ("POST", "/shop/upload")].map(|(method, path)| {
                let (gateway, backend, expected) = (&gateway, &backend, &expected);
                async move {
                    // A connection that has been used before: what gateways are tempted to send again.
                    assert_eq!(sent(gateway, method, path, "").send().await.unwrap().status(), 200);
                    let before = backend.count(method, &path.replace("/shop", "/v1"));
                    let response = sent(gateway, method, path, mode).send().await.unwrap();
                    assert!(field(&response, "www-authenticate").is_empty(), "{mode}: never the caller's fault");
                    assert_eq!(problem(response).await, *expected, "{method} {path}: {mode}");
                    let times = backend.count(method, &path.replace("/shop", "/v1")) - before;
                    assert_eq!(times, 1, "{method} {path}: {mode}");
                }
            });
        futures_util::future::join_all(calls).await;
    }
}

/// Answers the first request of a connection and closes at every further one, as a server does whose patience with
/// an idle connection has just ended.
async fn impatient() -> Backend {
    let close = |seen: &Seen| seen.nth > 0;
    Backend::with_early(move |seen| close(seen).then_some(Reply::Close), |_| Reply::json("{}")).await
}

#[tokio::test]
async fn a_read_on_a_stale_connection_is_sent_once_more_and_a_write_is_not() {
    const TIMES: usize = 6;
    let backend = impatient().await;
    let site = Site::plain(&[&backend]);
    let gateway = site.start().await;
    for (method, path, again) in [
        ("GET", "/shop/items", true),
        ("GET", "/shop/download/1", true),
        ("DELETE", "/shop/items/1", true),
        ("PUT", "/shop/items/1", true), // Idempotent, and we hold its body.
        ("POST", "/shop/items", false),
        ("POST", "/shop/notes", false),
    ] {
        let upstream = path.replace("/shop", "/v1");
        let before = backend.count(method, &upstream);
        let mut failed = 0;
        for _ in 0..TIMES {
            let status = sent(&gateway, method, path, "").send().await.unwrap().status().as_u16();
            assert!(status == 200 || (status == 502 && !again), "{method} {path}: {status}");
            failed += usize::from(status == 502);
        }
        let times = backend.count(method, &upstream) - before;
        if again {
            assert!(times > TIMES && times <= 2 * TIMES, "{method} {path}: {times} of {TIMES}");
        } else {
            assert_eq!(times, TIMES, "{method} {path}: each was sent exactly once");
            assert!(failed > 0, "{method} {path}: a stale connection was met");
        }
    }
}

#[tokio::test]
async fn a_read_that_a_fresh_connection_fails_is_not_repeated_for_ever() {
    let backend = Backend::start(|_| Reply::Close).await;
    let site = Site::plain(&[&backend]);
    let gateway = site.start().await;
    let response = sent(&gateway, "GET", "/shop/items", "").send().await.unwrap();
    assert_eq!(problem(response).await, refused(502, "backend-failed"));
    assert!(backend.total() <= 2, "{}", backend.total());
}

#[tokio::test]
async fn after_a_problem_the_connection_goes_on_or_says_that_it_ends() {
    let backend = failing().await;
    let site = Site::plain(&[&backend]);
    let gateway = site.start().await;
    let token = outside_token("acme", "app");
    let ask = |method: &str, path: &str, mode: &str, more: &str| {
        let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n");
        format!("{head}X-Mode: {mode}\r\n{more}")
    };
    let item = format!("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{ITEM}", ITEM.len());
    let wrong = "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    let note = "Content-Type: text/plain\r\nContent-Length: 4\r\n\r\nnote";
    for (name, request, status) in [
        ("read, back end closes", ask("GET", "/shop/items", "close after reading", "\r\n"), 502),
        ("write, back end closes", ask("POST", "/shop/items", "close after reading", &item), 502),
        ("stream, back end closes", ask("POST", "/shop/notes", "close after reading", note), 502),
        ("stream, back end closes early", ask("POST", "/shop/notes", "close before reading", note), 502),
        ("garbage", ask("GET", "/shop/items", "garbage", "\r\n"), 502),
        ("no such thing", ask("GET", "/shop/none", "", "\r\n"), 404),
        ("no such thing, with a body", ask("POST", "/shop/none", "", note), 404),
        ("wrong method", ask("PATCH", "/shop/items", "", note), 405),
        ("contract", ask("POST", "/shop/items", "", wrong), 400),
        ("anonymous", format!("POST /shop/notes HTTP/1.1\r\nHost: localhost\r\n{note}"), 401),
        ("own page that is not", ask("GET", "/openapi/none.json", "", "\r\n"), 404),
    ] {
        for _ in 0..3 {
            let mut wire = Wire::connect(gateway.address("public")).await;
            wire.send(&request).await;
            let answer = wire.try_answer().await.unwrap_or_else(|| panic!("{name}: no answer"));
            assert_eq!(answer.status, status, "{name}");
            if answer.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
                assert!(wire.closed().await, "{name}");
                continue;
            }
            wire.send(ask("GET", "/shop/items", "", "\r\n")).await;
            let next = wire.try_answer().await.map(|answer| answer.status);
            assert_eq!(next, Some(200), "{name}: it did not say that it would close: {answer:?}");
        }
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_does_not_look_whole() {
    let backend = Backend::start(|seen| match mode(seen) {
        "length" => raw("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{\"half\":"),
        "chunked" => raw("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n8\r\n{\"half\":\r\n"),
        _ => Reply::json("{}"),
    })
    .await;
    let site = Site::plain(&[&backend]);
    let gateway = site.start().await;
    for (path, mode) in [
        ("/shop/items", "length"),
        ("/shop/items", "chunked"),
        ("/shop/download/1", "length"),
        ("/shop/download/1", "chunked"),
    ] {
        let mut wire = Wire::connect(gateway.address("public")).await;
        let token = outside_token("acme", "app");
        wire.send(format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nX-Mode: {mode}\r\n\r\n"
        ))
        .await;
        match wire.try_answer().await {
            None => {}
            Some(answer) => assert_eq!(answer.status, 502, "{path} {mode}: a broken answer was passed on as whole"),
        }
    }
    assert_eq!(backend.total(), 4, "none was repeated");
}

#[tokio::test]
async fn bytes_after_an_answer_are_nobodys_answer() {
    let backend = Backend::start(|seen| match mode(seen) {
        "smuggle" => Reply::Loose(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nsmuggled".to_vec(),
        ),
        _ => Reply::json(r#"{"own":true}"#),
    })
    .await;
    let site = Site::plain(&[&backend]);
    let gateway = site.start().await;
    for path in ["/shop/items", "/shop/download/1"] {
        let first = sent(&gateway, "GET", path, "smuggle").send().await.unwrap();
        assert_eq!(first.text().await.unwrap(), "{}");
        for _ in 0..4 {
            let next = sent(&gateway, "GET", path, "").send().await.unwrap();
            assert_eq!(next.text().await.unwrap(), r#"{"own":true}"#, "{path}: another's answer");
        }
    }
}

#[tokio::test]
async fn interim_answers_are_not_taken_for_the_answer() {
    let backend = Backend::start(|seen| match mode(seen) {
        "interim" => Reply::Loose(
            b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}".to_vec(),
        ),
        _ => Reply::json("{}"),
    })
    .await;
    let site = Site::plain(&[&backend]);
    let gateway = site.start().await;
    for (method, path) in [("GET", "/shop/items"), ("POST", "/shop/items"), ("POST", "/shop/notes")] {
        let response = sent(&gateway, method, path, "interim").send().await.unwrap();
        assert_eq!(
            (response.status().as_u16(), response.text().await.unwrap().as_str()),
            (200, "{}"),
            "{method} {path}"
        );
    }
}

#[tokio::test]
async fn another_back_end_takes_over_for_one_that_is_gone() {
    let (gone, alive) = (Backend::agreeable().await, Backend::agreeable().await);
    let site = Site::plain(&[&gone, &alive]);
    let gateway = site.start().await;
    gone.stop().await;
    for (method, path) in
        [("GET", "/shop/items"), ("POST", "/shop/items"), ("POST", "/shop/notes"), ("PUT", "/shop/upload")]
    {
        for _ in 0..4 {
            let response = sent(&gateway, method, path, "").send().await.unwrap();
            assert_eq!(
                response.status(),
                200,
                "{method} {path}: nothing had been sent, so any method may go elsewhere"
            );
        }
    }
    assert_eq!(alive.total(), 16, "each of them once");
}

#[tokio::test]
async fn no_back_end_at_all_is_a_503_and_never_a_401() {
    let backend = Backend::agreeable().await;
    let site = Site::plain(&[&backend]);
    let gateway = site.start().await;
    backend.stop().await;
    for (method, path) in [("GET", "/shop/items"), ("POST", "/shop/items"), ("POST", "/shop/notes")] {
        let response = sent(&gateway, method, path, "").send().await.unwrap();
        assert!(field(&response, "www-authenticate").is_empty());
        assert_eq!(problem(response).await, refused(503, "backend-unavailable"), "{method} {path}");
    }
}

#[tokio::test]
async fn the_circuit_opens_after_failures_and_closes_after_a_success() {
    let well = Arc::new(AtomicBool::new(false));
    let state = Arc::clone(&well);
    let backend =
        Backend::start(move |_| if state.load(Ordering::Relaxed) { Reply::json("{}") } else { Reply::Close }).await;
    let site = Site::plain(&[&backend]);
    site.backends(&[backend.url()], "breaker: { failures: 3, open_for: 2s }");
    let gateway = site.start().await;
    for _ in 0..3 {
        let response = sent(&gateway, "POST", "/shop/items", "").send().await.unwrap();
        assert_eq!(problem(response).await, refused(502, "backend-failed"));
    }
    for _ in 0..5 {
        let response = sent(&gateway, "POST", "/shop/items", "").send().await.unwrap();
        let retry = field(&response, "retry-after").parse::<u64>();
        assert!(retry.is_ok_and(|seconds| (1..=2).contains(&seconds)), "it says when to come again");
        assert_eq!(problem(response).await, refused(503, "backend-unavailable"));
    }
    assert_eq!(backend.total(), 3, "an open circuit spares the back end");
    well.store(true, Ordering::Relaxed);
    let recovered = async { while sent(&gateway, "GET", "/shop/items", "").send().await.unwrap().status() != 200 {} };
    within("the circuit to close", recovered).await;
    for _ in 0..5 {
        assert_eq!(sent(&gateway, "GET", "/shop/items", "").send().await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn health_checks_take_a_back_end_out_and_bring_it_back() {
    let well = Arc::new(AtomicBool::new(true));
    let state = Arc::clone(&well);
    let ailing = Backend::start(move |seen| match seen.path() {
        "/healthz" if !state.load(Ordering::Relaxed) => Reply::status(503),
        _ => Reply::json("{}"),
    })
    .await;
    let other = Backend::agreeable().await;
    let site = Site::plain(&[&ailing, &other]);
    site.backends(
        &[ailing.url(), other.url()],
        "health: { path: /healthz, interval: 100ms, timeout: 2s, unhealthy_after: 2, healthy_after: 1 }",
    );
    let gateway = site.start().await;
    well.store(false, Ordering::Relaxed);
    let states = async || gateway.status().await["institutions"][0]["backends"].to_string();
    let healthy = states().await;
    within("the back end to be out", async { while states().await == healthy {} }).await;
    let calls = |backend: &Backend| backend.count("GET", "/v1/items");
    let before = calls(&ailing);
    for _ in 0..10 {
        assert_eq!(sent(&gateway, "GET", "/shop/items", "").send().await.unwrap().status(), 200);
    }
    assert_eq!(calls(&ailing), before);
    well.store(true, Ordering::Relaxed);
    let back = async {
        while calls(&ailing) == before {
            assert_eq!(sent(&gateway, "GET", "/shop/items", "").send().await.unwrap().status(), 200);
        }
    };
    within("the back end to be asked again", back).await;
    let checks = ailing.seen();
    let check = checks.iter().find(|seen| seen.path() == "/healthz").unwrap();
    assert_eq!(check.field("authorization"), None);
}

#[tokio::test]
async fn a_full_pool_refuses_at_once() {
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let backend = Backend::start(move |_| Reply::Wait(Arc::clone(&held), Box::new(Reply::json("{}")))).await;
    let site = Site::plain(&[&backend]);
    site.backends(&[backend.url()], "in_flight_max: 1");
    let gateway = site.start().await;
    let first = tokio::spawn(sent(&gateway, "GET", "/shop/items", "").send());
    backend.arrived(1).await;
    let second = sent(&gateway, "GET", "/shop/items", "").send().await.unwrap();
    assert_eq!(field(&second, "retry-after"), "1");
    assert_eq!(problem(second).await, refused(503, "overloaded"));
    gate.add_permits(2);
    assert_eq!(first.await.unwrap().unwrap().status(), 200);
    assert_eq!(sent(&gateway, "GET", "/shop/items", "").send().await.unwrap().status(), 200, "the place is free again");
}

#[tokio::test]
async fn a_back_ends_own_refusals_pass_but_its_doubts_about_us_do_not() {
    let backend = Backend::start(|seen| Reply::status(mode(seen).parse().unwrap_or(200))).await;
    let site = Site::plain(&[&backend]);
    site.write("keys/secret.txt", "our-key");
    let gateway = site.start().await;
    for credential in ["", "credential: { kind: api_key, header: x-api-key, secret_file: ../keys/secret.txt }"] {
        site.backends(&[backend.url()], credential);
        gateway.reload().await;
        for status in [400_u16, 403, 404, 409, 422, 429, 500, 503] {
            for path in ["/shop/items", "/shop/notes"] {
                let response = sent(&gateway, "POST", path, &status.to_string()).send().await.unwrap();
                let (got, body) = read_json(response).await;
                assert_eq!((got, body), (status, json!({})), "{path}");
            }
        }
        for doubt in ["401", "407"] {
            for (method, path) in [("GET", "/shop/items"), ("POST", "/shop/items"), ("POST", "/shop/notes")] {
                let response = sent(&gateway, method, path, doubt).send().await.unwrap();
                assert!(field(&response, "www-authenticate").is_empty());
                assert!(field(&response, "proxy-authenticate").is_empty());
                assert_eq!(
                    problem(response).await,
                    refused(502, "backend-failed"),
                    "{method} {path} {doubt} {credential:?}: it refused us, not the caller"
                );
            }
        }
    }
}

#[tokio::test]
async fn our_token_towards_a_back_end_is_renewed_when_it_is_refused() {
    let backend = Backend::start(|seen| {
        if seen.path() == "/token" {
            let body =
                json!({ "access_token": format!("t{}", seen.nth_token()), "token_type": "bearer", "expires_in": 3600 });
            return Reply::json(&body.to_string());
        }
        match seen.field("authorization") {
            Some("Bearer t0") => Reply::status(401),
            Some(field) if field.starts_with("Bearer t") => Reply::json("{}"),
            _ => Reply::status(400),
        }
    })
    .await;
    let site = Site::plain(&[&backend]);
    site.write("keys/secret.txt", "our-secret");
    let credential = format!(
        "credential: {{ kind: oauth2_client_credentials, token_url: '{}/token', client_id: gateway, client_secret_file: ../keys/secret.txt, scopes: [partner] }}",
        backend.url()
    );
    site.backends(&[backend.url()], &credential);
    let gateway = site.start().await;
    // The first token is one that the back end does not take: a write is not repeated, but the next one has a new token.
    let first = sent(&gateway, "POST", "/shop/items", "").send().await.unwrap();
    assert_eq!(problem(first).await, refused(502, "backend-failed"));
    assert_eq!(backend.count("POST", "/v1/items"), 1);
    let renewed = async { while sent(&gateway, "GET", "/shop/items", "").send().await.unwrap().status() != 200 {} };
    within("a new token", renewed).await;
    let asked = backend.seen().into_iter().find(|seen| seen.path() == "/token").unwrap();
    let form = String::from_utf8(asked.body).unwrap();
    assert!(form.contains("grant_type=client_credentials") && form.contains("scope=partner"), "{form}");
    assert!(!gateway.log().contains("our-secret"));
}

impl Seen {
    /// Which token request of the back end this is, counted over its life.
    fn nth_token(&self) -> usize {
        static ASKED: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        ASKED.fetch_add(1, Ordering::Relaxed)
    }
}

#[tokio::test]
async fn answers_are_redacted_and_masked_as_the_policy_says() {
    let answer = json!({
        "Data": { "Account": [
            { "Id": "22289", "Number": "80200110203345", "Pin": "1234", "Owner": { "Name": "A" } },
            { "Id": "31820", "Number": "80200110203348", "Pin": 1234 },
        ] },
        "Meta": { "Total": 2.50 },
    });
    let text = answer.to_string();
    let backend = Backend::start(move |_| {
        let fields =
            vec![("content-type", "application/json".to_owned()), ("etag", "\"1\"".into()), ("digest", "x".into())];
        Reply::Answer(200, fields, text.clone().into_bytes())
    })
    .await;
    let site = Site::plain(&[&backend]);
    redact(&site);
    let gateway = site.start().await;
    let asked = request(&gateway, "GET", "/shop/items").header("accept-encoding", "gzip").header("range", "bytes=0-1");
    let response = asked.send().await.unwrap();
    assert_eq!(field(&response, "etag"), "", "it names other bytes");
    assert_eq!(field(&response, "digest"), "");
    let (status, said) = read_json(response).await;
    assert_eq!(status, 200);
    assert_eq!(
        said,
        json!({
            "Data": { "Account": [
                { "Id": "22289", "Number": "**********3345", "Owner": { "Name": "A" } },
                { "Id": "31820", "Number": "**********3348" },
            ] },
            "Meta": { "Total": 2.50 },
        })
    );
    let seen = backend.last();
    assert_eq!((seen.field("accept-encoding"), seen.field("range")), (Some("identity"), None));
    let untouched = request(&gateway, "GET", "/shop/items/1").send().await.unwrap();
    assert_eq!(read_json(untouched).await.1, answer, "another operation is not concerned");
}

fn redact(site: &Site) {
    site.write(
        "policies/redact.cedar",
        "@id(\"own.redact\")
@redact(\"/Data/Account/*/Pin\")
@mask(\"/Data/Account/*/Number\")
permit (principal, action == Action::\"shop.listItems\", resource);
",
    );
}

#[tokio::test]
async fn what_cannot_be_redacted_is_not_passed_on() {
    let large = format!("{{\"Data\":\"{}\"}}", "x".repeat(2 << 20));
    let backend = Backend::start(move |seen| {
        let kind = |kind: &str| vec![("content-type", kind.to_owned())];
        match mode(seen) {
            "html" => Reply::Answer(200, kind("text/html"), b"<p>secret 1234</p>".to_vec()),
            "csv" => Reply::Answer(200, kind("text/csv"), b"secret".to_vec()),
            "no type" => Reply::Answer(200, vec![], b"{}".to_vec()),
            "coded" => {
                let fields = vec![("content-type", "application/json".to_owned()), ("content-encoding", "gzip".into())];
                Reply::Answer(200, fields, b"secret".to_vec())
            }
            "malformed" => Reply::json("{\"Data\":secret"),
            "too exact" => Reply::json("{\"n\":0.12345678901234567890123,\"s\":\"secret\"}"),
            "too large" => Reply::json(&large),
            "error page" => Reply::Answer(500, kind("text/html"), b"<p>secret</p>".to_vec()),
            "empty" => Reply::Answer(204, vec![], Vec::new()),
            _ => Reply::json("{}"),
        }
    })
    .await;
    let site = Site::plain(&[&backend]);
    redact(&site);
    let gateway = site.start().await;
    for mode in ["html", "csv", "no type", "coded", "malformed", "too exact", "too large", "error page"] {
        let response = sent(&gateway, "GET", "/shop/items", mode).send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        assert_eq!(status, 502, "{mode}: {text:.200}");
        assert!(text.contains("backend-contract") && !text.contains("secret") && !text.contains("xxxx"), "{mode}");
    }
    assert_eq!(sent(&gateway, "GET", "/shop/items", "").send().await.unwrap().status(), 200);
    assert_eq!(sent(&gateway, "GET", "/shop/items", "empty").send().await.unwrap().status(), 204, "nothing to hide");
    let elsewhere = sent(&gateway, "GET", "/shop/items/1", "html").send().await.unwrap();
    assert_eq!(elsewhere.text().await.unwrap(), "<p>secret 1234</p>", "no rule concerns this operation");
}

#[tokio::test]
async fn an_answer_is_held_to_the_contract_where_that_is_enforced() {
    let backend = Backend::start(|seen| Reply::json(if mode(seen) == "wrong" { "[1]" } else { "{}" })).await;
    let site = Site::plain(&[&backend]);
    site.edit("config/apis.yaml", "    operations:", "    response_contract: enforce\n    operations:");
    let gateway = site.start().await;
    assert_eq!(sent(&gateway, "GET", "/shop/items", "").send().await.unwrap().status(), 200);
    let wrong = sent(&gateway, "GET", "/shop/items", "wrong").send().await.unwrap();
    assert_eq!(problem(wrong).await, refused(502, "backend-contract"));
    site.edit("config/apis.yaml", "response_contract: enforce", "response_contract: observe");
    gateway.reload().await;
    let observed = sent(&gateway, "GET", "/shop/items", "wrong").send().await.unwrap();
    assert_eq!(observed.text().await.unwrap(), "[1]");
}

#[tokio::test]
async fn whoever_does_not_finish_a_request_does_not_keep_the_connection() {
    let backend = Backend::agreeable().await;
    let site = Site::plain(&[&backend]);
    site.edit(
        "config/gateway.yaml",
        "drain_timeout: 20s",
        "drain_timeout: 20s, header_timeout: 300ms, body_idle_timeout: 300ms, idle_timeout: 500ms",
    );
    let gateway = site.start().await;
    let token = outside_token("acme", "app");
    let half = format!("POST /shop/notes HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n");
    for (name, bytes) in [
        ("half a header section", half.clone()),
        ("half a body, streamed", format!("{half}Content-Type: text/plain\r\nContent-Length: 100\r\n\r\nhalf")),
        (
            "half a body, held",
            format!("{half}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{").replace("notes", "items"),
        ),
        ("nothing", String::new()),
    ] {
        let mut wire = Wire::connect(gateway.address("public")).await;
        wire.send(bytes).await;
        let ended = tokio::time::timeout(Duration::from_secs(10), async {
            if let Some(answer) = wire.try_answer().await {
                assert_eq!(answer.status, 408, "{name}");
            }
            wire.closed().await
        });
        assert!(ended.await.is_ok(), "{name}: the connection was kept");
    }
    assert!(!backend.seen().iter().any(|seen| seen.complete), "no half of a request became a whole one");
}
