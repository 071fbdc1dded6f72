//! May this be sent again? RFC 9110 §9.2.2, and nothing more generous.
//!
//! Invariant: once a byte of a request may have left, it is sent again only if its method is idempotent and all of it
//! can be sent again as it was.

use http::Method;

use super::failure::Fault;

/// Attempts of one request, the first included.
pub(super) const ATTEMPTS_MAX: usize = 3;

/// How much of the request body an attempt has used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    /// There is none.
    Absent,
    /// We hold all of it.
    Held,
    /// It comes from the caller as it goes; what was passed on is gone.
    Streamed { begun: bool },
}

impl Body {
    const fn can_be_sent_again(self) -> bool {
        matches!(self, Self::Absent | Self::Held | Self::Streamed { begun: false })
    }
}

/// How an attempt ended, as far as repeating it is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Attempt {
    pub body: Body,
    /// The connection had carried an earlier exchange, so it may have been closed by then.
    pub reused: bool,
    /// A byte of the answer has arrived, or gone on to the caller.
    pub answered: bool,
    /// Attempts made so far.
    pub attempts: usize,
}

/// Whether the request may be sent again after this fault.
pub(super) fn may_retry(method: &Method, fault: &Fault, attempt: Attempt) -> bool {
    if attempt.attempts >= ATTEMPTS_MAX || attempt.answered || !attempt.body.can_be_sent_again() {
        return false;
    }
    match fault {
        Fault::Connect(_) => true, // Nothing was sent, so any method may try elsewhere.
        Fault::Broken(_) => method.is_idempotent() && attempt.reused,
        Fault::CredentialRefused => method.is_idempotent(),
        Fault::PoolFull(_)
        | Fault::NoBackend(_)
        | Fault::Credential(_)
        | Fault::CredentialDemanded
        | Fault::TimedOut
        | Fault::Unusable(_)
        | Fault::BodyTooLarge
        | Fault::BodyTimedOut
        | Fault::BodyMalformed(_)
        | Fault::CallerGone
        | Fault::Overloaded
        | Fault::ClientOverloaded
        | Fault::Internal(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_not_idempotent_is_sent_twice() {
        let connect = Fault::Connect(String::new());
        let broken = Fault::Broken(String::new());
        let fresh = Attempt { body: Body::Absent, reused: false, answered: false, attempts: 1 };
        let reused = Attempt { reused: true, ..fresh };
        let begun = Body::Streamed { begun: true };
        let whole = Body::Streamed { begun: false };
        for (name, method, fault, attempt, expected) in [
            ("GET, closed on reuse", Method::GET, &broken, reused, true),
            ("GET, closed when new: the back end fails", Method::GET, &broken, fresh, false),
            ("PUT held, closed on reuse", Method::PUT, &broken, Attempt { body: Body::Held, ..reused }, true),
            ("PUT streamed, closed on reuse", Method::PUT, &broken, Attempt { body: begun, ..reused }, false),
            ("POST, closed on reuse", Method::POST, &broken, reused, false),
            ("POST held, closed on reuse", Method::POST, &broken, Attempt { body: Body::Held, ..reused }, false),
            ("PATCH, closed on reuse", Method::PATCH, &broken, reused, false),
            ("POST, not connected", Method::POST, &connect, fresh, true),
            ("POST streamed, not connected", Method::POST, &connect, Attempt { body: whole, ..fresh }, true),
            (
                "POST begun, not connected the second time",
                Method::POST,
                &connect,
                Attempt { body: begun, ..fresh },
                false,
            ),
            ("GET, half an answer", Method::GET, &broken, Attempt { answered: true, ..reused }, false),
            ("GET, too slow", Method::GET, &Fault::TimedOut, reused, false),
            ("GET, third attempt", Method::GET, &connect, Attempt { attempts: 3, ..fresh }, false),
            ("GET, token refused", Method::GET, &Fault::CredentialRefused, fresh, true),
            ("POST, token refused", Method::POST, &Fault::CredentialRefused, fresh, false),
            ("GET, a token that we do not have", Method::GET, &Fault::CredentialDemanded, fresh, false),
        ] {
            assert_eq!(may_retry(&method, fault, attempt), expected, "{name}");
        }
    }
}
