//! WebSockets: bytes that come early, silence, and what is no WebSocket.

use std::sync::Arc;

use futures_util::future::join_all;
use serde_json::json;

use super::{millis, raw};
use crate::harness::token::{now, outside_claims, outside_key, with};
use crate::harness::wire::Wire;
use crate::harness::{Backend, Gateway, Reply, Site};

const HANDSHAKE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="; // RFC 6455 §1.3

async fn rig(backend: &Backend) -> (Site, Gateway) {
    let site = Site::plain(&[backend]);
    // A tunnel that is silent for longer than any of these stays.
    site.limits("idle_timeout: 300ms, header_timeout: 5s, body_idle_timeout: 5s");
    site.backends(&[backend.url()], "timeouts: { connect: 1s, read: 300ms, write: 300ms, total: 20s }");
    let gateway = site.start().await;
    (site, gateway)
}

/// A 101 that overtakes the end of the empty request body tears the stock engine's tunnel down, now and then.
#[tokio::test]
async fn no_tunnel_is_lost_whenever_its_first_bytes_come() {
    const ROUNDS: usize = 25;
    const AT_ONCE: usize = 8;
    let backend = Backend::start(|_| Reply::Upgrade(ACCEPT.into())).await;
    let (_site, gateway) = rig(&backend).await;
    let gateway = Arc::new(gateway);
    let tunnels = (0..AT_ONCE).map(|nth| {
        let gateway = Arc::clone(&gateway);
        async move {
            for round in 0..ROUNDS {
                let mut wire = Wire::connect(gateway.address("public")).await;
                let hello = format!("hello {nth} {round}");
                let head = raw("GET", "/shop/socket", HANDSHAKE);
                // With the handshake, right behind it, or after the 101.
                match round % 3 {
                    0 => wire.send(format!("{head}{hello}")).await,
                    1 => {
                        wire.send(head).await;
                        wire.send(&hello).await;
                    }
                    _ => wire.send(head).await,
                }
                assert_eq!(wire.head().await.map(|head| head.status), Some(101), "{hello}");
                if round % 3 == 2 {
                    wire.send(&hello).await;
                }
                assert_eq!(wire.take(hello.len()).await.as_deref(), Some(hello.as_bytes()), "{hello}");
            }
        }
    });
    join_all(tunnels).await;
    assert_eq!(backend.total(), ROUNDS * AT_ONCE);
}

/// The back end may speak first, in the very packet of its 101.
#[tokio::test]
async fn what_a_back_end_says_with_its_101_arrives() {
    let switched = format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: {ACCEPT}\r\n\r\nfirst words"
    );
    let backend = Backend::start(move |_| Reply::Raw(switched.clone().into_bytes())).await;
    let (_site, gateway) = rig(&backend).await;
    for _ in 0..20 {
        let mut wire = Wire::connect(gateway.address("public")).await;
        wire.send(raw("GET", "/shop/socket", HANDSHAKE)).await;
        assert_eq!(wire.head().await.map(|head| head.status), Some(101));
        assert_eq!(wire.take(11).await.as_deref(), Some(&b"first words"[..]));
        assert!(wire.closed().await, "and ends with the back end");
    }
}

/// No pieces pass once the token would not open it any more.
#[tokio::test]
async fn a_tunnel_does_not_outlive_its_token() {
    let backend = Backend::start(|_| Reply::Upgrade(ACCEPT.into())).await;
    let (_site, gateway) = rig(&backend).await;
    let ends_at = now() + 2;
    let token = outside_key().jwt("at+jwt", &with(outside_claims("acme", "app"), json!({ "exp": ends_at })));
    let mut wire = Wire::connect(gateway.address("public")).await;
    wire.send(format!(
        "GET /shop/socket HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n{HANDSHAKE}\r\n"
    ))
    .await;
    assert_eq!(wire.head().await.map(|head| head.status), Some(101));
    let (mut tick, mut pieces) = (tokio::time::interval(millis(50)), 0);
    let end = tokio::time::timeout(millis(10_000), async {
        loop {
            tick.tick().await;
            if wire.try_send("ping").await.is_err() || wire.take(4).await.is_none() {
                break;
            }
            pieces += 1;
        }
    });
    end.await.expect("an end");
    assert!(pieces > 2, "{pieces}: it worked before");
    assert!(now() >= ends_at, "and not a moment less");
}

/// The stock engine's read timeout kills an idle WebSocket.
#[tokio::test]
async fn a_silent_tunnel_stays_open() {
    let backend = Backend::start(|_| Reply::Upgrade(ACCEPT.into())).await;
    let (_site, gateway) = rig(&backend).await;
    let mut wire = Wire::connect(gateway.address("public")).await;
    wire.send(raw("GET", "/shop/socket", HANDSHAKE)).await;
    assert_eq!(wire.head().await.map(|head| head.status), Some(101));
    // Three times the read timeout and the idle time.
    let silence = tokio::time::timeout(millis(1000), wire.take(1));
    assert!(silence.await.is_err(), "neither bytes nor an end");
    wire.send("still here").await;
    assert_eq!(wire.take(10).await.as_deref(), Some(&b"still here"[..]));
}

/// Forwarding any upgrade that a client names opens a way past every check (CVE-2026-2833).
#[tokio::test]
async fn nothing_becomes_a_tunnel_that_was_not_allowed_to() {
    // This back end switches protocols whatever it is asked.
    let backend = Backend::start(|_| Reply::Upgrade(ACCEPT.into())).await;
    let (_site, gateway) = rig(&backend).await;
    let smuggled = "GET /v1/secret HTTP/1.1\r\nHost: x\r\n\r\n";
    for (name, method, target, more, statuses) in [
        ("a route that is no WebSocket", "GET", "/shop/items", HANDSHAKE.to_owned(), &[400][..]),
        ("our own path", "GET", "/openapi.json", HANDSHAKE.to_owned(), &[400]),
        ("no upgrade asked for", "GET", "/shop/socket", String::new(), &[502]),
        ("h2c", "GET", "/shop/socket", HANDSHAKE.replace("websocket", "h2c"), &[502]),
        ("two protocols", "GET", "/shop/socket", HANDSHAKE.replace("websocket", "h2c, websocket"), &[502]),
        ("not nominated", "GET", "/shop/socket", HANDSHAKE.replace("Connection: Upgrade\r\n", ""), &[502]),
        ("HTTP/1.0", "GET", "/shop/socket", HANDSHAKE.to_owned(), &[400, 502]),
    ] {
        let mut wire = Wire::connect(gateway.address("public")).await;
        let head = raw(method, target, &more);
        let head = if name == "HTTP/1.0" { head.replace("HTTP/1.1", "HTTP/1.0") } else { head };
        wire.send(head + smuggled).await;
        let answer = wire.answer().await;
        assert!(statuses.contains(&answer.status), "{name}: {}", answer.status);
        // Whatever follows is judged as a request of its own, and refused; it never is a tunnel's content.
        while let Some(answer) = wire.try_answer().await {
            assert!(matches!(answer.status, 400 | 401 | 404 | 421), "{name}: {}", answer.status);
        }
    }
    assert!(!backend.seen().iter().any(|seen| seen.target.contains("secret")));
}
