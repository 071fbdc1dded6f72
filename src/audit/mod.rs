//! What happened, provably? One record per request, whatever became of it, in a file that only grows.
//!
//! Invariants:
//! - A request that is taken in has a place in the queue before anything is done for it ([`AuditFile::reserve`]); so its
//!   record is never dropped for want of room, and handing it over never waits. Where there is no place the request is
//!   refused (503), and how many were so refused is itself recorded. That each request hands over exactly one record,
//!   whatever becomes of it, is the promise of `proxy::record`.
//! - Fields are allow-listed: there is no field into which a path, a query, a body, a token or an account number would
//!   fit. Operations are named by their id, tokens by a digest of their `jti`, users by a keyed one of their subject.
//! - Records are written in groups, synced to the disk within [`COMMIT_DELAY_MAX`] while the disk obeys. When it does
//!   not, they wait in the queue, and [`AuditFile::healthy`] says so. A sync that failed is not tried again alone: what it
//!   was for is written again, and the file says so.

mod file;
mod line;
mod named;
mod queue;
mod record;
mod writer;

pub use file::{AuditFile, AuditOpenError, AuditStatus, FlushError};
pub use queue::Saturated;
pub use record::{
    ConnectionRecord, Latency, Outcome, Phase, Quantities, RequestRecord, SubjectDigest, TokenDigest, Upstream,
};
pub use writer::COMMIT_DELAY_MAX;

#[cfg(test)]
mod tests;
