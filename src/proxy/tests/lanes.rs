//! Both lanes, from a caller's socket to a back end's.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, Method};
use http_body_util::StreamBody;
use hyper::body::Frame;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::rig::{Op, Rig, ops};
use crate::proxy::Ending;
use crate::upstream::CredentialSettings;
use crate::upstream::testing::{Act, Server, dead_port, settings};

#[tokio::test]
async fn a_read_passes_both_ways_with_our_fields_and_without_theirs() {
    let fields = "Server: bankd\r\nSet-Cookie: a=b\r\nETag: \"1\"\r\nLocation: http://127.0.0.1/nowhere\r\n";
    let mut bank = Server::plain(move |_| Act::json(200, fields, r#"{"id":1}"#)).await;
    let rig = Rig::start(settings(&[bank.url()])).await;
    let id = "c770aef3-6784-41f7-8e0e-ff5f97bddb3a";
    let answer = rig
        .request(Method::GET, "/bank/accounts/22%C3%A4:1?page=%31%2f")
        .header("x-fapi-interaction-id", id)
        .header("cookie", "session=1")
        .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    let headers = answer.headers().clone();
    assert_eq!(answer.text().await.unwrap(), r#"{"id":1}"#);
    for (name, expected) in [
        ("x-fapi-interaction-id", id),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("etag", "\"1\""),
        ("ratelimit-policy", "\"burst\";q=1000;w=1"),
    ] {
        assert_eq!(headers.get(name).map(|v| v.to_str().unwrap()), Some(expected), "{name}");
    }
    assert!(headers["server-timing"].to_str().unwrap().contains("upstream;dur="));
    assert!(!headers.contains_key("server") && !headers.contains_key("set-cookie"));
    assert!(!headers.contains_key("strict-transport-security"), "RFC 6797 §7.2: not over plain HTTP");

    let head = bank.next().await.head.to_ascii_lowercase();
    assert!(head.starts_with("get /v1/accounts/22%c3%a4:1?page=%31%2f http/1.1\r\n"), "byte for byte: {head}");
    assert!(!head.contains("authorization") && !head.contains("cookie"), "{head}");
    assert!(head.contains(&format!("x-fapi-interaction-id: {id}")));
    assert!(head.contains("traceparent: 00-0af7651916cd43dd8448eb211c80319c-") && !head.contains("b7ad6b7169203331"));
    assert!(head.contains("forwarded: for=127.0.0.1;host="));

    let record = rig.records.next().await;
    assert_eq!((record.ending, record.status, record.upstream_status), (Ending::Answered, Some(200), Some(200)));
    assert_eq!(record.backend.as_deref(), Some("bank/sandbox/0"));
    assert_eq!((record.attempts, record.response_bytes), (1, 8));
    assert!(record.operation.is_some() && record.caller.is_some() && record.permit.is_some());
}

#[tokio::test]
async fn every_refusal_is_a_problem_document_and_one_record() {
    let mut bank = Server::plain(|_| Act::ok("{}")).await;
    let rig = Rig::start(settings(&[bank.url()])).await;
    let bare = reqwest::Client::builder().no_proxy().build().unwrap();
    for (name, request, status, code) in [
        ("no token", bare.get(rig.url("/bank/accounts/1")), 401, "token-missing"),
        ("a forged token", bare.get(rig.url("/bank/accounts/1")).bearer_auth("a.b.c"), 401, "token-invalid"),
        ("unknown path", rig.request(Method::GET, "/bank/nothing"), 404, "no-such-resource"),
        ("method", rig.request(Method::DELETE, "/bank/accounts/1"), 405, "method-not-allowed"),
        ("a double slash", rig.request(Method::GET, "/bank//accounts"), 400, "malformed-request"),
        ("not JSON", rig.request(Method::POST, "/bank/checked").body("x"), 415, "media-type-unsupported"),
    ] {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), status, "{name}");
        assert_eq!(answer.headers()["content-type"], "application/problem+json", "{name}");
        let interaction = answer.headers()["x-fapi-interaction-id"].to_str().unwrap().to_owned();
        let body: Value = answer.json().await.unwrap();
        assert_eq!(
            (body["code"].as_str(), body["interaction_id"].as_str()),
            (Some(code), Some(&*interaction)),
            "{name}"
        );
        assert_eq!(rig.records.summary().await, (Ending::Refused, Some(status), Some(code)), "{name}");
    }
    assert_eq!(rig.records.waiting(), 0);
    assert_eq!(bank.count(), 0, "nothing reached the back end");
}

#[tokio::test]
async fn our_own_paths_go_to_the_router() {
    let rig = Rig::start(settings(&[format!("http://127.0.0.1:{}", dead_port())])).await;
    let answer = reqwest::get(rig.url("/usage")).await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.text().await.unwrap().as_str()), (200, "own"));
    assert_eq!(rig.records.summary().await, (Ending::Answered, Some(200), None));
}

#[tokio::test]
async fn large_bodies_stream_both_ways_and_stop_at_the_limit() {
    let mut bank = Server::plain(|seen| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", seen.body.len());
        Act::Answer([head.as_bytes(), &seen.body].concat())
    })
    .await;
    let mut all = ops();
    all[3].body_bytes_max = Some(1000);
    let rig = Rig::with(settings(&[bank.url()]), all, |_| ()).await;
    let large: Vec<u8> = (0..8_000_000_u32).map(|n| (n % 251) as u8).collect();
    for body in [reqwest::Body::from(large.clone()), chunked(large.clone())] {
        let answer = rig.request(Method::POST, "/bank/payments").body(body).send().await.unwrap();
        assert_eq!(answer.bytes().await.unwrap(), large);
        assert_eq!(rig.records.next().await.request_bytes, 8_000_000);
        assert_eq!(bank.next().await.body.len(), 8_000_000);
    }
    for body in [reqwest::Body::from(vec![0; 5000]), chunked(vec![0; 5000])] {
        let answer = rig.request(Method::PUT, "/bank/payments/1").body(body).send().await.unwrap();
        assert_eq!(answer.status(), 413);
        assert_eq!(rig.records.summary().await, (Ending::Refused, Some(413), Some("body-too-large")));
    }
    assert_eq!(bank.count(), 0, "a request that is too large is never whole at the back end");
}

fn chunked(bytes: Vec<u8>) -> reqwest::Body {
    let frame = |chunk: &[u8]| Ok::<_, std::io::Error>(Frame::data(Bytes::copy_from_slice(chunk)));
    let frames: Vec<_> = bytes.chunks(50_000).map(frame).collect();
    reqwest::Body::wrap(StreamBody::new(futures_util::stream::iter(frames)))
}

#[tokio::test]
async fn a_dead_back_end_is_passed_over_and_all_dead_is_a_503() {
    let mut bank = Server::plain(|_| Act::ok(r#"{"id":1}"#)).await;
    let (one, two) = (dead_port(), dead_port());
    let dead = [format!("http://127.0.0.1:{one}"), format!("http://127.0.0.1:{two}")];
    for path in ["/bank/payments", "/bank/checked"] {
        let rig = Rig::start(settings(&[dead[0].clone(), dead[1].clone(), bank.url()])).await;
        let request = rig.request(Method::POST, path).json(&json!({ "amount": "1" }));
        assert_eq!(request.send().await.unwrap().status(), 200, "{path}");
        assert_eq!(bank.next().await.body, br#"{"amount":"1"}"#);
        let rig = Rig::start(settings(&dead[..1])).await;
        let answer = rig.request(Method::POST, path).json(&json!({ "amount": "1" })).send().await.unwrap();
        assert_eq!(answer.status(), 503, "{path}");
        let body = answer.text().await.unwrap();
        assert!(body.contains("backend-unavailable") && !body.contains(&one.to_string()), "{body}");
        assert_eq!(rig.records.summary().await, (Ending::Refused, Some(503), Some("backend-unavailable")));
    }
    assert_eq!(bank.count(), 0, "each was sent once");
}

#[tokio::test]
async fn a_payment_is_never_sent_twice_and_a_read_on_a_stale_connection_is() {
    for (method, path, status, requests) in [
        (Method::POST, "/bank/payments", 502, 1),
        (Method::POST, "/bank/checked", 502, 1),
        (Method::GET, "/bank/accounts/1", 200, 2),
        (Method::GET, "/bank/enforced", 200, 2),
        (Method::PUT, "/bank/payments/1", 502, 1),
    ] {
        // Closes once, at the second request of a connection, as after an idle timeout.
        let closed = AtomicBool::new(false);
        let mut bank = Server::plain(move |seen| {
            let closes = seen.ordinal == 1 && !closed.swap(true, Ordering::SeqCst);
            if closes { Act::Close } else { Act::ok(r#"{"id":1}"#) }
        })
        .await;
        let rig = Rig::start(settings(&[bank.url()])).await;
        let body = (method != Method::GET).then(|| json!({ "amount": "1" }));
        let send = || {
            let request = rig.request(method.clone(), path);
            body.as_ref().map_or(request.try_clone().unwrap(), |body| request.json(body)).send()
        };
        assert_eq!(send().await.unwrap().status(), 200, "{method} {path}: the first on its connection");
        bank.next().await;
        let answer = send().await.unwrap();
        let reached = bank.count();
        assert_eq!((answer.status().as_u16(), reached), (status, requests), "{method} {path}");
    }
}

#[tokio::test]
async fn a_silent_back_end_is_a_504_at_the_operations_deadline() {
    let bank = Server::plain(|_| Act::Hang).await;
    let mut all = ops();
    for op in &mut all {
        op.timeout = Some(Duration::from_millis(200));
    }
    let rig = Rig::with(settings(&[bank.url()]), all, |_| ()).await;
    for (method, path) in
        [(Method::GET, "/bank/accounts/1"), (Method::GET, "/bank/hidden"), (Method::POST, "/bank/payments")]
    {
        let answer = rig.request(method.clone(), path).send().await.unwrap();
        assert_eq!(answer.status(), 504, "{method} {path}");
        assert_eq!(rig.records.summary().await, (Ending::Refused, Some(504), Some("backend-timeout")));
    }
}

#[tokio::test]
async fn a_back_ends_401_is_about_us_and_never_the_callers() {
    for status in [401, 407] {
        let mut bank = Server::plain(move |_| Act::json(status, "WWW-Authenticate: Bearer\r\n", "{}")).await;
        let mut keyed = settings(&[bank.url()]);
        keyed.credential = CredentialSettings::ApiKey {
            header: HeaderName::from_static("x-api-key"),
            secret: SecretString::from("k".to_owned()),
        };
        for (name, pool) in [("a key", keyed), ("no credential", settings(&[bank.url()]))] {
            let rig = Rig::start(pool).await;
            for path in ["/bank/accounts/1", "/bank/hidden"] {
                let answer = rig.get(path).await;
                assert_eq!(answer.status(), 502, "{status}, {name}, {path}");
                assert!(!answer.headers().contains_key("www-authenticate"), "{status}, {name}, {path}");
                assert_eq!(rig.records.summary().await, (Ending::Refused, Some(502), Some("backend-failed")));
                bank.next().await;
                assert_eq!(bank.count(), 0, "{status}, {name}, {path}: asked once");
            }
        }
    }
}

#[tokio::test]
async fn redaction_rewrites_json_and_lets_nothing_else_pass() {
    let answer = |fields: &str, body: &str| Act::json(200, fields, body);
    for (name, act, expected) in [
        ("JSON", answer("ETag: \"1\"\r\n", r#"{"z":1,"secret":"x","a":2.50}"#), Ok(r#"{"z":1,"a":2.5}"#)),
        ("nothing to hide", answer("", r#"{"a":1}"#), Ok(r#"{"a":1}"#)),
        ("an error of theirs", Act::status(404, r#"{"secret":"x","error":"none"}"#), Ok(r#"{"error":"none"}"#)),
        ("no content", Act::Answer(b"HTTP/1.1 204 X\r\n\r\n".to_vec()), Ok("")),
        ("compressed", answer("Content-Encoding: gzip\r\n", "\u{1f}"), Err(502)),
        ("malformed", answer("", r#"{"secret":"x""#), Err(502)),
        (
            "text",
            Act::Answer(b"HTTP/1.1 200 X\r\nContent-Type: text/csv\r\nContent-Length: 6\r\n\r\nsecret".to_vec()),
            Err(502),
        ),
        ("too large", answer("", &format!(r#"{{"a":"{}"}}"#, "x".repeat(300_000))), Err(502)),
        (
            "broken off",
            Act::AnswerThenClose(b"HTTP/1.1 200 X\r\nContent-Length: 50\r\n\r\n{\"secret\"".to_vec()),
            Err(502),
        ),
    ] {
        let mut bank = Server::plain(move |_| act.clone()).await;
        let rig = Rig::start(settings(&[bank.url()])).await;
        let request =
            rig.request(Method::GET, "/bank/hidden").header("accept-encoding", "gzip").header("range", "bytes=0-1");
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let body = answer.text().await.unwrap();
        match expected {
            Ok(text) => {
                assert_eq!(body, text, "{name}");
                assert!(!headers.contains_key("etag"), "{name}");
                assert_eq!(headers["x-policy"], "hidden", "{name}");
            }
            Err(code) => {
                assert_eq!(status, code, "{name}");
                assert!(!body.contains("secret"), "{name}: {body}");
            }
        }
        let head = bank.next().await.head.to_ascii_lowercase();
        assert!(head.contains("accept-encoding: identity") && !head.contains("range:"), "{name}: {head}");
    }
}

#[tokio::test]
async fn contracts_of_answers_are_enforced_or_observed() {
    let (right, wrong) = (r#"{"id":1}"#, r#"{"id":"one"}"#);
    for (path, body, status, violations) in [
        ("/bank/enforced", right, 200, 0),
        ("/bank/enforced", wrong, 502, 0),
        ("/bank/observed", right, 200, 0),
        ("/bank/observed", wrong, 200, 1),
    ] {
        let bank = Server::plain(move |_| Act::ok(body)).await;
        let rig = Rig::start(settings(&[bank.url()])).await;
        let answer = rig.get(path).await;
        assert_eq!(answer.status(), status, "{path} {body}");
        if status == 200 {
            assert_eq!(answer.text().await.unwrap(), body, "byte for byte");
        }
        assert_eq!(rig.records.next().await.observed.1, violations, "{path} {body}");
    }
    let large = format!(r#"{{"id":1,"pad":"{}"}}"#, "x".repeat(300_000));
    let bank = Server::plain({
        let large = large.clone();
        move |_| Act::ok(&large)
    })
    .await;
    let rig = Rig::start(settings(&[bank.url()])).await;
    assert_eq!(rig.get("/bank/observed").await.text().await.unwrap(), large, "what is only observed is not stopped");
    assert_eq!(rig.get("/bank/enforced").await.status(), 502, "what must be checked and is too large is");
}

#[tokio::test]
async fn bodies_that_a_contract_reads_are_checked_before_the_back_end_hears_of_them() {
    let mut bank = Server::plain(|_| Act::ok(r#"{"id":1}"#)).await;
    let rig = Rig::start(settings(&[bank.url()])).await;
    let post = || rig.request(Method::POST, "/bank/checked").header("content-type", "application/json");
    let large = format!(r#"{{"amount":"{}"}}"#, "1".repeat(300_000));
    for (name, request, status) in [
        ("a violation", post().body(r#"{"amount":1}"#), 400),
        ("malformed", post().body("{"), 400),
        ("duplicate keys", post().body(r#"{"amount":"1","amount":"2"}"#), 400),
        ("absent", post(), 400),
        ("compressed", post().header("content-encoding", "gzip").body("x"), 415),
        ("too large", post().body(large.clone()), 413),
        ("too large, unannounced", post().body(chunked(large.into_bytes())), 413),
    ] {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), status, "{name}");
        if name == "a violation" {
            assert_eq!(answer.json::<Value>().await.unwrap()["errors"][0]["pointer"], "/amount");
        }
        rig.records.next().await;
    }
    assert_eq!(bank.count(), 0);
    assert_eq!(rig.get("/bank/strict").await.status(), 200, "a contract without a body, and none");
    bank.next().await;
    let good = post().body(chunked(br#"{ "amount" : "1.10" }"#.to_vec())).send().await.unwrap();
    assert_eq!(good.status(), 200);
    let seen = bank.next().await;
    assert_eq!(seen.body, br#"{ "amount" : "1.10" }"#, "as received, never re-serialised");
    assert!(seen.head.to_ascii_lowercase().contains("content-length: 21"), "{}", seen.head);
}

#[tokio::test]
async fn an_operations_own_limit_counts_where_its_body_is_held() {
    let mut bank = Server::plain(|_| Act::ok(r#"{"id":1}"#)).await;
    let mut all = ops();
    all.iter_mut().for_each(|op| op.body_bytes_max = Some(20));
    let rig = Rig::with(settings(&[bank.url()]), all, |_| ()).await;
    let pay = |amount: &str| rig.request(Method::POST, "/bank/checked").json(&json!({ "amount": amount }));
    assert_eq!(pay("1").send().await.unwrap().status(), 200);
    bank.next().await;
    assert_eq!(pay("1234567890").send().await.unwrap().status(), 413);
    assert_eq!(bank.count(), 0);
}

#[tokio::test]
async fn an_encoded_prefix_leads_to_the_same_place() {
    let mut bank = Server::plain(|_| Act::ok(r#"{"id":1}"#)).await;
    let rig = Rig::start(settings(&[bank.url()])).await;
    for path in ["/bank/accounts/1", "/b%61nk/accounts/1", "/%62%61%6e%6B/accounts/1"] {
        assert_eq!(rig.get(path).await.status(), 200, "{path}");
        let head = bank.next().await.head;
        assert!(head.starts_with("GET /v1/accounts/1 "), "{path} became {head}");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_does_not_look_complete() {
    for path in ["/bank/accounts/1", "/bank/hidden-post"] {
        // So long that its begin has left before its end is missed: else all of it could be answered for.
        let mut chunked =
            b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n40000\r\n".to_vec();
        chunked.resize(chunked.len() + 0x40000, b' ');
        let bank = Server::plain(move |_| Act::AnswerThenClose(chunked.clone())).await;
        let rig = Rig::start(settings(&[bank.url()])).await;
        if path == "/bank/accounts/1" {
            let answer = rig.get(path).await;
            assert_eq!(answer.status(), 200);
            assert!(answer.bytes().await.is_err(), "the caller sees that it is not whole");
            let record = rig.records.next().await;
            assert_eq!((record.ending, record.status), (Ending::BrokenOff, Some(200)));
        } else {
            let answer = rig.request(Method::POST, "/bank/hidden").send().await.unwrap();
            assert_eq!(answer.status(), 502, "read whole first, so it can still be told");
        }
    }
}

#[tokio::test]
async fn a_short_answer_that_breaks_off_is_answered_for_or_cut() {
    let half = b"HTTP/1.1 200 X\r\nContent-Length: 100\r\n\r\nhalf";
    let bank = Server::plain(move |_| Act::AnswerThenClose(half.to_vec())).await;
    let rig = Rig::start(settings(&[bank.url()])).await;
    let answer = rig.get("/bank/accounts/1").await;
    match answer.status().as_u16() {
        502 => assert!(answer.text().await.unwrap().contains("backend-failed"), "nothing had left"),
        status => assert_eq!((status, answer.bytes().await.is_err()), (200, true), "it had begun to leave"),
    }
}

#[tokio::test]
async fn interim_answers_and_places_of_the_back_end_pass_without_a_body_too() {
    let created = "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\nserver: bankd\r\n\r\n\
                   HTTP/1.1 201 Created\r\nlocation: /v1/accounts/2\r\ncontent-length: 2\r\n\r\n{}";
    let bank = Server::plain(move |_| Act::Answer(created.as_bytes().to_vec())).await;
    let rig = Rig::start(settings(&[bank.url()])).await;
    let mut raw = rig.raw().await;
    raw.send("GET /bank/accounts/1 HTTP/1.1\r\nhost: {host}\r\nauthorization: {token}\r\n\r\n").await;
    let seen = raw.until("{}").await.to_ascii_lowercase();
    let (interim, last) = seen.split_once("\r\n\r\n").unwrap();
    assert!(interim.starts_with("http/1.1 103") && interim.contains("link: </x>"), "{seen}");
    assert!(!interim.contains("bankd"), "{seen}");
    assert!(last.starts_with("http/1.1 201") && last.contains("location: /bank/accounts/2\r\n"), "{seen}");
}

#[tokio::test]
async fn continue_is_said_once_and_by_us() {
    let mut bank = Server::plain(|_| Act::ok(r#"{"id":1}"#)).await;
    let rig = Rig::start(settings(&[bank.url()])).await;
    for path in ["/bank/payments", "/bank/checked"] {
        let mut raw = rig.raw().await;
        raw.send(&format!(
            "POST {path} HTTP/1.1\r\nHost: {{host}}\r\nAuthorization: {{token}}\r\nContent-Type: application/json\r\n\
             Content-Length: 14\r\nExpect: 100-continue\r\n\r\n"
        ))
        .await;
        assert_eq!(raw.until("\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n", "{path}");
        raw.send(r#"{"amount":"1"}"#).await;
        let answer = raw.until(r#"{"id":1}"#).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
        let seen = bank.next().await;
        assert_eq!(seen.body, br#"{"amount":"1"}"#);
        assert!(!seen.head.to_ascii_lowercase().contains("expect"));
    }
    let mut raw = rig.raw().await;
    raw.send("POST /bank/payments HTTP/1.1\r\nHost: {host}\r\nContent-Length: 14\r\nExpect: 100-continue\r\n\r\n")
        .await;
    let answer = raw.until("\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 401"), "no body is asked for that is refused: {answer}");
}

#[tokio::test]
async fn a_connection_goes_on_after_answers_without_a_body() {
    let bank = Server::plain(|seen| {
        if seen.head.contains("/v1/accounts/none") {
            Act::Answer(b"HTTP/1.1 204 X\r\n\r\n".to_vec())
        } else if seen.head.contains("/v1/accounts/same") {
            Act::Answer(b"HTTP/1.1 304 X\r\nETag: \"1\"\r\n\r\n".to_vec())
        } else if seen.head.starts_with("HEAD") {
            Act::Answer(b"HTTP/1.1 200 X\r\nContent-Length: 9\r\n\r\n".to_vec())
        } else {
            Act::ok(r#"{"id":1}"#)
        }
    })
    .await;
    let rig = Rig::start(settings(&[bank.url()])).await;
    let mut raw = rig.raw().await;
    for (line, status) in [
        ("GET /bank/accounts/none", 204),
        ("GET /bank/accounts/same", 304),
        ("HEAD /bank/accounts/1", 200),
        ("GET /bank/nothing", 404),
        ("GET /bank/accounts/none", 204),
    ] {
        raw.send(&format!("{line} HTTP/1.1\r\nHost: {{host}}\r\nAuthorization: {{token}}\r\n\r\n")).await;
        let head = raw.until("\r\n\r\n").await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{line}: {head}");
        if status == 404 {
            raw.until("}").await;
        }
    }
    assert_eq!(bank.connections(), 1, "and so does the one to the back end");
}

#[tokio::test]
async fn web_sockets_pass_where_a_route_allows_them() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(b"\r\n\r\n") {
            seen.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(seen).unwrap().to_ascii_lowercase();
        assert!(head.contains("upgrade: websocket") && head.contains("sec-websocket-key: k"), "{head}");
        stream.write_all(b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n").await.unwrap();
        let mut frame = [0; 4];
        while stream.read_exact(&mut frame).await.is_ok() {
            stream.write_all(&frame).await.unwrap();
        }
    });
    let rig = Rig::start(settings(&[url])).await;
    let ask = |path: &str| {
        format!(
            "GET {path} HTTP/1.1\r\nHost: {{host}}\r\nAuthorization: {{token}}\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: k\r\n\r\n"
        )
    };
    let mut raw = rig.raw().await;
    raw.send(&ask("/bank/accounts/1")).await;
    assert!(raw.until("\r\n\r\n").await.starts_with("HTTP/1.1 400"), "not on this route");
    let mut raw = rig.raw().await;
    raw.send(&ask("/bank/socket")).await;
    assert!(raw.until("\r\n\r\n").await.starts_with("HTTP/1.1 101"));
    for frame in ["ping", "pong"] {
        raw.send(frame).await;
        assert_eq!(raw.until(frame).await, frame);
    }
    drop(raw);
    assert_eq!(rig.records.summary().await.2, Some("upgrade-refused"));
    assert_eq!(rig.records.next().await.status, Some(101), "a tunnel is recorded when it ends");
}

#[tokio::test]
async fn a_full_pool_refuses_and_a_finished_request_makes_room() {
    let bank = Server::plain(|_| Act::ok("{}")).await;
    let mut small = settings(&[bank.url()]);
    small.in_flight_max = 1;
    let rig = Rig::start(small).await;
    let held = rig.pool.admit().unwrap();
    let answer = rig.get("/bank/accounts/1").await;
    assert_eq!(answer.status(), 503);
    assert!(answer.headers().contains_key("retry-after"));
    drop(held);
    for _ in 0..3 {
        assert_eq!(rig.get("/bank/accounts/1").await.status(), 200);
        rig.records.next().await;
    }
}

#[tokio::test]
async fn a_caller_that_goes_away_is_recorded_and_gives_its_place_back() {
    let mut bank = Server::plain(|_| Act::Hang).await;
    let mut small = settings(&[bank.url()]);
    small.in_flight_max = 1;
    let rig = Rig::start(small).await;
    let mut raw = rig.raw().await;
    raw.send("GET /bank/accounts/1 HTTP/1.1\r\nHost: {host}\r\nAuthorization: {token}\r\n\r\n").await;
    bank.next().await;
    drop(raw);
    assert_eq!(rig.records.summary().await, (Ending::Aborted, None, None));
    assert!(rig.pool.admit().is_ok());
}

#[tokio::test]
async fn a_body_that_pauses_is_the_callers_fault() {
    let mut bank = Server::plain(|_| Act::ok("{}")).await;
    let mut quick = settings(&[bank.url()]);
    quick.timeouts.read = Duration::from_millis(150);
    let rig = Rig::start(quick).await;
    let mut raw = rig.raw().await;
    raw.send(
        "POST /bank/payments HTTP/1.1\r\nHost: {host}\r\nAuthorization: {token}\r\nContent-Length: 10\r\n\r\nhalf",
    )
    .await;
    let answer = raw.until("\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert_eq!(rig.records.summary().await, (Ending::Refused, Some(408), Some("request-timeout")));
    assert_eq!(bank.count(), 0);
    assert_eq!(rig.get("/bank/accounts/1").await.status(), 200, "and not held against the back end");
}

#[tokio::test]
async fn a_back_end_that_answers_early_is_heard_while_the_upload_goes_on() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut some = [0; 2048];
        let _ = stream.read(&mut some).await.unwrap();
        stream.write_all(b"HTTP/1.1 422 X\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}").await.unwrap();
        let mut rest = vec![0; 1 << 16];
        while stream.read(&mut rest).await.is_ok_and(|n| n > 0) {}
    });
    let rig = Rig::with(
        settings(&[url]),
        vec![
            Op::new("pay", Method::POST, "/payments"),
            Op::new("hidden", Method::GET, "/h"),
            Op::new("hidden-post", Method::POST, "/h"),
        ],
        |_| (),
    )
    .await;
    let mut raw = rig.raw().await;
    raw.send("POST /bank/payments HTTP/1.1\r\nHost: {host}\r\nAuthorization: {token}\r\nContent-Length: 1000000\r\n\r\nbegin").await;
    let answer = raw.until("{}").await;
    assert!(answer.starts_with("HTTP/1.1 422"), "{answer}");
}
