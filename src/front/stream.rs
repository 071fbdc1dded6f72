//! The stream between a client and Pingora: deadlines, bounds, strict HTTP/1 framing.
//!
//! HTTP/1: a header section is held back until it is whole and sound, then handed over in one piece; not a byte
//! beyond the message in work is handed over before the request is finished. So Pingora never waits for, guesses at
//! or mixes up anything. HTTP/2: bytes pass; the frame headers tell whether a header block is under way.
//! Invariants: the input held back is at most a header section and one read; a stream that was refused or cut hands
//! over nothing more.

mod plain;
mod read;
mod transport;
mod write;

use std::fmt;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::tls::SslDigest;
use pingora_core::protocols::{
    ALPN, Digest, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest,
    UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, timeout};

use super::alarm::Alarm;
use super::caps::Place;
use super::http1::{BodyScanner, HeadScanner};
use super::http2::FrameWatch;
use super::state::ConnectionState;
pub use plain::Asked;
pub(super) use transport::{Tcp, Transport};

/// After a close of ours, how long and how much of the peer's data is still taken in, so that the last answer is not
/// destroyed by a reset (RFC 9112 §9.6).
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: usize = 256 * 1024;

/// What the bytes that come in next are.
enum Phase {
    /// A header section.
    Head(HeadScanner),
    /// A sound header section, of which so many bytes are still to be handed over. Plain: [`super::http1::Head::is_plain`].
    HandOver { left: usize, plain: bool },
    /// A request body.
    Body,
    /// Whatever follows the request in work.
    AwaitFinish,
    /// Not HTTP any more.
    Tunnel,
    /// HTTP/2 frames.
    Frames(FrameWatch),
    /// Refused: the answer is on its way out.
    Refused,
    /// Nothing is handed over any more.
    Over,
}

/// What the digests tell Pingora and the filters of this connection.
pub(super) struct Digests {
    pub tls: Option<Arc<SslDigest>>,
    pub proxy: Arc<ProxyDigest>,
    pub socket: Arc<SocketDigest>,
    pub http2: bool,
}

/// The `IO` that Pingora is given.
pub struct GuardedStream {
    /// `None` once dropped.
    transport: Option<Transport>,
    state: Arc<ConnectionState>,
    digests: Digests,
    place: Option<Place>,
    phase: Phase,
    body: BodyScanner,
    /// The header of a plain request of whose body nothing was read yet.
    taken: Option<Bytes>,
    /// Bytes received and not handed over.
    inbox: BytesMut,
    /// Bytes of an answer not sent yet: small writes leave together.
    outbox: BytesMut,
    /// Heads handed over.
    heads: u64,
    /// End of the time for the header section, or the body, that is under way.
    due: Option<Instant>,
    reading: Alarm,
    writing: Alarm,
    /// Bytes that the peer took since it first made us wait.
    taken_while_waiting: usize,
    closed_by_peer: bool,
    shut: bool,
}

impl fmt::Debug for GuardedStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardedStream").field("state", &self.state).finish_non_exhaustive()
    }
}

impl GuardedStream {
    /// `inbox` holds what was read ahead: the preface of HTTP/2.
    pub(super) fn new(
        transport: Transport,
        state: Arc<ConnectionState>,
        digests: Digests,
        place: Place,
        inbox: BytesMut,
    ) -> Self {
        let phase =
            if digests.http2 { Phase::Frames(FrameWatch::default()) } else { Phase::Head(HeadScanner::default()) };
        let due = Instant::now() + state.front().limits.header_timeout;
        Self {
            transport: Some(transport),
            state,
            digests,
            place: Some(place),
            phase,
            body: BodyScanner::new(super::http1::Framing::None),
            taken: None,
            inbox,
            outbox: BytesMut::new(),
            heads: 0,
            due: Some(due),
            reading: Alarm::new(),
            writing: Alarm::new(),
            taken_while_waiting: 0,
            closed_by_peer: false,
            shut: false,
        }
    }

    /// What Pingora is told of the connection, and [`super::downstream`] finds it by.
    pub fn digest(&self) -> Digest {
        Digest {
            ssl_digest: self.get_ssl_digest(),
            timing_digest: self.get_timing_digest(),
            proxy_digest: self.get_proxy_digest(),
            socket_digest: self.get_socket_digest(),
        }
    }

    fn transport(&mut self) -> std::io::Result<Pin<&mut Transport>> {
        self.transport.as_mut().map(Pin::new).ok_or_else(|| std::io::ErrorKind::NotConnected.into())
    }
}

impl AsyncRead for GuardedStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        self.take_in(cx, buf)
    }
}

impl AsyncWrite for GuardedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        self.send(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        self.send_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.digests.http2
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.send_all(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.close(cx)
    }
}

impl Drop for GuardedStream {
    fn drop(&mut self) {
        let Some(transport) = self.transport.take() else { return };
        let quiet = match self.phase {
            Phase::Head(_) | Phase::AwaitFinish | Phase::Frames(_) | Phase::Tunnel => self.inbox.is_empty(),
            Phase::HandOver { .. } | Phase::Body | Phase::Refused | Phase::Over => false,
        };
        if self.closed_by_peer || self.state.is_cut() || (self.shut && quiet) {
            return;
        }
        let (outbox, place) = (std::mem::take(&mut self.outbox), self.place.take());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let _ = timeout(LINGER, linger(transport, &outbox)).await;
                drop(place);
            });
        }
    }
}

/// Sends what is left, says that it was all, and takes in what the peer is still sending.
async fn linger(mut transport: Transport, outbox: &[u8]) -> std::io::Result<()> {
    transport.write_all(outbox).await?;
    transport.shutdown().await?;
    let (mut scratch, mut taken) = (vec![0; 8192], 0);
    while taken < LINGER_BYTES_MAX {
        match transport.read(&mut scratch).await? {
            0 => break,
            n => taken += n,
        }
    }
    Ok(())
}

#[async_trait]
impl Shutdown for GuardedStream {
    async fn shutdown(&mut self) {
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}

impl UniqueID for GuardedStream {
    fn id(&self) -> UniqueIDType {
        self.transport.as_ref().map_or(-1, |transport| transport.tcp().as_raw_fd())
    }
}

impl Ssl for GuardedStream {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.digests.tls.clone()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        Some(if self.digests.http2 { ALPN::H2 } else { ALPN::H1 })
    }
}

impl GetTimingDigest for GuardedStream {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for GuardedStream {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        Some(Arc::clone(&self.digests.proxy))
    }
}

impl GetSocketDigest for GuardedStream {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(Arc::clone(&self.digests.socket))
    }
}

impl Peek for GuardedStream {}
