//! Where is it? URLs of back ends and token endpoints, checked and taken apart once.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderValue, Uri};
use rustls_pki_types::ServerName;

use super::error::UrlFault;

/// A back end's address. Invariant: its host can be verified in a certificate; plain HTTP means loopback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub tls: bool,
    /// DNS name in lower case, or an IP address without brackets: what the certificate must name.
    pub host: String,
    pub port: u16,
    /// `Host` of requests to it: the port only where it is not the scheme's own.
    pub authority: HeaderValue,
}

impl Target {
    /// Reads `https://host[:port]`, or `http://…` on loopback.
    pub fn parse(url: &str) -> Result<Self, UrlFault> {
        let uri = parse_uri(url)?;
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() || url.contains('#') {
            return Err(UrlFault::Path);
        }
        Self::from_uri(&uri)
    }

    fn from_uri(uri: &Uri) -> Result<Self, UrlFault> {
        let authority = uri.authority().ok_or(UrlFault::Malformed)?;
        if authority.as_str().contains('@') {
            return Err(UrlFault::UserInfo);
        }
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(UrlFault::Scheme),
        };
        let host = parse_host(authority.host())?;
        let default = if tls { 443 } else { 80 };
        let port = match authority.as_str().strip_prefix(authority.host()) {
            Some("") => default,
            Some(rest) => {
                let digits = rest.strip_prefix(':').ok_or(UrlFault::Port)?;
                digits.parse().ok().filter(|port| *port != 0).ok_or(UrlFault::Port)?
            }
            None => return Err(UrlFault::Malformed),
        };
        let target = Self { tls, authority: authority_value(&host, port, default)?, host, port };
        if !tls && !target.is_loopback() {
            return Err(UrlFault::PlainHttp);
        }
        Ok(target)
    }

    /// The address, if the host is an IP literal and needs no resolution.
    pub fn literal(&self) -> Option<SocketAddr> {
        self.host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, self.port))
    }

    /// Whether plain HTTP may be spoken with this host.
    fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    /// Whether a resolved address may be used: a name that resolves off the machine must not receive plain text.
    pub fn accepts(&self, address: SocketAddr) -> bool {
        self.tls || address.ip().is_loopback()
    }
}

/// Checks the URL of a token endpoint, which unlike a back end's has a path.
pub(super) fn check_token_url(url: &str) -> Result<Target, UrlFault> {
    let uri = parse_uri(url)?;
    if url.contains('#') {
        return Err(UrlFault::Fragment); // RFC 6749 §3.2: the endpoint URI must not include a fragment.
    }
    Target::from_uri(&uri)
}

fn parse_uri(url: &str) -> Result<Uri, UrlFault> {
    let uri: Uri = url.parse().map_err(|_| UrlFault::Malformed)?;
    if uri.scheme().is_none() { Err(UrlFault::Malformed) } else { Ok(uri) }
}

fn parse_host(host: &str) -> Result<String, UrlFault> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host).to_ascii_lowercase();
    // Pingora would verify `a-b` in the place of `a_b`, so such a name is refused here.
    if bare.is_empty() || bare.contains('_') || bare.ends_with('.') || ServerName::try_from(bare.as_str()).is_err() {
        return Err(UrlFault::Host);
    }
    Ok(bare)
}

fn authority_value(host: &str, port: u16, default: u16) -> Result<HeaderValue, UrlFault> {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let text = if port == default { host } else { format!("{host}:{port}") };
    HeaderValue::from_str(&text).map_err(|_| UrlFault::Host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_verifiable_addresses_are_taken() {
        for (url, expected) in [
            ("https://bank.example", Ok(("bank.example", 443, "bank.example"))),
            ("https://Bank.Example:8443/", Ok(("bank.example", 8443, "bank.example:8443"))),
            ("https://192.0.2.7:443", Ok(("192.0.2.7", 443, "192.0.2.7"))),
            ("https://[2001:db8::1]:444", Ok(("2001:db8::1", 444, "[2001:db8::1]:444"))),
            ("http://127.0.0.1:9000", Ok(("127.0.0.1", 9000, "127.0.0.1:9000"))),
            ("http://localhost", Ok(("localhost", 80, "localhost"))),
            ("http://[::1]:1", Ok(("::1", 1, "[::1]:1"))),
            ("http://bank.example", Err(UrlFault::PlainHttp)),
            ("http://192.0.2.7", Err(UrlFault::PlainHttp)),
            ("http://localhost.example", Err(UrlFault::PlainHttp)),
            ("ftp://bank.example", Err(UrlFault::Scheme)),
            ("https://user:secret@bank.example", Err(UrlFault::UserInfo)),
            ("https://bank.example/api", Err(UrlFault::Path)),
            ("https://bank.example?x", Err(UrlFault::Path)),
            ("https://bank.example#x", Err(UrlFault::Path)),
            ("https://bank_one.example", Err(UrlFault::Host)),
            ("https://bank.example:0", Err(UrlFault::Port)),
            ("https://bank.example:65536", Err(UrlFault::Port)),
            ("bank.example", Err(UrlFault::Malformed)),
            ("", Err(UrlFault::Malformed)),
            ("https://", Err(UrlFault::Malformed)),
        ] {
            let parsed = Target::parse(url);
            let seen = parsed.as_ref().map(|t| (t.host.as_str(), t.port, t.authority.to_str().unwrap()));
            assert_eq!(seen, expected.as_ref().map(|e| *e), "{url}");
        }
    }

    #[test]
    fn a_token_endpoint_has_a_path_and_no_fragment() {
        assert!(check_token_url("https://id.bank.example/oauth/token?tenant=1").is_ok());
        assert_eq!(check_token_url("https://id.bank.example/token#x"), Err(UrlFault::Fragment));
        assert_eq!(check_token_url("http://id.bank.example/token"), Err(UrlFault::PlainHttp));
    }

    #[test]
    fn plain_text_never_leaves_the_machine() {
        let plain = Target::parse("http://localhost:1").unwrap();
        assert!(plain.accepts("127.0.0.1:1".parse().unwrap()));
        assert!(!plain.accepts("192.0.2.1:1".parse().unwrap()), "a poisoned hosts file");
    }
}
