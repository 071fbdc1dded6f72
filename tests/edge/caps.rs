//! What is counted: connections, header bytes, header fields, requests of one connection.

use std::net::SocketAddr;
use std::sync::Arc;

use http::Request;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;

use super::{authorized, millis, raw};
use crate::harness::secure::bearer;
use crate::harness::wire::{Wire, tls_config};
use crate::harness::{Backend, Gateway, Reply, Site, h2c, within};

async fn plain(limits: &str) -> (Backend, Site, Gateway) {
    let backend = Backend::agreeable().await;
    let site = Site::plain(&[&backend]);
    site.limits(limits);
    let gateway = site.start().await;
    (backend, site, gateway)
}

/// A connection from one of loopback's many addresses.
async fn from(source: &str, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(source.parse().unwrap(), 0)).unwrap();
    within("a connection", socket.connect(to)).await.unwrap()
}

/// A connection that is served.
async fn served(source: &str, to: SocketAddr) -> Option<Wire> {
    let mut wire = Wire::over(from(source, to).await);
    wire.try_send(raw("GET", "/shop/items", "")).await.ok()?;
    let answer = wire.try_answer().await?;
    assert_eq!(answer.status, 200);
    Some(wire)
}

/// However many connections it has: else one address could take all places of the audit queue by requests that take long.
#[tokio::test]
async fn one_address_has_so_many_requests_in_work() {
    let go_on = Arc::new(Semaphore::new(0));
    let waits = Arc::clone(&go_on);
    let backend = Backend::start(move |seen| match seen.path() {
        "/v1/items/1" => Reply::Wait(Arc::clone(&waits), Box::new(Reply::json("{}"))),
        _ => Reply::json("[]"),
    })
    .await;
    let site = Site::plain(&[&backend]);
    site.limits("in_flight_per_address_max: 3");
    let gateway = site.start().await;
    let address = gateway.address("public");
    let mut held = Vec::new();
    for nth in 1..=3 {
        let mut wire = Wire::over(from("127.0.0.1", address).await);
        wire.send(raw("GET", "/shop/items/1", "")).await;
        backend.arrived(nth).await;
        held.push(wire);
    }
    let mut fourth = Wire::over(from("127.0.0.1", address).await);
    let answer = fourth.ask(raw("GET", "/shop/items", "")).await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "overloaded"));
    assert!(served("127.0.0.2", address).await.is_some(), "another address has its own");
    go_on.add_permits(3);
    for wire in &mut held {
        assert_eq!(wire.answer().await.status, 200);
    }
    assert!(served("127.0.0.1", address).await.is_some(), "what is done makes room");
}

/// The stock engine has no cap on connections, in all or by address.
#[tokio::test]
async fn connections_are_capped_in_all_and_by_address() {
    let (_backend, site, gateway) =
        plain("connections_max: 6, connections_per_address_max: 4, header_timeout: 1s").await;
    let address = gateway.address("public");
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(served("127.0.0.1", address).await.expect("below both caps"));
    }
    for _ in 0..5 {
        assert!(served("127.0.0.1", address).await.is_none(), "the address has its share");
    }
    site.connection_ends("address_full", 5).await;
    let mut others = Vec::new();
    for source in ["127.0.0.2", "127.0.0.3"] {
        others.push(served(source, address).await.expect("another address"));
    }
    assert!(served("127.0.0.4", address).await.is_none(), "all places are taken");
    site.connection_ends("full", 1).await;
    assert!(gateway.metric("clearway_connections_refused_total", "public").await >= 6.0);
    // Those who are in are served on; one close admits the next.
    for wire in held.iter_mut().chain(&mut others) {
        assert_eq!(wire.ask(raw("GET", "/shop/items", "")).await.status, 200);
    }
    drop(held.pop());
    let admitted = async {
        let mut tick = tokio::time::interval(millis(10));
        loop {
            tick.tick().await;
            if served("127.0.0.4", address).await.is_some() {
                return;
            }
        }
    };
    within("a place that is free again", admitted).await;
    let mut many = Vec::new();
    for _ in 0..200 {
        many.push(from("127.0.0.5", address).await);
    }
    for mut stream in many {
        // Closed unread, or one of the last places until its time for a header is over.
        let read = within("the end of a connection too many", stream.read(&mut [0; 1])).await;
        assert!(!matches!(read, Ok(1..)));
    }
}

/// The stock engine takes 1 MiB of header and 256 fields, whatever is configured.
#[tokio::test]
async fn header_sections_are_bounded_in_bytes_in_fields_and_in_the_target() {
    let (backend, _site, gateway) = plain("header_bytes_max: 4KiB, header_count_max: 20, uri_bytes_max: 1KiB").await;
    let field = |bytes: usize| format!("X-A: {}\r\n", "a".repeat(bytes - 7));
    let ask = async |target: &str, more: &str| {
        let mut wire = Wire::connect(gateway.address("public")).await;
        let _ = wire.try_send(raw("GET", target, more)).await;
        let status = wire.try_answer().await.map(|answer| answer.status);
        (status, wire)
    };
    let rest = raw("GET", "/shop/items", "").len();
    let fields = |count: usize| (0..count).map(|nth| format!("X-{nth}: a\r\n")).collect::<String>();
    for (name, target, more, status) in [
        ("all of it", "/shop/items".to_owned(), field(4096 - rest), 200),
        ("a byte more", "/shop/items".into(), field(4097 - rest), 431),
        ("far more", "/shop/items".into(), field(900_000), 431),
        ("20 fields", "/shop/items".into(), fields(18), 200),
        ("21 fields", "/shop/items".into(), fields(19), 431),
        ("300 fields", "/shop/items".into(), fields(300), 431),
        ("a target of 1 KiB", format!("/shop/items?{}", "a".repeat(1024 - 12)), String::new(), 200),
        ("a byte more", format!("/shop/items?{}", "a".repeat(1024 - 11)), String::new(), 414),
        ("a target without end", format!("/shop/items?{}", "a".repeat(900_000)), String::new(), 414),
    ] {
        let (said, mut wire) = ask(&target, &more).await;
        assert_eq!(said, Some(status), "{name}");
        if status != 200 {
            assert!(wire.closed().await, "{name}");
        }
    }
    assert_eq!(backend.total(), 3);
}

/// The same bounds over HTTP/2, where header compression makes a large header of few bytes.
#[tokio::test]
async fn http2_header_sections_are_bounded_after_decompression() {
    let backend = Backend::agreeable().await;
    let site = Site::secure(&backend);
    site.limits("header_bytes_max: 4KiB, header_count_max: 20, uri_bytes_max: 1KiB");
    let gateway = site.start().await;
    let token = bearer(&gateway).await;
    let long = "a".repeat(5000);
    for (name, target, count, value, statuses) in [
        ("a few", "/shop/items".to_owned(), 5, "a", &[200][..]),
        ("many fields", "/shop/items".into(), 40, "a", &[431]),
        ("many bytes", "/shop/items".into(), 1, long.as_str(), &[431]),
        ("a long target", format!("/shop/items?{}", "a".repeat(2000)), 0, "", &[414, 431]),
        // Indexed after the first: 4 KiB of frames are 400 KiB of header.
        ("a bomb", "/shop/items".into(), 400, &long[..1000], &[431]),
    ] {
        let (mut send, _) = h2c::connect_with(gateway.address("public"), tls_config(None, &["h2"])).await;
        let mut request =
            Request::get(format!("https://localhost{target}")).header("authorization", format!("Bearer {token}"));
        for nth in 0..count {
            let name = if value.len() > 1 { "x-a".to_owned() } else { format!("x-{nth}") };
            request = request.header(name, value);
        }
        let before = backend.total();
        match h2c::ask(&mut send, request.body(()).unwrap()).await {
            Ok((status, _)) => assert!(statuses.contains(&status), "{name}: {status}"),
            Err(error) => assert!(!statuses.contains(&200), "{name}: {error}"),
        }
        assert_eq!(backend.total() - before, usize::from(statuses == [200]), "{name}");
    }
}

/// A connection that lives for ever keeps its state, and its back end's, for ever.
#[tokio::test]
async fn a_connection_retires_after_its_number_of_requests() {
    let backend = Backend::agreeable().await;
    let site = Site::secure(&backend);
    site.limits("requests_per_connection_max: 5");
    let gateway = site.start().await;
    let token = bearer(&gateway).await;
    let mut wire = Wire::tls(gateway.address("public"), None).await.unwrap();
    let mut served = 0;
    while wire.try_send(authorized("GET", "/shop/items", &token, "")).await.is_ok() {
        let Some(answer) = wire.try_answer().await else { break };
        assert_eq!(answer.status, 200);
        served += 1;
        if answer.field("connection") == Some("close") {
            break;
        }
        assert!(served < 20, "it goes on and on");
    }
    assert!((5..=6).contains(&served), "{served}");
    assert!(wire.closed().await);
    let (mut send, connection) = h2c::connect_with(gateway.address("public"), tls_config(None, &["h2"])).await;
    let mut served = 0;
    loop {
        let get = Request::get("https://localhost/shop/items").header("authorization", format!("Bearer {token}"));
        match h2c::ask(&mut send, get.body(()).unwrap()).await {
            Ok((status, _)) => assert_eq!(status, 200),
            Err(error) => {
                assert!(error.is_go_away() || error.is_io(), "told, not dropped: {error}");
                break;
            }
        }
        served += 1;
        if connection.is_finished() {
            break;
        }
        assert!(served < 40, "it goes on and on");
    }
    assert!(served >= 5, "{served}");
}
