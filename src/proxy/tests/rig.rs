//! The gateway itself, from its front door on plain loopback to scripted back ends.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::routing::get;
use http::Method;
use pingora_core::server::configuration::ServerConf;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};

use crate::admission::{Operation, OperationTerms, Snapshot};
use crate::authn::dpop::ExternalUrls;
use crate::authn::{Authenticator, Challenges, Issuer, Revocations};
use crate::contract::{
    BodySpec, Contracts, MediaTypeSpec, Mode, OperationSpec, ResponseSpec, SchemaPointer, StatusRange,
};
use crate::domain::*;
use crate::front::{
    ClientCertificate, ConnectionRefusal, Cut, EdgeLimits, FloodGuard, FloodSettings, Front, FrontEvents, FrontParts,
    HandshakeFailure, ListenerSettings, ListenerTls, Malformed, Trust, TrustedProxies,
};
use crate::hub::{Institution, OperationSet, Partner, Product, Registry, Subscription};
use crate::jose::{Algorithm, KeySet, SigningKey};
use crate::policy::{ActionFacts, PolicySet, PolicySource, World};
use crate::proxy::guard::{GuardSettings, Hosts};
use crate::proxy::{Connections, Ending, Parts, ProxyEvents, RequestFacts};
use crate::quota::{CountedPer, Limit, LimitKind, Plan, Quotas};
use crate::route::{RouteSpec, RouteTable};
use crate::signal::Metrics;
use crate::upstream::testing::{Pki, provider};
use crate::upstream::{Pool, PoolSettings};

const NOW: i64 = 2_000_000_000;
const ISSUER: &str = "https://gateway.example";

struct StoppedClock;

impl Clock for StoppedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(NOW)
    }
}

struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, bytes: &mut [u8]) {
        aws_lc_rs::rand::fill(bytes).unwrap();
    }
}

/// What was recorded, in order.
#[derive(Default)]
pub struct Records {
    all: Mutex<Vec<RequestFacts>>,
    more: Notify,
}

impl ProxyEvents for Records {
    fn reserve(&self) -> bool {
        true
    }

    fn begun(&self) {}

    fn finished(&self, facts: RequestFacts) {
        self.all.lock().unwrap().push(facts);
        self.more.notify_one();
    }
}

impl Records {
    /// The next record.
    pub async fn next(&self) -> RequestFacts {
        let next = async {
            loop {
                if !self.all.lock().unwrap().is_empty() {
                    return self.all.lock().unwrap().remove(0);
                }
                self.more.notified().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), next).await.expect("a record in time")
    }

    /// The next record's ending, status and problem.
    pub async fn summary(&self) -> (Ending, Option<u16>, Option<&'static str>) {
        let facts = self.next().await;
        (facts.ending, facts.status, facts.problem.map(|kind| kind.code()))
    }

    pub fn waiting(&self) -> usize {
        self.all.lock().unwrap().len()
    }
}

struct Quiet;

impl FrontEvents for Quiet {
    fn connection_opened(&self, _: &str) {}
    fn connection_closed(&self, _: &str) {}
    fn connection_refused(&self, _: &str, _: SocketAddr, _: ConnectionRefusal) {}
    fn connection_cut(&self, _: &str, _: SocketAddr, _: Cut) {}
    fn handshake_failed(&self, _: &str, _: SocketAddr, _: &HandshakeFailure) {}
    fn request_malformed(&self, _: &str, _: SocketAddr, _: Malformed) {}
    fn panicked(&self, _: &str) {}
    fn accept_failed(&self, _: &str, _: &std::io::Error) {}
}

/// One operation of the API under `/bank`, which its back ends know as `/v1`.
#[derive(Clone)]
pub struct Op {
    name: &'static str,
    method: Method,
    path: &'static str,
    pub request: Mode,
    pub response: Mode,
    pub timeout: Option<Duration>,
    pub body_bytes_max: Option<u64>,
    pub websocket: bool,
}

impl Op {
    pub fn new(name: &'static str, method: Method, path: &'static str) -> Self {
        Self {
            name,
            method,
            path,
            request: Mode::Off,
            response: Mode::Off,
            timeout: None,
            body_bytes_max: None,
            websocket: false,
        }
    }

    fn id(&self) -> OperationId {
        OperationId::parse(&format!("bank.{}", self.name)).unwrap()
    }

    /// Bodies, where a contract looks at them: `{"amount": "<string>"}` in, `{"id": <integer>, …}` out.
    fn spec(&self) -> OperationSpec {
        let content = |schema: &str| {
            let schema = Some(SchemaPointer(format!("/components/schemas/{schema}")));
            vec![MediaTypeSpec { media_type: "application/json".into(), schema }]
        };
        OperationSpec {
            id: self.id(),
            method: self.method.clone(),
            path: format!("/bank{}", self.path),
            pointer: String::new(),
            parameters: Vec::new(),
            body: (self.method == Method::POST && self.request != Mode::Off)
                .then(|| BodySpec { required: true, content: content("Pay") }),
            responses: vec![ResponseSpec { status: StatusRange::Code(200), content: content("Paid") }],
        }
    }
}

/// Operations that most tests need. `hidden` redacts, `masked` masks.
pub fn ops() -> Vec<Op> {
    let observed = Op { response: Mode::Observe, ..Op::new("observed", Method::GET, "/observed") };
    let enforced = Op { response: Mode::Enforce, ..Op::new("enforced", Method::GET, "/enforced") };
    let strict = Op { request: Mode::Enforce, ..Op::new("strict", Method::GET, "/strict") };
    let paid = Op { request: Mode::Enforce, ..Op::new("pay-checked", Method::POST, "/checked") };
    vec![
        Op::new("read", Method::GET, "/accounts/{id}"),
        Op::new("head", Method::HEAD, "/accounts/{id}"),
        Op::new("pay", Method::POST, "/payments"),
        Op::new("put", Method::PUT, "/payments/{id}"),
        Op::new("hidden", Method::GET, "/hidden"),
        Op::new("hidden-post", Method::POST, "/hidden"),
        Op { websocket: true, ..Op::new("socket", Method::GET, "/socket") },
        observed,
        enforced,
        paid,
        strict,
    ]
}

const POLICIES: &str = r#"
@id("all") permit (principal, action, resource);
@id("hide") @redact("/secret") @header("x-policy: hidden") permit (principal, action == Action::"bank.hidden", resource);
@id("hide-post") @redact("/secret") permit (principal, action == Action::"bank.hidden-post", resource);
"#;

pub struct Rig {
    pub address: SocketAddr,
    pub records: Arc<Records>,
    pub pool: Arc<Pool>,
    /// Of the listener's certificate, if it speaks TLS.
    ca: Option<Vec<u8>>,
    token: String,
    _stop: watch::Sender<bool>,
}

fn limits() -> EdgeLimits {
    let long = Duration::from_secs(30);
    EdgeLimits {
        connections_max: 100,
        connections_per_address_max: 100,
        handshake_timeout: long,
        header_timeout: long,
        idle_timeout: long,
        body_idle_timeout: long,
        body_timeout: long,
        header_bytes_max: 16 * 1024,
        header_count_max: 40,
        uri_bytes_max: 4096,
        body_bytes_max: 64 << 20,
        buffered_bytes_max: 256 * 1024,
        buffered_total_bytes_max: 1 << 24,
        in_flight_per_connection_max: 10,
        in_flight_per_address_max: 100,
        requests_per_connection_max: 1000,
        drain_timeout: long,
        trusted_proxies: TrustedProxies::default(),
    }
}

impl Rig {
    pub async fn start(pool: PoolSettings) -> Self {
        Self::with(pool, ops(), |_| ()).await
    }

    pub async fn with(pool: PoolSettings, ops: Vec<Op>, change: impl FnOnce(&mut EdgeLimits)) -> Self {
        Self::open(pool, ops, change, None).await
    }

    /// Behind TLS, so that HTTP/2 can be spoken.
    pub async fn tls(pool: PoolSettings) -> Self {
        let pki = Pki::new("edge");
        let (certificate_file, private_key_file) = pki.client("gateway", 1);
        let tls = ListenerTls {
            certificate_file,
            private_key_file,
            alternative: None,
            client_certificate: ClientCertificate::None,
        };
        let mut rig = Self::open(pool, ops(), |_| (), Some(tls)).await;
        rig.ca = Some(std::fs::read(&pki.ca_file).unwrap());
        rig
    }

    async fn open(
        pool: PoolSettings,
        ops: Vec<Op>,
        change: impl FnOnce(&mut EdgeLimits),
        tls: Option<ListenerTls>,
    ) -> Self {
        provider();
        let mut limits = limits();
        change(&mut limits);
        let pool = Pool::new(pool, None).map_err(|errors| format!("{errors:?}")).unwrap();
        pool.warm().await;
        let (key, _) = SigningKey::generate(Algorithm::EdDsa).unwrap();
        let share = limits.buffered_total_bytes_max / 4;
        let snapshot = Arc::new(snapshot(&ops, &pool, &key, share));
        let records = Arc::new(Records::default());
        let (clock, random): (Arc<dyn Clock>, Arc<dyn Random>) = (Arc::new(StoppedClock), Arc::new(SystemRandom));
        let front = Front::new(FrontParts {
            limits: limits.clone(),
            trust: Trust::new(&[], HashSet::new()).unwrap(),
            flood: Arc::new(FloodGuard::new(FloodSettings { failures_max: 50, window: Duration::from_secs(60) })),
            events: Arc::new(Quiet),
            clock: Arc::clone(&clock),
            random: Arc::clone(&random),
            public_url: ISSUER.into(),
        });
        let parts = Parts {
            in_force: Box::new(move || Arc::clone(&snapshot)),
            guard: guard(&limits),
            budget: crate::proxy::ByteBudget::new(limits.buffered_total_bytes_max),
            fuses: Arc::default(),
            limits,
            public_url: ISSUER.into(),
            clock,
            random,
            events: Arc::clone(&records) as Arc<dyn ProxyEvents>,
            own: Router::new().route("/usage", get(|| async { "own" })),
        };
        let conf = ServerConf { ca_file: Some(crate::upstream::NO_ROOTS_FILE.into()), ..ServerConf::default() };
        let listener = ListenerSettings { name: "public".into(), address: "127.0.0.1:0".parse().unwrap(), tls };
        let bound = front.bind(&listener).unwrap();
        let address = bound.local_addr();
        let (stop, drain) = watch::channel(false);
        tokio::spawn(front.serve(bound, Arc::new(Connections::new(parts, conf)), drain));
        Self { address, records, pool, ca: None, token: token(&key), _stop: stop }
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", if self.ca.is_some() { "https" } else { "http" }, self.address)
    }

    /// Whoever keeps it keeps its connections.
    pub fn client(&self) -> reqwest::Client {
        let mut client = reqwest::Client::builder().no_proxy();
        if let Some(ca) = &self.ca {
            client = client.tls_certs_only(reqwest::Certificate::from_pem_bundle(ca).unwrap());
        }
        client.build().unwrap()
    }

    /// A request with a valid token, on a connection of its own.
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.send(&self.client(), method, path)
    }

    pub fn send(&self, client: &reqwest::Client, method: Method, path: &str) -> reqwest::RequestBuilder {
        client.request(method, self.url(path)).bearer_auth(&self.token)
    }

    pub async fn get(&self, path: &str) -> reqwest::Response {
        self.request(Method::GET, path).send().await.unwrap()
    }

    /// A connection for bytes of the test's own. `{token}` and `{host}` are filled in.
    pub async fn raw(&self) -> Raw {
        let stream = TcpStream::connect(self.address).await.unwrap();
        Raw { stream, token: self.token.clone(), host: self.address.to_string() }
    }
}

pub struct Raw {
    pub stream: TcpStream,
    token: String,
    host: String,
}

impl Raw {
    pub async fn send(&mut self, text: &str) {
        let text = text.replace("{token}", &format!("Bearer {}", self.token)).replace("{host}", &self.host);
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// Reads until the connection ends.
    pub async fn rest(&mut self) -> String {
        let mut seen = Vec::new();
        let read = self.stream.read_to_end(&mut seen);
        tokio::time::timeout(Duration::from_secs(10), read).await.expect("the end in time").unwrap();
        String::from_utf8(seen).unwrap()
    }

    /// Reads until the text ends so.
    pub async fn until(&mut self, end: &str) -> String {
        let mut seen = Vec::new();
        let read = async {
            while !seen.ends_with(end.as_bytes()) {
                let byte = self.stream.read_u8().await.unwrap_or_else(|_| {
                    panic!("closed after {:?}", String::from_utf8_lossy(&seen));
                });
                seen.push(byte);
            }
        };
        tokio::time::timeout(Duration::from_secs(10), read).await.expect("the answer in time");
        String::from_utf8(seen).unwrap()
    }
}

fn guard(limits: &EdgeLimits) -> GuardSettings {
    GuardSettings {
        hosts: Hosts::any(),
        authority_follows_sni: false,
        header_bytes_max: limits.header_bytes_max,
        header_count_max: limits.header_count_max,
        uri_bytes_max: limits.uri_bytes_max,
        body_idle_timeout: limits.body_idle_timeout,
        trusted_proxies: TrustedProxies::default(),
    }
}

fn token(key: &SigningKey) -> String {
    let claims = json!({
        "iss": ISSUER, "aud": ISSUER, "sub": "app", "client_id": "app", "tenant": "tpp", "jti": "t1", "scope": "accounts",
        "iat": NOW - 10, "exp": NOW + 3600,
    });
    key.sign("at+jwt", &claims).unwrap()
}

fn snapshot(ops: &[Op], pool: &Arc<Pool>, key: &SigningKey, buffered_client_bytes_max: usize) -> Snapshot {
    let scopes = ScopeSet::parse("accounts").unwrap();
    let institution = Arc::new(Institution {
        id: pool.institution().clone(),
        name: "Bank".into(),
        data_jurisdictions: vec![Jurisdiction::parse("GB").unwrap()],
    });
    let quotas = Arc::new(Quotas::new(Arc::new(StoppedClock)));
    let keys = Arc::new(ArcSwap::from_pointee(KeySet::of(vec![key.public_key()])));
    let issuer = Issuer::own(ISSUER, ISSUER, keys);
    let authenticator = Authenticator::new(Some(issuer), Vec::new(), Arc::new(Revocations::new())).unwrap();
    let policies = policies(ops);
    Snapshot {
        revision: "r1".into(),
        routes: routes(ops),
        operations: operations(ops, pool, &institution, &scopes),
        authenticator: Arc::new(authenticator),
        challenges: ByListener::new(Challenges::new(None), None, &[]),
        dpop: crate::authn::dpop::tests::proofs(),
        external_urls: ExternalUrls::by_listener(ISSUER, None, &[]),
        registry: registry(ops, &quotas, &scopes),
        dynamic: None,
        issuer: ISSUER.into(),
        outside_issuers: HashMap::new(),
        registered_certificates: HashSet::new(),
        policy_hash: policies.hash().into(),
        policies,
        quotas,
        pools: vec![Arc::clone(pool)],
        buffered_client_bytes_max,
        buffered_tenant_bytes_max: buffered_client_bytes_max * 2,
    }
}

fn routes(ops: &[Op]) -> RouteTable {
    let spec = |(index, op): (usize, &Op)| RouteSpec {
        method: op.method.clone(),
        path: format!("/bank{}", op.path),
        index: OperationIndex(u32::try_from(index).unwrap()),
        source: op.name.into(),
    };
    let specs: Vec<_> = ops.iter().enumerate().map(spec).collect();
    RouteTable::compile(&specs).map_err(|issues| issues.iter().map(|i| i.to_string()).collect::<Vec<_>>()).unwrap()
}

fn operations(ops: &[Op], pool: &Arc<Pool>, institution: &Arc<Institution>, scopes: &ScopeSet) -> Vec<Operation> {
    let document = Arc::new(json!({ "openapi": "3.1.0", "paths": {}, "components": { "schemas": schemas() } }));
    let specs: Vec<_> = ops.iter().map(Op::spec).collect();
    let (contracts, issues) = Contracts::compile(&document, &specs);
    assert!(issues.is_empty(), "{issues:?}");
    let metrics = Metrics::new("test");
    let compiled = ops.iter().zip(contracts).map(|(op, contract)| Operation {
        id: op.id(),
        institution: Arc::clone(institution),
        contract,
        terms: Arc::new(OperationTerms {
            api: ApiId::parse("bank").unwrap(),
            base_path: "".into(),
            base_path_segments: 1,
            upstream_base_path: "/v1".into(),
            scopes: scopes.clone(),
            request_contract: op.request,
            response_contract: op.response,
            amount: None,
            step_up: None,
            authorization_details_type: None,
            timeout: op.timeout,
            body_bytes_max: op.body_bytes_max,
            websocket: op.websocket,
        }),
        sandbox: Some(Arc::clone(pool)),
        live: None,
        metrics: metrics.operation(&op.id(), &op.method),
    });
    compiled.collect()
}

fn schemas() -> Value {
    json!({
        "Pay": { "type": "object", "required": ["amount"], "properties": { "amount": { "type": "string" } } },
        "Paid": { "type": "object", "required": ["id"], "properties": { "id": { "type": "integer" } } },
    })
}

fn registry(ops: &[Op], quotas: &Quotas, scopes: &ScopeSet) -> Registry {
    let tenant = Arc::new(Tenant {
        id: TenantId::parse("tpp").unwrap(),
        name: "TPP".into(),
        status: PartnerStatus::Active,
        jurisdiction: Jurisdiction::parse("GB").unwrap(),
        licences: Default::default(),
    });
    let client = Arc::new(Client {
        id: ClientId::parse("app").unwrap(),
        tenant: Arc::clone(&tenant),
        name: "App".into(),
        status: PartnerStatus::Active,
        environment: Environment::Sandbox,
        scopes: scopes.clone(),
    });
    let many = NonZeroU32::new(1000).unwrap();
    let kind = LimitKind::Rate { requests: many, per: Duration::from_secs(1), burst: many };
    let limit = Limit { name: "burst".into(), per: CountedPer::Client, kind };
    let plan = quotas.compile(&Plan { id: PlanId::parse("free").unwrap(), limits: vec![limit] }).unwrap();
    let mut operations = OperationSet::default();
    (0..ops.len()).for_each(|index| operations.insert(OperationIndex(u32::try_from(index).unwrap())));
    let interaction_naming = InteractionNaming::Optional;
    let id = ProductId::parse("reading").unwrap();
    let product = Product { id, name: "Reading".into(), risk: Risk::Low, interaction_naming, operations };
    let subscription = Subscription { product: Arc::new(product), plan, environment: Environment::Sandbox };
    let subscriptions = Box::new([subscription]);
    Registry::new([tenant], [Partner { client, issuer: None, interaction_naming, subscriptions }])
}

fn policies(ops: &[Op]) -> PolicySet {
    let institution = InstitutionId::parse("bank").unwrap();
    let actions: Vec<_> = ops
        .iter()
        .map(|op| ActionFacts {
            operation: op.id(),
            api: ApiId::parse("bank").unwrap(),
            institution: institution.clone(),
            method: op.method.to_string(),
            tags: Vec::new(),
            licence_role: None,
        })
        .collect();
    let world = World {
        actions: &actions,
        tenants: &[TenantId::parse("tpp").unwrap()],
        clients: &[ClientId::parse("app").unwrap()],
        products: &[ProductId::parse("reading").unwrap()],
        institutions: &[institution],
    };
    let source = PolicySource { file: "test.cedar".into(), text: POLICIES.into() };
    PolicySet::compile(&[source], &world).map_err(|issues| format!("{issues:?}")).unwrap()
}
