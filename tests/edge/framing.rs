//! Requests that two parsers could read two ways, and fields that claim what is not the client's to say.

use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::raw;
use crate::harness::h2c::{PREFACE, block, frame};
use crate::harness::secure::bearer;
use crate::harness::token::outside_token;
use crate::harness::wire::{Wire, tls_config};
use crate::harness::{Backend, Gateway, Site, h2c, within};

async fn plain() -> (Backend, Site, Gateway) {
    let backend = Backend::agreeable().await;
    let site = Site::plain(&[&backend]);
    let gateway = site.start().await;
    (backend, site, gateway)
}

async fn wire(gateway: &Gateway) -> Wire {
    Wire::connect(gateway.address("public")).await
}

/// The stock engine takes each of these: CL beside TE (the TE counts), `3, 3` forwarded as it is, `gzip, chunked`
/// re-labelled as chunked, LF for CRLF in header lines and chunk extensions.
#[tokio::test]
async fn lenient_readings_of_a_frame_are_refused_and_the_connection_ends() {
    let (backend, _site, gateway) = plain().await;
    let second = "GET /shop/items HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for (name, more, body) in [
        ("CL, then TE", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ("TE, then CL", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"),
        ("CL 0 and TE", "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ("CL and TE identity", "Content-Length: 5\r\nTransfer-Encoding: identity\r\n", "hello"),
        ("a list of lengths", "Content-Length: 3, 3\r\n", "abc"),
        ("a list of differing lengths", "Content-Length: 3, 5\r\n", "abc"),
        ("the same length twice", "Content-Length: 3\r\nContent-Length: 3\r\n", "abc"),
        ("a list of codings", "Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"),
        ("codings in two fields", "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ("chunked twice", "Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n"),
        ("chunked is not last", "Transfer-Encoding: chunked, gzip\r\n", "0\r\n\r\n"),
        ("a coding in quotes", "Transfer-Encoding: \"chunked\"\r\n", "0\r\n\r\n"),
        ("a tab in the coding", "Transfer-Encoding:\tchunked\x0b\r\n", "0\r\n\r\n"),
        ("an LF between fields", "X-A: b\nContent-Length: 5\r\n", "hello"),
        ("a CR in a value", "X-A: b\rContent-Length: 5\r\n", "hello"),
        ("an underscore twin of the length", "Content_Length: 5\r\nContent-Length : 5\r\n", "hello"),
    ] {
        let mut wire = wire(&gateway).await;
        wire.send(raw("POST", "/shop/notes", more) + body + second).await;
        let answer = wire.answer().await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "malformed-request"), "{name}");
        assert_eq!(answer.field("connection"), Some("close"), "{name}");
        assert!(wire.closed().await, "{name}: one answer, then the end");
    }
    assert_eq!(backend.total(), 0, "nothing of them reached the back end");
}

/// The stock engine takes an LF within a chunk's extension, and forwards whatever is there.
#[tokio::test]
async fn chunks_are_read_strictly_and_their_extensions_and_trailers_end_here() {
    let (backend, _site, gateway) = plain().await;
    let chunked = raw("POST", "/shop/notes", "Content-Type: text/plain\r\nTransfer-Encoding: chunked\r\n");
    let mut good = wire(&gateway).await;
    let body = "5;a=b;c=\"d\"\r\nhello\r\n1\r\n!\r\n0;last\r\nX-Trailer: t\r\nAuthorization: Bearer x\r\n\r\n";
    assert_eq!(good.ask(format!("{chunked}{body}")).await.status, 200);
    let seen = backend.last();
    assert_eq!((seen.body.as_slice(), seen.complete), (&b"hello!"[..], true), "what a chunk says beside is not data");
    assert!(!seen.fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("x-trailer")), "no trailer became a field");
    let long = format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(5_000));
    for (name, body) in [
        ("an LF in an extension", "5;a\nb\r\nhello\r\n0\r\n\r\n"),
        ("an LF after a size", "5\nhello\r\n0\r\n\r\n"),
        ("an LF after data", "5\r\nhello\n0\r\n\r\n"),
        ("a CR in an extension", "5;a\rb\r\nhello\r\n0\r\n\r\n"),
        ("a size that overflows", "10000000000000005\r\nhello\r\n0\r\n\r\n"),
        ("a negative size", "-5\r\nhello\r\n0\r\n\r\n"),
        ("a prefix", "0x5\r\nhello\r\n0\r\n\r\n"),
        ("space before the extension", "5 ;a\r\nhello\r\n0\r\n\r\n"),
        ("more data than said", "5\r\nhello!\r\n0\r\n\r\n"),
        ("a request in the trailers", "0\r\nGET /shop/items HTTP/1.1\r\n\r\n"),
        ("endless extensions", long.as_str()),
    ] {
        for path in ["/shop/notes", "/shop/items", "/oauth/token"] {
            let before = backend.seen().iter().filter(|seen| seen.complete).count();
            let mut wire = wire(&gateway).await;
            let head = raw("POST", path, "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n");
            wire.send(head + body).await;
            if let Some(answer) = wire.try_answer().await {
                assert!((400..=417).contains(&answer.status), "{name} {path}: {}", answer.status);
            }
            assert!(wire.closed().await, "{name} {path}");
            let after = backend.seen().iter().filter(|seen| seen.complete).count();
            assert_eq!(after, before, "{name} {path}: it does not look whole to the back end");
        }
    }
}

/// A filter of the stock engine that sets keep-alive undoes a close that the request's framing demanded.
#[tokio::test]
async fn a_close_stays_a_close() {
    let (backend, _site, gateway) = plain().await;
    let second = raw("GET", "/shop/items", "");
    for (name, first) in [
        ("asked for", raw("GET", "/shop/items", "Connection: close\r\n")),
        ("asked for among others", raw("GET", "/shop/items", "Connection: x-a, Close\r\n")),
        ("in our own paths", "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".to_owned()),
        ("HTTP/1.0", raw("GET", "/shop/items", "").replace("HTTP/1.1", "HTTP/1.0")),
        ("the wrong method", raw("TRACE", "/shop/items", "")),
    ] {
        let mut wire = wire(&gateway).await;
        let before = backend.total();
        let answer = wire.ask(first + &second).await;
        assert!(answer.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")), "{name}");
        assert!(wire.closed().await, "{name}: the second request is not answered");
        assert!(backend.total() <= before + 1, "{name}: nor forwarded");
    }
    // And without a close the same connection serves on, two requests in one packet included.
    let mut wire = wire(&gateway).await;
    wire.send(format!("{second}{second}")).await;
    assert_eq!((wire.answer().await.status, wire.answer().await.status), (200, 200));
}

/// With HTTP/2 by prior knowledge switched on, the stock engine waits for ever for what a plain connection will speak.
#[tokio::test]
async fn a_plain_listener_speaks_http1_only() {
    let (backend, _site, gateway) = plain().await;
    let mut preface = wire(&gateway).await;
    preface.send(PREFACE).await;
    assert_eq!(preface.answer().await.status, 400);
    assert!(preface.closed().await);
    let mut upgrade = wire(&gateway).await;
    let more = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n";
    assert_eq!(upgrade.ask(raw("GET", "/shop/items", more)).await.status, 200, "ignored (RFC 9110 §7.8)");
    assert!(!backend.last().fields.iter().any(|(_, value)| value.contains("h2c") || value.contains("AAMAAA")));
}

/// The stock engine takes a request without Host, and one whose target names another host after a rewrite.
#[tokio::test]
async fn there_is_one_host_and_it_is_served_here() {
    let (backend, _site, gateway) = plain().await;
    let token = outside_token("acme", "app");
    let with =
        |target: &str, hosts: &str| format!("GET {target} HTTP/1.1\r\n{hosts}Authorization: Bearer {token}\r\n\r\n");
    for (name, request, status) in [
        ("missing", with("/shop/items", ""), 400),
        ("twice, the same", with("/shop/items", "Host: localhost\r\nHost: localhost\r\n"), 400),
        ("twice", with("/shop/items", "Host: localhost\r\nHost: other.test\r\n"), 400),
        ("a list", with("/shop/items", "Host: localhost, other.test\r\n"), 400),
        ("with a user", with("/shop/items", "Host: me@localhost\r\n"), 400),
        ("with a path", with("/shop/items", "Host: localhost/admin\r\n"), 400),
        ("empty", with("/shop/items", "Host:\r\n"), 400),
        ("unknown", with("/shop/items", "Host: other.test\r\n"), 421),
        ("the target says another", with("http://other.test/shop/items", "Host: localhost\r\n"), 400),
        ("the field says another", with("http://localhost/shop/items", "Host: other.test\r\n"), 400),
        ("the target's user", with("http://me@localhost/shop/items", "Host: localhost\r\n"), 400),
        ("the target's port", with("http://localhost:1/shop/items", "Host: localhost\r\n"), 400),
    ] {
        let mut wire = wire(&gateway).await;
        assert_eq!(wire.ask(request).await.status, status, "{name}");
    }
    assert_eq!(backend.total(), 0);
    let mut wire = wire(&gateway).await;
    assert_eq!(wire.ask(with("http://localhost/shop/items?a=b", "Host: localhost\r\n")).await.status, 200);
    assert_eq!(backend.last().target, "/v1/items?a=b", "the back end sees the path alone");
}

/// The stock engine forwards `..`, `%2e%2e` and `//` as they are, and repairs a raw space: what was checked is then not
/// what the back end reads.
#[tokio::test]
async fn a_path_that_somebody_might_read_differently_goes_nowhere() {
    let (backend, _site, gateway) = plain().await;
    let targets = [
        "/shop/items/..",
        "/shop/items/../items",
        "/shop/items/../../v1/admin",
        "/shop/./items",
        "/shop/items/.",
        "/shop/items/%2e%2e",
        "/shop/items/%2E%2E",
        "/shop/items/.%2e",
        "/shop/items/%2e./x",
        "/shop/items/%252e%252e",
        "/shop//items",
        "//shop/items",
        "/shop/items//",
        "/shop%2fitems",
        "/shop/items/a%2Fb",
        "/shop/items/a%5cb",
        "/shop/items/a\\b",
        "/shop\\items",
        "/shop/items/a b",
        "/shop/items/a\tb",
        "/shop/items/..;/x",
        "/shop/items;x=1",
        "/shop/items/%00",
        "/shop/items/%0d%0aX: y",
        "/shop/items/%",
        "/shop/items/%zz",
        "/shop/items/%u002e",
        "/shop/items/\u{e9}",
        "/shop/items/%c0%ae%c0%ae",
        "/shop/items#x",
        "shop/items",
        "*",
    ];
    for target in targets {
        let mut wire = wire(&gateway).await;
        let answer = wire.ask(raw("GET", target, "")).await;
        assert!(matches!(answer.status, 400 | 404), "{target}: {}", answer.status);
    }
    assert_eq!(backend.total(), 0);
    let site = Site::secure(&backend);
    let gateway = site.start().await;
    let token = bearer(&gateway).await;
    for target in targets {
        // By raw frames: no library would send most of these.
        let mut stream = h2c::raw(gateway.address("public"), tls_config(None, &["h2"])).await;
        let bearer = format!("Bearer {token}");
        let fields = [
            (":method", "GET"),
            (":scheme", "https"),
            (":authority", "localhost"),
            (":path", target),
            ("authorization", bearer.as_str()),
        ];
        stream.write_all(PREFACE).await.unwrap();
        stream.write_all(&frame(1, 5, 1, &block(&fields))).await.unwrap();
        stream.flush().await.unwrap();
        let (mut said, mut chunk) = (Vec::new(), vec![0; 4096]);
        // HEADERS, RST_STREAM or GOAWAY: an answer of some kind.
        while !h2c::kinds(&said).iter().any(|kind| matches!(kind, 1 | 3 | 7)) {
            let count = within("an answer over HTTP/2", stream.read(&mut chunk)).await.unwrap();
            assert!(count > 0, "HTTP/2 {target}: closed without a word");
            said.extend_from_slice(&chunk[..count]);
        }
        if target.contains('#') {
            // The protocol library drops a fragment before anybody sees it: what we judge is what the back end reads.
            assert_eq!(backend.last().target, "/v1/items", "HTTP/2 {target}");
        } else {
            assert!(!backend.seen().iter().any(|seen| seen.target != "/v1/items"), "HTTP/2 {target}");
        }
    }
    assert_eq!(backend.total(), 1, "the one with a fragment");
}

/// The stock engine strips what `Connection` names, a client's own `Authorization` included, and lets `X_Client_Cert`
/// pass, which many back ends read as `X-Client-Cert`.
#[tokio::test]
async fn a_client_can_neither_say_who_it_is_nor_make_us_forget_it() {
    let (backend, _site, gateway) = plain().await;
    for name in ["Authorization", "authorization", "Host", "Content-Length", "X-Fapi-Interaction-Id", "Forwarded"] {
        let mut wire = wire(&gateway).await;
        let more = format!("Connection: keep-alive, {name}\r\nContent-Length: 0\r\n");
        let answer = wire.ask(raw("POST", "/shop/notes", &more)).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "malformed-request"), "{name}");
    }
    assert_eq!(backend.total(), 0);
    let twins = [
        "X_Client_Cert",
        "X_SSL_Client_S_DN",
        "Client_Cert",
        "X_Forwarded_For",
        "X_Consumer_Id",
        "X_User_Id",
        "X_Real_IP",
        "X-Client_Cert",
        "X_Clearway-Tenant",
        "Ssl_Client_Cert",
    ];
    let more: String = twins.iter().map(|name| format!("{name}: forged\r\n")).collect();
    for (method, target, framing) in [("GET", "/shop/items", ""), ("POST", "/shop/notes", "Content-Length: 0\r\n")] {
        let mut wire = wire(&gateway).await;
        assert_eq!(wire.ask(raw(method, target, &format!("{more}{framing}"))).await.status, 200);
        let seen = backend.last();
        assert!(!seen.fields.iter().any(|(name, value)| value == "forged" || name.contains('_')), "{seen:?}");
    }
    let site = Site::secure(&backend);
    let gateway = site.start().await;
    let token = bearer(&gateway).await;
    let (mut send, _) = h2c::connect_with(gateway.address("public"), tls_config(None, &["h2"])).await;
    let mut request = Request::get("https://localhost/shop/items").header("authorization", format!("Bearer {token}"));
    for name in twins {
        request = request.header(name.to_lowercase(), "forged");
    }
    assert_eq!(h2c::ask(&mut send, request.body(()).unwrap()).await.unwrap().0, 200);
    assert!(!backend.last().fields.iter().any(|(_, value)| value == "forged"), "HTTP/2");
}

/// The stock engine refuses these over HTTP/2 by itself: no document says why, and no record that it was asked.
#[tokio::test]
async fn an_authority_that_is_no_one_name_is_refused_as_all_else_is_over_http2() {
    let backend = Backend::agreeable().await;
    let site = Site::secure(&backend);
    let gateway = site.start().await;
    let cases: [(&str, &[(&str, &str)]); 4] = [
        ("said in two ways", &[(":authority", "localhost"), ("host", "other")]),
        ("said twice", &[("host", "localhost"), ("host", "localhost")]),
        ("not said", &[]),
        ("with a user", &[(":authority", "me@localhost")]),
    ];
    // More of them than the stock engine takes on one connection, which goes on after each.
    let mut stream = h2c::raw(gateway.address("public"), tls_config(None, &["h2"])).await;
    stream.write_all(PREFACE).await.unwrap();
    let mut asked = 0;
    for _ in 0..10 {
        for (name, authority) in cases {
            let id = format!("00000000-0000-4000-8000-{asked:012}");
            let mut fields = vec![(":method", "GET"), (":scheme", "https"), (":path", "/shop/items")];
            fields.extend(authority.iter().filter(|(name, _)| name.starts_with(':')));
            fields.extend(authority.iter().filter(|(name, _)| !name.starts_with(':')));
            fields.push(("x-fapi-interaction-id", &id));
            stream.write_all(&frame(1, 5, 2 * asked + 1, &block(&fields))).await.unwrap();
            stream.flush().await.unwrap();
            asked += 1;
            let (mut said, mut chunk) = (Vec::new(), vec![0; 4096]);
            while !String::from_utf8_lossy(&said).contains("malformed-request") {
                let count = within("a problem document", stream.read(&mut chunk)).await.unwrap();
                assert!(count > 0, "{name}: closed without a word");
                said.extend_from_slice(&chunk[..count]);
                assert!(!h2c::kinds(&said).iter().any(|kind| matches!(kind, 3 | 7)), "{name}: a reset or a GOAWAY");
            }
        }
    }
    drop(stream);
    assert_eq!(gateway.stop().await.code(), Some(0));
    assert_eq!(backend.total(), 0);
    let records = site.json_lines("state/audit.jsonl");
    let refused = records.iter().filter(|record| record["code"] == "malformed-request" && record["status"] == 400);
    assert_eq!(refused.count(), usize::try_from(asked).unwrap(), "each is recorded");
}
