//! Where may we go on a stranger's word? URLs that clients name (`jwks_uri`, notification endpoints, sector identifiers),
//! fetched without lending the stranger our place in the network (server-side request forgery).
//!
//! Invariants: https only; the address that was judged is the address that is connected to (no rebinding between the
//! two); what is not plainly public is refused unless the operator allowed it; no redirect is followed, no proxy of the
//! environment is asked, no credential in a URL is sent; each exchange is bounded in time, in bytes and in number.

mod address;
mod client;
mod error;
mod resolver;
mod settings;

#[cfg(test)]
pub(crate) mod tests;

pub use client::{Outbound, Received};
pub use error::{OutboundError, SetupError, UrlError};
pub use settings::{AllowedPeer, AllowedPeerError, OutboundSettings};
