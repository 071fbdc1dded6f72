//! `--api FILE`: any OpenAPI document in front of a sandbox institution that answers from it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;

use crate::catalogue::{ApiSource, ImportedApi, import};
use crate::cli::catalogue::api_id;
use crate::domain::ApiId;
use crate::endpoint::is_own_path;
use crate::sandbox::mock::{Mock, MockOperation};
use crate::sandbox::pki::DemoPki;
use crate::sandbox::{self, Institution, SandboxSettings};
use crate::server::SystemClock;

use super::institutions::institution_tls;
use super::ports::loopback;

/// Base paths of the shipped APIs.
const TAKEN: [&str; 3] = ["/open-banking", "/insurance", "/fintech"];

/// One document that was mounted.
pub(super) struct Mounted {
    pub imported: ImportedApi,
    /// The one scope that its operations demand.
    pub scope: String,
}

/// Starts an institution for each document and writes the configuration that publishes it.
pub(super) async fn mount(
    documents: &[PathBuf],
    state: &Path,
    pki: &DemoPki,
    institutions: &mut Vec<sandbox::Running>,
) -> anyhow::Result<Vec<Mounted>> {
    forget_earlier(state)?;
    let mut mounted: Vec<Mounted> = Vec::new();
    for document in documents {
        let id = free_id(&api_id(document)?, &mounted)?;
        let file = std::path::absolute(document)?;
        let imported = imported(&id, file, &mounted)?;
        let operations = imported.operations.iter().map(MockOperation::from);
        let mock = Mock::from_document(Arc::clone(&imported.document), operations, Arc::new(SystemClock));
        let institution = Institution::mock(id.as_str(), &mock);
        let mut settings = SandboxSettings::with_tls(institution, institution_tls(pki, &pki.mock));
        settings.listen = loopback(0);
        let running = sandbox::start(settings).await.context("the institution of a document cannot listen")?;
        write_configuration(state, &imported, document, &running.url())?;
        institutions.push(running);
        mounted.push(Mounted { scope: id.to_string(), imported });
    }
    Ok(mounted)
}

/// Documents of an earlier start are not published again.
fn forget_earlier(state: &Path) -> anyhow::Result<()> {
    for kind in ["institutions", "apis", "products", "subscriptions"] {
        let folder = state.join("config").join(kind);
        if folder.is_dir() {
            fs::remove_dir_all(&folder).with_context(|| format!("{} cannot be removed", folder.display()))?;
        }
    }
    Ok(())
}

fn free_id(wanted: &ApiId, mounted: &[Mounted]) -> anyhow::Result<ApiId> {
    let taken = |id: &ApiId| {
        ["bank", "insurer", "fintech"].contains(&id.as_str()) || mounted.iter().any(|m| m.imported.id == *id)
    };
    let candidates = (2..).map(|number| ApiId::parse(&format!("{wanted}-{number}")));
    for candidate in std::iter::once(Ok(wanted.clone())).chain(candidates) {
        let candidate = candidate?;
        if !taken(&candidate) {
            return Ok(candidate);
        }
    }
    anyhow::bail!("no name is free for {wanted}")
}

/// Under its own base path if nothing else is there, else below its id.
fn imported(id: &ApiId, file: PathBuf, mounted: &[Mounted]) -> anyhow::Result<ImportedApi> {
    let source = ApiSource { id: id.clone(), file, base_path: None };
    let imported = import(&source)?;
    let begins = |path: &str| path.split('/').nth(1).unwrap_or_default().to_owned();
    let others: Vec<String> =
        mounted.iter().flat_map(|m| &m.imported.operations).map(|operation| begins(&operation.spec.path)).collect();
    let collides = imported.operations.iter().any(|operation| {
        let path = operation.spec.path.as_str();
        let first = begins(path);
        is_own_path(path)
            || first.contains('{')
            || TAKEN.iter().any(|taken| path.starts_with(taken))
            || others.contains(&first)
    });
    if !collides {
        return Ok(imported);
    }
    Ok(import(&ApiSource { base_path: Some(format!("/{id}")), ..source })?)
}

fn write_configuration(state: &Path, api: &ImportedApi, document: &Path, url: &str) -> anyhow::Result<()> {
    let id = &api.id;
    let document = std::path::absolute(document)?;
    let base_path =
        if api.base_path.is_empty() { String::new() } else { format!("    base_path: {}\n", quoted(&api.base_path)) };
    let pki = "${CLEARWAY_PKI}";
    let files = [
        (
            "institutions",
            format!(
                "version: 1\ninstitutions:\n  - id: {id}-sandbox\n    name: {}\n    data_jurisdictions: [GB]\n    \
                 backends:\n      - environment: sandbox\n        urls: [\"{url}\"]\n        tls:\n          \
                 ca_file: {pki}/institution-ca.pem\n          certificate_file: {pki}/gateway-client.pem\n          \
                 private_key_file: {pki}/gateway-client.key\n        health: {{ path: /healthz }}\n",
                quoted(&api.title)
            ),
        ),
        (
            "apis",
            format!(
                "version: 1\napis:\n  - id: {id}\n    institution: {id}-sandbox\n    document: {}\n{base_path}    scopes: [\"{id}\"]\n",
                quoted(&document.display().to_string())
            ),
        ),
        ("products", format!("version: 1\nproducts:\n  - {{ id: {id}, risk: regulated, operations: [\"{id}.*\"] }}\n")),
        (
            "subscriptions",
            format!("version: 1\nsubscriptions:\n  - {{ client: brightbooks-mtls, product: {id}, plan: standard }}\n"),
        ),
    ];
    for (kind, text) in files {
        let folder = state.join("config").join(kind);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(format!("{id}.yaml")), text)?;
    }
    Ok(())
}

/// A YAML text in double quotes: JSON's escapes are YAML's.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace("${", "$ {")
}
