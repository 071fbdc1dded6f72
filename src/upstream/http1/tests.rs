//! Exchanges with a back end whose bytes the test writes.

use pingora_core::protocols::l4::stream::Stream as L4;
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// Ours, and the back end's end of the connection.
async fn connection() -> (Http1, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (ours, theirs) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    (Http1::new(Box::new(L4::from(ours.unwrap()))), theirs.unwrap().0)
}

fn request(method: &str) -> RequestHeader {
    let mut request = RequestHeader::build_no_case(method, b"/a%2Fb?c", None).unwrap();
    request.insert_header("host", "bank").unwrap();
    request
}

/// What an answer comes to: its status, its body, and whether the connection goes on.
async fn exchange(method: &str, answer: &str, then_close: bool) -> Result<(u16, String, bool)> {
    let (mut ours, mut theirs) = connection().await;
    ours.send(&request(method), None).await.unwrap();
    let mut asked = Vec::new();
    while !asked.ends_with(b"\r\n\r\n") {
        theirs.read_buf(&mut asked).await.unwrap(); // What it has not read would reset the connection when it closes.
    }
    theirs.write_all(answer.as_bytes()).await.unwrap();
    let mut theirs = Some(theirs);
    if then_close {
        theirs = None; // Closes it.
    }
    let mut header = ours.read_header().await?;
    while header.status.is_informational() {
        header = ours.read_header().await?;
    }
    let mut body = Vec::new();
    while let Some(bytes) = ours.read_body().await? {
        body.extend_from_slice(&bytes);
    }
    drop(theirs);
    Ok((header.status.as_u16(), String::from_utf8(body).unwrap(), ours.into_reusable().is_some()))
}

#[tokio::test]
async fn an_answer_is_framed_in_one_way_and_leaves_its_connection_as_it_should() {
    for (name, method, answer, expected) in [
        ("length", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", (200, "abc", true)),
        ("length zero", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", (200, "", true)),
        (
            "chunks",
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            (200, "abc", true),
        ),
        ("no content", "DELETE", "HTTP/1.1 204 No Content\r\n\r\n", (204, "", true)),
        ("not modified", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", (304, "", true)),
        ("of HEAD", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", (200, "", true)),
        ("interim", "GET", "HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na", (200, "a", true)),
        ("own words", "GET", "HTTP/1.1 200 Fine by me\r\nContent-Length: 0\r\n\r\n", (200, "", true)),
        ("no words", "GET", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", (200, "", true)),
        ("line feeds", "GET", "HTTP/1.1 200 OK\nContent-Length: 1\n\na", (200, "a", true)),
        ("a space before the colon", "GET", "HTTP/1.1 200 OK\r\nContent-Length : 1\r\n\r\na", (200, "a", true)),
        (
            "it says close",
            "GET",
            "HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 1\r\n\r\na",
            (200, "a", false),
        ),
        ("HTTP/1.0", "GET", "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na", (200, "a", false)),
        (
            "HTTP/1.0 that stays",
            "GET",
            "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\na",
            (200, "a", true),
        ),
        ("more than its length", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab", (200, "a", false)),
        ("an answer too many", "GET", "HTTP/1.1 204 No\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", (204, "", false)),
    ] {
        let (status, body, goes_on) = exchange(method, answer, false).await.unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!((status, body.as_str(), goes_on), expected, "{name}");
    }
    let until_the_end = exchange("GET", "HTTP/1.1 200 OK\r\n\r\nabc", true).await.unwrap();
    assert_eq!(until_the_end, (200, "abc".into(), false));
}

#[tokio::test]
async fn what_is_no_answer_is_an_error() {
    let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(HEADER_BYTES_MAX + READ_BYTES));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(FIELDS_MAX + 1));
    for (name, answer) in [
        ("nothing", ""),
        ("half a header", "HTTP/1.1 200 OK\r\nContent-"),
        ("another protocol", "SSH-2.0-OpenSSH\r\n\r\n"),
        ("an empty line first", "\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        ("a status of two digits", "HTTP/1.1 20 OK\r\n\r\n"),
        ("two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na"),
        ("a list of lengths", "HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\na"),
        ("a signed length", "HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\na"),
        ("length and chunks", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("another coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        ("a folded field", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n"),
        ("a control character", "HTTP/1.1 200 OK\r\nX: a\u{1}b\r\nContent-Length: 0\r\n\r\n"),
        ("a name with a space", "HTTP/1.1 200 OK\r\nX Y: a\r\nContent-Length: 0\r\n\r\n"),
        ("shorter than its length", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc"),
        ("chunks without end", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"),
        ("a malformed chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\nabc\r\n0\r\n\r\n"),
        ("an endless header", &endless),
        ("too many fields", &many),
    ] {
        assert!(exchange("GET", answer, true).await.is_err(), "{name}");
    }
}

#[tokio::test]
async fn a_request_is_sent_as_its_header_says_and_in_one_piece_if_it_is_small() {
    for bytes in [0, 5, TOGETHER_BYTES_MAX, TOGETHER_BYTES_MAX + 1, 1 << 20] {
        let (mut ours, mut theirs) = connection().await;
        let body = Bytes::from(vec![b'x'; bytes]);
        let mut header = request("POST");
        header.insert_header("content-length", bytes).unwrap();
        let expected = format!("POST /a%2Fb?c HTTP/1.1\r\nHost: bank\r\nContent-Length: {bytes}\r\n\r\n");
        let mut received = vec![0; expected.len() + bytes];
        let (sent, read) = tokio::join!(ours.send(&header, Some(&body)), theirs.read_exact(&mut received));
        sent.unwrap();
        read.unwrap();
        assert_eq!(String::from_utf8_lossy(&received[..expected.len()]), expected);
        assert_eq!(&received[expected.len()..], &body[..], "{bytes}");
    }
}

/// Whoever waits for a part of an answer may stop waiting, and ask again.
#[tokio::test]
async fn a_wait_that_is_given_up_loses_nothing() {
    let (mut ours, mut theirs) = connection().await;
    ours.send(&request("GET"), None).await.unwrap();
    for (part, is_whole) in [("HTTP/1.1 200 O", false), ("K\r\nContent-Length: 3\r\n\r", false), ("\na", true)] {
        theirs.write_all(part.as_bytes()).await.unwrap();
        let read = tokio::time::timeout(std::time::Duration::from_millis(50), ours.read_header()).await;
        assert_eq!(read.is_ok_and(|header| header.is_ok()), is_whole, "{part:?}");
    }
    assert_eq!(ours.read_body().await.unwrap().unwrap(), "a");
    assert!(tokio::time::timeout(std::time::Duration::from_millis(50), ours.read_body()).await.is_err());
    theirs.write_all(b"bc").await.unwrap();
    assert_eq!(ours.read_body().await.unwrap().unwrap(), "bc");
    assert_eq!(ours.read_body().await.unwrap(), None);
    assert!(ours.into_reusable().is_some());
}
