//! What clients register beside keys: certificates of their own making, a sector, and what Brazil asks of both.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use clearway::jose::Algorithm;
use clearway::sandbox::pki::Identity;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use reqwest::Method;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};

use crate::harness::certificates::{client_identity, http};
use crate::harness::secure::form;
use crate::harness::token::{Key, now, unique, with};
use crate::harness::{Backend, Gateway, Site, field, json as read, problem, refused};
use crate::registration::{Host, INITIAL, allowing, directory_key, jwks, register, site, text};

/// Subject attributes by their object identifiers.
fn params(subject: &[(&[u64], &str)]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    for (oid, value) in subject {
        params.distinguished_name.push(DnType::CustomDnType(oid.to_vec()), *value);
    }
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    (params.not_before, params.not_after) = (rcgen::date_time_ymd(2020, 1, 1), rcgen::date_time_ymd(2099, 1, 1));
    params
}

fn written(site: &Site, name: &str, certificate: &rcgen::Certificate, key: &KeyPair) -> Identity {
    site.write(&format!("keys/{name}.pem"), &certificate.pem());
    site.write(&format!("keys/{name}.key"), &key.serialize_pem());
    Identity::named(&site.path("keys"), name)
}

const CN: &[u64] = &[2, 5, 4, 3];
const UID: &[u64] = &[0, 9, 2342, 19_200_300, 100, 1, 1];
const ORGANISATION_IDENTIFIER: &[u64] = &[2, 5, 4, 97];

fn self_signed(site: &Site, name: &str) -> Identity {
    let key = KeyPair::generate().unwrap();
    let certificate = params(&[(CN, name)]).self_signed(&key).unwrap();
    written(site, name, &certificate, &key)
}

/// The key of a certificate as a JWK with the certificate in `x5c`.
fn jwk(identity: &Identity) -> Value {
    let der = CertificateDer::from_pem_file(&identity.certificate).unwrap();
    let (_, certificate) = x509_parser::parse_x509_certificate(&der).unwrap();
    let point = &certificate.public_key().subject_public_key.data;
    let number = |range: std::ops::Range<usize>| URL_SAFE_NO_PAD.encode(&point[range]);
    json!({ "kty": "EC", "crv": "P-256", "x": number(1..33), "y": number(33..65), "x5c": [STANDARD.encode(&der)] })
}

async fn token(gateway: &Gateway, id: &str, identity: &Identity) -> (u16, Value) {
    let fields = [("grant_type", "client_credentials"), ("client_id", id)];
    read(form(gateway, "mtls", &http(Some(identity)), "/oauth/token", &fields).await).await
}

async fn call(gateway: &Gateway, token: &str, identity: &Identity) -> u16 {
    let request = http(Some(identity)).get(gateway.https("mtls", "/shop/items")).bearer_auth(token);
    request.send().await.unwrap().status().as_u16()
}

/// RFC 7592, with or without a certificate.
async fn manage(
    gateway: &Gateway,
    method: Method,
    made: &Value,
    metadata: &Value,
    identity: Option<&Identity>,
) -> (u16, Value) {
    let (id, listener) = (text(made, "client_id"), if identity.is_some() { "mtls" } else { "public" });
    let url = gateway.https(listener, &format!("/oauth/register/{id}"));
    let request = http(identity).request(method, url).bearer_auth(text(made, "registration_access_token"));
    let response = request.json(metadata).send().await.unwrap();
    let (status, body) = (response.status().as_u16(), response.bytes().await.unwrap());
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

fn by_certificate(jwks: &[Value]) -> Value {
    json!({
        "grant_types": ["client_credentials"], "token_endpoint_auth_method": "self_signed_tls_client_auth",
        "tls_client_certificate_bound_access_tokens": true, "jwks": { "keys": jwks },
    })
}

/// RFC 8705 §2.2.
#[tokio::test]
async fn a_client_of_its_own_certificate_registers_calls_changes_it_and_goes() {
    let backend = Backend::agreeable().await;
    let (site, gateway) = site(&backend, "").await;
    let (first, second) = (self_signed(&site, "first"), self_signed(&site, "second"));
    let with_chain = |mut key: Value, of: &Value| {
        key["x5c"] = of["x5c"].clone();
        key
    };
    let mut bare = jwk(&first);
    bare.as_object_mut().unwrap().remove("x5c");
    for (name, keys) in [
        ("no certificate", vec![bare.clone()]),
        ("another key's certificate", vec![with_chain(bare.clone(), &jwk(&second))]),
        ("a certificate of a CA", vec![jwk(client_identity("acme-tls"))]),
        ("no certificate at all", vec![with_chain(bare.clone(), &json!({ "x5c": ["bm8gY2VydGlmaWNhdGU"] }))]),
        ("no list", vec![with_chain(bare, &json!({ "x5c": "MII" }))]),
    ] {
        let (status, body) = register(&gateway, INITIAL, &by_certificate(&keys)).await;
        assert_eq!((status, body["error"].as_str()), (400, Some("invalid_client_metadata")), "{name}: {body}");
    }

    let (status, made) = register(&gateway, INITIAL, &by_certificate(&[jwk(&first)])).await;
    assert_eq!(status, 201, "{made}");
    let id = text(&made, "client_id");
    assert_eq!(token(&gateway, &id, &second).await.0, 401, "another certificate");
    assert_eq!(token(&gateway, &id, client_identity("acme-tls")).await.0, 401, "a CA's certificate");
    let (status, body) = token(&gateway, &id, &first).await;
    assert_eq!(status, 200, "{body}");
    let old = text(&body, "access_token");
    assert_eq!(call(&gateway, &old, &first).await, 200);
    assert_eq!(call(&gateway, &old, &second).await, 401, "bound to the first");

    let next = with(by_certificate(&[jwk(&second)]), json!({ "client_id": id }));
    let (status, body) = manage(&gateway, Method::PUT, &made, &next, None).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(token(&gateway, &id, &first).await.0, 401);
    assert_eq!(call(&gateway, &old, &first).await, 401, "the certificate has no standing any more");
    let (_, body) = token(&gateway, &id, &second).await;
    let fresh = text(&body, "access_token");
    assert_eq!(call(&gateway, &fresh, &second).await, 200);

    // What is registered outlives the process, and ends with the registration.
    gateway.kill();
    let gateway = site.start().await;
    assert_eq!(call(&gateway, &fresh, &second).await, 200);
    assert_eq!(manage(&gateway, Method::DELETE, &made, &Value::Null, None).await.0, 204);
    assert_eq!(call(&gateway, &fresh, &second).await, 401);
    assert_eq!(token(&gateway, &id, &second).await.0, 401);
}

/// OpenID Connect Dynamic Registration §5.
#[tokio::test]
async fn a_sector_vouches_for_its_redirect_uris() {
    let backend = Backend::agreeable().await;
    let uris = ["https://a.example/cb", "https://b.example/cb"];
    let host = Host::start(json!(["https://c.example/", uris[0], uris[1]]).to_string()).await;
    let (_site, gateway) = site(&backend, &allowing()).await;
    let key = Key::generate(Algorithm::Es256);
    let metadata = json!({
        "redirect_uris": uris, "token_endpoint_auth_method": "private_key_jwt", "jwks": { "keys": [key.jwk] },
        "subject_type": "pairwise", "sector_identifier_uri": host.url("localhost"),
    });
    let (status, made) = register(&gateway, INITIAL, &metadata).await;
    assert_eq!((status, &made["sector_identifier_uri"]), (201, &metadata["sector_identifier_uri"]), "{made}");
    assert_eq!(host.connections(), 1);

    for (name, document) in [
        ("one is missing", json!([uris[0]]).to_string()),
        ("none", "[]".to_owned()),
        ("an object", json!({ "redirect_uris": uris }).to_string()),
        ("a prefix", json!(["https://a.example/", "https://b.example/cb"]).to_string()),
        ("not JSON", "<html>".to_owned()),
        ("too long", format!("{}{}", " ".repeat(70_000), json!(uris))),
    ] {
        *host.body.lock().unwrap() = document;
        let (status, body) = register(&gateway, INITIAL, &metadata).await;
        assert_eq!((status, body["error"].as_str()), (400, Some("invalid_client_metadata")), "{name}: {body}");
        let next = with(metadata.clone(), json!({ "client_id": made["client_id"] }));
        assert_eq!(manage(&gateway, Method::PUT, &made, &next, None).await.0, 400, "{name}: nor a replacement");
    }
    let asked = host.connections();
    for (name, changes) in [
        ("two hosts without a sector", json!({ "sector_identifier_uri": null })),
        ("a private place", json!({ "sector_identifier_uri": host.url("127.0.0.1") })),
        ("http", json!({ "sector_identifier_uri": "http://sector.example/" })),
        ("no text", json!({ "sector_identifier_uri": 7 })),
        ("what fails anyway", json!({ "scope": "admin" })),
    ] {
        let (status, body) = register(&gateway, INITIAL, &with(metadata.clone(), changes)).await;
        assert_eq!((status, body["error"].as_str()), (400, Some("invalid_client_metadata")), "{name}: {body}");
    }
    assert_eq!(register(&gateway, "no-token", &metadata).await.0, 401);
    assert_eq!(host.connections(), asked, "nobody is asked on the word of a stranger, or for what fails anyway");
}

/// CIBA Core §4: a client that is sent no users names the keys that it signs with, and the sector vouches for them.
#[tokio::test]
async fn a_sector_vouches_for_the_keys_of_a_client_of_decoupled_approval() {
    let backend = Backend::agreeable().await;
    let others = json!(["https://somebody-else.example/callback"]);
    let host = Host::start(others.to_string()).await;
    let (_site, gateway) = site(&backend, &allowing()).await;
    let ciba = "urn:openid:params:grant-type:ciba";
    let jwks_uri = host.url("localhost").replace("/jwks", "/keys");
    let metadata = json!({
        "grant_types": [ciba], "backchannel_token_delivery_mode": "poll", "jwks_uri": jwks_uri,
        "token_endpoint_auth_method": "private_key_jwt", "subject_type": "pairwise",
    });
    let sector = json!({ "sector_identifier_uri": host.url("localhost") });
    let inline = json!({ "jwks_uri": null, "jwks": { "keys": [Key::generate(Algorithm::Es256).jwk] } });
    let of_others = json!({ "grant_types": [ciba, "authorization_code"],
        "redirect_uris": ["https://somebody-else.example/callback"] });
    for (name, changes, listed, expected) in [
        ("of the host of its keys", vec![], json!([]), 201),
        ("of a sector that lists its keys", vec![&sector], json!([jwks_uri]), 201),
        ("of a sector of others", vec![&sector], others.clone(), 400),
        ("of a sector of others, its keys written down", vec![&sector, &inline], others.clone(), 400),
        ("of the host of another's redirect URI", vec![&of_others], json!([]), 400),
        ("of the same, its keys written down", vec![&of_others, &inline], json!([]), 400),
        ("of a sector that lists one of both", vec![&of_others, &sector], others.clone(), 400),
    ] {
        *host.body.lock().unwrap() = listed.to_string();
        let given = changes.into_iter().fold(metadata.clone(), |given, change| with(given, change.clone()));
        let (status, body) = register(&gateway, INITIAL, &given).await;
        assert_eq!(status, expected, "{name}: {body}");
    }
}

const BRAZIL: &str = "
  - id: br
    tenant_claim: org_id
    jurisdiction: GB
    profile: fapi1-advanced-brazil
    scopes: [shop]
    subscriptions: [{ product: goods, plan: open }]
    directory:
      issuer: https://directory.br.example
      jwks_file: ../keys/directory.jwks.json
      algorithms: [ES256]
      required_claims: [software_id, org_id]
      statement_age_max: 5m
";

/// One that the site trusts beside its own.
fn authority(site: &Site) -> Issuer<'static, KeyPair> {
    let key = KeyPair::generate().unwrap();
    let mut params = params(&[(CN, "A root of the tests")]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.extended_key_usages = Vec::new();
    site.write("keys/br-ca.pem", &params.self_signed(&key).unwrap().pem());
    site.edit("config/gateway.yaml", "partner-ca.pem]", "partner-ca.pem, ../keys/br-ca.pem]");
    Issuer::new(params, key)
}

/// Open Finance Brasil, BR-DCR.
#[tokio::test]
async fn brazil_registers_software_by_its_certificate() {
    let backend = Backend::agreeable().await;
    let site = Site::secure(&backend);
    let issuer = authority(&site);
    let issue = |name: &str, uid: &str, organisation: &str| {
        let subject: &[(&[u64], &str)] = &[(ORGANISATION_IDENTIFIER, organisation), (UID, uid), (CN, name)];
        let key = KeyPair::generate().unwrap();
        let certificate = params(subject).signed_by(&key, &issuer).unwrap();
        written(&site, name, &certificate, &key)
    };
    let own = issue("own", "app-1", "OFBBR-org-1");
    let other_software = issue("other", "app-2", "OFBBR-org-1");
    let other_organisation = issue("elsewhere", "app-1", "OFBBR-org-2");
    let without_prefix = issue("bare", "app-1", "org-1");
    site.append("config/gateway.yaml", &allowing());
    site.write("config/registrations.yaml", &format!("version: 1\nregistrations:{BRAZIL}"));
    crate::harness::token::write_jwks(&site.path("keys/directory.jwks.json"), &[directory_key()]);
    let gateway = site.start().await;

    let key = Key::generate(Algorithm::Es256);
    let host = Host::start(jwks(&[&key])).await;
    let statement = || {
        let claims = json!({ "iss": "https://directory.br.example", "iat": now(), "jti": unique(), "software_id": "app-1",
                             "org_id": "org-1", "software_jwks_uri": host.url("localhost") });
        directory_key().jwt("JWT", &claims)
    };
    let submit = async |identity: Option<&Identity>, changes: Value| {
        let metadata = json!({ "grant_types": ["client_credentials"], "software_statement": statement(),
                               "token_endpoint_auth_method": "private_key_jwt" });
        let listener = if identity.is_some() { "mtls" } else { "public" };
        let request = http(identity).post(gateway.https(listener, "/oauth/register"));
        read(request.json(&with(metadata, changes)).send().await.unwrap()).await
    };
    for (name, identity) in [
        ("no certificate", None),
        ("a certificate that names no software", Some(client_identity("acme-tls"))),
        ("a self-signed one of the right name", Some(&self_signed(&site, "app-1"))),
        ("another software's", Some(&other_software)),
        ("another organisation's", Some(&other_organisation)),
        ("an organisation without its prefix", Some(&without_prefix)),
    ] {
        let (status, body) = submit(identity, json!({})).await;
        assert_eq!((status, body["error"].as_str()), (401, Some("invalid_client")), "{name}: {body}");
    }
    let by_name = |member: &str, name: &str| json!({ "token_endpoint_auth_method": "tls_client_auth", member: name });
    for (name, changes) in [
        ("keys of its own", json!({ "jwks": { "keys": [key.jwk] } })),
        ("keys elsewhere", json!({ "jwks_uri": "https://app.example/jwks" })),
        ("a name that is no subject", by_name("tls_client_auth_san_dns", "own")),
        (
            "another software's subject",
            by_name("tls_client_auth_subject_dn", "CN=other,UID=app-2,organizationIdentifier=OFBBR-org-1"),
        ),
        ("a certificate of its own", json!({ "token_endpoint_auth_method": "self_signed_tls_client_auth" })),
        ("a DPoP key", json!({ "dpop_bound_access_tokens": true })),
    ] {
        let (status, body) = submit(Some(&own), changes).await;
        assert_eq!((status, body["error"].as_str()), (400, Some("invalid_client_metadata")), "{name}: {body}");
    }

    let subject = "CN=own,UID=app-1,organizationIdentifier=OFBBR-org-1";
    let (status, made) = submit(Some(&own), by_name("tls_client_auth_subject_dn", subject)).await;
    assert_eq!(status, 201, "{made}");
    let (status, body) = token(&gateway, &text(&made, "client_id"), &own).await;
    assert_eq!((status, &body["expires_in"]), (200, &json!(300)), "{body}");
    names_its_calls(&gateway, &text(&body, "access_token"), &own).await;

    // RFC 7592: the registration access token and the certificate, both.
    for (name, identity, expected) in
        [("without", None, 401), ("another software's", Some(&other_software), 401), ("its own", Some(&own), 200)]
    {
        assert_eq!(manage(&gateway, Method::GET, &made, &Value::Null, identity).await.0, expected, "{name}");
    }
    assert_eq!(manage(&gateway, Method::DELETE, &made, &Value::Null, None).await.0, 401);
    assert_eq!(manage(&gateway, Method::DELETE, &made, &Value::Null, Some(&own)).await.0, 204);

    let url = gateway.https("public", "/.well-known/oauth-authorization-server");
    let metadata: Value = http(None).get(url).send().await.unwrap().json().await.unwrap();
    let alias = metadata["mtls_endpoint_aliases"]["registration_endpoint"].as_str().unwrap_or_default();
    assert!(alias.ends_with("/oauth/register"), "{metadata}");
}

/// BR-AS-23, and FAPI 1.0 Baseline §6.2.1-11: a call has a name, and its caller hears it again.
async fn names_its_calls(gateway: &Gateway, token: &str, identity: &Identity) {
    let call = || http(Some(identity)).get(gateway.https("mtls", "/shop/items")).bearer_auth(token);
    let name = "c770aef3-6784-41f7-8e0e-ff5f97bddb3a";
    let answer = call().header("x-fapi-interaction-id", name).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), field(&answer, "x-fapi-interaction-id")), (200, name));
    for (what, request) in [("another", call().header("x-fapi-interaction-id", "mine")), ("none", call())] {
        assert_eq!(problem(request.send().await.unwrap()).await, refused(400, "interaction-unnamed"), "{what}");
    }
}

/// BR-AS-13, BR-AS-22: the operator hears what the profile demands.
#[tokio::test]
async fn lifetimes_that_brazil_forbids_stop_the_start() {
    let backend = Backend::agreeable().await;
    let site = Site::secure(&backend);
    site.write("config/registrations.yaml", &format!("version: 1\nregistrations:{BRAZIL}"));
    crate::harness::token::write_jwks(&site.path("keys/directory.jwks.json"), &[directory_key()]);
    let plain = site.read("config/gateway.yaml");
    for (tokens, key) in [
        ("access_token_lifetime: 299s", "access_token_lifetime"),
        ("request_uri_lifetime: 59s", "request_uri_lifetime"),
    ] {
        site.write("config/gateway.yaml", &format!("{plain}tokens: {{ {tokens} }}\n"));
        let output = crate::harness::run(&["check", "--config", site.config().to_str().unwrap()]);
        let told = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert!(!output.status.success(), "{told}");
        let expected = format!("{key} is shorter than clients of the profile fapi1-advanced-brazil must be given");
        assert!(told.contains(&expected), "{told}");
    }
}
