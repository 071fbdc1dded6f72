//! Outside issuers that the operator trusts.

use std::path::PathBuf;

use crate::domain::{Environment, Jurisdiction, PlanId, ProductId};
use crate::jose::Algorithm;

/// Where an issuer's keys come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JwksSource {
    /// A JWK set on disk, read when the snapshot is compiled.
    File(PathBuf),
    /// Fetched with single flight and a rate cap; `https` only, `http` on loopback.
    Url(String),
}

/// What becomes of a token whose tenant or client is not registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UnknownPartners {
    Refuse,
    /// The tenant and client named by the claims are taken as they are, subscribed to `product` under `plan`.
    Admit {
        product: ProductId,
        plan: PlanId,
        environment: Environment,
        jurisdiction: Jurisdiction,
    },
}

/// One trusted outside issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerSettings {
    /// Compared exactly with `iss`.
    pub issuer: String,
    pub jwks: JwksSource,
    /// One of these must be in `aud`.
    pub audiences: Vec<String>,
    /// Name of the claim that carries the client id (`client_id`, `azp`, `sub`).
    pub client_claim: String,
    /// Name of the claim that carries the tenant; absent: the registered client decides.
    pub tenant_claim: Option<String>,
    /// Name of the claim that carries scopes, as a space-delimited text or an array.
    pub scope_claim: String,
    pub algorithms: Vec<Algorithm>,
    /// Accept only `typ: at+jwt` (RFC 9068 §4). Off for issuers that predate it.
    pub require_at_jwt: bool,
    pub unknown_partners: UnknownPartners,
}
