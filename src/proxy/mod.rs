//! How does an admitted request reach a back end, and its answer the caller? Two ways in, two lanes, one way out.
//!
//! Invariants: no admission, no peer; what is not idempotent is never sent twice; every refusal and failure leaves as
//! a problem document through `Gateway::tell`; every request is recorded exactly once.

mod answer;
pub mod bridge;
pub mod caller;
mod connections;
mod context;
mod entrance;
mod exchange;
mod failure;
mod framing;
mod gateway;
pub mod guard;
mod headers;
mod held;
mod own;
mod phases;
mod record;
mod retry;
mod rewrite;
mod spelling;
mod streaming;
mod whole;

pub use connections::Connections;
pub use context::RequestContext;
pub use failure::Fault;
pub use gateway::{InForce, Parts};
pub use held::ByteBudget;
pub use record::{Ending, ProxyEvents, RequestFacts};

#[cfg(test)]
mod tests;
