//! Is this request one that every hop reads alike, and does it claim nothing about itself that is ours to say?
//!
//! Runs first, on what was parsed. For HTTP/1 the front door has judged the raw bytes
//! already; here the same rules hold for HTTP/2 and once more for HTTP/1, so that neither room relies on the other.
//! Invariants: what passes has one valid authority that is served here, an origin-form target of visible ASCII, one
//! way of framing, and no field that only the gateway or a trusted proxy may set, in either spelling.

mod fields;
mod source;

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, EXPECT, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderName, HeaderValue, Method, Version};
use pingora_http::RequestHeader;

use super::caller::Caller;
use super::framing::{is_edged, section_bytes};
use super::headers::has_byte;
use super::spelling;
use crate::domain::Connection;
use crate::front::TrustedProxies;
use crate::problem::{Kind, Problem};

/// The names that are served.
#[derive(Debug, Clone, Default)]
pub struct Hosts(Option<HashSet<String>>);

impl Hosts {
    /// Any name. For a gateway that stands behind another one.
    pub const fn any() -> Self {
        Self(None)
    }

    /// These names, without ports; letters match in either case.
    pub fn only(names: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        Self(Some(names.into_iter().map(|name| name.as_ref().to_ascii_lowercase()).collect()))
    }

    fn has(&self, name: &str) -> bool {
        self.0.as_ref().is_none_or(|names| names.contains(name))
    }
}

/// What the guard holds requests to.
#[derive(Debug, Clone)]
pub struct GuardSettings {
    pub hosts: Hosts,
    /// Whether the authority must be the name of the TLS handshake, where there was one.
    pub authority_follows_sni: bool,
    pub header_bytes_max: usize,
    pub header_count_max: usize,
    pub uri_bytes_max: usize,
    pub body_idle_timeout: Duration,
    pub trusted_proxies: TrustedProxies,
}

/// What the guard learned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed {
    /// Where the request comes from: the peer, or what a trusted proxy says of it.
    pub source: IpAddr,
    /// The name that is asked, in lower case, without a port.
    pub host: String,
    /// It asks for a WebSocket. A route must allow that; otherwise call [`refuse_upgrade`].
    pub websocket: bool,
    /// It waits for `100 Continue` before it sends its body. The field itself is gone: whoever reads the body says so.
    pub expects_continue: bool,
}

/// Why a request is refused before anything looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct GuardRefusal {
    pub kind: Kind,
    /// For the problem document; repeats nothing of the request.
    pub detail: &'static str,
    /// The connection's framing is in doubt: no further request on it (RFC 9112 §9.6).
    pub close: bool,
}

impl GuardRefusal {
    pub fn problem(&self) -> Problem {
        let problem = Problem::new(self.kind).detail(self.detail);
        if self.kind == Kind::MethodNotAllowed {
            return problem.header(http::header::ALLOW, HeaderValue::from_static(METHODS));
        }
        problem
    }
}

const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

const fn malformed(detail: &'static str) -> GuardRefusal {
    GuardRefusal { kind: Kind::MalformedRequest, detail, close: true }
}

/// Checks and cleans a request, and sets its deadlines. When it refuses, answer with [`GuardRefusal::problem`], after
/// [`Caller::close`] if it says `close`.
pub fn check(
    caller: &mut Caller<'_>,
    connection: &Connection,
    settings: &GuardSettings,
) -> Result<Passed, GuardRefusal> {
    caller.set_patience(settings.body_idle_timeout);
    let passed = check_head(caller.request_mut(), connection, settings)?;
    doubt_zero_length(caller);
    Ok(passed)
}

/// RFC 9113 §8.1.1: over HTTP/2 a length of zero is a claim until the stream has ended. Whoever believed it would send the
/// request on, whole, before the DATA that contradicts it resets the stream.
fn doubt_zero_length(caller: &mut Caller<'_>) {
    let zero = |length: &HeaderValue| !length.is_empty() && length.as_bytes().iter().all(|digit| *digit == b'0');
    let head = caller.request_mut();
    if head.version != Version::HTTP_2 || !head.headers.get(CONTENT_LENGTH).is_some_and(zero) {
        return;
    }
    head.remove_header(&CONTENT_LENGTH);
    if caller.is_body_empty() {
        let _ = caller.request_mut().insert_header(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
}

/// The rules, on a header alone.
pub fn check_head(
    head: &mut RequestHeader,
    connection: &Connection,
    settings: &GuardSettings,
) -> Result<Passed, GuardRefusal> {
    check_size(head, settings)?;
    if matches!(head.method, Method::TRACE | Method::CONNECT) {
        return Err(GuardRefusal {
            kind: Kind::MethodNotAllowed,
            detail: "TRACE and CONNECT are not served.",
            close: true,
        });
    }
    let seen = Seen::of(head)?;
    if seen.framing {
        check_framing(head)?;
    }
    make_origin_form(head)?;
    check_target(head)?;
    spelling::forget(head); // Not before: a target in absolute form is no longer one.
    if seen.content_type {
        // RFC 9110 §8.3: one value. With two, the back end could read the body as what we did not check.
        only(head, CONTENT_TYPE, "The Content-Type is stated more than once.")?;
    }
    let host = check_authority(head, connection, settings)?;
    let expects_continue = if seen.expect { take_expectation(head)? } else { false };
    let source = source::of(&head.headers, connection.peer.ip(), &settings.trusted_proxies);
    let websocket = if seen.hop_or_identity { fields::clean(head)? } else { false };
    if seen.cookie {
        join_cookies(head);
    }
    Ok(Passed { source, host, websocket, expects_continue })
}

/// For a WebSocket request on a route that does not allow one.
pub const fn refuse_upgrade() -> GuardRefusal {
    GuardRefusal { kind: Kind::UpgradeRefused, detail: "This operation is not a WebSocket.", close: true }
}

fn check_size(head: &RequestHeader, settings: &GuardSettings) -> Result<(), GuardRefusal> {
    if head.raw_path().len() > settings.uri_bytes_max {
        return Err(GuardRefusal { kind: Kind::UriTooLong, detail: "The request target is too long.", close: true });
    }
    let bytes = section_bytes(&head.headers);
    if head.headers.len() > settings.header_count_max || bytes > settings.header_bytes_max {
        let detail = "The header fields are too many or too long.";
        return Err(GuardRefusal { kind: Kind::HeadersTooLarge, detail, close: true });
    }
    Ok(())
}

/// Which fields there are of those that need a closer look; most requests have none. Found in one pass, because
/// to look up each field that is not there costs more than to look at each that is.
#[derive(Debug, Default)]
struct Seen {
    /// Of those that [`check_framing`] reads.
    framing: bool,
    content_type: bool,
    expect: bool,
    cookie: bool,
    /// Of those that [`fields::clean`] takes away.
    hop_or_identity: bool,
}

impl Seen {
    fn of(head: &RequestHeader) -> Result<Self, GuardRefusal> {
        let mut seen = Self::default();
        if head.version == Version::HTTP_2 && head.headers.values().any(is_edged) {
            return Err(malformed("A field value begins or ends with whitespace."));
        }
        for name in head.headers.keys() {
            // RFC 9110 §5.6.2: the HTTP/2 library takes a quotation mark within a name, which is no token, and which
            // no HTTP/1.1 back end should be sent.
            if has_byte(name.as_str(), b'"') {
                return Err(malformed("A field name has a character that names cannot have."));
            }
            seen.framing |= *name == CONTENT_LENGTH || *name == TRANSFER_ENCODING || *name == TE;
            seen.content_type |= *name == CONTENT_TYPE;
            seen.expect |= *name == EXPECT;
            seen.cookie |= *name == COOKIE;
            seen.hop_or_identity |= [CONNECTION, UPGRADE, TE].contains(name) || fields::is_doomed(name);
        }
        Ok(seen)
    }
}

/// The one value of a field that must not be repeated.
fn only<'a>(
    head: &'a RequestHeader,
    name: HeaderName,
    repeated: &'static str,
) -> Result<Option<&'a HeaderValue>, GuardRefusal> {
    let mut values = head.headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        (_, Some(_)) => Err(malformed(repeated)),
    }
}

/// RFC 9112 §6, RFC 9113 §8.2.2. A Content-Length beside a Transfer-Encoding is gone by now: the front door saw it.
fn check_framing(head: &RequestHeader) -> Result<(), GuardRefusal> {
    let coding = only(head, TRANSFER_ENCODING, "The Transfer-Encoding is stated more than once.")?;
    let length = only(head, CONTENT_LENGTH, "The Content-Length is stated more than once.")?;
    match (coding, length) {
        (None, None) => {}
        (Some(coding), None) if head.version == Version::HTTP_11 => {
            if !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
                return Err(malformed("The Transfer-Encoding is not exactly chunked."));
            }
        }
        (Some(_), _) => return Err(malformed("The Transfer-Encoding is not allowed here.")),
        (None, Some(length)) => {
            let digits = length.as_bytes();
            if digits.is_empty() || digits.len() > 18 || !digits.iter().all(u8::is_ascii_digit) {
                return Err(malformed("The Content-Length is not a number."));
            }
        }
    }
    let trailers_only = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"trailers");
    if head.version == Version::HTTP_2 && !head.headers.get_all(TE).iter().all(trailers_only) {
        return Err(malformed("The TE field may only say trailers."));
    }
    Ok(())
}

/// RFC 9112 §3.2.2: an absolute-form target is accepted; behind this point there is only origin-form.
fn make_origin_form(head: &mut RequestHeader) -> Result<(), GuardRefusal> {
    let raw = head.raw_path();
    if raw.starts_with(b"/") || head.version == Version::HTTP_2 {
        return Ok(());
    }
    if raw == b"*" && head.method == Method::OPTIONS {
        return Ok(());
    }
    let refusal = malformed("The request target has no form that is served here.");
    let text = std::str::from_utf8(raw).map_err(|_| refusal)?;
    let rest = text.split_once("://").map(|(_, rest)| rest).ok_or(refusal)?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = only(head, HOST, "The Host field is repeated.")?;
    if host.is_none_or(|host| !host.as_bytes().eq_ignore_ascii_case(authority.as_bytes())) {
        return Err(malformed("The request target and the Host field differ."));
    }
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    head.set_uri(path.parse().map_err(|_| refusal)?);
    Ok(())
}

/// RFC 9112 §3: nothing that a parser behind us might decode, cut or normalise differently.
fn check_target(head: &RequestHeader) -> Result<(), GuardRefusal> {
    let target = head.raw_path();
    let sound = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'#' | b'\\' | b'"' | b'<' | b'>' | b'`');
    let formed = target.starts_with(b"/") || (target == b"*" && head.method == Method::OPTIONS);
    if formed && target.iter().all(sound) {
        Ok(())
    } else {
        Err(malformed("The request target has characters that must be percent-encoded."))
    }
}

/// One authority (RFC 9110 §7.2, RFC 9113 §8.3.1), served here, and the one of the handshake.
fn check_authority(
    head: &mut RequestHeader,
    connection: &Connection,
    settings: &GuardSettings,
) -> Result<String, GuardRefusal> {
    let not_a_name = malformed("The Host field is not a name.");
    let field = only(head, HOST, "The Host field is repeated.")?;
    let stated = match (head.uri.authority(), field) {
        (Some(authority), None) => authority.as_str(),
        (Some(authority), Some(host)) if host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()) => {
            authority.as_str()
        }
        (None, Some(host)) => host.to_str().map_err(|_| not_a_name)?,
        (None, None) => return Err(malformed("There is no Host field.")),
        (Some(_), Some(_)) => return Err(malformed("The request names more than one host.")),
    };
    let host = host_name(stated).ok_or(not_a_name)?;
    let sni = connection.tls.as_ref().and_then(|tls| tls.sni.as_deref());
    let follows = !settings.authority_follows_sni || sni.is_none_or(|sni| sni.eq_ignore_ascii_case(&host));
    if !settings.hosts.has(&host) || !follows {
        let detail = "The request names a host that is not served here or on this connection.";
        return Err(GuardRefusal { kind: Kind::UnknownHost, detail, close: false });
    }
    if field.is_none() {
        // HTTP/2: whatever reads or forwards the request from here on finds the name in one place.
        let value = HeaderValue::from_str(stated).map_err(|_| not_a_name)?;
        head.insert_header(HOST, value).map_err(|_| not_a_name)?;
    }
    Ok(host)
}

/// The name in lower case, if it is one, with at most a port behind it: no user information, no list.
fn host_name(stated: &str) -> Option<String> {
    let (name, port) = match stated.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((literal, port)) => {
            literal.parse::<std::net::Ipv6Addr>().ok()?;
            (stated.get(..literal.len() + 2)?, port)
        }
        None => stated.split_at(stated.find(':').unwrap_or(stated.len())),
    };
    let port_fits = match port.strip_prefix(':') {
        None => port.is_empty(),
        Some(digits) => {
            !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) && digits.parse::<u16>().is_ok()
        }
    };
    let sound = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'[' | b']' | b':');
    (port_fits && !name.is_empty() && name.len() <= 255 && name.bytes().all(sound)).then(|| name.to_ascii_lowercase())
}

/// RFC 9110 §10.1.1. The field is taken away: the gateway answers the expectation itself, so that neither the back
/// end nor Pingora does it a second time.
fn take_expectation(head: &mut RequestHeader) -> Result<bool, GuardRefusal> {
    let known = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    let expected = head.headers.contains_key(EXPECT);
    if !head.headers.get_all(EXPECT).iter().all(known) {
        let detail = "Only 100-continue can be expected.";
        return Err(GuardRefusal { kind: Kind::ExpectationFailed, detail, close: true });
    }
    head.remove_header(&EXPECT);
    Ok(expected && head.version != Version::HTTP_10)
}

/// RFC 9113 §8.2.3: cookies that HTTP/2 sent apart are one field for everybody else.
fn join_cookies(head: &mut RequestHeader) {
    let cookies: Vec<&[u8]> = head.headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if cookies.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&cookies.join(&b"; "[..]))
    {
        let _ = head.insert_header(COOKIE, joined);
    }
}

/// Removes a field with all its lines.
fn remove(head: &mut RequestHeader, name: &HeaderName) {
    head.remove_header(name);
}

#[cfg(test)]
mod tests;
