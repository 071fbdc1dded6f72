//! Certificates of a test, and clients that speak TLS.

use std::net::SocketAddr;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256,
};
use rustls::client::ResolvesClientCert;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::soon;
use crate::front::{ClientCertificate, ListenerTls};

/// A certificate authority.
pub struct Ca {
    pub der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
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

    /// An authority of this one's, valid until the begin of a year.
    pub fn intermediate(&self, name: &str, until: i32) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let der = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        Self { der, issuer: Issuer::new(params, key) }
    }

    pub fn issue(&self, name: &str, purpose: ExtendedKeyUsagePurpose) -> Identity {
        Identity::make(name, purpose, |params, key| params.signed_by(key, &self.issuer).unwrap().der().clone())
    }
}

/// A certificate with its key, as a client presents it, sound or not.
#[derive(Clone, Debug)]
pub struct Identity {
    pub der: CertificateDer<'static>,
    pub key: Vec<u8>,
}

impl Identity {
    fn make(
        name: &str,
        purpose: ExtendedKeyUsagePurpose,
        sign: impl FnOnce(CertificateParams, &KeyPair) -> CertificateDer<'static>,
    ) -> Self {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2030, 1, 1);
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        Self { der: sign(params, &key), key: key.serialize_der() }
    }

    pub fn self_signed(name: &str) -> Self {
        Self::make(name, ExtendedKeyUsagePurpose::ClientAuth, |params, key| {
            params.self_signed(key).unwrap().der().clone()
        })
    }

    fn certified(&self) -> CertifiedKey {
        let key = PrivateKeyDer::try_from(self.key.clone()).unwrap();
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap();
        CertifiedKey::new(vec![self.der.clone()], key)
    }
}

/// Presents its certificate whatever the server asks for, and whatever it is worth.
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

/// A server's identity on disk, and the authority that clients check it by.
pub struct Pki {
    pub ca: Ca,
    folder: TempDir,
}

impl Pki {
    pub fn new() -> Self {
        let pki = Self { ca: Ca::new("servers"), folder: TempDir::new().unwrap() };
        pki.write(&pki.ca.issue("localhost", ExtendedKeyUsagePurpose::ServerAuth));
        pki
    }

    /// Puts a server identity on disk.
    pub fn write(&self, identity: &Identity) {
        let pem = |label: &str, der: &[u8]| {
            use base64::Engine;
            let text = base64::engine::general_purpose::STANDARD.encode(der);
            format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
        };
        std::fs::write(self.folder.path().join("cert.pem"), pem("CERTIFICATE", &identity.der)).unwrap();
        std::fs::write(self.folder.path().join("key.pem"), pem("PRIVATE KEY", &identity.key)).unwrap();
    }

    pub fn listener(&self, client_certificate: ClientCertificate) -> ListenerTls {
        ListenerTls {
            certificate_file: self.folder.path().join("cert.pem"),
            private_key_file: self.folder.path().join("key.pem"),
            alternative: None,
            client_certificate,
        }
    }

    pub fn client(&self, identity: Option<&Identity>, alpn: &[&str]) -> Arc<ClientConfig> {
        Arc::new(self.client_of(rustls::crypto::aws_lc_rs::default_provider(), identity, alpn))
    }

    pub fn client_of(
        &self,
        provider: rustls::crypto::CryptoProvider,
        identity: Option<&Identity>,
        alpn: &[&str],
    ) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.ca.der.clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => builder.with_client_cert_resolver(Arc::new(Presents(Arc::new(identity.certified())))),
        };
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }

    pub async fn connect(
        &self,
        address: SocketAddr,
        config: &Arc<ClientConfig>,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(address).await?;
        let name = ServerName::try_from("localhost").unwrap();
        soon("a handshake", TlsConnector::from(Arc::clone(config)).connect(name, tcp)).await
    }

    pub async fn h2(
        &self,
        address: SocketAddr,
        identity: Option<&Identity>,
    ) -> (h2::client::SendRequest<bytes::Bytes>, h2::client::Connection<TlsStream<TcpStream>>) {
        let stream = self.connect(address, &self.client(identity, &["h2"])).await.unwrap();
        h2::client::handshake(stream).await.unwrap()
    }
}

/// The same certificate as version 1: no version, no extensions. Its signature is not renewed.
pub fn as_version_1(der: &[u8]) -> CertificateDer<'static> {
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
    CertificateDer::from(sequence(&whole))
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
    let mut der = vec![0x30, 0x82, length[0], length[1]];
    der.extend_from_slice(content);
    der
}
