//! A back end that answers with anything: each caller gets one sound answer or a broken connection, and nobody gets
//! another's.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::client::Client;
use super::strict::{self, Answer, Reading};
use super::{Tally, all};
use crate::harness::Site;
use crate::harness::token::outside_token;

/// What the caller must come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    /// This answer.
    Passes,
    /// A problem of ours, or a connection that breaks.
    Fails,
    /// Any sound answer, or a connection that breaks.
    Sound,
}

use Due::{Fails, Passes, Sound};

/// What the back end does once it has written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Goes,
    Closes,
}

use Then::{Closes, Goes};

struct Hostile {
    name: String,
    bytes: Vec<u8>,
    then: Then,
    due: Due,
}

const JSON: &str = "content-type: application/json\r\n";
const SMUGGLED: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 17\r\n\r\n{\"smuggled\":true}";
const OWN: &str = r#"{"own":true}"#;

/// Text forms: `{j}` is the content type, `{s}` a whole second answer.
const TEXTS: &[(&str, Due, Then, &str)] = &[
    ("as it is", Passes, Goes, "HTTP/1.1 200 OK\r\n{j}content-length: 12\r\n\r\n{o}"),
    ("chunked", Passes, Goes, "HTTP/1.1 200 OK\r\n{j}transfer-encoding: chunked\r\n\r\nc\r\n{o}\r\n0\r\n\r\n"),
    ("until it closes", Passes, Closes, "HTTP/1.1 200 OK\r\n{j}\r\n{o}"),
    ("version 1.0", Passes, Closes, "HTTP/1.0 200 OK\r\n{j}content-length: 12\r\n\r\n{o}"),
    ("no reason", Passes, Goes, "HTTP/1.1 200 \r\n{j}content-length: 12\r\n\r\n{o}"),
    ("closes and says so", Passes, Closes, "HTTP/1.1 200 OK\r\n{j}connection: close\r\ncontent-length: 12\r\n\r\n{o}"),
    // --- status lines
    ("nothing", Fails, Closes, ""),
    ("version 0.9", Fails, Closes, "{o}"),
    ("half a status line", Fails, Closes, "HTTP/1.1 2"),
    ("half a head", Fails, Closes, "HTTP/1.1 200 OK\r\n{j}content-len"),
    ("no status", Fails, Closes, "HTTP/1.1 OK\r\n{j}content-length: 12\r\n\r\n{o}"),
    ("status of two digits", Fails, Closes, "HTTP/1.1 20 OK\r\n{j}content-length: 12\r\n\r\n{o}"),
    ("status of four digits", Fails, Closes, "HTTP/1.1 2000 OK\r\n{j}content-length: 12\r\n\r\n{o}"),
    ("status zero", Fails, Closes, "HTTP/1.1 000 OK\r\n{j}content-length: 12\r\n\r\n{o}"),
    ("negative status", Fails, Closes, "HTTP/1.1 -20 OK\r\n{j}content-length: 12\r\n\r\n{o}"),
    ("status 99", Fails, Closes, "HTTP/1.1 099 OK\r\n{j}content-length: 12\r\n\r\n{o}"),
    ("status 600", Sound, Goes, "HTTP/1.1 600 OK\r\n{j}content-length: 12\r\n\r\n{o}"),
    ("status 999", Sound, Goes, "HTTP/1.1 999 OK\r\n{j}content-length: 12\r\n\r\n{o}"),
    ("version 2.0", Fails, Closes, "HTTP/2.0 200 OK\r\n{j}content-length: 12\r\n\r\n{o}"),
    ("version 1.2", Sound, Closes, "HTTP/1.2 200 OK\r\n{j}content-length: 12\r\n\r\n{o}"),
    ("no version", Fails, Closes, "200 OK\r\n{j}content-length: 12\r\n\r\n{o}"),
    ("another protocol", Fails, Closes, "ICY 200 OK\r\n{j}content-length: 12\r\n\r\n{o}"),
    ("a request", Fails, Closes, "GET / HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("preface of HTTP/2", Fails, Closes, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ("settings of HTTP/2", Fails, Closes, "\0\0\0\x04\0\0\0\0\0"),
    ("alert of TLS", Fails, Closes, "\x15\x03\x03\0\x02\x02\x28"),
    ("two status lines", Fails, Closes, "HTTP/1.1 200 OK\r\nHTTP/1.1 200 OK\r\n{j}content-length: 12\r\n\r\n{o}"),
    ("endless reason", Sound, Closes, "HTTP/1.1 200 {long}\r\n{j}content-length: 12\r\n\r\n{o}"),
    ("reason with a zero byte", Sound, Goes, "HTTP/1.1 200 O\0K\r\n{j}content-length: 12\r\n\r\n{o}"),
    ("reason with an escape character", Sound, Goes, "HTTP/1.1 200 \x1b[31m\r\n{j}content-length: 12\r\n\r\n{o}"),
    ("reason with a carriage return", Sound, Closes, "HTTP/1.1 200 O\rK\r\n{j}content-length: 12\r\n\r\n{o}"),
    ("empty line first", Sound, Goes, "\r\nHTTP/1.1 200 OK\r\n{j}content-length: 12\r\n\r\n{o}"),
    ("space first", Fails, Closes, " HTTP/1.1 200 OK\r\n{j}content-length: 12\r\n\r\n{o}"),
    // --- fields
    ("only line feeds", Sound, Goes, "HTTP/1.1 200 OK\ncontent-type: application/json\ncontent-length: 12\n\n{o}"),
    ("folded", Sound, Goes, "HTTP/1.1 200 OK\r\n{j}x-a: b\r\n c\r\ncontent-length: 12\r\n\r\n{o}"),
    ("folded length", Sound, Closes, "HTTP/1.1 200 OK\r\n{j}content-length:\r\n 12\r\n\r\n{o}"),
    ("space before a colon", Sound, Closes, "HTTP/1.1 200 OK\r\n{j}content-length : 12\r\n\r\n{o}"),
    ("no colon", Fails, Closes, "HTTP/1.1 200 OK\r\n{j}x-a\r\ncontent-length: 12\r\n\r\n{o}"),
    ("empty name", Fails, Closes, "HTTP/1.1 200 OK\r\n{j}: b\r\ncontent-length: 12\r\n\r\n{o}"),
    ("name with a space", Sound, Closes, "HTTP/1.1 200 OK\r\n{j}x a: b\r\ncontent-length: 12\r\n\r\n{o}"),
    ("name with a zero byte", Fails, Closes, "HTTP/1.1 200 OK\r\n{j}x\0a: b\r\ncontent-length: 12\r\n\r\n{o}"),
    ("value with a zero byte", Sound, Closes, "HTTP/1.1 200 OK\r\n{j}x-a: b\0c\r\ncontent-length: 12\r\n\r\n{o}"),
    (
        "value with a carriage return",
        Sound,
        Closes,
        "HTTP/1.1 200 OK\r\n{j}x-a: b\rset-cookie: c\r\ncontent-length: 12\r\n\r\n{o}",
    ),
    (
        "value with a control character",
        Sound,
        Closes,
        "HTTP/1.1 200 OK\r\n{j}x-a: b\x01c\r\ncontent-length: 12\r\n\r\n{o}",
    ),
    ("value beyond ASCII", Sound, Goes, "HTTP/1.1 200 OK\r\n{j}x-a: \u{e9}\r\ncontent-length: 12\r\n\r\n{o}"),
    ("endless value", Sound, Closes, "HTTP/1.1 200 OK\r\n{j}x-a: {long}\r\ncontent-length: 12\r\n\r\n{o}"),
    ("a thousand fields", Sound, Closes, "HTTP/1.1 200 OK\r\n{j}{many}content-length: 12\r\n\r\n{o}"),
    (
        "fields of the hop",
        Passes,
        Goes,
        "HTTP/1.1 200 OK\r\n{j}keep-alive: timeout=5\r\nproxy-connection: close\r\nconnection: x-a\r\nx-a: b\r\ncontent-length: 12\r\n\r\n{o}",
    ),
    (
        "connection names a length",
        Sound,
        Goes,
        "HTTP/1.1 200 OK\r\n{j}connection: content-length, transfer-encoding\r\ncontent-length: 12\r\n\r\n{o}",
    ),
    // --- lengths
    ("two lengths", Sound, Goes, "HTTP/1.1 200 OK\r\n{j}content-length: 12\r\ncontent-length: 12\r\n\r\n{o}"),
    (
        "two lengths that differ",
        Fails,
        Goes,
        "HTTP/1.1 200 OK\r\n{j}content-length: 12\r\ncontent-length: 0\r\n\r\n{o}{s}",
    ),
    (
        "two lengths that differ, the longer last",
        Fails,
        Closes,
        "HTTP/1.1 200 OK\r\n{j}content-length: 2\r\ncontent-length: 12\r\n\r\n{o}",
    ),
    ("two lengths in one", Sound, Closes, "HTTP/1.1 200 OK\r\n{j}content-length: 12, 12\r\n\r\n{o}"),
    ("signed length", Sound, Closes, "HTTP/1.1 200 OK\r\n{j}content-length: +12\r\n\r\n{o}"),
    ("negative length", Fails, Closes, "HTTP/1.1 200 OK\r\n{j}content-length: -12\r\n\r\n{o}"),
    ("hexadecimal length", Fails, Closes, "HTTP/1.1 200 OK\r\n{j}content-length: 0xc\r\n\r\n{o}"),
    ("length of no number", Fails, Closes, "HTTP/1.1 200 OK\r\n{j}content-length: many\r\n\r\n{o}"),
    ("empty length", Fails, Closes, "HTTP/1.1 200 OK\r\n{j}content-length:\r\n\r\n{o}"),
    ("length beyond 64 bits", Fails, Closes, "HTTP/1.1 200 OK\r\n{j}content-length: 18446744073709551628\r\n\r\n{o}"),
    ("less than said", Fails, Closes, "HTTP/1.1 200 OK\r\n{j}content-length: 100\r\n\r\n{o}"),
    ("more than said", Sound, Goes, "HTTP/1.1 200 OK\r\n{j}content-length: 12\r\n\r\n{o}{s}"),
    ("more than said, closing", Sound, Closes, "HTTP/1.1 200 OK\r\n{j}content-length: 12\r\n\r\n{o} and more"),
    ("length zero and a body", Sound, Goes, "HTTP/1.1 200 OK\r\n{j}content-length: 0\r\n\r\n{s}"),
    (
        "length and chunks",
        Sound,
        Goes,
        "HTTP/1.1 200 OK\r\n{j}content-length: 3\r\ntransfer-encoding: chunked\r\n\r\nc\r\n{o}\r\n0\r\n\r\n",
    ),
    (
        "chunks and length",
        Sound,
        Goes,
        "HTTP/1.1 200 OK\r\n{j}transfer-encoding: chunked\r\ncontent-length: 3\r\n\r\nc\r\n{o}\r\n0\r\n\r\n{s}",
    ),
    (
        "gzip, chunked",
        Sound,
        Closes,
        "HTTP/1.1 200 OK\r\n{j}transfer-encoding: gzip, chunked\r\n\r\nc\r\n{o}\r\n0\r\n\r\n",
    ),
    (
        "chunked, gzip",
        Sound,
        Closes,
        "HTTP/1.1 200 OK\r\n{j}transfer-encoding: chunked, gzip\r\n\r\nc\r\n{o}\r\n0\r\n\r\n",
    ),
    ("xchunked", Sound, Closes, "HTTP/1.1 200 OK\r\n{j}transfer-encoding: xchunked\r\n\r\nc\r\n{o}\r\n0\r\n\r\n"),
    (
        "chunked twice",
        Sound,
        Closes,
        "HTTP/1.1 200 OK\r\n{j}transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\nc\r\n{o}\r\n0\r\n\r\n",
    ),
    ("chunked in 1.0", Sound, Closes, "HTTP/1.0 200 OK\r\n{j}transfer-encoding: chunked\r\n\r\nc\r\n{o}\r\n0\r\n\r\n"),
    // --- chunks
    ("chunks without an end", Fails, Closes, "HTTP/1.1 200 OK\r\n{j}transfer-encoding: chunked\r\n\r\nc\r\n{o}\r\n"),
    ("chunk cut short", Fails, Closes, "HTTP/1.1 200 OK\r\n{j}transfer-encoding: chunked\r\n\r\nff\r\n{o}"),
    (
        "chunk of no size",
        Fails,
        Closes,
        "HTTP/1.1 200 OK\r\n{j}transfer-encoding: chunked\r\n\r\nxyz\r\n{o}\r\n0\r\n\r\n",
    ),
    (
        "chunk of a negative size",
        Fails,
        Closes,
        "HTTP/1.1 200 OK\r\n{j}transfer-encoding: chunked\r\n\r\n-c\r\n{o}\r\n0\r\n\r\n",
    ),
    (
        "chunk beyond 64 bits",
        Fails,
        Closes,
        "HTTP/1.1 200 OK\r\n{j}transfer-encoding: chunked\r\n\r\n1000000000000000c\r\n{o}\r\n0\r\n\r\n",
    ),
    (
        "chunk with more than said",
        Fails,
        Closes,
        "HTTP/1.1 200 OK\r\n{j}transfer-encoding: chunked\r\n\r\n2\r\n{o}\r\n0\r\n\r\n",
    ),
    (
        "chunk without its line end",
        Fails,
        Closes,
        "HTTP/1.1 200 OK\r\n{j}transfer-encoding: chunked\r\n\r\nc\r\n{o}0\r\n\r\n",
    ),
    ("chunks of line feeds", Sound, Closes, "HTTP/1.1 200 OK\r\n{j}transfer-encoding: chunked\r\n\r\nc\n{o}\n0\n\n"),
    (
        "chunk extension",
        Sound,
        Goes,
        "HTTP/1.1 200 OK\r\n{j}transfer-encoding: chunked\r\n\r\nc;a=b\r\n{o}\r\n0;c\r\n\r\n",
    ),
    (
        "endless chunk extension",
        Sound,
        Closes,
        "HTTP/1.1 200 OK\r\n{j}transfer-encoding: chunked\r\n\r\nc;{long}\r\n{o}\r\n0\r\n\r\n",
    ),
    (
        "trailers",
        Sound,
        Goes,
        "HTTP/1.1 200 OK\r\n{j}transfer-encoding: chunked\r\ntrailer: x-a\r\n\r\nc\r\n{o}\r\n0\r\nx-a: b\r\n\r\n",
    ),
    (
        "trailers that frame",
        Sound,
        Goes,
        "HTTP/1.1 200 OK\r\n{j}transfer-encoding: chunked\r\n\r\nc\r\n{o}\r\n0\r\ncontent-length: 3\r\nset-cookie: a=b\r\n\r\n",
    ),
    (
        "endless trailers",
        Sound,
        Closes,
        "HTTP/1.1 200 OK\r\n{j}transfer-encoding: chunked\r\n\r\nc\r\n{o}\r\n0\r\nx-a: {long}\r\n\r\n",
    ),
    (
        "an answer as a trailer",
        Sound,
        Closes,
        "HTTP/1.1 200 OK\r\n{j}transfer-encoding: chunked\r\n\r\nc\r\n{o}\r\n0\r\n{s}",
    ),
    (
        "an answer behind the chunks",
        Sound,
        Goes,
        "HTTP/1.1 200 OK\r\n{j}transfer-encoding: chunked\r\n\r\nc\r\n{o}\r\n0\r\n\r\n{s}",
    ),
    // --- interim answers, and answers without a body
    (
        "continue first",
        Passes,
        Goes,
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n{j}content-length: 12\r\n\r\n{o}",
    ),
    (
        "early hints first",
        Passes,
        Goes,
        "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n{j}content-length: 12\r\n\r\n{o}",
    ),
    ("a flood of interim answers", Sound, Closes, "{interim}HTTP/1.1 200 OK\r\n{j}content-length: 12\r\n\r\n{o}"),
    ("only interim answers", Fails, Closes, "{interim}"),
    (
        "an interim answer with a body",
        Sound,
        Closes,
        "HTTP/1.1 103 Early Hints\r\ncontent-length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\n{j}content-length: 12\r\n\r\n{o}",
    ),
    (
        "an interim answer with chunks",
        Sound,
        Closes,
        "HTTP/1.1 100 Continue\r\ntransfer-encoding: chunked\r\n\r\nHTTP/1.1 200 OK\r\n{j}content-length: 12\r\n\r\n{o}",
    ),
    (
        "switches protocols unasked",
        Fails,
        Closes,
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n{s}",
    ),
    ("switches protocols and goes on", Fails, Goes, "HTTP/1.1 101 Switching Protocols\r\n\r\n{s}"),
    ("no content, and a body", Sound, Goes, "HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\nhello"),
    ("no content, and an answer", Sound, Goes, "HTTP/1.1 204 No Content\r\n\r\n{s}"),
    (
        "no content, and chunks",
        Sound,
        Goes,
        "HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ),
    ("not modified, and a body", Sound, Goes, "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\nhello"),
    ("not modified, and an answer", Sound, Goes, "HTTP/1.1 304 Not Modified\r\n\r\n{s}"),
    ("reset content, and a body", Sound, Goes, "HTTP/1.1 205 Reset Content\r\ncontent-length: 5\r\n\r\nhello"),
    ("two answers", Sound, Goes, "HTTP/1.1 200 OK\r\n{j}content-length: 12\r\n\r\n{o}{s}"),
    ("two answers, the first empty", Sound, Goes, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n{s}"),
    ("a thousand answers", Sound, Goes, "HTTP/1.1 200 OK\r\n{j}content-length: 12\r\n\r\n{o}{s}{s}{s}{s}{s}{s}{s}{s}"),
];

fn hostile() -> Vec<Hostile> {
    let fill = |text: &str| {
        text.replace("{s}", SMUGGLED)
            .replace("{j}", JSON)
            .replace("{o}", OWN)
            .replace("{long}", &"a".repeat(300_000))
            .replace("{many}", &"x-a: b\r\n".repeat(1_000))
            .replace("{interim}", &"HTTP/1.1 100 Continue\r\n\r\n".repeat(1_000))
            .into_bytes()
    };
    let texts = TEXTS.iter();
    let texts = texts.map(|(name, due, then, text)| Hostile {
        name: (*name).into(),
        bytes: fill(text),
        then: *then,
        due: *due,
    });
    texts.chain(large()).collect()
}

/// What is too much to be written out above.
fn large() -> Vec<Hostile> {
    let with = |name: &str, due, fields: &str, body: &[u8]| {
        let head = format!("HTTP/1.1 200 OK\r\n{JSON}{fields}content-length: {}\r\n\r\n", body.len());
        Hostile { name: name.into(), bytes: [head.as_bytes(), body].concat(), then: Goes, due }
    };
    let endless = [b"HTTP/1.1 200 OK\r\n".to_vec(), b"x-a: b\r\n".repeat(500_000)].concat();
    vec![
        with("a bomb of compression", Sound, "content-encoding: gzip\r\n", &bomb(32 << 20)),
        with("a bomb in two codings", Sound, "content-encoding: gzip, gzip\r\n", &bomb(1 << 20)),
        with("a coding that is none", Sound, "content-encoding: rot13\r\n", OWN.as_bytes()),
        with("nested too deeply", Sound, "", &[b"[".repeat(100_000), b"]".repeat(100_000)].concat()),
        with("a body of megabytes", Sound, "", &[b"[", &b"1,".repeat(2_000_000)[..], b"1]"].concat()),
        with("no JSON", Sound, "", b"{\"own\":"),
        Hostile { name: "an endless head".into(), bytes: endless, then: Goes, due: Fails },
        Hostile { name: "an endless line".into(), bytes: vec![b'a'; 4 << 20], then: Goes, due: Fails },
    ]
}

/// So many zero bytes, compressed.
fn bomb(bytes: usize) -> Vec<u8> {
    use std::io::Write;
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    writer.write_all(&vec![0; bytes]).unwrap();
    writer.finish().unwrap()
}

/// Method, target and the rest of a request in each way that an answer can travel.
const LANES: [(&str, &str, &str, &str, &str); 5] = [
    ("streamed", "GET", "/shop/items", "", ""),
    ("streamed upload", "POST", "/shop/notes", "Content-Type: text/plain\r\nContent-Length: 4\r\n", "note"),
    (
        "held",
        "POST",
        "/shop/items",
        "Content-Type: application/json\r\nContent-Length: 25\r\n",
        r#"{"name":"tea","quantity":1}"#,
    ),
    ("redacted", "GET", "/shop/items/1", "", ""),
    ("head", "HEAD", "/shop/items", "", ""),
];

const POLICY: &str = r#"
@id("test.redacted")
@redact("/secret")
permit (principal, action == Action::"shop.getItem", resource);
"#;

#[tokio::test]
async fn any_answer_of_a_back_end_is_one_sound_answer_and_nobody_elses() {
    let hostile = Arc::new(hostile());
    let backend = start(Arc::clone(&hostile)).await;
    let site = Site::plain_urls(&[format!("http://{backend}")]);
    site.backends(&[format!("http://{backend}")], "timeouts: { connect: 1s, read: 1s, write: 1s, total: 5s }");
    site.write("policies/redacted.cedar", POLICY);
    let gateway = site.start().await;
    let address = gateway.address("public");
    let token = outside_token("acme", "app");
    let pairs = (0..hostile.len()).flat_map(|answer| (0..LANES.len()).map(move |lane| (answer, lane)));
    let tally = all(pairs.map(|(answer, lane)| {
        let (hostile, token) = (Arc::clone(&hostile), token.as_str());
        async move {
            let mut tally = Tally { cases: 1, ..Tally::default() };
            if let Err(failure) = ask(address, &hostile[answer], answer, lane, token, &mut tally).await {
                tally.failures.push(format!("{} in lane {}: {failure}", hostile[answer].name, LANES[lane].0));
            }
            tally
        }
    }))
    .await;
    println!("answers: {} cases, {} passed on, {} refused or broken off", tally.cases, tally.forwarded, tally.refused);
    assert!(tally.failures.is_empty(), "{}", tally.failures.join("\n"));
    assert!(tally.cases >= 400 && tally.forwarded > 50 && tally.refused > 150, "{} {}", tally.forwarded, tally.refused);
}

async fn ask(
    address: SocketAddr,
    hostile: &Hostile,
    number: usize,
    lane: usize,
    token: &str,
    tally: &mut Tally,
) -> Result<(), String> {
    let (_, method, target, fields, body) = LANES[lane];
    let head = |mode: &str| {
        let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let fields = fields.split_once("Content-Length").map_or(fields, |(kind, _)| kind);
        format!(
            "{method} {target}?m={mode} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n{fields}{length}\r\n{body}"
        )
    };
    let mut client = Client::connect(address).await;
    client.send(head(&number.to_string()).as_bytes()).await;
    let goes_on = match client.answer(method == "HEAD").await? {
        None => {
            tally.refused += 1;
            if hostile.due == Passes {
                return Err("the connection breaks".into());
            }
            false
        }
        Some(answer) => {
            judge(&answer, hostile, lane)?;
            *(if answer.status < 500 { &mut tally.forwarded } else { &mut tally.refused }) += 1;
            !answer.closes()
        }
    };
    if goes_on {
        own(&mut client, &head("own"), method).await.map_err(|e| format!("the next on this connection: {e}"))?;
    }
    client.finish().await;
    match client.rest().await {
        0 => {}
        more => return Err(format!("{more} bytes that nobody asked for")),
    }
    // Whoever comes next gets its own answer, whichever connections to the back end are at hand.
    for _ in 0..2 {
        let mut client = Client::connect(address).await;
        own(&mut client, &head("own"), method).await.map_err(|e| format!("another's next: {e}"))?;
    }
    Ok(())
}

fn judge(answer: &Answer, hostile: &Hostile, lane: usize) -> Result<(), String> {
    let shown = || {
        format!("{} {:?}", answer.status, String::from_utf8_lossy(&answer.body).chars().take(200).collect::<String>())
    };
    if String::from_utf8_lossy(&answer.body).starts_with("{\"smuggled") {
        return Err("the second answer for the first".into());
    }
    for name in ["keep-alive", "proxy-connection", "set-cookie", "trailer", "upgrade"] {
        if !strict::values(&answer.fields, name).is_empty() {
            return Err(format!("{name} crosses: {}", shown()));
        }
    }
    let ours = matches!(answer.status, 502..=504);
    let head = LANES[lane].1 == "HEAD"; // There is no body that could be wrong.
    let own = head || answer.body == OWN.as_bytes();
    match hostile.due {
        Fails if head => Ok(()),
        Passes if answer.status != 200 || !own => Err(shown()),
        Fails if !ours => Err(format!("it is passed on: {}", shown())),
        Passes | Fails | Sound => Ok(()),
    }
}

async fn own(client: &mut Client, request: &str, method: &str) -> Result<(), String> {
    client.send(request.as_bytes()).await;
    match client.answer(method == "HEAD").await? {
        Some(answer) if answer.status == 200 && (method == "HEAD" || answer.body == OWN.as_bytes()) => Ok(()),
        Some(answer) => Err(format!("{} {:?}", answer.status, String::from_utf8_lossy(&answer.body))),
        None => Err("no answer".into()),
    }
}

async fn start(hostile: Arc<Vec<Hostile>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, Arc::clone(&hostile)));
        }
    });
    address
}

/// Answers as the request's query says.
async fn serve(mut stream: TcpStream, hostile: Arc<Vec<Hostile>>) {
    let mut buffer = Vec::new();
    loop {
        match strict::request(&buffer) {
            Reading::Whole(request, bytes) => {
                buffer.drain(..bytes);
                let mode = request.target.rsplit_once("m=").map(|(_, mode)| mode.to_owned()).unwrap_or_default();
                let length = OWN.len();
                let own = format!("HTTP/1.1 200 OK\r\n{JSON}content-length: {length}\r\n\r\n");
                let own = if request.method == "HEAD" { own } else { own + OWN };
                let chosen = mode.parse::<usize>().ok().map(|number| &hostile[number]);
                let (bytes, then) = chosen.map_or((own.as_bytes(), Goes), |hostile| (&hostile.bytes[..], hostile.then));
                if stream.write_all(bytes).await.is_err() || then == Closes {
                    let _ = stream.shutdown().await;
                    return;
                }
            }
            Reading::Malformed(why) => panic!("the back end is sent what is malformed: {why}"),
            Reading::Incomplete => {
                let mut chunk = [0; 16 * 1024];
                match stream.read(&mut chunk).await {
                    Ok(count) if count > 0 => buffer.extend_from_slice(&chunk[..count]),
                    _ => return,
                }
            }
        }
    }
}
