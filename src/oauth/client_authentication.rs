//! Which client is this? Exactly one method, the registered one (RFC 6749 §2.3, FAPI 2.0 §5.3.2.1-6).

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use http::header::AUTHORIZATION;
use percent_encoding::percent_decode_str;

use super::ClientAuthenticationError as Failure;
use super::form::Form;
use super::metadata::Endpoint;
use super::{AuthorizationServer, ClientAuthentication, ClientRegistration, DistinguishedName, OAuthError, Request};
use super::{SecretHash, TlsSubject, server::Clients};
use crate::domain::{ChainTrust, Client, ClientId, Connection, PartnerStatus, PeerCertificate, Timestamp};

/// RFC 7523 §2.2.
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// A client that proved itself.
pub(super) struct Authenticated {
    pub(super) client: Arc<Client>,
    pub(super) registration: Arc<ClientRegistration>,
}

/// What the request offers as proof.
enum Offered<'a> {
    Assertion(&'a str),
    /// RFC 6749 §2.3.1: name and secret, of plain OAuth clients.
    Basic(Basic),
    /// Nothing in the form but the name: the proof can only be the connection's certificate.
    Certificate(&'a str),
}

/// No `Debug`: the secret is in here.
struct Basic {
    client_id: String,
    secret: String,
}

impl AuthorizationServer {
    pub(super) async fn authenticate_client(
        &self,
        request: &Request<'_>,
        form: &Form,
        endpoint: Endpoint,
        now: Timestamp,
    ) -> Result<Authenticated, OAuthError> {
        match offered(request, form)? {
            Offered::Assertion(assertion) => {
                self.verify_assertion(assertion, form.get("client_id"), endpoint, now).await
            }
            Offered::Basic(basic) => Ok(find_by_secret(&*self.parts.clients, &basic, form.get("client_id"))?),
            Offered::Certificate(client_id) => {
                let found = find_by_certificate(&*self.parts.clients, client_id, request.connection)?;
                Ok(found)
            }
        }
    }
}

/// RFC 6749 §2.3: a client must not use more than one method in a request.
fn offered<'a>(request: &Request<'_>, form: &'a Form) -> Result<Offered<'a>, OAuthError> {
    let field = request.headers.get(AUTHORIZATION);
    let secret = form.get("client_secret");
    let assertion = (form.get("client_assertion"), form.get("client_assertion_type"));
    let by_assertion = assertion.0.is_some() || assertion.1.is_some();
    if u8::from(field.is_some()) + u8::from(secret.is_some()) + u8::from(by_assertion) > 1 {
        return Err(OAuthError::InvalidRequest("Use exactly one method of client authentication."));
    }
    if let Some(field) = field {
        let scheme = field.as_bytes().split(|byte| *byte == b' ').next().unwrap_or_default();
        let basic = scheme.eq_ignore_ascii_case(b"Basic");
        return match Basic::parse(field).filter(|_| basic) {
            Some(basic) => Ok(Offered::Basic(basic)),
            None => Err(Failure::AuthorizationField { basic }.into()),
        };
    }
    if secret.is_some() {
        return Err(Failure::Secret.into());
    }
    match (assertion, form.get("client_id")) {
        ((Some(assertion), Some(JWT_BEARER)), _) => Ok(Offered::Assertion(assertion)),
        ((Some(_), Some(_)), _) => Err(Failure::AssertionType.into()),
        ((Some(_), None) | (None, Some(_)), _) => {
            Err(OAuthError::InvalidRequest("Send client_assertion together with client_assertion_type."))
        }
        ((None, None), Some(client_id)) => Ok(Offered::Certificate(client_id)), // RFC 8705 §2: client_id is required.
        ((None, None), None) => Err(Failure::Absent.into()),
    }
}

impl Basic {
    /// RFC 6749 §2.3.1: both halves are form-encoded within RFC 7617's pair.
    fn parse(field: &HeaderValue) -> Option<Self> {
        let (_, encoded) = field.to_str().ok()?.split_once(' ')?;
        let pair = STANDARD.decode(encoded.trim_start_matches(' ')).ok()?;
        let pair = String::from_utf8(pair).ok()?;
        let (client_id, secret) = pair.split_once(':')?;
        let decode = |half: &str| percent_decode_str(&half.replace('+', " ")).decode_utf8().ok().map(String::from);
        Some(Self { client_id: decode(client_id)?, secret: decode(secret)? })
    }
}

/// In the same time for every client and none: the hash is made before anything is known, and compared in constant time.
fn find_by_secret(clients: &dyn Clients, basic: &Basic, client_id: Option<&str>) -> Result<Authenticated, Failure> {
    let refused = Failure::AuthorizationField { basic: true };
    let offered = SecretHash::of(basic.secret.as_bytes());
    if client_id.is_some_and(|id| id != basic.client_id) {
        return Err(refused);
    }
    let id = ClientId::parse(&basic.client_id).map_err(|_| Failure::AuthorizationField { basic: true })?;
    let Some((client, registration)) = clients.find(&id) else { return Err(refused) };
    match &registration.authentication {
        ClientAuthentication::ClientSecretBasic { secret_hash }
            if registration.profile.allows_secrets() && *secret_hash == offered => {}
        ClientAuthentication::ClientSecretBasic { .. }
        | ClientAuthentication::PrivateKeyJwt
        | ClientAuthentication::TlsClientAuth(_)
        | ClientAuthentication::SelfSignedTlsClientAuth { .. } => return Err(refused),
    }
    check_active(&client)?;
    Ok(Authenticated { client, registration })
}

fn find_by_certificate(
    clients: &dyn Clients,
    client_id: &str,
    connection: &Connection,
) -> Result<Authenticated, Failure> {
    let certificate = connection.certificate.as_deref().ok_or(Failure::CertificateMissing)?;
    let id = ClientId::parse(client_id).map_err(|_| Failure::UnknownClient)?;
    let (client, registration) = clients.find(&id).ok_or(Failure::UnknownClient)?;
    match &registration.authentication {
        ClientAuthentication::TlsClientAuth(subject) => check_subject(subject, certificate)?,
        ClientAuthentication::SelfSignedTlsClientAuth { certificates } => {
            // RFC 8705 §2.2: the very certificate; its chain does not matter.
            if !certificates.contains(&certificate.thumbprint) {
                return Err(Failure::CertificateUnregistered);
            }
        }
        ClientAuthentication::PrivateKeyJwt | ClientAuthentication::ClientSecretBasic { .. } => {
            return Err(Failure::OtherMethod);
        }
    }
    check_active(&client)?;
    Ok(Authenticated { client, registration })
}

/// RFC 8705 §2.1: a trusted chain, and exactly the registered kind of subject.
fn check_subject(registered: &TlsSubject, certificate: &PeerCertificate) -> Result<(), Failure> {
    match certificate.chain {
        ChainTrust::Trusted => {}
        ChainTrust::Unverified => return Err(Failure::ChainUntrusted),
    }
    let names = &certificate.alt_names;
    let matches = match registered {
        TlsSubject::Dn(name) => DistinguishedName::from_der(&certificate.subject_der).is_ok_and(|dn| dn == *name),
        TlsSubject::SanDns(dns) => names.dns.iter().any(|name| name.eq_ignore_ascii_case(dns)),
        TlsSubject::SanUri(uri) => names.uri.contains(uri),
        TlsSubject::SanIp(ip) => names.ip.contains(ip), // Parsed addresses: a binary comparison.
        TlsSubject::SanEmail(email) => names.email.iter().any(|name| same_mailbox(name, email)),
    };
    if matches { Ok(()) } else { Err(Failure::SubjectMismatch) }
}

/// RFC 5280 §7.5: the local part exactly, the domain in any case.
fn same_mailbox(a: &str, b: &str) -> bool {
    match (a.rsplit_once('@'), b.rsplit_once('@')) {
        (Some((a_local, a_domain)), Some((b_local, b_domain))) => {
            a_local == b_local && a_domain.eq_ignore_ascii_case(b_domain)
        }
        (Some(_) | None, Some(_) | None) => false,
    }
}

pub(super) fn check_active(client: &Client) -> Result<(), Failure> {
    match (client.status, client.tenant.status) {
        (PartnerStatus::Active, PartnerStatus::Active) => Ok(()),
        (PartnerStatus::Suspended, PartnerStatus::Active | PartnerStatus::Suspended)
        | (PartnerStatus::Active, PartnerStatus::Suspended) => Err(Failure::Suspended),
    }
}
