//! `clearway catalogue`: OpenAPI documents without a gateway.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::Context;

use crate::catalogue::{ApiSource, Collision, Edge, ImportedApi, import, publish, settle};
use crate::domain::ApiId;

use super::Ending;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Import documents and say what could not be used, and why.
    Lint {
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Print the reports as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Merge documents into one OpenAPI 3.1 document on standard output.
    Build {
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// The published base URL.
        #[arg(long, default_value = "https://localhost:8443", value_name = "URL")]
        public_url: String,
    },
}

pub(super) fn run(command: &Command) -> anyhow::Result<Ending> {
    super::start_logging("off");
    match command {
        Command::Lint { files, json } => lint(files, *json),
        Command::Build { files, public_url } => build(files, public_url),
    }
}

/// An API's id made from its file's name.
pub(super) fn api_id(file: &std::path::Path) -> anyhow::Result<ApiId> {
    let stem = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let plain: String =
        stem.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    let plain = plain.trim_matches('-').to_owned();
    ApiId::parse(&plain).with_context(|| format!("{} has no name to call the API by", file.display()))
}

fn source(file: &std::path::Path) -> anyhow::Result<ApiSource> {
    Ok(ApiSource { id: api_id(file)?, file: file.to_owned(), base_path: None })
}

/// The file's name; where that is taken, with its folder's name before it, then with a number behind it.
fn free_id(file: &std::path::Path, taken: impl Fn(&ApiId) -> bool) -> anyhow::Result<ApiId> {
    let plain = api_id(file)?;
    if !taken(&plain) {
        return Ok(plain);
    }
    let folder = file.parent().map(api_id).transpose().ok().flatten();
    let named = match folder {
        Some(folder) => format!("{folder}-{plain}"),
        None => plain.to_string(),
    };
    let numbered = (2..).map(|number| format!("{named}-{number}"));
    for candidate in std::iter::once(named.clone()).chain(numbered) {
        let candidate = ApiId::parse(&candidate)?;
        if !taken(&candidate) {
            return Ok(candidate);
        }
    }
    anyhow::bail!("no name is free for {}", file.display())
}

fn lint(files: &[PathBuf], json: bool) -> anyhow::Result<Ending> {
    let mut ending = Ending::Done;
    let mut reports = Vec::new();
    for file in files {
        match import(&source(file)?) {
            Ok(imported) if json => reports.push(serde_json::json!({
                "file": file.display().to_string(), "imported": true, "report": imported.report,
            })),
            Ok(imported) => println!("{}\n{}", file.display(), imported.report.to_text()),
            Err(error) => {
                ending = Ending::Failed;
                if json {
                    reports.push(serde_json::json!({
                        "file": file.display().to_string(), "imported": false, "reason": error.to_string(),
                    }));
                } else {
                    println!("{}\nrefused: {error}", file.display());
                }
            }
        }
    }
    if json {
        println!("{}", serde_json::Value::from(reports));
    }
    Ok(ending)
}

fn build(files: &[PathBuf], public_url: &str) -> anyhow::Result<Ending> {
    let mut imported: Vec<ImportedApi> = Vec::new();
    for file in files {
        let id = free_id(file, |id| imported.iter().any(|api| api.id == *id))?;
        imported.push(import(&ApiSource { id, ..source(file)? })?);
    }
    let own = crate::endpoint::own_document().context("our own operations cannot be described")?;
    let scopes = imported.iter().flat_map(|api| &api.operations).flat_map(|operation| operation.scopes.iter());
    let edge = Edge {
        title: "Clearway".to_owned(),
        version: "1".to_owned(),
        description: String::new(),
        public_url: public_url.to_owned(),
        mtls_url: None,
        token_url: format!("{public_url}/oauth/token"),
        scopes: scopes.map(|scope| (scope.as_str().to_owned(), String::new())).collect(),
        dpop: BTreeSet::new(), // No product is known here that says.
    };
    let settled = settle(&mut imported, &own, Collision::Prefix);
    match settled.and_then(|_| publish(&imported, &own, &edge)) {
        Ok(published) => {
            println!("{}", serde_json::to_string_pretty(&published.unified)?);
            Ok(Ending::Done)
        }
        Err(issues) => {
            issues.iter().for_each(|issue| eprintln!("{} ({})", issue.what, issue.remedy));
            Ok(Ending::Failed)
        }
    }
}
