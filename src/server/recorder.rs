//! One request, one record: told to the audit file, the access log and the metrics, and so is what never became one.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Version};

use crate::audit::{
    AuditFile, ConnectionRecord, Latency, Outcome, Phase, Quantities, RequestRecord, TokenDigest, Upstream,
};
use crate::domain::Clock;
use crate::front::{CertificateFault, ConnectionRefusal, Cut, FrontEvents, HandshakeFailure, Malformed};
use crate::proxy::{Ending, ProxyEvents, RequestFacts};
use crate::signal::{AccessLine, AccessLog, Metrics, UpstreamOutcome};

/// How long the end of the process waits for the disk.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);

pub(super) struct Recorder {
    pub audit: AuditFile,
    pub access: AccessLog,
    pub metrics: Arc<Metrics>,
    pub clock: Arc<dyn Clock>,
}

impl Recorder {
    /// Writes what is left. Blocks its thread.
    pub(super) fn close(&self) {
        self.access.close();
        if let Err(error) = self.audit.close(CLOSE_PATIENCE) {
            tracing::error!("{error}");
        }
    }

    fn connection(&self, listener: &str, peer: SocketAddr, reason: &'static str) {
        let record =
            ConnectionRecord { at: self.clock.now(), listener: listener.into(), peer, reason, certificate: None };
        self.audit.connection(&record);
    }
}

impl ProxyEvents for Recorder {
    fn reserve(&self) -> bool {
        self.audit.reserve().is_ok()
    }

    fn begun(&self) {
        self.metrics.request_began();
    }

    fn finished(&self, facts: RequestFacts) {
        self.metrics.request_ended();
        self.measure(&facts);
        let record = record(&facts);
        if self.access.enabled() {
            self.access.line(&line(&record, &facts));
        }
        // A request that found no place was refused for just that; there is nothing to fill.
        if facts.reserved {
            self.audit.record(&record);
        }
    }
}

impl Recorder {
    fn measure(&self, facts: &RequestFacts) {
        let operation = facts.snapshot.as_ref().zip(facts.operation);
        match operation.and_then(|(snapshot, index)| snapshot.operation(index)) {
            Some(operation) => {
                operation.metrics.record(facts.status, facts.took);
                if let Some(outcome) = upstream_outcome(facts) {
                    let took = facts.upstream_took.unwrap_or(facts.took);
                    self.metrics.institution(&operation.institution.id).record(outcome, took);
                }
            }
            None => self.metrics.unrouted(facts.status, facts.took),
        }
        if let Some(admission) = facts.admission {
            self.metrics.admission(admission);
        }
        if let Some(method) = facts.token_issued {
            self.metrics.token_issued(method);
        }
        if let Some(kind) = facts.problem {
            self.metrics.refused(kind.code());
            if kind == crate::problem::Kind::Internal {
                let cause = facts.cause.as_deref().unwrap_or("unknown");
                tracing::error!(interaction = %facts.interaction, cause, "a defect refused a request");
            }
            if kind == crate::problem::Kind::FloodGuard {
                self.metrics.flood_refused();
            }
        }
        for limit in &facts.quotas_refused {
            self.metrics.quota_refused(limit);
        }
    }
}

/// What became of the request at its institution; nothing if it never got there, or the caller spoilt it.
fn upstream_outcome(facts: &RequestFacts) -> Option<UpstreamOutcome> {
    use crate::problem::Kind;
    Some(match (facts.problem, facts.upstream_status) {
        (Some(Kind::BackendUnavailable), _) if facts.attempts == 0 => UpstreamOutcome::NoBackend,
        (Some(Kind::BackendUnavailable), _) => UpstreamOutcome::ConnectFailed,
        (Some(Kind::BackendTimeout), _) => UpstreamOutcome::Timeout,
        (Some(Kind::BackendFailed | Kind::BackendContract), _) => UpstreamOutcome::Broken,
        (_, None) => return None,
        (_, Some(500..)) => UpstreamOutcome::ServerError,
        (_, Some(_)) => UpstreamOutcome::Answered,
    })
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

fn record(facts: &RequestFacts) -> RequestRecord<'_> {
    let listener = facts.connection.as_ref().map_or("", |connection| &connection.listener);
    let peer = facts.source.unwrap_or(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED));
    let mut record = RequestRecord::new(facts.received, facts.interaction, listener, peer);
    record.trace_id = facts.trace.as_ref().map(crate::signal::TraceContext::trace_id);
    record.protocol = protocol(facts.version);
    record.method = known_method(&facts.method);
    let certificate = facts.connection.as_ref().and_then(|c| c.certificate.as_ref());
    record.certificate = certificate.map(|certificate| certificate.thumbprint);
    name_operation(&mut record, facts);
    name_caller(&mut record, facts);
    record.outcome = outcome(facts);
    record.status = facts.status;
    record.upstream = facts.backend.as_ref().map(|backend| Upstream {
        backend,
        status: facts.upstream_status,
        attempts: u32::try_from(facts.attempts).unwrap_or(u32::MAX),
    });
    record.latency = Latency {
        total: micros(facts.took),
        admission: facts.admission.map(micros),
        upstream: facts.upstream_took.map(micros),
    };
    record.quantities = Quantities { bytes_in: facts.request_bytes, bytes_out: facts.response_bytes };
    record.quotas_refused = &facts.quotas_refused;
    record.contract_violations = u32::try_from(facts.observed.0 + facts.observed.1).unwrap_or(u32::MAX);
    record
}

fn name_operation<'a>(record: &mut RequestRecord<'a>, facts: &'a RequestFacts) {
    let Some(snapshot) = &facts.snapshot else { return };
    record.revision = Some(&snapshot.revision);
    let Some(operation) = facts.operation.and_then(|index| snapshot.operation(index)) else { return };
    record.operation = Some(&operation.id);
    record.api = Some(&operation.terms.api);
    record.institution = Some(&operation.institution.id);
    record.policy_set = Some(&snapshot.policy_hash);
}

fn name_caller<'a>(record: &mut RequestRecord<'a>, facts: &'a RequestFacts) {
    if let Some(caller) = &facts.caller {
        record.tenant = Some(&caller.partner.client.tenant.id);
        record.client = Some(&caller.partner.client.id);
        record.token = caller.token.jti.as_deref().map(TokenDigest::of_jti);
    } else {
        record.client = facts.own_client.as_ref();
    }
    if let Some(visit) = &facts.visit {
        record.client = Some(&visit.client_id);
        record.visit = Some(visit.act.as_str());
        record.subject = visit.subject;
    }
    if let Some(subscription) = &facts.subscription {
        record.product = Some(&subscription.product.id);
        record.plan = Some(subscription.plan.id());
        record.environment = Some(subscription.environment);
    }
    match (&facts.permit, &facts.refusal) {
        (Some(permit), _) => record.policies = &permit.policies,
        (None, Some(refusal)) => record.policies = &refusal.policies,
        (None, None) => {}
    }
}

fn outcome(facts: &RequestFacts) -> Outcome {
    match (facts.ending, facts.problem) {
        (Ending::Answered, _) => Outcome::Answered,
        (Ending::Refused, Some(kind)) => Outcome::Refused { code: kind.code() },
        (Ending::Refused, None) => Outcome::Refused { code: "unknown" },
        (Ending::BrokenOff, _) => Outcome::Aborted { phase: Phase::Answer },
        (Ending::Aborted, _) if facts.attempts > 0 => Outcome::Aborted { phase: Phase::Upstream },
        (Ending::Aborted, _) if facts.operation.is_some() => Outcome::Aborted { phase: Phase::Admission },
        (Ending::Aborted, _) => Outcome::Aborted { phase: Phase::Head },
    }
}

fn line<'a>(record: &RequestRecord<'a>, facts: &'a RequestFacts) -> AccessLine<'a> {
    AccessLine {
        started_at: record.started_at,
        interaction_id: record.interaction_id,
        trace_id: record.trace_id.unwrap_or_default(),
        span_id: facts.trace.as_ref().map(crate::signal::TraceContext::span_id).unwrap_or_default(),
        listener: record.listener,
        peer: record.peer,
        protocol: record.protocol,
        tls: facts.connection.as_ref().and_then(|c| c.tls.as_ref()).map(|tls| tls.version),
        method: record.method,
        operation: record.operation,
        api: record.api,
        institution: record.institution,
        tenant: record.tenant,
        client: record.client,
        status: record.status,
        code: facts.problem.map(crate::problem::Kind::code),
        backend: facts.backend.as_deref(),
        total: facts.took,
        upstream: facts.upstream_took,
        bytes_in: facts.request_bytes,
        bytes_out: facts.response_bytes,
    }
}

const fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}

/// The caller may choose any token as a method: only known ones are written.
fn known_method(method: &Method) -> &'static str {
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

impl FrontEvents for Recorder {
    fn connection_opened(&self, listener: &str) {
        self.metrics.listener(listener).opened();
    }

    fn connection_closed(&self, listener: &str) {
        self.metrics.listener(listener).closed();
    }

    fn connection_refused(&self, listener: &str, peer: SocketAddr, refusal: ConnectionRefusal) {
        self.metrics.listener(listener).refused.add();
        self.metrics.connection_ended(refusal.label());
        self.connection(listener, peer, refusal.label());
    }

    fn connection_cut(&self, listener: &str, peer: SocketAddr, cut: Cut) {
        self.metrics.connection_ended(cut.label());
        // The ordinary end of a kept connection is no event.
        if !matches!(cut, Cut::Idle | Cut::Drain) {
            self.connection(listener, peer, cut.label());
        }
    }

    fn handshake_failed(&self, listener: &str, peer: SocketAddr, failure: &HandshakeFailure) {
        let reason = match failure {
            HandshakeFailure::Timeout => "handshake_timeout",
            HandshakeFailure::Closed => "handshake_closed",
            HandshakeFailure::Certificate(fault) => certificate_reason(*fault),
            HandshakeFailure::Protocol(_) => "handshake_protocol",
        };
        self.metrics.handshake_failed(reason);
        self.connection(listener, peer, reason);
    }

    fn request_malformed(&self, listener: &str, peer: SocketAddr, _: Malformed) {
        self.metrics.refused(crate::problem::Kind::MalformedRequest.code());
        self.connection(listener, peer, "malformed_request");
    }

    fn panicked(&self, listener: &str) {
        self.metrics.refused(crate::problem::Kind::Internal.code());
        tracing::error!(listener, "a connection's task panicked");
    }

    fn accept_failed(&self, listener: &str, error: &io::Error) {
        tracing::error!(listener, "no connection can be accepted: {error}");
    }
}

const fn certificate_reason(fault: CertificateFault) -> &'static str {
    match fault {
        CertificateFault::ChainTooLong => "certificate_chain",
        CertificateFault::Encoding => "certificate_encoding",
        CertificateFault::Version => "certificate_version",
        CertificateFault::Extension => "certificate_extension",
        CertificateFault::Validity => "certificate_validity",
        CertificateFault::Key => "certificate_key",
        CertificateFault::Signature => "certificate_signature",
        CertificateFault::Purpose => "certificate_purpose",
    }
}
