//! One path segment with literal text and parameters, such as `{Sid}.json` or `{from}-{to}`.

use std::borrow::Cow;
use std::cmp::{Ordering, Reverse};
use std::ops::Range;

use super::path::unescape;

/// `literals` surround the parameters: n parameters stand between n + 1 literals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    // Invariant: at least two; those between the first and the last are not empty.
    pub literals: Box<[Box<str>]>,
}

impl Pattern {
    /// Appends the captured slices of the raw segment if the whole segment matches. Each parameter takes at least one
    /// character, and as few as possible while the rest still matches: `{a}-{b}` reads `x-y-z` as `x` and `y-z`.
    ///
    /// Literals are compared after percent-decoding: `a%2Ejson` is `a.json` to every back end.
    pub fn capture<'p>(&self, raw: &'p str, values: &mut Vec<&'p str>) -> bool {
        let mark = values.len();
        let matched = if raw.contains('%') {
            let (bytes, starts) = decode_with_origins(raw);
            self.spans(&bytes, |span| {
                let raw_span = starts.get(span.start).zip(starts.get(span.end));
                values.extend(raw_span.and_then(|(start, end)| raw.get(*start..*end)));
            })
        } else {
            self.spans(raw.as_bytes(), |span| values.extend(raw.get(span)))
        };
        if !matched {
            values.truncate(mark);
        }
        matched
    }

    fn spans(&self, bytes: &[u8], mut found: impl FnMut(Range<usize>)) -> bool {
        let [first, middle @ .., last] = &*self.literals else { return false };
        if !bytes.starts_with(first.as_bytes()) || !bytes.ends_with(last.as_bytes()) {
            return false;
        }
        let (mut at, end) = (first.len(), bytes.len() - last.len());
        for literal in middle {
            let Some(hit) = bytes.get(at + 1..end).and_then(|rest| find(rest, literal.as_bytes())) else {
                return false;
            };
            found(at..at + 1 + hit);
            at += 1 + hit + literal.len();
        }
        if at >= end {
            return false;
        }
        found(at..end);
        true
    }

    fn literal_bytes(&self) -> usize {
        self.literals.iter().map(|literal| literal.len()).sum()
    }

    fn prefix_bytes(&self) -> usize {
        self.literals.first().map_or(0, |literal| literal.len())
    }

    fn rank(&self) -> (Reverse<usize>, Reverse<usize>) {
        (Reverse(self.literal_bytes()), Reverse(self.prefix_bytes()))
    }

    /// Better first. `Equal` for different patterns is a tie, which matters only if some text matches both.
    pub fn precedence(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank())
    }

    /// Whether some text matches both.
    pub fn overlaps(&self, other: &Self) -> bool {
        let (ours, theirs) = (self.tokens(), other.tokens());
        let width = theirs.len() + 1;
        let mut seen = vec![false; (ours.len() + 1) * width];
        let mut open = vec![(0, 0)];
        while let Some((i, j)) = open.pop() {
            match seen.get_mut(i * width + j) {
                Some(visited) if !*visited => *visited = true,
                _ => continue,
            }
            match (ours.get(i), theirs.get(j)) {
                (None, None) => return true,
                (Some(Token::Many), other) => {
                    open.push((i + 1, j));
                    open.extend(other.map(|_| (i, j + 1)));
                }
                (other, Some(Token::Many)) => {
                    open.push((i, j + 1));
                    open.extend(other.map(|_| (i + 1, j)));
                }
                (Some(Token::Byte(a)), Some(Token::Byte(b))) if a != b => {}
                (Some(_), Some(_)) => open.push((i + 1, j + 1)),
                (None, Some(_)) | (Some(_), None) => {}
            }
        }
        false
    }

    /// Whether the pattern matches this literal segment (decoded).
    pub fn matches_literal(&self, literal: &str) -> bool {
        self.spans(literal.as_bytes(), |_| ())
    }

    fn tokens(&self) -> Vec<Token> {
        let mut tokens = Vec::new();
        for (position, literal) in self.literals.iter().enumerate() {
            if position > 0 {
                tokens.extend([Token::One, Token::Many]);
            }
            tokens.extend(literal.bytes().map(Token::Byte));
        }
        tokens
    }
}

enum Token {
    Byte(u8),
    One,
    Many,
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len().max(1)).position(|window| window == needle)
}

/// The decoded bytes and, for each of them and for the end, the offset in `raw` where it starts.
fn decode_with_origins(raw: &str) -> (Vec<u8>, Vec<usize>) {
    let (mut bytes, mut starts) = (Vec::with_capacity(raw.len()), Vec::with_capacity(raw.len() + 1));
    let mut rest = raw.as_bytes();
    while let Some(first) = rest.first() {
        starts.push(raw.len() - rest.len());
        let (byte, width) = unescape(rest).map_or((*first, 1), |byte| (byte, 3));
        bytes.push(byte);
        rest = rest.get(width..).unwrap_or_default();
    }
    starts.push(raw.len());
    (bytes, starts)
}

/// The bytes that a raw segment stands for.
pub(super) fn decode(raw: &str) -> Cow<'_, [u8]> {
    percent_encoding::percent_decode_str(raw).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(literals: &[&str]) -> Pattern {
        Pattern { literals: literals.iter().map(|literal| Box::from(*literal)).collect() }
    }

    #[test]
    fn captures_are_shortest_first_and_never_empty() {
        for (literals, raw, expected) in [
            (&["", ".json"][..], "abc.json", Some(vec!["abc"])),
            (&["", ".json"], ".json", None),
            (&["", ".json"], "abc.jso", None),
            (&["", ".json"], "a%20b.json", Some(vec!["a%20b"])),
            (&["", ".json"], "abc%2Ejson", Some(vec!["abc"])),
            (&["", ".json"], "a.json.json", Some(vec!["a.json"])),
            (&["", "-", ""], "x-y-z", Some(vec!["x", "y-z"])),
            (&["", "-", ""], "-y", None),
            (&["", "-", ""], "--y", Some(vec!["-", "y"])),
            (&["", "-", ""], "y-", None),
            (&["", "-", ""], "x%2Dy%2dz", Some(vec!["x", "y%2dz"])),
            (&["v", "(", ")"], "v1(2)", Some(vec!["1", "2"])),
            (&["v", "(", ")"], "v(2)", None),
            (&["ab", "ab"], "abab", None),
            (&["ab", "ba"], "aba", None),
        ] {
            let mut values = Vec::new();
            let matched = pattern(literals).capture(raw, &mut values);
            assert_eq!(matched.then_some(values), expected, "{literals:?} {raw}");
        }
    }

    #[test]
    fn overlap_is_exact() {
        for (a, b, expected) in [
            (&["", ".json"][..], &["", ".yaml"][..], false),
            (&["x", ""], &["", "x"], true),
            (&["", "-", ""], &["", ".", ""], true),
            (&["a", "b"], &["b", "a"], false),
            (&["aa", ""], &["a", "b"], true),
            (&["", "ab"], &["", "b"], true),
        ] {
            assert_eq!(pattern(a).overlaps(&pattern(b)), expected, "{a:?} {b:?}");
            assert_eq!(pattern(b).overlaps(&pattern(a)), expected, "{b:?} {a:?}");
        }
    }
}
