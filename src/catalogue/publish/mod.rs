//! What partners read: one valid OpenAPI 3.1 document over all APIs, and one for each.
//!
//! Servers and security are ours, operation ids are the ones that policies and records use, every part says where it
//! comes from (`x-source`). The same input gives the same bytes: sources in the order of their ids, paths and
//! components by name, the author's order inside them.

mod claim;
mod component;
mod equal;
mod face;
mod frame;
mod refusal;
mod strip;
mod tag;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

pub use claim::settle;

use super::{ImportedApi, import};
use crate::domain::{ApiId, OperationId};
use face::Face;

/// The name under which our own operations are a source among the others.
pub const OWN_ID: &str = "clearway";

/// What to do when two APIs claim the same path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Collision {
    /// Say so, and publish nothing.
    Refuse,
    /// Mount the API whose id sorts later below `/{id}`; the earlier one keeps its paths.
    Prefix,
}

/// The gateway as partners see it.
#[derive(Debug, Clone)]
pub struct Edge {
    pub title: String,
    pub version: String,
    pub description: String,
    /// Base URL of the public listener, such as `https://localhost:8443`.
    pub public_url: String,
    /// Base URL of the listener that asks for a client certificate.
    pub mtls_url: Option<String>,
    /// OAuth 2 token endpoint.
    pub token_url: String,
    /// Descriptions by scope; scopes that operations ask for are listed without being named here.
    pub scopes: BTreeMap<String, String>,
    /// Operations that take tokens bound by DPoP: those of products that admit such clients.
    pub dpop: BTreeSet<OperationId>,
}

/// The documents to serve.
#[derive(Debug, Clone)]
pub struct Published {
    /// All APIs and our own operations.
    pub unified: Value,
    /// Each API's own, as JSON.
    pub apis: BTreeMap<ApiId, String>,
}

/// Why the documents cannot be published together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}. {remedy}")]
pub struct MergeIssue {
    pub apis: Vec<ApiId>,
    pub what: String,
    pub remedy: String,
}

/// Makes the published documents. The APIs' paths must not collide: [`settle`] sees to that before routes are made,
/// so that documents and routes agree.
pub fn publish(apis: &[ImportedApi], own: &Value, edge: &Edge) -> Result<Published, Vec<MergeIssue>> {
    let own = import_own(own)?;
    let mut sources: Vec<&ImportedApi> = apis.iter().chain([&own]).collect();
    sources.sort_by(|a, b| a.id.cmp(&b.id));
    let issues = claim::collisions(&sources);
    if !issues.is_empty() {
        return Err(issues);
    }
    let frame = frame::Frame::new(edge, &sources);
    let faces: Vec<Face> = sources.iter().map(|api| face::of(api, &frame)).collect();
    let singles = faces.iter().zip(&sources).filter(|(face, _)| !face.is_own);
    let documents = singles.map(|(face, api)| Ok((api.id.clone(), frame.single(api, face)?)));
    let documents = documents
        .collect::<Result<_, serde_json::Error>>()
        .map_err(|e| vec![own_issue(format!("a document cannot be written: {e}"))])?;
    Ok(Published { unified: frame.unified(&sources, faces), apis: documents })
}

fn import_own(own: &Value) -> Result<ImportedApi, Vec<MergeIssue>> {
    let id = ApiId::parse(OWN_ID).map_err(|e| vec![own_issue(format!("our own document does not import: {e}"))])?;
    import::import_value(&id, "clearway.json", own.clone())
        .map_err(|e| vec![own_issue(format!("our own document does not import: {e}"))])
}

fn own_issue(what: String) -> MergeIssue {
    MergeIssue {
        apis: ApiId::parse(OWN_ID).into_iter().collect(),
        what,
        remedy: "This is a defect of ours; please report it.".to_owned(),
    }
}

#[cfg(test)]
mod tests;
