//! Where the gateway's own CPU goes: each question of one admission by itself, on one thread, as the request path asks
//! it. What is left of a request's cost is transport: sockets, TLS, HTTP parsing and the proxy engine.

use std::collections::HashMap;
use std::hint::black_box;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use arc_swap::ArcSwap;
use clearway::admission::{Head, Identified, Operation, Snapshot, admit_head, identify};
use clearway::audit::{AuditFile, Outcome, RequestRecord};
use clearway::contract::Body;
use clearway::domain::{Clock, Connection, InteractionId, Timestamp};
use clearway::jose::{Algorithm, KeySet, SigningKey};
use clearway::policy::Question;
use clearway::proxy::guard::{GuardSettings, Hosts, check_head};
use clearway::route::CanonicalPath;
use clearway::server::{Services, SystemClock, compile};
use clearway::signal::{AccessLine, AccessLog, AccessOutput, Tally};
use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderValue, Method};
use pingora_http::RequestHeader;
use serde_json::json;

use super::measure::median;
use super::report::Report;
use super::scene::{Guard, ISSUER, Scene, Size, bearer, target};

/// Repetitions of what takes about a microsecond.
const MANY: u32 = 50_000;
/// Repetitions of what takes about a hundred.
const FEW: u32 = 2_000;

/// One caller's request, and all that it is judged by.
struct Bench {
    snapshot: Arc<Snapshot>,
    connection: Connection,
    headers: HeaderMap,
    path: String,
    query: String,
    key: SigningKey,
    now: Timestamp,
}

impl Bench {
    fn new(scene: &Scene) -> anyhow::Result<Self> {
        let configuration = clearway::config::load(&scene.config(), &HashMap::new())
            .map_err(|mistakes| anyhow::anyhow!("{mistakes:?}"))?;
        let (key, _) = SigningKey::generate(Algorithm::Es256)?;
        let keys = Arc::new(ArcSwap::from_pointee(KeySet::of(vec![key.public_key()])));
        let services = Services::new(&configuration, keys);
        let compiled = compile(&configuration, &services, None).map_err(|mistakes| anyhow::anyhow!("{mistakes:?}"))?;
        let target = target(0);
        let (path, query) = target.split_once('?').context("a query")?;
        let connection = Connection {
            listener: "public".into(),
            peer: SocketAddr::from(([127, 0, 0, 1], 40_000)),
            tls: None,
            certificate: None,
        };
        let now = SystemClock.now();
        let mut bench = Self {
            snapshot: compiled.in_force.snapshot,
            connection,
            headers: HeaderMap::new(),
            path: path.to_owned(),
            query: query.to_owned(),
            key,
            now,
        };
        bench.headers = bench.headers_with(&bench.token(0)?)?;
        Ok(bench)
    }

    /// A token as the authorization server makes it (RFC 9068).
    fn token(&self, number: u32) -> anyhow::Result<String> {
        let (client, now) = (bearer(0), self.now.secs());
        let claims = json!({
            "iss": ISSUER, "sub": client, "client_id": client, "aud": ISSUER, "tenant": "tenant-0", "scope": "accounts",
            "iat": now, "exp": now + 3600, "jti": format!("jti-{number:016}"),
        });
        Ok(self.key.sign("at+jwt", &claims)?)
    }

    fn headers_with(&self, token: &str) -> anyhow::Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static("localhost"));
        headers.insert("authorization", HeaderValue::try_from(format!("Bearer {token}"))?);
        headers.insert("accept", HeaderValue::from_static("application/json"));
        headers.insert("user-agent", HeaderValue::from_static("bench/1"));
        headers.insert("x-page-size", HeaderValue::from_static("25"));
        Ok(headers)
    }

    fn head(&self) -> Head<'_> {
        Head {
            method: &Method::GET,
            path: &self.path,
            query: Some(&self.query),
            headers: &self.headers,
            connection: &self.connection,
        }
    }

    fn identified(&self, headers: &HeaderMap) -> anyhow::Result<Identified> {
        let head = Head { headers, ..self.head() };
        let caller = identify(&self.snapshot, &head, self.now).now_or_never();
        caller.context("a local key needs no waiting")?.map_err(|refusal| anyhow::anyhow!("{refusal}"))
    }
}

/// Microseconds that one call takes: the median of ten batches, by the wall clock. The kernel's account of a thread's CPU
/// time moves by whole ticks, longer than a batch.
fn cost(times: u32, mut call: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let mut batches = Vec::new();
    for _ in 0..10 {
        let began = Instant::now();
        for _ in 0..times / 10 {
            call()?;
        }
        batches.push(began.elapsed().as_secs_f64() / f64::from(times / 10) * 1e6);
    }
    Ok(median(&batches))
}

/// Measures and reports each stage.
pub fn measure(folder: &Path, size: Size, backend: SocketAddr, report: &mut Report) -> anyhow::Result<()> {
    let scene = Scene::write(folder, "stages", size, backend, Guard::AsShipped)?;
    let bench = Bench::new(&scene)?;
    report.chapter("CPU per stage of one request, transport excluded");
    report.value("guard: size, framing, target, authority, fields", guard(&bench)?, "µs");
    admission(&bench, report)?;
    evidence(&bench, &scene, report)
}

fn guard(bench: &Bench) -> anyhow::Result<f64> {
    let settings = GuardSettings {
        hosts: Hosts::only(["localhost"]),
        authority_follows_sni: true,
        header_bytes_max: 32 << 10,
        header_count_max: 100,
        uri_bytes_max: 8 << 10,
        body_idle_timeout: Duration::from_secs(15),
        trusted_proxies: clearway::front::TrustedProxies::default(),
    };
    let mut head = RequestHeader::build("GET", target(0).as_bytes(), None)?;
    for (name, value) in &bench.headers {
        head.append_header(name.clone(), value.clone())?;
    }
    let copied = cost(MANY, || {
        black_box(head.clone());
        Ok(())
    })?;
    let checked = cost(MANY, || {
        let mut head = head.clone();
        black_box(check_head(&mut head, &bench.connection, &settings)?);
        Ok(())
    })?;
    Ok(checked - copied)
}

fn operation(bench: &Bench) -> anyhow::Result<&Operation> {
    let found = bench.snapshot.routes.resolve(&Method::GET, CanonicalPath::parse(&bench.path)?)?;
    bench.snapshot.operation(found.index).context("the operation of its own route")
}

fn admission(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let snapshot = &bench.snapshot;
    let index = snapshot.routes.resolve(&Method::GET, CanonicalPath::parse(&bench.path)?)?.index;
    let route = cost(MANY, || {
        black_box(snapshot.routes.resolve(&Method::GET, CanonicalPath::parse(&bench.path)?)?);
        Ok(())
    })?;
    report.value("route", route, "µs");
    report.value("token, remembered", cost(MANY, || bench.identified(&bench.headers).map(drop))?, "µs");
    let fresh: Vec<HeaderMap> =
        (1..=FEW).map(|number| bench.headers_with(&bench.token(number)?)).collect::<anyhow::Result<_>>()?;
    let mut unseen = fresh.iter();
    let cold = cost(FEW, || bench.identified(unseen.next().context("tokens run out")?).map(drop))?;
    report.value("token, never seen before (one ES256 verification)", cold, "µs");
    let caller = bench.identified(&bench.headers)?;
    let operation = operation(bench)?;
    let subscription = caller.partner.subscription(index).context("a subscription")?;
    let question = Question {
        operation: index,
        client: &caller.partner.client,
        product: &subscription.product.id,
        risk: subscription.product.risk,
        environment: subscription.environment,
        institution: &operation.institution.id,
        data_jurisdictions: &operation.institution.data_jurisdictions,
        sender_constrained: false,
        scopes: &caller.token.scopes,
        detail_types: caller.token.detail_types(),
        amount: None,
        amount_expected: false,
    };
    let policy = cost(MANY, || {
        black_box(snapshot.policies.decide(&question));
        Ok(())
    })?;
    report.value("policy, 200 in force", policy, "µs");
    let account = bench.path.split('/').nth(5).context("an account in the path")?;
    let contract = cost(MANY, || {
        let found = operation.contract.check_parameters(&[("account_id", account)], Some(&bench.query), &bench.headers);
        anyhow::ensure!(found.is_empty(), "{found:?}");
        Ok(())
    })?;
    report.value("contract of four parameters", contract, "µs");
    let client = &caller.partner.client;
    let quota = cost(MANY, || {
        let spent = snapshot.quotas.spend(&subscription.plan, &client.tenant.id, &client.id, bench.now);
        drop(black_box(spent.map_err(|_| anyhow::anyhow!("a limit was reached"))?));
        Ok(())
    })?;
    report.value("quota of three limits", quota, "µs");
    let head = bench.head();
    let whole = cost(MANY, || {
        let pending = admit_head(snapshot, &head, bench.now).now_or_never().context("nothing to wait for")??;
        black_box(pending.admit(&head, &Body::Absent, bench.now)?);
        Ok(())
    })?;
    report.value("the whole admission", whole, "µs");
    Ok(())
}

fn evidence(bench: &Bench, scene: &Scene, report: &mut Report) -> anyhow::Result<()> {
    let (operation, caller) = (operation(bench)?, bench.identified(&bench.headers)?);
    let state = scene.folder.join("state");
    let audit = AuditFile::open(&state.join("stages.jsonl"), Arc::new(SystemClock))?;
    let interaction = InteractionId::from_random([7; 16]);
    let (client, peer) = (&caller.partner.client, bench.connection.peer.ip());
    let record = || {
        let mut record = RequestRecord::new(bench.now, interaction, &bench.connection.listener, peer);
        record.method = "GET";
        record.operation = Some(&operation.id);
        record.api = Some(&operation.terms.api);
        record.institution = Some(&operation.institution.id);
        (record.tenant, record.client) = (Some(&client.tenant.id), Some(&client.id));
        record.policy_set = Some(&bench.snapshot.policy_hash);
        record.revision = Some(&bench.snapshot.revision);
        (record.outcome, record.status) = (Outcome::Answered, Some(200));
        record
    };
    let audited = cost(FEW, || {
        audit.reserve().map_err(|_| anyhow::anyhow!("the queue is full"))?;
        audit.record(&record());
        Ok(())
    })?;
    audit.close(Duration::from_secs(10))?;
    report.value("audit record, handed over", audited, "µs");
    let access = AccessLog::open(&AccessOutput::File(state.join("stages.log")), Arc::new(Tally::default()))?;
    let logged = cost(FEW, || {
        access.line(&AccessLine {
            started_at: bench.now,
            interaction_id: interaction,
            trace_id: [1; 16],
            span_id: [2; 8],
            listener: &bench.connection.listener,
            peer,
            protocol: "HTTP/1.1",
            tls: Some("TLSv1.3"),
            method: "GET",
            operation: Some(&operation.id),
            api: Some(&operation.terms.api),
            institution: Some(&operation.institution.id),
            tenant: Some(&client.tenant.id),
            client: Some(&client.id),
            status: Some(200),
            code: None,
            backend: None,
            total: Duration::from_micros(100),
            upstream: None,
            bytes_in: 0,
            bytes_out: 100,
        });
        Ok(())
    })?;
    access.close();
    report.value("access line, handed over", logged, "µs");
    let metrics = cost(MANY, || {
        operation.metrics.record(Some(200), Duration::from_micros(100));
        Ok(())
    })?;
    report.value("metrics of one request", metrics, "µs");
    Ok(())
}
