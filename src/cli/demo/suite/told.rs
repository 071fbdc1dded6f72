//! What `clients.json` tells of a client that came with `--clients`.

use serde_json::{Map, Value};

use super::outside::sender_constraint;

/// The metadata as given, with the name that the client has here, and with every default written out: a program may loop
/// over all clients.
pub(super) fn outward(metadata: &Value, entry: &Map<String, Value>) -> Value {
    let mut told = metadata.as_object().cloned().unwrap_or_default();
    let of_entry = |name: &str| entry.get(name).cloned().unwrap_or_default();
    let constraint = sender_constraint(entry);
    let method = entry.get("authentication").and_then(|section| section.get("method")).cloned().unwrap_or_default();
    let profile = if constraint == "none" { "plain-oauth" } else { "fapi2-security" };
    let scopes = entry.get("scopes").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    told.insert("client_id".into(), of_entry("id"));
    told.insert("kind".into(), "outside".into());
    told.insert("tenant".into(), of_entry("tenant"));
    told.insert("profile".into(), entry.get("profile").cloned().unwrap_or_else(|| profile.into()));
    told.insert("token_endpoint_auth_method".into(), method);
    told.insert("sender_constraint".into(), constraint.into());
    told.insert("scope".into(), scopes.collect::<Vec<_>>().join(" ").into());
    for name in ["grant_types", "authorization_details_types"] {
        told.insert(name.into(), of_entry(name));
    }
    Value::Object(told)
}
