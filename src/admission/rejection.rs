//! Why a request does not pass, and what its sender may know of that.

use std::sync::Arc;

use http::header::{ACCEPT, ALLOW, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};

use crate::authn::dpop::{DPOP_NONCE, DpopError, DpopErrorCode};
use crate::authn::{AuthnError, Challenges, Scheme};
use crate::domain::ScopeSet;
use crate::policy::Refusal;
use crate::problem::{FieldError, Kind, Problem};
use crate::quota::Exceeded;
use crate::route::{PathError, RouteError};
use crate::upstream::PoolFull;

use super::StepUp;

#[derive(Debug, thiserror::Error)]
pub enum Rejection {
    #[error("the path is not canonical")]
    Path(#[from] PathError),
    #[error("no operation has this route")]
    Route(#[from] RouteError),
    #[error("the client certificate is not trusted")]
    CertificateUntrusted,
    #[error("the caller is not authenticated")]
    Authn(#[from] AuthnError),
    #[error("the token names no active partner")]
    UnknownPartner,
    #[error("no subscription contains the operation")]
    NotSubscribed,
    #[error("the caller must name the exchange, and does not")]
    InteractionUnnamed,
    #[error("the token lacks a scope")]
    ScopeMissing { required: ScopeSet },
    #[error("the token lacks authorization details of a type")]
    DetailsMissing { required: Arc<str> },
    #[error("the user was not authenticated in the way that the operation needs, or too long ago")]
    StepUp { required: StepUp },
    #[error("a policy refuses")]
    Policy(Arc<Refusal>),
    #[error("a regulated product needs a sender-constrained token")]
    BindingRequired,
    #[error("no amount above zero can be read where the operation states it")]
    AmountUnknown,
    #[error("the body is not of a media type that the operation takes")]
    MediaType { accepted: Vec<String> },
    #[error("the request breaks the contract")]
    Contract(Vec<FieldError>),
    #[error("the institution has no back end in this environment")]
    NoBackend,
    #[error("the institution's pool is full")]
    PoolFull(#[from] PoolFull),
    #[error("a quota is exhausted")]
    Quota(Box<Exceeded>),
    #[error("the snapshot is inconsistent")]
    Inconsistent,
}

impl From<Exceeded> for Rejection {
    fn from(exceeded: Exceeded) -> Self {
        Self::Quota(Box::new(exceeded))
    }
}

impl Rejection {
    /// Whether the sender failed to prove who it is: such failures spend the flood guard.
    pub fn is_failed_authentication(&self) -> bool {
        match self {
            // A request without a credential tried nothing, our own faults are not the sender's, and a token that was
            // good until a moment ago is no attack: it must not lock out a partner, or its neighbours behind one address.
            // To be asked for a nonce is how every client begins.
            Self::Authn(AuthnError::Missing | AuthnError::Expired | AuthnError::KeysUnavailable(_)) => false,
            Self::Authn(AuthnError::Dpop(error)) => error.code() == DpopErrorCode::InvalidProof,
            Self::Authn(_) | Self::CertificateUntrusted | Self::UnknownPartner => true,
            _ => false,
        }
    }

    /// What the sender may know; it is challenged in the scheme that it used.
    pub fn problem(&self, challenges: &Challenges, scheme: Scheme) -> Problem {
        match self {
            Self::Path(error) => Problem::new(Kind::MalformedRequest).detail(error.to_string()),
            Self::Route(RouteError::NotFound) => Problem::new(Kind::NoSuchResource),
            Self::Route(RouteError::MethodNotAllowed { allow }) => {
                with(Problem::new(Kind::MethodNotAllowed), ALLOW, allow)
            }
            Self::CertificateUntrusted => {
                with_challenges(Kind::CertificateUntrusted, challenges.for_error(&AuthnError::ClientUnknown, scheme))
            }
            Self::Authn(error) => authentication(error, challenges, scheme),
            Self::UnknownPartner => {
                with_challenges(Kind::TokenInvalid, challenges.for_error(&AuthnError::ClientUnknown, scheme))
            }
            Self::NotSubscribed => Problem::new(Kind::NotSubscribed),
            Self::InteractionUnnamed => Problem::new(Kind::InteractionUnnamed),
            Self::ScopeMissing { required } => Problem::new(Kind::ScopeMissing)
                .member("scope", required.to_string())
                .header(WWW_AUTHENTICATE, challenges.insufficient_scope(required, scheme)),
            Self::DetailsMissing { required } => Problem::new(Kind::DetailsMissing)
                .member("authorization_details_type", required.to_string())
                .header(WWW_AUTHENTICATE, challenges.insufficient_details(scheme)),
            Self::StepUp { required } => required.problem(challenges, scheme),
            Self::Policy(refusal) => policy(refusal),
            Self::BindingRequired => Problem::new(Kind::BindingRequired),
            Self::AmountUnknown => Problem::new(Kind::ContractViolated)
                .detail("The request must state an amount above zero where the operation's documentation says."),
            Self::MediaType { accepted } => {
                with(Problem::new(Kind::MediaTypeUnsupported), ACCEPT, &accepted.join(", "))
            }
            Self::Contract(errors) => Problem::new(Kind::ContractViolated).errors(errors.clone()),
            Self::NoBackend => Problem::new(Kind::BackendUnavailable),
            Self::PoolFull(_) => with(Problem::new(Kind::Overloaded), RETRY_AFTER, "1"),
            Self::Quota(exceeded) => quota(exceeded),
            Self::Inconsistent => Problem::new(Kind::Internal),
        }
    }
}

fn with(problem: Problem, name: HeaderName, value: &str) -> Problem {
    match HeaderValue::from_str(value) {
        Ok(value) => problem.header(name, value),
        Err(_) => problem, // A value that cannot be a field is left out; the document says it all the same.
    }
}

/// Which kind of problem a failed authentication is. Only its own faults are a 503: never a 401 for those.
fn kind(error: &AuthnError) -> Kind {
    match error {
        AuthnError::Missing => Kind::TokenMissing,
        AuthnError::SeveralCredentials => Kind::TokenInRequest,
        AuthnError::CertificateMissing
        | AuthnError::CertificateMismatch { .. }
        | AuthnError::DpopKeyMismatch { .. }
        | AuthnError::DpopTokenAsBearer
        | AuthnError::NotBoundToKey => Kind::TokenBinding,
        AuthnError::Dpop(error) => match error.code() {
            DpopErrorCode::InvalidProof => Kind::DpopProof,
            DpopErrorCode::UseNonce => Kind::DpopNonce,
            DpopErrorCode::Unavailable => Kind::Unavailable,
        },
        AuthnError::KeysUnavailable(_) => Kind::Unavailable,
        _ => Kind::TokenInvalid,
    }
}

/// RFC 6750 §3 and RFC 9449 §7.1, with RFC 9728 §5.1.
fn authentication(error: &AuthnError, challenges: &Challenges, scheme: Scheme) -> Problem {
    let problem = with_challenges(kind(error), challenges.for_error(error, scheme));
    match error {
        AuthnError::Dpop(error) => {
            let problem = problem.detail(error.description());
            match error {
                DpopError::Nonce { fresh } => problem.header(DPOP_NONCE, fresh.clone()), // RFC 9449 §9
                _ => problem,
            }
        }
        _ => problem,
    }
}

fn with_challenges(kind: Kind, challenges: Vec<HeaderValue>) -> Problem {
    challenges.into_iter().fold(Problem::new(kind), |problem, value| problem.header(WWW_AUTHENTICATE, value))
}

fn policy(refusal: &Refusal) -> Problem {
    let mut problem = Problem::new(Kind::PolicyRefused).detail(refusal.reason.clone());
    problem = problem.member("reason", refusal.reason.clone());
    if let Some(regulation) = &refusal.regulation {
        problem = problem.member("regulation", regulation.clone());
    }
    if let Some(remedy) = &refusal.remedy {
        problem = problem.member("remedy", remedy.clone());
    }
    problem.member("policies", refusal.policies.clone())
}

fn quota(exceeded: &Exceeded) -> Problem {
    // RFC 9110 §10.2.3: whole seconds, never less than the wait.
    let seconds = exceeded.retry_after.as_secs() + u64::from(exceeded.retry_after.subsec_nanos() > 0);
    let problem = if exceeded.violated.is_empty() {
        Problem::new(Kind::Overloaded) // No room for another counter: not a limit of the caller's.
    } else {
        Problem::new(Kind::QuotaExceeded).member("violated-policies", exceeded.violated.clone())
    };
    let problem = with(problem, RETRY_AFTER, &seconds.max(1).to_string());
    match &exceeded.fields {
        Some(fields) => problem
            .header(HeaderName::from_static("ratelimit-policy"), fields.policy.clone())
            .header(HeaderName::from_static("ratelimit"), fields.limit.clone()),
        None => problem,
    }
}
