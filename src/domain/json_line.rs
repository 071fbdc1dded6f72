//! How a record becomes one line of JSON, written member by member.
//!
//! A line has some thirty short members, of which nearly none has anything to escape: each is looked at once and
//! copied. What does need escaping, or lies outside the usual years, takes the long way.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::Timestamp;
use super::digits::{push_address, push_hex, push_number};

/// One JSON object, under way at the end of a buffer. [`Self::end`] closes it; the caller ends the line.
pub struct JsonLine<'b> {
    to: &'b mut Vec<u8>,
    /// What comes before the next member.
    separator: u8,
}

/// Seconds of the years that are written here: 1970 to 9998.
const USUAL_SECS: std::ops::Range<i64> = 0..253_370_764_800;
const SECS_PER_DAY: i64 = 86_400;

impl<'b> JsonLine<'b> {
    pub fn begin(to: &'b mut Vec<u8>) -> Self {
        Self { to, separator: b'{' }
    }

    pub fn end(self) {
        if self.separator == b'{' {
            self.to.push(b'{');
        }
        self.to.push(b'}');
    }

    /// A member's name, which needs no escaping.
    fn name(&mut self, name: &'static str) {
        self.to.extend_from_slice(&[self.separator, b'"']);
        self.separator = b',';
        self.to.extend_from_slice(name.as_bytes());
        self.to.extend_from_slice(b"\":");
    }

    pub fn text(&mut self, name: &'static str, value: &str) {
        self.name(name);
        push_text(self.to, value);
    }

    pub fn texts(&mut self, name: &'static str, values: &[String]) {
        self.name(name);
        let mut separator = b'[';
        for value in values {
            self.to.push(separator);
            push_text(self.to, value);
            separator = b',';
        }
        if separator == b'[' {
            self.to.push(b'[');
        }
        self.to.push(b']');
    }

    pub fn number(&mut self, name: &'static str, value: u64) {
        self.name(name);
        push_number(self.to, value, 1);
    }

    pub fn address(&mut self, name: &'static str, value: IpAddr) {
        self.name(name);
        self.to.push(b'"');
        push_address(self.to, value);
        self.to.push(b'"');
    }

    /// As [`SocketAddr`] writes it.
    pub fn endpoint(&mut self, name: &'static str, value: SocketAddr) {
        self.name(name);
        let _infallible = write!(self.to, "\"{value}\"");
    }

    /// Lower-case hexadecimal.
    pub fn hex(&mut self, name: &'static str, bytes: &[u8]) {
        self.name(name);
        self.to.push(b'"');
        push_hex(self.to, bytes);
        self.to.push(b'"');
    }

    /// Unpadded base64url of at most 32 bytes.
    pub fn base64url(&mut self, name: &'static str, bytes: &[u8]) {
        self.name(name);
        let mut text = [0; 43];
        let length = URL_SAFE_NO_PAD.encode_slice(bytes, &mut text).unwrap_or_default();
        self.to.push(b'"');
        self.to.extend_from_slice(text.get(..length).unwrap_or_default());
        self.to.push(b'"');
    }

    /// RFC 3339, UTC, always six decimals; a number of microseconds beyond the year 9999.
    pub fn at(&mut self, name: &'static str, at: Timestamp) {
        self.name(name);
        if USUAL_SECS.contains(&at.secs()) {
            push_usual(self.to, at);
            return;
        }
        let _infallible = match jiff::Timestamp::from_microsecond(at.micros()) {
            Ok(text) => write!(self.to, "\"{text:.6}\""),
            Err(_) => write!(self.to, "{}", at.micros()),
        };
    }

    /// An object within this one.
    pub fn object(&mut self, name: &'static str, members: impl FnOnce(&mut JsonLine<'_>)) {
        self.name(name);
        let mut inner = JsonLine::begin(self.to);
        members(&mut inner);
        inner.end();
    }
}

/// RFC 8259 §7: quotation mark, backslash and control characters are escaped, everything else is itself.
fn push_text(to: &mut Vec<u8>, value: &str) {
    let (words, rest) = value.as_bytes().as_chunks::<8>();
    let mut last = [b' '; 8];
    for (to, byte) in last.iter_mut().zip(rest) {
        *to = *byte;
    }
    if words.iter().chain([&last]).fold(false, |found, word| found | has_to_escape(u64::from_ne_bytes(*word))) {
        let start = to.len();
        if serde_json::to_writer(&mut *to, value).is_err() {
            to.truncate(start); // A text written into memory does not fail.
            to.extend_from_slice(b"\"\"");
        }
        return;
    }
    to.push(b'"');
    to.extend_from_slice(value.as_bytes());
    to.push(b'"');
}

/// Whether one of eight bytes must be escaped. What is subtracted borrows from the highest bit of a byte, which was not set,
/// exactly where there is one that is smaller.
const fn has_to_escape(word: u64) -> bool {
    const EACH: u64 = u64::MAX / 255;
    const fn has_smaller(word: u64, than: u8) -> u64 {
        word.wrapping_sub(EACH * than as u64) & !word & (EACH << 7)
    }
    let (quotes, slashes) = (word ^ (EACH * b'"' as u64), word ^ (EACH * b'\\' as u64));
    has_smaller(word, 0x20) | has_smaller(quotes, 1) | has_smaller(slashes, 1) != 0
}

/// An instant of [`USUAL_SECS`]. The calendar is that of Howard Hinnant's "chrono-compatible low-level date algorithms":
/// years begin in March, so that the leap day is their last.
fn push_usual(to: &mut Vec<u8>, at: Timestamp) {
    let unsigned = |value: i64| u64::try_from(value).unwrap_or_default();
    let (days, second) = (unsigned(at.secs() / SECS_PER_DAY) + 719_468, unsigned(at.secs() % SECS_PER_DAY));
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let mut text = *b"\"0000-00-00T00:00:00.000000Z\"";
    for (place, value) in [
        (1..5, year),
        (6..8, month),
        (9..11, day),
        (12..14, second / 3_600),
        (15..17, second / 60 % 60),
        (18..20, second % 60),
        (21..27, unsigned(at.micros() % 1_000_000)),
    ] {
        let mut rest = value;
        for digit in text.get_mut(place).unwrap_or_default().iter_mut().rev() {
            *digit = b'0' + u8::try_from(rest % 10).unwrap_or_default();
            rest /= 10;
        }
    }
    to.extend_from_slice(&text);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn line(members: impl FnOnce(&mut JsonLine<'_>)) -> String {
        let mut buffer = Vec::new();
        let mut line = JsonLine::begin(&mut buffer);
        members(&mut line);
        line.end();
        String::from_utf8(buffer).unwrap()
    }

    #[test]
    fn members_are_written_as_json() {
        let (none, two) = (Vec::new(), vec!["a".to_owned(), "b\"".to_owned()]);
        let found = line(|line| {
            line.text("text", "a");
            line.number("zero", 0);
            line.number("most", u64::MAX);
            line.address("peer", "192.0.2.1".parse().unwrap());
            line.endpoint("end", "[2001:db8::1]:443".parse().unwrap());
            line.hex("hex", &[0x0a, 0xf0]);
            line.base64url("digest", &[0xfb; 32]);
            line.texts("none", &none);
            line.texts("two", &two);
            line.object("inner", |inner| inner.number("one", 1));
            line.object("empty", |_| {});
        });
        let expected = json!({
            "text": "a", "zero": 0, "most": u64::MAX, "peer": "192.0.2.1", "end": "[2001:db8::1]:443", "hex": "0af0",
            "digest": URL_SAFE_NO_PAD.encode([0xfb; 32]), "none": [], "two": ["a", "b\""],
            "inner": { "one": 1 }, "empty": {},
        });
        assert_eq!(found, expected.to_string());
        assert_eq!(line(|_| {}), "{}");
    }

    fn written(at: Timestamp) -> String {
        line(|line| line.at("at", at))
    }

    fn expected(at: Timestamp) -> String {
        match jiff::Timestamp::from_microsecond(at.micros()) {
            Ok(text) => format!("{{\"at\":\"{text:.6}\"}}"),
            Err(_) => format!("{{\"at\":{}}}", at.micros()),
        }
    }

    #[test]
    fn instants_are_written_as_the_calendar_has_them() {
        for secs in [
            0,
            951_782_399, // 2000-02-28T23:59:59Z, before a leap day in a century year.
            951_782_400,
            951_868_800,
            4_107_542_399, // 2100-02-28T23:59:59Z: no leap year.
            4_107_542_400,
            253_370_764_799, // The last second of 9998.
            253_370_764_800,
            253_402_300_800, // The year 10000.
            -1,
            i64::MAX / 1_000_000,
        ] {
            assert_eq!(written(Timestamp::from_secs(secs)), expected(Timestamp::from_secs(secs)), "{secs}");
        }
    }

    proptest! {
        #[test]
        fn any_instant_is_written_as_the_calendar_has_it(micros in 0..253_402_300_800_000_000_i64) {
            let at = Timestamp::from_micros(micros);
            prop_assert_eq!(written(at), expected(at));
        }

        #[test]
        fn any_text_is_written_as_the_library_does(value in prop::collection::vec(any::<char>(), 0..40)) {
            let value = String::from_iter(value);
            let found = line(|line| line.text("text", &value));
            prop_assert_eq!(found, json!({ "text": value }).to_string());
        }

        #[test]
        fn any_number_is_written_out(value in any::<u64>()) {
            let found = line(|line| line.number("n", value));
            prop_assert_eq!(found, format!("{{\"n\":{value}}}"));
        }
    }
}
