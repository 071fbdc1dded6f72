//! What a plan allows.

use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use serde::Deserialize;

use crate::domain::PlanId;

/// Whose use is added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CountedPer {
    Tenant,
    Client,
}

/// A calendar period in the limit's zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Period {
    Hour,
    Day,
    Month,
}

/// There is no zero limit: "no access" is a policy, not a quota.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LimitKind {
    /// GCRA: `requests` per `per` on average, `burst` at once.
    Rate { requests: NonZeroU32, per: Duration, burst: NonZeroU32 },
    /// At most `requests` in each calendar period; `zone` is a name of the time zone database.
    Window { requests: NonZeroU64, period: Period, zone: String },
    /// At most `max` requests under way at once.
    Concurrency { max: NonZeroU32 },
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Limit {
    /// Shown to callers in `RateLimit-Policy`: `burst`, `daily`.
    pub name: String,
    pub per: CountedPer,
    pub kind: LimitKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub id: PlanId,
    pub limits: Vec<Limit>,
}
