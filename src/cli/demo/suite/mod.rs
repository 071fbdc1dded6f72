//! What an outside conformance suite needs: ready-made clients of every kind, with their private keys, in
//! `clients.json` (mode 0600) and in the demo's own configuration. Both come of the same rows, so they never differ.

mod clients;
mod document;
mod outside;
mod people;
mod told;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};

use self::clients::{Bound, CIBA_CLIENTS, CLIENTS, Method, Suite};
use super::institutions::secret;
use crate::sandbox::pki::{DemoPki, Leaf, ensure_key};

pub(super) use document::{Addresses, TRANSACTIONS, write as write_document};
pub(super) use outside::add as add_outside;

/// The organisation in the suite's certificates.
const ORGANISATION: &str = "Conformance Suite Ltd";
const DETAIL_TYPES: [&str; 2] = ["account_information", "payment_initiation"];

/// One certificate for each client that has one.
pub(super) fn leaves() -> impl Iterator<Item = Leaf> {
    all().filter(|client| has_certificate(client)).map(|client| Leaf::client(client.id, ORGANISATION))
}

/// The client of `tls_client_auth` in whose name the certificates of an untrusted issuer and the expired ones are made:
/// refused they are for what is wrong with them, not for want of a client.
const IMPERSONATED: &str = "suite-mtls-1";

pub(super) fn impersonated() -> Leaf {
    Leaf::client(IMPERSONATED, ORGANISATION)
}

/// Every client, those for decoupled approval last.
fn all() -> impl Iterator<Item = &'static Suite> {
    CLIENTS.iter().chain(CIBA_CLIENTS)
}

fn has_certificate(client: &Suite) -> bool {
    client.method == Method::TlsClientAuth || client.bound == Bound::Certificate
}

fn subject(client: &Suite) -> String {
    format!("CN={},O={ORGANISATION},C=GB", client.id)
}

/// What `clients.json` tells.
pub(super) struct Seeded {
    pub clients: Vec<Value>,
    /// With it, clients are registered.
    initial_access_token: SecretString,
}

/// Makes keys, and writes the configuration of clients, users and registration.
pub(super) fn write_configuration(state: &Path, pki: &DemoPki) -> anyhow::Result<Seeded> {
    let mut configured = Vec::new();
    let mut subscriptions = Vec::new();
    let mut told = Vec::new();
    for client in all() {
        let credentials = credentials(client, pki).with_context(|| format!("{} gets no keys", client.id))?;
        let members = registered(client);
        let mut entry = members.clone();
        entry.insert("id".into(), client.id.into());
        entry.insert("tenant".into(), client.tenant.into());
        entry.insert("name".into(), format!("{} (conformance suite)", client.kind).into());
        entry.insert("scopes".into(), clients::scopes(client).into());
        entry.insert("profile".into(), client.profile.as_str().into());
        entry.insert("certificate_bound_access_tokens".into(), (client.bound == Bound::Certificate).into());
        entry.insert("dpop_bound_access_tokens".into(), (client.bound == Bound::Dpop).into());
        entry.insert("authentication".into(), credentials.configured.clone());
        configured.push(Value::Object(entry));
        subscriptions.extend(
            clients::products(client)
                .iter()
                .map(|product| json!({ "client": client.id, "product": product, "plan": "standard" })),
        );
        told.push(document::client(client, members, &credentials));
    }
    let tenants = [(clients::FIRST, "Conformance Suite Ltd"), (clients::SECOND, "Second Conformance Suite Ltd")];
    let tenants = tenants.map(|(id, name)| {
        json!({ "id": id, "name": name, "jurisdiction": "GB", "licences": ["account-information", "payment-initiation", "credit-intermediation"] })
    });
    put(state, "tenants", "suite", &tenants)?;
    put(state, "clients", "suite", &configured)?;
    put(state, "subscriptions", "suite", &subscriptions)?;
    Ok(Seeded { clients: told, initial_access_token: people::write(state, pki)? })
}

/// One file of a kind: JSON is YAML.
fn put(state: &Path, kind: &str, name: &str, entries: &[Value]) -> anyhow::Result<()> {
    let folder = state.join("config").join(kind);
    fs::create_dir_all(&folder)?;
    let text = format!("{:#}\n", json!({ "version": 1, kind: entries }));
    fs::write(folder.join(format!("{name}.yaml")), text)?;
    Ok(())
}

/// Of what it registered, what is the same in `clients.yaml` and `clients.json`.
fn registered(client: &Suite) -> Map<String, Value> {
    let mut members = Map::new();
    members.insert("grant_types".into(), client.grants.into());
    let redirect_uris = clients::redirect_uris(client);
    if !redirect_uris.is_empty() {
        members.insert("redirect_uris".into(), redirect_uris.into());
    }
    members.insert("authorization_details_types".into(), DETAIL_TYPES.to_vec().into());
    if let Ok(Value::Object(more)) = serde_json::from_str(client.more) {
        members.extend(more);
    }
    members
}

/// What a client proves itself and signs with.
struct Credentials {
    /// The section `authentication` of `clients.yaml`.
    configured: Value,
    key_file: PathBuf,
    public_jwk: Value,
    private_jwk: Value,
    /// Certificate and key.
    certificate: Option<(PathBuf, PathBuf)>,
    secret: Option<SecretString>,
}

fn credentials(client: &Suite, pki: &DemoPki) -> anyhow::Result<Credentials> {
    let (files, key) = ensure_key(&pki.folder, client.id, client.algorithm)?;
    let jwks_file = pki.folder.join(format!("{}.jwks.json", client.id));
    fs::write(&jwks_file, json!({ "keys": [key.public_jwk] }).to_string())?;
    let certificate = pki.clients.get(client.id).map(|identity| (identity.certificate.clone(), identity.key.clone()));
    let mut kept = None;
    let configured = match client.method {
        Method::PrivateKeyJwt => json!({ "method": "private_key_jwt", "jwks_file": jwks_file }),
        Method::TlsClientAuth => {
            json!({ "method": "tls_client_auth", "subject_dn": subject(client), "jwks_file": jwks_file })
        }
        Method::Secret => {
            let name = format!("{}.secret", client.id);
            kept = Some(secret(pki, &name)?);
            json!({ "method": "client_secret_basic", "secret_file": pki.folder.join(name), "jwks_file": jwks_file })
        }
    };
    Ok(Credentials {
        configured,
        key_file: files.private_key,
        private_jwk: key.private_jwk(client.algorithm)?,
        public_jwk: key.public_jwk,
        certificate,
        secret: kept,
    })
}

fn exposed(secret: &SecretString) -> Value {
    secret.expose_secret().into()
}
