//! Pushed authorization requests (RFC 9126), and what becomes of them until the user has decided.
//!
//! Opening the page spends nothing: a request is spent when it is decided, once (FAPI 2.0 §5.3.2.2 note 3). What was
//! opened outlives its `request_uri`, so that whoever comes too late is led back to the client with an error.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;

use super::form::Form;
use super::{Answer, AuthorizationRequest, AuthorizationServer, OAuthError, Request};
use crate::domain::{Client, ClientId, Timestamp};

const URN: &str = "urn:ietf:params:oauth:request_uri:";
/// How long it is still known what has ended, after it has.
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
    Waiting {
        until: Timestamp,
    },
    /// The user must decide by then.
    Open {
        until: Timestamp,
    },
    Decided,
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
    /// Also: another client's, or expired before anybody opened it. No redirect: nobody knows whereto.
    #[error("the request_uri is unknown, expired or not this client's")]
    Unknown,
    #[error("the request was decided already")]
    Decided,
    /// It was opened, and nobody decided in time: the client hears of it.
    #[error("the request timed out")]
    TimedOut(Opened),
}

impl AuthorizationServer {
    /// Answers a pushed authorization request.
    pub async fn push(&self, request: Request<'_>) -> Result<Answer<PushedResponse>, OAuthError> {
        let now = self.parts.clock.now();
        let form = Form::parse(request.headers, request.body)?;
        let caller = self.authenticate_client(&request, &form, now).await?;
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
        self.parts.outstanding.pushed.insert(&request_uri, client, pushed, until, now)?;
        Ok(PushedResponse { request_uri, expires_in: lifetime.as_secs() })
    }

    /// The user's browser asks for the page of a request. May be repeated until the request is decided.
    pub fn open(&self, client_id: &str, request_uri: &str, now: Timestamp) -> Result<Opened, NotOpen> {
        let visit = self.settings.visit_lifetime;
        let looked = self.with_pushed(client_id, request_uri, now, |pushed| {
            let stage = pushed.stage;
            if let Stage::Waiting { until } = stage
                && until > now
            {
                pushed.stage = Stage::Open { until: now.plus(visit) };
            }
            let opened = |until| Opened { request: pushed.request.clone(), client: pushed.client.clone(), until };
            match pushed.stage {
                Stage::Waiting { .. } => Err(NotOpen::Unknown),
                Stage::Decided => Err(NotOpen::Decided),
                Stage::Open { until } if until <= now => Err(NotOpen::TimedOut(opened(until))),
                Stage::Open { until } => Ok((stage != pushed.stage, opened(until))),
            }
        });
        let (first, opened) = looked?;
        if first {
            self.parts.outstanding.pushed.keep_until(request_uri, opened.until.plus(REMEMBERED), now);
        }
        Ok(opened)
    }

    /// Spends a request: of two who decide at once, one does.
    pub(super) fn spend(&self, client_id: &str, request_uri: &str, now: Timestamp) -> Result<Opened, NotOpen> {
        self.with_pushed(client_id, request_uri, now, |pushed| {
            let opened = |until| Opened { request: pushed.request.clone(), client: pushed.client.clone(), until };
            match pushed.stage {
                Stage::Waiting { .. } => Err(NotOpen::Unknown),
                Stage::Decided => Err(NotOpen::Decided),
                Stage::Open { until } => {
                    let opened = opened(until);
                    pushed.stage = Stage::Decided;
                    if until <= now { Err(NotOpen::TimedOut(opened)) } else { Ok(opened) }
                }
            }
        })
    }

    /// RFC 9126 §4: of this client, or of nobody.
    fn with_pushed<T>(
        &self,
        client_id: &str,
        request_uri: &str,
        now: Timestamp,
        look: impl FnOnce(&mut Pushed) -> Result<T, NotOpen>,
    ) -> Result<T, NotOpen> {
        let theirs = |owner: &ClientId, pushed: &mut Pushed| {
            if owner.as_str() == client_id { look(pushed) } else { Err(NotOpen::Unknown) }
        };
        self.parts.outstanding.pushed.with(request_uri, now, theirs).unwrap_or(Err(NotOpen::Unknown))
    }
}
