//! The documents by which clients find their way. Only what is true today is in them.
//!
//! Divergence: `response_types_supported` is required by RFC 8414 §2, while §3.2 wants members without elements left
//! out. There is no authorization endpoint yet, so the list is empty; it is published as `[]`, because readers with
//! typed models fail on a missing required member and none fails on an empty one.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::server::path_of;
use super::{AuthorizationServer, ClientAuthentication, Settings};

/// The JSON of both documents, written once.
pub(super) struct Documents {
    pub(super) authorization_server: Bytes,
    pub(super) protected_resource: Bytes,
}

impl Documents {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            authorization_server: text(&authorization_server(settings)),
            protected_resource: text(&protected_resource(settings)),
        }
    }
}

impl AuthorizationServer {
    /// The path of the issuer, which prefixes its endpoints; empty for most.
    pub fn issuer_path(&self) -> String {
        path_of(&self.settings.issuer)
    }

    /// The path of the resource, which follows the well-known part (RFC 9728 §3.1); empty for most.
    pub fn resource_path(&self) -> String {
        path_of(&self.settings.resource)
    }

    /// Where the RFC 9728 document is, for the `resource_metadata` of a challenge (§5.1): the well-known part stands
    /// between host and path.
    pub fn resource_metadata_url(&self) -> String {
        let path = self.resource_path();
        let origin = self.settings.resource.strip_suffix(&path).unwrap_or(&self.settings.resource);
        format!("{origin}/.well-known/oauth-protected-resource{path}")
    }
}

/// The methods that a client can use: those by certificate only where a listener asks for one.
fn methods(settings: &Settings) -> Vec<&'static str> {
    let mut methods = vec!["private_key_jwt"];
    if settings.mtls_url.is_some() {
        methods.extend(["tls_client_auth", "self_signed_tls_client_auth"]);
    }
    methods
}

fn authorization_server(settings: &Settings) -> Value {
    let methods = methods(settings);
    let algorithms = ClientAuthentication::ASSERTION_ALGORITHMS.map(|algorithm| algorithm.as_str());
    let mut members = Map::new();
    let mut add = |name: &str, value: Value| members.insert(name.to_owned(), value);
    add("issuer", settings.issuer.as_str().into());
    add("jwks_uri", format!("{}/oauth/jwks", settings.issuer).into());
    add("grant_types_supported", json!(["client_credentials"]));
    add("response_types_supported", json!([]));
    for endpoint in ["token", "introspection", "revocation"] {
        add(&format!("{endpoint}_endpoint"), endpoint_url(&settings.issuer, endpoint).into());
        add(&format!("{endpoint}_endpoint_auth_methods_supported"), json!(methods));
        add(&format!("{endpoint}_endpoint_auth_signing_alg_values_supported"), json!(algorithms));
    }
    if !settings.scopes_supported.is_empty() {
        add("scopes_supported", json!(settings.scopes_supported));
    }
    add("protected_resources", json!([settings.resource])); // RFC 9728 §4
    if let Some(url) = &settings.mtls_url {
        add("tls_client_certificate_bound_access_tokens", true.into()); // RFC 8705 §3.3
        let base = format!("{}{}", url, path_of(&settings.issuer));
        let alias = |endpoint: &str| (format!("{endpoint}_endpoint"), endpoint_url(&base, endpoint).into());
        let aliases = ["token", "introspection", "revocation"].map(alias);
        add("mtls_endpoint_aliases", Value::Object(aliases.into_iter().collect())); // RFC 8705 §5
    }
    Value::Object(members)
}

fn endpoint_url(base: &str, endpoint: &str) -> String {
    let path = match endpoint {
        "introspection" => "introspect",
        "revocation" => "revoke",
        other => other,
    };
    format!("{base}/oauth/{path}")
}

fn protected_resource(settings: &Settings) -> Value {
    let mut members = Map::new();
    let mut add = |name: &str, value: Value| members.insert(name.to_owned(), value);
    add("resource", settings.resource.as_str().into());
    let issuers: Vec<_> = std::iter::once(&settings.issuer).chain(&settings.trusted_issuers).collect();
    add("authorization_servers", json!(issuers));
    add("bearer_methods_supported", json!(["header"]));
    if !settings.scopes_supported.is_empty() {
        add("scopes_supported", json!(settings.scopes_supported));
    }
    if settings.mtls_url.is_some() {
        add("tls_client_certificate_bound_access_tokens", true.into());
    }
    Value::Object(members)
}

fn text(value: &Value) -> Bytes {
    value.to_string().into()
}
