//! Userinfo (OpenID Connect Core §5.3): what a client may know of the user who let it in.

use serde_json::{Map, Value, json};

use super::id_token::intent;
use super::{AuthorizationServer, Grant, GrantId, StoreError, Subject};
use crate::authn::VerifiedToken;
use crate::domain::{ScopeSet, Timestamp};

/// Of users, for metadata and for the `claims` parameter.
pub(super) const CLAIMS_SUPPORTED: [&str; 9] =
    ["sub", "name", "given_name", "family_name", "preferred_username", "email", "email_verified", "acr", "auth_time"];
const PROFILE: [&str; 4] = ["name", "given_name", "family_name", "preferred_username"];
const EMAIL: [&str; 2] = ["email", "email_verified"];

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

/// What of a user is asked for by name (§5.5), and may be told to a client that is entitled to these scopes: a claim that a
/// scope covers (§5.4) is for those who may have the scope.
pub(super) fn asked_by_name(claims: Option<&Map<String, Value>>, entitled: &ScopeSet) -> Vec<&'static str> {
    let asked = claims.and_then(|claims| claims.get("userinfo")).and_then(Value::as_object);
    let covered = |name: &&str| match *name {
        name if PROFILE.contains(&name) => entitled.contains("profile"),
        name if EMAIL.contains(&name) => entitled.contains("email"),
        _ => true,
    };
    let named = |name: &&str| asked.is_some_and(|asked| asked.contains_key(*name));
    CLAIMS_SUPPORTED.into_iter().filter(named).filter(covered).collect()
}

/// By the scopes of the token (§5.4), and by the `claims` parameter of the grant (§5.5).
fn claims(token: &VerifiedToken, grant: &Grant, entitled: &ScopeSet, subject: &Subject) -> Map<String, Value> {
    let by_scope = |scope: &str, names: &[&'static str]| {
        if token.scopes.contains(scope) { names.to_vec() } else { Vec::new() }
    };
    let mut names = [by_scope("profile", &PROFILE), by_scope("email", &EMAIL)].concat();
    names.extend(asked_by_name(grant.claims.as_ref(), entitled));
    let mut members = Map::new();
    for name in names {
        if let Some(value) = claim(name, grant, subject) {
            members.insert(name.to_owned(), value);
        }
    }
    if let Some(intent) = intent(grant, "userinfo") {
        members.insert("openbanking_intent_id".into(), intent.clone());
    }
    members
}

/// What is not known is left out, never null (§5.3.2).
fn claim(name: &str, grant: &Grant, subject: &Subject) -> Option<Value> {
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
