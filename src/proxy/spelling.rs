//! Field names without the spelling that they came with.
//!
//! Pingora keeps how each name was written beside the fields, in a second map, at four allocations a field: on the way
//! in, in every copy, and for each field that we set. Names have no case (RFC 9110 §5.1), so the spelling is let go of
//! where a message enters, and fields are then changed in a plain map.

use http::{HeaderMap, Request, Response, request, response};
use pingora_http::{RequestHeader, ResponseHeader};

/// Lets go of the spelling. The target must be one that its URI says whole: origin-form, or an asterisk.
pub(super) fn forget(request: &mut RequestHeader) {
    if request.has_case() {
        change_request(request, |_| {});
    }
}

/// Changes a request whose target its URI says whole.
pub(super) fn change_request<T>(request: &mut RequestHeader, change: impl FnOnce(&mut request::Parts) -> T) -> T {
    let blank = RequestHeader::from(Request::new(()).into_parts().0);
    let mut parts = request::Parts::from(std::mem::replace(request, blank));
    let outcome = change(&mut parts);
    *request = parts.into();
    outcome
}

/// Changes the fields of an answer, whose reason phrase stays.
pub(super) fn change_response<T>(response: &mut ResponseHeader, change: impl FnOnce(&mut HeaderMap) -> T) -> T {
    let own_words = response.get_reason_phrase().filter(|reason| Some(*reason) != response.status.canonical_reason());
    let own_words = own_words.map(str::to_owned);
    let blank = ResponseHeader::from(Response::new(()).into_parts().0);
    let mut parts = response::Parts::from(std::mem::replace(response, blank));
    let outcome = change(&mut parts.headers);
    *response = parts.into();
    if own_words.is_some() {
        let _cannot_fail = response.set_reason_phrase(own_words.as_deref());
    }
    outcome
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Method, Version, header};

    use super::*;

    #[test]
    fn a_request_keeps_everything_but_the_spelling() {
        let mut request = RequestHeader::build("PATCH", b"/a%2Fb?c=%20", None).unwrap();
        request.set_version(Version::HTTP_11);
        for (name, value) in [("X-Some", "1"), ("Host", "a"), ("x-sOME", "2")] {
            request.append_header(name, value).unwrap();
        }
        let before = request.clone();
        forget(&mut request);
        assert!(!request.has_case());
        assert_eq!((&request.method, request.version), (&Method::PATCH, Version::HTTP_11));
        assert_eq!((request.raw_path(), &request.uri), (before.raw_path(), &before.uri));
        assert_eq!(request.headers, before.headers);
        let mut wire = Vec::new();
        request.header_to_h1_wire(&mut wire);
        assert_eq!(wire, b"x-some: 1\r\nx-some: 2\r\nHost: a\r\n");
    }

    #[test]
    fn an_answer_keeps_its_own_words() {
        for (status, reason) in [(200, "OK"), (200, "Fine"), (404, "Not Found"), (599, "Odd")] {
            let mut response = ResponseHeader::build(status, None).unwrap();
            response.set_reason_phrase(Some(reason)).unwrap();
            response.append_header("X-Some", "1").unwrap();
            let set = |fields: &mut HeaderMap| fields.insert(header::VIA, HeaderValue::from_static("us"));
            assert!(change_response(&mut response, set).is_none());
            assert_eq!((response.status.as_u16(), response.get_reason_phrase()), (status, Some(reason)));
            assert_eq!(response.headers.len(), 2, "{status}");
            assert!(!response.has_case());
        }
    }
}
