//! How is the gateway doing? Metrics, the access log, and the trace context.
//!
//! Invariants:
//! - The number of series is bounded, whatever the catalogue and the callers do; no label names a client, a tenant or
//!   anything else that a caller chooses.
//! - Recording takes no lock: handles are resolved when a snapshot is compiled, a record is a few atomic additions.
//! - The access log never holds a request up: a line for which there is no room is dropped and counted. Evidence is
//!   the audit file's affair.
//! - Fields of a line are allow-listed: no path, query, body, token or account number can get into one.

mod access;
mod capped;
mod histogram;
mod metrics;
mod operation;
mod trace;
mod tracestate;

pub use access::{AccessLine, AccessLog, AccessLogError, AccessOutput};
pub use capped::Tally;
pub use metrics::{CONTENT_TYPE, InstitutionMetrics, ListenerMetrics, Metrics, PolicyDecisions, UpstreamOutcome};
pub use operation::{OperationMetrics, SERIES_MAX};
pub use trace::TraceContext;
