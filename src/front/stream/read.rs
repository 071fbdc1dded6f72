//! What comes in: judged, bounded, and handed over message by message.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};
use tokio::time::Instant;

use super::{GuardedStream, Phase};
use crate::domain::InteractionId;
use crate::front::accept::NEWCOMER_LINGER;
use crate::front::http1::{BodyScanner, Fault, Framing, HeadLimits, HeadScanner};
use crate::front::{Cut, Malformed, refusal};
use crate::problem::{Kind, Problem};

const READ_BYTES: usize = 4 * 1024;
/// Beyond these Pingora refuses by itself, and tells nobody.
const PINGORA_HEADER_BYTES_MAX: usize = 1024 * 1024 - 1;
const PINGORA_FIELDS_MAX: usize = 256;
/// A client may send its next request ahead of the answer; so much of it is taken in.
const AHEAD_BYTES_MAX: usize = 16 * 1024;
/// How long the answer to a refused request may take to leave.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(2);
/// What a drained HTTP/2 client may still send after GOAWAY (RFC 9113 §6.8).
const GOAWAY_LINGER: Duration = Duration::from_secs(1);

impl GuardedStream {
    pub(super) fn take_in(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.heed_cut(cx)?;
        loop {
            match &mut self.phase {
                Phase::Head(_) => ready!(self.read_head(cx))?,
                Phase::HandOver { .. } => return self.hand_over(buf),
                Phase::Body if self.body.is_done() => self.phase = Phase::AwaitFinish,
                Phase::Body => return self.read_body(cx, buf),
                Phase::AwaitFinish => ready!(self.await_finish(cx))?,
                Phase::Tunnel => return self.read_tunnel(cx, buf),
                Phase::Frames(_) => return self.read_frames(cx, buf),
                Phase::Refused => {
                    let _ = ready!(self.finish_refusal(cx));
                    self.phase = Phase::Over;
                }
                Phase::Over => return Poll::Ready(Ok(())), // The end of the stream, quietly.
            }
        }
    }

    /// Whoever reads is woken when the connection is cut, and reads nothing more then.
    pub(super) fn heed_cut(&self, cx: &Context<'_>) -> io::Result<()> {
        self.state.reader().register(cx.waker());
        if self.state.is_cut() { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }

    /// Takes in bytes until a header section is whole, or refuses it.
    pub(super) fn read_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let limits = &self.state.front().limits;
        let head_limits = HeadLimits {
            bytes_max: limits.header_bytes_max.min(PINGORA_HEADER_BYTES_MAX),
            fields_max: limits.header_count_max.min(PINGORA_FIELDS_MAX),
            target_bytes_max: limits.uri_bytes_max,
        };
        let (header_timeout, body_timeout) = (limits.header_timeout, limits.body_timeout);
        let Phase::Head(scanner) = &mut self.phase else { return Poll::Ready(Ok(())) };
        match scanner.advance(&self.inbox, &head_limits) {
            Ok(Some(head)) => {
                self.inbox.advance(head.skip);
                self.body = BodyScanner::new(head.framing);
                self.due = (head.framing != Framing::None).then(|| Instant::now() + body_timeout);
                self.heads += 1;
                self.reading.clear();
                self.phase = Phase::HandOver { left: head.bytes, plain: head.is_plain };
                return Poll::Ready(Ok(()));
            }
            Ok(None) => {}
            Err(fault) => return Poll::Ready(self.refuse_fault(fault)),
        }
        if self.inbox.is_empty() && self.state.is_draining() {
            if self.heads > 0 || self.first_request_due() <= Instant::now() {
                self.phase = Phase::Over;
                return Poll::Ready(Ok(()));
            }
            self.due = self.due.map(|due| due.min(self.first_request_due()));
        }
        let waited = self.inbox.is_empty();
        match self.fill(cx)? {
            Poll::Ready(0) => self.phase = Phase::Over,
            Poll::Ready(_) if waited && (self.heads > 0 || self.state.is_draining()) => {
                self.due = Some(Instant::now() + header_timeout);
            }
            Poll::Ready(_) => {}
            Poll::Pending => return self.wait_for_head(cx),
        }
        Poll::Ready(Ok(()))
    }

    /// While draining.
    fn first_request_due(&self) -> Instant {
        self.state.drained_at() + NEWCOMER_LINGER
    }

    fn wait_for_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(due) = self.due {
            self.reading.set(due);
        }
        if !self.reading.is_past(cx) {
            return Poll::Pending;
        }
        if self.inbox.is_empty() {
            self.state.report_cut(match (self.heads, self.state.is_draining()) {
                (0, false) => Cut::HeaderTimeout,
                (0, true) => Cut::Drain,
                _ => Cut::Idle,
            });
            self.phase = Phase::Over;
        } else {
            self.state.report_cut(Cut::HeaderTimeout);
            self.refuse(&Problem::new(Kind::RequestTimeout));
        }
        Poll::Ready(Ok(()))
    }

    fn hand_over(&mut self, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Phase::HandOver { left, .. } = &mut self.phase else { return Poll::Ready(Ok(())) };
        let step = (*left).min(buf.remaining());
        buf.put_slice(self.inbox.get(..step).unwrap_or_default());
        self.inbox.advance(step);
        *left -= step;
        if *left == 0 {
            self.phase = Phase::Body;
        }
        Poll::Ready(Ok(()))
    }

    fn read_body(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.inbox.is_empty() {
            let ahead = self.inbox.get(..self.inbox.len().min(buf.remaining())).unwrap_or_default();
            let taken = match self.body.advance(ahead) {
                Ok(taken) => taken,
                Err(fault) => return Poll::Ready(Err(self.spoil(fault))),
            };
            buf.put_slice(ahead.get(..taken).unwrap_or_default());
            self.inbox.advance(taken);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let left = self.body.bytes_left().map_or(usize::MAX, |left| usize::try_from(left).unwrap_or(usize::MAX));
        let read = if left < buf.remaining() {
            let mut part = ReadBuf::new(buf.initialize_unfilled_to(left));
            let read = self.transport()?.poll_read(cx, &mut part);
            let bytes = part.filled().len();
            buf.advance(bytes);
            read
        } else {
            self.transport()?.poll_read(cx, buf)
        };
        match read {
            Poll::Ready(Ok(())) => self.take_body(buf, before),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => self.wait_for_body(cx),
        }
    }

    /// Gives back to the inbox what is beyond the message.
    fn take_body(&mut self, buf: &mut ReadBuf<'_>, before: usize) -> Poll<io::Result<()>> {
        self.reading.clear();
        let fresh = buf.filled().get(before..).unwrap_or_default();
        if fresh.is_empty() {
            self.closed_by_peer = true;
            self.phase = Phase::Over;
            return Poll::Ready(Ok(()));
        }
        match self.body.advance(fresh) {
            Ok(taken) => {
                self.inbox.extend_from_slice(fresh.get(taken..).unwrap_or_default());
                buf.set_filled(before + taken);
                Poll::Ready(Ok(()))
            }
            Err(fault) => {
                buf.set_filled(before);
                Poll::Ready(Err(self.spoil(fault)))
            }
        }
    }

    pub(super) fn wait_for_body<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if !self.reading.is_set() {
            let silent = Instant::now() + self.state.front().limits.body_idle_timeout;
            self.reading.set(self.due.map_or(silent, |due| due.min(silent)));
        }
        if !self.reading.is_past(cx) {
            return Poll::Pending;
        }
        let whole = self.due.is_some_and(|due| due <= Instant::now());
        self.state.report_cut(if whole { Cut::BodyTimeout } else { Cut::BodyIdle });
        self.phase = Phase::Over;
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Holds back what follows until the request in work is finished; notices when the peer goes away.
    pub(super) fn await_finish(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.state.is_upgraded() {
            self.phase = Phase::Tunnel;
            return Poll::Ready(Ok(()));
        }
        if self.state.begun() < self.heads {
            // Pingora asks for more of a header section that we saw end: what comes next could be smuggled into it.
            return Poll::Ready(Err(self.spoil(Fault::Disagreement)));
        }
        if self.state.in_work() == 0 {
            self.due = Some(Instant::now() + self.state.front().limits.idle_timeout);
            if self.inbox.is_empty() {
                // An idle connection holds no buffers.
                self.inbox = BytesMut::new();
                if self.outbox.is_empty() {
                    self.outbox = BytesMut::new();
                }
            } else {
                self.due = Some(Instant::now() + self.state.front().limits.header_timeout);
            }
            self.reading.clear();
            self.phase = Phase::Head(HeadScanner::default());
            return Poll::Ready(Ok(()));
        }
        if self.inbox.len() >= AHEAD_BYTES_MAX {
            return Poll::Pending;
        }
        if ready!(self.fill(cx))? == 0 {
            self.phase = Phase::Over;
        }
        Poll::Ready(Ok(()))
    }

    fn read_tunnel(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.inbox.is_empty() {
            return self.transport()?.poll_read(cx, buf);
        }
        self.hand_over_ahead(buf);
        Poll::Ready(Ok(()))
    }

    fn hand_over_ahead(&mut self, buf: &mut ReadBuf<'_>) {
        let step = self.inbox.len().min(buf.remaining());
        buf.put_slice(self.inbox.get(..step).unwrap_or_default());
        self.inbox.advance(step);
    }

    fn read_frames(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.inbox.is_empty() {
            self.hand_over_ahead(buf); // The preface, which is not a frame.
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        match self.transport()?.poll_read(cx, buf) {
            Poll::Ready(Ok(())) => {
                let fresh = buf.filled().get(before..).unwrap_or_default();
                self.closed_by_peer |= fresh.is_empty();
                let Phase::Frames(watch) = &mut self.phase else { return Poll::Ready(Ok(())) };
                let earlier = watch.open_block();
                watch.feed(fresh);
                if watch.open_block() != earlier {
                    self.due = Some(Instant::now() + self.state.front().limits.header_timeout);
                }
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => self.wait_for_frames(cx),
        }
    }

    /// The header block that is under way ends in time; a connection without work ends after its idle time. While
    /// requests are in work the alarm is only a look-out, because nobody wakes this task when the last one ends.
    fn wait_for_frames(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let (now, idle) = (Instant::now(), self.state.front().limits.idle_timeout);
            let open = matches!(&self.phase, Phase::Frames(watch) if watch.open_block().is_some());
            let block = if open { self.due } else { None };
            let quiet = match (self.state.in_work(), self.state.is_draining()) {
                (0, true) => Some((self.state.quiet_since().max(self.state.drained_at()) + GOAWAY_LINGER, Cut::Drain)),
                (0, false) if block.is_none() => Some((self.state.quiet_since() + idle, Cut::Idle)),
                _ => None, // At work, or under way with a header block, which has a time of its own.
            };
            let cut = match (block, quiet) {
                (Some(due), _) if due <= now => Some(Cut::HeaderTimeout),
                (_, Some((due, cut))) if due <= now => Some(cut),
                _ => None,
            };
            if let Some(cut) = cut {
                self.state.report_cut(cut);
                self.phase = Phase::Over;
                return Poll::Ready(Ok(()));
            }
            let next = quiet.map_or(now + idle, |(due, _)| due);
            self.reading.set(block.map_or(next, |due| due.min(next)));
            if !self.reading.is_past(cx) {
                return Poll::Pending;
            }
        }
    }

    /// Reads ahead into the inbox; zero is the end of the stream.
    pub(super) fn fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some(transport) = self.transport.as_mut() else { return Poll::Ready(Ok(0)) };
        self.inbox.reserve(READ_BYTES);
        let read = pin!(transport.read_buf(&mut self.inbox)).poll(cx);
        if let Poll::Ready(Ok(0) | Err(_)) = read {
            self.closed_by_peer = true;
        }
        read
    }

    fn refuse_fault(&mut self, fault: Fault) -> io::Result<()> {
        let interaction = self.refuse(&refusal::problem(fault));
        self.state.report_malformed(Malformed { fault, interaction: Some(interaction) });
        Ok(())
    }

    /// Answers in place of Pingora, which sees nothing but the end of the stream.
    fn refuse(&mut self, problem: &Problem) -> InteractionId {
        let front = self.state.front();
        let interaction = InteractionId::from_random(front.random.bytes());
        self.outbox.extend_from_slice(&refusal::answer(problem, &front.public_url, interaction));
        self.reading.set(Instant::now() + REFUSAL_TIMEOUT);
        self.phase = Phase::Refused;
        interaction
    }

    pub(super) fn finish_refusal(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.close(cx) {
            Poll::Pending if !self.reading.is_past(cx) => Poll::Pending,
            Poll::Pending => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Ready(result) => Poll::Ready(result),
        }
    }

    /// Ends the input within a request, whose filter or upstream sees the error and answers.
    pub(super) fn spoil(&mut self, fault: Fault) -> io::Error {
        self.state.report_malformed(Malformed { fault, interaction: None });
        self.phase = Phase::Over;
        io::Error::new(io::ErrorKind::InvalidData, fault)
    }
}
