//! A gateway beside an outside issuer: plain HTTP on loopback, keys from a file or a URL, partners by template.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, Ordering};

use clearway::jose::Algorithm;
use serde_json::{Value, json};

use crate::harness::token::{
    GATEWAY, Key, OUTSIDE, hmac_confusion, outside_claims, outside_key, outside_token, signing_input, with, write_jwks,
};
use crate::harness::{Backend, Gateway, Reply, Site, field, problem, refused};

async fn get(gateway: &Gateway, token: &str) -> reqwest::Response {
    reqwest::Client::new().get(gateway.url("/shop/items")).bearer_auth(token).send().await.unwrap()
}

async fn status(gateway: &Gateway, token: &str) -> u16 {
    get(gateway, token).await.status().as_u16()
}

#[tokio::test]
async fn unknown_partners_are_admitted_by_the_template() {
    let backend = Backend::agreeable().await;
    let site = Site::plain(&[&backend]);
    let gateway = site.start().await;
    for (tenant, client) in [("acme", "app"), ("farview", "app"), ("acme", "other")] {
        let response = get(&gateway, &outside_token(tenant, client)).await;
        assert_eq!(response.status(), 200, "{tenant}/{client}");
        assert_eq!(response.text().await.unwrap(), r#"{"ok":true}"#);
    }
    assert_eq!(backend.total(), 3);
}

#[tokio::test]
async fn a_token_must_be_right_in_every_point() {
    let backend = Backend::agreeable().await;
    let site = Site::plain(&[&backend]);
    let gateway = site.start().await;
    let good = || outside_claims("acme", "app");
    let key = outside_key();
    let stranger = Key::generate(Algorithm::Es256);
    let now = crate::harness::token::now();
    let signed = |claims: Value| key.jwt("at+jwt", &claims);
    let with_header = |header: Value| key.sign(&header, &good());
    let mut tampered = signed(good());
    let at = tampered.find('.').unwrap() + 5;
    tampered.replace_range(at..=at, if &tampered[at..=at] == "A" { "B" } else { "A" });

    assert_eq!(status(&gateway, &signed(good())).await, 200, "the twin of all that follow");
    for (name, token) in [
        ("expired", signed(with(good(), json!({ "exp": now - 1 })))),
        ("no expiry", signed(with(good(), json!({ "exp": null })))),
        ("not yet valid", signed(with(good(), json!({ "nbf": now + 120 })))),
        ("issued in the future", signed(with(good(), json!({ "iat": now + 120 })))),
        ("another audience", signed(with(good(), json!({ "aud": "https://other.test" })))),
        ("no audience", signed(with(good(), json!({ "aud": null })))),
        ("another issuer", signed(with(good(), json!({ "iss": "https://evil.test" })))),
        ("our own issuer, by their key", signed(with(good(), json!({ "iss": GATEWAY })))),
        ("no client", signed(with(good(), json!({ "client_id": null })))),
        ("no tenant", signed(with(good(), json!({ "tenant": null })))),
        ("a tenant that is no name", signed(with(good(), json!({ "tenant": "../x" })))),
        ("a client that is no text", signed(with(good(), json!({ "client_id": ["app"] })))),
        (
            "bound to a certificate that is not there",
            signed(with(good(), json!({ "cnf": { "x5t#S256": "A".repeat(43) } }))),
        ),
        ("bound in a way that is not known", signed(with(good(), json!({ "cnf": { "kid": "x" } })))),
        ("typ of an ID token", key.jwt("JWT", &good())),
        ("no typ", with_header(json!({ "alg": "ES256", "kid": key.kid() }))),
        ("alg none", format!("{}.", signing_input(&json!({ "alg": "none", "typ": "at+jwt" }), &good()))),
        ("HMAC with the public key", hmac_confusion(key, &good())),
        (
            "an algorithm that is not the key's",
            with_header(json!({ "alg": "PS256", "typ": "at+jwt", "kid": key.kid() })),
        ),
        (
            "crit",
            with_header(json!({ "alg": "ES256", "typ": "at+jwt", "kid": key.kid(), "crit": ["b64"], "b64": false })),
        ),
        (
            "a key that it brings itself",
            stranger
                .sign(&json!({ "alg": "ES256", "typ": "at+jwt", "kid": stranger.kid(), "jwk": stranger.jwk }), &good()),
        ),
        (
            "a stranger under a known kid",
            stranger.sign(&json!({ "alg": "ES256", "typ": "at+jwt", "kid": key.kid() }), &good()),
        ),
        ("tampered", tampered),
        ("not a token", "abc.def.ghi".to_owned()),
    ] {
        let response = get(&gateway, &token).await;
        let challenge = field(&response, "www-authenticate").to_owned();
        let (status, code) = problem(response).await;
        assert_eq!(status, 401, "{name}");
        assert!(code == "token-invalid" || code == "token-binding", "{name}: {code}");
        assert!(challenge.contains(r#"error="invalid_token""#), "{name}: {challenge}");
    }
    assert_eq!(backend.total(), 1, "none of them reached the back end");
}

#[tokio::test]
async fn credentials_come_once_and_in_the_field() {
    let backend = Backend::agreeable().await;
    let site = Site::plain(&[&backend]);
    let gateway = site.start().await;
    let token = outside_token("acme", "app");
    let client = reqwest::Client::new();
    let url = gateway.url("/shop/items");

    let missing = client.get(&url).send().await.unwrap();
    let challenge = field(&missing, "www-authenticate").to_owned();
    assert_eq!(problem(missing).await, refused(401, "token-missing"));
    assert!(challenge.starts_with("Bearer") && !challenge.contains("error="), "RFC 6750 §3.1: {challenge}");
    assert!(challenge.contains("resource_metadata="), "RFC 9728 §5.1: {challenge}");

    let in_query = client.get(format!("{url}?access_token={token}")).send().await.unwrap();
    assert_eq!(in_query.status(), 401, "a token in the query is none");
    let twice = client.get(&url).bearer_auth(&token).header("authorization", format!("Bearer {token}")).send();
    assert_eq!(problem(twice.await.unwrap()).await, refused(400, "token-in-request"));
    for scheme in ["Basic YTpi", "Bearer", "Bearer a b"] {
        let response = client.get(&url).header("authorization", scheme).send().await.unwrap();
        assert!(matches!(response.status().as_u16(), 400 | 401), "{scheme}: {}", response.status());
    }
    assert_eq!(backend.total(), 0);
}

#[tokio::test]
async fn a_scope_and_a_limit_come_from_the_claims() {
    let backend = Backend::agreeable().await;
    let site = Site::plain(&[&backend]);
    site.append("config/plans.yaml", "      - { name: daily, per: tenant, window: { requests: 3, period: day } }\n");
    let gateway = site.start().await;
    let narrow = outside_key().jwt("at+jwt", &with(outside_claims("acme", "app"), json!({ "scope": "other" })));
    let response = get(&gateway, &narrow).await;
    assert!(field(&response, "www-authenticate").contains("insufficient_scope"));
    assert_eq!(problem(response).await, refused(403, "scope-missing"));
    // One tenant shares its day between its clients; another has its own; a refusal cost nothing.
    for (tenant, client, expected) in [
        ("acme", "a", 200),
        ("acme", "b", 200),
        ("farview", "a", 200),
        ("acme", "c", 200),
        ("acme", "a", 429),
        ("acme", "d", 429),
        ("farview", "a", 200),
    ] {
        assert_eq!(status(&gateway, &outside_token(tenant, client)).await, expected, "{tenant}/{client}");
    }
    assert_eq!(backend.total(), 5);
}

#[tokio::test]
async fn a_policy_fixes_response_headers() {
    let backend = Backend::start(|_| {
        Reply::Answer(200, vec![("x-data-class", "theirs".into()), ("content-type", "text/plain".into())], b"x".into())
    })
    .await;
    let site = Site::plain(&[&backend]);
    site.write(
        "policies/headers.cedar",
        "@id(\"own.headers\")\n@header(\"X-Data-Class: personal\\nX-Retention: none\")\npermit (principal, action in Action::\"read\", resource);\n",
    );
    let gateway = site.start().await;
    let response = get(&gateway, &outside_token("t", "c")).await;
    let classes: Vec<_> = response.headers().get_all("x-data-class").iter().collect();
    assert_eq!(classes, ["personal"], "ours displaces theirs");
    assert_eq!(field(&response, "x-retention"), "none");
    let note = reqwest::Client::new().post(gateway.url("/shop/notes")).bearer_auth(outside_token("t", "c"));
    let response = note.header("content-type", "text/plain").body("x").send().await.unwrap();
    assert_eq!(field(&response, "x-data-class"), "theirs", "the policy is about reading");
}

#[tokio::test]
async fn an_outside_issuer_cannot_speak_for_a_registered_client() {
    let backend = Backend::agreeable().await;
    let site = Site::plain(&[&backend]);
    write_jwks(&site.path("keys/app.jwks.json"), &[&Key::generate(Algorithm::Es256)]);
    site.write("config/tenants.yaml", "version: 1\ntenants:\n  - { id: acme, jurisdiction: GB }\n");
    site.write(
        "config/clients.yaml",
        "version: 1
clients:
  - id: registered
    tenant: acme
    scopes: [shop]
    certificate_bound_access_tokens: false
    authentication: { method: private_key_jwt, jwks_file: ../keys/app.jwks.json }
  - { id: theirs, tenant: acme, scopes: [shop], issuer: 'https://outside.test' }
  - { id: elsewhere, tenant: acme, scopes: [shop], issuer: 'https://another.test' }
",
    );
    site.write(
        "config/subscriptions.yaml",
        "version: 1
subscriptions:
  - { client: registered, product: goods, plan: open }
  - { client: theirs, product: goods, plan: open }
  - { client: elsewhere, product: goods, plan: open }
",
    );
    let gateway = site.start().await;
    assert_eq!(status(&gateway, &outside_token("acme", "theirs")).await, 200, "its registration names the issuer");
    for (name, tenant, client) in [
        ("a client of our own", "acme", "registered"),
        ("a client of another issuer", "acme", "elsewhere"),
        ("its own client, under another tenant", "farview", "theirs"),
    ] {
        let response = get(&gateway, &outside_token(tenant, client)).await;
        assert_eq!(problem(response).await, refused(401, "token-invalid"), "{name}");
    }
    // An unknown client that claims a registered tenant's name must not share that tenant's standing.
    let borrowed = status(&gateway, &outside_token("acme", "unknown")).await;
    assert!(matches!(borrowed, 200 | 401), "{borrowed}");
    assert_eq!(backend.total(), 1 + usize::from(borrowed == 200));
}

/// A server of keys that can be told what to say.
struct Jwks {
    backend: Backend,
    keys: Arc<Mutex<Vec<Value>>>,
    status: Arc<AtomicU16>,
}

impl Jwks {
    async fn start(keys: &[&Key]) -> Self {
        let keys = Arc::new(Mutex::new(keys.iter().map(|key| key.jwk.clone()).collect::<Vec<_>>()));
        let status = Arc::new(AtomicU16::new(200));
        let (said, state) = (Arc::clone(&keys), Arc::clone(&status));
        let backend = Backend::start(move |_| {
            let body = json!({ "keys": *said.lock().unwrap() }).to_string().into_bytes();
            Reply::Answer(state.load(Ordering::Relaxed), vec![("content-type", "application/json".into())], body)
        });
        Self { backend: backend.await, keys, status }
    }

    fn site(&self, backend: &Backend) -> Site {
        let site = Site::plain(&[backend]);
        let url = format!("jwks_url: {}/keys", self.backend.url());
        site.edit("config/issuers.yaml", "jwks_file: ../keys/outside.jwks.json", &url);
        site
    }
}

fn token_by(key: &Key) -> String {
    key.jwt("at+jwt", &outside_claims("acme", "app"))
}

#[tokio::test]
async fn keys_behind_a_url_are_fetched_once_and_follow_a_rotation() {
    let (old, new) = (Key::generate(Algorithm::Es256), Key::generate(Algorithm::EdDsa));
    let jwks = Jwks::start(&[&old]).await;
    let backend = Backend::agreeable().await;
    let gateway = jwks.site(&backend).start().await;
    let token = token_by(&old);
    let first: Vec<u16> = futures_util::future::join_all((0..8).map(|_| status(&gateway, &token))).await;
    assert_eq!(first, [200; 8]);
    assert_eq!(jwks.backend.total(), 1, "one fetch for all that wait for it");

    // The issuer rotates: tokens of the new key come at once, from many callers.
    *jwks.keys.lock().unwrap() = vec![new.jwk.clone(), old.jwk.clone()];
    let renewed = token_by(&new);
    let after: Vec<u16> = futures_util::future::join_all((0..8).map(|_| status(&gateway, &renewed))).await;
    assert_eq!(after, [200; 8], "no caller suffers from the rotation");
    assert_eq!(jwks.backend.total(), 2, "one fetch for all that brought the new key");
    assert_eq!(status(&gateway, &token).await, 200, "old tokens stay good");
}

#[tokio::test]
async fn made_up_key_ids_do_not_cause_a_storm() {
    let key = Key::generate(Algorithm::Es256);
    let jwks = Jwks::start(&[&key]).await;
    let backend = Backend::agreeable().await;
    let gateway = jwks.site(&backend).start().await;
    assert_eq!(status(&gateway, &token_by(&key)).await, 200);
    let attacker = Key::generate(Algorithm::Es256);
    for n in 0..20 {
        let header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": format!("made-up-{n}") });
        let status = status(&gateway, &attacker.sign(&header, &outside_claims("acme", "app"))).await;
        assert_eq!(status, 401);
    }
    assert_eq!(jwks.backend.total(), 2, "one fetch for all made-up ids, beside the first");
    assert_eq!(status(&gateway, &token_by(&key)).await, 200);
}

#[tokio::test]
async fn keys_at_hand_serve_on_while_their_server_is_down() {
    let key = Key::generate(Algorithm::Es256);
    let jwks = Jwks::start(&[&key]).await;
    let backend = Backend::agreeable().await;
    let gateway = jwks.site(&backend).start().await;
    assert_eq!(status(&gateway, &token_by(&key)).await, 200);
    jwks.status.store(500, Ordering::Relaxed);
    assert_eq!(status(&gateway, &token_by(&key)).await, 200);
    jwks.backend.stop().await;
    assert_eq!(status(&gateway, &token_by(&key)).await, 200);
}

#[tokio::test]
async fn no_keys_at_all_are_our_fault_not_the_callers() {
    let key = Key::generate(Algorithm::Es256);
    let jwks = Jwks::start(&[&key]).await;
    let backend = Backend::agreeable().await;
    let site = jwks.site(&backend);
    jwks.backend.stop().await;
    let gateway = site.start().await;
    for _ in 0..3 {
        let response = get(&gateway, &token_by(&key)).await;
        assert!(field(&response, "www-authenticate").is_empty());
        assert_eq!(problem(response).await, refused(503, "unavailable"), "never a 401");
    }
    let other = outside_key().jwt("at+jwt", &with(outside_claims("a", "b"), json!({ "iss": "https://nobody.test" })));
    assert_eq!(status(&gateway, &other).await, 401, "an issuer that nobody trusts is the caller's fault all the same");
    assert_eq!(backend.total(), 0);
    assert_ne!(OUTSIDE, GATEWAY);
}

#[tokio::test]
async fn a_key_that_left_the_set_does_not_verify_after_a_reload() {
    let backend = Backend::agreeable().await;
    let site = Site::plain(&[&backend]);
    let (old, new) = (Key::generate(Algorithm::Es256), Key::generate(Algorithm::Ps256));
    write_jwks(&site.path("keys/outside.jwks.json"), &[&old]);
    let gateway = site.start().await;
    let token = token_by(&old);
    assert_eq!(status(&gateway, &token).await, 200, "and it is remembered now");
    write_jwks(&site.path("keys/outside.jwks.json"), &[&new]);
    gateway.reload().await;
    assert_eq!(status(&gateway, &token).await, 401, "a remembered token falls with its key");
    assert_eq!(status(&gateway, &token_by(&new)).await, 200);
}
