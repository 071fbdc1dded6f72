//! Addresses in all disguises, URLs with tricks, and hosts that misbehave.

mod peer;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use peer::{Peer, Script};

use super::address::is_public;
use super::client::Outbound;
use super::*;

fn settings(allowed: &[&str]) -> OutboundSettings {
    let allow_private = allowed.iter().map(|text| text.parse().unwrap()).collect();
    OutboundSettings { allow_private, ca_files: Vec::new() }
}

#[test]
fn only_what_is_plainly_public_is_public() {
    for (name, addresses, public) in [
        ("public", &["1.1.1.1", "8.8.8.8", "100.63.255.255", "100.128.0.0", "172.15.255.255", "172.32.0.0"][..], true),
        ("public, at seams", &["9.255.255.255", "11.0.0.0", "126.255.255.255", "128.0.0.0", "223.255.255.255"], true),
        (
            "public, at seams",
            &["169.253.255.255", "169.255.0.0", "192.167.255.255", "198.17.255.255", "198.20.0.0"],
            true,
        ),
        ("this host", &["0.0.0.0", "0.1.2.3", "0.255.255.255"], false),
        ("private", &["10.0.0.0", "10.255.255.255", "172.16.0.0", "172.31.255.255", "192.168.0.1"], false),
        ("shared", &["100.64.0.0", "100.100.100.200", "100.127.255.255"], false),
        ("loopback", &["127.0.0.1", "127.0.0.2", "127.255.255.255"], false),
        ("metadata, link-local", &["169.254.169.254", "169.254.0.0", "169.254.170.2"], false),
        ("metadata elsewhere", &["168.63.129.16", "192.0.0.192"], false),
        ("documentation", &["192.0.2.1", "198.51.100.1", "203.0.113.1"], false),
        ("benchmarks, relays", &["198.18.0.0", "198.19.255.255", "192.88.99.1"], false),
        ("multicast, reserved, broadcast", &["224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"], false),
        ("public", &["2606:4700::1111", "2a00:1450:4001::1", "2001:4860:4860::8888", "2003::1"], true),
        ("loopback, unspecified", &["::1", "::"], false),
        ("mapped", &["::ffff:127.0.0.1", "::ffff:10.1.2.3", "::ffff:169.254.169.254", "::ffff:0:0"], false),
        ("mapped, but public", &["::ffff:8.8.8.8"], true),
        ("compatible", &["::127.0.0.1", "::8.8.8.8"], false),
        ("translated", &["64:ff9b::127.0.0.1", "64:ff9b::a00:1", "64:ff9b::a9fe:a9fe"], false),
        ("translated, but public", &["64:ff9b::808:808"], true),
        ("translated, local prefix", &["64:ff9b:1::808:808"], false),
        ("unique local, metadata among them", &["fc00::1", "fd00:ec2::254", "fdff::1"], false),
        ("link-local, site-local", &["fe80::1", "febf::1", "fec0::1"], false),
        ("multicast", &["ff02::1", "ff0e::1"], false),
        ("6to4, Teredo, ORCHID", &["2002:7f00:1::", "2002:808:808::1", "2001::1", "2001:20::1"], false),
        ("documentation, discard", &["2001:db8::1", "3fff::1", "100::1"], false),
        ("unassigned", &["4000::1", "e000::1"], false),
    ] {
        for address in addresses {
            let parsed: IpAddr = address.parse().unwrap();
            assert_eq!(is_public(parsed), public, "{name}: {address}");
        }
    }
}

#[test]
fn an_allowed_peer_is_a_host_or_a_network() {
    let network = |base: &str, bits| Some(AllowedPeer::Network { base: base.parse().unwrap(), bits });
    for (text, expected) in [
        ("10.1.0.0/16", network("10.1.0.0", 16)),
        ("10.1.2.3", network("10.1.2.3", 32)),
        ("fd00::/8", network("fd00::", 8)),
        ("::1", network("::1", 128)),
        ("Jwks.Partner.internal", Some(AllowedPeer::Host("jwks.partner.internal".into()))),
        ("localhost", Some(AllowedPeer::Host("localhost".into()))),
        ("10.1.0.0/33", None),
        ("10.1.0.0/-1", None),
        ("10.1.0.0/", None),
        ("host/8", None),
        ("::ffff:10.0.0.1", None),
        ("2130706433", None),
        ("*.internal", None),
        ("a..b", None),
        ("https://a", None),
        ("", None),
    ] {
        assert_eq!(text.parse::<AllowedPeer>().ok(), expected, "{text:?}");
    }
}

#[test]
fn a_url_is_judged_before_anybody_is_asked() {
    let strict = Outbound::new(settings(&[])).unwrap();
    let address = |text: &str| Err(UrlError::Address(text.parse().unwrap()));
    for (url, expected) in [
        ("https://jwks.partner.example/keys?x=1", Ok(())),
        ("https://jwks.partner.example:8443/keys", Ok(())),
        ("https://8.8.8.8/keys", Ok(())),
        ("http://jwks.partner.example/keys", Err(UrlError::Scheme)),
        ("ftp://jwks.partner.example/keys", Err(UrlError::Scheme)),
        ("file:///etc/passwd", Err(UrlError::Scheme)),
        ("data:application/json,{}", Err(UrlError::Scheme)),
        ("https://user:pass@partner.example/", Err(UrlError::Userinfo)),
        ("https://user@partner.example/", Err(UrlError::Userinfo)),
        ("https://@partner.example/", Err(UrlError::Userinfo)),
        ("https://public.example@127.0.0.1/", Err(UrlError::Userinfo)),
        ("https://partner.example/#x", Err(UrlError::Fragment)),
        ("https://partner.example:22/", Err(UrlError::Port(22))),
        ("https://partner.example:80/", Err(UrlError::Port(80))),
        ("https://partner.example:0/", Err(UrlError::Port(0))),
        ("https://127.0.0.1/", address("127.0.0.1")),
        ("https://127.1/", address("127.0.0.1")),
        ("https://2130706433/", address("127.0.0.1")),
        ("https://017700000001/", address("127.0.0.1")),
        ("https://0177.0.0.1/", address("127.0.0.1")),
        ("https://0x7f.0.0.1/", address("127.0.0.1")),
        ("https://0x7f000001/", address("127.0.0.1")),
        ("https://127.0.0.1./", address("127.0.0.1")),
        ("https://%31%32%37.0.0.1/", address("127.0.0.1")),
        ("https://[::1]/", address("::1")),
        ("https://[::ffff:127.0.0.1]/", address("127.0.0.1")),
        ("https://[::ffff:7f00:1]/", address("127.0.0.1")),
        ("https://[64:ff9b::7f00:1]/", address("127.0.0.1")),
        ("https://169.254.169.254/latest/meta-data", address("169.254.169.254")),
        ("https://10.0.0.7/", address("10.0.0.7")),
        ("https://0/", address("0.0.0.0")),
        ("https://[fd00:ec2::254]/", address("fd00:ec2::254")),
        ("https://[fe80::1%25eth0]/", Err(UrlError::Malformed(2048))),
        ("https://①②⑦.0.0.1/", Err(UrlError::Malformed(2048))),
        (" https://partner.example/", Err(UrlError::Malformed(2048))),
        ("https://partner.example/\r\nHost: x", Err(UrlError::Malformed(2048))),
        ("https:\\\\partner.example\\", Err(UrlError::Malformed(2048))),
        ("https://", Err(UrlError::Malformed(2048))),
        ("partner.example", Err(UrlError::Malformed(2048))),
    ] {
        assert_eq!(strict.check_url(url), expected, "{url:?}");
    }
    let long = format!("https://partner.example/{}", "x".repeat(2048));
    assert_eq!(strict.check_url(&long), Err(UrlError::Malformed(2048)));

    let allowing = Outbound::new(settings(&["10.0.0.0/24", "::1"])).unwrap();
    for (url, expected) in [
        ("https://10.0.0.7:444/", Ok(())),
        ("https://[::ffff:10.0.0.7]/", Ok(())),
        ("https://[::1]/", Ok(())),
        ("https://10.0.1.7/", address("10.0.1.7")),
        ("https://127.0.0.1/", address("127.0.0.1")),
    ] {
        assert_eq!(allowing.check_url(url), expected, "{url:?}, with an allow-list");
    }
}

/// A client for which `name` leads to `addresses`, in the order of its look-ups.
fn resolving(peer: &Peer, allowed: &[&str], addresses: &'static [&'static [&'static str]]) -> Outbound {
    let settings = OutboundSettings { ca_files: vec![peer.ca_file.clone()], ..settings(allowed) };
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let lookup = move |_: &str| {
        let turn = asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let answer = addresses[turn.min(addresses.len() - 1)];
        Ok(answer.iter().map(|address| address.parse().unwrap()).collect())
    };
    Outbound::with(settings, Arc::new(lookup), Duration::from_millis(500)).unwrap()
}

fn summary(outcome: &Result<Received, OutboundError>) -> String {
    match outcome {
        Ok(received) => format!("{} {}", received.status, String::from_utf8_lossy(&received.body)),
        Err(OutboundError::Address(address)) => format!("address {address}"),
        Err(OutboundError::Url(_)) => "url".into(),
        Err(OutboundError::Busy) => "busy".into(),
        Err(OutboundError::Timeout) => "timeout".into(),
        Err(OutboundError::Transport(_)) => "transport".into(),
        Err(OutboundError::TooLong(bytes)) => format!("longer than {bytes}"),
    }
}

#[tokio::test]
async fn a_name_is_judged_by_what_it_leads_to() {
    let peer = Peer::start(Script::Body("hello".into())).await;
    type LookUps = &'static [&'static [&'static str]];
    let cases: [(&str, &[&str], LookUps, &str); 8] = [
        ("loopback", &[], &[&["127.0.0.1"]], "address 127.0.0.1"),
        ("private", &[], &[&["10.0.0.1"]], "address 10.0.0.1"),
        ("mapped", &[], &[&["::ffff:127.0.0.1"]], "address 127.0.0.1"),
        ("public and private", &[], &[&["8.8.8.8", "127.0.0.1"]], "address 127.0.0.1"),
        ("allowed by name", &["peer.example"], &[&["127.0.0.1"]], "200 hello"),
        ("allowed by network", &["127.0.0.0/8"], &[&["127.0.0.1"]], "200 hello"),
        ("another name", &["other.example"], &[&["127.0.0.1"]], "address 127.0.0.1"),
        ("another network", &["127.0.1.0/24"], &[&["127.0.0.1"]], "address 127.0.0.1"),
    ];
    for (name, allowed, addresses, expected) in cases {
        let hits = peer.hits();
        let outcome = resolving(&peer, allowed, addresses).get(&peer.url("/"), "*/*", 100).await;
        assert_eq!(summary(&outcome), expected, "{name}: {outcome:?}");
        assert_eq!(peer.connections() > 0, peer.hits() > 0, "{name}: refused before connecting");
        assert_eq!(peer.hits() - hits, usize::from(expected.starts_with("200")), "{name}");
    }
}

#[tokio::test]
async fn a_name_that_turns_private_is_refused_at_its_next_use() {
    let peer = Peer::start(Script::Body("hello".into())).await;
    // Rebinding: harmless when it was looked up first, hostile afterwards. Each use judges the look-up it connects by.
    let client = resolving(&peer, &["127.0.0.1/32"], &[&["127.0.0.1"], &["127.0.0.2"]]);
    assert_eq!(summary(&client.get(&peer.url("/"), "*/*", 100).await), "200 hello");
    assert_eq!(summary(&client.get(&peer.url("/"), "*/*", 100).await), "address 127.0.0.2");
    assert_eq!(peer.hits(), 1);
}

#[tokio::test]
async fn hosts_that_misbehave_cost_a_bounded_time_and_size() {
    let target = Peer::start(Script::Body("secret".into())).await;
    let cases = [
        ("as long as allowed", Script::Body("x".repeat(100)), format!("200 {}", "x".repeat(100))),
        ("too long", Script::Body("x".repeat(101)), "longer than 100".into()),
        ("endless", Script::Endless, "longer than 100".into()),
        ("dripping", Script::Drip, "timeout".into()),
        ("silent", Script::Never, "timeout".into()),
        ("a redirect", Script::Redirect(target.url("/")), "302 ".into()),
        ("no HTTP", Script::Raw("SSH-2.0-x\r\n".into()), "transport".into()),
        ("a head without end", Script::EndlessHead, "transport|timeout".into()), // Whichever bound it meets first.
        ("an error", Script::Status(500), "500 ".into()),
    ];
    for (name, script, expected) in cases {
        let peer = Peer::start(script).await;
        let client = resolving(&peer, &["peer.example"], &[&["127.0.0.1"]]);
        let began = std::time::Instant::now();
        let outcome = client.get(&peer.url("/"), "*/*", 100).await;
        assert!(expected.split('|').any(|one| summary(&outcome) == one), "{name}: {outcome:?}");
        assert!(began.elapsed() < Duration::from_secs(5), "{name} took {:?}", began.elapsed());
        assert_eq!(client.in_work(), 0, "{name}: its place is free again");
    }
    assert_eq!(target.hits(), 0, "the redirect was not followed");
}

#[tokio::test]
async fn one_host_holds_a_few_places_only() {
    let slow = Peer::start(Script::Never).await;
    let client = Arc::new(resolving(&slow, &["peer.example"], &[&["127.0.0.1"]]));
    let url = slow.url("/");
    let all = (0..12).map(|_| client.get(&url, "*/*", 100));
    let outcomes: Vec<String> = futures_util::future::join_all(all).await.iter().map(summary).collect();
    assert_eq!(outcomes.iter().filter(|outcome| *outcome == "timeout").count(), 4, "{outcomes:?}");
    assert_eq!(outcomes.iter().filter(|outcome| *outcome == "busy").count(), 8, "{outcomes:?}");
    assert_eq!(client.in_work(), 0);
}

#[tokio::test]
async fn a_certificate_of_nobody_we_trust_ends_it() {
    let peer = Peer::start(Script::Body("hello".into())).await;
    let other = Peer::start(Script::Body("hello".into())).await;
    let client = resolving(&other, &["peer.example"], &[&["127.0.0.1"]]);
    assert_eq!(summary(&client.get(&peer.url("/"), "*/*", 100).await), "transport");
    assert_eq!(peer.hits(), 0);
}

#[tokio::test]
async fn how_long_an_answer_keeps_is_read() {
    for (field, expected) in [
        ("max-age=60", Some(60)),
        ("public, Max-Age=\"90\"", Some(90)),
        ("max-age=60, no-cache", Some(0)),
        ("no-store", Some(0)),
        ("max-age=-1", None),
        ("private", None),
    ] {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncache-control: {field}\r\n\r\n{{}}");
        let peer = Peer::start(Script::Raw(head)).await;
        let client = resolving(&peer, &["peer.example"], &[&["127.0.0.1"]]);
        let received = client.get(&peer.url("/"), "*/*", 100).await.unwrap();
        assert_eq!(received.max_age.map(|age| age.as_secs()), expected, "{field}");
    }
}
