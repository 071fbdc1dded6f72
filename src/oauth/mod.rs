//! Who may have which token? The authorization server: client authentication, grants, tokens, keys, revocation.
//!
//! Invariants: a client proves itself by exactly the one method that it registered; a replay mark is durable before a
//! token is minted; a key is published before it signs and stays published until its last token has expired; what
//! failed inside is `temporarily_unavailable`, never `invalid_client`; errors are the bodies of RFC 6749 §5.2.

mod approval;
mod assertion;
mod authorization_code;
mod authorization_details;
mod authorization_request;
mod client_authentication;
mod error;
mod form;
mod grant;
mod id_token;
mod introspection;
mod key_ring;
mod metadata;
mod outstanding;
mod profile;
mod pushed;
mod registration;
mod request_object;
mod response;
mod revocation;
mod sender;
mod server;
mod sessions;
mod settings;
mod sign_in;
mod store;
mod subject_name;
mod throttle;
mod token_endpoint;
mod users;
mod visit;

#[cfg(test)]
pub(crate) mod tests;

pub use authorization_code::{Approval, DecisionError};
pub use authorization_details::{DetailTypeError, DetailTypes};
pub use authorization_request::{AuthorizationRequest, Prompt};
pub use error::{ClientAuthenticationError, OAuthError, SettingsError};
pub use form::FORM_BYTES_MAX;
pub use grant::{Grant, GrantId, GrantStore};
pub use introspection::IntrospectionResponse;
pub use key_ring::{
    ACCESS_TOKEN_LIFETIME_MAX, KeyRing, KeyRingError, KeyStatus, NEXT_KEY_PUBLISHED_MIN, RingChange, Urgency,
};
pub use outstanding::{Full, OutstandingLimits};
pub use profile::{AssertionAudience, Fapi1Variant, Profile};
pub use pushed::{NotOpen, Opened, PushedResponse};
pub use registration::{
    CibaDelivery, ClientAuthentication, ClientKeys, ClientMetadata, ClientRegistration, GrantType, GrantTypes,
    ResponseMode, SecretHash, SenderConstraint, SubjectType, TlsSubject,
};
pub use response::{AuthorizationError, AuthorizationResponse, Outcome};
pub use revocation::{load_revocations, purge_revocations};
pub use server::{Answer, AuthorizationServer, Clients, OutstandingRequests, Parts, Request};
pub use sessions::{SESSION_COOKIE, SESSIONS_MAX, SessionId, SessionLimits, Sessions, SessionsFull, SignedIn};
pub use settings::Settings;
pub use sign_in::SignInError;
pub use store::{KeyState, KeyStore, ReplayStore, RevocationStore, RevokedToken, SecretStore, StoreError, StoredKey};
pub use subject_name::{DistinguishedName, NameError};
pub use token_endpoint::TokenResponse;
pub use users::{ACR_PASSWORD, PASSWORD_BYTES_MAX, PasswordHash, PasswordHashError, User, Users};
pub use visit::{ApprovalPage, Handle, PageForm, SignInPage, Stopped, Visit, VisitAnswer, VisitRequest, Visitors};

/// Parsers that no other room needs, for the fuzzers.
#[cfg(fuzzing)]
pub mod fuzzing {
    pub use super::form::Form;
}

/// Left among the extensions of an answer when a client failed to authenticate: the flood guard counts it.
#[derive(Debug, Clone, Copy)]
pub struct AuthenticationFailed;

/// Left among the extensions of an answer: which client proved itself, for the audit record.
#[derive(Debug, Clone)]
pub struct AuthenticatedClient(pub crate::domain::ClientId);

/// Left among the extensions of an answer that carries a new token: how the client authenticated, for the metrics.
#[derive(Debug, Clone, Copy)]
pub struct TokenIssued(pub &'static str);

/// Left among the extensions of a refusal: its cause, for the audit record and never for the client.
#[derive(Debug, Clone)]
pub struct Cause(pub std::sync::Arc<OAuthError>);

/// Among the extensions of a request: the address that it comes from, as the guard judged it. Behind a trusted proxy
/// that is not the connection's.
#[derive(Debug, Clone, Copy)]
pub struct Source(pub std::net::IpAddr);
