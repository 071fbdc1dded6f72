//! What one caller can fill, and what the others notice of it.

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

#[tokio::test]
async fn a_share_below_the_largest_body_is_a_mistake() {
    let backend = Backend::agreeable().await;
    let site = Site::plain(&[&backend]);
    site.edit("config/gateway.yaml", "drain_timeout: 20s", "buffered_client_bytes_max: 4KiB");
    let (code, said) = crate::harness::gateway::check(&site.config());
    assert_eq!(code, 1, "{said}");
    assert!(said.to_string().contains("buffered_client_bytes_max"), "{said}");
}
