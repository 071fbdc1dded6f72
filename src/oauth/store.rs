//! What the authorization server must not forget. `store` implements these traits.

use async_trait::async_trait;
use secrecy::SecretString;

use crate::domain::{ClientId, Timestamp};

/// The store could not do what was asked; the caller answers 503, never 401.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the store did not answer within its deadline")]
    Timeout,
    /// A bound of ours: what is in force already is not given up for more.
    #[error("there is no room for more revocations")]
    Full,
    #[error("the store failed")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Where a signing key stands. A key is published from `Next` to the end of `Retired`; only `Current` signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    Next,
    Current,
    /// Verifies until the last token it signed has expired.
    Retired,
}

#[derive(Debug, Clone)]
pub struct StoredKey {
    pub kid: String,
    /// `ES256`, `PS256` or `EdDSA`.
    pub algorithm: String,
    /// PKCS#8, PEM.
    pub private_key: SecretString,
    pub state: KeyState,
    pub created_at: Timestamp,
    /// When it entered its present state.
    pub since: Timestamp,
}

#[async_trait]
pub trait KeyStore: Send + Sync {
    async fn load(&self) -> Result<Vec<StoredKey>, StoreError>;
    /// Replaces the whole set in one transaction.
    async fn replace(&self, keys: &[StoredKey]) -> Result<(), StoreError>;
}

/// One-time marks (`jti` of client assertions).
#[async_trait]
pub trait ReplayStore: Send + Sync {
    /// Marks `jti` of `client` as used until `expires_at`; false if it was marked already. Atomic: of two simultaneous
    /// callers one gets true. Durable before it returns.
    async fn mark(
        &self,
        client: &ClientId,
        jti: &str,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError>;
    /// Forgets what expired before `now`.
    async fn purge(&self, now: Timestamp) -> Result<(), StoreError>;
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevokedToken {
    pub jti: String,
    pub expires_at: Timestamp,
}

#[async_trait]
pub trait RevocationStore: Send + Sync {
    /// All that were not purged, expired ones included: a clock that is wrong at a start must not forget any.
    async fn load(&self) -> Result<Vec<RevokedToken>, StoreError>;
    /// Durable before it returns; repeating it is harmless.
    async fn revoke(&self, token: &RevokedToken) -> Result<(), StoreError>;
    /// Forgets what expired before `now`.
    async fn purge(&self, now: Timestamp) -> Result<(), StoreError>;
}

/// Secrets of this server's own that must outlive a restart.
#[async_trait]
pub trait SecretStore: Send + Sync {
    /// The secret of this name; `fresh` becomes it if there is none. Durable before it returns.
    async fn secret(&self, name: &'static str, fresh: [u8; 32]) -> Result<[u8; 32], StoreError>;
}
