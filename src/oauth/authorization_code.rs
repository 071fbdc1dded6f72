//! Authorization codes (RFC 6749 §4.1): made when a user approves, worth tokens once and for a minute.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use subtle::ConstantTimeEq;

use super::client_authentication::Authenticated;
use super::form::Form;
use super::grant::{Grant, GrantId};
use super::outstanding::Term;
use super::{
    AuthorizationError, AuthorizationRequest, AuthorizationResponse, AuthorizationServer, NotOpen, OAuthError, Outcome,
};
use crate::authn::Binding;
use crate::domain::{Client, ScopeSet, Timestamp};

/// FAPI 2.0 §5.3.2.1-11.
pub(super) const CODE_LIFETIME: Duration = Duration::from_secs(60);
/// How long a code that was used is still known, so that its reuse is noticed (RFC 6749 §4.1.2).
const REMEMBERED: Duration = Duration::from_mins(10);

/// What a user approved.
#[derive(Debug, Clone)]
pub struct Approval {
    /// The user, by the identifier that no client sees as it is if the client is pairwise.
    pub subject: Arc<str>,
    /// When the user proved who they are.
    pub auth_time: Timestamp,
    pub acr: Option<Arc<str>>,
    /// What was asked for, or less.
    pub scopes: ScopeSet,
    /// What was asked for, or less, or enriched (RFC 9396 §7.1).
    pub authorization_details: Vec<Value>,
}

/// What an approval came to.
pub struct Approving {
    /// With the code, or with the error that ends the request all the same.
    pub response: AuthorizationResponse,
    pub code_made: bool,
}

/// A code that was handed out.
pub(super) enum Code {
    Unused(Redeemable),
    /// By the grant that its only use made.
    Used(GrantId),
}

/// What a code is worth.
pub(super) struct Redeemable {
    request: Arc<AuthorizationRequest>,
    approval: Approval,
}

impl AuthorizationServer {
    /// The user approved: the request is spent, and its client gets a code.
    pub fn approve(
        &self,
        client_id: &str,
        request_uri: &str,
        approval: Approval,
        now: Timestamp,
    ) -> Result<Approving, DecisionError> {
        let told = |response| Approving { response, code_made: false };
        let opened = match self.spend(client_id, request_uri, now) {
            Ok(opened) => opened,
            Err(NotOpen::TimedOut(opened)) => {
                return self.tell(&opened.request, AuthorizationError::TimedOut, now).map(told);
            }
            Err(other) => return Err(DecisionError::NotOpen(other)),
        };
        match self.issue_code(&opened.request, &opened.client, approval, now) {
            Ok(code) => {
                let response = self.respond(&opened.request, &Outcome::Code(code), now)?;
                Ok(Approving { response, code_made: true })
            }
            Err(_full) => self.tell(&opened.request, AuthorizationError::Unavailable, now).map(told),
        }
    }

    /// The user refused, or an error ends the request: it is spent, and its client hears why.
    pub fn refuse(
        &self,
        client_id: &str,
        request_uri: &str,
        error: AuthorizationError,
        now: Timestamp,
    ) -> Result<AuthorizationResponse, DecisionError> {
        match self.spend(client_id, request_uri, now) {
            Ok(opened) => self.tell(&opened.request, error, now),
            Err(NotOpen::TimedOut(opened)) => self.tell(&opened.request, AuthorizationError::TimedOut, now),
            Err(other) => Err(DecisionError::NotOpen(other)),
        }
    }

    fn tell(
        &self,
        request: &AuthorizationRequest,
        error: AuthorizationError,
        now: Timestamp,
    ) -> Result<AuthorizationResponse, DecisionError> {
        Ok(self.respond(request, &Outcome::Error(error), now)?)
    }

    fn issue_code(
        &self,
        request: &Arc<AuthorizationRequest>,
        client: &Client,
        approval: Approval,
        now: Timestamp,
    ) -> Result<String, super::Full> {
        let code = URL_SAFE_NO_PAD.encode(self.parts.random.bytes::<32>());
        let expires_at = now.plus(CODE_LIFETIME);
        let value = Code::Unused(Redeemable { request: Arc::clone(request), approval });
        self.parts.outstanding.codes.insert(&code, client, value, Term::until(expires_at), now)?;
        Ok(code)
    }

    /// The grant of a code (RFC 6749 §4.1.3). The code is spent before anything is minted.
    pub(super) async fn redeem_code(
        &self,
        form: &Form,
        caller: &Authenticated,
        bound_to: Option<Binding>,
        now: Timestamp,
    ) -> Result<(Grant, Arc<AuthorizationRequest>), OAuthError> {
        let code = form.get("code").ok_or(OAuthError::InvalidRequest("code is missing."))?;
        let (Redeemable { request, approval }, grant) = match self.use_code(code, form, caller, bound_to, now) {
            Ok(redeemed) => redeemed,
            Err(Refused::Replayed(grant)) => {
                // RFC 6749 §4.1.2: what the first use issued may be in the wrong hands.
                self.revoke_grant(&grant, now).await?;
                return Err(OAuthError::InvalidGrant("the code was used before"));
            }
            Err(Refused::Other(why)) => return Err(OAuthError::InvalidGrant(why)),
        };
        let grant = Grant {
            resources: request.resources.clone(),
            claims: request.claims.clone(),
            ..self.grant_of(grant, caller, approval, now)?
        };
        Ok((grant, request))
    }

    fn use_code(
        &self,
        code: &str,
        form: &Form,
        caller: &Authenticated,
        bound_to: Option<Binding>,
        now: Timestamp,
    ) -> Result<(Redeemable, GrantId), Refused> {
        let fresh = GrantId::random(&*self.parts.random);
        let codes = &self.parts.outstanding.codes;
        let looked = codes.with(code, now, |owner, known| {
            if *owner != caller.client.id {
                return Err(Refused::Other("the code is another client's")); // Which may still use it.
            }
            match std::mem::replace(known, Code::Used(fresh.clone())) {
                Code::Unused(approved) => Ok((approved, fresh)),
                Code::Used(grant) => {
                    *known = Code::Used(grant.clone());
                    Err(Refused::Replayed(grant))
                }
            }
        });
        let (approved, grant) = looked.unwrap_or(Err(Refused::Other("the code is unknown or has expired")))?;
        codes.finish(code, now.plus(REMEMBERED), now);
        // Whoever has the code but not what belongs to it must not try again: it is spent already.
        check_binding(&approved.request, form, bound_to).map_err(Refused::Other)?;
        Ok((approved, grant))
    }
}

enum Refused {
    Replayed(GrantId),
    Other(&'static str),
}

/// `redirect_uri` (RFC 6749 §4.1.3), `code_verifier` (RFC 7636 §4.6), `dpop_jkt` (RFC 9449 §10).
fn check_binding(request: &AuthorizationRequest, form: &Form, bound_to: Option<Binding>) -> Result<(), &'static str> {
    if form.get("redirect_uri") != Some(&*request.redirect_uri) {
        return Err("redirect_uri is not that of the request");
    }
    let verifier = form.get("code_verifier").ok_or("code_verifier is missing")?;
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
    if !(43..=128).contains(&verifier.len()) || !verifier.bytes().all(allowed) {
        return Err("code_verifier is not one"); // RFC 7636 §4.1
    }
    let digest = crate::jose::sha256(verifier.as_bytes());
    if !bool::from(digest[..].ct_eq(&request.code_challenge[..])) {
        return Err("code_verifier does not fit");
    }
    match (request.dpop_jkt, bound_to) {
        (None, _) => Ok(()),
        (Some(expected), Some(Binding::DpopKey(proven))) if expected == proven => Ok(()),
        (Some(_), _) => Err("the code is bound to another DPoP key"),
    }
}

/// Why a decision leads nowhere.
#[derive(Debug, thiserror::Error)]
pub enum DecisionError {
    #[error("there is nothing to decide")]
    NotOpen(#[source] NotOpen),
    #[error("the response could not be made")]
    Response(#[from] OAuthError),
}
