//! Back ends and callers at the edge of what HTTP allows, and beyond it.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::rig::{Rig, ops};
use crate::upstream::testing::{Act, Server, settings};

#[tokio::test]
async fn a_back_end_switches_to_the_protocol_that_was_asked_for_or_not_at_all() {
    for (upgrade, status) in [("Upgrade: h2c\r\n", "502"), ("", "502"), ("Upgrade: WebSocket\r\n", "101")] {
        let answer = format!("HTTP/1.1 101 X\r\n{upgrade}Connection: Upgrade\r\n\r\n");
        let bank = Server::plain(move |_| Act::Answer(answer.clone().into_bytes())).await;
        let rig = Rig::start(settings(&[bank.url()])).await;
        let mut raw = rig.raw().await;
        raw.send(
            "GET /bank/socket HTTP/1.1\r\nHost: {host}\r\nAuthorization: {token}\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: k\r\n\r\n",
        )
        .await;
        let seen = raw.until("\r\n\r\n").await;
        assert!(seen.starts_with(&format!("HTTP/1.1 {status}")), "{upgrade:?}: {seen}");
    }
}

#[tokio::test]
async fn a_caller_of_http_1_0_is_sent_no_chunks() {
    let chunks = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let bank = Server::plain(move |_| Act::Answer(chunks.as_bytes().to_vec())).await;
    let rig = Rig::start(settings(&[bank.url()])).await;
    for (lane, request) in [
        ("whole", "GET /bank/accounts/1 HTTP/1.0\r\n"),
        ("streamed", "POST /bank/payments HTTP/1.0\r\nContent-Length: 2\r\n"),
    ] {
        let mut raw = rig.raw().await;
        let body = if lane == "whole" { "" } else { "hi" };
        raw.send(&format!(
            "{request}Host: {{host}}\r\nAuthorization: {{token}}\r\nConnection: keep-alive\r\n\r\n{body}"
        ))
        .await;
        let seen = raw.rest().await.to_ascii_lowercase();
        let (head, body) = seen.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(" 200 ") && !head.contains("transfer-encoding"), "{lane}: {head}");
        assert_eq!(body, "hello", "{lane}: until the end of the connection");
    }
}

#[tokio::test]
async fn an_answer_without_content_says_no_length_and_one_with_chunks_neither() {
    let bare = "HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n";
    let both = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n0\r\n\r\n";
    let bank = Server::plain(move |request| {
        let answer = if request.head.starts_with("GET /v1/accounts/1 ") { bare } else { both };
        Act::Answer(answer.as_bytes().to_vec())
    })
    .await;
    let rig = Rig::start(settings(&[bank.url()])).await;
    for (path, status) in [("/bank/accounts/1", "204"), ("/bank/accounts/2", "502")] {
        let mut raw = rig.raw().await;
        raw.send(&format!("GET {path} HTTP/1.1\r\nHost: {{host}}\r\nAuthorization: {{token}}\r\n\r\n")).await;
        let seen = raw.until("\r\n\r\n").await.to_ascii_lowercase();
        assert!(seen.starts_with(&format!("http/1.1 {status}")), "{path}: {seen}");
        assert!(status != "204" || !seen.contains("content-length"), "{path}: {seen}");
    }
}

#[tokio::test]
async fn a_flood_of_interim_answers_is_no_answer_in_either_lane() {
    let flood = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(40) + "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    let bank = Server::plain(move |_| Act::Answer(flood.clone().into_bytes())).await;
    let rig = Rig::start(settings(&[bank.url()])).await;
    for request in ["GET /bank/accounts/1 HTTP/1.1\r\n", "POST /bank/payments HTTP/1.1\r\nContent-Length: 2\r\n"] {
        let mut raw = rig.raw().await;
        let body = if request.starts_with("GET") { "" } else { "hi" };
        raw.send(&format!("{request}Host: {{host}}\r\nAuthorization: {{token}}\r\nConnection: close\r\n\r\n{body}"))
            .await;
        let seen = raw.rest().await;
        assert!(seen.contains("HTTP/1.1 502"), "{request}: {seen}");
        assert!(seen.matches("HTTP/1.1 103").count() <= 8, "{request}: {seen}");
    }
}

/// Whoever drips an upload until all of the time is gone must not take the back end from everybody else.
#[tokio::test]
async fn an_upload_that_takes_all_the_time_is_the_callers_fault() {
    let bank = Server::plain(|_| Act::ok("{}")).await;
    let mut strict = settings(&[bank.url()]);
    strict.breaker.failures = 1;
    let mut all = ops();
    for op in &mut all {
        op.timeout = Some(Duration::from_millis(200));
    }
    let rig = Rig::with(strict, all, |_| ()).await;
    let mut raw = rig.raw().await;
    raw.send("POST /bank/payments HTTP/1.1\r\nHost: {host}\r\nAuthorization: {token}\r\nContent-Length: 999\r\n\r\n")
        .await;
    let (mut reading, mut writing) = raw.stream.split();
    let drip = async {
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        while writing.write_all(b"a").await.is_ok() {
            tick.tick().await;
        }
    };
    let mut answer = vec![0; 12];
    tokio::select! {
        () = drip => panic!("cut before an answer"),
        read = reading.read_exact(&mut answer) => { read.unwrap(); }
    }
    assert_eq!(String::from_utf8(answer).unwrap(), "HTTP/1.1 408");
    assert_eq!(rig.get("/bank/accounts/1").await.status(), 200, "and not held against the back end");
}
