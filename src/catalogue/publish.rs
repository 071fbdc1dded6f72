//! stub
use std::collections::BTreeMap;
use serde_json::Value;
use super::{Finding, ImportedApi};
use crate::domain::ApiId;

/// How paths that two APIs claim are settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Collision {
    Refuse,
    Prefix,
}

/// The gateway as partners see it.
#[derive(Debug, Clone)]
pub struct Edge {
    pub title: String,
    pub version: String,
    pub description: String,
    pub public_url: String,
    pub mtls_url: Option<String>,
    pub token_url: String,
    /// Scope → description.
    pub scopes: BTreeMap<String, String>,
}

#[derive(Debug, Clone)]
pub struct Published {
    pub unified: Value,
    pub apis: BTreeMap<ApiId, Value>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergeIssue {
    pub apis: Vec<ApiId>,
    pub what: String,
    pub remedy: String,
}

pub fn settle(_apis: &mut [ImportedApi], _collision: Collision) -> Result<Vec<Finding>, Vec<MergeIssue>> {
    Ok(Vec::new())
}

pub fn publish(_apis: &[ImportedApi], _own: &Value, _edge: &Edge) -> Result<Published, Vec<MergeIssue>> {
    Err(Vec::new())
}
