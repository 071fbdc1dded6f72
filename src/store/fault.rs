//! What can go wrong with the store, in the words of those who use it.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use super::DEADLINE;
use crate::oauth::StoreError;
use crate::quota::WindowStoreError;

/// Why the state could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum StoreOpenError {
    #[error("cannot make the directory {path}")]
    Directory { path: PathBuf, source: std::io::Error },
    #[error("cannot make, read or protect the database file {path}")]
    File { path: PathBuf, source: std::io::Error },
    #[error("{path} is not a database; move it away, or configure another path")]
    NotADatabase { path: PathBuf },
    #[error("{path} is a database of another program; configure another path")]
    Foreign { path: PathBuf },
    #[error(
        "{path} was written by a newer gateway: its schema has version {found}, this one knows versions up to \
         {known}; start the newer gateway, or restore the backup from before the upgrade"
    )]
    Newer { path: PathBuf, found: i64, known: i64 },
    #[error("{path} is locked by another process; stop the other gateway first")]
    Locked { path: PathBuf },
    #[error("{path} is damaged; restore it from a backup")]
    Damaged { path: PathBuf, source: sqlx::Error },
    #[error("cannot bring the schema of {path} up to date")]
    Migration { path: PathBuf, source: sqlx::migrate::MigrateError },
    #[error("cannot open the database {path}")]
    Failed { path: PathBuf, source: sqlx::Error },
}

/// Why a call failed.
#[derive(Debug, Clone)]
pub(super) enum Fault {
    Timeout,
    /// Shared by all whose work was lost together.
    Failed(Arc<sqlx::Error>),
    /// A row that this gateway did not write, or cannot keep.
    Unreadable(&'static str),
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::PoolTimedOut => Self::Timeout,
            other => Self::Failed(Arc::new(other)),
        }
    }
}

/// A row that cannot be read as what it should be.
#[derive(Debug, thiserror::Error)]
#[error("unreadable row: {0}")]
struct Unreadable(&'static str);

impl Fault {
    fn into_cause(self) -> Option<Box<dyn std::error::Error + Send + Sync>> {
        match self {
            Self::Timeout => None,
            Self::Failed(error) => Some(Box::new(error)),
            Self::Unreadable(what) => Some(Box::new(Unreadable(what))),
        }
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        fault.into_cause().map_or(Self::Timeout, Self::Failed)
    }
}

impl From<Fault> for WindowStoreError {
    fn from(fault: Fault) -> Self {
        fault.into_cause().map_or(Self::Timeout, Self::Failed)
    }
}

/// Runs one call. A call that is given up may still take effect: SQLite finishes the statement that it is at, and a
/// transaction that was not committed is rolled back.
pub(super) async fn within_deadline<T, E: Into<Fault>>(
    call: impl Future<Output = Result<T, E>> + Send,
) -> Result<T, Fault> {
    match tokio::time::timeout(DEADLINE, call).await {
        Ok(outcome) => outcome.map_err(Into::into),
        Err(_elapsed) => Err(Fault::Timeout),
    }
}
