//! Details that an operation demands of a token (RFC 9396), from our authorization server and from an outside issuer.

use reqwest::Response;
use serde_json::{Value, json};

use crate::harness::certificates::{client_identity, http};
use crate::harness::secure::form;
use crate::harness::token::{outside_claims, outside_key, with};
use crate::harness::{Backend, Gateway, Site, field, json as read_json, problem, refused};

/// `vault.balances` demands details of the type `vault_access`; `acme-tls` may ask for them.
fn site(backend: &Backend) -> Site {
    let site = Site::secure(backend);
    let declared = "x-clearway-authorization-details:\n  vault_access: { type: object, required: [type, box], properties: \
                    { type: { const: vault_access }, box: { type: integer } } }\n  other: { type: object }\npaths:";
    site.edit("openapi/vault.yaml", "paths:", declared);
    site.edit(
        "config/apis.yaml",
        "base_path: /vault\n",
        "base_path: /vault\n    operations:\n      balances: { authorization_details_type: vault_access }\n",
    );
    site.edit(
        "config/clients.yaml",
        "  - id: acme-tls\n",
        "  - id: acme-tls\n    authorization_details_types: [vault_access, other]\n",
    );
    site
}

async fn token(gateway: &Gateway, details: &Value) -> Value {
    let details = details.to_string();
    let fields = [("grant_type", "client_credentials"), ("client_id", "acme-tls"), ("authorization_details", &details)];
    let client = http(Some(client_identity("acme-tls")));
    let (status, body) = read_json(
        form(gateway, "mtls", &client, "/oauth/token", &fields[..if details == "null" { 2 } else { 3 }]).await,
    )
    .await;
    assert_eq!(status, 200, "{body}");
    body
}

async fn call(gateway: &Gateway, path: &str, token: &str) -> Response {
    let client = http(Some(client_identity("acme-tls")));
    client.get(gateway.https("mtls", path)).bearer_auth(token).send().await.unwrap()
}

#[tokio::test]
async fn an_operation_is_for_tokens_with_details_of_its_type() {
    let backend = Backend::agreeable().await;
    let site = site(&backend);
    let gateway = site.start().await;
    let right = json!([{ "type": "vault_access", "box": 7 }]);
    for (name, details, good) in [
        ("of the type", right.clone(), true),
        ("among others", json!([{ "type": "other" }, { "type": "vault_access", "box": 7 }]), true),
        ("of another type", json!([{ "type": "other" }]), false),
        ("none", Value::Null, false),
    ] {
        let body = token(&gateway, &details).await;
        let response = call(&gateway, "/vault/balances", body["access_token"].as_str().unwrap()).await;
        if good {
            assert_eq!(response.status(), 200, "{name}");
            continue;
        }
        let challenge = field(&response, "www-authenticate").to_owned();
        assert!(challenge.starts_with("Bearer error=\"insufficient_scope\""), "{name}: {challenge}");
        assert!(!challenge.contains(" scope="), "no scope would help: {challenge}");
        let said: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        let told = (&said["status"], &said["code"], &said["authorization_details_type"]);
        assert_eq!(told, (&json!(403), &json!("authorization-details-missing"), &json!("vault_access")), "{name}");
    }
    assert_eq!(backend.total(), 2, "nothing else came through");
    let body = token(&gateway, &Value::Null).await;
    let other = call(&gateway, "/shop/items", body["access_token"].as_str().unwrap()).await;
    assert_eq!(other.status(), 200, "another operation demands none");
}

#[tokio::test]
async fn an_outside_issuer_grants_them_as_well_and_a_reload_takes_the_demand() {
    let backend = Backend::agreeable().await;
    let site = Site::plain(&[&backend]);
    let declared = "x-clearway-authorization-details:\n  basket: { type: object }\npaths:";
    site.edit("openapi/shop.yaml", "paths:", declared);
    site.edit(
        "config/apis.yaml",
        "      note: { request_contract: off }",
        "      note: { request_contract: off }\n      listItems: { authorization_details_type: basket }",
    );
    let gateway = site.start().await;
    let get = async |details: Value| {
        let claims = with(outside_claims("acme", "app"), json!({ "authorization_details": details }));
        let token = outside_key().jwt("at+jwt", &claims);
        reqwest::Client::new().get(gateway.url("/shop/items")).bearer_auth(token).send().await.unwrap()
    };
    assert_eq!(get(json!([{ "type": "basket" }])).await.status(), 200);
    for details in [json!(null), json!([]), json!([{ "type": "baskets" }]), json!([{ "basket": true }])] {
        assert_eq!(
            problem(get(details.clone()).await).await,
            refused(403, "authorization-details-missing"),
            "{details}"
        );
    }
    assert_eq!(problem(get(json!({ "type": "basket" })).await).await, refused(401, "token-invalid"), "no array");
    assert_eq!(backend.total(), 1);
}
