//! Is a certificate from an earlier run still good?

use std::path::Path;
use std::time::Duration;

use rcgen::KeyPair;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::Leaf;
use super::files::{Identity, read};
use crate::domain::Timestamp;

/// A set that ends within a day is made anew, so that a demo started now does not fail tonight.
const MARGIN: Duration = Duration::from_hours(24);

/// Whether the certificate and its CA hold for another day, the CA signed it, and the key is its key.
pub(super) fn holds(identity: &Identity, ca: &Path, now: Timestamp) -> bool {
    check(identity, ca, now).unwrap_or(false)
}

fn check(identity: &Identity, ca: &Path, now: Timestamp) -> Option<bool> {
    let certificate_der = CertificateDer::from_pem_file(&identity.certificate).ok()?;
    let ca_der = CertificateDer::from_pem_file(ca).ok()?;
    let key = KeyPair::from_pem(&read(&identity.key).ok()?).ok()?;
    let (_, certificate) = X509Certificate::from_der(&certificate_der).ok()?;
    let (_, ca) = X509Certificate::from_der(&ca_der).ok()?;
    let key_matches = certificate.public_key().subject_public_key.data.as_ref() == key.public_key_raw();
    let signed = certificate.issuer() == ca.subject() && certificate.verify_signature(Some(ca.public_key())).is_ok();
    Some(key_matches && signed && is_current(&certificate, now) && is_current(&ca, now))
}

/// Whether a certificate is in this name.
pub(super) fn bears(identity: &Identity, leaf: &Leaf) -> bool {
    let Ok(der) = CertificateDer::from_pem_file(&identity.certificate) else { return false };
    let Ok((_, certificate)) = X509Certificate::from_der(&der) else { return false };
    let subject = certificate.subject();
    let common_name = subject.iter_common_name().next().and_then(|name| name.as_str().ok());
    let organisation = subject.iter_organization().next().and_then(|name| name.as_str().ok());
    common_name == Some(&leaf.common_name) && organisation == leaf.organisation.as_deref()
}

fn is_current(certificate: &X509Certificate<'_>, now: Timestamp) -> bool {
    let validity = certificate.validity();
    validity.not_before.timestamp() <= now.secs() && now.plus(MARGIN).secs() < validity.not_after.timestamp()
}
