//! The errors of CIBA Core §11 and §13, beside those of RFC 6749.

/// Why a backchannel request, or a poll for its tokens, is not answered with what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BackchannelError {
    /// §13. Says whether a user exists, to a client that authenticated.
    #[error("the hint leads to no user")]
    UnknownUser,
    #[error("the login_hint_token has expired")]
    ExpiredLoginHintToken,
    #[error("the binding message cannot be shown as it is")]
    BindingMessage,
    /// RFC 9470 §5, which CIBA Core §13 has no error of its own for.
    #[error("the user does not reach the acr that is asked for")]
    UnmetAuthenticationRequirements,
    /// §11.
    #[error("the user has not decided yet")]
    Pending,
    #[error("the client polls too often")]
    SlowDown,
    #[error("the user did not decide in time")]
    Expired,
    #[error("the user refused")]
    Denied,
}

impl BackchannelError {
    pub(super) const fn code(self) -> &'static str {
        match self {
            Self::UnknownUser => "unknown_user_id",
            Self::ExpiredLoginHintToken => "expired_login_hint_token",
            Self::BindingMessage => "invalid_binding_message",
            Self::UnmetAuthenticationRequirements => "unmet_authentication_requirements",
            Self::Pending => "authorization_pending",
            Self::SlowDown => "slow_down",
            Self::Expired => "expired_token",
            Self::Denied => "access_denied",
        }
    }

    pub(super) const fn description(self) -> &'static str {
        match self {
            Self::UnknownUser => "No user is known by this hint.",
            Self::ExpiredLoginHintToken => "The login_hint_token has expired.",
            Self::BindingMessage => {
                "The binding message must be at most 100 characters of letters, digits, spaces and ASCII punctuation."
            }
            Self::UnmetAuthenticationRequirements => "The authentication that is asked for cannot be reached.",
            Self::Pending => "The user has not decided yet.",
            Self::SlowDown => "Wait for five seconds more between requests.",
            Self::Expired => "The request has expired.",
            Self::Denied => "The user refused the request.",
        }
    }
}
