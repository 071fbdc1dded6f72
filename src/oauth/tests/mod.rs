//! A small authorization server in memory, and what it must and must not do.

mod about_tokens;
mod algorithms;
mod backchannel;
mod by_assertion;
mod by_certificate;
mod by_dpop;
mod by_software;
mod code_flow;
mod documents;
mod ending;
mod grants;
mod registering;
mod ring;
mod userinfo;
mod visits;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::*;
use crate::authn::dpop::{DpopProofs, DpopSettings, NonceMode};
use crate::authn::tests::client;
use crate::authn::{Authenticator, Issuer, Revocations};
use crate::domain::{
    ChainTrust, Client, ClientId, Clock, Connection, PeerCertificate, Random, SubjectAltNames, Thumbprint, Timestamp,
};
use crate::jose::{Algorithm, KeySet, SigningKey};
use crate::outbound::{Outbound, OutboundSettings};

pub(crate) const ISSUER: &str = "https://as.example";
pub(crate) const RESOURCE: &str = "https://api.example";
pub(crate) const MTLS: &str = "https://mtls.as.example";
pub(crate) const NOW: i64 = 1_000_000;

pub(crate) struct FixedClock(AtomicI64);

impl FixedClock {
    pub(crate) fn set(&self, secs: i64) {
        self.0.store(secs, Ordering::SeqCst);
    }
}

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(self.0.load(Ordering::SeqCst))
    }
}

struct Counting(AtomicU64);

impl Random for Counting {
    fn fill(&self, bytes: &mut [u8]) {
        let number = self.0.fetch_add(1, Ordering::SeqCst).to_be_bytes();
        for (byte, source) in bytes.iter_mut().zip(number.iter().cycle()) {
            *byte = *source;
        }
    }
}

/// All stores in memory; `broken` makes each of them fail.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) broken: AtomicBool,
    keys: Mutex<Vec<StoredKey>>,
    replaced: AtomicU64,
    marks: Mutex<HashSet<(String, String)>>,
    revoked: Mutex<HashMap<String, Timestamp>>,
    pub(crate) grants: Mutex<Vec<(Grant, SecretHash)>>,
    pub(crate) notified: Mutex<Vec<Notification>>,
    /// Subjects of users who are not users any more.
    pub(crate) gone: Mutex<HashSet<String>>,
    registered: Mutex<Vec<StoredClient>>,
}

/// Two users, `alice` and `bob`, whose subjects are `user-1` and `user-2`.
impl Subjects for Memory {
    fn by_subject(&self, subject: &str) -> Option<Arc<Subject>> {
        if self.gone.lock().unwrap().contains(subject) {
            return None;
        }
        let (username, email) = match subject {
            "user-1" => ("alice", Some("alice@example.com".to_owned())),
            "user-2" => ("bob", None),
            _ => return None,
        };
        Some(Arc::new(Subject {
            subject: subject.into(),
            username: username.to_owned(),
            name: Some(format!("{username} of Example")),
            given_name: None,
            family_name: None,
            email,
            email_verified: true,
            acr: AcrValues::parse(&["urn:acr:usual", "urn:acr:strong"].map(str::to_owned)).unwrap(),
        }))
    }

    fn by_username(&self, username: &str) -> Option<Arc<Subject>> {
        match username {
            "alice" => self.by_subject("user-1"),
            "bob" => self.by_subject("user-2"),
            _ => None,
        }
    }
}

impl Notifier for Memory {
    fn notify(&self, notification: Notification) {
        self.notified.lock().unwrap().push(notification);
    }
}

impl Memory {
    fn check(&self) -> Result<(), StoreError> {
        if self.broken.load(Ordering::SeqCst) { Err(StoreError::Timeout) } else { Ok(()) }
    }

    fn kids(&self, state: KeyState) -> Vec<String> {
        let keys = self.keys.lock().unwrap();
        keys.iter().filter(|key| key.state == state).map(|key| key.kid.clone()).collect()
    }
}

#[async_trait]
impl KeyStore for Memory {
    async fn load(&self) -> Result<Vec<StoredKey>, StoreError> {
        self.check()?;
        Ok(self.keys.lock().unwrap().clone())
    }

    async fn replace(&self, keys: &[StoredKey]) -> Result<(), StoreError> {
        self.check()?;
        tokio::task::yield_now().await;
        self.replaced.fetch_add(1, Ordering::SeqCst);
        *self.keys.lock().unwrap() = keys.to_vec();
        Ok(())
    }
}

#[async_trait]
impl ReplayStore for Memory {
    async fn mark(&self, client: &ClientId, jti: &str, _: Timestamp, _: Timestamp) -> Result<bool, StoreError> {
        self.check()?;
        tokio::task::yield_now().await;
        Ok(self.marks.lock().unwrap().insert((client.to_string(), jti.to_owned())))
    }

    async fn purge(&self, _: Timestamp) -> Result<(), StoreError> {
        self.check()
    }
}

#[async_trait]
impl RevocationStore for Memory {
    async fn load(&self) -> Result<Vec<RevokedToken>, StoreError> {
        self.check()?;
        let revoked = self.revoked.lock().unwrap();
        Ok(revoked.iter().map(|(jti, expires_at)| RevokedToken { jti: jti.clone(), expires_at: *expires_at }).collect())
    }

    async fn revoke(&self, token: &RevokedToken) -> Result<(), StoreError> {
        self.check()?;
        self.revoked.lock().unwrap().insert(token.jti.clone(), token.expires_at);
        Ok(())
    }

    async fn purge(&self, now: Timestamp) -> Result<(), StoreError> {
        self.check()?;
        self.revoked.lock().unwrap().retain(|_, expires_at| *expires_at > now);
        Ok(())
    }
}

#[async_trait]
impl DynamicClientStore for Memory {
    async fn load(&self) -> Result<Vec<StoredClient>, StoreError> {
        Ok(self.registered.lock().unwrap().clone())
    }

    async fn put(&self, client: &StoredClient) -> Result<(), StoreError> {
        let mut registered = self.registered.lock().unwrap();
        registered.retain(|known| known.id != client.id);
        registered.push(client.clone());
        Ok(())
    }

    async fn remove(&self, id: &ClientId) -> Result<(), StoreError> {
        self.registered.lock().unwrap().retain(|known| known.id != *id);
        Ok(())
    }
}

#[async_trait]
impl GrantStore for Memory {
    async fn insert(&self, grant: &Grant, refresh_token: SecretHash) -> Result<(), StoreError> {
        self.check()?;
        tokio::task::yield_now().await; // Others get their turn, as while a disk is written.
        self.grants.lock().unwrap().push((grant.clone(), refresh_token));
        Ok(())
    }

    async fn find_by_refresh_token(&self, refresh_token: SecretHash) -> Result<Option<Grant>, StoreError> {
        self.check()?;
        let grants = self.grants.lock().unwrap();
        Ok(grants.iter().find(|(_, token)| *token == refresh_token).map(|(grant, _)| grant.clone()))
    }

    async fn find(&self, id: &GrantId) -> Result<Option<Grant>, StoreError> {
        self.check()?;
        Ok(self.grants.lock().unwrap().iter().find(|(grant, _)| grant.id == *id).map(|(grant, _)| grant.clone()))
    }

    async fn end(&self, id: &GrantId, mark: &RevokedToken) -> Result<(), StoreError> {
        RevocationStore::revoke(self, mark).await?;
        self.grants.lock().unwrap().retain(|(grant, _)| grant.id != *id);
        Ok(())
    }

    async fn remove_of_client(&self, client: &ClientId) -> Result<Vec<GrantId>, StoreError> {
        self.check()?;
        let mut grants = self.grants.lock().unwrap();
        let theirs = grants.iter().filter(|(grant, _)| grant.client_id == *client).map(|(grant, _)| grant.id.clone());
        let theirs = theirs.collect();
        grants.retain(|(grant, _)| grant.client_id != *client);
        Ok(theirs)
    }

    async fn purge(&self, now: Timestamp) -> Result<(), StoreError> {
        self.check()?;
        self.grants.lock().unwrap().retain(|(grant, _)| grant.expires_at > now);
        Ok(())
    }
}

#[derive(Default)]
struct Registry(HashMap<ClientId, (Arc<Client>, Arc<ClientRegistration>)>);

impl Clients for Registry {
    fn find(&self, id: &ClientId) -> Option<(Arc<Client>, Arc<ClientRegistration>)> {
        self.0.get(id).cloned()
    }
}

pub(crate) fn settings() -> Settings {
    Settings {
        issuer: ISSUER.into(),
        mtls_url: Some(MTLS.into()),
        mtls_listeners: vec!["mtls".into()],
        resource: RESOURCE.into(),
        api_resources: vec![format!("{RESOURCE}/bank"), format!("{RESOURCE}/shop")],
        access_token_lifetime: Duration::from_secs(300),
        signing_algorithm: Algorithm::Es256,
        key_rotation_period: Duration::from_secs(86_400),
        assertion_lifetime_max: Duration::from_secs(600),
        clock_skew_max: Duration::from_secs(30),
        request_uri_lifetime: Duration::from_secs(90),
        visit_lifetime: Duration::from_secs(600),
        sessions: SessionLimits::DEFAULT,
        acr_values_supported: vec![],
        backchannel_lifetime: Duration::from_secs(300),
        backchannel_per_user_max: 10,
        grant_lifetime: Duration::from_secs(90 * 86_400),
        detail_types: DetailTypes::default(),
        profiles: vec![Profile::Fapi2Security],
        registration: false,
        scopes_supported: vec!["accounts".into(), "payments".into()],
        trusted_issuers: vec![],
    }
}

pub(crate) struct World {
    pub(crate) server: Arc<AuthorizationServer>,
    pub(crate) authenticator: Authenticator,
    pub(crate) memory: Arc<Memory>,
    pub(crate) clock: Arc<FixedClock>,
    /// The private key of the client `jwt`.
    pub(crate) key: SigningKey,
    pub(crate) dynamic: Arc<DynamicClients>,
}

/// Configured clients first, then those that registered themselves.
struct Both<C>(C, Arc<DynamicClients>);

impl<C: Clients> Clients for Both<C> {
    fn find(&self, id: &ClientId) -> Option<(Arc<Client>, Arc<ClientRegistration>)> {
        self.0.find(id).or_else(|| self.1.find(id))
    }
}

/// Registered clients: `jwt` (private_key_jwt), `dn` and `dns` (tls_client_auth), `self` (self-signed, certificate 7),
/// `bound` (as `jwt`, with bound tokens), `rs` (a resource server, as `self`, certificate 8), `idle` and `stopped`
/// (suspended, or of a suspended tenant; otherwise as `jwt`).
pub(crate) async fn world() -> World {
    world_with(settings()).await
}

pub(crate) async fn world_with(settings: Settings) -> World {
    world_asking(settings, NonceMode::Off).await
}

/// With or without nonces of the server's own in DPoP proofs.
pub(crate) async fn world_asking(settings: Settings, nonces: NonceMode) -> World {
    let (key, _) = SigningKey::generate(Algorithm::Es256).unwrap();
    let memory = Arc::new(Memory::default());
    let clock = Arc::new(FixedClock(AtomicI64::new(NOW)));
    let keys = KeyRing::open(memory.clone(), &settings, clock.now()).await.unwrap();
    let issuer = Issuer::own(&settings.issuer, &settings.resource, keys.published());
    let revocations = Arc::new(Revocations::new());
    let dpop = DpopSettings {
        proof_age_max: Duration::from_secs(60),
        clock_skew_max: settings.clock_skew_max,
        resource_nonces: NonceMode::Off,
        authorization_server_nonces: nonces,
    };
    let rules = registering::rules();
    let outbound = Arc::new(Outbound::new(OutboundSettings::default()).unwrap());
    let dynamic = DynamicClients::open(memory.clone(), Arc::clone(&outbound), clock.clone(), rules).await.unwrap();
    let dynamic = Arc::new(dynamic);
    let clients = Both(registry(&key), Arc::clone(&dynamic));
    let parts = Parts {
        clients: Arc::new(clients),
        dynamic: Arc::clone(&dynamic),
        keys,
        issuer: Arc::clone(&issuer),
        replay: memory.clone(),
        revocation_store: memory.clone(),
        revocations: Arc::clone(&revocations),
        clock: clock.clone(),
        random: Arc::new(Counting(AtomicU64::new(0))),
        key_sets: Arc::new(ClientKeySets::new(outbound)),
        grants: memory.clone(),
        outstanding: Arc::new(OutstandingRequests::new(OutstandingLimits { all: 100, per_tenant: 50, per_client: 20 })),
        subjects: memory.clone(),
        notifier: memory.clone(),
        pairwise_salt: Arc::new([9; 32]),
        dpop: Arc::new(DpopProofs::new(dpop, &Counting(AtomicU64::new(0)))),
        visitors: Arc::new(Visitors::new(Arc::new(Counting(AtomicU64::new(1 << 32))))),
    };
    let server = Arc::new(AuthorizationServer::new(settings, parts).unwrap());
    let authenticator = Authenticator::new(Some(issuer), vec![], revocations).unwrap();
    World { server, authenticator, memory, clock, key, dynamic }
}

fn registry(key: &SigningKey) -> Registry {
    let jwks = json!({ "keys": [key.public_jwk()] });
    let keys = || ClientKeys::inline(&jwks).unwrap();
    let by_jwt = || ClientAuthentication::PrivateKeyJwt;
    let dn = DistinguishedName::parse("CN=tpp,C=GB").unwrap();
    let by_thumbprint =
        |seed| ClientAuthentication::SelfSignedTlsClientAuth { certificates: vec![Thumbprint([seed; 32])] };
    let mut registry = Registry::default();
    let mut add = |id: &str, authentication, bound, change: fn(&mut Client)| {
        let mut client = client(id, "acme");
        change(&mut client);
        let registration = ClientRegistration {
            resource_server: id == "rs",
            sender_constraint: if bound { SenderConstraint::Certificate } else { SenderConstraint::Bearer },
            ..registration(&client.id, authentication, keys())
        };
        registry.0.insert(client.id.clone(), (Arc::new(client), Arc::new(registration)));
    };
    add("jwt", by_jwt(), false, |_| ());
    add("bound", by_jwt(), true, |_| ());
    add("idle", by_jwt(), false, |client| client.status = crate::domain::PartnerStatus::Suspended);
    add("stopped", by_jwt(), false, |client| {
        Arc::make_mut(&mut client.tenant).status = crate::domain::PartnerStatus::Suspended;
    });
    add("dn", ClientAuthentication::TlsClientAuth(TlsSubject::Dn(dn)), true, |_| ());
    add("dns", ClientAuthentication::TlsClientAuth(TlsSubject::SanDns("tpp.example".into())), true, |_| ());
    add("self", by_thumbprint(7), true, |_| ());
    add("rs", by_thumbprint(8), false, |_| ());
    registry
}

/// Of a client of `client_credentials` with bearer tokens.
pub(crate) fn registration(
    id: &ClientId,
    authentication: ClientAuthentication,
    keys: ClientKeys,
) -> ClientRegistration {
    ClientRegistration {
        client_id: id.clone(),
        authentication,
        keys,
        profile: Profile::Fapi2Security,
        sender_constraint: SenderConstraint::Bearer,
        resource_server: false,
        metadata: Arc::default(),
    }
}

/// CN=tpp,C=GB as DER.
pub(crate) const SUBJECT: [u8; 29] = [
    0x30, 27, 0x31, 11, 0x30, 9, 6, 3, 0x55, 4, 6, 19, 2, b'G', b'B', 0x31, 12, 0x30, 10, 6, 3, 0x55, 4, 3, 12, 3,
    b't', b'p', b'p',
];

pub(crate) fn certificate(seed: u8, chain: ChainTrust) -> PeerCertificate {
    PeerCertificate {
        der: Arc::from([seed]),
        thumbprint: Thumbprint([seed; 32]),
        subject_der: Arc::from(SUBJECT),
        subject: "CN=tpp,C=GB".into(),
        alt_names: SubjectAltNames { dns: vec!["tpp.example".into()], ..SubjectAltNames::default() },
        chain,
    }
}

pub(crate) fn connection(certificate: Option<PeerCertificate>) -> Connection {
    crate::authn::tests::connection(certificate.map(Arc::new))
}

pub(crate) fn form_headers() -> HeaderMap {
    HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"))])
}

/// A form with these parameters.
pub(crate) fn form(parameters: &[(&str, &str)]) -> super::form::Form {
    super::form::Form::parse(&form_headers(), encode(parameters).as_bytes()).unwrap()
}

pub(crate) fn encode(parameters: &[(&str, &str)]) -> String {
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let pairs: Vec<_> = parameters.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    pairs.join("&")
}

/// A world in which requests of one client wait for `alice`.
pub(crate) async fn asked_world(count: usize) -> (World, Vec<String>) {
    let world = backchannel::ciba_world().await;
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(world.asked_to("poll", "Pay <b>").await);
    }
    (world, ids)
}

impl World {
    /// Claims of an assertion that is good now; `jti` makes it unique.
    pub(crate) fn assertion_claims(&self, client: &str, jti: &str) -> Value {
        let now = self.clock.now().secs();
        json!({ "iss": client, "sub": client, "aud": ISSUER, "iat": now, "exp": now + 60, "jti": jti })
    }

    pub(crate) fn assertion(&self, client: &str, jti: &str) -> String {
        self.key.sign("JWT", &self.assertion_claims(client, jti)).unwrap()
    }

    pub(crate) async fn post_token(
        &self,
        parameters: &[(&str, &str)],
        connection: &Connection,
    ) -> Result<Answer<TokenResponse>, OAuthError> {
        let (headers, body) = (form_headers(), encode(parameters));
        self.server.token(Request { headers: &headers, body: body.as_bytes(), connection }).await
    }

    /// A token by assertion, with further parameters.
    pub(crate) async fn token_of(
        &self,
        assertion: &str,
        more: &[(&str, &str)],
    ) -> Result<Answer<TokenResponse>, OAuthError> {
        let mut parameters = with_assertion(assertion);
        parameters.push(("grant_type", "client_credentials"));
        parameters.extend(more);
        self.post_token(&parameters, &connection(None)).await
    }
}

pub(crate) const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

pub(crate) fn with_assertion(assertion: &str) -> Vec<(&str, &str)> {
    vec![("client_assertion_type", JWT_BEARER), ("client_assertion", assertion)]
}

/// The claims of a token that we signed, verified with the published keys.
pub(crate) fn read(world: &World, token: &str) -> (crate::jose::Header, Value) {
    let jwks: Value = serde_json::from_slice(&world.server.jwks()).unwrap();
    let keys = KeySet::parse(&jwks, &[Algorithm::Es256, Algorithm::Ps256, Algorithm::EdDsa]).unwrap().keys;
    let verified = keys.verify(crate::jose::UnverifiedToken::parse(token).unwrap()).unwrap();
    let names = ["iss", "sub", "aud", "client_id", "tenant", "iat", "exp", "jti", "scope", "cnf"];
    let claims = names.iter().filter_map(|name| Some(((*name).to_owned(), verified.claims.get(name)?.clone())));
    (verified.header.clone(), Value::Object(claims.collect()))
}
