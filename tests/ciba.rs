//! Decoupled approval against the real binary: poll, ping, refusal, expiry, and what clients may know of users.

use clearway::sandbox::pki::Identity;
use serde_json::{Value, json};

use crate::harness::certificates::{client_identity, http, pki_folder};
use crate::harness::host::Host;
use crate::harness::secure::form;
use crate::harness::token::claims;
use crate::harness::visit::site;
use crate::harness::{Backend, Gateway, Site, field, json as read_json, problem, refused, within};

const CIBA: &str = "urn:openid:params:grant-type:ciba";
const BEARER: &str = "a-notification-token-of-acme-second-1234567890";

/// `acme-tls` polls, `acme-second` is pinged at `endpoint`; both know the user alice.
async fn rig(endpoint: &str) -> (Backend, Site, Gateway) {
    let backend = Backend::agreeable().await;
    let site = site(&backend);
    site.edit(
        "config/clients.yaml",
        "grant_types: [authorization_code, refresh_token, client_credentials]",
        &format!(
            "grant_types: [authorization_code, refresh_token, client_credentials, '{CIBA}']\n    \
             backchannel_token_delivery_mode: poll"
        ),
    );
    site.edit(
        "config/clients.yaml",
        "    scopes: [shop, vault]\n    authentication: { method: tls_client_auth, san_dns: acme-second }",
        &format!(
            "    scopes: [openid, shop, vault]\n    grant_types: ['{CIBA}']\n    backchannel_token_delivery_mode: ping\n    \
             backchannel_client_notification_endpoint: '{endpoint}'\n    \
             authentication: {{ method: tls_client_auth, san_dns: acme-second }}"
        ),
    );
    site.append(
        "config/gateway.yaml",
        "\nsimulated_authentication_device: true\noutbound: { allow_private: [127.0.0.0/8, localhost], ca_files: [PKI/server-ca.pem] }\n",
    );
    let gateway = site.start().await;
    (backend, site, gateway)
}

async fn post(gateway: &Gateway, id: &str, path: &str, more: &[(&str, &str)]) -> (u16, Value) {
    let fields = [&[("client_id", id)][..], more].concat();
    read_json(form(gateway, "mtls", &http(Some(client_identity(id))), path, &fields).await).await
}

async fn ask(gateway: &Gateway, id: &str, more: &[(&str, &str)]) -> String {
    let fields =
        [&[("scope", "openid shop"), ("login_hint", "alice"), ("binding_message", "W 4711")][..], more].concat();
    let (status, body) = post(gateway, id, "/oauth/backchannel", &fields).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(body["interval"], 5);
    body["auth_req_id"].as_str().unwrap().to_owned()
}

async fn poll(gateway: &Gateway, id: &str, auth_req_id: &str) -> (u16, Value) {
    post(gateway, id, "/oauth/token", &[("grant_type", CIBA), ("auth_req_id", auth_req_id)]).await
}

/// Status of a decision on the simulated device.
async fn decide(gateway: &Gateway, auth_req_id: &str, decision: &str) -> u16 {
    let url = gateway.operations(&format!("/device?auth_req_id={auth_req_id}&decision={decision}"));
    reqwest::get(url).await.unwrap().status().as_u16()
}

fn error(answer: &(u16, Value)) -> (u16, &str) {
    (answer.0, answer.1["error"].as_str().unwrap_or_default())
}

async fn userinfo(gateway: &Gateway, identity: Option<&Identity>, token: &str) -> reqwest::Response {
    let listener = if identity.is_some() { "mtls" } else { "public" };
    http(identity).get(gateway.https(listener, "/oauth/userinfo")).bearer_auth(token).send().await.unwrap()
}

#[tokio::test]
async fn a_user_approves_elsewhere_and_the_client_gets_tokens_once() {
    let (_backend, _site, gateway) = rig("https://tpp.example/notified").await;
    let id = ask(&gateway, "acme-tls", &[]).await;
    assert_eq!(error(&poll(&gateway, "acme-tls", &id).await), (400, "authorization_pending"));
    assert_eq!(error(&poll(&gateway, "acme-tls", &id).await), (400, "slow_down"), "CIBA Core §11");
    assert_eq!(error(&poll(&gateway, "acme-second", &id).await), (400, "invalid_grant"), "another client's");
    let page = reqwest::get(gateway.operations("/device")).await.unwrap().text().await.unwrap();
    assert!(page.contains(&id) && page.contains("W 4711"), "{page}");
    assert_eq!(decide(&gateway, &id, "approve").await, 200);
    assert_eq!(decide(&gateway, &id, "deny").await, 409);
    let (one, two) = tokio::join!(poll(&gateway, "acme-tls", &id), poll(&gateway, "acme-tls", &id));
    let (won, lost) = if one.0 == 200 { (one, two) } else { (two, one) };
    assert_eq!((won.0, error(&lost)), (200, (400, "invalid_grant")), "{} {}", won.1, lost.1);
    assert_eq!(claims(won.1["id_token"].as_str().unwrap())["sub"], "psu-1");
    let token = won.1["access_token"].as_str().unwrap();
    let identity = client_identity("acme-tls");
    let called =
        http(Some(identity)).get(gateway.https("mtls", "/shop/items")).bearer_auth(token).send().await.unwrap();
    assert_eq!(called.status(), 200, "the token is one for APIs");
    assert!(won.1["refresh_token"].is_string());

    // OpenID Connect Core §5.3, sender-constrained like an API.
    let said = userinfo(&gateway, Some(identity), token).await;
    assert_eq!((said.status().as_u16(), field(&said, "cache-control")), (200, "no-store"));
    assert_eq!(said.json::<Value>().await.unwrap(), json!({ "sub": "psu-1" }));
    let posted =
        http(Some(identity)).post(gateway.https("mtls", "/oauth/userinfo")).bearer_auth(token).send().await.unwrap();
    assert_eq!(posted.status(), 200);
    let unbound = userinfo(&gateway, None, token).await;
    assert!(field(&unbound, "www-authenticate").contains("invalid_token"));
    assert_eq!(problem(unbound).await, refused(401, "token-binding"));
    let none = http(None).get(gateway.https("public", "/oauth/userinfo")).send().await.unwrap();
    assert_eq!(problem(none).await, refused(401, "token-missing"));
    let (_, own) = post(&gateway, "acme-tls", "/oauth/token", &[("grant_type", "client_credentials")]).await;
    let own = userinfo(&gateway, Some(identity), own["access_token"].as_str().unwrap()).await;
    assert!(field(&own, "www-authenticate").contains("insufficient_scope"));
    assert_eq!(problem(own).await, refused(403, "scope-missing"));
}

#[tokio::test]
async fn a_refused_and_an_expired_request_end_in_their_errors() {
    let (_backend, _site, gateway) = rig("https://tpp.example/notified").await;
    let id = ask(&gateway, "acme-tls", &[]).await;
    assert_eq!(decide(&gateway, &id, "deny").await, 200);
    assert_eq!(error(&poll(&gateway, "acme-tls", &id).await), (400, "access_denied"));
    let id = ask(&gateway, "acme-tls", &[("requested_expiry", "1")]).await;
    let expired = async {
        let mut look = tokio::time::interval(std::time::Duration::from_millis(100));
        loop {
            look.tick().await;
            if error(&poll(&gateway, "acme-tls", &id).await) == (400, "expired_token") {
                return;
            }
        }
    };
    within("the request expires", expired).await;
    assert_eq!(decide(&gateway, &id, "approve").await, 410);
    let unknown = [("scope", "openid"), ("login_hint", "nobody"), ("binding_message", "b")];
    assert_eq!(error(&post(&gateway, "acme-tls", "/oauth/backchannel", &unknown).await), (400, "unknown_user_id"));
}

#[tokio::test]
async fn a_client_is_pinged_once_after_each_decision_and_no_redirect_is_followed() {
    let host = Host::bind();
    let url = host.url("/notified");
    let elsewhere = "302 Found\r\nlocation: https://localhost/elsewhere";
    let mut notified = host.serve(&pki_folder(), String::new(), elsewhere);
    let (_backend, _site, gateway) = rig(&url).await;
    for (decision, status) in [("approve", 200), ("deny", 400)] {
        let id = ask(&gateway, "acme-second", &[("client_notification_token", BEARER)]).await;
        assert_eq!(decide(&gateway, &id, decision).await, 200);
        let text = within("the ping", notified.recv()).await.unwrap();
        assert!(text.starts_with("POST /notified HTTP/1.1\r\n"), "{text}");
        assert!(text.contains(&format!("authorization: Bearer {BEARER}\r\n")), "{text}");
        assert!(text.ends_with(&format!("{{\"auth_req_id\":\"{id}\"}}")), "{text}");
        let answer = poll(&gateway, "acme-second", &id).await;
        assert_eq!(answer.0, status, "{}", answer.1);
    }
    assert!(notified.try_recv().is_err(), "once each");
    let missing = [("scope", "openid"), ("login_hint", "alice"), ("binding_message", "b")];
    assert_eq!(error(&post(&gateway, "acme-second", "/oauth/backchannel", &missing).await), (400, "invalid_request"));
}

#[tokio::test]
async fn the_simulated_device_is_absent_unless_it_is_asked_for() {
    let backend = Backend::agreeable().await;
    let site = site(&backend);
    let gateway = site.start().await;
    assert_eq!(reqwest::get(gateway.operations("/device")).await.unwrap().status(), 404);
}
