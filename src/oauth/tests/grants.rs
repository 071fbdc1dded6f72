//! The token endpoint: what is granted, to whom, bound to what.

use super::*;

#[tokio::test]
async fn client_credentials_become_an_rfc_9068_token() {
    let world = world().await;
    let answer = world.token_of(&world.assertion("jwt", "a"), &[("scope", "accounts")]).await.unwrap();
    assert_eq!(answer.client.id.as_str(), "jwt");
    let body = serde_json::to_value(&answer.body).unwrap();
    assert_eq!(
        (&body["token_type"], &body["expires_in"], &body["scope"]),
        (&json!("Bearer"), &json!(300), &json!("accounts"))
    );
    assert!(body.get("refresh_token").is_none(), "RFC 6749 §4.4.3");
    let (header, claims) = read(&world, &answer.body.access_token);
    assert_eq!(header.typ.as_deref(), Some("at+jwt"));
    assert_eq!(header.kid.as_deref(), Some(world.server.parts.keys.current().kid()));
    assert_eq!(
        claims,
        json!({
            "iss": ISSUER, "sub": "jwt", "aud": RESOURCE, "client_id": "jwt", "tenant": "acme",
            "iat": NOW, "exp": NOW + 300, "jti": claims["jti"], "scope": "accounts",
        })
    );
    assert_eq!(claims["jti"].as_str().unwrap().len(), 22, "128 bits");
    let again = world.token_of(&world.assertion("jwt", "b"), &[]).await.unwrap();
    assert_ne!(read(&world, &again.body.access_token).1["jti"], claims["jti"]);
    assert!(!format!("{:?}", answer.body).contains(&answer.body.access_token), "no token in a log");
}

#[tokio::test]
async fn the_gateway_admits_what_the_server_issued() {
    let world = world().await;
    let answer = world.token_of(&world.assertion("jwt", "a"), &[]).await.unwrap();
    let token = world.authenticator.authenticate(&answer.body.access_token, &connection(None), world.clock.now()).await;
    let token = token.unwrap();
    assert_eq!((token.client_id.as_str(), token.scopes.to_string().as_str()), ("jwt", "accounts payments"));
}

#[tokio::test]
async fn the_request_is_judged_after_the_client() {
    let world = world().await;
    for (position, (name, more, code)) in [
        ("password", vec![("grant_type", "password"), ("username", "u"), ("password", "p")], "unsupported_grant_type"),
        ("a code, unregistered", vec![("grant_type", "authorization_code")], "unauthorized_client"),
        ("a refresh token, unregistered", vec![("grant_type", "refresh_token")], "unauthorized_client"),
        ("in capitals", vec![("grant_type", "CLIENT_CREDENTIALS")], "unsupported_grant_type"),
        ("none", vec![], "invalid_request"),
        ("empty", vec![("grant_type", "")], "invalid_request"),
        ("a scope beyond", vec![("grant_type", "client_credentials"), ("scope", "accounts admin")], "invalid_scope"),
        ("a scope in capitals", vec![("grant_type", "client_credentials"), ("scope", "ACCOUNTS")], "invalid_scope"),
        ("a malformed scope", vec![("grant_type", "client_credentials"), ("scope", "a\"b")], "invalid_scope"),
        (
            "another resource",
            vec![("grant_type", "client_credentials"), ("resource", "https://other.example")],
            "invalid_target",
        ),
        (
            "ours and another",
            vec![("grant_type", "client_credentials"), ("resource", RESOURCE), ("resource", "https://other.example")],
            "invalid_target",
        ),
        (
            "ours with a fragment",
            vec![("grant_type", "client_credentials"), ("resource", "https://api.example#a")],
            "invalid_target",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let assertion = world.assertion("jwt", &position.to_string());
        let mut parameters = with_assertion(&assertion);
        parameters.extend(&more);
        let error = world.post_token(&parameters, &connection(None)).await.map(drop).expect_err(name);
        assert_eq!((error.code(), error.status().as_u16()), (code, 400), "{name}");
        let error = world.post_token(&more, &connection(None)).await.map(drop).expect_err(name);
        assert_eq!(error.code(), "invalid_client", "{name}, unauthenticated: nothing else is said");
    }
}

#[tokio::test]
async fn scopes_are_those_asked_for_or_all() {
    let world = world().await;
    for (name, more, granted) in [
        ("none asked", vec![], "accounts payments"),
        ("empty", vec![("scope", "")], "accounts payments"),
        ("one", vec![("scope", "payments")], "payments"),
        ("in another order", vec![("scope", "payments accounts")], "accounts payments"),
        ("with the resource", vec![("scope", "accounts"), ("resource", RESOURCE)], "accounts"),
        ("with its other name", vec![("scope", "accounts"), ("resource", MTLS)], "accounts"),
        ("with a slash", vec![("scope", "accounts"), ("resource", "https://api.example/")], "accounts"),
        (
            "with the resource twice",
            vec![("scope", "accounts"), ("resource", RESOURCE), ("resource", RESOURCE)],
            "accounts",
        ),
        ("with an unknown parameter", vec![("scope", "accounts"), ("foo", "bar")], "accounts"),
    ] {
        let answer = world.token_of(&world.assertion("jwt", name), &more).await.unwrap();
        assert_eq!(answer.body.scope.as_deref(), Some(granted), "{name}");
        assert_eq!(read(&world, &answer.body.access_token).1["scope"], granted, "{name}");
    }
}

#[tokio::test]
async fn a_client_of_bound_tokens_gets_no_other() {
    let world = world().await;
    let request = |assertion: String, certificate: Option<PeerCertificate>| {
        let world = &world;
        async move {
            let mut parameters = with_assertion(&assertion);
            parameters.push(("grant_type", "client_credentials"));
            world.post_token(&parameters, &connection(certificate)).await
        }
    };
    // By assertion: whatever certificate of a trusted chain the connection has binds (RFC 8705 §3).
    let answer = request(world.assertion("bound", "a"), Some(certificate(3, ChainTrust::Trusted))).await.unwrap();
    let (_, claims) = read(&world, &answer.body.access_token);
    assert_eq!(claims["cnf"], json!({ "x5t#S256": Thumbprint([3; 32]).to_string() }));
    assert_eq!(answer.body.token_type, "Bearer", "RFC 8705 §3");
    let now = world.clock.now();
    let token = &answer.body.access_token;
    for (name, certificate, good) in [
        ("its own", Some(certificate(3, ChainTrust::Unverified)), true),
        ("another", Some(certificate(4, ChainTrust::Trusted)), false),
        ("none", None, false),
    ] {
        let outcome = world.authenticator.authenticate(token, &connection(certificate), now).await;
        assert_eq!(outcome.is_ok(), good, "{name}");
    }
    let dead = request(world.assertion("bound", "d"), Some(certificate(3, ChainTrust::Unverified))).await;
    let error = dead.map(drop).unwrap_err();
    assert_eq!(error.code(), "invalid_request", "one that no resource would take");
    let error = request(world.assertion("bound", "b"), None).await.map(drop).unwrap_err();
    assert_eq!((error.code(), error.status().as_u16()), ("invalid_request", 400), "no certificate");

    // A client that is not so registered gets an unbound token, also over mutual TLS.
    let answer = request(world.assertion("jwt", "c"), Some(certificate(3, ChainTrust::Trusted))).await.unwrap();
    assert_eq!(read(&world, &answer.body.access_token).1.get("cnf"), None);
}

#[tokio::test]
async fn a_body_that_is_no_form_is_refused_before_the_client_is_looked_at() {
    let world = world().await;
    let connection = connection(None);
    let mut json_headers = HeaderMap::new();
    json_headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, headers, body, code, status) in [
        ("JSON", json_headers, b"{}".to_vec(), "invalid_request", 400),
        ("no content type", HeaderMap::new(), b"a=b".to_vec(), "invalid_request", 400),
        ("a parameter twice", form_headers(), b"scope=a&scope=b".to_vec(), "invalid_request", 400),
        ("too large", form_headers(), vec![b'a'; FORM_BYTES_MAX + 1], "invalid_request", 413),
    ] {
        let request = Request { headers: &headers, body: &body, connection: &connection };
        let error = world.server.token(request).await.map(drop).expect_err(name);
        assert_eq!((error.code(), error.status().as_u16()), (code, status), "{name}");
    }
}

#[tokio::test]
async fn settings_that_cannot_be_true_are_refused() {
    let world = world().await;
    let parts = || world.server.parts.clone();
    let with = |change: fn(&mut Settings)| {
        let mut settings = settings();
        change(&mut settings);
        AuthorizationServer::new(settings, parts()).map(drop)
    };
    for (name, change, good) in [
        ("as they are", (|_| ()) as fn(&mut Settings), true),
        ("a path", |s| s.issuer = "https://as.example/tenant".into(), true),
        ("http on loopback", |s| s.issuer = "http://127.0.0.1:8080".into(), true),
        ("http on localhost", |s| s.issuer = "http://localhost:8080".into(), true),
        ("no mutual TLS", |s| s.mtls_url = None, true),
        ("http", |s| s.issuer = "http://as.example".into(), false),
        ("a query", |s| s.issuer = "https://as.example?a=b".into(), false),
        ("a fragment", |s| s.issuer = "https://as.example#a".into(), false),
        ("a trailing slash", |s| s.issuer = "https://as.example/".into(), false),
        ("a user", |s| s.issuer = "https://u@as.example".into(), false),
        ("no scheme", |s| s.issuer = "as.example".into(), false),
        ("empty", |s| s.issuer = String::new(), false),
        ("resource", |s| s.resource = "ftp://api.example".into(), false),
        ("mutual TLS over http", |s| s.mtls_url = Some("http://as.example".into()), false),
        ("no lifetime", |s| s.access_token_lifetime = Duration::ZERO, false),
        ("the longest lifetime", |s| s.access_token_lifetime = ACCESS_TOKEN_LIFETIME_MAX, true),
        ("too long a lifetime", |s| s.access_token_lifetime = Duration::from_secs(3601), false),
        ("tokens too short for Brazil", |s| (s.profiles, s.access_token_lifetime) = brazil(299), false),
        ("tokens long enough for Brazil", |s| (s.profiles, s.access_token_lifetime) = brazil(300), true),
        ("requests too short for Brazil", |s| (s.profiles, s.request_uri_lifetime) = brazil(59), false),
        ("requests long enough for Brazil", |s| (s.profiles, s.request_uri_lifetime) = brazil(60), true),
        ("skew too small", |s| s.clock_skew_max = Duration::from_secs(9), false),
        ("skew too large", |s| s.clock_skew_max = Duration::from_millis(60_001), false),
    ] {
        assert_eq!(with(change).is_ok(), good, "{name}");
    }
}

/// RFC 8707 §2.2: what a token may be for, of what was granted.
#[tokio::test]
async fn a_token_is_for_no_more_than_was_granted() {
    let world = world().await;
    let full = |paths: &[&str]| -> Vec<String> { paths.iter().map(|path| format!("{RESOURCE}{path}")).collect() };
    for (name, granted, asked, expected) in [
        ("nothing said at all", &[][..], &[][..], Some(&[][..])),
        ("a part of everything", &[], &["/bank"], Some(&["/bank"])),
        ("everything of everything", &[], &[""], Some(&[""])),
        ("a part of the whole", &[""], &["/shop", "/bank"], Some(&["/shop", "/bank"])),
        ("what was granted", &["/bank", "/shop"], &[], Some(&["/bank", "/shop"])),
        ("a part of what was granted", &["/bank", "/shop"], &["/shop"], Some(&["/shop"])),
        ("another part", &["/bank"], &["/shop"], None),
        ("more", &["/bank"], &["/bank", "/shop"], None),
        ("the whole of a part", &["/bank", "/shop"], &[""], None),
        ("a part that is gone meanwhile", &["/gone", "/shop"], &[], Some(&["/shop"])),
        ("nothing that is left", &["/gone"], &[], None),
    ] {
        let narrowed = world.server.narrowed(&full(granted), &full(asked));
        assert_eq!(narrowed.as_ref().ok(), expected.map(full).as_ref(), "{name}: {narrowed:?}");
    }
}

fn brazil(secs: u64) -> (Vec<Profile>, Duration) {
    (vec![Profile::Fapi1Advanced(Fapi1Variant::Brazil)], Duration::from_secs(secs))
}
