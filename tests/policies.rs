//! Compliance policies on the wire: what they refuse, what they say, and when a change of them takes effect.

use serde_json::{Value, json};

use crate::harness::certificates::{client_identity, http};
use crate::harness::gateway::check;
use crate::harness::secure::{bearer, token_of};
use crate::harness::token::outside_token;
use crate::harness::wire::Wire;
use crate::harness::{Backend, Gateway, Site, json as read_json};

const FORBID: &str = "@id(\"own.no-lists\")
@reason(\"Lists are closed.\")
@regulation(\"House rule §1\")
@remedy(\"Ask for one item.\")
forbid (principal, action == Action::\"shop.listItems\", resource);
";

async fn get(gateway: &Gateway, path: &str) -> (u16, Value) {
    let request = reqwest::Client::new().get(gateway.url(path)).bearer_auth(outside_token("acme", "app"));
    read_json(request.send().await.unwrap()).await
}

#[tokio::test]
async fn mistakes_in_policies_are_found_by_check_with_place_and_suggestion() {
    let backend = Backend::agreeable().await;
    let site = Site::plain(&[&backend]);
    for (name, text, line, words) in [
        (
            "an operation that is not",
            "@id(\"x\")\npermit (principal, action == Action::\"shop.listItem\", resource);\n",
            2,
            "shop.listItems",
        ),
        (
            "an institution that is not",
            "@id(\"x\")\npermit (principal, action, resource == Institution::\"stoer\");\n",
            2,
            "store",
        ),
        (
            "an attribute that is not",
            "@id(\"x\")\npermit (principal, action, resource)\nwhen { principal.tenant.jurisdction == Jurisdiction::\"GB\" };\n",
            3,
            "jurisdiction",
        ),
        ("no id", "permit (principal, action, resource);\n", 1, "id"),
        ("no reason", "@id(\"x\")\nforbid (principal, action, resource);\n", 1, "reason"),
        (
            "an annotation that is not",
            "@id(\"x\")\n@redcat(\"/a\")\npermit (principal, action, resource);\n",
            2,
            "redact",
        ),
        ("not Cedar", "@id(\"x\")\npermit (principal, action resource);\n", 2, ""),
    ] {
        site.write("policies/own.cedar", text);
        let (code, printed) = check(&site.config());
        assert_eq!(code, 1, "{name}: {printed:#}");
        let mistakes = printed["mistakes"].as_array().unwrap();
        let own: Vec<&Value> =
            mistakes.iter().filter(|mistake| mistake["file"].as_str().unwrap().ends_with("own.cedar")).collect();
        assert!(!own.is_empty(), "{name}: {printed:#}");
        let said = serde_json::to_string(&own).unwrap();
        assert!(said.contains(words), "{name}: {said}");
        assert!(own.iter().any(|mistake| mistake["line"] == line), "{name}: line {line}: {said}");
    }
}

#[tokio::test]
async fn what_no_policy_permits_is_refused() {
    let backend = Backend::agreeable().await;
    let site = Site::plain(&[&backend]);
    let folders = site.read("config/gateway.yaml");
    let folders = folders.lines().find(|line| line.starts_with("policy_folders")).unwrap().to_owned();
    site.edit("config/gateway.yaml", &folders, "policy_folders: [../policies]");
    let gateway = site.start().await;
    let (status, said) = get(&gateway, "/shop/items").await;
    assert_eq!((status, &said["code"]), (403, &json!("policy-refused")), "{said}");
    site.write(
        "policies/own.cedar",
        "@id(\"own.one\")\npermit (principal, action == Action::\"shop.getItem\", resource);\n",
    );
    gateway.reload().await;
    assert_eq!(get(&gateway, "/shop/items/1").await.0, 200);
    assert_eq!(get(&gateway, "/shop/items").await.0, 403);
    assert_eq!(backend.total(), 1);
}

#[tokio::test]
async fn a_forbid_wins_and_says_why() {
    let backend = Backend::agreeable().await;
    let site = Site::plain(&[&backend]);
    site.write("policies/own.cedar", FORBID);
    let gateway = site.start().await;
    let (status, said) = get(&gateway, "/shop/items").await;
    assert_eq!((status, &said["code"]), (403, &json!("policy-refused")));
    assert_eq!(said["reason"], "Lists are closed.");
    assert_eq!(said["regulation"], "House rule §1");
    assert_eq!(said["remedy"], "Ask for one item.");
    assert_eq!(said["policies"], json!(["own.no-lists"]));
    assert_eq!(get(&gateway, "/shop/items/1").await.0, 200);
}

#[tokio::test]
async fn a_changed_policy_decides_the_next_request_on_the_same_connection() {
    let backend = Backend::agreeable().await;
    let site = Site::plain(&[&backend]);
    let gateway = site.start().await;
    let token = outside_token("acme", "app");
    let mut wire = Wire::connect(gateway.address("public")).await;
    let list = format!("GET /shop/items HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n");
    for _ in 0..2 {
        assert_eq!(wire.ask(&list).await.status, 200, "and the decision is remembered now");
        site.write("policies/own.cedar", FORBID);
        gateway.reload().await;
        assert_eq!(wire.ask(&list).await.status, 403);
        std::fs::remove_file(site.path("policies/own.cedar")).unwrap();
        gateway.reload().await;
    }
    let before = gateway.status().await["policy_set"].clone();
    site.write("policies/own.cedar", FORBID);
    gateway.reload().await;
    assert_ne!(gateway.status().await["policy_set"], before);
}

async fn pay(gateway: &Gateway, id: &str, token: &str, amount: Value, currency: Value) -> (u16, Value) {
    let body = json!({ "Data": { "Amount": amount, "Currency": currency } });
    let request = http(Some(client_identity(id))).post(gateway.https("mtls", "/vault/payments"));
    read_json(request.bearer_auth(token).json(&body).send().await.unwrap()).await
}

#[tokio::test]
async fn the_ceiling_of_a_payment_is_exact() {
    let backend = Backend::agreeable().await;
    let site = Site::secure(&backend);
    let gateway = site.start().await;
    let token = token_of(&gateway, "acme-tls").await;
    for (amount, currency, expected) in [
        ("25000.00", "GBP", 200),
        ("25000.01", "GBP", 403),
        ("30000.00", "EUR", 200),
        ("30000.01", "EUR", 403),
        ("0.01", "GBP", 200),
        ("0.00", "GBP", 403),
        ("-5.00", "GBP", 403),
        ("1.00", "CHF", 403),
        ("1.00", "XXQ", 403),
        ("1e3", "GBP", 403),
        ("9999999999999999999999", "GBP", 403),
        ("10.001", "GBP", 403),
        (" 1.00", "GBP", 403),
    ] {
        let (status, said) = pay(&gateway, "acme-tls", &token, json!(amount), json!(currency)).await;
        assert_eq!(status, expected, "{amount} {currency}: {said}");
        if expected == 403 {
            assert_eq!(said["code"], "policy-refused", "{amount} {currency}");
            assert!(said["remedy"].as_str().is_some_and(|remedy| !remedy.is_empty()));
        }
    }
    // As numbers too, by every digit: a float would take the last three for a sum that may pass.
    site.edit("openapi/vault.yaml", "Amount: { type: string }", "Amount: { type: number }");
    gateway.reload().await;
    for (amount, expected) in [
        ("25000.00", 200),
        ("2.5e4", 200),
        ("25000.01", 403),
        ("25000.0000000000000001", 403),
        ("0.0099999999999999999999", 403),
        ("-0.00000000000000000000001e23", 403),
    ] {
        let body = format!(r#"{{"Data":{{"Amount":{amount},"Currency":"GBP"}}}}"#);
        let request = http(Some(client_identity("acme-tls"))).post(gateway.https("mtls", "/vault/payments"));
        let request = request.bearer_auth(&token).header("content-type", "application/json").body(body);
        let (status, said) = read_json(request.send().await.unwrap()).await;
        assert_eq!(status, expected, "{amount}: {said}");
    }
    site.edit("openapi/vault.yaml", "Amount: { type: number }", "Amount: { type: string }");
    gateway.reload().await;
    let (status, _) = pay(&gateway, "acme-tls", &token, Value::Null, json!("GBP")).await;
    assert!(matches!(status, 400 | 403), "no amount: {status}");
    assert_eq!(backend.count("POST", "/v1/payments"), 5);
}

#[tokio::test]
async fn licences_residency_and_binding_are_demanded() {
    let backend = Backend::agreeable().await;
    let site = Site::secure(&backend);
    site.edit(
        "config/clients.yaml",
        "- id: acme-jwt\n    tenant: acme\n    scopes: [shop]",
        "- id: acme-jwt\n    tenant: acme\n    scopes: [shop, vault]",
    );
    site.append("config/subscriptions.yaml", "  - { client: acme-jwt, product: valuables, plan: open }\n");
    let gateway = site.start().await;

    // Data does not leave to where the institution does not let it go.
    let farview = token_of(&gateway, "farview-tls").await;
    let request = http(Some(client_identity("farview-tls"))).get(gateway.https("mtls", "/shop/items"));
    let (status, said) = read_json(request.bearer_auth(&farview).send().await.unwrap()).await;
    assert_eq!((status, &said["policies"]), (403, &json!(["base.data-stays-in-permitted-jurisdictions"])), "{said}");
    assert!(said["regulation"].as_str().unwrap().contains("GDPR"));

    // A bearer token is good for the low-risk product, not for the regulated one.
    let token = bearer(&gateway).await;
    let shop = http(None).get(gateway.https("public", "/shop/items")).bearer_auth(&token).send().await.unwrap();
    assert_eq!(shop.status(), 200);
    let vault = http(None).get(gateway.https("public", "/vault/balances")).bearer_auth(&token).send().await.unwrap();
    let (status, said) = read_json(vault).await;
    assert_eq!((status, &said["policies"]), (403, &json!(["base.regulated-needs-bound-token"])), "{said}");

    // A licence that lost a role.
    let token = token_of(&gateway, "acme-tls").await;
    assert_eq!(pay(&gateway, "acme-tls", &token, json!("1.00"), json!("GBP")).await.0, 200);
    site.edit("config/tenants.yaml", "[account-information, payment-initiation]", "[account-information]");
    gateway.reload().await;
    let (status, said) = pay(&gateway, "acme-tls", &token, json!("1.00"), json!("GBP")).await;
    assert_eq!((status, &said["policies"]), (403, &json!(["base.licence-role"])), "{said}");
    let read = http(Some(client_identity("acme-tls"))).get(gateway.https("mtls", "/vault/balances"));
    assert_eq!(read.bearer_auth(&token).send().await.unwrap().status(), 200, "reading is another role");
}

#[tokio::test]
async fn what_must_hold_holds_without_any_policy() {
    let backend = Backend::agreeable().await;
    let site = Site::secure(&backend);
    let folders = site.read("config/gateway.yaml");
    let folders = folders.lines().find(|line| line.starts_with("policy_folders")).unwrap().to_owned();
    site.edit("config/gateway.yaml", &folders, "policy_folders: [../policies]");
    site.write("policies/all.cedar", "@id(\"own.all\")\npermit (principal, action, resource);\n");
    site.edit(
        "config/clients.yaml",
        "- id: acme-jwt\n    tenant: acme\n    scopes: [shop]",
        "- id: acme-jwt\n    tenant: acme\n    scopes: [shop, vault]",
    );
    site.append("config/subscriptions.yaml", "  - { client: acme-jwt, product: valuables, plan: open }\n");
    let gateway = site.start().await;
    let token = bearer(&gateway).await;
    let vault = http(None).get(gateway.https("public", "/vault/balances")).bearer_auth(&token).send().await.unwrap();
    assert_eq!(crate::harness::problem(vault).await, crate::harness::refused(403, "binding-required"));
    // No subscription, no call.
    site.edit("config/subscriptions.yaml", "  - { client: acme-jwt, product: goods, plan: open }\n", "");
    gateway.reload().await;
    let shop = http(None).get(gateway.https("public", "/shop/items")).bearer_auth(&token).send().await.unwrap();
    assert_eq!(crate::harness::problem(shop).await, crate::harness::refused(403, "not-subscribed"));
    assert_eq!(backend.total(), 0);
}
