//! Who is calling? An access token and a connection become a `Caller`, or a refusal.

mod settings;

pub use settings::{IssuerSettings, JwksSource, UnknownPartners};
pub struct Authenticator; 
#[derive(Clone, Copy)] pub enum Credentials<'a> { Bearer(&'a str) }
impl<'a> Credentials<'a> { pub fn read(_: &'a http::HeaderMap) -> Result<Self, AuthnError> { todo!() } pub fn token(self) -> &'a str { match self { Self::Bearer(t) => t } } }
#[derive(Debug, thiserror::Error)] pub enum AuthnError { #[error("m")] Missing, #[error("m")] SeveralCredentials, #[error("m")] CertificateMissing, #[error("m")] CertificateMismatch{}, #[error("m")] KeysUnavailable(()), #[error("m")] ClientUnknown, #[error("m")] Other }
#[derive(Debug)] pub struct VerifiedToken { pub issuer: std::sync::Arc<str>, pub client_id: crate::domain::ClientId, pub tenant: Option<crate::domain::TenantId>, pub scopes: crate::domain::ScopeSet, pub jti: Option<String> }
impl VerifiedToken { pub fn is_sender_constrained(&self) -> bool { false } }
impl Authenticator { pub async fn authenticate(&self, _: &str, _: &crate::domain::Connection, _: crate::domain::Timestamp) -> Result<std::sync::Arc<VerifiedToken>, AuthnError> { todo!() } }
pub struct Challenges;
impl Challenges { pub fn for_error(&self, _: &AuthnError) -> Option<http::HeaderValue> { None } pub fn insufficient_scope(&self, _: &crate::domain::ScopeSet) -> http::HeaderValue { todo!() } }
