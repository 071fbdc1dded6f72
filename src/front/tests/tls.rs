//! What TLS is spoken, who may come in, and for how long they stay trusted.

use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider};
use tokio_rustls::client::TlsStream;

use super::pki::{Ca, Identity, Pki, as_version_1};
use super::*;

#[tokio::test]
async fn versions_suites_and_protocols_are_ours() {
    let pki = Pki::new();
    let house = House::open(patient(), Some(pki.listener(ClientCertificate::None)), &[]).await;
    for (name, suite, accepted) in [
        ("1.3 AES-128", cipher_suite::TLS13_AES_128_GCM_SHA256, Some("TLSv1.3")),
        ("1.3 ChaCha", cipher_suite::TLS13_CHACHA20_POLY1305_SHA256, Some("TLSv1.3")),
        ("1.2 AES-128", cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, Some("TLSv1.2")),
        ("1.2 AES-256", cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, Some("TLSv1.2")),
        ("1.2 ChaCha", cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, None),
    ] {
        let mut provider = default_provider();
        provider.cipher_suites = vec![suite];
        let version = [suite.version()];
        let mut config = pki.client_of(provider.clone(), None, &["http/1.1"]);
        let roots = Arc::new({
            let mut roots = rustls::RootCertStore::empty();
            roots.add(pki.ca.der.clone()).unwrap();
            roots
        });
        config.alpn_protocols.clear();
        let config = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&version)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        match (pki.connect(house.address, &Arc::new(config)).await, accepted) {
            (Ok(mut stream), Some(version)) => {
                let answer = get(&mut stream, "/facts").await;
                assert!(answer.ends_with(&format!("public {version} Some(\"localhost\") none")), "{name}: {answer}");
            }
            (Err(_), None) => {}
            (outcome, _) => panic!("{name}: {outcome:?}"),
        }
    }
    assert!(pki.connect(house.address, &pki.client(None, &["spdy/3"])).await.is_err(), "unknown protocol");
    assert_eq!(house.events.count("handshake Protocol"), 2);
    let (mut client, connection) = pki.h2(house.address, None).await;
    tokio::spawn(connection);
    let request = http::Request::get("https://localhost/one").body(()).unwrap();
    let (answer, _) = client.send_request(request, true).unwrap();
    assert_eq!(soon("an answer", answer).await.unwrap().status(), 200);
}

async fn facts(stream: &mut TlsStream<TcpStream>) -> String {
    let answer = get(stream, "/facts").await;
    answer.rsplit(' ').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_certificate_is_judged_again_when_trust_or_time_changes() {
    let (pki, partners) = (Pki::new(), Ca::new("partners"));
    let tls = Some(pki.listener(ClientCertificate::Required));
    let house = House::open(patient(), tls, std::slice::from_ref(&partners.der)).await;
    let partner = partners.issue("tpp.example", ClientAuth);
    let config = pki.client(Some(&partner), &["http/1.1"]);
    let mut stream = pki.connect(house.address, &config).await.unwrap();
    assert_eq!(facts(&mut stream).await, "trusted");
    assert_eq!(facts(&mut stream).await, "trusted");
    house.trust.replace(&[], &HashSet::new()).unwrap();
    assert_eq!(facts(&mut stream).await, "unverified", "on the connection that is open");
    house.trust.replace(std::slice::from_ref(&partners.der), &HashSet::new()).unwrap();
    assert_eq!(facts(&mut stream).await, "trusted");
    house.clock.forward(4 * 365 * 86_400);
    assert_eq!(facts(&mut stream).await, "none", "expired on the connection that is open");

    let own = pki.client(Some(&Identity::self_signed("own.example")), &["http/1.1"]);
    house.clock.forward(-4 * 365 * 86_400);
    let mut stream = pki.connect(house.address, &own).await.unwrap();
    assert_eq!(facts(&mut stream).await, "unverified", "a self-signed certificate proves possession");
}

#[tokio::test]
async fn sessions_with_certificates_are_not_resumed_and_others_are() {
    let (pki, partners) = (Pki::new(), Ca::new("partners"));
    for (ask, kind) in [
        (ClientCertificate::Required, rustls::HandshakeKind::Full),
        (ClientCertificate::None, rustls::HandshakeKind::Resumed),
    ] {
        let house = House::open(patient(), Some(pki.listener(ask)), std::slice::from_ref(&partners.der)).await;
        let partner = partners.issue("tpp.example", ClientAuth);
        let config = pki.client(Some(&partner), &["http/1.1"]);
        for round in 0..2 {
            let mut stream = pki.connect(house.address, &config).await.unwrap();
            facts(&mut stream).await;
            let expected = if round == 0 { rustls::HandshakeKind::Full } else { kind };
            assert_eq!(stream.get_ref().1.handshake_kind(), Some(expected), "{ask:?}");
        }
    }
}

/// Whether the server lets this client say anything: with TLS 1.3 a refusal comes after the client's handshake.
async fn comes_in(pki: &Pki, house: &House, identity: Option<&Identity>) -> bool {
    let Ok(mut stream) = pki.connect(house.address, &pki.client(identity, &["http/1.1"])).await else { return false };
    let _ = stream.write_all(b"GET /facts HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    read_to_end(&mut stream).await.starts_with("HTTP/1.1 200")
}

#[tokio::test]
async fn unsound_certificates_stay_outside_and_the_process_lives() {
    let (pki, partners) = (Pki::new(), Ca::new("partners"));
    let tls = Some(pki.listener(ClientCertificate::Required));
    let house = House::open(patient(), tls, std::slice::from_ref(&partners.der)).await;
    let sound = partners.issue("tpp.example", ClientAuth);
    let changed = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut der = sound.der.to_vec();
        change(&mut der);
        Identity { der: der.into(), key: sound.key.clone() }
    };
    let version_1 = Identity { der: as_version_1(&sound.der), key: sound.key.clone() };
    // Pingora's own digest panics on a date like this one.
    let mangled = changed(&|der| {
        let at = der.windows(2).position(|pair| pair == [0x17, 13]).unwrap();
        der[at + 4..at + 6].copy_from_slice(b"99");
    });
    let trailing = changed(&|der| der.push(0));
    let other_key = Identity { key: Identity::self_signed("x").key, ..sound.clone() };
    let server = partners.issue("tpp.example", ServerAuth);
    for (name, identity, event) in [
        ("version 1", &version_1, "Certificate(Version)"),
        ("mangled date", &mangled, "Certificate(Encoding)"),
        ("bytes after the end", &trailing, "Certificate(Encoding)"),
        ("for servers", &server, "Certificate(Purpose)"),
        ("no possession", &other_key, "handshake Protocol"),
    ] {
        assert!(!comes_in(&pki, &house, Some(identity)).await, "{name}");
        house.events.wait(event).await;
    }
    assert!(!comes_in(&pki, &house, None).await, "no certificate");
    house.clock.forward(4 * 365 * 86_400);
    assert!(!comes_in(&pki, &house, Some(&sound)).await, "expired");
    house.events.wait("Certificate(Validity)").await;
    house.clock.forward(-4 * 365 * 86_400);
    assert!(comes_in(&pki, &house, Some(&sound)).await);
    assert_eq!(house.events.count("panicked"), 0);
}

#[tokio::test]
async fn a_certificate_is_optional_where_it_is_optional() {
    let (pki, partners) = (Pki::new(), Ca::new("partners"));
    let tls = Some(pki.listener(ClientCertificate::Optional));
    let house = House::open(patient(), tls, std::slice::from_ref(&partners.der)).await;
    let partner = partners.issue("tpp.example", ClientAuth);
    for (identity, expected) in [(None, "none"), (Some(&partner), "trusted")] {
        let mut stream = pki.connect(house.address, &pki.client(identity, &["http/1.1"])).await.unwrap();
        assert_eq!(facts(&mut stream).await, expected);
    }
}

#[tokio::test]
async fn the_servers_certificate_changes_without_a_restart_and_only_for_a_sound_one() {
    let pki = Pki::new();
    let settings = pki.listener(ClientCertificate::None);
    let house = House::open(patient(), Some(settings.clone()), &[]).await;
    let config = pki.client(None, &["http/1.1"]);
    let presented = async || {
        let stream = pki.connect(house.address, &config).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].clone()
    };
    let (first, next) = (presented().await, pki.ca.issue("localhost", ServerAuth));
    let certificate = house.certificate.as_ref().unwrap();
    pki.write(&Identity { key: pki.ca.issue("localhost", ServerAuth).key, ..next.clone() });
    assert!(matches!(certificate.reload(&settings), Err(FrontError::CertificateUnusable { .. })));
    assert_eq!(presented().await, first);
    pki.write(&next);
    certificate.reload(&settings).unwrap();
    assert_eq!(presented().await, next.der);
}
