//! A set of keys (RFC 7517 §5) and the one way from an unverified token to a verified one.

use serde_json::Value;

use super::key::{KeyError, KeyThumbprint, PublicKey};
use super::token::{UnverifiedToken, Verified};
use super::{Algorithm, Header, decoy};

/// Most keys of one set.
pub const KEYS_MAX: usize = 64;
/// Most keys that are tried for one token: several share a `kid` (FAPI 2.0 §5.4.3), or the token names none.
const ATTEMPTS_MAX: usize = 4;

/// Why a JWK set is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JwksError {
    #[error("a JWK set is a JSON object with an array `keys`")]
    NotASet,
    #[error("a JWK set has at most {KEYS_MAX} keys, this one has {0}")]
    TooMany(usize),
    /// Whoever wrote it down has lost it.
    #[error("key {}: {}", .0.position, .0.error)]
    PrivateKey(SkippedKey),
    #[error("the JWK set has no key that can be used here{}", first.as_ref().map(|f| format!("; key {}: {}", f.position, f.error)).unwrap_or_default())]
    NoUsableKey { first: Option<SkippedKey> },
}

/// Why no key verified a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// A newer edition of the set may have it.
    #[error("no key of the set has the token's `kid`")]
    UnknownKid,
    /// RFC 8725 §3.1: the key decides.
    #[error("the key is for another algorithm than the token names")]
    AlgorithmMismatch,
    #[error("the token names no `kid`, and too many keys could have signed it")]
    Ambiguous,
    #[error("the signature is not the key's")]
    Signature,
}

/// A key that was left out (RFC 7517 §5: unknown or unusable keys are ignored), and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkippedKey {
    /// Position in the array `keys`, from 0.
    pub position: usize,
    pub error: KeyError,
}

/// What a JWK set came to.
#[derive(Debug)]
pub struct ParsedKeySet {
    pub keys: KeySet,
    pub skipped: Vec<SkippedKey>,
}

/// Public keys that are trusted for one purpose. Immutable: a change is a new set.
#[derive(Debug, Clone, Default)]
pub struct KeySet {
    keys: Vec<PublicKey>,
}

impl KeySet {
    /// Reads a JWK set for the `allowed` algorithms. Keys that are of no use are skipped and reported; a set without
    /// any usable key is an error.
    pub fn parse(jwks: &Value, allowed: &[Algorithm]) -> Result<ParsedKeySet, JwksError> {
        let array = jwks.get("keys").and_then(Value::as_array).ok_or(JwksError::NotASet)?;
        if array.len() > KEYS_MAX {
            return Err(JwksError::TooMany(array.len()));
        }
        let mut keys = Vec::with_capacity(array.len());
        let mut skipped = Vec::new();
        for (position, jwk) in array.iter().enumerate() {
            match PublicKey::parse(jwk, allowed) {
                Ok(usable) => keys.extend(usable),
                Err(error) => skipped.push(SkippedKey { position, error }),
            }
        }
        if keys.is_empty() {
            return Err(JwksError::NoUsableKey { first: skipped.into_iter().next() });
        }
        Ok(ParsedKeySet { keys: Self { keys }, skipped })
    }

    /// Takes keys that have been parsed already.
    pub fn of(keys: Vec<PublicKey>) -> Self {
        Self { keys }
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &PublicKey> {
        self.keys.iter()
    }

    /// Whether the key with this thumbprint is still in the set.
    pub fn contains(&self, thumbprint: KeyThumbprint) -> bool {
        self.keys.iter().any(|key| key.thumbprint() == thumbprint)
    }

    /// Verifies the signature (RFC 7515 §5.2). At most one check for a `kid` that is unique, else at most four.
    pub fn verify(&self, token: UnverifiedToken<'_>) -> Result<Verified, VerifyError> {
        self.candidates(token.header())?.verify(token)
    }

    /// As [`KeySet::verify`], but a token that no key of the set can have signed, or whose set does not exist, costs
    /// one signature check too: the time does not tell whether the sender is known.
    pub fn verify_evenly(keys: Option<&Self>, token: UnverifiedToken<'_>) -> Result<Verified, VerifyError> {
        match keys.map_or(Err(VerifyError::UnknownKid), |keys| keys.candidates(token.header())) {
            Ok(candidates) => candidates.verify(token),
            Err(error) => {
                decoy::check(&token);
                Err(error)
            }
        }
    }

    /// Whether this set can judge the token: a key has its `kid`, or one without `kid` signed it (which costs up to four
    /// checks where there are such). If not, a newer set of the same owner may.
    pub fn knows(&self, token: &UnverifiedToken<'_>) -> bool {
        match self.candidates(token.header()) {
            Ok(nameless) if nameless.otherwise == VerifyError::UnknownKid => nameless.signer(token).is_some(),
            Err(VerifyError::UnknownKid) => false,
            Ok(_) | Err(_) => true,
        }
    }

    fn candidates(&self, header: &Header) -> Result<Candidates<'_>, VerifyError> {
        let named: Vec<_> = match header.kid.as_deref() {
            Some(kid) => self.keys.iter().filter(|key| key.kid() == Some(kid)).collect(),
            None => self.keys.iter().collect(),
        };
        if named.is_empty() {
            return self.nameless(header.algorithm);
        }
        let mut fitting = named;
        fitting.retain(|key| key.algorithm() == header.algorithm);
        match fitting.len() {
            0 => Err(VerifyError::AlgorithmMismatch),
            1..=ATTEMPTS_MAX => Ok(Candidates { keys: fitting, otherwise: VerifyError::Signature }),
            _ => Err(VerifyError::Ambiguous),
        }
    }

    /// RFC 7515 §4.1.4: `kid` is a hint, and libraries write one for keys that were published without. If none of those
    /// signed, the `kid` is as unknown as it was, and its owner's set may be asked for anew.
    fn nameless(&self, algorithm: Algorithm) -> Result<Candidates<'_>, VerifyError> {
        let fits = |key: &&PublicKey| key.kid().is_none() && key.algorithm() == algorithm;
        let keys: Vec<_> = self.keys.iter().filter(fits).collect();
        match keys.len() {
            1..=ATTEMPTS_MAX => Ok(Candidates { keys, otherwise: VerifyError::UnknownKid }),
            _ => Err(VerifyError::UnknownKid),
        }
    }
}

/// The keys that may have signed, and what it means if none did.
struct Candidates<'k> {
    keys: Vec<&'k PublicKey>,
    otherwise: VerifyError,
}

impl<'k> Candidates<'k> {
    fn signer(&self, token: &UnverifiedToken<'_>) -> Option<&'k PublicKey> {
        self.keys.iter().copied().find(|key| key.verifies(token.signing_input(), token.signature()))
    }

    fn verify(self, token: UnverifiedToken<'_>) -> Result<Verified, VerifyError> {
        match self.signer(&token) {
            Some(key) => Ok(token.into_verified(key.thumbprint())),
            None => Err(self.otherwise),
        }
    }
}
