//! Tokens that pass, and every kind that must not: new, remembered, forged, from outside.

mod edge;
mod outside;
mod own;

use std::sync::Arc;

use arc_swap::ArcSwap;
use serde_json::{Value, json};

use super::*;
use crate::domain::{
    ChainTrust, Client, ClientId, Connection, Environment, Jurisdiction, PartnerStatus, PeerCertificate, ScopeSet,
    SubjectAltNames, Tenant, TenantId, Thumbprint, Timestamp,
};
use crate::jose::{Algorithm, KeySet, SigningKey};

pub(crate) const ISSUER: &str = "https://as.example";
pub(crate) const RESOURCE: &str = "https://api.example";

pub(crate) fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

pub(crate) fn new_key() -> SigningKey {
    SigningKey::generate(Algorithm::Es256).unwrap().0
}

pub(crate) fn certificate(seed: u8) -> Arc<PeerCertificate> {
    Arc::new(PeerCertificate {
        der: Arc::from([seed]),
        thumbprint: Thumbprint([seed; 32]),
        subject_der: Arc::from([]),
        subject: String::new(),
        alt_names: SubjectAltNames::default(),
        chain: ChainTrust::Unverified,
    })
}

pub(crate) fn connection(certificate: Option<Arc<PeerCertificate>>) -> Connection {
    Connection { listener: "public".into(), peer: ([127, 0, 0, 1], 9).into(), tls: None, certificate }
}

/// Claims of a token of ours, issued at 1000, expiring at 1300.
pub(crate) fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": RESOURCE, "sub": "tpp", "client_id": "tpp", "tenant": "acme",
        "iat": 1000, "exp": 1300, "jti": "j1", "scope": "accounts payments",
    })
}

fn key_set(keys: &[&SigningKey]) -> KeySet {
    KeySet::of(keys.iter().map(|key| key.public_key()).collect())
}

struct World {
    key: SigningKey,
    published: Arc<ArcSwap<KeySet>>,
    revocations: Arc<Revocations>,
    authenticator: Authenticator,
}

fn world(outside: Vec<IssuerSettings>) -> World {
    let key = new_key();
    let published = Arc::new(ArcSwap::from_pointee(key_set(&[&key])));
    let revocations = Arc::new(Revocations::new());
    let own = Issuer::own(ISSUER, RESOURCE, Arc::clone(&published));
    let authenticator = Authenticator::new(Some(own), outside, Arc::clone(&revocations)).unwrap();
    World { key, published, revocations, authenticator }
}

impl World {
    fn token(&self, claims: &Value) -> String {
        self.key.sign("at+jwt", claims).unwrap()
    }

    async fn check(&self, token: &str, now: i64) -> Result<Arc<VerifiedToken>, AuthnError> {
        self.authenticator.authenticate(token, &connection(None), at(now)).await
    }
}

/// `claims()` with one claim changed; null removes it.
fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    match value {
        Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
        value => claims[name] = value,
    }
    claims
}

type Expectation = fn(&AuthnError) -> bool;

pub(crate) fn client(id: &str, tenant: &str) -> Client {
    let tenant = Tenant {
        id: TenantId::parse(tenant).unwrap(),
        name: tenant.to_owned(),
        status: PartnerStatus::Active,
        jurisdiction: Jurisdiction::parse("GB").unwrap(),
        licences: [].into(),
    };
    Client {
        id: ClientId::parse(id).unwrap(),
        tenant: Arc::new(tenant),
        name: id.to_owned(),
        status: PartnerStatus::Active,
        environment: Environment::Sandbox,
        scopes: ScopeSet::parse("accounts payments").unwrap(),
    }
}
