//! Pingora's phases, thin: what happens when, and nothing else.

use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use bytes::Bytes;
use http::header::TRANSFER_ENCODING;
use http::{HeaderMap, StatusCode, Version};
use pingora_core::modules::http::HttpModules;
use pingora_core::protocols::Digest;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};

use super::answer::{dress, write_problem};
use super::context::{Refusal, RequestContext};
use super::entrance::{Lane, enter};
use super::failure::Fault;
use super::guard::{self, GuardSettings};
use super::held::ByteBudget;
use super::own;
use super::record::{Ending, ProxyEvents};
use super::streaming::{self, as_error};
use super::whole::{self, End};
use crate::admission::{Rejection, Snapshot};
use crate::authn::Scheme;
use crate::domain::{Clock, InWork, InteractionId, Random};
use crate::endpoint::is_own_path;
use crate::front::{EdgeLimits, downstream};
use crate::problem::{Kind, Problem};
use crate::signal::TraceContext;
use crate::upstream::Fuses;

/// The snapshot in force now.
pub type InForce = dyn Fn() -> Arc<Snapshot> + Send + Sync;

/// What the proxy is made of.
pub struct Gateway {
    pub(super) in_force: Box<InForce>,
    pub(super) limits: EdgeLimits,
    pub(super) budget: ByteBudget,
    pub(super) fuses: Arc<Fuses>,
    pub(super) public_url: Arc<str>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) random: Arc<dyn Random>,
    pub(super) events: Arc<dyn ProxyEvents>,
    pub(super) guard: GuardSettings,
    pub(super) own: Router,
}

/// What a [`Gateway`] is made from.
pub struct Parts {
    pub in_force: Box<InForce>,
    pub limits: EdgeLimits,
    /// For all bodies that are held whole.
    pub budget: ByteBudget,
    /// For all exchanges that are streamed; whoever starts the gateway burns them.
    pub fuses: Arc<Fuses>,
    pub public_url: Arc<str>,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
    pub events: Arc<dyn ProxyEvents>,
    pub guard: GuardSettings,
    /// Answers the paths that are our own.
    pub own: Router,
}

impl Gateway {
    pub fn new(parts: Parts) -> Self {
        let Parts { in_force, limits, budget, fuses, public_url, clock, random, events, guard, own } = parts;
        Self { in_force, limits, budget, fuses, public_url, clock, random, events, guard, own }
    }

    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        (self.in_force)()
    }

    /// Who is connected, and may they still try? The first thing that happens to a request.
    fn open(&self, session: &mut Session, ctx: &mut RequestContext) -> Result<(), Refusal> {
        let downstream = downstream(session.digest()).cloned();
        // Even a request that is refused at once is one: the connection goes on after it.
        ctx.in_work = downstream.clone().and_then(InWork::begin);
        if !self.events.reserve() {
            return Err(Fault::Overloaded.into()); // No evidence, no request.
        }
        ctx.note(|facts| facts.reserved = true);
        let downstream = downstream.ok_or(Fault::Internal("the connection is unknown"))?;
        if ctx.in_work.is_none() {
            return Err(Fault::Overloaded.into());
        }
        let now = ctx.received;
        let connection = downstream.facts(now);
        ctx.source = connection.peer.ip();
        ctx.connection = Some(Arc::clone(&connection));
        let (source, method, version) = (ctx.source, session.req_header().method.clone(), session.req_header().version);
        ctx.note(|facts| {
            (facts.connection, facts.source) = (Some(connection), Some(source));
            (facts.method, facts.version) = (method, version);
        });
        if let Some(name) = session.req_header().headers.get("x-fapi-interaction-id")
            && let Some(interaction) = name.to_str().ok().and_then(InteractionId::parse)
        {
            ctx.rename(interaction);
        }
        self.inspect(session, ctx)?;
        match downstream.blocked(ctx.source, now) {
            Some(wait) => Err(flooded(wait).into()),
            None => Ok(()),
        }
    }

    /// Framing, target, fields: what the guard does not take goes no further.
    fn inspect(&self, session: &mut Session, ctx: &mut RequestContext) -> Result<(), Refusal> {
        let connection = ctx.connection.clone().ok_or(Fault::Internal("the connection is unknown"))?;
        let passed = match guard::check(session, &connection, &self.guard) {
            Ok(passed) => passed,
            Err(refusal) => {
                if refusal.close {
                    session.set_keepalive(None);
                }
                return Err(refusal.problem().into());
            }
        };
        (ctx.source, ctx.expects_continue, ctx.websocket) = (passed.source, passed.expects_continue, passed.websocket);
        let trace = TraceContext::parse(&session.req_header().headers, &*self.random).child(&*self.random);
        ctx.trace = Some(trace.clone());
        ctx.note(|facts| (facts.source, facts.trace) = (Some(passed.source), Some(trace)));
        Ok(())
    }

    /// A WebSocket lives on after its handshake, but not after the right to it: asked of every piece that passes.
    fn check_tunnel(&self, ctx: &mut RequestContext) -> Result<()> {
        if !ctx.forward.as_ref().is_some_and(|forward| forward.websocket && forward.answered) {
            return Ok(());
        }
        let Some(admitted) = &ctx.admitted else { return Ok(()) };
        match admitted.caller.check_again(&self.snapshot(), self.clock.now()) {
            Ok(()) => Ok(()),
            Err(rejection) => self.refuse(ctx, rejection.into()),
        }
    }

    /// Counts a failed authentication against whoever is at the other end.
    fn note_refusal(&self, ctx: &mut RequestContext) {
        let (Some(Refusal::Rejected(rejection)), Some(in_work)) = (&ctx.refusal, &ctx.in_work) else { return };
        if rejection.is_failed_authentication() {
            in_work.downstream().failed(ctx.source, self.clock.now());
        }
    }

    /// Keeps the cause for the one way out, and tells Pingora that there is one.
    fn refuse<T>(&self, ctx: &mut RequestContext, refusal: Refusal) -> Result<T> {
        let error = match &refusal {
            Refusal::Failed(fault) => as_error(fault),
            Refusal::Rejected(_) | Refusal::Said(_) => as_error(&Fault::Internal("refused")),
        };
        ctx.refusal = Some(refusal);
        Err(error)
    }

    fn problem(&self, session: &Session, ctx: &RequestContext, error: &Error) -> Option<Problem> {
        match &ctx.refusal {
            Some(Refusal::Rejected(rejection)) => match (&ctx.snapshot, &ctx.connection) {
                (Some(snapshot), Some(connection)) => {
                    let scheme = Scheme::of(&session.req_header().headers);
                    Some(rejection.problem(snapshot.challenges.of(connection), scheme))
                }
                (Some(_) | None, _) => Some(Problem::new(Kind::Internal)),
            },
            Some(Refusal::Said(problem)) => Some((**problem).clone()),
            Some(Refusal::Failed(fault)) => fault.problem(),
            None => Fault::from_proxying(error).problem(),
        }
    }
}

/// The status that was sent and is not an interim one. 101 is final: what follows it is not HTTP.
fn final_status(session: &Session) -> Option<u16> {
    let status = session.response_written()?.status;
    (!status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS).then_some(status.as_u16())
}

fn flooded(wait: Duration) -> Problem {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    Problem::new(Kind::FloodGuard).header(http::header::RETRY_AFTER, seconds.max(1).into())
}

fn cause(ctx: &RequestContext, error: &Error) -> String {
    match &ctx.refusal {
        Some(Refusal::Rejected(rejection)) => chain(&**rejection),
        Some(Refusal::Failed(fault)) => chain(fault),
        Some(Refusal::Said(problem)) => problem.kind.code().to_owned(),
        None => error.to_string(),
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[async_trait]
impl ProxyHttp for Gateway {
    /// In a box: Pingora hands it from one future to the next by value, and each would have room for it.
    type CTX = Box<RequestContext>;

    fn new_ctx(&self) -> Self::CTX {
        let interaction = InteractionId::from_random(self.random.bytes());
        Box::new(RequestContext::new(interaction, self.clock.now(), Arc::clone(&self.events)))
    }

    fn init_downstream_modules(&self, _: &mut HttpModules) {} // Nothing rewrites an answer behind our back.

    async fn early_request_filter(&self, session: &mut Session, ctx: &mut Self::CTX) -> Result<()> {
        match self.open(session, ctx) {
            Ok(()) => Ok(()),
            Err(refusal) => self.refuse(ctx, refusal),
        }
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Self::CTX) -> Result<bool> {
        if is_own_path(session.req_header().uri.path()) {
            return match own::serve(self, session, ctx).await {
                Ok(()) => Ok(true),
                Err(refusal) => self.refuse(ctx, refusal),
            };
        }
        let entered = enter(self, session, ctx).await;
        let admission = ctx.arrived.elapsed().saturating_sub(ctx.body_wait);
        ctx.note(|facts| facts.admission = Some(admission));
        let held = match entered {
            Ok(Lane::Stream) => {
                ctx.carried = true;
                return Ok(false); // On to `upstream_peer`.
            }
            Ok(Lane::Whole(held)) => held,
            Err(refusal) => return self.refuse(ctx, refusal),
        };
        // In a box of its own: its state is twenty times that of all other ways, which would carry it along.
        match Box::pin(whole::serve(self, session, ctx, held)).await {
            Ok(()) => Ok(true),
            Err(End::Before(fault) | End::Midway(fault)) => self.refuse(ctx, fault.into()),
        }
    }

    async fn upstream_peer(&self, session: &mut Session, ctx: &mut Self::CTX) -> Result<Box<HttpPeer>> {
        match streaming::peer(session, ctx).await {
            Ok(peer) => Ok(Box::new(peer)),
            Err(fault) => self.refuse(ctx, fault.into()),
        }
    }

    fn fail_to_connect(
        &self,
        session: &mut Session,
        _: &HttpPeer,
        ctx: &mut Self::CTX,
        mut error: Box<Error>,
    ) -> Box<Error> {
        error.set_retry(false);
        if streaming::not_connected(session, ctx, &error) {
            error.set_retry(true);
        } else {
            ctx.refusal = ctx.forward.as_mut().and_then(|forward| forward.fault.take()).map(Refusal::Failed);
        }
        error
    }

    async fn connected_to_upstream(
        &self,
        _: &mut Session,
        _: bool,
        _: &HttpPeer,
        descriptor: RawFd,
        _: Option<&Digest>,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        match streaming::connected(&self.fuses, descriptor, ctx) {
            Ok(()) => Ok(()),
            Err(fault) => self.refuse(ctx, fault.into()),
        }
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        match streaming::prepare(session, request, ctx) {
            Ok(()) => Ok(()),
            Err(fault) => self.refuse(ctx, fault.into()),
        }
    }

    async fn request_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        self.check_tunnel(ctx)?;
        streaming::request_chunk(body, end_of_stream, ctx).map_err(|fault| as_error(&fault))
    }

    async fn upstream_response_filter(
        &self,
        _: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        streaming::response_header(response, ctx).await.map_err(|fault| as_error(&fault))
    }

    fn upstream_response_body_filter(
        &self,
        _: &mut Session,
        _: &mut Option<Bytes>,
        _: bool,
        ctx: &mut Self::CTX,
    ) -> Result<Option<Duration>> {
        self.check_tunnel(ctx)?;
        streaming::response_chunk(ctx).map(|()| None).map_err(|fault| as_error(&fault))
    }

    fn upstream_response_trailer_filter(
        &self,
        _: &mut Session,
        trailers: &mut HeaderMap,
        _: &mut Self::CTX,
    ) -> Result<()> {
        trailers.clear(); // RFC 9110 §6.5.1: none is known to be safe, so none passes.
        Ok(())
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        if response.status == StatusCode::SWITCHING_PROTOCOLS {
            if let Some(in_work) = &ctx.in_work {
                in_work.downstream().upgraded();
            }
            return Ok(());
        }
        if response.status.is_informational() {
            if response.status == StatusCode::CONTINUE || session.req_header().version == Version::HTTP_10 {
                // The expectation was answered here (RFC 9110 §10.1.1): a second 100 would answer nothing. And HTTP/1.0
                // knows no interim answers (§15.2).
                session.as_downstream_mut().set_ignore_info_resp(true);
            }
            return Ok(());
        }
        if session.req_header().version == Version::HTTP_10 && response.headers.contains_key(TRANSFER_ENCODING) {
            response.remove_header(&TRANSFER_ENCODING); // RFC 9112 §6.1: the end of the connection is that of the body.
            session.set_keepalive(None);
        }
        let path = session.req_header().uri.path().to_owned();
        dress(response, ctx, &path)
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        ctx: &mut Self::CTX,
        client_reused: bool,
    ) -> Box<Error> {
        let again = streaming::broke(session, ctx, &error, client_reused);
        error.set_retry(again);
        if !again {
            ctx.refusal = ctx.forward.as_mut().and_then(|forward| forward.fault.take()).map(Refusal::Failed);
        }
        error
    }

    /// The one way out: every refusal and failure becomes a problem document here, if it still can.
    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut Self::CTX) -> FailToProxy {
        self.note_refusal(ctx);
        let cause = cause(ctx, error);
        let (mut policy, mut quotas) = (None, Vec::new());
        if let Some(Refusal::Rejected(rejection)) = &ctx.refusal {
            match &**rejection {
                Rejection::Policy(refusal) => policy = Some(Arc::clone(refusal)),
                Rejection::Quota(exceeded) => quotas.clone_from(&exceeded.violated),
                _ => {}
            }
        }
        ctx.note(|facts| (facts.cause, facts.refusal, facts.quotas_refused) = (Some(cause), policy, quotas));
        let sent = final_status(session).is_some();
        let problem = if sent { None } else { self.problem(session, ctx, error) };
        let Some(problem) = problem else {
            return FailToProxy { error_code: 0, can_reuse_downstream: false };
        };
        ctx.note(|facts| facts.problem = Some(problem.kind));
        let written = write_problem(session, ctx, &problem, &self.public_url).await;
        FailToProxy { error_code: problem.status().as_u16(), can_reuse_downstream: written.unwrap_or(false) }
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut Self::CTX) {
        let status = final_status(session);
        let (read, sent) = (session.body_bytes_read() as u64, session.body_bytes_sent() as u64);
        let mut ending = Ending::Aborted;
        ctx.note(|facts| {
            (facts.status, facts.request_bytes, facts.response_bytes) = (status, read, sent);
            ending = match (error, status, facts.problem) {
                (None, Some(_), _) => Ending::Answered,
                (Some(_), Some(_), Some(_)) => Ending::Refused,
                (Some(_), Some(_), None) => Ending::BrokenOff,
                (_, None, _) => Ending::Aborted,
            };
        });
        ctx.record.close(ending);
    }

    // The record says it all, with less of the caller's in it.
    fn suppress_error_log(&self, _: &Session, _: &Self::CTX, _: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(&self, _: &Session, _: &Self::CTX, _: &Error, _: ProxyWarnLogContext) -> bool {
        true
    }

    fn request_summary(&self, _: &Session, ctx: &Self::CTX) -> String {
        ctx.interaction.to_string() // Pingora would write path and query.
    }
}
