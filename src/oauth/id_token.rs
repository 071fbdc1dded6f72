//! ID tokens (OpenID Connect Core §2), and by which name a client knows a user.

use aws_lc_rs::digest::{SHA256, SHA512, digest};
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::client_authentication::Authenticated;
use super::grant::Grant;
use super::{AuthorizationServer, ClaimsPlace, ClientRegistration, GrantType, OAuthError, SubjectType};
use crate::domain::Timestamp;
use crate::jose::{Algorithm, UnverifiedToken};

/// The claim by which UK Open Banking says when a refresh token ends (`fapi1-advanced.md` §5).
const UK_REFRESH_EXPIRY: &str = "http://openbanking.org.uk/refresh_token_expires_at";

impl AuthorizationServer {
    /// Signed with the key that signs access tokens; `typ` and the missing `client_id` tell the two apart.
    pub(super) fn id_token(
        &self,
        caller: &Authenticated,
        grant: &Grant,
        nonce: Option<&str>,
        access_token: &str,
        now: Timestamp,
    ) -> Result<String, OAuthError> {
        let key = self.parts.keys.current();
        let mut claims = self.asked_for(caller, grant);
        let mut add = |name: &str, value: Value| claims.insert(name.to_owned(), value);
        add("iss", json!(self.settings.issuer));
        add("sub", json!(self.subject_for(&caller.registration, &grant.subject)));
        add("aud", json!(caller.client.id.as_str()));
        add("iat", json!(now.secs()));
        add("exp", json!(now.plus(self.settings.access_token_lifetime).secs()));
        add("auth_time", json!(grant.auth_time.secs()));
        if let Some(nonce) = nonce {
            add("nonce", json!(nonce));
        }
        if let Some(acr) = &grant.acr {
            add("acr", json!(acr));
        }
        add("at_hash", json!(half_hash(key.algorithm(), access_token)));
        let refreshes = caller.registration.may_use(GrantType::RefreshToken);
        if refreshes && caller.registration.profile == super::Profile::Fapi1Advanced(super::Fapi1Variant::Uk) {
            add(UK_REFRESH_EXPIRY, json!(grant.expires_at.secs()));
        }
        key.sign("JWT", &Value::Object(claims)).map_err(OAuthError::Signing)
    }

    /// Whom an ID token of ours for this client is about, by the name that the client knows. It may have expired (OpenID
    /// Connect Core §3.1.2.1), but not so long ago that its key is gone.
    pub(super) fn id_token_hint(&self, token: &str, caller: &Authenticated) -> Result<String, OAuthError> {
        let malformed =
            || OAuthError::InvalidRequest("id_token_hint is not an ID token of this server for the client.");
        let token = UnverifiedToken::parse(token).map_err(|_| malformed())?;
        // RFC 9068 §5: an access token is no ID token.
        if !token.header().typ_is("JWT") {
            return Err(malformed());
        }
        let verified = self.parts.keys.published().load_full().verify(token).map_err(|_| malformed())?;
        let claims = &verified.claims;
        let ours = claims.text("iss").ok().flatten() == Some(&*self.settings.issuer);
        if !ours || !claims.audience_names(&[caller.client.id.as_str()]) || claims.get("auth_time").is_none() {
            return Err(malformed());
        }
        Ok(claims.required_text("sub").map_err(|_| malformed())?.to_owned())
    }

    /// What the client asked to be told here by name (OpenID Connect Core §5.5). Nothing of a user who is gone.
    fn asked_for(&self, caller: &Authenticated, grant: &Grant) -> Map<String, Value> {
        let mut members = Map::new();
        let Some(asked) = &grant.claims else { return members };
        if let Some(subject) = self.parts.subjects.by_subject(&grant.subject) {
            let told = asked.told(ClaimsPlace::IdToken, &caller.client.scopes, grant, &subject);
            members.extend(told.map(|(name, value)| (name.to_owned(), value)));
        }
        if let Some(intent) = asked.intent(ClaimsPlace::IdToken) {
            members.insert("openbanking_intent_id".to_owned(), intent.clone());
        }
        members
    }

    /// OpenID Connect Core §8: the same user under another name in each sector, if the client is pairwise. The salt is
    /// durable, so that names outlive restarts.
    pub(super) fn subject_for(&self, registration: &ClientRegistration, subject: &str) -> String {
        match &registration.metadata.subject_type {
            SubjectType::Public => subject.to_owned(),
            SubjectType::Pairwise { sector } => {
                let salt = hmac::Key::new(hmac::HMAC_SHA256, &*self.parts.pairwise_salt);
                // Unambiguous: a host has no NUL.
                let text = [sector.as_bytes(), &[0], subject.as_bytes()].concat();
                URL_SAFE_NO_PAD.encode(hmac::sign(&salt, &text))
            }
        }
    }
}

/// The left half of the hash that the algorithm uses (OpenID Connect Core §3.1.3.6): SHA-512 inside Ed25519.
fn half_hash(algorithm: Algorithm, text: &str) -> String {
    let hash = match algorithm {
        Algorithm::Es256 | Algorithm::Ps256 | Algorithm::Rs256 => digest(&SHA256, text.as_bytes()),
        Algorithm::EdDsa => digest(&SHA512, text.as_bytes()),
    };
    let bytes = hash.as_ref();
    URL_SAFE_NO_PAD.encode(bytes.get(..bytes.len() / 2).unwrap_or(bytes))
}
