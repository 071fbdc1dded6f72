//! What happened, provably? One record per request, whatever became of it, in a file that only grows.
//!
//! Invariants:
//! - A request that was taken in has a place in the queue before anything is done for it ([`OpenRecord::open`]); so its
//!   record is never dropped for want of room, and closing it never waits. Where there is no place the request is
//!   refused (503), and how many were so refused is itself recorded.
//! - A record closes exactly once: by [`OpenRecord::close`], or, if nobody does, by its drop as aborted.
//! - Fields are allow-listed: there is no field into which a path, a query, a body, a token or an account number would
//!   fit. Operations are named by their id, tokens by a digest of their `jti`.
//! - Records are written in groups, synced to the disk within [`COMMIT_DELAY_MAX`] while the disk obeys. When it does
//!   not, they wait in the queue, and [`AuditFile::healthy`] says so.

mod file;
mod line;
mod open;
mod queue;
mod record;
mod writer;

pub use file::{AuditFile, AuditOpenError, AuditStatus, FlushError};
pub use open::{OpenRecord, Recorder, Saturated};
pub use record::{ConnectionRecord, Latency, Outcome, Phase, Quantities, RequestRecord, TokenDigest, Upstream};
pub use writer::COMMIT_DELAY_MAX;

#[cfg(test)]
pub use open::Collected;

#[cfg(test)]
mod tests;
