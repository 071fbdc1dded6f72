//! Answers that come before the request has ended, ours and the back end's.

use std::future::poll_fn;

use bytes::Bytes;
use http::Request;

use super::authorized;
use crate::harness::bank::Bank;
use crate::harness::secure::bearer;
use crate::harness::wire::{Wire, tls_config};
use crate::harness::{Backend, Gateway, Reply, Site, h2c, within};

const LANES: [(&str, &str); 3] = [
    ("/shop/notes", "text/plain"),
    ("/shop/items", "application/json"),
    ("/oauth/token", "application/x-www-form-urlencoded"),
];

async fn wire(gateway: &Gateway) -> Wire {
    Wire::tls(gateway.address("public"), None).await.unwrap()
}

/// A back end may answer before it has read the body (413, 401): the caller hears that, not that something broke.
#[tokio::test]
async fn a_back_end_may_answer_while_the_upload_runs() {
    let early =
        b"HTTP/1.1 413 Too Much\r\ncontent-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
    let http1 = Backend::with_early(
        |seen| (seen.path() == "/v1/upload").then(|| Reply::Raw(early.to_vec())),
        |_| Reply::json("{}"),
    )
    .await;
    let http2 = Bank::plain(|path| (path == "/v1/upload").then_some(413)).await;
    for (back_end, url, speaks_http2) in [("HTTP/1.1", http1.url(), false), ("HTTP/2", http2.url(), true)] {
        let site = Site::secure(&http1);
        // An upload that goes on after its answer holds the connection no longer than any other pause.
        site.limits("body_idle_timeout: 1s");
        site.backends(&[url], &format!("http2: {speaks_http2}"));
        let gateway = site.start().await;
        let token = bearer(&gateway).await;
        let more = "Content-Type: application/octet-stream\r\nContent-Length: 5000000\r\n";
        for _ in 0..3 {
            let mut wire = wire(&gateway).await;
            wire.send(authorized("POST", "/shop/upload", &token, more)).await;
            wire.send(vec![b'x'; 20_000]).await; // The rest never comes.
            let answer = wire.answer().await;
            assert_eq!((answer.status, answer.body.as_slice().len() >= 2), (413, true), "HTTP/1.1 to {back_end}");
            assert!(wire.closed().await, "the rest of the body would be read as a request");
        }
        let (mut send, _) = h2c::connect_with(gateway.address("public"), tls_config(None, &["h2"])).await;
        for _ in 0..3 {
            let request = Request::post("https://localhost/shop/upload")
                .header("authorization", format!("Bearer {token}"))
                .header("content-type", "application/octet-stream");
            let (answer, mut body) = send.send_request(request.body(()).unwrap(), false).unwrap();
            body.send_data(Bytes::from(vec![b'x'; 20_000]), false).unwrap();
            let answer = within("an early answer", answer).await.unwrap();
            assert_eq!(answer.status(), 413, "HTTP/2 to {back_end}");
            // The stream ends, the connection goes on.
            let request =
                Request::get("https://localhost/shop/items").header("authorization", format!("Bearer {token}"));
            assert_eq!(h2c::ask(&mut send, request.body(()).unwrap()).await.unwrap().0, 200, "to {back_end}");
        }
    }
    assert!(!http1.seen().iter().any(|seen| seen.path() == "/v1/upload" && seen.complete));
    assert!(!http1.seen().iter().any(|seen| seen.method.contains('x')), "no body was read as a request");
}

/// What we refuse with its body unread does not leave that body on the connection.
#[tokio::test]
async fn a_refusal_before_the_body_is_heard_and_the_body_is_not_a_request() {
    let backend = Backend::agreeable().await;
    let site = Site::secure(&backend);
    let gateway = site.start().await;
    let smuggled = "GET /shop/items HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for (path, kind) in LANES.into_iter().take(2) {
        let mut wire = wire(&gateway).await;
        let more = format!("Content-Type: {kind}\r\nContent-Length: {}\r\n", smuggled.len() + 100_000);
        wire.send(authorized("POST", path, "not-a-token", &more)).await;
        let _ = wire.try_send(smuggled.repeat(100)).await;
        let answer = wire.answer().await;
        assert!(matches!(answer.status, 400 | 401), "{path}: {}", answer.status);
        assert!(wire.closed().await, "{path}: one answer");

        let (mut send, _) = h2c::connect_with(gateway.address("public"), tls_config(None, &["h2"])).await;
        for _ in 0..5 {
            let request = Request::post(format!("https://localhost{path}"))
                .header("authorization", "Bearer not-a-token")
                .header("content-type", kind);
            let (answer, mut body) = send.send_request(request.body(()).unwrap(), false).unwrap();
            let _ = body.send_data(Bytes::from(vec![b'x'; 5_000]), false);
            let status = within("a refusal", answer).await.unwrap().status();
            assert!(matches!(status.as_u16(), 400 | 401), "{path}: {status}");
        }
    }
    assert_eq!(backend.total(), 0);
}

/// The stock engine relays the expectation to the back end: if a filter has read the body by then, or the back end says
/// 100 as well, the client hears it twice.
#[tokio::test]
async fn who_expects_100_continue_hears_it_once_in_every_lane() {
    // This back end says 100 unasked, each time.
    let twice = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
    let backend = Backend::start(|_| Reply::Loose(twice.to_vec())).await;
    let bank = Bank::plain(|_| None).await;
    for (back_end, url, http2) in [("HTTP/1.1", backend.url(), false), ("HTTP/2", bank.url(), true)] {
        let site = Site::secure(&backend);
        site.backends(&[url], &format!("http2: {http2}"));
        let gateway = site.start().await;
        let token = bearer(&gateway).await;
        for (path, kind) in LANES {
            let body = r#"{"name":"tea","quantity":1}"#;
            let more = format!("Content-Type: {kind}\r\nContent-Length: {}\r\nExpect: 100-continue\r\n", body.len());
            let mut wire = wire(&gateway).await;
            wire.send(authorized("POST", path, &token, &more)).await;
            assert_eq!(wire.head().await.unwrap().status, 100, "{path} to {back_end}");
            wire.send(body).await;
            let status = wire.head().await.unwrap().status;
            let expected = if path == "/oauth/token" { 401 } else { 200 };
            assert_eq!(status, expected, "{path} to {back_end}: what follows the 100 is the answer");
        }
        let mut wire = wire(&gateway).await;
        let more = "Content-Type: text/plain\r\nContent-Length: 5\r\nExpect: 200-ok\r\n";
        assert_eq!(wire.ask(authorized("POST", "/shop/notes", &token, more)).await.status, 417);
        for (path, kind) in LANES {
            let (mut send, _) = h2c::connect_with(gateway.address("public"), tls_config(None, &["h2"])).await;
            let request = Request::post(format!("https://localhost{path}"))
                .header("authorization", format!("Bearer {token}"))
                .header("content-type", kind)
                .header("expect", "100-continue");
            let (mut answer, mut body) = send.send_request(request.body(()).unwrap(), false).unwrap();
            let interim = poll_fn(|cx| answer.poll_informational(cx));
            let interim = within("an interim answer", interim).await.unwrap().unwrap();
            assert_eq!(interim.status(), 100, "{path}, HTTP/2 to {back_end}");
            body.send_data(r#"{"name":"tea","quantity":1}"#.into(), true).unwrap();
            let more = within("what follows", poll_fn(|cx| answer.poll_informational(cx))).await;
            assert!(more.is_none(), "{path}, HTTP/2 to {back_end}: {more:?} is no answer");
            let status = within("an answer", answer).await.unwrap().status();
            let expected = if path == "/oauth/token" { 401 } else { 200 };
            assert_eq!(status, expected, "{path}, HTTP/2 to {back_end}");
        }
    }
}

/// RFC 9110 §15.2: interim answers of the back end are passed on. The stock engine drops them over HTTP/2.
#[tokio::test]
async fn interim_answers_reach_who_asks_over_http2() {
    let hint = b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\nconnection: x-own\r\nx-own: 1\r\n\r\nHTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
    let backend = Backend::start(|_| Reply::Loose(hint.to_vec())).await;
    let site = Site::secure(&backend);
    let gateway = site.start().await;
    let token = bearer(&gateway).await;
    let mut send = h2c::connect(gateway.address("public")).await;
    for (method, path, body) in [("GET", "/shop/items", ""), ("POST", "/shop/notes", "hello")] {
        let request = Request::builder()
            .method(method)
            .uri(format!("https://localhost{path}"))
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "text/plain");
        let (mut answer, mut upload) = send.send_request(request.body(()).unwrap(), body.is_empty()).unwrap();
        if !body.is_empty() {
            upload.send_data(body.into(), true).unwrap();
        }
        let interim = poll_fn(|cx| answer.poll_informational(cx));
        let interim = within("an interim answer", interim).await.unwrap().unwrap();
        assert_eq!((interim.status().as_u16(), &interim.headers()["link"]), (103, &"</x>".parse().unwrap()), "{path}");
        assert!(!interim.headers().contains_key("x-own"), "{path}: it was for us alone");
        let answer = within("an answer", answer).await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        let body = within("a body", answer.into_body().data()).await.unwrap().unwrap();
        assert_eq!(body, "{}", "{path}");
    }
}
