//! A configuration folder for tests: one API, one partner, no TLS.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::config::{self, Configuration, Diagnostic, Variables};
use crate::endpoint::InForce;

use super::{Services, compile};

pub(super) struct Folder(tempfile::TempDir);

pub(super) const GATEWAY: &str = "\
version: 1
public_url: http://127.0.0.1:8443
listeners:
  - { name: public, address: 127.0.0.1:0 }
operations_address: 127.0.0.1:0
store_file: state/clearway.db
audit_file: state/audit.jsonl
access_log: 'off'
policy_folders: [policies]
";

pub(super) const APIS: &str = "\
version: 1
apis:
  - { id: bank, institution: bank, document: bank.json, base_path: /bank }
";

/// An OpenAPI document with one GET operation for each (path, operationId), and members that are merged into each.
pub(super) fn document(operations: &[(&str, &str)], more: &Value) -> String {
    let mut paths = json!({});
    for (path, name) in operations {
        let mut operation = json!({ "operationId": name, "responses": { "200": { "description": "ok" } } });
        for (member, value) in more.as_object().unwrap() {
            operation[member] = value.clone();
        }
        paths[path]["get"] = operation;
    }
    json!({ "openapi": "3.0.3", "info": { "title": "Bank", "version": "1" }, "servers": [{ "url": "/v1" }], "paths": paths })
        .to_string()
}

impl Folder {
    pub fn new() -> Self {
        crate::upstream::testing::provider();
        let folder = Self(tempfile::tempdir().unwrap());
        folder.write("gateway.yaml", GATEWAY);
        folder.write("apis.yaml", APIS);
        folder.write("bank.json", &document(&[("/accounts", "accounts")], &json!({})));
        folder.write("policies/all.cedar", "@id(\"all\") permit (principal, action, resource);");
        folder.write(
            "institutions.yaml",
            "version: 1\ninstitutions:\n  - { id: bank, data_jurisdictions: [GB], backends: [{ environment: sandbox, urls: ['http://127.0.0.1:1'] }] }\n",
        );
        folder
            .write("products.yaml", "version: 1\nproducts:\n  - { id: banking, risk: low, operations: ['bank.*'] }\n");
        folder.write("plans.yaml", "version: 1\nplans:\n  - { id: free, limits: [{ name: burst, per: client, rate: { requests: 9, per: 1s } }] }\n");
        folder.write("tenants.yaml", "version: 1\ntenants:\n  - { id: acme, jurisdiction: GB }\n");
        folder.clients(&["app"]);
        folder.write(
            "subscriptions.yaml",
            "version: 1\nsubscriptions:\n  - { client: app, product: banking, plan: free }\n",
        );
        fs::create_dir_all(folder.path().join("state")).unwrap();
        folder
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    pub fn clients(&self, names: &[&str]) {
        let client = |name: &&str| {
            format!(
                "  - {{ id: {name}, tenant: acme, authentication: {{ method: tls_client_auth, san_dns: {name}.example }} }}\n"
            )
        };
        self.write("clients.yaml", &format!("version: 1\nclients:\n{}", names.iter().map(client).collect::<String>()));
    }

    pub fn load(&self) -> Configuration {
        config::load(self.path(), &Variables::new()).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"))
    }

    pub fn compile(&self) -> Result<InForce, Vec<Diagnostic>> {
        let configuration = self.load();
        compile(&configuration, &Services::for_check(&configuration), None).map(|compiled| compiled.in_force)
    }

    /// Mistakes as `file: message`.
    pub fn mistakes(&self) -> Vec<String> {
        let mistakes = self.compile().map(drop).unwrap_err();
        let text = |mistake: &Diagnostic| mistake.to_string().replace(&format!("{}/", self.path().display()), "");
        mistakes.iter().map(text).collect()
    }

    pub async fn start(&self) -> super::Running {
        let configuration = Arc::new(self.load());
        super::start(configuration, self.path().to_owned(), Variables::new()).await.unwrap()
    }
}
