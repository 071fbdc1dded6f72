//! Who is a partner, and what has it subscribed to? Tenants, clients, institutions, products, plans, subscriptions.
//!
//! Invariants: an entitlement exists only through a subscription; the first subscription as written that contains an
//! operation decides its plan and environment; an operation index is meaningful only in the registry's own snapshot.

mod implicit;
mod operation_set;
mod registry;

pub use implicit::{ImplicitPartners, PARTNERS_MAX, Template};
pub use operation_set::OperationSet;
pub use registry::{Institution, Partner, Product, Registry, Subscription};
