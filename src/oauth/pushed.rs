//! Pushed authorization requests (RFC 9126), and what becomes of them until the user has decided.
//!
//! Opening the page spends nothing: a request is spent when it is decided, once (FAPI 2.0 §5.3.2.2 note 3), and then
//! nobody knows it any more. What was opened outlives its `request_uri`, so that whoever comes too late is led back to the client with an error.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;

use super::form::Form;
use super::metadata::Endpoint;
use super::outstanding::Term;
use super::{Answer, AuthorizationRequest, AuthorizationServer, OAuthError, Request};
use crate::domain::{Client, Timestamp};

const URN: &str = "urn:ietf:params:oauth:request_uri:";
/// How long it is still known what timed out, after it has.
const REMEMBERED: Duration = Duration::from_mins(10);
/// Of the form, when the request is signed: what authenticates the client, and the request (RFC 9126 §3).
pub(super) const BESIDE_A_REQUEST_OBJECT: [&str; 4] =
    ["request", "client_id", "client_assertion", "client_assertion_type"];

/// The body of a successful answer (RFC 9126 §2.2).
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct PushedResponse {
    #[schema(example = "urn:ietf:params:oauth:request_uri:VG9rZW5zLCBub3QgYW4gZXhhbXBsZQ")]
    pub request_uri: String,
    /// Seconds.
    #[schema(example = 90)]
    pub expires_in: u64,
}

/// A request on its way to a decision.
pub(super) struct Pushed {
    request: Arc<AuthorizationRequest>,
    client: Arc<Client>,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The page must be opened by then.
    Waiting { until: Timestamp },
    /// The user must decide by then.
    Open { until: Timestamp },
}

/// A request that a user is looking at.
#[derive(Debug, Clone)]
pub struct Opened {
    pub request: Arc<AuthorizationRequest>,
    pub client: Arc<Client>,
    /// When it times out.
    pub until: Timestamp,
}

/// Why there is nothing to decide.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NotOpen {
    /// Also: another client's, decided already, or expired before anybody opened it. No redirect: nobody knows whereto.
    #[error("the request_uri is unknown, spent, expired or not this client's")]
    Unknown,
    /// It was opened, and nobody decided in time: the client hears of it.
    #[error("the request timed out")]
    TimedOut(Opened),
}

impl AuthorizationServer {
    /// Answers a pushed authorization request.
    pub async fn push(&self, request: Request<'_>) -> Result<Answer<PushedResponse>, OAuthError> {
        let now = self.parts.clock.now();
        let form = Form::parse(request.headers, request.body)?;
        let caller = self.authenticate_client(&request, &form, Endpoint::PushedAuthorizationRequest, now).await?;
        // RFC 9126 §2.1
        if form.get("request_uri").is_some() {
            return Err(OAuthError::InvalidRequest("request_uri must not be pushed."));
        }
        let authorization = match form.get("request") {
            Some(object) => {
                if form.names().any(|name| !BESIDE_A_REQUEST_OBJECT.contains(&name)) {
                    return Err(OAuthError::InvalidRequest("Parameters stand beside the request object."));
                }
                self.check_request(&self.request_object(object, &caller, now).await?, &caller)?
            }
            None if caller.registration.must_sign_requests() => {
                return Err(OAuthError::InvalidRequest("The request must be a signed request object."));
            }
            None => self.check_request(&form, &caller)?,
        };
        let (authorization, fresh_nonce) = self.bind_to_proof(authorization, &caller.registration, &request, now)?;
        let body = self.remember(authorization, &caller.client, now)?;
        Ok(Answer { client: caller.client, body, fresh_nonce })
    }

    fn remember(
        &self,
        request: AuthorizationRequest,
        client: &Arc<Client>,
        now: Timestamp,
    ) -> Result<PushedResponse, OAuthError> {
        let lifetime = self.settings.request_uri_lifetime;
        let request_uri = format!("{URN}{}", URL_SAFE_NO_PAD.encode(self.parts.random.bytes::<32>()));
        let until = now.plus(lifetime);
        let pushed = Pushed { request: Arc::new(request), client: Arc::clone(client), stage: Stage::Waiting { until } };
        self.parts.outstanding.pushed.insert(&request_uri, client, pushed, Term::until(until), now)?;
        Ok(PushedResponse { request_uri, expires_in: lifetime.as_secs() })
    }

    /// The user's browser asks for the page of a request. May be repeated until the request is decided.
    pub fn open(&self, client_id: &str, request_uri: &str, now: Timestamp) -> Result<Opened, NotOpen> {
        let visit = self.settings.visit_lifetime;
        let outstanding = &self.parts.outstanding.pushed;
        let looked = outstanding.with(request_uri, now, |owner, pushed| {
            if owner.as_str() != client_id {
                return Err(NotOpen::Unknown); // RFC 9126 §4
            }
            let stage = pushed.stage;
            if let Stage::Waiting { until } = stage
                && until > now
            {
                pushed.stage = Stage::Open { until: now.plus(visit) };
            }
            match pushed.stage {
                Stage::Waiting { .. } => Err(NotOpen::Unknown),
                Stage::Open { until } if until <= now => Err(NotOpen::TimedOut(pushed.opened(until))),
                Stage::Open { until } => Ok((stage != pushed.stage, pushed.opened(until))),
            }
        });
        let (first, opened) = looked.unwrap_or(Err(NotOpen::Unknown))?;
        if first {
            let term = Term { ends_at: opened.until, forget_at: opened.until.plus(REMEMBERED) };
            outstanding.extend(request_uri, term, now);
        }
        Ok(opened)
    }

    /// Spends a request: of two who decide at once, one does. It is gone with it, and its place is free.
    pub(super) fn spend(&self, client_id: &str, request_uri: &str, now: Timestamp) -> Result<Opened, NotOpen> {
        let taken = self.parts.outstanding.pushed.take(request_uri, now, |owner, pushed| match pushed.stage {
            Stage::Open { until } if owner.as_str() == client_id => Ok(until),
            Stage::Open { .. } | Stage::Waiting { .. } => Err(NotOpen::Unknown),
        });
        let (pushed, until) = taken.unwrap_or(Err(NotOpen::Unknown))?;
        let opened = pushed.opened(until);
        if until <= now { Err(NotOpen::TimedOut(opened)) } else { Ok(opened) }
    }
}

impl Pushed {
    fn opened(&self, until: Timestamp) -> Opened {
        Opened { request: Arc::clone(&self.request), client: Arc::clone(&self.client), until }
    }
}
