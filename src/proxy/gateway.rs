//! What happens to a request, from its header to its record: what happens when, and nothing else.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use http::StatusCode;

use super::answer::write_problem;
use super::caller::Caller;
use super::context::{Refusal, RequestContext};
use super::entrance::{Lane, enter};
use super::failure::Fault;
use super::guard::{self, GuardSettings};
use super::held::ByteBudget;
use super::own;
use super::record::{Ending, ProxyEvents};
use super::whole::{self, End};
use crate::admission::{Rejection, Snapshot};
use crate::authn::Scheme;
use crate::domain::{Clock, InWork, InteractionId, Random};
use crate::endpoint::is_own_path;
use crate::front::EdgeLimits;
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
    pub(super) fn open(&self, caller: &mut Caller<'_>, ctx: &mut RequestContext) -> Result<(), Refusal> {
        let downstream = caller.downstream().cloned();
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
        let (source, method, version) = (ctx.source, caller.request().method.clone(), caller.request().version);
        ctx.note(|facts| {
            (facts.connection, facts.source) = (Some(connection), Some(source));
            (facts.method, facts.version) = (method, version);
        });
        if let Some(name) = caller.request().headers.get("x-fapi-interaction-id")
            && let Some(interaction) = name.to_str().ok().and_then(InteractionId::parse)
        {
            ctx.rename(interaction);
        }
        self.inspect(caller, ctx)?;
        match downstream.blocked(ctx.source, now) {
            Some(wait) => Err(flooded(wait).into()),
            None => Ok(()),
        }
    }

    /// Framing, target, fields: what the guard does not take goes no further.
    fn inspect(&self, caller: &mut Caller<'_>, ctx: &mut RequestContext) -> Result<(), Refusal> {
        let connection = ctx.connection.clone().ok_or(Fault::Internal("the connection is unknown"))?;
        let passed = match guard::check(caller, &connection, &self.guard) {
            Ok(passed) => passed,
            Err(refusal) => {
                if refusal.close {
                    caller.close();
                }
                return Err(refusal.problem().into());
            }
        };
        (ctx.source, ctx.expects_continue, ctx.websocket) = (passed.source, passed.expects_continue, passed.websocket);
        let trace = TraceContext::parse(&caller.request().headers, &*self.random).child(&*self.random);
        ctx.trace = Some(trace.clone());
        ctx.note(|facts| (facts.source, facts.trace) = (Some(passed.source), Some(trace)));
        Ok(())
    }

    /// A WebSocket lives on after its handshake, but not after the right to it: asked of every piece that passes.
    pub(super) fn check_tunnel(&self, ctx: &RequestContext) -> Result<(), Refusal> {
        if !ctx.forward.as_ref().is_some_and(|forward| forward.websocket && forward.answered) {
            return Ok(());
        }
        let Some(admitted) = &ctx.admitted else { return Ok(()) };
        Ok(admitted.caller.check_again(&self.snapshot(), self.clock.now())?)
    }

    /// Counts a failed authentication against whoever is at the other end.
    fn note_refusal(&self, ctx: &mut RequestContext) {
        let (Some(Refusal::Rejected(rejection)), Some(in_work)) = (&ctx.refusal, &ctx.in_work) else { return };
        if rejection.is_failed_authentication() {
            in_work.downstream().failed(ctx.source, self.clock.now());
        }
    }

    /// Answers a request, unless it is one to be streamed.
    pub(super) async fn answer(&self, caller: &mut Caller<'_>) -> Answer {
        let mut ctx = self.begin();
        let mut reusable = true;
        match self.serve(caller, &mut ctx).await {
            Ok(Carried::Answered) => {}
            Ok(Carried::Admitted) => return Answer::ToStream(ctx),
            Err(refusal) => {
                ctx.refusal = Some(refusal);
                reusable = self.tell(caller, &mut ctx).await.reusable;
            }
        }
        let failed = ctx.refusal.is_some();
        end(caller, &mut ctx, failed);
        Answer::Given { reusable }
    }

    async fn serve(&self, caller: &mut Caller<'_>, ctx: &mut RequestContext) -> Result<Carried, Refusal> {
        self.open(caller, ctx)?;
        self.carry(caller, ctx).await
    }

    /// In a box: it goes from hand to hand, and each future would have room for it.
    pub(super) fn begin(&self) -> Box<RequestContext> {
        let interaction = InteractionId::from_random(self.random.bytes());
        Box::new(RequestContext::new(interaction, self.clock.now(), Arc::clone(&self.events)))
    }

    /// Answers the request by our own router or in the whole lane, unless it is one to be streamed.
    pub(super) async fn carry(&self, caller: &mut Caller<'_>, ctx: &mut RequestContext) -> Result<Carried, Refusal> {
        if is_own_path(caller.request().uri.path()) {
            own::serve(self, caller, ctx).await?;
            return Ok(Carried::Answered);
        }
        let entered = enter(self, caller, ctx).await;
        let admission = ctx.arrived.elapsed().saturating_sub(ctx.body_wait);
        ctx.note(|facts| facts.admission = Some(admission));
        let mut held = match entered? {
            Lane::Stream => return Ok(Carried::Admitted),
            Lane::Whole(held) => held,
        };
        // In a box of its own: its state is twenty times that of all other ways, which would carry it along.
        match Box::pin(whole::serve(self, caller, ctx, &mut held)).await {
            Ok(()) => Ok(Carried::Answered),
            Err(End::Before(fault) | End::Midway(fault)) => Err(fault.into()),
        }
    }

    /// The one way out: every refusal and failure becomes a problem document here, if it still can.
    pub(super) async fn tell(&self, caller: &mut Caller<'_>, ctx: &mut RequestContext) -> Told {
        self.note_refusal(ctx);
        let cause = ctx.refusal.as_ref().map(cause);
        let (mut policy, mut quotas) = (None, Vec::new());
        if let Some(Refusal::Rejected(rejection)) = &ctx.refusal {
            match &**rejection {
                Rejection::Policy(refusal) => policy = Some(Arc::clone(refusal)),
                Rejection::Quota(exceeded) => quotas.clone_from(&exceeded.violated),
                _ => {}
            }
        }
        ctx.note(|facts| (facts.cause, facts.refusal, facts.quotas_refused) = (cause, policy, quotas));
        let sent = final_status(caller).is_some();
        let Some(problem) = (if sent { None } else { self.problem(caller, ctx) }) else {
            return Told { status: 0, reusable: false };
        };
        ctx.note(|facts| facts.problem = Some(problem.kind));
        let written = write_problem(caller, ctx, &problem, &self.public_url).await;
        Told { status: problem.status().as_u16(), reusable: written.unwrap_or(false) }
    }

    fn problem(&self, caller: &Caller<'_>, ctx: &RequestContext) -> Option<Problem> {
        match ctx.refusal.as_ref()? {
            Refusal::Rejected(rejection) => match (&ctx.snapshot, &ctx.connection) {
                (Some(snapshot), Some(connection)) => {
                    let scheme = Scheme::of(&caller.request().headers);
                    Some(rejection.problem(snapshot.challenges.of(connection), scheme))
                }
                (Some(_) | None, _) => Some(Problem::new(Kind::Internal)),
            },
            Refusal::Said(problem) => Some((**problem).clone()),
            Refusal::Failed(fault) => fault.problem(),
        }
    }
}

/// What [`Gateway::answer`] came to.
pub(super) enum Answer {
    Given {
        /// The connection can take another request.
        reusable: bool,
    },
    /// It was admitted to the streaming lane, which Pingora carries.
    ToStream(Box<RequestContext>),
}

/// What [`Gateway::carry`] came to.
pub(super) enum Carried {
    Answered,
    /// For the streaming lane.
    Admitted,
}

/// What was told of a refusal.
pub(super) struct Told {
    /// Zero: nothing, an answer was under way or nobody is there.
    pub status: u16,
    /// The connection can take another request.
    pub reusable: bool,
}

/// Closes the record of a request.
pub(super) fn end(caller: &Caller<'_>, ctx: &mut RequestContext, failed: bool) {
    let status = final_status(caller);
    let mut ending = Ending::Aborted;
    ctx.note(|facts| {
        (facts.request_bytes, facts.response_bytes) = caller.body_bytes();
        facts.status = status;
        ending = match (failed, status, facts.problem) {
            (false, Some(_), _) => Ending::Answered,
            (true, Some(_), Some(_)) => Ending::Refused,
            (true, Some(_), None) => Ending::BrokenOff,
            (_, None, _) => Ending::Aborted,
        };
    });
    ctx.record.close(ending);
}

/// The status that was sent and is not an interim one. 101 is final: what follows it is not HTTP.
fn final_status(caller: &Caller<'_>) -> Option<u16> {
    let status = caller.status()?;
    (!status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS).then_some(status.as_u16())
}

fn flooded(wait: Duration) -> Problem {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    Problem::new(Kind::FloodGuard).header(http::header::RETRY_AFTER, seconds.max(1).into())
}

fn cause(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Rejected(rejection) => chain(&**rejection),
        Refusal::Failed(fault) => chain(fault),
        Refusal::Said(problem) => problem.kind.code().to_owned(),
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
