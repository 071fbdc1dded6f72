//! One exchange with a back end in the whole lane: the request is held or has no body, the answer comes as it comes.
//!
//! Invariants: a connection goes back to the pool only after a clean end; every wait ends at the exchange's deadline;
//! what [`may_retry`] forbids is not sent again.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant as StdInstant};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorType, RetryType};
use pingora_http::{RequestHeader, ResponseHeader};
use tokio::time::{Instant, timeout_at};

use super::failure::Fault;
use super::framing;
use super::headers::address;
use super::retry::{Attempt, Body, may_retry};
use super::spelling::change_request;
use crate::upstream::{Outcome, Picked, Pool, Session, Tried};

/// Interim answers that are taken before the back end counts as broken.
pub(super) const INTERIM_MAX: usize = 8;
/// After a failed write the back end may have answered already (413, 401): so long is waited for that.
const LATE_ANSWER_WAIT: Duration = Duration::from_millis(250);

/// What is to be sent, as often as the rules allow.
pub(super) struct Parcel {
    pub pool: Arc<Pool>,
    /// Without what only the back end that is asked is told ([`told`]).
    pub request: RequestHeader,
    /// Held whole; nothing if there is none.
    pub body: Option<Bytes>,
    pub deadline: Instant,
}

/// An answer whose header has arrived.
pub(super) struct Answer {
    /// Interim ones that came before (RFC 9110 §15.2), but for `100 Continue`.
    pub interim: Vec<ResponseHeader>,
    /// In a box, as it goes from hand to hand.
    pub header: Box<ResponseHeader>,
    /// From the attempt's begin to the header.
    pub waited: Duration,
    pub body: AnswerBody,
}

/// What follows the header. To be ended, so that the connection can be used again.
pub(super) struct AnswerBody {
    pub picked: Picked,
    connection: Box<Connection>,
    read: Duration,
    deadline: Instant,
    /// When its header had arrived, when its last part went on, and how long the caller took over those before.
    begun: Instant,
    went_on: Instant,
    caller_took: Duration,
}

struct Connection {
    pool: Arc<Pool>,
    session: Session,
    peer: Arc<HttpPeer>,
    reused: bool,
    /// Not once the request went out incomplete.
    clean: bool,
    /// Once it was waited for in vain.
    silent: bool,
}

/// An attempt that brought no answer.
struct Failed {
    fault: Fault,
    /// The connection may have been closed before the request reached the back end's application.
    reused: bool,
}

impl From<Fault> for Failed {
    fn from(fault: Fault) -> Self {
        Self { fault, reused: false }
    }
}

/// Sends the parcel to a healthy back end, to another if the first cannot be connected to, and waits for the header.
pub(super) async fn send(parcel: &mut Parcel, tried: &mut Tried) -> Result<Answer, Fault> {
    let body = if parcel.body.is_some() { Body::Held } else { Body::Absent };
    let mut last = None;
    loop {
        let now = StdInstant::now();
        let picked = match parcel.pool.pick(tried, now) {
            Ok(picked) => picked,
            Err(none) => return Err(last.unwrap_or(Fault::NoBackend(none))), // The first cause says more.
        };
        let failed = match attempt(parcel, picked, tried, now).await {
            Ok(answer) => return Ok(answer),
            Err(failed) => failed,
        };
        let state = Attempt { body, reused: failed.reused, answered: false, attempts: tried.attempts() };
        let again = may_retry(&parcel.request.method, &failed.fault, state);
        // A token is renewed once per request: a second refusal is not about its age.
        if !again || (failed.fault == Fault::CredentialRefused && last == Some(Fault::CredentialRefused)) {
            return Err(failed.fault);
        }
        last = Some(failed.fault);
    }
}

async fn attempt(
    parcel: &mut Parcel,
    mut picked: Picked,
    tried: &mut Tried,
    started: StdInstant,
) -> Result<Answer, Failed> {
    let credential = by(parcel.deadline, parcel.pool.authorization(started)).await?.map_err(Fault::Credential)?;
    told(&mut parcel.request, picked.authority(), credential.as_ref())?;
    let mut connection = match connect(parcel, &picked).await {
        Ok(connection) => connection,
        Err(fault) => {
            picked.report(Outcome::ConnectFailed, StdInstant::now());
            return Err(fault.into());
        }
    };
    let Heads { interim, header } = match converse(&mut connection, parcel).await {
        Ok(heads) => heads,
        Err(failed) => {
            connection.silent = failed.fault == Fault::TimedOut;
            if let Some(outcome) = failed.fault.outcome() {
                picked.report(outcome, StdInstant::now());
            }
            Box::pin(connection.end(false)).await; // In a box: the usual way need not have room for this one.
            if failed.reused {
                tried.forgive(&picked); // A connection that had gone stale says nothing of the back end.
            }
            return Err(failed);
        }
    };
    let begun = Instant::now();
    picked.report(Outcome::Answered { status: header.status.as_u16() }, begun.into_std());
    if let Some(fault) = Fault::of_status(header.status, credential.is_some()) {
        Box::pin(connection.end(false)).await;
        if let (Some((_, value)), Fault::CredentialRefused) = (&credential, &fault)
            && parcel.pool.refused(value, StdInstant::now()).await
        {
            tried.forgive(&picked); // The back end itself is well: with a fresh token the same one may be asked.
        }
        return Err(fault.into());
    }
    let (read, deadline) = (parcel.pool.timeouts().read, parcel.deadline);
    let body = AnswerBody { picked, connection, read, deadline, begun, went_on: begun, caller_took: Duration::ZERO };
    Ok(Answer { interim, header, waited: begun.into_std().saturating_duration_since(started), body })
}

/// Tells the request whom it goes to, and as whom we call there; what an earlier attempt was told is displaced.
fn told(
    request: &mut RequestHeader,
    authority: &HeaderValue,
    credential: Option<&(HeaderName, HeaderValue)>,
) -> Result<(), Fault> {
    change_request(request, |parts| address(&mut parts.headers, authority, credential))
}

/// The connection is in a box: it goes from hand to hand, and is large.
async fn connect(parcel: &Parcel, picked: &Picked) -> Result<Box<Connection>, Fault> {
    let peer = picked.shared_peer();
    let connected = by(parcel.deadline, pin!(parcel.pool.transport().connect(&peer))).await;
    let (mut session, reused) = match connected {
        Ok(Ok(connected)) => connected,
        Ok(Err(error)) => return Err(Fault::from_connect(&error)),
        Err(_) => return Err(Fault::Connect("deadline".into())),
    };
    session.set_timeouts(&peer, parcel.deadline);
    Ok(Box::new(Connection { pool: parcel.pool.clone(), session, peer, reused, clean: true, silent: false }))
}

/// Writes the request and reads the answer's header.
async fn converse(connection: &mut Connection, parcel: &Parcel) -> Result<Heads, Failed> {
    let late = |_| Failed::from(Fault::TimedOut);
    let timeouts = parcel.pool.timeouts();
    let limit = parcel.deadline.min(Instant::now() + timeouts.write);
    let Connection { session, peer, .. } = connection;
    let written =
        timeout_at(limit, pin!(session.send(&parcel.request, peer, parcel.body.as_ref()))).await.map_err(late)?;
    let Err(error) = written else {
        let heads = read_heads(session, parcel.deadline, timeouts.read).await;
        return heads.map_err(|error| connection.failed(&error));
    };
    // RFC 9112 §9.5: a server may answer and close before it has read all; then the answer is what counts.
    connection.clean = false;
    let limit = parcel.deadline.min(Instant::now() + LATE_ANSWER_WAIT);
    let answer = read_heads(&mut connection.session, limit, LATE_ANSWER_WAIT).await;
    answer.map_err(|_| connection.failed(&error))
}

/// The header of an answer, and those of the interim ones before it.
struct Heads {
    interim: Vec<ResponseHeader>,
    header: Box<ResponseHeader>,
}

/// Each header is waited for no longer than `patience`, and none beyond the deadline.
async fn read_heads(session: &mut Session, deadline: Instant, patience: Duration) -> pingora_core::Result<Heads> {
    let mut interim = Vec::new();
    for _ in 0..INTERIM_MAX {
        let read = timeout_at(deadline.min(Instant::now() + patience), pin!(session.read_header())).await;
        let header = read.unwrap_or_else(|_| Error::e_explain(ErrorType::ReadTimedout, "an answer's header"))?;
        if header.status == StatusCode::SWITCHING_PROTOCOLS {
            return Error::e_explain(ErrorType::InvalidHTTPHeader, "protocols switched without being asked");
        }
        if let Some(flaw) = framing::flaw(&header) {
            return Error::e_explain(ErrorType::InvalidHTTPHeader, flaw);
        }
        if !header.status.is_informational() {
            return Ok(Heads { interim, header });
        }
        if header.status != StatusCode::CONTINUE {
            interim.push(*header);
        }
    }
    Error::e_explain(ErrorType::InvalidHTTPHeader, "no final answer after the interim ones")
}

/// Waits no longer than the deadline.
async fn by<T>(deadline: Instant, work: impl Future<Output = T>) -> Result<T, Fault> {
    timeout_at(deadline, work).await.map_err(|_| Fault::TimedOut)
}

impl Connection {
    /// Whether the back end can have processed the request is judged by the connection's past: one that was idle may
    /// have been closed while the request was on its way. HTTP/2 says so itself (GOAWAY, REFUSED_STREAM).
    fn failed(&self, error: &Error) -> Failed {
        if matches!(error.etype(), ErrorType::H2Downgrade) {
            self.pool.transport().prefer_h1(&self.peer); // It said so: HTTP_1_1_REQUIRED (RFC 9113 §7).
        }
        Failed { fault: Fault::from_upstream(error), reused: self.reused || is_unprocessed(error) }
    }

    async fn end(self: Box<Self>, clean: bool) {
        let connection = self;
        let (clean, silent) = (clean && connection.clean, connection.silent);
        let session = connection.session; // The rest stays in its box.
        connection.pool.transport().release(session, &connection.peer, clean, silent).await;
    }
}

/// Whether the back end says of itself that it has not processed the request. Pingora means "try once more" also where the
/// answer was malformed, and who answers has processed.
pub(super) fn is_unprocessed(error: &Error) -> bool {
    error.retry == RetryType::Decided(true) && !matches!(error.etype(), ErrorType::InvalidH2)
}

impl AnswerBody {
    /// The next bytes of the body; `None` at its end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        let asked = Instant::now();
        self.caller_took += asked.saturating_duration_since(self.went_on);
        let limit = self.deadline.min(asked + self.read);
        let read = timeout_at(limit, pin!(self.connection.session.read_body())).await;
        self.went_on = Instant::now();
        let (fault, outcome) = match read {
            // A timeout looks at the work first: bytes that are always there would pass any deadline.
            Ok(Ok(Some(_))) if self.went_on >= self.deadline => (Fault::TimedOut, self.late()),
            Ok(Ok(chunk)) => return Ok(chunk),
            Ok(Err(error)) => (Fault::from_upstream(&error), Some(Outcome::Broken)),
            Err(_) if limit == self.deadline => (Fault::TimedOut, self.late()),
            Err(_) => (Fault::TimedOut, Some(Outcome::TimedOut)),
        };
        self.connection.silent = fault == Fault::TimedOut;
        if let Some(outcome) = outcome {
            self.picked.report(outcome, StdInstant::now());
        }
        Err(fault)
    }

    /// Whose time ran out at the deadline? Not the back end's, if most of it was the caller's.
    fn late(&self) -> Option<Outcome> {
        let all = self.went_on.saturating_duration_since(self.begun);
        (self.caller_took * 2 < all).then_some(Outcome::TimedOut)
    }

    /// Ends the exchange; `clean` once the body was read to its end.
    pub async fn end(self, clean: bool) {
        self.connection.end(clean).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_answered_has_processed_however_malformed_the_answer_is() {
        for (kind, retry, expected) in [
            (ErrorType::H2Error, true, true), // GOAWAY, REFUSED_STREAM (RFC 9113 §8.7)
            (ErrorType::H2Error, false, false),
            (ErrorType::InvalidH2, true, false),
        ] {
            let mut error = Error::new(kind.clone());
            error.retry = retry.into();
            assert_eq!(is_unprocessed(&error), expected, "{kind:?} {retry}");
        }
    }
}
