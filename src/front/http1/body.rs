//! Where a request body ends: by length, or by strict chunks (RFC 9112 §7.1).

use super::Fault;
use super::head::{Framing, split_field};

/// Longest chunk-size line, its extensions included.
pub const BODY_LINE_BYTES_MAX: usize = 256;
/// All chunk extensions of a message, and all its trailers, each.
pub const TRAILER_BYTES_MAX: usize = 8 * 1024;

/// Follows a body to its end.
#[derive(Debug)]
pub struct BodyScanner {
    state: State,
    extension_bytes: usize,
    trailer_bytes: usize,
}

#[derive(Debug)]
enum State {
    Length(u64),
    /// Hexadecimal digits of a chunk's size, and how many were read.
    Size(u64, u8),
    /// A chunk's extensions: the size and the bytes of the line so far.
    Extension(u64, usize),
    /// The line feed after a size.
    SizeFeed(u64),
    Data(u64),
    DataReturn,
    DataFeed,
    Trailer(Vec<u8>),
    TrailerFeed(Vec<u8>),
    Done,
}

impl BodyScanner {
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::None => State::Done,
            Framing::Length(bytes) => State::Length(bytes),
            Framing::Chunked => State::Size(0, 0),
        };
        Self { state, extension_bytes: 0, trailer_bytes: 0 }
    }

    pub const fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// How many bytes may be read without reaching beyond the message; `None` when only the bytes can tell.
    pub const fn bytes_left(&self) -> Option<u64> {
        match self.state {
            State::Length(bytes) => Some(bytes),
            State::Done => Some(0),
            _ => None,
        }
    }

    /// Takes the next bytes and returns how many of them belong to this message.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        let mut taken = 0;
        while !self.is_done() {
            let Some(rest) = bytes.get(taken..).filter(|rest| !rest.is_empty()) else { break };
            taken += match &mut self.state {
                State::Length(left) => {
                    let step = skip(left, rest);
                    if *left == 0 {
                        self.state = State::Done;
                    }
                    step
                }
                State::Data(left) => {
                    let step = skip(left, rest);
                    if *left == 0 {
                        self.state = State::DataReturn;
                    }
                    step
                }
                _ => {
                    self.step(*rest.first().unwrap_or(&0))?;
                    1
                }
            };
        }
        Ok(taken)
    }

    fn step(&mut self, byte: u8) -> Result<(), Fault> {
        self.state = match (std::mem::replace(&mut self.state, State::Done), byte) {
            // 15 digits: no overflow of 64 bits here, nor of signed ones elsewhere.
            (State::Size(size, digits), b) if b.is_ascii_hexdigit() && digits < 15 => {
                State::Size(size << 4 | hex(b), digits + 1)
            }
            (State::Size(size, 1..), b'\r') => State::SizeFeed(size),
            (State::Size(size, digits @ 1..), b';') => State::Extension(size, usize::from(digits) + 1),
            (State::Extension(size, _), b'\r') => State::SizeFeed(size),
            // RFC 9112 §7.1.1: extensions that are not understood are ignored, within a bound.
            (State::Extension(size, line), b) if b == b'\t' || (0x20..0x7f).contains(&b) => {
                self.extension_bytes += 1;
                if line >= BODY_LINE_BYTES_MAX || self.extension_bytes > TRAILER_BYTES_MAX {
                    return Err(Fault::ChunkExtras);
                }
                State::Extension(size, line + 1)
            }
            (State::SizeFeed(0), b'\n') => State::Trailer(Vec::new()),
            (State::SizeFeed(size), b'\n') => State::Data(size),
            (State::DataReturn, b'\r') => State::DataFeed,
            (State::DataFeed, b'\n') => State::Size(0, 0),
            (State::Trailer(line), b'\r') => State::TrailerFeed(line),
            (State::TrailerFeed(line), b'\n') if line.is_empty() => State::Done,
            (State::TrailerFeed(line), b'\n') => {
                split_field(&line)?;
                State::Trailer(Vec::new())
            }
            (State::Trailer(mut line), b) if b != b'\n' => {
                self.trailer_bytes += 1;
                if self.trailer_bytes > TRAILER_BYTES_MAX {
                    return Err(Fault::ChunkExtras);
                }
                line.push(b);
                State::Trailer(line)
            }
            _ => return Err(Fault::Chunk),
        };
        Ok(())
    }
}

/// Counts `left` down by what `rest` holds of it.
fn skip(left: &mut u64, rest: &[u8]) -> usize {
    let step = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
    *left -= step as u64;
    step
}

const fn hex(digit: u8) -> u64 {
    match digit {
        b'0'..=b'9' => (digit - b'0') as u64,
        b'a'..=b'f' => (digit - b'a') as u64 + 10,
        _ => (digit - b'A') as u64 + 10,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn follow(text: &[u8], pieces: usize) -> Result<(usize, bool), Fault> {
        let mut scanner = BodyScanner::new(Framing::Chunked);
        let mut taken = 0;
        for piece in text.chunks(pieces) {
            let step = scanner.advance(piece)?;
            taken += step;
            if step < piece.len() {
                break;
            }
        }
        Ok((taken, scanner.is_done()))
    }

    #[test]
    fn a_body_ends_where_its_framing_says() {
        for (name, text, whole) in [
            ("one chunk", "5\r\nhello\r\n0\r\n\r\n", true),
            ("extension", "5;a=b\r\nhello\r\n0;x\r\n\r\n", true),
            ("capital digits", "A\r\n0123456789\r\n0\r\n\r\n", true),
            ("trailers", "0\r\nA: b\r\nC: d\r\n\r\n", true),
            ("only zero", "000\r\n\r\n", true),
            ("unfinished", "5\r\nhel", false),
        ] {
            for pieces in [1, 2, 3, 100] {
                assert_eq!(follow(text.as_bytes(), pieces), Ok((text.len(), whole)), "{name} in {pieces}");
            }
            if whole {
                let more = format!("{text}GET / HTTP/1.1\r\n");
                assert_eq!(follow(more.as_bytes(), 7), Ok((text.len(), true)), "{name} with a second request");
            }
        }
        let mut by_length = BodyScanner::new(Framing::Length(5));
        assert_eq!(by_length.advance(b"hel"), Ok(3));
        assert_eq!(by_length.advance(b"loGET"), Ok(2));
        assert!(by_length.is_done());
    }

    #[test]
    fn a_chunk_that_parsers_could_read_in_two_ways_is_refused() {
        let long = format!("1;{}", "x".repeat(300));
        let many = format!("1;{}\r\na\r\n", "x".repeat(200)).repeat(50);
        let trailers = format!("0\r\nA: {}", "x".repeat(9000));
        for (name, text, fault) in [
            ("LF after the size", "5\nhello\r\n", Fault::Chunk),
            ("LF after the data", "5\r\nhello\n", Fault::Chunk),
            ("LF in an extension", "5;a\nhello\r\n", Fault::Chunk),
            ("CR in an extension", "5;a\rb\r\n", Fault::Chunk),
            ("0x", "0x5\r\nhello\r\n", Fault::Chunk),
            ("sign", "+5\r\nhello\r\n", Fault::Chunk),
            ("space before", " 5\r\nhello\r\n", Fault::Chunk),
            ("space after", "5 \r\nhello\r\n", Fault::Chunk),
            ("empty size", "\r\nhello\r\n", Fault::Chunk),
            ("extension without a size", ";a\r\nhello\r\n", Fault::Chunk),
            ("too many digits", "0000000000000005\r\nhello\r\n", Fault::Chunk),
            ("overflow", "fffffffffffffffff\r\n", Fault::Chunk),
            ("more data than said", "5\r\nhello!\r\n", Fault::Chunk),
            ("less data than said", "5\r\nhell\r\n0\r\n\r\n", Fault::Chunk),
            ("LF in a trailer", "0\r\nA: b\n\r\n", Fault::Chunk),
            ("folded trailer", "0\r\nA: b\r\n c\r\n\r\n", Fault::Folded),
            ("trailer without a colon", "0\r\nGET / HTTP\r\n\r\n", Fault::FieldName),
            ("long extension", long.as_str(), Fault::ChunkExtras),
            ("many extensions", many.as_str(), Fault::ChunkExtras),
            ("endless trailers", trailers.as_str(), Fault::ChunkExtras),
        ] {
            for pieces in [1, 4, 100_000] {
                assert_eq!(follow(text.as_bytes(), pieces), Err(fault), "{name} in {pieces}");
            }
        }
    }

    proptest! {
        #[test]
        fn the_cut_does_not_matter(text in "[0-9a-fA-F;\\r\\n :x]{0,60}", pieces in 1usize..9) {
            prop_assert_eq!(follow(text.as_bytes(), pieces), follow(text.as_bytes(), 1000));
        }

        /// What any client sends as chunks is followed to exactly its end.
        #[test]
        fn every_proper_body_is_followed(chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..50), 0..9), pieces in 1usize..30) {
            let mut text = Vec::new();
            for chunk in &chunks {
                text.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                text.extend_from_slice(chunk);
                text.extend_from_slice(b"\r\n");
            }
            text.extend_from_slice(b"0\r\n\r\n");
            prop_assert_eq!(follow(&text, pieces), Ok((text.len(), true)));
        }
    }
}
