//! A header section that passed, as a request.

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use pingora_http::RequestHeader;

use super::head::{next_line, split_field};

/// Reads a plain header section ([`super::Head::is_plain`]); target and values share its bytes. `None` for what the types
/// of a request cannot hold.
pub fn read_plain(head: &Bytes) -> Option<RequestHeader> {
    let (line, mut rest) = next_line(head);
    let mut words = line.split(|byte| *byte == b' ');
    let (method, target) = (words.next()?, words.next()?);
    let mut parts = Request::new(()).into_parts().0; // HTTP/1.1
    parts.method = Method::from_bytes(method).ok()?;
    parts.uri = PathAndQuery::from_maybe_shared(head.slice_ref(target)).ok()?.into();
    let lines = rest.iter().filter(|byte| **byte == b'\n').count();
    parts.headers = HeaderMap::try_with_capacity(lines).ok()?;
    loop {
        let (line, after) = next_line(rest);
        if line.is_empty() {
            return Some(parts.into());
        }
        let (name, value) = split_field(line).ok()?;
        let value = HeaderValue::from_maybe_shared(head.slice_ref(value)).ok()?;
        parts.headers.try_append(HeaderName::from_bytes(name).ok()?, value).ok()?;
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use http::Version;

    use super::*;

    fn read(text: &'static str) -> RequestHeader {
        read_plain(&Bytes::from_static(text.as_bytes())).unwrap()
    }

    #[test]
    fn a_request_is_read_as_it_was_sent() {
        let text =
            "DELETE /a%2Fb//c?d=%20&d HTTP/1.1\r\nHost: a:1\r\nX-Some:  one \r\nEmpty:\r\nx-sOME: \u{e9}\r\n\r\n";
        let request = read(text);
        assert_eq!((&request.method, request.version), (&Method::DELETE, Version::HTTP_11));
        assert_eq!((request.uri.path(), request.uri.query()), ("/a%2Fb//c", Some("d=%20&d")));
        assert_eq!(request.raw_path(), b"/a%2Fb//c?d=%20&d");
        assert!(!request.has_case());
        let fields: Vec<_> = request.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        let expected: [(&str, &[u8]); 4] =
            [("host", b"a:1"), ("x-some", b"one"), ("x-some", "\u{e9}".as_bytes()), ("empty", b"")];
        assert_eq!(fields, expected);
    }

    /// Two slashes at the start are a path, not an authority.
    #[test]
    fn a_path_of_two_slashes_names_no_host() {
        let request = read("GET //evil.example/x HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!((request.uri.authority(), request.uri.path()), (None, "//evil.example/x"));
    }
}
