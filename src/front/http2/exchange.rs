//! One request of HTTP/2 and its answer, without Pingora.
//!
//! Invariants: no more of an answer is handed over than the peer has room for, so that one that does not read fills
//! nothing; an answer that was not sent whole ends with a reset, which nobody takes for its end (RFC 9113 §8.1).

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::header::{CONNECTION, DATE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, Request, Response, StatusCode, response};
use pingora_core::protocols::Digest;
use pingora_core::protocols::http::date::get_cached_date;
use pingora_http::{RequestHeader, ResponseHeader};
use tokio::time::timeout;

use crate::domain::Downstream;
use crate::front::downstream;

/// RFC 9113 §8.2.2: fields of HTTP/1.1 connections.
const HOP: [HeaderName; 5] = [
    CONNECTION,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// By how much a stalled connection is noticed before a stalled stream of it.
const GRACE: Duration = Duration::from_secs(1);

/// A request in work.
pub struct Http2Exchange {
    request: RequestHeader,
    body: RecvStream,
    /// The request's body was read to its end.
    body_ended: bool,
    body_bytes: u64,
    respond: SendResponse<Bytes>,
    /// Present once the answer's header was sent.
    answer: Option<SendStream<Bytes>>,
    /// Of the last header that was sent.
    status: Option<StatusCode>,
    answer_bytes: u64,
    /// The end of the answer was sent.
    ended: bool,
    /// How long the peer may be silent within the request's body, or leave no room for more of the answer's.
    patience: Duration,
    /// Of the connection.
    pub(super) digest: Arc<Digest>,
}

impl Http2Exchange {
    pub(super) fn new(request: Request<RecvStream>, respond: SendResponse<Bytes>, digest: Arc<Digest>) -> Self {
        let (head, body) = request.into_parts();
        Self {
            request: head.into(),
            body,
            body_ended: false,
            body_bytes: 0,
            respond,
            answer: None,
            status: None,
            answer_bytes: 0,
            ended: false,
            patience: Duration::MAX,
            digest,
        }
    }

    pub fn downstream(&self) -> Option<&Arc<dyn Downstream>> {
        downstream(Some(&self.digest))
    }

    pub const fn request(&self) -> &RequestHeader {
        &self.request
    }

    pub const fn request_mut(&mut self) -> &mut RequestHeader {
        &mut self.request
    }

    /// How long the peer may be silent within the request's body, and little longer without room for more of the answer's;
    /// without end unless set. The connection's own stall is noticed first, and reported.
    pub const fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// The stream ended with the request's header, or without a byte behind it; not because a length says so
    /// (RFC 9113 §8.1.1).
    pub fn is_body_empty(&self) -> bool {
        self.body_bytes == 0 && self.is_body_done()
    }

    pub fn is_body_done(&self) -> bool {
        self.body_ended || self.body.is_end_stream()
    }

    /// The next part of the request's body. Trailers are its end.
    pub async fn read_body(&mut self) -> io::Result<Option<Bytes>> {
        if self.body_ended {
            return Ok(None);
        }
        match timeout(self.patience, self.body.data()).await?.transpose().map_err(failed)? {
            Some(bytes) => {
                self.body_bytes += bytes.len() as u64;
                self.body.flow_control().release_capacity(bytes.len()).map_err(failed)?;
                Ok(Some(bytes))
            }
            None => {
                self.body_ended = true;
                Ok(None)
            }
        }
    }

    /// Resolves when the client is gone, or wants no answer any more. Reads nothing.
    pub async fn gone(&mut self) {
        let _ = poll_fn(|cx| match &mut self.answer {
            Some(answer) => answer.poll_reset(cx),
            None => self.respond.poll_reset(cx),
        })
        .await;
    }

    /// Of the last header that was sent, interim ones included.
    pub const fn status(&self) -> Option<StatusCode> {
        self.status
    }

    /// Bytes of the bodies so far: of the request, of the answer.
    pub const fn body_bytes(&self) -> (u64, u64) {
        (self.body_bytes, self.answer_bytes)
    }

    /// Sends a header: an interim one, or that of the answer, which `end` says is all of it.
    pub fn write_header(&mut self, header: ResponseHeader, end: bool) -> io::Result<()> {
        if self.answer.is_some() {
            return Err(io::ErrorKind::InvalidInput.into()); // Two answers to one request.
        }
        let status = header.status;
        let mut head: response::Parts = header.into();
        if head.headers.keys().any(|name| HOP.contains(name)) {
            for name in &HOP {
                head.headers.remove(name);
            }
        }
        if status.is_informational() {
            self.respond.send_informational(Response::from_parts(head, ())).map_err(failed)?;
        } else {
            head.headers.insert(DATE, get_cached_date());
            self.answer = Some(self.respond.send_response(Response::from_parts(head, ()), end).map_err(failed)?);
            self.ended = end;
        }
        self.status = Some(status);
        Ok(())
    }

    /// Sends a part of the answer's body as the peer makes room for it; `end` says that it is the last.
    pub async fn write_body(&mut self, mut bytes: Bytes, end: bool) -> io::Result<()> {
        if bytes.is_empty() {
            return if end { self.end() } else { Ok(()) };
        }
        let answer = self.answer.as_mut().filter(|_| !self.ended).ok_or(io::ErrorKind::InvalidInput)?;
        while !bytes.is_empty() {
            answer.reserve_capacity(bytes.len());
            let room = match answer.capacity() {
                0 => timeout(self.patience.saturating_add(GRACE), room(answer)).await??,
                room => room,
            };
            let part = bytes.split_to(room.min(bytes.len()));
            self.answer_bytes += part.len() as u64;
            self.ended = end && bytes.is_empty();
            answer.send_data(part, self.ended).map_err(failed)?;
        }
        Ok(())
    }

    /// Sends trailers, and with them the end of the answer.
    pub fn write_trailers(&mut self, trailers: HeaderMap) -> io::Result<()> {
        let answer = self.answer.as_mut().filter(|_| !self.ended).ok_or(io::ErrorKind::InvalidInput)?;
        self.ended = true;
        answer.send_trailers(trailers).map_err(failed)
    }

    /// Ends the answer, unless it has ended or none was begun.
    pub fn end(&mut self) -> io::Result<()> {
        match &mut self.answer {
            Some(answer) if !self.ended => {
                self.ended = true;
                answer.send_data(Bytes::new(), true).map_err(failed)
            }
            _ => Ok(()),
        }
    }

    /// Breaks the answer off, unless it has ended.
    pub fn shut(&mut self) {
        if !self.ended {
            self.respond.send_reset(Reason::INTERNAL_ERROR);
        }
    }
}

/// Waits until the peer takes more.
async fn room(answer: &mut SendStream<Bytes>) -> io::Result<usize> {
    poll_fn(|cx| answer.poll_capacity(cx)).await.ok_or(io::ErrorKind::BrokenPipe)?.map_err(failed)
}

fn failed(error: h2::Error) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, error)
}
