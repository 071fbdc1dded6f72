//! Requests to the paths that are our own: OAuth, catalogue, usage, portal.

use http::Extensions;

use super::bridge::{self, BridgeLimits, Call};
use super::caller::Caller;
use super::context::{Refusal, RequestContext};
use super::failure::Fault;
use super::gateway::Gateway;
use crate::oauth::{AuthenticatedClient, AuthenticationFailed, Source, TokenIssued, VisitEvent};
use crate::problem::{Kind, Problem};

/// Hands the request to the router, and tells flood guard and record what came of it.
pub(super) async fn serve(gateway: &Gateway, caller: &mut Caller<'_>, ctx: &mut RequestContext) -> Result<(), Refusal> {
    if ctx.websocket {
        return Err(Problem::new(Kind::UpgradeRefused).into());
    }
    let connection = ctx.connection.clone().ok_or(Fault::Internal("the connection is unknown"))?;
    let mut extensions = Extensions::new();
    extensions.insert(ctx.interaction);
    extensions.insert(Source(ctx.source));
    let call = Call { connection, extensions, expects_continue: std::mem::take(&mut ctx.expects_continue) };
    // Each endpoint has its own, far smaller bound, and says so in its own words (RFC 9126 §2.3); this is the outer one.
    let limits = BridgeLimits {
        body_bytes_max: gateway.limits.body_bytes_max,
        body_idle_timeout: gateway.limits.body_idle_timeout,
        body_timeout: gateway.limits.body_timeout,
    };
    let served = match bridge::serve(caller, gateway.own.clone(), call, &limits).await {
        Ok(served) => served,
        Err(error) => {
            let cause = error.to_string();
            ctx.note(|facts| facts.cause = Some(cause));
            return Err(error
                .problem_kind()
                .map_or(Refusal::Failed(Fault::CallerGone), |kind| Problem::new(kind).into()));
        }
    };
    if served.extensions.get::<AuthenticationFailed>().is_some()
        && let Some(in_work) = &ctx.in_work
    {
        in_work.downstream().failed(ctx.source, gateway.clock.now());
    }
    if let Some(AuthenticatedClient(client)) = served.extensions.get() {
        ctx.note(|facts| facts.own_client = Some(client.clone()));
    }
    if let Some(event) = served.extensions.get::<VisitEvent>() {
        ctx.note(|facts| facts.visit = Some(event.clone()));
    }
    if let Some(TokenIssued(method)) = served.extensions.get() {
        ctx.note(|facts| facts.token_issued = Some(method));
    }
    Ok(())
}
