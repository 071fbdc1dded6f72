//! A bad line between the gateway and outside issuers that publish their keys under a URL.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use clearway::jose::Algorithm;
use serde_json::{Value, json};

use super::rig::{Kind, until_well};
use crate::harness::link::{Fault, Link, Way};
use crate::harness::token::{Key, outside_claims, outside_token, with};
use crate::harness::{Backend, Gateway, Reply, Site, field, problem, refused, within};

/// How long one fetch may take (`FETCH_TIMEOUT` of `authn::remote_keys`), and how long a caller may wait who came just
/// after one began and caused the next.
const WAIT_MAX: Duration = Duration::from_secs(10);
const SLACK: Duration = Duration::from_secs(6);

/// An issuer behind a line of its own.
struct Issuer {
    name: String,
    key: Key,
    way: Way,
    fault: Fault,
    link: Link,
    server: Backend,
}

impl Issuer {
    async fn new(name: &str, way: Way, fault: Fault) -> Self {
        let key = Key::generate(Algorithm::Es256);
        let body = json!({ "keys": [key.jwk] }).to_string();
        let server = Backend::start(move |_| Reply::json(&body)).await;
        let link = Link::to(server.address);
        Self { name: format!("https://{name}.test"), key, way, fault, link, server }
    }

    fn yaml(&self) -> String {
        format!(
            "  - issuer: {}\n    jwks_url: {}/keys\n    audiences: [https://localhost]\n    tenant_claim: tenant\n    \
             unknown_partners: {{ product: goods, plan: open, environment: sandbox, jurisdiction: GB }}\n",
            self.name,
            self.link.url()
        )
    }

    fn token(&self) -> String {
        self.key.jwt("at+jwt", &self.claims())
    }

    fn claims(&self) -> Value {
        with(outside_claims("acme", "app"), json!({ "iss": self.name }))
    }

    /// A token of theirs by a key that they do not have yet.
    fn token_by_the_next_key(&self) -> String {
        Key::generate(Algorithm::Es256).jwt("at+jwt", &self.claims())
    }
}

async fn issuers() -> Vec<Issuer> {
    let drip = Fault::Drip(Duration::from_millis(200));
    let cases = [
        ("stall", Way::Both, Fault::Stall),
        ("hole-there", Way::There, Fault::BlackHole),
        ("hole-back", Way::Back, Fault::BlackHole),
        ("drip", Way::Back, drip),
        ("half-there", Way::There, Fault::HalfClose),
        ("half-back", Way::Back, Fault::HalfClose),
        ("reset", Way::Both, Fault::Reset),
        ("refuse", Way::Both, Fault::Refuse),
        ("gone", Way::Both, Fault::Gone),
    ];
    futures_util::future::join_all(cases.map(|(name, way, fault)| Issuer::new(name, way, fault))).await
}

/// All of them beside the sound one of [`Site::plain`].
fn site(issuers: &[Issuer], backend: &Backend) -> Site {
    let site = Site::plain(&[backend]);
    site.append("config/issuers.yaml", &issuers.iter().map(Issuer::yaml).collect::<String>());
    site
}

async fn call(gateway: &Gateway, token: &str) -> (reqwest::Response, Duration) {
    let began = Instant::now();
    let request = reqwest::Client::new().get(gateway.url("/shop/items")).bearer_auth(token);
    (within("an answer", request.send()).await.unwrap(), began.elapsed())
}

/// Asks until the issuer's tokens are taken, and says how often it was refused meanwhile, always as our fault.
async fn until_taken(gateway: &Gateway, issuer: &Issuer, token: &str) -> usize {
    let mut refusals = 0;
    let taken = async {
        loop {
            let (response, _) = call(gateway, token).await;
            if response.status() == 200 {
                return;
            }
            assert_eq!(problem(response).await, refused(503, "unavailable"), "{}", issuer.name);
            refusals += 1;
        }
    };
    within("the issuer's tokens to be taken again", taken).await;
    refusals
}

#[tokio::test]
async fn an_issuer_that_cannot_be_reached_from_the_start_is_our_fault_and_only_its_own_callers() {
    let backend = Backend::agreeable().await;
    let issuers = issuers().await;
    let site = site(&issuers, &backend);
    issuers.iter().for_each(|issuer| issuer.link.disturb(issuer.way, issuer.fault));
    let gateway = site.start().await;
    let sound = outside_token("acme", "app");
    // Callers of each issuer keep coming: nobody waits for the waits of those before.
    let each = issuers.iter().map(|issuer| async {
        let callers = (0..4).map(|_| async {
            let mut slowest = Duration::ZERO;
            for _ in 0..3 {
                let (response, took) = call(&gateway, &issuer.token()).await;
                assert!(took < WAIT_MAX + SLACK, "{}: {took:?}", issuer.name);
                assert!(field(&response, "www-authenticate").is_empty(), "{}", issuer.name);
                assert_eq!(problem(response).await, refused(503, "unavailable"), "{}", issuer.name);
                slowest = slowest.max(took);
            }
            slowest
        });
        let slowest = futures_util::future::join_all(callers).await.into_iter().max().unwrap();
        println!(
            "issuer {}: 12 of 12 refused with 503, slowest {slowest:?}, line {:?}",
            issuer.name,
            issuer.link.tally()
        );
    });
    let others = async {
        for _ in 0..50 {
            let (response, took) = call(&gateway, &sound).await;
            assert_eq!(response.status(), 200, "callers of another issuer");
            assert!(took < Duration::from_secs(5), "and they do not wait: {took:?}");
        }
    };
    tokio::join!(futures_util::future::join_all(each), others);
    assert_eq!(backend.total(), 50);

    issuers.iter().for_each(|issuer| issuer.link.mend());
    for issuer in &issuers {
        let refusals = until_taken(&gateway, issuer, &issuer.token()).await;
        println!(
            "issuer {}: taken after {refusals} more refusals, its server was asked {} times",
            issuer.name,
            issuer.server.total()
        );
    }
}

#[tokio::test]
async fn an_issuer_that_goes_away_keeps_its_callers() {
    let backend = Backend::agreeable().await;
    let issuers = issuers().await;
    let site = site(&issuers, &backend);
    let gateway = site.start().await;
    for issuer in &issuers {
        assert_eq!(call(&gateway, &issuer.token()).await.0.status(), 200, "{}", issuer.name);
    }
    issuers.iter().for_each(|issuer| issuer.link.disturb(issuer.way, issuer.fault));
    let each = issuers.iter().map(|issuer| async {
        // A key that they may have published by now: we cannot know, so it is not the caller's fault.
        let (unknown, known) = (issuer.token_by_the_next_key(), issuer.token());
        let (unknown, known) = tokio::join!(call(&gateway, &unknown), call(&gateway, &known));
        assert_eq!(known.0.status(), 200, "{}: keys at hand keep serving", issuer.name);
        assert!(known.1 < Duration::from_secs(5), "{}: and nobody waits for that: {:?}", issuer.name, known.1);
        assert!(unknown.1 < WAIT_MAX + SLACK, "{}: {:?}", issuer.name, unknown.1);
        // Over the connection that is open already, the issuer itself says that it has no such key.
        let expected = match issuer.fault {
            Fault::Refuse => refused(401, "token-invalid"),
            _ => refused(503, "unavailable"),
        };
        assert_eq!(problem(unknown.0).await, expected, "{}", issuer.name);
        println!(
            "issuer {}: unknown key refused after {:?}, known key 200 after {:?}",
            issuer.name, unknown.1, known.1
        );
    });
    futures_util::future::join_all(each).await;
}

/// One fetch after the other may fail: who comes while one is under way is told its outcome, and does not queue up.
#[tokio::test]
async fn a_dead_issuer_does_not_make_its_callers_queue() {
    const CALLERS: usize = 24;
    let backend = Backend::agreeable().await;
    let issuer = Issuer::new("dead", Way::Both, Fault::BlackHole).await;
    let site = site(std::slice::from_ref(&issuer), &backend);
    issuer.link.disturb(issuer.way, issuer.fault);
    let gateway = site.start().await;
    // They come one after the other, each a little later than the one before, over three times as long as a fetch takes.
    let arrivals = (0..CALLERS).map(|nth| {
        let (gateway, token) = (&gateway, issuer.token());
        async move {
            tokio::time::sleep(Duration::from_millis(600) * u32::try_from(nth).unwrap()).await;
            let (response, took) = call(gateway, &token).await;
            assert_eq!(problem(response).await, refused(503, "unavailable"), "caller {nth}");
            took
        }
    });
    let waits = futures_util::future::join_all(arrivals).await;
    let (first, last) = (waits[..CALLERS / 3].iter().max().unwrap(), waits[CALLERS * 2 / 3..].iter().max().unwrap());
    println!(
        "{CALLERS} callers of a dead issuer: the first third waited at most {first:?}, the last {last:?}; {} fetches",
        issuer.link.tally().0
    );
    assert!(waits.iter().all(|wait| *wait < WAIT_MAX), "{waits:?}");
}

/// For the counts of the other tests to mean anything.
#[tokio::test]
async fn a_sound_line_changes_nothing() {
    let backend = Backend::agreeable().await;
    let link = Link::to(backend.address);
    let site = super::rig::site(&[link.url()], &backend.url());
    let gateway = site.start().await;
    let address: SocketAddr = gateway.address("public");
    let sent = until_well(address, "shop", Kind::Note).await;
    assert_eq!((sent.len(), backend.total()), (1, 1));
    let (connections, there, back, lost) = link.tally();
    assert_eq!((connections, lost), (1, 0));
    assert!(there > 0 && back > 0);
}
