//! Paths as received: accepted if nothing in them can be read in two ways, refused otherwise, never repaired.

/// Longest path, in bytes, query excluded.
pub const PATH_BYTES_MAX: usize = 4096;

/// Why a path is refused. Positions are byte offsets into the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("the path has {0} bytes; at most {PATH_BYTES_MAX} are allowed")]
    TooLong(usize),
    #[error("the path does not start with `/`")]
    NotAbsolute,
    #[error("the path has an empty segment (`//`)")]
    EmptySegment,
    #[error("the path has a dot segment (`.` or `..`, plain or encoded)")]
    DotSegment,
    #[error("the path contains a backslash")]
    Backslash,
    #[error("the path contains `;`: path parameters are not supported")]
    PathParameter,
    #[error("the path contains a character at byte {at} that RFC 3986 §3.3 does not allow there")]
    Character { at: usize },
    #[error("the path has a `%` at byte {at} that is not followed by two hexadecimal digits")]
    Escape { at: usize },
    #[error("the path has an encoded slash or backslash at byte {at}")]
    EncodedSeparator { at: usize },
    #[error("the path has an encoded control character at byte {at}")]
    EncodedControl { at: usize },
    #[error("the path looks encoded twice at byte {at} (`%25` before two hexadecimal digits, plain or escaped)")]
    EncodedTwice { at: usize },
    #[error("the path's encoded bytes are not UTF-8")]
    NotUtf8,
}

/// A path that passed every check, as received. It is what is routed and, byte for byte, what is forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CanonicalPath<'a>(&'a str); // Invariant: `parse` is the only constructor.

impl<'a> CanonicalPath<'a> {
    /// Checks the path of a request target (no query) as received.
    ///
    /// Allowed are `/` and RFC 3986 §3.3 `pchar` other than `;`, with well-formed escapes of anything but separators,
    /// controls and dot segments.
    pub fn parse(raw: &'a str) -> Result<Self, PathError> {
        if raw.len() > PATH_BYTES_MAX {
            return Err(PathError::TooLong(raw.len()));
        }
        let mut rest = raw.strip_prefix('/').ok_or(PathError::NotAbsolute)?;
        let mut at = 1;
        loop {
            let (segment, tail) = split_segment(rest);
            if segment.is_empty() && tail.is_some() {
                return Err(PathError::EmptySegment);
            }
            check_segment(segment, at)?;
            let Some(tail) = tail else { return Ok(Self(raw)) };
            at += segment.len() + 1;
            rest = tail;
        }
    }

    pub const fn as_str(&self) -> &'a str {
        self.0
    }
}

/// The segment before the next `/` and, if there is a `/`, what follows it.
pub(super) fn split_segment(rest: &str) -> (&str, Option<&str>) {
    // Segments are short: to look at each byte is faster than to set out on a search.
    match rest.bytes().position(|byte| byte == b'/').and_then(|at| rest.split_at_checked(at)) {
        Some((segment, tail)) => (segment, tail.strip_prefix('/')),
        None => (rest, None),
    }
}

/// The byte that the escape at the start of `text` stands for.
pub(super) fn unescape(text: &[u8]) -> Option<u8> {
    match text {
        [b'%', high, low, ..] => {
            let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            Some(digit(*high)? << 4 | digit(*low)?)
        }
        _ => None,
    }
}

fn check_segment(segment: &str, start: usize) -> Result<(), PathError> {
    // Nearly every segment; looked at whole, without a way out of the loop, so that it takes sixteen bytes at a time.
    let harmless =
        |byte: u8| (byte | 0x20).is_ascii_lowercase() | byte.is_ascii_digit() | (byte == b'-') | (byte == b'_');
    if segment.bytes().fold(true, |all, byte| all & harmless(byte)) {
        return Ok(());
    }
    let mut rest = segment.as_bytes();
    let (mut units, mut dots, mut foreign) = (0_usize, 0_usize, false);
    while let Some(first) = rest.first() {
        let at = start + segment.len() - rest.len();
        let (byte, width) = if *first == b'%' { (escaped(rest, at)?, 3) } else { (plain(*first, at)?, 1) };
        units += 1;
        dots += usize::from(byte == b'.');
        foreign |= !byte.is_ascii();
        rest = rest.get(width..).unwrap_or_default();
    }
    // RFC 3986 §6.2.2.3: whoever normalises would route such a path elsewhere than we do.
    if dots == units && (1..=2).contains(&dots) {
        return Err(PathError::DotSegment);
    }
    // Overlong forms such as `%C0%AF` decode to a slash in careless programs.
    if foreign && percent_encoding::percent_decode_str(segment).decode_utf8().is_err() {
        return Err(PathError::NotUtf8);
    }
    Ok(())
}

/// RFC 3986 §3.3: `pchar = unreserved / pct-encoded / sub-delims / ":" / "@"`, less `;`.
const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*')
        || matches!(byte, b'+' | b',' | b'=' | b':' | b'@')
}

const fn plain(byte: u8, at: usize) -> Result<u8, PathError> {
    match byte {
        b'\\' => Err(PathError::Backslash),
        b';' => Err(PathError::PathParameter),
        _ if is_plain(byte) => Ok(byte),
        _ => Err(PathError::Character { at }),
    }
}

fn escaped(rest: &[u8], at: usize) -> Result<u8, PathError> {
    match unescape(rest).ok_or(PathError::Escape { at })? {
        b'/' | b'\\' => Err(PathError::EncodedSeparator { at }),
        0..=0x1f | 0x7f => Err(PathError::EncodedControl { at }),
        // `%252e%252e` and its kind: harmless to us, a dot segment to whoever decodes twice.
        b'%' if begins_with_digits(rest.get(3..).unwrap_or_default()) => Err(PathError::EncodedTwice { at }),
        byte => Ok(byte),
    }
}

/// Whether two hexadecimal digits come next, each as it is or escaped itself: `%25%32%65` is `.`, decoded twice.
fn begins_with_digits(rest: &[u8]) -> bool {
    let mut rest = rest;
    (0..2).all(|_| {
        let (digit, width) = unescape(rest).map_or((rest.first().copied(), 1), |byte| (Some(byte), 3));
        rest = rest.get(width..).unwrap_or_default();
        digit.is_some_and(|digit| digit.is_ascii_hexdigit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_programs_could_read_differently_is_refused() {
        for (raw, expected) in [
            ("", PathError::NotAbsolute),
            ("*", PathError::NotAbsolute),
            ("a/b", PathError::NotAbsolute),
            ("http://x/a", PathError::NotAbsolute),
            ("//", PathError::EmptySegment),
            ("//a", PathError::EmptySegment),
            ("/a//b", PathError::EmptySegment),
            ("/a//", PathError::EmptySegment),
            ("/.", PathError::DotSegment),
            ("/..", PathError::DotSegment),
            ("/a/./b", PathError::DotSegment),
            ("/a/../b", PathError::DotSegment),
            ("/a/%2e%2e/b", PathError::DotSegment),
            ("/a/.%2E/b", PathError::DotSegment),
            ("/a/%2E./b", PathError::DotSegment),
            ("/a/%2e", PathError::DotSegment),
            ("/a\\b", PathError::Backslash),
            ("/a;v=1/b", PathError::PathParameter),
            ("/a/..;/b", PathError::PathParameter),
            ("/a b", PathError::Character { at: 2 }),
            ("/a\tb", PathError::Character { at: 2 }),
            ("/a\0", PathError::Character { at: 2 }),
            ("/a\x7f", PathError::Character { at: 2 }),
            ("/é", PathError::Character { at: 1 }),
            ("/a?b", PathError::Character { at: 2 }),
            ("/a#b", PathError::Character { at: 2 }),
            ("/a/b<c", PathError::Character { at: 4 }),
            ("/a/{b}", PathError::Character { at: 3 }),
            ("/a[0]", PathError::Character { at: 2 }),
            ("/%", PathError::Escape { at: 1 }),
            ("/%4", PathError::Escape { at: 1 }),
            ("/a%g0", PathError::Escape { at: 2 }),
            ("/a/%4/b", PathError::Escape { at: 3 }),
            ("/a%2fb", PathError::EncodedSeparator { at: 2 }),
            ("/a%2Fb", PathError::EncodedSeparator { at: 2 }),
            ("/a%5cb", PathError::EncodedSeparator { at: 2 }),
            ("/a%00", PathError::EncodedControl { at: 2 }),
            ("/a%0d%0a", PathError::EncodedControl { at: 2 }),
            ("/a%7F", PathError::EncodedControl { at: 2 }),
            ("/a%252e%252e/b", PathError::EncodedTwice { at: 2 }),
            ("/a%252Fb", PathError::EncodedTwice { at: 2 }),
            ("/x/%25%32%65%25%32%65/y", PathError::EncodedTwice { at: 3 }), // Found by fuzzing, as are the next.
            ("/a%25a%35", PathError::EncodedTwice { at: 2 }),
            ("/a%25%35a", PathError::EncodedTwice { at: 2 }),
            ("/a%c0%af", PathError::NotUtf8),
            ("/a%ff", PathError::NotUtf8),
        ] {
            assert_eq!(CanonicalPath::parse(raw), Err(expected), "{raw:?}");
        }
    }

    #[test]
    fn ordinary_paths_stay_as_they_are() {
        for raw in [
            "/",
            "/a",
            "/a/",
            "/a/b.json",
            "/v1.0/...",
            "/.well-known/api-catalog",
            "/a/b%20c",
            "/caf%C3%A9",
            "/a%3Bb",
            "/100%25",
            "/100%25a",
            "/100%25%61-",
            "/users/a%40b.example",
            "/x:cancel/@me/$a!b'(c)*+,=",
            "/~user/a-b_c",
        ] {
            assert_eq!(CanonicalPath::parse(raw).map(|path| path.as_str()), Ok(raw));
        }
    }

    #[test]
    fn length_is_bounded() {
        let longest = format!("/{}", "a".repeat(PATH_BYTES_MAX - 1));
        assert!(CanonicalPath::parse(&longest).is_ok());
        assert_eq!(CanonicalPath::parse(&format!("{longest}a")), Err(PathError::TooLong(PATH_BYTES_MAX + 1)));
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn accepted_paths_are_what_they_decode_to(raw in "/[a-c./%2eEfF05;\\\\ é]{0,12}") {
            if let Ok(path) = CanonicalPath::parse(&raw) {
                let decoded = percent_encoding::percent_decode_str(path.as_str()).decode_utf8().unwrap();
                let (plain, once) = (path.as_str().matches('/').count(), decoded.matches('/').count());
                proptest::prop_assert_eq!(plain, once, "an escape hides a separator");
                proptest::prop_assert!(decoded.split('/').all(|segment| segment != "." && segment != ".."));
                proptest::prop_assert!(!decoded.chars().any(char::is_control));
            }
        }
    }
}
