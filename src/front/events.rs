//! What the front door tells the server that no request's record can tell.

use std::net::SocketAddr;

use super::certificate::CertificateFault;
use super::{ConnectionRefusal, http1};
use crate::domain::InteractionId;

/// Why a TLS handshake came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandshakeFailure {
    /// Not finished within `handshake_timeout`.
    Timeout,
    /// The peer went away.
    Closed,
    /// The client certificate is not one that we take.
    Certificate(CertificateFault),
    /// Anything else that rustls refused: its words, which carry nothing of the peer's.
    Protocol(String),
}

/// Why a connection that got as far as HTTP was ended by us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// A header section (or the HTTP/2 preface) was not complete in time.
    HeaderTimeout,
    /// Nothing was asked for `idle_timeout`. The ordinary end of a kept connection.
    Idle,
    /// A body paused for `body_idle_timeout`.
    BodyIdle,
    /// A body took longer than `body_timeout`.
    BodyTimeout,
    /// The peer does not read what it asked for.
    WriteStall,
    /// The process drains.
    Drain,
}

impl Cut {
    /// For metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::HeaderTimeout => "header_timeout",
            Self::Idle => "idle",
            Self::BodyIdle => "body_idle",
            Self::BodyTimeout => "body_timeout",
            Self::WriteStall => "write_stall",
            Self::Drain => "drain",
        }
    }
}

/// Bytes that were refused before they became a request that a filter sees.
#[derive(Debug, Clone, Copy)]
pub struct Malformed {
    pub fault: http1::Fault,
    /// The id in the answer, if one was written: `None` when the body was at fault, whose request has its own record.
    pub interaction: Option<InteractionId>,
}

/// Who wants to know: audit and metrics. Called on connection tasks, so it must not block.
pub trait FrontEvents: Send + Sync {
    fn connection_opened(&self, listener: &str);
    /// Follows each [`Self::connection_opened`], however the connection ends.
    fn connection_closed(&self, listener: &str);
    fn connection_refused(&self, listener: &str, peer: SocketAddr, refusal: ConnectionRefusal);
    fn connection_cut(&self, listener: &str, peer: SocketAddr, cut: Cut);
    fn handshake_failed(&self, listener: &str, peer: SocketAddr, failure: &HandshakeFailure);
    fn request_malformed(&self, listener: &str, peer: SocketAddr, malformed: Malformed);
    /// A connection's task panicked; its connection is gone, the process is not.
    fn panicked(&self, listener: &str);
    /// The system would not give us a connection (no descriptors left, for instance).
    fn accept_failed(&self, listener: &str, error: &std::io::Error);
}
