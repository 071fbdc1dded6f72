//! No descriptors left: nobody new comes in, those who are in go on, and it passes.

use std::time::Duration;

use tokio::net::TcpStream;

use super::rig::{Caller, Kind, balance, recorded, site, until_well};
use crate::harness::gateway::Launch;
use crate::harness::{Backend, Gateway, within};

const DESCRIPTORS_MAX: usize = 96;
/// While it cannot accept anybody, in hundredths of a second per second.
const CPU_TICKS_MAX: u64 = 25;

/// CPU time of the process so far, in clock ticks (hundredths of a second on Linux).
fn cpu_ticks(gateway: &Gateway) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", gateway.pid())).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap() // utime, stime (proc_pid_stat(5))
}

fn descriptors(gateway: &Gateway) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", gateway.pid())).unwrap().count()
}

#[tokio::test]
async fn without_descriptors_nothing_spins_and_nothing_dies() {
    let (store, depot) = (Backend::agreeable().await, Backend::agreeable().await);
    let site = site(&[store.url()], &depot.url());
    // A health check would leave its descriptor to whoever asks next.
    site.edit("config/institutions.yaml", "breaker:", "health: { interval: 600s }\n        breaker:");
    let launch = Launch { prelude: format!("ulimit -n {DESCRIPTORS_MAX}"), ..Launch::default() };
    let gateway = Gateway::launch(&site.config(), &launch).await;
    let address = gateway.address("public");
    // Somebody who is in, with a connection to the back end that waits for the next request.
    let mut inside = Caller::new(address);
    let mut sent = vec![inside.call("shop", Kind::Read).await];
    assert_eq!(sent[0].status(), 200);

    let mut crowd = Vec::new();
    let exhausted = async {
        while gateway.said("accept") == 0 {
            crowd.push(TcpStream::connect(address).await.unwrap());
        }
    };
    within("the gateway to say that it cannot accept", exhausted).await;
    let held = descriptors(&gateway);
    assert!(held + 2 >= DESCRIPTORS_MAX, "{held} of {DESCRIPTORS_MAX}");

    let before = cpu_ticks(&gateway);
    tokio::time::sleep(Duration::from_secs(1)).await; // The second that is measured.
    let ticks = cpu_ticks(&gateway) - before;
    assert!(ticks <= CPU_TICKS_MAX, "{ticks} hundredths of a second of CPU in a second of doing nothing");
    assert!(gateway.said("accept") < 20, "the log is not flooded:\n{}", gateway.log());

    for kind in [Kind::Read, Kind::Create, Kind::Read] {
        sent.push(inside.call("shop", kind).await);
        let end = sent.last().unwrap();
        assert!(matches!(end.status(), 200 | 503), "who is in goes on, or hears that we cannot: {end:?}");
    }
    assert!(sent[1..].iter().any(|sent| sent.status() == 200), "{sent:?}");
    // For another institution a connection would be needed, and there is no descriptor for it; nor for what is streamed, whose
    // refusal ends the caller's connection too, for its body was not read: so that comes last. Where a kept connection could
    // not be had again, which the refusals above tell, its descriptor has become free, and either may be served.
    let freed = sent.iter().any(|sent| sent.status() == 503);
    for (api, kind) in [("depot", Kind::Create), ("shop", Kind::Note)] {
        let end = inside.call(api, kind).await;
        let expected = end.status() == 503 || (freed && end.status() == 200);
        assert!(expected, "our own want is not the caller's fault: {end:?} after {sent:?}");
        sent.push(end);
    }

    let crowded = crowd.len();
    drop(crowd);
    for api in ["shop", "depot"] {
        sent.extend(until_well(address, api, Kind::Create).await);
    }
    assert_eq!(gateway.stop().await.code(), Some(0));
    balance("no descriptors", &sent, &[&store, &depot], Some(&recorded(&site)));
    println!(
        "no descriptors: {held} of {DESCRIPTORS_MAX} held after {crowded} connections; {ticks} CPU ticks in a second"
    );
}
