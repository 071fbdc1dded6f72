//! Every way in which a proof is none.

use http::HeaderValue;

use crate::jose::ProofError;

/// Why a proof is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DpopError {
    // --- `invalid_dpop_proof`
    #[error("the request has no DPoP proof")]
    Missing,
    #[error("the request has more than one DPoP field")]
    Several,
    #[error("the DPoP proof is malformed, or not by its key")]
    Malformed(#[source] ProofError),
    #[error("the DPoP proof is for another method")]
    Method,
    #[error("the DPoP proof is for another URL")]
    Url,
    #[error("the DPoP proof was made in the future")]
    Ahead,
    #[error("the DPoP proof is too old")]
    Old,
    #[error("the DPoP proof does not name the access token that it came with")]
    TokenHash,
    #[error("the DPoP proof was used before")]
    Replayed,

    // --- `use_dpop_nonce`
    #[error("the DPoP proof has no nonce of ours, or one that has ended")]
    Nonce { fresh: HeaderValue },

    // --- ours: unavailable
    #[error("there is no room to remember another DPoP proof")]
    Full,
}

/// What a refused proof is in the words of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DpopErrorCode {
    /// RFC 9449 §5: 400 at the authorization server; §7.1: 401 at the resource.
    InvalidProof,
    /// RFC 9449 §8, §9: likewise, with the field `DPoP-Nonce`.
    UseNonce,
    /// 503: the fault is ours.
    Unavailable,
}

impl DpopErrorCode {
    /// As the protocol spells it; none for a fault of ours.
    pub const fn as_str(self) -> Option<&'static str> {
        match self {
            Self::InvalidProof => Some("invalid_dpop_proof"),
            Self::UseNonce => Some("use_dpop_nonce"),
            Self::Unavailable => None,
        }
    }
}

impl DpopError {
    pub const fn code(&self) -> DpopErrorCode {
        match self {
            Self::Missing
            | Self::Several
            | Self::Malformed(_)
            | Self::Method
            | Self::Url
            | Self::Ahead
            | Self::Old
            | Self::TokenHash
            | Self::Replayed => DpopErrorCode::InvalidProof,
            Self::Nonce { .. } => DpopErrorCode::UseNonce,
            Self::Full => DpopErrorCode::Unavailable,
        }
    }

    /// For `error_description`: plain ASCII that can be quoted, without anything of the sender's.
    pub const fn description(&self) -> &'static str {
        match self {
            Self::Missing => "Send a DPoP proof in the DPoP field.",
            Self::Several => "Send exactly one DPoP field.",
            Self::Malformed(ProofError::Signature) => "The signature of the DPoP proof does not verify.",
            Self::Malformed(ProofError::Key(_) | ProofError::KeyMissing) => {
                "The DPoP proof brings no public key that can be used here."
            }
            Self::Malformed(ProofError::Algorithm) => "The algorithm of the DPoP proof is not allowed.",
            Self::Malformed(_) => "The DPoP proof is malformed.",
            Self::Method => "The DPoP proof is for another method.",
            Self::Url => "The DPoP proof is for another URL.",
            Self::Ahead => "The DPoP proof was made in the future.",
            Self::Old => "The DPoP proof is too old.",
            Self::TokenHash => "The DPoP proof does not name this access token.",
            Self::Replayed => "The DPoP proof was used before.",
            Self::Nonce { .. } => "Make a DPoP proof with the nonce of the DPoP-Nonce field.",
            Self::Full => "Try again later.",
        }
    }
}
