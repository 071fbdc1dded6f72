//! The published JSON Schema and the readers say the same: neither knows a key that the other does not.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::*;

fn schema() -> Value {
    serde_json::from_str(SCHEMA).unwrap()
}

/// The schema of one of its definitions, with all the others at hand.
fn validator(definition: &Value) -> jsonschema::Validator {
    let mut schema = schema();
    let root = schema.as_object_mut().unwrap();
    root.remove("oneOf");
    root.insert("allOf".to_owned(), json!([definition]));
    jsonschema::draft202012::new(&schema).unwrap()
}

fn file_validator(kind: &str) -> jsonschema::Validator {
    validator(&json!({ "$ref": format!("#/$defs/{kind}") }))
}

/// The schema that governs a value: references followed, the branch taken that the value keeps to.
fn governing(schema: &Value, value: &Value) -> Value {
    if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
        let pointer = target.trim_start_matches('#');
        return governing(self::schema().pointer(pointer).unwrap(), value);
    }
    let branches = ["oneOf", "anyOf"].iter().find_map(|word| schema.get(*word)?.as_array());
    match branches {
        Some(branches) if schema.get("properties").is_none() => {
            let taken = branches.iter().find(|branch| validator(branch).is_valid(value));
            governing(taken.unwrap_or_else(|| panic!("no branch takes {value}")), value)
        }
        _ => schema.clone(),
    }
}

/// Each mapping that the schema closes: what it allows there, and where in `value` it lies.
fn closed(schema: &Value, value: &Value, at: &str, found: &mut BTreeMap<String, BTreeSet<String>>) {
    let schema = governing(schema, value);
    match value {
        Value::Array(items) => {
            for (position, item) in items.iter().enumerate() {
                closed(&schema["items"], item, &format!("{at}/{position}"), found);
            }
        }
        Value::Object(members) => {
            if let Some(properties) = schema["properties"].as_object() {
                assert_eq!(schema["additionalProperties"], false, "{at} is open");
                found.insert(at.to_owned(), properties.keys().cloned().collect());
            }
            for (name, member) in members {
                let of_member = schema["properties"].get(name).unwrap_or(&schema["additionalProperties"]);
                closed(of_member, member, &format!("{at}/{name}"), found);
            }
        }
        _ => {}
    }
}

/// A configuration with each key of each kind in it.
fn complete() -> Vec<(&'static str, Value)> {
    let listener = |name: &str| {
        json!({ "name": name, "address": "127.0.0.1:0", "tls": {
            "certificate_file": "a.pem", "private_key_file": "a.pem", "client_certificate": "optional",
            "alternative": { "certificate_file": "a.pem", "private_key_file": "a.pem" } } })
    };
    let limits = json!({
        "connections_max": 10, "connections_per_address_max": 5, "handshake_timeout": "5s", "header_timeout": "5s",
        "idle_timeout": "5s", "body_idle_timeout": "5s", "body_timeout": "5s", "header_bytes_max": "8KiB",
        "header_count_max": 50, "uri_bytes_max": 4096, "body_bytes_max": "1MiB", "buffered_bytes_max": "1MiB",
        "buffered_total_bytes_max": "8MiB", "buffered_client_bytes_max": "2MiB", "buffered_tenant_bytes_max": "4MiB", "in_flight_per_connection_max": 10, "in_flight_per_address_max": 1000,
        "requests_per_connection_max": 100, "drain_timeout": "5s"
    });
    let pool = |environment: &str, credential: Value| {
        json!({
            "environment": environment, "urls": ["https://bank.example"], "http2": true, "credential": credential,
            "tls": { "ca_file": "a.pem", "certificate_file": "a.pem", "private_key_file": "a.pem" },
            "health": { "path": "/healthz", "interval": "1s", "timeout": "1s", "unhealthy_after": 1, "healthy_after": 1 },
            "breaker": { "failures": 1, "open_for": "1s" },
            "timeouts": { "connect": "1s", "read": "1s", "write": "1s", "total": "1s" },
            "in_flight_max": 10
        })
    };
    let client = |id: &str, authentication: Value| {
        json!({ "id": id, "tenant": "acme", "name": id, "status": "active", "environment": "live", "scopes": ["a", "b"],
            "certificate_bound_access_tokens": false, "resource_server": true, "authentication": authentication })
    };
    vec![
        (
            "gateway",
            json!({
                "version": 1, "public_url": "https://api.example", "issuer": "https://as.example",
                "mtls_url": "https://mtls.example", "listeners": [listener("a"), listener("b")],
                "operations_address": "127.0.0.1:0", "workers": 2, "trusted_proxies": ["192.0.2.1"],
                "trusted_proxy_field": "forwarded", "limits": limits,
                "flood_guard": { "failures_max": 10, "window": "1m" }, "partner_ca_files": ["a.pem"],
                "store_file": "a.db", "audit_file": "audit.jsonl", "access_log": "off", "policy_folders": ["policies"],
                "catalogue": { "title": "t", "version": 1, "description": "d" },
                "tokens": { "access_token_lifetime": "5m", "signing_algorithm": "PS256", "key_rotation_period": "30d",
                    "assertion_lifetime_max": "5m", "clock_skew_max": "30s", "request_uri_lifetime": "60s",
                    "visit_lifetime": "5m", "backchannel_lifetime": "2m", "backchannel_per_user_max": 5, "grant_lifetime": "30d", "outstanding_max": 100,
                    "outstanding_per_tenant_max": 10, "outstanding_per_client_max": 5 },
                "dpop": { "proof_age_max": "60s", "resource_nonces": "required", "authorization_server_nonces": "off" },
                "sessions": { "idle_timeout": "10m", "lifetime": "1h" },
                "simulated_authentication_device": true,
                "outbound": { "allow_private": ["10.1.0.0/16"], "ca_files": ["a.pem"] }, "security_contact": "mailto:a@example.com"
            }),
        ),
        (
            "tenants",
            json!({ "version": 1, "tenants": [
            { "id": "acme", "name": "Acme", "status": "suspended", "jurisdiction": "GB", "licences": ["account-servicing"] }
        ] }),
        ),
        (
            "clients",
            json!({ "version": 1, "clients": [
            { "id": "a", "tenant": "acme", "grant_types": ["authorization_code", "refresh_token"],
              "redirect_uris": ["https://a.example/cb"], "response_modes": ["jwt"], "profile": "fapi2-message-signing",
              "require_signed_request_object": true, "authorization_details_types": ["payment"],
              "pairwise_sector": "a.example", "token_endpoint_auth_signing_alg": "ES256", "request_object_signing_alg": "PS256",
              "backchannel_authentication_request_signing_alg": "EdDSA", "introspection_signed": true, "access_token_lifetime": "3s", "dpop_bound_access_tokens": true,
              "authentication": { "method": "private_key_jwt", "jwks_file": "jwks.json", "certificate_files": ["a.pem"] } },
            client("u", json!({ "method": "private_key_jwt", "jwks_uri": "https://u.example/jwks" })),
            client("s", json!({ "method": "client_secret_basic", "secret_file": "secret", "jwks_file": "jwks.json" })),
            client("b", json!({ "method": "tls_client_auth", "san_dns": "b.example", "jwks_file": "jwks.json" })),
            client("c", json!({ "method": "self_signed_tls_client_auth", "certificate_files": ["a.pem"], "jwks_file": "jwks.json" })),
            { "id": "e", "tenant": "acme", "grant_types": ["urn:openid:params:grant-type:ciba"],
              "backchannel_token_delivery_mode": "ping",
              "backchannel_client_notification_endpoint": "https://e.example/notified",
              "authentication": { "method": "private_key_jwt", "jwks_file": "jwks.json" } },
            { "id": "d", "tenant": "acme", "issuer": "https://idp.example" }
        ] }),
        ),
        (
            "institutions",
            json!({ "version": 1, "institutions": [
            { "id": "bank", "name": "Bank", "data_jurisdictions": ["GB"], "backends": [
                pool("sandbox", json!({ "kind": "api_key", "header": "x-api-key", "secret_file": "secret" })),
                pool("live", json!({ "kind": "oauth2_client_credentials", "token_url": "https://bank.example/token",
                    "client_id": "us", "client_secret_file": "secret", "scopes": ["a"] }))
            ] }
        ] }),
        ),
        (
            "apis",
            json!({ "version": 1, "apis": [
            { "id": "api", "institution": "bank", "document": "api.json", "base_path": "/a", "upstream_base_path": "/b",
              "request_contract": "observe", "response_contract": "off", "licence_role": "payment-initiation",
              "scopes": "a", "default_scope": "b", "operations": { "pay": {
                "request_contract": "enforce", "response_contract": "enforce", "licence_role": "payment-initiation",
                "scopes": ["a"], "amount": { "amount": "/a", "currency": "/c" }, "timeout": "1s",
                "step_up": { "acr_values": ["strong"], "max_age": "5m" },
                "authorization_details_type": "payment", "body_bytes_max": "1KiB", "websocket": false } } }
        ] }),
        ),
        (
            "products",
            json!({ "version": 1, "products": [
            { "id": "all", "name": "All", "risk": "low", "profile": "plain-oauth", "operations": ["api.*", "api.pay", "*"] }
        ] }),
        ),
        (
            "plans",
            json!({ "version": 1, "plans": [
            { "id": "standard", "limits": [
                { "name": "a", "per": "client", "rate": { "requests": 1, "per": "1s", "burst": 1 } },
                { "name": "b", "per": "tenant", "window": { "requests": 1, "period": "day", "zone": "UTC" } },
                { "name": "c", "per": "client", "concurrency": 1 } ] }
        ] }),
        ),
        (
            "subscriptions",
            json!({ "version": 1, "subscriptions": [
            { "client": "a", "product": "all", "plan": "standard", "environment": "live" }
        ] }),
        ),
        (
            "issuers",
            json!({ "version": 1, "issuers": [
            { "issuer": "https://idp.example", "jwks_file": "jwks.json", "audiences": ["a"], "client_claim": "c",
              "tenant_claim": "t", "scope_claim": "s", "algorithms": ["ES256", "RS256"], "require_at_jwt": false,
              "unknown_partners": { "product": "all", "plan": "standard", "environment": "live", "jurisdiction": "GB" } },
            { "issuer": "https://idq.example", "jwks_url": "https://idq.example/jwks", "audiences": ["a"] }
        ] }),
        ),
        (
            "users",
            json!({ "version": 1, "users": [
            { "subject": "psu-1", "username": "alice", "password_hash": HASH, "name": "Alice Example",
              "given_name": "Alice", "family_name": "Example", "email": "alice@example.com", "email_verified": true,
              "acr": "urn:example:acr" },
            { "subject": "psu-2", "username": "bob", "password_hash_file": "hash", "acr": ["urn:one", "urn:two"] }
        ] }),
        ),
        (
            "registrations",
            json!({ "version": 1, "registrations": [
            { "id": "open", "initial_access_token_file": "secret", "profile": "plain-oauth", "tenant": "acme",
              "environment": "sandbox", "scopes": ["accounts"], "clients_max": 10, "clients_per_tenant_max": 5,
              "subscriptions": [{ "product": "all", "plan": "standard" }] },
            { "id": "uk", "tenant_claim": "org_id", "jurisdiction": "GB", "environment": "live",
              "directory": { "issuer": "OpenBanking Ltd", "jwks_url": "https://keystore.example/jwks",
                "algorithms": ["PS256"], "required_claims": ["org_id"], "statement_age_max": "5m",
                "clients_per_software_max": 3, "denied_software": ["bad"],
                "status": { "url": "https://directory.example/{software_id}", "member": "s", "active": ["Active"],
                  "period": "1m", "keep_max": "1h" } } },
            { "id": "file", "tenant": "acme", "directory": { "issuer": "x", "jwks_file": "jwks.json" } }
        ] }),
        ),
    ]
}

/// Of the right form; the password is nobody's.
const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Loads the configuration; JSON is YAML.
fn loaded(files: &[(&'static str, Value)]) -> Result<(), Vec<Diagnostic>> {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("policies")).unwrap();
    fs::write(folder.path().join("api.json"), "{}").unwrap();
    fs::write(folder.path().join("secret"), "s3cret-of-twenty-two-characters").unwrap();
    fs::write(folder.path().join("hash"), HASH).unwrap();
    let (key, _) = crate::jose::SigningKey::generate(crate::jose::Algorithm::Es256).unwrap();
    fs::write(folder.path().join("jwks.json"), json!({ "keys": [key.public_jwk()] }).to_string()).unwrap();
    let certificate = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap();
    fs::write(folder.path().join("a.pem"), certificate.cert.pem()).unwrap();
    for (kind, value) in files {
        fs::write(folder.path().join(format!("{kind}.yaml")), format!("{value:#}")).unwrap();
    }
    load(folder.path(), &Variables::new()).map(drop)
}

#[test]
fn the_schema_knows_exactly_the_keys_that_the_readers_ask_for() {
    const STRANGE: &str = "zzqq";
    let mut files = complete();
    if let Err(mistakes) = loaded(&files) {
        panic!("the complete configuration is refused: {mistakes:#?}");
    }
    let mut expected: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (kind, value) in &mut files {
        let mut found = BTreeMap::new();
        closed(&json!({ "$ref": format!("#/$defs/{kind}") }), value, "", &mut found);
        for (at, keys) in found {
            let strange = format!("{STRANGE}{}", expected.len());
            value.pointer_mut(&at).unwrap().as_object_mut().unwrap().insert(strange.clone(), json!(1));
            expected.insert(strange, keys);
        }
    }
    let mistakes = loaded(&files).unwrap_err();
    let mut asked: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for mistake in &mistakes {
        let strange = mistake.message.split('`').nth(1).unwrap().to_owned();
        let keys = mistake.remedy.as_deref().unwrap().trim_start_matches("the keys here are ");
        asked.insert(strange, keys.split(", ").map(str::to_owned).collect());
    }
    assert_eq!(asked, expected);
    assert!(expected.len() > 40, "only {} mappings were looked at", expected.len());
}

/// Every part of the complete configuration left out once: whatever the readers miss, the schema misses.
#[test]
fn the_schema_demands_exactly_what_the_readers_demand() {
    let files = complete();
    let mut demanded = 0;
    for (number, (kind, whole)) in files.iter().enumerate() {
        let schema = file_validator(kind);
        assert!(schema.is_valid(whole), "{kind}: {:?}", schema.validate(whole).unwrap_err().to_string());
        let mut places = Vec::new();
        members(whole, "", &mut places);
        for (parent, key) in places {
            let mut lacking = whole.clone();
            lacking.pointer_mut(&parent).unwrap().as_object_mut().unwrap().shift_remove(&key);
            let mut changed = files.clone();
            changed[number].1 = lacking.clone();
            // A name that is missed elsewhere is not a matter of shape.
            let refused = loaded(&changed).err().unwrap_or_default();
            let refused = refused.iter().any(|mistake| !mistake.message.contains("there is no"));
            demanded += usize::from(refused);
            assert_eq!(schema.is_valid(&lacking), !refused, "{kind}{parent} without {key}");
        }
    }
    assert!(demanded > 30, "only {demanded} keys are demanded");
}

fn members(value: &Value, at: &str, places: &mut Vec<(String, String)>) {
    match value {
        Value::Array(items) => {
            for (position, item) in items.iter().enumerate() {
                members(item, &format!("{at}/{position}"), places);
            }
        }
        Value::Object(map) => {
            for (key, member) in map {
                places.push((at.to_owned(), key.clone()));
                members(member, &format!("{at}/{key}"), places);
            }
        }
        _ => {}
    }
}

#[test]
fn the_schema_refuses_what_is_misshapen() {
    for (kind, value) in [
        ("gateway", json!({ "version": 2 })),
        ("tenants", json!({ "version": 1, "tenants": [{ "id": "a", "jurisdiction": "gb" }] })),
        ("tenants", json!({ "version": 1, "tenants": {} })),
        ("plans", json!({ "version": 1, "plans": [{ "id": "a", "limits": [{ "name": "a", "per": "client" }] }] })),
        (
            "plans",
            json!({ "version": 1, "plans": [{ "id": "a", "limits": [{ "name": "a", "per": "client", "concurrency": 0 }] }] }),
        ),
        (
            "institutions",
            json!({ "version": 1, "institutions": [{ "id": "a", "backends": [{ "environment": "sandbox",
            "urls": ["http://127.0.0.1:1"], "credential": { "kind": "api_key", "header": "x", "secret": "written out" } }] }] }),
        ),
    ] {
        assert!(!file_validator(kind).is_valid(&value), "{kind}: {value}");
    }
}

#[test]
fn the_shipped_configurations_keep_to_the_schema() {
    let root: Map<String, Value> = schema()["$defs"].as_object().unwrap().clone();
    let whole = jsonschema::draft202012::new(&schema()).unwrap();
    let mut seen = 0;
    for file in yaml_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("config")) {
        let kind = file.file_stem().unwrap().to_str().unwrap().to_owned();
        assert!(root.contains_key(&kind), "{} is of no kind", file.display());
        let mut options = serde_saphyr::Options::default();
        options.strict_booleans = true; // As the readers read: `off` is a word.
        let text = fs::read_to_string(&file).unwrap();
        let value: Value = serde_saphyr::from_str_with_options(&text, options).unwrap();
        if let Err(error) = whole.validate(&value) {
            panic!("{}: {error} at {}", file.display(), error.instance_path());
        }
        assert!(file_validator(&kind).is_valid(&value), "{}", file.display());
        seen += 1;
    }
    assert!(seen >= 8, "only {seen} files were looked at");
}

fn yaml_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            // An example brings its API documents along.
            if !path.ends_with("openapi") {
                files.extend(yaml_files(&path));
            }
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            files.push(path);
        }
    }
    files
}
