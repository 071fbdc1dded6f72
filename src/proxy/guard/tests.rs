use std::sync::Arc;

use super::*;
use crate::domain::TlsFacts;
use crate::front::ProxyField;

fn settings() -> GuardSettings {
    GuardSettings {
        hosts: Hosts::only(["api.example", "[::1]"]),
        authority_follows_sni: true,
        header_bytes_max: 2000,
        header_count_max: 20,
        uri_bytes_max: 100,
        body_idle_timeout: Duration::from_secs(30),
        trusted_proxies: TrustedProxies {
            addresses: vec!["10.0.0.1".parse().unwrap()],
            field: ProxyField::XForwardedFor,
        },
    }
}

fn connection(peer: &str, sni: Option<&str>) -> Connection {
    let tls = sni.map(|sni| Arc::new(TlsFacts { version: "TLSv1.3", cipher: "", sni: Some(sni.into()) }));
    Connection { listener: "public".into(), peer: format!("{peer}:4711").parse().unwrap(), tls, certificate: None }
}

fn http1(method: &str, target: &str, fields: &[(&'static str, &str)]) -> RequestHeader {
    let mut head = RequestHeader::build(method, target.as_bytes(), None).unwrap();
    head.set_version(Version::HTTP_11);
    for (name, value) in fields {
        head.append_header(*name, *value).unwrap();
    }
    head
}

fn http2(method: &str, uri: &str, fields: &[(&'static str, &str)]) -> RequestHeader {
    let mut request = http::Request::builder().method(method).uri(uri).version(Version::HTTP_2);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0.into()
}

fn verdict(mut head: RequestHeader) -> Result<Passed, Kind> {
    check_head(&mut head, &connection("192.0.2.1", None), &settings()).map_err(|refusal| refusal.kind)
}

#[test]
fn what_is_refused() {
    let host = ("host", "api.example");
    let long = "a".repeat(3000);
    let get = |fields: &[(&'static str, &str)]| http1("GET", "/", &[&[host], fields].concat());
    for (name, head, kind) in [
        ("no host", http1("GET", "/", &[]), Kind::MalformedRequest),
        ("two hosts", get(&[host]), Kind::MalformedRequest),
        ("userinfo", http1("GET", "/", &[("host", "u@api.example")]), Kind::MalformedRequest),
        ("host list", http1("GET", "/", &[("host", "api.example, b")]), Kind::MalformedRequest),
        ("bad port", http1("GET", "/", &[("host", "api.example:x")]), Kind::MalformedRequest),
        ("great port", http1("GET", "/", &[("host", "api.example:99999")]), Kind::MalformedRequest),
        ("unknown host", http1("GET", "/", &[("host", "other.example")]), Kind::UnknownHost),
        ("other target", http1("GET", "http://other.example/", &[host]), Kind::MalformedRequest),
        ("h2 unknown host", http2("GET", "https://other.example/", &[]), Kind::UnknownHost),
        ("h2 two hosts", http2("GET", "https://api.example/", &[("host", "other.example")]), Kind::MalformedRequest),
        ("h2 te", http2("GET", "https://api.example/", &[("te", "gzip")]), Kind::MalformedRequest),
        (
            "h2 coding",
            http2("POST", "https://api.example/", &[("transfer-encoding", "chunked")]),
            Kind::MalformedRequest,
        ),
        ("backslash", http1("GET", "/a\\b", &[host]), Kind::MalformedRequest),
        ("not ASCII", http1("GET", "/é", &[host]), Kind::MalformedRequest),
        ("coding list", get(&[("transfer-encoding", "gzip, chunked")]), Kind::MalformedRequest),
        (
            "two codings",
            get(&[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")]),
            Kind::MalformedRequest,
        ),
        ("length list", get(&[("content-length", "3, 3")]), Kind::MalformedRequest),
        ("two lengths", get(&[("content-length", "3"), ("content-length", "3")]), Kind::MalformedRequest),
        (
            "two media types",
            get(&[("content-type", "application/json"), ("content-type", "text/plain")]),
            Kind::MalformedRequest,
        ),
        ("signed length", get(&[("content-length", "+3")]), Kind::MalformedRequest),
        ("both framings", get(&[("content-length", "3"), ("transfer-encoding", "chunked")]), Kind::MalformedRequest),
        ("trace", http1("TRACE", "/", &[host]), Kind::MethodNotAllowed),
        ("h2 connect", http2("CONNECT", "api.example:443", &[]), Kind::MethodNotAllowed),
        ("h2 space before", http2("GET", "https://api.example/", &[("x-a", " b")]), Kind::MalformedRequest),
        ("h2 tab behind", http2("GET", "https://api.example/", &[("x-a", "b\t")]), Kind::MalformedRequest),
        ("expect", get(&[("expect", "200-ok")]), Kind::ExpectationFailed),
        ("expect twice", get(&[("expect", "100-continue"), ("expect", "x")]), Kind::ExpectationFailed),
        ("long target", http1("GET", &format!("/{}", "a".repeat(100)), &[host]), Kind::UriTooLong),
        ("long field", get(&[("x-long", long.as_str())]), Kind::HeadersTooLarge),
        ("many fields", get(&[("x-many", "1"); 20]), Kind::HeadersTooLarge),
        ("drops authorization", get(&[("connection", "Authorization")]), Kind::MalformedRequest),
        ("drops dpop", get(&[("connection", "keep-alive, dpop")]), Kind::MalformedRequest),
        (
            "drops idempotency",
            get(&[("connection", "close"), ("connection", "Idempotency-Key")]),
            Kind::MalformedRequest,
        ),
        ("drops identity", get(&[("connection", "x_forwarded_for")]), Kind::MalformedRequest),
        ("drops interaction", get(&[("connection", "x-fapi-interaction-id")]), Kind::MalformedRequest),
        ("not a list", get(&[("connection", "a b")]), Kind::MalformedRequest),
    ] {
        assert_eq!(verdict(head).map(drop), Err(kind), "{name}");
    }
}

#[test]
fn what_passes_is_one_way_to_say_it() {
    for (name, mut head, target) in [
        ("plain", http1("GET", "/a?b=%20c", &[("host", "API.example:8443")]), "/a?b=%20c"),
        ("absolute", http1("GET", "https://api.example/a?b", &[("host", "api.example")]), "/a?b"),
        ("absolute without path", http1("GET", "http://api.example", &[("host", "api.example")]), "/"),
        ("absolute with query only", http1("GET", "http://api.example?x", &[("host", "api.example")]), "/?x"),
        ("asterisk", http1("OPTIONS", "*", &[("host", "api.example")]), "*"),
        ("http2", http2("GET", "https://api.example/a", &[("te", "trailers")]), "/a"),
        ("http2 with host", http2("GET", "https://api.example/a", &[("host", "api.example")]), "/a"),
    ] {
        let passed = check_head(&mut head, &connection("192.0.2.1", Some("api.example")), &settings()).unwrap();
        assert_eq!(passed.host, "api.example", "{name}");
        assert_eq!(head.raw_path(), target.as_bytes(), "{name}");
        assert_eq!(head.headers.get_all(HOST).iter().count(), 1, "{name}");
    }
    let literal = verdict(http1("GET", "/", &[("host", "[::1]:8443")])).unwrap();
    assert_eq!(literal.host, "[::1]");
}

#[test]
fn the_authority_follows_the_name_of_the_handshake() {
    let mut head = http1("GET", "/", &[("host", "api.example")]);
    let refusal = check_head(&mut head, &connection("192.0.2.1", Some("other.example")), &settings()).unwrap_err();
    assert_eq!((refusal.kind, refusal.close), (Kind::UnknownHost, false));
}

#[test]
fn nobody_says_who_they_are_but_we() {
    let forged = [
        ("x-forwarded-for", "127.0.0.1"),
        ("forwarded", "for=127.0.0.1"),
        ("client-cert", ":AAA=:"),
        ("client-cert-chain", ":AAA=:"),
        ("x-client-cert-thumbprint", "x"),
        ("x_client_cert", "x"),
        ("client_cert", "x"),
        ("x-ssl-client-verify", "SUCCESS"),
        ("x-consumer-id", "x"),
        ("x-user-id", "x"),
        ("x-real-ip", "127.0.0.1"),
        ("x-clearway-client", "x"),
        ("x_clearway_client", "x"),
        ("x-original-url", "/admin"),
        ("proxy-authorization", "x"),
        ("keep-alive", "timeout=5"),
    ];
    let mut head =
        http1("GET", "/", &[&[("host", "api.example"), ("authorization", "Bearer x")], &forged[..]].concat());
    let passed = check_head(&mut head, &connection("192.0.2.1", None), &settings()).unwrap();
    assert_eq!(passed.source, "192.0.2.1".parse::<IpAddr>().unwrap());
    let left: Vec<&str> = head.headers.keys().map(HeaderName::as_str).collect();
    assert_eq!(left, ["host", "authorization"]);

    let mut head = http1("GET", "/", &[("host", "api.example"), ("x-forwarded-for", "198.51.100.7")]);
    let passed = check_head(&mut head, &connection("10.0.0.1", None), &settings()).unwrap();
    assert_eq!(passed.source, "198.51.100.7".parse::<IpAddr>().unwrap(), "a trusted proxy's word");
    assert!(!head.headers.contains_key("x-forwarded-for"), "and even that goes no further");
}

#[test]
fn connection_options_end_here() {
    let mut fields = vec![("host", "api.example"), ("connection", "x-hop, close"), ("x-hop", "1"), ("te", "gzip")];
    fields.extend([("upgrade", "h2c"), ("http2-settings", "AAA")]);
    let mut head = http1("GET", "/", &fields);
    let passed = check_head(&mut head, &connection("192.0.2.1", None), &settings()).unwrap();
    assert!(!passed.websocket);
    let left: Vec<&str> = head.headers.keys().map(HeaderName::as_str).collect();
    assert_eq!(left, ["host", "connection"]);
    assert_eq!(head.headers["connection"], "close");

    let websocket = [("host", "api.example"), ("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")];
    let mut head = http1("GET", "/", &websocket);
    assert!(check_head(&mut head, &connection("192.0.2.1", None), &settings()).unwrap().websocket);
    assert_eq!(head.headers["connection"], "upgrade");
    let mut head = http1("GET", "/", &[("host", "api.example"), ("upgrade", "websocket")]);
    assert!(!check_head(&mut head, &connection("192.0.2.1", None), &settings()).unwrap().websocket, "not nominated");
}

#[test]
fn an_expectation_is_taken_over_and_cookies_are_joined() {
    let mut head = http1("POST", "/", &[("host", "api.example"), ("expect", "100-Continue")]);
    assert!(check_head(&mut head, &connection("192.0.2.1", None), &settings()).unwrap().expects_continue);
    assert!(!head.headers.contains_key(EXPECT));
    let mut head = http2("GET", "https://api.example/", &[("cookie", "a=1"), ("cookie", "b=2")]);
    check_head(&mut head, &connection("192.0.2.1", None), &settings()).unwrap();
    assert_eq!(head.headers.get_all(COOKIE).iter().collect::<Vec<_>>(), ["a=1; b=2"]);
}
