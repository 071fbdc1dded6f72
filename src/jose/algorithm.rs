//! The signature algorithms that exist here: an allow-list (RFC 8725 §3.1, FAPI 2.0 §5.4.1).

use std::fmt;
use std::str::FromStr;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    Ps256,
    Es256,
    /// Ed25519 only (RFC 8037, RFC 9864).
    EdDsa,
    /// Only for trusted outside issuers that list it; our own tokens and clients never use it.
    Rs256,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an allowed signature algorithm; PS256, ES256 and EdDSA are")]
pub struct UnknownAlgorithm(String);

impl Algorithm {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ps256 => "PS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
            Self::Rs256 => "RS256",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "PS256" => Ok(Self::Ps256),
            "ES256" => Ok(Self::Es256),
            "EdDSA" | "Ed25519" => Ok(Self::EdDsa),
            "RS256" => Ok(Self::Rs256),
            other => Err(UnknownAlgorithm(other.chars().take(20).collect())),
        }
    }
}
