//! What binds a token to who asked for it: the certificate of the connection, or the key of a DPoP proof.

use http::{HeaderValue, Method};

use super::{AuthorizationRequest, AuthorizationServer, ClientRegistration, OAuthError, Request, SenderConstraint};
use crate::authn::Binding;
use crate::authn::dpop::{NonceSpace, Proof, ProvenRequest, read_proof};
use crate::domain::{ChainTrust, Timestamp};

/// What the sender of a request proved.
pub(super) struct Sender {
    /// What its tokens will be bound to.
    pub(super) bound_to: Option<Binding>,
    /// For the `DPoP-Nonce` field of the answer.
    pub(super) fresh_nonce: Option<HeaderValue>,
}

impl AuthorizationServer {
    /// RFC 8705 §3.4 leaves it to the server what happens when a client that is registered for bound tokens comes
    /// without a proof: an unbound token would be weaker than what was agreed, so it is an error. So it is with DPoP
    /// (RFC 9449 §5.2).
    pub(super) fn sender(
        &self,
        request: &Request<'_>,
        registration: &ClientRegistration,
        now: Timestamp,
    ) -> Result<Sender, OAuthError> {
        match registration.sender_constraint {
            SenderConstraint::Certificate => {
                let missing = "The client is registered for certificate-bound tokens. Use the token endpoint among mtls_endpoint_aliases.";
                let bound_to = certificate(request, registration)?.ok_or(OAuthError::InvalidRequest(missing))?;
                Ok(Sender { bound_to: Some(bound_to), fresh_nonce: None })
            }
            SenderConstraint::Dpop => match self.proof(request, "/oauth/token", now)? {
                Some(proof) => Ok(Sender::of(proof)),
                None => Err(OAuthError::DpopProofMissing(self.parts.dpop.nonce(NonceSpace::AuthorizationServer, now))),
            },
            // A proof is made for this request; a certificate may be there because the connection has one.
            SenderConstraint::Either => match self.proof(request, "/oauth/token", now)? {
                Some(proof) => Ok(Sender::of(proof)),
                None => {
                    let missing = "Tokens are bound: send a DPoP proof, or a client certificate to the token endpoint among mtls_endpoint_aliases.";
                    let bound_to = certificate(request, registration)?.ok_or(OAuthError::InvalidRequest(missing))?;
                    Ok(Sender { bound_to: Some(bound_to), fresh_nonce: None })
                }
            },
            // Whoever brings a proof gets a token that is bound to its key (RFC 9449 §5).
            SenderConstraint::Bearer => match self.proof(request, "/oauth/token", now)? {
                Some(proof) => Ok(Sender::of(proof)),
                None => Ok(Sender { bound_to: None, fresh_nonce: None }),
            },
        }
    }

    /// A proof that comes with a pushed request binds its code, as `dpop_jkt` does; both at once must name one key
    /// (RFC 9449 §10.1).
    pub(super) fn bind_to_proof(
        &self,
        mut authorization: AuthorizationRequest,
        registration: &ClientRegistration,
        request: &Request<'_>,
        now: Timestamp,
    ) -> Result<(AuthorizationRequest, Option<HeaderValue>), OAuthError> {
        if registration.sender_constraint == SenderConstraint::Certificate {
            // Its tokens are bound to something else, so that its code would be worth nothing to anybody.
            return match authorization.dpop_jkt {
                Some(_) => Err(OAuthError::InvalidRequest("dpop_jkt is not for clients of certificate-bound tokens.")),
                None => Ok((authorization, None)),
            };
        }
        let Some(proof) = self.proof(request, "/oauth/par", now)? else { return Ok((authorization, None)) };
        match authorization.dpop_jkt {
            Some(stated) if stated != proof.key => {
                return Err(OAuthError::InvalidRequest("dpop_jkt is not the key of the DPoP proof."));
            }
            Some(_) | None => authorization.dpop_jkt = Some(proof.key),
        }
        Ok((authorization, proof.fresh_nonce))
    }

    /// The proof of a request, used up. `path` is the endpoint's, below the issuer's.
    fn proof(&self, request: &Request<'_>, path: &'static str, now: Timestamp) -> Result<Option<Proof>, OAuthError> {
        let Some(proof) = read_proof(request.headers).map_err(OAuthError::Dpop)? else { return Ok(None) };
        let proven = ProvenRequest {
            method: &Method::POST,
            urls: self.external_urls.of(request.connection),
            path,
            token_hash: None,
            space: NonceSpace::AuthorizationServer,
        };
        let proof = self.parts.dpop.check(proof, &proven, now).map_err(OAuthError::Dpop)?;
        self.parts.dpop.spend(proof, now).map(Some).map_err(OAuthError::Dpop)
    }
}

impl Sender {
    fn of(proof: Proof) -> Self {
        let Proof { key, fresh_nonce } = proof;
        Self { bound_to: Some(Binding::DpopKey(key)), fresh_nonce }
    }
}

/// The certificate of the connection. One that no CA in force vouches for, and that was not registered for this very client,
/// is refused here: resources would not take it, and its token would be dead.
fn certificate(request: &Request<'_>, registration: &ClientRegistration) -> Result<Option<Binding>, OAuthError> {
    let Some(certificate) = request.connection.certificate.as_deref() else { return Ok(None) };
    let stands = match certificate.chain {
        ChainTrust::Trusted => true,
        ChainTrust::Unverified => registration.certificates().any(|known| *known == certificate.thumbprint),
    };
    if !stands {
        let why = "The client certificate leads to no CA that is trusted here, and was not registered for the client.";
        return Err(OAuthError::InvalidRequest(why));
    }
    Ok(Some(Binding::Certificate(certificate.thumbprint)))
}
