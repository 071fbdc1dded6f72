//! Caps, floods, panics, and the orderly end.

use rcgen::ExtendedKeyUsagePurpose::ClientAuth;

use super::pki::{Ca, Identity, Pki};
use super::*;
use crate::front::FloodKey;
use crate::front::certificate::read_chain;

#[tokio::test]
async fn connections_are_capped_in_all_and_by_address_and_a_close_makes_room() {
    for (limits, reason) in [
        (EdgeLimits { connections_max: 2, ..patient() }, "refused full"),
        (EdgeLimits { connections_per_address_max: 2, ..patient() }, "refused address_full"),
    ] {
        let house = House::plain(limits).await;
        let mut held = [house.connect().await, house.connect().await];
        for tcp in &mut held {
            get(tcp, "/one").await;
        }
        assert_eq!(read_to_end(&mut house.connect().await).await, "", "closed at once");
        assert_eq!(house.events.count(reason), 1);
        drop(held);
        house.events.wait_for("closed", 2).await;
        assert!(get(&mut house.connect().await, "/one").await.ends_with("ok"));
    }
}

#[tokio::test]
async fn an_address_that_goes_on_failing_is_not_accepted_any_more() {
    let house = House::plain(patient()).await;
    let key = FloodKey::address("127.0.0.1".parse().unwrap());
    (0..12).for_each(|_| house.flood.failed(key, house.clock.now()));
    assert_eq!(read_to_end(&mut house.connect().await).await, "");
    assert_eq!(house.events.count("refused flood"), 1);
    house.clock.forward(61);
    assert!(get(&mut house.connect().await, "/one").await.ends_with("ok"));
}

/// Fails once on a connection of its own; what the flood guard said before.
async fn fail(house: &House, pki: &Pki, identity: &Identity) -> String {
    let client = pki.client(Some(identity), &["http/1.1"]);
    let mut stream = pki.connect(house.address, &client).await.unwrap();
    let answer = get(&mut stream, "/fail").await;
    answer.rsplit("\r\n").next().unwrap().to_owned()
}

#[tokio::test]
async fn a_certificate_with_standing_answers_for_itself_and_all_others_for_their_address() {
    let (pki, partners) = (Pki::new(), Ca::new("partners"));
    let tls = Some(pki.listener(ClientCertificate::Required));
    let house = House::open(patient(), tls, std::slice::from_ref(&partners.der)).await;
    let [one, two] = ["one.example", "two.example"].map(|name| partners.issue(name, ClientAuth));
    let [stranger, other] = ["stranger.example", "other.example"].map(Identity::self_signed);
    let registered = Identity::self_signed("registered.example");
    let thumbprint = read_chain(std::slice::from_ref(&registered.der)).unwrap().thumbprint;
    house.trust.replace(std::slice::from_ref(&partners.der), &HashSet::from([thumbprint])).unwrap();
    for _ in 0..3 {
        assert_eq!(fail(&house, &pki, &one).await, "failed");
    }
    assert_eq!(fail(&house, &pki, &one).await, "blocked", "on any connection of the certificate");
    assert_eq!(fail(&house, &pki, &two).await, "failed", "not its neighbour behind the same address");
    for _ in 0..3 {
        assert_eq!(fail(&house, &pki, &stranger).await, "failed", "nor the address itself");
    }
    assert_eq!(fail(&house, &pki, &other).await, "blocked", "a certificate that anybody can make is worth nothing");
    assert_eq!(fail(&house, &pki, &two).await, "failed", "whoever shares the address of a stranger");
    assert_eq!(fail(&house, &pki, &registered).await, "failed", "whose own certificate a client registered");

    let key = FloodKey::address("127.0.0.1".parse().unwrap());
    (0..12).for_each(|_| house.flood.failed(key, house.clock.now()));
    let client = pki.client(Some(&stranger), &["http/1.1"]);
    if let Ok(mut stream) = pki.connect(house.address, &client).await {
        assert_eq!(read_to_end(&mut stream).await, "", "an address that is shut out");
    }
    house.events.wait("refused flood").await;
    assert_eq!(fail(&house, &pki, &two).await, "failed", "does not shut out a partner");
    house.trust.replace(&[], &HashSet::new()).unwrap();
    let client = pki.client(Some(&two), &["http/1.1"]);
    if let Ok(mut stream) = pki.connect(house.address, &client).await {
        assert_eq!(read_to_end(&mut stream).await, "", "until its standing is gone");
    }
    house.events.wait_for("refused flood", 2).await;
}

#[tokio::test]
async fn a_panic_costs_one_connection() {
    let house = House::plain(patient()).await;
    let mut other = house.connect().await;
    get(&mut other, "/one").await;
    assert_eq!(house.exchange("GET /panic HTTP/1.1\r\nHost: a\r\n\r\n").await, "");
    house.events.wait("panicked").await;
    assert!(get(&mut other, "/one").await.ends_with("ok"));
}

#[tokio::test]
async fn a_connection_retires_after_its_number_of_requests() {
    let house = House::plain(EdgeLimits { requests_per_connection_max: 3, ..patient() }).await;
    let mut tcp = house.connect().await;
    let mut answers = 0;
    while answers < 10 {
        let answer = get(&mut tcp, "/one").await;
        answers += 1;
        if answer.to_lowercase().contains("connection: close") {
            break;
        }
    }
    assert!((3..=4).contains(&answers), "{answers}");
    assert_eq!(read_to_end(&mut tcp).await, "");
}

#[tokio::test]
async fn drain_ends_idle_connections_lets_work_finish_and_cuts_what_does_not() {
    let house = House::plain(EdgeLimits { drain_timeout: Duration::from_secs(2), ..patient() }).await;
    let (mut idle, mut busy, mut stuck) = (house.connect().await, house.connect().await, house.connect().await);
    get(&mut idle, "/one").await;
    for tcp in [&mut busy, &mut stuck] {
        tcp.write_all(b"GET /hang HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        house.arrived.notified().await;
    }
    house.drain.send(true).unwrap();
    assert_eq!(read_to_end(&mut idle).await, "");
    assert!(TcpStream::connect(house.address).await.is_err(), "no new connections");
    house.go_on.notify_one();
    let answer = read_to_end(&mut busy).await;
    assert!(answer.ends_with("went on"), "{answer}");
    assert_eq!(soon("the end", house.served).await.unwrap(), Drained { cut: 1 });
    assert_eq!(read_to_end(&mut stuck).await, "");
}

#[tokio::test]
async fn http2_drains_with_goaway_and_retires_by_number() {
    let pki = Pki::new();
    let limits = EdgeLimits { requests_per_connection_max: 2, ..patient() };
    let house = House::open(limits, Some(pki.listener(ClientCertificate::None)), &[]).await;
    let (mut client, connection) = pki.h2(house.address, None).await;
    let connection = tokio::spawn(connection);
    for _ in 0..2 {
        let request = http::Request::get("https://localhost/one").body(()).unwrap();
        let (answer, _) = client.send_request(request, true).unwrap();
        assert_eq!(soon("an answer", answer).await.unwrap().status(), 200);
        client = match client.ready().await {
            Ok(client) => client,
            Err(_) => break,
        };
    }
    let _ = soon("GOAWAY", connection).await;

    let (mut client, connection) = pki.h2(house.address, None).await;
    let connection = tokio::spawn(connection);
    let request = http::Request::get("https://localhost/hang").body(()).unwrap();
    let (answer, _) = client.send_request(request, true).unwrap();
    house.arrived.notified().await;
    house.drain.send(true).unwrap();
    house.go_on.notify_one();
    assert_eq!(soon("the answer", answer).await.unwrap().status(), 200);
    let _ = soon("GOAWAY", connection).await;
    assert_eq!(soon("the end", house.served).await.unwrap(), Drained { cut: 0 });
}

#[tokio::test]
async fn paced_resets_do_not_pile_up_filters() {
    let pki = Pki::new();
    let house = House::open(patient(), Some(pki.listener(ClientCertificate::None)), &[]).await;
    let (mut client, connection) = pki.h2(house.address, None).await;
    tokio::spawn(connection);
    for number in 0..200 {
        let Ok(ready) = client.ready().await else { break };
        client = ready;
        let request = http::Request::get("https://localhost/hang").body(()).unwrap();
        let Ok((answer, mut stream)) = client.send_request(request, true) else { break };
        if number < 10 {
            soon("the filter", house.arrived.notified()).await;
            stream.send_reset(h2::Reason::CANCEL);
        } else {
            // All places are taken by filters of streams that are gone: refused at once.
            match soon("a refusal", answer).await {
                Ok(answer) => assert_eq!(answer.status(), 503),
                Err(_) => break,
            }
        }
    }
    assert_eq!(house.at_work_max.load(Ordering::SeqCst), 10);
    assert_eq!(house.at_work.load(Ordering::SeqCst), 10);
    for _ in 0..10 {
        house.go_on.notify_one();
        tokio::task::yield_now().await;
    }
}
