//! An authorization request whose parameters have been checked against the client, its profile and the catalogue.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::client_authentication::Authenticated;
use super::form::Form;
use super::{AuthorizationServer, GrantType, OAuthError, RequestedAcr, RequestedClaims, ResponseMode};
use crate::domain::{ClientId, ScopeSet, Thumbprint};

/// Longest `state` and `nonce` that are echoed, in bytes. Longer ones are refused, never cut (FAPI 2.0 §5.3.2.2-14).
const ECHO_BYTES_MAX: usize = 4096;
const NONCE_BYTES_MAX: usize = 512;
/// Most values of a parameter that is a list.
const WORDS_MAX: usize = 16;

/// Invariant: made by [`AuthorizationServer::check_request`] alone.
#[derive(Debug, Clone)]
pub struct AuthorizationRequest {
    pub client_id: ClientId,
    pub redirect_uri: Arc<str>,
    pub response_mode: ResponseMode,
    pub scopes: ScopeSet,
    pub state: Option<String>,
    pub nonce: Option<String>,
    /// SHA-256 of the verifier (RFC 7636 §4.2).
    pub code_challenge: [u8; 32],
    /// As asked for; each has passed its type's schema (RFC 9396 §5).
    pub authorization_details: Vec<Value>,
    /// RFC 8707: the whole gateway, if there are none.
    pub resources: Vec<String>,
    /// How the user must have been authenticated.
    pub acr: RequestedAcr,
    /// Seconds since the user last proved who they are.
    pub max_age: Option<u64>,
    pub prompt: Prompt,
    pub login_hint: Option<String>,
    /// The one user whom the answer must be about, by the name that the client knows (OpenID Connect Core §3.1.2.2).
    pub subject: Option<String>,
    /// OpenID Connect Core §5.5.
    pub claims: Option<RequestedClaims>,
    /// The code will be worth something to the owner of this key alone (RFC 9449 §10).
    pub dpop_jkt: Option<Thumbprint>,
}

/// What the client wants the user to be asked (OpenID Connect Core §3.1.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Prompt {
    /// Nothing: answer at once, or with an error.
    pub none: bool,
    /// To sign in anew.
    pub login: bool,
    pub consent: bool,
}

impl AuthorizationRequest {
    pub fn is_openid(&self) -> bool {
        self.scopes.contains("openid")
    }
}

impl AuthorizationServer {
    /// RFC 6749 §4.1.1 and everything that narrows it. `parameters` are those of the form, or of the request object.
    pub(super) fn check_request(
        &self,
        parameters: &Form,
        caller: &Authenticated,
    ) -> Result<AuthorizationRequest, OAuthError> {
        let registration = &caller.registration;
        if !registration.may_use(GrantType::AuthorizationCode) {
            return Err(OAuthError::UnauthorizedClient);
        }
        match parameters.get("response_type") {
            Some("code") => {}
            Some(_) => return Err(OAuthError::UnsupportedResponseType), // FAPI 2.0 §5.3.2.2-1
            None => return Err(OAuthError::InvalidRequest("response_type is missing.")),
        }
        // OpenID Connect Core §6: parameters of other profiles of the request.
        if parameters.get("request_uri").is_some() {
            return Err(OAuthError::InvalidRequest("request_uri must not be pushed.")); // RFC 9126 §2.1
        }
        if registration.profile.refuses_id_token_hint() && parameters.get("id_token_hint").is_some() {
            return Err(OAuthError::InvalidRequest("id_token_hint is not taken."));
        }
        let redirect_uri = redirect_uri(parameters, caller)?;
        let details = self.settings.detail_types.check(parameters, &registration.metadata)?;
        let scopes = match parameters.get("scope") {
            // RFC 9396 §3: the details alone can say it all.
            None if !registration.profile.defaults_scope() && details.is_empty() => {
                return Err(OAuthError::InvalidScope);
            }
            None if !registration.profile.defaults_scope() => ScopeSet::default(),
            Some(_) | None => scopes(parameters, &caller.client.scopes)?,
        };
        let nonce = echoed(parameters, "nonce", NONCE_BYTES_MAX)?;
        let state = echoed(parameters, "state", ECHO_BYTES_MAX)?;
        if registration.profile.requires_nonce_or_state() {
            match (scopes.contains("openid"), &nonce, &state) {
                (true, None, _) => return Err(OAuthError::InvalidRequest("nonce is missing.")),
                (false, _, None) => return Err(OAuthError::InvalidRequest("state is missing.")),
                (true, Some(_), _) | (false, _, Some(_)) => {}
            }
        }
        let claims = RequestedClaims::parse(parameters)?;
        Ok(AuthorizationRequest {
            client_id: caller.client.id.clone(),
            redirect_uri,
            response_mode: response_mode(parameters, caller)?,
            scopes,
            state,
            nonce,
            code_challenge: code_challenge(parameters)?,
            authorization_details: details,
            resources: self.resources(parameters)?,
            acr: RequestedAcr::parse(parameters, claims.as_ref())?,
            max_age: max_age(parameters)?,
            prompt: prompt(parameters)?,
            login_hint: parameters.get("login_hint").map(str::to_owned),
            subject: self.asked_subject(parameters, claims.as_ref(), caller)?,
            claims,
            dpop_jkt: dpop_jkt(parameters)?,
        })
    }

    /// By `id_token_hint` (OpenID Connect Core §3.1.2.1), by the claim `sub` (§5.5.1), or by both alike.
    fn asked_subject(
        &self,
        parameters: &Form,
        claims: Option<&RequestedClaims>,
        caller: &Authenticated,
    ) -> Result<Option<String>, OAuthError> {
        let hinted = parameters.get("id_token_hint").map(|token| self.id_token_hint(token, caller)).transpose()?;
        match (hinted, claims.and_then(RequestedClaims::subject)) {
            (Some(hinted), Some(claimed)) if hinted != claimed => {
                Err(OAuthError::InvalidRequest("id_token_hint and claims ask for two users."))
            }
            (hinted, claimed) => Ok(hinted.or_else(|| claimed.map(str::to_owned))),
        }
    }
}

/// FAPI 2.0 §5.3.2.2-6: required, even with a single registered one. Compared as text; the port of a registered
/// loopback address may be any (RFC 8252 §7.3).
fn redirect_uri(parameters: &Form, caller: &Authenticated) -> Result<Arc<str>, OAuthError> {
    let asked = parameters.get("redirect_uri").ok_or(OAuthError::InvalidRequest("redirect_uri is missing."))?;
    let registration = &caller.registration;
    let loopback = registration.profile.allows_loopback_redirects();
    let matches = |registered: &&Arc<str>| {
        &***registered == asked
            || (loopback && loopback_parts(registered).is_some_and(|parts| loopback_parts(asked) == Some(parts)))
    };
    match registration.metadata.redirect_uris.iter().find(matches) {
        Some(_) => Ok(asked.into()),
        None => Err(OAuthError::InvalidRequest("redirect_uri is not registered.")),
    }
}

/// What must be equal of a loopback redirect URI: all but the port.
fn loopback_parts(uri: &str) -> Option<(&str, &str)> {
    ["http://127.0.0.1", "http://[::1]"].into_iter().find_map(|host| {
        let rest = uri.strip_prefix(host)?;
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (port, path) = rest.split_at(end);
        let digits = if port.is_empty() { "80" } else { port.strip_prefix(':')? };
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        let sound = plain && digits.parse::<u16>().is_ok_and(|port| port > 0);
        sound.then_some((host, path))
    })
}

/// What was asked for, if the client may have all of it; all it may have, if nothing was asked for.
pub(super) fn scopes(parameters: &Form, entitled: &ScopeSet) -> Result<ScopeSet, OAuthError> {
    let Some(text) = parameters.get("scope") else { return Ok(entitled.clone()) };
    let requested = ScopeSet::parse(text).map_err(|_| OAuthError::InvalidScope)?;
    if requested.is_subset(entitled) { Ok(requested) } else { Err(OAuthError::InvalidScope) }
}

fn response_mode(parameters: &Form, caller: &Authenticated) -> Result<ResponseMode, OAuthError> {
    let registration = &caller.registration;
    let mode = match parameters.get("response_mode") {
        None => ResponseMode::Query,
        Some(text) => ResponseMode::parse(text).ok_or(OAuthError::InvalidRequest("response_mode is not supported."))?,
    };
    if registration.profile.requires_signed_responses() && !mode.is_signed() {
        return Err(OAuthError::InvalidRequest("response_mode must be jwt.")); // FAPI 2.0 Message Signing §5.4.1-1
    }
    let allowed = &registration.metadata.response_modes;
    if !allowed.is_empty() && !allowed.contains(&mode) {
        return Err(OAuthError::InvalidRequest("The client is not registered for this response_mode."));
    }
    Ok(mode)
}

/// A value that comes back as it was sent, or not at all.
fn echoed(parameters: &Form, name: &'static str, bytes_max: usize) -> Result<Option<String>, OAuthError> {
    match parameters.get(name) {
        Some(text) if text.len() > bytes_max => Err(OAuthError::InvalidRequest("state or nonce is too long.")),
        value => Ok(value.map(str::to_owned)),
    }
}

/// FAPI 2.0 §5.3.2.2-5. RFC 7636 §4.3: an absent method means `plain`, so it must be there.
fn code_challenge(parameters: &Form) -> Result<[u8; 32], OAuthError> {
    let challenge = parameters.get("code_challenge").ok_or(OAuthError::InvalidRequest("code_challenge is missing."))?;
    if parameters.get("code_challenge_method") != Some("S256") {
        return Err(OAuthError::InvalidRequest("code_challenge_method must be S256."));
    }
    let digest = URL_SAFE_NO_PAD.decode(challenge).ok().and_then(|bytes| bytes.try_into().ok());
    digest.ok_or(OAuthError::InvalidRequest("code_challenge is not an S256 challenge."))
}

/// A list between blanks. A longer one is refused, never cut: what was wanted most could be among the rest.
pub(super) fn words(parameters: &Form, name: &str) -> Result<Vec<String>, OAuthError> {
    let text = parameters.get(name).unwrap_or_default();
    let words: Vec<String> = text.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect();
    if words.len() > WORDS_MAX {
        return Err(OAuthError::InvalidRequest("acr_values or prompt has too many values."));
    }
    Ok(words)
}

/// RFC 9470 §5: a non-negative integer, in digits alone.
fn max_age(parameters: &Form) -> Result<Option<u64>, OAuthError> {
    let Some(text) = parameters.get("max_age") else { return Ok(None) };
    let secs = text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    secs.map(Some).ok_or(OAuthError::InvalidRequest("max_age is not a number of seconds."))
}

fn prompt(parameters: &Form) -> Result<Prompt, OAuthError> {
    let mut prompt = Prompt::default();
    for word in words(parameters, "prompt")? {
        match word.as_str() {
            "none" => prompt.none = true,
            "login" | "select_account" => prompt.login = true,
            "consent" => prompt.consent = true,
            _ => return Err(OAuthError::InvalidRequest("prompt has a value that is not supported.")),
        }
    }
    if prompt.none && (prompt.login || prompt.consent) {
        return Err(OAuthError::InvalidRequest("prompt says none and something else."));
    }
    Ok(prompt)
}

/// RFC 9449 §10.
fn dpop_jkt(parameters: &Form) -> Result<Option<Thumbprint>, OAuthError> {
    match parameters.get("dpop_jkt") {
        None => Ok(None),
        Some(text) => {
            Thumbprint::parse(text).map(Some).ok_or(OAuthError::InvalidRequest("dpop_jkt is not a JWK thumbprint."))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_port_of_a_loopback_address_may_vary() {
        for (registered, asked, same) in [
            ("http://127.0.0.1/cb", "http://127.0.0.1:4711/cb", true),
            ("http://127.0.0.1:80/cb", "http://127.0.0.1/cb", true),
            ("http://[::1]/cb?a=b", "http://[::1]:1/cb?a=b", true),
            ("http://127.0.0.1/cb", "http://127.0.0.1:4711/cb2", false),
            ("http://127.0.0.1/cb", "http://[::1]/cb", false),
            ("http://127.0.0.1/cb", "http://127.0.0.1.evil.example/cb", false),
            ("http://127.0.0.1/cb", "http://127.0.0.1:80@evil.example/cb", false),
            ("http://127.0.0.1/cb", "http://127.0.0.1:/cb", false),
            ("http://127.0.0.1/cb", "http://127.0.0.1:123456/cb", false),
            ("http://127.0.0.1/cb", "http://127.0.0.1:65535/cb", true),
            ("http://127.0.0.1/cb", "http://127.0.0.1:65536/cb", false),
            ("http://127.0.0.1/cb", "http://127.0.0.1:0/cb", false),
            ("http://127.0.0.1/cb", "http://127.0.0.1:+80/cb", false),
            ("http://localhost/cb", "http://localhost:1/cb", false),
            ("https://127.0.0.1/cb", "https://127.0.0.1:1/cb", false),
        ] {
            let equal = loopback_parts(registered).is_some() && loopback_parts(registered) == loopback_parts(asked);
            assert_eq!(equal, same, "{registered} {asked}");
        }
    }
}
