//! Plain requests, which go past Pingora: whole, in one piece, and nothing is left of them to be read.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use pingora_http::RequestHeader;

use super::{GuardedStream, Phase};
use crate::domain::Downstream;
use crate::front::http1::read_plain;

/// What comes next on a connection of HTTP/1.
#[expect(clippy::large_enum_variant, reason = "most requests are plain")]
pub enum Asked {
    /// A plain request. There is no more of it.
    Plain(RequestHeader),
    /// A request that is still to be read, by Pingora.
    Other,
    /// Nothing: the connection is at its end.
    Nothing,
}

impl GuardedStream {
    /// Waits for the next request, or answers what is none. What is in work on this connection must be over.
    pub async fn next(&mut self) -> io::Result<Asked> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Asked>> {
        self.heed_cut(cx)?;
        loop {
            match &mut self.phase {
                Phase::Head(_) => ready!(self.read_head(cx))?,
                Phase::HandOver { left, plain } => {
                    let (bytes, plain) = (*left, *plain);
                    return Poll::Ready(Ok(self.take_plain(bytes, plain).map_or(Asked::Other, Asked::Plain)));
                }
                Phase::Body if self.body.is_done() => self.phase = Phase::AwaitFinish,
                Phase::AwaitFinish => ready!(self.await_finish(cx))?,
                Phase::Refused => {
                    let _ = ready!(self.finish_refusal(cx));
                    self.phase = Phase::Over;
                }
                // Half a body, another protocol: nothing that a request could follow.
                Phase::Body | Phase::Tunnel | Phase::Frames(_) | Phase::Over => return Poll::Ready(Ok(Asked::Nothing)),
            }
        }
    }

    /// A copy, so that the inbox stays where it is, and whoever keeps a field for longer keeps no more than the head.
    fn take_plain(&mut self, bytes: usize, plain: bool) -> Option<RequestHeader> {
        let head = self.inbox.get(..bytes).filter(|_| plain)?;
        let request = read_plain(&Bytes::copy_from_slice(head))?;
        self.inbox.advance(bytes);
        self.phase = Phase::Body;
        Some(request)
    }

    /// Resolves when the client is gone, while its request is in work.
    pub async fn gone(&mut self) {
        poll_fn(|cx| self.poll_gone(cx)).await;
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.heed_cut(cx).is_err() {
            return Poll::Ready(());
        }
        loop {
            match self.phase {
                Phase::Body if self.body.is_done() => self.phase = Phase::AwaitFinish,
                Phase::AwaitFinish => {
                    if ready!(self.await_finish(cx)).is_err() {
                        return Poll::Ready(());
                    }
                }
                _ => return Poll::Ready(()),
            }
        }
    }

    /// Adds to what leaves with the next flush.
    pub fn collect(&mut self, write: impl FnOnce(&mut BytesMut)) -> io::Result<()> {
        if self.is_over() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        write(&mut self.outbox);
        Ok(())
    }

    pub const fn is_http2(&self) -> bool {
        self.digests.http2
    }

    /// The connection, as requests know it.
    pub fn downstream(&self) -> Arc<dyn Downstream> {
        Arc::clone(&self.state) as Arc<dyn Downstream>
    }
}
