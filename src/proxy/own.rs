//! Requests that we answer ourselves, on their way to the router and back.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http::{Extensions, Request, header};
use pingora_proxy::Session;
use tower::ServiceExt;

use super::answer::HSTS;
use super::bridge::{self, BridgeError, BridgeLimits, Call, Served};
use super::context::{Refusal, RequestContext};
use super::failure::Fault;
use super::gateway::Gateway;
use super::headers::INTERACTION_ID;
use crate::audit::Phase;
use crate::oauth::{AuthenticatedClient, AuthenticationFailed};
use crate::problem::Problem;

/// Serves one request by the router. Handlers find connection and interaction id among the request's extensions.
pub(super) async fn serve(gateway: &Gateway, session: &mut Session, ctx: &mut RequestContext) -> Result<(), Refusal> {
    ctx.record.note_snapshot(&gateway.snapshot());
    ctx.record.phase = Phase::Answer;
    let connection = ctx.connection.clone().ok_or(Fault::Internal("the connection is unknown"))?;
    let mut extensions = Extensions::new();
    extensions.insert(ctx.interaction);
    let call = Call { connection, extensions, expects_continue: std::mem::take(&mut ctx.expects_continue) };
    let limits = BridgeLimits {
        body_bytes_max: gateway.limits.buffered_bytes_max as u64,
        body_idle_timeout: gateway.limits.body_idle_timeout,
        body_timeout: gateway.limits.body_timeout,
    };
    let (secure, interaction) = (ctx.is_secure(), ctx.interaction_value.clone());
    let dressed = ServiceExt::<Request<Body>>::map_response(gateway.router.clone(), move |mut response: Response| {
        response.headers_mut().insert(INTERACTION_ID, interaction);
        if secure {
            response.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, HSTS);
        }
        response
    });
    match bridge::serve(session, dressed, call, &limits).await {
        Ok(served) => {
            note(gateway, ctx, &served);
            Ok(())
        }
        Err(error) => Err(refusal(&error)),
    }
}

fn note(gateway: &Gateway, ctx: &mut RequestContext, served: &Served) {
    if let Some(AuthenticatedClient(client)) = served.extensions.get() {
        ctx.record.facts.client = Some(client.clone());
    }
    if let Some(cause) = served.extensions.get::<crate::oauth::Cause>() {
        ctx.record.details.cause = Some(cause.0.to_string());
    }
    if let Some(AuthenticationFailed) = served.extensions.get()
        && let Some(in_work) = &ctx.in_work
    {
        Arc::clone(in_work.downstream()).failed(ctx.source, gateway.clock.now());
    }
}

fn refusal(error: &BridgeError) -> Refusal {
    match error.problem_kind() {
        Some(kind) => Problem::new(kind).into(),
        None => Fault::CallerGone.into(),
    }
}
