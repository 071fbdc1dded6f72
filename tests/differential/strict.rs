//! A strict reading of HTTP/1.1 messages, written from RFC 9112 for these tests alone: it shares no code with the
//! gateway, and takes nothing that two readers could understand in two ways.

/// What bytes mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading<T> {
    /// A message, and how many bytes it has.
    Whole(T, usize),
    /// Nothing is wrong so far, and it is not whole.
    Incomplete,
    Malformed(&'static str),
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Request {
    pub method: String,
    pub target: String,
    pub version: String,
    pub fields: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
    /// It had chunk extensions or trailers, which end at a gateway.
    pub extras: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub fields: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
}

/// All values of a field.
pub fn values<'f>(fields: &'f [(String, Vec<u8>)], name: &str) -> Vec<&'f [u8]> {
    fields.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_slice()).collect()
}

impl Answer {
    pub fn closes(&self) -> bool {
        values(&self.fields, "connection").iter().any(|value| value.eq_ignore_ascii_case(b"close"))
    }
}

type Verdict<T> = Result<T, Reading<()>>;

const fn malformed<T>(why: &'static str) -> Verdict<T> {
    Err(Reading::Malformed(why))
}

fn reading<T>(verdict: Verdict<(T, usize)>) -> Reading<T> {
    match verdict {
        Ok((message, bytes)) => Reading::Whole(message, bytes),
        Err(Reading::Malformed(why)) => Reading::Malformed(why),
        Err(_) => Reading::Incomplete,
    }
}

/// The first request of these bytes.
pub fn request(bytes: &[u8]) -> Reading<Request> {
    reading(read_request(bytes))
}

/// The first answer of these bytes; `to_head` if it answers HEAD, `ended` if no more bytes will come.
pub fn answer(bytes: &[u8], to_head: bool, ended: bool) -> Reading<Answer> {
    reading(read_answer(bytes, to_head, ended))
}

fn read_request(bytes: &[u8]) -> Verdict<(Request, usize)> {
    let mut at = 0;
    let line = line(bytes, &mut at)?;
    let mut parts = line.split(|b| *b == b' ');
    let (Some(method), Some(target), Some(version), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return malformed("request line");
    };
    if method.is_empty() || !method.iter().all(|b| is_token(*b)) {
        return malformed("method");
    }
    if target.is_empty() || !target.iter().all(|b| (0x21..0x7f).contains(b) && !b"#\\\"<>`".contains(b)) {
        return malformed("target");
    }
    if version != b"HTTP/1.1" && version != b"HTTP/1.0" {
        return malformed("version");
    }
    let fields = fields(bytes, &mut at)?;
    authority(target, version, &fields)?;
    let (body, extras) = match framing(&fields)? {
        Framing::Length(length) => (take(bytes, &mut at, length)?.to_vec(), false),
        Framing::Chunked if version == b"HTTP/1.0" => return malformed("a transfer coding in HTTP/1.0"),
        Framing::Chunked => chunks(bytes, &mut at)?,
        Framing::Unstated => (Vec::new(), false),
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let request = Request { method: text(method), target: text(target), version: text(version), fields, body, extras };
    Ok((request, at))
}

/// RFC 9112 §3.2: one Host, and the target's authority is no other.
fn authority(target: &[u8], version: &[u8], fields: &[(String, Vec<u8>)]) -> Verdict<()> {
    let hosts = values(fields, "host");
    match (hosts.as_slice(), version) {
        ([], b"HTTP/1.0") => {}
        ([host], _) if is_host(host) => {}
        _ => return malformed("Host"),
    }
    if target.starts_with(b"/") || target == b"*" {
        return Ok(());
    }
    let text = String::from_utf8_lossy(target);
    let Some((_, rest)) = text.split_once("://") else { return malformed("a target of no form") };
    let named = rest.split(['/', '?']).next().unwrap_or_default();
    let same = hosts.first().is_some_and(|host| host.eq_ignore_ascii_case(named.as_bytes()));
    if same { Ok(()) } else { malformed("two authorities") }
}

fn is_host(host: &[u8]) -> bool {
    !host.is_empty() && host.iter().all(|b| b.is_ascii_alphanumeric() || b"-._~[]:".contains(b))
}

fn read_answer(bytes: &[u8], to_head: bool, ended: bool) -> Verdict<(Answer, usize)> {
    let mut at = 0;
    let line = line(bytes, &mut at)?;
    let status = match line {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1', b' ', a, b, c, b' ', ..]
        | [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1', b' ', a, b, c]
            if [a, b, c].iter().all(|digit| digit.is_ascii_digit()) =>
        {
            [a, b, c].iter().fold(0, |sum, digit| sum * 10 + u16::from(**digit - b'0'))
        }
        _ => return malformed("status line"),
    };
    if line.iter().any(|b| *b < 0x20 || *b == 0x7f) {
        return malformed("a control character in the status line");
    }
    let fields = fields(bytes, &mut at)?;
    let bodiless = to_head || status < 200 || status == 204 || status == 304;
    let body = match framing(&fields)? {
        _ if bodiless => Vec::new(),
        Framing::Length(length) => take(bytes, &mut at, length)?.to_vec(),
        Framing::Chunked => chunks(bytes, &mut at)?.0,
        Framing::Unstated if ended => bytes[std::mem::replace(&mut at, bytes.len())..].to_vec(),
        Framing::Unstated => return Err(Reading::Incomplete),
    };
    Ok((Answer { status, fields, body }, at))
}

enum Framing {
    Length(usize),
    Chunked,
    Unstated,
}

fn framing(fields: &[(String, Vec<u8>)]) -> Verdict<Framing> {
    match (values(fields, "content-length").as_slice(), values(fields, "transfer-encoding").as_slice()) {
        ([], []) => Ok(Framing::Unstated),
        ([length], []) => {
            let text = std::str::from_utf8(length).unwrap_or_default();
            let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            match text.parse() {
                Ok(length) if digits => Ok(Framing::Length(length)),
                _ => malformed("Content-Length"),
            }
        }
        ([], [coding]) if coding.eq_ignore_ascii_case(b"chunked") => Ok(Framing::Chunked),
        _ => malformed("more than one framing, or another one"),
    }
}

/// One line without its CRLF.
fn line<'b>(bytes: &'b [u8], at: &mut usize) -> Verdict<&'b [u8]> {
    let rest = &bytes[*at..];
    let Some(end) = rest.iter().position(|b| *b == b'\n') else { return Err(Reading::Incomplete) };
    let Some(line) = rest[..end].strip_suffix(b"\r") else { return malformed("a bare line feed") };
    if line.contains(&b'\r') {
        return malformed("a bare carriage return");
    }
    *at += end + 1;
    Ok(line)
}

fn take<'b>(bytes: &'b [u8], at: &mut usize, count: usize) -> Verdict<&'b [u8]> {
    let end = at.checked_add(count).ok_or(Reading::Malformed("too long"))?;
    let taken = bytes.get(*at..end).ok_or(Reading::Incomplete)?;
    *at = end;
    Ok(taken)
}

/// Fields up to and including the empty line.
fn fields(bytes: &[u8], at: &mut usize) -> Verdict<Vec<(String, Vec<u8>)>> {
    let mut fields = Vec::new();
    loop {
        let line = line(bytes, at)?;
        if line.is_empty() {
            return Ok(fields);
        }
        let Some(colon) = line.iter().position(|b| *b == b':') else { return malformed("a field without a colon") };
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        if name.is_empty() || !name.iter().all(|b| is_token(*b)) {
            return malformed("field name");
        }
        if value.iter().any(|b| (*b < 0x20 && *b != b'\t') || *b == 0x7f) {
            return malformed("field value");
        }
        fields.push((String::from_utf8_lossy(name).into_owned(), value.trim_ascii().to_vec()));
    }
}

/// RFC 9112 §7.1: the body, and whether there was more than sizes and data.
fn chunks(bytes: &[u8], at: &mut usize) -> Verdict<(Vec<u8>, bool)> {
    let (mut body, mut extras) = (Vec::new(), false);
    loop {
        let line = line(bytes, at)?;
        let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
        let (size, extension) = line.split_at(digits);
        let size = usize::from_str_radix(std::str::from_utf8(size).unwrap_or_default(), 16);
        let Ok(size) = size else { return malformed("chunk size") };
        if digits > 15 || !(extension.is_empty() || extension.starts_with(b";")) {
            return malformed("chunk size line");
        }
        if extension.iter().any(|b| (*b < 0x20 && *b != b'\t') || *b >= 0x7f) {
            return malformed("chunk extension");
        }
        extras |= !extension.is_empty();
        if size == 0 {
            break;
        }
        body.extend_from_slice(take(bytes, at, size)?);
        if take(bytes, at, 2)? != b"\r\n" {
            return malformed("the end of a chunk");
        }
    }
    extras |= !fields(bytes, at)?.is_empty();
    Ok((body, extras))
}

const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
}
