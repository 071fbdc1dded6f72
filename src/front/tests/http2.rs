//! Requests of HTTP/2 and their answers, between the library's two ends.

use h2::client::SendRequest;
use http::{HeaderMap, Method, Request, StatusCode};
use tokio::io::duplex;
use tokio::sync::mpsc;

use super::*;
use crate::front::{Http2Exchange, accept_http2, http2_options};

/// A client, and the requests that it makes.
async fn connected() -> (SendRequest<Bytes>, mpsc::UnboundedReceiver<Http2Exchange>, watch::Sender<bool>) {
    let (near, far) = duplex(1 << 16);
    let (accepted, requests) = mpsc::unbounded_channel();
    let (drain, draining) = watch::channel(false);
    tokio::spawn(async move {
        let serve = |exchange| drop(accepted.send(exchange));
        accept_http2(far, Arc::default(), &http2_options(&patient()), &draining, serve).await;
    });
    let (send, connection) = h2::client::handshake(near).await.unwrap();
    tokio::spawn(connection);
    (send.ready().await.unwrap(), requests, drain)
}

fn request(method: Method) -> Request<()> {
    Request::builder().method(method).uri("https://a/b").body(()).unwrap()
}

fn header(status: u16) -> ResponseHeader {
    ResponseHeader::build_no_case(status, None).unwrap()
}

#[tokio::test]
async fn an_answer_is_one_and_says_nothing_of_connections() {
    let (mut send, mut requests, _drain) = connected().await;
    let (answer, _) = send.send_request(request(Method::GET), true).unwrap();
    let mut exchange = soon("a request", requests.recv()).await.unwrap();
    assert!(exchange.is_body_empty() && exchange.is_body_done() && exchange.downstream().is_none());
    assert!(exchange.write_trailers(HeaderMap::new()).is_err(), "before an answer");
    assert!(exchange.write_body(Bytes::from("x"), true).await.is_err(), "before an answer");
    let mut said = header(200);
    for name in ["connection", "keep-alive", "transfer-encoding", "upgrade", "proxy-connection", "x-own"] {
        said.insert_header(name, "x").unwrap();
    }
    exchange.write_header(said, false).unwrap();
    assert!(exchange.write_header(header(500), false).is_err(), "a second answer");
    assert!(exchange.write_header(header(103), false).is_err(), "too late for an interim one");
    exchange.write_body(Bytes::from("whole"), true).await.unwrap();
    assert!(exchange.write_body(Bytes::from("more"), true).await.is_err(), "behind its end");
    exchange.end().unwrap();
    exchange.shut(); // It has ended: nothing is taken back.
    assert_eq!((exchange.status(), exchange.body_bytes()), (Some(StatusCode::OK), (0, 5)));
    let answer = soon("an answer", answer).await.unwrap();
    let names: Vec<&str> = answer.headers().keys().map(http::HeaderName::as_str).collect();
    assert_eq!(names, ["x-own", "date"]);
    let mut body = answer.into_body();
    assert_eq!(soon("a body", body.data()).await.unwrap().unwrap(), "whole");
    assert!(soon("its end", body.data()).await.is_none());
}

#[tokio::test]
async fn half_an_answer_does_not_look_whole() {
    let (mut send, mut requests, _drain) = connected().await;
    for shut in [true, false] {
        let (answer, _) = send.send_request(request(Method::GET), true).unwrap();
        let mut exchange = soon("a request", requests.recv()).await.unwrap();
        exchange.write_header(header(200), false).unwrap();
        exchange.write_body(Bytes::from("half"), false).await.unwrap();
        let mut body = soon("an answer", answer).await.unwrap().into_body();
        assert_eq!(soon("half a body", body.data()).await.unwrap().unwrap(), "half");
        if shut {
            exchange.shut();
        }
        drop(exchange);
        assert!(soon("its end", body.data()).await.unwrap().is_err(), "shut: {shut}");
    }
}

#[tokio::test]
async fn who_does_not_read_is_waited_for_so_long_and_fills_no_more_than_the_window() {
    let (mut send, mut requests, _drain) = connected().await;
    let (_answer, _) = send.send_request(request(Method::GET), true).unwrap();
    let mut exchange = soon("a request", requests.recv()).await.unwrap();
    exchange.set_patience(Duration::from_millis(10));
    exchange.write_header(header(200), false).unwrap();
    let error = soon("the end of patience", exchange.write_body(vec![0; 1 << 20].into(), true)).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    assert_eq!(exchange.body_bytes(), (0, 65_535), "RFC 9113 §6.9.2: the first window");
}

#[tokio::test]
async fn a_body_ends_with_its_stream_or_its_trailers_and_is_waited_for_so_long() {
    let (mut send, mut requests, _drain) = connected().await;
    let (_answer, mut up) = send.send_request(request(Method::POST), false).unwrap();
    let mut exchange = soon("a request", requests.recv()).await.unwrap();
    assert!(!exchange.is_body_empty());
    up.send_data("some".into(), false).unwrap();
    assert_eq!(soon("a part", exchange.read_body()).await.unwrap().unwrap(), "some");
    exchange.set_patience(Duration::from_millis(10));
    let error = soon("the end of patience", exchange.read_body()).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    up.send_trailers(HeaderMap::from_iter([("x-sum".parse().unwrap(), "4".parse().unwrap())])).unwrap();
    exchange.set_patience(Duration::from_secs(10));
    for _ in 0..2 {
        assert!(soon("its end", exchange.read_body()).await.unwrap().is_none());
    }
    assert!(exchange.is_body_done() && !exchange.is_body_empty());
    assert_eq!(exchange.body_bytes(), (4, 0));

    // A length is a claim until the stream has ended (RFC 9113 §8.1.1).
    let mut zero = request(Method::POST);
    zero.headers_mut().insert("content-length", "0".parse().unwrap());
    let (_answer, mut up) = send.send_request(zero, false).unwrap();
    let mut exchange = soon("a request", requests.recv()).await.unwrap();
    assert!(!exchange.is_body_empty());
    up.send_data(Bytes::new(), true).unwrap();
    while let Some(bytes) = soon("the end of the stream", exchange.read_body()).await.unwrap() {
        assert!(bytes.is_empty());
    }
    assert!(exchange.is_body_empty());
}

#[tokio::test]
async fn who_goes_away_is_noticed_before_and_within_an_answer() {
    let (mut send, mut requests, _drain) = connected().await;
    for answered in [false, true] {
        let (_answer, mut stream) = send.send_request(request(Method::GET), true).unwrap();
        let mut exchange = soon("a request", requests.recv()).await.unwrap();
        if answered {
            exchange.write_header(header(200), false).unwrap();
        }
        stream.send_reset(h2::Reason::CANCEL);
        soon("news", exchange.gone()).await;
        assert!(exchange.write_header(header(200), true).is_err(), "answered: {answered}");
    }
}

#[tokio::test]
async fn a_connection_that_drains_asks_for_no_more_and_ends() {
    let (mut send, mut requests, drain) = connected().await;
    let (answer, _) = send.send_request(request(Method::GET), true).unwrap();
    let mut exchange = soon("a request", requests.recv()).await.unwrap();
    drain.send(true).unwrap();
    soon("GOAWAY", async {
        while let Ok(ready) = send.ready().await {
            send = ready;
            tokio::task::yield_now().await;
        }
    })
    .await;
    exchange.write_header(header(200), true).unwrap();
    drop(exchange);
    assert_eq!(soon("what was asked for before", answer).await.unwrap().status(), 200);
    assert!(soon("the end", requests.recv()).await.is_none(), "nothing more is accepted");
}
