//! Tokens that are void before they expire.

use async_trait::async_trait;
use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Row, Sqlite};

use super::Store;
use super::fault::{Fault, within_deadline};
use crate::domain::Timestamp;
use crate::oauth::{RevocationStore, RevokedToken, StoreError};

/// Rows that one statement removes, so that other writers get their turn in between.
const PURGED_AT_ONCE: i64 = 1_000;

#[async_trait]
impl RevocationStore for Store {
    async fn load(&self) -> Result<Vec<RevokedToken>, StoreError> {
        Ok(within_deadline(self.read_revocations()).await?)
    }

    async fn revoke(&self, token: &RevokedToken) -> Result<(), StoreError> {
        within_deadline(mark_revoked(token).execute(&self.writer)).await?;
        Ok(())
    }

    async fn purge(&self, now: Timestamp) -> Result<(), StoreError> {
        let purge = "DELETE FROM revoked_tokens WHERE jti IN \
                     (SELECT jti FROM revoked_tokens WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)";
        loop {
            let call = sqlx::query(purge).bind(now.micros()).bind(PURGED_AT_ONCE).execute(&self.writer);
            if within_deadline(call).await?.rows_affected() == 0 {
                return Ok(());
            }
        }
    }
}

/// Whoever names the token with a later expiry is believed: a revocation never ends early.
pub(super) fn mark_revoked(token: &RevokedToken) -> Query<'_, Sqlite, SqliteArguments> {
    let insert = "INSERT INTO revoked_tokens (jti, expires_at) VALUES ($1, $2) \
                  ON CONFLICT (jti) DO UPDATE SET expires_at = max(revoked_tokens.expires_at, excluded.expires_at)";
    sqlx::query(insert).bind(&token.jti).bind(token.expires_at.micros())
}

impl Store {
    async fn read_revocations(&self) -> Result<Vec<RevokedToken>, Fault> {
        let query = "SELECT jti, expires_at FROM revoked_tokens";
        let rows = sqlx::query(query).fetch_all(&self.reader).await?;
        let token = |row: &sqlx::sqlite::SqliteRow| {
            let expires_at = Timestamp::from_micros(row.try_get("expires_at")?);
            Ok(RevokedToken { jti: row.try_get("jti")?, expires_at })
        };
        rows.iter().map(token).collect()
    }
}
