//! Moves a request body from the caller to the service, and notices when the client goes away.

use std::io::ErrorKind;

use axum::body::Body;
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use super::body::Incoming;
use super::{BridgeError, BridgeLimits, stated_length};
use crate::proxy::caller::Caller;

enum State {
    /// The client is told to go on once the service asks for the body.
    AwaitsInterest(oneshot::Receiver<()>, Sender),
    Moving(Sender),
    /// Read to the end.
    Done,
    /// The service does not want the rest.
    Unwanted,
}

struct Sender {
    parts: mpsc::Sender<Bytes>,
    whole: oneshot::Sender<()>,
}

/// A request body on its way to the service.
pub(super) struct Upload {
    state: State,
    expects_continue: bool,
    bytes: u64,
    limits: BridgeLimits,
    due: Instant,
}

impl Upload {
    pub fn new(caller: &mut Caller<'_>, expects_continue: bool, limits: &BridgeLimits) -> (Self, Body) {
        let (state, body) = if caller.is_body_empty() {
            (State::Done, Body::empty())
        } else {
            let (parts, arriving) = mpsc::channel(1);
            let (wanted, interest) = oneshot::channel();
            let (whole, complete) = oneshot::channel();
            let body = Body::new(Incoming::new(arriving, wanted, complete, stated_length(caller)));
            (State::AwaitsInterest(interest, Sender { parts, whole }), body)
        };
        let due = Instant::now() + limits.body_timeout;
        (Self { state, expects_continue, bytes: 0, limits: *limits, due }, body)
    }

    /// Reads a body to its end before anybody asks for it.
    pub async fn read(caller: &mut Caller<'_>, limits: &BridgeLimits) -> Result<(Self, Body), BridgeError> {
        let due = Instant::now() + limits.body_timeout;
        let mut upload = Self { state: State::Done, expects_continue: false, bytes: 0, limits: *limits, due };
        let mut body = Vec::new();
        while let Some(part) = part(caller, &mut upload.bytes, limits, due).await? {
            body.extend_from_slice(&part);
        }
        Ok((upload, Body::from(body)))
    }

    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Read to its end.
    pub const fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// The service has let go of the body before its end.
    pub fn is_unwanted(&self) -> bool {
        match &self.state {
            State::AwaitsInterest(_, sender) | State::Moving(sender) => sender.parts.is_closed(),
            State::Unwanted => true,
            State::Done => false,
        }
    }

    /// Somebody else has read the body to its end.
    pub fn end_if(&mut self, whole: bool) {
        if whole {
            self.state = State::Done;
        }
    }

    /// The client has not been told to send its body.
    pub const fn waits_for_continue(&self) -> bool {
        self.expects_continue
    }

    /// Does the next thing there is to do; may be dropped at any await without losing bytes.
    pub async fn step(&mut self, caller: &mut Caller<'_>) -> Result<(), BridgeError> {
        match &mut self.state {
            State::AwaitsInterest(interest, _) => {
                let wanted = tokio::select! {
                    wanted = interest => wanted.is_ok(),
                    () = caller.gone_unread() => return Err(BridgeError::ClientGone),
                };
                self.become_interested(wanted, caller).await
            }
            State::Moving(sender) => {
                let Ok(room) = sender.parts.reserve().await else {
                    self.state = State::Unwanted;
                    return Ok(());
                };
                match part(caller, &mut self.bytes, &self.limits, self.due).await? {
                    Some(bytes) => room.send(bytes),
                    None => {
                        drop(room);
                        if let State::Moving(sender) = std::mem::replace(&mut self.state, State::Done) {
                            let _ = sender.whole.send(());
                        }
                    }
                }
                Ok(())
            }
            State::Done => {
                caller.gone().await;
                Err(BridgeError::ClientGone)
            }
            State::Unwanted => {
                caller.gone_unread().await;
                Err(BridgeError::ClientGone)
            }
        }
    }

    async fn become_interested(&mut self, wanted: bool, caller: &mut Caller<'_>) -> Result<(), BridgeError> {
        if !wanted {
            self.state = State::Unwanted;
            return Ok(());
        }
        if let State::AwaitsInterest(_, sender) = std::mem::replace(&mut self.state, State::Unwanted) {
            self.state = State::Moving(sender);
        }
        self.due = Instant::now() + self.limits.body_timeout;
        if std::mem::take(&mut self.expects_continue) {
            caller.say_continue().await.map_err(|_| BridgeError::ClientGone)?;
        }
        Ok(())
    }
}

/// The next part of a body, in time and within bounds; `read` is how much came before.
async fn part(
    caller: &mut Caller<'_>,
    read: &mut u64,
    limits: &BridgeLimits,
    due: Instant,
) -> Result<Option<Bytes>, BridgeError> {
    let pause = Instant::now() + limits.body_idle_timeout;
    let part = timeout_at(pause.min(due), caller.read_body()).await.map_err(|_| BridgeError::BodyTimeout)?;
    let part = part.map_err(|error| fault(&error))?;
    *read += part.as_ref().map_or(0, |part| part.len() as u64);
    if *read > limits.body_bytes_max {
        return Err(BridgeError::BodyTooLarge { bytes_max: limits.body_bytes_max });
    }
    Ok(part)
}

/// Whether the client was slow, wrong or gone: the front door's stream says so in the cause.
fn fault(error: &pingora_core::Error) -> BridgeError {
    let kind = error.root_cause().downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    match (kind, &error.etype) {
        (Some(ErrorKind::InvalidData), _) => BridgeError::BodyMalformed,
        (Some(ErrorKind::TimedOut), _) | (_, pingora_core::ErrorType::ReadTimedout) => BridgeError::BodyTimeout,
        _ => BridgeError::ClientGone,
    }
}
