//! How well, and how long ago, must the user have been authenticated? (RFC 9470)

use std::time::Duration;

use http::header::WWW_AUTHENTICATE;

use crate::authn::{Challenges, Scheme, VerifiedToken};
use crate::domain::Timestamp;
use crate::problem::{Kind, Problem};

/// Longest name of a class of authentication.
const ACR_BYTES_MAX: usize = 256;

/// Why a demand cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StepUpError {
    #[error("a step-up needs `acr_values`, `max_age` or both")]
    Nothing,
    #[error("an `acr` value has 1 to {ACR_BYTES_MAX} visible ASCII characters without quotation marks and backslashes")]
    Acr,
    #[error("`max_age` is at least one second")]
    MaxAge,
}

/// What an operation demands of the user's authentication.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StepUp {
    /// Any of them, the preferred first; with none every class will do.
    acr_values: Vec<String>,
    max_age: Option<Duration>,
}

impl StepUp {
    pub fn new(acr_values: Vec<String>, max_age: Option<Duration>) -> Result<Self, StepUpError> {
        // They stand in a quoted string, with blanks between them.
        let writable = |acr: &String| {
            (1..=ACR_BYTES_MAX).contains(&acr.len())
                && acr.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\')
        };
        if !acr_values.iter().all(writable) {
            return Err(StepUpError::Acr);
        }
        if max_age.is_some_and(|age| age.as_secs() == 0) {
            return Err(StepUpError::MaxAge);
        }
        if acr_values.is_empty() && max_age.is_none() {
            return Err(StepUpError::Nothing);
        }
        Ok(Self { acr_values, max_age })
    }

    /// A token that does not say how or when its user was authenticated, as one of a client by itself, does not meet it.
    pub fn is_met_by(&self, token: &VerifiedToken, now: Timestamp) -> bool {
        let strong = token.acr.as_deref().is_some_and(|acr| self.acr_values.iter().any(|value| value == acr));
        let recent = |age| token.auth_time.is_some_and(|at| at.plus(age) >= now);
        (self.acr_values.is_empty() || strong) && self.max_age.is_none_or(recent)
    }

    /// RFC 9470 §3.
    pub(super) fn problem(&self, challenges: &Challenges, scheme: Scheme) -> Problem {
        let acr_values = (!self.acr_values.is_empty()).then(|| self.acr_values.join(" "));
        let max_age = self.max_age.map(|age| age.as_secs());
        let challenge = challenges.insufficient_authentication(scheme, acr_values.as_deref(), max_age);
        let mut problem = Problem::new(Kind::AuthenticationInsufficient).header(WWW_AUTHENTICATE, challenge);
        if !self.acr_values.is_empty() {
            problem = problem.member("acr_values", self.acr_values.clone());
        }
        match max_age {
            Some(secs) => problem.member("max_age", secs),
            None => problem,
        }
    }
}
