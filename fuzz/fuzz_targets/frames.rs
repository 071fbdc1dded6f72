//! Which HTTP/2 header block is open does not depend on how the frames arrive.
#![no_main]

use clearway::front::fuzzing::FrameWatch;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((seed, bytes)) = input.split_first() else { return };
    let mut whole = FrameWatch::default();
    whole.feed(bytes);
    let mut pieces = FrameWatch::default();
    let mut start = 0;
    for end in clearway_fuzz::cuts(*seed, bytes.len()) {
        pieces.feed(&bytes[start..end]);
        start = end;
    }
    assert_eq!(pieces.open_block(), whole.open_block(), "the watch depends on the cut");
    assert_eq!(whole.open_block().is_some(), is_open(bytes), "a naive reader sees otherwise");
});

/// RFC 9113 §4.1 and §4.3, read naively.
fn is_open(mut bytes: &[u8]) -> bool {
    let mut open = false;
    while let [a, b, c, kind, flags, _, _, _, _, rest @ ..] = bytes {
        let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        let Some(next) = rest.get(length..) else { return open || matches!(kind, 1 | 9) };
        open = if matches!(kind, 1 | 9) { flags & 4 == 0 } else { open };
        bytes = next;
    }
    open
}
