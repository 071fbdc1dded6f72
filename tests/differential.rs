//! Differential framing: what a strict reader does not take reaches no back end, and what reaches one is what a strict
//! reader read: one sound request, with the same method, target and body. And answers likewise.

mod answers;
mod cases;
mod client;
mod frames;
mod hpack;
mod http2;
mod random;
mod recorder;
mod strict;
mod upstream;

use std::net::SocketAddr;

use futures_util::StreamExt;

use crate::harness::token::outside_token;
use crate::harness::{Gateway, Site};
use cases::{BASES, CHANGES};
use client::Client;
use random::Random;
use recorder::Recorder;
use strict::{Reading, Request};

/// Connections of one test at once.
const AT_ONCE: usize = 8;
const TLS_LISTENER: &str = "
  - name: tls
    address: 127.0.0.1:0
    tls: { certificate_file: PKI/server.pem, private_key_file: PKI/server.key, client_certificate: none }
";

struct Rig {
    recorder: Recorder,
    gateway: Gateway,
    token: String,
    _site: Site,
}

impl Rig {
    async fn start() -> Self {
        let recorder = Recorder::start().await;
        let site = Site::plain_urls(&[recorder.url()]);
        site.edit("config/gateway.yaml", "operations_address", &format!("{}operations_address", &TLS_LISTENER[1..]));
        let gateway = site.start().await;
        Self { recorder, gateway, token: outside_token("acme", "app"), _site: site }
    }

    /// Holds what arrived against what was read, and says how many there were.
    fn settle(&self, name: &str, tally: Tally) {
        let mut arrived: Vec<Key> = self.recorder.requests().iter().map(key).collect();
        arrived.retain(|key| !tally.allowed.contains(key) || tally.expected.contains(key));
        let mut expected = tally.expected;
        arrived.sort();
        expected.sort();
        println!(
            "{name}: {} cases, {} requests forwarded, {} refused, {} broken off at the back end",
            tally.cases,
            tally.forwarded,
            tally.refused,
            self.recorder.aborted()
        );
        assert!(tally.failures.is_empty(), "{}", tally.failures.join("\n"));
        assert_eq!(self.recorder.violations(), Vec::<String>::new());
        let surplus: Vec<&Key> = arrived.iter().filter(|key| !expected.contains(key)).collect();
        assert!(surplus.is_empty(), "reached the back end, and nobody sent them: {surplus:?}");
        assert_eq!(arrived, expected);
    }
}

/// Method, target and body.
type Key = (String, String, Vec<u8>);

fn key(request: &Request) -> Key {
    (request.method.clone(), request.target.clone(), request.body.clone())
}

/// What a request is behind the gateway; `None` if it is for the gateway itself.
fn behind(request: &Request) -> Option<Key> {
    let absolute = !request.target.starts_with('/');
    let target = match request.target.split_once("://").filter(|_| absolute) {
        Some((_, rest)) => &rest[rest.find('/').unwrap_or(rest.len())..],
        None => &request.target,
    };
    let target = format!("/v1{}", target.strip_prefix("/shop")?);
    Some((request.method.clone(), target, request.body.clone()))
}

#[derive(Default)]
struct Tally {
    cases: usize,
    forwarded: usize,
    refused: usize,
    expected: Vec<Key>,
    /// May have arrived.
    allowed: Vec<Key>,
    failures: Vec<String>,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.cases += other.cases;
        self.forwarded += other.forwarded;
        self.refused += other.refused;
        self.expected.extend(other.expected);
        self.allowed.extend(other.allowed);
        self.failures.extend(other.failures);
    }
}

/// Where reading ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Clean,
    /// Something is there that is no whole sound request.
    Unsound,
}

/// Every request that a strict reader finds. RFC 9112 §2.2: it may skip one empty line before each.
fn read(mut bytes: &[u8]) -> (Vec<Request>, End) {
    let mut requests = Vec::new();
    while !bytes.is_empty() {
        let rest = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
        match strict::request(rest) {
            Reading::Whole(request, length) => {
                requests.push(request);
                bytes = &rest[length..];
            }
            Reading::Incomplete | Reading::Malformed(_) => return (requests, End::Unsound),
        }
    }
    (requests, End::Clean)
}

/// Sends a case on a connection of its own, and looks at every answer; then a marker, if the connection goes on.
async fn play(address: SocketAddr, bytes: &[u8], marker: &str, token: &str) -> Tally {
    let mut tally = Tally { cases: 1, ..Tally::default() };
    if let Err(failure) = converse(address, bytes, marker, token, &mut tally).await {
        let shown: String = String::from_utf8_lossy(bytes).replace(token, "TOKEN").chars().take(600).collect();
        tally.failures.push(format!("{marker}: {failure}\n  {shown:?}"));
    }
    tally
}

async fn converse(
    address: SocketAddr,
    bytes: &[u8],
    marker: &str,
    token: &str,
    tally: &mut Tally,
) -> Result<(), String> {
    let (requests, end) = read(bytes);
    let mut client = Client::connect(address).await;
    client.send(bytes).await;
    for request in &requests {
        if !step(&mut client, request, tally).await? {
            return Ok(());
        }
    }
    if end == End::Unsound {
        client.finish().await;
        return last(&mut client, tally).await;
    }
    let ask =
        format!("GET /shop/items?c={marker} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n");
    client.send(ask.as_bytes()).await;
    let Reading::Whole(request, _) = strict::request(ask.as_bytes()) else {
        return Err("the marker is unsound".into());
    };
    if !step(&mut client, &request, tally).await? {
        return Ok(());
    }
    client.finish().await;
    match client.rest().await {
        0 => Ok(()),
        more => Err(format!("{more} bytes that nobody asked for")),
    }
}

/// The answer to one sound request; whether the connection goes on.
async fn step(client: &mut Client, request: &Request, tally: &mut Tally) -> Result<bool, String> {
    let Some(answer) = client.answer(request.method == "HEAD").await? else {
        tally.refused += 1;
        return Ok(false);
    };
    match answer.status {
        200..=299 => {
            tally.forwarded += 1;
            if let Some(key) = behind(request) {
                let said: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
                let own = said["target"] == key.1.as_str() && said["bytes"] == key.2.len();
                if !own && request.method != "HEAD" {
                    return Err(format!("another's answer: {said} for {key:?}"));
                }
                tally.expected.push(key);
            }
        }
        400..=499 | 501 | 505 => tally.refused += 1,
        status => return Err(format!("{status}: {}", String::from_utf8_lossy(&answer.body))),
    }
    if answer.closes() || request.version == "HTTP/1.0" {
        client.finish().await;
        return match client.rest().await {
            0 => Ok(false),
            more => Err(format!("{more} bytes behind the last answer")),
        };
    }
    Ok(true)
}

/// What is unsound is refused with a 4xx or a close, and nothing follows.
async fn last(client: &mut Client, tally: &mut Tally) -> Result<(), String> {
    tally.refused += 1;
    match client.answer(false).await? {
        Some(answer) if !(400..500).contains(&answer.status) && !matches!(answer.status, 501 | 505) => {
            Err(format!("what no strict reader takes is answered with {}", answer.status))
        }
        _ => match client.rest().await {
            0 => Ok(()),
            more => Err(format!("{more} bytes behind a refusal")),
        },
    }
}

async fn all(cases: impl Iterator<Item = impl Future<Output = Tally>>) -> Tally {
    let mut tally = Tally::default();
    let mut running = futures_util::stream::iter(cases).buffer_unordered(AT_ONCE);
    while let Some(one) = running.next().await {
        tally.add(one);
    }
    tally
}

#[tokio::test]
async fn a_corpus_of_ambiguous_requests_is_refused_or_forwarded_as_a_strict_reader_reads_it() {
    let rig = Rig::start().await;
    let address = rig.gateway.address("public");
    let cases: Vec<(String, Vec<u8>)> = BASES
        .iter()
        .flat_map(|base| CHANGES.iter().map(move |(name, change)| (base, name, change)))
        .enumerate()
        .map(|(number, (base, name, change))| {
            let bytes = cases::bytes(base, *change, number, &rig.token);
            (format!("{number}-{}-{}", base.name, name.replace([' ', ','], "-")), bytes)
        })
        .collect();
    assert!(cases.len() >= 300, "{}", cases.len());
    let tally = all(cases.iter().map(|(name, bytes)| {
        let marker: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
        let token = rig.token.as_str();
        async move { play(address, bytes, &marker, token).await }
    }))
    .await;
    assert!(tally.forwarded > 200 && tally.refused > 300, "{} and {}", tally.forwarded, tally.refused);
    rig.settle("corpus", tally);
}

#[tokio::test]
async fn a_sound_request_of_each_kind_passes_and_a_smuggled_one_does_not() {
    let rig = Rig::start().await;
    let address = rig.gateway.address("public");
    let mut tally = Tally::default();
    for (number, base) in BASES.iter().enumerate() {
        let sound = cases::bytes(base, cases::Change::Fields(""), number, &rig.token);
        let twice = [sound.clone(), sound].concat(); // Sent ahead of the first answer (RFC 9112 §9.3.2).
        tally.add(play(address, &twice, &format!("m{number}"), &rig.token).await);
    }
    assert_eq!((tally.forwarded, tally.refused), (12, 0), "two of each and its marker");
    rig.settle("pipelined", tally);
}

/// Random changes of sound requests. `CLEARWAY_SEED` repeats a run; `CLEARWAY_SOAK=1` makes it long.
#[tokio::test]
async fn random_changes_are_refused_or_forwarded_as_a_strict_reader_reads_them() {
    let rig = Rig::start().await;
    let address = rig.gateway.address("public");
    let (seed, count) = random::run(2_000, 100_000);
    println!("CLEARWAY_SEED={seed}");
    let tally = all((0..count).map(|number| {
        let base = &BASES[number % BASES.len()];
        let (_, change) = CHANGES[if number % 3 == 0 { Random::new(seed, number).below(CHANGES.len()) } else { 0 }];
        let sound = cases::bytes(base, change, number, &rig.token);
        let bytes = Random::new(seed, number).spoil(&sound);
        let token = rig.token.as_str();
        async move { play(address, &bytes, &format!("r{number}"), token).await }
    }))
    .await;
    assert!(tally.forwarded > count / 8 && tally.refused > count / 8, "{} and {}", tally.forwarded, tally.refused);
    rig.settle("random", tally);
}
