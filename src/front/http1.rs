//! Where does an HTTP/1 message end, and is it one that every parser reads alike? A strict scanner over raw bytes.
//!
//! It is pure: bytes in, verdict out. The stream in front of Pingora runs it over everything that a client sends, so
//! that Pingora only ever sees whole header sections that passed, and never a byte beyond the message in work.
//! Invariant: the verdict does not depend on how the bytes were cut into reads.

mod body;
mod head;
mod request;

pub use body::{BODY_LINE_BYTES_MAX, BodyScanner, TRAILER_BYTES_MAX};
pub use head::{Framing, Head, HeadLimits, HeadScanner};
pub use request::read_plain;

/// Why bytes were refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("a line ends without CRLF")]
    BareLineFeed,
    #[error("the header section is too large")]
    HeadTooLarge,
    #[error("there are too many header fields")]
    TooManyFields,
    #[error("the request target is too long")]
    TargetTooLong,
    #[error("the request line is malformed")]
    RequestLine,
    #[error("the request target is malformed")]
    Target,
    #[error("the method is not served")]
    Method,
    #[error("the protocol version is not HTTP/1.0 or HTTP/1.1")]
    Version,
    #[error("a header field is folded over lines")]
    Folded,
    #[error("a field name is not a token")]
    FieldName,
    #[error("a field value has a control character")]
    FieldValue,
    #[error("there is not exactly one valid Host field")]
    Host,
    #[error("the Content-Length is repeated or not a number")]
    ContentLength,
    #[error("the Transfer-Encoding is not exactly chunked")]
    TransferEncoding,
    #[error("both Content-Length and Transfer-Encoding are present")]
    TwoFramings,
    #[error("a chunk is malformed")]
    Chunk,
    #[error("chunk extensions or trailers are too large")]
    ChunkExtras,
    #[error("the parsers disagree on where the header section ends")]
    Disagreement,
}
