//! Whose connection to a back end is it?

use serde_json::json;

use super::authorized;
use crate::harness::bank::{Bank, fingerprint};
use crate::harness::forge::Ca;
use crate::harness::token::{outside_claims, outside_key, outside_token, with};
use crate::harness::wire::Wire;
use crate::harness::{Backend, Gateway, Site};

/// An institution of a pool in a TLS back end: its name, and the stems of our certificate's and the CA's files.
struct Party {
    name: &'static str,
    certificate: &'static str,
    ca: &'static str,
}

const fn party(name: &'static str, certificate: &'static str, ca: &'static str) -> Party {
    Party { name, certificate, ca }
}

/// Each party gets an API of its own in front of the same back end.
fn site(bank: &Bank, parties: &[Party], http2: bool) -> Site {
    let site = Site::plain_urls(&[bank.url()]);
    let mut institutions = "version: 1\ninstitutions:\n".to_owned();
    let mut apis = "version: 1\napis:\n".to_owned();
    for Party { name, certificate, ca } in parties {
        institutions.push_str(&format!(
            "  - id: {name}
    name: {name}
    data_jurisdictions: [GB]
    backends:
      - environment: sandbox
        urls: ['{}']
        http2: {http2}
        health: {{ interval: 60s }}
        breaker: {{ failures: 1000, open_for: 60s }}
        tls: {{ ca_file: ../keys/{ca}.pem, certificate_file: ../keys/{certificate}.pem, private_key_file: ../keys/{certificate}.key }}
",
            bank.url()
        ));
        apis.push_str(&format!(
            "  - id: {name}
    institution: {name}
    document: ../openapi/shop.yaml
    base_path: /{name}
    upstream_base_path: /v1/{name}
    operations:
      note: {{ request_contract: off }}
"
        ));
    }
    site.write("config/institutions.yaml", &institutions);
    site.write("config/apis.yaml", &apis);
    let products: Vec<String> = parties.iter().map(|party| format!("'{}.*'", party.name)).collect();
    site.edit("config/products.yaml", "'shop.*'", &products.join(", "));
    site
}

/// Streamed and held requests to a party; their statuses.
async fn call(gateway: &Gateway, party: &str) -> [u16; 3] {
    let claims = with(outside_claims("acme", "app"), json!({ "scope": party }));
    let token = outside_key().jwt("at+jwt", &claims);
    let item = r#"{"name":"tea","quantity":1}"#;
    let json = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", item.len());
    let note = "Content-Type: text/plain\r\nContent-Length: 2\r\n";
    let ask = async |method: &str, path: &str, more: &str, body: &str| {
        // A connection each: after a failure the gateway ends it.
        let mut wire = Wire::connect(gateway.address("public")).await;
        wire.ask(authorized(method, &format!("/{party}/{path}"), &token, more) + body).await.status
    };
    [ask("GET", "items", "", "").await, ask("POST", "notes", note, "hi").await, ask("POST", "items", &json, item).await]
}

const OK: [u16; 3] = [200; 3];

/// The stock engine's pool compares our client certificates by serial number alone, and does not look at the CA: one
/// identity was served over another's connection, and a back end was believed that nobody had verified.
#[tokio::test]
async fn a_connection_serves_one_identity_one_ca_and_one_institution() {
    for (protocols, http2) in [(&["http/1.1"][..], false), (&["h2"][..], true)] {
        let (servers, other, ours, theirs) = (Ca::new("servers"), Ca::new("other"), Ca::new("ours"), Ca::new("theirs"));
        let bank = Bank::tls(&servers, &[&ours, &theirs], protocols).await;
        // The same serial number under two issuers.
        let (north, south) = (ours.client_with_serial("gateway", 7), theirs.client_with_serial("gateway", 7));
        let parties = [
            party("north", "north", "servers"),
            party("south", "south", "servers"),
            party("twin", "north", "servers"), // The same identity and trust, of another institution.
            party("wrong", "north", "other"),  // Trusts a CA that did not sign the back end.
        ];
        let site = site(&bank, &parties, http2);
        servers.write(&site.path("keys/servers.pem"));
        other.write(&site.path("keys/other.pem"));
        north.write(&site.path("keys"), "north");
        south.write(&site.path("keys"), "south");
        let gateway = site.start().await;
        for _ in 0..4 {
            for name in ["north", "south", "twin"] {
                assert_eq!(call(&gateway, name).await, OK, "{name}, HTTP/2: {http2}");
            }
            assert_eq!(call(&gateway, "wrong").await, [503; 3], "not over a connection that another CA vouched for");
        }
        let visits = bank.visits();
        assert_eq!(visits.len(), 36, "HTTP/2: {http2}");
        assert!(!visits.iter().any(|visit| visit.path.starts_with("/v1/wrong/")));
        let mut of_connection = std::collections::HashMap::new();
        for visit in &visits {
            let name = visit.path.split('/').nth(2).unwrap();
            let expected = fingerprint(if name == "south" { &south } else { &north });
            assert_eq!(visit.certificate, expected, "{visit:?}");
            let owner = of_connection.entry(visit.connection).or_insert(name);
            assert_eq!(*owner, name, "one connection for two institutions: {visit:?}");
        }
        assert!(of_connection.len() < visits.len(), "connections are kept: {}", of_connection.len());

        // A renewed certificate is presented from the next request on, also where the old connection is still warm.
        let renewed = ours.client_with_serial("gateway", 7);
        renewed.write(&site.path("keys"), "north");
        gateway.reload().await;
        assert_eq!(call(&gateway, "north").await, OK);
        assert_eq!(bank.last().certificate, fingerprint(&renewed), "HTTP/2: {http2}");
        // And so is a CA that was taken away: the back end is not believed any more.
        other.write(&site.path("keys/servers.pem"));
        gateway.reload().await;
        assert_eq!(call(&gateway, "north").await, [503; 3], "HTTP/2: {http2}");
        assert_eq!(bank.visits().len(), 39, "HTTP/2: {http2}");
    }
}

/// Partners share connections to a back end; what identifies one of them does not stay on it.
#[tokio::test]
async fn nothing_of_one_tenant_is_left_on_a_connection_for_the_next() {
    let backend = Backend::agreeable().await;
    let site = Site::plain(&[&backend]);
    let gateway = site.start().await;
    let mut wire = Wire::connect(gateway.address("public")).await;
    for round in 0..10 {
        let (tenant, mine) = if round % 2 == 0 { ("acme", "a") } else { ("farview", "b") };
        let token = outside_token(tenant, "app");
        let more = format!("X-Mine-{mine}: {tenant}\r\nCookie: session={tenant}\r\n");
        assert_eq!(wire.ask(authorized("GET", "/shop/items", &token, &more)).await.status, 200);
        let seen = backend.last();
        let other = if mine == "a" { "farview" } else { "acme" };
        assert_eq!(seen.field(&format!("x-mine-{mine}")), Some(tenant));
        assert!(!seen.fields.iter().any(|(_, value)| value.contains(other)), "{seen:?}");
        assert_eq!(seen.field("authorization"), None);
    }
    assert!(backend.seen().iter().any(|seen| seen.nth > 0), "the connection was shared");
}
