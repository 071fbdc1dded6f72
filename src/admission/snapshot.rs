//! Everything that was decided before the request came.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use branches::prefetch_read_data;

use crate::authn::dpop::{DpopProofs, ExternalUrls};
use crate::authn::{Authenticator, Challenges};
use crate::contract::{Contract, Mode};
use crate::domain::{ApiId, ByListener, Environment, OperationId, OperationIndex, ScopeSet, Thumbprint};
use crate::hub::{ImplicitPartners, Institution, Registry};
use crate::policy::PolicySet;
use crate::quota::Quotas;
use crate::route::RouteTable;
use crate::signal::OperationMetrics;
use crate::upstream::Pool;

use super::{AmountAt, DynamicPartners, StepUp};

/// One operation, compiled: one cache line, as of ten thousand operations no cache holds much more of each.
#[repr(align(64))]
pub struct Operation {
    pub id: OperationId,
    pub contract: Arc<Contract>,
    pub metrics: Arc<OperationMetrics>,
    pub terms: Arc<OperationTerms>,
    pub institution: Arc<Institution>,
    pub sandbox: Option<Arc<Pool>>,
    pub live: Option<Arc<Pool>>,
}

const _: () = assert!(size_of::<Operation>() == 64);

/// How an operation is served, and to whom. Most operations of an API share theirs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OperationTerms {
    pub api: ApiId,
    /// The path prefix that the gateway publishes, without a slash at its end: of what a token may be for.
    pub base_path: Arc<str>,
    /// Its segments…
    pub base_path_segments: usize,
    /// …and what stands in its place towards the back end.
    pub upstream_base_path: Arc<str>,
    pub scopes: ScopeSet,
    pub request_contract: Mode,
    pub response_contract: Mode,
    pub amount: Option<AmountAt>,
    pub step_up: Option<StepUp>,
    /// What a token must be granted beyond scopes: details of this type (RFC 9396 §2.1).
    pub authorization_details_type: Option<Arc<str>>,
    /// Replaces the pool's total deadline.
    pub timeout: Option<Duration>,
    /// Replaces the edge's limit for streamed bodies.
    pub body_bytes_max: Option<u64>,
    pub websocket: bool,
}

impl Operation {
    /// Asks the memory for what the record of a request will need: the id and the metrics. The operation itself should be at
    /// hand by then ([`Snapshot::foresee`]).
    pub fn foresee(&self) {
        prefetch_read_data::<_, 0>(self.id.as_str().as_ptr());
        self.metrics.foresee();
    }

    pub fn pool(&self, environment: Environment) -> Option<&Arc<Pool>> {
        match environment {
            Environment::Sandbox => self.sandbox.as_ref(),
            Environment::Live => self.live.as_ref(),
        }
    }

    /// The path towards the back end: what follows the published prefix is forwarded byte by byte.
    pub fn upstream_path(&self, path: &str) -> String {
        rebase(path, self.terms.base_path_segments, &self.terms.upstream_base_path)
    }
}

/// Exchanges the first `segments` of a canonical path for `base`. Segments are counted, not bytes: `/b%61nk` is routed
/// as `/bank` is, and an encoding must not move the cut into the middle of a segment or over the next one.
fn rebase(path: &str, segments: usize, base: &str) -> String {
    let mut slashes = path.bytes().enumerate().filter(|(_, byte)| *byte == b'/');
    let end = slashes.nth(segments).map_or(path.len(), |(at, _)| at);
    let (_, rest) = path.split_at(end);
    [base, rest].concat()
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
    pub challenges: ByListener<Challenges>,
    /// The same through all snapshots: it remembers which proofs were used.
    pub dpop: Arc<DpopProofs>,
    /// By what names callers address the gateway, for their proofs.
    pub external_urls: ByListener<ExternalUrls>,
    pub registry: Registry,
    /// Clients that registered themselves; none while only compiling.
    pub dynamic: Option<DynamicPartners>,
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
    /// All bodies of one client that are held whole at once.
    pub buffered_client_bytes_max: usize,
    /// The same of one tenant, whichever its clients.
    pub buffered_tenant_bytes_max: usize,
}

impl Snapshot {
    pub fn operation(&self, index: OperationIndex) -> Option<&Operation> {
        self.operations.get(index.0 as usize)
    }

    /// Asks the memory for what a request will need of its operation, before the token is judged: then it is there. Of ten
    /// thousand operations no cache holds it all, and each place that is waited for costs a tenth of a microsecond and more.
    pub fn foresee(&self, index: OperationIndex, operation: &Operation) {
        prefetch_read_data::<_, 0>(operation);
        self.policies.foresee(index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_published_prefix_is_exchanged() {
        for (name, path, segments, base, expected) in [
            ("as published", "/bank/v4/accounts/1", 2, "/v1", "/v1/accounts/1"),
            ("no prefix", "/accounts", 0, "/v1", "/v1/accounts"),
            ("no base at the back end", "/bank/accounts", 1, "", "/accounts"),
            ("nothing behind the prefix", "/bank", 1, "/v1", "/v1"),
            ("a slash behind the prefix", "/bank/", 1, "/v1", "/v1/"),
            ("an encoded prefix", "/%62ank/accounts", 1, "/v1", "/v1/accounts"),
            ("an encoding as long as a segment", "/%61bcd/e/x", 2, "/v1", "/v1/x"),
            ("the rest keeps its bytes", "/bank/m%65/%C3%A4", 1, "/v1", "/v1/m%65/%C3%A4"),
        ] {
            assert_eq!(rebase(path, segments, base), expected, "{name}");
        }
    }
}
