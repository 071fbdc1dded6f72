//! `private_key_jwt`: each check and its negative twins.

use super::*;

/// The claims of a good assertion with one changed; null removes it.
fn with(world: &World, name: &str, value: Value) -> Value {
    let mut claims = world.assertion_claims("jwt", "j");
    match value {
        Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
        value => claims[name] = value,
    }
    claims
}

type Expectation = fn(&ClientAuthenticationError) -> bool;

fn assert_failed(name: &str, outcome: Result<Answer<TokenResponse>, OAuthError>, expected: Expectation) {
    match outcome.map(drop) {
        Err(OAuthError::InvalidClient(cause)) => assert!(expected(&cause), "{name}: {cause:?}"),
        other => panic!("{name}: {other:?}"),
    }
}

#[tokio::test]
async fn each_algorithm_of_a_client_is_accepted() {
    let world = world().await;
    for algorithm in [Algorithm::Ps256, Algorithm::Es256, Algorithm::EdDsa] {
        let (key, _) = SigningKey::generate(algorithm).unwrap();
        let mut registry = Registry::default();
        let keys = ClientKeys::inline(&json!({ "keys": [key.public_jwk()] })).unwrap();
        let id = ClientId::parse("jwt").unwrap();
        let registration = registration(&id, ClientAuthentication::PrivateKeyJwt, keys);
        let id = registration.client_id.clone();
        registry.0.insert(id, (Arc::new(client("jwt", "acme")), Arc::new(registration)));
        let parts = Parts { clients: Arc::new(registry), ..world.server.parts.clone() };
        let server = AuthorizationServer::new(settings(), parts).unwrap();
        let assertion = key.sign("JWT", &world.assertion_claims("jwt", algorithm.as_str())).unwrap();
        let mut parameters = with_assertion(&assertion);
        parameters.push(("grant_type", "client_credentials"));
        let (headers, body, connection) = (form_headers(), encode(&parameters), connection(None));
        let request = Request { headers: &headers, body: body.as_bytes(), connection: &connection };
        assert!(server.token(request).await.is_ok(), "{algorithm}");
    }
}

#[tokio::test]
async fn each_claim_is_checked() {
    use ClientAuthenticationError as Failure;
    let world = world().await;
    let cases: Vec<(&str, Value, Option<Expectation>)> = vec![
        ("as it should be", with(&world, "x", json!(1)), None),
        ("no iat", with(&world, "iat", Value::Null), None),
        ("iat at the skew", with(&world, "iat", json!(NOW + 30)), None),
        ("nbf ten seconds ahead", with(&world, "nbf", json!(NOW + 10)), None),
        ("exp at the longest", with(&world, "exp", json!(NOW + 600)), None),
        ("exp at the longest by a clock at the skew", with(&world, "exp", json!(NOW + 630)), None),
        ("exp next second", with(&world, "exp", json!(NOW + 1)), None),
        ("another issuer", with(&world, "iss", json!("bound")), Some(|e| matches!(e, Failure::Subject))),
        ("no issuer", with(&world, "iss", Value::Null), Some(|e| matches!(e, Failure::Subject))),
        ("another subject", with(&world, "sub", json!("bound")), Some(|e| matches!(e, Failure::Subject))),
        ("no subject", with(&world, "sub", Value::Null), Some(|e| matches!(e, Failure::Subject))),
        ("subject a list", with(&world, "sub", json!(["jwt"])), Some(|e| matches!(e, Failure::Subject))),
        ("no audience", with(&world, "aud", Value::Null), Some(|e| matches!(e, Failure::Audience))),
        ("audience a list of one", with(&world, "aud", json!([ISSUER])), Some(|e| matches!(e, Failure::Audience))),
        (
            "the token endpoint as audience",
            with(&world, "aud", json!(format!("{ISSUER}/oauth/token"))),
            Some(|e| matches!(e, Failure::Audience)),
        ),
        (
            "issuer with a slash",
            with(&world, "aud", json!("https://as.example/")),
            Some(|e| matches!(e, Failure::Audience)),
        ),
        ("the resource as audience", with(&world, "aud", json!(RESOURCE)), Some(|e| matches!(e, Failure::Audience))),
        ("another server", with(&world, "aud", json!("https://x.example")), Some(|e| matches!(e, Failure::Audience))),
        ("expired now", with(&world, "exp", json!(NOW)), Some(|e| matches!(e, Failure::Expired))),
        ("expired", with(&world, "exp", json!(NOW - 300)), Some(|e| matches!(e, Failure::Expired))),
        ("no expiry", with(&world, "exp", Value::Null), Some(|e| matches!(e, Failure::Claim(_)))),
        ("expiry a text", with(&world, "exp", json!("1")), Some(|e| matches!(e, Failure::Claim(_)))),
        ("living too long", with(&world, "exp", json!(NOW + 631)), Some(|e| matches!(e, Failure::Lifetime))),
        ("living for ever", with(&world, "exp", json!(253_402_300_799_i64)), Some(|e| matches!(e, Failure::Lifetime))),
        ("iat beyond the skew", with(&world, "iat", json!(NOW + 31)), Some(|e| matches!(e, Failure::NotYetValid))),
        ("nbf beyond the skew", with(&world, "nbf", json!(NOW + 65)), Some(|e| matches!(e, Failure::NotYetValid))),
        ("iat a text", with(&world, "iat", json!("now")), Some(|e| matches!(e, Failure::Claim(_)))),
        ("no jti", with(&world, "jti", Value::Null), Some(|e| matches!(e, Failure::Claim(_)))),
        ("jti empty", with(&world, "jti", json!("")), Some(|e| matches!(e, Failure::Claim(_)))),
        ("jti a number", with(&world, "jti", json!(1)), Some(|e| matches!(e, Failure::Claim(_)))),
        ("jti too long", with(&world, "jti", json!("j".repeat(257))), Some(|e| matches!(e, Failure::Jti))),
    ];
    for (name, claims, expected) in cases {
        world.memory.marks.lock().unwrap().clear();
        let assertion = world.key.sign("JWT", &claims).unwrap();
        let outcome = world.token_of(&assertion, &[]).await;
        match expected {
            None => assert!(outcome.is_ok(), "{name}: {:?}", outcome.map(drop)),
            Some(expected) => {
                assert_failed(name, outcome, expected);
                assert!(world.memory.marks.lock().unwrap().is_empty(), "{name}: leaves no mark");
            }
        }
    }
}

#[tokio::test]
async fn each_forgery_is_refused() {
    use ClientAuthenticationError as Failure;
    let world = world().await;
    let (stranger, _) = SigningKey::generate(Algorithm::Es256).unwrap();
    let kid = world.key.kid();
    let payload = world.assertion_claims("jwt", "j").to_string();
    let raw = |header: Value| world.key.sign_raw(&header.to_string(), &payload);
    let good = world.assertion("jwt", "j");
    let cases: Vec<(&str, String, Expectation)> = vec![
        ("another's key", stranger.sign("JWT", &world.assertion_claims("jwt", "j")).unwrap(), |e| {
            matches!(e, Failure::Signature(_))
        }),
        (
            "another's key under the kid",
            stranger.sign_raw(&json!({ "alg": "ES256", "kid": kid }).to_string(), &payload),
            |e| matches!(e, Failure::Signature(_)),
        ),
        (
            "its own key",
            stranger.sign_raw(&json!({ "alg": "ES256", "jwk": stranger.public_jwk() }).to_string(), &payload),
            |e| matches!(e, Failure::Malformed(_)),
        ),
        ("a place of keys", raw(json!({ "alg": "ES256", "kid": kid, "jku": "https://evil.example" })), |e| {
            matches!(e, Failure::Malformed(_))
        }),
        ("alg none", raw(json!({ "alg": "none" })), |e| matches!(e, Failure::Malformed(_))),
        ("alg HMAC", raw(json!({ "alg": "HS256", "kid": kid })), |e| matches!(e, Failure::Malformed(_))),
        ("alg RS256", raw(json!({ "alg": "RS256", "kid": kid })), |e| matches!(e, Failure::Algorithm)),
        ("alg of another key", raw(json!({ "alg": "EdDSA", "kid": kid })), |e| matches!(e, Failure::Signature(_))),
        ("an access token", raw(json!({ "alg": "ES256", "kid": kid, "typ": "at+jwt" })), |e| matches!(e, Failure::Typ)),
        ("a DPoP proof", raw(json!({ "alg": "ES256", "kid": kid, "typ": "dpop+jwt" })), |e| matches!(e, Failure::Typ)),
        ("signature cut off", format!("{}.", good.rsplit_once('.').unwrap().0), |e| matches!(e, Failure::Signature(_))),
        ("not a JWT", "abc".into(), |e| matches!(e, Failure::Malformed(_))),
        ("too long", "a".repeat(17_000), |e| matches!(e, Failure::Malformed(_))),
        ("an unknown client", world.assertion("nobody", "j"), |e| matches!(e, Failure::UnknownClient)),
        ("no client id at all", world.assertion("a b", "j"), |e| matches!(e, Failure::UnknownClient)),
        ("a client of certificates", world.assertion("self", "j"), |e| matches!(e, Failure::OtherMethod)),
        ("a suspended client", world.assertion("idle", "j"), |e| matches!(e, Failure::Suspended)),
        ("a client of a suspended tenant", world.assertion("stopped", "j"), |e| matches!(e, Failure::Suspended)),
    ];
    for (name, assertion, expected) in cases {
        assert_failed(name, world.token_of(&assertion, &[]).await, expected);
    }
    for (name, header) in [
        ("no typ", json!({ "alg": "ES256", "kid": kid })),
        ("no kid", json!({ "alg": "ES256" })),
        ("the new typ of RFC 10070", json!({ "alg": "ES256", "kid": kid, "typ": "client-authentication+jwt" })),
    ] {
        world.memory.marks.lock().unwrap().clear();
        assert!(world.token_of(&raw(header), &[]).await.is_ok(), "{name}");
    }
}

#[tokio::test]
async fn one_of_our_access_tokens_is_no_assertion() {
    let world = world().await;
    let mut claims = world.assertion_claims("jwt", "j");
    claims["aud"] = json!(ISSUER);
    let token = world.server.parts.keys.current().sign("at+jwt", &claims).unwrap();
    assert_failed("our own key", world.token_of(&token, &[]).await, |e| matches!(e, ClientAuthenticationError::Typ));
}

#[tokio::test]
async fn an_assertion_is_good_once() {
    let world = world().await;
    let assertion = world.assertion("jwt", "once");
    assert!(world.token_of(&assertion, &[]).await.is_ok());
    let replayed: Expectation = |e| matches!(e, ClientAuthenticationError::Replayed);
    assert_failed("again", world.token_of(&assertion, &[]).await, replayed);
    let renewed = world.key.sign("JWT", &with(&world, "jti", json!("once"))).unwrap();
    assert_failed("signed anew under the same jti", world.token_of(&renewed, &[]).await, replayed);
    assert!(world.token_of(&world.assertion("bound", "once"), &[]).await.is_err(), "no certificate");
    let other_client = world.memory.marks.lock().unwrap().contains(&("bound".into(), "once".into()));
    assert!(other_client, "another client may use the same jti");
    assert!(world.token_of(&world.assertion("jwt", "twice"), &[]).await.is_ok());
}

#[tokio::test]
async fn of_two_simultaneous_uses_one_wins() {
    let world = world().await;
    let assertion = world.assertion("jwt", "race");
    let (first, second) = tokio::join!(world.token_of(&assertion, &[]), world.token_of(&assertion, &[]));
    assert_ne!(first.is_ok(), second.is_ok());
}

#[tokio::test]
async fn a_lost_store_is_our_fault() {
    let world = world().await;
    world.memory.broken.store(true, Ordering::SeqCst);
    let error = world.token_of(&world.assertion("jwt", "a"), &[]).await.map(drop).unwrap_err();
    assert_eq!((error.code(), error.status().as_u16()), ("temporarily_unavailable", 503));
    // Who proves nothing learns nothing of it.
    let (stranger, _) = SigningKey::generate(Algorithm::Es256).unwrap();
    let forged = stranger.sign("JWT", &world.assertion_claims("jwt", "a")).unwrap();
    assert_eq!(world.token_of(&forged, &[]).await.map(drop).unwrap_err().code(), "invalid_client");
}

#[tokio::test]
async fn exactly_one_method_is_used() {
    use ClientAuthenticationError as Failure;
    let world = world().await;
    let assertion = world.assertion("jwt", "j");
    let grant = ("grant_type", "client_credentials");
    let typed = ("client_assertion_type", JWT_BEARER);
    let signed = ("client_assertion", assertion.as_str());
    let saml = ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:saml2-bearer");
    let secret = ("client_secret", "s3cret");
    let named = ("client_id", "jwt");
    for (name, parameters, code) in [
        ("assertion and secret", vec![grant, typed, signed, secret], "invalid_request"),
        ("assertion without type", vec![grant, signed], "invalid_request"),
        ("type without assertion", vec![grant, typed, named], "invalid_request"),
        ("SAML", vec![grant, saml, signed], "invalid_client"),
        ("secret", vec![grant, named, secret], "invalid_client"),
        ("name only", vec![grant, named], "invalid_client"),
        ("nothing", vec![grant], "invalid_client"),
        ("another name", vec![grant, typed, signed, ("client_id", "bound")], "invalid_client"),
    ] {
        let error = world.post_token(&parameters, &connection(None)).await.map(drop).expect_err(name);
        assert_eq!(error.code(), code, "{name}");
    }
    assert!(world.post_token(&[grant, typed, signed, named], &connection(None)).await.is_ok(), "its own name");

    // A certificate beside the assertion is no second method, but it is none for this client either.
    let trusted = || connection(Some(certificate(7, ChainTrust::Trusted)));
    let outcome = world.post_token(&[grant, named], &trusted()).await;
    assert_failed("certificate only", outcome, |e| matches!(e, Failure::OtherMethod));
    let assertion = world.assertion("jwt", "k");
    let signed = ("client_assertion", assertion.as_str());
    assert!(world.post_token(&[grant, typed, signed], &trusted()).await.is_ok());

    // The Authorization field.
    let body = encode(&[grant, named]);
    for (name, field, also, code, challenge) in [
        ("Basic", "Basic and0OnM=", false, "invalid_client", Some(r#"Basic realm="oauth""#)),
        ("another scheme", "Bearer abc", false, "invalid_client", None),
        ("Basic and assertion", "Basic and0OnM=", true, "invalid_request", None),
    ] {
        let assertion = world.assertion("jwt", name);
        let body = if also { format!("{body}&{}", encode(&with_assertion(&assertion))) } else { body.clone() };
        let mut headers = form_headers();
        headers.insert(http::header::AUTHORIZATION, HeaderValue::from_static(field));
        let connection = connection(None);
        let request = Request { headers: &headers, body: body.as_bytes(), connection: &connection };
        let error = world.server.token(request).await.map(drop).expect_err(name);
        assert_eq!((error.code(), error.challenge()), (code, challenge), "{name}");
    }
}

#[tokio::test]
async fn every_failed_client_looks_the_same() {
    let world = world().await;
    let (stranger, _) = SigningKey::generate(Algorithm::Es256).unwrap();
    let looks = |error: OAuthError| (error.status(), error.code(), error.description(), error.challenge());
    let mut seen = Vec::new();
    for assertion in [
        world.assertion("nobody", "j"),
        stranger.sign("JWT", &world.assertion_claims("jwt", "j")).unwrap(),
        world.assertion("idle", "j"),
        world.assertion("self", "j"),
    ] {
        seen.push(looks(world.token_of(&assertion, &[]).await.map(drop).unwrap_err()));
    }
    seen.dedup();
    assert_eq!(seen.len(), 1);
}
