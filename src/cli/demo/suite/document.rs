//! `clients.json`: simple JSON whose members do not change their meaning. README, "Point a conformance suite at it".

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;
use serde_json::{Map, Value, json};

use super::clients::{Bound, Method, Suite};
use super::{Credentials, DETAIL_TYPES, IMPERSONATED, Seeded, exposed, people};
use crate::sandbox::pki::{DemoPki, Identity};

/// Of the operation for which `apis.yaml` demands a user's sign-in (`step_up`).
pub(in crate::cli::demo) const TRANSACTIONS: &str = "/open-banking/v4.0/aisp/accounts/20001/transactions";

/// Where the demo is.
pub(in crate::cli::demo) struct Addresses<'a> {
    pub public_url: &'a str,
    pub mtls_url: &'a str,
    pub operations_url: &'a str,
}

/// What is told of a client, private keys included.
pub(super) fn client(client: &Suite, registered: Map<String, Value>, credentials: &Credentials) -> Value {
    let mut told = Map::new();
    let mut add = |name: &str, value: Value| {
        told.insert(name.to_owned(), value);
    };
    add("client_id", client.id.into());
    add("kind", client.kind.into());
    add("tenant", client.tenant.into());
    add("profile", client.profile.as_str().into());
    let method = match client.method {
        Method::PrivateKeyJwt => "private_key_jwt",
        Method::TlsClientAuth => "tls_client_auth",
        Method::Secret => "client_secret_basic",
    };
    add("token_endpoint_auth_method", method.into());
    let bound = match client.bound {
        Bound::Dpop => "dpop",
        Bound::Certificate => "certificate",
        Bound::Nothing => "none",
    };
    add("sender_constraint", bound.into());
    add("signing_alg", client.algorithm.as_str().into());
    add("scope", super::clients::scopes(client).join(" ").into());
    add("jwks", json!({ "keys": [credentials.public_jwk] }));
    add("private_jwks", json!({ "keys": [credentials.private_jwk] }));
    add("private_key_file", json!(credentials.key_file));
    if let Some((certificate, key)) = &credentials.certificate {
        add("certificate_file", json!(certificate));
        add("certificate_key_file", json!(key));
        if client.method == Method::TlsClientAuth {
            add("tls_client_auth_subject_dn", super::subject(client).into());
        }
    }
    if let Some(secret) = &credentials.secret {
        add("client_secret", exposed(secret));
    }
    told.extend(registered);
    Value::Object(told)
}

/// Writes `clients.json` below the state folder, whole, for its owner only.
pub(in crate::cli::demo) fn write(
    state: &Path,
    addresses: &Addresses<'_>,
    pki: &DemoPki,
    seeded: Seeded,
) -> anyhow::Result<()> {
    let told = people::told(addresses.operations_url, &seeded.initial_access_token);
    let mut document = document(addresses, pki, seeded.clients);
    if let Value::Object(members) = &mut document {
        members.extend(told.map(|(name, value)| (name.to_owned(), value)));
    }
    let path = state.join("clients.json");
    let aside = path.with_extension("new");
    let _ = fs::remove_file(&aside); // A leftover of a killed run may carry other permissions.
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
    file.write_all(format!("{document:#}\n").as_bytes())?;
    fs::rename(&aside, &path).with_context(|| format!("{} cannot be written", path.display()))
}

fn document(addresses: &Addresses<'_>, pki: &DemoPki, clients: Vec<Value>) -> Value {
    let (public, mtls) = (addresses.public_url, addresses.mtls_url);
    let impostor = |identity: &Identity| {
        json!({
            "certificate_file": identity.certificate, "certificate_key_file": identity.key,
            "impersonates": IMPERSONATED,
        })
    };
    json!({
        "version": 1,
        "issuer": public,
        "discovery_url": format!("{public}/.well-known/openid-configuration"),
        "oauth_metadata_url": format!("{public}/.well-known/oauth-authorization-server"),
        "public_url": public,
        "mtls_url": mtls,
        "operations_url": addresses.operations_url,
        "ca_file": pki.server_ca,
        "partner_ca_file": pki.partner_ca.certificate,
        "clients": clients,
        "certificates": {
            "untrusted_issuer": impostor(&pki.untrusted_client),
            "expired": impostor(&pki.expired_client),
        },
        "apis": apis(public, mtls),
        "scope_refused_by_resource": {
            "scope": "payments", "method": "GET", "url": format!("{public}/open-banking/v4.0/aisp/accounts"),
            "mtls_url": format!("{mtls}/open-banking/v4.0/aisp/accounts"), "expected_status": 403,
            "expected_error": "insufficient_scope",
        },
        "step_up": {
            "scope": "accounts", "method": "GET", "url": format!("{public}{TRANSACTIONS}"), "mtls_url": format!("{mtls}{TRANSACTIONS}"),
            "acr_values": super::people::ACR, "max_age": 300, "expected_status": 401,
            "expected_error": "insufficient_user_authentication",
        },
        "scope_that_does_not_exist": "no-such-scope",
        "resource": { "valid": [public], "invalid": ["https://other.example/api", format!("{public}/other"), "not-a-uri"] },
        "redirect_uris_invalid": [
            "https://attacker.example/callback", "https://localhost:9999/suite-dpop-1/callback/", "http://localhost:9999/callback",
        ],
        "authorization_details": authorization_details(),
        "pages": pages(),
    })
}

/// By which `id` a program finds what on the pages of a visit. They do not change.
fn pages() -> Value {
    json!({
        "sign_in": {
            "form": "sign-in", "username": "username", "password": "password", "submit": "submit", "cancel": "cancel",
            "error": "sign-in-error",
        },
        "approval": { "form": "approval", "approve": "approve", "refuse": "refuse", "switch_user": "switch-user" },
        "error": { "code": "oauth-error", "description": "oauth-error-description" },
        "client_name": "client-name",
    })
}

/// What a test may call, and with which scope. Bound tokens go where their proof is taken.
fn apis(public: &str, mtls: &str) -> Value {
    let api = |path: &str, scope: &str, risk: &str| {
        json!({
            "method": "GET", "url": format!("{public}{path}"), "mtls_url": format!("{mtls}{path}"), "scope": scope,
            "sender_constrained_tokens_only": risk == "regulated",
        })
    };
    json!([
        api("/open-banking/v4.0/aisp/accounts", "accounts", "regulated"),
        api("/open-banking/v4.0/aisp/balances", "accounts", "regulated"),
        api("/fintech/v1/wallets", "wallet:read", "low"),
    ])
}

fn authorization_details() -> Value {
    let payment = json!({
        "type": "payment_initiation",
        "instructedAmount": { "currency": "GBP", "amount": "12.50" },
        "creditorName": "Merchant A",
        "creditorAccount": { "iban": "GB33BUKB20201555555555" },
    });
    let with = |name: &str, value: Value| {
        let mut changed = payment.clone();
        if let Value::Object(members) = &mut changed {
            members.insert(name.to_owned(), value);
        }
        changed
    };
    let accounts = json!({ "type": "account_information", "actions": ["read_accounts", "read_balances"] });
    let bad = |why: &str, value: Value| json!({ "why": why, "authorization_details": value });
    json!({
        "types": DETAIL_TYPES,
        "valid": [[payment], [accounts], [payment, accounts]],
        "invalid": [
            bad("a type that nobody declared", json!([{ "type": "no_such_type" }])),
            bad("no type", json!([{ "actions": ["read_accounts"] }])),
            bad("a field that the type does not know", json!([with("unknownField", json!("x"))])),
            bad("a field of the wrong JSON type", json!([with("creditorName", json!(5))])),
            bad("a value that the type does not allow", json!([{ "type": "account_information", "actions": ["delete_everything"] }])),
            bad("a field that the type demands is missing", json!([{ "type": "payment_initiation", "creditorName": "Merchant A" }])),
            bad("an object, not an array", payment.clone()),
            bad("an empty array", json!([])),
        ],
    })
}
