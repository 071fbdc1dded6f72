//! Clients that registered themselves: an index in memory over what the store keeps, updated in place.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use serde_json::{Map, Value};
use tokio::sync::{Mutex, mpsc};

use super::software_statement::is_name;
use super::{
    ClientAuthentication, ClientRegistration, Clients, Directories, DirectorySettings, Profile, Proof, SecretHash,
    Standing, StoreError, read_metadata,
};
use crate::domain::{
    Client, ClientId, Clock, Environment, Jurisdiction, PartnerStatus, ScopeSet, Tenant, TenantId, Thumbprint,
    Timestamp,
};
use crate::outbound::Outbound;

/// Readers of different clients do not meet.
const SHARDS: usize = 64;
/// Questions to directories that wait; one more is asked at the client's next use.
const QUESTIONS_MAX: usize = 1024;

/// Who may register clients, and what these are given.
#[derive(Debug, Clone)]
pub struct RegistrationTemplate {
    pub id: Arc<str>,
    pub admission: RegistrationAdmission,
    pub profile: Profile,
    pub tenant: TenantRule,
    pub environment: Environment,
    /// The most that its clients may ask for.
    pub scopes: ScopeSet,
    pub clients_max: usize,
    pub clients_per_tenant_max: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistrationAdmission {
    /// RFC 7591 §3: whoever has the token.
    InitialAccessToken(SecretHash),
    /// Software that the directory vouches for by a statement, and that proves itself.
    Directory(Box<DirectorySettings>),
}

/// To which tenant a new client belongs.
#[derive(Debug, Clone)]
pub enum TenantRule {
    Fixed {
        tenant: Arc<Tenant>,
    },
    /// The software statement says so: `{template}.{claim}`, which is never the name of another template's tenant.
    Claim {
        claim: String,
        jurisdiction: Jurisdiction,
    },
}

/// A registration as it is kept.
#[derive(Debug, Clone)]
pub struct StoredClient {
    pub id: ClientId,
    pub template: Arc<str>,
    pub profile: String,
    pub tenant: TenantId,
    /// What was registered, under the names of RFC 7591.
    pub metadata: Map<String, Value>,
    pub secret: Option<SecretHash>,
    pub registration_token: SecretHash,
    pub software: Option<Software>,
    pub status: PartnerStatus,
    pub issued_at: Timestamp,
}

/// The piece of software that a client is, in the words of its directory.
#[derive(Debug, Clone)]
pub struct Software {
    pub directory: Arc<str>,
    pub id: Option<String>,
    /// The software statement, unmodified.
    pub statement: String,
}

/// Where registrations are kept. Durable before a call returns.
#[async_trait]
pub trait DynamicClientStore: Send + Sync {
    async fn load(&self) -> Result<Vec<StoredClient>, StoreError>;
    /// Inserts, or replaces the one of this id.
    async fn put(&self, client: &StoredClient) -> Result<(), StoreError>;
    async fn remove(&self, id: &ClientId) -> Result<(), StoreError>;
}

/// A registered client, ready for use.
pub struct DynamicClient {
    pub stored: Arc<StoredClient>,
    pub client: Arc<Client>,
    pub registration: Arc<ClientRegistration>,
    /// When its directory was asked last, and when it last answered; microseconds.
    asked_at: AtomicI64,
    answered_at: AtomicI64,
}

impl fmt::Debug for DynamicClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynamicClient").field("id", &self.stored.id).finish_non_exhaustive()
    }
}

type Shard = RwLock<HashMap<ClientId, Arc<DynamicClient>>>;

/// All clients that registered themselves.
pub struct DynamicClients {
    shards: Box<[Shard]>,
    hasher: RandomState,
    /// Self-signed certificates that clients registered (RFC 8705 §2.2), with the number of those that did.
    certificates: RwLock<HashMap<Thumbprint, usize>>,
    rules: arc_swap::ArcSwap<Rules>,
    pub(super) store: Arc<dyn DynamicClientStore>,
    pub(super) outbound: Arc<Outbound>,
    clock: Arc<dyn Clock>,
    questions: mpsc::Sender<ClientId>,
    asked: Mutex<mpsc::Receiver<ClientId>>,
    /// One change at a time: limits are exact, and the index follows the store.
    pub(super) changing: Mutex<()>,
}

/// What the configuration in force says about registration.
#[derive(Default)]
pub struct Rules {
    pub templates: Vec<Arc<RegistrationTemplate>>,
    pub directories: Directories,
    pub clients_max: usize,
}

impl Rules {
    pub fn template(&self, id: &str) -> Option<&Arc<RegistrationTemplate>> {
        self.templates.iter().find(|template| &*template.id == id)
    }

    /// The template whose directory has this issuer.
    pub fn of_directory(&self, issuer: &str) -> Option<&Arc<RegistrationTemplate>> {
        self.templates.iter().find(|template| match &template.admission {
            RegistrationAdmission::Directory(directory) => directory.issuer == issuer,
            RegistrationAdmission::InitialAccessToken(_) => false,
        })
    }

    /// The template of an initial access token. All are compared, each in constant time.
    pub fn of_token(&self, token: SecretHash) -> Option<&Arc<RegistrationTemplate>> {
        let matches = |template: &&Arc<RegistrationTemplate>| match template.admission {
            RegistrationAdmission::InitialAccessToken(hash) => hash == token,
            RegistrationAdmission::Directory(_) => false,
        };
        self.templates.iter().fold(None, |found, template| found.or(Some(template).filter(matches)))
    }
}

impl DynamicClients {
    /// Reads what is kept. `rules` come with [`Self::apply`].
    pub async fn open(
        store: Arc<dyn DynamicClientStore>,
        outbound: Arc<Outbound>,
        clock: Arc<dyn Clock>,
        rules: Rules,
    ) -> Result<Self, StoreError> {
        let (questions, asked) = mpsc::channel(QUESTIONS_MAX);
        let shards = (0..SHARDS).map(|_| Shard::default()).collect();
        let rules = arc_swap::ArcSwap::from_pointee(rules);
        let (asked, changing) = (Mutex::new(asked), Mutex::new(()));
        let (hasher, certificates) = (RandomState::new(), RwLock::default());
        let clients = Self { shards, hasher, certificates, rules, store, outbound, clock, questions, asked, changing };
        for stored in clients.store.load().await? {
            clients.keep(Arc::new(stored));
        }
        Ok(clients)
    }

    pub fn rules(&self) -> Arc<Rules> {
        self.rules.load_full()
    }

    /// Takes a new configuration's rules, and reads every client anew under them.
    pub async fn apply(&self, rules: Rules) {
        let _alone = self.changing.lock().await;
        self.rules.store(Arc::new(rules));
        // From the store: what was not usable under the old rules may be under these.
        let stored = match self.store.load().await {
            Ok(stored) => stored.into_iter().map(Arc::new).collect(),
            Err(error) => {
                tracing::warn!(%error, "registered clients cannot be read again; those at hand are taken");
                self.all()
            }
        };
        for stored in stored {
            self.keep(stored);
        }
    }

    /// A client whatever its status.
    pub fn entry(&self, id: &ClientId) -> Option<Arc<DynamicClient>> {
        self.shard(id)?.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// A client that is about to be used: whether its software is in good standing is asked again in time.
    pub fn used(&self, id: &ClientId) -> Option<Arc<DynamicClient>> {
        let entry = self.entry(id)?;
        if self.is_due(&entry) {
            // Full: asked at the next use.
            let _asked_later = self.questions.try_send(id.clone());
        }
        Some(entry)
    }

    /// Whether some client registered this very certificate.
    pub fn has_registered(&self, certificate: &Thumbprint) -> bool {
        self.certificates.read().unwrap_or_else(PoisonError::into_inner).contains_key(certificate)
    }

    /// Keeps count of the certificates when one client's registration takes the place of another.
    fn count_certificates(&self, before: Option<&DynamicClient>, after: Option<&DynamicClient>) {
        let of = |client: Option<&DynamicClient>| match client.map(|client| &client.registration.authentication) {
            Some(ClientAuthentication::SelfSignedTlsClientAuth { certificates }) => certificates.clone(),
            Some(_) | None => Vec::new(),
        };
        let (before, after) = (of(before), of(after));
        if before == after {
            return;
        }
        let mut counts = self.certificates.write().unwrap_or_else(PoisonError::into_inner);
        for certificate in after {
            *counts.entry(certificate).or_default() += 1;
        }
        for certificate in before {
            if let Some(count) = counts.get_mut(&certificate) {
                *count -= 1;
            }
        }
        counts.retain(|_, count| *count > 0);
    }

    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a new client finds room: among all, in its template, its tenant's there, and its software's. So one statement
    /// takes no other software's place. Exact while `changing` is held.
    pub(super) fn has_room(&self, new: &StoredClient, template: &RegistrationTemplate, rules: &Rules) -> bool {
        let same_software = |known: &StoredClient| match (&known.software, &new.software) {
            (Some(known), Some(new)) => known.directory == new.directory && known.id == new.id,
            (None, _) | (_, None) => false,
        };
        let (mut of_template, mut of_tenant, mut of_software) = (0, 0, 0);
        for known in self.all().iter().filter(|known| known.template == new.template) {
            of_template += 1;
            of_tenant += usize::from(known.tenant == new.tenant);
            of_software += usize::from(same_software(known));
        }
        let of_software_max = match &template.admission {
            RegistrationAdmission::Directory(directory) => directory.clients_per_software_max,
            RegistrationAdmission::InitialAccessToken(_) => usize::MAX, // It has no software.
        };
        self.len() < rules.clients_max
            && of_template < template.clients_max
            && of_tenant < template.clients_per_tenant_max
            && of_software < of_software_max
    }

    /// Answers the questions about standing that uses raise, until dropped.
    pub async fn watch_standing(&self) {
        let mut asked = self.asked.lock().await;
        while let Some(id) = asked.recv().await {
            self.renew_standing(&id).await;
        }
    }

    /// Asks the directory, unless that was done meanwhile.
    pub async fn renew_standing(&self, id: &ClientId) {
        let Some(entry) = self.entry(id).filter(|entry| self.is_due(entry)) else { return };
        let rules = self.rules();
        let Some(software) = &entry.stored.software else { return };
        let (Some(directory), Some(software_id)) = (rules.directories.find(&software.directory), &software.id) else {
            return;
        };
        let Some(status) = &directory.settings.status else { return };
        let now = self.clock.now();
        entry.asked_at.store(now.micros(), Ordering::Relaxed);
        let answered_at = Timestamp::from_micros(entry.answered_at.load(Ordering::Relaxed));
        let standing = match status.ask(software_id, &self.outbound).await {
            Standing::Active => PartnerStatus::Active,
            Standing::Inactive => PartnerStatus::Suspended,
            // What was said last counts for a while, and then no more: in doubt, refuse.
            Standing::Unknown if now.since(answered_at) < status.keep_max => return,
            Standing::Unknown => return self.set_status(id, PartnerStatus::Suspended).await,
        };
        entry.answered_at.store(now.micros(), Ordering::Relaxed);
        self.set_status(id, standing).await;
    }

    /// In force at once; kept if the store allows, else it is found out again after a restart.
    async fn set_status(&self, id: &ClientId, status: PartnerStatus) {
        let _alone = self.changing.lock().await;
        let Some(entry) = self.entry(id).filter(|entry| entry.stored.status != status) else { return };
        let stored = StoredClient { status, ..(*entry.stored).clone() };
        tracing::info!(client = %id, status = status.as_str(), "a directory changed a client's standing");
        self.keep(Arc::new(stored.clone()));
        if let Err(error) = self.store.put(&stored).await {
            tracing::warn!(client = %id, %error, "a client's standing is not on disk");
        }
    }

    /// Puts a client into the index. One whose template is gone, or whose metadata no longer read, is not usable.
    pub(super) fn keep(&self, stored: Arc<StoredClient>) {
        let Some(shard) = self.shard(&stored.id) else { return };
        let id = stored.id.clone();
        let before = self.entry(&id);
        let made = self.make(stored, before.as_deref());
        self.count_certificates(before.as_deref(), made.as_ref());
        let mut clients = shard.write().unwrap_or_else(PoisonError::into_inner);
        match made {
            Some(made) => drop(clients.insert(id, Arc::new(made))),
            None => drop(clients.remove(&id)),
        }
    }

    pub(super) fn forget(&self, id: &ClientId) {
        if let Some(shard) = self.shard(id) {
            self.count_certificates(self.entry(id).as_deref(), None);
            shard.write().unwrap_or_else(PoisonError::into_inner).remove(id);
        }
    }

    fn make(&self, stored: Arc<StoredClient>, before: Option<&DynamicClient>) -> Option<DynamicClient> {
        let rules = self.rules();
        let template = rules.template(&stored.template);
        if template.is_none() {
            tracing::warn!(client = %stored.id, template = &*stored.template, "its template is gone: not usable");
        }
        let profile = Profile::parse(&stored.profile)?;
        let read = read_metadata(&stored.metadata, profile, &self.outbound);
        let read = read.inspect_err(|error| tracing::warn!(client = %stored.id, %error, "a kept client is unusable"));
        let read = read.ok()?;
        let authentication = match (read.proof, stored.secret) {
            (Proof::Registered(authentication), _) => authentication,
            (Proof::Secret, Some(secret_hash)) => ClientAuthentication::ClientSecretBasic { secret_hash },
            (Proof::Secret, None) => return None,
        };
        let denied =
            stored.software.as_ref().is_some_and(|software| match rules.directories.find(&software.directory) {
                Some(directory) => software.id.as_deref().is_some_and(|id| directory.denies(id)),
                None => true, // A directory that is not trusted any more vouches for nothing.
            });
        let active = stored.status == PartnerStatus::Active && !denied;
        let template = template?;
        let tenant = template.tenant.read(&stored.tenant)?;
        let asked = read.scopes.unwrap_or_else(|| template.scopes.clone());
        let client = Client {
            id: stored.id.clone(),
            tenant,
            name: read.name.unwrap_or_else(|| stored.id.to_string()),
            status: if active { PartnerStatus::Active } else { PartnerStatus::Suspended },
            environment: template.environment,
            scopes: asked.intersection(&template.scopes),
        };
        let registration = ClientRegistration {
            client_id: stored.id.clone(),
            authentication,
            keys: read.keys,
            profile,
            sender_constraint: read.sender_constraint,
            resource_server: false,
            metadata: Arc::new(read.metadata),
        };
        let at = |pick: fn(&DynamicClient) -> &AtomicI64| {
            AtomicI64::new(before.map_or(0, |before| pick(before).load(Ordering::Relaxed)))
        };
        let (asked_at, answered_at) = (at(|b| &b.asked_at), at(|b| &b.answered_at));
        if before.is_none() {
            // Who registered just now, or before a restart, was in good standing when that was looked at last.
            answered_at.store(self.clock.now().micros(), Ordering::Relaxed);
        }
        Some(DynamicClient {
            stored,
            client: Arc::new(client),
            registration: Arc::new(registration),
            asked_at,
            answered_at,
        })
    }

    fn is_due(&self, entry: &DynamicClient) -> bool {
        let Some(software) = &entry.stored.software else { return false };
        let rules = self.rules.load();
        let status = rules.directories.find(&software.directory).and_then(|known| known.settings.status.as_ref());
        let asked_at = Timestamp::from_micros(entry.asked_at.load(Ordering::Relaxed));
        let now = self.clock.now();
        // A clock that was set back makes it due too.
        software.id.is_some() && status.is_some_and(|status| asked_at > now || now.since(asked_at) >= status.period)
    }

    fn all(&self) -> Vec<Arc<StoredClient>> {
        let shard = |shard: &Shard| -> Vec<Arc<StoredClient>> {
            let clients = shard.read().unwrap_or_else(PoisonError::into_inner);
            clients.values().map(|client| Arc::clone(&client.stored)).collect()
        };
        self.shards.iter().flat_map(shard).collect()
    }

    fn shard(&self, id: &ClientId) -> Option<&Shard> {
        let hash = usize::try_from(self.hasher.hash_one(id) % SHARDS as u64).unwrap_or(0);
        self.shards.get(hash)
    }
}

impl Clients for DynamicClients {
    fn find(&self, id: &ClientId) -> Option<(Arc<Client>, Arc<ClientRegistration>)> {
        let entry = self.used(id)?;
        Some((Arc::clone(&entry.client), Arc::clone(&entry.registration)))
    }
}

impl TenantRule {
    /// The tenant of a new client. `claim` reads a text of the software statement.
    pub(super) fn tenant<'c>(&self, template: &str, claim: impl Fn(&str) -> Option<&'c str>) -> Option<TenantId> {
        match self {
            Self::Fixed { tenant } => Some(tenant.id.clone()),
            Self::Claim { claim: name, .. } => {
                let value = claim(name).filter(|value| is_name(value))?;
                TenantId::parse(&format!("{template}.{value}")).ok()
            }
        }
    }

    /// The tenant of a client that is kept; none if the rule names another by now.
    fn read(&self, id: &TenantId) -> Option<Arc<Tenant>> {
        match self {
            Self::Fixed { tenant } => (tenant.id == *id).then(|| Arc::clone(tenant)),
            Self::Claim { jurisdiction, .. } => Some(Arc::new(Tenant {
                id: id.clone(),
                name: id.to_string(),
                status: PartnerStatus::Active,
                jurisdiction: *jurisdiction,
                licences: std::collections::BTreeSet::new(),
            })),
        }
    }
}
