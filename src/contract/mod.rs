//! Does a message keep to the published contract? Parameters and bodies against an operation's JSON Schemas.
//!
//! Invariants:
//! - schemas are JSON Schema 2020-12 as OpenAPI 3.1 uses it: internal references only, siblings of `$ref` apply, formats
//!   are asserted (OAM-58), `discriminator` is an annotation, `required` minds `readOnly` and `writeOnly` by direction
//!   (OAM-56);
//! - whatever the document, compiling neither panics nor fails: what cannot be used is a [`ContractIssue`] that names
//!   its place, and everything around it stays in force;
//! - a schema of a document is compiled once, so memory grows with the document, not with the number of operations;
//! - work and stack per check are bounded; what cannot be checked to the end is refused;
//! - numbers of JSON bodies are judged by every digit that was written, not by the float that is near them; a bound in
//!   the document itself is a float, with the 15 digits that one holds;
//! - no error repeats a value of the message, at most 20 are listed, and their pointers are exact.
//!
//! Patterns and formats of strings are the `jsonschema` crate's; tests compare the rest with it value by value.

mod body;
mod check;
mod coerce;
mod compile;
mod exact;
mod issue;
mod json;
mod keyword;
mod media;
mod merge;
mod number;
mod operation;
mod parameter;
mod query;
mod schema;
mod spec;
mod text;
mod unevaluated;
mod waiver;

pub use body::{Body, BodyRefusal, parse_body};
pub use exact::Json;
pub use issue::{ContractIssue, IssueCause};
pub use media::is_plain_json;
pub use operation::{Contract, Contracts, Mode, UndeclaredQuery};
pub use spec::{
    BodySpec, MediaTypeSpec, OperationSpec, ParameterPlace, ParameterSpec, ResponseSpec, SchemaPointer, StatusRange,
    Style,
};

#[cfg(test)]
mod tests;
