//! Streams that are reset as soon as they are open (CVE-2023-44487), at once and at leisure.

use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;

use crate::harness::h2c::{PREFACE, block, frame};
use crate::harness::secure::bearer;
use crate::harness::wire::{Wire, tls_config};
use crate::harness::{Backend, Gateway, Reply, Site, h2c, within};

const IN_FLIGHT_MAX: usize = 8;

/// A back end that answers when the gate opens, behind a gateway with few places per connection.
async fn rig() -> (Arc<Semaphore>, Backend, Site, Gateway, String) {
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let backend = Backend::start(move |seen| match seen.path() {
        "/v1/items" => Reply::Wait(Arc::clone(&held), Box::new(Reply::json("{}"))),
        _ => Reply::json("{}"),
    })
    .await;
    let site = Site::secure(&backend);
    site.limits(&format!("in_flight_per_connection_max: {IN_FLIGHT_MAX}"));
    let gateway = site.start().await;
    let token = bearer(&gateway).await;
    (gate, backend, site, gateway, token)
}

/// The stock engine does not cancel a filter whose stream is reset, and does not count it: 2 000 were in flight on one
/// connection whose limit was 100.
#[tokio::test]
async fn paced_resets_do_not_pile_up_work() {
    let (gate, backend, _site, gateway, token) = rig().await;
    let (mut send, _) = h2c::connect_with(gateway.address("public"), tls_config(None, &["h2"])).await;
    let item = r#"{"name":"tea","quantity":1}"#;
    let mut refused = 0;
    for number in 0..300 {
        let Ok(ready) = send.clone().ready().await else { break };
        send = ready;
        // A write in the held lane: it is never given up halfway, whoever resets it.
        let request = Request::post("https://localhost/shop/items")
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json");
        let Ok((answer, mut body)) = send.send_request(request.body(()).unwrap(), false) else { break };
        body.send_data(Bytes::from_static(item.as_bytes()), true).unwrap();
        if number < IN_FLIGHT_MAX {
            backend.arrived(number + 1).await;
            body.send_reset(h2::Reason::CANCEL);
            continue;
        }
        match within("a refusal", answer).await {
            Ok(answer) => assert_eq!(answer.status(), 503, "every place is taken by work whose caller is gone"),
            Err(error) => assert!(error.is_reset() || error.is_go_away() || error.is_io(), "{error}"),
        }
        refused += 1;
    }
    assert!(refused > 100, "{refused}");
    assert_eq!(backend.total(), IN_FLIGHT_MAX, "no more than the places of one connection");
    // Another connection is not concerned, and the places come back when the work is done.
    let (mut other, _) = h2c::connect_with(gateway.address("public"), tls_config(None, &["h2"])).await;
    let get = Request::get("https://localhost/shop/items/1").header("authorization", format!("Bearer {token}"));
    let get = get.body(()).unwrap();
    assert_eq!(h2c::ask(&mut other, get.clone()).await.unwrap().0, 200);
    gate.add_permits(IN_FLIGHT_MAX);
    let again = async {
        let mut tick = tokio::time::interval(super::millis(10));
        while h2c::ask(&mut send, get.clone()).await.unwrap().0 != 200 {
            tick.tick().await;
        }
    };
    within("places that are free again", again).await;
}

/// A burst of openings and resets: the connection is given up, the process is not.
#[tokio::test]
async fn a_burst_of_resets_ends_the_connection() {
    const STREAMS: u32 = 5000;
    let (gate, backend, _site, gateway, token) = rig().await;
    gate.add_permits(10_000);
    let bearer = format!("Bearer {token}");
    let fields = [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "localhost"),
        (":path", "/shop/items"),
        ("authorization", bearer.as_str()),
    ];
    let header = block(&fields);
    let mut stream = h2c::raw(gateway.address("public"), tls_config(None, &["h2"])).await;
    let mut burst = PREFACE.to_vec();
    for number in 0..STREAMS {
        burst.extend(frame(1, 5, number * 2 + 1, &header));
        burst.extend(frame(3, 0, number * 2 + 1, &8_u32.to_be_bytes()));
    }
    let (mut read, mut write) = tokio::io::split(&mut stream);
    let mut said = Vec::new();
    let write = async {
        let _ = write.write_all(&burst).await;
        let _ = write.flush().await;
    };
    let (_, _) = tokio::join!(write, within("the end of a connection of resets", read.read_to_end(&mut said)));
    assert!(h2c::kinds(&said).contains(&7), "GOAWAY: {:?}", h2c::kinds(&said).len());
    assert!(backend.total() < 1000, "{} of {STREAMS} reached the back end", backend.total());
    let mut wire = Wire::tls(gateway.address("public"), None).await.unwrap();
    assert_eq!(wire.ask(super::authorized("GET", "/shop/items/1", &token, "")).await.status, 200);
    assert_eq!(gateway.said("panicked"), 0);
}

/// Resets of the server's own making (CVE-2025-8671): the client sends what makes the server reset its streams.
#[tokio::test]
async fn resets_that_the_client_makes_us_send_end_the_connection_too() {
    let (gate, backend, _site, gateway, token) = rig().await;
    gate.add_permits(10_000);
    let bearer = format!("Bearer {token}");
    let fields = [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "localhost"),
        (":path", "/shop/items"),
        ("authorization", bearer.as_str()),
    ];
    let header = block(&fields);
    for (name, trouble) in [
        ("a window of more than all", frame(8, 0, 0, &0x7fff_ffff_u32.to_be_bytes())),
        ("a window of nothing", frame(8, 0, 0, &0_u32.to_be_bytes())),
        ("data after the end", frame(0, 0, 0, b"more")),
    ] {
        let mut stream = h2c::raw(gateway.address("public"), tls_config(None, &["h2"])).await;
        let mut burst = PREFACE.to_vec();
        for number in 0..2000_u32 {
            burst.extend(frame(1, 5, number * 2 + 1, &header));
            let mut trouble = trouble.clone();
            trouble[5..9].copy_from_slice(&(number * 2 + 1).to_be_bytes());
            burst.extend(trouble);
        }
        let (mut read, mut write) = tokio::io::split(&mut stream);
        let before = backend.total();
        let write = async {
            let _ = write.write_all(&burst).await;
            let _ = write.flush().await;
        };
        tokio::join!(write, async {
            let _ = within(name, read.read_to_end(&mut Vec::new())).await;
        });
        assert!(backend.total() - before < 1000, "{name}: {}", backend.total() - before);
    }
    let mut wire = Wire::tls(gateway.address("public"), None).await.unwrap();
    assert_eq!(wire.ask(super::authorized("GET", "/shop/items/1", &token, "")).await.status, 200);
}
