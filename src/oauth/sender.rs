//! What binds a token to who asked for it: the certificate of the connection, or the key of a DPoP proof.

use http::{HeaderValue, Method};

use super::{AuthorizationRequest, AuthorizationServer, ClientRegistration, OAuthError, Request, SenderConstraint};
use crate::authn::Binding;
use crate::authn::dpop::{NonceSpace, Proof, ProvenRequest, read_proof};
use crate::domain::Timestamp;

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
        match (registration.sender_constraint, request.connection.certificate.as_deref()) {
            (SenderConstraint::Certificate, Some(certificate)) => {
                Ok(Sender { bound_to: Some(Binding::Certificate(certificate.thumbprint)), fresh_nonce: None })
            }
            (SenderConstraint::Certificate, None) => Err(OAuthError::InvalidRequest(
                "The client is registered for certificate-bound tokens. Use the token endpoint among mtls_endpoint_aliases.",
            )),
            (SenderConstraint::Dpop, _) => match self.proof(request, "/oauth/token", now)? {
                Some(proof) => Ok(Sender::of(proof)),
                None => Err(OAuthError::DpopProofMissing(self.parts.dpop.nonce(NonceSpace::AuthorizationServer, now))),
            },
            // Whoever brings a proof gets a token that is bound to its key (RFC 9449 §5).
            (SenderConstraint::Bearer, _) => match self.proof(request, "/oauth/token", now)? {
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
            return Ok((authorization, None)); // Its tokens are bound to something else.
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
            urls: &self.external_urls,
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
