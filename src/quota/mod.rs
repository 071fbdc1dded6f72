//! How much may a partner use? Plans of rates, calendar windows and concurrency.
//!
//! Invariants:
//! - [`Quotas::spend`] is all or nothing: a refusal gives back whatever earlier limits had taken.
//! - No interleaving of spends takes more than a limit allows; where exactness and generosity conflict, a limit is
//!   too strict by microseconds, never too generous.
//! - The hot path takes no exclusive lock and makes no call: one sharded lookup, then atomics.
//! - Counters live outside the snapshot. A limit that a reload leaves as it was keeps its counters; a window whose
//!   number alone changed keeps its count; a rate whose figures changed starts with a full bucket; concurrency always
//!   keeps what is under way.
//! - Windows survive a restart through [`WindowStore`]; a kill loses at most what was counted since the last
//!   [`Quotas::flush`]. Rates and concurrency start afresh with the process.
//! - Memory is bounded by the partners that are active: [`Quotas::retire_idle`] forgets the others.

mod compiled;
mod concurrency;
mod fields;
mod keep;
mod meter;
mod plan;
mod quotas;
mod rate;
mod shards;
mod steady;
mod usage;
mod window;

pub use compiled::{ACCOUNTS_MAX, CompiledPlan, Exceeded, Spent};
pub use fields::RateLimitFields;
pub use keep::{WindowCount, WindowStore, WindowStoreError};
pub use meter::COUNTERS_MAX;
pub use plan::{CountedPer, LIMITS_MAX, Limit, LimitKind, Period, Plan, PlanError};
pub use quotas::{Quotas, Retired};
pub use usage::{LimitUnit, LimitUsage};

#[cfg(test)]
mod tests;
