//! Plain requests and their answers, past Pingora.

use pingora_core::apps::ServerApp;
use pingora_core::protocols::Stream;
use pingora_core::server::ShutdownWatch;

use super::*;
use crate::front::{Asked, Exchange, GuardedStream};

/// Answers by path, as whoever serves connections does.
struct Plain {
    arrived: Arc<Notify>,
    gone: Arc<Notify>,
}

#[async_trait]
impl ServerApp for Plain {
    async fn process_new(self: &Arc<Self>, stream: Stream, draining: &ShutdownWatch) -> Option<Stream> {
        let Some(mut stream) = guarded(stream) else { panic!("another stream") };
        loop {
            match stream.next().await {
                Ok(Asked::Plain(request)) => {
                    let mut exchange = Exchange::new(&mut stream, request, draining);
                    if exchange.request().uri.path().starts_with("/back") {
                        let _in_work = InWork::begin(Arc::clone(exchange.downstream()));
                        if exchange.request().uri.path() == "/back-late" {
                            exchange.read_body().await.unwrap();
                        }
                        assert_eq!(exchange.into_request().headers["host"], "a");
                        if stream.take_back() {
                            return other(&mut stream).await;
                        }
                        return None;
                    }
                    let in_work = InWork::begin(Arc::clone(exchange.downstream()));
                    let sent = self.answer(&mut exchange).await;
                    drop(in_work);
                    let persists = exchange.persists();
                    assert!(sent.is_ok() || !persists, "an answer that broke off is the last one");
                    if !persists {
                        return None;
                    }
                }
                Ok(Asked::Other) => return other(&mut stream).await,
                Ok(Asked::Nothing) | Err(_) => return None,
            }
        }
    }
}

fn guarded(stream: Stream) -> Option<Box<GuardedStream>> {
    stream.into_any().downcast().ok()
}

async fn other(stream: &mut GuardedStream) -> Option<Stream> {
    let mut read = vec![0; 4096];
    let n = stream.read(&mut read).await.unwrap();
    assert!(read.starts_with(b"POST ") || read.starts_with(b"GET "), "what is not plain is left to be read");
    stream.write_all(format!("other {n}").as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    None
}

fn header(status: u16, fields: &[(&'static str, &'static str)]) -> Box<ResponseHeader> {
    let mut header = ResponseHeader::build_no_case(status, None).unwrap();
    for (name, value) in fields {
        header.append_header(*name, *value).unwrap();
    }
    Box::new(header)
}

impl Plain {
    async fn answer(&self, exchange: &mut Exchange<'_>) -> std::io::Result<()> {
        let path = exchange.request().uri.path().to_owned();
        let (status, fields, parts): (u16, &[(&'static str, &'static str)], &[&'static str]) = match path.as_str() {
            "/length" => (200, &[("content-length", "6")], &["abc", "", "def"]),
            "/chunks" => (200, &[("transfer-encoding", "chunked")], &["abc", "", "0123456789abcdef"]),
            "/none" => (204, &[], &[]),
            "/unchanged" => (304, &[("content-length", "9")], &[]),
            "/until-the-end" => (200, &[], &["abc"]),
            "/short" => (200, &[("content-length", "6")], &["abc"]),
            "/long" => (200, &[("content-length", "2")], &["ab", "HTTP/1.1 200 OK\r\n\r\n"]),
            "/no-number" => (200, &[("content-length", "six")], &["abc"]),
            "/own-date" => (200, &[("content-length", "0"), ("date", "never"), ("connection", "x")], &[]),
            "/large" => (200, &[("content-length", "2000000")], &[]),
            "/echo" => return echo(exchange).await,
            "/unread" => (200, &[("content-length", "3")], &["abc"]),
            "/read-on" => {
                exchange.set_closes_when_early(false);
                exchange.write_header(header(200, &[("content-length", "3")])).await?;
                while exchange.read_body().await?.is_some() {}
                exchange.write_body(&Bytes::from_static(b"abc")).await?;
                return exchange.end().await;
            }
            "/hang" => {
                self.arrived.notify_one();
                exchange.gone().await;
                self.gone.notify_one();
                return Err(std::io::ErrorKind::BrokenPipe.into());
            }
            _ => (404, &[("content-length", "0")], &[]),
        };
        if path == "/chunks" {
            exchange.write_header(header(103, &[("link", "</a>")])).await?;
        }
        exchange.write_header(header(status, fields)).await?;
        assert!(exchange.write_header(header(200, &[])).await.is_err(), "one answer to one request");
        let parts = if exchange.request().method == http::Method::HEAD { &[] } else { parts };
        for part in parts {
            exchange.write_body(&Bytes::from_static(part.as_bytes())).await?;
        }
        if path == "/large" {
            exchange.write_body(&Bytes::from(vec![b'x'; 2_000_000])).await?;
        }
        exchange.end().await
    }
}

/// Answers with what was sent, between brackets.
async fn echo(exchange: &mut Exchange<'_>) -> std::io::Result<()> {
    assert!(!exchange.is_body_done() || exchange.is_body_empty());
    let mut body = vec![b'['];
    while let Some(part) = exchange.read_body().await? {
        assert!(!part.is_empty() && !exchange.is_body_empty());
        body.extend_from_slice(&part);
    }
    assert!(exchange.is_body_done());
    assert_eq!(exchange.body_bytes().0, body.len() as u64 - 1);
    body.push(b']');
    let mut header = ResponseHeader::build_no_case(200, None).unwrap();
    header.append_header("content-length", body.len()).unwrap();
    exchange.write_header(Box::new(header)).await?;
    exchange.write_body(&Bytes::from(body)).await?;
    exchange.end().await
}

struct PlainHouse {
    address: SocketAddr,
    events: Arc<Events>,
    drain: watch::Sender<bool>,
    arrived: Arc<Notify>,
    gone: Arc<Notify>,
}

impl PlainHouse {
    fn open(limits: &EdgeLimits) -> Self {
        let clock = Arc::new(Hands(AtomicI64::new(1_800_000_000_000_000)));
        let events = Arc::new(Events::default());
        let trust = Trust::new(&[], HashSet::new()).unwrap();
        let front = door(limits, trust, Arc::new(guard()), &events, &clock);
        let settings = ListenerSettings { name: "public".into(), address: "127.0.0.1:0".parse().unwrap(), tls: None };
        let listener = front.bind(&settings).unwrap();
        let address = listener.local_addr();
        let [arrived, gone] = [(); 2].map(|()| Arc::new(Notify::new()));
        let (drain, draining) = watch::channel(false);
        let app = Plain { arrived: Arc::clone(&arrived), gone: Arc::clone(&gone) };
        tokio::spawn(front.serve(listener, Arc::new(app), draining));
        Self { address, events, drain, arrived, gone }
    }

    /// All that comes back for these requests, without the dates.
    async fn ask(&self, requests: &str) -> String {
        let mut tcp = TcpStream::connect(self.address).await.unwrap();
        tcp.write_all(requests.as_bytes()).await.unwrap();
        let text = read_to_end(&mut tcp).await;
        let (dates, rest): (Vec<_>, Vec<_>) = text.split("\r\n").partition(|line| line.starts_with("Date: "));
        assert!(dates.iter().all(|date| date.ends_with(" GMT")), "{dates:?}");
        rest.join("\r\n")
    }
}

fn of(method: &str, path: &str, field: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: a\r\n{field}\r\n")
}

const LAST: &str = "Connection: x, Close\r\n";

#[tokio::test]
async fn answers_follow_one_another_each_in_its_own_frame() {
    let house = PlainHouse::open(&patient());
    let asked = [
        of("GET", "/length", ""),
        of("GET", "/chunks", ""),
        of("DELETE", "/none", ""),
        of("GET", "/unchanged", ""),
        of("HEAD", "/length", ""),
        of("GET", "/own-date", "Connection: keep-alive\r\n"),
        of("GET", "/length", LAST),
        of("GET", "/never", ""),
    ];
    let length = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: keep-alive\r\n\r\n";
    let expected = [
        &format!("{length}abcdef"),
        "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n",
        "3\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nConnection: keep-alive\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\nConnection: keep-alive\r\n\r\n",
        length, // Of HEAD.
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nabcdef",
    ];
    assert_eq!(house.ask(&asked.concat()).await, expected.concat());
}

#[tokio::test]
async fn an_answer_that_does_not_keep_to_its_frame_is_the_last_and_does_not_look_whole() {
    let house = PlainHouse::open(&patient());
    let after = of("GET", "/length", "");
    for (path, expected) in [
        ("/short", "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: keep-alive\r\n\r\nabc"),
        ("/long", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nab"),
        ("/until-the-end", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc"),
        ("/no-number", "HTTP/1.1 200 OK\r\nContent-Length: six\r\nConnection: close\r\n\r\nabc"),
    ] {
        assert_eq!(house.ask(&format!("{}{after}", of("GET", path, ""))).await, expected, "{path}");
    }
}

#[tokio::test]
async fn what_is_not_plain_is_left_to_be_read_whole() {
    let house = PlainHouse::open(&patient());
    for (name, request) in [
        ("chunks", of("POST", "/", "Transfer-Encoding: chunked\r\n")),
        ("another protocol", of("GET", "/", "Upgrade: websocket\r\nConnection: upgrade\r\n")),
        ("HTTP/1.0", "GET / HTTP/1.0\r\nHost: a\r\n\r\n".into()),
        ("absolute form", "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n".into()),
    ] {
        assert_eq!(house.ask(&request).await, format!("other {}", request.len()), "{name}");
        let after = format!("{}{request}", of("GET", "/none", ""));
        assert!(house.ask(&after).await.ends_with(&format!("other {}", request.len())), "{name}, after a plain one");
    }
    let refused = house.ask("GET / HTTP/1.1\nHost: a\n\n").await;
    assert!(refused.starts_with("HTTP/1.1 400 "), "{refused}");
}

#[tokio::test]
async fn a_client_that_goes_away_is_noticed_and_one_that_asks_ahead_is_not_gone() {
    let house = PlainHouse::open(&patient());
    let mut tcp = TcpStream::connect(house.address).await.unwrap();
    tcp.write_all(of("GET", "/hang", "").as_bytes()).await.unwrap();
    soon("the request", house.arrived.notified()).await;
    tcp.write_all(of("GET", "/length", "").as_bytes()).await.unwrap();
    let gone = tokio::time::timeout(Duration::from_millis(100), house.gone.notified()).await;
    assert!(gone.is_err(), "it asks ahead");
    drop(tcp);
    soon("that it went away", house.gone.notified()).await;
}

#[tokio::test]
async fn a_large_answer_arrives_whole_and_who_does_not_read_it_is_cut() {
    let house = PlainHouse::open(&patient());
    let text = house.ask(&of("GET", "/large", LAST)).await;
    assert_eq!(text.split_once("\r\n\r\n").unwrap().1.len(), 2_000_000);

    let hasty = PlainHouse::open(&limits());
    let mut tcp = TcpStream::connect(hasty.address).await.unwrap();
    let many = of("GET", "/large", "").repeat(20);
    tcp.write_all(many.as_bytes()).await.unwrap();
    hasty.events.wait("cut write_stall").await; // It reads nothing for longer than it may.
    let mut bytes = Vec::new();
    let _ = soon("the end", tcp.read_to_end(&mut bytes)).await;
    assert!(bytes.len() < 20 * 2_000_000, "{} bytes", bytes.len());
}

#[tokio::test]
async fn while_draining_the_answer_under_way_is_the_last() {
    let house = PlainHouse::open(&patient());
    let mut tcp = TcpStream::connect(house.address).await.unwrap();
    assert!(get(&mut tcp, "/length").await.contains("keep-alive"));
    house.drain.send(true).unwrap();
    assert_eq!(read_to_end(&mut tcp).await, "", "an idle connection ends");
}

fn post(path: &str, body: &str) -> String {
    format!("{}{body}", of("POST", path, &format!("Content-Length: {}\r\n", body.len())))
}

/// The bodies of the answers.
async fn bodies(house: &PlainHouse, requests: &str) -> Vec<String> {
    let text = house.ask(requests).await;
    let answers = text.split("HTTP/1.1 200 OK\r\n").skip(1);
    answers.map(|answer| answer.split_once("\r\n\r\n").unwrap().1.to_owned()).collect()
}

#[tokio::test]
async fn bodies_of_a_length_are_read_to_their_end_and_no_further() {
    let house = PlainHouse::open(&patient());
    let large = "x".repeat(300_000);
    let end = of("GET", "/echo", LAST);
    let requests =
        [post("/echo", "one"), of("POST", "/echo", ""), post("/echo", ""), post("/echo", &large), end.clone()];
    let expected = ["[one]".to_owned(), "[]".into(), "[]".into(), format!("[{large}]"), "[]".into()];
    assert_eq!(bodies(&house, &requests.concat()).await, expected);

    // However it is cut, and what follows is the next request.
    let mut tcp = TcpStream::connect(house.address).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    for piece in format!("{}{end}", post("/echo", "body")).as_bytes().chunks(3) {
        tcp.write_all(piece).await.unwrap();
        tokio::task::yield_now().await;
    }
    let text = read_to_end(&mut tcp).await;
    assert!(text.contains("[body]HTTP/1.1 200 OK") && text.ends_with("[]"), "{text}");
}

#[tokio::test]
async fn an_answer_before_the_body_was_read_is_the_last() {
    let house = PlainHouse::open(&patient());
    let after = of("GET", "/echo", LAST);
    let unread = house.ask(&format!("{}{after}", post("/unread", "three"))).await;
    assert_eq!(unread, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc");
    let read_on = house.ask(&format!("{}{after}", post("/read-on", "three"))).await;
    assert!(read_on.contains("keep-alive\r\n\r\nabcHTTP/1.1 200 OK"), "{read_on}");
}

/// What Pingora is to carry it reads from the begin, with whatever of the body has arrived.
#[tokio::test]
async fn a_request_of_whose_body_nothing_was_read_can_be_taken_back() {
    let house = PlainHouse::open(&patient());
    let request = post("/back", "body");
    assert_eq!(house.ask(&request).await, format!("other {}", request.len() - "body".len()));
    let after = format!("{}{request}", post("/echo", "one"));
    assert!(house.ask(&after).await.ends_with(&format!("other {}", request.len() - "body".len())));
    assert_eq!(house.ask(&post("/back-late", "body")).await, "", "a part is gone");
    assert_eq!(house.ask(&of("GET", "/back", "")).await, "", "there is nothing to be carried");
}

#[tokio::test]
async fn half_a_body_is_no_request() {
    let house = PlainHouse::open(&patient());
    let half = of("POST", "/echo", "Content-Length: 9\r\n") + "half";
    let mut tcp = TcpStream::connect(house.address).await.unwrap();
    tcp.write_all(half.as_bytes()).await.unwrap();
    tcp.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut tcp).await, "", "the client broke off");

    let hasty = PlainHouse::open(&limits());
    let mut tcp = TcpStream::connect(hasty.address).await.unwrap();
    tcp.write_all(half.as_bytes()).await.unwrap();
    hasty.events.wait("cut body_idle").await;
    assert_eq!(read_to_end(&mut tcp).await, "", "the client fell silent");
}
