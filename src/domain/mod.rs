//! What do our words mean? The vocabulary every other room speaks: identifiers, partners, money, time, scopes,
//! certificates and connections.
//!
//! Invariants: no I/O, no async, no reading of a clock; a value of a type here has passed its checks.

mod certificate;
mod connection;
mod digits;
mod id;
mod json_line;
mod line_queue;
mod money;
mod once;
mod partner;
mod random;
mod scope;
mod time;
mod unseen;

pub use certificate::{ChainTrust, PeerCertificate, SubjectAltNames, Thumbprint};
pub use connection::{ByListener, Connection, Downstream, InWork, TlsFacts};
pub use digits::{push_address, push_hex, push_number};
pub use id::{
    ApiId, ClientId, IdError, InstitutionId, InteractionId, InteractionNaming, OperationId, OperationIndex, PlanId,
    ProductId, TenantId,
};
pub use json_line::JsonLine;
pub use line_queue::{LineQueue, Lines, emptied};
pub use money::{Currency, Money, MoneyError};
pub use once::once;
pub use partner::{Client, Environment, Jurisdiction, JurisdictionError, LicenceRole, PartnerStatus, Risk, Tenant};
pub use random::Random;
pub use scope::{Scope, ScopeError, ScopeSet};
pub use time::{Clock, Timestamp};
pub use unseen::is_unseen;
