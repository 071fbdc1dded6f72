//! The token endpoint (RFC 6749 §3.2): client credentials become an RFC 9068 access token.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde_json::{Value, json};

use super::client_authentication::Authenticated;
use super::form::Form;
use super::{Answer, AuthorizationServer, OAuthError, Request};
use crate::domain::{Connection, ScopeSet, Thumbprint, Timestamp};

/// The body of a successful answer (RFC 6749 §5.1).
#[derive(Serialize, utoipa::ToSchema)]
pub struct TokenResponse {
    /// An RFC 9068 JWT; opaque to clients.
    pub access_token: String,
    /// `Bearer`, also for certificate-bound tokens (RFC 8705 §3).
    #[schema(example = "Bearer")]
    pub token_type: &'static str,
    /// Seconds.
    #[schema(example = 300)]
    pub expires_in: u64,
    /// What was granted, space-delimited; absent if it is nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "accounts")]
    pub scope: Option<String>,
    /// How the client authenticated; not told.
    #[serde(skip)]
    pub method: &'static str,
}

// Not derived: the token would be in it.
impl std::fmt::Debug for TokenResponse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenResponse").field("scope", &self.scope).finish_non_exhaustive()
    }
}

impl AuthorizationServer {
    /// Answers a token request: form, client, grant, binding, scope and resource, then the token.
    pub async fn token(&self, request: Request<'_>) -> Result<Answer<TokenResponse>, OAuthError> {
        let now = self.parts.clock.now();
        let form = Form::parse(request.headers, request.body)?;
        let caller = self.authenticate_client(&request, &form, now).await?;
        match form.get("grant_type") {
            Some("client_credentials") => {}
            // FAPI 2.0 §5.3.2.1-2: `password` above all.
            Some(_) => return Err(OAuthError::UnsupportedGrantType),
            None => return Err(OAuthError::InvalidRequest("grant_type is missing.")),
        }
        let bound_to = binding(&caller, request.connection)?;
        let scopes = narrow(&form, &caller.client.scopes)?;
        // RFC 8707 §2: there is one resource, and who asks for another gets nothing.
        if form.all("resource").any(|resource| resource != self.settings.resource) {
            return Err(OAuthError::InvalidTarget);
        }
        let body = self.mint(&caller, &scopes, bound_to, now)?;
        Ok(Answer { client: caller.client, body })
    }

    fn mint(
        &self,
        caller: &Authenticated,
        scopes: &ScopeSet,
        bound_to: Option<Thumbprint>,
        now: Timestamp,
    ) -> Result<TokenResponse, OAuthError> {
        let lifetime = self.settings.access_token_lifetime.as_secs();
        let client = &caller.client;
        // 128 bits (FAPI 2.0 §5.4.1-4); revocation goes by it.
        let jti = URL_SAFE_NO_PAD.encode(self.parts.random.bytes::<16>());
        let mut claims = json!({
            "iss": self.settings.issuer,
            "sub": client.id.as_str(), // RFC 9068 §2.2: no resource owner, so the client itself.
            "aud": self.settings.resource,
            "client_id": client.id.as_str(),
            "tenant": client.tenant.id.as_str(),
            "iat": now.secs(),
            "exp": now.secs().saturating_add_unsigned(lifetime),
            "jti": jti,
        });
        if let Value::Object(members) = &mut claims {
            if !scopes.is_empty() {
                members.insert("scope".into(), scopes.to_string().into());
            }
            if let Some(thumbprint) = bound_to {
                members.insert("cnf".into(), json!({ "x5t#S256": thumbprint.to_string() })); // RFC 8705 §3.1
            }
        }
        let access_token = self.parts.keys.current().sign("at+jwt", &claims).map_err(OAuthError::Signing)?;
        let scope = (!scopes.is_empty()).then(|| scopes.to_string());
        let method = caller.registration.authentication.method();
        Ok(TokenResponse { access_token, token_type: "Bearer", expires_in: lifetime, scope, method })
    }
}

/// RFC 8705 §3.4 leaves it to the server what happens when a client that is registered for bound tokens comes without
/// a certificate: an unbound token would be weaker than what was agreed, so it is an error.
fn binding(caller: &Authenticated, connection: &Connection) -> Result<Option<Thumbprint>, OAuthError> {
    if !caller.registration.certificate_bound_access_tokens {
        return Ok(None);
    }
    match connection.certificate.as_deref() {
        Some(certificate) => Ok(Some(certificate.thumbprint)),
        None => Err(OAuthError::InvalidRequest(
            "The client is registered for certificate-bound tokens. Use the token endpoint among mtls_endpoint_aliases.",
        )),
    }
}

/// RFC 6749 §3.3: what was asked for, if the client may have all of it; all it may have, if nothing was asked for.
fn narrow(form: &Form, entitled: &ScopeSet) -> Result<ScopeSet, OAuthError> {
    let Some(text) = form.get("scope") else { return Ok(entitled.clone()) };
    let requested = ScopeSet::parse(text).map_err(|_| OAuthError::InvalidScope)?;
    if requested.is_subset(entitled) { Ok(requested) } else { Err(OAuthError::InvalidScope) }
}
