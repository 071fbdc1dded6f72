//! Every wait on a client ends.

use std::time::Instant;

use super::pki::Pki;
use super::*;

/// Keeps sending one byte of `text` every 50 ms until the connection is closed; returns what came back.
async fn drip(tcp: TcpStream, text: &'static str) -> String {
    let (mut read, mut write) = tcp.into_split();
    let sender = tokio::spawn(async move {
        let mut tick = tokio::time::interval(Duration::from_millis(50));
        for byte in text.bytes().cycle() {
            tick.tick().await;
            if write.write_all(&[byte]).await.is_err() {
                return;
            }
        }
    });
    let answer = read_to_end(&mut read).await;
    sender.abort();
    answer
}

#[tokio::test]
async fn a_silent_connection_and_a_dripped_header_are_ended() {
    let house = House::plain(limits()).await;
    let start = Instant::now();
    assert_eq!(read_to_end(&mut house.connect().await).await, "");
    house.events.wait("cut header_timeout").await;
    let answer = drip(house.connect().await, "GET / HTTP/1.1\r\nHost: a\r\nX: drip drip drip drip").await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("request-timeout"), "{answer}");
    assert!(start.elapsed() < Duration::from_secs(8));
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_its_answers() {
    let house = House::plain(limits()).await;
    let mut tcp = house.connect().await;
    for _ in 0..3 {
        assert!(get(&mut tcp, "/one").await.ends_with("ok"));
    }
    let start = Instant::now();
    assert_eq!(read_to_end(&mut tcp).await, "");
    assert!(start.elapsed() > Duration::from_millis(500), "not before its time");
    house.events.wait("cut idle").await;
    assert_eq!(house.events.count("header_timeout"), 0);
}

#[tokio::test]
async fn the_second_header_has_its_own_deadline() {
    let house = House::plain(limits()).await;
    let mut tcp = house.connect().await;
    get(&mut tcp, "/one").await;
    let answer = drip(tcp, "GET / HTTP/1.1\r\nHost: a\r\nX: drip drip drip drip").await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

#[tokio::test]
async fn a_body_that_pauses_or_drips_is_ended() {
    let house = House::plain(limits()).await;
    let mut tcp = house.connect().await;
    tcp.write_all(b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc").await.unwrap();
    let _ = read_to_end(&mut tcp).await;
    house.events.wait("cut body_idle").await;
    let mut tcp = house.connect().await;
    tcp.write_all(b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n").await.unwrap();
    drip(tcp, "x").await;
    house.events.wait("cut body_timeout").await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_not_waited_for() {
    let house = House::plain(limits()).await;
    let mut tcp = house.connect().await;
    tcp.write_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    house.events.wait("cut write_stall").await;
}

#[tokio::test]
async fn a_long_answer_is_not_an_idle_connection() {
    let house = House::plain(limits()).await;
    let mut tcp = house.connect().await;
    tcp.write_all(b"GET /hang HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    house.arrived.notified().await;
    let longer_than_every_deadline = Duration::from_millis(1500);
    assert!(timeout(longer_than_every_deadline, tcp.readable()).await.is_err(), "neither an answer nor an end");
    house.go_on.notify_one();
    assert!(read_answer(&mut tcp).await.ends_with("went on"));
}

#[tokio::test]
async fn a_handshake_that_does_not_come_is_ended() {
    let pki = Pki::new();
    let house = House::open(limits(), Some(pki.listener(ClientCertificate::None)), &[]).await;
    assert_eq!(read_to_end(&mut house.connect().await).await, "");
    house.events.wait("handshake Timeout").await;
    drop(house.connect().await);
    house.events.wait("handshake Closed").await;
}

#[tokio::test]
async fn http2_without_a_preface_without_requests_and_with_an_endless_header_is_ended() {
    let pki = Pki::new();
    let house = House::open(limits(), Some(pki.listener(ClientCertificate::None)), &[]).await;
    let mut silent = pki.connect(house.address, &pki.client(None, &["h2"])).await.unwrap();
    read_to_end(&mut silent).await;
    house.events.wait("cut header_timeout").await;

    let mut idle = pki.connect(house.address, &pki.client(None, &["h2"])).await.unwrap();
    idle.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    read_to_end(&mut idle).await;
    house.events.wait("cut idle").await;

    // A header block that goes on for ever, slowly, on a connection that is kept busy by a request.
    let mut endless = pki.connect(house.address, &pki.client(None, &["h2"])).await.unwrap();
    endless.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    // HEADERS of stream 1, complete: GET /hang (HPACK: indexed :method, literal :path, indexed :scheme, authority).
    let block = b"\x82\x04\x05/hang\x87\x41\x01a";
    let mut frame = vec![0, 0, u8::try_from(block.len()).unwrap(), 1, 5, 0, 0, 0, 1];
    frame.extend_from_slice(block);
    endless.write_all(&frame).await.unwrap();
    endless.flush().await.unwrap();
    soon("the request", house.arrived.notified()).await;
    // HEADERS of stream 3 without END_HEADERS, then one CONTINUATION that drips. (`h2` itself ends the connection
    // after a handful of CONTINUATION frames, so their number is not the problem, their time is.)
    endless.write_all(b"\0\0\x01\x01\x01\0\0\0\x03\x82\0\x20\0\x09\0\0\0\0\x03").await.unwrap();
    endless.flush().await.unwrap();
    let mut tick = tokio::time::interval(Duration::from_millis(50));
    let slow = async {
        loop {
            tick.tick().await;
            if endless.write_all(b"\x82").await.is_err() || endless.flush().await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = slow => {}
        () = house.events.wait_for("cut header_timeout", 2) => {}
    }
    house.events.wait_for("cut header_timeout", 2).await;
}

/// Whoever has begun a request is not idle, even where the time for that is the shorter one.
#[tokio::test]
async fn a_header_block_under_way_has_its_own_time() {
    let pki = Pki::new();
    let limits = EdgeLimits {
        idle_timeout: Duration::from_millis(200),
        header_timeout: Duration::from_millis(900),
        handshake_timeout: Duration::from_secs(10),
        ..limits()
    };
    let house = House::open(limits, Some(pki.listener(ClientCertificate::None)), &[]).await;
    let mut slow = pki.connect(house.address, &pki.client(None, &["h2"])).await.unwrap();
    let begun = Instant::now();
    slow.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    slow.write_all(b"\0\0\x01\x01\x01\0\0\0\x01\x82").await.unwrap(); // HEADERS without END_HEADERS.
    read_to_end(&mut slow).await;
    assert!(begun.elapsed() >= Duration::from_millis(800), "{:?}", begun.elapsed());
    house.events.wait("cut header_timeout").await;
}
