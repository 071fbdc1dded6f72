//! How much may a partner use? Plans of rates, calendar windows and concurrency.

mod plan;

pub use plan::{CountedPer, Limit, LimitKind, Period, Plan};
pub struct Quotas; pub struct CompiledPlan;
pub struct Spent { pub fields: RateLimitFields }
#[derive(Debug)] pub struct Exceeded { pub violated: Vec<String>, pub retry_after: std::time::Duration, pub fields: RateLimitFields }
#[derive(Debug, Clone)] pub struct RateLimitFields { pub policy: http::HeaderValue, pub limit: http::HeaderValue }
impl Quotas { pub fn spend(&self, _: &CompiledPlan, _: &crate::domain::TenantId, _: &crate::domain::ClientId, _: crate::domain::Timestamp) -> Result<Spent, Exceeded> { todo!() } }
