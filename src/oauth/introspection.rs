//! Introspection (RFC 7662): is this token of ours in force, and what does it say?
//!
//! Registered resource servers may ask about every token. Any other client may ask about its own, which tells it no
//! more than it holds already, and about its own refresh tokens; to everything else the answer is that the token is
//! not active (§2.2).

use http::HeaderMap;
use http::header::ACCEPT;
use serde::Serialize;
use serde_json::{Value, json};

use super::client_authentication::{Authenticated, check_active};
use super::form::Form;
use super::metadata::Endpoint;
use super::token_endpoint::token_type;
use super::{Answer, AuthorizationServer, Grant, OAuthError, Request, SecretHash};
use crate::authn::{AuthnError, Binding, VerifiedToken};
use crate::domain::Timestamp;
use crate::jose::UnverifiedToken;

/// Of a signed answer.
const JWT_MEDIA_TYPE: &str = "application/token-introspection+jwt";

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
    pub aud: Option<OneOrSeveral>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub iss: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub jti: Option<String>,
    /// RFC 9396 §9.2.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub authorization_details: Option<Value>,
    /// How the user proved who they are (RFC 9470 §6.2).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub acr: Option<String>,
    /// When they did. Seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub auth_time: Option<i64>,
    /// RFC 8705 §3.2, RFC 9449 §6.2.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub cnf: Option<Confirmation>,
}

/// As RFC 7519 §4.1.3 has `aud`.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(untagged)]
pub enum OneOrSeveral {
    One(String),
    Several(Vec<String>),
}

impl OneOrSeveral {
    fn of(mut names: Vec<String>) -> Self {
        if names.len() == 1 { Self::One(names.remove(0)) } else { Self::Several(names) }
    }
}

/// To what a token is bound: one of the two.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Confirmation {
    /// SHA-256 of the certificate, base64url.
    #[serde(rename = "x5t#S256", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub x5t_s256: Option<String>,
    /// Thumbprint of the DPoP key (RFC 7638).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub jkt: Option<String>,
}

/// An answer in the form that was asked for.
#[derive(Debug)]
pub enum Introspected {
    Plain(Box<IntrospectionResponse>),
    /// A JWT, `application/token-introspection+jwt` (RFC 9701 §5).
    Signed(String),
}

impl AuthorizationServer {
    /// Answers an introspection request. Signed, if the client asks for that by `Accept` or registered it (RFC 9701 §4, §6).
    pub async fn introspect(&self, request: Request<'_>) -> Result<Answer<Introspected>, OAuthError> {
        let now = self.parts.clock.now();
        let form = Form::parse(request.headers, request.body)?;
        let asked = accepts_jwt(request.headers);
        let caller = match self.authenticate_client(&request, &form, Endpoint::Introspection, now).await {
            Err(OAuthError::InvalidClient(why)) if asked => return Err(OAuthError::UnauthenticatedForJwt(why)),
            other => other?,
        };
        let token = form.get("token").ok_or(OAuthError::InvalidRequest("token is missing."))?;
        let answer = self.look_at(token, &caller, now).await?;
        let body = if asked || caller.registration.metadata.introspection_signed {
            Introspected::Signed(self.signed_introspection(&answer, &caller, now)?)
        } else {
            Introspected::Plain(Box::new(answer))
        };
        Ok(Answer { client: caller.client, body, fresh_nonce: None })
    }

    async fn look_at(
        &self,
        token: &str,
        caller: &Authenticated,
        now: Timestamp,
    ) -> Result<IntrospectionResponse, OAuthError> {
        if !token.contains('.') {
            return self.look_at_refresh_token(token, caller, now).await;
        }
        Ok(match self.own_token(token, now).await {
            Ok(token) if self.may_learn(caller, &token) => self.describe(&token),
            Ok(_) | Err(_) => IntrospectionResponse::default(),
        })
    }

    /// A refresh token is its own client's affair: a resource server that takes one for an access token must be wrong.
    async fn look_at_refresh_token(
        &self,
        token: &str,
        caller: &Authenticated,
        now: Timestamp,
    ) -> Result<IntrospectionResponse, OAuthError> {
        let found = self.parts.grants.find_by_refresh_token(SecretHash::of(token.as_bytes())).await?;
        let in_force = |grant: &Grant| grant.client_id == caller.client.id && self.check_in_force(grant, now).is_ok();
        // What refreshing would bring.
        let left = found.filter(in_force).and_then(|grant| grant.left_to(caller).ok());
        let Some(grant) = left else { return Ok(IntrospectionResponse::default()) };
        Ok(IntrospectionResponse {
            active: true,
            scope: (!grant.scopes.is_empty()).then(|| grant.scopes.to_string()),
            client_id: Some(grant.client_id.to_string()),
            exp: Some(grant.expires_at.secs()),
            iat: Some(grant.created_at.secs()),
            sub: Some(self.subject_for(&caller.registration, &grant.subject)),
            iss: Some(self.settings.issuer.clone()),
            ..IntrospectionResponse::default()
        })
    }

    /// RFC 9701 §5. Without `sub` and `exp` of its own, so that it can never pass as an access token.
    fn signed_introspection(
        &self,
        answer: &IntrospectionResponse,
        caller: &Authenticated,
        now: Timestamp,
    ) -> Result<String, OAuthError> {
        let claims = json!({
            "iss": self.settings.issuer,
            "aud": caller.client.id.as_str(),
            "iat": now.secs(),
            "token_introspection": answer,
        });
        self.parts.keys.current().sign("token-introspection+jwt", &claims).map_err(OAuthError::Signing)
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
        let cnf = token.binding.map(|binding| match binding {
            Binding::Certificate(thumbprint) => Confirmation { x5t_s256: Some(thumbprint.to_string()), jkt: None },
            Binding::DpopKey(thumbprint) => Confirmation { x5t_s256: None, jkt: Some(thumbprint.to_string()) },
        });
        IntrospectionResponse {
            active: true,
            scope: (!token.scopes.is_empty()).then(|| token.scopes.to_string()),
            client_id: Some(token.client_id.to_string()),
            tenant: token.tenant.as_ref().map(ToString::to_string),
            token_type: Some(token_type(token.binding)),
            exp: Some(token.expires_at.secs()),
            iat: token.issued_at.map(Timestamp::secs),
            sub: token.subject.clone(),
            aud: Some(OneOrSeveral::of(token.audience(&self.settings.resource))),
            iss: Some(token.issuer.to_string()),
            jti: token.jti.clone(),
            // It is JSON that we parsed and wrote again: it parses.
            authorization_details: token
                .authorization_details
                .as_ref()
                .and_then(|details| serde_json::from_str(&details.json).ok()),
            acr: token.acr.as_deref().map(str::to_owned),
            auth_time: token.auth_time.map(Timestamp::secs),
            cnf,
        }
    }
}

/// RFC 9701 §4: whether the signed answer is named, and no less wanted than the plain one (RFC 9110 §12.5.1). A range with a
/// wildcard names neither: it takes what there is.
fn accepts_jwt(headers: &HeaderMap) -> bool {
    let fields = headers.get_all(ACCEPT).iter().filter_map(|field| field.to_str().ok());
    let (mut signed, mut plain) = (None, 0);
    for range in fields.flat_map(|field| field.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let quality = parts.find_map(|part| quality(part.strip_prefix(['q', 'Q'])?.trim_start().strip_prefix('=')?));
        let quality = quality.unwrap_or(1000);
        if name.eq_ignore_ascii_case(JWT_MEDIA_TYPE) {
            signed = Some(quality);
        } else if name.eq_ignore_ascii_case("application/json") {
            plain = quality;
        }
    }
    signed.is_some_and(|signed| signed > 0 && signed >= plain)
}

/// A weight in thousandths (RFC 9110 §12.4.2); `None` if it is none.
fn quality(text: &str) -> Option<u16> {
    let (whole, fraction) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
    let digits = fraction.len() <= 3 && fraction.bytes().all(|byte| byte.is_ascii_digit());
    let thousandths = format!("{fraction:0<3}").parse::<u16>().ok().filter(|_| digits)?;
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_answer_is_the_one_that_is_wanted_more() {
        for (accept, signed) in [
            ("application/token-introspection+jwt", true),
            ("application/json", false),
            ("*/*", false),
            ("application/*", false),
            ("application/json, application/token-introspection+jwt", true),
            ("application/token-introspection+jwt;q=0.5, application/json", false),
            ("application/token-introspection+jwt;q=0.5, application/json;q=0.4", true),
            ("Application/Token-Introspection+JWT; q=0.5, application/json; q=0.05", true),
            ("application/token-introspection+jwt;q=0", false),
            ("application/token-introspection+jwt;q=0.000", false),
            ("application/token-introspection+jwt;q=0.001, */*", true),
            ("application/token-introspection+jwt;q=x", true),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))]);
            assert_eq!(accepts_jwt(&headers), signed, "{accept}");
        }
    }
}
