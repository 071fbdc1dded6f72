//! With what do we trust and identify ourselves to back ends? PEM files, parsed and cross-checked once per pool.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::digest;
use pingora_core::protocols::tls::CaType;
use pingora_core::utils::tls::{CertKey, WrappedX509, parse_x509};
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::{Error as PemError, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::error::PoolError;
use super::settings::UpstreamTls;

/// Parsed trust and identity of a pool. Invariant: every certificate parses in Pingora, the key fits the certificate.
pub(super) struct Identity {
    pub ca: Arc<CaType>,
    pub client: Option<Arc<CertKey>>,
    /// The same trust and identity for connections that Pingora does not make (token endpoint, TLS health checks).
    pub config: ClientConfig,
    /// SHA-256 over all CA certificates and our own chain: what connections must have in common to be shared.
    pub fingerprint: [u8; 32],
}

impl Identity {
    pub fn load(tls: &UpstreamTls) -> Result<Self, PoolError> {
        let cas = read_certificates(&tls.ca_file)?;
        let roots = root_store(&cas, &tls.ca_file)?;
        let client = match &tls.client_certificate {
            Some((certificate, key)) => Some(ClientIdentity::load(certificate, key)?),
            None => None,
        };
        let fingerprint = fingerprint(&cas, client.as_ref());
        let ca = wrap(&cas, &tls.ca_file)?.into_boxed_slice().into();
        let config = client_config(roots, client.as_ref())?;
        Ok(Self { ca, client: client.map(|c| c.pingora), config, fingerprint })
    }
}

struct ClientIdentity {
    pingora: Arc<CertKey>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl ClientIdentity {
    fn load(certificate: &Path, key_file: &Path) -> Result<Self, PoolError> {
        let chain = read_certificates(certificate)?;
        wrap(&chain, certificate)?; // Pingora parses the chain again and would panic; prove here that it does not.
        let key = read_key(key_file)?;
        CertifiedKey::from_der(chain.clone(), key.clone_key(), &provider()).map_err(|source| {
            PoolError::KeyMismatch { certificate: certificate.to_owned(), key: key_file.to_owned(), source }
        })?;
        let ders = chain.iter().map(|der| der.to_vec()).collect();
        let pingora = Arc::new(CertKey::new(ders, key.secret_der().to_vec()));
        Ok(Self { pingora, chain, key })
    }
}

/// The process's provider where `main` installed one, so that its list of suites holds here too.
fn provider() -> Arc<CryptoProvider> {
    CryptoProvider::get_default().cloned().unwrap_or_else(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
}

fn client_config(roots: RootCertStore, client: Option<&ClientIdentity>) -> Result<ClientConfig, PoolError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(PoolError::Tls)?
        .with_root_certificates(roots);
    match client {
        Some(client) => {
            builder.with_client_auth_cert(client.chain.clone(), client.key.clone_key()).map_err(PoolError::Tls)
        }
        None => Ok(builder.with_no_client_auth()),
    }
}

fn root_store(cas: &[CertificateDer<'static>], file: &Path) -> Result<RootCertStore, PoolError> {
    let mut store = RootCertStore::empty();
    for (position, ca) in cas.iter().enumerate() {
        store.add(ca.clone()).map_err(|source| PoolError::Ca { file: file.to_owned(), position, source })?;
    }
    Ok(store)
}

/// Parses certificates as Pingora will. It answers a certificate that it cannot parse with a panic, so this happens
/// behind a barrier, while compiling and never on a request path.
fn wrap(ders: &[CertificateDer<'static>], file: &Path) -> Result<Vec<WrappedX509>, PoolError> {
    let parse = |der: &CertificateDer<'static>| {
        let bytes = der.to_vec();
        catch_unwind(AssertUnwindSafe(|| WrappedX509::new(bytes, parse_x509))).ok()
    };
    let fault = |position| PoolError::Certificate { file: file.to_owned(), position };
    let mut wrapped = Vec::with_capacity(ders.len());
    for (position, der) in ders.iter().enumerate() {
        // Our own parser first, so that the barrier is for a disagreement between the two versions only.
        x509_parser::parse_x509_certificate(der).map_err(|_| fault(position))?;
        wrapped.push(parse(der).ok_or_else(|| fault(position))?);
    }
    Ok(wrapped)
}

fn read(file: &Path) -> Result<Vec<u8>, PoolError> {
    fs::read(file).map_err(|source| PoolError::Read { file: file.to_owned(), source })
}

fn read_key(file: &Path) -> Result<PrivateKeyDer<'static>, PoolError> {
    PrivateKeyDer::from_pem_slice(&read(file)?).map_err(|source| match source {
        PemError::NoItemsFound => PoolError::NoKey(file.to_owned()),
        source => PoolError::Pem { file: file.to_owned(), source },
    })
}

fn read_certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, PoolError> {
    let bytes = read(file)?;
    let certificates = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| PoolError::Pem { file: file.to_owned(), source })?;
    if certificates.is_empty() { Err(PoolError::NoCertificate(file.to_owned())) } else { Ok(certificates) }
}

/// Each part is preceded by its kind and length, so that no two different sets have the same encoding.
fn fingerprint(cas: &[CertificateDer<'static>], client: Option<&ClientIdentity>) -> [u8; 32] {
    let mut hash = digest::Context::new(&digest::SHA256);
    let mut part = |kind: &[u8], bytes: &[u8]| {
        hash.update(kind);
        hash.update(&(bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    cas.iter().for_each(|ca| part(b"ca", ca));
    client.iter().flat_map(|c| &c.chain).for_each(|own| part(b"own", own));
    let digest = hash.finish();
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.as_ref());
    bytes
}
