//! What policies are asked about: the world that they are compiled against, and one question.

use crate::domain::{
    ApiId, Client, ClientId, Environment, InstitutionId, Jurisdiction, LicenceRole, Money, OperationId, OperationIndex,
    ProductId, Risk, ScopeSet, TenantId,
};

/// What the catalogue says of one operation.
#[derive(Debug, Clone)]
pub struct ActionFacts {
    /// The operation; its id is the action's id in policies.
    pub operation: OperationId,
    /// The API that it belongs to: the group `Action::"api:{api}"`.
    pub api: ApiId,
    /// Whose back ends serve it: the resource, and the group `Action::"institution:{institution}"`.
    pub institution: InstitutionId,
    /// HTTP method in capitals: decides between the groups `read` and `write`.
    pub method: String,
    /// OpenAPI tags: the groups `Action::"tag:{tag}"`.
    pub tags: Vec<String>,
    /// The licence role that the operation demands, if any: the group `Action::"licence:{role}"`.
    pub licence_role: Option<LicenceRole>,
}

/// Everything that a policy may name. A name that is not here is a compile error.
#[derive(Debug, Clone, Copy)]
pub struct World<'a> {
    /// The position of an operation is its [`OperationIndex`].
    pub actions: &'a [ActionFacts],
    pub tenants: &'a [TenantId],
    pub clients: &'a [ClientId],
    pub products: &'a [ProductId],
    pub institutions: &'a [InstitutionId],
}

/// One call, as far as policies may look at it.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    pub operation: OperationIndex,
    pub client: &'a Client,
    pub product: &'a ProductId,
    pub risk: Risk,
    /// Of the subscription, and so of the back end.
    pub environment: Environment,
    /// Must be the institution of the operation; anything else is refused.
    pub institution: &'a InstitutionId,
    /// Where this institution lets data go.
    pub data_jurisdictions: &'a [Jurisdiction],
    /// Whether the token is bound to a key that the caller proved (RFC 8705 §3, RFC 9449 §7).
    pub sender_constrained: bool,
    /// What the token was granted.
    pub scopes: &'a ScopeSet,
    /// The types of what it was granted beyond scopes (RFC 9396 §2.1), each once, sorted.
    pub detail_types: &'a [Box<str>],
    /// The sum of money that the request moves, if one was found.
    pub amount: Option<Money>,
    /// Whether the operation declares where its amount stands.
    pub amount_expected: bool,
}
