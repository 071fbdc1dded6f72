//! Is this JWS what it claims to be? Strict parsing, verification by a key that decides the algorithm, signing.
//!
//! Invariants: no other room checks or makes a signature of a JWS; what is unverified ([`UnverifiedToken`]) and what is
//! verified ([`Verified`]) are different types, and only [`KeySet::verify`] leads from one to the other; a key in use
//! has been checked for size and curve, and has exactly one algorithm (RFC 8725 §3.1); nothing named by a token is ever
//! fetched. A JWS that brings its own key is read as a DPoP proof ([`UnverifiedProof`]) and as nothing else: that type
//! becomes no token, and proves possession of the key, not whose it is. Nothing here compares secrets: signatures and thumbprints are public, private keys stay inside AWS-LC.

mod algorithm;
mod claims;
mod decoy;
mod json;
mod key;
mod key_set;
mod proof;
mod signing;
mod token;

#[cfg(test)]
mod tests;

pub use algorithm::{Algorithm, UnknownAlgorithm};
pub use claims::{ClaimError, Claims};
pub use json::{StrictJsonError, parse_strict};
pub use key::{KeyError, KeyThumbprint, PublicKey};
pub use key_set::{JwksError, KEYS_MAX, KeySet, ParsedKeySet, SkippedKey, VerifyError};
pub use proof::{KeyErrorKind, PROOF_BYTES_MAX, ProofClaims, ProofError, Scratch, UnverifiedProof, VerifiedProof};
pub use signing::{SigningError, SigningKey};
pub use token::{Header, TokenError, UnverifiedToken, Verified};

/// SHA-256, as thumbprints and cache keys use it.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref());
    out
}
