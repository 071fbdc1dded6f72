//! A bad line between the gateway and a back end.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::rig::{DEADLINE, KINDS, SLACK, Sent, balance, gated, recorded, round, site, until_well};
use crate::harness::Backend;
use crate::harness::link::{Fault, Link, Way};

/// The statuses that say the truth about a back end that cannot be reached, fails, or is late.
const TRUTHFUL: &[u16] = &[502, 503, 504];

/// Disturbs the line once before requests are made and once while they are under way, and mends it each time.
async fn disturb(name: &str, way: Way, fault: Fault, truthful: &[u16]) {
    let gate = Arc::new(Semaphore::new(0));
    let (store, depot) = (gated(&gate).await, Backend::agreeable().await);
    let link = Link::to(store.address);
    let site = site(&[link.url()], &depot.url());
    let gateway = site.start().await;
    let address = gateway.address("public");
    let apis = ["shop", "depot"];
    let mut sent = round(address, "", &apis).await;
    assert!(sent.iter().all(|sent| sent.status() == 200), "{name}: {sent:?}");

    link.disturb(way, fault);
    let before = round(address, "", &apis).await;
    sent.extend(recover(name, &link, &before, address, truthful).await);

    // The same once more, with every request at the back end and its answer on the way.
    let arrived = store.total();
    let during = tokio::spawn(round(address, "gate", &["shop"]));
    store.arrived(arrived + KINDS.len()).await;
    link.disturb(way, fault);
    let elsewhere = round(address, "", &["depot"]).await;
    gate.add_permits(100);
    let mut during = during.await.unwrap();
    during.extend(elsewhere);
    sent.extend(recover(name, &link, &during, address, truthful).await);
    sent.extend(before);
    sent.extend(during);

    assert_eq!(gateway.stop().await.code(), Some(0));
    balance(name, &sent, &[&store, &depot], Some(&recorded(&site)));
    println!("{name}: connections, bytes there, bytes back, bytes lost on the line: {:?}", link.tally());
}

/// Judges what happened on the bad line, mends it, and waits until everything is well again.
async fn recover(name: &str, link: &Link, bad: &[Sent], address: std::net::SocketAddr, truthful: &[u16]) -> Vec<Sent> {
    for sent in bad {
        assert!(sent.took < DEADLINE + SLACK, "{name}: too late: {sent:?}");
        if sent.api == "depot" {
            assert_eq!(sent.status(), 200, "{name}: another institution suffers: {sent:?}");
        } else {
            assert!(truthful.contains(&sent.status()), "{name}: {sent:?}");
        }
    }
    link.mend();
    let mut sent = Vec::new();
    for kind in KINDS {
        sent.extend(until_well(address, "shop", kind).await);
    }
    sent
}

#[tokio::test]
async fn a_slow_line_to_a_back_end_costs_time_and_nothing_else() {
    disturb("back end, latency", Way::Both, Fault::Latency(Duration::from_millis(50)), &[200]).await;
}

#[tokio::test]
async fn a_line_to_a_back_end_that_stalls() {
    disturb("back end, stall", Way::Both, Fault::Stall, &[503, 504]).await;
}

#[tokio::test]
async fn a_black_hole_before_a_back_end() {
    disturb("back end, black hole there", Way::There, Fault::BlackHole, &[200, 503, 504]).await;
}

#[tokio::test]
async fn a_black_hole_behind_a_back_end() {
    disturb("back end, black hole back", Way::Back, Fault::BlackHole, &[503, 504]).await;
}

#[tokio::test]
async fn a_line_from_a_back_end_that_drips() {
    disturb("back end, drip", Way::Back, Fault::Drip(Duration::from_millis(50)), TRUTHFUL).await;
}

#[tokio::test]
async fn a_line_to_a_back_end_half_closed() {
    // What is under way has arrived, and its answer may still come.
    disturb("back end, half-close there", Way::There, Fault::HalfClose, &[200, 502, 503]).await;
}

#[tokio::test]
async fn a_line_from_a_back_end_half_closed() {
    disturb("back end, half-close back", Way::Back, Fault::HalfClose, &[502, 503]).await;
}

#[tokio::test]
async fn a_line_to_a_back_end_that_is_reset() {
    disturb("back end, reset", Way::Both, Fault::Reset, &[502, 503]).await;
}

#[tokio::test]
async fn a_back_end_that_refuses_connections() {
    // Connections that are open go on.
    disturb("back end, refuse", Way::Both, Fault::Refuse, &[200, 503]).await;
}

#[tokio::test]
async fn a_back_end_that_is_gone() {
    disturb("back end, gone", Way::Both, Fault::Gone, &[502, 503]).await;
}
