//! What one request carries through the phases.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant as StdInstant};

use http::{HeaderName, HeaderValue, Uri};
use pingora_http::RequestHeader;
use tokio::time::Instant;

use super::failure::Fault;
use super::record::{ProxyEvents, Record, RequestFacts};
use crate::admission::{Admitted, Rejection, Snapshot};
use crate::domain::{Connection, InWork, InteractionId, Timestamp};
use crate::problem::Problem;
use crate::signal::TraceContext;
use crate::upstream::{Fuse, Picked, Tried};

/// Why a request is not answered by a back end.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Admission said no.
    Rejected(Box<Rejection>),
    /// Forwarding failed.
    Failed(Fault),
    /// Something before admission said no.
    Said(Box<Problem>),
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(Box::new(rejection))
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Failed(fault)
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self::Said(Box::new(problem))
    }
}

/// A request's state between Pingora's phases. Fields drop in order: the record first, the place on the connection
/// last.
pub struct RequestContext {
    pub(super) record: Record,
    pub(super) interaction: InteractionId,
    pub(super) interaction_value: HeaderValue,
    /// When its header had been read, by both clocks.
    pub(super) received: Timestamp,
    pub(super) arrived: StdInstant,
    /// How long admission waited for the body.
    pub(super) body_wait: Duration,
    pub(super) source: IpAddr,
    /// From the guard: the caller waits for `100 Continue`; whoever reads the body says so.
    pub(super) expects_continue: bool,
    /// From the guard: the caller asks for a WebSocket.
    pub(super) websocket: bool,
    /// Pingora carries the exchange; after an error of it, it closes the caller's connection whatever we say.
    pub(super) carried: bool,
    /// The request as the guard left it, where Pingora reads it again (HTTP/1).
    pub(super) cleaned: Option<Box<RequestHeader>>,
    pub(super) trace: Option<TraceContext>,
    pub(super) connection: Option<Arc<Connection>>,
    pub(super) snapshot: Option<Arc<Snapshot>>,
    /// Why it is refused, or failed; `Gateway::tell` renders it.
    pub(super) refusal: Option<Refusal>,
    pub(super) forward: Option<Forward>,
    pub(super) admitted: Option<Admitted>,
    pub(super) in_work: Option<InWork>,
}

impl RequestContext {
    pub(super) fn new(interaction: InteractionId, received: Timestamp, events: Arc<dyn ProxyEvents>) -> Self {
        let arrived = StdInstant::now();
        let value = HeaderValue::from_str(interaction.encode(&mut [0; 36]));
        Self {
            record: Record::open(RequestFacts::begin(interaction, received), arrived, events),
            interaction,
            interaction_value: value.unwrap_or_else(|_| HeaderValue::from_static("")), // A UUID is a field value.
            received,
            arrived,
            body_wait: Duration::ZERO,
            source: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            expects_continue: false,
            websocket: false,
            carried: false,
            cleaned: None,
            trace: None,
            connection: None,
            snapshot: None,
            refusal: None,
            forward: None,
            admitted: None,
            in_work: None,
        }
    }

    /// Takes the caller's own name for the exchange (FAPI 1.0 Baseline §6.2.1-11), or keeps ours.
    pub(super) fn rename(&mut self, interaction: InteractionId) {
        if let Ok(value) = HeaderValue::from_str(interaction.encode(&mut [0; 36])) {
            (self.interaction, self.interaction_value) = (interaction, value);
            self.record.note(|facts| facts.interaction = interaction);
        }
    }

    pub(super) fn note(&mut self, change: impl FnOnce(&mut RequestFacts)) {
        self.record.note(change);
    }

    pub(super) fn is_secure(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| connection.tls.is_some())
    }

    /// No admission, no forward, no peer.
    pub(super) fn forward(&self) -> Result<&Forward, Fault> {
        self.forward.as_ref().ok_or(Fault::Internal("nothing was admitted"))
    }

    pub(super) fn forward_mut(&mut self) -> Result<&mut Forward, Fault> {
        self.forward.as_mut().ok_or(Fault::Internal("nothing was admitted"))
    }
}

/// An admitted request on its way to a back end.
pub(super) struct Forward {
    pub target: Uri,
    /// The client's name towards the institution.
    pub caller: HeaderValue,
    pub started: StdInstant,
    pub deadline: Instant,
    pub tried: Tried,
    pub picked: Option<Picked>,
    /// Of the back end that was asked last.
    pub authority: Option<HeaderValue>,
    pub credential: Option<(HeaderName, HeaderValue)>,
    /// The route allows the WebSocket handshake that this request is.
    pub websocket: bool,
    /// Streamed request body.
    pub body_bytes: u64,
    pub body_bytes_max: u64,
    pub body_deadline: Instant,
    pub body_ended: bool,
    /// Interim answers so far, of all attempts.
    pub interim: usize,
    /// A final header of the back end has arrived.
    pub answered: bool,
    /// From the forward to that header.
    pub waited: Option<Duration>,
    /// A token was refused once already.
    pub credential_refused: bool,
    /// Ends the wait for a header that comes too slowly; lit while a connection carries this exchange alone.
    pub fuse: Option<Fuse>,
    /// Why the attempt under way failed, where Pingora's error cannot say it.
    pub fault: Option<Fault>,
}

impl Forward {
    /// What is left of the exchange's total deadline.
    pub fn budget(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    pub fn is_late(&self) -> bool {
        Instant::now() >= self.deadline
    }
}
