//! The answer to bytes that never become a request: a problem document, written without Pingora.

use bytes::{BufMut, BytesMut};
use http::HeaderValue;
use http::header::ALLOW;
use pingora_core::protocols::http::date::get_cached_date;

use super::http1::Fault;
use crate::domain::InteractionId;
use crate::problem::{Kind, Problem};

impl Fault {
    /// The kind of problem that the client is told.
    pub const fn kind(self) -> Kind {
        match self {
            Self::HeadTooLarge | Self::TooManyFields => Kind::HeadersTooLarge,
            Self::TargetTooLong => Kind::UriTooLong,
            Self::Method => Kind::MethodNotAllowed,
            Self::BareLineFeed
            | Self::RequestLine
            | Self::Target
            | Self::Version
            | Self::Folded
            | Self::FieldName
            | Self::FieldValue
            | Self::Host
            | Self::ContentLength
            | Self::TransferEncoding
            | Self::TwoFramings
            | Self::Chunk
            | Self::ChunkExtras
            | Self::Disagreement => Kind::MalformedRequest,
        }
    }
}

/// RFC 9110 §15.5.6: 405 names what is allowed.
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");

/// The problem document of a fault.
pub(super) fn problem(fault: Fault) -> Problem {
    let text = fault.to_string();
    let mut letters = text.chars();
    let detail: String = letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).chain(['.']).collect();
    let problem = Problem::new(fault.kind()).detail(detail);
    if fault == Fault::Method { problem.header(ALLOW, METHODS) } else { problem }
}

/// A whole HTTP/1.1 answer; the connection closes after it (RFC 9112 §9.6).
pub(super) fn answer(problem: &Problem, public_url: &str, interaction: InteractionId) -> BytesMut {
    let body = problem.to_json(public_url, interaction);
    let status = problem.status();
    let mut out = BytesMut::with_capacity(512 + body.len());
    out.put_slice(format!("HTTP/1.1 {} {}\r\n", status.as_u16(), status.canonical_reason().unwrap_or("")).as_bytes());
    out.put_slice(b"date: ");
    out.put_slice(get_cached_date().as_bytes());
    out.put_slice(b"\r\ncontent-type: application/problem+json\r\ncache-control: no-store\r\n");
    for (name, value) in &problem.headers {
        out.put_slice(name.as_ref());
        out.put_slice(b": ");
        out.put_slice(value.as_bytes());
        out.put_slice(b"\r\n");
    }
    out.put_slice(b"x-content-type-options: nosniff\r\nconnection: close\r\n");
    out.put_slice(format!("x-fapi-interaction-id: {interaction}\r\ncontent-length: {}\r\n\r\n", body.len()).as_bytes());
    out.put_slice(&body);
    out
}
