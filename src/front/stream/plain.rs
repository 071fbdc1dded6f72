//! Plain requests, which go past Pingora: their header in one piece, their body, if there is one, part by part.

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
    /// The header of a plain request; its body, if there is one, is still to be read.
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
                    let taken = if plain { self.take_plain(bytes) } else { None };
                    return Poll::Ready(Ok(taken.map_or(Asked::Other, Asked::Plain)));
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
    fn take_plain(&mut self, bytes: usize) -> Option<RequestHeader> {
        let head = Bytes::copy_from_slice(self.inbox.get(..bytes)?);
        let request = read_plain(&head)?;
        self.inbox.advance(bytes);
        self.phase = Phase::Body;
        self.taken = (!self.body.is_done()).then_some(head);
        Some(request)
    }

    /// Takes a plain request back, of whose body nothing was read: it is handed over once more, to Pingora. False if there
    /// is none.
    pub fn take_back(&mut self) -> bool {
        let Some(head) = self.taken.take() else { return false };
        let mut inbox = BytesMut::with_capacity(head.len() + self.inbox.len());
        inbox.extend_from_slice(&head);
        inbox.extend_from_slice(&self.inbox);
        self.inbox = inbox;
        self.phase = Phase::HandOver { left: head.len(), plain: false };
        true
    }

    /// The next part of the body of a plain request; `None` at its end.
    pub(in crate::front) async fn part(&mut self) -> io::Result<Option<Bytes>> {
        poll_fn(|cx| self.poll_part(cx)).await
    }

    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        self.heed_cut(cx)?;
        if self.body.is_done() {
            return Poll::Ready(Ok(None));
        }
        if !matches!(self.phase, Phase::Body) {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())); // It will never be whole.
        }
        self.taken = None;
        if self.inbox.is_empty() {
            match self.fill(cx)? {
                Poll::Ready(0) => {
                    self.phase = Phase::Over;
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
                Poll::Ready(_) => self.reading.clear(),
                Poll::Pending => return self.wait_for_body(cx),
            }
        }
        let taken = self.body.advance(&self.inbox).map_err(|fault| self.spoil(fault))?;
        let part = Bytes::copy_from_slice(self.inbox.get(..taken).unwrap_or_default());
        self.inbox.advance(taken);
        Poll::Ready(Ok(Some(part)))
    }

    /// Nothing of the request in work is left to be read.
    pub(in crate::front) const fn is_read(&self) -> bool {
        self.body.is_done()
    }

    /// Resolves when the client is gone, while its request is in work; not as long as some of it is still to be read.
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
                Phase::Body => return Poll::Pending, // Whoever reads on learns of it.
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
