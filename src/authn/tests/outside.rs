//! Outside issuers: their settings, and their keys behind a URL that misbehaves.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use super::*;
use crate::jose::VerifyError;

const OUTSIDE: &str = "https://idp.example/realms/bank";

fn outside(jwks: JwksSource) -> IssuerSettings {
    IssuerSettings {
        issuer: OUTSIDE.into(),
        jwks,
        audiences: vec!["clearway".into()],
        client_claim: "azp".into(),
        tenant_claim: None,
        scope_claim: "scp".into(),
        algorithms: vec![Algorithm::Es256],
        require_at_jwt: false,
        unknown_partners: UnknownPartners::Refuse,
    }
}

fn outside_claims() -> Value {
    json!({ "iss": OUTSIDE, "aud": ["clearway", "x"], "azp": "tpp", "exp": 1300, "scp": ["a", "b"] })
}

fn jwks_file(keys: &[&SigningKey]) -> (tempfile::TempDir, JwksSource) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jwks.json");
    std::fs::write(&path, jwks(keys)).unwrap();
    (directory, JwksSource::File(path))
}

fn jwks(keys: &[&SigningKey]) -> String {
    json!({ "keys": keys.iter().map(|key| key.public_jwk()).collect::<Vec<_>>() }).to_string()
}

#[tokio::test]
async fn an_outside_issuer_is_read_by_its_settings() {
    let key = new_key();
    let (_directory, source) = jwks_file(&[&key]);
    let world = world(vec![outside(source.clone())]);
    let token = world.check(&key.sign("JWT", &outside_claims()).unwrap(), 1100).await.unwrap();
    assert_eq!((token.client_id.as_str(), token.scopes.to_string().as_str()), ("tpp", "a b"));
    assert_eq!((token.tenant.as_ref(), token.jti.as_ref()), (None, None));

    // Its jti is not ours: what we revoked has no meaning there.
    assert!(world.revocations.insert("j1", at(1300)));
    let mut claims = outside_claims();
    claims["jti"] = "j1".into();
    assert!(world.check(&key.sign("JWT", &claims).unwrap(), 1100).await.is_ok());

    let cases: Vec<(&str, String, Expectation)> = vec![
        ("our issuer by its key", key.sign("at+jwt", &super::claims()).unwrap(), |e| {
            matches!(e, AuthnError::Signature(VerifyError::UnknownKid))
        }),
        ("its issuer by our key", world.key.sign("JWT", &outside_claims()).unwrap(), |e| {
            matches!(e, AuthnError::Signature(VerifyError::UnknownKid))
        }),
        (
            "our audience",
            key.sign("JWT", &json!({ "iss": OUTSIDE, "aud": RESOURCE, "azp": "tpp", "exp": 1300 })).unwrap(),
            |e| matches!(e, AuthnError::Audience),
        ),
        ("another kind of JWT", key.sign("dpop+jwt", &outside_claims()).unwrap(), |e| matches!(e, AuthnError::Type)),
        (
            "scopes not texts",
            key.sign("JWT", &json!({ "iss": OUTSIDE, "aud": "clearway", "azp": "tpp", "exp": 1300, "scp": [1] }))
                .unwrap(),
            |e| matches!(e, AuthnError::ClaimValue("scope")),
        ),
    ];
    for (name, token, expected) in cases {
        let error = world.check(&token, 1100).await.expect_err(name);
        assert!(expected(&error), "{name}: {error:?}");
    }

    let strict = IssuerSettings { require_at_jwt: true, tenant_claim: Some("org".into()), ..outside(source) };
    let world = self::world(vec![strict]);
    let mut claims = outside_claims();
    claims
        .as_object_mut()
        .unwrap()
        .extend(json!({ "org": "acme", "sub": "s", "jti": "x", "iat": 1000 }).as_object().unwrap().clone());
    let token = world.check(&key.sign("at+jwt", &claims).unwrap(), 1100).await.unwrap();
    assert_eq!(token.tenant.as_ref().map(TenantId::as_str), Some("acme"));
    assert!(matches!(world.check(&key.sign("JWT", &claims).unwrap(), 1100).await, Err(AuthnError::Type)));
    claims.as_object_mut().unwrap().remove("org");
    assert!(matches!(world.check(&key.sign("at+jwt", &claims).unwrap(), 1100).await, Err(AuthnError::Claim(_))));
}

#[test]
fn a_mistake_in_the_settings_is_found_before_they_are_in_force() {
    let key = new_key();
    let (directory, source) = jwks_file(&[&key]);
    let file = |name: &str, content: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        outside(JwksSource::File(path))
    };
    let url = |url: &str| outside(JwksSource::Url(url.into()));
    let private = json!({ "keys": [{ "kty": "EC", "crv": "P-256", "d": "AA" }] }).to_string();
    for (name, settings, good) in [
        ("a file", outside(source.clone()), true),
        ("https", url("https://idp.example/jwks"), true),
        ("http to a loopback address", url("http://127.0.0.1:1/jwks"), true),
        ("http to the IPv6 loopback address", url("http://[::1]:1/jwks"), true),
        ("http", url("http://idp.example/jwks"), false),
        ("http to a name", url("http://localhost/jwks"), false),
        ("another scheme", url("file:///etc/passwd"), false),
        ("user and password", url("https://u:p@idp.example/jwks"), false),
        ("not a URL", url("idp"), false),
        ("no such file", outside(JwksSource::File(directory.path().join("none"))), false),
        ("no JSON", file("bad", "hello"), false),
        ("no usable key", file("private", &private), false),
        ("too long", file("long", &" ".repeat(256 * 1024 + 1)), false),
        ("no audience", IssuerSettings { audiences: vec![], ..outside(source.clone()) }, false),
        ("no algorithm", IssuerSettings { algorithms: vec![], ..outside(source.clone()) }, false),
    ] {
        assert_eq!(Issuer::outside(settings).is_ok(), good, "{name}");
    }
    let twice = vec![outside(source.clone()), outside(source.clone()), url("x")];
    let errors = Authenticator::new(None, twice, Arc::default()).map(drop).unwrap_err();
    assert!(matches!(errors[..], [IssuerError::Twice(_), IssuerError::Url(..)]), "all mistakes at once: {errors:?}");
    let ours = IssuerSettings { issuer: ISSUER.into(), ..outside(source) };
    let own = Issuer::own(ISSUER, RESOURCE, Arc::default());
    let errors = Authenticator::new(Some(own), vec![ours], Arc::default()).map(drop).unwrap_err();
    assert!(matches!(errors[..], [IssuerError::Twice(_)]), "nobody else may be us");
}

/// A JWKS endpoint on a loopback port whose answer the test sets.
struct Endpoint {
    url: String,
    hits: Arc<AtomicUsize>,
    answer: watch::Sender<Reply>,
}

#[derive(Clone)]
enum Reply {
    Body(String),
    Status(u16),
    Redirect(String),
    /// This body, once another reply is set.
    Late(String),
    Never,
}

async fn endpoint(first: Reply) -> Endpoint {
    let (answer, current) = watch::channel(first);
    let hits = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&hits);
    let handler = move || {
        counter.fetch_add(1, Ordering::SeqCst);
        let mut current = current.clone();
        async move {
            let empty = axum::body::Body::empty;
            let response = http::Response::builder();
            let reply = current.borrow_and_update().clone();
            match reply {
                Reply::Body(body) => response.body(body.into()).unwrap(),
                Reply::Status(status) => response.status(status).body(empty()).unwrap(),
                Reply::Redirect(to) => response.status(302).header("location", to).body(empty()).unwrap(),
                Reply::Late(body) => {
                    current.changed().await.unwrap();
                    response.body(body.into()).unwrap()
                }
                Reply::Never => std::future::pending().await,
            }
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/jwks", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(handler)).await });
    Endpoint { url, hits, answer }
}

impl Endpoint {
    fn hits(&self) -> usize {
        self.hits.load(Ordering::SeqCst)
    }

    /// Until somebody has asked.
    async fn begun(&self) {
        while self.hits() == 0 {
            tokio::task::yield_now().await;
        }
    }

    fn world(&self) -> World {
        world(vec![outside(JwksSource::Url(self.url.clone()))])
    }
}

#[tokio::test]
async fn an_unknown_kid_is_fetched_once_and_not_too_often() {
    let (first, second, never) = (new_key(), new_key(), new_key());
    let endpoint = endpoint(Reply::Body(jwks(&[&first]))).await;
    let world = endpoint.world();
    let token = |key: &SigningKey, i: usize| {
        let mut claims = outside_claims();
        claims["jti"] = i.to_string().into();
        key.sign("JWT", &claims).unwrap()
    };
    // Twenty at once, nothing cached: one fetch.
    let tokens: Vec<_> = (0..20).map(|i| token(&first, i)).collect();
    let all = futures_util::future::join_all(tokens.iter().map(|token| world.check(token, 1000))).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(endpoint.hits(), 1);

    // The issuer rotates, and is followed at once.
    endpoint.answer.send_replace(Reply::Body(jwks(&[&second])));
    let unknown = |e: &AuthnError| matches!(e, AuthnError::Signature(VerifyError::UnknownKid));
    assert!(world.check(&token(&second, 0), 1001).await.is_ok());
    assert_eq!(endpoint.hits(), 2);
    // It rotates again. Within the rate cap the new key stays unknown, and nothing is fetched.
    let third = new_key();
    endpoint.answer.send_replace(Reply::Body(jwks(&[&third, &second])));
    assert!(unknown(&world.check(&token(&third, 0), 1030).await.unwrap_err()));
    assert_eq!(endpoint.hits(), 2);
    assert!(world.check(&token(&third, 0), 1031).await.is_ok());
    assert_eq!(endpoint.hits(), 3);
    // The old key was withdrawn: what it signed is refused, remembered or not.
    assert!(unknown(&world.check(&tokens[0], 1032).await.unwrap_err()));

    // A flood of invented kids costs one fetch per period.
    for i in 0..50 {
        assert!(unknown(&world.check(&token(&never, i), 1061).await.unwrap_err()));
    }
    assert_eq!(endpoint.hits(), 4);
}

#[tokio::test]
async fn stale_keys_keep_serving_and_our_fault_is_never_the_callers() {
    let (first, second) = (new_key(), new_key());
    let endpoint = endpoint(Reply::Status(500)).await;
    let world = endpoint.world();
    let old = first.sign("JWT", &outside_claims()).unwrap();
    let new = second.sign("JWT", &outside_claims()).unwrap();
    let ours = |outcome: Result<Arc<VerifiedToken>, AuthnError>| matches!(outcome, Err(AuthnError::KeysUnavailable(_)));

    assert!(ours(world.check(&old, 1000).await), "no keys yet");
    assert!(ours(world.check(&old, 1001).await), "no keys yet, not asked again so soon");
    assert_eq!(endpoint.hits(), 1);
    endpoint.answer.send_replace(Reply::Body(jwks(&[&first])));
    assert!(world.check(&old, 1003).await.is_ok(), "asked again after two seconds");
    assert_eq!(endpoint.hits(), 2);

    endpoint.answer.send_replace(Reply::Status(503));
    let fresh = first.sign("JWT", &outside_claims()).unwrap();
    assert!(ours(world.check(&new, 1040).await), "an unknown kid that could not be fetched");
    assert!(ours(world.check(&new, 1041).await), "nor within the rate cap");
    assert_eq!(endpoint.hits(), 3);
    assert!(world.check(&fresh, 1042).await.is_ok(), "the keys at hand keep serving");

    endpoint.answer.send_replace(Reply::Body(jwks(&[&first, &second])));
    assert!(world.check(&new, 1070).await.is_ok());
}

/// A `kid` is a hint (RFC 7515 §4.1.4): a set whose keys have none is judged by who signed.
#[tokio::test]
async fn a_set_without_kids_is_asked_for_again_only_when_none_of_its_keys_signed() {
    let (first, second) = (new_key(), new_key());
    let nameless = |key: &SigningKey| {
        let mut jwk = key.public_jwk();
        jwk.as_object_mut().unwrap().remove("kid").unwrap();
        json!({ "keys": [jwk] }).to_string()
    };
    let endpoint = endpoint(Reply::Body(nameless(&first))).await;
    let world = endpoint.world();
    let token = |key: &SigningKey, i: usize| {
        let mut claims = outside_claims();
        claims["jti"] = i.to_string().into();
        key.sign("JWT", &claims).unwrap()
    };
    for (i, now) in [1000, 1040, 1080].into_iter().enumerate() {
        assert!(world.check(&token(&first, i), now).await.is_ok());
    }
    assert_eq!(endpoint.hits(), 1);
    endpoint.answer.send_replace(Reply::Status(500));
    let unfetched = world.check(&token(&second, 3), 1120).await;
    assert!(matches!(unfetched, Err(AuthnError::KeysUnavailable(_))), "it may be one that could not be fetched");
    assert!(world.check(&token(&first, 4), 1121).await.is_ok(), "the keys at hand keep serving");
    assert_eq!(endpoint.hits(), 2);
    endpoint.answer.send_replace(Reply::Body(nameless(&second)));
    assert!(world.check(&token(&second, 5), 1160).await.is_ok(), "followed when it rotates");
    let withdrawn = world.check(&token(&first, 6), 1161).await;
    assert!(matches!(withdrawn, Err(AuthnError::Signature(VerifyError::UnknownKid))));
    assert_eq!(endpoint.hits(), 3);
}

#[tokio::test]
async fn a_clock_set_back_does_not_stop_the_fetching() {
    let key = new_key();
    let endpoint = endpoint(Reply::Status(500)).await;
    let world = endpoint.world();
    let token = key.sign("JWT", &outside_claims()).unwrap();
    assert!(world.check(&token, 1500).await.is_err());
    endpoint.answer.send_replace(Reply::Body(jwks(&[&key])));
    assert!(world.check(&token, 1000).await.is_ok(), "what failed in the future is not a recent failure");
    assert_eq!(endpoint.hits(), 2);
    world.authenticator.refresh_keys(at(500)).await;
    assert_eq!(endpoint.hits(), 3, "nor is a recent success");
}

#[tokio::test]
async fn the_background_refresh_runs_on_its_period() {
    let (first, second) = (new_key(), new_key());
    let endpoint = endpoint(Reply::Body(jwks(&[&first]))).await;
    let world = endpoint.world();
    for (name, now, hits) in [("at once", 1000, 1), ("not yet", 1299, 1), ("due", 1301, 2), ("not yet again", 1302, 2)]
    {
        world.authenticator.refresh_keys(at(now)).await;
        assert_eq!(endpoint.hits(), hits, "{name}");
    }
    endpoint.answer.send_replace(Reply::Status(500));
    for (name, now, hits) in [("fails", 1602, 3), ("not yet", 1631, 3), ("again sooner after a failure", 1633, 4)] {
        world.authenticator.refresh_keys(at(now)).await;
        assert_eq!(endpoint.hits(), hits, "{name}");
    }
    endpoint.answer.send_replace(Reply::Body(jwks(&[&second])));
    world.authenticator.refresh_keys(at(1664)).await;
    let mut claims = outside_claims();
    claims["exp"] = 2000.into();
    assert!(world.check(&second.sign("JWT", &claims).unwrap(), 1665).await.is_ok());
    assert_eq!(endpoint.hits(), 5, "known before the first token came");
}

#[tokio::test]
async fn an_answer_that_is_no_key_set_is_refused() {
    let key = new_key();
    let target = endpoint(Reply::Body(jwks(&[&key]))).await;
    let cases = [
        ("a redirect", Reply::Redirect(target.url.clone())),
        ("not JSON", Reply::Body("<html>".into())),
        ("a member twice", Reply::Body(r#"{"keys":[],"keys":[]}"#.into())),
        ("too long", Reply::Body(format!("{}{}", " ".repeat(256 * 1024), jwks(&[&key])))),
        ("no content", Reply::Status(204)),
    ];
    for (name, reply) in cases {
        let endpoint = endpoint(reply).await;
        let outcome = endpoint.world().check(&key.sign("JWT", &outside_claims()).unwrap(), 1000).await;
        assert!(matches!(outcome, Err(AuthnError::KeysUnavailable(Some(_)))), "{name}: {outcome:?}");
        assert_eq!(endpoint.hits(), 1, "{name}");
    }
    assert_eq!(target.hits(), 0, "the redirect was not followed");
    let emptied = endpoint(Reply::Body(r#"{"keys":[]}"#.into())).await;
    let outcome = emptied.world().check(&key.sign("JWT", &outside_claims()).unwrap(), 1000).await;
    assert!(matches!(outcome, Err(AuthnError::Signature(_))), "a set of no keys is one: {outcome:?}");
}

#[tokio::test]
async fn a_black_hole_costs_a_deadline_and_not_more() {
    let endpoint = endpoint(Reply::Never).await;
    let settings = outside(JwksSource::Url(endpoint.url.clone()));
    let keys = super::super::remote_keys::RemoteKeys::with_timeout(&settings, &endpoint.url, Duration::from_millis(20))
        .unwrap();
    let key = new_key();
    let token = key.sign("JWT", &outside_claims()).unwrap();
    let unverified = || crate::jose::UnverifiedToken::parse(&token).unwrap();
    let outcome = keys.verify(unverified(), at(1000)).await;
    assert!(matches!(outcome, Err(RemoteKeysError::Unavailable(Some(_)))), "{outcome:?}");

    // Whoever gives up while fetching leaves a fetch that goes on: whoever comes next shares what becomes of it.
    let patient =
        super::super::remote_keys::RemoteKeys::with_timeout(&settings, &endpoint.url, Duration::from_millis(400))
            .unwrap();
    let given_up = tokio::time::timeout(Duration::from_millis(20), patient.verify(unverified(), at(1000))).await;
    assert!(given_up.is_err());
    let hits = endpoint.hits();
    let outcome = patient.verify(unverified(), at(1001)).await;
    assert!(matches!(outcome, Err(RemoteKeysError::Unavailable(Some(_)))), "{outcome:?}");
    assert_eq!(endpoint.hits(), hits, "not fetched again so soon");
}

#[tokio::test]
async fn whoever_goes_away_while_keys_are_fetched_starves_nobody() {
    let key = new_key();
    let endpoint = endpoint(Reply::Late(jwks(&[&key]))).await;
    let settings = outside(JwksSource::Url(endpoint.url.clone()));
    let keys = super::super::remote_keys::RemoteKeys::with_timeout(&settings, &endpoint.url, Duration::from_secs(10));
    let keys = keys.unwrap();
    let token = key.sign("JWT", &outside_claims()).unwrap();
    let unverified = || crate::jose::UnverifiedToken::parse(&token).unwrap();
    let asked = endpoint.begun();
    tokio::select! {
        outcome = keys.verify(unverified(), at(1000)) => panic!("too early: {outcome:?}"),
        () = asked => {} // The first to ask goes away while the endpoint thinks.
    }
    endpoint.answer.send_replace(Reply::Body(String::new()));
    assert!(keys.verify(unverified(), at(1001)).await.is_ok(), "within the rate cap of the fetch that went on");
    assert_eq!(endpoint.hits(), 1);
}

#[tokio::test]
async fn a_reload_keeps_what_did_not_change() {
    let key = new_key();
    let endpoint = endpoint(Reply::Body(jwks(&[&key]))).await;
    let settings = outside(JwksSource::Url(endpoint.url.clone()));
    let world = world(vec![settings.clone()]);
    let outside_token = key.sign("JWT", &outside_claims()).unwrap();
    let own_token = world.token(&claims());
    let before = world.check(&outside_token, 1000).await.unwrap();
    let own_before = world.check(&own_token, 1000).await.unwrap();

    let same = world.authenticator.reload(vec![settings.clone()]).unwrap();
    let after = same.authenticate(&outside_token, &connection(None), at(1001)).await.unwrap();
    assert!(Arc::ptr_eq(&before, &after), "remembered across the reload");

    let narrowed = IssuerSettings { audiences: vec!["other".into()], ..settings };
    let narrowed = same.reload(vec![narrowed]).unwrap();
    let outcome = narrowed.authenticate(&outside_token, &connection(None), at(1001)).await;
    assert!(matches!(outcome, Err(AuthnError::Audience)), "judged by the new settings");
    let own_after = narrowed.authenticate(&own_token, &connection(None), at(1001)).await.unwrap();
    assert!(Arc::ptr_eq(&own_before, &own_after));

    let alone = narrowed.reload(vec![]).unwrap();
    let outcome = alone.authenticate(&outside_token, &connection(None), at(1001)).await;
    assert!(matches!(outcome, Err(AuthnError::Issuer)), "trusted no more");
    assert_eq!(alone.issuer_names().collect::<Vec<_>>(), [ISSUER]);
    assert_eq!(endpoint.hits(), 1);
}
