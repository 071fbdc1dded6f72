//! Who is calling? An access token and a connection become a verified token, or a refusal.
//!
//! Invariants: a [`VerifiedToken`] is made by [`Issuer::verify`] only, after the checks of RFC 9068 §4 in their order;
//! expiry, revocation, the sender constraint and the trust in the signing key are checked on every request, also when
//! the signature check is remembered; a fault of ours is never answered as a fault of the caller's. A token that is bound
//! to a key passes with a proof by that key ([`dpop`]) and never as a bearer token.
//!
//! A remembered token costs one SHA-256 and four look-ups, and allocates nothing: see [`Authenticator::authenticate`].

mod authenticator;
mod challenge;
mod credentials;
pub mod dpop;
mod error;
mod issuer;
mod remote_keys;
mod revocations;
mod settings;
mod token;

#[cfg(test)]
pub(crate) mod tests;

pub use authenticator::{Authenticator, CACHED_TOKENS_MAX};
pub use challenge::Challenges;
pub use credentials::{Credentials, Scheme};
pub use error::{AuthnError, IssuerError, JwksFetchError, RemoteKeysError};
pub use issuer::Issuer;
pub use remote_keys::RemoteKeys;
pub use revocations::{REVOCATIONS_MAX, Revocations};
pub use settings::{IssuerSettings, JwksSource, UnknownPartners};
pub use token::{Binding, DETAILS_BYTES_MAX, Details, VerifiedToken};
