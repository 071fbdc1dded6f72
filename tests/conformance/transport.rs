//! What the listeners speak below HTTP, and the files that a suite is configured with.

use std::net::TcpStream;
use std::sync::Arc;

use rustls::{CipherSuite, ClientConfig, ClientConnection, RootCertStore, SupportedCipherSuite};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};

use super::party::Suite;
use super::report::Report;

/// FAPI 1.0 Advanced §8.5, as far as FAPI 2.0 §5.2.2 goes along; and their twins for ECDSA.
const SUITES: [CipherSuite; 4] = [
    CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
];

pub fn run(suite: &Suite, report: &mut Report) {
    report.area("Transport");
    for listener in ["public_url", "mtls_url"] {
        for wanted in SUITES {
            let came = negotiated(suite, suite.told[listener].as_str().unwrap(), wanted);
            report.check("F1A 8.5-1", &format!("{wanted:?} alone at {listener}"), "TLS 1.2 with it", came);
        }
    }
    for client in suite.told["clients"].as_array().unwrap() {
        let Some(file) = client["private_key_file"].as_str() else { continue };
        let key = PrivatePkcs8KeyDer::from_pem_file(file).unwrap();
        // PrivateKeyInfo ::= SEQUENCE { version INTEGER 0, … }: what every program reads.
        let der = key.secret_pkcs8_der();
        let at = if der[1] < 0x80 { 2 } else { 2 + usize::from(der[1] & 0x7f) };
        let id = client["client_id"].as_str().unwrap();
        report.holds(
            "RFC 5208 5",
            &format!("the private key of {id} is PKCS #8 of version 1"),
            der[at..].starts_with(&[2, 1, 0]),
            file,
        );
        if client["signing_alg"] == "EdDSA" {
            report.holds(
                "RFC 8410 7",
                &format!("the private key of {id} has 48 bytes"),
                der.len() == 48,
                &der.len().to_string(),
            );
        }
    }
}

/// A handshake of TLS 1.2 that offers one suite, and whatever signature the library knows.
fn negotiated(suite: &Suite, url: &str, wanted: CipherSuite) -> Result<(), String> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.cipher_suites.retain(|known: &SupportedCipherSuite| known.suite() == wanted);
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(suite.told["ca_file"].as_str().unwrap()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let address = url.strip_prefix("https://").unwrap();
    let (host, _) = address.split_once(':').unwrap();
    let name = ServerName::try_from(host.to_owned()).unwrap();
    let mut tls = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut tcp = TcpStream::connect(address).unwrap();
    // A listener that wants a certificate says so after the suite was agreed on.
    let ended = loop {
        if !tls.is_handshaking() {
            break Ok(());
        }
        if let Err(error) = tls.complete_io(&mut tcp) {
            break Err(error.to_string());
        }
    };
    match tls.negotiated_cipher_suite().map(|suite| suite.suite()) {
        Some(suite) if suite == wanted => Ok(()),
        other => Err(format!("{other:?}, {ended:?}")),
    }
}
