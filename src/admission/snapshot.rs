//! Everything that was decided before the request came.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::authn::{Authenticator, Challenges};
use crate::contract::{Contract, Mode};
use crate::domain::{ApiId, Environment, OperationId, OperationIndex, ScopeSet, Thumbprint};
use crate::hub::{ImplicitPartners, Institution, Registry};
use crate::policy::PolicySet;
use crate::quota::Quotas;
use crate::route::RouteTable;
use crate::signal::OperationMetrics;
use crate::upstream::Pool;

/// Where a request body states the money that it moves: JSON Pointers (RFC 6901).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AmountAt {
    pub amount: String,
    pub currency: String,
}

/// One operation, compiled.
pub struct Operation {
    pub id: OperationId,
    pub api: ApiId,
    pub institution: Arc<Institution>,
    /// Length of the path prefix that the gateway publishes, in bytes…
    pub base_path_len: usize,
    /// …and what stands in its place towards the back end.
    pub upstream_base_path: Arc<str>,
    pub scopes: ScopeSet,
    pub contract: Arc<Contract>,
    pub request_contract: Mode,
    pub response_contract: Mode,
    pub amount: Option<AmountAt>,
    pub sandbox: Option<Arc<Pool>>,
    pub live: Option<Arc<Pool>>,
    /// Replaces the pool's total deadline.
    pub timeout: Option<Duration>,
    /// Replaces the edge's limit for streamed bodies.
    pub body_bytes_max: Option<u64>,
    pub websocket: bool,
    pub metrics: Arc<OperationMetrics>,
}

impl Operation {
    pub fn pool(&self, environment: Environment) -> Option<&Arc<Pool>> {
        match environment {
            Environment::Sandbox => self.sandbox.as_ref(),
            Environment::Live => self.live.as_ref(),
        }
    }

    /// The path towards the back end: what follows the published prefix is forwarded byte by byte.
    pub fn upstream_path(&self, path: &str) -> String {
        let rest = path.get(self.base_path_len..).unwrap_or(path);
        format!("{}{rest}", self.upstream_base_path)
    }
}

/// An outside issuer that takes partners which are not registered here.
pub struct OutsideIssuer {
    pub partners: ImplicitPartners,
}

/// Everything compiled from one configuration. A request loads it once and keeps it.
pub struct Snapshot {
    /// Short hash of the configuration from which it was compiled.
    pub revision: Arc<str>,
    pub routes: RouteTable,
    /// Position = [`OperationIndex`].
    pub operations: Vec<Operation>,
    pub authenticator: Arc<Authenticator>,
    pub challenges: Challenges,
    pub registry: Registry,
    /// Our own issuer identifier.
    pub issuer: Arc<str>,
    /// By issuer.
    pub outside_issuers: HashMap<String, OutsideIssuer>,
    /// Self-signed certificates that clients registered (RFC 8705 §2.2).
    pub registered_certificates: HashSet<Thumbprint>,
    /// Names the policy set in records.
    pub policy_hash: Arc<str>,
    pub policies: PolicySet,
    pub quotas: Arc<Quotas>,
    pub pools: Vec<Arc<Pool>>,
}

impl Snapshot {
    pub fn operation(&self, index: OperationIndex) -> Option<&Operation> {
        self.operations.get(index.0 as usize)
    }
}
