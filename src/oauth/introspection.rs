//! Introspection (RFC 7662): is this token of ours in force, and what does it say?
//!
//! Registered resource servers may ask about every token. Any other client may ask about its own, which tells it no
//! more than it holds already; to everything else the answer is that the token is not active (§2.2).

use serde::Serialize;

use super::client_authentication::{Authenticated, check_active};
use super::form::Form;
use super::{Answer, AuthorizationServer, OAuthError, Request};
use crate::authn::{AuthnError, Binding, VerifiedToken};
use crate::domain::Timestamp;
use crate::jose::UnverifiedToken;

/// RFC 7662 §2.2. A token that is not active says nothing else.
#[derive(Debug, Default, Serialize, utoipa::ToSchema)]
pub struct IntrospectionResponse {
    pub active: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub scope: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub client_id: Option<String>,
    /// The tenant to which the client belongs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub tenant: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub token_type: Option<&'static str>,
    /// Seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub exp: Option<i64>,
    /// Seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub iat: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub sub: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub aud: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub iss: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub jti: Option<String>,
    /// RFC 8705 §3.2.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub cnf: Option<Confirmation>,
}

/// The certificate to which a token is bound.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Confirmation {
    /// SHA-256 of the certificate, base64url.
    #[serde(rename = "x5t#S256")]
    pub x5t_s256: String,
}

impl AuthorizationServer {
    /// Answers an introspection request.
    pub async fn introspect(&self, request: Request<'_>) -> Result<Answer<IntrospectionResponse>, OAuthError> {
        let now = self.parts.clock.now();
        let form = Form::parse(request.headers, request.body)?;
        let caller = self.authenticate_client(&request, &form, now).await?;
        let token = form.get("token").ok_or(OAuthError::InvalidRequest("token is missing."))?;
        let body = match self.own_token(token, now).await {
            Ok(token) if self.may_learn(&caller, &token) => self.describe(&token),
            Ok(_) | Err(_) => IntrospectionResponse::default(),
        };
        Ok(Answer { client: caller.client, body, fresh_nonce: None })
    }

    /// Verifies an access token that we issued, whoever presents it.
    pub(super) async fn own_token(&self, token: &str, now: Timestamp) -> Result<VerifiedToken, AuthnError> {
        let unverified = UnverifiedToken::parse(token).map_err(AuthnError::Malformed)?;
        self.parts.issuer.verify(unverified, now).await
    }

    fn may_learn(&self, caller: &Authenticated, token: &VerifiedToken) -> bool {
        let revoked = token.jti.as_deref().is_some_and(|jti| self.parts.revocations.covers(jti));
        let owner = self.parts.clients.find(&token.client_id);
        let owner_active = owner.is_some_and(|(client, _)| check_active(&client).is_ok());
        let allowed = caller.registration.resource_server || token.client_id == caller.client.id;
        allowed && owner_active && !revoked
    }

    fn describe(&self, token: &VerifiedToken) -> IntrospectionResponse {
        let cnf = match token.binding {
            Some(Binding::Certificate(thumbprint)) => Some(Confirmation { x5t_s256: thumbprint.to_string() }),
            // We issue no token that is bound to a DPoP key.
            Some(Binding::DpopKey(_)) | None => None,
        };
        IntrospectionResponse {
            active: true,
            scope: (!token.scopes.is_empty()).then(|| token.scopes.to_string()),
            client_id: Some(token.client_id.to_string()),
            tenant: token.tenant.as_ref().map(ToString::to_string),
            token_type: Some("Bearer"),
            exp: Some(token.expires_at.secs()),
            iat: token.issued_at.map(Timestamp::secs),
            sub: token.subject.clone(),
            aud: Some(self.settings.resource.clone()),
            iss: Some(token.issuer.to_string()),
            jti: token.jti.clone(),
            cnf,
        }
    }
}
