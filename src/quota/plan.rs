//! What a plan allows.

use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::PlanId;

/// Most limits that one plan may have: each costs the hot path a counter and the answer a few bytes of header.
pub const LIMITS_MAX: usize = 16;

/// Longest name of a limit, in bytes.
const NAME_LEN_MAX: usize = 64;

/// Whose use is added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CountedPer {
    Tenant,
    Client,
}

impl CountedPer {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Client => "client",
        }
    }

    /// The inverse of [`Self::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Tenant, Self::Client].into_iter().find(|per| per.as_str() == text)
    }
}

/// A calendar period in the limit's zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Period {
    Hour,
    Day,
    Month,
}

impl Period {
    /// The longest that the period can be in ordinary times, in seconds. A day on which the clocks go back is an hour
    /// longer; a caller who reckons with less than the true length is never refused for it.
    pub const fn nominal_secs(self) -> u64 {
        match self {
            Self::Hour => 3_600,
            Self::Day => 86_400,
            Self::Month => 31 * 86_400,
        }
    }
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

/// Why a plan cannot be put in force.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    #[error("plan {plan}: a plan has at most {LIMITS_MAX} limits, this one has {found}")]
    TooManyLimits { plan: PlanId, found: usize },
    #[error(
        "plan {plan}: {name:?} is not a limit's name; one has 1 to {NAME_LEN_MAX} letters, digits, `-`, `_` and `.`"
    )]
    Name { plan: PlanId, name: String },
    #[error("plan {plan}: two limits are named {name:?}")]
    DuplicateName { plan: PlanId, name: String },
    #[error("plan {plan}, limit {name:?}: the rate is out of range; a burst must refill within 366 days")]
    Rate { plan: PlanId, name: String },
    #[error("plan {plan}, limit {name:?}: a window counts at most {max} requests")]
    WindowTooLarge { plan: PlanId, name: String, max: u64 },
    #[error(
        "plan {plan}, limit {name:?}: the time zone database of this machine knows no zone {zone:?}; \
         use a name such as `Europe/London` or `UTC`, and install the package tzdata if it is missing"
    )]
    Zone { plan: PlanId, name: String, zone: String },
}

impl Plan {
    /// Names, numbers and uniqueness: what can be told without a clock or the time zone database.
    pub(super) fn check_names(&self) -> Result<(), PlanError> {
        let plan = || self.id.clone();
        if self.limits.len() > LIMITS_MAX {
            return Err(PlanError::TooManyLimits { plan: plan(), found: self.limits.len() });
        }
        for (position, limit) in self.limits.iter().enumerate() {
            let name = &limit.name;
            // A narrow alphabet, so that a name is a String of RFC 9651 §3.3.3 without any escaping.
            let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
            if name.is_empty() || name.len() > NAME_LEN_MAX || !name.bytes().all(allowed) {
                return Err(PlanError::Name { plan: plan(), name: name.chars().take(NAME_LEN_MAX).collect() });
            }
            if self.limits.iter().take(position).any(|earlier| earlier.name == *name) {
                return Err(PlanError::DuplicateName { plan: plan(), name: name.clone() });
            }
        }
        Ok(())
    }
}
