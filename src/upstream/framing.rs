//! How do the fields of an answer frame its body?

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue};

/// The frame of a body (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame {
    Length(u64),
    Chunked,
    /// Until the connection ends.
    Close,
}

impl Frame {
    /// One Content-Length that is a number, or chunks, or neither. Identical repetitions would be allowed; a back end that
    /// needs them is broken here.
    pub fn of(fields: &HeaderMap) -> Option<Self> {
        let mut lengths = fields.get_all(CONTENT_LENGTH).iter();
        let mut codings = fields.get_all(TRANSFER_ENCODING).iter();
        let (length, coding) = (lengths.next(), codings.next());
        if lengths.next().is_some() || codings.next().is_some() {
            return None;
        }
        match (length, coding) {
            (None, None) => Some(Self::Close),
            (Some(length), None) => number(length).map(Self::Length),
            (None, Some(coding)) => coding.as_bytes().eq_ignore_ascii_case(b"chunked").then_some(Self::Chunked),
            (Some(_), Some(_)) => None,
        }
    }
}

/// As many digits as in requests: no parser overflows.
fn number(value: &HeaderValue) -> Option<u64> {
    let digits = value.to_str().ok().filter(|text| (1..=18).contains(&text.len()))?;
    if digits.bytes().all(|digit| digit.is_ascii_digit()) { digits.parse().ok() } else { None }
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
            let mut header = HeaderMap::new();
            for (field, value) in fields {
                header.append(*field, HeaderValue::from_static(value));
            }
            assert_eq!(Frame::of(&header).is_some(), sound, "{name}");
        }
    }
}
