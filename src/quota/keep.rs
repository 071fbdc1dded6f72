//! What of the counters must survive a restart. `store` implements the trait.

use async_trait::async_trait;

use super::CountedPer;
use crate::domain::{PlanId, Timestamp};

/// The store could not keep or return counts.
#[derive(Debug, thiserror::Error)]
pub enum WindowStoreError {
    #[error("the store did not answer within its deadline")]
    Timeout,
    #[error("the store failed")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What one partner has used of one window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowCount {
    pub plan: PlanId,
    /// The limit's name within its plan.
    pub limit: String,
    pub per: CountedPer,
    /// The tenant's or client's id, as `per` says.
    pub key: String,
    pub starts_at: Timestamp,
    pub ends_at: Timestamp,
    pub count: u64,
}

#[async_trait]
pub trait WindowStore: Send + Sync {
    /// Every count that was kept, ended windows included.
    async fn load(&self) -> Result<Vec<WindowCount>, WindowStoreError>;
    /// Keeps all of them or none. A count that is lower than what is kept of the same window changes nothing, so a
    /// writer that lags behind never gives quota back.
    async fn save(&self, counts: &[WindowCount]) -> Result<(), WindowStoreError>;
    /// Forgets windows that ended before this.
    async fn purge(&self, ended_before: Timestamp) -> Result<(), WindowStoreError>;
}
