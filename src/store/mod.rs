//! Where is that kept which must survive a restart? SQLite, embedded, behind traits that other rooms own.
//!
//! Invariants:
//! - What a call has reported as done is on the disk (`synchronous=FULL`); what it reported as failed may be asked
//!   again without harm.
//! - Every call ends within [`DEADLINE`], waiting for its turn included; too late is `Timeout`, and the caller's 503.
//! - One connection writes, others read: writers queue in the process instead of failing on SQLite's lock.
//! - The directory is made with mode 0700 and the file has 0600: signing keys lie in it in the clear.

mod clients;
mod fault;
mod grants;
mod keys;
mod open;
mod replay;
mod revocations;
mod secrets;
mod windows;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::SqlitePool;

pub use fault::StoreOpenError;

/// Within this much time every call is answered, well or badly.
pub const DEADLINE: Duration = Duration::from_secs(2);

/// The state of one gateway. Clones share it.
#[derive(Clone)]
pub struct Store {
    /// One connection.
    writer: SqlitePool,
    /// A few, which cannot write.
    reader: SqlitePool,
    path: PathBuf,
    /// How many one-time marks there are, for a gauge: counted at the start and at each purge, and kept up between.
    marks: Arc<AtomicU64>,
    /// Marks on their way to the disk.
    waiting: Arc<replay::Waiting>,
}

impl Store {
    /// Opens the database, or makes it, and brings its schema up to date. A database of a newer gateway, of another
    /// program, or that is none, is refused and left as it is.
    pub async fn open(path: &Path) -> Result<Self, StoreOpenError> {
        let (writer, reader) = open::open(path).await?;
        let store = Self { writer, reader, path: path.to_owned(), marks: Arc::default(), waiting: Arc::default() };
        let counted = store.count_marks().await;
        counted.map_err(|source| StoreOpenError::Failed { path: path.to_owned(), source })?;
        Ok(store)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many client assertions and signed backchannel requests are remembered as used.
    pub fn marks_held(&self) -> u64 {
        self.marks.load(Ordering::Relaxed)
    }

    /// Waits for what is under way, folds the write-ahead log into the file and lets go of it. Later calls fail.
    pub async fn close(&self) {
        self.reader.close().await;
        let fold = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&self.writer);
        // Failure costs nothing: whoever opens the database next reads the log.
        let _best_effort = fault::within_deadline(fold).await;
        self.writer.close().await;
    }
}

#[cfg(test)]
mod tests;
