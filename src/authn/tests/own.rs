//! Our own tokens: each claim, each forgery, the sender constraint, and what is checked again when remembered.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;
use crate::jose::VerifyError;

#[tokio::test]
async fn a_token_of_ours_says_what_was_signed() {
    let world = world(vec![]);
    let token = world.check(&world.token(&claims()), 1100).await.unwrap();
    assert_eq!(token.client_id.as_str(), "tpp");
    assert_eq!(token.tenant.as_ref().map(TenantId::as_str), Some("acme"));
    assert_eq!((&*token.issuer, token.jti.as_deref(), token.subject.as_deref()), (ISSUER, Some("j1"), Some("tpp")));
    assert_eq!(token.scopes.to_string(), "accounts payments");
    assert_eq!((token.issued_at, token.expires_at), (Some(at(1000)), at(1300)));
    assert!(!token.is_sender_constrained());
}

#[tokio::test]
async fn each_claim_is_checked() {
    let world = world(vec![]);
    let cases: Vec<(&str, Value, Option<Expectation>)> = vec![
        ("as issued", claims(), None),
        ("one of several audiences", with("aud", json!(["https://x", RESOURCE])), None),
        ("no scope", with("scope", Value::Null), None),
        ("a fraction of a second", with("exp", json!(1300.5)), None),
        ("nbf within the skew", with("nbf", json!(1110)), None),
        ("iat within the skew", with("iat", json!(1110)), None),
        ("another issuer", with("iss", json!("https://evil.example")), Some(|e| matches!(e, AuthnError::Issuer))),
        ("issuer with a slash", with("iss", json!("https://as.example/")), Some(|e| matches!(e, AuthnError::Issuer))),
        ("issuer in capitals", with("iss", json!("https://AS.example")), Some(|e| matches!(e, AuthnError::Issuer))),
        ("no issuer", with("iss", Value::Null), Some(|e| matches!(e, AuthnError::Issuer))),
        ("issuer a list", with("iss", json!([ISSUER])), Some(|e| matches!(e, AuthnError::Issuer))),
        ("another audience", with("aud", json!("https://other")), Some(|e| matches!(e, AuthnError::Audience))),
        ("the issuer as audience", with("aud", json!(ISSUER)), Some(|e| matches!(e, AuthnError::Audience))),
        ("no audience", with("aud", Value::Null), Some(|e| matches!(e, AuthnError::Audience))),
        ("expired this second", with("exp", json!(1100)), Some(|e| matches!(e, AuthnError::Expired))),
        ("expired long ago", with("exp", json!(1)), Some(|e| matches!(e, AuthnError::Expired))),
        ("no expiry", with("exp", Value::Null), Some(|e| matches!(e, AuthnError::Claim(_)))),
        ("expiry a text", with("exp", json!("1300")), Some(|e| matches!(e, AuthnError::Claim(_)))),
        ("not yet valid", with("nbf", json!(1111)), Some(|e| matches!(e, AuthnError::NotYetValid))),
        ("issued in the future", with("iat", json!(1111)), Some(|e| matches!(e, AuthnError::NotYetValid))),
        ("no iat", with("iat", Value::Null), Some(|e| matches!(e, AuthnError::Claim(_)))),
        ("no client", with("client_id", Value::Null), Some(|e| matches!(e, AuthnError::Claim(_)))),
        ("client a number", with("client_id", json!(7)), Some(|e| matches!(e, AuthnError::Claim(_)))),
        (
            "client with a space",
            with("client_id", json!("a b")),
            Some(|e| matches!(e, AuthnError::ClaimValue("client"))),
        ),
        ("no tenant", with("tenant", Value::Null), Some(|e| matches!(e, AuthnError::Claim(_)))),
        ("tenant empty", with("tenant", json!("")), Some(|e| matches!(e, AuthnError::Claim(_)))),
        ("no jti", with("jti", Value::Null), Some(|e| matches!(e, AuthnError::Claim(_)))),
        ("no sub", with("sub", Value::Null), Some(|e| matches!(e, AuthnError::Claim(_)))),
        ("scope a number", with("scope", json!(1)), Some(|e| matches!(e, AuthnError::ClaimValue("scope")))),
        ("scope with a quote", with("scope", json!("a\"b")), Some(|e| matches!(e, AuthnError::ClaimValue("scope")))),
        ("cnf a text", with("cnf", json!("x")), Some(|e| matches!(e, AuthnError::BindingUnknown))),
        ("cnf empty", with("cnf", json!({})), Some(|e| matches!(e, AuthnError::BindingUnknown))),
        (
            "cnf of an unknown kind",
            with("cnf", json!({ "kid": "a" })),
            Some(|e| matches!(e, AuthnError::BindingUnknown)),
        ),
        (
            "cnf with a short thumbprint",
            with("cnf", json!({ "x5t#S256": "AAAA" })),
            Some(|e| matches!(e, AuthnError::BindingUnknown)),
        ),
        (
            "cnf with two methods",
            with("cnf", json!({ "x5t#S256": Thumbprint([1; 32]).to_string(), "jkt": Thumbprint([1; 32]).to_string() })),
            Some(|e| matches!(e, AuthnError::BindingUnknown)),
        ),
    ];
    for (name, claims, expected) in cases {
        let outcome = world.check(&world.token(&claims), 1100).await;
        match (expected, outcome) {
            (None, outcome) => assert!(outcome.is_ok(), "{name}: {outcome:?}"),
            (Some(expected), Err(error)) => assert!(expected(&error), "{name}: {error:?}"),
            (Some(_), Ok(_)) => panic!("{name}: accepted"),
        }
    }
}

#[tokio::test]
async fn each_forgery_is_refused() {
    let world = world(vec![]);
    let good = world.token(&claims());
    let kid = world.key.kid();
    let stranger = new_key();
    let payload = claims().to_string();
    let (head, signature) = good.rsplit_once('.').unwrap();
    let swapped = {
        let other = world.token(&with("scope", json!("everything")));
        format!("{}.{signature}", other.rsplit_once('.').unwrap().0)
    };
    let raw = |header: Value| world.key.sign_raw(&header.to_string(), &payload);
    let cases: Vec<(&str, String, Expectation)> = vec![
        ("another's key", stranger.sign("at+jwt", &claims()).unwrap(), |e| {
            matches!(e, AuthnError::Signature(VerifyError::UnknownKid))
        }),
        (
            "another's key under our kid",
            stranger.sign_raw(&json!({ "alg": "ES256", "typ": "at+jwt", "kid": kid }).to_string(), &payload),
            |e| matches!(e, AuthnError::Signature(VerifyError::Signature)),
        ),
        ("claims exchanged", swapped, |e| matches!(e, AuthnError::Signature(VerifyError::Signature))),
        ("signature cut off", format!("{head}."), |e| matches!(e, AuthnError::Signature(VerifyError::Signature))),
        ("alg none", raw(json!({ "alg": "none", "typ": "at+jwt", "kid": kid })), |e| {
            matches!(e, AuthnError::Malformed(_))
        }),
        ("alg HMAC", raw(json!({ "alg": "HS256", "typ": "at+jwt", "kid": kid })), |e| {
            matches!(e, AuthnError::Malformed(_))
        }),
        ("alg of another key", raw(json!({ "alg": "PS256", "typ": "at+jwt", "kid": kid })), |e| {
            matches!(e, AuthnError::Signature(VerifyError::AlgorithmMismatch))
        }),
        ("alg not for us", raw(json!({ "alg": "RS256", "typ": "at+jwt", "kid": kid })), |e| {
            matches!(e, AuthnError::Algorithm)
        }),
        ("no kid", raw(json!({ "alg": "ES256", "typ": "at+jwt" })), |e| {
            matches!(e, AuthnError::Signature(VerifyError::UnknownKid))
        }),
        (
            "its own key",
            stranger.sign_raw(
                &json!({ "alg": "ES256", "typ": "at+jwt", "jwk": stranger.public_jwk() }).to_string(),
                &payload,
            ),
            |e| matches!(e, AuthnError::Malformed(_)),
        ),
        ("a client assertion", raw(json!({ "alg": "ES256", "typ": "JWT", "kid": kid })), |e| {
            matches!(e, AuthnError::Type)
        }),
        ("no typ", raw(json!({ "alg": "ES256", "kid": kid })), |e| matches!(e, AuthnError::Type)),
        ("not a JWT", "abc".into(), |e| matches!(e, AuthnError::Malformed(_))),
        ("a very long one", "a".repeat(20_000), |e| matches!(e, AuthnError::Malformed(_))),
    ];
    for (name, token, expected) in cases {
        for round in ["first", "second"] {
            let error = world.check(&token, 1100).await.expect_err(name);
            assert!(expected(&error), "{name}, {round} time: {error:?}");
        }
    }
    let spelled = raw(json!({ "alg": "ES256", "typ": "Application/AT+JWT", "kid": kid }));
    assert!(world.check(&spelled, 1100).await.is_ok(), "RFC 9068 §4: typ in any case");
    assert_eq!(world.authenticator.remembered_tokens(), 1, "who forges fills nothing");
}

#[tokio::test]
async fn a_bound_token_is_good_on_its_own_connection_only() {
    let world = world(vec![]);
    let bound = world.token(&with("cnf", json!({ "x5t#S256": Thumbprint([1; 32]).to_string() })));
    let dpop = world.token(&with("cnf", json!({ "jkt": Thumbprint([1; 32]).to_string() })));
    let free = world.token(&claims());
    let cases: Vec<(&str, &str, Option<u8>, Option<Expectation>)> = vec![
        ("its certificate", &bound, Some(1), None),
        ("another", &bound, Some(2), Some(|e| matches!(e, AuthnError::CertificateMismatch { .. }))),
        ("none", &bound, None, Some(|e| matches!(e, AuthnError::CertificateMissing))),
        ("DPoP without proof", &dpop, None, Some(|e| matches!(e, AuthnError::DpopTokenAsBearer))),
        ("DPoP with a certificate", &dpop, Some(1), Some(|e| matches!(e, AuthnError::DpopTokenAsBearer))),
        ("unbound, no certificate", &free, None, None),
        ("unbound, some certificate", &free, Some(2), None),
    ];
    for round in ["new", "remembered"] {
        for (name, token, seed, expected) in &cases {
            let connection = connection(seed.map(certificate));
            let outcome = world.authenticator.authenticate(token, &connection, at(1100)).await;
            match (expected, outcome) {
                (None, outcome) => assert!(outcome.is_ok(), "{name}, {round}"),
                (Some(expected), Err(error)) => assert!(expected(&error), "{name}, {round}: {error:?}"),
                (Some(_), Ok(_)) => panic!("{name}, {round}: accepted"),
            }
        }
    }
}

#[tokio::test]
async fn a_remembered_token_is_still_checked() {
    let world = world(vec![]);
    let token = world.token(&claims());
    assert!(world.check(&token, 1100).await.is_ok());
    assert!(Arc::ptr_eq(&world.check(&token, 1101).await.unwrap(), &world.check(&token, 1102).await.unwrap()));
    assert!(world.check(&token, 1299).await.is_ok(), "one second before expiry");
    assert!(matches!(world.check(&token, 1300).await, Err(AuthnError::Expired)), "at expiry");

    let other = world.token(&with("jti", json!("j2")));
    assert!(world.revocations.insert("j1", at(1300)));
    assert!(matches!(world.check(&token, 1103).await, Err(AuthnError::Revoked)));
    assert!(world.check(&other, 1103).await.is_ok(), "another token of the same client");

    let next = new_key();
    world.published.store(Arc::new(key_set(&[&next, &world.key])));
    assert!(world.check(&other, 1104).await.is_ok(), "a rotation keeps it");
    world.published.store(Arc::new(key_set(&[&next])));
    assert!(matches!(world.check(&other, 1105).await, Err(AuthnError::Signature(_))), "its key was withdrawn");
}

#[tokio::test]
async fn a_revoked_token_is_refused_when_new() {
    let world = world(vec![]);
    assert!(world.revocations.insert("j1", at(1300)));
    assert!(matches!(world.check(&world.token(&claims()), 1100).await, Err(AuthnError::Revoked)));
}

#[tokio::test]
async fn a_token_that_is_bound_to_a_key_passes_with_a_proof_by_it() {
    use crate::authn::dpop::tests::{proof, proofs};
    use crate::authn::dpop::{DpopError, ExternalUrls, NonceSpace, ProvenRequest};

    let world = world(vec![]);
    let (key, other) = (new_key(), new_key());
    let jkt = |key: &SigningKey| json!({ "jkt": key.public_key().thumbprint().to_string() });
    let bound = world.token(&with("cnf", jkt(&key)));
    let revoked = world.token(&{
        let mut claims = with("cnf", jkt(&key));
        claims["jti"] = "j2".into();
        claims
    });
    let certified = world.token(&with("cnf", json!({ "x5t#S256": Thumbprint([1; 32]).to_string() })));
    let free = world.token(&claims());
    assert!(world.revocations.insert("j2", at(1300)));
    let (urls, proofs) = (ExternalUrls::new(["https://api.example"]), proofs());
    let ath = |token: &str| URL_SAFE_NO_PAD.encode(crate::jose::sha256(token.as_bytes()));
    let made = |key: &SigningKey, token: &str, jti: &str| {
        proof(key, json!({}), json!({ "ath": ath(token), "iat": 1100, "jti": jti }))
    };
    let authenticate = async |token: &str, proof: &str| {
        let request = ProvenRequest {
            method: &http::Method::GET,
            urls: &urls,
            path: "/bank/accounts",
            token_hash: None,
            space: NonceSpace::Resource,
        };
        world.authenticator.authenticate_with_proof((token, proof), &proofs, request, at(1100)).await.map(drop)
    };
    let cases: Vec<(&str, &str, String, Option<Expectation>)> = vec![
        ("its key", &bound, made(&key, &bound, "1"), None),
        (
            "the same proof",
            &bound,
            made(&key, &bound, "1"),
            Some(|e| matches!(e, AuthnError::Dpop(DpopError::Replayed))),
        ),
        ("another proof", &bound, made(&key, &bound, "2"), None),
        ("another key", &bound, made(&other, &bound, "3"), Some(|e| matches!(e, AuthnError::DpopKeyMismatch { .. }))),
        (
            "for another token",
            &bound,
            made(&key, &free, "4"),
            Some(|e| matches!(e, AuthnError::Dpop(DpopError::TokenHash))),
        ),
        (
            "bound to a certificate",
            &certified,
            made(&key, &certified, "5"),
            Some(|e| matches!(e, AuthnError::NotBoundToKey)),
        ),
        ("bound to nothing", &free, made(&key, &free, "6"), Some(|e| matches!(e, AuthnError::NotBoundToKey))),
        ("revoked", &revoked, made(&key, &revoked, "7"), Some(|e| matches!(e, AuthnError::Revoked))),
        ("a proof that was refused for its token", &bound, made(&key, &bound, "7"), None),
    ];
    for (name, token, proof, expected) in cases {
        match (expected, authenticate(token, &proof).await) {
            (None, outcome) => assert!(outcome.is_ok(), "{name}: {outcome:?}"),
            (Some(expected), Err(error)) => assert!(expected(&error), "{name}: {error:?}"),
            (Some(_), Ok(())) => panic!("{name}: accepted"),
        }
    }
    assert_eq!(proofs.remembered(), 3, "only who belongs here takes room");
}

#[tokio::test]
async fn what_a_token_says_of_its_user_is_kept() {
    let world = world(vec![]);
    let mut claims = claims();
    claims["acr"] = "urn:strong".into();
    claims["auth_time"] = 900.into();
    claims["authorization_details"] = json!([{ "type": "payment", "amount": "1.00" }]);
    let token = world.check(&world.token(&claims), 1100).await.unwrap();
    assert_eq!((token.acr.as_deref(), token.auth_time), (Some("urn:strong"), Some(at(900))));
    let details = token.authorization_details.as_ref().unwrap();
    assert_eq!(&*details.json, r#"[{"type":"payment","amount":"1.00"}]"#);
    for (name, details, types) in [
        ("several, one twice", json!([{ "type": "b" }, { "type": "a" }, { "type": "b" }]), &["a", "b"][..]),
        ("none", json!([]), &[]),
        ("no type", json!([{ "amount": 1 }, "a", 1, { "type": 2 }, { "type": "c" }]), &["c"]),
    ] {
        let token = world.check(&world.token(&with("authorization_details", details)), 1100).await.unwrap();
        assert_eq!(token.detail_types().iter().map(|name| &**name).collect::<Vec<_>>(), types, "{name}");
    }
    for (name, claim, value) in [("a class", "acr", json!(1)), ("a time", "auth_time", json!("yesterday"))] {
        let token = world.check(&world.token(&with(claim, value)), 1100).await.unwrap();
        assert_eq!((token.acr.as_deref(), token.auth_time), (None, None), "{name} of another type proves nothing");
    }
    for (name, details) in [
        ("an object", json!({ "type": "payment" })),
        ("a text", json!("[]")),
        ("too long", json!([{ "type": "x".repeat(DETAILS_BYTES_MAX) }])),
    ] {
        let refused = world.check(&world.token(&with("authorization_details", details)), 1100).await;
        assert!(matches!(refused, Err(AuthnError::ClaimValue("authorization_details"))), "{name}");
    }
}
