//! May this request pass? The questions in their order, each answer a proof that the next one needs.
//!
//! Invariants: nothing is forwarded without an [`Admitted`], and only [`Pending::admit`] makes one; a request sees one
//! [`Snapshot`]; quota is spent last, so a refusal costs none; whatever cannot be decided is refused.

mod admit;
mod amount;
mod dynamic;
mod partner;
mod rejection;
mod snapshot;
mod step_up;

pub use admit::{Admitted, BodyNeed, Head, Pending, admit_head};
pub use amount::AmountAt;
pub use dynamic::DynamicPartners;
pub use partner::{Identified, identify};
pub use rejection::Rejection;
pub use snapshot::{Operation, OperationTerms, OutsideIssuer, Snapshot};
pub use step_up::{StepUp, StepUpError};

#[cfg(test)]
mod tests;
