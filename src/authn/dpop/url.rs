//! Is a proof for this URL? `htu` against what the operator says the gateway is called.

use std::borrow::Cow;
use std::sync::Arc;

use crate::domain::ByListener;

/// The URLs under which one server is known, as base URLs that a request's path is appended to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalUrls(Vec<Base>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Base {
    scheme: String,
    /// Host and port, in small letters, without the scheme's default port.
    authority: String,
    /// Without a slash at its end.
    path: String,
}

impl ExternalUrls {
    /// From base URLs of the settings. What is no URL with an authority names nothing.
    pub fn new<'u>(urls: impl IntoIterator<Item = &'u str>) -> Self {
        let mut bases: Vec<Base> = Vec::new();
        for url in urls {
            let Some(parts) = Parts::split(url) else { continue };
            let base = Base {
                scheme: parts.scheme.to_ascii_lowercase(),
                authority: parts.authority.to_ascii_lowercase(),
                path: parts.path.trim_end_matches('/').to_owned(),
            };
            if !bases.contains(&base) {
                bases.push(base);
            }
        }
        Self(bases)
    }

    /// Listeners for client certificates are called by `mtls`, the others by `public` (RFC 9449 §4.3, 9). If no listener
    /// is for certificates alone, one serves both names.
    pub fn by_listener(public: &str, mtls: Option<&str>, mtls_listeners: &[Arc<str>]) -> ByListener<Self> {
        if mtls_listeners.is_empty() {
            return ByListener::new(Self::new([public].into_iter().chain(mtls)), None, &[]);
        }
        ByListener::new(Self::new([public]), mtls.map(|url| Self::new([url])), mtls_listeners)
    }

    /// Whether `htu` is one of the bases with `path` behind it. Compared without query and fragment (RFC 9449 §4.3, 9)
    /// and as RFC 3986 §6.2.2 and §6.2.3 normalise: case of scheme and host, default port, percent-encoding, dot
    /// segments, an empty path.
    pub fn contain(&self, htu: &str, path: &str) -> bool {
        let Some(parts) = Parts::split(htu) else { return false };
        self.0.iter().any(|base| {
            parts.scheme.eq_ignore_ascii_case(&base.scheme)
                && parts.authority.eq_ignore_ascii_case(&base.authority)
                && same_path(parts.path, &base.path, path)
        })
    }
}

struct Parts<'u> {
    scheme: &'u str,
    /// Without a default port.
    authority: &'u str,
    /// Without query and fragment; `/` if there is none.
    path: &'u str,
}

impl<'u> Parts<'u> {
    fn split(url: &'u str) -> Option<Self> {
        let end = url.find(['?', '#']).unwrap_or(url.len());
        let (scheme, rest) = url.get(..end)?.split_once("://")?;
        let slash = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(slash)?;
        // A name and password are no part of a URL that a server is called by (RFC 9110 §4.2.4).
        if authority.is_empty() || authority.contains('@') {
            return None;
        }
        let default = match scheme {
            scheme if scheme.eq_ignore_ascii_case("https") => ":443",
            scheme if scheme.eq_ignore_ascii_case("http") => ":80",
            _ => return None,
        };
        let authority = authority.strip_suffix(default).or_else(|| authority.strip_suffix(':')).unwrap_or(authority);
        Some(Self { scheme, authority, path: if path.is_empty() { "/" } else { path } })
    }
}

/// Whether two paths are the same when normalised; the second is in two parts.
fn same_path(stated: &str, base: &str, path: &str) -> bool {
    let stated = without_dots(stated);
    if !has_dots(path) {
        return units(&stated).eq(units(base).chain(units(path)));
    }
    let whole = format!("{base}{path}");
    units(&stated).eq(units(&without_dots(&whole)))
}

/// One character of a path, or one that is percent-encoded because it must be.
#[derive(PartialEq, Eq)]
enum Unit {
    Plain(u8),
    Encoded(u8),
}

/// RFC 3986 §6.2.2.1 and §6.2.2.2: `%3a` is `%3A`, and `%7E` is `~`. A `%` without two digits stands for itself.
fn units(path: &str) -> impl Iterator<Item = Unit> {
    let mut rest = path.as_bytes();
    std::iter::from_fn(move || {
        let (unit, left) = match *rest {
            [b'%', high, low, ref left @ ..] if let (Some(high), Some(low)) = (digit(high), digit(low)) => {
                (decoded(high << 4 | low), left)
            }
            [byte, ref left @ ..] => (Unit::Plain(byte), left),
            [] => return None,
        };
        rest = left;
        Some(unit)
    })
}

fn decoded(byte: u8) -> Unit {
    let unreserved = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    if unreserved { Unit::Plain(byte) } else { Unit::Encoded(byte) }
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Whether a path has a segment `.` or `..`, in any spelling.
fn has_dots(path: &str) -> bool {
    path.split('/').any(|segment| dots(segment) > 0)
}

/// How many dots a segment is made of, if it is a dot segment.
fn dots(segment: &str) -> usize {
    let count = units(segment).take(3).count();
    let all = units(segment).take(3).all(|unit| unit == Unit::Plain(b'.'));
    if all && (1..=2).contains(&count) { count } else { 0 }
}

/// RFC 3986 §5.2.4, for a path that begins with a slash.
fn without_dots(path: &str) -> Cow<'_, str> {
    if !has_dots(path) {
        return Cow::Borrowed(path);
    }
    let mut kept: Vec<&str> = Vec::new();
    let mut ends_in_slash = false;
    for segment in path.split('/').skip(1) {
        let dots = dots(segment);
        if dots == 0 {
            kept.push(segment);
        } else if dots == 2 {
            kept.pop();
        }
        ends_in_slash = dots > 0;
    }
    let end = if ends_in_slash { "/" } else { "" };
    let path = format!("/{}{end}", kept.join("/"));
    Cow::Owned(if path == "//" { "/".to_owned() } else { path })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_listener_is_called_by_its_own_name() {
        let at = |listener: &str| {
            let peer = ([127, 0, 0, 1], 9).into();
            crate::domain::Connection { listener: listener.into(), peer, tls: None, certificate: None }
        };
        let (public, mtls) = ("https://api.example", "https://mtls.example:8444");
        for (name, url, listeners, listener, expected) in [
            ("both apart", Some(mtls), &["tls"][..], "open", [true, false]),
            ("both apart", Some(mtls), &["tls"], "tls", [false, true]),
            ("one for both", Some(mtls), &[], "open", [true, true]),
            ("no other name", None, &["tls"], "tls", [true, false]),
        ] {
            let listeners: Vec<_> = listeners.iter().map(|name| Arc::from(*name)).collect();
            let urls = ExternalUrls::by_listener(public, url, &listeners);
            let contained = [public, mtls].map(|base| urls.of(&at(listener)).contain(&format!("{base}/a"), "/a"));
            assert_eq!(contained, expected, "{name}, {listener}");
        }
    }

    #[test]
    fn a_url_is_compared_as_a_url_and_not_as_text() {
        let urls = ExternalUrls::new(["https://api.example", "https://mtls.example:8444/edge/", "http://[::1]:80"]);
        for (name, htu, path, expected) in [
            ("the very same", "https://api.example/a/b", "/a/b", true),
            ("the other name", "https://mtls.example:8444/edge/a", "/a", true),
            ("an address", "http://[::1]/a", "/a", true),
            ("scheme and host in capitals", "HTTPS://API.Example/a", "/a", true),
            ("the default port", "https://api.example:443/a", "/a", true),
            ("an empty port", "https://api.example:/a", "/a", true),
            ("with a query", "https://api.example/a?b=c", "/a", true),
            ("with a fragment", "https://api.example/a#b", "/a", true),
            ("with both", "https://api.example/a?b#c/../d", "/a", true),
            ("no path for the root", "https://api.example", "/", true),
            ("no path, with a query", "https://api.example?x=/a", "/", true),
            ("hex in small letters", "https://api.example/a%3ab", "/a%3Ab", true),
            ("encoded without need", "https://api.example/%61%7Eb", "/a~b", true),
            ("the request encoded without need", "https://api.example/a~b", "/%61%7eb", true),
            ("a dot segment", "https://api.example/x/./../a", "/a", true),
            ("dot segments, encoded", "https://api.example/x/%2E%2e/a", "/a", true),
            ("more dots than segments", "https://api.example/../../a", "/a", true),
            ("a dot segment at the end", "https://api.example/a/b/..", "/a/", true),
            ("dots down to the root", "https://api.example/a/..", "/", true),
            ("dots in the request", "https://api.example/a", "/x/../a", true),
            ("three dots are a name", "https://api.example/...", "/...", true),
            ("another path", "https://api.example/a/c", "/a/b", false),
            ("a longer path", "https://api.example/a/b/c", "/a/b", false),
            ("a shorter path", "https://api.example/a", "/a/b", false),
            ("a slash more", "https://api.example/a/", "/a", false),
            ("a path in capitals", "https://api.example/A", "/a", false),
            ("an encoded slash", "https://api.example/a%2Fb", "/a/b", false),
            ("another host", "https://api.example.evil/a", "/a", false),
            ("another scheme", "http://api.example/a", "/a", false),
            ("another port", "https://api.example:8444/a", "/a", false),
            ("the default port of another scheme", "https://api.example:80/a", "/a", false),
            ("the other name without its path", "https://mtls.example:8444/a", "/a", false),
            ("a user before the host", "https://x@api.example/a", "/a", false),
            ("a host as a user", "https://api.example@evil.example/a", "/a", false),
            ("only the path", "/a", "/a", false),
            ("no scheme", "//api.example/a", "/a", false),
            ("another kind of scheme", "ftp://api.example/a", "/a", false),
            ("nothing", "", "/", false),
            ("half an escape", "https://api.example/a%", "/a", false),
        ] {
            assert_eq!(urls.contain(htu, path), expected, "{name}");
        }
        assert!(!ExternalUrls::new([""]).contain("https://api.example/", "/"), "no URL contains nothing");
    }
}
