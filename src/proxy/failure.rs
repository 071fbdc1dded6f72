//! What went wrong between caller and back end, and what may the caller learn of it?
//!
//! Invariants: our faults and the back end's are never told as a 401; no text of an error reaches a caller; a fault
//! says whether the back end can have processed the request.

use http::StatusCode;
use pingora_core::{Error, ErrorSource, ErrorType};

use crate::problem::{Kind, Problem};
use crate::upstream::{CredentialError, NoBackend, Outcome, PoolFull};

/// A failure of forwarding.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The pool's bound on requests under way.
    #[error("the institution has too many requests under way")]
    PoolFull(#[from] PoolFull),
    #[error("no back end can take the request")]
    NoBackend(#[from] NoBackend),
    #[error("our credential towards the back end cannot be had")]
    Credential(#[from] CredentialError),
    /// No connection came about: nothing was sent.
    #[error("the back end cannot be connected to: {0}")]
    Connect(String),
    /// The back end was silent for too long, or the exchange's deadline passed.
    #[error("the back end did not answer in time")]
    TimedOut,
    /// It closed early or spoke something else than HTTP.
    #[error("the back end's answer broke off or is malformed: {0}")]
    Broken(String),
    /// Its answer cannot be passed on as our rules demand.
    #[error("the answer cannot be passed on: {0}")]
    Unusable(&'static str),
    /// It refused our own credential.
    #[error("the back end refused our credential")]
    CredentialRefused,
    /// It demands a credential of us where its pool has none, or one for a proxy.
    #[error("the back end demands a credential that its pool does not have")]
    CredentialDemanded,
    #[error("the request body exceeds the limit")]
    BodyTooLarge,
    #[error("the request body did not arrive in time")]
    BodyTimedOut,
    #[error("the request body is malformed: {0}")]
    BodyMalformed(String),
    /// The caller went away; nobody is left to tell.
    #[error("the caller closed the connection")]
    CallerGone,
    /// A bound of the gateway on bytes or work held at once.
    #[error("the gateway is at its capacity")]
    Overloaded,
    /// The bound on bytes that are held for one client at once.
    #[error("the client's share of the bytes held at once is taken")]
    ClientOverloaded,
    #[error("a defect: {0}")]
    Internal(&'static str),
}

impl Fault {
    /// What the caller is told; `None` if nobody is there to read it.
    pub fn problem(&self) -> Option<Problem> {
        let kind = match self {
            Self::PoolFull(_) | Self::NoBackend(_) | Self::Connect(_) => Kind::BackendUnavailable,
            Self::Credential(_) => Kind::BackendUnavailable,
            Self::TimedOut => Kind::BackendTimeout,
            Self::Broken(_) | Self::CredentialRefused | Self::CredentialDemanded => Kind::BackendFailed,
            Self::Unusable(_) => Kind::BackendContract,
            Self::BodyTooLarge => Kind::BodyTooLarge,
            Self::BodyTimedOut => Kind::RequestTimeout,
            Self::BodyMalformed(_) => Kind::MalformedRequest,
            Self::Overloaded => Kind::Overloaded,
            Self::ClientOverloaded => Kind::ClientOverloaded,
            Self::Internal(_) => Kind::Internal,
            Self::CallerGone => return None,
        };
        Some(self.with_retry_after(Problem::new(kind)))
    }

    /// RFC 9110 §10.2.3: a 503 that knows says when to come again.
    fn with_retry_after(&self, problem: Problem) -> Problem {
        let seconds = match self {
            Self::NoBackend(NoBackend::AllOut { retry_after: Some(wait) }) => wait.as_secs().max(1),
            Self::PoolFull(_) | Self::Overloaded | Self::ClientOverloaded => 1,
            _ => return problem,
        };
        problem.header(http::header::RETRY_AFTER, seconds.into())
    }

    /// The name that logs and the audit record carry.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::PoolFull(_) => "pool-full",
            Self::NoBackend(_) => "no-backend",
            Self::Credential(_) => "no-credential",
            Self::Connect(_) => "connect-failed",
            Self::TimedOut => "timed-out",
            Self::Broken(_) => "broken",
            Self::Unusable(_) => "unusable",
            Self::CredentialRefused => "credential-refused",
            Self::CredentialDemanded => "credential-demanded",
            Self::BodyTooLarge => "body-too-large",
            Self::BodyTimedOut => "body-timed-out",
            Self::BodyMalformed(_) => "body-malformed",
            Self::CallerGone => "caller-gone",
            Self::Overloaded => "overloaded",
            Self::ClientOverloaded => "client-overloaded",
            Self::Internal(_) => "internal",
        }
    }

    /// What a back end's doubt about its caller means. The caller's own token never reaches it, so the doubt is about us
    /// and must not become the caller's 401.
    pub fn of_status(status: StatusCode, presented: bool) -> Option<Self> {
        match status {
            StatusCode::UNAUTHORIZED if presented => Some(Self::CredentialRefused),
            StatusCode::UNAUTHORIZED | StatusCode::PROXY_AUTHENTICATION_REQUIRED => Some(Self::CredentialDemanded),
            _ => None,
        }
    }

    /// What the balancer should hold against the back end.
    pub const fn outcome(&self) -> Option<Outcome> {
        match self {
            Self::Connect(_) => Some(Outcome::ConnectFailed),
            Self::TimedOut => Some(Outcome::TimedOut),
            Self::Broken(_) => Some(Outcome::Broken),
            _ => None,
        }
    }

    /// An error of an established exchange with a back end.
    pub fn from_upstream(error: &Error) -> Self {
        match error.etype() {
            ErrorType::ReadTimedout | ErrorType::WriteTimedout => Self::TimedOut,
            ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout => Self::Connect("timed out".into()),
            kind => Self::Broken(kind.as_str().to_owned()),
        }
    }

    /// An error while making the connection: nothing of the request was sent.
    pub fn from_connect(error: &Error) -> Self {
        Self::Connect(error.etype().as_str().to_owned())
    }

    /// An error of reading from, or writing to, the caller.
    pub fn from_downstream(error: &Error) -> Self {
        match error.etype() {
            ErrorType::ReadTimedout => Self::BodyTimedOut,
            ErrorType::InvalidHTTPHeader => Self::BodyMalformed(error.etype().as_str().to_owned()),
            ErrorType::Custom(name) => Self::BodyMalformed((*name).to_owned()),
            _ => match spoilt(error) {
                Some(why) => Self::BodyMalformed(why),
                None => Self::CallerGone,
            },
        }
    }

    /// An error that Pingora's own proxying ended with.
    pub fn from_proxying(error: &Error) -> Self {
        match error.esource() {
            ErrorSource::Upstream => Self::from_upstream(error),
            ErrorSource::Downstream => Self::from_downstream(error),
            ErrorSource::Internal | ErrorSource::Unset => Self::Internal("proxying failed"),
        }
    }
}

/// What the front door found wrong with the body's framing: it ends the stream, but the caller is there and can be told.
fn spoilt(error: &Error) -> Option<String> {
    let error = error.root_cause().downcast_ref::<std::io::Error>()?;
    (error.kind() == std::io::ErrorKind::InvalidData).then(|| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_caller_whose_body_is_malformed_is_still_there_to_be_told() {
        use std::io::{Error as IoError, ErrorKind};
        for (kind, expected) in [(ErrorKind::InvalidData, Some(400)), (ErrorKind::ConnectionReset, None)] {
            let error = Error::because(ErrorType::ReadError, "reading a body", IoError::new(kind, "a chunk"));
            let status = Fault::from_downstream(&error).problem().map(|problem| problem.status().as_u16());
            assert_eq!(status, expected, "{kind}");
        }
    }

    #[test]
    fn our_faults_and_the_back_ends_are_never_a_401_and_leak_nothing() {
        let secret = "10.1.2.3:9443 refused".to_owned();
        for (fault, expected) in [
            (Fault::PoolFull(PoolFull { max: 3 }), Some(503)),
            (Fault::NoBackend(NoBackend::Exhausted), Some(503)),
            (Fault::NoBackend(NoBackend::AllOut { retry_after: Some(Duration::from_secs(7)) }), Some(503)),
            (Fault::Credential(CredentialError::Refused), Some(503)),
            (Fault::Connect(secret.clone()), Some(503)),
            (Fault::TimedOut, Some(504)),
            (Fault::Broken(secret.clone()), Some(502)),
            (Fault::Unusable("x"), Some(502)),
            (Fault::CredentialRefused, Some(502)),
            (Fault::CredentialDemanded, Some(502)),
            (Fault::BodyTooLarge, Some(413)),
            (Fault::BodyTimedOut, Some(408)),
            (Fault::BodyMalformed(secret), Some(400)),
            (Fault::Overloaded, Some(503)),
            (Fault::ClientOverloaded, Some(503)),
            (Fault::Internal("x"), Some(500)),
            (Fault::CallerGone, None),
        ] {
            let problem = fault.problem();
            assert_eq!(problem.as_ref().map(|p| p.status().as_u16()), expected, "{fault:?}");
            let Some(problem) = problem else { continue };
            assert_ne!(problem.status(), StatusCode::UNAUTHORIZED);
            assert!(problem.detail.is_none(), "{fault:?} tells internals");
        }
        let wait = Fault::NoBackend(NoBackend::AllOut { retry_after: Some(Duration::from_secs(7)) });
        assert_eq!(wait.problem().unwrap().headers[0].1, "7");
    }

    #[test]
    fn errors_of_pingora_are_told_apart_by_where_they_arose() {
        for (source, kind, expected) in [
            (ErrorSource::Upstream, ErrorType::ReadTimedout, "timed-out"),
            (ErrorSource::Upstream, ErrorType::ConnectionClosed, "broken"),
            (ErrorSource::Upstream, ErrorType::InvalidHTTPHeader, "broken"),
            (ErrorSource::Downstream, ErrorType::ReadTimedout, "body-timed-out"),
            (ErrorSource::Downstream, ErrorType::ConnectionClosed, "caller-gone"),
            (ErrorSource::Downstream, ErrorType::InvalidHTTPHeader, "body-malformed"),
            (ErrorSource::Internal, ErrorType::InternalError, "internal"),
        ] {
            let mut error = Error::new(kind.clone());
            error.esource = source.clone();
            assert_eq!(Fault::from_proxying(&error).code(), expected, "{source:?} {kind:?}");
        }
    }
}
