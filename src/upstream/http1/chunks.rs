//! A body in chunks (RFC 9112 §7.1), out of its frames.

use bytes::{Buf, Bytes, BytesMut};

/// Longest line of a size, with its extensions, and of a trailer.
const LINE_BYTES_MAX: usize = 8 * 1024;
/// All trailers of a body.
const TRAILER_BYTES_MAX: usize = 16 * 1024;

/// Follows a body to its end.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    state: State,
    trailer_bytes: usize,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Size,
    Data(u64),
    /// The line end after a chunk.
    DataEnd,
    Trailers,
}

/// What comes next of a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Data(Bytes),
    /// It cannot be said before more has been received.
    Missing,
    End,
}

impl Chunks {
    /// Takes the next piece from what was received, or says what is wrong with it.
    pub fn next(&mut self, inbox: &mut BytesMut) -> Result<Piece, &'static str> {
        loop {
            match &mut self.state {
                State::Size => {
                    let Some(line) = take_line(inbox)? else { return Ok(Piece::Missing) };
                    self.state = match size(&line)? {
                        0 => State::Trailers,
                        size => State::Data(size),
                    };
                }
                State::Data(left) => {
                    if inbox.is_empty() {
                        return Ok(Piece::Missing);
                    }
                    let most = usize::try_from(*left).unwrap_or(usize::MAX);
                    let bytes = inbox.split_to(inbox.len().min(most)).freeze();
                    *left -= bytes.len() as u64;
                    if *left == 0 {
                        self.state = State::DataEnd;
                    }
                    return Ok(Piece::Data(bytes));
                }
                State::DataEnd => {
                    let Some(end) = inbox.get(..2) else {
                        return if b"\r\n".starts_with(inbox) {
                            Ok(Piece::Missing)
                        } else {
                            Err("a chunk without end")
                        };
                    };
                    if end != b"\r\n" {
                        return Err("a chunk without end");
                    }
                    inbox.advance(2);
                    self.state = State::Size;
                }
                State::Trailers => {
                    let Some(line) = take_line(inbox)? else { return Ok(Piece::Missing) };
                    if line.is_empty() {
                        return Ok(Piece::End);
                    }
                    self.trailer_bytes += line.len() + 2;
                    if self.trailer_bytes > TRAILER_BYTES_MAX {
                        return Err("its trailers are too long");
                    }
                }
            }
        }
    }
}

/// The next line without its end, CRLF.
fn take_line(inbox: &mut BytesMut) -> Result<Option<BytesMut>, &'static str> {
    let Some(feed) = inbox.iter().take(LINE_BYTES_MAX).position(|byte| *byte == b'\n') else {
        return if inbox.len() < LINE_BYTES_MAX { Ok(None) } else { Err("a line among chunks is too long") };
    };
    let mut line = inbox.split_to(feed + 1);
    if !line.ends_with(b"\r\n") {
        return Err("a line among chunks ends without CRLF");
    }
    line.truncate(line.len() - 2);
    if line.contains(&b'\r') { Err("a line among chunks has a bare CR") } else { Ok(Some(line)) }
}

/// `1*HEXDIG [ chunk-ext ]`; extensions are not understood, and ignored (§7.1.1).
fn size(line: &[u8]) -> Result<u64, &'static str> {
    let end = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
    let (digits, rest) = line.split_at(end);
    // 15 digits: no overflow.
    if !(1..=15).contains(&digits.len())
        || !(rest.is_empty() || rest.trim_ascii_start().first().is_none_or(|b| *b == b';'))
    {
        return Err("the size of a chunk is malformed");
    }
    let digits = std::str::from_utf8(digits).ok().and_then(|digits| u64::from_str_radix(digits, 16).ok());
    digits.ok_or("the size of a chunk is malformed")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The data, what is left over after the end, and whether it came to an end.
    fn follow(text: &[u8], step: usize) -> Result<(Vec<u8>, Vec<u8>, bool), &'static str> {
        let (mut chunks, mut inbox, mut data) = (Chunks::default(), BytesMut::new(), Vec::new());
        let mut parts = text.chunks(step);
        loop {
            match chunks.next(&mut inbox)? {
                Piece::Data(bytes) => data.extend_from_slice(&bytes),
                Piece::End => {
                    inbox.extend_from_slice(&parts.flatten().copied().collect::<Vec<_>>());
                    return Ok((data, inbox.to_vec(), true));
                }
                Piece::Missing => match parts.next() {
                    Some(part) => inbox.extend_from_slice(part),
                    None => return Ok((data, inbox.to_vec(), false)),
                },
            }
        }
    }

    #[test]
    fn what_is_a_body_and_what_is_none() {
        let long = format!("3;{}\r\nabc\r\n0\r\n\r\n", "x".repeat(LINE_BYTES_MAX));
        let trailers = format!("0\r\n{}\r\n", format!("T: {}\r\n", "t".repeat(4000)).repeat(5));
        for (name, text, expected) in [
            ("one", "3\r\nabc\r\n0\r\n\r\n", Some(("abc", ""))),
            ("two", "3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n", Some(("abc0123456789", ""))),
            ("none", "0\r\n\r\n", Some(("", ""))),
            ("extensions", "3;a=b\r\nabc\r\n0 ; c\r\n\r\n", Some(("abc", ""))),
            ("padding", "3  \r\nabc\r\n00\r\n\r\n", Some(("abc", ""))),
            ("trailers", "0\r\nA: b\r\nC: d\r\n\r\n", Some(("", ""))),
            ("more than asked for", "1\r\na\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n", Some(("a", "HTTP/1.1 200 OK\r\n"))),
            ("line feed alone", "3\nabc\n0\n\n", None),
            ("no size", "\r\nabc", None),
            ("a sign", "+3\r\nabc\r\n", None),
            ("a prefix", "0x3\r\nabc\r\n", None),
            ("a space before", " 3\r\nabc\r\n", None),
            ("two sizes", "3 3\r\nabc\r\n", None),
            ("too large", "1000000000000000\r\n", None),
            ("longer than said", "3\r\nabcd\r\n0\r\n\r\n", None),
            ("bare CR", "3;\rx\r\nabc\r\n", None),
            ("an endless line", &long, None),
            ("endless trailers", &trailers, None),
        ] {
            for step in [1, 2, 3, 7, text.len()] {
                let followed = follow(text.as_bytes(), step).ok();
                let expected = expected.map(|(data, rest)| (data.into(), rest.into(), true));
                assert_eq!(followed, expected, "{name}, {step} at a time");
            }
        }
        assert_eq!(follow(b"3\r\nab", 9), Ok((b"ab".to_vec(), vec![], false)), "half of it is not all");
        assert_eq!(follow(b"3\r\nabc\r\n0\r\n", 9), Ok((b"abc".to_vec(), vec![], false)), "the end is missing");
    }

    proptest! {
        #[test]
        fn what_was_put_into_chunks_comes_out(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
            step in 1..20_usize,
        ) {
            let mut wire = Vec::new();
            for part in &parts {
                wire.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
                wire.extend_from_slice(part);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\n\r\nrest");
            prop_assert_eq!(follow(&wire, step), Ok((parts.concat(), b"rest".to_vec(), true)));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), step in 1..20_usize) {
            let _ = follow(&bytes, step);
        }
    }
}
