//! The answer to bytes that never become a request: a problem document, written without Pingora.

use bytes::{BufMut, BytesMut};
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

/// A whole HTTP/1.1 answer; the connection closes after it (RFC 9112 §9.6).
pub(super) fn answer(problem: &Problem, public_url: &str, interaction: InteractionId) -> BytesMut {
    let body = problem.to_json(public_url, interaction);
    let status = problem.status();
    let mut out = BytesMut::with_capacity(512 + body.len());
    out.put_slice(format!("HTTP/1.1 {} {}\r\n", status.as_u16(), status.canonical_reason().unwrap_or("")).as_bytes());
    out.put_slice(b"date: ");
    out.put_slice(get_cached_date().as_bytes());
    out.put_slice(b"\r\ncontent-type: application/problem+json\r\ncache-control: no-store\r\n");
    out.put_slice(b"x-content-type-options: nosniff\r\nconnection: close\r\n");
    out.put_slice(format!("x-fapi-interaction-id: {interaction}\r\ncontent-length: {}\r\n\r\n", body.len()).as_bytes());
    out.put_slice(&body);
    out
}
