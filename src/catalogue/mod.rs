//! What can be called? OpenAPI documents: import, report, merge, publish.
mod documents;
pub use documents::{Documents, ListedOperation, Listing, RenderError, Rendered};
#[derive(Debug, Clone)] pub struct ApiSource { pub id: crate::domain::ApiId, pub file: std::path::PathBuf, pub base_path: Option<String> }
pub struct Published { pub unified: serde_json::Value, pub apis: std::collections::BTreeMap<crate::domain::ApiId, serde_json::Value> }
