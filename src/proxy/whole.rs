//! The buffered lane: the request is held whole, its answer is read whole where rules must change or check it, and
//! streamed on where not.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, Version, header};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;

use super::answer::dress;
use super::context::RequestContext;
use super::entrance::holder;
use super::exchange::{Answer, Parcel, send};
use super::failure::Fault;
use super::gateway::Gateway;
use super::headers::{Outbound, Whole, prepare_request, strip_representation, strip_response};
use super::held::{Growing, Held};
use super::rewrite::{rewrite, text};
use super::streaming::host;
use crate::admission::Admitted;
use crate::contract::Mode;
use crate::signal::TraceContext;
use crate::upstream::{Picked, Tried};

/// Why the lane ended early.
pub(super) enum End {
    /// Nothing was sent to the caller yet.
    Before(Fault),
    /// The answer's header was sent; what follows broke off.
    Midway(Fault),
}

impl From<Fault> for End {
    fn from(fault: Fault) -> Self {
        Self::Before(fault)
    }
}

/// Carries an admitted request to a back end and its answer to the caller.
pub(super) async fn serve(
    gateway: &Gateway,
    session: &mut Session,
    ctx: &mut RequestContext,
    held: Option<Held>,
) -> Result<(), End> {
    let mut answer = exchange(session, ctx, held.as_ref()).await?;
    drop(held);
    let status = answer.header.status;
    ctx.note(|facts| facts.upstream_status = Some(status.as_u16()));
    let bodiless = session.req_header().method == Method::HEAD
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let mut header = outgoing(&answer.header);
    let rewritten = ctx.admitted.as_ref().is_some_and(|admitted| admitted.permit.obligations.rewrites_body());
    let read = match ctx.admitted.as_ref() {
        Some(admitted) if !bodiless => inspect(gateway, admitted, &mut answer).await,
        _ => Ok(Inspected::Passes),
    };
    match read {
        Ok(Inspected::Whole { bytes, observed }) => {
            answer.end(true).await;
            if rewritten {
                strip_representation(&mut header);
            }
            ctx.note(|facts| facts.observed.1 = observed);
            write_whole(session, ctx, header, bytes).await
        }
        Ok(Inspected::Passes) if bodiless => {
            answer.end(true).await;
            if rewritten {
                strip_representation(&mut header); // What HEAD tells is what GET would, and that is rewritten.
            }
            write_header(session, ctx, header, true).await.map_err(End::Before)
        }
        Ok(Inspected::Passes) => {
            frame(&mut header)?;
            write_header(session, ctx, header, false).await?;
            stream(session, answer, Vec::new()).await
        }
        Ok(Inspected::TooLargeToCheck(begin)) => {
            frame(&mut header)?;
            write_header(session, ctx, header, false).await?;
            stream(session, answer, begin).await
        }
        Err(fault) => {
            answer.end(false).await;
            Err(fault.into())
        }
    }
}

async fn exchange(session: &mut Session, ctx: &mut RequestContext, held: Option<&Held>) -> Result<Answer, Fault> {
    let pool =
        ctx.admitted.as_ref().map(|admitted| Arc::clone(&admitted.pool)).ok_or(Fault::Internal("not admitted"))?;
    let rewritten = ctx.admitted.as_ref().is_some_and(|admitted| admitted.permit.obligations.rewrites_body());
    let base = session.req_header().clone();
    let host = host(session).unwrap_or_default().to_owned();
    let (interaction, client, secure) = (ctx.interaction_value.clone(), ctx.source, ctx.is_secure());
    let trace = ctx.trace.clone();
    let traceparent = trace.as_ref().map(TraceContext::traceparent);
    let forward = ctx.forward()?;
    let (target, caller) = (forward.target.clone(), forward.caller.clone());
    let body = held.map(|held| held.bytes.clone());
    let whole = whole(&base.method, body.as_ref());
    let prepare = |picked: &Picked, credential: Option<&(http::HeaderName, HeaderValue)>| {
        let mut request = base.clone();
        let outbound = Outbound {
            authority: picked.authority(),
            target: &target,
            credential,
            caller: &caller,
            client,
            secure,
            host: &host,
            interaction: &interaction,
            traceparent: traceparent.as_ref(),
            tracestate: trace.as_ref().and_then(TraceContext::tracestate),
            whole: Some(whole),
            websocket: false,
        };
        prepare_request(&mut request, &outbound)?;
        for_whole(&mut request, rewritten);
        Ok(request)
    };
    let parcel = Parcel { pool: &pool, method: base.method.clone(), body, deadline: forward.deadline };
    let mut tried = Tried::default();
    let sent = while_wanted(session, base.method.is_safe(), send(&parcel, &mut tried, &prepare)).await;
    ctx.note(|facts| (facts.backend, facts.attempts) = (tried.last().cloned(), tried.attempts()));
    let answer = sent?;
    let waited = answer.waited;
    ctx.forward()?.waited = Some(waited);
    ctx.note(|facts| facts.upstream_took = Some(waited));
    Ok(answer)
}

/// RFC 9110 §8.6: a method that anticipates a body says that there is none.
fn whole(method: &Method, body: Option<&Bytes>) -> Whole {
    match body {
        Some(body) => Whole::Bytes(body.len()),
        None if matches!(*method, Method::POST | Method::PUT | Method::PATCH) => Whole::Bytes(0),
        None => Whole::Absent,
    }
}

fn for_whole(request: &mut RequestHeader, rewritten: bool) {
    request.remove_header(&header::TRANSFER_ENCODING); // The body is framed by its length.
    request.set_version(Version::HTTP_11);
    if rewritten {
        // Parts of, and conditions on, a representation that the caller never sees.
        for name in [header::RANGE, header::IF_RANGE, header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE] {
            request.remove_header(&name);
        }
    }
}

/// Gives an exchange up when the caller resets its stream, if giving it up is safe.
async fn while_wanted<T>(
    session: &mut Session,
    safe: bool,
    work: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    match session.as_downstream_mut().watch_h2_stream_close() {
        Some(closed) if safe => tokio::select! {
            done = work => done,
            _ = closed => Err(Fault::CallerGone),
        },
        _ => work.await,
    }
}

/// The answer's header on its way to the caller.
fn outgoing(theirs: &ResponseHeader) -> ResponseHeader {
    let mut header = theirs.clone();
    header.set_version(Version::HTTP_11); // That of the caller's connection is Pingora's business.
    strip_response(&mut header, false);
    header
}

enum Inspected {
    /// No rule looks at the body.
    Passes,
    /// It was read, and is this now.
    Whole { bytes: Bytes, observed: usize },
    /// A contract that is only observed does not stop what is too large to hold; this much was read.
    TooLargeToCheck(Vec<Bytes>),
}

/// Reads, checks and rewrites the body as the rules demand.
async fn inspect(gateway: &Gateway, admitted: &Admitted, answer: &mut Answer) -> Result<Inspected, Fault> {
    let operation = admitted.operation().ok_or(Fault::Internal("the operation is unknown"))?;
    let obligations = &admitted.permit.obligations;
    let must = obligations.rewrites_body() || operation.response_contract == Mode::Enforce;
    if !must && operation.response_contract == Mode::Off {
        return Ok(Inspected::Passes);
    }
    let body = match read(gateway, admitted, answer, must).await? {
        Read::Whole(held) => held,
        Read::TooLarge(begin) => return Ok(Inspected::TooLargeToCheck(begin)),
    };
    let headers = &answer.header.headers;
    let observed = match operation.response_contract {
        Mode::Off => 0,
        mode => {
            let content_type = text(headers, header::CONTENT_TYPE);
            let errors = operation.contract.check_response(answer.header.status, content_type, &body.bytes);
            if mode == Mode::Enforce && !errors.is_empty() {
                return Err(Fault::Unusable("it breaks the contract"));
            }
            errors.len()
        }
    };
    if !obligations.rewrites_body() {
        return Ok(Inspected::Whole { bytes: body.bytes, observed });
    }
    let bytes = rewrite(headers, &body.bytes, obligations)?.into();
    Ok(Inspected::Whole { bytes, observed })
}

enum Read {
    Whole(Held),
    TooLarge(Vec<Bytes>),
}

async fn read(gateway: &Gateway, admitted: &Admitted, answer: &mut Answer, must: bool) -> Result<Read, Fault> {
    let max = gateway.limits.buffered_bytes_max;
    let too_large = Fault::Unusable("it is too large to be checked");
    let length = text(&answer.header.headers, header::CONTENT_LENGTH).and_then(|v| v.parse::<u64>().ok());
    if length.is_some_and(|length| length > max as u64) {
        return if must { Err(too_large) } else { Ok(Read::TooLarge(Vec::new())) };
    }
    let holder = holder(&admitted.caller, &admitted.snapshot);
    let mut body = Growing::new(&gateway.budget, holder, max, None)?;
    while let Some(chunk) = answer.next().await? {
        match body.push(&chunk) {
            Ok(()) => {}
            Err(Fault::BodyTooLarge | Fault::Overloaded | Fault::ClientOverloaded) if !must => {
                return Ok(Read::TooLarge(vec![body.finish().bytes, chunk]));
            }
            Err(Fault::BodyTooLarge) => return Err(too_large),
            Err(fault) => return Err(fault),
        }
    }
    Ok(Read::Whole(body.finish()))
}

/// A body whose length is unknown is chunked towards HTTP/1.1; HTTP/2 frames by itself.
fn frame(header: &mut ResponseHeader) -> Result<(), Fault> {
    if header.headers.contains_key(header::CONTENT_LENGTH) {
        return Ok(());
    }
    let set = header.insert_header(header::TRANSFER_ENCODING, "chunked");
    set.map_err(|_| Fault::Internal("the framing cannot be set"))
}

async fn write_header(
    session: &mut Session,
    ctx: &RequestContext,
    mut header: ResponseHeader,
    end: bool,
) -> Result<(), Fault> {
    let path = session.req_header().uri.path().to_owned();
    dress(&mut header, ctx, &path).map_err(|_| Fault::Internal("the header cannot be written"))?;
    session.write_response_header(Box::new(header), end).await.map_err(|_| Fault::CallerGone)?;
    if end {
        session.as_downstream_mut().finish_body().await.map_err(|_| Fault::CallerGone)?;
    }
    Ok(())
}

async fn write_whole(
    session: &mut Session,
    ctx: &RequestContext,
    mut header: ResponseHeader,
    bytes: Bytes,
) -> Result<(), End> {
    let set = header.insert_header(header::CONTENT_LENGTH, bytes.len());
    set.map_err(|_| Fault::Internal("the length cannot be set"))?;
    write_header(session, ctx, header, false).await?;
    session.write_response_body(Some(bytes), true).await.map_err(|_| End::Midway(Fault::CallerGone))
}

async fn stream(session: &mut Session, mut answer: Answer, begin: Vec<Bytes>) -> Result<(), End> {
    for chunk in begin {
        session.write_response_body(Some(chunk), false).await.map_err(|_| End::Midway(Fault::CallerGone))?;
    }
    loop {
        match answer.next().await {
            Ok(Some(chunk)) => {
                if session.write_response_body(Some(chunk), false).await.is_err() {
                    answer.end(false).await;
                    return Err(End::Midway(Fault::CallerGone));
                }
            }
            Ok(None) => {
                answer.end(true).await;
                let ended = session.write_response_body(None, true).await;
                return ended.map_err(|_| End::Midway(Fault::CallerGone));
            }
            Err(fault) => {
                answer.end(false).await;
                return Err(End::Midway(fault));
            }
        }
    }
}
