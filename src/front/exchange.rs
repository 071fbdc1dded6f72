//! One plain request of HTTP/1.1 and its answer, without Pingora.
//!
//! Invariants: an answer has one framing, and what is sent keeps to it; an answer that could not be sent whole is the last
//! thing on its connection, and does not look whole.

use std::io;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING};
use http::{HeaderValue, Method, StatusCode};
use pingora_core::protocols::http::date::get_cached_date;
use pingora_http::{RequestHeader, ResponseHeader};
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;

use super::GuardedStream;
use crate::domain::Downstream;

/// How the body of the answer is framed (RFC 9112 §6), and what of it is still to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length(u64),
    Chunked,
    /// With its connection.
    Close,
}

/// A plain request in work.
pub struct Exchange<'c> {
    stream: &'c mut GuardedStream,
    downstream: Arc<dyn Downstream>,
    request: RequestHeader,
    draining: &'c watch::Receiver<bool>,
    has_body: bool,
    request_bytes: u64,
    /// An answer that begins before the request's body was read is the last one on its connection, and says so.
    closes_when_early: bool,
    /// The connection can take another request after this one.
    persists: bool,
    /// Of the last header that was sent.
    status: Option<StatusCode>,
    framing: Framing,
    body_bytes: u64,
}

impl<'c> Exchange<'c> {
    /// Of a request that the stream has just handed out. `draining` says that no further one is wanted on the connection.
    pub fn new(stream: &'c mut GuardedStream, request: RequestHeader, draining: &'c watch::Receiver<bool>) -> Self {
        let has_body = !stream.is_read();
        let persists = !wants_close(&request) && !*draining.borrow();
        let downstream = stream.downstream();
        Self {
            stream,
            downstream,
            request,
            draining,
            has_body,
            request_bytes: 0,
            closes_when_early: true,
            persists,
            status: None,
            framing: Framing::Length(0),
            body_bytes: 0,
        }
    }

    /// The request as it is now; the connection is free again.
    pub fn into_request(self) -> RequestHeader {
        self.request
    }

    pub fn downstream(&self) -> &Arc<dyn Downstream> {
        &self.downstream
    }

    pub const fn request(&self) -> &RequestHeader {
        &self.request
    }

    pub const fn request_mut(&mut self) -> &mut RequestHeader {
        &mut self.request
    }

    /// The answer is the last one on this connection, and says so if it still can (RFC 9112 §9.6).
    pub const fn close(&mut self) {
        self.persists = false;
    }

    /// Of the last header that was sent, interim ones included.
    pub const fn status(&self) -> Option<StatusCode> {
        self.status
    }

    /// Bytes of the bodies so far, without their framing: of the request, of the answer.
    pub const fn body_bytes(&self) -> (u64, u64) {
        (self.request_bytes, self.body_bytes)
    }

    /// The request came without a body.
    pub const fn is_body_empty(&self) -> bool {
        !self.has_body
    }

    pub const fn is_body_done(&self) -> bool {
        self.stream.is_read()
    }

    /// The next part of the request's body; the stream keeps the time.
    pub async fn read_body(&mut self) -> io::Result<Option<Bytes>> {
        let part = self.stream.part().await?;
        self.request_bytes += part.as_ref().map_or(0, |part| part.len() as u64);
        Ok(part)
    }

    /// See [`Exchange::write_header`]: whether an answer that begins early is the last one; it is unless told otherwise.
    pub const fn set_closes_when_early(&mut self, closes: bool) {
        self.closes_when_early = closes;
    }

    /// Resolves when the client is gone.
    pub async fn gone(&mut self) {
        self.stream.gone().await;
    }

    /// Sends an interim answer, or collects a final one, which leaves with the next flush. What of the request's body was
    /// not read by then would have to be read before the next request: the final answer says that there is none.
    pub async fn write_header(&mut self, mut header: Box<ResponseHeader>) -> io::Result<()> {
        if self.is_answered() {
            return Err(io::ErrorKind::InvalidInput.into()); // Two answers to one request.
        }
        let status = header.status;
        if status.is_informational() {
            self.stream.collect(|outbox| push_header(outbox, &header, None))?;
            self.status = Some(status);
            return self.stream.flush().await;
        }
        self.framing = self.framing_of(&header);
        let early = self.closes_when_early && !self.is_body_done();
        self.persists &= self.framing != Framing::Close && !early && !*self.draining.borrow();
        header.remove_header(&DATE);
        header.remove_header(&CONNECTION);
        let persists = self.persists;
        self.stream.collect(|outbox| push_header(outbox, &header, Some(persists)))?;
        self.status = Some(status);
        Ok(())
    }

    fn framing_of(&self, header: &ResponseHeader) -> Framing {
        let bodiless = matches!(header.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let length = |value: &HeaderValue| value.to_str().ok().and_then(|text| text.parse().ok());
        match (header.headers.get(TRANSFER_ENCODING), header.headers.get(CONTENT_LENGTH)) {
            _ if bodiless || self.request.method == Method::HEAD => Framing::Length(0),
            (Some(_), _) => Framing::Chunked,
            (None, Some(value)) => length(value).map_or(Framing::Close, Framing::Length),
            (None, None) => Framing::Close,
        }
    }

    /// Writes a part of the body, which leaves with the next flush at the latest.
    pub async fn write_body(&mut self, bytes: &Bytes) -> io::Result<()> {
        let length = bytes.len();
        if length == 0 {
            return Ok(()); // A chunk of no bytes would be the last.
        }
        match &mut self.framing {
            Framing::Length(left) => match left.checked_sub(length as u64) {
                Some(rest) => *left = rest,
                // It would be read as the begin of the next answer.
                None => return Err(self.broken()),
            },
            Framing::Chunked => {
                let size = format!("{length:X}\r\n");
                self.stream.collect(|outbox| outbox.put_slice(size.as_bytes()))?;
            }
            Framing::Close => {}
        }
        self.stream.write_all(bytes).await?;
        self.body_bytes += length as u64;
        if self.framing == Framing::Chunked {
            self.stream.collect(|outbox| outbox.put_slice(b"\r\n"))?;
        }
        Ok(())
    }

    /// Sends what was collected.
    pub async fn flush(&mut self) -> io::Result<()> {
        self.stream.flush().await
    }

    /// Ends the answer's body, and sends all of it.
    pub async fn end(&mut self) -> io::Result<()> {
        match self.framing {
            Framing::Length(0) | Framing::Close => {}
            Framing::Length(_) => return Err(self.broken()),
            Framing::Chunked => {
                self.framing = Framing::Length(0);
                self.stream.collect(|outbox| outbox.put_slice(b"0\r\n\r\n"))?;
            }
        }
        self.flush().await
    }

    fn broken(&mut self) -> io::Error {
        self.persists = false;
        io::ErrorKind::InvalidData.into()
    }

    /// A final answer was sent, or a part of it.
    fn is_answered(&self) -> bool {
        self.status.is_some_and(|status| !status.is_informational())
    }

    /// Whether the request was read, the answer was whole and another request may follow it.
    pub fn persists(&self) -> bool {
        self.persists && self.is_body_done() && self.is_answered() && self.framing == Framing::Length(0)
    }

    /// Says that nothing more will be sent.
    pub async fn shut(&mut self) {
        self.persists = false;
        let _ = self.stream.shutdown().await;
    }
}

/// RFC 9112 §9.3.
fn wants_close(request: &RequestHeader) -> bool {
    let options = request.headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    options.flat_map(|value| value.split(',')).any(|option| option.trim().eq_ignore_ascii_case("close"))
}

/// Writes a header section; of a final answer it says when it was made, and whether the connection goes on.
fn push_header(out: &mut BytesMut, header: &ResponseHeader, persists: Option<bool>) {
    out.reserve(1024);
    out.put_slice(b"HTTP/1.1 ");
    out.put_slice(header.status.as_str().as_bytes());
    out.put_u8(b' ');
    out.put_slice(header.get_reason_phrase().unwrap_or_default().as_bytes());
    out.put_slice(b"\r\n");
    header.header_to_h1_wire(out);
    if let Some(persists) = persists {
        out.put_slice(b"Date: ");
        out.put_slice(get_cached_date().as_bytes());
        out.put_slice(if persists { b"\r\nConnection: keep-alive\r\n\r\n" } else { b"\r\nConnection: close\r\n\r\n" });
    } else {
        out.put_slice(b"\r\n");
    }
}
