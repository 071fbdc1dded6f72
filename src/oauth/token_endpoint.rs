//! The token endpoint (RFC 6749 §3.2): a grant becomes an RFC 9068 access token, and what belongs to it.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde_json::{Value, json};

use super::authorization_details::narrow;
use super::authorization_request::scopes;
use super::client_authentication::Authenticated;
use super::form::Form;
use super::grant::{Grant, GrantId};
use super::metadata::Endpoint;
use super::sender::Sender;
use super::{Answer, AuthorizationServer, GrantType, OAuthError, Request};
use crate::authn::Binding;
use crate::domain::{ScopeSet, Timestamp};

/// The body of a successful answer (RFC 6749 §5.1).
#[derive(Serialize, utoipa::ToSchema)]
pub struct TokenResponse {
    /// An RFC 9068 JWT; opaque to clients.
    pub access_token: String,
    /// `DPoP` for tokens bound to a key (RFC 9449 §5), else `Bearer`, also for certificate-bound ones (RFC 8705 §3).
    #[schema(example = "Bearer")]
    pub token_type: &'static str,
    /// Seconds.
    #[schema(example = 300)]
    pub expires_in: u64,
    /// What was granted, space-delimited; absent if it is nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "accounts")]
    pub scope: Option<String>,
    /// Opaque, bound to the client, and the same for as long as the grant lasts (FAPI 2.0 §5.3.2.1-9).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub refresh_token: Option<String>,
    /// Seconds until the grant ends, and its refresh token with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub refresh_token_expires_in: Option<u64>,
    /// OpenID Connect Core §3.1.3.3, if `openid` was granted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub id_token: Option<String>,
    /// What was granted (RFC 9396 §7); absent if it is nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub authorization_details: Vec<Value>,
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

/// What an access token says, beyond who issued it, to whom and until when.
pub(super) struct Terms<'a> {
    /// The user, or the client itself (RFC 9068 §2.2).
    pub subject: &'a str,
    /// What it is for: the whole gateway, if there are none.
    pub resources: &'a [String],
    pub scopes: &'a ScopeSet,
    pub authorization_details: &'a [Value],
    pub bound_to: Option<Binding>,
    /// The grant that it belongs to, for tokens that speak for a user.
    pub grant: Option<&'a Grant>,
}

/// A token request whose client and sender are known.
struct Exchange<'a> {
    form: &'a Form,
    caller: &'a Authenticated,
    bound_to: Option<Binding>,
    /// What it names; each is one of ours.
    resources: Vec<String>,
    now: Timestamp,
}

impl AuthorizationServer {
    /// Answers a token request: form, client, proof of the sender, grant, scope and resource, then the token.
    pub async fn token(&self, request: Request<'_>) -> Result<Answer<TokenResponse>, OAuthError> {
        let now = self.parts.clock.now();
        let form = Form::parse(request.headers, request.body)?;
        let caller = self.authenticate_client(&request, &form, Endpoint::Token, now).await?;
        let grant_type = match form.get("grant_type") {
            // FAPI 2.0 §5.3.2.1-2: `password` above all.
            Some(text) => GrantType::parse(text).ok_or(OAuthError::UnsupportedGrantType)?,
            None => return Err(OAuthError::InvalidRequest("grant_type is missing.")),
        };
        if !caller.registration.may_use(grant_type) {
            return Err(OAuthError::UnauthorizedClient);
        }
        let Sender { bound_to, fresh_nonce } = self.sender(&request, &caller.registration, now)?;
        let exchange = Exchange { resources: self.resources(&form)?, form: &form, caller: &caller, bound_to, now };
        let body = match grant_type {
            GrantType::ClientCredentials => self.client_credentials(&exchange)?,
            GrantType::AuthorizationCode => {
                let (grant, request) = self.redeem_code(&form, &caller, bound_to, now).await?;
                self.first_tokens(&exchange, &grant, request.nonce.as_deref()).await?
            }
            GrantType::RefreshToken => {
                let grant = self.refresh(&form, &caller, now).await?;
                // OpenID Connect Core §12.2: a further ID token says when the user signed in, as the first one did.
                self.mint_for(&exchange, &grant, None)?
            }
            GrantType::Ciba => {
                let grant = self.redeem_backchannel(&form, &caller, now)?;
                // The claim by which push mode names the request has no place in what a client fetches (CIBA Core §10.3.1).
                self.first_tokens(&exchange, &grant, None).await?
            }
        };
        Ok(Answer { client: caller.client, body, fresh_nonce })
    }

    /// RFC 6749 §4.4. Without a refresh token (§4.4.3).
    fn client_credentials(&self, exchange: &Exchange<'_>) -> Result<TokenResponse, OAuthError> {
        let Exchange { form, caller, .. } = *exchange;
        // A client alone is nobody's delegate: there is no identity to ask for.
        let entitled = without_openid(&caller.client.scopes);
        let scopes = scopes(form, &entitled)?;
        let details = self.settings.detail_types.check(form, &caller.registration.metadata)?;
        let terms = Terms {
            subject: caller.client.id.as_str(),
            resources: &exchange.resources,
            scopes: &scopes,
            authorization_details: &details,
            bound_to: exchange.bound_to,
            grant: None,
        };
        self.mint(caller, &terms, exchange.now)
    }

    /// What a new grant is worth (RFC 6749 §4.1.4, CIBA Core §10.1.1).
    async fn first_tokens(
        &self,
        exchange: &Exchange<'_>,
        grant: &Grant,
        nonce: Option<&str>,
    ) -> Result<TokenResponse, OAuthError> {
        let mut body = self.mint_for(exchange, grant, nonce)?;
        self.add_refresh_token(&mut body, exchange, grant).await?;
        Ok(body)
    }

    /// A refresh token, for clients that may use one. Durable before it is told. A grant without one lasts as long as
    /// its access token, for userinfo.
    async fn add_refresh_token(
        &self,
        body: &mut TokenResponse,
        exchange: &Exchange<'_>,
        grant: &Grant,
    ) -> Result<(), OAuthError> {
        if exchange.caller.registration.may_use(GrantType::RefreshToken) {
            body.refresh_token = Some(self.keep_grant(grant, exchange.now).await?);
            body.refresh_token_expires_in = Some(grant.expires_at.since(grant.created_at).as_secs());
        } else if grant.scopes.contains("openid") {
            let expires_at = grant.created_at.plus(self.settings.access_token_lifetime);
            self.keep_grant(&Grant { expires_at, ..grant.clone() }, exchange.now).await?; // Its refresh token is told to nobody.
        }
        Ok(())
    }

    /// An access token that speaks for a user, with as much of the grant as the request wants (RFC 6749 §6, RFC 9396 §6,
    /// RFC 8707 §2.2), and an ID token if it has the scope `openid`.
    fn mint_for(
        &self,
        exchange: &Exchange<'_>,
        grant: &Grant,
        nonce: Option<&str>,
    ) -> Result<TokenResponse, OAuthError> {
        let Exchange { form, caller, now, .. } = *exchange;
        let grant = &grant.left_to(caller)?;
        let scopes = scopes(form, &grant.scopes)?;
        let details = narrow(form, &grant.authorization_details)?;
        let resources = self.narrowed(&grant.resources, &exchange.resources)?;
        let subject = self.subject_for(&caller.registration, &grant.subject);
        let terms = Terms {
            subject: &subject,
            resources: &resources,
            scopes: &scopes,
            authorization_details: &details,
            bound_to: exchange.bound_to,
            grant: Some(grant),
        };
        let mut body = self.mint(caller, &terms, now)?;
        if scopes.contains("openid") {
            body.id_token = Some(self.id_token(caller, grant, nonce, &body.access_token, now)?);
        }
        Ok(body)
    }

    fn mint(&self, caller: &Authenticated, terms: &Terms<'_>, now: Timestamp) -> Result<TokenResponse, OAuthError> {
        let usual = self.settings.access_token_lifetime;
        let own = caller.registration.metadata.access_token_lifetime;
        let lifetime = own.map_or(usual, |own| own.min(usual)).as_secs();
        let lifetime = caller.registration.profile.access_token_secs().map_or(lifetime, |(_, most)| lifetime.min(most));
        // No token outlives the grant that it is of.
        let lifetime = terms.grant.map_or(lifetime, |grant| lifetime.min(grant.expires_at.since(now).as_secs()));
        let client = &caller.client;
        let mut claims = json!({
            "iss": self.settings.issuer,
            "sub": terms.subject,
            "aud": self.audience(terms.resources),
            "client_id": client.id.as_str(),
            "tenant": client.tenant.id.as_str(),
            "iat": now.secs(),
            "exp": now.secs().saturating_add_unsigned(lifetime),
            "jti": self.jti(terms.grant.map(|grant| &grant.id)),
        });
        if let Value::Object(members) = &mut claims {
            if !terms.scopes.is_empty() {
                members.insert("scope".into(), terms.scopes.to_string().into());
            }
            if let Some(binding) = terms.bound_to {
                members.insert("cnf".into(), confirmation(binding));
            }
            if !terms.authorization_details.is_empty() {
                members.insert("authorization_details".into(), terms.authorization_details.into()); // RFC 9396 §9.1
            }
            if let Some(grant) = terms.grant {
                members.insert("auth_time".into(), grant.auth_time.secs().into()); // RFC 9470 §6.1
                if let Some(acr) = &grant.acr {
                    members.insert("acr".into(), (**acr).into());
                }
            }
        }
        let access_token = self.parts.keys.current().sign("at+jwt", &claims).map_err(OAuthError::Signing)?;
        Ok(TokenResponse {
            access_token,
            token_type: token_type(terms.bound_to),
            expires_in: lifetime,
            scope: (!terms.scopes.is_empty()).then(|| terms.scopes.to_string()),
            refresh_token: None,
            refresh_token_expires_in: None,
            id_token: None,
            authorization_details: terms.authorization_details.to_vec(),
            method: caller.registration.authentication.method(),
        })
    }

    /// 128 bits (FAPI 2.0 §5.4.1-4); revocation goes by it, or by the grant that stands before the full stop.
    fn jti(&self, grant: Option<&GrantId>) -> String {
        let own = URL_SAFE_NO_PAD.encode(self.parts.random.bytes::<16>());
        match grant {
            Some(grant) => format!("{grant}.{own}"),
            None => own,
        }
    }
}

/// RFC 7800 `cnf`.
pub(super) fn confirmation(binding: Binding) -> Value {
    match binding {
        Binding::Certificate(thumbprint) => json!({ "x5t#S256": thumbprint.to_string() }), // RFC 8705 §3.1
        Binding::DpopKey(thumbprint) => json!({ "jkt": thumbprint.to_string() }),          // RFC 9449 §6.1
    }
}

pub(super) const fn token_type(binding: Option<Binding>) -> &'static str {
    match binding {
        Some(Binding::DpopKey(_)) => "DPoP",
        Some(Binding::Certificate(_)) | None => "Bearer",
    }
}

fn without_openid(scopes: &ScopeSet) -> Cow<'_, ScopeSet> {
    if scopes.contains("openid") {
        Cow::Owned(scopes.iter().filter(|scope| scope.as_str() != "openid").cloned().collect())
    } else {
        Cow::Borrowed(scopes)
    }
}
