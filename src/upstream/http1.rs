//! One exchange over an HTTP/1.1 connection to a back end (RFC 9112): the request is held, the answer comes as it comes.
//!
//! Invariants: an answer is framed in one way, or is none; what comes beyond it costs its connection; a connection goes
//! on only after an exchange that ended at its frame.

mod chunks;

use std::mem::MaybeUninit;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONNECTION, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version};
use pingora_core::protocols::Stream;
use pingora_core::{Error, ErrorType, OrErr, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::framing::Frame;
use chunks::{Chunks, Piece};

/// A header section that is longer is no answer.
const HEADER_BYTES_MAX: usize = 64 * 1024;
const FIELDS_MAX: usize = 256;
/// Room for the fields that are added on the way to the caller.
const OWN_FIELDS: usize = 12;
/// What is read at once: of a header section, of a body that is longer.
const READ_BYTES: usize = 4 * 1024;
const BODY_READ_BYTES: usize = 16 * 1024;
/// A body up to this size leaves in one piece with its header.
const TOGETHER_BYTES_MAX: usize = 8 * 1024;

/// What is still to come of an answer's body.
#[derive(Debug)]
enum Body {
    /// Its header has not come.
    Unknown,
    Length(u64),
    Chunked(Chunks),
    /// Until the connection ends.
    Close,
    Done,
}

/// A connection, while an exchange is on it.
pub struct Http1 {
    stream: Stream,
    /// Received and not yet taken.
    inbox: BytesMut,
    body: Body,
    /// The answer to HEAD has no body, whatever it says.
    head: bool,
    persists: bool,
}

impl Http1 {
    pub fn new(stream: Stream) -> Self {
        Self { stream, inbox: BytesMut::new(), body: Body::Unknown, head: false, persists: true }
    }

    /// Sends a request, whose fields frame the body.
    pub async fn send(&mut self, request: &RequestHeader, body: Option<&Bytes>) -> Result<()> {
        self.head = request.method == Method::HEAD;
        let target = request.uri.path_and_query().map_or("/", |target| target.as_str());
        let body = body.map(|bytes| &bytes[..]).unwrap_or_default();
        let (with, after) = if body.len() <= TOGETHER_BYTES_MAX { (body, &[][..]) } else { (&[][..], body) };
        let mut out = Vec::with_capacity(1024 + with.len());
        for part in [request.method.as_str(), " ", target, " HTTP/1.1\r\n"] {
            out.put_slice(part.as_bytes());
        }
        request.header_to_h1_wire(&mut out);
        out.put_slice(b"\r\n");
        out.put_slice(with);
        self.stream.write_all(&out).await.or_err(ErrorType::WriteError, "a request")?;
        if !after.is_empty() {
            self.stream.write_all(after).await.or_err(ErrorType::WriteError, "a request's body")?;
        }
        self.stream.flush().await.or_err(ErrorType::WriteError, "a request")
    }

    /// The next header section of the answer: an interim one, or the final one, which the body follows.
    pub async fn read_header(&mut self) -> Result<Box<ResponseHeader>> {
        let mut scanned = 0;
        let header = loop {
            if let Some(end) = end_of_section(&self.inbox, &mut scanned) {
                break read(self.inbox.split_to(end).freeze())?;
            }
            if self.inbox.len() > HEADER_BYTES_MAX {
                return Error::e_explain(ErrorType::InvalidHTTPHeader, "the header section is too large");
            }
            self.inbox.reserve(READ_BYTES);
            self.fill("an answer's header").await?;
        };
        if !header.status.is_informational() {
            self.body = self.body_of(&header)?;
            self.persists = persists(&header) && !matches!(self.body, Body::Close);
        } else if header.status == StatusCode::SWITCHING_PROTOCOLS {
            self.persists = false;
        }
        Ok(header)
    }

    /// RFC 9112 §6.3.
    fn body_of(&self, header: &ResponseHeader) -> Result<Body> {
        if self.head || matches!(header.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            return Ok(Body::Done);
        }
        match Frame::of(&header.headers) {
            Some(Frame::Length(0)) => Ok(Body::Done),
            Some(Frame::Length(length)) => Ok(Body::Length(length)),
            Some(Frame::Chunked) => Ok(Body::Chunked(Chunks::default())),
            Some(Frame::Close) => Ok(Body::Close),
            None => Error::e_explain(ErrorType::InvalidHTTPHeader, "its length is said in more than one way"),
        }
    }

    /// The next bytes of the body; `None` at its end. May be dropped while it waits, and asked again.
    pub async fn read_body(&mut self) -> Result<Option<Bytes>> {
        loop {
            match &mut self.body {
                Body::Done => return Ok(None),
                Body::Unknown => return Error::e_explain(ErrorType::InternalError, "a body before its header"),
                Body::Length(left) => {
                    let most = usize::try_from(*left).unwrap_or(usize::MAX);
                    if !self.inbox.is_empty() {
                        let piece = self.inbox.split_to(self.inbox.len().min(most)).freeze();
                        *left -= piece.len() as u64;
                        if *left == 0 {
                            self.body = Body::Done;
                        }
                        return Ok(Some(piece));
                    }
                    self.inbox.reserve(most.min(BODY_READ_BYTES));
                }
                Body::Close => {
                    if !self.inbox.is_empty() {
                        return Ok(Some(self.inbox.split().freeze()));
                    }
                    self.inbox.reserve(BODY_READ_BYTES);
                    let read = self.stream.read_buf(&mut self.inbox).await;
                    if read.or_err(ErrorType::ReadError, "an answer's body")? == 0 {
                        self.body = Body::Done;
                    }
                    continue;
                }
                Body::Chunked(chunks) => match chunks.next(&mut self.inbox) {
                    Ok(Piece::Data(bytes)) => return Ok(Some(bytes)),
                    Ok(Piece::End) => {
                        self.body = Body::Done;
                        return Ok(None);
                    }
                    Ok(Piece::Missing) => self.inbox.reserve(BODY_READ_BYTES),
                    Err(fault) => return Error::e_explain(ErrorType::ReadError, fault),
                },
            }
            self.fill("an answer's body").await?;
        }
    }

    /// Reads once; the end of the connection is an error.
    async fn fill(&mut self, what: &'static str) -> Result<()> {
        match self.stream.read_buf(&mut self.inbox).await.or_err(ErrorType::ReadError, what)? {
            0 => Error::e_explain(ErrorType::ConnectionClosed, what),
            _ => Ok(()),
        }
    }

    /// The connection, if another exchange may follow on it.
    pub fn into_reusable(self) -> Option<Stream> {
        let at_its_end = matches!(self.body, Body::Done) && self.inbox.is_empty();
        (self.persists && at_its_end).then_some(self.stream)
    }

    /// Says that nothing more will be sent.
    pub async fn shutdown(&mut self) {
        let _ = self.stream.shutdown().await;
    }
}

/// Where the empty line that ends a header section does, from where it was looked for before.
fn end_of_section(bytes: &[u8], scanned: &mut usize) -> Option<usize> {
    let mut rest = bytes.get(*scanned..)?;
    while let Some(feed) = rest.iter().position(|byte| *byte == b'\n') {
        let at = bytes.len() - rest.len() + feed + 1;
        let before = bytes.get(..at - 1)?;
        let line = before.strip_suffix(b"\r").unwrap_or(before);
        if line.is_empty() || line.ends_with(b"\n") {
            return Some(at);
        }
        rest = bytes.get(at..)?;
    }
    *scanned = bytes.len();
    None
}

/// RFC 9112 §5.1: whitespace before a colon is removed from an answer; §5.2: a folded field is no answer.
fn read(section: Bytes) -> Result<Box<ResponseHeader>> {
    let malformed = |what: &'static str| Error::explain(ErrorType::InvalidHTTPHeader, what);
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut parsed = httparse::Response::new(&mut []);
    let mut parser = httparse::ParserConfig::default();
    parser.allow_spaces_after_header_name_in_responses(true);
    let status = parser.parse_response_with_uninit_headers(&mut parsed, &section, &mut fields);
    if !matches!(status, Ok(httparse::Status::Complete(_))) {
        return Err(malformed("an answer's header"));
    }
    let mut parts = Response::new(()).into_parts().0;
    parts.version = if parsed.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
    parts.status = StatusCode::from_u16(parsed.code.unwrap_or_default()).map_err(|_| malformed("a status"))?;
    let room = parsed.headers.len() + OWN_FIELDS;
    parts.headers = HeaderMap::try_with_capacity(room).map_err(|_| malformed("too many fields"))?;
    for field in parsed.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| malformed("a field name"))?;
        let value = HeaderValue::from_maybe_shared(section.slice_ref(field.value));
        let value = value.map_err(|_| malformed("a field value"))?;
        parts.headers.try_append(name, value).map_err(|_| malformed("too many fields"))?;
    }
    let own_words = parsed.reason.filter(|reason| Some(*reason) != parts.status.canonical_reason());
    let mut header = Box::new(ResponseHeader::from(parts));
    if own_words.is_some() {
        header.set_reason_phrase(own_words)?;
    }
    Ok(header)
}

/// RFC 9112 §9.3. An answer of HTTP/1.0 with a transfer coding ends its connection (§6.1).
fn persists(header: &ResponseHeader) -> bool {
    let options = header.headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let mut options = options.flat_map(|value| value.split(',')).map(str::trim);
    if header.version == Version::HTTP_10 {
        return options.any(|option| option.eq_ignore_ascii_case("keep-alive"))
            && !header.headers.contains_key(TRANSFER_ENCODING);
    }
    !options.any(|option| option.eq_ignore_ascii_case("close"))
}

/// For the fuzzers: what is found in bytes that arrive in parts, which end at these places.
#[cfg(fuzzing)]
pub mod fuzzing {
    use super::*;

    /// Where the header section ends, and the header that it is, if it is one.
    pub fn header(bytes: &[u8], ends: impl IntoIterator<Item = usize>) -> Option<(usize, Option<ResponseHeader>)> {
        let mut scanned = 0;
        let end = ends.into_iter().find_map(|end| end_of_section(bytes.get(..end)?, &mut scanned))?;
        Some((end, read(Bytes::copy_from_slice(bytes.get(..end)?)).ok()))
    }

    /// The data of a body in chunks, and where it ends, if it does.
    pub fn chunks(
        bytes: &[u8],
        ends: impl IntoIterator<Item = usize>,
    ) -> Result<(Vec<u8>, Option<usize>), &'static str> {
        let (mut chunks, mut inbox, mut data, mut start) = (Chunks::default(), BytesMut::new(), Vec::new(), 0);
        for end in ends {
            inbox.extend_from_slice(bytes.get(start..end).unwrap_or_default());
            start = end;
            loop {
                match chunks.next(&mut inbox)? {
                    Piece::Data(bytes) => data.extend_from_slice(&bytes),
                    Piece::End => return Ok((data, Some(start - inbox.len()))),
                    Piece::Missing => break,
                }
            }
        }
        Ok((data, None))
    }
}

#[cfg(test)]
mod tests;
