//! `--clients FILE`: clients of an outside conformance suite, as RFC 7591 metadata, become entries of `clients.yaml`. They are
//! written down rather than registered, so that a reload keeps them and every mistake is told in the operator's words.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use serde_json::{Map, Value, json};

use super::{DETAIL_TYPES, clients, put};
use crate::sandbox::pki::DemoPki;

/// Members that mean the same under the same name in `clients.yaml`.
const SAME: [&str; 10] = [
    "profile",
    "grant_types",
    "redirect_uris",
    "response_modes",
    "require_signed_request_object",
    "authorization_details_types",
    "dpop_bound_access_tokens",
    "backchannel_token_delivery_mode",
    "backchannel_client_notification_endpoint",
    "access_token_lifetime",
];
/// Subjects of a certificate (RFC 8705 §2.1.2).
const SUBJECTS: [&str; 5] = ["subject_dn", "san_dns", "san_uri", "san_ip", "san_email"];
const SCOPES: &str = "openid accounts payments wallet:read credit:read";
/// More are a mistake: this is a demo.
const CLIENTS_MAX: usize = 100;

/// Reads the file and writes the configuration. What comes back goes into `clients.json`.
pub(in crate::cli::demo) fn add(file: Option<&Path>, state: &Path, pki: &DemoPki) -> anyhow::Result<Vec<Value>> {
    for kind in ["clients", "subscriptions"] {
        let earlier = state.join("config").join(kind).join("outside.yaml");
        if earlier.exists() {
            fs::remove_file(earlier)?;
        }
    }
    let Some(file) = file else { return Ok(Vec::new()) };
    let name = file.display();
    let text = fs::read(file).with_context(|| format!("{name} cannot be read"))?;
    let document: Value = serde_json::from_slice(&text).with_context(|| format!("{name} is not JSON"))?;
    let (clients, authorities) = match &document {
        Value::Array(clients) => (clients, None),
        Value::Object(members) => {
            let clients = members.get("clients").and_then(Value::as_array);
            (clients.with_context(|| format!("{name} has no array `clients`"))?, members.get("partner_ca_pem"))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            bail!("{name} is neither an array of clients nor an object with the member `clients`")
        }
    };
    ensure!(clients.len() <= CLIENTS_MAX, "{name} has more than {CLIENTS_MAX} clients");
    let mut configured = Vec::new();
    let mut subscriptions = Vec::new();
    let mut told = Vec::new();
    for (at, metadata) in clients.iter().enumerate() {
        let entry = entry(at, metadata, pki).with_context(|| format!("client {} of {name}", at + 1))?;
        let products = if is_bound(&entry) { &["banking", "wallet"][..] } else { &["wallet"] };
        let subscribed = |product| json!({ "client": entry.get("id"), "product": product, "plan": "standard" });
        subscriptions.extend(products.iter().map(subscribed));
        told.push(outward(metadata, &entry));
        configured.push(Value::Object(entry));
    }
    put(state, "clients", "outside", &configured)?;
    put(state, "subscriptions", "outside", &subscriptions)?;
    trust(authorities, state, pki)?;
    Ok(told)
}

/// The metadata as given, with the name that the client has here.
fn outward(metadata: &Value, entry: &Map<String, Value>) -> Value {
    let mut told = metadata.as_object().cloned().unwrap_or_default();
    told.insert("client_id".into(), entry.get("id").cloned().unwrap_or_default());
    told.insert("kind".into(), "outside".into());
    told.insert("tenant".into(), entry.get("tenant").cloned().unwrap_or_default());
    Value::Object(told)
}

/// Bearer tokens are for low-risk products alone.
fn is_bound(entry: &Map<String, Value>) -> bool {
    let certificate = entry.get("certificate_bound_access_tokens").and_then(Value::as_bool);
    let secret =
        entry.get("authentication").and_then(|section| section.get("method")?.as_str()) == Some("client_secret_basic");
    entry.get("dpop_bound_access_tokens") == Some(&json!(true)) || certificate.unwrap_or(!secret)
}

fn entry(at: usize, metadata: &Value, pki: &DemoPki) -> anyhow::Result<Map<String, Value>> {
    let metadata = metadata.as_object().context("it is not an object")?;
    let text = |name: &str| metadata.get(name).and_then(Value::as_str);
    let id = text("client_id").map_or_else(|| format!("outside-{}", at + 1), str::to_owned);
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    ensure!(
        !id.is_empty() && id.chars().all(plain) && !id.starts_with('.'),
        "client_id must be of letters, digits, - _ ."
    );
    ensure!(
        metadata.get("jwks_uri").is_none(),
        "give `jwks` in place of `jwks_uri`, or register the client dynamically"
    );
    let mut entry = Map::new();
    for name in SAME {
        if let Some(value) = metadata.get(name) {
            entry.insert(name.to_owned(), value.clone());
        }
    }
    entry.entry("authorization_details_types").or_insert_with(|| json!(DETAIL_TYPES));
    entry.entry("grant_types").or_insert_with(|| json!(["authorization_code", "refresh_token"]));
    if let Some(bound) = metadata.get("tls_client_certificate_bound_access_tokens") {
        entry.insert("certificate_bound_access_tokens".into(), bound.clone());
    }
    if text("subject_type") == Some("pairwise") {
        let uris = metadata.get("redirect_uris").and_then(Value::as_array);
        let uri = text("sector_identifier_uri").or_else(|| uris?.first()?.as_str());
        let host = uri.and_then(|uri| uri.parse::<http::Uri>().ok()?.host().map(str::to_owned));
        entry.insert("pairwise_sector".into(), host.context("a pairwise client has no sector")?.into());
    }
    let scopes = text("scope").unwrap_or(SCOPES).split(' ').filter(|scope| !scope.is_empty());
    entry.insert("scopes".into(), scopes.collect::<Vec<_>>().into());
    entry.insert("name".into(), text("client_name").unwrap_or(&id).into());
    // The second of two clients is a stranger to the first.
    entry.insert("tenant".into(), if at.is_multiple_of(2) { clients::FIRST } else { clients::SECOND }.into());
    entry.insert("authentication".into(), authentication(&id, metadata, pki)?);
    entry.insert("id".into(), id.into());
    Ok(entry)
}

fn authentication(id: &str, metadata: &Map<String, Value>, pki: &DemoPki) -> anyhow::Result<Value> {
    let method = metadata.get("token_endpoint_auth_method").and_then(Value::as_str).unwrap_or("private_key_jwt");
    let mut section = Map::new();
    section.insert("method".into(), method.into());
    if let Some(jwks) = metadata.get("jwks") {
        let path = pki.folder.join(format!("outside-{id}.jwks.json"));
        fs::write(&path, public_only(jwks).to_string())?;
        section.insert("jwks_file".into(), json!(path));
    }
    match method {
        "private_key_jwt" => {}
        "tls_client_auth" => {
            for name in SUBJECTS {
                if let Some(value) = metadata.get(&format!("tls_client_auth_{name}")) {
                    section.insert(name.to_owned(), value.clone());
                }
            }
        }
        "self_signed_tls_client_auth" => {
            let mut files = Vec::new();
            for (at, pem) in certificates(metadata)?.iter().enumerate() {
                let path = pki.folder.join(format!("outside-{id}-{}.pem", at + 1));
                fs::write(&path, pem)?;
                files.push(json!(path));
            }
            section.insert("certificate_files".into(), files.into());
        }
        "client_secret_basic" => {
            let secret = metadata.get("client_secret").and_then(Value::as_str).context("it has no client_secret")?;
            let path = pki.folder.join(format!("outside-{id}.secret"));
            super::super::institutions::write_secret(&path, secret)?;
            section.insert("secret_file".into(), json!(path));
        }
        other => bail!("token_endpoint_auth_method {other} does not exist here"),
    }
    Ok(Value::Object(section))
}

/// Suites export key sets with their private parts; those are none of ours.
fn public_only(jwks: &Value) -> Value {
    let mut jwks = jwks.clone();
    for key in jwks.get_mut("keys").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Value::Object(members) = key {
            members.retain(|name, _| !["d", "p", "q", "dp", "dq", "qi", "oth", "k"].contains(&name.as_str()));
        }
    }
    jwks
}

/// PEM texts of `certificates`, or those within the keys (RFC 8705 §2.2.2 `x5c`).
fn certificates(metadata: &Map<String, Value>) -> anyhow::Result<Vec<String>> {
    if let Some(Value::Array(texts)) = metadata.get("certificates") {
        return texts
            .iter()
            .map(|text| Ok(text.as_str().context("a certificate is no PEM text")?.to_owned()))
            .collect();
    }
    let keys = metadata.get("jwks").and_then(|jwks| jwks.get("keys")?.as_array());
    let found = keys.into_iter().flatten().filter_map(|key| key.get("x5c")?.get(0)?.as_str());
    Ok(found.map(|der| format!("-----BEGIN CERTIFICATE-----\n{der}\n-----END CERTIFICATE-----\n")).collect())
}

/// The authorities that vouch for the suite's certificates, beside the demo's own.
fn trust(authorities: Option<&Value>, state: &Path, pki: &DemoPki) -> anyhow::Result<()> {
    let Some(pem) = authorities else { return Ok(()) };
    let pem = pem.as_str().context("`partner_ca_pem` is no text")?;
    let path = pki.folder.join("outside-ca.pem");
    fs::write(&path, pem)?;
    let gateway = state.join("config/gateway.yaml");
    let known = "/partner-ca.pem\n";
    let text = fs::read_to_string(&gateway)?;
    fs::write(&gateway, text.replacen(known, &format!("{known}  - {}\n", json!(path)), 1))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_parts_of_a_key_set_are_left_out() {
        let jwks =
            json!({ "keys": [{ "kty": "EC", "x": "1", "d": "2" }, { "kty": "RSA", "n": "1", "p": "2", "qi": "3" }] });
        assert_eq!(public_only(&jwks), json!({ "keys": [{ "kty": "EC", "x": "1" }, { "kty": "RSA", "n": "1" }] }));
    }
}
