//! Tokens that are bound to a key, over TLS, from an outside issuer: the negative matrix of the FAPI 2.0 conformance
//! suite at the resource (RFC 9449 §4.3, §7), nonces (§9) and step-up (RFC 9470).

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clearway::jose::{Algorithm, sha256};
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::harness::certificates::{client_identity, http};
use crate::harness::token::{Key, now, outside_claims, outside_key, unique, with};
use crate::harness::{Backend, Gateway, Reply, Site, field, problem, refused};

const ITEMS: &str = "/shop/items";

fn site(backend: &Backend) -> Site {
    let site = Site::secure(backend);
    site.write(
        "config/issuers.yaml",
        "version: 1
issuers:
  - issuer: https://outside.test
    jwks_file: ../keys/outside.jwks.json
    audiences: [https://localhost]
    tenant_claim: tenant
    unknown_partners: { product: goods, plan: open, environment: sandbox, jurisdiction: GB }
",
    );
    site.append(
        "config/clients.yaml",
        "  - { id: theirs, tenant: acme, scopes: [shop, vault], issuer: 'https://outside.test' }\n",
    );
    site.append("config/subscriptions.yaml", "  - { client: theirs, product: valuables, plan: open }\n");
    site
}

/// RFC 7638.
fn thumbprint(key: &Key) -> String {
    let names: &[&str] = match key.algorithm {
        Algorithm::Es256 => &["crv", "kty", "x", "y"],
        Algorithm::EdDsa => &["crv", "kty", "x"],
        Algorithm::Ps256 | Algorithm::Rs256 => &["e", "kty", "n"],
    };
    let members: BTreeMap<&str, &Value> = names.iter().map(|name| (*name, &key.jwk[*name])).collect();
    URL_SAFE_NO_PAD.encode(sha256(serde_json::to_string(&members).unwrap().as_bytes()))
}

/// A token of the outside issuer that is bound to `key`.
fn bound_to(key: &Key, changes: Value) -> String {
    let claims = with(outside_claims("partner", "app"), json!({ "cnf": { "jkt": thumbprint(key) } }));
    outside_key().jwt("at+jwt", &with(claims, changes))
}

fn proof_claims(token: &str, method: &str, url: &str) -> Value {
    json!({ "jti": unique(), "htm": method, "htu": url, "iat": now(), "ath": URL_SAFE_NO_PAD.encode(sha256(token.as_bytes())) })
}

fn proof_header(key: &Key) -> Value {
    json!({ "typ": "dpop+jwt", "alg": key.algorithm.as_str(), "jwk": key.jwk })
}

/// A proof for a GET of the items, with changes to its header and claims.
fn proof(key: &Key, token: &str, header: Value, claims: Value) -> String {
    let good = proof_claims(token, "GET", &format!("https://localhost{ITEMS}"));
    key.sign(&with(proof_header(key), header), &with(good, claims))
}

fn good(key: &Key, token: &str) -> String {
    proof(key, token, json!({}), json!({}))
}

async fn get(gateway: &Gateway, authorization: &str, proofs: &[&str]) -> Response {
    let mut request = http(None).get(gateway.https("public", ITEMS)).header("authorization", authorization);
    for proof in proofs {
        request = request.header("DPoP", *proof);
    }
    request.send().await.unwrap()
}

fn challenges(response: &Response) -> Vec<String> {
    response.headers().get_all("www-authenticate").iter().map(|value| value.to_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_proof_of_the_right_key_passes_and_ends_at_the_gateway() {
    let backend = Backend::agreeable().await;
    let site = site(&backend);
    let gateway = site.start().await;
    for algorithm in [Algorithm::Es256, Algorithm::Ps256, Algorithm::EdDsa] {
        let key = Key::generate(algorithm);
        let token = bound_to(&key, json!({}));
        let scheme = |scheme: &str| format!("{scheme} {token}");
        for (name, authorization, proof) in [
            ("plain", scheme("DPoP"), good(&key, &token)),
            ("again with the same token", scheme("DPoP"), good(&key, &token)),
            ("the scheme in small letters", scheme("dpop"), good(&key, &token)),
            (
                "with the query",
                scheme("DPoP"),
                proof(&key, &token, json!({}), json!({ "htu": format!("https://LOCALHOST:443{ITEMS}?a=b") })),
            ),
            ("made 10 s ahead", scheme("DPoP"), proof(&key, &token, json!({}), json!({ "iat": now() + 10 }))),
            ("made 10 s ago", scheme("DPoP"), proof(&key, &token, json!({}), json!({ "iat": now() - 10 }))),
            ("with more claims", scheme("DPoP"), proof(&key, &token, json!({}), json!({ "more": true }))),
        ] {
            let response = get(&gateway, &authorization, &[&proof]).await;
            assert_eq!(response.status(), 200, "{algorithm}, {name}: {:?}", challenges(&response));
            assert!(field(&response, "dpop-nonce").is_empty(), "{name}");
        }
    }
    let seen = backend.last();
    assert_eq!((seen.field("dpop"), seen.field("authorization")), (None, None), "neither token nor proof goes further");
    assert_eq!(backend.total(), 21);
}

#[tokio::test]
async fn the_negative_matrix_of_the_conformance_suite() {
    let backend = Backend::agreeable().await;
    let site = site(&backend);
    let gateway = site.start().await;
    let (key, other) = (Key::generate(Algorithm::Es256), Key::generate(Algorithm::Es256));
    let token = bound_to(&key, json!({}));
    let authorization = format!("DPoP {token}");
    let of = |header: Value, claims: Value| proof(&key, &token, header, claims);
    let claim = |name: &str, value: Value| of(json!({}), json!({ name: value }));
    let header = |name: &str, value: Value| of(json!({ name: value }), json!({}));
    let private = with(key.jwk.clone(), json!({ "d": "AAAA" }));
    let spoilt = {
        let mut proof = good(&key, &token);
        let at = proof.rfind('.').unwrap() + 5;
        proof.replace_range(at..=at, if &proof[at..=at] == "A" { "B" } else { "A" });
        proof
    };
    let rsa = Key::generate(Algorithm::Ps256);
    for (name, proof) in [
        ("not a JWT", "proof".to_owned()),
        ("empty", String::new()),
        ("no typ", header("typ", Value::Null)),
        ("another typ", header("typ", "JWT".into())),
        ("no alg", header("alg", Value::Null)),
        ("alg none", header("alg", "none".into())),
        ("alg HS256", header("alg", "HS256".into())),
        ("RS256", proof(&rsa, &token, json!({ "alg": "RS256" }), json!({}))),
        ("no jwk", header("jwk", Value::Null)),
        ("a private jwk", header("jwk", private)),
        ("crit", header("crit", json!(["exp"]))),
        ("jku", header("jku", "https://evil.test/keys".into())),
        ("x5u", header("x5u", "https://evil.test/chain".into())),
        ("no jti", claim("jti", Value::Null)),
        ("no htm", claim("htm", Value::Null)),
        ("another htm", claim("htm", "POST".into())),
        ("no htu", claim("htu", Value::Null)),
        ("another path", claim("htu", "https://localhost/shop/notes".into())),
        ("another host", claim("htu", format!("https://evil.test{ITEMS}").into())),
        ("no iat", claim("iat", Value::Null)),
        ("iat an hour ago", claim("iat", (now() - 3600).into())),
        ("iat in an hour", claim("iat", (now() + 3600).into())),
        ("iat in 65 s", claim("iat", (now() + 65).into())),
        ("no ath", claim("ath", Value::Null)),
        ("another token's ath", claim("ath", URL_SAFE_NO_PAD.encode(sha256(b"x")).into())),
        ("a bad signature", spoilt),
        ("its own key under another's name", header("jwk", other.jwk.clone())),
        ("too long", claim("jti", "x".repeat(8 << 10).into())),
    ] {
        let response = get(&gateway, &authorization, &[&proof]).await;
        let said = challenges(&response);
        assert_eq!(problem(response).await, refused(401, "dpop-proof"), "{name}");
        let expected = said.len() == 1 && said[0].starts_with("DPoP error=\"invalid_dpop_proof\"");
        assert!(expected && said[0].contains("algs=\"ES256 PS256 EdDSA\""), "{name}: {said:?}");
    }
    for (name, proofs) in [("no proof", vec![]), ("two proofs", vec![good(&key, &token), good(&key, &token)])] {
        let proofs: Vec<&str> = proofs.iter().map(String::as_str).collect();
        let response = get(&gateway, &authorization, &proofs).await;
        assert_eq!(problem(response).await, refused(401, "dpop-proof"), "{name}");
    }
    assert_eq!(backend.total(), 0, "none of them reached the back end");
    let fresh = good(&key, &token);
    assert_eq!(get(&gateway, &authorization, &[&fresh]).await.status(), 200, "the twin of all");
    assert_eq!(problem(get(&gateway, &authorization, &[&fresh]).await).await, refused(401, "dpop-proof"), "again");
}

#[tokio::test]
async fn scheme_and_binding_must_fit() {
    let backend = Backend::agreeable().await;
    let site = site(&backend);
    let gateway = site.start().await;
    let (key, other) = (Key::generate(Algorithm::EdDsa), Key::generate(Algorithm::EdDsa));
    let bound = bound_to(&key, json!({}));
    let free = bound_to(&key, json!({ "cnf": null }));
    let certified = bound_to(&key, json!({ "cnf": { "x5t#S256": "A".repeat(43) } }));
    let twice = bound_to(&key, json!({ "cnf": { "x5t#S256": "A".repeat(43), "jkt": thumbprint(&key) } }));
    let expired = bound_to(&key, json!({ "exp": now() - 1 }));
    for (name, scheme, token, signer, code) in [
        ("bound, as bearer", "Bearer", &bound, &key, "token-binding"),
        ("bound, by another's key", "DPoP", &bound, &other, "token-binding"),
        ("free, by the DPoP scheme", "DPoP", &free, &key, "token-binding"),
        ("bound to a certificate, by the DPoP scheme", "DPoP", &certified, &key, "token-binding"),
        ("bound to both", "DPoP", &twice, &key, "token-invalid"),
        ("expired", "DPoP", &expired, &key, "token-invalid"),
        ("no token at all", "DPoP", &"x".to_owned(), &key, "token-invalid"),
    ] {
        let response = get(&gateway, &format!("{scheme} {token}"), &[&good(signer, token)]).await;
        let said = challenges(&response);
        assert_eq!(problem(response).await, refused(401, code), "{name}");
        assert!(said[0].starts_with(&format!("{scheme} error=\"invalid_token\"")), "{name}: {said:?}");
        if scheme == "Bearer" {
            assert!(said[1].starts_with("DPoP algs=\"ES256 PS256 EdDSA\"") && !said[1].contains("error"), "{said:?}");
        }
    }
    let response = http(None).get(gateway.https("public", ITEMS)).send().await.unwrap();
    let said = challenges(&response);
    assert_eq!(problem(response).await, refused(401, "token-missing"));
    assert!(said[0].starts_with("Bearer ") && said[1].starts_with("DPoP algs="), "both are offered: {said:?}");
    assert!(said.len() == 2 && said.iter().all(|challenge| !challenge.contains("error")), "RFC 6750 §3: {said:?}");
    let narrow = bound_to(&key, json!({ "scope": "other" }));
    let response = get(&gateway, &format!("DPoP {narrow}"), &[&good(&key, &narrow)]).await;
    assert!(challenges(&response)[0].starts_with("DPoP error=\"insufficient_scope\""));
    assert_eq!(problem(response).await, refused(403, "scope-missing"));
    let both = http(None).get(gateway.https("public", ITEMS)).header("authorization", format!("Bearer {free}"));
    let both = both.header("authorization", format!("DPoP {bound}")).header("dpop", good(&key, &bound)).send().await;
    assert_eq!(problem(both.unwrap()).await, refused(400, "token-in-request"));
    assert_eq!(backend.total(), 0);
    let plain = get(&gateway, &format!("Bearer {free}"), &["rubbish"]).await;
    assert_eq!(plain.status(), 200, "a proof beside a bearer token is nothing");
}

#[tokio::test]
async fn of_two_uses_at_once_exactly_one_passes() {
    let backend = Backend::agreeable().await;
    let site = site(&backend);
    let gateway = site.start().await;
    let key = Key::generate(Algorithm::Es256);
    let token = bound_to(&key, json!({}));
    let authorization = format!("DPoP {token}");
    for round in 0..10 {
        let proof = good(&key, &token);
        let proofs = [proof.as_str()];
        let uses = (0..4).map(|_| get(&gateway, &authorization, &proofs));
        let answers = futures_util::future::join_all(uses).await;
        let passed = answers.iter().filter(|answer| answer.status() == 200).count();
        assert_eq!(passed, 1, "round {round}");
    }
    assert_eq!(backend.total(), 10);
    assert!(gateway.metric("clearway_held", "what=\"dpop_proofs\"").await >= 10.0);
}

#[tokio::test]
async fn a_key_is_enough_for_a_regulated_product_on_either_listener() {
    let backend = Backend::agreeable().await;
    let site = site(&backend);
    let gateway = site.start().await;
    let key = Key::generate(Algorithm::Es256);
    let changes = json!({ "client_id": "theirs", "tenant": "acme", "scope": "vault" });
    let token = bound_to(&key, changes);
    let path = "/vault/balances";
    for (listener, client) in [("public", http(None)), ("mtls", http(Some(client_identity("acme-tls"))))] {
        let proof = key.sign(&proof_header(&key), &proof_claims(&token, "GET", &format!("https://localhost{path}")));
        let request = client.get(gateway.https(listener, path)).header("authorization", format!("DPoP {token}"));
        let response = request.header("dpop", proof).send().await.unwrap();
        assert_eq!(response.status(), 200, "{listener}: {:?}", challenges(&response));
    }
    let free = bound_to(&key, json!({ "client_id": "theirs", "tenant": "acme", "scope": "vault", "cnf": null }));
    let response = http(None).get(gateway.https("public", path)).bearer_auth(free).send().await.unwrap();
    assert_eq!(problem(response).await, refused(403, "policy-refused"));
}

/// RFC 9449 §4.3, 9 and RFC 9728 §3.3: the two listeners have two names, and neither answers to the other's.
#[tokio::test]
async fn each_listener_is_called_by_its_own_name() {
    let backend = Backend::agreeable().await;
    let site = site(&backend);
    site.edit("config/gateway.yaml", "mtls_url: https://localhost", "mtls_url: https://mtls.test");
    let gateway = site.start().await;
    let key = Key::generate(Algorithm::Es256);
    let token = bound_to(&key, json!({ "client_id": "theirs", "tenant": "acme", "scope": "vault shop" }));
    let clients = [
        ("public", http(None), "https://localhost"),
        ("mtls", http(Some(client_identity("acme-tls"))), "https://mtls.test"),
    ];
    for (listener, client, name) in &clients {
        for path in ["/vault/balances", "/usage"] {
            for (_, _, called) in &clients {
                let proof = key.sign(&proof_header(&key), &proof_claims(&token, "GET", &format!("{called}{path}")));
                let request =
                    client.get(gateway.https(listener, path)).header("authorization", format!("DPoP {token}"));
                let response = request.header("dpop", proof).send().await.unwrap();
                let expected = if called == name { 200 } else { 401 };
                assert_eq!(response.status(), expected, "{path} as {called} at {listener}");
            }
        }
        let well_known = "/.well-known/oauth-protected-resource";
        for path in ["", "/vault"] {
            let told = client.get(gateway.https(listener, &format!("{well_known}{path}"))).send().await.unwrap();
            assert_eq!(told.json::<Value>().await.unwrap()["resource"], json!(format!("{name}{path}")), "{listener}");
        }
        for path in ["/vault/balances", "/usage", "/oauth/userinfo"] {
            let refused = client.get(gateway.https(listener, path)).send().await.unwrap();
            let named = format!("resource_metadata=\"{name}{well_known}\"");
            assert!(challenges(&refused)[0].contains(&named), "{path} at {listener}: {:?}", challenges(&refused));
        }
    }
}

#[tokio::test]
async fn usage_takes_a_proof_as_operations_do() {
    let backend = Backend::agreeable().await;
    let site = site(&backend);
    let gateway = site.start().await;
    let key = Key::generate(Algorithm::Es256);
    let token = bound_to(&key, json!({}));
    let ask = async |url: &str| {
        let proof = key.sign(&proof_header(&key), &proof_claims(&token, "GET", url));
        let request =
            http(None).get(gateway.https("public", "/usage")).header("authorization", format!("DPoP {token}"));
        request.header("dpop", proof).send().await.unwrap()
    };
    assert_eq!(ask("https://localhost/usage").await.status(), 200);
    let elsewhere = ask("https://localhost/shop/items").await;
    assert_eq!(problem(elsewhere).await, refused(401, "dpop-proof"));
}

#[tokio::test]
async fn nonces_are_handed_out_and_asked_for() {
    let backend = Backend::start(|_| {
        let theirs = vec![("dpop-nonce", "theirs".into()), ("content-type", "application/json".into())];
        Reply::Answer(200, theirs, b"{}".to_vec())
    })
    .await;
    let site = site(&backend);
    site.append("config/gateway.yaml", "dpop: { resource_nonces: required }\n");
    let gateway = site.start().await;
    let key = Key::generate(Algorithm::Es256);
    let token = bound_to(&key, json!({}));
    let authorization = format!("DPoP {token}");
    let asked = get(&gateway, &authorization, &[&good(&key, &token)]).await;
    let nonce = field(&asked, "dpop-nonce").to_owned();
    assert!(challenges(&asked)[0].starts_with("DPoP error=\"use_dpop_nonce\""), "{:?}", challenges(&asked));
    assert_eq!(field(&asked, "cache-control"), "no-store");
    assert_eq!(problem(asked).await, refused(401, "dpop-nonce"));
    let with_nonce = |nonce: &str| proof(&key, &token, json!({}), json!({ "nonce": nonce }));
    let answer = get(&gateway, &authorization, &[&with_nonce(&nonce)]).await;
    assert_eq!(answer.status(), 200);
    assert_ne!(field(&answer, "dpop-nonce"), "theirs", "a back end's nonces are not ours");
    let made_up = get(&gateway, &authorization, &[&with_nonce("made-up")]).await;
    assert!(!field(&made_up, "dpop-nonce").is_empty());
    assert_eq!(problem(made_up).await, refused(401, "dpop-nonce"));
}

#[tokio::test]
async fn an_operation_can_demand_how_its_user_was_authenticated() {
    let backend = Backend::agreeable().await;
    let site = site(&backend);
    let demand = "note: { request_contract: off }\n      listItems: { step_up: { acr_values: [urn:strong, urn:best], max_age: 5m } }";
    site.edit("config/apis.yaml", "note: { request_contract: off }", demand);
    let gateway = site.start().await;
    let key = Key::generate(Algorithm::Es256);
    let ask = async |changes: Value| {
        let token = bound_to(&key, changes);
        get(&gateway, &format!("DPoP {token}"), &[&good(&key, &token)]).await
    };
    assert_eq!(ask(json!({ "acr": "urn:best", "auth_time": now() - 100 })).await.status(), 200);
    for (name, changes) in [
        ("a client's own token", json!({})),
        ("too long ago", json!({ "acr": "urn:best", "auth_time": now() - 400 })),
        ("too weak", json!({ "acr": "urn:weak", "auth_time": now() })),
        ("no time", json!({ "acr": "urn:best" })),
        ("no class", json!({ "auth_time": now() })),
        ("a class that is no text", json!({ "acr": 1, "auth_time": now() })),
    ] {
        let response = ask(changes).await;
        let said = challenges(&response);
        assert_eq!(problem(response).await, refused(401, "authentication-insufficient"), "{name}");
        let challenge = "DPoP error=\"insufficient_user_authentication\"";
        let demands = "acr_values=\"urn:strong urn:best\", max_age=\"300\"";
        assert!(said[0].starts_with(challenge) && said[0].contains(demands), "{name}: {said:?}");
    }
    let free = bound_to(&key, json!({ "cnf": null }));
    let response = get(&gateway, &format!("Bearer {free}"), &[]).await;
    assert!(challenges(&response)[0].starts_with("Bearer error=\"insufficient_user_authentication\""));
    assert_eq!(backend.total(), 1);
    let other = http(None).request(Method::GET, gateway.https("public", "/shop/items/1"));
    assert_eq!(other.bearer_auth(free).send().await.unwrap().status(), 200, "another operation asks for less");
}
