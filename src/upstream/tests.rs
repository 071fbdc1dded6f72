//! The room as its users see it: pools over real sockets.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::{HeaderName, HeaderValue};
use pingora_http::RequestHeader;
use secrecy::SecretString;

use super::error::{CredentialError, NoBackend, PoolError, UrlFault};
use super::health::check;
use super::settings::*;
use super::testing::{Act, Pki, Server, dead_port, provider, settings};
use super::{BackendHealth, Outcome, PeerTerms, Pool, Tried};

const TERMS: PeerTerms = PeerTerms { budget: Duration::from_secs(5), uploading: false, websocket: false };

fn three() -> PoolSettings {
    settings(&["http://127.0.0.1:1".into(), "http://127.0.0.1:2".into(), "http://127.0.0.1:3".into()])
}

fn pool(settings: PoolSettings) -> Arc<Pool> {
    provider();
    Pool::new(settings, None).map_err(|errors| format!("{errors:?}")).unwrap()
}

#[test]
fn every_mistake_is_named_in_one_run() {
    let mut bad = settings(&[
        "http://bank.example".into(),
        "https://bank.example".into(),
        "http://127.0.0.1:1".into(),
        "http://127.0.0.1:1/".into(),
    ]);
    bad.in_flight_max = 0;
    bad.breaker.failures = 0;
    bad.health.path = Some("healthz".into());
    bad.credential = CredentialSettings::ApiKey {
        header: HeaderName::from_static("host"),
        secret: SecretString::from("k".to_owned()),
    };
    let errors = Pool::new(bad, None).err().unwrap();
    let text = errors.iter().map(|e| e.to_string()).collect::<Vec<_>>().join("\n");
    for expected in [
        "in_flight_max must be greater than zero",
        "breaker.failures must be greater than zero",
        "health path \"healthz\" is not an absolute path",
        "\"http://bank.example\" is no usable URL: plain http is for loopback",
        "https://bank.example is https, but the pool names no CA file",
        "back end http://127.0.0.1:1/ is listed twice",
        "the API key cannot be sent in \"host\"",
    ] {
        assert!(text.contains(expected), "{expected} in\n{text}");
    }
}

#[test]
fn files_are_read_and_cross_checked_when_compiling() {
    let pki = Pki::new("ca");
    let path = |name: &str| pki.directory.path().join(name);
    fs::write(path("empty.pem"), "nothing here").unwrap();
    fs::write(path("broken.pem"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    let (one, two) = (pki.client("one", 1), pki.client("two", 2));
    let with = |ca: &str, client| {
        let mut settings = settings(&["https://127.0.0.1:1".into()]);
        settings.tls = Some(UpstreamTls { ca_file: path(ca), client_certificate: client });
        Pool::new(settings, None).map(drop).map_err(|e| e.into_iter().next().unwrap())
    };
    assert!(with("ca.pem", None).is_ok());
    assert!(with("ca.pem", Some(one.clone())).is_ok());
    assert!(matches!(with("gone.pem", None), Err(PoolError::Read { .. })));
    assert!(matches!(with("empty.pem", None), Err(PoolError::NoCertificate(_))));
    assert!(matches!(with("broken.pem", None), Err(PoolError::Ca { .. })));
    assert!(matches!(with("ca.pem", Some((path("broken.pem"), one.1.clone()))), Err(PoolError::Certificate { .. })));
    assert!(matches!(with("ca.pem", Some((one.0.clone(), one.0.clone()))), Err(PoolError::NoKey(_))));
    assert!(matches!(with("ca.pem", Some((one.0, two.1))), Err(PoolError::KeyMismatch { .. })));
}

#[test]
fn no_back_end_is_asked_twice_by_one_request() {
    let (pool, now) = (pool(three()), Instant::now());
    for _ in 0..50 {
        let mut tried = Tried::default();
        let mut urls: Vec<_> = (0..3).map(|_| pool.pick(&mut tried, now).unwrap().url().to_string()).collect();
        urls.sort();
        urls.dedup();
        assert_eq!(urls.len(), 3);
        assert_eq!(pool.pick(&mut tried, now).err(), Some(NoBackend::Exhausted));
    }
}

#[test]
fn load_spreads_and_the_slow_and_the_busy_get_less() {
    let (pool, now) = (pool(three()), Instant::now());
    let mut counts = BTreeMap::new();
    let held: Vec<_> = (0..300).map(|_| pool.pick(&mut Tried::default(), now).unwrap()).collect();
    for picked in &held {
        *counts.entry(picked.url().to_string()).or_insert(0) += 1;
    }
    assert!(counts.len() == 3 && counts.values().all(|n| (80..=120).contains(n)), "by requests under way: {counts:?}");
    drop(held);
    let mut picked = pool.pick(&mut Tried::default(), now).unwrap();
    picked.report(Outcome::Answered { status: 200 }, now + Duration::from_secs(2));
    let slow = picked.url().clone();
    drop(picked);
    let later = now + Duration::from_secs(2);
    let hits = (0..300).filter(|_| pool.pick(&mut Tried::default(), later).unwrap().url() == &slow).count();
    assert_eq!(hits, 0, "two choices never take the slowest of three");
    let healed = later + Duration::from_secs(120);
    let hits = (0..300).filter(|_| pool.pick(&mut Tried::default(), healed).unwrap().url() == &slow).count();
    assert!((60..=140).contains(&hits), "what was slow once is an equal again: {hits}");
}

fn fail(pool: &Pool, now: Instant, times: usize) {
    for _ in 0..times {
        pool.pick(&mut Tried::default(), now).unwrap().report(Outcome::Broken, now);
    }
}

#[test]
fn a_breaker_opens_and_one_probe_closes_it() {
    let (pool, now) = (pool(settings(&["http://127.0.0.1:1".into()])), Instant::now());
    fail(&pool, now, 3);
    let out = pool.pick(&mut Tried::default(), now).err();
    assert_eq!(out, Some(NoBackend::AllOut { retry_after: Some(Duration::from_secs(10)) }), "the last one too");
    assert_eq!(pool.status(now)[0].state, BackendHealth::CircuitOpen);
    let later = now + Duration::from_secs(10);
    let probe = pool.pick(&mut Tried::default(), later).unwrap();
    assert!(pool.pick(&mut Tried::default(), later).is_err(), "one probe at a time");
    drop(probe);
    let mut probe = pool.pick(&mut Tried::default(), later).expect("a probe that was given up frees the way");
    probe.report(Outcome::Answered { status: 503 }, later);
    assert!(pool.pick(&mut Tried::default(), later).is_err(), "a failed probe opens it again");
    let again = later + Duration::from_secs(10);
    pool.pick(&mut Tried::default(), again).unwrap().report(Outcome::Answered { status: 404 }, again);
    assert_eq!(pool.status(again)[0].state, BackendHealth::Healthy, "any answer but 502 to 504 is healthy");
}

#[test]
fn an_open_circuit_sends_requests_elsewhere_and_survives_a_reload() {
    let now = Instant::now();
    let urls = ["http://127.0.0.1:1".to_owned(), "http://127.0.0.1:2".to_owned()];
    let first = pool(settings(&urls[..1]));
    fail(&first, now, 3);
    let both = Pool::new(settings(&urls), Some(&first)).map_err(|_| ()).unwrap();
    for _ in 0..20 {
        assert_eq!(&**both.pick(&mut Tried::default(), now).unwrap().url(), urls[1]);
    }
    let mut other = settings(&urls);
    other.environment = crate::domain::Environment::Live;
    let other = Pool::new(other, Some(&first)).map_err(|_| ()).unwrap();
    assert!(other.status(now).iter().all(|s| s.state == BackendHealth::Healthy), "another pool's health is its own");
}

#[test]
fn requests_under_way_are_capped_and_counted_over_a_reload() {
    let mut small = three();
    small.in_flight_max = 2;
    let old = pool(small.clone());
    let (one, two) = (old.admit().unwrap(), old.admit().unwrap());
    assert!(old.admit().is_err());
    let new = Pool::new(small, Some(&old)).map_err(|_| ()).unwrap();
    assert!(new.admit().is_err(), "they still run against the same institution");
    drop(one);
    assert!(new.admit().is_ok());
    drop(two);
}

#[tokio::test]
async fn names_resolve_aside_and_a_pool_without_addresses_refuses() {
    let port = dead_port();
    let pool = pool(settings(&[format!("http://localhost:{port}")]));
    let now = Instant::now();
    assert_eq!(pool.pick(&mut Tried::default(), now).err(), Some(NoBackend::AllOut { retry_after: None }));
    assert_eq!(pool.status(now)[0].state, BackendHealth::Unresolved);
    pool.warm().await;
    let picked = pool.pick(&mut Tried::default(), now).unwrap();
    assert!(picked.address().ip().is_loopback());
    assert_eq!(picked.authority().to_str().unwrap(), format!("localhost:{port}"));
}

#[tokio::test]
async fn a_second_address_of_one_back_end_is_tried_after_the_first_refuses() {
    let pool = pool(settings(&["http://localhost:9".into()]));
    pool.backends()[0].state.resolved(vec!["127.0.0.1:9".parse().unwrap(), "127.0.0.2:9".parse().unwrap()]);
    let (mut tried, now) = (Tried::default(), Instant::now());
    let mut first = pool.pick(&mut tried, now).unwrap();
    let one = first.address();
    first.report(Outcome::ConnectFailed, now);
    let second = pool.pick(&mut tried, now).unwrap();
    assert_ne!(one, second.address());
    assert!(pool.pick(&mut tried, now).is_err(), "two addresses, two attempts");
}

#[test]
fn a_back_end_that_moves_on_shares_nothing_with_its_past() {
    let pool = pool(settings(&["http://127.0.0.1:1".into()]));
    pool.backends()[0].state.resolved(vec!["127.0.0.1:1".parse().unwrap()]);
    let picked = pool.pick(&mut Tried::default(), Instant::now()).unwrap();
    let key = || (picked.peer(TERMS).group_key, picked.shared_peer().group_key);
    assert_eq!(key(), key());
    assert_eq!(key().0, key().1, "both lanes mean the same back end");
    let mut seen = std::collections::HashSet::from([key()]);
    for _ in 0..100 {
        picked.keep_http2();
        assert_eq!(key().0, key().1);
        assert!(seen.insert(key()), "as new as if nothing were known of it");
    }
}

/// One GET through the transport. `None` if the connection or the answer failed.
async fn get(pool: &Pool) -> Option<String> {
    let picked = pool.pick(&mut Tried::default(), Instant::now()).unwrap();
    let peer = picked.peer(TERMS);
    let (mut session, _) = pool.transport().connect(&peer).await.ok()?;
    let mut request = RequestHeader::build("GET", b"/", None).unwrap();
    request.insert_header("host", picked.authority()).unwrap();
    session.send(&request, &peer, None).await.ok()?;
    session.read_header().await.ok()?;
    let mut body = Vec::new();
    while let Some(chunk) = session.read_body().await.ok()? {
        body.extend_from_slice(&chunk);
    }
    pool.transport().release(session, &peer, true, false).await;
    Some(String::from_utf8(body).unwrap())
}

#[tokio::test]
async fn connections_are_reused_but_never_across_identities_with_one_serial() {
    let (bank, ours) = (Pki::new("bank"), Pki::new("ours"));
    let script = |seen: &super::testing::Seen| Act::ok(seen.client.as_deref().unwrap_or("nobody"));
    let server = Server::tls(bank.server(Some(&ours)), script).await;
    provider();
    let with = |name| {
        let mut settings = settings(&[server.url()]);
        settings.tls = Some(bank.tls(Some(ours.client(name, 7)))); // One serial number for all of them.
        Pool::new(settings, None).map_err(|_| ()).unwrap()
    };
    let (alice, bob) = (with("alice"), with("bob"));
    assert_eq!(get(&alice).await.as_deref(), Some("alice"));
    assert_eq!(get(&alice).await.as_deref(), Some("alice"));
    assert_eq!(server.connections(), 1, "reused");
    assert_eq!(get(&bob).await.as_deref(), Some("bob"), "not served as alice");
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn a_connection_verified_for_another_ca_is_not_borrowed() {
    let (bank, stranger) = (Pki::new("bank"), Pki::new("stranger"));
    let server = Server::tls(bank.server(None), |_| Act::ok("secret")).await;
    provider();
    let with = |ca: &Pki| {
        let mut settings = settings(&[server.url()]);
        settings.tls = Some(ca.tls(None));
        Pool::new(settings, None).map_err(|_| ()).unwrap()
    };
    assert_eq!(get(&with(&bank)).await.as_deref(), Some("secret"));
    assert_eq!(get(&with(&stranger)).await, None, "the wrong CA verifies nothing, pooled or not");
}

#[tokio::test]
async fn active_checks_judge_by_connection_or_by_answer() {
    let healthy = Server::plain(|_| Act::ok("{}")).await;
    let failing = Server::plain(|_| Act::status(500, "{}")).await;
    let silent = Server::plain(|_| Act::Hang).await;
    let pki = Pki::new("bank");
    let tls = Server::tls(pki.server(None), |_| Act::ok("{}")).await;
    let dead = format!("http://127.0.0.1:{}", dead_port());
    let path = Some("/health".to_owned());
    for (name, url, path, expected) in [
        ("connect only", failing.url(), None, true),
        ("nobody listens", dead, None, false),
        ("answers 200", healthy.url(), path.clone(), true),
        ("answers 500", failing.url(), path.clone(), false),
        ("silent", silent.url(), path.clone(), false),
        ("TLS", tls.url(), path, true),
    ] {
        let mut settings = settings(&[url]);
        settings.tls = Some(pki.tls(None));
        settings.health = HealthSettings { path, timeout: Duration::from_millis(400), ..settings.health };
        let pool = pool(settings);
        let healthy = check(&pool.backends()[0], pool.health(), pool.transport()).await;
        assert_eq!(healthy, expected, "{name}");
    }
}

#[test]
fn a_back_end_leaves_and_returns_after_consecutive_checks() {
    let pool = pool(settings(&["http://127.0.0.1:1".into()]));
    let (state, rule, now) = (&pool.backends()[0].state, pool.health(), Instant::now());
    assert_eq!(state.checked(false, rule), None);
    assert_eq!(state.checked(true, rule), None, "a good one between starts anew");
    assert_eq!(state.checked(false, rule), None);
    assert_eq!(state.checked(false, rule), Some(false));
    assert!(pool.pick(&mut Tried::default(), now).is_err());
    assert_eq!(pool.status(now)[0].state, BackendHealth::Down);
    assert_eq!(state.checked(true, rule), None);
    assert_eq!(state.checked(true, rule), Some(true));
    assert!(pool.pick(&mut Tried::default(), now).is_ok());
}

fn oauth(token_url: String) -> PoolSettings {
    let mut settings = three();
    settings.credential = CredentialSettings::OAuth2 {
        token_url,
        client_id: "gateway".into(),
        client_secret: SecretString::from("s3cret".to_owned()),
        scopes: vec!["accounts".into()],
    };
    settings
}

fn token(number: usize, seconds: u64) -> Act {
    Act::ok(&format!(r#"{{"access_token":"t{number}","token_type":"Bearer","expires_in":{seconds}}}"#))
}

async fn bearer(pool: &Pool, now: Instant) -> Result<String, CredentialError> {
    let (name, value) = pool.authorization(now).await?.unwrap();
    assert_eq!((name.as_str(), value.is_sensitive()), ("authorization", true));
    Ok(value.to_str().unwrap().to_owned())
}

#[tokio::test]
async fn one_token_request_serves_all_who_wait_and_a_token_is_renewed_before_it_ends() {
    let issued = Arc::new(AtomicUsize::new(0));
    let counter = issued.clone();
    let mut server = Server::plain(move |_| token(counter.fetch_add(1, Ordering::SeqCst), 100)).await;
    let (pool, now) = (pool(oauth(format!("{}/token", server.url()))), Instant::now());
    let crowd: Vec<_> = (0..40)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move { bearer(&pool, now).await })
        })
        .collect();
    for one in crowd {
        assert_eq!(one.await.unwrap().as_deref(), Ok("Bearer t0"));
    }
    assert_eq!(issued.load(Ordering::SeqCst), 1, "single flight");
    let seen = server.next().await;
    assert!(seen.head.to_ascii_lowercase().contains("authorization: basic z2f0zxdhetpzm2nyzxq=")); // gateway:s3cret
    assert_eq!(String::from_utf8(seen.body).unwrap(), "grant_type=client_credentials&scope=accounts");

    let super::credential::Credential::OAuth2(source) = pool.credential() else { panic!() };
    let early = now + Duration::from_secs(79);
    assert_eq!(source.renew(early).await, Duration::from_secs(1), "not before four fifths of its life");
    let due = now + Duration::from_secs(81);
    source.renew(due).await;
    assert_eq!(bearer(&pool, due).await.as_deref(), Ok("Bearer t1"));
    assert_eq!(issued.load(Ordering::SeqCst), 2);
    source.renew(due + Duration::from_secs(81)).await;
    source.renew(due + Duration::from_secs(170)).await;
    assert_eq!(issued.load(Ordering::SeqCst), 3, "a token that nobody used since is not renewed");
}

#[tokio::test]
async fn a_token_is_kept_while_it_holds_and_then_the_failure_shows_as_ours() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = calls.clone();
    let server = Server::plain(move |_| match counter.fetch_add(1, Ordering::SeqCst) {
        0 => token(0, 100),
        _ => Act::status(401, r#"{"error":"invalid_client"}"#),
    })
    .await;
    let (pool, now) = (pool(oauth(format!("{}/token", server.url()))), Instant::now());
    assert!(bearer(&pool, now).await.is_ok());
    let super::credential::Credential::OAuth2(source) = pool.credential() else { panic!() };
    let due = now + Duration::from_secs(85);
    source.renew(due).await;
    assert_eq!(calls.load(Ordering::SeqCst), 2);
    assert_eq!(bearer(&pool, due).await.as_deref(), Ok("Bearer t0"), "the old one still holds");
    let over = now + Duration::from_secs(96);
    assert_eq!(bearer(&pool, over).await, Err(CredentialError::Refused));
    assert_eq!(bearer(&pool, over).await, Err(CredentialError::Refused));
    assert_eq!(calls.load(Ordering::SeqCst), 3, "a failing endpoint is not asked by each request");
}

#[tokio::test]
async fn a_refused_token_is_replaced_once() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = calls.clone();
    let server = Server::plain(move |_| token(counter.fetch_add(1, Ordering::SeqCst), 100)).await;
    let (pool, now) = (pool(oauth(format!("{}/token", server.url()))), Instant::now());
    let value = |text: String| HeaderValue::from_str(&text).unwrap();
    let first = value(bearer(&pool, now).await.unwrap());
    assert!(pool.refused(&first, now).await);
    let second = value(bearer(&pool, now).await.unwrap());
    assert_ne!(first, second);
    assert!(pool.refused(&first, now).await, "the other one is worth a try, and is not thrown away");
    assert!(!pool.refused(&second, now).await, "a fresh one refused as well: no storm of renewals");
    assert_eq!(bearer(&pool, now).await.map(value), Ok(second));
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn what_is_no_bearer_token_is_not_used() {
    for (name, act, expected) in [
        ("another type", Act::ok(r#"{"access_token":"t","token_type":"mac"}"#), CredentialError::Malformed),
        ("no JSON", Act::ok("hello"), CredentialError::Malformed),
        (
            "a header injection",
            Act::ok(r#"{"access_token":"t\r\nx: y","token_type":"bearer"}"#),
            CredentialError::Malformed,
        ),
        ("too large", Act::ok(&"x".repeat(70_000)), CredentialError::Malformed),
        ("a refusal", Act::status(400, r#"{"error":"invalid_scope"}"#), CredentialError::Refused),
        ("a redirect", Act::json(302, "Location: http://127.0.0.1:1/\r\n", ""), CredentialError::Malformed),
        ("nothing", Act::Close, CredentialError::Unreachable),
    ] {
        let server = Server::plain(move |_| act.clone()).await;
        let pool = pool(oauth(format!("{}/token", server.url())));
        assert_eq!(bearer(&pool, Instant::now()).await, Err(expected), "{name}");
    }
}

#[tokio::test]
async fn the_token_endpoint_is_spoken_to_with_our_certificate_and_its_ca() {
    let (bank, ours) = (Pki::new("bank"), Pki::new("ours"));
    let mut server = Server::tls(bank.server(Some(&ours)), |_| token(0, 100)).await;
    let mut good = oauth(format!("{}/token", server.url()));
    good.tls = Some(bank.tls(Some(ours.client("gateway", 1))));
    assert_eq!(bearer(&pool(good.clone()), Instant::now()).await.as_deref(), Ok("Bearer t0"));
    assert_eq!(server.next().await.client.as_deref(), Some("gateway"));
    good.tls = Some(ours.tls(None));
    assert_eq!(bearer(&pool(good.clone()), Instant::now()).await, Err(CredentialError::Unreachable));
    good.tls = None;
    let errors = Pool::new(good, None).err().unwrap();
    assert!(matches!(errors[..], [PoolError::TlsMissing(_)]));
    let far = Pool::new(oauth("http://id.example/token".into()), None).err().unwrap();
    assert!(matches!(far[..], [PoolError::Url { fault: UrlFault::PlainHttp, .. }]));
}

#[tokio::test]
async fn an_api_key_travels_in_its_field_and_an_unchanged_grant_keeps_its_token() {
    let mut keyed = three();
    let header = HeaderName::from_static("x-api-key");
    keyed.credential =
        CredentialSettings::ApiKey { header: header.clone(), secret: SecretString::from("k".to_owned()) };
    let (name, value) = pool(keyed).authorization(Instant::now()).await.unwrap().unwrap();
    assert_eq!((name, value.as_bytes(), value.is_sensitive()), (header, &b"k"[..], true));

    let mut server = Server::plain(|_| token(0, 100)).await;
    let settings = oauth(format!("{}/token", server.url()));
    let now = Instant::now();
    let old = pool(settings.clone());
    bearer(&old, now).await.unwrap();
    let new = Pool::new(settings, Some(&old)).map_err(|_| ()).unwrap();
    bearer(&new, now).await.unwrap();
    server.next().await;
    assert_eq!(server.count(), 0, "no second token request after a reload");
}
