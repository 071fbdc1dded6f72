//! How long is a header section, and is the length of an answer said once, and in one way?
//!
//! Pingora reads some answers that say it twice, and hands both on; whoever is behind us could read the other one.

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Version};
use pingora_http::ResponseHeader;

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
    (!is_sound(header)).then_some("its length is said in more than one way")
}

/// RFC 9112 §6.3: one Content-Length that is a number, or chunks, or neither. Identical repetitions would be allowed
/// there; a back end that needs them is broken here.
fn is_sound(header: &ResponseHeader) -> bool {
    let mut lengths = header.headers.get_all(CONTENT_LENGTH).iter();
    let mut codings = header.headers.get_all(TRANSFER_ENCODING).iter();
    let (length, coding) = (lengths.next(), codings.next());
    if lengths.next().is_some() || codings.next().is_some() {
        return false;
    }
    match (length, coding) {
        (None, None) => true,
        // As many digits as in requests: no parser overflows.
        (Some(length), None) => (1..=18).contains(&length.len()) && length.as_bytes().iter().all(u8::is_ascii_digit),
        (None, Some(coding)) => coding.as_bytes().eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_said_once() {
        for (name, fields, sound) in [
            ("until the end", &[][..], true),
            ("length", &[("content-length", "12")], true),
            ("zero", &[("content-length", "0")], true),
            ("chunks", &[("transfer-encoding", "Chunked")], true),
            ("two lengths", &[("content-length", "12"), ("content-length", "12")], false),
            ("two lengths that differ", &[("content-length", "12"), ("content-length", "0")], false),
            ("two lengths in one", &[("content-length", "12, 12")], false),
            ("sign", &[("content-length", "+12")], false),
            ("empty", &[("content-length", "")], false),
            ("too long", &[("content-length", "1000000000000000000")], false),
            ("length and chunks", &[("content-length", "12"), ("transfer-encoding", "chunked")], false),
            ("two codings", &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")], false),
            ("another coding", &[("transfer-encoding", "gzip, chunked")], false),
        ] {
            let mut header = ResponseHeader::build(200, None).unwrap();
            for (field, value) in fields {
                header.append_header(*field, *value).unwrap();
            }
            assert_eq!(is_sound(&header), sound, "{name}");
        }
    }
}
