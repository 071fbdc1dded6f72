//! Introspection and revocation.

use super::*;

async fn issue(world: &World, client: &str, jti: &str) -> String {
    world.token_of(&world.assertion(client, jti), &[]).await.unwrap().body.access_token
}

/// Asks as the resource server `rs`.
async fn introspect(world: &World, token: &str) -> Result<Value, OAuthError> {
    let connection = connection(Some(certificate(8, ChainTrust::Unverified)));
    ask(world, &[("client_id", "rs"), ("token", token)], &connection).await
}

async fn ask(world: &World, parameters: &[(&str, &str)], connection: &Connection) -> Result<Value, OAuthError> {
    let (headers, body) = (form_headers(), encode(parameters));
    let answer = world.server.introspect(Request { headers: &headers, body: body.as_bytes(), connection }).await?;
    let Introspected::Plain(body) = answer.body else { panic!("nobody asked for a signed answer") };
    Ok(serde_json::to_value(body).unwrap())
}

async fn revoke(world: &World, client: &str, jti: &str, more: &[(&str, &str)]) -> Result<(), OAuthError> {
    let assertion = world.assertion(client, jti);
    let mut parameters = with_assertion(&assertion);
    parameters.extend(more);
    let (headers, body, connection) = (form_headers(), encode(&parameters), connection(None));
    world.server.revoke(Request { headers: &headers, body: body.as_bytes(), connection: &connection }).await.map(drop)
}

#[tokio::test]
async fn a_resource_server_learns_what_the_token_says() {
    let world = world().await;
    let token = issue(&world, "jwt", "a").await;
    let (_, claims) = read(&world, &token);
    assert_eq!(
        introspect(&world, &token).await.unwrap(),
        json!({
            "active": true, "scope": "accounts payments", "client_id": "jwt", "tenant": "acme", "token_type": "Bearer",
            "exp": NOW + 300, "iat": NOW, "sub": "jwt", "aud": RESOURCE, "iss": ISSUER, "jti": claims["jti"],
        })
    );
    let parameters = [("grant_type", "client_credentials"), ("client_id", "self")];
    let connection = connection(Some(certificate(7, ChainTrust::Unverified)));
    let bound = world.post_token(&parameters, &connection).await.unwrap().body.access_token;
    let answer = introspect(&world, &bound).await.unwrap();
    assert_eq!(answer["cnf"], json!({ "x5t#S256": Thumbprint([7; 32]).to_string() }));
}

#[tokio::test]
async fn what_is_not_in_force_is_inactive_and_nothing_else() {
    let world = world().await;
    let token = issue(&world, "jwt", "a").await;
    let revoked = issue(&world, "jwt", "b").await;
    revoke(&world, "jwt", "c", &[("token", &revoked)]).await.unwrap();
    let current = world.server.parts.keys.current();
    let of = |claims: Value| current.sign("at+jwt", &claims).unwrap();
    let (_, claims) = read(&world, &token);
    let with = |name: &str, value: &str| {
        let mut claims = claims.clone();
        claims[name] = value.into();
        of(claims)
    };
    let inactive = json!({ "active": false });
    for (name, token) in [
        ("garbage", "abc".to_owned()),
        ("cut off", token[..token.len() - 2].to_owned()),
        ("revoked", revoked),
        ("another audience", with("aud", "https://other.example")),
        ("another issuer", with("iss", "https://other.example")),
        ("a client that is gone", with("client_id", "nobody")),
        ("a suspended client", with("client_id", "idle")),
        ("a suspended tenant", with("client_id", "stopped")),
        ("another kind of JWT", current.sign("JWT", &claims).unwrap()),
        ("an assertion", world.assertion("jwt", "d")),
    ] {
        assert_eq!(introspect(&world, &token).await.unwrap(), inactive, "{name}");
    }
    assert_eq!(introspect(&world, &token).await.unwrap()["active"], true);
    world.clock.set(NOW + 300);
    assert_eq!(introspect(&world, &token).await.unwrap(), inactive, "expired");
}

#[tokio::test]
async fn who_is_no_resource_server_may_ask_about_its_own_tokens_only() {
    let world = world().await;
    let own = issue(&world, "jwt", "a").await;
    let other = {
        let connection = connection(Some(certificate(7, ChainTrust::Unverified)));
        let parameters = [("grant_type", "client_credentials"), ("client_id", "self")];
        world.post_token(&parameters, &connection).await.unwrap().body.access_token
    };
    for (name, token, active) in [("own", &own, true), ("another's", &other, false)] {
        let assertion = world.assertion("jwt", name);
        let mut parameters = with_assertion(&assertion);
        parameters.push(("token", token));
        let answer = ask(&world, &parameters, &connection(None)).await.unwrap();
        assert_eq!(answer["active"], active, "{name}");
        assert_eq!(answer.as_object().unwrap().len() > 1, active, "{name}");
    }
    let error = ask(&world, &[("token", &own)], &connection(None)).await.unwrap_err();
    assert_eq!((error.code(), error.status().as_u16()), ("invalid_client", 401), "nobody");
    let connection = connection(Some(certificate(8, ChainTrust::Unverified)));
    let error = ask(&world, &[("client_id", "rs")], &connection).await.unwrap_err();
    assert_eq!(error.code(), "invalid_request", "no token");
}

#[tokio::test]
async fn a_revoked_token_is_refused_on_the_next_request() {
    let world = world().await;
    let token = issue(&world, "jwt", "a").await;
    let kept = issue(&world, "jwt", "b").await;
    let now = world.clock.now();
    let gateway = |token: String| {
        let world = &world;
        async move { world.authenticator.authenticate(&token, &connection(None), now).await }
    };
    assert!(gateway(token.clone()).await.is_ok());
    revoke(&world, "jwt", "c", &[("token", &token), ("token_type_hint", "refresh_token")]).await.unwrap();
    assert!(matches!(gateway(token.clone()).await, Err(crate::authn::AuthnError::Revoked)));
    assert!(gateway(kept).await.is_ok(), "another token of the client");
    revoke(&world, "jwt", "d", &[("token", &token)]).await.unwrap();

    // A restart forgets nothing: the durable store fills the next index.
    let index = Revocations::new();
    load_revocations(&*world.memory, &index).await.unwrap();
    let (_, claims) = read(&world, &token);
    assert!(index.contains(claims["jti"].as_str().unwrap()));
    purge_revocations(&*world.memory, &index, Timestamp::from_secs(NOW + 301)).await.unwrap();
    assert!(index.is_empty() && world.memory.revoked.lock().unwrap().is_empty(), "and keeps nothing for ever");
}

#[tokio::test]
async fn revocation_tells_tokens_apart_by_their_owner_only() {
    let world = world().await;
    let token = issue(&world, "jwt", "a").await;
    let foreign = {
        let (_, mut claims) = read(&world, &token);
        claims["client_id"] = "self".into();
        world.server.parts.keys.current().sign("at+jwt", &claims).unwrap()
    };
    let expired = {
        let (_, mut claims) = read(&world, &token);
        claims["exp"] = (NOW - 1).into();
        world.server.parts.keys.current().sign("at+jwt", &claims).unwrap()
    };
    for (name, more, code) in [
        ("garbage", vec![("token", "abc")], None),
        ("expired", vec![("token", expired.as_str())], None),
        ("another client's", vec![("token", foreign.as_str())], Some("invalid_grant")),
        ("none", vec![], Some("invalid_request")),
        ("its own", vec![("token", token.as_str()), ("token_type_hint", "unknown")], None),
        ("its own again", vec![("token", token.as_str())], None),
    ] {
        let outcome = revoke(&world, "jwt", name, &more).await;
        assert_eq!(outcome.err().map(|error| error.code()), code, "{name}");
    }
    assert_eq!(world.memory.revoked.lock().unwrap().len(), 1, "only what was live and its own is stored");
}

#[tokio::test]
async fn no_200_before_the_revocation_is_durable() {
    let world = world().await;
    let token = {
        let connection = connection(Some(certificate(7, ChainTrust::Unverified)));
        let parameters = [("grant_type", "client_credentials"), ("client_id", "self")];
        world.post_token(&parameters, &connection).await.unwrap().body.access_token
    };
    world.memory.broken.store(true, Ordering::SeqCst);
    let (headers, connection) = (form_headers(), connection(Some(certificate(7, ChainTrust::Unverified))));
    let body = encode(&[("client_id", "self"), ("token", &token)]);
    let request = Request { headers: &headers, body: body.as_bytes(), connection: &connection };
    let error = world.server.revoke(request).await.map(drop).unwrap_err();
    assert_eq!((error.code(), error.status().as_u16()), ("temporarily_unavailable", 503));
    let outcome = world.authenticator.authenticate(&token, &connection, world.clock.now()).await;
    assert!(matches!(outcome, Err(crate::authn::AuthnError::Revoked)), "in force here all the same");
    world.memory.broken.store(false, Ordering::SeqCst);
    assert!(world.server.revoke(request).await.is_ok(), "asked again");
    assert_eq!(world.memory.revoked.lock().unwrap().len(), 1);
}

/// Asks as `rs`, with this `Accept` field.
async fn ask_signed(world: &World, accept: &str, client: &str, token: &str) -> Result<Introspected, OAuthError> {
    let mut headers = form_headers();
    headers.insert(http::header::ACCEPT, accept.parse().unwrap());
    let body = encode(&[("client_id", client), ("token", token)]);
    let connection = connection(Some(certificate(8, ChainTrust::Unverified)));
    let request = Request { headers: &headers, body: body.as_bytes(), connection: &connection };
    Ok(world.server.introspect(request).await?.body)
}

/// RFC 9701 §4, §5.
#[tokio::test]
async fn a_signed_answer_is_for_who_asked_and_no_token() {
    let world = world().await;
    let token = issue(&world, "jwt", "a").await;
    for (name, token, active) in [("in force", token.as_str(), true), ("garbage", "a.b.c", false)] {
        let answer = ask_signed(&world, "application/token-introspection+jwt", "rs", token).await.unwrap();
        let Introspected::Signed(jwt) = answer else { panic!("{name}: not signed") };
        let (header, _) = read(&world, &jwt);
        assert_eq!(header.typ.as_deref(), Some("token-introspection+jwt"), "{name}");
        let claims = payload(&jwt);
        let names: Vec<_> = claims.as_object().unwrap().keys().cloned().collect();
        assert_eq!(names, ["iss", "aud", "iat", "token_introspection"], "{name}: no sub, no exp");
        assert_eq!((&claims["iss"], &claims["aud"], &claims["iat"]), (&json!(ISSUER), &json!("rs"), &json!(NOW)));
        let said = &claims["token_introspection"];
        assert_eq!((&said["active"], said.as_object().unwrap().len() == 1), (&json!(active), !active), "{name}");
        let passed = world.authenticator.authenticate(&jwt, &connection(None), world.clock.now()).await;
        assert!(passed.is_err(), "{name}: it is no access token");
    }
    for (accept, signed) in [
        ("application/json", false),
        ("*/*", false),
        ("application/token-introspection+jwt;q=0, application/json", false),
        ("application/json;q=0.4, Application/Token-Introspection+JWT;q=0.5", true),
        ("application/json, application/token-introspection+jwt;q=0.5", false),
    ] {
        let answer = ask_signed(&world, accept, "rs", &token).await.unwrap();
        assert_eq!(matches!(answer, Introspected::Signed(_)), signed, "{accept}");
    }
    for (accept, status) in [("application/token-introspection+jwt", 400), ("application/json", 401)] {
        let error = ask_signed(&world, accept, "nobody", &token).await.unwrap_err();
        assert_eq!((error.code(), error.status().as_u16()), ("invalid_client", status), "RFC 9701 §5: {accept}");
    }
}

pub(super) fn payload(jwt: &str) -> Value {
    use base64::Engine;
    let part = jwt.split('.').nth(1).unwrap();
    serde_json::from_slice(&base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}
