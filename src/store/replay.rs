//! One-time marks: a client assertion is taken once.

use async_trait::async_trait;
use aws_lc_rs::digest::{Context, Digest, SHA256};

use super::Store;
use super::fault::{Fault, within_deadline};
use crate::domain::{ClientId, Timestamp};
use crate::oauth::{ReplayStore, StoreError};

/// Expired marks that one call removes: more than it adds, so that they cannot pile up, and few enough to cost nothing.
const PURGED_AT_ONCE: i64 = 8;

#[async_trait]
impl ReplayStore for Store {
    /// Costs one commit, and so one sync of the disk; calls
    /// queue behind one another, which bounds assertions per second to the disk's syncs per second.
    async fn mark(
        &self,
        client: &ClientId,
        jti: &str,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let digest = digest(client, jti);
        Ok(within_deadline(self.insert_mark(digest.as_ref(), expires_at, now)).await?)
    }
}

impl Store {
    async fn insert_mark(&self, digest: &[u8], expires_at: Timestamp, now: Timestamp) -> Result<bool, Fault> {
        let mut change = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        // A mark that has expired is as good as none.
        let insert = "INSERT INTO replay_marks (digest, expires_at) VALUES ($1, $2) \
                      ON CONFLICT (digest) DO UPDATE SET expires_at = excluded.expires_at \
                      WHERE replay_marks.expires_at <= $3";
        let inserted = sqlx::query(insert)
            .bind(digest)
            .bind(expires_at.micros())
            .bind(now.micros())
            .execute(&mut *change)
            .await?
            .rows_affected();
        if inserted == 0 {
            return Ok(false); // Nothing changed; the transaction is rolled back by its drop.
        }
        let purge = "DELETE FROM replay_marks WHERE digest IN \
                     (SELECT digest FROM replay_marks WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)";
        sqlx::query(purge).bind(now.micros()).bind(PURGED_AT_ONCE).execute(&mut *change).await?;
        change.commit().await?;
        Ok(true)
    }
}

/// Unambiguous: a client's id contains no NUL.
fn digest(client: &ClientId, jti: &str) -> Digest {
    let mut context = Context::new(&SHA256);
    context.update(client.as_str().as_bytes());
    context.update(&[0]);
    context.update(jti.as_bytes());
    context.finish()
}
