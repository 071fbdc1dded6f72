//! Bodies of every size, through both lanes, on both protocols, to both kinds of back end.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::StreamBody;
use hyper::body::Frame;
use tokio::sync::mpsc;

use super::millis;
use crate::harness::backend::{pattern, sha256};
use crate::harness::bank::Bank;
use crate::harness::certificates::http_builder;
use crate::harness::secure::bearer;
use crate::harness::token::outside_token;
use crate::harness::{Backend, Reply, Site, problem, refused};

const MIB: usize = 1 << 20;
/// Around what the stock engine buffers for a retry (64 KiB), and far beyond.
const SIZES: [usize; 7] = [0, 1, 65_535, 65_536, 65_537, 131_073, 5 * MIB];

/// An API with an operation whose body is held and checked, `box`, however large.
fn site(backend: &Backend) -> Site {
    let site = Site::secure(backend);
    site.limits("buffered_bytes_max: 8MiB");
    add_box(&site);
    site
}

fn add_box(site: &Site) {
    site.edit(
        "openapi/shop.yaml",
        "  /notes:\n",
        "  /box:
    post:
      operationId: box
      summary: Box
      tags: [items]
      requestBody: { content: { application/json: { schema: { type: object } } } }
      responses: { \"200\": { description: Taken } }
  /notes:
",
    );
}

/// A JSON document of at least this size, or nothing at all.
fn document(size: usize) -> Vec<u8> {
    let filling = size.saturating_sub(br#"{"x":""}"#.len());
    format!("{{\"x\":\"{}\"}}", "a".repeat(filling)).into_bytes()
}

fn clients() -> [(&'static str, reqwest::Client); 2] {
    [("HTTP/1.1", http_builder(None).http1_only().build().unwrap()), ("HTTP/2", http_builder(None).build().unwrap())]
}

/// A body in pieces of no announced length.
fn pieces(body: Vec<u8>, size: usize) -> reqwest::Body {
    let chunks: Vec<Bytes> = body.chunks(size).map(Bytes::copy_from_slice).collect();
    let frames = chunks.into_iter().map(|chunk| Ok::<_, std::io::Error>(Frame::data(chunk)));
    reqwest::Body::wrap(StreamBody::new(futures_util::stream::iter(frames)))
}

/// A body that is what comes out of a channel.
struct Fed(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Fed {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

fn fed() -> (mpsc::Sender<Bytes>, reqwest::Body) {
    let (sender, receiver) = mpsc::channel(1);
    (sender, reqwest::Body::wrap(Fed(receiver)))
}

/// A body whose pieces come at intervals.
fn slowly(count: usize, piece: &'static [u8], every: Duration) -> reqwest::Body {
    let (sender, body) = fed();
    tokio::spawn(async move {
        let mut tick = tokio::time::interval(every);
        for _ in 0..count {
            tick.tick().await;
            if sender.send(Bytes::from_static(piece)).await.is_err() {
                return;
            }
        }
    });
    body
}

/// The stock engine sends a header and no body to the back end when a filter has read more than 64 KiB.
#[tokio::test]
async fn bodies_of_every_size_arrive_in_both_lanes_and_on_both_protocols() {
    let backend = Backend::agreeable().await;
    let site = site(&backend);
    let gateway = site.start().await;
    let token = bearer(&gateway).await;
    for (version, client) in clients() {
        for (path, kind) in [("/shop/upload", "application/octet-stream"), ("/shop/box", "application/json")] {
            for size in SIZES {
                let body = match (kind, size) {
                    ("application/json", size) if size > 8 => document(size),
                    ("application/json", _) => continue,
                    _ => (0..size as u64).map(pattern).collect(),
                };
                for (framing, sent) in [("length", body.clone().into()), ("chunks", pieces(body.clone(), 10_007))] {
                    let what = format!("{version} {path} {size} by {framing}");
                    let request = client.post(gateway.https("public", path)).bearer_auth(&token);
                    let response = request.header("content-type", kind).body(sent).send().await.unwrap();
                    assert_eq!(response.status(), 200, "{what}");
                    let seen = backend.last();
                    assert!(seen.complete, "{what}");
                    assert_eq!(seen.body_bytes, body.len() as u64, "{what}");
                    assert_eq!(seen.body_sha256, sha256(&body), "{what}");
                }
            }
        }
    }
}

/// They share a connection to the back end, whose window must not be theirs alone.
#[tokio::test]
async fn answers_that_nobody_reads_stop_no_others() {
    let (backend, bank) = (Backend::agreeable().await, Bank::plain(|_| None).await);
    let site = Site::secure(&backend);
    site.backends(&[bank.url()], "http2: true");
    let gateway = site.start().await;
    let token = bearer(&gateway).await;
    let [(_, client), _] = clients();
    let ask = |bytes: usize| {
        let request = client.post(gateway.https("public", "/shop/notes")).bearer_auth(&token);
        request.header("content-type", "text/plain").header("x-answer-bytes", bytes).body("x").send()
    };
    let mut unread = Vec::new();
    for _ in 0..12 {
        let answer = ask(16 * MIB).await.unwrap();
        assert_eq!(answer.status(), 200);
        unread.push(answer);
    }
    let small = async { ask(1000).await.unwrap().bytes().await.unwrap() };
    let small = tokio::time::timeout(Duration::from_secs(5), small).await.expect("an answer while others wait");
    assert_eq!(small.len(), 1000);
    assert!(bank.visits().iter().all(|visit| visit.connection == 0), "all over one connection");
    drop(unread);
}

/// A frame, or the last chunk, is what says that there was none: some clients end every request so.
#[tokio::test]
async fn a_body_of_no_bytes_is_none_where_none_is_taken() {
    let backend = Backend::agreeable().await;
    let site = Site::secure(&backend);
    let gateway = site.start().await;
    let token = bearer(&gateway).await;
    for (version, client) in clients() {
        for (name, body, status) in [
            ("nothing", pieces(Vec::new(), 1), 200),
            ("one byte", pieces(vec![b'x'], 1), 400),
            ("one byte of a stated length", reqwest::Body::from("x"), 400),
        ] {
            let before = backend.total();
            let mut request = client.get(gateway.https("public", "/shop/items")).bearer_auth(&token);
            if version == "HTTP/1.1" && body.as_bytes().is_none() {
                request = request.header("transfer-encoding", "chunked"); // Else the client sends no body with a GET.
            }
            let response = request.body(body).send().await.unwrap();
            assert_eq!(response.status(), status, "{version}: {name}");
            let seen = backend.total() - before;
            assert_eq!(seen, usize::from(status == 200), "{version}: {name}");
            if status == 200 {
                assert_eq!(backend.last().body_bytes, 0, "{version}: {name}");
            }
        }
    }
}

/// A back end that speaks HTTP/2 gets the same bytes.
#[tokio::test]
async fn bodies_of_every_size_arrive_at_an_http2_back_end() {
    let (backend, bank) = (Backend::agreeable().await, Bank::plain(|_| None).await);
    let site = site(&backend);
    site.backends(&[bank.url()], "http2: true");
    let gateway = site.start().await;
    let token = bearer(&gateway).await;
    for (version, client) in clients() {
        for size in SIZES {
            let octets: Vec<u8> = (0..size as u64).map(pattern).collect();
            for (path, kind, body) in [
                ("/shop/upload", "application/octet-stream", octets),
                ("/shop/box", "application/json", document(size)),
            ] {
                let what = format!("{version} {path} {size}");
                let request = client.post(gateway.https("public", path)).bearer_auth(&token);
                let request = request.header("content-type", kind).header("expect", "100-continue");
                let response = request.body(body.clone()).send().await.unwrap();
                assert_eq!(response.status(), 200, "{what}");
                let visit = bank.last();
                assert_eq!((visit.version, visit.complete), (http::Version::HTTP_2, true), "{what}");
                assert_eq!((visit.body_bytes, visit.body_sha256), (body.len() as u64, sha256(&body)), "{what}");
                assert!(!visit.fields.contains_key("expect"), "{what}");
            }
        }
    }
    assert_eq!(backend.total(), 0);
}

/// The stock engine starts the read timeout of an HTTP/2 back end with the request's header: an upload that takes
/// longer was a 502, although every byte came in time.
#[tokio::test]
async fn a_slow_upload_is_not_a_slow_back_end() {
    let (backend, bank) = (Backend::agreeable().await, Bank::plain(|_| None).await);
    for (back_end, url, http2) in [("HTTP/1.1", backend.url(), false), ("HTTP/2", bank.url(), true)] {
        let site = site(&backend);
        let timeouts = "timeouts: { connect: 1s, read: 500ms, write: 500ms, total: 10s }";
        site.backends(&[url], &format!("http2: {http2}\n{timeouts}"));
        let gateway = site.start().await;
        let token = bearer(&gateway).await;
        let uploads = clients().into_iter().flat_map(|(version, client)| {
            [("/shop/upload", "application/octet-stream"), ("/shop/box", "application/json")].map(|(path, kind)| {
                let request = client.post(gateway.https("public", path)).bearer_auth(&token);
                // Eight pieces, 150 ms apart: more than twice the read timeout, and no pause near it.
                let piece: &[u8] = if path == "/shop/box" { b" " } else { b"0123456789" };
                let body = slowly(8, piece, millis(150));
                let sent = request.header("content-type", kind).body(body).send();
                async move { (version, path, sent.await.unwrap().status().as_u16()) }
            })
        });
        for (version, path, status) in futures_util::future::join_all(uploads).await {
            // Eight spaces are no JSON document: the held lane read them all and says so itself.
            let expected = if path == "/shop/box" { 400 } else { 200 };
            assert_eq!(status, expected, "{version} to {back_end} {path}");
        }
    }
    assert_eq!(backend.last().body_bytes, 80);
    assert_eq!(bank.last().body_bytes, 80);
}

/// Header and body of an answer, beyond what either side buffers.
#[tokio::test]
async fn answers_of_every_size_arrive_in_both_lanes_and_on_both_protocols() {
    let backend = Backend::start(|seen| match seen.path().rsplit_once('/') {
        Some((_, count)) if seen.path().contains("/download/") => Reply::Stream(count.parse().unwrap()),
        _ => Reply::Answer(200, vec![("content-type", "application/json".into())], document(5 * MIB)),
    })
    .await;
    let site = site(&backend);
    // Reading and rewriting this answer is an obligation: the held lane.
    site.write(
        "policies/redact.cedar",
        "@id(\"own.redact\")\n@redact(\"/secret\")\npermit (principal, action == Action::\"shop.listItems\", resource);\n",
    );
    let gateway = site.start().await;
    let token = bearer(&gateway).await;
    for (version, client) in clients() {
        let get = async |path: &str| {
            let request = client.get(gateway.https("public", path)).bearer_auth(&token);
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), 200, "{version} {path}");
            response.bytes().await.unwrap()
        };
        for size in SIZES {
            let expected: Vec<u8> = (0..size as u64).map(pattern).collect();
            assert!(get(&format!("/shop/download/{size}")).await == expected, "{version} {size}");
        }
        assert_eq!(get("/shop/items").await.len(), document(5 * MIB).len(), "{version}, held");
    }
}

/// The number of bytes that all requests may hold together, filled from outside by a client each.
#[tokio::test]
async fn bodies_held_at_once_share_one_budget_and_give_it_back() {
    let backend = Backend::agreeable().await;
    let site = Site::plain(&[&backend]);
    site.limits("buffered_bytes_max: 1MiB, buffered_total_bytes_max: 2MiB, buffered_tenant_bytes_max: 2MiB");
    add_box(&site);
    let gateway = site.start().await;
    let client = reqwest::Client::new();
    let post = |who: usize, body: reqwest::Body| {
        // Each of a tenant of its own, so that no share but the whole is spent.
        let token = outside_token(&format!("tenant-{who}"), &format!("client-{who}"));
        let request = client.post(gateway.url("/shop/box")).bearer_auth(token);
        request.header("content-type", "application/json").body(body).send()
    };
    // Bodies of 900 KiB that are all there but for their last byte: there is room for two. They come one after the other,
    // because of three that meet at the bound more than one may find no room.
    let whole = document(900 << 10);
    let (begin, end) = whole.split_at(whole.len() - 1);
    let (now, max) = ("what=\"body_bytes\"", (2 << 20) as f64);
    let reaches = async |what: &'static str, metric: &str, label: &str, least: f64| {
        let looked = async {
            let mut look = tokio::time::interval(millis(10));
            while gateway.metric(metric, label).await < least {
                look.tick().await;
            }
        };
        crate::harness::within(what, looked).await;
    };
    let mut held = Vec::new();
    for who in 0..3 {
        let (sender, body) = fed();
        let answer = tokio::spawn(post(who, body));
        sender.send(Bytes::copy_from_slice(begin)).await.unwrap();
        held.push((sender, answer));
        if who < 2 {
            let least = ((who + 1) * (890 << 10)) as f64;
            reaches("the metric to show a body more", "clearway_held", now, least).await;
        }
    }
    // The third finds no room; it is told at once.
    reaches("a refusal for want of room", "clearway_refusals_total", "overloaded", 1.0).await;
    assert_eq!(gateway.metric("clearway_held_max", now).await, max);
    let (status, code) = problem(post(4, document(900 << 10).into()).await.unwrap()).await;
    assert_eq!((status, code), refused(503, "overloaded"));
    let mut statuses = Vec::new();
    for (sender, answer) in held {
        // The refused one may have been cut off while it was still sending.
        let _ = sender.send(Bytes::copy_from_slice(end)).await;
        drop(sender);
        statuses.push(answer.await.unwrap().map_or(503, |response| response.status().as_u16()));
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 503]);
    assert_eq!(post(5, document(900 << 10).into()).await.unwrap().status(), 200, "there is room again");
    assert_eq!(gateway.metric("clearway_held", now).await, 0.0);
}
