//! Why a document was not imported at all.

use std::path::PathBuf;

use super::report::Finding;

/// A refusal of the whole document; parts that cannot be used are in the report of an import that succeeds.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("{file}: cannot be read")]
    Unreadable { file: PathBuf, source: std::io::Error },
    #[error("{file}: {what}")]
    TooLarge { file: PathBuf, what: String },
    /// Not JSON, not YAML, or not as strictly as we take it.
    #[error("{file}:{line}:{column}: {what}")]
    Syntax { file: PathBuf, line: usize, column: usize, what: String },
    /// Something else, or a version that is not imported.
    #[error("{file}: {what}. {remedy}")]
    NotOpenApi { file: PathBuf, what: String, remedy: String },
    /// It is OpenAPI, but no operation of it can be used.
    #[error("{file}: no operation of the document can be used:{}", listed(findings))]
    NothingUsable { file: PathBuf, findings: Vec<Finding> },
}

fn listed(findings: &[Finding]) -> String {
    let lines = findings.iter().take(20).map(|finding| format!("\n  {finding}"));
    lines.collect()
}
