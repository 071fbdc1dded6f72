//! All metrics of the process, and their exposition in the OpenMetrics text format.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, text};
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::{Registry, Unit};

use super::capped::{Capped, Tally};
use super::histogram::Histogram;
use super::operation::{OperationMetrics, Operations, SERIES_MAX};
use crate::domain::{InstitutionId, OperationId};

/// Of the answer that carries [`Metrics::render`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Most institutions with series of their own (26 lines each).
const INSTITUTIONS_MAX: usize = 200;
/// Most listeners with series of their own.
const LISTENERS_MAX: usize = 32;
/// Most values of a label whose values we write ourselves: codes, reasons, methods, names of limits.
const WORDS_MAX: usize = 100;

/// Every metric. Recording is a few atomic additions; `find`-like calls (`operation`, `institution`, `listener`) belong
/// where snapshots are compiled.
pub struct Metrics {
    registry: Registry,
    all: Arc<All>,
}

struct All {
    version: String,
    operations: Operations,
    unrouted: OperationMetrics,
    admission: Histogram,
    active_requests: Level,
    refusals: Capped<Tally>,
    quota_refusals: Capped<Tally>,
    flood_refusals: Tally,
    institutions: Capped<InstitutionMetrics>,
    listeners: Capped<ListenerMetrics>,
    handshake_failures: Capped<Tally>,
    tokens_issued: Capped<Tally>,
    policy_decisions: PolicyDecisions,
    reloads: Capped<Tally>,
    audit_waiting: Level,
    audit_healthy: Level,
    access_dropped: Arc<Tally>,
    connection_ends: Capped<Tally>,
    held: Mutex<BTreeMap<&'static str, (i64, Option<i64>)>>,
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub(super) struct Level(AtomicI64);

/// What became of a request at its institution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamOutcome {
    /// Any well-formed answer below 500.
    Answered,
    /// An answer of 500 and above.
    ServerError,
    /// No back end was healthy, or there was no room at any.
    NoBackend,
    ConnectFailed,
    /// It closed the connection, or what it sent was not HTTP.
    Broken,
    Timeout,
}

impl UpstreamOutcome {
    const ALL: [Self; 6] =
        [Self::Answered, Self::ServerError, Self::NoBackend, Self::ConnectFailed, Self::Broken, Self::Timeout];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::ServerError => "server-error",
            Self::NoBackend => "no-backend",
            Self::ConnectFailed => "connect-failed",
            Self::Broken => "broken",
            Self::Timeout => "timeout",
        }
    }
}

/// What is measured of one institution.
#[derive(Debug, Default)]
pub struct InstitutionMetrics {
    duration: Histogram,
    outcomes: [Tally; UpstreamOutcome::ALL.len()],
}

impl InstitutionMetrics {
    /// Notes one request; `duration` runs to the header of the answer, or to the failure.
    pub fn record(&self, outcome: UpstreamOutcome, duration: Duration) {
        self.duration.observe(duration);
        if let Some(tally) = self.outcomes.get(outcome as usize) {
            tally.add();
        }
    }
}

/// What is measured of one listener.
#[derive(Debug, Default)]
pub struct ListenerMetrics {
    open: Level,
    accepted: Tally,
    /// Connections refused because one of the listener's bounds was reached.
    pub refused: Tally,
}

impl ListenerMetrics {
    /// A connection was accepted; [`Self::closed`] must follow.
    pub fn opened(&self) {
        self.accepted.add();
        self.open.0.fetch_add(1, Ordering::Relaxed);
    }

    pub fn closed(&self) {
        self.open.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How policy decisions were come by.
#[derive(Debug, Clone, Default)]
pub struct PolicyDecisions {
    /// Remembered.
    pub hits: Arc<Tally>,
    /// Made.
    pub misses: Arc<Tally>,
}

impl Metrics {
    /// `version` is that of the build.
    pub fn new(version: &str) -> Self {
        Self::with_budget(version, SERIES_MAX)
    }

    pub(super) fn with_budget(version: &str, series_max: usize) -> Self {
        let operations = Operations::new(series_max);
        let unrouted = operations.unrouted();
        let all = Arc::new(All {
            version: version.to_owned(),
            operations,
            unrouted,
            admission: Histogram::default(),
            active_requests: Level::default(),
            refusals: Capped::new("code", WORDS_MAX),
            quota_refusals: Capped::new("limit", WORDS_MAX),
            flood_refusals: Tally::default(),
            institutions: Capped::new("institution", INSTITUTIONS_MAX),
            listeners: Capped::new("listener", LISTENERS_MAX),
            handshake_failures: Capped::new("reason", WORDS_MAX),
            tokens_issued: Capped::new("method", WORDS_MAX),
            policy_decisions: PolicyDecisions::default(),
            reloads: Capped::new("outcome", WORDS_MAX),
            audit_waiting: Level::default(),
            audit_healthy: Level(AtomicI64::new(1)),
            access_dropped: Arc::default(),
            connection_ends: Capped::new("reason", WORDS_MAX),
            held: Mutex::default(),
        });
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Exposition(Arc::clone(&all))));
        Self { registry, all }
    }

    /// The metrics of an operation of the catalogue; the snapshot keeps them. `method` is its method.
    pub fn operation(&self, id: &OperationId, method: &http::Method) -> Arc<OperationMetrics> {
        self.all.operations.find(id, known_method(method))
    }

    /// Notes a request that found no operation.
    pub fn unrouted(&self, status: Option<u16>, duration: Duration) {
        self.all.unrouted.record(status, duration);
    }

    /// A request is under way; [`Self::request_ended`] must follow.
    pub fn request_began(&self) {
        self.all.active_requests.0.fetch_add(1, Ordering::Relaxed);
    }

    pub fn request_ended(&self) {
        self.all.active_requests.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// Our own work from the head of a request until it was admitted or refused.
    pub fn admission(&self, duration: Duration) {
        self.all.admission.observe(duration);
    }

    /// A request was answered with the problem of this code.
    pub fn refused(&self, code: &'static str) {
        self.all.refusals.find(code).add();
    }

    /// `limit` is the name of a plan's limit, as the operator wrote it.
    pub fn quota_refused(&self, limit: &str) {
        self.all.quota_refusals.find(limit).add();
    }

    /// The flood guard refused somebody.
    pub fn flood_refused(&self) {
        self.all.flood_refusals.add();
    }

    pub fn institution(&self, id: &InstitutionId) -> Arc<InstitutionMetrics> {
        self.all.institutions.find(id.as_str())
    }

    /// `name` is the listener's name in the configuration.
    pub fn listener(&self, name: &str) -> Arc<ListenerMetrics> {
        self.all.listeners.find(name)
    }

    /// `reason` is a code of ours, such as `timeout` or `tls-alert`.
    pub fn handshake_failed(&self, reason: &'static str) {
        self.all.handshake_failures.find(reason).add();
    }

    /// `method` is the client's `token_endpoint_auth_method`.
    pub fn token_issued(&self, method: &'static str) {
        self.all.tokens_issued.find(method).add();
    }

    /// For the policy sets: each counts its decisions here.
    pub fn policy_decisions(&self) -> PolicyDecisions {
        self.all.policy_decisions.clone()
    }

    /// A configuration was put in force (`taken`), was in force already (`unchanged`), or was kept out (`refused`).
    pub fn reloaded(&self, outcome: &'static str) {
        self.all.reloads.find(outcome).add();
    }

    /// How the audit file fares; set it before [`Self::render`].
    pub fn audit(&self, waiting: usize, healthy: bool) {
        self.all.audit_waiting.set(i64::try_from(waiting).unwrap_or(i64::MAX));
        self.all.audit_healthy.set(i64::from(healthy));
    }

    /// A connection was refused or ended before its time; `reason` is a code of ours, such as `header_timeout`.
    pub fn connection_ended(&self, reason: &'static str) {
        self.all.connection_ends.find(reason).add();
    }

    /// How full something is that outside input can fill; set it before [`Self::render`]. `what` is a name of ours.
    pub fn holds(&self, what: &'static str, held: u64, max: u64) {
        self.level(what, held, Some(max));
    }

    /// The same of what is bounded by time alone: there is no number that would mean full.
    pub fn holds_for_a_time(&self, what: &'static str, held: u64) {
        self.level(what, held, None);
    }

    fn level(&self, what: &'static str, held: u64, max: Option<u64>) {
        let level = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let mut all = self.all.held.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(what, (level(held), max.map(level)));
    }

    /// Counts the lines that the access log drops; for [`super::AccessLog::open`].
    pub fn access_dropped(&self) -> Arc<Tally> {
        Arc::clone(&self.all.access_dropped)
    }

    /// The exposition, in [`CONTENT_TYPE`].
    pub fn render(&self) -> String {
        let mut page = String::with_capacity(64 << 10);
        match text::encode(&mut page, &self.registry) {
            Ok(()) => page,
            Err(fmt::Error) => String::from("# EOF\n"), // Writing to a String cannot fail.
        }
    }
}

/// A method as a label: one of those that HTTP names, or `_OTHER` (OpenTelemetry `http.request.method`).
fn known_method(method: &http::Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        "TRACE" => "TRACE",
        _ => "_OTHER",
    }
}

impl Level {
    fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

impl TypedMetric for Level {
    const TYPE: MetricType = MetricType::Gauge;
}

impl EncodeMetric for Level {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        encoder.encode_gauge(&self.0.load(Ordering::Relaxed))
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

/// Writes everything, in this order.
struct Exposition(Arc<All>);

impl fmt::Debug for Exposition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exposition")
    }
}

impl Collector for Exposition {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.requests(&mut encoder)?;
        self.refusals(&mut encoder)?;
        self.institutions(&mut encoder)?;
        self.connections(&mut encoder)?;
        self.house(&mut encoder)
    }
}

/// Begins a family.
fn family<'e>(
    encoder: &'e mut DescriptorEncoder<'_>,
    name: &'e str,
    help: &str,
    kind: MetricType,
) -> Result<MetricEncoder<'e>, fmt::Error> {
    encoder.encode_descriptor(name, help, None, kind)
}

/// Begins a family of durations: `_seconds` is added to its name.
fn durations<'e>(
    encoder: &'e mut DescriptorEncoder<'_>,
    name: &'e str,
    help: &str,
) -> Result<MetricEncoder<'e>, fmt::Error> {
    encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)
}

impl Exposition {
    fn requests(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let all = &self.0;
        let help = "Duration of requests, from the first byte to the last";
        all.operations.encode(&mut durations(encoder, "http_server_request_duration", help)?, &all.unrouted)?;
        let help = "Requests under way";
        all.active_requests.encode(family(encoder, "http_server_active_requests", help, MetricType::Gauge)?)?;
        let help = "Our own work until a request is admitted or refused";
        all.admission.encode(durations(encoder, "clearway_admission_duration", help)?)
    }

    fn refusals(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let all = &self.0;
        let help = "Requests answered with a problem, by its code";
        all.refusals.encode(&mut family(encoder, "clearway_refusals", help, MetricType::Counter)?)?;
        let help = "Requests refused by a quota, by the limit's name";
        all.quota_refusals.encode(&mut family(encoder, "clearway_quota_refusals", help, MetricType::Counter)?)?;
        let help = "Requests refused by the flood guard";
        all.flood_refusals.encode(family(encoder, "clearway_flood_refusals", help, MetricType::Counter)?)
    }

    fn institutions(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let institutions = &self.0.institutions;
        let help = "Duration of requests to an institution's back ends";
        let mut durations = durations(encoder, "http_client_request_duration", help)?;
        institutions.encode_parts(&mut durations, |metrics| vec![(None, &metrics.duration)])?;
        let help = "Requests to an institution's back ends, by their outcome";
        let mut attempts = family(encoder, "clearway_upstream_attempts", help, MetricType::Counter)?;
        institutions.encode_parts(&mut attempts, |metrics| {
            let outcomes = UpstreamOutcome::ALL.into_iter().zip(&metrics.outcomes);
            outcomes.map(|(outcome, tally)| (Some(("outcome", outcome.as_str())), tally)).collect()
        })
    }

    fn connections(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let all = &self.0;
        let help = "Connections that are open";
        let mut open = family(encoder, "clearway_connections_open", help, MetricType::Gauge)?;
        all.listeners.encode_parts(&mut open, |metrics| vec![(None, &metrics.open)])?;
        let help = "Connections accepted";
        let mut accepted = family(encoder, "clearway_connections_accepted", help, MetricType::Counter)?;
        all.listeners.encode_parts(&mut accepted, |metrics| vec![(None, &metrics.accepted)])?;
        let help = "Connections refused at a bound of their listener";
        let mut refused = family(encoder, "clearway_connections_refused", help, MetricType::Counter)?;
        all.listeners.encode_parts(&mut refused, |metrics| vec![(None, &metrics.refused)])?;
        let help = "Handshakes that failed, by reason";
        all.handshake_failures.encode(&mut family(encoder, "clearway_handshake_failures", help, MetricType::Counter)?)
    }

    /// Everything that outside input can fill, beside the most that it may hold.
    fn bounds(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let held = self.0.held.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let help = "What outside input fills now";
        let mut now = family(encoder, "clearway_held", help, MetricType::Gauge)?;
        for (what, (count, _)) in &held {
            Level(AtomicI64::new(*count)).encode(now.encode_family(&[("what", *what)])?)?;
        }
        let help = "The most that it may fill";
        let mut most = family(encoder, "clearway_held_max", help, MetricType::Gauge)?;
        for (what, max) in held.iter().filter_map(|(what, (_, max))| Some((what, (*max)?))) {
            Level(AtomicI64::new(max)).encode(most.encode_family(&[("what", *what)])?)?;
        }
        Ok(())
    }

    fn house(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let all = &self.0;
        let help = "Access tokens issued, by how the client authenticated";
        all.tokens_issued.encode(&mut family(encoder, "clearway_tokens_issued", help, MetricType::Counter)?)?;
        let help = "Policy decisions, found in the cache or made";
        let mut decisions = family(encoder, "clearway_policy_decisions", help, MetricType::Counter)?;
        for (cache, tally) in [("hit", &all.policy_decisions.hits), ("miss", &all.policy_decisions.misses)] {
            tally.encode(decisions.encode_family(&[("cache", cache)])?)?;
        }
        let help = "Configurations put in force or kept out";
        all.reloads.encode(&mut family(encoder, "clearway_reloads", help, MetricType::Counter)?)?;
        let help = "Audit records that the disk does not have yet, and requests under way";
        all.audit_waiting.encode(family(encoder, "clearway_audit_waiting", help, MetricType::Gauge)?)?;
        let help = "1 while the audit file takes records";
        all.audit_healthy.encode(family(encoder, "clearway_audit_healthy", help, MetricType::Gauge)?)?;
        self.bounds(encoder)?;
        let help = "Access-log lines dropped for want of room";
        all.access_dropped.encode(family(encoder, "clearway_access_log_dropped", help, MetricType::Counter)?)?;
        let help = "Connections refused or ended before their time, by reason";
        let ends = &mut family(encoder, "clearway_connections_ended", help, MetricType::Counter)?;
        all.connection_ends.encode(ends)?;
        let build = Level(AtomicI64::new(1));
        let mut info = family(encoder, "clearway_build_info", "The build that runs", MetricType::Gauge)?;
        build.encode(info.encode_family(&[("version", all.version.as_str())])?)
    }
}

#[cfg(test)]
mod tests;
