//! The TLS of a listener: versions, suites, certificates, and what is asked of the client.
//!
//! Invariants: TLS 1.2 with four ECDHE AES-GCM suites, and TLS 1.3; no renegotiation, no early data; a listener that
//! asks for certificates resumes nothing, so a certificate is judged in every handshake (a resumed session would
//! restore it unseen); the others keep a bounded number of sessions in memory and issue no tickets of their own keys.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, ServerSessionMemoryCache};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, CipherSuite, DigitallySignedStruct, DistinguishedName, OtherError, ServerConfig,
    SignatureAlgorithm,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};

use super::certificate::CertificateFault;
use super::reading::Readings;
use super::{ClientCertificate, FrontError, ListenerTls};
use crate::domain::{Clock, Timestamp};

/// Sessions that a listener without client certificates remembers.
const SESSIONS_MAX: usize = 4096;

/// RFC 9325 §4.2, and TLS 1.3.
const SUITES: [CipherSuite; 7] = [
    CipherSuite::TLS13_AES_256_GCM_SHA384,
    CipherSuite::TLS13_AES_128_GCM_SHA256,
    CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
];

/// The one provider of cryptography, with our list of suites. Also what the process should install as its default,
/// so that connections to back ends keep to the same list.
pub fn crypto_provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.retain(|suite| SUITES.contains(&suite.suite()));
    provider
}

/// A listener's server certificates, replaceable while connections live.
#[derive(Debug)]
pub struct ServerCertificate(ArcSwap<Certificates>);

#[derive(Debug)]
struct Certificates {
    first: Arc<CertifiedKey>,
    alternative: Option<Arc<CertifiedKey>>,
}

impl ServerCertificate {
    pub fn load(tls: &ListenerTls) -> Result<Arc<Self>, FrontError> {
        Ok(Arc::new(Self(ArcSwap::from_pointee(Certificates::load(tls)?))))
    }

    /// Reads the files again. What is in force stays in force unless they are sound.
    pub fn reload(&self, tls: &ListenerTls) -> Result<(), FrontError> {
        self.0.store(Arc::new(Certificates::load(tls)?));
        Ok(())
    }
}

impl ResolvesServerCert for ServerCertificate {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let certificates = self.0.load();
        let first = &certificates.first;
        let alternative = certificates.alternative.as_ref().filter(|other| !fits(first, &hello) && fits(other, &hello));
        Some(Arc::clone(alternative.unwrap_or(first)))
    }
}

impl Certificates {
    fn load(tls: &ListenerTls) -> Result<Self, FrontError> {
        let alternative = tls.alternative.as_ref().map(|files| load(&files.certificate_file, &files.private_key_file));
        Ok(Self {
            first: Arc::new(load(&tls.certificate_file, &tls.private_key_file)?),
            alternative: alternative.transpose()?.map(Arc::new),
        })
    }
}

/// Whether a caller that says this can check a signature by this key. Below TLS 1.3 the suite names the kind of key, too.
fn fits(certificate: &CertifiedKey, hello: &ClientHello<'_>) -> bool {
    let by_suite = |suite: &CipherSuite| match suite {
        CipherSuite::TLS13_AES_256_GCM_SHA384
        | CipherSuite::TLS13_AES_128_GCM_SHA256
        | CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => true,
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => {
            certificate.key.algorithm() == SignatureAlgorithm::RSA
        }
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => {
            certificate.key.algorithm() != SignatureAlgorithm::RSA
        }
        _ => false, // None of ours.
    };
    certificate.key.choose_scheme(hello.signature_schemes()).is_some() && hello.cipher_suites().iter().any(by_suite)
}

fn load(certificate_file: &Path, private_key_file: &Path) -> Result<CertifiedKey, FrontError> {
    let pem = |path: &Path| {
        let path = path.to_path_buf();
        move |source| FrontError::Pem { path, source }
    };
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_file_iter(certificate_file).and_then(Iterator::collect).map_err(pem(certificate_file))?;
    if chain.is_empty() {
        return Err(FrontError::NoCertificate { path: certificate_file.to_owned() });
    }
    let key = PrivateKeyDer::from_pem_file(private_key_file).map_err(pem(private_key_file))?;
    CertifiedKey::from_der(chain, key, &crypto_provider())
        .map_err(|source| FrontError::CertificateUnusable { path: PathBuf::from(certificate_file), source })
}

/// The configuration of one listener.
pub fn server_config(
    client_certificate: ClientCertificate,
    certificate: Arc<ServerCertificate>,
    readings: &Arc<Readings>,
    clock: &Arc<dyn Clock>,
) -> Result<Arc<ServerConfig>, FrontError> {
    let provider = Arc::new(crypto_provider());
    let algorithms = provider.signature_verification_algorithms;
    let builder = ServerConfig::builder_with_details(provider, Arc::new(GatewayTime(Arc::clone(clock))))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(FrontError::Tls)?;
    let mut config = match client_certificate {
        ClientCertificate::None => builder.with_no_client_auth().with_cert_resolver(certificate),
        ClientCertificate::Optional | ClientCertificate::Required => {
            let mandatory = client_certificate == ClientCertificate::Required;
            let verifier = PossessionVerifier { mandatory, algorithms, readings: Arc::clone(readings) };
            builder.with_client_cert_verifier(Arc::new(verifier)).with_cert_resolver(certificate)
        }
    };
    match client_certificate {
        ClientCertificate::None => config.session_storage = ServerSessionMemoryCache::new(SESSIONS_MAX),
        ClientCertificate::Optional | ClientCertificate::Required => {
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
    }
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.max_early_data_size = 0; // RFC 8446 §8: replayable, so never.
    Ok(Arc::new(config))
}

/// rustls asks our clock.
struct GatewayTime(Arc<dyn Clock>);

impl fmt::Debug for GatewayTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GatewayTime")
    }
}

impl rustls::time_provider::TimeProvider for GatewayTime {
    fn current_time(&self) -> Option<UnixTime> {
        let secs = u64::try_from(self.0.now().secs()).ok()?;
        Some(UnixTime::since_unix_epoch(std::time::Duration::from_secs(secs)))
    }
}

/// Takes every sound certificate whose key signs the handshake. Whether its chain is trusted is judged afterwards,
/// and again for each request.
#[derive(Debug)]
struct PossessionVerifier {
    mandatory: bool,
    algorithms: WebPkiSupportedAlgorithms,
    readings: Arc<Readings>,
}

impl ClientCertVerifier for PossessionVerifier {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    /// None: partner CAs change while we run, and a client that registered its own certificate is in no list.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let chain: Vec<CertificateDer<'_>> = std::iter::once(leaf).chain(intermediates).cloned().collect();
        let now = Timestamp::from_secs(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
        let fault = match self.readings.read(&chain) {
            Ok(reading) if reading.facts.is_valid_at(now) => return Ok(ClientCertVerified::assertion()),
            Ok(_) => CertificateFault::Validity,
            Err(fault) => fault,
        };
        Err(CertificateError::Other(OtherError(Arc::new(fault))).into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
