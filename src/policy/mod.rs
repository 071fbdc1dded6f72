//! May this caller do this? Compliance policies in Cedar, from the operator's `policies/`.
//!
//! [`PolicySet::compile`] reads the policies against a schema written from the catalogue and reports every mistake at
//! once; [`PolicySet::decide`] answers one question. What holds:
//!
//! - Default deny, and a forbid wins. A policy that fails to evaluate denies, also where Cedar would skip it.
//! - Cedar is shown only those facts of a question that the policies of the operation's slice mention, and exactly
//!   these facts are the key under which the decision is remembered. So a remembered decision cannot depend on
//!   anything that its key lacks; a fact that was overlooked would be an evaluation error, which denies.
//! - Only this room names Cedar.

mod annotation;
mod catalogue;
mod compile;
mod decision;
mod header;
mod issue;
mod key;
mod lexer;
mod mention;
mod obligation;
mod parse;
mod pattern;
mod question;
mod request;
mod schema;
mod set;
mod slice;
mod suggest;
mod validate;

#[cfg(test)]
mod tests;

/// Parsers that no other room needs, for the fuzzers.
#[cfg(fuzzing)]
pub mod fuzzing {
    pub use super::header::{HeaderError, parse as parse_header};
    pub use super::pattern::{Pattern, PatternError};
}

pub use decision::{Decision, Permit, Refusal};
pub use issue::{PolicyIssue, PolicySource};
pub use obligation::Obligations;
pub use question::{ActionFacts, Question, World};
pub use set::{MEMORY_BYTES_MAX, PolicySet, SliceSummary};
