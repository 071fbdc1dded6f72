//! How long is a header section, and is the length of an answer said once, and in one way?
//!
//! Pingora reads some answers that say it twice, and hands both on; whoever is behind us could read the other one.

use http::{HeaderMap, HeaderValue, Version};
use pingora_http::ResponseHeader;

use crate::upstream::Frame;

/// Largest header section of an answer.
const ANSWER_SECTION_BYTES_MAX: usize = 64 * 1024;

/// The fields as HTTP/1.1 writes them (RFC 9112 §5), in bytes.
pub(super) fn section_bytes(fields: &HeaderMap) -> usize {
    fields.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum()
}

/// RFC 9113 §8.2.1: such a message is malformed, and not passed on. In HTTP/1.1 the whitespace is not part of the value.
pub(super) fn is_edged(value: &HeaderValue) -> bool {
    value.as_bytes().trim_ascii().len() != value.len()
}

/// What is wrong with the header of an answer, interim ones included.
pub(super) fn flaw(header: &ResponseHeader) -> Option<&'static str> {
    if section_bytes(&header.headers) > ANSWER_SECTION_BYTES_MAX {
        return Some("the header section is too large");
    }
    if header.version == Version::HTTP_2 && header.headers.values().any(is_edged) {
        return Some("a field value begins or ends with whitespace");
    }
    Frame::of(&header.headers).is_none().then_some("its length is said in more than one way")
}
