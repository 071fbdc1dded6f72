//! Opening the database: protect the file, make sure that it is ours, bring the schema up to date.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection, SqlSafeStr, SqliteConnection, SqlitePool};

use super::{DEADLINE, StoreOpenError};
use crate::disk::make_folder_of;

/// The first bytes of every database file (SQLite file format §1.3).
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// As in the first migration.
const APPLICATION_ID: i64 = 1_129_076_569;

/// Shorter than the deadline, so that a lock that another process holds is told apart from a slow disk.
const BUSY_TIMEOUT: Duration = Duration::from_millis(1_500);

const READERS: u32 = 2;

pub(super) async fn open(path: &Path) -> Result<(SqlitePool, SqlitePool), StoreOpenError> {
    make_folder_of(path).map_err(|(path, source)| StoreOpenError::Directory { path, source })?;
    protect(path).map_err(|source| StoreOpenError::File { path: path.to_owned(), source })?;
    if !looks_like_a_database(path).map_err(|source| StoreOpenError::File { path: path.to_owned(), source })? {
        return Err(StoreOpenError::NotADatabase { path: path.to_owned() });
    }
    let writer = pool(1).connect_with(options(path)).await.map_err(|error| judge(path, error))?;
    let prepared = prepare(path, &writer).await;
    if let Err(error) = prepared {
        writer.close().await;
        return Err(error);
    }
    let reader = pool(READERS).connect_with(options(path).pragma("query_only", "on")).await;
    reader.map(|reader| (writer, reader)).map_err(|error| judge(path, error))
}

async fn prepare(path: &Path, writer: &SqlitePool) -> Result<(), StoreOpenError> {
    refuse_foreign(path, writer).await?;
    let migrator = migrator();
    let known = migrator.iter().map(|migration| migration.version).max().unwrap_or(0);
    let found = schema_version(writer).await.map_err(|error| judge(path, error))?;
    if found > known {
        return Err(StoreOpenError::Newer { path: path.to_owned(), found, known });
    }
    migrator.run(writer).await.map_err(|source| StoreOpenError::Migration { path: path.to_owned(), source })
}

fn pool(connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(DEADLINE)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false) // A file does not go away as a server does, and the test is a round trip.
        .before_acquire(|connection, _| Box::pin(is_sound(connection)))
}

/// When the disk fails a statement, SQLite may end the transaction by itself. The rollback that follows fails then, and
/// the connection would take itself to be in a transaction for ever: it is replaced.
async fn is_sound(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    if !connection.is_in_transaction() {
        return Ok(true);
    }
    connection.ping().await?; // A rollback that waits its turn comes before.
    Ok(!connection.is_in_transaction())
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
        .thread_name(|id| format!("store-{id}"))
}

fn migrator() -> Migrator {
    let migration = |version, name: &'static str, sql: &'static str| {
        Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
    };
    Migrator::with_migrations(vec![
        migration(1, "foundation", include_str!("migrations/0001_foundation.sql")),
        migration(2, "grants", include_str!("migrations/0002_grants.sql")),
        migration(3, "registered clients", include_str!("migrations/0003_registered_clients.sql")),
    ])
}

/// Makes the file with mode 0600, or takes the permissions of others from it. SQLite gives its log and index files the
/// mode of the database.
fn protect(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    let mode = file.metadata()?.permissions().mode();
    if mode & 0o077 == 0 { Ok(()) } else { fs::set_permissions(path, Permissions::from_mode(0o600)) }
}

/// An empty file becomes a database; any other must be one.
fn looks_like_a_database(path: &Path) -> io::Result<bool> {
    let mut start = Vec::new();
    File::open(path)?.take(MAGIC.len() as u64).read_to_end(&mut start)?;
    Ok(start.is_empty() || start == MAGIC)
}

async fn refuse_foreign(path: &Path, writer: &SqlitePool) -> Result<(), StoreOpenError> {
    let id: i64 = read_number(writer, "PRAGMA application_id").await.map_err(|error| judge(path, error))?;
    let tables: i64 =
        read_number(writer, "SELECT count(*) FROM sqlite_schema").await.map_err(|error| judge(path, error))?;
    let unborn = id == 0 && tables == 0;
    // A first start that was interrupted may have left the migration table and nothing else.
    let newborn =
        id == 0 && schema_version(writer).await.is_ok_and(|version| version == 0) && has_migrations(writer).await;
    if id == APPLICATION_ID || unborn || newborn {
        Ok(())
    } else {
        Err(StoreOpenError::Foreign { path: path.to_owned() })
    }
}

const COUNT_MIGRATION_TABLES: &str =
    "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = '_sqlx_migrations'";

async fn has_migrations(writer: &SqlitePool) -> bool {
    let tables = read_number(writer, COUNT_MIGRATION_TABLES).await;
    let all = read_number(writer, "SELECT count(*) FROM sqlite_schema WHERE type = 'table'").await;
    matches!((tables, all), (Ok(1), Ok(1)))
}

/// The newest migration that was applied; zero for none.
async fn schema_version(writer: &SqlitePool) -> Result<i64, sqlx::Error> {
    if read_number(writer, COUNT_MIGRATION_TABLES).await? == 0 {
        return Ok(0);
    }
    read_number(writer, "SELECT coalesce(max(version), 0) FROM _sqlx_migrations").await
}

async fn read_number(writer: &SqlitePool, sql: &'static str) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(sql).fetch_one(writer).await
}

/// Tells by SQLite's result code what stands in the way.
fn judge(path: &Path, error: sqlx::Error) -> StoreOpenError {
    let path = path.to_owned();
    let code = error.as_database_error().and_then(|e| e.code()).and_then(|code| code.parse::<u32>().ok());
    match code.map(|code| code & 0xff) {
        Some(5 | 6) => StoreOpenError::Locked { path }, // SQLITE_BUSY, SQLITE_LOCKED
        Some(11) => StoreOpenError::Damaged { path, source: error }, // SQLITE_CORRUPT
        Some(26) => StoreOpenError::NotADatabase { path }, // SQLITE_NOTADB
        Some(_) | None if matches!(error, sqlx::Error::PoolTimedOut) => StoreOpenError::Locked { path },
        Some(_) | None => StoreOpenError::Failed { path, source: error },
    }
}
