//! What a record may say: these fields and no others.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::domain::{
    ApiId, ClientId, Environment, InstitutionId, InteractionId, OperationId, PlanId, ProductId, TenantId, Thumbprint,
    Timestamp,
};

/// Names a token without being of use to whoever reads it: the first 16 bytes of the SHA-256 of its `jti`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenDigest([u8; 16]);

impl TokenDigest {
    pub fn of_jti(jti: &str) -> Self {
        let mut first = [0; 16];
        for (to, from) in first.iter_mut().zip(digest(&SHA256, jti.as_bytes()).as_ref()) {
            *to = *from;
        }
        Self(first)
    }

    pub(super) const fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Display for TokenDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl std::fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TokenDigest({self})")
    }
}

/// Names a user without telling who it is: the first 16 bytes of a keyed digest of their subject, whose key stays with
/// the authorization server.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SubjectDigest([u8; 16]);

impl SubjectDigest {
    /// `mac` is a message authentication code of the subject.
    pub fn of_mac(mac: &[u8]) -> Self {
        let mut first = [0; 16];
        first.iter_mut().zip(mac).for_each(|(to, from)| *to = *from);
        Self(first)
    }

    pub(super) const fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for SubjectDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SubjectDigest({})", URL_SAFE_NO_PAD.encode(self.0))
    }
}

/// How far a request had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Phase {
    /// Its head was being read and judged.
    #[default]
    Head,
    /// Its body was being read.
    Body,
    /// It was being decided upon.
    Admission,
    /// It was on its way to a back end, or being processed there.
    Upstream,
    /// The answer was on its way to the caller.
    Answer,
}

impl Phase {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Body => "body",
            Self::Admission => "admission",
            Self::Upstream => "upstream",
            Self::Answer => "answer",
        }
    }
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A back end's answer, or one of our own pages, was passed on whole.
    Answered,
    /// We refused it, or failed; `code` is that of the problem document.
    Refused { code: &'static str },
    /// It ended before its answer did: the peer left, a deadline passed, or we failed without an answer.
    Aborted { phase: Phase },
}

/// The back end that a request went to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upstream<'a> {
    /// Its id in the configuration, never its address.
    pub backend: &'a str,
    /// Absent if it gave no answer.
    pub status: Option<u16>,
    /// How many back ends were tried, this one included.
    pub attempts: u32,
}

/// Where the time went, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Latency {
    /// From the start to the closing of the record, which fills it in.
    pub total: u64,
    pub admission: Option<u64>,
    /// From the first attempt to the last byte of the answer.
    pub upstream: Option<u64>,
}

/// Bytes of body, as transferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quantities {
    pub bytes_in: u64,
    pub bytes_out: u64,
}

/// One request. What is not known of it is absent. Never a raw path, a query, a body or a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestRecord<'a> {
    pub started_at: Timestamp,
    pub interaction_id: InteractionId,
    /// W3C trace id.
    pub trace_id: Option<[u8; 16]>,
    /// The listener's name in the configuration.
    pub listener: &'a str,
    pub peer: IpAddr,
    /// `HTTP/1.1` or `HTTP/2`.
    pub protocol: &'static str,
    /// A method that the catalogue knows; any other is `_OTHER`, since its name is the caller's free choice.
    pub method: &'static str,
    /// The operation's id stands for its path.
    pub operation: Option<&'a OperationId>,
    pub api: Option<&'a ApiId>,
    pub institution: Option<&'a InstitutionId>,
    pub tenant: Option<&'a TenantId>,
    pub client: Option<&'a ClientId>,
    pub token: Option<TokenDigest>,
    /// What somebody did on a page of the authorization endpoint, such as `approved`; `client` is then whose request it was
    /// about.
    pub visit: Option<&'static str>,
    /// Who did it, or whose name was tried at the sign-in.
    pub subject: Option<SubjectDigest>,
    /// Of the client certificate of the connection.
    pub certificate: Option<Thumbprint>,
    pub product: Option<&'a ProductId>,
    pub plan: Option<&'a PlanId>,
    pub environment: Option<Environment>,
    /// The policies that determined the decision.
    pub policies: &'a [String],
    /// Hash of the policy set that decided.
    pub policy_set: Option<&'a str>,
    /// Revision of the configuration that the request was served under.
    pub revision: Option<&'a str>,
    pub outcome: Outcome,
    /// Status sent to the caller; absent if none was.
    pub status: Option<u16>,
    pub upstream: Option<Upstream<'a>>,
    pub latency: Latency,
    pub quantities: Quantities,
    /// Names of the limits that refused.
    pub quotas_refused: &'a [String],
    /// How many violations of the request or response contract were found.
    pub contract_violations: u32,
}

impl<'a> RequestRecord<'a> {
    /// What is known when the first byte of a request has come; the rest is filled in as it becomes known.
    pub fn new(started_at: Timestamp, interaction_id: InteractionId, listener: &'a str, peer: IpAddr) -> Self {
        Self {
            started_at,
            interaction_id,
            trace_id: None,
            listener,
            peer,
            protocol: "HTTP/1.1",
            method: "_OTHER",
            operation: None,
            api: None,
            institution: None,
            tenant: None,
            client: None,
            token: None,
            visit: None,
            subject: None,
            certificate: None,
            product: None,
            plan: None,
            environment: None,
            policies: &[],
            policy_set: None,
            revision: None,
            outcome: Outcome::Aborted { phase: Phase::Head },
            status: None,
            upstream: None,
            latency: Latency::default(),
            quantities: Quantities::default(),
            quotas_refused: &[],
            contract_violations: 0,
        }
    }
}

/// A connection that never became a request: a failed handshake, or bytes that are not HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionRecord {
    pub at: Timestamp,
    /// The listener's name in the configuration.
    pub listener: Arc<str>,
    pub peer: SocketAddr,
    /// A stable code of ours, such as `tls-alert` or `header-timeout`; never the peer's own words.
    pub reason: &'static str,
    /// If a certificate was presented, valid or not.
    pub certificate: Option<Thumbprint>,
}
