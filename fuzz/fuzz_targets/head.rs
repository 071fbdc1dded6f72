//! The header section of a request: the verdict does not depend on the cut, and other parsers read what passes alike.
#![no_main]

use bytes::Bytes;
use clearway::front::http1::{Fault, Framing, Head, HeadLimits, HeadScanner, read_plain};
use clearway::route::CanonicalPath;
use libfuzzer_sys::fuzz_target;
use pingora_http::RequestHeader;

const LIMITS: HeadLimits = HeadLimits { bytes_max: 4096, fields_max: 24, target_bytes_max: 1024 };

fuzz_target!(|input: &[u8]| {
    let Some((seed, bytes)) = input.split_first() else { return };
    let whole = HeadScanner::default().advance(bytes, &LIMITS);
    let pieces = in_pieces(*seed, bytes);
    if bytes.len() < LIMITS.bytes_max {
        assert_eq!(pieces, whole, "the verdict depends on the cut");
    } else {
        // Which of several faults is met first may depend on the bound; whether there is one may not.
        assert_eq!(pieces.ok(), whole.ok(), "the verdict depends on the cut");
    }
    if let Ok(Some(head)) = whole {
        agrees(bytes, &head);
    }
});

/// A scanner that sees the bytes arrive one read after the other, and stops where the stream would.
fn in_pieces(seed: u8, bytes: &[u8]) -> Result<Option<Head>, Fault> {
    let mut scanner = HeadScanner::default();
    for end in clearway_fuzz::cuts(seed, bytes.len()) {
        match scanner.advance(&bytes[..end], &LIMITS) {
            Ok(None) => {}
            verdict => return verdict,
        }
    }
    Ok(None)
}

fn agrees(bytes: &[u8], head: &Head) {
    assert!(head.skip <= 2 && head.bytes <= LIMITS.bytes_max);
    let text = &bytes[head.skip..head.skip + head.bytes];
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut fields);
    let parsed = request.parse(text).expect("httparse refuses what passed");
    assert_eq!(parsed, httparse::Status::Complete(text.len()), "httparse sees another end");
    assert!(request.headers.len() <= LIMITS.fields_max);
    assert_eq!(framing(request.headers, request.version), head.framing, "httparse's fields frame another body");
    let target = request.path.expect("a target");
    assert!(target.len() <= LIMITS.target_bytes_max);
    let method = request.method.expect("a method");
    assert!(RequestHeader::build(method, target.as_bytes(), None).is_ok(), "Pingora refuses {method} {target:?}");
    if head.is_plain
        && let Some(plain) = read_plain(&Bytes::copy_from_slice(text))
    {
        is_same(&plain, &request);
    }
    if let Ok(path) = CanonicalPath::parse(target.split('?').next().unwrap_or_default()) {
        assert!(target.starts_with(path.as_str()));
    }
}

/// What is read of a plain request is what another parser reads.
fn is_same(plain: &RequestHeader, other: &httparse::Request<'_, '_>) {
    assert_eq!((plain.method.as_str(), other.version), (other.method.unwrap(), Some(1)));
    assert_eq!(plain.uri.path_and_query().unwrap().as_str(), other.path.unwrap(), "another target");
    assert!(plain.uri.authority().is_none() && !plain.headers.contains_key("upgrade"));
    assert_eq!(plain.headers.len(), other.headers.len());
    for name in plain.headers.keys() {
        let ours: Vec<&[u8]> = plain.headers.get_all(name).iter().map(|value| value.as_bytes()).collect();
        let named = |field: &&httparse::Header<'_>| field.name.eq_ignore_ascii_case(name.as_str());
        let theirs: Vec<&[u8]> = other.headers.iter().filter(named).map(|field| field.value).collect();
        assert_eq!(ours, theirs, "{name}");
    }
}

/// The framing as a careless reader of these fields would find it: last one wins.
fn framing(fields: &[httparse::Header<'_>], version: Option<u8>) -> Framing {
    let values = |name: &str| -> Vec<&[u8]> {
        fields.iter().filter(|field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value).collect()
    };
    let (codings, lengths, hosts) = (values("transfer-encoding"), values("content-length"), values("host"));
    assert!(codings.len() + lengths.len() <= 1, "two framings");
    assert!(hosts.len() == 1 || (hosts.is_empty() && version == Some(0)), "not one Host");
    match (codings.last(), lengths.last()) {
        (Some(coding), _) => {
            assert!(coding.eq_ignore_ascii_case(b"chunked") && version == Some(1));
            Framing::Chunked
        }
        (None, Some(length)) => {
            let length: u64 = std::str::from_utf8(length).unwrap().parse().unwrap();
            if length == 0 { Framing::None } else { Framing::Length(length) }
        }
        (None, None) => Framing::None,
    }
}
