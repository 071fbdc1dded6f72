//! What partners used of their calendar windows.

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row};

use super::Store;
use super::fault::{Fault, within_deadline};
use crate::domain::{PlanId, Timestamp};
use crate::quota::{CountedPer, WindowCount, WindowStore, WindowStoreError};

/// Rows of one statement: seven values each, far below SQLite's limit of 32,766.
const ROWS_AT_ONCE: usize = 200;

/// Rows that one statement removes.
const PURGED_AT_ONCE: i64 = 1_000;

#[async_trait]
impl WindowStore for Store {
    async fn load(&self) -> Result<Vec<WindowCount>, WindowStoreError> {
        Ok(within_deadline(self.read_windows()).await?)
    }

    async fn save(&self, counts: &[WindowCount]) -> Result<(), WindowStoreError> {
        if counts.is_empty() {
            return Ok(());
        }
        Ok(within_deadline(self.save_windows(counts)).await?)
    }

    async fn purge(&self, ended_before: Timestamp) -> Result<(), WindowStoreError> {
        let purge = "DELETE FROM window_counts WHERE (plan, limit_name, counted_per, counted_key, starts_at, ends_at) IN \
                     (SELECT plan, limit_name, counted_per, counted_key, starts_at, ends_at FROM window_counts \
                      WHERE ends_at < $1 ORDER BY ends_at LIMIT $2)";
        loop {
            let call = sqlx::query(purge).bind(ended_before.micros()).bind(PURGED_AT_ONCE).execute(&self.writer);
            if within_deadline(call).await?.rows_affected() == 0 {
                return Ok(());
            }
        }
    }
}

impl Store {
    async fn read_windows(&self) -> Result<Vec<WindowCount>, Fault> {
        let query = "SELECT plan, limit_name, counted_per, counted_key, starts_at, ends_at, used FROM window_counts";
        sqlx::query(query).fetch_all(&self.reader).await?.iter().map(read_count).collect()
    }

    async fn save_windows(&self, counts: &[WindowCount]) -> Result<(), Fault> {
        let mut change = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        for rows in counts.chunks(ROWS_AT_ONCE) {
            let mut insert = QueryBuilder::new(
                "INSERT INTO window_counts \
                 (plan, limit_name, counted_per, counted_key, starts_at, ends_at, used) ",
            );
            insert.push_values(rows, |mut row, count| {
                row.push_bind(count.plan.as_str().to_owned())
                    .push_bind(count.limit.clone())
                    .push_bind(count.per.as_str())
                    .push_bind(count.key.clone())
                    .push_bind(count.starts_at.micros())
                    .push_bind(count.ends_at.micros())
                    .push_bind(i64::try_from(count.count).unwrap_or(i64::MAX));
            });
            // A writer that lags behind must not give quota back.
            insert.push(
                " ON CONFLICT (plan, limit_name, counted_per, counted_key, starts_at, ends_at) \
                 DO UPDATE SET used = max(window_counts.used, excluded.used)",
            );
            insert.build().execute(&mut *change).await?;
        }
        Ok(change.commit().await?)
    }
}

fn read_count(row: &SqliteRow) -> Result<WindowCount, Fault> {
    let plan: String = row.try_get("plan")?;
    let per: String = row.try_get("counted_per")?;
    let used: i64 = row.try_get("used")?;
    Ok(WindowCount {
        plan: PlanId::parse(&plan).map_err(|_| Fault::Unreadable("a window count names no plan"))?,
        limit: row.try_get("limit_name")?,
        per: CountedPer::parse(&per).ok_or(Fault::Unreadable("a window count is neither per tenant nor per client"))?,
        key: row.try_get("counted_key")?,
        starts_at: Timestamp::from_micros(row.try_get("starts_at")?),
        ends_at: Timestamp::from_micros(row.try_get("ends_at")?),
        count: u64::try_from(used).map_err(|_| Fault::Unreadable("a window count is negative"))?,
    })
}
