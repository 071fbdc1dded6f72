//! From a request to its admission, and from that to its lane.

use std::sync::Arc;

use bytes::Bytes;
use http::{Uri, header};
use tokio::time::Instant;

use super::caller::Caller;
use super::context::{Forward, Refusal, RequestContext};
use super::failure::Fault;
use super::gateway::Gateway;
use super::headers::pseudonym;
use super::held::{Growing, Held, Holder, Source, read_whole};
use super::rewrite::{is_coded, text};
use crate::admission::{Admitted, BodyNeed, Head, Identified, Operation, Pending, Rejection, Snapshot, admit_head};
use crate::contract::{Body, Mode, parse_body};
use crate::domain::Connection;
use crate::problem::{Kind, Problem};
use crate::upstream::Tried;

/// Which way an admitted request goes.
pub(super) enum Lane {
    /// Request bodies of any size pass as they come.
    Stream,
    /// The request is held whole, or has no body; its answer passes as it comes unless it must be read.
    Whole(Option<Held>),
}

/// Asks admission, reading the body first where it takes part in the decision.
pub(super) async fn enter(
    gateway: &Gateway,
    caller: &mut Caller<'_>,
    ctx: &mut RequestContext,
) -> Result<Lane, Refusal> {
    let snapshot = gateway.snapshot();
    ctx.snapshot = Some(Arc::clone(&snapshot));
    ctx.note(|facts| facts.snapshot = Some(Arc::clone(&snapshot)));
    let connection = ctx.connection.clone().ok_or(Fault::Internal("the connection is unknown"))?;
    let pending = admit_head(&snapshot, &head(caller, &connection), ctx.received).await?;
    if ctx.websocket && !pending.operation().is_some_and(|operation| operation.terms.websocket) {
        return Err(Problem::new(Kind::UpgradeRefused).into());
    }
    ctx.note(|facts| {
        facts.operation = Some(pending.operation);
        facts.caller = Some(pending.caller.clone());
    });
    let need = pending.body_need();
    let held = match need {
        BodyNeed::Whole => {
            refuse_coded(caller)?;
            let max = body_bytes_max(gateway, pending.operation());
            read_body(gateway, caller, ctx, &pending.caller, &snapshot, max).await?
        }
        BodyNeed::Empty if !ctx.websocket => {
            match read_body(gateway, caller, ctx, &pending.caller, &snapshot, 0).await {
                Err(Refusal::Failed(Fault::BodyTooLarge)) => None, // There is one: for the contract to refuse.
                read => read?,
            }
        }
        BodyNeed::Empty | BodyNeed::None => None,
    };
    let body = parse(&pending, caller, held.as_ref())?;
    let admitted = pending.admit(&head(caller, &connection), &body, gateway.clock.now())?;
    note_admitted(ctx, &admitted);
    let lane = choose(gateway, caller, ctx, &admitted, need, held).await?;
    ctx.forward = Some(forward(gateway, caller, ctx, &admitted)?);
    ctx.admitted = Some(admitted);
    Ok(lane)
}

fn head<'a>(caller: &'a Caller<'_>, connection: &'a Connection) -> Head<'a> {
    let request = caller.request();
    let (path, query) = (request.uri.path(), request.uri.query());
    Head { method: &request.method, path, query, headers: &request.headers, connection }
}

fn note_admitted(ctx: &mut RequestContext, admitted: &Admitted) {
    ctx.note(|facts| {
        facts.subscription = Some(admitted.subscription.clone());
        facts.permit = Some(Arc::clone(&admitted.permit));
        facts.observed.0 = admitted.observed.len();
    });
}

/// A body that a contract must read cannot be compressed: we would have to inflate what a stranger deflated.
fn refuse_coded(caller: &Caller<'_>) -> Result<(), Refusal> {
    if is_coded(&caller.request().headers) {
        return Err(Problem::new(Kind::ContentCodingUnsupported)
            .header(header::ACCEPT_ENCODING, http::HeaderValue::from_static("identity"))
            .into());
    }
    Ok(())
}

/// What admission sees of the body: opaque if it is not to be read whole.
fn parse(pending: &Pending, caller: &mut Caller<'_>, held: Option<&Held>) -> Result<Body, Refusal> {
    let Some(held) = held else {
        return Ok(if caller.is_body_empty() { Body::Absent } else { Body::Opaque });
    };
    let enforced = pending.operation().is_some_and(|operation| operation.terms.request_contract == Mode::Enforce);
    match parse_body(text(&caller.request().headers, header::CONTENT_TYPE), &held.bytes) {
        Ok(body) => Ok(body),
        Err(error) if enforced => Err(Rejection::Contract(vec![error]).into()),
        Err(_) => Ok(Body::Opaque), // Observed only; a policy that needs the amount will not find one.
    }
}

async fn choose(
    gateway: &Gateway,
    caller: &mut Caller<'_>,
    ctx: &mut RequestContext,
    admitted: &Admitted,
    need: BodyNeed,
    held: Option<Held>,
) -> Result<Lane, Refusal> {
    let operation = admitted.operation().ok_or(Fault::Internal("the operation is unknown"))?;
    match need {
        BodyNeed::Whole => return Ok(Lane::Whole(held)),
        BodyNeed::Empty if held.is_some() => return Ok(Lane::Whole(None)), // Read to its end: of no bytes.
        BodyNeed::Empty | BodyNeed::None => {}
    }
    if admitted.answer_is_read() {
        let max = body_bytes_max(gateway, Some(operation));
        let held = read_body(gateway, caller, ctx, &admitted.caller, &admitted.snapshot, max).await?;
        return Ok(Lane::Whole(held));
    }
    let max = operation.terms.body_bytes_max.unwrap_or(gateway.limits.body_bytes_max);
    if announced(caller).is_some_and(|length| length > max) {
        return Err(Fault::BodyTooLarge.into());
    }
    if caller.is_body_empty() && !ctx.websocket {
        return Ok(Lane::Whole(None)); // One write, one answer: nothing to be carried both ways at once.
    }
    continue_if_expected(caller, ctx).await?;
    Ok(Lane::Stream)
}

fn forward(
    gateway: &Gateway,
    caller: &Caller<'_>,
    ctx: &RequestContext,
    admitted: &Admitted,
) -> Result<Forward, Fault> {
    let operation = admitted.operation().ok_or(Fault::Internal("the operation is unknown"))?;
    let started = std::time::Instant::now();
    let now = Instant::from_std(started);
    let client = &admitted.caller.partner.client;
    Ok(Forward {
        caller: pseudonym(&operation.institution.id, &client.tenant.id, &client.id)?,
        target: target(operation.upstream_path(caller.request().uri.path()), caller.request().uri.query())?,
        started,
        deadline: now + operation.terms.timeout.unwrap_or(admitted.pool.timeouts().total),
        tried: Tried::default(),
        picked: None,
        authority: None,
        credential: None,
        websocket: operation.terms.websocket && ctx.websocket,
        body_bytes: 0,
        body_bytes_max: operation.terms.body_bytes_max.unwrap_or(gateway.limits.body_bytes_max),
        body_deadline: now + gateway.limits.body_timeout,
        body_ended: false,
        interim: 0,
        answered: false,
        waited: None,
        credential_refused: false,
        fuse: None,
        fault: None,
    })
}

/// Path and query towards the back end: the caller's bytes, on another base path.
fn target(mut text: String, query: Option<&str>) -> Result<Uri, Fault> {
    if let Some(query) = query {
        text.reserve_exact(1 + query.len());
        text.push('?');
        text.push_str(query);
    }
    Uri::try_from(text).map_err(|_| Fault::Internal("the upstream path is not a path"))
}

/// The length that the caller announces.
fn announced(caller: &Caller<'_>) -> Option<u64> {
    text(&caller.request().headers, header::CONTENT_LENGTH)?.parse().ok()
}

/// RFC 9110 §10.1.1: admission was the last word that the caller waited for; the back end is not asked again.
async fn continue_if_expected(caller: &mut Caller<'_>, ctx: &mut RequestContext) -> Result<(), Fault> {
    if std::mem::take(&mut ctx.expects_continue) {
        caller.say_continue().await.map_err(|_| Fault::CallerGone)?;
    }
    Ok(())
}

/// What may be held of a body: the operation's own limit counts if it is the smaller one.
fn body_bytes_max(gateway: &Gateway, operation: Option<&Operation>) -> usize {
    let own = operation.and_then(|operation| usize::try_from(operation.terms.body_bytes_max?).ok());
    own.unwrap_or(usize::MAX).min(gateway.limits.buffered_bytes_max)
}

/// Whose bodies count together.
pub(super) fn holder<'a>(caller: &'a Identified, snapshot: &Snapshot) -> Holder<'a> {
    let client = &caller.partner.client;
    Holder {
        client: &client.id,
        client_bytes_max: snapshot.buffered_client_bytes_max,
        tenant: &client.tenant.id,
        tenant_bytes_max: snapshot.buffered_tenant_bytes_max,
    }
}

/// Reads the caller's body whole, within limit, share, budget and time. `None` if there is none.
async fn read_body(
    gateway: &Gateway,
    caller: &mut Caller<'_>,
    ctx: &mut RequestContext,
    identified: &Identified,
    snapshot: &Snapshot,
    bytes_max: usize,
) -> Result<Option<Held>, Refusal> {
    if caller.is_body_empty() {
        return Ok(None);
    }
    let body = Growing::new(&gateway.budget, holder(identified, snapshot), bytes_max, announced(caller))?;
    continue_if_expected(caller, ctx).await?;
    let deadline = Instant::now() + gateway.limits.body_timeout;
    let began = std::time::Instant::now();
    let read = read_whole(body, gateway.limits.body_idle_timeout, deadline, caller).await;
    ctx.body_wait += began.elapsed();
    let held = read?;
    // Its sender may have held it back for as long as `body_timeout`, and lost the right to send it meanwhile.
    identified.check_again(&gateway.snapshot(), gateway.clock.now())?;
    Ok(Some(held))
}

impl Source for Caller<'_> {
    async fn chunk(&mut self) -> Result<Option<Bytes>, Fault> {
        self.read_body().await.map_err(|error| Fault::from_downstream(&error))
    }
}
