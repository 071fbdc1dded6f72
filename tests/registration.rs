//! Clients register themselves, call, rotate their keys and go; and what strangers try with the URLs they may name.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use clearway::jose::Algorithm;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::harness::certificates::{client_identity, http, pki};
use crate::harness::secure::token_by_assertion;
use crate::harness::token::{Key, assertion, now, unique, with, write_jwks};
use crate::harness::{Backend, Gateway, Site, json as read};

pub const INITIAL: &str = "an-initial-access-token-of-tests";

const REGISTRATIONS: &str = "
version: 1
registrations:
  - id: open
    initial_access_token_file: ../keys/initial-token
    profile: plain-oauth
    tenant: acme
    scopes: [shop]
    clients_max: 5
    subscriptions: [{ product: goods, plan: open }]
  - id: dir
    tenant_claim: org_id
    jurisdiction: GB
    profile: plain-oauth
    scopes: [shop]
    subscriptions: [{ product: goods, plan: open }]
    directory:
      issuer: https://directory.example
      jwks_file: ../keys/directory.jwks.json
      algorithms: [ES256]
      required_claims: [software_id, org_id]
      statement_age_max: 5m
";

/// An HTTPS host on loopback, under the name `localhost`, that answers every request with the same body.
pub struct Host {
    port: u16,
    pub body: Arc<Mutex<String>>,
    connections: Arc<AtomicUsize>,
}

impl Host {
    pub async fn start(body: String) -> Self {
        let chain = CertificateDer::pem_file_iter(pki().folder.join("server.pem")).unwrap();
        let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_file(pki().folder.join("server.key")).unwrap();
        let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (body, connections) = (Arc::new(Mutex::new(body)), Arc::new(AtomicUsize::new(0)));
        let host = Self { port, body: Arc::clone(&body), connections: Arc::clone(&connections) };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                let (acceptor, body) = (acceptor.clone(), Arc::clone(&body));
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        let Ok(byte) = stream.read_u8().await else { return };
                        head.push(byte);
                    }
                    let body = body.lock().unwrap().clone();
                    let head =
                        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
                    drop(stream.write_all(format!("{head}{body}").as_bytes()).await);
                    drop(stream.shutdown().await);
                });
            }
        });
        host
    }

    pub fn url(&self, host: &str) -> String {
        format!("https://{host}:{}/jwks", self.port)
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

pub fn jwks(keys: &[&Key]) -> String {
    json!({ "keys": keys.iter().map(|key| key.jwk.clone()).collect::<Vec<Value>>() }).to_string()
}

/// The key of the directory `https://directory.example`.
pub fn directory_key() -> &'static Key {
    static KEY: std::sync::LazyLock<Key> = std::sync::LazyLock::new(|| Key::generate(Algorithm::Es256));
    &KEY
}

pub async fn site(backend: &Backend, outbound: &str) -> (Site, Gateway) {
    let site = Site::secure(backend);
    site.write("config/registrations.yaml", REGISTRATIONS);
    site.write("keys/initial-token", INITIAL);
    write_jwks(&site.path("keys/directory.jwks.json"), &[directory_key()]);
    site.append("config/gateway.yaml", outbound);
    let gateway = site.start().await;
    (site, gateway)
}

/// Lets the gateway fetch from `localhost`, whose certificate is of the tests' own CA.
pub fn allowing() -> String {
    format!("outbound: {{ allow_private: [localhost], ca_files: ['{}'] }}\n", Path::new(&pki().server_ca).display())
}

pub async fn register(gateway: &Gateway, token: &str, metadata: &Value) -> (u16, Value) {
    let mut request = http(None).post(gateway.https("public", "/oauth/register")).json(metadata);
    if !token.is_empty() {
        request = request.bearer_auth(token);
    }
    read(request.send().await.unwrap()).await
}

async fn manage(
    gateway: &Gateway,
    method: reqwest::Method,
    id: &str,
    token: &str,
    metadata: &Value,
) -> reqwest::Response {
    let url = gateway.https("public", &format!("/oauth/register/{id}"));
    http(None).request(method, url).bearer_auth(token).json(metadata).send().await.unwrap()
}

/// The status of an API call of a client that authenticates by this key; 0 if it gets no token.
async fn call(gateway: &Gateway, id: &str, key: &Key) -> u16 {
    let (status, body) = token_by_assertion(gateway, &assertion(key, id, json!({}))).await;
    if status != 200 {
        assert_ne!(body["error"], Value::Null, "{body}");
        return 0;
    }
    let token = body["access_token"].as_str().unwrap();
    http(None).get(gateway.https("public", "/shop/items")).bearer_auth(token).send().await.unwrap().status().as_u16()
}

pub fn text(body: &Value, name: &str) -> String {
    body[name].as_str().unwrap_or_else(|| panic!("no {name}: {body}")).to_owned()
}

#[tokio::test]
async fn a_client_registers_calls_rotates_its_keys_and_goes() {
    let backend = Backend::agreeable().await;
    let (first, second) = (Key::generate(Algorithm::Es256), Key::generate(Algorithm::Es256));
    let host = Host::start(jwks(&[&first])).await;
    let (site, gateway) = site(&backend, &allowing()).await;
    let metadata = json!({
        "client_name": "App", "grant_types": ["client_credentials"],
        "token_endpoint_auth_method": "private_key_jwt", "jwks_uri": host.url("localhost"),
    });
    let (status, made) = register(&gateway, INITIAL, &metadata).await;
    assert_eq!(status, 201, "{made}");
    let (id, token) = (text(&made, "client_id"), text(&made, "registration_access_token"));
    assert_eq!(call(&gateway, &id, &first).await, 200);
    assert_eq!(host.connections(), 1);

    // The client rotates by its URL: followed at the first use, without us being told.
    *host.body.lock().unwrap() = jwks(&[&second]);
    assert_eq!(call(&gateway, &id, &second).await, 200);
    assert_eq!(call(&gateway, &id, &first).await, 0, "the key that was withdrawn");
    assert_eq!(host.connections(), 2, "an unknown key is looked for once in a while only");

    // It survives a kill, as everything that was answered.
    gateway.kill();
    let gateway = site.start().await;
    assert_eq!(call(&gateway, &id, &second).await, 200);
    let (status, body) = read(manage(&gateway, reqwest::Method::GET, &id, &token, &Value::Null).await).await;
    assert_eq!((status, &body["jwks_uri"]), (200, &json!(host.url("localhost"))));

    // A full replacement: keys inline now.
    let third = Key::generate(Algorithm::Es256);
    let next = json!({
        "client_id": id, "grant_types": ["client_credentials"],
        "token_endpoint_auth_method": "private_key_jwt", "jwks": { "keys": [third.jwk] },
    });
    let (status, body) = read(manage(&gateway, reqwest::Method::PUT, &id, &token, &next).await).await;
    assert_eq!((status, body.get("jwks_uri")), (200, None), "{body}");
    assert_eq!((call(&gateway, &id, &third).await, call(&gateway, &id, &second).await), (200, 0));

    // Gone: its last token is worth nothing with the next request.
    let (_, body) = token_by_assertion(&gateway, &assertion(&third, &id, json!({}))).await;
    let last = text(&body, "access_token");
    assert_eq!(manage(&gateway, reqwest::Method::DELETE, &id, &token, &Value::Null).await.status(), 204);
    let api = http(None).get(gateway.https("public", "/shop/items")).bearer_auth(&last).send().await.unwrap();
    assert_eq!(api.status(), 401);
    assert_eq!(call(&gateway, &id, &third).await, 0);
    let gone = manage(&gateway, reqwest::Method::GET, &id, &token, &Value::Null).await;
    assert_eq!(gone.status(), 401);
    assert!(gone.headers().contains_key("www-authenticate"));
}

#[tokio::test]
async fn a_url_of_a_stranger_opens_no_door() {
    let backend = Backend::agreeable().await;
    let host = Host::start(jwks(&[])).await;
    let (_site, gateway) = site(&backend, "").await;
    let metadata = |url: &str| json!({ "grant_types": ["client_credentials"], "token_endpoint_auth_method": "private_key_jwt", "jwks_uri": url });
    for name in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.0.0.1.",
        "%31%32%37.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "0.0.0.0",
        "0",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "169.254.169.254",
        "[fd00:ec2::254]",
        "[64:ff9b::7f00:1]",
        "user@localhost",
        "public.example@127.0.0.1",
    ] {
        let (status, body) = register(&gateway, INITIAL, &metadata(&host.url(name))).await;
        assert_eq!((status, body["error"].as_str()), (400, Some("invalid_client_metadata")), "{name}: {body}");
    }
    let (status, _) = register(&gateway, INITIAL, &metadata(&host.url("localhost").replace("https", "http"))).await;
    assert_eq!(status, 400, "http");

    // A name says where it leads only when it is looked up: it may be registered, but nobody goes there.
    let key = Key::generate(Algorithm::Es256);
    for name in ["localhost", "localhost."] {
        let (status, made) = register(&gateway, INITIAL, &metadata(&host.url(name))).await;
        assert_eq!(status, 201, "{name}: {made}");
        let id = text(&made, "client_id");
        let (status, body) = token_by_assertion(&gateway, &assertion(&key, &id, json!({}))).await;
        assert_eq!((status, body["error"].as_str()), (503, Some("temporarily_unavailable")), "{name}: {body}");
    }
    assert_eq!(host.connections(), 0, "nobody came");
    assert_eq!(backend.total(), 0);
}

#[tokio::test]
async fn a_flood_of_registrations_ends_at_its_bound() {
    let backend = Backend::agreeable().await;
    let (_site, gateway) = site(&backend, "").await;
    let key = Key::generate(Algorithm::Es256);
    let metadata = json!({ "grant_types": ["client_credentials"], "token_endpoint_auth_method": "private_key_jwt",
                           "jwks": { "keys": [key.jwk] } });
    let all = (0..30).map(|_| register(&gateway, INITIAL, &metadata));
    let statuses: Vec<u16> = futures_util::future::join_all(all).await.into_iter().map(|(status, _)| status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 5, "{statuses:?}");
    assert!(statuses.iter().all(|status| matches!(status, 201 | 403)), "{statuses:?}");
    assert_eq!(gateway.metric("clearway_held", "what=\"registered_clients\"").await, 5.0);
    for (name, token) in [("none", ""), ("another", "another-initial-access-token"), ("a prefix", &INITIAL[..10])] {
        let (status, body) = register(&gateway, token, &metadata).await;
        assert_eq!((status, body["error"].as_str()), (401, Some("invalid_token")), "{name}");
    }
    let long = json!({ "client_name": "x".repeat(70_000) });
    assert_eq!(register(&gateway, INITIAL, &long).await.0, 413);
}

/// What the directory says of a piece of software whose key this is.
fn software(id: &str, key: &Key) -> Value {
    json!({ "iss": "https://directory.example", "iat": now(), "jti": unique(), "software_id": id, "org_id": "org-1",
            "client_name": "From the directory", "jwks": { "keys": [key.jwk] } })
}

/// What the software asks for with its statement; signed it is a body of OBIE DCR 3.3 (OB-D-2).
fn submission(software_id: &str, statement: &str) -> Value {
    json!({ "iss": software_id, "aud": "https://localhost", "iat": now(), "exp": now() + 60, "jti": unique(),
            "client_name": "Mine", "grant_types": ["client_credentials"], "software_statement": statement,
            "token_endpoint_auth_method": "private_key_jwt" })
}

async fn register_signed(gateway: &Gateway, key: &Key, claims: &Value) -> (u16, Value) {
    let request = http(None).post(gateway.https("public", "/oauth/register"));
    let request = request.header("content-type", "application/jwt").body(key.jwt("JWT", claims));
    read(request.send().await.unwrap()).await
}

/// RFC 7591 §5, OB-D-1: every bank that a statement was ever sent to has a copy.
#[tokio::test]
async fn a_copy_of_a_software_statement_registers_nobody() {
    let backend = Backend::agreeable().await;
    let (key, stranger) = (Key::generate(Algorithm::Es256), Key::generate(Algorithm::Es256));
    let host = Host::start(jwks(&[&key])).await;
    let (site, gateway) = site(&backend, &allowing()).await;
    let published = json!({ "jwks": null, "software_jwks_uri": host.url("localhost") });
    let statement = directory_key().jwt("JWT", &with(software("victim", &key), published));
    let submitted = |changes: Value| with(submission("victim", &statement), changes);
    let by_certificate = json!({ "token_endpoint_auth_method": "tls_client_auth",
                                 "tls_client_auth_subject_dn": "CN=acme-tls,O=Acme,C=GB" });
    for (name, token, changes) in [
        ("alone", "", json!({})),
        ("with an initial access token", INITIAL, json!({})),
        ("with keys of one's own", "", json!({ "jwks": { "keys": [stranger.jwk] } })),
        ("with a certificate of one's own", "", by_certificate.clone()),
    ] {
        let (status, body) = register(&gateway, token, &submitted(changes)).await;
        assert_eq!((status, body["error"].as_str()), (400, Some("invalid_client_metadata")), "{name}: {body}");
    }
    let request = http(Some(client_identity("acme-tls"))).post(gateway.https("mtls", "/oauth/register"));
    let (status, body) = read(request.json(&submitted(by_certificate)).send().await.unwrap()).await;
    assert_eq!((status, body["error"].as_str()), (400, Some("invalid_client_metadata")), "over mutual TLS: {body}");
    let (status, body) = register_signed(&gateway, &stranger, &submitted(json!({}))).await;
    assert_eq!((status, body["error"].as_str()), (400, Some("invalid_client_metadata")), "a stranger's: {body}");
    let other = submitted(json!({ "software_id": "x" }));
    let (status, body) = register_signed(&gateway, &key, &other).await;
    assert_eq!((status, body["error"].as_str()), (400, Some("invalid_client_metadata")), "OB-D-3: {body}");
    assert_eq!(gateway.metric("clearway_held", "what=\"registered_clients\"").await, 0.0);

    // The software itself, and no more often than the operator lets it.
    site.edit("config/registrations.yaml", "age_max: 5m", "age_max: 5m\n      clients_per_software_max: 2");
    gateway.reload().await;
    for expected in [201, 201, 403] {
        let (status, body) = register_signed(&gateway, &key, &submitted(json!({ "jti": unique() }))).await;
        assert_eq!(status, expected, "{body}");
    }
    let statement = directory_key().jwt("JWT", &software("other", &stranger));
    assert_eq!(register_signed(&gateway, &stranger, &submission("other", &statement)).await.0, 201);
}

/// RFC 7617 §2: a user-id has no colon. Most clients send theirs as it is.
#[tokio::test]
async fn a_registered_client_authenticates_by_basic_as_everybody_does() {
    let backend = Backend::agreeable().await;
    let (_site, gateway) = site(&backend, "").await;
    let metadata =
        json!({ "grant_types": ["client_credentials"], "token_endpoint_auth_method": "client_secret_basic" });
    let (status, made) = register(&gateway, INITIAL, &metadata).await;
    assert_eq!(status, 201, "{made}");
    let request = http(None).post(gateway.https("public", "/oauth/token"));
    let request = request.basic_auth(text(&made, "client_id"), Some(text(&made, "client_secret")));
    let (status, body) = read(
        request
            .header("content-type", "application/x-www-form-urlencoded")
            .body("grant_type=client_credentials")
            .send()
            .await
            .unwrap(),
    )
    .await;
    assert_eq!(status, 200, "{body}");
}

#[tokio::test]
async fn a_software_statement_admits_and_decides() {
    let backend = Backend::agreeable().await;
    let (site, gateway) = site(&backend, "").await;
    let key = Key::generate(Algorithm::Es256);
    let claims = software("app-1", &key);
    let statement = directory_key().jwt("JWT", &claims);
    let (status, made) = register_signed(&gateway, &key, &submission("app-1", &statement)).await;
    assert_eq!(status, 201, "{made}");
    assert_eq!(
        (text(&made, "client_name"), text(&made, "software_statement")),
        ("From the directory".into(), statement)
    );
    let id = text(&made, "client_id");
    assert_eq!(call(&gateway, &id, &key).await, 200);

    let stranger = Key::generate(Algorithm::Es256);
    for (name, statement, code) in [
        ("a stranger's", stranger.jwt("JWT", &claims), "invalid_software_statement"),
        (
            "an old one",
            directory_key().jwt("JWT", &with(claims.clone(), json!({ "iat": now() - 400 }))),
            "invalid_software_statement",
        ),
        (
            "one without tenant",
            directory_key().jwt("JWT", &with(claims.clone(), json!({ "org_id": null }))),
            "invalid_software_statement",
        ),
        (
            "one without keys",
            directory_key().jwt("JWT", &with(claims.clone(), json!({ "jwks": null }))),
            "invalid_software_statement",
        ),
        (
            "redirect URIs that are no list",
            directory_key()
                .jwt("JWT", &with(claims.clone(), json!({ "software_redirect_uris": "https://a.example/" }))),
            "invalid_software_statement",
        ),
        (
            "another directory's",
            directory_key().jwt("JWT", &with(claims.clone(), json!({ "iss": "https://evil.example" }))),
            "unapproved_software_statement",
        ),
    ] {
        let (status, body) = register_signed(&gateway, &key, &submission("app-1", &statement)).await;
        assert_eq!((status, body["error"].as_str()), (400, Some(code)), "{name}: {body}");
        let (status, body) = register(&gateway, INITIAL, &submission("app-1", &statement)).await;
        assert_eq!((status, body["error"].as_str()), (400, Some(code)), "{name}, not signed: {body}");
    }

    // The operator denies the software: its client is out, and nobody else.
    let other = json!({ "grant_types": ["client_credentials"], "token_endpoint_auth_method": "private_key_jwt",
                        "jwks": { "keys": [key.jwk] } });
    let (_, made) = register(&gateway, INITIAL, &other).await;
    let bystander = text(&made, "client_id");
    site.edit(
        "config/registrations.yaml",
        "statement_age_max: 5m",
        "statement_age_max: 5m\n      denied_software: [app-1]",
    );
    gateway.reload().await;
    assert_eq!(call(&gateway, &id, &key).await, 0, "suspended");
    assert_eq!(call(&gateway, &bystander, &key).await, 200, "without effect on others");
}

#[tokio::test]
async fn registration_is_offered_only_where_it_is_configured() {
    let backend = Backend::agreeable().await;
    let (_site, gateway) = site(&backend, "").await;
    let url = gateway.https("public", "/.well-known/oauth-authorization-server");
    let (_, metadata) = read(http(None).get(&url).send().await.unwrap()).await;
    assert_eq!(metadata["registration_endpoint"], "https://localhost/oauth/register");

    let closed = Site::secure(&backend).start().await;
    let url = closed.https("public", "/.well-known/oauth-authorization-server");
    let (_, metadata) = read(http(None).get(&url).send().await.unwrap()).await;
    assert_eq!(metadata.get("registration_endpoint"), None);
    assert_eq!(register(&closed, INITIAL, &json!({})).await.0, 401);
}
