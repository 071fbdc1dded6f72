//! HTTP/1 bytes that could be read in two ways never become a request.

use super::*;

#[tokio::test]
async fn what_is_ambiguous_is_answered_with_a_problem_and_closed_and_reaches_nobody() {
    let house = House::plain(patient()).await;
    let with = |field: &str| format!("POST /x HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n");
    for (name, request, status, code) in [
        ("LF only", "GET /x HTTP/1.1\nHost: a\n\n".to_owned(), 400, "malformed-request"),
        ("LF in a header", with("X: a\nY: b"), 400, "malformed-request"),
        ("no Host", "GET /x HTTP/1.1\r\n\r\n".into(), 400, "malformed-request"),
        ("two Hosts", with("Host: b"), 400, "malformed-request"),
        ("folding", with("X: a\r\n b"), 400, "malformed-request"),
        ("space before the colon", with("X : a"), 400, "malformed-request"),
        ("bare CR", with("X: a\rContent-Length: 5"), 400, "malformed-request"),
        ("a list of lengths", with("Content-Length: 3, 3"), 400, "malformed-request"),
        ("two lengths", with("Content-Length: 3\r\nContent-Length: 3"), 400, "malformed-request"),
        ("CL.TE", with("Content-Length: 3\r\nTransfer-Encoding: chunked"), 400, "malformed-request"),
        ("TE.CL", with("Transfer-Encoding: chunked\r\nContent-Length: 3"), 400, "malformed-request"),
        ("gzip, chunked", with("Transfer-Encoding: gzip, chunked"), 400, "malformed-request"),
        ("TE in 1.0", "POST /x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".into(), 400, "malformed-request"),
        ("raw space", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n".into(), 400, "malformed-request"),
        ("HTTP/2 in clear text", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), 400, "malformed-request"),
        ("CONNECT", "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n".into(), 405, "method-not-allowed"),
        ("TRACE", "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n".into(), 405, "method-not-allowed"),
        ("header too large", with(&format!("X: {}", "a".repeat(20_000))), 431, "headers-too-large"),
        ("too many fields", with(&vec!["X: a"; 50].join("\r\n")), 431, "headers-too-large"),
        ("long target", format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(5000)), 414, "uri-too-long"),
    ] {
        let answer = house.exchange(format!("{request}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{name}: {answer}");
        assert!(answer.contains("connection: close\r\n"), "{name}: {answer}");
        assert!(answer.contains(&format!("\"code\":\"{code}\"")), "{name}: {answer}");
        assert_eq!(answer.contains("\r\nallow: GET, "), status == 405, "{name}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{name}: one answer, then the end: {answer}");
    }
    assert_eq!(house.events.count("malformed"), 20);
    assert_eq!(house.received(), Vec::<String>::new());
}

#[tokio::test]
async fn a_broken_chunk_ends_the_connection_within_its_request() {
    let house = House::plain(patient()).await;
    for (name, body) in [
        ("LF", "5\nhello\r\n0\r\n\r\n"),
        ("LF in an extension", "5;a\nhello\r\n0\r\n\r\n"),
        ("0x", "0x5\r\nhello\r\n0\r\n\r\n"),
        ("overflow", "ffffffffffffffff5\r\nhello\r\n0\r\n\r\n"),
        ("longer than said", "5\r\nhello!\r\n0\r\n\r\n"),
        ("broken trailer", "5\r\nhello\r\n0\r\nbroken\r\n\r\n"),
    ] {
        let head = "POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let answer = house.exchange(format!("{head}{body}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        assert!(!answer.contains("200 OK"), "{name}: {answer}");
        assert!(answer.matches("HTTP/1.1 ").count() <= 1, "{name}: {answer}");
    }
    assert_eq!(house.events.count("malformed"), 6);
    assert_eq!(house.received(), Vec::<String>::new());
}

#[tokio::test]
async fn requests_sent_ahead_are_served_one_after_the_other() {
    let house = House::plain(patient()).await;
    let mut tcp = house.connect().await;
    let chunked = "POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: v\r\n\r\n";
    let sized = "POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nabcd";
    let plain = "GET /one HTTP/1.1\r\nHost: a\r\n\r\n";
    let all = format!("{plain}{chunked}{sized}\r\n{plain}{chunked}");
    // Byte by byte and at once: the cut does not matter.
    for pieces in [1, 7, 10_000] {
        for piece in all.as_bytes().chunks(pieces) {
            tcp.write_all(piece).await.unwrap();
        }
        for expected in ["ok", "body of 5", "body of 4", "ok", "body of 5"] {
            let answer = read_answer(&mut tcp).await;
            assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with(expected), "{expected}: {answer}");
        }
    }
    assert_eq!(house.received().len(), 6);
}

#[tokio::test]
async fn large_bodies_pass_untouched_in_both_framings() {
    let house = House::plain(patient()).await;
    let mut tcp = house.connect().await;
    let body = "x".repeat(900_000);
    for request in [
        format!("POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n{body}"),
        format!("POST /up HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\ndbba0\r\n{body}\r\n0\r\n\r\n"),
    ] {
        tcp.write_all(request.as_bytes()).await.unwrap();
        assert!(read_answer(&mut tcp).await.ends_with("ok"));
    }
    for request in house.received() {
        assert_eq!(request.matches('x').count(), body.len(), "{:?}", request.lines().next());
    }
}

#[tokio::test]
async fn an_early_answer_survives_the_upload_that_nobody_reads() {
    let house = House::plain(patient()).await;
    let mut tcp = house.connect().await;
    tcp.write_all(b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n").await.unwrap();
    tcp.write_all(&[b'x'; 100_000]).await.unwrap();
    let answer = read_to_end(&mut tcp).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("early"), "{answer}");
}

#[tokio::test]
async fn a_tunnel_opens_only_when_the_proxy_says_so() {
    let house = House::plain(patient()).await;
    let upgrade = |path| format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    let mut tcp = house.connect().await;
    tcp.write_all(upgrade("/tunnel").as_bytes()).await.unwrap();
    tcp.write_all(b"early bytes\n").await.unwrap();
    assert!(read_answer(&mut tcp).await.starts_with("HTTP/1.1 101 "));
    tcp.write_all(b"\x01\x02GET / not HTTP").await.unwrap();
    let mut echo = [0; 28];
    soon("the echo", tcp.read_exact(&mut echo)).await.unwrap();
    assert_eq!(&echo, b"early bytes\n\x01\x02GET / not HTTP");

    // The back end refuses the upgrade: what was sent ahead is judged as HTTP, and is not.
    let mut tcp = house.connect().await;
    tcp.write_all(upgrade("/other").as_bytes()).await.unwrap();
    tcp.write_all(b"early bytes\n").await.unwrap();
    let answers = read_to_end(&mut tcp).await;
    assert!(!answers.contains(" 101 "), "{answers}");
    assert!(!house.received().iter().any(|request| request.contains("early bytes")));
}

/// Reads a header section and then more of it, as a parser would that sees its end later than we do.
struct Greedy(tokio::sync::mpsc::Sender<std::io::Result<usize>>);

#[async_trait]
impl pingora_core::apps::ServerApp for Greedy {
    async fn process_new(
        self: &Arc<Self>,
        mut stream: pingora_core::protocols::Stream,
        _: &watch::Receiver<bool>,
    ) -> Option<pingora_core::protocols::Stream> {
        let mut buffer = [0; 4096];
        for _ in 0..2 {
            self.0.send(stream.read(&mut buffer).await).await.unwrap();
        }
        None
    }
}

#[tokio::test]
async fn a_parser_that_disagrees_on_where_a_header_ends_gets_nothing_more() {
    let events = Arc::new(Events::default());
    let clock = Arc::new(Hands(AtomicI64::new(0)));
    let front = door(&patient(), Trust::new(&[], Default::default()).unwrap(), Arc::new(guard()), &events, &clock);
    let settings = ListenerSettings { name: "public".into(), address: "127.0.0.1:0".parse().unwrap(), tls: None };
    let listener = front.bind(&settings).unwrap();
    let address = listener.local_addr();
    let (sender, mut reads) = tokio::sync::mpsc::channel(2);
    let (_drain, draining) = watch::channel(false);
    tokio::spawn(front.serve(listener, Arc::new(Greedy(sender)), draining));
    let head = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut tcp = TcpStream::connect(address).await.unwrap();
    tcp.write_all(format!("{head}{head}").as_bytes()).await.unwrap();
    assert_eq!(soon("the header", reads.recv()).await.unwrap().unwrap(), head.len());
    let error = soon("an error", reads.recv()).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    events.wait("malformed Disagreement").await;
}
