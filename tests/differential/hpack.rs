//! Header blocks as a server must read them (RFC 7541), written from the RFC for these tests alone.

use super::http2::Block;

/// RFC 7541 §A, in its order: names, and after `=` their values.
const STATIC: &str = ":authority :method=GET :method=POST :path=/ :path=/index.html :scheme=http :scheme=https \
    :status=200 :status=204 :status=206 :status=304 :status=400 :status=404 :status=500 accept-charset \
    accept-encoding=gzip,␣deflate accept-language accept-ranges accept access-control-allow-origin age allow \
    authorization cache-control content-disposition content-encoding content-language content-length content-location \
    content-range content-type cookie date etag expect expires from host if-match if-modified-since if-none-match \
    if-range if-unmodified-since last-modified link location max-forwards proxy-authenticate proxy-authorization range \
    referer refresh retry-after server set-cookie strict-transport-security transfer-encoding user-agent vary via \
    www-authenticate";
const STATIC_COUNT: usize = 61;

/// RFC 7541 §B: the codes of one length follow each other. Length, first code, characters in the order of their codes.
const HUFFMAN: [(u32, u32, &[u8]); 10] = [
    (5, 0, b"012aceiost"),
    (6, 0x14, b" %-./3456789=A_bdfghlmnpru"),
    (7, 0x5c, b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz"),
    (8, 0xf8, b"&*,;XZ"),
    (10, 0x3f8, b"!\"()?"),
    (11, 0x7fa, b"'+|"),
    (12, 0xffa, b"#>"),
    (13, 0x1ff8, b"\0$@[]~"),
    (14, 0x3ffc, b"^}"),
    (15, 0x7ffc, b"<`{"),
];

type Field = (Vec<u8>, Vec<u8>);

pub struct Decoder {
    /// Latest first.
    dynamic: Vec<Field>,
    size_max: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { dynamic: Vec::new(), size_max: 4096 }
    }
}

impl Decoder {
    pub fn decode(&mut self, block: &[u8]) -> Option<Block> {
        let (mut rest, mut fields) = (block, Vec::new());
        while let [first, ..] = *rest {
            if first & 0x80 != 0 {
                fields.push(self.indexed(number(&mut rest, 7)?)?);
            } else if first & 0xe0 == 0x20 {
                self.size_max = number(&mut rest, 5)?;
                self.evict();
            } else {
                let remembered = first & 0x40 != 0;
                let name = match number(&mut rest, if remembered { 6 } else { 4 })? {
                    0 => text(&mut rest)?,
                    index => self.indexed(index)?.0,
                };
                let field = (name, text(&mut rest)?);
                if remembered {
                    self.dynamic.insert(0, field.clone());
                    self.evict();
                }
                fields.push(field);
            }
        }
        Some(fields)
    }

    fn indexed(&self, index: usize) -> Option<Field> {
        let Some(beyond) = index.checked_sub(STATIC_COUNT + 1) else {
            let entry = STATIC.split_ascii_whitespace().nth(index.checked_sub(1)?)?;
            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
            return Some((name.into(), value.replace('␣', " ").into()));
        };
        self.dynamic.get(beyond).cloned()
    }

    fn evict(&mut self) {
        let size = |fields: &[Field]| fields.iter().map(|(name, value)| name.len() + value.len() + 32).sum::<usize>();
        while size(&self.dynamic) > self.size_max {
            self.dynamic.pop();
        }
    }
}

/// RFC 7541 §5.1.
fn number(rest: &mut &[u8], prefix: u32) -> Option<usize> {
    let mask = (1 << prefix) - 1;
    let mut value = usize::from(take(rest)?) & mask;
    if value < mask {
        return Some(value);
    }
    for shift in (0..28).step_by(7) {
        let byte = usize::from(take(rest)?);
        value += (byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn take(rest: &mut &[u8]) -> Option<u8> {
    let (first, others) = rest.split_first()?;
    *rest = others;
    Some(*first)
}

/// RFC 7541 §5.2.
fn text(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let coded = rest.first()? & 0x80 != 0;
    let length = number(rest, 7)?;
    let (bytes, others) = rest.split_at_checked(length)?;
    *rest = others;
    if coded { huffman(bytes) } else { Some(bytes.to_vec()) }
}

fn huffman(bytes: &[u8]) -> Option<Vec<u8>> {
    let (mut code, mut length, mut out) = (0_u32, 0_u32, Vec::new());
    for bit in bytes.iter().flat_map(|byte| (0..8).rev().map(move |shift| u32::from(byte >> shift & 1))) {
        (code, length) = (code << 1 | bit, length + 1);
        let row = HUFFMAN.iter().find(|(bits, ..)| *bits == length);
        let found = row.and_then(|(_, first, letters)| letters.get(code.checked_sub(*first)? as usize));
        if let Some(letter) = found {
            out.push(*letter);
            (code, length) = (0, 0);
        }
    }
    (length < 8 && code == (1 << length) - 1).then_some(out) // Padding is less than a byte, of ones.
}

#[test]
fn the_examples_of_the_rfc_are_read() {
    let hex = |text: &str| -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    };
    let shown = |block: Block| -> String {
        let lines =
            block.iter().map(|(n, v)| format!("{}: {}", String::from_utf8_lossy(n), String::from_utf8_lossy(v)));
        lines.collect::<Vec<_>>().join("\n")
    };
    let mut decoder = Decoder::default(); // RFC 7541 §C.4: three requests of one connection.
    for (block, expected) in [
        (
            "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
            ":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com",
        ),
        (
            "8286 84be 5886 a8eb 1064 9cbf",
            ":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com\ncache-control: no-cache",
        ),
        (
            "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
            ":method: GET\n:scheme: https\n:path: /index.html\n:authority: www.example.com\ncustom-key: custom-value",
        ),
    ] {
        assert_eq!(shown(decoder.decode(&hex(block)).unwrap()), expected);
    }
    assert_eq!(STATIC.split_ascii_whitespace().count(), STATIC_COUNT);
    for broken in ["82 c7", "84 41 8c f1", "40", "7f ff ff ff ff ff"] {
        assert!(Decoder::default().decode(&hex(broken)).is_none(), "{broken}");
    }
}
