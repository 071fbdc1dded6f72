//! JSON of a client as people are shown it before they approve: what would hide or turn its letters is spelled out.

use std::fmt::Write;

use crate::domain::is_unseen;

/// The same JSON (RFC 8259 §7 `\u`), whose every character is seen. Between its members stand lines and blanks.
pub fn legible(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for c in json.chars() {
        if c == '\n' || !is_unseen(c) {
            shown.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            let _infallible = write!(shown, "\\u{unit:04x}");
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_hides_or_turns_letters_is_spelled_out_and_the_rest_stays() {
        for (name, text, shown) in [
            ("plain", "Acme Ltd", "Acme Ltd"),
            ("of others", "Żabka 株式会社 हिन्दी", "Żabka 株式会社 हिन्दी"),
            ("turned", "Acme\u{202e} dtL knaB\u{2066}\u{200b}", r"Acme\u202e dtL knaB\u2066\u200b"),
            ("controls", "a\u{9b}b\u{7f}", r"a\u009bb\u007f"),
            ("tags", "a\u{e0041}", r"a\udb40\udc41"),
            ("lines", "a\u{2028}b", r"a\u2028b"),
        ] {
            let detail = json!({ "creditorName": text });
            let written = legible(&format!("{detail:#}"));
            assert_eq!(written, format!("{{\n  \"creditorName\": \"{shown}\"\n}}"), "{name}");
            assert_eq!(serde_json::from_str::<Value>(&written).unwrap(), detail, "{name}: the same JSON");
        }
    }
}
