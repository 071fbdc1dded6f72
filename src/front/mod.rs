//! May this connection speak to us? Listeners, TLS, trust store, deadlines, caps, flood guard.
//!
//! Our own accept loop stands in front of Pingora: [`Front::bind`] opens a listener, [`Front::serve`] accepts on it,
//! ends TLS, wraps the connection in a stream that holds every deadline and bound, and hands it to any
//! `pingora_core::apps::ServerApp`. Whoever serves a request gets at its connection by [`downstream`].
//! Invariants: every wait on a peer has a deadline; what an outsider can fill has a bound; Pingora's HTTP/1 parser
//! sees whole, sound header sections and nothing beyond the message in work; a panic costs one connection.

mod accept;
mod alarm;
mod caps;
mod certificate;
mod events;
mod exchange;
mod flood;
pub mod http1;
mod http2;
mod inherited;
mod listener;
mod reading;
mod refusal;
mod settings;
mod state;
mod stream;
mod tls;
mod trust;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use pingora_core::protocols::Digest;

pub use accept::{Drained, Front, FrontParts};
pub use caps::ConnectionRefusal;
pub use certificate::{CHAIN_BYTES_MAX, CHAIN_CERTIFICATES_MAX, CertificateFault};
pub use events::{Cut, FrontEvents, HandshakeFailure, Malformed};
pub use exchange::Exchange;
pub use flood::{FloodGuard, FloodKey};
pub use http2::{Http2Exchange, accept_http2, unread};
pub use inherited::Inherited;
pub use listener::{BoundListener, FrontError};
pub use settings::{
    CertificateFiles, ClientCertificate, EdgeLimits, FloodSettings, ListenerSettings, ListenerTls, ProxyField,
    TrustedProxies,
};
pub use state::ConnectionState;
pub use stream::{Asked, GuardedStream};
pub use tls::{ServerCertificate, crypto_provider};
pub use trust::{Trust, TrustError};

use crate::domain::Downstream;

/// Parsers that no other room needs, for the fuzzers.
#[cfg(fuzzing)]
pub mod fuzzing {
    pub use super::certificate::{CertificateFacts, read_chain};
    pub use super::http2::FrameWatch;
}

/// The connection beneath a Pingora session, from `session.digest()`.
pub fn downstream(digest: Option<&Digest>) -> Option<&Arc<dyn Downstream>> {
    digest?.proxy_digest.as_deref()?.user_data.as_deref()?.downcast_ref()
}

/// HTTP/2 within our bounds.
pub fn http2_options(limits: &EdgeLimits) -> h2::server::Builder {
    let mut options = h2::server::Builder::new();
    let streams = u32::try_from(limits.in_flight_per_connection_max).unwrap_or(u32::MAX);
    options
        .max_header_list_size(u32::try_from(limits.header_bytes_max).unwrap_or(u32::MAX))
        .max_concurrent_streams(streams)
        // A stream that was reset before it was accepted still has its header in memory.
        .max_pending_accept_reset_streams(RESET_STREAMS_MAX)
        .max_concurrent_reset_streams(RESET_STREAMS_MAX)
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buffer_size(SEND_BUFFER_BYTES);
    options
}

const RESET_STREAMS_MAX: usize = 20;
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
// What a client may make us hold of bodies that no filter reads, per connection.
const CONNECTION_WINDOW_BYTES: u32 = 128 * 1024;
const SEND_BUFFER_BYTES: usize = 64 * 1024;
