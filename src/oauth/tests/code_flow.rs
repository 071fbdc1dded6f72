//! Pushed requests, decisions, codes and refresh tokens, without the pages between them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::about_tokens::payload;
use super::*;
use crate::domain::ScopeSet;

pub(super) const REDIRECT: &str = "https://tpp.example/cb";
pub(super) const VERIFIER: &str = "a-verifier-of-the-fewest-characters-43-long";

fn challenge() -> String {
    URL_SAFE_NO_PAD.encode(crate::jose::sha256(VERIFIER.as_bytes()))
}

/// A client of the code grant with this profile, authenticating as `jwt` does, with its key and bound to certificate 7.
pub(super) fn code_client(world: &World, id: &str, profile: Profile) -> (Client, ClientRegistration) {
    let mut client = client(id, "acme");
    client.scopes = ScopeSet::parse("openid accounts payments").unwrap();
    let keys = ClientKeys::inline(&json!({ "keys": [world.key.public_jwk()] })).unwrap();
    let metadata = ClientMetadata {
        grant_types: [GrantType::AuthorizationCode, GrantType::RefreshToken].into_iter().collect(),
        redirect_uris: vec![REDIRECT.into()],
        ..ClientMetadata::default()
    };
    let registration = ClientRegistration {
        profile,
        sender_constraint: SenderConstraint::Certificate,
        metadata: Arc::new(metadata),
        ..registration(&client.id, ClientAuthentication::PrivateKeyJwt, keys)
    };
    (client, registration)
}

/// The world with more clients.
pub(super) async fn world_of(more: impl Fn(&World) -> Vec<(Client, ClientRegistration)>) -> World {
    let world = world().await;
    let mut registry = Registry::default();
    for (client, registration) in more(&world) {
        registry.0.insert(client.id.clone(), (Arc::new(client), Arc::new(registration)));
    }
    let parts = Parts { clients: Arc::new(registry), ..world.server.parts.clone() };
    let server = Arc::new(AuthorizationServer::new(settings(), parts).unwrap());
    World { server, ..world }
}

pub(super) async fn two_clients() -> World {
    world_of(|world| {
        vec![code_client(world, "a", Profile::Fapi2Security), code_client(world, "b", Profile::Fapi2Security)]
    })
    .await
}

pub(super) fn mtls() -> Connection {
    connection(Some(certificate(7, ChainTrust::Trusted)))
}

pub(super) fn request_parameters() -> Vec<(String, String)> {
    [
        ("response_type", "code"),
        ("redirect_uri", REDIRECT),
        ("scope", "openid accounts"),
        ("state", "s"),
        ("nonce", "n"),
        ("code_challenge", &challenge()),
        ("code_challenge_method", "S256"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}

static NEXT: AtomicU64 = AtomicU64::new(0);

impl World {
    pub(super) fn fresh_assertion(&self, client: &str) -> String {
        self.assertion(client, &format!("c{}", NEXT.fetch_add(1, Ordering::SeqCst)))
    }

    pub(super) async fn push(
        &self,
        client: &str,
        parameters: &[(String, String)],
    ) -> Result<PushedResponse, OAuthError> {
        let assertion = self.fresh_assertion(client);
        let mut all = with_assertion(&assertion);
        all.extend(parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let (headers, body, connection) = (form_headers(), encode(&all), mtls());
        let request = Request { headers: &headers, body: body.as_bytes(), connection: &connection };
        Ok(self.server.push(request).await?.body)
    }

    fn approval(&self) -> Approval {
        Approval {
            subject: "user-1".into(),
            auth_time: self.clock.now(),
            acr: Some("urn:acr:one".into()),
            scopes: ScopeSet::parse("openid accounts").unwrap(),
            authorization_details: vec![],
        }
    }

    pub(super) fn approve(&self, client: &str, request_uri: &str) -> Result<String, DecisionError> {
        let now = self.clock.now();
        self.server.open(client, request_uri, now).map_err(DecisionError::NotOpen)?;
        match self.server.approve(client, request_uri, self.approval(), now)?.response {
            AuthorizationResponse::Redirect { location } => Ok(location),
            AuthorizationResponse::FormPost { .. } => panic!("a redirect was asked for"),
        }
    }

    /// A code that was approved.
    pub(super) async fn code(&self, client: &str) -> String {
        let pushed = self.push(client, &request_parameters()).await.unwrap();
        query(&self.approve(client, &pushed.request_uri).unwrap())["code"].clone()
    }

    pub(super) async fn redeem(&self, client: &str, more: &[(&str, &str)]) -> Result<TokenResponse, OAuthError> {
        let assertion = self.fresh_assertion(client);
        let mut all = with_assertion(&assertion);
        all.extend(more);
        Ok(self.post_token(&all, &mtls()).await?.body)
    }
}

pub(super) fn query(location: &str) -> HashMap<String, String> {
    let (uri, query) = location.split_once('?').unwrap();
    assert_eq!(uri, REDIRECT);
    let decode = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8().unwrap().into_owned();
    query.split('&').map(|pair| pair.split_once('=').unwrap()).map(|(n, v)| (decode(n), decode(v))).collect()
}

pub(super) fn by_code(code: &str) -> [(&str, &str); 4] {
    [("grant_type", "authorization_code"), ("code", code), ("redirect_uri", REDIRECT), ("code_verifier", VERIFIER)]
}

#[tokio::test]
async fn a_user_s_approval_becomes_tokens_that_can_be_renewed_and_withdrawn() {
    let world = two_clients().await;
    let pushed = world.push("a", &request_parameters()).await.unwrap();
    assert!(pushed.request_uri.starts_with("urn:ietf:params:oauth:request_uri:") && pushed.expires_in == 90);
    let answer = query(&world.approve("a", &pushed.request_uri).unwrap());
    assert_eq!((answer["state"].as_str(), answer["iss"].as_str(), answer.len()), ("s", ISSUER, 3), "{answer:?}");
    let body = world.redeem("a", &by_code(&answer["code"])).await.unwrap();
    assert_eq!((body.token_type, body.scope.as_deref()), ("Bearer", Some("accounts openid")));
    let (_, claims) = read(&world, &body.access_token);
    assert_eq!(claims["sub"], "user-1");
    assert_eq!(claims["cnf"], json!({ "x5t#S256": Thumbprint([7; 32]).to_string() }));
    let id_token = body.id_token.as_deref().unwrap();
    let id_claims: Value = {
        let part = id_token.split('.').nth(1).unwrap();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    };
    assert_eq!(
        (&id_claims["aud"], &id_claims["nonce"], &id_claims["acr"], &id_claims["auth_time"], &id_claims["sub"]),
        (&json!("a"), &json!("n"), &json!("urn:acr:one"), &json!(NOW), &json!("user-1"))
    );
    assert!(world.authenticator.authenticate(id_token, &mtls(), world.clock.now()).await.is_err(), "no access token");

    // FAPI 2.0 §5.3.2.1-9: the same refresh token works again, and another client's does not.
    let refresh = body.refresh_token.unwrap();
    let by_refresh = [("grant_type", "refresh_token"), ("refresh_token", refresh.as_str())];
    for _ in 0..2 {
        let renewed = world.redeem("a", &by_refresh).await.unwrap();
        assert!(renewed.refresh_token.is_none(), "not rotated");
        assert_eq!(read(&world, &renewed.access_token).1["scope"], "accounts openid");
    }
    let narrowed = world.redeem("a", &[&by_refresh[..], &[("scope", "accounts")]].concat()).await.unwrap();
    assert_eq!((narrowed.scope.as_deref(), narrowed.id_token), (Some("accounts"), None));
    let wider = world.redeem("a", &[&by_refresh[..], &[("scope", "accounts payments")]].concat()).await;
    assert_eq!(wider.map(drop).unwrap_err().code(), "invalid_scope");
    let stolen = world.redeem("b", &by_refresh).await;
    assert_eq!(stolen.map(drop).unwrap_err().code(), "invalid_grant");

    // RFC 7009 §2.1: with the refresh token goes all that came of it.
    let assertion = world.fresh_assertion("a");
    let mut form = with_assertion(&assertion);
    form.push(("token", &refresh));
    let (headers, encoded, connection) = (form_headers(), encode(&form), mtls());
    let request = Request { headers: &headers, body: encoded.as_bytes(), connection: &connection };
    world.server.revoke(request).await.unwrap();
    assert!(world.authenticator.authenticate(&narrowed.access_token, &mtls(), world.clock.now()).await.is_err());
    assert_eq!(world.redeem("a", &by_refresh).await.map(drop).unwrap_err().code(), "invalid_grant");
    world.clock.set(NOW + 91 * 86_400);
}

#[tokio::test]
async fn a_request_is_opened_often_and_decided_once() {
    let world = two_clients().await;
    let pushed = world.push("a", &request_parameters()).await.unwrap();
    let uri = pushed.request_uri.as_str();
    let now = world.clock.now();
    assert!(matches!(world.server.open("b", uri, now), Err(NotOpen::Unknown)), "another client's");
    assert!(matches!(world.server.spend("a", uri, now), Err(NotOpen::Unknown)), "nobody looked at it");
    world.server.open("a", uri, now).unwrap();
    // The user takes longer than the request_uri lives.
    world.clock.set(NOW + 200);
    assert!(world.server.open("a", uri, world.clock.now()).is_ok());
    assert!(world.approve("a", uri).is_ok());
    assert!(matches!(world.approve("a", uri), Err(DecisionError::NotOpen(NotOpen::Unknown))));

    let late = world.push("a", &request_parameters()).await.unwrap();
    world.server.open("a", &late.request_uri, world.clock.now()).unwrap();
    world.clock.set(NOW + 200 + 600);
    assert!(matches!(world.server.open("a", &late.request_uri, world.clock.now()), Err(NotOpen::TimedOut(_))));
    let told = world.server.approve("a", &late.request_uri, world.approval(), world.clock.now()).ok().unwrap().response;
    let AuthorizationResponse::Redirect { location } = told else { panic!("a redirect") };
    let answer = query(&location);
    assert_eq!(
        (answer["error"].as_str(), answer["state"].as_str(), answer["iss"].as_str()),
        ("access_denied", "s", ISSUER)
    );

    let expired = world.push("a", &request_parameters()).await.unwrap();
    world.clock.set(NOW + 200 + 600 + 90);
    assert!(matches!(world.server.open("a", &expired.request_uri, world.clock.now()), Err(NotOpen::Unknown)));
}

#[tokio::test]
async fn a_code_is_worth_something_once_for_a_minute_to_whom_it_was_given() {
    let world = two_clients().await;
    let altered = |code: &str, name: &str, value: Option<&str>| -> Vec<(String, String)> {
        let mut all: Vec<_> = by_code(code).map(|(n, v)| (n.to_owned(), v.to_owned())).to_vec();
        all.retain(|(n, _)| n != name);
        all.extend(value.map(|value| (name.to_owned(), value.to_owned())));
        all
    };
    for (name, parameter, value, expected) in [
        ("no verifier", "code_verifier", None, "invalid_grant"),
        ("a wrong verifier", "code_verifier", Some("b-verifier-of-the-fewest-characters-43-long"), "invalid_grant"),
        ("a short verifier", "code_verifier", Some("short"), "invalid_grant"),
        ("another redirect", "redirect_uri", Some("https://tpp.example/cb2"), "invalid_grant"),
        ("no redirect", "redirect_uri", None, "invalid_grant"),
        ("another code", "code", Some("x"), "invalid_grant"),
        ("no code", "code", None, "invalid_request"),
    ] {
        let code = world.code("a").await;
        let form = altered(&code, parameter, value);
        let form: Vec<_> = form.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(world.redeem("a", &form).await.map(drop).unwrap_err().code(), expected, "{name}");
    }
    let code = world.code("a").await;
    assert_eq!(
        world.redeem("b", &by_code(&code)).await.map(drop).unwrap_err().code(),
        "invalid_grant",
        "another client"
    );
    let first = world.redeem("a", &by_code(&code)).await.unwrap();
    assert!(world.authenticator.authenticate(&first.access_token, &mtls(), world.clock.now()).await.is_ok());
    assert_eq!(world.redeem("a", &by_code(&code)).await.map(drop).unwrap_err().code(), "invalid_grant", "again");
    let dead = world.authenticator.authenticate(&first.access_token, &mtls(), world.clock.now()).await;
    assert!(dead.is_err(), "what the first use issued is void");
    let refresh = first.refresh_token.unwrap();
    let by_refresh = [("grant_type", "refresh_token"), ("refresh_token", refresh.as_str())];
    assert_eq!(world.redeem("a", &by_refresh).await.map(drop).unwrap_err().code(), "invalid_grant");

    let code = world.code("a").await;
    world.clock.set(NOW + 60);
    assert_eq!(world.redeem("a", &by_code(&code)).await.map(drop).unwrap_err().code(), "invalid_grant", "expired");
}

#[tokio::test]
async fn each_parameter_of_a_request_is_checked() {
    let world = two_clients().await;
    let long = "x".repeat(5_000);
    let jkt = Thumbprint([7; 32]).to_string();
    for (name, parameter, value, expected) in [
        ("as it should be", "x", Some("y"), None),
        ("a long state", "state", Some(&*"s".repeat(1_000)), None),
        ("no state", "state", None, None),
        ("a longer state than is echoed", "state", Some(&*long), Some("invalid_request")),
        ("no response type", "response_type", None, Some("invalid_request")),
        ("hybrid", "response_type", Some("code id_token"), Some("unsupported_response_type")),
        ("token", "response_type", Some("token"), Some("unsupported_response_type")),
        ("no redirect", "redirect_uri", None, Some("invalid_request")),
        ("an unknown redirect", "redirect_uri", Some("https://evil.example/"), Some("invalid_request")),
        ("a longer redirect", "redirect_uri", Some("https://tpp.example/cb/"), Some("invalid_request")),
        ("no challenge", "code_challenge", None, Some("invalid_request")),
        ("a plain challenge", "code_challenge_method", Some("plain"), Some("invalid_request")),
        ("no method", "code_challenge_method", None, Some("invalid_request")),
        ("a malformed challenge", "code_challenge", Some("abc"), Some("invalid_request")),
        ("a scope beyond", "scope", Some("openid admin"), Some("invalid_scope")),
        ("a request_uri", "request_uri", Some("urn:x"), Some("invalid_request")),
        ("an unknown resource", "resource", Some("https://x.example"), Some("invalid_target")),
        ("the resource as browsers write it", "resource", Some("https://api.example/"), None),
        ("an API with a slash", "resource", Some("https://api.example/bank/"), Some("invalid_target")),
        (
            "an unknown detail type",
            "authorization_details",
            Some("[{\"type\":\"x\"}]"),
            Some("invalid_authorization_details"),
        ),
        ("an unknown mode", "response_mode", Some("fragment"), Some("invalid_request")),
        ("a negative max_age", "max_age", Some("-1"), Some("invalid_request")),
        ("a max_age with a sign", "max_age", Some("+5"), Some("invalid_request")),
        ("a max_age beyond all numbers", "max_age", Some("99999999999999999999"), Some("invalid_request")),
        ("a max_age of zero", "max_age", Some("0"), None),
        ("malformed claims", "claims", Some("[]"), Some("invalid_request")),
        ("none and login", "prompt", Some("none login"), Some("invalid_request")),
        ("an unknown prompt", "prompt", Some("dance"), Some("invalid_request")),
        ("no thumbprint", "dpop_jkt", Some("x"), Some("invalid_request")),
        ("a key that its code could never be redeemed with", "dpop_jkt", Some(&jkt), Some("invalid_request")),
    ] {
        let mut parameters = request_parameters();
        parameters.retain(|(n, _)| n != parameter);
        parameters.extend(value.map(|value| (parameter.to_owned(), value.to_owned())));
        let code = world.push("a", &parameters).await.err().map(|error| error.code());
        assert_eq!(code, expected, "{name}");
    }
}

#[tokio::test]
async fn one_client_fills_its_own_share_only() {
    let world = two_clients().await;
    for _ in 0..20 {
        world.push("a", &request_parameters()).await.unwrap();
    }
    let full = world.push("a", &request_parameters()).await.unwrap_err();
    assert_eq!((full.code(), full.status().as_u16()), ("temporarily_unavailable", 429));
    assert!(world.push("b", &request_parameters()).await.is_ok());
    world.clock.set(NOW + 90);
    assert!(world.push("a", &request_parameters()).await.is_ok(), "what expired makes room");
}

/// RFC 9126 §2.3 is about what is outstanding: however many a client finishes, it may begin the next.
#[tokio::test]
async fn what_is_finished_is_not_outstanding() {
    let world = two_clients().await;
    for nth in 0..50 {
        let code = world.code("a").await;
        if nth % 2 == 0 {
            world.redeem("a", &by_code(&code)).await.unwrap();
            continue;
        }
        let pushed = world.push("a", &request_parameters()).await.unwrap();
        world.server.open("a", &pushed.request_uri, world.clock.now()).unwrap();
        let refused = AuthorizationError::Refused;
        world.server.refuse("a", &pushed.request_uri, refused, world.clock.now()).ok().unwrap();
        let spoilt = [&by_code(&code)[..3], &[("code_verifier", "x")]].concat();
        assert_eq!(world.redeem("a", &spoilt).await.map(drop).unwrap_err().code(), "invalid_grant");
        let again = world.redeem("a", &by_code(&code)).await;
        assert_eq!(again.map(drop).unwrap_err().code(), "invalid_grant", "spent by the first attempt");
    }
    let held = |world: &World| world.server.parts.outstanding.held().map(|(_, held, _)| held);
    assert_eq!(held(&world), [0, 0, 0]);
    // What nobody fetched, and nobody decided, does take its place, for as long as it lasts.
    for _ in 0..20 {
        world.code("a").await;
    }
    let pushed = world.push("a", &request_parameters()).await.unwrap();
    let full = query(&world.approve("a", &pushed.request_uri).unwrap());
    assert_eq!(full["error"], "temporarily_unavailable");
    world.clock.set(NOW + 60);
    assert_eq!(held(&world), [0, 20, 0], "nobody came since");
    world.code("a").await;
    assert_eq!(held(&world), [0, 1, 0]);
    for _ in 0..20 {
        let pushed = world.push("a", &request_parameters()).await.unwrap();
        world.server.open("a", &pushed.request_uri, world.clock.now()).unwrap();
    }
    assert_eq!(world.push("a", &request_parameters()).await.unwrap_err().status().as_u16(), 429);
    world.clock.set(NOW + 60 + 600);
    assert!(world.push("a", &request_parameters()).await.is_ok(), "they timed out");
}

/// RFC 6749 §4.1.2: ten minutes after its use a code still ends what came of it.
#[tokio::test]
async fn the_reuse_of_a_code_is_noticed_after_its_end() {
    let world = two_clients().await;
    let code = world.code("a").await;
    world.clock.set(NOW + 59);
    let body = world.redeem("a", &by_code(&code)).await.unwrap();
    world.clock.set(NOW + 59 + 599);
    let again = world.redeem("a", &by_code(&code)).await;
    assert_eq!(again.map(drop).unwrap_err().code(), "invalid_grant");
    let refresh = body.refresh_token.unwrap();
    let refreshed = world.redeem("a", &[("grant_type", "refresh_token"), ("refresh_token", &refresh)]).await;
    assert_eq!(refreshed.map(drop).unwrap_err().code(), "invalid_grant", "its grant has ended");
}

/// Open Finance Brasil BR-AS-21: refused even where it is one, which others take.
#[tokio::test]
async fn brazil_takes_no_id_token_hint() {
    for (profile, taken) in [
        (Profile::Fapi1Advanced(Fapi1Variant::Base), true),
        (Profile::Fapi1Advanced(Fapi1Variant::Brazil), false),
        (Profile::Fapi2MessageSigning, true),
    ] {
        let world = world_of(|world| vec![code_client(world, "m", profile)]).await;
        let push = async |claim: &str, value: &str| {
            let signed = object(&world, claim, value.into());
            world.push("m", &[("request".to_owned(), signed)]).await.map(drop)
        };
        let claims = json!({ "iss": ISSUER, "aud": "m", "sub": "user-1", "auth_time": NOW });
        let hint = world.server.parts.keys.current().sign("JWT", &claims).unwrap();
        assert!(push("x", &hint).await.is_ok(), "{profile}");
        assert!(push("id_token_hint", "e30.e30.x").await.is_err(), "{profile}");
        let hinted = push("id_token_hint", &hint).await;
        assert_eq!(hinted.is_ok(), taken, "{profile}: {hinted:?}");
    }
}

fn object_claims(world: &World) -> Value {
    let now = world.clock.now().secs();
    let mut claims = json!({ "iss": "m", "client_id": "m", "aud": ISSUER, "nbf": now, "exp": now + 300, "iat": now });
    for (n, v) in request_parameters() {
        claims[n] = v.into();
    }
    claims["response_mode"] = "jwt".into();
    claims
}

/// A request object as FAPI 2.0 Message Signing wants it, with one claim changed; null removes it.
fn object(world: &World, name: &str, value: Value) -> String {
    let mut claims = object_claims(world);
    match value {
        Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
        value => claims[name] = value,
    }
    world.key.sign("oauth-authz-req+jwt", &claims).unwrap()
}

/// UK Open Banking: when the refresh token ends, said to who has one.
#[tokio::test]
async fn an_id_token_of_the_uk_says_when_a_refresh_token_ends_that_there_is() {
    for refreshes in [true, false] {
        let world = world_of(|world| {
            let (client, registration) = code_client(world, "m", Profile::Fapi1Advanced(Fapi1Variant::Uk));
            let mut metadata = (*registration.metadata).clone();
            if !refreshes {
                metadata.grant_types = [GrantType::AuthorizationCode].into_iter().collect();
            }
            vec![(client, ClientRegistration { metadata: Arc::new(metadata), ..registration })]
        })
        .await;
        let signed = object(&world, "x", "y".into());
        let uri = world.push("m", &[("request".to_owned(), signed)]).await.unwrap().request_uri;
        let response = query(&world.approve("m", &uri).unwrap())["response"].clone();
        let code = payload(&response)["code"].as_str().unwrap().to_owned();
        let tokens = world.redeem("m", &by_code(&code)).await.unwrap();
        assert_eq!(tokens.refresh_token.is_some(), refreshes);
        let claims = payload(&tokens.id_token.unwrap());
        let expected = if refreshes { json!(NOW + 90 * 86_400) } else { Value::Null };
        assert_eq!(claims["http://openbanking.org.uk/refresh_token_expires_at"], expected);
    }
}

/// RFC 9101 §4, §6.3.
#[tokio::test]
async fn what_is_signed_has_the_json_type_that_it_is_defined_with() {
    let world = world_of(|world| vec![code_client(world, "m", Profile::Fapi2MessageSigning)]).await;
    let push = async |claim: &str, value: Value| {
        let mut claims = object_claims(&world);
        claims[claim] = value;
        let object = world.key.sign("oauth-authz-req+jwt", &claims).unwrap();
        world.push("m", &[("request".to_owned(), object)]).await.map(drop).map_err(|error| error.code())
    };
    let texts = [
        "response_type",
        "redirect_uri",
        "scope",
        "state",
        "nonce",
        "response_mode",
        "code_challenge",
        "code_challenge_method",
        "dpop_jkt",
        "prompt",
        "display",
        "ui_locales",
        "claims_locales",
        "id_token_hint",
        "login_hint",
        "acr_values",
    ];
    for name in texts {
        for value in [json!(7), json!(true), json!(null), json!(["s"]), json!({ "s": 1 })] {
            assert_eq!(push(name, value.clone()).await, Err("invalid_request_object"), "{name}: {value}");
        }
    }
    for (name, value, good) in [
        ("max_age", json!(60), true),
        ("max_age", json!("60"), true),
        ("max_age", json!(60.5), false),
        ("max_age", json!(-1), false),
        ("max_age", json!(true), false),
        ("claims", json!({ "id_token": { "acr": null } }), true),
        ("claims", json!(r#"{"id_token":{"acr":null}}"#), false),
        ("claims", json!([]), false),
        ("claims", json!(1), false),
        ("authorization_details", json!("[]"), false),
        ("authorization_details", json!({ "type": "payment" }), false),
        ("authorization_details", json!(null), false),
        ("resource", json!(RESOURCE), true),
        ("resource", json!([RESOURCE]), true),
        ("resource", json!([RESOURCE, 1]), false),
        ("resource", json!(1), false),
        // No parameters, and so nobody's business here.
        ("jti", json!(1), true),
        ("x", json!(null), true),
    ] {
        let expected = if good { Ok(()) } else { Err("invalid_request_object") };
        assert_eq!(push(name, value.clone()).await, expected, "{name}: {value}");
    }
}

#[tokio::test]
async fn signed_requests_are_held_to_their_checklist() {
    let world = world_of(|world| vec![code_client(world, "m", Profile::Fapi2MessageSigning)]).await;
    for (name, claim, value, good) in [
        ("as it should be", "x", json!(1), true),
        ("an array of audiences", "aud", json!(["https://x.example", ISSUER]), true),
        ("no iss", "iss", Value::Null, true),
        ("nbf 8 s ahead", "nbf", json!(NOW + 8), true),
        ("another audience", "aud", json!("https://x.example"), false),
        ("no audience", "aud", Value::Null, false),
        ("another client", "client_id", json!("n"), false),
        ("another issuer", "iss", json!("n"), false),
        ("no client", "client_id", Value::Null, false),
        ("no nbf", "nbf", Value::Null, false),
        ("no exp", "exp", Value::Null, false),
        ("nbf 70 minutes old", "nbf", json!(NOW - 4_200), false),
        ("exp 70 minutes behind nbf", "exp", json!(NOW + 4_200), false),
        ("expired", "exp", json!(NOW), false),
        ("nbf 65 s ahead", "nbf", json!(NOW + 65), false),
        ("a subject", "sub", json!("m"), false),
        ("a request within", "request", json!("x"), false),
        ("a request_uri within", "request_uri", json!("urn:x"), false),
        ("no redirect within", "redirect_uri", Value::Null, false),
        ("an unsigned response mode", "response_mode", Value::Null, false),
    ] {
        let pushed = world.push("m", &[("request".to_owned(), object(&world, claim, value))]).await;
        assert_eq!(pushed.is_ok(), good, "{name}: {:?}", pushed.err());
    }
    let (other, _) = SigningKey::generate(Algorithm::Es256).unwrap();
    let good = object(&world, "x", json!(1));
    let foreign = other.sign("oauth-authz-req+jwt", &json!({ "client_id": "m" })).unwrap();
    for (name, parameters) in [
        ("unsigned", request_parameters()),
        ("signed by another", vec![("request".to_owned(), foreign)]),
        ("not a JWS", vec![("request".to_owned(), "abc".to_owned())]),
        ("parameters beside it", vec![("request".to_owned(), good.clone()), ("scope".to_owned(), "openid".to_owned())]),
    ] {
        assert!(world.push("m", &parameters).await.is_err(), "{name}");
    }
    // JARM: everything within the JWT, and nothing beside it.
    let pushed = world.push("m", &[("request".to_owned(), good)]).await.unwrap();
    let answer = query(&world.approve("m", &pushed.request_uri).unwrap());
    assert_eq!(answer.keys().collect::<Vec<_>>(), ["response"]);
    let part = answer["response"].split('.').nth(1).unwrap();
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
    assert_eq!((&claims["iss"], &claims["aud"], &claims["state"]), (&json!(ISSUER), &json!("m"), &json!("s")));
    assert!(claims["code"].is_string() && claims["exp"].as_i64().unwrap() <= NOW + 600);
}
