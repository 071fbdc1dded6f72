//! Userinfo (OpenID Connect Core §5.3): what a client may know of the user who let it in.

use serde_json::{Map, Value, json};

use super::{AuthorizationServer, ClaimsPlace, Grant, GrantId, StoreError, Subject};
use crate::authn::VerifiedToken;
use crate::domain::{ScopeSet, Timestamp};

/// Of users, for metadata and for the `claims` parameter.
pub(super) const CLAIMS_SUPPORTED: [&str; 9] =
    ["sub", "name", "given_name", "family_name", "preferred_username", "email", "email_verified", "acr", "auth_time"];

/// Why nothing is said of a user.
#[derive(Debug, thiserror::Error)]
pub enum UserinfoError {
    #[error("the token was not granted openid")]
    ScopeMissing,
    /// The grant has ended, its client or its user is gone, or the token speaks for no user.
    #[error("the token speaks for nobody who is known")]
    TokenInvalid,
    #[error("the grant cannot be read")]
    Unavailable(#[from] StoreError),
}

impl AuthorizationServer {
    /// The claims of the user of `token`, which the caller has authenticated like that of any call.
    pub async fn userinfo(&self, token: &VerifiedToken, now: Timestamp) -> Result<Value, UserinfoError> {
        if *token.issuer != *self.settings.issuer {
            return Err(UserinfoError::TokenInvalid); // Users of other issuers are not ours to describe.
        }
        if !token.scopes.contains("openid") {
            return Err(UserinfoError::ScopeMissing);
        }
        // A token that speaks for a user names its grant before the full stop.
        let grant = token.jti.as_deref().and_then(|jti| jti.split_once('.')).map(|(grant, _)| GrantId::stored(grant));
        let grant = self.parts.grants.find(&grant.ok_or(UserinfoError::TokenInvalid)?).await?;
        let grant = grant.filter(|grant| grant.client_id == token.client_id && grant.expires_at > now);
        let grant = grant.ok_or(UserinfoError::TokenInvalid)?;
        let (client, registration) = self.parts.clients.find(&token.client_id).ok_or(UserinfoError::TokenInvalid)?;
        let subject = self.parts.subjects.by_subject(&grant.subject).ok_or(UserinfoError::TokenInvalid)?;
        let mut members = claims(token, &grant, &client.scopes, &subject);
        // §5.3.2: `sub` always, and as in the ID token.
        members.insert("sub".into(), self.subject_for(&registration, &grant.subject).into());
        Ok(Value::Object(members))
    }
}

/// By the scopes of the token (§5.4), and by the `claims` parameter of the grant (§5.5).
fn claims(token: &VerifiedToken, grant: &Grant, entitled: &ScopeSet, subject: &Subject) -> Map<String, Value> {
    let by_scope = |name: &&str| scope_of(name).is_some_and(|scope| token.scopes.contains(scope));
    let told = |name: &'static str| Some((name, claim(name, grant, subject)?));
    let by_scope = CLAIMS_SUPPORTED.into_iter().filter(by_scope).filter_map(told);
    let asked = grant.claims.as_ref();
    let by_name = asked.into_iter().flat_map(|asked| asked.told(ClaimsPlace::Userinfo, entitled, grant, subject));
    let mut members: Map<_, _> = by_scope.chain(by_name).map(|(name, value)| (name.to_owned(), value)).collect();
    if let Some(intent) = asked.and_then(|asked| asked.intent(ClaimsPlace::Userinfo)) {
        members.insert("openbanking_intent_id".into(), intent.clone());
    }
    members
}

/// Which scope covers a claim (§5.4); none for what says who the user is to the client, and how they were authenticated.
pub(super) fn scope_of(claim: &str) -> Option<&'static str> {
    match claim {
        "name" | "given_name" | "family_name" | "preferred_username" => Some("profile"),
        "email" | "email_verified" => Some("email"),
        _ => None,
    }
}

/// What is not known is left out, never null (§5.3.2).
pub(super) fn claim(name: &str, grant: &Grant, subject: &Subject) -> Option<Value> {
    let text = |value: &Option<String>| value.as_ref().map(|text| json!(text));
    match name {
        "name" => text(&subject.name),
        "given_name" => text(&subject.given_name),
        "family_name" => text(&subject.family_name),
        "preferred_username" => Some(json!(subject.username)),
        "email" => text(&subject.email),
        "email_verified" => subject.email.as_ref().map(|_| json!(subject.email_verified)),
        "acr" => grant.acr.as_ref().map(|acr| json!(acr)),
        "auth_time" => Some(json!(grant.auth_time.secs())),
        _ => None,
    }
}
