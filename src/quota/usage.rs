//! Where a partner stands, for people and programs that ask before they are refused.

use serde::Serialize;

use super::CountedPer;

/// What a limit counts (`qu` of the RateLimit draft).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LimitUnit {
    Requests,
    ConcurrentRequests,
}

/// One limit of the caller's plan and what is used of it. `used + remaining = limit`, unless a reload lowered the
/// limit below what was used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct LimitUsage {
    /// As in `RateLimit-Policy`.
    pub name: String,
    /// Whose requests are added up.
    pub per: CountedPer,
    pub unit: LimitUnit,
    /// The most that can be used: a burst, a window's requests, or requests at once.
    pub limit: u64,
    pub used: u64,
    pub remaining: u64,
    /// In how many seconds a limit that is used up is whole again: the length of the window, or the time in which the
    /// burst refills. Absent for concurrency.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window_seconds: Option<u64>,
    /// When all of it is there again (RFC 3339, UTC). Absent if it is, and for concurrency.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resets_at: Option<String>,
}
