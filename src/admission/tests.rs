//! Who passes, who does not, in which order, and at what price.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderValue, Method, header};
use serde_json::json;

use super::*;
use crate::authn::dpop::ExternalUrls;
use crate::authn::{Authenticator, Challenges, Issuer, Revocations, Scheme};
use crate::contract::{
    Body, BodySpec, Contracts, MediaTypeSpec, Mode, OperationSpec, ParameterPlace, ParameterSpec, SchemaPointer, Style,
    parse_body,
};
use crate::domain::*;
use crate::hub::{ImplicitPartners, Institution, Partner, Product, Registry, Subscription, Template};
use crate::jose::{Algorithm, KeySet, SigningKey};
use crate::policy::{ActionFacts, PolicySet, PolicySource, World};
use crate::quota::{CountedPer, Limit, LimitKind, Plan, Quotas};
use crate::route::{RouteSpec, RouteTable};
use crate::signal::Metrics;
use crate::upstream::testing::{provider, settings};
use crate::upstream::{InFlight, Pool};

const NOW: i64 = 2_000_000_000;
const OURS: &str = "https://gateway.example";
const OTHERS: &str = "https://idp.example/realms/a";

struct StoppedClock;

impl Clock for StoppedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(NOW)
    }
}

fn now() -> Timestamp {
    StoppedClock.now()
}

/// What a test changes of the world.
struct Stage {
    policies: &'static str,
    risk: Risk,
    /// Requests per day.
    quota: u32,
    mode: Mode,
    in_flight_max: u32,
    environment: Environment,
    tenant: PartnerStatus,
    /// The issuer that speaks for the registered client, if it is not ours.
    speaks: Option<&'static str>,
    /// Who names exchanges, by the profile of the product and of the client.
    naming: [InteractionNaming; 2],
    /// Whether the product contains all operations, or all but `bank.elsewhere`.
    everything: bool,
}

const PERMIT_ALL: &str = "@id(\"all\") permit (principal, action, resource);";

impl Default for Stage {
    fn default() -> Self {
        Self {
            policies: PERMIT_ALL,
            risk: Risk::Low,
            quota: 100,
            mode: Mode::Enforce,
            in_flight_max: 100,
            environment: Environment::Sandbox,
            tenant: PartnerStatus::Active,
            speaks: None,
            naming: Default::default(),
            everything: false,
        }
    }
}

struct Scene {
    snapshot: Arc<Snapshot>,
    ours: SigningKey,
    others: SigningKey,
    connection: Connection,
}

impl Stage {
    fn set(self) -> Scene {
        provider();
        let (ours, _) = SigningKey::generate(Algorithm::EdDsa).unwrap();
        let (others, _) = SigningKey::generate(Algorithm::EdDsa).unwrap();
        let mut backends = settings(&["http://127.0.0.1:1".to_owned()]);
        backends.in_flight_max = self.in_flight_max;
        let pool = Pool::new(backends, None).map_err(|errors| format!("{errors:?}")).unwrap();
        let snapshot = Arc::new(self.snapshot(&ours, &others, &pool));
        let peer = "192.0.2.1:4711".parse().unwrap();
        let connection = Connection { listener: "public".into(), peer, tls: None, certificate: None };
        Scene { snapshot, ours, others, connection }
    }

    fn snapshot(&self, ours: &SigningKey, others: &SigningKey, pool: &Arc<Pool>) -> Snapshot {
        let quotas = Arc::new(Quotas::new(Arc::new(StoppedClock)));
        let institution = Arc::new(Institution {
            id: pool.institution().clone(),
            name: "Bank".into(),
            data_jurisdictions: vec![Jurisdiction::parse("GB").unwrap()],
        });
        let keys = |key: &SigningKey| Arc::new(ArcSwap::from_pointee(KeySet::of(vec![key.public_key()])));
        let issuer = Issuer::own(OURS, OURS, keys(ours));
        let folder = tempfile::tempdir().unwrap();
        let outside = outside(others, folder.path());
        let authenticator = Authenticator::new(Some(issuer), vec![outside], Arc::new(Revocations::new())).unwrap();
        let policies = self.policies(&institution.id);
        let subscription = self.subscription(&quotas);
        let template = Template {
            subscription: subscription.clone(),
            environment: Environment::Sandbox,
            jurisdiction: Jurisdiction::parse("GB").unwrap(),
        };
        let partners = ImplicitPartners::new(OTHERS, template);
        Snapshot {
            revision: "r1".into(),
            routes: RouteTable::compile(&[
                route(Method::GET, "/bank/accounts/{id}", 0),
                route(Method::POST, "/bank/pay", 1),
                route(Method::GET, "/bank/elsewhere", 2),
            ])
            .unwrap(),
            operations: operations(self.mode, &institution, pool),
            authenticator: Arc::new(authenticator),
            challenges: ByListener::new(Challenges::new(None), None, &[]),
            dpop: crate::authn::dpop::tests::proofs(),
            external_urls: ExternalUrls::by_listener(OURS, None, &[]),
            registry: self.registry(subscription),
            dynamic: None,
            issuer: OURS.into(),
            outside_issuers: HashMap::from([(OTHERS.to_owned(), OutsideIssuer { partners })]),
            registered_certificates: HashSet::new(),
            policy_hash: policies.hash().into(),
            policies,
            quotas,
            pools: vec![Arc::clone(pool)],
            buffered_client_bytes_max: 1 << 20,
            buffered_tenant_bytes_max: 1 << 20,
        }
    }

    fn policies(&self, institution: &InstitutionId) -> PolicySet {
        let action = |name: &str| ActionFacts {
            operation: OperationId::parse(name).unwrap(),
            api: ApiId::parse("bank").unwrap(),
            institution: institution.clone(),
            method: "GET".into(),
            tags: Vec::new(),
            licence_role: None,
        };
        let world = World {
            actions: &["bank.read", "bank.pay", "bank.elsewhere"].map(action),
            tenants: &[TenantId::parse("tpp").unwrap()],
            clients: &[ClientId::parse("app").unwrap()],
            products: &[ProductId::parse("banking").unwrap()],
            institutions: std::slice::from_ref(institution),
        };
        let source = PolicySource { file: "all.cedar".into(), text: self.policies.to_owned() };
        PolicySet::compile(&[source], &world).map_err(|issues| format!("{issues:?}")).unwrap()
    }

    fn subscription(&self, quotas: &Quotas) -> Subscription {
        let requests = NonZeroU32::new(self.quota).unwrap();
        let kind = LimitKind::Rate { requests, per: Duration::from_secs(86_400), burst: requests };
        let limit = Limit { name: "daily".into(), per: CountedPer::Client, kind };
        let plan = quotas.compile(&Plan { id: PlanId::parse("plan").unwrap(), limits: vec![limit] }).unwrap();
        let product = Product {
            id: ProductId::parse("banking").unwrap(),
            name: "Banking".into(),
            risk: self.risk,
            interaction_naming: self.naming[0],
            operations: (0..if self.everything { 3 } else { 2 }).map(OperationIndex).collect(),
        };
        Subscription { product: Arc::new(product), plan, environment: self.environment }
    }

    fn registry(&self, subscription: Subscription) -> Registry {
        let tenant = Arc::new(Tenant {
            id: TenantId::parse("tpp").unwrap(),
            name: "TPP".into(),
            status: self.tenant,
            jurisdiction: Jurisdiction::parse("GB").unwrap(),
            licences: Default::default(),
        });
        let client = Client {
            id: ClientId::parse("app").unwrap(),
            tenant: Arc::clone(&tenant),
            name: "App".into(),
            status: PartnerStatus::Active,
            environment: Environment::Sandbox,
            scopes: ScopeSet::default(),
        };
        let issuer = self.speaks.map(Arc::from);
        let (client, subscriptions) = (Arc::new(client), Box::new([subscription]) as Box<_>);
        Registry::new([tenant], [Partner { client, issuer, interaction_naming: self.naming[1], subscriptions }])
    }
}

fn outside(key: &SigningKey, folder: &std::path::Path) -> crate::authn::IssuerSettings {
    let file = folder.join("jwks.json");
    std::fs::write(&file, json!({ "keys": [key.public_jwk()] }).to_string()).unwrap();
    crate::authn::IssuerSettings {
        issuer: OTHERS.into(),
        jwks: crate::authn::JwksSource::File(file),
        audiences: vec![OURS.into()],
        client_claim: "client_id".into(),
        tenant_claim: Some("tenant".into()),
        scope_claim: "scope".into(),
        algorithms: vec![Algorithm::EdDsa],
        require_at_jwt: true,
        unknown_partners: crate::authn::UnknownPartners::Refuse,
    }
}

fn route(method: Method, path: &str, index: u32) -> RouteSpec {
    RouteSpec { method, path: path.into(), index: OperationIndex(index), source: path.into() }
}

fn operations(mode: Mode, institution: &Arc<Institution>, pool: &Arc<Pool>) -> Vec<Operation> {
    let pay = json!({ "type": "object", "required": ["amount", "currency"] });
    let document = Arc::new(json!({ "components": { "schemas": { "Pay": pay, "Id": { "type": "integer" } } } }));
    let schema = |name: &str| Some(SchemaPointer(format!("/components/schemas/{name}")));
    let spec = |name: &str, method: Method, path: &str| OperationSpec {
        id: OperationId::parse(name).unwrap(),
        method,
        path: path.into(),
        pointer: String::new(),
        parameters: Vec::new(),
        body: None,
        responses: Vec::new(),
    };
    let mut read = spec("bank.read", Method::GET, "/bank/accounts/{id}");
    read.parameters.push(ParameterSpec {
        place: ParameterPlace::Path,
        name: "id".into(),
        required: true,
        style: Style::Simple,
        explode: false,
        schema: schema("Id"),
        media_type: None,
    });
    let content = vec![MediaTypeSpec { media_type: "application/json".into(), schema: schema("Pay") }];
    let mut paid = spec("bank.pay", Method::POST, "/bank/pay");
    paid.body = Some(BodySpec { required: true, content });
    let specs = [read, paid, spec("bank.elsewhere", Method::GET, "/bank/elsewhere")];
    let (contracts, issues) = Contracts::compile(&document, &specs);
    assert!(issues.is_empty(), "{issues:?}");
    let metrics = Metrics::new("test");
    let compiled = specs.iter().zip(contracts).map(|(spec, contract)| Operation {
        id: spec.id.clone(),
        institution: Arc::clone(institution),
        contract,
        terms: Arc::new(OperationTerms {
            api: ApiId::parse("bank").unwrap(),
            base_path: "/bank".into(),
            base_path_segments: 1,
            upstream_base_path: "/v1".into(),
            scopes: ScopeSet::parse("accounts").unwrap(),
            request_contract: mode,
            response_contract: Mode::Off,
            amount: (spec.id.as_str() == "bank.pay")
                .then(|| AmountAt { amount: "/amount".into(), currency: "/currency".into() }),
            step_up: None,
            authorization_details_type: (spec.id.as_str() == "bank.elsewhere").then(|| "payment".into()),
            timeout: None,
            body_bytes_max: None,
            websocket: false,
        }),
        sandbox: Some(Arc::clone(pool)),
        live: None,
        metrics: metrics.operation(&spec.id, &spec.method),
    });
    compiled.collect()
}

impl Scene {
    fn token(&self, changes: &[(&str, serde_json::Value)]) -> String {
        let mut claims = json!({
            "iss": OURS, "aud": OURS, "sub": "app", "client_id": "app", "tenant": "tpp", "jti": "t1",
            "scope": "accounts", "iat": NOW - 10, "exp": NOW + 3600,
        });
        for (name, value) in changes {
            claims[*name] = value.clone();
        }
        let key = if claims["iss"] == OURS { &self.ours } else { &self.others };
        key.sign("at+jwt", &claims).unwrap()
    }

    fn read(&self) -> Result<Admitted, &'static str> {
        self.ask(&self.token(&[]), Method::GET, "/bank/accounts/1", "")
    }

    fn pay(&self, body: &str) -> Result<Admitted, &'static str> {
        self.ask(&self.token(&[]), Method::POST, "/bank/pay", body)
    }

    /// The kind of problem, if it does not pass.
    fn ask(&self, token: &str, method: Method, path: &str, body: &str) -> Result<Admitted, &'static str> {
        self.ask_with(HeaderMap::new(), token, method, path, body)
    }

    fn ask_with(
        &self,
        mut headers: HeaderMap,
        token: &str,
        method: Method,
        path: &str,
        body: &str,
    ) -> Result<Admitted, &'static str> {
        headers.insert(header::AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {token}")).unwrap());
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let head = Head { method: &method, path, query: None, headers: &headers, connection: &self.connection };
        let code = |rejection: Rejection| {
            rejection.problem(self.snapshot.challenges.of(&self.connection), Scheme::Bearer).kind.code()
        };
        let pending = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let pending = pending.block_on(admit_head(&self.snapshot, &head, now())).map_err(code)?;
        let body = parse_body(Some("application/json"), body.as_bytes()).unwrap_or(Body::Opaque);
        pending.admit(&head, &body, now()).map_err(code)
    }
}

const FIVE_POUNDS: &str = r#"{"amount":"5.00","currency":"GBP"}"#;

#[test]
fn who_may_passes_and_holds_its_place_until_the_end() {
    let scene = Stage { in_flight_max: 1, ..Stage::default() }.set();
    let admitted = scene.read().unwrap_or_else(|code| panic!("{code}"));
    assert_eq!(admitted.operation().unwrap().id.as_str(), "bank.read");
    assert_eq!(scene.read().err(), Some("overloaded"), "the one place is taken");
    drop(admitted);
    assert_eq!(scene.read().err(), None, "and free again");
}

#[test]
fn each_question_has_its_refusal() {
    let scene = Stage::default().set();
    let token = scene.token(&[]);
    for (name, token, method, path, body, expected) in [
        ("a path in two readings", &token, Method::GET, "/bank//accounts/1", "", "malformed-request"),
        ("no such path", &token, Method::GET, "/bank/nothing", "", "no-such-resource"),
        ("no such method", &token, Method::DELETE, "/bank/pay", "", "method-not-allowed"),
        (
            "an expired token",
            &scene.token(&[("exp", (NOW - 1).into())]),
            Method::GET,
            "/bank/accounts/1",
            "",
            "token-invalid",
        ),
        (
            "another's audience",
            &scene.token(&[("aud", "https://other.example".into())]),
            Method::GET,
            "/bank/accounts/1",
            "",
            "token-invalid",
        ),
        (
            "an unknown client",
            &scene.token(&[("client_id", "nobody".into())]),
            Method::GET,
            "/bank/accounts/1",
            "",
            "token-invalid",
        ),
        (
            "another's tenant",
            &scene.token(&[("tenant", "other".into())]),
            Method::GET,
            "/bank/accounts/1",
            "",
            "token-invalid",
        ),
        ("not subscribed", &token, Method::GET, "/bank/elsewhere", "", "not-subscribed"),
        ("no scope", &scene.token(&[("scope", "other".into())]), Method::GET, "/bank/accounts/1", "", "scope-missing"),
        ("a parameter out of contract", &token, Method::GET, "/bank/accounts/x", "", "contract-violated"),
        ("a body out of contract", &token, Method::POST, "/bank/pay", "[]", "contract-violated"),
        ("a body where none is taken", &token, Method::GET, "/bank/accounts/1", "{}", "contract-violated"),
    ] {
        assert_eq!(scene.ask(token, method, path, body).err(), Some(expected), "{name}");
    }
}

/// Open Finance Brasil BR-AS-23; FAPI 1.0 Baseline §6.2.1-11 elsewhere.
#[test]
fn who_must_name_the_exchange_does_so_once_and_by_a_uuid() {
    use InteractionNaming::{Optional, Required};
    let uuid = "93bac548-d2de-4546-b106-880a5018460d";
    for naming in [[Optional, Optional], [Required, Optional], [Optional, Required], [Required, Required]] {
        let scene = Stage { naming, ..Stage::default() }.set();
        let token = scene.token(&[]);
        for (name, ids, named) in [
            ("a UUID", &[uuid][..], true),
            ("in capitals", &["93BAC548-D2DE-4546-B106-880A5018460D"], true),
            ("nothing", &[], false),
            ("an empty one", &[""], false),
            ("a text", &["my-call-1"], false),
            ("a UUID in braces", &["{93bac548-d2de-4546-b106-880a5018460d}"], false),
            ("no hyphens", &["93bac548d2de4546b106880a5018460d"], false),
            ("two", &[uuid, uuid], false),
        ] {
            let mut headers = HeaderMap::new();
            for id in ids {
                headers.append("x-fapi-interaction-id", HeaderValue::from_str(id).unwrap());
            }
            let asked = scene.ask_with(headers, &token, Method::GET, "/bank/accounts/1", "");
            let demanded = naming.contains(&Required);
            assert_eq!(asked.err(), (demanded && !named).then_some("interaction-unnamed"), "{name}, {naming:?}");
        }
    }
}

/// RFC 9396 §9: what was granted decides, whoever made the token.
#[test]
fn an_operation_may_demand_details_of_a_type() {
    let scene = Stage { everything: true, ..Stage::default() }.set();
    let details = |details: serde_json::Value| scene.token(&[("authorization_details", details)]);
    let missing = Some("authorization-details-missing");
    for (name, token, expected) in [
        ("of the type", details(json!([{ "type": "payment", "amount": "1.00" }])), None),
        ("among others", details(json!([{ "type": "account" }, { "type": "payment" }])), None),
        ("none", scene.token(&[]), missing),
        ("an empty list", details(json!([])), missing),
        ("of another type", details(json!([{ "type": "payments" }, { "type": "Payment" }])), missing),
        ("a type that is a list", details(json!([{ "type": ["payment"] }])), missing),
        ("a text and not an object", details(json!(["payment"])), missing),
        ("deeper down", details(json!([{ "type": "account", "more": { "type": "payment" } }])), missing),
    ] {
        assert_eq!(scene.ask(&token, Method::GET, "/bank/elsewhere", "").err(), expected, "{name}");
    }
    assert_eq!(scene.read().err(), None, "another operation asks for none");
}

/// What policies see of it.
#[test]
fn policies_see_the_types_of_the_details() {
    const ONLY: &str = "@id(\"only\") permit (principal, action, resource) \
                        when { context.authorization_details_types.contains(\"payment\") };";
    let scene = Stage { policies: ONLY, ..Stage::default() }.set();
    let read = |details: serde_json::Value| {
        let token = scene.token(&[("authorization_details", details)]);
        scene.ask(&token, Method::GET, "/bank/accounts/1", "").err()
    };
    assert_eq!(read(json!([{ "type": "payment" }])), None);
    assert_eq!(read(json!([{ "type": "account" }])), Some("policy-refused"));
    assert_eq!(read(json!([])), Some("policy-refused"), "and no answer of before is taken for it");
    assert_eq!(read(json!([{ "type": "account" }, { "type": "payment" }])), None);
}

#[test]
fn a_refusal_costs_no_quota() {
    let scene = Stage { quota: 1, ..Stage::default() }.set();
    let token = scene.token(&[]);
    for (path, expected) in [("/bank/elsewhere", "not-subscribed"), ("/bank/accounts/x", "contract-violated")] {
        assert_eq!(scene.ask(&token, Method::GET, path, "").err(), Some(expected));
    }
    assert_eq!(scene.pay(r#"{"amount":"0","currency":"GBP"}"#).err(), Some("contract-violated"));
    assert_eq!(scene.read().err(), None, "the one request of the day");
    assert_eq!(scene.read().err(), Some("quota-exceeded"));
}

#[test]
fn a_full_pool_costs_no_quota_and_an_empty_quota_no_place() {
    let scene = Stage { quota: 1, in_flight_max: 1, ..Stage::default() }.set();
    let place: InFlight = scene.snapshot.pools[0].admit().unwrap();
    assert_eq!(scene.read().err(), Some("overloaded"));
    drop(place);
    assert_eq!(scene.read().err(), None);
    assert_eq!(scene.read().err(), Some("quota-exceeded"));
    assert!(scene.snapshot.pools[0].admit().is_ok(), "the refused request left its place");
}

#[test]
fn what_must_hold_holds_under_policies_that_permit_all() {
    for (name, stage, expected) in [
        ("a suspended tenant", Stage { tenant: PartnerStatus::Suspended, ..Stage::default() }, "token-invalid"),
        ("a regulated product by bearer", Stage { risk: Risk::Regulated, ..Stage::default() }, "binding-required"),
        ("sandbox in live", Stage { environment: Environment::Live, ..Stage::default() }, "backend-unavailable"),
        ("no policy", Stage { policies: "", ..Stage::default() }, "policy-refused"),
    ] {
        assert_eq!(stage.set().read().err(), Some(expected), "{name}");
    }
}

#[test]
fn no_payment_of_an_unknown_sum_passes_in_any_mode() {
    for mode in [Mode::Enforce, Mode::Observe, Mode::Off] {
        let scene = Stage { mode, ..Stage::default() }.set();
        assert_eq!(scene.pay(FIVE_POUNDS).err(), None, "{mode:?}");
        for (name, body) in [
            ("zero", r#"{"amount":"0","currency":"GBP"}"#),
            ("negative", r#"{"amount":"-5.00","currency":"GBP"}"#),
            ("no currency", r#"{"amount":"5.00"}"#),
            ("twice", r#"{"amount":"5.00","amount":"9999.00","currency":"GBP"}"#),
            ("nothing", ""),
        ] {
            assert_eq!(scene.pay(body).err(), Some("contract-violated"), "{mode:?}, {name}");
        }
    }
}

#[test]
fn policies_see_a_sum_that_is_not_positive() {
    let policies = "@id(\"all\") permit (principal, action, resource);\n\
        @id(\"positive\") @reason(\"r\") @remedy(\"m\") forbid (principal, action, resource) \
        when { context has amount && context.amount.minor_units <= 0 };";
    let scene = Stage { policies, ..Stage::default() }.set();
    assert_eq!(scene.pay(r#"{"amount":"-1.00","currency":"GBP"}"#).err(), Some("policy-refused"));
    assert_eq!(scene.pay(FIVE_POUNDS).err(), None);
}

#[test]
fn one_issuer_speaks_for_a_client() {
    let ours = |scene: &Scene| scene.token(&[]);
    let others = |scene: &Scene| scene.token(&[("iss", OTHERS.into())]);
    let stranger = |scene: &Scene| {
        scene.token(&[("iss", OTHERS.into()), ("client_id", "theirs".into()), ("tenant", "they".into())])
    };
    type Token = fn(&Scene) -> String;
    for (name, speaks, token, expected) in [
        ("ours for ours", None, ours as Token, None),
        ("another's for ours", None, others as Token, Some("token-invalid")),
        ("its own for an outside client", Some(OTHERS), others as Token, None),
        ("ours for an outside client", Some(OTHERS), ours as Token, Some("token-invalid")),
        ("another's for its own unknown", None, stranger as Token, None),
    ] {
        let scene = Stage { speaks, ..Stage::default() }.set();
        let token = token(&scene);
        assert_eq!(scene.ask(&token, Method::GET, "/bank/accounts/1", "").err(), expected, "{name}");
    }
    let scene = Stage::default().set();
    let admitted =
        scene.ask(&stranger(&scene), Method::GET, "/bank/accounts/1", "").unwrap_or_else(|code| panic!("{code}"));
    let client = &admitted.caller.partner.client;
    assert!(client.id.as_str().ends_with(":theirs") && client.id.as_str().starts_with("idp.example"), "{}", client.id);
    assert!(client.tenant.id.as_str().ends_with(":they"), "{}", client.tenant.id);
}
