//! How does an admitted request reach a back end, and its answer the caller? Pingora's phases, two lanes, one way out.
//!
//! Invariants: no admission, no peer; what is not idempotent is never sent twice; every refusal and failure leaves as
//! a problem document through `fail_to_proxy`; every request is recorded exactly once.

mod exchange;
mod failure;
mod headers;
mod held;
mod retry;

pub use failure::Fault;
pub use held::ByteBudget;

#[cfg(test)]
mod tests;
