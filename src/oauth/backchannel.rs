//! Decoupled approval (CIBA Core): a request waits until its user has decided on another device; the client polls, or is
//! pinged and asks then.
//!
//! Of two who decide at once one does; of two who redeem at once one gets tokens. What is decided answers at once, and
//! who asks too early while it is not must wait five seconds longer each time.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;

use super::client_authentication::Authenticated;
use super::form::Form;
use super::grant::{Grant, GrantId};
use super::metadata::Endpoint;
use super::outstanding::Term;
use super::{
    Answer, Approval, AuthorizationServer, BackchannelError, BackchannelRequest, Notification, OAuthError, Request,
};
use crate::domain::{Client, ClientId, ScopeSet, Timestamp};

/// Between the starts of two polls (CIBA Core §7.3).
pub const BACKCHANNEL_INTERVAL: Duration = Duration::from_secs(5);
/// What each poll that comes too early adds (CIBA Core §11 `slow_down`).
const SLOWER_BY: Duration = Duration::from_secs(5);
/// How long it is still known what has expired or was decided, for its client to hear.
const REMEMBERED: Duration = Duration::from_mins(10);

/// The body of a successful answer (CIBA Core §7.3).
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct BackchannelResponse {
    #[schema(example = "1c266114-a1be-4252-8ad1-04986c5b9ac1")]
    pub auth_req_id: String,
    /// Seconds.
    #[schema(example = 300)]
    pub expires_in: u64,
    /// Seconds between two requests to the token endpoint.
    #[schema(example = 5)]
    pub interval: u64,
}

/// A request on its way to a decision and to its tokens.
pub(super) struct Pending {
    request: Arc<BackchannelRequest>,
    client: Arc<Client>,
    /// For the ping, and for the device.
    auth_req_id: Arc<str>,
    stage: Stage,
    expires_at: Timestamp,
    interval: Duration,
    polled_at: Option<Timestamp>,
}

enum Stage {
    Waiting,
    Approved(Approval),
    Denied,
    Redeemed,
}

/// How many requests of each client wait for each user, by when they end.
#[derive(Default)]
pub(super) struct Waiting(Mutex<Users>);

#[derive(Default)]
struct Users {
    by_pair: HashMap<(Arc<str>, ClientId), Vec<Timestamp>>,
    swept_at: Option<Timestamp>,
}

impl Waiting {
    /// Bounded as the requests are: each of its entries is one that was not refused for want of room.
    fn add(
        &self,
        pair: (Arc<str>, ClientId),
        until: Timestamp,
        now: Timestamp,
        per_user_max: usize,
    ) -> Result<(), OAuthError> {
        let mut users = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if users.swept_at.is_none_or(|at| at.plus(Duration::from_mins(1)) <= now) {
            users.swept_at = Some(now);
            users.by_pair.retain(|_, ends| {
                ends.retain(|end| *end > now);
                !ends.is_empty()
            });
        }
        let ends = users.by_pair.entry(pair).or_default();
        ends.retain(|end| *end > now);
        if ends.len() >= per_user_max {
            return Err(OAuthError::TooManyOutstanding);
        }
        ends.push(until);
        Ok(())
    }

    fn remove(&self, pair: &(Arc<str>, ClientId), until: Timestamp) {
        let mut users = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(ends) = users.by_pair.get_mut(pair) else { return };
        if let Some(at) = ends.iter().position(|end| *end == until) {
            ends.swap_remove(at);
        }
        if ends.is_empty() {
            users.by_pair.remove(pair);
        }
    }
}

/// A request that waits for its user, as the user's device sees it.
#[derive(Clone)]
pub struct WaitingRequest {
    pub auth_req_id: Arc<str>,
    pub request: Arc<BackchannelRequest>,
    pub client: Arc<Client>,
    pub expires_at: Timestamp,
}

/// What a user decided on their device.
#[derive(Debug, Clone)]
pub enum BackchannelDecision {
    Approve(Approval),
    Deny,
}

/// Why a decision leads nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BackchannelDecisionError {
    #[error("the request is unknown")]
    Unknown,
    #[error("the request has expired")]
    Expired,
    #[error("the request was decided already")]
    Decided,
    /// Another than the one who was asked.
    #[error("the request is for another user")]
    OtherUser,
}

impl AuthorizationServer {
    /// Answers a backchannel authentication request (CIBA Core §7).
    pub async fn backchannel(&self, request: Request<'_>) -> Result<Answer<BackchannelResponse>, OAuthError> {
        let now = self.parts.clock.now();
        let form = Form::parse(request.headers, request.body)?;
        let caller = self.authenticate_client(&request, &form, Endpoint::BackchannelAuthentication, now).await?;
        let checked = self.check_backchannel(&form, &caller, now).await?;
        let body = self.wait_for_user(checked, &caller.client, now)?;
        Ok(Answer { client: caller.client, body, fresh_nonce: None })
    }

    fn wait_for_user(
        &self,
        request: BackchannelRequest,
        client: &Arc<Client>,
        now: Timestamp,
    ) -> Result<BackchannelResponse, OAuthError> {
        let auth_req_id: Arc<str> = URL_SAFE_NO_PAD.encode(self.parts.random.bytes::<32>()).into();
        let lifetime = request.lifetime;
        let expires_at = now.plus(lifetime);
        let pair = (Arc::clone(&request.subject.subject), client.id.clone());
        let outstanding = &self.parts.outstanding;
        outstanding.waiting.add(pair.clone(), expires_at, now, self.settings.backchannel_per_user_max)?;
        let pending = Pending {
            request: Arc::new(request),
            client: Arc::clone(client),
            auth_req_id: Arc::clone(&auth_req_id),
            stage: Stage::Waiting,
            expires_at,
            interval: BACKCHANNEL_INTERVAL,
            polled_at: None,
        };
        let term = Term { ends_at: expires_at, forget_at: expires_at.plus(REMEMBERED) };
        if let Err(full) = outstanding.backchannel.insert(&auth_req_id, client, pending, term, now) {
            outstanding.waiting.remove(&pair, expires_at);
            return Err(full.into());
        }
        Ok(BackchannelResponse {
            auth_req_id: auth_req_id.to_string(),
            expires_in: lifetime.as_secs(),
            interval: BACKCHANNEL_INTERVAL.as_secs(),
        })
    }

    /// Everything that waits for a decision, the oldest last. For a device that is not told (the simulated one).
    pub fn waiting_requests(&self, now: Timestamp) -> Vec<WaitingRequest> {
        let mut all = Vec::new();
        self.parts.outstanding.backchannel.each(now, |_, pending| {
            if matches!(pending.stage, Stage::Waiting) && pending.expires_at > now {
                all.push(pending.seen());
            }
        });
        all.sort_by_key(|waiting| std::cmp::Reverse(waiting.expires_at));
        all
    }

    /// What the user of a device has before them.
    pub fn waiting_request(
        &self,
        auth_req_id: &str,
        now: Timestamp,
    ) -> Result<WaitingRequest, BackchannelDecisionError> {
        let looked = self.parts.outstanding.backchannel.with(auth_req_id, now, |_, pending| {
            pending.check_open(now)?;
            Ok(pending.seen())
        });
        looked.unwrap_or(Err(BackchannelDecisionError::Unknown))
    }

    /// The user decided, once. A client that wants to be pinged is, whatever it was (CIBA Core §10.2).
    pub fn decide_backchannel(
        &self,
        auth_req_id: &str,
        decision: BackchannelDecision,
        now: Timestamp,
    ) -> Result<(), BackchannelDecisionError> {
        let decided = self.parts.outstanding.backchannel.with(auth_req_id, now, |_, pending| {
            pending.check_open(now)?;
            pending.stage = match decision {
                BackchannelDecision::Approve(approval) if approval.subject != pending.request.subject.subject => {
                    return Err(BackchannelDecisionError::OtherUser);
                }
                BackchannelDecision::Approve(approval) => {
                    let scopes = approval.scopes.intersection(&pending.request.scopes);
                    Stage::Approved(Approval { scopes, ..approval })
                }
                BackchannelDecision::Deny => Stage::Denied,
            };
            Ok(pending.seen())
        });
        let seen = decided.unwrap_or(Err(BackchannelDecisionError::Unknown))?;
        let pair = (Arc::clone(&seen.request.subject.subject), seen.client.id.clone());
        self.parts.outstanding.waiting.remove(&pair, seen.expires_at);
        self.parts.outstanding.backchannel.finish(auth_req_id, seen.expires_at.plus(REMEMBERED), now);
        if let Some(ping) = &seen.request.ping {
            self.parts.notifier.notify(Notification {
                endpoint: Arc::clone(&ping.endpoint),
                bearer: ping.token.clone(),
                auth_req_id: seen.auth_req_id,
            });
        }
        Ok(())
    }

    /// The grant of a request that was approved (CIBA Core §10.1, §11). It is spent before anything is minted.
    pub(super) fn redeem_backchannel(
        &self,
        form: &Form,
        caller: &Authenticated,
        now: Timestamp,
    ) -> Result<Grant, OAuthError> {
        let auth_req_id = form.get("auth_req_id").ok_or(OAuthError::InvalidRequest("auth_req_id is missing."))?;
        let looked = self.parts.outstanding.backchannel.with(auth_req_id, now, |owner, pending| {
            if *owner != caller.client.id {
                return Err(OAuthError::InvalidGrant("the auth_req_id is another client's")); // Which may still use it.
            }
            Ok((pending.poll(now)?, Arc::clone(&pending.request)))
        });
        let (approval, request) = looked.unwrap_or(Err(OAuthError::InvalidGrant("the auth_req_id is unknown")))?;
        // Nobody asks for it any more; what waits to be fetched has the room.
        let _gone = self.parts.outstanding.backchannel.take(auth_req_id, now, |_, _| Ok::<_, Infallible>(()));
        Ok(Grant {
            resources: request.resources.clone(),
            claims: request.claims.clone(),
            ..self.grant_of(GrantId::random(&*self.parts.random), caller, approval, now)?
        })
    }
}

impl Pending {
    fn seen(&self) -> WaitingRequest {
        WaitingRequest {
            auth_req_id: Arc::clone(&self.auth_req_id),
            request: Arc::clone(&self.request),
            client: Arc::clone(&self.client),
            expires_at: self.expires_at,
        }
    }

    fn check_open(&self, now: Timestamp) -> Result<(), BackchannelDecisionError> {
        match self.stage {
            Stage::Waiting if self.expires_at <= now => Err(BackchannelDecisionError::Expired),
            Stage::Waiting => Ok(()),
            Stage::Approved(_) | Stage::Denied | Stage::Redeemed => Err(BackchannelDecisionError::Decided),
        }
    }

    /// CIBA Core §11.
    fn poll(&mut self, now: Timestamp) -> Result<Approval, OAuthError> {
        match &self.stage {
            Stage::Redeemed => return Err(OAuthError::InvalidGrant("the auth_req_id was used before")),
            Stage::Denied => return Err(BackchannelError::Denied.into()),
            Stage::Waiting | Stage::Approved(_) if self.expires_at <= now => {
                return Err(BackchannelError::Expired.into());
            }
            Stage::Approved(_) | Stage::Waiting => {}
        }
        if let Stage::Approved(approval) = std::mem::replace(&mut self.stage, Stage::Redeemed) {
            return Ok(approval);
        }
        self.stage = Stage::Waiting;
        let early = self.polled_at.is_some_and(|at| now < at.plus(self.interval));
        self.polled_at = Some(now);
        if early {
            self.interval = (self.interval + SLOWER_BY).min(super::BACKCHANNEL_LIFETIME_MAX);
            return Err(BackchannelError::SlowDown.into());
        }
        Err(BackchannelError::Pending.into())
    }
}

/// Everything that was asked for: what a device that simulates a user approves.
impl WaitingRequest {
    pub fn approve_all(&self, now: Timestamp) -> BackchannelDecision {
        let request = &self.request;
        let scopes: ScopeSet = request.scopes.clone();
        BackchannelDecision::Approve(Approval {
            subject: Arc::clone(&request.subject.subject),
            auth_time: now,
            acr: Some(Arc::clone(&request.acr)),
            scopes,
            authorization_details: request.authorization_details.clone(),
        })
    }
}
