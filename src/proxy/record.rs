//! What is told of a request when it is over: once, whatever happened.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Method, Version};

use crate::admission::{Identified, Snapshot};
use crate::domain::{ClientId, Connection, InteractionId, OperationIndex, Timestamp};
use crate::hub::Subscription;
use crate::oauth::VisitEvent;
use crate::policy::{Permit, Refusal};
use crate::problem::Kind;
use crate::signal::TraceContext;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The answer was sent whole: a back end's, or one of our own pages.
    Answered,
    /// We refused it, or could not serve it; the problem document was sent.
    Refused,
    /// The answer broke off after its header was sent.
    BrokenOff,
    /// The caller went away, or the exchange was given up before anything was answered.
    Aborted,
}

/// The facts of one request, for audit, log and metrics. Nothing here is a body, a token or a raw query.
pub struct RequestFacts {
    pub interaction: InteractionId,
    pub received: Timestamp,
    pub took: Duration,
    /// Where the connection came from, and the client behind a trusted proxy.
    pub connection: Option<Arc<Connection>>,
    pub source: Option<IpAddr>,
    pub method: Method,
    pub version: Version,
    /// Present once a route was found.
    pub snapshot: Option<Arc<Snapshot>>,
    pub operation: Option<OperationIndex>,
    /// Present once the caller was authenticated.
    pub caller: Option<Identified>,
    pub subscription: Option<Subscription>,
    /// The client that proved itself to an endpoint of our own.
    pub own_client: Option<ClientId>,
    /// What somebody did on a page of the authorization endpoint.
    pub visit: Option<VisitEvent>,
    /// Limits that refused, by name.
    pub quotas_refused: Vec<String>,
    pub trace: Option<TraceContext>,
    /// The audit file has a place for this request; without one it was refused.
    pub reserved: bool,
    /// Our own work until the request was admitted or refused, without the wait for its body.
    pub admission: Option<Duration>,
    /// How the client authenticated to whom we issued a token.
    pub token_issued: Option<&'static str>,
    pub permit: Option<Arc<Permit>>,
    pub refusal: Option<Arc<Refusal>>,
    pub ending: Ending,
    /// What the caller saw.
    pub status: Option<u16>,
    pub problem: Option<Kind>,
    /// Why, for the operator: the cause that the caller is not told.
    pub cause: Option<String>,
    /// Id of the back end that was asked last.
    pub backend: Option<Arc<str>>,
    pub attempts: usize,
    pub upstream_status: Option<u16>,
    /// From the forward to the answer's header.
    pub upstream_took: Option<Duration>,
    pub request_bytes: u64,
    pub response_bytes: u64,
    /// Violations of the contract that were observed, not enforced: of the request, of the answer.
    pub observed: (usize, usize),
}

impl RequestFacts {
    /// A request of which nothing is known yet.
    pub(super) fn begin(interaction: InteractionId, received: Timestamp) -> Self {
        Self {
            interaction,
            received,
            took: Duration::ZERO,
            connection: None,
            source: None,
            method: Method::GET,
            version: Version::HTTP_11,
            snapshot: None,
            operation: None,
            caller: None,
            subscription: None,
            own_client: None,
            visit: None,
            quotas_refused: Vec::new(),
            trace: None,
            reserved: false,
            admission: None,
            token_issued: None,
            permit: None,
            refusal: None,
            ending: Ending::Aborted,
            status: None,
            problem: None,
            cause: None,
            backend: None,
            attempts: 0,
            upstream_status: None,
            upstream_took: None,
            request_bytes: 0,
            response_bytes: 0,
            observed: (0, 0),
        }
    }
}

/// Who wants to know. Called when a request is over, on its task, so it must not block.
pub trait ProxyEvents: Send + Sync {
    /// Takes a place for the record of one request; `false`: the evidence would have a gap, so refuse the request.
    fn reserve(&self) -> bool;
    /// A request is under way; [`Self::finished`] follows, whatever becomes of it.
    fn begun(&self);
    /// Takes the record, whatever became of the request.
    fn finished(&self, facts: RequestFacts);
}

/// An open record. Invariant: it is told exactly once; whoever does not close it tells `Aborted` by dropping it.
pub(super) struct Record {
    facts: Option<RequestFacts>,
    started: Instant,
    events: Arc<dyn ProxyEvents>,
}

impl Record {
    pub fn open(facts: RequestFacts, started: Instant, events: Arc<dyn ProxyEvents>) -> Self {
        events.begun();
        Self { facts: Some(facts), started, events }
    }

    /// The facts so far; nothing once the record is closed.
    pub fn note(&mut self, change: impl FnOnce(&mut RequestFacts)) {
        if let Some(facts) = &mut self.facts {
            change(facts);
        }
    }

    pub fn close(&mut self, ending: Ending) {
        if let Some(mut facts) = self.facts.take() {
            facts.ending = ending;
            facts.took = self.started.elapsed();
            self.events.finished(facts);
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.close(Ending::Aborted);
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicIsize, Ordering};

    use super::*;

    #[derive(Default)]
    struct Collected(Mutex<Vec<RequestFacts>>, AtomicIsize);

    impl ProxyEvents for Collected {
        fn reserve(&self) -> bool {
            true
        }

        fn begun(&self) {
            self.1.fetch_add(1, Ordering::SeqCst);
        }

        fn finished(&self, facts: RequestFacts) {
            self.1.fetch_sub(1, Ordering::SeqCst);
            self.0.lock().unwrap().push(facts);
        }
    }

    fn open(collected: &Arc<Collected>) -> Record {
        let facts = RequestFacts::begin(InteractionId::from_random([7; 16]), Timestamp::from_secs(1));
        Record::open(facts, Instant::now(), Arc::clone(collected) as Arc<dyn ProxyEvents>)
    }

    fn endings(collected: &Collected) -> Vec<(Ending, Option<u16>)> {
        collected.0.lock().unwrap().iter().map(|facts| (facts.ending, facts.status)).collect()
    }

    #[test]
    fn a_record_is_told_exactly_once_whatever_happens() {
        let collected = Arc::<Collected>::default();
        let mut closed = open(&collected);
        closed.note(|facts| facts.status = Some(200));
        closed.close(Ending::Answered);
        closed.close(Ending::BrokenOff);
        closed.note(|facts| facts.status = Some(500));
        drop(closed);

        let mut dropped = open(&collected);
        dropped.note(|facts| (facts.status, facts.ending) = (Some(201), Ending::Answered));
        drop(dropped);

        let unwound = catch_unwind(AssertUnwindSafe(|| {
            let _record = open(&collected);
            panic!("the request fails");
        }));
        assert!(unwound.is_err());
        let expected = [(Ending::Answered, Some(200)), (Ending::Aborted, Some(201)), (Ending::Aborted, None)];
        assert_eq!(endings(&collected), expected);
        assert_eq!(collected.1.load(Ordering::SeqCst), 0, "as many began as were finished");
    }

    #[tokio::test]
    async fn a_record_of_a_cancelled_request_is_told() {
        let collected = Arc::<Collected>::default();
        let record = open(&collected);
        let request = tokio::spawn(async move {
            let _record = record;
            std::future::pending::<()>().await;
        });
        request.abort();
        assert!(request.await.unwrap_err().is_cancelled());
        assert_eq!(endings(&collected), [(Ending::Aborted, None)]);
    }
}
