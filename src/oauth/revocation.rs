//! Revocation (RFC 7009): a client gives up a token of its own, with effect on the gateway's next request.

use super::form::Form;
use super::metadata::Endpoint;
use super::{Answer, AuthorizationServer, OAuthError, Request, RevocationStore, RevokedToken, SecretHash, StoreError};
use crate::authn::Revocations;
use crate::domain::Timestamp;

impl AuthorizationServer {
    /// Answers a revocation request. `token_type_hint` is not needed: an access token has full stops, a refresh token
    /// has none (§2.1). With a refresh token its grant ends, and all that came of it (§2.1).
    pub async fn revoke(&self, request: Request<'_>) -> Result<Answer<()>, OAuthError> {
        let now = self.parts.clock.now();
        let form = Form::parse(request.headers, request.body)?;
        let caller = self.authenticate_client(&request, &form, Endpoint::Revocation, now).await?;
        let token = form.get("token").ok_or(OAuthError::InvalidRequest("token is missing."))?;
        if !token.contains('.') {
            if let Some(grant) = self.parts.grants.find_by_refresh_token(SecretHash::of(token.as_bytes())).await? {
                if grant.client_id != caller.client.id {
                    return Err(OAuthError::TokenOfAnotherClient);
                }
                self.revoke_grant(&grant.id, now).await?;
            }
            return Ok(Answer { client: caller.client, body: (), fresh_nonce: None });
        }
        // RFC 7009 §2.2: a token that is unknown, malformed or expired is as good as revoked.
        let Ok(token) = self.own_token(token, now).await else {
            return Ok(Answer { client: caller.client, body: (), fresh_nonce: None });
        };
        if token.client_id != caller.client.id {
            return Err(OAuthError::TokenOfAnotherClient);
        }
        if let Some(jti) = token.jti {
            // In force first: if the store fails or this future is dropped, the token stays refused here, and the
            // client, who got no 200, asks again. The answer waits until the revocation is durable.
            if !self.parts.revocations.insert(&jti, token.expires_at) {
                return Err(StoreError::Full.into());
            }
            let revoked = RevokedToken { jti, expires_at: token.expires_at };
            self.parts.revocation_store.revoke(&revoked).await?;
        }
        Ok(Answer { client: caller.client, body: (), fresh_nonce: None })
    }
}

/// Fills the index at start, before the first request: a restart forgets no revocation.
pub async fn load_revocations(store: &dyn RevocationStore, index: &Revocations) -> Result<(), StoreError> {
    for token in store.load().await? {
        if !index.insert(&token.jti, token.expires_at) {
            return Err(StoreError::Full); // Better no start than one that forgets a revocation.
        }
    }
    Ok(())
}

/// Forgets revocations of tokens that expired before `now`. The server calls it every minute, with a time that it is
/// sure of.
pub async fn purge_revocations(
    store: &dyn RevocationStore,
    index: &Revocations,
    now: Timestamp,
) -> Result<(), StoreError> {
    index.purge(now);
    store.purge(now).await
}
