//! Where a request body ends: the cut does not matter, and another reader of chunks finds the same end.
#![no_main]

use clearway::front::http1::{BODY_LINE_BYTES_MAX, BodyScanner, Fault, Framing, TRAILER_BYTES_MAX};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let [seed, length, bytes @ ..] = input else { return };
    let chunked = follow(bytes, Framing::Chunked, &[bytes.len()]);
    assert_eq!(follow(bytes, Framing::Chunked, &clearway_fuzz::cuts(*seed, bytes.len())), chunked);
    if let Ok((taken, true)) = chunked {
        assert_eq!(reference(bytes), Some(taken), "another reader finds another end");
        // What follows a message is not looked at.
        let mut more = bytes[..taken].to_vec();
        more.extend_from_slice(b"0\r\n\r\nGET / HTTP/1.1\r\n\r\n");
        assert_eq!(follow(&more, Framing::Chunked, &[more.len()]), chunked);
    }
    let by_length = follow(bytes, Framing::Length(u64::from(*length)), &clearway_fuzz::cuts(*seed, bytes.len()));
    let taken = bytes.len().min(usize::from(*length));
    assert_eq!(by_length, Ok((taken, taken == usize::from(*length) && (!bytes.is_empty() || *length == 0))));
});

/// How many bytes belong to the message, and whether it is whole.
fn follow(bytes: &[u8], framing: Framing, ends: &[usize]) -> Result<(usize, bool), Fault> {
    let mut scanner = BodyScanner::new(framing);
    if matches!(framing, Framing::Length(0)) {
        scanner = BodyScanner::new(Framing::None);
    }
    let mut start = 0;
    for end in ends {
        let taken = scanner.advance(&bytes[start..*end])?;
        start += taken;
        if start < *end {
            assert!(scanner.is_done(), "bytes are left although the message goes on");
            break;
        }
    }
    Ok((start, scanner.is_done()))
}

/// RFC 9112 §7.1.3, read naively with httparse's sizes: where the body ends.
fn reference(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let Ok(httparse::Status::Complete((line, size))) = httparse::parse_chunk_size(&bytes[at..]) else {
            return None;
        };
        assert!(line <= BODY_LINE_BYTES_MAX + 2, "a chunk-size line of {line} bytes");
        at += line;
        if size == 0 {
            break;
        }
        at += usize::try_from(size).ok()?;
        if bytes.get(at..at + 2)? != b"\r\n" {
            return None;
        }
        at += 2;
    }
    let mut fields = [httparse::EMPTY_HEADER; 4096];
    match httparse::parse_headers(&bytes[at..], &mut fields) {
        Ok(httparse::Status::Complete((length, _))) => {
            assert!(length <= TRAILER_BYTES_MAX * 3, "trailers of {length} bytes");
            Some(at + length)
        }
        _ => None,
    }
}
