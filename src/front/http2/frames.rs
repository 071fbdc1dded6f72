//! Is an HTTP/2 client in the middle of a header block? Read off the frame headers, advisory, for the deadline alone.
//!
//! The `h2` crate judges frames; nothing here refuses one. A block that is dripped, in HEADERS or in endless
//! CONTINUATION frames (RFC 9113 §6.10), occupies the connection without ever becoming a request, so time must end it.

/// RFC 9113 §3.4.
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const FRAME_HEADER_BYTES: usize = 9;
const HEADERS: u8 = 0x1;
const CONTINUATION: u8 = 0x9;
const END_HEADERS: u8 = 0x4;

/// Follows the frames of one direction, from behind the preface.
#[derive(Debug, Default)]
pub struct FrameWatch {
    header: [u8; FRAME_HEADER_BYTES],
    header_bytes: usize,
    payload_left: usize,
    blocks: u64,
    block_open: bool,
    closes_block: bool,
}

impl FrameWatch {
    /// The number of the header block that has begun and not ended.
    pub fn open_block(&self) -> Option<u64> {
        self.block_open.then_some(self.blocks)
    }

    pub fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.payload_left > 0 {
                let step = self.payload_left.min(bytes.len());
                bytes = bytes.get(step..).unwrap_or_default();
                self.payload_left -= step;
            } else if let Some((first, rest)) = bytes.split_first() {
                if let Some(slot) = self.header.get_mut(self.header_bytes) {
                    *slot = *first;
                }
                self.header_bytes += 1;
                bytes = rest;
                if self.header_bytes < FRAME_HEADER_BYTES {
                    continue;
                }
                self.begin_frame();
            }
            if self.payload_left == 0 && self.closes_block {
                self.block_open = false;
                self.closes_block = false;
            }
        }
    }

    /// RFC 9113 §4.1: length (24 bits), type, flags, stream.
    fn begin_frame(&mut self) {
        let [a, b, c, kind, flags, ..] = self.header;
        self.header_bytes = 0;
        self.payload_left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        if matches!(kind, HEADERS | CONTINUATION) {
            self.blocks += u64::from(!self.block_open);
            self.block_open = true;
            self.closes_block = flags & END_HEADERS != 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, length: usize) -> Vec<u8> {
        let mut frame = vec![0, 0, u8::try_from(length).unwrap(), kind, flags, 0, 0, 0, 1];
        frame.resize(FRAME_HEADER_BYTES + length, 0);
        frame
    }

    #[test]
    fn a_block_is_open_from_its_first_frame_to_the_end_of_its_last() {
        for pieces in [1, 5, 1000] {
            let mut watch = FrameWatch::default();
            let mut after = |bytes: &[u8]| {
                bytes.chunks(pieces).for_each(|piece| watch.feed(piece));
                watch.open_block().is_some()
            };
            assert!(!after(&frame(4, 0, 12)), "SETTINGS");
            assert!(!after(&frame(HEADERS, END_HEADERS, 20)), "a whole block");
            assert!(after(&frame(HEADERS, END_HEADERS, 20)[..15]), "half a frame");
            assert!(!after(&frame(HEADERS, END_HEADERS, 20)[15..]), "its other half");
            assert!(after(&frame(HEADERS, 0, 20)), "to be continued");
            assert!(after(&frame(CONTINUATION, 0, 0)), "and again");
            assert!(!after(&frame(CONTINUATION, END_HEADERS, 0)), "the end");
            assert!(!after(&frame(0, 1, 200)), "DATA");
        }
    }
}
