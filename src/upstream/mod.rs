//! Which back end takes this request, and with which credentials of ours? Pools, health, circuit breaking, peers.
//!
//! Invariants: only `peer` builds an `HttpPeer`, and never from a caller's input; connections are shared only between
//! exchanges of one pool with one identity; nothing on the request path resolves a name, reads a file or holds a lock over a
//! wait, except to wait for the one token request under way; no back end healthy is a 503, never a guess.

mod backend;
mod credential;
mod error;
mod framing;
mod fuse;
mod health;
mod http1;
mod identity;
mod idle;
mod load;
mod paced;
mod peer;
mod pool;
mod session;
mod settings;
mod target;
mod transport;

pub use backend::{Outcome, Picked};
pub use error::{CredentialError, NoBackend, PoolError, PoolFull, UrlFault};
pub use framing::Frame;
pub use fuse::{BURN_EVERY, Fuse, Fuses};
pub use health::Shutdown;
#[cfg(fuzzing)]
pub use http1::fuzzing;
pub use peer::PeerTerms;
pub use pool::{BackendHealth, BackendStatus, InFlight, Pool, Tried};
pub use session::Session;
pub use settings::{
    BackendSettings, BreakerSettings, CredentialSettings, HealthSettings, PoolSettings, Timeouts, UpstreamTls,
};
pub use transport::{NO_ROOTS_FILE, Transport};

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
