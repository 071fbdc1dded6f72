//! The answer of a back end: neither its header nor its chunks depend on how they arrive, and a naive reader sees the same.
#![no_main]

use clearway::upstream::fuzzing::{chunks, header};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((seed, bytes)) = input.split_first() else { return };
    let cuts = clearway_fuzz::cuts(*seed, bytes.len());
    let whole = header(bytes, [bytes.len()]);
    let pieces = header(bytes, cuts);
    assert_eq!(pieces.as_ref().map(|found| found.0), whole.as_ref().map(|found| found.0), "the end depends on the cut");
    if let Some((end, Some(header))) = whole {
        let mut wire = Vec::new();
        header.header_to_h1_wire(&mut wire);
        assert_eq!(wire.iter().filter(|byte| **byte == b'\n').count(), header.headers.len(), "a field of two lines");
        decoded(*seed, &bytes[end..]);
    }
    decoded(*seed, bytes);
});

fn decoded(seed: u8, bytes: &[u8]) {
    let whole = chunks(bytes, [bytes.len()]);
    assert_eq!(chunks(bytes, clearway_fuzz::cuts(seed, bytes.len())), whole, "the body depends on the cut");
    if let Ok((data, Some(end))) = whole {
        assert_eq!(naive(&bytes[..end]), Some(data), "a naive reader sees another body");
    }
}

/// RFC 9112 §7.1.3, read naively, of a body that is whole.
fn naive(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut data = Vec::new();
    loop {
        let end = bytes.windows(2).position(|two| two == b"\r\n")?;
        let line = std::str::from_utf8(&bytes[..end]).ok().map(str::to_owned);
        let line = line.unwrap_or_else(|| String::from_utf8_lossy(&bytes[..end]).into_owned());
        let size = line.split(';').next()?.trim_end();
        let size = usize::from_str_radix(size, 16).ok()?;
        bytes = &bytes[end + 2..];
        if size == 0 {
            return Some(data);
        }
        data.extend_from_slice(bytes.get(..size)?);
        bytes = bytes.get(size..)?.strip_prefix(b"\r\n")?;
    }
}
