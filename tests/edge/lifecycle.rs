//! How a process ends, and how the next one takes over.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::Request;
use tokio::sync::Semaphore;

use super::{authorized, millis, raw};
use crate::harness::gateway::supervised;
use crate::harness::secure::bearer;
use crate::harness::token::outside_token;
use crate::harness::wire::{Wire, tls_config};
use crate::harness::{Backend, Gateway, Reply, Site, h2c, within};

/// The stock engine sleeps its whole grace period, 300 s by default, even when nothing is under way.
#[tokio::test]
async fn an_idle_process_ends_at_once() {
    let backend = Backend::agreeable().await;
    let site = Site::secure(&backend);
    let gateway = site.start().await;
    let token = bearer(&gateway).await;
    // Kept connections of both protocols, one that has not asked yet, one within its handshake.
    let mut kept = Wire::tls(gateway.address("public"), None).await.unwrap();
    assert_eq!(kept.ask(authorized("GET", "/shop/items", &token, "")).await.status, 200);
    let (mut send, connection) = h2c::connect_with(gateway.address("public"), tls_config(None, &["h2"])).await;
    let get = Request::get("https://localhost/shop/items").header("authorization", format!("Bearer {token}"));
    assert_eq!(h2c::ask(&mut send, get.body(()).unwrap()).await.unwrap().0, 200);
    let silent = Wire::tls(gateway.address("public"), None).await.unwrap();
    let begun = tokio::net::TcpStream::connect(gateway.address("public")).await.unwrap();
    let since = Instant::now();
    assert_eq!(gateway.stop().await.code(), Some(0));
    // A second for whoever was let in and has not asked yet; the handshake timeout is 5 s, the drain timeout 20 s.
    assert!(since.elapsed() < Duration::from_secs(4), "{:?}", since.elapsed());
    assert!(kept.closed().await);
    let _ = within("the end of HTTP/2", connection).await;
    drop((silent, begun));
}

/// What is under way at the end of the stock engine's grace period is cut; here it is waited for, to a bound.
#[tokio::test]
async fn work_is_finished_first_on_both_protocols_and_cut_at_the_bound() {
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let backend = Backend::start(move |seen| match seen.path() {
        "/v1/items/stuck" => Reply::Hang,
        _ => Reply::Wait(Arc::clone(&held), Box::new(Reply::json(r#"{"late":true}"#))),
    })
    .await;
    let site = Site::secure(&backend);
    site.edit("config/gateway.yaml", "drain_timeout: 20s", "drain_timeout: 3s");
    let mut gateway = site.start().await;
    let token = bearer(&gateway).await;
    let mut http1 = Wire::tls(gateway.address("public"), None).await.unwrap();
    http1.send(authorized("GET", "/shop/items/late", &token, "")).await;
    let mut stuck = Wire::tls(gateway.address("public"), None).await.unwrap();
    stuck.send(authorized("GET", "/shop/items/stuck", &token, "")).await;
    let (mut send, _) = h2c::connect_with(gateway.address("public"), tls_config(None, &["h2"])).await;
    let get = Request::get("https://localhost/shop/items/late").header("authorization", format!("Bearer {token}"));
    let http2 = tokio::spawn(async move { h2c::ask(&mut send, get.body(()).unwrap()).await });
    backend.arrived(3).await;
    let since = Instant::now();
    gateway.signal("TERM");
    gateway.says("draining", 1).await;
    gate.add_permits(2);
    let answer = http1.answer().await;
    assert_eq!((answer.status, answer.json()["late"] == true), (200, true));
    assert!(http1.closed().await);
    assert_eq!(http2.await.unwrap().unwrap().0, 200);
    assert_eq!(gateway.ended().await.code(), Some(0), "{}", gateway.log());
    let took = since.elapsed();
    assert!(took >= millis(2_500) && took < Duration::from_secs(8), "the bound is what ended it: {took:?}");
    assert_eq!(gateway.said("cut=1"), 1, "{}", gateway.log());
    assert!(stuck.try_answer().await.is_none());
}

/// Between two processes that each open a socket of their own, whoever connects is refused.
#[tokio::test]
async fn a_restart_under_a_supervisor_refuses_nobody() {
    let backend = Backend::agreeable().await;
    let site = Site::plain(&[&backend]);
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    site.edit("config/gateway.yaml", "address: '127.0.0.1:0'", &format!("address: '{address}'"));
    let mut gateway = Gateway::start_with(&site.config(), &socket).await;
    assert_eq!(gateway.address("public"), address);
    let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let callers: Vec<_> = (0..6)
        .map(|_| {
            let (stop, served) = (Arc::clone(&stop), Arc::clone(&served));
            tokio::spawn(async move {
                let get = authorized("GET", "/shop/items", &outside_token("acme", "app"), "Connection: close\r\n");
                while !stop.load(Ordering::Relaxed) {
                    // A connection each: a refused one panics here, a lost one in `ask`.
                    let mut wire = Wire::connect(address).await;
                    assert_eq!(wire.ask(&get).await.status, 200);
                    served.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let more = async |count: usize| {
        let goal = served.load(Ordering::Relaxed) + count;
        let mut tick = tokio::time::interval(millis(5));
        let reached = async {
            while served.load(Ordering::Relaxed) < goal {
                tick.tick().await;
            }
        };
        within("answers", reached).await;
    };
    for _ in 0..3 {
        more(30).await;
        gateway.signal("TERM");
        assert_eq!(gateway.ended().await.code(), Some(0), "{}", gateway.log());
        // Whoever connects now waits in the kernel's queue.
        gateway = Gateway::start_with(&site.config(), &socket).await;
        more(30).await;
    }
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.unwrap();
    }
    let total = served.load(Ordering::Relaxed);
    println!("{total} connections over 3 restarts, none refused");
    assert_eq!(backend.total(), total, "and none served twice");
}

/// The stock engine hands its sockets over through a file that anybody may open (mode 0666, in /tmp). Here a socket is
/// only ever inherited, and one that fits no listener is a mistake.
#[tokio::test]
async fn a_socket_that_fits_no_listener_is_not_served() {
    let backend = Backend::agreeable().await;
    let site = Site::plain(&[&backend]);
    let stray = TcpListener::bind("127.0.0.1:0").unwrap();
    let output = supervised(&site.config(), &stray).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("no listener has this address"), "{said}");
    // Nothing that the process makes lets another take its sockets.
    let gateway = site.start().await;
    let sockets = std::fs::read_to_string("/proc/net/unix").unwrap();
    let folder = site.config().parent().unwrap().to_str().unwrap().to_owned();
    assert!(!sockets.lines().any(|line| line.contains(&folder)), "no socket file of ours");
    let mut wire = Wire::connect(gateway.address("public")).await;
    assert_eq!(wire.ask(raw("GET", "/shop/items", "")).await.status, 200);
}
