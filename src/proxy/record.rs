//! What is told of a request when it is over: once, whatever happened.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Method, Version};

use crate::admission::{Admitted, Pending, Snapshot};
use crate::audit::{OpenRecord, Outcome, Phase, Recorder, RequestRecord, Saturated, TokenDigest, Upstream};
use crate::domain::{Clock, Connection, InteractionId, OperationIndex, Timestamp};
use crate::problem::Kind;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The answer was sent whole: a back end's, or one of our own pages.
    Answered,
    /// We refused it, or could not serve it; the problem document was sent.
    Refused,
    /// The answer broke off after its header was sent.
    BrokenOff,
    /// Nothing was answered: the caller went away, or we failed without an answer.
    Aborted,
}

/// What log and metrics may know beside the audit record.
#[derive(Clone)]
pub struct Details {
    pub ending: Ending,
    pub took: Duration,
    pub problem: Option<Kind>,
    /// Why, for the operator: the cause that the caller is not told.
    pub cause: Option<String>,
    /// With the operation's metrics, once a route was found.
    pub snapshot: Option<Arc<Snapshot>>,
    pub operation: Option<OperationIndex>,
    /// From the forward to the header of the back end's answer.
    pub waited: Option<Duration>,
}

/// Who wants to know, beside the audit log. Called when a request is over, on its task, so it must not block.
pub trait ProxyEvents: Send + Sync {
    fn finished(&self, record: &RequestRecord, details: &Details);
}

/// Where records go.
#[derive(Clone)]
pub(super) struct Sink {
    pub recorder: Arc<dyn Recorder>,
    pub events: Arc<dyn ProxyEvents>,
    pub clock: Arc<dyn Clock>,
}

/// The record of a request under way. Invariant: it is told exactly once; whoever does not close it tells by its drop
/// that the request was aborted.
pub(super) struct Record {
    pub facts: RequestRecord,
    pub details: Details,
    pub phase: Phase,
    place: Option<OpenRecord>,
    started: Instant,
    sink: Sink,
    told: bool,
}

impl Record {
    /// Nothing is known yet but that a request came.
    pub fn begin(interaction: InteractionId, received: Timestamp, sink: Sink) -> Self {
        let nowhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let details = Details {
            ending: Ending::Aborted,
            took: Duration::ZERO,
            problem: None,
            cause: None,
            snapshot: None,
            operation: None,
            waited: None,
        };
        Self {
            facts: RequestRecord::new(received, interaction, Arc::from(""), nowhere),
            details,
            phase: Phase::Head,
            place: None,
            started: Instant::now(),
            sink,
            told: false,
        }
    }

    /// Takes the record's place in the audit log; without one the request must be refused.
    pub fn reserve(&mut self) -> Result<(), Saturated> {
        let (recorder, clock) = (Arc::clone(&self.sink.recorder), Arc::clone(&self.sink.clock));
        self.place = Some(OpenRecord::open(self.facts.clone(), recorder, clock)?);
        Ok(())
    }

    pub fn note_connection(&mut self, connection: &Connection, method: &Method, version: Version) {
        self.facts.listener = Arc::clone(&connection.listener);
        self.facts.peer = connection.peer.ip();
        self.facts.certificate = connection.certificate.as_ref().map(|certificate| certificate.thumbprint);
        self.facts.method = known(method);
        self.facts.protocol = if version == Version::HTTP_2 { "HTTP/2" } else { "HTTP/1.1" };
    }

    pub fn note_snapshot(&mut self, snapshot: &Arc<Snapshot>) {
        self.facts.revision = Some(Arc::clone(&snapshot.revision));
        self.details.snapshot = Some(Arc::clone(snapshot));
    }

    /// The caller is known, and may ask for this operation.
    pub fn note_pending(&mut self, pending: &Pending) {
        self.details.operation = Some(pending.operation);
        if let Some(operation) = pending.operation() {
            self.facts.operation = Some(operation.id.clone());
            self.facts.api = Some(operation.api.clone());
            self.facts.institution = Some(operation.institution.id.clone());
        }
        let client = &pending.caller.partner.client;
        self.facts.tenant = Some(client.tenant.id.clone());
        self.facts.client = Some(client.id.clone());
        self.facts.token = pending.caller.token.jti.as_deref().map(TokenDigest::of_jti);
    }

    pub fn note_admitted(&mut self, admitted: &Admitted) {
        self.facts.product = Some(admitted.subscription.product.id.clone());
        self.facts.plan = Some(admitted.subscription.plan.id().clone());
        self.facts.environment = Some(admitted.subscription.environment);
        self.facts.latency.admission = Some(micros(self.started.elapsed()));
        self.note_violations(admitted.observed.len());
        self.note_policies(&admitted.permit.policies);
    }

    pub fn note_policies(&mut self, policies: &[String]) {
        self.facts.policies = policies.into();
        self.facts.policy_set = self.details.snapshot.as_ref().map(|snapshot| Arc::from(snapshot.policies.hash()));
    }

    pub fn note_violations(&mut self, count: usize) {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.facts.contract_violations = self.facts.contract_violations.saturating_add(count);
    }

    pub fn note_backend(&mut self, backend: &Arc<str>, attempts: usize) {
        let attempts = u32::try_from(attempts).unwrap_or(u32::MAX);
        self.facts.upstream = Some(Upstream { backend: Arc::clone(backend), status: None, attempts });
    }

    pub fn note_answer(&mut self, status: u16, waited: Duration) {
        if let Some(upstream) = &mut self.facts.upstream {
            upstream.status = Some(status);
        }
        self.details.waited = Some(waited);
    }

    pub fn close(&mut self, ending: Ending) {
        if std::mem::replace(&mut self.told, true) {
            return;
        }
        (self.details.ending, self.details.took) = (ending, self.started.elapsed());
        let outcome = match (ending, self.details.problem) {
            (Ending::Answered, _) => Outcome::Answered,
            (Ending::Refused, Some(kind)) => Outcome::Refused { code: kind.code() },
            (Ending::Refused | Ending::BrokenOff | Ending::Aborted, _) => Outcome::Aborted { phase: self.phase },
        };
        self.facts.outcome = outcome;
        self.facts.latency.total = micros(self.details.took);
        self.sink.events.finished(&self.facts, &self.details);
        if let Some(mut open) = self.place.take() {
            open.clone_from(&self.facts);
            open.close(outcome);
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.close(Ending::Aborted);
    }
}

pub(super) fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// A method's name, if it is not the caller's own invention.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::TRACE => "TRACE",
        _ => "_OTHER",
    }
}
