//! Tokens that pass, and every kind that must not: new, remembered, forged, from outside.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::*;
use crate::domain::{
    ChainTrust, Client, ClientId, Connection, Environment, Jurisdiction, PartnerStatus, PeerCertificate, Scope,
    ScopeSet, SubjectAltNames, Tenant, TenantId, Thumbprint, Timestamp,
};
use crate::jose::{Algorithm, KeySet, SigningKey, VerifyError};

pub(crate) const ISSUER: &str = "https://as.example";
pub(crate) const RESOURCE: &str = "https://api.example";
const OUTSIDE: &str = "https://idp.example/realms/bank";

pub(crate) fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

pub(crate) fn new_key() -> SigningKey {
    SigningKey::generate(Algorithm::Es256).unwrap().0
}

pub(crate) fn certificate(seed: u8) -> Arc<PeerCertificate> {
    Arc::new(PeerCertificate {
        der: Arc::from([seed]),
        thumbprint: Thumbprint([seed; 32]),
        subject_der: Arc::from([]),
        subject: String::new(),
        alt_names: SubjectAltNames::default(),
        chain: ChainTrust::Unverified,
    })
}

pub(crate) fn connection(certificate: Option<Arc<PeerCertificate>>) -> Connection {
    Connection { listener: "public".into(), peer: ([127, 0, 0, 1], 9).into(), tls: None, certificate }
}

/// Claims of a token of ours, issued at 1000, expiring at 1300.
pub(crate) fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": RESOURCE, "sub": "tpp", "client_id": "tpp", "tenant": "acme",
        "iat": 1000, "exp": 1300, "jti": "j1", "scope": "accounts payments",
    })
}

fn key_set(keys: &[&SigningKey]) -> KeySet {
    KeySet::of(keys.iter().map(|key| key.public_key()).collect())
}

struct World {
    key: SigningKey,
    published: Arc<ArcSwap<KeySet>>,
    revocations: Arc<Revocations>,
    authenticator: Authenticator,
}

fn world(outside: Vec<IssuerSettings>) -> World {
    let key = new_key();
    let published = Arc::new(ArcSwap::from_pointee(key_set(&[&key])));
    let revocations = Arc::new(Revocations::new());
    let own = Issuer::own(ISSUER, RESOURCE, Arc::clone(&published));
    let authenticator = Authenticator::new(Some(own), outside, Arc::clone(&revocations)).unwrap();
    World { key, published, revocations, authenticator }
}

impl World {
    fn token(&self, claims: &Value) -> String {
        self.key.sign("at+jwt", claims).unwrap()
    }

    async fn check(&self, token: &str, now: i64) -> Result<Arc<VerifiedToken>, AuthnError> {
        self.authenticator.authenticate(token, &connection(None), at(now)).await
    }
}

/// `claims()` with one claim changed; null removes it.
fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    match value {
        Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
        value => claims[name] = value,
    }
    claims
}

type Expectation = fn(&AuthnError) -> bool;

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
    world.revocations.insert("j1", at(1300));
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
    world.revocations.insert("j1", at(1300));
    assert!(matches!(world.check(&world.token(&claims()), 1100).await, Err(AuthnError::Revoked)));
}

#[test]
fn revocations_are_forgotten_when_their_token_has_expired_and_not_before() {
    let revocations = Revocations::new();
    assert!(revocations.is_empty() && !revocations.contains("a"));
    for i in 0..1000 {
        revocations.insert(&format!("j{i}"), at(100 + i));
        revocations.insert(&format!("j{i}"), at(100 + i));
    }
    assert_eq!(revocations.len(), 1000);
    revocations.purge(at(600));
    assert_eq!(revocations.len(), 499);
    assert!(!revocations.contains("j500") && revocations.contains("j501"));
    revocations.purge(at(5000));
    assert!(revocations.is_empty() && !revocations.contains("j999"));
}

#[test]
fn a_revocation_is_seen_by_whoever_asks_after_it() {
    let revocations = Revocations::new();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let revocations = &revocations;
            scope.spawn(move || {
                for i in 0..500 {
                    let jti = format!("{thread}-{i}");
                    revocations.insert(&jti, at(100));
                    assert!(revocations.contains(&jti));
                    if i % 100 == 0 {
                        revocations.purge(at(50));
                    }
                }
            });
        }
    });
    assert_eq!(revocations.len(), 2000);
}

#[test]
fn the_credential_is_one_bearer_token_in_one_field() {
    let read = |fields: &[&'static str]| {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(AUTHORIZATION, HeaderValue::from_static(field));
        }
        Credentials::read(&headers).map(|credentials| credentials.token().to_owned())
    };
    for (name, fields, token) in [
        ("plain", &["Bearer abc.def-_~+/="][..], "abc.def-_~+/="),
        ("scheme in another case", &["bEARER abc"], "abc"),
        ("several spaces", &["Bearer   abc"], "abc"),
    ] {
        assert_eq!(read(fields).unwrap(), token, "{name}");
    }
    let cases: Vec<(&str, &[&'static str], Expectation)> = vec![
        ("nothing", &[], |e| matches!(e, AuthnError::Missing)),
        ("another scheme", &["Basic abc"], |e| matches!(e, AuthnError::Missing)),
        ("DPoP, not here yet", &["DPoP abc"], |e| matches!(e, AuthnError::Missing)),
        ("a longer scheme", &["BearerX abc"], |e| matches!(e, AuthnError::Missing)),
        ("empty", &[""], |e| matches!(e, AuthnError::Missing)),
        ("twice", &["Bearer a", "Bearer a"], |e| matches!(e, AuthnError::SeveralCredentials)),
        ("two schemes", &["Basic a", "Bearer a"], |e| matches!(e, AuthnError::SeveralCredentials)),
        ("no token", &["Bearer"], |e| matches!(e, AuthnError::CredentialSyntax)),
        ("only a space", &["Bearer "], |e| matches!(e, AuthnError::CredentialSyntax)),
        ("two tokens", &["Bearer a b"], |e| matches!(e, AuthnError::CredentialSyntax)),
        ("two tokens by comma", &["Bearer a, Bearer b"], |e| matches!(e, AuthnError::CredentialSyntax)),
        ("a quoted token", &["Bearer \"a\""], |e| matches!(e, AuthnError::CredentialSyntax)),
        ("padding in the middle", &["Bearer a=b"], |e| matches!(e, AuthnError::CredentialSyntax)),
        ("padding only", &["Bearer =="], |e| matches!(e, AuthnError::CredentialSyntax)),
        ("a tab", &["Bearer\tabc"], |e| matches!(e, AuthnError::Missing)),
    ];
    for (name, fields, expected) in cases {
        let error = read(fields).expect_err(name);
        assert!(expected(&error), "{name}: {error:?}");
    }
    let mut headers = HeaderMap::new();
    headers.append(AUTHORIZATION, HeaderValue::from_bytes(b"Bearer \xe4").unwrap());
    assert!(matches!(Credentials::read(&headers), Err(AuthnError::CredentialSyntax)));
    assert_eq!(format!("{:?}", Credentials::Bearer("secret")), "Credentials");
}

#[test]
fn a_challenge_says_what_the_standard_allows_it_to_say() {
    let url = "https://api.example/.well-known/oauth-protected-resource";
    let challenges = Challenges::new(Some(url));
    let metadata = format!("resource_metadata=\"{url}\"");
    for (name, error, expected) in [
        ("no credential: no error code", AuthnError::Missing, Some(format!("Bearer {metadata}"))),
        (
            "two fields",
            AuthnError::SeveralCredentials,
            Some(format!(
                "Bearer error=\"invalid_request\", error_description=\"Send exactly one Authorization field.\", {metadata}"
            )),
        ),
        (
            "expired",
            AuthnError::Expired,
            Some(format!("Bearer error=\"invalid_token\", error_description=\"The token has expired.\", {metadata}")),
        ),
        (
            "forged",
            AuthnError::Signature(VerifyError::Signature),
            Some(format!(
                "Bearer error=\"invalid_token\", error_description=\"The token is not valid here.\", {metadata}"
            )),
        ),
        (
            "unknown issuer looks like forged",
            AuthnError::Issuer,
            Some(format!(
                "Bearer error=\"invalid_token\", error_description=\"The token is not valid here.\", {metadata}"
            )),
        ),
        ("our fault", AuthnError::KeysUnavailable(None), None),
    ] {
        let value = challenges.for_error(&error).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(value, expected, "{name}");
    }
    let scopes = ScopeSet::from_iter(["payments", "accounts"].map(|scope| Scope::parse(scope).unwrap()));
    assert_eq!(
        Challenges::new(None).insufficient_scope(&scopes).to_str().unwrap(),
        "Bearer error=\"insufficient_scope\", error_description=\"The token lacks a scope.\", scope=\"accounts payments\""
    );
    assert_eq!(Challenges::new(None).for_error(&AuthnError::Missing).unwrap(), "Bearer");
    let injected = Challenges::new(Some("https://x/\", error=\"y"));
    assert_eq!(injected.for_error(&AuthnError::Missing).unwrap(), "Bearer", "an unquotable URL is left out");
}

#[tokio::test]
async fn a_caller_is_the_client_that_the_token_names() {
    let world = world(vec![]);
    let token = world.check(&world.token(&claims()), 1100).await.unwrap();
    for (name, id, tenant, good) in [
        ("the client", "tpp", "acme", true),
        ("another client", "other", "acme", false),
        ("another tenant", "tpp", "evil", false),
    ] {
        let client = Arc::new(client(id, tenant));
        let caller = Caller::new(client, Arc::clone(&token));
        assert_eq!(caller.is_ok(), good, "{name}");
    }
}

pub(crate) fn client(id: &str, tenant: &str) -> Client {
    let tenant = Tenant {
        id: TenantId::parse(tenant).unwrap(),
        name: tenant.to_owned(),
        status: PartnerStatus::Active,
        jurisdiction: Jurisdiction::parse("GB").unwrap(),
        licences: [].into(),
    };
    Client {
        id: ClientId::parse(id).unwrap(),
        tenant: Arc::new(tenant),
        name: id.to_owned(),
        status: PartnerStatus::Active,
        environment: Environment::Sandbox,
        scopes: ScopeSet::parse("accounts payments").unwrap(),
    }
}

// --- outside issuers

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
    world.revocations.insert("j1", at(1300));
    let mut claims = outside_claims();
    claims["jti"] = "j1".into();
    assert!(world.check(&key.sign("JWT", &claims).unwrap(), 1100).await.is_ok());

    let cases: Vec<(&str, String, Expectation)> = vec![
        ("our issuer by its key", key.sign("at+jwt", &self::claims()).unwrap(), |e| {
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

    // The issuer rotates. Within the rate cap the new key stays unknown, and nothing is fetched.
    endpoint.answer.send_replace(Reply::Body(jwks(&[&second])));
    let unknown = |e: &AuthnError| matches!(e, AuthnError::Signature(VerifyError::UnknownKid));
    assert!(unknown(&world.check(&token(&second, 0), 1029).await.unwrap_err()));
    assert_eq!(endpoint.hits(), 1);
    assert!(world.check(&token(&second, 0), 1030).await.is_ok());
    assert_eq!(endpoint.hits(), 2);
    // The old key was withdrawn: what it signed is refused, remembered or not.
    assert!(unknown(&world.check(&tokens[0], 1031).await.unwrap_err()));

    // A flood of invented kids costs one fetch per period.
    for i in 0..50 {
        assert!(unknown(&world.check(&token(&never, i), 1061).await.unwrap_err()));
    }
    assert_eq!(endpoint.hits(), 3);
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
    assert!(world.check(&old, 1002).await.is_ok(), "asked again after two seconds");
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

#[tokio::test]
async fn the_background_refresh_runs_on_its_period() {
    let (first, second) = (new_key(), new_key());
    let endpoint = endpoint(Reply::Body(jwks(&[&first]))).await;
    let world = endpoint.world();
    for (name, now, hits) in [("at once", 1000, 1), ("not yet", 1299, 1), ("due", 1300, 2), ("not yet again", 1301, 2)]
    {
        world.authenticator.refresh_keys(at(now)).await;
        assert_eq!(endpoint.hits(), hits, "{name}");
    }
    endpoint.answer.send_replace(Reply::Status(500));
    for (name, now, hits) in [("fails", 1600, 3), ("not yet", 1629, 3), ("again sooner after a failure", 1630, 4)] {
        world.authenticator.refresh_keys(at(now)).await;
        assert_eq!(endpoint.hits(), hits, "{name}");
    }
    endpoint.answer.send_replace(Reply::Body(jwks(&[&second])));
    world.authenticator.refresh_keys(at(1660)).await;
    let mut claims = outside_claims();
    claims["exp"] = 2000.into();
    assert!(world.check(&second.sign("JWT", &claims).unwrap(), 1661).await.is_ok());
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
        ("no keys", Reply::Body(r#"{"keys":[]}"#.into())),
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
}

#[tokio::test]
async fn a_black_hole_costs_a_deadline_and_not_more() {
    let endpoint = endpoint(Reply::Never).await;
    let settings = outside(JwksSource::Url(endpoint.url.clone()));
    let keys =
        super::remote_keys::RemoteKeys::with_timeout(&settings, &endpoint.url, Duration::from_millis(20)).unwrap();
    let key = new_key();
    let token = key.sign("JWT", &outside_claims()).unwrap();
    let unverified = || crate::jose::UnverifiedToken::parse(&token).unwrap();
    let outcome = keys.verify(unverified(), at(1000)).await;
    assert!(matches!(outcome, Err(AuthnError::KeysUnavailable(Some(_)))), "{outcome:?}");

    // Whoever gives up while fetching leaves an attempt that counts, and a lock that is free.
    let patient =
        super::remote_keys::RemoteKeys::with_timeout(&settings, &endpoint.url, Duration::from_secs(60)).unwrap();
    let given_up = tokio::time::timeout(Duration::from_millis(20), patient.verify(unverified(), at(1000))).await;
    assert!(given_up.is_err());
    let hits = endpoint.hits();
    let outcome = patient.verify(unverified(), at(1001)).await;
    assert!(matches!(outcome, Err(AuthnError::KeysUnavailable(Some(_)))), "{outcome:?}");
    assert_eq!(endpoint.hits(), hits, "not fetched again so soon");
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

/// Not a timed test: prints what a remembered and a new token cost. Run with `--release -- --ignored --nocapture`.
#[tokio::test]
#[ignore = "a measurement, not a test"]
async fn what_a_token_costs() {
    let world = world(vec![]);
    let token = world.token(&claims());
    world.check(&token, 1100).await.unwrap();
    let rounds = 1_000_000_u32;
    let start = std::time::Instant::now();
    for _ in 0..rounds {
        std::hint::black_box(world.check(&token, 1100).await.unwrap());
    }
    let remembered = start.elapsed() / rounds;
    let start = std::time::Instant::now();
    for _ in 0..rounds {
        std::hint::black_box(crate::jose::sha256(token.as_bytes()));
    }
    let hash = start.elapsed() / rounds;
    let tokens: Vec<_> = (0..2000).map(|i| world.token(&with("jti", json!(i.to_string())))).collect();
    let start = std::time::Instant::now();
    for token in &tokens {
        world.check(token, 1100).await.unwrap();
    }
    let new = start.elapsed() / 2000;
    println!("{} bytes: remembered {remembered:?} (of it SHA-256 {hash:?}), new {new:?}", token.len());
}
