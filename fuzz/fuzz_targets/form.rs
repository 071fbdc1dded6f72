//! Form bodies of the OAuth endpoints: no name twice, nothing decoded otherwise than a naive reader does.
#![no_main]

use std::collections::HashMap;

use clearway::oauth::FORM_BYTES_MAX;
use clearway::oauth::fuzzing::Form;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

fuzz_target!(|body: &[u8]| {
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"))]);
    let Ok(form) = Form::parse(&headers, body) else { return };
    assert!(body.len() <= FORM_BYTES_MAX);
    assert!(Form::parse(&HeaderMap::new(), body).is_err(), "a body without a content type is read");
    let naive = naive(std::str::from_utf8(body).unwrap_or_default());
    let mut written = String::new();
    for (name, values) in &naive {
        assert!(values.len() == 1 || name == "resource", "{name} stands twice");
        let sent: Vec<&str> = values.iter().map(String::as_str).filter(|value| !value.is_empty()).collect();
        assert_eq!(form.all(name).collect::<Vec<_>>(), sent, "{name}");
        assert_eq!(form.get(name), sent.first().copied());
        let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        values.iter().for_each(|value| written.push_str(&format!("{}={}&", encode(name), encode(value))));
    }
    if written.len() <= FORM_BYTES_MAX {
        let again = Form::parse(&headers, written.as_bytes()).unwrap_or_else(|e| panic!("what was read is not: {e}"));
        naive.keys().for_each(|name| assert_eq!(again.get(name), form.get(name)));
    }
});

/// WHATWG URL §5.1.
fn naive(text: &str) -> HashMap<String, Vec<String>> {
    let mut pairs: HashMap<String, Vec<String>> = HashMap::new();
    let decode = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        pairs.entry(decode(name)).or_default().push(decode(value));
    }
    pairs
}
