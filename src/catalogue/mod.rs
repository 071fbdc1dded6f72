//! What can be called? OpenAPI documents: import, report, merge, publish.
//!
//! A document comes in as its author wrote it (3.1, 3.0 or Swagger 2.0, one file or many) and is from then on one
//! valid OpenAPI 3.1 tree with references inside itself only. The steps, each in a file of its own: `files` reads,
//! `recognise` tells what it is, `bundle` gathers, `census` counts, `convert` lifts the version, `mend` repairs,
//! `operations` lists what can be called; `merge` and `publish` make the catalogue.
//!
//! Invariants: nothing outside the entry document's folder is opened and nothing is fetched; every part that was found
//! is used or named with a reason ([`ImportReport`]); the same input gives the same bytes.

mod bundle;
mod census;
mod convert;
mod documents;
mod error;
mod files;
mod import;
mod json;
mod limits;
mod mend;
mod operations;
mod origin;
pub mod pointer;
mod position;
mod publish;
mod recognise;
mod rename;
mod report;
mod shape;
mod yaml;

/// Parsers that no other room needs, and the yardstick of the tests, for the fuzzers.
#[cfg(fuzzing)]
pub mod fuzzing {
    pub use super::files::{Format, parse};
    pub use super::import::import_value;
    pub use super::pointer::{child, escape, from_fragment, to_reference, tokens, unescape};
    pub use super::sound::{dangling, imbalance, unsound};
    pub use super::yaml::Mistake;
}

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Map, Value};

pub use documents::{Documents, Identity, ListedOperation, Listing, RenderError, Rendered};
pub use error::ImportError;
pub use import::{Written, import, written};
pub use origin::{Location, Origins};
pub use publish::{Collision, Edge, MergeIssue, Published, publish, settle};
pub use report::{Count, Finding, ImportReport, Part, Severity, UNEXPLAINED, Unused};

use crate::contract::OperationSpec;
use crate::domain::{ApiId, ScopeSet};

/// A document to import.
#[derive(Debug, Clone)]
pub struct ApiSource {
    pub id: ApiId,
    /// The entry document; files it refers to lie in its folder or below.
    pub file: PathBuf,
    /// Published in front of the document's paths, in place of the base path that the document states.
    pub base_path: Option<String>,
}

/// A document that was imported.
#[derive(Debug, Clone)]
pub struct ImportedApi {
    pub id: ApiId,
    pub title: String,
    pub version: String,
    /// What stands before the document's paths at the gateway: empty, or beginning and not ending with `/`.
    pub base_path: String,
    /// Valid OpenAPI 3.1 with references to its own components only. Its paths are without the base path, and every
    /// operation carries its parameters and security itself. Back-end security schemes and servers are still in it:
    /// publish it through [`publish`], never as it is.
    pub document: Arc<Value>,
    /// In the document's order.
    pub operations: Vec<ImportedOperation>,
    pub report: ImportReport,
    /// Over the files' bytes.
    pub sha256: [u8; 32],
    /// Where the parts of `document` were written.
    pub origins: Origins,
}

/// One operation that can be called.
#[derive(Debug, Clone)]
pub struct ImportedOperation {
    /// Its path includes the base path; its pointers lead into the API's document.
    pub spec: OperationSpec,
    /// The path template that the back end knows: the document's own base path and path. It has the same variables as
    /// `spec.path`, and differs from it only where the operator or a collision changed the base path.
    pub upstream_path: String,
    pub tags: Vec<String>,
    pub summary: Option<String>,
    /// Scopes of the first alternative of its security that asks for OAuth or OpenID Connect.
    pub scopes: ScopeSet,
    pub deprecated: bool,
    /// Its `x-…` members.
    pub extensions: Map<String, Value>,
}

#[cfg(test)]
mod corpus;
#[cfg(test)]
mod mutation;
#[cfg(any(test, fuzzing))]
mod sound;
