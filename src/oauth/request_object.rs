//! What a client signs beside its assertions: authorization requests (RFC 9101, FAPI 2.0 Message Signing §5.3, FAPI 1.0
//! Advanced §5.2.2), backchannel requests (CIBA Core §7.1.1) and hints (§7.1).

use std::time::Duration;

use super::client_authentication::Authenticated;
use super::form::Form;
use super::{AuthorizationServer, OAuthError, SigningAlgorithms};
use crate::domain::Timestamp;
use crate::jose::{Algorithm, Claims, UnverifiedToken};

/// `exp` lies at most this far behind `nbf`, and `nbf` at most this far back (FAPI 2.0 Message Signing §5.3.1-3, -4,
/// FAPI-CIBA §5.2.2-9).
const LIFETIME_MAX: Duration = Duration::from_mins(60);

/// How kinds of such JWTs differ.
pub(super) struct ClientJwt {
    /// Makes its refusals: they have the error code of its endpoint.
    pub(super) refuse: fn(&'static str) -> OAuthError,
    /// Its `typ`, beside `JWT` and none (RFC 8725 §3.11).
    pub(super) typ: &'static str,
    /// Claims that others may leave out.
    pub(super) required: &'static [&'static str],
    /// What the client registered to sign it with.
    pub(super) registered: fn(&SigningAlgorithms) -> Option<Algorithm>,
}

/// RFC 9101 §5, §7.
const AUTHORIZATION_REQUEST: ClientJwt = ClientJwt {
    refuse: OAuthError::InvalidRequestObject,
    typ: "oauth-authz-req+jwt",
    required: &["client_id"],
    registered: |signing| signing.request_objects,
};

impl AuthorizationServer {
    /// The parameters that the client signed, and nothing else (RFC 9101 §6.3).
    pub(super) async fn request_object(
        &self,
        object: &str,
        caller: &Authenticated,
        now: Timestamp,
    ) -> Result<Form, OAuthError> {
        let (claims, _) = self.signed_request(object, &AUTHORIZATION_REQUEST, caller, now).await?;
        Form::from_claims(&claims, AUTHORIZATION_REQUEST.refuse)
    }

    /// A request, and until when it is one.
    pub(super) async fn signed_request(
        &self,
        object: &str,
        kind: &ClientJwt,
        caller: &Authenticated,
        now: Timestamp,
    ) -> Result<(Claims, Timestamp), OAuthError> {
        let claims = self.client_jwt(object, kind, caller, now).await?;
        // RFC 9101 §4 for what is nested. With `sub` it could be of use as a client assertion (§10.8), or be one.
        if ["sub", "request", "request_uri"].iter().any(|name| claims.get(name).is_some()) {
            return Err((kind.refuse)("The request object must not have sub, request or request_uri."));
        }
        let expires_at = self.check_request_times(&claims, kind, now)?;
        Ok((claims, expires_at))
    }

    /// The claims of a JWT that the client itself signed for us: algorithm, type, key, parties.
    pub(super) async fn client_jwt(
        &self,
        jwt: &str,
        kind: &ClientJwt,
        caller: &Authenticated,
        now: Timestamp,
    ) -> Result<Claims, OAuthError> {
        let refuse = kind.refuse;
        let token = UnverifiedToken::parse(jwt).map_err(|_| refuse("The request object is not a JWS."))?;
        let registration = &caller.registration;
        let header = token.header();
        // FAPI 2.0 §5.4.1-1, FAPI-CIBA §7.10, by profile; OpenID Connect Registration §2, by client.
        if !registration.may_sign_with(header.algorithm, (kind.registered)(&registration.metadata.signing)) {
            return Err(refuse("The algorithm of the request object is not allowed."));
        }
        if !(header.typ.is_none() || header.typ_is("JWT") || header.typ_is(kind.typ)) {
            return Err(refuse("The typ of the request object is that of another kind of JWT."));
        }
        // The client's own keys: what another client signed is not this one's request (RFC 9101 §6.2).
        let verified = self.parts.key_sets.verify(Some(&registration.keys), token, now).await;
        let claims =
            verified.map_err(|error| error.or(refuse("No key of the client verifies the request object.")))?.claims;
        self.check_parties(&claims, kind, caller)?;
        Ok(claims)
    }

    /// RFC 9101 §5, §6.3; FAPI 2.0 Message Signing §5.3.1-2; CIBA Core §7.1.1.
    fn check_parties(&self, claims: &Claims, kind: &ClientJwt, caller: &Authenticated) -> Result<(), OAuthError> {
        let id = caller.client.id.as_str();
        for (name, other) in [
            ("client_id", "client_id of the request object is not the client's."),
            ("iss", "iss of the request object is not the client's."),
        ] {
            let claim = claims.get(name);
            if claim.map_or(kind.required.contains(&name), |claim| claim.as_str() != Some(id)) {
                return Err((kind.refuse)(other));
            }
        }
        if !claims.audience_names(&[&*self.settings.issuer]) {
            return Err((kind.refuse)("aud of the request object does not name the issuer."));
        }
        Ok(())
    }

    /// FAPI 2.0 §5.3.2.1-13: up to 10 s ahead is accepted, more than 60 s never is.
    pub(super) fn check_begun(
        &self,
        dates: &[Option<Timestamp>],
        kind: &ClientJwt,
        now: Timestamp,
    ) -> Result<(), OAuthError> {
        let latest = now.plus(self.settings.clock_skew_max);
        let ahead = dates.iter().flatten().any(|at| *at > latest);
        if ahead { Err((kind.refuse)("The request object is not valid yet.")) } else { Ok(()) }
    }

    /// Returns `exp`.
    fn check_request_times(&self, claims: &Claims, kind: &ClientJwt, now: Timestamp) -> Result<Timestamp, OAuthError> {
        let refuse = kind.refuse;
        let date = |name, missing| claims.required_date(name).map_err(|_| refuse(missing));
        let not_before = date("nbf", "nbf of the request object is missing or malformed.")?;
        let expires_at = date("exp", "exp of the request object is missing or malformed.")?;
        let malformed = "iat of the request object is missing or malformed.";
        let issued_at = claims.date("iat").map_err(|_| refuse(malformed))?;
        if issued_at.is_none() && kind.required.contains(&"iat") {
            return Err(refuse(malformed));
        }
        self.check_begun(&[Some(not_before), issued_at], kind, now)?;
        if not_before < now.minus(LIFETIME_MAX) {
            return Err(refuse("nbf of the request object lies too far back."));
        }
        if expires_at <= now {
            return Err(refuse("The request object has expired."));
        }
        if expires_at > not_before.plus(LIFETIME_MAX) {
            return Err(refuse("exp of the request object lies too far behind nbf."));
        }
        Ok(expires_at)
    }
}
