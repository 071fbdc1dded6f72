//! The authorization server over real TLS: every way to authenticate, and every way to fail at it.

use clearway::jose::Algorithm;
use clearway::sandbox::pki::Identity;
use serde_json::{Value, json};

use crate::harness::certificates::{client_identity, http, pki};
use crate::harness::secure::{
    JWT_BEARER, bearer, client_key, encode, form, self_signed, token_by_assertion, token_by_certificate, token_of,
};
use crate::harness::token::{GATEWAY, Key, assertion, claims, header, hmac_confusion, now, signing_input, unique};
use crate::harness::wire::Wire;
use crate::harness::{Backend, Gateway, Site, field, json as read_json, problem, refused, run};

async fn rig() -> (Backend, Site, Gateway) {
    let backend = Backend::agreeable().await;
    let site = Site::secure(&backend);
    let gateway = site.start().await;
    (backend, site, gateway)
}

/// Status of a call with a token, over a listener, with a certificate or none.
async fn call(
    gateway: &Gateway,
    listener: &str,
    identity: Option<&Identity>,
    path: &str,
    token: &str,
) -> reqwest::Response {
    http(identity).get(gateway.https(listener, path)).bearer_auth(token).send().await.unwrap()
}

#[tokio::test]
async fn every_method_of_client_authentication_yields_a_token_that_works() {
    let (_backend, _site, gateway) = rig().await;
    let token = bearer(&gateway).await;
    assert_eq!(call(&gateway, "public", None, "/shop/items", &token).await.status(), 200, "private_key_jwt");
    for (id, identity) in [
        ("acme-tls", client_identity("acme-tls")),
        ("acme-second", client_identity("acme-second")),
        ("acme-uri", client_identity("acme-uri")),
        ("acme-self", self_signed()),
    ] {
        let (status, body) = token_by_certificate(&gateway, id, identity).await;
        assert_eq!(status, 200, "{id}: {body}");
        assert_eq!(body["token_type"], "Bearer", "{id}");
        assert!(body["expires_in"].as_i64().unwrap() > 0, "{id}");
        let token = body["access_token"].as_str().unwrap();
        let bound = claims(token)["cnf"]["x5t#S256"].as_str().map(str::len);
        assert_eq!(bound, Some(43), "{id}: RFC 8705 §3.1");
        let response = call(&gateway, "mtls", Some(identity), "/shop/items", token).await;
        assert_eq!(response.status(), 200, "{id}");
    }
}

#[tokio::test]
async fn a_token_is_what_rfc_9068_says() {
    let (_backend, _site, gateway) = rig().await;
    let token = token_of(&gateway, "acme-tls").await;
    let (head, said) = (header(&token), claims(&token));
    assert_eq!((&head["typ"], &head["alg"]), (&json!("at+jwt"), &json!("ES256")));
    assert_eq!((&said["iss"], &said["aud"]), (&json!(GATEWAY), &json!(GATEWAY)));
    assert_eq!(
        (&said["client_id"], &said["sub"], &said["tenant"]),
        (&json!("acme-tls"), &json!("acme-tls"), &json!("acme"))
    );
    let mut scopes: Vec<&str> = said["scope"].as_str().unwrap().split(' ').collect();
    scopes.sort_unstable();
    assert_eq!(scopes, ["shop", "vault"]);
    assert!(said["exp"].as_i64().unwrap() - said["iat"].as_i64().unwrap() <= 600);
    assert_ne!(said["jti"], claims(&token_of(&gateway, "acme-tls").await)["jti"]);
}

#[tokio::test]
async fn scopes_are_narrowed_and_never_widened() {
    let (_backend, _site, gateway) = rig().await;
    let identity = client_identity("acme-tls");
    let ask = async |scope: &str| {
        let fields = [("grant_type", "client_credentials"), ("client_id", "acme-tls"), ("scope", scope)];
        read_json(form(&gateway, "mtls", &http(Some(identity)), "/oauth/token", &fields).await).await
    };
    let (status, body) = ask("shop").await;
    assert_eq!((status, &body["scope"]), (200, &json!("shop")));
    let narrow = body["access_token"].as_str().unwrap();
    let vault = call(&gateway, "mtls", Some(identity), "/vault/balances", narrow).await;
    assert_eq!(problem(vault).await, refused(403, "scope-missing"));
    for scope in ["shop admin", "everything", "sh\"op"] {
        let (status, body) = ask(scope).await;
        assert_eq!((status, &body["error"]), (400, &json!("invalid_scope")), "{scope}");
    }
}

#[tokio::test]
async fn an_assertion_must_be_right_in_every_point() {
    let (_backend, _site, gateway) = rig().await;
    let key = client_key();
    let stranger = Key::generate(Algorithm::Es256);
    let good = || claims(&assertion(key, "acme-jwt", json!({})));
    let changed = |changes: Value| assertion(key, "acme-jwt", changes);
    let (status, _) = token_by_assertion(&gateway, &changed(json!({}))).await;
    assert_eq!(status, 200, "the twin of all that follow");
    for (name, assertion) in [
        ("the token endpoint as audience", changed(json!({ "aud": format!("{GATEWAY}/oauth/token") }))),
        ("an array as audience (FAPI 2.0 §5.3.2.1-8)", changed(json!({ "aud": [GATEWAY] }))),
        ("another audience", changed(json!({ "aud": "https://other.test" }))),
        ("no audience", changed(json!({ "aud": null }))),
        ("expired", changed(json!({ "exp": now() - 1 }))),
        ("no expiry", changed(json!({ "exp": null }))),
        ("good for too long", changed(json!({ "exp": now() + 86_400 }))),
        ("issued in the future", changed(json!({ "iat": now() + 600 }))),
        ("not valid yet", changed(json!({ "nbf": now() + 600 }))),
        ("no jti", changed(json!({ "jti": null }))),
        ("an endless jti", changed(json!({ "jti": "x".repeat(300) }))),
        ("two names", changed(json!({ "iss": "acme-bound" }))),
        ("an unknown client", assertion(key, "nobody", json!({}))),
        ("a client of another method", assertion(key, "acme-tls", json!({}))),
        ("a stranger's key", assertion(&stranger, "acme-jwt", json!({}))),
        (
            "a stranger's key under a known kid",
            stranger.sign(&json!({ "alg": "ES256", "typ": "JWT", "kid": key.kid() }), &good()),
        ),
        ("alg none", format!("{}.", signing_input(&json!({ "alg": "none" }), &good()))),
        ("HMAC with the public key", hmac_confusion(key, &good())),
        ("typ of an access token", key.jwt("at+jwt", &good())),
        ("crit", key.sign(&json!({ "alg": "ES256", "kid": key.kid(), "crit": ["x"], "x": 1 }), &good())),
        ("not a JWT", "x.y".to_owned()),
    ] {
        let (status, body) = token_by_assertion(&gateway, &assertion).await;
        assert_eq!((status, &body["error"]), (401, &json!("invalid_client")), "{name}: {body}");
        assert!(body.get("access_token").is_none(), "{name}");
    }
}

#[tokio::test]
async fn refusals_do_not_tell_which_clients_exist() {
    let (_backend, _site, gateway) = rig().await;
    let (_, known) =
        token_by_assertion(&gateway, &assertion(&Key::generate(Algorithm::Es256), "acme-jwt", json!({}))).await;
    let (_, unknown) =
        token_by_assertion(&gateway, &assertion(&Key::generate(Algorithm::Es256), "nobody", json!({}))).await;
    assert_eq!(known, unknown);
}

#[tokio::test]
async fn an_assertion_is_used_once_even_by_two_at_once_and_across_a_kill() {
    let (_backend, site, gateway) = rig().await;
    let once = assertion(client_key(), "acme-jwt", json!({}));
    assert_eq!(token_by_assertion(&gateway, &once).await.0, 200);
    assert_eq!(token_by_assertion(&gateway, &once).await.0, 401, "replayed");

    let contended = assertion(client_key(), "acme-jwt", json!({}));
    let all = futures_util::future::join_all((0..8).map(|_| token_by_assertion(&gateway, &contended))).await;
    let won = all.iter().filter(|(status, _)| *status == 200).count();
    assert_eq!(won, 1, "{all:?}");

    // Two clients may choose the same jti: it is each one's own.
    let jti = unique();
    for client in ["acme-jwt", "acme-bound"] {
        let fields = [("grant_type", "client_credentials"), ("client_assertion_type", JWT_BEARER)];
        let assertion = assertion(client_key(), client, json!({ "jti": jti }));
        let fields = [&fields[..], &[("client_assertion", assertion.as_str())]].concat();
        let identity = client_identity("acme-tls"); // A bound token needs some certificate to be bound to.
        let response = form(&gateway, "mtls", &http(Some(identity)), "/oauth/token", &fields).await;
        assert_eq!(response.status(), 200, "{client}");
    }

    let held = async |gateway: &Gateway| gateway.metric("clearway_held", "what=\"client_assertions\"").await;
    assert_eq!(held(&gateway).await, 4.0);
    gateway.kill();
    let gateway = site.start().await;
    assert_eq!(held(&gateway).await, 4.0);
    assert_eq!(token_by_assertion(&gateway, &once).await.0, 401, "a kill forgets no replay mark");
    assert_eq!(token_by_assertion(&gateway, &contended).await.0, 401);
}

#[tokio::test]
async fn requests_to_the_token_endpoint_are_held_to_the_letter() {
    let (_backend, _site, gateway) = rig().await;
    let client = http(None);
    let good = || assertion(client_key(), "acme-jwt", json!({}));
    let typed = ("client_assertion_type", JWT_BEARER);
    for (name, fields, status, error) in [
        ("no grant type", vec![typed], 400, "invalid_request"),
        ("another grant type", vec![("grant_type", "password"), typed], 400, "unsupported_grant_type"),
        (
            "a grant type twice",
            vec![("grant_type", "client_credentials"), ("grant_type", "client_credentials"), typed],
            400,
            "invalid_request",
        ),
        (
            "another resource",
            vec![("grant_type", "client_credentials"), ("resource", "https://other.test"), typed],
            400,
            "invalid_target",
        ),
        (
            "another type of assertion",
            vec![("grant_type", "client_credentials"), ("client_assertion_type", "saml")],
            401,
            "invalid_client",
        ),
        (
            "a secret as well",
            vec![("grant_type", "client_credentials"), ("client_secret", "x"), typed],
            400,
            "invalid_request",
        ),
        (
            "another client's name",
            vec![("grant_type", "client_credentials"), ("client_id", "acme-tls"), typed],
            401,
            "invalid_client",
        ),
    ] {
        let assertion = good();
        let fields = [&fields[..], &[("client_assertion", assertion.as_str())]].concat();
        let (got, body) = read_json(form(&gateway, "public", &client, "/oauth/token", &fields).await).await;
        assert_eq!((got, &body["error"]), (status, &json!(error)), "{name}: {body}");
    }
    let url = gateway.https("public", "/oauth/token");
    let basic = client.post(&url).basic_auth("acme-jwt", Some("x"));
    let basic = basic.header("content-type", "application/x-www-form-urlencoded").body("grant_type=client_credentials");
    let basic = basic.send().await.unwrap();
    assert_eq!(basic.status(), 401);
    assert!(field(&basic, "www-authenticate").starts_with("Basic"), "RFC 6749 §5.2");
    let fields = [("grant_type", "client_credentials"), typed, ("client_assertion", &good())];
    let as_json =
        client.post(&url).header("content-type", "application/json").body(encode(&fields)).send().await.unwrap();
    assert!(as_json.status().is_client_error());
    assert_eq!(client.get(&url).send().await.unwrap().status(), 405, "RFC 6749 §3.2");
    let huge = client
        .post(&url)
        .header("content-type", "application/x-www-form-urlencoded")
        .body("a=".to_owned() + &"x".repeat(300_000));
    assert_eq!(huge.send().await.unwrap().status(), 413);
    let answered = form(
        &gateway,
        "public",
        &client,
        "/oauth/token",
        &[&fields[..2], &[("client_assertion", good().as_str())]].concat(),
    )
    .await;
    assert_eq!((field(&answered, "cache-control"), answered.status().as_u16()), ("no-store", 200));
}

#[tokio::test]
async fn certificates_must_be_the_right_ones() {
    let (_backend, _site, gateway) = rig().await;
    for (name, client_id, identity) in [
        ("another client's certificate", "acme-tls", client_identity("acme-second")),
        ("another tenant's", "farview-tls", client_identity("acme-tls")),
        ("of no client", "acme-tls", client_identity("stranger")),
        ("a self-signed one for a CA's client", "acme-tls", self_signed()),
        ("a CA's for a self-signed client", "acme-self", client_identity("acme-tls")),
        ("of a client that signs assertions", "acme-jwt", client_identity("acme-tls")),
        ("of a CA that nobody trusts", "acme-tls", &pki().untrusted_client),
    ] {
        let (status, body) = token_by_certificate(&gateway, client_id, identity).await;
        assert_eq!((status, &body["error"]), (401, &json!("invalid_client")), "{name}: {body}");
    }
    // Without a certificate there is nothing to prove oneself with on the public listener…
    let fields = [("grant_type", "client_credentials"), ("client_id", "acme-tls")];
    let (status, body) = read_json(form(&gateway, "public", &http(None), "/oauth/token", &fields).await).await;
    assert_eq!((status, &body["error"]), (401, &json!("invalid_client")), "{body}");
    // …and the mutual-TLS listener does not even speak HTTP.
    let bare = http(None).get(gateway.https("mtls", "/openapi.json")).send().await;
    assert!(bare.is_err(), "{bare:?}");
    // A certificate past its time is refused while shaking hands.
    let expired = http(Some(&pki().expired_client)).get(gateway.https("mtls", "/openapi.json")).send().await;
    assert!(expired.is_err(), "{expired:?}");
}

#[tokio::test]
async fn a_bound_token_is_good_with_its_certificate_only() {
    let (backend, _site, gateway) = rig().await;
    let token = token_of(&gateway, "acme-tls").await;
    for path in ["/shop/items", "/vault/balances", "/usage"] {
        for (name, listener, identity) in [
            ("another client's certificate", "mtls", Some(client_identity("acme-second"))),
            ("no certificate", "public", None),
        ] {
            let response = call(&gateway, listener, identity, path, &token).await;
            assert_eq!(problem(response).await, refused(401, "token-binding"), "{path} with {name}");
        }
        let untrusted = call(&gateway, "mtls", Some(&pki().untrusted_client), path, &token).await;
        assert_eq!(problem(untrusted).await, refused(401, "certificate-untrusted"), "{path}");
    }
    assert_eq!(backend.total(), 0);
    assert_eq!(
        call(&gateway, "mtls", Some(client_identity("acme-tls")), "/vault/balances", &token).await.status(),
        200
    );
}

#[tokio::test]
async fn a_client_of_a_removed_ca_is_out_with_its_next_request_on_the_same_connection() {
    let (backend, site, gateway) = rig().await;
    let token = token_of(&gateway, "acme-tls").await;
    let mut wire = Wire::tls(gateway.address("mtls"), Some(client_identity("acme-tls"))).await.unwrap();
    let get = format!("GET /shop/items HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n");
    assert_eq!(wire.ask(&get).await.status, 200);
    // Another CA takes the place of the one that vouched for the client.
    let other = Identity { certificate: pki().untrusted_ca.clone(), key: pki().untrusted_ca.clone() };
    site.edit(
        "config/gateway.yaml",
        pki().partner_ca.certificate.to_str().unwrap(),
        other.certificate.to_str().unwrap(),
    );
    gateway.reload().await;
    let answer = wire.ask(&get).await;
    assert_eq!((answer.status, answer.code()), (401, "certificate-untrusted".to_owned()));
    assert_eq!(backend.total(), 1);
    let (status, body) = token_by_certificate(&gateway, "acme-tls", client_identity("acme-tls")).await;
    assert_eq!((status, &body["error"]), (401, &json!("invalid_client")), "nor does it get a token");
    let (status, _) = token_by_certificate(&gateway, "acme-self", self_signed()).await;
    assert_eq!(status, 200, "a registered self-signed certificate needs no CA");
}

/// The header was let in; what counts is whether its sender may still send when the body has come.
#[tokio::test]
async fn a_body_that_is_held_back_does_not_outlive_its_token() {
    let (backend, _site, gateway) = rig().await;
    let (revoked, kept) = (token_of(&gateway, "acme-tls").await, token_of(&gateway, "acme-tls").await);
    let identity = client_identity("acme-tls");
    let body = r#"{"name":"tea","quantity":1}"#;
    let mut held = Vec::new();
    for token in [&revoked, &kept] {
        let mut wire = Wire::tls(gateway.address("mtls"), Some(identity)).await.unwrap();
        // `100 Continue` says that the header was admitted and the body is being read.
        let answer = wire
            .ask(format!(
                "POST /shop/items HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
                 Content-Type: application/json\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
                body.len()
            ))
            .await;
        assert_eq!(answer.status, 100);
        held.push(wire);
    }
    let fields = [("client_id", "acme-tls"), ("token", revoked.as_str())];
    assert_eq!(form(&gateway, "mtls", &http(Some(identity)), "/oauth/revoke", &fields).await.status(), 200);
    let before = backend.total();
    for (wire, expected) in held.iter_mut().zip([401, 200]) {
        assert_eq!(wire.ask(body).await.status, expected);
    }
    assert_eq!(backend.total(), before + 1, "the other one alone");
}

#[tokio::test]
async fn a_revoked_token_is_refused_from_the_next_request_on_and_after_a_kill() {
    let (backend, site, gateway) = rig().await;
    let identity = client_identity("acme-tls");
    let (revoked, kept) = (token_of(&gateway, "acme-tls").await, token_of(&gateway, "acme-tls").await);
    for token in [&revoked, &kept] {
        assert_eq!(call(&gateway, "mtls", Some(identity), "/shop/items", token).await.status(), 200);
    }
    let revoke = async |client: &'static str, token: &str| {
        let fields = [("client_id", client), ("token", token)];
        form(&gateway, "mtls", &http(Some(client_identity(client))), "/oauth/revoke", &fields).await
    };
    let theirs = revoke("acme-second", &revoked).await;
    assert_eq!(theirs.status(), 400, "another client cannot revoke it");
    assert_eq!(call(&gateway, "mtls", Some(identity), "/shop/items", &revoked).await.status(), 200);
    assert_eq!(revoke("acme-tls", &revoked).await.status(), 200);
    let response = call(&gateway, "mtls", Some(identity), "/shop/items", &revoked).await;
    assert_eq!(problem(response).await, refused(401, "token-invalid"));
    assert_eq!(call(&gateway, "mtls", Some(identity), "/shop/items", &kept).await.status(), 200, "only that one");
    for token in [&revoked, "made-up"] {
        assert_eq!(revoke("acme-tls", token).await.status(), 200, "RFC 7009 §2.2");
    }
    assert_eq!(backend.total(), 4);

    gateway.kill();
    let gateway = site.start().await;
    let response = call(&gateway, "mtls", Some(identity), "/shop/items", &revoked).await;
    assert_eq!(problem(response).await, refused(401, "token-invalid"), "a kill forgets no revocation");
    let response = call(&gateway, "mtls", Some(identity), "/shop/items", &kept).await;
    assert_eq!(response.status(), 200, "and no key: the other token is good still");
}

#[tokio::test]
async fn introspection_tells_each_what_it_may_know() {
    let (_backend, _site, gateway) = rig().await;
    let token = token_of(&gateway, "acme-tls").await;
    let ask = async |client: &'static str, token: &str| {
        let fields = [("client_id", client), ("token", token)];
        let response = form(&gateway, "mtls", &http(Some(client_identity(client))), "/oauth/introspect", &fields).await;
        read_json(response).await
    };
    for client in ["acme-resources", "acme-tls"] {
        let (status, said) = ask(client, &token).await;
        assert_eq!((status, &said["active"]), (200, &json!(true)), "{client}");
        assert_eq!((&said["client_id"], &said["tenant"]), (&json!("acme-tls"), &json!("acme")));
        assert_eq!(said["cnf"]["x5t#S256"], claims(&token)["cnf"]["x5t#S256"]);
        assert_eq!(said["exp"], claims(&token)["exp"]);
    }
    for (name, client, token) in [
        ("another client's token", "acme-second", token.as_str()),
        ("no token", "acme-resources", "made-up"),
        ("a token of another key", "acme-resources", &client_key().jwt("at+jwt", &claims(&token))),
    ] {
        assert_eq!(ask(client, token).await, (200, json!({ "active": false })), "{name}");
    }
    let nobody = form(&gateway, "public", &http(None), "/oauth/introspect", &[("token", &token)]).await;
    assert_eq!(nobody.status(), 401);
}

#[tokio::test]
async fn keys_rotate_by_command_while_the_gateway_runs() {
    let (_backend, site, gateway) = rig().await;
    let identity = client_identity("acme-tls");
    let old = token_of(&gateway, "acme-tls").await;
    let config = site.config();
    let output = run(&["keys", "rotate", "--at-once", "--json", "--config", config.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    let keys: Value = serde_json::from_slice(&output.stdout).unwrap();
    let signing = keys["keys"].as_array().unwrap().iter().find(|key| key["state"] == "current").cloned();
    let signing = signing.unwrap_or_else(|| panic!("{keys}"))["kid"].clone();
    assert_ne!(signing, header(&old)["kid"]);
    // The gateway looks at its keys every few seconds: until then the old one signs, and each token is good.
    let followed = async {
        loop {
            let token = token_of(&gateway, "acme-tls").await;
            assert_eq!(call(&gateway, "mtls", Some(identity), "/shop/items", &token).await.status(), 200);
            if header(&token)["kid"] == signing {
                return token;
            }
        }
    };
    let new = crate::harness::within("the new key to sign", followed).await;
    for token in [&old, &new] {
        assert_eq!(call(&gateway, "mtls", Some(identity), "/shop/items", token).await.status(), 200);
    }
    let (_, jwks) = read_json(http(None).get(gateway.https("public", "/oauth/jwks")).send().await.unwrap()).await;
    let published: Vec<&Value> = jwks["keys"].as_array().unwrap().iter().map(|key| &key["kid"]).collect();
    for token in [&old, &new] {
        assert!(published.contains(&&header(token)["kid"]), "both verify from outside: {jwks}");
    }
    assert!(jwks["keys"].as_array().unwrap().iter().all(|key| key.get("d").is_none()), "no private part");
    let listed = run(&["keys", "list", "--config", config.to_str().unwrap()]);
    assert!(String::from_utf8_lossy(&listed.stdout).contains(signing.as_str().unwrap()), "{listed:?}");
}

#[tokio::test]
async fn the_metadata_is_true() {
    let backend = Backend::agreeable().await;
    let site = Site::secure(&backend);
    // Published addresses that are real ones.
    let (public, mtls) = (free_port(0), free_port(1));
    let text = site.read("config/gateway.yaml");
    let text = text.replacen("address: 127.0.0.1:0", &format!("address: 127.0.0.1:{public}"), 1);
    let text = text.replacen("address: 127.0.0.1:0", &format!("address: 127.0.0.1:{mtls}"), 1);
    let text = text.replace("mtls_url: https://localhost", &format!("mtls_url: https://localhost:{mtls}"));
    let text = text.replacen("public_url: https://localhost", &format!("public_url: https://localhost:{public}"), 1);
    site.write("config/gateway.yaml", &text);
    let gateway = site.start().await;
    let issuer = format!("https://localhost:{public}");
    let client = http(None);
    let read = async |url: String| read_json(client.get(url).send().await.unwrap()).await;
    let (status, metadata) = read(format!("{issuer}/.well-known/oauth-authorization-server")).await;
    assert_eq!((status, &metadata["issuer"]), (200, &json!(issuer)));
    assert_eq!(read(format!("{issuer}/.well-known/openid-configuration")).await.1, metadata);
    let (status, jwks) = read(metadata["jwks_uri"].as_str().unwrap().to_owned()).await;
    assert_eq!(status, 200);
    assert!(!jwks["keys"].as_array().unwrap().is_empty());

    // The endpoints that it names answer, and only with the methods that it names.
    let methods = &metadata["token_endpoint_auth_methods_supported"];
    assert_eq!(methods, &json!(["private_key_jwt", "tls_client_auth", "self_signed_tls_client_auth"]));
    let alias = metadata["mtls_endpoint_aliases"]["token_endpoint"].as_str().unwrap();
    let asked = http(Some(client_identity("acme-tls"))).post(alias);
    let asked = asked.header("content-type", "application/x-www-form-urlencoded");
    let (status, token) =
        read_json(asked.body("grant_type=client_credentials&client_id=acme-tls").send().await.unwrap()).await;
    assert_eq!(status, 200, "{token}");
    assert_eq!(claims(token["access_token"].as_str().unwrap())["iss"], json!(issuer));
    for algorithm in metadata["token_endpoint_auth_signing_alg_values_supported"].as_array().unwrap() {
        let algorithm = [Algorithm::Es256, Algorithm::Ps256, Algorithm::EdDsa]
            .into_iter()
            .find(|known| known.as_str() == algorithm)
            .unwrap_or_else(|| panic!("{algorithm}"));
        let key = Key::generate(algorithm);
        crate::harness::token::write_jwks(&site.path("keys/acme-jwt.jwks.json"), &[&key]);
        gateway.reload().await;
        let assertion = assertion(&key, "acme-jwt", json!({ "aud": issuer }));
        let fields = encode(&[
            ("grant_type", "client_credentials"),
            ("client_assertion_type", JWT_BEARER),
            ("client_assertion", &assertion),
        ]);
        let post = client.post(metadata["token_endpoint"].as_str().unwrap());
        let post = post.header("content-type", "application/x-www-form-urlencoded").body(fields);
        assert_eq!(post.send().await.unwrap().status(), 200, "{algorithm:?}");
    }
    for endpoint in ["revocation_endpoint", "introspection_endpoint"] {
        let unauthenticated = client.post(metadata[endpoint].as_str().unwrap()).body("").send().await.unwrap();
        assert!(matches!(unauthenticated.status().as_u16(), 400 | 401), "{endpoint}: {}", unauthenticated.status());
    }
    let grants: Vec<&str> =
        metadata["grant_types_supported"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    for grant in ["authorization_code", "refresh_token", "client_credentials"] {
        assert!(grants.contains(&grant), "{grants:?}");
    }
    assert_eq!(metadata["authorization_endpoint"], json!(format!("{issuer}/oauth/authorize")));

    let (status, resource) = read(format!("{issuer}/.well-known/oauth-protected-resource")).await;
    assert_eq!((status, &resource["resource"]), (200, &json!(issuer)));
    assert_eq!(resource["authorization_servers"], json!([issuer]));
    assert_eq!(resource["bearer_methods_supported"], json!(["header"]));
    let mut scopes: Vec<&str> =
        resource["scopes_supported"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    scopes.sort_unstable();
    assert_eq!(scopes, ["shop", "vault"], "what operations demand");
    let refused = client.get(format!("{issuer}/shop/items")).send().await.unwrap();
    let named = format!("resource_metadata=\"{issuer}/.well-known/oauth-protected-resource\"");
    assert!(field(&refused, "www-authenticate").contains(&named), "{}", field(&refused, "www-authenticate"));
}

#[tokio::test]
async fn a_suspended_partner_is_out_at_once() {
    for (file, active, suspended) in [
        ("config/tenants.yaml", "id: acme, ", "id: acme, status: suspended, "),
        ("config/clients.yaml", "id: acme-tls\n", "id: acme-tls\n    status: suspended\n"),
    ] {
        let (backend, site, gateway) = rig().await;
        let identity = client_identity("acme-tls");
        let token = token_of(&gateway, "acme-tls").await;
        for path in ["/shop/items", "/usage"] {
            assert_eq!(call(&gateway, "mtls", Some(identity), path, &token).await.status(), 200, "{path}");
        }
        site.edit(file, active, suspended);
        gateway.reload().await;
        let response = call(&gateway, "mtls", Some(identity), "/shop/items", &token).await;
        assert!(matches!(response.status().as_u16(), 401 | 403), "{}", response.status());
        let usage = call(&gateway, "mtls", Some(identity), "/usage", &token).await;
        assert!(field(&usage, "www-authenticate").contains("invalid_token"), "{file}");
        assert_eq!(problem(usage).await, refused(401, "token-invalid"), "{file}: its own figures neither");
        let (status, body) = token_by_certificate(&gateway, "acme-tls", identity).await;
        assert_eq!((status, &body["error"]), (401, &json!("invalid_client")));
        assert_eq!(backend.total(), 1);
    }
}

#[tokio::test]
async fn guessing_is_stopped_by_the_flood_guard() {
    let backend = Backend::agreeable().await;
    let site = Site::secure(&backend);
    site.edit("config/gateway.yaml", "failures_max: 1000000", "failures_max: 5");
    let gateway = site.start().await;
    let mut statuses = Vec::new();
    for _ in 0..8 {
        let wrong = assertion(&Key::generate(Algorithm::Es256), "acme-jwt", json!({}));
        let fields =
            [("grant_type", "client_credentials"), ("client_assertion_type", JWT_BEARER), ("client_assertion", &wrong)];
        let response = form(&gateway, "public", &http(None), "/oauth/token", &fields).await;
        if response.status() == 429 {
            assert!(field(&response, "retry-after").parse::<u64>().unwrap() > 0);
        }
        statuses.push(response.status().as_u16());
    }
    assert_eq!(statuses[..5], [401; 5]);
    assert_eq!(statuses[6..], [429; 2], "{statuses:?}");
}

/// OpenID Connect Discovery §3: a client refuses answers in an algorithm that is not listed.
#[tokio::test]
async fn metadata_lists_what_signs_after_the_algorithm_was_changed() {
    let (_backend, site, gateway) = rig().await;
    gateway.stop().await;
    site.append("config/gateway.yaml", "tokens: { signing_algorithm: PS256 }\n");
    let gateway = site.start().await;
    let read =
        async |path: &str| read_json(http(None).get(gateway.https("public", path)).send().await.unwrap()).await.1;
    let metadata = read("/.well-known/openid-configuration").await;
    let used = header(&bearer(&gateway).await)["alg"].clone();
    for list in ["id_token", "authorization", "introspection"] {
        let listed = metadata[format!("{list}_signing_alg_values_supported")].as_array().unwrap();
        assert!(listed.contains(&used) && listed.contains(&json!("PS256")), "{list}: {listed:?}, and {used} signs");
        for key in read("/oauth/jwks").await["keys"].as_array().unwrap() {
            assert!(listed.contains(&key["alg"]), "{list}: {listed:?}, and a key is for {}", key["alg"]);
        }
    }
}

fn free_port(nth: u16) -> u16 {
    let start = 25_000 + u16::try_from(std::process::id() % 2_000).unwrap() * 2 + nth;
    let mut candidates = (start..32_000).step_by(2);
    candidates.find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}
