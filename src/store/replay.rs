//! One-time marks: a client assertion is taken once.

use std::sync::atomic::Ordering;

use async_trait::async_trait;
use aws_lc_rs::digest::{Context, Digest, SHA256};

use super::Store;
use super::fault::{Fault, within_deadline};
use crate::domain::{ClientId, Timestamp};
use crate::oauth::{ReplayStore, StoreError};

/// Rows that one statement removes, so that other writers get their turn in between.
const PURGED_AT_ONCE: i64 = 1_000;

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
        let fresh = within_deadline(self.insert_mark(digest.as_ref(), expires_at, now)).await?;
        self.marks.fetch_add(u64::from(fresh), Ordering::Relaxed);
        Ok(fresh)
    }

    async fn purge(&self, now: Timestamp) -> Result<(), StoreError> {
        let purge = "DELETE FROM replay_marks WHERE digest IN \
                     (SELECT digest FROM replay_marks WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)";
        loop {
            let call = sqlx::query(purge).bind(now.micros()).bind(PURGED_AT_ONCE).execute(&self.writer);
            if within_deadline(call).await?.rows_affected() == 0 {
                break;
            }
        }
        Ok(within_deadline(self.count_marks()).await?)
    }
}

impl Store {
    /// Counts the marks anew.
    pub(super) async fn count_marks(&self) -> Result<(), sqlx::Error> {
        let marks: i64 = sqlx::query_scalar("SELECT count(*) FROM replay_marks").fetch_one(&self.reader).await?;
        self.marks.store(marks.unsigned_abs(), Ordering::Relaxed);
        Ok(())
    }

    async fn insert_mark(&self, digest: &[u8], expires_at: Timestamp, now: Timestamp) -> Result<bool, Fault> {
        // A transaction, so that a call that is given up leaves no mark behind.
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
        change.commit().await?;
        Ok(inserted > 0)
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
