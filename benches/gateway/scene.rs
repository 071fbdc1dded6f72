//! What is measured: a configuration of a given size, with the partners that will call.

use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use clearway::domain::Clock;
use clearway::jose::{Algorithm, SigningKey};
use clearway::oauth::PasswordHash;
use clearway::sandbox::pki::{DemoPki, Leaf, PkiSettings, ensure};
use clearway::server::{SystemClock, SystemRandom};
use serde_json::{Value, json};

/// Clients of each kind that really call: bound to certificates, with bearer tokens, and with proofs of a key.
pub const USED_CLIENTS: usize = 100;
/// Clients of each kind that only ask for tokens, all at once.
pub const ASKING_CLIENTS: usize = 8;
const POLICIES: usize = 200;
pub const ISSUER: &str = "https://localhost:8443";

/// How large the configuration is.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    pub operations: usize,
    pub clients: usize,
}

/// What the flood guard does about forged tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    AsShipped,
    /// So that each forged token is looked at.
    NeverSpent,
}

/// A configuration on disk.
pub struct Scene {
    pub folder: PathBuf,
    pub pki: DemoPki,
    pub size: Size,
    /// Signs the assertions of all `bearer-N` clients.
    pub assertion_key: Arc<SigningKey>,
    /// How many policies are in force, those of the base set included.
    pub policies: usize,
}

/// The client with this number that is bound to a certificate: RFC 8705 §2.1.
pub fn bound(number: usize) -> String {
    format!("bound-{number}")
}

/// The client with this number that authenticates by assertion and calls with bearer tokens.
pub fn bearer(number: usize) -> String {
    format!("bearer-{number}")
}

/// The client with this number whose tokens are bound to a key: RFC 9449.
pub fn proving(number: usize) -> String {
    format!("proving-{number}")
}

/// The client with this number that authenticates by assertion and calls with a certificate, that of [`bound`].
pub fn asserting(number: usize) -> String {
    format!("asserting-{number}")
}

/// The client with this number that asks users, and authenticates by the certificate of [`bound`].
pub fn visiting(number: usize) -> String {
    format!("visiting-{number}")
}

/// The client of low-risk products that has a secret: [`SECRET`].
pub const SECRETIVE: &str = "secretive";
pub const SECRET: &str = "0123456789abcdef0123456789abcdef";
/// Where users are sent back to.
pub const REDIRECT_URI: &str = "https://client.example/cb";
/// Who is asked.
pub const USER: &str = "user";
pub const PASSWORD: &str = "a password for the bench";

/// The path of an operation, with values that its contract accepts.
pub fn target(operation: usize) -> String {
    format!("/bench/v1/group{operation}/accounts/acc_{operation:010}/transactions?limit=25&from=2026-01-31")
}

impl Scene {
    /// Writes it into a folder of this name beside others, with which it shares the certificates.
    pub fn write(root: &Path, name: &str, size: Size, backend: SocketAddr, guard: Guard) -> anyhow::Result<Self> {
        let folder = &root.join(name);
        let _absent_at_first = fs::remove_dir_all(folder);
        for name in ["config", "config/policies", "state"] {
            fs::create_dir_all(folder.join(name))?;
        }
        let clients: Vec<Leaf> = (0..USED_CLIENTS).map(|n| Leaf::client(&bound(n), "Bench Ltd")).collect();
        let impersonated = clients.first().context("nobody calls")?.clone();
        let settings = PkiSettings { folder: root.join("pki"), clients, impersonated };
        let pki = ensure(&settings, SystemClock.now(), &SystemRandom)?;
        let (key, _) = SigningKey::generate(Algorithm::Es256)?;
        let config = folder.join("config");
        fs::write(config.join("jwks.json"), json!({ "keys": [key.public_jwk()] }).to_string())?;
        let operations = document(size.operations).to_string();
        fs::write(config.join("bench.json"), operations)?;
        fs::write(config.join("gateway.yaml"), gateway(root, folder, guard))?;
        fs::write(config.join("institutions.yaml"), institutions(backend))?;
        fs::write(config.join("apis.yaml"), APIS)?;
        fs::write(config.join("products.yaml"), PRODUCTS)?;
        fs::write(config.join("plans.yaml"), plans(1_000_000))?;
        partners(&config, &pki, size)?;
        users(&config)?;
        let base = concat!(env!("CARGO_MANIFEST_DIR"), "/policies/base");
        let policies = policies(&config.join("policies"), Path::new(base), size)?;
        let assertion_key = Arc::new(key);
        Ok(Self { folder: folder.to_owned(), pki, size, assertion_key, policies })
    }

    pub fn config(&self) -> PathBuf {
        self.folder.join("config")
    }

    /// A change that every reload must take: another figure in the plan.
    pub fn change_plan(&self, requests: u32) -> std::io::Result<()> {
        fs::write(self.config().join("plans.yaml"), plans(requests))
    }
}

fn gateway(root: &Path, folder: &Path, guard: Guard) -> String {
    let (root, folder) = (root.display(), folder.display());
    let failures = match guard {
        Guard::AsShipped => 60,
        Guard::NeverSpent => u32::MAX,
    };
    format!(
        "version: 1
public_url: {ISSUER}
mtls_url: https://localhost:8444
listeners:
  - name: public
    address: 127.0.0.1:0
    tls: {{ certificate_file: {root}/pki/server.pem, private_key_file: {root}/pki/server.key }}
  - name: mtls
    address: 127.0.0.1:0
    tls:
      certificate_file: {root}/pki/server.pem
      private_key_file: {root}/pki/server.key
      client_certificate: required
operations_address: 127.0.0.1:0
workers: 1
partner_ca_files: [{root}/pki/partner-ca.pem]
store_file: {folder}/state/clearway.db
audit_file: {folder}/state/audit.jsonl
access_log: {folder}/state/access.log
policy_folders: [{folder}/config/policies]
tokens: {{ access_token_lifetime: 1h, outstanding_per_tenant_max: 20000, outstanding_per_client_max: 20000 }}
limits: {{ requests_per_connection_max: 10000000 }}
flood_guard: {{ failures_max: {failures}, window: 60s }}
"
    )
}

fn institutions(backend: SocketAddr) -> String {
    format!(
        "version: 1
institutions:
  - id: bench-bank
    name: Bench Bank
    data_jurisdictions: [GB]
    backends:
      - {{ environment: sandbox, urls: [\"http://{backend}\"], in_flight_max: 10000 }}
"
    )
}

const APIS: &str = "version: 1
apis:
  - { id: bench, institution: bench-bank, document: bench.json, request_contract: enforce, response_contract: off }
";

const PRODUCTS: &str = "version: 1
products:
  - { id: regulated, name: Regulated, risk: regulated, operations: [\"bench.*\"] }
  - { id: low, name: Low risk, risk: low, operations: [\"bench.*\"] }
";

/// Limits that count but never refuse.
fn plans(requests: u32) -> String {
    format!(
        "version: 1
plans:
  - id: standard
    limits:
      - {{ name: burst, per: client, rate: {{ requests: {requests}, per: 1s, burst: {requests} }} }}
      - {{ name: daily, per: tenant, window: {{ requests: 1000000000, period: day, zone: Europe/London }} }}
      - {{ name: concurrency, per: client, concurrency: 10000 }}
"
    )
}

/// The clients that call or ask, then as many more as the size wants; ten clients to a tenant.
fn partners(config: &Path, pki: &DemoPki, size: Size) -> anyhow::Result<()> {
    let mut names: Vec<String> = (0..USED_CLIENTS).flat_map(|number| [bound(number), bearer(number)]).collect();
    names.push("self-signed".to_owned());
    names.extend((names.len()..size.clients).map(|number| format!("further-{number}")));
    names.extend((0..USED_CLIENTS).map(proving));
    names.extend((0..ASKING_CLIENTS).flat_map(|number| [asserting(number), visiting(number)]));
    names.push(SECRETIVE.to_owned());
    let mut tenants = String::from("version: 1\ntenants:\n");
    for tenant in 0..=names.len() / 10 {
        writeln!(tenants, "  - {{ id: tenant-{tenant}, jurisdiction: GB, licences: [account-information] }}")?;
    }
    let mut clients = String::from("version: 1\nclients:\n");
    let mut subscriptions = String::from("version: 1\nsubscriptions:\n");
    for (position, name) in names.iter().enumerate() {
        let (tenant, (product, registered)) = (position / 10, registered(name, pki));
        writeln!(
            clients,
            "  - {{ id: {name}, tenant: tenant-{tenant}, environment: sandbox, scopes: [accounts], {registered} }}"
        )?;
        writeln!(subscriptions, "  - {{ client: {name}, product: {product}, plan: standard }}")?;
    }
    fs::write(config.join("secret"), SECRET)?;
    fs::write(config.join("tenants.yaml"), tenants)?;
    fs::write(config.join("clients.yaml"), clients)?;
    fs::write(config.join("subscriptions.yaml"), subscriptions)?;
    Ok(())
}

/// The product of a client, and how it authenticates and is bound: by its name.
fn registered(name: &str, pki: &DemoPki) -> (&'static str, String) {
    let (kind, number) = name.split_once('-').unwrap_or((name, ""));
    let bound_to = |certificate: bool, method: &str| {
        format!("certificate_bound_access_tokens: {certificate}, authentication: {{ {method} }}")
    };
    let subject = |name: &str| format!("method: tls_client_auth, subject_dn: \"CN={name},O=Bench Ltd,C=GB\"");
    let asserted = "method: private_key_jwt, jwks_file: jwks.json";
    match kind {
        "bearer" => ("low", bound_to(false, asserted)),
        "proving" => ("regulated", format!("dpop_bound_access_tokens: true, {}", bound_to(false, asserted))),
        "asserting" => ("regulated", bound_to(true, asserted)),
        "visiting" => {
            let own = bound_to(true, &subject(&format!("bound-{number}")));
            let grants = "grant_types: [authorization_code, refresh_token]";
            ("regulated", format!("{grants}, redirect_uris: [\"{REDIRECT_URI}\"], {own}"))
        }
        SECRETIVE => {
            let own = bound_to(false, "method: client_secret_basic, secret_file: secret");
            ("low", format!("profile: plain-oauth, {own}"))
        }
        "self" => {
            let file = pki.self_signed_client.certificate.display();
            let method = format!("method: self_signed_tls_client_auth, certificate_files: [\"{file}\"]");
            ("regulated", bound_to(true, &method))
        }
        _ => ("regulated", bound_to(true, &subject(name))),
    }
}

/// One user, who approves everything.
fn users(config: &Path) -> anyhow::Result<()> {
    let hash = PasswordHash::of(PASSWORD)?;
    let user = json!({ "subject": "psu-1", "username": USER, "password_hash": hash.expose() });
    fs::write(config.join("users.yaml"), json!({ "version": 1, "users": [user] }).to_string())?;
    Ok(())
}

/// The base set, then policies about single operations and about single tenants by turns.
fn policies(folder: &Path, base: &Path, size: Size) -> anyhow::Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(base)? {
        let path = entry?.path();
        let text = fs::read_to_string(&path)?;
        count += text.matches("@id(").count();
        fs::write(folder.join(path.file_name().unwrap_or_default()), text)?;
    }
    let mut text = String::new();
    for number in count..POLICIES {
        let (operation, tenant) = (number % size.operations, number % 20);
        let scope = if number % 2 == 0 {
            format!("principal, action == Action::\"bench.listTransactions{operation}\", resource")
        } else {
            format!("principal in Tenant::\"tenant-{tenant}\", action, resource")
        };
        writeln!(
            text,
            "@id(\"bench.rule-{number}\")\n@reason(\"Not for this environment.\")\nforbid ({scope})\n\
             when {{ context.environment == Environment::\"live\" && !context.sender_constrained }};\n"
        )?;
    }
    fs::write(folder.join("bench.cedar"), text)?;
    Ok(count.max(POLICIES))
}

/// An API of as many operations, each with a contract of path, query and header parameters.
fn document(operations: usize) -> Value {
    let paths: serde_json::Map<String, Value> = (0..operations)
        .map(|number| {
            (format!("/group{number}/accounts/{{account_id}}/transactions"), json!({ "get": operation(number) }))
        })
        .collect();
    json!({
        "openapi": "3.1.0",
        "info": { "title": "Bench", "version": "1.0.0", "description": "Accounts and their transactions." },
        "servers": [{ "url": "https://localhost:8443/bench/v1" }],
        "security": [{ "oauth": ["accounts"] }],
        "paths": paths,
        "components": {
            "schemas": {
                "Transactions": {
                    "type": "object",
                    "required": ["data"],
                    "properties": { "data": { "type": "object", "properties": { "id": { "type": "string" } } } }
                }
            },
            "securitySchemes": {
                "oauth": {
                    "type": "oauth2",
                    "flows": { "clientCredentials": {
                        "tokenUrl": "https://localhost:8443/oauth/token", "scopes": { "accounts": "Read accounts" }
                    } }
                }
            }
        }
    })
}

fn operation(number: usize) -> Value {
    json!({
        "operationId": format!("listTransactions{number}"),
        "summary": format!("Transactions of an account of group {number}"),
        "tags": ["accounts"],
        "parameters": [
            { "name": "account_id", "in": "path", "required": true,
              "schema": { "type": "string", "pattern": "^acc_[0-9]{10}$", "maxLength": 14 } },
            { "name": "limit", "in": "query",
              "schema": { "type": "integer", "minimum": 1, "maximum": 100 } },
            { "name": "from", "in": "query", "schema": { "type": "string", "format": "date" } },
            { "name": "x-page-size", "in": "header", "schema": { "type": "integer", "minimum": 1 } }
        ],
        "responses": { "200": {
            "description": "A page of transactions.",
            "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Transactions" } } }
        } }
    })
}
