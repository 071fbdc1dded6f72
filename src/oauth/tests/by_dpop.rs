//! DPoP at the authorization server (RFC 9449 §5, §8, §10; FAPI 2.0 §5.3.2.1-12).

use super::code_flow::{VERIFIER, by_code, code_client, mtls, query, request_parameters, world_of};
use super::*;
use crate::authn::dpop::NonceMode;
use crate::authn::dpop::tests::proof;

fn dpop_client(world: &World, id: &str) -> (Client, ClientRegistration) {
    let (mut client, registration) = code_client(world, id, Profile::Fapi2Security);
    client.scopes = crate::domain::ScopeSet::parse("openid accounts").unwrap();
    let grants = [GrantType::AuthorizationCode, GrantType::RefreshToken, GrantType::ClientCredentials];
    let metadata = ClientMetadata { grant_types: grants.into_iter().collect(), ..(*registration.metadata).clone() };
    (
        client,
        ClientRegistration { sender_constraint: SenderConstraint::Dpop, metadata: Arc::new(metadata), ..registration },
    )
}

static NEXT: AtomicU64 = AtomicU64::new(0);

/// A proof for this endpoint with changed claims.
fn proof_for(key: &SigningKey, path: &str, changes: Value) -> String {
    let mut claims = json!({
        "htm": "POST", "htu": format!("{ISSUER}{path}"), "iat": NOW, "ath": null,
        "jti": format!("proof-{}", NEXT.fetch_add(1, Ordering::SeqCst)),
    });
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    proof(key, json!({}), claims)
}

fn headers(proofs: &[&str]) -> HeaderMap {
    let mut headers = form_headers();
    for proof in proofs {
        headers.append("dpop", HeaderValue::from_str(proof).unwrap());
    }
    headers
}

async fn token(world: &World, proofs: &[&str], more: &[(&str, &str)]) -> Result<Answer<TokenResponse>, OAuthError> {
    token_at(world, "public", proofs, more).await
}

async fn token_at(
    world: &World,
    listener: &str,
    proofs: &[&str],
    more: &[(&str, &str)],
) -> Result<Answer<TokenResponse>, OAuthError> {
    let assertion = world.assertion("d", &format!("d{}", NEXT.fetch_add(1, Ordering::SeqCst)));
    let mut all = with_assertion(&assertion);
    all.extend(more);
    let (headers, body) = (headers(proofs), encode(&all));
    let connection = Connection { listener: listener.into(), ..connection(None) };
    world.server.token(Request { headers: &headers, body: body.as_bytes(), connection: &connection }).await
}

async fn push(world: &World, proofs: &[&str], more: &[(&str, &str)]) -> Result<String, OAuthError> {
    let assertion = world.assertion("d", &format!("p{}", NEXT.fetch_add(1, Ordering::SeqCst)));
    let parameters = request_parameters();
    let mut all = with_assertion(&assertion);
    all.extend(parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    all.extend(more);
    let (headers, body, connection) = (headers(proofs), encode(&all), mtls());
    let request = Request { headers: &headers, body: body.as_bytes(), connection: &connection };
    Ok(world.server.push(request).await?.body.request_uri)
}

fn thumbprint(key: &SigningKey) -> String {
    key.public_key().thumbprint().to_string()
}

const CREDENTIALS: [(&str, &str); 1] = [("grant_type", "client_credentials")];

#[tokio::test]
async fn a_proof_binds_the_token_and_each_flaw_of_it_is_refused() {
    let world = world_of(|world| vec![dpop_client(world, "d")]).await;
    let (key, _) = SigningKey::generate(Algorithm::Es256).unwrap();
    let good = proof_for(&key, "/oauth/token", json!({}));
    let answer = token(&world, &[&good], &CREDENTIALS).await.unwrap();
    assert_eq!(answer.body.token_type, "DPoP");
    let (_, claims) = read(&world, &answer.body.access_token);
    assert_eq!(claims["cnf"], json!({ "jkt": thumbprint(&key) }));
    assert!(answer.fresh_nonce.is_none());

    let more = proof_for(&key, "/oauth/token", json!({}));
    for (name, proofs, code) in [
        ("again", vec![good], "invalid_dpop_proof"),
        ("none", vec![], "invalid_dpop_proof"),
        ("two", vec![more.clone(), more], "invalid_dpop_proof"),
        ("another endpoint's", vec![proof_for(&key, "/oauth/par", json!({}))], "invalid_dpop_proof"),
        (
            "another host's",
            vec![proof_for(&key, "/oauth/token", json!({ "htu": "https://x.example/oauth/token" }))],
            "invalid_dpop_proof",
        ),
        ("another method's", vec![proof_for(&key, "/oauth/token", json!({ "htm": "GET" }))], "invalid_dpop_proof"),
        ("an old one", vec![proof_for(&key, "/oauth/token", json!({ "iat": NOW - 3600 }))], "invalid_dpop_proof"),
        (
            "one from the future",
            vec![proof_for(&key, "/oauth/token", json!({ "iat": NOW + 65 }))],
            "invalid_dpop_proof",
        ),
        ("no jti", vec![proof_for(&key, "/oauth/token", json!({ "jti": null }))], "invalid_dpop_proof"),
        ("rubbish", vec!["a.b.c".to_owned()], "invalid_dpop_proof"),
    ] {
        let proofs: Vec<&str> = proofs.iter().map(String::as_str).collect();
        let error = token(&world, &proofs, &CREDENTIALS).await.map(drop).unwrap_err();
        assert_eq!((error.code(), error.status().as_u16()), (code, 400), "{name}");
    }
    for (name, changes) in [
        ("ten seconds ahead", json!({ "iat": NOW + 10 })),
        ("ten seconds ago", json!({ "iat": NOW - 10 })),
        ("a query and a fragment", json!({ "htu": format!("{ISSUER}/oauth/token?a=b#c") })),
        ("capitals and the default port", json!({ "htu": "HTTPS://AS.EXAMPLE:443/oauth/token" })),
        ("a claim that nobody knows", json!({ "x": 1 })),
    ] {
        let good = proof_for(&key, "/oauth/token", changes);
        assert!(token(&world, &[&good], &CREDENTIALS).await.is_ok(), "{name}");
    }
}

/// RFC 9449 §4.3, 9: the endpoint among `mtls_endpoint_aliases` is another URL.
#[tokio::test]
async fn a_proof_names_the_listener_that_was_called() {
    let world = world_of(|world| vec![dpop_client(world, "d")]).await;
    let (key, _) = SigningKey::generate(Algorithm::Es256).unwrap();
    for (listener, base, good) in
        [("public", ISSUER, true), ("public", MTLS, false), ("mtls", MTLS, true), ("mtls", ISSUER, false)]
    {
        let proof = proof_for(&key, "/oauth/token", json!({ "htu": format!("{base}/oauth/token") }));
        let outcome = token_at(&world, listener, &[&proof], &CREDENTIALS).await.map(drop).map_err(|error| error.code());
        assert_eq!(outcome, if good { Ok(()) } else { Err("invalid_dpop_proof") }, "{base} at {listener}");
    }
}

#[tokio::test]
async fn a_code_is_bound_by_either_way_and_both_must_agree() {
    let world = world_of(|world| vec![dpop_client(world, "d")]).await;
    let (key, _) = SigningKey::generate(Algorithm::Es256).unwrap();
    let (other, _) = SigningKey::generate(Algorithm::Es256).unwrap();
    let jkt = thumbprint(&key);
    let at_par = || proof_for(&key, "/oauth/par", json!({}));
    let mismatch = push(&world, &[&at_par()], &[("dpop_jkt", &thumbprint(&other))]).await;
    assert_eq!(mismatch.unwrap_err().code(), "invalid_request");
    let used = at_par();
    push(&world, &[&used], &[]).await.unwrap();
    assert_eq!(push(&world, &[&used], &[]).await.unwrap_err().code(), "invalid_dpop_proof", "a proof used again");
    for (name, proofs, more) in [
        ("by proof", vec![at_par()], vec![]),
        ("by parameter", vec![], vec![("dpop_jkt", jkt.as_str())]),
        ("by both", vec![at_par()], vec![("dpop_jkt", jkt.as_str())]),
    ] {
        let proofs: Vec<&str> = proofs.iter().map(String::as_str).collect();
        for (holder, expected) in [(&other, Err("invalid_grant")), (&key, Ok("DPoP"))] {
            let uri =
                push(&world, &proofs_for(&proofs, &key).iter().map(String::as_str).collect::<Vec<_>>(), &more).await;
            let code = query(&world.approve("d", &uri.unwrap()).unwrap())["code"].clone();
            let fresh = proof_for(holder, "/oauth/token", json!({}));
            let answer = token(&world, &[&fresh], &by_code(&code)).await;
            let outcome = answer.as_ref().map(|answer| answer.body.token_type).map_err(|error| error.code());
            assert_eq!(outcome, expected, "{name}");
        }
    }
    assert_eq!(VERIFIER.len(), 43);
    // Unbound, whoever redeems it binds the tokens; a refresh may come with another key (RFC 9449 §5).
    let uri = push(&world, &[], &[]).await.unwrap();
    let code = query(&world.approve("d", &uri).unwrap())["code"].clone();
    let first = token(&world, &[&proof_for(&key, "/oauth/token", json!({}))], &by_code(&code)).await.unwrap().body;
    let refresh = first.refresh_token.unwrap();
    let by_refresh = [("grant_type", "refresh_token"), ("refresh_token", refresh.as_str())];
    let renewed = token(&world, &[&proof_for(&other, "/oauth/token", json!({}))], &by_refresh).await.unwrap().body;
    assert_eq!(read(&world, &renewed.access_token).1["cnf"]["jkt"], thumbprint(&other));
    assert_eq!(token(&world, &[], &by_refresh).await.map(drop).unwrap_err().code(), "invalid_dpop_proof");
}

/// As many fresh proofs for the PAR endpoint.
fn proofs_for(like: &[&str], key: &SigningKey) -> Vec<String> {
    like.iter().map(|_| proof_for(key, "/oauth/par", json!({}))).collect()
}

#[tokio::test]
async fn nonces_are_asked_for_where_the_operator_says_so() {
    let asking = world_asking(settings(), NonceMode::Required).await;
    let world = world_of(|world| vec![dpop_client(world, "d")]).await;
    let parts = Parts { dpop: Arc::clone(&asking.server.parts.dpop), ..world.server.parts.clone() };
    let server = Arc::new(AuthorizationServer::new(settings(), parts).unwrap());
    let world = World { server, ..world };
    let (key, _) = SigningKey::generate(Algorithm::Es256).unwrap();
    let mut nonce = None;
    for (name, proofs) in [("no proof", vec![]), ("no nonce", vec![proof_for(&key, "/oauth/token", json!({}))])] {
        let proofs: Vec<&str> = proofs.iter().map(String::as_str).collect();
        let error = token(&world, &proofs, &CREDENTIALS).await.map(drop).unwrap_err();
        assert_eq!((error.code(), error.status().as_u16()), ("use_dpop_nonce", 400), "{name}");
        nonce = error.nonce().cloned();
    }
    let nonce = nonce.unwrap().to_str().unwrap().to_owned();
    let stranger = proof_for(&key, "/oauth/token", json!({ "nonce": "made-up" }));
    assert_eq!(token(&world, &[&stranger], &CREDENTIALS).await.map(drop).unwrap_err().code(), "use_dpop_nonce");
    let good = proof_for(&key, "/oauth/token", json!({ "nonce": nonce }));
    assert!(token(&world, &[&good], &CREDENTIALS).await.is_ok());
}
