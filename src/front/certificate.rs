//! Is this client certificate one that every parser reads alike? The strict second reading, and what it says.
//!
//! Webpki takes certificates that other parsers refuse or panic on. What passes here is complete DER, X.509 v3, with
//! a key and a signature of today's strength, fit for client authentication, and within its validity.

mod der;
mod name;

use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509Certificate, X509Extension, X509Version};
use x509_parser::public_key::PublicKey;

use crate::domain::{SubjectAltNames, Thumbprint, Timestamp};

/// Certificates in a chain, and all their bytes.
pub const CHAIN_CERTIFICATES_MAX: usize = 10;
pub const CHAIN_BYTES_MAX: usize = 64 * 1024;

/// Why a client certificate is not taken, whoever signed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateFault {
    #[error("the certificate chain has too many certificates or bytes")]
    ChainTooLong,
    #[error("the certificate is not well-formed DER")]
    Encoding,
    #[error("the certificate is not X.509 version 3")]
    Version,
    #[error("an extension of the certificate is malformed or repeated")]
    Extension,
    #[error("the certificate is not yet valid or has expired")]
    Validity,
    #[error("the certificate's key is too weak or of an unknown kind")]
    Key,
    #[error("the certificate's signature algorithm is too weak or unknown")]
    Signature,
    #[error("the certificate is not meant for client authentication")]
    Purpose,
}

/// What a strict reading of a certificate says.
#[derive(Debug, Clone)]
pub struct CertificateFacts {
    pub thumbprint: Thumbprint,
    pub subject_der: Vec<u8>,
    /// RFC 4514, for people.
    pub subject: String,
    pub alt_names: SubjectAltNames,
    pub validity: Validity,
}

impl CertificateFacts {
    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        self.validity.includes(now)
    }
}

/// When something is valid, both ends included (RFC 5280 §4.1.2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    pub not_before: Timestamp,
    pub not_after: Timestamp,
}

impl Validity {
    fn of(certificate: &X509Certificate<'_>) -> Self {
        let validity = certificate.validity();
        Self {
            not_before: Timestamp::from_secs(validity.not_before.timestamp()),
            not_after: Timestamp::from_secs(validity.not_after.timestamp()),
        }
    }

    /// When this and these issuers are all valid. Nothing if one of them says it in no way that is understood here.
    pub fn shared_with(self, issuers: &[CertificateDer<'_>]) -> Option<Self> {
        issuers.iter().try_fold(self, |all, der| {
            let (_, certificate) = X509Certificate::from_der(der).ok()?;
            let own = Self::of(&certificate);
            Some(Self { not_before: all.not_before.max(own.not_before), not_after: all.not_after.min(own.not_after) })
        })
    }

    pub fn includes(self, now: Timestamp) -> bool {
        self.not_before <= now && now.secs() <= self.not_after.secs()
    }
}

/// Reads the leaf of a chain strictly, and bounds the chain.
pub fn read_chain(chain: &[CertificateDer<'_>]) -> Result<CertificateFacts, CertificateFault> {
    let bytes: usize = chain.iter().map(|certificate| certificate.len()).sum();
    if chain.len() > CHAIN_CERTIFICATES_MAX || bytes > CHAIN_BYTES_MAX {
        return Err(CertificateFault::ChainTooLong);
    }
    let (leaf, issuers) = chain.split_first().ok_or(CertificateFault::Encoding)?;
    if issuers.iter().any(|issuer| signs_no_certificates(issuer)) {
        return Err(CertificateFault::Purpose);
    }
    read(leaf)
}

/// RFC 5280 §6.1.4 (n): whoever names the usages of an issuer's key names this one. What cannot be read here is webpki's to
/// refuse.
fn signs_no_certificates(der: &[u8]) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else { return false };
    certificate.key_usage().is_ok_and(|usage| usage.is_some_and(|usage| !usage.value.key_cert_sign()))
}

fn read(der: &[u8]) -> Result<CertificateFacts, CertificateFault> {
    let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| CertificateFault::Encoding)?;
    if !rest.is_empty() {
        return Err(CertificateFault::Encoding);
    }
    if certificate.version() != X509Version::V3 {
        return Err(CertificateFault::Version);
    }
    if !der::is_whole(der) {
        return Err(CertificateFault::Encoding);
    }
    check_signature_algorithm(&certificate)?;
    check_key(&certificate)?;
    check_purpose(&certificate)?;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der);
    let thumbprint = Thumbprint(digest.as_ref().try_into().map_err(|_| CertificateFault::Encoding)?);
    Ok(CertificateFacts {
        thumbprint,
        subject_der: certificate.subject().as_raw().to_vec(),
        subject: name::rfc4514(certificate.subject()),
        alt_names: alt_names(&certificate)?,
        validity: Validity::of(&certificate),
    })
}

/// RFC 9325 §4.5: SHA-256 or stronger. Algorithms by their object identifiers.
const SIGNATURES: [&str; 8] = [
    "1.2.840.113549.1.1.10", // RSASSA-PSS
    "1.2.840.113549.1.1.11", // sha256WithRSAEncryption
    "1.2.840.113549.1.1.12", // sha384WithRSAEncryption
    "1.2.840.113549.1.1.13", // sha512WithRSAEncryption
    "1.2.840.10045.4.3.2",   // ecdsa-with-SHA256
    "1.2.840.10045.4.3.3",   // ecdsa-with-SHA384
    "1.2.840.10045.4.3.4",   // ecdsa-with-SHA512
    "1.3.101.112",           // Ed25519
];

/// P-256, P-384, P-521.
const CURVES: [&str; 3] = ["1.2.840.10045.3.1.7", "1.3.132.0.34", "1.3.132.0.35"];

fn check_signature_algorithm(certificate: &X509Certificate<'_>) -> Result<(), CertificateFault> {
    // RFC 5280 §4.1.1.2: the algorithm inside the signed part must be the same.
    if certificate.signature_algorithm != certificate.tbs_certificate.signature {
        return Err(CertificateFault::Signature);
    }
    let algorithm = certificate.signature_algorithm.algorithm.to_id_string();
    if SIGNATURES.contains(&algorithm.as_str()) { Ok(()) } else { Err(CertificateFault::Signature) }
}

fn check_key(certificate: &X509Certificate<'_>) -> Result<(), CertificateFault> {
    let info = certificate.public_key();
    if info.algorithm.algorithm.to_id_string() == "1.3.101.112" {
        return if info.subject_public_key.data.len() == 32 { Ok(()) } else { Err(CertificateFault::Key) };
    }
    let strong = match info.parsed().map_err(|_| CertificateFault::Key)? {
        PublicKey::RSA(key) => (2048..=8192).contains(&key.key_size()),
        PublicKey::EC(_) => info
            .algorithm
            .parameters
            .as_ref()
            .and_then(|parameters| parameters.as_oid().ok())
            .is_some_and(|curve| CURVES.contains(&curve.to_id_string().as_str())),
        _ => false,
    };
    if strong { Ok(()) } else { Err(CertificateFault::Key) }
}

fn check_purpose(certificate: &X509Certificate<'_>) -> Result<(), CertificateFault> {
    certificate.extensions_map().map_err(|_| CertificateFault::Extension)?;
    let malformed = |extension: &X509Extension<'_>| match extension.parsed_extension() {
        ParsedExtension::ParseError { .. } => true,
        ParsedExtension::UnsupportedExtension { .. } => false, // Nobody here reads it.
        _ => !der::is_whole(extension.value),
    };
    if certificate.extensions().iter().any(malformed) {
        return Err(CertificateFault::Extension);
    }
    // RFC 5280 §4.2.1.3, RFC 8446 §4.4.2.2: a key that names its usages signs handshakes only if it names that one.
    match certificate.key_usage() {
        Ok(Some(usage)) if !usage.value.digital_signature() => return Err(CertificateFault::Purpose),
        Ok(_) => {}
        Err(_) => return Err(CertificateFault::Extension),
    }
    match certificate.extended_key_usage() {
        Ok(None) => Ok(()),
        // RFC 5280 §4.2.1.12: a certificate that names purposes is for these purposes only.
        Ok(Some(usage)) if usage.value.client_auth => Ok(()),
        Ok(Some(_)) => Err(CertificateFault::Purpose),
        Err(_) => Err(CertificateFault::Extension),
    }
}

fn alt_names(certificate: &X509Certificate<'_>) -> Result<SubjectAltNames, CertificateFault> {
    let mut names = SubjectAltNames::default();
    let extension = certificate.subject_alternative_name().map_err(|_| CertificateFault::Extension)?;
    for name in extension.iter().flat_map(|extension| &extension.value.general_names) {
        match name {
            GeneralName::DNSName(text) => names.dns.push(ia5(text)?),
            GeneralName::URI(text) => names.uri.push(ia5(text)?),
            GeneralName::RFC822Name(text) => names.email.push(ia5(text)?),
            GeneralName::IPAddress(bytes) => names.ip.push(name::ip(bytes).ok_or(CertificateFault::Extension)?),
            GeneralName::Invalid(..) => return Err(CertificateFault::Extension),
            GeneralName::OtherName(..)
            | GeneralName::X400Address(_)
            | GeneralName::DirectoryName(_)
            | GeneralName::EDIPartyName(_)
            | GeneralName::RegisteredID(_) => {}
        }
    }
    Ok(names)
}

/// RFC 5280 §4.2.1.6: names are ASCII, and never empty; a space, a zero byte or an umlaut is read in as many ways as
/// there are parsers.
fn ia5(text: &str) -> Result<String, CertificateFault> {
    let sound = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if sound { Ok(text.to_owned()) } else { Err(CertificateFault::Extension) }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use rcgen::{
        CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
        PKCS_ECDSA_P256_SHA256, SanType,
    };

    use super::*;

    fn issue(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["tpp.example".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CountryName, "DE");
        params.distinguished_name.push(DnType::OrganizationName, "Blue, Sky \"Pay\"");
        change(&mut params);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn a_sound_certificate_is_read() {
        let der = issue(|params| {
            params.subject_alt_names.push(SanType::IpAddress("192.0.2.7".parse().unwrap()));
            params.subject_alt_names.push(SanType::URI("urn:x:y".try_into().unwrap()));
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        });
        let facts = read(&der).unwrap();
        assert_eq!(facts.alt_names.dns, ["tpp.example"]);
        assert_eq!(facts.alt_names.uri, ["urn:x:y"]);
        assert_eq!(facts.alt_names.ip, ["192.0.2.7".parse::<IpAddr>().unwrap()]);
        assert!(facts.subject.starts_with("O=Blue\\, Sky \\\"Pay\\\",C=DE,CN="), "{}", facts.subject);
        assert!(facts.is_valid_at(Timestamp::from_secs(1_700_000_000)));
    }

    #[test]
    fn what_a_lenient_parser_would_take_is_refused() {
        let sound = issue(|_| ());
        let mut trailing = sound.clone();
        trailing.push(0);
        let mut cut = sound.clone();
        cut.pop();
        // The first validity date, an UTCTime of 13 bytes, with a month that does not exist.
        let mut date = sound.clone();
        let at = date.windows(2).position(|pair| pair == [0x17, 13]).unwrap();
        date[at + 4..at + 6].copy_from_slice(b"99");
        // The version field, [0] EXPLICIT INTEGER 2.
        let mut v2 = sound.clone();
        let at = v2.windows(5).position(|bytes| bytes == [0xa0, 3, 2, 1, 2]).unwrap();
        v2[at + 4] = 1;
        // ecdsa-with-SHA256 becomes ecdsa-with-SHA1 in both places.
        let sha256 = [0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
        let mut weak = sound.clone();
        let places: Vec<_> = (0..weak.len() - 10).filter(|at| weak[*at..at + 10] == sha256).collect();
        places.iter().for_each(|at| weak[at + 9] = 1);
        let mut differing = sound.clone();
        differing[places[0] + 9] = 3;
        let twice = issue(|params| {
            let extension = CustomExtension::from_oid_content(&[2, 5, 29, 17], vec![0x30, 3, 0x82, 1, b'a']);
            params.custom_extensions = vec![extension];
        });
        // Found by fuzzing: names that are not ASCII, and a name whose second half a lenient parser leaves unread.
        let named = |text: &[u8]| {
            let content = [&[0x30, text.len() as u8 + 2, 0x86, text.len() as u8][..], text].concat();
            issue(|params| {
                params.subject_alt_names.clear();
                params.custom_extensions = vec![CustomExtension::from_oid_content(&[2, 5, 29, 17], content)];
            })
        };
        let mut unread = sound.clone();
        let common_name = [0x06, 3, 0x55, 4, 3];
        let places: Vec<_> = (0..unread.len() - 5).filter(|at| unread[*at..at + 5] == common_name).collect();
        places.iter().for_each(|at| unread[at + 1] = 0x7e);
        let sealing = issue(|params| params.key_usages = vec![KeyUsagePurpose::KeyEncipherment]);
        let server_only = issue(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
        for (name, der, fault) in [
            ("bytes after the end", trailing, CertificateFault::Encoding),
            ("cut short", cut, CertificateFault::Encoding),
            ("a date that does not exist", date, CertificateFault::Encoding),
            ("nothing", Vec::new(), CertificateFault::Encoding),
            ("version 2", v2, CertificateFault::Version),
            ("an unknown or weak signature", weak, CertificateFault::Signature),
            ("two signature algorithms", differing, CertificateFault::Signature),
            ("an extension twice", twice, CertificateFault::Extension),
            ("not for signatures", sealing, CertificateFault::Purpose),
            ("for servers only", server_only, CertificateFault::Purpose),
            ("a name beyond ASCII", named("urn:\u{11e}".as_bytes()), CertificateFault::Extension),
            ("a name with a zero byte", named(b"urn:a\0b"), CertificateFault::Extension),
            ("a name with a space", named(b"urn:a b"), CertificateFault::Extension),
            ("an empty name", named(b""), CertificateFault::Extension),
            ("half a subject", unread, CertificateFault::Encoding),
        ] {
            assert_eq!(read(&der).map(drop), Err(fault), "{name}");
        }
        let with_issuer = |usage: KeyUsagePurpose| {
            let issuer = issue(|params| params.key_usages = vec![usage]);
            read_chain(&[CertificateDer::from(sound.clone()), CertificateDer::from(issuer)]).map(drop)
        };
        assert_eq!(with_issuer(KeyUsagePurpose::KeyCertSign), Ok(()));
        assert_eq!(with_issuer(KeyUsagePurpose::DigitalSignature), Err(CertificateFault::Purpose));
        let chain = vec![CertificateDer::from(sound); CHAIN_CERTIFICATES_MAX + 1];
        assert_eq!(read_chain(&chain).map(drop), Err(CertificateFault::ChainTooLong));
    }

    #[test]
    fn validity_includes_both_ends() {
        let mut facts = read(&issue(|_| ())).unwrap();
        facts.validity = Validity { not_before: Timestamp::from_secs(10), not_after: Timestamp::from_secs(20) };
        for (secs, valid) in [(9, false), (10, true), (20, true), (21, false)] {
            assert_eq!(facts.is_valid_at(Timestamp::from_secs(secs)), valid, "{secs}");
        }
    }
}
