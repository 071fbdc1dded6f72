//! What goes out: small writes together, and a peer that does not read is not waited for.

use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

use bytes::Buf;
use tokio::io::AsyncWrite;
use tokio::time::Instant;

use super::{GuardedStream, Phase};
use crate::front::Cut;

/// Writes up to this size are held until the next flush, so that a header and a short body are one packet.
const OUTBOX_BYTES_MAX: usize = 8 * 1024;
/// What a peer that makes us wait must take within `body_idle_timeout` to be waited for again.
const PROGRESS_BYTES: usize = 4 * 1024;

impl GuardedStream {
    pub(super) fn send(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_over() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if self.digests.http2 {
            return self.write_through(cx, buf);
        }
        if self.outbox.len() + buf.len() > OUTBOX_BYTES_MAX {
            ready!(self.empty_outbox(cx))?;
        }
        if buf.len() > OUTBOX_BYTES_MAX {
            return self.write_through(cx, buf);
        }
        self.outbox.extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    pub(super) fn send_vectored(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if !self.digests.http2 {
            let first = bufs.iter().find(|buf| !buf.is_empty()).map_or(&[][..], |buf| buf);
            return self.send(cx, first);
        }
        if self.is_over() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let written = self.transport()?.poll_write_vectored(cx, bufs);
        self.timed(cx, written)
    }

    pub(super) fn send_all(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.empty_outbox(cx))?;
        match self.transport()?.poll_flush(cx) {
            Poll::Ready(result) => {
                self.writing.clear();
                self.taken_while_waiting = 0;
                Poll::Ready(result)
            }
            Poll::Pending => self.wait_for_peer(cx),
        }
    }

    pub(super) fn close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.send_all(cx))?;
        match self.transport()?.poll_shutdown(cx) {
            Poll::Ready(result) => {
                self.shut = true;
                Poll::Ready(result)
            }
            Poll::Pending => self.wait_for_peer(cx),
        }
    }

    /// Nothing of Pingora's may follow an answer of ours, or go to a connection that was cut.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Refused) || self.shut || self.state.is_cut()
    }

    pub(super) fn empty_outbox(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outbox.is_empty() {
            let outbox = std::mem::take(&mut self.outbox);
            let written = self.write_through(cx, &outbox);
            self.outbox = outbox;
            match ready!(written)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => self.outbox.advance(n),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn write_through(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = self.transport()?.poll_write(cx, buf);
        self.timed(cx, written)
    }

    /// Watches over the outcome of a write: a peer that made us wait must take enough in time.
    fn timed(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(n)) => {
                self.taken_while_waiting += n;
                if self.taken_while_waiting >= PROGRESS_BYTES {
                    self.writing.clear();
                    self.taken_while_waiting = 0;
                }
                Poll::Ready(Ok(n))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => self.wait_for_peer(cx),
        }
    }

    fn wait_for_peer<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if !self.writing.is_set() {
            self.taken_while_waiting = 0;
            self.writing.set(Instant::now() + self.state.front().limits.body_idle_timeout);
        }
        if !self.writing.is_past(cx) {
            return Poll::Pending;
        }
        self.state.report_cut(Cut::WriteStall);
        self.state.cut();
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}
