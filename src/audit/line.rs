//! How records are written: one JSON object per line, members in a fixed order, absent ones left out.
//! Auditors' tools read this: members are added, never renamed.

use super::record::{ConnectionRecord, Outcome, RequestRecord, Upstream};
use crate::domain::{JsonLine, Timestamp};

/// What is written besides requests and connections: where the evidence has a gap, it says so itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Notice {
    /// The process before this one was killed while it wrote; the line above is not whole.
    TornLine { at: Timestamp },
    /// So many requests were refused since the last such line because the queue was full.
    RequestsRefused { at: Timestamp, count: u64 },
    /// So many connections failed that were not recorded one by one.
    ConnectionsSummed { at: Timestamp, count: u64 },
    /// The file that was written until now was renamed or removed: what came before is there, not here.
    FileChanged { at: Timestamp },
    /// The disk may have lost the lines before this one, so they are written again: those after it may stand twice.
    MayRepeat { at: Timestamp },
}

/// What has a line in the file.
pub(super) trait Line {
    fn members(&self, line: &mut JsonLine<'_>);
}

/// Writes members if there is something to write.
macro_rules! texts {
    ($line:ident; $($name:literal: $value:expr;)+) => {
        $(if let Some(value) = $value {
            $line.text($name, value);
        })+
    };
}

impl Line for RequestRecord<'_> {
    fn members(&self, line: &mut JsonLine<'_>) {
        line.text("kind", "request");
        line.at("at", self.started_at);
        line.text("interaction_id", self.interaction_id.encode(&mut [0; 36]));
        if let Some(id) = &self.trace_id {
            line.hex("trace_id", id);
        }
        line.text("listener", self.listener);
        line.address("peer", self.peer);
        line.text("protocol", self.protocol);
        line.text("method", self.method);
        self.who_and_what(line);
        self.decision(line);
        self.outcome(line);
    }
}

impl RequestRecord<'_> {
    fn who_and_what(&self, line: &mut JsonLine<'_>) {
        texts! { line;
            "operation": self.operation.map(|id| id.as_str());
            "api": self.api.map(|id| id.as_str());
            "institution": self.institution.map(|id| id.as_str());
            "tenant": self.tenant.map(|id| id.as_str());
            "client": self.client.map(|id| id.as_str());
        }
        if let Some(token) = &self.token {
            line.base64url("token", token.bytes());
        }
        texts! { line; "visit": self.visit; }
        if let Some(subject) = &self.subject {
            line.base64url("subject", subject.bytes());
        }
        if let Some(certificate) = &self.certificate {
            line.base64url("certificate", &certificate.0);
        }
    }

    fn decision(&self, line: &mut JsonLine<'_>) {
        texts! { line;
            "product": self.product.map(|id| id.as_str());
            "plan": self.plan.map(|id| id.as_str());
            "environment": self.environment.map(|environment| environment.as_str());
        }
        if !self.policies.is_empty() {
            line.texts("policies", self.policies);
        }
        texts! { line; "policy_set": self.policy_set; "revision": self.revision; }
        if !self.quotas_refused.is_empty() {
            line.texts("quotas_refused", self.quotas_refused);
        }
        if self.contract_violations > 0 {
            line.number("contract_violations", self.contract_violations.into());
        }
    }

    fn outcome(&self, line: &mut JsonLine<'_>) {
        let (outcome, code, phase) = match self.outcome {
            Outcome::Answered => ("answered", None, None),
            Outcome::Refused { code } => ("refused", Some(code), None),
            Outcome::Aborted { phase } => ("aborted", None, Some(phase.as_str())),
        };
        line.text("outcome", outcome);
        texts! { line; "code": code; "phase": phase; }
        optional(line, "status", self.status.map(u64::from));
        if let Some(upstream) = &self.upstream {
            line.object("upstream", |line| upstream.members(line));
        }
        line.number("total_us", self.latency.total);
        optional(line, "admission_us", self.latency.admission);
        optional(line, "upstream_us", self.latency.upstream);
        line.number("bytes_in", self.quantities.bytes_in);
        line.number("bytes_out", self.quantities.bytes_out);
    }
}

impl Line for Upstream<'_> {
    fn members(&self, line: &mut JsonLine<'_>) {
        line.text("backend", self.backend);
        optional(line, "status", self.status.map(u64::from));
        line.number("attempts", self.attempts.into());
    }
}

impl Line for ConnectionRecord {
    fn members(&self, line: &mut JsonLine<'_>) {
        line.text("kind", "connection");
        line.at("at", self.at);
        line.text("listener", &self.listener);
        line.endpoint("peer", self.peer);
        line.text("reason", self.reason);
        if let Some(certificate) = &self.certificate {
            line.base64url("certificate", &certificate.0);
        }
    }
}

impl Line for Notice {
    fn members(&self, line: &mut JsonLine<'_>) {
        let (kind, at, count) = match self {
            Self::TornLine { at } => ("torn-line", *at, None),
            Self::RequestsRefused { at, count } => ("requests-refused-unrecorded", *at, Some(*count)),
            Self::ConnectionsSummed { at, count } => ("connections-failed-unrecorded", *at, Some(*count)),
            Self::FileChanged { at } => ("file-changed", *at, None),
            Self::MayRepeat { at } => ("records-may-repeat", *at, None),
        };
        line.text("kind", kind);
        line.at("at", at);
        optional(line, "count", count);
    }
}

fn optional(line: &mut JsonLine<'_>, name: &'static str, value: Option<u64>) {
    if let Some(value) = value {
        line.number(name, value);
    }
}

/// Adds one line.
pub(super) fn append(buffer: &mut Vec<u8>, value: &impl Line) {
    let mut line = JsonLine::begin(buffer);
    value.members(&mut line);
    line.end();
    buffer.push(b'\n');
}
