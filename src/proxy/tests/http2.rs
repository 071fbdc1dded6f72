//! HTTP/2 on either side.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Method, Version};
use http_body_util::StreamBody;
use hyper::body::Frame;
use serde_json::json;
use tokio::net::TcpListener;

use super::rig::{Rig, ops};
use crate::proxy::Ending;
use crate::upstream::testing::{Act, Server, settings};

#[tokio::test]
async fn callers_may_speak_http2_in_both_lanes() {
    let mut bank = Server::plain(|seen| {
        if seen.head.contains("/v1/accounts/broken") {
            let mut half = b"HTTP/1.1 200 X\r\nContent-Length: 400000\r\n\r\n".to_vec();
            half.resize(half.len() + 200_000, b' '); // So much that it has begun to leave before the rest is missed.
            Act::AnswerThenClose(half)
        } else if seen.head.starts_with("HEAD") {
            Act::Answer(b"HTTP/1.1 200 X\r\nContent-Length: 9\r\n\r\n".to_vec())
        } else {
            Act::ok(r#"{"id":1,"secret":"x"}"#)
        }
    })
    .await;
    let rig = Rig::tls(settings(&[bank.url()])).await;
    for (method, path, body, status, text) in [
        (Method::GET, "/bank/accounts/1", None, 200, r#"{"id":1,"secret":"x"}"#),
        (Method::HEAD, "/bank/accounts/1", None, 200, ""),
        (Method::GET, "/bank/hidden", None, 200, r#"{"id":1}"#),
        (Method::POST, "/bank/payments", Some(json!({ "amount": "1" })), 200, r#"{"id":1,"secret":"x"}"#),
        (Method::POST, "/bank/checked", Some(json!({ "amount": "1" })), 200, r#"{"id":1,"secret":"x"}"#),
    ] {
        let request = rig.request(method.clone(), path);
        let request = body.as_ref().map_or(request.try_clone().unwrap(), |body| request.json(body));
        let answer = request.send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.version()), (status, Version::HTTP_2), "{method} {path}");
        assert!(answer.headers().contains_key("strict-transport-security"), "{method} {path}");
        assert_eq!(answer.text().await.unwrap(), text, "{method} {path}");
        let record = rig.records.next().await;
        assert_eq!((record.ending, record.version), (Ending::Answered, Version::HTTP_2), "{method} {path}");
        bank.next().await;
    }
    let refused = rig.request(Method::POST, "/bank/checked").json(&json!({ "amount": 1 })).send().await.unwrap();
    assert_eq!(refused.status(), 400);
    rig.records.next().await;
    let broken = rig.get("/bank/accounts/broken").await;
    assert!(broken.bytes().await.is_err(), "the stream is reset, not ended");
    assert_eq!(rig.records.summary().await.0, Ending::BrokenOff);
}

/// A back end that echoes bodies over HTTP/2 by prior knowledge.
async fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    tokio::spawn(async move {
                        let mut incoming = request.into_body();
                        let mut outgoing = respond.send_response(http::Response::new(()), false).unwrap();
                        while let Some(Ok(chunk)) = incoming.data().await {
                            let _ = incoming.flow_control().release_capacity(chunk.len());
                            outgoing.send_data(chunk, false).unwrap();
                        }
                        let mut trailers = http::HeaderMap::new();
                        trailers.insert("authorization", "Bearer smuggled".parse().unwrap());
                        outgoing.send_trailers(trailers).unwrap();
                    });
                }
            });
        }
    });
    url
}

#[tokio::test]
async fn back_ends_may_speak_http2_and_their_trailers_end_here() {
    let mut pool = settings(&[echo().await]);
    pool.http2 = true;
    let large: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    for rig in [Rig::start(pool.clone()).await, Rig::tls(pool).await] {
        for _ in 0..2 {
            let answer = rig.request(Method::POST, "/bank/payments").body(large.clone()).send().await.unwrap();
            assert_eq!(answer.status(), 200);
            assert!(!answer.headers().contains_key("authorization"));
            assert_eq!(answer.bytes().await.unwrap(), large);
            assert_eq!(rig.records.next().await.ending, Ending::Answered);
        }
    }
}

#[tokio::test]
async fn an_answer_without_end_is_cut_at_the_deadline() {
    let endless = "HTTP/1.1 200 X\r\nContent-Length: 100000000000\r\n\r\n".to_owned() + &"x".repeat(1 << 20);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let endless = endless.clone();
            tokio::spawn(async move {
                use tokio::io::{AsyncReadExt, AsyncWriteExt};
                let _ = stream.read(&mut [0; 4096]).await;
                while stream.write_all(endless.as_bytes()).await.is_ok() {}
            });
        }
    });
    let mut all = ops();
    all.iter_mut().for_each(|op| op.timeout = Some(Duration::from_millis(300)));
    let rig = Rig::with(settings(&[url]), all, |_| ()).await;
    for path in ["/bank/accounts/1", "/bank/observed"] {
        let mut answer = rig.get(path).await;
        assert_eq!(answer.status(), 200, "{path}");
        while let Ok(chunk) = answer.chunk().await {
            assert!(chunk.is_some(), "{path}: it must not look complete");
        }
        let record = rig.records.next().await;
        assert_eq!(record.ending, Ending::BrokenOff, "{path}");
        assert!(record.took < Duration::from_secs(3), "{path}");
    }
}

/// An upload that begins and never goes on.
fn paused() -> reqwest::Body {
    let begin = Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(b"half")));
    reqwest::Body::wrap(StreamBody::new(stream::iter([begin]).chain(stream::pending())))
}

#[tokio::test]
async fn an_upload_that_pauses_ends_with_the_back_ends_patience() {
    let bank = Server::plain(|_| Act::ok("{}")).await;
    let mut quick = settings(&[bank.url()]);
    quick.timeouts.read = Duration::from_millis(300);
    let rig = Rig::tls(quick).await;
    let client = rig.client();
    let paused = rig.send(&client, Method::POST, "/bank/payments").body(paused()).send();
    let answer = tokio::time::timeout(Duration::from_secs(10), paused).await.expect("an end").unwrap();
    assert_eq!((answer.status().as_u16(), answer.version()), (408, Version::HTTP_2));
    assert_eq!(rig.records.summary().await, (Ending::Refused, Some(408), Some("request-timeout")));
    let next = rig.send(&client, Method::POST, "/bank/payments").body("{}").send().await.unwrap();
    assert_eq!(next.status(), 200, "and its client goes on");
}
