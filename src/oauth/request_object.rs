//! Signed authorization requests (RFC 9101, FAPI 2.0 Message Signing §5.3, FAPI 1.0 Advanced §5.2.2).

use std::time::Duration;

use super::client_authentication::Authenticated;
use super::form::Form;
use super::{AuthorizationServer, ClientKeysError, OAuthError};
use crate::domain::Timestamp;
use crate::jose::{Claims, UnverifiedToken};

/// `exp` lies at most this far behind `nbf`, and `nbf` at most this far back (FAPI 2.0 Message Signing §5.3.1-3, -4).
const LIFETIME_MAX: Duration = Duration::from_mins(60);

impl AuthorizationServer {
    /// The parameters that the client signed, and nothing else (RFC 9101 §6.3).
    pub(super) async fn request_object(
        &self,
        object: &str,
        caller: &Authenticated,
        now: Timestamp,
    ) -> Result<Form, OAuthError> {
        let refuse = OAuthError::InvalidRequestObject;
        let token = UnverifiedToken::parse(object).map_err(|_| refuse("The request object is not a JWS."))?;
        let registration = &caller.registration;
        if !registration.profile.algorithms().contains(&token.header().algorithm) {
            return Err(refuse("The algorithm of the request object is not allowed."));
        }
        let header = token.header();
        // RFC 8725 §3.11: another kind of JWT is not one of these.
        if !(header.typ.is_none() || header.typ_is("JWT") || header.typ_is("oauth-authz-req+jwt")) {
            return Err(refuse("The typ of the request object is that of another kind of JWT."));
        }
        // The client's own keys: what another client signed is not this one's request (RFC 9101 §6.2).
        let verified = self.parts.key_sets.verify(Some(&registration.keys), token, now).await;
        let verified = verified.map_err(|error| match error {
            ClientKeysError::Signature(_) => refuse("No key of the client verifies the request object."),
            ClientKeysError::Unavailable(_) => error.into(),
        })?;
        let claims = &verified.claims;
        self.check_parties(claims, caller)?;
        self.check_object_times(claims, now)?;
        for nested in ["request", "request_uri"] {
            if claims.get(nested).is_some() {
                return Err(refuse("A request object must not contain request or request_uri.")); // RFC 9101 §4
            }
        }
        Form::from_claims(claims)
    }

    /// RFC 9101 §5, §6.3; FAPI 2.0 Message Signing §5.3.1-2.
    fn check_parties(&self, claims: &Claims, caller: &Authenticated) -> Result<(), OAuthError> {
        let refuse = OAuthError::InvalidRequestObject;
        let id = caller.client.id.as_str();
        if claims.text("client_id").ok().flatten() != Some(id) {
            return Err(refuse("client_id of the request object is not the client's."));
        }
        if claims.get("iss").is_some_and(|iss| iss.as_str() != Some(id)) {
            return Err(refuse("iss of the request object is not the client's."));
        }
        if !claims.audience_names(&[&*self.settings.issuer]) {
            return Err(refuse("aud of the request object does not name the issuer."));
        }
        // A request object must never be of use as a client assertion (RFC 9101 §10.8).
        if claims.get("sub").is_some() {
            return Err(refuse("A request object must not have sub."));
        }
        Ok(())
    }

    fn check_object_times(&self, claims: &Claims, now: Timestamp) -> Result<(), OAuthError> {
        let refuse = OAuthError::InvalidRequestObject;
        let not_before =
            claims.required_date("nbf").map_err(|_| refuse("nbf of the request object is missing or malformed."))?;
        let expires_at =
            claims.required_date("exp").map_err(|_| refuse("exp of the request object is missing or malformed."))?;
        let issued_at = claims.date("iat").map_err(|_| refuse("iat of the request object is malformed."))?;
        // FAPI 2.0 §5.3.2.1-13: up to 10 s ahead is accepted, more than 60 s never is.
        let latest = now.plus(self.settings.clock_skew_max);
        if not_before > latest || issued_at.is_some_and(|at| at > latest) {
            return Err(refuse("The request object is not valid yet."));
        }
        if not_before < now.minus(LIFETIME_MAX) {
            return Err(refuse("nbf of the request object lies too far back."));
        }
        if expires_at <= now {
            return Err(refuse("The request object has expired."));
        }
        if expires_at > not_before.plus(LIFETIME_MAX) {
            return Err(refuse("exp of the request object lies too far behind nbf."));
        }
        Ok(())
    }
}
