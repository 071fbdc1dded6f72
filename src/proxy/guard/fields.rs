//! Fields that belong to one hop, and fields that are not the client's to set.

use http::header::{CONNECTION, TE, UPGRADE};
use http::{HeaderName, HeaderValue, Method, Version};
use pingora_http::RequestHeader;

use super::{GuardRefusal, malformed, remove};
use crate::proxy::headers::has_byte;

/// RFC 9110 §7.6.1, without the framing, which is Pingora's to read, and without TE, which HTTP/2 keeps.
const HOP_BY_HOP: [&str; 5] =
    ["keep-alive", "proxy-connection", "proxy-authorization", "proxy-authenticate", "http2-settings"];

/// What a client must not be able to make us drop by naming it in `Connection`.
const PROTECTED: [&str; 21] = [
    "authorization",
    "baggage",
    "content-digest",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "digest",
    "dpop",
    "expect",
    "forwarded",
    "host",
    "idempotency-key",
    "origin",
    "signature",
    "signature-input",
    "traceparent",
    "tracestate",
    "via",
    "x-idempotency-key",
    "x-jws-signature",
];
const PROTECTED_PREFIXES: [&str; 3] = ["x-fapi-", "x-request-", "psu-"];

/// Who the caller is, where it comes from and what it really asks for: said by the gateway or by nobody.
const IDENTITY: [&str; 36] = [
    "baggage",
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "client-cert",
    "client-cert-chain",
    "fastly-client-ip",
    "forwarded",
    "proxy",
    "remote-addr",
    "remote-user",
    "tls-client-cert",
    "true-client-ip",
    "x-anonymous-consumer",
    "x-arr-clientcert",
    "x-auth-user",
    "x-client-dn",
    "x-client-ip",
    "x-client-subject-dn",
    "x-client-verify",
    "x-cluster-client-ip",
    "x-credential-identifier",
    "x-forwarded",
    "x-http-method",
    "x-http-method-override",
    "x-jwt-assertion",
    "x-method-override",
    "x-original-url",
    "x-proxyuser-ip",
    "x-real-ip",
    "x-remote-addr",
    "x-remote-user",
    "x-rewrite-url",
    "x-tls-client-cert",
    "x-user",
    "x-userinfo",
    "x-webauth-user",
];
const IDENTITY_PREFIXES: [&str; 19] = [
    "ssl-client-",
    "x-amzn-mtls-",
    "x-amzn-oidc-",
    "x-appengine-",
    "x-auth-request-",
    "x-authenticated-",
    "x-azure-",
    "x-clearway-",
    "x-client-cert",
    "x-consumer-",
    "x-endpoint-api-",
    "x-envoy-",
    "x-forwarded-",
    "x-goog-authenticated-",
    "x-goog-iap-",
    "x-ms-client-principal",
    "x-original-",
    "x-ssl-",
    "x-user-",
];

/// Takes away what must not go further. Says whether the request asks for a WebSocket.
pub(super) fn clean(head: &mut RequestHeader) -> Result<bool, GuardRefusal> {
    let nominated = nominated(head)?;
    let doomed: Vec<HeaderName> = head.headers.keys().filter(|name| is_doomed(name)).cloned().collect();
    for name in doomed.iter().chain(&nominated.names) {
        remove(head, name);
    }
    if head.version != Version::HTTP_2 {
        remove(head, &TE);
    }
    let websocket = nominated.upgrade
        && head.version == Version::HTTP_11
        && head.method == Method::GET // RFC 6455 §4.1
        && head.headers.get_all(UPGRADE).iter().all(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
        && head.headers.contains_key(UPGRADE);
    remove(head, &CONNECTION);
    if websocket {
        set(head, CONNECTION, "upgrade");
    } else {
        // RFC 9110 §7.8: an upgrade that is not understood is ignored.
        remove(head, &UPGRADE);
        if nominated.close {
            // Pingora looks again whenever someone sets keep-alive.
            set(head, CONNECTION, "close");
        }
    }
    Ok(websocket)
}

fn set(head: &mut RequestHeader, name: HeaderName, value: &'static str) {
    let _ = head.insert_header(name, HeaderValue::from_static(value));
}

/// Whether a field goes no further.
pub(super) fn is_doomed(name: &HeaderName) -> bool {
    let name = name.as_str();
    // Many back ends read `_` as `-`; no field of a standard has one.
    has_byte(name, b'_') || HOP_BY_HOP.contains(&name) || is_identity(name)
}

fn is_identity(name: &str) -> bool {
    IDENTITY.contains(&name) || IDENTITY_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// What the `Connection` field names.
#[derive(Default)]
struct Nominated {
    names: Vec<HeaderName>,
    close: bool,
    upgrade: bool,
}

fn nominated(head: &RequestHeader) -> Result<Nominated, GuardRefusal> {
    let mut nominated = Nominated::default();
    for value in head.headers.get_all(CONNECTION) {
        let text = value.to_str().map_err(|_| malformed("The Connection field is not a list of names."))?;
        for option in text.split(',').map(str::trim).filter(|option| !option.is_empty()) {
            let name = HeaderName::from_bytes(option.as_bytes())
                .map_err(|_| malformed("The Connection field is not a list of names."))?;
            match name.as_str() {
                "close" => nominated.close = true,
                "upgrade" => nominated.upgrade = true,
                "keep-alive" | "te" | "transfer-encoding" => {}
                text if is_protected(text) => {
                    return Err(malformed("The Connection field names a field that is not of this hop alone."));
                }
                _ => nominated.names.push(name),
            }
        }
    }
    Ok(nominated)
}

fn is_protected(name: &str) -> bool {
    let name = name.replace('_', "-");
    PROTECTED.contains(&name.as_str())
        || PROTECTED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || is_identity(&name)
}
