//! Every wait on a client ends, on both protocols and in both lanes.

use std::time::Instant;

use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::{authorized, millis};
use crate::harness::backend::Reply;
use crate::harness::bank::Bank;
use crate::harness::h2c::{self, PREFACE, block, frame};
use crate::harness::secure::bearer;
use crate::harness::wire::{Wire, tls_config};
use crate::harness::{Backend, Gateway, Site, within};

/// Far beyond every deadline of the rig, far below the stock engine's "for ever" (160 s were seen).
const SOON: std::time::Duration = std::time::Duration::from_secs(8);

const LIMITS: &str = "handshake_timeout: 2s, header_timeout: 600ms, idle_timeout: 600ms, \
                      body_idle_timeout: 400ms, body_timeout: 1200ms";

async fn rig() -> (Backend, Site, Gateway, String) {
    let backend = Backend::start(|seen| match seen.path().strip_prefix("/v1/download/") {
        Some(count) => Reply::Stream(count.parse().unwrap()),
        None => Reply::json(r#"{"ok":true}"#),
    })
    .await;
    let site = Site::secure(&backend);
    site.limits(LIMITS);
    site.backends(&[backend.url()], "timeouts: { connect: 1s, read: 1500ms, write: 1500ms, total: 4s }");
    let gateway = site.start().await;
    let token = bearer(&gateway).await;
    (backend, site, gateway, token)
}

async fn wire(gateway: &Gateway) -> Wire {
    Wire::tls(gateway.address("public"), None).await.unwrap()
}

/// HTTP/2 by raw frames.
async fn frames(gateway: &Gateway) -> TlsStream<TcpStream> {
    h2c::raw(gateway.address("public"), tls_config(None, &["h2"])).await
}

async fn read_to_end(stream: &mut (impl AsyncReadExt + Unpin)) {
    let _ = within("the end of a connection", stream.read_to_end(&mut Vec::new())).await;
}

/// The stock engine gives a handshake 60 s, and a header section or an idle connection for ever: its timeout is per
/// read, so one line each 20 s was seen to live.
#[tokio::test]
async fn http1_connections_that_say_nothing_or_little_end() {
    let (_backend, site, gateway, token) = rig().await;
    let begun = Instant::now();
    let silent = async {
        let mut tcp = TcpStream::connect(gateway.address("public")).await.unwrap();
        read_to_end(&mut tcp).await;
        site.connection_ends("handshake_timeout", 1).await;
    };
    let half_a_hello = async {
        let mut tcp = TcpStream::connect(gateway.address("public")).await.unwrap();
        tcp.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]).await.unwrap();
        read_to_end(&mut tcp).await;
        site.connection_ends("handshake_timeout", 2).await;
    };
    let drip = async {
        let head = "GET /shop/items HTTP/1.1\r\nHost: localhost\r\nX-Long: drip drip drip drip drip drip drip";
        let said = wire(&gateway).await.drip(head, millis(50)).await;
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(said.starts_with("HTTP/1.1 408 ") && said.contains("request-timeout"), "{said}");
    };
    let second_header = async {
        let mut wire = wire(&gateway).await;
        assert_eq!(wire.ask(authorized("GET", "/shop/items", &token, "")).await.status, 200);
        let said = wire.drip("GET /shop/items HTTP/1.1\r\nHost: localhost\r\nX-Long: drip drip", millis(50)).await;
        assert!(said.starts_with(b"HTTP/1.1 408 "), "{}", String::from_utf8_lossy(&said));
    };
    let idle = async {
        let mut wire = wire(&gateway).await;
        for _ in 0..3 {
            assert_eq!(wire.ask(authorized("GET", "/shop/items", &token, "")).await.status, 200);
        }
        let since = Instant::now();
        assert!(wire.closed().await);
        assert!(since.elapsed() >= millis(500), "not before its time");
    };
    let never = async {
        assert!(wire(&gateway).await.closed().await, "a connection without a request");
    };
    tokio::join!(silent, half_a_hello, drip, second_header, idle, never);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    site.connection_ends("header_timeout", 3).await;
}

/// The stock engine waits for ever for an HTTP/2 preface, for the next stream, and for the end of a header block.
#[tokio::test]
async fn http2_connections_that_say_nothing_or_never_finish_end() {
    let (_backend, site, gateway, token) = rig().await;
    let begun = Instant::now();
    let no_preface = async {
        read_to_end(&mut frames(&gateway).await).await;
    };
    let half_a_preface = async {
        let mut stream = frames(&gateway).await;
        stream.write_all(&PREFACE[..10]).await.unwrap();
        read_to_end(&mut stream).await;
    };
    let no_settings = async {
        let mut stream = frames(&gateway).await;
        stream.write_all(&PREFACE[..24]).await.unwrap();
        read_to_end(&mut stream).await;
    };
    let idle = async {
        let mut stream = frames(&gateway).await;
        stream.write_all(PREFACE).await.unwrap();
        read_to_end(&mut stream).await;
    };
    let pings = async {
        // PING keeps nothing alive: it is not work.
        let mut stream = frames(&gateway).await;
        stream.write_all(PREFACE).await.unwrap();
        let (mut read, mut write) = tokio::io::split(stream);
        let mut tick = tokio::time::interval(millis(50));
        let ping = async {
            while write.write_all(&frame(6, 0, 0, &[7; 8])).await.is_ok() && write.flush().await.is_ok() {
                tick.tick().await;
            }
            std::future::pending::<()>().await
        };
        tokio::select! { () = ping => {}, () = read_to_end(&mut read) => {} }
    };
    let used = async {
        let (mut send, connection) = h2c::connect_with(gateway.address("public"), tls_config(None, &["h2"])).await;
        let request = Request::get("https://localhost/shop/items").header("authorization", format!("Bearer {token}"));
        assert_eq!(h2c::ask(&mut send, request.body(()).unwrap()).await.unwrap().0, 200);
        let _ = within("the end of an idle HTTP/2 connection", connection).await;
    };
    let endless_block = async {
        let mut stream = frames(&gateway).await;
        stream.write_all(PREFACE).await.unwrap();
        stream.write_all(&frame(1, 1, 1, b"\x82")).await.unwrap(); // HEADERS without END_HEADERS,
        stream.write_all(&frame(9, 0, 1, b"\x87")).await.unwrap(); // one CONTINUATION,
        stream.write_all(&[0, 0x20, 0, 9, 0, 0, 0, 0, 1]).await.unwrap(); // and one that drips.
        stream.flush().await.unwrap();
        let _ = Wire::over(stream).drip("\u{2}", millis(50)).await;
    };
    let flood_of_continuations = async {
        let mut stream = frames(&gateway).await;
        stream.write_all(PREFACE).await.unwrap();
        stream.write_all(&frame(1, 1, 1, b"\x82")).await.unwrap();
        stream.write_all(&frame(9, 0, 1, &block(&[("x-a", "b")])).repeat(1000)).await.unwrap();
        let _ = stream.flush().await;
        let mut said = Vec::new();
        let _ = within("the end of a flood of CONTINUATION", stream.read_to_end(&mut said)).await;
        assert!(h2c::kinds(&said).contains(&7), "GOAWAY tells why: {:?}", h2c::kinds(&said));
    };
    tokio::join!(no_preface, half_a_preface, no_settings, idle, pings, used, endless_block, flood_of_continuations);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    site.connection_ends("header_timeout", 3).await; // No preface, half of one, a block without end.
}

/// The stock engine has no total time for a body, and no time at all for one over HTTP/2.
#[tokio::test]
async fn bodies_that_pause_or_drip_end_in_every_lane() {
    let (backend, site, gateway, token) = rig().await;
    let begun = Instant::now();
    let lanes = [
        ("streamed", "/shop/notes", "text/plain"),
        ("held", "/shop/items", "application/json"),
        ("our own", "/oauth/token", "application/x-www-form-urlencoded"),
    ];
    let http1 = lanes.iter().map(|(name, path, kind)| {
        let (gateway, token) = (&gateway, &token);
        async move {
            let more = format!("Content-Type: {kind}\r\nContent-Length: 10000\r\n");
            let head = authorized("POST", path, token, &more);
            let mut paused = wire(gateway).await;
            paused.send(format!("{head}{{")).await;
            if let Some(answer) = paused.try_answer().await {
                assert_eq!(answer.status, 408, "HTTP/1.1, {name}, a pause");
            }
            assert!(paused.closed().await, "HTTP/1.1, {name}");
            let mut dripping = wire(gateway).await;
            dripping.send(&head).await;
            let said = dripping.drip("x", millis(50)).await;
            let said = String::from_utf8_lossy(&said).into_owned();
            assert!(said.is_empty() || said.starts_with("HTTP/1.1 408 "), "HTTP/1.1, {name}, a drip: {said}");
            let mut chunks = wire(gateway).await;
            let chunked = format!("Content-Type: {kind}\r\nTransfer-Encoding: chunked\r\n");
            chunks.send(authorized("POST", path, token, &chunked)).await;
            let said = chunks.drip("1\r\nx\r\n", millis(30)).await;
            let said = String::from_utf8_lossy(&said).into_owned();
            assert!(said.is_empty() || said.starts_with("HTTP/1.1 408 "), "HTTP/1.1, {name}, chunks: {said}");
        }
    });
    let http2 = lanes.iter().flat_map(|lane| [(lane, false), (lane, true)]).map(|((name, path, kind), dripping)| {
        let (gateway, token) = (&gateway, &token);
        async move {
            let (mut send, _) = h2c::connect_with(gateway.address("public"), tls_config(None, &["h2"])).await;
            let request = Request::post(format!("https://localhost{path}"))
                .header("authorization", format!("Bearer {token}"))
                .header("content-type", *kind);
            let (answer, mut body) = send.send_request(request.body(()).unwrap(), false).unwrap();
            body.send_data("{".into(), false).unwrap();
            let mut tick = tokio::time::interval(millis(50));
            let drip = async {
                loop {
                    tick.tick().await;
                    if !dripping || body.send_data(" ".into(), false).is_err() {
                        std::future::pending::<()>().await;
                    }
                }
            };
            let what = format!("HTTP/2, {name}, dripping: {dripping}");
            tokio::select! {
                () = drip => {}
                answer = within("the end of an HTTP/2 body", answer) => match answer {
                    Ok(answer) => assert_eq!(answer.status(), 408, "{what}"),
                    Err(error) => assert!(error.is_reset() || error.is_go_away() || error.is_io(), "{what}: {error}"),
                },
            }
        }
    });
    tokio::join!(futures_util::future::join_all(http1), futures_util::future::join_all(http2));
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    assert!(!backend.seen().iter().any(|seen| seen.complete), "no half of a body became a whole one");
    // Where a lane reads the body itself, either of the two clocks may be the first.
    site.connection_ends("body_idle", 1).await;
    site.connection_ends("body_timeout", 1).await;
}

/// The stock engine reads bodies over HTTP/2 without a clock. The stream ends, its connection goes on.
#[tokio::test]
async fn an_http2_upload_that_pauses_costs_its_stream_and_not_its_connection() {
    let (backend, site, gateway, token) = rig().await;
    let bank = Bank::plain(|_| None).await;
    for (back_end, url, http2) in [("HTTP/1.1", backend.url(), false), ("HTTP/2", bank.url(), true)] {
        let timeouts = "timeouts: { connect: 1s, read: 20s, write: 20s, total: 20s }";
        site.backends(&[url], &format!("http2: {http2}\n{timeouts}"));
        gateway.reload().await;
        let (mut send, _) = h2c::connect_with(gateway.address("public"), tls_config(None, &["h2"])).await;
        let request = Request::post("https://localhost/shop/notes")
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "text/plain");
        let since = Instant::now();
        let (answer, mut body) = send.send_request(request.body(()).unwrap(), false).unwrap();
        body.send_data("half".into(), false).unwrap();
        let status = within("the end of a paused upload", answer).await.unwrap().status();
        assert_eq!(status, 408, "{back_end}: the caller is told whose pause it was");
        let took = since.elapsed();
        assert!(took >= millis(300) && took < SOON, "{back_end}: {took:?}");
        let request = Request::get("https://localhost/shop/items").header("authorization", format!("Bearer {token}"));
        assert_eq!(h2c::ask(&mut send, request.body(()).unwrap()).await.unwrap().0, 200, "{back_end}");
    }
}

/// The stock engine has no write timeout: who does not read holds a request, and the bytes it does not take, for ever.
#[tokio::test]
async fn a_client_that_does_not_read_is_not_waited_for() {
    let (backend, site, gateway, token) = rig().await;
    let begun = Instant::now();
    let http1 = async {
        let mut wire = wire(&gateway).await;
        wire.send(authorized("GET", "/shop/download/100000000", &token, "")).await;
        backend.arrived(1).await;
        site.connection_ends("write_stall", 1).await;
        drop(wire);
    };
    let http2 = async {
        // The connection is read, but the stream's window is never opened again.
        let (mut send, _) = h2c::connect_with(gateway.address("public"), tls_config(None, &["h2"])).await;
        let request = Request::get("https://localhost/shop/download/100000000")
            .header("authorization", format!("Bearer {token}"))
            .body(())
            .unwrap();
        let (answer, _) = send.send_request(request, true).unwrap();
        let mut body = within("a header", answer).await.unwrap().into_body();
        let mut taken = 0;
        let end = loop {
            match within("the end of a stalled stream", body.data()).await {
                Some(Ok(chunk)) => taken += chunk.len(),
                Some(Err(error)) => break Some(error),
                None => break None,
            }
        };
        assert!(end.is_some(), "{taken} bytes, and it looked whole");
        assert!(taken <= 1 << 17, "{taken}: no more than the window");
        // The others on this connection go on, once the client opens the connection's own window.
        drop(body);
        let request = Request::get("https://localhost/shop/items").header("authorization", format!("Bearer {token}"));
        assert_eq!(h2c::ask(&mut send, request.body(()).unwrap()).await.unwrap().0, 200);
    };
    tokio::join!(http1, http2);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
}
