//! The guard: what passes carries one Host, no claim of identity and nothing of one hop; passing twice changes nothing.
#![no_main]

use std::net::IpAddr;
use std::sync::LazyLock;
use std::time::Duration;

use clearway::front::{ProxyField, TrustedProxies};
use clearway::proxy::guard::{GuardSettings, Hosts, check_head};
use clearway_fuzz::partner;
use http::{HeaderName, HeaderValue, Version};
use libfuzzer_sys::fuzz_target;
use pingora_http::RequestHeader;

static SETTINGS: LazyLock<GuardSettings> = LazyLock::new(|| GuardSettings {
    hosts: Hosts::any(),
    authority_follows_sni: true,
    header_bytes_max: 2048,
    header_count_max: 16,
    uri_bytes_max: 512,
    body_idle_timeout: Duration::from_secs(30),
    trusted_proxies: TrustedProxies {
        addresses: vec![IpAddr::from([127, 0, 0, 1]), IpAddr::from([10, 0, 0, 1])],
        field: ProxyField::XForwardedFor,
    },
});

const GONE: [&str; 16] = [
    "client-cert",
    "expect",
    "forwarded",
    "keep-alive",
    "proxy",
    "proxy-authorization",
    "proxy-connection",
    "remote-user",
    "http2-settings",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-original-url",
    "x-real-ip",
    "x-rewrite-url",
    "x-ssl-client-cert",
    "x-user-id",
];

fuzz_target!(|input: &[u8]| {
    let Some(mut head) = build(input) else { return };
    let Ok(passed) = check_head(&mut head, &partner::connection(), &SETTINGS) else { return };
    assert!(!passed.host.is_empty() && !passed.host.contains(['@', '/', ',', ' ']));
    assert_eq!(passed.host, passed.host.to_ascii_lowercase());
    assert_eq!(head.headers.get_all("host").iter().count(), 1);
    assert!(head.headers.get_all("content-length").iter().count() <= 1);
    let framings = head.headers.contains_key("content-length") && head.headers.contains_key("transfer-encoding");
    assert!(!framings, "two framings");
    for name in head.headers.keys() {
        assert!(!GONE.contains(&name.as_str()) && !name.as_str().contains('_'), "{name} passes");
    }
    if let Some(connection) = head.headers.get("connection") {
        assert!(matches!(connection.as_bytes(), b"close" | b"upgrade"), "{connection:?}");
    }
    let target = head.raw_path();
    assert!(target.starts_with(b"/") || target == b"*", "{target:?}");
    let once: Vec<_> = head.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    let again = check_head(&mut head, &partner::connection(), &SETTINGS).expect("it passed before");
    let twice: Vec<_> = head.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    assert_eq!((again.host, again.websocket), (passed.host, passed.websocket));
    assert_eq!(twice, once, "passing twice changes the head");
});

/// Lines: version, method, target, then fields.
fn build(input: &[u8]) -> Option<RequestHeader> {
    let mut lines = input.split(|b| *b == b'\n');
    let version = lines.next()?;
    let method = std::str::from_utf8(lines.next()?).ok()?;
    let mut head = RequestHeader::build(method, lines.next()?, None).ok()?;
    match version {
        b"2" => head.set_version(Version::HTTP_2),
        b"0" => head.set_version(Version::HTTP_10),
        _ => head.set_version(Version::HTTP_11),
    }
    for line in lines.take(20) {
        let colon = line.iter().position(|b| *b == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        head.append_header(name, HeaderValue::from_bytes(&line[colon + 1..]).ok()?).ok()?;
    }
    Some(head)
}
