//! From a request's credentials to a partner that is known here.

use std::sync::Arc;

use http::HeaderValue;

use crate::authn::dpop::{NonceSpace, ProvenRequest};
use crate::authn::{Credentials, VerifiedToken};
use crate::domain::{ChainTrust, Connection, PartnerStatus, Thumbprint, Timestamp};
use crate::hub::Partner;

use super::{Head, Rejection, Snapshot};

/// A caller: a verified token and the partner that it names.
#[derive(Clone)]
pub struct Identified {
    pub token: Arc<VerifiedToken>,
    pub partner: Arc<Partner>,
    /// For the `DPoP-Nonce` field of the answer: the nonce that came is about to end (RFC 9449 §8.2).
    pub fresh_nonce: Option<HeaderValue>,
}

impl Identified {
    /// Whether client and tenant may still act: neither is suspended.
    pub fn check_active(&self) -> Result<(), Rejection> {
        check_active(&self.partner)
    }

    /// Whether the caller would be let in now, by the snapshot in force now. For one who was let in some time ago, and has
    /// held back the body since.
    pub fn check_again(&self, snapshot: &Snapshot, now: Timestamp) -> Result<(), Rejection> {
        snapshot.authenticator.check_again(&self.token, now)?;
        check_active(&*partner(snapshot, &self.token)?)
    }
}

fn check_active(partner: &Partner) -> Result<(), Rejection> {
    let client = &partner.client;
    let active = client.status == PartnerStatus::Active && client.tenant.status == PartnerStatus::Active;
    if active { Ok(()) } else { Err(Rejection::UnknownPartner) }
}

/// Verifies the token and its binding, then finds its partner.
pub async fn identify(snapshot: &Snapshot, head: &Head<'_>, now: Timestamp) -> Result<Identified, Rejection> {
    check_certificate(snapshot, head.connection)?;
    let authenticator = &snapshot.authenticator;
    let (token, fresh_nonce) = match Credentials::read(head.headers)? {
        Credentials::Bearer(token) => (authenticator.authenticate(token, head.connection, now).await?, None),
        Credentials::Dpop { token, proof } => {
            let request = ProvenRequest {
                method: head.method,
                urls: snapshot.external_urls.of(head.connection),
                path: head.path,
                token_hash: None, // The authenticator knows it.
                space: NonceSpace::Resource,
            };
            let passed = authenticator.authenticate_with_proof((token, proof), &snapshot.dpop, request, now);
            let (token, proof) = passed.await?;
            (token, proof.fresh_nonce)
        }
    };
    let partner = partner(snapshot, &token)?;
    Ok(Identified { token, partner, fresh_nonce })
}

/// A certificate that no CA in force vouches for has no standing, unless a client registered that very certificate.
fn check_certificate(snapshot: &Snapshot, connection: &Connection) -> Result<(), Rejection> {
    let Some(certificate) = &connection.certificate else { return Ok(()) };
    match certificate.chain {
        ChainTrust::Trusted => Ok(()),
        ChainTrust::Unverified if is_registered(snapshot, &certificate.thumbprint) => Ok(()),
        ChainTrust::Unverified => Err(Rejection::CertificateUntrusted),
    }
}

fn is_registered(snapshot: &Snapshot, certificate: &Thumbprint) -> bool {
    let by_itself = || snapshot.dynamic.as_ref().is_some_and(|dynamic| dynamic.has_registered(certificate));
    snapshot.registered_certificates.contains(certificate) || by_itself()
}

fn partner(snapshot: &Snapshot, token: &VerifiedToken) -> Result<Arc<Partner>, Rejection> {
    if let Some(partner) = snapshot.registry.partner(&token.client_id) {
        // One issuer speaks for a registered client: ours, or the one that its registration names. Any other that
        // uses its name would borrow its rights. And who names another tenant than the client's own speaks for neither.
        let issuer = partner.issuer.as_deref().unwrap_or(&snapshot.issuer);
        let agrees = token.tenant.as_ref().is_none_or(|tenant| *tenant == partner.client.tenant.id);
        let speaks = *issuer == *token.issuer && agrees;
        return if speaks { Ok(Arc::clone(partner)) } else { Err(Rejection::UnknownPartner) };
    }
    if token.issuer == snapshot.issuer {
        let partner = snapshot.dynamic.as_ref().and_then(|dynamic| dynamic.partner(&token.client_id));
        let agrees =
            |partner: &Arc<Partner>| token.tenant.as_ref().is_none_or(|tenant| *tenant == partner.client.tenant.id);
        return partner.filter(agrees).ok_or(Rejection::UnknownPartner);
    }
    let outside = snapshot.outside_issuers.get(token.issuer.as_ref()).ok_or(Rejection::UnknownPartner)?;
    let tenant = token.tenant.as_ref().ok_or(Rejection::UnknownPartner)?;
    outside.partners.partner(tenant, &token.client_id, &token.scopes).ok_or(Rejection::UnknownPartner)
}
