//! `--clients FILE`: clients of an outside conformance suite, as RFC 7591 metadata, become entries of `clients.yaml`. They are
//! written down rather than registered, so that a reload keeps them and every mistake is told in the operator's words.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use serde_json::{Map, Value, json};

use super::{DETAIL_TYPES, clients, put, told};
use crate::oauth::{INTROSPECTION_SIGNED, SIGNED_ANSWERS, UNSUPPORTED_MEMBERS};
use crate::sandbox::pki::DemoPki;

/// Members that mean the same under the same name in `clients.yaml`.
const SAME: [&str; 12] = [
    "profile",
    "grant_types",
    "redirect_uris",
    "response_modes",
    "require_signed_request_object",
    "authorization_details_types",
    "backchannel_token_delivery_mode",
    "backchannel_client_notification_endpoint",
    "access_token_lifetime",
    "token_endpoint_auth_signing_alg",
    "request_object_signing_alg",
    "backchannel_authentication_request_signing_alg",
];
/// Subjects of a certificate (RFC 8705 §2.1.2).
const SUBJECTS: [&str; 5] = ["subject_dn", "san_dns", "san_uri", "san_ip", "san_email"];
const SCOPES: &str = "openid profile email accounts payments wallet:read credit:read";
/// `tokens.signing_algorithm` of the demo's `gateway.yaml`.
const SIGNED_BY: &str = "ES256";
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
        let bearer = sender_constraint(&entry) == "none";
        let products = if bearer { &["wallet"][..] } else { &["banking", "wallet"] };
        let subscribed = |product| json!({ "client": entry.get("id"), "product": product, "plan": "standard" });
        subscriptions.extend(products.iter().map(subscribed));
        told.push(told::outward(metadata, &entry));
        configured.push(Value::Object(entry));
    }
    put(state, "clients", "outside", &configured)?;
    put(state, "subscriptions", "outside", &subscriptions)?;
    trust(authorities, state, pki)?;
    reach(clients, state, pki)?;
    Ok(told)
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
    check_answers(metadata)?;
    let mut entry = Map::new();
    for name in SAME {
        if let Some(value) = metadata.get(name) {
            entry.insert(name.to_owned(), value.clone());
        }
    }
    entry.entry("authorization_details_types").or_insert_with(|| json!(DETAIL_TYPES));
    entry.entry("grant_types").or_insert_with(|| json!(["authorization_code", "refresh_token"]));
    bind(metadata, &mut entry);
    if metadata.contains_key(INTROSPECTION_SIGNED) {
        entry.insert("introspection_signed".into(), true.into());
    }
    if text("subject_type") == Some("pairwise") {
        let uris = metadata.get("redirect_uris").and_then(Value::as_array);
        let uri = text("sector_identifier_uri").or_else(|| uris?.first()?.as_str()).or_else(|| text("jwks_uri"));
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

/// RFC 9449 §5.2, RFC 8705 §3.4: absent is the same as false, and only means that the client does not always use the method.
/// Such a client's tokens are bound to what each request brings; bearer tokens are for clients that say `plain-oauth`.
fn bind(metadata: &Map<String, Value>, entry: &mut Map<String, Value>) {
    let flags = [
        ("tls_client_certificate_bound_access_tokens", "certificate_bound_access_tokens"),
        ("dpop_bound_access_tokens", "dpop_bound_access_tokens"),
    ];
    let bearer = metadata.get("profile").and_then(Value::as_str) == Some("plain-oauth");
    for (given, own) in flags {
        match metadata.get(given) {
            None => {}
            Some(Value::Bool(false)) if !bearer => {}
            Some(flag) => drop(entry.insert(own.to_owned(), flag.clone())),
        }
    }
}

/// What the tokens of an entry of `clients.yaml` are bound to, as `clients.json` says it.
pub(super) fn sender_constraint(entry: &Map<String, Value>) -> &'static str {
    let flag = |name: &str| entry.get(name).and_then(Value::as_bool);
    let secret =
        entry.get("authentication").and_then(|section| section.get("method")?.as_str()) == Some("client_secret_basic");
    let fapi1 = entry.get("profile").and_then(Value::as_str).is_some_and(|profile| profile.starts_with("fapi1"));
    match (flag("dpop_bound_access_tokens"), flag("certificate_bound_access_tokens")) {
        (Some(true), _) => "dpop",
        (_, Some(true)) => "certificate",
        (_, Some(false)) => "none",
        (_, None) if secret => "none",
        (None, None) if !fapi1 => "dpop_or_certificate",
        (Some(false) | None, None) => "certificate",
    }
}

/// Answers that this server does not give (RFC 7591 §2, OpenID Connect Registration §2): better said now than noticed later.
fn check_answers(metadata: &Map<String, Value>) -> anyhow::Result<()> {
    let code = json!(["code"]);
    let response_types = metadata.get("response_types");
    ensure!(
        response_types.is_none_or(|types| *types == code || *types == json!([])),
        "response_types can be [\"code\"] only"
    );
    for name in SIGNED_ANSWERS.into_iter().chain([INTROSPECTION_SIGNED]) {
        let asked = metadata.get(name);
        ensure!(asked.is_none_or(|alg| alg == SIGNED_BY), "{name}: the demo signs with {SIGNED_BY}");
    }
    for name in UNSUPPORTED_MEMBERS {
        ensure!(metadata.get(name).is_none(), "{name}: userinfo is not signed here, and nothing is encrypted");
    }
    Ok(())
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
    if let Some(url) = metadata.get("jwks_uri") {
        ensure!(!section.contains_key("jwks_file"), "`jwks` and `jwks_uri` exclude each other"); // RFC 7591 §2
        section.insert("jwks_uri".into(), url.clone());
    }
    if method != "self_signed_tls_client_auth" && metadata.contains_key("certificates") {
        section.insert("certificate_files".into(), certificate_files(id, metadata, pki)?.into());
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
            section.insert("certificate_files".into(), certificate_files(id, metadata, pki)?.into());
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

fn certificate_files(id: &str, metadata: &Map<String, Value>, pki: &DemoPki) -> anyhow::Result<Vec<Value>> {
    let mut files = Vec::new();
    for (at, pem) in certificates(metadata)?.iter().enumerate() {
        let path = pki.folder.join(format!("outside-{id}-{}.pem", at + 1));
        fs::write(&path, pem)?;
        files.push(json!(path));
    }
    Ok(files)
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

/// A suite runs on this machine, or near it: the hosts under which its clients publish keys and are notified may be asked,
/// and may show a certificate of the demo's own authority.
fn reach(clients: &[Value], state: &Path, pki: &DemoPki) -> anyhow::Result<()> {
    let named = ["jwks_uri", "backchannel_client_notification_endpoint"];
    let urls = clients.iter().flat_map(|client| named.map(|name| client.get(name)?.as_str()?.parse().ok()));
    let host = |url: http::Uri| Some(url.host()?.trim_matches(['[', ']']).to_owned());
    let mut hosts: Vec<String> = urls.flatten().filter_map(host).collect();
    hosts.sort_unstable();
    hosts.dedup();
    if hosts.is_empty() {
        return Ok(());
    }
    let gateway = state.join("config/gateway.yaml");
    let text = fs::read_to_string(&gateway)?;
    let section = json!({ "allow_private": hosts, "ca_files": [pki.server_ca] });
    fs::write(&gateway, format!("{text}\noutbound: {section}\n"))?;
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
