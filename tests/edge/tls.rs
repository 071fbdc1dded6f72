//! Who is at the other end, and for how long is that so?

use std::sync::Arc;

use rustls::HandshakeKind;
use rustls::pki_types::CertificateDer;
use rustls::version::{TLS12, TLS13};
use tokio::io::AsyncReadExt;

use super::authorized;
use crate::harness::certificates::{client_identity, pki};
use crate::harness::forge::{Ca, Forged, as_version_1, with_a_mangled_date};
use crate::harness::secure::token_of;
use crate::harness::wire::{Wire, handshake, tls_config};
use crate::harness::{Backend, Gateway, Site, h2c};

async fn rig() -> (Backend, Site, Gateway) {
    let backend = Backend::agreeable().await;
    let site = Site::secure(&backend);
    site.edit(
        "config/gateway.yaml",
        "operations_address",
        "  - name: optional
    address: 127.0.0.1:0
    tls: { certificate_file: PKI/server.pem, private_key_file: PKI/server.key, client_certificate: optional }
operations_address",
    );
    let gateway = site.start().await;
    (backend, site, gateway)
}

/// Puts another CA in the place of the one that vouches for the clients, and waits until that is in force.
async fn remove_the_ca(site: &Site, gateway: &Gateway) {
    let (ours, other) = (pki().partner_ca.certificate.to_str().unwrap(), pki().untrusted_ca.to_str().unwrap());
    site.edit("config/gateway.yaml", ours, other);
    gateway.reload().await;
}

fn get(token: &str) -> http::Request<()> {
    let request = http::Request::get("https://localhost/shop/items");
    request.header("authorization", format!("Bearer {token}")).body(()).unwrap()
}

/// The stock engine resumes TLS 1.2 and 1.3 sessions with the client's chain restored and no verifier asked, also
/// after the CA was removed; and a connection that lives on never asks again.
#[tokio::test]
async fn a_removed_ca_ends_sessions_to_resume_and_connections_that_live_on() {
    let (backend, site, gateway) = rig().await;
    let token = token_of(&gateway, "acme-tls").await;
    let ask = authorized("GET", "/shop/items", &token, "");
    let identity = Forged::of(client_identity("acme-tls"));
    let mut configs = Vec::new();
    for (name, version) in [("1.2", &TLS12), ("1.3", &TLS13)] {
        // One configuration, one store of sessions: what the server gives out is used again.
        let config = Arc::new(identity.client_config(&["http/1.1"], &[version]));
        // Where nobody is asked for a certificate a session is resumed: this client can do it.
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let stream = handshake(gateway.address("public"), &config).await.unwrap();
            assert_eq!(stream.get_ref().1.handshake_kind(), Some(kind), "TLS {name}, public");
            assert_eq!(Wire::over(stream).ask("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.status, 200);
        }
        for listener in ["mtls", "optional"] {
            let config = Arc::new(identity.client_config(&["http/1.1"], &[version]));
            for _ in 0..2 {
                let stream = handshake(gateway.address(listener), &config).await.unwrap();
                let kind = stream.get_ref().1.handshake_kind();
                assert_eq!(kind, Some(HandshakeKind::Full), "TLS {name}, {listener}: judged in every handshake");
                let mut alive = Wire::over(stream);
                assert_eq!(alive.ask(&ask).await.status, 200, "TLS {name}, {listener}");
                configs.push((name, listener, Arc::clone(&config), alive));
            }
        }
    }
    let mut http2 = Vec::new();
    for listener in ["mtls", "optional"] {
        let config = identity.client_config(&["h2"], &[&TLS13]);
        let (mut send, _) = h2c::connect_with(gateway.address(listener), config).await;
        assert_eq!(h2c::ask(&mut send, get(&token)).await.unwrap().0, 200);
        http2.push(send);
    }
    let before = backend.total();
    remove_the_ca(&site, &gateway).await;
    for (name, listener, config, mut alive) in configs {
        let answer = alive.ask(&ask).await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "certificate-untrusted"), "{name} {listener} alive");
        let stream = handshake(gateway.address(listener), &config).await.unwrap();
        let answer = Wire::over(stream).ask(&ask).await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "certificate-untrusted"), "{name} {listener} again");
    }
    for mut send in http2 {
        assert_eq!(h2c::ask(&mut send, get(&token)).await.unwrap().0, 401, "HTTP/2, alive");
    }
    assert_eq!(backend.total(), before);
}

/// One X.509 parser takes a mangled date, or a certificate of version 1, and another refuses or panics on it.
#[tokio::test]
async fn a_certificate_that_parsers_disagree_on_ends_the_handshake_and_nothing_else() {
    let (_backend, site, gateway) = rig().await;
    let ca = Ca::new("partners of the test");
    let sound = ca.client("sound");
    let with = |der: Vec<u8>| Forged { der: CertificateDer::from(der), key: sound.key.clone() };
    let trailing = [&sound.der[..], b"\0"].concat();
    let server = ca.server();
    let doubled = ca.issue("doubled", |params| {
        let id = &[2, 5, 29, 17]; // A second subjectAltName.
        let again = rcgen::CustomExtension::from_oid_content(id, vec![0x30, 3, 0x82, 1, b'a']);
        params.custom_extensions.push(again);
    });
    for (name, identity) in [
        ("a month 13", with(with_a_mangled_date(&sound.der))),
        ("version 1", with(as_version_1(&sound.der))),
        ("a byte too much", with(trailing)),
        ("half of it", with(sound.der[..sound.der.len() / 2].to_vec())),
        ("nothing", with(Vec::new())),
        ("a server's", server),
        ("an extension twice", doubled),
        ("expired", Forged::of(&pki().expired_client)),
    ] {
        for (listener, version) in [("mtls", &TLS12), ("mtls", &TLS13), ("optional", &TLS13)] {
            let config = Arc::new(identity.client_config(&["http/1.1"], &[version]));
            // TLS 1.3 ends for the client before the server has seen the certificate: the first read tells.
            if let Ok(mut stream) = handshake(gateway.address(listener), &config).await {
                let read = crate::harness::within("an alert", stream.read(&mut [0; 100])).await;
                assert!(!matches!(read, Ok(1..)), "{name} at {listener}: {read:?}");
            }
        }
    }
    for (reason, count) in [
        ("certificate_version", 3),
        ("certificate_purpose", 3),
        ("certificate_extension", 3),
        ("certificate_validity", 3),
        ("certificate_encoding", 6),
    ] {
        site.connection_ends(reason, count).await;
    }
    assert_eq!(gateway.said("panicked"), 0, "{}", gateway.log());
    let sound = Arc::new(sound.client_config(&["http/1.1"], &[&TLS13]));
    let mut wire = Wire::over(handshake(gateway.address("mtls"), &sound).await.unwrap());
    let status = wire.ask("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.status;
    assert_eq!(status, 200, "a sound certificate of nobody's CA still reaches what is public");
}

/// The stock engine offers TLS 1.2 and 1.3 with whatever suites its library has; ours are listed.
#[tokio::test]
async fn protocols_and_suites_outside_the_list_are_refused() {
    let (_backend, _site, gateway) = rig().await;
    let refused = Arc::new(tls_config(None, &["spdy/3"]));
    assert!(handshake(gateway.address("public"), &refused).await.is_err(), "an unknown protocol (RFC 7301 §3.2)");
    let none = Arc::new(tls_config(None, &[]));
    let mut wire = Wire::over(handshake(gateway.address("public"), &none).await.unwrap());
    assert_eq!(wire.ask("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.status, 200, "no protocol is HTTP/1.1");
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.cipher_suites = vec![
        rustls::crypto::aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        rustls::crypto::aws_lc_rs::cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ];
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&TLS12])
        .unwrap()
        .with_root_certificates(crate::harness::wire::roots())
        .with_no_client_auth();
    assert!(handshake(gateway.address("public"), &Arc::new(config)).await.is_err(), "not on RFC 9325's list");
    // A listener that demands a certificate ends the handshake of whoever has none.
    let bare = Arc::new(tls_config(None, &["http/1.1"]));
    if let Ok(mut stream) = handshake(gateway.address("mtls"), &bare).await {
        assert!(!matches!(stream.read(&mut [0; 100]).await, Ok(1..)));
    }
}
