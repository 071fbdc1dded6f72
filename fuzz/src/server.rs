//! An authorization server in memory, with one registered client whose key is at hand.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use clearway::authn::dpop::{DpopProofs, DpopSettings, NonceMode};
use clearway::authn::{Issuer, Revocations};
use clearway::domain::{Client, ClientId, Clock, Timestamp};
use clearway::jose::{Algorithm, SigningKey};
use clearway::oauth::{
    AuthorizationServer, ClientAuthentication, ClientKeySets, ClientKeys, ClientRegistration, Clients, DetailTypes,
    Directories, DynamicClientStore, DynamicClients, Grant, GrantId, GrantStore, KeyRing, KeyStore, Notification,
    Notifier, OutstandingLimits, OutstandingRequests, Parts, Profile, ReplayStore, RevocationStore, RevokedToken,
    Rules, SecretHash, SenderConstraint, SessionLimits, Settings, StoreError, StoredClient, StoredKey, Visitors,
};
use clearway::outbound::{Outbound, OutboundSettings};
use serde_json::json;

use crate::{NOW, Sevens, Still, partner};

pub const ISSUER: &str = "https://as.example";
pub const CLIENT: &str = "jwt";
pub const LIFETIME_MAX: i64 = 600;
pub const SKEW_MAX: i64 = 30;

#[derive(Default)]
struct Memory {
    keys: Mutex<Vec<StoredKey>>,
    marks: Mutex<HashSet<String>>,
}

#[async_trait]
impl KeyStore for Memory {
    async fn load(&self) -> Result<Vec<StoredKey>, StoreError> {
        Ok(self.keys.lock().unwrap().clone())
    }

    async fn replace(&self, keys: &[StoredKey]) -> Result<(), StoreError> {
        *self.keys.lock().unwrap() = keys.to_vec();
        Ok(())
    }
}

#[async_trait]
impl ReplayStore for Memory {
    async fn mark(&self, _: &ClientId, jti: &str, _: Timestamp, _: Timestamp) -> Result<bool, StoreError> {
        Ok(self.marks.lock().unwrap().insert(jti.to_owned()))
    }

    async fn purge(&self, _: Timestamp) -> Result<(), StoreError> {
        Ok(())
    }
}

#[async_trait]
impl RevocationStore for Memory {
    async fn load(&self) -> Result<Vec<RevokedToken>, StoreError> {
        Ok(Vec::new())
    }

    async fn revoke(&self, _: &RevokedToken) -> Result<(), StoreError> {
        Ok(())
    }

    async fn purge(&self, _: Timestamp) -> Result<(), StoreError> {
        Ok(())
    }
}

/// Nobody has a grant here.
#[async_trait]
impl GrantStore for Memory {
    async fn insert(&self, _: &Grant, _: SecretHash) -> Result<(), StoreError> {
        Ok(())
    }

    async fn find_by_refresh_token(&self, _: SecretHash) -> Result<Option<Grant>, StoreError> {
        Ok(None)
    }

    async fn find(&self, _: &GrantId) -> Result<Option<Grant>, StoreError> {
        Ok(None)
    }

    async fn end(&self, _: &GrantId, _: &RevokedToken) -> Result<(), StoreError> {
        Ok(())
    }

    async fn remove_of_client(&self, _: &ClientId) -> Result<Vec<GrantId>, StoreError> {
        Ok(Vec::new())
    }

    async fn purge(&self, _: Timestamp) -> Result<(), StoreError> {
        Ok(())
    }
}

/// Nobody registers here.
#[async_trait]
impl DynamicClientStore for Memory {
    async fn load(&self) -> Result<Vec<StoredClient>, StoreError> {
        Ok(Vec::new())
    }

    async fn put(&self, _: &StoredClient) -> Result<(), StoreError> {
        Ok(())
    }

    async fn remove(&self, _: &ClientId) -> Result<(), StoreError> {
        Ok(())
    }
}

impl Notifier for Memory {
    fn notify(&self, _: Notification) {}
}

struct Registry(Arc<Client>, Arc<ClientRegistration>);

impl Clients for Registry {
    fn find(&self, id: &ClientId) -> Option<(Arc<Client>, Arc<ClientRegistration>)> {
        (*id == self.0.id).then(|| (Arc::clone(&self.0), Arc::clone(&self.1)))
    }
}

pub struct World {
    pub server: AuthorizationServer,
    pub key: SigningKey,
    pub runtime: tokio::runtime::Runtime,
    memory: Arc<Memory>,
}

impl World {
    pub fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (key, _) = SigningKey::generate(Algorithm::Es256).unwrap();
        let memory = Arc::new(Memory::default());
        let settings = settings();
        let keys = runtime.block_on(KeyRing::open(memory.clone(), &settings, Still.now())).unwrap();
        let outbound = Arc::new(Outbound::new(OutboundSettings::default()).unwrap());
        let rules = Rules { templates: Vec::new(), directories: Directories::default(), clients_max: 0 };
        let opening = DynamicClients::open(memory.clone(), Arc::clone(&outbound), Arc::new(Still), rules);
        let dynamic = Arc::new(runtime.block_on(opening).unwrap());
        let dpop = DpopSettings {
            proof_age_max: Duration::from_secs(60),
            clock_skew_max: settings.clock_skew_max,
            resource_nonces: NonceMode::Off,
            authorization_server_nonces: NonceMode::Off,
        };
        let visitors = Arc::new(Visitors::new(Arc::new(Sevens)));
        let parts = Parts {
            dynamic,
            key_sets: Arc::new(ClientKeySets::new(outbound)),
            dpop: Arc::new(DpopProofs::new(dpop, &Sevens)),
            notifier: memory.clone(),
            subjects: visitors.users.clone(),
            visitors,
            clients: Arc::new(registry(&key)),
            issuer: Issuer::own(&settings.issuer, &settings.resource, keys.published()),
            keys,
            replay: memory.clone(),
            revocation_store: memory.clone(),
            revocations: Arc::new(Revocations::new()),
            grants: memory.clone(),
            outstanding: Arc::new(OutstandingRequests::new(OutstandingLimits {
                all: 100,
                per_tenant: 50,
                per_client: 20,
            })),
            pairwise_salt: Arc::new([9; 32]),
            clock: Arc::new(Still),
            random: Arc::new(Sevens),
        };
        Self { server: AuthorizationServer::new(settings, parts).unwrap(), key, runtime, memory }
    }

    /// Forgets which assertions were used.
    pub fn forget(&self) {
        self.memory.marks.lock().unwrap().clear();
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

fn registry(key: &SigningKey) -> Registry {
    let client = partner::client(CLIENT);
    let registration = ClientRegistration {
        client_id: client.id.clone(),
        authentication: ClientAuthentication::PrivateKeyJwt,
        keys: ClientKeys::inline(&json!({ "keys": [key.public_jwk()] })).unwrap(),
        profile: Profile::Fapi2Security,
        sender_constraint: SenderConstraint::Bearer,
        resource_server: true,
        metadata: Arc::default(),
    };
    Registry(Arc::new(client), Arc::new(registration))
}

fn settings() -> Settings {
    Settings {
        issuer: ISSUER.into(),
        mtls_url: None,
        mtls_listeners: Vec::new(),
        resource: "https://api.example".into(),
        api_resources: vec!["https://api.example/bank".into()],
        access_token_lifetime: Duration::from_secs(300),
        signing_algorithm: Algorithm::Es256,
        key_rotation_period: Duration::from_secs(86_400),
        assertion_lifetime_max: Duration::from_secs(LIFETIME_MAX.unsigned_abs()),
        clock_skew_max: Duration::from_secs(SKEW_MAX.unsigned_abs()),
        request_uri_lifetime: Duration::from_secs(90),
        visit_lifetime: Duration::from_secs(600),
        grant_lifetime: Duration::from_secs(86_400),
        backchannel_lifetime: Duration::from_secs(300),
        backchannel_per_user_max: 10,
        sessions: SessionLimits::DEFAULT,
        acr_values_supported: vec![],
        registration: false,
        detail_types: DetailTypes::default(),
        profiles: vec![Profile::Fapi2Security],
        scopes_supported: vec!["accounts".into(), "payments".into()],
        trusted_issuers: vec![],
    }
}

const _: () = assert!(NOW > LIFETIME_MAX);
