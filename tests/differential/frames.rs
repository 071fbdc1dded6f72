//! HTTP/2 by single frames: what no library would send, on its way to a back end that speaks HTTP/1.1.

use std::net::SocketAddr;

use super::http2::{
    Block, CONTINUATION, DATA, END_HEADERS, END_STREAM, Ended, Frames, HEADERS, PADDED, PING, PRIORITY, RST_STREAM,
    SETTINGS, block,
};
use super::random::{self, Random};
use super::{Key, Rig, Tally, all};
use Ended::{Answered, Closed, Reset};

/// What a case must come to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Due {
    Refused,
    /// Refused, or forwarded as one request with this target, method and body.
    Either,
    Forwarded,
}

use Due::{Either, Forwarded, Refused};

type Field = (&'static [u8], &'static [u8]);

/// A request: fields in place of, or beside, those of a sound one, and its body.
struct Case {
    name: &'static str,
    due: Due,
    /// `None` takes the field out.
    replaced: &'static [(&'static str, Option<&'static [u8]>)],
    /// Before the others.
    first: &'static [Field],
    /// Behind the others.
    more: &'static [Field],
    body: &'static [u8],
    /// Where the body is cut into two frames of DATA.
    cut: usize,
}

const fn case(name: &'static str, due: Due) -> Case {
    Case { name, due, replaced: &[], first: &[], more: &[], body: b"a note", cut: 0 }
}

impl Case {
    const fn with(mut self, more: &'static [Field]) -> Self {
        self.more = more;
        self
    }

    const fn before(mut self, first: &'static [Field]) -> Self {
        self.first = first;
        self
    }

    const fn put(mut self, replaced: &'static [(&'static str, Option<&'static [u8]>)]) -> Self {
        self.replaced = replaced;
        self
    }

    const fn cut(mut self, at: usize) -> Self {
        self.cut = at;
        self
    }

    /// Pseudo-fields, fields, and the target and method that it means.
    fn fields(&self, number: usize, token: &str) -> (Block, Key) {
        let path = format!("/shop/notes?c=f{number}").into_bytes();
        let mut fields: Block = vec![
            (b":method".to_vec(), b"POST".to_vec()),
            (b":scheme".to_vec(), b"https".to_vec()),
            (b":authority".to_vec(), b"localhost".to_vec()),
            (b":path".to_vec(), path.clone()),
            (b"authorization".to_vec(), format!("Bearer {token}").into_bytes()),
            (b"content-type".to_vec(), b"text/plain".to_vec()),
        ];
        for (name, value) in self.replaced {
            match value {
                None => fields.retain(|(own, _)| own != name.as_bytes()),
                Some(value) => fields.iter_mut().filter(|(own, _)| own == name.as_bytes()).for_each(|(_, old)| {
                    *old = replaced(value, &path);
                }),
            }
        }
        let owned = |field: &Field| (field.0.to_vec(), field.1.to_vec());
        fields.splice(0..0, self.first.iter().map(owned));
        fields.extend(self.more.iter().map(owned));
        let value = |name: &[u8]| {
            let found = fields.iter().find(|(own, _)| own == name).map(|(_, value)| value.clone());
            String::from_utf8_lossy(&found.unwrap_or_default()).into_owned()
        };
        let target = value(b":path").replacen("/shop", "/v1", 1);
        let target = target.split('#').next().unwrap_or_default().to_owned();
        let key = (value(b":method"), target, self.body.to_vec());
        (fields, key)
    }
}

fn replaced(value: &[u8], path: &[u8]) -> Vec<u8> {
    // The palette is ASCII but for single bytes: latin-1 keeps them.
    let text: String = value.iter().map(|b| char::from(*b)).collect();
    let path: String = path.iter().map(|b| char::from(*b)).collect();
    text.replace("{p}", &path).chars().map(|c| c as u8).collect()
}

const CASES: &[Case] = &[
    case("as it is", Forwarded),
    case("a length that fits", Forwarded).with(&[(b"content-length", b"6")]),
    // --- RFC 9113 §8.3: pseudo-fields
    case("no method", Refused).put(&[(":method", None)]),
    case("no scheme", Refused).put(&[(":scheme", None)]),
    case("no path", Refused).put(&[(":path", None)]),
    case("no authority and no host", Refused).put(&[(":authority", None)]),
    case("host for the authority", Either).put(&[(":authority", None)]).with(&[(b"host", b"localhost")]),
    case("host and authority", Either).with(&[(b"host", b"localhost")]),
    case("host and authority that differ", Refused).with(&[(b"host", b"other")]),
    case("two hosts", Refused).with(&[(b"host", b"localhost"), (b"host", b"other")]),
    case("two methods", Refused).before(&[(b":method", b"GET")]),
    case("two paths", Refused).before(&[(b":path", b"/shop/items?c=smuggled")]),
    case("two authorities", Refused).before(&[(b":authority", b"other")]),
    case("two schemes", Refused).before(&[(b":scheme", b"http")]),
    case("pseudo-field behind fields", Refused).with(&[(b":path", b"/shop/items?c=smuggled")]),
    case("unknown pseudo-field", Refused).before(&[(b":x", b"y")]),
    case("status in a request", Refused).before(&[(b":status", b"200")]),
    case("protocol without CONNECT", Refused).before(&[(b":protocol", b"websocket")]),
    case("connect", Refused).put(&[(":method", Some(b"CONNECT"))]),
    case("connect alone", Refused).put(&[(":method", Some(b"CONNECT")), (":path", None), (":scheme", None)]),
    case("trace", Refused).put(&[(":method", Some(b"TRACE"))]),
    case("empty method", Refused).put(&[(":method", Some(b""))]),
    case("method with a space", Refused).put(&[(":method", Some(b"GET /shop/items HTTP/1.1"))]),
    case("method with a line end", Refused).put(&[(":method", Some(b"GET / HTTP/1.1\r\nX: y"))]),
    case("method with a zero byte", Refused).put(&[(":method", Some(b"POST\0"))]),
    case("method in small letters", Refused).put(&[(":method", Some(b"post"))]),
    case("scheme http", Either).put(&[(":scheme", Some(b"http"))]),
    case("another scheme", Either).put(&[(":scheme", Some(b"ftp"))]),
    case("scheme with a path", Refused).put(&[(":scheme", Some(b"https://localhost/x?"))]),
    case("empty scheme", Either).put(&[(":scheme", Some(b""))]),
    // --- :path
    case("empty path", Refused).put(&[(":path", Some(b""))]),
    case("path without a slash", Refused).put(&[(":path", Some(b"shop/notes"))]),
    case("asterisk", Refused).put(&[(":path", Some(b"*"))]),
    case("absolute path", Refused).put(&[(":path", Some(b"https://localhost{p}"))]),
    case("path of two slashes", Refused).put(&[(":path", Some(b"/{p}"))]),
    case("path with a space", Refused).put(&[(":path", Some(b"{p} HTTP/1.1"))]),
    case("path with a request", Refused)
        .put(&[(":path", Some(b"{p} HTTP/1.1\r\nHost: localhost\r\n\r\nGET /v1/secret HTTP/1.1"))]),
    case("path with a line feed", Refused).put(&[(":path", Some(b"{p}\nX: y"))]),
    case("path with a carriage return", Refused).put(&[(":path", Some(b"{p}\rX: y"))]),
    case("path with a zero byte", Refused).put(&[(":path", Some(b"{p}\0"))]),
    case("path with a tab", Refused).put(&[(":path", Some(b"{p}\t"))]),
    case("path with DEL", Refused).put(&[(":path", Some(b"{p}\x7f"))]),
    case("path beyond ASCII", Refused).put(&[(":path", Some(b"{p}\xe9"))]),
    // A known imperfection: the HTTP/2 library cuts the fragment off before anybody can see it.
    case("path with a fragment", Either).put(&[(":path", Some(b"{p}#x"))]),
    case("path with a backslash", Refused).put(&[(":path", Some(b"/shop\\notes"))]),
    case("path with dots", Refused).put(&[(":path", Some(b"/shop/x/../notes"))]),
    case("path with encoded dots", Refused).put(&[(":path", Some(b"/shop/x/%2e%2e/notes"))]),
    case("path with an encoded slash", Refused).put(&[(":path", Some(b"/shop%2fnotes"))]),
    case("path with a parameter", Refused).put(&[(":path", Some(b"/shop/notes;a=b"))]),
    case("path with angles", Refused).put(&[(":path", Some(b"{p}&x=<a>"))]),
    case("path with quotes", Refused).put(&[(":path", Some(b"{p}&x=\"a\""))]),
    case("path with an encoded line end in the query", Either).put(&[(":path", Some(b"{p}&x=%0d%0aA:%20b"))]),
    case("path with two question marks", Either).put(&[(":path", Some(b"{p}?x=1"))]),
    // --- :authority
    case("empty authority", Refused).put(&[(":authority", Some(b""))]),
    case("authority with userinfo", Refused).put(&[(":authority", Some(b"a@localhost"))]),
    case("authority with a path", Refused).put(&[(":authority", Some(b"localhost/x"))]),
    case("authority with a space", Refused).put(&[(":authority", Some(b"local host"))]),
    case("authority with a line end", Refused).put(&[(":authority", Some(b"localhost\r\nX: y"))]),
    case("authority with a zero byte", Refused).put(&[(":authority", Some(b"localhost\0"))]),
    case("list of authorities", Refused).put(&[(":authority", Some(b"localhost, other"))]),
    case("another authority", Refused).put(&[(":authority", Some(b"other"))]),
    case("authority in capitals", Either).put(&[(":authority", Some(b"LOCALHOST"))]),
    case("authority with a port", Either).put(&[(":authority", Some(b"localhost:443"))]),
    case("authority with a bad port", Refused).put(&[(":authority", Some(b"localhost:x"))]),
    case("authority with a large port", Refused).put(&[(":authority", Some(b"localhost:99999"))]),
    // --- RFC 9113 §8.2.2: fields of one connection
    case("transfer-encoding", Refused).with(&[(b"transfer-encoding", b"chunked")]),
    case("transfer-encoding and a length", Refused)
        .with(&[(b"transfer-encoding", b"chunked"), (b"content-length", b"6")]),
    case("connection", Refused).with(&[(b"connection", b"close")]),
    case("connection names a length", Refused).with(&[(b"connection", b"content-length"), (b"content-length", b"6")]),
    case("keep-alive", Refused).with(&[(b"keep-alive", b"timeout=5")]),
    case("proxy-connection", Refused).with(&[(b"proxy-connection", b"close")]),
    case("upgrade", Refused).with(&[(b"upgrade", b"websocket")]),
    case("te", Refused).with(&[(b"te", b"chunked")]),
    case("te of trailers", Either).with(&[(b"te", b"trailers")]),
    case("http2-settings", Either).with(&[(b"http2-settings", b"AAMAAABk")]),
    case("expect", Either).with(&[(b"expect", b"100-continue")]),
    case("another expect", Refused).with(&[(b"expect", b"x")]),
    // --- RFC 9113 §8.2.1: names and values
    case("name in capitals", Refused).with(&[(b"X-A", b"b")]),
    case("one capital", Refused).with(&[(b"x-A", b"b")]),
    case("empty name", Refused).with(&[(b"", b"b")]),
    case("name with a colon", Refused).with(&[(b"x:a", b"b")]),
    case("name with a space", Refused).with(&[(b"x a", b"b")]),
    case("name with a line end", Refused).with(&[(b"x-a: b\r\nx-b", b"c")]),
    case("name with a line feed", Refused).with(&[(b"x-a\n", b"c")]),
    case("name with a zero byte", Refused).with(&[(b"x\0a", b"b")]),
    case("name beyond ASCII", Refused).with(&[(b"x-\xe9", b"b")]),
    case("name with a quote", Refused).with(&[(b"x\"a", b"b")]),
    case("name with a slash", Refused).with(&[(b"x/a", b"b")]),
    case("name that is a request", Refused).with(&[(b"get / http/1.1\r\nhost", b"b")]),
    case("value with a line end", Refused).with(&[(b"x-a", b"b\r\nx-b: c")]),
    case("value with a line feed", Refused).with(&[(b"x-a", b"b\nc")]),
    case("value with a carriage return", Refused).with(&[(b"x-a", b"b\rc")]),
    case("value with a zero byte", Refused).with(&[(b"x-a", b"b\0c")]),
    case("value that is a request", Refused).with(&[(b"x-a", b"b\r\n\r\nGET /v1/secret HTTP/1.1\r\nHost: x\r\n\r\n")]),
    case("value with DEL", Either).with(&[(b"x-a", b"b\x7fc")]),
    case("value with a control character", Either).with(&[(b"x-a", b"b\x01c")]),
    case("value with a space before it", Either).with(&[(b"x-a", b" b")]),
    case("value with a space behind it", Either).with(&[(b"x-a", b"b ")]),
    case("value beyond ASCII", Either).with(&[(b"x-a", b"\xe9")]),
    case("empty value", Either).with(&[(b"x-a", b"")]),
    // --- lengths against DATA (RFC 9113 §8.1.1)
    case("length too short", Refused).with(&[(b"content-length", b"3")]),
    case("length too long", Refused).with(&[(b"content-length", b"60")]),
    case("length too short, in two frames", Refused).with(&[(b"content-length", b"3")]).cut(3),
    case("length too long, in two frames", Refused).with(&[(b"content-length", b"60")]).cut(3),
    case("length that fits, in two frames", Forwarded).with(&[(b"content-length", b"6")]).cut(3),
    case("length zero", Refused).with(&[(b"content-length", b"0")]),
    case("length of two zeros", Refused).with(&[(b"content-length", b"00")]),
    case("two lengths", Refused).with(&[(b"content-length", b"6"), (b"content-length", b"6")]),
    case("two lengths that differ", Refused).with(&[(b"content-length", b"6"), (b"content-length", b"0")]),
    case("two lengths in one", Refused).with(&[(b"content-length", b"6, 6")]),
    case("signed length", Refused).with(&[(b"content-length", b"+6")]),
    case("hexadecimal length", Refused).with(&[(b"content-length", b"0x6")]),
    case("length with a space", Refused).with(&[(b"content-length", b"6 6")]),
    case("empty length", Refused).with(&[(b"content-length", b"")]),
    case("length of no number", Refused).with(&[(b"content-length", b"x")]),
    case("length beyond 64 bits", Refused).with(&[(b"content-length", b"18446744073709551622")]),
    case("length with zeros", Either).with(&[(b"content-length", b"006")]),
    // --- what must end here
    case("claims of identity", Either).with(&[
        (b"x-forwarded-for", b"1.2.3.4"),
        (b"forwarded", b"for=1.2.3.4"),
        (b"x_forwarded_for", b"1.2.3.4"),
    ]),
    case("another target", Either).with(&[(b"x-original-url", b"/v1/secret"), (b"x-http-method-override", b"DELETE")]),
    case("two content types", Refused).with(&[(b"content-type", b"text/html")]),
    case("two tokens", Refused).with(&[(b"authorization", b"Bearer x")]),
    case("cookies apart", Either).with(&[(b"cookie", b"a=b"), (b"cookie", b"c=d")]),
];

/// A frame of a sequence: kind, flags, stream, payload. `None` for the payload is the sound header block.
type Frame = (u8, u8, u32, Option<&'static [u8]>);

/// `x-a: b`, and `:path: /v1/secret`, as literals.
const TRAILER: &[u8] = b"\0\x03x-a\x01b";
const PSEUDO_TRAILER: &[u8] = b"\0\x05:path\x0a/v1/secret";
const LENGTH_TRAILER: &[u8] = b"\0\x0econtent-length\x013";

/// What is sound on its own, in an order or a form that is not, or seldom is. Each means the body `a note`.
const SEQUENCES: &[(&str, Due, &[Frame])] = &[
    ("in one piece", Forwarded, &[(HEADERS, 4, 1, None), (DATA, 1, 1, Some(b"a note"))]),
    ("padded data", Forwarded, &[(HEADERS, 4, 1, None), (DATA, 1 | PADDED, 1, Some(b"\x03a note\0\0\0"))]),
    ("padding that is not zero", Either, &[(HEADERS, 4, 1, None), (DATA, 1 | PADDED, 1, Some(b"\x03a noteGET"))]),
    ("padding beyond the frame", Refused, &[(HEADERS, 4, 1, None), (DATA, 1 | PADDED, 1, Some(b"\x70a note"))]),
    (
        "empty frames of data",
        Forwarded,
        &[(HEADERS, 4, 1, None), (DATA, 0, 1, Some(b"")), (DATA, 0, 1, Some(b"a note")), (DATA, 1, 1, Some(b""))],
    ),
    ("trailers", Either, &[(HEADERS, 4, 1, None), (DATA, 0, 1, Some(b"a note")), (HEADERS, 5, 1, Some(TRAILER))]),
    (
        "a target as a trailer, which ends here",
        Either,
        &[(HEADERS, 4, 1, None), (DATA, 0, 1, Some(b"a note")), (HEADERS, 5, 1, Some(PSEUDO_TRAILER))],
    ),
    (
        "a length as a trailer",
        Either,
        &[(HEADERS, 4, 1, None), (DATA, 0, 1, Some(b"a note")), (HEADERS, 5, 1, Some(LENGTH_TRAILER))],
    ),
    (
        "trailers that do not end",
        Refused,
        &[
            (HEADERS, 4, 1, None),
            (DATA, 0, 1, Some(b"a note")),
            (HEADERS, 4, 1, Some(TRAILER)),
            (DATA, 1, 1, Some(b"x")),
        ],
    ),
    ("two header blocks", Refused, &[(HEADERS, 4, 1, None), (HEADERS, 4, 1, None), (DATA, 1, 1, Some(b"a note"))]),
    (
        "a reset within",
        Refused,
        &[
            (HEADERS, 4, 1, None),
            (DATA, 0, 1, Some(b"a note")),
            (RST_STREAM, 0, 1, Some(&[0, 0, 0, 8])),
            (DATA, 1, 1, Some(b"x")),
        ],
    ),
    (
        "another stream within a block",
        Refused,
        &[(HEADERS, 0, 1, None), (DATA, 1, 3, Some(b"x")), (CONTINUATION, 4, 1, Some(TRAILER))],
    ),
    (
        "another block within a block",
        Refused,
        &[(HEADERS, 0, 1, None), (HEADERS, 5, 3, None), (CONTINUATION, 4, 1, Some(TRAILER))],
    ),
    (
        "a block in two frames",
        Forwarded,
        &[(HEADERS, 0, 1, None), (CONTINUATION, 4, 1, Some(TRAILER)), (DATA, 1, 1, Some(b"a note"))],
    ),
    (
        "a block that is continued with a target",
        Refused,
        &[(HEADERS, 0, 1, None), (CONTINUATION, 4, 1, Some(PSEUDO_TRAILER)), (DATA, 1, 1, Some(b"a note"))],
    ),
    ("a continuation of nothing", Refused, &[(CONTINUATION, 4, 1, None), (DATA, 1, 1, Some(b"a note"))]),
    ("data of no request", Refused, &[(DATA, 1, 1, Some(b"a note"))]),
    ("data of the connection", Refused, &[(HEADERS, 4, 1, None), (DATA, 1, 0, Some(b"a note"))]),
    ("a header block of the connection", Refused, &[(HEADERS, 5, 0, None)]),
    ("an even stream", Refused, &[(HEADERS, 5, 2, None)]),
    ("a block that cannot be decoded", Refused, &[(HEADERS, 5, 1, Some(b"\xff\xff\xff\xff\xff"))]),
    ("a block cut short", Refused, &[(HEADERS, 5, 1, Some(b"\0\x07:met"))]),
    ("an empty block", Refused, &[(HEADERS, 5, 1, Some(b""))]),
    (
        "a dependency on itself",
        Either,
        &[(HEADERS, 4 | PRIORITY, 1, Some(b"\0\0\0\x01\x10")), (DATA, 1, 1, Some(b"a note"))],
    ),
    (
        "a frame of no known kind",
        Forwarded,
        &[(0x5a, 0xff, 1, Some(b"GET / HTTP/1.1")), (HEADERS, 4, 1, None), (DATA, 1, 1, Some(b"a note"))],
    ),
    (
        "settings that are cut",
        Refused,
        &[(SETTINGS, 0, 0, Some(b"\0\x04\0")), (HEADERS, 4, 1, None), (DATA, 1, 1, Some(b"a note"))],
    ),
    (
        "settings of a stream",
        Refused,
        &[(SETTINGS, 0, 1, Some(b"")), (HEADERS, 4, 1, None), (DATA, 1, 1, Some(b"a note"))],
    ),
    ("a push", Refused, &[(5, 4, 1, Some(b"\0\0\0\x02")), (HEADERS, 4, 1, None), (DATA, 1, 1, Some(b"a note"))]),
];

#[tokio::test]
async fn http2_frames_in_any_order_make_one_sound_request_or_none() {
    let rig = Rig::start().await;
    let address = rig.gateway.address("tls");
    let tally = all(SEQUENCES.iter().enumerate().map(|(number, (name, due, frames))| {
        let token = rig.token.as_str();
        async move {
            let mut tally = Tally { cases: 1, ..Tally::default() };
            if let Err(failure) = follow(address, *due, frames, 1_000 + number, token, &mut tally).await {
                tally.failures.push(format!("{name}: {failure}"));
            }
            tally
        }
    }))
    .await;
    rig.settle("HTTP/2 sequences", tally);
}

async fn follow(
    address: SocketAddr,
    due: Due,
    frames: &[Frame],
    number: usize,
    token: &str,
    tally: &mut Tally,
) -> Result<(), String> {
    let (fields, key) = case_of_marker().fields(number, token);
    let sound = block(&fields);
    let mut wire = Frames::connect(address).await;
    for (kind, flags, stream, payload) in frames {
        wire.send(*kind, *flags, *stream, payload.unwrap_or(&sound)).await;
    }
    if frames.iter().any(|(kind, ..)| *kind == RST_STREAM) {
        wire.send(PING, 0, 0, &[7; 8]).await; // A stream that we reset is not answered; the echo says that it was seen.
    }
    let end = wire.end_of(1).await;
    match (&end, due) {
        (Answered { status: 200..=299, body }, Forwarded | Either) => {
            owns(body, &key)?;
            tally.forwarded += 1;
            tally.expected.push(key);
            Ok(())
        }
        (Answered { status: 400..=499, .. } | Reset | Closed, Refused | Either) => {
            tally.refused += 1;
            Ok(())
        }
        (Answered { .. } | Reset | Closed, _) => Err(format!("{end:?}")),
    }
}

#[tokio::test]
async fn http2_requests_reach_the_back_end_as_one_sound_request_or_not_at_all() {
    let rig = Rig::start().await;
    let address = rig.gateway.address("tls");
    let tally = all(CASES.iter().enumerate().map(|(number, case)| {
        let token = rig.token.as_str();
        async move {
            let mut tally = Tally { cases: 1, ..Tally::default() };
            let (fields, key) = case.fields(number, token);
            let sent = Sent { fields, key, body: case.body.to_vec(), cut: case.cut, due: case.due };
            if let Err(failure) = play(address, sent, number, token, &mut tally).await {
                tally.failures.push(format!("{}: {failure}", case.name));
            }
            tally
        }
    }))
    .await;
    assert!(tally.cases >= 100, "{}", tally.cases);
    rig.settle("HTTP/2", tally);
}

/// Random changes of a sound request; see [`super::random::run`].
#[tokio::test]
async fn random_http2_requests_reach_the_back_end_as_they_were_sent_or_not_at_all() {
    let rig = Rig::start().await;
    let address = rig.gateway.address("tls");
    let (seed, count) = random::run(400, 20_000);
    println!("CLEARWAY_SEED={seed}");
    let tally = all((0..count).map(|number| {
        let token = rig.token.as_str();
        let sent = spoilt(&mut Random::new(seed, number), 10_000 + number, token);
        async move {
            let mut tally = Tally { cases: 1, ..Tally::default() };
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(token, "TOKEN");
            let fields: Vec<_> = sent.fields.iter().map(|(name, value)| (text(name), text(value))).collect();
            let shown = format!("{fields:?} {:?} cut at {}", text(&sent.body), sent.cut);
            if let Err(failure) = play(address, sent, 10_000 + number, token, &mut tally).await {
                tally.failures.push(format!("{number}: {failure}\n  {shown}"));
            }
            tally
        }
    }))
    .await;
    assert!(tally.forwarded > count / 8 && tally.refused > count / 8, "{} and {}", tally.forwarded, tally.refused);
    rig.settle("random HTTP/2", tally);
}

fn spoilt(random: &mut Random, number: usize, token: &str) -> Sent {
    let (mut fields, _) = case_of_marker().fields(number, token);
    let mut body = b"a note"[..random.below(7)].to_vec();
    if random.below(4) == 0 {
        fields.push((b"content-length".to_vec(), body.len().to_string().into_bytes()));
    }
    for _ in 0..=random.below(2) {
        let at = random.below(fields.len());
        match random.below(7) {
            0 => fields[at].0 = random.spoil(&fields[at].0.clone()),
            1 | 2 => fields[at].1 = random.spoil(&fields[at].1.clone()),
            3 => {
                let last = fields.len() - 1;
                fields.swap(at, last);
            }
            4 => fields.push(fields[at].clone()),
            5 => body = random.spoil(&body),
            _ => {
                let other = CASES[random.below(CASES.len())].more;
                fields.extend(other.iter().map(|(name, value)| (name.to_vec(), value.to_vec())));
            }
        }
    }
    let value = |name: &[u8]| {
        let found = fields.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_slice());
        String::from_utf8_lossy(found.unwrap_or_default()).into_owned()
    };
    // The HTTP/2 library cuts the fragment off.
    let target = value(b":path").split('#').next().unwrap_or_default().replacen("/shop", "/v1", 1);
    let key = (value(b":method"), target, body.clone());
    let cut = random.below(body.len() + 1);
    Sent { fields, key, body, cut, due: Either }
}

/// A request on its way out.
struct Sent {
    fields: Block,
    /// What it means, if it means anything.
    key: Key,
    body: Vec<u8>,
    cut: usize,
    due: Due,
}

async fn play(address: SocketAddr, sent: Sent, number: usize, token: &str, tally: &mut Tally) -> Result<(), String> {
    let Sent { fields, key, body, cut, due } = sent;
    let mut wire = Frames::connect(address).await;
    wire.send(HEADERS, END_HEADERS, 1, &block(&fields)).await;
    let (begin, rest) = body.split_at(cut);
    let announced = (key.0.clone(), key.1.clone(), begin.to_vec());
    if !begin.is_empty() {
        wire.send(DATA, 0, 1, begin).await;
        // A back end that waits for no more than was announced has had it all.
        tally.allowed.push(announced.clone());
    }
    wire.send(DATA, END_STREAM, 1, rest).await;
    let end = wire.end_of(1).await;
    match (due, &end) {
        // It may be answered for what was announced, before the rest contradicts that.
        (Refused | Either, Answered { status: 200, body }) if cut > 0 && owns(body, &announced).is_ok() => {
            tally.forwarded += 1;
            return Ok(());
        }
        (Refused, Answered { status: 200..=299, .. }) => return Err(format!("it is answered with {end:?}")),
        (Forwarded, Answered { status: 200, .. }) | (Refused | Either, _) => {}
        (Forwarded, _) => return Err(format!("it is refused: {end:?}")),
    }
    match &end {
        Answered { status: 200..=299, body } => {
            owns(body, &key)?;
            tally.forwarded += 1;
            tally.expected.push(key);
        }
        Answered { status: 400..=499 | 501 | 505, .. } | Reset => tally.refused += 1,
        Answered { status, .. } => return Err(format!("{status}")),
        Closed => {
            tally.refused += 1;
            return Ok(());
        }
    }
    // The connection goes on, and the next stream is answered for itself.
    let marker = &case_marker(number);
    let (mut fields, _) = case_of_marker().fields(number, token);
    fields[3].1 = format!("/shop/notes?c={marker}").into_bytes();
    wire.send(HEADERS, END_HEADERS, 3, &block(&fields)).await;
    wire.send(DATA, END_STREAM, 3, b"a note").await;
    match wire.end_of(3).await {
        Answered { status: 200, body } => {
            let key = ("POST".to_owned(), format!("/v1/notes?c={marker}"), b"a note".to_vec());
            owns(&body, &key)?;
            tally.forwarded += 1;
            tally.expected.push(key);
            Ok(())
        }
        Closed => Ok(()),
        other => Err(format!("the next stream came to {other:?}")),
    }
}

fn case_marker(number: usize) -> String {
    format!("fm{number}")
}

const fn case_of_marker() -> Case {
    case("marker", Forwarded)
}

fn owns(body: &[u8], key: &Key) -> Result<(), String> {
    let said: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let own = said["target"] == key.1.as_str() && said["bytes"] == key.2.len();
    if own { Ok(()) } else { Err(format!("another's answer: {said} for {key:?}")) }
}
