//! A bad line between a caller and the gateway.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::rig::{Caller, End, KINDS, Sent, balance, gated, recorded, round, site, until_well};
use crate::harness::link::{Fault, Link, Way};
use crate::harness::{Backend, Gateway, within};

const LIMITS: &str =
    "drain_timeout: 20s, header_timeout: 1s, body_idle_timeout: 1s, body_timeout: 2s, idle_timeout: 2s";

/// What callers do on a line that is disturbed before they speak, and while their request is at the back end; and what
/// others notice, who have a sound line.
async fn disturb(name: &str, way: Way, fault: Fault) {
    let gate = Arc::new(Semaphore::new(0));
    let (store, depot) = (gated(&gate).await, Backend::agreeable().await);
    let site = site(&[store.url()], &depot.url());
    site.edit("config/gateway.yaml", "drain_timeout: 20s", LIMITS);
    let gateway = site.start().await;
    let (direct, link) = (gateway.address("public"), Link::to(gateway.address("public")));
    let mut sent = round(link.address, "", &["shop", "depot"]).await;
    assert!(sent.iter().all(|sent| sent.status() == 200), "{name}: {sent:?}");

    link.disturb(way, fault);
    sent.extend(both(name, &link, direct, "").await);
    link.mend();
    sent.extend(until_well(link.address, "shop", super::rig::Kind::Create).await);

    let arrived = store.total();
    let under_way = KINDS.map(|kind| {
        let mut caller = impatient(link.address);
        caller.mode = "gate";
        tokio::spawn(async move { caller.call("shop", kind).await })
    });
    store.arrived(arrived + KINDS.len()).await;
    link.disturb(way, fault);
    gate.add_permits(100);
    let others = round(direct, "", &["shop", "depot"]).await;
    assert!(others.iter().all(|sent| sent.status() == 200), "{name}: others suffer: {others:?}");
    sent.extend(others);
    for call in under_way {
        let call = call.await.unwrap();
        assert!(matches!(call.status(), 200 | 0), "{name}: {call:?}");
        sent.push(call);
    }
    link.mend();
    sent.extend(until_well(link.address, "shop", super::rig::Kind::Create).await);

    drop(link);
    within("the connections to be given up", abandoned(&gateway)).await;
    assert_eq!(gateway.stop().await.code(), Some(0));
    balance(name, &sent, &[&store, &depot], Some(&recorded(&site)));
}

fn impatient(address: std::net::SocketAddr) -> Caller {
    let mut caller = Caller::new(address);
    caller.patience = Duration::from_secs(4);
    caller
}

/// Calls of each kind over the bad line, and at the same time over a sound one.
async fn both(name: &str, link: &Link, direct: std::net::SocketAddr, mode: &'static str) -> Vec<Sent> {
    let bad = KINDS.map(|kind| {
        let mut caller = impatient(link.address);
        caller.mode = mode;
        async move { caller.call("shop", kind).await }
    });
    let (bad, sound) = tokio::join!(futures_util::future::join_all(bad), round(direct, mode, &["shop", "depot"]));
    for sent in &sound {
        assert_eq!(sent.status(), 200, "{name}: others suffer: {sent:?}");
    }
    for sent in &bad {
        // An answer that arrives whole is the truth: done, or "you were too slow". Never a fault of ours or of theirs.
        let truthful = match &sent.end {
            End::Answered { status, .. } => matches!(status, 200 | 408),
            End::Broken | End::Silence => true,
        };
        assert!(truthful, "{name}: {sent:?}");
    }
    bad.into_iter().chain(sound).collect()
}

/// Waits until no connection of a caller is open.
async fn abandoned(gateway: &Gateway) {
    loop {
        let metrics = reqwest::get(gateway.operations("/metrics")).await.unwrap().text().await.unwrap();
        let open = metrics.lines().filter(|line| line.starts_with("clearway_connections_open{"));
        if open.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum::<u64>() == 0 {
            return;
        }
    }
}

#[tokio::test]
async fn a_callers_slow_line() {
    disturb("caller, latency", Way::Both, Fault::Latency(Duration::from_millis(50))).await;
}

#[tokio::test]
async fn a_callers_line_that_stalls() {
    disturb("caller, stall", Way::Both, Fault::Stall).await;
}

#[tokio::test]
async fn a_callers_line_that_loses_what_it_says() {
    disturb("caller, black hole there", Way::There, Fault::BlackHole).await;
}

#[tokio::test]
async fn a_callers_line_that_loses_what_it_is_told() {
    disturb("caller, black hole back", Way::Back, Fault::BlackHole).await;
}

#[tokio::test]
async fn a_callers_line_that_drips() {
    disturb("caller, drip there", Way::There, Fault::Drip(Duration::from_millis(50))).await;
}

#[tokio::test]
async fn a_callers_line_from_which_answers_drip() {
    disturb("caller, drip back", Way::Back, Fault::Drip(Duration::from_millis(2))).await;
}

#[tokio::test]
async fn a_caller_who_closes_his_half() {
    disturb("caller, half-close there", Way::There, Fault::HalfClose).await;
}

#[tokio::test]
async fn a_caller_who_no_longer_listens() {
    disturb("caller, half-close back", Way::Back, Fault::HalfClose).await;
}

#[tokio::test]
async fn a_callers_line_that_is_reset() {
    disturb("caller, reset", Way::Both, Fault::Reset).await;
}
