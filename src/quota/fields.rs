//! The `RateLimit-Policy` and `RateLimit` fields (draft-ietf-httpapi-ratelimit-headers-11), rendered here only.

use bytes::Bytes;
use http::HeaderValue;

use super::meter::{Meter, Reading};
use super::{LIMITS_MAX, Limit, LimitKind};
use crate::domain::push_number;

/// Both fields of one answer, as Structured Field lists of Strings (RFC 9651 §3.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimitFields {
    /// `RateLimit-Policy`: `"burst";q=100;w=60, "daily";q=1000;w=86400`.
    pub policy: HeaderValue,
    /// `RateLimit`: `"burst";r=50, "daily";r=20;t=3600`. `t` says in how many seconds there will be more: the next
    /// request of a rate, all of a window. It is absent where all of the quota is there, and for concurrency.
    pub limit: HeaderValue,
}

/// What of the fields is known beforehand.
pub(super) struct Template {
    policy: HeaderValue,
    /// `"burst";r=` of each limit.
    prefixes: Vec<Box<str>>,
    /// Enough for the longest figures, so that rendering allocates once.
    capacity: usize,
}

impl Template {
    /// `None` for a plan without limits: an empty list is not sent at all (RFC 9651 §3.1).
    pub fn new(limits: &[(&Limit, &Meter)]) -> Option<Self> {
        let policy: Vec<String> = limits.iter().map(|(limit, meter)| policy_item(limit, meter)).collect();
        let policy = HeaderValue::try_from(policy.join(", ")).ok().filter(|value| !value.is_empty())?;
        let prefixes: Vec<Box<str>> = limits.iter().map(|(limit, _)| format!("\"{}\";r=", limit.name).into()).collect();
        let capacity = prefixes.iter().map(|prefix| prefix.len() + "00000000000;t=0000000000, ".len()).sum();
        Some(Self { policy, prefixes, capacity })
    }

    pub fn render(&self, readings: &[Reading; LIMITS_MAX]) -> RateLimitFields {
        let mut text = Vec::with_capacity(self.capacity);
        for (prefix, reading) in self.prefixes.iter().zip(readings) {
            if !text.is_empty() {
                text.extend_from_slice(b", ");
            }
            text.extend_from_slice(prefix.as_bytes());
            push_number(&mut text, reading.remaining, 1);
            if let Some(secs) = reading.more_in_secs() {
                text.extend_from_slice(b";t=");
                push_number(&mut text, secs, 1);
            }
        }
        // Invariant: names are of a narrow alphabet, so this is always a field value.
        let limit = HeaderValue::from_maybe_shared(Bytes::from(text)).unwrap_or_else(|_| HeaderValue::from_static(""));
        RateLimitFields { policy: self.policy.clone(), limit }
    }
}

fn policy_item(limit: &Limit, meter: &Meter) -> String {
    let name = &limit.name;
    match &limit.kind {
        LimitKind::Rate { requests, per, burst } => {
            // `r` is never more than `q`: where the burst is the larger of the two, it is what the policy states.
            let (quota, span) = if burst <= requests {
                (u128::from(requests.get()), per.as_nanos())
            } else {
                (u128::from(burst.get()), meter.refill().as_nanos())
            };
            // `w` is whole seconds, and `q` is what they hold.
            let secs = span.div_ceil(1_000_000_000).max(1);
            let quota = quota * secs * 1_000_000_000 / span.max(1);
            format!("\"{name}\";q={quota};w={secs}")
        }
        LimitKind::Window { requests, period, .. } => {
            format!("\"{name}\";q={requests};w={}", period.nominal_secs())
        }
        LimitKind::Concurrency { max } => format!("\"{name}\";q={max};qu=\"concurrent-requests\""),
    }
}
