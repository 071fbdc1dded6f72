//! A back end that speaks HTTP/2 and answers with anything: each caller gets one sound answer or a broken connection,
//! and nobody gets another's, though they share its connection. What is not idempotent arrives once.

mod cases;
mod server;

use std::net::SocketAddr;

use futures_util::future::join_all;

use super::Tally;
use super::client::Client;
use super::random::{self, Random};
use super::strict::{self, Answer};
use crate::harness::token::outside_token;
use crate::harness::{Gateway, Site};
use cases::{CASES, Due, Then};
use server::Server;

/// Gateways at once, each with a back end of its own: what breaks a connection must not excuse another case.
const GATEWAYS: usize = 6;
/// Pages that the allocator keeps, after whatever back ends said.
const GROWTH_KIB_MAX: u64 = 64 * 1024;

/// Name, method, path, and a body with its type.
const LANES: [(&str, &str, &str, &str, &str); 5] = [
    ("streamed", "GET", "/items", "", ""),
    ("streamed upload", "POST", "/notes", "text/plain", "note"),
    ("held", "POST", "/items", "application/json", r#"{"name":"tea","quantity":1}"#),
    ("redacted", "GET", "/items/1", "", ""),
    ("head", "HEAD", "/items", "", ""),
];

const POLICY: &str = r#"
@id("test.redacted")
@redact("/secret")
permit (principal, action == Action::"shop.getItem", resource);
"#;

struct Rig {
    server: Server,
    gateway: Gateway,
    token: String,
    _site: Site,
}

impl Rig {
    async fn start(server: Server) -> Self {
        let url = format!("http://{}", server.address);
        let site = Site::plain_urls(std::slice::from_ref(&url));
        let timeouts = "timeouts: { connect: 2s, read: 2s, write: 2s, total: 6s }";
        site.backends(&[url], &format!("http2: true\n{timeouts}"));
        site.write("policies/redacted.cedar", POLICY);
        let gateway = site.start().await;
        Self { server, gateway, token: outside_token("acme", "app"), _site: site }
    }

    fn address(&self) -> SocketAddr {
        self.gateway.address("public")
    }

    /// A request in a lane, and its target as the back end sees it.
    fn request(&self, lane: usize, mode: &str, number: &str) -> (String, String) {
        let (_, method, path, kind, body) = LANES[lane];
        let (token, query) = (&self.token, format!("m={mode}&n={number}"));
        let fields = match body.len() {
            0 => String::new(),
            length => format!("Content-Type: {kind}\r\nContent-Length: {length}\r\n"),
        };
        let head = format!("{method} /shop{path}?{query} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}");
        (format!("{head}\r\n{fields}\r\n{body}"), format!("/v1{path}?{query}"))
    }

    async fn ask(&self, lane: usize, mode: &str, number: &str) -> (Result<Option<Answer>, String>, String) {
        let (request, target) = self.request(lane, mode, number);
        let mut client = Client::connect(self.address()).await;
        client.send(request.as_bytes()).await;
        (client.answer(LANES[lane].1 == "HEAD").await, target)
    }

    /// A request that must be answered soundly, whatever came before.
    async fn own(&self, lane: usize, number: &str) -> Result<(), String> {
        match self.ask(lane, "own", number).await {
            (Ok(Some(answer)), target) if answer.status == 200 && is_own(&answer, lane, &target) => Ok(()),
            (answer, _) => Err(shown(&answer)),
        }
    }

    /// What holds at the end: nothing unsound arrived, what is not idempotent arrived once.
    fn settle(&self, unprocessed: impl Fn(&str) -> bool) -> usize {
        assert_eq!(self.server.violations(), Vec::<String>::new());
        let arrivals = self.server.arrivals();
        for (asked, count) in &arrivals {
            let once = asked.starts_with("POST");
            assert!(!once || *count == 1 || unprocessed(asked), "{asked} arrived {count} times");
            assert!(*count <= 3, "{asked} arrived {count} times");
        }
        arrivals.values().sum()
    }
}

fn shown(answer: &Result<Option<Answer>, String>) -> String {
    match answer {
        Ok(Some(answer)) => {
            let body: String = String::from_utf8_lossy(&answer.body).chars().take(200).collect();
            format!("{} {body:?}", answer.status)
        }
        Ok(None) => "the connection breaks".into(),
        Err(why) => why.chars().take(300).collect(),
    }
}

fn is_own(answer: &Answer, lane: usize, target: &str) -> bool {
    let said: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    LANES[lane].1 == "HEAD" || said["own"] == target
}

/// Whether an answer is what a case must come to.
fn judge(answer: &Result<Option<Answer>, String>, due: Due, lane: usize, target: &str) -> Result<(), String> {
    let Ok(answer) = answer else { return Err(shown(answer)) };
    let Some(answer) = answer else {
        return if due == Due::Passes { Err("the connection breaks".into()) } else { Ok(()) };
    };
    let shown = || shown(&Ok(Some(answer.clone())));
    if answer.body.windows(cases::SMUGGLED.len()).any(|part| part == cases::SMUGGLED) {
        return Err(format!("an answer to nobody: {}", shown()));
    }
    for name in ["keep-alive", "proxy-connection", "set-cookie", "trailer", "upgrade"] {
        if !strict::values(&answer.fields, name).is_empty() {
            return Err(format!("{name} crosses: {}", shown()));
        }
    }
    let (ours, own) = (matches!(answer.status, 502..=504), is_own(answer, lane, target));
    match due {
        Due::Passes | Due::Unprocessed if answer.status == 200 && own => Ok(()),
        Due::Fails if LANES[lane].1 == "HEAD" => Ok(()), // There is no body that could be wrong.
        Due::Fails | Due::Unprocessed if ours => Ok(()),
        Due::Sound | Due::Stalls | Due::Foretold => Ok(()),
        Due::Passes | Due::Fails | Due::Unprocessed => Err(shown()),
    }
}

/// The case, with a bystander who waits for an answer on the same connection, and callers who come later.
async fn play(rig: &Rig, lane: usize, case: usize, due: Due, tally: &mut Tally) -> Result<(), String> {
    let number = format!("{case}-{}", LANES[lane].0.replace(' ', "-"));
    let number = number.as_str();
    let bystander = async {
        let (answer, target) = rig.ask(0, "wait", &format!("{number}-by")).await;
        match &answer {
            Ok(Some(answer)) if answer.status == 200 && is_own(answer, 0, &target) => Ok(()),
            Ok(Some(answer)) if matches!(answer.status, 502..=504) => Ok(()),
            Ok(None) => Ok(()),
            _ => Err(format!("a bystander: {}", shown(&answer))),
        }
    };
    let waiting = format!("/v1/items?m=wait&n={number}-by");
    let hostile = async {
        rig.server.has(&format!("GET {waiting}")).await;
        let asked = rig.ask(lane, &case.to_string(), number).await;
        rig.server.release(&waiting);
        asked
    };
    let (bystander, (answer, target)) = futures_util::future::join(bystander, hostile).await;
    judge(&answer, due, lane, &target)?;
    if due != Due::Foretold {
        bystander?;
    }
    *(if matches!(&answer, Ok(Some(answer)) if answer.status < 500) {
        &mut tally.forwarded
    } else {
        &mut tally.refused
    }) += 1;
    if due == Due::Stalls {
        let _in_vain = rig.own(lane, &format!("{number}-stalls")).await;
    }
    for nth in 0..2 {
        rig.own(lane, &format!("{number}-{nth}")).await.map_err(|e| format!("another's next: {e}"))?;
    }
    Ok(())
}

#[tokio::test]
async fn any_answer_over_http2_is_one_sound_answer_and_nobody_elses() {
    let tallies = join_all((0..GATEWAYS).map(|nth| async move {
        let server = Server::start(|mode, exchange| {
            let (_, due, then, make) = CASES[mode.parse::<usize>().ok()?];
            Some((make(exchange), then, due))
        });
        let rig = Rig::start(server.await).await;
        let (mut tally, mut warm) = (Tally::default(), 0);
        for case in (nth..CASES.len()).step_by(GATEWAYS) {
            let (name, due, ..) = CASES[case];
            for (lane, (path, ..)) in LANES.iter().enumerate() {
                tally.cases += 1;
                if let Err(failure) = play(&rig, lane, case, due, &mut tally).await {
                    tally.failures.push(format!("{name}, {path}: {failure}"));
                }
            }
            let resident = rig.gateway.resident_kib();
            warm = if warm == 0 { resident } else { warm };
            if resident > warm + GROWTH_KIB_MAX {
                tally.failures.push(format!("{name}: {warm} KiB when warm, {resident} KiB behind it"));
            }
        }
        let unprocessed = |asked: &str| {
            let mode = asked.split_once("m=").map_or("", |(_, rest)| rest.split('&').next().unwrap_or_default());
            mode.parse::<usize>().is_ok_and(|case| CASES[case].1 == Due::Unprocessed)
        };
        rig.settle(unprocessed);
        tally
    }))
    .await;
    let mut tally = Tally::default();
    tallies.into_iter().for_each(|one| tally.add(one));
    println!(
        "answers over HTTP/2: {} cases, {} passed on, {} refused or broken off",
        tally.cases, tally.forwarded, tally.refused
    );
    assert!(tally.failures.is_empty(), "{}", tally.failures.join("\n"));
    assert!(tally.cases >= 400 && tally.forwarded > 100 && tally.refused > 200);
}

/// Random changes of a sound answer's bytes; see [`super::random::run`].
#[tokio::test]
async fn random_answers_over_http2_are_one_sound_answer_or_none() {
    let (seed, count) = random::run(300, 20_000);
    println!("CLEARWAY_SEED={seed}");
    let server = Server::start(move |mode, exchange| {
        let number = mode.parse().ok()?;
        let mut random = Random::new(seed, number);
        let mut bytes = exchange.sound();
        for _ in 0..=random.below(3) {
            if bytes.is_empty() {
                break;
            }
            let at = random.below(bytes.len());
            match random.below(4) {
                0 => bytes[at] ^= 1 << random.below(8),
                1 => bytes[at] = random.next() as u8,
                2 => drop(bytes.remove(at)),
                _ => bytes = random.spoil(&bytes),
            }
        }
        let then = if random.below(8) == 0 { Then::Goes } else { Then::Closes };
        Some((bytes, then, Due::Sound))
    });
    let rig = Rig::start(server.await).await;
    let mut tally = Tally::default();
    for number in 0..count {
        tally.cases += 1;
        let lane = number % LANES.len();
        let name = format!("{number}-{lane}");
        let (answer, target) = rig.ask(lane, &number.to_string(), &name).await;
        if let Err(failure) = judge(&answer, Due::Sound, lane, &target) {
            tally.failures.push(format!("{number}: {failure}"));
        }
        let passed = matches!(&answer, Ok(Some(answer)) if answer.status < 500);
        *(if passed { &mut tally.forwarded } else { &mut tally.refused }) += 1;
        // What ends within a frame leaves a connection that is silent: one request may find that out.
        if rig.own(lane, &format!("{name}-own")).await.is_err()
            && let Err(failure) = rig.own(lane, &format!("{name}-again")).await
        {
            tally.failures.push(format!("{number}, another's next: {failure}"));
        }
    }
    println!("random answers over HTTP/2: {count} cases, {} passed on, {} refused", tally.forwarded, tally.refused);
    assert!(tally.failures.is_empty(), "{}", tally.failures.join("\n"));
    rig.settle(|_| false);
}
