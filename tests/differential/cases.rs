//! The corpus: named changes of three sound requests, one for each way that a body can travel.
//!
//! What a case must come to is not written here: the strict reading decides. A message that it does not take must be
//! refused; one that it takes may be refused, or must arrive as it was read.

/// A request to be changed. `{c}` in a target stands for the case's number.
#[derive(Clone, Copy)]
pub struct Base {
    pub name: &'static str,
    pub method: &'static str,
    pub path: &'static str,
    pub kind: &'static str,
    pub body: &'static str,
}

pub const BASES: [Base; 4] = [
    Base { name: "read", method: "GET", path: "/shop/items", kind: "", body: "" },
    Base {
        name: "held",
        method: "POST",
        path: "/shop/items",
        kind: "application/json",
        body: r#"{"name":"a","quantity":1}"#,
    },
    Base { name: "streamed", method: "POST", path: "/shop/notes", kind: "text/plain", body: "a note of some length" },
    Base {
        name: "uploaded",
        method: "PUT",
        path: "/shop/upload",
        kind: "application/octet-stream",
        body: "some bytes",
    },
];

/// One change of a sound request.
#[derive(Clone, Copy)]
pub enum Change {
    /// The request line; `{m}` is the method, `{t}` the target.
    Line(&'static str),
    /// The Host line.
    Host(&'static str),
    /// Lines beside the others.
    Fields(&'static str),
    /// Lines and bytes in place of the length and the body; `{b}` is the body, `{n}` its length, `{x}` the latter in
    /// hexadecimal.
    Framing(&'static str, &'static str),
    /// The path, without its query.
    Path(&'static str),
    /// Bytes before it.
    Before(&'static str),
    /// The line ends of the head.
    Ends(&'static str),
}

use Change::{Before, Ends, Fields, Framing, Host, Line, Path};

pub const CHANGES: &[(&str, Change)] = &[
    ("as it is", Fields("")),
    // --- request line (RFC 9112 §3)
    ("two spaces", Line("{m}  {t} HTTP/1.1")),
    ("tab", Line("{m}\t{t} HTTP/1.1")),
    ("leading space", Line(" {m} {t} HTTP/1.1")),
    ("trailing space", Line("{m} {t} HTTP/1.1 ")),
    ("space in the target", Line("{m} {t} x HTTP/1.1")),
    ("no version", Line("{m} {t}")),
    ("version 0.9", Line("{m} {t} HTTP/0.9")),
    ("version 1.0", Line("{m} {t} HTTP/1.0")),
    ("version 1.2", Line("{m} {t} HTTP/1.2")),
    ("version 1.10", Line("{m} {t} HTTP/1.10")),
    ("version 2.0", Line("{m} {t} HTTP/2.0")),
    ("version in small letters", Line("{m} {t} http/1.1")),
    ("version with a space", Line("{m} {t} HTTP/ 1.1")),
    ("carriage return in the line", Line("{m} {t}\r HTTP/1.1")),
    ("zero byte in the line", Line("{m} {t}\0 HTTP/1.1")),
    ("vertical tab for a space", Line("{m}\x0b{t} HTTP/1.1")),
    ("method in small letters", Line("get {t} HTTP/1.1")),
    ("method with a colon", Line("{m}: {t} HTTP/1.1")),
    ("method with a bracket", Line("{m}( {t} HTTP/1.1")),
    ("endless method", Line("GGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGG {t} HTTP/1.1")),
    ("connect", Line("CONNECT localhost:443 HTTP/1.1")),
    ("trace", Line("TRACE {t} HTTP/1.1")),
    ("preface of HTTP/2", Line("PRI * HTTP/2.0")),
    ("absolute", Line("{m} http://localhost{t} HTTP/1.1")),
    ("absolute, https", Line("{m} https://localhost{t} HTTP/1.1")),
    ("absolute, capitals", Line("{m} HTTP://LOCALHOST{t} HTTP/1.1")),
    ("absolute, another host", Line("{m} http://other{t} HTTP/1.1")),
    ("absolute, userinfo", Line("{m} http://a@localhost{t} HTTP/1.1")),
    ("absolute, another scheme", Line("{m} ftp://localhost{t} HTTP/1.1")),
    ("absolute, no host", Line("{m} http://{t} HTTP/1.1")),
    ("absolute, a port", Line("{m} http://localhost:80{t} HTTP/1.1")),
    ("authority form", Line("{m} localhost HTTP/1.1")),
    ("asterisk", Line("{m} * HTTP/1.1")),
    ("asterisk for OPTIONS", Line("OPTIONS * HTTP/1.1")),
    ("fragment", Line("{m} {t}#x HTTP/1.1")),
    ("backslash", Line("{m} \\shop\\items HTTP/1.1")),
    ("two slashes first", Line("{m} /{t} HTTP/1.1")),
    ("header in the target", Line("{m} {t}%20HTTP/1.1%0d%0aX:%20y HTTP/1.1")),
    ("byte beyond ASCII", Line("{m} {t}&x=\u{e9} HTTP/1.1")),
    ("quote in the query", Line("{m} {t}&x=\" HTTP/1.1")),
    ("angles in the query", Line("{m} {t}&x=<a> HTTP/1.1")),
    ("brackets in the query", Line("{m} {t}&x[a]={b} HTTP/1.1")),
    ("question marks", Line("{m} {t}?x=1?y=2 HTTP/1.1")),
    ("escaped line end in the query", Line("{m} {t}&x=%0d%0aA:%20b HTTP/1.1")),
    ("two request lines", Line("{m} {t} HTTP/1.1\r\nGET /shop/items?c=smuggled HTTP/1.1")),
    // --- Host (RFC 9112 §3.2)
    ("no host", Host("")),
    ("empty host", Host("Host:\r\n")),
    ("two hosts", Host("Host: localhost\r\nHost: localhost\r\n")),
    ("two hosts that differ", Host("Host: localhost\r\nHost: other\r\n")),
    ("list of hosts", Host("Host: localhost, other\r\n")),
    ("host with userinfo", Host("Host: a@localhost\r\n")),
    ("host with a path", Host("Host: localhost/x\r\n")),
    ("host with a space", Host("Host: local host\r\n")),
    ("host with a bad port", Host("Host: localhost:x\r\n")),
    ("host with a large port", Host("Host: localhost:99999\r\n")),
    ("host with an empty port", Host("Host: localhost:\r\n")),
    ("host in capitals", Host("Host: LOCALHOST\r\n")),
    ("host with a port", Host("Host: localhost:8080\r\n")),
    ("another host", Host("Host: other\r\n")),
    ("host, space before the colon", Host("Host : localhost\r\n")),
    ("host, folded", Host("Host:\r\n localhost\r\n")),
    ("host with a tab", Host("Host:\tlocalhost\r\n")),
    ("host with a zero byte", Host("Host: local\0host\r\n")),
    ("host behind a folded first line", Host(" X: y\r\nHost: localhost\r\n")),
    // --- fields (RFC 9112 §5)
    ("folded", Fields("X-A: b\r\n c\r\n")),
    ("folded with a tab", Fields("X-A: b\r\n\tc\r\n")),
    ("folded length", Fields("X-A: b\r\n Content-Length: 5\r\n")),
    ("space before the colon", Fields("X-A : b\r\n")),
    ("tab before the colon", Fields("X-A\t: b\r\n")),
    ("space in the name", Fields("X A: b\r\n")),
    ("empty name", Fields(": b\r\n")),
    ("no colon", Fields("X-A\r\n")),
    ("only a space", Fields(" \r\n")),
    ("name with a bracket", Fields("X(A): b\r\n")),
    ("name beyond ASCII", Fields("X-\u{e9}: b\r\n")),
    ("name with a zero byte", Fields("X\0A: b\r\n")),
    ("value with a zero byte", Fields("X-A: b\0c\r\n")),
    ("value with a carriage return", Fields("X-A: b\rc\r\n")),
    ("value with a carriage return at its end", Fields("X-A: b\r\r\n")),
    ("value with a line feed", Fields("X-A: b\nX-B: c\r\n")),
    ("value with a control character", Fields("X-A: b\x01c\r\n")),
    ("value with DEL", Fields("X-A: b\x7fc\r\n")),
    ("value with an escape character", Fields("X-A: \x1b[31m\r\n")),
    ("value beyond ASCII", Fields("X-A: \u{e9}\r\n")),
    ("value with a tab", Fields("X-A: b\tc\r\n")),
    ("empty value", Fields("X-A:\r\n")),
    ("a field of the gateway", Fields("X-Clearway-Client: other\r\nX-User-Id: 1\r\n")),
    ("underscore twin of a length", Fields("Content_Length: 500\r\n")),
    ("underscore twin of a coding", Fields("Transfer_Encoding: chunked\r\n")),
    ("underscore twin of an identity", Fields("X_Forwarded_For: 1.2.3.4\r\n")),
    ("identity", Fields("X-Forwarded-For: 1.2.3.4\r\nForwarded: for=1.2.3.4\r\nX-Real-IP: 1.2.3.4\r\n")),
    ("another method", Fields("X-HTTP-Method-Override: DELETE\r\n")),
    ("another target", Fields("X-Original-URL: /shop/items/1\r\nX-Rewrite-URL: /shop/items/1\r\n")),
    ("connection names a length", Fields("Connection: content-length\r\n")),
    ("connection names a host", Fields("Connection: host\r\n")),
    ("connection names the token", Fields("Connection: authorization\r\n")),
    ("connection names a coding", Fields("Connection: transfer-encoding\r\n")),
    ("connection names a field", Fields("Connection: x-a\r\nX-A: b\r\n")),
    ("connection closes", Fields("Connection: close\r\n")),
    ("connection closes and goes on", Fields("Connection: close, keep-alive\r\n")),
    ("connection of no names", Fields("Connection: @, ;\r\n")),
    ("proxy connection", Fields("Proxy-Connection: keep-alive\r\nKeep-Alive: timeout=5\r\n")),
    (
        "upgrade to HTTP/2",
        Fields("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"),
    ),
    (
        "upgrade to a websocket",
        Fields(
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n",
        ),
    ),
    ("expects 100", Fields("Expect: 100-continue\r\n")),
    ("expects something else", Fields("Expect: 200-ok\r\n")),
    ("expects 100 twice", Fields("Expect: 100-continue\r\nExpect: 100-continue\r\n")),
    ("TE", Fields("TE: trailers, chunked\r\nConnection: TE\r\n")),
    ("trailer names a length", Fields("Trailer: Content-Length\r\n")),
    ("two content types", Fields("Content-Type: text/html\r\n")),
    ("two tokens", Fields("Authorization: Bearer x\r\n")),
    ("endless value", Fields("X-A: {long}\r\n")),
    ("request within a field", Fields("X-A: b\r\n\r\nGET /shop/items?c=smuggled HTTP/1.1\r\nHost: localhost\r\n")),
    // --- framing (RFC 9112 §6)
    ("no length", Framing("", "{b}")),
    ("length and chunks", Framing("Content-Length: {n}\r\nTransfer-Encoding: chunked\r\n", "{x}\r\n{b}\r\n0\r\n\r\n")),
    ("chunks and length", Framing("Transfer-Encoding: chunked\r\nContent-Length: {n}\r\n", "{x}\r\n{b}\r\n0\r\n\r\n")),
    (
        "length zero and chunks",
        Framing("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", "{x}\r\n{b}\r\n0\r\n\r\n"),
    ),
    ("two lengths", Framing("Content-Length: {n}\r\nContent-Length: {n}\r\n", "{b}")),
    ("two lengths that differ", Framing("Content-Length: {n}\r\nContent-Length: 0\r\n", "{b}")),
    ("two lengths in one", Framing("Content-Length: {n}, {n}\r\n", "{b}")),
    ("length with a sign", Framing("Content-Length: +{n}\r\n", "{b}")),
    ("negative length", Framing("Content-Length: -{n}\r\n", "{b}")),
    ("hexadecimal length", Framing("Content-Length: 0x{x}\r\n", "{b}")),
    ("length with a point", Framing("Content-Length: {n}.0\r\n", "{b}")),
    ("length with an exponent", Framing("Content-Length: {n}e0\r\n", "{b}")),
    ("length with an underscore", Framing("Content-Length: {n}_0\r\n", "{b}")),
    ("length with a space", Framing("Content-Length: {n} 0\r\n", "{b}")),
    ("length with leading zeros", Framing("Content-Length: 000{n}\r\n", "{b}")),
    ("length with spaces around", Framing("Content-Length:   {n}  \r\n", "{b}")),
    ("length in quotes", Framing("Content-Length: \"{n}\"\r\n", "{b}")),
    ("empty length", Framing("Content-Length:\r\n", "{b}")),
    ("length of no number", Framing("Content-Length: many\r\n", "{b}")),
    ("length beyond 64 bits", Framing("Content-Length: 18446744073709551621\r\n", "{b}")),
    ("length beyond 63 bits", Framing("Content-Length: 9223372036854775808\r\n", "{b}")),
    ("length with a zero byte", Framing("Content-Length: {n}\0\r\n", "{b}")),
    ("length with a vertical tab", Framing("Content-Length: \x0b{n}\r\n", "{b}")),
    ("length, space before the colon", Framing("Content-Length : {n}\r\n", "{b}")),
    ("length, folded", Framing("Content-Length:\r\n {n}\r\n", "{b}")),
    ("length too long", Framing("Content-Length: 4{n}\r\n", "{b}")),
    ("length too short", Framing("Content-Length: 1\r\n", "{b}")),
    ("length zero", Framing("Content-Length: 0\r\n", "")),
    ("length in capitals", Framing("CONTENT-LENGTH: {n}\r\n", "{b}")),
    ("chunked", Framing("Transfer-Encoding: chunked\r\n", "{x}\r\n{b}\r\n0\r\n\r\n")),
    ("chunked in capitals", Framing("TRANSFER-ENCODING: CHUNKED\r\n", "{x}\r\n{b}\r\n0\r\n\r\n")),
    ("chunked, sizes in capitals", Framing("Transfer-Encoding: chunked\r\n", "A\r\n0123456789\r\n0\r\n\r\n")),
    ("chunked, sizes with zeros", Framing("Transfer-Encoding: chunked\r\n", "000{x}\r\n{b}\r\n000\r\n\r\n")),
    ("chunked, two chunks", Framing("Transfer-Encoding: chunked\r\n", "1\r\na\r\n2\r\nbc\r\n0\r\n\r\n")),
    ("chunked, nothing", Framing("Transfer-Encoding: chunked\r\n", "0\r\n\r\n")),
    ("chunked, extension", Framing("Transfer-Encoding: chunked\r\n", "{x};a=b\r\n{b}\r\n0;c\r\n\r\n")),
    ("chunked, quoted extension", Framing("Transfer-Encoding: chunked\r\n", "{x};a=\"b;c\"\r\n{b}\r\n0\r\n\r\n")),
    ("chunked, line feed in an extension", Framing("Transfer-Encoding: chunked\r\n", "{x};a\nb\r\n{b}\r\n0\r\n\r\n")),
    (
        "chunked, carriage return in an extension",
        Framing("Transfer-Encoding: chunked\r\n", "{x};a\rb\r\n{b}\r\n0\r\n\r\n"),
    ),
    ("chunked, space before an extension", Framing("Transfer-Encoding: chunked\r\n", "{x} ;a\r\n{b}\r\n0\r\n\r\n")),
    ("chunked, space behind a size", Framing("Transfer-Encoding: chunked\r\n", "{x} \r\n{b}\r\n0\r\n\r\n")),
    ("chunked, space before a size", Framing("Transfer-Encoding: chunked\r\n", " {x}\r\n{b}\r\n0\r\n\r\n")),
    ("chunked, a sign", Framing("Transfer-Encoding: chunked\r\n", "+{x}\r\n{b}\r\n0\r\n\r\n")),
    ("chunked, a negative size", Framing("Transfer-Encoding: chunked\r\n", "-1\r\n{b}\r\n0\r\n\r\n")),
    ("chunked, 0x", Framing("Transfer-Encoding: chunked\r\n", "0x{x}\r\n{b}\r\n0\r\n\r\n")),
    ("chunked, an underscore", Framing("Transfer-Encoding: chunked\r\n", "0_{x}\r\n{b}\r\n0\r\n\r\n")),
    ("chunked, no size", Framing("Transfer-Encoding: chunked\r\n", "\r\n{b}\r\n0\r\n\r\n")),
    (
        "chunked, size beyond 64 bits",
        Framing("Transfer-Encoding: chunked\r\n", "1000000000000000{x}\r\n{b}\r\n0\r\n\r\n"),
    ),
    ("chunked, size of 16 digits", Framing("Transfer-Encoding: chunked\r\n", "ffffffffffffffff\r\n{b}\r\n0\r\n\r\n")),
    ("chunked, only line feeds", Framing("Transfer-Encoding: chunked\r\n", "{x}\n{b}\n0\n\n")),
    ("chunked, line feed behind data", Framing("Transfer-Encoding: chunked\r\n", "{x}\r\n{b}\n0\r\n\r\n")),
    ("chunked, line feed behind the last", Framing("Transfer-Encoding: chunked\r\n", "{x}\r\n{b}\r\n0\n\r\n")),
    ("chunked, nothing behind data", Framing("Transfer-Encoding: chunked\r\n", "{x}\r\n{b}0\r\n\r\n")),
    ("chunked, more data than said", Framing("Transfer-Encoding: chunked\r\n", "1\r\nabc\r\n0\r\n\r\n")),
    ("chunked, less data than said", Framing("Transfer-Encoding: chunked\r\n", "ff\r\nabc\r\n0\r\n\r\n")),
    ("chunked, no end", Framing("Transfer-Encoding: chunked\r\n", "{x}\r\n{b}\r\n")),
    ("chunked, no last line end", Framing("Transfer-Encoding: chunked\r\n", "{x}\r\n{b}\r\n0\r\n")),
    ("chunked, trailers", Framing("Transfer-Encoding: chunked\r\n", "{x}\r\n{b}\r\n0\r\nX-A: b\r\n\r\n")),
    (
        "chunked, a length as a trailer",
        Framing("Transfer-Encoding: chunked\r\n", "{x}\r\n{b}\r\n0\r\nContent-Length: 3\r\nHost: other\r\n\r\n"),
    ),
    ("chunked, a folded trailer", Framing("Transfer-Encoding: chunked\r\n", "{x}\r\n{b}\r\n0\r\nX-A: b\r\n c\r\n\r\n")),
    (
        "chunked, a request as a trailer",
        Framing(
            "Transfer-Encoding: chunked\r\n",
            "{x}\r\n{b}\r\n0\r\nGET /shop/items?c=smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n",
        ),
    ),
    (
        "chunked, a request behind it",
        Framing("Transfer-Encoding: chunked\r\n", "{x}\r\n{b}\r\n0\r\n\r\nGET /shop/items?c=smuggled HTTP/1.1\r\n\r\n"),
    ),
    (
        "chunked twice",
        Framing("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "{x}\r\n{b}\r\n0\r\n\r\n"),
    ),
    ("chunked twice in one", Framing("Transfer-Encoding: chunked, chunked\r\n", "{x}\r\n{b}\r\n0\r\n\r\n")),
    ("gzip, chunked", Framing("Transfer-Encoding: gzip, chunked\r\n", "{x}\r\n{b}\r\n0\r\n\r\n")),
    ("chunked, gzip", Framing("Transfer-Encoding: chunked, gzip\r\n", "{x}\r\n{b}\r\n0\r\n\r\n")),
    ("identity", Framing("Transfer-Encoding: identity\r\nContent-Length: {n}\r\n", "{b}")),
    ("chunked, identity", Framing("Transfer-Encoding: chunked, identity\r\n", "{x}\r\n{b}\r\n0\r\n\r\n")),
    ("xchunked", Framing("Transfer-Encoding: xchunked\r\n", "{x}\r\n{b}\r\n0\r\n\r\n")),
    ("chunkedx", Framing("Transfer-Encoding: chunkedx\r\n", "{x}\r\n{b}\r\n0\r\n\r\n")),
    ("chunked with a parameter", Framing("Transfer-Encoding: chunked;q=1\r\n", "{x}\r\n{b}\r\n0\r\n\r\n")),
    ("chunked in quotes", Framing("Transfer-Encoding: \"chunked\"\r\n", "{x}\r\n{b}\r\n0\r\n\r\n")),
    ("chunked behind a comma", Framing("Transfer-Encoding: , chunked\r\n", "{x}\r\n{b}\r\n0\r\n\r\n")),
    ("chunked before a comma", Framing("Transfer-Encoding: chunked,\r\n", "{x}\r\n{b}\r\n0\r\n\r\n")),
    ("empty coding", Framing("Transfer-Encoding:\r\nContent-Length: {n}\r\n", "{b}")),
    ("chunked behind a tab", Framing("Transfer-Encoding:\tchunked\r\n", "{x}\r\n{b}\r\n0\r\n\r\n")),
    ("chunked behind a vertical tab", Framing("Transfer-Encoding: \x0bchunked\r\n", "{x}\r\n{b}\r\n0\r\n\r\n")),
    (
        "chunked, space before the colon",
        Framing("Transfer-Encoding : chunked\r\nContent-Length: {n}\r\n", "{x}\r\n{b}\r\n0\r\n\r\n"),
    ),
    ("chunked, folded", Framing("Transfer-Encoding:\r\n chunked\r\n", "{x}\r\n{b}\r\n0\r\n\r\n")),
    ("chunked behind a zero byte", Framing("Transfer-Encoding: \0chunked\r\n", "{x}\r\n{b}\r\n0\r\n\r\n")),
    ("chunked with a byte beyond ASCII", Framing("Transfer-Encoding: chunked\u{a0}\r\n", "{x}\r\n{b}\r\n0\r\n\r\n")),
    (
        "chunked behind a carriage return",
        Framing("X-A: b\rTransfer-Encoding: chunked\r\nContent-Length: {n}\r\n", "{b}"),
    ),
    ("chunked behind a line feed", Framing("X-A: b\nTransfer-Encoding: chunked\r\nContent-Length: {n}\r\n", "{b}")),
    // --- paths (RFC 3986)
    ("dot segment", Path("/shop/./items")),
    ("two dots", Path("/shop/x/../items")),
    ("encoded dots", Path("/shop/x/%2e%2e/items")),
    ("half encoded dots", Path("/shop/x/.%2e/items")),
    ("twice encoded dots", Path("/shop/x/%252e%252e/items")),
    ("dots at the end", Path("/shop/items/..")),
    ("out of the root", Path("/../shop/items")),
    ("two slashes", Path("/shop//items")),
    ("trailing slash", Path("/shop/items/")),
    ("encoded slash", Path("/shop%2fitems")),
    ("encoded backslash", Path("/shop/items%5c..")),
    ("path parameter", Path("/shop/items;a=b")),
    ("dots with a parameter", Path("/shop/x/..;/items")),
    ("encoded zero byte", Path("/shop/items%00")),
    ("encoded line end", Path("/shop/items%0d%0a")),
    ("half an escape", Path("/shop/items%4")),
    ("no escape", Path("/shop/items%zz")),
    ("overlong slash", Path("/shop%c0%afitems")),
    ("encoded letter", Path("/shop/%69tems")),
    ("capitals", Path("/SHOP/items")),
    ("full-width slash", Path("/shop%ef%bc%8fitems")),
    ("of the back end", Path("/v1/items")),
    // --- around the message
    ("an empty line before", Before("\r\n")),
    ("two empty lines before", Before("\r\n\r\n")),
    ("a line feed before", Before("\n")),
    ("a space before", Before(" ")),
    ("a zero byte before", Before("\0")),
    ("a byte order mark before", Before("\u{feff}")),
    ("a line before", Before("x\r\n")),
    ("a TLS hello before", Before("\x16\x03\x01\x02\0\x01")),
    ("a proxy line before", Before("PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n")),
    ("only line feeds", Ends("\n")),
    ("only carriage returns", Ends("\r")),
    ("two carriage returns", Ends("\r\r\n")),
    ("line feed first", Ends("\n\r")),
    ("vertical tabs", Ends("\x0b")),
    ("unicode line ends", Ends("\u{2028}")),
];

/// The bytes of a case.
pub fn bytes(base: &Base, change: Change, number: usize, token: &str) -> Vec<u8> {
    let path = if let Path(path) = change { path } else { base.path };
    let target = format!("{path}?c={number}");
    let line = if let Line(line) = change { line } else { "{m} {t} HTTP/1.1" };
    let line = line.replace("{m}", base.method).replace("{t}", &target);
    let host = if let Host(host) = change { host } else { "Host: localhost\r\n" };
    let more = if let Fields(more) = change { more } else { "" };
    let (framing, body) = match change {
        Framing(framing, body) => (framing, body),
        _ if base.body.is_empty() => ("", ""),
        _ => ("Content-Length: {n}\r\n", "{b}"),
    };
    let fill = |text: &str| {
        let length = base.body.len();
        text.replace("{n}", &length.to_string()).replace("{x}", &format!("{length:x}")).replace("{b}", base.body)
    };
    let kind = if base.kind.is_empty() { String::new() } else { format!("Content-Type: {}\r\n", base.kind) };
    let more = more.replace("{long}", &"a".repeat(70_000));
    let head = format!("{line}\r\n{host}Authorization: Bearer {token}\r\n{kind}{}{more}\r\n", fill(framing));
    let head = if let Ends(end) = change { head.replace("\r\n", end) } else { head };
    let before = if let Before(before) = change { before } else { "" };
    format!("{before}{head}{}", fill(body)).into_bytes()
}
