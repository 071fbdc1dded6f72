//! Who may have which token? The authorization server: client authentication, grants, tokens, keys, revocation.
//!
//! Invariants: a client proves itself by exactly the one method that it registered; a replay mark is durable before a
//! token is minted; a key is published before it signs and stays published until its last token has expired; what
//! failed inside is `temporarily_unavailable`, never `invalid_client`; errors are the bodies of RFC 6749 §5.2.

mod approval;
mod assertion;
mod authentication_class;
mod authorization_code;
mod authorization_details;
mod authorization_request;
mod backchannel;
mod backchannel_error;
mod backchannel_request;
mod client_authentication;
mod client_keys;
mod client_metadata;
mod dynamic_clients;
mod dynamic_registration;
mod error;
mod form;
mod grant;
mod id_token;
mod introspection;
mod key_ring;
mod metadata;
mod notification;
mod outstanding;
mod profile;
mod pushed;
mod registration;
mod request_object;
mod requested_claims;
mod resource;
mod response;
mod revocation;
mod sender;
mod server;
mod sessions;
mod settings;
mod sign_in;
mod software_certificate;
mod software_proof;
mod software_statement;
mod store;
mod subject_name;
mod subjects;
mod throttle;
mod token_endpoint;
mod userinfo;
mod users;
mod visit;
mod visit_event;

#[cfg(test)]
pub(crate) mod tests;

pub use authentication_class::{ACR_PASSWORD, AcrError, AcrValues, RequestedAcr};
pub use authorization_code::{Approval, Approving, DecisionError};
pub use authorization_details::{DetailTypeError, DetailTypes};
pub use authorization_request::{AuthorizationRequest, Prompt};
pub use backchannel::{
    BACKCHANNEL_INTERVAL, BackchannelDecision, BackchannelDecisionError, BackchannelResponse, WaitingRequest,
};
pub use backchannel_error::BackchannelError;
pub use backchannel_request::{BACKCHANNEL_LIFETIME_MAX, BackchannelRequest};
pub use client_keys::{ClientKeySets, ClientKeysError};
pub use client_metadata::{INTROSPECTION_SIGNED, MEMBERS, Proof, ReadMetadata, SectorDocument, read_metadata};
pub use dynamic_clients::{
    DynamicClient, DynamicClientStore, DynamicClients, RegistrationAdmission, RegistrationTemplate, Rules, Software,
    StoredClient, TenantRule,
};
pub use dynamic_registration::{REGISTRATION_BYTES_MAX, Registered, SIGNED_ANSWERS, UNSUPPORTED_MEMBERS};
pub use error::{ClientAuthenticationError, OAuthError, SettingsError};
pub use form::FORM_BYTES_MAX;
pub use grant::{Grant, GrantId, GrantStore};
pub use introspection::{Introspected, IntrospectionResponse, OneOrSeveral};
pub use key_ring::{
    ACCESS_TOKEN_LIFETIME_MAX, KeyRing, KeyRingError, KeyStatus, NEXT_KEY_PUBLISHED_MIN, RingChange, Urgency,
};
pub use metadata::resource_metadata_url;
pub use notification::{Notification, Notifier};
pub use outstanding::{Full, OutstandingLimits};
pub use profile::{AssertionAudience, Fapi1Variant, Profile};
pub use pushed::{NotOpen, Opened, PushedResponse};
pub use registration::{
    CibaDelivery, ClientAuthentication, ClientKeys, ClientMetadata, ClientRegistration, GrantType, GrantTypes,
    ResponseMode, SecretHash, SenderConstraint, SigningAlgorithms, SubjectType, TlsSubject,
};
pub use requested_claims::{ClaimsPlace, RequestedClaims};
pub use response::{AuthorizationError, AuthorizationResponse, Outcome};
pub use revocation::{load_revocations, purge_revocations};
pub use server::{Answer, AuthorizationServer, Clients, OutstandingRequests, Parts, Request};
pub use sessions::{SESSION_COOKIE, SESSIONS_MAX, SessionId, SessionLimits, Sessions, SessionsFull, SignedIn};
pub use settings::Settings;
pub use sign_in::SignInError;
pub use software_certificate::CertificateNames;
pub use software_statement::{
    Directories, Directory, DirectoryError, DirectorySettings, Disagreement, SoftwareStatement, Standing,
    StatementError, StatusSettings, merge,
};
pub use store::{KeyState, KeyStore, ReplayStore, RevocationStore, RevokedToken, SecretStore, StoreError, StoredKey};
pub use subject_name::{DistinguishedName, NameError};
pub use subjects::{Subject, Subjects};
pub use token_endpoint::TokenResponse;
pub use userinfo::UserinfoError;
pub use users::{PASSWORD_BYTES_MAX, PasswordHash, PasswordHashError, User, Users};
pub use visit::{ApprovalPage, Handle, PageForm, SignInPage, Stopped, Visit, VisitAnswer, VisitRequest, Visitors};
pub use visit_event::{VisitAct, VisitEvent};

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
