//! A folder with everything that a gateway is configured by.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use super::token::{outside_key, write_jwks};

/// A temporary folder: `config/`, `policies/`, `openapi/`, `keys/`, `state/`.
pub struct Site {
    folder: TempDir,
}

const SHOP: &str = include_str!("shop.yaml");

const GATEWAY: &str = "
version: 1
public_url: https://localhost
listeners:
  - { name: public, address: '127.0.0.1:0' }
operations_address: 127.0.0.1:0
workers: 2
store_file: ../state/clearway.db
audit_file: ../state/audit.jsonl
access_log: ../state/access.jsonl
policy_folders: [BASE, ../policies]
flood_guard: { failures_max: 1000000, window: 60s }
limits: { drain_timeout: 20s }
";

const APIS: &str = "
version: 1
apis:
  - id: shop
    institution: store
    document: ../openapi/shop.yaml
    base_path: /shop
    upstream_base_path: /v1
    operations:
      upload: { request_contract: off, body_bytes_max: 64MiB }
      putUpload: { request_contract: off, body_bytes_max: 64MiB }
      note: { request_contract: off }
      socket: { websocket: true }
";

const ISSUERS: &str = "
version: 1
issuers:
  - issuer: https://outside.test
    jwks_file: ../keys/outside.jwks.json
    audiences: [https://localhost]
    tenant_claim: tenant
    unknown_partners: { product: goods, plan: open, environment: sandbox, jurisdiction: GB }
";

const PRODUCTS: &str = "
version: 1
products:
  - { id: goods, name: Goods, risk: low, operations: ['shop.*'] }
";

const PLANS: &str = "
version: 1
plans:
  - id: open
    limits:
      - { name: burst, per: client, rate: { requests: 100000, per: 1s } }
";

impl Site {
    /// A gateway for people who have an issuer of their own: a plain listener on loopback, plain back ends, unknown
    /// partners admitted by template.
    pub fn plain(backends: &[&super::Backend]) -> Self {
        let urls: Vec<String> = backends.iter().map(|backend| backend.url()).collect();
        Self::plain_urls(&urls)
    }

    pub fn plain_urls(urls: &[String]) -> Self {
        let site = Self::empty();
        site.write("config/gateway.yaml", GATEWAY);
        site.write("config/apis.yaml", APIS);
        site.write("config/issuers.yaml", ISSUERS);
        site.write("config/products.yaml", PRODUCTS);
        site.write("config/plans.yaml", PLANS);
        site.write("openapi/shop.yaml", SHOP);
        site.backends(urls, "");
        write_jwks(&site.path("keys/outside.jwks.json"), &[outside_key()]);
        site
    }

    pub fn empty() -> Self {
        let folder = tempfile::Builder::new().prefix("clearway-").tempdir().unwrap();
        for name in ["config", "policies", "openapi", "keys", "state"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        Self { folder }
    }

    /// The institution `store` with these back ends; `more` are further keys of the pool, one per line.
    pub fn backends(&self, urls: &[String], more: &str) {
        let more = if more.contains("breaker") { more.to_owned() } else { format!("{BREAKER}\n{more}") };
        let more = if more.contains("timeouts") { more } else { format!("{TIMEOUTS}\n{more}") };
        let more: String = more.lines().map(|line| format!("        {}\n", line.trim())).collect();
        let urls: Vec<String> = urls.iter().map(|url| format!("'{url}'")).collect();
        self.write(
            "config/institutions.yaml",
            &format!(
                "version: 1\ninstitutions:\n  - id: store\n    name: Store\n    data_jurisdictions: [GB]\n    \
                 backends:\n      - environment: sandbox\n        urls: [{}]\n{more}",
                urls.join(", ")
            ),
        );
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn config(&self) -> PathBuf {
        self.path("config")
    }

    /// Writes a file whole. `BASE` stands for the base policies, `PKI` for the certificates.
    pub fn write(&self, name: &str, text: &str) {
        let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies/base");
        let mut text = text.replace("BASE", base.to_str().unwrap());
        if text.contains("PKI") {
            text = text.replace("PKI", super::certificates::pki_folder().to_str().unwrap());
        }
        replace(&self.path(name), &text);
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Replaces a text that must be there.
    #[track_caller]
    pub fn edit(&self, name: &str, from: &str, to: &str) {
        let text = self.read(name);
        assert!(text.contains(from), "{name} has no {from:?}:\n{text}");
        self.write(name, &text.replace(from, to));
    }

    pub fn append(&self, name: &str, more: &str) {
        self.write(name, &format!("{}{more}", self.read(name)));
    }

    /// Further limits of the edge, such as `idle_timeout: 500ms`.
    pub fn limits(&self, more: &str) {
        self.edit(
            "config/gateway.yaml",
            "limits: { drain_timeout: 20s",
            &format!("limits: {{ {more}, drain_timeout: 20s"),
        );
    }

    /// Waits until the audit file tells of `count` connections that ended for this reason.
    pub async fn connection_ends(&self, reason: &'static str, count: usize) {
        let told = async {
            let mut look = tokio::time::interval(std::time::Duration::from_millis(10));
            loop {
                look.tick().await;
                let text = fs::read_to_string(self.path("state/audit.jsonl")).unwrap_or_default();
                if text.matches(&format!("\"reason\":\"{reason}\"")).count() >= count {
                    return;
                }
            }
        };
        super::within(reason, told).await;
    }

    /// The lines of a file of JSON lines, such as the audit file.
    pub fn json_lines(&self, name: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.path(name)).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
    }

    pub async fn start(&self) -> super::Gateway {
        super::Gateway::start(&self.config()).await
    }
}

const BREAKER: &str = "breaker: { failures: 1000, open_for: 60s }";
const TIMEOUTS: &str = "timeouts: { connect: 1s, read: 10s, write: 10s, total: 20s }";

/// Replaces a file whole or not at all, as an editor does. Hidden, its first form is left alone by a reload that sees it.
pub fn replace(path: &Path, text: &str) {
    let aside = path.with_file_name(format!(".{}", path.file_name().unwrap().display()));
    fs::write(&aside, text).unwrap();
    fs::rename(&aside, path).unwrap();
}
