//! Which response headers a policy may set.

use http::{HeaderName, HeaderValue};

/// Longest value, in bytes.
const VALUE_LEN_MAX: usize = 512;

/// Fields that frame, route, authenticate, cache-validate or sign a message, or that change what a browser trusts.
/// They belong to the gateway; a policy that could set them could undo it.
const RESERVED: &[&str] = &[
    "age",
    "alt-svc",
    "authorization",
    "clear-site-data",
    "client-cert",
    "client-cert-chain",
    "connection",
    "cookie",
    "date",
    "digest",
    "early-data",
    "etag",
    "expires",
    "forwarded",
    "host",
    "idempotency-key",
    "keep-alive",
    "last-modified",
    "location",
    "nel",
    "refresh",
    "repr-digest",
    "report-to",
    "reporting-endpoints",
    "retry-after",
    "server",
    "server-timing",
    "set-cookie",
    "set-cookie2",
    "signature",
    "signature-input",
    "strict-transport-security",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "vary",
    "via",
    "www-authenticate",
    "x-jws-signature",
    "x-request-id",
];
const RESERVED_PREFIXES: &[&str] = &[
    "access-control-",
    "content-",
    "cross-origin-",
    "proxy-",
    "ratelimit",
    "sec-",
    "x-fapi-",
    "x-forwarded-",
    "x-ratelimit",
];

/// Why a text is not a header that a policy may set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    #[error("a header is written `Name: value`, not {0:?}")]
    Form(String),
    #[error("{0:?} is not a field name (RFC 9110 §5.1)")]
    Name(String),
    #[error("the value of `{0}` must be 1 to {VALUE_LEN_MAX} visible ASCII characters and blanks")]
    Value(HeaderName),
    #[error("`{0}` belongs to the gateway, a policy must not set it")]
    Reserved(HeaderName),
}

/// Reads one `Name: value`.
pub fn parse(text: &str) -> Result<(HeaderName, HeaderValue), HeaderError> {
    let (name, value) = text.split_once(':').ok_or_else(|| HeaderError::Form(text.chars().take(80).collect()))?;
    let name =
        HeaderName::from_bytes(name.as_bytes()).map_err(|_| HeaderError::Name(name.chars().take(80).collect()))?;
    if RESERVED.contains(&name.as_str()) || RESERVED_PREFIXES.iter().any(|prefix| name.as_str().starts_with(prefix)) {
        return Err(HeaderError::Reserved(name));
    }
    let value = value.trim_matches([' ', '\t']);
    let allowed = (1..=VALUE_LEN_MAX).contains(&value.len()) && value.bytes().all(|b| (0x20..0x7f).contains(&b));
    match HeaderValue::from_str(value) {
        Ok(value) if allowed => Ok((name, value)),
        _ => Err(HeaderError::Value(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn harmless_fields_are_read() {
        let (name, value) = parse("Clearway-Data-Class: personal; level=2").unwrap();
        assert_eq!((name.as_str(), value.to_str().unwrap()), ("clearway-data-class", "personal; level=2"));
        assert!(parse("Cache-Control: no-store").is_ok());
    }

    #[test]
    fn dangerous_or_malformed_fields_are_refused() {
        for text in [
            "Connection: close",
            "Transfer-Encoding: chunked",
            "content-length: 0",
            "Content-Type: text/html",
            "Set-Cookie: a=b",
            "Location: https://x",
            "Access-Control-Allow-Origin: *",
            "Strict-Transport-Security: max-age=0",
            "RateLimit: x",
            "X-FAPI-Interaction-Id: 1",
            "Upgrade: h2c",
            "WWW-Authenticate: Bearer",
            "Proxy-Authenticate: x",
        ] {
            assert!(matches!(parse(text), Err(HeaderError::Reserved(_))), "{text}");
        }
        for (text, name) in [
            ("no colon", "form"),
            ("a b: c", "name"),
            (": c", "name"),
            ("a : c", "name"),
            ("a:", "value"),
            ("a: b\r\nc: d", "value"),
            ("a: ä", "value"),
            ("a: \u{7f}", "value"),
        ] {
            assert!(parse(text).is_err(), "{name}: {text:?}");
        }
        assert!(parse(&format!("a: {}", "x".repeat(513))).is_err());
    }
}
