//! The demo's account holders, and who may register clients by themselves.

use std::path::Path;

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::put;
use crate::cli::demo::institutions::secret;
use crate::oauth::ACR_PASSWORD;
use crate::sandbox::pki::DemoPki;

/// Username, password, its hash, name. Passwords that everybody knows, of people who do not exist.
const PEOPLE: [(&str, &str, &str, &str); 2] = [
    (
        "alice",
        "alice-demo-password",
        "$argon2id$v=19$m=19456,t=2,p=1$AmkWTpm/qTN94oLDt9OHSQ$VQzlAF6jAy63rr/gDi6/4xKo1FxXPhuoKoe7UJUGf7A",
        "Alice Example",
    ),
    (
        "bob",
        "bob-demo-password",
        "$argon2id$v=19$m=19456,t=2,p=1$vml7U+UIchbIwmKuZPp+hw$k1yBWNd2rKjXNUl21i4uNy2w5M69YWweHPzoSAgXRRI",
        "Bob Example",
    ),
];

/// What their sign-in satisfies: ours, and what the profiles call it that clients of UK Open Banking and of Open Finance
/// Brasil demand (FAPI 1.0 Advanced variants). A password alone is none of these at a real institution.
pub(super) const ACR: [&str; 4] =
    [ACR_PASSWORD, "urn:openbanking:psd2:sca", "urn:openbanking:psd2:ca", "urn:brasil:openbanking:loa2"];

/// Below `registered_clients_max`, whose default holds.
const REGISTERED_MAX: u32 = 9_000;

/// Writes both kinds of configuration; returns the token with which clients are registered.
pub(super) fn write(state: &Path, pki: &DemoPki) -> anyhow::Result<SecretString> {
    let users = PEOPLE.map(|(username, _, hash, name)| {
        json!({
            "subject": format!("psu-{username}"), "username": username, "password_hash": hash, "name": name,
            "given_name": name.split(' ').next(), "family_name": "Example",
            "email": format!("{username}@example.com"), "email_verified": true, "acr": ACR,
        })
    });
    put(state, "users", "suite", &users)?;
    let token = secret(pki, "initial-access.token")?;
    let registration = json!({
        "id": "demo", "initial_access_token_file": pki.folder.join("initial-access.token"),
        "tenant": super::clients::FIRST,
        // A suite registers by the dozen, and seldom cleans up.
        "clients_max": REGISTERED_MAX, "clients_per_tenant_max": REGISTERED_MAX,
        "scopes": ["openid", "profile", "email", "accounts", "payments", "wallet:read"],
        "subscriptions": [{ "product": "banking", "plan": "standard" }, { "product": "wallet", "plan": "standard" }],
    });
    put(state, "registrations", "suite", &[registration])?;
    Ok(token)
}

/// What `clients.json` tells of them.
pub(super) fn told(operations: &str, token: &SecretString) -> [(&'static str, Value); 3] {
    let users = PEOPLE.map(|(username, password, _, name)| {
        json!({ "username": username, "password": password, "subject": format!("psu-{username}"), "name": name })
    });
    [
        ("users", json!(users)),
        ("initial_access_token", token.expose_secret().into()),
        (
            "authentication_device",
            json!({
                "url": format!("{operations}/device"),
                "approve": format!("{operations}/device?auth_req_id={{auth_req_id}}&decision=approve"),
                "deny": format!("{operations}/device?auth_req_id={{auth_req_id}}&decision=deny"),
            }),
        ),
    ]
}
