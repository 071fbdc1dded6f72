//! `private_key_jwt`: a client proves itself by a JWT that it signed for us (RFC 7523 §3, RFC 10070, FAPI 2.0).

use super::ClientAuthenticationError as Failure;
use super::client_authentication::{Authenticated, check_active};
use super::metadata::Endpoint;
use super::{
    AssertionAudience, AuthorizationServer, ClientAuthentication, ClientKeys, ClientRegistration, OAuthError, Profile,
};
use crate::domain::{ClientId, Timestamp};
use crate::jose::{Claims, UnverifiedToken};

/// Longest `jti`, in bytes.
pub(super) const JTI_BYTES_MAX: usize = 256;

impl AuthorizationServer {
    /// All checks in the order of `standards/oauth-core.md` §4. Everything before the replay mark leaves no trace, and
    /// an unknown client costs the same signature check as a known one.
    pub(super) async fn verify_assertion(
        &self,
        assertion: &str,
        client_id: Option<&str>,
        endpoint: Endpoint,
        now: Timestamp,
    ) -> Result<Authenticated, OAuthError> {
        let token = UnverifiedToken::parse(assertion).map_err(Failure::Malformed)?;
        check_header(&token)?;
        let id = check_names(&token, client_id)?;
        let found = self.parts.clients.find(&id);
        let profile = found.as_ref().map_or(Profile::Fapi2Security, |(_, registration)| registration.profile);
        let addressed = self.check_audience(&token, profile, endpoint); // Told below: the time must not tell who is known.
        let algorithm = token.header().algorithm;
        // Method equals registered method (check 10): there are no keys to verify with otherwise.
        let by_assertion =
            |registration: &ClientRegistration| registration.authentication == ClientAuthentication::PrivateKeyJwt;
        let registered = found.as_ref().map(|(_, registration)| &**registration).filter(|found| by_assertion(found));
        let keys = registered.map(|registration| &registration.keys);
        let verified = self.parts.key_sets.verify(keys, token, now).await;
        let (client, registration) = found.ok_or(Failure::UnknownClient)?;
        if !by_assertion(&registration) {
            return Err(Failure::OtherMethod.into());
        }
        let verified = verified?;
        addressed?;
        if !registration.may_sign_with(algorithm, registration.metadata.signing.assertions) {
            return Err(Failure::Algorithm.into());
        }
        let expires_at = self.check_times(&verified.claims, now)?;
        let jti = verified.claims.required_text("jti").map_err(Failure::Claim)?;
        if jti.len() > JTI_BYTES_MAX {
            return Err(Failure::Jti.into());
        }
        check_active(&client)?;
        // Last, because it is the only check with an effect. Atomic and durable: of two simultaneous uses one wins.
        if !self.parts.replay.mark(&client.id, jti, expires_at, now).await? {
            return Err(Failure::Replayed.into());
        }
        Ok(Authenticated { client, registration })
    }

    /// Check 4: `aud` is we, as the client's profile has it.
    fn check_audience(&self, token: &UnverifiedToken<'_>, profile: Profile, endpoint: Endpoint) -> Result<(), Failure> {
        let named = match profile.assertion_audience() {
            // `hint` reads strings only, so that an array is refused even if we are its only element, and so is the URL
            // of an endpoint.
            AssertionAudience::IssuerString => token.hint("aud") == Some(&*self.settings.issuer),
            AssertionAudience::IssuerOrEndpoint => self.audiences.are_named(token, endpoint),
        };
        if named { Ok(()) } else { Err(Failure::Audience) }
    }

    /// Checks 7 and 8; returns `exp`.
    fn check_times(&self, claims: &Claims, now: Timestamp) -> Result<Timestamp, Failure> {
        let expires_at = claims.required_date("exp").map_err(Failure::Claim)?;
        if expires_at <= now {
            return Err(Failure::Expired);
        }
        // Bounds how long its `jti` has to be remembered. A clock that is ahead makes no life too long.
        if expires_at > now.plus(self.settings.assertion_lifetime_max).plus(self.settings.clock_skew_max) {
            return Err(Failure::Lifetime);
        }
        // FAPI 2.0 §5.3.2.1-13: up to 10 s ahead is accepted, more than 60 s never is.
        let latest = now.plus(self.settings.clock_skew_max);
        for name in ["iat", "nbf"] {
            if claims.date(name).map_err(Failure::Claim)?.is_some_and(|at| at > latest) {
                return Err(Failure::NotYetValid);
            }
        }
        Ok(expires_at)
    }
}

/// Check 3: `iss`, `sub` and `client_id` are one client.
fn check_names(token: &UnverifiedToken<'_>, client_id: Option<&str>) -> Result<ClientId, Failure> {
    let subject = token.hint("sub").ok_or(Failure::Subject)?;
    if token.hint("iss") != Some(subject) || client_id.is_some_and(|id| id != subject) {
        return Err(Failure::Subject);
    }
    ClientId::parse(subject).map_err(|_| Failure::UnknownClient)
}

/// Check 1, and the kind of JWT: another kind's `typ` must not pass (RFC 8725 §3.11), for instance an access token's.
fn check_header(token: &UnverifiedToken<'_>) -> Result<(), Failure> {
    let header = token.header();
    if !ClientKeys::ALGORITHMS.contains(&header.algorithm) {
        return Err(Failure::Algorithm);
    }
    let ours = header.typ.is_none() || header.typ_is("JWT") || header.typ_is("client-authentication+jwt");
    if ours { Ok(()) } else { Err(Failure::Typ) }
}
