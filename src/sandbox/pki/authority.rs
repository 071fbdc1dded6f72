//! Certificate authorities of the demo and the leaves they sign.

use std::net::IpAddr;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, NameConstraints, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RsaKeySize, SanType,
    SerialNumber, date_time_ymd,
};
use secrecy::{ExposeSecret, SecretString};

use super::PkiError;
use crate::domain::{Random, SubjectAltNames, Timestamp};

/// From when until when a certificate holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    pub not_before: Timestamp,
    pub not_after: Timestamp,
}

impl Validity {
    /// Ninety days, begun an hour ago so that a slow clock elsewhere does not refuse a fresh certificate.
    pub fn ninety_days(now: Timestamp) -> Self {
        Self { not_before: now.minus(Duration::from_hours(1)), not_after: now.plus(Duration::from_hours(90 * 24)) }
    }

    /// A span that ended a day ago.
    pub fn expired(now: Timestamp) -> Self {
        Self { not_before: now.minus(Duration::from_hours(30 * 24)), not_after: now.minus(Duration::from_hours(24)) }
    }
}

/// What a leaf may prove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Server,
    Client,
}

/// What a certificate is asked to say.
#[derive(Debug, Clone)]
pub struct Leaf {
    pub common_name: String,
    pub organisation: Option<String>,
    /// Two letters of ISO 3166; said only with an organisation.
    pub country: String,
    pub role: Role,
    pub alt_names: SubjectAltNames,
}

impl Leaf {
    /// A server on this machine: `localhost`, `127.0.0.1` and `::1`.
    pub fn loopback_server(common_name: &str) -> Self {
        let ip = vec![IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])];
        let alt_names = SubjectAltNames { dns: vec!["localhost".into()], ip, ..SubjectAltNames::default() };
        let common_name = common_name.into();
        Self { common_name, organisation: None, country: "GB".into(), role: Role::Server, alt_names }
    }

    /// A client; its alternative DNS name is its common name, so that either can be registered (RFC 8705 §2.1.2).
    pub fn client(common_name: &str, organisation: &str) -> Self {
        let alt_names = SubjectAltNames { dns: vec![common_name.into()], ..SubjectAltNames::default() };
        Self {
            common_name: common_name.into(),
            organisation: Some(organisation.into()),
            country: "GB".into(),
            role: Role::Client,
            alt_names,
        }
    }

    /// The same, of an organisation elsewhere.
    pub fn in_country(self, country: &str) -> Self {
        Self { country: country.into(), ..self }
    }
}

/// A certificate with its private key.
pub struct Issued {
    pub certificate_pem: String,
    pub certificate_der: Vec<u8>,
    /// PKCS #8.
    pub key_pem: SecretString,
}

/// Whom an authority may certify.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    Anyone,
    /// Name constraints limit it to this machine, so that a person may trust it without trusting it for the world.
    Loopback,
}

/// A self-signed authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
}

impl Authority {
    pub fn new(name: &str, reach: Reach, validity: Validity, random: &dyn Random) -> Result<Self, PkiError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = blank(validity, random);
        params.distinguished_name.push(DnType::OrganizationName, "Clearway demo");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        if reach == Reach::Loopback {
            params.name_constraints = Some(loopback_only());
        }
        let certificate_pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), certificate_pem })
    }

    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The authority's own key, PKCS #8.
    pub fn key_pem(&self) -> SecretString {
        self.issuer.key().serialize_pem().into()
    }

    /// Reads an authority back, to issue more.
    pub fn from_pem(certificate_pem: &str, key_pem: &SecretString) -> Result<Self, PkiError> {
        let key = KeyPair::from_pem(key_pem.expose_secret())?;
        let issuer = Issuer::from_ca_cert_pem(certificate_pem, key)?;
        Ok(Self { issuer, certificate_pem: certificate_pem.to_owned() })
    }

    pub fn issue(&self, leaf: &Leaf, validity: Validity, random: &dyn Random) -> Result<Issued, PkiError> {
        self.issue_for(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?, leaf, validity, random)
    }

    /// For a key of RSA with 2048 bits.
    pub fn issue_rsa(&self, leaf: &Leaf, validity: Validity, random: &dyn Random) -> Result<Issued, PkiError> {
        self.issue_for(KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?, leaf, validity, random)
    }

    fn issue_for(
        &self,
        key: KeyPair,
        leaf: &Leaf,
        validity: Validity,
        random: &dyn Random,
    ) -> Result<Issued, PkiError> {
        let certificate = leaf_params(leaf, validity, random)?.signed_by(&key, &self.issuer)?;
        Ok(Issued::new(&certificate, &key))
    }
}

/// A client certificate signed by its own key (RFC 8705 §2.2).
pub fn self_signed_client(leaf: &Leaf, validity: Validity, random: &dyn Random) -> Result<Issued, PkiError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let certificate = leaf_params(leaf, validity, random)?.self_signed(&key)?;
    Ok(Issued::new(&certificate, &key))
}

impl Issued {
    fn new(certificate: &rcgen::Certificate, key: &KeyPair) -> Self {
        Self {
            certificate_pem: certificate.pem(),
            certificate_der: certificate.der().to_vec(),
            key_pem: key.serialize_pem().into(),
        }
    }
}

fn blank(validity: Validity, random: &dyn Random) -> CertificateParams {
    let mut params = CertificateParams::default();
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + since_1970(validity.not_before);
    params.not_after = epoch + since_1970(validity.not_after);
    // RFC 5280 §4.1.2.2: positive and at most 20 octets; 159 random bits.
    let mut serial: [u8; 20] = random.bytes();
    if let Some(first) = serial.first_mut() {
        *first = (*first & 0x7f) | 0x40;
    }
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.use_authority_key_identifier_extension = true;
    params
}

fn leaf_params(leaf: &Leaf, validity: Validity, random: &dyn Random) -> Result<CertificateParams, PkiError> {
    let mut params = blank(validity, random);
    if let Some(organisation) = &leaf.organisation {
        params.distinguished_name.push(DnType::CountryName, leaf.country.as_str());
        params.distinguished_name.push(DnType::OrganizationName, organisation.as_str());
    }
    params.distinguished_name.push(DnType::CommonName, leaf.common_name.as_str());
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![match leaf.role {
        Role::Server => ExtendedKeyUsagePurpose::ServerAuth,
        Role::Client => ExtendedKeyUsagePurpose::ClientAuth,
    }];
    params.subject_alt_names = alt_names(&leaf.alt_names)?;
    Ok(params)
}

fn alt_names(names: &SubjectAltNames) -> Result<Vec<SanType>, PkiError> {
    let mut found = Vec::new();
    for name in &names.dns {
        found.push(SanType::DnsName(name.as_str().try_into()?));
    }
    for uri in &names.uri {
        found.push(SanType::URI(uri.as_str().try_into()?));
    }
    for email in &names.email {
        found.push(SanType::Rfc822Name(email.as_str().try_into()?));
    }
    found.extend(names.ip.iter().copied().map(SanType::IpAddress));
    Ok(found)
}

fn loopback_only() -> NameConstraints {
    NameConstraints {
        permitted_subtrees: vec![
            GeneralSubtree::DnsName("localhost".into()),
            GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix([127, 0, 0, 0], 8)),
            GeneralSubtree::IpAddress(CidrSubnet::from_v6_prefix(
                [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
                128,
            )),
        ],
        excluded_subtrees: Vec::new(),
    }
}

fn since_1970(at: Timestamp) -> Duration {
    Duration::from_secs(u64::try_from(at.secs()).unwrap_or(0))
}
