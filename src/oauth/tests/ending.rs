//! How grants end, and what is left of them before.

use super::code_flow::{by_code, code_client, mtls, query, request_parameters, two_clients, world_of};
use super::*;
use crate::domain::ScopeSet;

/// A code whose user approved these scopes and details.
async fn code_for(world: &World, scopes: &str, authorization_details: Vec<Value>) -> String {
    let pushed = world.push("a", &request_parameters()).await.unwrap();
    let now = world.clock.now();
    world.server.open("a", &pushed.request_uri, now).unwrap();
    let approval = Approval {
        subject: "user-1".into(),
        auth_time: now,
        acr: None,
        scopes: ScopeSet::parse(scopes).unwrap(),
        authorization_details,
    };
    match world.server.approve("a", &pushed.request_uri, approval, now).ok().unwrap().response {
        AuthorizationResponse::Redirect { location } => query(&location)["code"].clone(),
        AuthorizationResponse::FormPost { .. } => panic!("a redirect was asked for"),
    }
}

async fn refreshed(world: &World, token: &str) -> Result<TokenResponse, OAuthError> {
    world.redeem("a", &[("grant_type", "refresh_token"), ("refresh_token", token)]).await
}

/// RFC 6749 §4.1.2, §10.5: whichever comes first, the mark of the second use or the grant of the first.
#[tokio::test]
async fn a_code_that_comes_twice_at_once_leaves_no_grant_behind() {
    let world = two_clients().await;
    let code = world.code("a").await;
    let (form, again) = (by_code(&code), by_code(&code));
    let (one, two) = tokio::join!(world.redeem("a", &form), world.redeem("a", &again));
    for outcome in [one, two] {
        assert_eq!(outcome.map(drop).unwrap_err().code(), "invalid_grant");
    }
    assert!(world.memory.grants.lock().unwrap().is_empty(), "or it would be back when the mark is gone");
    assert_eq!(world.memory.revoked.lock().unwrap().len(), 1);

    let code = world.code("a").await;
    let first = world.redeem("a", &by_code(&code)).await.unwrap();
    world.redeem("a", &by_code(&code)).await.map(drop).unwrap_err();
    world.clock.set(NOW + 7_200);
    purge_revocations(&*world.memory, &world.server.parts.revocations, world.clock.now()).await.unwrap();
    let late = refreshed(&world, first.refresh_token.as_deref().unwrap()).await;
    assert_eq!(late.map(drop).unwrap_err().code(), "invalid_grant", "the mark has ended, and so has the grant");
}

/// The mark and the end of the grant are one: who was refused by the store may ask again, and finds both or neither.
#[tokio::test]
async fn a_revocation_that_fails_is_whole_when_it_is_repeated() {
    let world = two_clients().await;
    let body = world.redeem("a", &by_code(&world.code("a").await)).await.unwrap();
    let grant = world.memory.grants.lock().unwrap()[0].0.clone();
    world.memory.broken.store(true, Ordering::SeqCst);
    let failed = world.server.revoke_grant(&grant.id, world.clock.now()).await;
    assert_eq!(failed.unwrap_err().code(), "temporarily_unavailable");
    world.memory.broken.store(false, Ordering::SeqCst);
    assert_eq!(world.memory.grants.lock().unwrap().len(), 1, "found again");
    assert!(
        world.authenticator.authenticate(&body.access_token, &mtls(), world.clock.now()).await.is_err(),
        "in force"
    );
    // And if nobody asks again.
    world.clock.set(NOW + 7_200);
    world.server.parts.revocations.purge(world.clock.now());
    let refresh = body.refresh_token.unwrap();
    assert_eq!(refreshed(&world, &refresh).await.map(drop).unwrap_err().code(), "invalid_grant");
    world.server.revoke_grant(&grant.id, world.clock.now()).await.unwrap();
    world.server.parts.revocations.purge(world.clock.now().plus(ACCESS_TOKEN_LIFETIME_MAX));
    assert!(world.server.parts.revocations.is_empty(), "what is done needs no longer mark than its tokens");
    assert!(world.memory.grants.lock().unwrap().is_empty());
    assert!(world.memory.revoked.lock().unwrap().contains_key(grant.id.as_str()));
}

#[tokio::test]
async fn a_grant_ends_with_its_user() {
    let world = two_clients().await;
    let (kept, unused) = (world.code("a").await, world.code("a").await);
    let refresh = world.redeem("a", &by_code(&kept)).await.unwrap().refresh_token.unwrap();
    assert!(refreshed(&world, &refresh).await.is_ok());
    let introspect = async || {
        let assertion = world.fresh_assertion("a");
        let mut form = with_assertion(&assertion);
        form.push(("token", &refresh));
        let (headers, body, connection) = (form_headers(), encode(&form), mtls());
        let request = Request { headers: &headers, body: body.as_bytes(), connection: &connection };
        let Introspected::Plain(answer) = world.server.introspect(request).await.unwrap().body else { panic!("plain") };
        answer.active
    };
    assert!(introspect().await);
    world.memory.gone.lock().unwrap().insert("user-1".into());
    assert_eq!(refreshed(&world, &refresh).await.map(drop).unwrap_err().code(), "invalid_grant");
    assert_eq!(world.redeem("a", &by_code(&unused)).await.map(drop).unwrap_err().code(), "invalid_grant");
    assert!(!introspect().await);
    assert_eq!(world.memory.grants.lock().unwrap().len(), 1, "no new grant");
}

/// What a client may have at all can shrink after the user approved: by code and by refresh token it gets what is left.
#[tokio::test]
async fn a_client_gets_no_more_of_a_grant_than_it_may_have_now() {
    fn details_client(world: &World, scopes: &str, types: &[&str]) -> Vec<(Client, ClientRegistration)> {
        let (mut client, registration) = code_client(world, "a", Profile::Fapi2Security);
        client.scopes = ScopeSet::parse(scopes).unwrap();
        let types = types.iter().map(|name| Arc::from(*name)).collect();
        let metadata = ClientMetadata { authorization_details_types: types, ..(*registration.metadata).clone() };
        vec![(client, ClientRegistration { metadata: Arc::new(metadata), ..registration })]
    }
    let (pay, read) = (json!({ "type": "pay" }), json!({ "type": "read" }));
    let before = world_of(|world| details_client(world, "openid accounts", &["pay", "read"])).await;
    for (name, scopes, types, expected) in [
        ("as it was", "openid accounts", &["pay", "read"][..], Some(("accounts openid", vec![&pay, &read]))),
        ("fewer scopes", "openid", &["pay", "read"], Some(("openid", vec![&pay, &read]))),
        ("fewer types", "openid accounts", &["read"], Some(("accounts openid", vec![&read]))),
        ("no types", "openid accounts", &[], Some(("accounts openid", vec![]))),
        ("nothing that was granted", "payments", &[], None),
    ] {
        let (code, other) = (
            code_for(&before, "openid accounts", vec![pay.clone(), read.clone()]).await,
            code_for(&before, "openid accounts", vec![pay.clone(), read.clone()]).await,
        );
        let refresh = before.redeem("a", &by_code(&other)).await.unwrap().refresh_token.unwrap();
        let mut registry = Registry::default();
        for (client, registration) in details_client(&before, scopes, types) {
            registry.0.insert(client.id.clone(), (Arc::new(client), Arc::new(registration)));
        }
        let parts = Parts { clients: Arc::new(registry), ..before.server.parts.clone() };
        let server = AuthorizationServer::new(settings(), parts).unwrap();
        let redeem = async |more: &[(&str, &str)]| {
            let assertion = before.fresh_assertion("a");
            let body = encode(&[&with_assertion(&assertion)[..], more].concat());
            let (headers, connection) = (form_headers(), mtls());
            let answer =
                server.token(Request { headers: &headers, body: body.as_bytes(), connection: &connection }).await;
            answer.map(|answer| answer.body).map_err(|error| error.code())
        };
        let by_refresh = [("grant_type", "refresh_token"), ("refresh_token", refresh.as_str())];
        for outcome in [redeem(&by_code(&code)).await, redeem(&by_refresh).await] {
            match (&expected, outcome) {
                (Some((scope, details)), Ok(body)) => {
                    assert_eq!(body.scope.as_deref(), Some(*scope), "{name}");
                    assert_eq!(body.authorization_details.iter().collect::<Vec<_>>(), *details, "{name}");
                }
                (None, Err(code)) => assert_eq!(code, "invalid_grant", "{name}"),
                (_, outcome) => panic!("{name}: {outcome:?}"),
            }
        }
    }
}

/// The same before there is a grant: the user approves what the client may still have, and nothing else.
#[tokio::test]
async fn a_user_approves_no_more_than_the_client_may_have_now() {
    let types = |names: &[&str]| ClientMetadata {
        authorization_details_types: names.iter().map(|name| Arc::from(*name)).collect(),
        ..ClientMetadata::default()
    };
    let world = world_of(|world| {
        let (client, registration) = code_client(world, "a", Profile::Fapi2Security);
        let authorization_details_types = types(&["pay", "read"]).authorization_details_types;
        let metadata = ClientMetadata { authorization_details_types, ..(*registration.metadata).clone() };
        vec![(client, ClientRegistration { metadata: Arc::new(metadata), ..registration })]
    })
    .await;
    let any = json!({ "type": "object" });
    let detail_types = DetailTypes::compile([("pay", &any), ("read", &any)]).unwrap();
    let server = AuthorizationServer::new(Settings { detail_types, ..settings() }, world.server.parts.clone()).unwrap();
    let world = World { server: Arc::new(server), ..world };
    let (pay, read) = (json!({ "type": "pay" }), json!({ "type": "read" }));
    let mut parameters = request_parameters();
    parameters.push(("authorization_details".to_owned(), json!([pay, read]).to_string()));
    let pushed = world.push("a", &parameters).await.unwrap();
    let opened = world.server.open("a", &pushed.request_uri, world.clock.now()).unwrap();
    for (scopes, names, expected) in [
        ("openid accounts", &["pay", "read"][..], Some(("accounts openid", vec![pay.clone(), read.clone()]))),
        ("openid payments", &["read"], Some(("openid", vec![read.clone()]))),
        ("openid accounts", &[], None),
        ("payments", &["pay"], None),
    ] {
        let mut client = (*opened.client).clone();
        client.scopes = ScopeSet::parse(scopes).unwrap();
        let opened = Opened { client: Arc::new(client), ..opened.clone() };
        match (approval::approve(&opened, &types(names), &form(&[])), expected) {
            (Ok(approved), Some((scopes, details))) => {
                assert_eq!((approved.scopes.to_string().as_str(), approved.authorization_details), (scopes, details));
            }
            (Err(AuthorizationError::Denied), None) => {}
            (other, expected) => panic!("{scopes}, {names:?}: {other:?}, not {expected:?}"),
        }
    }
}

#[tokio::test]
async fn no_access_token_outlives_its_grant() {
    let world = two_clients().await;
    let first = world.redeem("a", &by_code(&world.code("a").await)).await.unwrap();
    assert_eq!(first.expires_in, 300);
    let end = NOW + 90 * 86_400;
    let refresh = first.refresh_token.unwrap();
    for (left, expires_in) in [(301, 300), (300, 300), (60, 60)] {
        world.clock.set(end - left);
        let body = refreshed(&world, &refresh).await.unwrap();
        let exp = read(&world, &body.access_token).1["exp"].as_i64().unwrap();
        assert_eq!((body.expires_in, exp - (end - left)), (expires_in, i64::try_from(expires_in).unwrap()), "{left} s");
    }
    world.clock.set(end);
    assert_eq!(refreshed(&world, &refresh).await.map(drop).unwrap_err().code(), "invalid_grant");
}
