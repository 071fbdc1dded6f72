//! A wall clock that jumps, under a running gateway and across restarts. The gateway's own clock is moved, nobody
//! else's: a few lines of C (`skew.c`) between it and the system say what time it is.

use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use clearway::quota::WindowStore;
use serde_json::json;

use super::rig::{Caller, Kind};
use crate::harness::gateway::Launch;
use crate::harness::secure::{client_key, token_by_assertion};
use crate::harness::token::{assertion, claims, now};
use crate::harness::{Backend, Gateway, Site, field, within};

const DAY: i64 = 86_400;

/// The shim, built once per run. A C compiler is there: two dependencies of the product need one.
fn shim() -> &'static Path {
    static SHIM: LazyLock<PathBuf> = LazyLock::new(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/skew.c");
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap().keep();
        let library = folder.join("skew.so");
        let output = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-o"])
            .args([&library, &source])
            .output()
            .expect("a C compiler");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        library
    });
    &SHIM
}

/// A gateway's clock.
struct Hands {
    file: std::fs::File,
    launch: Launch,
}

impl Hands {
    fn of(site: &Site) -> Self {
        let path = site.path("skew");
        std::fs::File::create(&path).unwrap().write_all(&[0; 8]).unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let environment = vec![("LD_PRELOAD".to_owned(), text(shim())), ("CLEARWAY_TEST_SKEW".to_owned(), text(&path))];
        Self { file, launch: Launch { environment, ..Launch::default() } }
    }

    /// From now on it is so many seconds ahead of ours.
    fn set(&self, ahead: i64) {
        self.file.write_all_at(&(ahead * 1_000_000).to_ne_bytes(), 0).unwrap();
    }

    async fn start(&self, site: &Site) -> Gateway {
        Gateway::launch(&site.config(), &self.launch).await
    }
}

fn site(backend: &Backend, limit: &str) -> Site {
    let site = Site::secure(backend);
    site.edit(
        "config/gateway.yaml",
        "operations_address",
        "  - { name: plain, address: '127.0.0.1:0' }\noperations_address",
    );
    site.append("config/plans.yaml", &format!("      - {{ {limit} }}\n"));
    site
}

const DAILY: &str = "name: daily, per: client, window: { requests: 5, period: day }";

/// An assertion of a client whose clock is so far ahead.
fn assertion_at(ahead: i64) -> String {
    assertion(client_key(), "acme-jwt", json!({ "iat": now() + ahead, "exp": now() + ahead + 60 }))
}

async fn token(gateway: &Gateway, ahead: i64) -> String {
    let (status, body) = token_by_assertion(gateway, &assertion_at(ahead)).await;
    assert_eq!(status, 200, "{body}");
    let token = body["access_token"].as_str().unwrap().to_owned();
    let issued = claims(&token)["iat"].as_i64().unwrap() - now() - ahead;
    assert!(issued.abs() < 20, "the gateway's clock was not moved: {issued} s away");
    token
}

/// Statuses of so many reads.
async fn reads(gateway: &Gateway, token: &str, count: usize) -> Vec<u16> {
    let mut caller = Caller::with_token(gateway.address("plain"), token);
    let mut statuses = Vec::new();
    for _ in 0..count {
        statuses.push(caller.call("shop", Kind::Read).await.status());
    }
    statuses
}

async fn revoke(gateway: &Gateway, token: &str, ahead: i64) {
    use crate::harness::certificates::http;
    use crate::harness::secure::{JWT_BEARER, form};
    let by = assertion_at(ahead);
    let fields = [("token", token), ("client_assertion_type", JWT_BEARER), ("client_assertion", &by)];
    assert_eq!(form(gateway, "public", &http(None), "/oauth/revoke", &fields).await.status(), 200);
}

/// Waits until the store has this count of the earliest window.
async fn counted_on_disk(site: &Site, count: u64) {
    let store = clearway::store::Store::open(&site.path("state/clearway.db")).await.unwrap();
    let earliest = async || WindowStore::load(&store).await.unwrap().into_iter().min_by_key(|count| count.starts_at);
    let saved = async { while earliest().await.is_none_or(|earliest| earliest.count != count) {} };
    within("the counters on disk", saved).await;
    store.close().await;
}

#[tokio::test]
async fn a_clock_that_jumps_ahead_and_comes_back() {
    let backend = Backend::agreeable().await;
    let site = site(&backend, DAILY);
    let hands = Hands::of(&site);
    let mut gateway = hands.start(&site).await;
    let used_up = assertion_at(0);
    assert_eq!(token_by_assertion(&gateway, &used_up).await.0, 200);
    let (today, revoked) = (token(&gateway, 0).await, token(&gateway, 0).await);
    revoke(&gateway, &revoked, 0).await;
    assert_eq!(reads(&gateway, &today, 3).await, [200; 3]);

    hands.set(DAY);
    assert_eq!(reads(&gateway, &today, 1).await, [401], "it expired");
    let (tomorrow, unseen) = (token(&gateway, DAY).await, token(&gateway, DAY).await);
    assert_eq!(reads(&gateway, &tomorrow, 6).await, [200, 200, 200, 200, 200, 429], "another day, another allowance");

    hands.set(0);
    // One that was verified is remembered until its life is over by the steady clock, which nobody sets.
    assert_eq!(reads(&gateway, &unseen, 1).await, [401], "a token of the future is none");
    assert_eq!(reads(&gateway, &today, 3).await, [200, 200, 429], "three of today's five were spent");
    assert_eq!(token_by_assertion(&gateway, &used_up).await.0, 401, "used is used");
    assert_eq!(reads(&gateway, &revoked, 1).await, [401], "revoked is revoked");

    counted_on_disk(&site, 5).await;

    // Once more, with a restart while the clock is wrong: what is tidied up then must not be missed afterwards.
    hands.set(DAY);
    gateway.kill();
    gateway = hands.start(&site).await;
    token(&gateway, DAY).await;
    assert_eq!(gateway.stop().await.code(), Some(0));
    hands.set(0);
    let gateway = hands.start(&site).await;
    assert_eq!(token_by_assertion(&gateway, &used_up).await.0, 401, "used is used, whatever the clock said");
    assert_eq!(reads(&gateway, &revoked, 1).await, [401], "revoked is revoked, whatever the clock said");
    let left = reads(&gateway, &today, 1).await;
    assert_eq!(left, [429], "and today's allowance is spent");
    assert_eq!(backend.total(), 10, "five today, five tomorrow");
    assert_eq!(gateway.said("panicked"), 0);
    assert_eq!(gateway.stop().await.code(), Some(0));
    println!("a day ahead and back, twice, with restarts: {} reads passed of two days' 5 each", backend.total());
}

#[tokio::test]
async fn a_clock_that_is_set_back() {
    let backend = Backend::agreeable().await;
    let site = site(&backend, DAILY);
    let hands = Hands::of(&site);
    let gateway = hands.start(&site).await;
    let used_up = assertion_at(0);
    assert_eq!(token_by_assertion(&gateway, &used_up).await.0, 200);
    let (today, unseen) = (token(&gateway, 0).await, token(&gateway, 0).await);
    assert_eq!(reads(&gateway, &today, 3).await, [200; 3]);

    hands.set(-DAY);
    assert_eq!(reads(&gateway, &unseen, 1).await, [401], "its life is not prolonged by a day");
    assert_eq!(token_by_assertion(&gateway, &used_up).await.0, 401);
    let yesterday = token(&gateway, -DAY).await;
    assert_eq!(reads(&gateway, &yesterday, 6).await, [200, 200, 200, 200, 200, 429], "a day of its own");

    hands.set(0);
    assert_eq!(token_by_assertion(&gateway, &used_up).await.0, 401);
    assert_eq!(reads(&gateway, &yesterday, 1).await, [401], "it has expired long ago");
    assert_eq!(reads(&gateway, &today, 3).await, [200, 200, 429], "three of five were spent");
    assert_eq!(backend.total(), 10);
    assert_eq!(gateway.stop().await.code(), Some(0));
    println!("a day back and on again: {} reads passed of two days' 5 each", backend.total());
}

#[tokio::test]
async fn a_clock_that_is_set_back_locks_nobody_out() {
    let backend = Backend::agreeable().await;
    let site = site(&backend, "name: slow, per: client, rate: { requests: 3, per: 60s, burst: 3 }");
    let hands = Hands::of(&site);
    let gateway = hands.start(&site).await;
    let token_now = token(&gateway, 0).await;
    assert_eq!(reads(&gateway, &token_now, 4).await, [200, 200, 200, 429]);
    for ahead in [-3_600, -DAY] {
        hands.set(ahead);
        let token = token(&gateway, ahead).await;
        let request = reqwest::Client::new().get(format!("http://{}/shop/items", gateway.address("plain")));
        let refused = request.bearer_auth(&token).send().await.unwrap();
        assert_eq!(refused.status(), 429, "{ahead}: it is not refilled");
        let wait: u64 = field(&refused, "retry-after").parse().unwrap();
        assert!((1..=21).contains(&wait), "{ahead}: nor emptied for a day: {wait} s");
    }
    // A step of seconds, as a time server makes them, disturbs nobody.
    hands.set(0);
    let token_now = token(&gateway, 0).await;
    hands.set(-5);
    assert_ne!(reads(&gateway, &token_now, 1).await, [401], "within the skew that is borne");
    println!("rate of 3 per minute: {} reads passed over jumps of an hour and a day", backend.total());
}
