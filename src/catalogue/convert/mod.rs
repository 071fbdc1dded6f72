//! Older forms become OpenAPI 3.1: Swagger 2.0 by way of 3.0, and 3.0 by rewriting what changed its meaning.

pub mod swagger2;
mod swagger2_messages;
pub mod v30;
