//! The token endpoint: whoever is let in proved itself with an assertion that keeps to RFC 7523 and FAPI 2.0, once.
#![no_main]

use std::sync::LazyLock;

use clearway::oauth::Request;
use clearway_fuzz::server::{CLIENT, ISSUER, LIFETIME_MAX, SKEW_MAX, World};
use clearway_fuzz::{NOW, partner};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

static WORLD: LazyLock<World> = LazyLock::new(World::new);
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

fuzz_target!(|input: &[u8]| {
    let Some((mode, rest)) = input.split_first() else { return };
    WORLD.forget();
    match mode % 4 {
        0 => assert!(!lets_in(rest), "a client is let in without an assertion"),
        1 => claims(rest),
        2 => changed(rest),
        _ => beside(rest),
    }
});

fn lets_in(body: &[u8]) -> bool {
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"))]);
    let connection = partner::connection();
    let request = Request { headers: &headers, body, connection: &connection };
    let _ = WORLD.runtime.block_on(WORLD.server.introspect(request));
    WORLD.runtime.block_on(WORLD.server.token(request)).is_ok()
}

fn form(assertion: &str) -> String {
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let (kind, assertion) = (encode(JWT_BEARER), encode(assertion));
    format!("grant_type=client_credentials&client_assertion_type={kind}&client_assertion={assertion}")
}

/// Any claims, under the client's own signature.
fn claims(bytes: &[u8]) {
    let Ok(claims) = serde_json::from_slice::<Value>(bytes) else { return };
    if claims.is_object() {
        judge(&claims);
    }
}

/// Good claims with one of them changed: a name and a JSON value.
fn changed(bytes: &[u8]) {
    let mut claims = good();
    for change in bytes.split(|b| *b == 0) {
        let mut halves = change.splitn(2, |b| *b == b'=');
        let (Some(name), Some(value)) = (halves.next(), halves.next()) else { continue };
        let (Ok(name), Ok(value)) = (std::str::from_utf8(name), serde_json::from_slice::<Value>(value)) else {
            continue;
        };
        claims[name] = value;
    }
    judge(&claims);
}

/// A good assertion with any other parameters beside it.
fn beside(bytes: &[u8]) {
    let assertion = WORLD.key.sign("JWT", &good()).unwrap();
    let mut body = form(&assertion).into_bytes();
    body.push(b'&');
    body.extend_from_slice(bytes);
    // The server may refuse or not; it must not panic, and not take it twice.
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"))]);
    let connection = partner::connection();
    let request = Request { headers: &headers, body: &body, connection: &connection };
    if let Ok(answer) = WORLD.runtime.block_on(WORLD.server.token(request)) {
        assert_eq!(answer.client.id.as_str(), CLIENT);
        let granted = answer.body.scope.unwrap_or_default();
        assert!(granted.split(' ').all(|scope| matches!(scope, "accounts" | "payments" | "")), "{granted}");
        assert!(!lets_in(&body), "the assertion is taken twice");
    }
}

fn good() -> Value {
    json!({ "iss": CLIENT, "sub": CLIENT, "aud": ISSUER, "iat": NOW, "exp": NOW + 60, "jti": "j" })
}

fn judge(claims: &Value) {
    let Ok(assertion) = WORLD.key.sign("JWT", claims) else { return };
    let body = form(&assertion);
    if lets_in(body.as_bytes()) {
        assert_eq!(unfit(claims), None, "{claims}");
        assert!(!lets_in(body.as_bytes()), "the assertion is taken twice");
    }
}

/// What `standards/oauth-core.md` §4 holds against these claims.
fn unfit(claims: &Value) -> Option<&'static str> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let date = |name: &str| claims.get(name).and_then(Value::as_f64);
    let (now, latest) = (NOW as f64, (NOW + SKEW_MAX) as f64);
    if (text("iss"), text("sub"), text("aud")) != (Some(CLIENT), Some(CLIENT), Some(ISSUER)) {
        return Some("names");
    }
    if !date("exp").is_some_and(|exp| exp > now && exp <= now + LIFETIME_MAX as f64 + 1.0) {
        return Some("exp");
    }
    for name in ["iat", "nbf"] {
        if claims.get(name).is_some_and(|at| !at.is_null()) && !date(name).is_some_and(|at| at <= latest + 1.0) {
            return Some("iat or nbf");
        }
    }
    if !text("jti").is_some_and(|jti| (1..=256).contains(&jti.len())) {
        return Some("jti");
    }
    None
}
