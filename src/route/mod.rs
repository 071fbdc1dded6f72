//! Which operation does a method and path mean? Checked paths and the route table.
//!
//! Invariants:
//! - a path is routed only after [`CanonicalPath::parse`] found nothing in it that two programs could read differently,
//!   and it is forwarded byte-identically (standards/http-gateway.md §1, "route decision path == forwarded path");
//! - which template wins is a total order that depends on the set of templates only, never on their order of insertion:
//!   segment by segment from the left, a literal beats a segment with literal affixes (`{Sid}.json`; more literal bytes
//!   first, then the longer literal beginning), which beats a plain parameter. So `/books/{id}` beats `/{a}/me` for
//!   `/books/me`: the leftmost literal decides. Only two segments with affixes can tie, and if some path would match
//!   both templates then [`RouteTable::compile`] refuses them;
//! - the method is looked at after the path: where the best template lacks the method the answer is 405, even if a
//!   less specific template has it (OpenAPI 3.1.1 §4.8.8: concrete paths come before templated ones);
//! - `HEAD` means the `GET` operation where no `HEAD` is declared (RFC 9110 §9.3.2). `OPTIONS` is never implied.
//!
//! Segments are matched in our own tree. `matchit` cannot hold differently named parameters of one shape, nor several
//! parameters in one segment, and real documents have both.

mod build;
mod fan;
mod path;
mod pattern;
mod table;
mod template;

pub use path::{CanonicalPath, PATH_BYTES_MAX, PathError};
pub use table::{CaptureSpans, Captures, Match, RouteError, RouteIssue, RouteOrigin, RouteSpec, RouteTable};
pub use template::{SEGMENTS_MAX, TemplateError};

#[cfg(test)]
mod tests;
