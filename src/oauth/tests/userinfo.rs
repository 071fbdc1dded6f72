//! Userinfo (OpenID Connect Core §5.3), without the wire.

use super::code_flow::{code_client, mtls, world_of};
use super::*;
use crate::domain::ScopeSet;

const CIBA: &str = "urn:openid:params:grant-type:ciba";

/// A client of CIBA with these scopes, and whether it is pairwise.
async fn rig(pairwise: bool, refresh: bool) -> World {
    world_of(|world| {
        let (mut client, registration) = code_client(world, "a", Profile::PlainOauth);
        client.scopes = ScopeSet::parse("openid profile email accounts").unwrap();
        let mut grants = vec![GrantType::Ciba, GrantType::ClientCredentials];
        grants.extend(refresh.then_some(GrantType::RefreshToken));
        let metadata = ClientMetadata {
            grant_types: grants.into_iter().collect(),
            ciba: Some(CibaDelivery::Poll),
            subject_type: if pairwise {
                SubjectType::Pairwise { sector: "a.example".into() }
            } else {
                SubjectType::Public
            },
            ..ClientMetadata::default()
        };
        vec![(client, ClientRegistration { metadata: Arc::new(metadata), ..registration })]
    })
    .await
}

/// Tokens of a user who approved, with these parameters.
async fn tokens(world: &World, user: &str, scope: &str, claims: &str) -> TokenResponse {
    let assertion = world.fresh_assertion("a");
    let mut all = with_assertion(&assertion);
    all.extend([("scope", scope), ("login_hint", user), ("claims", claims)]);
    let (headers, body, connection) = (form_headers(), encode(&all), mtls());
    let request = Request { headers: &headers, body: body.as_bytes(), connection: &connection };
    let id = world.server.backchannel(request).await.unwrap().body.auth_req_id;
    let now = world.clock.now();
    let decision = world.server.waiting_request(&id, now).unwrap().approve_all(now);
    world.server.decide_backchannel(&id, decision, now).unwrap();
    world.redeem("a", &[("grant_type", CIBA), ("auth_req_id", &id)]).await.unwrap()
}

async fn userinfo(world: &World, token: &str) -> Result<Value, UserinfoError> {
    let now = world.clock.now();
    let token = world.authenticator.authenticate(token, &mtls(), now).await.unwrap();
    world.server.userinfo(&token, now).await
}

#[tokio::test]
async fn claims_follow_the_scopes_and_what_was_asked_for() {
    let world = rig(false, true).await;
    for (name, user, scope, claims, expected) in [
        ("openid alone", "alice", "openid accounts", "", json!({ "sub": "user-1" })),
        (
            "profile",
            "alice",
            "openid profile",
            "",
            json!({ "sub": "user-1", "name": "alice of Example", "preferred_username": "alice" }),
        ),
        (
            "email",
            "alice",
            "openid email",
            "",
            json!({ "sub": "user-1", "email": "alice@example.com", "email_verified": true }),
        ),
        ("an email that nobody knows", "bob", "openid email", "", json!({ "sub": "user-2" })),
        (
            "by the claims parameter",
            "alice",
            "openid",
            r#"{"userinfo":{"email":null,"phone_number":null,"openbanking_intent_id":{"value":"i-1"}},"id_token":{"name":null}}"#,
            json!({ "sub": "user-1", "email": "alice@example.com", "openbanking_intent_id": "i-1" }),
        ),
        (
            "of a value that is not the user's",
            "alice",
            "openid",
            r#"{"userinfo":{"email":{"value":"bob@example.com"},"name":{"values":["alice of Example"]}}}"#,
            json!({ "sub": "user-1", "name": "alice of Example" }),
        ),
    ] {
        let body = tokens(&world, user, scope, claims).await;
        assert_eq!(userinfo(&world, &body.access_token).await.unwrap(), expected, "{name}");
    }
}

/// OpenID Connect Core §5.5, in the first ID token and in that of a refresh.
#[tokio::test]
async fn the_id_token_tells_what_it_was_asked_for_by_name() {
    let world = rig(false, true).await;
    let all = json!({ "id_token": { "email": null, "name": null, "phone_number": null, "iss": { "value": "x" } } });
    for (name, user, claims, expected) in [
        ("nothing", "alice", json!({}), json!({})),
        ("at the other place", "alice", json!({ "userinfo": { "email": null } }), json!({})),
        (
            "by name, and what does not exist",
            "alice",
            all.clone(),
            json!({ "email": "alice@example.com", "name": "alice of Example" }),
        ),
        ("what is not known of the user", "bob", all, json!({ "name": "bob of Example" })),
        (
            "essential",
            "alice",
            json!({ "id_token": { "email": { "essential": true } } }),
            json!({ "email": "alice@example.com" }),
        ),
        (
            "of values, one right and one wrong",
            "alice",
            json!({ "id_token": { "email": { "value": "bob@example.com" },
                "preferred_username": { "values": ["bob", "alice"] } } }),
            json!({ "preferred_username": "alice" }),
        ),
    ] {
        let body = tokens(&world, user, "openid", &claims.to_string()).await;
        let refresh = [("grant_type", "refresh_token"), ("refresh_token", body.refresh_token.as_deref().unwrap())];
        let again = world.redeem("a", &refresh).await.unwrap();
        for token in [body.id_token.unwrap(), again.id_token.unwrap()] {
            let mut said = super::about_tokens::payload(&token);
            assert_eq!(said["iss"], ISSUER, "{name}: what is asked for replaces nothing");
            let told = |name: &&str| said.get(*name).is_some();
            let mut own = vec!["iss", "sub", "aud", "iat", "exp", "auth_time", "acr", "at_hash"];
            assert!(own.iter().all(told), "{name}: {said}");
            own.drain(..).for_each(|claim| drop(said.as_object_mut().unwrap().remove(claim)));
            assert_eq!(said, expected, "{name}");
        }
    }
}

#[tokio::test]
async fn the_subject_is_the_one_of_the_id_token() {
    for pairwise in [false, true] {
        let world = rig(pairwise, false).await;
        let body = tokens(&world, "alice", "openid", "").await;
        assert!(body.refresh_token.is_none());
        let said = userinfo(&world, &body.access_token).await.unwrap();
        assert_eq!(said["sub"], super::about_tokens::payload(body.id_token.as_deref().unwrap())["sub"]);
        assert_eq!(said["sub"] == "user-1", !pairwise);
    }
}

#[tokio::test]
async fn who_speaks_for_no_user_hears_of_none() {
    let world = rig(false, true).await;
    let own = world.redeem("a", &[("grant_type", "client_credentials")]).await.unwrap();
    assert!(matches!(userinfo(&world, &own.access_token).await, Err(UserinfoError::ScopeMissing)));
    let body = tokens(&world, "alice", "openid accounts", "").await;
    let narrowed = [("grant_type", "refresh_token"), ("refresh_token", body.refresh_token.as_deref().unwrap())];
    let narrowed = world.redeem("a", &[&narrowed[..], &[("scope", "accounts")]].concat()).await.unwrap();
    assert!(matches!(userinfo(&world, &narrowed.access_token).await, Err(UserinfoError::ScopeMissing)));
    world.memory.broken.store(true, Ordering::SeqCst);
    assert!(matches!(userinfo(&world, &body.access_token).await, Err(UserinfoError::Unavailable(_))), "our fault");
    world.memory.broken.store(false, Ordering::SeqCst);
    world.memory.grants.lock().unwrap().clear();
    assert!(
        matches!(userinfo(&world, &body.access_token).await, Err(UserinfoError::TokenInvalid)),
        "the grant is gone"
    );
}

/// What introspection adds for tokens that speak for a user, and of refresh tokens.
#[tokio::test]
async fn introspection_says_how_the_user_was_authenticated_and_refresh_tokens_are_their_client_s() {
    let world = rig(false, true).await;
    let body = tokens(&world, "alice", "openid", "").await;
    let ask = async |token: &str| {
        let assertion = world.fresh_assertion("a");
        let mut all = with_assertion(&assertion);
        all.push(("token", token));
        let (headers, form, connection) = (form_headers(), encode(&all), mtls());
        let request = Request { headers: &headers, body: form.as_bytes(), connection: &connection };
        match world.server.introspect(request).await.unwrap().body {
            Introspected::Plain(answer) => serde_json::to_value(answer).unwrap(),
            Introspected::Signed(_) => panic!("nobody asked for a signed answer"),
        }
    };
    let said = ask(&body.access_token).await;
    assert_eq!(
        (&said["acr"], &said["auth_time"], &said["sub"]),
        (&json!("urn:acr:usual"), &json!(NOW), &json!("user-1"))
    );
    let refresh = body.refresh_token.as_deref().unwrap();
    let said = ask(refresh).await;
    assert_eq!((&said["active"], &said["client_id"], said.get("token_type")), (&json!(true), &json!("a"), None));
    let grant = world.memory.grants.lock().unwrap()[0].0.clone();
    world.server.revoke_grant(&grant.id, world.clock.now()).await.unwrap();
    assert_eq!(ask(refresh).await, json!({ "active": false }));
    assert_eq!(ask("unknown").await, json!({ "active": false }));
}
