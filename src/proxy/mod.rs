//! How does an admitted request reach a back end, and its answer the client?

pub mod bridge;
pub mod guard;
