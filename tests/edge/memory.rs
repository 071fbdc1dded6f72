//! What strangers say a million times over leaves nothing behind.
//!
//! A few thousand of each in an ordinary run; a million with `CLEARWAY_SOAK=1` (`./dev soak`).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use crate::harness::secure::{JWT_BEARER, client_key, encode};
use crate::harness::token::{GATEWAY, Key, now, outside_token, signing_input};
use crate::harness::wire::{Wire, handshake, tls_config};
use crate::harness::{Backend, Gateway, Site};

/// Connections at once, and requests that each sends ahead of their answers.
const CONNECTIONS: usize = 4;
const BATCH: usize = 25;
/// What the process may grow by after its warm-up, whatever the number of requests: pages that the allocator keeps.
const GROWTH_KIB_MAX: u64 = 12 * 1024;

fn is_soak() -> bool {
    std::env::var_os("CLEARWAY_SOAK").is_some_and(|value| value == "1")
}

fn count() -> usize {
    if is_soak() { 1_000_000 } else { 4_000 }
}

async fn rig() -> (Backend, Site, Gateway) {
    let backend = Backend::agreeable().await;
    let site = Site::secure(&backend);
    site.limits("requests_per_connection_max: 1000000000");
    // Every request comes from an address of its own, as a proxy in front of us would say.
    site.append("config/gateway.yaml", "trusted_proxies: [127.0.0.1]\n");
    site.edit(
        "config/gateway.yaml",
        "operations_address",
        "  - { name: plain, address: '127.0.0.1:0' }\noperations_address",
    );
    site.edit("config/gateway.yaml", "access_log: ../state/access.jsonl", "access_log: off");
    let gateway = site.start().await;
    (backend, site, gateway)
}

/// No two of these have anything in common that could be remembered.
type Stranger = fn(usize) -> String;

fn request(nth: usize, line: &str, host: &str, more: &str) -> String {
    let [_, a, b, c] = u32::try_from(nth).unwrap().to_be_bytes();
    format!(
        "{line} HTTP/1.1\r\nHost: {host}\r\nX-Forwarded-For: 10.{a}.{b}.{c}\r\n\
         traceparent: 00-{:032x}-{:016x}-01\r\nX-Field-{nth}: {nth}\r\n{more}\r\n",
        nth + 1,
        nth + 1
    )
}

/// A token of our issuer, as far as one can see before its signature is checked.
fn bad_token(nth: usize) -> String {
    let claims = json!({
        "iss": GATEWAY, "aud": GATEWAY, "sub": format!("c{nth}"), "client_id": format!("c{nth}"), "tenant": "acme",
        "scope": "shop", "iat": now(), "exp": now() + 300, "jti": format!("j{nth}"),
    });
    let header = match nth % 3 {
        0 => json!({ "alg": "ES256", "typ": "at+jwt", "kid": "none" }),
        1 => json!({ "alg": "ES256", "typ": "at+jwt", "kid": format!("k{nth}") }),
        _ => json!({ "alg": "ES256", "typ": "at+jwt" }),
    };
    let token = format!("{}.{}", signing_input(&header, &claims), "A".repeat(86));
    request(nth, &format!("GET /shop/items?n={nth}"), "localhost", &format!("Authorization: Bearer {token}\r\n"))
}

/// A client that does not exist, or one that does with somebody else's signature; a `jti` of its own either way.
fn bad_client(nth: usize) -> String {
    static KEY: std::sync::LazyLock<Key> = std::sync::LazyLock::new(|| Key::generate(clearway::jose::Algorithm::Es256));
    let client = if nth.is_multiple_of(2) { format!("client-{nth}") } else { "acme-jwt".to_owned() };
    let claims = json!({
        "iss": client, "sub": client, "aud": GATEWAY, "iat": now(), "exp": now() + 60, "jti": format!("jti-{nth}"),
    });
    let header = json!({ "alg": "ES256", "typ": "JWT", "kid": client_key().kid() });
    let assertion = KEY.sign(&header, &claims);
    let form = encode(&[
        ("grant_type", "client_credentials"),
        ("client_assertion_type", JWT_BEARER),
        ("client_assertion", &assertion),
    ]);
    let kind = "Content-Type: application/x-www-form-urlencoded";
    let more = format!("{kind}\r\nContent-Length: {}\r\n", form.len());
    request(nth, "POST /oauth/token", "localhost", &more) + &form
}

fn unknown_path(nth: usize) -> String {
    let method = ["GET", "POST", "PUT", "DELETE", "PATCH"][nth % 5];
    request(nth, &format!("{method} /nowhere-{nth}/{nth}?q={nth}"), "localhost", "Content-Length: 0\r\n")
}

fn unknown_host(nth: usize) -> String {
    request(nth, "GET /shop/items", &format!("host-{nth}.test"), "")
}

fn unknown_method(nth: usize) -> String {
    request(nth, &format!("M{nth} /shop/items"), "localhost", "")
}

/// Sends `count` of these from `from` on; every answer has one of these statuses.
async fn send(gateway: &Gateway, stranger: Stranger, statuses: &'static [u16], from: usize, count: usize) {
    let next = Arc::new(AtomicUsize::new(from));
    let workers: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let (next, address) = (Arc::clone(&next), gateway.address("plain"));
            tokio::spawn(async move {
                let mut wire = Wire::connect(address).await;
                loop {
                    let first = next.fetch_add(BATCH, Ordering::Relaxed);
                    if first >= from + count {
                        return;
                    }
                    let batch: String = (first..first + BATCH).map(stranger).collect();
                    wire.send(batch).await;
                    for nth in first..first + BATCH {
                        let Some(answer) = wire.try_answer().await else {
                            wire = Wire::connect(address).await; // It ended with a refusal, which is fair.
                            break;
                        };
                        assert!(statuses.contains(&answer.status), "{nth}: {}", answer.status);
                        if answer.field("connection") == Some("close") {
                            wire = Wire::connect(address).await;
                            break;
                        }
                    }
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.unwrap();
    }
}

#[tokio::test]
async fn what_strangers_say_leaves_memory_flat() {
    const STRANGERS: [(&str, Stranger, &[u16]); 5] = [
        ("bad tokens", bad_token, &[401]),
        ("bad clients and jtis", bad_client, &[401]),
        ("paths", unknown_path, &[404]),
        ("hosts", unknown_host, &[421]),
        ("methods", unknown_method, &[404, 405]),
    ];
    let (backend, _site, gateway) = rig().await;
    let (count, cold) = (count(), gateway.resident_kib());
    let warm_up = (count / 4).min(20_000);
    for (_, stranger, statuses) in STRANGERS {
        send(&gateway, stranger, statuses, 0, warm_up).await;
    }
    let warm = gateway.resident_kib();
    println!("resident: {cold} KiB at the start, {warm} KiB after {warm_up} of each");
    let series = gateway.metric("clearway_refusals_total", "").await;
    for (name, stranger, statuses) in STRANGERS {
        let (before, since) = (gateway.resident_kib(), std::time::Instant::now());
        send(&gateway, stranger, statuses, warm_up, count).await;
        let after = gateway.resident_kib();
        println!("{count} distinct {name} in {:?}: {before} KiB before, {after} KiB after", since.elapsed());
        assert!(after <= warm + GROWTH_KIB_MAX, "{name}: {warm} KiB when warm, {after} KiB now");
    }
    assert!(gateway.metric("clearway_refusals_total", "").await >= series + 3.0 * count as f64);
    let page = reqwest::get(gateway.operations("/metrics")).await.unwrap().text().await.unwrap();
    assert!(page.lines().count() < 2_000, "no series of a stranger's making: {}", page.lines().count());
    for invention in ["nowhere-", "host-1", "client-1", "M17"] {
        assert!(!page.contains(invention), "{invention} is in a label");
    }
    assert_eq!(backend.total(), 0);
}

#[tokio::test]
async fn connections_that_come_and_go_leave_memory_flat() {
    let (_backend, _site, gateway) = rig().await;
    // Sessions to resume are remembered, 4,096 at most: a soak fills that.
    let rounds = if is_soak() { 20_000 } else { 400 };
    let connect = async |count: usize| {
        for nth in 0..count {
            let protocol = if nth.is_multiple_of(2) { "http/1.1" } else { "h2" };
            let config = Arc::new(tls_config(None, &[protocol]));
            drop(handshake(gateway.address("public"), &config).await.unwrap());
        }
    };
    connect(rounds / 4).await;
    let warm = gateway.resident_kib();
    connect(rounds).await;
    let after = gateway.resident_kib();
    println!("{rounds} TLS connections: {warm} KiB before, {after} KiB after");
    assert!(after <= warm + GROWTH_KIB_MAX, "{warm} KiB, then {after} KiB");
}

/// Partners that only an outside issuer knows are remembered while there is room, and the metrics say how full it is.
#[tokio::test]
async fn an_issuer_that_names_partners_without_end_fills_what_is_bounded() {
    // A soak goes beyond the room for verified tokens, partners and their counters.
    let count = if is_soak() { 260_000 } else { 1_500 };
    let backend = Backend::agreeable().await;
    let site = Site::plain(&[&backend]);
    site.limits("requests_per_connection_max: 1000000000");
    site.edit("config/gateway.yaml", "access_log: ../state/access.jsonl", "access_log: off");
    let gateway = site.start().await;
    let ask = async |gateway: &Gateway, from: usize, count: usize| {
        let workers = (0..CONNECTIONS).map(|worker| {
            let address = gateway.address("public");
            tokio::spawn(async move {
                let mut wire = Wire::connect(address).await;
                for nth in (from + worker..from + count).step_by(CONNECTIONS) {
                    let token = outside_token(&format!("t{nth}"), &format!("c{nth}"));
                    let answer = wire.ask(super::authorized("GET", "/shop/items", &token, "")).await;
                    // 503: no room for another counter, until idle ones are retired.
                    assert!(matches!(answer.status, 200 | 503), "{nth}: {}", answer.status);
                }
            })
        });
        for worker in futures_util::future::join_all(workers).await {
            worker.unwrap();
        }
    };
    ask(&gateway, 0, count / 5).await;
    let warm = gateway.resident_kib();
    ask(&gateway, count / 5, count).await;
    let grown = gateway.resident_kib().saturating_sub(warm);
    println!("{count} partners: {grown} KiB, {} bytes each", grown * 1024 / count as u64);
    let mut held = Vec::new();
    for what in ["verified_tokens", "unregistered_partners", "quota_clients", "quota_counters"] {
        let label = format!("what=\"{what}\"");
        let (now, max) =
            (gateway.metric("clearway_held", &label).await, gateway.metric("clearway_held_max", &label).await);
        println!("{what}: {now} of {max}");
        assert!(now > 0.0 && now <= max, "{what}: {now} of {max}");
        held.push(now);
    }
    if !is_soak() {
        let expected = (count + count / 5) as f64;
        assert_eq!(held[..3], [expected; 3], "tokens, partners, clients");
    }
    // Tokens, partners and counters together, at their most; below it, what each of them takes.
    assert!(grown < 6 * count as u64, "{grown} KiB for {count}");
}
