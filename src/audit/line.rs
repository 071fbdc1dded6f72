//! How records are written: one JSON object per line, members in a fixed order, absent ones left out.
//! Auditors' tools read this: members are added, never renamed.

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use super::record::{ConnectionRecord, Outcome, RequestRecord, Upstream};
use crate::domain::{ApiId, ClientId, InstitutionId, OperationId, PlanId, ProductId, TenantId, Timestamp};

/// What is written besides requests and connections: where the evidence has a gap, it says so itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Notice {
    /// The process before this one was killed while it wrote; the line above is not whole.
    TornLine { at: Timestamp },
    /// So many requests were refused since the last such line because the queue was full.
    RequestsRefused { at: Timestamp, count: u64 },
    /// So many connections failed that were not recorded one by one.
    ConnectionsSummed { at: Timestamp, count: u64 },
}

/// Writes anything that has a text as a JSON string, without allocating.
struct Text<T>(T);

impl<T: std::fmt::Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&self.0)
    }
}

/// RFC 3339, UTC, always six decimals.
struct At(Timestamp);

impl Serialize for At {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match jiff::Timestamp::from_microsecond(self.0.micros()) {
            Ok(at) => to.collect_str(&format_args!("{at:.6}")),
            Err(_) => to.serialize_i64(self.0.micros()), // Beyond the year 9999.
        }
    }
}

/// Lower-case hexadecimal.
struct Hex([u8; 16]);

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{:032x}", u128::from_be_bytes(self.0)))
    }
}

/// Writes a member if there is something to write.
macro_rules! members {
    ($line:ident; $($name:literal: $value:expr;)+) => {
        $(if let Some(value) = $value {
            $line.serialize_field($name, &value)?;
        })+
    };
}

impl Serialize for RequestRecord {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut line = to.serialize_struct("request", 32)?;
        line.serialize_field("kind", "request")?;
        line.serialize_field("at", &At(self.started_at))?;
        line.serialize_field("interaction_id", self.interaction_id.encode(&mut [0; 36]))?;
        members! { line; "trace_id": self.trace_id.map(Hex); }
        line.serialize_field("listener", &*self.listener)?;
        line.serialize_field("peer", &self.peer)?;
        line.serialize_field("protocol", self.protocol)?;
        line.serialize_field("method", self.method)?;
        self.who_and_what(&mut line)?;
        self.decision(&mut line)?;
        self.outcome(&mut line)?;
        line.end()
    }
}

impl RequestRecord {
    fn who_and_what<L: SerializeStruct>(&self, line: &mut L) -> Result<(), L::Error> {
        members! { line;
            "operation": self.operation.as_ref().map(OperationId::as_str);
            "api": self.api.as_ref().map(ApiId::as_str);
            "institution": self.institution.as_ref().map(InstitutionId::as_str);
            "tenant": self.tenant.as_ref().map(TenantId::as_str);
            "client": self.client.as_ref().map(ClientId::as_str);
            "token": self.token.map(Text);
            "certificate": self.certificate.map(Text);
        }
        Ok(())
    }

    fn decision<L: SerializeStruct>(&self, line: &mut L) -> Result<(), L::Error> {
        members! { line;
            "product": self.product.as_ref().map(ProductId::as_str);
            "plan": self.plan.as_ref().map(PlanId::as_str);
            "environment": self.environment.map(|environment| environment.as_str());
            "policies": (!self.policies.is_empty()).then_some(&*self.policies);
            "policy_set": self.policy_set.as_deref();
            "revision": self.revision.as_deref();
            "quotas_refused": (!self.quotas_refused.is_empty()).then_some(&self.quotas_refused);
            "contract_violations": (self.contract_violations > 0).then_some(self.contract_violations);
        }
        Ok(())
    }

    fn outcome<L: SerializeStruct>(&self, line: &mut L) -> Result<(), L::Error> {
        let (outcome, code, phase) = match self.outcome {
            Outcome::Answered => ("answered", None, None),
            Outcome::Refused { code } => ("refused", Some(code), None),
            Outcome::Aborted { phase } => ("aborted", None, Some(phase.as_str())),
        };
        line.serialize_field("outcome", outcome)?;
        members! { line;
            "code": code;
            "phase": phase;
            "status": self.status;
            "upstream": self.upstream.as_ref();
        }
        line.serialize_field("total_us", &self.latency.total)?;
        members! { line; "admission_us": self.latency.admission; "upstream_us": self.latency.upstream; }
        line.serialize_field("bytes_in", &self.quantities.bytes_in)?;
        line.serialize_field("bytes_out", &self.quantities.bytes_out)
    }
}

impl Serialize for Upstream {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut line = to.serialize_struct("upstream", 3)?;
        line.serialize_field("backend", &*self.backend)?;
        members! { line; "status": self.status; }
        line.serialize_field("attempts", &self.attempts)?;
        line.end()
    }
}

impl Serialize for ConnectionRecord {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut line = to.serialize_struct("connection", 6)?;
        line.serialize_field("kind", "connection")?;
        line.serialize_field("at", &At(self.at))?;
        line.serialize_field("listener", &*self.listener)?;
        line.serialize_field("peer", &self.peer)?;
        line.serialize_field("reason", self.reason)?;
        members! { line; "certificate": self.certificate.map(Text); }
        line.end()
    }
}

impl Serialize for Notice {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let (kind, at, count) = match self {
            Self::TornLine { at } => ("torn-line", *at, None),
            Self::RequestsRefused { at, count } => ("requests-refused-unrecorded", *at, Some(*count)),
            Self::ConnectionsSummed { at, count } => ("connections-failed-unrecorded", *at, Some(*count)),
        };
        let mut line = to.serialize_struct("notice", 3)?;
        line.serialize_field("kind", kind)?;
        line.serialize_field("at", &At(at))?;
        members! { line; "count": count; }
        line.end()
    }
}

/// Adds one line. Serialising into memory cannot fail for the types here; if it did, the line would be left out whole.
pub(super) fn append(buffer: &mut Vec<u8>, value: &impl Serialize) {
    let start = buffer.len();
    match serde_json::to_writer(&mut *buffer, value) {
        Ok(()) => buffer.push(b'\n'),
        Err(error) => {
            buffer.truncate(start);
            tracing::error!(%error, "an audit record could not be written as JSON");
        }
    }
}
