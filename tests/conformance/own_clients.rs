//! What an official suite writes into `--clients`, and no more: RFC 7591 metadata with every default left to the server.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clearway::jose::Algorithm;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::browser::Browser;
use super::party::{Answer, Demo, Party, Suite, changed};
use super::report::Report;
use super::variants::push;
use super::visits::{page_of, redeem};
use crate::harness::certificates::pki;
use crate::harness::host::{Host, NO_CONTENT};
use crate::harness::token::{Key, claims};

const GRANTS: [&str; 3] = ["authorization_code", "refresh_token", "client_credentials"];

#[tokio::test]
async fn clients_that_leave_the_defaults_to_the_server_conform() {
    let folder = tempfile::tempdir().unwrap();
    let (state, file) = (folder.path().join("demo"), folder.path().join("clients.json"));
    let host = Host::bind();
    let near = host.url("");
    let keys: [Arc<Key>; 6] = std::array::from_fn(|_| Arc::new(Key::generate(Algorithm::Es256)));
    std::fs::write(&file, clients(&keys, &near).to_string()).unwrap();
    let _demo = Demo::start(&state, &["--clients", file.to_str().unwrap()]);
    let suite = Suite::read(&state).await;
    let notified = host.serve(&state.join("pki"), json!({ "keys": [keys[4].jwk] }).to_string(), NO_CONTENT);
    let before = std::fs::read(state.join("clients.json")).unwrap();
    let second_demo = std::process::Command::new(env!("CARGO_BIN_EXE_clearway"))
        .args(["demo", "--free-ports", "--state"])
        .arg(&state)
        .output()
        .unwrap();
    assert!(!second_demo.status.success(), "a second demo in one folder");
    assert!(String::from_utf8_lossy(&second_demo.stderr).contains("another demo is running"));
    assert_eq!(std::fs::read(state.join("clients.json")).unwrap(), before, "the first one's files stay");
    let [first, second, third, fourth, fifth, sixth] = &keys;
    let mut report = Report::default();
    report.area("Clients of the suite's own");
    told(&suite, &mut report);
    either(&suite, first, &mut report).await;
    self_signed(&suite, second, third, &mut report).await;
    once_in_the_uk(&suite, sixth, certificate_of(&suite, "suite-mtls-1"), &mut report).await;
    pinged(&suite, fourth, notified, &mut report).await;
    for (name, key, status) in [("its own", fifth, 200), ("another's", first, 401)] {
        let mut party = suite.own_party("remote", key, None);
        party.told["sender_constraint"] = "dpop".into();
        let answer = party.own_token("accounts").await;
        let name = format!("keys behind a jwks_uri on the suite's machine: {name}");
        report.holds("RFC 7591 2", &name, answer.status == status, &answer.told());
    }
    for (name, key, status) in [("its own", sixth, 200), ("another's", first, 401)] {
        let mut party = suite.own_party("nameless", key, None);
        party.told["sender_constraint"] = "dpop".into();
        let answer = party.own_token("accounts").await;
        let name = format!("a key without kid, and an assertion with one: {name}");
        report.holds("RFC 7515 4.1.4", &name, answer.status == status, &answer.told());
    }
    report.finish(40);
}

fn clients(keys: &[Arc<Key>], near: &str) -> Value {
    let encryption = json!({ "kty": "RSA", "use": "enc", "alg": "RSA-OAEP", "kid": "e", "e": "AQAB", "n": "AQAB" });
    let mut other = Key::generate(Algorithm::Ps256).jwk;
    other["alg"] = "RS256".into();
    let mut nameless = keys[5].jwk.clone();
    nameless.as_object_mut().unwrap().remove("kid");
    let unknown = json!({ "kty": "AKP", "alg": "ML-DSA-44", "kid": "p", "pub": "AAAA" });
    let client = |id: &str, more: Value| {
        let sound =
            json!({ "client_id": id, "redirect_uris": [format!("https://suite.example/{id}")], "grant_types": GRANTS });
        crate::harness::token::with(sound, more)
    };
    let certificate = std::fs::read_to_string(&pki().self_signed_client.certificate).unwrap();
    let bound = "tls_client_certificate_bound_access_tokens";
    json!({ "clients": [
        client("either", json!({ "jwks": { "keys": [keys[0].jwk, encryption, other, unknown] } })),
        client("registered", json!({ "jwks": { "keys": [keys[1].jwk] }, bound: true, "certificates": [certificate] })),
        client("unregistered", json!({ "jwks": { "keys": [keys[2].jwk] }, bound: true, "dpop_bound_access_tokens": false })),
        {
            "client_id": "pinged", "jwks": { "keys": [keys[3].jwk] }, "dpop_bound_access_tokens": true,
            "grant_types": ["urn:openid:params:grant-type:ciba"], "backchannel_token_delivery_mode": "ping",
            "backchannel_client_notification_endpoint": format!("{near}/notified"),
        },
        client("nameless", json!({ "jwks": { "keys": [nameless] }, bound: false })),
        client("remote", json!({ "jwks_uri": format!("{near}/jwks"), bound: false })),
        client("uk-once", json!({
            "jwks": { "keys": [keys[5].jwk] }, "profile": "fapi1-advanced-uk", "grant_types": ["authorization_code"],
        })),
    ] })
}

/// Every client has what a program loops over.
fn told(suite: &Suite, report: &mut Report) {
    for client in suite.told["clients"].as_array().unwrap() {
        for member in
            ["kind", "tenant", "profile", "token_endpoint_auth_method", "sender_constraint", "scope", "grant_types"]
        {
            let id = client["client_id"].as_str().unwrap();
            report.holds(
                "RFC 7591 3.2.1",
                &format!("{id} has {member}"),
                !client[member].is_null(),
                &client.to_string(),
            );
        }
    }
    let of =
        |id: &str| suite.told["clients"].as_array().unwrap().iter().find(|client| client["client_id"] == id).unwrap();
    let constraint = &of("either")["sender_constraint"];
    report.holds("RFC 9449 5.2", "no flag: either", constraint == "dpop_or_certificate", &constraint.to_string());
    let constraint = &of("unregistered")["sender_constraint"];
    report.holds(
        "RFC 8705 3.4",
        "true for one, false for the other",
        constraint == "certificate",
        &constraint.to_string(),
    );
}

fn identity(certificate: &Path, key: &Path) -> Value {
    json!({ "certificate_file": certificate, "certificate_key_file": key })
}

fn certificate_of(suite: &Suite, id: &str) -> Value {
    let found = suite.told["clients"].as_array().unwrap().iter().find(|client| client["client_id"] == id).unwrap();
    json!({ "certificate_file": found["certificate_file"], "certificate_key_file": found["certificate_key_file"] })
}

/// What the request brings binds its token.
async fn either(suite: &Suite, key: &Arc<Key>, report: &mut Report) {
    let api = &suite.told["apis"][0];
    let mut party = suite.own_party("either", key, None);
    let none = party.own_token("accounts").await;
    report.refused("FAPI2-SP 5.3.2.1-4", "neither proof nor certificate", &none, &[400], &["invalid_request"]);
    party.told["sender_constraint"] = "dpop".into();
    let answer = party.own_token("accounts").await;
    report.accepted("RFC 9449 5", "a proof", &answer);
    let jkt = claims(answer.text("access_token"))["cnf"]["jkt"].is_string();
    report.holds("RFC 9449 6.1", "binds to its key", jkt && answer.text("token_type") == "DPoP", &answer.told());
    let call = party.call(api["url"].as_str().unwrap(), answer.text("access_token")).await;
    report.accepted("RFC 9449 7.1", "and passes with one", &call);

    let mut party = suite.own_party("either", key, Some(certificate_of(suite, "suite-mtls-1")));
    let answer = party.own_token("accounts").await;
    let token = answer.text("access_token").to_owned();
    report.accepted("RFC 8705 3", "a certificate", &answer);
    let bound = claims(&token)["cnf"]["x5t#S256"].is_string();
    report.holds("RFC 8705 3.1", "binds to itself", bound && answer.text("token_type") == "Bearer", &answer.told());
    report.accepted(
        "RFC 8705 3",
        "and the token passes with it",
        &party.call(api["mtls_url"].as_str().unwrap(), &token).await,
    );
    let stolen = Answer::to(suite.anonymous.get(api["url"].as_str().unwrap()).bearer_auth(&token)).await;
    report.holds("RFC 8705 3", "and not without", stolen.status == 401, &stolen.told());
    party.told["sender_constraint"] = "dpop".into();
    let both = party.own_token("accounts").await;
    let jkt = claims(both.text("access_token"))["cnf"]["jkt"].is_string();
    report.holds("RFC 9449 5", "with both, the proof binds", jkt, &both.told());
    let untrusted = &suite.told["certificates"]["untrusted_issuer"];
    let party = suite.own_party("either", key, Some(untrusted.clone()));
    let answer = party.own_token("accounts").await;
    report.refused("RFC 8705 3", "a certificate of nobody's binds nothing", &answer, &[400], &["invalid_request"]);
}

/// A client of UK Open Banking that gets no refresh token hears of none.
async fn once_in_the_uk(suite: &Suite, key: &Arc<Key>, certificate: Value, report: &mut Report) {
    let party = suite.own_party("uk-once", key, Some(certificate));
    let pushed = push(&party, json!({}), json!({ "response_mode": "jwt" })).await;
    let url = page_of(suite, party.id(), pushed.text("request_uri"));
    let landed = Browser::new(suite).visit(&url, "approve").await;
    let response = landed.parameters().get("response").cloned().unwrap_or_else(|| panic!("{}", landed.told()));
    let answer = redeem(&party, claims(&response)["code"].as_str().unwrap(), &[]).await;
    report.accepted("RFC 6749 4.1.3", "a code of a client without refresh tokens", &answer);
    let said = claims(answer.text("id_token"));
    let silent =
        answer.body["refresh_token"].is_null() && said["http://openbanking.org.uk/refresh_token_expires_at"].is_null();
    report.holds("UK-OB refresh", "no end of a refresh token that there is not", silent, &said.to_string());
}

/// A token that is issued is one that resources take.
async fn self_signed(suite: &Suite, registered: &Arc<Key>, unregistered: &Arc<Key>, report: &mut Report) {
    let own = &pki().self_signed_client;
    let certificate = identity(&own.certificate, &own.key);
    let other = suite.own_party("unregistered", unregistered, Some(certificate.clone()));
    let answer = other.own_token("accounts").await;
    report.refused("RFC 8705 3", "another client's certificate", &answer, &[400], &["invalid_request"]);
    let party = suite.own_party("registered", registered, Some(certificate));
    let answer = party.own_token("accounts").await;
    report.accepted("RFC 8705 3", "a self-signed certificate that the operator registered", &answer);
    let url = suite.told["apis"][0]["mtls_url"].as_str().unwrap();
    let call = party.call(url, answer.text("access_token")).await;
    report.accepted("RFC 8705 3", "and its token passes at an API", &call);
    let untrusted = Party {
        http: suite.with_certificate("untrusted_issuer"),
        told: party.told.clone(),
        key: Arc::clone(&party.key),
        dpop: Key::generate(Algorithm::Es256),
        suite,
    };
    let answer = untrusted.own_token("accounts").await;
    report.refused("RFC 8705 3", "a certificate of nobody's", &answer, &[400], &["invalid_request"]);
    let call = untrusted.call(url, party.own_token("accounts").await.text("access_token")).await;
    report.holds("RFC 8705 3", "the token with another certificate is 401", call.status == 401, &call.told());
}

/// CIBA Core §10.2, on the machine of the suite.
async fn pinged(suite: &Suite, key: &Arc<Key>, mut notified: mpsc::UnboundedReceiver<String>, report: &mut Report) {
    const BEARER: &str = "a-notification-token-of-128-bits";
    let party = suite.own_party("pinged", key, None);
    let user = suite.told["users"][0]["username"].as_str().unwrap();
    let request = [
        ("scope", "openid accounts"),
        ("login_hint", user),
        ("binding_message", "TEST-1234"),
        ("client_notification_token", BEARER),
    ];
    let answer = party.post("backchannel_authentication", &changed(Vec::new(), &request)).await;
    report.accepted("CIBA 7.3", "a request of a client that is pinged", &answer);
    let id = answer.text("auth_req_id");
    let approve = suite.told["authentication_device"]["approve"].as_str().unwrap().replace("{auth_req_id}", id);
    let approved = Answer::to(suite.anonymous.get(approve)).await;
    report.accepted("CIBA 10.2", "the URL of clients.json approves", &approved);
    let ping = tokio::time::timeout(Duration::from_secs(30), notified.recv()).await.ok().flatten().unwrap_or_default();
    let good = ping.starts_with("POST /notified") && ping.contains(BEARER) && ping.contains(id);
    report.holds("CIBA 10.2", "the client is pinged", good, &ping);
}
