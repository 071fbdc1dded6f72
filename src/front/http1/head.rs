//! The header section of a request (RFC 9112 §2 to §6), judged as raw bytes.

use super::Fault;

/// Bounds of a header section.
#[derive(Debug, Clone, Copy)]
pub struct HeadLimits {
    pub bytes_max: usize,
    pub fields_max: usize,
    pub target_bytes_max: usize,
}

/// How the body is delimited (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    None,
    Length(u64),
    Chunked,
}

/// A header section that passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Bytes to discard before it: one empty line at most (RFC 9112 §2.2).
    pub skip: usize,
    /// Its length including the empty line that ends it, counted after `skip`.
    pub bytes: usize,
    pub framing: Framing,
    /// HTTP/1.1 in origin-form that wants no other protocol, and whose body, if it brings one, has a length.
    pub is_plain: bool,
}

/// Finds the end of a header section as bytes arrive, then judges it whole. Each byte is looked at twice at most.
#[derive(Debug, Default)]
pub struct HeadScanner {
    skip: usize,
    scanned: usize,
    line_start: usize,
}

impl HeadScanner {
    /// `bytes` is everything received since the last message; it grows from call to call.
    pub fn advance(&mut self, bytes: &[u8], limits: &HeadLimits) -> Result<Option<Head>, Fault> {
        while let Some(offset) = bytes.get(self.scanned..).and_then(|rest| find(b'\n', rest)) {
            let feed = self.scanned + offset;
            let line = bytes.get(self.line_start..feed).unwrap_or_default();
            let Some(line) = line.strip_suffix(b"\r") else { return Err(Fault::BareLineFeed) };
            self.scanned = feed + 1;
            if line.is_empty() && self.line_start == 0 {
                // RFC 9112 §2.2: an empty line before the request line is ignored, once.
                self.skip = self.scanned;
            } else if line.is_empty() {
                let head = bytes.get(self.skip..self.scanned).unwrap_or_default();
                return self.judge(head, limits).map(Some);
            }
            self.line_start = self.scanned;
        }
        self.scanned = bytes.len();
        if bytes.len().saturating_sub(self.skip) >= limits.bytes_max {
            // A request line that alone fills the bound is a target that is too long.
            return Err(if self.line_start == self.skip { Fault::TargetTooLong } else { Fault::HeadTooLarge });
        }
        Ok(None)
    }

    fn judge(&self, head: &[u8], limits: &HeadLimits) -> Result<Head, Fault> {
        let (line, mut rest) = next_line(head);
        let start = RequestLine::parse(line, limits)?;
        if head.len() > limits.bytes_max {
            return Err(Fault::HeadTooLarge);
        }
        let mut fields = Fields::default();
        loop {
            let (line, after) = next_line(rest);
            if line.is_empty() {
                break;
            }
            fields.take(line, limits)?;
            rest = after;
        }
        let framing = fields.framing(&start)?;
        let is_plain = start.is_plain && framing != Framing::Chunked && !fields.upgrade;
        Ok(Head { skip: self.skip, bytes: head.len(), framing, is_plain })
    }
}

/// The line before the next line feed, without its end, and what follows.
pub(super) fn next_line(bytes: &[u8]) -> (&[u8], &[u8]) {
    let feed = find(b'\n', bytes).unwrap_or(bytes.len());
    let (line, rest) = bytes.split_at(feed);
    (line.strip_suffix(b"\r").unwrap_or(line), rest.get(1..).unwrap_or_default())
}

/// Where a byte first is. A block at a time is looked at whole, which takes a few instructions, not some for each byte.
pub(super) fn find(wanted: u8, bytes: &[u8]) -> Option<usize> {
    let (blocks, _) = bytes.as_chunks::<32>();
    let without = blocks.iter().take_while(|block| !any_byte(*block, |byte| byte == wanted)).count() * 32;
    let rest = bytes.get(without..).unwrap_or_default();
    rest.iter().position(|byte| *byte == wanted).map(|at| without + at)
}

/// Whether any byte is so. Looks at all of them: without a way out of the loop it takes sixteen at a time.
fn any_byte(bytes: &[u8], is_so: impl Fn(u8) -> bool) -> bool {
    bytes.iter().fold(false, |found, byte| found | is_so(*byte))
}

/// What the request line decides for the fields.
struct RequestLine<'a> {
    version: Version,
    /// Of an absolute-form target.
    authority: Option<&'a [u8]>,
    /// HTTP/1.1 in origin-form.
    is_plain: bool,
}

enum Version {
    Http10,
    Http11,
}

impl<'a> RequestLine<'a> {
    /// RFC 9112 §3: `method SP request-target SP HTTP-version`, with single spaces and nothing else.
    fn parse(line: &'a [u8], limits: &HeadLimits) -> Result<Self, Fault> {
        let mut parts = line.split(|b| *b == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Fault::RequestLine);
        };
        if method.is_empty() || method.len() > METHOD_BYTES_MAX || !method.iter().all(|b| is_token(*b)) {
            return Err(Fault::RequestLine);
        }
        // RFC 9110 §9.3.6 and §9.3.8: a gateway is no tunnel, and echoes nothing.
        if matches!(method, b"CONNECT" | b"TRACE") {
            return Err(Fault::Method);
        }
        if target.len() > limits.target_bytes_max {
            return Err(Fault::TargetTooLong);
        }
        if !is_target(method, target) {
            return Err(Fault::Target);
        }
        let version = match version {
            b"HTTP/1.1" => Version::Http11,
            b"HTTP/1.0" => Version::Http10,
            _ => return Err(Fault::Version),
        };
        let is_path = target.starts_with(b"/");
        let authority = if is_path { None } else { absolute_authority(target) };
        let is_plain = is_path && matches!(version, Version::Http11);
        Ok(Self { version, authority, is_plain })
    }
}

const METHOD_BYTES_MAX: usize = 32;

/// RFC 9112 §3.2: origin-form, absolute-form, and `*` for OPTIONS. Visible ASCII only, and nothing that some parsers
/// cut at or take for something else: fragments, backslashes (for slashes), quotes and angles.
fn is_target(method: &[u8], target: &[u8]) -> bool {
    let unsound = |b: u8| !(0x21..0x7f).contains(&b) | matches!(b, b'#' | b'\\' | b'"' | b'<' | b'>' | b'`');
    !any_byte(target, unsound)
        && (target.starts_with(b"/")
            || (target == b"*" && method == b"OPTIONS")
            || absolute_authority(target).is_some_and(is_host))
}

/// The authority of an absolute-form target.
fn absolute_authority(target: &[u8]) -> Option<&[u8]> {
    let colon = target.iter().position(|b| *b == b':')?;
    let (scheme, rest) = target.split_at_checked(colon)?;
    let rest = rest.strip_prefix(b"://")?;
    let known = scheme.eq_ignore_ascii_case(b"http") || scheme.eq_ignore_ascii_case(b"https");
    let end = rest.iter().position(|b| matches!(b, b'/' | b'?')).unwrap_or(rest.len());
    known.then(|| rest.get(..end)).flatten()
}

/// A host with an optional port (RFC 9110 §7.2): no user information, no list, no space, nothing escaped.
fn is_host(value: &[u8]) -> bool {
    let (host, port) = if value.starts_with(b"[") {
        let Some(end) = value.iter().position(|b| *b == b']') else { return false };
        let (host, port) = value.split_at(end + 1);
        let literal = host.get(1..end).unwrap_or_default();
        if literal.is_empty() || !literal.iter().all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.')) {
            return false;
        }
        (host, port)
    } else {
        let end = value.iter().position(|b| *b == b':').unwrap_or(value.len());
        let (host, port) = value.split_at(end);
        if !host.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~')) {
            return false;
        }
        (host, port)
    };
    let port_fits = match port.split_first() {
        None => true,
        Some((colon, digits)) => {
            *colon == b':' && (1..=5).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit)
        }
    };
    !host.is_empty() && host.len() <= 255 && port_fits
}

/// The fields that frame a message, as far as they were read.
#[derive(Default)]
struct Fields<'a> {
    count: usize,
    host: Option<&'a [u8]>,
    length: Option<u64>,
    chunked: bool,
    upgrade: bool,
}

impl<'a> Fields<'a> {
    fn take(&mut self, line: &'a [u8], limits: &HeadLimits) -> Result<(), Fault> {
        self.count += 1;
        if self.count > limits.fields_max {
            return Err(Fault::TooManyFields);
        }
        let (name, value) = split_field(line)?;
        if name.eq_ignore_ascii_case(b"host") {
            if self.host.is_some() || !is_host(value) {
                return Err(Fault::Host);
            }
            self.host = Some(value);
        } else if name.eq_ignore_ascii_case(b"content-length") {
            // RFC 9112 §6.3 would let identical repetitions pass; one number is all that a client needs to send.
            if self.length.is_some() {
                return Err(Fault::ContentLength);
            }
            self.length = Some(parse_length(value)?);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Fault::TransferEncoding);
            }
            self.chunked = true;
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            self.upgrade = true;
        }
        Ok(())
    }

    fn framing(&self, start: &RequestLine<'_>) -> Result<Framing, Fault> {
        match start.version {
            // RFC 9112 §3.2: a request without exactly one Host is answered with 400.
            Version::Http11 if self.host.is_none() => return Err(Fault::Host),
            // RFC 9112 §6.1: a transfer coding in HTTP/1.0 is faulty framing.
            Version::Http10 if self.chunked => return Err(Fault::TransferEncoding),
            Version::Http10 | Version::Http11 => {}
        }
        // RFC 9112 §3.2.2 would replace the Host; two names for one request are refused instead.
        if start.authority.is_some() && start.authority != self.host {
            return Err(Fault::Host);
        }
        match (self.length, self.chunked) {
            (Some(_), true) => Err(Fault::TwoFramings),
            (None, true) => Ok(Framing::Chunked),
            (None | Some(0), false) => Ok(Framing::None),
            (Some(bytes), false) => Ok(Framing::Length(bytes)),
        }
    }
}

/// RFC 9112 §5: `field-name ":" OWS field-value OWS`, without folding and without a space before the colon.
pub(super) fn split_field(line: &[u8]) -> Result<(&[u8], &[u8]), Fault> {
    if line.first().is_some_and(|b| matches!(b, b' ' | b'\t')) {
        return Err(Fault::Folded);
    }
    let colon = line.iter().position(|b| *b == b':').ok_or(Fault::FieldName)?;
    let (name, rest) = line.split_at(colon);
    if name.is_empty() || !name.iter().all(|b| is_token(*b)) {
        return Err(Fault::FieldName);
    }
    let value = rest.strip_prefix(b":").unwrap_or(rest);
    // RFC 9110 §5.5: CR, LF and NUL must not pass; the other control characters have no use either.
    if any_byte(value, |b| ((b < 0x20) & (b != b'\t')) | (b == 0x7f)) {
        return Err(Fault::FieldValue);
    }
    Ok((name, trim(value)))
}

fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// RFC 9110 §8.6: `1*DIGIT`, here at most 18 of them so that no parser of ours or of a back end overflows.
fn parse_length(value: &[u8]) -> Result<u64, Fault> {
    if value.is_empty() || value.len() > 18 || !value.iter().all(u8::is_ascii_digit) {
        return Err(Fault::ContentLength);
    }
    Ok(value.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

/// RFC 9110 §5.6.2.
pub(super) const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: HeadLimits = HeadLimits { bytes_max: 2048, fields_max: 10, target_bytes_max: 200 };

    proptest! {
        #[test]
        fn a_byte_is_found_where_it_first_is(bytes in prop::collection::vec(0..20_u8, 0..150), wanted in 0..20_u8) {
            prop_assert_eq!(find(wanted, &bytes), bytes.iter().position(|byte| *byte == wanted));
        }
    }

    fn scan(text: &str) -> Result<Option<Head>, Fault> {
        HeadScanner::default().advance(text.as_bytes(), &LIMITS)
    }

    #[test]
    fn what_passes_and_how_it_is_framed() {
        for (name, text, framing) in [
            ("plain", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", Framing::None),
            ("http/1.0 without host", "GET / HTTP/1.0\r\n\r\n", Framing::None),
            ("length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\n", Framing::Length(12)),
            ("length zero", "POST / HTTP/1.1\r\nHost: a\r\ncontent-length: 0\r\n\r\n", Framing::None),
            ("chunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n", Framing::Chunked),
            ("port", "GET / HTTP/1.1\r\nHost: a.example:8443\r\n\r\n", Framing::None),
            ("ipv6", "GET / HTTP/1.1\r\nHost: [::1]:8443\r\n\r\n", Framing::None),
            ("absolute", "GET https://a/x HTTP/1.1\r\nHost: a\r\n\r\n", Framing::None),
            ("asterisk", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", Framing::None),
            ("obs-text", "GET / HTTP/1.1\r\nHost: a\r\nX: é\r\n\r\n", Framing::None),
            ("empty value", "GET / HTTP/1.1\r\nHost: a\r\nX:\r\n\r\n", Framing::None),
            ("one empty line before", "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Framing::None),
        ] {
            let head = scan(text).unwrap_or_else(|fault| panic!("{name}: {fault}")).unwrap();
            assert_eq!(head.framing, framing, "{name}");
            assert_eq!(head.skip + head.bytes, text.len(), "{name}");
        }
    }

    #[test]
    fn what_is_refused_and_why() {
        let with = |field: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n");
        for (name, text, fault) in [
            ("LF only", "GET / HTTP/1.1\nHost: a\n\n".to_owned(), Fault::BareLineFeed),
            ("LF on one line", "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n".into(), Fault::BareLineFeed),
            ("two empty lines before", "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n".into(), Fault::RequestLine),
            ("space before", " GET / HTTP/1.1\r\nHost: a\r\n\r\n".into(), Fault::RequestLine),
            ("two spaces", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n".into(), Fault::RequestLine),
            ("raw space in the target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n".into(), Fault::RequestLine),
            ("tab", "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n".into(), Fault::RequestLine),
            ("fragment", "GET /#x HTTP/1.1\r\nHost: a\r\n\r\n".into(), Fault::Target),
            ("backslash", "GET /\\x HTTP/1.1\r\nHost: a\r\n\r\n".into(), Fault::Target),
            ("not ASCII", "GET /é HTTP/1.1\r\nHost: a\r\n\r\n".into(), Fault::Target),
            ("no form", "GET a HTTP/1.1\r\nHost: a\r\n\r\n".into(), Fault::Target),
            ("userinfo", "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n".into(), Fault::Target),
            ("asterisk of GET", "GET * HTTP/1.1\r\nHost: a\r\n\r\n".into(), Fault::Target),
            ("version 2", "GET / HTTP/2.0\r\nHost: a\r\n\r\n".into(), Fault::Version),
            ("version 1.10", "GET / HTTP/1.10\r\nHost: a\r\n\r\n".into(), Fault::Version),
            ("preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\n".into(), Fault::Target),
            ("bare CR", with("X: a\rb"), Fault::FieldValue),
            ("NUL", with("X: a\0b"), Fault::FieldValue),
            ("folded", with("X: a\r\n b"), Fault::Folded),
            ("folded first", "GET / HTTP/1.1\r\n X: a\r\nHost: a\r\n\r\n".into(), Fault::Folded),
            ("space before colon", with("X : a"), Fault::FieldName),
            ("empty name", with(": a"), Fault::FieldName),
            ("no colon", with("X"), Fault::FieldName),
            ("name not a token", with("X(y): a"), Fault::FieldName),
            ("no host", "GET / HTTP/1.1\r\nX: a\r\n\r\n".into(), Fault::Host),
            ("two hosts", with("Host: a"), Fault::Host),
            ("another host in the target", "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n".into(), Fault::Host),
            ("connect", "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n".into(), Fault::Method),
            ("trace", "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n".into(), Fault::Method),
            ("angles", "GET /<a> HTTP/1.1\r\nHost: a\r\n\r\n".into(), Fault::Target),
            ("userinfo in host", "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n".into(), Fault::Host),
            ("list of hosts", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n".into(), Fault::Host),
            ("empty host", "GET / HTTP/1.1\r\nHost:\r\n\r\n".into(), Fault::Host),
            ("bad port", "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n".into(), Fault::Host),
            ("empty port", "GET / HTTP/1.1\r\nHost: a:\r\n\r\n".into(), Fault::Host),
            ("list of lengths", with("Content-Length: 3, 3"), Fault::ContentLength),
            ("signed length", with("Content-Length: +3"), Fault::ContentLength),
            ("negative length", with("Content-Length: -3"), Fault::ContentLength),
            ("hex length", with("Content-Length: 0x3"), Fault::ContentLength),
            ("empty length", with("Content-Length:"), Fault::ContentLength),
            ("endless length", with("Content-Length: 1111111111111111111111"), Fault::ContentLength),
            ("two lengths", with("Content-Length: 3\r\nContent-Length: 3"), Fault::ContentLength),
            ("length and coding", with("Content-Length: 3\r\nTransfer-Encoding: chunked"), Fault::TwoFramings),
            ("coding and length", with("Transfer-Encoding: chunked\r\nContent-Length: 3"), Fault::TwoFramings),
            ("length zero and coding", with("Content-Length: 0\r\nTransfer-Encoding: chunked"), Fault::TwoFramings),
            ("gzip, chunked", with("Transfer-Encoding: gzip, chunked"), Fault::TransferEncoding),
            (
                "chunked twice",
                with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
                Fault::TransferEncoding,
            ),
            ("xchunked", with("Transfer-Encoding: xchunked"), Fault::TransferEncoding),
            ("parameter", with("Transfer-Encoding: chunked;q=1"), Fault::TransferEncoding),
            ("identity", with("Transfer-Encoding: identity"), Fault::TransferEncoding),
            ("vertical tab", with("Transfer-Encoding: \x0bchunked"), Fault::FieldValue),
            (
                "coding in 1.0",
                "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".into(),
                Fault::TransferEncoding,
            ),
            ("long target", format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(200)), Fault::TargetTooLong),
            ("endless target", format!("GET /{}", "a".repeat(3000)), Fault::TargetTooLong),
            ("endless field", with(&format!("X: {}", "a".repeat(3000))), Fault::HeadTooLarge),
            ("unfinished and too large", format!("GET / HTTP/1.1\r\nX: {}", "a".repeat(3000)), Fault::HeadTooLarge),
            ("too many fields", with(&"X: a\r\n".repeat(10)[..58]), Fault::TooManyFields),
        ] {
            assert_eq!(scan(&text), Err(fault), "{name}");
        }
    }

    proptest! {
        /// However the bytes arrive, the verdict and the length are the same.
        #[test]
        fn the_cut_does_not_matter(
            lines in proptest::collection::vec("[ -~\\r\\n\\x00é]{0,12}", 0..6),
            cuts in proptest::collection::vec(1usize..9, 1..40),
        ) {
            let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n\r\n", lines.join("\r\n"));
            let whole = scan(&text);
            let mut scanner = HeadScanner::default();
            let (mut end, mut cuts) = (0, cuts.into_iter().cycle());
            let parts = loop {
                end = (end + cuts.next().unwrap()).min(text.len());
                match scanner.advance(&text.as_bytes()[..end], &LIMITS) {
                    Ok(None) if end < text.len() => {}
                    verdict => break verdict,
                }
            };
            prop_assert_eq!(parts, whole);
        }

        /// What passes here passes Pingora's own reading of the target, which would refuse without telling anybody.
        #[test]
        fn pingora_takes_every_target_that_passes(target in "(/|https?://a(:8)?[/?]?)[!-~]{0,20}") {
            if let Ok(Some(_)) = scan(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")) {
                prop_assert!(pingora_http::RequestHeader::build("GET", target.as_bytes(), None).is_ok());
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = HeadScanner::default().advance(&bytes, &LIMITS);
        }
    }
}
