//! What a user granted a client, for as long as it lasts: what refresh tokens are about.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::client_authentication::Authenticated;
use super::form::Form;
use super::registration::SecretHash;
use super::{Approval, AuthorizationServer, GrantType, OAuthError, RequestedClaims, RevokedToken, StoreError};
use crate::domain::{ClientId, Random, ScopeSet, Timestamp};

/// Unguessable, and no credential: the first part of the `jti` of every access token of a grant, by which all of them
/// are revoked at once.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct GrantId(Arc<str>); // Invariant: 128 random bits in base64url, and so without a full stop.

impl GrantId {
    pub(super) fn random(random: &dyn Random) -> Self {
        Self(URL_SAFE_NO_PAD.encode(random.bytes::<16>()).into())
    }

    /// One that the store gives back.
    pub fn stored(text: &str) -> Self {
        Self(text.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GrantId({})", self.0)
    }
}

/// A grant.
#[derive(Debug, Clone, PartialEq)]
pub struct Grant {
    pub id: GrantId,
    pub client_id: ClientId,
    /// The user.
    pub subject: Arc<str>,
    pub scopes: ScopeSet,
    pub authorization_details: Vec<Value>,
    /// RFC 8707: the whole gateway, if there are none.
    pub resources: Vec<String>,
    /// What is told of the user beyond what goes without asking (OpenID Connect Core §5.5).
    pub claims: Option<RequestedClaims>,
    pub acr: Option<Arc<str>>,
    pub auth_time: Timestamp,
    pub created_at: Timestamp,
    /// Refresh tokens end with it.
    pub expires_at: Timestamp,
}

impl Grant {
    /// As much of it as its client may have now, which may have shrunk since the user approved. The grant itself stays as
    /// it was approved.
    pub(super) fn left_to(&self, caller: &Authenticated) -> Result<Self, OAuthError> {
        let scopes = self.scopes.intersection(&caller.client.scopes);
        let authorization_details = caller.registration.metadata.left_of(&self.authorization_details);
        let granted = !self.scopes.is_empty() || !self.authorization_details.is_empty();
        if granted && scopes.is_empty() && authorization_details.is_empty() {
            return Err(OAuthError::InvalidGrant("the client may have nothing of it any more"));
        }
        Ok(Self { scopes, authorization_details, ..self.clone() })
    }
}

/// Grants with a refresh token, durable. Tokens are known by their hash.
#[async_trait]
pub trait GrantStore: Send + Sync {
    async fn insert(&self, grant: &Grant, refresh_token: SecretHash) -> Result<(), StoreError>;
    async fn find_by_refresh_token(&self, refresh_token: SecretHash) -> Result<Option<Grant>, StoreError>;
    async fn find(&self, id: &GrantId) -> Result<Option<Grant>, StoreError>;
    /// Removes a grant and keeps `mark`, which is of its access tokens: both or neither, whatever happens in between.
    /// Repeating it is harmless.
    async fn end(&self, id: &GrantId, mark: &RevokedToken) -> Result<(), StoreError>;
    /// Removes all grants of a client, and tells which.
    async fn remove_of_client(&self, client: &ClientId) -> Result<Vec<GrantId>, StoreError>;
    /// Forgets what expired before `now`.
    async fn purge(&self, now: Timestamp) -> Result<(), StoreError>;
}

impl AuthorizationServer {
    /// What a user approved, as a grant of the client's from now on.
    pub(super) fn grant_of(
        &self,
        id: GrantId,
        caller: &Authenticated,
        approval: Approval,
        now: Timestamp,
    ) -> Result<Grant, OAuthError> {
        let grant = Grant {
            id,
            client_id: caller.client.id.clone(),
            subject: approval.subject,
            scopes: approval.scopes,
            authorization_details: approval.authorization_details,
            resources: Vec::new(),
            claims: None,
            acr: approval.acr,
            auth_time: approval.auth_time,
            created_at: now,
            expires_at: now.plus(self.settings.grant_lifetime),
        };
        self.check_in_force(&grant, now)?;
        Ok(grant)
    }

    /// Whether a grant still is one: it has not ended, and neither has its user's account.
    pub(super) fn check_in_force(&self, grant: &Grant, now: Timestamp) -> Result<(), OAuthError> {
        if grant.expires_at <= now || self.parts.revocations.contains(grant.id.as_str()) {
            return Err(OAuthError::InvalidGrant("the grant has ended"));
        }
        if self.parts.subjects.by_subject(&grant.subject).is_none() {
            return Err(OAuthError::InvalidGrant("the user is gone")); // Nobody speaks for them any more.
        }
        Ok(())
    }

    /// Keeps a grant and makes its refresh token: 256 bits, known to nobody but the client.
    pub(super) async fn keep_grant(&self, grant: &Grant, now: Timestamp) -> Result<String, OAuthError> {
        let token = URL_SAFE_NO_PAD.encode(self.parts.random.bytes::<32>());
        self.parts.grants.insert(grant, SecretHash::of(token.as_bytes())).await?;
        // RFC 6749 §4.1.2: its code came a second time meanwhile. `revoke_grant` sets the mark before it removes, and this
        // asks after it kept: whichever of the two statements is the later one removes the grant.
        if self.parts.revocations.contains(grant.id.as_str()) {
            self.revoke_grant(&grant.id, now).await?;
            return Err(OAuthError::InvalidGrant("the code was used twice at once"));
        }
        Ok(token)
    }

    /// The grant of a refresh token (RFC 6749 §6). The token stays as it is: FAPI 2.0 §5.3.2.1-9 forbids rotation.
    pub(super) async fn refresh(
        &self,
        form: &Form,
        caller: &Authenticated,
        now: Timestamp,
    ) -> Result<Grant, OAuthError> {
        if !caller.registration.may_use(GrantType::RefreshToken) {
            return Err(OAuthError::UnauthorizedClient);
        }
        let token = form.get("refresh_token").ok_or(OAuthError::InvalidRequest("refresh_token is missing."))?;
        let found = self.parts.grants.find_by_refresh_token(SecretHash::of(token.as_bytes())).await?;
        let grant = found.ok_or(OAuthError::InvalidGrant("the refresh token is unknown"))?;
        if grant.client_id != caller.client.id {
            return Err(OAuthError::InvalidGrant("the refresh token is another client's"));
        }
        self.check_in_force(&grant, now)?;
        Ok(grant)
    }

    /// Ends a grant: its refresh token, and every access token that came of it.
    pub(super) async fn revoke_grant(&self, grant: &GrantId, now: Timestamp) -> Result<(), OAuthError> {
        // In force first: see `revoke`. If the grant stays, because the store fails or this future is dropped, and nobody
        // asks again, it is refused for as long as it could last.
        if !self.parts.revocations.insert(grant.as_str(), now.plus(self.settings.grant_lifetime)) {
            return Err(StoreError::Full.into());
        }
        let expires_at = now.plus(super::ACCESS_TOKEN_LIFETIME_MAX);
        // At once: a grant without a mark would leave access tokens after a restart, a mark beside its grant a refresh token
        // that comes back when the mark ends.
        self.parts.grants.end(grant, &RevokedToken { jti: grant.as_str().to_owned(), expires_at }).await?;
        // There is room: it is there already.
        let _shorter = self.parts.revocations.insert(grant.as_str(), expires_at);
        Ok(())
    }
}
