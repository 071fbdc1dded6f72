//! A gateway as in production: TLS, mutual TLS, an authorization server with registered clients.

use std::sync::LazyLock;

use clearway::jose::Algorithm;
use clearway::sandbox::pki::Identity;
use serde_json::{Value, json};

use super::certificates::{client_identity, http, pki};
use super::token::{Key, assertion, write_jwks};
use super::{Backend, Gateway, Site};

pub const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

const GATEWAY: &str = "
version: 1
public_url: https://localhost
mtls_url: https://localhost
listeners:
  - name: public
    address: 127.0.0.1:0
    tls: { certificate_file: PKI/server.pem, private_key_file: PKI/server.key, client_certificate: none }
  - name: mtls
    address: 127.0.0.1:0
    tls: { certificate_file: PKI/server.pem, private_key_file: PKI/server.key, client_certificate: required }
operations_address: 127.0.0.1:0
workers: 2
partner_ca_files: [PKI/partner-ca.pem]
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
  - id: vault
    institution: store
    document: ../openapi/vault.yaml
    base_path: /vault
    upstream_base_path: /v1
";

const TENANTS: &str = "
version: 1
tenants:
  - { id: acme, name: Acme Ltd, jurisdiction: GB, licences: [account-information, payment-initiation] }
  - { id: farview, name: Farview Inc, jurisdiction: US, licences: [account-information] }
";

const CLIENTS: &str = "
version: 1
clients:
  - id: acme-jwt
    tenant: acme
    scopes: [shop]
    certificate_bound_access_tokens: false
    authentication: { method: private_key_jwt, jwks_file: ../keys/acme-jwt.jwks.json }
  - id: acme-bound
    tenant: acme
    scopes: [shop, vault]
    authentication: { method: private_key_jwt, jwks_file: ../keys/acme-jwt.jwks.json }
  - id: acme-tls
    tenant: acme
    scopes: [shop, vault]
    authentication: { method: tls_client_auth, subject_dn: 'CN=acme-tls,O=Acme Ltd,C=GB' }
  - id: acme-second
    tenant: acme
    scopes: [shop, vault]
    authentication: { method: tls_client_auth, san_dns: acme-second }
  - id: acme-uri
    tenant: acme
    scopes: [shop]
    authentication: { method: tls_client_auth, san_uri: 'urn:partner:acme:uri' }
  - id: acme-self
    tenant: acme
    scopes: [shop, vault]
    authentication: { method: self_signed_tls_client_auth, certificate_files: [PKI/self-signed-client.pem] }
  - id: acme-resources
    tenant: acme
    resource_server: true
    authentication: { method: tls_client_auth, subject_dn: 'CN=acme-resources,O=Acme Ltd,C=GB' }
  - id: farview-tls
    tenant: farview
    scopes: [shop, vault]
    authentication: { method: tls_client_auth, subject_dn: 'CN=farview-tls,O=Farview Inc,C=GB' }
";

const SUBSCRIPTIONS: &str = "
version: 1
subscriptions:
  - { client: acme-jwt, product: goods, plan: open }
  - { client: acme-bound, product: goods, plan: open }
  - { client: acme-bound, product: valuables, plan: open }
  - { client: acme-tls, product: goods, plan: open }
  - { client: acme-tls, product: valuables, plan: open }
  - { client: acme-second, product: goods, plan: open }
  - { client: acme-second, product: valuables, plan: open }
  - { client: acme-uri, product: goods, plan: open }
  - { client: acme-self, product: goods, plan: open }
  - { client: acme-self, product: valuables, plan: open }
  - { client: farview-tls, product: goods, plan: open }
  - { client: farview-tls, product: valuables, plan: open }
";

const PRODUCTS: &str = "
version: 1
products:
  - { id: goods, name: Goods, risk: low, operations: ['shop.*'] }
  - { id: valuables, name: Valuables, risk: regulated, operations: ['vault.*'] }
";

/// The key that `acme-jwt` and `acme-bound` registered.
pub fn client_key() -> &'static Key {
    static KEY: LazyLock<Key> = LazyLock::new(|| Key::generate(Algorithm::Es256));
    &KEY
}

impl Site {
    /// TLS and mutual-TLS listeners, registered clients of each method, a low-risk API `shop` and a regulated `vault`.
    pub fn secure(backend: &Backend) -> Self {
        let site = Self::plain(&[backend]);
        std::fs::remove_file(site.path("config/issuers.yaml")).unwrap();
        site.write("config/gateway.yaml", GATEWAY);
        site.write("config/apis.yaml", APIS);
        site.write("config/tenants.yaml", TENANTS);
        site.write("config/clients.yaml", CLIENTS);
        site.write("config/subscriptions.yaml", SUBSCRIPTIONS);
        site.write("config/products.yaml", PRODUCTS);
        site.write("openapi/vault.yaml", include_str!("vault.yaml"));
        write_jwks(&site.path("keys/acme-jwt.jwks.json"), &[client_key()]);
        site
    }
}

/// A form to an OAuth endpoint of a listener.
pub async fn form(
    gateway: &Gateway,
    listener: &str,
    client: &reqwest::Client,
    path: &str,
    fields: &[(&str, &str)],
) -> reqwest::Response {
    let body = encode(fields);
    let request = client.post(gateway.https(listener, path));
    request.header("content-type", "application/x-www-form-urlencoded").body(body).send().await.unwrap()
}

/// `application/x-www-form-urlencoded`.
pub fn encode(fields: &[(&str, &str)]) -> String {
    let quote =
        |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
    let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{}={}", quote(name), quote(value))).collect();
    fields.join("&")
}

/// Status and body of a token request of a client that proves itself by its certificate.
pub async fn token_by_certificate(gateway: &Gateway, id: &str, identity: &Identity) -> (u16, Value) {
    let fields = [("grant_type", "client_credentials"), ("client_id", id)];
    super::json(form(gateway, "mtls", &http(Some(identity)), "/oauth/token", &fields).await).await
}

/// An access token of a client whose certificate has its own name.
pub async fn token_of(gateway: &Gateway, id: &str) -> String {
    let (status, body) = token_by_certificate(gateway, id, client_identity(id)).await;
    assert_eq!(status, 200, "{body}");
    body["access_token"].as_str().unwrap().to_owned()
}

/// Status and body of a token request with this assertion, on the public listener.
pub async fn token_by_assertion(gateway: &Gateway, assertion: &str) -> (u16, Value) {
    let fields =
        [("grant_type", "client_credentials"), ("client_assertion_type", JWT_BEARER), ("client_assertion", assertion)];
    super::json(form(gateway, "public", &http(None), "/oauth/token", &fields).await).await
}

/// A bearer token of `acme-jwt`.
pub async fn bearer(gateway: &Gateway) -> String {
    let (status, body) = token_by_assertion(gateway, &assertion(client_key(), "acme-jwt", json!({}))).await;
    assert_eq!(status, 200, "{body}");
    body["access_token"].as_str().unwrap().to_owned()
}

/// The certificate that `acme-self` registered.
pub fn self_signed() -> &'static Identity {
    &pki().self_signed_client
}
