//! What a client asks of a user who is elsewhere (CIBA Core §7.1, FAPI-CIBA §5.2.2): plain, or signed.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use serde_json::Value;

use super::assertion::JTI_BYTES_MAX;
use super::authorization_request::scopes;
use super::client_authentication::Authenticated;
use super::form::Form;
use super::pushed::BESIDE_A_REQUEST_OBJECT;
use super::request_object::ClientJwt;
use super::{
    AuthorizationServer, BackchannelError, CibaDelivery, ClaimsPlace, GrantType, OAuthError, RequestedAcr,
    RequestedClaims, Subject, SubjectType,
};
use crate::domain::{ScopeSet, Timestamp};

/// Longest wait that a client may ask for.
pub const BACKCHANNEL_LIFETIME_MAX: Duration = Duration::from_mins(30);
/// People compare it on two screens.
const BINDING_MESSAGE_CHARS_MAX: usize = 100;
const HINT_BYTES_MAX: usize = 512;
/// CIBA Core §7.1.1: these claims are required; whatever is wrong is `invalid_request` (§13).
const SIGNED: ClientJwt = ClientJwt {
    refuse: OAuthError::InvalidRequest,
    typ: "oauth-authz-req+jwt",
    required: &["iss", "iat", "jti"],
    registered: |signing| signing.backchannel_requests,
};
/// CIBA Core §7.1 leaves its form to the server: what is wrong with one is said in one sentence.
const LOGIN_HINT: ClientJwt = ClientJwt {
    refuse: |_| {
        OAuthError::InvalidRequest(
            "login_hint_token is not a JWT of the client with iss, aud, exp and a sub_id of the format opaque.",
        )
    },
    typ: "JWT", // There is no other name for its kind: with one it is of another kind.
    required: &["iss"],
    registered: |_| None,
};
/// CIBA Core §7.1: 1,024 characters at most, 128 bits at least, which are 22 characters of base64url.
const NOTIFICATION_TOKEN_BYTES: std::ops::RangeInclusive<usize> = 22..=1024;

/// A checked request. Invariant: made by [`AuthorizationServer::check_backchannel`] alone.
pub struct BackchannelRequest {
    /// Who is asked.
    pub subject: Arc<Subject>,
    pub scopes: ScopeSet,
    /// What their approval is worth: of the classes that were asked for the first that they satisfy.
    pub acr: Arc<str>,
    /// Shown to the user on both devices.
    pub binding_message: Option<String>,
    /// Each has passed its type's schema (RFC 9396 §5).
    pub authorization_details: Vec<Value>,
    /// RFC 8707: the whole gateway, if there are none.
    pub resources: Vec<String>,
    /// OpenID Connect Core §5.5.
    pub claims: Option<RequestedClaims>,
    pub(super) lifetime: Duration,
    pub(super) ping: Option<Ping>,
}

/// Where and by which token the client wants to be called (CIBA Core §10.2).
pub(super) struct Ping {
    pub(super) endpoint: Arc<str>,
    pub(super) token: SecretString,
}

/// A signed request's mark against replay.
pub(super) struct Mark {
    jti: String,
    expires_at: Timestamp,
}

impl AuthorizationServer {
    /// CIBA Core §7.2, in its order. The client has authenticated. Leaves no trace, but for the mark of a signed request.
    pub(super) async fn check_backchannel(
        &self,
        form: &Form,
        caller: &Authenticated,
        now: Timestamp,
    ) -> Result<BackchannelRequest, OAuthError> {
        let registration = &caller.registration;
        let delivery = registration.metadata.ciba.as_ref().filter(|_| registration.may_use(GrantType::Ciba));
        let delivery = delivery.ok_or(OAuthError::UnauthorizedClient)?;
        let (signed, mark) = match form.get("request") {
            Some(object) => {
                // CIBA Core §7.1.1: parameters stand within, and nowhere else.
                if form.names().any(|name| !BESIDE_A_REQUEST_OBJECT.contains(&name)) {
                    return Err(OAuthError::InvalidRequest("Parameters stand beside the signed request."));
                }
                let (signed, mark) = self.signed_backchannel(object, caller, now).await?;
                (Some(signed), Some(mark))
            }
            // FAPI-CIBA §5.2.2-6, by profile.
            None if registration.must_sign_requests() => {
                return Err(OAuthError::InvalidRequest("The request must be signed."));
            }
            None => (None, None),
        };
        let request = self.backchannel_parameters(signed.as_ref().unwrap_or(form), caller, delivery, now).await?;
        // Last, because it is the only check with an effect. Marks of assertions are other marks.
        if let Some(Mark { jti, expires_at }) = mark
            && !self.parts.replay.mark(&caller.client.id, &format!("ciba:{jti}"), expires_at, now).await?
        {
            return Err(OAuthError::InvalidRequest("The signed request was used before."));
        }
        Ok(request)
    }

    async fn backchannel_parameters(
        &self,
        parameters: &Form,
        caller: &Authenticated,
        delivery: &CibaDelivery,
        now: Timestamp,
    ) -> Result<BackchannelRequest, OAuthError> {
        if parameters.get("scope").is_none() {
            return Err(OAuthError::InvalidRequest("scope is missing."));
        }
        let scopes = scopes(parameters, &caller.client.scopes)?;
        if !scopes.contains("openid") {
            return Err(OAuthError::InvalidScope); // CIBA Core §7.1
        }
        if caller.registration.profile.refuses_id_token_hint() && parameters.get("id_token_hint").is_some() {
            return Err(OAuthError::InvalidRequest("id_token_hint is not taken."));
        }
        let subject = self.hinted(parameters, caller, now).await?;
        let binding_message = binding_message(parameters)?;
        let claims = RequestedClaims::parse(parameters)?;
        // Nobody is asked in vain: an essential claim that is not met is a failed authentication (OpenID Connect Core
        // §5.5.1.1, RFC 9470 §5), and who is hinted at is whom the client wants to be told of (§5.5.1).
        let requested = RequestedAcr::parse(parameters, claims.as_ref())?;
        let acr = requested.reached_by(&subject.acr).ok_or(BackchannelError::UnmetAuthenticationRequirements)?;
        let known_as = self.subject_for(&caller.registration, &subject.subject);
        if claims.as_ref().and_then(RequestedClaims::subject).is_some_and(|asked| *asked != *known_as) {
            return Err(BackchannelError::UnknownUser.into());
        }
        let details = self.settings.detail_types.check(parameters, &caller.registration.metadata)?;
        let intent = claims.as_ref().is_some_and(|claims| claims.intent(ClaimsPlace::IdToken).is_some());
        let profile = caller.registration.profile;
        if profile.requires_binding_message() && binding_message.is_none() && details.is_empty() && !intent {
            return Err(OAuthError::InvalidRequest("binding_message is missing."));
        }
        let asked = requested_expiry(parameters)?.filter(|_| !profile.ignores_requested_expiry());
        Ok(BackchannelRequest {
            subject,
            scopes,
            acr,
            binding_message,
            authorization_details: details,
            resources: self.resources(parameters)?,
            claims,
            lifetime: asked.unwrap_or(self.settings.backchannel_lifetime).min(BACKCHANNEL_LIFETIME_MAX),
            ping: ping(parameters, delivery)?,
        })
    }

    /// The parameters that the client signed, and the mark by which they are taken once.
    async fn signed_backchannel(
        &self,
        object: &str,
        caller: &Authenticated,
        now: Timestamp,
    ) -> Result<(Form, Mark), OAuthError> {
        let (claims, expires_at) = self.signed_request(object, &SIGNED, caller, now).await?;
        let jti = claims.required_text("jti").ok().filter(|jti| jti.len() <= JTI_BYTES_MAX);
        let jti = jti.ok_or((SIGNED.refuse)("jti of the request object is missing or too long."))?;
        Ok((Form::from_claims(&claims, SIGNED.refuse)?, Mark { jti: jti.to_owned(), expires_at }))
    }

    /// CIBA Core §7.1: exactly one hint, which leads to a user.
    async fn hinted(
        &self,
        parameters: &Form,
        caller: &Authenticated,
        now: Timestamp,
    ) -> Result<Arc<Subject>, OAuthError> {
        let subjects = &self.parts.subjects;
        let public = caller.registration.metadata.subject_type == SubjectType::Public;
        // OpenID Connect Core §8: to a pairwise client the name that all others know leads to nobody, and its own leads back
        // to nobody. It knows what its users type.
        let by_subject = |name: &str| subjects.by_subject(name).filter(|_| public);
        let by_username = |name: &str| subjects.by_username(name);
        let found =
            match (parameters.get("login_hint"), parameters.get("login_hint_token"), parameters.get("id_token_hint")) {
                (Some(hint), None, None) if hint.len() > HINT_BYTES_MAX => None,
                (Some(hint), None, None) => by_subject(hint).or_else(|| by_username(hint)),
                (None, Some(token), None) => {
                    let name = self.login_hint_token(token, caller, now).await?;
                    if public { by_subject(&name) } else { by_username(&name) }
                }
                (None, None, Some(_)) if !public => {
                    let others = "A client with pairwise subjects sends login_hint or login_hint_token.";
                    return Err(OAuthError::InvalidRequest(others));
                }
                (None, None, Some(token)) => by_subject(&self.id_token_hint(token, caller)?),
                (Some(_) | None, Some(_) | None, Some(_) | None) => {
                    return Err(OAuthError::InvalidRequest(
                        "Send exactly one of login_hint, login_hint_token and id_token_hint.",
                    ));
                }
            };
        found.ok_or(OAuthError::Backchannel(BackchannelError::UnknownUser))
    }

    /// The one kind that is taken: a JWT that the client signed, whose `sub_id` (RFC 9493) is of the format `opaque`.
    async fn login_hint_token(
        &self,
        token: &str,
        caller: &Authenticated,
        now: Timestamp,
    ) -> Result<String, OAuthError> {
        let refuse = || (LOGIN_HINT.refuse)("");
        let claims = self.client_jwt(token, &LOGIN_HINT, caller, now).await?;
        if claims.required_date("exp").map_err(|_| refuse())? <= now {
            return Err(BackchannelError::ExpiredLoginHintToken.into());
        }
        let date = |name| claims.date(name).map_err(|_| refuse());
        self.check_begun(&[date("nbf")?, date("iat")?], &LOGIN_HINT, now)?; // RFC 7519 §4.1.5
        let name = claims.get("sub_id").ok_or_else(refuse)?;
        let id = match (name.get("format").and_then(Value::as_str), name.get("id").and_then(Value::as_str)) {
            (Some("opaque"), Some(id)) if id.len() <= HINT_BYTES_MAX => id,
            (Some(_) | None, Some(_) | None) => return Err(refuse()),
        };
        // RFC 9493 §4.1: both name one subject. That of a client assertion is the client (RFC 8725 §3.12).
        if claims.get("sub").is_some_and(|sub| sub.as_str() != Some(id)) {
            return Err(refuse());
        }
        Ok(id.to_owned())
    }
}

/// Plain, so that it looks the same on both devices: no control, no direction mark, nothing without width.
fn binding_message(parameters: &Form) -> Result<Option<String>, BackchannelError> {
    let Some(text) = parameters.get("binding_message") else { return Ok(None) };
    let plain = |c: char| c == ' ' || c.is_ascii_graphic() || c.is_alphanumeric();
    let sound = text.chars().all(plain) && text.chars().count() <= BINDING_MESSAGE_CHARS_MAX && !text.trim().is_empty();
    if sound { Ok(Some(text.to_owned())) } else { Err(BackchannelError::BindingMessage) }
}

/// CIBA Core §7.1: a positive integer. `expires_in` tells what became of it.
fn requested_expiry(parameters: &Form) -> Result<Option<Duration>, OAuthError> {
    let Some(text) = parameters.get("requested_expiry") else { return Ok(None) };
    let digits = text.len() <= 9 && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse::<u64>() {
        Ok(secs) if digits && secs > 0 => Ok(Some(Duration::from_secs(secs))),
        Ok(_) | Err(_) => Err(OAuthError::InvalidRequest("requested_expiry is not a positive number of seconds.")),
    }
}

/// CIBA Core §7.1: required of clients that are pinged; of others it means nothing.
fn ping(parameters: &Form, delivery: &CibaDelivery) -> Result<Option<Ping>, OAuthError> {
    let endpoint = match delivery {
        CibaDelivery::Poll => return Ok(None),
        CibaDelivery::Ping { notification_endpoint } => Arc::clone(notification_endpoint),
    };
    let token = parameters
        .get("client_notification_token")
        .ok_or(OAuthError::InvalidRequest("client_notification_token is missing."))?;
    // RFC 6750 §2.1 b64token.
    let bare = token.trim_end_matches('=');
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'+' | b'/');
    if !NOTIFICATION_TOKEN_BYTES.contains(&token.len()) || bare.is_empty() || !bare.bytes().all(allowed) {
        return Err(OAuthError::InvalidRequest(
            "client_notification_token is not a bearer token of 22 to 1024 characters.",
        ));
    }
    Ok(Some(Ping { endpoint, token: SecretString::from(token) }))
}
