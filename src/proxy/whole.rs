//! The whole lane: the request is held whole or has no body; its answer is read whole where rules must change or check
//! it, and passes as it comes where not.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Version, header};
use pingora_core::protocols::http::HttpTask;
use pingora_http::{RequestHeader, ResponseHeader};

use super::answer::dress;
use super::caller::Caller;
use super::context::RequestContext;
use super::entrance::holder;
use super::exchange::{Answer, AnswerBody, Parcel, send};
use super::failure::Fault;
use super::gateway::Gateway;
use super::headers::{Outbound, Whole, strip_representation, strip_response};
use super::held::{Growing, Held};
use super::rewrite::{rewrite, text};
use crate::admission::Admitted;
use crate::contract::Mode;
use crate::upstream::Tried;

/// How much of an answer is collected, where it comes faster than it leaves.
const TOGETHER_BYTES_MAX: usize = 64 * 1024;
/// The same in parts: one of a byte holds the memory that it was read into.
const TOGETHER_PARTS_MAX: usize = 256;

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

/// Carries an admitted request to a back end and its answer to the caller. What is held of the request is given up once there
/// is an answer.
pub(super) async fn serve(
    gateway: &Gateway,
    caller: &mut Caller<'_>,
    ctx: &mut RequestContext,
    held: &mut Option<Held>,
) -> Result<(), End> {
    let Answer { interim, header, mut body, .. } = exchange(caller, ctx, held.as_ref()).await?;
    *held = None;
    let status = header.status;
    ctx.note(|facts| facts.upstream_status = Some(status.as_u16()));
    let bodiless =
        caller.request().method == Method::HEAD || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let rewritten = ctx.admitted.as_ref().is_some_and(|admitted| admitted.permit.obligations.rewrites_body());
    let read = match ctx.admitted.as_ref() {
        Some(admitted) if !bodiless => inspect(gateway, admitted, &header, &mut body).await,
        _ => Ok(Inspected::Passes),
    };
    let mut header = outgoing(header);
    match read {
        Ok(Inspected::Whole { bytes, observed }) => {
            body.end(true).await;
            if rewritten {
                strip_representation(&mut header);
            }
            ctx.note(|facts| facts.observed.1 = observed);
            write_whole(caller, ctx, header, bytes).await
        }
        Ok(Inspected::Passes) if bodiless => {
            body.end(true).await;
            if rewritten {
                strip_representation(&mut header); // What HEAD tells is what GET would, and that is rewritten.
            }
            write_interim(caller, interim).await?;
            write_header(caller, ctx, header).await.map_err(End::Before)
        }
        Ok(Inspected::Passes) => {
            write_interim(caller, interim).await?;
            pass(caller, ctx, header, body, Vec::new()).await
        }
        Ok(Inspected::TooLargeToCheck(begin)) => pass(caller, ctx, header, body, begin).await,
        Err(fault) => {
            body.end(false).await;
            Err(fault.into())
        }
    }
}

async fn exchange(caller: &mut Caller<'_>, ctx: &mut RequestContext, held: Option<&Held>) -> Result<Answer, Fault> {
    let mut parcel = parcel(caller.request(), ctx, held)?;
    let safe = parcel.request.method.is_safe();
    let mut tried = Tried::default();
    let sent = while_wanted(caller, safe, pin!(send(&mut parcel, &mut tried))).await;
    ctx.note(|facts| (facts.backend, facts.attempts) = (tried.last().cloned(), tried.attempts()));
    let answer = sent?;
    let waited = answer.waited;
    let forward = ctx.forward_mut()?;
    forward.waited = Some(waited);
    forward.authority = Some(answer.body.picked.authority().clone());
    ctx.note(|facts| facts.upstream_took = Some(waited));
    Ok(answer)
}

/// What is to be sent to the back end.
fn parcel(request: &RequestHeader, ctx: &RequestContext, held: Option<&Held>) -> Result<Parcel, Fault> {
    let admitted = ctx.admitted.as_ref().ok_or(Fault::Internal("not admitted"))?;
    let body = held.map(|held| held.bytes.clone());
    let whole = Some(whole(&request.method, body.as_ref()));
    let outbound = Outbound { whole, plain: admitted.answer_is_read(), ..Outbound::of(request, ctx)? };
    let mut fields = outbound.fields(&request.headers)?;
    for_whole(&mut fields, admitted.permit.obligations.rewrites_body());
    let forward = ctx.forward()?;
    let mut parts = http::Request::new(()).into_parts().0; // HTTP/1.1
    (parts.method, parts.uri, parts.headers) = (request.method.clone(), forward.target.clone(), fields);
    Ok(Parcel { pool: Arc::clone(&admitted.pool), request: parts.into(), body, deadline: forward.deadline })
}

/// RFC 9110 §8.6: a method that anticipates a body says that there is none.
fn whole(method: &Method, body: Option<&Bytes>) -> Whole {
    match body {
        Some(body) => Whole::Bytes(body.len()),
        None if matches!(*method, Method::POST | Method::PUT | Method::PATCH) => Whole::Bytes(0),
        None => Whole::Absent,
    }
}

fn for_whole(fields: &mut HeaderMap, rewritten: bool) {
    fields.remove(header::TRANSFER_ENCODING); // The body is framed by its length.
    if rewritten {
        // Parts of, and conditions on, a representation that the caller never sees.
        for name in [header::RANGE, header::IF_RANGE, header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE] {
            fields.remove(&name);
        }
    }
}

/// Gives an exchange up when the caller goes away, if giving it up is safe.
async fn while_wanted<T>(
    caller: &mut Caller<'_>,
    safe: bool,
    work: impl Future<Output = Result<T, Fault>> + Unpin, // Pinned where it is: its state is large.
) -> Result<T, Fault> {
    if !safe {
        return work.await;
    }
    tokio::select! {
        biased;
        done = work => done,
        // The request was read to its end: what could still come is the end of the connection, or of the stream.
        _ = caller.gone() => Err(Fault::CallerGone),
    }
}

/// A header of the back end on its way to the caller.
fn outgoing(mut header: Box<ResponseHeader>) -> Box<ResponseHeader> {
    header.set_version(Version::HTTP_11); // That of the caller's connection is the business of whoever writes it.
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
async fn inspect(
    gateway: &Gateway,
    admitted: &Admitted,
    header: &ResponseHeader,
    body: &mut AnswerBody,
) -> Result<Inspected, Fault> {
    if !admitted.answer_is_read() {
        return Ok(Inspected::Passes);
    }
    let operation = admitted.operation().ok_or(Fault::Internal("the operation is unknown"))?;
    let obligations = &admitted.permit.obligations;
    let must = obligations.rewrites_body() || operation.terms.response_contract == Mode::Enforce;
    let headers = &header.headers;
    let body = match read(gateway, admitted, headers, body, must).await? {
        Read::Whole(held) => held,
        Read::TooLarge(begin) => return Ok(Inspected::TooLargeToCheck(begin)),
    };
    let observed = match operation.terms.response_contract {
        Mode::Off => 0,
        mode => {
            let content_type = text(headers, header::CONTENT_TYPE);
            let errors = operation.contract.check_response(header.status, content_type, &body.bytes);
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

async fn read(
    gateway: &Gateway,
    admitted: &Admitted,
    headers: &HeaderMap,
    answer: &mut AnswerBody,
    must: bool,
) -> Result<Read, Fault> {
    let max = gateway.limits.buffered_bytes_max;
    let too_large = Fault::Unusable("it is too large to be checked");
    let length = text(headers, header::CONTENT_LENGTH).and_then(|v| v.parse::<u64>().ok());
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

/// A body whose length is unknown is chunked towards HTTP/1.1, and ends with the connection towards HTTP/1.0 (RFC 9112
/// §6.1); HTTP/2 frames by itself.
fn frame(caller: &mut Caller<'_>, header: &mut ResponseHeader) -> Result<(), Fault> {
    if header.headers.contains_key(header::CONTENT_LENGTH) || caller.is_http2() {
        return Ok(());
    }
    if caller.request().version == Version::HTTP_10 {
        caller.close();
        return Ok(());
    }
    let set = header.insert_header(header::TRANSFER_ENCODING, "chunked");
    set.map_err(|_| Fault::Internal("the framing cannot be set"))
}

/// Passes interim answers on (RFC 9110 §15.2), to whom can be sent any.
async fn write_interim(caller: &mut Caller<'_>, interim: Vec<ResponseHeader>) -> Result<(), Fault> {
    if caller.request().version == Version::HTTP_10 {
        return Ok(());
    }
    for header in interim {
        let written = caller.write_header(outgoing(Box::new(header))).await;
        written.map_err(|_| Fault::CallerGone)?;
    }
    Ok(())
}

fn dressed(
    caller: &Caller<'_>,
    ctx: &RequestContext,
    mut header: Box<ResponseHeader>,
) -> Result<Box<ResponseHeader>, Fault> {
    dress(&mut header, ctx, caller.request().uri.path())
        .map_err(|_| Fault::Internal("the header cannot be written"))?;
    Ok(header)
}

/// Writes an answer that is its header alone.
async fn write_header(caller: &mut Caller<'_>, ctx: &RequestContext, header: Box<ResponseHeader>) -> Result<(), Fault> {
    let header = dressed(caller, ctx, header)?;
    caller.write_tasks(vec![HttpTask::Header(header, true)]).await.map_err(|_| Fault::CallerGone)
}

async fn write_whole(
    caller: &mut Caller<'_>,
    ctx: &RequestContext,
    mut header: Box<ResponseHeader>,
    bytes: Bytes,
) -> Result<(), End> {
    let set = header.insert_header(header::CONTENT_LENGTH, bytes.len());
    set.map_err(|_| Fault::Internal("the length cannot be set"))?;
    let tasks = vec![HttpTask::Header(dressed(caller, ctx, header)?, false), HttpTask::Body(Some(bytes), true)];
    caller.write_tasks(tasks).await.map_err(|_| End::Midway(Fault::CallerGone))
}

/// Passes an answer on as it comes. What of it has arrived together leaves together, in one packet if it is small; a
/// back end that breaks before anything has left is answered for.
async fn pass(
    caller: &mut Caller<'_>,
    ctx: &RequestContext,
    mut header: Box<ResponseHeader>,
    mut body: AnswerBody,
    begin: Vec<Bytes>,
) -> Result<(), End> {
    frame(caller, &mut header)?;
    let mut outgoing = Outgoing::new(dressed(caller, ctx, header)?);
    for chunk in begin {
        outgoing.push(chunk);
    }
    let outcome = loop {
        match next(caller, &mut body, &mut outgoing).await {
            Ok(Some(chunk)) => outgoing.push(chunk),
            Ok(None) => break Ok(()),
            Err(fault) => break Err(fault),
        }
    };
    body.end(outcome.is_ok()).await; // Before the rest leaves: a slow caller keeps no connection of the back end.
    let outcome = match outcome {
        Ok(()) => {
            outgoing.end();
            outgoing.leave(caller).await
        }
        Err(fault) => Err(fault),
    };
    outcome.map_err(if outgoing.begun { End::Midway } else { End::Before })
}

/// The next part of the body. Before it is waited for, everything before it leaves.
async fn next(caller: &mut Caller<'_>, body: &mut AnswerBody, outgoing: &mut Outgoing) -> Result<Option<Bytes>, Fault> {
    if outgoing.bytes >= TOGETHER_BYTES_MAX || outgoing.tasks.len() >= TOGETHER_PARTS_MAX {
        outgoing.leave(caller).await?;
    }
    let mut next = pin!(body.next());
    if let Poll::Ready(chunk) = poll_fn(|cx| Poll::Ready(next.as_mut().poll(cx))).await {
        return chunk;
    }
    outgoing.leave(caller).await?;
    while_wanted(caller, true, next).await
}

/// What of an answer has not left yet.
struct Outgoing {
    tasks: Vec<HttpTask>,
    bytes: usize,
    /// Something has left, or may have.
    begun: bool,
}

impl Outgoing {
    fn new(header: Box<ResponseHeader>) -> Self {
        let mut tasks = Vec::with_capacity(3); // Most answers: header, body, end.
        tasks.push(HttpTask::Header(header, false));
        Self { tasks, bytes: 0, begun: false }
    }

    fn push(&mut self, chunk: Bytes) {
        self.bytes += chunk.len();
        self.tasks.push(HttpTask::Body(Some(chunk), false));
    }

    /// Says that it was all: with the last part, if that has not left, for over HTTP/2 each part is a frame.
    fn end(&mut self) {
        match self.tasks.last_mut() {
            Some(HttpTask::Body(_, end)) => *end = true,
            _ => self.tasks.push(HttpTask::Done),
        }
    }

    async fn leave(&mut self, caller: &mut Caller<'_>) -> Result<(), Fault> {
        if self.tasks.is_empty() {
            return Ok(());
        }
        (self.begun, self.bytes) = (true, 0);
        let written = caller.write_tasks(std::mem::take(&mut self.tasks)).await;
        written.map_err(|_| Fault::CallerGone)
    }
}
