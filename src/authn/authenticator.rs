//! Chooses the issuer, remembers what was verified, and checks on every request what can change between two.

use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::Expiry;
use moka::sync::Cache;

use super::dpop::{DpopProofs, Proof, ProvenRequest};
use super::{AuthnError, Binding, Issuer, IssuerError, IssuerSettings, Revocations, VerifiedToken};
use crate::domain::{Connection, Timestamp};
use crate::jose::{UnverifiedToken, sha256};

/// Most verified tokens that are remembered. At about 1 kB each this is the cache's price in memory.
pub const CACHED_TOKENS_MAX: u64 = 100_000;

type TokenHash = [u8; 32];

/// Turns a token and a connection into a [`VerifiedToken`].
pub struct Authenticator {
    own: Option<Arc<Issuer>>,
    outside: Vec<Arc<Issuer>>,
    revocations: Arc<Revocations>,
    /// Only tokens that passed are in here: who sends rubbish fills nothing.
    verified: Cache<TokenHash, Remembered>,
}

#[derive(Clone)]
struct Remembered {
    token: Arc<VerifiedToken>,
    /// From verifying to `exp`.
    lifetime: Duration,
}

struct UntilExpiry;

impl Expiry<TokenHash, Remembered> for UntilExpiry {
    fn expire_after_create(&self, _: &TokenHash, value: &Remembered, _: Instant) -> Option<Duration> {
        Some(value.lifetime)
    }
}

impl Authenticator {
    /// `own` is absent where the gateway stands beside an outside issuer. All mistakes of `outside` are reported.
    pub fn new(
        own: Option<Arc<Issuer>>,
        outside: Vec<IssuerSettings>,
        revocations: Arc<Revocations>,
    ) -> Result<Self, Vec<IssuerError>> {
        let verified = Cache::builder().max_capacity(CACHED_TOKENS_MAX).expire_after(UntilExpiry).build();
        let nothing = Self { own, outside: Vec::new(), revocations, verified };
        nothing.reload(outside)
    }

    /// The authenticator of the next snapshot. Keys that were fetched and tokens that were verified are kept for each
    /// issuer whose settings are the same; JWK sets on disk are read again.
    pub fn reload(&self, outside: Vec<IssuerSettings>) -> Result<Self, Vec<IssuerError>> {
        let mut issuers: Vec<Arc<Issuer>> = Vec::with_capacity(outside.len());
        let mut errors = Vec::new();
        for settings in outside {
            let name = settings.issuer.clone();
            let taken = self.own.iter().chain(&issuers).any(|issuer| issuer.name() == name);
            match self.reuse(&settings).map_or_else(|| Issuer::outside(settings), Ok) {
                Ok(_) if taken => errors.push(IssuerError::Twice(name)),
                Ok(issuer) => issuers.push(issuer),
                Err(error) => errors.push(error),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(Self {
            own: self.own.clone(),
            outside: issuers,
            revocations: Arc::clone(&self.revocations),
            verified: self.verified.clone(),
        })
    }

    fn reuse(&self, settings: &IssuerSettings) -> Option<Arc<Issuer>> {
        let remote = matches!(settings.jwks, super::JwksSource::Url(_));
        let same = |issuer: &&Arc<Issuer>| remote && issuer.settings() == settings;
        self.outside.iter().find(same).cloned()
    }

    /// Authenticates a bearer token. Waits only when an outside issuer's keys have to be fetched.
    ///
    /// A token seen before costs its SHA-256, one cache look-up and four comparisons, without allocation; a new one
    /// costs one signature check; a forged one costs at most one and is not remembered.
    pub async fn authenticate(
        &self,
        token: &str,
        connection: &Connection,
        now: Timestamp,
    ) -> Result<Arc<VerifiedToken>, AuthnError> {
        let (verified, _) = self.recall_or_verify(token, now).await?;
        verified.check_binding(connection)?;
        self.check_unrevoked(&verified)?;
        Ok(verified)
    }

    /// Authenticates a token that came by the DPoP scheme (RFC 9449 §7.1). Costs one signature check more than a bearer
    /// token, and one short lock. The proof is used up by a token that passes, and by no other.
    pub async fn authenticate_with_proof(
        &self,
        (token, proof): (&str, &str),
        proofs: &DpopProofs,
        request: ProvenRequest<'_>,
        now: Timestamp,
    ) -> Result<(Arc<VerifiedToken>, Proof), AuthnError> {
        let (verified, hash) = self.recall_or_verify(token, now).await?;
        if !matches!(verified.binding, Some(Binding::DpopKey(_))) {
            return Err(AuthnError::NotBoundToKey);
        }
        let request = ProvenRequest { token_hash: Some(&hash), ..request };
        let proof = proofs.check(proof, &request, now)?;
        verified.check_key(proof.key())?;
        self.check_unrevoked(&verified)?;
        Ok((verified, proofs.spend(proof, now)?))
    }

    /// Whether a token that passed some time ago would pass now: it has not ended, and who issued it is trusted still. Its
    /// sender need not prove anything again.
    pub fn check_again(&self, token: &VerifiedToken, now: Timestamp) -> Result<(), AuthnError> {
        token.check_unexpired(now)?;
        if !self.still_trusts(token) {
            return Err(AuthnError::Issuer);
        }
        self.check_unrevoked(token)
    }

    async fn recall_or_verify(
        &self,
        token: &str,
        now: Timestamp,
    ) -> Result<(Arc<VerifiedToken>, TokenHash), AuthnError> {
        let hash = sha256(token.as_bytes());
        let verified = match self.recall(&hash) {
            Some(verified) => verified,
            None => self.verify(token, hash, now).await?,
        };
        verified.check_unexpired(now)?;
        Ok((verified, hash))
    }

    /// Fetches the keys of outside issuers that are due. The server calls it every few seconds.
    pub async fn refresh_keys(&self, now: Timestamp) {
        for issuer in &self.outside {
            issuer.refresh(now).await;
        }
    }

    /// The issuer that a token names, if it is trusted.
    pub fn issuer(&self, name: &str) -> Option<&Arc<Issuer>> {
        self.own.iter().chain(&self.outside).find(|issuer| issuer.name() == name)
    }

    /// The trusted issuers' names, ours first (RFC 9728 §2 `authorization_servers`).
    pub fn issuer_names(&self) -> impl Iterator<Item = &str> {
        self.own.iter().chain(&self.outside).map(|issuer| issuer.name())
    }

    /// How many tokens are remembered, for a gauge. Does the cache's housekeeping on the way: not for a request path.
    pub fn remembered_tokens(&self) -> u64 {
        self.verified.run_pending_tasks();
        self.verified.entry_count()
    }

    /// A remembered token, if its issuer is still trusted under the same settings and still has the key.
    fn recall(&self, hash: &TokenHash) -> Option<Arc<VerifiedToken>> {
        let token = self.verified.get(hash)?.token;
        if self.still_trusts(&token) {
            return Some(token);
        }
        self.verified.invalidate(hash);
        None
    }

    fn still_trusts(&self, token: &VerifiedToken) -> bool {
        let trusted = self.own.iter().chain(&self.outside).any(|issuer| Arc::ptr_eq(issuer, &token.verifier));
        trusted && token.verifier.still_has(token.key)
    }

    async fn verify(&self, token: &str, hash: TokenHash, now: Timestamp) -> Result<Arc<VerifiedToken>, AuthnError> {
        let unverified = UnverifiedToken::parse(token).map_err(AuthnError::Malformed)?;
        let issuer = unverified.hint("iss").and_then(|name| self.issuer(name)).ok_or(AuthnError::Issuer)?;
        let verified = Arc::new(issuer.verify(unverified, now).await?);
        let lifetime = verified.expires_at.since(now);
        self.verified.insert(hash, Remembered { token: Arc::clone(&verified), lifetime });
        Ok(verified)
    }

    /// FAPI 2.0 §5.3.4-3. Only our own tokens are in the index: another issuer's `jti` could collide with ours.
    fn check_unrevoked(&self, token: &VerifiedToken) -> Result<(), AuthnError> {
        let revoked = token.verifier.is_own() && token.jti.as_deref().is_some_and(|jti| self.revocations.covers(jti));
        if revoked { Err(AuthnError::Revoked) } else { Ok(()) }
    }
}
