//! Certificates of any kind, sound or not, and clients that present them whatever they are worth.

use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use clearway::sandbox::pki;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, SanType, SerialNumber,
};
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::certificates::install_provider;
use super::wire::{roots, tls_config};

/// A certificate authority of the test's own.
pub struct Ca {
    pub der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key.
#[derive(Clone)]
pub struct Forged {
    pub der: CertificateDer<'static>,
    pub key: Vec<u8>,
}

impl Ca {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let der = params.self_signed(&key).unwrap().der().clone();
        Self { der, issuer: Issuer::new(params, key) }
    }

    /// A leaf with a changed request.
    pub fn issue(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Forged {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        Forged { der: params.signed_by(&key, &self.issuer).unwrap().der().clone(), key: key.serialize_der() }
    }

    pub fn client(&self, name: &str) -> Forged {
        self.issue(name, |_| ())
    }

    /// With this serial number: what the engine beneath compares client certificates by.
    pub fn client_with_serial(&self, name: &str, serial: u64) -> Forged {
        self.issue(name, |params| params.serial_number = Some(SerialNumber::from(serial)))
    }

    /// A server on this machine.
    pub fn server(&self) -> Forged {
        self.issue("localhost", |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            params.subject_alt_names.push(SanType::IpAddress("127.0.0.1".parse().unwrap()));
        })
    }

    pub fn write(&self, path: &Path) {
        std::fs::write(path, pem("CERTIFICATE", &self.der)).unwrap();
    }
}

impl Forged {
    /// The identity of a file that the harness made.
    pub fn of(identity: &pki::Identity) -> Self {
        use rustls_pki_types::pem::PemObject;
        let der = CertificateDer::from_pem_file(&identity.certificate).unwrap();
        Self { der, key: PrivateKeyDer::from_pem_file(&identity.key).unwrap().secret_der().to_vec() }
    }

    pub fn certified(&self) -> CertifiedKey {
        install_provider();
        let key = PrivateKeyDer::try_from(self.key.clone()).unwrap();
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap();
        CertifiedKey::new(vec![self.der.clone()], key)
    }

    /// Certificate and key as files `{name}.pem` and `{name}.key`.
    pub fn write(&self, folder: &Path, name: &str) {
        std::fs::write(folder.join(format!("{name}.pem")), pem("CERTIFICATE", &self.der)).unwrap();
        std::fs::write(folder.join(format!("{name}.key")), pem("PRIVATE KEY", &self.key)).unwrap();
    }

    /// A client that presents this certificate, whatever the server asks for.
    pub fn client_config(
        &self,
        protocols: &[&str],
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> rustls::ClientConfig {
        install_provider();
        let builder = rustls::ClientConfig::builder_with_protocol_versions(versions).with_root_certificates(roots());
        let mut config = builder.with_client_cert_resolver(Arc::new(Presents(Arc::new(self.certified()))));
        config.alpn_protocols = tls_config(None, protocols).alpn_protocols;
        config
    }
}

/// Presents its certificate, sound or not.
#[derive(Debug)]
struct Presents(Arc<CertifiedKey>);

impl ResolvesClientCert for Presents {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}

/// The same certificate as X.509 version 1: no version, no extensions. Its signature is not renewed.
pub fn as_version_1(der: &[u8]) -> Vec<u8> {
    let (_, outer) = element(der);
    let (tbs_bytes, tbs) = element(outer);
    let mut inner = Vec::new();
    let mut rest = tbs;
    while !rest.is_empty() {
        let (bytes, _) = element(rest);
        if !matches!(rest[0], 0xa0 | 0xa3) {
            inner.extend_from_slice(&rest[..bytes]);
        }
        rest = &rest[bytes..];
    }
    let mut whole = sequence(&inner);
    whole.extend_from_slice(&outer[tbs_bytes..]);
    sequence(&whole)
}

/// The same certificate with a month 13 in its first date.
pub fn with_a_mangled_date(der: &[u8]) -> Vec<u8> {
    let mut mangled = der.to_vec();
    // UTCTime: tag 0x17, 13 bytes, YYMMDDhhmmssZ.
    let at = mangled.windows(2).position(|pair| pair == [0x17, 13]).expect("a certificate has a UTCTime");
    mangled[at + 4..at + 6].copy_from_slice(b"13");
    mangled
}

/// The size of the first DER element with its header, and its content.
fn element(der: &[u8]) -> (usize, &[u8]) {
    let (header, length) = match der[1] {
        short @ 0..=0x7f => (2, usize::from(short)),
        0x81 => (3, usize::from(der[2])),
        _ => (4, usize::from(der[2]) << 8 | usize::from(der[3])),
    };
    (header + length, &der[header..header + length])
}

fn sequence(content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&[0x30, 0x82, length[0], length[1]], content].concat()
}
