//! Answers over HTTP/2 as a hostile back end makes them, frame by frame.

use super::super::http2::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, PING, PRIORITY, RST_STREAM, SETTINGS,
    block,
};
use crate::harness::h2c::frame;

pub const PUSH_PROMISE: u8 = 5;
pub const WINDOW_UPDATE: u8 = 8;
/// Of the answer that nobody may ever see.
pub const SMUGGLED: &[u8] = br#"{"smuggled":true}"#;

/// What the caller must come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// This answer.
    Passes,
    /// A problem of ours, or a connection that breaks.
    Fails,
    /// Either of the two.
    Sound,
    /// Either of the two, and the next request may wait in vain for the connection, once.
    Stalls,
    /// Either of the two. The answer may come before its stream is opened by a request of somebody else's to the same
    /// institution, who gets it then: no client can tell that from an answer that was quick.
    Foretold,
    /// The back end says that it has done nothing: any method may be sent again, and the second time it answers.
    Unprocessed,
}

use Due::{Fails, Foretold, Passes, Sound, Stalls, Unprocessed};

/// What the back end does once it has written.
#[derive(Debug, Clone, Copy)]
pub enum Then {
    Goes,
    Closes,
    /// Sends this again and again, a little at a time.
    Drips(fn(u32) -> Vec<u8>),
}

use Then::{Closes, Drips, Goes};

/// The stream to be answered, and the sound body for it.
pub struct Exchange {
    pub id: u32,
    pub own: Vec<u8>,
}

type Field<'a> = (&'a str, &'a [u8]);
pub type Make = fn(&Exchange) -> Vec<u8>;
pub type Case = (&'static str, Due, Then, Make);

/// The fields of a sound answer.
const SOUND: [Field<'static>; 2] = [(":status", b"200"), ("content-type", b"application/json")];

pub fn fields(fields: &[Field<'_>]) -> Vec<u8> {
    block(&fields.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec())).collect())
}

impl Exchange {
    /// The sound answer.
    pub fn sound(&self) -> Vec<u8> {
        [self.head(&[]), self.end(&self.own)].concat()
    }

    fn raw(&self, kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        frame(kind, flags, self.id, payload)
    }

    /// A header section that is followed by more: the sound fields and these.
    fn head(&self, more: &[Field<'_>]) -> Vec<u8> {
        self.only(&[&SOUND[..], more].concat())
    }

    /// One of these fields alone.
    fn only(&self, all: &[Field<'_>]) -> Vec<u8> {
        self.raw(HEADERS, END_HEADERS, &fields(all))
    }

    /// An answer with these fields beside the sound ones.
    fn with(&self, more: &[Field<'_>]) -> Vec<u8> {
        [self.head(more), self.end(&self.own)].concat()
    }

    /// An answer with these fields alone.
    fn of(&self, all: &[Field<'_>]) -> Vec<u8> {
        [self.only(all), self.end(&self.own)].concat()
    }

    /// An answer that says this of the length of its body.
    fn length(&self, length: &str) -> Vec<u8> {
        self.with(&[("content-length", length.as_bytes())])
    }

    fn data(&self, bytes: &[u8]) -> Vec<u8> {
        self.raw(DATA, 0, bytes)
    }

    fn end(&self, bytes: &[u8]) -> Vec<u8> {
        self.raw(DATA, END_STREAM, bytes)
    }

    fn reset(&self, code: u8) -> Vec<u8> {
        self.raw(RST_STREAM, 0, &[0, 0, 0, code])
    }

    /// A whole answer of somebody else's choosing.
    fn smuggled(&self, stream: u32) -> Vec<u8> {
        [frame(HEADERS, END_HEADERS, stream, &fields(&SOUND)), frame(DATA, END_STREAM, stream, SMUGGLED)].concat()
    }

    /// A header block in many frames.
    fn in_pieces(&self, block: &[u8], bytes: usize) -> Vec<u8> {
        let pieces: Vec<&[u8]> = block.chunks(bytes).collect();
        let last = pieces.len() - 1;
        let piece = |(at, piece): (usize, &&[u8])| {
            let kind = if at == 0 { HEADERS } else { CONTINUATION };
            self.raw(kind, if at == last { END_HEADERS } else { 0 }, piece)
        };
        pieces.iter().enumerate().flat_map(piece).collect()
    }
}

fn connection(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    frame(kind, flags, 0, payload)
}

fn setting(name: u8, value: u32) -> Vec<u8> {
    connection(SETTINGS, 0, &[&[0, name][..], &value.to_be_bytes()].concat())
}

fn goaway(last: u32, code: u8) -> Vec<u8> {
    connection(GOAWAY, 0, &[&last.to_be_bytes()[..], &[0, 0, 0, code]].concat())
}

fn interim(id: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, id, &fields(&[(":status", b"103"), ("link", b"</a>")]))
}

const FLOOD: usize = 200_000;

pub const CASES: &[Case] = &[
    ("as it is", Passes, Goes, Exchange::sound),
    ("a length that fits", Passes, Goes, |e| e.length(&e.own.len().to_string())),
    ("byte by byte", Passes, Goes, |e| {
        let bytes: Vec<u8> = e.own.iter().flat_map(|byte| e.data(&[*byte])).collect();
        [e.head(&[]), bytes, e.end(b"")].concat()
    }),
    ("padded", Passes, Goes, |e| {
        let padded = [&[3][..], &e.own, &[0; 3]].concat();
        [e.head(&[]), e.raw(DATA, END_STREAM | PADDED, &padded)].concat()
    }),
    ("empty frames of data", Passes, Goes, |e| {
        [e.head(&[]), e.data(b""), e.data(&e.own), e.data(b""), e.end(b"")].concat()
    }),
    ("a block in pieces", Passes, Goes, |e| [e.in_pieces(&fields(&SOUND), 5), e.end(&e.own)].concat()),
    ("a frame of no known kind", Passes, Goes, |e| [e.raw(0x5a, 0xff, b"x"), e.sound()].concat()),
    ("a ping between", Passes, Goes, |e| {
        [e.head(&[]), connection(PING, 0, &[7; 8]), connection(SETTINGS, 0, b""), e.end(&e.own)].concat()
    }),
    ("priorities", Passes, Goes, |e| {
        let priority = [&[0, 0, 0, 0, 9][..], &fields(&SOUND)].concat();
        [e.raw(HEADERS, END_HEADERS | PRIORITY, &priority), e.raw(2, 0, &[0, 0, 0, 0, 9]), e.end(&e.own)].concat()
    }),
    ("early hints first", Passes, Goes, |e| [interim(e.id), e.sound()].concat()),
    ("continue first", Passes, Goes, |e| [e.only(&[(":status", b"100")]), e.sound()].concat()),
    ("trailers", Passes, Goes, |e| {
        let trailers = e.raw(HEADERS, END_HEADERS | END_STREAM, &fields(&[("x-a", b"b")]));
        [e.head(&[]), e.data(&e.own), trailers].concat()
    }),
    ("a reset of no error behind the answer", Passes, Goes, |e| [e.sound(), e.reset(0)].concat()),
    ("a farewell first", Passes, Goes, |e| [goaway(e.id, 0), e.sound()].concat()),
    ("a farewell behind", Passes, Closes, |e| [e.sound(), goaway(e.id, 0)].concat()),
    // --- status
    ("no status", Fails, Goes, |e| e.of(&SOUND[1..])),
    ("an empty header section", Fails, Goes, |e| e.of(&[])),
    ("two statuses", Fails, Goes, |e| e.of(&[SOUND[0], SOUND[0], SOUND[1]])),
    ("two statuses that differ", Fails, Goes, |e| e.of(&[(":status", b"404"), SOUND[0], SOUND[1]])),
    ("a status behind fields", Fails, Goes, |e| e.of(&[SOUND[1], SOUND[0]])),
    ("an empty status", Fails, Goes, |e| e.of(&[(":status", b""), SOUND[1]])),
    ("a status of letters", Fails, Goes, |e| e.of(&[(":status", b"okay"), SOUND[1]])),
    ("a status of two digits", Fails, Goes, |e| e.of(&[(":status", b"20"), SOUND[1]])),
    ("a status of four digits", Fails, Goes, |e| e.of(&[(":status", b"2000"), SOUND[1]])),
    ("a status with its reason", Fails, Goes, |e| e.of(&[(":status", b"200 OK"), SOUND[1]])),
    ("a signed status", Fails, Goes, |e| e.of(&[(":status", b"+20"), SOUND[1]])),
    ("status zero", Fails, Goes, |e| e.of(&[(":status", b"000"), SOUND[1]])),
    ("status 99", Fails, Goes, |e| e.of(&[(":status", b"099"), SOUND[1]])),
    ("status 600", Sound, Goes, |e| e.of(&[(":status", b"600"), SOUND[1]])),
    ("status 999", Sound, Goes, |e| e.of(&[(":status", b"999"), SOUND[1]])),
    ("an unknown pseudo-field", Fails, Goes, |e| e.of(&[SOUND[0], (":x", b"y"), SOUND[1]])),
    ("a path in an answer", Sound, Goes, |e| e.of(&[SOUND[0], (":path", b"/"), SOUND[1]])),
    ("a method in an answer", Sound, Goes, |e| e.of(&[(":method", b"GET"), SOUND[0], SOUND[1]])),
    // --- RFC 9113 §8.2: fields
    ("a name in capitals", Fails, Goes, |e| e.with(&[("X-A", b"b")])),
    ("connection", Fails, Goes, |e| e.with(&[("connection", b"close")])),
    ("connection names a length", Fails, Goes, |e| e.with(&[("connection", b"content-length")])),
    ("keep-alive", Fails, Goes, |e| e.with(&[("keep-alive", b"timeout=5")])),
    ("proxy-connection", Fails, Goes, |e| e.with(&[("proxy-connection", b"close")])),
    ("transfer-encoding", Fails, Goes, |e| e.with(&[("transfer-encoding", b"chunked")])),
    ("transfer-encoding and a length", Fails, Goes, |e| {
        e.with(&[("transfer-encoding", b"chunked"), ("content-length", b"3")])
    }),
    ("upgrade", Fails, Goes, |e| e.with(&[("upgrade", b"websocket")])),
    ("an empty name", Fails, Goes, |e| e.with(&[("", b"b")])),
    ("a name with a space", Fails, Goes, |e| e.with(&[("x a", b"b")])),
    ("a name with a colon", Fails, Goes, |e| e.with(&[("x:a", b"b")])),
    ("a name with a line end", Fails, Goes, |e| e.with(&[("x-a: b\r\nx-b", b"c")])),
    ("a name with a zero byte", Fails, Goes, |e| e.with(&[("x\0a", b"b")])),
    ("a value with a line end", Fails, Goes, |e| e.with(&[("x-a", b"b\r\nset-cookie: c")])),
    ("a value with a line feed", Fails, Goes, |e| e.with(&[("x-a", b"b\nset-cookie: c")])),
    ("a value with a carriage return", Fails, Goes, |e| e.with(&[("x-a", b"b\rset-cookie: c")])),
    ("a value with a zero byte", Fails, Goes, |e| e.with(&[("x-a", b"b\0c")])),
    ("a value that is an answer", Fails, Goes, |e| {
        e.with(&[("x-a", b"b\r\ncontent-length: 17\r\n\r\n{\"smuggled\":true}")])
    }),
    ("a value with a control character", Sound, Goes, |e| e.with(&[("x-a", b"b\x01c")])),
    ("a value beyond ASCII", Sound, Goes, |e| e.with(&[("x-a", b"\xe9")])),
    // --- lengths against DATA
    ("a length too short", Fails, Goes, |e| e.length("3")),
    ("a length too long", Fails, Goes, |e| e.length("100")),
    ("a length of zero", Sound, Goes, |e| e.length("0")),
    ("a length, and no body", Fails, Goes, |e| {
        e.raw(HEADERS, END_HEADERS | END_STREAM, &fields(&[SOUND[0], SOUND[1], ("content-length", b"12")]))
    }),
    ("a signed length", Fails, Goes, |e| e.length(&format!("+{}", e.own.len()))),
    ("a negative length", Fails, Goes, |e| e.length("-1")),
    ("a length of no number", Fails, Goes, |e| e.length("many")),
    ("an empty length", Fails, Goes, |e| e.length("")),
    ("two lengths in one", Fails, Goes, |e| e.length(&format!("{0}, {0}", e.own.len()))),
    ("a length beyond 64 bits", Fails, Goes, |e| e.length("18446744073709551628")),
    ("two lengths", Sound, Goes, |e| {
        let length = e.own.len().to_string();
        e.with(&[("content-length", length.as_bytes()), ("content-length", length.as_bytes())])
    }),
    ("two lengths that differ", Fails, Goes, |e| {
        e.with(&[("content-length", e.own.len().to_string().as_bytes()), ("content-length", b"3")])
    }),
    ("no content, and a body", Sound, Goes, |e| e.of(&[(":status", b"204")])),
    ("not modified, and a body", Sound, Goes, |e| e.of(&[(":status", b"304")])),
    ("reset content, and a body", Sound, Goes, |e| e.of(&[(":status", b"205")])),
    // --- more than one answer
    ("two header sections", Fails, Goes, |e| [e.head(&[]), e.head(&[]), e.end(&e.own)].concat()),
    ("a header section within the body", Fails, Goes, |e| {
        [e.head(&[]), e.data(&e.own), e.head(&[]), e.end(SMUGGLED)].concat()
    }),
    ("a second answer on the stream", Sound, Goes, |e| [e.sound(), e.smuggled(e.id)].concat()),
    ("header section behind the end", Sound, Goes, |e| [e.sound(), e.head(&[])].concat()),
    ("data behind the end", Sound, Goes, |e| [e.sound(), e.data(SMUGGLED)].concat()),
    ("an answer before the answer, to nobody", Foretold, Goes, |e| [e.smuggled(e.id + 2), e.sound()].concat()),
    ("an answer to nobody, far ahead", Sound, Goes, |e| [e.smuggled(e.id + 2_000), e.sound()].concat()),
    ("an answer on an even stream", Sound, Goes, |e| [e.smuggled(2), e.sound()].concat()),
    ("an answer on the connection", Fails, Goes, |e| [e.smuggled(0), e.sound()].concat()),
    ("a push", Fails, Goes, |e| {
        let promise: [Field<'_>; 4] =
            [(":method", b"GET"), (":scheme", b"http"), (":authority", b"a"), (":path", b"/v1/items")];
        let promise = [&2_u32.to_be_bytes()[..], &fields(&promise)].concat();
        [e.raw(PUSH_PROMISE, END_HEADERS, &promise), e.smuggled(2), e.sound()].concat()
    }),
    ("trailers that do not end", Fails, Goes, |e| {
        [e.head(&[]), e.data(&e.own), e.only(&[("x-a", b"b")]), e.end(b"more")].concat()
    }),
    ("a status as a trailer", Sound, Goes, |e| {
        let trailers = e.raw(HEADERS, END_HEADERS | END_STREAM, &fields(&[(":status", b"500")]));
        [e.head(&[]), e.data(&e.own), trailers].concat()
    }),
    ("trailers that frame", Sound, Goes, |e| {
        let trailers = fields(&[("content-length", b"3"), ("set-cookie", b"a=b"), ("transfer-encoding", b"chunked")]);
        [e.head(&[]), e.data(&e.own), e.raw(HEADERS, END_HEADERS | END_STREAM, &trailers)].concat()
    }),
    // --- interim answers
    ("an interim answer that ends", Fails, Goes, |e| {
        let ends = e.raw(HEADERS, END_HEADERS | END_STREAM, &fields(&[(":status", b"103")]));
        [ends, e.sound()].concat()
    }),
    ("an interim answer with data", Fails, Goes, |e| [interim(e.id), e.data(SMUGGLED), e.sound()].concat()),
    ("protocols switched", Sound, Goes, |e| [e.only(&[(":status", b"101")]), e.sound()].concat()),
    ("a flood of interim answers", Sound, Goes, |e| [interim(e.id).repeat(FLOOD), e.sound()].concat()),
    ("only interim answers", Fails, Closes, |e| interim(e.id).repeat(1_000)),
    ("interim answers without end", Fails, Drips(interim), |_| Vec::new()),
    // --- frames that are none
    ("data before a header section", Fails, Goes, |e| [e.data(SMUGGLED), e.sound()].concat()),
    ("a continuation of nothing", Fails, Goes, |e| e.raw(CONTINUATION, END_HEADERS, &fields(&SOUND))),
    ("a block that another frame interrupts", Fails, Goes, |e| {
        [e.raw(HEADERS, 0, &fields(&SOUND)), connection(PING, 0, &[7; 8]), e.end(&e.own)].concat()
    }),
    ("a block that cannot be decoded", Fails, Goes, |e| e.raw(HEADERS, END_HEADERS, &[0xff; 5])),
    ("a block cut short", Fails, Goes, |e| [e.raw(HEADERS, END_HEADERS, b"\0\x07:sta"), e.end(&e.own)].concat()),
    ("an index of nothing", Fails, Goes, |e| [e.raw(HEADERS, END_HEADERS, b"\xc7"), e.end(&e.own)].concat()),
    ("a table larger than allowed", Fails, Goes, |e| {
        let block = [&[0x3f, 0xe1, 0xff, 0x03][..], &fields(&SOUND)].concat();
        [e.raw(HEADERS, END_HEADERS, &block), e.end(&e.own)].concat()
    }),
    ("a Huffman code that never ends", Fails, Goes, |e| {
        let block = [&fields(&SOUND)[..], b"\0\x03x-a\x84\xff\xff\xff\xff"].concat();
        [e.raw(HEADERS, END_HEADERS, &block), e.end(&e.own)].concat()
    }),
    ("padding beyond the frame", Fails, Goes, |e| [e.head(&[]), e.raw(DATA, END_STREAM | PADDED, b"\x70abc")].concat()),
    ("a frame larger than allowed", Fails, Goes, |e| [e.head(&[]), e.end(&vec![b' '; 1 << 20])].concat()),
    ("half a frame", Fails, Closes, |e| {
        let sound = e.sound();
        sound[..sound.len() - 3].to_vec()
    }),
    ("HTTP/1.1", Fails, Closes, |_| b"HTTP/1.1 200 OK\r\ncontent-length: 17\r\n\r\n{\"smuggled\":true}".to_vec()),
    ("a ping of nine bytes", Fails, Goes, |e| [connection(PING, 0, &[7; 9]), e.sound()].concat()),
    ("settings that are cut", Fails, Goes, |e| [connection(SETTINGS, 0, &[0; 5]), e.sound()].concat()),
    ("settings of a stream", Fails, Goes, |e| [e.raw(SETTINGS, 0, b""), e.sound()].concat()),
    ("a confirmation with settings", Fails, Goes, |e| [connection(SETTINGS, ACK, &[0; 6]), e.sound()].concat()),
    ("a confirmation of nothing", Sound, Goes, |e| [connection(SETTINGS, ACK, b""), e.sound()].concat()),
    ("a server that wants pushes", Sound, Goes, |e| [setting(2, 1), e.sound()].concat()),
    ("a window beyond all bounds", Fails, Goes, |e| [setting(4, u32::MAX), e.sound()].concat()),
    ("frames of one byte", Fails, Goes, |e| [setting(5, 1), e.sound()].concat()),
    ("a window of none", Passes, Goes, |e| [setting(4, 0), e.sound(), setting(4, 65_535)].concat()),
    ("no streams", Stalls, Goes, |e| [setting(3, 0), e.sound()].concat()),
    ("a window that grows by nothing", Sound, Goes, |e| [e.raw(WINDOW_UPDATE, 0, &[0; 4]), e.sound()].concat()),
    ("a connection's window that grows by nothing", Fails, Goes, |e| {
        [connection(WINDOW_UPDATE, 0, &[0; 4]), e.sound()].concat()
    }),
    ("a window that overflows", Fails, Goes, |e| {
        [connection(WINDOW_UPDATE, 0, &[0x7f, 0xff, 0xff, 0xff]).repeat(2), e.sound()].concat()
    }),
    // --- endings
    ("reset at once", Fails, Goes, |e| e.reset(2)),
    ("reset at once without an error", Fails, Goes, |e| e.reset(0)),
    ("cancelled", Fails, Goes, |e| e.reset(8)),
    ("refused", Unprocessed, Goes, |e| e.reset(7)),
    ("calm down", Fails, Goes, |e| e.reset(11)),
    ("HTTP/1.1 is required", Fails, Goes, |e| e.reset(13)),
    ("reset behind the header section", Fails, Goes, |e| [e.head(&[]), e.reset(2)].concat()),
    ("reset within the body", Fails, Goes, |e| [e.head(&[]), e.data(b"{\"own\":"), e.reset(8)].concat()),
    ("an end without an error within the body", Fails, Goes, |e| {
        [e.head(&[("content-length", b"100")]), e.data(b"{"), e.reset(0)].concat()
    }),
    ("a farewell, nothing was done", Unprocessed, Closes, |_| goaway(0, 0)),
    ("a farewell that forgets the request", Sound, Goes, |e| [goaway(0, 0), e.sound()].concat()),
    ("a farewell in anger", Fails, Closes, |e| goaway(e.id, 2)),
    ("a farewell within the body", Fails, Closes, |e| [e.head(&[]), e.data(b"{"), goaway(e.id, 2)].concat()),
    ("a farewell cut short", Fails, Closes, |_| connection(GOAWAY, 0, &[0; 4])),
    ("two farewells, the second for more", Sound, Closes, |e| {
        [goaway(e.id, 0), goaway(e.id + 100, 0), e.sound()].concat()
    }),
    ("closed without a word", Fails, Closes, |_| Vec::new()),
    ("closed behind the header section", Fails, Closes, |e| e.head(&[])),
    ("closed within the body", Fails, Closes, |e| [e.head(&[]), e.data(b"{\"own\":")].concat()),
    ("silent", Fails, Goes, |_| Vec::new()),
    ("silent behind the header section", Fails, Goes, |e| e.head(&[])),
    ("silent within a block", Fails, Goes, |e| e.raw(HEADERS, 0, &fields(&SOUND))),
    ("pings instead of an answer", Fails, Drips(|_| connection(PING, 0, &[7; 8])), |_| Vec::new()),
    ("a block that drips", Fails, Drips(|id| frame(CONTINUATION, 0, id, b"\0\x01a\x01b")), |e| {
        e.raw(HEADERS, 0, &fields(&SOUND))
    }),
    ("empty data that drips", Fails, Drips(|id| frame(DATA, 0, id, b"")), |e| e.head(&[])),
    // --- floods
    ("an endless block", Fails, Goes, |e| {
        let more = e.raw(CONTINUATION, 0, &fields(&[("x-a", &[b'a'; 100][..])]));
        [e.raw(HEADERS, 0, &fields(&SOUND)), more.repeat(FLOOD)].concat()
    }),
    ("an endless block of nothing", Fails, Goes, |e| {
        [e.raw(HEADERS, 0, &fields(&SOUND)), e.raw(CONTINUATION, 0, b"").repeat(FLOOD)].concat()
    }),
    ("a huge field", Fails, Goes, |e| {
        let huge = fields(&[SOUND[0], SOUND[1], ("x-a", &vec![b'a'; 1 << 20])]);
        [e.in_pieces(&huge, 16_000), e.end(&e.own)].concat()
    }),
    ("ten thousand fields", Fails, Goes, |e| {
        let many = [fields(&SOUND), fields(&[("x-a", b"b")]).repeat(10_000)].concat();
        [e.in_pieces(&many, 16_000), e.end(&e.own)].concat()
    }),
    ("a small block that unpacks into a huge one", Fails, Goes, |e| {
        let long = fields(&[("x-a", &[b'a'; 3_900][..])]);
        let bomb = [&fields(&SOUND)[..], &[0x40], &long[1..], &[0xbe; 10_000]].concat();
        [e.in_pieces(&bomb, 16_000), e.end(&e.own)].concat()
    }),
    ("a flood of settings", Sound, Goes, |e| [connection(SETTINGS, 0, b"").repeat(FLOOD), e.sound()].concat()),
    ("a flood of pings", Sound, Goes, |e| [connection(PING, 0, &[7; 8]).repeat(FLOOD), e.sound()].concat()),
    ("a flood of priorities", Sound, Goes, |e| [e.raw(2, 0, &[0, 0, 0, 0, 9]).repeat(FLOOD), e.sound()].concat()),
    ("a flood of windows", Sound, Goes, |e| {
        [connection(WINDOW_UPDATE, 0, &[0, 0, 0, 1]).repeat(FLOOD), e.sound()].concat()
    }),
    ("a flood of frames of no known kind", Sound, Goes, |e| [e.raw(0x5a, 0, b"x").repeat(FLOOD), e.sound()].concat()),
    ("a flood of farewells", Sound, Goes, |e| [goaway(e.id, 0).repeat(FLOOD), e.sound()].concat()),
    ("a flood of empty data", Sound, Goes, |e| [e.head(&[]), e.data(b"").repeat(FLOOD), e.end(&e.own)].concat()),
    ("a flood of resets", Sound, Goes, |e| [e.sound(), e.reset(8).repeat(FLOOD)].concat()),
    ("a flood of padding", Sound, Goes, |e| {
        let padding = e.raw(DATA, PADDED, &[255_u8].iter().copied().chain([0; 255]).collect::<Vec<u8>>());
        [e.head(&[]), padding.repeat(50_000), e.end(&e.own)].concat()
    }),
    ("more data than the window", Fails, Goes, |e| {
        [e.head(&[]), e.data(&[b' '; 16_000]).repeat(4_000), e.end(&e.own)].concat()
    }),
];
