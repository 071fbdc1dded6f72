//! CIBA without the wire: requests, hints, decisions, polls, pings (CIBA Core 1.0, FAPI-CIBA).

use secrecy::ExposeSecret;

use super::about_tokens::payload;
use super::code_flow::{code_client, mtls, world_of};
use super::*;

const CIBA: &str = "urn:openid:params:grant-type:ciba";
const NOTIFICATION_TOKEN: &str = "a-bearer-token-of-the-client-1234567890";
const NOTIFIED: &str = "https://tpp.example/notified";

fn pairwise((client, registration): (Client, ClientRegistration)) -> (Client, ClientRegistration) {
    let subject_type = SubjectType::Pairwise { sector: "a.example".into() };
    let metadata = ClientMetadata { subject_type, ..(*registration.metadata).clone() };
    (client, ClientRegistration { metadata: Arc::new(metadata), ..registration })
}

/// `poll`, `other`, `pairwise` and `ping` of FAPI 2.0, `signs` of FAPI 1.0, `plain` of plain OAuth, `code` without the grant.
pub(super) async fn ciba_world() -> World {
    world_of(|world| {
        let client = |id: &str, profile, delivery: CibaDelivery| {
            let (client, registration) = code_client(world, id, profile);
            let metadata = ClientMetadata {
                grant_types: [GrantType::Ciba, GrantType::RefreshToken].into_iter().collect(),
                ciba: Some(delivery),
                ..ClientMetadata::default()
            };
            (client, ClientRegistration { metadata: Arc::new(metadata), ..registration })
        };
        vec![
            client("poll", Profile::Fapi2Security, CibaDelivery::Poll),
            client("other", Profile::Fapi2Security, CibaDelivery::Poll),
            client("ping", Profile::Fapi2Security, CibaDelivery::Ping { notification_endpoint: NOTIFIED.into() }),
            client("signs", Profile::Fapi1Advanced(Fapi1Variant::Base), CibaDelivery::Poll),
            client("plain", Profile::PlainOauth, CibaDelivery::Poll),
            pairwise(client("pairwise", Profile::Fapi2Security, CibaDelivery::Poll)),
            code_client(world, "code", Profile::Fapi2Security),
        ]
    })
    .await
}

const GOOD: [(&str, &str); 3] =
    [("scope", "openid accounts"), ("login_hint", "alice"), ("binding_message", "Pay 12 EUR")];

/// The parameters with one changed; an empty value removes it.
fn changed<'a>(name: &'a str, value: &'a str) -> Vec<(&'a str, &'a str)> {
    let mut all: Vec<_> = GOOD.into_iter().filter(|(other, _)| *other != name).collect();
    if !value.is_empty() {
        all.push((name, value));
    }
    all
}

impl World {
    async fn ask(&self, client: &str, parameters: &[(&str, &str)]) -> Result<BackchannelResponse, OAuthError> {
        let assertion = self.fresh_assertion(client);
        let mut all = with_assertion(&assertion);
        all.extend(parameters);
        let (headers, body, connection) = (form_headers(), encode(&all), mtls());
        let request = Request { headers: &headers, body: body.as_bytes(), connection: &connection };
        Ok(self.server.backchannel(request).await?.body)
    }

    async fn asked(&self, client: &str) -> String {
        let more: &[_] = if client == "ping" { &[("client_notification_token", NOTIFICATION_TOKEN)] } else { &[] };
        self.ask(client, &[&GOOD[..], more].concat()).await.unwrap().auth_req_id
    }

    pub(super) async fn asked_to(&self, client: &str, message: &str) -> String {
        let mut all = changed("binding_message", message);
        all.push(("claims", r#"{"id_token":{"auth_time":null}}"#));
        self.ask(client, &all).await.unwrap().auth_req_id
    }

    /// The code of the error, or nothing.
    async fn poll(&self, client: &str, auth_req_id: &str) -> Result<TokenResponse, &'static str> {
        let answer = self.redeem(client, &[("grant_type", CIBA), ("auth_req_id", auth_req_id)]).await;
        answer.map_err(|error| error.code())
    }

    fn approve_backchannel(&self, auth_req_id: &str) -> Result<(), BackchannelDecisionError> {
        let now = self.clock.now();
        let decision = self.server.waiting_request(auth_req_id, now)?.approve_all(now);
        self.server.decide_backchannel(auth_req_id, decision, now)
    }

    fn at(&self, after: i64) {
        self.clock.set(NOW + after);
    }
}

#[tokio::test]
async fn a_client_polls_until_the_user_has_approved_and_gets_tokens_once() {
    let world = ciba_world().await;
    let answer = world.ask("poll", &[&GOOD[..], &[("acr_values", "urn:acr:strong")]].concat()).await.unwrap();
    assert_eq!((answer.expires_in, answer.interval), (300, 5));
    let id = answer.auth_req_id.as_str();
    // CIBA Core §7.3: 128 bits at least, of A-Z a-z 0-9 . - _
    assert!(id.len() >= 22 && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_')), "{id}");
    assert_eq!(world.poll("poll", id).await.map(drop), Err("authorization_pending"));
    assert_eq!(world.poll("other", id).await.map(drop), Err("invalid_grant"), "another client's (§11)");
    assert_eq!(world.poll("poll", "x").await.map(drop), Err("invalid_grant"), "unknown");
    world.approve_backchannel(id).unwrap();
    assert_eq!(world.approve_backchannel(id), Err(BackchannelDecisionError::Decided));
    let (one, two) = tokio::join!(world.poll("poll", id), world.poll("poll", id));
    let (body, refused) = if one.is_ok() { (one, two) } else { (two, one) };
    assert_eq!(refused.map(drop), Err("invalid_grant"), "of two at once one is served");
    let body = body.unwrap();
    assert_eq!(body.scope.as_deref(), Some("accounts openid"));
    let id_claims = payload(body.id_token.as_deref().unwrap());
    assert_eq!((&id_claims["sub"], &id_claims["aud"]), (&json!("user-1"), &json!("poll")));
    assert_eq!(id_claims["acr"], "urn:acr:strong", "FAPI-CIBA §5.2.2-8");
    assert_eq!(id_claims.get("urn:openid:params:jwt:claim:auth_req_id"), None, "of push alone (§10.3.1)");
    assert_eq!(read(&world, &body.access_token).1["cnf"], json!({ "x5t#S256": Thumbprint([7; 32]).to_string() }));
    let refresh = body.refresh_token.unwrap();
    let renewed = world.redeem("poll", &[("grant_type", "refresh_token"), ("refresh_token", &refresh)]).await;
    assert!(renewed.is_ok());
    assert_eq!(world.poll("poll", id).await.map(drop), Err("invalid_grant"), "again");
}

/// CIBA Core §11.
#[tokio::test]
async fn who_polls_too_often_waits_five_seconds_longer_each_time() {
    let world = ciba_world().await;
    let id = world.asked("poll").await;
    for (after, expected) in [
        (0, "authorization_pending"),
        (4, "slow_down"),              // From now on 10 s.
        (13, "slow_down"),             // 15 s.
        (28, "authorization_pending"), // Exactly.
        (42, "slow_down"),             // 20 s.
        (62, "authorization_pending"),
        (300, "expired_token"),
        (301, "expired_token"),
    ] {
        world.at(after);
        assert_eq!(world.poll("poll", &id).await.map(drop), Err(expected), "after {after} s");
    }
    assert_eq!(world.approve_backchannel(&id), Err(BackchannelDecisionError::Expired));
    world.at(300 + 600);
    assert_eq!(world.poll("poll", &id).await.map(drop), Err("invalid_grant"), "forgotten");
}

#[tokio::test]
async fn a_refusal_is_final_and_an_approval_that_nobody_fetches_ends() {
    let world = ciba_world().await;
    let (refused, kept) = (world.asked("poll").await, world.asked("poll").await);
    world.server.decide_backchannel(&refused, BackchannelDecision::Deny, world.clock.now()).unwrap();
    for _ in 0..2 {
        assert_eq!(world.poll("poll", &refused).await.map(drop), Err("access_denied"));
    }
    assert_eq!(world.approve_backchannel(&refused), Err(BackchannelDecisionError::Decided));
    assert_eq!(world.approve_backchannel("x"), Err(BackchannelDecisionError::Unknown));
    let now = world.clock.now();
    let BackchannelDecision::Approve(approval) = world.server.waiting_request(&kept, now).unwrap().approve_all(now)
    else {
        panic!("an approval")
    };
    let other = BackchannelDecision::Approve(Approval { subject: "user-2".into(), ..approval });
    assert_eq!(world.server.decide_backchannel(&kept, other, now), Err(BackchannelDecisionError::OtherUser));
    assert_eq!(world.server.waiting_requests(now).len(), 1);
    world.approve_backchannel(&kept).unwrap();
    assert!(world.server.waiting_requests(now).is_empty());
    world.at(300);
    assert_eq!(world.poll("poll", &kept).await.map(drop), Err("expired_token"));
}

#[tokio::test]
async fn what_is_decided_is_not_outstanding() {
    let world = ciba_world().await;
    for nth in 0..50 {
        let id = world.asked("poll").await;
        if nth % 2 == 0 {
            world.server.decide_backchannel(&id, BackchannelDecision::Deny, world.clock.now()).unwrap();
            assert_eq!(world.poll("poll", &id).await.map(drop), Err("access_denied"), "it is known what became of it");
        } else {
            world.approve_backchannel(&id).unwrap();
            world.poll("poll", &id).await.unwrap();
            assert_eq!(world.poll("poll", &id).await.map(drop), Err("invalid_grant"), "once");
        }
    }
    assert_eq!(world.server.parts.outstanding.held()[2].1, 0);
}

/// CIBA Core §10.2.
#[tokio::test]
async fn a_client_is_pinged_once_after_either_decision_and_never_for_an_expiry() {
    let world = ciba_world().await;
    let (approved, denied, _expired) =
        (world.asked("ping").await, world.asked("ping").await, world.asked("ping").await);
    let polled = world.asked("poll").await;
    world.approve_backchannel(&approved).unwrap();
    let _again = world.approve_backchannel(&approved);
    world.server.decide_backchannel(&denied, BackchannelDecision::Deny, world.clock.now()).unwrap();
    world.approve_backchannel(&polled).unwrap();
    world.at(400);
    let _sweeps = world.server.waiting_requests(world.clock.now());
    let notified = world.memory.notified.lock().unwrap();
    let bodies: Vec<Value> = notified.iter().map(|one| serde_json::from_slice(&one.body()).unwrap()).collect();
    assert_eq!(bodies, [json!({ "auth_req_id": approved }), json!({ "auth_req_id": denied })]);
    for one in notified.iter() {
        assert_eq!((&*one.endpoint, one.bearer.expose_secret()), (NOTIFIED, NOTIFICATION_TOKEN));
    }
}

#[tokio::test]
async fn each_parameter_of_a_backchannel_request_is_checked() {
    let world = ciba_world().await;
    let long = "m".repeat(101);
    for (name, client, parameter, value, expected) in [
        ("as it should be", "poll", "x", "y", None),
        ("by subject", "poll", "login_hint", "user-2", None),
        ("of plain OAuth without a message", "plain", "binding_message", "", None),
        ("FAPI-CIBA §5.2.2-2", "poll", "binding_message", "", Some("invalid_request")),
        ("a long message", "poll", "binding_message", &*long, Some("invalid_binding_message")),
        ("a message of two lines", "poll", "binding_message", "a\nb", Some("invalid_binding_message")),
        ("a message that turns round", "poll", "binding_message", "a\u{202e}b", Some("invalid_binding_message")),
        ("a message with letters of others", "poll", "binding_message", "Zahlung für Łódź 5", None),
        ("no scope (§7.1)", "poll", "scope", "", Some("invalid_request")),
        ("no openid", "poll", "scope", "accounts", Some("invalid_scope")),
        ("a scope beyond", "poll", "scope", "openid admin", Some("invalid_scope")),
        ("no hint", "poll", "login_hint", "", Some("invalid_request")),
        ("two hints", "poll", "id_token_hint", "x", Some("invalid_request")),
        ("nobody", "poll", "login_hint", "carol", Some("unknown_user_id")),
        ("an expiry", "poll", "requested_expiry", "60", None),
        ("no expiry", "poll", "requested_expiry", "0", Some("invalid_request")),
        ("a negative expiry", "poll", "requested_expiry", "-1", Some("invalid_request")),
        ("half a second", "poll", "requested_expiry", "0.5", Some("invalid_request")),
        ("another resource", "poll", "resource", "https://x.example", Some("invalid_target")),
        (
            "details of no type",
            "poll",
            "authorization_details",
            "[{\"type\":\"x\"}]",
            Some("invalid_authorization_details"),
        ),
        ("an unknown parameter", "poll", "user_code", "1234", None),
        ("no notification token", "ping", "x", "y", Some("invalid_request")),
        ("a short one", "ping", "client_notification_token", "short", Some("invalid_request")),
        ("a long one", "ping", "client_notification_token", &*"t".repeat(1_025), Some("invalid_request")),
        ("one with spaces", "ping", "client_notification_token", "a bearer token with blanks", Some("invalid_request")),
        ("the longest", "ping", "client_notification_token", &*"t".repeat(1_024), None),
        ("unsigned of FAPI 1.0 (FAPI-CIBA §5.2.2-6)", "signs", "x", "y", Some("invalid_request")),
        ("without the grant", "code", "x", "y", Some("unauthorized_client")),
    ] {
        let outcome = world.ask(client, &changed(parameter, value)).await;
        assert_eq!(outcome.err().map(|error| error.code()), expected, "{name}");
    }
    for (asked, granted) in [("60", 60), ("999999", 1_800)] {
        assert_eq!(world.ask("poll", &changed("requested_expiry", asked)).await.unwrap().expires_in, granted);
    }
}

/// OpenID Connect Core §5.5.1, §5.5.1.1: what is asked for is obeyed or refused, never echoed. A user of this world satisfies
/// `urn:acr:usual` and `urn:acr:strong`.
#[tokio::test]
async fn tokens_say_how_the_user_was_authenticated_and_not_what_was_asked_for() {
    let world = ciba_world().await;
    let acr = |claim: Value| json!({ "id_token": { "acr": claim } }).to_string();
    let sub = |sub: &str| json!({ "id_token": { "sub": { "value": sub } } }).to_string();
    let unmet = Err("unmet_authentication_requirements");
    for (name, parameter, expected) in [
        ("nothing", ("x", "y".to_owned()), Ok("urn:acr:usual")),
        ("what is satisfied", ("acr_values", "urn:x urn:acr:strong".to_owned()), Ok("urn:acr:strong")),
        ("what is not", ("acr_values", "urn:nonsense:loa99".to_owned()), unmet),
        (
            "an essential claim",
            ("claims", acr(json!({ "essential": true, "value": "urn:acr:strong" }))),
            Ok("urn:acr:strong"),
        ),
        ("one that is not met", ("claims", acr(json!({ "essential": true, "values": ["urn:nope"] }))), unmet),
        ("a voluntary one", ("claims", acr(json!({ "value": "urn:nope" }))), Ok("urn:acr:usual")),
        ("who is hinted at", ("claims", sub("user-1")), Ok("urn:acr:usual")),
        ("somebody else", ("claims", sub("user-2")), Err("unknown_user_id")),
        ("more than are read", ("acr_values", "urn:acr:usual ".repeat(17)), Err("invalid_request")),
    ] {
        let asked = world.ask("poll", &[&GOOD[..], &[(parameter.0, parameter.1.as_str())]].concat()).await;
        let told = match asked {
            Ok(answer) => {
                world.approve_backchannel(&answer.auth_req_id).unwrap();
                let tokens = world.poll("poll", &answer.auth_req_id).await.unwrap();
                let [id, access] = [tokens.id_token.unwrap(), tokens.access_token].map(|token| payload(&token));
                assert_eq!(id["acr"], access["acr"], "{name}");
                Ok(id["acr"].as_str().unwrap().to_owned())
            }
            Err(error) => Err(error.code()),
        };
        assert_eq!(told.as_deref().map_err(|code| *code), expected, "{name}");
    }
}

#[tokio::test]
async fn hints_lead_to_users_of_ours_only() {
    let world = ciba_world().await;
    let id = world.asked("poll").await;
    world.approve_backchannel(&id).unwrap();
    let tokens = world.poll("poll", &id).await.unwrap();
    let id_token = tokens.id_token.unwrap();
    world.at(1_000); // It has expired, and is a hint all the same.
    let now = NOW + 1_000;
    let signed = |changes: Value| {
        let mut claims = json!({ "iss": "poll", "aud": ISSUER, "exp": now + 60,
            "sub_id": { "format": "opaque", "id": "user-2" } });
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        world.key.sign("JWT", &claims).unwrap()
    };
    let typed = |typ: &str| {
        let claims = json!({ "iss": "poll", "aud": ISSUER, "exp": now + 60,
            "sub_id": { "format": "opaque", "id": "user-2" } });
        world.key.sign(typ, &claims).unwrap()
    };
    let forged = world.key.sign("JWT", &payload(&id_token)).unwrap();
    for (name, client, hint, value, expected) in [
        ("an ID token", "poll", "id_token_hint", id_token.clone(), None),
        ("another client's", "other", "id_token_hint", id_token.clone(), Some("invalid_request")),
        ("an access token", "poll", "id_token_hint", tokens.access_token.clone(), Some("invalid_request")),
        ("a forged one", "poll", "id_token_hint", forged, Some("invalid_request")),
        ("garbage", "poll", "id_token_hint", "x".to_owned(), Some("invalid_request")),
        ("a hint token", "poll", "login_hint_token", signed(json!({})), None),
        ("expired", "poll", "login_hint_token", signed(json!({ "exp": now })), Some("expired_login_hint_token")),
        ("a little ahead", "poll", "login_hint_token", signed(json!({ "nbf": now + 10, "iat": now + 10 })), None),
        (
            "nbf an hour ahead",
            "poll",
            "login_hint_token",
            signed(json!({ "nbf": now + 3_600 })),
            Some("invalid_request"),
        ),
        (
            "iat an hour ahead",
            "poll",
            "login_hint_token",
            signed(json!({ "iat": now + 3_600 })),
            Some("invalid_request"),
        ),
        ("nbf of no type", "poll", "login_hint_token", signed(json!({ "nbf": "soon" })), Some("invalid_request")),
        ("its sub too", "poll", "login_hint_token", signed(json!({ "sub": "user-2" })), None),
        ("a client assertion", "poll", "login_hint_token", signed(json!({ "sub": "poll" })), Some("invalid_request")),
        ("one by its typ", "poll", "login_hint_token", typed("client-authentication+jwt"), Some("invalid_request")),
        ("a request by its typ", "poll", "login_hint_token", typed("oauth-authz-req+jwt"), Some("invalid_request")),
        ("another's", "other", "login_hint_token", signed(json!({})), Some("invalid_request")),
        ("another audience", "poll", "login_hint_token", signed(json!({ "aud": "x" })), Some("invalid_request")),
        ("no name", "poll", "login_hint_token", signed(json!({ "sub_id": {} })), Some("invalid_request")),
        (
            "nobody",
            "poll",
            "login_hint_token",
            signed(json!({ "sub_id": { "format": "opaque", "id": "x" } })),
            Some("unknown_user_id"),
        ),
    ] {
        let parameters = [("scope", "openid"), ("binding_message", "b"), (hint, value.as_str())];
        let outcome = world.ask(client, &parameters).await;
        assert_eq!(outcome.err().map(|error| error.code()), expected, "{name}");
    }
}

/// OpenID Connect Core §8: nobody learns by hints which public name goes with which pairwise one.
#[tokio::test]
async fn a_pairwise_client_knows_users_by_what_they_type_and_by_no_subject() {
    let world = ciba_world().await;
    let parameters = [("scope", "openid"), ("binding_message", "b"), ("login_hint", "alice")];
    let id = world.ask("pairwise", &parameters).await.unwrap().auth_req_id;
    world.approve_backchannel(&id).unwrap();
    let id_token = world.poll("pairwise", &id).await.unwrap().id_token.unwrap();
    let own = payload(&id_token)["sub"].as_str().unwrap().to_owned();
    assert_ne!(own, "user-1");
    let signed = |name: &str| {
        let claims = json!({ "iss": "pairwise", "aud": ISSUER, "exp": NOW + 60,
            "sub_id": { "format": "opaque", "id": name } });
        world.key.sign("JWT", &claims).unwrap()
    };
    for (hint, value, expected) in [
        ("login_hint", "alice".to_owned(), None),
        ("login_hint", "user-1".to_owned(), Some("unknown_user_id")),
        ("login_hint", own.clone(), Some("unknown_user_id")),
        ("login_hint_token", signed("alice"), None),
        ("login_hint_token", signed("user-1"), Some("unknown_user_id")),
        ("login_hint_token", signed(&own), Some("unknown_user_id")),
        ("id_token_hint", id_token.clone(), Some("invalid_request")),
    ] {
        let outcome = world.ask("pairwise", &[("scope", "openid"), ("binding_message", "b"), (hint, &value)]).await;
        assert_eq!(outcome.err().map(|error| error.code()), expected, "{hint} {value}");
    }
}

static OBJECT: AtomicU64 = AtomicU64::new(0);

/// CIBA Core §7.1.1, FAPI-CIBA §5.2.2-9.
#[tokio::test]
async fn signed_requests_have_all_their_claims_and_are_used_once() {
    let world = ciba_world().await;
    let object = |name: &str, value: Value| {
        let jti = format!("o{}", OBJECT.fetch_add(1, Ordering::SeqCst));
        let mut claims = json!({
            "iss": "signs", "aud": ISSUER, "iat": NOW, "nbf": NOW, "exp": NOW + 300, "jti": jti, "scope": "openid",
            "login_hint": "alice", "binding_message": "b", "requested_expiry": 60,
        });
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value,
        }
        world.key.sign("oauth-authz-req+jwt", &claims).unwrap()
    };
    for (name, claim, value, good) in [
        ("as it should be", "x", json!(1), true),
        ("an array of audiences", "aud", json!(["https://x.example", ISSUER]), true),
        ("an expiry as text", "requested_expiry", json!("60"), true),
        ("nbf 8 s ahead", "nbf", json!(NOW + 8), true),
        ("no iss", "iss", Value::Null, false),
        ("no aud", "aud", Value::Null, false),
        ("no iat", "iat", Value::Null, false),
        ("no nbf", "nbf", Value::Null, false),
        ("no exp", "exp", Value::Null, false),
        ("no jti", "jti", Value::Null, false),
        ("another issuer", "iss", json!("poll"), false),
        ("another audience", "aud", json!("https://x.example"), false),
        ("another client_id", "client_id", json!("poll"), false),
        ("a subject", "sub", json!("signs"), false),
        ("expired", "exp", json!(NOW), false),
        ("for 70 minutes", "exp", json!(NOW + 4_200), false),
        ("nbf 10 minutes ahead", "nbf", json!(NOW + 600), false),
        ("nbf 70 minutes old", "nbf", json!(NOW - 4_200), false),
        ("no hint within", "login_hint", Value::Null, false),
    ] {
        let outcome = world.ask("signs", &[("request", &object(claim, value))]).await;
        assert_eq!(outcome.as_ref().err().map(OAuthError::code), (!good).then_some("invalid_request"), "{name}");
        assert!(outcome.is_err() || outcome.unwrap().expires_in == 60, "{name}");
    }
    let once = object("x", json!(1));
    let parameters = [("request", once.as_str())];
    let (one, two) = tokio::join!(world.ask("signs", &parameters), world.ask("signs", &parameters));
    assert_eq!(u8::from(one.is_ok()) + u8::from(two.is_ok()), 1, "of two at once one");
    let (stranger, _) = SigningKey::generate(Algorithm::Es256).unwrap();
    let forged = stranger.sign("JWT", &payload(&object("x", json!(1)))).unwrap();
    let assertion = world.fresh_assertion("signs");
    let beside = object("x", json!(1));
    for (name, parameters) in [
        ("a stranger's", vec![("request", forged.as_str())]),
        ("an assertion", vec![("request", assertion.as_str())]),
        ("garbage", vec![("request", "x")]),
        ("a parameter beside it", vec![("request", beside.as_str()), ("scope", "openid")]),
    ] {
        let outcome = world.ask("signs", &parameters).await;
        assert_eq!(outcome.err().map(|error| error.code()), Some("invalid_request"), "{name}");
    }
}

#[tokio::test]
async fn one_user_is_not_worn_down_and_one_client_fills_its_own_share_only() {
    let world = ciba_world().await;
    for _ in 0..10 {
        world.asked("poll").await;
    }
    let busy = world.ask("poll", &GOOD).await.unwrap_err();
    assert_eq!((busy.code(), busy.status().as_u16()), ("temporarily_unavailable", 429));
    assert!(world.ask("plain", &GOOD).await.is_ok(), "another client's users can still approve");
    let bob = changed("login_hint", "bob");
    for _ in 0..10 {
        world.ask("poll", &bob).await.unwrap();
    }
    let full = world.ask("poll", &bob).await.unwrap_err();
    assert_eq!((full.code(), full.status().as_u16()), ("temporarily_unavailable", 429));
    assert!(world.ask("plain", &bob).await.is_ok(), "who found no room took none of the user's");
    for _ in 0..10 {
        world.asked("other").await;
    }
    assert!(world.ask("other", &GOOD).await.is_err());
    world.at(300);
    assert!(world.ask("other", &GOOD).await.is_ok(), "what expired does not count");
}
