//! What crosses the gateway and what does not: routes, fields, paths, bodies, protocols.

use http::Request;
use serde_json::{Value, json};

use crate::harness::backend::{Reply, pattern, sha256};
use crate::harness::certificates::{http, http_builder};
use crate::harness::secure::bearer;
use crate::harness::token::outside_token;
use crate::harness::wire::Wire;
use crate::harness::{Backend, Gateway, Site, field, h2c, json as read_json, problem, refused};

async fn rig() -> (Backend, Site, Gateway) {
    let backend = Backend::start(|seen| match seen.path().strip_prefix("/v1/download/") {
        Some(count) => Reply::Stream(count.parse().unwrap()),
        None => Reply::json(r#"{"ok":true}"#),
    })
    .await;
    let site = Site::plain(&[&backend]);
    let gateway = site.start().await;
    (backend, site, gateway)
}

fn request(gateway: &Gateway, method: &str, path: &str) -> reqwest::RequestBuilder {
    let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
    reqwest::Client::new().request(method, gateway.url(path)).bearer_auth(outside_token("acme", "app"))
}

/// A request by hand, with a good token.
fn raw(method: &str, target: &str, more: &str) -> String {
    let token = outside_token("acme", "app");
    format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n{more}\r\n")
}

#[tokio::test]
async fn what_is_in_the_catalogue_can_be_called_and_nothing_else() {
    let (backend, _site, gateway) = rig().await;
    for (method, path, expected) in [
        ("GET", "/shop/items", Ok("/v1/items")),
        ("GET", "/shop/items?page-size=5&x=%2F", Ok("/v1/items?page-size=5&x=%2F")),
        ("GET", "/shop/items/42", Ok("/v1/items/42")),
        ("DELETE", "/shop/items/42", Ok("/v1/items/42")),
        ("GET", "/shop/items/", Err((404, "no-such-resource"))),
        ("GET", "/shop/nothing", Err((404, "no-such-resource"))),
        ("GET", "/v1/items", Err((404, "no-such-resource"))),
        ("GET", "/shop", Err((404, "no-such-resource"))),
        ("GET", "/SHOP/items", Err((404, "no-such-resource"))),
        ("GET", "/shop/items/1/2", Err((404, "no-such-resource"))),
        ("DELETE", "/shop/items", Err((405, "method-not-allowed"))),
        ("PATCH", "/shop/items/42", Err((405, "method-not-allowed"))),
    ] {
        let before = backend.total();
        let response = request(&gateway, method, path).send().await.unwrap();
        match expected {
            Ok(target) => {
                assert_eq!(response.status(), 200, "{method} {path}");
                let seen = backend.last();
                assert_eq!((seen.method.as_str(), seen.target.as_str()), (method, target));
            }
            Err((status, code)) => {
                let allow = field(&response, "allow").to_owned();
                assert_eq!(problem(response).await, refused(status, code), "{method} {path}");
                assert_eq!(status == 405, allow.contains("GET"), "{method} {path}: {allow}");
                assert_eq!(backend.total(), before);
            }
        }
    }
}

#[tokio::test]
async fn paths_pass_byte_for_byte_or_not_at_all() {
    let (backend, _site, gateway) = rig().await;
    let mut wire = Wire::connect(gateway.address("public")).await;
    for id in ["a%20b", "%C3%A9", "a+b", "~x", "a:b@c", "%41", "a,b=c!d$e&f'(g)*h", "..."] {
        let answer = wire.ask(raw("GET", &format!("/shop/items/{id}?q=%7e&r=a+b"), "")).await;
        assert_eq!(answer.status, 200, "{id}");
        assert_eq!(backend.last().target, format!("/v1/items/{id}?q=%7e&r=a+b"), "not repaired, not re-encoded");
    }
    let before = backend.total();
    for target in [
        "/shop/items/..",
        "/shop/items/%2e%2e",
        "/shop/items/../items",
        "/shop//items",
        "/shop/items/a%2Fb",
        "/shop/items/a%5Cb",
        "/shop/items/a\\b",
        "/shop/items/a;b",
        "/shop/items/%252e",
        "/shop/items/%00",
        "/shop/items/%zz",
        "/shop/items/%C0%AF",
        "/shop/./items",
    ] {
        let mut wire = Wire::connect(gateway.address("public")).await;
        let answer = wire.ask(raw("GET", target, "")).await;
        assert_eq!(answer.status, 400, "{target}");
        assert_eq!(answer.code(), "malformed-request", "{target}");
    }
    assert_eq!(backend.total(), before, "none reached the back end");
}

#[tokio::test]
async fn framing_that_two_parsers_could_read_two_ways_is_refused_and_the_connection_closed() {
    let (backend, _site, gateway) = rig().await;
    let smuggled = "GET /v1/secret HTTP/1.1\r\nHost: x\r\n\r\n";
    let length = smuggled.len();
    for (name, more, body) in [
        ("two lengths", format!("Content-Length: {length}\r\nContent-Length: 0\r\n"), smuggled.to_owned()),
        (
            "length and chunks",
            format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n"),
            format!("0\r\n\r\n{smuggled}"),
        ),
        ("another coding", "Transfer-Encoding: gzip, chunked\r\n".into(), "0\r\n\r\n".into()),
        ("a coding in disguise", "Transfer-Encoding: xchunked\r\n".into(), "0\r\n\r\n".into()),
        ("space before the colon", format!("Content-Length : {length}\r\n"), smuggled.to_owned()),
        ("a signed length", format!("Content-Length: +{length}\r\n"), smuggled.to_owned()),
        ("a second host", "Host: other\r\n".into(), String::new()),
        ("a folded field", "X-A: b\r\n c\r\n".into(), String::new()),
        ("a bare line feed", "X-A: b\nX-B: c\r\n".into(), String::new()),
    ] {
        let mut wire = Wire::connect(gateway.address("public")).await;
        let answer = wire.ask(raw("POST", "/shop/notes", &more) + &body).await;
        assert_eq!(answer.status, 400, "{name}");
        assert!(wire.closed().await, "{name}: the connection is not to be used again");
    }
    assert_eq!(backend.total(), 0);
    let mut wire = Wire::connect(gateway.address("public")).await;
    let absolute = wire.ask(raw("GET", "http://other.test/shop/items", "")).await;
    assert!(matches!(absolute.status, 400 | 421), "{}", absolute.status);
    let mut wire = Wire::connect(gateway.address("public")).await;
    let host = wire.ask("GET /shop/items HTTP/1.1\r\nHost: other.test\r\n\r\n").await;
    assert_eq!((host.status, host.code()), (421, "unknown-host".to_owned()));
}

#[tokio::test]
async fn a_caller_cannot_say_who_it_is_to_the_back_end() {
    let (backend, _site, gateway) = rig().await;
    let forged = [
        ("X-Forwarded-For", "10.0.0.1"),
        ("X-Forwarded-Host", "bank.internal"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Client-Cert", "Hash=00"),
        ("X_Forwarded_For", "10.0.0.1"),
        ("Forwarded", "for=10.0.0.1"),
        ("X-Real-IP", "10.0.0.1"),
        ("Client-Cert", ":AA==:"),
        ("Client-Cert-Chain", ":AA==:"),
        ("X-SSL-Client-S-DN", "CN=bank"),
        ("SSL-Client-Cert", "x"),
        ("X-Client-Cert", "x"),
        ("X-Consumer-ID", "1"),
        ("X-User-ID", "root"),
        ("X-Authenticated-Userid", "root"),
        ("X-Clearway-Tenant", "acme"),
        ("X-Original-URL", "/v1/admin"),
        ("X-HTTP-Method-Override", "DELETE"),
        ("DPoP", "x"),
        ("Cookie", "session=1"),
        ("Via", "1.0 evil"),
        ("Baggage", "a=b"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Authorization", "Basic x"),
        ("Proxy-Connection", "close"),
        ("TE", "trailers"),
        ("X-Nominated", "1"),
    ];
    let mut more: String = forged.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    more.push_str("Connection: keep-alive, X-Nominated\r\nAccept: application/json\r\nX-Fapi-Customer-Ip-Address: 198.51.100.7\r\n");
    let mut wire = Wire::connect(gateway.address("public")).await;
    for (method, target, body) in [
        ("GET", "/shop/items", ""),                       // the buffered or the plain lane
        ("POST", "/shop/notes", "Content-Length: 0\r\n"), // streamed
    ] {
        assert_eq!(wire.ask(raw(method, target, &format!("{more}{body}"))).await.status, 200, "{method}");
        let seen = backend.last();
        for (name, value) in forged {
            assert_ne!(seen.field(name), Some(value), "{method}: {name} reached the back end");
        }
        assert_eq!(seen.field("authorization"), None, "{method}: the caller's token ends here");
        assert_eq!(seen.field("host"), Some(backend.address.to_string().as_str()));
        assert_eq!(seen.field("accept"), Some("application/json"));
        assert_eq!(seen.field("x-fapi-customer-ip-address"), Some("198.51.100.7"));
        assert_eq!(seen.field("via"), Some("1.1 clearway"));
        let forwarded = seen.field("forwarded").unwrap().to_owned();
        assert!(forwarded.starts_with("for=127.0.0.1;host=\"localhost\";proto=http"), "{forwarded}");
        let texts: Vec<&str> = seen.fields.iter().map(|(_, value)| value.as_str()).collect();
        assert!(!texts.iter().any(|text| text.contains("eyJ")), "no token in any field: {texts:?}");
    }
}

#[tokio::test]
async fn a_credential_of_ours_takes_the_place_of_the_callers() {
    let backend = Backend::agreeable().await;
    let site = Site::plain(&[&backend]);
    site.write("keys/secret.txt", "our-key\n");
    site.backends(
        &[backend.url()],
        "credential: { kind: api_key, header: x-api-key, secret_file: ../keys/secret.txt }",
    );
    let gateway = site.start().await;
    let response = request(&gateway, "GET", "/shop/items").header("x-api-key", "theirs").send().await.unwrap();
    assert_eq!(response.status(), 200);
    let seen = backend.last();
    let keys: Vec<_> = seen.fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case("x-api-key")).collect();
    assert_eq!(keys.iter().map(|(_, value)| value.as_str()).collect::<Vec<_>>(), ["our-key"]);
}

#[tokio::test]
async fn the_back_ends_machinery_does_not_show() {
    let backend = Backend::start(|seen| {
        let inside = format!("http://{}/v1/items/7", seen.field("host").unwrap());
        let fields = vec![
            ("content-type", "application/json".to_owned()),
            ("server", "Apache/2.2".into()),
            ("x-powered-by", "PHP".into()),
            ("set-cookie", "a=b".into()),
            ("via", "1.1 inner".into()),
            ("alt-svc", "h3=\":1\"".into()),
            ("access-control-allow-origin", "*".into()),
            ("ratelimit", "\"x\";r=1".into()),
            ("x-fapi-interaction-id", "theirs".into()),
            ("keep-alive", "timeout=1".into()),
            ("location", inside),
            ("etag", "\"1\"".into()),
        ];
        Reply::Answer(201, fields, b"{}".to_vec())
    })
    .await;
    let site = Site::plain(&[&backend]);
    let gateway = site.start().await;
    let response = request(&gateway, "POST", "/shop/notes").body("x").send().await.unwrap();
    assert_eq!(response.status(), 201);
    for name in ["server", "x-powered-by", "set-cookie", "via", "alt-svc", "access-control-allow-origin", "keep-alive"]
    {
        assert_eq!(field(&response, name), "", "{name}");
    }
    assert_eq!(field(&response, "location"), "/shop/items/7", "relocated, and no internal host in it");
    assert_eq!(field(&response, "etag"), "\"1\"");
    assert_eq!(field(&response, "x-content-type-options"), "nosniff");
    assert_eq!(field(&response, "cache-control"), "no-store");
    assert!(field(&response, "ratelimit").contains("\"burst\";r="), "ours, not theirs");
    assert!(field(&response, "server-timing").contains("gateway;dur="));
    assert_ne!(field(&response, "x-fapi-interaction-id"), "theirs");
}

#[tokio::test]
async fn interaction_and_trace_go_through() {
    let (backend, _site, gateway) = rig().await;
    let id = "93bac548-d2de-4546-b106-880a5018460d";
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let asked = request(&gateway, "GET", "/shop/items").header("x-fapi-interaction-id", id);
    let asked = asked.header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01")).header("tracestate", "a=1,b=2");
    let response = asked.send().await.unwrap();
    assert_eq!(field(&response, "x-fapi-interaction-id"), id);
    let seen = backend.last();
    assert_eq!(seen.field("x-fapi-interaction-id"), Some(id));
    let parent: Vec<&str> = seen.field("traceparent").unwrap().split('-').collect();
    assert_eq!((parent[0], parent[1], parent[3]), ("00", trace, "01"));
    assert_ne!(parent[2], "00f067aa0ba902b7", "our own span");
    assert!(seen.field("tracestate").unwrap().contains("a=1"));

    // What is malformed is replaced, not passed on.
    let asked = request(&gateway, "GET", "/shop/items").header("x-fapi-interaction-id", "<script>");
    let response = asked.header("traceparent", "00-zz-zz-01").send().await.unwrap();
    let ours = field(&response, "x-fapi-interaction-id").to_owned();
    assert_eq!(ours.len(), 36, "{ours}");
    assert_eq!(backend.last().field("x-fapi-interaction-id"), Some(ours.as_str()));
    assert_eq!(backend.last().field("traceparent").unwrap().len(), 55);
    let refusal = request(&gateway, "GET", "/shop/nothing").header("x-fapi-interaction-id", id).send().await.unwrap();
    assert_eq!(field(&refusal, "x-fapi-interaction-id"), id, "refusals carry it too");
}

#[tokio::test]
async fn bodies_and_parameters_are_held_to_the_contract() {
    let (backend, _site, gateway) = rig().await;
    let good = json!({ "name": "tea", "quantity": 2, "price": { "amount": "10.50", "currency": "GBP" } });
    let post = async |body: String, kind: &str| {
        request(&gateway, "POST", "/shop/items")
            .header("content-type", kind.to_owned())
            .body(body)
            .send()
            .await
            .unwrap()
    };
    assert_eq!(post(good.to_string(), "application/json").await.status(), 200);
    assert_eq!(backend.last().body, good.to_string().into_bytes(), "as received, not re-serialised");
    let spaced = "{ \"quantity\" : 2,\n\"name\":\"t\\u0065a\" }".to_owned();
    assert_eq!(post(spaced.clone(), "application/json; charset=utf-8").await.status(), 200);
    assert_eq!(backend.last().body, spaced.into_bytes());
    let before = backend.total();
    for (name, body, pointer) in [
        ("missing member", json!({ "name": "tea" }).to_string(), ""),
        ("wrong type", json!({ "name": "tea", "quantity": "2" }).to_string(), "/quantity"),
        ("too small", json!({ "name": "tea", "quantity": 0 }).to_string(), "/quantity"),
        ("too long", json!({ "name": "x".repeat(41), "quantity": 1 }).to_string(), "/name"),
        ("unknown member", json!({ "name": "tea", "quantity": 1, "evil": 1 }).to_string(), ""),
        (
            "pattern, nested",
            json!({ "name": "tea", "quantity": 1, "price": { "amount": "1", "currency": "GBP" } }).to_string(),
            "/price/amount",
        ),
        ("in an array", json!({ "name": "tea", "quantity": 1, "tags": ["a", 1] }).to_string(), "/tags/1"),
        ("not JSON", "{\"name\":".to_owned(), ""),
        ("a member twice", "{\"name\":\"a\",\"name\":\"b\",\"quantity\":1}".to_owned(), ""),
        ("a bottomless pit", "[".repeat(5000), ""),
        ("nothing", String::new(), ""),
    ] {
        let (status, said) = read_json(post(body, "application/json").await).await;
        assert_eq!((status, &said["code"]), (400, &json!("contract-violated")), "{name}: {said}");
        let pointers: Vec<&str> =
            said["errors"].as_array().unwrap().iter().filter_map(|e| e["pointer"].as_str()).collect();
        assert!(pointers.iter().any(|found| found.starts_with(pointer)), "{name}: {pointers:?}");
        assert!(said["errors"].as_array().unwrap().iter().all(|e| !e["detail"].as_str().unwrap().is_empty()), "{name}");
    }
    let several = json!({ "quantity": 0, "price": {} }).to_string();
    let (_, said) = read_json(post(several, "application/json").await).await;
    assert!(said["errors"].as_array().unwrap().len() >= 3, "all at once: {said}");
    let (status, code) = problem(post(good.to_string(), "text/plain").await).await;
    assert_eq!((status, code.as_str()), (415, "media-type-unsupported"));
    let coded = request(&gateway, "POST", "/shop/items").header("content-type", "application/json");
    let coded = coded.header("content-encoding", "gzip").body("x").send().await.unwrap();
    assert_eq!(problem(coded).await, refused(415, "content-coding-unsupported"));
    for (query, pointer) in [
        ("page-size=0", "#query/page-size"),
        ("page-size=x", "#query/page-size"),
        ("page-size=1&page-size=2", "#query/page-size"),
    ] {
        let response = request(&gateway, "GET", &format!("/shop/items?{query}")).send().await.unwrap();
        let (status, said) = read_json(response).await;
        assert_eq!((status, said["errors"][0]["pointer"].as_str()), (400, Some(pointer)), "{query}: {said}");
    }
    let too_large = post(format!("\"{}\"", "x".repeat(2 << 20)), "application/json").await;
    assert_eq!(problem(too_large).await, refused(413, "body-too-large"));
    assert_eq!(backend.total(), before, "none of them reached the back end");
    let with_body = request(&gateway, "GET", "/shop/items").header("content-type", "application/json").body("{}");
    assert_eq!(with_body.send().await.unwrap().status(), 400, "a body where the contract has none");
}

const LARGE: usize = 20 << 20;

#[tokio::test]
async fn twenty_mebibytes_go_up_unchanged() {
    let (backend, _site, gateway) = rig().await;
    let body: Vec<u8> = (0..LARGE as u64).map(pattern).collect();
    let digest = sha256(&body);
    for method in ["POST", "PUT"] {
        let response = request(&gateway, method, "/shop/upload")
            .header("content-type", "application/octet-stream")
            .body(body.clone())
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 200, "{method}");
        let seen = backend.last();
        assert!(seen.complete, "{method}");
        assert_eq!((seen.body_bytes, &seen.body_sha256), (LARGE as u64, &digest), "{method}");
    }
}

#[tokio::test]
async fn twenty_mebibytes_come_down_unchanged() {
    let (_backend, _site, gateway) = rig().await;
    let response = request(&gateway, "GET", &format!("/shop/download/{LARGE}")).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let body = response.bytes().await.unwrap();
    let expected: Vec<u8> = (0..LARGE as u64).map(pattern).collect();
    assert_eq!(body.len(), LARGE);
    assert!(body == expected, "the bytes differ");
}

#[tokio::test]
async fn chunks_are_carried_and_a_body_past_the_limit_is_cut_off() {
    let backend = Backend::agreeable().await;
    let site = Site::plain(&[&backend]);
    site.edit(
        "config/apis.yaml",
        "upload: { request_contract: off, body_bytes_max: 64MiB }",
        "upload: { request_contract: off, body_bytes_max: 1000 }",
    );
    let gateway = site.start().await;
    let mut wire = Wire::connect(gateway.address("public")).await;
    let chunked =
        raw("POST", "/shop/upload", "Content-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n");
    let answer = wire.ask(format!("{chunked}5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(backend.last().body, b"hello world");

    let mut announced = Wire::connect(gateway.address("public")).await;
    let head = raw(
        "POST",
        "/shop/upload",
        "Content-Type: application/octet-stream\r\nContent-Length: 1001\r\nExpect: 100-continue\r\n",
    );
    let answer = announced.ask(head).await;
    assert_eq!((answer.status, answer.code()), (413, "body-too-large".to_owned()), "before a byte of it is sent");
    let mut unannounced = Wire::connect(gateway.address("public")).await;
    unannounced.send(format!("{chunked}3e9\r\n{}\r\n", "x".repeat(0x3e9))).await;
    let answer = unannounced.answer().await;
    assert_eq!((answer.status, answer.code()), (413, "body-too-large".to_owned()));
    assert!(!backend.last().complete || backend.total() == 1, "a body that is cut does not look whole");
}

#[tokio::test]
async fn who_expects_100_continue_hears_it_once_and_only_if_welcome() {
    let (backend, _site, gateway) = rig().await;
    for (target, kind) in [("/shop/items", "application/json"), ("/shop/notes", "text/plain")] {
        let body = r#"{"name":"tea","quantity":1}"#;
        let more = format!("Content-Type: {kind}\r\nContent-Length: {}\r\nExpect: 100-continue\r\n", body.len());
        let mut wire = Wire::connect(gateway.address("public")).await;
        wire.send(raw("POST", target, &more)).await;
        assert_eq!(wire.head().await.unwrap().status, 100, "{target}");
        let answer = wire.ask(body).await;
        assert_eq!(answer.status, 200, "{target}");
        assert_eq!(backend.last().body, body.as_bytes());
        assert_eq!(backend.last().field("expect"), None);
    }
    let mut wire = Wire::connect(gateway.address("public")).await;
    let refused = "POST /shop/notes HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    assert_eq!(wire.ask(refused).await.status, 401, "no 100 before a 401");
}

#[tokio::test]
async fn head_has_no_body_and_the_connection_goes_on() {
    let backend = Backend::agreeable().await;
    let site = Site::plain(&[&backend]);
    site.edit("openapi/shop.yaml", "  /notes:\n", "  /seen:\n    head:\n      operationId: seen\n      summary: Seen\n      tags: [items]\n      responses: { \"200\": { description: Seen } }\n  /notes:\n");
    let gateway = site.start().await;
    let mut wire = Wire::connect(gateway.address("public")).await;
    wire.send(raw("HEAD", "/shop/nothing", "")).await;
    assert_eq!(wire.head().await.unwrap().status, 404);
    let answer = wire.ask(raw("GET", "/shop/items", "")).await;
    assert_eq!((answer.status, answer.body.as_slice()), (200, &br#"{"ok":true}"#[..]), "in step after a HEAD");
}

#[tokio::test]
async fn http2_and_http1_are_served_alike_over_tls() {
    let backend = Backend::agreeable().await;
    let site = Site::secure(&backend);
    let gateway = site.start().await;
    let token = bearer(&gateway).await;
    let url = gateway.https("public", "/shop/items");
    for (client, version) in [
        (http(None), reqwest::Version::HTTP_2),
        (http_builder(None).http1_only().build().unwrap(), reqwest::Version::HTTP_11),
    ] {
        let response = client.get(&url).bearer_auth(&token).send().await.unwrap();
        assert_eq!((response.status().as_u16(), response.version()), (200, version));
        assert_eq!(field(&response, "strict-transport-security"), "max-age=31536000; includeSubDomains");
        assert_eq!(response.text().await.unwrap(), r#"{"ok":true}"#);
        let body = json!({ "name": "tea", "quantity": 1 });
        let posted = client.post(&url).bearer_auth(&token).json(&body).send().await.unwrap();
        assert_eq!(posted.status(), 200, "{version:?}");
        assert_eq!(backend.last().body, body.to_string().into_bytes());
        let wrong = client.post(&url).bearer_auth(&token).json(&json!({})).send().await.unwrap();
        assert_eq!(problem(wrong).await, refused(400, "contract-violated"), "{version:?}");
    }
    // Many streams at once on one connection.
    let client = http(None);
    let many = (0..50).map(|n| client.get(format!("{url}?page-size={}", n + 1)).bearer_auth(&token).send());
    for response in futures_util::future::join_all(many).await {
        assert_eq!(response.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn http2_by_hand_is_held_to_the_same_rules() {
    let backend = Backend::agreeable().await;
    let site = Site::secure(&backend);
    let gateway = site.start().await;
    let token = bearer(&gateway).await;
    let mut send = h2c::connect(gateway.address("public")).await;
    let get = |target: &str| {
        Request::get(format!("https://localhost{target}")).header("authorization", format!("Bearer {token}"))
    };
    let (status, body) = h2c::ask(&mut send, get("/shop/items").body(()).unwrap()).await.unwrap();
    assert_eq!((status, body.as_slice()), (200, &br#"{"ok":true}"#[..]));
    let (status, body) = h2c::ask(&mut send, get("/shop/%2e%2e/items").body(()).unwrap()).await.unwrap();
    let said: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, &said["code"]), (400, &json!("malformed-request")));
    // RFC 9113 §8.3.1: a Host that differs from the authority is malformed; the protocol library says so by itself.
    let two_hosts = get("/shop/items").header("host", "other.test").body(()).unwrap();
    assert_eq!(h2c::ask(&mut send, two_hosts).await.unwrap().0, 400);
    assert_eq!(backend.total(), 1);
    let mut send = h2c::connect(gateway.address("public")).await;
    let elsewhere = Request::get("https://other.test/shop/items").body(()).unwrap();
    assert_eq!(h2c::ask(&mut send, elsewhere).await.unwrap().0, 421, "the authority follows the handshake");
    let (status, _) =
        h2c::ask(&mut send, get("/shop/items").header("x-forwarded-for", "1.2.3.4").body(()).unwrap()).await.unwrap();
    assert_eq!(status, 200);
    assert_eq!(backend.last().field("x-forwarded-for"), None);
    assert_eq!(backend.last().field("authorization"), None);
}

#[tokio::test]
async fn a_websocket_passes_where_it_is_allowed_and_nowhere_else() {
    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="; // RFC 6455 §1.3
    let backend = Backend::start(|seen| match seen.path() {
        "/v1/socket" if seen.field("upgrade").is_some() => Reply::Upgrade(ACCEPT.into()),
        _ => Reply::json("{}"),
    })
    .await;
    let site = Site::plain(&[&backend]);
    let gateway = site.start().await;
    let handshake = format!(
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n"
    );

    let mut wire = Wire::connect(gateway.address("public")).await;
    wire.send(raw("GET", "/shop/socket", &handshake)).await;
    let switched = wire.head().await.unwrap();
    assert_eq!((switched.status, switched.field("sec-websocket-accept")), (101, Some(ACCEPT)));
    assert_eq!(backend.last().field("authorization"), None);
    for frame in [&b"\x81\x85\x01\x02\x03\x04iglho"[..], &[0x82, 0xfe, 0x10, 0x00], &[7; 5000]] {
        wire.send(frame).await;
        assert_eq!(wire.take(frame.len()).await.as_deref(), Some(frame), "both ways, as it is");
    }
    drop(wire);

    let before = backend.total();
    let mut wire = Wire::connect(gateway.address("public")).await;
    let answer = wire.ask(raw("GET", "/shop/items", &handshake)).await;
    assert_eq!((answer.status, answer.code()), (400, "upgrade-refused".to_owned()), "an operation that is none");
    let mut wire = Wire::connect(gateway.address("public")).await;
    let anonymous = wire.ask(format!("GET /shop/socket HTTP/1.1\r\nHost: localhost\r\n{handshake}\r\n")).await;
    assert_eq!(anonymous.status, 401);
    assert_eq!(backend.total(), before);
    // Any other protocol is not switched to, and not offered to the back end (RFC 9110 §7.8: it may be ignored).
    let mut wire = Wire::connect(gateway.address("public")).await;
    let h2c = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n";
    assert_eq!(wire.ask(raw("GET", "/shop/socket", h2c)).await.status, 200);
    let seen = backend.last();
    assert_eq!((seen.field("upgrade"), seen.field("http2-settings")), (None, None));
}

#[tokio::test]
async fn a_back_end_can_tell_callers_apart_and_learns_nothing_else() {
    let (backend, _site, gateway) = rig().await;
    let named = async |client: &str, method: &str, path: &str| {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let request =
            reqwest::Client::new().request(method, gateway.url(path)).bearer_auth(outside_token("acme", client));
        let request = request.header("x-clearway-caller", "forged").header("content-type", "text/plain").body("");
        assert_eq!(request.send().await.unwrap().status(), 200, "{path}");
        backend.last().field("x-clearway-caller").unwrap().to_owned()
    };
    let one = named("one", "POST", "/shop/notes").await;
    assert_eq!(named("one", "GET", "/shop/items").await, one, "the same in both lanes");
    assert_ne!(named("two", "POST", "/shop/notes").await, one);
    assert!(one.len() == 22 && !one.contains("one") && one != "forged", "{one}");
}
