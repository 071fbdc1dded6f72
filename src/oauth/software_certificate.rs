//! Certificates and registration: self-signed ones that a client registers (RFC 8705 §2.2), and those by which a directory
//! names software, which must be shown to register it (Open Finance Brasil, BR-DCR).

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::ClientAuthenticationError as Failure;
use super::{DistinguishedName, OAuthError};
use crate::domain::{ChainTrust, Connection, PeerCertificate, Thumbprint};
use crate::jose::UnverifiedToken;

const INVALID: fn(&'static str) -> OAuthError = OAuthError::InvalidClientMetadata;

/// How the certificates of an ecosystem name whose they are, in the words of its software statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CertificateNames {
    /// Attribute type that has the claim `software_id`.
    pub software: &'static str,
    /// Attribute type that has the claim `org_id`, behind a prefix.
    pub organisation: &'static str,
    pub organisation_prefix: &'static str,
}

impl CertificateNames {
    /// Open Finance Brasil, certificate standard: `UID` and `organizationIdentifier` (ETSI TS 119 495 §5.1).
    pub const BRAZIL: Self =
        Self { software: "0.9.2342.19200300.100.1.1", organisation: "2.5.4.97", organisation_prefix: "OFBBR-" };

    /// Whether a name is that of the software which `statement` is about. The statement was proven before.
    fn name(&self, name: &DistinguishedName, statement: &str) -> bool {
        let Ok(statement) = UnverifiedToken::parse(statement) else { return false };
        let (Some(software), Some(organisation)) = (statement.hint("software_id"), statement.hint("org_id")) else {
            return false;
        };
        let organisation = format!("{}{organisation}", self.organisation_prefix);
        name.has(self.software, software) && name.has(self.organisation, &organisation)
    }

    /// The connection's certificate is of a trusted CA, and the software's own.
    pub(super) fn check_connection(&self, connection: &Connection, statement: &str) -> Result<(), Failure> {
        let certificate = check_trusted(connection)?;
        let name = DistinguishedName::from_der(&certificate.subject_der).map_err(|_| Failure::SubjectMismatch)?;
        if self.name(&name, statement) { Ok(()) } else { Err(Failure::SubjectMismatch) }
    }

    /// The subject that a client registers for `tls_client_auth` is the software's own: of whoever has that subject later
    /// on nothing else is asked.
    pub(super) fn check_subject(&self, subject: &DistinguishedName, statement: &str) -> Result<(), OAuthError> {
        let own = self.name(subject, statement);
        if own { Ok(()) } else { Err(INVALID("tls_client_auth_subject_dn is not that of the software.")) }
    }
}

/// The connection's certificate, which is of a trusted CA.
pub(super) fn check_trusted(connection: &Connection) -> Result<&PeerCertificate, Failure> {
    let certificate = connection.certificate.as_deref().ok_or(Failure::CertificateMissing)?;
    match certificate.chain {
        ChainTrust::Trusted => Ok(certificate),
        ChainTrust::Unverified => Err(Failure::ChainUntrusted),
    }
}

/// The certificates in a JWK set: the first of each `x5c` (RFC 8705 §2.2.2, RFC 7517 §4.7).
///
/// They must be signed by themselves. One of a CA has the standing that its CA has: were it registered here, it would
/// keep its own after the operator had removed the CA.
pub(super) fn self_signed(jwks: &Value) -> Result<Vec<Thumbprint>, OAuthError> {
    let keys = jwks.get("keys").and_then(Value::as_array).into_iter().flatten();
    let chains = keys.filter_map(|key| Some((key, key.get("x5c")?)));
    let thumbprints = chains.map(|(key, chain)| thumbprint(key, chain)).collect::<Option<Vec<_>>>();
    let refused = INVALID("An x5c of jwks does not begin with a self-signed certificate of its key.");
    match thumbprints.ok_or(refused)? {
        none if none.is_empty() => Err(INVALID("self_signed_tls_client_auth needs jwks with x5c.")),
        thumbprints => Ok(thumbprints),
    }
}

fn thumbprint(key: &Value, chain: &Value) -> Option<Thumbprint> {
    let der = STANDARD.decode(chain.get(0)?.as_str()?).ok()?;
    let (rest, certificate) = X509Certificate::from_der(&der).ok()?;
    let by_itself = certificate.issuer().as_raw() == certificate.subject().as_raw();
    let sound = rest.is_empty() && by_itself && certificate.verify_signature(None).is_ok();
    let public = &*certificate.public_key().subject_public_key.data;
    (sound && is_of(key, public)).then(|| Thumbprint(crate::jose::sha256(&der)))
}

/// Whether the numbers of a JWK stand in a certificate's public key.
fn is_of(key: &Value, public: &[u8]) -> bool {
    let numbers: Vec<Vec<u8>> = ["x", "y", "n"]
        .into_iter()
        .filter_map(|name| URL_SAFE_NO_PAD.decode(key.get(name)?.as_str()?).ok())
        .filter(|number| number.len() >= 32)
        .collect();
    !numbers.is_empty() && numbers.iter().all(|number| public.windows(number.len()).any(|part| part == number))
}
