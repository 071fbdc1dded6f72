//! The bridge over real sockets, with Pingora alone beneath it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Mutex;

use async_trait::async_trait;
use axum::extract::Form;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Extension, Router};
use futures_util::stream;
use hyper::body::Frame;
use pingora_core::apps::ServerApp;
use pingora_core::protocols::l4::stream::Stream as L4Stream;
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_proxy::{ProxyHttp, Session, http_proxy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::*;
use crate::front::{Http2Exchange, accept_http2};

const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Clone)]
struct Marked;

/// Tells when the future that holds it is dropped.
struct Tells(Arc<Notify>);

impl Drop for Tells {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

fn router(started: Arc<Notify>, dropped: Arc<Notify>) -> Router {
    let hang = move || async move {
        let _tells = Tells(dropped);
        started.notify_one();
        std::future::pending::<()>().await;
    };
    Router::new()
        .route("/form", post(async |Form(form): Form<HashMap<String, String>>| format!("{:?}", form.get("a"))))
        .route("/echo", post(async |body: Body| body))
        .route("/read", post(async |text: String| text))
        .route("/text", get(async || "some text"))
        .route("/panic", get(async || -> &'static str { panic!("on purpose") }))
        .route("/no-content", get(async || StatusCode::NO_CONTENT))
        .route("/refuse", post(async || (StatusCode::UNAUTHORIZED, "no")))
        .route("/hang", get(hang))
        .route(
            "/listener",
            get(async |Extension(connection): Extension<Arc<Connection>>| {
                (Extension(Marked), connection.listener.to_string()).into_response()
            }),
        )
        .route("/parts", get(async || Body::from_stream(stream::iter(["a", "b", "c"].map(Ok::<_, Infallible>)))))
        .route(
            "/broken",
            get(async || Body::from_stream(stream::iter([Ok("a"), Err(std::io::Error::other("on purpose"))]))),
        )
        .route(
            "/late-panic",
            get(async || {
                Body::from_stream(
                    stream::iter(0..3).map(|n| if n == 2 { panic!("on purpose") } else { Ok::<_, Infallible>("x") }),
                )
            }),
        )
        .route(
            "/trailers",
            get(async || {
                let trailers = HeaderMap::from_iter([("x-sum".parse().unwrap(), "3".parse().unwrap())]);
                let frames = [Frame::data(Bytes::from("a")), Frame::trailers(trailers)].map(Ok::<_, Infallible>);
                Body::new(http_body_util::StreamBody::new(stream::iter(frames)))
            }),
        )
}

use futures_util::StreamExt;

struct Bridge {
    router: Router,
    limits: BridgeLimits,
    outcomes: Arc<Mutex<Vec<String>>>,
    recorded: Arc<Notify>,
}

impl Bridge {
    /// Answers the status that is left to be answered.
    async fn serve(&self, caller: &mut Caller<'_>) -> Option<StatusCode> {
        let expects_continue = caller.field("expect").is_some();
        let connection = Connection {
            listener: "public".into(),
            peer: "192.0.2.1:1".parse().unwrap(),
            tls: None,
            certificate: None,
        };
        let call = Call { connection: Arc::new(connection), extensions: Extensions::new(), expects_continue };
        let served = serve(caller, self.router.clone(), call, &self.limits).await;
        let (outcome, status) = match served {
            Ok(served) => {
                let marked = if served.extensions.get::<Marked>().is_some() { " marked" } else { "" };
                let (status, (taken, sent)) = (served.status.as_u16(), (served.request_bytes, served.response_bytes));
                (format!("{status} {taken}>{sent}{marked}"), None)
            }
            Err(error) => (error.to_string(), error.problem_kind().map(Kind::status)),
        };
        self.outcomes.lock().unwrap().push(outcome);
        self.recorded.notify_one();
        status
    }
}

/// Over HTTP/1, Pingora reads the requests.
struct Http1(Arc<Bridge>);

#[async_trait]
impl ProxyHttp for Http1 {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn request_filter(&self, session: &mut Session, (): &mut ()) -> pingora_core::Result<bool> {
        if let Some(status) = self.0.serve(&mut Caller::Session(session.as_downstream_mut())).await {
            session.respond_error(status.as_u16()).await?;
        }
        Ok(true)
    }

    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> pingora_core::Result<Box<HttpPeer>> {
        unreachable!()
    }
}

/// Over HTTP/2, nothing stands between.
async fn serve_http2(tcp: TcpStream, bridge: Arc<Bridge>) {
    let (_keep, draining) = watch::channel(false);
    let serve = |mut exchange: Http2Exchange| {
        let bridge = Arc::clone(&bridge);
        tokio::spawn(async move {
            let mut caller = Caller::Http2(&mut exchange);
            if let Some(status) = bridge.serve(&mut caller).await {
                let header = ResponseHeader::build(status, None).unwrap();
                caller.write_header(Box::new(header)).await.unwrap();
            }
            drop(caller.end().await);
        });
    };
    accept_http2(tcp, Arc::default(), &h2::server::Builder::new(), &draining, serve).await;
}

struct House {
    address: SocketAddr,
    h2_address: SocketAddr,
    outcomes: Arc<Mutex<Vec<String>>>,
    recorded: Arc<Notify>,
    started: Arc<Notify>,
    dropped: Arc<Notify>,
}

impl House {
    async fn open() -> Self {
        let [recorded, started, dropped] = [(); 3].map(|()| Arc::new(Notify::new()));
        let outcomes = Arc::new(Mutex::new(Vec::new()));
        let limits = BridgeLimits {
            body_bytes_max: 1_000_000,
            body_idle_timeout: Duration::from_millis(500),
            body_timeout: Duration::from_millis(1500),
        };
        let bridge = Bridge {
            router: router(Arc::clone(&started), Arc::clone(&dropped)),
            limits,
            outcomes: Arc::clone(&outcomes),
            recorded: Arc::clone(&recorded),
        };
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let bridge = Arc::new(bridge);
        let proxy = Arc::new(http_proxy(&Arc::new(ServerConf::default()), Http1(Arc::clone(&bridge))));
        let [listener, h2_listener] = [TcpListener::bind("127.0.0.1:0").await, TcpListener::bind("127.0.0.1:0").await];
        let (listener, h2_listener) = (listener.unwrap(), h2_listener.unwrap());
        let (address, h2_address) = (listener.local_addr().unwrap(), h2_listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (_keep, shutdown) = watch::channel(false);
            while let Ok((tcp, _)) = listener.accept().await {
                let (proxy, shutdown) = (Arc::clone(&proxy), shutdown.clone());
                tokio::spawn(async move { proxy.process_new(Box::new(L4Stream::from(tcp)), &shutdown).await });
            }
        });
        tokio::spawn(async move {
            while let Ok((tcp, _)) = h2_listener.accept().await {
                tokio::spawn(serve_http2(tcp, Arc::clone(&bridge)));
            }
        });
        Self { address, h2_address, outcomes, recorded, started, dropped }
    }

    async fn outcome(&self) -> String {
        timeout(PATIENCE, self.recorded.notified()).await.expect("an outcome");
        self.outcomes.lock().unwrap().last().cloned().unwrap()
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends bytes and reads until what came back ends with `end`, or the connection does.
    async fn exchange(&self, tcp: &mut TcpStream, bytes: impl AsRef<[u8]>, end: &str) -> String {
        let (mut read, mut write) = tcp.split();
        let sent = async {
            let _ = write.write_all(bytes.as_ref()).await;
            std::future::pending::<()>().await;
        };
        let answered = async {
            let mut text = Vec::new();
            let mut part = vec![0; 1 << 16];
            while !text.ends_with(end.as_bytes()) || text.is_empty() {
                match read.read(&mut part).await {
                    Ok(n @ 1..) => text.extend_from_slice(&part[..n]),
                    _ => break,
                }
            }
            String::from_utf8(text).unwrap()
        };
        tokio::select! {
            () = sent => unreachable!(),
            answer = timeout(PATIENCE, answered) => answer.expect("an answer"),
        }
    }

    async fn h2(&self) -> h2::client::SendRequest<Bytes> {
        let (client, connection) =
            h2::client::handshake(TcpStream::connect(self.h2_address).await.unwrap()).await.unwrap();
        tokio::spawn(connection);
        client.ready().await.unwrap()
    }
}

fn head(method: &str, path: &str, fields: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
}

#[tokio::test]
async fn one_kept_connection_serves_every_kind_of_answer() {
    let house = House::open().await;
    let mut tcp = house.connect().await;
    let form = "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 9\r\n";
    let chunked = "Transfer-Encoding: chunked\r\n";
    for (name, request, parts, end, outcome) in [
        (
            "form",
            head("POST", "/form", form) + "a=b%20c&d",
            &["200 OK", "content-length: 11"][..],
            "Some(\"b c\")",
            "200 9>11",
        ),
        ("text", head("GET", "/text", ""), &["content-length: 9", "keep-alive"], "some text", "200 0>9"),
        (
            "chunks in",
            head("POST", "/echo", chunked) + "2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
            &["chunked"],
            "0\r\n\r\n",
            "200 3>3",
        ),
        ("chunks out", head("GET", "/parts", ""), &["transfer-encoding: chunked"], "1\r\nc\r\n0\r\n\r\n", "200 0>3"),
        ("HEAD", head("HEAD", "/text", ""), &["200 OK", "content-length: 9"], "\r\n\r\n", "200 0>0"),
        ("no content", head("GET", "/no-content", ""), &["204"], "\r\n\r\n", "204 0>0"),
        ("not found", head("GET", "/nowhere", ""), &["404", "content-length: 0"], "\r\n\r\n", "404 0>0"),
        ("wrong method", head("PUT", "/text", ""), &["405", "allow: get,head"], "\r\n\r\n", "405 0>0"),
        ("extensions", head("GET", "/listener", ""), &["200 OK"], "public", "200 0>6 marked"),
        (
            "small unread body",
            head("POST", "/refuse", "Content-Length: 3\r\n") + "abc",
            &["401", "keep-alive"],
            "no",
            "401 3>2",
        ),
        ("trailers", head("GET", "/trailers", ""), &["200 OK"], "0\r\n\r\n", "200 0>1"),
    ] {
        let answer = house.exchange(&mut tcp, request, end).await;
        let lower = answer.to_lowercase();
        assert!(parts.iter().all(|part| lower.contains(&part.to_lowercase())), "{name}: {answer}");
        assert!(answer.starts_with("HTTP/1.1 ") && answer.ends_with(end), "{name}: {answer}");
        assert!(!lower.contains("connection: close"), "{name}: {answer}");
        assert_eq!(house.outcome().await, outcome, "{name}");
    }
}

#[tokio::test]
async fn a_large_body_comes_back_as_it_went() {
    let house = House::open().await;
    let mut tcp = house.connect().await;
    let body: String = (0..150_000).map(|n| format!("{n:06}")).collect();
    let request = head("POST", "/echo", "Content-Length: 900000\r\n") + &body;
    let answer = house.exchange(&mut tcp, request, "149999").await;
    assert!(answer.contains("ontent-") && answer.ends_with(&body), "{}", &answer[..200]);
    assert_eq!(house.outcome().await, "200 900000>900000");
    // The same over HTTP/2, with its flow control both ways.
    let mut client = house.h2().await;
    let request = Request::post("http://a/echo").body(()).unwrap();
    let (answer, mut up) = client.send_request(request, false).unwrap();
    let mut rest = Bytes::from(body.clone());
    let sent = tokio::spawn(async move {
        while !rest.is_empty() {
            up.reserve_capacity(rest.len().min(16_384));
            let room = std::future::poll_fn(|cx| up.poll_capacity(cx)).await.unwrap().unwrap();
            let part = rest.split_to(room.min(rest.len()));
            up.send_data(part, rest.is_empty()).unwrap();
        }
    });
    let mut down = timeout(PATIENCE, answer).await.unwrap().unwrap().into_body();
    let mut echo = Vec::new();
    while let Some(part) = timeout(PATIENCE, down.data()).await.unwrap() {
        let part = part.unwrap();
        down.flow_control().release_capacity(part.len()).unwrap();
        echo.extend_from_slice(&part);
    }
    sent.await.unwrap();
    assert_eq!(echo, body.as_bytes());
}

#[tokio::test]
async fn what_goes_wrong_has_a_name() {
    let house = House::open().await;
    let large = "x".repeat(1_100_000);
    let chunked = format!("10c8e0\r\n{large}\r\n0\r\n\r\n");
    for (name, request, status, outcome) in [
        ("panic", head("GET", "/panic", ""), "500", "the service panicked"),
        (
            "too large",
            head("POST", "/echo", "Content-Length: 1100000\r\n"),
            "413",
            "the request body is larger than 1000000 bytes",
        ),
        (
            "too large in chunks",
            head("POST", "/form", "Content-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n")
                + &chunked,
            "413",
            "the request body is larger than 1000000 bytes",
        ),
        (
            "a pause",
            head("POST", "/form", "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 9\r\n") + "a=b",
            "408",
            "the request body did not arrive in time",
        ),
    ] {
        let answer = house.exchange(&mut house.connect().await, request, "\r\n\r\n").await;
        // axum refuses a form above its own limit by itself; either way it is 413.
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{name}: {answer}");
        assert_eq!(house.outcome().await, outcome, "{name}");
    }
    for path in ["/broken", "/late-panic"] {
        let answer = house.exchange(&mut house.connect().await, head("GET", path, ""), "0\r\n\r\n").await;
        assert!(!answer.ends_with("0\r\n\r\n"), "{path} must not look complete: {answer}");
        assert_eq!(house.outcome().await, "the answer broke off after it had begun", "{path}");
    }
}

#[tokio::test]
async fn a_client_that_goes_away_ends_the_service() {
    let house = House::open().await;
    let mut tcp = house.connect().await;
    tcp.write_all(head("GET", "/hang", "").as_bytes()).await.unwrap();
    house.started.notified().await;
    drop(tcp);
    timeout(PATIENCE, house.dropped.notified()).await.expect("dropped over HTTP/1");
    assert_eq!(house.outcome().await, "the client went away");

    let mut client = house.h2().await;
    let (_answer, mut stream) = client.send_request(Request::get("http://a/hang").body(()).unwrap(), true).unwrap();
    house.started.notified().await;
    stream.send_reset(h2::Reason::CANCEL);
    timeout(PATIENCE, house.dropped.notified()).await.expect("dropped over HTTP/2");
    assert_eq!(house.outcome().await, "the client went away");
    let (answer, _) = client.send_request(Request::get("http://a/text").body(()).unwrap(), true).unwrap();
    assert_eq!(timeout(PATIENCE, answer).await.unwrap().unwrap().status(), 200, "the connection goes on");
}

#[tokio::test]
async fn a_client_that_waits_is_told_to_go_on_only_when_its_body_is_wanted() {
    let house = House::open().await;
    let mut tcp = house.connect().await;
    let expecting = "Expect: 100-continue\r\nContent-Length: 3\r\n";
    let interim = house.exchange(&mut tcp, head("POST", "/read", expecting), "\r\n\r\n").await;
    assert_eq!(interim, "HTTP/1.1 100 Continue\r\n\r\n");
    let answer = house.exchange(&mut tcp, "abc", "abc").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("keep-alive"), "{answer}");
    let refused = house.exchange(&mut tcp, head("POST", "/refuse", expecting), "no").await;
    assert!(refused.starts_with("HTTP/1.1 401 ") && refused.to_lowercase().contains("connection: close"), "{refused}");
}

#[tokio::test]
async fn http2_has_trailers_and_times_out_a_body_that_never_comes() {
    let house = House::open().await;
    let mut client = house.h2().await;
    let (answer, _) = client.send_request(Request::get("http://a/trailers").body(()).unwrap(), true).unwrap();
    let mut body = timeout(PATIENCE, answer).await.unwrap().unwrap().into_body();
    assert_eq!(body.data().await.unwrap().unwrap(), "a");
    assert_eq!(body.trailers().await.unwrap().unwrap()["x-sum"], "3");
    let _ = house.outcome().await;

    let request = Request::post("http://a/form").header("content-type", "application/x-www-form-urlencoded");
    let (answer, _stream) = client.send_request(request.body(()).unwrap(), false).unwrap();
    assert_eq!(timeout(PATIENCE, answer).await.unwrap().unwrap().status(), 408);
    assert_eq!(house.outcome().await, "the request body did not arrive in time");

    let request = Request::post("http://a/refuse").header("content-length", "100000");
    let (answer, mut stream) = client.send_request(request.body(()).unwrap(), false).unwrap();
    let _ = stream.send_data(Bytes::from(vec![b'x'; 30_000]), false);
    assert_eq!(timeout(PATIENCE, answer).await.unwrap().unwrap().status(), 401, "an early answer arrives");
}
