//! kill -9, of the gateway and of back ends, in the middle of work.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use clearway::quota::WindowStore;
use serde_json::{Value, json};

use super::rig::{Caller, End, KINDS, Sent, balance, recorded, site};
use crate::harness::certificates::{client_identity, http};
use crate::harness::secure::{JWT_BEARER, bearer, client_key, form, token_by_assertion, token_of};
use crate::harness::token::assertion;
use crate::harness::{Backend, Gateway, Reply, Site, json as read_json, within};

/// `FLUSH_EVERY` of `server::background`: what a kill may lose of the window counters.
const COUNTERS_LOST_MAX: Duration = Duration::from_secs(1);
/// `COMMIT_DELAY_MAX` of the audit writer: what a kill may lose of the records of requests that were answered.
const RECORDS_LOST_MAX: Duration = Duration::from_millis(200);
/// What a machine that has other things to do may add to both.
const SLACK: Duration = Duration::from_secs(3);

/// A gateway with an authorization server of its own, and a listener without TLS beside the others.
fn state_site(backend: &Backend) -> Site {
    let site = Site::secure(backend);
    site.edit(
        "config/gateway.yaml",
        "operations_address",
        "  - { name: plain, address: '127.0.0.1:0' }\noperations_address",
    );
    site.append(
        "config/plans.yaml",
        "      - { name: daily, per: client, window: { requests: 100000, period: day } }\n",
    );
    site
}

/// Revokes a token of `acme-jwt` by an assertion. Answers the status.
async fn revoke(gateway: &Gateway, token: &str, by: &str) -> u16 {
    let fields = [("token", token), ("client_assertion_type", JWT_BEARER), ("client_assertion", by)];
    form(gateway, "public", &http(None), "/oauth/revoke", &fields).await.status().as_u16()
}

async fn items(gateway: &Gateway, token: &str) -> u16 {
    let request = reqwest::Client::new().get(format!("http://{}/shop/items", gateway.address("plain")));
    request.bearer_auth(token).send().await.unwrap().status().as_u16()
}

/// What the daily window counts for the token's client.
async fn used(gateway: &Gateway, token: &str) -> u64 {
    let request = reqwest::Client::new().get(format!("http://{}/usage", gateway.address("plain"))).bearer_auth(token);
    let (status, said) = read_json(request.send().await.unwrap()).await;
    assert_eq!(status, 200, "{said}");
    let limits = said["subscriptions"][0]["limits"].as_array().unwrap();
    limits.iter().find(|limit| limit["name"] == "daily").unwrap()["used"].as_u64().unwrap()
}

async fn key_ids(gateway: &Gateway) -> Vec<String> {
    let response = http(None).get(gateway.https("public", "/oauth/jwks")).send().await.unwrap();
    let (_, keys) = read_json(response).await;
    keys["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

/// Callers that go on until their gateway is gone.
fn load(gateway: &Gateway, token: &str, callers: usize) -> Vec<tokio::task::JoinHandle<Vec<Sent>>> {
    let address = gateway.address("plain");
    let one = |nth: usize| {
        let mut caller = Caller::with_token(address, token);
        tokio::spawn(async move {
            let mut sent = Vec::new();
            for turn in nth.. {
                sent.push(caller.call("shop", KINDS[turn % KINDS.len()]).await);
                if sent.last().is_some_and(|sent| sent.end == End::Broken) {
                    break;
                }
            }
            sent
        })
    };
    (0..callers).map(one).collect()
}

/// Waits until the store has seen two saves of counters since now, and says what it has then.
async fn two_saves(store: &clearway::store::Store) -> usize {
    let total = async || WindowStore::load(store).await.unwrap().iter().map(|count| count.count).sum::<u64>();
    for _ in 0..2 {
        let before = total().await;
        within("counters to be saved", async { while total().await <= before {} }).await;
    }
    usize::try_from(total().await).unwrap()
}

/// What a gateway acknowledged, and must stand by.
#[derive(Default)]
struct Promises {
    revoked: Vec<String>,
    used_up: Vec<String>,
}

impl Promises {
    /// Three more of each kind.
    async fn make(&mut self, gateway: &Gateway) {
        for _ in 0..3 {
            let once = assertion(client_key(), "acme-jwt", json!({}));
            let (status, body) = token_by_assertion(gateway, &once).await;
            assert_eq!(status, 200, "{body}");
            let by = assertion(client_key(), "acme-jwt", json!({}));
            let token = body["access_token"].as_str().unwrap().to_owned();
            assert_eq!(revoke(gateway, &token, &by).await, 200);
            self.revoked.push(token);
            self.used_up.extend([once, by]);
        }
    }

    async fn are_kept(&self, gateway: &Gateway) {
        for token in &self.revoked {
            assert_eq!(items(gateway, token).await, 401, "a revocation that was acknowledged");
        }
        for once in &self.used_up {
            assert_eq!(token_by_assertion(gateway, once).await.0, 401, "an assertion that was used");
        }
    }
}

#[tokio::test]
async fn a_gateway_killed_under_load_keeps_its_word() {
    const ROUNDS: usize = 3;
    const CALLERS: usize = 4;
    let backend = Backend::agreeable().await;
    let site = state_site(&backend);
    let (mut promises, mut sent) = (Promises::default(), Vec::<Sent>::new());
    let mut gateway = site.start().await;
    let (kids, survivor) = (key_ids(&gateway).await, bearer(&gateway).await);
    let (mut answered, mut lost_records) = (0, 0);
    for round in 0..ROUNDS {
        let callers = load(&gateway, &survivor, CALLERS);
        let store = clearway::store::Store::open(&site.path("state/clearway.db")).await.unwrap();
        promises.make(&gateway).await;
        let on_disk = two_saves(&store).await;
        store.close().await;
        let killed = Instant::now();
        gateway.kill();
        let mut cut = Vec::new();
        for caller in callers {
            cut.extend(caller.await.unwrap());
        }
        let ok: Vec<&Sent> = cut.iter().filter(|sent| sent.status() == 200).collect();
        assert_eq!(cut.len() - ok.len(), CALLERS, "each caller was cut once, and never refused: {cut:?}");

        gateway = site.start().await;
        assert_eq!(key_ids(&gateway).await, kids, "the same keys sign");
        let counted = usize::try_from(used(&gateway, &survivor).await).unwrap();
        let (answers, safe) = (answered + ok.len(), |sent: &&&Sent| sent.ended + COUNTERS_LOST_MAX + SLACK < killed);
        assert!(counted >= answered + ok.iter().filter(safe).count(), "{counted} of {answers}");
        assert!(counted >= on_disk, "{counted}, but the disk had {on_disk} before the kill");
        assert!(counted <= answers + CALLERS, "counted {counted}, answered {answers}, and {CALLERS} under way");
        println!("kill {round}: {} sent, {} answered, counter at {counted} of {answers}", cut.len(), ok.len());
        promises.are_kept(&gateway).await;
        assert_eq!(items(&gateway, &survivor).await, 200, "a token from before the first kill");
        // What the kill took of the counters is lost: from here on they count from what was kept.
        answered = counted + 1;

        let (lines, torn) = audit_lines(&site);
        assert!(torn <= round + 1, "{torn} torn lines after {} kills", round + 1);
        for sent in ok.iter().filter(|sent| !lines.iter().any(|line| line["interaction_id"] == sent.id.as_str())) {
            assert!(sent.ended + RECORDS_LOST_MAX + SLACK > killed, "its record was lost: {sent:?}");
            lost_records += 1;
        }
        sent.extend(cut);
    }
    assert_eq!(gateway.stop().await.code(), Some(0));
    let (revoked, used_up) = (promises.revoked.len(), promises.used_up.len());
    println!("{ROUNDS} kills: {revoked} revocations and {used_up} assertions held; {lost_records} records lost");
    balance("gateway killed", &sent, &[&backend], None);
}

/// The whole lines of the audit file, and how many are torn; a torn line is followed by one that says so.
fn audit_lines(site: &Site) -> (Vec<Value>, usize) {
    let text = site.read("state/audit.jsonl");
    let parsed: Vec<Result<Value, _>> = text.lines().map(serde_json::from_str).collect();
    let torn = parsed.iter().filter(|line| line.is_err()).count();
    let said = parsed.iter().flatten().filter(|line| line["kind"] == "torn-line").count();
    assert_eq!(said, torn, "each torn line is followed by one that says so");
    (parsed.into_iter().flatten().collect(), torn)
}

/// A back end that a kill ends is one whose sockets close, in whatever state they are. Its address refuses from then on.
#[tokio::test]
async fn a_back_end_killed_under_load_is_replaced_by_the_others() {
    const CALLERS: usize = 6;
    const AFTERWARDS: usize = 20;
    let holding = Arc::new(AtomicBool::new(false));
    let holds = Arc::clone(&holding);
    let one = Backend::start(move |_| if holds.load(Ordering::SeqCst) { Reply::Hang } else { Reply::json("{}") }).await;
    let [two, three] = [Backend::agreeable().await, Backend::agreeable().await];
    let depot = Backend::agreeable().await;
    let site = site(&[one.url(), two.url(), three.url()], &depot.url());
    let gateway = site.start().await;
    let (killed, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let callers: Vec<_> = (0..CALLERS)
        .map(|nth| {
            let (address, killed, done) = (gateway.address("public"), Arc::clone(&killed), Arc::clone(&done));
            tokio::spawn(async move {
                let (mut caller, mut sent, mut left) = (Caller::new(address), Vec::new(), AFTERWARDS);
                for turn in nth.. {
                    let after = killed.load(Ordering::SeqCst);
                    sent.push((after, caller.call("shop", KINDS[turn % KINDS.len()]).await));
                    done.fetch_add(1, Ordering::SeqCst);
                    left -= usize::from(after);
                    if left == 0 {
                        break;
                    }
                }
                sent
            })
        })
        .collect();
    within("load on all back ends", async {
        while [&one, &two, &three].iter().any(|backend| backend.total() < 20) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // It dies with requests in its hands.
    let arrived = one.total();
    holding.store(true, Ordering::SeqCst);
    one.arrived(arrived + 2).await;
    one.kill().await;
    killed.store(true, Ordering::SeqCst);
    let before = [two.total(), three.total()];
    let mut sent = Vec::new();
    for caller in callers {
        for (after, call) in caller.await.unwrap() {
            if after {
                // Nothing was sent to a back end that refuses: any method may go elsewhere. Only a connection that
                // waited in the pool can have died with the request on it, and that is said.
                let truthful = call.status() == 200 || (call.status() == 502 && !call.kind.is_idempotent());
                assert!(truthful, "{call:?}");
            } else {
                assert!(matches!(call.status(), 200 | 502 | 504), "{call:?}");
            }
            sent.push(call);
        }
    }
    let failed = sent.iter().filter(|sent| sent.status() != 200).count();
    assert!(failed <= 2 * CALLERS, "{failed} of {}", sent.len());
    let lost: Vec<Sent> = sent.iter().filter(|sent| sent.status() != 200).cloned().collect();
    println!("back end killed: failed {:?}", super::rig::ends(&lost));
    assert!(two.total() > before[0] && three.total() > before[1], "both others took over");
    assert_eq!(gateway.stop().await.code(), Some(0));
    balance("back end killed", &sent, &[&one, &two, &three], Some(&recorded(&site)));
}

/// Not only what the gateway acknowledged, but what a certificate-bound client holds, lives on.
#[tokio::test]
async fn a_bound_token_survives_a_kill_with_its_binding() {
    let backend = Backend::agreeable().await;
    let site = state_site(&backend);
    let gateway = site.start().await;
    let token = token_of(&gateway, "acme-tls").await;
    gateway.kill();
    let gateway = site.start().await;
    let call = async |identity| {
        let request = http(Some(client_identity(identity))).get(gateway.https("mtls", "/vault/balances"));
        request.bearer_auth(&token).send().await.unwrap().status().as_u16()
    };
    assert_eq!((call("acme-tls").await, call("acme-second").await), (200, 401));
}
