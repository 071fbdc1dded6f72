//! Random changes of bytes: not any bytes, but those that parsers disagree on, at places where they matter.

/// SplitMix64: a run repeats by its seed.
pub struct Random(u64);

const TOKENS: &[&str] = &[
    "\r\n",
    "\n",
    "\r",
    "\0",
    " ",
    "\t",
    "\x0b",
    "\x7f",
    "\u{a0}",
    ":",
    ";",
    ",",
    "/",
    "//",
    "%00",
    "%2e",
    "%2f",
    "..",
    "#",
    "?",
    "@",
    "\\",
    "0",
    "1",
    "a",
    "f",
    "\r\n\r\n",
    "\r\n ",
    "0\r\n\r\n",
    "5\r\nhello\r\n",
    ";a=b",
    "chunked",
    "Content-Length: 5\r\n",
    "Content-Length: 0\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding : chunked\r\n",
    "Host: localhost\r\n",
    "Host: other\r\n",
    "Connection: close\r\n",
    "Expect: 100-continue\r\n",
    "X-A: b\r\n",
    "HTTP/1.0",
    "HTTP/1.1",
    "GET /shop/items?c=smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "HEAD",
    "http://localhost",
];

impl Random {
    pub const fn new(seed: u64, number: usize) -> Self {
        Self(seed ^ (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub const fn below(&mut self, bound: usize) -> usize {
        (self.next() % if bound == 0 { 1 } else { bound as u64 }) as usize
    }

    /// One change, or two. Half of them hit a line's beginning or end.
    pub fn spoil(&mut self, sound: &[u8]) -> Vec<u8> {
        let mut bytes = sound.to_vec();
        for _ in 0..=self.below(2) {
            let at = self.place(&bytes);
            let end = (at + 1 + self.below(4)).min(bytes.len());
            let token = TOKENS[self.below(TOKENS.len())].as_bytes();
            match self.below(6) {
                0 => drop(bytes.splice(at..at, token.iter().copied())),
                1 => drop(bytes.splice(at..end, token.iter().copied())),
                2 => drop(bytes.drain(at..end)),
                3 => bytes = self.shuffled(&bytes),
                4 => drop(bytes.splice(at..end, std::iter::once(self.next() as u8))),
                _ => drop(bytes.splice(at..at, bytes[at..end].to_vec())),
            }
        }
        bytes
    }

    fn place(&mut self, bytes: &[u8]) -> usize {
        let ends: Vec<usize> = bytes.windows(2).enumerate().filter(|(_, w)| *w == b"\r\n").map(|(at, _)| at).collect();
        if ends.is_empty() || self.below(2) == 0 {
            return self.below(bytes.len());
        }
        (ends[self.below(ends.len())] + 2 * self.below(2)).min(bytes.len())
    }

    /// A line of the message once more, or at another's place.
    fn shuffled(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut lines: Vec<&[u8]> = bytes.split_inclusive(|b| *b == b'\n').collect();
        let (from, to) = (self.below(lines.len()), self.below(lines.len()));
        let Some(line) = lines.get(from).copied() else { return bytes.to_vec() };
        if self.below(2) == 0 {
            lines.remove(from);
        }
        lines.insert(to.min(lines.len()), line);
        lines.concat()
    }
}

/// The seed of this run, and how many cases it has.
pub fn run(usual: usize, soak: usize) -> (u64, usize) {
    let seed = std::env::var("CLEARWAY_SEED").ok().and_then(|text| text.parse().ok());
    let fresh = || uuid::Uuid::new_v4().as_u64_pair().0;
    let soaks = std::env::var("CLEARWAY_SOAK").is_ok_and(|value| value == "1");
    (seed.unwrap_or_else(fresh), if soaks { soak } else { usual })
}
