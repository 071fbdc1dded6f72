//! What one caller can fill, and what the others notice of it.

use crate::harness::certificates::{client_identity, http};
use crate::harness::secure::token_of;
use crate::harness::token::outside_token;
use crate::harness::wire::Wire;
use crate::harness::{Backend, Gateway, Site, field, problem, refused, within};

/// Too small for a second body beside one of 60,000 bytes in a share of 64 KiB, and within the contract.
fn item() -> String {
    format!(r#"{{"name":"tea","quantity":1{}}}"#, " ".repeat(9_000))
}

async fn post_item(gateway: &Gateway, client: &str) -> reqwest::Response {
    let request = reqwest::Client::new().post(gateway.url("/shop/items")).bearer_auth(outside_token("acme", client));
    request.header("content-type", "application/json").body(item()).send().await.unwrap()
}

async fn metric(gateway: &Gateway, line: &str) -> bool {
    let page = reqwest::get(gateway.operations("/metrics")).await.unwrap().text().await.unwrap();
    page.lines().any(|l| l.starts_with(line))
}

#[tokio::test]
async fn one_clients_slow_uploads_do_not_take_the_room_of_the_others() {
    let backend = Backend::agreeable().await;
    let site = Site::plain(&[&backend]);
    let limits = "buffered_bytes_max: 64KiB, buffered_total_bytes_max: 1MiB, buffered_client_bytes_max";
    let tenant = "buffered_tenant_bytes_max";
    site.edit("config/gateway.yaml", "drain_timeout: 20s", &format!("drain_timeout: 20s, {limits}: 64KiB"));
    let gateway = site.start().await;
    let mut slow = Wire::connect(gateway.address("public")).await;
    let token = outside_token("acme", "greedy");
    slow.send(format!(
        "POST /shop/items HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: 61000\r\n\r\n{}",
        " ".repeat(60_000)
    ))
    .await;
    // The bytes are held once the gateway has read them, which it does while this asks.
    let full = async {
        loop {
            let response = post_item(&gateway, "greedy").await;
            if response.status() != 200 {
                return response;
            }
        }
    };
    let response = within("the share to be full", full).await;
    assert_eq!(field(&response, "retry-after"), "1");
    assert_eq!(problem(response).await, refused(503, "client-overloaded"));
    assert_eq!(post_item(&gateway, "modest").await.status(), 200, "another client has its own share");
    site.edit("config/gateway.yaml", &format!("{limits}: 64KiB"), &format!("{limits}: 64KiB, {tenant}: 64KiB"));
    gateway.reload().await;
    let response = post_item(&gateway, "modest").await;
    assert_eq!(problem(response).await, refused(503, "client-overloaded"), "the tenant has a share too");
    site.edit("config/gateway.yaml", &format!(", {tenant}: 64KiB"), "");
    assert!(metric(&gateway, "clearway_refusals_total{code=\"client-overloaded\"}").await);

    site.edit("config/gateway.yaml", &format!("{limits}: 64KiB"), &format!("{limits}: 128KiB"));
    gateway.reload().await;
    assert_eq!(post_item(&gateway, "greedy").await.status(), 200, "the key is live");
    site.edit("config/gateway.yaml", &format!("{limits}: 128KiB"), &format!("{limits}: 64KiB"));
    gateway.reload().await;
    assert_eq!(problem(post_item(&gateway, "greedy").await).await, refused(503, "client-overloaded"));

    drop(slow);
    let freed = async { while post_item(&gateway, "greedy").await.status() != 200 {} };
    within("the share to be free again", freed).await;
}

/// Asks with a token that nobody signed, over the connections of one client.
async fn guess(gateway: &Gateway, listener: &str, client: &reqwest::Client) -> u16 {
    let request = client.get(gateway.https(listener, "/shop/items")).bearer_auth("a.b.c");
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn partners_behind_one_address_do_not_lock_each_other_out_nor_does_a_stranger() {
    let backend = Backend::agreeable().await;
    let site = Site::secure(&backend);
    site.edit("config/gateway.yaml", "failures_max: 1000000", "failures_max: 5");
    let gateway = site.start().await;
    let token = token_of(&gateway, "acme-tls").await;
    let good = async |client: &reqwest::Client| {
        let request = client.get(gateway.https("mtls", "/shop/items")).bearer_auth(&token);
        request.send().await.unwrap().status().as_u16()
    };
    let (partner, neighbour) = (http(Some(client_identity("acme-tls"))), http(Some(client_identity("farview-tls"))));
    for _ in 0..5 {
        assert_eq!(guess(&gateway, "mtls", &neighbour).await, 401);
    }
    assert_eq!(guess(&gateway, "mtls", &neighbour).await, 429);
    let again = http(Some(client_identity("farview-tls")));
    assert_eq!(guess(&gateway, "mtls", &again).await, 429, "on another connection as well");
    assert_eq!(good(&partner).await, 200, "the neighbour pays for itself");
    let stranger = http(None);
    for _ in 0..5 {
        assert_eq!(guess(&gateway, "public", &stranger).await, 401, "the address was not charged");
    }
    for _ in 0..30 {
        assert_eq!(guess(&gateway, "public", &stranger).await, 429);
    }
    let fresh = http(None).get(gateway.https("public", "/shop/items")).send().await;
    assert!(fresh.is_err(), "an address that does not stop is not accepted any more");
    assert_eq!(good(&partner).await, 200);
    assert_eq!(good(&http(Some(client_identity("acme-tls")))).await, 200, "nor does that touch a partner's handshake");
}

#[tokio::test]
async fn a_share_below_the_largest_body_is_a_mistake() {
    let backend = Backend::agreeable().await;
    let site = Site::plain(&[&backend]);
    site.edit("config/gateway.yaml", "drain_timeout: 20s", "buffered_client_bytes_max: 4KiB");
    let (code, said) = crate::harness::gateway::check(&site.config());
    assert_eq!(code, 1, "{said}");
    assert!(said.to_string().contains("buffered_client_bytes_max"), "{said}");
    site.edit("config/gateway.yaml", "buffered_client_bytes_max: 4KiB", "buffered_tenant_bytes_max: 1MiB");
    let (code, said) = crate::harness::gateway::check(&site.config());
    assert_eq!(code, 1, "{said}");
    assert!(said.to_string().contains("smaller than `buffered_client_bytes_max`"), "{said}");
}
