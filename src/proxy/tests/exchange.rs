//! The whole lane's exchange against real sockets.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use pingora_http::RequestHeader;
use secrecy::SecretString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::proxy::exchange::{Answer, Parcel, send};
use crate::proxy::failure::Fault;
use crate::upstream::testing::{Act, Server, dead_port, provider, settings};
use crate::upstream::{BackendHealth, CredentialSettings, Picked, Pool, PoolSettings, Tried};

fn pool(settings: PoolSettings) -> Arc<Pool> {
    provider();
    Pool::new(settings, None).map_err(|errors| format!("{errors:?}")).unwrap()
}

async fn exchange_within(
    pool: &Arc<Pool>,
    method: Method,
    body: Option<&'static [u8]>,
    limit: Duration,
) -> Result<Answer, Fault> {
    let mut request = RequestHeader::build(method, b"/x", None).unwrap();
    if let Some(body) = body {
        request.insert_header("content-length", body.len()).unwrap();
    }
    let body = body.map(Bytes::from_static);
    let mut parcel = Parcel { pool: Arc::clone(pool), request, body, deadline: Instant::now() + limit };
    send(&mut parcel, &mut Tried::default()).await
}

async fn exchange(pool: &Arc<Pool>, method: Method, body: Option<&'static [u8]>) -> Result<Answer, Fault> {
    exchange_within(pool, method, body, Duration::from_secs(10)).await
}

/// Reads the answer to its end and gives the connection back.
async fn finish(mut answer: Answer) -> (u16, String) {
    let mut body = Vec::new();
    while let Some(chunk) = answer.body.next().await.unwrap() {
        body.extend_from_slice(&chunk);
    }
    let status = answer.header.status.as_u16();
    answer.body.end(true).await;
    (status, String::from_utf8(body).unwrap())
}

#[tokio::test]
async fn a_refused_connection_sends_any_method_to_the_next_back_end() {
    let mut server = Server::plain(|_| Act::ok("{}")).await;
    let dead = |port| format!("http://127.0.0.1:{port}");
    for method in [Method::GET, Method::POST] {
        let pool = pool(settings(&[dead(dead_port()), dead(dead_port()), server.url()]));
        let answer = exchange(&pool, method.clone(), Some(b"pay")).await.unwrap();
        assert_eq!(finish(answer).await.0, 200);
        let seen = server.next().await;
        assert!(seen.head.starts_with(method.as_str()));
        assert_eq!(seen.body, b"pay");
    }
    assert_eq!(server.count(), 0, "each was sent once");
    let pool = pool(settings(&[dead(dead_port())]));
    let fault = exchange(&pool, Method::GET, None).await.err().unwrap();
    assert_eq!(fault.problem().unwrap().status(), 503);
}

/// A back end that answers its first request on a connection and closes at the second, as after an idle timeout.
async fn closing() -> Server {
    Server::plain(|seen| if seen.ordinal == 0 { Act::ok("{}") } else { Act::Close }).await
}

#[tokio::test]
async fn what_a_back_end_may_have_processed_is_not_sent_again_unless_idempotent() {
    for (method, body, again) in [
        (Method::POST, Some(&b"pay"[..]), false),
        (Method::POST, None, false),
        (Method::PATCH, Some(&b"pay"[..]), false),
        (Method::GET, None, true),
        (Method::PUT, Some(&b"set"[..]), true),
        (Method::DELETE, None, true),
    ] {
        let (mut one, mut two) = (closing().await, closing().await);
        let pool = pool(settings(&[one.url(), two.url()]));
        let warm = exchange(&pool, Method::GET, None).await.unwrap();
        finish(warm).await;
        // Whichever was used holds a connection now; make the other one unattractive until then.
        let (used, other) = if one.connections() == 1 { (&mut one, &mut two) } else { (&mut two, &mut one) };
        let busy = busy_other(&pool, &used.url());
        used.next().await;
        let outcome = exchange(&pool, method.clone(), body).await;
        drop(busy);
        assert_eq!(used.count(), 1, "{method}: reached the first once");
        assert_eq!(other.count(), usize::from(again), "{method}: the second");
        match outcome {
            Ok(answer) => assert_eq!((finish(answer).await.0, again), (200, true), "{method}"),
            Err(fault) => assert_eq!((fault.code(), again), ("broken", false), "{method}"),
        }
    }
}

/// Requests under way on every back end but this one, so that the balancer prefers it.
fn busy_other(pool: &Arc<Pool>, preferred: &str) -> Vec<Picked> {
    let mut held = Vec::new();
    for _ in 0..40 {
        let mut tried = Tried::default();
        while let Ok(picked) = pool.pick(&mut tried, std::time::Instant::now()) {
            if &**picked.url() != preferred {
                held.push(picked);
            }
        }
    }
    held
}

#[tokio::test]
async fn a_new_connection_that_breaks_blames_the_back_end() {
    let mut server = Server::plain(|_| Act::Close).await;
    let pool = pool(settings(&[server.url()]));
    for _ in 0..3 {
        assert_eq!(exchange(&pool, Method::GET, None).await.err().unwrap().code(), "broken");
    }
    assert_eq!(server.count(), 3, "each was sent once");
    assert_eq!(pool.status(std::time::Instant::now())[0].state, BackendHealth::CircuitOpen);
    let fault = exchange(&pool, Method::GET, None).await.err().unwrap();
    assert_eq!((fault.code(), server.count()), ("no-backend", 0), "an open circuit is not knocked at");
}

#[tokio::test]
async fn the_deadline_ends_a_silent_exchange_and_nothing_is_retried() {
    let mut one = Server::plain(|_| Act::Hang).await;
    let mut two = Server::plain(|_| Act::Hang).await;
    let pool = pool(settings(&[one.url(), two.url()]));
    let fault = exchange_within(&pool, Method::GET, None, Duration::from_millis(150)).await.err().unwrap();
    assert_eq!(fault, Fault::TimedOut);
    assert_eq!(one.count() + two.count(), 1);
}

#[tokio::test]
async fn interim_answers_are_passed_over_and_strange_ones_refused() {
    let last = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
    let hint = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let large = format!("HTTP/1.1 200 OK\r\nX: {}\r\nContent-Length: 0\r\n\r\n", "x".repeat(70_000));
    for (name, bytes, expected) in [
        ("hints", format!("{hint}{hint}{last}"), Ok(200)),
        ("hints without end", hint.repeat(20), Err("broken")),
        (
            "an upgrade nobody asked for",
            "HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n".into(),
            Err("broken"),
        ),
        ("no HTTP", "SSH-2.0-OpenSSH\r\n\r\n".into(), Err("broken")),
        ("a giant header", large, Err("broken")),
        ("two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab".into(), Err("broken")),
        ("no content", "HTTP/1.1 204 X\r\n\r\n".into(), Ok(204)),
    ] {
        let server = Server::plain(move |_| Act::AnswerThenClose(bytes.clone().into_bytes())).await;
        let outcome = exchange(&pool(settings(&[server.url()])), Method::GET, None).await;
        let seen = outcome.map(|answer| answer.header.status.as_u16()).map_err(|fault| fault.code());
        assert_eq!(seen, expected, "{name}");
    }
}

#[tokio::test]
async fn only_a_cleanly_ended_exchange_leaves_its_connection_behind() {
    let server = Server::plain(|_| Act::ok("{}")).await;
    let pool = pool(settings(&[server.url()]));
    for _ in 0..3 {
        finish(exchange(&pool, Method::GET, None).await.unwrap()).await;
    }
    assert_eq!(server.connections(), 1);
    exchange(&pool, Method::GET, None).await.unwrap().body.end(false).await;
    finish(exchange(&pool, Method::GET, None).await.unwrap()).await;
    assert_eq!(server.connections(), 2, "an unread answer takes its connection along");
    drop(exchange(&pool, Method::GET, None).await.unwrap());
    finish(exchange(&pool, Method::GET, None).await.unwrap()).await;
    assert_eq!(server.connections(), 3, "and so does a caller that goes away");
}

#[tokio::test]
async fn a_body_that_breaks_off_is_told_from_one_that_ends() {
    let half = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf".to_vec();
    let server = Server::plain(move |_| Act::AnswerThenClose(half.clone())).await;
    let pool = pool(settings(&[server.url()]));
    let mut answer = exchange(&pool, Method::GET, None).await.unwrap();
    assert_eq!(answer.body.next().await.unwrap().unwrap(), "half");
    assert_eq!(answer.body.next().await.err().unwrap().code(), "broken");
}

#[tokio::test]
async fn an_early_refusal_of_a_large_body_is_heard() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = [0; 1024];
        let _ = stream.read(&mut head).await.unwrap();
        stream.write_all(b"HTTP/1.1 413 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut rest = vec![0; 1 << 16];
        while stream.read(&mut rest).await.is_ok_and(|n| n > 0) {}
    });
    let body: &'static [u8] = Box::leak(vec![b'x'; 4 << 20].into_boxed_slice());
    let answer = exchange(&pool(settings(&[url])), Method::POST, Some(body)).await.unwrap();
    assert_eq!(finish(answer).await.0, 413);
}

#[tokio::test]
async fn a_refused_token_is_renewed_once_and_only_what_is_idempotent_sent_again() {
    for (method, body, expected, requests) in
        [(Method::GET, None, Ok(200), 2), (Method::POST, Some(&b"pay"[..]), Err("credential-refused"), 1)]
    {
        let issued = Arc::new(AtomicUsize::new(0));
        let counter = issued.clone();
        let tokens = Server::plain(move |_| {
            let number = counter.fetch_add(1, Ordering::SeqCst);
            Act::ok(&format!(r#"{{"access_token":"t{number}","token_type":"Bearer","expires_in":100}}"#))
        })
        .await;
        let mut bank =
            Server::plain(|seen| if seen.head.contains("Bearer t0") { Act::status(401, "{}") } else { Act::ok("{}") })
                .await;
        let mut settings = settings(&[bank.url()]);
        settings.credential = CredentialSettings::OAuth2 {
            token_url: format!("{}/token", tokens.url()),
            client_id: "gateway".into(),
            client_secret: SecretString::from("s".to_owned()),
            scopes: vec![],
        };
        let outcome = exchange(&pool(settings), method.clone(), body).await;
        let seen = outcome.map(|answer| answer.header.status.as_u16()).map_err(|fault| fault.code());
        assert_eq!((seen, bank.count()), (expected, requests), "{method}");
    }
}

/// An HTTP/2 back end by prior knowledge that refuses the first stream it is offered.
async fn http2(refuse: usize) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let offered = Arc::new(AtomicUsize::new(0));
    let counter = offered.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let counter = counter.clone();
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((mut request, mut respond))) = connection.accept().await {
                    if counter.fetch_add(1, Ordering::SeqCst) < refuse {
                        respond.send_reset(h2::Reason::REFUSED_STREAM);
                        continue;
                    }
                    tokio::spawn(async move {
                        assert!(request.headers().get("host").is_none(), "the authority is a pseudo-header");
                        let echoed = format!("{} {}", request.method(), request.uri());
                        while request.body_mut().data().await.is_some() {}
                        let mut body = respond.send_response(http::Response::new(()), false).unwrap();
                        body.send_data(echoed.into(), true).unwrap();
                    });
                }
            });
        }
    });
    (url, offered)
}

#[tokio::test]
async fn http2_back_ends_share_one_connection_and_a_refused_stream_is_retried_if_idempotent() {
    let (url, offered) = http2(0).await;
    let mut plain = settings(std::slice::from_ref(&url));
    plain.http2 = true;
    let held = pool(plain);
    for method in [Method::GET, Method::POST] {
        let (status, body) = finish(exchange(&held, method.clone(), Some(b"hello")).await.unwrap()).await;
        assert_eq!((status, body), (200, format!("{method} {url}/x")));
    }
    assert_eq!(offered.load(Ordering::SeqCst), 2);
    for (method, expected) in [(Method::GET, Ok(200)), (Method::POST, Err("broken"))] {
        let ((one, first), (two, second)) = (http2(1).await, http2(0).await);
        let mut both = settings(&[one.clone(), two]);
        both.http2 = true;
        let pool = pool(both);
        let busy = busy_other(&pool, &one);
        let outcome = exchange(&pool, method.clone(), None).await;
        drop(busy);
        let seen = outcome.map(|answer| answer.header.status.as_u16()).map_err(|fault| fault.code());
        assert_eq!(seen, expected, "{method}");
        let streams = first.load(Ordering::SeqCst) + second.load(Ordering::SeqCst);
        assert_eq!(streams, if expected.is_ok() { 2 } else { 1 }, "{method}");
    }
}
