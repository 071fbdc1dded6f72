//! Does the sender hold the key? DPoP (RFC 9449), for the gateway and for the authorization server alike.
//!
//! A proof is checked in two steps: [`DpopProofs::check`] says whose key made it, and that it is for this request;
//! [`DpopProofs::spend`] then uses it up. Between the two its owner is compared with whom the request is about, so that
//! only proofs of those who belong here take room among the marks.
//!
//! Invariants: only `spend` makes a [`Proof`], and of two at once it makes one; a mark is kept for as long as its proof
//! would be taken, and what finds no room is refused; the URL that a proof must name is made of our settings, never of
//! the request's `Host`.

mod error;
mod nonce;
mod replay;
mod url;

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::domain::{Random, Thumbprint, Timestamp};
use crate::jose::{Algorithm, ProofClaims, Scratch, UnverifiedProof};

pub use error::{DpopError, DpopErrorCode};
pub use nonce::NonceSpace;
use nonce::{Nonces, Seen};
pub use replay::DPOP_MARKS_MAX;
use replay::{Mark, Replays};
pub use url::ExternalUrls;

/// What proofs may be signed with (FAPI 2.0 §5.4.1-1b; RFC 9449 §5.1 `dpop_signing_alg_values_supported`).
pub const ALGORITHMS: [Algorithm; 3] = [Algorithm::Es256, Algorithm::Ps256, Algorithm::EdDsa];

/// The field of a proof, in requests.
pub const DPOP: HeaderName = HeaderName::from_static("dpop");
/// The field of a nonce, in answers.
pub const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// Whether a server asks for its own nonces (RFC 9449 §8, §9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NonceMode {
    Off,
    Required,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DpopSettings {
    /// How far `iat` may lie in the past.
    pub proof_age_max: Duration,
    /// How far `iat` may lie ahead (FAPI 2.0 §5.3.2.1-13: 10 s to 60 s).
    pub clock_skew_max: Duration,
    pub resource_nonces: NonceMode,
    pub authorization_server_nonces: NonceMode,
}

impl DpopSettings {
    const fn nonces(&self, space: NonceSpace) -> NonceMode {
        match space {
            NonceSpace::Resource => self.resource_nonces,
            NonceSpace::AuthorizationServer => self.authorization_server_nonces,
        }
    }
}

/// The request that a proof must be for.
#[derive(Clone, Copy)]
pub struct ProvenRequest<'a> {
    pub method: &'a Method,
    /// By what names the request can have been addressed…
    pub urls: &'a ExternalUrls,
    /// …and its path as received, without query.
    pub path: &'a str,
    /// SHA-256 of the access token that comes along (RFC 9449 §4.3, 12a); none at the authorization server.
    pub token_hash: Option<&'a [u8; 32]>,
    /// Whose nonces count.
    pub space: NonceSpace,
}

/// Checks proofs and remembers which were used. One for the whole process.
pub struct DpopProofs {
    settings: DpopSettings,
    nonces: Nonces,
    replays: Replays,
}

/// A proof that is for this request and by the holder of `key`, but may have been used before.
#[derive(Debug)]
#[must_use = "a proof that is not spent can be used again"]
pub struct UnspentProof {
    key: Thumbprint,
    mark: Mark,
    expires_at: Timestamp,
    fresh_nonce: Option<HeaderValue>,
}

impl UnspentProof {
    /// RFC 7638 thumbprint of the key that made it: `jkt`.
    pub const fn key(&self) -> Thumbprint {
        self.key
    }
}

/// A proof that was made for this request and used for it alone.
#[derive(Debug)]
pub struct Proof {
    /// RFC 7638 thumbprint of the key that made it: `jkt`.
    pub key: Thumbprint,
    /// For the `DPoP-Nonce` field of the answer, whatever it will be: the nonce of the proof is about to end (RFC 9449
    /// §8.2).
    pub fresh_nonce: Option<HeaderValue>,
}

impl DpopProofs {
    pub fn new(settings: DpopSettings, random: &dyn Random) -> Self {
        let kept = settings.proof_age_max + settings.clock_skew_max;
        Self { nonces: Nonces::new(random), replays: Replays::new(kept), settings }
    }

    /// RFC 9449 §4.3 without the comparison with a token's key and without the search for a replay. What can refuse
    /// without cryptography comes before it: a hint may refuse, and spares the cost of the signature.
    pub fn check(&self, proof: &str, request: &ProvenRequest<'_>, now: Timestamp) -> Result<UnspentProof, DpopError> {
        let mut scratch = Scratch::default();
        let proof = UnverifiedProof::parse(proof, &ALGORITHMS, &mut scratch).map_err(DpopError::Malformed)?;
        self.check_hints(proof.hints(), request, now)?;
        let verified = proof.verify().map_err(DpopError::Malformed)?;
        let fresh_nonce = self.check_nonce(verified.claims.nonce.as_deref(), request.space, now)?;
        Ok(UnspentProof {
            key: Thumbprint(verified.key.0),
            mark: Mark::new(verified.key, &verified.claims.jti),
            expires_at: verified.claims.iat.plus(self.settings.proof_age_max),
            fresh_nonce,
        })
    }

    /// Uses the proof up; of two that are the same, however close, one is refused.
    pub fn spend(&self, proof: UnspentProof, now: Timestamp) -> Result<Proof, DpopError> {
        self.replays.insert(proof.mark, proof.expires_at, now)?;
        Ok(Proof { key: proof.key, fresh_nonce: proof.fresh_nonce })
    }

    /// The nonce to hand out now, where nonces are asked for.
    pub fn nonce(&self, space: NonceSpace, now: Timestamp) -> Option<HeaderValue> {
        match self.settings.nonces(space) {
            NonceMode::Off => None,
            NonceMode::Required => Some(self.nonces.current(space, now)),
        }
    }

    /// How many proofs are remembered as used, of [`DPOP_MARKS_MAX`] at most: for a gauge.
    pub fn remembered(&self) -> usize {
        self.replays.len()
    }

    fn check_hints(
        &self,
        claims: &ProofClaims<'_>,
        request: &ProvenRequest<'_>,
        now: Timestamp,
    ) -> Result<(), DpopError> {
        if claims.htm != request.method.as_str() {
            return Err(DpopError::Method); // RFC 9110 §9.1: methods are case-sensitive.
        }
        if !request.urls.contain(&claims.htu, request.path) {
            return Err(DpopError::Url);
        }
        if claims.iat > now.plus(self.settings.clock_skew_max) {
            return Err(DpopError::Ahead);
        }
        if claims.iat.plus(self.settings.proof_age_max) < now {
            return Err(DpopError::Old);
        }
        match (request.token_hash, claims.ath.as_deref()) {
            (Some(hash), Some(ath)) if is_digest(ath, hash) => Ok(()),
            (Some(_), Some(_) | None) => Err(DpopError::TokenHash),
            // RFC 9449 §4.3, 12: there is no token to compare it with; unknown and spare claims are let be.
            (None, Some(_) | None) => Ok(()),
        }
    }

    /// RFC 9449 §4.3, 10. The value is a nonce to hand out beside the answer.
    fn check_nonce(
        &self,
        nonce: Option<&str>,
        space: NonceSpace,
        now: Timestamp,
    ) -> Result<Option<HeaderValue>, DpopError> {
        match self.settings.nonces(space) {
            NonceMode::Off => Ok(None),
            NonceMode::Required => match nonce.map(|nonce| self.nonces.look(nonce, space, now)) {
                Some(Seen::Current) => Ok(None),
                Some(Seen::Previous) => Ok(Some(self.nonces.current(space, now))),
                Some(Seen::Stranger) | None => Err(DpopError::Nonce { fresh: self.nonces.current(space, now) }),
            },
        }
    }
}

/// The one proof of a request (RFC 9449 §4.3, 1), if there is any.
pub fn read_proof(headers: &HeaderMap) -> Result<Option<&str>, DpopError> {
    let mut fields = headers.get_all(DPOP).iter();
    match (fields.next(), fields.next()) {
        (None, _) => Ok(None),
        // Not even visible ASCII: no JWS in any case.
        (Some(field), None) => {
            field.to_str().map(Some).map_err(|_| DpopError::Malformed(crate::jose::ProofError::Base64))
        }
        (Some(_), Some(_)) => Err(DpopError::Several),
    }
}

/// Whether `text` is a SHA-256 digest in base64url. Digests of tokens are no secrets to who has the token.
fn is_digest(text: &str, digest: &[u8; 32]) -> bool {
    let mut decoded = [0; 32];
    URL_SAFE_NO_PAD.decode_slice(text, &mut decoded) == Ok(32) && decoded == *digest
}

#[cfg(test)]
pub(crate) mod tests;
