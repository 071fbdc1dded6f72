//! The streaming lane: Pingora carries the bytes, these are the decisions on the way.
//!
//! Invariants: the total deadline and the limits are looked at with every chunk, and Pingora's own read timeout is
//! never longer than what is left, so a silent exchange ends too; a fuse ends one whose header drips; what
//! [`may_retry`] forbids is not sent again.

use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Instant as StdInstant;

use bytes::Bytes;
use http::header::UPGRADE;
use http::{HeaderValue, StatusCode, Version};
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorType};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;
use tokio::time::{Instant, timeout_at};

use super::context::{Forward, RequestContext};
use super::exchange::{INTERIM_MAX, is_unprocessed};
use super::failure::Fault;
use super::framing;
use super::headers::{Outbound, address, strip_response};
use super::retry::{Attempt, Body, may_retry};
use super::spelling::change_request;
use crate::upstream::{Fuses, Outcome, PeerTerms};

/// Picks a back end for the next attempt and fetches our credential towards it.
pub(super) async fn peer(session: &mut Session, ctx: &mut RequestContext) -> Result<HttpPeer, Fault> {
    let pool = ctx.admitted.as_ref().map(|admitted| admitted.pool.clone()).ok_or(Fault::Internal("not admitted"))?;
    let uploading = !session.as_downstream_mut().is_body_empty();
    let forward = ctx.forward_mut()?;
    let now = StdInstant::now();
    let picked = match pool.pick(&mut forward.tried, now) {
        Ok(picked) => picked,
        Err(none) => return Err(forward.fault.take().unwrap_or(Fault::NoBackend(none))),
    };
    forward.fault = None;
    let credential = timeout_at(forward.deadline, pool.authorization(now)).await.map_err(|_| Fault::TimedOut)?;
    forward.credential = credential?;
    let terms = PeerTerms { budget: forward.budget(), uploading, websocket: forward.websocket };
    let peer = picked.peer(terms);
    forward.authority = Some(picked.authority().clone());
    let (id, attempts) = (Arc::clone(picked.id()), forward.tried.attempts());
    forward.picked = Some(picked);
    ctx.note(|facts| (facts.backend, facts.attempts) = (Some(id), attempts));
    Ok(peer)
}

/// The connection came to nothing. Answers whether to try another back end.
pub(super) fn not_connected(session: &mut Session, ctx: &mut RequestContext, error: &Error) -> bool {
    let fault = Fault::from_connect(error);
    let method = session.req_header().method.clone();
    let body = body_state(session, ctx.forward.as_ref());
    let Ok(forward) = ctx.forward_mut() else { return false };
    if let Some(mut picked) = forward.picked.take() {
        picked.report(Outcome::ConnectFailed, StdInstant::now());
    }
    let attempt = Attempt { body, reused: false, answered: false, attempts: forward.tried.attempts() };
    let again = may_retry(&method, &fault, attempt) && !forward.is_late();
    forward.fault = Some(fault);
    again
}

/// A connection is there. One that carries other exchanges too (HTTP/2) times its headers by itself.
pub(super) fn connected(fuses: &Arc<Fuses>, descriptor: RawFd, ctx: &mut RequestContext) -> Result<(), Fault> {
    let shared = ctx.admitted.as_ref().is_some_and(|admitted| admitted.pool.settings().http2);
    let forward = ctx.forward_mut()?;
    if !shared && !forward.websocket {
        // Without a descriptor for the fuse it goes on without one: better than to fail who has a connection already.
        forward.fuse = fuses.light(descriptor, forward.deadline.into_std()).ok();
    }
    Ok(())
}

/// The exchange broke. Answers whether to try again.
pub(super) fn broke(session: &mut Session, ctx: &mut RequestContext, error: &Error, reused: bool) -> bool {
    let method = session.req_header().method.clone();
    let body = body_state(session, ctx.forward.as_ref());
    let answered = session.response_written().is_some_and(|header| !header.status.is_informational());
    let Ok(forward) = ctx.forward_mut() else { return false };
    forward.fuse = None;
    let ours = forward.fault.take();
    // Time that ran out while the answer passed, or on a WebSocket, is the caller's as much as the back end's.
    let blameless = forward.answered && (forward.websocket || ours == Some(Fault::TimedOut));
    let fault = ours.unwrap_or_else(|| Fault::from_proxying(error));
    let uploading = body != Body::Absent && !forward.body_ended;
    let fault = match fault {
        // A pause of the caller looks like one of the back end, which waits for the rest of the body; unless it takes none.
        Fault::TimedOut if uploading && *error.etype() != ErrorType::WriteTimedout => Fault::BodyTimedOut,
        Fault::Broken(_) if forward.is_late() && uploading => Fault::BodyTimedOut, // By the fuse.
        Fault::Broken(_) if forward.is_late() => Fault::TimedOut,
        fault => fault,
    };
    if let (false, Some(outcome), Some(picked)) = (blameless, fault.outcome(), &mut forward.picked) {
        picked.report(outcome, StdInstant::now());
        if *error.etype() == ErrorType::InvalidH2 {
            picked.keep_http2();
        }
    }
    let attempt = Attempt {
        body,
        reused: reused || is_unprocessed(error),
        answered: answered || (forward.answered && fault != Fault::CredentialRefused),
        attempts: forward.tried.attempts(),
    };
    let again = may_retry(&method, &fault, attempt) && !forward.is_late();
    let again =
        again && !(fault == Fault::CredentialRefused && std::mem::replace(&mut forward.credential_refused, true));
    // With a fresh token, or over a connection that had not gone stale, the same back end may well answer.
    if again && let Some(picked) = &forward.picked {
        forward.tried.forgive(picked);
    }
    forward.answered &= !again;
    forward.fault = Some(fault);
    again
}

fn body_state(session: &mut Session, forward: Option<&Forward>) -> Body {
    if session.as_downstream_mut().is_body_empty() {
        return Body::Absent;
    }
    Body::Streamed { begun: forward.is_none_or(|forward| forward.body_bytes > 0 || forward.body_ended) }
}

/// Writes the request as the back end sees it.
pub(super) fn prepare(session: &Session, request: &mut RequestHeader, ctx: &RequestContext) -> Result<(), Fault> {
    let forward = ctx.forward()?;
    let picked = forward.picked.as_ref().ok_or(Fault::Internal("no back end was picked"))?;
    let mut fields = Outbound::of(session.req_header(), ctx)?.fields(&request.headers)?;
    address(&mut fields, picked.authority(), forward.credential.as_ref())?;
    change_request(request, |parts| (parts.uri, parts.headers) = (forward.target.clone(), fields));
    Ok(())
}

/// A chunk of the request passes.
pub(super) fn request_chunk(chunk: &mut Option<Bytes>, end: bool, ctx: &mut RequestContext) -> Result<(), Fault> {
    let forward = ctx.forward_mut()?;
    if end && chunk.as_ref().is_some_and(Bytes::is_empty) {
        // HTTP/2 clients may end a body with an empty frame. Pingora would write it as a chunk of no bytes, and then
        // the terminating one: five bytes that the back end takes for the begin of the connection's next request.
        *chunk = None;
    }
    forward.body_bytes = forward.body_bytes.saturating_add(chunk.as_ref().map_or(0, |bytes| bytes.len() as u64));
    forward.body_ended |= end;
    let fault = if forward.is_late() && !forward.websocket {
        Fault::TimedOut
    } else if forward.body_bytes > forward.body_bytes_max && !forward.websocket {
        Fault::BodyTooLarge
    } else if Instant::now() >= forward.body_deadline && !forward.websocket {
        Fault::BodyTimedOut
    } else {
        return Ok(());
    };
    forward.fault = Some(fault.clone());
    Err(fault)
}

/// The header of an answer has arrived, possibly an interim one.
pub(super) async fn response_header(header: &mut ResponseHeader, ctx: &mut RequestContext) -> Result<(), Fault> {
    let pool = ctx.admitted.as_ref().map(|admitted| admitted.pool.clone());
    let forward = ctx.forward_mut()?;
    let upgrading = header.status == StatusCode::SWITCHING_PROTOCOLS;
    if !upgrading {
        header.set_version(Version::HTTP_11); // RFC 9110 §2.5: ours, whatever the back end speaks.
    }
    if header.status.is_informational() && !upgrading {
        strip_response(header, false);
        forward.interim += 1;
        if forward.interim > INTERIM_MAX {
            let flood = Fault::Broken("no final answer after the interim ones".into());
            forward.fault = Some(flood.clone());
            return Err(flood);
        }
        return Ok(());
    }
    forward.fuse = None;
    let fault = judge(header, upgrading, forward);
    let doubt = Fault::of_status(header.status, forward.credential.is_some());
    let refused = doubt == Some(Fault::CredentialRefused);
    let (status, waited) = (header.status.as_u16(), forward.started.elapsed());
    if let Some(picked) = &mut forward.picked {
        picked.report(Outcome::Answered { status }, StdInstant::now());
    }
    (forward.answered, forward.waited) = (true, Some(waited));
    if let (true, Some(pool), Some((_, value))) = (refused, pool, forward.credential.clone()) {
        let renewed = pool.refused(&value, StdInstant::now()).await;
        forward.credential_refused |= !renewed;
    }
    let fault = doubt.or(fault);
    forward.fault.clone_from(&fault);
    ctx.note(|facts| (facts.upstream_status, facts.upstream_took) = (Some(status), Some(waited)));
    strip_response(header, upgrading);
    fault.map_or(Ok(()), Err)
}

fn judge(header: &ResponseHeader, upgrading: bool, forward: &Forward) -> Option<Fault> {
    if let Some(flaw) = framing::flaw(header) {
        return Some(Fault::Broken(flaw.into()));
    }
    // RFC 6455 §4.1: to the protocol that was asked for, or not at all.
    let switched = || header.headers.get_all(UPGRADE).iter().map(HeaderValue::as_bytes);
    let websocket = || switched().count() == 1 && switched().all(|to| to.eq_ignore_ascii_case(b"websocket"));
    let unasked = upgrading && !(forward.websocket && websocket());
    unasked.then(|| Fault::Broken("protocols switched without being asked".into()))
}

/// A chunk of the answer passes.
pub(super) fn response_chunk(ctx: &mut RequestContext) -> Result<(), Fault> {
    let forward = ctx.forward_mut()?;
    // A WebSocket lives as long as it is used: its silence is bounded by the peer's read timeout.
    if forward.is_late() && !forward.websocket {
        forward.fault = Some(Fault::TimedOut);
        return Err(Fault::TimedOut);
    }
    Ok(())
}

/// What Pingora is told; the true cause is in the context.
pub(super) fn as_error(fault: &Fault) -> Box<Error> {
    Error::new_in(ErrorType::Custom(fault.code()))
}
